//! Hello, and which of two links between the same two nodes stays.
//!
//! Two nodes that dial each other at once have two links, and must come to keep the same one. The node with the lower
//! id decides: it keeps the link that it has had first, and leaves the other as soon as its peer has sent something on
//! the one that stays, and so knows of it. The other node goes on with its own first link until one of the two ends: if
//! that was its first, the second takes its place, with no event and nothing lost, since what had been sent on the link
//! that ends is still read.
//!
//! A peer of level 1 knows nothing of this: there the second link is closed, as the original does. It can prove nothing, either: so it
//! may bear no id that belongs to a key; and one of level 2 only that which it has proved in the handshake.

use super::links::{Peer, Stage};
use super::{LinkId, LogLevel, Node, Now, Outbox};
use crate::api::event::{Event, LinkCode, PeerUp, WarningCode};
use crate::wire::identity::belongs_to_a_key;
use crate::wire::message::{Refusal, View};
use crate::wire::outgoing::{self, Message, Ours};

impl Node {
    /// Sends our hello.
    pub(super) fn say_hello(&mut self, now: Now, id: LinkId, out: &mut Outbox) {
        let hello_id = self.chance.link.uuid();
        let listen = self.listen_addr();
        let level2 = self.links.get(&id).is_some_and(|link| link.crypt.proven().is_some());
        // At level 1 nobody would know what to do with it, or believe it.
        let ours = level2.then_some(Ours {
            version: outgoing::VERSION,
            listen: listen.as_deref(),
            caps: outgoing::CAPABILITIES,
        });
        let hello = Message::Hello { id: &hello_id, from: &self.id, username: &self.username, p2p_chat: ours };
        let bytes = out.write(|buffer| outgoing::frame(&hello, buffer));
        self.queue(now, id, &bytes, out);
        if let Some(link) = self.links.get_mut(&id) {
            link.hello_id = Some(hello_id);
        }
    }

    /// The first frame of a link came.
    pub(super) fn greeted(&mut self, now: Now, id: LinkId, frame: &[u8], out: &mut Outbox) {
        let Some(link) = self.links.get(&id) else { return };
        let proven = link.crypt.proven().cloned();
        let pin = link.target.as_ref().and_then(|name| self.targets.get(name)?.pin.clone());
        let (peer, hello_id) = match read_hello(frame, proven.is_some()) {
            Ok(hello) => hello,
            Err(why) => {
                let reason = format!("its first frame is no hello: {why}");
                return self.close_link(now, id, LinkCode::NotANode, &reason, out);
            }
        };
        let incoming = !link.direction.is_out();
        let unproven = match &proven {
            Some(proven) if *proven != peer.id => Some("its hello names another id than it has proved"),
            None if belongs_to_a_key(&peer.id) => Some("its id belongs to a key, which level 1 can't prove"),
            _ => None,
        };
        if let Some(reason) = unproven {
            // At level 1 it may be a node of ours whose link of level 2 was refused.
            if proven.is_some() {
                self.strike(now, id, reason, out);
            }
            return self.close_link(now, id, LinkCode::UnprovenId, reason, out);
        }
        if pin.is_some_and(|pin| pin != peer.id) {
            let reason = format!("the node there is {}, not the one that was asked for", peer.id);
            return self.close_link(now, id, LinkCode::WrongPeer, &reason, out);
        }
        if peer.id == self.id {
            return self.greeted_by_own_id(now, id, incoming, hello_id.as_deref(), out);
        }
        if self.blocks.has_peer(&peer.id) {
            let reason = format!("{} is blocked", peer.id);
            return self.close_link(now, id, LinkCode::Blocked, &reason, out);
        }
        let first = self.neighbours.get(&peer.id);
        if let Some(first) = first {
            return self.settle(now, id, first, peer, incoming, out);
        }
        if self.neighbours.len() >= self.config.max_links {
            self.counters.links_refused += 1;
            let reason = "there are as many links as may be: raise --max-links, or disconnect a peer";
            return self.close_link(now, id, LinkCode::TooManyLinks, reason, out);
        }
        if incoming {
            self.say_hello(now, id, out);
        }
        self.link_up(now, id, peer, out);
    }

    /// A peer says it is us: most likely we have dialled ourselves.
    fn greeted_by_own_id(&mut self, now: Now, id: LinkId, incoming: bool, hello_id: Option<&str>, out: &mut Outbox) {
        let ours = hello_id.is_some_and(|hello| self.links.values().any(|it| it.hello_id.as_deref() == Some(hello)));
        if incoming {
            // Answered all the same, so that the dialling end (this node) learns whom it has reached.
            self.say_hello(now, id, out);
        }
        if !ours {
            let addr = self.links.get(&id).map(|link| link.addr.to_string()).unwrap_or_default();
            let message = format!("the peer at {addr} claims this node's own id, and was refused");
            self.warn(now, WarningCode::OwnIdTaken, &message, out);
        }
        if incoming {
            self.leave_link(now, id, false, LinkCode::OwnAddress, "it is this node itself", out);
        } else {
            self.close_link(now, id, LinkCode::OwnAddress, "it is this node itself", out);
        }
    }

