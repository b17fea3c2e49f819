//! Blocks and bans in whole networks.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::link::blocks::{FOR_GOOD, row};

use super::*;
use crate::base::State as Kept;
use crate::sim::{At, Net, Peer, addr_of};
use crate::wire::limits::{BAN_TIME, MAX_MALFORMED, MAX_STRIKES};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn net() -> Net {
    Net::new(1, (ms(1), ms(5)))
}

/// A line of three, the middle one with a state folder.
fn three() -> (Net, [At; 3]) {
    let mut net = net();
    let nodes = [0, 1, 2].map(|n| net.node_with(&format!("n{n}"), |it| it.state = (n == 1).then(Kept::default)));
    net.link(nodes[0], nodes[1]);
    net.link(nodes[1], nodes[2]);
    (net, nodes)
}

fn run(net: &mut Net, at: At, command: Value) -> Value {
    let line = net.command(at, &command);
    net.settle();
    net.reply(at, line)
}

#[track_caller]
fn ok(net: &mut Net, at: At, command: Value) -> Value {
    let reply = run(net, at, command);
    assert_eq!(reply["ok"], true, "{reply}");
    reply["result"].clone()
}

#[track_caller]
fn fails(net: &mut Net, at: At, command: Value, code: &str) {
    let reply = run(net, at, command);
    assert_eq!(reply["error"]["code"], code, "{reply}");
}

fn id(net: &Net, at: At) -> String {
    net.at(at).id().to_owned()
}

fn is_linked(net: &Net, a: At, b: At) -> bool {
    let is = |a: At, b: At| net.at(a).neighbour_ids().iter().any(|id| **id == *net.at(b).id());
    assert_eq!(is(a, b), is(b, a));
    is(a, b)
}

#[test]
fn a_blocked_peer_is_not_linked_but_its_messages_come_another_way() {
    let (mut net, [a, b, c]) = three();
    net.link(c, a);
    let peer = id(&net, a).to_uppercase();
    let done = ok(&mut net, b, json!({ "cmd": "block", "peer": peer }));
    assert_eq!((&done["closed"], &done["left_ms"], &done["peer"]), (&json!(1), &json!(null), &json!(id(&net, a))));
    net.run_for(ms(120_000));
    assert!(!is_linked(&net, a, b), "whoever dials");
    let down = net.events(b, "peer_down").last().cloned().expect("it went");
    assert_eq!((&down["code"], &down["retry_in_ms"]), (&json!("blocked"), &json!(null)));
    fails(&mut net, b, json!({ "cmd": "connect", "addr": addr_of(a).to_string() }), "blocked");
    let message = net.send(a, "by way of the third");
    net.settle();
    assert_eq!(net.shown(b, &message), 1);
    ok(&mut net, b, json!({ "cmd": "unblock", "peer": peer }));
    net.run_for(ms(120_000));
    assert!(is_linked(&net, a, b), "it dials again");
    net.check().expect("sound");
}

#[test]
fn a_dial_that_finds_a_blocked_peer_waits_until_that_is_lifted() {
    let mut net = net();
    let a = net.node("a");
    let b = net.node_with("b", |it| it.connect = vec![addr_of(a).to_string()]);
    net.settle();
    assert!(is_linked(&net, a, b));
    let peer = id(&net, a);
    ok(&mut net, b, json!({ "cmd": "block", "peer": peer, "for_ms": 60_000 }));
    let dials = |net: &Net| net.events(b, "connect_failed").count();
    net.run_for(ms(59_000));
    assert!(!is_linked(&net, a, b));
    assert_eq!(dials(&net), 0, "it is not even dialled");
    net.run_for(ms(2000));
    assert!(is_linked(&net, a, b), "at once when the time is over");
}

#[test]
fn what_a_blocked_author_says_is_neither_shown_nor_passed_on() {
    let (mut net, [a, b, c]) = three();
    let author = id(&net, a);
    ok(&mut net, b, json!({ "cmd": "block", "author": author }));
    let message = net.send(a, "hush");
    net.settle();
    assert_eq!((net.shown(b, &message), net.shown(c, &message)), (0, 0));
    assert!(net.events(b, "dropped").any(|line| line["id"] == *message && line["cause"] == "blocked"));
    let status = ok(&mut net, b, json!({ "cmd": "status" }));
    assert_eq!(status["counters"]["dropped"]["blocked"], 1);
    let other = net.send(c, "not me");
    net.settle();
    assert_eq!((net.shown(a, &other), net.shown(b, &other)), (1, 1));
    ok(&mut net, b, json!({ "cmd": "unblock", "author": author }));
    let message = net.send(a, "again");
    net.settle();
    assert_eq!((net.shown(b, &message), net.shown(c, &message)), (1, 1));
    net.check().expect("sound");
}

