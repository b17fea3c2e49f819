//! Level 1 of the wire: our nodes among the original's, which must not notice a difference.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::raw::{chat, chat_with};
use crate::support::room_key::RoomKey;
use crate::support::{Node, Original, RawListener, RawPeer, fresh_id, has_fields, list, number, text};

const BOB: &str = "127.0.0.1:5001";
const CAROL: &str = "127.0.0.1:5002";

/// A node between Bob and Carol, both of level 1.
fn node_between(args: &[&str]) -> (RawPeer, Node, RawPeer) {
    let mut node = Node::start(args);
    let bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    let carol = RawPeer::dial(&node.addr(), CAROL, "Carol");
    node.await_event("peer_up", json!({ "peer": CAROL }));
    (bob, node, carol)
}

#[test]
fn it_is_dialled_and_answers_with_its_hello() {
    let mut node = Node::named("Alice", &[]);
    let bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    is_our_hello(&bob.hello, &node);
    let up = node.await_event("peer_up", json!({ "peer": BOB }));
    assert!(has_fields(&up, &json!({ "username": "Bob", "direction": "in", "level": 1, "secure": false })), "{up}");
}

#[test]
fn it_dials_and_says_hello_first() {
    let mut node = Node::named("Alice", &[]);
    let listener = RawListener::new();
    let connect = node.begin(json!({ "cmd": "connect", "addr": listener.addr() }));
    let bob = listener.accept(BOB, "Bob");
    is_our_hello(&bob.hello, &node);
    assert_eq!(node.await_reply(&connect)["result"], json!({ "peer": BOB, "addr": listener.addr() }));
    node.await_event("peer_up", json!({ "peer": BOB, "direction": "out", "level": 1, "addr": listener.addr() }));
}

#[track_caller]
fn is_our_hello(hello: &Value, node: &Node) {
    assert!(has_fields(hello, &json!({ "type": "hello", "from": node.id(), "username": "Alice" })), "{hello}");
    assert!(uuid::Uuid::parse_str(&text(hello, "id")).is_ok());
    assert_eq!(hello["p2p_chat"], Value::Null, "at level 1 nothing of level 2 is said: {hello}");
}

#[test]
fn its_messages_have_the_originals_shape() {
    let (mut bob, mut node, _carol) = node_between(&["--room", "Grüße"]);
    let id = node.say("hi, 世界");
    let chat = bob.hears("hi, 世界");
    let expected = json!({ "id": id, "type": "chat", "from": node.id(), "username": node.username(),
        "room": "Grüße", "msg": "hi, 世界", "ttl": 32 });
    assert!(has_fields(&chat, &expected), "{chat}");
    assert!(text(&chat, "ts").ends_with('Z'), "UTC, RFC 3339: {chat}");
    let fields: BTreeSet<_> = chat.as_object().unwrap().keys().map(String::as_str).collect();
    let original = BTreeSet::from(["id", "type", "from", "username", "room", "msg", "ttl", "ts"]);
    assert!(fields.is_superset(&original));
    assert!(fields.difference(&original).all(|field| matches!(*field, "ttl0" | "sig")), "{chat}");
}

#[test]
fn the_originals_messages_are_shown_as_they_came() {
    let (mut bob, mut node, _carol) = node_between(&[]);
    let chat = chat(BOB, "general", "hello there");
    bob.send(&chat);
    let shown = node.hears("hello there");
    let expected = json!({ "id": chat["id"], "room": "general", "from": BOB, "username": "Bob",
        "ts": "2026-11-22T20:09:38", "pos": 1, "hops": 1, "via": BOB, "encrypted": false, "verified": false,
        "own": false, "caught_up": false });
    assert!(has_fields(&shown, &expected), "{shown}");
}

