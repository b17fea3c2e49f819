//! Joins, leaves and mutes: what goes out, and what comes in.
//!
//! A member answers the join of a new member with one of its own, so that late joiners learn who is in, and says again every
//! half minute that it is there; and a node passes the joins that it knows on to a new neighbour, its own first. A join is
//! not believed if it names an address that voice must not go to; it is passed on all the same, since a relay judges
//! nobody. Not passed on is what is over a [rate](super::rates): others would have to bear it.
//!
//! A member of level 2 signs its signals, and is believed whichever way they come. An earlier signal that comes later changes
//! nothing. On level 1 nothing proves a signal's author. What can be done without proof is done: a signal in a neighbour's name
//! counts only if it came over that neighbour's own link; and a member that is heard is not moved, replaced or sent away
//! by what others say. All that is left to an attacker among the relays is to tell of members that don't exist, which make way for
//! those that are heard, and to say that a member is muted that is not.

use std::net::SocketAddr;

use super::challenges::{is_allowed, plain};
use super::fields::Level2Fields;
use super::roster::{Joined, Member};
use super::sessions::Announced;
use super::{ANSWER_EVERY, ANSWERS, Calls, Event, Io};
use crate::base::{LinkId, NodeId, NodeIdRef, Now, rfc3339};
use crate::outbox::Bytes;
use crate::wire::limits::{MAX_SIGNAL, MAX_TTL, VOICE_REJOIN};
use crate::wire::message::View;
use crate::wire::outgoing::{self, CODECS, Message, VoiceJoin, VoiceSignal};
use crate::wire::signed::{self, SeqNo};

/// A received signal of voice, its header read.
#[derive(Debug)]
pub struct Signal<'a> {
    /// The message.
    pub view: &'a View<'a>,
    /// Its type.
    pub kind: &'a str,
    /// Its author.
    pub from: NodeIdRef<'a>,
    /// The author's user name.
    pub username: &'a str,
    /// Its room.
    pub room: &'a str,
    /// The forwards that are left.
    pub left: u8,
    /// The forwards that it started with.
    pub ttl0: u8,
    /// The link it came over.
    pub link: LinkId,
    /// The address of that link's other end.
    pub addr: Option<SocketAddr>,
    /// Whether that link is its author's own.
    pub direct: bool,
    /// Whether its author has signed it.
    pub verified: bool,
}

/// The claim of a signal, and the sequence number by which it is made, if it is signed.
enum Claim {
    /// A member is in.
    Join(Box<Member>),
    /// It has left.
    Leave(Option<SeqNo>),
    /// Whether it is muted.
    Muted(bool, Option<SeqNo>),
}

/// Whether messages of that type are signals of voice.
pub fn is_signal(kind: &str) -> bool {
    matches!(kind, "voice_join" | "voice_leave" | "voice_mute_status")
}

impl Calls {
    /// Handles a signal that comes for the first time, or at last over its author's own link. Whether it may be passed on.
    pub fn on_signal(&mut self, now: Now, signal: &Signal<'_>, io: &mut dyn Io) -> bool {
        // Level 2 signs its signals; and our own are no news.
        let unverified = signal.view.voice.is_some() && !signal.verified;
        if unverified || signal.from == (&self.id).into() {
            self.counts.refused += 1;
            return true;
        }
        if !signal.direct && !signal.verified && io.is_neighbour(signal.from) {
            return true;
        }
        let Some(claim) = self.read(now, signal) else {
            self.counts.refused += 1;
            return true;
        };
        let Some(paid) = self.charge(now, signal) else {
            self.counts.refused += 1;
            return false;
        };
        let taken = match claim {
            Claim::Join(member) => {
                let id = self.roster.known_id(signal.from).unwrap_or_else(|| signal.from.into());
                self.take_join(now, &id, Member { paid, ..*member }, io)
            }
            Claim::Leave(seq) => self.on_leave(now, signal, seq, io),
            Claim::Muted(muted, seq) => self.on_mute(now, signal, (muted, seq, paid), io),
        };
        if taken.is_none() {
            self.counts.refused += 1;
        }
        paid
    }

