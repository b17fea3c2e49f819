//! Messages that are kept: by room and position, and signed ones by author, epoch and number.
//!
//! - [`rooms`]: the messages, a list a room, bounded in messages a room, in bytes and in rooms
//! - [`index`]: which numbers of an author are kept
//! - [`page`]: a question and its answer, part of which may have to be loaded
//!
//! A message is kept as the frame that it came in, and read again when asked for. So keeping one costs a relay no more
//! than a copy, and what can be decrypted depends on the keys of the moment of asking. What a message is found by, its [`Label`], is given
//! with it; only the author of one that nobody has signed is read from its frame, when it is asked for.
//!
//! Messages in memory answer a query at once. Those that a room has on disk as well, if any (see [`History::set_on_disk`]),
//! are older, and have to be loaded.

use std::ops::RangeInclusive;

use crate::wire::keyed_hash::KeyedHash;
use crate::wire::message::View;
use crate::wire::signed::SeqNo;

mod index;
mod page;
mod rooms;
#[cfg(test)]
mod tests;

use index::Index;
pub use page::{Answer, From, Load, Missing, Page, Query, Wanted};
use rooms::{Entry, Room, Rooms};
pub use rooms::{Gone, Kept, Range};

/// The keys that a message is found by.
#[derive(Debug, Clone, Copy)]
pub struct Label<'a> {
    /// Its author.
    pub author: &'a str,
    /// Its id, which others may use, too.
    pub id: &'a str,
    /// The author's number of it, if it is signed and its signature right.
    pub seq: Option<SeqNo>,
}

/// All that is kept.
#[derive(Debug)]
pub struct History {
    hashes: KeyedHash,
    rooms: Rooms,
    index: Index,
}

impl History {
    /// Nothing kept yet. `key` is random, and secret: ids and authors are known by their hash.
    pub fn new(max_bytes: usize, key: [u8; 16]) -> Self {
        Self { hashes: KeyedHash::new(key), rooms: Rooms::new(max_bytes), index: Index::default() }
    }

    /// Keeps a message, and drops what no longer fits. `pinned` tells the rooms that must not be forgotten for the sake
    /// of a new one. Gives the message's position; none if there was no room for another room.
    pub fn keep(&mut self, room: &str, message: Kept, label: Label<'_>, pinned: impl Fn(&str) -> bool) -> Option<u64> {
        // Numbers begin with 1.
        let seq = label.seq.filter(|seq| seq.n > 0);
        // Of one that nobody has signed, the author is read from its frame when somebody asks: that is rare, and the hash costs.
        let author = seq.map_or(0, |_| self.hashes.of(label.author));
        let entry = Entry::new(message, author, self.hashes.of(label.id), seq);
        let index = &mut self.index;
        let spot = self.rooms.keep(room, entry, pinned, |dropped| index.remove(&dropped))?;
        if let Some(seq) = seq {
            self.index.add(author, seq, spot);
        }
        Some(spot.pos)
    }