#[test]
fn a_relayed_message_keeps_every_byte_but_its_ttl() {
    let (mut bob, _node, mut carol) = node_between(&[]);
    // Nested and quoted `ttl`s are no `ttl`; numbers, escapes and spaces stay as they were written.
    let before = r#"{ "x" : {"ttl":9,"b" :[1.50,1e3,-0.0],"a":"\u00e9\/"},"t":"\"ttl\":7","id":"#;
    let middle =
        r#","type":"chat","from":"127.0.0.1:5001","username":"B\u00f6b","room":"general" ,"msg":"\ud83d\ude00 😀""#;
    let after = r#", "ts":"2026-11-22T20:09:38","big":1234567890123456789012345678901234567890"#;
    let id = fresh_id();
    bob.send_text(format!(r#"{before}"{id}"{middle},"ttl" : 5{after} }}"#));
    let relayed = String::from_utf8(carol.await_bytes_of(&id)).unwrap();
    let value: Value = serde_json::from_str(&relayed).unwrap();
    assert_eq!((&value["ttl"], &value["ttl0"], &value["x"]["ttl"]), (&json!(4), &json!(5), &json!(9)));
    for part in [before, middle, after] {
        assert!(relayed.contains(part), "{part} is not in {relayed}");
    }
}

#[test]
fn ttl_of_every_kind_is_shown_and_passed_on_if_it_should() {
    let (mut bob, mut node, mut carol) = node_between(&[]);
    let cases: [(&str, Option<u64>); 17] = [
        ("", None),
        (r#""ttl":"5","#, None),
        (r#""ttl":4.5,"#, None),
        (r#""ttl":-1,"#, None),
        (r#""ttl":-99999999999999999999,"#, None),
        (r#""ttl":0,"#, None),
        (r#""ttl":1,"#, None),
        (r#""ttl":true,"#, None),
        (r#""ttl":null,"#, None),
        (r#""ttl":[5],"#, None),
        (r#""ttl":{"ttl":5},"#, None),
        (r#""ttl":2,"#, Some(1)),
        (r#""ttl":32,"#, Some(31)),
        (r#""ttl":33,"#, Some(31)),
        (r#""ttl":4294967297,"#, Some(31)),
        (r#""ttl":18446744073709551617,"#, Some(31)),
        (r#""ttl":100000000000000000000000000000,"#, Some(31)),
    ];
    for (i, (ttl, _)) in cases.iter().enumerate() {
        let id = fresh_id();
        bob.send_text(format!(
            r#"{{"id":"{id}","type":"chat",{ttl}"from":"bob","username":"Bob","room":"general","msg":"{i}","ts":"now"}}"#
        ));
    }
    bob.say("barrier");
    node.hears("barrier");
    assert_eq!(node.heard().len(), cases.len() + 1, "all are shown: {:?}", node.heard());
    let passed = carol.frames_until("barrier");
    for (i, (ttl, left)) in cases.iter().enumerate() {
        let said = json!({ "msg": i.to_string() });
        let got = passed.iter().find(|chat| has_fields(chat, &said));
        assert_eq!(got.map(|chat| number(chat, "ttl")), *left, "of {ttl}");
    }
}

#[test]
fn hops_are_counted_from_the_first_node_of_ours() {
    let mut nodes = ["A", "B", "C"].map(|name| Node::named(name, &[]));
    let [a, b, c] = &mut nodes;
    a.link(b);
    b.link(c);
    let mut bob = RawPeer::dial(&a.addr(), BOB, "Bob");
    bob.say("from level 1");
    a.say("from level 2");
    for (node, level1, level2) in [(b, 2, 1), (c, 3, 2)] {
        assert_eq!(number(&node.hears("from level 1"), "hops"), level1);
        assert_eq!(number(&node.hears("from level 2"), "hops"), level2);
    }
    assert_eq!(number(&a.hears("from level 1"), "hops"), 1);
}

#[test]
fn hops_that_make_no_sense_do_no_harm() {
    let (mut bob, mut node, _carol) = node_between(&[]);
    for (i, ttl0) in [json!("5"), json!(-3), json!(0), json!(1), json!(1e300), json!(4_000_000_000_u64), json!([])]
        .into_iter()
        .enumerate()
    {
        bob.send(&chat_with(BOB, &format!("{i}"), &json!({ "ttl": 5, "ttl0": ttl0 })));
        let hops = number(&node.hears(&format!("{i}")), "hops");
        assert!((1..=32).contains(&hops), "{hops} hops by a ttl0 of {ttl0}");
    }
}

#[test]
fn each_message_goes_once_to_each_other_link_and_never_back() {
    let (mut bob, mut node, mut carol) = node_between(&[]);
    let message = chat(BOB, "general", "once");
    bob.send(&message);
    bob.send(&message);
    let mut back = carol.hears("once");
    back["ttl"] = json!(31);
    carol.send(&back);
    carol.say("barrier");
    node.hears("barrier");
    assert_eq!(node.heard(), ["once", "barrier"]);
    assert_eq!(bob.all_until("barrier"), ["barrier"], "nothing comes back");
    node.say("end");
    assert_eq!(carol.all_until("end"), ["end"], "and no copies come");
}

#[test]
fn a_mute_status_gets_a_ttl_so_that_it_crosses_hops() {
    let (mut bob, node, mut carol) = node_between(&[]);
    let mute = json!({ "id": fresh_id(), "type": "voice_mute_status", "from": BOB, "username": "Bob",
        "room": "general", "muted": true, "ts": "2026-11-22T20:09:38" });
    bob.send(&mute);
    let passed = carol.await_frame(&json!({ "type": "voice_mute_status" }));
    assert!(has_fields(&passed, &mute), "{passed}");
    assert!((1..=32).contains(&number(&passed, "ttl")), "{passed}");
    drop(node);
}

#[test]
fn types_that_nobody_knows_are_passed_on() {
    let (mut bob, mut node, mut carol) = node_between(&[]);
    let reaction = json!({ "id": fresh_id(), "type": "reaction", "to": "x", "ttl": 3 });
    bob.send(&reaction);
    assert_eq!(carol.await_frame(&json!({ "id": reaction["id"] }))["ttl"], 2);
    let image = json!({ "id": fresh_id(), "type": "image", "from": BOB, "username": "Bob", "room": "general",
        "filename": "cat.png", "image_data": "A".repeat(900 << 10), "ttl": 5, "ts": "2026-11-22T20:09:38" });
    bob.send(&image);
    let passed = carol.await_frame(&json!({ "id": image["id"] }));
    assert_eq!((&passed["image_data"], &passed["ttl"]), (&image["image_data"], &json!(4)));
    for stays in [json!({ "id": fresh_id(), "type": "reaction" }), json!({ "type": "reaction", "ttl": 5 })] {
        bob.send(&stays);
    }
    bob.say("barrier");
    assert_eq!(carol.frames_until("barrier").len(), 1, "nothing without an id and a ttl");
    node.hears("barrier");
    assert_eq!(node.heard(), ["barrier"]);
}

#[test]
fn types_that_claim_authority_change_nothing() {
    let (mut bob, mut node, mut carol) = node_between(&["--listen", "*"]);
    let trap = RawListener::new();
    let before = state_of(&mut node);
    let node_id = node.id();
    for frame in [
        json!({ "type": "peer_list", "peers": [trap.addr(), { "host": "127.0.0.1", "port": 1, "id": "x" }] }),
        json!({ "type": "peer_list", "peers": { "a": trap.addr() } }),
        json!({ "type": "channel_config", "room": "general", "config": { "encrypted": false, "password": "x" } }),
        json!({ "type": "channel_config", "rooms": ["a", "b"], "channels": { "c": {} } }),
        json!({ "type": "room_create", "room": "new room" }),
        json!({ "type": "room_delete", "room": "general" }),
        json!({ "type": "voice_force_mute", "target": node_id, "room": "general", "muted": true }),
        json!({ "type": "hello", "username": "Somebody Else" }),
    ] {
        let mut whole = json!({ "id": fresh_id(), "from": BOB, "username": "Bob", "ts": "2026-11-22T20:09:38" });
        whole.as_object_mut().unwrap().extend(frame.as_object().unwrap().clone());
        bob.send(&whole);
    }
    bob.say("barrier");
    node.hears("barrier");
    assert_eq!(carol.frames_until("barrier").len(), 1, "none is passed on");
    let mut after = state_of(&mut node);
    assert_eq!(
        after.0.remove(0),
        json!({ "name": "general", "messages": 1, "last_pos": 1, "encrypted": false, "scheme": null,
        "active": true, "listened": true })
    );
    assert_eq!((&before.0[1..], &before.1), (&after.0[..], &after.1));
    assert!(!trap.has_waiting(0), "nobody is dialled");
    assert_eq!(node.heard(), ["barrier"]);
}

/// The rooms, and what else others might want to change.
fn state_of(node: &mut Node) -> (Vec<Value>, Vec<Value>) {
    let rooms = list(&node.ok(json!({ "cmd": "rooms" })), "rooms");
    let status = node.ok(json!({ "cmd": "status" }));
    let mut rest: Vec<_> = ["node", "username", "room", "listened", "keyed", "links", "dialling"]
        .iter()
        .map(|&field| status[field].clone())
        .collect();
    rest.push(status["queues"]["dial_targets"].clone());
    for peer in list(&node.ok(json!({ "cmd": "peers" })), "peers") {
        rest.extend([peer["peer"].clone(), peer["username"].clone()]);
    }
    (rooms, rest)
}

#[test]
fn a_ring_of_both_kinds_shows_each_message_once() {
    let (left, right) = (Original::mesh("Left"), Original::mesh("Right"));
    let mut a = Node::named("A", &["--connect", left.addr()]);
    let mut b = Node::named("B", &[]);
    a.await_event("peer_up", json!({ "username": "Left" }));
    a.link(&mut b);
    right.dial(&b.addr());
    right.dial(left.addr());
    b.await_event("peer_up", json!({ "username": "Right", "level": 1 }));
    left.say("general", "from the left");
    a.say("from A");
    b.say("from B");
    right.say("general", "from the right");
    for (node, other) in [(&left, "from the right"), (&right, "from the left")] {
        for text in ["from A", "from B", other] {
            node.hears(text);
        }
    }
    for (node, own) in [(&mut a, "from A"), (&mut b, "from B")] {
        let mut expected = vec!["from A", "from B", "from the left", "from the right"];
        expected.retain(|&text| text != own);
        for text in &expected {
            node.hears(text);
        }
        let mut heard: Vec<_> = node.heard().iter().map(|it| it.as_str().unwrap().to_owned()).collect();
        heard.sort();
        assert_eq!(heard, expected);
    }
}

#[test]
fn two_links_into_a_star_make_no_storm() {
    let star = Original::star("Host");
    let mut a = Node::named("A", &["--connect", star.addr()]);
    let mut b = Node::named("B", &["--connect", star.addr()]);
    for node in [&mut a, &mut b] {
        node.await_event("peer_up", json!({ "username": "Host" }));
    }
    a.link(&mut b);
    let mut client = RawPeer::dial(star.addr(), BOB, "Bob");
    star.await_links(&[a.id(), b.id(), BOB.to_owned()]);

    let mut ids = Vec::new();
    for i in 0..20 {
        ids.push(a.say(&format!("from A {i}")));
        ids.push(b.say(&format!("from B {i}")));
        ids.push(client.say(&format!("from Bob {i}")));
    }
    for i in 0..20 {
        a.hears(&format!("from B {i}"));
        b.hears(&format!("from A {i}"));
        for node in [&mut a, &mut b] {
            node.hears(&format!("from Bob {i}"));
        }
        star.hears(&format!("from A {i}"));
        star.hears(&format!("from B {i}"));
    }
    // A second round, once the first has come through: whatever was still on its way has come, too.
    a.say("last of A");
    b.hears("last of A");
    b.say("last of B");
    a.hears("last of B");
    client.hears("last of B");
    for id in &ids {
        // One from whoever said it, and one more, as one of ours has heard it from the other before the host.
        let copies = star.copies_of(id).len();
        assert!((1..=2).contains(&copies), "{copies} copies of one message came to the host");
    }
    for node in [&a, &b] {
        assert_eq!(node.heard().len(), 41, "each message is shown once");
    }
}

#[test]
fn a_room_key_opens_what_the_original_sealed_and_the_other_way_round() {
    let (mut bob, mut node, _carol) = node_between(&["--room", "café"]);
    let key = RoomKey::new("correct horse", "café");
    let keyed = node.ok(json!({ "cmd": "key", "passphrase": "correct horse", "scheme": "original" }));
    assert_eq!(keyed, json!({ "room": "café", "encrypted": true, "scheme": "original" }));
    let sealed =
        |encrypted: &str| chat_with(BOB, "[encrypted]", &json!({ "room": "café", "encrypted_msg": encrypted }));
    bob.send(&sealed(&key.seal([7; 12], "in secret: Grüße")));
    let shown = node.hears("in secret: Grüße");
    assert!(has_fields(&shown, &json!({ "encrypted": true, "room": "café" })), "{shown}");
    assert_eq!(shown.get("error"), None);

    let mut nonces = BTreeSet::new();
    for text in ["and back: 世界", "and back: 世界", ""] {
        let sent = node.ok(json!({ "cmd": "send", "text": text, "meta": { "plain": "as day" } }));
        let bytes = bob.await_bytes_of(sent["message"].as_str().unwrap());
        let chat: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(chat["msg"], "[encrypted]");
        let (nonce, opened) = key.open(chat["encrypted_msg"].as_str().unwrap());
        assert_eq!(opened, text);
        assert!(nonces.insert(nonce), "a nonce is used once");
        let clear = String::from_utf8(bytes).unwrap();
        assert!(!clear.contains("as day"), "meta is sealed with the text: {clear}");
    }
}

#[test]
fn what_no_key_opens_is_shown_without_its_text() {
    let (mut bob, mut node, mut carol) = node_between(&[]);
    let key = RoomKey::new("right", "general");
    let mut nonce = 0;
    let mut send = |bob: &mut RawPeer, encrypted: &str| {
        nonce += 1;
        let chat = chat_with(BOB, "[encrypted]", &json!({ "encrypted_msg": encrypted, "n": nonce }));
        bob.send(&chat);
        chat["id"].clone()
    };
    let seal = |n: u8, text: &str| key.seal([n; 12], text);
    let id = send(&mut bob, &seal(1, "one"));
    let unreadable = |node: &mut Node, id: &Value, error: &str| {
        let shown = node.await_event("message", json!({ "id": id }));
        assert!(has_fields(&shown, &json!({ "text": null, "error": error, "encrypted": true })), "{shown}");
    };
    unreadable(&mut node, &id, "no_key");
    assert_eq!(carol.await_frame(&json!({ "id": id }))["ttl"], 4, "it is passed on all the same");
    node.ok(json!({ "cmd": "key", "passphrase": "wrong", "scheme": "original" }));
    for garbage in [&seal(2, "two"), "", "AAAA", "no base64!", &"A".repeat(40)] {
        let id = send(&mut bob, garbage);
        unreadable(&mut node, &id, "wrong_key");
    }
    node.ok(json!({ "cmd": "key", "passphrase": "right", "scheme": "original" }));
    send(&mut bob, &seal(3, "three"));
    node.hears("three");
    // In the clear in a room with a key: shown for what it is.
    bob.say("in the clear");
    assert_eq!(node.hears("in the clear")["encrypted"], false);
}

#[test]
fn the_key_before_still_opens_messages_until_it_is_cleared() {
    let (mut bob, mut node, _carol) = node_between(&[]);
    let (old, new) = (RoomKey::new("old", "general"), RoomKey::new("new", "general"));
    node.ok(json!({ "cmd": "key", "passphrase": "old", "scheme": "original" }));
    node.ok(json!({ "cmd": "key", "passphrase": "new", "scheme": "original" }));
    let mut send = |key: &RoomKey, n: u8, text: &str| {
        let chat = chat_with(BOB, "[encrypted]", &json!({ "encrypted_msg": key.seal([n; 12], text) }));
        bob.send(&chat);
        chat["id"].clone()
    };
    send(&old, 1, "by the old");
    send(&new, 2, "by the new");
    node.hears("by the old");
    node.hears("by the new");
    node.ok(json!({ "cmd": "key", "passphrase": null }));
    for id in [send(&old, 3, "unread"), send(&new, 4, "unread")] {
        assert_eq!(node.await_event("message", json!({ "id": id }))["error"], "no_key");
    }
}
