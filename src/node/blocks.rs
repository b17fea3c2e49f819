//! Blocks by command, as clients and the state folder see them: see [`link::blocks`](crate::link::blocks).

use super::commands::{Answer, refuse, short};
use super::{Node, Now, Outbox, State};
use crate::api::arguments::{BlockArgs, MAX_NAME, UnblockArgs};
use crate::api::{ErrorCode, result};
use crate::base::{Table, millis};
use crate::link::blocks::{Blocked, MAX_FOR_MS, Row, one_form};
use crate::wire::limits::MAX_BLOCKS;

impl Node {
    /// Takes over the blocks of earlier runs.
    pub(super) fn load_blocks(&mut self, now: Now, state: Option<&State>, out: &mut Outbox) {
        let Some(state) = state else { return };
        if self.links.blocks_mut().load(now, state.rows(Table::Blocks)) {
            let rows = self.links.blocks_mut().rows(now);
            self.keep_blocks(rows, out);
        }
        // Some were over before this run began.
        self.blocks_due(now, out);
    }

    /// `block`
    pub(super) fn block(&mut self, now: Now, args: BlockArgs, out: &mut Outbox) -> Answer<result::Blocked> {
        let BlockArgs { peer, author, addr, for_ms } = args;
        let blocked = read(peer, author, addr)?;
        if !for_ms.is_none_or(|ms| (1..=MAX_FOR_MS).contains(&ms)) {
            return refuse(
                ErrorCode::BadValue,
                format!("`for_ms` is from 1 to {MAX_FOR_MS}; left out, it is for good"),
            );
        }
        if matches!(&blocked, Blocked::Peer(id) | Blocked::Author(id) if *id == self.id()) {
            return refuse(ErrorCode::BadValue, "that is this node itself");
        }
        if self.links.blocks().is_full(&blocked) {
            return refuse(ErrorCode::TooManyBlocks, format!("there are {MAX_BLOCKS} blocks: `unblock` one first"));
        }
        let (row, closed) = self.links.block(now, &blocked, for_ms, out);
        self.keep_blocks([row], out);
        self.hear_links(now, out);
        if let Blocked::Author(id) = &blocked {
            self.with_calls(now, out, |calls, io| calls.forget_members(|it| one_form(it) == *id, io));
        }
        Ok(result::Blocked { who: name(&blocked), left_ms: for_ms, closed })
    }

    /// `unblock`
    pub(super) fn unblock(&mut self, now: Now, args: UnblockArgs, out: &mut Outbox) -> Answer<result::Unblocked> {
        let blocked = read(args.peer, args.author, args.addr)?;
        let was_banned = matches!(&blocked, Blocked::Addr(ip) if self.links.lift_ban(now, *ip));
        if !self.lift(now, &blocked, out) && !was_banned {
            return refuse(ErrorCode::NotFound, "that is not blocked; `blocks` lists who is");
        }
        Ok(result::Unblocked { who: name(&blocked) })
    }

    fn lift(&mut self, now: Now, blocked: &Blocked, out: &mut Outbox) -> bool {
        if !self.links.lift_block(now, blocked, out) {
            return false;
        }
        self.store(Table::Blocks, &blocked.key(), None, out);
        self.hear_links(now, out);
        true
    }

    fn keep_blocks(&mut self, rows: impl IntoIterator<Item = Row>, out: &mut Outbox) {
        for (key, row) in rows {
            self.store(Table::Blocks, &key, Some(row), out);
        }
    }

    /// Lifts the blocks whose time is over, and keeps the others' times right when the wall clock jumps.
    pub(super) fn blocks_due(&mut self, now: Now, out: &mut Outbox) {
        let rows = self.links.blocks_mut().rows_after_a_jump(now);
        self.keep_blocks(rows, out);
        if self.links.blocks().deadline().is_none_or(|at| at > now.mono) {
            return;
        }
        for blocked in self.links.blocks().over(now) {
            self.lift(now, &blocked, out);
        }
    }

    /// `blocks`
    pub(super) fn list_blocks(&self, now: Now) -> result::Blocks {
        let blocks = self.links.blocks().list(now);
        let blocks = blocks.map(|(it, left_ms)| result::Block { who: name(it), left_ms, ban: false });
        let bans = self.links.bans(now).map(|(addr, until)| result::Block {
            who: result::Blockee { addr: Some(addr), ..Default::default() },
            left_ms: Some(millis(until.saturating_duration_since(now.mono))),
            ban: true,
        });
        result::Blocks { blocks: blocks.chain(bans).collect() }
    }
}

/// Reads the party that a command names.
fn read(peer: Option<String>, author: Option<String>, addr: Option<String>) -> Answer<Blocked> {
    let check = |id: &str| match id.len() {
        1..=MAX_NAME => Ok(()),
        n => refuse(ErrorCode::BadValue, format!("an id has 1 to {MAX_NAME} bytes, this one has {n}")),
    };
    match (peer, author, addr) {
        (Some(peer), None, None) => check(&peer).map(|()| Blocked::peer(&peer)),
        (None, Some(author), None) => check(&author).map(|()| Blocked::author(&author)),
        (None, None, Some(addr)) => match addr.trim_matches(['[', ']']).parse() {
            Ok(ip) => Ok(Blocked::addr(ip)),
            Err(_) => {
                let message = format!("`{}` is no IP address; one has no port, and is no host name", short(&addr));
                refuse(ErrorCode::BadValue, message)
            }
        },
        (None, None, None) => refuse(ErrorCode::MissingField, "`peer`, `author` or `addr` is needed"),
        _ => refuse(ErrorCode::BadValue, "one of `peer`, `author` and `addr`, not more"),
    }
}

/// The party, as a reply names it.
fn name(blocked: &Blocked) -> result::Blockee {
    let mut name = result::Blockee::default();
    match blocked {
        Blocked::Peer(id) => name.peer = Some(id.clone()),
        Blocked::Author(id) => name.author = Some(id.clone()),
        Blocked::Addr(ip) => name.addr = Some(ip.to_string()),
    }
    name
}

#[cfg(test)]
mod tests;
