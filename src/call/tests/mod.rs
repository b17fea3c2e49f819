//! Voice alone: its surroundings are faked, and record what it does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::testing::Member;
use super::*;
use crate::base::{LinkId, NodeIdRef};
use crate::outbox::{Bytes, Outbox};
use crate::voice::testing::tone;
use crate::voice::{FRAME, Frame};
use crate::wire::datagram::{self, cut};
use crate::wire::frame::PREFIX;
use crate::wire::identity::Identity;
use crate::wire::message::View;
use crate::wire::outgoing::{self, Message};
use crate::wire::room_key::{RoomKey, Scheme};
use crate::wire::signed::SeqNo;

mod control;
mod datagrams;
mod signals;

const S: Duration = Duration::from_secs(1);
/// The link that signals come over.
const LINK: LinkId = LinkId(7);
/// A link that is gone.
const GONE: LinkId = LinkId(8);
const ROOM: &str = "general";

/// The surroundings.
struct Fake {
    identity: Identity,
    out: Outbox,
    /// The events that clients were told, in a few words.
    told: Vec<String>,
    warned: Vec<(Warning, String)>,
    /// Signals for everyone, and for one link.
    handed: Vec<Value>,
    queued: Vec<(LinkId, Value)>,
    /// Bytes that wait for each link.
    waiting: usize,
    dialled: Vec<SocketAddr>,
    numbers: u64,
    neighbours: BTreeMap<String, Neighbour>,
    hidden: bool,
    blocked: BTreeSet<IpAddr>,
    key: Option<RoomKey>,
}

impl Fake {
    fn frame(&self, frame: &Bytes) -> Value {
        let bytes = self.out.piece(frame, PREFIX, usize::MAX);
        serde_json::from_slice(bytes).expect("JSON")
    }
}

impl Io for Fake {
    fn out(&mut self) -> &mut Outbox {
        &mut self.out
    }

    fn emit(&mut self, event: Event<'_>) {
        self.told.push(match event {
            Event::Joined { peer, muted: false, .. } => format!("{peer} joins"),
            Event::Joined { peer, muted: true, .. } => format!("{peer} joins muted"),
            Event::Left { peer, .. } => format!("{peer} leaves"),
            Event::Muted { peer, muted: true, .. } => format!("{peer} mutes"),
            Event::Muted { peer, muted: false, .. } => format!("{peer} unmutes"),
            Event::Speaking { peer, speaking: true, .. } => format!("{peer} speaks"),
            Event::Speaking { peer, speaking: false, .. } => format!("{peer} stops"),
            Event::MicEnded { .. } => "the microphone ends".to_owned(),
        });
    }

    fn warn(&mut self, warning: Warning, message: &str) {
        self.warned.push((warning, message.to_owned()));
    }

    fn queue(&mut self, link: LinkId, frame: &Bytes) {
        let frame = self.frame(frame);
        self.queued.push((link, frame));
    }

    fn queued(&self, link: LinkId) -> Option<usize> {
        (link != GONE).then_some(self.waiting)
    }

    fn dial(&mut self, addr: SocketAddr) -> DialId {
        self.dialled.push(addr);
        DialId(self.dialled.len() as u64)
    }

    fn next_seq_no(&mut self) -> SeqNo {
        self.numbers += 1;
        SeqNo { epoch: 1, n: self.numbers }
    }

    fn begin_message(&mut self, _: &str) -> Option<Begun> {
        Some(Begun { number: self.numbers, stamp: 0 })
    }

    fn sign(&self, message: &Message<'_>, seq: SeqNo) -> Option<Vec<u8>> {
        outgoing::signed_frame(message, &self.identity, seq)
    }

    fn hand_out(&mut self, _: &str, _: &str, _: u64, frame: &Bytes) {
        let frame = self.frame(frame);
        self.handed.push(frame);
    }

    fn username(&self) -> &str {
        "Alice"
    }

    fn is_shown(&self, _: &str) -> bool {
        !self.hidden
    }

    fn is_blocked(&self, ip: IpAddr) -> bool {
        self.blocked.contains(&ip)
    }

    fn is_neighbour(&self, id: NodeIdRef<'_>) -> bool {
        self.neighbours.contains_key(&*id.text())
    }

    fn neighbour(&self, id: NodeIdRef<'_>) -> Option<Neighbour> {
        self.neighbours.get(&*id.text()).copied()
    }

    fn keys(&self, _: &str) -> [Option<&RoomKey>; 2] {
        [self.key.as_ref(), None]
    }
}

/// A node's voice in its surroundings.
struct World {
    calls: Calls,
    io: Fake,
    now: Now,
}

fn addr(last: u8) -> SocketAddr {
    ([10, 0, 0, last], 6000).into()
}

fn member(n: u8) -> Member {
    Member::new(n.into(), ROOM, addr(n))
}

