//! Honest relays: whatever a stranger has one pass on, no neighbour blames it, and none loses its link with it.

use serde_json::{Value, json};

use crate::support::raw::{chat, chat_with};
use crate::support::{Node, RawPeer, fresh_id, number};

const MIB: usize = 1 << 20;
const KIB: usize = 1 << 10;

/// A relay between a stranger and a neighbour that counts what it blames others for.
struct Relayed {
    relay: Node,
    neighbour: Node,
    stranger: RawPeer,
    said: u32,
}

impl Relayed {
    fn new(level: u8) -> Self {
        let (mut relay, mut neighbour) = (Node::named("Relay", &[]), Node::named("Neighbour", &[]));
        relay.link(&mut neighbour);
        let stranger = match level {
            1 => RawPeer::dial(&relay.addr(), "10.6.6.6:5000", "Mallory"),
            _ => RawPeer::dial_level2(&relay.addr(), "Mallory"),
        };
        Self { relay, neighbour, stranger, said: 0 }
    }

    /// The stranger says that; all goes on as before.
    #[track_caller]
    fn says(&mut self, what: &str, frame: impl AsRef<[u8]>) {
        self.stranger.send_text(frame);
        self.said += 1;
        let word = format!("still there {}", self.said);
        self.stranger.say(&word);
        self.neighbour.hears(&word);
        for one in [&self.relay, &self.neighbour] {
            assert!(one.saw("peer_down", json!({})).is_empty(), "after {what}");
        }
    }

    /// The relay may have blamed the stranger, and nobody has blamed the relay.
    #[track_caller]
    fn blames_nobody(mut self) {
        let counters = self.neighbour.ok(json!({ "cmd": "status" }))["counters"].clone();
        assert_eq!((number(&counters, "strikes"), number(&counters, "bans")), (0, 0), "{counters}");
        // The links end as they should.
        drop(self.stranger);
        self.relay.finish().exited(0);
        self.neighbour.finish().exited(0);
    }
}

/// A message as a frame of exactly that many bytes, by a field that nobody knows.
fn filled(message: &Value, bytes: usize) -> String {
    let mut message = message.clone();
    message["pad"] = json!("");
    let rest = bytes - message.to_string().len();
    message["pad"] = json!("x".repeat(rest));
    message.to_string()
}

/// Messages to which a relay adds something, and one to which it does not.
fn growing() -> [(&'static str, Value); 5] {
    let from = "10.7.7.7:5000";
    let mute = json!({ "type": "voice_mute_status", "from": from, "username": "M", "room": "general", "muted": true });
    [
        ("a chat without `ttl0`", chat(from, "general", "large")),
        ("a chat with a shorter `ttl0`", chat_with(from, "large", &json!({ "ttl": 32, "ttl0": 1 }))),
        ("a chat with its `ttl0`", chat_with(from, "large", &json!({ "ttl": 32, "ttl0": 32 }))),
        ("a mute without `ttl`", mute),
        ("a type that nobody knows", json!({ "type": "wave", "from": from, "ttl": 9 })),
    ]
}

#[test]
fn what_a_relay_adds_to_a_frame_fits_or_the_frame_stays_behind() {
    for level in [1, 2] {
        let mut it = Relayed::new(level);
        for (what, message) in growing() {
            for bytes in [MIB - 64, MIB - 20, MIB - 19, MIB - 18, MIB - 10, MIB - 9, MIB - 1, MIB, MIB + 1, MIB + 64] {
                let mut message = message.clone();
                message["id"] = json!(fresh_id());
                it.says(&format!("{what} of {bytes} bytes"), filled(&message, bytes));
            }
        }
        let heard = it.neighbour.heard().iter().filter(|text| **text == "large").count();
        assert!(heard >= 3, "those that fit are passed on: {heard}");
        it.blames_nobody();
    }
}

#[test]
fn a_signed_frame_at_the_limit_is_passed_on() {
    let mut it = Relayed::new(2);
    for bytes in [MIB - 1, MIB, MIB + 1] {
        let plain = chat_with("", "signed and large", &json!({ "ttl": 32, "pad": "" }));
        let rest = bytes - it.stranger.sign(&plain).to_string().len();
        let mut message = plain;
        message["pad"] = json!("x".repeat(rest));
        let signed = it.stranger.sign(&message).to_string();
        assert_eq!(signed.len(), bytes);
        it.says(&format!("a signed chat of {bytes} bytes"), signed);
    }
    assert_eq!(it.neighbour.saw("message", json!({ "text": "signed and large" })).len(), 2);
    it.blames_nobody();
}

/// Frames with one value at, below or above each limit, and values of other types where they are no fault by themselves.
fn at_limits() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let mut add = |what: String, changes: Value| {
        all.push((what, chat_with("10.7.7.7:5000", "at a limit", &changes)));
    };
    for bytes in [1, 63, 64, 65] {
        for field in ["id", "from", "username", "room", "ts", "type"] {
            add(format!("{field} of {bytes} bytes"), json!({ field: "é".repeat(bytes / 2) + &"n".repeat(bytes % 2) }));
        }
    }
    for bytes in [64 * KIB - 1, 64 * KIB, 64 * KIB + 1] {
        add(format!("a text of {bytes} bytes"), json!({ "msg": "t".repeat(bytes) }));
        add(format!("a text of {bytes} escaped bytes"), json!({ "msg": "\u{1}".repeat(bytes) }));
        for field in ["encrypted_msg", "encrypted_meta", "sealed_msg", "sealed_meta"] {
            let sealed = bytes.div_ceil(3) * 4;
            add(format!("{field} of {sealed} bytes"), json!({ field: "A".repeat(sealed), "msg": "[encrypted]" }));
        }
    }
    for bytes in [KIB - 1, KIB, KIB + 1] {
        add(format!("a meta of {bytes} bytes"), json!({ "meta": { "m": "m".repeat(bytes - 8) } }));
    }
    for depth in [13, 14, 15, 16, 17, 200] {
        let nested = (0..depth).fold(json!(1), |inner, _| json!([inner]));
        add(format!("{depth} arrays"), json!({ "x": nested }));
    }
    for ttl in [json!(0), json!(1), json!(2), json!(31), json!(32), json!(33), json!(255), json!(256), json!(u64::MAX)]
    {
        add(format!("a ttl of {ttl}"), json!({ "ttl": ttl, "ttl0": 32 }));
        add(format!("a ttl0 of {ttl}"), json!({ "ttl": 32, "ttl0": ttl }));
        add(format!("both {ttl}"), json!({ "ttl": ttl, "ttl0": ttl }));
    }
    for odd in [json!(-1), json!(5.0), json!("5"), json!([5]), json!({ "a": 5 }), json!(true)] {
        add(format!("a ttl of {odd}"), json!({ "ttl": odd }));
        add(format!("a ttl0 of {odd}"), json!({ "ttl0": odd }));
        add(format!("a voice that is {odd}"), json!({ "type": "voice_join", "voice": odd }));
        add(format!("a sig that is {odd}"), json!({ "sig": odd }));
    }
    for kind in ["hello", "ping", "pong", "confirm", "confirmed", "nick", "peer_list", "voice_force_mute", "hello "] {
        add(format!("a {kind} with a ttl"), json!({ "type": kind, "nonce": 7, "message": "m", "username": "Renamed" }));
        add(format!("a {kind} with a null for a ttl"), json!({ "type": kind, "ttl": "null", "nonce": "no" }));
    }
    for bytes in [4 * KIB - 11, 4 * KIB - 10, 4 * KIB - 1, 4 * KIB, 4 * KIB + 1] {
        let join =
            chat_with("10.7.7.7:5000", "", &json!({ "type": "voice_join", "udp_host": "10.7.7.7", "udp_port": 9 }));
        let join: Value = serde_json::from_str(&filled(&join, bytes)).unwrap();
        all.push((format!("a join of {bytes} bytes"), join));
    }
    all
}

