//! Many nodes on a virtual network and a virtual clock: the same node that runs on sockets, thousands of times over.
//!
//! A link is two directions, each with a delay of its own and bytes in order; links overtake each other. Links can be
//! cut, nodes can stop reading. Everything that is left to chance comes from one seed, so that a run which fails can be
//! run again. [`Net::check`] holds the invariants that must be true of any network after any run.
//!
//! A record is kept of lines, messages that crossed links, datagrams and sound. Of each only the newest are kept
//! ([`Net::limit_records`]), so that a long run takes no more memory than a short one; what is to be forgotten is checked before.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::api::event::LinkCode;
use crate::api::result::Devices;
use crate::api::{EventKind, Request};
use crate::history::{Kept, Wanted};
use crate::node::{Bytes, Config, DialId, Input, JobId, LinkId, Node, Now, Outbox, Output, STDIO, Table};
use crate::voice::Chunk;
use crate::wire::frame::PREFIX;
use crate::wire::message::{Ttl, View};
use crate::wire::room_key::{RoomKey, Scheme};

pub mod author;
mod check;
mod config;
mod peer;
mod records;
mod state;
#[cfg(test)]
mod tests;
mod voice;

pub use config::config;
pub use peer::Peer;
use records::{MANY, Newest};

/// A node's place in the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At(pub usize);

/// A network.
#[derive(Debug)]
pub struct Net {
    nodes: Vec<Member>,
    /// Both ends of each connection, by either.
    wires: BTreeMap<(At, LinkId), Wire>,
    coming: BinaryHeap<Reverse<Event>>,
    /// The nodes' deadlines, the next one first.
    due: BTreeSet<(Instant, At)>,
    order: u64,
    start: Instant,
    now: Duration,
    /// The time of all wall clocks at the start, in milliseconds since 1970.
    wall: u64,
    chance: ChaCha12Rng,
    next_link: u64,
    delay: (Duration, Duration),
    /// Pairs that can't reach each other.
    apart: BTreeSet<(At, At)>,
    /// Messages that crossed a link.
    crossings: Newest<Crossing>,
    /// The newest datagrams that were sent: sender, destination, bytes.
    datagrams: Newest<(At, SocketAddr, Vec<u8>)>,
    /// How many of each kind of records are kept.
    most_records: usize,
    /// How many of the crossings have been checked: they are kept for the sake of those to come.
    checked: usize,
    /// The first thing that was found wrong before its record was forgotten.
    wrong: Option<String>,
    /// Of a thousand datagrams, how many are lost.
    lossy: usize,
    /// Peers that are not nodes.
    peers: Vec<peer::Raw>,
}

/// A message that crossed a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crossing {
    /// The node that sent it on.
    pub from: At,
    /// The node that received it.
    pub to: At,
    /// Its id.
    pub id: String,
    /// The node id of its author.
    pub author: String,
    /// Forwards left when it came.
    pub ttl: u8,
    /// When it came.
    pub at: Duration,
}

#[derive(Debug)]
struct Member {
    /// With what it was started; its state is what it has saved.
    config: Config,
    node: Node,
    out: Outbox,
    /// Lines that it has printed.
    lines: Newest<Value>,
    /// Messages among the lines that are forgotten.
    shown: Newest<u64>,
    /// The sound that it has played.
    played: Newest<Chunk>,
    next_line: u64,
    exit: Option<u8>,
    reads: bool,
    frozen: bool,
    deadline: Option<Instant>,
    /// Changes of its state that it has put out, and those that are not saved.
    stores: u64,
    unsaved: BTreeMap<(Table, String), Option<Vec<u8>>>,
    saves: bool,
    /// Messages that its history has on disk, by room.
    disk: BTreeMap<String, Vec<Kept>>,
}

