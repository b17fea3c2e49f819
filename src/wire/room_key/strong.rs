//! Encryption of a room's text and voice, as ours has it.
//!
//! Argon2id makes a root key of the passphrase, with a salt made from the room's name, so that a guess costs a tenth of a second
//! and 64 MiB, and helps with one room alone. HKDF-SHA256 (RFC 5869) splits it by use: a key for texts and one for voice. What
//! travels is base64 of a random 24-byte nonce and the ciphertext of XChaCha20-Poly1305 with its tag; the associated data says
//! its kind, its author, its room, and the sequence number of the signed message that it stands in. So it opens nowhere else: a
//! thief who takes it out of a message can't pass it off as his own, or as something newer.
//!
//! There is no forward secrecy: anybody who learns the passphrase can read all that was recorded before.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};

use super::bound::{Bound, NONCE, Purpose, TAG};

/// The prefix of all keys and seals of this scheme.
const DOMAIN: &[u8] = b"p2p-chat room key 1";
/// Memory, in KiB; passes; lanes: what RFC 9106, 4 recommends where memory is short, but with one lane, since one thread computes it.
const COST: (u32, u32, u32) = (64 << 10, 3, 1);

/// A room's keys.
#[derive(Clone)]
pub struct Keys {
    text: XChaCha20Poly1305,
    voice: XChaCha20Poly1305,
}

impl Keys {
    /// Derives the keys. Takes a tenth of a second and 64 MiB: never on the event loop.
    pub fn derive(passphrase: &str, room: &str) -> Self {
        let salt: [u8; 32] = Sha256::new().chain_update(DOMAIN).chain_update(room).finalize().into();
        let (memory, passes, lanes) = COST;
        let mut root = [0; 32];
        let params = Params::new(memory, passes, lanes, Some(root.len()));
        params
            .map(|params| Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
            .and_then(|argon2| argon2.hash_password_into(passphrase.as_bytes(), &salt, &mut root))
            .expect("constants that are allowed, and a passphrase of less than 4 GiB: a line has at most 1 MiB");
        Self::new(&root)
    }

    /// Splits the root key.
    pub(super) fn new(root: &[u8; 32]) -> Self {
        let root = Hkdf::<Sha256>::new(None, root);
        let split = |used_for: &[u8]| {
            let mut key = [0; 32];
            // Only more than 255 hashes would be too long.
            let _ = root.expand_multi_info(&[DOMAIN, b" ", used_for], &mut key);
            XChaCha20Poly1305::new(&key.into())
        };
        Self { text: split(b"text"), voice: split(b"voice") }
    }

    /// See [`RoomKey::seal`](super::RoomKey::seal).
    pub fn seal(&self, plain: &[u8], bound: &Bound<'_>, nonce: [u8; NONCE]) -> String {
        // Fails only beyond 256 GiB.
        let payload = Payload { msg: plain, aad: &associated(bound) };
        let sealed = self.for_use(bound.purpose).encrypt(&nonce.into(), payload).unwrap_or_default();
        let mut bytes = Vec::with_capacity(NONCE + plain.len() + TAG);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&sealed);
        STANDARD.encode(bytes)
    }

    /// See [`RoomKey::open`](super::RoomKey::open).
    pub fn open(&self, sealed: &str, bound: &Bound<'_>) -> Option<Vec<u8>> {
        let bytes = STANDARD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>()?;
        let payload = Payload { msg: sealed, aad: &associated(bound) };
        self.for_use(bound.purpose).decrypt(&(*nonce).into(), payload).ok()
    }

    const fn for_use(&self, purpose: Purpose) -> &XChaCha20Poly1305 {
        match purpose {
            Purpose::Text | Purpose::Meta => &self.text,
            Purpose::Voice => &self.voice,
        }
    }
}

