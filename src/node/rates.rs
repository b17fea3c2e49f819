//! How much a node lets others say, and says itself: so many messages a second an author, with bursts of ten seconds' worth.
//!
//! | who | what becomes of more |
//! |---|---|
//! | this node | its commands wait: nothing is lost |
//! | a neighbour, of what it says itself | its link is read more slowly, and it waits in turn: nothing is lost |
//! | an author further away, who signs | twice the rate is passed on, the rest dropped (`rate`), with no blame for who passes it on |
//! | all authors together that a link brings, and who sign nothing | the same |
//!
//! Who passes on what others say can't be slowed down for one of them. What it lets through at its own rate may come bunched:
//! so the double of it is allowed.

use std::time::Instant;

use super::{LinkId, Node, Now};
use crate::gossip::rates::{Bucket, Rate};

/// What this node itself has used.
#[derive(Debug)]
pub struct Rates {
    rate: Option<Rate>,
    said: Bucket,
    /// No command is taken before.
    until: Option<Instant>,
}

/// What a link has used.
#[derive(Debug, Default)]
pub struct LinkRates {
    /// What its peer has said itself.
    said: Bucket,
    /// It is not read before.
    until: Option<Instant>,
    /// What it has passed on of those who sign nothing.
    strangers: Bucket,
}

impl Rates {
    pub fn new(per_second: u32) -> Self {
        Self { rate: Rate::new(per_second), said: Bucket::default(), until: None }
    }

    pub fn may_say(&self, now: Now) -> bool {
        self.until.is_none_or(|at| at <= now.mono)
    }

    pub const fn deadline(&self) -> Option<Instant> {
        self.until
    }
}

impl LinkRates {
    pub fn may_be_read(&self, now: Now) -> bool {
        self.until.is_none_or(|at| at <= now.mono)
    }

    pub const fn deadline(&self) -> Option<Instant> {
        self.until
    }
}

impl Node {
    /// This node says something.
    pub(super) fn spoke(&mut self, now: Now) {
        let Some(rate) = self.rates.rate else { return };
        self.rates.until = self.rates.said.pay(now.mono, rate);
    }

    /// A neighbour says something itself: whether it has been said before is all the same.
    pub(super) fn neighbour_spoke(&mut self, now: Now, id: LinkId) {
        let (Some(rate), Some(link)) = (self.rates.rate, self.links.get_mut(&id)) else { return };
        link.rates.until = link.rates.said.pay(now.mono, rate);
    }

    /// Whether a message that a neighbour passes on may go further.
    pub(super) fn may_pass(&mut self, now: Now, id: LinkId, from: &str, signed: bool) -> bool {
        let Some(rate) = self.rates.rate.map(Rate::doubled) else { return true };
        match self.links.get_mut(&id) {
            _ if signed => self.replay.is_within(from, now.mono, rate),
            Some(link) => link.rates.strangers.take(now.mono, rate),
            None => false,
        }
    }

    /// A link of level 1 has brought a wrong signature: to look at one costs more than it does to make one up.
    pub(super) fn pay_for_stranger(&mut self, now: Now, id: LinkId) {
        if let (Some(rate), Some(link)) = (self.rates.rate, self.links.get_mut(&id)) {
            link.rates.strangers.pay(now.mono, rate.doubled());
        }
    }

    /// Whether a link has brought so much of that kind that signatures from there are not looked at any more.
    pub(super) fn is_worn_out(&self, now: Now, id: LinkId) -> bool {
        let (Some(rate), Some(link)) = (self.rates.rate, self.links.get(&id)) else { return false };
        link.peer.as_ref().is_none_or(|peer| peer.level < 2) && !link.rates.strangers.has_room(now.mono, rate.doubled())
    }

    /// Forgets waits that are over.
    pub(super) fn rates_due(&mut self, now: Now) {
        let waits = self.links.values_mut().map(|link| &mut link.rates.until);
        for until in waits.chain([&mut self.rates.until]) {
            *until = until.filter(|at| *at > now.mono);
        }
    }
}
