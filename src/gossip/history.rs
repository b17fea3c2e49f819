//! Messages that are kept: a list a room, bounded in messages a room, in bytes and in rooms.
//!
//! A message is kept as the frame that it came in, and read again when asked for. So keeping one costs a relay no more
//! than a copy, and what can be decrypted depends on the keys of the moment of asking.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use crate::wire::limits::{MAX_HISTORY_PER_ROOM, MAX_ROOMS};

/// A message that is kept.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its place among all messages kept here, from 1, whatever the room.
    pub pos: u64,
    /// When it came, in milliseconds since 1970.
    pub received_at: u64,
    /// Links that it crossed.
    pub hops: u32,
    /// The neighbour it came from; none for one's own.
    pub via: Option<Rc<str>>,
    /// Whether its author's signature was found to be right.
    pub verified: bool,
    /// The frame, without its length.
    pub frame: Box<[u8]>,
}

/// What a message costs beside its frame, in bytes: an estimate, so that a million tiny ones count too.
const OVERHEAD: usize = 96;

/// All rooms' messages.
#[derive(Debug)]
pub struct History {
    rooms: BTreeMap<Rc<str>, Room>,
    /// Each room that keeps something, by the place of its oldest message: the first is the oldest of all.
    oldest: BTreeMap<u64, Rc<str>>,
    last_pos: u64,
    messages: usize,
    bytes: usize,
    max_bytes: usize,
}

/// One room's messages.
#[derive(Debug, Default)]
struct Room {
    kept: VecDeque<Kept>,
    /// The newest place that has been dropped from here, to tell who asks for it.
    gone_to: u64,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// The newest.
    Newest,
    /// Those after a place, oldest first.
    After(u64),
    /// Those before a place, newest first.
    Before(u64),
}

/// What follows a place is no longer kept; the oldest that is has this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone {
    /// The oldest place that is kept in the room; none if the room is empty.
    pub oldest: Option<u64>,
}

impl History {
    /// Nothing kept yet.
    pub fn new(max_bytes: usize) -> Self {
        Self { rooms: BTreeMap::new(), oldest: BTreeMap::new(), last_pos: 0, messages: 0, bytes: 0, max_bytes }
    }

    /// Keeps a message, and drops what no longer fits. `pinned` tells the rooms that must not be forgotten for the sake
    /// of a new one. Gives the message's place; none if there was no room for another room.
    pub fn keep(&mut self, room: &str, mut message: Kept, pinned: impl Fn(&str) -> bool) -> Option<u64> {
        if !self.make_room(room, pinned) {
            return None;
        }
        let (name, kept) = self.rooms.get_key_value(room).map(|(name, room)| (name.clone(), room.kept.len()))?;
        if kept >= MAX_HISTORY_PER_ROOM {
            self.drop_oldest_of(&name);
        }
        self.last_pos += 1;
        message.pos = self.last_pos;
        self.bytes += message.frame.len() + OVERHEAD;
        self.messages += 1;
        let room = self.rooms.get_mut(&name)?;
        if room.kept.is_empty() {
            self.oldest.insert(message.pos, name);
        }
        room.kept.push_back(message);
        while self.bytes > self.max_bytes && self.messages > 1 {
            let Some(name) = self.oldest.first_key_value().map(|(_, name)| name.clone()) else { break };
            self.drop_oldest_of(&name);
        }
        Some(self.last_pos)
    }

    /// Makes sure of a room's entry; false if there are too many rooms, all of them pinned.
    fn make_room(&mut self, room: &str, pinned: impl Fn(&str) -> bool) -> bool {
        if self.rooms.contains_key(room) {
            return true;
        }
        if self.rooms.len() >= MAX_ROOMS {
            let idle = self.rooms.iter().filter(|(name, _)| !pinned(name));
            let Some(name) = idle.min_by_key(|(_, room)| room.last_pos()).map(|(name, _)| name.clone()) else {
                return false;
            };
            if let Some(room) = self.rooms.remove(&name) {
                self.oldest.remove(&room.first_pos().unwrap_or_default());
                self.messages -= room.kept.len();
                self.bytes -= room.kept.iter().map(|it| it.frame.len() + OVERHEAD).sum::<usize>();
            }
        }
        self.rooms.insert(room.into(), Room::default());
        true
    }

