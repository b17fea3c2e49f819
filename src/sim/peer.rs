//! Peers that are no nodes of ours: originals, and attackers. What they send is up to the test; what they get is kept.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::records::Newest;
use super::{At, Net, What};
use crate::node::{DialId, Input, LinkId};
use crate::wire::frame::{Allowance, Decoder, Item};
use crate::wire::noise::MAGIC;

/// A peer's place in the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(usize);

/// A peer: its address, its links, and the frames and datagrams that it has received.
#[derive(Debug)]
pub(super) struct Raw {
    addr: SocketAddr,
    listens: bool,
    links: BTreeSet<(At, LinkId)>,
    dialled: usize,
    decoder: Decoder,
    frames: Newest<Value>,
    datagrams: Newest<(Duration, Vec<u8>)>,
}

impl Raw {
    /// Keeps no more than so many records of each kind.
    pub(super) fn limit(&mut self, most: usize) {
        self.frames.limit(most);
        self.datagrams.limit(most);
    }
}

impl Net {
    /// Adds a peer with an address, for datagrams and links. It is reached at once, with no delay.
    pub fn peer(&mut self, addr: SocketAddr) -> Peer {
        let decoder = Decoder::default();
        let most = self.most_records;
        let (links, frames, datagrams) = (BTreeSet::new(), Newest::new(most), Newest::new(most));
        self.peers.push(Raw { addr, listens: false, links, dialled: 0, decoder, frames, datagrams });
        Peer(self.peers.len() - 1)
    }

    /// Whether it can be dialled.
    pub fn listens(&mut self, peer: Peer, listens: bool) {
        self.peers[peer.0].listens = listens;
    }

    /// How often it has been dialled.
    pub fn dials_to(&self, peer: Peer) -> usize {
        self.peers[peer.0].dialled
    }

    /// Has a peer dial a node, and say hello.
    pub fn link_peer(&mut self, peer: Peer, at: At, id: &str, username: &str) {
        let link = self.new_link();
        let mut addr = self.peers[peer.0].addr;
        addr.set_port(40_000);
        self.peers[peer.0].links.insert((at, link));
        self.handle(at, Input::Accepted { link, addr });
        self.say(peer, at, &json!({ "type": "hello", "id": format!("h{}", link.0), "from": id, "username": username }));
    }

    /// Has a peer send a message over its link to a node.
    pub fn say(&mut self, peer: Peer, at: At, message: &Value) {
        self.say_at_once(peer, at, std::slice::from_ref(message));
    }

    /// Has a peer send messages that the node reads all at once.
    pub fn say_at_once(&mut self, peer: Peer, at: At, messages: &[Value]) {
        let link = self.peers[peer.0].links.iter().find(|(it, _)| *it == at).map(|(_, link)| *link);
        let bodies = messages.iter().map(Value::to_string);
        let frames = bodies.map(|body| [&(body.len() as u32).to_be_bytes()[..], body.as_bytes()].concat());
        let bytes: Vec<u8> = frames.flatten().collect();
        if let Some(link) = link {
            self.handle(at, Input::Bytes { link, bytes: &bytes });
        }
    }

    /// Has a peer hang up on a node.
    pub fn hang_up(&mut self, peer: Peer, at: At) {
        let links: Vec<LinkId> = self.peers[peer.0].links.iter().filter(|it| it.0 == at).map(|it| it.1).collect();
        for link in links {
            self.peers[peer.0].links.remove(&(at, link));
            self.handle(at, Input::Ended { link, error: Some("reset".into()) });
        }
    }

    /// Has a peer throw a datagram at a node, from its own address.
    pub fn throw_from(&mut self, peer: Peer, to: At, bytes: Vec<u8>) {
        self.forge(self.peers[peer.0].addr, to, bytes);
    }

    /// The messages that a peer got: the newest.
    pub fn frames(&self, peer: Peer) -> &[Value] {
        &self.peers[peer.0].frames
    }

    /// The datagrams that a peer got, the newest, and when.
    pub fn got(&self, peer: Peer) -> &[(Duration, Vec<u8>)] {
        &self.peers[peer.0].datagrams
    }

    pub(super) fn peer_dialled(&mut self, from: At, dial: DialId, addr: &str) -> bool {
        let Some(n) = self.peers.iter().position(|it| it.addr.to_string() == addr && it.listens) else { return false };
        let link = self.new_link();
        let peer = &mut self.peers[n];
        peer.dialled += 1;
        peer.links.insert((from, link));
        let addr = peer.addr;
        self.handle(from, Input::Dialled { dial, link, addr, more: false });
        true
    }

    pub(super) fn peer_closed(&mut self, at: At, link: LinkId) {
        for peer in &mut self.peers {
            peer.links.remove(&(at, link));
        }
    }

    pub(super) fn peer_was_sent(&mut self, at: At, link: LinkId, mut bytes: &[u8]) {
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.links.contains(&(at, link))) else { return };
        if bytes.first() == Some(&MAGIC[0]) {
            // An original reads it as a length that can't be.
            peer.links.remove(&(at, link));
            return self.schedule(Duration::ZERO, at, What::Broken(link));
        }
        while let Ok(Some(Item::Frame(frame))) = peer.decoder.next(&mut bytes, Allowance::Level2) {
            serde_json::from_slice(frame).into_iter().for_each(|frame| drop(peer.frames.push(frame)));
        }
    }

    pub(super) fn peer_got(&mut self, to: SocketAddr, bytes: &[u8]) {
        let now = self.now;
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.addr == to) {
            drop(peer.datagrams.push((now, bytes.to_vec())));
        }
    }
}
