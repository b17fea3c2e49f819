//! The numbers of our own messages over many runs, with disks that are full and clocks that jump.

use std::time::Duration;

use serde_json::json;

use crate::base::{State, Table};
use crate::gossip::numbers::{BLOCK_FOR_TESTS as BLOCK, read};
use crate::node::STDIO;
use crate::node::stores::NUMBERS as ROW;
use crate::sim::{At, Net};
use crate::wire::signed::SeqNo;

fn net() -> (Net, At) {
    let mut net = Net::new(1, (Duration::from_millis(1), Duration::from_millis(1)));
    let at = net.node_with("a", |config| config.state = Some(State::default()));
    net.settle();
    (net, at)
}

fn last(net: &Net, at: At) -> SeqNo {
    net.at(at).numbers.last()
}

fn kept(net: &Net, at: At) -> SeqNo {
    net.state(at).and_then(|state| state.get(Table::Own, ROW)).and_then(read).expect("a place")
}

fn epochs_begun(net: &Net, at: At) -> usize {
    net.events(at, "warning").filter(|it| it["message"].as_str().is_some_and(|it| it.contains("counters"))).count()
}

#[test]
fn a_killed_node_goes_on_behind_what_it_had_set_aside() {
    let (mut net, at) = net();
    net.send(at, "1");
    net.send(at, "2");
    let before = last(&net, at);
    assert_eq!((before.n, kept(&net, at)), (2, SeqNo { n: BLOCK, ..before }));
    net.restart(at);
    net.settle();
    net.send(at, "3");
    assert_eq!(last(&net, at), SeqNo { n: BLOCK + 1, ..before }, "the same epoch");
    assert_eq!(epochs_begun(&net, at), 0);
}

#[test]
fn a_node_that_ends_leaves_no_gap() {
    let (mut net, at) = net();
    net.send(at, "1");
    net.command(at, &json!({ "cmd": "exit" }));
    net.settle();
    net.restart(at);
    net.settle();
    net.send(at, "2");
    assert_eq!(last(&net, at).n, 2);
}

#[test]
fn more_is_set_aside_before_there_is_need() {
    let (mut net, at) = net();
    net.at_mut(at).numbers.skip_to(BLOCK / 2);
    net.send(at, "x");
    net.settle();
    assert_eq!(kept(&net, at).n, BLOCK / 2 + 1 + BLOCK);
    net.at_mut(at).numbers.skip_to(BLOCK);
    net.send(at, "y");
    assert_eq!((last(&net, at).n, epochs_begun(&net, at)), (BLOCK + 1, 0));
}

#[test]
fn with_a_full_disk_a_higher_epoch_is_used_and_kept_when_there_is_room() {
    let (mut net, at) = net();
    let before = last(&net, at);
    net.saves(at, false);
    net.at_mut(at).numbers.skip_to(BLOCK);
    net.send(at, "x");
    let new = last(&net, at);
    assert!(new.epoch > before.epoch && new.n == 1);
    net.send(at, "y");
    net.settle();
    assert_eq!((last(&net, at), epochs_begun(&net, at)), (SeqNo { n: 2, ..new }, 1));
    assert_eq!(kept(&net, at).epoch, before.epoch);
    net.saves(at, true);
    net.settle();
    assert_eq!(kept(&net, at), SeqNo { n: 1 + BLOCK, ..new });
    net.restart(at);
    net.settle();
    net.send(at, "z");
    assert_eq!(last(&net, at), SeqNo { n: 2 + BLOCK, ..new });
}

#[test]
fn no_place_is_used_twice_whatever_the_clock_says_and_with_a_full_disk() {
    let mut net = Net::new(1, (Duration::from_millis(1), Duration::from_millis(1)));
    let row = [u64::MAX >> 1, 7].map(u64::to_be_bytes).concat();
    let at = net.node_with("a", |config| {
        let mut state = State::default();
        // An epoch of a clock that was far ahead; now it is right, and by it no two runs can be told apart.
        state.set(Table::Own, ROW.into(), Some(row));
        config.state = Some(state);
    });
    net.saves(at, false);
    let mut used = std::collections::BTreeSet::new();
    for _ in 0..8 {
        net.restart(at);
        net.settle();
        net.send(at, "x");
        let place = last(&net, at);
        assert!(place.epoch > u64::MAX >> 1 && used.insert((place.epoch, place.n)), "{place:?} again");
    }
    // Now there is room for the last of them.
    net.saves(at, true);
    let before = kept(&net, at);
    net.restart(at);
    net.settle();
    net.send(at, "y");
    assert_eq!(last(&net, at), SeqNo { n: before.n + 1, ..before });
    assert!(used.iter().any(|it| it.0 == before.epoch && it.1 <= before.n));
}

#[test]
fn commands_wait_for_counters_but_not_for_a_full_disk() {
    let mut net = Net::new(1, (Duration::ZERO, Duration::ZERO));
    let at = net.node_with("a", |config| config.state = Some(State::default()));
    assert!(!net.at(at).may_take_request(net.time(), STDIO));
    net.settle();
    assert!(net.at(at).may_take_request(net.time(), STDIO));
    net.saves(at, false);
    net.restart(at);
    assert!(!net.at(at).may_take_request(net.time(), STDIO));
    net.settle();
    assert!(net.at(at).may_take_request(net.time(), STDIO), "it was tried");
    net.send(at, "x");
    assert!(net.at(at).may_take_request(net.time(), STDIO));
    let without = net.node("b");
    assert!(net.at(without).may_take_request(net.time(), STDIO));
}
