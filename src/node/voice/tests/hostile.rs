//! Forgers: by datagrams from anywhere, and by signals from a relay.

use std::net::SocketAddr;

use super::original::{Original, datagram};
use super::*;
use crate::sim::Peer;
use crate::voice::{Codec, Packet, Report};
use crate::wire::datagram::{self as wire, HEARS, Voice, WITH_HOST};

/// A third address.
const EVE: ([u8; 4], u16) = ([10, 66, 0, 1], 6666);

fn eve() -> SocketAddr {
    EVE.into()
}

fn session_of(net: &Net, at: At) -> u64 {
    net.at(at).voice.call.as_ref().expect("in voice").session
}

/// What a member of level 2 would send, with all numbers that a forger may wish.
fn voice(session: u64, counter: u64, frame: u64, codec: Codec, payload: &[u8]) -> Vec<u8> {
    let packet = Packet { counter, frame, codec, payload, repeats: [None; 2] };
    let mut bytes = Vec::new();
    Voice::write(session, &packet, true, None, &mut bytes);
    bytes
}

/// Datagrams of every kind in the names of two members, some cut short, too long, or of chance.
fn forgeries(net: &mut Net, talker: u64, listener: u64, old: &str, n: usize) -> Vec<Vec<u8>> {
    let chance = net.chance(1 << 30) as u64;
    let write = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        write(&mut bytes);
        bytes
    };
    let pcm = [0x55; 640];
    let opus: Vec<u8> = (0..60_u64).map(|k| if k == 0 { 9 << 3 } else { (chance >> (k % 24)) as u8 }).collect();
    let near = n as u64 + 3;
    let mut all = vec![
        voice(talker, near, near + 5, Codec::Pcm, &pcm),
        voice(talker, near, near + 5, Codec::Opus, &opus),
        voice(talker, u64::MAX, u64::from(u32::MAX), Codec::Opus, &opus),
        voice(talker, u64::MAX - n as u64, near, Codec::Opus, &[]),
        voice(talker, chance, chance, Codec::Opus, &opus),
        voice(talker ^ 1, near, near, Codec::Opus, &opus),
        write(&|out| wire::write_challenge(talker, listener, chance, out)),
        write(&|out| wire::write_challenge(chance, listener, chance, out)),
        write(&|out| wire::write_echo(talker, chance, out)),
        write(&|out| {
            wire::write_report(talker, listener, Report { expected: u16::MAX, lost: u16::MAX, bursts: 1 }, out)
        }),
        write(&|out| wire::write_report(listener, talker, Report { expected: 9, lost: 9, bursts: 1 }, out)),
        write(&|out| wire::write_members(talker, [(HEARS | WITH_HOST, old), (0, "x")].into_iter(), out)),
        datagram("general", old, 0xFFFF_FFFF, &[0x5555; FRAME]),
        datagram("general", old, 0xFFFF_FFFF - n as u32, &[0x5555; FRAME]),
        datagram("general", old, 1000 + n as u32, &[0x5555; FRAME]),
        datagram("generalissimo", old, 1001 + n as u32, &[0x5555; FRAME]),
        datagram("general", "nobody", n as u32, &[0x5555; FRAME]),
        (0..chance % 900).map(|k| (chance >> (k % 20)) as u8).collect(),
    ];
    let short: Vec<Vec<u8>> = all.iter().map(|it| it[..it.len() - it.len().min(1 + n % 20)].to_vec()).collect();
    let long: Vec<Vec<u8>> = all.iter().map(|it| [&it[..], &[7; 30]].concat()).collect();
    all.extend(short);
    all.extend(long);
    all
}