/// One end of a connection.
#[derive(Debug)]
struct Wire {
    other: (At, LinkId),
    delay: Duration,
    /// When the last bytes sent will be there: nothing sent later comes earlier.
    busy_until: Duration,
    /// Reads frames out of what is sent, for the record.
    /// Input that has come and is not read yet.
    inbox: VecDeque<Incoming>,
    /// It will be looked at again.
    retries: bool,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Incoming {
    Bytes(Vec<u8>),
    End,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    at: Duration,
    order: u64,
    to: At,
    what: What,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Came(LinkId, Incoming),
    Retry(LinkId),
    Written(LinkId, usize),
    Broken(LinkId),
    Dial(DialId, String),
    Derived(JobId, Scheme, String, String),
    Datagram(SocketAddr, Vec<u8>),
    AudioOpened(String, String),
    Devices(JobId),
    Load(JobId, String, Wanted),
    Saved(u64, Option<String>),
}

impl Net {
    /// An empty network. `delay`: the shortest and the longest that a link may have.
    pub fn new(seed: u64, delay: (Duration, Duration)) -> Self {
        #[allow(clippy::disallowed_methods, reason = "one moment to count virtual time from; which, never shows")]
        let start = Instant::now();
        Self {
            nodes: Vec::new(),
            wires: BTreeMap::new(),
            coming: BinaryHeap::new(),
            due: BTreeSet::new(),
            order: 0,
            start,
            now: Duration::ZERO,
            wall: 1_767_225_600_000,
            chance: ChaCha12Rng::seed_from_u64(seed),
            next_link: 0,
            delay,
            apart: BTreeSet::new(),
            crossings: Newest::new(MANY),
            datagrams: Newest::new(MANY),
            most_records: MANY,
            checked: 0,
            wrong: None,
            lossy: 0,
            peers: Vec::new(),
        }
    }

    /// Adds a node.
    pub fn node(&mut self, name: &str) -> At {
        self.node_with(name, |_| {})
    }

    /// Adds a node, its configuration changed.
    pub fn node_with(&mut self, name: &str, change: impl FnOnce(&mut Config)) -> At {
        let at = At(self.nodes.len());
        let mut config = Config {
            seed: Some(self.nodes.len() as u64),
            entropy: std::array::from_fn(|i| (self.nodes.len() >> (i % 4 * 8)) as u8 ^ 7),
            events: vec![(EventKind::Forwarded, true), (EventKind::Dropped, true)],
            ..config(name, addr_of(at))
        };
        change(&mut config);
        if config.state.is_some() {
            // The same in every run of the node.
            config.identity.get_or_insert(config.entropy);
        }
        let mut out = Outbox::default();
        let node = Node::new(self.time(), config.clone(), &mut out);
        self.nodes.push(Member {
            config,
            node,
            out,
            lines: Newest::new(self.most_records),
            shown: Newest::new(self.most_records),
            played: Newest::new(self.most_records),
            next_line: 0,
            exit: None,
            reads: true,
            frozen: false,
            deadline: None,
            stores: 0,
            disk: BTreeMap::new(),
            unsaved: BTreeMap::new(),
            saves: true,
        });
        self.perform(at);
        at
    }

    /// Keeps no more than so many records of each kind: messages that crossed links, datagrams; and of each node its lines and its
    /// sound. In a network where more messages than half of that are under way at once, [`check`](Self::check) finds fault with what is right.
    pub fn limit_records(&mut self, most: usize) {
        self.note_wrong(Self::check);
        self.most_records = most;
        self.crossings.limit(most);
        self.checked = self.crossings.len();
        self.datagrams.limit(most);
        for member in &mut self.nodes {
            member.shown.limit(most);
            member.played.limit(most);
            let forgotten = member.lines.limit(most);
            member.forget(&forgotten);
        }
        self.peers.iter_mut().for_each(|peer| peer.limit(most));
    }

    /// Any number, from the seed.
    pub fn chance(&mut self, below: usize) -> usize {
        (self.chance.next_u64() % below.max(1) as u64) as usize
    }

    /// Has a node dial another, and waits until they are linked.
    pub fn link(&mut self, a: At, b: At) {
        let addr = addr_of(b).to_string();
        self.command(a, &json!({ "cmd": "connect", "addr": addr }));
        self.settle();
    }

