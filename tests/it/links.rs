//! Links: how they come about, settle, break, come back and end.

#[cfg(target_os = "linux")]
use std::{io::Write, net::TcpListener};

use serde_json::{Value, json};

#[cfg(target_os = "linux")]
use crate::support::TempDir;
use crate::support::raw::{Secrets, hello, hello_level2};
use crate::support::{Node, RawListener, RawPeer, fresh_id, has_fields, list, number, private_host, settles, texts};

const BOB: &str = "127.0.0.1:5001";

#[test]
fn a_peer_that_was_lost_is_dialled_again() {
    let host = private_host();
    let start = || Node::named("Bob", &["--host", &host, "--port", "5000"]);
    let bob = start();
    let mut alice = Node::named("Alice", &["--connect", &bob.addr()]);
    alice.await_event("peer_up", json!({ "username": "Bob", "direction": "out" }));
    bob.kill();
    let down = alice.await_event("peer_down", json!({ "username": "Bob" }));
    assert!(down["retry_in_ms"].is_u64(), "{down}");
    let mut bob = start();
    alice.await_event("peer_up", json!({ "username": "Bob" }));
    alice.say("back again");
    bob.hears("back again");
}

#[test]
fn a_peer_that_is_not_there_yet_is_dialled_until_it_is() {
    let host = private_host();
    let addr = format!("{host}:5000");
    let mut alice = Node::named("Alice", &["--connect", &addr]);
    let failed = alice.await_event("connect_failed", json!({ "addr": addr }));
    assert_eq!(failed["code"], "refused");
    assert!(failed["retry_in_ms"].is_u64(), "{failed}");
    let _bob = Node::named("Bob", &["--host", &host, "--port", "5000"]);
    alice.await_event("peer_up", json!({ "username": "Bob", "addr": addr }));
}

#[test]
fn simultaneous_dials_settle_on_one_link_at_both_ends() {
    for _ in 0..5 {
        let (a_host, b_host) = (private_host(), private_host());
        let (a_addr, b_addr) = (format!("{a_host}:5000"), format!("{b_host}:5000"));
        let start = |name: &str, host: &str, other: &str| {
            let mut args = vec!["--username", name, "--host", host, "--port", "5000", "--udp-port", "0", "--seed", "7"];
            args.extend(["--connect", other]);
            Node::launch(&args)
        };
        let mut alice = start("Alice", &a_host, &b_addr);
        let mut bob = start("Bob", &b_host, &a_addr);
        let connects = [
            alice.begin(json!({ "cmd": "connect", "addr": b_addr, "async": true })),
            bob.begin(json!({ "cmd": "connect", "addr": a_addr, "async": true })),
        ];
        alice.await_event("peer_up", json!({ "username": "Bob" }));
        bob.await_event("peer_up", json!({ "username": "Alice" }));
        keep_one_link(&mut alice, &mut bob);
        alice.say("one way");
        bob.hears("one way");
        bob.say("the other");
        alice.hears("the other");
        assert_eq!((alice.heard().len(), bob.heard().len()), (1, 1));
        for (node, id) in [(&mut alice, &connects[0]), (&mut bob, &connects[1])] {
            let reply = node.await_reply(id);
            let refused = reply["error"]["code"] == "connect_failed";
            assert!(reply["ok"] == true || refused, "{reply}");
            let (ups, downs) = (node.saw("peer_up", json!({})).len(), node.saw("peer_down", json!({})).len());
            assert_eq!(ups, downs + 1, "the events tell of one link");
        }
    }
}

/// Waits until both keep the same link, and no other is under way. With no event: the one with the lower id decides which
/// link stays, and the other goes on with its own first until it hears that this one ends.
#[track_caller]
fn keep_one_link(alice: &mut Node, bob: &mut Node) {
    settles("one link at both ends", || {
        let ends = [&mut *alice, &mut *bob].map(|node| {
            let status = node.ok(json!({ "cmd": "status" }));
            let links = texts(&list(&node.ok(json!({ "cmd": "peers" })), "peers"), "direction");
            (has_fields(&status, &json!({ "links": 1, "handshakes": 0, "dialling": 0 })), links)
        });
        let [(a_rests, a), (b_rests, b)] = &ends;
        // What one of them dialled, the other was dialled by.
        let is_one = a_rests & b_rests && (a.len(), b.len()) == (1, 1) && a != b;
        if is_one { Ok(()) } else { Err(format!("{ends:?}")) }
    });
}

