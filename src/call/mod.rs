//! Calls: this node's own, the members of voice in all rooms, and what goes to whom.
//!
//! Membership travels by gossip and is kept in the [`roster`], of all rooms, whether or not this node is in voice. While it
//! is, there is a [`Call`]: a talker for its own microphone, and a [`Stream`] for each other member of the room, with the
//! [`path`] that its voice is sent by.
//!
//! [`Calls`] is told what has happened ([`Calls::on_signal`], [`Calls::on_datagram`], [`Calls::on_captured`], …), and puts what
//! is to be done into a sink, [`Io`].
//!
//! - [`signals`]: joins, leaves and mutes, in and out; late joiners; members that vanish
//! - [`newcomers`]: new neighbours are told who is in
//! - [`sessions`]: the keys of level 2's datagrams; [`rates`]: how much coming and going there may be
//! - [`sending`]: captured frames out to everyone, signs of life, reports; [`receiving`]: datagrams in, playback
//! - [`challenges`]: how many challenges and echoes go where
//! - [`star`]: the star-shaped versions of the original, their clients and their hosts
//! - [`control`]: the requests of clients; [`unheard`]: whether anybody is heard at all, by a [`watch`]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::base::{Chance, Counters, DialId, LinkId, NodeId, Now, Roots};
use crate::outbox::Output;
use crate::voice::mixer::Mixer;
use crate::voice::redundancy::Chooser;
use crate::voice::speaker::Speaker;
use crate::voice::speech::Detector;
use crate::voice::talker::Talker;
use crate::voice::{Codec, Pace};
use crate::wire::datagram::{Sealer, sealed};
use crate::wire::limits::{VOICE_REJOIN, bound};
use crate::wire::window::Window;

mod challenges;
mod control;
mod detections;
mod fields;
mod io;
mod mixes;
mod newcomer;
mod newcomers;
mod path;
mod rates;
mod receiving;
mod roster;
mod sending;
mod session;
mod sessions;
mod signals;
mod star;
#[cfg(any(test, fuzzing))]
pub mod testing;
#[cfg(test)]
mod tests;
mod unheard;
mod watch;

use challenges::Challenges;
pub use control::{InCall, MemberInfo, OPEN_TIME, Refusal};
pub use io::{Begun, Event, Io, Neighbour, Opened, Warning};
use newcomer::Newcomer;
use path::Path;
pub use rates::MAX_COUNTS;
use rates::Rates;
use roster::Roster;
use session::Session;
pub use signals::{Signal, is_signal};
pub use watch::Unheard;
use watch::Watch;

/// The time between two ticks while this node is in voice. Below the shortest time that anything here waits for.
const TICK: Duration = Duration::from_millis(100);
/// The time between two ticks while only others are in voice.
const IDLE_TICK: Duration = Duration::from_secs(2);
/// Joins that may answer others' joins at once; after that one each [`ANSWER_EVERY`]: a flood of forged joins must not
/// make every member flood, too. Guesses.
const ANSWERS: u32 = 4;
/// See [`ANSWERS`].
const ANSWER_EVERY: Duration = Duration::from_secs(2);
/// Members whose loudness is remembered beyond their stay. A guess.
const MAX_GAINS: usize = bound(256, 3);

/// Voice in all rooms, and this node's own part in it. See the module.
#[derive(Debug)]
pub struct Calls {
    /// This node's id.
    id: NodeId,
    config: Config,
    /// The addresses that links come from, if this node listens at loopback alone: voice is received there, too.
    outside: Option<IpAddr>,
    chance: Chance,
    /// Keys and nonces, which no seed repeats.
    secrets: Chance,
    roster: Roster,
    call: Option<Box<Call>>,
    /// The outcome of opening microphone and speaker, while a join waits for it.
    opening: Option<Option<Opened>>,
    challenges: Challenges,
    rates: Rates,
    /// In dB.
    gains: BTreeMap<NodeId, f64>,
    /// The last sequence number of level 1: it never goes back, since originals remember it over leave and join.
    sequence: Option<u32>,
    next_tick: Option<Instant>,
    /// New neighbours that are being told who is in voice.
    newcomers: BTreeMap<LinkId, Newcomer>,
    /// Dials that only ask whether a member of level 1 listens: whose.
    probes: BTreeMap<DialId, NodeId>,
    counts: Counts,
    /// A call has ended that has reached nobody.
    in_vain: bool,
}