    /// The same, without waiting: nodes can dial each other at once.
    pub fn dial(&mut self, a: At, b: At) {
        let addr = addr_of(b).to_string();
        self.command(a, &json!({ "cmd": "connect", "addr": addr, "async": true }));
    }

    /// Breaks the link between two nodes, and keeps them apart until [`mend`](Self::mend).
    pub fn cut(&mut self, a: At, b: At) {
        self.apart.insert(pair(a, b));
        self.break_links(|one, other| pair(one, other) == pair(a, b));
    }

    fn break_links(&mut self, between: impl Fn(At, At) -> bool) {
        let ends: Vec<(At, LinkId)> =
            self.wires.iter().filter(|(end, wire)| between(end.0, wire.other.0)).map(|(end, _)| *end).collect();
        for (at, link) in ends {
            self.wires.remove(&(at, link));
            self.schedule(Duration::ZERO, at, What::Broken(link));
        }
    }

    /// Lets two nodes reach each other again.
    pub fn mend(&mut self, a: At, b: At) {
        self.apart.remove(&pair(a, b));
    }

    /// Whether a node reads what comes.
    pub fn reads(&mut self, at: At, reads: bool) {
        self.nodes[at.0].reads = reads;
    }

    /// Stops a node as SIGSTOP does: it reads nothing, and no time passes for it.
    pub fn freeze(&mut self, at: At) {
        let member = &mut self.nodes[at.0];
        (member.reads, member.frozen) = (false, true);
        self.plan(at, None);
    }

    /// Gives a node a command. What it answers is among its lines.
    pub fn command(&mut self, at: At, command: &Value) -> u64 {
        self.nodes[at.0].next_line += 1;
        let line = self.nodes[at.0].next_line;
        if let Some(request) = Request::parse(line, command.to_string().as_bytes()) {
            self.handle(at, Input::Request { client: STDIO, request });
        }
        line
    }

    /// Has a node send a text to its room. Gives the message's id.
    pub fn send(&mut self, at: At, text: &str) -> String {
        let line = self.command(at, &json!({ "cmd": "send", "text": text }));
        let reply = self.reply(at, line);
        reply["result"]["message"].as_str().unwrap_or_default().to_owned()
    }

    /// The answer to a line; null if there is none yet.
    pub fn reply(&self, at: At, line: u64) -> Value {
        let is = |it: &&Value| it["event"] == "reply" && it["line"] == line;
        self.nodes[at.0].lines.iter().rev().find(is).cloned().unwrap_or_default()
    }

    /// The events of a name that a node has shown.
    pub fn events<'a>(&'a self, at: At, name: &'a str) -> impl Iterator<Item = &'a Value> {
        self.nodes[at.0].lines.iter().filter(move |line| line["event"] == name)
    }

    /// How often a node has shown a message.
    pub fn shown(&self, at: At, id: &str) -> usize {
        self.events(at, "message").filter(|line| line["id"] == id).count()
    }

    /// The exit code of a node that has ended.
    pub fn exit(&self, at: At) -> Option<u8> {
        self.nodes[at.0].exit
    }

    /// A node.
    pub fn at(&self, at: At) -> &Node {
        &self.nodes[at.0].node
    }

    /// A node, to be tampered with.
    #[cfg(test)]
    pub(crate) fn at_mut(&mut self, at: At) -> &mut Node {
        &mut self.nodes[at.0].node
    }

    /// The newest lines that a node has printed.
    pub fn lines(&self, at: At) -> &[Value] {
        &self.nodes[at.0].lines
    }

    /// The node that has an address.
    fn node_at(&self, addr: SocketAddr) -> Option<At> {
        at_of(addr).filter(|at| at.0 < self.nodes.len())
    }

    /// All nodes.
    pub fn all(&self) -> impl Iterator<Item = At> + use<> {
        (0..self.nodes.len()).map(At)
    }

    /// Messages that crossed a link so far: the newest.
    pub fn crossings(&self) -> &[Crossing] {
        &self.crossings
    }

