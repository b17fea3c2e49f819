//! Invariants that must be true of every network, whatever happened in it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use super::{At, Crossing, Member, Net};
use crate::wire::identity::belongs_to_a_key;
use crate::wire::limits;

impl Member {
    /// Lines are forgotten, but for which messages were among them.
    pub(super) fn forget(&mut self, lines: &[Value]) {
        lines.iter().filter(|line| line["event"] == "message").for_each(|line| drop(self.shown.push(key_of(line))));
    }
}

impl Net {
    /// Holds what must be true of every network after every run: each message is shown at most once a node, as verified if it
    /// is of an author with a key and only then, never goes back to where it first came from, keeps its `ttl`, and every table
    /// is within its bound.
    ///
    /// # Errors
    /// A sentence that says what does not hold, and where.
    pub fn check(&self) -> Result<(), String> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        self.all().try_for_each(|at| self.check_shown(at))?;
        self.check_crossings()?;
        self.all().try_for_each(|at| self.check_bounds(at))
    }

    /// Notes what is wrong, if anything, before its record is forgotten.
    pub(super) fn note_wrong(&mut self, check: impl FnOnce(&Self) -> Result<(), String>) {
        if self.wrong.is_none() {
            self.wrong = check(self).err();
        }
    }

    /// Notes a line that a node has printed.
    pub(super) fn note_line(&mut self, at: At, line: Value) {
        if self.nodes[at.0].lines.is_full() {
            self.note_wrong(|net| net.check_shown(at));
        }
        let member = &mut self.nodes[at.0];
        let forgotten = member.lines.push(line);
        member.forget(&forgotten);
    }

    /// Notes a message that crosses a link.
    pub(super) fn note_crossing(&mut self, crossing: Crossing) {
        if self.crossings.is_full() {
            self.note_wrong(Self::check_crossings);
            self.checked = self.crossings.len();
        }
        let forgotten = self.crossings.push(crossing).len();
        self.checked = self.checked.saturating_sub(forgotten);
    }

    /// Each message is shown at most once, as verified if it is of an author with a key and only then.
    fn check_shown(&self, at: At) -> Result<(), String> {
        let mut keys: BTreeSet<u64> = self.nodes[at.0].shown.iter().copied().collect();
        for message in self.events(at, "message") {
            let verified = message["verified"] == true;
            if !keys.insert(key_of(message)) {
                return Err(format!("{at:?} showed {} twice", message["id"]));
            }
            if belongs_to_a_key(message["from"].as_str().unwrap_or_default()) != verified {
                return Err(format!("{at:?} showed {} as verified: {verified}", message["id"]));
            }
            if message["from"] == *self.at(at).id() {
                return Err(format!("{at:?} showed its own {}", message["id"]));
            }
        }
        Ok(())
    }

    /// A message leaves its author with all its forwards; anybody else passes on a copy that came from another than
    /// whom it goes to, with one forward less. No link sees it more often than late copies allow.
    fn check_crossings(&self) -> Result<(), String> {
        let mut came: BTreeSet<(At, &str, u8, At)> = BTreeSet::new();
        let mut sorted: Vec<(usize, &Crossing)> = self.crossings.iter().enumerate().collect();
        sorted.sort_by_key(|(_, it)| it.at);
        for (_, it) in &sorted {
            came.insert((it.to, &it.id, it.ttl, it.from));
        }
        let mut counts: BTreeMap<(At, At, &str), usize> = BTreeMap::new();
        for (place, it) in &sorted {
            *counts.entry((it.from, it.to, &it.id)).or_default() += 1;
            let own = self.at(it.from).id() == it.author && it.ttl == limits::MAX_TTL;
            let copies = came
                .range((it.from, it.id.as_str(), it.ttl + 1, At(0))..=(it.from, &it.id, it.ttl + 1, At(usize::MAX)));
            let from_another = copies.into_iter().any(|(.., from)| *from != it.to);
            if *place >= self.checked && !own && !from_another {
                return Err(format!("{it:?} is no copy of what came from elsewhere, one forward less"));
            }
        }
        match counts.iter().find(|(_, n)| **n > usize::from(limits::TTL_NEAR_END)) {
            Some((way, n)) => Err(format!("{way:?} was used {n} times")),
            None => Ok(()),
        }
    }

    fn check_bounds(&self, at: At) -> Result<(), String> {
        let held = self.at(at).held();
        let bounds = [
            ("seen ids", held.seen_ids, limits::MAX_SEEN),
            ("authors", held.authors, limits::MAX_AUTHORS),
            ("author intervals", held.author_intervals, limits::MAX_ALL_INTERVALS),
            ("history bytes", held.history_bytes, limits::MAX_HISTORY_BYTES),
            ("rooms", held.rooms, limits::MAX_ROOMS),
            ("traces", held.traces, limits::MAX_TRACES),
            ("events", held.wait_events, crate::clients::MAX_LOG_EVENTS),
            ("blocks", held.blocks, limits::MAX_BLOCKS),
            ("offenders", held.offenders, limits::MAX_OFFENDERS),
            ("dial targets", held.dial_targets, limits::MAX_TARGETS),
            ("frames", held.frames, limits::MAX_QUEUE_FRAMES * 96),
        ];
        match bounds.iter().find(|(_, held, bound)| held > bound) {
            Some((what, held, bound)) => Err(format!("{at:?} holds {held} {what}, at most {bound} may be")),
            None => Ok(()),
        }
    }
}

/// The key of a message that is shown: its id, and if its author is proved, the author too.
fn key_of(message: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    let author = if message["verified"] == true { message["from"].as_str() } else { None };
    (message["id"].as_str(), author).hash(&mut hasher);
    hasher.finish()
}
