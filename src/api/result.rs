//! What commands answer: the `result` of a `reply`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use super::event::{Direction, DropCause, Limits};
use super::kind::EventKind;
use crate::wire::room_key::Scheme;

/// Of `connect`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Connected {
    /// The peer's node id.
    pub peer: String,
    /// The address that was dialled.
    pub addr: String,
}

/// Of `disconnect`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Disconnected {
    /// How many links were closed.
    pub closed: usize,
}

/// Of `send`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Sent {
    /// The message's id.
    pub message: String,
    /// Its room.
    pub room: String,
    /// To how many links it was handed.
    pub links: usize,
    /// How many neighbours have confirmed that they took it.
    pub confirmed: usize,
    /// Whether it had been sent before: then it was not sent again.
    pub duplicate: bool,
}

/// Of `room`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RoomChanged {
    /// The active room now.
    pub room: String,
    /// The active room before.
    pub previous: String,
}

/// Of `rooms`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Rooms {
    /// The rooms, by name.
    pub rooms: Vec<RoomInfo>,
}

/// A room.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RoomInfo {
    /// Its name.
    pub name: String,
    /// How many of its messages are kept here.
    pub messages: usize,
    /// The `pos` of the newest; null: none.
    pub last_pos: Option<u64>,
    /// Whether it has a key here.
    pub encrypted: bool,
    /// Its encryption; null without a key.
    pub scheme: Option<Scheme>,
    /// Whether it is the active room.
    pub active: bool,
    /// Whether it is shown beside the active room.
    pub listened: bool,
}

/// Of `listen`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listening {
    /// The rooms that are shown beside the active one.
    pub rooms: Vec<String>,
}

/// Of `nick`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Renamed {
    /// The user name now.
    pub username: String,
    /// The user name before.
    pub previous: String,
}

/// Of `peers`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Peers {
    /// The neighbours, oldest link first.
    pub peers: Vec<PeerInfo>,
}

/// A neighbour.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PeerInfo {
    /// Its node id.
    pub peer: String,
    /// Its user name.
    pub username: String,
    /// The address at the other end of the link.
    pub addr: String,
    /// Who dialled.
    pub direction: Direction,
    /// For how many seconds.
    pub connected_s: u64,
    /// The last round trip in milliseconds; null: unknown.
    pub rtt_ms: Option<f64>,
    /// 1: the original's format; 2: ours.
    pub level: u8,
    /// Whether the link is encrypted.
    pub secure: bool,
    /// Frames that wait to be written to it.
    pub queued: usize,
}

/// Of `block`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Blocked {
    /// Who is blocked.
    #[serde(flatten)]
    pub who: Blockee,
    /// For how long, in milliseconds; null: for good.
    pub left_ms: Option<u64>,
    /// How many links were closed.
    pub closed: usize,
}

/// Of `unblock`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Unblocked {
    /// Who is blocked no more.
    #[serde(flatten)]
    pub who: Blockee,
}

/// Of `blocks`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Blocks {
    /// The blocks, then the bans.
    pub blocks: Vec<Block>,
}

/// A block or a ban.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Block {
    /// Who is blocked.
    #[serde(flatten)]
    pub who: Blockee,
    /// How much longer, in milliseconds; null: for good.
    pub left_ms: Option<u64>,
    /// Whether it is a ban: for strikes, not by command, and forgotten when the node ends.
    pub ban: bool,
}

/// Who is blocked: one of these.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Blockee {
    /// The node id of a neighbour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The node id of an author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// An IP address; of a ban also an IPv6 network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addr: Option<String>,
}

/// Of `voice_join`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct VoiceJoined {
    /// The room.
    pub room: String,
    /// The UDP address that voice comes to.
    pub udp: String,
    /// The microphone really used.
    pub mic: String,
    /// The speaker really used.
    pub speaker: String,
}

/// Of `voice_leave`, `voice_mute` and `voice_unmute`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct VoiceState {
    /// The room.
    pub room: String,
    /// Whether the microphone is muted.
    pub muted: bool,
}

/// Of `voice_peers`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct VoicePeers {
    /// The members, this node left out.
    pub peers: Vec<VoicePeer>,
}

/// A member of a voice room.
#[derive(Debug, Serialize, JsonSchema)]
pub struct VoicePeer {
    /// Its node id.
    pub peer: String,
    /// Its user name.
    pub username: String,
    /// Where its voice is sent; null: unknown.
    pub addr: Option<String>,
    /// Whether it is muted.
    pub muted: bool,
    /// Whether it speaks now.
    pub speaking: bool,
    /// Its codec; null: none heard yet.
    pub codec: Option<String>,
    /// How loud it comes in, in dB below full scale; null: silent.
    pub level_db: Option<f64>,
    /// How loud it is heard here, in dB.
    pub gain_db: f64,
    /// Datagrams received.
    pub received: u64,
    /// Datagrams lost.
    pub lost: u64,
    /// Datagrams that came too late to be played.
    pub late: u64,
    /// Audio frames that were made up.
    pub concealed: u64,
    /// How much its datagrams vary in time, in milliseconds.
    pub jitter_ms: f64,
    /// The playout delay, in milliseconds.
    pub delay_ms: f64,
    /// Why it has not been heard for 5 s; null: it has been, or this node is not in voice with it.
    pub unheard: Option<Unheard>,
}

