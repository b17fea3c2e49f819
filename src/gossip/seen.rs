//! Message ids that are remembered, so that each message is taken once.
//!
//! A ring of entries in the order of their coming and an index into it. The oldest entry goes when a new one needs its
//! place, one for one. Both grow by need, in small steps that never depend on how much is held already:
//!
//! ```text
//! ring    [ 1024 entries ][ 1024 entries ][ 300 …        segments; only the last one ever grows
//! index   [ page ][ page ][ page ][ page ]               linear hashing: one page a time is split in two
//!            └ slots: 12 bits of the hash, 20 of the place in the ring; linear probing, at most 3/4 full
//! ```
//!
//! - The ring's last segment grows by a quarter of what is held, and by a segment at most.
//! - An index page holds [`PAGE`] entries in the mean, twice as many before its turn to be split comes. A slot has enough of
//!   the hash to tell its home, so that growing, searching and removing hardly ever look into the ring.
//! - Up to [`FEW`] entries there is no index at all.
//!
//! An entry has 16 bytes, its slots 5 to 11, so an id costs less than 40 bytes at any time, and an empty table nothing.
//!
//! A message that is signed is known by its author and its id, any other by its id alone: so nobody can use up the id of
//! another's message before that comes.
//!
//! Both are known by a 64-bit keyed hash (SipHash). Two of one node's 262,144 share one by chance once in 10^8
//! times the table is filled; without the key, which never leaves the node, nobody can make them share one, nor have them
//! fall on the same page.

use crate::wire::keyed_hash::KeyedHash;
use crate::wire::limits::MAX_SEEN;

/// The record of a message that has been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its number in the order of coming, from 0, over the node's life.
    pub number: u64,
    /// The most forwards left that any copy had.
    pub best_ttl: u8,
}

/// The table.
#[derive(Debug)]
pub struct Seen {
    hashes: KeyedHash,
    ring: Ring,
    index: Index,
    capacity: usize,
    next: u64,
}

impl Seen {
    /// A table of [`MAX_SEEN`] ids.
    pub fn new(key: [u8; 16]) -> Self {
        Self::with_capacity(key, MAX_SEEN)
    }

    /// A table of `capacity` ids, a power of two, up to half a million.
    pub fn with_capacity(key: [u8; 16], capacity: usize) -> Self {
        let capacity = capacity.next_power_of_two().min(MAX_CAPACITY);
        Self { hashes: KeyedHash::new(key), ring: Ring::default(), index: Index::default(), capacity, next: 0 }
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
        let at = self.place(number);
        if at < self.ring.len {
            self.index.remove(self.ring.at(at).hash, at);
        }
        self.ring.set(at, Entry::new(hash, id_hash, author.is_some(), ttl));
        self.index.insert(hash, at, &self.ring);
        Ok(number)
    }

    /// The record of a message that has been seen.
    pub fn get(&self, id: &str, author: Option<&str>) -> Option<Known> {
        self.find(self.hash(id, author)).map(|at| self.known(at))
    }

    /// A copy with more forwards left has come.
    pub fn raise(&mut self, number: u64, ttl: u8) {
        let at = self.place(number);
        if at < self.ring.len {
            self.ring.at_mut(at).raise(ttl);
        }
    }

    /// The number of a message of which only the id is known: one that is signed before others, the oldest before others. It
    /// looks at every entry, which takes up to a millisecond: for commands, not for messages.
    pub fn find_id(&self, id: &str) -> Option<u64> {
        let id_hash = self.hash(id, None);
        let found = self.ring.iter().enumerate().filter(|(_, entry)| entry.has_id(id_hash));
        let rank = |(at, entry): (usize, Entry)| (!entry.is_signed(), self.known(at).number);
        found.map(rank).min().map(|(_, number)| number)
    }

    /// Ids held.
    pub fn len(&self) -> usize {
        self.ring.len
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.ring.len == 0
    }

    /// Bytes on the heap.
    pub fn bytes_held(&self) -> usize {
        self.ring.bytes_held() + self.index.bytes_held()
    }

    /// The place in the ring of a number.
    fn place(&self, number: u64) -> usize {
        (number % self.capacity as u64) as usize
    }