#[test]
fn an_address_is_kept_out_in_both_directions() {
    let (mut net, [a, b, c]) = three();
    let ip = addr_of(a).ip();
    let mapped = format!("[::ffff:{ip}]");
    assert_eq!(ok(&mut net, b, json!({ "cmd": "block", "addr": mapped }))["closed"], 1);
    net.run_for(ms(120_000));
    assert!(!is_linked(&net, a, b) && is_linked(&net, b, c));
    fails(&mut net, b, json!({ "cmd": "connect", "addr": format!("{ip}:5000") }), "blocked");
    net.forge(addr_of(a), b, vec![1; 40]);
    net.settle();
    let status = ok(&mut net, b, json!({ "cmd": "status" }));
    assert_eq!(status["counters"]["datagrams_dropped"], 1);
    assert!(status["counters"]["links_refused"].as_u64() > Some(0));
    ok(&mut net, b, json!({ "cmd": "unblock", "addr": ip.to_string() }));
    net.run_for(ms(120_000));
    assert!(is_linked(&net, a, b));
}

#[test]
fn blocks_are_listed_bounded_and_wrong_ones_told() {
    let (mut net, [_, b, _]) = three();
    let own = id(&net, b);
    for (command, code) in [
        (json!({ "cmd": "block" }), "missing_field"),
        (json!({ "cmd": "block", "peer": "x", "author": "x" }), "bad_value"),
        (json!({ "cmd": "block", "peer": "" }), "bad_value"),
        (json!({ "cmd": "block", "author": "x".repeat(65) }), "bad_value"),
        (json!({ "cmd": "block", "addr": "localhost" }), "bad_value"),
        (json!({ "cmd": "block", "addr": "10.0.0.1:5000" }), "bad_value"),
        (json!({ "cmd": "block", "peer": "x", "for_ms": 0 }), "bad_value"),
        (json!({ "cmd": "block", "peer": "x", "for_ms": MAX_FOR_MS + 1 }), "bad_value"),
        (json!({ "cmd": "block", "author": own }), "bad_value"),
        (json!({ "cmd": "unblock" }), "missing_field"),
        (json!({ "cmd": "unblock", "peer": "x" }), "not_found"),
    ] {
        fails(&mut net, b, command, code);
    }
    ok(&mut net, b, json!({ "cmd": "block", "addr": "10.7.7.7", "for_ms": 60_000 }));
    ok(&mut net, b, json!({ "cmd": "block", "author": "somebody" }));
    net.run_for(ms(10_000));
    let listed = ok(&mut net, b, json!({ "cmd": "blocks" }));
    let expected = json!([{ "author": "somebody", "left_ms": null, "ban": false },
        { "addr": "10.7.7.7", "left_ms": 50_000, "ban": false }]);
    assert_eq!(listed["blocks"], expected);
    for n in 0..MAX_BLOCKS - 2 {
        ok(&mut net, b, json!({ "cmd": "block", "peer": n.to_string() }));
    }
    fails(&mut net, b, json!({ "cmd": "block", "peer": "one more" }), "too_many_blocks");
    ok(&mut net, b, json!({ "cmd": "block", "peer": "7", "for_ms": 1 }));
    net.run_for(ms(10));
    ok(&mut net, b, json!({ "cmd": "block", "peer": "one more" }));
    net.check().expect("sound");
}

