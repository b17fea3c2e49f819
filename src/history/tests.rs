//! History in memory, and over a store that is played here.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::rooms::OVERHEAD;
use super::*;
use crate::wire::limits::{MAX_HISTORY_PER_ROOM, MAX_ROOMS};

fn history(max_bytes: usize) -> History {
    History::new(max_bytes, [7; 16])
}

fn message(bytes: usize) -> Kept {
    Kept { pos: 0, received_at: 0, hops: 1, via: None, verified: false, frame: vec![b'x'; bytes].into() }
}

fn label<'a>(author: &'a str, id: &'a str, seq: Option<(u64, u64)>) -> Label<'a> {
    Label { author, id, seq: seq.map(|(epoch, n)| SeqNo { epoch, n }) }
}

/// Keeps a message that nobody asks for by its id.
fn keep(history: &mut History, room: &str, bytes: usize, pinned: impl Fn(&str) -> bool) -> Option<u64> {
    history.keep(room, message(bytes), label("a", "x", None), pinned)
}

fn asked(room: &str, range: Range, limit: usize) -> Query {
    Query { room: room.into(), from: From::Range(range), limit }
}

fn positions(page: &Page<'_>) -> Vec<u64> {
    page.iter().map(|it| it.pos).collect()
}

/// The page that is in memory, and whether there is more.
fn ready(history: &History, query: Query) -> Result<(Vec<u64>, bool), Missing> {
    match history.query(query)? {
        Answer::Ready(page) => Ok((positions(&page), page.more)),
        Answer::NeedsLoad(load) => panic!("all of it is in memory, not {load:?}"),
    }
}

fn list(history: &History, room: &str, range: Range, limit: usize) -> Vec<u64> {
    ready(history, asked(room, range, limit)).expect("kept").0
}

#[test]
fn a_room_keeps_its_newest_thousand() {
    let mut history = history(1 << 20);
    for _ in 0..MAX_HISTORY_PER_ROOM + 5 {
        keep(&mut history, "a", 10, |_| false);
    }
    assert_eq!(history.held().1, MAX_HISTORY_PER_ROOM);
    let gone = Missing::Gone(Gone { oldest: Some(6) });
    assert_eq!(ready(&history, asked("a", Range::After(2), 9)), Err(gone));
    assert_eq!(list(&history, "a", Range::After(5), 2), [6, 7]);
    assert_eq!(list(&history, "a", Range::Newest, 2), [1004, 1005]);
    assert_eq!(list(&history, "a", Range::Before(8), 9), [6, 7]);
}

#[test]
fn pages_fit_together_in_both_directions() {
    let mut history = history(1 << 20);
    for n in 0..50 {
        keep(&mut history, if n % 3 == 0 { "a" } else { "b" }, 10, |_| false);
    }
    let all = list(&history, "b", Range::After(0), 1000);
    let (mut forth, mut at) = (Vec::new(), 0);
    loop {
        let (page, more) = ready(&history, asked("b", Range::After(at), 7)).expect("kept");
        forth.extend(page);
        at = *forth.last().expect("some");
        if !more {
            break;
        }
    }
    assert_eq!(forth, all);
    let (mut back, mut at) = (Vec::new(), u64::MAX);
    loop {
        let (page, more) = ready(&history, asked("b", Range::Before(at), 7)).expect("kept");
        back.extend(page.into_iter().rev());
        at = *back.last().expect("some");
        if !more {
            break;
        }
    }
    back.reverse();
    assert_eq!(back, all);
}

#[test]
fn bytes_are_bounded_over_all_rooms_oldest_out_first() {
    let mut history = history(100 * (50 + OVERHEAD));
    for n in 0..100_000_u32 {
        keep(&mut history, &format!("r{}", n % 7), 50, |_| false);
        let (_, messages, bytes) = history.held();
        assert!(messages <= 100 && bytes <= 100 * (50 + OVERHEAD));
        assert!(history.rooms.rooms_with_an_oldest() <= 7);
    }
    let all = list(&history, "r3", Range::Newest, 1000);
    assert!(all.iter().all(|pos| *pos > 100_000 - 101), "the newest are kept");
}

