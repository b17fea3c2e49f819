//! A timer table: the moments at which something of a component is due, one a key.
//!
//! A key is armed with a moment that is never later than its true deadline. Deadlines that move away, as a link's does with each
//! byte it brings, cost a comparison and no change of the table: when the moment comes, the true deadline is looked at, and
//! the key is armed again. (The idea is that of `quinn-proto`'s timer table; so is the name.)

use std::collections::BTreeSet;
use std::time::Instant;

/// Moments in order, each with its key.
#[derive(Debug)]
pub struct Timers<K>(BTreeSet<(Instant, K)>);

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

/// The moment that a key is armed with. It is kept beside what the key names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Armed(Option<Instant>);

impl Armed {
    /// Not armed.
    pub const NONE: Self = Self(None);
}

impl<K: Ord + Clone> Timers<K> {
    /// Makes sure that a key is armed no later than its deadline.
    pub fn arm(&mut self, key: &K, armed: &mut Armed, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return };
        if armed.0.is_some_and(|at| at <= deadline) {
            return;
        }
        self.disarm(key, armed);
        self.0.insert((deadline, key.clone()));
        armed.0 = Some(deadline);
    }

    /// Removes a key.
    pub fn disarm(&mut self, key: &K, armed: &mut Armed) {
        if let Some(at) = armed.0.take() {
            self.0.remove(&(at, key.clone()));
        }
    }

    /// The first moment, when something may be due.
    pub fn first(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes out a key whose moment has come. Its owner must say that it is no more armed.
    pub fn pop(&mut self, now: Instant) -> Option<K> {
        self.0.first().is_some_and(|(at, _)| *at <= now).then(|| self.0.pop_first()).flatten().map(|(_, key)| key)
    }

    /// How many keys are armed.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_deadline_that_moves_away_changes_nothing_until_it_is_due() {
        #[allow(clippy::disallowed_methods, reason = "any moment will do")]
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let (mut timers, mut a, mut b) = (Timers::default(), Armed::default(), Armed::default());
        timers.arm(&1, &mut a, Some(at(5)));
        timers.arm(&1, &mut a, Some(at(9)));
        timers.arm(&2, &mut b, Some(at(7)));
        timers.arm(&2, &mut b, None);
        assert_eq!((timers.first(), timers.len()), (Some(at(5)), 2));
        timers.arm(&1, &mut a, Some(at(3)));
        assert_eq!((timers.first(), timers.len()), (Some(at(3)), 2));
        assert_eq!((timers.pop(at(2)), timers.pop(at(3)), timers.pop(at(3))), (None, Some(1), None));
        timers.disarm(&2, &mut b);
        assert_eq!((timers.first(), b), (None, Armed::default()));
    }
}
