//! Links: what one is, its queue, its coming and going.
//!
//! ```text
//! accepted ┐                                ┌ Up ──────────┐ a neighbour
//! dialled  ┴▶ Greeting ─ handshake, hello ─▶┤   ▲ promoted │
//!                                           └ Waiting ─────┤ second link to the same node, until its other end has chosen
//!                                                          └▶ Leaving ─▶ closed: what is queued is handed over first
//! ```
//!
//! A queue is full from three quarters of its bound on, so that what is already on its way still fits. What feeds it
//! (other links, clients) is then not read, until it has drained to half; but not for longer than a healthy reader
//! needs. After that, frames for it are dropped, and if it stays full, it is closed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::ahead::Ahead;
use super::encryption::Crypt;
use super::ending::Phase;
use super::rates::LinkRates;
use super::{Bytes, LinkId, LogLevel, Node, Now, Outbox, Output};
use crate::api::event::{Direction, DropCause, Event, LinkCode, PeerDown, WarningCode};
use crate::wire::frame::{Allowance, Decoder, Item, TooLarge};
use crate::wire::limits::{
    CLOSE_TIME, DEAD_AFTER, FIRST_FRAME_TIME, FRAME_TIME, MAX_HANDSHAKES, MAX_MALFORMED, MAX_QUEUE_BYTES,
    MAX_QUEUE_FRAMES, QUEUE_CLOSE, QUEUE_STALL, QUEUE_WAIT, SETTLE_TIME,
};

/// A TCP connection.
#[derive(Debug)]
pub struct Link {
    pub addr: SocketAddr,
    pub direction: Direction,
    /// The address that was dialled, if we did.
    pub target: Option<String>,
    /// The id of our hello on it, to know it again if we have dialled ourselves.
    pub hello_id: Option<String>,
    pub stage: Stage,
    /// Since when it is at this stage.
    pub since: Instant,
    pub peer: Option<Peer>,
    pub queue: Queue,
    pub last_heard: Instant,
    pub next_ping: Option<Instant>,
    pub ping: Option<(u64, Instant)>,
    pub rtt: Option<Duration>,
    /// The peer has sent something after its hello: so it knows that this link is there.
    pub proven: bool,
    pub crypt: Crypt,
    decoder: Decoder,
    /// Since when a frame is unfinished.
    frame_since: Option<Instant>,
    malformed: u32,
    pub rates: LinkRates,
    /// The peer has closed its direction.
    ended: bool,
}

/// Where a link is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Hello has not come yet, and before that at level 2 there is a handshake.
    Greeting,
    /// It is the link that is used with its peer.
    Up,
    /// Another link to the same peer is in use, until it is settled which of the two stays.
    Waiting,
    /// Being closed. What still comes counts if it `hears`.
    Leaving { until: Instant, hears: bool },
}

/// The neighbours, and the link that is used with each: a short list, sorted by id, since every message walks it.
#[derive(Debug, Default)]
pub struct Neighbours(Vec<Neighbour>);

/// A neighbour, as a message needs to know it.
#[derive(Debug, Clone)]
pub struct Neighbour {
    pub id: Rc<str>,
    pub link: LinkId,
    /// Whether it speaks level 2.
    pub ours: bool,
}

impl Neighbours {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn get(&self, id: &str) -> Option<LinkId> {
        let at = self.place(id).ok()?;
        self.at(at).map(|it| it.link)
    }

    pub fn at(&self, place: usize) -> Option<&Neighbour> {
        self.0.get(place)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Neighbour> {
        self.0.iter()
    }

    /// Adds a neighbour, or gives one another link.
    pub fn insert(&mut self, peer: &Peer, link: LinkId) {
        let neighbour = Neighbour { id: peer.id.clone(), link, ours: peer.level >= 2 };
        match self.place(&peer.id) {
            Ok(at) => self.0[at] = neighbour,
            Err(at) => self.0.insert(at, neighbour),
        }
    }

    pub fn remove(&mut self, id: &str) {
        if let Ok(at) = self.place(id) {
            self.0.remove(at);
        }
    }

    fn place(&self, id: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|it| (*it.id).cmp(id))
    }
}