    fn drop_oldest_of(&mut self, name: &Rc<str>) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        let Some(kept) = room.kept.pop_front() else { return };
        room.gone_to = kept.pos;
        self.oldest.remove(&kept.pos);
        if let Some(pos) = room.first_pos() {
            self.oldest.insert(pos, name.clone());
        }
        self.bytes -= kept.frame.len() + OVERHEAD;
        self.messages -= 1;
    }

    /// Messages of a room, oldest first, and whether there are more in that direction.
    pub fn list(&self, room: &str, range: Range, limit: usize) -> Result<(Vec<&Kept>, bool), Gone> {
        let Some(room) = self.rooms.get(room) else { return Ok((Vec::new(), false)) };
        let (from, to) = match range {
            Range::Newest => (room.kept.len().saturating_sub(limit), room.kept.len()),
            Range::Before(pos) => {
                let to = room.kept.partition_point(|it| it.pos < pos);
                (to.saturating_sub(limit), to)
            }
            Range::After(pos) => {
                if pos < room.gone_to {
                    return Err(Gone { oldest: room.first_pos() });
                }
                let from = room.kept.partition_point(|it| it.pos <= pos);
                (from, room.kept.len().min(from + limit))
            }
        };
        let more = if matches!(range, Range::After(_)) { to < room.kept.len() } else { from > 0 };
        Ok((room.kept.range(from..to).collect(), more))
    }

    /// The place of the message of that id in a room.
    pub fn find(&self, room: &str, is: impl Fn(&Kept) -> bool) -> Option<u64> {
        self.rooms.get(room)?.kept.iter().rev().find(|it| is(it)).map(|it| it.pos)
    }

    /// Each room's name, number of messages and newest place.
    pub fn rooms(&self) -> impl Iterator<Item = (&str, usize, Option<u64>)> {
        self.rooms.iter().map(|(name, room)| (&**name, room.kept.len(), room.kept.back().map(|it| it.pos)))
    }

    /// Rooms, messages and their bytes.
    pub fn held(&self) -> (usize, usize, usize) {
        (self.rooms.len(), self.messages, self.bytes)
    }
}

impl Room {
    fn first_pos(&self) -> Option<u64> {
        self.kept.front().map(|it| it.pos)
    }

    fn last_pos(&self) -> u64 {
        self.kept.back().map_or(self.gone_to, |it| it.pos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Kept {
        Kept { pos: 0, received_at: 0, hops: 1, via: None, verified: false, frame: vec![b'x'; bytes].into() }
    }

    fn places(history: &History, room: &str, range: Range, limit: usize) -> Vec<u64> {
        history.list(room, range, limit).expect("kept").0.iter().map(|it| it.pos).collect()
    }

    #[test]
    fn a_room_keeps_its_newest_thousand() {
        let mut history = History::new(1 << 20);
        for _ in 0..MAX_HISTORY_PER_ROOM + 5 {
            history.keep("a", message(10), |_| false);
        }
        assert_eq!(history.held().1, MAX_HISTORY_PER_ROOM);
        assert_eq!(history.list("a", Range::After(2), 9).err(), Some(Gone { oldest: Some(6) }));
        assert_eq!(places(&history, "a", Range::After(5), 2), [6, 7]);
        assert_eq!(places(&history, "a", Range::Newest, 2), [1004, 1005]);
        assert_eq!(places(&history, "a", Range::Before(8), 9), [6, 7]);
    }

    #[test]
    fn pages_fit_together_in_both_directions() {
        let mut history = History::new(1 << 20);
        for n in 0..50 {
            history.keep(if n % 3 == 0 { "a" } else { "b" }, message(10), |_| false);
        }
        let all = places(&history, "b", Range::After(0), 1000);
        let (mut forth, mut at) = (Vec::new(), 0);
        loop {
            let (page, more) = history.list("b", Range::After(at), 7).expect("kept");
            forth.extend(page.iter().map(|it| it.pos));
            at = *forth.last().expect("some");
            if !more {
                break;
            }
        }
        assert_eq!(forth, all);
        let (mut back, mut at) = (Vec::new(), u64::MAX);
        loop {
            let (page, more) = history.list("b", Range::Before(at), 7).expect("kept");
            back.extend(page.iter().rev().map(|it| it.pos));
            at = *back.last().expect("some");
            if !more {
                break;
            }
        }
        back.reverse();
        assert_eq!(back, all);
    }

    #[test]
    fn bytes_are_bounded_over_all_rooms_oldest_out_first() {
        let mut history = History::new(100 * (50 + OVERHEAD));
        for n in 0..100_000_u32 {
            history.keep(&format!("r{}", n % 7), message(50), |_| false);
            let (_, messages, bytes) = history.held();
            assert!(messages <= 100 && bytes <= 100 * (50 + OVERHEAD));
            assert!(history.oldest.len() <= 7);
        }
        let (all, _) = history.list("r3", Range::Newest, 1000).expect("kept");
        assert!(all.iter().all(|it| it.pos > 100_000 - 101), "the newest are kept");
    }

    #[test]
    fn rooms_are_bounded_and_pinned_ones_stay() {
        let mut history = History::new(1 << 20);
        history.keep("mine", message(10), |_| true);
        for n in 0..5 * MAX_ROOMS {
            assert!(history.keep(&format!("r{n}"), message(10), |room| room == "mine").is_some());
            assert!(history.held().0 <= MAX_ROOMS);
        }
        assert_eq!(places(&history, "mine", Range::Newest, 9), [1]);
        assert_eq!(history.keep("another", message(1), |_| true), None);
    }
}
