//! Rooms with a key, of either scheme.

use serde_json::{Value, json};

use crate::support::room_key::RoomKey;
use crate::support::{Node, RawPeer, TempDir, fresh_id, has_fields, list, text};

const BOB: &str = "127.0.0.1:5001";

fn key(node: &mut Node, passphrase: &str, scheme: &str) {
    node.ok(json!({ "cmd": "key", "passphrase": passphrase, "scheme": scheme }));
}

/// Waits for a message that can't be read.
#[track_caller]
fn unread(node: &mut Node, id: &Value, error: &str) {
    let shown = node.await_event("message", json!({ "id": id }));
    assert!(has_fields(&shown, &json!({ "text": null, "error": error, "encrypted": true })), "{shown}");
}

#[test]
fn the_strong_scheme_is_what_a_key_has_unless_told_otherwise() {
    let [mut a, mut b] = ["A", "B"].map(|name| Node::named(name, &[]));
    let mut eve = RawPeer::dial(&a.addr(), BOB, "Eve");
    a.link(&mut b);
    for node in [&mut a, &mut b] {
        let keyed = node.ok(json!({ "cmd": "key", "passphrase": "correct horse" }));
        assert_eq!(keyed, json!({ "room": "general", "encrypted": true, "scheme": "argon2id" }));
    }
    assert_eq!(list(&a.ok(json!({ "cmd": "rooms" })), "rooms")[0]["scheme"], "argon2id");
    assert_eq!(a.ok(json!({ "cmd": "status" }))["schemes"], json!({ "general": "argon2id" }));
    assert!(a.saw("warning", json!({ "code": "weak_key" })).is_empty());
    let meta = json!({ "plain": "as day" });
    let sent = a.ok(json!({ "cmd": "send", "text": "in secret", "meta": meta }));
    let heard = b.hears("in secret");
    assert!(has_fields(&heard, &json!({ "encrypted": true, "meta": meta })), "{heard}");
    // Who is between sees neither, nor anything of the other scheme.
    let bytes = String::from_utf8(eve.await_bytes_of(&text(&sent, "message"))).unwrap();
    let chat: Value = serde_json::from_str(&bytes).unwrap();
    assert!(
        !bytes.contains("in secret") && !bytes.contains("as day") && chat.get("encrypted_msg").is_none(),
        "{bytes}"
    );
    assert_eq!(chat["msg"], "[encrypted]");
    assert!(chat["sealed_msg"].is_string() && chat["sealed_meta"].is_string());
    // It is bound to the message that it stands in: not even a member can say it once more as another.
    let mut again = chat.clone();
    (again["id"], again["from"]) = (json!(fresh_id()), json!(BOB));
    again.as_object_mut().unwrap().remove("sig");
    eve.send(&again);
    unread(&mut b, &again["id"], "wrong_key");
    eve.say("in the clear");
    assert_eq!(b.hears("in the clear")["encrypted"], false);
}

#[test]
fn a_room_has_one_scheme_and_the_key_before_still_opens() {
    let [mut a, mut b] = ["A", "B"].map(|name| Node::named(name, &[]));
    a.link(&mut b);
    key(&mut a, "one", "original");
    let warned = a.await_event("warning", json!({ "code": "weak_key" }));
    assert!(text(&warned, "message").contains("`general`"), "{warned}");
    key(&mut b, "one", "argon2id");
    let id = a.say("in the one");
    unread(&mut b, &json!(id), "other_scheme");
    let id = b.say("in the other");
    unread(&mut a, &json!(id), "other_scheme");
    key(&mut a, "one", "argon2id");
    let id = a.say("the same scheme");
    assert_eq!(b.hears("the same scheme")["id"], id);
    // What is kept opens with the keys of the moment: A has that of each scheme.
    b.say("as well");
    a.hears("as well");
    let kept = a.ok(json!({ "cmd": "history" }));
    assert!(list(&kept, "messages").iter().all(|it| it["text"].is_string()), "{kept}");
    key(&mut b, "two", "argon2id");
    // B still opens with its key before; A has not the new one.
    a.say("with the one before");
    b.hears("with the one before");
    let id = b.say("with the new one");
    unread(&mut a, &json!(id), "wrong_key");
}

#[test]
fn the_originals_scheme_is_spoken_with_who_knows_no_other() {
    let dir = TempDir::new();
    let file = dir.write("key", "correct horse\n");
    let mut node = Node::start(&["--original-key-file", &format!("general={file}")]);
    node.await_event("warning", json!({ "code": "weak_key" }));
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    let sent = node.ok(json!({ "cmd": "send", "text": "hello", "meta": { "plain": "as day" } }));
    let chat: Value = serde_json::from_slice(&bob.await_bytes_of(&text(&sent, "message"))).unwrap();
    let (_, opened) = RoomKey::new("correct horse", "general").open(&text(&chat, "encrypted_msg"));
    assert_eq!((opened.as_str(), chat.get("sealed_msg")), ("hello", None));
}

#[test]
fn a_key_that_others_may_not_type_is_warned_of_without_being_told() {
    let dir = TempDir::new();
    let (marked, plain) = (dir.write("marked", "\u{feff}correct horse\r\n"), dir.write("plain", "correct horse\n"));
    let mut a = Node::named("A", &["--room-key-file", &format!("general={marked}")]);
    let mut b = Node::named("B", &["--room-key-file", &format!("general={plain}")]);
    let warned = a.await_event("warning", json!({ "code": "odd_key" }));
    let message = text(&warned, "message");
    assert!(
        message.contains(&marked) && message.contains("byte order mark") && !message.contains("horse"),
        "{message}"
    );
    a.link(&mut b);
    a.say("the mark is no part of it");
    b.hears("the mark is no part of it");
    assert!(b.saw("warning", json!({ "code": "odd_key" })).is_empty());
    key(&mut b, "correct horse ", "argon2id");
    let message = text(&b.await_event("warning", json!({ "code": "odd_key" })), "message");
    assert!(message.contains("blank") && !message.contains("horse"), "{message}");
    let id = b.say("the blank is");
    unread(&mut a, &json!(id), "wrong_key");
}

#[test]
fn a_message_for_a_room_of_nearly_the_same_name_is_told_of() {
    let mut node = Node::start(&["--listen", "caf\u{e9}"]);
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    bob.say_in("cafe", "another room");
    bob.say_in("General", "hello?");
    let warned = node.await_event("warning", json!({ "code": "similar_room" }));
    let message = text(&warned, "message");
    assert!(message.contains("`General`") && message.contains("`general`"), "{message}");
    bob.say_in("cafe\u{301}", "and another");
    bob.say("last");
    node.hears("last");
    assert_eq!(node.saw("warning", json!({ "code": "similar_room" })).len(), 1, "one a minute");
}
