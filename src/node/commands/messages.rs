//! Commands of messages: `send`, `history`, `trace`.

use serde_json::value::RawValue;

use super::{Answer, refuse, short};
use crate::api::arguments::{HistoryArgs, MAX_TEXT, SendArgs, TraceArgs};
use crate::api::{ErrorCode, result};
use crate::base::{NodeId, rfc3339};
use crate::clients::MAX_ANSWER;
use crate::history::{self, Kept, Label, Load, Missing, Page, Query, Range};
use crate::node::waits::{Loading, What};
use crate::node::{JobId, Node, Now, Outbox, Output};
use crate::wire::frame::PREFIX;
use crate::wire::limits::{MAX_HISTORY_PER_ROOM, MAX_TTL};
use crate::wire::message::View;
use crate::wire::outgoing::{self, Chat, ENCRYPTED, Message};
use crate::wire::room_key::{Purpose, Scheme};

impl Node {
    /// Sends a message, now.
    pub(super) fn send(&mut self, now: Now, args: &SendArgs, out: &mut Outbox) -> Answer<result::Sent> {
        let room = args.room.as_deref().unwrap_or(self.rooms.active()).to_owned();
        let used = self.rooms.scheme(&room);
        if args.encrypted && used.is_none() {
            return refuse(ErrorCode::NoKey, format!("room `{}` has no key here: set one with `key`", short(&room)));
        }
        let id = args.message.map_or_else(|| self.gossip.message_id(), |id| id.hyphenated().to_string());
        let number = match self.gossip.take_own(&id) {
            Ok(number) => number,
            Err(_) => {
                return Ok(result::Sent { message: id, room, links: 0, confirmed: 0, duplicate: true });
            }
        };
        let seq = self.numbers.next(now);
        let stamp = self.stamps.next(now);
        let ts = rfc3339(stamp);
        let meta = args.meta.as_ref().map(serde_json::value::to_raw_value).and_then(Result::ok);
        let from = self.id().to_owned();
        let mut seal = |purpose, plain: &str| self.rooms.seal(purpose, &from, &room, seq, plain);
        let sealed = seal(Purpose::Text, &args.text);
        let sealed_meta = meta.as_deref().and_then(|meta| seal(Purpose::Meta, meta.get()));
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
        let Some(frame) = outgoing::signed_frame(&Message::Chat(chat), &self.identity, seq) else {
            return refuse(ErrorCode::BadValue, "the message can't be signed");
        };
        self.gossip.begin_own_trace(now, number, stamp);
        let bytes = out.write(|buffer| buffer.extend_from_slice(&frame));
        let handed = self.hand_out(now, number, None, false, &bytes, out);
        self.tell_missed((&id, Some(&room), &from, None), &handed.missed, out);
        let links = handed.to;
        self.gossip.on_handed(links, false);
        self.gossip.on_own(now);
        let body = frame.get(PREFIX..).unwrap_or_default();
        let kept = Kept { pos: 0, received_at: stamp, hops: 0, via: None, verified: true, frame: body.into() };
        self.keep(&room, kept, Label { author: &from, id: &id, seq: Some(seq) });
        Ok(result::Sent { message: id, room, links, confirmed: 0, duplicate: false })
    }

    /// Asks history. `Ok(Err(…))`: part of the page must be loaded first.
    pub(super) fn history(&mut self, args: &HistoryArgs, out: &mut Outbox) -> Answer<Result<result::History, What>> {
        let room = args.room.as_deref().unwrap_or(self.rooms.active()).to_owned();
        let limit = args.limit as usize;
        if !(1..=MAX_HISTORY_PER_ROOM).contains(&limit) {
            return refuse(ErrorCode::BadValue, format!("`limit` is from 1 to {MAX_HISTORY_PER_ROOM}"));
        }
        if args.from.is_some() && args.after.is_none() {
            return refuse(ErrorCode::BadValue, "`from` goes with `after`: it is the author of that message");
        }
        let from = match (args.after_pos, args.before_pos, &args.after) {
            (None, None, None) => history::From::Range(Range::Newest),
            (Some(pos), None, None) => history::From::Range(Range::After(pos)),
            (None, Some(pos), None) => history::From::Range(Range::Before(pos)),
            (None, None, Some(id)) => history::From::AfterId { id: id.clone(), author: args.from.clone() },
            _ => return refuse(ErrorCode::BadValue, "one of `after_pos`, `before_pos` and `after`, not more"),
        };
        let query = Query { room, from, limit };
        let answer = self.answer_history(&query, self.history.query(query.clone()))?;
        Ok(answer.map_err(|load| self.load(load, out)))
    }

