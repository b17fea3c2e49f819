//! Input that is wrong, hostile or too much: each ends in a clear event or a closed link, and the node serves the
//! others as before. An honest [`Pair`] proves that by chatting through it.

use std::io::Write;
use std::net::TcpStream;
use std::thread;

use serde_json::{Value, json};

use crate::support::raw::{Secrets, chat, chat_with, framed, hello, hello_level2};
use crate::support::{Node, Pair, RawPeer, fresh_id, has_fields, list, number, settles, text, texts};

const BOB: &str = "127.0.0.1:5001";
const MALLORY: &str = "127.0.0.1:6666";
const MIB: usize = 1 << 20;

#[test]
fn length_bombs_before_the_handshake() {
    let mut node = Node::start(&[]);
    let mut pair = Pair::around(&mut node);
    let too_long = u32::try_from((16 << 10) + 1).unwrap().to_be_bytes();
    for bomb in [&[0xff; 4][..], &[0x7f, 0xff, 0xff, 0xff], &too_long, b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n"] {
        let mut mallory = RawPeer::connect(&node.addr());
        mallory.send_bytes(bomb);
        mallory.expect_closed();
    }
    assert!(node.saw("peer_up", json!({ "level": 1 })).is_empty());
    pair.chats();
}

#[test]
fn length_bombs_after_the_handshake() {
    let mut node = Node::start(&[]);
    let mut pair = Pair::around(&mut node);
    let over = |bytes: usize| u32::try_from(bytes + 1).unwrap().to_be_bytes();
    for (level, bomb) in [(1, over(40 * MIB)), (1, [0xff; 4]), (2, over(MIB + 64)), (2, over(10 * MIB))] {
        let mut mallory = match level {
            1 => RawPeer::dial(&node.addr(), &fresh_id(), "Mallory"),
            _ => RawPeer::dial_level2(&node.addr(), "Mallory"),
        };
        let id = mallory.id().to_owned();
        mallory.send_bytes(&bomb);
        mallory.expect_closed();
        let down = node.await_event("peer_down", json!({ "peer": id }));
        assert_eq!(down["code"], "too_large", "level {level}");
    }
    pair.chats();
}

#[test]
fn names_that_change_without_end_are_gathered_and_drown_no_message() {
    let mut node = Node::start(&[]);
    let mut pair = Pair::around(&mut node);
    let mut mallory = RawPeer::dial_level2(&node.addr(), "Mallory");
    let id = mallory.id().to_owned();
    node.await_event("peer_up", json!({ "peer": id }));
    mallory.say("remember me");
    for n in 1..=12_000 {
        mallory.send(&json!({ "type": "nick", "id": "", "username": format!("Mallory {n}") }));
    }
    let renamed = node.await_event("renamed", json!({ "username": "Mallory 12000" }));
    assert_eq!(renamed["peer"], id);
    let all = node.saw("renamed", json!({}));
    assert!((2..100).contains(&all.len()), "{} lines", all.len());
    for pair in all.windows(2) {
        assert_eq!(pair[0]["username"], pair[1]["previous"], "each leads on from the one before");
    }
    // More events than are remembered would have passed.
    let found = node.ok(json!({ "cmd": "wait", "event": "message", "match": { "text": "remember me" } }));
    assert_eq!(list(&found, "events").len(), 1);
    pair.chats();
}

#[test]
fn strangers_that_come_and_go_without_end_are_gathered() {
    let mut node = Node::start(&[]);
    let mut pair = Pair::around(&mut node);
    for n in 0..1_000 {
        RawPeer::dial(&node.addr(), &format!("10.0.0.1:{n}"), "Mallory").end();
    }
    let _last = RawPeer::dial(&node.addr(), "10.0.0.2:1", "Last");
    node.await_event("peer_up", json!({ "username": "Last" }));
    settles("each is told to be gone", || {
        let left = list(&node.ok(json!({ "cmd": "peers" })), "peers").len();
        let [ups, downs] =
            ["peer_up", "peer_down"].map(|event| node.saw(event, json!({ "username": "Mallory" })).len());
        assert!(ups < 900, "{ups} lines");
        if (left, ups) == (3, downs) { Ok(()) } else { Err(format!("{left} links, {ups} up, {downs} down")) }
    });
    pair.chats();
}

