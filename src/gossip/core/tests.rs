use std::time::Instant;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::wire::identity::Identity;
use crate::wire::limits::MAX_SEEN;
use crate::wire::signed::SeqNo;

/// A link that has brought little so far.
#[derive(Default)]
struct Quiet {
    is_spent: bool,
    refuses: bool,
    asked: u32,
}

impl Bringer for Quiet {
    fn is_signature_budget_spent(&self) -> bool {
        self.is_spent
    }

    fn may_pass_unsigned(&mut self) -> bool {
        self.asked += 1;
        !self.refuses
    }
}

fn now() -> Now {
    #[allow(clippy::disallowed_methods, reason = "any moment will do")]
    Now { mono: Instant::now(), unix_ms: 0 }
}

fn gossip(rate: u32) -> Gossip {
    let roots = Roots::new(Some(1), "", [0; 32]);
    Gossip::new("me".into(), Rate::new(rate), Replay::default(), &roots)
}

fn unsigned(id: &str, from: &str) -> Value {
    json!({ "type": "chat", "id": id, "from": from, "username": "x", "room": "r", "msg": "hi", "ttl": 5, "ttl0": 5 })
}

fn signed_by(identity: &Identity, id: &str, n: u64) -> Value {
    crate::sim::author::sign(identity, SeqNo { epoch: 1, n }, &unsigned(id, identity.id_text()))
}

/// Brings a message as one with so many forwards left.
fn bring(it: &mut Gossip, now: Now, message: &Value, left: u8, by: &mut Quiet) -> Admission {
    let json = message.to_string();
    let view = View::parse(json.as_bytes()).expect("an object");
    let (id, from) = (view.id.name().expect("an id"), view.from.name().expect("an author"));
    let via = NodeId::from("via");
    let direct = via.is(&from);
    let copy = Copy { view: &view, id: &id, from: &from, direct, via: &via, left, ttl0: 32, wants_author: false };
    let admission = it.admit(now, &copy, None, by);
    if let Admission::New(way) = &admission {
        it.begin_trace(now, &copy, *way, 0);
    }
    admission
}

fn cause(admission: &Admission) -> Option<DropCause> {
    match admission {
        Admission::Refused { cause, .. } => Some(*cause),
        _ => None,
    }
}

#[test]
fn a_message_is_new_once_and_then_a_copy() {
    let (mut it, now, by) = (gossip(0), now(), &mut Quiet::default());
    let message = unsigned("m", "a");
    let Admission::New(way) = bring(&mut it, now, &message, 30, by) else { panic!("it is new") };
    assert_eq!((way.number, way.left, way.ttl0, way.is_verified(), way.hops()), (0, 30, 32, false, 3));
    assert!(matches!(bring(&mut it, now, &message, 29, by), Admission::Copy { again: false, .. }));
    assert_eq!((it.counters().received, it.counters().duplicates), (1, 1));
    assert_eq!(it.find_trace("m", None).map(|trace| trace.copies), Some(2));
}

#[test]
fn a_copy_with_more_forwards_left_goes_on_where_the_first_was_near_its_end() {
    let (mut it, now, by) = (gossip(0), now(), &mut Quiet::default());
    for (id, first, again) in [("m", TTL_NEAR_END - 1, true), ("n", TTL_NEAR_END, false)] {
        let message = unsigned(id, "a");
        bring(&mut it, now, &message, first, by);
        let copy = bring(&mut it, now, &message, 20, by);
        assert!(matches!(copy, Admission::Copy { again: it, .. } if it == again), "{copy:?}");
        assert!(matches!(bring(&mut it, now, &message, 20, by), Admission::Copy { again: false, .. }));
    }
}

#[test]
fn signed_messages_are_verified_once_each_number() {
    let (mut it, now, by) = (gossip(0), now(), &mut Quiet::default());
    let author = Identity::new(&[7; 32]);
    let message = signed_by(&author, "m", 1);
    assert!(matches!(bring(&mut it, now, &message, 5, by), Admission::New(Way { seq: Some(_), .. })));
    assert!(matches!(bring(&mut it, now, &message, 5, by), Admission::Copy { .. }));
    it.forget_ids();
    assert_eq!(cause(&bring(&mut it, now, &message, 5, by)), Some(DropCause::Replayed));
    assert!(matches!(bring(&mut it, now, &signed_by(&author, "m", 2), 5, by), Admission::New(_)));
    assert!(it.author_row(author.id()).is_some() && it.author_row(&"a".into()).is_none());
}

#[test]
fn forgeries_are_refused_blamed_and_shut_nothing_out() {
    let (mut it, now, by) = (gossip(0), now(), &mut Quiet::default());
    let author = Identity::new(&[7; 32]);
    let message = signed_by(&author, "m", 1);
    let mut forged = message.clone();
    forged["msg"] = "other".into();
    let admission = bring(&mut it, now, &forged, 5, by);
    assert!(
        matches!(admission, Admission::Refused { cause: DropCause::BadSignature, blame: Some(_) }),
        "{admission:?}"
    );
    let admission = bring(&mut it, now, &unsigned("m", author.id_text()), 5, by);
    assert_eq!(admission, Admission::Refused { cause: DropCause::Forged, blame: None });
    assert!(!it.has_seen("m", Some(author.id_text())) && it.author_row(author.id()).is_none());
    assert!(matches!(bring(&mut it, now, &message, 5, by), Admission::New(_)), "the true one comes in");
}

