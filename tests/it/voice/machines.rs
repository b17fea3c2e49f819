//! Voice between machines, with nobody told where to listen; and what is said if nobody is heard.

use serde_json::{Value, json};

use crate::support::net::Net;
use crate::support::{Node, text};

/// Two machines and a network between them. `None` where a test can't have that.
fn two_machines() -> Option<Net> {
    Net::new().map_err(|why| eprintln!("skipped, there are no network namespaces here: {why}")).ok()
}

/// Waits until each hears all the others.
#[track_caller]
fn hear_each_other(nodes: &mut [Node]) {
    let ids: Vec<String> = nodes.iter().map(Node::id).collect();
    for node in nodes {
        let own = node.id();
        for id in ids.iter().filter(|id| **id != own) {
            node.until(&json!({ "cmd": "voice_peers" }), |result| {
                let peers = result["peers"].as_array().expect("a list");
                peers.iter().any(|it| it["peer"] == **id && it["unheard"].is_null() && it["received"] != 0)
            });
        }
    }
}

/// Why that member is not heard, as `voice_peers` says.
#[track_caller]
fn why_unheard(node: &mut Node, id: &str) -> Value {
    node.member(id)["unheard"].clone()
}

#[test]
fn a_node_that_was_not_told_where_to_listen_has_voice_where_its_links_are() {
    let Some(net) = two_machines() else { return };
    let bob = net.node(0, "Bob", &["--port", "5000"]);
    let addr = bob.addr();
    // Two that others can't dial, on one machine and on another; and one more on each, which is at loopback alone.
    let there = net.node_without_host(1, "Alice", &["--connect", &addr]);
    let here = net.node_without_host(0, "Carol", &["--connect", &addr]);
    let beside = net.node_without_host(1, "Dave", &["--connect", &there.addr()]);
    let mut nodes = [bob, there, here, beside];
    for node in &mut nodes[1..] {
        node.await_event("peer_up", json!({ "direction": "out" }));
    }
    for node in &mut nodes[..3] {
        node.join_voice("tone:440", "none");
    }
    hear_each_other(&mut nodes[..3]);
    nodes[3].join_voice("tone:440", "none");
    let (alice, dave) = (nodes[1].id(), nodes[3].id());
    nodes[3].reaches(&[&alice]);
    nodes[1].reaches(&[&dave]);
    for node in nodes {
        let output = node.finish().exited(0);
        assert!(!output.lines.iter().any(|line| line["code"] == "voice_unheard"), "{:?}", output.lines);
    }
}

#[test]
fn a_call_that_reaches_nobody_is_warned_of_and_fails_with_check() {
    let Some(net) = two_machines() else { return };
    let mut bob = net.node(0, "Bob", &[]);
    let connect = ["--host", "127.0.0.1", "--connect", &bob.addr(), "--check"];
    let mut alice = net.node_without_host(1, "Alice", &connect);
    alice.await_event("peer_up", json!({}));
    let ids = [alice.id(), bob.id()];
    alice.join_voice("tone:440", "none");
    bob.join_voice("tone:440", "none");
    for (node, other) in [(&mut alice, &ids[1]), (&mut bob, &ids[0])] {
        let warning = node.await_event("warning", json!({ "code": "voice_unheard" }));
        assert!(text(&warning, "message").contains("no_echo: 1"), "{warning}");
        assert_eq!(why_unheard(node, other), "no_echo");
    }
    bob.finish().exited(0);
    let output = alice.finish().exited(5);
    assert!(output.stderr.contains("nobody was heard"), "{}", output.stderr);
}

#[test]
fn with_check_leaving_a_call_that_has_reached_nobody_ends_the_node() {
    let Some(net) = two_machines() else { return };
    let mut bob = net.node(0, "Bob", &[]);
    bob.join_voice("tone:440", "none");
    let connect = ["--host", "127.0.0.1", "--connect", &bob.addr(), "--check"];
    let mut alice = net.node_without_host(1, "Alice", &connect);
    alice.await_event("voice_joined", json!({}));
    alice.join_voice("none", "none");
    alice.await_event("warning", json!({ "code": "voice_unheard" }));
    let leave = alice.begin(json!({ "cmd": "voice_leave" }));
    assert_eq!(alice.await_reply(&leave)["ok"], true, "it has left");
    assert_eq!(alice.await_end().exited(5).bye()["reason"], "check");
}

#[test]
fn why_a_member_is_not_heard_is_told_of_each() {
    let mut alice = Node::named("Alice", &["--room", "ops"]);
    let mut bob = Node::named("Bob", &["--room", "ops"]);
    alice.ok(json!({ "cmd": "key", "room": "ops", "passphrase": "one" }));
    bob.ok(json!({ "cmd": "key", "room": "ops", "passphrase": "another" }));
    alice.link(&mut bob);
    for node in [&mut alice, &mut bob] {
        node.join_voice("tone:440", "none");
    }
    let id = bob.id();
    alice.await_event("voice_joined", json!({ "peer": id }));
    assert_eq!(why_unheard(&mut alice, &id), "key");
    let warning = alice.await_event("warning", json!({ "code": "voice_unheard" }));
    assert!(text(&warning, "message").contains("key: 1"), "{warning}");
    bob.ok(json!({ "cmd": "key", "room": "ops", "passphrase": "one" }));
    alice.reaches(&[&id]);
    alice.until(&json!({ "cmd": "voice_peers" }), |result| result["peers"][0]["unheard"].is_null());
}
