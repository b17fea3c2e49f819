//! The node: one state machine that decides everything, and touches nothing.
//!
//! [`Node::handle`] is the one way in and out: an [`Input`] is what happened, the [`Outbox`] takes what to do about it.
//! Time and chance are given; one deadline comes out ([`Node::next_deadline`]), and a wake too early is harmless. With
//! the same inputs and seed the outputs are the same, byte for byte: so the node that runs on sockets runs in the
//! simulator, too.
//!
//! - [`links`]: what a link is, its queue, its coming and going; [`dial`]: addresses that are dialled again and again
//! - [`encryption`]: what stands between a link's bytes and its frames
//! - [`greeting`]: hello, and which of two links between the same nodes stays
//! - [`places`]: the counters of our own signed messages; [`trust`]: whom the node believes, [`ahead`]: looked at together; [`rates`]: how much
//! - [`relay`]: a message's way through the node; [`neighbour`]: what two nodes of ours say to each other
//! - [`clients`]: lines to clients, the events that `wait` looks back over
//! - [`voice`]: joins [`Calls`], who is in voice and what goes to whom, to the rest
//! - [`strikes`]: what is done about those who break the rules; [`blocks`]: who is blocked by command
//! - [`state`]: what is kept from one run to the next
//! - [`keys`]: rooms with a key
//! - [`commands`]: what each command does at once; [`pending`]: those that wait
//! - [`ending`]: the way out

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::event::ByeReason;
use crate::api::{EventKind, Request};
use crate::base::{Chance, Counters, LinkCode, Roots, Stamps};
pub use crate::base::{ClientId, DialId, JobId, LinkId, LogLevel, Now, State, Table};
use crate::call::{self, Calls};
use crate::gossip::history::History;
use crate::gossip::replay::Replay;
use crate::gossip::seen::Seen;
use crate::gossip::trace::Traces;
pub use crate::outbox::{Bytes, Outbox, Output};
use crate::wire::identity::{Identity, KEY};
use crate::wire::limits;
use crate::wire::noise::{self, NetworkKey, Stepped};
use crate::wire::room_key::RoomKey;

mod ahead;
mod blocks;
#[cfg(any(test, fuzzing))]
pub mod chaos;
pub mod clients;
mod commands;
mod dial;
mod encryption;
mod ending;
mod greeting;
mod keys;
mod links;
mod neighbour;
mod pending;
mod places;
mod rates;
mod relay;
mod state;
mod strikes;
#[cfg(test)]
mod tests;
mod trust;
mod voice;

use clients::Client;
use dial::Target;
pub use dial::read_target;
pub use ending::EXIT_OUTPUT_CLOSED;
use ending::Phase;
use keys::Keys;
use links::{Link, Neighbours};
pub use pending::seq_at;

/// The client at stdin and stdout.
pub const STDIO: ClientId = ClientId(0);

/// What a node is told at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// The user name.
    pub username: String,
    /// The active room.
    pub room: String,
    /// Rooms shown beside it; `*` is all.
    pub listen: Vec<String>,
    /// The TCP address really bound.
    pub tcp: SocketAddr,
    /// The UDP address really bound.
    pub udp: SocketAddr,
    /// The host to tell others.
    pub advertise: Option<String>,
    /// Where others are told to send voice: an address that the UDP socket can be reached at.
    pub udp_host: std::net::IpAddr,
    /// The microphone and the speaker that a `voice_join` takes unless it names others.
    pub mic: String,
    /// The speaker.
    pub speaker: String,
    /// Whether only level 2 is spoken.
    pub secure: bool,
    /// The key of the private network that it belongs to, which implies `secure`.
    pub network_key: Option<NetworkKey>,
    /// Addresses to dial from the start, each perhaps with the id of the node that must be there: `ID@HOST:PORT`.
    pub connect: Vec<String>,
    /// Whether to run on when the input has ended.
    pub stay: bool,
    /// Whether the first error reply ends the node.
    pub check: bool,
    /// How long links may take at the end.
    pub drain: Duration,
    /// Makes ids and times repeatable.
    pub seed: Option<u64>,
    /// From the system's random source.
    pub entropy: [u8; 32],
    /// The secret of the node's identity, if it has one from earlier runs.
    pub identity: Option<[u8; KEY]>,
    /// What earlier runs have left; `None` without a state folder.
    pub state: Option<State>,
    /// Links at once.
    pub max_links: usize,
    /// Links of one address at once, loopback exempt.
    pub max_links_per_addr: usize,
    /// Messages a second that an author may say; 0: any number.
    pub rate: u32,
    /// Bytes of messages kept.
    pub history_bytes: usize,
    /// Events to show or hide at first.
    pub events: Vec<(EventKind, bool)>,
    /// Rooms' keys from the start.
    pub keys: Vec<(String, RoomKey)>,
    /// What is logged.
    pub log: LogLevel,
}

