//! A peer that stands still, as a machine does that is suspended or swapped out: SIGSTOP, and SIGCONT later.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Node, RawPeer, list, text};

/// How long it stands still.
const STANDSTILL: Duration = Duration::from_secs(20);
/// How often the others say something meanwhile.
const EVERY: Duration = Duration::from_millis(250);

/// All of them take their time waiting, so they do it together.
#[test]
fn a_peer_that_stands_still_costs_the_others_nothing_and_itself_what_no_queue_could_hold() {
    thread::scope(|scope| {
        scope.spawn(what_was_said_meanwhile_is_heard_later);
        scope.spawn(one_that_was_given_up_comes_back);
        scope.spawn(in_a_flood_what_it_misses_is_told);
    });
}

/// Two who talk, and one linked to the first of them.
fn three() -> [Node; 3] {
    let [mut alice, mut bob, mut carol] = ["Alice", "Bob", "Carol"].map(|name| Node::patient(&["--username", name]));
    bob.link(&mut alice);
    carol.link(&mut alice);
    // The last thing that was heard of her is no older than this.
    carol.say("here I am");
    alice.hears("here I am");
    [alice, bob, carol]
}

/// Has Alice talk to Bob until it is enough. Gives what she said.
fn talk(alice: &mut Node, bob: &mut Node, mut enough: impl FnMut(&Node) -> bool) -> Vec<Value> {
    let mut said = Vec::new();
    while !enough(alice) {
        let text = format!("{}", said.len());
        alice.say(&text);
        bob.hears(&text);
        said.push(json!(text));
        thread::sleep(EVERY);
    }
    said
}

fn what_was_said_meanwhile_is_heard_later() {
    let [mut alice, mut bob, mut carol] = three();
    carol.signal(Signal::STOP);
    let start = Instant::now();
    let said = talk(&mut alice, &mut bob, |_| start.elapsed() > STANDSTILL);
    carol.signal(Signal::CONT);
    alice.say("good morning");
    carol.hears("good morning");
    assert_eq!(carol.heard()[..said.len()], said);
    carol.say("did I miss anything?");
    alice.hears("did I miss anything?");
    for node in [alice, bob, carol] {
        assert!(node.saw("peer_down", json!({})).is_empty(), "no link was lost");
        node.finish().exited(0);
    }
}

fn one_that_was_given_up_comes_back() {
    let [mut alice, mut bob, mut carol] = three();
    carol.signal(Signal::STOP);
    let down = json!({ "peer": carol.id() });
    let said = talk(&mut alice, &mut bob, |alice| !alice.saw("peer_down", down.clone()).is_empty());
    assert_eq!(alice.await_event("peer_down", down.clone())["code"], "dead");
    alice.say("into the void");
    bob.hears("into the void");
    carol.signal(Signal::CONT);
    // What had been handed to her system by then is there; what came after is not.
    let lost = carol.await_event("peer_down", json!({ "peer": alice.id() }));
    assert!(lost["retry_in_ms"].is_u64(), "{lost}");
    carol.await_event("peer_up", json!({ "peer": alice.id() }));
    alice.await_event("peer_up", down);
    alice.say("welcome back");
    carol.hears("welcome back");
    let heard = carol.heard();
    let missing = said.iter().filter(|text| !heard.contains(text)).count();
    assert!(missing <= 1, "but for one said just as she was given up: {heard:?}");
    assert!(!heard.contains(&json!("into the void")));
    for node in [alice, bob, carol] {
        node.finish().exited(0);
    }
}

fn in_a_flood_what_it_misses_is_told() {
    /// More than the system and a link's queue can hold.
    const FLOOD: usize = 600;
    /// What a link's queue holds, and the system's for writing (`tcp_wmem` of Linux, its most), in such messages.
    const QUEUES: usize = ((2 << 20) + (4 << 20)) / 60_000 + 1;
    let [_, mut bob, mut carol] = three();
    let mut alice = Node::patient(&["--events", "dropped"]);
    for node in [&mut bob, &mut carol] {
        node.link(&mut alice);
    }
    let mut source = RawPeer::dial(&alice.addr(), "source", "Source");
    carol.signal(Signal::STOP);
    let start = Instant::now();
    let mut all = Vec::new();
    for i in 0..FLOOD {
        all.push(source.say(&format!("{i} {}", "x".repeat(60_000))));
    }
    source.say("the last");
    bob.hears("the last");
    alice.await_event("peer_down", json!({ "peer": carol.id(), "code": "slow" }));
    talk(&mut alice, &mut bob, |_| start.elapsed() > STANDSTILL);
    carol.signal(Signal::CONT);
    let lost = carol.await_event("peer_down", json!({ "peer": alice.id() }));
    carol.await_event("peer_up", json!({ "peer": alice.id() }));
    alice.await_event("peer_up", json!({ "peer": carol.id() }));
    alice.say("welcome back");
    carol.hears("welcome back");

    let ids = |node: &Node| -> HashSet<_> {
        node.saw("message", json!({ "from": "source" })).iter().map(|line| text(line, "id")).collect()
    };
    let (at_bob, at_carol) = (ids(&bob), ids(&carol));
    assert!(all.iter().all(|id| at_bob.contains(id)), "all of it came to who reads");
    let to_carol = |line: &&Value| list(line, "to").contains(&json!(carol.id()));
    let told = alice.saw("dropped", json!({ "cause": "queue_full" }));
    let told: HashSet<_> = told.iter().filter(to_carol).map(|line| text(line, "id")).collect();
    assert!(told.is_disjoint(&at_carol), "what was dropped did not come");
    assert!(!told.is_empty() && !at_carol.is_empty());
    // What is neither shown nor told of was in the queues when the link was closed, or came before she was back.
    let gap = all.iter().filter(|id| !told.contains(*id) && !at_carol.contains(*id)).count();
    eprintln!(
        "of {FLOOD}, {lost}: {} shown after the standstill, {} told as dropped, {gap} lost with the link",
        at_carol.len(),
        told.len()
    );
    assert!(gap <= QUEUES + after_the_end(&alice, &all, &told), "{gap}");
    assert!(!alice.saw("warning", json!({ "code": "slow_peer" })).is_empty());
    for node in [alice, bob, carol] {
        node.finish().exited(0);
    }
}

/// How many of them came to Alice after she had closed the link: there was nobody to drop them for.
fn after_the_end(alice: &Node, all: &[String], told: &HashSet<String>) -> usize {
    let ended = alice.saw("peer_down", json!({ "code": "slow" }))[0]["seq"].as_u64();
    let came = alice.saw("message", json!({ "from": "source" }));
    let late = came.iter().filter(|line| line["seq"].as_u64() > ended);
    late.filter(|line| all.contains(&text(line, "id")) && !told.contains(&text(line, "id"))).count()
}
