//! Calls: two and three nodes, over hops, over a bad line, with clocks that differ, in a keyed room.

use std::sync::atomic::{AtomicBool, Ordering};

use p2p_chat::voice::compare::level_db;
use serde_json::json;

use crate::support::raw::{chat, framed};
use crate::support::voice::*;
use crate::support::{Node, RawPeer, TempDir, number, private_host};

/// Talks a file from one node to another over a line of two links, and gives what was said and what was heard.
#[track_caller]
fn call(talker_args: &[&str], listener_args: &[&str]) -> (Vec<i16>, Vec<i16>, [Node; 2]) {
    let dir = TempDir::new();
    let said = [lead(), sentence()].concat();
    let (mic, heard) = (dir.wav("mic.wav", &said), dir.path("heard.wav"));
    let mut talker = Node::named("Talker", &[&["--mic", &mic], talker_args].concat());
    let mut listener = Node::named("Listener", &[&["--speaker", &heard], listener_args].concat());
    talker.link(&mut listener);
    listener.ok(json!({ "cmd": "voice_join" }));
    talker.ok(json!({ "cmd": "voice_join" }));
    talker.await_event("mic_ended", json!({ "room": "general" }));
    listener.ok(json!({ "cmd": "voice_leave" }));
    (said, recorded(&heard), [talker, listener])
}

#[test]
fn what_one_says_the_other_hears() {
    in_time(|| {
        let dir = TempDir::new();
        // Both at once, and not the same.
        let said = [[lead(), sentence()].concat(), [lead(), question()].concat()];
        let mics = [dir.wav("a.wav", &said[0]), dir.wav("b.wav", &said[1])];
        let heard = [dir.path("heard-a.wav"), dir.path("heard-b.wav")];
        let mut nodes = [0, 1].map(|n| Node::named(["Alice", "Bob"][n], &["--mic", &mics[n], "--speaker", &heard[n]]));
        let [alice, bob] = &mut nodes;
        alice.link(bob);
        alice.ok(json!({ "cmd": "voice_join" }));
        bob.ok(json!({ "cmd": "voice_join" }));
        for node in [&mut *alice, &mut *bob] {
            node.await_event("mic_ended", json!({}));
        }
        let member = bob.member(&alice.id());
        assert_eq!(member["codec"], "opus");
        assert!(number(&member, "received") > 100, "{member}");
        for node in [&mut *alice, &mut *bob] {
            node.ok(json!({ "cmd": "voice_leave" }));
        }
        is_clear(&said[0], &recorded(&heard[1]));
        is_clear(&said[1], &recorded(&heard[0]));
        is_not_heard(&said[0], &recorded(&heard[0]));
    });
}

#[test]
fn a_tone_comes_out_as_a_tone() {
    in_time(|| {
        let dir = TempDir::new();
        let heard = dir.path("heard.wav");
        let (mut alice, mut bob) = (Node::named("Alice", &[]), Node::named("Bob", &[]));
        alice.link(&mut bob);
        bob.join_voice("none", &heard);
        // A tone is no speech, which is all that level 2 sends: but its first moments might be some.
        alice.join_voice("tone:440", "none");
        alice.reaches(&[&bob.id()]);
        bob.await_event("speaking", json!({ "peer": alice.id(), "speaking": true }));
        bob.await_event("speaking", json!({ "peer": alice.id(), "speaking": false }));
        bob.ok(json!({ "cmd": "voice_leave" }));
        let heard = recorded(&heard);
        let loud: Vec<i16> = heard.into_iter().skip_while(|sample| sample.abs() < 4000).take(1000).collect();
        let crossings = loud.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
        assert!((26..=29).contains(&crossings), "440 Hz have 27.5 in 1000 samples, not {crossings}");
    });
}

