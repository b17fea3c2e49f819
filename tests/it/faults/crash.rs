//! SIGKILL at random: what was promised before it holds after it.
//!
//! `CRASHES` sets how often each is killed.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use serde_json::{Value, json};

use crate::support::raw::framed;
use crate::support::{Node, RawListener, RawPeer, TempDir, text};

/// How often a node is killed.
fn crashes() -> usize {
    std::env::var("CRASHES").ok().and_then(|n| n.parse().ok()).unwrap_or(100)
}

/// Chance, the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        // A linear congruential generator (Knuth's MMIX): its high bits do.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// Starts a node with a state folder, as nobody would in a test: with no seed.
fn start(dir: &str, connect: &str) -> Node {
    let mut node =
        Node::launch(&["--port", "0", "--state", dir, "--connect", connect, "--mic", "none", "--speaker", "none"]);
    node.await_event("ready", json!({}));
    node
}

#[test]
fn a_killed_sender_is_the_same_node_and_uses_no_counter_twice() {
    const SENDS: usize = 40;
    let (temp, listener) = (TempDir::new(), RawListener::new());
    let dir = temp.path("state");
    let mut chance = Chance(1);
    let mut places: BTreeMap<(u64, u64), String> = BTreeMap::new();
    let mut keys: HashSet<String> = HashSet::new();
    let mut ids: HashSet<String> = HashSet::new();
    for run in 0..crashes() {
        let mut node = start(&dir, &listener.addr());
        let mut peer = listener.accept("127.0.0.1:5001", "Bob");
        let commands: String =
            (0..SENDS).map(|n| format!("{}\n", json!({ "cmd": "send", "text": format!("{run} {n}") }))).collect();
        node.send_raw(commands.as_bytes());
        let mut frames: Vec<Value> = (0..chance.below(SENDS)).map_while(|_| peer.read()).collect();
        node.crash();
        // What it had sent before counts as well.
        frames.extend(std::iter::from_fn(|| peer.read()));
        for frame in frames.iter().filter(|frame| frame["type"] == "chat") {
            let sig = &frame["sig"];
            let place = (sig["epoch"].as_u64().expect("an epoch"), sig["n"].as_u64().expect("a counter"));
            keys.insert(text(sig, "key"));
            ids.insert(text(frame, "from"));
            let before = places.insert(place, text(frame, "id"));
            assert_eq!(before, None, "run {run}: {place:?} was used before: {frame}");
        }
    }
    assert_eq!((keys.len(), ids.len()), (1, 1), "it is one node: {ids:?}");
    assert!(places.len() > crashes(), "only {} messages came", places.len());
}

#[test]
fn a_block_that_was_answered_holds_after_a_crash() {
    let temp = TempDir::new();
    let (dir, listener) = (temp.path("state"), RawListener::new());
    let mut chance = Chance(2);
    let mut blocked: HashSet<String> = HashSet::new();
    for run in 0..crashes() / 4 {
        let mut node = start(&dir, &listener.addr());
        let listed = node.ok(json!({ "cmd": "blocks" }));
        let listed: HashSet<String> =
            listed["blocks"].as_array().expect("a list").iter().map(|it| text(it, "author")).collect();
        assert!(listed.is_superset(&blocked), "run {run}: forgotten: {:?}", blocked.difference(&listed));
        let authors: Vec<String> = (0..9).map(|n| format!("{run}-{n}")).collect();
        let commands: String =
            authors.iter().map(|id| format!("{}\n", json!({ "cmd": "block", "author": id, "id": id }))).collect();
        node.send_raw(commands.as_bytes());
        let last = &authors[chance.below(authors.len())];
        node.await_reply(&json!(last));
        let output = node.crash();
        let answered = output.all("reply").into_iter().filter(|reply| reply["cmd"] == "block" && reply["ok"] == true);
        blocked.extend(answered.map(|reply| text(&reply, "id")));
        assert!(blocked.contains(last));
    }
}

#[test]
fn a_killed_receiver_shows_nothing_twice_whatever_is_replayed() {
    const NEW: usize = 10;
    let (temp, listener) = (TempDir::new(), RawListener::new());
    let dir = temp.path("state");
    let (mut sender, frames) = recorded(crashes() * NEW);
    let mut chance = Chance(3);
    let mut shown: HashSet<String> = HashSet::new();
    let mut check = |messages: Vec<Value>| {
        for message in messages {
            assert_eq!(message["verified"], true, "{message}");
            assert!(shown.insert(text(&message, "id")), "shown twice: {message}");
        }
        shown.len()
    };
    for run in 0..crashes() {
        let mut node = start(&dir, &listener.addr());
        let mut peer = listener.accept("127.0.0.1:5001", "Bob");
        // Some of all that ever was, the newest of what was, and what is new.
        let old = run * NEW;
        let some: Vec<Range<usize>> = (0..old.min(40)).map(|_| chance.below(old)).map(|at| at..at + 1).collect();
        let pieces = some.into_iter().chain(std::iter::once(old.saturating_sub(2 * NEW)..old + NEW));
        peer.send_bytes(&pieces.flat_map(|piece| &frames[piece]).flatten().copied().collect::<Vec<u8>>());
        for _ in 0..chance.below(NEW) {
            node.await_event("message", json!({}));
        }
        check(node.crash().all("message"));
    }
    let mut node = start(&dir, &listener.addr());
    let mut peer = listener.accept("127.0.0.1:5001", "Bob");
    peer.send_bytes(&frames.concat());
    sender.0.say("last");
    peer.send_bytes(&framed(&sender.1.read_bytes().expect("a frame")));
    node.hears("last");
    let shown = check(node.crash().all("message"));
    assert!(shown > crashes() * NEW / 4, "only {shown} messages were shown at all");
}

/// So many frames of a node that signs what it says; it goes on, and so does who hears it.
fn recorded(n: usize) -> ((Node, RawPeer), Vec<Vec<u8>>) {
    let listener = RawListener::new();
    let mut node = Node::start(&["--connect", &listener.addr()]);
    let mut peer = listener.accept("127.0.0.1:5002", "Carol");
    let mut frames = Vec::new();
    while frames.len() < n {
        let some = (n - frames.len()).min(100);
        let command = |n| format!("{}\n", json!({ "cmd": "send", "text": format!("{n}") }));
        node.send_raw((0..some).map(command).collect::<String>().as_bytes());
        frames.extend((0..some).map(|_| framed(&peer.read_bytes().expect("a frame"))));
    }
    ((node, peer), frames)
}
