//! Whole networks of pure nodes, and what must be true of them.

use std::collections::VecDeque;

use super::*;
use crate::wire::limits;

/// How many random networks a test tries; `SIM_RUNS` raises it, for a soak.
fn runs(usual: u64) -> u64 {
    std::env::var("SIM_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(usual)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn named(net: &mut Net, n: usize) -> Vec<At> {
    (0..n).map(|i| net.node(&format!("n{i}"))).collect()
}

fn line(net: &mut Net, n: usize) -> Vec<At> {
    let nodes = named(net, n);
    nodes.windows(2).for_each(|pair| net.dial(pair[0], pair[1]));
    net.settle();
    nodes
}

/// Nodes as a random tree with some links more; gives the links, too.
fn random(net: &mut Net, n: usize, more: usize) -> (Vec<At>, Vec<(At, At)>) {
    let nodes = named(net, n);
    let mut links = BTreeSet::new();
    for i in 1..n {
        // Near ones are preferred in half of the networks: long ways.
        let near = net.chance(2) == 0;
        let other = if near { i - 1 - net.chance(i.min(3)) } else { net.chance(i) };
        links.insert(pair(nodes[i], nodes[other]));
    }
    for _ in 0..more {
        let (a, b) = (net.chance(n), net.chance(n));
        if a != b {
            links.insert(pair(nodes[a], nodes[b]));
        }
    }
    // A node has at most 64 links.
    let links: Vec<(At, At)> = links.into_iter().collect();
    links.iter().for_each(|(a, b)| net.dial(*a, *b));
    net.settle();
    (nodes, links)
}

fn distances(n: usize, links: &[(At, At)], from: At) -> Vec<usize> {
    let mut distance = vec![usize::MAX; n];
    distance[from.0] = 0;
    let mut next = VecDeque::from([from]);
    while let Some(at) = next.pop_front() {
        let ends = links.iter().filter(|(a, b)| *a == at || *b == at);
        for other in ends.map(|(a, b)| if *a == at { *b } else { *a }) {
            if distance[other.0] == usize::MAX {
                distance[other.0] = distance[at.0] + 1;
                next.push_back(other);
            }
        }
    }
    distance
}

/// A frame as an original would send it, with any `ttl`.
fn inject(net: &mut Net, at: At, id: &str, ttl: u8) {
    let (tx, rx) = (net.new_link(), net.new_link());
    let addr = SocketAddr::from(([10, 9, 9, 9], 5000));
    let frame = |message: Value| {
        let body = message.to_string();
        [&(body.len() as u32).to_be_bytes()[..], body.as_bytes()].concat()
    };
    let hello = frame(json!({ "id": "h", "type": "hello", "from": format!("o{}", tx.0), "username": "old" }));
    let chat = frame(json!({ "id": id, "type": "chat", "from": "10.9.9.9:5000", "username": "old", "room": "general",
        "msg": "from an original", "ttl": ttl, "ts": "2026-01-01T00:00:00" }));
    net.handle(at, Input::Accepted { link: rx, addr });
    net.handle(at, Input::Bytes { link: rx, bytes: &hello });
    net.handle(at, Input::Bytes { link: rx, bytes: &chat });
}

#[test]
fn those_who_come_over_long_ways_get_in_beside_strangers() {
    /// How many of 8 nodes, each at 75 ms from the one that is dialled, get in at the first try.
    fn got_in(each: Duration, stranger: impl Fn(u8) -> [u8; 4]) -> usize {
        let mut net = Net::new(1, (ms(75), ms(75)));
        let nodes = named(&mut net, 9);
        let come = |net: &mut Net, mut for_: Duration| {
            while for_ >= each {
                for_ -= each;
                let link = net.new_link();
                let addr = SocketAddr::from((stranger(link.0 as u8), 9));
                net.handle(nodes[0], Input::Accepted { link, addr });
                net.run_for(each);
            }
        };
        come(&mut net, ms(300));
        for at in &nodes[1..] {
            net.dial(*at, nodes[0]);
            come(&mut net, ms(400));
        }
        nodes[1..].iter().filter(|at| !net.at(**at).neighbour_ids().is_empty()).count()
    }
    assert_eq!(got_in(ms(5), |n| [10, 200, 0, n]), 8, "200 a second of one network");
    assert_eq!(got_in(ms(1), |n| [10, 200, n % 5, n]), 8, "1,000 a second of five networks");
}

#[test]
fn a_message_goes_over_many_hops_and_counts_them() {
    let mut net = Net::new(1, (ms(1), ms(10)));
    let nodes = line(&mut net, 6);
    let id = net.send(nodes[0], "hi");
    net.settle();
    for (hops, at) in nodes.iter().enumerate().skip(1) {
        let shown: Vec<&Value> = net.events(*at, "message").collect();
        assert_eq!((shown.len(), &shown[0]["hops"], &shown[0]["id"]), (1, &json!(hops), &json!(id)));
        assert_eq!(shown[0]["via"], net.at(nodes[hops - 1]).id());
    }
    net.check().expect("sound");
}

#[test]
fn ttl_ends_a_message_at_the_thirty_second_hop() {
    let mut net = Net::new(2, (ms(1), ms(1)));
    let nodes = line(&mut net, 35);
    let id = net.send(nodes[0], "far");
    net.settle();
    let reached: Vec<usize> = nodes.iter().map(|at| net.shown(*at, &id)).collect();
    assert_eq!(reached[1..=32], [1; 32]);
    assert_eq!(reached[33..], [0, 0]);
    net.check().expect("sound");
}

#[test]
fn an_originals_message_keeps_its_short_life() {
    let mut net = Net::new(3, (ms(1), ms(1)));
    let nodes = line(&mut net, 8);
    inject(&mut net, nodes[0], "m5", 5);
    net.settle();
    let reached: Vec<usize> = nodes.iter().map(|at| net.shown(*at, "m5")).collect();
    assert_eq!(reached, [1, 1, 1, 1, 1, 0, 0, 0]);
}

/// Every node within `ttl` of the author shows each message exactly once, whatever the delays; nobody else does.
#[test]
fn random_networks_reach_everyone_within_ttl_exactly_once() {
    for seed in 0..runs(25) {
        let mut net = Net::new(seed, (ms(1), ms(400)));
        // Most are of the size that takes no time; each run of the test has some of the full size.
        let n = if seed % 8 == 7 { 200 } else { 2 + net.chance(60) };
        let more = net.chance(2 * n);
        let (nodes, links) = random(&mut net, n, more);
        let mut sent = Vec::new();
        for _ in 0..4 {
            let from = nodes[net.chance(n)];
            sent.push((net.send(from, "hello"), from));
        }
        net.settle();
        net.check().unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        for (id, from) in &sent {
            let distance = distances(n, &links, *from);
            for at in &nodes {
                let expected = usize::from(at != from && distance[at.0] <= 32);
                // A way of over 24 links may be faster than a shorter one: within 8 it does not matter, see TTL_NEAR_END.
                let certain = distance[at.0] <= 8 || distance[at.0] > 32 || n <= 33;
                let shown = net.shown(*at, id);
                assert!(shown == expected || (!certain && shown == 0), "seed {seed}: {at:?} showed {id} {shown} times");
            }
        }
    }
}

/// With few forwards a fast long way could starve those behind it; late copies with more left make up for that.
#[test]
fn short_lives_reach_everyone_within_ttl_whatever_the_delays() {
    let mut late = 0;
    for seed in 0..runs(40) {
        let mut net = Net::new(seed, (ms(1), ms(400)));
        let n = 20 + net.chance(40);
        let (nodes, links) = random(&mut net, n, n);
        let ttl = 2 + net.chance(7) as u8;
        let first = nodes[net.chance(n)];
        inject(&mut net, first, "m", ttl);
        net.settle();
        let distance = distances(n, &links, first);
        for at in &nodes {
            // The injecting original is one hop away from the first node.
            let expected = usize::from(distance[at.0] < usize::from(ttl));
            assert_eq!(net.shown(*at, "m"), expected, "seed {seed}: {at:?} at {} with ttl {ttl}", distance[at.0]);
        }
        let mut ways = BTreeMap::<(At, At), usize>::new();
        net.crossings().iter().filter(|it| it.id == "m").for_each(|it| *ways.entry((it.from, it.to)).or_default() += 1);
        late += ways.values().filter(|n| **n > 1).count();
        assert!(ways.values().all(|n| *n < usize::from(limits::TTL_NEAR_END)));
    }
    assert!(late > 0, "no run had a late copy that mattered: the test tests nothing");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut net = Net::new(seed, (ms(1), ms(100)));
        let (nodes, _) = random(&mut net, 30, 30);
        for at in &nodes[..5] {
            net.send(*at, "x");
        }
        net.run_for(Duration::from_secs(60));
        nodes.iter().map(|at| net.lines(*at).to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn nodes_that_dial_each_other_at_once_keep_one_link() {
    for seed in 0..runs(200) {
        let mut net = Net::new(seed, (ms(1), ms(80)));
        let nodes = named(&mut net, 2);
        net.dial(nodes[0], nodes[1]);
        let head_start = ms(net.chance(100) as u64);
        net.run_for(head_start);
        net.dial(nodes[1], nodes[0]);
        let before = net.send(nodes[0], "while it settles");
        net.run_for(Duration::from_secs(10));
        let after = net.send(nodes[1], "after");
        net.settle();
        for (at, other) in [(nodes[0], nodes[1]), (nodes[1], nodes[0])] {
            assert_eq!(net.at(at).link_count(), 1, "seed {seed}");
            assert_eq!(net.events(at, "peer_up").count(), 1, "seed {seed}");
            assert_eq!(net.events(at, "peer_down").count(), 0, "seed {seed}");
            assert_eq!(*net.at(at).neighbour_ids()[0], *net.at(other).id());
        }
        assert_eq!(net.shown(nodes[0], &after), 1, "seed {seed}");
        // Sent before or after the first link was there: then it is shown.
        assert!(net.shown(nodes[1], &before) <= 1);
        net.check().unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

#[test]
fn nothing_is_lost_while_two_links_become_one() {
    for seed in 0..runs(100) {
        let mut net = Net::new(seed, (ms(1), ms(80)));
        let nodes = named(&mut net, 2);
        net.dial(nodes[0], nodes[1]);
        net.dial(nodes[1], nodes[0]);
        let mut sent = Vec::new();
        for _ in 0..60 {
            net.run_for(ms(7));
            for (from, to) in [(nodes[0], nodes[1]), (nodes[1], nodes[0])] {
                if net.at(from).link_count() > 0 && net.events(from, "peer_up").count() == 1 {
                    sent.push((net.send(from, "x"), to));
                }
            }
        }
        net.settle();
        for (id, to) in sent {
            assert_eq!(net.shown(to, &id), 1, "seed {seed}");
        }
    }
}

#[test]
fn a_cut_link_is_dialled_again() {
    let mut net = Net::new(9, (ms(1), ms(5)));
    let nodes = line(&mut net, 3);
    net.cut(nodes[0], nodes[1]);
    net.settle();
    let down = net.events(nodes[0], "peer_down").next().expect("noticed").clone();
    assert_eq!(down["code"], "reset");
    assert!(down["retry_in_ms"].is_u64());
    let lost = net.send(nodes[0], "to nobody");
    net.run_for(Duration::from_secs(5));
    assert!(net.events(nodes[0], "connect_failed").count() >= 2);
    net.mend(nodes[0], nodes[1]);
    net.run_for(Duration::from_secs(60));
    let id = net.send(nodes[0], "back");
    net.settle();
    assert_eq!((net.shown(nodes[2], &id), net.shown(nodes[2], &lost)), (1, 0));
}

#[test]
fn a_network_that_loses_links_keeps_what_is_reachable() {
    for seed in 0..runs(12) {
        let mut net = Net::new(seed, (ms(1), ms(50)));
        let n = 10 + net.chance(30);
        let (nodes, mut links) = random(&mut net, n, n);
        for _ in 0..n / 3 {
            let (a, b) = links.swap_remove(net.chance(links.len()));
            net.cut(a, b);
        }
        net.run_for(ms(400));
        let from = nodes[net.chance(n)];
        let id = net.send(from, "still here?");
        net.settle();
        let distance = distances(n, &links, from);
        for at in &nodes {
            let expected = usize::from(at != &from && distance[at.0] != usize::MAX);
            assert_eq!(net.shown(*at, &id), expected, "seed {seed}: {at:?}");
        }
        net.check().unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

#[test]
fn a_silent_peer_is_noticed_in_time() {
    let mut net = Net::new(11, (ms(1), ms(1)));
    let nodes = line(&mut net, 2);
    net.run_for(Duration::from_secs(40));
    assert_eq!(net.events(nodes[0], "peer_down").count(), 0, "pings keep a quiet link");
    net.freeze(nodes[1]);
    net.run_for(Duration::from_secs(30));
    let down = net.events(nodes[0], "peer_down").next().expect("noticed within 30 s");
    assert_eq!(down["code"], "dead");
}

#[test]
fn a_peer_that_does_not_read_costs_the_others_nothing() {
    let mut net = Net::new(12, (ms(1), ms(2)));
    let nodes = named(&mut net, 4);
    for other in &nodes[1..] {
        net.link(*other, nodes[0]);
    }
    net.reads(nodes[3], false);
    let text = "x".repeat(10_000);
    let mut ids = Vec::new();
    for _ in 0..1000 {
        ids.push(net.send(nodes[1], &text));
        net.run_for(ms(10));
        assert!(net.at(nodes[0]).held().frame_bytes <= limits::MAX_QUEUE_BYTES + (256 << 10));
    }
    net.run_for(Duration::from_secs(5));
    assert!(ids.iter().all(|id| net.shown(nodes[2], id) == 1), "the healthy one gets everything");
    let down = net.events(nodes[0], "peer_down").find(|it| it["peer"] == *net.at(nodes[3]).id());
    assert_eq!(down.expect("it was closed")["code"], "slow");
    net.check().expect("sound");
}

#[test]
fn a_burst_to_a_healthy_reader_loses_nothing() {
    let mut net = Net::new(13, (ms(20), ms(20)));
    let nodes = line(&mut net, 3);
    // Three times what a queue holds, as fast as the node takes it.
    let mut ids = Vec::new();
    for _ in 0..3 * limits::MAX_QUEUE_FRAMES {
        while !net.at(nodes[0]).may_take_request(net.time(), STDIO) {
            net.run_for(ms(1));
        }
        ids.push(net.send(nodes[0], "x"));
    }
    net.settle();
    let shown: Vec<&str> = net.events(nodes[2], "message").filter_map(|line| line["id"].as_str()).collect();
    assert_eq!(shown, ids, "all of them, in order");
}

#[test]
fn confirm_waits_for_neighbours_that_took_it() {
    let mut net = Net::new(14, (ms(5), ms(5)));
    let nodes = line(&mut net, 3);
    let line = net.command(nodes[1], &json!({ "cmd": "send", "text": "sure?", "confirm": 2 }));
    assert_eq!(net.reply(nodes[1], line), Value::Null);
    net.settle();
    assert_eq!(net.reply(nodes[1], line)["result"]["confirmed"], 2);
    let line = net.command(nodes[0], &json!({ "cmd": "send", "text": "sure?", "confirm": 2, "timeout_ms": 500 }));
    net.run_for(ms(600));
    assert_eq!(net.reply(nodes[0], line)["error"]["code"], "not_confirmed");
}

#[test]
fn confirm_waits_for_links_first_and_has_its_time_from_then_on() {
    let mut net = Net::new(14, (ms(300), ms(300)));
    let nodes = named(&mut net, 2);
    let line = net.command(nodes[0], &json!({ "cmd": "send", "text": "sure?", "confirm": 1, "timeout_ms": 2000 }));
    net.run_for(ms(500));
    net.dial(nodes[1], nodes[0]);
    // The link needs two round trips and the confirmation one more: longer than that, from the command on.
    net.run_for(ms(3000));
    assert_eq!(net.reply(nodes[0], line)["result"]["confirmed"], 1);
    let line = net.command(nodes[0], &json!({ "cmd": "send", "text": "sure?", "confirm": 2, "timeout_ms": 500 }));
    net.run_for(ms(499));
    assert_eq!(net.reply(nodes[0], line), Value::Null);
    net.run_for(ms(1));
    assert_eq!(net.reply(nodes[0], line)["error"]["code"], "not_confirmed", "at once, since there are too few");
    assert_eq!(net.events(nodes[1], "message").count(), 1);
    net.settle();
    assert_eq!(net.events(nodes[1], "message").count(), 2);
}

#[test]
fn an_end_hands_over_what_is_queued() {
    let mut net = Net::new(15, (ms(30), ms(30)));
    let nodes = named(&mut net, 2);
    net.link(nodes[0], nodes[1]);
    let ids: Vec<String> = (0..50).map(|_| net.send(nodes[0], "last words")).collect();
    net.command(nodes[0], &json!({ "cmd": "exit" }));
    net.settle();
    assert_eq!(net.exit(nodes[0]), Some(0));
    assert!(ids.iter().all(|id| net.shown(nodes[1], id) == 1));
    let bye = net.nodes[0].lines.last().expect("a last line");
    assert_eq!((&bye["event"], &bye["undelivered"]), (&json!("bye"), &json!(0)));
}

#[test]
fn records_of_a_long_run_are_bounded_and_checked_before_they_are_forgotten() {
    const MOST: usize = 200;
    let mut net = Net::new(16, (ms(1), ms(5)));
    net.limit_records(MOST);
    let nodes = line(&mut net, 4);
    let ear = net.peer(([10, 66, 0, 2], 6666).into());
    net.link_peer(ear, nodes[3], "ear", "ear");
    let mut first = None;
    for n in 0..1000 {
        net.send(nodes[n % 4], "x");
        net.run_for(ms(20));
        first = first.or_else(|| net.events(nodes[3], "message").next().cloned());
        let records = nodes.iter().map(|at| net.lines(*at).len()).chain([net.crossings().len(), net.frames(ear).len()]);
        assert!(records.max() <= Some(MOST));
    }
    net.check().expect("sound");
    let last = net.nodes[3].lines.iter().rev().find(|it| it["event"] == "message").expect("shown").clone();
    net.note_line(nodes[3], last);
    assert!(net.check().expect_err("shown twice").ends_with("twice"));
}

#[test]
fn what_was_wrong_is_told_when_its_record_is_forgotten() {
    let mut net = Net::new(17, (ms(1), ms(5)));
    let nodes = line(&mut net, 3);
    let from_nowhere =
        Crossing { from: nodes[1], to: nodes[2], id: "m".into(), author: "nobody".into(), ttl: 3, at: net.elapsed() };
    net.note_crossing(from_nowhere);
    let wrong = net.check().expect_err("nobody brought it");
    net.limit_records(10);
    (0..30).for_each(|_| drop(net.send(nodes[0], "x")));
    net.settle();
    assert!(net.crossings().iter().all(|it| it.id != "m"));
    assert_eq!(net.check(), Err(wrong));
}

#[test]
fn every_node_has_an_address_of_its_own() {
    let nodes = (0..200_000).chain([(1 << 24) - 1]).map(At);
    assert!(nodes.clone().all(|at| at_of(addr_of(at)) == Some(at)));
    assert_eq!(nodes.map(addr_of).collect::<BTreeSet<_>>().len(), 200_001);
    assert_eq!(addr_of(At(65_536)).to_string(), "10.1.0.0:5000");
    assert_eq!(at_of("10.0.0.1:5001".parse().expect("an address")), None);
}
