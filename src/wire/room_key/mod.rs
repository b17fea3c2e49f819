//! Rooms with a key: only those who have the passphrase can read the messages in them.
//!
//! There are two schemes, and a room uses one of them at a time: a text that is sealed with both would be as weak as the weaker.
//!
//! - [`original`]: what the original program reads: PBKDF2, AES-256-GCM, nothing bound to it. Weak.
//! - [`strong`]: ours: Argon2id, keys split by use, XChaCha20-Poly1305, bound to its author, room and place.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod bound;
pub mod original;
pub mod strong;

pub use bound::{Bound, NONCE, Purpose, TAG};

/// The longest seal of so many bytes: base64 of nonce, ciphertext and tag, in characters.
pub const fn sealed_len(plain: usize) -> usize {
    (NONCE + plain + TAG).div_ceil(3) * 4
}

/// How a room's text is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// Readable by the Python program, and weak: AES-256-GCM under a key from PBKDF2-HMAC-SHA256, bound to no author.
    Original,
    /// The strongest: XChaCha20-Poly1305 under keys from Argon2id, bound to author, room and the message's sequence number.
    Argon2id,
}

/// A room's key.
#[derive(Clone)]
pub enum RoomKey {
    /// Of the original's scheme.
    Original(Box<original::Key>),
    /// Of ours.
    Strong(strong::Keys),
}

impl fmt::Debug for RoomKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoomKey({:?}, ..)", self.scheme())
    }
}

impl RoomKey {
    /// Derives the key. Takes tens of milliseconds, or a tenth of a second and 64 MiB: never on the event loop.
    pub fn derive(scheme: Scheme, passphrase: &str, room: &str) -> Self {
        match scheme {
            Scheme::Original => Self::Original(original::Key::derive(passphrase, room).into()),
            Scheme::Argon2id => Self::Strong(strong::Keys::derive(passphrase, room)),
        }
    }

    /// A key that takes no time, and so protects nothing: for simulators, whose many nodes would otherwise do nothing else.
    pub fn derive_at_once(scheme: Scheme, passphrase: &str, room: &str) -> Self {
        use sha2::{Digest, Sha256};
        let root: [u8; 32] =
            Sha256::new().chain_update(room).chain_update([0]).chain_update(passphrase).finalize().into();
        match scheme {
            Scheme::Original => Self::Original(original::Key::new(&root).into()),
            Scheme::Argon2id => Self::Strong(strong::Keys::new(&root)),
        }
    }

    /// Its scheme.
    pub const fn scheme(&self) -> Scheme {
        match self {
            Self::Original(_) => Scheme::Original,
            Self::Strong(_) => Scheme::Argon2id,
        }
    }

    /// Seals `plain`, as text. `nonce`: random, never from a seed.
    pub fn seal(&self, plain: &[u8], bound: &Bound<'_>, nonce: [u8; NONCE]) -> String {
        match self {
            Self::Original(key) => key.seal(plain, original::nonce_of(&nonce)),
            Self::Strong(keys) => keys.seal(plain, bound, nonce),
        }
    }

    /// Opens what [`seal`](Self::seal) made, here or elsewhere. `None`: another key, bound to something else, or not sealed at all.
    pub fn open(&self, sealed: &str, bound: &Bound<'_>) -> Option<Vec<u8>> {
        match self {
            Self::Original(key) => key.open(sealed),
            Self::Strong(keys) => keys.open(sealed, bound),
        }
    }

    /// The key for voice of level 1, which only the original's scheme has.
    pub const fn original(&self) -> Option<&original::Key> {
        match self {
            Self::Original(key) => Some(key),
            Self::Strong(_) => None,
        }
    }

    /// Whether holders of this key understand nothing of level 1, nor the other way round.
    pub const fn is_strong(&self) -> bool {
        matches!(self, Self::Strong(_))
    }
}