    /// Goes on with a page, part of which has been loaded.
    pub(super) fn go_on_loading(
        &mut self,
        load: Load,
        rows: Vec<Kept>,
        out: &mut Outbox,
    ) -> Answer<Result<result::History, What>> {
        let query = load.query().clone();
        let answer = self.answer_history(&query, self.history.loaded(load, rows))?;
        Ok(answer.map_err(|load| self.load(load, out)))
    }

    fn answer_history(
        &self,
        query: &Query,
        answer: Result<history::Answer<'_>, Missing>,
    ) -> Answer<Result<result::History, Load>> {
        match answer {
            Ok(history::Answer::Ready(page)) => Ok(Ok(self.page(&page))),
            Ok(history::Answer::NeedsLoad(load)) => Ok(Err(load)),
            Err(Missing::Gone(gone)) => {
                let oldest =
                    gone.oldest.map_or("nothing is".to_owned(), |pos| format!("the oldest kept has `pos` {pos}"));
                refuse(ErrorCode::Gone, format!("what follows is no longer kept: {oldest}"))
            }
            Err(Missing::UnknownId) => {
                let (id, author) = match &query.from {
                    history::From::AfterId { id, author } => (&**id, author.as_deref()),
                    history::From::Range(_) => ("", None),
                };
                match self.gossip.knows_id(id) && author.is_none() {
                    true => refuse(ErrorCode::Gone, "that message is no longer kept, or is of another room"),
                    false => refuse(ErrorCode::NotFound, format!("no message `{}` is known here", short(id))),
                }
            }
        }
    }

    /// Has messages loaded for a page.
    fn load(&mut self, load: Load, out: &mut Outbox) -> What {
        let job = JobId(self.next_job);
        self.next_job += 1;
        out.push(Output::Load { job, room: load.room().to_owned(), wanted: load.wanted.clone() });
        What::History { job, loading: Loading::Wanted(load) }
    }

    /// Tells history that older messages of a room are on disk.
    #[cfg(test)]
    pub(crate) fn history_on_disk(&mut self, room: &str, positions: std::ops::RangeInclusive<u64>) {
        self.history.set_on_disk(room, positions, |_| true);
    }

    /// Takes messages that were loaded.
    pub(in crate::node) fn on_loaded(&mut self, of: JobId, loaded: Vec<Kept>) {
        let mut pending = self.clients.pending_mut();
        let loading = pending.find_map(|pending| match &mut pending.what {
            What::History { job, loading } if *job == of => Some(loading),
            _ => None,
        });
        if let Some(loading) = loading
            && let Loading::Wanted(load) = loading
        {
            *loading = Loading::Loaded(load.clone(), loaded);
        }
        drop(pending);
        self.clients.recheck_pending();
    }

    /// As many of the messages as fit a line, from the end that was asked for.
    pub(super) fn page(&self, page: &Page<'_>) -> result::History {
        let (forwards, mut more) = (page.forwards, page.more);
        let mut bytes = 0;
        let mut messages: Vec<(u64, Box<RawValue>)> = Vec::new();
        let mut take = |kept: &Kept| {
            let line = View::parse(&kept.frame).ok().and_then(|view| self.history_entry(&view, kept));
            let Some(line) = line.and_then(|line| RawValue::from_string(line).ok()) else { return true };
            bytes += line.get().len() + 1;
            let fits = bytes <= MAX_ANSWER || messages.is_empty();
            if fits {
                messages.push((kept.pos, line));
            }
            fits
        };
        let all = if forwards { page.iter().all(&mut take) } else { page.iter().rev().all(&mut take) };
        more |= !all;
        if !forwards {
            messages.reverse();
        }
        let next = if forwards { messages.last() } else { messages.first() };
        let next_pos = next.map(|(pos, _)| *pos);
        result::History { messages: messages.into_iter().map(|(_, line)| line).collect(), more, next_pos }
    }

    pub(super) fn trace(&mut self, args: &TraceArgs) -> Answer<result::Trace> {
        let Some(trace) = self.gossip.find_trace(&args.message, args.from.as_deref()) else {
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
            via: trace.via.as_ref().map(NodeId::to_string),
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
