//! Joins, leaves and mutes: what goes out, and what comes in.
//!
//! Whoever is in voice answers a join of a new member with one of its own, so that late joiners learn who is in; says it
//! again every half minute; and a node passes the joins that it knows on to a new neighbour, its own first. What comes in
//! is not believed if it names an address that voice must not go to; it is passed on all the same, since a relay judges
//! nobody.
//!
//! A member of level 2 signs what it says, and is believed from wherever it comes. What it said earlier, and comes later, changes
//! nothing. On level 1 nothing proves a signal's author. What can be done without proof is done: what bears a neighbour's name
//! counts only if it came over that neighbour's own link; and a member that is heard is not moved, replaced or sent away
//! by what others say. What is left to an attacker among the relays is to tell of members that don't exist, who make way for those that
//! are heard, and to name as muted who is not.

use std::net::SocketAddr;
use std::rc::Rc;

use serde::Deserialize;

use super::challenges::{is_allowed, plain};
use super::roster::{Joined, Member};
use super::sessions::Announced;
use super::{ANSWER_EVERY, ANSWERS};
use crate::api::event::{self, Event};
use crate::base::rfc3339;
use crate::node::{Bytes, LinkId, Node, Now, Outbox};
use crate::wire::limits::{MAX_META, MAX_SIGNAL, MAX_TTL, VOICE_REJOIN};
use crate::wire::message::View;
use crate::wire::outgoing::{self, CODECS, Message, VoiceJoin, VoiceSignal};
use crate::wire::signed::{self, Place};

/// A signal of voice that came, its header read.
pub struct Signal<'a> {
    pub view: &'a View<'a>,
    pub kind: &'a str,
    pub from: &'a str,
    pub username: &'a str,
    pub room: &'a str,
    pub left: u8,
    pub ttl0: u8,
    /// The link it came over, and whether that is its author's own.
    pub link: LinkId,
    pub direct: bool,
    /// Whether its author has signed it.
    pub verified: bool,
}

/// Whether messages of that type are signals of voice.
pub fn is_signal(kind: &str) -> bool {
    matches!(kind, "voice_join" | "voice_leave" | "voice_mute_status")
}

/// What a signal says beyond the original's.
#[derive(Deserialize)]
pub struct Ours {
    session: String,
    /// In a join, one of these: its key.
    pub key: Option<String>,
    pub sealed_key: Option<String>,
    pub encrypted_key: Option<String>,
    #[serde(default)]
    codecs: Vec<serde_json::Value>,
    #[serde(default)]
    muted: bool,
}

impl Ours {
    /// Reads it, and the session's number.
    pub fn read(view: &View<'_>) -> Option<(u64, Self)> {
        let ours: Self = serde_json::from_str(view.voice.json().filter(|json| json.len() <= MAX_META)?).ok()?;
        let session = u64::from_str_radix(&ours.session, 16).ok().filter(|_| ours.session.len() == 16)?;
        Some((session, ours))
    }
}

impl Node {
    /// A signal came: for the first time, or at last over its author's own link.
    pub(in crate::node) fn voice_signal(&mut self, now: Now, signal: &Signal<'_>, out: &mut Outbox) {
        // Level 2 signs what it says; and what we say we know.
        let unproven = signal.view.voice.is_some() && !signal.verified;
        if unproven || *signal.from == *self.id {
            self.counters.voice_refused += 1;
            return;
        }
        if !signal.direct && !signal.verified && self.links.neighbours().get(signal.from).is_some() {
            return;
        }
        if self.would_change(signal) && !self.voice.rates.may_change(now.mono, &signal.from.into(), signal.link) {
            self.counters.voice_refused += 1;
            return;
        }
        let taken = match signal.kind {
            "voice_join" => self.joined(now, signal, out),
            "voice_leave" => self.left(now, signal, out),
            _ => self.muted(signal, out),
        };
        if taken.is_none() {
            self.counters.voice_refused += 1;
        }
    }