#[test]
fn forged_and_replayed_datagrams_from_elsewhere_change_nothing_that_is_heard() {
    let run = |forged: bool| {
        let mut net = Net::new(1, (ms(8), ms(8)));
        let nodes: Vec<At> = (0..2).map(|i| net.node(&format!("n{i}"))).collect();
        net.link(nodes[0], nodes[1]);
        let mut old = Original::linked(&mut net, 1, nodes[1]);
        nodes.iter().for_each(|at| join(&mut net, *at));
        old.join(&mut net, nodes[1]);
        old.say(&mut net, &nodes, &[0; FRAME]);
        idle(&mut net, &nodes, 100);
        let (talker, listener) = (session_of(&net, nodes[0]), session_of(&net, nodes[1]));
        let (said, other) = (words(0), words(1));
        let before = net.played(nodes[1]).len();
        let mut replayed = 0;
        for n in 0..said.len() {
            old.say(&mut net, &nodes, &other[n]);
            if forged {
                for bytes in forgeries(&mut net, talker, listener, &old.id, n) {
                    net.forge(eve(), nodes[1], bytes);
                }
                // All that has been sent to the listener, once more from elsewhere.
                let to = crate::sim::addr_of(nodes[1]);
                let sent: Vec<Vec<u8>> =
                    net.datagrams()[replayed..].iter().filter(|it| it.1 == to).map(|it| it.2.clone()).collect();
                replayed = net.datagrams().len();
                sent.into_iter().for_each(|bytes| net.forge(eve(), nodes[1], bytes));
            }
            talk(&mut net, &nodes, 1, |i, _| (i == 0).then_some(said[n]));
        }
        let heard = net.played(nodes[1])[before..].to_vec();
        let dropped = counters(&mut net, nodes[1])["datagrams_dropped"].as_u64().expect("a count");
        let to_eve = net.datagrams().iter().filter(|it| it.1 == eve()).map(|it| it.2.len()).sum::<usize>();
        let events: Vec<Value> = net.events(nodes[1], "speaking").cloned().collect();
        (heard, dropped, to_eve, events, said.len())
    };
    let (calm, stormy) = (run(false), run(true));
    assert!(stormy.1 > calm.1 + 40 * stormy.4 as u64, "dropped and counted: {} and {}", calm.1, stormy.1);
    assert!(calm.0 == stormy.0, "what is played is the same, sample for sample");
    assert_eq!(calm.3, stormy.3);
    // Its challenges were echoed, which costs it more than it brings.
    assert!(stormy.2 <= stormy.4 * 4 * 17, "{} bytes went to the forger", stormy.2);
}

#[test]
fn a_forger_from_the_true_address_silences_nobody_for_long() {
    // Nothing tells such a datagram from a true one; but one leap is not believed, and the next true frame is.
    let mut net = Net::new(2, (ms(8), ms(8)));
    let node = net.node("n");
    let mut old = Original::linked(&mut net, 1, node);
    join(&mut net, node);
    old.join(&mut net, node);
    let said = words(0);
    for frame in &said {
        old.say(&mut net, &[node], frame);
        net.throw_from(old.peer, node, datagram("general", &old.id, 0xFFFF_FFFF, &[0x5555; FRAME]));
        talk(&mut net, &[node], 1, |_, _| None);
    }
    assert_heard(said.as_flattened(), net.played(node), "the node");
}

#[test]
fn nor_on_level_2() {
    // From before the first true datagram on, and in pairs that confirm each other now and then.
    let mut net = Net::new(13, (ms(8), ms(8)));
    let nodes: Vec<At> = (0..2).map(|i| net.node(&format!("n{i}"))).collect();
    net.link(nodes[0], nodes[1]);
    nodes.iter().for_each(|at| join(&mut net, *at));
    let (session, from) = (session_of(&net, nodes[0]), crate::sim::addr_of(nodes[0]));
    net.forge(from, nodes[1], voice(session, u64::MAX / 2, 1, Codec::Pcm, &[0x11; 640]));
    idle(&mut net, &nodes, 100);
    let before = net.played(nodes[1]).len();
    for (n, frame) in words(0).iter().enumerate() {
        let counter = u64::MAX / 2 - 2 * (n as u64 / 50);
        net.forge(from, nodes[1], voice(session, counter - 1, n as u64 + 6, Codec::Pcm, &[0x11; 640]));
        if n == 100 {
            net.forge(from, nodes[1], voice(session, counter, n as u64 + 6, Codec::Pcm, &[0x11; 640]));
        }
        talk(&mut net, &nodes, 1, |i, _| (i == 0).then_some(*frame));
    }
    idle(&mut net, &nodes, 25);
    let it = compare(words(0).as_flattened(), &net.played(nodes[1])[before..]).expect("speech");
    assert!(it.found() > 0.6, "{:.2} found", it.found());
}

