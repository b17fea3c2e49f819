//! A clock that is wrong by decades, and one that jumps. Only what people read comes from it; what is awaited, from
//! the one that never jumps.

use std::collections::BTreeSet;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::raw::framed;
use crate::support::{Node, RawListener, TempDir, text};

/// When 32 bits of seconds overflow: 2038-01-19T03:14:08Z.
const OVERFLOW: Duration = Duration::from_secs(1 << 31);
/// How far a clock may go on while a test runs.
const WHILE: Duration = Duration::from_secs(600);

/// What has a program believe in another time (libfaketime); none if it is not installed.
fn liar() -> Option<String> {
    let asked = Command::new("faketime").args(["-m", "-f", "+0", "printenv", "LD_PRELOAD"]).output();
    let library = asked.ok().filter(|asked| asked.status.success()).map(|asked| asked.stdout);
    let library = library.and_then(|path| String::from_utf8(path).ok()).map(|path| path.trim().to_owned());
    if library.is_none() {
        eprintln!("skipped: faketime is not installed");
    }
    library
}

/// Starts a node that believes in a time: `environment` says in which.
#[track_caller]
fn node_at(liar: &str, environment: &str, name: &str, args: &[&str]) -> Node {
    let script = format!("TZ=UTC LD_PRELOAD='{liar}' {environment} exec \"$@\"");
    Node::shell_unseeded(&script, &[&["--username", name], args].concat())
}

/// Has one say something that the others hear. Gives the events.
#[track_caller]
fn chat(from: &mut Node, to: &mut [&mut Node], what: &str) -> Vec<Value> {
    from.say(what);
    to.iter_mut().map(|node| node.hears(what)).collect()
}

/// A time of an event, which must be RFC 3339, since 1970.
#[track_caller]
fn time(event: &Value, field: &str) -> Duration {
    let time = text(event, field);
    let read = humantime::parse_rfc3339(&time).unwrap_or_else(|e| panic!("{time}: {e}"));
    read.duration_since(UNIX_EPOCH).expect("no earlier than 1970")
}

#[track_caller]
fn is_between(time: Duration, from: Duration) {
    assert!(time >= from && time < from + WHILE, "{time:?} is not about {from:?}");
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later")
}

#[test]
fn nodes_of_1970_of_2038_and_of_now_talk() {
    let Some(liar) = liar() else { return };
    let start = now();
    // Those of 1970 believe in another time for what is awaited, too, or do not.
    for (n, mono) in ["DONT_FAKE_MONOTONIC=1", ""].into_iter().enumerate() {
        let mut today = Node::shell_unseeded("exec \"$@\"", &["--username", "Today"]);
        let today_addr = today.addr();
        let at = |time: &str, name: &str| {
            node_at(&liar, &format!("FAKETIME='@{time}' {mono}"), name, &["--connect", &today_addr])
        };
        let (mut past, mut future) = (at("1970-01-01 00:00:01", "Past"), at("2038-01-19 03:13:58", "Future"));
        for node in [&mut past, &mut future] {
            node.await_event("peer_up", json!({}));
            today.await_event("peer_up", json!({ "peer": node.id() }));
        }
        let heard = chat(&mut past, &mut [&mut today, &mut future], "from 1970");
        is_between(time(&heard[0], "ts"), Duration::ZERO);
        is_between(time(&heard[0], "received_at"), start);
        is_between(time(&heard[1], "received_at"), OVERFLOW - Duration::from_secs(10));
        let heard = chat(&mut today, &mut [&mut past, &mut future], "from today");
        is_between(time(&heard[0], "ts"), start);
        is_between(time(&heard[0], "received_at"), Duration::ZERO);
        // Until the 32 bits have overflown.
        let over = (0..).find(|n| {
            let heard = chat(&mut future, &mut [&mut today, &mut past], &format!("{n} from 2038"));
            is_between(time(&heard[0], "ts"), OVERFLOW - Duration::from_secs(10));
            thread::sleep(Duration::from_millis(100));
            time(&heard[0], "ts") > OVERFLOW
        });
        assert!(over > Some(0), "there was something before it");

        // Waits end when they should, and dials go on.
        assert_eq!(future.fails(json!({ "cmd": "wait", "event": "renamed", "timeout_ms": 100 })), "timeout");
        if n == 0 {
            they_call(&mut past, &mut today, &mut future);
        }
        today.ok(json!({ "cmd": "disconnect", "peer": past.id() }));
        past.await_event("peer_down", json!({}));
        past.await_event("peer_up", json!({ "username": "Today" }));
        chat(&mut past, &mut [&mut today, &mut future], "back again");
        for node in [past, future, today] {
            node.finish().exited(0);
        }
    }
}

