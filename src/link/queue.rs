//! A link's queue: frames and records that wait to be written.
//!
//! A queue is full from three quarters of its bound on, so that what is already on its way still fits. What feeds it
//! (other links, clients) is then not read until it has drained to half, but not for longer than a healthy reader
//! needs. After that, frames for it are dropped, and a queue that stays full closes its link.

use std::collections::VecDeque;
use std::time::Instant;

use crate::base::{LinkId, Now};
use crate::outbox::{Bytes, Outbox, Output};
use crate::wire::limits::{MAX_QUEUE_BYTES, MAX_QUEUE_FRAMES, QUEUE_CLOSE, QUEUE_STALL, QUEUE_WAIT};
use crate::wire::noise::{MAX_PLAIN, OVERHEAD, Session};

/// The frames and records that wait to be written.
#[derive(Debug, Default)]
pub struct Queue {
    /// Units that are written or not as a whole: a frame, or a record with the frames that end in it.
    units: VecDeque<Unit>,
    /// Frames that will be sealed at the end of this input.
    gathered: Vec<Bytes>,
    frames: usize,
    bytes: usize,
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

/// A queue's answer to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queued {
    /// It is queued.
    Taken,
    /// It is queued, and is the first to be sealed at the end of this input.
    FirstToSeal,
    /// It did not fit.
    Dropped,
}

impl Queue {
    /// Frames and bytes.
    pub const fn held(&self) -> (usize, usize) {
        (self.frames, self.bytes)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty() && self.gathered.is_empty()
    }

    /// Whether it is full, and not yet given up.
    pub const fn is_full(&self) -> bool {
        self.full.is_some()
    }

    /// Queues a frame, in the clear or to be sealed.
    pub fn push_frame(&mut self, now: Now, id: LinkId, bytes: &Bytes, is_sealed: bool, out: &mut Outbox) -> Queued {
        let queued = self.count_frame(now, Outbox::length(bytes), is_sealed);
        match queued {
            Queued::Dropped => {}
            _ if is_sealed => {
                self.gathered.push(bytes.clone());
                out.tap(id, bytes);
            }
            _ => out.push(Output::Send { link: id, bytes: bytes.clone() }),
        }
        queued
    }

    /// Counts a frame that is queued: the caller sends it, or gathers it to be sealed.
    pub fn count_frame(&mut self, now: Now, length: usize, is_sealed: bool) -> Queued {
        // The bytes that sealing adds to what one input has gathered: 18 in 16 KiB, and as much again.
        let overhead = if is_sealed { MAX_QUEUE_BYTES / 512 } else { 0 };
        if self.bytes + length + overhead > MAX_QUEUE_BYTES || self.frames >= MAX_QUEUE_FRAMES {
            return Queued::Dropped;
        }
        self.frames += 1;
        self.bytes += length;
        if !is_sealed {
            self.push_unit(length, 1);
        }
        let queued = if is_sealed && self.gathered.is_empty() { Queued::FirstToSeal } else { Queued::Taken };
        let is_high = self.bytes > MAX_QUEUE_BYTES / 4 * 3 || self.frames > MAX_QUEUE_FRAMES / 4 * 3;
        if is_high && self.full.is_none() {
            self.full = Some(Full { since: now.mono, progress: now.mono, waited_for: true });
        }
        queued
    }

    /// Sends bytes in which so many of the counted frames end.
    pub fn push_bytes(&mut self, id: LinkId, bytes: Bytes, frames: u32, out: &mut Outbox) {
        self.bytes += Outbox::length(&bytes);
        self.push_unit(Outbox::length(&bytes), frames);
        out.push(Output::Send { link: id, bytes });
    }

    fn push_unit(&mut self, bytes: usize, frames: u32) {
        self.units.push_back(Unit { bytes: u32::try_from(bytes).unwrap_or(u32::MAX), frames });
    }

    /// Notes that queued bytes were handed to the system.
    pub fn on_written(&mut self, now: Now, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.written += bytes;
        while let Some(&first) = self.units.front()
            && self.written >= first.bytes as usize
        {
            self.written -= first.bytes as usize;
            self.frames = self.frames.saturating_sub(first.frames as usize);
            self.units.pop_front();
        }
        if self.units.is_empty() && self.units.capacity() > KEPT_UNITS {
            self.units.shrink_to(KEPT_UNITS);
        }
        if let Some(full) = &mut self.full {
            full.progress = now.mono;
            if self.bytes <= MAX_QUEUE_BYTES / 2 && self.frames <= MAX_QUEUE_FRAMES / 2 {
                self.full = None;
            }
        }
    }

    /// Seals what was gathered. `plain` is for the content of one record.
    pub fn seal(&mut self, id: LinkId, session: &mut Session, plain: &mut Vec<u8>, out: &mut Outbox) {
        let mut gathered = std::mem::take(&mut self.gathered);
        let mut frames = 0;
        for bytes in gathered.drain(..) {
            let mut from = 0;
            while let piece = out.piece(&bytes, from, MAX_PLAIN.saturating_sub(plain.len()))
                && !piece.is_empty()
            {
                plain.extend_from_slice(piece);
                from += piece.len();
                frames += u32::from(from == Outbox::length(&bytes));
                if plain.len() >= MAX_PLAIN {
                    self.seal_one(id, session, plain, std::mem::take(&mut frames), out);
                }
            }
        }
        if !plain.is_empty() {
            self.seal_one(id, session, plain, frames, out);
        }
        gathered.shrink_to(KEPT_GATHERED);
        self.gathered = gathered;
    }

