//! Lines of input: what is skipped, what is refused and how, in which order they are answered.

use serde_json::{Value, json};

use crate::support::raw::chat_with;
use crate::support::{Node, RawListener, RawPeer, line, list, number};

const MIB: usize = 1 << 20;

#[test]
fn each_line_that_is_not_skipped_is_answered_with_its_number() {
    let mut node = Node::start(&[]);
    node.send_raw(b"\n  \t \r\n# a comment\n   # {\"cmd\":\"exit\"}\n");
    node.send_raw(b"{\"cmd\":\"room\",\"id\":1}\r\n");
    node.send_raw(b"nonsense\n\r\n");
    node.send_raw(b" \t{\"id\":\"last\",\"cmd\":\"room\"}"); // and no newline
    let output = node.finish().exited(0);
    let replies = output.all("reply");
    let lines: Vec<_> = replies.iter().map(|reply| number(reply, "line")).collect();
    assert_eq!(lines, [5, 6, 8]);
    assert_eq!(replies[0]["id"], 1);
    assert_eq!(replies[1].get("id").or(replies[1].get("cmd")), None, "{}", replies[1]);
    assert_eq!(replies[2]["id"], "last");
    assert_eq!(output.bye()["reason"], "eof");
}

#[test]
fn each_wrong_line_has_its_code_and_the_node_goes_on() {
    let mut node = Node::start(&[]);
    for (line, code) in WRONG_LINES {
        node.send_raw(format!("{line}\n").as_bytes());
        let number = node.lines_in();
        let reply = node.await_event("reply", json!({ "line": number }));
        assert_eq!(reply["ok"], false, "{line}");
        assert_eq!(reply["error"]["code"], *code, "{line}: {reply}");
        assert_eq!(reply["error"]["retryable"], false, "{line}: none gets better by itself");
    }
    node.send_raw(b"{\"cmd\":\"send\",\"text\":\"\xff\xfe\"}\n");
    let line = node.lines_in();
    assert_eq!(node.await_event("reply", json!({ "line": line }))["error"]["code"], "bad_utf8");
    assert_eq!(node.ok(json!({ "cmd": "room" }))["room"], "general");
    node.finish().exited(0);
}

const WRONG_LINES: &[(&str, &str)] = &[
    ("{", "bad_json"),
    ("}", "bad_json"),
    ("hello", "bad_json"),
    ("{\"cmd\":\"exit\"} {}", "bad_json"),
    ("{\"cmd\":\"exit\",}", "bad_json"),
    ("{\"cmd\":\"exit\",\"cmd\":\"room\"}", "bad_json"),
    ("{\"cmd\":\"send\",\"text\":\"\",\"room\":\"\\ud83d\"}", "bad_value"),
    ("{\"cmd\":\"nick\",\"name\":\"\\ude00\"}", "bad_value"),
    ("{\"cmd\":\"send\",\"text\":\"a\tb\"}", "bad_json"),
    ("{\"cmd\":\"send\",\"text\":NaN}", "bad_json"),
    ("[]", "not_an_object"),
    ("null", "not_an_object"),
    ("-1.5", "not_an_object"),
    ("\"exit\"", "not_an_object"),
    ("{}", "missing_field"),
    ("{\"cmd\":null}", "bad_type"),
    ("{\"cmd\":\"\"}", "unknown_command"),
    ("{\"cmd\":\"Exit\"}", "unknown_command"),
    ("{\"cmd\":\"send\"}", "missing_field"),
    ("{\"cmd\":\"send\",\"text\":null}", "bad_type"),
    ("{\"cmd\":\"send\",\"text\":\"a\",\"rooom\":\"b\"}", "unknown_field"),
    ("{\"cmd\":\"send\",\"text\":\"a\",\"room\":\"\"}", "bad_value"),
    ("{\"cmd\":\"send\",\"text\":\"a\",\"room\":3}", "bad_type"),
    ("{\"cmd\":\"send\",\"text\":\"a\",\"message\":\"not a UUID\"}", "bad_value"),
    ("{\"cmd\":\"send\",\"text\":\"a\",\"min_links\":-1}", "bad_value"),
    ("{\"cmd\":\"send\",\"text\":\"a\",\"timeout_ms\":86400001}", "bad_value"),
    ("{\"cmd\":\"send\",\"text\":\"a\",\"meta\":[]}", "bad_type"),
    ("{\"cmd\":\"send\",\"text\":\"a\",\"encrypted\":\"yes\"}", "bad_type"),
    ("{\"cmd\":\"room\",\"id\":{}}", "bad_type"),
    ("{\"cmd\":\"room\",\"async\":\"yes\"}", "bad_type"),
    ("{\"cmd\":\"room\",\"may_fail\":1}", "bad_type"),
    ("{\"cmd\":\"nick\",\"name\":\"\"}", "bad_value"),
    ("{\"cmd\":\"listen\",\"rooms\":\"ops\"}", "bad_type"),
    ("{\"cmd\":\"key\"}", "missing_field"),
    ("{\"cmd\":\"disconnect\"}", "missing_field"),
    ("{\"cmd\":\"wait\"}", "missing_field"),
    ("{\"cmd\":\"wait\",\"event\":\"nope\"}", "bad_value"),
    ("{\"cmd\":\"wait\",\"any\":[]}", "bad_value"),
    ("{\"cmd\":\"wait\",\"event\":\"message\",\"count\":0}", "bad_value"),
    ("{\"cmd\":\"wait\",\"event\":\"message\",\"any\":[{\"event\":\"message\"}]}", "bad_value"),
    ("{\"cmd\":\"history\",\"limit\":0}", "bad_value"),
    ("{\"cmd\":\"history\",\"limit\":1001}", "bad_value"),
    ("{\"cmd\":\"history\",\"after_pos\":1,\"before_pos\":2}", "bad_value"),
    ("{\"cmd\":\"events\",\"hide\":[\"reply\"]}", "bad_value"),
    ("{\"cmd\":\"connect\",\"addr\":\"nowhere\"}", "bad_value"),
    ("{\"cmd\":\"connect\",\"addr\":\"127.0.0.1:70000\"}", "bad_value"),
    ("{\"cmd\":\"exit\",\"now\":true}", "unknown_field"),
];