/// Each hears the voice of one of another time.
#[track_caller]
fn they_call(past: &mut Node, today: &mut Node, future: &mut Node) {
    for node in [&mut *past, &mut *today, &mut *future] {
        node.join_voice("tone:440", "none");
    }
    let [of_past, of_today, of_future] = [&*past, &*today, &*future].map(Node::id);
    for (node, other) in [(of_past, &mut *today), (of_today, &mut *future), (of_future, &mut *past)] {
        other.await_event("speaking", json!({ "peer": node, "speaking": true }));
    }
    for node in [past, today, future] {
        node.ok(json!({ "cmd": "voice_leave" }));
    }
}

#[test]
fn a_clock_that_jumps_moves_nothing_but_what_people_read() {
    let Some(liar) = liar() else { return };
    let dir = TempDir::new();
    let file = dir.write("time", "+0");
    let environment = format!("FAKETIME_TIMESTAMP_FILE={file} FAKETIME_NO_CACHE=1 DONT_FAKE_MONOTONIC=1");
    let mut today = Node::shell_unseeded("exec \"$@\"", &["--username", "Today"]);
    let mut jumper = node_at(&liar, &environment, "Jumper", &["--connect", &today.addr()]);
    jumper.await_event("peer_up", json!({}));
    today.await_event("peer_up", json!({}));
    let uptime = now();
    for n in 0..4 {
        for (moment, expected) in [
            ("@1970-01-01 00:00:01", Duration::ZERO),
            ("@2038-01-19 03:14:07", OVERFLOW - Duration::from_secs(1)),
            ("+0", uptime),
            ("@2100-02-28 23:59:59", Duration::from_secs(4_107_542_399)),
        ] {
            // Renamed into place, so that it is never read half written.
            let new = dir.write("new time", moment);
            std::fs::rename(new, &file).expect("the same folder");
            let heard = chat(&mut jumper, &mut [&mut today], &format!("{n} {moment}"));
            is_between(time(&heard[0], "ts"), expected);
            let heard = chat(&mut today, &mut [&mut jumper], &format!("{n} {moment} back"));
            is_between(time(&heard[0], "received_at"), expected);
            let status = jumper.ok(json!({ "cmd": "status" }));
            assert!(status["uptime_s"].as_u64() < Some(600), "{status}");
            assert_eq!(jumper.fails(json!({ "cmd": "wait", "event": "renamed", "timeout_ms": 10 })), "timeout");
        }
    }
    for node in [jumper, today] {
        assert!(node.saw("peer_down", json!({})).is_empty());
        node.finish().exited(0);
    }
}

/// The two times that a clock may wrongly show, there and back.
const THERE_AND_BACK: [&str; 5] =
    ["@2038-01-19 03:14:00", "@1970-01-01 00:00:01", "+0", "@2038-01-19 03:14:00", "@1970-01-01 00:00:01"];