#[test]
fn replays_of_sealed_voice_from_the_true_address_are_dropped() {
    let key = crate::wire::room_key::RoomKey::derive_at_once(crate::wire::room_key::Scheme::Original, "k", "r");
    let run = |replays: bool| {
        let mut net = Net::new(3, (ms(8), ms(8)));
        let nodes: Vec<At> = (0..2)
            .map(|i| net.node_with(&format!("n{i}"), |it| it.keys = vec![("general".into(), key.clone())]))
            .collect();
        net.link(nodes[0], nodes[1]);
        nodes.iter().for_each(|at| join(&mut net, *at));
        idle(&mut net, &nodes, 100);
        say_words(&mut net, &nodes, &[0]);
        let to = crate::sim::addr_of(nodes[1]);
        let old: Vec<Vec<u8>> =
            net.datagrams().iter().filter(|it| it.1 == to && it.2[0] == 0x11).map(|it| it.2.clone()).collect();
        let before = net.played(nodes[1]).len();
        for (n, frame) in words(0).iter().enumerate() {
            if replays {
                let from = crate::sim::addr_of(nodes[0]);
                old.iter().skip(n % 50 * 2).take(3).for_each(|bytes| net.forge(from, nodes[1], bytes.clone()));
            }
            talk(&mut net, &nodes, 1, |i, _| (i == 0).then_some(*frame));
        }
        net.played(nodes[1])[before..].to_vec()
    };
    assert!(run(false) == run(true));
}

