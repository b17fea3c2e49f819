//! What each command answers, and what refuses it.

use serde_json::{Value, json};

use crate::support::raw::chat_with;
use crate::support::{Node, RawListener, RawPeer, fresh_id, line, list, number, text, texts};

const BOB: &str = "127.0.0.1:5001";

#[test]
fn room_shows_and_changes_the_active_room() {
    let mut node = Node::start(&["--room", "lobby"]);
    assert_eq!(node.ok(json!({ "cmd": "room" })), json!({ "room": "lobby", "previous": "lobby" }));
    let changed = node.ok(json!({ "cmd": "room", "name": "ops" }));
    assert_eq!(changed, json!({ "room": "ops", "previous": "lobby" }));
    assert_eq!(node.ok(json!({ "cmd": "send", "text": "hi" }))["room"], "ops");
    assert_eq!(node.ok(json!({ "cmd": "send", "text": "hi", "room": "lobby" }))["room"], "lobby");
    assert_eq!(node.ok(json!({ "cmd": "room" }))["room"], "ops", "sending elsewhere changes nothing");
}

#[test]
fn messages_of_the_active_room_and_of_those_listened_to_are_shown() {
    let mut node = Node::start(&["--listen", "ops", "--listen", "alerts"]);
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    let mut round = 0;
    let mut hears = |node: &mut Node, expected: &[&str]| {
        round += 1;
        for room in ["general", "ops", "alerts", "other"] {
            bob.say_in(room, &format!("{round} {room}"));
        }
        let active = text(&node.ok(json!({ "cmd": "room" })), "room");
        bob.say_in(&active, &format!("{round} barrier"));
        node.hears(&format!("{round} barrier"));
        let heard = node.heard();
        let mut heard: Vec<_> = heard.iter().filter_map(|it| it.as_str()?.strip_prefix(&format!("{round} "))).collect();
        assert_eq!(heard.pop(), Some("barrier"));
        assert_eq!(heard, expected);
    };
    hears(&mut node, &["general", "ops", "alerts"]);
    let listened = node.ok(json!({ "cmd": "listen", "rooms": ["other"] }));
    assert_eq!(listened, json!({ "rooms": ["other"] }));
    hears(&mut node, &["general", "other"]);
    node.ok(json!({ "cmd": "room", "name": "ops" }));
    hears(&mut node, &["ops", "other"]);
    node.ok(json!({ "cmd": "listen", "rooms": [] }));
    hears(&mut node, &["ops"]);
    assert_eq!(node.ok(json!({ "cmd": "listen", "rooms": ["*"] })), json!({ "rooms": ["*"] }));
    hears(&mut node, &["general", "ops", "alerts", "other"]);
    // What was not shown was kept all the same.
    let other = node.ok(json!({ "cmd": "history", "room": "other" }));
    assert_eq!(list(&other, "messages").len(), 5);
}

#[test]
fn rooms_lists_what_is_known_of_each() {
    let mut node = Node::start(&["--listen", "ops"]);
    node.ok(json!({ "cmd": "send", "text": "1", "room": "zoo" }));
    node.ok(json!({ "cmd": "send", "text": "2", "room": "ops" }));
    node.ok(json!({ "cmd": "send", "text": "3", "room": "zoo" }));
    node.ok(json!({ "cmd": "key", "passphrase": "secret", "room": "vault" }));
    let room = |name: &str, messages: u32, last_pos: Option<u32>, flag: &str| {
        let (encrypted, active, listened) = (flag == "encrypted", flag == "active", flag == "listened");
        let scheme = encrypted.then_some("argon2id");
        json!({ "name": name, "messages": messages, "last_pos": last_pos, "encrypted": encrypted, "scheme": scheme,
            "active": active, "listened": listened })
    };
    let rooms = node.ok(json!({ "cmd": "rooms" }));
    let expected = [
        room("general", 0, None, "active"),
        room("ops", 1, Some(2), "listened"),
        room("vault", 0, None, "encrypted"),
        room("zoo", 2, Some(3), ""),
    ];
    assert_eq!(list(&rooms, "rooms"), expected);
}

