//! Which signed messages of an author have been seen, so that a recorded one is refused, however late it comes.
//!
//! The ids that [`seen`](super::seen) remembers are of the last minutes. Here is, for each author, which of its counters have
//! been taken, as a few intervals: what was caught up late fills a gap and is taken, once.
//!
//! ```text
//! epoch 1767225600000   1 ─────────── 5120   5122 ─── 5200   5203      5121, 5201 and 5202 may still come
//! epoch 1767312000000   1 ── 12
//! ```
//!
//! - Of an author's epochs the [`MAX_EPOCHS`] highest are kept, and lower ones refused. So an author that can't say how far it
//!   has counted begins a higher one, and what it said before stays refused.
//! - An epoch has at most [`MAX_INTERVALS`]. When there would be more, the gap between the lowest two counts as seen: what was
//!   lost long ago can't come late any more.
//! - Authors are at most [`MAX_AUTHORS`], with [`MAX_ALL_INTERVALS`] in all. The author that has been silent for longest is
//!   forgotten for a new one: a recording of its messages could then be shown a second time, once their ids are forgotten, too.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::base::{Bucket, NodeId, Rate};
use crate::wire::limits::{MAX_ALL_INTERVALS, MAX_AUTHORS, MAX_EPOCHS, MAX_INTERVALS};
use crate::wire::signed::SeqNo;

/// The sequence numbers that have been seen, of all authors.
#[derive(Debug, Default)]
pub struct Replay {
    authors: BTreeMap<NodeId, Author>,
    /// The authors by when they were heard last.
    by_use: BTreeMap<u64, NodeId>,
    uses: u64,
    intervals: usize,
}

#[derive(Debug)]
struct Author {
    window: Window,
    /// The part of its rate that it has used.
    said: Bucket,
    used: u64,
}

impl Replay {
    /// Takes a message's sequence number. False if it has been taken before, or is so old that it can't be told.
    pub fn take(&mut self, author: &NodeId, seq: SeqNo) -> bool {
        let Some(it) = self.authors.get_mut(author) else {
            let mut window = Window::default();
            window.take(seq);
            self.add(author.clone(), window);
            return true;
        };
        let before = it.window.len();
        let taken = it.window.take(seq);
        self.intervals = self.intervals - before + it.window.len();
        if taken {
            self.uses += 1;
            let name = self.by_use.remove(&it.used).unwrap_or_else(|| author.clone());
            it.used = self.uses;
            self.by_use.insert(self.uses, name);
        }
        taken
    }

    /// Whether a message's sequence number is new.
    pub fn is_new(&self, author: &NodeId, seq: SeqNo) -> bool {
        self.authors.get(author).is_none_or(|it| it.window.is_new(seq))
    }

    /// Takes a message of an author off its rate. False: it has said too much.
    pub fn is_within(&mut self, author: &NodeId, now: Instant, rate: Rate) -> bool {
        if !self.authors.contains_key(author) {
            self.add(author.clone(), Window::default());
        }
        self.authors.get_mut(author).is_some_and(|it| it.said.take(now, rate))
    }

    /// An author's window, of an earlier run.
    pub fn add(&mut self, author: NodeId, window: Window) {
        self.uses += 1;
        self.intervals += window.len();
        self.by_use.insert(self.uses, author.clone());
        if let Some(before) = self.authors.insert(author, Author { window, said: Bucket::default(), used: self.uses }) {
            self.intervals -= before.window.len();
            self.by_use.remove(&before.used);
        }
    }

    /// The sequence numbers of an author that have been seen.
    pub fn window(&self, author: &NodeId) -> Option<&Window> {
        self.authors.get(author).map(|it| &it.window)
    }

    /// Forgets an author if there are too many, and gives its id. To be called until there is none.
    pub fn forget_one(&mut self) -> Option<NodeId> {
        if self.authors.len() <= MAX_AUTHORS && self.intervals <= MAX_ALL_INTERVALS {
            return None;
        }
        let (_, author) = self.by_use.pop_first()?;
        let gone = self.authors.remove(&author)?;
        self.intervals -= gone.window.len();
        Some(author)
    }

