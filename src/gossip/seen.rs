//! Message ids that are remembered, so that each message is taken once.
//!
//! A ring of entries in the order of their coming and an open-addressing index into it, both of a fixed size: the
//! oldest goes when a new one needs its place, one for one. So no message ever waits for a table to grow, and memory
//! that no id has touched yet costs nothing (it comes zeroed from the system, page by page).
//!
//! A message that is signed is known by its author and its id, any other by its id alone: so nobody can use up the id of
//! another's message before that comes.
//!
//! Both are known by a 64-bit keyed hash (SipHash). Two of one node's 262,144 share one by chance once in 10^8
//! times the table is filled; without the key, which never leaves the node, nobody can make them share one.

use std::hash::{Hash, Hasher};

use crate::wire::limits::MAX_SEEN;

/// What is known of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its number in the order of coming, from 0, over the node's life.
    pub number: u64,
    /// The most forwards left that any copy had.
    pub best_ttl: u8,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u64,
    /// The hash of its id alone: the same as `hash` if nobody has signed it.
    id_hash: u64,
    best_ttl: u8,
}

/// The table.
#[derive(Debug)]
pub struct Seen {
    key: [u8; 16],
    ring: Vec<Entry>,
    /// Places in the ring, plus 1; 0: free. Linear probing, at most half full.
    index: Vec<u32>,
    capacity: usize,
    next: u64,
}

impl Seen {
    /// A table of [`MAX_SEEN`] ids.
    pub fn new(key: [u8; 16]) -> Self {
        Self::with_capacity(key, MAX_SEEN)
    }

    /// A table of `capacity` ids, a power of two.
    pub fn with_capacity(key: [u8; 16], capacity: usize) -> Self {
        let capacity = capacity.next_power_of_two();
        Self { key, ring: Vec::with_capacity(capacity), index: vec![0; capacity * 2], capacity, next: 0 }
    }

    /// Remembers a message that is not known yet, by its id and, if it is signed, its author. Gives its number, or what is
    /// known if it is known after all.
    pub fn insert(&mut self, id: &str, author: Option<&str>, ttl: u8) -> Result<u64, Known> {
        let hash = self.hash(id, author);
        if let Some(at) = self.find(hash) {
            return Err(self.known(at));
        }
        let id_hash = if author.is_some() { self.hash(id, None) } else { hash };
        let number = self.next;
        self.next += 1;
        let entry = Entry { hash, id_hash, best_ttl: ttl };
        let place = (number % self.capacity as u64) as usize;
        if place < self.ring.len() {
            self.forget(place);
            self.ring[place] = entry;
        } else {
            self.ring.push(entry);
        }
        let mask = self.index.len() - 1;
        let mut at = hash as usize & mask;
        while self.index[at] != 0 {
            at = (at + 1) & mask;
        }
        self.index[at] = place as u32 + 1;
        Ok(number)
    }

    /// What is known of a message.
    pub fn get(&self, id: &str, author: Option<&str>) -> Option<Known> {
        self.find(self.hash(id, author)).map(|at| self.known(at))
    }

    /// A copy with more forwards left has come.
    pub fn raise(&mut self, number: u64, ttl: u8) {
        let place = (number % self.capacity as u64) as usize;
        if let Some(entry) = self.ring.get_mut(place) {
            entry.best_ttl = entry.best_ttl.max(ttl);
        }
    }

    /// The number of a message of which only the id is known: one that is signed before others, the newest before others. It
    /// looks at every entry, which takes up to a millisecond: for commands, not for messages.
    pub fn find_id(&self, id: &str) -> Option<u64> {
        let id_hash = self.hash(id, None);
        let found = self.ring.iter().enumerate().filter(|(_, entry)| entry.id_hash == id_hash);
        found.map(|(at, entry)| (entry.hash != id_hash, self.known(at).number)).max().map(|(_, number)| number)
    }

    /// Ids held.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// What is known of the message at a place of the ring.
    fn known(&self, at: usize) -> Known {
        let capacity = self.capacity as u64;
        // The last number of those that fall on this place.
        let back = (self.next - 1 + capacity - at as u64) % capacity;
        Known { number: self.next - 1 - back, best_ttl: self.ring[at].best_ttl }
    }

