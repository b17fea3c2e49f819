//! Addresses that are dialled: from the start, by a command, and again whenever the link is lost.
//!
//! The wait before another try starts at half a second, doubles with each failure up to a minute, and is spread at
//! random over half to one and a half of that. A link that has lasted sets it back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::timers::{Armed, Timers};
use super::ways::Ways;
use crate::base::{Chance, DialId, LinkCode, LinkId, NodeId, Now};
use crate::outbox::{Order, Outbox, Output};
use crate::wire::limits::{ADDR_TIME, DIAL_TIME, MAX_TARGETS, REDIAL_FIRST, REDIAL_MAX, REDIAL_RESET};

/// The addresses to dial, and the dials under way.
#[derive(Debug)]
pub struct Dialler {
    targets: BTreeMap<String, Target>,
    dials: BTreeMap<DialId, String>,
    next_dial: u64,
    timers: Timers<String>,
    chance: Chance,
}

/// An address to dial.
#[derive(Debug)]
struct Target {
    state: State,
    /// Tries that failed in a row.
    failures: u32,
    /// Whether it has been tried once, well or badly.
    tried: bool,
    /// Whether it is dialled again after a failure: it is from the start, or has been linked.
    keep: bool,
    /// The id of the node that must be there.
    pin: Option<NodeId>,
    /// This try is at level 1, since the peer has closed the one at level 2 as one of level 1 does.
    is_level1: bool,
    /// The addresses that its name has.
    ways: Ways,
    armed: Armed,
}

/// The state of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// To be dialled then.
    Idle(Instant),
    /// Being dialled, until then.
    Dialling(DialId, Instant),
    /// Waiting for hello, until then.
    Greeting(LinkId, Instant),
    /// Linked, by this link or by another to the same node.
    Linked(LinkId),
    /// Not to be dialled again: it is this node itself.
    Never,
    /// Not to be dialled until a block is lifted.
    Blocked,
}

/// A reason not to add a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAdded {
    /// There are as many as there may be.
    TooMany,
    /// It is dialled for another node, which is this.
    OtherNode(NodeId),
}

/// The failure of a dial, at all addresses of its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Why, for programs.
    pub code: LinkCode,
    /// Why, for people.
    pub reason: String,
    /// When it is dialled again, if it is.
    pub retry_in: Option<Duration>,
}

impl Target {
    fn new(now: Now, keep: bool) -> Self {
        let (state, ways) = (State::Idle(now.mono), Ways::default());
        Self { state, failures: 0, tried: false, keep, pin: None, is_level1: false, ways, armed: Armed::NONE }
    }

    const fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Idle(at) | State::Dialling(_, at) | State::Greeting(_, at) => Some(at),
            State::Linked(_) | State::Never | State::Blocked => None,
        }
    }
}

impl Dialler {
    pub(super) fn new(chance: Chance) -> Self {
        Self { targets: BTreeMap::new(), dials: BTreeMap::new(), next_dial: 0, timers: Timers::default(), chance }
    }

    /// Targets.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Dials under way.
    pub fn under_way(&self) -> usize {
        self.dials.len()
    }

    /// Whether an address of the command line has not been tried yet.
    pub fn has_first_tries(&self) -> bool {
        self.targets.values().any(|target| target.keep && !target.tried)
    }

    /// The state of a target.
    pub fn state(&self, addr: &str) -> Option<State> {
        self.targets.get(addr).map(|target| target.state)
    }

    /// The targets that a link serves.
    pub fn served_by(&self, link: LinkId) -> impl Iterator<Item = &String> {
        self.targets.iter().filter(move |(_, it)| it.state == State::Linked(link)).map(|(addr, _)| addr)
    }

    pub(super) fn pin(&self, addr: &str) -> Option<&NodeId> {
        self.targets.get(addr)?.pin.as_ref()
    }

    pub(super) fn is_level1(&self, addr: &str) -> bool {
        self.targets.get(addr).is_some_and(|target| target.is_level1)
    }

    pub(super) fn first_deadline(&self) -> Option<Instant> {
        self.timers.first()
    }

