//! Forgers, and authors that say too much.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::node::{STDIO, State};
use crate::sim::{At, Net, Peer};
use crate::wire::message::View;
use crate::wire::signed::Claim;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Three nodes in a line, an original that hears the first, and an attacker linked with the one in the middle.
fn net_with_eve() -> (Net, [At; 3], Peer, Peer) {
    let mut net = Net::new(1, (ms(1), ms(1)));
    let nodes = ["a", "b", "c"].map(|name| net.node_with(name, |config| config.state = Some(State::default())));
    net.link(nodes[0], nodes[1]);
    net.link(nodes[1], nodes[2]);
    let ear = net.peer(([10, 66, 0, 2], 6666).into());
    net.link_peer(ear, nodes[0], "ear", "ear");
    let eve = net.peer(([10, 66, 0, 1], 6666).into());
    net.link_peer(eve, nodes[1], "eve", "eve");
    net.settle();
    (net, nodes, ear, eve)
}

/// A message of the first node, as it went out.
fn said(net: &mut Net, at: At, ear: Peer, text: &str) -> Value {
    let id = net.send(at, text);
    net.settle();
    net.frames(ear).iter().find(|it| it["type"] == "chat" && it["id"] == *id).cloned().expect("it was heard")
}

fn texts(net: &Net, at: At) -> Vec<&str> {
    net.events(at, "message").filter_map(|it| it["text"].as_str()).collect()
}

fn dropped(net: &mut Net, at: At) -> Value {
    let line = net.command(at, &json!({ "cmd": "status" }));
    net.reply(at, line)["result"]["counters"]["dropped"].take()
}

/// As if two minutes of much talk had passed.
fn forget_ids(net: &mut Net, at: At) {
    net.at_mut(at).gossip.forget_ids();
}

fn chat(n: usize, from: &str) -> Value {
    json!({ "type": "chat", "id": format!("m{n}"), "from": from, "username": "x", "room": "general", "msg": format!("{n}"),
        "ttl": 5, "ts": "t" })
}

/// As if a message's signature had been found wrong.
fn remember_as_bad(net: &mut Net, at: At, message: &Value) {
    let frame = message.to_string();
    let claim = Claim::new(&View::parse(frame.as_bytes()).expect("a message")).expect("a signature");
    assert!(net.at_mut(at).gossip.remember_as_bad(&claim));
}

type Change = fn(&mut Value);

#[test]
fn a_forger_is_never_believed() {
    let (mut net, [a, b, c], ear, eve) = net_with_eve();
    let real = said(&mut net, a, ear, "real");
    let changes: [(&str, &str, Change); 8] = [
        ("altered", "bad_signature", |it| it["msg"] = json!("altered")),
        ("another author", "bad_signature", |it| it["from"] = json!("10.0.0.7:5000")),
        ("another user name", "bad_signature", |it| it["username"] = json!("root")),
        ("another room", "bad_signature", |it| it["room"] = json!("ops")),
        ("a field more", "bad_signature", |it| it["meta"] = json!({})),
        ("another counter", "bad_signature", |it| it["sig"]["n"] = json!(99)),
        ("stripped", "forged", |it| drop(it.as_object_mut().expect("an object").remove("sig"))),
        ("half stripped", "forged", |it| it["sig"] = Value::Null),
    ];
    for (n, (what, cause, change)) in changes.iter().enumerate() {
        let before = dropped(&mut net, b)[*cause].as_u64().unwrap_or_default();
        let mut forged = real.clone();
        forged["id"] = json!(format!("f{n}"));
        change(&mut forged);
        net.say(eve, b, &forged);
        net.settle();
        assert_eq!(dropped(&mut net, b)[*cause], before + 1, "{what}");
    }
    // With its id and all, too: what is no copy goes no further.
    let mut forged = real.clone();
    forged["msg"] = json!("altered");
    net.say(eve, b, &forged);
    net.settle();
    assert_eq!((texts(&net, b), texts(&net, c)), (vec!["real"], vec!["real"]));
    assert!(net.crossings().iter().all(|it| !it.id.starts_with('f')), "nothing of it is passed on");
    net.check().expect("sound");
}