/// The id of a member of level 1 at an address.
fn original(n: u8) -> String {
    format!("10.0.0.{n}:5000")
}

/// A signal of a member of level 1.
fn original_signal(n: u8, kind: &str) -> Value {
    json!({ "type": kind, "id": "x", "from": original(n), "username": "old", "room": ROOM, "udp_host": format!("10.0.0.{n}"),
        "udp_port": 6000, "muted": true, "ttl": 5, "ts": "" })
}

fn loud() -> Frame {
    tone(440.0, 8000.0, FRAME).try_into().expect("a frame")
}

impl World {
    fn new() -> Self {
        Self::with(false)
    }

    #[allow(clippy::disallowed_methods, reason = "any moment will do")]
    fn with(secure: bool) -> Self {
        let identity = Identity::new(&[1; 32]);
        let config = Config { udp: addr(100), udp_host: addr(100).ip(), secure };
        let roots = Roots::new(Some(1), "Alice", [1; 32]);
        Self {
            calls: Calls::new(identity.id().clone(), config, &roots),
            io: Fake {
                identity,
                out: Outbox::default(),
                told: Vec::new(),
                warned: Vec::new(),
                handed: Vec::new(),
                queued: Vec::new(),
                waiting: 0,
                dialled: Vec::new(),
                numbers: 0,
                neighbours: BTreeMap::new(),
                hidden: false,
                blocked: BTreeSet::new(),
                key: None,
            },
            now: Now { mono: Instant::now(), unix_ms: 1_800_000_000_000 },
        }
    }

    /// One that is in voice.
    fn in_voice() -> Self {
        let mut world = Self::new();
        world.join();
        world
    }

    fn join(&mut self) {
        self.calls.begin_join(ROOM, "m".into(), "s".into(), &mut self.io).expect("no other join");
        assert!(self.calls.on_audio_opened(Ok(("m".into(), "s".into())), &mut self.io));
        let since = self.now.mono;
        let joined = self.calls.poll_join(self.now, (ROOM, false), since, &mut self.io);
        assert_eq!(joined, Ok(Some(("m".into(), "s".into()))));
    }

    /// A signal comes: directly from its author, or by another way. Whether it may be passed on.
    fn signal_by(&mut self, signal: &Value, direct: bool, verified: bool) -> bool {
        let text = signal.to_string();
        let view = View::parse(text.as_bytes()).expect("a message");
        let name = |field: &str| signal[field].as_str().expect("a string");
        let signal = Signal {
            view: &view,
            kind: name("type"),
            from: name("from").into(),
            username: signal["username"].as_str().unwrap_or("x"),
            room: name("room"),
            left: 4,
            ttl0: 5,
            link: LINK,
            addr: Some(([10, 0, 0, 99], 4000).into()),
            direct,
            verified,
        };
        self.calls.on_signal(self.now, &signal, &mut self.io)
    }

    /// A signal that a member has signed comes.
    fn signal(&mut self, signal: &Value) -> bool {
        self.signal_by(signal, false, true)
    }

    fn datagram(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.calls.on_datagram(self.now, from, bytes, &mut self.io);
    }

    /// A frame of a member of level 1 comes.
    fn original_says(&mut self, n: u8, sequence: u32, from: SocketAddr) {
        let mut bytes = Vec::new();
        let header = (&cut(ROOM), &cut(&original(n)));
        datagram::Original::write(header, sequence, &loud(), None, &mut bytes);
        self.datagram(from, &bytes);
    }

    /// A member of level 2 joins, and echoes our challenge.
    fn meet(&mut self, member: &mut Member) {
        let join = member.signal("voice_join");
        self.signal(&join);
        self.pass(Duration::from_millis(100));
        let nonce = self.sent().iter().find_map(|(to, it)| self.calls.nonce_of(it).filter(|_| *to == member.addr));
        let nonce = nonce.expect("a challenge");
        let echo = member.datagram(|inside| datagram::inside::write_echo(nonce, inside));
        self.datagram(member.addr, &echo);
    }

    /// So much time passes.
    fn pass(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while let Some(at) = self.calls.deadline().filter(|at| *at <= end) {
            self.now.mono = at.max(self.now.mono);
            self.calls.on_tick(self.now, &mut self.io);
        }
        self.now.mono = end;
    }

    fn capture(&mut self, frame: &Frame) {
        self.now.mono += Duration::from_millis(20);
        self.calls.on_captured(self.now, frame, &mut self.io);
    }

    /// The datagrams sent since the last look.
    fn sent(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut sent = Vec::new();
        for output in &self.io.out.outputs {
            if let Output::Datagram { to, bytes } = output {
                sent.push((*to, self.io.out.piece(bytes, 0, usize::MAX).to_vec()));
            }
        }
        self.io.out.clear();
        sent
    }

    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.io.told)
    }

    fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        self.calls.add_counts(&mut counters);
        counters
    }
}
