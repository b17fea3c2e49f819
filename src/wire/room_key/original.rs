//! Encryption of a room's text, as the original has it.
//!
//! AES-256-GCM under a key from PBKDF2-HMAC-SHA256 (passphrase, salt: the room's name, 100,000 rounds); what travels is
//! base64 of a 12-byte nonce and the ciphertext with its tag, with no associated data. It hides text from readers without
//! the passphrase; but it proves no author, binds a text to no message (anybody who has seen one can send it again as his own), and
//! guessing is cheap: one graphics card tries tens of thousands of passphrases a second.

use aes_gcm::aead::{Aead, Nonce};
use aes_gcm::{Aes256Gcm, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::Sha256;

use super::bound::{self, TAG};

/// Rounds of PBKDF2. Fixed by the original.
const ROUNDS: u32 = 100_000;
/// Bytes of a nonce.
pub const NONCE: usize = 12;

/// A room's key.
#[derive(Clone)]
pub struct Key(Aes256Gcm);

impl Key {
    /// Derives the key. Takes tens of milliseconds: never on the event loop.
    pub fn derive(passphrase: &str, room: &str) -> Self {
        let key: [u8; 32] = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(passphrase.as_bytes(), room.as_bytes(), ROUNDS);
        Self::new(&key)
    }

    /// The cipher under a derived key.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(Aes256Gcm::new(key.into()))
    }

    /// Seals `plain` under a nonce that was never used before with this key: random, and never from a seed.
    pub fn seal(&self, plain: &[u8], nonce: [u8; NONCE]) -> String {
        let mut bytes = Vec::with_capacity(NONCE + plain.len() + TAG);
        self.seal_bytes(plain, nonce, &mut bytes);
        STANDARD.encode(bytes)
    }

    /// The same as bytes, appended.
    pub fn seal_bytes(&self, plain: &[u8], nonce: [u8; NONCE], out: &mut Vec<u8>) {
        // Fails only beyond 64 GiB.
        let sealed = self.0.encrypt(&Nonce::<Aes256Gcm>::from(nonce), plain).unwrap_or_default();
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
    }

    /// Opens what [`seal`](Self::seal) made, here or elsewhere. `None`: another key, or not sealed at all.
    pub fn open(&self, sealed: &str) -> Option<Vec<u8>> {
        self.open_bytes(&STANDARD.decode(sealed).ok()?)
    }

    /// Opens what [`seal_bytes`](Self::seal_bytes) made.
    pub fn open_bytes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>()?;
        self.0.decrypt(&Nonce::<Aes256Gcm>::from(*nonce), sealed).ok()
    }
}

/// A nonce of this scheme from random bytes.
pub fn nonce_of(random: &[u8; bound::NONCE]) -> [u8; NONCE] {
    random.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_answer_of_the_python_program() {
        // Made once with Python's hashlib.pbkdf2_hmac and the package `cryptography`, as the original uses them:
        // passphrase "secret", room "general", nonce 00 01 .. 0b, text "héllo".
        let key = Key::derive("secret", "general");
        let nonce = std::array::from_fn(|i| i as u8);
        let sealed = key.seal("héllo".as_bytes(), nonce);
        assert_eq!(sealed, "AAECAwQFBgcICQoLzSvl1/s/XXKGR1t8Srm2mv0rC12/cw==");
        assert_eq!(key.open(&sealed).as_deref(), Some("héllo".as_bytes()));
    }

    #[test]
    fn another_key_another_room_and_any_changed_byte_are_refused() {
        let key = Key::derive("secret", "general");
        let sealed = key.seal(b"text", [7; NONCE]);
        assert_eq!(Key::derive("Secret", "general").open(&sealed), None);
        assert_eq!(Key::derive("secret", "other").open(&sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(changed == sealed || key.open(&changed).is_none(), "byte {at}");
        }
        for odd in ["", "AAAA", "not base64!", "AAECAwQFBgcICQoL"] {
            assert_eq!(key.open(odd), None, "{odd:?}");
        }
    }
}