/// The options that matter here.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// The UDP address really bound.
    pub udp: SocketAddr,
    /// The address that others are told to send voice to.
    pub udp_host: IpAddr,
    /// Whether only level 2 is spoken.
    pub secure: bool,
}

/// Counts since the start: see [`Counters`].
#[derive(Debug, Default)]
struct Counts {
    received: u64,
    sent: u64,
    dropped: u64,
    refused: u64,
}

/// This node's own call, while it is in voice.
#[derive(Debug)]
struct Call {
    room: Rc<str>,
    muted: bool,
    /// Our session: its key, as it is announced, and what seals with it.
    key: [u8; sealed::KEY],
    sealer: Sealer,
    /// The members whose sessions can be opened, by the session's number.
    sessions: BTreeMap<u64, NodeId>,
    talker: Talker,
    /// Whether a talkspurt of one's own is under way.
    speaking: bool,
    /// The microphone's file has ended: frames of silence until clients are told.
    mic_ends_in: Option<u32>,
    mixer: Mixer,
    streams: BTreeMap<NodeId, Stream>,
    /// When something last went to the members of level 2, and of level 1.
    sent: Option<Instant>,
    sent_original: Option<Instant>,
    next_reports: Instant,
    /// When to say again that we are there.
    announce_at: Instant,
    /// The last join as it went, frame and all, for neighbours to come; `None`: something in it has changed.
    join: Option<Box<[u8]>>,
    answers: u32,
    answers_since: Instant,
    detections: detections::Detections,
    star: mixes::Mixes,
    watch: Watch,
}

/// Another member of the room, while this node is in voice with it.
#[derive(Debug)]
struct Stream {
    speaker: Speaker,
    path: Path,
    /// Its session, if it speaks level 2, and its key is known.
    session: Option<Session>,
    /// Whether it speaks level 2 with us, and whether it decodes Opus.
    is_level2: bool,
    opus: bool,
    chooser: Chooser,
    /// Tells talkspurts of a member of level 1, which sends silence as well.
    detector: Detector,
    codec: Option<Codec>,
    speaking: bool,
    /// Level 2: the newest frame that has told whether it speaks.
    newest: u64,
    /// When speech of it last came.
    spoke: Option<Instant>,
    /// When a datagram of it last came from an address of its own, and when last through another member.
    heard: Option<Instant>,
    relayed: Option<Instant>,
    /// As a factor.
    gain: f32,
    star: mixes::Client,
}

impl Stream {
    fn new(now: Instant, member: &roster::Member, session: Option<Session>, gain: f32) -> Self {
        let is_level2 = member.session.is_some();
        Self {
            speaker: Self::speaker(is_level2, member.muted),
            path: Path::new(now, member.announced),
            session,
            is_level2,
            opus: member.opus,
            chooser: Chooser::new(),
            detector: Detector::new(),
            codec: None,
            speaking: false,
            newest: 0,
            spoke: None,
            heard: None,
            relayed: None,
            gain,
            star: mixes::Client::default(),
        }
    }

    fn speaker(is_level2: bool, muted: bool) -> Speaker {
        let mut speaker = Speaker::new(if is_level2 { Pace::Clock } else { Pace::Sequence });
        speaker.mute(muted);
        speaker
    }

    /// Forgets what has been heard: it was not the member.
    fn forget(&mut self, muted: bool) {
        self.speaker = Self::speaker(self.is_level2, muted);
        (self.newest, self.spoke) = (0, None);
        if let Some(session) = &mut self.session {
            session.window = Window::default();
        }
    }
}

impl Calls {
    /// Nobody is in voice.
    pub fn new(id: NodeId, config: Config, roots: &Roots) -> Self {
        let mut secrets = roots.secrets("call");
        Self {
            id,
            config,
            outside: None,
            chance: roots.chance("call"),
            challenges: Challenges::new(secrets.number()),
            secrets,
            roster: Roster::new(),
            call: None,
            opening: None,
            rates: Rates::new(),
            gains: BTreeMap::new(),
            sequence: None,
            next_tick: None,
            newcomers: BTreeMap::new(),
            probes: BTreeMap::new(),
            counts: Counts::default(),
            in_vain: false,
        }
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.next_tick
    }

    /// How many members are known, in all rooms.
    pub fn member_count(&self) -> usize {
        self.roster.len()
    }

    /// How many authors, and links, have their changes counted.
    pub fn rates_held(&self) -> (usize, usize) {
        let [(_, authors, _), (_, links, _), _] = self.rates.held();
        (authors, links)
    }

