//! Messages by room and position: a list a room, bounded in messages a room, in bytes and in rooms.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::rc::Rc;

use crate::base::NodeId;
use crate::wire::limits::{MAX_HISTORY_PER_ROOM, MAX_ROOMS};
use crate::wire::signed::SeqNo;

/// A message that is kept.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its position among all messages kept here, from 1, whatever the room.
    pub pos: u64,
    /// When it came, in milliseconds since 1970.
    pub received_at: u64,
    /// Links that it crossed.
    pub hops: u32,
    /// The neighbour it came from; none for one's own.
    pub via: Option<NodeId>,
    /// Whether its author's signature was found to be right.
    pub verified: bool,
    /// The frame, without its length.
    pub frame: Box<[u8]>,
}

impl Kept {
    /// The order in which messages of one id are meant by it: our own before others, then one whose signature was right, then the
    /// oldest.
    pub const fn rank(&self) -> (bool, bool, u64) {
        (self.via.is_some(), !self.verified, self.pos)
    }
}

/// A message and how it is found.
#[derive(Debug)]
pub struct Entry {
    pub kept: Kept,
    /// The hash of its author, if it is signed; else 0.
    pub author: u64,
    /// The hash of its id.
    pub id: u64,
    /// Numbers begin with 1; 0: it has none.
    seq: SeqNo,
}

impl Entry {
    pub fn new(kept: Kept, author: u64, id: u64, seq: Option<SeqNo>) -> Self {
        Self { kept, author, id, seq: seq.unwrap_or_default() }
    }

    /// The author's number of it, if it is signed.
    pub fn seq(&self) -> Option<SeqNo> {
        (self.seq.n > 0).then_some(self.seq)
    }

    /// The bytes that it is counted with, so that a million tiny ones count too.
    fn bytes(&self) -> usize {
        self.kept.frame.len() + OVERHEAD
    }
}

/// The bytes that a message is counted with beside its frame, the same in all versions, so that what a bound holds does not
/// change. The memory it really takes is some 130 bytes, and 70 more for a signed one, most of which go to the index: a fixed
/// number of bytes a message, of which there are [`MAX_HISTORY_PER_ROOM`] a room.
pub const OVERHEAD: usize = 96;

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// The room's place among all rooms.
    room: u32,
    pub pos: u64,
}

/// All rooms' messages.
#[derive(Debug)]
pub struct Rooms {
    /// The rooms, each in a place of its own as long as it is known.
    rooms: Vec<Option<Room>>,
    by_name: BTreeMap<Rc<str>, usize>,
    /// Each room that keeps something, by the position of its oldest message: the first is the oldest of all.
    oldest: BTreeMap<u64, usize>,
    last_pos: u64,
    messages: usize,
    bytes: usize,
    max_bytes: usize,
}

/// One room's messages.
#[derive(Debug, Default)]
pub struct Room {
    entries: VecDeque<Entry>,
    /// The newest position that has been dropped and can't be loaded, so that a query for it can be told so.
    gone_to: u64,
    /// The positions that can be loaded.
    on_disk: Option<(u64, u64)>,
}

/// A part of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// The newest.
    Newest,
    /// Those after a position, oldest first.
    After(u64),
    /// Those before a position, newest first.
    Before(u64),
}

/// Messages after a position are no longer kept; the oldest that is kept has this position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone {
    /// The oldest position that is kept in the room; none if the room is empty.
    pub oldest: Option<u64>,
}

impl Rooms {
    pub fn new(max_bytes: usize) -> Self {
        let (rooms, by_name, oldest) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { rooms, by_name, oldest, last_pos: 0, messages: 0, bytes: 0, max_bytes }
    }

    /// Keeps a message, and drops what no longer fits, one by one into `dropped`. Gives its spot; none if there was no room for
    /// another room.
    pub fn keep(
        &mut self,
        room: &str,
        mut entry: Entry,
        pinned: impl Fn(&str) -> bool,
        mut dropped: impl FnMut(Entry),
    ) -> Option<Spot> {
        let at = self.make_room(room, pinned, &mut dropped)?;
        if self.room(at)?.entries.len() >= MAX_HISTORY_PER_ROOM {
            self.drop_oldest_of(at, &mut dropped);
        }
        self.last_pos += 1;
        let pos = self.last_pos;
        entry.kept.pos = pos;
        self.bytes += entry.bytes();
        self.messages += 1;
        let room = self.rooms.get_mut(at)?.as_mut()?;
        if room.entries.is_empty() {
            self.oldest.insert(pos, at);
        }
        room.entries.push_back(entry);
        while self.bytes > self.max_bytes && self.messages > 1 {
            let Some(at) = self.oldest.first_key_value().map(|(_, at)| *at) else { break };
            self.drop_oldest_of(at, &mut dropped);
        }
        Some(Spot { room: u32::try_from(at).ok()?, pos })
    }

    fn room(&self, at: usize) -> Option<&Room> {
        self.rooms.get(at)?.as_ref()
    }

