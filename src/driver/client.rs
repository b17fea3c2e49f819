//! A client's queue of lines, between the loop that fills it and the one thread that writes it.
//!
//! The queue is bounded. Replies are never dropped: when they fill it, the client's commands are read no further.
//! Events are, the oldest first; where some are missing, a `lagged` line says how many of which. Lines get their numbers
//! as they are taken out, so that dropped ones leave a gap in the numbers and `lagged` follows it.
//!
//! A line that tells of something which must outlive this process waits until that is safe in the state folder: else, after a
//! crash, it would be told once more. It waits no longer than the disk works: see [`Queue::release`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::api::EventKind;
use crate::api::event::{Event, Lagged};
use crate::api::line::to_json;
use crate::clients::{MAX_ASYNC, MAX_QUEUE_BYTES, MAX_QUEUE_LINES, seq_at};

/// How much a writer takes out at once, in bytes.
const BATCH: usize = 64 << 10;
/// How long a line waits for a disk that does not answer. A guess: longer than one that is busy takes.
const MAX_HOLD: Duration = Duration::from_secs(5);

/// The queue, without its lock.
#[derive(Debug, Default)]
pub struct Lines {
    events: VecDeque<Line>,
    /// Replies, and the few lines that must not be dropped either.
    kept: VecDeque<Line>,
    gaps: VecDeque<Gap>,
    bytes: usize,
    kept_bytes: usize,
    /// Lines pushed so far, dropped ones too.
    pushed: u64,
    /// The place of the next line to be taken out.
    next: u64,
    /// `lagged` lines so far.
    lag_lines: u64,
    /// So many changes of the state folder are safe.
    saved: u64,
    /// Lines do not wait for the state folder: it can't be written.
    released: bool,
}

#[derive(Debug)]
struct Line {
    place: u64,
    /// So many changes of the state folder must be safe before it is written.
    after: u64,
    kind: EventKind,
    text: Arc<str>,
}

/// Lines that were dropped from one place to another.
#[derive(Debug)]
struct Gap {
    from: u64,
    to: u64,
    by: BTreeMap<EventKind, u64>,
}

impl Lines {
    /// Adds a line, dropping the oldest events if there are too many. It is taken out when `after` changes of the state folder are
    /// safe.
    pub fn push(&mut self, kind: EventKind, text: Arc<str>, after: u64) {
        let place = self.pushed;
        self.pushed += 1;
        self.bytes += text.len();
        let line = Line { place, after, kind, text };
        if matches!(kind, EventKind::Reply | EventKind::Ready | EventKind::Fatal | EventKind::Bye) {
            self.kept_bytes += line.text.len();
            self.kept.push_back(line);
        } else {
            self.events.push_back(line);
        }
        while self.events.len() + self.kept.len() > MAX_QUEUE_LINES || self.bytes > MAX_QUEUE_BYTES {
            let Some(line) = self.events.pop_front() else { break };
            self.bytes -= line.text.len();
            self.note_drop(line.place, line.kind);
        }
    }

    fn note_drop(&mut self, place: u64, kind: EventKind) {
        match self.gaps.back_mut().filter(|gap| gap.to == place) {
            Some(gap) => {
                gap.to += 1;
                *gap.by.entry(kind).or_default() += 1;
            }
            None => self.gaps.push_back(Gap { from: place, to: place + 1, by: BTreeMap::from([(kind, 1)]) }),
        }
    }

    /// Whether another command may be run: its reply will fit, and so will those of the commands set aside.
    pub fn has_room(&self) -> bool {
        self.kept.len() + MAX_ASYNC < MAX_QUEUE_LINES && self.kept_bytes < MAX_QUEUE_BYTES / 2
    }

    /// Appends lines to `buffer`, numbered and each with its newline, until it is large enough to be written. False if
    /// there was none.
    pub fn take(&mut self, buffer: &mut Vec<u8>) -> bool {
        let before = buffer.len();
        while buffer.len() - before < BATCH {
            if self.gaps.front().is_some_and(|gap| gap.from == self.next) {
                let Some(gap) = self.gaps.pop_front() else { break };
                let lagged = to_json(&Event::Lagged(Lagged { dropped: gap.to - gap.from, by: &gap.by }));
                self.next = gap.to;
                self.lag_lines += 1;
                // The line's own number: one more than those that it stands for.
                number(&lagged, EventKind::Lagged, self.next + self.lag_lines, buffer);
                continue;
            }
            if self.is_held() {
                break;
            }
            let from_events = self.events_go_first();
            let Some(line) = (if from_events { &mut self.events } else { &mut self.kept }).pop_front() else { break };
            self.bytes -= line.text.len();
            self.kept_bytes -= if from_events { 0 } else { line.text.len() };
            self.next = line.place + 1;
            number(&line.text, line.kind, self.next + self.lag_lines, buffer);
        }
        if self.events.is_empty() {
            self.events.shrink_to(64);
        }
        buffer.len() > before
    }

