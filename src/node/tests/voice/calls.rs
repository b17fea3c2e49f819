//! Calls among nodes of ours.

use super::*;
use crate::call::testing::Member;
use crate::wire::datagram::sealed::OVERHEAD;
use crate::wire::limits::{MAX_VOICE_MEMBERS, VOICE_GONE};

#[test]
fn everyone_hears_who_speaks_over_any_number_of_hops_and_nobody_hears_himself() {
    let (mut net, nodes) = party(1, 4, (ms(1), ms(30)));
    for talker in [0, 3, 1] {
        let heard = say_words(&mut net, &nodes, &[talker]);
        let said = words(talker);
        for (listener, heard) in heard.iter().enumerate() {
            match listener == talker {
                true => assert_silent(heard, "the talker"),
                false => assert_heard(said.as_flattened(), heard, &format!("{talker} to {listener}")),
            }
        }
    }
    net.check().expect("sound");
}

#[test]
fn words_come_through_a_bad_line() {
    for (seed, lost, delay) in [(1, 50, (ms(10), ms(10))), (2, 100, (ms(20), ms(60))), (3, 200, (ms(5), ms(25)))] {
        let (mut net, nodes) = party(seed, 3, delay);
        net.lose(lost);
        // The first reports of loss come in while somebody speaks.
        say_words(&mut net, &nodes, &[0]);
        let heard = say_words(&mut net, &nodes, &[0]);
        for listener in [1, 2] {
            assert_heard(words(0).as_flattened(), &heard[listener], &format!("{lost} of 1000 lost, to {listener}"));
        }
        let peers = voice_peers(&mut net, nodes[1]);
        let it = peers.iter().find(|it| it["peer"] == net.at(nodes[0]).id()).expect("a member");
        assert!(it["lost"].as_u64() > Some(0) && it["received"].as_u64() > Some(50), "{it}");
    }
}

#[test]
fn talkers_over_one_another_are_mixed() {
    let (mut net, nodes) = party(4, 4, (ms(5), ms(15)));
    let heard = say_words(&mut net, &nodes, &[0, 2]);
    let sum = |voices: &[usize]| -> Vec<i16> {
        let said: Vec<Vec<i16>> = voices.iter().map(|voice| words(*voice).as_flattened().to_vec()).collect();
        (0..said[0].len()).map(|n| said.iter().map(|it| it[n]).fold(0, i16::saturating_add)).collect()
    };
    assert_heard(&sum(&[0, 2]), &heard[1], "between them");
    assert_heard(&sum(&[0, 2]), &heard[3], "behind them");
    assert_heard(&sum(&[2]), &heard[0], "one talker");
    assert_heard(&sum(&[0]), &heard[2], "the other");
}

#[test]
fn ten_nodes_in_a_ring() {
    let mut net = Net::new(5, (ms(5), ms(40)));
    let nodes: Vec<At> = (0..10).map(|i| net.node(&format!("n{i}"))).collect();
    (0..10).for_each(|i| net.dial(nodes[i], nodes[(i + 1) % 10]));
    net.settle();
    nodes.iter().for_each(|at| join(&mut net, *at));
    idle(&mut net, &nodes, 100);
    net.lose(30);
    let heard = say_words(&mut net, &nodes, &[7]);
    for listener in (0..10).filter(|it| *it != 7) {
        assert_heard(words(7).as_flattened(), &heard[listener], &format!("to {listener}"));
        let peers = voice_peers(&mut net, nodes[listener]);
        assert_eq!(peers.len(), 9);
        assert!(peers.iter().all(|it| it["addr"].is_string()), "{peers:?}");
        assert_eq!(peers.iter().filter(|it| it["codec"] == "opus").count(), 1, "of who has spoken");
    }
    net.check().expect("sound");
}