#[test]
fn rooms_are_bounded_and_pinned_ones_stay() {
    let mut history = history(1 << 20);
    keep(&mut history, "mine", 10, |_| true);
    for n in 0..5 * MAX_ROOMS {
        assert!(keep(&mut history, &format!("r{n}"), 10, |room| room == "mine").is_some());
        assert!(history.held().0 <= MAX_ROOMS);
    }
    assert_eq!(list(&history, "mine", Range::Newest, 9), [1]);
    assert_eq!(keep(&mut history, "another", 1, |_| true), None);
}

#[test]
fn an_id_is_its_newest_message_of_the_room() {
    let mut history = history(1 << 20);
    for (room, author, id, seq) in [
        ("a", "x", "1", Some((1, 1))),
        ("a", "y", "1", None),
        ("b", "x", "1", Some((1, 2))),
        ("a", "x", "2", Some((1, 4))),
        ("a", "x", "2", Some((1, 3))),
    ] {
        history.keep(room, message(1), label(author, id, seq), |_| false);
    }
    let after = |id, author| Query { room: "a".into(), from: after_id(id, author), limit: 9 };
    assert_eq!(ready(&history, after("1", None)), Ok((vec![2, 4, 5], false)), "the oldest");
    assert_eq!(ready(&history, after("1", Some("x"))), Ok((vec![2, 4, 5], false)));
    assert_eq!(ready(&history, after("1", Some("z"))), Err(Missing::UnknownId));
    assert_eq!(ready(&history, after("3", None)), Err(Missing::UnknownId));
    let of = |author, id| history.by_author_and_id(author, id).map(|it| it.pos);
    assert_eq!((of("x", "1"), of("x", "2"), of("y", "1")), (Some(3), Some(4), None), "unsigned ones are no one's");
}

fn after_id(id: &str, author: Option<&str>) -> From {
    From::AfterId { id: id.into(), author: author.map(Into::into) }
}

#[test]
fn of_messages_with_one_id_ours_counts_then_a_verified_one_then_the_oldest() {
    let mut history = history(1 << 20);
    let mut keep = |author, via: Option<&str>, verified| {
        let frame = format!("{{\"type\":\"chat\",\"from\":\"{author}\"}}").into_bytes().into();
        let kept = Kept { via: via.map(Into::into), verified, frame, ..message(1) };
        history.keep("a", kept, label(author, "1", None), |_| false);
        let query = |author| Query { room: "a".into(), from: after_id("1", author), limit: 9 };
        let first = |author| ready(&history, query(author)).map(|(page, _)| page.first().copied());
        (first(None), first(Some("x")))
    };
    assert_eq!(keep("x", Some("via"), false), (Ok(None), Ok(None)));
    assert_eq!(keep("y", Some("via"), false), (Ok(Some(2)), Ok(Some(2))), "after the first, which is the oldest");
    assert_eq!(keep("z", Some("via"), true), (Ok(None), Ok(Some(2))), "after the third, which is verified");
    assert_eq!(keep("z", Some("via"), true), (Ok(Some(4)), Ok(Some(2))));
    assert_eq!(keep("own", None, true), (Ok(None), Ok(Some(2))));
    assert_eq!(keep("z", Some("via"), true), (Ok(Some(6)), Ok(Some(2))));
}

#[test]
fn a_number_that_is_taken_again_is_the_later_message() {
    let mut history = history(2 * (1 + OVERHEAD));
    for n in [1, 1, 2, 3] {
        history.keep("a", message(1), label("x", "1", Some((9, n))), |_| false);
    }
    assert_eq!(history.numbers("x", 9).collect::<Vec<_>>(), [2, 3]);
    history.keep("a", message(1), label("x", "1", Some((9, 0))), |_| false);
    assert_eq!(history.numbers("x", 9).collect::<Vec<_>>(), [3], "nothing has the number 0");
    assert_eq!(history.index.len(), 1);
}

