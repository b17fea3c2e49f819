//! The kinds of events: name, summary and example of each, in one list.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Hands the list of events to the macro of the given name: variant, name, type, summary and example of each.
/// [`EventKind`] is made from it, and so is [`Event`](super::event::Event), whose types need not be known here.
macro_rules! events {
    ($make:ident) => {
        $make! {
            Ready "ready" Ready<'a>, "the first line: the node runs"
                r#"{"event":"ready","seq":1,"protocol":1,"version":"0.1.0","node":"9b2f4c1e-8d53-4a6b-9c07-3f1e2d4b5a69","username":"Alice","room":"general","tcp":"127.0.0.1:5000","udp":"127.0.0.1:6000","features":["text","voice","audio"],"limits":{"line_bytes":1048576,"text_bytes":65536,"name_bytes":64,"meta_bytes":1024,"links":64,"rooms":1024,"history_per_room":1000,"history_bytes":16777216,"rate":1000,"authors":16384,"author_intervals":262144,"wait_events":10000,"queue_lines":8192,"voice_members_per_room":64,"voice_members":1024,"voice_rate_authors":1024,"voice_rate_links":1024,"blocks":1024,"offenders":4096}}"#;
            Reply "reply" Reply<'a>, "the answer to a line of input"
                r#"{"event":"reply","seq":9,"line":4,"id":1,"cmd":"room","ok":true,"result":{"room":"lounge","previous":"general"}}"#;
            PeerUp "peer_up" PeerUp<'a>, "a neighbour came"
                r#"{"event":"peer_up","seq":2,"peer":"5d0c7a52-1b64-4e0f-8a3d-6e2f9b1c4d70","username":"Bob","addr":"127.0.0.1:5001","direction":"out","level":2,"secure":true}"#;
            PeerDown "peer_down" PeerDown<'a>, "a neighbour went"
                r#"{"event":"peer_down","seq":3,"peer":"5d0c7a52-1b64-4e0f-8a3d-6e2f9b1c4d70","username":"Bob","code":"closed","reason":"the peer closed the link","retry_in_ms":612}"#;
            ConnectFailed "connect_failed" ConnectFailed<'a>, "a dial that no command waits for failed"
                r#"{"event":"connect_failed","seq":4,"addr":"127.0.0.1:5001","code":"refused","reason":"connection refused: is a node listening there?","retry_in_ms":1180}"#;
            Message "message" Message<'a>, "a message of a room that is shown"
                r#"{"event":"message","seq":5,"id":"0b7a3f52-6c1d-4e8f-a2b4-5d6e7f8091a2","room":"general","from":"5d0c7a52-1b64-4e0f-8a3d-6e2f9b1c4d70","username":"Bob","text":"hi","ts":"2026-01-01T12:00:00.000Z","received_at":"2026-01-01T12:00:00.012Z","pos":1,"hops":1,"via":"5d0c7a52-1b64-4e0f-8a3d-6e2f9b1c4d70","encrypted":false,"verified":false,"own":false,"caught_up":false}"#;
            Renamed "renamed" Renamed<'a>, "a neighbour changed its user name"
                r#"{"event":"renamed","seq":6,"peer":"5d0c7a52-1b64-4e0f-8a3d-6e2f9b1c4d70","username":"Robert","previous":"Bob"}"#;
            VoiceJoined "voice_joined" VoiceJoined<'a>, "a member joined the voice of a room"
                r#"{"event":"voice_joined","seq":7,"room":"general","peer":"5d0c7a52-1b64-4e0f-8a3d-6e2f9b1c4d70","username":"Bob","muted":false}"#;
            VoiceLeft "voice_left" VoiceLeft<'a>, "a member left the voice of a room"
                r#"{"event":"voice_left","seq":8,"room":"general","peer":"5d0c7a52-1b64-4e0f-8a3d-6e2f9b1c4d70","username":"Bob","muted":false}"#;
            VoiceMuted "voice_muted" VoiceMuted<'a>, "a member muted or unmuted"
                r#"{"event":"voice_muted","seq":9,"room":"general","peer":"5d0c7a52-1b64-4e0f-8a3d-6e2f9b1c4d70","muted":true}"#;
            Speaking "speaking" Speaking<'a>, "a talkspurt starts or ends"
                r#"{"event":"speaking","seq":10,"room":"general","peer":"5d0c7a52-1b64-4e0f-8a3d-6e2f9b1c4d70","speaking":true}"#;
            MicEnded "mic_ended" MicEnded<'a>, "all that the microphone's file or pipe held has been said"
                r#"{"event":"mic_ended","seq":11,"room":"general"}"#;
            Forwarded "forwarded" Forwarded<'a>, "a message was passed on (hidden at first)"
                r#"{"event":"forwarded","seq":11,"id":"0b7a3f52-6c1d-4e8f-a2b4-5d6e7f8091a2","room":"general","from":"5d0c7a52-1b64-4e0f-8a3d-6e2f9b1c4d70","via":"5d0c7a52-1b64-4e0f-8a3d-6e2f9b1c4d70","to":["c0a8f3e1-72d4-4b95-8e16-0f9d3c5a7b28"]}"#;
            Dropped "dropped" Dropped<'a>, "a message was not passed on or not shown, and why (hidden at first)"
                r#"{"event":"dropped","seq":12,"id":"0b7a3f52-6c1d-4e8f-a2b4-5d6e7f8091a2","room":"general","from":"5d0c7a52-1b64-4e0f-8a3d-6e2f9b1c4d70","via":"c0a8f3e1-72d4-4b95-8e16-0f9d3c5a7b28","cause":"duplicate"}"#;
            Warning "warning" Warning<'a>, "something a person should know and no command asked"
                r#"{"event":"warning","seq":13,"code":"open_files","message":"the limit of open files (64) leaves room for 28 links; raise it with `ulimit -n`"}"#;
            Lagged "lagged" Lagged<'a>, "events were lost because nobody read stdout fast enough"
                r#"{"event":"lagged","seq":140,"dropped":17,"by":{"message":16,"peer_up":1}}"#;
            Fatal "fatal" Fatal<'a>, "the node cannot go on, and exits"
                r#"{"event":"fatal","seq":1,"code":"address_in_use","message":"127.0.0.1:5000 is in use: choose another --port, or 0 for a free one"}"#;
            Bye "bye" Bye, "the last line"
                r#"{"event":"bye","seq":141,"reason":"eof","exit":0,"undelivered":0}"#;
        }
    };
}
pub(super) use events;

