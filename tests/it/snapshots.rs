//! Golden transcripts: what people type and nodes print, as it is, on real sockets.
//!
//! `--seed` makes ids and times the same in every run, and each step waits for its outcome before the next. So little
//! is left to blot out: ports and durations, by [`blotted`]. A transcript reads from top to bottom: `>` is a line to a
//! node, `<` one from it. Look at a changed one with `cargo insta review`, or accept it with `INSTA_UPDATE=always`.

use serde_json::{Value, json};

use crate::support::raw::{Secrets, hello, hello_level2};
use crate::support::{Node, RawListener, RawPeer};

/// What was said, and by whom.
#[derive(Default)]
struct Transcript(String);

impl Transcript {
    /// A headline.
    fn about(&mut self, what: &str) {
        self.0 += &format!("{}# {what}\n", if self.0.is_empty() { "" } else { "\n" });
    }

    /// Starts a node, whose first line is told.
    #[track_caller]
    fn start(&mut self, name: &str, args: &[&str]) -> Node {
        let mut node = Node::named(name, args);
        self.tell(name, &mut node);
        node
    }

    /// Types a line to a node and waits for the reply to it.
    #[track_caller]
    fn types(&mut self, node: &mut Node, line: &str) {
        let name = node.username();
        self.0 += &format!("{name} > {}\n", blotted(line));
        node.send_raw(format!("{line}\n").as_bytes());
        let number = node.lines_in();
        node.await_event("reply", json!({ "line": number }));
        self.tell(&name, node);
    }

    /// Waits for an event of a node.
    #[track_caller]
    fn awaits(&mut self, node: &mut Node, event: &str, fields: Value) {
        node.await_event(event, fields);
        self.tell(&node.username(), node);
    }

    /// Ends a node.
    #[track_caller]
    fn ends(&mut self, mut node: Node) {
        let name = node.username();
        node.close_stdin();
        node.await_event("bye", json!({}));
        self.tell(&name, &mut node);
        let code = node.finish().code;
        self.0 += &format!("{name} exits with {}\n", code.expect("a code"));
    }

    fn tell(&mut self, name: &str, node: &mut Node) {
        for line in node.new_lines() {
            self.0 += &format!("{name} < {}\n", blotted(&line));
        }
    }
}

