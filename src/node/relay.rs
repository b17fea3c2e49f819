//! A message's way through the node: admitted, passed on, kept and shown.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{Bytes, LinkId, Node, Now, Outbox, Table};
use crate::api::EventKind;
use crate::api::event::{self, Dropped, Event, Forwarded, WarningCode};
use crate::api::line::to_json;
use crate::base::form::difference;
use crate::base::{DropCause, NodeId, NodeIdRef, rfc3339};
use crate::call::{Signal, is_signal};
use crate::gossip::batch::Parsed;
use crate::gossip::{Admission, Bringer, Copy, Verdict, Way};
use crate::history::{Kept, Label};
use crate::link::Links;
use crate::rooms::Rooms;
use crate::wire::control::{Control, Malformed, is_for_neighbours};
use crate::wire::limits::{MAX_FRAME, MAX_TEXT, MAX_TTL};
use crate::wire::message::{Refusal, Ttl, View};
use crate::wire::room_key;

/// The longest text that is sealed by either scheme, in characters.
const MAX_SEALED: usize = room_key::sealed_len(MAX_TEXT);

/// The fields of a message that a relay needs.
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

/// How a message was handed out.
pub struct Handed {
    /// To how many neighbours.
    pub to: usize,
    /// Those whose queue was full.
    pub missed: Vec<NodeId>,
}

impl Node {
    /// Handles a frame that came after hello.
    pub(super) fn on_frame(&mut self, now: Now, id: LinkId, parsed: Parsed<'_>, out: &mut Outbox) {
        let frame = parsed.frame;
        let kind = parsed.view.as_ref().map_err(|refusal| *refusal).and_then(|view| view.kind.name());
        let (Ok(view), Ok(kind)) = (&parsed.view, &kind) else {
            return self.frame_refused(now, id, frame, kind.err().unwrap_or(Refusal::Malformed), out);
        };
        let Some(peer) = self.links.peer(id) else { return };
        if let Some(control) = Control::read(kind, view).filter(|_| peer.is_level2()) {
            match control {
                Ok(control) => self.on_control(now, id, control, out),
                Err(Malformed) => self.links.on_malformed(now, id, frame, out),
            }
            return self.hear_links(now, out);
        }
        let ttl = match (&**kind, view.ttl.ttl()) {
            // Has none in the original; the first node of ours gives it one, so that it crosses hops, too.
            ("voice_mute_status", Ttl::None) if !view.ttl.is_some() => Ttl::Left(MAX_TTL),
            (_, ttl) => ttl,
        };
        if *kind != "chat" && (ttl == Ttl::None || is_for_neighbours(kind)) {
            // The host of a star-shaped version lists its clients and its settings; nobody else does. It is no authority for us,
            // but its voice is a mix: see `call`.
            if matches!(&**kind, "peer_list" | "channel_config") && view.from.string().is_ok_and(|it| peer.id.is(&it)) {
                self.links.mark_host(id);
            }
            // What some versions of the original send without `ttl` claims an authority that nobody has here.
            return self.counters.drop(DropCause::Ignored);
        }
        match header(view, kind).and_then(|header| if fits(view, ttl) { Ok(header) } else { Err(Refusal::OverLimit) }) {
            Ok(header) => self.on_message(now, id, (view, parsed.verdict), &header, ttl, out),
            Err(refusal) => self.frame_refused(now, id, frame, refusal, out),
        }
    }

    fn frame_refused(&mut self, now: Now, id: LinkId, frame: &[u8], refusal: Refusal, out: &mut Outbox) {
        match refusal {
            Refusal::Malformed => {
                self.links.on_malformed(now, id, frame, out);
                self.hear_links(now, out);
            }
            Refusal::OverLimit => self.counters.drop(DropCause::OverLimit),
        }
    }