macro_rules! kinds {
    ($($variant:ident $name:literal $ty:ty, $summary:literal $example:literal;)*) => {
        /// The name of an event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum EventKind {
            $(#[doc = $summary] $variant,)*
        }

        impl EventKind {
            /// All of them, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name as it is written.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// A summary, in a line.
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$variant => $summary,)* }
            }

            /// A line as a node prints it.
            pub const fn example(self) -> &'static str {
                match self { $(Self::$variant => $example,)* }
            }
        }
    };
}

events!(kinds);

impl EventKind {
    /// Whether `events` may hide it.
    pub const fn can_hide(self) -> bool {
        !matches!(self, Self::Reply | Self::Ready | Self::Lagged | Self::Fatal | Self::Bye)
    }

    /// Whether it is hidden until asked for.
    pub const fn hidden_at_first(self) -> bool {
        matches!(self, Self::Forwarded | Self::Dropped)
    }

    /// Whether it tells of who or what comes, goes and changes, or of a message's way: `wait` forgets such events first.
    pub const fn is_passing(self) -> bool {
        use EventKind::*;
        matches!(
            self,
            PeerUp
                | PeerDown
                | ConnectFailed
                | Renamed
                | VoiceJoined
                | VoiceLeft
                | VoiceMuted
                | Speaking
                | Forwarded
                | Dropped
        )
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_every_way_they_are_made() {
        for &kind in EventKind::ALL {
            assert_eq!(serde_json::to_value(kind).expect("a name"), kind.name());
            assert_eq!(EventKind::from_name(kind.name()), Some(kind));
            let example: serde_json::Value = serde_json::from_str(kind.example()).expect("JSON");
            assert_eq!(example["event"], kind.name());
        }
    }
}