#[test]
fn connecting_to_a_linked_peer_answers_with_that_link() {
    let mut alice = Node::named("Alice", &[]);
    let mut bob = Node::named("Bob", &[]);
    alice.link(&mut bob);
    for addr in [bob.addr(), bob.addr().replace("127.0.0.1", "localhost")] {
        assert_eq!(alice.connect(&addr), bob.id());
    }
    assert_eq!(bob.connect(&alice.addr()), alice.id(), "from the other end, too");
    for node in [&mut alice, &mut bob] {
        assert_eq!(list(&node.ok(json!({ "cmd": "peers" })), "peers").len(), 1);
        assert_eq!(node.saw("peer_up", json!({})).len(), 1);
        assert!(node.saw("peer_down", json!({})).is_empty());
    }
}

#[test]
fn ones_own_address_is_refused() {
    let mut node = Node::start(&[]);
    let addr = node.addr();
    assert_eq!(node.fails(json!({ "cmd": "connect", "addr": addr })), "own_address");
    let status = node.ok(json!({ "cmd": "status" }));
    assert_eq!((number(&status, "links"), number(&status["queues"], "dial_targets")), (0, 0));
}

#[test]
fn ones_own_address_under_another_name_is_found_out_by_the_hello() {
    let mut node = Node::start(&["--host", "0.0.0.0"]);
    let port = node.addr().rsplit(':').next().unwrap().to_owned();
    assert_eq!(node.fails(json!({ "cmd": "connect", "addr": format!("127.0.0.1:{port}") })), "own_address");
    assert_eq!(node.fails(json!({ "cmd": "connect", "addr": format!("localhost:{port}") })), "own_address");
    assert!(node.saw("peer_up", json!({})).is_empty());
}

#[test]
fn ones_own_address_on_the_command_line_is_not_dialled_again() {
    let host = private_host();
    let addr = format!("{host}:5000");
    let mut node = Node::start(&["--host", &host, "--port", "5000", "--connect", &addr]);
    node.await_event("connect_failed", json!({ "addr": addr, "code": "own_address", "retry_in_ms": null }));
    node.say("nobody waits for it");
}

#[test]
fn connect_tells_why_it_failed() {
    let mut node = Node::start(&[]);
    let listener = RawListener::new();
    let connect = json!({ "cmd": "connect", "addr": listener.addr(), "async": true });
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"\0\0\0\x02[]", b"\0\0\0\x02{}", b"\xff\xff\xff\xff", b""]
    {
        let id = node.begin(connect.clone());
        let mut peer = listener.accept_silent();
        peer.send_bytes(answer);
        drop(peer);
        if answer.is_empty() {
            // As one of level 1 does.
            drop(listener.accept_silent());
        }
        assert_eq!(node.await_reply(&id)["error"]["code"], "connect_failed", "{answer:?}");
        node.command(json!({ "cmd": "disconnect", "addr": listener.addr() }));
    }
    drop(listener);
    let reply = node.command(connect);
    assert_eq!((&reply["error"]["code"], &reply["error"]["retryable"]), (&json!("connect_failed"), &json!(true)));
}

/// A shell's line that runs the program where the name `many` has those addresses. `None` where that can't be done.
#[cfg(target_os = "linux")]
fn where_many_is(dir: &TempDir, addrs: &[String]) -> Option<String> {
    let hosts: String = addrs.iter().map(|addr| format!("{addr} many\n")).collect();
    let mount = format!("mount --bind {} /etc/hosts", dir.write("hosts", &hosts));
    let unshare = "unshare --user --map-root-user --mount sh -c";
    let line = format!("{unshare} '{mount} && getent ahosts many'");
    let known = std::process::Command::new("sh").args(["-c", &line]).output().ok()?;
    let known = String::from_utf8(known.stdout).ok()?;
    addrs
        .iter()
        .all(|addr| known.contains(addr))
        .then(|| format!("exec {unshare} '{mount} && exec \"$0\" \"$@\"' \"$@\""))
}