#[test]
fn three_hear_one_another_over_a_chain_and_voice_takes_no_detour() {
    in_time(|| {
        let dir = TempDir::new();
        let said = [[lead(), sentence()].concat(), [lead(), silence(2.9), question()].concat(), silence(1.0)];
        let mics: Vec<String> = (0..3).map(|n| dir.wav(&format!("mic-{n}.wav"), &said[n])).collect();
        let heard: Vec<String> = (0..3).map(|n| dir.path(&format!("heard-{n}.wav"))).collect();
        let names = ["A", "B", "C"];
        let mut nodes = [0, 1, 2].map(|n| Node::named(names[n], &["--mic", &mics[n], "--speaker", &heard[n]]));
        // A and C are two hops apart that are not in voice themselves.
        let mut between = ["X", "Y"].map(|name| Node::named(name, &["--host", &private_host()]));
        let [a, b, c] = &mut nodes;
        let [x, y] = &mut between;
        a.link(x);
        x.link(y);
        y.link(c);
        y.link(b);
        for node in [&mut *c, &mut *b, &mut *a] {
            node.ok(json!({ "cmd": "voice_join" }));
        }
        for node in [&mut *x, &mut *y, &mut *c] {
            for name in ["A", "B"] {
                node.await_event("voice_joined", json!({ "username": name, "room": "general", "muted": false }));
            }
        }
        b.await_event("mic_ended", json!({}));
        a.ok(json!({ "cmd": "voice_leave" }));
        for node in [&mut *x, &mut *c] {
            node.await_event("voice_left", json!({ "username": "A" }));
        }
        c.ok(json!({ "cmd": "voice_leave" }));
        b.ok(json!({ "cmd": "voice_leave" }));
        let heard: Vec<Vec<i16>> = heard.iter().map(|path| recorded(path)).collect();
        is_clear(&said[0], &heard[1]);
        is_clear(&said[1], &heard[0]);
        // One after the other.
        is_clear(&[lead(), sentence(), silence(0.1), question()].concat(), &heard[2]);
        for node in [x, y] {
            assert_eq!(node.counter("datagrams_received") + node.counter("datagrams_sent"), 0, "voice goes directly");
        }
    });
}

#[test]
fn two_talk_over_each_other_and_both_are_heard_by_the_third() {
    in_time(|| {
        let dir = TempDir::new();
        let said = [lead(), sentence()].concat();
        let mic = dir.wav("mic.wav", &said);
        let heard = dir.path("heard.wav");
        let [mut a, mut b, mut c] = ["A", "B", "C"].map(|name| Node::named(name, &[]));
        a.link(&mut c);
        b.link(&mut c);
        c.join_voice("none", &heard);
        // The one speaks words, the other a note that never ends: the sum must have both.
        a.join_voice(&mic, "none");
        b.join_voice("tone:2500", "none");
        a.await_event("mic_ended", json!({}));
        c.ok(json!({ "cmd": "voice_leave" }));
        let heard = recorded(&heard);
        is_heard(&without_note(&said), &without_note(&heard));
        let of_note = level_db(&heard[RATE..]) - level_db(&without_note(&heard[RATE..]));
        assert!(of_note > 3.0, "{of_note} dB");
    });
}

/// Samples without the note of 2500 Hz: 16 samples are two and a half of its periods, so what lies that far apart cancels
/// out. Speech is changed, too, but always in the same way.
fn without_note(samples: &[i16]) -> Vec<i16> {
    let earlier = std::iter::repeat_n(&0, 16).chain(samples);
    samples.iter().zip(earlier).map(|(now, then)| ((i32::from(*now) + i32::from(*then)) / 2) as i16).collect()
}

