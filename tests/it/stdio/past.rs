//! What a node keeps: `history` and its pages, `trace`.

use serde_json::{Value, json};

use crate::support::raw::chat_with;
use crate::support::{Node, RawPeer, has_fields, list, number, text, texts};

const BOB: &str = "127.0.0.1:5001";

/// Says `count` numbered messages in a room.
#[track_caller]
fn fill(node: &mut Node, room: &str, count: usize) {
    let mut last = Value::Null;
    for i in 1..=count {
        last = node.begin(json!({ "cmd": "send", "text": format!("{room} {i}"), "room": room }));
    }
    assert_eq!(node.await_reply(&last)["ok"], true);
}

fn history(node: &mut Node, arguments: Value) -> Value {
    let mut command = json!({ "cmd": "history" });
    command.as_object_mut().unwrap().extend(arguments.as_object().unwrap().clone());
    node.ok(command)
}

fn positions(page: &Value) -> Vec<u64> {
    list(page, "messages").iter().map(|message| number(message, "pos")).collect()
}

#[test]
fn the_newest_come_first_and_each_page_oldest_first() {
    let mut node = Node::start(&[]);
    fill(&mut node, "general", 250);
    let mut page = history(&mut node, json!({}));
    assert_eq!(positions(&page), (151..=250).collect::<Vec<_>>());
    let mut all = positions(&page);
    while page["more"] == true {
        page = history(&mut node, json!({ "before_pos": page["next_pos"] }));
        all.splice(..0, positions(&page));
    }
    assert_eq!(all, (1..=250).collect::<Vec<_>>());
}

#[test]
fn pages_go_forward_too() {
    let mut node = Node::start(&[]);
    fill(&mut node, "general", 250);
    let mut page = history(&mut node, json!({ "after_pos": 0, "limit": 60 }));
    let mut all = positions(&page);
    assert_eq!(all.len(), 60);
    while page["more"] == true {
        page = history(&mut node, json!({ "after_pos": page["next_pos"], "limit": 60 }));
        all.extend(positions(&page));
    }
    assert_eq!(all, (1..=250).collect::<Vec<_>>());
    let end = history(&mut node, json!({ "after_pos": 250 }));
    assert_eq!((positions(&end), &end["more"]), (vec![], &json!(false)));
    let id = text(&history(&mut node, json!({ "before_pos": 101, "limit": 1 }))["messages"][0], "id");
    let after = history(&mut node, json!({ "after": id, "limit": 3 }));
    assert_eq!(positions(&after), [101, 102, 103]);
}

#[test]
fn positions_grow_over_all_rooms() {
    let mut node = Node::start(&[]);
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    fill(&mut node, "ops", 2);
    bob.say("three");
    assert_eq!(number(&node.hears("three"), "pos"), 3);
    bob.say_in("ops", "four");
    bob.say("five");
    assert_eq!(number(&node.hears("five"), "pos"), 5);
    assert_eq!(positions(&history(&mut node, json!({ "room": "ops" }))), [1, 2, 4]);
    assert_eq!(positions(&history(&mut node, json!({ "room": "ops", "after_pos": 2 }))), [4]);
    assert_eq!(positions(&history(&mut node, json!({ "room": "nowhere" }))), [0; 0]);
}

#[test]
fn an_entry_is_the_message_as_it_was_shown() {
    let mut node = Node::start(&[]);
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    bob.say("as it was");
    let shown = node.hears("as it was");
    let kept = list(&history(&mut node, json!({})), "messages");
    for (field, value) in kept[0].as_object().unwrap() {
        assert_eq!(shown[field], *value, "{field}");
    }
    let missing = shown.as_object().unwrap().keys().filter(|&field| kept[0].get(field).is_none());
    assert!(
        missing.clone().all(|field| ["event", "seq"].contains(&field.as_str())),
        "{:?}",
        missing.collect::<Vec<_>>()
    );
}

