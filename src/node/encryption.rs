//! What stands between a link's bytes and its frames: nothing at level 1, a handshake and then records at level 2.
//!
//! A dial opens level 2. A listener of level 1 closes at that, before it has sent a byte; then it is dialled again at once at
//! level 1, unless that is refused. An incoming link's first byte tells what it speaks.
//!
//! What a handshake costs, some tenths of a millisecond, is spent on another thread: however many strangers come, the messages of
//! neighbours do not wait for them.
//!
//! Frames for a link of level 2 are gathered while the node handles one input, and sealed at the end of that: many a record.

use std::rc::Rc;

use super::dial::State;
use super::{Bytes, DialId, LinkId, LogLevel, Node, Now, Outbox, Output};
use crate::api::event::{Direction, LinkCode};
use crate::wire::frame::Decoder;
use crate::wire::noise::{Failure, Handshake, MAGIC, MAX_PLAIN, OVERHEAD, Proven, Session, Step, Stepped};

/// How a link's bytes are frames.
#[derive(Debug)]
pub enum Crypt {
    /// Its first byte will tell.
    Unknown,
    /// As they are: level 1.
    Plain,
    /// Not yet.
    Handshake(Box<Handshake>),
    /// Not yet: the handshake is a step further on elsewhere, and nothing is read meanwhile.
    Stepping,
    /// In records.
    Sealed {
        session: Box<Session>,
        /// The id that the peer has proved.
        id: Rc<str>,
    },
    /// It is a stranger's, in a private network: what comes is thrown away, and nothing is said, until its time is over.
    Mute,
}

impl Crypt {
    /// The id that the peer has proved.
    pub const fn proven(&self) -> Option<&Rc<str>> {
        match self {
            Self::Sealed { id, .. } => Some(id),
            _ => None,
        }
    }

    /// Whether a record has been begun and is not whole.
    pub fn in_record(&self) -> bool {
        matches!(self, Self::Sealed { session, .. } if session.in_record())
    }
}

impl Node {
    /// Whether links of level 1 are refused.
    pub(super) fn is_secure(&self) -> bool {
        self.config.secure || self.noise.is_private()
    }

    /// Begins the handshake on a link that was dialled.
    pub(super) fn open_level2(&mut self, now: Now, id: LinkId, expected: Option<Rc<str>>, out: &mut Outbox) {
        let seed = self.chance.link_secrets.bytes();
        let mut begun = Err(Failure::Failed);
        let bytes =
            out.write(|buffer| begun = Handshake::dial(&self.noise, seed, expected.as_deref().map(Into::into), buffer));
        match (begun, self.links.get_mut(&id)) {
            (Ok(handshake), Some(link)) => {
                link.crypt = Crypt::Handshake(Box::new(handshake));
                link.queue.add(id, bytes, 0, out);
            }
            (Err(failure), _) => self.handshake_failed(now, id, &failure, out),
            (Ok(_), None) => {}
        }
    }

    /// The first byte of an incoming link tells what it speaks.
    pub(super) fn tell_level(&mut self, now: Now, id: LinkId, first: u8, out: &mut Outbox) {
        let crypt = match first == MAGIC[0] {
            true => Crypt::Handshake(Box::new(Handshake::answer(&self.noise, self.chance.link_secrets.bytes()))),
            false if self.noise.is_private() => Crypt::Mute,
            false if self.is_secure() => {
                self.counters.links_refused += 1;
                let reason = "it speaks level 1, which --secure refuses";
                return self.close_link(now, id, LinkCode::Level1Refused, reason, out);
            }
            false => Crypt::Plain,
        };
        if let Some(link) = self.links.get_mut(&id) {
            link.crypt = crypt;
        }
    }

