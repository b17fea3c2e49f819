//! The command line: its options, what refuses them, and what the program says without running a node.

use std::net::{TcpListener, UdpSocket};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Node, Output, PROGRAM, RawPeer, fresh_id, has_fields, is_control, number, private_host, text};

/// Runs the program to its end with just these arguments.
#[track_caller]
fn run(args: &[&str]) -> std::process::Output {
    let mut command = Command::new(PROGRAM);
    let output = command.args(args).stdin(Stdio::null()).output().expect("it runs");
    let told = [&output.stdout[..], &output.stderr].concat();
    let control = String::from_utf8(told).expect("UTF-8").chars().find(|&c| is_control(c) && c != '\n');
    assert_eq!(control, None, "a raw control character from {args:?}");
    output
}

#[test]
fn the_first_line_tells_what_a_frontend_needs() {
    let node = Node::start(&[]);
    let ready = node.ready();
    let basics = json!({ "seq": 1, "protocol": 1, "version": env!("CARGO_PKG_VERSION"), "room": "general" });
    assert!(has_fields(ready, &basics), "{ready}");
    let port = |field: &str| text(ready, field).strip_prefix("127.0.0.1:").unwrap().parse::<u16>().unwrap();
    assert!(port("tcp") > 0 && port("udp") > 0, "the ports really bound");
    assert_eq!(node.username(), format!("user-{}", port("tcp")));
    assert!(uuid::Uuid::parse_str(&node.id()).is_ok());
    let limits = json!({ "line_bytes": 1 << 20, "text_bytes": 64 << 10, "name_bytes": 64, "meta_bytes": 1024,
        "links": 64, "rooms": 1024, "history_per_room": 1000, "wait_events": 10_000, "queue_lines": 8192,
        "voice_members_per_room": 64, "voice_members": 1024 });
    assert!(has_fields(&ready["limits"], &limits), "{ready}");
    assert!(ready["features"].as_array().is_some_and(|features| features.contains(&json!("text"))));
}

#[test]
fn options_reach_the_node() {
    let mut node = Node::start(&["--username", "Zoë", "--room", "lobby", "--listen", "*", "--max-links", "3"]);
    assert!(has_fields(node.ready(), &json!({ "username": "Zoë", "room": "lobby" })));
    assert_eq!(node.ready()["limits"]["links"], 3);
    let status = node.ok(json!({ "cmd": "status" }));
    assert!(has_fields(&status, &json!({ "username": "Zoë", "room": "lobby", "listened": ["*"] })), "{status}");
}

#[test]
fn without_a_udp_port_it_is_a_thousand_higher() {
    let host = private_host();
    let node = Node::launch(&["--host", &host, "--port", "5000"]);
    let output = node.finish().exited(0);
    assert_eq!(output.lines[0]["udp"], format!("{host}:6000"));
}

#[test]
fn ipv6_works_where_the_system_has_it() {
    if TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let mut node = Node::start(&["--host", "::1"]);
    let mut other = Node::named("Bob", &["--host", "::1"]);
    assert!(node.addr().starts_with("[::1]:"));
    node.link(&mut other);
}

#[cfg(target_os = "linux")]
#[test]
fn an_ipv6_zone_goes_with_its_address() {
    let interfaces = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let link_local = interfaces.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let bits = u128::from_str_radix(fields.first()?, 16).ok().filter(|bits| bits >> 118 == 0xfe80 >> 6)?;
        Some((std::net::Ipv6Addr::from_bits(bits), *fields.get(1)?, *fields.get(5)?))
    });
    let Some((ip, number, name)) = link_local else { return eprintln!("skipped: no link-local address here") };
    let number = u32::from_str_radix(number, 16).unwrap();
    let mut bob = Node::named("Bob", &["--host", &format!("{ip}%{name}")]);
    let addr = bob.addr();
    assert!(addr.starts_with(&format!("[{ip}%{number}]:")), "{addr}");
    let port = addr.rsplit(':').next().unwrap();
    for (n, zone) in [name.to_owned(), number.to_string()].into_iter().enumerate() {
        let mut alice = Node::named(&format!("Alice{n}"), &["--connect", &format!("[{ip}%{zone}]:{port}")]);
        let up = alice.await_event("peer_up", json!({ "peer": bob.id() }));
        assert_eq!(up["addr"], addr);
        bob.await_event("peer_up", json!({ "peer": alice.id() }));
    }
}

