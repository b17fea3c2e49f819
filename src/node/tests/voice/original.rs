//! An original, as far as voice goes: it speaks level 1 byte by byte, with nothing of ours in it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::sim::{At, Net, Peer};
use crate::voice::{FRAME, Frame};

/// An original.
pub struct Original {
    pub peer: Peer,
    pub addr: SocketAddr,
    pub id: String,
    pub sequence: u32,
    said: u32,
}

/// A datagram of level 1 that somebody got.
#[derive(Debug, Clone)]
pub struct Heard {
    pub at: Duration,
    pub from: String,
    pub sequence: u32,
    pub pcm: Frame,
}

impl Original {
    /// One at `10.77.0.n`, that has dialled a node.
    pub fn linked(net: &mut Net, n: u8, at: At) -> Self {
        let original = Self::alone(net, n);
        net.link_peer(original.peer, at, &original.id, &format!("old{n}"));
        net.settle();
        original
    }

    /// One that nobody knows yet.
    pub fn alone(net: &mut Net, n: u8) -> Self {
        let addr = SocketAddr::from(([10, 77, 0, n], 6000));
        let peer = net.peer(addr);
        Self { peer, addr, id: format!("10.77.0.{n}:5000"), sequence: 1000, said: 0 }
    }

    pub fn signal(&mut self, kind: &str, room: &str) -> Value {
        self.said += 1;
        let mut message = json!({ "type": kind, "id": format!("{}-{}", self.id, self.said), "from": self.id,
            "username": "old", "room": room, "ttl": 5, "ts": "2026-01-01T00:00:00" });
        if kind == "voice_join" {
            message["udp_host"] = json!(self.addr.ip().to_string());
            message["udp_port"] = json!(self.addr.port());
        }
        message
    }

    pub fn join(&mut self, net: &mut Net, at: At) {
        let join = self.signal("voice_join", "general");
        net.say(self.peer, at, &join);
        net.settle();
    }

    pub fn datagram(&mut self, room: &str, pcm: &Frame) -> Vec<u8> {
        self.sequence += 1;
        datagram(room, &self.id, self.sequence, pcm)
    }

    /// Says 20 ms to some nodes.
    pub fn say(&mut self, net: &mut Net, to: &[At], pcm: &Frame) {
        let bytes = self.datagram("general", pcm);
        to.iter().for_each(|to| net.throw_from(self.peer, *to, bytes.clone()));
    }

    /// The datagrams of level 1 that it received.
    pub fn heard(&self, net: &Net) -> Vec<Heard> {
        net.got(self.peer).iter().filter_map(|(at, bytes)| read(*at, bytes)).collect()
    }
}

pub fn datagram(room: &str, id: &str, sequence: u32, pcm: &Frame) -> Vec<u8> {
    let padded = |name: &str, n: usize| {
        let mut bytes = name.as_bytes().to_vec();
        bytes.resize(n, 0);
        bytes
    };
    let mut bytes = [padded(room, 16), padded(id, 36), sequence.to_be_bytes().to_vec()].concat();
    bytes.extend(pcm.iter().flat_map(|sample| sample.to_le_bytes()));
    bytes
}

pub fn read(at: Duration, bytes: &[u8]) -> Option<Heard> {
    if bytes.len() != 696 {
        return None;
    }
    let from = String::from_utf8_lossy(&bytes[16..52]).trim_end_matches('\0').to_owned();
    let mut pcm = [0; FRAME];
    for (sample, bytes) in pcm.iter_mut().zip(bytes[56..].chunks(2)) {
        *sample = i16::from_le_bytes([bytes[0], bytes[1]]);
    }
    Some(Heard { at, from, sequence: u32::from_be_bytes(bytes[52..56].try_into().expect("4")), pcm })
}

/// The samples of datagrams, in their order.
pub fn samples<'h>(heard: impl IntoIterator<Item = &'h Heard>) -> Vec<i16> {
    heard.into_iter().flat_map(|it| it.pcm).collect()
}