#[test]
fn each_event_comes_once_when_it_should() {
    let (mut net, nodes) = party(6, 3, (ms(1), ms(5)));
    let ids: Vec<String> = nodes.iter().map(|at| net.at(*at).id().to_owned()).collect();
    for (i, at) in nodes.iter().enumerate() {
        for id in ids.iter().filter(|id| **id != ids[i]) {
            assert_eq!(count(&net, *at, "voice_joined", id), 1);
        }
        assert_eq!(count(&net, *at, "voice_joined", &ids[i]), 0, "not one's own");
    }
    say_words(&mut net, &nodes, &[0]);
    for at in &nodes {
        let spoken: Vec<bool> = net
            .events(*at, "speaking")
            .filter(|it| it["peer"] == ids[0])
            .filter_map(|it| it["speaking"].as_bool())
            .collect();
        assert!(!spoken.is_empty() && spoken.len().is_multiple_of(2), "{spoken:?}");
        assert!(spoken.iter().enumerate().all(|(n, it)| *it == (n % 2 == 0)), "{spoken:?}");
        assert_eq!(count(&net, *at, "speaking", &ids[1]), 0);
    }
    assert_eq!(run(&mut net, nodes[0], json!({ "cmd": "voice_mute" }))["result"]["muted"], true);
    run(&mut net, nodes[0], json!({ "cmd": "voice_mute" }));
    assert_eq!(count(&net, nodes[2], "voice_muted", &ids[0]), 1);
    let member = voice_peers(&mut net, nodes[2]).into_iter().find(|it| it["peer"] == ids[0]).expect("a member");
    assert_eq!(member["muted"], true);
    assert_eq!(run(&mut net, nodes[0], json!({ "cmd": "voice_leave" }))["ok"], true);
    assert_eq!(count(&net, nodes[2], "voice_left", &ids[0]), 1);
    assert_eq!(run(&mut net, nodes[0], json!({ "cmd": "voice_leave" }))["error"]["code"], "not_in_voice");
    assert_eq!(voice_peers(&mut net, nodes[2]).len(), 1);
}

#[test]
fn who_is_muted_is_not_heard_and_is_heard_again() {
    let (mut net, nodes) = party(7, 2, (ms(5), ms(5)));
    /// Bytes of a sign of life: voice with no block.
    const SIGN: usize = OVERHEAD + 10;
    run(&mut net, nodes[0], json!({ "cmd": "voice_mute" }));
    let sent =
        |net: &Net| net.datagrams().iter().filter(|(from, _, bytes)| *from == nodes[0] && bytes.len() == SIGN).count();
    let before = sent(&net);
    assert_silent(&say_words(&mut net, &nodes, &[0])[1], "who listens to a muted member");
    let seconds = (words(0).len() + 25) / 50;
    assert!((seconds - 1..=seconds + 1).contains(&(sent(&net) - before)), "a sign of life a second");
    let own = net.at(nodes[0]).id().to_owned();
    assert_eq!(count(&net, nodes[0], "speaking", &own), 0);
    run(&mut net, nodes[0], json!({ "cmd": "voice_unmute" }));
    assert_heard(words(0).as_flattened(), &say_words(&mut net, &nodes, &[0])[1], "afterwards");
}

#[test]
fn late_joiners_learn_who_is_in_and_are_heard() {
    let (mut net, mut nodes) = party(8, 3, (ms(1), ms(5)));
    run(&mut net, nodes[0], json!({ "cmd": "voice_mute" }));
    idle(&mut net, &nodes, 150);
    // A node that comes later, over two more hops, the one between them not in voice.
    let between = net.node("between");
    let late = net.node("late");
    net.link(late, between);
    net.link(between, nodes[2]);
    let ids: Vec<String> = nodes.iter().map(|at| net.at(*at).id().to_owned()).collect();
    for at in [between, late] {
        for id in &ids {
            assert_eq!(count(&net, at, "voice_joined", id), 1, "known before it joins");
        }
    }
    let first = net.events(late, "voice_joined").find(|it| it["peer"] == ids[0]).expect("an event");
    assert_eq!(first["muted"], true);
    join(&mut net, late);
    nodes.push(late);
    idle(&mut net, &nodes, 100);
    let heard = say_words(&mut net, &nodes, &[3]);
    for (listener, heard) in heard[..3].iter().enumerate() {
        assert_heard(words(3).as_flattened(), heard, &format!("to {listener}"));
    }
    let heard = say_words(&mut net, &nodes, &[1]);
    assert_heard(words(1).as_flattened(), &heard[3], "to who came late");
    // Only once, however often it is said again.
    net.run_for(Duration::from_secs(70));
    assert_eq!(count(&net, late, "voice_joined", &ids[0]), 1);
}

