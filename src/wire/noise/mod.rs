//! Encrypted links, which are those of level 2.
//!
//! Noise, revision 34: `Noise_XX_25519_ChaChaPoly_SHA256`, or with the key of a private network
//! `Noise_XXpsk0_25519_ChaChaPoly_SHA256`.
//!
//! ```text
//! dialler                                          listener
//! opening ‖ e                                   ─▶
//!                                               ◀─ opening ‖ e, ee, s, es, proof
//! s, se, proof ‖ records …                      ─▶
//!                                               ◀─ records …
//! ```
//!
//! The **opening** is a magic number and the version; it stands in the prologue, too. Its first byte is none that a frame of level
//! 1 begins with, and its first four are a length that the original refuses: so either end knows at the first byte what the
//! other speaks. The Noise keys last for one run of the node; the **proof** binds one to the identity: the Ed25519 key, and its
//! signature over the role and the Noise key. So the private half of the identity is needed once a run, and a node that learns a
//! proof has learnt nothing that it could use.
//!
//! **Records** are 2 bytes of length, big-endian, and that many sealed bytes. The content is a piece of the stream of frames: a
//! frame may span records, a record may hold many frames. A [`Session`] seals and opens them, in order; a record that does not open
//! ends the link, since nothing can be sent again within one.
//!
//! - [`crypto`]: the parts that Noise is built of; [`session`]: records

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use snow::HandshakeState;

use super::identity::{self, Identity, KEY, SIGNATURE};

mod crypto;
mod session;
#[cfg(test)]
mod tests;

use crypto::TAG;
pub use session::{BadRecord, MAX_PLAIN, OVERHEAD, Session};

/// The first bytes of a link of level 2. As a length they would be 2.5 GB.
pub const MAGIC: [u8; 4] = *b"\x96p2p";
/// The version of this handshake and of what follows it.
pub const VERSION: u8 = 1;
/// The magic and the version.
const OPENING: [u8; 5] = [0x96, b'p', b'2', b'p', VERSION];
/// A proof, in bytes.
const PROOF: usize = KEY + SIGNATURE;
/// The messages of the handshake, in bytes: `e` (with a network's key its empty payload has a tag),
const FIRST: usize = KEY;
/// `e, ee, s, es, proof`,
const SECOND: usize = KEY + (KEY + TAG) + (PROOF + TAG);
/// `s, se, proof`.
const THIRD: usize = (KEY + TAG) + (PROOF + TAG);

/// The text that a proof signs, before the Noise key; a listener's proof is none for a dialler.
const PROVES_DIALLER: &[u8] = b"p2p-chat link 1 dialler";
const PROVES_LISTENER: &[u8] = b"p2p-chat link 1 listener";
/// The salt of a network's key. One for all: there is no name of a network that both ends could know beforehand.
const NETWORK_SALT: &[u8] = b"p2p-chat network 1";
/// Argon2id for a network's key: 64 MiB, 3 passes, 1 lane. RFC 9106, 4, its second recommendation but for the lanes.
const NETWORK_COST: (u32, u32, u32) = (64 << 10, 3, 1);

/// Why a handshake failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The bytes do not begin as a link of level 2 does.
    NotNoise,
    /// The peer speaks another version.
    Version(u8),
    /// A message did not open: damaged or forged, or another network's key.
    Failed,
    /// It opened, and the proof in it does not hold: no honest node sends such a thing, and nobody on the way can cause it.
    BadProof,
    /// The peer has proved another id than the one asked for.
    WrongPeer(String),
}

/// The key of a private network.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NetworkKey([u8; KEY]);

impl std::fmt::Debug for NetworkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NetworkKey(..)")
    }
}

impl NetworkKey {
    /// Derives it from a passphrase. Takes a good tenth of a second, on purpose. `None` if there is no memory for it.
    pub fn derive(secret: &str) -> Option<Self> {
        let (memory, passes, lanes) = NETWORK_COST;
        let mut key = [0; KEY];
        let params = Params::new(memory, passes, lanes, Some(KEY)).ok()?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon.hash_password_into(secret.as_bytes(), NETWORK_SALT, &mut key).ok()?;
        Some(Self(key))
    }
}

/// The keys of a node that each of its handshakes uses.
pub struct Keys {
    secret: [u8; KEY],
    as_dialler: [u8; PROOF],
    as_listener: [u8; PROOF],
    network: Option<NetworkKey>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    /// For one run: `secret` is drawn afresh.
    pub fn new(identity: &Identity, secret: [u8; KEY], network: Option<NetworkKey>) -> Self {
        let noise = crypto::public_key(&secret);
        let proof = |role: &[u8]| {
            let mut proof = [0; PROOF];
            let (key, signature) = proof.split_at_mut(KEY);
            key.copy_from_slice(&identity.public());
            signature.copy_from_slice(&identity.sign(&[role, &noise].concat()));
            proof
        };
        Self { secret, as_dialler: proof(PROVES_DIALLER), as_listener: proof(PROVES_LISTENER), network }
    }

