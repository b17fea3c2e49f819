//! No more files may be opened: each link is one.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use super::honest::Honest;
use crate::support::{Node, RawListener, RawPeer, number};

/// For how long the node is watched while it has none.
const WATCHED: Duration = Duration::from_secs(3);

#[test]
fn a_limit_of_20_is_told_at_once_and_leaves_room_for_a_link() {
    let mut node = Node::shell("ulimit -n 20 && exec \"$@\"", &[]);
    node.await_event("warning", json!({ "code": "open_files" }));
    assert_eq!(number(&node.ready()["limits"], "links"), 1);
    let mut bob = Node::named("Bob", &[]);
    bob.link(&mut node);
    for _ in 0..50 {
        // Some are let in to say hello, but none gets a link.
        let mut more = RawPeer::connect(&node.addr());
        more.expect_closed();
    }
    bob.say("still served");
    node.hears("still served");
    assert!(number(&node.ok(json!({ "cmd": "status" }))["counters"], "links_refused") >= 50);
    drop(bob);
    node.await_event("peer_down", json!({ "username": "Bob" }));
    RawPeer::dial(&node.addr(), "carol", "Carol").say("and room again");
    node.hears("and room again");
    node.finish().exited(0);
}

#[test]
fn with_no_file_left_links_go_on_nothing_spins_and_all_is_well_again_later() {
    let mut node = Node::start(&[]);
    let idle = Node::start(&[]);
    let mut honest = Honest::around(&mut node);
    honest.chat();
    node.limit_files(Some(0));
    let knocking: Vec<_> = (0..100).map(|_| TcpStream::connect(node.addr()).expect("the system accepts")).collect();
    node.await_event("warning", json!({ "code": "accept_failed" }));
    let listener = RawListener::new();
    let connect = json!({ "cmd": "connect", "addr": listener.addr() });
    assert_eq!(node.fails(connect.clone()), "connect_failed");

    let (start, used) = (Instant::now(), [node.cpu(), idle.cpu()]);
    std::thread::sleep(WATCHED);
    let [used, at_rest] = [node.cpu() - used[0], idle.cpu() - used[1]];
    let watched = start.elapsed();
    eprintln!("no files left: {used:?} of CPU in {watched:?}, an idle node {at_rest:?}");
    // It looks ten times a second whether there are files again. One that spins would take all that it gets of a CPU.
    assert!(used < at_rest + watched / 20, "{used:?}, an idle node {at_rest:?}");
    for _ in 0..20 {
        honest.chat();
    }
    honest.were_served("no files left");

    node.limit_files(None);
    drop(knocking);
    let mut bob = RawPeer::dial(&node.addr(), "bob", "Bob");
    bob.say("room for one more");
    node.hears("room for one more");
    let connect = node.begin(connect);
    let _carol = listener.accept("carol", "Carol");
    assert_eq!(node.await_reply(&connect)["ok"], true);
    honest.chat();
    node.finish().exited(0);
}

#[test]
fn strangers_do_not_keep_the_last_files_from_who_says_hello() {
    let mut node = Node::start(&[]);
    node.limit_files(Some(4));
    let _silent: Vec<_> = (0..50).map(|_| TcpStream::connect(node.addr()).expect("the system accepts")).collect();
    let mut bob = RawPeer::dial(&node.addr(), "bob", "Bob");
    bob.say("past all of them");
    node.hears("past all of them");
    let status = node.ok(json!({ "cmd": "status" }));
    assert!(number(&status["counters"], "links_refused") >= 40, "they were pushed out: {status}");
    node.finish().exited(0);
}
