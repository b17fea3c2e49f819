//! Pages of history, part of which has to be loaded.

use std::time::Duration;

use serde_json::{Value, json};

use crate::history::Kept;
use crate::node::STDIO;
use crate::sim::{At, Net};

/// A node with so many messages on disk, and three in memory.
fn node(on_disk: u64) -> (Net, At) {
    let mut net = Net::new(1, (Duration::ZERO, Duration::ZERO));
    let at = net.node("a");
    let kept = |pos: u64| {
        let message = json!({ "type": "chat", "id": format!("old{pos}"), "from": "x", "username": "X", "room": "general",
            "msg": format!("old {pos}"), "ts": "t", "ttl": 5 });
        let frame = message.to_string().into_bytes().into();
        Kept { pos, received_at: 0, hops: 1, via: Some("y".into()), verified: false, frame }
    };
    net.put_on_disk(at, "general", (1..=on_disk).map(kept).collect());
    (0..3).for_each(|n| drop(net.send(at, &format!("new {n}"))));
    (net, at)
}

fn texts(result: &Value) -> Vec<&str> {
    result["messages"].as_array().expect("messages").iter().filter_map(|it| it["text"].as_str()).collect()
}

#[test]
fn a_page_in_memory_is_answered_at_once_and_an_older_one_when_it_is_loaded() {
    let (mut net, at) = node(5);
    let line = net.command(at, &json!({ "cmd": "history", "limit": 2 }));
    assert_eq!(texts(&net.reply(at, line)["result"]), ["new 1", "new 2"]);
    let line = net.command(at, &json!({ "cmd": "history", "limit": 5 }));
    assert!(net.reply(at, line).is_null(), "it is being loaded");
    assert!(!net.at(at).may_take_request(net.time(), STDIO), "the next line waits");
    net.settle();
    let reply = net.reply(at, line);
    assert_eq!(texts(&reply["result"]), ["old 4", "old 5", "new 0", "new 1", "new 2"]);
    assert_eq!((&reply["result"]["more"], &reply["result"]["next_pos"]), (&json!(true), &json!(4)));
}

#[test]
fn pages_forth_and_after_an_id_go_on_from_disk_to_memory() {
    let (mut net, at) = node(5);
    for (args, found) in [
        (json!({ "after_pos": 3, "limit": 3 }), vec!["old 4", "old 5", "new 0"]),
        (json!({ "after": "old5", "limit": 2 }), vec!["new 0", "new 1"]),
        (json!({ "before_pos": 3 }), vec!["old 1", "old 2"]),
    ] {
        let mut command = args.clone();
        command["cmd"] = json!("history");
        let line = net.command(at, &command);
        net.settle();
        assert_eq!(texts(&net.reply(at, line)["result"]), found, "{args}");
    }
    let line = net.command(at, &json!({ "cmd": "history", "after": "nowhere" }));
    net.settle();
    assert_eq!(net.reply(at, line)["error"]["code"], "not_found");
}

#[test]
fn a_page_that_is_being_loaded_is_cut_short_at_the_end() {
    let (mut net, at) = node(5);
    let first = net.command(at, &json!({ "cmd": "history", "limit": 5, "async": true }));
    net.command(at, &json!({ "cmd": "exit" }));
    net.settle();
    assert_eq!(net.reply(at, first)["error"]["code"], "interrupted");
}