#[test]
fn the_room_that_was_idle_longest_makes_place_for_one_too_many() {
    let mut node = Node::start(&["--room", "room 1", "--listen", "room 2"]);
    node.ok(json!({ "cmd": "key", "passphrase": "secret", "room": "room 3" }));
    for i in 1..=1_030 {
        node.begin(json!({ "cmd": "send", "text": "hi", "room": format!("room {i}"), "id": i }));
    }
    assert_eq!(node.await_reply(&json!(1_030))["ok"], true);
    let rooms = texts(&list(&node.ok(json!({ "cmd": "rooms" })), "rooms"), "name");
    assert_eq!(rooms.len(), 1_024);
    for (kept, range) in [(true, 1..=3), (false, 4..=9), (true, 10..=1_030)] {
        assert!(range.clone().all(|i| rooms.contains(&format!("room {i}")) == kept), "{range:?}: {kept}");
    }
}

#[test]
fn too_many_rooms_are_not_listened_to() {
    let mut node = Node::start(&[]);
    let rooms = |count: usize| (0..count).map(|i| format!("room {i}")).collect::<Vec<_>>();
    assert_eq!(list(&node.ok(json!({ "cmd": "listen", "rooms": rooms(1_024) })), "rooms").len(), 1_024);
    assert_eq!(node.fails(json!({ "cmd": "listen", "rooms": rooms(1_025) })), "too_many_rooms");
}

#[test]
fn nick_changes_the_user_name_for_neighbours_too() {
    let mut alice = Node::named("Alice", &[]);
    let mut bob = Node::named("Bob", &[]);
    alice.link(&mut bob);
    let renamed = alice.ok(json!({ "cmd": "nick", "name": "Alicia" }));
    assert_eq!(renamed, json!({ "username": "Alicia", "previous": "Alice" }));
    let seen = bob.await_event("renamed", json!({ "username": "Alicia" }));
    assert_eq!((&seen["peer"], &seen["previous"]), (&json!(alice.id()), &json!("Alice")));
    assert_eq!(bob.ok(json!({ "cmd": "peers" }))["peers"][0]["username"], "Alicia");
    alice.say("it is me");
    assert_eq!(bob.hears("it is me")["username"], "Alicia");
    assert_eq!(alice.ok(json!({ "cmd": "status" }))["username"], "Alicia");
}

#[test]
fn nick_reaches_and_comes_from_level_2_peers_only_where_both_know_it() {
    let mut node = Node::named("Alice", &[]);
    let mut level1 = RawPeer::dial(&node.addr(), "127.0.0.1:5001", "Bob");
    let mut level2 = RawPeer::dial_level2(&node.addr(), "Carol");
    node.await_event("peer_up", json!({ "username": "Carol" }));
    node.ok(json!({ "cmd": "nick", "name": "Alicia" }));
    assert_eq!(level2.await_frame(&json!({ "type": "nick" }))["username"], "Alicia");
    node.say("barrier");
    level1.hears("barrier"); // and no `nick` before it: the peer sees to that
    level2.send(&json!({ "id": fresh_id(), "type": "nick", "username": "Caroline" }));
    let renamed = node.await_event("renamed", json!({ "username": "Caroline" }));
    assert_eq!(renamed["previous"], "Carol");
    // From a peer of level 1 it is a type that nobody knows.
    level1.send(&json!({ "id": fresh_id(), "type": "nick", "username": "Mallory" }));
    level1.say("still Bob");
    node.hears("still Bob");
    assert_eq!(texts(&list(&node.ok(json!({ "cmd": "peers" })), "peers"), "username"), ["Bob", "Caroline"]);
}