    fn hash(&self, id: &str, author: Option<&str>) -> u64 {
        #[allow(
            deprecated,
            reason = "named for its algorithm: the same on every run, which the default is not bound to be"
        )]
        let mut hasher = std::hash::SipHasher::new_with_keys(half(&self.key, 0), half(&self.key, 8));
        // Each ends with a byte that is in no text.
        id.hash(&mut hasher);
        author.inspect(|author| author.hash(&mut hasher));
        hasher.finish()
    }

    /// The place of a hash in the ring.
    fn find(&self, hash: u64) -> Option<usize> {
        let mask = self.index.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let place = (self.index[at] as usize).checked_sub(1)?;
            if self.ring[place].hash == hash {
                return Some(place);
            }
            at = (at + 1) & mask;
        }
    }

    /// Takes a place of the ring out of the index, and closes the gap that this leaves in its run.
    fn forget(&mut self, place: usize) {
        let mask = self.index.len() - 1;
        let mut gap = self.ring[place].hash as usize & mask;
        while self.index[gap] as usize != place + 1 {
            gap = (gap + 1) & mask;
        }
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let Some(other) = (self.index[at] as usize).checked_sub(1) else { break };
            let home = self.ring[other].hash as usize & mask;
            // It may move to the gap unless that would put it before its home.
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                self.index[gap] = self.index[at];
                gap = at;
            }
        }
        self.index[gap] = 0;
    }
}

fn half(key: &[u8; 16], from: usize) -> u64 {
    key.iter().skip(from).take(8).fold(0, |n, &b| n << 8 | u64::from(b))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_remembers_the_newest_and_only_those(ids in prop::collection::vec(0_u32..60, 0..400), size in 0_u32..6) {
            let mut seen = Seen::with_capacity([7; 16], 1 << size);
            let mut model: VecDeque<u32> = VecDeque::new();
            for it in ids {
                let known = model.contains(&it);
                // Two authors may use the same ids.
                let (id, author) = ((it / 2).to_string(), (it % 2 == 1).then_some("author"));
                prop_assert_eq!(seen.get(&id, author).is_some(), known);
                prop_assert_eq!(seen.insert(&id, author, 1).is_err(), known);
                prop_assert_eq!(seen.find_id(&id).is_some(), true);
                if !known {
                    model.push_back(it);
                    if model.len() > 1 << size {
                        model.pop_front();
                    }
                }
                prop_assert_eq!(seen.len(), model.len());
            }
        }
    }

    #[test]
    fn a_full_table_goes_on_for_ever() {
        let mut seen = Seen::with_capacity([1; 16], 1024);
        for n in 0..100_000_u64 {
            assert_eq!(seen.insert(&n.to_string(), None, 3), Ok(n));
            assert_eq!(seen.insert(&n.to_string(), None, 4), Err(Known { number: n, best_ttl: 3 }));
            seen.raise(n, 5);
            seen.raise(n, 4);
            assert_eq!(seen.get(&n.to_string(), None), Some(Known { number: n, best_ttl: 5 }));
        }
        assert_eq!(seen.len(), 1024);
        assert!(seen.get("99999", None).is_some() && seen.get("98976", None).is_some());
        assert_eq!((seen.get("98975", None), seen.find_id("98975")), (None, None));
    }

    #[test]
    fn an_id_alone_finds_what_is_signed_before_what_is_not() {
        let mut seen = Seen::with_capacity([1; 16], 4);
        let of = |n| Known { number: n, best_ttl: 9 };
        assert_eq!(seen.insert("x", Some("a"), 9), Ok(0));
        assert_eq!(seen.insert("x", None, 9), Ok(1));
        assert_eq!(seen.find_id("x"), Some(0));
        assert_eq!(seen.insert("x", Some("b"), 9), Ok(2));
        assert_eq!((seen.find_id("x"), seen.find_id("y")), (Some(2), None));
        assert_eq!(
            (seen.get("x", None), seen.get("x", Some("a")), seen.get("x", Some("c"))),
            (Some(of(1)), Some(of(0)), None)
        );
    }
}
