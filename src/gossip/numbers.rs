//! The sequence numbers of our own signed messages: no two of them may ever have the same, in this run or any other.
//!
//! A number is an epoch and a counter, from 1. A node whose key is new at each start takes the time of the start as its epoch. One
//! that keeps its key keeps its epoch, too, and sets counters aside in the state folder before it uses them, a block at a time:
//! whatever happens to it, the next run goes on behind that block. Commands wait until there are some; but if they can't be
//! saved, or run out, the node begins a higher epoch and goes on.

use crate::base::{Chance, Now};
use crate::wire::signed::SeqNo;

/// Counters that are set aside at once: at full speed some seconds' worth. Those that are left when a node is killed are skipped.
const BLOCK: u64 = 1 << 16;
/// How far above the least possible an epoch that can't be kept may begin, in milliseconds: a quarter of an hour, a guess. The next
/// run knows nothing of that epoch, and its clock may have gone back: chance keeps the two apart.
const EPOCH_SPREAD: u64 = 1 << 20;

/// The numbers taken and set aside.
#[derive(Debug)]
pub struct Numbers {
    /// The last one that was taken.
    last: SeqNo,
    /// Whether they are kept in a state folder.
    are_kept: bool,
    /// The last counter of the epoch that is safely set aside, if they are kept.
    safe_to: u64,
    /// The change that sets aside more: its number, and the last counter.
    asked: Option<(u64, u64)>,
    /// The epoch is one that could not be saved yet: it is used all the same.
    in_memory: bool,
    /// A warning of that is still due.
    untold: bool,
    secrets: Chance,
}

impl Numbers {
    /// Goes on after the numbers of an earlier run, if it left a row, or begins a new epoch.
    pub fn new(row: Option<&[u8]>, are_kept: bool, epoch: u64, secrets: Chance) -> Self {
        let last = row.and_then(read).unwrap_or(SeqNo { epoch, n: 0 });
        Self { last, are_kept, safe_to: last.n, asked: None, in_memory: false, untold: false, secrets }
    }

    /// The number of our next signed message: taken before it is composed, since what is sealed in it is bound to it. One that
    /// is not used after all leaves a gap, which hurts nobody.
    pub fn next(&mut self, now: Now) -> SeqNo {
        if self.are_kept && !self.in_memory && self.last.n >= self.safe_to {
            let spread = self.secrets.number() % EPOCH_SPREAD;
            let epoch = now.unix_ms.max(self.last.epoch.saturating_add(1)).saturating_add(spread);
            (self.last, self.safe_to, self.asked) = (SeqNo { epoch, n: 0 }, 0, None);
            (self.in_memory, self.untold) = (true, true);
        }
        self.last.n += 1;
        self.last
    }

    /// Whether a command may take a number: not while counters are still to be set aside and no others are left. `has_failed` tells
    /// of a change whether it could not be saved so far.
    pub fn has_some(&self, has_failed: impl FnOnce(u64) -> bool) -> bool {
        let failed = || self.asked.is_some_and(|(change, _)| has_failed(change));
        !self.are_kept || self.in_memory || self.last.n < self.safe_to || failed()
    }

    /// Whether a new epoch was begun because counters were not set aside in time. True once each time.
    pub fn take_untold(&mut self) -> bool {
        std::mem::take(&mut self.untold)
    }

    /// Takes over the counters whose change is safe. Gives the change, and the last of them.
    pub fn on_saved(&mut self, is_saved: impl FnOnce(u64) -> bool) -> Option<(u64, u64)> {
        let (change, to) = self.asked.filter(|(change, _)| is_saved(*change))?;
        self.asked = None;
        self.safe_to = to;
        self.in_memory &= self.last.n >= to;
        Some((change, to))
    }

    /// The last of the counters that are to be set aside, since half of them are used; its row is [`row`](Self::row).
    pub fn wants(&self) -> Option<u64> {
        let wants = self.asked.is_none() && self.last.n.saturating_add(BLOCK / 2) >= self.safe_to;
        wants.then(|| self.last.n.saturating_add(BLOCK))
    }

    /// Notes the change by which counters are set aside.
    pub fn on_asked(&mut self, change: Option<u64>, to: u64) {
        self.asked = change.map(|change| (change, to));
    }

    /// The last number that was taken.
    pub const fn last(&self) -> SeqNo {
        self.last
    }

    /// The row to keep: an epoch and the last counter that is set aside, 8 bytes each.
    pub fn row(&self, to: u64) -> Vec<u8> {
        [self.last.epoch.to_be_bytes(), to.to_be_bytes()].concat()
    }

    /// Goes on at a counter.
    #[cfg(test)]
    pub const fn skip_to(&mut self, n: u64) {
        self.last.n = n;
    }
}

/// Reads a row.
pub fn read(row: &[u8]) -> Option<SeqNo> {
    let (epoch, n) = row.split_first_chunk()?;
    Some(SeqNo { epoch: u64::from_be_bytes(*epoch), n: u64::from_be_bytes(n.try_into().ok()?) })
}

/// The counters that are set aside at once.
#[cfg(test)]
pub const BLOCK_FOR_TESTS: u64 = BLOCK;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Roots;

    fn numbers(row: Option<&[u8]>, are_kept: bool) -> Numbers {
        Numbers::new(row, are_kept, 7, Roots::new(None, "", [3; 32]).secrets("places"))
    }

    fn now() -> Now {
        #[allow(clippy::disallowed_methods, reason = "any moment will do")]
        Now { mono: std::time::Instant::now(), unix_ms: 100 }
    }

    #[test]
    fn a_key_that_is_not_kept_counts_from_one_in_the_epoch_of_its_start() {
        let mut it = numbers(None, false);
        assert!(it.has_some(|_| false));
        assert_eq!([it.next(now()), it.next(now())], [SeqNo { epoch: 7, n: 1 }, SeqNo { epoch: 7, n: 2 }]);
    }

    #[test]
    fn counters_are_used_once_they_are_safe() {
        let mut it = numbers(None, true);
        assert!(!it.has_some(|_| false));
        let to = it.wants().expect("some");
        it.on_asked(Some(1), to);
        assert_eq!((it.wants(), it.on_saved(|_| false), it.has_some(|_| false)), (None, None, false));
        assert!(it.has_some(|_| true), "a change that fails is not waited for");
        assert_eq!(it.on_saved(|_| true), Some((1, BLOCK)));
        assert!(it.has_some(|_| false) && it.next(now()) == SeqNo { epoch: 7, n: 1 } && !it.take_untold());
        it.skip_to(BLOCK / 2);
        assert_eq!(it.wants(), Some(BLOCK / 2 + BLOCK));
    }

    #[test]
    fn the_next_run_goes_on_behind_the_row() {
        let first = numbers(None, true);
        let row = first.row(BLOCK);
        assert_eq!(numbers(Some(&row), true).last(), SeqNo { epoch: 7, n: BLOCK });
        assert_eq!(numbers(Some(b"short"), true).last(), SeqNo { epoch: 7, n: 0 });
    }

    #[test]
    fn a_higher_epoch_is_begun_when_nothing_is_safe_and_told_once() {
        let mut it = numbers(None, true);
        let first = it.next(now());
        assert!(first.epoch >= 100 && first.n == 1 && it.take_untold() && !it.take_untold());
        assert_eq!(it.next(now()), SeqNo { n: 2, ..first });
        it.on_asked(Some(1), BLOCK);
        it.on_saved(|_| true);
        it.skip_to(BLOCK);
        assert!(it.next(now()).epoch > first.epoch, "what was set aside is used up");
    }
}
