//! Nobody reads stdout for half a minute, in a flood.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Node, RawPeer, number, text};

/// How long nobody reads.
const UNREAD: Duration = Duration::from_secs(30);
/// Messages of a piece of the flood, and how often there is one: a thousand a second, which is an author's rate.
const PIECE: u64 = 500;
const EVERY: Duration = Duration::from_millis(500);
/// The text of one, in bytes.
const TEXT: usize = 4 << 10;
/// So many messages reach each bound in bytes, and more than that.
const HALFWAY: u64 = 15_000;

#[test]
fn nobody_reads_stdout_for_half_a_minute() {
    let mut node = Node::unread(&[]);
    let mut source = RawPeer::dial(&node.addr(), "source", "Source");
    let mut sink = RawPeer::dial(&node.addr(), "sink", "Sink");
    let limits = node.ready()["limits"].clone();
    let idle = node.peak_memory();
    let start = Instant::now();
    let (mut said, mut halfway, mut slowest) = (0, 0, Duration::ZERO);
    // By number, since a slow machine takes longer to say as many.
    while start.elapsed() < UNREAD || said < 2 * HALFWAY {
        let piece = Instant::now();
        for n in said..said + PIECE {
            source.say(&format!("{n} {}", "x".repeat(TEXT)));
        }
        said += PIECE;
        source.say(&format!("end of {said}"));
        let came = sink.all_until(&format!("end of {said}"));
        assert_eq!(came.len() as u64, PIECE + 1, "the network never waits for stdout");
        slowest = slowest.max(piece.elapsed());
        if said <= HALFWAY {
            halfway = node.peak_memory();
        }
        thread::sleep(EVERY.saturating_sub(piece.elapsed()));
    }
    let peak = node.peak_memory();
    eprintln!(
        "unread: {said} messages, {PIECE} of them in {slowest:?} at most; memory {idle} KiB, {halfway} KiB halfway, {peak} KiB at most"
    );
    // What may be held: lines of output, what `wait` looks back over, and history, 16 MiB each; the same again for what
    // goes with each and for the allocator.
    let bounds = 2 * (16 << 20) + number(&limits, "history_bytes");
    assert!(peak - idle < 2 * bounds / 1024, "{peak} KiB");
    assert!(peak - halfway < 4 << 10, "and they are all reached halfway: {halfway} KiB, then {peak} KiB");

    let asked = node.begin(json!({ "cmd": "history", "limit": 1 }));
    node.read_on();
    let newest = &node.await_reply(&asked)["result"]["messages"][0];
    assert_eq!(text(newest, "text"), format!("end of {said}"), "it can be read again");
    let output = node.finish().exited(0);
    let lagged = output.all("lagged");
    let lost: u64 = lagged.iter().filter_map(|line| line["by"].get("message").and_then(Value::as_u64)).sum();
    assert!(lost > 0);
    assert_eq!(output.all("message").len() as u64 + lost, said + said / PIECE, "what is lost is told");
}
