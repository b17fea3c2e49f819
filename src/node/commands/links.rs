//! Commands of links: `connect`, `disconnect`, `peers`.

use super::waits::What;
use super::{Answer, refuse, short};
use crate::api::arguments::{ConnectArgs, DisconnectArgs};
use crate::api::error::ApiError;
use crate::api::event::LinkCode;
use crate::api::{ErrorCode, result};
use crate::node::dial::{State, read_target};
use crate::node::links::Stage;
use crate::node::{LinkId, Node, Now, Outbox};

impl Node {
    pub(super) fn connect(&mut self, now: Now, args: &ConnectArgs, out: &mut Outbox) -> Answer<What> {
        let (pin, addr) = read_target(&args.addr)?;
        let linked = match self.targets.get(&addr).map(|target| target.state) {
            Some(State::Linked(link)) => Some(link),
            _ => self
                .links
                .iter()
                .find(|(_, it)| it.stage == Stage::Up && it.addr.to_string() == addr)
                .map(|(id, _)| *id),
        };
        let peer = linked.and_then(|id| self.links.get(&id)?.peer.as_ref()).map(|peer| peer.id.to_string());
        if let Some(peer) = peer {
            if let Some(pin) = pin.filter(|pin| **pin != *peer) {
                let message = format!("{addr}: the node there is {peer}, not {pin}");
                return refuse(ErrorCode::WrongPeer, message);
            }
            return Ok(What::Connect { addr, outcome: Some(Ok(peer)) });
        }
        if self.is_own_addr(&addr) {
            let message = format!("{addr}: it is this node's own address");
            return refuse(ErrorCode::OwnAddress, message);
        }
        if self.neighbours.len() >= self.config.max_links {
            let message = format!("there are {} links, as many as may be: disconnect one first", self.neighbours.len());
            return refuse(ErrorCode::TooManyLinks, message);
        }
        let is_blocked = self.targets.get(&addr).is_some_and(|target| target.state == State::Blocked);
        if is_blocked || self.is_blocked_target(&addr) {
            return refuse(ErrorCode::Blocked, format!("{addr}: it is blocked; `unblock` it first"));
        }
        self.add_target(now, &addr, pin)?;
        self.dial(now, &addr, out);
        Ok(What::Connect { addr, outcome: None })
    }

    pub(super) fn disconnect(
        &mut self,
        now: Now,
        args: &DisconnectArgs,
        out: &mut Outbox,
    ) -> Answer<result::Disconnected> {
        let (targets, links): (Vec<String>, Vec<LinkId>) = match (&args.peer, &args.addr) {
            (Some(_), Some(_)) => return refuse(ErrorCode::BadValue, "`peer` or `addr`, not both"),
            (None, None) => return refuse(ErrorCode::MissingField, "`peer` or `addr` is needed"),
            (Some(peer), None) => {
                let Some(id) = self.neighbours.get(peer) else {
                    return refuse(ErrorCode::NotFound, format!("no neighbour `{}`", short(peer)));
                };
                let targets = self.targets.iter().filter(|(_, it)| it.state == State::Linked(id));
                (targets.map(|(addr, _)| addr.clone()).collect(), vec![id])
            }
            (None, Some(addr)) => {
                let (_, addr) = read_target(addr)?;
                let target = self.targets.get(&addr).map(|it| it.state);
                let linked =
                    |id: &LinkId| matches!(target, Some(State::Linked(it) | State::Greeting(it, _)) if it == *id);
                let at_addr = self.links.iter().filter(|(id, it)| linked(id) || it.addr.to_string() == addr);
                let links: Vec<LinkId> =
                    at_addr.filter(|(_, it)| !matches!(it.stage, Stage::Leaving { .. })).map(|(id, _)| *id).collect();
                if target.is_none() && links.is_empty() {
                    return refuse(ErrorCode::NotFound, format!("nothing is linked or dialled at {addr}"));
                }
                let others =
                    self.targets.iter().filter(|(_, it)| matches!(it.state, State::Linked(id) if links.contains(&id)));
                let mut targets: Vec<String> = others.map(|(addr, _)| addr.clone()).collect();
                targets.push(addr);
                (targets, links)
            }
        };
        for addr in targets {
            self.targets.remove(&addr);
            let error = ApiError::new(ErrorCode::ConnectFailed, format!("{addr}: `disconnect` ended the dial"));
            self.settle_connects(&addr, &Err(error));
        }
        let closed = links.len();
        for id in links {
            self.leave_link(now, id, false, LinkCode::Disconnected, "a command closed the link", out);
        }
        Ok(result::Disconnected { closed })
    }

    pub(super) fn peers(&self, now: Now) -> result::Peers {
        let mut ids: Vec<LinkId> = self.neighbours.iter().map(|it| it.link).collect();
        ids.sort_unstable();
        let peers = ids.iter().filter_map(|id| self.links.get(id)).filter_map(|link| {
            let peer = link.peer.as_ref()?;
            Some(result::PeerInfo {
                peer: peer.id.to_string(),
                username: peer.username.clone(),
                addr: link.addr.to_string(),
                direction: link.direction,
                connected_s: now.mono.duration_since(link.since).as_secs(),
                rtt_ms: link.rtt.map(|rtt| (rtt.as_secs_f64() * 1e6).round() / 1e3),
                level: peer.level,
                secure: peer.level >= 2,
                queued: link.queue.held().0,
            })
        });
        result::Peers { peers: peers.collect() }
    }
}
