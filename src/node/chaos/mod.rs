//! The life of one node among peers, good and bad, as choices make it: whatever comes, in whatever order, it does not panic,
//! answers each line once, shows nothing twice, keeps its bounds, and never asks to be woken at a time that has passed. In a
//! private network it says nothing to a stranger.
//!
//! - [`choices`]: from a seed, for tests; or from a fuzzer's input
//! - [`peers`]: the other ends of links; [`frames`]: the frames that they send; [`sound`]: datagrams, microphone and speaker
//! - [`kept`]: beside it, the messages that a node keeps

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::api::command::COMMANDS;
use crate::call::testing::Member;
use crate::link::Stage;
use crate::voice::CHUNK;
use crate::wire::limits::MAX_LINKS;
use crate::wire::noise::Step;
use crate::wire::room_key::Scheme;

pub mod choices;
mod frames;
pub mod kept;
mod peers;
mod sound;

use choices::Choices;

/// Bytes of history that the node may keep.
const HISTORY: usize = 20_000;
/// Datagrams of the node that are kept, to be thrown back.
const THROWN: usize = 50;

/// A node, and what surrounds it.
#[derive(Debug)]
pub struct Chaos<'c> {
    choices: Choices<'c>,
    node: Node,
    out: Outbox,
    start: Instant,
    now: Duration,
    links: Vec<LinkId>,
    peers: peers::Peers,
    next_link: u64,
    dials: Vec<DialId>,
    jobs: Vec<JobId>,
    lists: Vec<JobId>,
    /// Microphone and speaker are to be opened.
    opening: bool,
    /// Datagrams that it has sent: to be thrown back.
    thrown: Vec<Vec<u8>>,
    /// Members of level 2, which sign their signals.
    members: Vec<Member>,
    /// How often 5 ms were played.
    played: u64,
    line: u64,
    replies: BTreeSet<u64>,
    /// The messages shown: for each how many messages had come when it was shown last, and how often it was shown. An id is
    /// forgotten after so many others.
    shown: BTreeMap<String, (u64, usize)>,
    /// How many had come before what is being handled.
    came: u64,
    /// Authors may have been forgotten: then a recording of theirs is shown again.
    forgot: bool,
    has_state: bool,
    /// Changes put out for the state folder.
    stores: u64,
    /// Steps of handshakes that are to be made.
    steps: Vec<(LinkId, Step)>,
    ended: bool,
}

/// The figures of a life, so that a test can tell whether enough happened.
#[derive(Debug, Default)]
pub struct Sum {
    /// Messages shown.
    pub shown: usize,
    /// Lines answered.
    pub replies: usize,
    /// Chunks played.
    pub played: u64,
    /// Datagrams taken.
    pub taken: u64,
    /// Handshakes done.
    pub sealed: u64,
}

/// Lives through so many steps, or as many as the choices last for, and ends.
pub fn live(choices: Choices<'_>, steps: usize) -> Sum {
    let mut chaos = Chaos::new(choices);
    chaos.handle(Input::Tick);
    for _ in 0..steps {
        if chaos.ended || chaos.choices.at_end() {
            break;
        }
        chaos.step();
        chaos.check();
    }
    chaos.end()
}

fn config() -> Config {
    Config {
        listen: vec!["*".into()],
        connect: vec!["10.0.0.1:5000".into(), "127.0.0.1:5000".into()],
        max_links_per_addr: 2,
        rate: 50,
        history_bytes: HISTORY,
        events: vec![(EventKind::Forwarded, true), (EventKind::Dropped, true)],
        log: LogLevel::Debug,
        ..crate::sim::config("n", SocketAddr::from(([127, 0, 0, 1], 5000)))
    }
}

/// The key of a private network, and another one's: derived once, since that takes a tenth of a second each.
fn network_keys() -> [NetworkKey; 2] {
    static KEYS: OnceLock<[NetworkKey; 2]> = OnceLock::new();
    *KEYS.get_or_init(|| ["one", "another"].map(|secret| NetworkKey::derive(secret).expect("there is memory")))
}