#[test]
fn blocks_outlive_a_run_and_bans_do_not() {
    let (mut net, [a, b, _]) = three();
    let author = id(&net, a);
    ok(&mut net, b, json!({ "cmd": "block", "author": author, "for_ms": 60_000 }));
    ok(&mut net, b, json!({ "cmd": "block", "peer": "gone" }));
    ok(&mut net, b, json!({ "cmd": "unblock", "peer": "gone" }));
    let eve = banned(&mut net, b);
    net.run_for(ms(20_000));
    net.restart(b);
    net.settle();
    let listed = ok(&mut net, b, json!({ "cmd": "blocks" }));
    let left = listed["blocks"][0]["left_ms"].as_u64().expect("a time");
    assert!(
        listed["blocks"].as_array().is_some_and(|all| all.len() == 1) && left <= 40_000 && left > 39_000,
        "{listed}"
    );
    net.link_peer(eve, b, "eve", "Eve");
    assert!(net.at(b).neighbour_ids().iter().any(|id| &**id == "eve"));
    net.run_for(ms(41_000));
    net.restart(b);
    assert_eq!(ok(&mut net, b, json!({ "cmd": "blocks" }))["blocks"], json!([]));
    assert_eq!(net.state(b).map(|state| state.rows(Table::Blocks).count()), Some(0), "what is over is not kept");
}

#[test]
fn a_clock_that_is_wrong_makes_no_block_longer_than_was_asked() {
    let mut net = net();
    let now = 1_767_225_600_000_u64;
    let at = net.node_with("a", |it| {
        let mut state = Kept::default();
        // Set when the clock stood in 2038; and in 1970; and rows that nobody here has written.
        for (key, value) in [
            ("peer set in 2038", row(2_145_916_800_000 + 5000, 5000)),
            ("peer set in 1970", row(5000, 5000)),
            ("peer set now", row(now + 3000, 5000)),
            ("peer for good", row(FOR_GOOD, FOR_GOOD)),
            ("peer cut short", vec![1]),
            ("addr nowhere", row(FOR_GOOD, FOR_GOOD)),
            ("nonsense", Vec::new()),
        ] {
            state.set(Table::Blocks, key.into(), Some(value));
        }
        it.state = Some(state);
    });
    let listed = ok(&mut net, at, json!({ "cmd": "blocks" }));
    let left = |name: &str| {
        let found = listed["blocks"].as_array().expect("a list").iter().find(|it| it["peer"] == name);
        found.map(|it| it["left_ms"].clone())
    };
    assert_eq!(left("set in 2038"), Some(json!(5000)));
    assert_eq!(left("set in 1970"), None);
    assert_eq!(left("set now"), Some(json!(3000)));
    assert_eq!(left("for good"), Some(json!(null)));
    assert_eq!(listed["blocks"].as_array().map(Vec::len), Some(3));
}

/// Ten years, in milliseconds.
const DECADE: i64 = 10 * 31_556_952_000;

/// The time left of the only block of a node, in milliseconds; `None` if there is none.
fn left(net: &mut Net, at: At) -> Option<u64> {
    let listed = ok(net, at, json!({ "cmd": "blocks" }));
    let all = listed["blocks"].as_array().expect("a list");
    assert!(all.len() <= 1, "{listed}");
    all.first().map(|it| it["left_ms"].as_u64().expect("a time"))
}

#[test]
fn a_block_lasts_as_long_as_was_asked_when_the_clock_jumps_and_the_node_starts_again() {
    for jump in [DECADE, -DECADE] {
        let (mut net, [_, b, _]) = three();
        ok(&mut net, b, json!({ "cmd": "block", "author": "x", "for_ms": 60_000 }));
        net.run_for(ms(20_000));
        net.set_clocks(jump);
        let is_left = |net: &mut Net| left(net, b).is_some_and(|it| (39_000..=40_000).contains(&it));
        assert!(is_left(&mut net), "it runs");
        net.restart(b);
        assert!(is_left(&mut net), "it has seen the jump");
        net.run_for(ms(40_000));
        assert_eq!(left(&mut net, b), None);
        net.restart(b);
        assert_eq!(left(&mut net, b), None);
    }
}

#[test]
fn a_block_of_a_clock_that_was_ahead_is_over_in_the_end_however_often_the_node_starts() {
    let (mut net, [_, b, _]) = three();
    ok(&mut net, b, json!({ "cmd": "block", "author": "x", "for_ms": 60_000 }));
    // While the node is down.
    net.set_clocks(-DECADE);
    let starts = (0..10).find(|_| {
        net.restart(b);
        net.run_for(ms(20_000));
        left(&mut net, b).is_none()
    });
    assert_eq!(starts, Some(2), "the first start begins the minute anew, and only that one");
}

