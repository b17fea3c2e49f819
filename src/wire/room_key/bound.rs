//! Parts that both schemes share: sizes, and what a seal is bound to.

use crate::wire::signed::Place;

/// Random bytes that sealing takes: never from a seed, and so many that they never meet.
pub const NONCE: usize = 24;
/// Bytes of a tag, in both schemes.
pub const TAG: usize = 16;

/// What is sealed, and whose it is. The strong scheme opens nothing that was sealed as something else.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    /// What it is.
    pub purpose: Purpose,
    /// The author's node id.
    pub author: &'a str,
    /// The room.
    pub room: &'a str,
    /// The place of the signed message that it stands in.
    pub place: Place,
}

/// What is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The text of a message.
    Text,
    /// Its `meta`.
    Meta,
    /// The key of a session of voice.
    Voice,
}
