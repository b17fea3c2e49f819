//! The numbers of a client's lines.
//!
//! A client's events, its replies and its writer's `lagged` lines are all numbered in one sequence, so the same event has
//! a different number at each client. The numbers are not kept one by one: from one event shown to the next they go up by
//! one, unless another line came between or the choice of events has changed. A client keeps such [`Stretch`]es of the
//! log, of [`MAX_STRETCH`] events at most, and counts within them.

use std::collections::VecDeque;

use super::log::Log;
use crate::api::EventKind;

/// A client's choice of events, and the numbers of its lines.
#[derive(Debug)]
pub struct Numbers {
    shown: Kinds,
    /// Lines given to it.
    lines: u64,
    /// `lagged` lines that its writer has put among them.
    lag_lines: u64,
    /// The log, from its start or before to its end, or to where this client came.
    stretches: VecDeque<Stretch>,
    /// Whether the next event begins a stretch.
    is_broken: bool,
}

/// Events of the log whose numbers go up one by one, up to the next stretch.
#[derive(Debug)]
struct Stretch {
    from: u64,
    /// The kinds that are shown.
    shown: Kinds,
    /// The number of the last line up to its end.
    last: u64,
}

impl Numbers {
    /// A client that is shown what is shown at first, but for these.
    pub fn new(choice: &[(EventKind, bool)]) -> Self {
        let mut shown = Kinds::default();
        EventKind::ALL.iter().for_each(|kind| shown.set(*kind, !kind.hidden_at_first()));
        choice.iter().for_each(|&(kind, show)| shown.set(kind, show));
        Self { shown, lines: 0, lag_lines: 0, stretches: VecDeque::new(), is_broken: true }
    }

    /// Whether events of that kind are shown.
    pub const fn shows(&self, kind: EventKind) -> bool {
        self.shown.has(kind)
    }

    /// Shows or hides a kind of events.
    pub const fn show(&mut self, kind: EventKind, show: bool) {
        self.shown.set(kind, show);
        self.is_broken = true;
    }

    /// Numbers a reply.
    pub const fn count_reply(&mut self) {
        self.lines += 1;
        self.is_broken = true;
    }

    /// Notes how many `lagged` lines there have been.
    pub const fn set_lag_lines(&mut self, lines: u64) {
        self.lag_lines = lines;
        self.is_broken = true;
    }

    /// Numbers an event that is about to be added to the log. Whether it is shown.
    pub fn count_event(&mut self, log: &Log, kind: EventKind) -> bool {
        let is_shown = self.shows(kind);
        self.lines += u64::from(is_shown);
        let (at, last) = (log.end(), self.lines + self.lag_lines);
        match self.stretches.back_mut().filter(|it| !self.is_broken && at - it.from < MAX_STRETCH) {
            Some(stretch) => stretch.last = last,
            None => {
                while self.stretches.get(1).is_some_and(|next| next.from <= log.start()) {
                    self.stretches.pop_front();
                }
                self.stretches.push_back(Stretch { from: at, shown: self.shown, last });
                self.is_broken = false;
            }
        }
        is_shown
    }

    /// The number of the line that told of an event, if there was one.
    pub fn seq(&self, log: &Log, pos: u64) -> Option<u64> {
        let next = self.stretches.partition_point(|it| it.from <= pos);
        let stretch = self.stretches.get(next.checked_sub(1)?)?;
        if !stretch.shown.has(log.kind(pos)?) {
            return None;
        }
        let end = self.stretches.get(next).map_or(log.end(), |next| next.from);
        let later = log.kinds(pos + 1, end).filter(|kind| stretch.shown.has(*kind)).count();
        stretch.last.checked_sub(later as u64)
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.stretches.capacity() * size_of::<Stretch>()
    }
}

/// Kinds of events.
#[derive(Debug, Clone, Copy, Default)]
struct Kinds(u32);

const _: () = assert!(EventKind::ALL.len() <= 32, "each has a bit");

impl Kinds {
    const fn has(self, kind: EventKind) -> bool {
        self.0 >> kind as u32 & 1 == 1
    }

    const fn set(&mut self, kind: EventKind, on: bool) {
        self.0 = self.0 & !(1 << kind as u32) | (on as u32) << kind as u32;
    }
}

/// Events in a stretch: with fewer an idle client takes more memory, with more a look-up takes more time. A guess.
const MAX_STRETCH: u64 = 256;

#[cfg(test)]
mod tests {
    use super::super::MAX_LOG_EVENTS;
    use super::*;

    #[test]
    fn numbers_are_those_that_were_counted_one_by_one() {
        let mut log = Log::new();
        let mut all = [Numbers::new(&[]), Numbers::new(&[(EventKind::Message, false), (EventKind::Dropped, true)])];
        let mut expected: [Vec<Option<u64>>; 2] = Default::default();
        let mut counted = [(0, 0); 2];
        // Small steps of a linear congruential generator: any mixture will do.
        let mut chance = 1_u64;
        for _ in 0..3 * MAX_LOG_EVENTS {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let draw = chance >> 40;
            let who = (draw >> 12 & 1) as usize;
            let kind = EventKind::ALL[(draw >> 16) as usize % EventKind::ALL.len()];
            match draw % 1000 {
                0 => all[who].show(kind, draw >> 13 & 1 == 1),
                1 => {
                    counted[who].1 += 3;
                    all[who].set_lag_lines(counted[who].1);
                }
                2..20 => {
                    counted[who].0 += 1;
                    all[who].count_reply();
                }
                _ => {
                    for ((numbers, counted), expected) in all.iter_mut().zip(&mut counted).zip(&mut expected) {
                        let is_shown = numbers.count_event(&log, kind);
                        counted.0 += u64::from(is_shown);
                        expected.push(is_shown.then_some(counted.0 + counted.1));
                    }
                    log.push(kind, "".into());
                }
            }
        }
        assert!(log.start() > 0);
        for (numbers, expected) in all.iter().zip(&expected) {
            for pos in log.start()..log.end() {
                assert_eq!(numbers.seq(&log, pos), expected[pos as usize], "at {pos}");
            }
            assert_eq!(numbers.seq(&log, log.start() - 1), None);
            assert_eq!(numbers.seq(&log, log.end()), None);
        }
    }

    #[test]
    fn an_idle_client_keeps_little_of_a_full_log() {
        let mut log = Log::new();
        let (mut idle, mut busy) = (Numbers::new(&[]), Numbers::new(&[]));
        for _ in 0..5 * MAX_LOG_EVENTS {
            idle.count_event(&log, EventKind::Message);
            busy.count_reply();
            busy.count_event(&log, EventKind::Message);
            log.push(EventKind::Message, "".into());
        }
        assert!(idle.bytes() < 4 << 10, "{} bytes", idle.bytes());
        assert!(busy.stretches.len() <= MAX_LOG_EVENTS + 1);
        assert_eq!(idle.seq(&log, log.end() - 1), Some(5 * MAX_LOG_EVENTS as u64));
        assert_eq!(busy.seq(&log, log.start()), Some(2 * (log.start() + 1)));
    }
}