#[test]
fn a_zone_that_is_not_there_is_told() {
    let mut node = Node::start(&[]);
    let reply = node.command(json!({ "cmd": "connect", "addr": "[fe80::1%nowhere]:7400" }));
    assert_eq!(reply["error"]["code"], "connect_failed", "{reply}");
    let output = run(&["--port", "0", "--host", "fe80::1%nowhere"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("--host"));
}

#[test]
fn of_an_option_given_twice_the_last_counts() {
    let mut node = Node::start(&["--username", "Alice", "--room", "a", "--username", "Zoë", "--room=b"]);
    assert_eq!((node.username(), &node.ready()["room"]), ("Zoë".to_owned(), &json!("b")));
    node.ok(json!({ "cmd": "room" }));
}

#[test]
fn too_few_open_files_are_fatal_and_no_panic() {
    for limit in [6, 8, 10, 12] {
        let script = format!("ulimit -n {limit} && exec \"$@\"");
        let output =
            Command::new("sh").args(["-c", &script, "sh", PROGRAM, "--port", "0"]).stdin(Stdio::null()).output();
        let output = output.expect("it runs");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{limit}: {stderr}");
        assert!(!stderr.contains("panicked"), "{limit}: {stderr}");
        if limit >= 8 {
            let line: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!((&line["event"], &line["code"]), (&json!("fatal"), &json!("open_files")), "{limit}");
            assert!(stderr.contains("ulimit -n"), "{limit}: {stderr}");
        }
    }
}

#[test]
fn wrong_usage_is_told_on_stderr_and_exits_with_2() {
    let long = "x".repeat(65);
    for args in [
        &[][..],
        &["--port"],
        &["--port", "http"],
        &["--port", "65536"],
        &["--port", "0", "--fly"],
        &["--port", "0", "stray"],
        &["--port", "0", "--username", ""],
        &["--port", "0", "--username", &long],
        &["--port", "0", "--room", &long],
        &["--port", "0", "--connect", "nowhere"],
        &["--port", "0", "--room-key-file", "no equals sign"],
        &["--port", "0", "--seed", "x"],
        &["--port", "0", "--log", "loudly"],
        &["--port", "0", "--events", "nope"],
        &["--port", "0", "--max-links", "0"],
        &["fly"],
        &["--port", "\u{1b}[31m\u{202e}0"],
        &["--\u{1b}[31m"],
        &["--port", "0", "--connect", "\u{1b}[31m\u{9b}"],
        &["--port", "0", "--events", "\u{7f}\u{2066}"],
    ] {
        let output = run(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert_ne!(stderr, "", "{args:?}");
        assert!(output.stdout.is_empty(), "stdout carries nothing but the protocol: {args:?}");
    }
}

#[test]
fn a_udp_port_that_does_not_exist_is_wrong_usage() {
    let output = run(&["--port", "65000"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("--udp-port"));
}

#[test]
fn help_and_version_are_for_people() {
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.lines().any(|line| line.contains("| p2p-chat --port")), "the first pipe to try: {help}");
    for option in OPTIONS {
        assert!(help.contains(option), "{option} is not in {help}");
    }
    let version = run(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert!(String::from_utf8(version.stdout).unwrap().contains(env!("CARGO_PKG_VERSION")));
}

const OPTIONS: &[&str] = &[
    "--host",
    "--port",
    "--udp-port",
    "--connect",
    "--username",
    "--room",
    "--listen",
    "--room-key-file",
    "--original-key-file",
    "--mic",
    "--speaker",
    "--advertise",
    "--check",
    "--stay",
    "--drain-ms",
    "--seed",
    "--events",
    "--log",
    "--max-links",
    "--max-links-per-addr",
    "--history-bytes",
];

#[test]
fn schema_prints_the_librarys() {
    let output = run(&["schema"]);
    assert_eq!(output.status.code(), Some(0));
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed, p2p_chat::api::schema::schema(false));
    let output = run(&["schema", "--strict"]);
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed, p2p_chat::api::schema::schema(true));
}

#[track_caller]
fn fatal(args: &[&str], code: &str) -> Output {
    let output = Node::launch(args).await_end().exited(3);
    let [fatal] = &output.lines[..] else { panic!("{:?}", output.lines) };
    assert_eq!((&fatal["event"], &fatal["code"]), (&json!("fatal"), &json!(code)));
    output
}

#[test]
fn a_port_in_use_is_fatal() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port().to_string();
    let output = fatal(&["--port", &port, "--udp-port", "0"], "address_in_use");
    assert!(text(&output.lines[0], "message").contains(&port), "it says which");
    let output = fatal(&["--port", &port, "--udp-port", "0", "--check"], "address_in_use");
    assert!(output.stderr.contains(&text(&output.lines[0], "message")), "for cron: {}", output.stderr);
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    fatal(&["--port", "0", "--udp-port", &udp.local_addr().unwrap().port().to_string()], "address_in_use");
}

