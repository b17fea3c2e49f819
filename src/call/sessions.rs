//! The sessions of level 2: whose key opens which datagrams.
//!
//! A session's key stands in the member's signed join: in the clear in a room without a key, or else sealed with that. A member
//! whose key can't be had here (another passphrase, the other scheme, none) is a member all the same; but nothing is
//! sent to it, and nothing of it is heard.
//!
//! When the room's key changes in the middle of a call, our own session ends and another begins, announced under the new
//! key; and what can't be opened any more falls silent, what now can be is heard.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::fields::Level2Fields;
use super::roster::Member;
use super::session::Session;
use super::{Call, Calls, Io, Stream, Warning};
use crate::base::{NodeId, Now};
use crate::outbox::Bytes;
use crate::wire::datagram::Sealer;
use crate::wire::datagram::sealed::{self, Key};
use crate::wire::message::View;
use crate::wire::room_key::{Bound, Purpose, RoomKey, Scheme, original};
use crate::wire::signed::{self, SeqNo};
use crate::wire::window::Window;

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

/// The original's keys of a room, the one that seals first: for voice of level 1.
pub fn original_keys<'a>(room: &str, io: &'a dyn Io) -> impl Iterator<Item = &'a original::Key> {
    io.keys(room).into_iter().flatten().filter_map(RoomKey::original)
}

impl Calls {
    /// Whether voice of level 1 goes in and out of a room: not where a strong key is, which those of level 1 can't have, nor where
    /// level 1 is refused.
    fn has_originals(&self, room: &str, io: &dyn Io) -> bool {
        !self.config.secure && !io.keys(room)[0].is_some_and(RoomKey::is_strong)
    }

    /// How our session's key is announced in the message of that sequence number.
    pub(super) fn announced_key(&mut self, seq: SeqNo, io: &dyn Io) -> Option<Announced> {
        let call = self.call.as_ref()?;
        let Some(key) = io.keys(&call.room)[0] else {
            return Some(Announced { key: Some(STANDARD.encode(call.key)), ..Announced::default() });
        };
        let bound = Bound { purpose: Purpose::Voice, author: &self.id.text(), room: &call.room, seq };
        let sealed = Some(key.seal(&call.key, &bound, self.secrets.bytes()));
        Some(match key.scheme() {
            Scheme::Argon2id => Announced { sealed_key: sealed, ..Announced::default() },
            Scheme::Original => Announced { encrypted_key: sealed, ..Announced::default() },
        })
    }

    /// The session of a member of level 2, from its join, if its key can be had.
    fn session_of(id: &NodeId, member: &Member, io: &dyn Io) -> Option<Session> {
        let number = member.session?;
        let view = View::parse(&member.join).ok()?;
        let (_, fields) = Level2Fields::read(&view)?;
        let decode = |bytes: Vec<u8>| <[u8; sealed::KEY]>::try_from(bytes).ok();
        let key = match io.keys(&member.room) {
            [None, _] => STANDARD.decode(fields.key?).ok().and_then(decode)?,
            keys => {
                let bound = Bound {
                    purpose: Purpose::Voice,
                    author: &id.text(),
                    room: &member.room,
                    seq: signed::seq_no(&view)?,
                };
                keys.into_iter().flatten().find_map(|key| {
                    let sealed = match key.scheme() {
                        Scheme::Argon2id => fields.sealed_key.as_deref()?,
                        Scheme::Original => fields.encrypted_key.as_deref()?,
                    };
                    decode(key.open(sealed, &bound)?)
                })?
            }
        };
        // The number is a hash of the key: nobody bears another's.
        let is_its_own = sealed::session(&id.text(), &member.room, &key) == number;
        is_its_own.then(|| Session { number, key: Key::new(&key), window: Window::default(), echoed: false })
    }

    /// Brings the stream of a member up to date: it is new, says again that it is there, or has another session.
    pub(super) fn renew_stream(&mut self, now: Now, id: &NodeId, io: &mut dyn Io) {
        let Some(member) = self.roster.get(id) else { return };
        let Some(call) = self.call.as_ref().filter(|call| call.room == member.room) else { return };
        let is_level2 = member.session.is_some();
        let known = call.streams.get(id).filter(|it| it.is_level2 == is_level2);
        let unchanged = known.is_some_and(|it| it.session.as_ref().map(|it| it.number) == member.session);
        if !is_level2 && !self.has_originals(&member.room, io) {
            return self.drop_stream(id, io);
        }
        if unchanged {
            let announced = member.announced;
            if let Some(stream) = self.call.as_mut().and_then(|call| call.streams.get_mut(id)) {
                stream.path.announce(now.mono, announced);
            }
            return;
        }
        let session = Self::session_of(id, member, io);
        let warn = is_level2 && session.is_none() && known.is_none_or(|it| it.session.is_some());
        let username = member.username.clone();
        let mut stream = Stream::new(now.mono, member, session, self.gain(id));
        self.set_speaking(id, false, io);
        let Some(call) = &mut self.call else { return };
        call.forget_session(id);
        if let Some(session) = &stream.session {
            call.sessions.insert(session.number, id.clone());
            // The same member, and where it is has been proved: it is only asked again when that is due.
            if let Some(before) = call.streams.remove(id).filter(|it| it.is_level2 && it.session.is_some()) {
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
            io.warn(Warning::Key, &message);
        }
    }

    /// Ends a member's stream: nothing more is heard of it, nor sent to it.
    pub(super) fn drop_stream(&mut self, id: &NodeId, io: &mut dyn Io) {
        self.set_speaking(id, false, io);
        if let Some(call) = &mut self.call {
            call.forget_session(id);
            call.streams.remove(id);
        }
    }

    /// Takes note that a room has another key, or none any more. If our call is there, our session ends, and another is
    /// announced.
    pub fn on_key_changed(&mut self, now: Now, room: &str, io: &mut dyn Io) {
        let own = self.id.clone();
        let Some(call) = self.call.as_mut().filter(|call| &*call.room == room) else { return };
        call.key = self.secrets.bytes();
        (call.sealer, call.join) = (Sealer::new(&own.text(), room, &call.key), None);
        let members: Vec<NodeId> = self.roster.of_room(room).map(|(id, _)| id.clone()).collect();
        for id in members {
            let Some(member) = self.roster.get(&id) else { continue };
            let opens = Self::session_of(&id, member, io).is_some();
            if let Some(stream) = self.call.as_mut().and_then(|call| call.streams.get_mut(&id))
                && stream.session.is_some()
                && !opens
            {
                self.drop_stream(&id, io);
            }
            self.renew_stream(now, &id, io);
        }
        self.announce(now, io);
        self.schedule_tick(now);
    }

    /// Seals a datagram of ours.
    pub(super) fn seal(&mut self, write: impl FnOnce(&mut Vec<u8>), io: &mut dyn Io) -> Option<Bytes> {
        let call = self.call.as_mut()?;
        Some(io.out().write(|buffer| call.sealer.seal(write, buffer)))
    }
}

impl Call {
    fn forget_session(&mut self, id: &NodeId) {
        if let Some(session) = self.streams.get(id).and_then(|stream| stream.session.as_ref()) {
            self.sessions.remove(&session.number);
        }
    }
}
