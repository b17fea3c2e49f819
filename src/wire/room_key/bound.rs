//! Parts that both schemes share: sizes, and what a seal is bound to.

use crate::wire::signed::SeqNo;

/// Random bytes that sealing takes: never from a seed, and so many that they never meet.
pub const NONCE: usize = 24;
/// Bytes of a tag, in both schemes.
pub const TAG: usize = 16;

/// The kind of a sealed text, and its author. The strong scheme opens no text as another kind or author than it was sealed for.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    /// Its kind.
    pub purpose: Purpose,
    /// The author's node id.
    pub author: &'a str,
    /// The room.
    pub room: &'a str,
    /// The place of the signed message that it stands in.
    pub seq: SeqNo,
}

/// The kind of a sealed text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The text of a message.
    Text,
    /// Its `meta`.
    Meta,
    /// The key of a session of voice.
    Voice,
}
