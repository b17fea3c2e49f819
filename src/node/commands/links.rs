//! Commands of links: `connect`, `disconnect`, `peers`.

use super::{Answer, refuse, short};
use crate::api::arguments::{ConnectArgs, DisconnectArgs};
use crate::api::error::ApiError;
use crate::api::event::LinkCode;
use crate::api::{ErrorCode, result};
use crate::base::NodeId;
use crate::link::addr;
use crate::link::dial::{NotAdded, State};
use crate::node::waits::What;
use crate::node::{LinkId, Node, Now, Outbox};
use crate::wire::limits::MAX_TARGETS;

impl Node {
    pub(super) fn connect(&mut self, now: Now, args: &ConnectArgs, out: &mut Outbox) -> Answer<What> {
        let (pin, addr) = read_target(&args.addr)?;
        if let Some(peer) = self.links.peer_at(&addr) {
            if let Some(pin) = pin.filter(|pin| *pin != peer) {
                let message = format!("{addr}: the node there is {peer}, not {pin}");
                return refuse(ErrorCode::WrongPeer, message);
            }
            return Ok(What::Connect { addr, outcome: Some(Ok(peer.to_string())) });
        }
        if self.links.is_own_addr(&addr) {
            let message = format!("{addr}: it is this node's own address");
            return refuse(ErrorCode::OwnAddress, message);
        }
        let links = self.links.neighbours().len();
        if links >= self.config.max_links {
            let message = format!("there are {links} links, as many as may be: disconnect one first");
            return refuse(ErrorCode::TooManyLinks, message);
        }
        if self.links.dialler().state(&addr) == Some(State::Blocked) || self.links.is_blocked_addr(&addr) {
            return refuse(ErrorCode::Blocked, format!("{addr}: it is blocked; `unblock` it first"));
        }
        match self.links.connect(now, &addr, pin.clone(), out) {
            Ok(()) => Ok(What::Connect { addr, outcome: None }),
            Err(NotAdded::TooMany) => {
                let message = format!("{MAX_TARGETS} addresses are being dialled; `disconnect` one first");
                refuse(ErrorCode::TooManyLinks, message)
            }
            Err(NotAdded::OtherNode(other)) => {
                let pin = pin.map(|pin| pin.to_string()).unwrap_or_default();
                let message = format!("{addr} is dialled for {other}, not for {pin}: `disconnect` it first");
                refuse(ErrorCode::WrongPeer, message)
            }
        }
    }

    pub(super) fn disconnect(
        &mut self,
        now: Now,
        args: &DisconnectArgs,
        out: &mut Outbox,
    ) -> Answer<result::Disconnected> {
        let served = |it: &Self, links: &[LinkId]| -> Vec<String> {
            links.iter().flat_map(|link| it.links.dialler().served_by(*link)).cloned().collect()
        };
        let (targets, links): (Vec<String>, Vec<LinkId>) = match (&args.peer, &args.addr) {
            (Some(_), Some(_)) => return refuse(ErrorCode::BadValue, "`peer` or `addr`, not both"),
            (None, None) => return refuse(ErrorCode::MissingField, "`peer` or `addr` is needed"),
            (Some(peer), None) => {
                let Some(id) = self.links.neighbours().get(&**peer) else {
                    return refuse(ErrorCode::NotFound, format!("no neighbour `{}`", short(peer)));
                };
                (served(self, &[id]), vec![id])
            }
            (None, Some(addr)) => {
                let (_, addr) = read_target(addr)?;
                let links = self.links.at_addr(&addr);
                if self.links.dialler().state(&addr).is_none() && links.is_empty() {
                    return refuse(ErrorCode::NotFound, format!("nothing is linked or dialled at {addr}"));
                }
                let mut targets = served(self, &links);
                targets.sort_unstable();
                targets.push(addr);
                (targets, links)
            }
        };
        for addr in targets {
            self.links.forget_target(&addr);
            let error = ApiError::new(ErrorCode::ConnectFailed, format!("{addr}: `disconnect` ended the dial"));
            self.settle_connects(&addr, &Err(error));
        }
        let closed = links.len();
        for id in links {
            self.links.leave(now, id, false, LinkCode::Disconnected, "a command closed the link", out);
        }
        self.hear_links(now, out);
        Ok(result::Disconnected { closed })
    }

    pub(super) fn peers(&self, now: Now) -> result::Peers {
        let mut ids: Vec<LinkId> = self.links.neighbours().iter().map(|it| it.link).collect();
        ids.sort_unstable();
        let peers = ids.iter().filter_map(|id| self.links.get(*id)).filter_map(|link| {
            let peer = link.peer()?;
            Some(result::PeerInfo {
                peer: peer.id.to_string(),
                username: peer.username.clone(),
                addr: link.addr().to_string(),
                direction: link.direction(),
                connected_s: now.mono.duration_since(link.since()).as_secs(),
                rtt_ms: link.rtt().map(|rtt| (rtt.as_secs_f64() * 1e6).round() / 1e3),
                level: peer.level,
                secure: peer.is_level2(),
                queued: link.queued().0,
            })
        });
        result::Peers { peers: peers.collect() }
    }
}

/// Reads an address to dial, with an id before it or not: see [`link::addr`](crate::link::addr).
fn read_target(text: &str) -> Answer<(Option<NodeId>, String)> {
    addr::read_target(text).map_err(|message| ApiError::new(ErrorCode::BadValue, message))
}
