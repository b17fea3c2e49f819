//! Hello: the first frame of a link, and what it is refused for.
//!
//! A peer of level 1 can prove nothing: so it may bear no id that belongs to a key. One of level 2 may only bear the id that it
//! has proved in the handshake.

use std::borrow::Cow;

use super::peer::Peer;
use super::{Links, News, Stage, Trouble};
use crate::base::{LinkCode, LinkId, LogLevel, Now};
use crate::outbox::Outbox;
use crate::wire::identity::belongs_to_a_key;
use crate::wire::message::{Field, Refusal, View};
use crate::wire::outgoing::{self, Message, Ours};

impl Links {
    /// Sends our hello.
    pub(super) fn say_hello(&mut self, now: Now, id: LinkId, out: &mut Outbox) {
        let hello_id = self.chance.uuid();
        let level2 = self.table.get(id).is_some_and(|link| link.crypt.is_sealed());
        let settings = &self.settings;
        // At level 1 nobody would know what to do with it, or believe it.
        let extra = level2.then_some(Ours {
            version: outgoing::VERSION,
            listen: settings.listen.as_deref(),
            caps: outgoing::CAPABILITIES,
        });
        let hello =
            Message::Hello { id: &hello_id, from: &settings.id.text(), username: &settings.username, p2p_chat: extra };
        let bytes = out.write(|buffer| outgoing::frame(&hello, buffer));
        self.queue(now, id, &bytes, out);
        if let Some(link) = self.table.get_mut(id) {
            link.hello_id = Some(hello_id.into());
        }
    }

    /// Handles the first frame of a link.
    pub fn on_hello(&mut self, now: Now, id: LinkId, frame: &[u8], out: &mut Outbox) {
        let Some(link) = self.table.get(id) else { return };
        let authenticated_id = link.crypt.authenticated_id().cloned();
        let pin = link.target.as_ref().and_then(|name| self.dialler.pin(name).cloned());
        let (peer, hello_id) = match read_hello(frame, authenticated_id.is_some()) {
            Ok(hello) => hello,
            Err(why) => {
                let reason = format!("its first frame is no hello: {why}");
                return self.close(now, id, LinkCode::NotANode, &reason, out);
            }
        };
        let incoming = !link.direction.is_out();
        let unproven = match &authenticated_id {
            Some(proven) if *proven != peer.id => Some("its hello names another id than it has proved"),
            None if belongs_to_a_key(&peer.id) => Some("its id belongs to a key, which level 1 can't prove"),
            _ => None,
        };
        if let Some(reason) = unproven {
            // At level 1 it may be a node of ours whose link of level 2 was refused.
            if authenticated_id.is_some() {
                self.strike(now, id, reason, out);
            }
            return self.close(now, id, LinkCode::UnprovenId, reason, out);
        }
        if pin.is_some_and(|pin| pin != peer.id) {
            let reason = format!("the node there is {}, not the one that was asked for", peer.id);
            return self.close(now, id, LinkCode::WrongPeer, &reason, out);
        }
        if peer.id == self.settings.id {
            return self.on_own_id(now, id, incoming, hello_id.as_deref(), out);
        }
        if self.blocks.has_peer(&peer.id.text()) {
            let reason = format!("{} is blocked", peer.id);
            return self.close(now, id, LinkCode::Blocked, &reason, out);
        }
        if let Some(first) = self.neighbours.get(&peer.id) {
            return self.settle(now, id, first, peer, incoming, out);
        }
        if self.neighbours.len() >= self.settings.max_links {
            self.counters.links_refused += 1;
            let reason = "there are as many links as may be: raise --max-links, or disconnect a peer";
            return self.close(now, id, LinkCode::TooManyLinks, reason, out);
        }
        if incoming {
            self.say_hello(now, id, out);
        }
        self.link_up(now, id, peer, out);
    }

    /// A peer claims our own id: most likely we have dialled ourselves.
    fn on_own_id(&mut self, now: Now, id: LinkId, incoming: bool, hello_id: Option<&str>, out: &mut Outbox) {
        let is_ours =
            hello_id.is_some_and(|hello| self.table.iter().any(|(_, it)| it.hello_id.as_deref() == Some(hello)));
        if incoming {
            // Answered all the same, so that the dialling end (this node) learns whom it has reached.
            self.say_hello(now, id, out);
        }
        if !is_ours {
            let addr = self.table.get(id).map(|link| link.addr.to_string()).unwrap_or_default();
            let message = format!("the peer at {addr} claims this node's own id, and was refused");
            self.news.push(News::Trouble(Trouble::OwnIdTaken, message));
        }
        if incoming {
            self.leave(now, id, false, LinkCode::OwnAddress, "it is this node itself", out);
        } else {
            self.close(now, id, LinkCode::OwnAddress, "it is this node itself", out);
        }
    }

