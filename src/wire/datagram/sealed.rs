//! Datagrams of level 2: one sealed form for everything. Numbers are big-endian.
//!
//! ```text
//! kind 0x01, session of the sender 8, counter 8, then ChaCha20-Poly1305 of what is inside
//! ```
//!
//! A *session* is a member's being in voice in one room: it has a key of 32 random bytes, which its signed `voice_join`
//! announces, sealed with the room's key where there is one. Its number is a hash of author, room and key, so that nobody can pass
//! off another's session as his own. The counter counts all datagrams of the session, whomever they go to; with four
//! zero bytes before it, it is the nonce. The 17 bytes of the header are authenticated.
//!
//! All members know the key: it keeps out strangers, and does not tell members apart.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, Tag};
use sha2::{Digest, Sha256};

use crate::wire::room_key::TAG;

/// Bytes of a session's key.
pub const KEY: usize = 32;
/// Bytes before the sealed content.
pub const HEADER: usize = 17;
/// Bytes that sealing adds.
pub const OVERHEAD: usize = HEADER + TAG;

/// The one kind there is. Below 0x20, which no room's name starts with.
const KIND: u8 = 0x01;
/// The text that a session number's hash begins with, before author, room and key.
const SESSION: &[u8] = b"p2p-chat voice session 1";

/// A datagram that came, not opened yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed<'a> {
    /// The sender's session.
    pub session: u64,
    /// No other datagram of the session has it.
    pub counter: u64,
    header: &'a [u8; HEADER],
    sealed: &'a [u8],
    tag: &'a [u8; TAG],
}

/// The key of another member's session.
#[derive(Clone)]
pub struct Key(ChaCha20Poly1305);

/// Seals the datagrams of a session of our own.
pub struct Sealer {
    key: Key,
    session: u64,
    counter: u64,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer({:016x}, {}, ..)", self.session, self.counter)
    }
}

impl<'a> Sealed<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
        let (sealed, tag) = rest.split_last_chunk::<TAG>()?;
        let (kind, numbers) = header.split_first()?;
        let (session, counter) = numbers.split_first_chunk()?;
        let counter = u64::from_be_bytes(counter.try_into().ok()?);
        let session = u64::from_be_bytes(*session);
        (*kind == KIND).then_some(Self { session, counter, header, sealed, tag })
    }

    /// Opens it. `None`: it is not sealed with this key, or has been changed.
    pub fn open(&self, key: &Key) -> Option<Vec<u8>> {
        let mut inside = self.sealed.to_vec();
        let buffer = InOutBuf::from(&mut inside[..]);
        key.0.decrypt_inout_detached(&nonce(self.counter), self.header, buffer, &(*self.tag).into()).ok()?;
        Some(inside)
    }
}

impl Key {
    /// The cipher under a key.
    pub fn new(key: &[u8; KEY]) -> Self {
        Self(ChaCha20Poly1305::new(key.into()))
    }
}

impl Sealer {
    /// A new session. `key`: random, never from a seed, never used before.
    pub fn new(author: &str, room: &str, key: &[u8; KEY]) -> Self {
        Self { key: Key::new(key), session: session(author, room, key), counter: 0 }
    }

    /// The session's number.
    pub const fn session(&self) -> u64 {
        self.session
    }

    /// Goes on with that number: only for tests that play an attacker.
    #[cfg(test)]
    pub const fn skip_to(&mut self, counter: u64) {
        self.counter = counter;
    }

    /// Appends a datagram: what `write` appends, sealed.
    pub fn seal(&mut self, write: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
        let mut header = [KIND; HEADER];
        let numbers = self.session.to_be_bytes().into_iter().chain(self.counter.to_be_bytes());
        header.iter_mut().skip(1).zip(numbers).for_each(|(to, from)| *to = from);
        out.extend_from_slice(&header);
        let start = out.len();
        write(out);
        let buffer = InOutBuf::from(out.get_mut(start..).unwrap_or_default());
        // Fails only beyond 256 GiB; a tag of zeros opens nowhere.
        let tag = self.key.0.encrypt_inout_detached(&nonce(self.counter), &header, buffer);
        out.extend_from_slice(&tag.unwrap_or_else(|_| Tag::default()));
        // 2^64 datagrams are more than any session sends.
        self.counter += 1;
    }
}