#[test]
fn peers_lists_the_neighbours_oldest_first() {
    let mut node = Node::named("Alice", &[]);
    let mut other = Node::named("Bob", &[]);
    let _level1 = RawPeer::dial(&node.addr(), BOB, "Old Bob");
    node.await_event("peer_up", json!({ "peer": BOB, "direction": "in", "level": 1, "secure": false }));
    node.link(&mut other);
    node.await_event("peer_up", json!({ "peer": other.id(), "direction": "out", "level": 2, "addr": other.addr() }));
    let peers = list(&node.ok(json!({ "cmd": "peers" })), "peers");
    assert_eq!(texts(&peers, "username"), ["Old Bob", "Bob"]);
    assert_eq!(texts(&peers, "direction"), ["in", "out"]);
    assert_eq!(peers[0]["rtt_ms"], json!(null), "level 1 cannot tell");
    assert_eq!(peers[1]["addr"], other.addr());
    assert_eq!(number(&peers[1], "level"), 2);
}

#[test]
fn send_tells_what_became_of_the_message() {
    let mut node = Node::start(&[]);
    let alone = node.ok(json!({ "cmd": "send", "text": "nobody" }));
    let id = text(&alone, "message");
    assert!(uuid::Uuid::parse_str(&id).is_ok_and(|uuid| uuid.hyphenated().to_string() == id), "{id}");
    let expected = json!({ "message": id, "room": "general", "links": 0, "confirmed": 0, "duplicate": false });
    assert_eq!(alone, expected);
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    node.await_event("peer_up", json!({}));
    let id = fresh_id();
    let send = json!({ "cmd": "send", "text": "once", "message": id });
    let first = node.ok(send.clone());
    assert_eq!((&first["message"], &first["links"], &first["duplicate"]), (&json!(id), &json!(1), &json!(false)));
    assert_eq!(node.ok(send)["duplicate"], true);
    node.say("barrier");
    assert_eq!(bob.all_until("barrier"), ["once", "barrier"]);
    assert_eq!(node.ok(json!({ "cmd": "status" }))["counters"]["sent"], 3);
}

#[test]
fn nobody_can_use_up_the_id_of_a_message_to_come() {
    let mut alice = Node::named("Alice", &[]);
    let mut carol = Node::named("Carol", &[]);
    alice.link(&mut carol);
    let mut bob = RawPeer::dial(&alice.addr(), BOB, "Bob");
    let id = bob.say("taken");
    alice.hears("taken");
    carol.hears("taken");
    assert_eq!(alice.ok(json!({ "cmd": "send", "text": "mine", "message": id }))["duplicate"], false);
    let shown = carol.hears("mine");
    assert_eq!((&shown["id"], &shown["verified"]), (&json!(id), &json!(true)));
    // One's own, of the two.
    let trace = alice.ok(json!({ "cmd": "trace", "message": id }));
    assert_eq!((&trace["from"], &trace["via"]), (&json!(alice.id()), &Value::Null));
    let trace = carol.ok(json!({ "cmd": "trace", "message": id }));
    assert_eq!(trace["from"], alice.id(), "what is signed before what is not");
}

#[test]
fn send_does_not_wait_for_a_dial_that_it_does_not_need() {
    // It takes the connection, and says nothing for as long as one may.
    let mute = RawListener::new();
    let mut bob = Node::named("Bob", &[]);
    let mut alice = Node::named("Alice", &["--connect", &mute.addr(), "--connect", &bob.addr()]);
    let _silent = mute.accept_silent();
    let ask = json!({ "cmd": "send", "text": "heard?", "min_links": 1, "confirm": 1 });
    let sent = alice.ok(ask);
    assert_eq!((&sent["links"], &sent["confirmed"]), (&json!(1), &json!(1)));
    bob.hears("heard?");
    // With neither it waits for all, but no longer than it may.
    alice.ok(json!({ "cmd": "send", "text": "to whoever is there", "timeout_ms": 1 }));
    bob.hears("to whoever is there");
    assert_eq!(alice.fails(json!({ "cmd": "send", "text": "more?", "min_links": 2, "timeout_ms": 1 })), "no_links");
    assert_eq!(alice.saw("connect_failed", json!({})).len(), 0, "the other dial is still under way");
    assert_eq!(alice.fails(json!({ "cmd": "send", "text": "both?", "confirm": 2, "timeout_ms": 1 })), "not_confirmed");
    bob.hears("both?");
}

