//! Calls with originals of the versions that send their voice to everyone.

use super::original::{Original, samples};
use super::*;
use crate::voice::testing::tone;
use crate::wire::room_key::{RoomKey, Scheme};

/// A node in voice, and an original that is linked to it and in voice, too.
fn pair(seed: u64) -> (Net, At, Original) {
    let mut net = Net::new(seed, (ms(5), ms(5)));
    let node = net.node("n");
    let mut old = Original::linked(&mut net, 1, node);
    join(&mut net, node);
    old.join(&mut net, node);
    idle(&mut net, &[node], 10);
    (net, node, old)
}

#[test]
fn with_secure_an_original_is_not_there_whoever_passes_on_its_join() {
    let mut net = Net::new(3, (ms(5), ms(5)));
    let [open, secure] = [false, true].map(|secure| net.node_with("n", |config| config.secure = secure));
    net.link(secure, open);
    let mut old = Original::linked(&mut net, 1, open);
    for node in [open, secure] {
        join(&mut net, node);
    }
    old.join(&mut net, open);
    idle(&mut net, &[open, secure], 10);
    let ids = |net: &mut Net, at| voice_peers(net, at).iter().map(|it| it["peer"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&mut net, open).len(), 2);
    assert_eq!(ids(&mut net, secure), [json!(net.at(open).id())]);
    let dropped = |net: &mut Net| counters(net, secure)["datagrams_dropped"].as_u64();
    let before = dropped(&mut net);
    old.say(&mut net, &[secure], &words(0)[10]);
    idle(&mut net, &[open, secure], 100);
    assert_eq!(dropped(&mut net), before.map(|n| n + 1));
    assert!(old.heard(&net).iter().all(|it| it.from == net.at(open).id()), "and it is sent nothing");
}

/// The original says its words, a node what `node_says`. Gives what the node heard.
fn exchange(net: &mut Net, node: At, old: &mut Original, node_says: &[Frame], frames: usize) -> Vec<i16> {
    let before = net.played(node).len();
    let said = words(1);
    for n in 0..frames {
        old.say(net, &[node], said.get(n).unwrap_or(&[0; FRAME]));
        let frame = *node_says.get(n).unwrap_or(&[0; FRAME]);
        talk(net, &[node], 1, |_, _| Some(frame));
    }
    net.played(node)[before..].to_vec()
}

#[test]
fn voice_flows_both_ways_frame_by_frame() {
    let (mut net, node, mut old) = pair(1);
    let before = old.heard(&net).len();
    let said = words(0);
    let n = said.len() + 25;
    let heard = exchange(&mut net, node, &mut old, &said, n);
    assert_heard(words(1).as_flattened(), &heard, "the node");
    let got = old.heard(&net).split_off(before);
    assert_eq!(got.len(), n, "every frame, speech or not");
    assert!(samples(&got)[..said.len() * FRAME] == *said.as_flattened(), "bit for bit");
    assert!(got.windows(2).all(|pair| pair[1].sequence == pair[0].sequence + 1));
    assert!(got.iter().all(|it| it.from == net.at(node).id()));
    let all = net.got(old.peer).len();
    assert_eq!(all, old.heard(&net).len(), "nothing of level 2 goes to an original");
    let spoken: Vec<&Value> = net.events(node, "speaking").filter(|it| it["peer"] == *old.id).collect();
    assert!(spoken.len() >= 2 && spoken[0]["speaking"] == true, "{spoken:?}");
    let member = &voice_peers(&mut net, node)[0];
    assert_eq!((&member["codec"], &member["addr"]), (&json!("pcm"), &json!("10.77.0.1:6000")));
    assert!(member["received"].as_u64() >= Some(n as u64), "{member}");
}

#[test]
fn who_is_muted_or_idle_sends_a_frame_of_zeros_each_second() {
    let (mut net, node, mut old) = pair(2);
    for muted in [true, false] {
        let command = if muted { "voice_mute" } else { "voice_unmute" };
        run(&mut net, node, json!({ "cmd": command }));
        let before = old.heard(&net).len();
        for _ in 0..10 {
            // Muted, the microphone still hears; idle, there is none.
            let says = muted.then(|| words(0)[10]);
            old.say(&mut net, &[node], &[0; FRAME]);
            talk(&mut net, &[node], 50, |_, _| says);
        }
        let got = old.heard(&net).split_off(before);
        assert!((9..=11).contains(&got.len()), "{} in ten seconds", got.len());
        assert!(got.iter().all(|it| it.pcm == [0; FRAME]));
    }
}