#[test]
fn a_link_whose_budget_is_spent_is_asked_for_no_more_verdicts() {
    let (mut it, now) = (gossip(0), now());
    let by = &mut Quiet { is_spent: true, ..Quiet::default() };
    let message = signed_by(&Identity::new(&[7; 32]), "m", 1);
    assert_eq!(cause(&bring(&mut it, now, &message, 5, by)), Some(DropCause::Rate));
    assert!(matches!(bring(&mut it, now, &unsigned("n", "a"), 5, by), Admission::New(_)));
}

#[test]
fn authors_far_away_have_twice_the_rate_and_strangers_that_of_their_link() {
    let (mut it, now, by) = (gossip(10), now(), &mut Quiet::default());
    let author = Identity::new(&[7; 32]);
    let taken = (1..=300).filter(|n| {
        let message = signed_by(&author, &n.to_string(), *n);
        cause(&bring(&mut it, now, &message, 5, by)) != Some(DropCause::Rate)
    });
    assert_eq!(taken.count(), 200);
    assert_eq!(by.asked, 0);
    let by = &mut Quiet { refuses: true, ..Quiet::default() };
    assert_eq!(cause(&bring(&mut it, now, &unsigned("x", "a"), 5, by)), Some(DropCause::Rate));
    assert!(
        matches!(bring(&mut it, now, &unsigned("x", "via"), 5, by), Admission::New(_)),
        "a neighbour is slowed down"
    );
    assert_eq!(by.asked, 1);
}

#[test]
fn what_this_node_says_waits_at_its_rate() {
    let (mut it, now) = (gossip(10), now());
    (0..99).for_each(|_| it.on_own(now));
    assert!(it.may_say(now) && it.deadline().is_none());
    it.on_own(now);
    let until = it.deadline().expect("a wait");
    assert!(!it.may_say(now));
    let later = Now { mono: until, ..now };
    assert!(it.may_say(later));
    it.on_time(later);
    assert!(it.deadline().is_none() && it.counters().sent == 100);
}

#[test]
fn an_id_of_our_own_is_taken_once_and_found_before_those_of_others() {
    let (mut it, now, by) = (gossip(0), now(), &mut Quiet::default());
    bring(&mut it, now, &unsigned("m", "a"), 5, by);
    let number = it.take_own("m").expect("another's is no matter");
    it.begin_own_trace(now, number, 7);
    assert!(it.take_own("m").is_err());
    bring(&mut it, now, &signed_by(&Identity::new(&[7; 32]), "m", 1), 5, by);
    assert_eq!(it.find_trace("m", None).map(|trace| (&*trace.from, trace.copies)), Some(("me", 0)));
    assert!(it.own_trace_mut("m").is_some() && it.knows_id("m") && !it.knows_id("n"));
}

#[test]
fn frames_that_come_together_are_verified_together_and_no_verdict_differs() {
    use crate::wire::frame::{Allowance, Decoder};
    let (it, author) = (gossip(0), Identity::new(&[7; 32]));
    let mut stream = Vec::new();
    for n in 1..=20 {
        let mut message = signed_by(&author, &n.to_string(), n);
        if n % 3 == 0 {
            message["msg"] = "changed".into();
        }
        let body = message.to_string();
        stream.extend_from_slice(&(body.len() as u32).to_be_bytes());
        stream.extend_from_slice(body.as_bytes());
    }
    let mut batch = it.look_ahead(&Decoder::default(), &stream, Allowance::Level2, || true, |_| false);
    let (mut decoder, mut bytes, mut n) = (Decoder::default(), &stream[..], 0);
    while let Ok(Some(crate::wire::frame::Item::Frame(frame))) = decoder.next(&mut bytes, Allowance::Level2) {
        n += 1;
        let parsed = batch.next(frame);
        let alone = signed::verify(parsed.view.as_ref().expect("an object"));
        assert_eq!(parsed.verdict, Some(alone), "frame {n}");
        assert_eq!(alone.is_ok(), n % 3 != 0);
    }
    assert!(n == 20 && batch.is_empty());
    let mut none = it.look_ahead(&Decoder::default(), &stream, Allowance::Level2, || true, |_| true);
    assert!(none.next(&stream[4..]).verdict.is_none(), "a blocked author is not looked at");
}

proptest! {
    #[test]
    fn whatever_comes_nothing_is_new_twice(ids in prop::collection::vec((0_u8..20, 0_u8..3, 0_u8..33), 0..200)) {
        prop_assume!(MAX_SEEN > 60);
        let (mut it, now, by) = (gossip(0), now(), &mut Quiet::default());
        let mut seen = std::collections::BTreeSet::new();
        for (id, author, left) in ids {
            let message = unsigned(&id.to_string(), &author.to_string());
            let is_new = matches!(bring(&mut it, now, &message, left, by), Admission::New(_));
            // Unsigned messages are known by their id alone: whoever wrote them can write any author.
            prop_assert_eq!(is_new, seen.insert(id));
        }
        prop_assert_eq!(it.seen_ids(), seen.len());
    }
}
