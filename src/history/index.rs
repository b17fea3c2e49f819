//! Which numbers of an author are kept: signed messages by author, epoch and number.
//!
//! Authors are known by a keyed hash, so all entries have the same size. An author's messages of one epoch are a list by number: nearly
//! always the next one is added at its end, and the oldest goes from its beginning. Messages that nobody has signed have no number
//! and are not here.

use std::collections::{BTreeMap, VecDeque};

use super::rooms::{Entry, Spot};
use crate::wire::signed::SeqNo;

/// A number, and where the message is.
type Numbered = (u64, Spot);

/// Signed messages: by the hash of their author and their epoch, the lists of their numbers, the lowest first.
#[derive(Debug, Default)]
pub struct Index(BTreeMap<(u64, u64), VecDeque<Numbered>>);

impl Index {
    /// A message is kept.
    pub fn add(&mut self, author: u64, seq: SeqNo, spot: Spot) {
        let list = self.0.entry((author, seq.epoch)).or_default();
        if list.len() == list.capacity() {
            list.reserve_exact((list.len() / 4).max(1));
        }
        if list.back().is_none_or(|(n, _)| *n < seq.n) {
            return list.push_back((seq.n, spot));
        }
        match list.binary_search_by_key(&seq.n, |it| it.0) {
            Ok(at) => list.iter_mut().skip(at).take(1).for_each(|it| it.1 = spot),
            Err(at) => list.insert(at, (seq.n, spot)),
        }
    }

    /// A message is kept no more.
    pub fn remove(&mut self, entry: &Entry) {
        let Some(seq) = entry.seq() else { return };
        let key = (entry.author, seq.epoch);
        let Some(list) = self.0.get_mut(&key) else { return };
        // A later one may have taken its number, if its author has been forgotten in between.
        let is = |it: &Numbered| it.0 == seq.n && it.1.pos == entry.kept.pos;
        if list.front().is_some_and(is) {
            list.pop_front();
        } else if let Ok(at) = list.binary_search_by_key(&seq.n, |it| it.0)
            && list.get(at).is_some_and(is)
        {
            list.remove(at);
        }
        if list.is_empty() {
            self.0.remove(&key);
        } else if list.len() < list.capacity() / 2 {
            list.shrink_to(list.len() * 5 / 4);
        }
    }

    /// Where a message is.
    pub fn get(&self, author: u64, seq: SeqNo) -> Option<Spot> {
        let list = self.0.get(&(author, seq.epoch))?;
        let at = list.binary_search_by_key(&seq.n, |it| it.0).ok()?;
        list.get(at).map(|it| it.1)
    }

    /// An author's messages within an epoch, by number.
    pub fn numbers(&self, author: u64, epoch: u64) -> impl DoubleEndedIterator<Item = u64> {
        self.0.get(&(author, epoch)).into_iter().flatten().map(|it| it.0)
    }

    /// All of an author's messages, the highest number first.
    pub fn all(&self, author: u64) -> impl Iterator<Item = Spot> {
        let lists = self.0.range((author, 0)..=(author, u64::MAX)).rev();
        lists.flat_map(|(_, list)| list.iter().rev().map(|it| it.1))
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.values().map(VecDeque::len).sum()
    }
}
