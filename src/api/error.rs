//! Error replies: a stable code for programs, a sentence for people, and whether trying again can help.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a command was refused or failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ApiError {
    /// Stable, for programs.
    pub code: ErrorCode,
    /// For people: what is wrong and what to do about it. Its wording may change.
    pub message: String,
    /// Whether the same command may succeed later.
    pub retryable: bool,
}

impl ApiError {
    /// An error whose `retryable` follows from its code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retryable: code.retryable() }
    }
}

/// What can go wrong with a command. New codes may be added; none changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The line is longer than 1 MiB; it was skipped up to its newline.
    LineTooLong,
    /// The line is not UTF-8.
    BadUtf8,
    /// The line is not JSON, or names a key twice.
    BadJson,
    /// The line is JSON, but not an object.
    NotAnObject,
    /// `cmd` is not a command of this version.
    UnknownCommand,
    /// A field that the command must have is missing.
    MissingField,
    /// The command has no field of that name.
    UnknownField,
    /// A field holds a value of the wrong type.
    BadType,
    /// A field's value is of the right type, but out of its range or form.
    BadValue,
    /// The peer could not be reached, or the handshake with it failed.
    ConnectFailed,
    /// The node at the address is not the one whose id was asked for.
    WrongPeer,
    /// The peer speaks level 1, which is refused.
    Level1Refused,
    /// The address or the node id is this node's own.
    OwnAddress,
    /// The node has as many links, or addresses to dial, as it may have.
    TooManyLinks,
    /// Fewer links than `min_links` before the time was over.
    NoLinks,
    /// Fewer confirmations than `confirm` before the time was over. The message may have arrived all the same.
    NotConfirmed,
    /// `encrypted` was asked for, and the room has no key.
    NoKey,
    /// Nothing here goes by that name: a peer, a room, a message, an earlier command.
    NotFound,
    /// What was asked for is no longer kept.
    Gone,
    /// The time was over before what was waited for came.
    Timeout,
    /// More events have passed than `wait` can look back over; its place is now the oldest still there.
    EventsGone,
    /// `wait` was asked for an event that is hidden and not recorded: show it first, with `events`.
    EventHidden,
    /// This build or this node has no voice.
    VoiceUnavailable,
    /// Voice is already on, in one room.
    AlreadyInVoice,
    /// This node is not in voice.
    NotInVoice,
    /// The voice of the room has as many members as it may.
    RoomFull,
    /// The microphone or the speaker could not be opened.
    DeviceFailed,
    /// Too many `async` commands are waiting.
    Busy,
    /// The node knows as many rooms as it may.
    TooManyRooms,
    /// As many are blocked as may be.
    TooManyBlocks,
    /// What is to be linked is blocked.
    Blocked,
    /// This version does not know that encryption scheme.
    UnknownScheme,
    /// The node is ending: what the command waited for was cut short.
    Interrupted,
}

impl ErrorCode {
    /// Whether the same command may succeed later.
    pub const fn retryable(self) -> bool {
        use ErrorCode::*;
        matches!(
            self,
            ConnectFailed
                | WrongPeer
                | Level1Refused
                | RoomFull
                | DeviceFailed
                | TooManyLinks
                | NoLinks
                | NotConfirmed
                | Timeout
                | EventsGone
                | Busy
                | TooManyRooms
        )
    }
}
