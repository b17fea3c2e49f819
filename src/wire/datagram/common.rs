//! Parts that the datagrams of both levels share.

/// Bytes of the node id, in both levels.
pub const ID: usize = 36;

/// A datagram that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// A name as level 1's header has it: cut to `N` bytes, zero-padded.
pub fn cut<const N: usize>(name: &str) -> [u8; N] {
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    bytes
}
