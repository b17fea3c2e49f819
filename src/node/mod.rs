//! The node: one state machine that decides everything, and touches nothing.
//!
//! [`Node::handle`] is the one way in and out: an [`Input`] is what happened, the [`Outbox`] takes what to do about it.
//! Time and chance are given; one deadline comes out ([`Node::next_deadline`]), and a wake too early is harmless. With
//! the same inputs and seed the outputs are the same, byte for byte: so the node that runs on sockets runs in the
//! simulator, too.
//!
//! - [`route`]: what comes in goes to the component that it concerns, and what links have to tell to those that hear of it
//! - [`relay`]: a message's way through the node
//! - [`mod@presence`]: neighbours and members that come and go, as events
//! - [`lines`]: lines to clients, as the other parts of the node say them
//! - [`mod@voice`]: joins [`Calls`], who is in voice and what goes to whom, to the rest
//! - [`blocks`]: who is blocked by command
//! - [`persist`]: what is kept from one run to the next
//! - [`keys`]: keys of rooms, as clients set them
//! - [`commands`]: what each command does at once
//! - [`ending`]: the way out

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::api::event::ByeReason;
use crate::api::{EventKind, Request};
pub use crate::base::{ClientId, DialId, JobId, LinkId, LogLevel, NodeId, Now, State, Table};
use crate::base::{Counters, LinkCode, Rate, Roots, Stamps};
use crate::call::{self, Calls};
use crate::clients::{self, Clients};
use crate::gossip::Gossip;
use crate::gossip::numbers::Numbers;
use crate::gossip::replay::{Replay, Window};
use crate::history::{History, Kept};
use crate::link::Links;
use crate::link::addr::read_target;
pub use crate::outbox::{Bytes, Order, Outbox, Output};
use crate::rooms::Rooms;
use crate::wire::identity::{Identity, KEY};
use crate::wire::limits;
use crate::wire::noise::{NetworkKey, Stepped};
use crate::wire::room_key::RoomKey;

mod blocks;
#[cfg(any(test, fuzzing))]
pub mod chaos;
mod commands;
mod ending;
mod keys;
mod lines;
mod persist;
mod phase;
mod presence;
mod presences;
mod relay;
mod route;
mod stores;
#[cfg(test)]
mod tests;
mod voice;
mod waits;

pub use ending::EXIT_OUTPUT_CLOSED;
use phase::Phase;

/// The client at stdin and stdout.
pub const STDIO: ClientId = ClientId(0);

/// The configuration of a node.
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
    /// The rows that earlier runs have left; `None` without a state folder.
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
    /// The lines that are logged.
    pub log: LogLevel,
}