    /// The record of the message at a place of the ring.
    fn known(&self, at: usize) -> Known {
        let capacity = self.capacity as u64;
        // The last number of those that fall on this place.
        let back = (self.next - 1 + capacity - at as u64) % capacity;
        Known { number: self.next - 1 - back, best_ttl: self.ring.at(at).best_ttl() }
    }

    fn hash(&self, id: &str, author: Option<&str>) -> u64 {
        match author {
            Some(author) => self.hashes.of((id, author)),
            None => self.hashes.of(id),
        }
    }

    /// The place of a hash in the ring.
    fn find(&self, hash: u64) -> Option<usize> {
        match self.ring.len {
            ..=FEW => self.ring.iter().position(|entry| entry.hash == hash),
            _ => self.index.find(hash, &self.ring),
        }
    }
}

/// A message that is remembered.
#[derive(Debug, Default, Clone, Copy)]
struct Entry {
    hash: u64,
    /// From the top: 55 bits of the hash of its id alone, whether it is signed, and the best `ttl`. The id's hash only serves
    /// commands, for which 55 bits are plenty.
    rest: u64,
}

const TTL: u64 = 0xff;
const SIGNED: u64 = 0x100;
const ID: u64 = !(TTL | SIGNED);

impl Entry {
    fn new(hash: u64, id_hash: u64, is_signed: bool, ttl: u8) -> Self {
        Self { hash, rest: id_hash & ID | if is_signed { SIGNED } else { 0 } | u64::from(ttl) }
    }

    fn has_id(self, id_hash: u64) -> bool {
        (self.rest ^ id_hash) & ID == 0
    }

    fn is_signed(self) -> bool {
        self.rest & SIGNED != 0
    }

    fn best_ttl(self) -> u8 {
        (self.rest & TTL) as u8
    }

    fn raise(&mut self, ttl: u8) {
        self.rest = self.rest & !TTL | u64::from(self.best_ttl().max(ttl));
    }
}

/// Entries of a segment of the ring.
const SEGMENT: usize = 1 << 10;

/// Entries by their place, in segments. All but the last are whole; of the last, some may not be used yet.
#[derive(Debug, Default)]
struct Ring {
    segments: Vec<Box<[Entry]>>,
    len: usize,
}

impl Ring {
    fn at(&self, at: usize) -> Entry {
        self.segments[at / SEGMENT][at % SEGMENT]
    }

    fn at_mut(&mut self, at: usize) -> &mut Entry {
        &mut self.segments[at / SEGMENT][at % SEGMENT]
    }

    fn iter(&self) -> impl Iterator<Item = Entry> {
        self.segments.iter().flatten().take(self.len).copied()
    }

    /// Sets the entry at a place that is used, or at the first that is not.
    fn set(&mut self, at: usize, entry: Entry) {
        if at == self.len {
            self.make_room();
            self.len += 1;
        }
        *self.at_mut(at) = entry;
    }

    fn make_room(&mut self) {
        let wanted = (self.len / 4).max(1);
        match self.segments.last_mut().filter(|_| !self.len.is_multiple_of(SEGMENT)) {
            Some(last) if last.len() == self.len % SEGMENT => {
                let mut grown = std::mem::take(last).into_vec();
                let new = (grown.len() + wanted).min(SEGMENT);
                grown.reserve_exact(new - grown.len());
                grown.resize(new, Entry::default());
                *last = grown.into_boxed_slice();
            }
            Some(_) => {}
            None => {
                if self.segments.len() == self.segments.capacity() {
                    self.segments.reserve_exact((self.segments.len() / 8).max(1));
                }
                self.segments.push(vec![Entry::default(); wanted.min(SEGMENT)].into_boxed_slice());
            }
        }
    }

    fn bytes_held(&self) -> usize {
        let entries: usize = self.segments.iter().map(|it| it.len()).sum();
        entries * size_of::<Entry>() + self.segments.capacity() * size_of::<Box<[Entry]>>()
    }
}