#[test]
fn a_wrong_signature_is_looked_at_once_and_each_copy_is_a_strike() {
    let (mut net, [_, b, c], _, eve) = net_with_eve();
    // Over level 1 nobody would be blamed.
    net.at_mut(b).links.set_level2("eve");
    let real: Vec<Value> = (0..4).map(|n| net.signed("author", &chat(n, ""))).collect();
    let mut forged = real[0].clone();
    forged["msg"] = json!("altered");
    net.say(eve, b, &forged);
    // A field that a relay may change makes it no other forgery.
    forged["ttl"] = json!(2);
    net.say(eve, b, &forged);
    let line = net.command(b, &json!({ "cmd": "status" }));
    let counters = net.reply(b, line)["result"]["counters"].take();
    assert_eq!((&counters["strikes"], &counters["dropped"]["bad_signature"]), (&json!(2), &json!(2)));
    assert_eq!(net.at(b).gossip.bad_signatures(), 1);
    net.say(eve, b, &real[0]);
    net.settle();
    assert_eq!((texts(&net, b), texts(&net, c)), (vec!["0"], vec!["0"]), "the forgery does not keep out the true one");
}

#[test]
fn what_is_known_to_be_wrong_is_not_looked_at_again() {
    let (mut net, [_, b, _], _, eve) = net_with_eve();
    let real: Vec<Value> = (0..5).map(|n| net.signed("author", &chat(n, ""))).collect();
    // They are right: who looks would believe them.
    [0, 1, 2].iter().for_each(|n| remember_as_bad(&mut net, b, &real[*n]));
    net.say(eve, b, &real[0]);
    net.say_at_once(eve, b, &real[1..]);
    net.settle();
    assert_eq!(dropped(&mut net, b), json!({ "bad_signature": 3 }));
    assert_eq!(texts(&net, b), ["3", "4"]);
}

#[test]
fn nobody_can_use_up_an_id() {
    let (mut net, [a, b, c], _, eve) = net_with_eve();
    let id = "0b7a3f52-6c1d-4e8f-a2b4-5d6e7f8091a2";
    let mut poison = chat(0, "10.0.0.7:5000");
    poison["id"] = json!(id);
    net.say(eve, b, &poison);
    let signed = net.signed("mallory", &poison);
    net.say(eve, b, &signed);
    net.command(a, &json!({ "cmd": "send", "text": "the real one", "message": id, "confirm": 1 }));
    net.settle();
    for at in [b, c] {
        let shown: Vec<&Value> = net.events(at, "message").filter(|it| it["id"] == id).collect();
        assert_eq!(shown.iter().filter(|it| it["from"] == *net.at(a).id() && it["verified"] == true).count(), 1);
        assert_eq!(shown.len(), 3, "each of another author");
    }
}

#[test]
fn a_recording_is_refused_when_its_id_is_forgotten_and_after_a_restart() {
    let (mut net, [a, b, c], ear, eve) = net_with_eve();
    let recorded: Vec<Value> = ["1", "2", "3"].map(|text| said(&mut net, a, ear, text)).into();
    forget_ids(&mut net, b);
    net.say(eve, b, &recorded[1]);
    assert_eq!(dropped(&mut net, b)["replayed"], 1);
    // To its author as well.
    net.link_peer(eve, a, "eve", "eve");
    forget_ids(&mut net, a);
    net.say(eve, a, &recorded[1]);
    assert_eq!(dropped(&mut net, a)["replayed"], 1);
    net.hang_up(eve, b);
    net.restart(b);
    net.run_for(Duration::from_secs(5));
    net.link_peer(eve, b, "eve", "eve");
    recorded.iter().for_each(|it| net.say(eve, b, it));
    net.settle();
    assert_eq!(dropped(&mut net, b)["replayed"], 3);
    assert_eq!((texts(&net, b), texts(&net, c)), (vec!["1", "2", "3"], vec!["1", "2", "3"]));
    // What was not seen comes late, once.
    let late = net.signed("far away", &chat(7, ""));
    (0..2).for_each(|_| net.say(eve, b, &late));
    assert_eq!(texts(&net, b), ["1", "2", "3", "7"]);
}

