//! Blocks by command: of a peer, an author, or an address.
//!
//! - a **peer**: links with that node are closed, refused, and not dialled; its messages still come by way of others
//! - an **author**: what bears its id is dropped as if it had never come, neither shown nor passed on; in voice it is not there
//! - an **address**: links to and from it are closed and refused, its datagrams dropped, and none sent to it
//!
//! A peer that signs nothing can call itself something else, or somebody else: so only an author whose messages are verified is
//! blocked for certain.
//!
//! Blocks may outlive the run, as rows of the state folder. While a node runs, the clock that never jumps tells when one is over.
//! From one run to the next only the wall clock can, and its times are put right as far as they can be: when it jumps, the times
//! that are kept are written anew; and a time further away than was asked for is a clock's mistake, and counts from now on.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::base::{Now, millis};
use crate::wire::limits::MAX_BLOCKS;

/// The longest time of a block, in milliseconds: a year. A longer one is for good.
pub const MAX_FOR_MS: u64 = 31_536_000_000;
/// By how much the wall clock must have jumped for the times in the store to be written anew, in milliseconds: a minute, a guess.
const JUMP: u64 = 60_000;
/// In the store: until it is lifted.
pub const FOR_GOOD: u64 = u64::MAX;

/// A blocked party. Ids that are UUIDs are all written in the one way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blocked {
    /// A neighbour, or a node that would be one.
    Peer(String),
    /// The author of messages.
    Author(String),
    /// An address that links and datagrams come from, or go to.
    Addr(IpAddr),
}

/// A row for the state folder: its key, and its value.
pub type Row = (String, Vec<u8>);

/// The blocks, and until when each is in force; `None`: until it is lifted.
#[derive(Debug, Default)]
pub struct Blocks {
    all: BTreeMap<Blocked, Option<Instant>>,
    /// The clocks by which the times in the store were written.
    kept_by: Option<Now>,
}

impl Blocked {
    /// A peer.
    pub fn peer(id: &str) -> Self {
        Self::Peer(one_form(id).into_owned())
    }

    /// An author.
    pub fn author(id: &str) -> Self {
        Self::Author(one_form(id).into_owned())
    }

    /// An address.
    pub const fn addr(ip: IpAddr) -> Self {
        Self::Addr(ip.to_canonical())
    }

    /// The key of its row.
    pub fn key(&self) -> String {
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
}

impl Blocks {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether there is no room for another.
    pub fn is_full(&self, for_it: &Blocked) -> bool {
        self.all.len() >= MAX_BLOCKS && !self.all.contains_key(for_it)
    }

    /// Whether a peer is blocked.
    pub fn has_peer(&self, id: &str) -> bool {
        !self.all.is_empty() && self.all.contains_key(&Blocked::peer(id))
    }

    /// Whether an author is blocked.
    pub fn has_author(&self, id: &str) -> bool {
        !self.all.is_empty() && self.all.contains_key(&Blocked::author(id))
    }

    /// Whether an address is blocked.
    pub fn has_addr(&self, ip: IpAddr) -> bool {
        !self.all.is_empty() && self.all.contains_key(&Blocked::addr(ip))
    }

    /// When the next one is over.
    pub fn deadline(&self) -> Option<Instant> {
        self.all.values().flatten().min().copied()
    }

    /// All of them, and how much longer each lasts, in milliseconds.
    pub fn list(&self, now: Now) -> impl Iterator<Item = (&Blocked, Option<u64>)> {
        self.all.iter().map(move |(it, until)| (it, until.map(|until| left(now, until))))
    }

    /// Takes over the rows of earlier runs. True: some times were a clock's mistake; the rows are to be written anew, or the next
    /// run would begin to count anew, and so would each after it.
    pub fn load<'r>(&mut self, now: Now, rows: impl Iterator<Item = (&'r str, &'r [u8])>) -> bool {
        let mut wrong = false;
        for (key, value) in rows.take(MAX_BLOCKS) {
            let (Some(blocked), Some((until, for_ms))) = (Blocked::of_key(key), read_row(value)) else { continue };
            let left = until.saturating_sub(now.unix_ms);
            let most = for_ms.min(MAX_FOR_MS);
            let is_timed = until != FOR_GOOD;
            wrong |= is_timed && left > most;
            let until = is_timed.then(|| now.mono + Duration::from_millis(left.min(most)));
            self.all.insert(blocked, until);
        }
        self.kept_by = Some(now);
        wrong
    }

    /// Adds a block, for so long or for good. Gives its row.
    pub(super) fn add(&mut self, now: Now, blocked: &Blocked, for_ms: Option<u64>) -> Row {
        self.all.insert(blocked.clone(), for_ms.map(|ms| now.mono + Duration::from_millis(ms)));
        let until = for_ms.map_or(FOR_GOOD, |ms| now.unix_ms.saturating_add(ms));
        (blocked.key(), row(until, for_ms.unwrap_or(FOR_GOOD)))
    }

    /// Lifts a block. False: there was none.
    pub(super) fn lift(&mut self, blocked: &Blocked) -> bool {
        self.all.remove(blocked).is_some()
    }

