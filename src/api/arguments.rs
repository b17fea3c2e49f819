//! The arguments of the commands: what may stand in a line beside its name.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};

use super::id::CommandId;
use super::kind::EventKind;
pub use super::name::{MAX_NAME, Name};
use super::take::{number, whole_within};
pub use crate::wire::room_key::Scheme;

/// The longest text of a message, in bytes.
pub const MAX_TEXT: usize = 64 << 10;
/// The longest `meta` of a message, in bytes of compact JSON.
pub const MAX_META: usize = 1 << 10;
/// The longest wait that a command may ask for, in milliseconds: a day.
pub const MAX_TIMEOUT_MS: u64 = 86_400_000;
/// The longest block that a command may ask for, unless it is for good, in milliseconds: a year.
pub const MAX_BLOCK_MS: u64 = 31_536_000_000;

/// `connect`: dials a peer, and keeps dialling it whenever the link is lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectArgs {
    /// "HOST:PORT"; an IPv6 address stands in brackets.
    pub addr: String,
}

/// `disconnect`: closes links and dials them no more. One of `peer` and `addr` is needed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DisconnectArgs {
    /// The node id of a neighbour.
    pub peer: Option<String>,
    /// The address, as it was dialled or as `peers` shows it.
    pub addr: Option<String>,
}

/// `block`: keeps a peer, an author or an address out. One of `peer`, `author` and `addr` is needed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlockArgs {
    /// A node id: links with it are closed and refused.
    pub peer: Option<String>,
    /// A node id: messages and voice of it are dropped, whoever they come from.
    pub author: Option<String>,
    /// An IP address: links to and from it are closed and refused, datagrams dropped.
    pub addr: Option<String>,
    /// For how long, in milliseconds; for good if left out.
    #[serde(default, deserialize_with = "for_ms")]
    #[schemars(range(min = 1, max = 31_536_000_000_u64))]
    pub for_ms: Option<u64>,
}

/// `unblock`: ends a block, or the ban of an address. One of `peer`, `author` and `addr` is needed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnblockArgs {
    /// A node id, blocked as a peer.
    pub peer: Option<String>,
    /// A node id, blocked as an author.
    pub author: Option<String>,
    /// An IP address.
    pub addr: Option<String>,
}

/// `send`: gossips a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SendArgs {
    /// The text, up to 64 KiB.
    pub text: String,
    /// The room; the active one if left out.
    pub room: Option<Name>,
    /// The message's id, a UUID of the caller's: sent twice, it goes out once.
    #[serde(default, deserialize_with = "uuid")]
    pub message: Option<uuid::Uuid>,
    /// Wait until there are so many links (error `no_links`).
    #[serde(default)]
    pub min_links: u32,
    /// How long `min_links` and `confirm` wait, in milliseconds.
    #[serde(default = "ten_seconds", deserialize_with = "timeout")]
    #[schemars(range(min = 0, max = 86_400_000))]
    pub timeout_ms: u64,
    /// Wait until so many neighbours have confirmed that they took it (error `not_confirmed`).
    #[serde(default)]
    pub confirm: u32,
    /// Refuse to send in the clear (error `no_key`).
    #[serde(default)]
    pub encrypted: bool,
    /// An object of up to 1 KiB that goes along untouched.
    #[serde(default, deserialize_with = "meta")]
    pub meta: Option<Map<String, Value>>,
}

const fn ten_seconds() -> u64 {
    10_000
}

const fn thirty_seconds() -> u64 {
    30_000
}

fn timeout<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    whole_within(from, 0..=MAX_TIMEOUT_MS)
}

fn for_ms<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    whole_within(from, 1..=MAX_BLOCK_MS).map(Some)
}

fn limit<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    Ok(whole_within(from, 1..=1000)? as u32)
}

fn count<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    Ok(whole_within(from, 1..=10_000)? as u32)
}

fn decibels<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    number(from, "a number from -60 to 20")
}

fn uuid<'de, D: Deserializer<'de>>(from: D) -> Result<Option<uuid::Uuid>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
    uuid::Uuid::parse_str(&text)
        .map(Some)
        .map_err(|e| de::Error::custom(format_args!("takes a UUID, and this is none: {e}")))
}

fn meta<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Map<String, Value>>, D::Error> {
    let meta = Option::<Map<String, Value>>::deserialize(from)?;
    if let Some(meta) = &meta {
        let bytes = serde_json::to_vec(meta).map_err(de::Error::custom)?;
        if bytes.len() > MAX_META {
            return Err(de::Error::custom(format_args!(
                "takes an object of at most {MAX_META} bytes, this one has {}",
                bytes.len()
            )));
        }
        if crate::wire::json::depth(&bytes) >= crate::wire::limits::MAX_DEPTH {
            return Err(de::Error::custom(
                "takes an object that is nested less deep: the network would not pass it on",
            ));
        }
    }
    Ok(meta)
}