#[test]
fn an_id_said_again_by_another_hides_nothing() {
    let mut node = Node::start(&[]);
    let mut bob = RawPeer::dial_level2(&node.addr(), "Bob");
    let id = bob.say("first");
    node.hears("first");
    bob.say("second");
    node.hears("second");
    let mut mallory = RawPeer::dial_level2(&node.addr(), "Mallory");
    let again = chat_with(mallory.id(), "mine", &json!({ "id": id, "username": "Mallory" }));
    let again = mallory.sign(&again);
    mallory.send(&again);
    node.hears("mine");
    let after = |node: &mut Node, from: Option<&str>| {
        let mut command = json!({ "cmd": "history", "after": id });
        if let Some(from) = from {
            command["from"] = json!(from);
        }
        texts(&list(&node.ok(command), "messages"), "text")
    };
    assert_eq!(after(&mut node, None), ["second", "mine"]);
    assert_eq!(after(&mut node, Some(bob.id())), ["second", "mine"]);
    assert!(after(&mut node, Some(mallory.id())).is_empty());
    let from = |node: &mut Node, command: Value| text(&node.ok(command), "from");
    assert_eq!(from(&mut node, json!({ "cmd": "trace", "message": id })), bob.id());
    assert_eq!(from(&mut node, json!({ "cmd": "trace", "message": id, "from": mallory.id() })), mallory.id());
    assert_eq!(node.fails(json!({ "cmd": "trace", "message": id, "from": node.id() })), "not_found");
    assert_eq!(node.fails(json!({ "cmd": "history", "after": id, "from": node.id() })), "not_found");
    assert_eq!(node.fails(json!({ "cmd": "history", "from": bob.id() })), "bad_value");
}

#[test]
#[cfg(target_os = "linux")]
fn a_length_takes_no_memory_before_its_bytes_come() {
    let mut node = Node::start(&[]);
    let before = data_of(&node);
    let mut peers: Vec<_> = (0..50).map(|i| RawPeer::dial(&node.addr(), &format!("peer {i}"), "Mallory")).collect();
    for peer in &mut peers {
        peer.send_bytes(&u32::try_from(MIB).unwrap().to_be_bytes());
        peer.send_bytes(b"{\"id\":");
    }
    // A link more that has been served: the others have been read by then, too.
    let mut pair = Pair::around(&mut node);
    pair.chats();
    let grown = data_of(&node).saturating_sub(before);
    assert!(grown < 20 << 10, "{grown} KiB for 50 frames of which there are 6 bytes each");
}

/// The memory that a process may write to, in KiB.
#[cfg(target_os = "linux")]
fn data_of(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:")).expect("VmData");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn a_level_1_frame_of_some_mebibytes_is_skimmed_without_blame() {
    let mut node = Node::start(&[]);
    let mut pair = Pair::around(&mut node);
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    for bytes in [MIB + 1, 3 * MIB, 10 * MIB] {
        let mut image = chat(BOB, "general", "too big").to_string().into_bytes();
        image.resize(bytes, b' ');
        bob.send_text(image);
        bob.say("after it");
        node.hears("after it");
    }
    assert!(node.saw("message", json!({ "text": "too big" })).is_empty());
    pair.chats();
}

