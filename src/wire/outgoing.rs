//! Our own messages, as frames.

use serde::Serialize;
use serde_json::value::RawValue;

use super::frame::PREFIX;
use super::identity::Identity;
use super::signed::{self, SeqNo};
use crate::base::json;

/// A message of ours.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message<'a> {
    /// The first frame of a link.
    Hello {
        /// The message's id.
        id: &'a str,
        /// Our node id.
        from: &'a str,
        /// Our user name.
        username: &'a str,
        /// At level 2: what is ours.
        #[serde(skip_serializing_if = "Option::is_none")]
        p2p_chat: Option<Ours<'a>>,
    },
    /// Text for a room.
    Chat(Chat<'a>),
    /// Level 2: asks for a `pong`.
    Ping {
        /// The message's id.
        id: &'a str,
        /// Comes back in the `pong`.
        nonce: u64,
    },
    /// Level 2: answers a `ping`.
    Pong {
        /// The message's id.
        id: &'a str,
        /// That of the `ping`.
        nonce: u64,
    },
    /// Level 2: asks whether the neighbour took a message.
    Confirm {
        /// The message's id.
        id: &'a str,
        /// The id of the message that is asked about.
        message: &'a str,
    },
    /// Level 2: answers a `confirm`.
    Confirmed {
        /// The message's id.
        id: &'a str,
        /// The id of the message that was asked about.
        message: &'a str,
        /// Whether it was taken.
        taken: bool,
    },
    /// A member joins the voice of a room, or is still there.
    VoiceJoin(VoiceJoin<'a>),
    /// A member leaves voice.
    VoiceLeave(VoiceSignal<'a>),
    /// A member mutes or unmutes.
    VoiceMuteStatus(VoiceSignal<'a>),
    /// Level 2: a neighbour's new user name.
    Nick {
        /// The message's id.
        id: &'a str,
        /// The new user name.
        username: &'a str,
    },
}

/// The fields of a hello of ours beyond the original's.
#[derive(Debug, Serialize)]
pub struct Ours<'a> {
    /// The version of level 2.
    pub version: u32,
    /// Where we can be dialled; null: nobody knows.
    pub listen: Option<&'a str>,
    /// Our capabilities; one is used when both sides have named it.
    pub caps: &'a [&'a str],
}

/// A chat message: the original's fields, then ours.
#[derive(Debug, Serialize)]
pub struct Chat<'a> {
    /// The message's id.
    pub id: &'a str,
    /// Our node id.
    pub from: &'a str,
    /// Our user name.
    pub username: &'a str,
    /// The room.
    pub room: &'a str,
    /// The text, or [`ENCRYPTED`].
    pub msg: &'a str,
    /// The text, encrypted with the original's scheme.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted_msg: Option<&'a str>,
    /// The text, sealed with the strong scheme.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed_msg: Option<&'a str>,
    /// Forwards left.
    pub ttl: u8,
    /// The `ttl` it starts with.
    pub ttl0: u8,
    /// Our time.
    pub ts: &'a str,
    /// The object that the caller attaches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<&'a RawValue>,
    /// The same, encrypted with the original's scheme.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted_meta: Option<&'a str>,
    /// The same, sealed with the strong scheme.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed_meta: Option<&'a str>,
}

/// `voice_join`: the original's fields, then ours.
#[derive(Debug, Serialize)]
pub struct VoiceJoin<'a> {
    /// The fields of every voice signal.
    #[serde(flatten)]
    pub signal: VoiceSignal<'a>,
    /// Where datagrams of voice are taken: an IP address,
    pub udp_host: &'a str,
    /// and a port.
    pub udp_port: u16,
}

/// The fields of every voice signal: the original's, then ours.
#[derive(Debug, Serialize)]
pub struct VoiceSignal<'a> {
    /// The message's id.
    pub id: &'a str,
    /// Our node id.
    pub from: &'a str,
    /// Our user name.
    pub username: &'a str,
    /// The room.
    pub room: &'a str,
    /// In `voice_mute_status`: whether we are muted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub muted: Option<bool>,
    /// Forwards left.
    pub ttl: u8,
    /// The `ttl` it starts with.
    pub ttl0: u8,
    /// Our time.
    pub ts: &'a str,
    /// Our own fields.
    pub voice: Voice<'a>,
}

/// The fields of a voice signal beyond the original's.
#[derive(Debug, Serialize)]
pub struct Voice<'a> {
    /// 8 bytes, as 16 hexadecimal digits, that stand for this member in this room until it leaves or the room's key changes:
    /// the datagrams of level 2 bear them.
    pub session: &'a str,
    /// In a join: the session's key, in base64, in a room without a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<&'a str>,
    /// The same, sealed with the room's key, in the strong scheme.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed_key: Option<&'a str>,
    /// The same in the original's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted_key: Option<&'a str>,
    /// The codecs that we decode, beside PCM.
    pub codecs: &'a [&'a str],
    /// Whether we are muted.
    pub muted: bool,
}

/// The codecs of level 2.
pub const CODECS: &[&str] = &["opus"];

/// The value of `msg` when the text is encrypted, as the original has it.
pub const ENCRYPTED: &str = "[encrypted]";
/// The version of level 2.
pub const VERSION: u32 = 1;
/// Capability: `ping` and `pong`.
pub const PING: &str = "ping";
/// Capability: `confirm` and `confirmed`.
pub const CONFIRM: &str = "confirm";
/// Capability: `nick`.
pub const NICK: &str = "nick";
/// All that this version can do.
pub const CAPABILITIES: &[&str] = &[PING, CONFIRM, NICK];

/// A message as a signed frame, length and all. `None` if it can't be signed, which none of the types above is.
pub fn signed_frame(message: &Message<'_>, identity: &Identity, seq: SeqNo) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(768);
    frame(message, &mut out);
    signed::sign(identity, seq, &mut out).then_some(out)
}

/// Appends a message as a frame, length and all.
pub fn frame(message: &Message<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    // Writing to memory does not fail, and every type above can be written.
    let _ = json::write::<false>(message, out);
    let length = u32::try_from(out.len() - start - PREFIX).unwrap_or(u32::MAX);
    if let Some(prefix) = out.get_mut(start..start + PREFIX) {
        prefix.copy_from_slice(&length.to_be_bytes());
    }
}
