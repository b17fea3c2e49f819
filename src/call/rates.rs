//! How much coming, going and muting there may be: a flood of it makes every listener's client busy, not only this node.
//!
//! Each author has a rate of its own: what is over it is dropped, since the next join says again whether its author is muted, and
//! a member that has left is missed sooner or later. Invented authors cost nothing: so what comes over a link, other than from
//! its own peer, has a rate too. It has to be *paid*. What is not paid for goes no further than this node, and clients are told
//! of it only when it can be paid for, or when the member has been heard: so however many are invented, a real one gets in.
//! Above a second rate it is dropped.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::base::{LinkId, NodeId, NodeIdRef};
use crate::wire::limits::MAX_VOICE_KNOWN;

/// Changes of one author in a row, and how long one takes to be forgotten. Guesses: pushing to talk as fast as a thumb goes.
const AUTHOR: (u32, Duration) = (20, Duration::from_millis(250));
/// Changes that come over one link in a row, and how long one takes to be forgotten: as many as are told to a new neighbour;
/// then, a guess, as if a full room came in four seconds.
const LINK: (u32, Duration) = (MAX_VOICE_KNOWN as u32, Duration::from_millis(64));
/// Changes that come over one link and are not paid for, the same: a full room at once, and another each second. A guess.
const UNPAID: (u32, Duration) = (64, Duration::from_millis(16));
/// Authors, and links, that are counted. The count that is forgotten first makes way. A guess.
pub const MAX_COUNTS: usize = 1024;

/// The changes that have come of late.
#[derive(Debug)]
pub struct Rates {
    authors: Counts<NodeId>,
    links: Counts<LinkId>,
    unpaid: Counts<LinkId>,
}

/// For each key, when everything counted for it will be forgotten.
#[derive(Debug)]
struct Counts<K>(BTreeMap<K, Instant>);

impl Rates {
    /// Nothing.
    pub const fn new() -> Self {
        Self { authors: Counts(BTreeMap::new()), links: Counts(BTreeMap::new()), unpaid: Counts(BTreeMap::new()) }
    }

    /// Whether an author may change something once more; it is counted.
    pub fn may_change(&mut self, now: Instant, author: NodeIdRef<'_>) -> bool {
        self.authors.take(now, author.key(), AUTHOR, || author.into())
    }

    /// Whether one more change that has come over a link can be paid for; then it is.
    pub fn pay(&mut self, now: Instant, link: LinkId) -> bool {
        self.links.take(now, &link, LINK, || link)
    }

    /// Whether one more change may come over a link that can't be paid for; it is counted.
    pub fn may_stay_unpaid(&mut self, now: Instant, link: LinkId) -> bool {
        self.unpaid.take(now, &link, UNPAID, || link)
    }

    /// The sizes of the tables, each with its bound.
    pub fn held(&self) -> [(&'static str, usize, usize); 3] {
        [
            ("counted authors", self.authors.0.len(), MAX_COUNTS),
            ("counted links", self.links.0.len(), MAX_COUNTS),
            ("counted links beyond their rate", self.unpaid.0.len(), MAX_COUNTS),
        ]
    }
}

impl<K: Ord + Clone> Counts<K> {
    /// Counts one more, if that may be. `new` makes the key, if there is none yet.
    fn take<Q: Ord + ?Sized>(
        &mut self,
        now: Instant,
        key: &Q,
        (burst, each): (u32, Duration),
        new: impl FnOnce() -> K,
    ) -> bool
    where
        K: Borrow<Q>,
    {
        let after = self.0.get(key).copied().unwrap_or(now).max(now) + each;
        let may = after <= now + each * burst;
        if may {
            self.set(now, key, after, new);
        }
        may
    }

    fn set<Q: Ord + ?Sized>(&mut self, now: Instant, key: &Q, until: Instant, new: impl FnOnce() -> K)
    where
        K: Borrow<Q>,
    {
        if let Some(before) = self.0.get_mut(key) {
            *before = until;
            return;
        }
        if self.0.len() >= MAX_COUNTS {
            self.0.retain(|_, until| *until > now);
            let first = self.0.iter().min_by_key(|(_, until)| **until).map(|(key, _)| key.clone());
            if let Some(first) = first.filter(|_| self.0.len() >= MAX_COUNTS) {
                self.0.remove::<K>(&first);
            }
        }
        self.0.insert(new(), until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::disallowed_methods, reason = "any moment will do")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn an_author_has_a_burst_and_then_a_rate() {
        let (now, mut rates, bob) = (start(), Rates::new(), NodeIdRef::from("bob"));
        let changes =
            |rates: &mut Rates, author: NodeIdRef<'_>, now, n| (0..n).filter(|_| rates.may_change(now, author)).count();
        assert_eq!(changes(&mut rates, bob, now, 1000), 20);
        assert_eq!(changes(&mut rates, bob, now + Duration::from_secs(1), 1000), 4);
        assert_eq!(changes(&mut rates, "carol".into(), now, 1000), 20, "another has a rate of its own");
        assert_eq!(changes(&mut rates, bob, now + Duration::from_secs(100), 1000), 20);
    }

    #[test]
    fn what_comes_over_a_link_has_a_rate_and_a_second_one_for_what_is_not_paid_for() {
        let (now, mut rates) = (start(), Rates::new());
        let paid = |rates: &mut Rates, link, now| (0..5000).filter(|_| rates.pay(now, LinkId(link))).count();
        let more = |rates: &mut Rates, now| (0..5000).filter(|_| rates.may_stay_unpaid(now, LinkId(1))).count();
        assert_eq!((paid(&mut rates, 1, now), more(&mut rates, now)), (MAX_VOICE_KNOWN, 64));
        let later = now + Duration::from_secs(1);
        assert_eq!((paid(&mut rates, 1, later), more(&mut rates, later)), (15, 62));
        assert_eq!(paid(&mut rates, 2, now), MAX_VOICE_KNOWN, "another link");
        for n in 0..3000 {
            rates.pay(now, LinkId(n));
            rates.may_stay_unpaid(now, LinkId(n));
            rates.may_change(now, (*format!("{n}")).into());
        }
        assert!(rates.held().iter().all(|(what, held, bound)| held <= bound && *held > 0 || panic!("{what}")));
    }
}