#[test]
fn numbers_never_go_back() {
    let (mut net, node, mut old) = pair(3);
    let first_after = |net: &mut Net, old: &mut Original| {
        exchange(net, node, old, &words(0), 20);
        old.heard(net).last().map(|it| it.sequence).expect("voice")
    };
    let mut last = first_after(&mut net, &mut old);
    for _ in 0..3 {
        run(&mut net, node, json!({ "cmd": "voice_leave" }));
        net.run_for(ms(30));
        join(&mut net, node);
        let next = first_after(&mut net, &mut old);
        assert!(next > last, "{next} after {last}");
        last = next;
    }
    let all: Vec<u32> = old.heard(&net).iter().map(|it| it.sequence).collect();
    assert!(all.is_sorted());
}

#[test]
fn in_a_room_with_a_key_it_is_sealed_both_ways() {
    let mut net = Net::new(4, (ms(5), ms(5)));
    let key = RoomKey::derive_at_once(Scheme::Original, "k", "r");
    let node = net.node_with("n", |config| config.keys = vec![("general".into(), key.clone())]);
    let mut old = Original::linked(&mut net, 1, node);
    join(&mut net, node);
    old.join(&mut net, node);
    let original = key.original().expect("of that scheme");
    let said = words(1);
    for (n, frame) in said.iter().enumerate() {
        let mut bytes = old.datagram("general", frame);
        let pcm = bytes.split_off(56);
        original.seal_bytes(&pcm, std::array::from_fn(|i| (n >> i) as u8), &mut bytes);
        assert_eq!(bytes.len(), 724);
        net.throw_from(old.peer, node, bytes);
        talk(&mut net, &[node], 1, |_, _| Some(*frame));
    }
    assert_heard(said.as_flattened(), net.played(node), "the node");
    let got: Vec<&Vec<u8>> = net.got(old.peer).iter().map(|(_, bytes)| bytes).collect();
    assert!(got.len() >= said.len() && got.iter().all(|bytes| bytes.len() == 724));
    let opened = original.open_bytes(&got[got.len() - 1][56..]).expect("sealed with the room's key");
    assert_eq!(opened.len(), 640);
    // In the clear it is nobody's voice here.
    let before = net.played(node).len();
    for frame in &said {
        old.say(&mut net, &[node], frame);
        talk(&mut net, &[node], 1, |_, _| None);
    }
    assert_silent(&net.played(node)[before + 16_000..], "with a key");
}

#[test]
fn another_source_is_believed_when_the_announced_one_has_been_silent_for_two_seconds() {
    let (mut net, node, mut old) = pair(5);
    let nat: std::net::SocketAddr = ([10, 88, 0, 1], 7777).into();
    let router = net.peer(nat);
    exchange(&mut net, node, &mut old, &[], 20);
    let loud = *tone(440.0, 8000.0, FRAME).first_chunk::<FRAME>().expect("a frame");
    let speak = |net: &mut Net, old: &mut Original, frames: usize| {
        let before = net.played(node).len();
        for _ in 0..frames {
            let bytes = old.datagram("general", &loud);
            net.forge(nat, node, bytes);
            talk(net, &[node], 1, |_, _| Some(loud));
        }
        net.played(node)[before..].to_vec()
    };
    let early = speak(&mut net, &mut old, 90);
    assert_silent(&early[4000..], "from another address at once");
    assert_eq!(net.got(router).len(), 0);
    let late = speak(&mut net, &mut old, 50);
    assert!(level_db(&late[9000..]) > -20.0, "after two seconds it is heard");
    assert!(net.got(router).len() > 20, "and voice goes there");
    // The announced one is believed again at once.
    exchange(&mut net, node, &mut old, &[], 2);
    let before = net.got(router).len();
    let again = speak(&mut net, &mut old, 50);
    assert_silent(&again[4000..], "from another address again");
    assert!(net.got(router).len() <= before + 1);
}

#[test]
fn an_original_far_away_is_sent_voice_when_it_has_been_heard() {
    let mut net = Net::new(6, (ms(5), ms(5)));
    let nodes: Vec<At> = (0..2).map(|i| net.node(&format!("n{i}"))).collect();
    net.link(nodes[0], nodes[1]);
    let mut old = Original::linked(&mut net, 1, nodes[1]);
    nodes.iter().for_each(|at| join(&mut net, *at));
    old.join(&mut net, nodes[1]);
    let loud = words(0)[20];
    talk(&mut net, &nodes, 100, |_, _| Some(loud));
    let from =
        |net: &Net, old: &Original, at: At| old.heard(net).iter().filter(|it| it.from == net.at(at).id()).count();
    assert!(from(&net, &old, nodes[1]) > 90);
    assert_eq!(from(&net, &old, nodes[0]), 0, "its join alone may be forged");
    for _ in 0..100 {
        old.say(&mut net, &nodes, &[0; FRAME]);
        talk(&mut net, &nodes, 1, |_, _| Some(loud));
    }
    assert!(from(&net, &old, nodes[0]) > 90);
    // It falls silent: five seconds later it is sent nothing any more, and after ten it is gone.
    talk(&mut net, &nodes, 260, |_, _| Some(loud));
    let before = from(&net, &old, nodes[0]);
    talk(&mut net, &nodes, 350, |_, _| Some(loud));
    assert_eq!(from(&net, &old, nodes[0]), before);
    assert_eq!(count(&net, nodes[0], "voice_left", &old.id), 1);
    assert_eq!(count(&net, nodes[1], "voice_left", &old.id), 0, "it is linked");
}

