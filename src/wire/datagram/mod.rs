//! Datagrams of voice: bytes and what they mean.
//!
//! - [`original`]: level 1: the original's, told by a first byte from 0x20 on, which is that of a room's name
//! - [`sealed`]: level 2: ours, all of one sealed form; [`inside`]: what is in it

pub mod inside;
pub mod original;
pub mod sealed;

pub use inside::Inside;
pub use original::Original;
pub use sealed::{Sealed, Sealer};

/// Bytes of the node id, in both levels.
pub const ID: usize = 36;
/// First bytes from here on are level 1.
const LEVEL_1_FROM: u8 = 0x20;

/// What a datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// Voice of level 1.
    Original(Original<'a>),
    /// Anything of level 2.
    Sealed(Sealed<'a>),
}

/// A datagram that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl<'a> Datagram<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// If its length or its first byte is of neither level.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match bytes.first() {
            Some(LEVEL_1_FROM..) => Original::parse(bytes).map(Self::Original).ok_or(Malformed),
            _ => Sealed::parse(bytes).map(Self::Sealed).ok_or(Malformed),
        }
    }
}

/// A name as level 1's header has it: cut to `N` bytes, zero-padded.
pub fn cut<const N: usize>(name: &str) -> [u8; N] {
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    bytes
}
