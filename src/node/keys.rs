//! Rooms with a key: setting one, sealing what goes out, opening what came.
//!
//! A room has one scheme at a time, that of its current key. The key before still opens what it can, until both are cleared; so
//! there can be a key of each scheme.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{JobId, Node, Now, Outbox, Output};
use crate::api::arguments::{KeyArgs, Scheme};
use crate::api::error::ApiError;
use crate::api::event::{OpenError, WarningCode};
use crate::api::{ErrorCode, result};
use crate::wire::json::within_limits;
use crate::wire::limits::{MAX_META, MAX_ROOMS};
use crate::wire::message::{Field, View};
use crate::wire::room_key::{Bound, Purpose, RoomKey};
use crate::wire::signed;

/// A room's keys.
#[derive(Debug, Default)]
pub struct Keys {
    /// Seals and opens.
    pub current: Option<RoomKey>,
    /// Still opens.
    pub previous: Option<RoomKey>,
    /// Keys that are being derived: until they are there, nothing is sent to the room.
    pub deriving: u32,
}

/// What opening a message has brought.
pub struct Opened<'a> {
    pub text: Option<Cow<'a, str>>,
    pub meta: Option<String>,
    pub encrypted: bool,
    pub error: Option<OpenError>,
}

impl Keys {
    /// Every key that opens, the current one first; none without a current one.
    pub fn all(&self) -> impl Iterator<Item = &RoomKey> {
        self.current.iter().chain(self.previous.iter().filter(|_| self.current.is_some()))
    }
}

impl Node {
    /// The keys that rooms have from the start.
    pub(super) fn keys_from_start(keys: &[(String, RoomKey)]) -> BTreeMap<String, Keys> {
        let mut rooms = BTreeMap::<String, Keys>::new();
        for (room, key) in keys {
            rooms.entry(room.clone()).or_default().current = Some(key.clone());
        }
        rooms
    }

    /// Warns of what is weak from the start.
    pub(super) fn warn_of_weak_keys(&mut self, now: Now, out: &mut Outbox) {
        let weak = self.keys.iter().find(|(_, keys)| keys.current.as_ref().is_some_and(|key| !key.is_strong()));
        if let Some(room) = weak.map(|(room, _)| room.clone()) {
            self.warn_of_weak_key(now, &room, out);
        }
    }

    fn warn_of_weak_key(&mut self, now: Now, room: &str, out: &mut Outbox) {
        let message = format!(
            "room `{}` uses the original's encryption, which is weak: it proves no author, and passphrases are cheap to guess; \
             where no original node is, use `argon2id`",
            room.escape_debug()
        );
        self.warn(now, WarningCode::WeakKey, &message, out);
    }

    /// Sets or clears a key: done at once, or a job to wait for.
    #[allow(clippy::type_complexity, reason = "done, or not yet")]
    pub(super) fn key(
        &mut self,
        now: Now,
        args: KeyArgs,
        out: &mut Outbox,
    ) -> Result<Result<result::Keyed, (JobId, String, Scheme)>, ApiError> {
        let room = args.room.map_or_else(|| self.room.clone(), String::from);
        let Some(passphrase) = args.passphrase else {
            self.jobs.retain(|_, it| *it != room);
            if self.keys.remove(&room).is_some() {
                self.with_calls(now, out, |calls, io| calls.on_key_changed(now, &room, io));
            }
            return Ok(Ok(result::Keyed { room, encrypted: false, scheme: None }));
        };
        if passphrase.is_empty() {
            let message = "an empty passphrase protects nothing; null clears the key";
            return Err(ApiError::new(ErrorCode::BadValue, message));
        }
        if self.keys.len() >= MAX_ROOMS && !self.keys.contains_key(&room) {
            let message = format!("{MAX_ROOMS} rooms have a key; clear one first");
            return Err(ApiError::new(ErrorCode::TooManyRooms, message));
        }
        let scheme = args.scheme.unwrap_or(Scheme::Argon2id);
        let job = JobId(self.next_job);
        self.next_job += 1;
        self.keys.entry(room.clone()).or_default().deriving += 1;
        self.jobs.insert(job, room.clone());
        out.push(Output::Derive { job, scheme, passphrase, room: room.clone() });
        Ok(Err((job, room, scheme)))
    }

    /// A key is derived.
    pub(super) fn derived(&mut self, now: Now, job: JobId, key: RoomKey, out: &mut Outbox) {
        let Some(room) = self.jobs.remove(&job) else { return };
        let weak = !key.is_strong();
        if let Some(keys) = self.keys.get_mut(&room) {
            keys.deriving = keys.deriving.saturating_sub(1);
            keys.previous = keys.current.replace(key);
        }
        if weak {
            self.warn_of_weak_key(now, &room, out);
        }
        self.with_calls(now, out, |calls, io| calls.on_key_changed(now, &room, io));
        self.stirred = true;
    }

    /// The key that seals what goes into a room.
    pub(super) fn key_of(&self, room: &str) -> Option<&RoomKey> {
        self.keys.get(room)?.current.as_ref()
    }

    /// The scheme of a room that has a key.
    pub(super) fn scheme_of(&self, room: &str) -> Option<Scheme> {
        self.key_of(room).map(RoomKey::scheme)
    }

    /// A message's text and `meta`, whether they were encrypted, and why they can't be read.
    pub(super) fn open<'a>(&self, view: &View<'a>, room: &str, author: &str) -> Opened<'a> {
        let sealed = |field: Field<'a>| field.is_some() && field.json() != Some("null");
        if !sealed(view.encrypted_msg) && !sealed(view.sealed_msg) {
            let meta = view.meta.object().ok().flatten().map(str::to_owned);
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
            // What is sealed with the strong scheme is bound to its place, which only a signed message has.
            let place = match (key.scheme(), signed::place(view)) {
                (Scheme::Argon2id, None) => continue,
                (_, place) => place.unwrap_or_default(),
            };
            let open = |field: Field<'_>, purpose| {
                let bound = Bound { purpose, author, room, place };
                field.string().ok().and_then(|sealed| key.open(&sealed, &bound))
            };
            let Some(text) = open(text, Purpose::Text) else { continue };
            let meta = open(meta, Purpose::Meta).and_then(|meta| String::from_utf8(meta).ok());
            // Sealed by a member, and yet only an object within the limits is shown.
            let meta =
                meta.filter(|meta| meta.starts_with('{') && meta.len() <= MAX_META && within_limits(meta.as_bytes()));
            let text = Some(String::from_utf8_lossy(&text).into_owned().into());
            return Opened { text, meta, encrypted: true, error: None };
        }
        unread(error)
    }
}
