//! Voice in the node: who is in, what goes to whom, what is heard.
//!
//! Membership travels by gossip and is kept in the [`roster`], of all rooms, whether or not this node is in voice. While it
//! is, there is a [`Call`]: a talker for its own microphone, and a [`Stream`] for each other member of the room, with the
//! [`path`] its voice is sent by.
//!
//! - [`signals`]: joins, leaves and mutes, in and out; late joiners; members that vanish
//! - [`sessions`]: the keys of level 2's datagrams; [`rates`]: how much coming and going there may be
//! - [`sending`]: captured frames out to everyone, signs of life, reports; [`receiving`]: datagrams in, playback
//! - [`challenges`]: how many challenges and echoes go where
//! - [`star`]: the star-shaped versions of the original, their clients and their hosts
//! - [`commands`]: what clients ask for

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::node::{Node, Now, Outbox, Output};
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
mod commands;
mod path;
mod rates;
mod receiving;
mod roster;
mod sending;
mod sessions;
mod signals;
mod star;
#[cfg(any(test, fuzzing))]
pub mod testing;
#[cfg(test)]
mod tests;

use challenges::Challenges;
pub use commands::{Join, Opened};
use path::Path;
pub use rates::MAX_COUNTS;
use rates::Rates;
pub use roster::Roster;
use sessions::Session;
pub use signals::{Signal, is_signal};

/// How often what has a time of its own is looked at while in voice. Below the shortest of those times.
const TICK: Duration = Duration::from_millis(100);
/// The same while only others are in voice.
const IDLE_TICK: Duration = Duration::from_secs(2);
/// Joins that may answer others' joins at once; after that one each [`ANSWER_EVERY`]: a flood of forged joins must not
/// make every member flood, too. Guesses.
const ANSWERS: u32 = 4;
/// See [`ANSWERS`].
const ANSWER_EVERY: Duration = Duration::from_secs(2);
/// Members whose loudness is remembered beyond their stay. A guess.
const MAX_GAINS: usize = bound(256, 3);

/// Everything about voice.
#[derive(Debug)]
pub struct Voice {
    pub roster: Roster,
    pub call: Option<Call>,
    /// What became of opening microphone and speaker, while a join waits for it.
    pub opening: Option<Option<Opened>>,
    /// Device lists that were asked for: `None` until they are there.
    pub device_lists: BTreeMap<super::JobId, Option<crate::api::result::Devices>>,
    challenges: Challenges,
    pub(super) rates: Rates,
    gains: BTreeMap<String, f64>,
    /// The last sequence number of level 1: it never goes back, since originals remember it over leave and join.
    sequence: Option<u32>,
    next_tick: Option<Instant>,
    /// Dials that only ask whether a member of level 1 listens: whose.
    knocks: BTreeMap<super::DialId, Rc<str>>,
}

/// This node's being in voice.
#[derive(Debug)]
pub struct Call {
    pub room: Rc<str>,
    pub muted: bool,
    /// Our session: its key, as it is announced, and what seals with it.
    key: [u8; sealed::KEY],
    sealer: Sealer,
    /// Whose sessions those are that can be opened.
    sessions: BTreeMap<u64, Rc<str>>,
    talker: Talker,
    /// Whether a talkspurt of one's own is under way.
    speaking: bool,
    /// The microphone's file is at its end: frames of silence until that is told.
    mic_ends_in: Option<u32>,
    mixer: Mixer,
    streams: BTreeMap<Rc<str>, Stream>,
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
    detections: receiving::Detections,
    star: star::Mixes,
}

/// Another member of the room, while this node is in voice with it.
#[derive(Debug)]
struct Stream {
    speaker: Speaker,
    path: Path,
    /// Its session, if it speaks level 2, and its key is known.
    session: Option<Session>,
    /// Whether it speaks level 2 with us, and whether it decodes Opus.
    ours: bool,
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
    star: star::Client,
}

impl Stream {
    fn new(now: Instant, member: &roster::Member, session: Option<Session>, gain: f32) -> Self {
        let ours = member.session.is_some();
        Self {
            speaker: Self::speaker(ours, member.muted),
            path: Path::new(now, member.announced),
            session,
            ours,
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
            star: star::Client::default(),
        }
    }

    fn speaker(ours: bool, muted: bool) -> Speaker {
        let mut speaker = Speaker::new(if ours { Pace::Clock } else { Pace::Sequence });
        speaker.mute(muted);
        speaker
    }

