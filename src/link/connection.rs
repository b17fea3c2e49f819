//! One link: a TCP connection, from its first byte to its last.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::crypt::Crypt;
use super::peer::Peer;
use super::queue::Queue;
use super::rates::LinkRates;
use super::timers::Armed;
use crate::base::{Direction, NodeId, Now};
use crate::wire::frame::{Allowance, Decoder};
use crate::wire::limits::{DEAD_AFTER, FIRST_FRAME_TIME, FRAME_TIME, SETTLE_TIME};

/// A TCP connection. Its fields are the link component's own; others read it through its methods.
#[derive(Debug)]
pub struct Link {
    pub(super) addr: SocketAddr,
    pub(super) direction: Direction,
    /// The address that was dialled, if we did.
    pub(super) target: Option<Box<str>>,
    /// The id of our hello on it, to know it again if we have dialled ourselves.
    pub(super) hello_id: Option<Box<str>>,
    pub(super) stage: Stage,
    /// Since when it is at this stage.
    pub(super) since: Instant,
    pub(super) peer: Option<Peer>,
    pub(super) queue: Queue,
    pub(super) last_heard: Instant,
    pub(super) next_ping: Option<Instant>,
    /// The ping that is not answered yet: its nonce, and when it went.
    pub(super) ping: Option<(u64, Instant)>,
    pub(super) rtt: Option<Duration>,
    /// The peer has sent something after its hello: so it knows that this link is there.
    pub(super) confirmed: bool,
    pub(super) crypt: Crypt,
    pub(super) decoder: Decoder,
    /// Since when a frame is unfinished.
    pub(super) frame_since: Option<Instant>,
    pub(super) malformed: u32,
    pub(super) rates: LinkRates,
    /// The peer has closed its direction.
    pub(super) ended: bool,
    pub(super) armed: Armed,
}

/// The stage of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Hello has not come yet, and before that at level 2 there is a handshake.
    Greeting,
    /// It is the link that is used with its peer.
    Up,
    /// Another link to the same peer is in use, until it is settled which of the two stays.
    Waiting,
    /// Being closed. What still comes counts if it `hears`.
    Leaving {
        /// Until when.
        until: Instant,
        /// Whether what comes counts.
        hears: bool,
    },
}

impl Link {
    pub(super) fn new(now: Now, addr: SocketAddr, direction: Direction, target: Option<&str>) -> Self {
        Self {
            addr,
            direction,
            target: target.map(Into::into),
            hello_id: None,
            stage: Stage::Greeting,
            since: now.mono,
            peer: None,
            queue: Queue::default(),
            last_heard: now.mono,
            next_ping: None,
            ping: None,
            rtt: None,
            confirmed: false,
            crypt: Crypt::Unknown,
            decoder: Decoder::default(),
            frame_since: None,
            malformed: 0,
            rates: LinkRates::default(),
            ended: false,
            armed: Armed::default(),
        }
    }

    /// The address at the other end.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The side that dialled.
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// The stage that it is at.
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// Since when it is at its stage.
    pub const fn since(&self) -> Instant {
        self.since
    }

    /// The peer, once it has said hello.
    pub const fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// The peer's id, once it has said hello.
    pub fn peer_id(&self) -> Option<NodeId> {
        self.peer.as_ref().map(|peer| peer.id.clone())
    }

    /// The round trip of its last ping.
    pub const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Frames that wait to be written, and bytes.
    pub const fn queued(&self) -> (usize, usize) {
        self.queue.held()
    }

    /// When something about it is due, apart from its rates.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let stage = match self.stage {
            Stage::Greeting => Some(self.since + FIRST_FRAME_TIME),
            Stage::Waiting => Some(self.since + SETTLE_TIME),
            Stage::Leaving { until, .. } => return Some(until),
            Stage::Up => self.next_ping.map(|at| at.min(self.last_heard + DEAD_AFTER)),
        };
        let frame = self.frame_since.map(|since| since + FRAME_TIME);
        [stage, frame, self.queue.deadline()].into_iter().flatten().min()
    }

    /// When it wants to be looked at.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.deadline().into_iter().chain(self.rates.deadline()).min()
    }

    /// This node has stood still for so long: that time does not count against the peer, whose bytes may wait to be read.
    pub(super) fn forgive(&mut self, now: Now, still: Duration) {
        let later = |since: Instant| (since + still).min(now.mono);
        self.last_heard = later(self.last_heard);
        self.frame_since = self.frame_since.map(later);
        self.queue.forgive(later);
        if matches!(self.stage, Stage::Greeting | Stage::Waiting) {
            self.since = later(self.since);
        }
    }

    /// Whether what comes may be taken: not while its handshake is being computed, nor while its peer is to be slowed down.
    pub(super) fn may_be_read(&self, now: Now) -> bool {
        !matches!(self.crypt, Crypt::Offloaded) && self.rates.may_be_read(now)
    }

    /// How large a frame may be.
    pub fn allowance(&self) -> Allowance {
        match &self.peer {
            None => Allowance::First,
            Some(peer) if peer.is_level2() => Allowance::Level2,
            Some(_) => Allowance::Level1,
        }
    }

    /// Whether what comes counts.
    pub const fn hears(&self) -> bool {
        !matches!(self.stage, Stage::Leaving { hears: false, .. })
    }

    pub(super) const fn takes_frames(&self) -> bool {
        !matches!(self.stage, Stage::Leaving { .. })
    }

    pub(super) const fn is_leaving(&self) -> bool {
        matches!(self.stage, Stage::Leaving { .. })
    }

    pub(super) fn is_second_of(&self, peer: &NodeId) -> bool {
        self.stage == Stage::Waiting && self.peer.as_ref().is_some_and(|it| it.id == *peer)
    }
}
