//! What two nodes of ours say to each other, and to nobody else: frames that are not passed on.
//!
//! Each is sent only to a peer that has named its capability in its hello: an original would show it as a message.

use std::time::Duration;

use super::links::{Link, Peer, Stage};
use super::{LinkId, Node, Now, Outbox};
use crate::api::event::{DropCause, Event, Renamed};
use crate::wire::limits::PING_EVERY;
use crate::wire::message::View;
use crate::wire::outgoing::{self, Message};

impl Node {
    /// Sends a message of level 2 to one link.
    fn tell(&mut self, now: Now, id: LinkId, message: &Message<'_>, out: &mut Outbox) {
        let bytes = out.write(|buffer| outgoing::frame(message, buffer));
        self.queue(now, id, &bytes, out);
    }

    /// The links of the neighbours that can do something.
    fn links_of_those(&self, can: impl Fn(&Peer) -> bool) -> Vec<LinkId> {
        let can = |link: &Link| link.stage == Stage::Up && link.peer.as_ref().is_some_and(&can);
        self.links.iter().filter(|(_, link)| can(link)).map(|(id, _)| *id).collect()
    }

    /// Pings a neighbour, and plans the next ping.
    pub(super) fn ping(&mut self, now: Now, id: LinkId, out: &mut Outbox) {
        let nonce = self.chance.link.number() >> 11;
        let message_id = self.chance.link.uuid();
        let Some(link) = self.links.get_mut(&id) else { return };
        if !link.peer.as_ref().is_some_and(|peer| peer.pings) {
            return;
        }
        link.next_ping = Some(now.mono + PING_EVERY);
        link.ping = Some((nonce, now.mono));
        self.tell(now, id, &Message::Ping { id: &message_id, nonce }, out);
    }

    /// Whether a frame is one of level 2, between neighbours; if so, it is dealt with.
    pub(super) fn neighbour_said(
        &mut self,
        now: Now,
        id: LinkId,
        kind: &str,
        view: &View<'_>,
        out: &mut Outbox,
    ) -> bool {
        let Some(peer) = self.links.get(&id).and_then(|link| link.peer.as_ref()) else { return false };
        // An original's message may bear such a name, too: that one has a `ttl`.
        if peer.level < 2 || view.ttl.is_some() {
            return false;
        }
        match kind {
            "ping" => self.pinged(now, id, view, out),
            "pong" => self.ponged(now, id, view),
            "confirm" => self.asked_to_confirm(now, id, view, out),
            "confirmed" => self.confirmed(id, view),
            "nick" => match view.username.name() {
                Ok(username) => self.neighbour_is_named(id, &username, out),
                Err(_) => self.malformed(now, id, out),
            },
            _ => return false,
        }
        true
    }

    fn pinged(&mut self, now: Now, id: LinkId, view: &View<'_>, out: &mut Outbox) {
        let Some(nonce) = view.nonce.number() else { return self.malformed(now, id, out) };
        let message_id = self.chance.link.uuid();
        self.tell(now, id, &Message::Pong { id: &message_id, nonce }, out);
    }

    fn ponged(&mut self, now: Now, id: LinkId, view: &View<'_>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        match link.ping {
            Some((nonce, sent)) if view.nonce.number() == Some(nonce) => {
                link.rtt = Some(now.mono.duration_since(sent).max(Duration::from_nanos(1)));
                link.ping = None;
            }
            _ => self.counters.drop(DropCause::Ignored),
        }
    }

    /// Asks every neighbour that can tell whether it took a message.
    pub(super) fn ask_to_confirm(&mut self, now: Now, message: &str, out: &mut Outbox) {
        for link in self.links_of_those(|peer| peer.confirms) {
            let id = self.chance.link.uuid();
            self.tell(now, link, &Message::Confirm { id: &id, message }, out);
        }
    }

    fn asked_to_confirm(&mut self, now: Now, id: LinkId, view: &View<'_>, out: &mut Outbox) {
        let Ok(message) = view.message.name() else { return self.malformed(now, id, out) };
        // It asks about what it has said itself.
        let peer = self.links.get(&id).and_then(|link| link.peer.as_ref()).map(|peer| peer.id.clone());
        let taken = self.seen.get(&message, peer.as_deref()).is_some();
        let message_id = self.chance.link.uuid();
        self.tell(now, id, &Message::Confirmed { id: &message_id, message: &message, taken }, out);
    }

    fn confirmed(&mut self, id: LinkId, view: &View<'_>) {
        let peer = self.links.get(&id).and_then(|link| link.peer.as_ref()).map(|peer| peer.id.clone());
        let (Some(peer), Ok(message), Some(true)) = (peer, view.message.name(), view.taken.boolean()) else { return };
        if let Some(known) = self.seen.get(&message, Some(&self.id))
            && let Some(trace) = self.traces.get_mut(known.number)
        {
            for (to, _, confirmed) in &mut trace.links {
                *confirmed |= *to == peer;
            }
        }
        self.confirmed_by(&message, &peer);
        self.clients.recheck_pending();
    }

    /// A neighbour's user name is known: an event tells if it is new.
    pub(super) fn neighbour_is_named(&mut self, id: LinkId, username: &str, out: &mut Outbox) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(peer) = link.peer.as_mut().filter(|peer| peer.username != username) else { return };
        let previous = std::mem::replace(&mut peer.username, username.to_owned());
        let peer = peer.id.clone();
        if matches!(link.stage, Stage::Up) {
            self.emit(&Event::Renamed(Renamed { peer: &peer, username, previous: &previous }), out);
        }
    }

    /// Tells every neighbour that can hear it our new user name.
    pub(super) fn tell_username(&mut self, now: Now, out: &mut Outbox) {
        let username = self.username.clone();
        for link in self.links_of_those(|peer| peer.nicks) {
            let id = self.chance.link.uuid();
            self.tell(now, link, &Message::Nick { id: &id, username: &username }, out);
        }
    }
}