    /// Runs until nothing is under way any more: what only waits for its time is left waiting.
    pub fn settle(&mut self) {
        while let Some(Reverse(next)) = self.coming.peek() {
            let at = next.at;
            self.run_until(at);
        }
    }

    /// Runs for so long.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// Sets everybody's wall clock forward or back, in milliseconds.
    pub fn set_clocks(&mut self, by: i64) {
        self.wall = self.wall.saturating_add_signed(by);
    }

    fn run_until(&mut self, end: Duration) {
        loop {
            let event = self.coming.peek().map(|Reverse(event)| event.at);
            let due = self.due.first().copied();
            let due = due.map(|(at, node)| (at.saturating_duration_since(self.start), node));
            match (event, due) {
                (Some(at), due) if at <= end && due.is_none_or(|(due, _)| at <= due) => self.step(),
                (_, Some((at, node))) if at <= end => {
                    self.now = self.now.max(at);
                    self.handle(node, Input::Tick);
                }
                _ => break,
            }
        }
        self.now = self.now.max(end);
    }

    fn step(&mut self) {
        let Some(Reverse(event)) = self.coming.pop() else { return };
        self.now = self.now.max(event.at);
        let to = event.to;
        match event.what {
            What::Came(link, incoming) => {
                if let Some(wire) = self.wires.get_mut(&(to, link)) {
                    wire.inbox.push_back(incoming);
                }
                self.read(to, link);
            }
            What::Retry(link) => {
                if let Some(wire) = self.wires.get_mut(&(to, link)) {
                    wire.retries = false;
                }
                self.read(to, link);
            }
            What::Written(link, bytes) => self.handle(to, Input::Written { link, bytes }),
            What::Broken(link) => self.handle(to, Input::Ended { link, error: Some("cut".into()) }),
            What::Datagram(from, bytes) => {
                if !self.nodes[to.0].frozen {
                    self.handle(to, Input::Datagram { from, bytes: &bytes });
                }
            }
            What::AudioOpened(mic, speaker) => self.handle(to, Input::AudioOpened(Ok((mic, speaker)))),
            What::Saved(stores, error) => self.saved(to, stores, error),
            What::Load(job, room, wanted) => {
                let rows = self.load(to, &room, &wanted);
                self.handle(to, Input::Loaded { job, rows });
            }
            What::Devices(job) => self.handle(to, Input::Devices { job, devices: Devices::default() }),
            What::Dial(dial, addr) => self.dialled(to, dial, &addr),
            What::Derived(job, scheme, passphrase, room) => {
                let key = RoomKey::derive_at_once(scheme, &passphrase, &room);
                self.handle(to, Input::Derived { job, key });
            }
        }
    }

    /// Has a node read what has come, as far as it wants to.
    fn read(&mut self, to: At, link: LinkId) {
        /// How soon a node that does not want to read is asked again.
        const AGAIN: Duration = Duration::from_millis(5);
        loop {
            let now = self.time();
            let member = &self.nodes[to.0];
            let may = member.reads && member.node.may_read(now, link);
            let Some(wire) = self.wires.get_mut(&(to, link)) else { return };
            if !may && !wire.inbox.is_empty() {
                if !std::mem::replace(&mut wire.retries, true) {
                    self.schedule(AGAIN, to, What::Retry(link));
                }
                return;
            }
            let (other, other_link) = wire.other;
            match wire.inbox.pop_front() {
                None => return,
                Some(Incoming::End) => self.handle(to, Input::Ended { link, error: None }),
                Some(Incoming::Bytes(bytes)) => {
                    self.handle(to, Input::Bytes { link, bytes: &bytes });
                    // The sender's system has room again only now.
                    self.schedule(Duration::ZERO, other, What::Written(other_link, bytes.len()));
                }
            }
        }
    }