    /// Whether only holders of a network's key can link.
    pub const fn is_private(&self) -> bool {
        self.network.is_some()
    }
}

/// A handshake under way.
pub struct Handshake {
    /// Made when it is needed, and gone when it is done.
    noise: Option<HandshakeState>,
    seed: [u8; KEY],
    dials: bool,
    /// Which of the messages to come is awaited.
    awaits: Awaits,
    /// Its length, with what stands before it.
    length: usize,
    /// Received bytes of the message that is next.
    came: Vec<u8>,
    /// The only id that is let in, if one is asked for.
    expected: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaits {
    First,
    Second,
    Third,
}

/// The node that has proved to be at the other end, and the keys of the link.
#[derive(Debug)]
pub struct Proven {
    /// Its node id.
    pub id: String,
    /// Seals and opens records from here on.
    pub session: Session,
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake").field("awaits", &self.awaits).finish_non_exhaustive()
    }
}

impl Handshake {
    /// Begins one as the dialler. `seed` is random and secret, and serves this handshake alone. The bytes to send are appended
    /// to `out`.
    ///
    /// # Errors
    /// None that input from outside can cause.
    pub fn dial(keys: &Keys, seed: [u8; KEY], expected: Option<Arc<str>>, out: &mut Vec<u8>) -> Result<Self, Failure> {
        let mut this = Self {
            noise: None,
            seed,
            dials: true,
            awaits: Awaits::Second,
            length: OPENING.len() + SECOND,
            came: Vec::new(),
            expected,
        };
        this.noise = Some(this.start(keys)?);
        out.extend_from_slice(&OPENING);
        this.say(&[], out)?;
        Ok(this)
    }

    /// Begins one as the listener.
    pub const fn answer(keys: &Keys, seed: [u8; KEY]) -> Self {
        let tag = if keys.is_private() { TAG } else { 0 };
        let length = OPENING.len() + FIRST + tag;
        Self { noise: None, seed, dials: false, awaits: Awaits::First, length, came: Vec::new(), expected: None }
    }

    /// Whether nothing has come yet.
    pub fn is_untouched(&self) -> bool {
        self.came.is_empty() && self.awaits != Awaits::Third
    }

