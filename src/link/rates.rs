//! Rates of one link: how much its peer may say, and bring of others that sign nothing.
//!
//! A neighbour that says more than its rate is read more slowly, and waits in turn: nothing is lost. Of what it brings of others,
//! more than twice the rate is dropped, with no blame for it.

use std::time::Instant;

use crate::base::{Bucket, Now, Rate};

/// The rates of one link.
#[derive(Debug, Default)]
pub struct LinkRates {
    /// For what its peer says itself.
    said: Bucket,
    /// It is not read before.
    until: Option<Instant>,
    /// For what it passes on of those who sign nothing.
    strangers: Bucket,
}

impl LinkRates {
    /// Whether the link may be read.
    pub fn may_be_read(&self, now: Now) -> bool {
        self.until.is_none_or(|at| at <= now.mono)
    }

    /// When it may be read again.
    pub const fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// Forgets a wait that is over.
    pub fn on_time(&mut self, now: Now) {
        self.until = self.until.filter(|at| *at > now.mono);
    }

    /// The peer says something itself: whether it has been said before is all the same.
    pub fn on_said(&mut self, now: Now, rate: Rate) {
        self.until = self.said.pay(now.mono, rate);
    }

    /// Whether a message that is not signed may go further.
    pub fn may_pass_unsigned(&mut self, now: Now, rate: Rate) -> bool {
        self.strangers.take(now.mono, rate.doubled())
    }

    /// A signature from there was wrong: to look at one costs more than it does to make one up.
    pub fn pay_for_bad_signature(&mut self, now: Now, rate: Rate) {
        self.strangers.pay(now.mono, rate.doubled());
    }

    /// Whether so much of that kind has come that signatures from there are not looked at any more.
    pub fn is_signature_budget_spent(&self, now: Now, rate: Rate) -> bool {
        !self.strangers.has_room(now.mono, rate.doubled())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn start() -> Now {
        #[allow(clippy::disallowed_methods, reason = "any moment will do")]
        Now { mono: Instant::now(), unix_ms: 0 }
    }

    #[test]
    fn a_peer_that_says_too_much_is_read_later() {
        let (mut it, now, rate) = (LinkRates::default(), start(), Rate::new(10).expect("a rate"));
        (0..99).for_each(|_| it.on_said(now, rate));
        assert!(it.may_be_read(now) && it.deadline().is_none());
        it.on_said(now, rate);
        let until = it.deadline().expect("a wait");
        assert!(!it.may_be_read(now) && until <= now.mono + Duration::from_millis(100));
        let later = Now { mono: until, ..now };
        it.on_time(now);
        assert!(it.deadline().is_some());
        it.on_time(later);
        assert!(it.deadline().is_none() && it.may_be_read(later));
    }

    #[test]
    fn wrong_signatures_use_up_what_strangers_may_say() {
        let (mut it, now, rate) = (LinkRates::default(), start(), Rate::new(10).expect("a rate"));
        (0..150).for_each(|_| it.pay_for_bad_signature(now, rate));
        assert!(!it.is_signature_budget_spent(now, rate));
        assert_eq!((0..100).filter(|_| it.may_pass_unsigned(now, rate)).count(), 50);
        assert!(it.is_signature_budget_spent(now, rate) && it.may_be_read(now));
    }
}
