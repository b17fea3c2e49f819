//! Commands that wait: for a handshake, for links, for confirmations, for a key, for events.
//!
//! A command that waits holds up those behind it, unless it is `async`. Whenever something has happened that one may
//! wait for, all are looked at again.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::clients::{Client, Head, Logged};
use super::{ClientId, JobId};
use super::{Node, Now, Outbox};
use crate::api::arguments::{Pattern, Scheme, SendArgs};
use crate::api::error::ApiError;
use crate::api::{ErrorCode, result};
use crate::wire::limits::DIAL_TIME;

/// The most that the events in one answer may take, in bytes: the rest of the line's bound is for what stands around.
pub const MAX_ANSWER: usize = 900 << 10;

/// A command that waits.
#[derive(Debug)]
pub struct Pending {
    pub head: Head,
    pub started: Instant,
    /// When it fails, or is to be looked at again.
    pub deadline: Option<Instant>,
    pub what: What,
}

/// What for.
#[derive(Debug)]
pub enum What {
    /// The handshake with an address: the peer's id, or why not.
    Connect { addr: String, outcome: Option<Result<String, ApiError>> },
    /// The first dials, and enough links.
    Send(Box<SendArgs>),
    /// Neighbours that confirm.
    Confirm { sent: result::Sent, wanted: usize, by: BTreeSet<Rc<str>> },
    /// A key that is being derived.
    Key { job: JobId, room: String, scheme: Scheme },
    /// The first dials, then microphone and speaker.
    VoiceJoin(Box<super::voice::Join>),
    /// The list of sound devices.
    Devices { job: JobId },
    /// Events.
    Wait(Wait),
}

/// A `wait` under way.
#[derive(Debug)]
pub struct Wait {
    /// What is looked for.
    pub patterns: Vec<Pattern>,
    /// Whether each must be found, or any of them.
    pub all: bool,
    /// With `all`: for each pattern, which of the events found is its own.
    pub taken: Vec<Option<usize>>,
    /// With `all`: for each event found, the patterns that it fits.
    pub fits: Vec<Vec<usize>>,
    /// How many are still to be found.
    pub missing: usize,
    /// The next event to look at.
    pub cursor: u64,
    pub found: Vec<Logged>,
    pub found_bytes: usize,
    pub omitted: usize,
    /// Whether its end moves the client's place.
    pub moves: bool,
    pub timeout_ms: u64,
}

impl Wait {
    /// Looks at what has come. True when all is found.
    fn look(&mut self, client: &Client) -> bool {
        while self.missing > 0
            && let Some(event) = client.logged(self.cursor)
        {
            self.cursor += 1;
            let mut fits = self.patterns.iter().enumerate().filter(|(_, it)| matches(it, event)).map(|(i, _)| i);
            if self.all {
                let fits: Vec<usize> = fits.collect();
                if !self.take(fits) {
                    continue;
                }
            } else if fits.next().is_none() {
                continue;
            }
            self.missing -= 1;
            self.found_bytes += event.text.len();
            if self.found_bytes <= MAX_ANSWER { self.found.push(event.clone()) } else { self.omitted += 1 }
        }
        self.missing == 0
    }

    /// Gives an event a pattern of its own, moving others' to other patterns that they fit. False if there is no way:
    /// then there is none later either, and the event is not needed.
    ///
    /// An augmenting path of bipartite matching (Berge 1957), at most 64 patterns long.
    fn take(&mut self, fits: Vec<usize>) -> bool {
        self.fits.push(fits);
        let new = self.fits.len() - 1;
        let found = augment(new, &self.fits, &mut self.taken, &mut BTreeSet::new());
        if !found {
            self.fits.pop();
        }
        found
    }

    fn answer(&self, elapsed: Duration) -> result::Waited {
        let events = self.found.iter().filter_map(|event| with_seq(&event.text, event.kind, event.seq)).collect();
        result::Waited { events, omitted: self.omitted, elapsed_ms: millis(elapsed) }
    }
}

fn augment(event: usize, fits: &[Vec<usize>], taken: &mut [Option<usize>], tried: &mut BTreeSet<usize>) -> bool {
    fits[event].iter().any(|&pattern| {
        tried.insert(pattern)
            && (taken[pattern].is_none_or(|other| augment(other, fits, taken, tried)) && {
                taken[pattern] = Some(event);
                true
            })
    })
}

fn matches(pattern: &Pattern, event: &Logged) -> bool {
    if pattern.event != event.kind {
        return false;
    }
    if pattern.fields.is_empty() {
        return true;
    }
    let Ok(fields) = serde_json::from_str::<Map<String, Value>>(&event.text) else { return false };
    pattern.fields.iter().all(|(name, value)| fields.get(name) == Some(value))
}

