//! Rooms: which is active, which are shown, and which have a key.
//!
//! A room has one key at a time, of one scheme. The key before still opens what it can, until both are cleared; so there can be
//! a key of each scheme.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::base::form::folded;
use crate::base::{Chance, JobId, OpenError};
use crate::wire::json::{on_one_line, within_limits};
use crate::wire::limits::{MAX_META, MAX_ROOMS};
use crate::wire::message::{Field, View};
use crate::wire::room_key::{Bound, Purpose, RoomKey, Scheme};
use crate::wire::signed::{self, SeqNo};

/// So few rooms are looked through one by one.
const FEW: usize = 8;

/// The rooms.
#[derive(Debug)]
pub struct Rooms {
    active: String,
    listened: BTreeSet<String>,
    listens_all: bool,
    /// The rooms that are shown, each by its name as people tell it from others.
    by_folded: BTreeMap<String, String>,
    keys: BTreeMap<String, Keys>,
    /// Keys that are being derived: for which room.
    jobs: BTreeMap<JobId, String>,
    /// For nonces.
    secrets: Chance,
}

/// A room's keys.
#[derive(Debug, Default)]
struct Keys {
    /// Seals and opens.
    current: Option<RoomKey>,
    /// Still opens.
    previous: Option<RoomKey>,
    /// Keys that are being derived: until they are there, nothing is sent to the room.
    deriving: u32,
}

/// The content of a message that was opened, or the reason why it can't be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// Its text.
    pub text: Option<Cow<'a, str>>,
    /// Its `meta`, as JSON on one line.
    pub meta: Option<String>,
    /// Whether it was encrypted.
    pub encrypted: bool,
    /// Why it can't be read.
    pub error: Option<OpenError>,
}

impl Keys {
    /// Every key that opens, the current one first; none without a current one.
    fn all(&self) -> impl Iterator<Item = &RoomKey> {
        self.current.iter().chain(self.previous.iter().filter(|_| self.current.is_some()))
    }
}

impl Rooms {
    /// An active room, others that are listened to (`*`: all), and the keys of some.
    pub fn new(active: &str, listened: &[String], keys: &[(String, RoomKey)], secrets: Chance) -> Self {
        let mut rooms = Self {
            active: active.to_owned(),
            listened: BTreeSet::new(),
            listens_all: false,
            by_folded: BTreeMap::new(),
            keys: BTreeMap::new(),
            jobs: BTreeMap::new(),
            secrets,
        };
        rooms.listen(listened.iter().cloned());
        for (room, key) in keys {
            rooms.keys.entry(room.clone()).or_default().current = Some(key.clone());
        }
        rooms
    }

    /// The active room.
    pub fn active(&self) -> &str {
        &self.active
    }

    /// Makes a room the active one. Gives the one before.
    pub fn activate(&mut self, room: String) -> String {
        let before = std::mem::replace(&mut self.active, room);
        self.fold();
        before
    }

    /// Listens to these rooms, beside the active one; `*`: to all.
    pub fn listen(&mut self, rooms: impl Iterator<Item = String>) {
        let (all, listened): (BTreeSet<String>, _) = rooms.partition(|room| room == "*");
        (self.listens_all, self.listened) = (!all.is_empty(), listened);
        self.fold();
    }

    fn fold(&mut self) {
        let shown = self.listened.iter().chain([&self.active]);
        self.by_folded = shown.map(|room| (folded(room), room.clone())).collect();
    }

    /// The shown room whose name people would take for that of this one, which is not shown.
    pub fn similar(&self, room: &str) -> Option<&str> {
        if self.is_shown(room) {
            return None;
        }
        let name = room.trim();
        let is_same = |it: &(&String, &String)| it.0.eq_ignore_ascii_case(name);
        // Each message of a room that is not shown comes here: nearly always the lengths tell.
        match name.is_ascii() && self.by_folded.len() <= FEW {
            true => self.by_folded.iter().find(is_same).map(|(_, room)| &**room),
            false => self.by_folded.get(&folded(room)).map(String::as_str),
        }
    }

    /// The rooms that are listened to, `*` for all.
    pub fn listened(&self) -> Vec<String> {
        self.listens_all.then(|| "*".to_owned()).into_iter().chain(self.listened.iter().cloned()).collect()
    }

    /// Whether a room is listened to.
    pub fn is_listened(&self, room: &str) -> bool {
        self.listens_all || self.listened.contains(room)
    }

    /// Whether messages of a room are shown.
    pub fn is_shown(&self, room: &str) -> bool {
        room == self.active || self.is_listened(room)
    }

    /// Whether a room is not forgotten for the sake of a new one: it was named by a command.
    pub fn is_pinned(&self, room: &str) -> bool {
        room == self.active || self.listened.contains(room) || self.keys.contains_key(room)
    }