    /// Adds what has been counted here.
    pub fn add_counts(&self, counters: &mut Counters) {
        counters.datagrams_received += self.counts.received;
        counters.datagrams_sent += self.counts.sent;
        counters.datagrams_dropped += self.counts.dropped;
        counters.voice_refused += self.counts.refused;
    }

    /// Has a tick come at once.
    fn schedule_tick(&mut self, now: Now) {
        self.next_tick = Some(now.mono);
    }

    /// Has a tick come soon, be it for the first time.
    fn tick_soon(&mut self, now: Now) {
        let soon = now.mono + TICK;
        self.next_tick = Some(self.next_tick.map_or(soon, |at| at.min(soon)));
    }

    /// Does what is due.
    pub fn on_tick(&mut self, now: Now, io: &mut dyn Io) {
        if self.next_tick.is_none_or(|at| at > now.mono) {
            return;
        }
        self.drop_vanished(now, io);
        let is_behind = self.tell_gathered(now, io) | self.tell_newcomers(now, io);
        let Some(call) = &self.call else {
            let wait = if is_behind { TICK } else { IDLE_TICK };
            self.next_tick = (is_behind || self.roster.len() > 0).then(|| now.mono + wait);
            return;
        };
        if call.announce_at <= now.mono {
            self.announce(now, io);
        }
        self.maintain_streams(now, io);
        self.next_tick = Some(now.mono + TICK);
    }

    /// Enters voice: microphone and speaker are open.
    fn enter(&mut self, now: Now, room: &str, muted: bool, io: &mut dyn Io) {
        let room: Rc<str> = room.into();
        let talker = Talker::new().unwrap_or_else(|_| Talker::without_codec());
        if !talker.has_codec() {
            io.warn(Warning::Codec, "the voice codec could not be made: voice goes to everyone as PCM");
        }
        let key = self.secrets.bytes();
        self.call = Some(Box::new(Call {
            sealer: Sealer::new(&self.id.text(), &room, &key),
            room: room.clone(),
            muted,
            key,
            sessions: BTreeMap::new(),
            talker,
            speaking: false,
            mic_ends_in: None,
            mixer: Mixer::new(),
            streams: BTreeMap::new(),
            sent: None,
            sent_original: None,
            next_reports: now.mono,
            announce_at: now.mono + VOICE_REJOIN,
            join: None,
            answers: 0,
            answers_since: now.mono,
            detections: detections::Detections::default(),
            star: mixes::Mixes::default(),
            watch: Watch::default(),
        }));
        let members: Vec<NodeId> = self.roster.of_room(&room).map(|(id, _)| id.clone()).collect();
        members.iter().for_each(|id| self.renew_stream(now, id, io));
        self.announce(now, io);
        if muted {
            io.out().push(Output::PauseMic(true));
            // The original reads it in a signal of its own alone.
            self.announce_muted(now, io);
        }
        self.schedule_tick(now);
        self.on_tick(now, io);
    }

    /// Leaves voice, telling everyone.
    pub fn leave(&mut self, now: Now, io: &mut dyn Io) {
        if self.opening.take().is_some() {
            io.out().push(Output::StopAudio);
        }
        if let Some(call) = &self.call {
            self.in_vain |= call.watch.is_in_vain();
            self.set_own_speaking(false, io);
            self.announce_leave(io);
            io.out().push(Output::StopAudio);
            self.call = None;
            self.probes.clear();
            self.schedule_tick(now);
            self.on_tick(now, io);
        }
    }

    /// Voice is received at this address of this machine, too.
    pub fn on_reachable(&mut self, now: Now, ip: IpAddr) {
        // A link-local address says nothing to those who are not on that link: any other is better.
        let is_worse = self.outside.is_some() && matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        if !self.config.udp_host.is_loopback() || self.outside == Some(ip) || is_worse {
            return;
        }
        self.outside = Some(ip);
        if let Some(call) = &mut self.call {
            (call.join, call.announce_at) = (None, now.mono);
            self.schedule_tick(now);
        }
    }

    /// The address that others are told to send voice to.
    fn announced_host(&self) -> IpAddr {
        self.outside.unwrap_or(self.config.udp_host)
    }

    /// Whether events about the members of a room's voice are shown.
    fn shows(&self, room: &str, io: &dyn Io) -> bool {
        io.is_shown(room) || self.call.as_ref().is_some_and(|call| &*call.room == room)
    }

    fn gain(&self, id: &NodeId) -> f32 {
        self.gains.get(id).map_or(1.0, |db| 10_f64.powf(db / 20.0) as f32)
    }
}
