//! Reasons: why a link ends, and why a message goes no further.
//!
//! Components decide by them, and the line protocol prints them: so they stand below both.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The side that dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The peer.
    In,
    /// This node.
    Out,
}

impl Direction {
    /// Whether this node dialled.
    pub const fn is_out(self) -> bool {
        matches!(self, Self::Out)
    }
}

/// Why a link ended or did not come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkCode {
    /// The peer closed the link.
    Closed,
    /// The link broke.
    Reset,
    /// Nothing was heard from the peer for too long.
    Dead,
    /// The peer did not read what was sent to it.
    Slow,
    /// The peer sent what is not of this protocol, or too much of it.
    Malformed,
    /// The peer sent a frame over the limit.
    TooLarge,
    /// A frame was begun and not finished in time.
    Stalled,
    /// A command closed it.
    Disconnected,
    /// Another link to the same node is kept instead.
    Duplicate,
    /// Nobody listens there.
    Refused,
    /// No answer in time.
    Timeout,
    /// The host's name has no address.
    Unresolved,
    /// The host can't be reached.
    Unreachable,
    /// What answered is not a node.
    NotANode,
    /// The encrypted handshake failed: the peer is of another private network, or what passes is changed on its way.
    HandshakeFailed,
    /// The peer speaks another version of level 2.
    Version,
    /// The peer speaks level 1, which `--secure`, a network's key or an id before the address refuses.
    Level1Refused,
    /// The node there is not the one whose id was asked for.
    WrongPeer,
    /// The peer says hello with an id that it has not proved to be its own.
    UnprovenId,
    /// What came on an encrypted link could not be opened.
    BadRecord,
    /// It is this node itself.
    OwnAddress,
    /// There are as many links as there may be.
    TooManyLinks,
    /// A command has blocked the peer, or its address.
    Blocked,
    /// The peer's address is banned for a while, or a link of this machine's own has had its third strike.
    Banned,
    /// Anything else; the reason says what.
    Other,
}

/// Why a message or a frame went no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DropCause {
    /// Its id has been seen.
    Duplicate,
    /// It is not of this protocol: not JSON, no object, or a field of the wrong type.
    Malformed,
    /// Well-formed, but over a limit.
    OverLimit,
    /// The link's queue was full.
    QueueFull,
    /// A frame of a type that has no business here, or claims an authority that nobody has.
    Ignored,
    /// No more rooms fit.
    TooManyRooms,
    /// A command has blocked its author.
    Blocked,
    /// Signed, and the signature is not its author's, or something in it was changed.
    BadSignature,
    /// Signed by its author, but said before: a recording.
    Replayed,
    /// Not signed, in the name of a node that signs.
    Forged,
    /// Its author, or its link, has brought more messages than may be passed on.
    Rate,
}

/// Why a message can't be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OpenError {
    /// The room has no key here.
    NoKey,
    /// The room's key does not open it; or what was sealed for one message stands in another.
    WrongKey,
    /// It is encrypted with a scheme that the room does not use here: see `rooms`.
    OtherScheme,
}