#[test]
fn send_can_ask_for_links_confirmations_and_a_key() {
    let mut node = Node::start(&[]);
    let reply = node.command(json!({ "cmd": "send", "text": "hi", "min_links": 1, "timeout_ms": 0 }));
    assert_eq!((&reply["error"]["code"], &reply["error"]["retryable"]), (&json!("no_links"), &json!(true)));
    let _level1 = RawPeer::dial(&node.addr(), BOB, "Bob");
    node.await_event("peer_up", json!({}));
    node.ok(json!({ "cmd": "send", "text": "hi", "min_links": 1, "timeout_ms": 0 }));
    let reply = node.command(json!({ "cmd": "send", "text": "hi", "confirm": 1, "timeout_ms": 0 }));
    assert_eq!((&reply["error"]["code"], &reply["error"]["retryable"]), (&json!("not_confirmed"), &json!(true)));
    assert_eq!(node.fails(json!({ "cmd": "send", "text": "hi", "encrypted": true })), "no_key");
    node.ok(json!({ "cmd": "key", "passphrase": "secret" }));
    node.ok(json!({ "cmd": "send", "text": "hi", "encrypted": true }));
    assert_eq!(node.fails(json!({ "cmd": "send", "text": "hi", "room": "other", "encrypted": true })), "no_key");
}

#[test]
fn neighbours_of_level_2_confirm_what_they_took() {
    let mut alice = Node::named("Alice", &[]);
    let mut bob = Node::named("Bob", &[]);
    alice.link(&mut bob);
    let sent = alice.ok(json!({ "cmd": "send", "text": "sure?", "confirm": 1 }));
    assert_eq!(sent["confirmed"], 1);
    bob.hears("sure?");
    let trace = alice.ok(json!({ "cmd": "trace", "message": sent["message"] }));
    assert_eq!(trace["links"][0]["confirmed"], true);
    // One who says that it did not take it is not counted.
    let mut carol = RawPeer::dial_level2(&alice.addr(), "Carol");
    alice.await_event("peer_up", json!({ "username": "Carol" }));
    let send = alice.begin(json!({ "cmd": "send", "text": "both?", "confirm": 2, "timeout_ms": 86_400_000 }));
    let chat = carol.hears("both?");
    let asked = carol.await_frame(&json!({ "type": "confirm", "message": chat["id"] }));
    assert!(asked["id"].is_string(), "{asked}");
    let next = alice.begin(json!({ "cmd": "status" }));
    let answer = |taken: bool| json!({ "id": fresh_id(), "type": "confirmed", "message": chat["id"], "taken": taken });
    carol.send(&answer(false));
    carol.say("not yet");
    alice.hears("not yet");
    assert!(alice.saw("reply", json!({ "id": next })).is_empty(), "it waits for Carol");
    carol.send(&answer(true));
    assert_eq!(alice.await_reply(&send)["result"]["confirmed"], 2);
    bob.hears("both?");
}

#[test]
fn a_level_2_peer_that_asks_is_told_what_was_taken() {
    let mut node = Node::start(&[]);
    let mut bob = RawPeer::dial_level2(&node.addr(), "Bob");
    node.await_event("peer_up", json!({ "username": "Bob" }));
    let id = bob.say("there?");
    bob.send(&json!({ "id": fresh_id(), "type": "confirm", "message": id }));
    assert_eq!(bob.await_frame(&json!({ "type": "confirmed", "message": id }))["taken"], true);
    let of_another = RawPeer::dial(&node.addr(), "10.0.0.9:5000", "Eve").say("mine");
    node.hears("mine");
    bob.send(&json!({ "id": fresh_id(), "type": "confirm", "message": of_another }));
    assert_eq!(bob.await_frame(&json!({ "type": "confirmed", "message": of_another }))["taken"], false, "not Bob's");
    let unknown = fresh_id();
    bob.send(&json!({ "id": fresh_id(), "type": "confirm", "message": unknown }));
    assert_eq!(bob.await_frame(&json!({ "type": "confirmed", "message": unknown }))["taken"], false);
}

