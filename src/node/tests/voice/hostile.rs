//! Forgers: by datagrams from anywhere, and by signals from a relay.

use std::net::SocketAddr;

use super::original::{Original, datagram};
use super::*;
use crate::call::testing::{Member, forged};
use crate::sim::Peer;
use crate::voice::{Codec, Packet, Report};
use crate::wire::datagram::inside::{self, CHALLENGE, HEARS, WITH_HOST};

/// A third address.
const EVE: ([u8; 4], u16) = ([10, 66, 0, 1], 6666);

fn eve() -> SocketAddr {
    EVE.into()
}

fn session_of(net: &Net, at: At) -> u64 {
    calls(net, at).own_session().expect("in voice")
}

/// A datagram like a member's of level 2, with any numbers that a forger may wish, and without its key.
fn voice(session: u64, counter: u64, frame: u64, codec: Codec, payload: &[u8]) -> Vec<u8> {
    let packet = Packet { counter, frame, codec, payload, repeats: [None; 2] };
    forged(session, counter, |out| inside::write_voice(&packet, true, out))
}

/// Datagrams of every kind in the names of two members, some cut short, too long, or of chance.
fn forgeries(net: &mut Net, talker: u64, listener: u64, old: &str, n: usize) -> Vec<Vec<u8>> {
    let chance = net.chance(1 << 30) as u64;
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
        forged(talker, near, |out| inside::write_challenge(listener, chance, out)),
        forged(chance, near, |out| inside::write_challenge(listener, chance, out)),
        forged(talker, near, |out| inside::write_echo(chance, out)),
        forged(talker, near, |out| {
            inside::write_report(listener, Report { expected: u16::MAX, lost: u16::MAX, bursts: 1 }, out)
        }),
        forged(talker, near, |out| inside::write_members([(HEARS | WITH_HOST, old), (0, "x")].into_iter(), out)),
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
    assert!(stormy.1 > calm.1 + 38 * stormy.4 as u64, "dropped and counted: {} and {}", calm.1, stormy.1);
    assert!(calm.0 == stormy.0, "what is played is the same, sample for sample");
    assert_eq!(calm.3, stormy.3);
    assert_eq!(stormy.2, 0, "bytes went to the forger");
}

