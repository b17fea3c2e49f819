//! `wait`: what it finds, where it looks, and how it gives up.

use serde_json::{Value, json};

use crate::support::{Node, RawPeer, list, number, text, texts};

const BOB: &str = "127.0.0.1:5001";

/// A node that has heard `texts` from Bob, and Bob.
fn node_that_heard(texts: &[&str]) -> (Node, RawPeer) {
    let mut node = Node::start(&[]);
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    for text in texts {
        bob.say(text);
        node.hears(text);
    }
    (node, bob)
}

/// A wait that looks at what there is, and gives up at once.
fn look(event: &str, fields: Value) -> Value {
    json!({ "cmd": "wait", "event": event, "match": fields, "timeout_ms": 0 })
}

#[test]
fn it_looks_from_the_start_and_then_from_where_it_ended() {
    let (mut node, _bob) = node_that_heard(&["one", "two", "three"]);
    let ready = node.ok(look("ready", json!({})));
    assert_eq!(list(&ready, "events"), [node.ready().clone()], "whole, as it was printed");
    node.ok(look("peer_up", json!({ "username": "Bob" })));
    assert_eq!(node.fails(look("peer_up", json!({}))), "timeout", "that one is past");
    node.ok(look("message", json!({ "text": "two" })));
    assert_eq!(node.fails(look("message", json!({ "text": "one" }))), "timeout", "so is that one");
    node.ok(look("message", json!({ "text": "three" })));
}

#[test]
fn a_wait_that_timed_out_leaves_its_place() {
    let (mut node, _bob) = node_that_heard(&["one", "two"]);
    let reply = node.command(look("message", json!({ "text": "never" })));
    assert_eq!((&reply["error"]["code"], &reply["error"]["retryable"]), (&json!("timeout"), &json!(true)));
    node.ok(look("message", json!({ "text": "one" })));
    node.ok(look("message", json!({ "text": "two" })));
}

#[test]
fn it_waits_for_what_is_to_come() {
    let (mut node, mut bob) = node_that_heard(&[]);
    let wait = node.begin(json!({ "cmd": "wait", "event": "message", "match": { "text": "yes", "own": false } }));
    bob.say("no");
    bob.say("yes");
    let result = node.await_reply(&wait)["result"].clone();
    assert_eq!(list(&result, "events"), node.saw("message", json!({ "text": "yes" })));
    number(&result, "elapsed_ms");
}

#[test]
fn fields_of_every_type_can_be_matched() {
    let (mut node, _bob) = node_that_heard(&["one"]);
    for (field, right, wrong) in [
        ("hops", json!(1), json!(2)),
        ("encrypted", json!(false), json!(true)),
        ("room", json!("general"), json!("General")),
        ("via", json!(BOB), json!(null)),
        ("text", json!("one"), json!(1)),
    ] {
        let looks = |value: &Value| {
            json!({ "cmd": "wait", "event": "message", "match": { field: value },
            "timeout_ms": 0, "async": true })
        };
        assert_eq!(node.fails(looks(&wrong)), "timeout", "{field}");
        node.ok(looks(&right));
    }
}

#[test]
fn after_looks_from_an_earlier_command_on() {
    let (mut node, mut bob) = node_that_heard(&["one"]);
    node.ok(json!({ "cmd": "room", "id": "ask" }));
    bob.say("two");
    node.hears("two");
    node.ok(look("message", json!({ "text": "two" })));
    let mut again = look("message", json!({ "text": "two" }));
    again["after"] = json!("ask");
    node.ok(again);
    let mut before = look("message", json!({ "text": "one" }));
    before["after"] = json!("ask");
    assert_eq!(node.fails(before), "timeout");
}

#[test]
fn an_async_wait_moves_no_place() {
    let (mut node, _bob) = node_that_heard(&["one", "two"]);
    let mut aside = look("message", json!({ "text": "two" }));
    aside["async"] = json!(true);
    node.ok(aside);
    node.ok(look("message", json!({ "text": "one" })));
}

#[test]
fn count_takes_so_many() {
    let (mut node, mut bob) = node_that_heard(&["1", "2", "3"]);
    let three = node.ok(json!({ "cmd": "wait", "event": "message", "count": 3, "timeout_ms": 0 }));
    assert_eq!(texts(&list(&three, "events"), "text"), ["1", "2", "3"]);
    let wait = node.begin(json!({ "cmd": "wait", "count": 2,
        "any": [{ "event": "message", "match": { "text": "b" } }, { "event": "message", "match": { "text": "c" } }] }));
    for said in ["a", "c", "d", "b"] {
        bob.say(said);
    }
    assert_eq!(texts(&list(&node.await_reply(&wait)["result"], "events"), "text"), ["c", "b"]);
}