impl<'c> Chaos<'c> {
    fn new(mut choices: Choices<'c>) -> Self {
        #[allow(clippy::disallowed_methods, reason = "one moment to count virtual time from")]
        let start = Instant::now();
        let mut out = Outbox::default();
        let has_state = choices.below(4) == 0;
        // Two of three are in no private network.
        let network_key = (choices.below(3) == 0).then(|| network_keys()[0]);
        let config = Config {
            network_key,
            stay: choices.below(3) == 0,
            secure: choices.below(8) == 0,
            check: choices.below(5) == 0,
            max_links: if choices.below(2) == 0 { MAX_LINKS } else { 3 },
            state: has_state.then(State::default),
            ..config()
        };
        let node = Node::new(Now { mono: start, unix_ms: 0 }, config, &mut out);
        Self {
            choices,
            node,
            out,
            start,
            now: Duration::ZERO,
            links: Vec::new(),
            peers: peers::Peers::default(),
            next_link: 0,
            dials: Vec::new(),
            jobs: Vec::new(),
            lists: Vec::new(),
            opening: false,
            thrown: Vec::new(),
            members: (0..6).map(|n| Member::new(n, "general", ([10, 0, 0, n as u8], 6000).into())).collect(),
            played: 0,
            line: 0,
            replies: BTreeSet::new(),
            shown: BTreeMap::new(),
            came: 0,
            forgot: false,
            has_state,
            stores: 0,
            steps: Vec::new(),
            ended: false,
        }
    }

    fn below(&mut self, n: usize) -> usize {
        self.choices.below(n)
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        self.choices.pick(from)
    }

    fn time(&self) -> Now {
        Now { mono: self.start + self.now, unix_ms: 1_000_000 + self.now.as_millis() as u64 }
    }

    /// Messages taken so far.
    fn taken(&self) -> u64 {
        let counters = self.node.counters();
        counters.received + counters.sent
    }