/// Who is at the other end.
#[derive(Debug)]
pub struct Peer {
    pub id: Rc<str>,
    pub username: String,
    pub level: u8,
    pub pings: bool,
    pub confirms: bool,
    pub nicks: bool,
    /// It is a host of a star-shaped version of the original, as what it sends shows.
    pub is_host: bool,
}

/// What waits to be written.
#[derive(Debug, Default)]
pub struct Queue {
    /// What is written or not as a whole: a frame, or a record with the frames that end in it.
    units: VecDeque<Unit>,
    /// Frames that will be sealed at the end of this input.
    pub gathered: Vec<Bytes>,
    frames: usize,
    pub bytes: usize,
    /// Bytes of the first unit that are written already.
    written: usize,
    full: Option<Full>,
}

#[derive(Debug, Clone, Copy)]
struct Unit {
    bytes: u32,
    frames: u32,
}

#[derive(Debug, Clone, Copy)]
struct Full {
    since: Instant,
    progress: Instant,
    /// Whether what feeds it is kept waiting.
    waited_for: bool,
}

impl Queue {
    /// Frames and bytes.
    pub fn held(&self) -> (usize, usize) {
        (self.frames, self.bytes)
    }

    fn is_empty(&self) -> bool {
        self.units.is_empty() && self.gathered.is_empty()
    }

    /// Notes what is sent as a whole.
    pub fn push_unit(&mut self, bytes: usize, frames: u32) {
        self.units.push_back(Unit { bytes: u32::try_from(bytes).unwrap_or(u32::MAX), frames });
    }

    fn deadline(&self) -> Option<Instant> {
        let full = self.full?;
        let wait = (full.since + QUEUE_WAIT).min(full.progress + QUEUE_STALL);
        Some(if full.waited_for { wait } else { full.since + QUEUE_CLOSE })
    }
}

impl Link {
    fn new(now: Now, addr: SocketAddr, direction: Direction, target: Option<String>) -> Self {
        Self {
            addr,
            direction,
            target,
            hello_id: None,
            stage: Stage::Greeting,
            since: now.mono,
            peer: None,
            queue: Queue::default(),
            last_heard: now.mono,
            next_ping: None,
            ping: None,
            rtt: None,
            proven: false,
            crypt: Crypt::Unknown,
            decoder: Decoder::default(),
            frame_since: None,
            malformed: 0,
            rates: LinkRates::default(),
            ended: false,
        }
    }

    /// When something about it is due.
    pub fn deadline(&self) -> Option<Instant> {
        let stage = match self.stage {
            Stage::Greeting => Some(self.since + FIRST_FRAME_TIME),
            Stage::Waiting => Some(self.since + SETTLE_TIME),
            Stage::Leaving { until, .. } => return Some(until),
            Stage::Up => self.next_ping.map(|at| at.min(self.last_heard + DEAD_AFTER)),
        };
        let frame = self.frame_since.map(|since| since + FRAME_TIME);
        [stage, frame, self.queue.deadline()].into_iter().flatten().min()
    }

    /// This node has stood still for so long: that time does not count against the peer, whose bytes may wait to be read.
    pub fn forgive(&mut self, now: Now, still: Duration) {
        let later = |since: Instant| (since + still).min(now.mono);
        self.last_heard = later(self.last_heard);
        self.frame_since = self.frame_since.map(later);
        if let Some(full) = &mut self.queue.full {
            (full.since, full.progress) = (later(full.since), later(full.progress));
        }
        if matches!(self.stage, Stage::Greeting | Stage::Waiting) {
            self.since = later(self.since);
        }
    }