#[test]
fn who_leaves_and_joins_again_is_heard_again() {
    let (mut net, nodes) = party(9, 3, (ms(5), ms(5)));
    for _ in 0..3 {
        run(&mut net, nodes[0], json!({ "cmd": "voice_leave" }));
        join(&mut net, nodes[0]);
        idle(&mut net, &nodes, 25);
        let heard = say_words(&mut net, &nodes, &[0]);
        assert_heard(words(0).as_flattened(), &heard[2], "two hops away");
        assert_heard(words(1).as_flattened(), &say_words(&mut net, &nodes, &[1])[0], "to who joined again");
    }
    let id = net.at(nodes[0]).id().to_owned();
    assert_eq!((count(&net, nodes[2], "voice_joined", &id), count(&net, nodes[2], "voice_left", &id)), (4, 3));
}

#[test]
fn who_vanishes_is_dropped_ten_seconds_later_and_not_before() {
    // A neighbour whose link breaks, and a member two hops away of whom only datagrams came.
    let (mut net, nodes) = party(10, 3, (ms(5), ms(5)));
    let id = net.at(nodes[0]).id().to_owned();
    net.freeze(nodes[0]);
    net.cut(nodes[0], nodes[1]);
    let rest = &nodes[1..];
    idle(&mut net, rest, 50 * (VOICE_GONE.as_secs() as usize - 2));
    assert_eq!((count(&net, nodes[1], "voice_left", &id), count(&net, nodes[2], "voice_left", &id)), (0, 0));
    idle(&mut net, rest, 50 * 4);
    assert_eq!((count(&net, nodes[1], "voice_left", &id), count(&net, nodes[2], "voice_left", &id)), (1, 1));
    // While it is linked it stays, though nothing is heard of it.
    let (mut net, nodes) = party(11, 2, (ms(5), ms(5)));
    let id = net.at(nodes[0]).id().to_owned();
    net.lose(1000);
    idle(&mut net, &nodes, 50 * 20);
    assert_eq!(count(&net, nodes[1], "voice_left", &id), 0);
}

#[test]
fn voice_stays_in_its_room_and_rooms_do_not_mix() {
    let mut net = Net::new(12, (ms(1), ms(5)));
    // Level 1 can't tell these rooms apart: they are one in their first 16 bytes.
    let rooms = ["a room of sixteen", "a room of sixteen and more", "a room of sixteen"];
    let nodes: Vec<At> = rooms
        .iter()
        .enumerate()
        .map(|(i, room)| net.node_with(&format!("n{i}"), |config| config.room = (*room).to_owned()))
        .collect();
    nodes.windows(2).for_each(|pair| net.link(pair[0], pair[1]));
    nodes.iter().for_each(|at| join(&mut net, *at));
    idle(&mut net, &nodes, 100);
    run(&mut net, nodes[0], json!({ "cmd": "room", "name": "elsewhere" }));
    let heard = say_words(&mut net, &nodes, &[0]);
    assert_heard(words(0).as_flattened(), &heard[2], "the same room");
    assert_silent(&heard[1], "another room");
    assert_eq!(voice_peers(&mut net, nodes[0]).len(), 1, "of the room that voice is in");
    let other = run(&mut net, nodes[0], json!({ "cmd": "voice_peers", "room": rooms[1] }));
    assert_eq!(other["result"]["peers"].as_array().map(Vec::len), Some(1));
    let again = run(&mut net, nodes[0], json!({ "cmd": "voice_join" }));
    assert_eq!(again["error"]["code"], "already_in_voice");
}

fn set_key(net: &mut Net, at: At, passphrase: Option<&str>, scheme: &str) {
    let line = net.command(at, &json!({ "cmd": "key", "passphrase": passphrase, "scheme": scheme }));
    net.run_for(ms(100));
    assert_eq!(net.reply(at, line)["ok"], true);
}

