//! A message's way through the node: taken once, shown, kept, passed on.

use std::borrow::Cow;
use std::rc::Rc;

use serde_json::value::RawValue;

use super::ahead::{Looked, Verdict};
use super::links::Stage;
use super::{LinkId, Node, Now, Outbox};
use crate::api::event::{self, DropCause, Dropped, Event, Forwarded};
use crate::api::line::to_json;
use crate::base::rfc3339;
use crate::call::{Signal, is_signal};
use crate::gossip::history::Kept;
use crate::wire::limits::{MAX_TEXT, MAX_TTL, TTL_NEAR_END};
use crate::wire::message::{Refusal, Ttl, View};
use crate::wire::room_key;
use crate::wire::signed::{self, Signed};

/// The longest text that is sealed by either scheme, in characters.
const MAX_SEALED: usize = room_key::sealed_len(MAX_TEXT);

/// What a relay needs to know of a message.
struct Header<'a> {
    id: Cow<'a, str>,
    from: Cow<'a, str>,
    username: Option<Cow<'a, str>>,
    room: Option<Cow<'a, str>>,
    /// Its type.
    kind: Cow<'a, str>,
}

impl Header<'_> {
    fn is_chat(&self) -> bool {
        self.kind == "chat"
    }
}

/// A copy of a message that came from a neighbour.
struct Arrival<'m> {
    view: &'m View<'m>,
    header: &'m Header<'m>,
    /// The neighbour.
    via: Rc<str>,
    /// The message's number among those seen.
    number: u64,
    /// Forwards that this copy has left, and what it started with.
    left: u8,
    ttl0: u8,
    /// Whether its author's signature is right.
    verified: bool,
}

impl Arrival<'_> {
    /// What a signature tells: the author, and the `ttl` it started with, so that nobody can make it live longer.
    fn is_said_by(&mut self, signed: Option<&Signed>) {
        self.verified = signed.is_some();
        if let Some(signed) = signed {
            self.ttl0 = signed.ttl0;
            self.left = self.left.min(signed.ttl0);
        }
    }
}

/// How a message was handed out.
pub struct Handed {
    /// To how many neighbours.
    pub to: usize,
    /// Those whose queue was full.
    pub missed: Vec<Rc<str>>,
}