    fn handle(&mut self, input: Input<'_>) {
        let now = self.time();
        self.came = self.taken();
        self.node.handle(now, input, &mut self.out);
        let (authors, intervals) = self.node.gossip.authors();
        self.forgot |= authors >= limits::MAX_AUTHORS || intervals >= limits::MAX_ALL_INTERVALS / 2;
        for output in std::mem::take(&mut self.out.outputs) {
            self.perform(output);
        }
        self.out.clear();
        while let Some((link, step)) = self.steps.pop() {
            self.handle(Input::Stepped { link, stepped: step.make() });
        }
        let deadline = self.node.next_deadline();
        assert!(self.ended || deadline.is_none_or(|at| at > now.mono), "asks to be woken at a time that has passed");
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Line { text, kind, .. } => self.line_came(kind, &text),
            Output::Dial { dial, .. } => self.dials.push(dial),
            Output::Handshake { link, step } => self.steps.push((link, step)),
            Output::Derive { job, .. } | Output::Load { job, .. } => self.jobs.push(job),
            Output::Close(link) => self.links.retain(|it| *it != link),
            Output::Exit(_) => self.ended = true,
            Output::Send { link, bytes } => {
                let bytes = self.out.piece(&bytes, 0, usize::MAX).to_vec();
                self.node_sent(link, bytes);
            }
            Output::Fan { links, bytes } => {
                let bytes = self.out.piece(&bytes, 0, usize::MAX).to_vec();
                for link in self.out.receivers(&links).to_vec() {
                    self.node_sent(link, bytes.clone());
                }
            }
            Output::HalfClose(_) | Output::Log(..) | Output::Complain(_) => {}
            Output::Store { .. } => {
                assert!(self.has_state, "there is no state folder");
                self.stores += 1;
            }
            Output::Datagram { to, bytes } => {
                assert!(to.port() != 0 && !to.ip().is_unspecified() && !to.ip().is_multicast());
                let bytes = self.out.piece(&bytes, 0, usize::MAX).to_vec();
                assert!(bytes.len() <= 1400, "a datagram of {} bytes", bytes.len());
                if self.thrown.len() == THROWN {
                    self.thrown.remove(0);
                }
                self.thrown.push(bytes);
            }
            Output::StartAudio { .. } => self.opening = true,
            Output::PauseMic(_) => {}
            Output::StopAudio => self.opening = false,
            Output::Play(chunk) => self.played += u64::from(chunk.len() == CHUNK),
            Output::ListDevices(job) => self.lists.push(job),
        }
    }

    fn line_came(&mut self, kind: EventKind, text: &str) {
        let line = |text| serde_json::from_str::<Value>(text).expect("JSON");
        match kind {
            EventKind::Reply => {
                let line = line(text)["line"].as_u64().expect("a number");
                assert!(self.replies.insert(line), "a line was answered twice");
            }
            EventKind::Message => self.message_shown(&line(text)),
            EventKind::PeerUp => assert!(!self.is_private() || self.peers.sealed > 0, "a stranger is a neighbour"),
            _ => assert!(crate::wire::message::is_json(text.as_bytes())),
        }
    }

    fn message_shown(&mut self, line: &Value) {
        // An id is one author's if that has signed, and everybody's if not.
        let verified = line["verified"] == true;
        let author = if verified { &line["from"] } else { &Value::Null };
        let which = format!("{} {author}", line["id"]);
        let (before, times) = self.shown.get(&which).copied().unwrap_or((self.came, 0));
        let signed = self.peers.places.get(&which).map_or(0, BTreeSet::len);
        self.shown.insert(which, (self.came, times + 1));
        let is_forgotten = self.taken() - before > limits::MAX_SEEN as u64;
        let may_be_new = self.forgot || !verified || times < signed;
        assert!(times == 0 || (is_forgotten && may_be_new), "a message was shown twice");
    }

    const fn is_private(&self) -> bool {
        self.node.config.network_key.is_some()
    }

    fn command(&mut self) -> String {
        if self.below(200) == 0 {
            return json!({ "cmd": "exit" }).to_string();
        }
        let example = COMMANDS.get(self.below(COMMANDS.len())).filter(|it| it.name != "exit");
        let mut command: Value = serde_json::from_str(example.map_or("{}", |it| it.example)).expect("an example");
        self.change(&mut command, 3);
        if self.below(3) == 0 {
            command["async"] = json!(true);
        }
        if command["cmd"] == "wait" || command["cmd"] == "send" {
            command["timeout_ms"] = json!(self.below(3000));
        }
        command.to_string()
    }

    fn step(&mut self) {
        match self.below(40) {
            0 => {
                let link = self.new_link();
                let addr = SocketAddr::from(([10, 0, 0, self.below(4) as u8], 7));
                self.greet(link, Input::Accepted { link, addr });
            }
            1 | 2 => self.dial_ends(),
            3 => {
                if let Some(link) = self.pick(&self.links.clone()) {
                    let error = (self.below(2) == 0).then(|| "broken".to_owned());
                    self.handle(Input::Ended { link, error });
                }
            }
            4 | 5 => {
                if let Some(link) = self.pick(&self.links.clone()) {
                    let bytes = self.below(4000);
                    self.handle(Input::Written { link, bytes });
                }
            }
            6 => {
                if let Some(job) = self.jobs.pop() {
                    // One key for all: deriving takes too long to do it here.
                    let key = RoomKey::derive_at_once([Scheme::Original, Scheme::Argon2id][self.below(2)], "k", "r");
                    self.handle(Input::Derived { job, key });
                }
            }
            7 => {
                let wait = [1, 50, 400, 1500, 6000, 30_000][self.below(6)];
                self.now += Duration::from_millis(wait);
                self.handle(Input::Tick);
            }
            8..=11 => {
                if self.node.may_take_request(self.time(), STDIO) {
                    let command = self.command();
                    self.line += 1;
                    if let Some(request) = Request::parse(self.line, command.as_bytes()) {
                        self.handle(Input::Request { client: STDIO, request });
                    }
                }
            }
            12 if self.below(60) == 0 => self.handle(Input::EndOfInput(STDIO)),
            13 => self.handle(Input::AcceptFailed("x".into())),
            14 if self.below(60) == 0 => self.handle(Input::Signal(ByeReason::Sigterm)),
            15 => {
                let error = (self.below(2) == 0).then(|| "full".to_owned());
                self.handle(Input::Saved { stores: self.stores, error });
            }
            24.. => self.sound_step(),
            _ => {
                if let Some(link) = self.pick(&self.links.clone()) {
                    let mut bytes: Vec<u8> = (0..1 + self.below(4)).flat_map(|_| self.frame()).collect();
                    if self.below(10) == 0 {
                        bytes.truncate(self.below(bytes.len()));
                    }
                    self.say(link, &bytes);
                }
            }
        }
        self.read();
    }

    fn dial_ends(&mut self) {
        let Some(dial) = self.pick(&self.dials.clone()) else { return };
        self.dials.retain(|it| *it != dial);
        if self.below(2) == 0 {
            let (link, more) = (self.new_link(), self.below(4) == 0);
            self.greet(link, Input::Dialled { dial, link, addr: SocketAddr::from(([10, 0, 0, 9], 7)), more });
        } else {
            self.handle(Input::DialFailed { dial, code: LinkCode::Refused, reason: "no".into() });
        }
    }

    fn new_link(&mut self) -> LinkId {
        self.next_link += 1;
        self.links.push(LinkId(self.next_link));
        LinkId(self.next_link)
    }

    fn check(&self) {
        let held = self.node.held();
        assert!(held.history_bytes <= HISTORY || held.history == 1);
        assert!(held.history <= limits::MAX_HISTORY_PER_ROOM * held.rooms && held.rooms <= limits::MAX_ROOMS);
        assert!(held.seen_ids <= limits::MAX_SEEN && held.traces <= limits::MAX_TRACES);
        assert!(held.wait_events <= clients::MAX_LOG_EVENTS && held.wait_bytes <= clients::MAX_LOG_BYTES);
        assert!(held.waiting <= clients::MAX_ASYNC + 1);
        assert!(held.dial_targets <= limits::MAX_TARGETS);
        assert!(held.blocks <= limits::MAX_BLOCKS && held.offenders <= limits::MAX_OFFENDERS);
        assert!(held.authors <= limits::MAX_AUTHORS && held.author_intervals <= limits::MAX_ALL_INTERVALS);
        assert!(held.unsaved <= self.stores);
        assert!(self.node.neighbour_ids().len() <= self.node.config.max_links);
        assert!(self.node.rooms.keyed().count() <= limits::MAX_ROOMS);
        assert!(self.node.rooms.listened().len() <= limits::MAX_ROOMS);
        let strangers =
            self.node.links.iter().filter(|(_, it)| it.stage() == Stage::Greeting && !it.direction().is_out());
        assert!(strangers.count() <= limits::MAX_HANDSHAKES);
        let links = self.node.link_count();
        assert!(links <= 2 * MAX_LINKS + limits::MAX_HANDSHAKES + limits::MAX_TARGETS);
        assert!(held.frames <= links * limits::MAX_QUEUE_FRAMES && held.frame_bytes <= links * limits::MAX_QUEUE_BYTES);
        for (what, held, bound) in self.node.voice_held() {
            assert!(held <= bound, "{held} {what}, at most {bound} may be");
        }
    }

    /// However it stands, it ends when asked to, with every line answered.
    fn end(mut self) -> Sum {
        if !self.ended {
            self.handle(Input::Signal(ByeReason::Sigint));
            self.now += Duration::from_secs(3);
            self.handle(Input::Tick);
        }
        self.check();
        assert!(self.ended, "it did not end");
        assert_eq!(self.replies.len() as u64, self.line, "not every line was answered");
        Sum {
            shown: self.shown.len(),
            replies: self.replies.len(),
            played: self.played,
            taken: self.node.counters().datagrams_received,
            sealed: self.peers.sealed,
        }
    }
}