#[test]
fn who_has_a_session_s_key_and_not_its_address_silences_nobody() {
    let packet = Packet { counter: 9, frame: 1 << 30, codec: Codec::Pcm, payload: &[0x55; 640], repeats: [None; 2] };
    // Before the first echo, and after it; from elsewhere, and as if from the address that is announced.
    for (early, from_there) in [(true, false), (false, false), (true, true)] {
        let mut net = Net::new(1, (ms(8), ms(8)));
        let nodes: Vec<At> = (0..2).map(|i| net.node(&format!("n{i}"))).collect();
        net.link(nodes[0], nodes[1]);
        join(&mut net, nodes[0]);
        net.run_for(ms(20));
        let line = net.command(nodes[1], &json!({ "cmd": "voice_join" }));
        if !early {
            idle(&mut net, &nodes, 100);
        }
        let author = net.at(nodes[0]).id().to_owned();
        let hears = |net: &Net| calls(net, nodes[1]).has_echo();
        while hears(&net).is_none() {
            net.run_for(ms(1));
        }
        assert_eq!(hears(&net), Some(!early));
        let from = if from_there { crate::sim::addr_of(nodes[0]) } else { eve() };
        for n in 0..5 {
            let voice = calls(&net, nodes[0]);
            let bytes =
                voice.as_a_listener_forges(&author, 1_000_000 + n, |out| inside::write_voice(&packet, true, out));
            net.forge(from, nodes[1], bytes);
        }
        idle(&mut net, &nodes, 100);
        assert_eq!(net.reply(nodes[1], line)["ok"], true);
        let heard = say_words(&mut net, &nodes, &[0, 1]);
        assert_heard(words(1).as_flattened(), &heard[0], "the one in whose name it was");
        assert_heard(words(0).as_flattened(), &heard[1], &format!("early: {early}, from there: {from_there}"));
    }
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
fn nor_on_level_2_not_even_for_a_moment() {
    // From before the first true datagram on; and all that went before is replayed as well.
    let run = |hostile: bool| {
        let (mut net, nodes) = party(13, 2, (ms(8), ms(8)));
        say_words(&mut net, &nodes, &[0]);
        let (session, from, to) =
            (session_of(&net, nodes[0]), crate::sim::addr_of(nodes[0]), crate::sim::addr_of(nodes[1]));
        let old: Vec<Vec<u8>> = net.datagrams().iter().filter(|it| it.1 == to).map(|it| it.2.clone()).collect();
        let before = net.played(nodes[1]).len();
        for (n, frame) in words(0).iter().enumerate() {
            if hostile {
                for counter in [0, n as u64, 1000 + n as u64, u64::MAX / 2, u64::MAX] {
                    net.forge(from, nodes[1], voice(session, counter, n as u64 + 6, Codec::Pcm, &[0x11; 640]));
                }
                old.iter().skip(n % 50 * 2).take(3).for_each(|bytes| net.forge(from, nodes[1], bytes.clone()));
            }
            talk(&mut net, &nodes, 1, |i, _| (i == 0).then_some(*frame));
        }
        net.played(nodes[1])[before..].to_vec()
    };
    assert!(run(false) == run(true), "sample for sample");
}

#[test]
fn who_joins_again_is_not_played_what_was_said_meanwhile() {
    // A tap that has recorded what a member said while we were away plays it to us, from where the member is.
    let (mut net, nodes) = party(21, 3, (ms(8), ms(8)));
    let (from, to) = (crate::sim::addr_of(nodes[0]), crate::sim::addr_of(nodes[2]));
    run(&mut net, nodes[1], json!({ "cmd": "voice_leave" }));
    let start = net.datagrams().len();
    say_words(&mut net, &nodes, &[0]);
    let said: Vec<Vec<u8>> =
        net.datagrams()[start..].iter().filter(|it| it.0 == nodes[0] && it.1 == to).map(|it| it.2.clone()).collect();
    assert!(said.len() > 100);
    join(&mut net, nodes[1]);
    idle(&mut net, &nodes, 50);
    let before = net.played(nodes[1]).len();
    for bytes in said {
        net.forge(from, nodes[1], bytes);
        talk(&mut net, &nodes, 1, |_, _| None);
    }
    assert_silent(&net.played(nodes[1])[before..], "who was away");
    assert_heard(words(0).as_flattened(), &say_words(&mut net, &nodes, &[0])[1], "who is back");
}

/// Joins that all name one victim.
fn forged_join(n: usize, victim: &SocketAddr, room: &str) -> Value {
    let addr = SocketAddr::new(victim.ip(), 1 + (n % 60_000) as u16);
    match n.is_multiple_of(3) {
        false => Member::new(n as u32, room, addr).signal("voice_join"),
        true => json!({ "type": "voice_join", "id": format!("f{n}"), "from": format!("m{}", n % 5000), "username": "m",
            "room": room, "udp_host": addr.ip().to_string(), "udp_port": addr.port(), "ttl": 5, "ts": "" }),
    }
}

/// A leave of the member that joined twenty joins before.
fn forged_leave(n: usize, victim: &SocketAddr) -> Value {
    let joined = n.saturating_sub(20);
    let mut leave = forged_join(joined, victim, "general");
    if leave["voice"].is_object() {
        let addr = SocketAddr::new(victim.ip(), 1 + (joined % 60_000) as u16);
        let mut member = Member::new(joined as u32, "general", addr);
        // Its join was the first that it signed.
        member.signal("voice_join");
        return member.signal("voice_leave");
    }
    (leave["type"], leave["id"]) = (json!("voice_leave"), json!(format!("l{n}")));
    leave
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
            net.say(relay, nodes[1], &forged_join(n, &victim, if n % 7 == 0 { "other" } else { "general" }));
            if n % 3 == 0 {
                net.say(relay, nodes[1], &forged_leave(n, &victim));
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
        assert!(to.iter().all(|it| it.2.len() == CHALLENGE), "challenges alone");
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
        let join = Member::new(n as u32, "general", victim).signal("voice_join");
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
fn what_others_say_of_a_member_of_level_2_is_not_believed() {
    let (mut net, nodes, relay, between) = with_relay(8);
    let session = session_of(&net, nodes[0]);
    for (n, kind) in ["voice_leave", "voice_join", "voice_mute_status"].into_iter().enumerate() {
        net.say(relay, between, &signal(&net, nodes[0], kind, n, Some(session)));
        net.say(relay, between, &signal(&net, nodes[0], kind, n + 10, None));
    }
    idle(&mut net, &nodes, 50);
    let id = net.at(nodes[0]).id().to_owned();
    assert_eq!((count(&net, nodes[1], "voice_joined", &id), count(&net, nodes[1], "voice_left", &id)), (1, 0));
    assert_eq!(count(&net, nodes[1], "voice_muted", &id), 0);
    assert_eq!(session_of(&net, nodes[0]), session);
    assert_heard(words(0).as_flattened(), &say_words(&mut net, &nodes, &[0])[1], "all the same");
}

#[test]
fn a_thief_of_a_session_gets_nothing_by_it() {
    // The room has no key: so everyone on the network knows the keys of sessions, and can announce them as his own.
    let (mut net, nodes, relay, between) = with_relay(9);
    let victim = net.frames(relay).iter().rfind(|it| it["type"] == "voice_join" && it["from"] == net.at(nodes[0]).id());
    let voice = victim.expect("its join")["voice"].clone();
    let mut thief = Member::new(7, "general", eve());
    net.say(relay, between, &thief.signal_with("voice_join", voice.clone()));
    idle(&mut net, &nodes, 100);
    assert_heard(words(0).as_flattened(), &say_words(&mut net, &nodes, &[0])[1], "whose session it is");
    assert!(net.datagrams().iter().all(|it| it.1 != eve()), "nothing goes to the thief");
    assert!(voice_peers(&mut net, nodes[1]).iter().any(|it| it["peer"] == thief.id()), "though it is a member");
    // An old session of one's own is as good as any, but only if nothing newer was said.
    let mut member = Member::new(8, "general", ([10, 66, 0, 2], 7).into());
    let old = member.signal("voice_join");
    member.begin_anew(1);
    net.say(relay, between, &member.signal("voice_join"));
    net.say(relay, between, &old);
    net.settle();
    let known = calls(&net, nodes[1]).session_of_member(member.id());
    assert_eq!(known, Some(member.session()));
}

#[test]
fn a_member_that_comes_back_elsewhere_is_believed_at_once() {
    let (mut net, nodes, relay, between) = with_relay(10);
    let mut member = Member::new(7, "general", ([10, 66, 0, 2], 7).into());
    net.say(relay, between, &member.signal("voice_join"));
    net.run_for(ms(50));
    let packet = Packet { counter: 1, frame: 9, codec: Codec::Pcm, payload: &[7; 640], repeats: [None; 2] };
    let bytes = member.voice(&packet);
    net.forge(member.addr, nodes[1], bytes);
    net.run_for(ms(50));
    assert!(voice_peers(&mut net, nodes[1]).iter().any(|it| it["peer"] == member.id() && it["received"] == 1));
    member.begin_anew(1);
    member.addr.set_port(8);
    net.say(relay, between, &member.signal("voice_join"));
    net.run_for(ms(50));
    let session = calls(&net, nodes[1]).session_of_member(member.id());
    assert_eq!(session, Some(member.session()));
    assert_eq!(count(&net, nodes[1], "voice_joined", member.id()), 1, "it is the same member");
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
        let mut members: Vec<Member> =
            (0..64_u8).map(|n| Member::new(n.into(), "general", ([10, 50, 0, n], 6000).into())).collect();
        for (n, member) in members.iter_mut().enumerate() {
            let join = match ours {
                true => member.signal("voice_join"),
                false => json!({ "type": "voice_join", "id": format!("j{n}"), "from": format!("m{n}"), "username": "m",
                    "room": "general", "udp_host": format!("10.50.0.{n}"), "udp_port": 6000, "ttl": 5, "ts": "" }),
            };
            net.say(relay, node, &join);
        }
        let frame = words(0)[20];
        for n in 0..10_u32 {
            for (m, member) in members.iter_mut().enumerate() {
                let (counter, frame_number) = (u64::from(n) + 1, u64::from(n) + 9);
                let (codec, payload) = (Codec::Pcm, &[7; 640][..]);
                let bytes = match ours {
                    true => member.voice(&Packet { counter, frame: frame_number, codec, payload, repeats: [None; 2] }),
                    false => datagram("general", &format!("m{m}"), n + 1, &frame),
                };
                net.forge(member.addr, node, bytes);
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

#[test]
fn joins_of_invented_members_keep_no_real_one_out() {
    let mut net = Net::new(30, (ms(20), ms(20)));
    let nodes: Vec<At> = (0..4).map(|i| net.node(&format!("n{i}"))).collect();
    let [relay, hearer, watcher, real] = nodes[..] else { unreachable!("four") };
    [hearer, watcher, real].into_iter().for_each(|at| net.link(relay, at));
    join(&mut net, hearer);
    let mallory = net.peer(eve());
    net.link_peer(mallory, relay, "old", "old");
    let mut n = 0;
    let mut flood = |net: &mut Net, count: u32| {
        let joins: Vec<Value> = (n..n + count)
            .map(|n| Member::new(10 + n, "general", SocketAddr::from(([10, 77, 0, 1], 6000))).signal("voice_join"))
            .collect();
        n += count;
        net.say_at_once(mallory, relay, &joins);
    };
    for _ in 0..24 {
        flood(&mut net, 50);
    }
    net.run_for(ms(200));
    let line = net.command(real, &json!({ "cmd": "voice_join" }));
    for _ in 0..60 {
        flood(&mut net, 10);
        net.run_for(ms(50));
    }
    assert_eq!(net.reply(real, line)["ok"], true);
    let id = net.at(real).id().to_owned();
    for at in [relay, hearer, watcher] {
        assert_eq!(count(&net, at, "voice_joined", &id), 1, "{at:?}");
        assert_eq!(count(&net, at, "voice_left", &id), 0, "{at:?}");
        let told = net.events(at, "voice_joined").count();
        assert!((64..1100).contains(&told), "{at:?} was told of {told}");
    }
    let peers = voice_peers(&mut net, hearer);
    assert!(peers.iter().any(|it| it["peer"] == *id && it["addr"].is_string()), "voice goes there");
    assert!(counters(&mut net, relay)["voice_refused"].as_u64() > Some(400));
    assert_eq!(counters(&mut net, hearer)["voice_refused"], 0, "what the relay refused did not come so far");
}