/// Joins that all name one victim. On level 2 their authors sign them: who is an author is up to anybody.
fn forged_join(net: &mut Net, n: usize, victim: &SocketAddr, room: &str) -> Value {
    let mut join = json!({ "type": "voice_join", "id": format!("f{n}"), "from": format!("m{}", n % 5000), "username": "m",
        "room": room, "udp_host": victim.ip().to_string(), "udp_port": 1 + n % 60_000, "ttl": 5, "ts": "" });
    if !n.is_multiple_of(3) {
        let session = format!("{:016x}", (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        join["voice"] = json!({ "session": session, "codecs": ["opus"], "muted": false });
        join = net.signed(&format!("m{}", n % 5000), &join);
    }
    join
}

fn unsigned(mut message: Value) -> Value {
    message.as_object_mut().expect("an object").remove("sig");
    message
}

#[test]
fn however_many_joins_are_forged_less_than_4_kib_reaches_a_victim() {
    for victim in ["10.99.0.1:1", "[2001:db8::1]:1", "[::ffff:10.99.0.1]:1"] {
        let victim: SocketAddr = victim.parse().expect("an address");
        let (mut net, nodes) = party(4, 3, (ms(1), ms(1)));
        let relay = net.peer(([10, 66, 0, 1], 6666).into());
        net.link_peer(relay, nodes[1], "relay", "relay");
        let loud = words(0)[20];
        for n in 0..10_000 {
            // Rooms fill up; so members leave again, and the nodes themselves leave and join.
            let join = forged_join(&mut net, n, &victim, if n % 7 == 0 { "other" } else { "general" });
            net.say(relay, nodes[1], &join);
            if n % 3 == 0 {
                let m = n.saturating_sub(20);
                let mut leave = forged_join(&mut net, m, &victim, "general");
                (leave["type"], leave["id"]) = (json!("voice_leave"), json!(format!("l{n}")));
                if leave["voice"].is_object() {
                    leave = net.signed(&format!("m{}", m % 5000), &unsigned(leave));
                }
                net.say(relay, nodes[1], &leave);
            }
            if n % 100 == 0 {
                net.run_for(ms(600));
                talk(&mut net, &nodes, 2, |_, _| Some(loud));
            }
            if n % 2500 == 2499 {
                run(&mut net, nodes[0], json!({ "cmd": "voice_leave" }));
                join_if_there_is_room(&mut net, nodes[0]);
            }
        }
        net.run_for(Duration::from_secs(120));
        let (ip, headers) = (victim.ip().to_canonical(), if victim.ip().to_canonical().is_ipv4() { 28 } else { 48 });
        let to: Vec<&(At, SocketAddr, Vec<u8>)> = net.datagrams().iter().filter(|it| it.1.ip() == ip).collect();
        let bytes: usize = to.iter().map(|it| it.2.len() + headers).sum();
        assert!(bytes > 0 && bytes < 4096, "{bytes} bytes to {victim} from three nodes");
        assert!(to.iter().all(|it| it.2[0] == 0x02), "challenges alone");
    }
}

#[test]
fn forged_joins_keep_nobody_from_being_heard() {
    let mut net = Net::new(14, (ms(5), ms(5)));
    let nodes: Vec<At> = (0..3).map(|i| net.node(&format!("n{i}"))).collect();
    nodes.windows(2).for_each(|pair| net.dial(pair[0], pair[1]));
    net.settle();
    join(&mut net, nodes[0]);
    join(&mut net, nodes[1]);
    let relay = net.peer(([10, 66, 0, 1], 6666).into());
    net.link_peer(relay, nodes[0], "relay", "relay");
    // Of a neighbour, and of a node two hops away that is not in voice yet.
    for n in 0..40 {
        let victim = crate::sim::addr_of(nodes[1 + n % 2]);
        let join = forged_join(&mut net, 3 * n + 1, &victim, "general");
        net.say(relay, nodes[0], &join);
    }
    net.run_for(Duration::from_secs(30));
    join(&mut net, nodes[2]);
    idle(&mut net, &nodes, 100);
    let heard = say_words(&mut net, &nodes, &[0]);
    assert_heard(words(0).as_flattened(), &heard[1], "the neighbour");
    assert_heard(words(0).as_flattened(), &heard[2], "who came late");
    let heard = say_words(&mut net, &nodes, &[2]);
    assert_heard(words(2).as_flattened(), &heard[0], "the first");
}

#[test]
fn who_comes_and_goes_is_heard_when_it_stays() {
    // Challenges are still out when it leaves, again and again; and there is a node between that is not in voice.
    let mut net = Net::new(15, (ms(100), ms(100)));
    let nodes: Vec<At> = (0..3).map(|i| net.node(&format!("n{i}"))).collect();
    nodes.windows(2).for_each(|pair| net.dial(pair[0], pair[1]));
    net.settle();
    join(&mut net, nodes[2]);
    for _ in 0..40 {
        net.command(nodes[0], &json!({ "cmd": "voice_join" }));
        net.run_for(ms(300));
        net.command(nodes[0], &json!({ "cmd": "voice_leave" }));
        net.run_for(ms(20));
    }
    net.run_for(Duration::from_secs(5));
    join(&mut net, nodes[0]);
    idle(&mut net, &nodes, 200);
    let heard = say_words(&mut net, &nodes, &[0]);
    assert_heard(words(0).as_flattened(), &heard[2], "who stayed");
    let heard = say_words(&mut net, &nodes, &[2]);
    assert_heard(words(2).as_flattened(), &heard[0], "who came and went");
}

fn join_if_there_is_room(net: &mut Net, at: At) {
    let reply = run(net, at, json!({ "cmd": "voice_join" }));
    assert!(reply["ok"] == true || reply["error"]["code"] == "room_full", "{reply}");
}

#[test]
fn voice_goes_to_no_address_that_a_neighbour_names_but_its_own() {
    // An original that is linked: its own join may name the victim, or another may name one for it.
    let victim: SocketAddr = ([10, 99, 0, 1], 6000).into();
    let mut net = Net::new(5, (ms(1), ms(1)));
    let node = net.node("n");
    let old = Original::linked(&mut net, 1, node);
    let relay = net.peer(eve());
    net.link_peer(relay, node, "relay", "relay");
    join(&mut net, node);
    let named = |n: usize, from: &str, host: &str| {
        json!({ "type": "voice_join", "id": format!("j{n}"), "from": from, "username": "m", "room": "general",
            "udp_host": host, "udp_port": 53, "ttl": 5, "ts": "" })
    };
    net.say(relay, node, &named(1, &old.id, "10.77.0.1"));
    talk(&mut net, &[node], 100, |_, _| Some(words(0)[20]));
    assert_eq!(net.datagrams().len(), 0, "what bears a neighbour's name counts from that neighbour alone");
    assert_eq!(voice_peers(&mut net, node).len(), 0);
    net.say(old.peer, node, &named(2, &old.id, &victim.ip().to_string()));
    talk(&mut net, &[node], 100, |_, _| Some(words(0)[20]));
    assert!(net.datagrams().iter().all(|it| it.1 == ([10, 77, 0, 1], 53).into()), "its link's address");
    assert!(net.datagrams().len() > 90);
}

#[test]
fn a_first_copy_by_another_way_does_not_hide_a_neighbours_own_word() {
    let mut net = Net::new(6, (ms(1), ms(1)));
    let node = net.node("n");
    let mut old = Original::linked(&mut net, 1, node);
    let relay = net.peer(eve());
    net.link_peer(relay, node, "relay", "relay");
    let signal = old.signal("voice_join", "general");
    net.say(relay, node, &signal);
    assert_eq!(count(&net, node, "voice_joined", &old.id), 0);
    net.say(old.peer, node, &signal);
    net.say(old.peer, node, &signal);
    assert_eq!(count(&net, node, "voice_joined", &old.id), 1);
}

/// Two nodes that hear each other and are not linked, and a relay between them that forges.
fn with_relay(seed: u64) -> (Net, Vec<At>, Peer, At) {
    let mut net = Net::new(seed, (ms(8), ms(8)));
    let nodes: Vec<At> = (0..2).map(|i| net.node(&format!("n{i}"))).collect();
    let between = net.node("between");
    net.link(nodes[0], between);
    net.link(between, nodes[1]);
    let relay = net.peer(eve());
    net.link_peer(relay, between, "relay", "relay");
    nodes.iter().for_each(|at| join(&mut net, *at));
    idle(&mut net, &nodes, 100);
    (net, nodes, relay, between)
}

fn signal(net: &Net, at: At, kind: &str, n: usize, session: Option<u64>) -> Value {
    let mut signal = json!({ "type": kind, "id": format!("x{n}"), "from": net.at(at).id(), "username": "n0",
        "room": "general", "udp_host": "10.66.0.1", "udp_port": 6666, "ttl": 5, "ts": "", "muted": true });
    if let Some(session) = session {
        signal["voice"] = json!({ "session": format!("{session:016x}"), "codecs": ["opus"], "muted": false });
    }
    signal
}

#[test]
fn forged_joins_and_leaves_of_who_is_heard_change_nothing_that_is_heard() {
    let run = |forged: bool| {
        let (mut net, nodes, relay, between) = with_relay(7);
        let own = session_of(&net, nodes[0]);
        let before = net.played(nodes[1]).len();
        for (n, frame) in words(0).iter().enumerate() {
            if forged && n % 10 == 0 {
                // Elsewhere; another session; as an original; a leave without the session, or with another one.
                let sessions = [Some(own), Some(n as u64), None];
                for (k, session) in sessions.into_iter().enumerate() {
                    net.say(relay, between, &signal(&net, nodes[0], "voice_join", n * 10 + k, session));
                }
                net.say(relay, between, &signal(&net, nodes[0], "voice_leave", n * 10 + 4, None));
                net.say(relay, between, &signal(&net, nodes[0], "voice_leave", n * 10 + 5, Some(99)));
            }
            talk(&mut net, &nodes, 1, |i, _| (i == 0).then_some(*frame));
        }
        let id = net.at(nodes[0]).id().to_owned();
        assert_eq!((count(&net, nodes[1], "voice_joined", &id), count(&net, nodes[1], "voice_left", &id)), (1, 0));
        assert!(net.datagrams().iter().all(|it| it.1 != eve()));
        net.played(nodes[1])[before..].to_vec()
    };
    assert!(run(false) == run(true), "sample for sample");
}

#[test]
fn a_leave_that_its_member_did_not_sign_is_none() {
    let (mut net, nodes, relay, between) = with_relay(8);
    let session = session_of(&net, nodes[0]);
    let leave = signal(&net, nodes[0], "voice_leave", 1, Some(session));
    net.say(relay, between, &leave);
    let mut signed = net.signed("thief", &leave);
    signed["id"] = json!("x2");
    signed["from"] = leave["from"].clone();
    net.say(relay, between, &signed);
    idle(&mut net, &nodes, 50);
    let id = net.at(nodes[0]).id().to_owned();
    assert_eq!((count(&net, nodes[1], "voice_joined", &id), count(&net, nodes[1], "voice_left", &id)), (1, 0));
    assert_eq!(session_of(&net, nodes[0]), session);
    let dropped = &counters(&mut net, between)["dropped"];
    assert_eq!((&dropped["forged"], &dropped["bad_signature"]), (&json!(1), &json!(1)));
    let leave = net.signed_as(nodes[0], &signal(&net, nodes[0], "voice_leave", 3, Some(session)));
    net.say(relay, between, &leave);
    net.run_for(ms(50));
    assert_eq!(count(&net, nodes[1], "voice_left", &id), 1, "one that is signed counts");
}

#[test]
fn whose_session_is_taken_by_another_takes_a_new_one() {
    let (mut net, nodes, relay, between) = with_relay(9);
    let session = session_of(&net, nodes[0]);
    let steal = |net: &mut Net, n: usize| {
        let session = session_of(net, nodes[0]);
        let stolen = signal(net, nodes[0], "voice_join", n, Some(session));
        let stolen = net.signed("thief", &stolen);
        net.say(relay, between, &stolen);
    };
    steal(&mut net, 1);
    idle(&mut net, &nodes, 200);
    assert_ne!(session_of(&net, nodes[0]), session);
    assert_heard(words(0).as_flattened(), &say_words(&mut net, &nodes, &[0])[1], "soon after");
    // However often it is tried, what goes out in defence has a rate.
    let before = net.crossings().len();
    for n in 0..1000 {
        steal(&mut net, 10 + n);
        net.run_for(ms(10));
    }
    let joins =
        net.crossings()[before..].iter().filter(|it| it.author == net.at(nodes[0]).id() && it.ttl == 32).count();
    assert!((2..=8).contains(&joins), "{joins} in ten seconds");
}

#[test]
fn a_claim_on_who_has_vanished_is_believed_then() {
    let (mut net, nodes, relay, between) = with_relay(10);
    // The member comes back elsewhere, with a new session, and its leave was lost.
    net.freeze(nodes[0]);
    net.cut(nodes[0], between);
    let mut again = signal(&net, nodes[0], "voice_join", 1, Some(0xABCD));
    again["voice"]["muted"] = json!(true);
    let again = net.signed_as(nodes[0], &again);
    net.say(relay, between, &again);
    idle(&mut net, &nodes[1..], 50);
    let id = net.at(nodes[0]).id().to_owned();
    let session = |net: &Net| net.at(nodes[1]).voice.roster.get(&id).and_then(|member| member.session);
    assert_ne!(session(&net), Some(0xABCD), "it was heard a second ago");
    idle(&mut net, &nodes[1..], 100);
    assert_eq!(session(&net), Some(0xABCD));
}

#[test]
fn a_host_that_only_pretends_silences_nobody() {
    let (mut net, nodes) = party(11, 2, (ms(8), ms(8)));
    let mut old = Original::linked(&mut net, 1, nodes[0]);
    old.join(&mut net, nodes[0]);
    net.say(old.peer, nodes[0], &json!({ "type": "peer_list", "id": "p", "from": old.id, "peers": [], "ts": "" }));
    for _ in 0..200 {
        old.say(&mut net, &nodes, &[0; FRAME]);
        talk(&mut net, &nodes, 1, |_, _| None);
    }
    let before = net.played(nodes[0]).len();
    for frame in words(1) {
        old.say(&mut net, &nodes, &[0; FRAME]);
        talk(&mut net, &nodes, 1, |i, _| (i == 1).then_some(frame));
    }
    assert_heard(words(1).as_flattened(), &net.played(nodes[0])[before..], "in spite of it");
}

#[test]
fn a_full_call_is_taken_whole() {
    for ours in [true, false] {
        let mut net = Net::new(12, (ms(1), ms(1)));
        let node = net.node("n");
        let relay = net.peer(eve());
        net.link_peer(relay, node, "relay", "relay");
        join(&mut net, node);
        for n in 0..64_u8 {
            let mut join = json!({ "type": "voice_join", "id": format!("j{n}"), "from": format!("m{n}"), "username": "m",
                "room": "general", "udp_host": format!("10.50.0.{n}"), "udp_port": 6000, "ttl": 5, "ts": "" });
            if ours {
                join["voice"] =
                    json!({ "session": format!("{:016x}", u64::from(n) + 1), "codecs": ["opus"], "muted": false });
                join = net.signed(&format!("m{n}"), &join);
            }
            net.say(relay, node, &join);
        }
        let frame = words(0)[20];
        for n in 0..10_u32 {
            for m in 0..64_u8 {
                let from: SocketAddr = ([10, 50, 0, m], 6000).into();
                let bytes = match ours {
                    true => voice(u64::from(m) + 1, u64::from(n) + 1, u64::from(n) + 9, Codec::Pcm, &[7; 640]),
                    false => datagram("general", &format!("m{m}"), n + 1, &frame),
                };
                net.forge(from, node, bytes);
            }
            for _ in 0..4 {
                net.run_for(ms(5));
                net.play(node);
            }
        }
        assert_eq!(counters(&mut net, node)["datagrams_received"], 640, "level {}", 1 + u8::from(ours));
        let peak = net.played(node).iter().map(|it| it.unsigned_abs()).max();
        assert!(peak > Some(1000) && peak < Some(32_200), "all at once, and kept from clipping: {peak:?}");
    }
}
