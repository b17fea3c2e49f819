//! A cable that is cut: neither end is told, and both must notice.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::net::Net;
use crate::support::{Node, RawPeer};

/// How often those who talk on say something.
const EVERY: Duration = Duration::from_millis(250);

/// A node at the other end that dials a port at this one, and again whenever it has lost it.
#[track_caller]
fn dialler(net: &Net, name: &str, port: u16) -> Node {
    net.node(1, name, &["--connect", &format!("{}:{port}", Net::host(0))])
}

#[track_caller]
fn are_linked(pair: &mut [Node; 2]) {
    let [here, there] = pair;
    here.await_event("peer_up", json!({ "peer": there.id() }));
    there.await_event("peer_up", json!({ "peer": here.id() }));
}

#[test]
fn both_ends_notice_a_cut_cable_and_find_each_other_when_it_is_mended() {
    let net = match Net::new() {
        Ok(net) => net,
        Err(why) => return eprintln!("skipped, there are no network namespaces here: {why}"),
    };
    // A pair that is silent, one that talks on, and a peer of the original's kind: the same cable for all.
    let mut silent = [net.node(0, "Alice", &["--port", "5000"]), dialler(&net, "Bob", 5000)];
    let mut talking = [net.node(0, "Carol", &["--port", "5001"]), dialler(&net, "Dave", 5001)];
    let mut near = net.node(0, "Erin", &[]);
    near.connect(&talking[0].addr());
    for pair in [&mut silent, &mut talking] {
        are_linked(pair);
    }
    let mut met = net.node(0, "Frank", &["--port", "5002"]);
    let addr = met.addr();
    let original = Net::may_enter().then(|| net.at(1, || RawPeer::dial(&addr, "original", "Original")));
    if original.is_none() {
        eprintln!("without a peer of level 1: only root may enter a network namespace");
    }

    net.cut();
    thread::scope(|scope| {
        scope.spawn(|| {
            for node in &mut silent {
                let down = node.await_event("peer_down", json!({}));
                assert_eq!(down["code"], "dead");
            }
        });
        scope.spawn(|| {
            let [carol, dave] = &mut talking;
            dave.say("into the cut cable");
            for n in 0.. {
                carol.say(&format!("{n}"));
                near.hears(&format!("{n}"));
                if [&*carol, dave].iter().all(|node| !node.saw("peer_down", json!({})).is_empty()) {
                    break;
                }
                // Looks at what Dave has said, too.
                dave.ok(json!({ "cmd": "room" }));
                thread::sleep(EVERY);
            }
            near.say("we go on");
            carol.hears("we go on");
        });
        if original.is_some() {
            // Of level 1 nothing can be asked: the system notices that nothing is acknowledged.
            scope.spawn(|| met.await_event("peer_down", json!({ "peer": "original", "code": "reset" })));
        }
    });
    net.mend();

    for pair in [&mut silent, &mut talking] {
        are_linked(pair);
        let [here, there] = pair;
        here.say("mended");
        there.hears("mended");
        there.say("indeed");
        here.hears("indeed");
    }
    for node in silent.into_iter().chain(talking).chain([near, met]) {
        node.finish().exited(0);
    }
}
