//! `block`, `unblock`, `blocks` of the real program.

use serde_json::json;

use crate::support::{Node, RawListener, RawPeer, TempDir};

const BOB: &str = "127.0.0.1:5001";

#[test]
fn a_blocked_author_is_not_shown_until_it_is_unblocked() {
    let mut node = Node::start(&[]);
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    let mut carol = RawPeer::dial(&node.addr(), "127.0.0.1:5002", "Carol");
    node.ok(json!({ "cmd": "block", "author": BOB }));
    bob.say("hush");
    carol.say("hi");
    node.hears("hi");
    // One link is read in order: what Bob says next comes after what was dropped.
    node.until(&json!({ "cmd": "status" }), |status| status["counters"]["dropped"]["blocked"] == 1);
    node.ok(json!({ "cmd": "unblock", "author": BOB }));
    bob.say("at last");
    node.hears("at last");
    assert_eq!(node.heard(), ["hi", "at last"]);
    assert_eq!(carol.all_until("at last"), ["at last"]);
}

#[test]
fn a_blocked_peer_and_a_blocked_address_are_shut_out() {
    let mut node = Node::start(&[]);
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    node.await_event("peer_up", json!({ "peer": BOB }));
    assert_eq!(node.ok(json!({ "cmd": "block", "peer": BOB, "for_ms": 60_000 }))["closed"], 1);
    bob.expect_closed();
    node.await_event("peer_down", json!({ "peer": BOB, "code": "blocked", "retry_in_ms": null }));
    let mut again = RawPeer::connect(&node.addr());
    again.send(&crate::support::raw::hello(BOB, "Bob"));
    again.expect_closed();
    let mut other = RawPeer::dial(&node.addr(), "127.0.0.1:5002", "Carol");
    node.await_event("peer_up", json!({ "username": "Carol" }));

    assert_eq!(node.ok(json!({ "cmd": "block", "addr": "127.0.0.1" }))["closed"], 1);
    other.expect_closed();
    RawPeer::connect(&node.addr()).expect_closed();
    let listener = RawListener::new();
    assert_eq!(node.fails(json!({ "cmd": "connect", "addr": listener.addr() })), "blocked");
    assert!(!listener.has_waiting(0), "it is not even dialled");
    let listed = node.ok(json!({ "cmd": "blocks" }));
    assert_eq!(listed["blocks"].as_array().map(Vec::len), Some(2), "{listed}");
    node.ok(json!({ "cmd": "unblock", "addr": "127.0.0.1" }));
    node.ok(json!({ "cmd": "unblock", "peer": BOB }));
    assert_eq!(node.fails(json!({ "cmd": "unblock", "peer": BOB })), "not_found");
    RawPeer::dial(&node.addr(), BOB, "Bob");
}

#[test]
fn blocks_are_kept_with_a_state_folder_alone() {
    let temp = TempDir::new();
    let dir = temp.path("state");
    for args in [vec!["--state", dir.as_str()], vec![]] {
        let mut node = Node::start(&args);
        node.ok(json!({ "cmd": "block", "author": BOB, "for_ms": 3_600_000 }));
        node.ok(json!({ "cmd": "block", "addr": "2001:db8::1" }));
        node.ok(json!({ "cmd": "block", "peer": BOB }));
        node.ok(json!({ "cmd": "unblock", "peer": BOB }));
        node.finish().exited(0);
        let mut node = Node::start(&args);
        let listed = node.ok(json!({ "cmd": "blocks" }))["blocks"].as_array().expect("a list").clone();
        if args.is_empty() {
            assert!(listed.is_empty(), "{listed:?}");
            continue;
        }
        assert_eq!(listed.len(), 2, "{listed:?}");
        assert_eq!((&listed[0]["author"], &listed[1]["addr"]), (&json!(BOB), &json!("2001:db8::1")));
        assert!(listed[0]["left_ms"].as_u64().is_some_and(|left| left <= 3_600_000 && left > 3_000_000));
        assert!(listed[1]["left_ms"].is_null());
        let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
        bob.say("hush");
        node.until(&json!({ "cmd": "status" }), |status| status["counters"]["dropped"]["blocked"] == 1);
    }
}
