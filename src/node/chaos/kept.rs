//! Messages that are kept, and asked for with `history`: whatever the frames are, and however they were let in.

use std::time::Instant;

use serde_json::{Value, json};

use super::choices::Choices;
use super::config;
use crate::api::{EventKind, Request};
use crate::gossip::history::Kept;
use crate::node::{Input, Node, Now, Outbox, Output, STDIO};
use crate::wire::room_key::{Bound, NONCE, Purpose, RoomKey, Scheme};
use crate::wire::signed::Place;

/// Rooms with a key, one of each scheme, and one without.
const ROOMS: [&str; 3] = ["strong", "weak", "general"];

fn key(scheme: Scheme) -> RoomKey {
    RoomKey::derive_at_once(scheme, "k", "r")
}

/// Keeps frames and asks for them, as choices have it.
pub fn pages(mut choices: Choices<'_>) {
    #[allow(clippy::disallowed_methods, reason = "one moment to count virtual time from")]
    let now = Now { mono: Instant::now(), unix_ms: 1_000_000 };
    let mut out = Outbox::default();
    let config = super::Config {
        keys: vec![(ROOMS[0].into(), key(Scheme::Argon2id)), (ROOMS[1].into(), key(Scheme::Original))],
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
        let mut command = json!({ "cmd": "history", "room": room(choices.byte()), "limit": choices.below(12) });
        match choices.below(5) {
            0 => command["after_pos"] = choices.below(20).into(),
            1 => command["before_pos"] = choices.below(20).into(),
            2 => command["after"] = format!("m{}", choices.below(9)).into(),
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
            let place = Place { epoch: 7, n: 8 };
            key(scheme).seal(plain, &Bound { purpose, author: "a", room, place }, [1; NONCE])
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
    assert!(node.keep(in_room, kept).is_some());
}

/// Gives a command, and looks at its answer.
fn ask(node: &mut Node, now: Now, line: u64, command: &Value, out: &mut Outbox) -> Option<Value> {
    out.clear();
    let request = Request::parse(line, command.to_string().as_bytes()).expect("a command");
    node.handle(now, Input::Request { client: STDIO, request }, out);
    let replies = out.outputs.iter().filter_map(|output| match output {
        Output::Line { kind: EventKind::Reply, text, .. } => Some(serde_json::from_str::<Value>(text).expect("JSON")),
        _ => None,
    });
    let [reply] = &replies.collect::<Vec<_>>()[..] else { panic!("not one reply") };
    let page = reply.get("result")?;
    let messages = page["messages"].as_array().expect("a list");
    assert!(messages.len() as u64 <= command["limit"].as_u64().expect("a number"));
    let places: Vec<u64> = messages.iter().map(|it| it["pos"].as_u64().expect("a number")).collect();
    assert!(places.is_sorted_by(|a, b| a < b));
    assert!(command["after_pos"].as_u64().is_none_or(|after| places.iter().all(|pos| *pos > after)));
    assert!(command["before_pos"].as_u64().is_none_or(|before| places.iter().all(|pos| *pos < before)));
    Some(page.clone())
}

/// Pages forth and back see the same messages, each once.
fn walk(node: &mut Node, now: Now, out: &mut Outbox) {
    for room in ROOMS {
        let all = json!({ "cmd": "history", "room": room, "limit": 1000 });
        let all = ask(node, now, 0, &all, out).expect("a page")["messages"].clone();
        for (forth, from) in [(true, 0), (false, u64::MAX)] {
            let (mut seen, mut at) = (Vec::new(), from);
            for _ in 0..20 {
                let key = if forth { "after_pos" } else { "before_pos" };
                let page = ask(node, now, 0, &json!({ "cmd": "history", "room": room, "limit": 7, key: at }), out);
                let page = page.expect("a page");
                let messages = page["messages"].as_array().expect("a list");
                let before = if forth { seen.len() } else { 0 };
                seen.splice(before..before, messages.iter().cloned());
                let Some(next) = page["next_pos"].as_u64().filter(|_| page["more"] == true) else { break };
                at = next;
            }
            // Unless a page held nothing that can be read.
            if all.as_array().is_some_and(|all| all.len() == node.history.held().1) {
                assert_eq!(Value::from(seen), all);
            }
        }
    }
}
