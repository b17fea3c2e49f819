//! A keyed 64-bit hash (SipHash-2-4) of texts and bytes from outside.
//!
//! Without the key, which never leaves the node, nobody can choose texts whose hashes are the same, or fall near each other
//! in a table.

use std::fmt;
use std::hash::{Hash, Hasher};

/// A key. All that is hashed with it and equal has the same hash, in every run.
#[derive(Clone, Copy)]
pub struct KeyedHash(u64, u64);

impl KeyedHash {
    /// Of 16 random bytes.
    pub fn new(key: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(key);
        Self((both >> 64) as u64, both as u64)
    }

    /// The hash of something: of a text or a list of them, of bytes, of a tuple of such.
    pub fn of(&self, it: impl Hash) -> u64 {
        #[allow(
            deprecated,
            reason = "named for its algorithm: the same on every run, which the default is not bound to be"
        )]
        let mut hasher = std::hash::SipHasher::new_with_keys(self.0, self.1);
        it.hash(&mut hasher);
        hasher.finish()
    }
}

impl fmt::Debug for KeyedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyedHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_siphash_with_that_key() {
        // The first of the reference's test vectors, for no input at all.
        let key = std::array::from_fn(|i| [7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8][i]);
        assert_eq!(KeyedHash::new(key).of(()), 0x726f_db47_dd0e_0e31);
        assert_ne!(KeyedHash::new([1; 16]).of("a"), KeyedHash::new([2; 16]).of("a"));
        assert_ne!(KeyedHash::new(key).of(("a", "bc")), KeyedHash::new(key).of(("ab", "c")));
    }
}
