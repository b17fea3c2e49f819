//! The commands and events of voice, and each mistake.

use serde_json::{Value, json};

use crate::support::voice::*;
use crate::support::{Node, RawListener, RawPeer, TempDir, fresh_id, has_fields, list, number, text, texts};

const BOB: &str = "127.0.0.1:5001";

#[test]
fn what_needs_voice_says_so_without() {
    let mut node = Node::start(&[]);
    for command in ["voice_leave", "voice_mute", "voice_unmute"] {
        assert_eq!(node.fails(json!({ "cmd": command })), "not_in_voice", "{command}");
        assert_eq!(node.fails(json!({ "cmd": command, "room": "x" })), "unknown_field", "{command}");
    }
    assert_eq!(node.ok(json!({ "cmd": "voice_peers" })), json!({ "peers": [] }));
    assert_eq!(node.ok(json!({ "cmd": "voice_peers", "room": "nowhere" })), json!({ "peers": [] }));
    assert_eq!(node.fails(json!({ "cmd": "voice_peers", "room": "" })), "bad_value");
    assert_eq!(node.fails(json!({ "cmd": "voice_gain", "peer": "nobody", "db": 3 })), "not_found");
    assert_eq!(node.fails(json!({ "cmd": "voice_gain", "peer": "nobody" })), "missing_field");
    assert_eq!(node.fails(json!({ "cmd": "voice_gain", "peer": "nobody", "db": "loud" })), "bad_type");
    for db in [-60.5, 20.5, 1e300] {
        assert_eq!(node.fails(json!({ "cmd": "voice_gain", "peer": "nobody", "db": db })), "bad_value", "{db}");
    }
    assert_eq!(node.fails(json!({ "cmd": "voice_join", "mic": 7 })), "bad_type");
    assert_eq!(node.fails(json!({ "cmd": "voice_join", "loud": true })), "unknown_field");
}

#[test]
fn voice_is_in_one_room_at_a_time_whatever_room_is_active() {
    let mut node = Node::start(&[]);
    let joined = node.ok(json!({ "cmd": "voice_join", "room": "lounge" }));
    assert_eq!(joined, json!({ "room": "lounge", "udp": node.ready()["udp"], "mic": "none", "speaker": "none" }));
    assert_eq!(node.fails(json!({ "cmd": "voice_join" })), "already_in_voice");
    node.ok(json!({ "cmd": "room", "name": "ops" }));
    let state = |muted: bool| json!({ "room": "lounge", "muted": muted });
    assert_eq!(node.ok(json!({ "cmd": "voice_mute" })), state(true));
    assert_eq!(node.ok(json!({ "cmd": "voice_mute" })), state(true), "twice is once");
    assert_eq!(node.ok(json!({ "cmd": "voice_unmute" })), state(false));
    assert_eq!(node.ok(json!({ "cmd": "voice_leave" })), state(false));
    assert_eq!(node.fails(json!({ "cmd": "voice_leave" })), "not_in_voice");
    assert_eq!(node.ok(json!({ "cmd": "voice_join" }))["room"], "ops");
}

#[test]
fn of_two_joins_at_once_one_wins() {
    let mut node = Node::start(&[]);
    let ids: Vec<Value> = (0..5).map(|_| node.begin(json!({ "cmd": "voice_join", "async": true }))).collect();
    let codes: Vec<Value> = ids.iter().map(|id| node.await_reply(id)["error"]["code"].clone()).collect();
    assert_eq!(codes.iter().filter(|code| code.is_null()).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == "already_in_voice").count(), 4, "{codes:?}");
    node.ok(json!({ "cmd": "voice_leave" }));
}