    /// Whether what comes may be taken: not while its handshake is being gone on with, nor while its peer is to be slowed down.
    pub fn may_be_read(&self, now: Now) -> bool {
        !matches!(self.crypt, Crypt::Stepping) && self.rates.may_be_read(now)
    }

    fn allowance(&self) -> Allowance {
        match &self.peer {
            None => Allowance::First,
            Some(peer) if peer.level >= 2 => Allowance::Level2,
            Some(_) => Allowance::Level1,
        }
    }

    pub const fn hears(&self) -> bool {
        !matches!(self.stage, Stage::Leaving { hears: false, .. })
    }

    const fn takes_frames(&self) -> bool {
        !matches!(self.stage, Stage::Leaving { .. })
    }
}

impl Node {
    /// A peer has dialled us.
    pub(super) fn accepted(&mut self, now: Now, id: LinkId, addr: SocketAddr, out: &mut Outbox) {
        if !self.phase.is_running() {
            return out.push(Output::Close(id));
        }
        if let Some(code) = self.is_shut_out(now, addr.ip()) {
            self.counters.links_refused += 1;
            self.log(LogLevel::Info, out, || format!("refused a link from {addr}: {code:?}"));
            return out.push(Output::Close(id));
        }
        let of_addr = self.links.values().filter(|link| link.addr.ip() == addr.ip()).count();
        let full = self.neighbours.len() >= self.config.max_links;
        if full || (!addr.ip().is_loopback() && of_addr >= self.config.max_links_per_addr) {
            self.counters.links_refused += 1;
            self.log(LogLevel::Info, out, || format!("refused a link from {addr}: there are as many as may be"));
            return out.push(Output::Close(id));
        }
        if self.strangers().count() >= MAX_HANDSHAKES {
            self.push_out(now, out);
        }
        self.links.insert(id, Link::new(now, addr, Direction::In, None));
    }

    /// The system has no room for who dials us: the oldest stranger makes some.
    pub(super) fn accept_failed(&mut self, now: Now, why: &str, out: &mut Outbox) {
        self.warn(now, WarningCode::AcceptFailed, why, out);
        self.push_out(now, out);
    }

    /// Links that were accepted and have not said hello, the oldest first.
    fn strangers(&self) -> impl Iterator<Item = LinkId> {
        self.links.iter().filter(|(_, it)| it.stage == Stage::Greeting && !it.direction.is_out()).map(|(id, _)| *id)
    }

    /// The oldest stranger goes, whatever it has said: who has said nothing may only not have been read yet.
    fn push_out(&mut self, now: Now, out: &mut Outbox) {
        let oldest = self.strangers().next();
        if let Some(oldest) = oldest {
            self.counters.links_refused += 1;
            self.close_link(now, oldest, LinkCode::TooManyLinks, "pushed out by a newcomer before its hello", out);
        }
    }

    /// A dial has given a link.
    pub(super) fn add_dialled(&mut self, now: Now, id: LinkId, addr: SocketAddr, name: String, out: &mut Outbox) {
        let target = self.targets.get(&name);
        let (level1, expected) = target.map_or((false, None), |target| (target.level1, target.pin.clone()));
        let mut link = Link::new(now, addr, Direction::Out, Some(name));
        if level1 {
            link.crypt = Crypt::Plain;
        }
        self.links.insert(id, link);
        match level1 {
            true => self.say_hello(now, id, out),
            false => self.open_level2(now, id, expected, out),
        }
    }

