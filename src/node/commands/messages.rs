//! Commands of messages: `send`, `history`, `trace`.

use serde_json::value::RawValue;

use super::{Answer, refuse, short};
use crate::api::arguments::{HistoryArgs, MAX_TEXT, SendArgs, TraceArgs};
use crate::api::error::ApiError;
use crate::api::{ErrorCode, result};
use crate::base::rfc3339;
use crate::clients::MAX_ANSWER;
use crate::gossip::history::{Kept, Range};
use crate::node::{Node, Now, Outbox};
use crate::wire::frame::PREFIX;
use crate::wire::limits::{MAX_HISTORY_PER_ROOM, MAX_TTL};
use crate::wire::message::View;
use crate::wire::outgoing::{self, Chat, ENCRYPTED, Message};
use crate::wire::room_key::{Bound, Purpose, RoomKey, Scheme};

impl Node {
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

    pub(super) fn history(&self, args: &HistoryArgs) -> Answer<result::History> {
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
    pub(super) fn page(&self, kept: &[&Kept], mut more: bool, range: Range) -> result::History {
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

    pub(super) fn pos_of(&self, room: &str, id: &str) -> Answer<u64> {
        let is = |kept: &Kept| View::parse(&kept.frame).is_ok_and(|view| view.id.name().as_deref() == Ok(id));
        match self.history.find(room, is) {
            Some(pos) => Ok(pos),
            None if self.seen.find_id(id).is_some() => {
                refuse(ErrorCode::Gone, "that message is no longer kept, or is of another room")
            }
            None => refuse(ErrorCode::NotFound, format!("no message `{}` is known here", short(id))),
        }
    }

    pub(super) fn trace(&mut self, args: &TraceArgs) -> Answer<result::Trace> {
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
}

pub(super) fn check_send(args: SendArgs) -> Answer<SendArgs> {
    if args.text.len() > MAX_TEXT {
        return refuse(ErrorCode::BadValue, format!("`text` has {} bytes, at most {MAX_TEXT} go", args.text.len()));
    }
    Ok(args)
}
