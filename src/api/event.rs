//! What a node says: one object a line, `{"event":NAME,"seq":N,…}`.
//!
//! The types here leave `seq` out: the number belongs to the line, not to the event, and each client's writer gives
//! its own (see `driver::client`). A reader skips events and fields that it does not know.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::ApiError;
use super::id::CommandId;
use super::kind::{EventKind, events};

mod trouble;

pub use trouble::{Fatal, FatalCode, Warning, WarningCode};

pub use crate::base::{Direction, DropCause, LinkCode, OpenError};

macro_rules! event {
    ($($variant:ident $name:literal $ty:ty, $summary:literal $example:literal;)*) => {
        /// An event, ready to be written.
        #[derive(Debug, Clone, Serialize, JsonSchema)]
        #[serde(tag = "event", rename_all = "snake_case")]
        pub enum Event<'a> {
            $(#[doc = $summary] $variant($ty),)*
        }

        impl Event<'_> {
            /// Its kind.
            pub const fn kind(&self) -> EventKind {
                match self { $(Self::$variant(_) => EventKind::$variant,)* }
            }
        }
    };
}

events!(event);

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
    /// SIGHUP: the terminal is gone, for instance.
    Sighup,
    /// SIGUSR1.
    Sigusr1,
    /// SIGUSR2.
    Sigusr2,
    /// SIGALRM.
    Sigalrm,
    /// SIGVTALRM.
    Sigvtalrm,
    /// SIGPROF.
    Sigprof,
    /// SIGIO.
    Sigio,
    /// SIGXCPU: as much processor time as the process may have is used up.
    Sigxcpu,
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
