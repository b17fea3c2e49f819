//! The log of events, one for all clients.
//!
//! Positions count up from 0 and are never used again. When the log is full, its oldest events are dropped and
//! [`Log::start`] moves on; a reader that stands before it has missed some.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::api::EventKind;
use crate::wire::limits::bound;

/// Events that `wait` looks back over.
pub const MAX_LOG_EVENTS: usize = bound(10_000, 24);
/// Their bytes.
pub const MAX_LOG_BYTES: usize = 16 << 20;

/// The newest events that have passed.
#[derive(Debug)]
pub struct Log {
    events: VecDeque<Logged>,
    bytes: usize,
    start: u64,
}

/// An event that has passed.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Its kind.
    pub kind: EventKind,
    /// Its JSON, without `seq`.
    pub text: Arc<str>,
}

impl Log {
    /// An empty log.
    pub const fn new() -> Self {
        Self { events: VecDeque::new(), bytes: 0, start: 0 }
    }

    /// The position of the oldest event that is still there.
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// The position of the next event.
    pub fn end(&self) -> u64 {
        self.start + self.events.len() as u64
    }

    /// The event at a position.
    pub fn get(&self, pos: u64) -> Option<&Logged> {
        self.events.get(usize::try_from(pos.checked_sub(self.start)?).ok()?)
    }

    /// The kinds of the events from one position to another, as far as they are there.
    pub fn kinds(&self, from: u64, to: u64) -> impl Iterator<Item = EventKind> {
        let index = |pos: u64| usize::try_from(pos.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let end = index(to).min(self.events.len());
        self.events.range(index(from).min(end)..end).map(|event| event.kind)
    }

    /// Adds an event. The oldest are dropped while there is too much.
    pub fn push(&mut self, kind: EventKind, text: Arc<str>) {
        self.bytes += text.len();
        self.events.push_back(Logged { kind, text });
        while self.events.len() > MAX_LOG_EVENTS || self.bytes > MAX_LOG_BYTES {
            let Some(gone) = self.events.pop_front() else { break };
            self.bytes -= gone.text.len();
            self.start += 1;
        }
    }

    /// Events, and their bytes.
    pub fn held(&self) -> (usize, usize) {
        (self.events.len(), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_stay_while_the_oldest_events_go() {
        let mut log = Log::new();
        for n in 0..MAX_LOG_EVENTS + 10 {
            log.push(EventKind::Message, n.to_string().into());
        }
        assert_eq!((log.start(), log.end()), (10, MAX_LOG_EVENTS as u64 + 10));
        assert_eq!(log.held().0, MAX_LOG_EVENTS);
        assert!(log.get(9).is_none() && log.get(log.end()).is_none());
        assert_eq!(log.get(10).map(|event| &*event.text), Some("10"));
        assert_eq!(log.kinds(0, 13).count(), 3);
        assert_eq!(log.kinds(log.end() - 2, u64::MAX).count(), 2);
        assert_eq!(log.kinds(5, 3).count(), 0);
    }

    #[test]
    fn bytes_are_bounded_and_counted() {
        let mut log = Log::new();
        let text: Arc<str> = "x".repeat(1 << 20).into();
        (0..40).for_each(|_| log.push(EventKind::Message, text.clone()));
        assert_eq!(log.held(), (16, MAX_LOG_BYTES));
        log.push(EventKind::Message, "y".repeat(MAX_LOG_BYTES + 1).into());
        assert_eq!((log.held(), log.start()), ((0, 0), 41), "even that goes again");
    }
}
