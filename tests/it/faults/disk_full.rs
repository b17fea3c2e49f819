//! A disk that is full: the node says so and goes on, and saves again when there is room.

use std::fs;
use std::io::Write;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Node, RawPeer, TempDir};

/// A disk of 1 MiB.
struct Disk(TempDir);

impl Disk {
    /// `None` where a test may not make one.
    fn new() -> Option<Self> {
        let temp = TempDir::new();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs", &temp.path("")]).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(temp))
    }

    fn fill(&self) {
        let mut file = fs::File::create(self.0.path("fill")).expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
        while file.write_all(&[0]).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.0.path("fill")).expect("it is there");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", &self.0.path("")]).output();
    }
}

fn blocks(node: &mut Node) -> Vec<Value> {
    node.ok(json!({ "cmd": "blocks" }))["blocks"].as_array().expect("a list").clone()
}

/// Has a node keep more and more, until it warns that it can't. How many blocks that took.
fn block_until_it_fails(node: &mut Node) -> usize {
    let mut n = 0;
    while node.saw("warning", json!({ "code": "state_not_saved" })).is_empty() {
        node.ok(json!({ "cmd": "block", "author": format!("{n} {}", "x".repeat(50)) }));
        n += 1;
        assert!(n < 1000, "a full disk takes all of it");
    }
    n
}

#[test]
fn a_full_disk_is_a_warning_and_no_more() {
    let Some(disk) = Disk::new() else {
        eprintln!("skipped: no disk can be mounted here; the saver's own tests have one that fails");
        return;
    };
    let dir = disk.0.path("state");
    let mut node = Node::start(&["--state", &dir]);
    let mut bob = RawPeer::dial(&node.addr(), "127.0.0.1:5001", "Bob");
    node.ok(json!({ "cmd": "block", "author": "before" }));
    disk.fill();
    let n = block_until_it_fails(&mut node);
    bob.say("are you there?");
    node.hears("are you there?");
    node.say("I am");
    bob.hears("I am");
    node.ok(json!({ "cmd": "block", "author": "meanwhile" }));
    let status = node.ok(json!({ "cmd": "status" }));
    assert!(status["queues"]["unsaved"].as_u64() > Some(0), "{status}");

    disk.make_room();
    node.until(&json!({ "cmd": "status" }), |status| status["queues"]["unsaved"] == 0);
    let listed = blocks(&mut node).len();
    node.crash();
    let mut node = Node::start(&["--state", &dir]);
    assert!(node.saw("warning", json!({})).is_empty(), "nothing is damaged");
    assert_eq!(blocks(&mut node).len(), listed);
    assert_eq!(listed, n + 2);
}

#[test]
fn a_disk_that_is_full_at_the_end_holds_up_no_end() {
    let Some(disk) = Disk::new() else {
        eprintln!("skipped: no disk can be mounted here");
        return;
    };
    let dir = disk.0.path("state");
    let mut node = Node::start(&["--state", &dir]);
    disk.fill();
    block_until_it_fails(&mut node);
    let output = node.finish().exited(0);
    assert!(output.stderr.contains("could not be written at the end"), "{}", output.stderr);
    // A new one can't be begun, either: but the identity is there.
    Node::start(&["--state", &dir]).finish().exited(0);
}
