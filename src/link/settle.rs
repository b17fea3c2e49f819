//! Two links between the same two nodes, and which of them stays.
//!
//! Two nodes that dial each other at once have two links, and must come to keep the same one. The node with the lower
//! id decides: it keeps the link that it has had first, and leaves the other as soon as its peer has sent something on
//! the one that stays, and so knows of it. The other node goes on with its own first link until one of the two ends: if
//! that was its first, the second takes its place, with no event and nothing lost, since what had been sent on the link
//! that ends is still read.
//!
//! A peer of level 1 knows nothing of this: there the second link is closed, as the original does.

use super::peer::Peer;
use super::{Links, Stage};
use crate::base::{LinkCode, LinkId, LogLevel, Now};
use crate::outbox::Outbox;

const IN_USE: &str = "another link to it is in use";

impl Links {
    /// Takes in a second link to a neighbour: see the module.
    pub(super) fn settle(&mut self, now: Now, id: LinkId, first: LinkId, peer: Peer, incoming: bool, out: &mut Outbox) {
        let both_level2 = peer.is_level2() && self.peer(first).is_some_and(Peer::is_level2);
        let decides = self.settings.id < peer.id;
        if both_level2 && incoming {
            self.say_hello(now, id, out);
        }
        let (peer_id, username) = (peer.id.clone(), peer.username.clone());
        self.log(LogLevel::Debug, out, || format!("a second link to {peer_id}"));
        let Some(link) = self.table.get_mut(id) else { return };
        link.peer = Some(peer);
        if both_level2 {
            // It has proved that it is the same node, and this is what it calls itself now.
            self.on_username(id, &username);
        }
        let Some(link) = self.table.get_mut(id) else { return };
        // From here on the link's end is no failure of its target: that is linked, by the first link.
        (link.stage, link.since) = (Stage::Waiting, now.mono);
        let target = link.target.clone();
        self.table.arm(id);
        if let Some(target) = target {
            self.target_linked(&target, first, &peer_id);
        }
        match (both_level2, decides, incoming) {
            (true, false, _) => self.ping(now, id, out),
            (true, true, _) if !self.table.get(first).is_some_and(|link| link.confirmed) => {}
            (false, _, true) => self.close(now, id, LinkCode::Duplicate, IN_USE, out),
            _ => self.leave(now, id, true, LinkCode::Duplicate, IN_USE, out),
        }
    }

    /// Notes that a peer has sent something after its hello. The first time, on the link that is to stay, others can go.
    pub fn on_frame(&mut self, now: Now, id: LinkId, out: &mut Outbox) {
        let Some(link) = self.table.get_mut(id) else { return };
        if std::mem::replace(&mut link.confirmed, true) || link.stage != Stage::Up {
            return;
        }
        let Some(peer) = link.peer_id().filter(|peer| self.settings.id < *peer) else { return };
        for second in self.table.ids(|link| link.is_second_of(&peer)) {
            self.leave(now, second, true, LinkCode::Duplicate, IN_USE, out);
        }
    }

    /// The second link takes the place of the first, which the other end has left.
    pub(super) fn promote(&mut self, now: Now, first: LinkId, second: LinkId, out: &mut Outbox) {
        let username = self.peer(first).map(|peer| peer.username.clone());
        let Some(link) = self.table.get_mut(second) else { return };
        let Some(peer) = &mut link.peer else { return };
        // It may have been told of a new name over the first link alone.
        peer.username = username.unwrap_or_else(|| std::mem::take(&mut peer.username));
        self.neighbours.insert(peer, second);
        (link.stage, link.since) = (Stage::Up, now.mono);
        let pings = peer.pings;
        self.dialler.replace(first, second);
        self.log(LogLevel::Debug, out, || "the second link takes the place of the first".to_owned());
        if pings {
            self.ping(now, second, out);
        }
        self.table.arm(second);
    }
}