#[test]
fn nobody_can_make_a_signed_message_live_longer() {
    let mut net = Net::new(2, (ms(1), ms(1)));
    let nodes: Vec<At> = (0..6).map(|i| net.node(&format!("n{i}"))).collect();
    nodes.windows(2).for_each(|pair| net.link(pair[0], pair[1]));
    let eve = net.peer(([10, 66, 0, 1], 6666).into());
    net.link_peer(eve, nodes[0], "eve", "eve");
    let mut message = chat(1, "");
    message["ttl"] = json!(3);
    let mut message = net.signed("author", &message);
    message["ttl"] = json!(32);
    net.say(eve, nodes[0], &message);
    net.settle();
    let hops: Vec<_> = nodes.iter().map(|at| net.events(*at, "message").next().map(|it| it["hops"].clone())).collect();
    assert_eq!(hops, [Some(json!(1)), Some(json!(2)), Some(json!(3)), None, None, None]);
}

#[test]
fn a_copy_that_would_go_further_is_looked_at() {
    let (mut net, [_, b, c], _, eve) = net_with_eve();
    let mut message = net.signed("author", &chat(1, ""));
    message["ttl"] = json!(1);
    net.say(eve, b, &message);
    let mut altered = message.clone();
    (altered["ttl"], altered["msg"]) = (json!(5), json!("altered"));
    net.say(eve, b, &altered);
    net.settle();
    assert_eq!((texts(&net, b), texts(&net, c)), (vec!["1"], vec![]));
    message["ttl"] = json!(5);
    net.say(eve, b, &message);
    net.settle();
    assert_eq!((texts(&net, b), texts(&net, c)), (vec!["1"], vec!["1"]), "it counts as if the other had not come");
}

#[test]
fn a_node_that_says_too_much_waits_and_loses_nothing() {
    let mut net = Net::new(3, (ms(1), ms(1)));
    let [a, b] = ["a", "b"].map(|name| net.node_with(name, |config| config.rate = 100));
    net.link(a, b);
    let (mut sent, start) = (0, net.elapsed());
    while net.elapsed() < start + Duration::from_secs(5) {
        match net.at(a).may_take_request(net.time(), STDIO) {
            true => {
                net.send(a, "x");
                sent += 1;
            }
            false => net.run_for(ms(1)),
        }
    }
    assert!((1490..=1510).contains(&sent), "a burst of 1,000, then 100 a second: {sent}");
    net.run_for(Duration::from_secs(1));
    assert_eq!(texts(&net, b).len(), sent);
    assert_eq!(dropped(&mut net, b), json!({}));
}

#[test]
fn the_link_of_a_neighbour_that_says_too_much_is_read_more_slowly() {
    let mut net = Net::new(4, (ms(1), ms(1)));
    // It does not keep to the rate itself.
    let [a, b] = [("a", 0), ("b", 100)].map(|(name, rate)| net.node_with(name, |config| config.rate = rate));
    net.link(a, b);
    (0..1500).for_each(|_| drop(net.send(a, "x")));
    net.run_for(Duration::from_secs(1));
    let first = texts(&net, b).len();
    assert!((1090..=1110).contains(&first), "{first} in the first second");
    net.run_for(Duration::from_secs(5));
    assert_eq!(texts(&net, b).len(), 1500, "and then all of it");
    assert_eq!(dropped(&mut net, b), json!({}));
}

