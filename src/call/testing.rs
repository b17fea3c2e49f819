//! Members of level 2 whose every move is a test's; and what tests see of [`Calls`].

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Calls, MAX_GAINS, star};
use crate::voice::Packet;
#[cfg(test)]
use crate::voice::talker::Talker;
use crate::wire::datagram::inside::{Inside, write_voice};
#[cfg(test)]
use crate::wire::datagram::sealed::HEADER;
use crate::wire::datagram::sealed::{KEY, Key};
use crate::wire::datagram::{Datagram, Sealer};
use crate::wire::identity::Identity;
use crate::wire::limits::{MAX_VOICE_KNOWN, MAX_VOICE_MEMBERS};
use crate::wire::signed::{self, SeqNo};

/// A member.
#[derive(Debug)]
pub struct Member {
    identity: Identity,
    key: [u8; KEY],
    sealer: Sealer,
    room: String,
    /// Where it is.
    pub addr: SocketAddr,
    n: u64,
}

impl Member {
    /// A member of a room. `secret`: another for each.
    pub fn new(secret: u32, room: &str, addr: SocketAddr) -> Self {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&secret.to_be_bytes());
        let (identity, key) = (Identity::new(&bytes), bytes.map(|byte| byte ^ 0x5A));
        Self { sealer: Sealer::new(identity.id_text(), room, &key), identity, key, room: room.into(), addr, n: 0 }
    }

    /// Its node id.
    pub fn id(&self) -> &str {
        self.identity.id_text()
    }

    /// Its session.
    pub const fn session(&self) -> u64 {
        self.sealer.session()
    }

    /// Its session's key.
    #[cfg(test)]
    pub const fn key(&self) -> [u8; KEY] {
        self.key
    }

    /// Begins another session.
    pub fn begin_anew(&mut self, key: u8) {
        self.key = [key; KEY];
        self.sealer = Sealer::new(self.identity.id_text(), &self.room, &self.key);
    }

    /// A signal, signed.
    pub fn signal(&mut self, kind: &str) -> Value {
        let session = format!("{:016x}", self.session());
        self.signal_with(
            kind,
            json!({ "session": session, "key": STANDARD.encode(self.key), "codecs": ["opus"], "muted": false }),
        )
    }

    /// A signal that says this of its session, signed.
    pub fn signal_with(&mut self, kind: &str, voice: Value) -> Value {
        let host = self.addr.ip().to_string();
        let mut signal = json!({ "type": kind, "from": self.id(), "username": "m", "room": self.room, "ttl": 5, "ttl0": 5,
            "ts": "", "voice": voice });
        signal["id"] = json!(format!("{}-{}", &self.id()[..18], self.n));
        match kind {
            "voice_join" => (signal["udp_host"], signal["udp_port"]) = (json!(host), json!(self.addr.port())),
            "voice_mute_status" => signal["muted"] = json!(true),
            _ => {}
        }
        self.n += 1;
        self.sign(&signal)
    }

    fn sign(&self, message: &Value) -> Value {
        let body = message.to_string();
        let mut frame = [&(body.len() as u32).to_be_bytes()[..], body.as_bytes()].concat();
        assert!(signed::sign(&self.identity, SeqNo { epoch: 1, n: self.n }, &mut frame));
        serde_json::from_slice(&frame[4..]).expect("JSON")
    }

    /// A datagram.
    pub fn datagram(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.sealer.seal(write, &mut bytes);
        bytes
    }

    /// A datagram of voice.
    pub fn voice(&mut self, packet: &Packet<'_>) -> Vec<u8> {
        self.datagram(|inside| write_voice(packet, true, inside))
    }
}

/// A datagram of a forger that knows a session's number, and not its key.
#[cfg(test)]
pub fn forged(session: u64, counter: u64, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    Sealer::new("forger", "room", &[9; KEY]).seal(write, &mut bytes);
    bytes[1..9].copy_from_slice(&session.to_be_bytes());
    bytes[9..HEADER].copy_from_slice(&counter.to_be_bytes());
    bytes
}

impl Calls {
    /// The sizes of what is held, each with its bound: for tests of random lives.
    pub fn held(&self) -> Vec<(&'static str, usize, usize)> {
        let mut held = self.roster.held();
        held.extend(self.rates.held());
        held.extend([
            ("members", self.roster.len(), MAX_VOICE_KNOWN),
            ("gains", self.gains.len(), MAX_GAINS),
            ("probes", self.probes.len(), star::MAX_PROBES),
        ]);
        if let Some(call) = &self.call {
            held.push(("streams", call.streams.len(), MAX_VOICE_MEMBERS));
            held.push(("sessions", call.sessions.len(), call.streams.len()));
            held.extend(call.star.held());
            held.extend(call.streams.values().flat_map(|stream| stream.star.held()));
        }
        held
    }

    /// Whether somebody is a member of any room's voice.
    pub fn is_member(&self, id: &str) -> bool {
        self.roster.get(id).is_some()
    }

    /// A member's session.
    #[cfg(test)]
    pub fn session_of_member(&self, id: &str) -> Option<u64> {
        self.roster.get(id)?.session
    }

    /// Whether the first of the members whose voice can be opened has echoed a challenge.
    #[cfg(test)]
    pub fn has_echo(&self) -> Option<bool> {
        Some(self.call.as_ref()?.streams.values().next()?.session.as_ref()?.echoed)
    }

    /// Goes on with its call as a node that has no codec. The next join says so.
    #[cfg(test)]
    pub fn lose_codec(&mut self) {
        let call = self.call.as_mut().expect("in voice");
        (call.talker, call.join) = (Talker::without_codec(), None);
    }

    /// Builds a member's stream from its last join as to what it decodes. Gives whether that is Opus.
    #[cfg(test)]
    pub fn reread_codec(&mut self, id: &str) -> bool {
        let opus = self.roster.get(id).expect("a member").opus;
        let stream = self.call.as_mut().and_then(|call| call.streams.get_mut(&crate::base::NodeId::from(id)));
        stream.expect("a stream").opus = opus;
        opus
    }

    /// The nonce of a challenge that this node has sent.
    pub fn nonce_of(&self, bytes: &[u8]) -> Option<u64> {
        let Ok(Datagram::Sealed(sealed)) = Datagram::parse(bytes) else { return None };
        let inside = sealed.open(&Key::new(&self.call.as_ref()?.key))?;
        match Inside::parse(&inside) {
            Ok(Inside::Challenge { nonce, .. }) => Some(nonce),
            _ => None,
        }
    }

    /// A datagram of our own session, as anyone can forge it who has heard the gossip of a room without a key.
    #[cfg(test)]
    pub fn as_a_listener_forges(&self, author: &str, counter: u64, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let call = self.call.as_ref().expect("in voice");
        let mut sealer = Sealer::new(author, &call.room, &call.key);
        assert_eq!(sealer.session(), call.sealer.session());
        sealer.skip_to(counter);
        let mut bytes = Vec::new();
        sealer.seal(write, &mut bytes);
        bytes
    }

    /// The session of our own.
    pub fn own_session(&self) -> Option<u64> {
        Some(self.call.as_ref()?.sealer.session())
    }
}
