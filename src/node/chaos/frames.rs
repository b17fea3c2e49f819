//! Frames that peers send over links: messages that make sense, some of them changed.

use serde_json::{Value, json};

use super::Chaos;
use crate::sim::author;
use crate::wire::identity::belongs_to_a_key;
use crate::wire::room_key::{Bound, NONCE, Purpose, RoomKey, Scheme};
use crate::wire::signed::SeqNo;

impl Chaos<'_> {
    /// A frame: most of the time one that makes sense, with some fields changed.
    pub(super) fn frame(&mut self) -> Vec<u8> {
        let peer = self.peer_id();
        let id = format!("m{}", self.below(200));
        let which = self.below(20);
        let mut message = self.known(which, &id, &peer);
        let needs_it = message["voice"].is_object() || message["from"].as_str().is_some_and(belongs_to_a_key);
        if message["sig"].is_null() && (needs_it || self.below(8) == 0) {
            message = self.perhaps_signed(message);
        }
        // Three that are signed and changed get their address banned: then nothing comes of it any more.
        let once_in = if message["sig"].is_null() { 4 } else { 60 };
        self.change(&mut message, once_in);
        let mut body = message.to_string().into_bytes();
        match self.below(20) {
            0 => body.truncate(self.below(30)),
            1 => {
                let at = self.below(body.len());
                body[at] = self.choices.byte();
            }
            _ => {}
        }
        let mut frame = self.frame_of(&body);
        if self.below(60) == 0 {
            let length = self.choices.number() as u32;
            frame.splice(..4, length.to_be_bytes());
        }
        frame
    }

    pub(super) fn known(&mut self, which: usize, id: &str, peer: &str) -> Value {
        let ours = || json!({ "version": 1, "caps": ["ping", "confirm", "nick"] });
        match which {
            0 => json!({ "type": "hello", "id": id, "from": peer, "username": "p" }),
            1 => json!({ "type": "hello", "id": id, "from": peer, "username": "p", "p2p_chat": ours() }),
            2 => json!({ "type": "hello", "id": id, "from": self.node.id(), "username": "me" }),
            3 | 4 => {
                json!({ "type": "chat", "id": id, "from": peer, "username": "p", "room": "general", "msg": "x", "ttl": 5, "ts": "t" })
            }
            5 => {
                let (name, sealed) = [("encrypted_msg", self.sealed(Scheme::Original)), ("sealed_msg", "AAAA".into())]
                    [self.below(2)]
                .clone();
                json!({ "type": "chat", "id": id, "from": peer, "username": "q", "room": format!("r{peer}"), "msg": "[encrypted]",
                    name: sealed, "ttl": 3, "ttl0": 9, "ts": 7, "meta": { "a": 1 } })
            }
            6 => json!({ "type": "voice_mute_status", "id": id, "from": peer, "room": "general", "muted": true }),
            7 => json!({ "type": "voice_leave", "id": id, "from": peer, "username": "p", "room": "general", "ttl": 5 }),
            8 if self.below(2) > 0 => self.signed_signal(),
            8 => self.voice_signal("voice_join", id, peer),
            9 => self.signed_signal(),
            10 => self.voice_signal("voice_join", id, &format!("far{id}")),
            11 if self.below(4) > 0 => self.signed_signal(),
            11 => self.voice_signal("voice_leave", id, peer),
            12 => self.voice_signal("voice_mute_status", id, peer),
            13 => json!({ "type": "peer_list", "id": id, "from": peer, "peers": [] }),
            14 => {
                json!({ "type": "image", "id": id, "from": peer, "room": "general", "ttl": 4, "image_data": "x".repeat(9000) })
            }
            15 => json!({ "type": "ping", "id": id, "nonce": 7 }),
            16 => json!({ "type": "pong", "id": id, "nonce": 7 }),
            17 => json!({ "type": "confirm", "id": id, "message": "m1" }),
            18 => json!({ "type": "confirmed", "id": id, "message": "m1", "taken": true }),
            _ => json!({ "type": "nick", "id": id, "username": "other" }),
        }
    }

    /// The same message, or what its author has signed: with a place that is new, or not.
    fn perhaps_signed(&mut self, message: Value) -> Value {
        let seq = SeqNo { epoch: self.below(6) as u64, n: self.below(1 << 16) as u64 };
        match self.below(16) {
            0 => message,
            n => {
                let signed = author::sign(&author::author(&format!("peer{n}")), seq, &message);
                self.note_place(signed.to_string().as_bytes());
                signed
            }
        }
    }

    /// A text, sealed with the key that every room has here.
    fn sealed(&mut self, scheme: Scheme) -> String {
        let bound = Bound { purpose: Purpose::Text, author: "a", room: "r", seq: SeqNo::default() };
        RoomKey::derive_at_once(scheme, "k", "r").seal(b"text", &bound, [1; NONCE])
    }

    fn voice_signal(&mut self, kind: &str, id: &str, from: &str) -> Value {
        let hosts =
            ["10.0.0.1", "10.0.0.9", "127.0.0.1", "::1", "fe80::1", "::ffff:10.0.0.2", "0.0.0.0", "224.0.0.1", "x"];
        let from = if self.below(10) == 0 { self.node.id().to_owned() } else { from.to_owned() };
        let mut signal = json!({ "type": kind, "id": id, "from": from, "username": "p",
            "room": self.pick(&["general", "general", "lounge"]), "udp_host": self.pick(&hosts),
            "udp_port": self.pick(&[0, 7, 6000, 65_535, 65_536]), "muted": self.below(2) == 0, "ttl": 1 + self.below(32),
            "ttl0": 32, "ts": "t" });
        if self.below(3) == 0 {
            signal["voice"] = json!({ "session": "0000000000000007", "codecs": ["opus"], "muted": self.below(2) == 0 });
        }
        signal
    }

    /// A signal of a member of level 2, which it has signed.
    fn signed_signal(&mut self) -> Value {
        let addr = self.address();
        let (which, kind, key) = (self.below(self.members.len()), self.below(12), self.below(3) as u8);
        let Some(member) = self.members.get_mut(which) else { return Value::Null };
        member.addr = addr;
        if kind == 5 {
            member.begin_anew(key);
        }
        member.signal(["voice_leave", "voice_mute_status"].get(kind).copied().unwrap_or("voice_join"))
    }

    /// Once in so many times, one field is given a value that it may not expect.
    pub(super) fn change(&mut self, message: &mut Value, once_in: usize) {
        if self.below(once_in) != 0 {
            return;
        }
        let keys: Vec<String> = message.as_object().map(|it| it.keys().cloned().collect()).unwrap_or_default();
        if let Some(key) = self.pick(&keys) {
            message[key] = self.odd();
        }
    }

    fn odd(&mut self) -> Value {
        match self.below(19) {
            0 => json!(null),
            1 => json!(true),
            2 => json!(-1),
            3 => json!(0),
            4 => json!(1),
            5 => json!(5),
            6 => json!(31),
            7 => json!(40),
            8 => json!(1.5),
            9 => json!(u64::MAX),
            10 => json!(""),
            11 => json!("general"),
            12 => json!("peer1"),
            13 => json!("x".repeat(64)),
            14 => json!("x".repeat(65)),
            15 => json!("\u{202e}\u{1b}[31m"),
            16 => json!([]),
            17 => json!({}),
            _ => json!({ "a": [1, { "b": null }] }),
        }
    }
}