impl Node {
    /// A frame came from a link.
    pub(super) fn frame_came(&mut self, now: Now, id: LinkId, frame: &[u8], looked: Looked<'_>, out: &mut Outbox) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.stage == Stage::Greeting {
            return self.greeted(now, id, frame, out);
        }
        if !std::mem::replace(&mut link.proven, true) {
            self.proven(now, id, out);
        }
        let view = match looked.view {
            Ok(view) => view,
            Err(refusal) => return self.refused(now, id, refusal, out),
        };
        let kind = match view.kind.name() {
            Ok(kind) => kind,
            Err(refusal) => return self.refused(now, id, refusal, out),
        };
        if self.neighbour_said(now, id, &kind, &view, out) {
            return;
        }
        let ttl = match (&*kind, view.ttl.ttl()) {
            // Has none in the original; the first node of ours gives it one, so that it crosses hops, too.
            ("voice_mute_status", Ttl::None) if !view.ttl.is_some() => Ttl::Left(MAX_TTL),
            (_, ttl) => ttl,
        };
        let is_chat = kind == "chat";
        if !is_chat && (ttl == Ttl::None || kind == "hello") {
            self.may_be_a_host(id, &kind, &view);
            // What some versions of the original send without `ttl` claims an authority that nobody has here.
            return self.counters.drop(DropCause::Ignored);
        }
        match header(&view, kind) {
            Ok(header) => self.message_came(now, id, (&view, looked.verdict), &header, ttl, out),
            Err(refusal) => self.refused(now, id, refusal, out),
        }
    }

    /// The host of a star-shaped version lists its clients and its settings; nobody else does. It is no authority for us, but
    /// its voice is a mix: see [`call`](crate::call).
    fn may_be_a_host(&mut self, id: LinkId, kind: &str, view: &View<'_>) {
        let Some(peer) = self.links.get_mut(&id).and_then(|link| link.peer.as_mut()) else { return };
        peer.is_host |= peer.level == 1
            && matches!(kind, "peer_list" | "channel_config")
            && view.from.string().is_ok_and(|it| *it == *peer.id);
    }

    fn refused(&mut self, now: Now, id: LinkId, refusal: Refusal, out: &mut Outbox) {
        match refusal {
            Refusal::Malformed => self.malformed(now, id, out),
            Refusal::OverLimit => self.counters.drop(DropCause::OverLimit),
        }
    }

    fn message_came(
        &mut self,
        now: Now,
        link: LinkId,
        (view, verdict): (&View<'_>, Option<Verdict>),
        header: &Header<'_>,
        ttl: Ttl,
        out: &mut Outbox,
    ) {
        let Some(via) = self.links.get(&link).and_then(|link| link.peer.as_ref()).map(|peer| peer.id.clone()) else {
            return;
        };
        if self.blocks.has_author(&header.from) {
            self.counters.drop(DropCause::Blocked);
            return self.tell_dropped(header, Some(&via), DropCause::Blocked, out);
        }
        let direct = *header.from == *via;
        if direct {
            self.neighbour_spoke(now, link);
        }
        let left = match ttl {
            Ttl::Left(left) => left,
            Ttl::None => 0,
        };
        let (_, ttl0) = view.hops(left);
        if *header.from != *via && left == MAX_TTL && view.ttl0.ttl() == Ttl::Left(MAX_TTL) {
            // Passed on, and no forward used up: only the host of a star-shaped version does that.
            if let Some(peer) = self.links.get_mut(&link).and_then(|link| link.peer.as_mut()) {
                peer.is_host |= peer.level == 1;
            }
        }
        let mut copy = Arrival { view, header, via, number: 0, left, ttl0, verified: false };
        let author = signed::claims(view).then_some(&*header.from);
        if let Some(known) = self.seen.get(&header.id, author) {
            copy.number = known.number;
            return self.copy_came(now, link, copy, known.best_ttl, out);
        }
        let signed = match self.who_said(now, link, view, &header.from, verdict, out) {
            Ok(Some(signed)) if !self.is_new_place(&header.from, &signed) => {
                return self.drop_message(&copy, DropCause::Replayed, out);
            }
            Ok(signed) if !direct && !self.may_pass(now, link, &header.from, signed.is_some()) => {
                return self.drop_message(&copy, DropCause::Rate, out);
            }
            Ok(signed) => signed,
            Err(cause) => return self.drop_message(&copy, cause, out),
        };
        if let Some(signed) = &signed {
            self.take_place(&header.from, signed, out);
        }
        copy.is_said_by(signed.as_ref());
        let (left, hops) = (copy.left, u32::from(copy.ttl0.saturating_sub(copy.left)) + 1);
        let Ok(number) = self.seen.insert(&header.id, author, left) else { return };
        copy.number = number;
        self.counters.received += 1;
        let received_at = self.stamps.next(now);
        let trace = self.traces.begin(number, &header.from, hops, now.mono, received_at);
        trace.via = Some(copy.via.clone());
        if let Some(username) = header.username.as_deref().filter(|_| *header.from == *copy.via) {
            self.neighbour_is_named(link, username, out);
        }
        if left > 1 {
            self.pass_on(now, &copy, false, out);
        }
        if header.is_chat() {
            let (via, verified) = (Some(copy.via), copy.verified);
            let kept = Kept { pos: 0, received_at, hops, via, verified, frame: view.bytes().into() };
            self.show(view, header, number, kept, out);
        } else {
            self.signal_came(now, link, &copy, out);
        }
    }

    /// A message came that may be a signal of voice.
    fn signal_came(&mut self, now: Now, link: LinkId, copy: &Arrival<'_>, out: &mut Outbox) {
        let Arrival { view, header, via, left, ttl0, .. } = copy;
        if !is_signal(&header.kind) {
            return;
        }
        let (Some(username), Some(room)) = (&header.username, &header.room) else {
            return self.with_calls(now, out, |calls, _| calls.refuse_signal());
        };
        let direct = *header.from == **via;
        let (kind, from, left, ttl0) = (&header.kind, &header.from, *left, *ttl0);
        let (verified, addr) = (copy.verified, self.links.get(&link).map(|link| link.addr));
        let signal = Signal { view, kind, from, username, room, left, ttl0, link, addr, direct, verified };
        self.with_calls(now, out, |calls, io| calls.on_signal(now, &signal, io));
    }

    /// A copy of a message that has been taken. It goes no further, unless an earlier copy came by so long a way that it
    /// may have died near here while this one has more forwards left: see [`TTL_NEAR_END`]. It is not looked at whose it is,
    /// but where that counts: a copy need not be what it seems to be a copy of.
    fn copy_came(&mut self, now: Now, link: LinkId, mut copy: Arrival<'_>, best: u8, out: &mut Outbox) {
        let header = copy.header;
        let again = |copy: &Arrival<'_>| best < TTL_NEAR_END && copy.left > best && copy.left > 1;
        // Others were faster; but only now is it its author who says so.
        let says_so = *header.from == *copy.via && is_signal(&header.kind);
        if again(&copy) || says_so {
            match self.who_said(now, link, copy.view, &header.from, None, out) {
                Ok(signed) => copy.is_said_by(signed.as_ref()),
                Err(cause) => return self.drop_message(&copy, cause, out),
            }
        }
        self.counters.duplicates += 1;
        if let Some(trace) = self.traces.get_mut(copy.number) {
            trace.copies += 1;
        }
        if again(&copy) {
            self.seen.raise(copy.number, copy.left);
            self.pass_on(now, &copy, true, out);
        }
        self.tell_dropped(header, Some(&copy.via), DropCause::Duplicate, out);
        if says_so {
            self.signal_came(now, link, &copy, out);
        }
    }

    /// Drops a message that is not to be believed.
    fn drop_message(&mut self, copy: &Arrival<'_>, cause: DropCause, out: &mut Outbox) {
        self.counters.drop(cause);
        self.tell_dropped(copy.header, Some(&copy.via), cause, out);
    }

    /// Passes a message on to every neighbour but the one it came from; a second time only to those that are ours,
    /// since an original ignores what it has seen.
    fn pass_on(&mut self, now: Now, copy: &Arrival<'_>, again: bool, out: &mut Outbox) {
        let Arrival { view, header, via, number, left, ttl0, .. } = copy;
        if self.neighbours.len() < 2 && self.neighbours.get(via).is_some() {
            return;
        }
        let bytes = out.write(|buffer| view.relay(left - 1, *ttl0, buffer));
        let Handed { to, missed } = self.hand_out(now, *number, Some(via), again, &bytes, out);
        self.tell_missed((&header.id, header.room.as_deref(), &header.from, Some(via)), &missed, out);
        if to == 0 {
            return;
        }
        self.counters.forwarded += u64::from(!again);
        if self.is_wanted(crate::api::EventKind::Forwarded) {
            let handed = self.traces.get_mut(*number).map(|trace| trace.links.iter().rev().take(to)).into_iter();
            let mut to: Vec<Rc<str>> = handed.flatten().map(|(peer, ..)| peer.clone()).collect();
            to.reverse();
            let event = Forwarded {
                id: &header.id,
                room: header.room.as_deref(),
                from: &header.from,
                via,
                to: to.iter().map(|peer| &**peer).collect(),
            };
            self.emit(&Event::Forwarded(event), out);
        }
    }

    /// Hands a message to every neighbour but one. Gives the number of those who got it.
    pub(super) fn hand_out(
        &mut self,
        now: Now,
        number: u64,
        but: Option<&Rc<str>>,
        only_ours: bool,
        bytes: &super::Bytes,
        out: &mut Outbox,
    ) -> Handed {
        let mut to = 0;
        let mut missed = Vec::new();
        // Queueing does not change the list.
        for place in 0..self.neighbours.len() {
            let Some(neighbour) = self.neighbours.at(place) else { break };
            if but == Some(&neighbour.id) || (only_ours && !neighbour.ours) {
                continue;
            }
            let (peer, link) = (neighbour.id.clone(), neighbour.link);
            if !self.queue(now, link, bytes, out) {
                missed.push(peer);
                continue;
            }
            to += 1;
            if let Some(trace) = self.traces.get_mut(number)
                && trace.links.len() < self.config.max_links
            {
                trace.links.push((peer, now.mono, false));
            }
        }
        self.counters.copies_out += to as u64;
        Handed { to, missed }
    }

    /// Tells for whom a message was dropped because their queue was full, if anyone wants to know.
    pub(super) fn tell_missed(
        &mut self,
        (id, room, from, via): (&str, Option<&str>, &str, Option<&str>),
        missed: &[Rc<str>],
        out: &mut Outbox,
    ) {
        if !missed.is_empty() && self.is_wanted(crate::api::EventKind::Dropped) {
            let to = missed.iter().map(|peer| &**peer).collect();
            let event = Dropped { id, room, from, via, cause: DropCause::QueueFull, to };
            self.emit(&Event::Dropped(event), out);
        }
    }

    /// Keeps a message. Rooms that are shown or have a key are not forgotten for the sake of a new one.
    pub(super) fn keep(&mut self, room: &str, kept: Kept) -> Option<u64> {
        let (active, listen, keys) = (&self.room, &self.listen, &self.keys);
        self.history.keep(room, kept, |it| it == active || listen.contains(it) || keys.contains_key(it))
    }

    /// Keeps a chat message, and shows it if its room is shown.
    fn show(&mut self, view: &View<'_>, header: &Header<'_>, number: u64, kept: Kept, out: &mut Outbox) {
        let Some(room) = header.room.as_deref() else { return };
        let shown = self.is_shown(room);
        let (received_at, hops, via, verified) = (kept.received_at, kept.hops, kept.via.clone(), kept.verified);
        let mut for_event = shown.then(|| Kept { pos: 0, received_at, hops, via, verified, frame: Box::default() });
        let Some(pos) = self.keep(room, kept) else {
            if let Some(trace) = self.traces.get_mut(number) {
                trace.dropped = Some(DropCause::TooManyRooms);
            }
            self.counters.drop(DropCause::TooManyRooms);
            return;
        };
        if let Some(kept) = &mut for_event {
            kept.pos = pos;
            let line = self.message_line(view, kept, true);
            if let Some(line) = line {
                self.emit_line(crate::api::EventKind::Message, line, out);
            }
        }
    }

    /// The event `message` of a kept message: as a line of output, or as an entry of `history`. `None` if its frame is
    /// not one that is kept.
    pub(super) fn message_line(&self, view: &View<'_>, kept: &Kept, as_event: bool) -> Option<String> {
        let room = view.room.name().ok()?;
        let from = view.from.name().ok()?;
        let opened = self.open(view, &room, &from);
        let meta = opened.meta.and_then(|meta| RawValue::from_string(meta).ok());
        let message = event::Message {
            id: &view.id.name().ok()?,
            room: &room,
            from: &from,
            username: &view.username.name().ok()?,
            text: opened.text.as_deref(),
            error: opened.error,
            ts: &view.ts.time().ok()?,
            received_at: &rfc3339(kept.received_at),
            pos: kept.pos,
            hops: kept.hops,
            via: kept.via.as_deref(),
            encrypted: opened.encrypted,
            verified: kept.verified,
            own: kept.via.is_none(),
            caught_up: false,
            meta: meta.as_deref(),
        };
        Some(if as_event { to_json(&Event::Message(message)) } else { to_json(&message) })
    }

    /// Tells that a message went no further, if anyone wants to know.
    fn tell_dropped(&mut self, header: &Header<'_>, via: Option<&str>, cause: DropCause, out: &mut Outbox) {
        if self.is_wanted(crate::api::EventKind::Dropped) {
            let event = Dropped {
                id: &header.id,
                room: header.room.as_deref(),
                from: &header.from,
                via,
                cause,
                to: Vec::new(),
            };
            self.emit(&Event::Dropped(event), out);
        }
    }
}

/// Reads what a relay needs to know, and checks all that is known of a message's fields.
fn header<'a>(view: &View<'a>, kind: Cow<'a, str>) -> Result<Header<'a>, Refusal> {
    let is_chat = kind == "chat";
    let header = Header {
        id: view.id.name()?,
        from: if is_chat { view.from.name()? } else { view.from.name_if_any()?.unwrap_or_default() },
        username: if is_chat { Some(view.username.name()?) } else { view.username.name_if_any()? },
        room: if is_chat { Some(view.room.name()?) } else { view.room.name_if_any()? },
        kind,
    };
    if is_chat {
        view.ts.time()?;
        view.meta.object()?;
        view.msg.text()?;
        for sealed in [view.encrypted_msg, view.encrypted_meta, view.sealed_msg, view.sealed_meta] {
            if sealed.is_some() && sealed.json() != Some("null") && sealed.string()?.len() > MAX_SEALED {
                return Err(Refusal::OverLimit);
            }
        }
    }
    Ok(header)
}