#[test]
fn members_are_told_of_one_another_early_or_late() {
    let [mut a, mut b, mut c] = ["A", "B", "C"].map(|name| Node::named(name, &[]));
    // A is in voice before anybody is linked, in a room that C only listens to.
    a.ok(json!({ "cmd": "voice_join", "room": "lounge" }));
    a.ok(json!({ "cmd": "voice_mute" }));
    for node in [&mut b, &mut c] {
        node.ok(json!({ "cmd": "listen", "rooms": ["lounge"] }));
    }
    a.link(&mut b);
    b.await_event("voice_joined", json!({ "room": "lounge", "peer": a.id(), "username": "A", "muted": true }));
    // C comes last, two hops from A, and is told by B.
    b.link(&mut c);
    c.await_event("voice_joined", json!({ "room": "lounge", "peer": a.id(), "username": "A", "muted": true }));
    let member = json!({ "peer": a.id(), "username": "A", "addr": null, "muted": true, "speaking": false,
        "codec": null, "level_db": null, "gain_db": 0.0, "received": 0, "lost": 0, "late": 0, "concealed": 0,
        "jitter_ms": 0.0, "delay_ms": 0.0, "unheard": null });
    assert_eq!(c.ok(json!({ "cmd": "voice_peers", "room": "lounge" })), json!({ "peers": [member] }));
    assert_eq!(c.ok(json!({ "cmd": "voice_peers" })), json!({ "peers": [] }), "nobody is in the active room's");
    // C joins, and is told of to all; voice finds its way to those two alone.
    c.ok(json!({ "cmd": "voice_join", "room": "lounge" }));
    for node in [&mut a, &mut b] {
        node.await_event("voice_joined", json!({ "room": "lounge", "peer": c.id(), "muted": false }));
    }
    let (a_id, c_id) = (a.id(), c.id());
    a.reaches(&[&c_id]);
    c.reaches(&[&a_id]);
    assert_eq!(c.member(&a_id)["addr"], a.ready()["udp"]);
    // Gain is set for a member, and outlives its leaving.
    assert_eq!(c.ok(json!({ "cmd": "voice_gain", "peer": a_id, "db": 6 })), json!({ "peer": a_id, "db": 6.0 }));
    a.ok(json!({ "cmd": "voice_unmute" }));
    for node in [&mut b, &mut c] {
        node.await_event("voice_muted", json!({ "room": "lounge", "peer": a_id, "muted": false }));
    }
    a.ok(json!({ "cmd": "voice_leave" }));
    for node in [&mut b, &mut c] {
        node.await_event("voice_left", json!({ "room": "lounge", "peer": a_id, "username": "A" }));
    }
    assert_eq!(c.fails(json!({ "cmd": "voice_gain", "peer": a_id, "db": 6 })), "not_found");
    a.ok(json!({ "cmd": "voice_join", "room": "lounge" }));
    c.await_event("voice_joined", json!({ "peer": a_id }));
    assert_eq!(c.member(&a_id)["gain_db"], 6.0);
    assert!(a.saw("voice_joined", json!({ "peer": a_id })).is_empty(), "not of oneself");
}

#[test]
fn voice_of_rooms_that_are_not_shown_makes_no_event() {
    let [mut a, mut b] = ["A", "B"].map(|name| Node::named(name, &[]));
    a.link(&mut b);
    a.ok(json!({ "cmd": "voice_join", "room": "elsewhere" }));
    a.ok(json!({ "cmd": "voice_leave" }));
    a.ok(json!({ "cmd": "voice_join" }));
    b.await_event("voice_joined", json!({ "room": "general" }));
    assert!(b.saw("voice_joined", json!({ "room": "elsewhere" })).is_empty());
    assert_eq!(number(&b.ok(json!({ "cmd": "status" }))["queues"], "voice_members"), 1);
    // One who is in the voice of a room is told of it, whatever is shown.
    b.ok(json!({ "cmd": "voice_join", "room": "elsewhere" }));
    a.ok(json!({ "cmd": "voice_leave" }));
    a.ok(json!({ "cmd": "voice_join", "room": "elsewhere" }));
    b.await_event("voice_joined", json!({ "room": "elsewhere" }));
}

#[test]
fn who_vanishes_is_missed() {
    let [mut a, mut b, mut c] = ["A", "B", "C"].map(|name| Node::named(name, &[]));
    a.link(&mut b);
    b.link(&mut c);
    a.ok(json!({ "cmd": "voice_join" }));
    c.ok(json!({ "cmd": "voice_join" }));
    let (a_id, c_id) = (a.id(), c.id());
    a.reaches(&[&c_id]);
    c.reaches(&[&a_id]);
    a.kill();
    b.await_event("peer_down", json!({ "peer": a_id }));
    c.await_event("voice_left", json!({ "peer": a_id, "username": "A" }));
    assert_eq!(c.ok(json!({ "cmd": "voice_peers" })), json!({ "peers": [] }));
    b.await_event("voice_left", json!({ "peer": a_id }));
}