    /// A page of a room. One that is not known is empty.
    ///
    /// # Errors
    /// The messages after the position are no longer kept, or there is no message of that id.
    pub fn query(&self, query: Query) -> Result<Answer<'_>, Missing> {
        let room = self.rooms.get(&query.room);
        match &query.from {
            From::Range(Range::After(pos)) => {
                let pos = *pos;
                self.forwards(query, pos, Vec::new())
            }
            From::Range(Range::Before(_) | Range::Newest) => Ok(self.backwards(query)),
            From::AfterId { id, author } => match room.and_then(|room| self.find_in(room, id, author.as_deref())) {
                Some(pos) => self.forwards(query, pos, Vec::new()),
                None if room.is_some_and(|room| room.below_memory().is_some()) => {
                    let wanted = Wanted::OfId { id: id.clone(), author: author.clone() };
                    Ok(Answer::NeedsLoad(Load { query, loaded: Vec::new(), wanted }))
                }
                None => Err(Missing::UnknownId),
            },
        }
    }

    /// Goes on with a query, once the messages that it needed have been loaded.
    ///
    /// # Errors
    /// As [`query`](Self::query); what follows may have been dropped in the meantime.
    pub fn loaded(&self, load: Load, rows: Vec<Kept>) -> Result<Answer<'_>, Missing> {
        let Load { query, mut loaded, wanted } = load;
        match wanted {
            Wanted::OfId { .. } => {
                let pos = rows.last().ok_or(Missing::UnknownId)?.pos;
                self.forwards(query, pos, loaded)
            }
            Wanted::Oldest { before, limit, .. } => {
                // Fewer than could be are all that there are.
                let last = rows.last().filter(|_| rows.len() >= limit);
                let to = last.map_or(before.saturating_sub(1), |it| it.pos);
                loaded.extend(rows);
                self.forwards(query, to, loaded)
            }
            Wanted::Newest { limit, .. } => {
                let oldest = self.rooms.get(&query.room).and_then(|room| room.oldest());
                let first = rows.first().filter(|_| rows.len() >= limit).map(|it| it.pos);
                let more = first.zip(oldest).is_some_and(|(first, oldest)| oldest < first);
                let loaded = rows.into_iter().chain(loaded).collect();
                Ok(Answer::Ready(Page { forwards: false, loaded, kept: Vec::new(), more }))
            }
        }
    }

    /// The messages after a position, without those that have been loaded.
    fn forwards(&self, query: Query, pos: u64, loaded: Vec<Kept>) -> Result<Answer<'_>, Missing> {
        let Some(room) = self.rooms.get(&query.room) else {
            return Ok(Answer::Ready(Page { forwards: true, loaded, kept: Vec::new(), more: false }));
        };
        if room.has_lost(pos) {
            return Err(Missing::Gone(Gone { oldest: room.oldest() }));
        }
        let limit = query.limit.saturating_sub(loaded.len());
        let on_disk = room.below_memory().filter(|(_, to)| pos < *to);
        if let Some((_, to)) = on_disk.filter(|_| limit > 0) {
            let wanted = Wanted::Oldest { after: pos, before: to + 1, limit };
            return Ok(Answer::NeedsLoad(Load { query, loaded, wanted }));
        }
        let (kept, more) = room.after(pos, limit);
        Ok(Answer::Ready(Page { forwards: true, loaded, kept, more: more || on_disk.is_some() }))
    }

    /// The messages before a position, or the newest.
    fn backwards(&self, query: Query) -> Answer<'_> {
        let pos = if let From::Range(Range::Before(pos)) = query.from { pos } else { u64::MAX };
        let Some(room) = self.rooms.get(&query.room) else {
            return Answer::Ready(Page { forwards: false, loaded: Vec::new(), kept: Vec::new(), more: false });
        };
        let (kept, more) = room.before(pos, query.limit);
        let on_disk = room.below_memory().filter(|(from, _)| *from < pos);
        let limit = query.limit - kept.len();
        match on_disk {
            Some((_, to)) if limit > 0 => {
                let wanted = Wanted::Newest { before: pos.min(to + 1), limit };
                // As it is now: what comes or goes until the rest is loaded makes no gap.
                let loaded = kept.into_iter().cloned().collect();
                Answer::NeedsLoad(Load { query, loaded, wanted })
            }
            _ => Answer::Ready(Page { forwards: false, loaded: Vec::new(), kept, more: more || on_disk.is_some() }),
        }
    }

    fn find_in(&self, room: &Room, id: &str, author: Option<&str>) -> Option<u64> {
        let hash = author.map(|author| self.hashes.of(author));
        let says = |kept: &Kept| View::parse(&kept.frame).is_ok_and(|view| view.from.name().as_deref().ok() == author);
        room.find(self.hashes.of(id), |entry| match entry.seq() {
            _ if author.is_none() => true,
            Some(_) => Some(entry.author) == hash,
            None => says(&entry.kept),
        })
    }

    /// The numbers of an author's messages of an epoch that are in memory, the lowest first.
    pub fn numbers(&self, author: &str, epoch: u64) -> impl DoubleEndedIterator<Item = u64> {
        self.index.numbers(self.hashes.of(author), epoch)
    }

    /// An author's message of that number, if it is in memory.
    pub fn by_number(&self, author: &str, seq: SeqNo) -> Option<&Kept> {
        let spot = self.index.get(self.hashes.of(author), seq)?;
        self.rooms.at(spot).map(|it| &it.kept)
    }

    /// An author's signed message of that id, if it is in memory: the one with the highest number, if there are several. It takes a look at
    /// each message of the author.
    pub fn by_author_and_id(&self, author: &str, id: &str) -> Option<&Kept> {
        let id = self.hashes.of(id);
        let all = self.index.all(self.hashes.of(author)).filter_map(|spot| self.rooms.at(spot));
        all.filter(|it| it.id == id).map(|it| &it.kept).next()
    }

    /// The store has messages of a room with positions from the one to the other, both of which exist. Those that are not in memory
    /// are loaded when they are asked for.
    pub fn set_on_disk(&mut self, room: &str, positions: RangeInclusive<u64>, pinned: impl Fn(&str) -> bool) {
        let index = &mut self.index;
        self.rooms.set_on_disk(room, positions, pinned, |dropped| index.remove(&dropped));
    }

    /// Each room's name, number of messages in memory and newest position.
    pub fn rooms(&self) -> impl Iterator<Item = (&str, usize, Option<u64>)> {
        self.rooms.list()
    }

    /// Rooms, messages and their bytes.
    pub fn held(&self) -> (usize, usize, usize) {
        self.rooms.held()
    }
}