    /// A second link to a neighbour: see the module.
    fn settle(&mut self, now: Now, id: LinkId, first: LinkId, peer: Peer, incoming: bool, out: &mut Outbox) {
        let both_ours = peer.level >= 2
            && self.links.get(&first).and_then(|link| link.peer.as_ref()).is_some_and(|peer| peer.level >= 2);
        let decides = *self.id < *peer.id;
        if both_ours && incoming {
            self.say_hello(now, id, out);
        }
        let peer_id = peer.id.clone();
        self.log(LogLevel::Debug, out, || format!("a second link to {peer_id}"));
        let Some(link) = self.links.get_mut(&id) else { return };
        link.peer = Some(peer);
        // From here on the link's end is no failure of its target: that is linked, by the first link.
        (link.stage, link.since) = (Stage::Waiting, now.mono);
        if let Some(target) = link.target.clone() {
            self.target_linked(&target, first, &peer_id);
        }
        let reason = "another link to it is in use";
        match (both_ours, decides, incoming) {
            (true, false, _) => self.ping(now, id, out),
            (true, true, _) if !self.links.get(&first).is_some_and(|link| link.proven) => {}
            (false, _, true) => self.close_link(now, id, LinkCode::Duplicate, reason, out),
            _ => self.leave_link(now, id, true, LinkCode::Duplicate, reason, out),
        }
    }

    /// The peer has sent something on a link, for the first time after hello: if it is the one to stay, others can go.
    pub(super) fn proven(&mut self, now: Now, id: LinkId, out: &mut Outbox) {
        let Some(peer) = self.links.get(&id).filter(|link| link.stage == Stage::Up).and_then(|it| it.peer.as_ref())
        else {
            return;
        };
        if *self.id > *peer.id {
            return;
        }
        let peer = peer.id.clone();
        let second = |it: &super::links::Link| {
            it.stage == Stage::Waiting && it.peer.as_ref().is_some_and(|other| other.id == peer)
        };
        let seconds: Vec<LinkId> = self.links.iter().filter(|(_, it)| second(it)).map(|(id, _)| *id).collect();
        for second in seconds {
            self.leave_link(now, second, true, LinkCode::Duplicate, "another link to it is in use", out);
        }
    }

    /// The second link takes the place of the first, which the other end has left.
    pub(super) fn promote(&mut self, now: Now, first: LinkId, second: LinkId, out: &mut Outbox) {
        let Some(link) = self.links.get_mut(&second) else { return };
        let Some(peer) = &link.peer else { return };
        self.neighbours.insert(peer, second);
        (link.stage, link.since) = (Stage::Up, now.mono);
        let pings = peer.pings;
        for target in self.targets.values_mut() {
            if target.state == super::dial::State::Linked(first) {
                target.state = super::dial::State::Linked(second);
            }
        }
        self.log(LogLevel::Debug, out, || "the second link takes the place of the first".to_owned());
        if pings {
            self.ping(now, second, out);
        }
    }

    fn link_up(&mut self, now: Now, id: LinkId, peer: Peer, out: &mut Outbox) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let (peer_id, pings) = (peer.id.clone(), peer.pings);
        (link.stage, link.since) = (Stage::Up, now.mono);
        let (target, addr, direction) = (link.target.clone(), link.addr.to_string(), link.direction);
        let (username, level) = (peer.username.clone(), peer.level);
        self.neighbours.insert(&peer, id);
        link.peer = Some(peer);
        let event = PeerUp { peer: &peer_id, username: &username, addr: &addr, direction, level, secure: level >= 2 };
        self.emit(&Event::PeerUp(event), out);
        if pings {
            self.ping(now, id, out);
        }
        self.tell_members(now, id, out);
        if let Some(target) = target {
            self.target_linked(&target, id, &peer_id);
        }
        self.log(LogLevel::Info, out, || format!("linked with {username} ({peer_id}) at {addr}"));
    }
}

/// Who says hello, and the message's id.
fn read_hello(frame: &[u8], level2: bool) -> Result<(Peer, Option<String>), &'static str> {
    let view = View::parse(frame).map_err(|_| "not a JSON object within the limits")?;
    if view.kind.string().as_deref() != Ok("hello") {
        return Err("its type is another");
    }
    let name = |field: crate::wire::message::Field<'_>| match field.name() {
        Ok(name) => Ok(name.into_owned()),
        Err(Refusal::Malformed) => Err("a field is missing, or is not a string"),
        Err(Refusal::OverLimit) => Err("a field is empty, or over 64 bytes"),
    };
    let id = name(view.from)?.into();
    let username = name(view.username)?;
    let caps = view.ours.json().filter(|_| level2).and_then(capabilities).unwrap_or_default();
    let has = |cap: &str| caps.iter().any(|it| it == cap);
    let peer = Peer {
        id,
        username,
        level: if level2 { 2 } else { 1 },
        pings: has(outgoing::PING),
        confirms: has(outgoing::CONFIRM),
        nicks: has(outgoing::NICK),
        is_host: false,
    };
    Ok((peer, view.id.name().ok().map(std::borrow::Cow::into_owned)))
}

/// The capabilities that a hello's extra object names; `None` if that is not ours, or of no version.
fn capabilities(json: &str) -> Option<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Theirs {
        version: u64,
        #[serde(default)]
        caps: Vec<serde_json::Value>,
    }
    let theirs: Theirs = serde_json::from_str(json).ok()?;
    let caps = theirs.caps.into_iter().filter_map(|cap| cap.as_str().map(str::to_owned)).collect();
    (theirs.version >= 1).then_some(caps)
}
