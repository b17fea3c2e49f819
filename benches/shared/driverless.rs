//! A node without sockets, in this process: its core is given bytes, and what it sends counts as written at once.

#![allow(dead_code, reason = "shared by benches, each of which uses a part")]

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use p2p_chat::api::{EventKind, lines};
use p2p_chat::driver::client::Lines;
use p2p_chat::node::{Bytes, Config, Input, LinkId, Node, Now, Outbox, Output, STDIO};
use p2p_chat::sim::config;
use p2p_chat::wire::identity::Identity;
use p2p_chat::wire::noise::{Handshake, Keys, MAX_PLAIN, Session};

use crate::frame;

/// A node, and what stands for its driver.
pub struct Core {
    node: Node,
    now: Now,
    out: Outbox,
    written: Vec<(LinkId, usize)>,
    /// Where its lines go, as on the way to stdout.
    stdout: Lines,
    text: Vec<u8>,
    stdin: lines::Lines,
    next_link: u64,
    /// The link whose bytes are kept in `said`.
    heard: Option<LinkId>,
    said: Vec<u8>,
    /// Bytes sent so far, to all links.
    pub sent: u64,
    /// Bytes of lines so far.
    pub printed: u64,
    /// Links that have come up so far.
    pub links_up: usize,
}

/// The other end of a link of level 2.
pub struct Peer {
    pub link: LinkId,
    session: Session,
}

/// A configuration for a node that takes any number of links and messages, with this active room.
pub fn setup(room: &str) -> Config {
    Config {
        room: room.into(),
        max_links: 1 << 20,
        rate: 0,
        history_bytes: 64 << 10,
        ..config("relay", SocketAddr::from(([127, 0, 0, 1], 4000)))
    }
}

impl Core {
    pub fn new(config: Config) -> Self {
        let now = start();
        let mut out = Outbox::default();
        let mut core = Self {
            node: Node::new(now, config, &mut out),
            now,
            out,
            written: Vec::new(),
            stdout: Lines::default(),
            text: Vec::new(),
            stdin: lines::Lines::default(),
            next_link: 0,
            heard: None,
            said: Vec::new(),
            sent: 0,
            printed: 0,
            links_up: 0,
        };
        core.perform();
        core
    }

    /// A peer that speaks the original's format dials in.
    pub fn link(&mut self, name: &str) -> LinkId {
        let link = self.accept();
        self.bytes(link, &frame::hello(name));
        link
    }

    /// A peer dials in at level 2.
    pub fn link_level2(&mut self, identity: &Identity) -> io::Result<Peer> {
        let failed = |failure| io::Error::other(format!("a handshake failed: {failure:?}"));
        let keys = Keys::new(identity, [1; 32], None);
        let link = self.accept();
        self.heard = Some(link);
        self.said.clear();
        let mut out = Vec::new();
        let mut handshake = Handshake::dial(&keys, [2; 32], None, &mut out).map_err(failed)?;
        let proven = loop {
            self.bytes(link, &out);
            out.clear();
            if self.said.is_empty() {
                return Err(io::Error::other("the node is silent in a handshake"));
            }
            let said = std::mem::take(&mut self.said);
            if let Some(proven) = handshake.take(&keys, &mut &said[..], &mut out).map_err(failed)? {
                break proven;
            }
        };
        self.bytes(link, &out);
        self.heard = None;
        let mut peer = Peer { link, session: proven.session };
        let mut hello = Vec::new();
        peer.seal(&frame::hello(identity.id_text()), &mut hello)?;
        self.bytes(link, &hello);
        Ok(peer)
    }

    fn accept(&mut self) -> LinkId {
        self.next_link += 1;
        let link = LinkId(self.next_link);
        self.handle(Input::Accepted { link, addr: SocketAddr::from(([127, 0, 0, 1], 5000)) });
        link
    }

    /// Bytes come from a link; a millisecond goes by.
    pub fn bytes(&mut self, link: LinkId, bytes: &[u8]) {
        self.now.mono += Duration::from_millis(1);
        self.now.unix_ms += 1;
        self.handle(Input::Bytes { link, bytes });
    }

    /// Bytes come from stdin; a millisecond goes by.
    pub fn stdin(&mut self, bytes: &[u8]) {
        self.now.mono += Duration::from_millis(1);
        self.now.unix_ms += 1;
        for request in self.stdin.split(bytes) {
            self.handle(Input::Request { client: STDIO, request });
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.node.handle(self.now, input, &mut self.out);
        self.perform();
    }

    fn send(&mut self, link: LinkId, bytes: &Bytes) {
        let length = Outbox::length(bytes);
        self.sent += length as u64;
        match self.written.iter_mut().find(|(to, _)| *to == link) {
            Some((_, sum)) => *sum += length,
            None => self.written.push((link, length)),
        }
        if self.heard == Some(link) {
            self.said.extend_from_slice(self.out.piece(bytes, 0, usize::MAX));
        }
    }

    /// Does what the node wants done, as far as there is something here to do it with.
    fn perform(&mut self) {
        let mut outputs = std::mem::take(&mut self.out.outputs);
        let mut stepped = Vec::new();
        for output in outputs.drain(..) {
            match output {
                Output::Send { link, bytes } => self.send(link, &bytes),
                Output::Fan { links, bytes } => {
                    for link in self.out.receivers(&links).to_vec() {
                        self.send(link, &bytes);
                    }
                }
                Output::Line { kind, text, .. } => {
                    self.links_up += usize::from(kind == EventKind::PeerUp);
                    self.stdout.push(kind, text, 0);
                }
                Output::Handshake { link, step } => stepped.push((link, step.make())),
                _ => {}
            }
        }
        self.out.outputs = outputs;
        self.out.clear();
        while self.stdout.take(&mut self.text) {
            self.printed += self.text.len() as u64;
            self.text.clear();
        }
        let mut written = std::mem::take(&mut self.written);
        for (link, bytes) in written.drain(..) {
            self.handle(Input::Written { link, bytes });
        }
        self.written = written;
        for (link, stepped) in stepped {
            self.handle(Input::Stepped { link, stepped });
        }
    }
}

impl Peer {
    /// Seals frames for the node.
    pub fn seal(&mut self, frames: &[u8], sealed: &mut Vec<u8>) -> io::Result<()> {
        for piece in frames.chunks(MAX_PLAIN) {
            self.session.seal(piece, sealed).map_err(|_| io::Error::other("a record can't be sealed"))?;
        }
        Ok(())
    }
}

/// The moment at which all nodes here begin.
fn start() -> Now {
    Now { mono: Instant::now(), unix_ms: 1_770_000_000_000 }
}