#[test]
fn a_wrong_line_keeps_what_can_be_read_of_it() {
    let mut node = Node::start(&[]);
    let reply = node.command(json!({ "cmd": "send", "id": "mine", "txt": "hi" }));
    assert_eq!(reply["cmd"], "send");
    let reply = node.command(json!({ "cmd": "fly", "id": -7.5 }));
    assert_eq!((&reply["cmd"], &reply["id"]), (&json!("fly"), &json!(-7.5)));
    node.finish().exited(0);
}

#[test]
fn every_refusal_bears_the_id_whatever_is_wrong() {
    let mut node = Node::start(&[]);
    let long = format!("{{\"cmd\":\"send\",\"text\":\"{}\",\"id\":", "x".repeat(MIB));
    let lines: &[(&[u8], &str)] = &[
        (b"{\"cmd\":\"send\",\"text\":\"say \"hi\"\",\"id\":", "bad_json"),
        (b"{\"cmd\":\"send\",\"text\":\"5\" wide\",\"id\":", "bad_json"),
        (b"{\"cmd\":\"send\",\"text\":\"a\",\"text\":\"b\",\"id\":", "bad_json"),
        (b"{\"cmd\":\"send\",\"text\":\"\xff\",\"id\":", "bad_utf8"),
        (b"{\"cmd\":\"nick\",\"name\":\"\\ud83d\",\"id\":", "bad_value"),
        (b"{\"cmd\":\"send\",\"text\":null,\"id\":", "bad_type"),
        (b"{\"cmd\":7,\"id\":", "bad_type"),
        (long.as_bytes(), "line_too_long"),
    ];
    for (n, (line, code)) in lines.iter().enumerate() {
        node.send_raw(&[line, &format!("\"mark {n}\"}}\n").into_bytes()[..]].concat());
        assert_eq!(node.await_reply(&json!(format!("mark {n}")))["error"]["code"], *code, "{n}");
    }
    node.finish().exited(0);
}

#[test]
fn half_an_emoji_in_a_text_is_a_replacement_character() {
    let mut node = Node::start(&[]);
    let mut bob = RawPeer::dial(&node.addr(), "127.0.0.1:5001", "Bob");
    node.send_raw(b"{\"cmd\":\"send\",\"text\":\"a\\ud83d\",\"meta\":{\"m\":\"\\ude00\\ud83d\\ude00\"}}\n");
    let chat = bob.hears("a\u{fffd}");
    assert_eq!(chat["meta"], json!({ "m": "\u{fffd}\u{1f600}" }));
    // An original sends one for each byte that its terminal gave it wrongly.
    let chat = chat_with("127.0.0.1:5001", "HERE", &json!({ "meta": { "m": "HERE", "x": 1 } })).to_string();
    bob.send_text(chat.replace("HERE", "\\udcff\\udcfeb").replace("\"x\":", "\n\"x\":\r\n"));
    let heard = node.hears("\u{fffd}\u{fffd}b");
    assert_eq!(heard["meta"], json!({ "m": "\u{fffd}\u{fffd}b", "x": 1 }));
    // That line can be matched as any other.
    node.ok(json!({ "cmd": "wait", "event": "message", "match": { "meta": heard["meta"] }, "timeout_ms": 0 }));
    node.finish().exited(0);
}