    /// Handles a message: it is admitted or not, and then passed on, kept and shown, or taken by voice.
    fn on_message(
        &mut self,
        now: Now,
        link: LinkId,
        (view, verdict): (&View<'_>, Option<Verdict>),
        header: &Header<'_>,
        ttl: Ttl,
        out: &mut Outbox,
    ) {
        let Some(via) = self.links.peer(link).map(|peer| peer.id.clone()) else { return };
        if self.links.blocks().has_author(&header.from) {
            return self.drop_message(header, &via, DropCause::Blocked, out);
        }
        let direct = via.is(&header.from);
        if direct {
            self.links.on_said(now, link);
        }
        let left = match ttl {
            Ttl::Left(left) => left,
            Ttl::None => 0,
        };
        let (_, ttl0) = view.hops(left);
        if !direct && left == MAX_TTL && view.ttl0.ttl() == Ttl::Left(MAX_TTL) {
            // Passed on, and no forward used up: only the host of a star-shaped version does that.
            self.links.mark_host(link);
        }
        let is_signal = is_signal(&header.kind);
        let (id, from, wants_author) = (&*header.id, &*header.from, direct && is_signal);
        let copy = Copy { view, id, from, direct, via: &via, left, ttl0, wants_author };
        let mut bringer = LinkBringer { links: &mut self.links, now, link };
        match self.gossip.admit(now, &copy, verdict, &mut bringer) {
            Admission::New(way) => {
                if way.is_verified() {
                    self.keep_author(&header.from, out);
                }
                let received_at = self.stamps.next(now);
                self.gossip.begin_trace(now, &copy, way, received_at);
                if let Some(username) = header.username.as_deref().filter(|_| direct) {
                    self.links.on_username(link, username);
                    self.hear_links(now, out);
                }
                let may_pass = !is_signal || self.on_signal(now, link, view, header, direct, way, out);
                if way.left > 1 && may_pass {
                    self.pass_on(now, &copy, header, way, false, out);
                }
                if header.is_chat() {
                    let (hops, verified) = (way.hops(), way.is_verified());
                    let kept = Kept { pos: 0, received_at, hops, via: Some(via), verified, frame: view.bytes().into() };
                    self.show(now, view, header, way, kept, out);
                }
            }
            Admission::Copy { way, again } => {
                if again {
                    self.pass_on(now, &copy, header, way, true, out);
                }
                self.tell_dropped(header, &via, DropCause::Duplicate, out);
                if wants_author {
                    self.on_signal(now, link, view, header, direct, way, out);
                }
            }
            Admission::Refused { cause, blame } => {
                if let Some(bad) = blame {
                    self.links.on_bad_signature(now, link, &bad.to_string(), out);
                    self.hear_links(now, out);
                }
                self.drop_message(header, &via, cause, out);
            }
        }
    }

    /// Keeps what has been seen of an author.
    fn keep_author(&mut self, author: &str, out: &mut Outbox) {
        if self.has_state() {
            let row = self.gossip.author_row(&author.into());
            self.store(Table::Replay, author, row, out);
        }
        while let Some(forgotten) = self.gossip.forget_author() {
            self.store(Table::Replay, &forgotten.text(), None, out);
        }
    }

    /// Gives a signal to voice. Whether it may be passed on.
    #[allow(clippy::too_many_arguments, reason = "all of it is one signal")]
    fn on_signal(
        &mut self,
        now: Now,
        link: LinkId,
        view: &View<'_>,
        header: &Header<'_>,
        direct: bool,
        way: Way,
        out: &mut Outbox,
    ) -> bool {
        let (Some(username), Some(room)) = (&header.username, &header.room) else {
            self.with_calls(now, out, |calls, _| calls.refuse_signal());
            return true;
        };
        let (kind, from, verified) = (&*header.kind, NodeIdRef::from(&*header.from), way.is_verified());
        let (left, ttl0, addr) = (way.left, way.ttl0, self.links.get(link).map(|link| link.addr()));
        let signal = Signal { view, kind, from, username, room, left, ttl0, link, addr, direct, verified };
        self.with_calls(now, out, |calls, io| calls.on_signal(now, &signal, io))
    }

    /// Drops a message.
    fn drop_message(&mut self, header: &Header<'_>, via: &NodeId, cause: DropCause, out: &mut Outbox) {
        self.counters.drop(cause);
        self.tell_dropped(header, via, cause, out);
    }

    /// Passes a message on to every neighbour but the one it came from; a second time (`again`) only to those of level 2,
    /// since an original ignores what it has seen.
    fn pass_on(&mut self, now: Now, copy: &Copy<'_>, header: &Header<'_>, way: Way, again: bool, out: &mut Outbox) {
        let neighbours = self.links.neighbours();
        if neighbours.len() < 2 && neighbours.get(copy.via).is_some() {
            return;
        }
        let bytes = out.write(|buffer| copy.view.relay(way.left - 1, way.ttl0, buffer));
        let Handed { to, missed } = self.hand_out(now, way.number, Some(copy.via), again, &bytes, out);
        self.tell_missed((copy.id, header.room.as_deref(), copy.from, Some(copy.via)), &missed, out);
        self.gossip.on_handed(to, !again);
        if to > 0 && self.is_wanted(EventKind::Forwarded) {
            let handed = self.gossip.trace_mut(way.number).map(|trace| trace.links.iter().rev().take(to)).into_iter();
            let mut to: Vec<NodeId> = handed.flatten().map(|(peer, ..)| peer.clone()).collect();
            to.reverse();
            let to: Vec<_> = to.iter().map(NodeId::text).collect();
            let event = Forwarded {
                id: copy.id,
                room: header.room.as_deref(),
                from: copy.from,
                via: &copy.via.text(),
                to: to.iter().map(|peer| &**peer).collect(),
            };
            self.emit(&Event::Forwarded(event), out);
        }
    }

    /// Hands a message to every neighbour but one; `only_level2`: to those of level 2 alone.
    pub(super) fn hand_out(
        &mut self,
        now: Now,
        number: u64,
        but: Option<&NodeId>,
        only_level2: bool,
        bytes: &Bytes,
        out: &mut Outbox,
    ) -> Handed {
        let mut to = 0;
        let mut missed = Vec::new();
        let mut trace = self.gossip.trace_mut(number);
        let most = self.config.max_links;
        self.links.queue_for_neighbours(now, (but, only_level2), bytes, out, |peer, taken| {
            if !taken {
                return missed.push(peer.clone());
            }
            to += 1;
            if let Some(trace) = &mut trace
                && trace.links.len() < most
            {
                trace.links.push((peer.clone(), now.mono, false));
            }
        });
        self.hear_links(now, out);
        Handed { to, missed }
    }

    /// Tells for whom a message was dropped because their queue was full, if anyone wants to know.
    pub(super) fn tell_missed(
        &mut self,
        (id, room, from, via): (&str, Option<&str>, &str, Option<&NodeId>),
        missed: &[NodeId],
        out: &mut Outbox,
    ) {
        if !missed.is_empty() && self.is_wanted(EventKind::Dropped) {
            let (via, to) = (via.map(NodeId::text), missed.iter().map(NodeId::text).collect::<Vec<_>>());
            let to = to.iter().map(|peer| &**peer).collect();
            let event = Dropped { id, room, from, via: via.as_deref(), cause: DropCause::QueueFull, to };
            self.emit(&Event::Dropped(event), out);
        }
    }

    /// Keeps a message. Rooms that are shown or have a key are not forgotten for the sake of a new one.
    pub(super) fn keep(&mut self, room: &str, kept: Kept, label: Label<'_>) -> Option<u64> {
        self.history.keep(room, kept, label, |it| self.rooms.is_pinned(it))
    }

    /// Keeps a chat message, and shows it if its room is shown.
    fn show(&mut self, now: Now, view: &View<'_>, header: &Header<'_>, way: Way, kept: Kept, out: &mut Outbox) {
        let Some(room) = header.room.as_deref() else { return };
        let shown = self.rooms.is_shown(room);
        let (received_at, hops, via, verified) = (kept.received_at, kept.hops, kept.via.clone(), kept.verified);
        let mut for_event = shown.then(|| Kept { pos: 0, received_at, hops, via, verified, frame: Box::default() });
        let label = Label { author: &header.from, id: &header.id, seq: way.seq };
        let Some(pos) = self.keep(room, kept, label) else {
            if let Some(trace) = self.gossip.trace_mut(way.number) {
                trace.dropped = Some(DropCause::TooManyRooms);
            }
            self.counters.drop(DropCause::TooManyRooms);
            return;
        };
        if let Some(kept) = &mut for_event {
            kept.pos = pos;
            let Self { rooms, clients, .. } = self;
            with_message(rooms, view, kept, |message| clients.emit(&Event::Message(message), out));
        } else if let Some(similar) = self.rooms.similar(room) {
            let message = format!(
                "messages come for room `{}`, which is not shown: its name differs from `{}` {}; names are exact, so agree on one, or \
                 `listen` to both",
                room.escape_debug(),
                similar.escape_debug(),
                difference(room, similar)
            );
            self.warn(now, WarningCode::SimilarRoom, &message, out);
        }
    }

    /// A kept message as an entry of `history`. `None` if its frame is not one that is kept.
    pub(super) fn history_entry(&self, view: &View<'_>, kept: &Kept) -> Option<String> {
        with_message(&self.rooms, view, kept, |message| to_json(&message))
    }

    /// Tells that a message went no further, if anyone wants to know.
    fn tell_dropped(&mut self, header: &Header<'_>, via: &NodeId, cause: DropCause, out: &mut Outbox) {
        if self.is_wanted(EventKind::Dropped) {
            let event = Dropped {
                id: &header.id,
                room: header.room.as_deref(),
                from: &header.from,
                via: Some(&via.text()),
                cause,
                to: Vec::new(),
            };
            self.emit(&Event::Dropped(event), out);
        }
    }
}

/// Makes the event `message` of a kept message. `None` if its frame is not one that is kept.
fn with_message<T>(
    rooms: &Rooms,
    view: &View<'_>,
    kept: &Kept,
    then: impl FnOnce(event::Message<'_>) -> T,
) -> Option<T> {
    let room = view.room.name().ok()?;
    let from = view.from.name().ok()?;
    let opened = rooms.open(view, &room, &from);
    let meta = opened.meta.and_then(|meta| RawValue::from_string(meta).ok());
    Some(then(event::Message {
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
        via: kept.via.as_ref().map(NodeId::text).as_deref(),
        encrypted: opened.encrypted,
        verified: kept.verified,
        own: kept.via.is_none(),
        caught_up: false,
        meta: meta.as_deref(),
    }))
}

/// The link that brings a message.
struct LinkBringer<'a> {
    links: &'a mut Links,
    now: Now,
    link: LinkId,
}

impl Bringer for LinkBringer<'_> {
    fn is_signature_budget_spent(&self) -> bool {
        self.links.is_signature_budget_spent(self.now, self.link)
    }

    fn may_pass_unsigned(&mut self) -> bool {
        self.links.may_pass_unsigned(self.now, self.link)
    }
}

/// Whether a message fits in a frame with what a relay adds to it: what does not is taken by no node, whichever it reaches first.
fn fits(view: &View<'_>, ttl: Ttl) -> bool {
    match ttl {
        Ttl::Left(left) => view.relayed_len(left, view.hops(left).1) <= MAX_FRAME,
        Ttl::None => true,
    }
}

/// Reads what a relay needs to know, and checks all that is known of a message's fields.
fn header<'a>(view: &View<'a>, kind: &Cow<'a, str>) -> Result<Header<'a>, Refusal> {
    let is_chat = *kind == "chat";
    let header = Header {
        id: view.id.name()?,
        from: if is_chat { view.from.name()? } else { view.from.name_if_any()?.unwrap_or_default() },
        username: if is_chat { Some(view.username.name()?) } else { view.username.name_if_any()? },
        room: if is_chat { Some(view.room.name()?) } else { view.room.name_if_any()? },
        kind: kind.clone(),
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
