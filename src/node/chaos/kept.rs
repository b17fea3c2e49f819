//! Messages that are kept, and asked for with `history`: whatever the frames are, and however they were let in.

use std::sync::OnceLock;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::choices::Choices;
use super::config;
use crate::api::{EventKind, Request};
use crate::history::{Kept, Label};
use crate::node::{Input, Node, Now, Outbox, Output, STDIO};
use crate::wire::limits::MAX_HISTORY_PER_ROOM;
use crate::wire::message::View;
use crate::wire::room_key::{Bound, NONCE, Purpose, RoomKey, Scheme};
use crate::wire::signed;

/// Rooms with a key, one of each scheme, and one without.
const ROOMS: [&str; 3] = ["strong", "weak", "general"];

fn key(scheme: Scheme) -> &'static RoomKey {
    static KEYS: OnceLock<[RoomKey; 2]> = OnceLock::new();
    let [original, strong] =
        KEYS.get_or_init(|| [Scheme::Original, Scheme::Argon2id].map(|it| RoomKey::derive_at_once(it, "k", "r")));
    if scheme == Scheme::Original { original } else { strong }
}

/// The command `history`.
#[derive(Clone, Copy, Default, Serialize)]
struct Ask<'a> {
    cmd: &'a str,
    room: &'a str,
    limit: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_pos: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before_pos: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<&'a str>,
}

/// Keeps frames and asks for them, as choices have it.
pub fn pages(mut choices: Choices<'_>) {
    #[allow(clippy::disallowed_methods, reason = "one moment to count virtual time from")]
    let now = Now { mono: Instant::now(), unix_ms: 1_000_000 };
    let mut out = Outbox::default();
    let config = super::Config {
        keys: vec![(ROOMS[0].into(), key(Scheme::Argon2id).clone()), (ROOMS[1].into(), key(Scheme::Original).clone())],
        ..config()
    };
    let mut node = Node::new(now, config, &mut out);
    for line in 1..20 {
        if choices.at_end() {
            break;
        }
        if choices.below(4) > 0 {
            keep(&mut node, &mut choices);
            continue;
        }
        let mut command =
            Ask { cmd: "history", room: room(choices.byte()), limit: choices.below(12), ..Ask::default() };
        let after;
        match choices.below(5) {
            0 => command.after_pos = Some(choices.below(20) as u64),
            1 => command.before_pos = Some(choices.below(20) as u64),
            2 => {
                after = format!("m{}", choices.below(9));
                command.after = Some(&after);
            }
            _ => {}
        }
        ask(&mut node, now, line, &command, &mut out);
    }
    walk(&mut node, now, &mut out);
}

fn room(choice: u8) -> &'static str {
    ROOMS[usize::from(choice) % 3]
}

/// A frame of any bytes, or one whose sealed text and `meta` are any bytes.
fn keep(node: &mut Node, choices: &mut Choices<'_>) {
    let (in_room, length) = (room(choices.byte()), choices.below(300));
    let bytes = choices.bytes(length);
    let frame = if choices.below(2) == 0 {
        bytes
    } else {
        let (room, id) = (room(choices.byte()), format!("m{}", choices.below(9)));
        let length = choices.below(100);
        let meta = choices.bytes(length);
        let seal = |scheme, purpose, plain: &[u8]| {
            let seq = signed::SeqNo { epoch: 7, n: 8 };
            key(scheme).seal(plain, &Bound { purpose, author: "a", room, seq }, [1; NONCE])
        };
        let mut message =
            json!({ "type": "chat", "id": id, "from": "a", "username": "b", "room": room, "msg": "", "ttl": 1 });
        let scheme = if choices.below(2) == 0 { Scheme::Argon2id } else { Scheme::Original };
        let (text, meta) = (seal(scheme, Purpose::Text, &bytes), seal(scheme, Purpose::Meta, &meta));
        let prefix = if scheme == Scheme::Argon2id { "sealed" } else { "encrypted" };
        (message[format!("{prefix}_msg")], message[format!("{prefix}_meta")]) = (text.into(), meta.into());
        message["sig"] = json!({ "key": "", "epoch": 7, "n": 8, "of": "", "by": "" });
        message.to_string().into_bytes()
    };
    let via = (choices.below(2) == 0).then(|| "peer".into());
    let kept = Kept { pos: 0, received_at: choices.number(), hops: 1, via, verified: false, frame: frame.into() };
    let frame = kept.frame.clone();
    let view = View::parse(&frame);
    let id = view.as_ref().ok().and_then(|view| view.id.name().ok()).unwrap_or_default();
    assert!(node.keep(in_room, kept, Label { author: "a", id: &id, seq: None }).is_some());
}