#[test]
fn null_is_as_if_left_out_and_a_number_is_what_it_says() {
    let mut node = Node::start(&[]);
    let mut bob = RawPeer::dial(&node.addr(), "127.0.0.1:5001", "Bob");
    let send = json!({ "cmd": "send", "text": "hi", "room": null, "message": null, "min_links": null, "confirm": null,
        "timeout_ms": 1000.0, "encrypted": null, "meta": null, "async": null, "may_fail": null });
    line::is_command(&send).unwrap();
    node.ok(send);
    bob.say("there");
    node.send_raw(b"{\"cmd\":\"wait\",\"event\":\"message\",\"match\":{\"hops\":1.0,\"text\":\"there\"},\"count\":1e0,\"id\":1}\n");
    assert_eq!(node.await_reply(&json!(1))["ok"], true);
    node.ok(json!({ "cmd": "history", "limit": 1e2, "after": null, "after_pos": null }));
    assert_eq!(node.ok(json!({ "cmd": "key", "passphrase": null }))["encrypted"], false);
    let wait = json!({ "cmd": "wait", "event": "message", "match": { "via": null }, "timeout_ms": 0 });
    assert_eq!(node.fails(wait), "timeout", "there, null is compared");
    let reply = node.command(json!({ "cmd": "wait", "event": "message", "count": "many" }));
    let error = json!({ "code": "bad_type", "retryable": false,
        "message": "`count` takes a whole number from 1 to 10000, not \"many\"" });
    assert_eq!(reply["error"], error);
    node.finish().exited(0);
}

#[test]
fn a_byte_order_mark_before_a_line_is_skipped() {
    for first in ["\u{feff}{\"cmd\":\"room\",\"id\":1}\n", "\u{feff}# a comment\n{\"cmd\":\"room\",\"id\":1}\n"] {
        let mut node = Node::start(&[]);
        node.send_raw(first.as_bytes());
        assert_eq!(node.await_reply(&json!(1))["ok"], true);
        assert_eq!(node.finish().exited(0).all("reply").len(), 1);
    }
}

#[test]
fn names_and_texts_are_as_long_as_they_may_be_and_no_longer() {
    let mut node = Node::start(&[]);
    let (name, long) = ("ü".repeat(32), format!("{}x", "ü".repeat(32)));
    assert_eq!(node.ok(json!({ "cmd": "nick", "name": name }))["username"], name);
    assert_eq!(node.fails(json!({ "cmd": "nick", "name": long })), "bad_value");
    assert_eq!(node.ok(json!({ "cmd": "room", "name": name }))["room"], name);
    assert_eq!(node.fails(json!({ "cmd": "room", "name": long })), "bad_value");
    let text = "x".repeat(64 << 10);
    node.ok(json!({ "cmd": "send", "text": text }));
    assert_eq!(node.fails(json!({ "cmd": "send", "text": text.clone() + "x" })), "bad_value");
    // The braces, the quotes and the colon of {"m":"…"} make 8.
    let meta = |bytes: usize| json!({ "cmd": "send", "text": "", "meta": { "m": "x".repeat(bytes - 8) } });
    node.ok(meta(1024));
    assert_eq!(node.fails(meta(1025)), "bad_value");
    node.finish().exited(0);
}

#[test]
fn a_line_may_have_a_mebibyte_and_a_longer_one_is_skipped() {
    let mut node = Node::start(&[]);
    let line = |id: u32, bytes: usize| {
        let mut line = format!("{{\"cmd\":\"room\",\"id\":{id}}}").into_bytes();
        line.resize(bytes, b' ');
        line.push(b'\n');
        line
    };
    node.send_raw(&line(1, MIB));
    assert_eq!(node.await_reply(&json!(1))["ok"], true);
    node.send_raw(&line(2, MIB + 1));
    let reply = node.await_event("reply", json!({ "line": 2 }));
    assert_eq!(reply["error"]["code"], "line_too_long");
    node.send_raw(&line(3, 5 * MIB));
    node.send_raw(&line(4, 100));
    assert_eq!(node.await_event("reply", json!({ "line": 3 }))["error"]["code"], "line_too_long");
    assert_eq!(node.await_reply(&json!(4))["line"], 4);
    node.send_raw(line(5, MIB + 1).trim_ascii_end());
    node.finish().exited(0);
}