    fn seal_one(&mut self, id: LinkId, session: &mut Session, plain: &mut Vec<u8>, frames: u32, out: &mut Outbox) {
        let record = out.append(|buffer| {
            // It fails for no content but an empty one or one that is too long.
            let _ = session.seal(plain, buffer);
        });
        self.bytes += OVERHEAD;
        self.push_unit(Outbox::length(&record), frames);
        out.push(Output::Send { link: id, bytes: record });
        plain.clear();
    }

    /// When a full queue is no more waited for, or closes its link.
    pub fn deadline(&self) -> Option<Instant> {
        self.full.map(|full| full.deadline())
    }

    /// Whether what feeds it should wait for it.
    pub fn is_worth_waiting_for(&self, now: Now) -> bool {
        self.full.is_some_and(|full| full.waited_for && full.deadline() > now.mono)
    }

    /// Ends a wait that has been too long. True: it has been full for so long that its link is to be closed.
    pub fn check_full(&mut self, now: Now) -> bool {
        let Some(full) = &mut self.full else { return false };
        full.waited_for &= full.wait_until() > now.mono;
        full.since + QUEUE_CLOSE <= now.mono
    }

    /// Gives up on waiting.
    pub fn give_up(&mut self) {
        self.full = None;
    }

    /// Moves the times of a full queue: see `Link::forgive`.
    pub fn forgive(&mut self, later: impl Fn(Instant) -> Instant) {
        if let Some(full) = &mut self.full {
            (full.since, full.progress) = (later(full.since), later(full.progress));
        }
    }
}

impl Full {
    fn wait_until(self) -> Instant {
        (self.since + QUEUE_WAIT).min(self.progress + QUEUE_STALL)
    }

    fn deadline(self) -> Instant {
        if self.waited_for { self.wait_until() } else { self.since + QUEUE_CLOSE }
    }
}

/// Frames that a link's list of gathered ones keeps room for.
const KEPT_GATHERED: usize = 256;
/// Units that an empty queue keeps room for.
const KEPT_UNITS: usize = 64;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LINK: LinkId = LinkId(1);

    fn start() -> Now {
        #[allow(clippy::disallowed_methods, reason = "any moment will do")]
        Now { mono: Instant::now(), unix_ms: 0 }
    }

    fn after(now: Now, ms: u64) -> Now {
        Now { mono: now.mono + Duration::from_millis(ms), ..now }
    }

    fn push(queue: &mut Queue, now: Now, length: usize) -> Queued {
        let mut out = Outbox::default();
        let bytes = out.write(|buffer| buffer.resize(length, b'x'));
        queue.push_frame(now, LINK, &bytes, false, &mut out)
    }

    #[test]
    fn frames_are_counted_until_they_are_written_whole() {
        let (mut queue, now) = (Queue::default(), start());
        assert_eq!([push(&mut queue, now, 10), push(&mut queue, now, 20)], [Queued::Taken; 2]);
        assert_eq!(queue.held(), (2, 30));
        queue.on_written(now, 9);
        assert_eq!(queue.held(), (2, 21));
        queue.on_written(now, 2);
        assert_eq!(queue.held(), (1, 19));
        queue.on_written(now, 19);
        assert!(queue.is_empty() && queue.held() == (0, 0));
    }

    #[test]
    fn a_full_queue_is_waited_for_then_drops_then_closes() {
        let (mut queue, now) = (Queue::default(), start());
        while !queue.is_full() {
            assert_eq!(push(&mut queue, now, 64 << 10), Queued::Taken);
        }
        assert!(queue.held().1 > MAX_QUEUE_BYTES / 4 * 3 && queue.is_worth_waiting_for(now));
        let stalled = after(now, 300);
        assert!(!queue.is_worth_waiting_for(stalled) && !queue.check_full(stalled));
        assert_eq!(queue.deadline(), Some(now.mono + QUEUE_CLOSE));
        while push(&mut queue, now, 64 << 10) == Queued::Taken {}
        assert!(queue.held().1 <= MAX_QUEUE_BYTES);
        assert!(queue.check_full(after(now, 5000)));
    }

    #[test]
    fn progress_is_waited_for_up_to_a_second_and_half_is_empty_enough() {
        let (mut queue, now) = (Queue::default(), start());
        while !queue.is_full() {
            push(&mut queue, now, 1 << 10);
        }
        for ms in [250, 500, 750] {
            queue.on_written(after(now, ms), 1 << 10);
            assert!(queue.is_worth_waiting_for(after(now, ms + 200)), "after {ms} ms");
        }
        assert!(!queue.is_worth_waiting_for(after(now, 1000)));
        queue.on_written(now, queue.held().1 - MAX_QUEUE_BYTES / 2);
        assert!(!queue.is_full() && queue.deadline().is_none());
    }

    #[test]
    fn small_frames_have_a_bound_of_their_own() {
        let (mut queue, now) = (Queue::default(), start());
        let taken = (0..2 * MAX_QUEUE_FRAMES).filter(|_| push(&mut queue, now, 1) == Queued::Taken).count();
        assert_eq!(taken, MAX_QUEUE_FRAMES);
    }

    #[test]
    fn frames_to_seal_are_gathered_and_leave_room_for_what_sealing_adds() {
        let (mut queue, now, mut out) = (Queue::default(), start(), Outbox::default());
        let bytes = out.write(|buffer| buffer.resize(1 << 10, b'x'));
        let mut push = |queue: &mut Queue| queue.push_frame(now, LINK, &bytes, true, &mut out);
        assert_eq!([push(&mut queue), push(&mut queue)], [Queued::FirstToSeal, Queued::Taken]);
        while push(&mut queue) == Queued::Taken {}
        assert!(queue.held().1 + (MAX_QUEUE_BYTES / 512) <= MAX_QUEUE_BYTES);
        assert!(!queue.is_empty() && out.outputs.is_empty(), "nothing is sent before it is sealed");
    }
}