#[cfg(target_os = "linux")]
#[test]
fn every_address_of_a_name_is_tried_and_again_when_the_link_is_lost() {
    let (dir, hosts) = (TempDir::new(), [(); 5].map(|()| private_host()));
    let Some(shell) = where_many_is(&dir, &hosts) else { return eprintln!("skipped: no name can be made here") };
    let [nobody, mute, no_node, other, host] = hosts;
    let listen = |host: &str| TcpListener::bind((host, 5000)).expect("its own address");
    let (_mute, no_node) = (listen(&mute), listen(&no_node));
    std::thread::spawn(move || {
        for mut stream in no_node.incoming().map_while(Result::ok) {
            // Whoever dialled may have gone.
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let _other = Node::named("Other", &["--host", &other, "--port", "5000"]);
    let start = || Node::named("Bob", &["--host", &host, "--port", "5000"]);
    let bob = start();
    let target = format!("{}@many:5000", bob.id());
    let mut alice = Node::shell(&shell, &["--username", "Alice", "--connect", &target]).patiently();
    alice.await_event("peer_up", json!({ "peer": bob.id(), "direction": "out" }));
    assert!(alice.saw("connect_failed", json!({})).is_empty(), "one of them is there");
    bob.kill();
    alice.await_event("peer_down", json!({ "username": "Bob" }));
    let bob = start();
    alice.await_event("peer_up", json!({ "peer": bob.id() }));
    let again = Node::shell(&shell, &["--connect", "many:5000"]);
    let mut again = again.patiently();
    let up = again.await_event("peer_up", json!({}));
    assert!(["Bob", "Other"].contains(&up["username"].as_str().unwrap()), "{up}");
    assert!(TcpListener::bind((&*nobody, 5000)).is_ok(), "there was nobody");
}

#[cfg(target_os = "linux")]
#[test]
fn of_a_name_whose_addresses_all_fail_the_one_that_got_furthest_tells_why() {
    let (dir, hosts) = (TempDir::new(), [(); 3].map(|()| private_host()));
    let Some(shell) = where_many_is(&dir, &hosts) else { return eprintln!("skipped: no name can be made here") };
    let other = Node::named("Other", &["--host", &hosts[1], "--port", "5000"]);
    let asked = Node::start(&[]).id();
    let mut alice = Node::shell(&shell, &[]);
    let reply = alice.command(json!({ "cmd": "connect", "addr": format!("{asked}@many:5000") }));
    assert_eq!(reply["error"]["code"], "wrong_peer", "{reply}");
    assert!(reply["error"]["message"].as_str().is_some_and(|it| it.contains(&other.id()) && it.contains(&hosts[1])));
}

#[test]
fn disconnect_closes_a_link_for_good() {
    let mut alice = Node::named("Alice", &[]);
    for by in ["peer", "addr"] {
        let mut bob = Node::named("Bob", &[]);
        alice.link(&mut bob);
        let value = if by == "peer" { bob.id() } else { bob.addr() };
        assert_eq!(alice.ok(json!({ "cmd": "disconnect", by: value })), json!({ "closed": 1 }));
        let down = alice.await_event("peer_down", json!({ "peer": bob.id() }));
        assert_eq!((&down["code"], &down["retry_in_ms"]), (&json!("disconnected"), &json!(null)));
        let seen = bob.await_event("peer_down", json!({ "username": "Alice" }));
        assert_eq!((&seen["code"], &seen["retry_in_ms"]), (&json!("closed"), &json!(null)), "Bob never dialled");
        let status = alice.ok(json!({ "cmd": "status" }));
        assert_eq!((number(&status, "dialling"), number(&status["queues"], "dial_targets")), (0, 0));
        assert_eq!(alice.fails(json!({ "cmd": "disconnect", by: value })), "not_found");
    }
}

#[test]
fn disconnect_ends_dials_of_a_peer_that_is_not_there() {
    let host = private_host();
    let addr = format!("{host}:5000");
    let mut alice = Node::named("Alice", &["--connect", &addr]);
    alice.await_event("connect_failed", json!({ "addr": addr }));
    assert_eq!(alice.ok(json!({ "cmd": "disconnect", "addr": addr })), json!({ "closed": 0 }));
    assert_eq!(number(&alice.ok(json!({ "cmd": "status" }))["queues"], "dial_targets"), 0);
}

#[test]
fn peer_down_tells_why() {
    let mut node = Node::start(&[]);
    let dial = |node: &mut Node| {
        let peer = RawPeer::dial(&node.addr(), BOB, "Bob");
        node.await_event("peer_up", json!({ "peer": BOB }));
        peer
    };
    let down = |node: &mut Node| node.await_event("peer_down", json!({ "peer": BOB, "retry_in_ms": null }));
    drop(dial(&mut node));
    assert_eq!(down(&mut node)["code"], "closed");
    dial(&mut node).reset();
    assert_eq!(down(&mut node)["code"], "reset");
    let mut peer = dial(&mut node);
    peer.send_bytes(&[0xff; 4]);
    assert_eq!(down(&mut node)["code"], "too_large");
    let mut peer = dial(&mut node);
    for _ in 0..10 {
        peer.send_text("not JSON");
    }
    let last = down(&mut node);
    assert_eq!(last["code"], "malformed");
    assert_ne!(last["reason"], "");
    peer.expect_closed();
}

#[test]
fn nine_malformed_frames_are_forgiven_and_the_tenth_is_not() {
    let mut node = Node::start(&[]);
    let mut peer = RawPeer::dial(&node.addr(), BOB, "Bob");
    for i in 1..10 {
        peer.send_text("[]");
        peer.say(&format!("{i}"));
    }
    node.hears("9");
    peer.send_text("{");
    peer.expect_closed();
    node.await_event("peer_down", json!({ "peer": BOB, "code": "malformed" }));
}

#[test]
fn there_are_as_many_links_as_there_may_be() {
    let mut node = Node::start(&["--max-links", "2"]);
    let _two: Vec<_> = ["bob", "carol"].map(|name| RawPeer::dial(&node.addr(), name, name)).into();
    node.await_event("peer_up", json!({ "peer": "carol" }));
    let mut third = RawPeer::connect(&node.addr());
    third.try_send_bytes(&crate::support::raw::framed(hello("dave", "dave").to_string().as_bytes()));
    third.expect_closed();
    let other = RawListener::new();
    assert_eq!(node.fails(json!({ "cmd": "connect", "addr": other.addr() })), "too_many_links");
    assert!(!other.has_waiting(0), "it is not even dialled");
    assert_eq!(texts(&list(&node.ok(json!({ "cmd": "peers" })), "peers"), "peer"), ["bob", "carol"]);
}

#[test]
fn a_silent_peer_is_noticed_and_so_is_a_frame_that_never_ends() {
    let mut node = Node::patient(&[]);
    let mut silent = RawPeer::dial_level2(&node.addr(), "Silent");
    silent.answers_pings = false;
    let mut stalled = RawPeer::dial(&node.addr(), BOB, "Stalled");
    node.await_event("peer_up", json!({ "username": "Stalled" }));
    stalled.send_bytes(b"\0\0\x01\0{\"type\":");
    let mut bob = Node::named("Bob", &[]);
    node.link(&mut bob);
    let mute = RawListener::new();
    let connect = node.begin(json!({ "cmd": "connect", "addr": mute.addr(), "async": true }));
    let _never_says_hello = mute.accept_silent();
    assert_eq!(node.await_reply(&connect)["error"]["code"], "connect_failed");
    node.await_event("peer_down", json!({ "username": "Silent", "code": "dead" }));
    node.await_event("peer_down", json!({ "username": "Stalled", "code": "stalled" }));
    silent.expect_closed();
    stalled.expect_closed();
    let [peer] = &list(&node.ok(json!({ "cmd": "peers" })), "peers")[..] else { panic!("only Bob is left") };
    assert!(peer["rtt_ms"].is_f64() || peer["rtt_ms"].is_u64(), "he answered pings: {peer}");
    bob.say("still here");
    node.hears("still here");
}

#[test]
fn what_a_level_2_peer_has_not_named_is_not_sent_to_it() {
    let mut node = Node::start(&[]);
    let secrets = Secrets::new();
    let mut hello = hello_level2(&secrets.id, "Bob");
    hello["p2p_chat"]["caps"] = json!(["ping", "something new"]);
    let mut bob = RawPeer::connect(&node.addr()).encrypt(&secrets).greet(&hello);
    node.await_event("peer_up", json!({ "level": 2 }));
    node.ok(json!({ "cmd": "nick", "name": "Alicia" }));
    assert_eq!(node.fails(json!({ "cmd": "send", "text": "sure?", "confirm": 1, "timeout_ms": 0 })), "not_confirmed");
    node.say("barrier");
    assert_eq!(types(&bob.frames_until("barrier")), ["chat", "chat"], "but pings, which are answered");
}

fn types(frames: &[Value]) -> Vec<&str> {
    frames.iter().filter_map(|frame| frame["type"].as_str()).collect()
}

#[test]
fn who_says_hello_with_an_id_that_it_has_not_proved_gets_no_link() {
    let mut node = Node::named("Alice", &["--log", "info"]);
    let mut honest = Node::named("Bob", &[]);
    honest.link(&mut node);
    let unused = Secrets::new();
    for id in [honest.id(), honest.id().to_uppercase(), node.id(), unused.id.clone()] {
        for mut impostor in [
            RawPeer::connect(&node.addr()),
            RawPeer::connect(&node.addr()).encrypt(&Secrets::new()),
            RawPeer::connect(&honest.addr()).encrypt(&Secrets::new()),
        ] {
            impostor.send(&hello_level2(&id, "Impostor"));
            assert_eq!(impostor.until_closed(), [] as [Value; 0], "not even a hello");
        }
    }
    node.say("for the honest");
    honest.hears("for the honest");
    honest.say("I am still here");
    node.hears("I am still here");
    assert!(honest.saw("peer_down", json!({})).is_empty());
    assert!(node.saw("peer_up", json!({ "username": "Impostor" })).is_empty());
    assert!(node.finish().exited(0).stderr.contains("has proved"));
}

#[test]
fn the_hello_tells_where_others_can_dial() {
    for (args, host) in [
        (&["--advertise", "chat.example.org"][..], Some("chat.example.org")),
        (&["--advertise", "2001:db8::1"], Some("[2001:db8::1]")),
        (&["--host", "0.0.0.0"], None),
        (&["--host", "0.0.0.0", "--advertise", "192.0.2.7"], Some("192.0.2.7")),
    ] {
        let node = Node::start(args);
        let port = node.addr().rsplit(':').next().unwrap().to_owned();
        let bob = RawPeer::dial_level2(&format!("127.0.0.1:{port}"), "Bob");
        let expected = host.map(|host| format!("{host}:{port}"));
        assert_eq!(bob.hello["p2p_chat"]["listen"], json!(expected), "{args:?}");
    }
}

#[test]
fn a_level_2_peer_is_answered_when_it_pings() {
    let node = Node::start(&[]);
    let mut bob = RawPeer::dial_level2(&node.addr(), "Bob");
    bob.send(&json!({ "id": fresh_id(), "type": "ping", "nonce": 12_345 }));
    assert_eq!(bob.await_frame(&json!({ "type": "pong" }))["nonce"], 12_345);
}

#[test]
fn at_the_end_every_frame_that_is_queued_is_delivered() {
    let mut node = Node::start(&[]);
    let mut slow = RawPeer::dial_deaf(&node.addr(), BOB, "Bob");
    let mut other = RawPeer::dial(&node.addr(), "carol", "Carol");
    node.await_event("peer_up", json!({ "peer": "carol" }));
    let mut lines = String::new();
    for i in 0..3_000 {
        lines += &json!({ "cmd": "send", "text": format!("{i} {}", "x".repeat(500)) }).to_string();
        lines += "\n";
    }
    node.send_raw(lines.as_bytes());
    node.close_stdin();
    for peer in [&mut other, &mut slow] {
        let got = peer.until_closed();
        assert_eq!(got.len(), 3_000);
        let in_order = got.iter().enumerate().all(|(i, chat)| is_number(chat, i));
        assert!(in_order);
    }
    let output = node.finish().exited(0);
    assert_eq!(output.bye()["undelivered"], 0);
}

fn is_number(chat: &Value, i: usize) -> bool {
    chat["msg"].as_str().and_then(|msg| msg.split(' ').next()) == Some(&i.to_string())
}