/// The data that a seal is bound to: each part with its length before it, in 4 bytes.
fn associated(bound: &Bound<'_>) -> Vec<u8> {
    let purpose: &[u8] = match bound.purpose {
        Purpose::Text => b"text",
        Purpose::Meta => b"meta",
        Purpose::Voice => b"voice",
    };
    let (epoch, n) = (bound.seq.epoch.to_be_bytes(), bound.seq.n.to_be_bytes());
    let mut out = Vec::with_capacity(192);
    for part in [DOMAIN, purpose, bound.author.as_bytes(), bound.room.as_bytes(), &epoch, &n] {
        out.extend_from_slice(&(part.len() as u32).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::signed::SeqNo;

    const AUTHOR: &str = "7f0124e3-c03e-8dd0-af9a-a14885537383";

    const fn bound(purpose: Purpose, n: u64) -> Bound<'static> {
        Bound { purpose, author: AUTHOR, room: "café", seq: SeqNo { epoch: 1_767_225_600_000, n } }
    }

    #[test]
    fn known_answers_of_other_programs() {
        // Made with Python's argon2-cffi (root key), `cryptography` (HKDF), PyNaCl (XChaCha20-Poly1305) and hashlib (salt), from
        // what the module says: passphrase "correct horse", room "café", nonce 00 01 .. 17.
        let keys = Keys::derive("correct horse", "café");
        let nonce = std::array::from_fn(|i| i as u8);
        let session: [u8; 32] = std::array::from_fn(|i| i as u8);
        for (plain, bound, sealed) in [
            (
                "héllo".as_bytes(),
                bound(Purpose::Text, 7),
                "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXW9OzgWVfLt68EvYYzJ+93lfBFvpvQg==",
            ),
            (
                br#"{"a":1}"#,
                bound(Purpose::Meta, 7),
                "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXSDJ7zzMBrj21bHVp/pybY8axTaLC+OY=",
            ),
            (
                &session,
                bound(Purpose::Voice, 8),
                "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXoJn/Z4GPKyYpEPxEAEOn7KScWHzTlxAWnHI6YHhPs52cwlxTDdg2aP5Cn/p3O/8T",
            ),
        ] {
            assert_eq!(keys.seal(plain, &bound, nonce), sealed);
            assert_eq!(keys.open(sealed, &bound).as_deref(), Some(plain));
        }
    }

    #[test]
    fn what_it_is_bound_to_must_be_the_same() {
        let keys = Keys::new(&[7; 32]);
        let at = bound(Purpose::Text, 7);
        let sealed = keys.seal(b"text", &at, [1; NONCE]);
        assert!(keys.open(&sealed, &at).is_some());
        for other in [
            Bound { purpose: Purpose::Meta, ..at },
            Bound { purpose: Purpose::Voice, ..at },
            Bound { author: "7f0124e3-c03e-8dd0-af9a-a14885537384", ..at },
            Bound { room: "cafés", ..at },
            Bound { room: "afé", author: "7f0124e3-c03e-8dd0-af9a-a14885537383c", ..at },
            Bound { seq: SeqNo { epoch: at.seq.epoch + 1, ..at.seq }, ..at },
            Bound { seq: SeqNo { n: 8, ..at.seq }, ..at },
            Bound { seq: SeqNo { epoch: at.seq.n, n: at.seq.epoch }, ..at },
        ] {
            assert_eq!(keys.open(&sealed, &other), None, "{other:?}");
        }
        assert_eq!(Keys::new(&[8; 32]).open(&sealed, &at), None);
    }

    #[test]
    fn any_changed_byte_is_refused() {
        let keys = Keys::new(&[7; 32]);
        let at = bound(Purpose::Text, 7);
        let sealed = keys.seal(b"text", &at, [1; NONCE]);
        for seq in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[seq] = if changed[seq] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(changed == sealed || keys.open(&changed, &at).is_none(), "byte {seq}");
        }
        for odd in ["", "AAAA", "not base64!", &sealed[..sealed.len() - 4], &sealed[..32]] {
            assert_eq!(keys.open(odd, &at), None, "{odd:?}");
        }
    }

    #[test]
    fn one_passphrase_makes_other_keys_for_another_room() {
        let (a, b) = (Keys::derive("secret", "a"), Keys::derive("secret", "b"));
        let at = bound(Purpose::Text, 1);
        assert_eq!(b.open(&a.seal(b"text", &at, [1; NONCE]), &at), None);
    }
}