    /// Every room that was named by a command.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        let others = self.listened.iter().chain(self.keys.keys()).map(String::as_str);
        std::iter::once(self.active.as_str()).chain(others)
    }

    /// The rooms that have a key, and its scheme.
    pub fn keyed(&self) -> impl Iterator<Item = (&str, Scheme)> {
        self.keys.iter().filter_map(|(room, keys)| Some((room.as_str(), keys.current.as_ref()?.scheme())))
    }

    /// The key that seals what goes into a room.
    pub fn key(&self, room: &str) -> Option<&RoomKey> {
        self.keys.get(room)?.current.as_ref()
    }

    /// Every key that opens what comes from a room, the current one first.
    pub fn keys(&self, room: &str) -> impl Iterator<Item = &RoomKey> {
        self.keys.get(room).into_iter().flat_map(Keys::all)
    }

    /// The scheme of a room that has a key.
    pub fn scheme(&self, room: &str) -> Option<Scheme> {
        self.key(room).map(RoomKey::scheme)
    }

    /// A room from the start whose key is weak.
    pub fn weak(&self) -> Option<&str> {
        let mut keys = self.keys.iter();
        keys.find(|(_, keys)| keys.current.as_ref().is_some_and(|key| !key.is_strong())).map(|(room, _)| room.as_str())
    }

    /// Whether a room's key is being derived.
    pub fn is_deriving(&self, room: &str) -> bool {
        self.keys.get(room).is_some_and(|keys| keys.deriving > 0)
    }

    /// Whether that derivation is still under way.
    pub fn is_under_way(&self, job: JobId) -> bool {
        self.jobs.contains_key(&job)
    }

    /// Whether there is no room for another room's key.
    pub fn is_full(&self, for_room: &str) -> bool {
        self.keys.len() >= MAX_ROOMS && !self.keys.contains_key(for_room)
    }

    /// Removes a room's keys. False: it had none.
    pub fn clear_key(&mut self, room: &str) -> bool {
        self.jobs.retain(|_, it| *it != *room);
        self.keys.remove(room).is_some()
    }

    /// Notes that a key is being derived for a room.
    pub fn derive(&mut self, job: JobId, room: &str) {
        self.keys.entry(room.to_owned()).or_default().deriving += 1;
        self.jobs.insert(job, room.to_owned());
    }

    /// Takes a key that was derived. Gives its room; `None`: it is wanted no more.
    pub fn on_derived(&mut self, job: JobId, key: RoomKey) -> Option<String> {
        let room = self.jobs.remove(&job)?;
        if let Some(keys) = self.keys.get_mut(&room) {
            keys.deriving = keys.deriving.saturating_sub(1);
            keys.previous = keys.current.replace(key);
        }
        Some(room)
    }

    /// Seals what goes into a room with its key; `None`: it has none.
    pub fn seal(&mut self, purpose: Purpose, author: &str, room: &str, seq: SeqNo, plain: &str) -> Option<String> {
        let key = self.keys.get(room)?.current.as_ref()?;
        Some(key.seal(plain.as_bytes(), &Bound { purpose, author, room, seq }, self.secrets.bytes()))
    }

    /// Opens a message.
    pub fn open<'a>(&self, view: &View<'a>, room: &str, author: &str) -> Opened<'a> {
        let sealed = |field: Field<'a>| field.is_some() && field.json() != Some("null");
        if !sealed(view.encrypted_msg) && !sealed(view.sealed_msg) {
            let meta = view.meta.object().ok().flatten().map(on_one_line);
            return Opened { text: view.msg.text().ok(), meta, encrypted: false, error: None };
        }
        let unread = |error| Opened { text: None, meta: None, encrypted: true, error: Some(error) };
        let Some(keys) = self.keys.get(room).filter(|keys| keys.current.is_some()) else {
            return unread(OpenError::NoKey);
        };
        let mut error = OpenError::OtherScheme;
        for key in keys.all() {
            let (text, meta) = match key.scheme() {
                Scheme::Original => (view.encrypted_msg, view.encrypted_meta),
                Scheme::Argon2id => (view.sealed_msg, view.sealed_meta),
            };
            if !sealed(text) {
                continue;
            }
            error = OpenError::WrongKey;
            // A text that is sealed with the strong scheme is bound to its number, which only a signed message has.
            let seq = match (key.scheme(), signed::seq_no(view)) {
                (Scheme::Argon2id, None) => continue,
                (_, seq) => seq.unwrap_or_default(),
            };
            let open = |field: Field<'_>, purpose| {
                let bound = Bound { purpose, author, room, seq };
                field.string().ok().and_then(|sealed| key.open(&sealed, &bound))
            };
            let Some(text) = open(text, Purpose::Text) else { continue };
            let meta = open(meta, Purpose::Meta).and_then(|meta| String::from_utf8(meta).ok());
            // Sealed by a member, and yet only an object within the limits is shown.
            let meta =
                meta.filter(|meta| meta.starts_with('{') && meta.len() <= MAX_META && within_limits(meta.as_bytes()));
            let meta = meta.map(|meta| on_one_line(&meta));
            let text = Some(String::from_utf8_lossy(&text).into_owned().into());
            return Opened { text, meta, encrypted: true, error: None };
        }
        unread(error)
    }
}

#[cfg(test)]
mod tests;