/// Entries of an index page in the mean, once all have been split.
const PAGE: usize = 128;
/// Entries that are found without an index.
const FEW: usize = 8;
/// The fewest slots of a page.
const MIN_SLOTS: usize = 16;
/// Bits of a slot that are a place in the ring, plus 1; the others are the top ones of the hash.
const PLACE_BITS: u32 = 20;
const MAX_CAPACITY: usize = 1 << (PLACE_BITS - 1);
const _: () = assert!(MAX_SEEN <= MAX_CAPACITY);

/// Places in the ring by hash. Page `i` has those whose hash ends with the bits of `i`.
#[derive(Debug, Default)]
struct Index {
    pages: Vec<Page>,
    entries: usize,
}

#[derive(Debug, Default)]
struct Page {
    /// A power of two of them; 0: free.
    slots: Box<[u32]>,
    used: usize,
}

impl Index {
    /// Where a hash belongs. Only pages below that which is split next have been told apart by one bit more.
    fn page(&self, hash: u64) -> usize {
        let mask = self.pages.len().next_power_of_two() - 1;
        let page = hash as usize & mask;
        if page < self.pages.len() { page } else { page & mask >> 1 }
    }

    fn find(&self, hash: u64, ring: &Ring) -> Option<usize> {
        let page = self.pages.get(self.page(hash))?;
        page.probe(hash).find(|place| ring.at(*place).hash == hash)
    }

    fn insert(&mut self, hash: u64, at: usize, ring: &Ring) {
        if self.pages.is_empty() {
            if ring.len > FEW {
                // The first time: all of them.
                self.pages.reserve_exact(1);
                self.pages.push(Page::of(&[]));
                for at in 0..ring.len {
                    self.insert(ring.at(at).hash, at, ring);
                }
            }
            return;
        }
        let page = self.page(hash);
        self.pages[page].insert(slot(hash, at));
        self.entries += 1;
        if self.entries > self.pages.len() * PAGE {
            self.split(ring);
        }
    }

    /// Splits the page whose turn it is in two.
    fn split(&mut self, ring: &Ring) {
        let count = self.pages.len();
        let bit = 1 << count.ilog2();
        let goes = |slot: &u32| ring.at(place(*slot)).hash as usize & bit != 0;
        let (gone, left): (Vec<u32>, Vec<u32>) = self.pages[count - bit].used_slots().partition(goes);
        self.pages[count - bit] = Page::of(&left);
        if count == self.pages.capacity() {
            self.pages.reserve_exact((count / 8).max(1));
        }
        self.pages.push(Page::of(&gone));
    }

    fn remove(&mut self, hash: u64, at: usize) {
        let page = self.page(hash);
        if let Some(page) = self.pages.get_mut(page) {
            page.remove(slot(hash, at));
            self.entries -= 1;
        }
    }

    fn bytes_held(&self) -> usize {
        let slots: usize = self.pages.iter().map(|it| it.slots.len()).sum();
        slots * size_of::<u32>() + self.pages.capacity() * size_of::<Page>()
    }
}

/// The slot of the index for a place of the ring.
fn slot(hash: u64, at: usize) -> u32 {
    tag(hash) << PLACE_BITS | (at as u32 + 1)
}

fn tag(hash: u64) -> u32 {
    (hash >> (32 + PLACE_BITS)) as u32
}

fn place(slot: u32) -> usize {
    (slot & ((1 << PLACE_BITS) - 1)) as usize - 1
}

impl Page {
    /// A page of such slots, with room for a few more.
    fn of(slots: &[u32]) -> Self {
        let mut page = Self { slots: vec![0; fitting(slots.len() + 1)].into_boxed_slice(), used: 0 };
        slots.iter().for_each(|slot| page.put(*slot));
        page
    }

    fn used_slots(&self) -> impl Iterator<Item = u32> {
        self.slots.iter().copied().filter(|slot| *slot != 0)
    }

    fn home(&self, tag: u32) -> usize {
        tag as usize & (self.slots.len() - 1)
    }

    /// The places whose slots have as much of a hash as a slot has.
    fn probe(&self, hash: u64) -> impl Iterator<Item = usize> {
        let (tag, mask) = (tag(hash), self.slots.len() - 1);
        let from = self.home(tag);
        let slots = (from..).map(move |at| self.slots[at & mask]).take_while(|slot| *slot != 0);
        slots.filter(move |slot| slot >> PLACE_BITS == tag).map(place)
    }

