//! The pure node under random inputs: whatever comes, in whatever order, it does not panic, answers each line once,
//! keeps its bounds, and never asks to be woken at a time that has passed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::*;
use crate::api::command::COMMANDS;
use crate::api::event::WarningCode;
use crate::voice::{CHUNK, Codec, FRAME, Packet, Report};
use crate::wire::datagram;
use crate::wire::limits::MAX_LINKS;
use crate::wire::room_key::Scheme;

/// How many runs; `CHAOS_RUNS` raises it, for a soak.
fn runs() -> u64 {
    std::env::var("CHAOS_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(300)
}

/// The first seed; `CHAOS_SEED` sets it, to run one again.
fn first() -> u64 {
    std::env::var("CHAOS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0)
}

struct Chaos {
    seed: u64,
    chance: ChaCha12Rng,
    node: Node,
    out: Outbox,
    start: Instant,
    now: Duration,
    links: Vec<LinkId>,
    next_link: u64,
    dials: Vec<DialId>,
    jobs: Vec<JobId>,
    lists: Vec<JobId>,
    /// Microphone and speaker are to be opened.
    opening: bool,
    /// Datagrams that it has sent: to be thrown back.
    thrown: Vec<Vec<u8>>,
    /// How often 5 ms were played, and datagrams taken.
    played: u64,
    line: u64,
    replies: BTreeMap<u64, u32>,
    shown: BTreeMap<String, u32>,
    ended: bool,
    /// Changes put out for the state folder.
    stores: u64,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        #[allow(clippy::disallowed_methods, reason = "one moment to count virtual time from")]
        let start = Instant::now();
        let mut out = Outbox::default();
        let addr = SocketAddr::from(([127, 0, 0, 1], 5000));
        let config = Config {
            username: "n".into(),
            room: "general".into(),
            listen: vec!["*".into()],
            tcp: addr,
            udp: addr,
            advertise: None,
            udp_host: addr.ip(),
            mic: "none".into(),
            speaker: "none".into(),
            connect: vec!["10.0.0.1:5000".into(), "127.0.0.1:5000".into()],
            stay: seed.is_multiple_of(3),
            check: seed.is_multiple_of(5),
            drain: Duration::from_secs(2),
            seed: Some(seed),
            entropy: [1; 32],
            identity: None,
            state: seed.is_multiple_of(4).then(State::default),
            max_links: if seed.is_multiple_of(2) { MAX_LINKS } else { 3 },
            max_links_per_addr: 2,
            history_bytes: 20_000,
            events: vec![(EventKind::Forwarded, true), (EventKind::Dropped, true)],
            keys: Vec::new(),
            log: LogLevel::Debug,
        };
        let node = Node::new(Now { mono: start, unix_ms: 0 }, config, &mut out);
        Self {
            seed,
            chance: ChaCha12Rng::seed_from_u64(seed),
            node,
            out,
            start,
            now: Duration::ZERO,
            links: Vec::new(),
            next_link: 0,
            dials: Vec::new(),
            jobs: Vec::new(),
            lists: Vec::new(),
            opening: false,
            thrown: Vec::new(),
            played: 0,
            line: 0,
            replies: BTreeMap::new(),
            shown: BTreeMap::new(),
            ended: false,
            stores: 0,
        }
    }

    fn below(&mut self, n: usize) -> usize {
        (self.chance.next_u64() % n.max(1) as u64) as usize
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        let at = self.below(from.len());
        from.get(at).cloned()
    }

    fn time(&self) -> Now {
        Now { mono: self.start + self.now, unix_ms: 1_000_000 + self.now.as_millis() as u64 }
    }

    fn handle(&mut self, input: Input<'_>) {
        let now = self.time();
        self.node.handle(now, input, &mut self.out);
        for output in std::mem::take(&mut self.out.outputs) {
            match output {
                Output::Line { text, kind, .. } => {
                    let line: Value = serde_json::from_str(&text).expect("JSON");
                    if kind == EventKind::Reply {
                        *self.replies.entry(line["line"].as_u64().expect("a number")).or_default() += 1;
                    }
                    if kind == EventKind::Message {
                        *self.shown.entry(line["id"].to_string()).or_default() += 1;
                    }
                }
                Output::Dial { dial, .. } => self.dials.push(dial),
                Output::Derive { job, .. } => self.jobs.push(job),
                Output::Close(link) => self.links.retain(|it| *it != link),
                Output::Exit(_) => self.ended = true,
                Output::Send { .. } | Output::HalfClose(_) | Output::Log(..) | Output::Complain(_) => {}
                Output::Store { .. } => {
                    assert!(self.seed.is_multiple_of(4), "seed {}: there is no state folder", self.seed);
                    self.stores += 1;
                }
                Output::Datagram { to, bytes } => {
                    assert!(to.port() != 0 && !to.ip().is_unspecified() && !to.ip().is_multicast());
                    let bytes = match bytes {
                        Bytes::Small(range) => self.out.bytes(&range).to_vec(),
                        Bytes::Large(shared) => shared.to_vec(),
                    };
                    assert!(bytes.len() <= 1400, "a datagram of {} bytes", bytes.len());
                    self.thrown.push(bytes);
                }
                Output::StartAudio { .. } => self.opening = true,
                Output::StopAudio => self.opening = false,
                Output::Play(chunk) => self.played += u64::from(chunk.len() == CHUNK),
                Output::ListDevices(job) => self.lists.push(job),
            }
        }
        self.out.clear();
        let excess = self.thrown.len().saturating_sub(50);
        self.thrown.drain(..excess);
        let deadline = self.node.next_deadline();
        assert!(
            self.ended || deadline.is_none_or(|at| at > now.mono),
            "seed {}: asks to be woken at a time that has passed",
            self.seed
        );
    }

    /// A value that a field may not expect.
    fn odd(&mut self) -> Value {
        let odd = [
            json!(null),
            json!(true),
            json!(-1),
            json!(0),
            json!(1),
            json!(5),
            json!(31),
            json!(40),
            json!(1.5),
            json!(u64::MAX),
            json!(""),
            json!("general"),
            json!("peer1"),
            json!("x".repeat(64)),
            json!("x".repeat(65)),
            json!("\u{202e}\u{1b}[31m"),
            json!([]),
            json!({}),
            json!({ "a": [1, { "b": null }] }),
        ];
        self.pick(&odd).unwrap_or_default()
    }

    /// A frame: most of the time one that makes sense, with some fields changed.
    fn frame(&mut self) -> Vec<u8> {
        let peer = format!("peer{}", self.below(6));
        let id = format!("m{}", self.below(200));
        let ours = json!({ "version": 1, "caps": ["ping", "confirm", "nick"] });
        let known = [
            json!({ "type": "hello", "id": id, "from": peer, "username": "p" }),
            json!({ "type": "hello", "id": id, "from": peer, "username": "p", "p2p_chat": ours }),
            json!({ "type": "hello", "id": id, "from": self.node.id(), "username": "me" }),
            json!({ "type": "chat", "id": id, "from": peer, "username": "p", "room": "general", "msg": "x", "ttl": 5, "ts": "t" }),
            json!({ "type": "chat", "id": id, "from": peer, "username": "q", "room": format!("r{peer}"), "msg": "[encrypted]",
                "encrypted_msg": "AAAA", "ttl": 3, "ttl0": 9, "ts": 7, "meta": { "a": 1 } }),
            json!({ "type": "voice_mute_status", "id": id, "from": peer, "room": "general", "muted": true }),
            json!({ "type": "voice_leave", "id": id, "from": peer, "username": "p", "room": "general", "ttl": 5 }),
            self.voice_signal("voice_join", &id, &peer),
            self.voice_signal("voice_join", &id, &peer),
            self.voice_signal("voice_join", &id, &format!("far{id}")),
            self.voice_signal("voice_leave", &id, &peer),
            self.voice_signal("voice_mute_status", &id, &peer),
            json!({ "type": "peer_list", "id": id, "from": peer, "peers": [] }),
            json!({ "type": "image", "id": id, "from": peer, "room": "general", "ttl": 4, "image_data": "x".repeat(9000) }),
            json!({ "type": "room_create", "id": id, "from": peer, "room": "x" }),
            json!({ "type": "ping", "id": id, "nonce": 7 }),
            json!({ "type": "pong", "id": id, "nonce": 7 }),
            json!({ "type": "confirm", "id": id, "message": "m1" }),
            json!({ "type": "confirmed", "id": id, "message": "m1", "taken": true }),
            json!({ "type": "nick", "id": id, "username": "other" }),
        ];
        let mut message = self.pick(&known).unwrap_or_default();
        if self.below(4) == 0 {
            let keys: Vec<String> = message.as_object().map(|it| it.keys().cloned().collect()).unwrap_or_default();
            if let (Some(key), odd) = (self.pick(&keys), self.odd()) {
                message[key] = odd;
            }
        }
        let mut body = message.to_string().into_bytes();
        match self.below(20) {
            0 => body.truncate(self.below(30)),
            1 => {
                let at = self.below(body.len());
                body[at] = self.below(256) as u8;
            }
            _ => {}
        }
        let length = if self.below(60) == 0 { self.chance.next_u32() } else { body.len() as u32 };
        [&length.to_be_bytes()[..], &body].concat()
    }

    fn voice_signal(&mut self, kind: &str, id: &str, from: &str) -> Value {
        let hosts =
            ["10.0.0.1", "10.0.0.9", "127.0.0.1", "::1", "fe80::1", "::ffff:10.0.0.2", "0.0.0.0", "224.0.0.1", "x"];
        let from = if self.below(10) == 0 { self.node.id().to_owned() } else { from.to_owned() };
        let mut signal = json!({ "type": kind, "id": id, "from": from, "username": "p",
            "room": self.pick(&["general", "general", "lounge"]), "udp_host": self.pick(&hosts),
            "udp_port": self.pick(&[0, 7, 6000, 65_535, 65_536]), "muted": self.below(2) == 0, "ttl": 1 + self.below(32),
            "ttl0": 32, "ts": "t" });
        if self.below(3) > 0 {
            let session = self.session();
            signal["voice"] = json!({ "session": format!("{session:016x}"),
                "codecs": if self.below(3) == 0 { json!([]) } else { json!(["opus", 7]) }, "muted": self.below(2) == 0 });
        }
        signal
    }

    /// A session: most of the time one that is known.
    fn session(&mut self) -> u64 {
        let known = self.node.voice.sessions();
        let other = self.below(8) as u64;
        self.pick(&known).filter(|_| other > 1).unwrap_or(other)
    }

    fn address(&mut self) -> SocketAddr {
        match self.below(6) {
            0 => SocketAddr::from(([0, 0, 0, 0, 0, 0xffff, 0x0a00, 1], 7)),
            1 => SocketAddr::from(([0xfe80, 0, 0, 0, 0, 0, 0, 1], 6000)),
            _ => SocketAddr::from(([10, 0, 0, self.below(10) as u8], [7, 6000][self.below(2)])),
        }
    }

    /// A datagram: of any kind, from a member as often as not; or one that it has sent itself; and some are damaged.
    fn datagram(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let (a, b, number) = (self.session(), self.session(), self.chance.next_u64());
        let own = self.node.voice.sessions().first().copied().unwrap_or_default();
        let id = format!("peer{}", self.below(6));
        match self.below(8) {
            0 => datagram::write_challenge(a, own, number, &mut bytes),
            1 => datagram::write_echo(a, number, &mut bytes),
            2 => {
                let [expected, lost, bursts] = [0, 16, 32].map(|shift| (number >> shift) as u16);
                datagram::write_report(
                    a,
                    if number % 4 > 0 { own } else { b },
                    Report { expected, lost, bursts },
                    &mut bytes,
                );
            }
            3 => datagram::write_members(a, (0..number % 18).map(|n| ((number >> n) as u8, &*id)), &mut bytes),
            4 | 5 => {
                let payload: Vec<u8> =
                    (0..number % 80).map(|n| if n == 0 { 9 << 3 } else { (number >> (n % 50)) as u8 }).collect();
                let payload = if number.is_multiple_of(5) { vec![7; 640] } else { payload };
                let codec = if payload.len() == 640 { Codec::Pcm } else { Codec::Opus };
                let counter = if self.below(9) == 0 { number } else { self.now.as_millis() as u64 / 20 };
                let packet = Packet { counter, frame: counter, codec, payload: &payload, repeats: [None; 2] };
                datagram::Voice::write(a, &packet, number.is_multiple_of(3), None, &mut bytes);
            }
            6 => {
                let sequence = if self.below(9) == 0 { u32::MAX } else { self.now.as_millis() as u32 / 20 };
                let pcm = [(number >> 9) as i16; FRAME];
                let header = (&datagram::cut("general"), &datagram::cut(&id));
                datagram::Original::write(header, sequence, &pcm, None, &mut bytes);
            }
            _ => bytes = self.pick(&self.thrown.clone()).unwrap_or_default(),
        }
        match self.below(12) {
            0 => bytes.truncate(self.below(bytes.len())),
            1 => bytes.extend([9; 40]),
            2 if !bytes.is_empty() => {
                let at = self.below(bytes.len());
                bytes[at] = self.below(256) as u8;
            }
            _ => {}
        }
        // What is echoed for us answers a challenge that went out, if it is changed to an echo.
        if bytes.first() == Some(&2) && self.below(2) == 0 && bytes.len() == datagram::CHALLENGE {
            let (to, nonce) = (bytes[9..17].to_vec(), bytes[17..].to_vec());
            bytes = [&[3][..], &to, &nonce].concat();
        }
        bytes
    }

    /// What sound and datagrams bring.
    fn voice_step(&mut self) {
        match self.below(8) {
            0 if self.opening => {
                self.opening = self.below(4) == 0;
                let opened = if self.below(4) == 0 { Err("no".to_owned()) } else { Ok(("m".into(), "s".into())) };
                self.handle(Input::AudioOpened(opened));
            }
            1 => {
                if let Some(job) = self.lists.pop() {
                    self.handle(Input::Devices { job, devices: crate::api::result::Devices::default() });
                }
            }
            2 => {
                let level = [0, 3, 9000][self.below(3)];
                let frame = std::array::from_fn(|n| ((n * n * 7919 % 200) as i16 - 100).saturating_mul(level / 100));
                self.now += Duration::from_millis(20);
                self.handle(Input::Captured(&frame));
            }
            3 => {
                self.now += Duration::from_millis(5);
                self.handle(Input::PlaybackDue);
            }
            4 if self.below(10) == 0 => self.handle(Input::MicEnded),
            _ => {
                let (from, bytes) = (self.address(), self.datagram());
                self.handle(Input::Datagram { from, bytes: &bytes });
            }
        }
    }

    fn command(&mut self) -> String {
        let examples: Vec<&str> = COMMANDS.iter().filter(|it| it.name != "exit").map(|it| it.example).collect();
        let mut command: Value = serde_json::from_str(self.pick(&examples).unwrap_or("{}")).expect("an example");
        let keys: Vec<String> = command.as_object().map(|it| it.keys().cloned().collect()).unwrap_or_default();
        if self.below(3) == 0
            && let (Some(key), odd) = (self.pick(&keys), self.odd())
        {
            command[key] = odd;
        }
        if self.below(3) == 0 {
            command["async"] = json!(true);
        }
        if command["cmd"] == "wait" || command["cmd"] == "send" {
            command["timeout_ms"] = json!(self.below(3000));
        }
        if self.below(200) == 0 {
            command = json!({ "cmd": "exit" });
        }
        command.to_string()
    }

    fn step(&mut self) {
        match self.below(40) {
            24.. => self.voice_step(),
            0 => {
                let link = self.new_link();
                let addr = SocketAddr::from(([10, 0, 0, self.below(4) as u8], 7));
                self.handle(Input::Accepted { link, addr });
                self.hello(link);
            }
            1 | 2 => {
                if let Some(dial) = self.pick(&self.dials.clone()) {
                    self.dials.retain(|it| *it != dial);
                    if self.below(2) == 0 {
                        let link = self.new_link();
                        self.handle(Input::Dialled { dial, link, addr: SocketAddr::from(([10, 0, 0, 9], 7)) });
                        self.hello(link);
                    } else {
                        self.handle(Input::DialFailed { dial, code: LinkCode::Refused, reason: "no".into() });
                    }
                }
            }
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
                    let scheme = [Scheme::Original, Scheme::Argon2id][self.below(2)];
                    let key = RoomKey::derive_at_once(scheme, "k", "r");
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
            14 if self.below(60) == 0 => self.handle(Input::Signal(ByeReason::Sigterm)),
            15 => {
                let error = (self.below(2) == 0).then(|| "full".to_owned());
                self.handle(Input::Saved { stores: self.stores, error });
            }
            13 => self.handle(Input::Warn(WarningCode::AcceptFailed, "x".into())),
            _ => {
                if let Some(link) = self.pick(&self.links.clone()) {
                    let mut bytes: Vec<u8> = (0..1 + self.below(4)).flat_map(|_| self.frame()).collect();
                    if self.below(10) == 0 {
                        bytes.truncate(self.below(bytes.len()));
                    }
                    self.handle(Input::Bytes { link, bytes: &bytes });
                }
            }
        }
    }

    /// Most peers say hello as they should, and so come to speak.
    fn hello(&mut self, link: LinkId) {
        if self.below(5) == 0 {
            return;
        }
        let mut hello =
            json!({ "type": "hello", "id": "h", "from": format!("peer{}", self.below(6)), "username": "p" });
        if self.below(2) == 0 {
            hello["p2p_chat"] = json!({ "version": 1, "caps": ["ping", "confirm", "nick"] });
        }
        let body = hello.to_string().into_bytes();
        let frame = [&(body.len() as u32).to_be_bytes()[..], &body].concat();
        self.handle(Input::Bytes { link, bytes: &frame });
    }

    fn new_link(&mut self) -> LinkId {
        self.next_link += 1;
        self.links.push(LinkId(self.next_link));
        LinkId(self.next_link)
    }

    fn check(&self) {
        let held = self.node.held();
        assert!(held.history_bytes <= 20_000 || held.history == 1);
        assert!(held.waiting <= clients::MAX_ASYNC + 1);
        assert!(held.dial_targets <= limits::MAX_TARGETS);
        assert!(self.node.link_count() <= 2 * MAX_LINKS + limits::MAX_HANDSHAKES + limits::MAX_TARGETS);
        for (what, held, bound) in self.node.voice.held() {
            assert!(held <= bound, "seed {}: {held} {what}, at most {bound} may be", self.seed);
        }
        assert!(self.replies.values().all(|n| *n == 1), "a line was answered twice");
        assert!(self.shown.values().all(|n| *n == 1), "a message was shown twice");
    }
}

#[test]
fn random_inputs_break_nothing() {
    let (mut ends, mut shown, mut replies, mut played, mut taken) = (0, 0, 0, 0, 0);
    for seed in first()..first() + runs() {
        let mut chaos = Chaos::new(seed);
        for _ in 0..1500 {
            chaos.step();
            chaos.check();
            if chaos.ended {
                break;
            }
        }
        // However it stands, it ends when asked to, with every line answered.
        if !chaos.ended {
            chaos.handle(Input::Signal(ByeReason::Sigint));
            chaos.now += Duration::from_secs(3);
            chaos.handle(Input::Tick);
        }
        assert!(chaos.ended, "seed {seed}: it did not end");
        assert_eq!(chaos.replies.len() as u64, chaos.line, "seed {seed}: not every line was answered");
        ends += 1;
        shown += chaos.shown.len();
        replies += chaos.replies.len();
        played += chaos.played;
        taken += chaos.node.counters.datagrams_received;
    }
    assert!(played > 500 && taken > 200, "too little voice to tell: {played} chunks, {taken} datagrams");
    assert!(ends > 0 && shown > 500 && replies > 1000, "too little happened to tell: {shown} shown, {replies} replies");
}
