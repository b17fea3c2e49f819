//! What the targets share: how an input is divided, and a node to feed.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use p2p_chat::node::{Config, Input, LogLevel, Node, Now, Outbox, State};
use p2p_chat::sim;

/// Takes choices off the front of an input; 0 when there are no more.
pub struct Choices<'a>(pub &'a [u8]);

impl<'a> Choices<'a> {
    pub fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    /// A number below `n`, which is at most 256.
    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    pub fn number(&mut self) -> usize {
        usize::from(u16::from_be_bytes([self.byte(), self.byte()]))
    }

    /// So many bytes, or as many as there are.
    pub fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// Cuts a stream into pieces whose sizes take turns.
pub fn pieces<'a>(stream: &'a [u8], sizes: [u8; 3]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = stream;
    let mut sizes = sizes.into_iter().map(|size| usize::from(size).max(1)).cycle();
    std::iter::from_fn(move || {
        let (piece, later) = rest.split_at(sizes.next()?.min(rest.len()));
        rest = later;
        (!piece.is_empty()).then_some(piece)
    })
}

/// A node, the time it is there, and what it wants done.
pub struct Fed {
    pub node: Node,
    pub out: Outbox,
    pub now: Now,
}

impl Fed {
    pub fn new() -> Self {
        Self::with_state(None)
    }

    /// With what earlier runs have left.
    pub fn with_state(state: Option<State>) -> Self {
        let now = Now { mono: start(), unix_ms: 1_000_000 };
        let mut out = Outbox::default();
        let node = Node::new(now, Config { state, ..config() }, &mut out);
        out.clear();
        Self { node, out, now }
    }

    pub fn later(&mut self, by: Duration) {
        self.now.mono += by;
        self.now.unix_ms += by.as_millis() as u64;
    }

    /// Hands an input in; what comes out stays until the next one.
    pub fn handle(&mut self, input: Input<'_>) {
        self.out.clear();
        self.node.handle(self.now, input, &mut self.out);
        assert!(self.node.next_deadline().is_none_or(|at| at > self.now.mono), "a deadline that has passed");
    }
}

impl Default for Fed {
    fn default() -> Self {
        Self::new()
    }
}

/// One moment to count virtual time from: the only one that is read.
fn start() -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *START.get_or_init(Instant::now)
}

fn config() -> Config {
    Config {
        listen: vec!["*".into()],
        rate: 50,
        history_bytes: 64 << 10,
        log: LogLevel::Debug,
        ..sim::config("n", SocketAddr::from(([127, 0, 0, 1], 5000)))
    }
}