/// Why a member of voice is not heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unheard {
    /// It has announced no address that can be reached from here, and no datagram of it has come.
    NoAddress,
    /// No answer has come from its address.
    NoEcho,
    /// Its voice can't be opened with the keys that the room has here.
    Key,
    /// It can be sent to, but nothing comes from it.
    Silent,
}

/// Of `voice_gain`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct VoiceGain {
    /// The member's node id.
    pub peer: String,
    /// Decibels.
    pub db: f64,
}

/// Of `devices`.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Devices {
    /// Microphones.
    pub inputs: Vec<Device>,
    /// Speakers.
    pub outputs: Vec<Device>,
}

/// A sound device.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Device {
    /// Its name, as `--mic` and `--speaker` take it.
    pub name: String,
    /// Whether it is the system's default.
    pub default: bool,
}

/// Of `key`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Keyed {
    /// The room.
    pub room: String,
    /// Whether it has a key now.
    pub encrypted: bool,
    /// Its encryption; null without a key.
    pub scheme: Option<Scheme>,
}

/// Of `history`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct History {
    /// The messages, oldest first, each with the fields of the event `message`.
    #[schemars(with = "Vec<super::event::Message<'static>>")]
    pub messages: Vec<Box<RawValue>>,
    /// Whether there are more in that direction.
    pub more: bool,
    /// To go on with, as `after_pos` (or `before_pos` when going back).
    pub next_pos: Option<u64>,
}

/// Of `trace`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Trace {
    /// The message's id.
    pub message: String,
    /// The node id of its author.
    pub from: String,
    /// The neighbour its first copy came from; null for one's own.
    pub via: Option<String>,
    /// Links its first copy crossed.
    pub hops: u32,
    /// How many copies came.
    pub copies: u32,
    /// When the first came, RFC 3339, our clock.
    pub received_at: String,
    /// The neighbours it was handed to.
    pub links: Vec<TraceLink>,
    /// Why it was not shown or went no further; null: nothing stopped it.
    pub dropped: Option<DropCause>,
}

/// A neighbour that a message was handed to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TraceLink {
    /// Its node id.
    pub peer: String,
    /// When, in milliseconds after the first copy came.
    pub after_ms: f64,
    /// Whether it has confirmed that it took it.
    pub confirmed: bool,
}

/// Of `wait`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Waited {
    /// The events that matched, whole; without `seq` those that were hidden. (Lines lost to a slow reader after the
    /// wait was answered can shift the numbers of those that follow.)
    #[schemars(with = "Vec<BTreeMap<String, serde_json::Value>>")]
    pub events: Vec<Box<RawValue>>,
    /// How many more matched and did not fit the line.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: usize,
    /// For how long it waited, in milliseconds.
    pub elapsed_ms: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// Of `events`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Shown {
    /// The events that are shown.
    pub shown: Vec<EventKind>,
    /// Those that are hidden.
    pub hidden: Vec<EventKind>,
}

/// Of `status`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Status {
    /// This node's id.
    pub node: String,
    /// This node's user name.
    pub username: String,
    /// The active room.
    pub room: String,
    /// The rooms shown beside it.
    pub listened: Vec<String>,
    /// The rooms with a key.
    pub keyed: Vec<String>,
    /// The same, each with its encryption.
    pub schemes: BTreeMap<String, Scheme>,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Links to neighbours.
    pub links: usize,
    /// Links whose handshake is not done.
    pub handshakes: usize,
    /// Dials under way.
    pub dialling: usize,
    /// What was counted since the start.
    pub counters: crate::base::Counters,
    /// What is held now.
    pub queues: Queues,
    /// What may be held.
    pub limits: Limits,
}

/// What is held.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Queues {
    /// Frames that wait to be written to links.
    pub frames: usize,
    /// Their bytes.
    pub frame_bytes: usize,
    /// Message ids that are remembered.
    pub seen_ids: usize,
    /// Authors whose signed messages are remembered by their counters.
    pub authors: usize,
    /// The intervals of their counters.
    pub author_intervals: usize,
    /// Messages kept.
    pub history: usize,
    /// Their bytes.
    pub history_bytes: usize,
    /// Rooms known.
    pub rooms: usize,
    /// Messages that `trace` knows.
    pub traces: usize,
    /// Events that `wait` can look back over.
    pub wait_events: usize,
    /// Their bytes.
    pub wait_bytes: usize,
    /// Commands that are waiting.
    pub waiting: usize,
    /// Addresses that are dialled or will be again.
    pub dial_targets: usize,
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
    /// Changes that are not safe in the state folder yet.
    pub unsaved: u64,
}

/// Of `help`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Help {
    /// The commands.
    pub commands: Vec<CommandHelp>,
    /// The events, unless one command was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventHelp>,
}

/// A command, explained.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CommandHelp {
    /// Its name.
    pub cmd: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// Its arguments.
    pub arguments: Vec<ArgumentHelp>,
    /// A line that works.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub example: &'static RawValue,
}

/// An argument, explained.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ArgumentHelp {
    /// Its name.
    pub name: String,
    /// What it is.
    pub about: String,
    /// Whether it must be there.
    pub required: bool,
}

/// An event, explained.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EventHelp {
    /// Its name.
    pub event: &'static str,
    /// What it tells.
    pub summary: &'static str,
    /// A line as a node prints it.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub example: &'static RawValue,
}

/// Of `exit`: nothing.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Nothing {}