#[test]
fn an_address_of_others_is_fatal() {
    // A documentation address: nobody has it.
    fatal(&["--port", "0", "--host", "192.0.2.1"], "cannot_bind");
}

#[test]
fn a_key_file_is_read_to_its_first_line() {
    let dir = crate::support::TempDir::new();
    let file = dir.write("key", "correct horse\r\nand more\n");
    let mut node = Node::start(&["--room-key-file", &format!("ops={file}")]);
    assert_eq!(node.ok(json!({ "cmd": "status" }))["keyed"], json!(["ops"]));
    let mut other = Node::named("Bob", &["--room", "ops"]);
    other.ok(json!({ "cmd": "key", "passphrase": "correct horse" }));
    node.link(&mut other);
    node.ok(json!({ "cmd": "send", "text": "sealed", "room": "ops" }));
    assert_eq!(other.hears("sealed")["encrypted"], true);
    let output = fatal(&["--port", "0", "--room-key-file", &format!("ops={file}.none")], "cannot_read");
    assert!(text(&output.lines[0], "message").contains(&file));
}

#[test]
fn the_log_is_on_stderr_and_silent_until_asked_for() {
    for (args, silent) in [(&[][..], true), (&["--log", "debug"], false)] {
        let mut node = Node::start(args);
        let _bob = RawPeer::dial(&node.addr(), "127.0.0.1:5001", "Bob");
        node.await_event("peer_up", json!({}));
        let output = node.finish().exited(0);
        assert_eq!(output.stderr.is_empty(), silent, "{}", output.stderr);
    }
}

#[test]
fn events_of_the_command_line_are_shown() {
    let mut node = Node::start(&["--events", "forwarded,dropped"]);
    assert_eq!(node.ok(json!({ "cmd": "events" }))["hidden"], json!([]));
    let mut node = Node::start(&["--events", "none,message,-peer_up"]);
    let shown = node.ok(json!({ "cmd": "events" }))["shown"].clone();
    assert_eq!(shown, json!(["ready", "reply", "message", "lagged", "fatal", "bye"]));
}

#[test]
fn a_seed_makes_it_the_same_in_every_run() {
    let tell = |name: &str, seed: &str| {
        let mut node = Node::named(name, &["--seed", seed]);
        let ids = [node.id(), node.say("one"), node.say("two")];
        (ids, node.ok(json!({ "cmd": "history" })))
    };
    assert_eq!(tell("Alice", "1"), tell("Alice", "1"));
    let (ids, history) = tell("Alice", "1");
    assert_eq!(number(&history["messages"][1], "pos"), 2);
    for (name, seed) in [("Bob", "1"), ("Alice", "2")] {
        let (others, _) = tell(name, seed);
        assert!(ids.iter().zip(&others).all(|(a, b)| a != b), "{name} with seed {seed} has ids of his own");
    }
}

#[test]
fn a_seed_makes_message_ids_the_same_whatever_the_links_do() {
    let mut alone = Node::named("Alice", &[]);
    let alone = [alone.say("one"), alone.say("two")];
    let mut alice = Node::named("Alice", &[]);
    let mut bob = RawPeer::dial_level2(&alice.addr(), "Bob");
    alice.await_event("peer_up", json!({}));
    // Hellos, pings and what answers them have ids, too.
    let one = alice.say("one");
    for nonce in 0..3 {
        bob.send(&json!({ "id": fresh_id(), "type": "ping", "nonce": nonce }));
        bob.await_frame(&json!({ "type": "pong", "nonce": nonce }));
    }
    assert_eq!([one, alice.say("two")], alone);
}

#[test]
fn without_a_seed_no_two_runs_are_the_same() {
    let tell = || Node::launch(&["--port", "0", "--username", "Alice"]).finish().exited(0).lines[0]["node"].clone();
    assert_ne!(tell(), tell());
}