    /// Reads what a signal claims. `None`: it can't be believed, or is of nobody who is a member.
    fn read(&self, now: Now, signal: &Signal<'_>) -> Option<Claim> {
        match signal.kind {
            "voice_join" => self.read_join(now, signal).map(|member| Claim::Join(Box::new(member))),
            "voice_leave" => self.is_of_member(signal).map(Claim::Leave),
            _ => Some(Claim::Muted(signal.view.muted.boolean()?, self.is_of_member(signal)?)),
        }
    }

    /// Counts a signal against the rates, if it changes anything or is of somebody whose coming was not paid for. Whether it is
    /// paid for; `None`: it is too much.
    fn charge(&mut self, now: Now, signal: &Signal<'_>) -> Option<bool> {
        let changes = self.would_change(signal);
        if changes && !self.rates.may_change(now.mono, signal.from) {
            return None;
        }
        let is_unpaid = self.roster.get(signal.from).is_some_and(|member| !member.paid);
        if signal.direct || !(changes || is_unpaid) || self.rates.pay(now.mono, signal.link) {
            return Some(true);
        }
        self.rates.may_stay_unpaid(now.mono, signal.link).then_some(false)
    }

    /// Counts a signal that lacks a user name or a room.
    pub fn refuse_signal(&mut self) {
        self.counts.refused += 1;
    }

    fn read_join(&self, now: Now, signal: &Signal<'_>) -> Option<Member> {
        let view = signal.view;
        let host: std::net::IpAddr = view.udp_host.string().ok()?.parse().ok()?;
        let announced = (host, view.udp_port.number().and_then(|port| u16::try_from(port).ok())?).into();
        // As it goes on, so that all nodes judge alike.
        let length = view.relayed_len(signal.left, signal.ttl0).max(view.bytes().len());
        if !is_allowed(announced) || length > MAX_SIGNAL {
            return None;
        }
        let fields = Level2Fields::read(view);
        if fields.is_none() && self.config.secure {
            return None;
        }
        let was_level2 = self.roster.get(signal.from).is_some_and(|member| member.session.is_some());
        if fields.is_none() && was_level2 && !signal.verified {
            // A member of level 2 does not become one of level 1: that would be a way to make everyone send it PCM.
            return None;
        }
        let seq = signed::seq_no(view).filter(|_| signal.verified);
        Some(Member {
            room: signal.room.into(),
            username: signal.username.to_owned(),
            muted: fields.as_ref().is_some_and(|(_, fields)| fields.muted),
            announced: self.reachable(plain(announced), signal),
            direct: signal.direct,
            session: fields.as_ref().map(|(session, _)| *session),
            opus: fields.as_ref().is_some_and(|(_, fields)| fields.codecs.iter().any(|it| it == CODECS[0])),
            said: now.mono,
            sign: None,
            join: view.bytes().into(),
            left: signal.left,
            ttl0: signal.ttl0,
            seq,
            latest: seq,
            claim: None,
            leaving: false,
            via: signal.link,
            paid: false,
            told: None,
        })
    }