    /// Takes in what came, and moves `input` past what was used. What is to be sent is appended to `out`, even on a failure.
    /// It is done when it gives the other node; the rest of `input` is then for the session.
    ///
    /// # Errors
    /// The link must be closed.
    pub fn take(&mut self, keys: &Keys, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Option<Proven>, Failure> {
        while self.hear(keys, input, out)? {
            if let Some(proven) = self.advance(keys, out)? {
                return Ok(Some(proven));
            }
        }
        Ok(None)
    }

    /// The half of [`take`](Self::take) that costs nothing: whether the message that is awaited is whole, and it is time to
    /// [`advance`](Self::advance).
    ///
    /// # Errors
    /// The link must be closed.
    pub fn hear(&mut self, keys: &Keys, input: &mut &[u8], out: &mut Vec<u8>) -> Result<bool, Failure> {
        let whole = self.fill(input);
        self.check_opening(keys, out)?;
        Ok(whole)
    }

    /// The half of [`take`](Self::take) that costs a good tenth of a millisecond: opens the message that has come, and answers.
    ///
    /// # Errors
    /// The link must be closed.
    pub fn advance(&mut self, keys: &Keys, out: &mut Vec<u8>) -> Result<Option<Proven>, Failure> {
        let came = std::mem::take(&mut self.came);
        let after_opening = came.get(OPENING.len()..).unwrap_or_default();
        match self.awaits {
            Awaits::First => {
                self.noise = Some(self.start(keys)?);
                self.open::<0>(after_opening)?;
                out.extend_from_slice(&OPENING);
                self.say(&keys.as_listener, out)?;
                (self.awaits, self.length) = (Awaits::Third, THIRD);
                Ok(None)
            }
            Awaits::Second => {
                let proof = self.open(after_opening)?;
                let id = self.check(PROVES_LISTENER, &proof)?;
                // Before ours is shown to it.
                if self.expected.as_deref().is_some_and(|expected| expected != id) {
                    return Err(Failure::WrongPeer(id));
                }
                self.say(&keys.as_dialler, out)?;
                self.finish(id).map(Some)
            }
            Awaits::Third => {
                let proof = self.open(&came)?;
                let id = self.check(PROVES_DIALLER, &proof)?;
                self.finish(id).map(Some)
            }
        }
    }

    /// Whether the message that is awaited is whole.
    fn fill(&mut self, input: &mut &[u8]) -> bool {
        let missing = self.length.saturating_sub(self.came.len()).min(input.len());
        let (now, later) = input.split_at(missing);
        self.came.extend_from_slice(now);
        *input = later;
        self.came.len() == self.length
    }

    /// Fails as soon as the first bytes of an opening are wrong, not only when the rest has come. In a private network it does not
    /// answer.
    fn check_opening(&self, keys: &Keys, out: &mut Vec<u8>) -> Result<(), Failure> {
        if self.awaits == Awaits::Third {
            return Ok(());
        }
        if self.came.iter().zip(&MAGIC).any(|(came, magic)| came != magic) {
            return Err(Failure::NotNoise);
        }
        match self.came.get(MAGIC.len()) {
            Some(&version) if version != VERSION => {
                if !self.dials && !keys.is_private() {
                    out.extend_from_slice(&OPENING);
                }
                Err(Failure::Version(version))
            }
            _ => Ok(()),
        }
    }

    fn say(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let noise = self.noise.as_mut().ok_or(Failure::Failed)?;
        let start = out.len();
        out.resize(start + SECOND + TAG, 0);
        let written = noise.write_message(payload, out.get_mut(start..).unwrap_or_default());
        out.truncate(start + written.as_ref().copied().unwrap_or_default());
        written.map(drop).map_err(|_| Failure::Failed)
    }

    fn open<const N: usize>(&mut self, message: &[u8]) -> Result<[u8; N], Failure> {
        let noise = self.noise.as_mut().ok_or(Failure::Failed)?;
        let mut payload = [0; PROOF + TAG];
        let n = noise.read_message(message, &mut payload).map_err(|_| Failure::Failed)?;
        payload.get(..n).and_then(|payload| payload.try_into().ok()).ok_or(Failure::Failed)
    }

    /// The node id that a proof proves.
    fn check(&self, role: &[u8], proof: &[u8; PROOF]) -> Result<String, Failure> {
        let parts = proof.split_first_chunk::<KEY>().and_then(|(key, rest)| Some((key, rest.first_chunk()?)));
        let noise = self.noise.as_ref().and_then(HandshakeState::get_remote_static);
        let (Some((key, signature)), Some(noise)) = (parts, noise) else { return Err(Failure::Failed) };
        match identity::is_signed(key, &[role, noise].concat(), signature) {
            true => Ok(identity::node_id(key).to_string()),
            false => Err(Failure::BadProof),
        }
    }

    fn finish(&mut self, id: String) -> Result<Proven, Failure> {
        let noise = self.noise.take().and_then(|noise| noise.into_transport_mode().ok());
        noise.map(|noise| Proven { id, session: Session::new(noise) }).ok_or(Failure::Failed)
    }

    fn start(&self, keys: &Keys) -> Result<HandshakeState, Failure> {
        let name = match keys.network {
            Some(_) => "Noise_XXpsk0_25519_ChaChaPoly_SHA256",
            None => "Noise_XX_25519_ChaChaPoly_SHA256",
        };
        let build = || {
            let builder = snow::Builder::with_resolver(name.parse()?, Box::new(crypto::Parts(self.seed)));
            let mut builder = builder.prologue(&OPENING)?.local_private_key(&keys.secret)?;
            if let Some(NetworkKey(key)) = &keys.network {
                builder = builder.psk(0, key)?;
            }
            if self.dials { builder.build_initiator() } else { builder.build_responder() }
        };
        build().map_err(|_: snow::Error| Failure::Failed)
    }
}

/// A step of a handshake that costs: for another thread.
pub struct Step {
    /// The keys of its node.
    pub keys: Arc<Keys>,
    /// The handshake, to [`advance`](Handshake::advance).
    pub handshake: Box<Handshake>,
    /// Bytes that had come after the message.
    pub rest: Vec<u8>,
}

/// The result of a step.
pub struct Stepped {
    /// The handshake.
    pub handshake: Box<Handshake>,
    /// The other node, if the handshake is done; or the reason why it can't go on.
    pub outcome: Result<Option<Proven>, Failure>,
    /// Bytes to send.
    pub said: Vec<u8>,
    /// Bytes that had come after the message.
    pub rest: Vec<u8>,
}

impl Step {
    /// Makes it.
    pub fn make(mut self) -> Stepped {
        let mut said = Vec::new();
        let outcome = self.handshake.advance(&self.keys, &mut said);
        Stepped { handshake: self.handshake, outcome, said, rest: self.rest }
    }
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Stepped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stepped").finish_non_exhaustive()
    }
}
