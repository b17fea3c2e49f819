//! Who is blocked by command: a peer, an author, or an address.
//!
//! - a **peer**: links with that node are closed, refused, and not dialled; its messages still come by way of others
//! - an **author**: what bears its id is dropped as if it had never come, neither shown nor passed on; in voice it is not there
//! - an **address**: links to and from it are closed and refused, its datagrams dropped, and none sent to it
//!
//! Whoever signs nothing can call itself something else, or somebody else: so only an author whose messages are verified is
//! blocked for certain.
//!
//! With a state folder blocks outlive the run. While a node runs, the clock that never jumps tells when one is over. From one run to
//! the next only the wall clock can, and what it says is put right as far as it can be: when it jumps, the times that are kept
//! are written anew; and a time further away than was asked for is a clock's mistake, and counts from now on.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::commands::{Answer, refuse, short};
use super::dial::State;
use super::links::{Link, Stage};
use super::{LinkId, Node, Now, Outbox};
use crate::api::arguments::{BlockArgs, MAX_NAME, UnblockArgs};
use crate::api::event::LinkCode;
use crate::api::{ErrorCode, result};
use crate::base::Table;
use crate::wire::limits::MAX_BLOCKS;

/// The longest time of a block, in milliseconds: a year. What is to last longer is for good.
const MAX_FOR_MS: u64 = 31_536_000_000;
/// By how much the wall clock must have jumped for the times in the store to be written anew, in milliseconds: a minute, a guess.
const JUMP: u64 = 60_000;
/// In the store: until it is lifted.
const FOR_GOOD: u64 = u64::MAX;

/// Who is blocked. Ids that are UUIDs are all written in the one way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// A neighbour, or who would be.
    Peer(String),
    /// Whose messages they are.
    Author(String),
    /// Where links and datagrams come from, or go to.
    Addr(IpAddr),
}

/// The blocks, and until when each is in force; `None`: until it is lifted.
#[derive(Debug, Default)]
pub struct Blocks {
    all: BTreeMap<Who, Option<Instant>>,
    /// By which clocks the times in the store were written.
    kept_by: Option<Now>,
}

impl Who {
    fn read(peer: Option<String>, author: Option<String>, addr: Option<String>) -> Answer<Self> {
        let id = |id: String| match id.len() {
            1..=MAX_NAME => Ok(one_form(&id).into_owned()),
            n => refuse(ErrorCode::BadValue, format!("an id has 1 to {MAX_NAME} bytes, this one has {n}")),
        };
        match (peer, author, addr) {
            (Some(peer), None, None) => Ok(Self::Peer(id(peer)?)),
            (None, Some(author), None) => Ok(Self::Author(id(author)?)),
            (None, None, Some(addr)) => match addr.trim_matches(['[', ']']).parse::<IpAddr>() {
                Ok(ip) => Ok(Self::Addr(ip.to_canonical())),
                Err(_) => {
                    let message = format!("`{}` is no IP address; one has no port, and is no host name", short(&addr));
                    refuse(ErrorCode::BadValue, message)
                }
            },
            (None, None, None) => refuse(ErrorCode::MissingField, "`peer`, `author` or `addr` is needed"),
            _ => refuse(ErrorCode::BadValue, "one of `peer`, `author` and `addr`, not more"),
        }
    }

    /// The row in the store.
    fn key(&self) -> String {
        match self {
            Self::Peer(id) => format!("peer {id}"),
            Self::Author(id) => format!("author {id}"),
            Self::Addr(ip) => format!("addr {ip}"),
        }
    }

    fn of_key(key: &str) -> Option<Self> {
        let (kind, name) = key.split_once(' ')?;
        match kind {
            "peer" => Some(Self::Peer(name.to_owned())),
            "author" => Some(Self::Author(name.to_owned())),
            "addr" => name.parse().ok().map(Self::Addr),
            _ => None,
        }
    }

    fn name(&self) -> result::Blockee {
        let mut name = result::Blockee::default();
        match self {
            Self::Peer(id) => name.peer = Some(id.clone()),
            Self::Author(id) => name.author = Some(id.clone()),
            Self::Addr(ip) => name.addr = Some(ip.to_string()),
        }
        name
    }
}

impl Blocks {
    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn has_peer(&self, id: &str) -> bool {
        !self.all.is_empty() && self.all.contains_key(&Who::Peer(one_form(id).into_owned()))
    }

