//! The log of events, one for all clients.
//!
//! Positions count up from 0 and are never used again. When the log is full, it lets go of comings and goings first (see
//! [`EventKind::is_passing`]), then of its oldest events, whatever they are. So nobody can make a `wait` forget messages by
//! coming and going. A position whose event has been let go keeps the event's kind for a while, since line numbers are counted
//! by it. [`Log::whole_from`] tells a
//! reader whether it has missed some.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::api::EventKind;
use crate::wire::limits::bound;

/// Events that `wait` looks back over.
pub const MAX_LOG_EVENTS: usize = bound(10_000, 24);
/// Their bytes.
pub const MAX_LOG_BYTES: usize = 16 << 20;
/// Positions that are kept, with their events or without.
const MAX_POSITIONS: usize = 4 * MAX_LOG_EVENTS;

/// The newest events that have passed.
#[derive(Debug)]
pub struct Log {
    entries: VecDeque<Entry>,
    /// The position of the first entry.
    start: u64,
    /// The positions of comings and goings that are still there.
    passing: VecDeque<u64>,
    /// Events that are there, and their bytes.
    events: usize,
    bytes: usize,
    /// All comings and goings from here on are there.
    passing_start: u64,
    /// All other events from here on are there.
    lasting_start: u64,
}

/// A position: the event is `None` once it has been let go.
#[derive(Debug)]
struct Entry {
    kind: EventKind,
    text: Option<Arc<str>>,
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
        Self {
            entries: VecDeque::new(),
            start: 0,
            passing: VecDeque::new(),
            events: 0,
            bytes: 0,
            passing_start: 0,
            lasting_start: 0,
        }
    }

    /// The first position that is kept.
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// From which position on all events are there: of the passing kinds as well, or of the others alone.
    pub const fn whole_from(&self, with_passing: bool) -> u64 {
        if with_passing && self.passing_start > self.lasting_start { self.passing_start } else { self.lasting_start }
    }

    /// The position of the next event.
    pub fn end(&self) -> u64 {
        self.start + self.entries.len() as u64
    }

    /// The kind of the event at a position.
    pub fn kind(&self, pos: u64) -> Option<EventKind> {
        self.entry(pos).map(|entry| entry.kind)
    }

    /// The event at a position, if it is still there.
    pub fn get(&self, pos: u64) -> Option<Logged> {
        let entry = self.entry(pos)?;
        Some(Logged { kind: entry.kind, text: entry.text.clone()? })
    }

    fn entry(&self, pos: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(pos.checked_sub(self.start)?).ok()?)
    }

    /// The kinds of the events from one position to another, as far as they are kept.
    pub fn kinds(&self, from: u64, to: u64) -> impl Iterator<Item = EventKind> {
        let index = |pos: u64| usize::try_from(pos.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let end = index(to).min(self.entries.len());
        self.entries.range(index(from).min(end)..end).map(|entry| entry.kind)
    }

    /// Adds an event. Others are let go while there is too much.
    pub fn push(&mut self, kind: EventKind, text: Arc<str>) {
        if kind.is_passing() {
            self.passing.push_back(self.end());
        }
        self.bytes += text.len();
        self.events += 1;
        self.entries.push_back(Entry { kind, text: Some(text) });
        while self.events > MAX_LOG_EVENTS || self.bytes > MAX_LOG_BYTES {
            match self.passing.pop_front() {
                Some(pos) => self.let_go_at(pos),
                None => self.drop_first(),
            }
        }
        while self.entries.len() > MAX_POSITIONS || self.entries.front().is_some_and(|entry| entry.text.is_none()) {
            self.drop_first();
        }
    }

    /// Lets go of a passing event.
    fn let_go_at(&mut self, pos: u64) {
        self.passing_start = pos + 1;
        let index = usize::try_from(pos.saturating_sub(self.start)).unwrap_or(usize::MAX);
        if let Some(text) = self.entries.get_mut(index).and_then(|entry| entry.text.take()) {
            self.events -= 1;
            self.bytes -= text.len();
        }
    }

    /// Drops the first position, with its event.
    fn drop_first(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.start += 1;
        let Some(text) = entry.text else { return };
        self.events -= 1;
        self.bytes -= text.len();
        if entry.kind.is_passing() {
            // It is the first of them.
            self.passing.pop_front();
            self.passing_start = self.start;
        } else {
            self.lasting_start = self.start;
        }
    }

    /// Events, and their bytes.
    pub const fn held(&self) -> (usize, usize) {
        (self.events, self.bytes)
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
        assert!(log.get(10).is_some_and(|event| &*event.text == "10"));
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

    #[test]
    fn comings_and_goings_are_let_go_before_messages() {
        let mut log = Log::new();
        log.push(EventKind::Message, "kept".into());
        for n in 0..3 * MAX_LOG_EVENTS {
            log.push(if n % 2 == 0 { EventKind::PeerUp } else { EventKind::PeerDown }, "x".into());
        }
        assert!(log.get(0).is_some_and(|event| &*event.text == "kept"));
        assert_eq!(log.held().0, MAX_LOG_EVENTS);
        assert_eq!(log.whole_from(false), 0);
        assert_eq!(log.whole_from(true), log.end() - MAX_LOG_EVENTS as u64 + 1);
        assert!(log.get(1).is_none() && log.kind(1) == Some(EventKind::PeerUp), "its kind still counts");
        assert!(log.get(log.whole_from(true)).is_some());
        // In the end all positions are used up, and it goes, too.
        (0..2 * MAX_LOG_EVENTS).for_each(|_| log.push(EventKind::PeerUp, "x".into()));
        assert!(log.get(0).is_none());
        assert_eq!(log.whole_from(false), 1);
        assert!(log.end() - log.start() <= MAX_POSITIONS as u64);
        let messages = 2 * MAX_LOG_EVENTS;
        (0..messages).for_each(|_| log.push(EventKind::Message, "y".into()));
        assert_eq!((log.held().0, log.whole_from(true)), (MAX_LOG_EVENTS, log.end() - MAX_LOG_EVENTS as u64));
    }
}