#[test]
fn a_keyed_room_is_heard_by_those_who_have_the_key() {
    in_time(|| {
        let dir = TempDir::new();
        let said = [lead(), sentence()].concat();
        let (mic, heard) = (dir.wav("mic.wav", &said), [dir.path("b.wav"), dir.path("c.wav")]);
        let key = dir.write("key", "correct horse\n");
        let with_key = format!("general={key}");
        let mut a = Node::named("A", &["--mic", &mic, "--room-key-file", &with_key]);
        let mut b = Node::named("B", &["--speaker", &heard[0], "--room-key-file", &with_key]);
        let mut c = Node::named("C", &["--speaker", &heard[1]]);
        a.link(&mut b);
        a.link(&mut c);
        for node in [&mut c, &mut b, &mut a] {
            node.ok(json!({ "cmd": "voice_join" }));
        }
        a.await_event("mic_ended", json!({}));
        let c_id = c.id();
        assert!(number(&b.member(&a.id()), "received") > 100);
        // Neither sends the other anything, and both say why.
        for (node, other) in [(&mut c, a.id()), (&mut a, c_id)] {
            let member = node.member(&other);
            assert_eq!((&member["received"], &member["addr"]), (&json!(0), &json!(null)), "{member}");
            node.await_event("warning", json!({ "code": "voice_key" }));
        }
        for node in [&mut b, &mut c] {
            node.ok(json!({ "cmd": "voice_leave" }));
        }
        is_clear(&said, &recorded(&heard[0]));
        assert!(recorded(&heard[1]).iter().all(|&sample| sample == 0));
    });
}

#[test]
fn clocks_that_differ_leave_no_gap() {
    // Forty times what a sound card does, so that a few seconds show it: 40 ms in each 5.
    for (talker, listener) in [("4000", "-4000"), ("-4000", "4000")] {
        in_time(|| {
            let (said, heard, _nodes) = call(&["--clock-ppm", talker], &["--clock-ppm", listener]);
            let found = is_heard(&said, &heard);
            assert_eq!(found.gaps, [], "{found:?}");
            assert!(found.level_db.abs() < 1.5);
        });
    }
}

#[test]
fn a_lossy_and_jittery_line_is_heard_through() {
    in_time(|| {
        let dir = TempDir::new();
        let said = [lead(), sentence(), sentence()].concat();
        let (mic, heard) = (dir.wav("mic.wav", &said), dir.path("heard.wav"));
        let line = ["--line", "loss=10,delay=20,jitter=uniform:30,reorder=2,duplicate=2"];
        let mut bob = Node::named("Bob", &[&["--speaker", &heard][..], &line].concat());
        let mut alice = Node::named("Alice", &[&["--mic", &mic][..], &line].concat());
        alice.link(&mut bob);
        bob.ok(json!({ "cmd": "voice_join" }));
        alice.ok(json!({ "cmd": "voice_join" }));
        alice.await_event("mic_ended", json!({}));
        let member = bob.member(&alice.id());
        bob.ok(json!({ "cmd": "voice_leave" }));
        assert!(number(&member, "lost") > 5, "{member}");
        let found = is_heard(&said, &recorded(&heard));
        assert!(found.missing_ms() < 200.0, "{found:?}");
        assert!(found.level_db.abs() < 2.0, "{found:?}");
    });
}

#[test]
fn a_flood_of_text_does_not_drown_a_call() {
    in_time(|| {
        let dir = TempDir::new();
        let said = [lead(), sentence()].concat();
        let (mic, heard) = (dir.wav("mic.wav", &said), dir.path("heard.wav"));
        let [mut alice, mut bob] = ["Alice", "Bob"].map(|name| Node::named(name, &["--events", "-message"]));
        alice.link(&mut bob);
        let mut floods: Vec<RawPeer> =
            (0..3).map(|n| RawPeer::dial(&bob.addr(), &format!("10.0.0.{n}:5000"), "Flood")).collect();
        bob.join_voice("none", &heard);
        alice.join_voice(&mic, "none");
        alice.reaches(&[&bob.id()]);
        let stop = &AtomicBool::new(false);
        let sent: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = floods.iter_mut().map(|peer| scope.spawn(|| flood(peer, stop))).collect();
            alice.await_event("mic_ended", json!({}));
            stop.store(true, Ordering::Relaxed);
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let member = bob.member(&alice.id());
        bob.ok(json!({ "cmd": "voice_leave" }));
        let found = is_heard(&said, &recorded(&heard));
        eprintln!(
            "{sent} messages; {member}; {} ms are missing, delays {:.0} to {:.0} ms",
            found.missing_ms(),
            found.delay_quantile(0.0),
            found.delay_quantile(1.0)
        );
        assert!(sent > 5_000, "{sent} messages");
        assert!(found.missing_ms() < 200.0, "{found:?}");
    });
}