#[test]
fn a_room_with_a_key_is_heard_by_who_has_it_and_the_key_before_still_opens() {
    for (seed, scheme) in [(13, "argon2id"), (18, "original")] {
        let mut net = Net::new(seed, (ms(5), ms(5)));
        let nodes: Vec<At> = (0..3).map(|i| net.node(&format!("n{i}"))).collect();
        nodes.windows(2).for_each(|pair| net.link(pair[0], pair[1]));
        set_key(&mut net, nodes[0], Some("one"), scheme);
        set_key(&mut net, nodes[1], Some("one"), scheme);
        nodes.iter().for_each(|at| join(&mut net, *at));
        idle(&mut net, &nodes, 100);
        let heard = say_words(&mut net, &nodes, &[0]);
        assert_heard(words(0).as_flattened(), &heard[1], "with the key");
        assert_silent(&heard[2], "without");
        assert_silent(&say_words(&mut net, &nodes, &[2])[1], "who has a key, of who has none");
        let ids: Vec<String> = nodes.iter().map(|at| net.at(*at).id().to_owned()).collect();
        for (at, other) in [(0, 2), (1, 2), (2, 0)] {
            let warned: Vec<&Value> = net.events(nodes[at], "warning").filter(|it| it["code"] == "voice_key").collect();
            assert_eq!(warned.len(), 1, "once a minute at most: {warned:?}");
            assert!(at == 2 || warned[0]["message"].as_str().expect("text").contains(&ids[other]), "{warned:?}");
            let member =
                voice_peers(&mut net, nodes[at]).into_iter().find(|it| it["peer"] == *ids[other]).expect("known");
            assert_eq!((&member["addr"], &member["received"]), (&Value::Null, &json!(0)), "nothing goes there");
        }
        let to_each = net.datagrams().iter().filter(|it| it.1 == crate::sim::addr_of(nodes[2])).count();
        assert_eq!(to_each, 0, "not even a challenge");
        set_key(&mut net, nodes[1], Some("two"), scheme);
        idle(&mut net, &nodes, 50);
        // Who has the older key alone can't open the new session's, and sends nothing there.
        assert_silent(&say_words(&mut net, &nodes, &[1])[0], "with the older key alone");
        assert_silent(&say_words(&mut net, &nodes, &[0])[1], "from whom nothing comes");
        set_key(&mut net, nodes[0], Some("two"), scheme);
        idle(&mut net, &nodes, 100);
        let heard = say_words(&mut net, &nodes, &[0]);
        assert_heard(words(0).as_flattened(), &heard[1], "with the newer key");
        let heard = say_words(&mut net, &nodes, &[1]);
        assert_heard(words(1).as_flattened(), &heard[0], "with the newer key");
    }
}

#[test]
fn a_key_that_changes_in_mid_call_begins_another_session() {
    let (mut net, nodes) = party(19, 3, (ms(5), ms(20)));
    let session = |net: &Net, at: At| calls(net, at).own_session().expect("in voice");
    let mut seen: Vec<u64> = nodes.iter().map(|at| session(&net, *at)).collect();
    for (passphrase, scheme) in
        [(Some("one"), "argon2id"), (Some("two"), "argon2id"), (Some("two"), "original"), (None, "original")]
    {
        for at in &nodes {
            set_key(&mut net, *at, passphrase, scheme);
            let now = session(&net, *at);
            assert!(!seen.contains(&now));
            seen.push(now);
        }
        idle(&mut net, &nodes, 150);
        for talker in [0, 2] {
            let heard = say_words(&mut net, &nodes, &[talker]);
            assert_heard(words(talker).as_flattened(), &heard[1], "between");
            assert_heard(words(talker).as_flattened(), &heard[2 - talker], "at the other end");
        }
        let lost: u64 = voice_peers(&mut net, nodes[1]).iter().map(|it| it["lost"].as_u64().expect("a count")).sum();
        assert_eq!(lost, 0, "what could not be opened meanwhile is not lost");
    }
    let own = net.at(nodes[0]).id().to_owned();
    assert_eq!((count(&net, nodes[1], "voice_joined", &own), count(&net, nodes[1], "voice_left", &own)), (1, 0));
    net.check().expect("sound");
}

#[test]
fn who_has_no_opus_gets_pcm_and_sends_it() {
    let mut net = Net::new(14, (ms(5), ms(5)));
    let nodes: Vec<At> = (0..2).map(|i| net.node(&format!("n{i}"))).collect();
    net.link(nodes[0], nodes[1]);
    nodes.iter().for_each(|at| join(&mut net, *at));
    calls_mut(&mut net, nodes[0]).lose_codec();
    run(&mut net, nodes[0], json!({ "cmd": "nick", "name": "plain" }));
    let id = net.at(nodes[0]).id().to_owned();
    assert!(!calls_mut(&mut net, nodes[1]).reread_codec(&id), "it decodes Opus");
    idle(&mut net, &nodes, 100);
    assert_heard(words(0).as_flattened(), &say_words(&mut net, &nodes, &[0])[1], "from it");
    assert_heard(words(1).as_flattened(), &say_words(&mut net, &nodes, &[1])[0], "to it");
    for at in &nodes {
        assert_eq!(voice_peers(&mut net, *at)[0]["codec"], "pcm");
    }
}