    /// Goes on with a handshake. What comes after a whole message of it waits until that has been answered.
    pub(super) fn shake_hands(&mut self, now: Now, id: LinkId, bytes: &mut &[u8], out: &mut Outbox) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Crypt::Handshake(handshake) = &mut link.crypt else { return };
        let mut whole = Ok(false);
        let answer = out.write(|buffer| whole = handshake.hear(&self.noise, bytes, buffer));
        if Outbox::length(&answer) > 0 {
            link.queue.add(id, answer, 0, out);
        }
        match whole {
            Ok(false) => {}
            Ok(true) => {
                if let Crypt::Handshake(handshake) = std::mem::replace(&mut link.crypt, Crypt::Stepping) {
                    let rest = std::mem::take(bytes).to_vec();
                    out.push(Output::Handshake { link: id, step: Step { keys: self.noise.clone(), handshake, rest } });
                }
            }
            Err(failure) => self.not_shaken(now, id, &failure, out),
        }
    }

    /// A handshake is a step further.
    pub(super) fn stepped(&mut self, now: Now, id: LinkId, stepped: Stepped, out: &mut Outbox) {
        // It may have been closed meanwhile.
        let Some(link) = self.links.get_mut(&id).filter(|link| matches!(link.crypt, Crypt::Stepping)) else { return };
        let Stepped { handshake, outcome, said, rest } = stepped;
        if !said.is_empty() {
            let answer = out.write(|buffer| buffer.extend_from_slice(&said));
            link.queue.add(id, answer, 0, out);
        }
        match outcome {
            Ok(None) => link.crypt = Crypt::Handshake(handshake),
            Ok(Some(Proven { id: peer, session })) => {
                link.crypt = Crypt::Sealed { session: Box::new(session), id: peer.into() };
                if link.direction == Direction::Out {
                    self.say_hello(now, id, out);
                }
            }
            Err(failure) => return self.not_shaken(now, id, &failure, out),
        }
        if !rest.is_empty() {
            self.bytes_came(now, id, &rest, out);
        }
    }

    fn not_shaken(&mut self, now: Now, id: LinkId, failure: &Failure, out: &mut Outbox) {
        match self.links.get_mut(&id) {
            Some(link) if self.noise.is_private() && link.direction == Direction::In => link.crypt = Crypt::Mute,
            _ => self.handshake_failed(now, id, failure, out),
        }
    }

    fn handshake_failed(&mut self, now: Now, id: LinkId, failure: &Failure, out: &mut Outbox) {
        let (code, reason) = match failure {
            Failure::NotNoise => (LinkCode::NotANode, "what it sent is no handshake: is it a node?".to_owned()),
            Failure::Version(version) => {
                (LinkCode::Version, format!("it speaks version {version} of level 2, which this program does not know"))
            }
            Failure::WrongPeer(peer) => {
                (LinkCode::WrongPeer, format!("the node there is {peer}, not the one that was asked for"))
            }
            Failure::BadProof => {
                let reason = "it can't prove the id that it claims".to_owned();
                self.strike(now, id, &reason, out);
                (LinkCode::HandshakeFailed, reason)
            }
            Failure::Failed if self.noise.is_private() => (LinkCode::HandshakeFailed, OTHER_NETWORK.to_owned()),
            Failure::Failed => {
                let reason = "the handshake failed: it is of a private network, or somebody changes what passes";
                (LinkCode::HandshakeFailed, reason.to_owned())
            }
        };
        let answered = matches!(failure, Failure::Version(_))
            && self.links.get(&id).is_some_and(|link| link.direction == Direction::In);
        match answered {
            // So that the other end learns the reason.
            true => self.leave_link(now, id, false, code, &reason, out),
            false => self.close_link(now, id, code, &reason, out),
        }
    }

    /// Records came from a link. Whether a frame in them was completed.
    pub(super) fn records_came(
        &mut self,
        now: Now,
        id: LinkId,
        decoder: &mut Decoder,
        mut bytes: &[u8],
        out: &mut Outbox,
    ) -> bool {
        let mut plain = std::mem::take(&mut self.opened);
        let mut completed = false;
        while let Some(link) = self.links.get_mut(&id).filter(|link| link.hears()) {
            let Crypt::Sealed { session, .. } = &mut link.crypt else { break };
            match session.open(&mut bytes, &mut plain) {
                Ok(true) => completed |= self.frames_came(now, id, decoder, &plain, out),
                Ok(false) => break,
                Err(_) => {
                    let reason = "what came could not be opened: it was changed on its way, or not sent by the peer";
                    self.close_link(now, id, LinkCode::BadRecord, reason, out);
                }
            }
        }
        self.opened = plain;
        completed
    }

    /// Seals what was gathered for links of level 2.
    pub(super) fn seal_gathered(&mut self, out: &mut Outbox) {
        while let Some(id) = self.unsealed.pop() {
            if let Some(link) = self.links.get_mut(&id)
                && let Crypt::Sealed { session, .. } = &mut link.crypt
            {
                link.queue.seal(id, session, &mut self.sealing, out);
            }
        }
    }

    /// A link that was dialled has ended before its peer sent a byte. If that is what one of level 1 does, it is dialled again at
    /// once at level 1: true. The time for it goes on.
    pub(super) fn falls_back(&mut self, id: LinkId, out: &mut Outbox) -> bool {
        if self.is_secure() || !self.phase.is_running() || !self.is_unanswered(id) {
            return false;
        }
        let Some(link) = self.links.get(&id) else { return false };
        let (addr, name) = (link.addr, link.target.clone().unwrap_or_default());
        let dial = DialId(self.next_dial);
        match self.targets.get_mut(&name) {
            Some(target) if target.pin.is_none() => {
                let State::Greeting(_, until) = target.state else { return false };
                (target.state, target.level1) = (State::Dialling(dial, until), true);
            }
            _ => return false,
        }
        self.next_dial += 1;
        self.links.remove(&id);
        self.dials.insert(dial, name);
        self.log(LogLevel::Debug, out, || format!("{addr} speaks level 1"));
        out.push(Output::Close(id));
        out.push(Output::Dial { dial, addr: addr.to_string() });
        true
    }

    /// Whether a link was dialled at level 2 and nothing has come yet.
    fn is_unanswered(&self, id: LinkId) -> bool {
        let link = self.links.get(&id).filter(|link| link.direction == Direction::Out);
        link.is_some_and(|link| matches!(&link.crypt, Crypt::Handshake(handshake) if handshake.is_untouched()))
    }

    /// Why a link has ended before its peer's hello.
    pub(super) fn why_no_hello(&self, id: LinkId) -> (LinkCode, String) {
        let crypt = self.links.get(&id).map(|link| &link.crypt);
        let (code, reason) = match crypt {
            Some(Crypt::Handshake(_) | Crypt::Stepping) if self.noise.is_private() => {
                (LinkCode::HandshakeFailed, OTHER_NETWORK)
            }
            Some(Crypt::Handshake(_)) if self.is_unanswered(id) => {
                (LinkCode::Level1Refused, "the peer closed the link at the handshake, as one of level 1 does")
            }
            Some(Crypt::Handshake(_) | Crypt::Stepping) => {
                (LinkCode::HandshakeFailed, "the peer closed the link within the handshake")
            }
            Some(Crypt::Sealed { .. }) => {
                (LinkCode::Closed, "the peer closed the link without a hello: has it as many links as it may have?")
            }
            _ => (LinkCode::NotANode, "the peer closed the link without a hello: is it a node?"),
        };
        (code, reason.to_owned())
    }
}