#[test]
fn an_overlong_last_line_without_a_newline_is_answered_too() {
    let mut node = Node::start(&[]);
    node.send_raw(&vec![b'x'; MIB + 1]);
    assert_eq!(node.finish().exited(0).codes(), ["line_too_long"]);
}

#[test]
fn commands_are_answered_in_order() {
    let mut node = Node::start(&[]);
    for i in 0..2_000 {
        let command = match i % 4 {
            0 => json!({ "cmd": "room", "name": format!("room {}", i % 50), "id": i }),
            1 => json!({ "cmd": "send", "text": format!("{i}"), "id": i }),
            2 => json!({ "cmd": "no such thing", "id": i }),
            _ => json!({ "cmd": "history", "limit": 2, "id": i }),
        };
        node.send_line(&command);
    }
    let output = node.finish().exited(0);
    let ids: Vec<_> = output.all("reply").iter().map(|reply| reply["id"].clone()).collect();
    assert_eq!(ids, (0..2_000).map(Value::from).collect::<Vec<_>>());
    // Each saw what the one before it did.
    for (i, replies) in output.all("reply").chunks(4).enumerate() {
        let newest = &list(&replies[3]["result"], "messages").pop().expect("the message just sent");
        assert_eq!(newest["text"], format!("{}", i * 4 + 1));
        assert_eq!(newest["room"], replies[0]["result"]["room"]);
    }
}

#[test]
fn a_command_that_waits_holds_up_those_after_it() {
    let mut node = Node::start(&[]);
    let send = node.begin(json!({ "cmd": "send", "text": "at last", "min_links": 1 }));
    let room = node.begin(json!({ "cmd": "room", "name": "lounge" }));
    // Both have been read, as the link comes up after them.
    let mut peer = RawPeer::dial(&node.addr(), "127.0.0.1:5001", "Bob");
    assert_eq!(peer.hears("at last")["room"], "general");
    let sent = node.await_reply(&send);
    assert_eq!(sent["result"]["links"], 1);
    assert!(number(&sent, "seq") < number(&node.await_reply(&room), "seq"));
    node.finish().exited(0);
}

#[test]
fn an_async_command_holds_up_nothing() {
    let mut node = Node::start(&[]);
    let silent = RawListener::new();
    let connect = node.begin(json!({ "cmd": "connect", "addr": silent.addr(), "async": true }));
    let wait = node.begin(json!({ "cmd": "wait", "event": "message", "async": true }));
    node.ok(json!({ "cmd": "room" }));
    assert!(node.saw("reply", json!({ "id": connect })).is_empty());
    let mut peer = RawPeer::dial(&node.addr(), "127.0.0.1:5001", "Bob");
    peer.say("hi");
    assert_eq!(node.await_reply(&wait)["result"]["events"][0]["text"], "hi");
    drop(silent.accept_level1());
    let reply = node.await_reply(&connect);
    assert_eq!(reply["error"]["code"], "connect_failed");
    assert_eq!(reply["error"]["retryable"], true);
    node.finish().exited(0);
}

#[test]
fn too_many_async_commands_are_refused() {
    let mut node = Node::start(&[]);
    let mut waiting = 0;
    let refused = loop {
        let forever = json!({ "cmd": "wait", "event": "voice_left", "async": true, "timeout_ms": 86_400_000 });
        let id = node.begin(forever);
        waiting += 1;
        node.ok(json!({ "cmd": "room" }));
        if let Some(reply) = node.saw("reply", json!({ "id": id })).pop() {
            break reply;
        }
        assert!(waiting < 2_000, "there is no bound");
    };
    assert_eq!(refused["error"]["code"], "busy");
    assert_eq!(refused["error"]["retryable"], true);
    assert_eq!(number(&node.ok(json!({ "cmd": "status" }))["queues"], "waiting"), waiting - 1);
}

#[test]
fn events_that_a_command_causes_come_before_its_reply() {
    let mut bob = Node::named("Bob", &[]);
    let mut alice = Node::named("Alice", &[]);
    let addr = bob.addr();
    alice.send_line(&json!({ "cmd": "connect", "addr": addr }));
    alice.send_line(&json!({ "cmd": "disconnect", "peer": bob.id() }));
    let output = alice.finish().exited(0);
    let order: Vec<_> = output.lines.iter().map(|line| line["event"].as_str().unwrap_or_default()).collect();
    assert_eq!(order, ["ready", "peer_up", "reply", "peer_down", "reply", "bye"]);
    bob.await_event("peer_down", json!({ "username": "Alice" }));
}