/// An occurrence that the node is told of.
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
        /// Whether the name that was dialled has others, beside those that were to be skipped.
        more: bool,
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
    /// Datagrams are received at this address of the machine, too.
    Reachable(std::net::IpAddr),
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
        /// The devices.
        devices: crate::api::result::Devices,
    },
    /// Kept messages are loaded.
    Loaded {
        /// Which job.
        job: JobId,
        /// The messages, the oldest first: as many as there are.
        rows: Vec<Kept>,
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

/// The node. See the module.
#[derive(Debug)]
pub struct Node {
    config: Config,
    identity: Identity,
    numbers: Numbers,
    username: String,
    rooms: Rooms,
    stamps: Stamps,
    started: Instant,
    phase: Phase,

    links: Links,
    gossip: Gossip,
    history: History,
    next_job: u64,

    /// Voice. Absent only while it is at work: see [`voice`].
    calls: Option<Box<Calls>>,
    presences: presences::Presences,
    device_lists: waits::DeviceLists,

    clients: Clients<waits::What>,
    counters: Counters,
    stores: stores::Stores,
}

impl Node {
    /// A node that has just bound its addresses.
    pub fn new(now: Now, mut config: Config, out: &mut Outbox) -> Self {
        let state = config.state.take();
        let roots = Roots::new(config.seed, &config.username, config.entropy);
        let stamps = Stamps::new(config.seed.is_some());
        let identity = Identity::new(&config.identity.unwrap_or_else(|| roots.identity()));
        let voice = call::Config {
            udp: config.udp,
            udp_host: config.udp_host,
            secure: config.secure || config.network_key.is_some(),
        };
        let calls = Calls::new(identity.id().clone(), voice, &roots);
        let id = identity.id().clone();
        let mut node = Self {
            links: Links::new(settings_of(&config, id.clone()), &identity, config.network_key, &roots),
            gossip: Gossip::new(id, Rate::new(config.rate), remembered(state.as_ref()), &roots),
            identity,
            numbers: Numbers::new(
                state.as_ref().and_then(|state| state.get(Table::Own, stores::NUMBERS)),
                state.is_some(),
                stamps.start(now),
                roots.secrets("places"),
            ),
            username: config.username.clone(),
            rooms: Rooms::new(&config.room, &config.listen, &config.keys, roots.secrets("rooms")),
            stamps,
            started: now.mono,
            phase: Phase::Running,
            history: History::new(config.history_bytes, roots.chance("history").bytes()),
            next_job: 0,
            calls: Some(Box::new(calls)),
            presences: presences::Presences::new(),
            device_lists: waits::DeviceLists::new(),
            clients: Clients::new(config.check),
            counters: Counters::default(),
            stores: stores::Stores::new(state.is_some()),
            config,
        };
        node.clients.add(STDIO, &node.config.events);
        node.say_ready(out);
        node.warn_of_weak_keys(now, out);
        node.load_blocks(now, state.as_ref(), out);
        node.set_numbers_aside(now, out);
        for text in node.config.connect.clone() {
            // The command line has checked the form.
            let (pin, addr) = read_target(&text).unwrap_or((None, text));
            node.links.dial_from_start(now, &addr, pin, out);
        }
        node.hear_links(now, out);
        node
    }

    /// This node's id.
    pub fn id(&self) -> &str {
        self.identity.id_text()
    }

    /// Takes in what happened; what to do about it goes into `out`.
    pub fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Outbox) {
        match input {
            Input::Accepted { link, addr } => self.links.on_accepted(now, link, addr, out),
            Input::Dialled { dial, link, addr, more } => self.on_dialled(now, dial, link, (addr, more), out),
            Input::DialFailed { dial, code, reason } => self.on_dial_failed(now, dial, code, &reason, out),
            Input::Bytes { link, bytes } => self.on_bytes(now, link, bytes, out),
            Input::Written { link, bytes } => self.links.on_written(now, link, bytes, out),
            Input::Ended { link, error } => self.links.on_ended(now, link, error, out),
            Input::Datagram { from, bytes } => {
                self.with_calls(now, out, |calls, io| calls.on_datagram(now, from, bytes, io));
            }
            Input::Reachable(ip) => self.with_calls(now, out, |calls, _| calls.on_reachable(now, ip)),
            Input::AudioOpened(opened) => {
                if self.with_calls(now, out, |calls, io| calls.on_audio_opened(opened, io)) {
                    self.clients.recheck_pending();
                }
            }
            Input::Captured(frame) => self.with_calls(now, out, |calls, io| calls.on_captured(now, frame, io)),
            Input::MicEnded => self.with_calls(now, out, |calls, _| calls.on_mic_ended()),
            Input::PlaybackDue => self.with_calls(now, out, |calls, io| calls.on_playback_due(now, io)),
            Input::Devices { job, devices } => self.devices_listed(job, devices),
            Input::Request { client, request } => self.requested(now, client, request, out),
            Input::EndOfInput(client) => self.clients.end_input(client),
            Input::LagLines { client, lines } => self.clients.set_lag_lines(client, lines),
            Input::Stepped { link, stepped } => self.on_stepped(now, link, stepped, out),
            Input::Derived { job, key } => self.derived(now, job, key, out),
            Input::Loaded { job, rows } => self.on_loaded(job, rows),
            Input::Saved { stores, error } => self.saved(now, stores, error.as_deref(), out),
            Input::Signal(reason) => self.end(now, reason, 0, out),
            Input::OutputClosed(client) => self.output_closed(now, client, out),
            Input::AcceptFailed(why) => self.links.on_accept_failed(now, why, out),
            Input::Warn(code, message) => self.warn(now, code, &message, out),
            Input::Tick => self.clients.recheck_pending(),
        }
        self.hear_links(now, out);
        self.check_deadlines(now, out);
        self.run_pending(now, out);
        self.set_numbers_aside(now, out);
        self.go_on_ending(now, out);
        self.links.seal_gathered(out);
    }

    /// When `handle` wants to be called again at the latest; `None`: when something happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        let links = self.links.deadline().into_iter();
        links
            .chain(self.clients.deadline())
            .chain(self.phase.deadline())
            .chain(self.calls.as_ref().and_then(|calls| calls.deadline()))
            .chain(self.gossip.deadline())
            .chain(self.presences.deadline())
            .min()
    }

    /// Whether a client's next line may be handed in: not while one waits, nor while a link's queue is full.
    pub fn may_take_request(&self, now: Now, client: ClientId) -> bool {
        self.phase.is_running()
            && self.has_numbers()
            && self.gossip.may_say(now)
            && self.clients.is_free(client)
            && !self.links.is_waiting(now, None)
    }

    /// Whether a link may be read: not while the queue of another, which it may feed, is full.
    pub fn may_read(&self, now: Now, link: LinkId) -> bool {
        self.links.may_read(now, link)
    }

    /// Whether a frame is unfinished, a queue full or a dial under way: what the next tick may change.
    fn check_deadlines(&mut self, now: Now, out: &mut Outbox) {
        self.links.on_time(now, out);
        self.hear_links(now, out);
        if self.calls.as_ref().and_then(|calls| calls.deadline()).is_some_and(|at| at <= now.mono) {
            self.with_calls(now, out, |calls, io| calls.on_tick(now, io));
            self.hear_links(now, out);
        }
        self.blocks_due(now, out);
        self.gossip.on_time(now);
        self.tell_gathered(now, false, out);
        self.clients.on_time(now);
    }

    fn log(&self, level: LogLevel, out: &mut Outbox, line: impl FnOnce() -> String) {
        out.log(self.config.log, level, line);
    }
}

/// The settings of all links.
fn settings_of(config: &Config, id: NodeId) -> crate::link::Settings {
    crate::link::Settings {
        id,
        username: config.username.clone(),
        tcp: config.tcp,
        listen: listen_addr(config),
        secure: config.secure,
        max_links: config.max_links,
        max_links_per_addr: config.max_links_per_addr,
        rate: Rate::new(config.rate),
        log: config.log,
    }
}

/// Where others can dial us, for the hello.
fn listen_addr(config: &Config) -> Option<String> {
    let tcp = config.tcp;
    match &config.advertise {
        Some(host) if host.contains(':') => Some(format!("[{}]:{}", host.trim_matches(['[', ']']), tcp.port())),
        Some(host) => Some(format!("{host}:{}", tcp.port())),
        None if tcp.ip().is_unspecified() => None,
        None => Some(tcp.to_string()),
    }
}

/// The authors' numbers that earlier runs remember. A row that can't be read is left out: its author is met anew.
fn remembered(state: Option<&State>) -> Replay {
    let mut replay = Replay::default();
    for (author, row) in state.into_iter().flat_map(|state| state.rows(Table::Replay)) {
        if let Some(window) = Window::from_bytes(row) {
            replay.add(author.into(), window);
        }
    }
    replay
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