    fn joined(&mut self, now: Now, signal: &Signal<'_>, out: &mut Outbox) -> Option<()> {
        let view = signal.view;
        let host: std::net::IpAddr = view.udp_host.string().ok()?.parse().ok()?;
        let announced = (host, view.udp_port.number().and_then(|port| u16::try_from(port).ok())?).into();
        if !is_allowed(announced) || view.bytes().len() > MAX_SIGNAL {
            return None;
        }
        let ours = Ours::read(view);
        if ours.is_none() && self.links.is_secure() {
            return None;
        }
        let id: Rc<str> = signal.from.into();
        let was_ours = self.voice.roster.get(&id).is_some_and(|member| member.session.is_some());
        if ours.is_none() && was_ours && !signal.verified {
            // A member of level 2 does not become one of level 1: that would be a way to make everyone send it PCM.
            return None;
        }
        let place = signed::place(view).filter(|_| signal.verified);
        let member = Member {
            room: signal.room.into(),
            username: signal.username.to_owned(),
            muted: ours.as_ref().is_some_and(|(_, ours)| ours.muted),
            announced: self.reachable(plain(announced), signal),
            direct: signal.direct,
            session: ours.as_ref().map(|(session, _)| *session),
            opus: ours.as_ref().is_some_and(|(_, ours)| ours.codecs.iter().any(|it| it == CODECS[0])),
            said: now.mono,
            sign: None,
            join: view.bytes().into(),
            left: signal.left,
            ttl0: signal.ttl0,
            place,
            latest: place,
            claim: None,
            leaving: false,
        };
        self.take_join(now, &id, member, out)
    }

    /// What an announced address means here: a loopback address from another machine nothing, a link-local one nothing
    /// without its scope. If the join came over its author's own link, that link tells.
    fn reachable(&self, announced: SocketAddr, signal: &Signal<'_>) -> Option<SocketAddr> {
        let link = plain(self.links.get(signal.link)?.addr());
        let here = link.ip().is_loopback() || self.config.udp.ip().is_loopback();
        let nowhere = match announced {
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => true,
            announced => announced.ip().is_loopback() && !here,
        };
        match nowhere {
            false => Some(announced),
            true if signal.direct => {
                let mut addr = link;
                addr.set_port(announced.port());
                Some(addr)
            }
            true => None,
        }
    }

    /// Takes in a join.
    fn take_join(&mut self, now: Now, id: &Rc<str>, member: Member, out: &mut Outbox) -> Option<()> {
        let heard = !member.direct && self.is_heard(now, id);
        let room = member.room.clone();
        let here = self.voice.call.as_ref().is_some_and(|call| call.room == room);
        if let Some(other) = self.voice.roster.to_push_out(&room).filter(|_| here) {
            self.member_left(&other, out);
        }
        let is_in = self.voice.roster.get(id).is_some_and(|before| before.room == room);
        let neighbours = self.links.neighbours();
        let other = self.voice.roster.to_make_way(&room, |id| neighbours.get(id).is_some());
        if let Some(other) = other.filter(|_| !is_in) {
            self.member_left(&other, out);
        }
        let before = self.voice.roster.get(id).map(|before| (before.username.clone(), before.muted));
        match self.voice.roster.join(id, member, heard) {
            Joined::Refused => return None,
            Joined::Held => {}
            Joined::Known { muted_changed } => {
                if muted_changed {
                    self.tell_muted(id, out);
                }
                self.renew_stream(now, id, out);
            }
            Joined::New { from } => {
                if let (Some(room), Some((username, muted))) = (from, before) {
                    self.tell_left(&room, id, &username, muted, out);
                }
                self.tell_joined(now, id, out);
            }
        }
        self.stir_voice(now);
        Some(())
    }

    /// Whether a member's own datagrams are coming.
    fn is_heard(&self, now: Now, id: &Rc<str>) -> bool {
        let stream = self.voice.call.as_ref().and_then(|call| call.streams.get(id));
        stream.is_some_and(|stream| stream.path.is_alive(now.mono))
    }

    /// A new member: its stream, the event, and an answer.
    fn tell_joined(&mut self, now: Now, id: &Rc<str>, out: &mut Outbox) {
        let Some(member) = self.voice.roster.get(id) else { return };
        let (room, username, muted) = (member.room.clone(), member.username.clone(), member.muted);
        self.renew_stream(now, id, out);
        if let Some(call) = self.voice.call.as_mut().filter(|call| call.room == room) {
            if now.mono.duration_since(call.answers_since) >= ANSWER_EVERY {
                (call.answers, call.answers_since) = (call.answers.saturating_sub(1), now.mono);
            }
            // Spread over time: all members answer the same join.
            let wait = match call.answers {
                n if n < ANSWERS => std::time::Duration::from_millis(60),
                _ => ANSWER_EVERY,
            };
            call.answers = (call.answers + 1).min(ANSWERS);
            call.announce_at = call.announce_at.min(now.mono + self.chance.call.jitter(wait));
        }
        if self.shows_voice(&room) {
            let event = event::VoiceJoined { room: &room, peer: id, username: &username, muted };
            self.emit(&Event::VoiceJoined(event), out);
        }
    }

    /// Whether a signal would change what a client is told: that is what is limited.
    fn would_change(&self, signal: &Signal<'_>) -> bool {
        let member = self.voice.roster.get(signal.from).filter(|member| *member.room == *signal.room);
        let Some(member) = member else { return signal.kind == "voice_join" };
        match signal.kind {
            "voice_join" => Ours::read(signal.view)
                .is_some_and(|(session, ours)| Some(session) != member.session || ours.muted != member.muted),
            "voice_leave" => true,
            _ => signal.view.muted.boolean() != Some(member.muted),
        }
    }

