//! The memory of the node's core alone, without a driver: of many nodes, links and ids in one process, which is this
//! binary, executed again for each figure.
//!
//! A node is charged with what it *reserves* (the system's `VmData`), touched or not: a table that is large and empty
//! would be cheap for one node, and impossible for 100,000 in one process. So are ids, which are charged with all that
//! an idle node has reserved before the first of them came. A link is charged with the memory that is *resident* for it.

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::process::{Command, Stdio};

use p2p_chat::wire::identity::Identity;

use crate::chat::Chats;
use crate::driverless::{Core, setup};
use crate::frame;

/// The first argument of this binary as a core.
pub const CORE: &str = "core";

/// Nodes, and links of one node, over which the memory of one is averaged.
const MANY: usize = 1_000;

/// Ids that have been seen before it is looked how much more memory others take: all that a message leaves behind beside
/// its id is full by then.
const IDS_BEFORE: usize = 16_384;

/// Ids in all, at most: as many as a node remembers.
const IDS: usize = 1 << 18;

/// It is looked after each so many, and the dearest look counts: a table may have grown just then.
const IDS_EVERY: usize = 1 << 14;

/// Ids over which their memory is averaged, at least.
const IDS_LEAST: usize = 1 << 16;

/// The size of one of these, in bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A node without state and links.
    Node,
    /// An end of a link that is up at level 2.
    Link,
    /// The same, in the original's format.
    LinkOriginal,
    /// A message id that is a UUID, as ours and the original's are.
    Uuid,
    /// Any other message id.
    Id,
}

const NAMES: [(What, &str); 5] = [
    (What::Node, "node"),
    (What::Link, "link"),
    (What::LinkOriginal, "link-original"),
    (What::Uuid, "uuid"),
    (What::Id, "id"),
];

/// Measures one of them in a new process.
pub fn measure(what: What) -> Result<f64, Box<dyn Error>> {
    let name = NAMES.iter().find(|(it, _)| *it == what).map_or("", |(_, name)| name);
    let child = Command::new(std::env::current_exe()?).args([CORE, name]).stderr(Stdio::inherit()).output()?;
    if !child.status.success() {
        return Err(format!("the core could not be measured: {}", child.status).into());
    }
    Ok(String::from_utf8_lossy(&child.stdout).trim().parse()?)
}

/// That process.
pub fn run(name: &str) -> io::Result<()> {
    // A large page would count as a whole when a byte of it is used.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let what = NAMES.iter().find(|(_, it)| *it == name).map(|(what, _)| *what);
    let bytes = match what {
        Some(What::Node) => node()?,
        Some(What::Link) => links(true)?,
        Some(What::LinkOriginal) => links(false)?,
        Some(What::Uuid) => ids(|number, id| *id = uuid(number))?,
        Some(What::Id) => ids(|number, id| *id = format!("message {number} of a node with ids of its own"))?,
        None => return Err(io::Error::other("there is no such core")),
    };
    writeln!(io::stdout(), "{bytes}")
}

fn node() -> io::Result<f64> {
    let mut nodes: Vec<Core> = Vec::with_capacity(MANY + 1);
    // What the first one alone takes is there once for all: tables of curves, say.
    nodes.push(Core::new(setup("quiet")));
    let before = memory("VmData:")?;
    nodes.extend((0..MANY).map(|_| Core::new(setup("quiet"))));
    Ok((memory("VmData:")? - before) / MANY as f64)
}

fn links(level2: bool) -> io::Result<f64> {
    let mut core = Core::new(setup("quiet"));
    let mut link = |n: usize| -> io::Result<()> {
        if level2 {
            let mut secret = [7; 32];
            secret[..8].copy_from_slice(&n.to_be_bytes());
            core.link_level2(&Identity::new(&secret)).map(drop)
        } else {
            core.link(&format!("bench-{n}"));
            Ok(())
        }
    };
    (0..50).try_for_each(&mut link)?;
    let before = memory("VmRSS:")?;
    (50..50 + MANY).try_for_each(&mut link)?;
    let after = memory("VmRSS:")?;
    match core.links_up {
        up if up == 50 + MANY => Ok((after - before) / MANY as f64),
        up => Err(io::Error::other(format!("only {up} links are up"))),
    }
}

fn ids(make: impl Fn(usize, &mut String)) -> io::Result<f64> {
    let before = memory("VmData:")?;
    let mut core = Core::new(setup("quiet"));
    let idle = memory("VmData:")? - before;
    let link = core.link("bench-1");
    let (mut frame, mut frames) = (Vec::new(), Vec::new());
    Chats::new("bench-1", false, None).append(&mut frame);
    let json = String::from_utf8_lossy(&frame[4..]).into_owned();
    let (head, tail) = json.split_at(br#"{"id":""#.len());
    let tail = &tail[36..];
    let mut id = String::new();
    let (mut filled, mut dearest) = (0.0, 0.0_f64);
    for number in 0..IDS {
        make(number, &mut id);
        frames.extend_from_slice(&frame::encode(&format!("{head}{id}{tail}")));
        if number % 64 == 63 {
            core.bytes(link, &frames);
            frames.clear();
        }
        let seen = number + 1;
        if seen == IDS_BEFORE {
            filled = memory("VmData:")?;
        } else if seen >= IDS_BEFORE + IDS_LEAST && seen % IDS_EVERY == 0 {
            dearest = dearest.max((memory("VmData:")? - filled + idle) / (seen - IDS_BEFORE) as f64);
        }
    }
    Ok(dearest)
}

/// A UUID of version 4: no two numbers have the same.
fn uuid(number: usize) -> String {
    let noise = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (high, low) = (noise >> 32, noise & 0xffff_ffff);
    let more = noise.wrapping_mul(0xd134_2543_de82_ef95) >> 16;
    format!("{high:08x}-{:04x}-4{:03x}-8{:03x}-{more:012x}", low >> 16, low & 0xfff, low >> 4 & 0xfff)
}

/// Memory of this process in bytes, by the name that the system has for it.
fn memory(name: &str) -> io::Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse::<f64>().ok());
    number.map(|kib| kib * 1024.0).ok_or_else(|| io::Error::other("this process's memory can't be read"))
}