#[test]
fn meta_goes_along_untouched() {
    let mut alice = Node::named("Alice", &[]);
    let mut bob = Node::named("Bob", &[]);
    alice.link(&mut bob);
    let meta = json!({ "reply_to": "x", "nested": { "list": [1, 2.5, null, "\u{202e}"] } });
    alice.ok(json!({ "cmd": "send", "text": "with meta", "meta": meta }));
    assert_eq!(bob.hears("with meta")["meta"], meta);
    for node in [&mut alice, &mut bob] {
        node.ok(json!({ "cmd": "key", "passphrase": "secret" }));
    }
    alice.ok(json!({ "cmd": "send", "text": "sealed", "meta": meta }));
    let sealed = bob.hears("sealed");
    assert_eq!((&sealed["meta"], &sealed["encrypted"]), (&meta, &json!(true)));
}

#[test]
fn ones_own_messages_are_kept_and_not_shown() {
    let mut node = Node::start(&[]);
    let id = node.say("mine");
    let kept = node.ok(json!({ "cmd": "history" }));
    let [message] = &list(&kept, "messages")[..] else { panic!("{kept}") };
    assert_eq!((&message["id"], &message["own"], &message["hops"]), (&json!(id), &json!(true), &json!(0)));
    assert_eq!((&message["via"], &message["from"]), (&json!(null), &json!(node.id())));
    assert!(node.finish().all("message").is_empty());
}

#[test]
fn key_sets_replaces_and_clears() {
    let mut node = Node::start(&[]);
    let keyed = node.ok(json!({ "cmd": "key", "passphrase": "one", "room": "ops", "scheme": "original" }));
    assert_eq!(keyed, json!({ "room": "ops", "encrypted": true, "scheme": "original" }));
    assert_eq!(node.ok(json!({ "cmd": "key", "passphrase": "two" }))["room"], "general");
    assert_eq!(node.ok(json!({ "cmd": "status" }))["keyed"], json!(["general", "ops"]));
    let cleared = node.ok(json!({ "cmd": "key", "passphrase": null, "room": "ops" }));
    assert_eq!(cleared, json!({ "room": "ops", "encrypted": false, "scheme": null }));
    assert_eq!(node.ok(json!({ "cmd": "status" }))["keyed"], json!(["general"]));
    let unknown = json!({ "cmd": "key", "passphrase": "x", "scheme": "rot13" });
    assert_eq!(node.fails(unknown), "unknown_scheme");
}

#[test]
fn events_hides_and_shows() {
    let mut node = Node::start(&[]);
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    let mut carol = RawPeer::dial(&node.addr(), "carol", "Carol");
    node.await_event("peer_up", json!({ "peer": "carol" }));
    let state = node.ok(json!({ "cmd": "events" }));
    assert_eq!(state["hidden"], json!(["forwarded", "dropped"]));
    let state = node.ok(json!({ "cmd": "events", "show": ["forwarded", "dropped"], "hide": ["message"] }));
    assert_eq!(state["hidden"], json!(["message"]));
    assert!(list(&state, "shown").contains(&json!("forwarded")));
    let id = bob.say("hidden");
    let forwarded = node.await_event("forwarded", json!({ "id": id }));
    let expected = json!({ "room": "general", "from": BOB, "via": BOB, "to": ["carol"] });
    assert!(crate::support::has_fields(&forwarded, &expected), "{forwarded}");
    let echo = carol.hears("hidden");
    carol.send(&echo);
    let dropped = node.await_event("dropped", json!({ "id": id }));
    assert_eq!((&dropped["cause"], &dropped["via"]), (&json!("duplicate"), &json!("carol")));
    node.ok(json!({ "cmd": "events", "show": ["message"], "hide": ["forwarded", "dropped", "peer_down"] }));
    bob.say("shown");
    node.hears("shown");
    assert_eq!(node.heard(), ["shown"]);
    for event in ["reply", "ready", "lagged", "fatal", "bye"] {
        assert_eq!(node.fails(json!({ "cmd": "events", "hide": [event] })), "bad_value", "{event}");
    }
}

