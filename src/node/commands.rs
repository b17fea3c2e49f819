//! What each command does at once. Those that may have to wait go on in [`pending`](super::pending).

use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use super::ClientId;
use super::clients::{Head, MAX_ASYNC};
use super::dial::{State, read_target};
use super::links::Stage;
use super::pending::{MAX_ANSWER, Pending, Wait, What};
use super::{LinkId, Node, Now, Outbox};
use crate::api::arguments::{
    ConnectArgs, DisconnectArgs, EventsArgs, HistoryArgs, ListenArgs, MAX_TEXT, Pattern, RoomArgs, SendArgs, TraceArgs,
    WaitArgs,
};
use crate::api::command::Command;
use crate::api::error::ApiError;
use crate::api::event::{ByeReason, LinkCode};
use crate::api::{ErrorCode, EventKind, Request, result};
use crate::base::{Counters, rfc3339};
use crate::gossip::history::{Kept, Range};
use crate::wire::frame::PREFIX;
use crate::wire::limits::{MAX_HISTORY_PER_ROOM, MAX_ROOMS, MAX_TTL};
use crate::wire::message::View;
use crate::wire::outgoing::{self, Chat, ENCRYPTED, Message};
use crate::wire::room_key::{Bound, Purpose, RoomKey, Scheme};

pub(super) type Answer<T> = Result<T, ApiError>;

pub(super) fn refuse<T>(code: ErrorCode, message: impl Into<String>) -> Answer<T> {
    Err(ApiError::new(code, message))
}

