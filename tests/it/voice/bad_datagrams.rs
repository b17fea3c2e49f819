//! Datagrams of strangers, forgers and broken machines: dropped and counted, and nobody's voice disturbed.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::json;

use crate::support::telephone::{Telephone, datagram};
use crate::support::voice::*;
use crate::support::{Node, TempDir, number, private_host, text};

const BOB: &str = "127.0.0.1:5001";

/// Sends what `next` makes, some thousands a second, until it is told to stop. Gives how many.
fn flood(
    to: SocketAddr,
    stop: &Arc<AtomicBool>,
    mut next: impl FnMut(u64) -> Vec<u8> + Send + 'static,
) -> JoinHandle<u64> {
    let stop = Arc::clone(stop);
    thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let mut n = 0;
        while !stop.load(Ordering::Relaxed) {
            for _ in 0..4 {
                // What the system does not take is not sent.
                let _ = socket.send_to(&next(n), to);
                n += 1;
            }
            thread::sleep(Duration::from_millis(1));
        }
        n
    })
}

/// Rubbish of all kinds.
fn rubbish(mut chance: ChaCha8Rng, n: u64) -> (ChaCha8Rng, Vec<u8>) {
    let length = match n % 8 {
        0 => chance.next_u32() % 64,
        1 => 65_507,
        2 => 9_000,
        // The lengths that mean something.
        3 => 696,
        4 => 724,
        5 => 42,
        6 => 50,
        _ => chance.next_u32() % 1500,
    };
    let mut bytes = vec![0; length as usize];
    chance.fill_bytes(&mut bytes);
    if let Some(first) = bytes.first_mut().filter(|_| n.is_multiple_of(2)) {
        // The kind of level 2, or what it could be one day.
        *first %= 2 + 30 * u8::from(n.is_multiple_of(4));
    }
    (chance, bytes)
}

#[test]
fn a_call_goes_on_through_a_flood_of_rubbish() {
    in_time(|| {
        let dir = TempDir::new();
        let said = [lead(), sentence()].concat();
        let (mic, heard) = (dir.wav("mic.wav", &said), dir.path("heard.wav"));
        let [mut alice, mut bob] = ["Alice", "Bob"].map(|name| Node::named(name, &[]));
        alice.link(&mut bob);
        bob.join_voice("none", &heard);
        alice.join_voice(&mic, "none");
        alice.reaches(&[&bob.id()]);
        let to = text(bob.ready(), "udp").parse().expect("an address");
        let (stop, mut chance) = (Arc::default(), Some(ChaCha8Rng::seed_from_u64(7)));
        let flood = flood(to, &stop, move |n| {
            let (after, bytes) = rubbish(chance.take().expect("it is put back"), n);
            chance = Some(after);
            bytes
        });
        alice.await_event("mic_ended", json!({}));
        let member = bob.member(&alice.id());
        bob.ok(json!({ "cmd": "voice_leave" }));
        stop.store(true, Ordering::Relaxed);
        let sent = flood.join().unwrap();
        assert!(sent > 2000, "{sent}");
        assert!(bob.counter("datagrams_dropped") > sent / 2, "of {sent}");
        assert!(number(&member, "received") > 100, "{member}");
        is_clear(&said, &recorded(&heard));
    });
}

#[test]
fn what_is_true_but_of_nobody_here_is_dropped() {
    // At an address of its own: to a port of 127.0.0.1 that it is given, somebody may still send what was for its last owner.
    let mut node = Node::start(&["--room", "a room with a long name", "--host", &private_host()]);
    let mut bob = Telephone::dial(&node, BOB, "Bob", None);
    node.ok(json!({ "cmd": "voice_join" }));
    let to = bob.finds_in(&node, "a room with a long name");
    bob.join("a room with a long name");
    node.await_event("voice_joined", json!({ "peer": BOB }));
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let room = "a room with a lo";
    let good = |sequence, id: &str| datagram(room, id, sequence, &tone(440.0, 320), None);
    bob.send(to, &tone(440.0, 320));
    node.until(&json!({ "cmd": "voice_peers" }), |peers| number(&peers["peers"][0], "received") == 1);
    let before = node.counter("datagrams_dropped");
    let replayed = good(1, BOB);
    let bad = [
        ("cut off", good(2, BOB)[..695].to_vec()),
        ("too long", [good(2, BOB), vec![0]].concat()),
        ("of a stranger", good(2, "10.0.0.9:5000")),
        ("of an id that is longer", good(2, "127.0.0.1:50010")),
        ("of another room", datagram("a room with a mo", BOB, 2, &tone(440.0, 320), None)),
        ("from another address", good(2, BOB)),
        ("the same once more, from there", replayed.clone()),
        ("nothing", Vec::new()),
    ];
    for (dropped, (what, bytes)) in (before + 1..).zip(bad) {
        socket.send_to(&bytes, to).expect("sent");
        node.until(&json!({ "cmd": "status" }), |status| {
            let counted = number(&status["counters"], "datagrams_dropped");
            assert!(counted <= dropped, "{what}");
            counted == dropped
        });
    }
    assert_eq!(number(&node.member(BOB), "received"), 1);
}

#[test]
fn a_forger_with_the_highest_number_silences_nobody() {
    in_time(|| {
        let dir = TempDir::new();
        let heard = dir.path("heard.wav");
        let mut node = Node::start(&[]);
        let mut bob = Telephone::dial(&node, BOB, "Bob", None);
        node.join_voice("none", &heard);
        let to = bob.finds(&node);
        bob.join("general");
        node.await_event("voice_joined", json!({ "peer": BOB }));
        let (stop, sent) = (Arc::default(), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&sent);
        let forger = flood(to, &stop, move |n| {
            counted.store(n, Ordering::Relaxed);
            datagram("general", BOB, u32::MAX - (n % 3) as u32, &tone(1000.0, 320), None)
        });
        // The forger is first; then Bob speaks, from where he said that he is.
        bob.until("forgeries were sent", |_| sent.load(Ordering::Relaxed) > 20);
        bob.say(to, &[silence(0.2), sentence(), silence(0.5)].concat());
        stop.store(true, Ordering::Relaxed);
        forger.join().unwrap();
        node.ok(json!({ "cmd": "voice_leave" }));
        is_heard(&sentence(), &recorded(&heard));
    });
}