    /// A number for a dial: every dial of the node has it from here.
    pub(super) fn mint(&mut self) -> DialId {
        self.next_dial += 1;
        DialId(self.next_dial - 1)
    }

    /// Makes sure that an address is a target: of the command line (`keep`), or for a command.
    pub(super) fn add(&mut self, now: Now, addr: &str, pin: Option<NodeId>, keep: bool) -> Result<(), NotAdded> {
        if !keep && self.targets.len() >= MAX_TARGETS && !self.targets.contains_key(addr) {
            return Err(NotAdded::TooMany);
        }
        let target = self.targets.entry(addr.to_owned()).or_insert_with(|| Target::new(now, keep));
        let other = target.pin.as_ref().filter(|other| !keep && pin.as_ref().is_some_and(|pin| pin != *other));
        if let Some(other) = other {
            return Err(NotAdded::OtherNode(other.clone()));
        }
        target.pin = target.pin.take().or(pin);
        self.arm(addr);
        Ok(())
    }

    /// Removes a target.
    pub(super) fn remove(&mut self, addr: &str) {
        if let Some(mut target) = self.targets.remove(addr) {
            self.timers.disarm(&addr.to_owned(), &mut target.armed);
        }
    }

    /// Removes everything.
    pub(super) fn clear(&mut self) {
        self.targets.clear();
        self.dials.clear();
        self.timers = Timers::default();
    }

    /// Whether a target may be dialled now: it is not busy.
    pub(super) fn may_dial(&self, addr: &str) -> bool {
        self.targets.get(addr).is_some_and(|it| matches!(it.state, State::Idle(_) | State::Never))
    }

    /// Dials a target, or goes on with its next address.
    pub(super) fn dial(&mut self, now: Now, addr: &str, out: &mut Outbox) {
        let dial = self.mint();
        let Some(target) = self.targets.get_mut(addr) else { return };
        target.state = State::Dialling(dial, target.ways.begin(now.mono, DIAL_TIME));
        let order = target.ways.order();
        self.dials.insert(dial, addr.to_owned());
        self.arm(addr);
        out.push(Output::Dial { dial, addr: addr.to_owned(), order });
    }

    /// Whether a target whose peer is being greeted may be dialled at level 1: it is not pinned to a node.
    pub(super) fn allows_level1(&self, name: &str) -> bool {
        self.targets.get(name).is_some_and(|it| it.pin.is_none() && matches!(it.state, State::Greeting(..)))
    }

    /// Dials a target again at once, at level 1, at the address that has answered: its peer has closed the link as one of level 1
    /// does. The time for it goes on.
    pub(super) fn dial_level1(&mut self, name: &str, addr: SocketAddr, out: &mut Outbox) {
        if !self.allows_level1(name) {
            return;
        }
        let dial = self.mint();
        let Some(target) = self.targets.get_mut(name) else { return };
        let State::Greeting(_, until) = target.state else { return };
        (target.state, target.is_level1) = (State::Dialling(dial, until), true);
        self.dials.insert(dial, name.to_owned());
        self.arm(name);
        out.push(Output::Dial { dial, addr: addr.to_string(), order: Order::default() });
    }

    /// Ends a dial. Gives its target, unless it is no dial of a target's.
    pub(super) fn take_dial(&mut self, dial: DialId) -> Option<String> {
        self.dials.remove(&dial)
    }

    /// A dial has given a link, at an address; `more`: the name has others. False if its target is gone.
    pub(super) fn on_answered(&mut self, now: Now, addr: &str, link: LinkId, (at, more): (SocketAddr, bool)) -> bool {
        let Some(target) = self.targets.get_mut(addr) else { return false };
        let mut until = target.deadline().unwrap_or(now.mono);
        // At level 1 it is the same address again.
        if !target.is_level1 {
            target.ways.answered(at, more);
            until = if more { until.min(now.mono + ADDR_TIME) } else { until };
        }
        target.state = State::Greeting(link, until);
        self.arm(addr);
        true
    }

