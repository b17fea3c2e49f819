//! How a node ends: end of input, `exit`, `--check`, signals, a closed stdout, and the exit code of each.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{Node, Output, RawListener, RawPeer};

const BOB: &str = "127.0.0.1:5001";

#[track_caller]
fn said_bye(output: &Output, reason: &str, exit: u8) {
    let bye = output.bye();
    assert_eq!((&bye["reason"], &bye["exit"]), (&json!(reason), &json!(exit)));
    assert_eq!(output.code, Some(exit.into()));
}

#[test]
fn at_end_of_input_it_runs_what_it_has_read() {
    let mut node = Node::start(&[]);
    let wait = node.begin(json!({ "cmd": "wait", "event": "message", "match": { "text": "now" } }));
    let aside = node.begin(json!({ "cmd": "wait", "event": "message", "match": { "text": "later" }, "async": true }));
    let room = node.begin(json!({ "cmd": "room" }));
    node.close_stdin();
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    bob.say("now");
    for id in [wait, room] {
        assert_eq!(node.await_reply(&id)["ok"], true);
    }
    bob.say("later");
    assert_eq!(node.await_reply(&aside)["ok"], true);
    said_bye(&node.await_end(), "eof", 0);
}

#[test]
fn exit_is_answered_and_ends_it() {
    let mut node = Node::start(&[]);
    let wait = node.begin(json!({ "cmd": "wait", "event": "message", "async": true }));
    let exit = node.begin(json!({ "cmd": "exit" }));
    node.send_line(&json!({ "cmd": "room", "id": "too late" }));
    assert_eq!(node.await_reply(&exit)["result"], json!({}));
    assert_eq!(node.await_reply(&wait)["error"]["code"], "interrupted");
    let output = node.await_end();
    said_bye(&output, "exit", 0);
    assert_eq!(output.all("reply").len(), 2, "nothing is run after it");
}

#[test]
fn with_stay_it_outlives_its_input() {
    let mut node = Node::start(&["--stay"]);
    node.ok(json!({ "cmd": "room" }));
    node.close_stdin();
    let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
    bob.say("still there?");
    node.hears("still there?");
    node.signal(Signal::TERM);
    said_bye(&node.await_end(), "sigterm", 0);
    bob.expect_closed();
}

#[test]
fn a_signal_ends_it_as_end_of_input_does() {
    for (signal, reason) in SIGNALS {
        let mut node = Node::start(&[]);
        let mut bob = RawPeer::dial(&node.addr(), BOB, "Bob");
        node.await_event("peer_up", json!({}));
        for i in 0..50 {
            node.send_line(&json!({ "cmd": "send", "text": format!("{i}") }));
        }
        node.ok(json!({ "cmd": "room" }));
        node.signal(signal);
        assert_eq!(bob.until_closed().len(), 50, "links are drained");
        said_bye(&node.await_end(), reason, 0);
    }
}

/// The signals that end a node in good order, and what `bye` has of each.
const SIGNALS: [(Signal, &str); 10] = [
    (Signal::INT, "sigint"),
    (Signal::TERM, "sigterm"),
    (Signal::HUP, "sighup"),
    (Signal::USR1, "sigusr1"),
    (Signal::USR2, "sigusr2"),
    (Signal::ALARM, "sigalrm"),
    (Signal::VTALARM, "sigvtalrm"),
    (Signal::PROF, "sigprof"),
    (Signal::IO, "sigio"),
    (Signal::XCPU, "sigxcpu"),
];

