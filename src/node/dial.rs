//! Addresses that are dialled: from the start, by a command, and again whenever the link is lost.
//!
//! The wait before another try starts at half a second, doubles with each failure up to a minute, and is spread at
//! random over half to one and a half of that. A link that has lasted sets it back.

use std::rc::Rc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{DialId, LinkId, Node, Now, Outbox, Output};
use crate::api::ErrorCode;
use crate::api::error::ApiError;
use crate::api::event::{ConnectFailed, Event, LinkCode};
use crate::wire::limits::{DIAL_TIME, MAX_TARGETS, REDIAL_FIRST, REDIAL_MAX, REDIAL_RESET};

/// An address to dial.
#[derive(Debug)]
pub struct Target {
    pub state: State,
    /// Tries that failed in a row.
    failures: u32,
    /// Whether it has been tried once, well or badly.
    pub tried: bool,
    /// Whether it is dialled again after a failure: it is from the start, or has been linked.
    keep: bool,
    /// The id of the node that must be there.
    pub pin: Option<Rc<str>>,
    /// This try is at level 1, since the peer has closed the one at level 2 as one of level 1 does.
    pub level1: bool,
}

/// What a target is doing.
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

impl Target {
    const fn new(now: Now, keep: bool, pin: Option<Rc<str>>) -> Self {
        Self { state: State::Idle(now.mono), failures: 0, tried: false, keep, pin, level1: false }
    }

    /// When something about it is due.
    pub const fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Idle(at) | State::Dialling(_, at) | State::Greeting(_, at) => Some(at),
            State::Linked(_) | State::Never | State::Blocked => None,
        }
    }

    /// Whether it is of the command line, and has not been tried yet.
    pub const fn is_first_try(&self) -> bool {
        self.keep && !self.tried
    }
}

/// Reads "HOST:PORT" or "ID@HOST:PORT" into one form. With an id, only the node that has it is accepted there.
///
/// # Errors
/// What is wrong with it.
pub fn read_target(text: &str) -> Result<(Option<Rc<str>>, String), ApiError> {
    let Some((id, addr)) = text.trim().split_once('@') else { return Ok((None, read_addr(text)?)) };
    let id = Uuid::try_parse(id).ok().filter(|id| id.get_version_num() == 8);
    let Some(id) = id else {
        let message = "what stands before the @ is no node's id: `ready` and `peer_up` show them";
        return Err(ApiError::new(ErrorCode::BadValue, message));
    };
    Ok((Some(id.hyphenated().to_string().into()), read_addr(addr)?))
}

/// Reads "HOST:PORT" (IPv6 in brackets) into one form.
fn read_addr(addr: &str) -> Result<String, ApiError> {
    let wrong = |why: &str| {
        let addr: String = addr.chars().take(80).collect();
        Err(ApiError::new(ErrorCode::BadValue, format!("`{}` {why}; an address is HOST:PORT", addr.escape_debug())))
    };
    let Some((host, port)) = addr.trim().rsplit_once(':') else { return wrong("names no port") };
    let Some(port) = port.parse::<u16>().ok().filter(|port| *port > 0) else {
        return wrong("names no port from 1 to 65535");
    };
    let host = match host.strip_prefix('[') {
        Some(host) => match host.strip_suffix(']').and_then(|host| host.parse::<std::net::Ipv6Addr>().ok()) {
            Some(host) => format!("[{host}]"),
            None => return wrong("has no IPv6 address in its brackets"),
        },
        None if host.contains(':') => return wrong("holds an IPv6 address without brackets"),
        None => host.to_ascii_lowercase(),
    };
    // A host name has at most 253 characters (RFC 1035), none of them white space or a control.
    if host.is_empty() || host.len() > 253 || host.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return wrong("has no valid host");
    }
    Ok(format!("{host}:{port}"))
}

impl Node {
    /// Starts the dials of the command line.
    pub(super) fn dial_from_start(&mut self, now: Now, out: &mut Outbox) {
        for text in self.config.connect.clone() {
            // The command line has checked the form.
            let (pin, addr) = read_target(&text).unwrap_or((None, text));
            let target = self.targets.entry(addr.clone()).or_insert(Target::new(now, true, None));
            target.pin = target.pin.take().or(pin);
            self.dial(now, &addr, out);
        }
    }