impl Node {
    /// Runs a client's line.
    pub(super) fn requested(&mut self, now: Now, client: ClientId, request: Request, out: &mut Outbox) {
        let Request { line, id, cmd, is_async, may_fail, body } = request;
        let head = Head { line, id, cmd, may_fail };
        if !self.phase.is_running() {
            let error = ApiError::new(ErrorCode::Interrupted, "the node is ending");
            return self.refuse(now, client, &head, &error, out);
        }
        match body {
            Err(error) => self.refuse(now, client, &head, &error, out),
            Ok(command) => {
                // A wait may refer to an earlier command of the same id, not to itself.
                let after = match &command {
                    Command::Wait(args) => args.after.as_ref().map(|id| self.clients.get(&client)?.marked(id)),
                    _ => None,
                };
                if let (Some(id), Some(it)) = (&head.id, self.clients.get_mut(&client)) {
                    it.mark(id);
                }
                if is_async && self.clients.get(&client).is_some_and(|it| it.aside.len() >= MAX_ASYNC) {
                    let message = format!("{MAX_ASYNC} async commands are waiting; let one of them end first");
                    return self.refuse(now, client, &head, &ApiError::new(ErrorCode::Busy, message), out);
                }
                self.run(now, client, head, is_async, after, command, out);
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "all of it is one command")]
    fn run(
        &mut self,
        now: Now,
        client: ClientId,
        head: Head,
        is_async: bool,
        after: Option<Option<u64>>,
        command: Command,
        out: &mut Outbox,
    ) {
        let what = match command {
            Command::Connect(args) => self.connect(now, &args, out),
            Command::Send(args) => check_send(args).map(|args| What::Send(Box::new(args))),
            Command::Wait(args) => self.wait(client, args, after, is_async).map(What::Wait),
            Command::Key(args) => match self.key(now, args, out) {
                Ok(Ok(done)) => return self.reply(now, client, &head, Ok(&done), out),
                Ok(Err((job, room, scheme))) => Ok(What::Key { job, room, scheme }),
                Err(error) => Err(error),
            },
            Command::Disconnect(args) => {
                return self.answer(now, client, &head, out, |it, out| it.disconnect(now, &args, out));
            }
            Command::Room(args) => return self.answer(now, client, &head, out, |it, _| Ok(it.change_room(args))),
            Command::Rooms(_) => return self.answer(now, client, &head, out, |it, _| Ok(it.rooms())),
            Command::Listen(args) => return self.answer(now, client, &head, out, |it, _| it.listen(args)),
            Command::Nick(args) => {
                return self.answer(now, client, &head, out, |it, out| Ok(it.nick(now, args.name.into(), out)));
            }
            Command::Block(args) => {
                return self.answer(now, client, &head, out, |it, out| it.block(now, args, out));
            }
            Command::Unblock(args) => {
                return self.answer(now, client, &head, out, |it, out| it.unblock(now, args, out));
            }
            Command::Blocks(_) => return self.answer(now, client, &head, out, |it, _| Ok(it.list_blocks(now))),
            Command::Peers(_) => return self.answer(now, client, &head, out, |it, _| Ok(it.peers(now))),
            Command::Events(args) => {
                return self.answer(now, client, &head, out, |it, _| it.choose_events(client, &args));
            }
            Command::History(args) => return self.answer(now, client, &head, out, |it, _| it.history(&args)),
            Command::Trace(args) => return self.answer(now, client, &head, out, |it, _| it.trace(&args)),
            Command::Status(_) => return self.answer(now, client, &head, out, |it, _| Ok(it.status(now))),
            Command::Help(args) => {
                return self.answer(now, client, &head, out, |_, _| crate::api::help::help(args.of.as_deref()));
            }
            Command::Exit(_) => {
                self.reply(now, client, &head, Ok(&result::Nothing {}), out);
                return self.end(now, ByeReason::Exit, 0, out);
            }
            Command::VoiceJoin(args) => self.voice_join(args),
            Command::VoiceLeave(_) => {
                return self.answer(now, client, &head, out, |it, out| it.voice_leave(now, out));
            }
            Command::VoiceMute(_) => {
                return self.answer(now, client, &head, out, |it, out| it.voice_mute(now, true, out));
            }
            Command::VoiceUnmute(_) => {
                return self.answer(now, client, &head, out, |it, out| it.voice_mute(now, false, out));
            }
            Command::VoicePeers(args) => {
                return self.answer(now, client, &head, out, |it, out| Ok(it.voice_peers(now, &args, out)));
            }
            Command::VoiceGain(args) => return self.answer(now, client, &head, out, |it, _| it.voice_gain(args)),
            Command::Devices(_) => Ok(self.ask_devices(out)),
        };
        match what {
            Err(error) => self.refuse(now, client, &head, &error, out),
            Ok(what) => {
                let deadline = match &what {
                    What::Wait(wait) => Some(now.mono + Duration::from_millis(wait.timeout_ms)),
                    _ => None,
                };
                let pending = Pending { head, started: now.mono, deadline, what };
                self.begin(now, client, is_async, pending, out);
            }
        }
    }

    fn answer<R: Serialize>(
        &mut self,
        now: Now,
        client: ClientId,
        head: &Head,
        out: &mut Outbox,
        run: impl FnOnce(&mut Self, &mut Outbox) -> Answer<R>,
    ) {
        let result = run(self, out);
        self.reply(now, client, head, result.as_ref(), out);
    }

    fn connect(&mut self, now: Now, args: &ConnectArgs, out: &mut Outbox) -> Answer<What> {
        let (pin, addr) = read_target(&args.addr)?;
        let linked = match self.targets.get(&addr).map(|target| target.state) {
            Some(State::Linked(link)) => Some(link),
            _ => self
                .links
                .iter()
                .find(|(_, it)| it.stage == Stage::Up && it.addr.to_string() == addr)
                .map(|(id, _)| *id),
        };
        let peer = linked.and_then(|id| self.links.get(&id)?.peer.as_ref()).map(|peer| peer.id.to_string());
        if let Some(peer) = peer {
            if let Some(pin) = pin.filter(|pin| **pin != *peer) {
                let message = format!("{addr}: the node there is {peer}, not {pin}");
                return refuse(ErrorCode::WrongPeer, message);
            }
            return Ok(What::Connect { addr, outcome: Some(Ok(peer)) });
        }
        if self.is_own_addr(&addr) {
            let message = format!("{addr}: it is this node's own address");
            return refuse(ErrorCode::OwnAddress, message);
        }
        if self.neighbours.len() >= self.config.max_links {
            let message = format!("there are {} links, as many as may be: disconnect one first", self.neighbours.len());
            return refuse(ErrorCode::TooManyLinks, message);
        }
        let is_blocked = self.targets.get(&addr).is_some_and(|target| target.state == State::Blocked);
        if is_blocked || self.is_blocked_target(&addr) {
            return refuse(ErrorCode::Blocked, format!("{addr}: it is blocked; `unblock` it first"));
        }
        self.add_target(now, &addr, pin)?;
        self.dial(now, &addr, out);
        Ok(What::Connect { addr, outcome: None })
    }

    fn disconnect(&mut self, now: Now, args: &DisconnectArgs, out: &mut Outbox) -> Answer<result::Disconnected> {
        let (targets, links): (Vec<String>, Vec<LinkId>) = match (&args.peer, &args.addr) {
            (Some(_), Some(_)) => return refuse(ErrorCode::BadValue, "`peer` or `addr`, not both"),
            (None, None) => return refuse(ErrorCode::MissingField, "`peer` or `addr` is needed"),
            (Some(peer), None) => {
                let Some(id) = self.neighbours.get(peer) else {
                    return refuse(ErrorCode::NotFound, format!("no neighbour `{}`", short(peer)));
                };
                let targets = self.targets.iter().filter(|(_, it)| it.state == State::Linked(id));
                (targets.map(|(addr, _)| addr.clone()).collect(), vec![id])
            }
            (None, Some(addr)) => {
                let (_, addr) = read_target(addr)?;
                let target = self.targets.get(&addr).map(|it| it.state);
                let linked =
                    |id: &LinkId| matches!(target, Some(State::Linked(it) | State::Greeting(it, _)) if it == *id);
                let at_addr = self.links.iter().filter(|(id, it)| linked(id) || it.addr.to_string() == addr);
                let links: Vec<LinkId> =
                    at_addr.filter(|(_, it)| !matches!(it.stage, Stage::Leaving { .. })).map(|(id, _)| *id).collect();
                if target.is_none() && links.is_empty() {
                    return refuse(ErrorCode::NotFound, format!("nothing is linked or dialled at {addr}"));
                }
                let others =
                    self.targets.iter().filter(|(_, it)| matches!(it.state, State::Linked(id) if links.contains(&id)));
                let mut targets: Vec<String> = others.map(|(addr, _)| addr.clone()).collect();
                targets.push(addr);
                (targets, links)
            }
        };
        for addr in targets {
            self.targets.remove(&addr);
            let error = ApiError::new(ErrorCode::ConnectFailed, format!("{addr}: `disconnect` ended the dial"));
            self.settle_connects(&addr, &Err(error));
        }
        let closed = links.len();
        for id in links {
            self.leave_link(now, id, false, LinkCode::Disconnected, "a command closed the link", out);
        }
        Ok(result::Disconnected { closed })
    }

    /// Sends a message, now.
    pub(super) fn send(&mut self, now: Now, args: &SendArgs, out: &mut Outbox) -> Answer<result::Sent> {
        let room = args.room.as_deref().unwrap_or(&self.room).to_owned();
        let key = self.key_of(&room).cloned();
        if args.encrypted && key.is_none() {
            return refuse(ErrorCode::NoKey, format!("room `{}` has no key here: set one with `key`", short(&room)));
        }
        let id = args.message.map_or_else(|| self.chance.message_ids.uuid(), |id| id.hyphenated().to_string());
        let number = match self.seen.insert(&id, Some(&self.id), MAX_TTL) {
            Ok(number) => number,
            Err(_) => {
                return Ok(result::Sent { message: id, room, links: 0, confirmed: 0, duplicate: true });
            }
        };
        let place = self.next_place(now);
        let stamp = self.stamps.next(now);
        let ts = rfc3339(stamp);
        let meta = args.meta.as_ref().map(serde_json::value::to_raw_value).and_then(Result::ok);
        let from = self.id.clone();
        let mut seal = |purpose, plain: &str| {
            let bound = Bound { purpose, author: &from, room: &room, place };
            key.as_ref().map(|key| key.seal(plain.as_bytes(), &bound, self.chance.room_secrets.bytes()))
        };
        let sealed = seal(Purpose::Text, &args.text);
        let sealed_meta = meta.as_deref().and_then(|meta| seal(Purpose::Meta, meta.get()));
        let used = key.as_ref().map(RoomKey::scheme);
        let by = |scheme| move |_: &&str| used == Some(scheme);
        let (sealed, sealed_meta) = (sealed.as_deref(), sealed_meta.as_deref());
        let chat = Chat {
            id: &id,
            from: &from,
            username: &self.username,
            room: &room,
            msg: if sealed.is_some() { ENCRYPTED } else { &args.text },
            encrypted_msg: sealed.filter(by(Scheme::Original)),
            sealed_msg: sealed.filter(by(Scheme::Argon2id)),
            ttl: MAX_TTL,
            ttl0: MAX_TTL,
            ts: &ts,
            meta: meta.as_deref().filter(|_| sealed.is_none()),
            encrypted_meta: sealed_meta.filter(by(Scheme::Original)),
            sealed_meta: sealed_meta.filter(by(Scheme::Argon2id)),
        };
        let Some(frame) = outgoing::signed_frame(&Message::Chat(chat), &self.identity, place) else {
            return refuse(ErrorCode::BadValue, "the message can't be signed");
        };
        // Nothing came from anywhere: a copy that does is an echo.
        self.traces.begin(number, &from, 0, now.mono, stamp).copies = 0;
        let bytes = out.write(|buffer| buffer.extend_from_slice(&frame));
        let handed = self.hand_out(now, number, None, false, &bytes, out);
        self.tell_missed((&id, Some(&room), &from, None), &handed.missed, out);
        let links = handed.to;
        self.counters.sent += 1;
        self.spoke(now);
        let body = frame.get(PREFIX..).unwrap_or_default();
        self.keep(&room, Kept { pos: 0, received_at: stamp, hops: 0, via: None, verified: true, frame: body.into() });
        Ok(result::Sent { message: id, room, links, confirmed: 0, duplicate: false })
    }

    fn change_room(&mut self, args: RoomArgs) -> result::RoomChanged {
        let previous = self.room.clone();
        if let Some(name) = args.name {
            self.room = name.into();
        }
        result::RoomChanged { room: self.room.clone(), previous }
    }

    fn rooms(&self) -> result::Rooms {
        let mut names: std::collections::BTreeSet<&str> = self.history.rooms().map(|(name, ..)| name).collect();
        names.insert(&self.room);
        names.extend(self.listen.iter().map(String::as_str));
        names.extend(self.keys.keys().map(String::as_str));
        let kept: std::collections::BTreeMap<&str, (usize, Option<u64>)> =
            self.history.rooms().map(|(name, messages, last)| (name, (messages, last))).collect();
        let rooms = names.into_iter().map(|name| {
            let (messages, last_pos) = kept.get(name).copied().unwrap_or_default();
            result::RoomInfo {
                name: name.to_owned(),
                messages,
                last_pos,
                encrypted: self.is_keyed(name),
                scheme: self.scheme_of(name),
                active: name == self.room,
                listened: self.listen_all || self.listen.contains(name),
            }
        });
        result::Rooms { rooms: rooms.collect() }
    }

    fn is_keyed(&self, room: &str) -> bool {
        self.key_of(room).is_some()
    }

    fn listen(&mut self, args: ListenArgs) -> Answer<result::Listening> {
        if args.rooms.len() > MAX_ROOMS {
            return refuse(ErrorCode::TooManyRooms, format!("at most {MAX_ROOMS} rooms; [\"*\"] is all of them"));
        }
        self.listen_all = args.rooms.iter().any(|room| &**room == "*");
        self.listen = args.rooms.into_iter().map(String::from).filter(|room| room != "*").collect();
        Ok(result::Listening { rooms: self.listened() })
    }

    fn listened(&self) -> Vec<String> {
        self.listen_all.then(|| "*".to_owned()).into_iter().chain(self.listen.iter().cloned()).collect()
    }

    fn nick(&mut self, now: Now, name: String, out: &mut Outbox) -> result::Renamed {
        let previous = std::mem::replace(&mut self.username, name);
        if previous != self.username {
            self.tell_username(now, out);
            self.with_calls(now, out, |calls, io| calls.announce(now, io));
        }
        result::Renamed { username: self.username.clone(), previous }
    }

    fn peers(&self, now: Now) -> result::Peers {
        let mut ids: Vec<LinkId> = self.neighbours.iter().map(|it| it.link).collect();
        ids.sort_unstable();
        let peers = ids.iter().filter_map(|id| self.links.get(id)).filter_map(|link| {
            let peer = link.peer.as_ref()?;
            Some(result::PeerInfo {
                peer: peer.id.to_string(),
                username: peer.username.clone(),
                addr: link.addr.to_string(),
                direction: link.direction,
                connected_s: now.mono.duration_since(link.since).as_secs(),
                rtt_ms: link.rtt.map(|rtt| (rtt.as_secs_f64() * 1e6).round() / 1e3),
                level: peer.level,
                secure: peer.level >= 2,
                queued: link.queue.held().0,
            })
        });
        result::Peers { peers: peers.collect() }
    }

    fn choose_events(&mut self, client: ClientId, args: &EventsArgs) -> Answer<result::Shown> {
        if let Some(kind) = args.hide.iter().find(|kind| !kind.can_hide()) {
            return refuse(ErrorCode::BadValue, format!("`{}` can't be hidden", kind.name()));
        }
        let Some(client) = self.clients.get_mut(&client) else { return refuse(ErrorCode::NotFound, "no such client") };
        args.show.iter().for_each(|kind| client.show(*kind, true));
        args.hide.iter().for_each(|kind| client.show(*kind, false));
        let shown = client.shown().to_vec();
        let hidden = EventKind::ALL.iter().copied().filter(|kind| !shown.contains(kind)).collect();
        Ok(result::Shown { shown, hidden })
    }

    fn history(&self, args: &HistoryArgs) -> Answer<result::History> {
        let room = args.room.as_deref().unwrap_or(&self.room);
        let limit = args.limit as usize;
        if !(1..=MAX_HISTORY_PER_ROOM).contains(&limit) {
            return refuse(ErrorCode::BadValue, format!("`limit` is from 1 to {MAX_HISTORY_PER_ROOM}"));
        }
        let range = match (args.after_pos, args.before_pos, &args.after) {
            (None, None, None) => Range::Newest,
            (Some(pos), None, None) => Range::After(pos),
            (None, Some(pos), None) => Range::Before(pos),
            (None, None, Some(id)) => Range::After(self.pos_of(room, id)?),
            _ => return refuse(ErrorCode::BadValue, "one of `after_pos`, `before_pos` and `after`, not more"),
        };
        let (kept, more) = self.history.list(room, range, limit).map_err(|gone| {
            let oldest = gone.oldest.map_or("nothing is".to_owned(), |pos| format!("the oldest kept has `pos` {pos}"));
            ApiError::new(ErrorCode::Gone, format!("what follows is no longer kept: {oldest}"))
        })?;
        Ok(self.page(&kept, more, range))
    }

    /// As many of the messages as fit a line, from the end that was asked for.
    fn page(&self, kept: &[&Kept], mut more: bool, range: Range) -> result::History {
        let forwards = matches!(range, Range::After(_));
        let mut bytes = 0;
        let mut messages: Vec<(u64, Box<RawValue>)> = Vec::new();
        let mut take = |kept: &Kept| {
            let line = View::parse(&kept.frame).ok().and_then(|view| self.message_line(&view, kept, false));
            let Some(line) = line.and_then(|line| RawValue::from_string(line).ok()) else { return true };
            bytes += line.get().len() + 1;
            let fits = bytes <= MAX_ANSWER || messages.is_empty();
            if fits {
                messages.push((kept.pos, line));
            }
            fits
        };
        let all = if forwards { kept.iter().all(|it| take(it)) } else { kept.iter().rev().all(|it| take(it)) };
        more |= !all;
        if !forwards {
            messages.reverse();
        }
        let next = if forwards { messages.last() } else { messages.first() };
        let next_pos = next.map(|(pos, _)| *pos);
        result::History { messages: messages.into_iter().map(|(_, line)| line).collect(), more, next_pos }
    }

    fn pos_of(&self, room: &str, id: &str) -> Answer<u64> {
        let is = |kept: &Kept| View::parse(&kept.frame).is_ok_and(|view| view.id.name().as_deref() == Ok(id));
        match self.history.find(room, is) {
            Some(pos) => Ok(pos),
            None if self.seen.find_id(id).is_some() => {
                refuse(ErrorCode::Gone, "that message is no longer kept, or is of another room")
            }
            None => refuse(ErrorCode::NotFound, format!("no message `{}` is known here", short(id))),
        }
    }

    fn trace(&mut self, args: &TraceArgs) -> Answer<result::Trace> {
        // One's own before those of others.
        let own = self.seen.get(&args.message, Some(&self.id)).map(|known| known.number);
        let number = own.or_else(|| self.seen.find_id(&args.message));
        let Some(trace) = number.and_then(|number| self.traces.get_mut(number)) else {
            return refuse(
                ErrorCode::NotFound,
                format!("no message `{}` is known here, or it is too old", short(&args.message)),
            );
        };
        let links = trace.links.iter().map(|(peer, at, confirmed)| result::TraceLink {
            peer: peer.to_string(),
            after_ms: (at.duration_since(trace.at).as_secs_f64() * 1e6).round() / 1e3,
            confirmed: *confirmed,
        });
        Ok(result::Trace {
            message: args.message.clone(),
            from: trace.from.clone(),
            via: trace.via.as_deref().map(str::to_owned),
            hops: trace.hops,
            copies: trace.copies,
            received_at: rfc3339(trace.received_at),
            links: links.collect(),
            dropped: trace.dropped,
        })
    }

    fn wait(&self, client: ClientId, args: WaitArgs, after: Option<Option<u64>>, is_async: bool) -> Answer<Wait> {
        let alone = args.fields.is_empty();
        let (patterns, all) = match (args.event, args.any, args.all) {
            (Some(event), None, None) => (vec![Pattern { event, fields: args.fields }], false),
            (None, Some(any), None) if alone => (any, false),
            (None, None, Some(all)) if alone && args.count == 1 => (all, true),
            (None, None, None) => return refuse(ErrorCode::MissingField, "`event`, `any` or `all` is needed"),
            (None, _, _) => {
                return refuse(ErrorCode::BadValue, "`match` goes with `event`, `count` with `event` or `any`");
            }
            _ => return refuse(ErrorCode::BadValue, "one of `event`, `any` and `all`, not more"),
        };
        if !(1..=64).contains(&patterns.len()) || !(1..=10_000).contains(&args.count) {
            return refuse(ErrorCode::BadValue, "`any` and `all` list 1 to 64 events, `count` is from 1 to 10000");
        }
        for pattern in &patterns {
            let name = pattern.event.name();
            use EventKind::{Bye, Fatal, Lagged, Reply};
            if matches!(pattern.event, Reply | Lagged | Fatal | Bye) {
                return refuse(ErrorCode::BadValue, format!("`{name}` is not an event that can be waited for"));
            }
            if !self.is_wanted(pattern.event) {
                let message =
                    format!("`{name}` is hidden: show it first, with {{\"cmd\":\"events\",\"show\":[\"{name}\"]}}");
                return refuse(ErrorCode::EventHidden, message);
            }
        }
        let cursor = match after {
            None => self.clients.get(&client).map_or(0, |client| client.place),
            Some(Some(place)) => place,
            Some(None) => return refuse(ErrorCode::NotFound, "no earlier command has that `id`"),
        };
        let missing = if all { patterns.len() } else { args.count as usize };
        Ok(Wait {
            taken: vec![None; if all { patterns.len() } else { 0 }],
            patterns,
            all,
            fits: Vec::new(),
            missing,
            cursor,
            found: Vec::new(),
            found_bytes: 0,
            omitted: 0,
            moves: !is_async,
            timeout_ms: args.timeout_ms,
        })
    }

    fn status(&self, now: Now) -> result::Status {
        let greeting = self.links.values().filter(|link| link.stage == Stage::Greeting).count();
        result::Status {
            node: self.id.to_string(),
            username: self.username.clone(),
            room: self.room.clone(),
            listened: self.listened(),
            keyed: self.keys.keys().filter(|room| self.is_keyed(room)).cloned().collect(),
            schemes: self.keys.keys().filter_map(|room| Some((room.clone(), self.scheme_of(room)?))).collect(),
            uptime_s: now.mono.duration_since(self.started).as_secs(),
            links: self.neighbours.len(),
            handshakes: greeting,
            dialling: self.dials.len(),
            counters: self.counted(),
            queues: self.held(),
            limits: super::limits_of(&self.config),
        }
    }

    /// All that is counted.
    pub(super) fn counted(&self) -> Counters {
        let mut counters = self.counters.clone();
        if let Some(calls) = &self.calls {
            calls.add_counts(&mut counters);
        }
        counters
    }

    /// What is held, for `status` and for tests of whole networks.
    pub fn held(&self) -> result::Queues {
        let (rooms, history, history_bytes) = self.history.held();
        let queues = self.links.values().map(|link| link.queue.held());
        let (frames, frame_bytes) = queues.fold((0, 0), |(n, b), (frames, bytes)| (n + frames, b + bytes));
        let logs = self.clients.values().map(super::clients::Client::log_held);
        let (wait_events, wait_bytes) = logs.fold((0, 0), |(n, b), (events, bytes)| (n + events, b + bytes));
        let waiting = self.clients.values().map(|it| it.aside.len() + usize::from(it.blocked.is_some())).sum();
        let calls = self.calls.as_ref();
        let (voice_rate_authors, voice_rate_links) = calls.map(|calls| calls.rates_held()).unwrap_or_default();
        result::Queues {
            frames,
            frame_bytes,
            seen_ids: self.seen.len(),
            authors: self.replay.held().0,
            author_intervals: self.replay.held().1,
            history,
            history_bytes,
            rooms,
            traces: self.traces.len(),
            wait_events,
            wait_bytes,
            waiting,
            dial_targets: self.targets.len(),
            voice_members: calls.map_or(0, |calls| calls.member_count()),
            voice_rate_authors,
            voice_rate_links,
            blocks: self.blocks.len(),
            offenders: self.offenders.len(),
            unsaved: self.stores.unsaved(),
        }
    }

    /// Connections, neighbours' and others, for tests of whole networks.
    pub fn link_count(&self) -> usize {
        self.links.len()
    }

    /// The neighbours' ids, for tests of whole networks.
    pub fn neighbour_ids(&self) -> Vec<Rc<str>> {
        self.neighbours.iter().map(|it| it.id.clone()).collect()
    }
}

fn check_send(args: SendArgs) -> Answer<SendArgs> {
    if args.text.len() > MAX_TEXT {
        return refuse(ErrorCode::BadValue, format!("`text` has {} bytes, at most {MAX_TEXT} go", args.text.len()));
    }
    Ok(args)
}

/// A name from outside, for an error message.
pub(super) fn short(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}