    /// A target's node is linked.
    pub(super) fn on_linked(&mut self, addr: &str, link: LinkId) {
        if let Some(target) = self.targets.get_mut(addr) {
            (target.state, target.tried, target.keep, target.is_level1) = (State::Linked(link), true, true, false);
            target.ways.linked();
        }
    }

    /// A target could not be linked at the address that has answered, or at none. It is dialled again at its other addresses, at
    /// once; or else later, if it is to be kept. `None`: it goes on, or is no target.
    pub(super) fn on_failed(&mut self, now: Now, addr: &str, code: LinkCode, reason: &str) -> Option<Failed> {
        let target = self.targets.get_mut(addr)?;
        target.is_level1 = false;
        let Some(failure) = target.ways.failed(now.mono, code, reason) else {
            target.state = State::Idle(now.mono);
            self.arm(addr);
            return None;
        };
        let (code, reason, is_only_one) = (failure.code, failure.reason, target.ways.is_only_one());
        let reason = match failure.addr {
            Some(at) if !is_only_one => format!("{reason} (at {at}, of the addresses of that name)"),
            _ => reason,
        };
        target.ways.end();
        target.tried = true;
        target.failures = target.failures.saturating_add(1);
        let keep = target.keep;
        let mut retry_in = None;
        if code == LinkCode::OwnAddress && is_only_one {
            target.state = State::Never;
        } else if keep && code == LinkCode::Blocked && is_only_one {
            target.state = State::Blocked;
        } else if keep {
            let wait = self.chance.jitter(backoff(target.failures));
            retry_in = Some(wait);
            target.state = State::Idle(now.mono + wait);
        }
        if keep {
            self.arm(addr)
        } else {
            self.remove(addr)
        }
        Some(Failed { code, reason, retry_in })
    }

    /// A link is gone: its targets are dialled again. Gives the shortest wait.
    pub(super) fn on_lost(&mut self, now: Now, link: LinkId, lasted: Duration) -> Option<Duration> {
        let mut shortest = None;
        for (addr, target) in self.targets.iter_mut().filter(|(_, target)| target.state == State::Linked(link)) {
            target.failures = if lasted >= REDIAL_RESET { 0 } else { target.failures.saturating_add(1) };
            let wait = self.chance.jitter(backoff(target.failures));
            target.state = State::Idle(now.mono + wait);
            let deadline = target.deadline();
            self.timers.arm(addr, &mut target.armed, deadline);
            shortest = Some(shortest.map_or(wait, |it: Duration| it.min(wait)));
        }
        shortest
    }

    /// Another link takes the place of one.
    pub(super) fn replace(&mut self, first: LinkId, second: LinkId) {
        let served = self.targets.values_mut().filter(|target| target.state == State::Linked(first));
        served.for_each(|target| target.state = State::Linked(second));
    }

    /// Keeps the targets of some links from being dialled until a block is lifted.
    pub(super) fn block(&mut self, links: &[LinkId]) {
        for target in self.targets.values_mut() {
            if matches!(target.state, State::Linked(link) if links.contains(&link)) {
                target.state = State::Blocked;
            }
        }
    }

    /// A block is lifted: those that were kept may be dialled. Gives their addresses.
    pub(super) fn unblock(&mut self, now: Now) -> Vec<String> {
        let blocked = self.targets.iter_mut().filter(|(_, target)| target.state == State::Blocked);
        let blocked: Vec<String> = blocked
            .map(|(addr, target)| {
                target.state = State::Idle(now.mono);
                addr.clone()
            })
            .collect();
        blocked.iter().for_each(|addr| self.arm(addr));
        blocked
    }

    /// The targets about which something is due, by their addresses.
    pub(super) fn due(&mut self, now: Now) -> Vec<(String, State)> {
        let mut due = Vec::new();
        while let Some(addr) = self.timers.pop(now.mono) {
            let Some(target) = self.targets.get_mut(&addr) else { continue };
            target.armed = Armed::NONE;
            match target.deadline() {
                Some(at) if at <= now.mono => due.push((addr, target.state)),
                deadline => self.timers.arm(&addr, &mut target.armed, deadline),
            }
        }
        due.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        due
    }