proptest! {
    /// The index has exactly the messages that are kept.
    #[test]
    fn the_index_knows_what_is_kept(
        what in prop::collection::vec((0_u8..4, 0_u8..3, 0_u64..3, 0_u64..50, 0_usize..300), 1..300),
    ) {
        let mut history = history(20 * (100 + OVERHEAD));
        let mut kept: BTreeMap<(String, SeqNo), (u64, String)> = BTreeMap::new();
        for (room, author, epoch, n, bytes) in what {
            let (room, author, id) = (format!("r{room}"), format!("a{author}"), format!("i{}", n % 7));
            let pos = history.keep(&room, message(bytes), label(&author, &id, Some((epoch, n))), |_| false);
            if n > 0 {
                kept.insert((author, SeqNo { epoch, n }), (pos.expect("kept"), room));
            }
            kept.retain(|_, (pos, room)| list(&history, room, Range::Newest, 1000).contains(pos));
            prop_assert_eq!(history.index.len(), kept.len());
        }
        for ((author, seq), (pos, _)) in &kept {
            prop_assert_eq!(history.by_number(author, *seq).map(|it| it.pos), Some(*pos));
        }
        for (author, epoch) in (0..3).flat_map(|author| (0..3).map(move |epoch| (format!("a{author}"), epoch))) {
            let expected = kept.keys().filter(|it| it.0 == author && it.1.epoch == epoch).map(|it| it.1.n);
            prop_assert!(history.numbers(&author, epoch).eq(expected));
        }
    }
}

/// A store that has all that was ever kept in one room.
#[derive(Default)]
struct Disk(Vec<(Kept, String)>);

impl Disk {
    /// Keeps a message in memory and here.
    fn keep(&mut self, history: &mut History, id: &str) {
        let pos = history.keep("a", message(50), label("x", id, None), |_| false).expect("a position");
        self.0.push((Kept { pos, ..message(50) }, id.into()));
        history.set_on_disk("a", self.0[0].0.pos..=pos, |_| false);
    }

    fn rows(&self, wanted: &Wanted) -> Vec<Kept> {
        let all = self.0.iter().map(|(kept, _)| kept.clone());
        match wanted {
            Wanted::Oldest { after, before, limit } => {
                all.filter(|it| (after + 1..*before).contains(&it.pos)).take(*limit).collect()
            }
            Wanted::Newest { before, limit } => {
                let all: Vec<Kept> = all.filter(|it| it.pos < *before).collect();
                all[all.len().saturating_sub(*limit)..].to_vec()
            }
            Wanted::OfId { id, .. } => self.0.iter().filter(|it| it.1 == *id).map(|it| it.0.clone()).take(1).collect(),
        }
    }

    fn positions(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.0.iter().map(|it| it.0.pos)
    }
}

/// The page asked for, after its loads, and the number of loads. `more` messages are kept before each load is done.
fn ask(history: &mut History, disk: &mut Disk, query: Query, more: usize) -> Result<(Vec<u64>, bool, usize), Missing> {
    let (mut load, mut loads) = (None::<Load>, 0);
    loop {
        let answer = match load.take() {
            None => history.query(query.clone())?,
            Some(it) => {
                let rows = disk.rows(&it.wanted);
                history.loaded(it, rows)?
            }
        };
        match answer {
            Answer::Ready(page) => return Ok((positions(&page), page.more, loads)),
            Answer::NeedsLoad(it) => load = Some(it),
        }
        loads += 1;
        (0..more).for_each(|_| disk.keep(history, "meanwhile"));
    }
}

#[test]
fn what_is_on_disk_is_loaded_and_only_that() {
    let (mut history, mut disk) = (history(10 * (50 + OVERHEAD)), Disk::default());
    (1..=100).for_each(|n| disk.keep(&mut history, &n.to_string()));
    assert_eq!(history.held().1, 10);
    let mut ask = |from, limit| ask(&mut history, &mut disk, Query { room: "a".into(), from, limit }, 0);
    let range = |from: u64, to: u64| (from..=to).collect::<Vec<_>>();
    assert_eq!(ask(From::Range(Range::Newest), 10), Ok((range(91, 100), true, 0)), "memory is enough");
    assert_eq!(ask(From::Range(Range::Newest), 12), Ok((range(89, 100), true, 1)));
    assert_eq!(ask(From::Range(Range::Newest), 100), Ok((range(1, 100), false, 1)));
    assert_eq!(ask(From::Range(Range::Before(95)), 6), Ok((range(89, 94), true, 1)));
    assert_eq!(ask(From::Range(Range::Before(5)), 6), Ok((range(1, 4), false, 1)));
    assert_eq!(ask(From::Range(Range::Before(1)), 6), Ok((vec![], false, 0)));
    assert_eq!(ask(From::Range(Range::After(0)), 3), Ok((range(1, 3), true, 1)));
    assert_eq!(ask(From::Range(Range::After(88)), 2), Ok((range(89, 90), true, 1)));
    assert_eq!(ask(From::Range(Range::After(88)), 5), Ok((range(89, 93), true, 1)));
    assert_eq!(ask(From::Range(Range::After(88)), 50), Ok((range(89, 100), false, 1)));
    assert_eq!(ask(From::Range(Range::After(90)), 50), Ok((range(91, 100), false, 0)));
    assert_eq!(ask(after_id("95", None), 2), Ok((vec![96, 97], true, 0)));
    assert_eq!(ask(after_id("7", None), 2), Ok((vec![8, 9], true, 2)), "first its position");
    assert_eq!(ask(after_id("none", None), 2), Err(Missing::UnknownId));
}