/// `room`: changes the active room, or just shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoomArgs {
    /// The room to go to.
    pub name: Option<Name>,
}

/// `listen`: which rooms are shown beside the active one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenArgs {
    /// The rooms, in place of those before; `["*"]` is all.
    #[schemars(length(max = 1024))]
    pub rooms: Vec<Name>,
}

/// `nick`: changes the user name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NickArgs {
    /// The new user name.
    pub name: Name,
}

/// `key`: sets or clears a room's passphrase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyArgs {
    /// The passphrase; null clears the room's keys.
    #[serde(deserialize_with = "Option::deserialize")]
    pub passphrase: Option<String>,
    /// The room; the active one if left out.
    pub room: Option<Name>,
    /// The encryption; `argon2id` if left out. `original`, which the Python program reads, is weak.
    pub scheme: Option<Scheme>,
}

/// `history`: messages that are kept. With neither `after` nor `before`, the newest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryArgs {
    /// The room; the active one if left out.
    pub room: Option<Name>,
    /// At most so many messages.
    #[serde(default = "hundred", deserialize_with = "limit")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: u32,
    /// Those after this place.
    pub after_pos: Option<u64>,
    /// Those before this place.
    pub before_pos: Option<u64>,
    /// Those after the message of this id.
    pub after: Option<String>,
    /// The author of that message, whose id others may have used, too. If left out: one's own message counts before others, then
    /// a verified one, then the oldest.
    pub from: Option<String>,
}

const fn hundred() -> u32 {
    100
}

/// `trace`: what became of a message here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceArgs {
    /// The message's id.
    pub message: String,
    /// Its author. If left out: one's own message counts before others, then a verified one, then the oldest.
    pub from: Option<String>,
}

/// An event to wait for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// Its name.
    pub event: EventKind,
    /// Fields that must be equal.
    #[serde(default, rename = "match")]
    pub fields: BTreeMap<String, Value>,
}

/// `wait`: ends when an event has come, or a number of them. One of `event`, `any` and `all` is needed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitArgs {
    /// The name of the event.
    pub event: Option<EventKind>,
    /// Fields of `event` that must be equal.
    #[serde(default, rename = "match")]
    pub fields: BTreeMap<String, Value>,
    /// Any of these.
    #[schemars(length(min = 1, max = 64))]
    pub any: Option<Vec<Pattern>>,
    /// All of these, each by an event of its own, in any order.
    #[schemars(length(min = 1, max = 64))]
    pub all: Option<Vec<Pattern>>,
    /// How many of `event` or `any`.
    #[serde(default = "one", deserialize_with = "count")]
    #[schemars(range(min = 1, max = 10_000))]
    pub count: u32,
    /// How long, in milliseconds (error `timeout`).
    #[serde(default = "thirty_seconds", deserialize_with = "timeout")]
    #[schemars(range(min = 0, max = 86_400_000))]
    pub timeout_ms: u64,
    /// The `id` of an earlier command, to look from there on.
    pub after: Option<CommandId>,
}

const fn one() -> u32 {
    1
}

/// `events`: which events are shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventsArgs {
    /// Show these.
    #[serde(default)]
    pub show: Vec<EventKind>,
    /// Hide these; `reply`, `ready`, `lagged`, `fatal` and `bye` can't be.
    #[serde(default)]
    pub hide: Vec<EventKind>,
}

/// `help`: commands with their arguments and examples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HelpArgs {
    /// Only this command.
    pub of: Option<String>,
}

/// `voice_join`: joins the voice of a room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VoiceJoinArgs {
    /// The room; the active one if left out.
    pub room: Option<Name>,
    /// The microphone, as `--mic` has it.
    pub mic: Option<String>,
    /// The speaker, as `--speaker` has it.
    pub speaker: Option<String>,
    /// Whether to join muted, as push to talk does.
    #[serde(default)]
    pub muted: bool,
}

/// `voice_peers`: who is in the voice of a room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VoicePeersArgs {
    /// The room; the one whose voice was joined if left out.
    pub room: Option<Name>,
}

/// `voice_gain`: how loud a member is heard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VoiceGainArgs {
    /// The member's node id.
    pub peer: String,
    /// Decibels.
    #[serde(deserialize_with = "decibels")]
    #[schemars(range(min = -60.0, max = 20.0))]
    pub db: f64,
}

/// No arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoArgs {}