    fn link_up(&mut self, now: Now, id: LinkId, peer: Peer, out: &mut Outbox) {
        let Some(link) = self.table.get_mut(id) else { return };
        (link.stage, link.since) = (Stage::Up, now.mono);
        let (target, addr, direction) = (link.target.clone(), link.addr, link.direction);
        let (peer_id, username, level, pings) = (peer.id.clone(), peer.username.clone(), peer.level, peer.pings);
        self.neighbours.insert(&peer, id);
        link.peer = Some(peer);
        self.news.push(News::Up {
            link: id,
            peer: peer_id.clone(),
            username: username.clone(),
            addr: addr.to_string(),
            direction,
            level,
        });
        if pings {
            self.ping(now, id, out);
        }
        if let Some(target) = target {
            self.target_linked(&target, id, &peer_id);
        }
        self.table.arm(id);
        self.log(LogLevel::Info, out, || format!("linked with {username} ({peer_id}) at {addr}"));
    }
}

/// Reads a hello: the peer that says it, and the message's id.
fn read_hello(frame: &[u8], level2: bool) -> Result<(Peer, Option<String>), &'static str> {
    let view = View::parse(frame).map_err(|_| "not a JSON object within the limits")?;
    if view.kind.string().as_deref() != Ok("hello") {
        return Err("its type is another");
    }
    let name = |field: Field<'_>| match field.name() {
        Ok(name) => Ok(name.into_owned()),
        Err(Refusal::Malformed) => Err("a field is missing, or is not a string"),
        Err(Refusal::OverLimit) => Err("a field is empty, or over 64 bytes"),
    };
    let id = name(view.from)?.as_str().into();
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
    Ok((peer, view.id.name().ok().map(Cow::into_owned)))
}

/// The capabilities that a hello's extra object names; `None` if that is not ours, or of no version.
fn capabilities(json: &str) -> Option<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Extra {
        version: u64,
        #[serde(default)]
        caps: Vec<serde_json::Value>,
    }
    let extra: Extra = serde_json::from_str(json).ok()?;
    let caps = extra.caps.into_iter().filter_map(|cap| cap.as_str().map(str::to_owned)).collect();
    (extra.version >= 1).then_some(caps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_names_a_peer_and_at_level_2_what_it_can() {
        let hello =
            br#"{"type":"hello","id":"h","from":"a","username":"A","p2p_chat":{"version":1,"caps":["ping",7,"x"]}}"#;
        let (peer, id) = read_hello(hello, true).expect("a hello");
        assert_eq!((&*peer.id.text(), &*peer.username, id.as_deref()), ("a", "A", Some("h")));
        assert!(peer.is_level2() && peer.pings && !peer.confirms && !peer.nicks);
        let (peer, _) = read_hello(hello, false).expect("a hello");
        assert!(!peer.is_level2() && !peer.pings, "level 1 is believed nothing more");
    }

    #[test]
    fn other_frames_are_no_hello_and_told_why() {
        let long = format!(r#"{{"type":"hello","from":"{}","username":"A"}}"#, "x".repeat(65));
        for (frame, why) in [
            (r#"[]"#, "not a JSON object within the limits"),
            (r#"{"type":"chat","from":"a","username":"A"}"#, "its type is another"),
            (r#"{"type":"hello","username":"A"}"#, "a field is missing, or is not a string"),
            (long.as_str(), "a field is empty, or over 64 bytes"),
        ] {
            assert_eq!(read_hello(frame.as_bytes(), true).err(), Some(why), "{frame}");
        }
    }

    #[test]
    fn capabilities_of_no_version_are_none() {
        assert_eq!(capabilities(r#"{"version":0,"caps":["ping"]}"#), None);
        assert_eq!(capabilities(r#"{"caps":["ping"]}"#), None);
        assert_eq!(capabilities(r#"{"version":2}"#), Some(Vec::new()));
    }
}