#[test]
fn invented_members_keep_nobody_out_and_those_that_are_heard_do() {
    let mut net = Net::new(15, (ms(1), ms(1)));
    let (node, other) = (net.node("n"), net.node("other"));
    net.link(node, other);
    let peer = net.peer(([10, 77, 0, 1], 6000).into());
    net.link_peer(peer, node, "old", "old");
    let mut members: Vec<Member> = (0..=MAX_VOICE_MEMBERS as u32)
        .map(|n| Member::new(n, "general", ([10, 77, 0, 2], 7000 + n as u16).into()))
        .collect();
    for member in &mut members {
        net.run_for(ms(1));
        net.say(peer, node, &member.signal("voice_join"));
    }
    let peers = voice_peers(&mut net, node);
    assert_eq!(peers.len(), MAX_VOICE_MEMBERS);
    assert!(peers.iter().all(|it| it["peer"] != members[0].id()), "the oldest has made way");
    join(&mut net, node);
    join(&mut net, other);
    idle(&mut net, &[node, other], 100);
    assert_heard(words(1).as_flattened(), &say_words(&mut net, &[node, other], &[1])[0], "in spite of them");
    // Now all are heard: there is no room any more, for the next one and for our own joining again.
    for member in &mut members[..MAX_VOICE_MEMBERS] {
        net.run_for(ms(100));
        net.say(peer, node, &member.signal("voice_join"));
        let packet = crate::voice::Packet {
            counter: 1,
            frame: 9,
            codec: crate::voice::Codec::Pcm,
            payload: &[7; 640],
            repeats: [None; 2],
        };
        let bytes = member.voice(&packet);
        net.forge(member.addr, node, bytes);
    }
    net.run_for(ms(10));
    let before = counters(&mut net, node)["voice_refused"].as_u64().expect("a count");
    net.say(peer, node, &members[MAX_VOICE_MEMBERS].signal("voice_join"));
    assert_eq!(counters(&mut net, node)["voice_refused"], before + 1);
    assert_eq!(voice_peers(&mut net, node).len(), MAX_VOICE_MEMBERS);
    assert_eq!(run(&mut net, node, json!({ "cmd": "voice_leave" }))["ok"], true);
    let reply = run(&mut net, node, json!({ "cmd": "voice_join" }));
    assert_eq!(reply["error"]["code"], "room_full", "{reply}");
    assert_eq!(run(&mut net, node, json!({ "cmd": "voice_join", "room": "other" }))["ok"], true);
}

#[test]
fn who_floods_with_coming_and_going_is_told_of_at_a_rate() {
    let mut net = Net::new(20, (ms(1), ms(1)));
    let node = net.node("n");
    let peer = net.peer(([10, 77, 0, 1], 6000).into());
    net.link_peer(peer, node, "old", "old");
    let mut member = Member::new(1, "general", ([10, 77, 0, 2], 7000).into());
    for _ in 0..500 {
        net.say(peer, node, &member.signal("voice_join"));
        net.say(peer, node, &member.signal("voice_leave"));
        member.begin_anew(member.key()[0].wrapping_add(1));
        net.run_for(ms(2));
    }
    let told = count(&net, node, "voice_joined", member.id()) + count(&net, node, "voice_left", member.id());
    assert!((20..=26).contains(&told), "{told} in a second");
    assert!(counters(&mut net, node)["voice_refused"].as_u64() > Some(400));
    net.run_for(Duration::from_secs(10));
    net.say(peer, node, &member.signal("voice_join"));
    assert_eq!(voice_peers(&mut net, node).len(), 1, "it is believed again when it is calm");
}

#[test]
fn the_same_seed_gives_the_same_run_byte_for_byte() {
    let run = || {
        let (mut net, nodes) = party(16, 3, (ms(1), ms(30)));
        net.lose(50);
        say_words(&mut net, &nodes, &[0, 1]);
        let played: Vec<Vec<i16>> = nodes.iter().map(|at| net.played(*at).to_vec()).collect();
        let lines: Vec<Vec<Value>> = nodes.iter().map(|at| net.lines(*at).to_vec()).collect();
        (net.datagrams().to_vec(), played, lines)
    };
    let (a, b) = (run(), run());
    assert_eq!(a.0.len(), b.0.len());
    assert!(a == b);
}