#[test]
fn a_room_of_an_earlier_run_is_on_disk_alone() {
    let mut history = history(1 << 20);
    history.set_on_disk("a", 5..=9, |_| false);
    assert_eq!(history.rooms().collect::<Vec<_>>(), [("a", 0, Some(9))]);
    let query = asked("a", Range::Newest, 3);
    let Ok(Answer::NeedsLoad(load)) = history.query(query) else { panic!("it is on disk") };
    assert_eq!((load.room(), &load.wanted), ("a", &Wanted::Newest { before: 10, limit: 3 }));
    assert_eq!(keep(&mut history, "b", 1, |_| true), Some(10), "positions go on");
}

#[test]
fn what_was_dropped_before_it_was_on_disk_is_gone() {
    let mut history = history(3 * (1 + OVERHEAD));
    for _ in 0..5 {
        keep(&mut history, "a", 1, |_| false);
    }
    history.set_on_disk("a", 3..=4, |_| false);
    let gone = Missing::Gone(Gone { oldest: Some(3) });
    assert_eq!(ready(&history, asked("a", Range::After(1), 9)), Err(gone));
    for _ in 0..2 {
        keep(&mut history, "a", 1, |_| false);
    }
    let Ok(Answer::NeedsLoad(load)) = history.query(asked("a", Range::After(2), 9)) else { panic!("it is on disk") };
    assert_eq!(load.wanted, Wanted::Oldest { after: 2, before: 5, limit: 9 });
    // Meanwhile the room is forgotten but for its name, or the next is dropped and is not on disk.
    keep(&mut history, "a", 1, |_| false);
    let rows = (3..5).map(|pos| Kept { pos, ..message(1) }).collect();
    assert_eq!(history.loaded(load, rows).map(|_| ()), Err(Missing::Gone(Gone { oldest: Some(3) })));
}

proptest! {
    /// A page has no gap and is as long as it can be, whatever comes and goes while it is loaded.
    #[test]
    fn pages_have_no_gap(
        kept in 1_usize..60,
        at in 0_u64..70,
        direction in 0_u8..3,
        limit in 1_usize..40,
        meanwhile in 0_usize..30,
    ) {
        let (mut history, mut disk) = (history(8 * (50 + OVERHEAD)), Disk::default());
        (0..kept).for_each(|_| disk.keep(&mut history, "x"));
        let range = [Range::Newest, Range::After(at), Range::Before(at)][usize::from(direction)];
        let before: Vec<u64> = disk.positions().collect();
        let (page, more, loads) = ask(&mut history, &mut disk, asked("a", range, limit), meanwhile).expect("kept");
        match range {
            Range::After(pos) => {
                let all: Vec<u64> = disk.positions().filter(|it| *it > pos).collect();
                prop_assert!(all.starts_with(&page));
                prop_assert!(page.len() == limit || page.len() == all.len());
                prop_assert_eq!(more, page.len() < all.len());
            }
            Range::Before(_) | Range::Newest => {
                let end = if let Range::Before(pos) = range { pos } else { u64::MAX };
                let all: Vec<u64> = before.into_iter().filter(|it| *it < end).collect();
                prop_assert!(all.ends_with(&page));
                prop_assert!(page.len() == limit || page.len() == all.len());
                prop_assert_eq!(more, page.len() < all.len());
                prop_assert!(loads < 2);
            }
        }
    }
}
