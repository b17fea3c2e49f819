//! `--state`: what a node keeps from one run to the next, and what it says when it can't.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::json;

use crate::support::{Node, Output, RawPeer, TempDir};

/// Runs a node that can't start, to its end.
#[track_caller]
fn refused(dir: &str, code: &str) -> Output {
    let output = Node::launch(&["--port", "0", "--state", dir]).finish().exited(4);
    assert_eq!((output.lines.len(), &output.lines[0]["event"]), (1, &json!("fatal")), "{:?}", output.lines);
    assert_eq!(output.lines[0]["code"], code, "{}", output.lines[0]);
    let message = output.lines[0]["message"].as_str().expect("a text");
    assert!(message.contains(dir) && output.stderr.contains(dir), "it says where: {message}");
    output
}

#[test]
fn a_node_is_the_same_one_in_every_run() {
    let temp = TempDir::new();
    let dir = temp.path("state");
    let node = Node::start(&["--state", &dir, "--seed", "1"]);
    let id = node.id();
    assert_eq!(uuid::Uuid::parse_str(&id).expect("a UUID").get_version_num(), 8);
    assert!(node.ready()["features"].as_array().is_some_and(|it| it.contains(&json!("state"))));
    node.finish().exited(0);
    let node = Node::start(&["--state", &dir, "--seed", "2"]);
    assert_eq!(node.id(), id);
    node.kill();
    let node = Node::start(&["--state", &dir]);
    assert_eq!(node.id(), id);
    assert!(node.saw("warning", json!({})).is_empty());
    let other = Node::start(&["--state", &temp.path("other")]);
    assert_ne!(other.id(), id, "each folder has a key of its own, whatever the seed");
}

#[test]
fn nobody_else_may_look_into_the_folder() {
    let temp = TempDir::new();
    let dir = temp.path("state");
    Node::start(&["--state", &dir]).finish().exited(0);
    let mode = |path: &str| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for file in fs::read_dir(&dir).expect("a folder") {
        let path = file.expect("a file").path().to_str().expect("UTF-8").to_owned();
        assert_eq!(mode(&path), 0o600, "{path}");
    }
    let key = format!("{dir}/identity.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("it is ours");
    let mut node = Node::start(&["--state", &dir]);
    let warning = node.await_event("warning", json!({ "code": "state_permissions" }));
    assert!(warning["message"].as_str().is_some_and(|it| it.contains(&key) && it.contains("chmod 600")), "{warning}");
}

#[test]
fn a_second_process_can_t_use_the_folder() {
    let temp = TempDir::new();
    let dir = temp.path("state");
    let first = Node::start(&["--state", &dir]);
    refused(&dir, "state_in_use");
    first.finish().exited(0);
    Node::start(&["--state", &dir]);
}

#[test]
fn a_damaged_key_is_never_replaced() {
    let temp = TempDir::new();
    let dir = temp.path("state");
    let id = Node::start(&["--state", &dir]).id();
    let key = format!("{dir}/identity.key");
    let text = fs::read_to_string(&key).expect("it is there");
    for damaged in [text.replace("check", "chuck"), text[..60].to_owned(), "nothing of the kind".into()] {
        fs::write(&key, &damaged).expect("it is ours");
        let output = refused(&dir, "state_damaged");
        let secret = text.lines().nth(1).expect("a line").trim_start_matches("secret ");
        assert!(!output.stderr.contains(secret), "a secret is not told");
        assert_eq!(fs::read_to_string(&key).expect("it is there"), damaged);
    }
    fs::write(&key, text.replace("identity 1", "identity 2")).expect("it is ours");
    refused(&dir, "state_too_new");
    fs::write(&key, text).expect("it is ours");
    assert_eq!(Node::start(&["--state", &dir]).id(), id);
}

#[test]
fn a_damaged_store_is_set_aside_and_the_node_goes_on() {
    let temp = TempDir::new();
    let dir = temp.path("state");
    let id = Node::start(&["--state", &dir]).id();
    for n in 1..=2 {
        fs::write(format!("{dir}/state.redb"), format!("damaged {n}")).expect("it is ours");
        let mut node = Node::start(&["--state", &dir]);
        let warning = node.await_event("warning", json!({ "code": "state_damaged" }));
        let aside = format!("state.redb.damaged-{n}");
        assert!(warning["message"].as_str().is_some_and(|it| it.contains(&aside)), "{warning}");
        assert_eq!(fs::read_to_string(format!("{dir}/{aside}")).expect("it is kept"), format!("damaged {n}"));
        assert_eq!(node.id(), id);
        let mut bob = RawPeer::dial(&node.addr(), "127.0.0.1:5001", "Bob");
        bob.say("hi");
        node.hears("hi");
    }
    assert!(Node::start(&["--state", &dir]).saw("warning", json!({})).is_empty());
}

#[test]
fn a_folder_that_can_t_be_made_is_told() {
    let temp = TempDir::new();
    refused(&temp.path("none/deeper"), "state_unusable");
    refused(&temp.write("file", "x"), "state_unusable");
}

#[test]
fn without_a_state_folder_nothing_touches_the_disk() {
    let temp = TempDir::new();
    let home = temp.path("home");
    fs::create_dir(&home).expect("a folder");
    let script = format!("cd '{home}' && export HOME='{home}' TMPDIR='{home}' XDG_RUNTIME_DIR='{home}' && exec \"$@\"");
    let mut node = Node::shell(&script, &[]);
    let mut bob = RawPeer::dial(&node.addr(), "127.0.0.1:5001", "Bob");
    bob.say("hi");
    node.hears("hi");
    node.say("hello");
    node.ok(json!({ "cmd": "key", "passphrase": "secret" }));
    node.ok(json!({ "cmd": "voice_join" }));
    assert!(node.ready()["features"].as_array().is_some_and(|it| !it.contains(&json!("state"))));
    let files = |pid: &str| -> BTreeSet<PathBuf> {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
        open.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).filter(|it| it.is_file()).collect()
    };
    // But for what whoever runs the tests has left open for every process, such as a lock.
    let inherited = files("self");
    let own: Vec<_> = files(&node.pid().to_string()).into_iter().filter(|it| !inherited.contains(it)).collect();
    assert!(own.is_empty(), "open: {own:?}");
    node.finish().exited(0);
    assert_eq!(fs::read_dir(&home).expect("a folder").count(), 0);
}
