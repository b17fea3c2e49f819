//! Where choices come from.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Choices, one after the other.
#[derive(Debug)]
pub enum Choices<'c> {
    /// From a seed: without end.
    Seeded(Box<ChaCha12Rng>),
    /// A fuzzer's input: 0 from its end on.
    Given(&'c [u8]),
}

impl<'c> Choices<'c> {
    /// The choices of a seed.
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(Box::new(ChaCha12Rng::seed_from_u64(seed)))
    }

    /// Whether there are no more.
    pub const fn at_end(&self) -> bool {
        matches!(self, Self::Given([]))
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        match self {
            Self::Seeded(chance) => chance.next_u32() as u8,
            Self::Given(bytes) => bytes.split_off_first().copied().unwrap_or_default(),
        }
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        match self {
            Self::Seeded(chance) => chance.next_u64(),
            Self::Given(_) => u64::from_be_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    /// A number below `n`: of one byte of an input if that will do, so that other choices stay what they are.
    pub fn below(&mut self, n: usize) -> usize {
        let n = n.max(1);
        match self {
            Self::Seeded(chance) => (chance.next_u64() % n as u64) as usize,
            Self::Given(_) if n <= 1 << 8 => usize::from(self.byte()) % n,
            Self::Given(_) => usize::from(u16::from_be_bytes([self.byte(), self.byte()])) % n,
        }
    }

    /// One of these.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        let at = self.below(from.len());
        from.get(at).cloned()
    }

    /// So many bytes of an input, or as many as there are; of a seed, random ones.
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        match self {
            Self::Seeded(_) => (0..n).map(|_| self.byte()).collect(),
            Self::Given(bytes) => {
                let (taken, rest) = bytes.split_at(n.min(bytes.len()));
                *bytes = rest;
                taken.to_vec()
            }
        }
    }
}