    fn events_go_first(&self) -> bool {
        let front = |lines: &VecDeque<Line>| lines.front().map_or(u64::MAX, |line| line.place);
        front(&self.events) < front(&self.kept)
    }

    /// Whether the next line waits for the state folder.
    fn is_held(&self) -> bool {
        let next = if self.events_go_first() { self.events.front() } else { self.kept.front() };
        !self.released && next.is_some_and(|line| line.after > self.saved)
    }

    /// Whether there is something to take out.
    fn is_ready(&self) -> bool {
        self.gaps.front().is_some_and(|gap| gap.from == self.next) || (self.held().0 > 0 && !self.is_held())
    }

    /// `lagged` lines so far.
    pub const fn lag_lines(&self) -> u64 {
        self.lag_lines
    }

    /// Lines held, and their bytes.
    pub fn held(&self) -> (usize, usize) {
        (self.events.len() + self.kept.len(), self.bytes)
    }
}

/// Appends a line with its number.
fn number(text: &str, kind: EventKind, seq: u64, buffer: &mut Vec<u8>) {
    let (head, tail) = text.split_at_checked(seq_at(kind)).unwrap_or((text, ""));
    buffer.extend_from_slice(head.as_bytes());
    buffer.extend_from_slice(b",\"seq\":");
    // Two digits at a time would be faster; this is not what takes the time.
    let mut digits = [0_u8; 20];
    let mut rest = seq;
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    buffer.extend_from_slice(digits.get(at..).unwrap_or_default());
    buffer.extend_from_slice(tail.as_bytes());
    buffer.push(b'\n');
}

/// The queue, shared by the loop and the writer.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Lines,
    closed: bool,
    /// The writer sleeps.
    idle: bool,
}

impl Queue {
    /// Changes the queue, and wakes its writer if there is something to write.
    pub fn with<T>(&self, change: impl FnOnce(&mut Lines) -> T) -> T {
        let result = self.fill(change);
        self.wake();
        result
    }

    /// Changes the queue. Its writer hears of it at the next [`wake`](Self::wake): so a burst of lines wakes it once, and is
    /// written in one piece.
    pub fn fill<T>(&self, change: impl FnOnce(&mut Lines) -> T) -> T {
        change(&mut self.lock().lines)
    }

    /// Wakes the writer if it sleeps and there is something to write.
    pub fn wake(&self) {
        let mut state = self.lock();
        if state.idle && state.lines.is_ready() {
            // Once is enough: it takes out whatever is there when it has woken.
            state.idle = false;
            drop(state);
            self.changed.notify_one();
        }
    }

    /// So many changes of the state folder are safe: lines that told of them need not wait.
    pub fn saved(&self, changes: u64) {
        self.with(|lines| {
            lines.saved = lines.saved.max(changes);
            lines.released = false;
        });
    }

    /// The state folder can't be written: no line waits for it, until one day it is.
    pub fn release(&self) {
        self.with(|lines| lines.released = true);
    }

    /// No more lines will come.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Waits for lines and takes them out. `None` when there will be none; else whether they have waited for the state folder
    /// for too long.
    pub fn wait(&self, buffer: &mut Vec<u8>) -> Option<bool> {
        self.wait_with(buffer, MAX_HOLD)
    }