/// A line with all that no seed can repeat blotted out: ports, durations, and what depends on their length; and sound
/// devices, which a build may lack.
fn blotted(line: &str) -> String {
    const NUMBERS: [&str; 7] =
        ["elapsed_ms", "after_ms", "rtt_ms", "connected_s", "uptime_s", "retry_in_ms", "wait_bytes"];
    // What a build has depends on its features.
    let mut line = blot_after(&line.replace(r#","audio"]"#, "]"), "127.0.0.1:", "PORT");
    for name in NUMBERS {
        line = blot_after(&line, &format!("\"{name}\":"), "0");
    }
    line
}

/// Puts `blot` in place of the number that stands behind each `mark`.
fn blot_after(line: &str, mark: &str, blot: &str) -> String {
    let mut parts = line.split(mark);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        out += mark;
        out += if rest.len() < part.len() { blot } else { "" };
        out += rest;
    }
    out
}

#[test]
fn only_numbers_behind_their_marks_are_blotted_out() {
    let line = r#"{"tcp":"127.0.0.1:5000","elapsed_ms":12.5,"rtt_ms":null,"seq":7}"#;
    assert_eq!(blotted(line), r#"{"tcp":"127.0.0.1:PORT","elapsed_ms":0,"rtt_ms":null,"seq":7}"#);
}

#[test]
fn a_tour_of_one_node() {
    let mut t = Transcript::default();
    let mut alice = t.start("Alice", &[]);
    t.about("Rooms");
    t.types(&mut alice, r#"{"cmd":"room"}"#);
    t.types(&mut alice, r#"{"cmd":"room","name":"lounge","id":1}"#);
    t.types(&mut alice, r#"{"cmd":"listen","rooms":["ops","alerts"],"id":"two"}"#);
    t.about("Messages");
    t.types(&mut alice, r#"{"cmd":"send","text":"first"}"#);
    t.types(&mut alice, r#"{"cmd":"send","text":"Grüße, \u0007\u202e 世界","room":"ops","meta":{"mood":"good"}}"#);
    t.types(&mut alice, r#"{"cmd":"send","text":"x","message":"0b7a3f52-6c1d-4e8f-a2b4-5d6e7f8091a2"}"#);
    t.types(&mut alice, r#"{"cmd":"send","text":"x","message":"0b7a3f52-6c1d-4e8f-a2b4-5d6e7f8091a2"}"#);
    t.types(&mut alice, r#"{"cmd":"nick","name":"Alicia"}"#);
    t.types(&mut alice, r#"{"cmd":"send","text":"renamed"}"#);
    t.about("What is kept");
    t.types(&mut alice, r#"{"cmd":"rooms"}"#);
    t.types(&mut alice, r#"{"cmd":"history","limit":2}"#);
    t.types(&mut alice, r#"{"cmd":"history","room":"ops","after_pos":0}"#);
    t.types(&mut alice, r#"{"cmd":"trace","message":"0b7a3f52-6c1d-4e8f-a2b4-5d6e7f8091a2"}"#);
    t.about("Keys");
    t.types(&mut alice, r#"{"cmd":"key","passphrase":"correct horse battery staple"}"#);
    t.types(&mut alice, r#"{"cmd":"send","text":"sealed","encrypted":true}"#);
    t.types(&mut alice, r#"{"cmd":"history","limit":1}"#);
    t.types(&mut alice, r#"{"cmd":"key","passphrase":null}"#);
    t.types(&mut alice, r#"{"cmd":"history","limit":1}"#);
    t.about("Waiting, and the node itself");
    t.types(&mut alice, r#"{"cmd":"wait","event":"ready"}"#);
    t.types(&mut alice, r#"{"cmd":"wait","any":[{"event":"message"},{"event":"peer_up"}],"timeout_ms":0}"#);
    t.types(&mut alice, r#"{"cmd":"events","show":["forwarded"],"hide":["renamed","speaking"]}"#);
    t.types(&mut alice, r#"{"cmd":"peers"}"#);
    t.types(&mut alice, r#"{"cmd":"status"}"#);
    t.types(&mut alice, r#"{"cmd":"help","of":"trace"}"#);
    t.about("Voice, with nobody there and no sound");
    t.types(&mut alice, r#"{"cmd":"voice_join"}"#);
    t.types(&mut alice, r#"{"cmd":"voice_mute"}"#);
    t.types(&mut alice, r#"{"cmd":"voice_peers"}"#);
    t.types(&mut alice, r#"{"cmd":"voice_leave"}"#);
    t.types(&mut alice, r#"{"cmd":"voice_join","room":"ops","mic":"tone:440"}"#);
    t.types(&mut alice, r#"{"cmd":"exit"}"#);
    t.ends(alice);
    insta::assert_snapshot!(t.0);
}

#[test]
fn every_mistake_is_told_and_forgiven() {
    let mut t = Transcript::default();
    let mut alice = t.start("Alice", &[]);
    for line in [
        "hello?",
        "[1,2]",
        r#"{"text":"hi"}"#,
        r#"{"cmd":"fly","id":1}"#,
        r#"{"cmd":"send","id":2}"#,
        r#"{"cmd":"send","text":7,"id":3}"#,
        r#"{"cmd":"send","text":"hi","txt":"hi","id":4}"#,
        r#"{"cmd":"send","text":"hi","room":"","id":5}"#,
        r#"{"cmd":"send","text":"hi","text":"ho"}"#,
        r#"{"cmd":"send","text":"hi","min_links":1,"timeout_ms":0,"id":6}"#,
        r#"{"cmd":"send","text":"hi","confirm":1,"timeout_ms":0,"id":7}"#,
        r#"{"cmd":"send","text":"hi","encrypted":true,"id":8}"#,
        r#"{"cmd":"connect","addr":"nowhere","id":9}"#,
        r#"{"cmd":"disconnect","addr":"127.0.0.1:1","id":10}"#,
        r#"{"cmd":"trace","message":"nothing","id":11}"#,
        r#"{"cmd":"wait","event":"forwarded","id":12}"#,
        r#"{"cmd":"wait","event":"message","after":"never","id":13}"#,
        r#"{"cmd":"events","hide":["bye"],"id":14}"#,
        r#"{"cmd":"help","of":"\u001b[31mfly","id":15}"#,
        r#"{"cmd":"voice_leave","id":16}"#,
        r#"{"cmd":"voice_join","mic":"tone:high","id":17}"#,
        r#"{"cmd":"voice_join","speaker":"/dev/null/x.wav","id":18}"#,
        r#"{"cmd":"voice_gain","peer":"nobody","db":3,"id":19}"#,
        r#"{"cmd":"voice_gain","peer":"nobody","db":90,"id":20}"#,
        r#"{"cmd":"voice_join","id":21}"#,
        r#"{"cmd":"voice_join","id":22}"#,
    ] {
        t.types(&mut alice, line);
    }
    t.ends(alice);
    insta::assert_snapshot!(t.0);
}

#[test]
fn a_chain_of_three() {
    let mut t = Transcript::default();
    t.about("Alice - Bob - Carol: Alice and Carol never meet");
    let mut alice = t.start("Alice", &[]);
    let mut bob = t.start("Bob", &["--events", "forwarded,dropped"]);
    let mut carol = t.start("Carol", &["--listen", "*"]);
    let bobs_addr = bob.addr();
    for other in [&mut alice, &mut carol] {
        t.types(other, &format!(r#"{{"cmd":"connect","addr":"{bobs_addr}"}}"#));
        t.awaits(&mut bob, "peer_up", json!({ "peer": other.id() }));
    }
    t.about("A message goes from one end to the other");
    t.types(&mut alice, r#"{"cmd":"send","text":"Is anybody there?","confirm":1}"#);
    t.awaits(&mut bob, "message", json!({}));
    t.awaits(&mut carol, "message", json!({}));
    t.about("And an answer back, in a room that Bob does not show");
    t.types(&mut carol, r#"{"cmd":"send","text":"Over here","room":"ops","meta":{"reply":true},"confirm":1}"#);
    // Alice does not show the room yet. What she does show, sent behind it, tells that it has come.
    t.types(&mut carol, r#"{"cmd":"send","text":"Look into ops","confirm":1}"#);
    t.awaits(&mut alice, "message", json!({ "text": "Look into ops" }));
    t.types(&mut alice, r#"{"cmd":"room","name":"ops"}"#);
    t.types(&mut carol, r#"{"cmd":"send","text":"Now?","room":"ops","confirm":1}"#);
    t.awaits(&mut alice, "message", json!({ "text": "Now?" }));
    t.types(&mut alice, r#"{"cmd":"history"}"#);
    t.about("Where it has been");
    let now = alice.saw("message", json!({ "text": "Now?" }));
    let trace = format!(r#"{{"cmd":"trace","message":{}}}"#, now[0]["id"]);
    for node in [&mut carol, &mut bob, &mut alice] {
        t.types(node, &trace);
    }
    t.about("Sealed: Bob carries what he cannot read");
    for node in [&mut alice, &mut carol] {
        t.types(node, r#"{"cmd":"key","passphrase":"correct horse","room":"ops"}"#);
    }
    t.types(&mut bob, r#"{"cmd":"listen","rooms":["ops"]}"#);
    t.types(&mut alice, r#"{"cmd":"send","text":"between us","meta":{"secret":1},"confirm":1}"#);
    t.awaits(&mut bob, "message", json!({ "text": null }));
    t.awaits(&mut carol, "message", json!({ "text": "between us" }));
    t.about("A new name");
    t.types(&mut carol, r#"{"cmd":"nick","name":"Caroline"}"#);
    t.awaits(&mut bob, "renamed", json!({}));
    t.about("Who leaves is missed");
    t.ends(carol);
    t.awaits(&mut bob, "peer_down", json!({}));
    t.types(&mut bob, r#"{"cmd":"peers"}"#);
    t.types(&mut bob, r#"{"cmd":"status"}"#);
    t.ends(bob);
    t.awaits(&mut alice, "peer_down", json!({}));
    t.ends(alice);
    insta::assert_snapshot!(t.0);
}

#[test]
fn a_stranger_of_level_1_in_the_middle() {
    let mut t = Transcript::default();
    t.about("Alice - a node of the original");
    let mut alice = t.start("Alice", &["--events", "forwarded,dropped"]);
    let mut bob = RawPeer::dial(&alice.addr(), "10.0.0.1:5000", "Bob");
    t.awaits(&mut alice, "peer_up", json!({}));
    let mut carol = RawPeer::dial(&alice.addr(), "10.0.0.2:5000", "Carol");
    t.awaits(&mut alice, "peer_up", json!({}));
    let message = json!({ "id": "b0b00000-0000-4000-8000-000000000001", "type": "chat", "from": "10.0.0.1:5000",
        "username": "Bob", "room": "general", "msg": "hello", "ttl": 5, "ts": "2026-11-22T20:09:38" });
    bob.send(&message);
    t.awaits(&mut alice, "message", json!({}));
    let copy = carol.hears("hello");
    carol.send(&copy);
    t.awaits(&mut alice, "dropped", json!({}));
    bob.send(&json!({ "id": "b0b00000-0000-4000-8000-000000000002", "type": "room_delete", "room": "general" }));
    bob.send(
        &json!({ "id": "b0b00000-0000-4000-8000-000000000003", "type": "reaction", "of": message["id"], "ttl": 2 }),
    );
    t.awaits(&mut alice, "forwarded", json!({ "id": "b0b00000-0000-4000-8000-000000000003" }));
    t.types(&mut alice, r#"{"cmd":"trace","message":"b0b00000-0000-4000-8000-000000000001"}"#);
    carol.await_frame(&json!({ "type": "reaction" }));
    drop(bob);
    t.awaits(&mut alice, "peer_down", json!({ "username": "Bob" }));
    t.types(&mut alice, r#"{"cmd":"peers"}"#);
    drop(carol);
    t.awaits(&mut alice, "peer_down", json!({}));
    t.ends(alice);
    insta::assert_snapshot!(t.0);
}

#[test]
fn what_crosses_the_wire() {
    let mut t = String::new();
    let mut tell = |who: &str, bytes: Option<Vec<u8>>| {
        let frame = bytes.map_or("closes".into(), |bytes| String::from_utf8(bytes).expect("UTF-8"));
        t += &format!("{who} {}\n", blotted(&frame));
    };
    let mut alice = Node::named("Alice", &[]);
    let listener = RawListener::new();
    let connect = alice.begin(json!({ "cmd": "connect", "addr": listener.addr() }));
    let mut bob = listener.accept_level1();
    tell("to Bob, who was dialled:", bob.read_bytes());
    bob.send(&hello("10.0.0.1:5000", "Bob"));
    assert_eq!(alice.await_reply(&connect)["ok"], true);
    let secrets = Secrets::with([3; 32]);
    let mut carol = RawPeer::connect(&alice.addr()).encrypt(&secrets);
    carol.send(&hello_level2(&secrets.id, "Carol"));
    tell("to Carol, of level 2, who dialled:", carol.read_bytes());
    alice.await_event("peer_up", json!({ "username": "Carol" }));
    tell("to Carol, at once:", carol.read_bytes());
    alice.ok(json!({ "cmd": "send", "text": "Grüße, \"世界\"\n", "meta": { "a": 1 } }));
    tell("to Bob:", bob.read_bytes());
    tell("to Carol:", carol.read_bytes());
    bob.send_text(
        r#"{"id":"b0b00000-0000-4000-8000-000000000001", "type":"chat","from":"10.0.0.1:5000","username":"Bob","room":"general","msg":"\u00fc","ttl":5,"ts":"2026-11-22T20:09:38","unknown":[1.0, "\ud83d\ude00"]}"#,
    );
    tell("to Carol, by Bob:", carol.read_bytes());
    bob.send_text(r#"{"type":"voice_mute_status","id":"b0b00000-0000-4000-8000-000000000002","from":"10.0.0.1:5000","username":"Bob","room":"general","muted":true,"ts":"2026-11-22T20:09:38"}"#);
    tell("to Carol, by Bob:", carol.read_bytes());
    alice.ok(json!({ "cmd": "nick", "name": "Alicia" }));
    tell("to Carol:", carol.read_bytes());
    carol.send(&json!({ "id": "ca401000-0000-4000-8000-000000000002", "type": "ping", "nonce": 7 }));
    tell("to Carol, who pings:", carol.read_bytes());
    carol.send(&json!({ "id": "ca401000-0000-4000-8000-000000000003", "type": "confirm",
        "message": "b0b00000-0000-4000-8000-000000000001" }));
    tell("to Carol, who asks:", carol.read_bytes());
    alice.close_stdin();
    tell("to Bob:", bob.read_bytes());
    tell("to Carol:", carol.read_bytes());
    alice.finish().exited(0);
    insta::assert_snapshot!(t);
}