    /// Bytes on the heap, about: how full the nodes of a B-tree are is not to be seen; two thirds is usual.
    pub fn bytes_held(&self) -> usize {
        let in_maps = (size_of::<(NodeId, Author)>() + size_of::<(u64, NodeId)>()) * 3 / 2;
        let authors = self.authors.iter().map(|(name, it)| name.bytes_held() + it.window.bytes_held() + in_maps);
        authors.sum()
    }

    /// Authors known, and their intervals.
    pub fn held(&self) -> (usize, usize) {
        (self.authors.len(), self.intervals)
    }
}

/// The sequence numbers of one author that have been seen: its epochs, lowest first, each with intervals (both ends in),
/// lowest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window(Vec<(u64, Vec<(u64, u64)>)>);

impl Window {
    /// Whether a sequence number has not been taken before, and is not of too low an epoch.
    pub fn is_new(&self, SeqNo { epoch, n }: SeqNo) -> bool {
        match self.0.binary_search_by_key(&epoch, |it| it.0) {
            Ok(at) => {
                self.0.get(at).is_some_and(|(_, intervals)| !intervals.iter().any(|it| (it.0..=it.1).contains(&n)))
            }
            Err(at) => at > 0 || self.0.len() < MAX_EPOCHS,
        }
    }

    /// Takes a sequence number. False if it is not new.
    pub fn take(&mut self, seq: SeqNo) -> bool {
        self.take_within(seq, MAX_INTERVALS)
    }

    fn take_within(&mut self, SeqNo { epoch, n }: SeqNo, most: usize) -> bool {
        let at = match self.0.binary_search_by_key(&epoch, |it| it.0) {
            Ok(at) => at,
            Err(0) if self.0.len() >= MAX_EPOCHS => return false,
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, (epoch, Vec::new()));
                match self.0.len() > MAX_EPOCHS {
                    true => {
                        self.0.remove(0);
                        at - 1
                    }
                    false => at,
                }
            }
        };
        self.0.get_mut(at).is_some_and(|(_, intervals)| insert(intervals, n, most))
    }

    fn len(&self) -> usize {
        self.0.iter().map(|(_, intervals)| intervals.len()).sum()
    }

    /// Bytes on the heap.
    fn bytes_held(&self) -> usize {
        let intervals: usize = self.0.iter().map(|(_, intervals)| intervals.capacity()).sum();
        intervals * size_of::<(u64, u64)>() + self.0.capacity() * size_of::<(u64, Vec<(u64, u64)>)>()
    }

    /// For the store: a version, then numbers of 7 bits a byte, the lowest first (LEB128): how many epochs; for each how far
    /// it is above the one before, how many intervals, and for each how far it begins above the end before, and its length.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put(&mut out, self.0.len() as u64);
        let mut epoch_before = 0;
        for (epoch, intervals) in &self.0 {
            put(&mut out, epoch - epoch_before);
            epoch_before = *epoch;
            put(&mut out, intervals.len() as u64);
            let mut before = 0;
            for (from, to) in intervals {
                put(&mut out, from - before);
                put(&mut out, to - from);
                before = *to;
            }
        }
        out
    }

    /// From the store. `None` if it is nothing that [`to_bytes`](Self::to_bytes) has made.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[VERSION])?;
        let mut epochs: Vec<(u64, Vec<(u64, u64)>)> = Vec::new();
        for i in 0..get(&mut rest, MAX_EPOCHS as u64)? {
            let above = get(&mut rest, u64::MAX).filter(|above| i == 0 || *above > 0)?;
            let epoch = epochs.last().map_or(0, |it| it.0).checked_add(above)?;
            let mut intervals: Vec<(u64, u64)> = Vec::new();
            for i in 0..get(&mut rest, MAX_INTERVALS as u64)? {
                // Intervals with no gap between them would be one.
                let above = get(&mut rest, u64::MAX).filter(|above| i == 0 || *above > 1)?;
                let from = intervals.last().map_or(0, |it| it.1).checked_add(above)?;
                intervals.push((from, from.checked_add(get(&mut rest, u64::MAX)?)?));
            }
            epochs.push((epoch, intervals));
        }
        rest.is_empty().then_some(Self(epochs))
    }
}