    pub fn has_author(&self, id: &str) -> bool {
        !self.all.is_empty() && self.all.contains_key(&Who::Author(one_form(id).into_owned()))
    }

    pub fn has_addr(&self, ip: IpAddr) -> bool {
        !self.all.is_empty() && self.all.contains_key(&Who::Addr(ip.to_canonical()))
    }

    /// When the next one is over.
    pub fn deadline(&self) -> Option<Instant> {
        self.all.values().flatten().min().copied()
    }
}

impl Node {
    /// Takes over the blocks of earlier runs.
    pub(super) fn load_blocks(&mut self, now: Now, out: &mut Outbox) {
        let Some(state) = &self.config.state else { return };
        let mut wrong = false;
        for (key, value) in state.rows(Table::Blocks).take(MAX_BLOCKS) {
            let (Some(who), Some((until, for_ms))) = (Who::of_key(key), read_row(value)) else { continue };
            let left = until.saturating_sub(now.unix_ms);
            let most = for_ms.min(MAX_FOR_MS);
            let is_timed = until != FOR_GOOD;
            wrong |= is_timed && left > most;
            let until = is_timed.then(|| now.mono + Duration::from_millis(left.min(most)));
            self.blocks.all.insert(who, until);
        }
        self.blocks.kept_by = Some(now);
        if wrong {
            // Or the next run would begin to count anew, and so would each after it.
            self.keep_times(now, out);
        }
        // Some were over before this run began.
        self.blocks_due(now, out);
    }

    /// `block`
    pub(super) fn block(&mut self, now: Now, args: BlockArgs, out: &mut Outbox) -> Answer<result::Blocked> {
        let BlockArgs { peer, author, addr, for_ms } = args;
        let who = Who::read(peer, author, addr)?;
        if !for_ms.is_none_or(|ms| (1..=MAX_FOR_MS).contains(&ms)) {
            return refuse(
                ErrorCode::BadValue,
                format!("`for_ms` is from 1 to {MAX_FOR_MS}; left out, it is for good"),
            );
        }
        if matches!(&who, Who::Peer(id) | Who::Author(id) if **id == *self.id) {
            return refuse(ErrorCode::BadValue, "that is this node itself");
        }
        if self.blocks.len() >= MAX_BLOCKS && !self.blocks.all.contains_key(&who) {
            return refuse(ErrorCode::TooManyBlocks, format!("there are {MAX_BLOCKS} blocks: `unblock` one first"));
        }
        self.blocks.all.insert(who.clone(), for_ms.map(|ms| now.mono + Duration::from_millis(ms)));
        let until = for_ms.map_or(FOR_GOOD, |ms| now.unix_ms.saturating_add(ms));
        self.store(Table::Blocks, &who.key(), Some(row(until, for_ms.unwrap_or(FOR_GOOD))), out);
        let closed = self.enforce(now, &who, out);
        Ok(result::Blocked { who: who.name(), left_ms: for_ms, closed })
    }