    fn wait_with(&self, buffer: &mut Vec<u8>, max_hold: Duration) -> Option<bool> {
        let mut state = self.lock();
        let mut too_long = false;
        loop {
            if state.lines.take(buffer) {
                return Some(too_long);
            }
            let held = state.lines.is_held();
            if state.closed && !held {
                return None;
            }
            state.idle = true;
            if held {
                let saved = state.lines.saved;
                let waits = |state: &mut State| state.lines.is_held() && state.lines.saved == saved;
                let waited = self.changed.wait_timeout_while(state, max_hold, waits);
                let (still, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                state = still;
                too_long |= timeout.timed_out();
                state.lines.released |= timeout.timed_out();
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.idle = false;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn event(n: usize) -> Arc<str> {
        format!("{{\"event\":\"message\",\"n\":{n}}}").into()
    }

    fn reply(n: usize) -> Arc<str> {
        format!("{{\"event\":\"reply\",\"n\":{n}}}").into()
    }

    fn read(lines: &mut Lines) -> Vec<Value> {
        let mut buffer = Vec::new();
        while lines.take(&mut buffer) {}
        String::from_utf8(buffer)
            .expect("UTF-8")
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    /// Every number is there once, in order, those of dropped lines being accounted for by the `lagged` behind them.
    fn check_numbers(lines: &[Value]) -> u64 {
        let mut next = 1;
        let mut dropped = 0;
        for line in lines {
            if line["event"] == "lagged" {
                next += line["dropped"].as_u64().expect("a count");
                dropped += line["dropped"].as_u64().expect("a count");
            }
            assert_eq!(line["seq"], next, "{line}");
            next += 1;
        }
        dropped
    }

    #[test]
    fn lines_are_numbered_in_order() {
        let mut lines = Lines::default();
        lines.push(EventKind::Message, event(1), 0);
        lines.push(EventKind::Reply, reply(2), 0);
        lines.push(EventKind::Message, event(3), 0);
        let read = read(&mut lines);
        assert_eq!(read.iter().map(|line| line["n"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(2), Some(3)]);
        assert_eq!(check_numbers(&read), 0);
    }

    #[test]
    fn the_oldest_events_go_and_replies_stay() {
        let mut lines = Lines::default();
        for n in 0..3 * MAX_QUEUE_LINES {
            if n % 100 == 50 {
                lines.push(EventKind::Reply, reply(n), 0)
            } else {
                lines.push(EventKind::Message, event(n), 0)
            }
            assert!(lines.held().0 <= MAX_QUEUE_LINES);
        }
        let read = read(&mut lines);
        let dropped = check_numbers(&read);
        assert_eq!(read.iter().filter(|line| line["event"] == "reply").count(), 3 * MAX_QUEUE_LINES / 100 + 1);
        let shown = read.iter().filter(|line| line["event"] != "lagged").count();
        assert_eq!(shown + dropped as usize, 3 * MAX_QUEUE_LINES);
        assert_eq!(read.last().expect("some")["n"], 3 * MAX_QUEUE_LINES - 1);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut lines = Lines::default();
        let large: Arc<str> = format!("{{\"event\":\"message\",\"x\":\"{}\"}}", "x".repeat(1 << 20)).into();
        for _ in 0..40 {
            lines.push(EventKind::Message, large.clone(), 0);
            assert!(lines.held().1 <= MAX_QUEUE_BYTES);
        }
        assert_eq!(check_numbers(&read(&mut lines)), 25);
    }

    #[test]
    fn replies_alone_stop_the_reading() {
        let mut lines = Lines::default();
        let mut n = 0;
        while lines.has_room() {
            lines.push(EventKind::Reply, reply(n), 0);
            n += 1;
        }
        assert_eq!(n, MAX_QUEUE_LINES - MAX_ASYNC);
        lines.push(EventKind::Message, event(0), 0);
        assert_eq!(check_numbers(&read(&mut lines)), 0);
        assert!(lines.has_room());
    }

    #[test]
    fn a_line_waits_for_the_state_folder_and_so_does_what_follows() {
        let mut lines = Lines::default();
        lines.push(EventKind::Message, event(1), 0);
        lines.push(EventKind::Message, event(2), 5);
        lines.push(EventKind::Reply, reply(3), 5);
        assert_eq!(read(&mut lines).len(), 1);
        assert!(!lines.is_ready());
        lines.saved = 4;
        assert_eq!(read(&mut lines).len(), 0);
        lines.saved = 5;
        assert!(lines.is_ready());
        assert_eq!(read(&mut lines).len(), 2);
        lines.push(EventKind::Message, event(4), 6);
        assert_eq!(read(&mut lines).len(), 0);
        lines.released = true;
        assert_eq!(read(&mut lines).len(), 1);
    }

    #[test]
    fn lines_that_wait_are_dropped_as_others_are() {
        let mut lines = Lines::default();
        for n in 0..MAX_QUEUE_LINES + 9 {
            lines.push(EventKind::Message, event(n), 1);
        }
        let mut buffer = Vec::new();
        while lines.take(&mut buffer) {}
        lines.saved = 1;
        while lines.take(&mut buffer) {}
        let all: Vec<Value> = String::from_utf8(buffer)
            .expect("UTF-8")
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(check_numbers(&all), 9);
        assert_eq!(all.len(), MAX_QUEUE_LINES + 1);
    }

    #[test]
    fn a_disk_that_does_not_answer_holds_nothing_for_ever() {
        let queue = Queue::default();
        queue.with(|lines| lines.push(EventKind::Message, event(1), 1));
        let mut buffer = Vec::new();
        assert_eq!(queue.wait_with(&mut buffer, Duration::from_millis(1)), Some(true));
        queue.with(|lines| lines.push(EventKind::Message, event(2), 2));
        assert_eq!(queue.wait(&mut buffer), Some(false), "nor a second time");
        queue.saved(1);
        queue.with(|lines| assert!(!lines.released));
        queue.with(|lines| lines.push(EventKind::Reply, reply(3), 2));
        queue.close();
        queue.release();
        assert_eq!(queue.wait(&mut buffer), Some(false));
        assert_eq!(queue.wait(&mut buffer), None);
    }
}