    /// Bytes came from a link.
    pub(super) fn bytes_came(&mut self, now: Now, id: LinkId, mut bytes: &[u8], out: &mut Outbox) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.last_heard = now.mono;
        if let (Crypt::Unknown, Some(first)) = (&link.crypt, bytes.first()) {
            self.tell_level(now, id, *first, out);
        }
        self.shake_hands(now, id, &mut bytes, out);
        let Some(link) = self.links.get_mut(&id) else { return };
        let mut decoder = std::mem::take(&mut link.decoder);
        let completed = match &link.crypt {
            Crypt::Plain => self.frames_came(now, id, &mut decoder, bytes, out),
            Crypt::Sealed { .. } => self.records_came(now, id, &mut decoder, bytes, out),
            Crypt::Unknown | Crypt::Handshake(_) | Crypt::Stepping | Crypt::Mute => false,
        };
        if let Some(link) = self.links.get_mut(&id) {
            link.frame_since = match link.frame_since {
                _ if !decoder.in_frame() && !link.crypt.in_record() => None,
                Some(since) if !completed => Some(since),
                _ => Some(now.mono),
            };
            link.decoder = decoder;
        }
    }

    /// Bytes of frames came from a link. Whether they completed one.
    pub(super) fn frames_came(
        &mut self,
        now: Now,
        id: LinkId,
        decoder: &mut Decoder,
        mut bytes: &[u8],
        out: &mut Outbox,
    ) -> bool {
        let mut completed = false;
        let mut ahead = Ahead::default();
        while let Some(link) = self.links.get(&id).filter(|link| link.hears()) {
            let allowance = link.allowance();
            if ahead.is_over() {
                ahead = self.look_ahead(now, id, decoder, bytes, allowance);
            }
            match decoder.next(&mut bytes, allowance) {
                Ok(Some(Item::Frame(frame))) => {
                    completed = true;
                    let looked = ahead.next(frame);
                    self.frame_came(now, id, frame, looked, out);
                }
                Ok(Some(Item::Skimmed(length))) => {
                    completed = true;
                    self.counters.drop(DropCause::OverLimit);
                    self.log(LogLevel::Info, out, || format!("skimmed a frame of {length} bytes"));
                }
                Ok(None) => break,
                Err(TooLarge(length)) => {
                    let reason = format!("the peer announced a frame of {length} bytes");
                    self.strike(now, id, &reason, out);
                    self.close_link(now, id, LinkCode::TooLarge, &reason, out);
                }
            }
        }
        completed
    }

    /// A frame that is not of this protocol came: the tenth closes the link.
    pub(super) fn malformed(&mut self, now: Now, id: LinkId, out: &mut Outbox) {
        self.counters.drop(DropCause::Malformed);
        let Some(link) = self.links.get_mut(&id) else { return };
        link.malformed += 1;
        if link.malformed > MAX_MALFORMED {
            let reason = format!("the peer sent {} frames that are not of this protocol", link.malformed);
            self.strike(now, id, &reason, out);
            self.close_link(now, id, LinkCode::Malformed, &reason, out);
        }
    }

    /// Queues a frame for a link. False if it was dropped.
    pub(super) fn queue(&mut self, now: Now, id: LinkId, bytes: &Bytes, out: &mut Outbox) -> bool {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.takes_frames()) else { return false };
        let length = Outbox::length(bytes);
        let queue = &mut link.queue;
        // What sealing adds to what one input has gathered: 18 bytes in 16 KiB, and as much again.
        let overhead = if link.crypt.proven().is_some() { MAX_QUEUE_BYTES / 512 } else { 0 };
        if queue.bytes + length + overhead > MAX_QUEUE_BYTES || queue.frames >= MAX_QUEUE_FRAMES {
            let name = link.peer.as_ref().map(|peer| peer.username.clone()).unwrap_or_default();
            self.counters.drop(DropCause::QueueFull);
            let message = format!("{name} does not read what is sent to it: messages for it are being dropped");
            self.warn(now, WarningCode::SlowPeer, &message, out);
            return false;
        }
        queue.frames += 1;
        if matches!(link.crypt, Crypt::Sealed { .. }) {
            if queue.gathered.is_empty() {
                self.unsealed.push(id);
            }
            queue.bytes += length;
            queue.gathered.push(bytes.clone());
            out.tap(id, bytes);
        } else {
            queue.add(id, bytes.clone(), 1, out);
        }
        if queue.full.is_none() && (queue.bytes > MAX_QUEUE_BYTES / 4 * 3 || queue.frames > MAX_QUEUE_FRAMES / 4 * 3) {
            queue.full = Some(Full { since: now.mono, progress: now.mono, waited_for: true });
            self.full.insert(id);
        }
        true
    }

    /// Whether what feeds a link's full queue should wait for it.
    pub(super) fn is_worth_waiting_for(&self, now: Now, id: LinkId) -> bool {
        let full = self.links.get(&id).and_then(|link| link.queue.full);
        full.is_some_and(|full| full.waited_for && self.links[&id].queue.deadline().is_some_and(|at| at > now.mono))
    }

    /// Queued bytes were handed to the system.
    pub(super) fn written(&mut self, now: Now, id: LinkId, bytes: usize, out: &mut Outbox) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let queue = &mut link.queue;
        queue.bytes = queue.bytes.saturating_sub(bytes);
        queue.written += bytes;
        while let Some(&first) = queue.units.front()
            && queue.written >= first.bytes as usize
        {
            queue.written -= first.bytes as usize;
            queue.frames = queue.frames.saturating_sub(first.frames as usize);
            queue.units.pop_front();
        }
        if queue.units.is_empty() && queue.units.capacity() > 64 {
            queue.units.shrink_to(64);
        }
        if let Some(full) = &mut queue.full {
            full.progress = now.mono;
            if queue.bytes <= MAX_QUEUE_BYTES / 2 && queue.frames <= MAX_QUEUE_FRAMES / 2 {
                queue.full = None;
                self.full.remove(&id);
            }
        }
        if link.queue.is_empty() && matches!(link.stage, Stage::Leaving { .. }) {
            self.drained(now, id, out);
        }
    }

    /// The peer has closed its direction, or the link broke.
    pub(super) fn link_ended(&mut self, now: Now, id: LinkId, error: Option<String>, out: &mut Outbox) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.ended = true;
        match (link.stage, error) {
            (Stage::Greeting, error) => {
                if self.falls_back(id, out) {
                    return;
                }
                let (code, reason) = self.why_no_hello(id);
                let reason = error.map_or(reason.clone(), |error| format!("{reason} ({error})"));
                self.close_link(now, id, code, &reason, out);
            }
            (Stage::Leaving { .. }, None) if !link.queue.is_empty() => {}
            (_, Some(error)) => self.close_link(now, id, LinkCode::Reset, &format!("the link broke: {error}"), out),
            (_, None) => self.leave_link(now, id, false, LinkCode::Closed, "the peer closed the link", out),
        }
    }

    /// Something about a link is due.
    pub(super) fn link_due(&mut self, now: Now, id: LinkId, out: &mut Outbox) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let past = |at: Instant| at <= now.mono;
        match link.stage {
            Stage::Greeting if past(link.since + FIRST_FRAME_TIME) => {
                return self.close_link(
                    now,
                    id,
                    LinkCode::Timeout,
                    "no hello in time: is it a node of this network?",
                    out,
                );
            }
            Stage::Waiting if past(link.since + SETTLE_TIME) => {
                return self.leave_link(now, id, true, LinkCode::Duplicate, "another link to it is in use", out);
            }
            Stage::Leaving { until, .. } if past(until) => {
                return self.close_link(now, id, LinkCode::Closed, "closed", out);
            }
            Stage::Up if link.next_ping.is_some() && past(link.last_heard + DEAD_AFTER) => {
                let reason = format!("nothing was heard from it for {} s", DEAD_AFTER.as_secs());
                return self.close_link(now, id, LinkCode::Dead, &reason, out);
            }
            _ => {}
        }
        if link.frame_since.is_some_and(|since| past(since + FRAME_TIME)) {
            return self.close_link(now, id, LinkCode::Stalled, "a frame was begun and not finished in time", out);
        }
        if let Some(full) = &mut link.queue.full {
            if past(full.since + QUEUE_CLOSE) {
                return self.close_link(now, id, LinkCode::Slow, "it did not read what was sent to it", out);
            }
            let wait = (full.since + QUEUE_WAIT).min(full.progress + QUEUE_STALL);
            full.waited_for &= !past(wait);
        }
        if link.next_ping.is_some_and(past) {
            self.ping(now, id, out);
        }
    }

    /// Closes a link in good order: hands over what is queued, closes our direction, reads to the end.
    pub(super) fn leave_link(
        &mut self,
        now: Now,
        id: LinkId,
        hears: bool,
        code: LinkCode,
        reason: &str,
        out: &mut Outbox,
    ) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let stage = link.stage;
        if !matches!(stage, Stage::Leaving { .. }) {
            let time = self.phase.drain_time().unwrap_or(CLOSE_TIME);
            link.stage = Stage::Leaving { until: now.mono + time, hears };
            link.queue.full = None;
            self.full.remove(&id);
            self.lost(now, id, stage, code, reason, out);
        }
        if self.links.get(&id).is_some_and(|link| link.queue.is_empty()) {
            self.drained(now, id, out);
        }
    }

    /// A leaving link has handed over everything.
    fn drained(&mut self, now: Now, id: LinkId, out: &mut Outbox) {
        if self.links.get(&id).is_some_and(|link| link.ended) {
            return self.close_link(now, id, LinkCode::Closed, "closed", out);
        }
        out.push(Output::HalfClose(id));
    }

    /// Closes a link now.
    pub(super) fn close_link(&mut self, now: Now, id: LinkId, code: LinkCode, reason: &str, out: &mut Outbox) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let stage = link.stage;
        link.stage = Stage::Leaving { until: now.mono, hears: false };
        if let Phase::Draining { undelivered, .. } = &mut self.phase {
            *undelivered += link.queue.frames as u64;
        }
        self.full.remove(&id);
        self.lost(now, id, stage, code, reason, out);
        self.links.remove(&id);
        out.push(Output::Close(id));
    }

    /// What follows when a link is of no more use, whatever it was before.
    fn lost(&mut self, now: Now, id: LinkId, stage: Stage, code: LinkCode, reason: &str, out: &mut Outbox) {
        self.clients.recheck_pending();
        let Some(link) = self.links.get(&id) else { return };
        self.log(LogLevel::Info, out, || format!("link with {}: {reason}", link.addr));
        match stage {
            Stage::Greeting => {
                if let Some(target) = link.target.clone() {
                    self.target_failed(now, &target, code, reason, out);
                }
            }
            Stage::Waiting | Stage::Leaving { .. } => {}
            Stage::Up => self.neighbour_lost(now, id, code, reason, out),
        }
    }

    fn neighbour_lost(&mut self, now: Now, id: LinkId, code: LinkCode, reason: &str, out: &mut Outbox) {
        let Some(peer) = self.links.get(&id).and_then(|link| link.peer.as_ref()).map(|peer| peer.id.clone()) else {
            return;
        };
        self.neighbours.remove(&peer);
        let waits = |link: &Link| link.stage == Stage::Waiting && link.peer.as_ref().is_some_and(|it| it.id == peer);
        if let Some(next) = self.links.iter().find(|(_, link)| waits(link)).map(|(id, _)| *id) {
            return self.promote(now, id, next, out);
        }
        let lasted = self.links.get(&id).map_or(Duration::ZERO, |link| now.mono.duration_since(link.since));
        let retry_in = self.redial_targets_of(now, id, lasted);
        if !self.phase.is_running() {
            return;
        }
        let username = self.links.get(&id).and_then(|link| link.peer.as_ref()).map(|peer| peer.username.clone());
        let event = PeerDown {
            peer: &peer,
            username: username.as_deref().unwrap_or_default(),
            code,
            reason,
            retry_in_ms: retry_in.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        };
        self.emit(&Event::PeerDown(event), out);
    }
}