/// The version of what [`Window::to_bytes`] makes.
const VERSION: u8 = 1;

/// Puts a number into a list of intervals that has at most so many. False if it is in one.
fn insert(intervals: &mut Vec<(u64, u64)>, n: u64, most: usize) -> bool {
    let at = intervals.partition_point(|(from, _)| *from <= n);
    let below = at.checked_sub(1).and_then(|at| intervals.get(at)).map(|it| it.1);
    if below.is_some_and(|to| n <= to) {
        return false;
    }
    let joins_below = below.is_some_and(|to| to + 1 == n);
    let joins_above = intervals.get(at).is_some_and(|(from, _)| n + 1 == *from);
    match (joins_below, joins_above) {
        (true, true) => {
            let (_, to) = intervals.remove(at);
            set(intervals, at - 1, |it| it.1 = to);
        }
        (true, false) => set(intervals, at - 1, |it| it.1 = n),
        (false, true) => set(intervals, at, |it| it.0 = n),
        (false, false) => {
            if intervals.len() == intervals.capacity() {
                // Most authors have one interval: no room is made for more before they come.
                intervals.reserve_exact((intervals.len() / 4).max(1));
            }
            intervals.insert(at, (n, n));
        }
    }
    if intervals.len() > most {
        let (from, _) = intervals.remove(0);
        set(intervals, 0, |it| it.0 = from);
    }
    true
}

fn set(intervals: &mut [(u64, u64)], at: usize, change: impl FnOnce(&mut (u64, u64))) {
    if let Some(it) = intervals.get_mut(at) {
        change(it);
    }
}

fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn get(rest: &mut &[u8], most: u64) -> Option<u64> {
    let mut n = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, tail) = rest.split_first()?;
        *rest = tail;
        let bits = u64::from(first & 0x7f);
        n |= bits.checked_shl(shift).filter(|it| it >> shift == bits)?;
        if first & 0x80 == 0 {
            // One form for each number.
            return (n <= most && (bits != 0 || shift == 0)).then_some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn seq(epoch: u64, n: u64) -> SeqNo {
        SeqNo { epoch, n }
    }

    /// The same with sets of numbers: slow, and plain to see through.
    #[derive(Default)]
    struct Model(BTreeMap<u64, BTreeSet<u64>>);

    impl Model {
        fn take(&mut self, SeqNo { epoch, n }: SeqNo, most: usize) -> bool {
            if self.0.len() >= MAX_EPOCHS && self.0.first_key_value().is_some_and(|(lowest, _)| epoch < *lowest) {
                return false;
            }
            let seen = self.0.entry(epoch).or_default();
            if !seen.insert(n) {
                return false;
            }
            let gaps: Vec<(u64, u64)> =
                seen.iter().zip(seen.iter().skip(1)).map(|(a, b)| (*a, *b)).filter(|(a, b)| b - a > 1).collect();
            if gaps.len() >= most {
                seen.extend(gaps[0].0..gaps[0].1);
            }
            if self.0.len() > MAX_EPOCHS {
                self.0.pop_first();
            }
            true
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100_000))]

        #[test]
        fn a_window_does_what_sets_of_numbers_do(
            places in prop::collection::vec((0_u64..7, 0_u64..60), 0..80),
            most in 1_usize..7,
            top in any::<bool>(),
        ) {
            let (mut window, mut model) = (Window::default(), Model::default());
            for (epoch, n) in places {
                let seq = seq(epoch, if top { u64::MAX - n } else { n });
                let is_new = window.is_new(seq);
                prop_assert_eq!(window.take_within(seq, most), is_new);
                prop_assert_eq!(model.take(seq, most), is_new, "{:?}", seq);
                prop_assert!(window.0.iter().all(|(_, intervals)| intervals.len() <= most));
            }
            prop_assert_eq!(Window::from_bytes(&window.to_bytes()), Some(window));
        }

        #[test]
        fn no_bytes_from_the_store_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let bytes = [&[VERSION], &bytes[..]].concat();
            if let Some(mut window) = Window::from_bytes(&bytes) {
                prop_assert_eq!(window.to_bytes(), bytes);
                window.take(seq(1, 1));
            }
        }
    }

    #[test]
    fn an_author_costs_what_it_needs() {
        let mut replay = Replay::default();
        assert_eq!(replay.bytes_held(), 0, "nobody costs nothing");
        let id = |n: u32| NodeId::from(&*format!("9b2f4c1e-8d53-8a6b-9c07-{n:012}"));
        (0..1000).for_each(|n| (1..9).for_each(|it| assert!(replay.take(&id(n), seq(1, it)))));
        assert!(replay.bytes_held() < 1000 * 230, "{} bytes each", replay.bytes_held() / 1000);
        // Intervals for one: a list grows by a quarter.
        let before = replay.bytes_held();
        (0..MAX_INTERVALS as u64).for_each(|n| assert!(replay.take(&id(1), seq(1, 100 + 2 * n))));
        assert!(replay.bytes_held() - before < MAX_INTERVALS * 16 * 5 / 4);
    }

    #[test]
    fn what_comes_late_is_taken_once() {
        let mut replay = Replay::default();
        let (a, b) = (NodeId::from("a"), NodeId::from("b"));
        assert!(replay.take(&a, seq(1, 5)) && replay.take(&a, seq(1, 3)) && replay.take(&a, seq(1, 4)));
        assert!(!replay.take(&a, seq(1, 4)) && !replay.take(&a, seq(1, 5)));
        assert!(replay.take(&b, seq(1, 4)), "each author counts for itself");
        assert!(replay.take(&a, seq(2, 4)), "and each epoch");
        assert!(replay.take(&a, seq(1, 1)));
        assert_eq!(replay.held(), (2, 4));
    }

    #[test]
    fn epochs_below_the_highest_four_are_refused() {
        let mut window = Window::default();
        assert!([10, 30, 20, 40].into_iter().all(|epoch| window.take(seq(epoch, 1))));
        assert!(!window.take(seq(9, 1)));
        assert!(window.take(seq(50, 1)));
        assert!(!window.take(seq(10, 2)) && window.take(seq(20, 2)) && window.take(seq(25, 1)));
        assert!(!window.take(seq(20, 3)));
    }

    #[test]
    fn authors_and_intervals_are_bounded_and_who_was_heard_last_stays() {
        let mut replay = Replay::default();
        let mut forgotten = 0;
        let id = |n: u64| NodeId::from(&*n.to_string());
        for n in 0..MAX_AUTHORS as u64 + 100 {
            replay.take(&id(n), seq(1, 1));
            replay.take(&id(0), seq(1, n + 2));
            forgotten += std::iter::from_fn(|| replay.forget_one()).count();
        }
        assert_eq!((replay.held().0, forgotten), (MAX_AUTHORS, 100));
        assert!(
            replay.window(&id(0)).is_some() && replay.window(&id(1)).is_none() && replay.window(&id(101)).is_some()
        );
        for n in 0..MAX_AUTHORS as u64 {
            for at in 0..MAX_INTERVALS as u64 + 3 {
                replay.take(&id(n), seq(2, at * 2));
            }
            while replay.forget_one().is_some() {}
            assert!(replay.held().1 <= MAX_ALL_INTERVALS && replay.by_use.len() == replay.authors.len());
        }
        let counted: usize = replay.authors.values().map(|it| it.window.len()).sum();
        assert_eq!(counted, replay.held().1);
    }
}
