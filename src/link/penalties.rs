//! Penalties: what strikes, bans and blocks do to links.

use std::net::IpAddr;

use super::abuse::{self, Strike};
use super::blocks::{self, Blocked, Row};
use super::{Link, Links, News, Trouble};
use crate::base::{LinkCode, LinkId, LogLevel, Now};
use crate::outbox::Outbox;

impl Links {
    /// Counts a strike: the peer at the other end of a link has done what no honest node does. The third time closes the link,
    /// with all others of that address.
    pub fn strike(&mut self, now: Now, id: LinkId, why: &str, out: &mut Outbox) {
        let Some(addr) = self.table.get(id).map(|link| link.addr) else { return };
        self.counters.strikes += 1;
        self.log(LogLevel::Warn, out, || format!("a strike against {addr}: {why}"));
        match self.offenders.strike(now.mono, id, addr.ip()) {
            Strike::Counted => {}
            Strike::Close => self.close(now, id, LinkCode::Banned, &format!("its third strike: {why}"), out),
            Strike::Ban => {
                self.counters.bans += 1;
                let net = abuse::net(addr.ip());
                for id in self.table.ids(|link| abuse::net(link.addr.ip()) == net) {
                    self.close(now, id, LinkCode::Banned, &format!("its address is banned: {why}"), out);
                }
                let minutes = crate::wire::limits::BAN_TIME.as_secs() / 60;
                let message = format!(
                    "{} is banned for {minutes} minutes: {why}; {{\"cmd\":\"blocks\"}} lists all bans",
                    addr.ip()
                );
                self.news.push(News::Trouble(Trouble::Banned, message));
            }
        }
    }

    /// Blocks a party, and closes the links that it leaves no room for. Gives its row, and how many were closed.
    pub fn block(&mut self, now: Now, blocked: &Blocked, for_ms: Option<u64>, out: &mut Outbox) -> (Row, usize) {
        let row = self.blocks.add(now, blocked, for_ms);
        let is = |link: &Link| match blocked {
            Blocked::Peer(id) => link.peer.as_ref().is_some_and(|peer| blocks::one_form(&peer.id.text()) == *id),
            Blocked::Addr(ip) => link.addr.ip().to_canonical() == *ip,
            Blocked::Author(_) => false,
        };
        let links = self.table.ids(|link| is(link) && !link.is_leaving());
        self.dialler.block(&links);
        for &id in &links {
            self.close(now, id, LinkCode::Blocked, "a command has blocked it", out);
        }
        (row, links.len())
    }

    /// Lifts a block, and dials what it kept from being dialled: those that another block is for find out. False: there was none.
    pub fn lift_block(&mut self, now: Now, blocked: &Blocked, out: &mut Outbox) -> bool {
        if !self.blocks.lift(blocked) {
            return false;
        }
        for addr in self.dialler.unblock(now) {
            self.dial(now, &addr, out);
        }
        true
    }

    /// Ends the ban of an address, if it has one.
    pub fn lift_ban(&mut self, now: Now, ip: IpAddr) -> bool {
        self.offenders.lift_ban(now.mono, ip)
    }
}
