//! Neighbours that come and go, and members of voice: as events, at a rate. See [`crate::presence`].

use super::presences::{LinkEnd, Member, Neighbour, Presences};
use super::{Node, Now, Outbox};
use crate::api::event::{self, Event};
use crate::base::{NodeId, millis};
use crate::call;
use crate::presence::{Step, Tell};

impl Node {
    /// A neighbour is there.
    pub(super) fn neighbour_came(&mut self, now: Now, neighbour: Neighbour, out: &mut Outbox) {
        let id = neighbour.peer.clone();
        let tells = self.presences.neighbours.step(now.mono, &id, Step::Came(neighbour));
        tells.for_each(|tell| self.tell_neighbour(tell, out));
    }

    /// A neighbour has another user name.
    pub(super) fn neighbour_renamed(&mut self, now: Now, id: &NodeId, username: String, out: &mut Outbox) {
        let Some(before) = self.presences.neighbours.get(id) else { return };
        let renamed = Neighbour { username, ..before.clone() };
        let tells = self.presences.neighbours.step(now.mono, id, Step::Changed(renamed));
        tells.for_each(|tell| self.tell_neighbour(tell, out));
    }

    /// A neighbour is gone.
    pub(super) fn neighbour_went(&mut self, now: Now, end: LinkEnd, out: &mut Outbox) {
        let id = end.peer.clone();
        let tells = self.presences.neighbours.step(now.mono, &id, Step::Went(end));
        tells.for_each(|tell| self.tell_neighbour(tell, out));
    }

    /// An event of voice.
    pub(super) fn tell_of_voice(&mut self, now: Now, event: call::Event<'_>, out: &mut Outbox) {
        let member = |room: &str, peer: &str, username: &str, muted| Member {
            room: room.into(),
            peer: peer.into(),
            username: username.to_owned(),
            muted,
        };
        let (room, peer, step) = match event {
            call::Event::Joined { room, peer, username, muted } => {
                (room, peer, Step::Came(member(room, peer, username, muted)))
            }
            call::Event::Left { room, peer, username, muted } => {
                (room, peer, Step::Went(member(room, peer, username, muted)))
            }
            call::Event::Muted { room, peer, muted } => (room, peer, Step::Changed(member(room, peer, "", muted))),
            call::Event::Speaking { room, peer, speaking } => {
                return self.emit(&Event::Speaking(event::Speaking { room, peer, speaking }), out);
            }
            call::Event::MicEnded { room } => return self.emit(&Event::MicEnded(event::MicEnded { room }), out),
        };
        let name = (room.into(), peer.into());
        let step = match (step, self.presences.members.get(&name)) {
            (Step::Changed(changed), Some(before)) => {
                Step::Changed(Member { username: before.username.clone(), ..changed })
            }
            (step, _) => step,
        };
        let tells = self.presences.members.step(now.mono, &name, step);
        tells.for_each(|tell| self.tell_member(tell, out));
    }

    /// Tells what was gathered, if it is time; with `all` in any case.
    pub(super) fn tell_gathered(&mut self, now: Now, all: bool, out: &mut Outbox) {
        let Presences { neighbours, members } = &mut self.presences;
        let (neighbours, members) = match all {
            true => (neighbours.flush(), members.flush()),
            false => (neighbours.on_time(now.mono), members.on_time(now.mono)),
        };
        neighbours.into_iter().for_each(|tell| self.tell_neighbour(tell, out));
        members.into_iter().for_each(|tell| self.tell_member(tell, out));
    }

    fn tell_neighbour(&mut self, tell: Tell<Neighbour, LinkEnd>, out: &mut Outbox) {
        match &tell {
            Tell::Came(it) => {
                let Neighbour { peer, username, addr, direction, level } = &**it;
                let (peer, direction, level, secure) = (&*peer.text(), *direction, *level, *level >= 2);
                self.emit(&Event::PeerUp(event::PeerUp { peer, username, addr, direction, level, secure }), out);
            }
            Tell::Changed { now, before } => {
                let previous = before.as_ref().map_or("", |before| &before.username);
                let event = event::Renamed { peer: &now.peer.text(), username: &now.username, previous };
                self.emit(&Event::Renamed(event), out);
            }
            Tell::Went(LinkEnd { peer, username, code, reason, retry_in }) => {
                let (peer, code, retry_in_ms) = (&*peer.text(), *code, retry_in.map(millis));
                self.emit(&Event::PeerDown(event::PeerDown { peer, username, code, reason, retry_in_ms }), out);
            }
        }
    }

    fn tell_member(&mut self, tell: Tell<Member, Member>, out: &mut Outbox) {
        match &tell {
            Tell::Came(it) => {
                let Member { room, peer, username, muted } = &**it;
                let peer = &*peer.text();
                self.emit(&Event::VoiceJoined(event::VoiceJoined { room, peer, username, muted: *muted }), out);
            }
            Tell::Changed { now, .. } => {
                let Member { room, peer, muted, .. } = &**now;
                let peer = &*peer.text();
                self.emit(&Event::VoiceMuted(event::VoiceMuted { room, peer, muted: *muted }), out);
            }
            Tell::Went(Member { room, peer, username, muted }) => {
                let peer = &*peer.text();
                self.emit(&Event::VoiceLeft(event::VoiceLeft { room, peer, username, muted: *muted }), out);
            }
        }
    }
}
