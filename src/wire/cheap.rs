//! Hashes in place of X25519 and Ed25519, for a fuzzer that makes nodes and links by the thousand, and only there (`--cfg fuzzing`):
//! they have the same shape, cost a hundredth and prove nothing.

use sha2::{Digest, Sha256};

use super::claim::Claim;

/// A hash of parts.
fn hash(parts: &[&[u8]]) -> [u8; 32] {
    parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize().into()
}

/// See `ed25519_dalek`.
pub struct SigningKey([u8; 32]);
/// See `ed25519_dalek`.
pub struct VerifyingKey([u8; 32]);
/// See `ed25519_dalek`.
pub struct Signature([u8; 64]);

impl SigningKey {
    /// A key of a secret.
    pub fn from_bytes(secret: &[u8; 32]) -> Self {
        Self(hash(&[b"ed25519", secret]))
    }

    /// The key that others know.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(self.0)
    }

    /// Signs.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let mut bytes = [0; 64];
        for (to, from) in bytes.iter_mut().zip(hash(&[&self.0, message])) {
            *to = from;
        }
        Signature(bytes)
    }
}

impl VerifyingKey {
    /// Its bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Signature {
    /// Its bytes.
    pub fn to_bytes(&self) -> [u8; 64] {
        self.0
    }
}

/// Which of some signatures fit, in their order. Every key is one, but 0.
pub fn which_fit(claims: &[Claim<'_>]) -> Vec<bool> {
    let fits = |it: &Claim<'_>| *it.public != [0; 32] && SigningKey(*it.public).sign(it.message).0 == *it.signature;
    claims.iter().map(fits).collect()
}

/// See `x25519_dalek`.
pub struct StaticSecret([u8; 32]);
/// See `x25519_dalek`.
pub struct PublicKey([u8; 32]);
/// See `x25519_dalek`.
pub struct SharedSecret([u8; 32]);

impl From<[u8; 32]> for StaticSecret {
    fn from(secret: [u8; 32]) -> Self {
        Self(secret)
    }
}

impl StaticSecret {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The same for both ends; 0 if the other's key is.
    pub fn diffie_hellman(&self, public: &PublicKey) -> SharedSecret {
        let own = PublicKey::from(self).0;
        let (low, high) = if own < public.0 { (own, public.0) } else { (public.0, own) };
        SharedSecret(if public.0 == [0; 32] { [0; 32] } else { hash(&[b"shared", &low, &high]) })
    }
}

impl From<&StaticSecret> for PublicKey {
    fn from(secret: &StaticSecret) -> Self {
        Self(hash(&[b"x25519", &secret.0]))
    }
}

impl From<[u8; 32]> for PublicKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl PublicKey {
    /// Its bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0
    }
}

impl SharedSecret {
    /// Whether the other's key was one.
    pub fn was_contributory(&self) -> bool {
        self.0 != [0; 32]
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}