#[test]
fn status_counts() {
    let mut node = Node::named("Alice", &["--listen", "ops"]);
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    let mut carol = RawPeer::dial(&node.addr(), "carol", "Carol");
    node.await_event("peer_up", json!({ "peer": "carol" }));
    node.say("mine");
    bob.say("one");
    bob.say_in("unheard", "two");
    let echo = carol.hears("one");
    carol.hears("two");
    carol.send(&echo);
    carol.send_text("{");
    carol.send(&chat_with("carol", "too long a name", &json!({ "username": "x".repeat(65) })));
    carol.say("barrier");
    node.hears("barrier");
    let status = node.ok(json!({ "cmd": "status" }));
    let basics = json!({ "node": node.id(), "username": "Alice", "room": "general", "listened": ["ops"], "keyed": [],
        "links": 2, "handshakes": 0, "dialling": 0 });
    assert!(crate::support::has_fields(&status, &basics), "{status}");
    let counters = json!({ "sent": 1, "received": 3, "forwarded": 3, "copies_out": 5, "duplicates": 1,
        "dropped": { "duplicate": 1, "malformed": 1, "over_limit": 1 } });
    let counted = &status["counters"];
    for (name, expected) in counters.as_object().unwrap() {
        if name != "dropped" {
            assert_eq!(counted[name], *expected, "{name} in {status}");
        }
    }
    assert_eq!((&counted["dropped"]["malformed"], &counted["dropped"]["over_limit"]), (&json!(1), &json!(1)));
    assert_eq!(number(&status["queues"], "history"), 4);
    assert_eq!(number(&status["limits"], "links"), 64);
}

#[test]
fn help_explains_every_command_and_event_with_an_example_that_works() {
    let mut node = Node::start(&[]);
    let help = node.ok(json!({ "cmd": "help" }));
    let commands = list(&help, "commands");
    for command in &commands {
        line::is_command(&command["example"]).unwrap();
        assert_eq!(command["example"]["cmd"], command["cmd"]);
        assert_ne!(text(command, "summary"), "");
        for argument in list(command, "arguments") {
            assert_ne!(text(&argument, "about"), "", "{command}");
        }
    }
    let names = texts(&commands, "cmd");
    let all = p2p_chat::api::command::COMMANDS.iter().map(|info| info.name).collect::<Vec<_>>();
    assert_eq!(names, all);
    for event in list(&help, "events") {
        line::is_line(&event["example"]).unwrap();
        assert_eq!(event["example"]["event"], event["event"]);
    }
    let one = node.ok(json!({ "cmd": "help", "of": "send" }));
    let [send] = &list(&one, "commands")[..] else { panic!("{one}") };
    assert!(texts(&list(send, "arguments"), "name").contains(&"min_links".to_owned()));
    assert_eq!(node.fails(json!({ "cmd": "help", "of": "fly" })), "not_found");
}

#[test]
fn every_example_of_help_is_understood_by_the_node() {
    let mut node = Node::start(&[]);
    let help = node.ok(json!({ "cmd": "help" }));
    for command in list(&help, "commands").iter().filter(|command| command["cmd"] != "exit") {
        let mut example = command["example"].clone();
        if example.get("timeout_ms").is_some() || example["cmd"] == "send" {
            example["timeout_ms"] = json!(0);
        }
        let reply = node.command(example);
        let understood = ["connect_failed", "not_found", "no_links", "timeout", "not_in_voice"];
        let code = reply["error"]["code"].as_str();
        assert!(code.is_none_or(|code| understood.contains(&code)), "{reply}");
    }
}

#[test]
fn what_nobody_goes_by_is_not_found() {
    let mut node = Node::start(&[]);
    for command in [
        json!({ "cmd": "disconnect", "peer": "nobody" }),
        json!({ "cmd": "disconnect", "addr": "127.0.0.1:1" }),
        json!({ "cmd": "trace", "message": fresh_id() }),
        json!({ "cmd": "history", "after": fresh_id() }),
        json!({ "cmd": "wait", "event": "message", "after": "nothing" }),
    ] {
        assert_eq!(node.fails(command.clone()), "not_found", "{command}");
    }
}
