//! Which numbers of an author are kept: signed messages by author, epoch and number.
//!
//! Authors are known by a keyed hash, so an entry has the same size whoever it is of. Messages that nobody has signed have no number and
//! are not here.

use std::collections::BTreeMap;

use super::rooms::{Entry, Spot};
use crate::wire::signed::Place as SeqNo;

/// What an entry costs, in bytes: a key and a spot, in a B-tree whose nodes are two thirds full.
pub const ENTRY_BYTES: usize = (size_of::<(u64, SeqNo)>() + size_of::<Spot>()) * 3 / 2;

/// Signed messages by the hash of their author and their number.
#[derive(Debug, Default)]
pub struct Index(BTreeMap<(u64, SeqNo), Spot>);

impl Index {
    /// A message is kept.
    pub fn add(&mut self, author: u64, seq: SeqNo, spot: Spot) {
        self.0.insert((author, seq), spot);
    }

    /// A message is kept no more.
    pub fn remove(&mut self, entry: &Entry) {
        if let Some(seq) = entry.seq() {
            let key = (entry.author, seq);
            // A later one may have taken its number, if its author has been forgotten in between.
            if self.0.get(&key).is_some_and(|spot| spot.pos == entry.kept.pos) {
                self.0.remove(&key);
            }
        }
    }

    /// Where a message is.
    pub fn get(&self, author: u64, seq: SeqNo) -> Option<Spot> {
        self.0.get(&(author, seq)).copied()
    }

    /// An author's messages within an epoch, by number.
    pub fn numbers(&self, author: u64, epoch: u64) -> impl DoubleEndedIterator<Item = u64> {
        let range = (author, SeqNo { epoch, n: 0 })..=(author, SeqNo { epoch, n: u64::MAX });
        self.0.range(range).map(|((_, seq), _)| seq.n)
    }

    /// All of an author's messages, the highest number first.
    pub fn all(&self, author: u64) -> impl Iterator<Item = Spot> {
        let lowest = (author, SeqNo { epoch: 0, n: 0 });
        let highest = (author, SeqNo { epoch: u64::MAX, n: u64::MAX });
        self.0.range(lowest..=highest).rev().map(|(_, spot)| *spot)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
