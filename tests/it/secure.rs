//! Encrypted links: who is let in, who is not, what somebody in the middle sees and can do.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use p2p_chat::wire::noise::{MAGIC, VERSION};
use serde_json::json;

use crate::support::middle::Middle;
use crate::support::raw::{Secrets, framed, hello, hello_level2};
use crate::support::{Node, Original, PATIENCE, RawListener, RawPeer, TempDir, has_fields, list, text};

const BOB: &str = "127.0.0.1:5001";

fn opening() -> Vec<u8> {
    [&MAGIC[..], &[VERSION]].concat()
}

/// Everything that a peer is sent until the node closes the link.
fn all_of(peer: &mut RawPeer) -> Vec<u8> {
    let mut all = Vec::new();
    peer.stream().set_read_timeout(Some(PATIENCE)).expect("a socket");
    // A reset ends it as well as a close; silence for ever is cut short, too.
    let _ = peer.stream().read_to_end(&mut all);
    all
}

#[test]
fn between_two_nodes_nothing_can_be_read() {
    let (mut alice, mut bob) = (Node::named("Alice", &[]), Node::named("Bob", &[]));
    let middle = Middle::before(&bob.addr(), |_, _| {});
    assert_eq!(alice.connect(middle.addr()), bob.id());
    alice.await_event("peer_up", json!({ "peer": bob.id(), "level": 2, "secure": true, "direction": "out" }));
    bob.await_event("peer_up", json!({ "peer": alice.id(), "level": 2, "secure": true, "direction": "in" }));
    assert_eq!(list(&alice.ok(json!({ "cmd": "peers" })), "peers")[0]["secure"], true);
    alice.say("a word in your ear");
    bob.hears("a word in your ear");
    bob.say("and one in yours");
    alice.hears("and one in yours");
    for stream in middle.seen() {
        assert_eq!(stream[..5], opening());
        // No shorter ones: what is encrypted has any three letters in it now and then.
        for secret in ["in your ear", "in yours", "hello", "Alice", "\"Bob\"", "general", &alice.id(), &bob.id()] {
            assert!(!stream.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
        }
    }
}

#[test]
fn an_original_is_reached_within_one_connect() {
    let mut node = Node::start(&[]);
    for original in [Original::mesh("Bob"), Original::star("Carol")] {
        assert_eq!(node.connect(original.addr()), original.addr());
        node.await_event("peer_up", json!({ "peer": original.addr(), "level": 1, "secure": false }));
        node.say("hello there");
        original.hears("hello there");
        assert!(node.saw("connect_failed", json!({})).is_empty());
    }
}

#[test]
fn with_secure_level_1_is_refused_both_ways() {
    let mut node = Node::start(&["--secure", "--log", "info"]);
    let original = Original::mesh("Bob");
    assert_eq!(node.fails(json!({ "cmd": "connect", "addr": original.addr() })), "level1_refused");
    let mut bob = RawPeer::connect(&node.addr());
    bob.send(&hello(BOB, "Bob"));
    assert_eq!(all_of(&mut bob), [] as [u8; 0]);
    let mut other = Node::start(&["--username", "Carol"]);
    node.link(&mut other);
    node.await_event("peer_up", json!({ "peer": other.id(), "secure": true }));
    assert_eq!(node.saw("peer_up", json!({ "level": 1 })), [] as [serde_json::Value; 0]);
    // From the command line, it is tried again and again, and each time told why not.
    let mut dialler = Node::start(&["--secure", "--connect", original.addr()]);
    let failed = dialler.await_event("connect_failed", json!({ "code": "level1_refused" }));
    assert!(failed["retry_in_ms"].is_u64(), "{failed}");
}

#[test]
fn what_is_no_plain_close_does_not_lead_to_level_1() {
    let mut node = Node::start(&[]);
    let listener = RawListener::new();
    let garbage = [&opening()[..], &[7; 192]].concat();
    let mut hello_first = framed(hello(BOB, "Bob").to_string().as_bytes());
    hello_first.truncate(300);
    for answer in [&garbage[..], &garbage[..5], &garbage[..100], &[0], &hello_first, b"HTTP/1.1 400\r\n\r\n"] {
        let id = node.begin(json!({ "cmd": "connect", "addr": listener.addr(), "async": true }));
        let mut peer = listener.accept_silent();
        let mut first = [0; 37];
        peer.stream().read_exact(&mut first).expect("the node opens level 2");
        assert_eq!(first[..5], opening());
        peer.send_bytes(answer);
        peer.end();
        assert_eq!(node.await_reply(&id)["error"]["code"], "connect_failed", "{answer:?}");
        assert!(!listener.has_waiting(0), "it is not dialled again: {answer:?}");
    }
}

#[test]
fn another_version_is_told_apart() {
    let listener = RawListener::new();
    let mut node = Node::start(&["--connect", &listener.addr()]);
    let mut peer = listener.accept_silent();
    peer.send_bytes(&[&MAGIC[..], &[VERSION + 1]].concat());
    node.await_event("connect_failed", json!({ "code": "version" }));
    let mut peer = RawPeer::connect(&node.addr());
    peer.send_bytes(&[&MAGIC[..], &[VERSION + 1]].concat());
    assert_eq!(all_of(&mut peer), opening(), "it can tell, too");
}

#[test]
fn only_holders_of_its_key_get_into_a_private_network() {
    let dir = TempDir::new();
    let (right, wrong) = (dir.write("right", "open sesame\nnot this\n"), dir.write("wrong", "open barley\n"));
    let mut alice = Node::named("Alice", &["--network-key-file", &right]);
    let mut bob = Node::named("Bob", &["--network-key-file", &right]);
    alice.link(&mut bob);
    alice.await_event("peer_up", json!({ "peer": bob.id(), "secure": true }));
    alice.say("among us");
    bob.hears("among us");
    let mut env = Node::shell("P2P_CHAT_NETWORK_KEY='open sesame' exec \"$@\"", &["--username", "Carol"]);
    env.link(&mut alice);
    let mut stranger = Node::named("Dave", &["--network-key-file", &wrong]);
    let mut nobody = Node::named("Erin", &[]);
    for node in [&mut stranger, &mut nobody] {
        assert_eq!(node.fails(json!({ "cmd": "connect", "addr": alice.addr() })), "connect_failed");
        assert_eq!(alice.fails(json!({ "cmd": "connect", "addr": node.addr() })), "connect_failed");
        assert!(node.saw("peer_up", json!({})).is_empty());
    }
    let original = Original::mesh("Bob");
    assert_eq!(alice.fails(json!({ "cmd": "connect", "addr": original.addr() })), "connect_failed");
    assert_eq!(alice.saw("peer_up", json!({})).len(), 2);
}

#[test]
fn a_stranger_to_a_private_network_is_sent_no_byte() {
    let dir = TempDir::new();
    let key = dir.write("key", "open sesame");
    let mut node = Node::named("Alice", &["--network-key-file", &key]);
    let real = RawPeer::connect(&node.addr());
    drop(real);
    let plain_hello = framed(hello(BOB, "Bob").to_string().as_bytes());
    let mut with_a_key = opening();
    with_a_key.extend([7; 48]);
    let inputs = [
        &b""[..],
        b"\0",
        &plain_hello,
        b"\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        &opening(),
        &with_a_key[..37],
        &with_a_key,
        &[&MAGIC[..], &[VERSION + 1]].concat(),
        b"\x96p2q",
        &[0x96; 3000],
    ];
    let mut strangers: Vec<RawPeer> = inputs
        .iter()
        .map(|input| {
            let mut peer = RawPeer::connect(&node.addr());
            peer.send_bytes(input);
            peer
        })
        .collect();
    for (peer, input) in strangers.iter_mut().zip(inputs) {
        assert_eq!(all_of(peer), [] as [u8; 0], "to {input:?}");
    }
    assert_eq!(node.ok(json!({ "cmd": "status" }))["links"], 0);
    assert!(node.saw("peer_up", json!({})).is_empty());
}

#[test]
fn a_network_key_that_cannot_be_read_is_fatal() {
    let dir = TempDir::new();
    let empty = dir.write("empty", "\nkey\n");
    for file in [&empty, &dir.path("missing")] {
        let output = Node::launch(&["--port", "0", "--network-key-file", file]).await_end().exited(3);
        assert_eq!(output.lines[0]["event"], "fatal");
        assert_eq!(output.lines[0]["code"], "cannot_read");
    }
}

#[test]
fn a_dial_with_an_id_accepts_nobody_else() {
    let (mut alice, bob, mut carol) = (Node::named("Alice", &[]), Node::named("Bob", &[]), Node::named("Carol", &[]));
    let at = |id: &str, node: &Node| format!("{id}@{}", node.addr());
    let connect = |addr: String| json!({ "cmd": "connect", "addr": addr });
    assert_eq!(alice.fails(connect(at(&carol.id(), &bob))), "wrong_peer");
    assert!(bob.saw("peer_up", json!({})).is_empty());
    let linked = alice.ok(connect(at(&bob.id().to_uppercase(), &bob)));
    assert_eq!(linked, json!({ "peer": bob.id(), "addr": bob.addr() }));
    assert_eq!(alice.fails(connect(at(&carol.id(), &bob))), "wrong_peer", "linked, it is still another");
    assert_eq!(alice.ok(connect(at(&bob.id(), &bob)))["peer"], bob.id());
    for bad in ["@127.0.0.1:5000", "x@127.0.0.1:5000", "6f1c2b9e-7a54-4a4e-8f0a-1f4f5d1c2b3a@127.0.0.1:5000"] {
        assert_eq!(alice.fails(connect(bad.to_owned())), "bad_value");
        assert_eq!(Node::launch(&["--port", "0", "--connect", bad]).await_end().code, Some(2));
    }
    assert_eq!(alice.ok(json!({ "cmd": "disconnect", "addr": at(&bob.id(), &bob) })), json!({ "closed": 1 }));
    // An original can't prove an id.
    let original = Original::mesh("Dave");
    assert_eq!(alice.fails(connect(format!("{}@{}", bob.id(), original.addr()))), "level1_refused");
    let mut dialler = Node::start(&["--connect", &at(&bob.id(), &carol)]);
    dialler.await_event("connect_failed", json!({ "addr": carol.addr(), "code": "wrong_peer" }));
    let mut dialler = Node::start(&["--connect", &at(&carol.id(), &carol)]);
    dialler.await_event("peer_up", json!({ "peer": carol.id(), "secure": true }));
    carol.await_event("peer_up", json!({ "peer": dialler.id() }));
}

#[test]
fn who_is_in_the_middle_can_stand_in_for_nobody() {
    // It has a key of its own, answers as itself, and passes on what it opens: the id at its address is then its own.
    let mut alice = Node::named("Alice", &[]);
    let bob = Node::named("Bob", &[]);
    let (listener, mallory) = (RawListener::new(), Secrets::new());
    let pinned = json!({ "cmd": "connect", "addr": format!("{}@{}", bob.id(), listener.addr()) });
    let connect = alice.begin(pinned);
    let mut peer = listener.accept_silent();
    assert_eq!(peer.answer_once(&mallory), None, "it does not learn who dials");
    assert_eq!(alice.await_reply(&connect)["error"]["code"], "wrong_peer");
    // Where nobody is asked for by id, it is who it is.
    let connect = alice.begin(json!({ "cmd": "connect", "addr": listener.addr() }));
    let mut peer = listener.accept_silent().answer_encrypted(&mallory);
    peer.read().expect("a hello");
    peer.send(&hello_level2(&mallory.id, "Bob"));
    assert_eq!(alice.await_reply(&connect)["result"]["peer"], mallory.id);
}

#[test]
fn a_bit_changed_on_the_way_ends_the_link_and_shows_nothing() {
    let (mut alice, mut bob) = (Node::named("Alice", &[]), Node::named("Bob", &[]));
    let flips = Arc::new(AtomicBool::new(false));
    let when = Arc::clone(&flips);
    let middle = Middle::before(&bob.addr(), move |_, piece| {
        if when.swap(false, Ordering::Relaxed)
            && let Some(last) = piece.last_mut()
        {
            *last ^= 1;
        }
    });
    alice.connect(middle.addr());
    bob.await_event("peer_up", json!({ "peer": alice.id() }));
    alice.say("as it was said");
    bob.hears("as it was said");
    flips.store(true, Ordering::Relaxed);
    alice.say("changed");
    let down = bob.await_event("peer_down", json!({ "peer": alice.id() }));
    assert_eq!(down["code"], "bad_record");
    bob.await_event("peer_up", json!({ "peer": alice.id() }));
    alice.await_event("peer_down", json!({ "peer": bob.id() }));
    alice.ok(json!({ "cmd": "wait", "event": "peer_up", "match": { "peer": bob.id() }, "count": 2 }));
    alice.say("and on");
    bob.hears("and on");
    assert_eq!(bob.heard(), ["as it was said", "and on"]);
}

#[test]
fn what_was_recorded_and_is_played_again_is_worth_nothing() {
    let (mut alice, mut bob) = (Node::named("Alice", &[]), Node::named("Bob", &[]));
    let middle = Middle::before(&bob.addr(), |_, _| {});
    alice.connect(middle.addr());
    alice.say("once");
    bob.hears("once");
    let [said, answered] = middle.seen();
    for until in [said.len(), 37 + 160, 37] {
        let mut replay = RawPeer::connect(&bob.addr());
        replay.send_bytes(&said[..until]);
        replay.end();
        let got = all_of(&mut replay);
        // If the rest comes before the answer is written, there is none.
        let other_answer = got.len() == 197 && got.starts_with(&opening()) && got[..] != answered[..197];
        assert!(got.is_empty() || other_answer, "{} bytes", got.len());
    }
    // To a dialler: the answer that another was given.
    let listener = RawListener::new();
    let connect = alice.begin(json!({ "cmd": "connect", "addr": listener.addr() }));
    let mut peer = listener.accept_silent();
    peer.send_bytes(&answered);
    assert_eq!(alice.await_reply(&connect)["error"]["code"], "connect_failed");
    bob.ok(json!({ "cmd": "room" }));
    assert_eq!((bob.heard().len(), bob.saw("peer_up", json!({})).len()), (1, 1));
    assert!(bob.saw("peer_down", json!({})).is_empty());
}

#[test]
fn a_handshake_that_is_cut_short_holds_up_nobody() {
    let (mut alice, mut bob) = (Node::named("Alice", &[]), Node::named("Bob", &[]));
    let middle = Middle::before(&bob.addr(), |_, _| {});
    alice.connect(middle.addr());
    let [said, _] = middle.seen();
    let mut cut: Vec<RawPeer> = [1, 4, 5, 36, 37, 38, 196]
        .map(|until| {
            let mut peer = RawPeer::connect(&bob.addr());
            peer.send_bytes(&said[..until]);
            peer
        })
        .into();
    alice.say("meanwhile");
    bob.hears("meanwhile");
    // Half of them hang up, half are hung up on.
    for (n, peer) in cut.iter_mut().enumerate() {
        if n % 2 == 0 {
            peer.end();
        }
        let got = all_of(peer);
        assert!(got.is_empty() || got.len() == 197, "{} bytes", got.len());
    }
    bob.until(&json!({ "cmd": "status" }), |status| has_fields(status, &json!({ "handshakes": 0, "links": 1 })));
    assert_eq!(text(&alice.ok(json!({ "cmd": "status" })), "node"), alice.id());
}
