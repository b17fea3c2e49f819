//! The node's core under a counter of instructions: `scripts/instructions` runs this under callgrind, twice for each work, with
//! different numbers of messages, and takes the difference. So what a start costs, and what fills tables, is not counted.
//!
//! By itself it only does the work: `cargo bench --bench instructions -- WORK COUNT`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that is spoken to by a script")]
#![allow(clippy::disallowed_methods, reason = "its clock has to begin somewhere")]

#[path = "shared/chat.rs"]
mod chat;
#[path = "shared/driverless.rs"]
mod driverless;
#[path = "shared/frame.rs"]
mod frame;

use std::hint::black_box;
use std::io;
use std::process::ExitCode;

use p2p_chat::node::LinkId;
use p2p_chat::wire::identity::Identity;

use chat::{Chats, TEXT};
use driverless::{Core, setup};

/// Messages that come in one piece, as a busy link brings them.
const BURST: usize = 64;

/// Messages of a work at most: their frames are made beforehand, as many for a small count as for a large one.
const MOST: usize = 16_384;

/// The same of those that are signed: to sign so many takes as long as all the rest.
const MOST_SIGNED: usize = 2_048;

/// Links in the work that fans out.
const FAN: usize = 32;

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let outcome = match &arguments[..] {
        [work, count] => match count.parse() {
            Ok(count) if count <= MOST => run(work, count),
            _ => Err(io::Error::other(format!("COUNT is a number up to {MOST}"))),
        },
        // So that `cargo bench` runs all there is.
        _ => {
            ["relayed", "fanned", "shown", "sent", "signature", "checked"].iter().try_for_each(|work| run(work, BURST))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does a work with so many messages.
fn run(work: &str, count: usize) -> io::Result<()> {
    match work {
        "relayed" => relayed("quiet", 1, count),
        "fanned" => relayed("quiet", FAN, count),
        "shown" => relayed("bench", 1, count),
        "sent" => sent(count),
        "signature" => signature(count),
        "checked" => checked(count),
        _ => Err(io::Error::other(format!("there is no work {work}"))),
    }
}

/// From one link to so many others, in the original's format. In the room `bench` the messages are shown, too.
fn relayed(room: &str, sinks: usize, count: usize) -> io::Result<()> {
    let mut core = Core::new(setup(room));
    let source = core.link("bench-0");
    for n in 1..=sinks {
        core.link(&format!("bench-{n}"));
    }
    let bursts = bursts(MOST, &mut Chats::new("bench-0", false, None), |frames, burst| burst.extend_from_slice(frames));
    feed(&mut core, source, &bursts, count, sinks)
}

/// Signed, from one link of level 2 to another in the original's format: opened, and each signature verified.
fn checked(count: usize) -> io::Result<()> {
    let identity = || Identity::new(&[3; 32]);
    let mut core = Core::new(setup("quiet"));
    core.link("bench-1");
    let mut peer = core.link_level2(&identity())?;
    let mut chats = Chats::new(identity().id_text(), true, Some(identity()));
    let link = peer.link;
    let mut sealed = Ok(());
    let bursts = bursts(MOST_SIGNED, &mut chats, |frames, burst| {
        if let Err(error) = peer.seal(frames, burst) {
            sealed = Err(error);
        }
    });
    sealed?;
    feed(&mut core, link, &bursts, count, 1)
}

/// Lines of stdin, each a message that is signed, to one link, with a reply each.
fn sent(count: usize) -> io::Result<()> {
    let mut core = Core::new(setup("quiet"));
    core.link("bench-1");
    let lines = format!("{{\"cmd\":\"send\",\"text\":\"{}\"}}\n", "x".repeat(TEXT)).repeat(BURST);
    let (sent, printed) = (core.sent, core.printed);
    for _ in 0..count / BURST {
        core.stdin(lines.as_bytes());
    }
    all_there(count, core.sent - sent)?;
    all_there(count / 4, core.printed - printed)
}

/// What a signature alone takes, over as many bytes as a message of this size has.
fn signature(count: usize) -> io::Result<()> {
    let identity = Identity::new(&[3; 32]);
    let message = [b'x'; 2 * TEXT];
    for _ in 0..count {
        black_box(identity.sign(black_box(&message)));
    }
    Ok(())
}

/// All the frames there will ever be, in bursts.
fn bursts(most: usize, chats: &mut Chats, mut encode: impl FnMut(&[u8], &mut Vec<u8>)) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let burst = |_| {
        frames.clear();
        (0..BURST).for_each(|_| {
            chats.append(&mut frames);
        });
        let mut burst = Vec::new();
        encode(&frames, &mut burst);
        burst
    };
    (0..most / BURST).map(burst).collect()
}

/// Feeds so many messages, and looks whether they have come out.
fn feed(core: &mut Core, link: LinkId, bursts: &[Vec<u8>], count: usize, sinks: usize) -> io::Result<()> {
    let sent = core.sent;
    let bursts = bursts.get(..count / BURST).ok_or_else(|| io::Error::other("COUNT is too large for this work"))?;
    for burst in bursts {
        core.bytes(link, burst);
    }
    all_there(count * sinks, core.sent - sent)
}

/// Each message has more than its text.
fn all_there(count: usize, bytes: u64) -> io::Result<()> {
    if bytes >= (count * TEXT) as u64 { Ok(()) } else { Err(io::Error::other("messages were lost")) }
}