    /// The blocks whose time is over.
    pub fn over(&self, now: Now) -> Vec<Blocked> {
        let over = self.all.iter().filter(|(_, until)| until.is_some_and(|until| until <= now.mono));
        over.map(|(it, _)| it.clone()).collect()
    }

    /// The rows to write anew if the wall clock has jumped since: the other clock tells how much of a time is left.
    pub fn rows_after_a_jump(&mut self, now: Now) -> Vec<Row> {
        let Some(then) = self.kept_by else { return Vec::new() };
        let since = now.mono.saturating_duration_since(then.mono);
        let expected = then.unix_ms.saturating_add(millis(since));
        if now.unix_ms.abs_diff(expected) > JUMP { self.rows(now) } else { Vec::new() }
    }

    /// The rows of all that have a time, by the clocks of now.
    pub fn rows(&mut self, now: Now) -> Vec<Row> {
        self.kept_by = Some(now);
        let timed = self.all.iter().filter_map(|(it, until)| until.map(|until| (it, until)));
        let left = timed.map(|(it, until)| (it.key(), left(now, until)));
        left.map(|(key, left)| (key, row(now.unix_ms.saturating_add(left), left))).collect()
    }
}

fn left(now: Now, until: Instant) -> u64 {
    millis(until.saturating_duration_since(now.mono))
}

/// A row: until when, in milliseconds since 1970, and for how long it was asked.
pub fn row(until: u64, for_ms: u64) -> Vec<u8> {
    [until.to_be_bytes(), for_ms.to_be_bytes()].concat()
}

fn read_row(value: &[u8]) -> Option<(u64, u64)> {
    let (until, rest) = value.split_first_chunk()?;
    let (for_ms, _) = rest.split_first_chunk()?;
    Some((u64::from_be_bytes(*until), u64::from_be_bytes(*for_ms)))
}

/// The one way to write an id: UUIDs have several.
pub fn one_form(id: &str) -> Cow<'_, str> {
    match uuid::Uuid::try_parse(id) {
        Ok(uuid) => Cow::Owned(uuid.hyphenated().to_string()),
        Err(_) => Cow::Borrowed(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Now {
        #[allow(clippy::disallowed_methods, reason = "any moment will do")]
        Now { mono: Instant::now(), unix_ms: 1 << 40 }
    }

    fn after(now: Now, ms: u64) -> Now {
        Now { mono: now.mono + Duration::from_millis(ms), unix_ms: now.unix_ms + ms }
    }

    #[test]
    fn ids_and_addresses_have_one_form() {
        let (mut it, now) = (Blocks::default(), start());
        it.add(now, &Blocked::peer("5D0C7A521B644E0F8A3D6E2F9B1C4D70"), None);
        it.add(now, &Blocked::addr("::ffff:10.0.0.1".parse().expect("an address")), None);
        assert!(
            it.has_peer("5d0c7a52-1b64-4e0f-8a3d-6e2f9b1c4d70")
                && !it.has_author("5d0c7a52-1b64-4e0f-8a3d-6e2f9b1c4d70")
        );
        assert!(it.has_addr("10.0.0.1".parse().expect("an address")));
    }

    #[test]
    fn a_time_runs_out_and_for_good_does_not() {
        let (mut it, now) = (Blocks::default(), start());
        let (timed, good) = (Blocked::peer("a"), Blocked::author("b"));
        it.add(now, &timed, Some(500));
        it.add(now, &good, None);
        assert_eq!((it.over(now), it.deadline()), (vec![], Some(after(now, 500).mono)));
        assert_eq!(it.over(after(now, 500)), std::slice::from_ref(&timed));
        assert!(it.lift(&timed) && !it.lift(&timed) && it.deadline().is_none());
        assert_eq!(it.list(now).collect::<Vec<_>>(), [(&good, None)]);
    }

    #[test]
    fn rows_are_read_back_and_no_time_is_longer_than_was_asked() {
        let (mut it, now) = (Blocks::default(), start());
        let rows = [it.add(now, &Blocked::peer("a"), Some(500)), it.add(now, &Blocked::author("b"), None)];
        let rows = || rows.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        for (at, left, wrong) in [(after(now, 200), 300, false), (Now { unix_ms: 0, ..now }, 500, true)] {
            let mut next = Blocks::default();
            assert_eq!(next.load(at, rows()), wrong);
            let list: Vec<_> = next.list(at).map(|(it, left)| (it.key(), left)).collect();
            assert_eq!(list, [("peer a".to_owned(), Some(left)), ("author b".to_owned(), None)]);
        }
        assert!(!Blocks::default().load(now, [("peer a", &b"short"[..]), ("x", &b""[..])].into_iter()));
    }

    #[test]
    fn a_jump_of_the_wall_clock_has_the_times_written_anew() {
        let (mut it, now) = (Blocks::default(), start());
        it.load(now, std::iter::empty());
        it.add(now, &Blocked::peer("a"), Some(500_000));
        assert!(it.rows_after_a_jump(after(now, 1000)).is_empty());
        let jumped = Now { unix_ms: now.unix_ms + JUMP + 2000, ..after(now, 1000) };
        assert_eq!(it.rows_after_a_jump(jumped), [("peer a".to_owned(), row(jumped.unix_ms + 499_000, 499_000))]);
        assert!(it.rows_after_a_jump(jumped).is_empty());
    }
}
