//! Routes: what comes in goes to the component that it concerns, and what a component has to tell goes to those that hear of it.
//!
//! [`Node::hear_links`] is the one list of who hears of links that come up and go down.

use super::presences::{LinkEnd, Neighbour};
use super::{LinkId, Node, Now, Outbox};
use crate::api::ErrorCode;
use crate::api::error::ApiError;
use crate::api::event::{ConnectFailed, Event, WarningCode};
use crate::base::{DialId, LinkCode, millis};
use crate::gossip::batch::Batch;
use crate::link::{News, Trouble};
use crate::wire::control::Control;
use crate::wire::frame::{Decoder, Item};
use crate::wire::noise::Stepped;

impl Node {
    /// A dial has given a link, or the answer that voice wanted of it.
    pub(super) fn on_dialled(
        &mut self,
        now: Now,
        dial: DialId,
        link: LinkId,
        addr: (std::net::SocketAddr, bool),
        out: &mut Outbox,
    ) {
        if !self.links.on_dialled(now, dial, link, addr, out) {
            self.with_calls(now, out, |calls, _| calls.on_probe_ended(dial, true));
        }
    }

    /// A dial failed.
    pub(super) fn on_dial_failed(&mut self, now: Now, dial: DialId, code: LinkCode, reason: &str, out: &mut Outbox) {
        if !self.links.on_dial_failed(now, dial, code, reason) {
            self.with_calls(now, out, |calls, _| calls.on_probe_ended(dial, false));
        }
    }

    /// A worker has computed the next step of a handshake.
    pub(super) fn on_stepped(&mut self, now: Now, id: LinkId, stepped: Stepped, out: &mut Outbox) {
        if let Some(rest) = self.links.on_stepped(now, id, stepped, out) {
            self.on_bytes(now, id, &rest, out);
        }
    }

    /// Handles received bytes.
    pub(super) fn on_bytes(&mut self, now: Now, id: LinkId, mut bytes: &[u8], out: &mut Outbox) {
        let Some(mut reading) = self.links.begin_reading(now, id, &mut bytes, out) else { return };
        if reading.is_sealed {
            while let Some(plain) = self.links.open_record(now, id, &mut bytes, out) {
                reading.completed |= self.on_frame_bytes(now, id, &mut reading.decoder, &plain, out);
                self.links.keep_buffer(plain);
            }
        } else {
            reading.completed = self.on_frame_bytes(now, id, &mut reading.decoder, bytes, out);
        }
        self.links.end_reading(now, id, reading);
    }

    /// Handles bytes of frames. Whether they completed one.
    fn on_frame_bytes(
        &mut self,
        now: Now,
        id: LinkId,
        decoder: &mut Decoder,
        mut bytes: &[u8],
        out: &mut Outbox,
    ) -> bool {
        let mut completed = false;
        let mut batch = Batch::default();
        while let Some(link) = self.links.get(id).filter(|link| link.hears()) {
            let allowance = link.allowance();
            if batch.is_empty() && self.links.is_greeted(id) {
                let verifies = || !self.links.is_signature_budget_spent(now, id);
                let is_blocked = |author: &str| self.links.blocks().has_author(author);
                batch = self.gossip.look_ahead(decoder, bytes, allowance, verifies, is_blocked);
            }
            match decoder.next(&mut bytes, allowance) {
                Ok(Some(Item::Frame(frame))) => {
                    completed = true;
                    if self.links.is_greeted(id) {
                        let parsed = batch.next(frame);
                        self.links.on_frame(now, id, out);
                        self.on_frame(now, id, parsed, out);
                    } else {
                        self.links.on_hello(now, id, frame, out);
                        self.hear_links(now, out);
                    }
                }
                Ok(Some(Item::Skimmed(length))) => {
                    completed = true;
                    self.links.on_skimmed(length, out);
                }
                Ok(None) => break,
                Err(too_large) => self.links.on_too_large(now, id, too_large, out),
            }
        }
        completed
    }

    /// Handles a frame that neighbours of level 2 send each other alone.
    pub(super) fn on_control(&mut self, now: Now, id: LinkId, control: Control<'_>, out: &mut Outbox) {
        match control {
            Control::Ping(nonce) => self.links.on_ping(now, id, nonce, out),
            Control::Pong(nonce) => self.links.on_pong(now, id, nonce),
            Control::Nick(username) => self.links.on_username(id, &username),
            Control::Confirm(message) => {
                // It asks about what it has said itself.
                let taken =
                    self.links.peer(id).is_some_and(|peer| self.gossip.has_seen(&message, Some(&peer.id.text())));
                self.links.confirm(now, id, &message, taken, out);
            }
            Control::Confirmed(None) => {}
            Control::Confirmed(Some(message)) => {
                let Some(peer) = self.links.peer(id).map(|peer| peer.id.clone()) else { return };
                if let Some(trace) = self.gossip.own_trace_mut(&message) {
                    for (to, _, confirmed) in &mut trace.links {
                        *confirmed |= *to == peer;
                    }
                }
                self.confirmed_by(&message, &peer);
                self.clients.recheck_pending();
            }
        }
    }

    /// Tells those that hear of links what has come about.
    pub(super) fn hear_links(&mut self, now: Now, out: &mut Outbox) {
        while self.links.has_news() {
            for news in self.links.take_news() {
                self.hear(now, news, out);
            }
            self.clients.recheck_pending();
        }
    }

    fn hear(&mut self, now: Now, news: News, out: &mut Outbox) {
        match news {
            News::Up { link, peer, username, addr, direction, level } => {
                self.neighbour_came(now, Neighbour { peer, username, addr, direction, level }, out);
                self.tell_members(now, link, out);
            }
            News::Reached { addr, peer } => {
                self.settle_connects(&addr, &Ok(peer.to_string()));
            }
            News::Down { peer, username, code, reason, retry_in } => {
                self.neighbour_went(now, LinkEnd { peer, username, code, reason, retry_in }, out);
            }
            News::Failed { addr, code, reason, retry_in } => {
                let error = ApiError::new(error_code(code), format!("{addr}: {reason}"));
                let waited_for = self.settle_connects(&addr, &Err(error));
                if !waited_for && self.phase.is_running() {
                    let retry_in_ms = retry_in.map(millis);
                    let event = ConnectFailed { addr: &addr, code, reason: &reason, retry_in_ms };
                    self.emit(&Event::ConnectFailed(event), out);
                }
            }
            News::Renamed { peer, username } => self.neighbour_renamed(now, &peer, username, out),
            News::Trouble(trouble, message) => {
                let code = match trouble {
                    Trouble::AcceptFailed => WarningCode::AcceptFailed,
                    Trouble::SlowPeer => WarningCode::SlowPeer,
                    Trouble::OwnIdTaken => WarningCode::OwnIdTaken,
                    Trouble::Banned => WarningCode::Banned,
                };
                self.warn(now, code, &message, out);
            }
        }
    }
}

/// The error of a `connect` that a dial's failure ends.
const fn error_code(code: LinkCode) -> ErrorCode {
    match code {
        LinkCode::OwnAddress => ErrorCode::OwnAddress,
        LinkCode::TooManyLinks => ErrorCode::TooManyLinks,
        LinkCode::Blocked => ErrorCode::Blocked,
        LinkCode::WrongPeer => ErrorCode::WrongPeer,
        LinkCode::Level1Refused => ErrorCode::Level1Refused,
        _ => ErrorCode::ConnectFailed,
    }
}