    /// Whether an address is this node's own, as far as its text tells; hello tells the rest.
    pub(super) fn is_own_addr(&self, addr: &str) -> bool {
        let own = self.config.tcp;
        let host = match addr.rsplit_once(':') {
            Some((host, port)) if port.parse() == Ok(own.port()) => host.trim_matches(['[', ']']),
            _ => return false,
        };
        match host.parse::<std::net::IpAddr>() {
            Ok(ip) => ip == own.ip() || (own.ip().is_unspecified() && ip.is_loopback()) || ip.is_unspecified(),
            Err(_) => host == "localhost" && (own.ip().is_loopback() || own.ip().is_unspecified()),
        }
    }

    /// Dials a target now, unless it is busy.
    pub(super) fn dial(&mut self, now: Now, addr: &str, out: &mut Outbox) {
        let own = self.is_own_addr(addr);
        if !self.targets.get(addr).is_some_and(|it| matches!(it.state, State::Idle(_) | State::Never)) {
            return;
        }
        if own {
            return self.target_failed(now, addr, LinkCode::OwnAddress, "it is this node's own address", out);
        }
        if self.is_blocked_target(addr) {
            return self.target_failed(now, addr, LinkCode::Blocked, "its address is blocked", out);
        }
        let Some(target) = self.targets.get_mut(addr) else { return };
        let dial = DialId(self.next_dial);
        self.next_dial += 1;
        target.state = State::Dialling(dial, now.mono + DIAL_TIME);
        self.dials.insert(dial, addr.to_owned());
        out.push(Output::Dial { dial, addr: addr.to_owned() });
    }

    /// Makes sure that an address is a target, for a command.
    pub(super) fn add_target(&mut self, now: Now, addr: &str, pin: Option<Rc<str>>) -> Result<(), ApiError> {
        if self.targets.len() >= MAX_TARGETS && !self.targets.contains_key(addr) {
            let message = format!("{MAX_TARGETS} addresses are being dialled; `disconnect` one first");
            return Err(ApiError::new(ErrorCode::TooManyLinks, message));
        }
        let target = self.targets.entry(addr.to_owned()).or_insert(Target::new(now, false, None));
        if let (Some(pin), Some(other)) = (&pin, target.pin.as_ref().filter(|other| pin.as_ref() != Some(other))) {
            let message = format!("{addr} is dialled for {other}, not for {pin}: `disconnect` it first");
            return Err(ApiError::new(ErrorCode::WrongPeer, message));
        }
        target.pin = target.pin.take().or(pin);
        Ok(())
    }

    /// A dial gave a link.
    pub(super) fn dialled(
        &mut self,
        now: Now,
        dial: DialId,
        link: LinkId,
        addr: std::net::SocketAddr,
        out: &mut Outbox,
    ) {
        let Some(name) = self.dials.remove(&dial) else {
            self.with_calls(now, out, |calls, _| calls.on_probe_ended(dial, true));
            return out.push(Output::Close(link));
        };
        if let Some(code) = self.is_shut_out(now, addr.ip()) {
            out.push(Output::Close(link));
            let what = if code == LinkCode::Blocked { "blocked" } else { "banned for a while" };
            return self.target_failed(now, &name, code, &format!("its address, {}, is {what}", addr.ip()), out);
        }
        match self.targets.get_mut(&name) {
            Some(target) => {
                let until = target.deadline().unwrap_or(now.mono);
                target.state = State::Greeting(link, until);
                self.add_dialled(now, link, addr, name, out);
            }
            None => out.push(Output::Close(link)),
        }
    }

    /// A dial failed.
    pub(super) fn dial_failed(&mut self, now: Now, dial: DialId, code: LinkCode, reason: &str, out: &mut Outbox) {
        match self.dials.remove(&dial) {
            Some(addr) => self.target_failed(now, &addr, code, reason, out),
            None => self.with_calls(now, out, |calls, _| calls.on_probe_ended(dial, false)),
        }
    }