    /// What has been heard was not the member.
    fn forget(&mut self, muted: bool) {
        self.speaker = Self::speaker(self.ours, muted);
        (self.newest, self.spoke) = (0, None);
        if let Some(session) = &mut self.session {
            session.window = Window::default();
        }
    }
}

impl Voice {
    /// Nobody is in voice. `secret`: nobody else may know it.
    pub const fn new(secret: u64) -> Self {
        Self {
            roster: Roster::new(),
            call: None,
            opening: None,
            device_lists: BTreeMap::new(),
            challenges: Challenges::new(secret),
            rates: Rates::new(),
            gains: BTreeMap::new(),
            sequence: None,
            next_tick: None,
            knocks: BTreeMap::new(),
        }
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.next_tick
    }

    /// What is held, each with its bound: for tests of random lives.
    #[cfg(any(test, fuzzing))]
    pub fn held(&self) -> Vec<(&'static str, usize, usize)> {
        use crate::wire::limits::{MAX_VOICE_KNOWN, MAX_VOICE_MEMBERS};
        let mut held = self.roster.held();
        held.extend(self.rates.held());
        held.extend([
            ("members", self.roster.len(), MAX_VOICE_KNOWN),
            ("gains", self.gains.len(), MAX_GAINS),
            ("knocks", self.knocks.len(), star::MAX_KNOCKS),
            ("device lists", self.device_lists.len(), crate::clients::MAX_ASYNC + 1),
        ]);
        if let Some(call) = &self.call {
            held.push(("streams", call.streams.len(), MAX_VOICE_MEMBERS));
            held.push(("sessions", call.sessions.len(), call.streams.len()));
            held.extend(call.star.held());
            held.extend(call.streams.values().flat_map(|stream| stream.star.held()));
        }
        held
    }

    fn gain(&self, id: &str) -> f32 {
        self.gains.get(id).map_or(1.0, |db| 10_f64.powf(db / 20.0) as f32)
    }
}

impl Node {
    /// Has voice looked at now, or soon.
    fn stir_voice(&mut self, now: Now) {
        self.voice.next_tick = Some(now.mono);
    }

    /// Does what is due.
    pub(super) fn voice_due(&mut self, now: Now, out: &mut Outbox) {
        if self.voice.next_tick.is_none_or(|at| at > now.mono) {
            return;
        }
        self.members_gone(now, out);
        let Some(call) = &self.voice.call else {
            self.voice.next_tick = (self.voice.roster.len() > 0).then(|| now.mono + IDLE_TICK);
            return;
        };
        if call.announce_at <= now.mono {
            self.announce(now, out);
        }
        self.tend_streams(now, out);
        self.voice.next_tick = Some(now.mono + TICK);
    }

    /// Enters voice: microphone and speaker are open.
    fn enter(&mut self, now: Now, room: &str, muted: bool, out: &mut Outbox) {
        let room: Rc<str> = room.into();
        let talker = Talker::new().unwrap_or_else(|_| Talker::without_codec());
        if !talker.has_codec() {
            let message = "the voice codec could not be made: voice goes to everyone as PCM";
            self.warn(now, crate::api::event::WarningCode::Codec, message, out);
        }
        let key = self.chance.call_secrets.bytes();
        self.voice.call = Some(Call {
            sealer: Sealer::new(&self.id, &room, &key),
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
            detections: receiving::Detections::default(),
            star: star::Mixes::default(),
        });
        let members: Vec<Rc<str>> = self.voice.roster.of_room(&room).map(|(id, _)| id.clone()).collect();
        members.iter().for_each(|id| self.renew_stream(now, id, out));
        self.announce(now, out);
        if muted {
            // The original reads it in a signal of its own alone.
            self.say_muted(now, out);
        }
        self.stir_voice(now);
        self.voice_due(now, out);
    }

    /// Leaves voice, telling everyone.
    pub(super) fn leave_voice(&mut self, now: Now, out: &mut Outbox) {
        if self.voice.opening.take().is_some() {
            out.push(Output::StopAudio);
        }
        if self.voice.call.is_some() {
            self.own_talkspurt(false, out);
            self.say_leave(now, out);
            out.push(Output::StopAudio);
            self.voice.call = None;
            self.voice.knocks.clear();
            self.stir_voice(now);
            self.voice_due(now, out);
        }
    }

    /// A member of voice is known by this name of the room's: whether its events are shown.
    fn shows_voice(&self, room: &str) -> bool {
        self.rooms.is_shown(room) || self.voice.call.as_ref().is_some_and(|call| &*call.room == room)
    }
}