#[test]
fn a_trickling_hello_is_cut_off() {
    let mut node = Node::start(&[]);
    let mut pair = Pair::around(&mut node);
    let whole = framed(hello(MALLORY, "Mallory").to_string().as_bytes());
    let mut tricklers: Vec<_> = [0, 1, 4, 5, whole.len() - 1]
        .map(|sent| {
            let mut mallory = RawPeer::connect(&node.addr());
            mallory.send_bytes(&whole[..sent]);
            mallory
        })
        .into();
    pair.chats();
    for mallory in &mut tricklers {
        mallory.expect_closed();
    }
    assert!(node.saw("peer_up", json!({ "peer": MALLORY })).is_empty());
    pair.chats();
}

#[test]
fn three_hundred_idle_connections() {
    let mut node = Node::start(&[]);
    let mut idle: Vec<_> = (0..300).map(|_| RawPeer::connect(&node.addr())).collect();
    let mut pair = Pair::around(&mut node);
    pair.chats();
    // Newcomers push out the oldest of those that have not said hello.
    for connection in &mut idle[..280] {
        connection.expect_closed();
    }
    let status = node.ok(json!({ "cmd": "status" }));
    assert!(number(&status, "handshakes") <= 16, "{status}");
    assert!(number(&status["counters"], "links_refused") >= 280, "{status}");
}