#[test]
fn a_block_for_good_and_a_ban_know_no_clock() {
    let (mut net, [_, b, _]) = three();
    ok(&mut net, b, json!({ "cmd": "block", "author": "x" }));
    let eve = banned(&mut net, b);
    for jump in [DECADE, -2 * DECADE, DECADE] {
        net.set_clocks(jump);
        net.settle();
        let listed = ok(&mut net, b, json!({ "cmd": "blocks" }));
        assert_eq!(listed["blocks"].as_array().map(Vec::len), Some(2), "{listed}");
        net.link_peer(eve, b, "eve", "Eve");
        assert!(!net.at(b).neighbour_ids().iter().any(|id| &**id == "eve"));
    }
    for jump in [DECADE, -2 * DECADE] {
        net.set_clocks(jump);
        net.restart(b);
        let listed = ok(&mut net, b, json!({ "cmd": "blocks" }));
        assert_eq!(listed["blocks"], json!([{ "author": "x", "left_ms": null, "ban": false }]));
    }
}

/// A peer that has had itself banned.
fn banned(net: &mut Net, at: At) -> Peer {
    let eve = net.peer(SocketAddr::from(([10, 66, 0, 1], 6666)));
    for n in 0..MAX_STRIKES {
        net.link_peer(eve, at, &format!("eve{n}"), "Eve");
        for _ in 0..=MAX_MALFORMED {
            net.say(eve, at, &json!("not an object"));
        }
    }
    eve
}

#[test]
fn three_strikes_shut_an_address_out_for_ten_minutes() {
    let (mut net, [a, b, c]) = three();
    let eve = banned(&mut net, b);
    let downs: Vec<Value> = net.events(b, "peer_down").map(|it| it["code"].clone()).collect();
    assert_eq!(downs, ["malformed", "malformed", "banned"]);
    assert!(
        net.events(b, "warning").any(|it| it["code"] == "banned" && it["message"].to_string().contains("10.66.0.1"))
    );
    let is_in = |net: &mut Net| {
        net.link_peer(eve, b, "eve", "Eve");
        net.at(b).neighbour_ids().iter().any(|id| &**id == "eve")
    };
    assert!(!is_in(&mut net));
    let listed = ok(&mut net, b, json!({ "cmd": "blocks" }));
    assert_eq!(listed["blocks"], json!([{ "addr": "10.66.0.1", "left_ms": 600_000, "ban": true }]));
    let status = ok(&mut net, b, json!({ "cmd": "status" }));
    assert_eq!((&status["counters"]["strikes"], &status["counters"]["bans"]), (&json!(3), &json!(1)));
    assert!(is_linked(&net, a, b) && is_linked(&net, b, c), "others are as they were");
    net.run_for(BAN_TIME - ms(1));
    assert!(!is_in(&mut net));
    net.run_for(ms(1));
    assert!(is_in(&mut net));
    net.check().expect("sound");
}

#[test]
fn unblock_ends_a_ban() {
    let (mut net, [_, b, _]) = three();
    let eve = banned(&mut net, b);
    ok(&mut net, b, json!({ "cmd": "unblock", "addr": "10.66.0.1" }));
    net.link_peer(eve, b, "eve", "Eve");
    assert!(net.at(b).neighbour_ids().iter().any(|id| &**id == "eve"));
    fails(&mut net, b, json!({ "cmd": "unblock", "addr": "10.66.0.1" }), "not_found");
}

#[test]
fn a_full_disk_is_told_and_what_was_not_saved_is_saved_when_there_is_room() {
    let (mut net, [a, b, c]) = three();
    net.saves(b, false);
    ok(&mut net, b, json!({ "cmd": "block", "author": "somebody" }));
    let warnings = |net: &Net| net.events(b, "warning").filter(|it| it["code"] == "state_not_saved").count();
    assert_eq!(warnings(&net), 1);
    ok(&mut net, b, json!({ "cmd": "block", "author": "another" }));
    assert_eq!(warnings(&net), 1, "not again and again");
    let message = net.send(a, "the node goes on");
    net.settle();
    assert_eq!((net.shown(b, &message), net.shown(c, &message)), (1, 1));
    // Two blocks, and which counter of the author's was seen.
    assert_eq!(ok(&mut net, b, json!({ "cmd": "status" }))["queues"]["unsaved"], 3);
    net.saves(b, true);
    net.settle();
    assert_eq!(ok(&mut net, b, json!({ "cmd": "status" }))["queues"]["unsaved"], 0);
    net.restart(b);
    net.settle();
    assert_eq!(ok(&mut net, b, json!({ "cmd": "blocks" }))["blocks"].as_array().map(Vec::len), Some(2));
}
