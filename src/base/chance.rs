//! Chance: random streams, one for each component.
//!
//! Each stream is forked from one root by the name of its component, so that a draw more in one changes nothing in another.
//! With a seed, all streams but those of secrets are the same in every run. The secret of the identity, the ids of our messages and
//! all that links draw have streams that are not forked by name: what a seed gave once, it gives for ever.

use std::time::Duration;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The roots that streams are forked from.
#[derive(Debug)]
pub struct Roots {
    identity: [u8; 32],
    message_ids: ChaCha12Rng,
    links: ChaCha12Rng,
    chance: [u8; 32],
    secret: [u8; 32],
}

impl Roots {
    /// `entropy` is from the system. With a `seed` chance comes from it and `name` (so that the nodes of one test share
    /// a seed and not an id); secrets never do, but for the identity's, so that a test's node ids are the same in every run.
    pub fn new(seed: Option<u64>, name: &str, entropy: [u8; 32]) -> Self {
        let mut from_system = ChaCha12Rng::from_seed(entropy);
        let root = match seed {
            Some(seed) => Sha256::new().chain_update(seed.to_be_bytes()).chain_update(name).finalize().into(),
            None => bytes(&mut from_system),
        };
        let mut links = ChaCha12Rng::from_seed(root);
        let message_ids = ChaCha12Rng::from_rng(&mut links);
        let identity = if seed.is_some() { bytes(&mut links) } else { bytes(&mut from_system) };
        // The key of the table of ids seen once came from here.
        bytes::<16>(&mut links);
        Self { identity, message_ids, links, chance: root, secret: bytes(&mut from_system) }
    }

    /// The secret of a new identity.
    pub const fn identity(&self) -> [u8; 32] {
        self.identity
    }

    /// The stream of our messages' ids.
    pub fn message_ids(&self) -> Chance {
        Chance(self.message_ids.clone())
    }

    /// The stream of links.
    pub fn links(&self) -> Chance {
        Chance(self.links.clone())
    }

    /// A component's stream, repeatable with a seed.
    pub fn chance(&self, component: &str) -> Chance {
        fork(&self.chance, component)
    }

    /// A component's stream of secrets, which no seed repeats.
    pub fn secrets(&self, component: &str) -> Chance {
        fork(&self.secret, component)
    }
}

fn fork(root: &[u8; 32], component: &str) -> Chance {
    let seed = Sha256::new().chain_update(root).chain_update(component).finalize();
    Chance(ChaCha12Rng::from_seed(seed.into()))
}

fn bytes<const N: usize>(stream: &mut ChaCha12Rng) -> [u8; N] {
    let mut bytes = [0; N];
    stream.fill_bytes(&mut bytes);
    bytes
}

/// A random stream.
#[derive(Debug, Clone)]
pub struct Chance(ChaCha12Rng);

impl Chance {
    /// A random UUID (version 4), in its text form.
    pub fn uuid(&mut self) -> String {
        let id = uuid::Builder::from_random_bytes(self.bytes()).into_uuid();
        id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).to_owned()
    }

    /// A random number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        bytes(&mut self.0)
    }

    /// A duration spread evenly over half to one and a half of `mean`, so that nodes which lost the same peer don't all
    /// come back at once.
    pub fn jitter(&mut self, mean: Duration) -> Duration {
        let share = (self.number() >> 11) as f64 / (1_u64 << 53) as f64;
        mean.mul_f64(0.5 + share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_everything_but_secrets() {
        let run = |seed, name, entropy| {
            let roots = Roots::new(seed, name, [entropy; 32]);
            let ids = (roots.identity(), roots.message_ids().uuid());
            (ids, roots.chance("link").number(), roots.secrets("link").number())
        };
        let (a, b) = (run(Some(7), "Alice", 1), run(Some(7), "Alice", 2));
        assert_eq!((&a.0, a.1), (&b.0, b.1));
        assert_ne!(a.2, b.2);
        assert_ne!(a.0, run(Some(7), "Bob", 1).0);
        assert_ne!(a.0, run(Some(8), "Alice", 1).0);
        let (a, b) = (run(None, "Alice", 1), run(None, "Alice", 2));
        assert!(a.0 != b.0 && a.1 != b.1 && a.2 != b.2);
    }

    #[test]
    fn a_draw_in_one_stream_changes_no_other() {
        let roots = Roots::new(Some(7), "Alice", [1; 32]);
        let before = (roots.chance("call").number(), roots.message_ids().uuid());
        let mut link = roots.links();
        (0..100).for_each(|_| drop(link.uuid()));
        assert_eq!((roots.chance("call").number(), roots.message_ids().uuid()), before);
        assert_ne!(roots.links().number(), roots.chance("call").number());
        assert_ne!(roots.chance("link").number(), roots.secrets("link").number());
    }

    #[test]
    fn jitter_is_half_to_one_and_a_half_of_the_mean() {
        let mut chance = Roots::new(Some(1), "", [0; 32]).chance("test");
        let mean = Duration::from_secs(10);
        let all: Vec<Duration> = (0..1000).map(|_| chance.jitter(mean)).collect();
        assert!(all.iter().all(|it| (mean / 2..=mean * 3 / 2).contains(it)));
        assert!(all.iter().max() > Some(&(mean * 14 / 10)) && all.iter().min() < Some(&(mean * 6 / 10)));
    }
}