/// An event's text with the number of its line put in, where a writer puts it.
fn with_seq(text: &Arc<str>, kind: crate::api::EventKind, seq: Option<u64>) -> Option<Box<RawValue>> {
    let text = match seq {
        Some(seq) => {
            let (head, tail) = text.split_at_checked(seq_at(kind))?;
            format!("{head},\"seq\":{seq}{tail}")
        }
        None => text.to_string(),
    };
    RawValue::from_string(text).ok()
}

/// Where in an event's text its number goes: behind `{"event":"NAME"`.
pub const fn seq_at(kind: crate::api::EventKind) -> usize {
    r#"{"event":"""#.len() + kind.name().len()
}

pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Node {
    /// Looks at all commands that wait, as long as there is something new for them.
    pub(super) fn run_pending(&mut self, now: Now, out: &mut Outbox) {
        while std::mem::take(&mut self.stirred) {
            let ids: Vec<ClientId> =
                self.clients.iter().filter(|(_, client)| !client.is_idle()).map(|(id, _)| *id).collect();
            for id in ids {
                let blocked = self.clients.get_mut(&id).and_then(|client| client.blocked.take());
                if let Some(pending) = blocked
                    && let Some(pending) = self.go_on(now, id, pending, out)
                    && let Some(client) = self.clients.get_mut(&id)
                {
                    client.blocked = Some(pending);
                }
                // One at a time, the others staying where an end that one of them brings about finds them.
                let asides = self.clients.get(&id).map_or(0, |client| client.aside.len());
                for _ in 0..asides {
                    let Some(client) = self.clients.get_mut(&id).filter(|client| !client.aside.is_empty()) else {
                        break;
                    };
                    let pending = client.aside.remove(0);
                    if let Some(pending) = self.go_on(now, id, pending, out)
                        && let Some(client) = self.clients.get_mut(&id)
                    {
                        client.aside.push(pending);
                    }
                }
            }
        }
    }

    /// Starts a command that may have to wait.
    pub(super) fn begin(&mut self, now: Now, client: ClientId, is_async: bool, pending: Pending, out: &mut Outbox) {
        let Some(pending) = self.go_on(now, client, pending, out) else { return };
        let Some(it) = self.clients.get_mut(&client) else { return };
        if is_async { it.aside.push(pending) } else { it.blocked = Some(pending) }
    }

    /// Looks at one command. Gives it back if it still waits.
    fn go_on(&mut self, now: Now, client: ClientId, mut pending: Pending, out: &mut Outbox) -> Option<Pending> {
        let late = pending.deadline.is_some_and(|at| at <= now.mono);
        match &mut pending.what {
            What::Connect { addr, outcome } => {
                match outcome.take() {
                    None => return Some(pending),
                    Some(Ok(peer)) => {
                        let result = result::Connected { peer, addr: addr.clone() };
                        self.reply(now, client, &pending.head, Ok(&result), out);
                    }
                    Some(Err(error)) => self.refuse(now, client, &pending.head, &error, out),
                }
                None
            }
            What::Send(_) => self.go_on_sending(now, client, pending, out),
            What::Confirm { sent, wanted, by } => {
                sent.confirmed = by.len();
                if by.len() >= *wanted {
                    self.reply(now, client, &pending.head, Ok(&*sent), out);
                } else if late {
                    let message = format!("{} of {wanted} neighbours confirmed {} in time", by.len(), sent.message);
                    self.refuse(now, client, &pending.head, &ApiError::new(ErrorCode::NotConfirmed, message), out);
                } else {
                    return Some(pending);
                }
                None
            }
            What::Key { job, room, scheme } => {
                if self.rooms.is_under_way(*job) {
                    return Some(pending);
                }
                let result = result::Keyed { room: room.clone(), encrypted: true, scheme: Some(*scheme) };
                self.reply(now, client, &pending.head, Ok(&result), out);
                None
            }
            What::VoiceJoin(_) => self.go_on_joining(now, client, pending, out),
            What::Devices { job } => {
                let job = *job;
                (!self.answer_devices(now, client, &pending.head, job, out)).then_some(pending)
            }
            What::Wait(_) => self.go_on_waiting(now, client, pending, late, out),
        }
    }

    fn go_on_waiting(
        &mut self,
        now: Now,
        client: ClientId,
        mut pending: Pending,
        late: bool,
        out: &mut Outbox,
    ) -> Option<Pending> {
        let What::Wait(wait) = &mut pending.what else { return None };
        let it = self.clients.get_mut(&client)?;
        if wait.cursor < it.log_start() {
            if wait.moves {
                it.place = it.log_start();
            }
            let message = "more events have passed than a wait can look back over; it now starts at the oldest kept";
            self.refuse(now, client, &pending.head, &ApiError::new(ErrorCode::EventsGone, message), out);
            return None;
        }
        if wait.look(it) {
            if wait.moves {
                it.place = wait.cursor;
            }
            let answer = wait.answer(now.mono.duration_since(pending.started));
            self.reply(now, client, &pending.head, Ok(&answer), out);
            return None;
        }
        if late {
            let names: Vec<&str> = wait.patterns.iter().map(|pattern| pattern.event.name()).collect();
            let elapsed = millis(now.mono.duration_since(pending.started));
            let message = format!("after {elapsed} ms, {} of `{}` had not come", wait.missing, names.join("`, `"));
            self.refuse(now, client, &pending.head, &ApiError::new(ErrorCode::Timeout, message), out);
            return None;
        }
        Some(pending)
    }

    /// Sends, or waits on: for the first dials (10 s at most), for a key that is being derived, for enough links.
    fn go_on_sending(&mut self, now: Now, client: ClientId, mut pending: Pending, out: &mut Outbox) -> Option<Pending> {
        let What::Send(args) = &pending.what else { return None };
        let limit = pending.started + Duration::from_millis(args.timeout_ms);
        let first_dials = self.started + DIAL_TIME;
        let untried = self.links.dialler().has_first_tries();
        let links = self.links.neighbours().len();
        let min_links = args.min_links as usize;
        if untried && now.mono < first_dials {
            pending.deadline = Some(first_dials);
            return Some(pending);
        }
        let room = args.room.as_deref().unwrap_or(self.rooms.active());
        if self.rooms.is_deriving(room) {
            // That comes by itself, whatever the time.
            pending.deadline = None;
            return Some(pending);
        }
        if links < min_links {
            if now.mono >= limit {
                let message = format!("{links} of {min_links} links in {} ms", args.timeout_ms);
                self.refuse(now, client, &pending.head, &ApiError::new(ErrorCode::NoLinks, message), out);
                return None;
            }
            pending.deadline = Some(limit);
            return Some(pending);
        }
        let wanted = args.confirm as usize;
        let sent = match self.send(now, args, out) {
            Ok(sent) => sent,
            Err(error) => {
                self.refuse(now, client, &pending.head, &error, out);
                return None;
            }
        };
        if wanted == 0 {
            self.reply(now, client, &pending.head, Ok(&sent), out);
            return None;
        }
        self.links.ask_to_confirm(now, &sent.message, out);
        self.hear_links(now, out);
        pending.deadline = Some(limit.max(now.mono));
        pending.what = What::Confirm { sent, wanted, by: BTreeSet::new() };
        Some(pending)
    }

    fn all_pending(&mut self) -> impl Iterator<Item = &mut Pending> {
        self.clients.values_mut().flat_map(|client| client.blocked.iter_mut().chain(&mut client.aside))
    }

    /// Tells the commands that wait for an address what came of it. False if none does.
    pub(super) fn settle_connects(&mut self, to: &str, result: &Result<String, ApiError>) -> bool {
        let mut any = false;
        for pending in self.all_pending() {
            if let What::Connect { addr, outcome } = &mut pending.what
                && addr == to
                && outcome.is_none()
            {
                *outcome = Some(result.clone());
                any = true;
            }
        }
        self.stirred |= any;
        any
    }

    /// A neighbour has confirmed a message.
    pub(super) fn confirmed_by(&mut self, message: &str, peer: &Rc<str>) {
        for pending in self.all_pending() {
            if let What::Confirm { sent, by, .. } = &mut pending.what
                && sent.message == message
            {
                by.insert(peer.clone());
            }
        }
    }

    /// Cuts short all that waits. True if one of them counts for `--check`.
    pub(super) fn interrupt_pending(&mut self, now: Now, out: &mut Outbox) -> bool {
        let mut counts = false;
        let ids: Vec<ClientId> = self.clients.keys().copied().collect();
        for id in ids {
            let Some(client) = self.clients.get_mut(&id) else { continue };
            let all: Vec<Pending> = client.blocked.take().into_iter().chain(client.aside.drain(..)).collect();
            for pending in all {
                counts |= !pending.head.may_fail;
                let error = ApiError::new(ErrorCode::Interrupted, "the node is ending");
                self.refuse(now, id, &pending.head, &error, out);
            }
        }
        counts
    }
}