    /// Closes what a new block leaves no room for. Gives the number of links.
    fn enforce(&mut self, now: Now, who: &Who, out: &mut Outbox) -> usize {
        let is = |link: &Link| match who {
            Who::Peer(id) => link.peer.as_ref().is_some_and(|peer| one_form(&peer.id) == *id),
            Who::Addr(ip) => link.addr.ip().to_canonical() == *ip,
            Who::Author(_) => false,
        };
        let links: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| is(link) && !matches!(link.stage, Stage::Leaving { .. }))
            .map(|(id, _)| *id)
            .collect();
        for target in self.targets.values_mut() {
            if matches!(target.state, State::Linked(link) if links.contains(&link)) {
                target.state = State::Blocked;
            }
        }
        for &id in &links {
            self.close_link(now, id, LinkCode::Blocked, "a command has blocked it", out);
        }
        if let Who::Author(id) = who {
            self.with_calls(now, out, |calls, io| calls.forget_members(|it| one_form(it) == *id, io));
        }
        links.len()
    }

    /// `unblock`
    pub(super) fn unblock(&mut self, now: Now, args: UnblockArgs, out: &mut Outbox) -> Answer<result::Unblocked> {
        let who = Who::read(args.peer, args.author, args.addr)?;
        let was_banned = matches!(&who, Who::Addr(ip) if self.lift_ban(now, *ip));
        if !self.lift(now, &who, out) && !was_banned {
            return refuse(ErrorCode::NotFound, "that is not blocked; `blocks` lists who is");
        }
        Ok(result::Unblocked { who: who.name() })
    }

    fn lift(&mut self, now: Now, who: &Who, out: &mut Outbox) -> bool {
        if self.blocks.all.remove(who).is_none() {
            return false;
        }
        self.store(Table::Blocks, &who.key(), None, out);
        let blocked = self.targets.iter_mut().filter(|(_, target)| target.state == State::Blocked);
        let blocked = blocked.map(|(addr, target)| {
            target.state = State::Idle(now.mono);
            addr.clone()
        });
        // Those that another block is for find out.
        for addr in blocked.collect::<Vec<_>>() {
            self.dial(now, &addr, out);
        }
        true
    }

    /// Writes the times in the store anew if the wall clock has jumped since: what is left is told by the other.
    pub(super) fn keep_times_over_a_jump(&mut self, now: Now, out: &mut Outbox) {
        let Some(then) = self.blocks.kept_by else { return };
        let expected = then.unix_ms.saturating_add(millis(now.mono.saturating_duration_since(then.mono)));
        if now.unix_ms.abs_diff(expected) > JUMP {
            self.keep_times(now, out);
        }
    }

    fn keep_times(&mut self, now: Now, out: &mut Outbox) {
        self.blocks.kept_by = Some(now);
        let timed = self.blocks.all.iter().filter_map(|(who, until)| until.map(|until| (who, until)));
        let left = timed.map(|(who, until)| (who.key(), millis(until.saturating_duration_since(now.mono))));
        for (key, left) in left.collect::<Vec<_>>() {
            self.store(Table::Blocks, &key, Some(row(now.unix_ms.saturating_add(left), left)), out);
        }
    }

    /// Lifts the blocks whose time is over.
    pub(super) fn blocks_due(&mut self, now: Now, out: &mut Outbox) {
        self.keep_times_over_a_jump(now, out);
        if self.blocks.deadline().is_none_or(|at| at > now.mono) {
            return;
        }
        let over = self.blocks.all.iter().filter(|(_, until)| until.is_some_and(|until| until <= now.mono));
        for who in over.map(|(who, _)| who.clone()).collect::<Vec<_>>() {
            self.lift(now, &who, out);
        }
    }

    /// `blocks`
    pub(super) fn list_blocks(&self, now: Now) -> result::Blocks {
        let left = |until: Instant| millis(until.saturating_duration_since(now.mono));
        let blocks = self.blocks.all.iter().map(|(who, until)| result::Block {
            who: who.name(),
            left_ms: until.map(left),
            ban: false,
        });
        let bans = self.offenders.bans(now.mono).map(|(addr, until)| result::Block {
            who: result::Blockee { addr: Some(addr), ..Default::default() },
            left_ms: Some(left(until)),
            ban: true,
        });
        result::Blocks { blocks: blocks.chain(bans).collect() }
    }

    /// Whether what is at an address may not be linked or talked to, and why.
    pub(super) fn is_shut_out(&self, now: Now, ip: IpAddr) -> Option<LinkCode> {
        if self.blocks.has_addr(ip) {
            return Some(LinkCode::Blocked);
        }
        self.offenders.is_banned(now.mono, ip).then_some(LinkCode::Banned)
    }

    /// The same of an address to dial, as far as its text tells.
    pub(super) fn is_blocked_target(&self, addr: &str) -> bool {
        let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host).trim_matches(['[', ']']);
        host.parse().is_ok_and(|ip| self.blocks.has_addr(ip))
    }
}

fn row(until: u64, for_ms: u64) -> Vec<u8> {
    [until.to_be_bytes(), for_ms.to_be_bytes()].concat()
}

fn read_row(value: &[u8]) -> Option<(u64, u64)> {
    let (until, rest) = value.split_first_chunk()?;
    let (for_ms, _) = rest.split_first_chunk()?;
    Some((u64::from_be_bytes(*until), u64::from_be_bytes(*for_ms)))
}

/// The one way to write an id: UUIDs have several.
fn one_form(id: &str) -> Cow<'_, str> {
    match uuid::Uuid::try_parse(id) {
        Ok(uuid) => Cow::Owned(uuid.hyphenated().to_string()),
        Err(_) => Cow::Borrowed(id),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
