//! Signatures that have been found wrong, so that a second copy costs no more than a look-up.
//!
//! Each is remembered by the hash of all that the verdict depends on: the bytes that are said to be signed (with the key among
//! them) and the signature. They do not contain what relays change, such as `ttl` and how the JSON is written, so the same
//! forgery is known again whatever way it took. And no forgery can keep out a true message, whose signed bytes or signature are
//! others: no sequence number and no id is remembered, only bytes that can never be right. The hash is keyed and has 128 bits,
//! so nobody can find two that share one.
//!
//! There are [`MAX_BAD_SIGNATURES`], the oldest goes first. As long as there is none, a look costs nothing.

use std::collections::{BTreeSet, VecDeque};

use crate::wire::keyed_hash::KeyedHash;
use crate::wire::limits::MAX_BAD_SIGNATURES;

/// Wrong signatures that are remembered.
#[derive(Debug)]
pub struct BadSignatures {
    hashes: KeyedHash,
    known: BTreeSet<u128>,
    /// The same, oldest first.
    order: VecDeque<u128>,
}

impl BadSignatures {
    /// None yet. `key` is random, and secret.
    pub fn new(key: [u8; 16]) -> Self {
        Self { hashes: KeyedHash::new(key), known: BTreeSet::new(), order: VecDeque::new() }
    }

    /// Whether the signature of those bytes is known to be wrong.
    pub fn contains(&self, signed: &[u8], signature: &[u8]) -> bool {
        !self.known.is_empty() && self.known.contains(&self.hash(signed, signature))
    }

    /// Remembers a wrong signature. False if it was known.
    pub fn insert(&mut self, signed: &[u8], signature: &[u8]) -> bool {
        let hash = self.hash(signed, signature);
        if !self.known.insert(hash) {
            return false;
        }
        if self.order.len() >= MAX_BAD_SIGNATURES
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(hash);
        true
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    fn hash(&self, signed: &[u8], signature: &[u8]) -> u128 {
        let half = |which: u8| u128::from(self.hashes.of((which, signed, signature)));
        half(0) << 64 | half(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_wrong_is_known() {
        let mut bad = BadSignatures::new([1; 16]);
        assert!(!bad.contains(b"text", b"signature"));
        assert!(bad.insert(b"text", b"signature") && !bad.insert(b"text", b"signature"));
        assert!(bad.contains(b"text", b"signature"));
        for (signed, signature) in [("text", "signaturf"), ("tex", "tsignature"), ("texu", "signature"), ("", "")] {
            assert!(!bad.contains(signed.as_bytes(), signature.as_bytes()), "{signed} {signature}");
        }
        assert_eq!(bad.len(), 1);
    }

    #[test]
    fn the_oldest_makes_way() {
        let mut bad = BadSignatures::new([1; 16]);
        let insert = |bad: &mut BadSignatures, n: usize| bad.insert(&n.to_be_bytes(), b"");
        (0..MAX_BAD_SIGNATURES + 10).for_each(|n| assert!(insert(&mut bad, n)));
        assert_eq!((bad.len(), bad.known.len()), (MAX_BAD_SIGNATURES, MAX_BAD_SIGNATURES));
        let knows = |n: usize| bad.contains(&n.to_be_bytes(), b"");
        assert!(!knows(9) && knows(10) && knows(MAX_BAD_SIGNATURES + 9));
    }
}