/// What a dialler in a private network can say: whoever has not the key is not answered.
const OTHER_NETWORK: &str = "the handshake failed: it has not this network's key";

impl super::links::Queue {
    /// Adds bytes in which so many frames end, and sends them.
    pub fn add(&mut self, id: LinkId, bytes: Bytes, frames: u32, out: &mut Outbox) {
        self.bytes += Outbox::length(&bytes);
        self.push_unit(Outbox::length(&bytes), frames);
        out.push(Output::Send { link: id, bytes });
    }

    /// Seals what was gathered. `plain` is for the content of one record.
    fn seal(&mut self, id: LinkId, session: &mut Session, plain: &mut Vec<u8>, out: &mut Outbox) {
        let mut gathered = std::mem::take(&mut self.gathered);
        let mut frames = 0;
        for bytes in gathered.drain(..) {
            let mut from = 0;
            while let piece = out.piece(&bytes, from, MAX_PLAIN.saturating_sub(plain.len()))
                && !piece.is_empty()
            {
                plain.extend_from_slice(piece);
                from += piece.len();
                frames += u32::from(from == Outbox::length(&bytes));
                if plain.len() >= MAX_PLAIN {
                    self.seal_one(id, session, plain, std::mem::take(&mut frames), out);
                }
            }
        }
        if !plain.is_empty() {
            self.seal_one(id, session, plain, frames, out);
        }
        gathered.shrink_to(GATHERED);
        self.gathered = gathered;
    }

    fn seal_one(&mut self, id: LinkId, session: &mut Session, plain: &mut Vec<u8>, frames: u32, out: &mut Outbox) {
        let record = out.append(|buffer| {
            // It fails for no content but an empty one or one that is too long.
            let _ = session.seal(plain, buffer);
        });
        self.bytes += OVERHEAD;
        self.push_unit(Outbox::length(&record), frames);
        out.push(Output::Send { link: id, bytes: record });
        plain.clear();
    }
}

/// Frames that a link's list of gathered ones keeps room for.
const GATHERED: usize = 256;
