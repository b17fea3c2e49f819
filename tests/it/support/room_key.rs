//! The original's room encryption, computed apart from the program's own.

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::Sha256;

/// What a room's text is sealed with.
pub struct RoomKey(Aes256Gcm);

impl RoomKey {
    /// The key of a room with that passphrase.
    pub fn new(passphrase: &str, room: &str) -> Self {
        let mut key = [0; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(passphrase.as_bytes(), room.as_bytes(), 100_000, &mut key);
        Self(Aes256Gcm::new(&key.into()))
    }

    /// What `encrypted_msg` holds for `text`.
    pub fn seal(&self, nonce: [u8; 12], text: &str) -> String {
        let sealed = self.0.encrypt(&Nonce::from(nonce), text.as_bytes()).expect("it fits");
        STANDARD.encode([&nonce[..], &sealed].concat())
    }

    /// What a datagram of voice holds in the room: nonce and ciphertext.
    pub fn seal_bytes(&self, nonce: [u8; 12], plain: &[u8]) -> Vec<u8> {
        let sealed = self.0.encrypt(&Nonce::from(nonce), plain).expect("it fits");
        [&nonce[..], &sealed].concat()
    }

    /// And the other way.
    #[track_caller]
    pub fn open_bytes(&self, sealed: &[u8]) -> Vec<u8> {
        let (nonce, sealed) = sealed.split_first_chunk::<12>().expect("a nonce");
        self.0.decrypt(&Nonce::from(*nonce), sealed).expect("the key opens it")
    }

    /// The text in `encrypted_msg`, and the nonce before it.
    #[track_caller]
    pub fn open(&self, sealed: &str) -> ([u8; 12], String) {
        let bytes = STANDARD.decode(sealed).expect("base64");
        let (nonce, sealed) = bytes.split_first_chunk::<12>().expect("a nonce");
        let text = self.0.decrypt(&Nonce::from(*nonce), sealed).expect("the key opens it");
        (*nonce, String::from_utf8(text).expect("UTF-8"))
    }
}

#[test]
fn it_computes_what_python_does() {
    // PBKDF2 by Python's hashlib, AES-GCM by its package cryptography.
    let sealed = "AAECAwQFBgcICQoLSjk5L9rHRnoiyOcU3dFXQVpnKZcsCScF7DLnbfXacQ==";
    let nonce = std::array::from_fn(|i| u8::try_from(i).unwrap());
    let key = RoomKey::new("correct horse", "café");
    assert_eq!(key.seal(nonce, "Grüße, 世界"), sealed);
    assert_eq!(key.open(sealed), (nonce, "Grüße, 世界".to_owned()));
}
