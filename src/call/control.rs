//! The requests of clients: join, leave, mute, list the members, set their loudness.
//!
//! Clients and their waiting commands are not known here: a join is polled until it has succeeded or failed.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Calls, Io, MAX_GAINS, Opened, Unheard, Warning};
use crate::base::{NodeId, Now};
use crate::outbox::Output;
use crate::voice::{Codec, Figures};
use crate::wire::limits::MAX_VOICE_MEMBERS;

/// How long microphone and speaker may take to open: longer than a sound server that is just starting. A guess.
pub const OPEN_TIME: Duration = Duration::from_secs(10);
/// How loud a member may be made, in dB.
const GAINS: std::ops::RangeInclusive<f64> = -60.0..=20.0;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// This node is in the voice of that room already.
    InVoice(Rc<str>),
    /// Another join is under way, or was faster.
    Joining,
    /// So many members are in voice; no more fit.
    RoomFull(usize),
    /// Microphone or speaker could not be opened; why.
    NotOpened(String),
    /// Microphone or speaker did not open in time.
    OpenTimeout,
    /// This node is not in voice.
    NotInVoice,
    /// The loudness is out of range.
    BadGain,
    /// No member has that id.
    NoMember,
    /// The loudness of so many members is set already.
    TooManyGains(usize),
}

/// This node's own call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InCall {
    /// Its room.
    pub room: Rc<str>,
    /// Whether this node is muted.
    pub muted: bool,
}

/// A member of a room's voice.
#[derive(Debug, Clone)]
pub struct MemberInfo {
    /// Its node id.
    pub id: NodeId,
    /// Its user name.
    pub username: String,
    /// Where voice is sent to it.
    pub addr: Option<std::net::SocketAddr>,
    /// Whether it is muted.
    pub muted: bool,
    /// Whether it is speaking.
    pub speaking: bool,
    /// How its voice comes, if it does.
    pub codec: Option<Codec>,
    /// How loud it is heard, in dB.
    pub gain_db: f64,
    /// How its voice comes in.
    pub figures: Figures,
    /// Why it is not heard, within a call.
    pub unheard: Option<Unheard>,
}

impl Calls {
    /// Whether this node may join: it must not be in voice yet.
    ///
    /// # Errors
    /// The room whose voice it is in.
    pub fn may_join(&self) -> Result<(), Refusal> {
        self.call.as_ref().map_or(Ok(()), |call| Err(Refusal::InVoice(call.room.clone())))
    }

    /// Begins to join a room's voice: microphone and speaker are opened. Then [`Self::poll_join`] tells how that goes on.
    ///
    /// # Errors
    /// Another join was first, or the room is full.
    pub fn begin_join(&mut self, room: &str, mic: String, speaker: String, io: &mut dyn Io) -> Result<(), Refusal> {
        if self.call.is_some() || self.opening.is_some() {
            return Err(Refusal::Joining);
        }
        // Members that have given no sign of life may be invented: they make way for one that answers.
        let sure = self.roster.of_room(room).filter(|&(id, it)| it.sign.is_some() || io.is_neighbour(id.into()));
        if sure.count() >= MAX_VOICE_MEMBERS {
            return Err(Refusal::RoomFull(MAX_VOICE_MEMBERS));
        }
        self.opening = Some(None);
        io.out().push(Output::StartAudio { mic, speaker });
        Ok(())
    }

    /// Goes on with a join that has waited for microphone and speaker `since` then. Gives their names once this node is in
    /// voice; `None`: it still waits.
    ///
    /// # Errors
    /// They can't be opened, or did not open in time.
    pub fn poll_join(
        &mut self,
        now: Now,
        (room, muted): (&str, bool),
        since: Instant,
        io: &mut dyn Io,
    ) -> Result<Option<(String, String)>, Refusal> {
        match self.opening.take() {
            Some(None) if now.mono < since + OPEN_TIME => {
                self.opening = Some(None);
                Ok(None)
            }
            Some(Some(Ok(names))) => {
                self.enter(now, room, muted, io);
                Ok(Some(names))
            }
            Some(Some(Err(why))) => Err(Refusal::NotOpened(why)),
            None | Some(None) => {
                io.out().push(Output::StopAudio);
                Err(Refusal::OpenTimeout)
            }
        }
    }