#[test]
fn any_takes_the_first_that_comes() {
    let (mut node, _bob) = node_that_heard(&["one", "two"]);
    let any = json!([{ "event": "message", "match": { "text": "two" } }, { "event": "message" }]);
    let first = node.ok(json!({ "cmd": "wait", "any": any, "timeout_ms": 0 }));
    assert_eq!(texts(&list(&first, "events"), "text"), ["one"]);
}

#[test]
fn all_takes_an_event_for_each_in_any_order() {
    let (mut node, mut bob) = node_that_heard(&["one"]);
    let said = |text: &str| json!({ "event": "message", "match": { "text": text } });
    let twice = json!({ "cmd": "wait", "all": [said("one"), said("one")], "timeout_ms": 0 });
    assert_eq!(node.fails(twice), "timeout", "one event does not do for two");
    let wait = node.begin(json!({ "cmd": "wait", "all": [said("three"), { "event": "message" }, said("two")] }));
    for text in ["two", "three"] {
        bob.say(text);
    }
    let mut got = texts(&list(&node.await_reply(&wait)["result"], "events"), "text");
    got.sort();
    assert_eq!(got, ["one", "three", "two"]);
    // An event may fit two patterns: it must not be taken for the one that others fit, too.
    for text in ["x", "y"] {
        bob.say(text);
        node.hears(text);
    }
    node.ok(json!({ "cmd": "wait", "all": [{ "event": "message" }, said("x")], "timeout_ms": 0 }));
}

#[test]
fn what_is_hidden_and_not_recorded_cannot_be_waited_for() {
    let (mut node, mut bob) = node_that_heard(&["one"]);
    assert_eq!(node.fails(look("forwarded", json!({}))), "event_hidden");
    node.ok(json!({ "cmd": "events", "show": ["dropped"], "hide": ["message"] }));
    let mut carol = RawPeer::dial(&node.addr(), "carol", "Carol");
    let id = bob.say("two");
    let again = carol.hears("two");
    carol.send(&again);
    let dropped = node.ok(json!({ "cmd": "wait", "event": "dropped", "match": { "id": id } }));
    assert_eq!(dropped["events"][0]["cause"], "duplicate");
}

#[test]
fn what_is_hidden_and_recorded_can_be_waited_for_and_has_no_number() {
    let (mut node, mut bob) = node_that_heard(&["shown"]);
    node.ok(json!({ "cmd": "events", "hide": ["message"] }));
    bob.say("hidden");
    let both = node.ok(json!({ "cmd": "wait", "event": "message", "count": 2 }));
    let [shown, hidden] = &list(&both, "events")[..] else { panic!("{both}") };
    assert_eq!((&shown["text"], &hidden["text"]), (&json!("shown"), &json!("hidden")));
    assert!(shown["seq"].is_u64() && hidden.get("seq").is_none(), "{both}");
    assert_eq!(node.heard(), ["shown"]);
}

#[test]
fn too_far_back_is_gone_and_the_place_moves_on() {
    let mut node = Node::start(&[]);
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    let all = 10_100;
    for i in 0..all {
        bob.say(&format!("{i}"));
    }
    node.hears(&format!("{}", all - 1));
    let reply = node.command(look("message", json!({ "text": "0" })));
    assert_eq!((&reply["error"]["code"], &reply["error"]["retryable"]), (&json!("events_gone"), &json!(true)));
    // Now it looks from the oldest on that is still there.
    let oldest = node.ok(json!({ "cmd": "wait", "event": "message", "timeout_ms": 0 }));
    let oldest: u64 = text(&oldest["events"][0], "text").parse().unwrap();
    assert!((1..=all - 9_900).contains(&oldest), "it looks back over 10,000: {oldest}");
    node.ok(look("message", json!({ "text": format!("{}", all - 1) })));
}

#[test]
fn sends_wait_for_the_dials_of_the_command_line() {
    let host = crate::support::RawListener::new();
    let mut node = Node::start(&["--connect", &host.addr()]);
    let send = node.begin(json!({ "cmd": "send", "text": "first" }));
    let mut peer = host.accept(BOB, "Bob");
    peer.hears("first");
    assert_eq!(node.await_reply(&send)["result"]["links"], 1);
}
