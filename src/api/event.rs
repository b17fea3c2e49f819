//! What a node says: one object a line, `{"event":NAME,"seq":N,…}`.
//!
//! The types here leave `seq` out: the number belongs to the line, not to the event, and each client's writer gives
//! its own (see `driver::client`). A reader skips events and fields that it does not know.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::command::CommandId;
use super::error::ApiError;

mod trouble;

pub use trouble::{Fatal, FatalCode, Warning, WarningCode};

pub use crate::base::{Direction, DropCause, LinkCode, OpenError};

macro_rules! events {
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

            /// What it tells, in a line.
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$variant => $summary,)* }
            }

            /// A line as a node prints it.
            pub const fn example(self) -> &'static str {
                match self { $(Self::$variant => $example,)* }
            }
        }

        /// An event, ready to be written.
        #[derive(Debug, Clone, Serialize, JsonSchema)]
        #[serde(tag = "event", rename_all = "snake_case")]
        pub enum Event<'a> {
            $(#[doc = $summary] $variant($ty),)*
        }

        impl Event<'_> {
            /// Its name.
            pub const fn kind(&self) -> EventKind {
                match self { $(Self::$variant(_) => EventKind::$variant,)* }
            }
        }
    };
}

events! {
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

impl EventKind {
    /// Whether `events` may hide it.
    pub const fn can_hide(self) -> bool {
        !matches!(self, Self::Reply | Self::Ready | Self::Lagged | Self::Fatal | Self::Bye)
    }

    /// Whether it is hidden until asked for.
    pub const fn hidden_at_first(self) -> bool {
        matches!(self, Self::Forwarded | Self::Dropped)
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

/// `ready`
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Ready<'a> {
    /// The version of the line protocol.
    pub protocol: u32,
    /// The version of the program.
    pub version: &'a str,
    /// This node's id.
    pub node: &'a str,
    /// This node's user name.
    pub username: &'a str,
    /// The active room.
    pub room: &'a str,
    /// The TCP address really bound.
    pub tcp: String,
    /// The UDP address really bound.
    pub udp: String,
    /// What this build can do: `text`, `voice`, and `audio` if it knows sound devices, `state` if there is a
    /// state folder; later others.
    pub features: &'a [&'a str],
    /// The bounds a frontend may want to know.
    pub limits: Limits,
}

/// Bounds, in `ready` and `status`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Limits {
    /// A line, in bytes.
    pub line_bytes: usize,
    /// The text of a message, in bytes.
    pub text_bytes: usize,
    /// A name, in bytes.
    pub name_bytes: usize,
    /// `meta`, in bytes.
    pub meta_bytes: usize,
    /// Links at once.
    pub links: usize,
    /// Rooms known at once.
    pub rooms: usize,
    /// Messages kept a room.
    pub history_per_room: usize,
    /// Bytes of messages kept in all.
    pub history_bytes: usize,
    /// Messages a second that an author may say, with bursts of ten times as many; 0: any number.
    pub rate: u32,
    /// Authors whose signed messages are remembered by their counters.
    pub authors: usize,
    /// The intervals of their counters.
    pub author_intervals: usize,
    /// Events that `wait` looks back over.
    pub wait_events: usize,
    /// Lines of output waiting to be read.
    pub queue_lines: usize,
    /// Members in the voice of one room.
    pub voice_members_per_room: usize,
    /// Members of voice known, in all rooms.
    pub voice_members: usize,
    /// Authors whose coming, going and muting is counted.
    pub voice_rate_authors: usize,
    /// Links over which that comes, counted, too.
    pub voice_rate_links: usize,
    /// Peers, authors and addresses that are blocked.
    pub blocks: usize,
    /// Addresses that have strikes or are banned.
    pub offenders: usize,
}

/// `reply`. It names itself, since it is written by itself: with `R` the result of the command that is answered.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(tag = "event", rename = "reply")]
#[schemars(rename = "Reply")]
pub struct Reply<'a, R = BTreeMap<String, serde_json::Value>> {
    /// The number of the line that is answered.
    pub line: u64,
    /// Its `id`, if it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a CommandId>,
    /// Its `cmd`, if it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<&'a str>,
    /// Whether it was done.
    pub ok: bool,
    /// What came of it, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<&'a R>,
    /// Why not, if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a ApiError>,
}

/// `peer_up`
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PeerUp<'a> {
    /// The neighbour's node id.
    pub peer: &'a str,
    /// Its user name.
    pub username: &'a str,
    /// The address at the other end of the link.
    pub addr: &'a str,
    /// Who dialled.
    pub direction: Direction,
    /// 1: it speaks the original's format; 2: ours.
    pub level: u8,
    /// Whether the link is encrypted.
    pub secure: bool,
}

