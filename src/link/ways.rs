//! The addresses of one name, as far as they have been tried.
//!
//! A name may have many addresses, of which some are of no use: nobody answers there, or what answers says nothing, is no node, or
//! is another node than the one that was asked for. One try goes through all of them, as long as it has time. Those that
//! do not even answer cost none, since the driver dials many at once. The next try begins where the last got furthest: at the
//! address that was linked, or else where a node was, or else at those that had no turn.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::base::LinkCode;
use crate::outbox::Order;

/// Addresses of one try that answer in vain. More than a try has time for, if they are mute; a guess for those that are not.
const MAX_FAILED: usize = 16;

/// The addresses that a target has been tried at. See the module.
#[derive(Debug, Default)]
pub struct Ways {
    /// The address of a node the last time.
    best: Option<SocketAddr>,
    /// The addresses at which the last try met something that is no node.
    worst: Vec<SocketAddr>,
    /// The end of the try under way.
    until: Option<Instant>,
    /// The address that has answered last, and whether the name has others beside those that have failed in this try.
    at: Option<SocketAddr>,
    more: bool,
    /// The addresses at which this try has failed.
    failed: Vec<Failure>,
}

/// A failure at an address, or at all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The address, if one has answered.
    pub addr: Option<SocketAddr>,
    /// Why, for programs.
    pub code: LinkCode,
    /// Why, for people.
    pub reason: String,
}

impl Failure {
    /// How far it got: 0 if nobody answered, 1 if what answered showed nothing of a node, 2 if a node was there.
    const fn progress(&self) -> u8 {
        match self.code {
            _ if self.addr.is_none() => 0,
            LinkCode::Timeout
            | LinkCode::Refused
            | LinkCode::NotANode
            | LinkCode::Reset
            | LinkCode::Malformed
            | LinkCode::TooLarge
            | LinkCode::Stalled
            // That was found out here.
            | LinkCode::Blocked
            | LinkCode::Banned => 1,
            _ => 2,
        }
    }
}

impl Ways {
    /// Begins a try that may last so long, unless one is under way. Gives its end.
    pub fn begin(&mut self, now: Instant, time: Duration) -> Instant {
        (self.at, self.more) = (None, false);
        match self.until {
            Some(until) if now < until => until,
            _ => {
                self.end();
                *self.until.insert(now + time)
            }
        }
    }

    /// The order in which the addresses are to be dialled.
    pub fn order(&self) -> Order {
        let skip: Vec<SocketAddr> = self.failed.iter().filter_map(|failure| failure.addr).collect();
        Order { first: self.best, last: self.worst.clone(), skip }
    }

    /// An address has answered; `more`: the name has others that have not failed yet.
    pub const fn answered(&mut self, addr: SocketAddr, more: bool) {
        (self.at, self.more) = (Some(addr), more);
    }

    /// Whether this try has come to one address alone, which is the only one that there is.
    pub const fn is_only_one(&self) -> bool {
        self.failed.len() <= 1 && !self.more
    }

    /// The try has failed at the address that has answered, or altogether. `None`: it goes on with others. Else the
    /// failure that got furthest.
    pub fn failed(&mut self, now: Instant, code: LinkCode, reason: &str) -> Option<Failure> {
        let addr = self.at.take();
        self.failed.push(Failure { addr, code, reason: reason.to_owned() });
        let has_time = self.until.is_some_and(|until| now < until);
        if addr.is_some() && self.more && has_time && self.failed.len() < MAX_FAILED {
            return None;
        }
        // Of two that got as far, the first: it was the best choice.
        let furthest = self.failed.iter().rev().max_by_key(|failure| failure.progress())?.clone();
        let reached = self.failed.iter().filter(|failure| failure.progress() == 1).filter_map(|failure| failure.addr);
        self.worst = reached.collect();
        if furthest.progress() == 2 {
            self.best = furthest.addr;
        } else if self.best.is_some_and(|best| self.worst.contains(&best)) {
            self.best = None;
        }
        Some(furthest)
    }

    /// The try is over, whatever came of it.
    pub fn end(&mut self) {
        self.until = None;
        self.failed.clear();
    }

    /// The node is linked.
    pub fn linked(&mut self) {
        self.best = self.at.take().or(self.best);
        self.worst.clear();
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(n: u8) -> SocketAddr {
        ([10, 0, 0, n], 1).into()
    }

    #[allow(clippy::disallowed_methods, reason = "any moment will do")]
    fn start() -> Instant {
        Instant::now()
    }

    const TRY: Duration = Duration::from_secs(10);

    /// A try in which addresses answer and fail, each with others left; in the end nobody answers.
    fn fails(ways: &mut Ways, now: Instant, answers: &[(u8, LinkCode)]) -> Failure {
        ways.begin(now, TRY);
        for (n, code) in answers {
            ways.answered(addr(*n), true);
            assert_eq!(ways.failed(now, *code, "why"), None);
            assert_eq!(ways.begin(now, 2 * TRY), now + TRY, "the time goes on");
        }
        let failure = ways.failed(now, LinkCode::Refused, "nobody else").expect("the end");
        ways.end();
        failure
    }

    #[test]
    fn the_next_try_begins_where_the_last_got_furthest() {
        let (mut ways, now) = (Ways::default(), start());
        assert_eq!(ways.order(), Order::default());
        let answers =
            [(1, LinkCode::Timeout), (2, LinkCode::NotANode), (3, LinkCode::WrongPeer), (4, LinkCode::Version)];
        let failure = fails(&mut ways, now, &answers);
        assert_eq!((failure.addr, failure.code), (Some(addr(3)), LinkCode::WrongPeer));
        assert_eq!(ways.order(), Order { first: Some(addr(3)), last: vec![addr(1), addr(2)], skip: vec![] });
        assert_eq!(fails(&mut ways, now, &[]).code, LinkCode::Refused);
        assert_eq!(ways.order().first, Some(addr(3)), "it may be back");
        fails(&mut ways, now, &[(3, LinkCode::Timeout)]);
        assert_eq!(ways.order(), Order { first: None, last: vec![addr(3)], skip: vec![] });
        ways.begin(now, TRY);
        ways.answered(addr(7), true);
        ways.linked();
        assert_eq!(ways.order(), Order { first: Some(addr(7)), ..Order::default() });
    }

    #[test]
    fn a_try_goes_on_while_there_are_addresses_and_time() {
        let (mut ways, now) = (Ways::default(), start());
        ways.begin(now, TRY);
        ways.answered(addr(1), true);
        assert_eq!(ways.failed(now, LinkCode::Timeout, "mute"), None);
        assert_eq!(ways.order().skip, [addr(1)]);
        ways.answered(addr(2), false);
        assert!(ways.failed(now, LinkCode::NotANode, "no node").is_some_and(|it| it.addr == Some(addr(1))), "the last");
        ways.end();
        ways.begin(now, TRY);
        ways.answered(addr(1), true);
        assert!(ways.failed(now + TRY, LinkCode::Timeout, "mute").is_some(), "the time is over");
        ways.end();
        ways.begin(now, TRY);
        let tries = (0..100).take_while(|n| {
            ways.answered(addr(*n), true);
            ways.failed(now, LinkCode::NotANode, "no node").is_none()
        });
        assert_eq!(tries.count(), MAX_FAILED - 1);
    }
}