/// The answer to a command, as far as it counts here.
#[derive(Deserialize)]
struct Answer {
    result: Option<Page>,
}

#[derive(Deserialize)]
struct Page {
    messages: Vec<Box<RawValue>>,
    more: bool,
    next_pos: Option<u64>,
}

#[derive(Deserialize)]
struct Place {
    pos: u64,
}

/// The place of a message.
fn place(message: &str) -> u64 {
    serde_json::from_str::<Place>(message).expect("it has a place").pos
}

/// Gives a command, and looks at its answer.
fn ask(node: &mut Node, now: Now, line: u64, command: &Ask<'_>, out: &mut Outbox) -> Option<Page> {
    out.clear();
    let request = Request::parse(line, &serde_json::to_vec(command).expect("JSON")).expect("a command");
    node.handle(now, Input::Request { client: STDIO, request }, out);
    let mut replies = out.outputs.iter().filter_map(|output| match output {
        Output::Line { kind: EventKind::Reply, text, .. } => Some(serde_json::from_str::<Answer>(text).expect("JSON")),
        _ => None,
    });
    let (Some(reply), None) = (replies.next(), replies.next()) else { panic!("not one reply") };
    let page = reply.result?;
    assert!(page.messages.len() <= command.limit);
    let places: Vec<u64> = page.messages.iter().map(|it| place(it.get())).collect();
    assert!(places.is_sorted_by(|a, b| a < b));
    assert!(command.after_pos.is_none_or(|after| places.iter().all(|pos| *pos > after)));
    assert!(command.before_pos.is_none_or(|before| places.iter().all(|pos| *pos < before)));
    Some(page)
}

/// Pages forth and back see the same messages, each once.
fn walk(node: &mut Node, now: Now, out: &mut Outbox) {
    let any = Ask { cmd: "history", ..Ask::default() };
    for room in ROOMS {
        let all = ask(node, now, 1, &Ask { room, limit: MAX_HISTORY_PER_ROOM, ..any }, out).expect("a page");
        let all: Vec<&str> = all.messages.iter().map(|it| it.get()).collect();
        // What follows a message that is kept no more is an error.
        let first = all.first().map_or(u64::MAX - 1, |it| place(it) - 1);
        for (forth, from) in [(true, first), (false, u64::MAX)] {
            let (mut seen, mut at): (Vec<Box<RawValue>>, _) = (Vec::new(), from);
            for _ in 0..MAX_HISTORY_PER_ROOM {
                let (after_pos, before_pos) = (forth.then_some(at), (!forth).then_some(at));
                let page = ask(node, now, 1, &Ask { room, limit: 7, after_pos, before_pos, ..any }, out);
                let page = page.expect("a page");
                let before = if forth { seen.len() } else { 0 };
                seen.splice(before..before, page.messages);
                let Some(next) = page.next_pos.filter(|_| page.more) else { break };
                at = next;
            }
            // Unless a page held nothing that can be read.
            if all.len() == node.history.held().1 {
                assert!(seen.iter().map(|it| it.get()).eq(all.iter().copied()));
            }
        }
    }
}
