//! Voice of level 1, the original's, 696 bytes: the room's name (16 bytes, UTF-8, cut and zero-padded), the sender's node id
//! (36, the same), a sequence number (4, big-endian), 640 bytes of PCM. In a room with a key the PCM is a 12-byte nonce and
//! AES-256-GCM of it, told by the length: 724 bytes.

use std::borrow::Cow;

use super::common::ID;
use crate::voice::{FRAME, Frame};
use crate::wire::room_key::TAG;
use crate::wire::room_key::original::{Key, NONCE};

/// Bytes of the room's name.
pub const ROOM: usize = 16;
/// Bytes of a frame of PCM.
pub const PCM: usize = FRAME * 2;
/// Bytes before the PCM.
const HEADER: usize = ROOM + ID + 4;
/// Bytes of a datagram.
pub const PLAIN: usize = HEADER + PCM;
/// Bytes of one in a room with a key.
pub const SEALED: usize = PLAIN + NONCE + TAG;

/// Voice of level 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Original<'a> {
    /// The room's name, cut and padded.
    pub room: [u8; ROOM],
    /// The sender's node id, cut and padded.
    pub id: [u8; ID],
    /// Grows with each datagram.
    pub sequence: u32,
    /// 640 bytes of PCM; in a room with a key 28 more.
    payload: &'a [u8],
}

impl<'a> Original<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() != PLAIN && bytes.len() != SEALED {
            return None;
        }
        let (room, rest) = bytes.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (sequence, payload) = rest.split_first_chunk()?;
        Some(Self { room: *room, id: *id, sequence: u32::from_be_bytes(*sequence), payload })
    }

    /// The PCM, opened with the first of the room's keys that fits; with no keys it must be in the clear.
    pub fn open<'k>(&self, mut keys: impl Iterator<Item = &'k Key>) -> Option<Cow<'a, [u8]>> {
        let sealed = self.payload.len() != PCM;
        match keys.next() {
            None => (!sealed).then_some(Cow::Borrowed(self.payload)),
            Some(_) if !sealed => None,
            Some(first) => {
                let mut keys = std::iter::once(first).chain(keys);
                keys.find_map(|key| key.open_bytes(self.payload)).filter(|it| it.len() == PCM).map(Cow::Owned)
            }
        }
    }

    /// Appends a datagram. `seal`: the room's key and a nonce never used before.
    pub fn write(
        (room, id): (&[u8; ROOM], &[u8; ID]),
        sequence: u32,
        pcm: &Frame,
        seal: Option<(&Key, [u8; NONCE])>,
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(room);
        out.extend_from_slice(id);
        out.extend_from_slice(&sequence.to_be_bytes());
        match seal {
            None => out.extend(pcm.iter().flat_map(|sample| sample.to_le_bytes())),
            Some((key, nonce)) => {
                let mut plain = [0; PCM];
                for (bytes, sample) in plain.chunks_exact_mut(2).zip(pcm) {
                    bytes.copy_from_slice(&sample.to_le_bytes());
                }
                key.seal_bytes(&plain, nonce, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Datagram, cut};
    use super::*;

    fn frame() -> Frame {
        std::array::from_fn(|i| (i as i16).wrapping_mul(101))
    }

    #[test]
    fn a_datagram_of_the_original_is_696_bytes() {
        let mut bytes = Vec::new();
        Original::write((&cut("general"), &cut("127.0.0.1:5001")), 7, &frame(), None, &mut bytes);
        assert_eq!(bytes.len(), 696);
        assert_eq!(&bytes[..18], b"general\0\0\0\0\0\0\0\0\x0012");
        assert_eq!(bytes[52..56], [0, 0, 0, 7]);
        assert_eq!(bytes[58..60], 101_i16.to_le_bytes());
        let Ok(Datagram::Original(read)) = Datagram::parse(&bytes) else { panic!("not read") };
        assert_eq!((read.sequence, &read.id[..15]), (7, &b"127.0.0.1:5001\0"[..]));
        assert_eq!(read.open(std::iter::empty()).as_deref(), Some(&bytes[56..]));
        assert_eq!(read.open([&Key::derive("x", "r")].into_iter()), None, "in the clear, in a room with a key");
    }

    #[test]
    fn with_a_key_it_is_724_bytes_and_opens_with_that_key_alone() {
        let (key, other) = (Key::derive("x", "r"), Key::derive("y", "r"));
        let mut bytes = Vec::new();
        Original::write((&cut("r"), &cut("a")), 7, &frame(), Some((&key, [1; NONCE])), &mut bytes);
        assert_eq!(bytes.len(), 724);
        let Ok(Datagram::Original(read)) = Datagram::parse(&bytes) else { panic!("not read") };
        assert_eq!(read.open([&key].into_iter()).map(|pcm| pcm.len()), Some(640));
        assert_eq!(read.open([&other, &key].into_iter()).map(|pcm| pcm.len()), Some(640));
        assert_eq!(read.open(std::iter::empty()), None);
        assert_eq!(read.open([&other].into_iter()), None);
        bytes[100] ^= 1;
        let Ok(Datagram::Original(read)) = Datagram::parse(&bytes) else { panic!("not read") };
        assert_eq!(read.open([&key].into_iter()), None, "changed on its way");
    }
}