    fn arm(&mut self, addr: &str) {
        if let Some(target) = self.targets.get_mut(addr) {
            let deadline = target.deadline();
            self.timers.arm(&addr.to_owned(), &mut target.armed, deadline);
        }
    }

    /// Arms a target whose deadline is over and has been dealt with.
    pub(super) fn rearm(&mut self, addr: &str) {
        self.arm(addr);
    }
}

/// The mean wait after so many failures in a row.
fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    REDIAL_FIRST.saturating_mul(1 << doublings).min(REDIAL_MAX)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use super::*;
    use crate::base::Roots;

    const ADDR: &str = "a:1";
    const AT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 1));

    fn start() -> Now {
        #[allow(clippy::disallowed_methods, reason = "any moment will do")]
        Now { mono: Instant::now(), unix_ms: 0 }
    }

    fn dialler() -> Dialler {
        Dialler::new(Roots::new(Some(1), "", [0; 32]).chance("dial"))
    }

    fn later(now: Now, wait: Duration) -> Now {
        Now { mono: now.mono + wait, ..now }
    }

    #[test]
    fn the_wait_doubles_up_to_a_minute() {
        let waits: Vec<u128> = (1..=9).map(|n| backoff(n).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(backoff(u32::MAX), REDIAL_MAX);
    }

    #[test]
    fn a_target_of_a_command_is_gone_after_a_failure_and_one_of_the_start_is_dialled_again() {
        for keep in [false, true] {
            let (mut it, now, mut out) = (dialler(), start(), Outbox::default());
            assert_eq!(it.add(now, ADDR, None, keep), Ok(()));
            assert_eq!(it.has_first_tries(), keep);
            it.dial(now, ADDR, &mut out);
            assert_eq!((it.under_way(), it.may_dial(ADDR)), (1, false));
            assert_eq!(it.take_dial(DialId(0)).as_deref(), Some(ADDR));
            let wait = it.on_failed(now, ADDR, LinkCode::Refused, "").expect("a target").retry_in;
            assert_eq!((wait.is_some(), it.len(), it.has_first_tries()), (keep, usize::from(keep), false));
            assert_eq!(it.first_deadline().is_some(), keep);
            if let Some(wait) = wait {
                assert!(it.due(now).is_empty());
                assert!(matches!(it.due(later(now, wait))[..], [(_, State::Idle(_))]));
            }
        }
    }

    #[test]
    fn own_and_blocked_addresses_are_not_dialled_again() {
        for (code, state) in [(LinkCode::OwnAddress, State::Never), (LinkCode::Blocked, State::Blocked)] {
            let (mut it, now) = (dialler(), start());
            it.add(now, ADDR, None, true).expect("room");
            let failed = Failed { code, reason: "why".to_owned(), retry_in: None };
            assert_eq!(it.on_failed(now, ADDR, code, "why"), Some(failed));
            assert_eq!(it.state(ADDR), Some(state));
            assert!(it.due(later(now, REDIAL_MAX * 2)).is_empty() && it.first_deadline().is_none());
            assert_eq!(it.unblock(now), if state == State::Blocked { vec![ADDR.to_owned()] } else { vec![] });
        }
    }

    #[test]
    fn level_1_is_tried_at_once_and_never_for_a_pinned_node() {
        for pin in [None, Some("id".into())] {
            let (mut it, now, mut out) = (dialler(), start(), Outbox::default());
            it.add(now, ADDR, pin.clone(), false).expect("room");
            it.dial(now, ADDR, &mut out);
            let deadline = it.first_deadline();
            assert!(it.take_dial(DialId(0)).is_some() && it.on_answered(now, ADDR, LinkId(7), (AT, false)));
            assert_eq!(it.allows_level1(ADDR), pin.is_none());
            it.dial_level1(ADDR, AT, &mut out);
            assert_eq!((it.is_level1(ADDR), it.first_deadline()), (pin.is_none(), deadline));
        }
    }

    #[test]
    fn a_lost_link_sets_the_wait_back_if_it_has_lasted() {
        let (mut it, now) = (dialler(), start());
        it.add(now, ADDR, None, true).expect("room");
        for _ in 0..5 {
            it.on_failed(now, ADDR, LinkCode::Refused, "");
        }
        it.on_linked(ADDR, LinkId(1));
        it.replace(LinkId(1), LinkId(2));
        assert_eq!(it.served_by(LinkId(2)).collect::<Vec<_>>(), [ADDR]);
        assert_eq!(it.on_lost(now, LinkId(1), REDIAL_RESET), None);
        assert!(it.on_lost(now, LinkId(2), REDIAL_RESET).is_some_and(|wait| wait <= REDIAL_FIRST * 3 / 2));
        it.on_linked(ADDR, LinkId(3));
        assert!(it.on_lost(now, LinkId(3), Duration::ZERO).is_some());
    }

    /// The order in which the dial that is put out has its addresses dialled, and its number.
    fn dialled(out: &mut Outbox) -> (DialId, Order) {
        match out.outputs.pop() {
            Some(Output::Dial { dial, order, .. }) => (dial, order),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_address_that_fails_is_followed_by_the_next_within_the_same_time() {
        let (mut it, now, mut out) = (dialler(), start(), Outbox::default());
        let other: SocketAddr = ([10, 0, 0, 2], 1).into();
        it.add(now, ADDR, None, true).expect("room");
        it.dial(now, ADDR, &mut out);
        let (dial, order) = dialled(&mut out);
        assert_eq!((it.take_dial(dial).as_deref(), order), (Some(ADDR), Order::default()));
        assert!(it.on_answered(now, ADDR, LinkId(1), (AT, true)));
        let later = later(now, ADDR_TIME);
        assert!(matches!(it.due(later)[..], [(_, State::Greeting(LinkId(1), _))]), "it has a limit of its own");
        assert_eq!(it.on_failed(later, ADDR, LinkCode::Timeout, "mute"), None);
        assert!(it.has_first_tries(), "this one is not over");
        assert!(matches!(it.due(later)[..], [(_, State::Idle(_))]));
        it.dial(later, ADDR, &mut out);
        let (dial, order) = dialled(&mut out);
        assert_eq!((it.take_dial(dial).as_deref(), order.skip), (Some(ADDR), vec![AT]));
        assert!(it.on_answered(later, ADDR, LinkId(2), (other, false)));
        assert_eq!(it.first_deadline(), Some(now.mono + DIAL_TIME), "the last one has all the time that is left");
        it.on_linked(ADDR, LinkId(2));
        it.on_lost(later, LinkId(2), REDIAL_RESET);
        it.dial(later, ADDR, &mut out);
        assert_eq!(dialled(&mut out).1, Order { first: Some(other), ..Order::default() });
    }

    #[test]
    fn one_address_of_a_name_may_be_this_node_and_another_be_blocked() {
        let (mut it, now, mut out) = (dialler(), start(), Outbox::default());
        it.add(now, ADDR, None, true).expect("room");
        it.dial(now, ADDR, &mut out);
        for code in [LinkCode::Blocked, LinkCode::OwnAddress] {
            it.on_answered(now, ADDR, LinkId(1), (AT, true));
            assert_eq!(it.on_failed(now, ADDR, code, ""), None);
            it.dial(now, ADDR, &mut out);
        }
        let failed = it.on_failed(now, ADDR, LinkCode::Refused, "").expect("the end");
        assert!(failed.code == LinkCode::OwnAddress && failed.retry_in.is_some(), "{failed:?}");
    }

    #[test]
    fn targets_have_a_bound_and_one_node_each() {
        let (mut it, now) = (dialler(), start());
        for n in 0..MAX_TARGETS {
            assert_eq!(it.add(now, &format!("a:{}", n + 1), Some("x".into()), false), Ok(()));
        }
        assert_eq!(it.add(now, "b:1", None, false), Err(NotAdded::TooMany));
        assert_eq!(it.add(now, ADDR, None, false), Ok(()));
        assert_eq!(it.add(now, ADDR, Some("y".into()), false), Err(NotAdded::OtherNode("x".into())));
        it.clear();
        assert_eq!((it.len(), it.first_deadline()), (0, None));
    }
}