/// The number of the session that has this key.
pub fn session(author: &str, room: &str, key: &[u8; KEY]) -> u64 {
    let mut hash = Sha256::new().chain_update(SESSION);
    for name in [author, room] {
        hash.update((name.len() as u32).to_be_bytes());
        hash.update(name);
    }
    let hash: [u8; 32] = hash.chain_update(key).finalize().into();
    hash.first_chunk().map_or(0, |number| u64::from_be_bytes(*number))
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = Nonce::default();
    nonce.iter_mut().skip(4).zip(counter.to_be_bytes()).for_each(|(to, from)| *to = from);
    nonce
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Datagram;
    use super::*;

    fn read(bytes: &[u8]) -> Sealed<'_> {
        let Ok(Datagram::Sealed(read)) = Datagram::parse(bytes) else { panic!("not read") };
        read
    }

    #[test]
    fn known_answers_of_other_programs() {
        // Made with Python's `cryptography` and hashlib from what the module says.
        let key = std::array::from_fn(|i| i as u8);
        assert_eq!(session("7f0124e3-c03e-8dd0-af9a-a14885537383", "café", &key), 0xf2db_ca7d_eaee_708f);
        let (session, counter) = (0x1122_3344_5566_7788, 0x0102_0304_0506_0708);
        let mut sealer = Sealer { key: Key::new(&key), session, counter };
        let mut bytes = Vec::new();
        sealer.seal(|out| super::super::inside::write_echo(42, out), &mut bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "0111223344556677880102030405060708ece6a5f8a58ca89c3ac822bff2834a654f51994302b6c0ab39");
        let it = read(&bytes);
        assert_eq!((it.session, it.counter), (session, counter));
        assert_eq!(it.open(&Key::new(&key)), Some(vec![3, 0, 0, 0, 0, 0, 0, 0, 42]));
    }

    #[test]
    fn a_session_belongs_to_one_author_and_one_room() {
        let key = [1; KEY];
        let own = session("a", "bc", &key);
        for other in [session("ab", "c", &key), session("b", "bc", &key), session("a", "bc", &[2; KEY])] {
            assert_ne!(own, other);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100_000))]
        #[test]
        fn what_was_sealed_opens_unless_anything_is_changed(
            plain in prop::collection::vec(any::<u8>(), 0..900), before in 0_u64..3,
            flip in any::<prop::sample::Index>(), bit in 0..8,
        ) {
            let mut sealer = Sealer::new("author", "room", &[7; KEY]);
            let mut bytes = Vec::new();
            for _ in 0..=before {
                bytes.clear();
                sealer.seal(|out| out.extend_from_slice(&plain), &mut bytes);
            }
            prop_assert_eq!(bytes.len(), OVERHEAD + plain.len());
            prop_assert_eq!(read(&bytes).counter, before);
            prop_assert_eq!(read(&bytes).open(&sealer.key), Some(plain));
            prop_assert_eq!(read(&bytes).open(&Key::new(&[8; KEY])), None);
            let at = flip.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            if let Ok(Datagram::Sealed(changed)) = Datagram::parse(&bytes) {
                prop_assert_eq!(changed.open(&sealer.key), None, "byte {}", at);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(kind in 0_u8..0x30, bytes in prop::collection::vec(any::<u8>(), 0..800)) {
            let bytes: Vec<u8> = std::iter::once(kind).chain(bytes).collect();
            if let Ok(Datagram::Sealed(it)) = Datagram::parse(&bytes) {
                prop_assert_eq!(it.open(&Key::new(&[7; KEY])), None);
            }
        }
    }

    #[test]
    fn each_datagram_has_a_counter_of_its_own() {
        let mut sealer = Sealer::new("author", "room", &[7; KEY]);
        let mut all = std::collections::BTreeSet::new();
        for n in 0..1000 {
            let mut bytes = Vec::new();
            sealer.seal(|out| out.push(0), &mut bytes);
            assert_eq!((read(&bytes).session, read(&bytes).counter), (sealer.session(), n));
            assert!(all.insert(bytes.split_off(HEADER)), "the same plain text, sealed anew");
        }
    }
}
