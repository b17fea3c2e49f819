//! Commands that wait: for a handshake, for links, for confirmations, for a key, for events.
//!
//! A command that waits holds up those behind it, unless it is `async`. Whenever something has happened that one may
//! wait for, all are looked at again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::api::arguments::SendArgs;
use crate::api::error::ApiError;
use crate::api::{ErrorCode, result};
use crate::base::NodeId;
use crate::clients::Slot;
use crate::node::waits::{Loading, Pending, What};
use crate::node::{ClientId, Node, Now, Outbox};
use crate::wire::limits::DIAL_TIME;

impl Node {
    /// Looks at all commands that wait, as long as there is something new for them.
    pub(in crate::node) fn run_pending(&mut self, now: Now, out: &mut Outbox) {
        while self.clients.take_recheck() {
            for client in self.clients.waiting() {
                // One at a time, the others staying where an end that one of them brings about finds them.
                let asides = self.clients.aside_count(client);
                for slot in std::iter::once(Slot::Blocking).chain(std::iter::repeat_n(Slot::Aside, asides)) {
                    let Some(pending) = self.clients.take(client, slot) else { continue };
                    if let Some(pending) = self.go_on(now, client, pending, out) {
                        self.clients.put(client, slot, pending);
                    }
                    self.end_at_check_failure(now, out);
                }
            }
        }
    }

    /// Starts a command that may have to wait.
    pub(in crate::node) fn begin(
        &mut self,
        now: Now,
        client: ClientId,
        is_async: bool,
        pending: Pending,
        out: &mut Outbox,
    ) {
        let slot = if is_async { Slot::Aside } else { Slot::Blocking };
        if let Some(pending) = self.go_on(now, client, pending, out) {
            self.clients.put(client, slot, pending);
        }
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
                        self.clients.reply(client, &pending.head, Ok(&result), out);
                    }
                    Some(Err(error)) => self.clients.refuse(client, &pending.head, &error, out),
                }
                None
            }
            What::Send(_) => self.go_on_sending(now, client, pending, out),
            What::Confirm { sent, wanted, by } => {
                sent.confirmed = by.len();
                if by.len() >= *wanted {
                    self.clients.reply(client, &pending.head, Ok(&*sent), out);
                } else if late {
                    let message = format!("{} of {wanted} neighbours confirmed {} in time", by.len(), sent.message);
                    self.clients.refuse(client, &pending.head, &ApiError::new(ErrorCode::NotConfirmed, message), out);
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
                self.clients.reply(client, &pending.head, Ok(&result), out);
                None
            }
            What::VoiceJoin(_) => self.go_on_joining(now, client, pending, out),
            What::Devices { job } => {
                let job = *job;
                (!self.answer_devices(client, &pending.head, job, out)).then_some(pending)
            }
            What::History { loading: Loading::Wanted(_), .. } => Some(pending),
            What::History { loading: Loading::Loaded(load, rows), .. } => {
                match self.go_on_loading(load.clone(), std::mem::take(rows), out) {
                    Ok(Ok(page)) => self.clients.reply(client, &pending.head, Ok(&page), out),
                    Ok(Err(what)) => {
                        pending.what = what;
                        return Some(pending);
                    }
                    Err(error) => self.clients.refuse(client, &pending.head, &error, out),
                }
                None
            }
            What::Wait(wait) => {
                let Some(answer) = self.clients.go_on_waiting(now, client, wait) else { return Some(pending) };
                self.clients.reply(client, &pending.head, answer.as_ref(), out);
                None
            }
        }
    }

    /// Sends, or waits on: for enough links, or if none are asked for until each address of the command line has been tried; for a
    /// key that is being derived.
    fn go_on_sending(&mut self, now: Now, client: ClientId, mut pending: Pending, out: &mut Outbox) -> Option<Pending> {
        let What::Send(args) = &pending.what else { return None };
        let time = Duration::from_millis(args.timeout_ms);
        let limit = pending.started + time;
        if !self.has_links_for(now, args) && now.mono < limit {
            pending.deadline = Some(self.first_dials(now).map_or(limit, |at| at.min(limit)));
            return Some(pending);
        }
        let (links, min_links) = (self.links.neighbours().len(), args.min_links as usize);
        if links < min_links {
            let message = format!("{links} of {min_links} links in {} ms", args.timeout_ms);
            self.clients.refuse(client, &pending.head, &ApiError::new(ErrorCode::NoLinks, message), out);
            return None;
        }
        let room = args.room.as_deref().unwrap_or(self.rooms.active());
        if self.rooms.is_deriving(room) {
            // That comes by itself, whatever the time.
            pending.deadline = None;
            return Some(pending);
        }
        let wanted = args.confirm as usize;
        let sent = match self.send(now, args, out) {
            Ok(sent) => sent,
            Err(error) => {
                self.clients.refuse(client, &pending.head, &error, out);
                return None;
            }
        };
        if wanted == 0 {
            self.clients.reply(client, &pending.head, Ok(&sent), out);
            return None;
        }
        let asked = self.links.ask_to_confirm(now, &sent.message, out);
        self.hear_links(now, out);
        if asked < wanted {
            let message = format!(
                "{} was handed to {} links, of which {asked} can confirm it (the original program can't): {wanted} were to",
                sent.message, sent.links
            );
            self.clients.refuse(client, &pending.head, &ApiError::new(ErrorCode::NotConfirmed, message), out);
            return None;
        }
        pending.deadline = Some(now.mono + time);
        pending.what = What::Confirm { sent, wanted, by: BTreeSet::new() };
        Some(pending)
    }

    /// Until when addresses of the command line may still be tried for the first time: `None` once each has been.
    pub(in crate::node) fn first_dials(&self, now: Now) -> Option<Instant> {
        let until = self.started + DIAL_TIME;
        (self.links.dialler().has_first_tries() && now.mono < until).then_some(until)
    }

    /// Whether a `send` need not wait for more links. While first dials are under way, only the links count that it asks for;
    /// for `confirm` those of level 2, since no others can.
    fn has_links_for(&self, now: Now, args: &SendArgs) -> bool {
        let (min_links, confirm) = (args.min_links as usize, args.confirm as usize);
        let neighbours = self.links.neighbours();
        let enough = neighbours.len() >= min_links;
        if self.first_dials(now).is_none() {
            return enough && neighbours.len() >= confirm;
        }
        let can_confirm = neighbours.iter().filter(|it| it.is_level2).count();
        enough && can_confirm >= confirm && min_links.max(confirm) > 0
    }

    /// Tells the commands that wait for an address what came of it. False if none does.
    pub(in crate::node) fn settle_connects(&mut self, to: &str, result: &Result<String, ApiError>) -> bool {
        let mut any = false;
        for pending in self.clients.pending_mut() {
            if let What::Connect { addr, outcome } = &mut pending.what
                && addr == to
                && outcome.is_none()
            {
                *outcome = Some(result.clone());
                any = true;
            }
        }
        if any {
            self.clients.recheck_pending();
        }
        any
    }

    /// A neighbour has confirmed a message.
    pub(in crate::node) fn confirmed_by(&mut self, message: &str, peer: &NodeId) {
        for pending in self.clients.pending_mut() {
            if let What::Confirm { sent, by, .. } = &mut pending.what
                && sent.message == message
            {
                by.insert(peer.clone());
            }
        }
    }
}
