//! The sessions of level 2: whose key opens which datagrams.
//!
//! A session's key stands in the member's signed join: in the clear in a room without a key, or else sealed with that. A member
//! whose key can't be had here (another passphrase, the other scheme, none) is a member all the same; but nothing is
//! sent to it, and nothing of it is heard.
//!
//! When the room's key changes in the middle of a call, our own session ends and another begins, announced under the new
//! key; and what can't be opened any more falls silent, what now can be is heard.

use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::roster::Member;
use super::signals::Ours;
use super::{Call, Stream};
use crate::api::event::WarningCode;
use crate::node::{Bytes, Node, Now, Outbox};
use crate::wire::datagram::Sealer;
use crate::wire::datagram::sealed::{self, Key};
use crate::wire::message::View;
use crate::wire::room_key::{Bound, Purpose, RoomKey, Scheme, original};
use crate::wire::signed::{self, Place};
use crate::wire::window::Window;

/// Another member's session.
#[derive(Debug)]
pub struct Session {
    pub number: u64,
    pub key: Key,
    pub window: Window,
    /// Whether it has echoed a challenge of ours: what is older than that is not taken.
    pub echoed: bool,
}

/// How a session's key is announced: one of these.
#[derive(Debug, Default)]
pub struct Announced {
    /// In the clear.
    pub key: Option<String>,
    /// Sealed with the strong scheme.
    pub sealed_key: Option<String>,
    /// Encrypted with the original's.
    pub encrypted_key: Option<String>,
}

impl Node {
    /// The original's keys of a room, the one that seals first: for voice of level 1.
    pub(super) fn original_keys(&self, room: &str) -> impl Iterator<Item = &original::Key> {
        self.rooms.keys(room).filter_map(RoomKey::original)
    }

    /// Whether voice of level 1 goes in and out of a room: not where a strong key is, which those of level 1 can't have, nor where
    /// level 1 is refused.
    pub(super) fn has_originals(&self, room: &str) -> bool {
        !self.config.secure && !self.rooms.key(room).is_some_and(RoomKey::is_strong)
    }

    /// How our session's key is announced in the message of that place.
    pub(super) fn announced_key(&mut self, place: Place) -> Option<Announced> {
        let call = self.voice.call.as_ref()?;
        let Some(key) = self.rooms.key(&call.room) else {
            return Some(Announced { key: Some(STANDARD.encode(call.key)), ..Announced::default() });
        };
        let bound = Bound { purpose: Purpose::Voice, author: &self.id, room: &call.room, place };
        let sealed = Some(key.seal(&call.key, &bound, self.chance.call_secrets.bytes()));
        Some(match key.scheme() {
            Scheme::Argon2id => Announced { sealed_key: sealed, ..Announced::default() },
            Scheme::Original => Announced { encrypted_key: sealed, ..Announced::default() },
        })
    }

    /// The session of a member of level 2, from its join, if its key can be had.
    fn session_of(&self, id: &str, member: &Member) -> Option<Session> {
        let number = member.session?;
        let view = View::parse(&member.join).ok()?;
        let (_, ours) = Ours::read(&view)?;
        let decode = |bytes: Vec<u8>| <[u8; sealed::KEY]>::try_from(bytes).ok();
        let key = match self.rooms.key(&member.room) {
            None => STANDARD.decode(ours.key?).ok().and_then(decode)?,
            Some(_) => {
                let bound =
                    Bound { purpose: Purpose::Voice, author: id, room: &member.room, place: signed::place(&view)? };
                self.rooms.keys(&member.room).find_map(|key| {
                    let sealed = match key.scheme() {
                        Scheme::Argon2id => ours.sealed_key.as_deref()?,
                        Scheme::Original => ours.encrypted_key.as_deref()?,
                    };
                    decode(key.open(sealed, &bound)?)
                })?
            }
        };
        // The number is a hash of the key: nobody bears another's.
        let is_its_own = sealed::session(id, &member.room, &key) == number;
        is_its_own.then(|| Session { number, key: Key::new(&key), window: Window::default(), echoed: false })
    }