#[test]
fn every_limit_can_be_reached_and_passed_through_a_relay() {
    for level in [1, 2] {
        let mut it = Relayed::new(level);
        for (what, message) in at_limits() {
            it.says(&what, message.to_string());
        }
        for digits in [63, 64, 65, 400] {
            let message = chat("10.7.7.7:5000", "general", "long numbers").to_string();
            let number = "7".repeat(digits);
            it.says(&format!("{digits} digits"), message.replace('{', &format!("{{\"x\":{number},")));
            it.says(&format!("{digits} digits for a ttl"), message.replace("\"ttl\":5", &format!("\"ttl\":{number}")));
        }
        assert!(it.neighbour.saw("renamed", json!({})).is_empty() && it.relay.saw("renamed", json!({})).is_empty());
        it.blames_nobody();
    }
}

/// An original passes on whatever Python takes for an object with an `id` and a `ttl`.
#[test]
fn an_original_is_not_blamed_for_what_it_passes_on() {
    let mut node = Node::start(&[]);
    let mut original = RawPeer::dial(&node.addr(), "127.0.0.1:5001", "Original");
    for round in 0..4 {
        for (what, body) in [
            ("no author", r#"{"type":"chat","id":"ID","ttl":4,"msg":"m","username":"M","room":"general"}"#),
            (
                "a text that is a number",
                r#"{"type":"chat","id":"ID","from":"x","ttl":4,"msg":7,"username":"M","room":"r"}"#,
            ),
            ("an id that is no text", r#"{"type":"chat","id":["ID"],"ttl":4}"#),
            ("no type", r#"{"id":"ID","ttl":4}"#),
            ("half a character", r#"{"type":"chat","id":"ID\ud800","ttl":4}"#),
            ("no number", r#"{"type":"wave","id":"ID","ttl":4,"x":NaN,"y":-Infinity}"#),
            ("a field twice", r#"{"type":"wave","id":"ID","id":"ID","ttl":4}"#),
        ] {
            original.send_text(body.replace("ID", &fresh_id()));
            original.say(&format!("{what} {round}"));
            node.hears(&format!("{what} {round}"));
        }
    }
    // What 10 MiB of text grow to when each character is written as Python does.
    original.send_text(vec![b'x'; 30 * MIB]);
    original.say("after all of it");
    node.hears("after all of it");
    let counters = node.ok(json!({ "cmd": "status" }))["counters"].clone();
    assert_eq!((number(&counters, "strikes"), number(&counters["dropped"], "malformed")), (0, 28), "{counters}");
    assert!(node.saw("peer_down", json!({})).is_empty());
}
