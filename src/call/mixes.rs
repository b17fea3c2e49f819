//! The mixes for clients of star-shaped versions, and what is known of such clients: see [`star`](super::star).

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::base::NodeId;
use crate::voice::mixer::Mixer;
use crate::voice::{Chunk, FRAME, Frame};
use crate::wire::datagram::inside::HEARS;
use crate::wire::limits::MAX_VOICE_MEMBERS;

/// How long it counts what another member knows: three times what it takes to be said again.
pub const KNOWN_TIME: Duration = Duration::from_secs(3);
/// Samples of our own voice that wait to be mixed: as many as two clocks may be apart at most, a guess.
const MAX_OWN: usize = FRAME * 5;

/// The knowledge about a member of level 1 as a client or a host.
#[derive(Debug, Default)]
pub struct Client {
    /// The reports of members of level 2 about it: flags, and when they came.
    pub(super) known: BTreeMap<NodeId, (u8, Instant)>,
    /// Whether it listens where its id says; `None`: not asked, or no answer yet.
    pub(super) listens: Option<bool>,
    pub(super) asked: bool,
    /// We stand in for those who don't hear it, and send it a mix.
    pub(super) served: bool,
    /// Its voice reaches nobody but us.
    pub(super) alone: bool,
    /// Its voice, be it of level 1 or 2, comes in the mix of a host as well: it is not played a second time.
    pub in_mix: bool,
    pub(super) mix: Option<Box<Mix>>,
}

/// The mix for one client.
#[derive(Debug, Default)]
pub struct Mix {
    pub(super) mixer: Mixer,
    /// The beginning of a frame.
    pub(super) part: Vec<i16>,
    /// Whether our own voice is in it: then it goes out even if it is silent.
    pub(super) has_own: bool,
    pub(super) sequence: u32,
    pub(super) sent: Option<Instant>,
}

/// The voices that go into the mixes.
#[derive(Debug, Default)]
pub struct Mixes {
    /// Whether anyone gets one.
    pub(super) wanted: bool,
    pub(super) own: VecDeque<i16>,
    /// The voice of each member that sounds in the chunk that is being played.
    pub(super) voices: Vec<(NodeId, Chunk)>,
}

impl Mixes {
    /// Our own microphone's frame; `None` while muted.
    pub fn captured(&mut self, frame: Option<&Frame>) {
        if let Some(frame) = frame.filter(|_| self.wanted) {
            self.own.extend(frame);
            let excess = self.own.len().saturating_sub(MAX_OWN);
            self.own.drain(..excess);
        }
    }

    /// The sizes of what is held, each with its bound.
    #[cfg(any(test, fuzzing))]
    pub fn held(&self) -> [(&'static str, usize, usize); 2] {
        [("samples to be mixed", self.own.len(), MAX_OWN), ("voices to be mixed", self.voices.len(), MAX_VOICE_MEMBERS)]
    }

    /// Adds a member's voice in the chunk that is being played.
    pub fn played(&mut self, id: &NodeId, chunk: &Chunk) {
        if self.wanted && self.voices.len() < MAX_VOICE_MEMBERS {
            self.voices.push((id.clone(), *chunk));
        }
    }
}

impl Client {
    /// Whether we send it a mix in place of our own voice.
    pub const fn is_served(&self) -> bool {
        self.served
    }

    /// The sizes of what is held, each with its bound.
    #[cfg(any(test, fuzzing))]
    pub fn held(&self) -> [(&'static str, usize, usize); 2] {
        let part = self.mix.as_ref().map_or(0, |mix| mix.part.len());
        [("who knows a member", self.known.len(), MAX_VOICE_MEMBERS), ("part of a mix", part, FRAME)]
    }

    pub(super) fn known_by(&self, id: &NodeId, now: Instant) -> Option<u8> {
        self.known.get(id).filter(|(_, at)| now.duration_since(*at) < KNOWN_TIME).map(|(flags, _)| *flags)
    }

    pub(super) fn is_unheard_by(&self, id: &NodeId, now: Instant) -> bool {
        self.known_by(id, now).is_some_and(|flags| flags & HEARS == 0)
    }

    pub(super) fn is_heard_by(&self, id: &NodeId, now: Instant) -> bool {
        self.known_by(id, now).is_some_and(|flags| flags & HEARS != 0)
    }
}
