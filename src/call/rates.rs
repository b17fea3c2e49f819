//! How much coming, going and muting there may be: a flood of it makes every listener's client busy, not only this node.
//!
//! Signals that would make an event are counted. Those over a rate are dropped: the next join says again whether its author is
//! muted, and a member that has left is missed sooner or later.

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
/// Authors, and links, that are counted. The count that is forgotten first makes way. A guess.
pub const MAX_COUNTS: usize = 1024;

/// The changes that have come of late.
#[derive(Debug)]
pub struct Rates {
    authors: Counts<NodeId>,
    links: Counts<LinkId>,
}

/// For each key, when everything counted for it will be forgotten.
#[derive(Debug)]
struct Counts<K>(BTreeMap<K, Instant>);

impl Rates {
    /// Nothing.
    pub const fn new() -> Self {
        Self { authors: Counts(BTreeMap::new()), links: Counts(BTreeMap::new()) }
    }

    /// Whether one more change of an author may come over a link; it is counted.
    pub fn may_change(&mut self, now: Instant, author: NodeIdRef<'_>, link: LinkId) -> bool {
        let (by_author, by_link) = (self.authors.next(now, author.key(), AUTHOR), self.links.next(now, &link, LINK));
        let (Some(by_author), Some(by_link)) = (by_author, by_link) else { return false };
        self.authors.set(now, author.key(), by_author, || author.into());
        self.links.set(now, &link, by_link, || link);
        true
    }

    /// The sizes of the tables, each with its bound.
    pub fn held(&self) -> [(&'static str, usize, usize); 2] {
        [("counted authors", self.authors.0.len(), MAX_COUNTS), ("counted links", self.links.0.len(), MAX_COUNTS)]
    }
}

impl<K: Ord + Clone> Counts<K> {
    /// When all would be forgotten with one more, if that may be.
    fn next<Q: Ord + ?Sized>(&self, now: Instant, key: &Q, (burst, each): (u32, Duration)) -> Option<Instant>
    where
        K: Borrow<Q>,
    {
        let after = self.0.get(key).copied().unwrap_or(now).max(now) + each;
        (after <= now + each * burst).then_some(after)
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
        let changes = |rates: &mut Rates, author: NodeIdRef<'_>, now, n| {
            (0..n).filter(|_| rates.may_change(now, author, LinkId(1))).count()
        };
        assert_eq!(changes(&mut rates, bob, now, 1000), 20);
        assert_eq!(changes(&mut rates, bob, now + Duration::from_secs(1), 1000), 4);
        assert_eq!(changes(&mut rates, "carol".into(), now, 1000), 20, "another has a rate of its own");
        assert_eq!(changes(&mut rates, bob, now + Duration::from_secs(100), 1000), 20);
    }

    #[test]
    fn invented_authors_have_the_rate_of_their_link() {
        let (now, mut rates) = (start(), Rates::new());
        let changes = |rates: &mut Rates, link, now| {
            (0..5000).filter(|n| rates.may_change(now, (*format!("{link} {n}")).into(), LinkId(link))).count()
        };
        assert_eq!(changes(&mut rates, 1, now), MAX_VOICE_KNOWN);
        assert_eq!(changes(&mut rates, 1, now + Duration::from_secs(1)), 15);
        assert_eq!(changes(&mut rates, 2, now), MAX_VOICE_KNOWN, "another link");
        for link in 0..3000 {
            rates.may_change(now, (*format!("{link}")).into(), LinkId(link));
        }
        assert!(rates.held().iter().all(|(what, held, bound)| held <= bound && *held > 0 || panic!("{what}")));
    }
}