    /// A target could not be linked: whoever waits for it is told, and it is dialled again later if it is to be kept.
    pub(super) fn target_failed(&mut self, now: Now, addr: &str, code: LinkCode, reason: &str, out: &mut Outbox) {
        self.stirred = true;
        let Some(target) = self.targets.get_mut(addr) else { return };
        (target.tried, target.level1) = (true, false);
        target.failures = target.failures.saturating_add(1);
        let (failures, keep) = (target.failures, target.keep);
        let mut retry_in = None;
        if code == LinkCode::OwnAddress {
            target.state = State::Never;
        } else if keep && code == LinkCode::Blocked {
            target.state = State::Blocked;
        } else if keep {
            let wait = self.chance.link.jitter(backoff(failures));
            retry_in = Some(wait);
            if let Some(target) = self.targets.get_mut(addr) {
                target.state = State::Idle(now.mono + wait);
            }
        }
        if !keep {
            self.targets.remove(addr);
        }
        let error = match code {
            LinkCode::OwnAddress => ErrorCode::OwnAddress,
            LinkCode::TooManyLinks => ErrorCode::TooManyLinks,
            LinkCode::Blocked => ErrorCode::Blocked,
            LinkCode::WrongPeer => ErrorCode::WrongPeer,
            LinkCode::Level1Refused => ErrorCode::Level1Refused,
            _ => ErrorCode::ConnectFailed,
        };
        let waited_for = self.settle_connects(addr, &Err(ApiError::new(error, format!("{addr}: {reason}"))));
        if !waited_for && self.phase.is_running() {
            let retry_in_ms = retry_in.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
            self.emit(&Event::ConnectFailed(ConnectFailed { addr, code, reason, retry_in_ms }), out);
        }
    }

    /// A target's node is linked.
    pub(super) fn target_linked(&mut self, addr: &str, link: LinkId, peer: &str) {
        if let Some(target) = self.targets.get_mut(addr) {
            (target.state, target.tried, target.keep, target.level1) = (State::Linked(link), true, true, false);
        }
        self.settle_connects(addr, &Ok(peer.to_owned()));
        self.stirred = true;
    }

    /// Something about a target is due.
    pub(super) fn target_due(&mut self, now: Now, addr: &str, out: &mut Outbox) {
        match self.targets.get(addr).map(|target| target.state) {
            Some(State::Idle(_)) => self.dial(now, addr, out),
            Some(State::Dialling(dial, _)) => {
                self.dials.remove(&dial);
                self.target_failed(now, addr, LinkCode::Timeout, "no answer in 10 s", out);
            }
            Some(State::Greeting(link, _)) => {
                self.close_link(now, link, LinkCode::Timeout, "no hello in 10 s: is it a node?", out);
            }
            _ => {}
        }
    }

    /// A link is gone: its targets are dialled again. Gives the shortest wait.
    pub(super) fn redial_targets_of(&mut self, now: Now, link: LinkId, lasted: Duration) -> Option<Duration> {
        let mut shortest = None;
        for target in self.targets.values_mut().filter(|target| target.state == State::Linked(link)) {
            target.failures = if lasted >= REDIAL_RESET { 0 } else { target.failures.saturating_add(1) };
            let wait = self.chance.link.jitter(backoff(target.failures));
            target.state = State::Idle(now.mono + wait);
            shortest = Some(shortest.map_or(wait, |it: Duration| it.min(wait)));
        }
        shortest
    }
}

/// The mean wait after so many failures in a row.
fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    REDIAL_FIRST.saturating_mul(1 << doublings).min(REDIAL_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_form() {
        for (given, read) in [
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("LocalHost:1", "localhost:1"),
            ("[::1]:65535", "[::1]:65535"),
            ("[0:0::1]:80", "[::1]:80"),
        ] {
            assert_eq!(read_addr(given).as_deref(), Ok(read));
        }
        for given in ["", ":", "host", "host:", "host:0", "host:65536", ":80", "::1:80", "[::1:80", "[x]:80", "a b:80"]
        {
            assert_eq!(read_addr(given).map_err(|e| e.code), Err(ErrorCode::BadValue), "{given:?}");
        }
    }

    #[test]
    fn the_wait_doubles_up_to_a_minute() {
        let waits: Vec<u128> = (1..=9).map(|n| backoff(n).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(backoff(u32::MAX), REDIAL_MAX);
    }
}