    /// Whether a signal is of the member that it names: in that room, and that session. If so: its place, if it is signed.
    fn is_of_member(&self, signal: &Signal<'_>) -> Option<Option<Place>> {
        let member = self.voice.roster.get(signal.from).filter(|member| *member.room == *signal.room)?;
        let is_its_session = member.session == Ours::read(signal.view).map(|(session, _)| session);
        is_its_session.then(|| signed::place(signal.view).filter(|_| signal.verified))
    }

    fn left(&mut self, now: Now, signal: &Signal<'_>, out: &mut Outbox) -> Option<()> {
        let place = self.is_of_member(signal)?;
        let id: Rc<str> = signal.from.into();
        let heard = self.is_heard(now, &id);
        let member = self.voice.roster.get_mut(&id)?;
        if place < member.place {
            return None;
        }
        member.latest = member.latest.max(place);
        member.leaving = place.is_none() && heard && !signal.direct;
        if !member.leaving {
            self.member_left(&id, out);
        }
        Some(())
    }

    fn muted(&mut self, signal: &Signal<'_>, out: &mut Outbox) -> Option<()> {
        let place = self.is_of_member(signal)?;
        let muted = signal.view.muted.boolean()?;
        let member = self.voice.roster.get_mut(signal.from)?;
        if place < member.latest {
            return None;
        }
        member.latest = place;
        if std::mem::replace(&mut member.muted, muted) != muted {
            self.tell_muted(&signal.from.into(), out);
        }
        Some(())
    }

    fn tell_muted(&mut self, id: &Rc<str>, out: &mut Outbox) {
        let Some(member) = self.voice.roster.get(id) else { return };
        let (room, muted) = (member.room.clone(), member.muted);
        if muted {
            self.talkspurt(id, false, out);
        }
        if let Some(stream) = self.voice.call.as_mut().and_then(|call| call.streams.get_mut(id)) {
            stream.speaker.mute(muted);
        }
        if self.shows_voice(&room) {
            self.emit(&Event::VoiceMuted(event::VoiceMuted { room: &room, peer: id, muted }), out);
        }
    }

    fn tell_left(&mut self, room: &str, id: &Rc<str>, username: &str, muted: bool, out: &mut Outbox) {
        if self.voice.call.as_ref().is_some_and(|call| &*call.room == room) {
            self.drop_stream(id, out);
        }
        if self.shows_voice(room) {
            self.emit(&Event::VoiceLeft(event::VoiceLeft { room, peer: id, username, muted }), out);
        }
    }

    fn member_left(&mut self, id: &Rc<str>, out: &mut Outbox) {
        if let Some(member) = self.voice.roster.leave(id) {
            self.tell_left(&member.room, id, &member.username, member.muted, out);
        }
    }

    /// Has a member be as if it had never joined.
    pub(in crate::node) fn forget_member(&mut self, id: &Rc<str>, out: &mut Outbox) {
        if let Some(member) = self.voice.roster.forget(id) {
            self.tell_left(&member.room, id, &member.username, member.muted, out);
        }
    }

    /// Drops the members of whom there is no sign any more, and believes what others said of those that have fallen silent.
    pub(super) fn members_gone(&mut self, now: Now, out: &mut Outbox) {
        let neighbours = self.links.neighbours();
        let gone = self.voice.roster.gone(now.mono, |id| neighbours.get(id).is_some());
        for id in gone {
            self.member_left(&id, out);
        }
        let doubted = self.voice.roster.iter().filter(|(_, member)| member.leaving || member.claim.is_some());
        let doubted: Vec<Rc<str>> = doubted.map(|(id, _)| id.clone()).collect();
        for id in doubted.into_iter().filter(|id| !self.is_heard(now, id)).collect::<Vec<_>>() {
            let Some(member) = self.voice.roster.get_mut(&id) else { continue };
            let (leaving, claim) = (member.leaving, member.claim.take());
            if leaving {
                self.member_left(&id, out);
            }
            if let Some(claim) = claim {
                self.take_join(now, &id, *claim, out);
            }
        }
    }