#[test]
fn of_an_author_far_away_twice_the_rate_is_passed_on() {
    for signed in [true, false] {
        let mut net = Net::new(5, (ms(1), ms(1)));
        let [b, c] = ["b", "c"].map(|name| net.node_with(name, |config| config.rate = 10));
        net.link(b, c);
        let eve = net.peer(([10, 66, 0, 1], 6666).into());
        net.link_peer(eve, b, "eve", "eve");
        for n in 0..300 {
            let mut message = chat(n, "10.0.0.7:5000");
            if signed {
                message = net.signed("author", &message);
            }
            net.say(eve, b, &message);
        }
        assert_eq!((texts(&net, b).len(), dropped(&mut net, b)["rate"].clone()), (200, json!(100)), "signed: {signed}");
        // Another who signs is not to blame; who does not is not known apart from it.
        let mut other = chat(1000, "10.0.0.8:5000");
        if signed {
            other = net.signed("another", &other);
        }
        net.say(eve, b, &other);
        net.settle();
        assert_eq!(texts(&net, b).len(), 200 + usize::from(signed));
        assert_eq!(texts(&net, c).len(), 200 + usize::from(signed), "it keeps to the rate that the next allows");
        assert_eq!(net.events(b, "peer_down").count(), 0, "nobody is blamed");
    }
}

#[test]
fn wrong_signatures_from_level_1_are_looked_at_only_so_often() {
    let mut net = Net::new(6, (ms(1), ms(1)));
    let b = net.node_with("b", |config| config.rate = 10);
    let eve = net.peer(([10, 66, 0, 1], 6666).into());
    net.link_peer(eve, b, "eve", "eve");
    for n in 0..300 {
        let mut forged = net.signed("author", &chat(n, ""));
        forged["msg"] = json!("altered");
        net.say(eve, b, &forged);
    }
    let dropped = dropped(&mut net, b);
    assert_eq!((&dropped["bad_signature"], &dropped["rate"]), (&json!(200), &json!(100)));
}

/// A message as anybody may send it: its kind, its author, its sequence number, and the forwards that it has left.
fn any_arrival() -> impl Strategy<Value = (u8, usize, usize, u8)> {
    (0_u8..10, 0_usize..3, 0_usize..4, 1_u8..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Messages that come in one piece are judged as if they came one by one.
    #[test]
    fn company_changes_nothing(what in prop::collection::vec(any_arrival(), 1..40), size in 2_usize..70) {
        let outcomes = [1, size].map(|size| {
            let (mut net, [_, b, c], _, eve) = net_with_eve();
            let authors = ["x", "y", "z"];
            let real: Vec<Value> = (0..12).map(|n| net.signed(authors[n / 4], &chat(n, ""))).collect();
            let messages: Vec<Value> = what.iter().map(|&(kind, author, n, left)| {
                let mut it = real[author * 4 + n].clone();
                match kind {
                    0 => it["msg"] = json!("altered"),
                    1 => it["sig"]["n"] = json!(1000 + n),
                    2 => it["id"] = json!("another"),
                    3 => it["sig"] = json!({}),
                    4 => it["from"] = real[0]["from"].clone(),
                    5 => it = chat(n, "10.0.0.7:5000"),
                    6 => it = json!({ "type": "chat", "id": 7 }),
                    _ => it["ttl"] = json!(left),
                }
                it
            }).collect();
            messages.chunks(size).for_each(|chunk| net.say_at_once(eve, b, chunk));
            net.settle();
            let shown = [b, c].map(|at| net.events(at, "message").cloned().map(|mut it| {
                it["received_at"].take();
                it
            }).collect::<Vec<_>>());
            (shown, dropped(&mut net, b), dropped(&mut net, c))
        });
        prop_assert_eq!(&outcomes[0], &outcomes[1]);
    }
}