    /// A member of the call's room is new, says again that it is there, or has another session.
    pub(super) fn renew_stream(&mut self, now: Now, id: &Rc<str>, out: &mut Outbox) {
        let Some(member) = self.voice.roster.get(id) else { return };
        let Some(call) = self.voice.call.as_ref().filter(|call| call.room == member.room) else { return };
        let ours = member.session.is_some();
        let known = call.streams.get(id).filter(|it| it.ours == ours);
        let unchanged = known.is_some_and(|it| it.session.as_ref().map(|it| it.number) == member.session);
        if !ours && !self.has_originals(&member.room) {
            return self.drop_stream(id, out);
        }
        if unchanged {
            let announced = member.announced;
            if let Some(stream) = self.voice.call.as_mut().and_then(|call| call.streams.get_mut(id)) {
                stream.path.announce(now.mono, announced);
            }
            return;
        }
        let session = self.session_of(id, member);
        let warn = ours && session.is_none() && known.is_none_or(|it| it.session.is_some());
        let username = member.username.clone();
        let mut stream = Stream::new(now.mono, member, session, self.voice.gain(id));
        self.talkspurt(id, false, out);
        let Some(call) = &mut self.voice.call else { return };
        call.forget_session(id);
        if let Some(session) = &stream.session {
            call.sessions.insert(session.number, id.clone());
            // The same member, and where it is has been proved: it is only asked again when that is due.
            if let Some(before) = call.streams.remove(id).filter(|it| it.ours && it.session.is_some()) {
                let announced = stream.path.announced();
                stream.path = before.path;
                stream.path.announce(now.mono, announced);
            }
        }
        call.streams.insert(id.clone(), stream);
        if warn {
            let message = format!(
                "the voice of {} ({id}) can't be opened, and ours is not sent there: is the room's passphrase the same, and its scheme?",
                username.escape_debug()
            );
            self.warn(now, WarningCode::VoiceKey, &message, out);
        }
    }

    /// Nothing more is heard of a member, nor sent to it.
    pub(super) fn drop_stream(&mut self, id: &Rc<str>, out: &mut Outbox) {
        self.talkspurt(id, false, out);
        if let Some(call) = &mut self.voice.call {
            call.forget_session(id);
            call.streams.remove(id);
        }
    }

    /// A room has another key, or none any more. If its voice is on, our session ends, and another is announced.
    pub(in crate::node) fn voice_rekeyed(&mut self, now: Now, room: &str, out: &mut Outbox) {
        let own = self.id.clone();
        let Some(call) = self.voice.call.as_mut().filter(|call| &*call.room == room) else { return };
        call.key = self.chance.call_secrets.bytes();
        (call.sealer, call.join) = (Sealer::new(&own, room, &call.key), None);
        let members: Vec<Rc<str>> = self.voice.roster.of_room(room).map(|(id, _)| id.clone()).collect();
        for id in members {
            let Some(member) = self.voice.roster.get(&id) else { continue };
            let opens = self.session_of(&id, member).is_some();
            if let Some(stream) = self.voice.call.as_mut().and_then(|call| call.streams.get_mut(&id))
                && stream.session.is_some()
                && !opens
            {
                self.drop_stream(&id, out);
            }
            self.renew_stream(now, &id, out);
        }
        self.announce(now, out);
        self.stir_voice(now);
    }

    /// Seals a datagram of ours.
    pub(super) fn seal(&mut self, write: impl FnOnce(&mut Vec<u8>), out: &mut Outbox) -> Option<Bytes> {
        let call = self.voice.call.as_mut()?;
        Some(out.write(|buffer| call.sealer.seal(write, buffer)))
    }
}

impl Call {
    fn forget_session(&mut self, id: &Rc<str>) {
        if let Some(session) = self.streams.get(id).and_then(|stream| stream.session.as_ref()) {
            self.sessions.remove(&session.number);
        }
    }
}