/// `peer_down`
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PeerDown<'a> {
    /// The neighbour's node id.
    pub peer: &'a str,
    /// Its user name.
    pub username: &'a str,
    /// Why, for programs.
    pub code: LinkCode,
    /// Why, for people.
    pub reason: &'a str,
    /// When it is dialled again, in milliseconds; null: not.
    pub retry_in_ms: Option<u64>,
}

/// `connect_failed`
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ConnectFailed<'a> {
    /// The address that was dialled.
    pub addr: &'a str,
    /// Why, for programs.
    pub code: LinkCode,
    /// Why, for people.
    pub reason: &'a str,
    /// When it is dialled again, in milliseconds; null: not.
    pub retry_in_ms: Option<u64>,
}

/// `message`, also an entry of `history`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Message<'a> {
    /// The message's id.
    pub id: &'a str,
    /// Its room.
    pub room: &'a str,
    /// The node id of its author, as the message has it.
    pub from: &'a str,
    /// The author's user name.
    pub username: &'a str,
    /// The text; null if it can't be decrypted.
    pub text: Option<&'a str>,
    /// Why it can't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<OpenError>,
    /// The author's time, as it gave it.
    pub ts: &'a str,
    /// Our time, RFC 3339.
    pub received_at: &'a str,
    /// Its place among all messages kept here; grows by one a message, whatever the room.
    pub pos: u64,
    /// Links crossed: 0 for one's own, 1 from a neighbour.
    pub hops: u32,
    /// The neighbour it came from; null for one's own.
    pub via: Option<&'a str>,
    /// Whether it was encrypted with the room's key.
    pub encrypted: bool,
    /// Whether a signature proves its author.
    pub verified: bool,
    /// Whether this node sent it.
    pub own: bool,
    /// Whether it came from history, not live.
    pub caught_up: bool,
    /// What its sender sent along.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BTreeMap<String, serde_json::Value>>")]
    pub meta: Option<&'a RawValue>,
}

/// `renamed`
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Renamed<'a> {
    /// The neighbour's node id.
    pub peer: &'a str,
    /// Its user name now.
    pub username: &'a str,
    /// Its user name before.
    pub previous: &'a str,
}

/// `voice_joined`
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct VoiceJoined<'a> {
    /// The room.
    pub room: &'a str,
    /// The member's node id.
    pub peer: &'a str,
    /// Its user name.
    pub username: &'a str,
    /// Whether it is muted.
    pub muted: bool,
}

/// `voice_left`
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct VoiceLeft<'a> {
    /// The room.
    pub room: &'a str,
    /// The member's node id.
    pub peer: &'a str,
    /// Its user name.
    pub username: &'a str,
    /// Whether it was muted.
    pub muted: bool,
}

/// `voice_muted`
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct VoiceMuted<'a> {
    /// The room.
    pub room: &'a str,
    /// The member's node id.
    pub peer: &'a str,
    /// Whether it is muted now.
    pub muted: bool,
}

/// `speaking`
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Speaking<'a> {
    /// The room.
    pub room: &'a str,
    /// The member's node id; this node's own too.
    pub peer: &'a str,
    /// Whether it speaks now.
    pub speaking: bool,
}

/// `mic_ended`
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct MicEnded<'a> {
    /// The room.
    pub room: &'a str,
}

/// `forwarded`
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Forwarded<'a> {
    /// The message's id.
    pub id: &'a str,
    /// Its room; null if its type has none.
    pub room: Option<&'a str>,
    /// The node id of its author.
    pub from: &'a str,
    /// The neighbour it came from.
    pub via: &'a str,
    /// The neighbours it was handed to.
    pub to: Vec<&'a str>,
}

/// `dropped`
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Dropped<'a> {
    /// The message's id.
    pub id: &'a str,
    /// Its room; null if it has none or could not be read.
    pub room: Option<&'a str>,
    /// The node id of its author.
    pub from: &'a str,
    /// The neighbour it came from; null for one's own.
    pub via: Option<&'a str>,
    /// Why.
    pub cause: DropCause,
    /// With `queue_full`: the neighbours that it was dropped for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<&'a str>,
}

/// `lagged`
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Lagged<'a> {
    /// How many events were lost; their numbers are skipped.
    pub dropped: u64,
    /// How many of each kind.
    pub by: &'a BTreeMap<EventKind, u64>,
}

/// Why a node ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ByeReason {
    /// The input ended.
    Eof,
    /// The command `exit`.
    Exit,
    /// `--check` and the first error reply.
    Check,
    /// SIGINT.
    Sigint,
    /// SIGTERM.
    Sigterm,
}

/// `bye`
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Bye {
    /// Why.
    pub reason: ByeReason,
    /// The exit code of the process.
    pub exit: u8,
    /// Frames that a link did not take in time.
    pub undelivered: u64,
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