#[test]
fn a_room_keeps_a_thousand_and_says_what_is_gone() {
    let mut node = Node::start(&[]);
    fill(&mut node, "quiet", 1);
    fill(&mut node, "general", 1_100);
    let first = history(&mut node, json!({ "limit": 1000 }));
    assert_eq!(positions(&first), (102..=1_101).collect::<Vec<_>>());
    assert_eq!(first["more"], false);
    assert_eq!(positions(&history(&mut node, json!({ "after_pos": 101, "limit": 2 }))), [102, 103]);
    for gone in [json!({ "after_pos": 100 }), json!({ "after_pos": 0 })] {
        let mut command = json!({ "cmd": "history" });
        command.as_object_mut().unwrap().extend(gone.as_object().unwrap().clone());
        assert_eq!(node.fails(command), "gone", "{gone}");
    }
    // Another room's messages are all there.
    assert_eq!(positions(&history(&mut node, json!({ "room": "quiet", "after_pos": 0 }))), [1]);
}

#[test]
fn its_bytes_are_bounded() {
    let mut node = Node::start(&["--history-bytes", "300000"]);
    let text = "x".repeat(50_000);
    for i in 0..20 {
        node.begin(json!({ "cmd": "send", "text": format!("{i} {text}"), "id": i }));
    }
    node.await_reply(&json!(19));
    let status = node.ok(json!({ "cmd": "status" }));
    assert!(number(&status["queues"], "history_bytes") <= 300_000, "{status}");
    assert_eq!(number(&status["limits"], "history_bytes"), 300_000);
    let kept = list(&history(&mut node, json!({})), "messages");
    assert!((3..=5).contains(&kept.len()), "{} are kept", kept.len());
    assert_eq!(kept.last().map(|message| number(message, "pos")), Some(20), "the newest is");
    assert_eq!(node.fails(json!({ "cmd": "history", "after_pos": 0 })), "gone");
}

#[test]
fn a_long_page_keeps_the_limit_of_a_line() {
    let mut node = Node::start(&[]);
    let text = "x".repeat(60_000);
    for i in 0..40 {
        node.begin(json!({ "cmd": "send", "text": text, "id": i }));
    }
    node.await_reply(&json!(39));
    let mut page = history(&mut node, json!({ "after_pos": 0, "limit": 1000 }));
    let mut all = positions(&page);
    assert_eq!(page["more"], true, "2.4 MB do not fit a line");
    while page["more"] == true {
        page = history(&mut node, json!({ "after_pos": page["next_pos"], "limit": 1000 }));
        assert!(!positions(&page).is_empty());
        all.extend(positions(&page));
    }
    assert_eq!(all, (1..=40).collect::<Vec<_>>());
}

#[test]
fn trace_tells_what_became_of_a_message() {
    let mut node = Node::start(&[]);
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    let mut carol = RawPeer::dial(&node.addr(), "carol", "Carol");
    node.await_event("peer_up", json!({ "peer": "carol" }));
    let id = bob.say("traced");
    let echo = carol.hears("traced");
    carol.send(&echo);
    carol.say("barrier");
    node.hears("barrier");
    let trace = node.ok(json!({ "cmd": "trace", "message": id }));
    let expected = json!({ "message": id, "from": BOB, "via": BOB, "hops": 1, "copies": 2, "dropped": null });
    assert!(has_fields(&trace, &expected), "{trace}");
    assert_eq!(texts(&list(&trace, "links"), "peer"), ["carol"]);

    let id = node.say("mine");
    let trace = node.ok(json!({ "cmd": "trace", "message": id }));
    let expected = json!({ "from": node.id(), "via": null, "hops": 0, "copies": 0, "dropped": null });
    assert!(has_fields(&trace, &expected), "{trace}");
    assert_eq!(texts(&list(&trace, "links"), "peer"), [BOB, "carol"]);
}

#[test]
fn trace_tells_of_a_message_that_went_no_further() {
    let mut node = Node::start(&[]);
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    let _carol = RawPeer::dial(&node.addr(), "carol", "Carol");
    node.await_event("peer_up", json!({ "peer": "carol" }));
    let last = chat_with(BOB, "its last hop", &json!({ "ttl": 1 }));
    bob.send(&last);
    node.hears("its last hop");
    let trace = node.ok(json!({ "cmd": "trace", "message": last["id"] }));
    assert_eq!((&trace["copies"], &trace["links"]), (&json!(1), &json!([])));
}