#[test]
fn an_original_is_told_of_us_first_and_of_nothing_old() {
    let (mut net, nodes) = party(7, 3, (ms(1), ms(1)));
    net.run_for(Duration::from_secs(20));
    let old = Original::linked(&mut net, 1, nodes[1]);
    let joins: Vec<&Value> = net.frames(old.peer).iter().filter(|it| it["type"] == "voice_join").collect();
    assert_eq!(joins.len(), 3, "{joins:?}");
    assert_eq!(joins[0]["from"], net.at(nodes[1]).id(), "a client of a star speaks to the first alone");
    assert!(joins[0]["udp_host"].is_string() && joins[0]["udp_port"].is_u64());
}

#[test]
fn joins_that_name_what_is_no_address_are_refused() {
    let mut net = Net::new(8, (ms(1), ms(1)));
    let node = net.node("n");
    let old = Original::linked(&mut net, 1, node);
    join(&mut net, node);
    let hosts = [
        json!("224.0.0.1"),
        json!("ff02::1"),
        json!("255.255.255.255"),
        json!("0.0.0.0"),
        json!("0.1.2.3"),
        json!("::"),
        json!("::ffff:0.0.0.0"),
        json!("localhost"),
        json!("example.com"),
        json!("10.0.0.1:6000"),
        json!("010.0.0.1"),
        json!(""),
        json!(null),
        json!(17),
    ];
    let ports = [json!(0), json!(65536), json!(-1), json!("6000"), json!(1.5), json!(null)];
    let fine = (json!("10.77.0.1"), json!(6000));
    let odd = hosts
        .iter()
        .map(|host| (host.clone(), fine.1.clone()))
        .chain(ports.iter().map(|port| (fine.0.clone(), port.clone())));
    let mut n = 0;
    for (host, port) in odd {
        n += 1;
        let join = json!({ "type": "voice_join", "id": format!("j{n}"), "from": format!("m{n}"), "username": "m",
            "room": "general", "udp_host": host, "udp_port": port, "ttl": 5, "ts": "" });
        net.say(old.peer, node, &join);
        assert_eq!(voice_peers(&mut net, node).len(), 0, "{join}");
    }
    assert_eq!(counters(&mut net, node)["voice_refused"], n);
    // One that is too long to be kept.
    let long = json!({ "type": "voice_join", "id": "long", "from": "long", "username": "m", "room": "general",
        "udp_host": "10.77.0.1", "udp_port": 6000, "ttl": 5, "ts": "", "junk": "x".repeat(5000) });
    net.say(old.peer, node, &long);
    assert_eq!(voice_peers(&mut net, node).len(), 0);
}

#[test]
fn nodes_that_only_originals_join_speak_level_2_all_the_same() {
    let mut net = Net::new(9, (ms(5), ms(5)));
    let nodes: Vec<At> = (0..2).map(|i| net.node(&format!("n{i}"))).collect();
    let relay = Original::alone(&mut net, 1);
    for at in &nodes {
        net.link_peer(relay.peer, *at, &relay.id, "relay");
    }
    nodes.iter().for_each(|at| join(&mut net, *at));
    // It passes on what it does not know, with all its fields, and uses up a forward.
    let passed: Vec<Value> = net.frames(relay.peer).iter().filter(|it| it["type"] == "voice_join").cloned().collect();
    for mut frame in passed {
        frame["ttl"] = json!(frame["ttl"].as_u64().expect("forwards") - 1);
        let other = nodes.iter().find(|at| frame["from"] != net.at(**at).id()).copied().expect("another");
        net.say(relay.peer, other, &frame);
    }
    idle(&mut net, &nodes, 100);
    let heard = say_words(&mut net, &nodes, &[0]);
    assert_heard(words(0).as_flattened(), &heard[1], "past the original");
    assert_eq!(voice_peers(&mut net, nodes[1])[0]["codec"], "opus");
}