#[test]
fn a_node_that_keeps_its_key_is_heard_whatever_time_it_starts_in_and_no_recording_is() {
    let Some(liar) = liar() else { return };
    let (temp, tap) = (TempDir::new(), RawListener::new());
    let (dir, listeners_dir) = (temp.path("state"), temp.path("listener"));
    let mut listener = Node::shell_unseeded("exec \"$@\"", &["--state", &listeners_dir]);
    let addr = listener.addr();
    let (mut places, mut recorded) = (BTreeSet::new(), Vec::new());
    for (n, time) in THERE_AND_BACK.into_iter().enumerate() {
        let args = ["--state", &dir, "--connect", &addr, "--connect", &tap.addr()];
        let mut node = node_at(&liar, &format!("FAKETIME='{time}' DONT_FAKE_MONOTONIC=1"), "Jumper", &args);
        let mut bob = tap.accept("127.0.0.1:5001", "Bob");
        node.await_event("peer_up", json!({ "secure": true }));
        for what in ["a", "b"] {
            let what = format!("{what} of {time}, {n}");
            node.say(&what);
            assert_eq!(listener.hears(&what)["verified"], true);
            let frame = bob.read_bytes().expect("a frame");
            let sig = serde_json::from_slice::<Value>(&frame).expect("JSON")["sig"].clone();
            let place = (sig["epoch"].as_u64().expect("an epoch"), sig["n"].as_u64().expect("a counter"));
            assert!(places.last() < Some(&place), "{place:?} after {places:?}");
            places.insert(place);
            recorded.extend(framed(&frame));
        }
        match n % 2 {
            0 => drop(node.crash()),
            _ => drop(node.finish()),
        }
    }
    listener.finish().exited(0);
    // Who heard it shows none again, whatever time that one starts in.
    for time in THERE_AND_BACK {
        let args = ["--state", &listeners_dir, "--connect", &tap.addr()];
        let mut listener = node_at(&liar, &format!("FAKETIME='{time}' DONT_FAKE_MONOTONIC=1"), "Listener", &args);
        let mut bob = tap.accept("127.0.0.1:5001", "Bob");
        bob.send_bytes(&recorded);
        bob.say("last");
        listener.hears("last");
        assert_eq!(listener.crash().all("message").len(), 1);
    }
}

#[test]
fn a_block_ends_though_it_was_set_in_2038_and_stays_though_the_clock_is_put_right() {
    let Some(liar) = liar() else { return };
    let temp = TempDir::new();
    let (dir, file) = (temp.path("state"), temp.write("time", "@2038-01-19 03:14:00"));
    let environment = format!("FAKETIME_TIMESTAMP_FILE={file} FAKETIME_NO_CACHE=1 DONT_FAKE_MONOTONIC=1");
    let start = || node_at(&liar, &environment, "Jumper", &["--state", &dir]);
    let set_clock = |moment: &str| {
        let new = temp.write("new time", moment);
        std::fs::rename(new, &file).expect("the same folder");
    };
    let left = |node: &mut Node| node.ok(json!({ "cmd": "blocks" }))["blocks"][0]["left_ms"].as_u64();
    let mut node = start();
    node.ok(json!({ "cmd": "block", "author": "x", "for_ms": HOUR }));
    node.crash();
    set_clock("@2026-01-01 00:00:00");
    let mut node = start();
    let before = left(&mut node).expect("it is there");
    assert!(before <= HOUR, "{before}");
    node.finish().exited(0);
    // An hour later and some: that node has counted the hour from when it had come up.
    set_clock("@2026-01-01 01:10:00");
    let mut node = start();
    assert_eq!(left(&mut node), None, "that hour is over");
    // One that is set when the clock stands in 1970, and then is put right.
    set_clock("@1970-01-01 00:00:01");
    node.ok(json!({ "cmd": "block", "author": "x", "for_ms": HOUR }));
    set_clock("@2026-01-01 00:00:00");
    assert!(left(&mut node).is_some_and(|left| left <= HOUR));
    // The node has seen the jump by now, and tells nothing more before what it keeps for that is on the disk.
    assert!(left(&mut node).is_some_and(|left| left <= HOUR));
    node.crash();
    let mut node = start();
    assert!(left(&mut node).is_some_and(|left| left > 0 && left <= HOUR));
    node.finish().exited(0);
}

/// In milliseconds.
const HOUR: u64 = 3_600_000;