    /// Takes note that microphone and speaker are open, or can't be. True if a join has waited for it.
    pub fn on_audio_opened(&mut self, opened: Opened, io: &mut dyn Io) -> bool {
        if let Some(opening) = &mut self.opening {
            *opening = Some(opened);
            return true;
        }
        // In the middle of a call: there is no sound any more, but the call goes on.
        if let (Err(why), true) = (opened, self.call.is_some()) {
            io.warn(Warning::DeviceLost, &why);
        }
        false
    }

    /// This node's own call.
    ///
    /// # Errors
    /// There is none.
    pub fn own(&self) -> Result<InCall, Refusal> {
        let call = self.call.as_ref().ok_or(Refusal::NotInVoice)?;
        Ok(InCall { room: call.room.clone(), muted: call.muted })
    }

    /// Mutes or unmutes this node.
    ///
    /// # Errors
    /// It is not in voice.
    pub fn set_muted(&mut self, now: Now, muted: bool, io: &mut dyn Io) -> Result<InCall, Refusal> {
        let changed = match &mut self.call {
            Some(call) => std::mem::replace(&mut call.muted, muted) != muted,
            None => false,
        };
        if changed {
            io.out().push(Output::PauseMic(muted));
            if muted {
                self.set_own_speaking(false, io);
            }
            self.announce_muted(now, io);
        }
        self.own()
    }

    /// The members of a room's voice; without a room, those of our own call, or else those of `active`.
    pub fn members(&self, now: Now, room: Option<&str>, active: &str, io: &dyn Io) -> Vec<MemberInfo> {
        let call = self.call.as_ref();
        let room = room.or(call.map(|call| &*call.room)).unwrap_or(active);
        let members = self.roster.of_room(room).map(|(id, member)| {
            let stream = call.and_then(|call| call.streams.get(id));
            MemberInfo {
                id: id.clone(),
                username: member.username.clone(),
                addr: stream.and_then(|stream| match stream.is_level2 {
                    true => stream.path.validated_addr(now.mono),
                    false => self.original_addr(now, id, io),
                }),
                muted: member.muted,
                speaking: stream.is_some_and(|stream| stream.speaking),
                codec: stream.and_then(|stream| stream.codec),
                gain_db: self.gains.get(id).copied().unwrap_or_default(),
                figures: stream.map_or(Figures { level_db: -100.0, ..Figures::default() }, |it| it.speaker.figures()),
                unheard: self.why_unheard(now, id, io),
            }
        });
        members.collect()
    }

    /// Sets how loud a member is heard, now and whenever it is in voice again.
    ///
    /// # Errors
    /// It is no member, the loudness is out of range, or there are too many.
    pub fn set_gain(&mut self, peer: &str, db: f64) -> Result<(), Refusal> {
        if !GAINS.contains(&db) {
            return Err(Refusal::BadGain);
        }
        let peer = &NodeId::from(peer);
        if self.roster.get(peer).is_none() {
            return Err(Refusal::NoMember);
        }
        if self.gains.len() >= MAX_GAINS && !self.gains.contains_key(peer) {
            let roster = &self.roster;
            self.gains.retain(|id, _| roster.get(id).is_some());
        }
        if self.gains.len() >= MAX_GAINS && !self.gains.contains_key(peer) {
            return Err(Refusal::TooManyGains(MAX_GAINS));
        }
        self.gains.insert(peer.clone(), db);
        let gain = self.gain(peer);
        if let Some(stream) = self.call.as_mut().and_then(|call| call.streams.get_mut(peer)) {
            stream.gain = gain;
        }
        Ok(())
    }
}