#[test]
fn a_forged_loopback_address_is_nobodys() {
    // It came from another machine: there, 127.0.0.1 is not here.
    let mut net = Net::new(17, (ms(1), ms(1)));
    let node = net.node("n");
    join(&mut net, node);
    let peer = net.peer(([10, 77, 0, 1], 6000).into());
    net.link_peer(peer, node, "old", "old");
    for (n, host) in (0..).zip(["127.0.0.1", "::1", "fe80::1", "::ffff:127.0.0.1"]) {
        let mut member =
            Member::new(n, "general", (host.parse::<std::net::IpAddr>().expect("an address"), 6000).into());
        net.say(peer, node, &member.signal("voice_join"));
    }
    let join = json!({ "type": "voice_join", "id": "j", "from": "old", "username": "m", "room": "general",
        "udp_host": "127.0.0.1", "udp_port": 6000, "ttl": 5, "ts": "" });
    net.say(peer, node, &join);
    assert_eq!(voice_peers(&mut net, node).len(), 5, "they are members all the same");
    idle(&mut net, &[node], 500);
    let to: Vec<String> = net.datagrams().iter().map(|(_, to, _)| to.to_string()).collect();
    assert!(!to.is_empty() && to.iter().all(|to| to == "10.77.0.1:6000"), "the link's own address alone: {to:?}");
}

#[test]
fn a_member_is_found_where_its_datagrams_come_from() {
    // Behind NAT it announces an address that nobody can reach; written as IPv6, one that everybody can.
    for (seed, host) in [(18, "192.168.9.9"), (19, "::ffff:10.0.0.0")] {
        let mut net = Net::new(seed, (ms(5), ms(5)));
        let nodes: Vec<At> = (0..3)
            .map(|i| {
                net.node_with(&format!("n{i}"), |config| {
                    if i == 0 {
                        config.udp_host = host.parse().expect("an address");
                    }
                })
            })
            .collect();
        nodes.windows(2).for_each(|pair| net.link(pair[0], pair[1]));
        nodes.iter().for_each(|at| join(&mut net, *at));
        idle(&mut net, &nodes, 150);
        let heard = say_words(&mut net, &nodes, &[0]);
        assert_heard(words(0).as_flattened(), &heard[2], &format!("from {host}"));
        let heard = say_words(&mut net, &nodes, &[2]);
        assert_heard(words(2).as_flattened(), &heard[0], &format!("to {host}"));
        let to: Vec<String> = net.datagrams().iter().map(|it| it.1.to_string()).collect();
        assert!(to.iter().filter(|to| to.starts_with("192.168")).count() <= 2 * 16, "asked in vain, and not for ever");
        assert!(to.iter().all(|to| !to.contains("ffff")), "sent to in the one form");
    }
}

#[test]
fn a_blocked_author_is_neither_heard_nor_spoken_to() {
    let (mut net, nodes) = party(9, 3, (ms(1), ms(10)));
    let blocked = net.at(nodes[0]).id().to_owned();
    let reply = run(&mut net, nodes[1], json!({ "cmd": "block", "author": blocked }));
    assert_eq!(reply["ok"], true, "{reply}");
    assert_eq!(count(&net, nodes[1], "voice_left", &blocked), 1);
    let heard = say_words(&mut net, &nodes, &[0]);
    assert_silent(&heard[1], "who has blocked him");
    assert_heard(words(0).as_flattened(), &heard[2], "another");
    let heard = say_words(&mut net, &nodes, &[1]);
    assert_silent(&heard[0], "who is blocked");
    assert_heard(words(1).as_flattened(), &heard[2], "another");
    assert!(voice_peers(&mut net, nodes[1]).iter().all(|it| it["peer"] != *blocked));
    run(&mut net, nodes[1], json!({ "cmd": "unblock", "author": blocked }));
    // He says again that he is there.
    idle(&mut net, &nodes, 2000);
    let heard = say_words(&mut net, &nodes, &[0]);
    assert_heard(words(0).as_flattened(), &heard[1], "who has forgiven him");
}