#[test]
fn a_join_waits_for_the_first_dials() {
    let listener = RawListener::new();
    let mut node = Node::start(&["--connect", &listener.addr()]);
    let join = node.begin(json!({ "cmd": "voice_join" }));
    let mut bob = listener.accept_level1();
    // Its hello has been asked for: so a join that did not wait would be answered by the time of ours.
    bob.read_bytes().expect("a hello");
    bob.send(&crate::support::raw::hello(BOB, "Bob"));
    let reply = node.await_reply(&join);
    assert_eq!(reply["ok"], true);
    let up = &node.saw("peer_up", json!({ "peer": BOB }))[0];
    assert!(number(up, "seq") < number(&reply, "seq"));
    let joined = bob.await_frame(&json!({ "type": "voice_join" }));
    let expected = json!({ "from": node.id(), "username": node.username(), "room": "general",
        "udp_host": "127.0.0.1", "ttl": 32 });
    assert!(has_fields(&joined, &expected), "{joined}");
    assert_eq!(format!("127.0.0.1:{}", joined["udp_port"]), text(node.ready(), "udp"));
}

#[test]
fn a_pipe_of_one_line_joins_and_leaves() {
    let mut alice = Node::named("Alice", &[]);
    let mut bob = Node::named("Bob", &["--connect", &alice.addr(), "--check"]);
    bob.send_raw(b"{\"cmd\":\"voice_join\"}");
    let output = bob.finish().exited(0);
    assert_eq!(output.codes(), [Value::Null]);
    for event in ["voice_joined", "voice_left"] {
        alice.await_event(event, json!({ "username": "Bob", "room": "general" }));
    }
}

#[test]
fn with_stay_one_stays_in_voice() {
    let mut alice = Node::named("Alice", &[]);
    let mut bob = Node::named("Bob", &["--connect", &alice.addr(), "--stay"]);
    bob.send_raw(b"{\"cmd\":\"voice_join\"}\n");
    bob.close_stdin();
    alice.await_event("voice_joined", json!({ "username": "Bob" }));
    alice.ok(json!({ "cmd": "voice_join" }));
    let id = bob.id();
    alice.reaches(&[&id]);
    bob.signal(rustix::process::Signal::TERM);
    alice.await_event("voice_left", json!({ "username": "Bob" }));
    bob.await_end().exited(0);
}

#[test]
fn a_script_waits_for_speech_of_others_and_its_own() {
    let dir = TempDir::new();
    let mic = dir.wav("mic.wav", &[lead(), question()].concat());
    let [mut a, mut b] = ["A", "B"].map(|name| Node::named(name, &[]));
    a.link(&mut b);
    b.ok(json!({ "cmd": "voice_join" }));
    a.join_voice(&mic, "none");
    let id = a.id();
    for node in [&mut a, &mut b] {
        for speaking in [true, false] {
            let waited = node.ok(
                json!({ "cmd": "wait", "event": "speaking", "match": { "peer": id, "speaking": speaking, "room": "general" } }),
            );
            assert_eq!(texts(&list(&waited, "events"), "peer"), [id.as_str()]);
        }
    }
    a.ok(json!({ "cmd": "wait", "event": "mic_ended" }));
    // It is one event more than that of its end, and none of silence.
    assert!(b.saw("speaking", json!({ "peer": b.id() })).is_empty());
}

#[test]
fn a_room_holds_64_members() {
    let mut node = Node::start(&[]);
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    for n in 0..66 {
        bob.send(&json!({ "id": fresh_id(), "type": "voice_join", "from": format!("10.0.0.{n}:5000"),
            "username": format!("user-{n}"), "room": "general", "udp_host": "10.0.0.1", "udp_port": 6000, "ttl": 5,
            "ts": "2026-11-22T20:09:38" }));
    }
    bob.say("barrier");
    node.hears("barrier");
    assert_eq!(list(&node.ok(json!({ "cmd": "voice_peers" })), "peers").len(), 64);
    // Nothing was ever heard of these: they make way for one another, and keep nobody out.
    assert_eq!(node.saw("voice_left", json!({})).len(), 2);
    node.ok(json!({ "cmd": "voice_join" }));
}