    /// An announced address as it can be used here. A loopback address of another machine can't, nor can a link-local one without
    /// its scope; but if the join came over its author's own link, that link's address takes its place.
    fn reachable(&self, announced: SocketAddr, signal: &Signal<'_>) -> Option<SocketAddr> {
        let link = plain(signal.addr?);
        let here = link.ip().is_loopback() || (self.config.udp.ip().is_loopback() && self.outside.is_none());
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
    fn take_join(&mut self, now: Now, id: &NodeId, member: Member, io: &mut dyn Io) -> Option<()> {
        let heard = !member.direct && self.is_heard(now, id);
        let room = member.room.clone();
        let here = self.call.as_ref().is_some_and(|call| call.room == room);
        let is_in = self.roster.get(id).is_some_and(|before| before.room == room);
        if self.roster.get(id).is_none() {
            // In the room where this node is, whoever is elsewhere makes way.
            let is_sure = |id: &NodeId, member: &Member| !here && (member.sign.is_some() || io.is_neighbour(id.into()));
            let own = self.call.as_ref().map_or(&*room, |call| &*call.room);
            if let Some(other) = self.roster.eviction_candidate_outside(own, is_sure) {
                self.member_left(&other, io);
            }
        }
        let other = self.roster.eviction_candidate_in(&room, |id| io.is_neighbour(id.into()));
        if let Some(other) = other.filter(|_| !is_in) {
            self.member_left(&other, io);
        }
        let before = self.roster.get(id).map(|before| (before.username.clone(), before.told));
        let paid = member.paid;
        match self.roster.join(id, member, heard) {
            Joined::Refused => return None,
            Joined::Held => {}
            Joined::Known { muted_changed } => {
                if muted_changed {
                    self.mute_stream(id, io);
                }
                self.renew_stream(now, id, io);
            }
            Joined::New { from } => {
                if let (Some(room), Some((username, told))) = (from, before) {
                    self.tell_left(&room, id, &username, told, io);
                }
                self.on_joined(now, id, io);
            }
        }
        if paid {
            self.tell_client(id, io);
        }
        self.schedule_tick(now);
        Some(())
    }

    /// Whether a member's own datagrams are coming.
    fn is_heard(&self, now: Now, id: &NodeId) -> bool {
        let stream = self.call.as_ref().and_then(|call| call.streams.get(id));
        stream.is_some_and(|stream| stream.path.is_alive(now.mono))
    }

    /// A new member: its stream, and an answer.
    fn on_joined(&mut self, now: Now, id: &NodeId, io: &mut dyn Io) {
        let Some(room) = self.roster.get(id).map(|member| member.room.clone()) else { return };
        self.renew_stream(now, id, io);
        if let Some(call) = self.call.as_mut().filter(|call| call.room == room) {
            if now.mono.duration_since(call.answers_since) >= ANSWER_EVERY {
                (call.answers, call.answers_since) = (call.answers.saturating_sub(1), now.mono);
            }
            // Spread over time: all members answer the same join.
            let wait = match call.answers {
                n if n < ANSWERS => std::time::Duration::from_millis(60),
                _ => ANSWER_EVERY,
            };
            call.answers = (call.answers + 1).min(ANSWERS);
            call.announce_at = call.announce_at.min(now.mono + self.chance.jitter(wait));
        }
    }

    /// Tells clients what they have not been told of a member: that it is there, or whether it is muted.
    fn tell_client(&mut self, id: &NodeId, io: &mut dyn Io) {
        let Some(member) = self.roster.get_mut(id) else { return };
        let muted = member.muted;
        let told = member.told.replace(muted);
        let (room, username) = (member.room.clone(), member.username.clone());
        if told == Some(muted) || !self.shows(&room, io) {
            return;
        }
        let peer = &*id.text();
        io.emit(match told {
            None => Event::Joined { room: &room, peer, username: &username, muted },
            Some(_) => Event::Muted { room: &room, peer, muted },
        });
    }

    /// Tells clients of what was over a rate, as far as it can be paid for by now, and of the members that were heard meanwhile.
    /// Whether anything is left.
    pub(super) fn tell_gathered(&mut self, now: Now, io: &mut dyn Io) -> bool {
        let untold = self.roster.iter().filter(|(_, member)| member.told != Some(member.muted));
        let mut untold: Vec<_> = untold.map(|(id, it)| (it.said, it.via, it.sign.is_some(), id.clone())).collect();
        untold.sort_unstable();
        let mut left = false;
        for (_, via, is_heard, id) in untold {
            if is_heard || io.is_neighbour((&id).into()) || self.rates.pay(now.mono, via) {
                if let Some(member) = self.roster.get_mut(&id) {
                    member.paid = true;
                }
                self.tell_client(&id, io);
            } else {
                left = true;
            }
        }
        left
    }

    /// Whether a signal would change what a client is told: that is what is limited.
    fn would_change(&self, signal: &Signal<'_>) -> bool {
        let member = self.roster.get(signal.from).filter(|member| *member.room == *signal.room);
        let Some(member) = member else { return signal.kind == "voice_join" };
        match signal.kind {
            "voice_join" => Level2Fields::read(signal.view)
                .is_some_and(|(session, fields)| Some(session) != member.session || fields.muted != member.muted),
            "voice_leave" => true,
            _ => signal.view.muted.boolean() != Some(member.muted),
        }
    }

    /// Whether a signal is of the member that it names: in that room, and that session. If so: its sequence number, if it is
    /// signed.
    fn is_of_member(&self, signal: &Signal<'_>) -> Option<Option<SeqNo>> {
        let member = self.roster.get(signal.from).filter(|member| *member.room == *signal.room)?;
        let is_its_session = member.session == Level2Fields::read(signal.view).map(|(session, _)| session);
        is_its_session.then(|| signed::seq_no(signal.view).filter(|_| signal.verified))
    }

    fn on_leave(&mut self, now: Now, signal: &Signal<'_>, seq: Option<SeqNo>, io: &mut dyn Io) -> Option<()> {
        let id: NodeId = signal.from.into();
        let heard = self.is_heard(now, &id);
        let member = self.roster.get_mut(&id)?;
        if seq < member.seq {
            return None;
        }
        member.latest = member.latest.max(seq);
        member.leaving = seq.is_none() && heard && !signal.direct;
        if !member.leaving {
            self.member_left(&id, io);
        }
        Some(())
    }

    fn on_mute(
        &mut self,
        now: Now,
        signal: &Signal<'_>,
        (muted, seq, paid): (bool, Option<SeqNo>, bool),
        io: &mut dyn Io,
    ) -> Option<()> {
        let member = self.roster.get_mut(signal.from)?;
        if seq < member.latest {
            return None;
        }
        (member.latest, member.via, member.paid) = (seq, signal.link, member.paid || paid);
        if std::mem::replace(&mut member.muted, muted) != muted {
            let id = signal.from.into();
            self.mute_stream(&id, io);
            match paid {
                true => self.tell_client(&id, io),
                false => self.tick_soon(now),
            }
        }
        Some(())
    }

    /// A member that has muted itself is not heard, and does not speak.
    fn mute_stream(&mut self, id: &NodeId, io: &mut dyn Io) {
        let Some(muted) = self.roster.get(id).map(|member| member.muted) else { return };
        if muted {
            self.set_speaking(id, false, io);
        }
        if let Some(stream) = self.call.as_mut().and_then(|call| call.streams.get_mut(id)) {
            stream.speaker.mute(muted);
        }
    }

    /// A member has left: clients are told if they had been told that it was there.
    fn tell_left(&mut self, room: &str, id: &NodeId, username: &str, told: Option<bool>, io: &mut dyn Io) {
        if self.call.as_ref().is_some_and(|call| &*call.room == room) {
            self.drop_stream(id, io);
        }
        if let Some(muted) = told.filter(|_| self.shows(room, io)) {
            io.emit(Event::Left { room, peer: &id.text(), username, muted });
        }
    }

    fn member_left(&mut self, id: &NodeId, io: &mut dyn Io) {
        if let Some(member) = self.roster.leave(id) {
            self.tell_left(&member.room, id, &member.username, member.told, io);
        }
    }

    /// Forgets the members with such an id, as if they had never joined.
    pub fn forget_members(&mut self, is: impl Fn(&str) -> bool, io: &mut dyn Io) {
        let ids: Vec<NodeId> = self.roster.iter().map(|(id, _)| id.clone()).filter(|id| is(&id.text())).collect();
        for id in ids {
            if let Some(member) = self.roster.forget(&id) {
                self.tell_left(&member.room, &id, &member.username, member.told, io);
            }
        }
    }

    /// Drops the members of which there is no sign any more, and believes what others said of those that have fallen silent.
    pub(super) fn drop_vanished(&mut self, now: Now, io: &mut dyn Io) {
        for id in self.roster.gone(now.mono, |id| io.is_neighbour(id.into())) {
            self.member_left(&id, io);
        }
        let doubted = self.roster.iter().filter(|(_, member)| member.leaving || member.claim.is_some());
        let doubted: Vec<NodeId> = doubted.map(|(id, _)| id.clone()).collect();
        for id in doubted.into_iter().filter(|id| !self.is_heard(now, id)).collect::<Vec<_>>() {
            let Some(member) = self.roster.get_mut(&id) else { continue };
            let (leaving, claim) = (member.leaving, member.claim.take());
            if leaving {
                self.member_left(&id, io);
            }
            if let Some(claim) = claim {
                self.take_join(now, &id, *claim, io);
            }
        }
    }

    /// Our last join once more, as it went: a node that has had it takes no notice. If something in it has changed, a new one.
    pub(super) fn own_join(&mut self, io: &mut dyn Io) -> Option<Bytes> {
        let call = self.call.as_ref()?;
        if let Some(join) = &call.join {
            return Some(io.out().write(|buffer| buffer.extend_from_slice(join)));
        }
        self.write_signal(Kind::Join, io).map(|written| written.frame)
    }

    /// Tells everyone, or tells again, that we are in voice.
    pub fn announce(&mut self, now: Now, io: &mut dyn Io) {
        let Some(call) = &mut self.call else { return };
        call.announce_at = now.mono + VOICE_REJOIN;
        self.publish(Kind::Join, io);
    }

    pub(super) fn announce_leave(&mut self, io: &mut dyn Io) {
        self.publish(Kind::Leave, io);
    }

    pub(super) fn announce_muted(&mut self, now: Now, io: &mut dyn Io) {
        if let Some(call) = &mut self.call {
            call.join = None;
            // Others keep the join for nodes to come, to whom it must not say the contrary for long.
            call.announce_at = call.announce_at.min(now.mono + ANSWER_EVERY);
        }
        self.publish(Kind::Muted, io);
    }

    /// Sends a signal to everyone.
    fn publish(&mut self, kind: Kind, io: &mut dyn Io) {
        let Some(written) = self.write_signal(kind, io) else { return };
        let Some(call) = &self.call else { return };
        io.hand_out(&written.id, &call.room, written.number, &written.frame);
    }

    /// Writes a signal, whose id counts as seen from then on.
    fn write_signal(&mut self, kind: Kind, io: &mut dyn Io) -> Option<Written> {
        let call = self.call.as_ref()?;
        let (room, username) = (call.room.clone(), io.username().to_owned());
        let (session, muted) = (format!("{:016x}", call.sealer.session()), call.muted);
        let codecs = if call.talker.has_codec() { CODECS } else { &[] };
        let id = self.chance.uuid();
        let seq = io.next_seq_no();
        let announced = if kind == Kind::Join { self.announced_key(seq, io)? } else { Announced::default() };
        let begun = io.begin_message(&id)?;
        let signal = VoiceSignal {
            id: &id,
            from: &self.id.text(),
            username: &username,
            room: &room,
            muted: (kind == Kind::Muted).then_some(muted),
            ttl: MAX_TTL,
            ttl0: MAX_TTL,
            ts: &rfc3339(begun.stamp),
            voice: outgoing::Voice {
                session: &session,
                key: announced.key.as_deref(),
                sealed_key: announced.sealed_key.as_deref(),
                encrypted_key: announced.encrypted_key.as_deref(),
                codecs,
                muted,
            },
        };
        let udp_host = self.announced_host().to_string();
        let message = match kind {
            Kind::Join => {
                Message::VoiceJoin(VoiceJoin { signal, udp_host: &udp_host, udp_port: self.config.udp.port() })
            }
            Kind::Leave => Message::VoiceLeave(signal),
            Kind::Muted => Message::VoiceMuteStatus(signal),
        };
        let signed = io.sign(&message, seq)?;
        let frame = io.out().write(|buffer| buffer.extend_from_slice(&signed));
        if let (Kind::Join, Some(call)) = (kind, &mut self.call) {
            call.join = Some(signed.into());
        }
        Some(Written { id, number: begun.number, frame })
    }
}

/// A signal of ours, written.
struct Written {
    id: String,
    /// Its number among the ids seen.
    number: u64,
    frame: Bytes,
}

/// The signals that we send.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Join,
    Leave,
    Muted,
}