    /// A room's place. None if there are too many rooms, all of them pinned.
    fn make_room(
        &mut self,
        room: &str,
        pinned: impl Fn(&str) -> bool,
        dropped: &mut impl FnMut(Entry),
    ) -> Option<usize> {
        if let Some(at) = self.by_name.get(room) {
            return Some(*at);
        }
        let at = if self.by_name.len() < MAX_ROOMS {
            self.rooms.push(None);
            self.rooms.len() - 1
        } else {
            let idle = self.by_name.iter().filter(|(name, _)| !pinned(name));
            let (name, at) = idle.min_by_key(|(_, at)| self.room(**at).map(Room::last_pos))?;
            let (name, at) = (name.clone(), *at);
            self.by_name.remove(&name);
            if let Some(room) = self.rooms.get_mut(at).and_then(Option::take) {
                self.oldest.remove(&room.first_pos().unwrap_or_default());
                self.messages -= room.entries.len();
                self.bytes -= room.entries.iter().map(Entry::bytes).sum::<usize>();
                room.entries.into_iter().for_each(dropped);
            }
            at
        };
        *self.rooms.get_mut(at)? = Some(Room::default());
        self.by_name.insert(room.into(), at);
        Some(at)
    }

    fn drop_oldest_of(&mut self, at: usize, dropped: &mut impl FnMut(Entry)) {
        let Some(room) = self.rooms.get_mut(at).and_then(Option::as_mut) else { return };
        let Some(entry) = room.entries.pop_front() else { return };
        let pos = entry.kept.pos;
        if room.on_disk.is_none_or(|(_, to)| pos > to) {
            room.gone_to = pos;
        }
        self.oldest.remove(&pos);
        if let Some(pos) = room.first_pos() {
            self.oldest.insert(pos, at);
        }
        self.bytes -= entry.bytes();
        self.messages -= 1;
        dropped(entry);
    }

    /// A room, if it is known.
    pub fn get(&self, room: &str) -> Option<&Room> {
        self.room(*self.by_name.get(room)?)
    }

    /// The message at a spot.
    pub fn at(&self, spot: Spot) -> Option<&Entry> {
        let room = self.room(spot.room as usize)?;
        let at = room.entries.binary_search_by_key(&spot.pos, |it| it.kept.pos).ok()?;
        room.entries.get(at)
    }

    /// The store has messages of a room with positions from the one to the other, both of which exist. They can be loaded.
    pub fn set_on_disk(
        &mut self,
        room: &str,
        positions: RangeInclusive<u64>,
        pinned: impl Fn(&str) -> bool,
        mut dropped: impl FnMut(Entry),
    ) {
        let Some(at) = self.make_room(room, pinned, &mut dropped) else { return };
        self.last_pos = self.last_pos.max(*positions.end());
        if let Some(room) = self.rooms.get_mut(at).and_then(Option::as_mut) {
            room.on_disk = Some(positions.into_inner());
        }
    }

    /// Each room's name, number of messages and newest position.
    pub fn list(&self) -> impl Iterator<Item = (&str, usize, Option<u64>)> {
        let rooms = self.by_name.iter().filter_map(|(name, at)| Some((name, self.room(*at)?)));
        rooms.map(|(name, room)| (&**name, room.entries.len(), room.newest()))
    }

    /// Rooms, messages and their bytes.
    pub fn held(&self) -> (usize, usize, usize) {
        (self.by_name.len(), self.messages, self.bytes)
    }

    #[cfg(test)]
    pub fn rooms_with_an_oldest(&self) -> usize {
        self.oldest.len()
    }
}

impl Room {
    /// The newest messages before a position, at most so many, oldest first; and whether there are more before them in memory.
    pub fn before(&self, pos: u64, limit: usize) -> (Vec<&Kept>, bool) {
        let to = self.entries.partition_point(|it| it.kept.pos < pos);
        let from = to.saturating_sub(limit);
        (self.entries.range(from..to).map(|it| &it.kept).collect(), from > 0)
    }

    /// The oldest messages after a position, at most so many; and whether there are more after them.
    pub fn after(&self, pos: u64, limit: usize) -> (Vec<&Kept>, bool) {
        let from = self.entries.partition_point(|it| it.kept.pos <= pos);
        let to = self.entries.len().min(from.saturating_add(limit));
        (self.entries.range(from..to).map(|it| &it.kept).collect(), to < self.entries.len())
    }

    /// The position of the first message of an id, by its hash and by [`Kept::rank`], among those that are meant.
    pub fn find(&self, id: u64, is_meant: impl Fn(&Entry) -> bool) -> Option<u64> {
        let all = self.entries.iter().filter(|it| it.id == id && is_meant(it));
        all.min_by_key(|it| it.kept.rank()).map(|it| it.kept.pos)
    }

    /// Whether what follows a position can neither be loaded nor is in memory.
    pub fn has_lost(&self, pos: u64) -> bool {
        pos < self.gone_to
    }

    /// The positions that are on disk and not in memory: the first and the last, all of them older than what is in memory.
    pub fn below_memory(&self) -> Option<(u64, u64)> {
        let (from, to) = self.on_disk?;
        let to = self.first_pos().map_or(to, |first| to.min(first.saturating_sub(1)));
        (from <= to).then_some((from, to))
    }

    /// The oldest position that can be asked for.
    pub fn oldest(&self) -> Option<u64> {
        self.below_memory().map(|(from, _)| from).or(self.first_pos())
    }

    /// The oldest position in memory.
    fn first_pos(&self) -> Option<u64> {
        self.entries.front().map(|it| it.kept.pos)
    }

    /// The newest position that can be asked for.
    fn newest(&self) -> Option<u64> {
        self.entries.back().map(|it| it.kept.pos).or(self.on_disk.map(|(_, to)| to))
    }

    fn last_pos(&self) -> u64 {
        self.newest().unwrap_or(self.gone_to)
    }
}