#[test]
fn odd_json_is_dropped() {
    let mut node = Node::start(&["--listen", "*"]);
    let mut pair = Pair::around(&mut node);
    let mut carol = RawPeer::dial(&node.addr(), "carol", "Carol");
    let frame = |extra: &str| {
        let id = fresh_id();
        format!(
            r#"{{"id":"{id}","type":"chat","from":"m","username":"M","room":"general","msg":"bad","ttl":5,"ts":"t",{extra}}}"#
        )
        .into_bytes()
    };
    let deep = |depth: usize| format!(r#""x":{}1{}"#, "[".repeat(depth), "]".repeat(depth));
    let mut invalid = frame(r#""x":"?""#);
    let at = invalid.iter().position(|&b| b == b'?').unwrap();
    invalid[at] = 0xff;
    let cases = [
        frame(&deep(16)),
        frame(&deep(400_000)),
        frame(&format!(r#""x":{}"#, "{\"y\":".repeat(100_000))),
        frame(r#""msg":"\udc00\ud800""#),
        frame(r#""x":NaN"#),
        frame(r#""x":Infinity"#),
        frame(r#""x":"a	tab""#),
        frame(&format!(r#""x":{}"#, "1".repeat(65))),
        frame(r#""x":01"#),
        frame(r#""x":1,"#),
        frame(r#""ttl":5"#),
        frame(r#""msg":"twice""#),
        frame(r#""id":"twice""#),
        frame(r#""type":"hello""#),
        invalid,
        b"\xef\xbb\xbf{}".to_vec(),
        b"".to_vec(),
        b"\0\0\0\0".to_vec(),
        b"null".to_vec(),
        b"{}".to_vec(),
        b"{\"type\":7}".to_vec(),
        b"[[[[[[[[".to_vec(),
        chat_with(MALLORY, "bad", &json!({ "username": 5 })).to_string().into_bytes(),
        chat_with(MALLORY, "bad", &json!({ "msg": null })).to_string().into_bytes(),
        chat_with(MALLORY, "bad", &json!({ "msg": ["bad"] })).to_string().into_bytes(),
        chat_with(MALLORY, "bad", &json!({ "id": 5 })).to_string().into_bytes(),
        chat_with(MALLORY, "bad", &json!({ "from": { "a": 1 } })).to_string().into_bytes(),
    ];
    for (i, case) in cases.iter().enumerate() {
        // A link of its own for each: ten of them on one would close it.
        let id = format!("mallory {i}");
        let mut mallory = RawPeer::dial(&node.addr(), &id, "Mallory");
        mallory.send_text(case);
        let after = format!("after {i}");
        mallory.say(&after);
        node.hears(&after);
        let passed = carol.all_until(&after);
        assert_eq!(passed, [after], "nothing of it is passed on: {}", String::from_utf8_lossy(case));
        node.ok(json!({ "cmd": "disconnect", "peer": id }));
    }
    assert!(node.heard().iter().all(|text| text != "bad" && text != "twice"), "nor shown");
    pair.chats();
}

#[test]
fn half_a_surrogate_where_nobody_reads_it_is_passed_on_as_it_was() {
    // The original writes and reads such a thing; JSON alone does not forbid it.
    let mut node = Node::start(&[]);
    let mut pair = Pair::around(&mut node);
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    let mut carol = RawPeer::dial(&node.addr(), "carol", "Carol");
    node.await_event("peer_up", json!({ "peer": "carol" }));
    let mut odd = chat(BOB, "general", "odd but whole").to_string();
    odd.insert_str(1, r#""x":"\ud800","#);
    bob.send_text(odd);
    node.hears("odd but whole");
    let passed = String::from_utf8(carol.read_bytes().unwrap()).unwrap();
    assert!(passed.contains(r#""x":"\ud800""#), "{passed}");
    pair.chats();
}

#[test]
fn depth_is_counted_as_the_original_can_stand_it() {
    let mut node = Node::start(&[]);
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    let nested = |depth: usize| (1..depth).fold(json!([]), |inner, _| json!([inner]));
    // The message itself is the first of 16.
    bob.send(&chat_with(BOB, "deep enough", &json!({ "x": nested(15) })));
    bob.send(&chat_with(BOB, "too deep", &json!({ "x": nested(16) })));
    bob.say("barrier");
    node.hears("barrier");
    assert_eq!(node.heard(), ["deep enough", "barrier"]);
}

#[test]
fn hellos_that_cannot_be() {
    let mut node = Node::named("Alice", &[]);
    let mut pair = Pair::around(&mut node);
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    node.await_event("peer_up", json!({ "peer": BOB }));
    let long = "x".repeat(65);
    let without = |field: &str| {
        let mut hello = hello(MALLORY, "Mallory");
        hello.as_object_mut().unwrap().remove(field);
        hello
    };
    let with = |field: &str, value: Value| {
        let mut hello = hello(MALLORY, "Mallory");
        hello[field] = value;
        hello
    };
    for case in [
        hello(BOB, "Bob again"),
        hello_level2(BOB, "Bob again"),
        hello(&pair.left.id(), "Left"),
        hello_level2(&node.id(), "Alice"),
        hello(&node.id(), "Alice"),
        without("from"),
        without("username"),
        without("type"),
        with("from", json!("")),
        with("from", json!(long)),
        with("from", json!(5)),
        with("username", json!("")),
        with("username", json!(long)),
        with("username", json!(["Bob"])),
        with("type", json!("chat")),
        chat(MALLORY, "general", "no hello"),
        json!([]),
        json!("hello"),
    ] {
        let mut mallory = RawPeer::connect(&node.addr());
        mallory.send(&case);
        mallory.expect_closed();
    }
    for case in [&b"{\"type\":\"hello\""[..], b"", b"\xff\xff"] {
        let mut mallory = RawPeer::connect(&node.addr());
        mallory.send_text(case);
        mallory.expect_closed();
    }
    assert_eq!(list(&node.ok(json!({ "cmd": "peers" })), "peers").len(), 3, "the pair and the first Bob");
    bob.say("I was here first");
    node.hears("I was here first");
    assert!(node.heard().iter().all(|text| text != "no hello"));
    pair.chats();
}

#[test]
fn a_copy_of_a_nodes_key_is_no_neighbour_of_it() {
    let mut node = Node::named("Alice", &[]);
    // What a node with that seed and name draws first.
    let copy = Secrets::with(p2p_chat::base::Roots::new(Some(7), "Alice", [0; 32]).identity());
    assert_eq!(copy.id, node.id());
    let mut peer = RawPeer::connect(&node.addr()).encrypt(&copy);
    peer.send(&hello_level2(&copy.id, "Alice"));
    assert_eq!(peer.until_closed().len(), 1, "it is told whom it has reached, and no more");
    node.await_event("warning", json!({ "code": "own_id_taken" }));
    assert!(node.saw("peer_up", json!({})).is_empty());
}

#[test]
fn odd_things_in_our_part_of_the_hello_do_no_harm() {
    let mut node = Node::start(&[]);
    for (i, ours) in [
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!({ "version": "one" }),
        json!({ "version": 1_000_000, "listen": 7, "caps": ["fly", 3, null] }),
        json!({ "version": 1, "listen": "x".repeat(1_000), "caps": { "ping": true } }),
        json!({ "version": 1, "listen": null, "caps": vec!["ping"; 1_000] }),
    ]
    .into_iter()
    .enumerate()
    {
        let secrets = Secrets::new();
        let mut odd = hello(&secrets.id, "Odd");
        odd["p2p_chat"] = ours;
        let mut peer = RawPeer::connect(&node.addr()).encrypt(&secrets);
        peer.send(&odd);
        // It is taken for what can be made of it, or refused: nothing in between.
        let served = peer.read().is_some_and(|answer| answer["type"] == "hello");
        if served {
            peer.send(&chat("odd", "general", &format!("odd {i}")));
            node.hears(&format!("odd {i}"));
        }
    }
    Pair::around(&mut node).chats();
}

#[test]
fn ten_thousand_bad_frames() {
    let mut node = Node::start(&[]);
    let mut pair = Pair::around(&mut node);
    for round in 0..10 {
        let id = format!("mallory {round}");
        let mut mallory = RawPeer::dial(&node.addr(), &id, "Mallory");
        // The node closes the link at the tenth: the rest of them may not get through.
        mallory.try_send_bytes(&framed(b"{").repeat(1_000));
        mallory.expect_closed();
        node.await_event("peer_down", json!({ "peer": id, "code": "malformed" }));
    }
    pair.chats();
    let status = node.ok(json!({ "cmd": "status" }));
    assert_eq!(status["counters"]["dropped"]["malformed"], 100);
}

#[test]
fn ten_thousand_frames_over_a_limit_are_blamed_on_nobody() {
    let mut node = Node::start(&[]);
    let mut pair = Pair::around(&mut node);
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    let long = "x".repeat(65);
    let kinds = [
        chat_with(BOB, "over", &json!({ "username": long })),
        chat_with(BOB, "over", &json!({ "room": long })),
        chat_with(BOB, "over", &json!({ "room": "" })),
        chat_with(BOB, "over", &json!({ "from": long })),
        chat_with(BOB, "over", &json!({ "ts": long })),
        chat_with(BOB, "over", &json!({ "id": long })),
        chat_with(BOB, "over", &json!({ "id": "" })),
        chat_with(BOB, "over", &json!({ "meta": { "m": "x".repeat(1024) } })),
    ];
    let frames: Vec<u8> = kinds.iter().flat_map(|kind| framed(kind.to_string().as_bytes())).collect();
    for _ in 0..1_250 {
        bob.send_bytes(&frames);
    }
    bob.send(&chat(BOB, "general", &"x".repeat((64 << 10) + 1)));
    bob.say("within them");
    node.hears("within them");
    assert_eq!(node.heard(), ["within them"]);
    let status = node.ok(json!({ "cmd": "status" }));
    assert_eq!(status["counters"]["dropped"], json!({ "over_limit": 10_001 }));
    pair.chats();
}

#[test]
fn control_characters_in_every_string() {
    let mut node = Node::start(&["--listen", "*", "--events", "forwarded,dropped", "--log", "debug"]);
    let mut pair = Pair::around(&mut node);
    let nasty: Vec<char> =
        (0..0x20).chain(0x7f..0xa0).chain(0x202a..0x202f).chain(0x2066..0x206a).filter_map(char::from_u32).collect();
    for part in nasty.chunks(10) {
        let evil: String = part.iter().collect();
        let mut friend = RawPeer::dial_level2(&node.addr(), &format!("friend{evil}"));
        let mut mallory = RawPeer::dial(&node.addr(), &format!("id{evil}"), &format!("name{evil}"));
        let up = node.await_event("peer_up", json!({ "peer": format!("id{evil}") }));
        assert_eq!(up["username"], format!("name{evil}"), "escaped, not changed");
        let all = json!({ "id": format!("{evil}1"), "from": evil, "username": evil, "room": evil, "ts": evil,
            "meta": { evil.clone(): evil }, "x": evil });
        mallory.send(&chat_with(&evil, &evil, &all));
        let shown = node.await_event("message", json!({ "id": format!("{evil}1") }));
        let expected = json!({ "text": evil, "from": evil, "username": evil, "room": evil, "ts": evil });
        assert!(has_fields(&shown, &expected), "{shown}");
        node.await_event("forwarded", json!({ "id": format!("{evil}1") }));
        friend.send(&json!({ "id": fresh_id(), "type": "nick", "username": format!("nick{evil}") }));
        node.await_event("renamed", json!({ "username": format!("nick{evil}") }));
        mallory.send(&json!({ "id": evil, "type": evil, "from": evil, "ttl": 5 }));
        mallory.send(&chat_with(&evil, &evil, &json!({ "username": evil.repeat(65) })));
        let reply = node.command(json!({ "cmd": evil, "id": evil }));
        assert_eq!(reply["cmd"], evil);
        node.command(json!({ "cmd": "connect", "addr": format!("{evil}:5000") }));
        node.command(json!({ "cmd": "help", "of": evil }));
        node.ok(json!({ "cmd": "room", "name": evil }));
        node.ok(json!({ "cmd": "nick", "name": evil }));
        node.say(&evil);
        node.ok(json!({ "cmd": "disconnect", "peer": format!("id{evil}") }));
        node.await_event("peer_down", json!({ "peer": format!("id{evil}") }));
    }
    node.ok(json!({ "cmd": "rooms" }));
    node.ok(json!({ "cmd": "room", "name": "general" }));
    pair.chats();
    // Lines are checked wherever they are read, stderr at the end.
    node.finish().exited(0);
}

#[test]
fn a_peer_that_stops_reading_costs_the_others_nothing() {
    let mut node = Node::start(&["--events", "dropped"]);
    let mut pair = Pair::around(&mut node);
    let _deaf = RawPeer::dial_deaf(&node.addr(), MALLORY, "Mallory");
    let mut source = RawPeer::dial(&node.addr(), BOB, "Bob");
    let mut sink = RawPeer::dial(&node.addr(), "carol", "Carol");
    node.await_event("peer_up", json!({ "peer": "carol" }));
    let flood = thread::spawn(move || {
        for i in 0..250 {
            source.say_in("elsewhere", &format!("{i} {}", "x".repeat(60_000)));
        }
        source.say_in("elsewhere", "last");
        source
    });
    assert_eq!(sink.all_until("last").len(), 251, "15 MB come through to who reads");
    let _source = flood.join().unwrap();
    pair.chats();
    node.await_event("peer_down", json!({ "peer": MALLORY, "code": "slow" }));
    let status = node.ok(json!({ "cmd": "status" }));
    assert!(number(&status["counters"]["dropped"], "queue_full") > 0, "{status}");
    node.await_event("dropped", json!({ "cause": "queue_full" }));
    node.await_event("warning", json!({ "code": "slow_peer" }));
    pair.chats();
}

#[test]
fn nobody_reading_stdout_holds_up_nobody_else_and_what_is_lost_is_counted() {
    let mut node = Node::unread(&[]);
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    let mut carol = RawPeer::dial(&node.addr(), "carol", "Carol");
    let flood = |bob: &mut RawPeer, carol: &mut RawPeer, range: std::ops::Range<u64>| {
        for i in range.clone() {
            bob.say(&format!("{i}"));
        }
        let got = carol.all_until(&format!("{}", range.end - 1));
        assert_eq!(got.len() as u64, range.end - range.start, "the network never waits for stdout");
    };
    let all = 13_000;
    flood(&mut bob, &mut carol, 0..1_000);
    let asked: Vec<_> = (0..100).map(|i| node.begin(json!({ "cmd": "send", "text": format!("own {i}") }))).collect();
    carol.hears("own 99");
    flood(&mut bob, &mut carol, 1_000..all);
    node.read_on();
    for id in &asked {
        // Replies are never lost, though they are older than events that were.
        assert_eq!(node.await_reply(id)["ok"], true);
    }
    let kept = node.ok(json!({ "cmd": "history", "limit": 1000 }));
    assert_eq!(number(list(&kept, "messages").last().unwrap(), "pos"), all + 100, "it can be read again");
    let output = node.finish().exited(0);
    let lagged = output.all("lagged");
    let mut lost_messages = 0;
    for line in &lagged {
        let by = line["by"].as_object().unwrap();
        let sum: u64 = by.values().map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(sum, number(line, "dropped"), "{line}");
        lost_messages += by.get("message").and_then(Value::as_u64).unwrap_or_default();
    }
    assert!(lost_messages > 0);
    let seen = output.all("message");
    assert_eq!(seen.len() as u64 + lost_messages, all);
    let last = seen.last().map(|message| text(message, "text"));
    assert_eq!(last, Some(format!("{}", all - 1)), "the oldest go first");
}

#[test]
fn while_replies_fill_the_queue_stdin_is_read_no_further() {
    let mut node = Node::unread(&[]);
    let mut stdin = node.take_stdin();
    let mut witness = RawPeer::dial(&node.addr(), "witness", "Witness");
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    let count = 20_000;
    let writer = thread::spawn(move || {
        for i in 0..count {
            let send = json!({ "cmd": "send", "text": "", "room": "elsewhere", "id": i });
            writeln!(stdin, "{send}").expect("the node reads on in the end");
        }
    });
    // While the node serves others for a while, it might go on reading its stdin, if it were wrong.
    let mut ran = 0;
    for i in 0..300 {
        let text = format!("{i}");
        bob.say(&text);
        ran += witness.all_until(&text).len() - 1;
    }
    assert!(ran < 11_000, "{ran} commands were run: 8,192 replies fit the queue, and some the pipe");
    bob.reset();
    let rest = thread::spawn(move || witness.until_closed().len());
    node.read_on();
    writer.join().unwrap();
    let output = node.await_end().exited(0);
    assert_eq!(ran + rest.join().unwrap(), count);
    let replies: Vec<_> = output.all("reply").iter().map(|reply| reply["id"].clone()).collect();
    assert_eq!(replies, (0..count).map(Value::from).collect::<Vec<_>>());
}

#[test]
fn a_limit_of_64_open_files() {
    let mut node = Node::shell("ulimit -n 64 && exec \"$@\"", &[]);
    let mut pair = Pair::around(&mut node);
    node.await_event("warning", json!({ "code": "open_files" }));
    let mut many: Vec<_> = (0..100).map(|_| TcpStream::connect(node.addr()).expect("the system accepts")).collect();
    for (i, stream) in many.iter_mut().enumerate() {
        // Some are refused.
        let _ = stream.write_all(&framed(hello(&format!("peer {i}"), "Mallory").to_string().as_bytes()));
    }
    pair.chats();
    drop(many);
    // There is room again, in the end.
    node.until(&json!({ "cmd": "status" }), |status| status["links"] == 2);
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    bob.say("room for one more");
    node.hears("room for one more");
    pair.chats();
}