    fn dialled(&mut self, from: At, dial: DialId, addr: &str) {
        if self.peer_dialled(from, dial, addr) {
            return;
        }
        let to = addr.parse().ok().and_then(|addr| self.node_at(addr));
        let Some(to) =
            to.filter(|to| self.nodes[to.0].exit.is_none()).filter(|to| !self.apart.contains(&pair(from, *to)))
        else {
            let failed = Input::DialFailed { dial, code: LinkCode::Refused, reason: "nobody there".into() };
            return self.handle(from, failed);
        };
        let (ours, theirs) = (self.new_link(), self.new_link());
        for (end, other) in [((from, ours), (to, theirs)), ((to, theirs), (from, ours))] {
            let (least, most) = self.delay;
            let spread = usize::try_from((most - least).as_micros()).unwrap_or(usize::MAX);
            let delay = least + Duration::from_micros(self.chance(spread + 1) as u64);
            self.wires.insert(end, Wire { other, delay, busy_until: self.now, inbox: VecDeque::new(), retries: false });
        }
        let addr = addr_of(from);
        self.handle(to, Input::Accepted { link: theirs, addr });
        self.handle(from, Input::Dialled { dial, link: ours, addr: addr_of(to), more: false });
    }

    fn new_link(&mut self) -> LinkId {
        self.next_link += 1;
        LinkId(self.next_link)
    }

    pub(crate) fn time(&self) -> Now {
        let ms = u64::try_from(self.now.as_millis()).unwrap_or(u64::MAX);
        Now { mono: self.start + self.now, unix_ms: self.wall + ms }
    }

    fn schedule(&mut self, wait: Duration, to: At, what: What) {
        self.order += 1;
        self.coming.push(Reverse(Event { at: self.now + wait, order: self.order, to, what }));
    }

    fn handle(&mut self, at: At, input: Input<'_>) {
        let now = self.time();
        let member = &mut self.nodes[at.0];
        if member.exit.is_none() {
            member.node.handle(now, input, &mut member.out);
            self.perform(at);
        }
    }

    fn perform(&mut self, at: At) {
        let outputs = std::mem::take(&mut self.nodes[at.0].out.outputs);
        let tapped = self.nodes[at.0].out.tapped.replace(Vec::new()).unwrap_or_default();
        self.note_crossings(at, tapped);
        let mut steps = Vec::new();
        let stored = outputs.iter().any(|output| matches!(output, Output::Store { .. }));
        for output in outputs {
            match output {
                Output::Send { link, bytes } => self.transmit(at, link, &bytes),
                Output::Fan { links, bytes } => {
                    for link in self.nodes[at.0].out.receivers(&links).to_vec() {
                        self.transmit(at, link, &bytes);
                    }
                }
                Output::Line { text, .. } => {
                    let line = serde_json::from_str(&text).unwrap_or_default();
                    self.note_line(at, line);
                }
                Output::HalfClose(link) => {
                    if let Some(wire) = self.wires.get(&(at, link)) {
                        let (wait, (to, other)) = (wire.busy_until.saturating_sub(self.now), wire.other);
                        self.schedule(wait.max(wire.delay), to, What::Came(other, Incoming::End));
                    }
                }
                Output::Close(link) => {
                    self.peer_closed(at, link);
                    if let Some(wire) = self.wires.remove(&(at, link)) {
                        let (to, other) = wire.other;
                        let wait = wire.busy_until.saturating_sub(self.now).max(wire.delay);
                        self.schedule(wait, to, What::Came(other, Incoming::End));
                    }
                }
                Output::Dial { dial, addr, .. } => {
                    let (least, _) = self.delay;
                    self.schedule(least, at, What::Dial(dial, addr));
                }
                Output::Handshake { link, step } => steps.push((link, step)),
                Output::Derive { job, scheme, passphrase, room } => {
                    self.schedule(Duration::from_millis(50), at, What::Derived(job, scheme, passphrase, room));
                }
                Output::Datagram { to, bytes } => self.throw(at, to, &bytes),
                Output::StartAudio { mic, speaker } => {
                    self.schedule(Duration::ZERO, at, What::AudioOpened(mic, speaker))
                }
                Output::Play(chunk) => drop(self.nodes[at.0].played.push(*chunk)),
                Output::Load { job, room, wanted } => {
                    self.schedule(Duration::from_millis(1), at, What::Load(job, room, wanted));
                }
                Output::ListDevices(job) => self.schedule(Duration::ZERO, at, What::Devices(job)),
                Output::Store { table, key, value } => self.store(at, table, key, value),
                Output::StopAudio | Output::PauseMic(_) | Output::Log(..) | Output::Complain(_) => {}
                Output::Exit(code) => self.nodes[at.0].exit = Some(code),
            }
        }
        if stored {
            self.save(at);
        }
        let member = &mut self.nodes[at.0];
        member.out.clear();
        let deadline = member.node.next_deadline().filter(|_| member.exit.is_none() && !member.frozen);
        self.plan(at, deadline);
        for (link, step) in steps {
            self.handle(at, Input::Stepped { link, stepped: step.make() });
        }
    }

