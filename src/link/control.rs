//! Frames between two neighbours of level 2, which are not passed on: pings, confirmations, user names.
//!
//! Each is sent only to a peer that has named its capability in its hello: an original would show it as a message.

use std::time::Duration;

use super::peer::Peer;
use super::{Links, News, Stage};
use crate::base::{DropCause, LinkId, Now};
use crate::outbox::Outbox;
use crate::wire::limits::PING_EVERY;
use crate::wire::outgoing::{self, Message};

impl Links {
    /// Sends a control frame to one link.
    fn send_control(&mut self, now: Now, id: LinkId, message: &Message<'_>, out: &mut Outbox) {
        let bytes = out.write(|buffer| outgoing::frame(message, buffer));
        self.queue(now, id, &bytes, out);
    }

    /// The links of the neighbours that can do something.
    fn of_capable(&self, can: impl Fn(&Peer) -> bool) -> Vec<LinkId> {
        self.table.ids(|link| link.stage == Stage::Up && link.peer.as_ref().is_some_and(&can))
    }

    /// Pings a neighbour, and plans the next ping.
    pub(super) fn ping(&mut self, now: Now, id: LinkId, out: &mut Outbox) {
        let nonce = self.chance.number() >> 11;
        let message_id = self.chance.uuid();
        let Some(link) = self.table.get_mut(id) else { return };
        if !link.peer.as_ref().is_some_and(|peer| peer.pings) {
            return;
        }
        link.next_ping = Some(now.mono + PING_EVERY);
        link.ping = Some((nonce, now.mono));
        self.table.arm(id);
        self.send_control(now, id, &Message::Ping { id: &message_id, nonce }, out);
    }

    /// Answers a ping.
    pub fn on_ping(&mut self, now: Now, id: LinkId, nonce: u64, out: &mut Outbox) {
        let message_id = self.chance.uuid();
        self.send_control(now, id, &Message::Pong { id: &message_id, nonce }, out);
    }

    /// Takes in the answer to a ping.
    pub fn on_pong(&mut self, now: Now, id: LinkId, nonce: Option<u64>) {
        let Some(link) = self.table.get_mut(id) else { return };
        match link.ping {
            Some((ours, sent)) if nonce == Some(ours) => {
                link.rtt = Some(now.mono.duration_since(sent).max(Duration::from_nanos(1)));
                link.ping = None;
            }
            _ => self.counters.drop(DropCause::Ignored),
        }
    }

    /// Asks every neighbour that can tell whether it took a message. Gives how many that are.
    pub fn ask_to_confirm(&mut self, now: Now, message: &str, out: &mut Outbox) -> usize {
        let capable = self.of_capable(|peer| peer.confirms);
        let count = capable.len();
        for link in capable {
            let id = self.chance.uuid();
            self.send_control(now, link, &Message::Confirm { id: &id, message }, out);
        }
        count
    }

    /// Tells a neighbour whether a message of its own was taken.
    pub fn confirm(&mut self, now: Now, id: LinkId, message: &str, taken: bool, out: &mut Outbox) {
        let message_id = self.chance.uuid();
        self.send_control(now, id, &Message::Confirmed { id: &message_id, message, taken }, out);
    }

    /// Takes in a neighbour's user name, whichever of its links it has come over: the one in use bears it.
    pub fn on_username(&mut self, id: LinkId, username: &str) {
        let Some(link) = self.table.get(id) else { return };
        if link.stage == Stage::Up && link.peer.as_ref().is_some_and(|peer| peer.username == username) {
            return;
        }
        let in_use = self.peer(id).and_then(|peer| self.neighbours.get(&peer.id));
        let Some(link) = in_use.and_then(|id| self.table.get_mut(id)) else { return };
        let Some(peer) = link.peer.as_mut().filter(|peer| peer.username != username) else { return };
        peer.username = username.to_owned();
        self.news.push(News::Renamed { peer: peer.id.clone(), username: username.to_owned() });
    }

    /// Takes a new user name for ourselves, and tells every neighbour that can hear it.
    pub fn rename(&mut self, now: Now, username: &str, out: &mut Outbox) {
        username.clone_into(&mut self.settings.username);
        for link in self.of_capable(|peer| peer.nicks) {
            let id = self.chance.uuid();
            self.send_control(now, link, &Message::Nick { id: &id, username }, out);
        }
    }
}
