//! How a link comes to its crypt: the level that it speaks, and the handshake of level 2.
//!
//! A dial opens level 2. A listener of level 1 closes at that, before it has sent a byte; then it is dialled again at once at
//! level 1, unless that is refused. An incoming link's first byte tells what it speaks.
//!
//! A handshake costs some tenths of a millisecond, which a worker spends on another thread: however many strangers come, the
//! messages of neighbours do not wait for them.

use super::Links;
use super::crypt::Crypt;
use crate::base::{Direction, LinkCode, LinkId, LogLevel, NodeId, Now};
use crate::outbox::{Outbox, Output};
use crate::wire::noise::{Failure, Handshake, MAGIC, Proven, Step, Stepped};

impl Links {
    /// Begins the handshake on a link that was dialled.
    pub(super) fn open_level2(&mut self, now: Now, id: LinkId, expected: Option<NodeId>, out: &mut Outbox) {
        let seed = self.secrets.bytes();
        let mut begun = Err(Failure::Failed);
        let expected = expected.map(|id| (*id.text()).into());
        let bytes = out.write(|buffer| begun = Handshake::dial(&self.noise, seed, expected, buffer));
        match (begun, self.table.get_mut(id)) {
            (Ok(handshake), Some(link)) => {
                link.crypt = Crypt::Handshake(Box::new(handshake));
                link.queue.push_bytes(id, bytes, 0, out);
            }
            (Err(failure), _) => self.handshake_failed(now, id, &failure, out),
            (Ok(_), None) => {}
        }
    }

    /// The first byte of an incoming link tells what it speaks.
    pub(super) fn tell_level(&mut self, now: Now, id: LinkId, first: u8, out: &mut Outbox) {
        let crypt = match first == MAGIC[0] {
            true => Crypt::Handshake(Box::new(Handshake::answer(&self.noise, self.secrets.bytes()))),
            false if self.noise.is_private() => Crypt::Mute,
            false if self.is_secure() => {
                self.counters.links_refused += 1;
                let reason = "it speaks level 1, which --secure refuses";
                return self.close(now, id, LinkCode::Level1Refused, reason, out);
            }
            false => Crypt::Plain,
        };
        if let Some(link) = self.table.get_mut(id) {
            link.crypt = crypt;
        }
    }

    /// Goes on with a handshake. What comes after a whole message of it waits until that has been answered.
    pub(super) fn drive_handshake(&mut self, now: Now, id: LinkId, bytes: &mut &[u8], out: &mut Outbox) {
        let Some(link) = self.table.get_mut(id) else { return };
        let Crypt::Handshake(handshake) = &mut link.crypt else { return };
        let mut whole = Ok(false);
        let answer = out.write(|buffer| whole = handshake.hear(&self.noise, bytes, buffer));
        if Outbox::length(&answer) > 0 {
            link.queue.push_bytes(id, answer, 0, out);
        }
        match whole {
            Ok(false) => {}
            Ok(true) => {
                if let Crypt::Handshake(handshake) = std::mem::replace(&mut link.crypt, Crypt::Offloaded) {
                    let rest = std::mem::take(bytes).to_vec();
                    out.push(Output::Handshake { link: id, step: Step { keys: self.noise.clone(), handshake, rest } });
                }
            }
            Err(failure) => self.handshake_rejected(now, id, &failure, out),
        }
    }

    /// A worker has computed the next step of a handshake. Gives the bytes that came meanwhile: they are to be handled next.
    pub fn on_stepped(&mut self, now: Now, id: LinkId, stepped: Stepped, out: &mut Outbox) -> Option<Vec<u8>> {
        // It may have been closed meanwhile.
        let link = self.table.get_mut(id).filter(|link| matches!(link.crypt, Crypt::Offloaded))?;
        let Stepped { handshake, outcome, said, rest } = stepped;
        if !said.is_empty() {
            let answer = out.write(|buffer| buffer.extend_from_slice(&said));
            link.queue.push_bytes(id, answer, 0, out);
        }
        match outcome {
            Ok(None) => link.crypt = Crypt::Handshake(handshake),
            Ok(Some(Proven { id: peer, session })) => {
                link.crypt = Crypt::Sealed { session: Box::new(session), id: peer.as_str().into() };
                if link.direction == Direction::Out {
                    self.say_hello(now, id, out);
                }
            }
            Err(failure) => {
                self.handshake_rejected(now, id, &failure, out);
                return None;
            }
        }
        (!rest.is_empty()).then_some(rest)
    }

    fn handshake_rejected(&mut self, now: Now, id: LinkId, failure: &Failure, out: &mut Outbox) {
        match self.table.get_mut(id) {
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
        let is_in = self.table.get(id).is_some_and(|link| link.direction == Direction::In);
        match matches!(failure, Failure::Version(_)) && is_in {
            // It was answered, and the other end is to learn the reason.
            true => self.leave(now, id, false, code, &reason, out),
            false => self.close(now, id, code, &reason, out),
        }
    }

    /// A link that was dialled has ended before its peer sent a byte. If that is what one of level 1 does, it is dialled again at
    /// once at level 1: true.
    pub(super) fn falls_back(&mut self, id: LinkId, out: &mut Outbox) -> bool {
        if self.is_secure() || self.ending.is_some() || !self.is_unanswered(id) {
            return false;
        }
        let Some(link) = self.table.get(id) else { return false };
        let (addr, name) = (link.addr, link.target.clone().unwrap_or_default());
        if !self.dialler.allows_level1(&name) {
            return false;
        }
        self.log(LogLevel::Debug, out, || format!("{addr} speaks level 1"));
        self.table.remove(id, out);
        self.dialler.dial_level1(&name, addr, out);
        true
    }

    /// Whether a link was dialled at level 2 and nothing has come yet.
    fn is_unanswered(&self, id: LinkId) -> bool {
        self.table.get(id).is_some_and(|link| link.direction == Direction::Out && link.crypt.is_untouched())
    }

    /// The reason why a link has ended before its peer's hello.
    pub(super) fn why_no_hello(&self, id: LinkId) -> (LinkCode, String) {
        let crypt = self.table.get(id).map(|link| &link.crypt);
        let (code, reason) = match crypt {
            Some(Crypt::Handshake(_) | Crypt::Offloaded) if self.noise.is_private() => {
                (LinkCode::HandshakeFailed, OTHER_NETWORK)
            }
            Some(Crypt::Handshake(_)) if self.is_unanswered(id) => {
                (LinkCode::Level1Refused, "the peer closed the link at the handshake, as one of level 1 does")
            }
            Some(Crypt::Handshake(_) | Crypt::Offloaded) => {
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

/// All that a dialler in a private network can say: a node that lacks the key is not answered.
const OTHER_NETWORK: &str = "the handshake failed: it has not this network's key";