    /// How long the network has been running.
    pub const fn elapsed(&self) -> Duration {
        self.now
    }

    fn bytes_of(&self, at: At, bytes: &Bytes) -> Vec<u8> {
        match bytes {
            Bytes::Small(range) => self.nodes[at.0].out.bytes(range).to_vec(),
            Bytes::Large(shared) => shared.to_vec(),
        }
    }

    fn plan(&mut self, at: At, deadline: Option<Instant>) {
        let before = std::mem::replace(&mut self.nodes[at.0].deadline, deadline);
        if before != deadline {
            before.map(|before| self.due.remove(&(before, at)));
            deadline.map(|deadline| self.due.insert((deadline, at)));
        }
    }

    /// Notes the messages that are on their way, as they were before they were sealed.
    fn note_crossings(&mut self, at: At, tapped: Vec<(LinkId, Vec<u8>)>) {
        for (link, frame) in tapped {
            let Some(wire) = self.wires.get(&(at, link)) else { continue };
            let arrival = (self.now + wire.delay).max(wire.busy_until);
            let (to, body) = (wire.other.0, frame.get(PREFIX..).unwrap_or_default());
            if let Ok(view) = View::parse(body)
                && let (Ttl::Left(ttl), Ok(id), Ok(author)) = (view.ttl.ttl(), view.id.name(), view.from.name())
            {
                let (id, author) = (id.into_owned(), author.into_owned());
                self.note_crossing(Crossing { from: at, to, id, author, ttl, at: arrival });
            }
        }
    }

    fn transmit(&mut self, at: At, link: LinkId, bytes: &Bytes) {
        let bytes = self.bytes_of(at, bytes);
        let now = self.now;
        self.peer_was_sent(at, link, &bytes);
        let Some(wire) = self.wires.get_mut(&(at, link)) else {
            // Cut: taken by the system all the same, and lost.
            return self.schedule(Duration::ZERO, at, What::Written(link, bytes.len()));
        };
        let arrival = (now + wire.delay).max(wire.busy_until);
        wire.busy_until = arrival;
        let (to, other) = wire.other;
        self.schedule(arrival - now, to, What::Came(other, Incoming::Bytes(bytes)));
    }
}

/// A node's address: `10.w.x.y:5000`, its place being `w`, `x` and `y`: there are addresses for 16 million nodes.
pub fn addr_of(at: At) -> SocketAddr {
    let [high @ .., w, x, y] = (at.0 as u64).to_be_bytes();
    assert_eq!(high, [0; 5], "a network of more nodes than addresses");
    SocketAddr::from(([10, w, x, y], 5000))
}

/// The node of an address, if there were so many.
fn at_of(addr: SocketAddr) -> Option<At> {
    match addr {
        SocketAddr::V4(v4) if v4.port() == 5000 => match v4.ip().octets() {
            [10, w, x, y] => Some(At(u32::from_be_bytes([0, w, x, y]) as usize)),
            _ => None,
        },
        _ => None,
    }
}

fn pair(a: At, b: At) -> (At, At) {
    (a.min(b), a.max(b))
}
