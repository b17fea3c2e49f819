//! Datagrams of voice: bytes and what they mean.
//!
//! - [`original`]: level 1: the original's, told by a first byte from 0x20 on, which is that of a room's name
//! - [`sealed`]: level 2: ours, all of one sealed form; [`inside`]: what is in it

mod common;
pub mod inside;
pub mod original;
pub mod sealed;

pub use common::{ID, Malformed, cut};
pub use inside::Inside;
pub use original::Original;
pub use sealed::{Sealed, Sealer};

/// First bytes from here on are level 1.
const LEVEL_1_FROM: u8 = 0x20;

/// A datagram, by its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// Voice of level 1.
    Original(Original<'a>),
    /// Anything of level 2.
    Sealed(Sealed<'a>),
}

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