/// Says as much as the node takes, until it is told to stop. Gives how many messages.
fn flood(peer: &mut RawPeer, stop: &AtomicBool) -> usize {
    let mut said = 0;
    while !stop.load(Ordering::Relaxed) {
        let frames = (0..100).flat_map(|_| framed(chat("10.0.0.1:5000", "general", "flood").to_string().as_bytes()));
        if !peer.try_send_bytes(&frames.collect::<Vec<u8>>()) {
            break;
        }
        said += 100;
    }
    said
}

#[test]
fn what_is_muted_is_not_heard_and_gain_is() {
    in_time(|| {
        let dir = TempDir::new();
        let (pipe, heard) = (dir.path("mic"), dir.path("heard.wav"));
        let (mut alice, mut bob) = (Node::named("Alice", &[]), Node::named("Bob", &[]));
        alice.link(&mut bob);
        bob.join_voice("none", &heard);
        alice.join_voice(&format!("pipe:{pipe}"), "none");
        alice.reaches(&[&bob.id()]);
        alice.ok(json!({ "cmd": "voice_mute" }));
        bob.await_event("voice_muted", json!({ "peer": alice.id(), "muted": true }));
        feed(&pipe, &sentence()).join().unwrap();
        alice.await_event("mic_ended", json!({}));
        assert_eq!(alice.ok(json!({ "cmd": "voice_unmute" })), json!({ "room": "general", "muted": false }));
        bob.await_event("voice_muted", json!({ "peer": alice.id(), "muted": false }));
        bob.ok(json!({ "cmd": "voice_gain", "peer": alice.id(), "db": -12 }));
        assert_eq!(bob.member(&alice.id())["gain_db"], -12.0);
        feed(&pipe, &question()).join().unwrap();
        alice.await_event("mic_ended", json!({}));
        bob.ok(json!({ "cmd": "voice_leave" }));
        let heard = recorded(&heard);
        is_not_heard(&sentence(), &heard);
        let level = is_heard(&question(), &heard).level_db;
        assert!((level + 12.0).abs() < 1.5, "{level} dB");
        let told = bob.saw("speaking", json!({ "peer": alice.id() }));
        assert_eq!(told.first().map(|event| &event["speaking"]), Some(&json!(true)));
    });
}

#[test]
fn a_voice_that_is_sent_back_comes_back_in_time() {
    in_time(|| {
        let dir = TempDir::new();
        let said = [lead(), sentence()].concat();
        let (mic, heard) = (dir.wav("mic.wav", &said), dir.path("heard.wav"));
        let (into, out) = (dir.path("into"), dir.path("out"));
        let (mut alice, mut parrot) = (Node::named("Alice", &[]), Node::named("Parrot", &[]));
        alice.link(&mut parrot);
        parrot.join_voice(&format!("pipe:{into}"), &format!("pipe:{out}"));
        let copy = std::thread::spawn(move || {
            let mut out = std::fs::OpenOptions::new().read(true).open(out).expect("a pipe");
            let mut into = std::fs::OpenOptions::new().write(true).open(into).expect("a pipe");
            // It ends when the node does.
            let _ = std::io::copy(&mut out, &mut into);
        });
        // Both ends of her sound begin at once: the delay between her two files is that of the whole way there and back.
        alice.join_voice(&mic, &heard);
        alice.await_event("mic_ended", json!({}));
        alice.ok(json!({ "cmd": "voice_leave" }));
        parrot.finish().exited(0);
        copy.join().unwrap();
        let found = is_heard(&said, &recorded(&heard));
        eprintln!("there and back in {:.0} ms, level {:.1} dB", found.delay_ms(), found.level_db);
        assert!((0.0..1000.0).contains(&found.delay_ms()), "{found:?}");
        assert!(found.level_db.abs() < 2.0);
    });
}
