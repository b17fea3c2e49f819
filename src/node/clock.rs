//! Time and chance, as the node is given them.

use std::time::{Duration, Instant, UNIX_EPOCH};

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A moment: the clock that never jumps, for durations, and the wall's, for what people read.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Never goes back.
    pub mono: Instant,
    /// Milliseconds since 1970, UTC; may jump.
    pub unix_ms: u64,
}

/// Where seeded time starts: 2026-01-01T00:00:00Z, in milliseconds since 1970.
const SEEDED_START: u64 = 1_767_225_600_000;
/// How far seeded time goes with each stamp: a second, so that the order shows.
const SEEDED_STEP: u64 = 1000;

/// Time stamps, ids and chance. With a seed all of them are the same in every run, but for secrets.
#[derive(Debug)]
pub struct Clock {
    chance: ChaCha12Rng,
    /// For the ids of our messages alone: they must not depend on how many pings there were.
    messages: ChaCha12Rng,
    secrets: ChaCha12Rng,
    /// The next seeded stamp, with a seed.
    seeded: Option<u64>,
}

impl Clock {
    /// `entropy` is from the system. With a `seed` chance comes from it and `name` (so that the nodes of one test share
    /// a seed and not an id); secrets never do.
    pub fn new(seed: Option<u64>, name: &str, entropy: [u8; 32]) -> Self {
        let mut secrets = ChaCha12Rng::from_seed(entropy);
        let mut from_system = [0; 32];
        secrets.fill_bytes(&mut from_system);
        let chance = match seed {
            Some(seed) => Sha256::new().chain_update(seed.to_be_bytes()).chain_update(name).finalize().into(),
            None => from_system,
        };
        let mut chance = ChaCha12Rng::from_seed(chance);
        let messages = ChaCha12Rng::from_rng(&mut chance);
        Self { chance, messages, secrets, seeded: seed.map(|_| SEEDED_START) }
    }

    /// The time to write into a message or an event, in milliseconds since 1970.
    pub fn stamp(&mut self, now: Now) -> u64 {
        match &mut self.seeded {
            Some(next) => {
                *next += SEEDED_STEP;
                *next - SEEDED_STEP
            }
            None => now.unix_ms,
        }
    }

    /// A new random UUID (version 4), in its text form.
    pub fn uuid(&mut self) -> String {
        uuid(&mut self.chance)
    }

    /// The id of a message of our own, the same.
    pub fn message_id(&mut self) -> String {
        uuid(&mut self.messages)
    }

    /// A random number.
    pub fn number(&mut self) -> u64 {
        self.chance.next_u64()
    }

    /// Random bytes, from the seed if there is one.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.chance.fill_bytes(&mut bytes);
        bytes
    }

    /// Random bytes that never come from a seed.
    pub fn secret<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.secrets.fill_bytes(&mut bytes);
        bytes
    }

    /// The time of the start, in milliseconds since 1970. It uses up no stamp.
    pub fn start(&self, now: Now) -> u64 {
        self.seeded.unwrap_or(now.unix_ms)
    }

    /// The secret of a new identity: from the seed if there is one, so that a test's node ids are the same in every run.
    pub fn identity(&mut self) -> [u8; 32] {
        if self.seeded.is_some() { self.bytes() } else { self.secret() }
    }

    /// A duration spread evenly over half to one and a half of `mean`, so that nodes which lost the same peer don't all
    /// come back at once.
    pub fn jitter(&mut self, mean: Duration) -> Duration {
        let share = (self.number() >> 11) as f64 / (1_u64 << 53) as f64;
        mean.mul_f64(0.5 + share)
    }
}

fn uuid(chance: &mut ChaCha12Rng) -> String {
    let mut bytes = [0; 16];
    chance.fill_bytes(&mut bytes);
    let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
    id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).to_owned()
}

/// Milliseconds since 1970 as RFC 3339, UTC.
pub fn rfc3339(unix_ms: u64) -> String {
    // The year 9999 is as far as the format goes.
    let ms = unix_ms.min(253_402_300_799_999);
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_everything_but_secrets() {
        let now = Now { mono: Instant::now_for_test(), unix_ms: 5 };
        let run = |seed, name, entropy| {
            let mut clock = Clock::new(seed, name, [entropy; 32]);
            (clock.uuid(), clock.stamp(now), clock.stamp(now), clock.number(), clock.secret::<8>())
        };
        let (a, b) = (run(Some(7), "Alice", 1), run(Some(7), "Alice", 2));
        assert_eq!((&a.0, a.1, a.2, a.3), (&b.0, b.1, b.2, b.3));
        assert_ne!(a.4, b.4);
        assert_ne!(a.0, run(Some(7), "Bob", 1).0);
        assert_ne!(a.0, run(Some(8), "Alice", 1).0);
        assert_ne!(run(None, "Alice", 1).0, run(None, "Alice", 2).0);
        assert_eq!(run(None, "Alice", 1).1, 5);
        assert_eq!(rfc3339(a.2), "2026-01-01T00:00:01.000Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    trait ForTest {
        fn now_for_test() -> Instant;
    }

    impl ForTest for Instant {
        #[allow(clippy::disallowed_methods, reason = "any moment will do")]
        fn now_for_test() -> Instant {
            Instant::now()
        }
    }
}