    fn insert(&mut self, slot: u32) {
        if fitting(self.used + 1) > self.slots.len() {
            *self = Self::of(&self.used_slots().collect::<Vec<_>>());
        }
        self.put(slot);
    }

    /// Puts a slot into a page that has room.
    fn put(&mut self, slot: u32) {
        let mask = self.slots.len() - 1;
        let mut at = self.home(slot >> PLACE_BITS);
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
        self.used += 1;
    }

    /// Takes a slot out, and closes the gap that this leaves in its run.
    fn remove(&mut self, slot: u32) {
        let mask = self.slots.len() - 1;
        let mut gap = self.home(slot >> PLACE_BITS);
        while self.slots[gap] != slot {
            gap = (gap + 1) & mask;
        }
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let other = self.slots[at];
            if other == 0 {
                break;
            }
            let home = self.home(other >> PLACE_BITS);
            // It may move to the gap unless that would put it before its home.
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                self.slots[gap] = other;
                gap = at;
            }
        }
        self.slots[gap] = 0;
        self.used -= 1;
    }
}

/// Slots for so many entries, at most three of four used.
fn fitting(entries: usize) -> usize {
    (entries * 4).div_ceil(3).next_power_of_two().max(MIN_SLOTS)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

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

    /// Enough ids for pages to be split, and for places to be used again.
    #[test]
    fn a_large_table_does_what_a_map_does() {
        let (mut seen, mut model, mut order) = (Seen::with_capacity([9; 16], 4096), BTreeMap::new(), VecDeque::new());
        let mut random = 1_u64;
        for number in 0..40_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (id, ttl) = ((random >> 50).to_string(), (random >> 40) as u8 % 32);
            let author = (random >> 33 & 1 == 1).then_some("author");
            let key = (id.clone(), author);
            assert_eq!(seen.get(&id, author), model.get(&key).copied(), "at {number}");
            match seen.insert(&id, author, ttl) {
                Err(known) => {
                    seen.raise(known.number, ttl);
                    let best_ttl = known.best_ttl.max(ttl);
                    assert_eq!(model.insert(key, Known { best_ttl, ..known }), Some(known));
                }
                Ok(number) => {
                    order.push_back(key.clone());
                    assert_eq!(model.insert(key, Known { number, best_ttl: ttl }), None);
                    if order.len() > 4096 {
                        model.remove(&order.pop_front().expect("some"));
                    }
                }
            }
            assert_eq!(seen.len(), model.len());
        }
        assert_eq!(seen.index.entries, 4096);
        assert_eq!(seen.index.pages.iter().map(|it| it.used).sum::<usize>(), 4096);
        assert!(seen.index.pages.len() == 4096 / PAGE && seen.ring.segments.len() == 4);
    }

    #[test]
    fn an_id_costs_less_than_forty_bytes_at_any_time() {
        let mut seen = Seen::with_capacity([3; 16], 1 << 15);
        assert_eq!(seen.bytes_held(), 0, "nothing costs nothing");
        for n in 0..100_000_u64 {
            seen.insert(&n.to_string(), None, 3).expect("new");
            assert!(seen.bytes_held() < 40 * seen.len(), "{} bytes for {} ids", seen.bytes_held(), seen.len());
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
    fn an_id_alone_finds_the_oldest_that_is_signed_before_what_is_not() {
        let mut seen = Seen::with_capacity([1; 16], 4);
        let of = |n| Known { number: n, best_ttl: 9 };
        assert_eq!(seen.insert("x", None, 9), Ok(0));
        assert_eq!(seen.find_id("x"), Some(0));
        assert_eq!(seen.insert("x", Some("a"), 9), Ok(1));
        assert_eq!(seen.find_id("x"), Some(1));
        assert_eq!(seen.insert("x", Some("b"), 9), Ok(2));
        assert_eq!((seen.find_id("x"), seen.find_id("y")), (Some(1), None));
        assert_eq!(
            (seen.get("x", None), seen.get("x", Some("a")), seen.get("x", Some("c"))),
            (Some(of(0)), Some(of(1)), None)
        );
    }
}