/// What happened.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "made and taken in one call, never stored")]
pub enum Input<'a> {
    /// A peer has dialled us.
    Accepted {
        /// The new link.
        link: LinkId,
        /// The peer's address.
        addr: SocketAddr,
    },
    /// A dial succeeded.
    Dialled {
        /// Which.
        dial: DialId,
        /// The new link.
        link: LinkId,
        /// The address that answered.
        addr: SocketAddr,
    },
    /// A dial failed.
    DialFailed {
        /// Which.
        dial: DialId,
        /// Why, for programs.
        code: LinkCode,
        /// Why, for people.
        reason: String,
    },
    /// Bytes came.
    Bytes {
        /// From which link.
        link: LinkId,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Queued bytes were handed to the system.
    Written {
        /// Of which link.
        link: LinkId,
        /// How many.
        bytes: usize,
    },
    /// The peer has closed its direction, or the link broke (then with a reason).
    Ended {
        /// Which link.
        link: LinkId,
        /// Why, if it broke.
        error: Option<String>,
    },
    /// A datagram came.
    Datagram {
        /// From where.
        from: SocketAddr,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// A client gave a line.
    Request {
        /// Which client.
        client: ClientId,
        /// The line.
        request: Request,
    },
    /// A client's input has ended.
    EndOfInput(ClientId),
    /// A client's writer has put so many `lagged` lines among the others so far.
    LagLines {
        /// Which client.
        client: ClientId,
        /// How many.
        lines: u64,
    },
    /// A handshake is a step further.
    Stepped {
        /// Of which link.
        link: LinkId,
        /// How it stands.
        stepped: Stepped,
    },
    /// A key is derived.
    Derived {
        /// Which job.
        job: JobId,
        /// The key.
        key: RoomKey,
    },
    /// Microphone and speaker are open, under these names, or can't be opened.
    AudioOpened(Result<(String, String), String>),
    /// The microphone has given 20 ms.
    Captured(&'a crate::voice::Frame),
    /// The microphone's file is at its end, or who wrote into its pipe has gone.
    MicEnded,
    /// Playback wants 5 ms: answered with `Play` while in voice.
    PlaybackDue,
    /// The sound devices.
    Devices {
        /// Which job.
        job: JobId,
        /// What there is.
        devices: crate::api::result::Devices,
    },
    /// Changes are safe in the state folder.
    Saved {
        /// How many of them, counted from the start; with an error: how many have been tried.
        stores: u64,
        /// Why they could not be saved.
        error: Option<String>,
    },
    /// A signal came.
    Signal(ByeReason),
    /// Nobody reads a client's lines any more.
    OutputClosed(ClientId),
    /// Somebody dials us, and the system has no room for a link more; why.
    AcceptFailed(String),
    /// The driver has something to warn of.
    Warn(crate::api::event::WarningCode, String),
    /// Time has passed.
    Tick,
}

/// The random streams of the parts that have none of their own yet.
#[derive(Debug)]
struct Streams {
    message_ids: Chance,
    link: Chance,
    link_secrets: Chance,
    /// Nonces of sealed messages.
    room_secrets: Chance,
    /// What keeps apart epochs that could not be saved.
    place_secrets: Chance,
}

impl Streams {
    fn new(roots: &Roots) -> Self {
        Self {
            message_ids: roots.message_ids(),
            link: roots.chance("link"),
            link_secrets: roots.secrets("link"),
            room_secrets: roots.secrets("rooms"),
            place_secrets: roots.secrets("places"),
        }
    }
}

/// The node. See the module.
#[derive(Debug)]
pub struct Node {
    config: Config,
    identity: Identity,
    /// What it brings to handshakes.
    noise: Arc<noise::Keys>,
    /// The identity's.
    id: Rc<str>,
    places: places::Places,
    rates: rates::Rates,
    username: String,
    room: String,
    listen: BTreeSet<String>,
    listen_all: bool,
    stamps: Stamps,
    chance: Streams,
    started: Instant,
    phase: Phase,

    links: BTreeMap<LinkId, Link>,
    /// The link that is used with each neighbour.
    neighbours: Neighbours,
    targets: BTreeMap<String, Target>,
    dials: BTreeMap<DialId, String>,
    next_dial: u64,
    /// Links whose queue is full and still waited for, or not yet given up.
    full: BTreeSet<LinkId>,
    /// Links with frames gathered that are to be sealed.
    unsealed: Vec<LinkId>,
    /// The content of a record on its way out, and in.
    sealing: Vec<u8>,
    opened: Vec<u8>,

    seen: Seen,
    replay: Replay,
    history: History,
    traces: Traces,
    keys: BTreeMap<String, Keys>,
    jobs: BTreeMap<JobId, String>,
    next_job: u64,

    /// Voice. Absent only while it is at work: see [`voice`].
    calls: Option<Box<Calls>>,
    device_lists: voice::DeviceLists,

    clients: BTreeMap<ClientId, Client>,
    /// Something has happened that a waiting command may have waited for.
    stirred: bool,
    counters: Counters,
    warned: BTreeMap<crate::api::event::WarningCode, Instant>,
    stores: state::Stores,
    blocks: blocks::Blocks,
    offenders: strikes::Offenders,
}

impl Node {
    /// A node that has just bound its addresses.
    pub fn new(now: Now, config: Config, out: &mut Outbox) -> Self {
        let roots = Roots::new(config.seed, &config.username, config.entropy);
        let mut chance = Streams::new(&roots);
        let stamps = Stamps::new(config.seed.is_some());
        let identity = Identity::new(&config.identity.unwrap_or_else(|| roots.identity()));
        let keys = Self::keys_from_start(&config.keys);
        let voice = call::Config {
            udp: config.udp,
            udp_host: config.udp_host,
            secure: config.secure || config.network_key.is_some(),
        };
        let calls = Calls::new(identity.id().clone(), voice, &roots);
        let noise = Arc::new(noise::Keys::new(&identity, chance.link_secrets.bytes(), config.network_key));
        let mut node = Self {
            noise,
            id: identity.id().clone(),
            identity,
            rates: rates::Rates::new(config.rate),
            places: places::Places::new(config.state.as_ref(), stamps.start(now)),
            username: config.username.clone(),
            room: config.room.clone(),
            listen: config.listen.iter().filter(|room| *room != "*").cloned().collect(),
            listen_all: config.listen.iter().any(|room| room == "*"),
            seen: Seen::new(roots.chance("gossip").bytes()),
            stamps,
            chance,
            started: now.mono,
            phase: Phase::Running,
            links: BTreeMap::new(),
            neighbours: Neighbours::default(),
            targets: BTreeMap::new(),
            dials: BTreeMap::new(),
            next_dial: 0,
            full: BTreeSet::new(),
            unsealed: Vec::new(),
            sealing: Vec::new(),
            opened: Vec::new(),
            replay: trust::remembered(config.state.as_ref()),
            history: History::new(config.history_bytes),
            traces: Traces::default(),
            keys,
            jobs: BTreeMap::new(),
            next_job: 0,
            calls: Some(Box::new(calls)),
            device_lists: voice::DeviceLists::new(),
            clients: BTreeMap::from([(STDIO, Client::new(&config.events))]),
            stirred: false,
            counters: Counters::default(),
            warned: BTreeMap::new(),
            stores: state::Stores::default(),
            blocks: blocks::Blocks::default(),
            offenders: strikes::Offenders::default(),
            config,
        };
        node.say_ready(out);
        node.warn_of_weak_keys(now, out);
        node.load_blocks(now, out);
        node.set_places_aside(now, out);
        node.dial_from_start(now, out);
        node
    }

    /// This node's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Takes in what happened; what to do about it goes into `out`.
    pub fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Outbox) {
        match input {
            Input::Accepted { link, addr } => self.accepted(now, link, addr, out),
            Input::Dialled { dial, link, addr } => self.dialled(now, dial, link, addr, out),
            Input::DialFailed { dial, code, reason } => self.dial_failed(now, dial, code, &reason, out),
            Input::Bytes { link, bytes } => self.bytes_came(now, link, bytes, out),
            Input::Written { link, bytes } => self.written(now, link, bytes, out),
            Input::Ended { link, error } => self.link_ended(now, link, error, out),
            Input::Datagram { from, bytes } => {
                self.with_calls(now, out, |calls, io| calls.on_datagram(now, from, bytes, io));
            }
            Input::AudioOpened(opened) => {
                self.stirred |= self.with_calls(now, out, |calls, io| calls.on_audio_opened(opened, io));
            }
            Input::Captured(frame) => self.with_calls(now, out, |calls, io| calls.on_captured(now, frame, io)),
            Input::MicEnded => self.with_calls(now, out, |calls, _| calls.on_mic_ended()),
            Input::PlaybackDue => self.with_calls(now, out, |calls, io| calls.on_playback_due(now, io)),
            Input::Devices { job, devices } => self.devices_listed(job, devices),
            Input::Request { client, request } => self.requested(now, client, request, out),
            Input::EndOfInput(client) => self.input_ended(client),
            Input::LagLines { client, lines } => self.lag_lines(client, lines),
            Input::Stepped { link, stepped } => self.stepped(now, link, stepped, out),
            Input::Derived { job, key } => self.derived(now, job, key, out),
            Input::Saved { stores, error } => self.saved(now, stores, error.as_deref(), out),
            Input::Signal(reason) => self.end(now, reason, 0, out),
            Input::OutputClosed(client) => self.output_closed(now, client, out),
            Input::AcceptFailed(why) => self.accept_failed(now, &why, out),
            Input::Warn(code, message) => self.warn(now, code, &message, out),
            Input::Tick => self.stirred = true,
        }
        self.check_deadlines(now, out);
        self.run_pending(now, out);
        self.set_places_aside(now, out);
        self.go_on_ending(now, out);
        self.seal_gathered(out);
    }

    /// When `handle` wants to be called again at the latest; `None`: when something happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        let links = self.links.values().filter_map(Link::deadline);
        let targets = self.targets.values().filter_map(Target::deadline);
        let clients = self.clients.values().filter_map(Client::deadline);
        links
            .chain(targets)
            .chain(clients)
            .chain(self.phase.deadline())
            .chain(self.calls.as_ref().and_then(|calls| calls.deadline()))
            .chain(self.blocks.deadline())
            .chain(self.rates.deadline())
            .chain(self.links.values().filter_map(|link| link.rates.deadline()))
            .min()
    }

    /// Whether a client's next line may be handed in: not while one waits, nor while a link's queue is full.
    pub fn may_take_request(&self, now: Now, client: ClientId) -> bool {
        self.phase.is_running()
            && self.has_places()
            && self.rates.may_say(now)
            && self.clients.get(&client).is_some_and(Client::is_free)
            && !self.full.iter().any(|id| self.is_worth_waiting_for(now, *id))
    }

    /// Whether a link may be read: not while the queue of another, which it may feed, is full.
    pub fn may_read(&self, now: Now, link: LinkId) -> bool {
        !self.full.iter().any(|id| *id != link && self.is_worth_waiting_for(now, *id))
            && self.links.get(&link).is_none_or(|link| link.may_be_read(now))
    }

    /// Whether a frame is unfinished, a queue full or a dial under way: what the next tick may change.
    fn check_deadlines(&mut self, now: Now, out: &mut Outbox) {
        let due = |(id, link): (&LinkId, &Link)| Some((*id, link.deadline().filter(|at| *at <= now.mono)?));
        let due: Vec<(LinkId, Instant)> = self.links.iter().filter_map(due).collect();
        let earliest = due.iter().map(|(_, at)| *at).min().unwrap_or(now.mono);
        let still = now.mono.duration_since(earliest);
        if still >= limits::STANDSTILL {
            self.links.values_mut().for_each(|link| link.forgive(now, still + limits::STANDSTILL_GRACE));
        }
        for (id, _) in due {
            self.link_due(now, id, out);
        }
        let due: Vec<String> = self
            .targets
            .iter()
            .filter(|(_, target)| target.deadline().is_some_and(|at| at <= now.mono))
            .map(|(addr, _)| addr.clone())
            .collect();
        for addr in due {
            self.target_due(now, &addr, out);
        }
        if self.calls.as_ref().and_then(|calls| calls.deadline()).is_some_and(|at| at <= now.mono) {
            self.with_calls(now, out, |calls, io| calls.on_tick(now, io));
        }
        self.blocks_due(now, out);
        self.rates_due(now);
        if self.clients.values().any(|client| client.deadline().is_some_and(|at| at <= now.mono)) {
            self.stirred = true;
        }
    }

    /// Whether messages of a room are shown.
    fn is_shown(&self, room: &str) -> bool {
        self.listen_all || room == self.room || self.listen.contains(room)
    }

    fn log(&self, level: LogLevel, out: &mut Outbox, line: impl FnOnce() -> String) {
        if level <= self.config.log {
            out.push(Output::Log(level, line()));
        }
    }

    /// Where others can dial us, for the hello.
    fn listen_addr(&self) -> Option<String> {
        let tcp = self.config.tcp;
        match &self.config.advertise {
            Some(host) if host.contains(':') => Some(format!("[{}]:{}", host.trim_matches(['[', ']']), tcp.port())),
            Some(host) => Some(format!("{host}:{}", tcp.port())),
            None if tcp.ip().is_unspecified() => None,
            None => Some(tcp.to_string()),
        }
    }
}

/// The bounds, for `ready` and `status`.
fn limits_of(config: &Config) -> crate::api::event::Limits {
    use crate::api::{arguments, command};
    crate::api::event::Limits {
        line_bytes: command::MAX_LINE,
        text_bytes: arguments::MAX_TEXT,
        name_bytes: arguments::MAX_NAME,
        meta_bytes: arguments::MAX_META,
        links: config.max_links,
        rooms: limits::MAX_ROOMS,
        history_per_room: limits::MAX_HISTORY_PER_ROOM,
        history_bytes: config.history_bytes,
        rate: config.rate,
        authors: limits::MAX_AUTHORS,
        author_intervals: limits::MAX_ALL_INTERVALS,
        wait_events: clients::MAX_LOG_EVENTS,
        queue_lines: clients::MAX_QUEUE_LINES,
        voice_members_per_room: limits::MAX_VOICE_MEMBERS,
        voice_members: limits::MAX_VOICE_KNOWN,
        voice_rate_authors: call::MAX_COUNTS,
        voice_rate_links: call::MAX_COUNTS,
        blocks: limits::MAX_BLOCKS,
        offenders: limits::MAX_OFFENDERS,
    }
}