    /// A link is up: the peer is told who is in voice.
    pub(in crate::node) fn tell_members(&mut self, now: Now, link: LinkId, out: &mut Outbox) {
        let Some((peer, level)) = self.links.peer(link).map(|peer| (peer.id.clone(), peer.level)) else {
            return;
        };
        if let Some(join) = self.own_join(now, out) {
            self.links.queue(now, link, &join, out);
        }
        // An original forgets ids after two minutes, and would flood its side with what is old.
        let fresh = |member: &Member| level >= 2 || now.mono.duration_since(member.said) < ORIGINAL_AGE;
        let joins = self.voice.roster.iter().filter(|(id, member)| **id != peer && member.left > 1 && fresh(member));
        let joins: Vec<Bytes> = joins
            .filter_map(|(_, member)| {
                let view = View::parse(&member.join).ok()?;
                Some(out.write(|buffer| view.relay(member.left - 1, member.ttl0, buffer)))
            })
            .collect();
        for bytes in joins {
            self.links.queue(now, link, &bytes, out);
        }
    }

    /// Our last join once more, as it went: who has had it takes no notice. If something in it has changed, a new one.
    fn own_join(&mut self, now: Now, out: &mut Outbox) -> Option<Bytes> {
        let call = self.voice.call.as_ref()?;
        if let Some(join) = &call.join {
            return Some(out.write(|buffer| buffer.extend_from_slice(join)));
        }
        let said = self.write_signal(now, Say::Join, out)?;
        Some(said.bytes)
    }

    /// Says, or says again, that we are in voice.
    pub(in crate::node) fn announce(&mut self, now: Now, out: &mut Outbox) {
        let Some(call) = &mut self.voice.call else { return };
        call.announce_at = now.mono + VOICE_REJOIN;
        self.say(now, Say::Join, out);
    }

    pub(super) fn say_leave(&mut self, now: Now, out: &mut Outbox) {
        self.say(now, Say::Leave, out);
    }

    pub(super) fn say_muted(&mut self, now: Now, out: &mut Outbox) {
        if let Some(call) = &mut self.voice.call {
            call.join = None;
            // Others keep the join for nodes to come, to whom it must not say the contrary for long.
            call.announce_at = call.announce_at.min(now.mono + ANSWER_EVERY);
        }
        self.say(now, Say::Muted, out);
    }

    /// Sends a signal to everyone.
    fn say(&mut self, now: Now, what: Say, out: &mut Outbox) {
        let Some(said) = self.write_signal(now, what, out) else { return };
        let Some(room) = self.voice.call.as_ref().map(|call| call.room.clone()) else { return };
        let own = self.id.clone();
        let handed = self.hand_out(now, said.number, None, false, &said.bytes, out);
        self.tell_missed((&said.id, Some(&room), &own, None), &handed.missed, out);
    }

    /// Writes a signal, and remembers it as seen.
    fn write_signal(&mut self, now: Now, what: Say, out: &mut Outbox) -> Option<Said> {
        let call = self.voice.call.as_ref()?;
        let (room, own, username) = (call.room.clone(), self.id.clone(), self.username.clone());
        let (session, muted) = (format!("{:016x}", call.sealer.session()), call.muted);
        let codecs = if call.talker.has_codec() { CODECS } else { &[] };
        let id = self.chance.call.uuid();
        let place = self.numbers.next(now);
        let announced = if what == Say::Join { self.announced_key(place)? } else { Announced::default() };
        let stamp = self.stamps.next(now);
        let number = self.gossip.take_own(&id).ok()?;
        self.gossip.begin_own_trace(now, number, stamp);
        let signal = VoiceSignal {
            id: &id,
            from: &own,
            username: &username,
            room: &room,
            muted: (what == Say::Muted).then_some(muted),
            ttl: MAX_TTL,
            ttl0: MAX_TTL,
            ts: &rfc3339(stamp),
            voice: outgoing::Voice {
                session: &session,
                key: announced.key.as_deref(),
                sealed_key: announced.sealed_key.as_deref(),
                encrypted_key: announced.encrypted_key.as_deref(),
                codecs,
                muted,
            },
        };
        let udp_host = self.config.udp_host.to_string();
        let message = match what {
            Say::Join => {
                Message::VoiceJoin(VoiceJoin { signal, udp_host: &udp_host, udp_port: self.config.udp.port() })
            }
            Say::Leave => Message::VoiceLeave(signal),
            Say::Muted => Message::VoiceMuteStatus(signal),
        };
        let frame = outgoing::signed_frame(&message, &self.identity, place)?;
        let bytes = out.write(|buffer| buffer.extend_from_slice(&frame));
        if let (Say::Join, Some(call)) = (what, &mut self.voice.call) {
            call.join = Some(frame.into());
        }
        Some(Said { id, number, bytes })
    }
}

/// A signal of ours, written.
struct Said {
    id: String,
    number: u64,
    bytes: Bytes,
}

/// What a signal of ours says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Say {
    Join,
    Leave,
    Muted,
}

/// A level 1 peer is sent nothing older: it remembers ids for two minutes.
const ORIGINAL_AGE: std::time::Duration = std::time::Duration::from_secs(60);