#[test]
fn a_signal_that_asks_for_a_core_dump_keeps_its_default() {
    for signal in [Signal::QUIT, Signal::ABORT] {
        let node = Node::shell("ulimit -c 0; exec \"$@\"", &[]);
        node.signal(signal);
        let output = node.await_end();
        assert_eq!((output.code, output.lines.len()), (None, 1), "{signal:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_was_ignored_at_the_start_stays_ignored() {
    let mut node = Node::shell("trap \"\" HUP INT USR1; exec \"$@\"", &[]);
    for signal in [Signal::HUP, Signal::INT, Signal::USR1] {
        node.signal(signal);
        node.signal(signal);
    }
    node.ok(json!({ "cmd": "room" }));
    node.signal(Signal::TERM);
    said_bye(&node.await_end(), "sigterm", 0);
}

#[cfg(target_os = "linux")]
#[test]
fn the_first_process_of_a_container_hears_them_too() {
    let can = std::process::Command::new("unshare").args(UNSHARE).arg("true").output();
    if !can.is_ok_and(|output| output.status.success()) {
        return eprintln!("skipped: no container can be made here");
    }
    for (signal, reason) in SIGNALS {
        let node = Node::shell(&format!("exec unshare {} \"$@\"", UNSHARE.join(" ")), &[]);
        let children = format!("/proc/{0}/task/{0}/children", node.pid());
        let first = std::fs::read_to_string(children).expect("it runs").trim().parse().ok();
        kill_process(first.and_then(Pid::from_raw).expect("one child"), signal).expect("it is there");
        said_bye(&node.await_end(), reason, 0);
    }
}

/// The tools that give a program a container of its own.
#[cfg(target_os = "linux")]
const UNSHARE: [&str; 5] = ["--user", "--map-root-user", "--pid", "--fork", "--kill-child"];

#[test]
fn a_signal_cuts_short_what_waits() {
    let mut node = Node::start(&[]);
    let silent = RawListener::new();
    let wait = node.begin(json!({ "cmd": "wait", "event": "voice_left", "async": true }));
    let send = json!({ "cmd": "send", "text": "hi", "min_links": 9, "timeout_ms": 86_400_000, "async": true });
    let send = node.begin(send);
    let connect = node.begin(json!({ "cmd": "connect", "addr": silent.addr() }));
    let _held = silent.accept_silent();
    node.signal(Signal::INT);
    for id in [wait, send, connect] {
        let reply = node.await_reply(&id);
        assert_eq!(reply["error"]["code"], "interrupted", "{reply}");
    }
    said_bye(&node.await_end(), "sigint", 0);
}

#[test]
fn with_check_what_a_signal_cuts_short_has_failed() {
    let mut node = Node::start(&["--check"]);
    let silent = RawListener::new();
    let connect = node.begin(json!({ "cmd": "connect", "addr": silent.addr() }));
    let _held = silent.accept_silent();
    node.signal(Signal::TERM);
    assert_eq!(node.await_reply(&connect)["error"]["code"], "interrupted");
    said_bye(&node.await_end(), "sigterm", 5);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut node = Node::start(&["--drain-ms", "600000"]);
    let mut deaf = RawPeer::dial_deaf(&node.addr(), BOB, "Bob");
    node.await_event("peer_up", json!({}));
    // More than the system takes for it, less than what fills the link's queue, too.
    for _ in 0..67 {
        node.send_line(&json!({ "cmd": "send", "text": "x".repeat(60_000) }));
    }
    let wait = node.begin(json!({ "cmd": "wait", "event": "voice_left", "async": true, "timeout_ms": 86_400_000 }));
    node.ok(json!({ "cmd": "room" }));
    node.signal(Signal::TERM);
    // It has seen the first one, and drains for ten minutes.
    assert_eq!(node.await_reply(&wait)["error"]["code"], "interrupted");
    node.signal(Signal::TERM);
    let output = node.await_end();
    assert!(output.code != Some(0), "it was cut short");
    deaf.expect_closed();
}

#[test]
fn check_stops_at_the_first_error() {
    let mut node = Node::start(&["--check"]);
    node.ok(json!({ "cmd": "room" }));
    node.send_raw(b"{\"cmd\":\"flee\",\"id\":1}\n{\"cmd\":\"send\",\"text\":\"not run\"}\n");
    let output = node.await_end();
    said_bye(&output, "check", 5);
    assert_eq!(output.codes(), [Value::Null, json!("unknown_command")]);
    let message = output.all("reply")[1]["error"]["message"].clone();
    assert!(output.stderr.contains(message.as_str().unwrap()), "{} says nothing of {message}", output.stderr);
}

#[test]
fn check_counts_a_wait_that_timed_out_and_every_other_error() {
    for line in [
        "{\"cmd\":\"wait\",\"event\":\"message\",\"timeout_ms\":0}",
        "{\"cmd\":\"send\",\"text\":\"hi\",\"min_links\":1,\"timeout_ms\":0}",
        "nonsense",
        "{\"cmd\":\"room\",\"id\":[]}",
        "{\"cmd\":\"wait\",\"event\":\"message\",\"timeout_ms\":0,\"async\":true}",
    ] {
        let mut node = Node::start(&["--check"]);
        node.send_raw(line.as_bytes());
        let output = node.finish();
        said_bye(&output, "check", 5);
        assert_ne!(output.stderr, "", "{line}");
    }
}

#[test]
fn check_lets_fail_what_may_fail() {
    let mut node = Node::start(&["--check"]);
    node.fails(json!({ "cmd": "wait", "event": "message", "timeout_ms": 0, "may_fail": true }));
    node.fails(json!({ "cmd": "flee", "may_fail": true }));
    node.fails(json!({ "cmd": "send", "may_fail": true }));
    node.ok(json!({ "cmd": "room" }));
    said_bye(&node.finish(), "eof", 0);
}

#[test]
fn without_check_errors_do_not_count() {
    let mut node = Node::start(&[]);
    node.fails(json!({ "cmd": "flee" }));
    let output = node.finish();
    said_bye(&output, "eof", 0);
    assert_eq!(output.stderr, "", "and are not said on stderr");
}

#[test]
fn what_a_link_did_not_take_in_time_is_counted() {
    for (args, exit) in [(["--drain-ms", "100"].as_slice(), 0), (&["--drain-ms", "100", "--check"], 5)] {
        let mut node = Node::start(args);
        let mut deaf = RawPeer::dial_deaf(&node.addr(), BOB, "Bob");
        node.await_event("peer_up", json!({}));
        for _ in 0..120 {
            node.send_line(&json!({ "cmd": "send", "text": "x".repeat(60_000) }));
        }
        let output = node.finish();
        let bye = output.bye();
        assert!(bye["undelivered"].as_u64().is_some_and(|n| n > 0), "{bye}");
        assert_eq!((&bye["exit"], output.code), (&json!(exit), Some(exit)));
        deaf.expect_closed();
    }
}

#[test]
fn a_closed_stdout_is_noticed_with_nothing_to_write() {
    let mut node = Node::unread(&[]);
    node.close_stdout();
    assert_eq!(node.await_end().exited(6).lines.len(), 1);
}

#[test]
fn a_closed_stdout_ends_it_when_the_links_are_drained() {
    let mut node = Node::unread(&["--drain-ms", "30000"]);
    let mut slow = RawPeer::dial_deaf(&node.addr(), BOB, "Bob");
    let mut witness = RawPeer::dial(&node.addr(), "carol", "Carol");
    for i in 0..30 {
        let text = format!("{i} {}", "x".repeat(60_000));
        node.send_line(&json!({ "cmd": "send", "text": text, "min_links": 2 }));
    }
    node.send_line(&json!({ "cmd": "send", "text": "last" }));
    assert_eq!(witness.all_until("last").len(), 31);
    node.close_stdout();
    witness.expect_closed();
    assert_eq!(slow.all_until("last").len(), 31);
    slow.expect_closed();
    node.await_end().exited(6);
}

#[test]
fn a_dial_under_way_does_not_keep_it() {
    let silent = RawListener::new();
    let mut node = Node::start(&["--connect", &silent.addr()]);
    let _held = silent.accept_silent();
    node.ok(json!({ "cmd": "room" }));
    said_bye(&node.finish(), "eof", 0);
}

#[cfg(target_os = "linux")]
#[test]
fn with_stay_a_node_in_the_background_leaves_the_terminal_to_others() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&master).and_then(|()| unlockpt(&master)).expect("a terminal");
    let path = ptsname(&master, Vec::new()).expect("a terminal").into_string().expect("ASCII");
    let terminal = std::fs::File::options().read(true).write(true).open(path).expect("a terminal");
    let mut keyboard = std::fs::File::from(master);
    // A shell with job control has the terminal, and the node runs in its background.
    let script = r#"set -m; "$@" & read -r line; echo "the shell has read $line"; kill %1; wait"#;
    let mut shell = Command::new("setsid")
        .args(["--ctty", "--wait", "sh", "-c", script, "sh", crate::support::PROGRAM, "--port", "0", "--stay"])
        .args(["--mic", "none", "--speaker", "none"])
        .stdin(Stdio::from(terminal))
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut lines = BufReader::new(shell.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let ready: Value = serde_json::from_str(&lines.next().expect("a line")).expect("JSON");
    let mut bob = RawPeer::dial(ready["tcp"].as_str().expect("an address"), BOB, "Bob");
    let up = lines.find(|line| line.contains("peer_up")).expect("Bob is linked");
    assert!(up.contains("Bob"), "{up}");
    // What is typed but for the end of the line is nobody's yet.
    keyboard.write_all(b"typed").expect("a terminal");
    for n in 0..20 {
        bob.say(&format!("{n}"));
        lines.find(|line| line.contains(&format!("\"text\":\"{n}\""))).expect("the node runs on");
    }
    keyboard.write_all(b"\n").expect("a terminal");
    lines.find(|line| line == "the shell has read typed").expect("it was the shell's");
    lines.find(|line| line.contains("\"reason\":\"sigterm\"")).expect("it ends as it should");
    assert!(shell.wait().expect("it ends").success());
}
