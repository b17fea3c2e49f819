//! Signed messages between real nodes, and peers who forge, replay and say too much.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::raw::{Secrets, chat, hello_level2};
use crate::support::{Node, RawPeer, number, text};

const BOB: &str = "127.0.0.1:5001";

/// Two nodes, and what the first has said as an original hears it.
fn recorded(msg: &str) -> (Node, Node, Value) {
    let (mut alice, mut carol) = (Node::named("Alice", &[]), Node::named("Carol", &[]));
    alice.link(&mut carol);
    let mut bob = RawPeer::dial(&alice.addr(), BOB, "Bob");
    alice.await_event("peer_up", json!({ "username": "Bob" }));
    alice.say(msg);
    let said = bob.hears(msg);
    carol.hears(msg);
    (alice, carol, said)
}

fn dropped(node: &mut Node) -> Value {
    node.ok(json!({ "cmd": "status" }))["counters"]["dropped"].clone()
}

#[test]
fn who_said_it_is_known_wherever_it_comes_from() {
    let (alice, carol, said) = recorded("hi");
    let shown = carol.saw("message", json!({ "text": "hi" })).remove(0);
    assert_eq!((&shown["from"], &shown["verified"]), (&json!(alice.id()), &json!(true)));
    // Over originals, who write it anew, to a node that is linked with none of its author's.
    let mut dave = Node::named("Dave", &[]);
    let mut bob = RawPeer::dial(&dave.addr(), BOB, "Bob");
    bob.send_text(said.to_string().replace("\"hi\"", " \"\\u0068i\" "));
    let shown = dave.hears("hi");
    assert_eq!((&shown["from"], &shown["verified"]), (&json!(alice.id()), &json!(true)));
    let kept = dave.ok(json!({ "cmd": "history" }));
    assert_eq!(kept["messages"][0]["verified"], true);
    bob.send(&chat(BOB, "general", "unsigned"));
    assert_eq!(dave.hears("unsigned")["verified"], false);
}

#[test]
fn what_is_forged_is_dropped_and_counted_and_over_level_1_nobody_is_blamed() {
    let (mut alice, mut carol, said) = recorded("hi");
    let mut eve = RawPeer::dial(&carol.addr(), "127.0.0.1:5002", "Eve");
    let forge = |n: usize, change: &dyn Fn(&mut Value)| {
        let mut forged = said.clone();
        forged["id"] = json!(format!("f{n}"));
        change(&mut forged);
        forged
    };
    for n in 0..5 {
        eve.send(&forge(n, &|it| it["msg"] = json!("altered")));
    }
    eve.send(&forge(5, &|it| drop(it.as_object_mut().unwrap().remove("sig"))));
    eve.say("barrier");
    carol.hears("barrier");
    alice.hears("barrier");
    assert_eq!(dropped(&mut carol), json!({ "bad_signature": 5, "forged": 1 }));
    assert!(carol.saw("message", json!({ "text": "altered" })).is_empty());
    assert_eq!(dropped(&mut alice), json!({}));
}

#[test]
fn who_passes_on_forgeries_at_level_2_is_cut_off_at_the_third() {
    let (mut alice, mut carol, said) = recorded("hi");
    let secrets = Secrets::new();
    let mut mallory = RawPeer::connect(&carol.addr()).encrypt(&secrets);
    mallory.send(&hello_level2(&secrets.id, "Mallory"));
    carol.await_event("peer_up", json!({ "username": "Mallory" }));
    // A recording may be passed on in good faith.
    mallory.send(&said);
    // A copy is one more.
    for (n, ttl) in [(0, 9), (0, 8), (1, 9)] {
        let mut forged = said.clone();
        (forged["id"], forged["msg"]) = (json!(format!("f{n}")), json!("altered"));
        forged["ttl"] = json!(ttl);
        mallory.send(&forged);
    }
    let down = carol.await_event("peer_down", json!({ "username": "Mallory" }));
    assert_eq!(down["code"], "banned");
    let counters = carol.ok(json!({ "cmd": "status" }))["counters"].clone();
    assert_eq!((number(&counters, "strikes"), number(&counters["dropped"], "bad_signature")), (3, 3));
    alice.say("still linked");
    carol.hears("still linked");
}

#[test]
fn a_node_says_no_more_than_its_rate_and_loses_nothing() {
    let mut alice = Node::named("Alice", &["--rate", "50"]);
    let mut bob = Node::named("Bob", &[]);
    alice.link(&mut bob);
    assert_eq!(number(&alice.ok(json!({ "cmd": "status" }))["limits"], "rate"), 50);
    let start = Instant::now();
    let commands: String =
        (0..600).map(|n| format!("{}\n", json!({ "cmd": "send", "text": format!("{n}") }))).collect();
    alice.send_raw(commands.as_bytes());
    bob.hears("599");
    assert!(start.elapsed().as_secs_f64() > 1.8, "500 at once, then 50 a second: {:?}", start.elapsed());
    assert_eq!(bob.saw("message", json!({})).len(), 600);
    assert_eq!(text(&bob.ok(json!({ "cmd": "room" })), "room"), "general");
}
