//! The places of our own signed messages: no two of them may ever have the same, in this run or any other.
//!
//! An epoch and a counter, from 1. A node whose key is new at each start takes the time of the start as its epoch. One that keeps
//! its key keeps its epoch, too, and sets counters aside in the state folder before it uses them, a block at a time: whatever
//! happens to it, the next run goes on behind that block. Commands wait until there are some; but if they can't be saved, or
//! run out, the node begins a higher epoch and goes on.

use super::{Node, Now, Outbox};
use crate::api::event::WarningCode;
use crate::base::{State, Table};
use crate::wire::signed::Place;

/// Counters that are set aside at once: at full speed some seconds' worth. What is left of them when a node is killed is skipped.
const BLOCK: u64 = 1 << 16;
/// How much higher than it must be an epoch may begin that can't be kept, in milliseconds: a quarter of an hour, a guess. The run
/// after it knows nothing of it, and can't tell by a clock that has gone back: chance keeps the two apart.
const EPOCH_SPREAD: u64 = 1 << 20;
/// The row of the state folder: an epoch and the last counter that is set aside, 8 bytes each.
const ROW: &str = "place";

/// The places taken and set aside.
#[derive(Debug)]
pub struct Places {
    /// The last one that was taken.
    last: Place,
    /// The last counter of the epoch that is safely set aside. Means nothing without a state folder.
    safe_to: u64,
    /// A change that sets aside more: its number, and the last counter.
    asked: Option<(u64, u64)>,
    /// The epoch is one that could not be saved yet: it is used all the same.
    in_memory: bool,
    /// That is still to be told.
    untold: bool,
}

impl Places {
    /// Those after an earlier run's, or of a new epoch.
    pub fn new(state: Option<&State>, epoch: u64) -> Self {
        let row = state.and_then(|state| state.get(Table::Own, ROW)).and_then(read);
        let last = row.unwrap_or(Place { epoch, n: 0 });
        Self { last, safe_to: last.n, asked: None, in_memory: false, untold: false }
    }
}

fn read(row: &[u8]) -> Option<Place> {
    let (epoch, n) = row.split_first_chunk()?;
    Some(Place { epoch: u64::from_be_bytes(*epoch), n: u64::from_be_bytes(n.try_into().ok()?) })
}

impl Node {
    /// The place of our next signed message: taken before it is composed, since what is sealed in it is bound to it. One that
    /// is not used after all leaves a gap, which hurts nobody.
    pub(super) fn next_place(&mut self, now: Now) -> Place {
        let used_up = self.has_state() && !self.places.in_memory && self.places.last.n >= self.places.safe_to;
        if used_up {
            let spread = self.chance.place_secrets.number() % EPOCH_SPREAD;
            let epoch = now.unix_ms.max(self.places.last.epoch.saturating_add(1)).saturating_add(spread);
            self.places =
                Places { last: Place { epoch, n: 0 }, safe_to: 0, asked: None, in_memory: true, untold: true };
        }
        self.places.last.n += 1;
        self.places.last
    }

    /// Whether a command may take a place: not while counters are being set aside, and there are no others.
    pub(super) fn has_places(&self) -> bool {
        let places = &self.places;
        let failed = || places.asked.is_some_and(|(number, _)| self.stores.has_failed(number));
        !self.has_state() || places.in_memory || places.last.n < places.safe_to || failed()
    }

    /// Sets counters aside when half of them are used.
    pub(super) fn set_places_aside(&mut self, now: Now, out: &mut Outbox) {
        if !self.has_state() || !self.phase.is_running() {
            return;
        }
        if std::mem::take(&mut self.places.untold) {
            let message = "counters for messages could not be set aside in the state folder in time: this node goes on with new ones";
            self.warn(now, WarningCode::StateNotSaved, message, out);
        }
        if let Some((number, to)) = self.places.asked.filter(|(number, _)| self.stores.is_saved(*number)) {
            self.log(super::LogLevel::Debug, out, || format!("counters up to {to} are set aside by change {number}"));
            self.places.asked = None;
            self.places.safe_to = to;
            self.places.in_memory &= self.places.last.n >= to;
        }
        if self.places.asked.is_none() && self.places.last.n.saturating_add(BLOCK / 2) >= self.places.safe_to {
            let to = self.places.last.n.saturating_add(BLOCK);
            self.places.asked = self.store_place(to, out).map(|number| (number, to));
        }
    }

    /// At a clean end nothing needs to be skipped.
    pub(super) fn give_places_back(&mut self, out: &mut Outbox) {
        self.store_place(self.places.last.n, out);
    }

    fn store_place(&mut self, n: u64, out: &mut Outbox) -> Option<u64> {
        let row = [self.places.last.epoch.to_be_bytes(), n.to_be_bytes()].concat();
        self.store(Table::Own, ROW, Some(row), out)
    }

    /// Signs anything.
    #[cfg(test)]
    pub(crate) fn sign_any(&mut self, now: Now, message: &serde_json::Value) -> serde_json::Value {
        let place = self.next_place(now);
        crate::sim::author::sign(&self.identity, place, message)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::node::STDIO;
    use crate::sim::{At, Net};

    fn net() -> (Net, At) {
        let mut net = Net::new(1, (Duration::from_millis(1), Duration::from_millis(1)));
        let at = net.node_with("a", |config| config.state = Some(State::default()));
        net.settle();
        (net, at)
    }

    fn last(net: &Net, at: At) -> Place {
        net.at(at).places.last
    }

    fn kept(net: &Net, at: At) -> Place {
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
        assert_eq!((before.n, kept(&net, at)), (2, Place { n: BLOCK, ..before }));
        net.restart(at);
        net.settle();
        net.send(at, "3");
        assert_eq!(last(&net, at), Place { n: BLOCK + 1, ..before }, "the same epoch");
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
        net.at_mut(at).places.last.n = BLOCK / 2;
        net.send(at, "x");
        net.settle();
        assert_eq!(kept(&net, at).n, BLOCK / 2 + 1 + BLOCK);
        net.at_mut(at).places.last.n = BLOCK;
        net.send(at, "y");
        assert_eq!((last(&net, at).n, epochs_begun(&net, at)), (BLOCK + 1, 0));
    }

    #[test]
    fn with_a_full_disk_a_higher_epoch_is_used_and_kept_when_there_is_room() {
        let (mut net, at) = net();
        let before = last(&net, at);
        net.saves(at, false);
        net.at_mut(at).places.last.n = BLOCK;
        net.send(at, "x");
        let new = last(&net, at);
        assert!(new.epoch > before.epoch && new.n == 1);
        net.send(at, "y");
        net.settle();
        assert_eq!((last(&net, at), epochs_begun(&net, at)), (Place { n: 2, ..new }, 1));
        assert_eq!(kept(&net, at).epoch, before.epoch);
        net.saves(at, true);
        net.settle();
        assert_eq!(kept(&net, at), Place { n: 1 + BLOCK, ..new });
        net.restart(at);
        net.settle();
        net.send(at, "z");
        assert_eq!(last(&net, at), Place { n: 2 + BLOCK, ..new });
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
        assert_eq!(last(&net, at), Place { n: before.n + 1, ..before });
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
}
