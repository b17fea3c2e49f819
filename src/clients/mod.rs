//! Clients: they give commands and read events.
//!
//! Today stdio is the only one; others will follow. Events are logged once for all clients. Each client has its own
//! choice of events that are shown, its own line numbers, its own cursor in the log, and its own pending commands.
//!
//! - [`log`]: the events that `wait` looks back over; [`numbers`]: the numbers that a client's lines bear
//! - [`lines`]: events, warnings and replies on their way to clients
//! - [`pending`], [`waiting`]: commands that wait, whatever they wait for; [`wait`]: those that wait for events
//!
//! The writer of a client's output numbers the lines, since it alone knows which of them it dropped. [`Clients`] counts
//! along, so that an event in a `wait`'s answer has the number of its line.
//!
//! Nothing here calls the node. The things that a pending command may wait for are the node's own (the type `W`):
//! [`Clients::recheck_pending`] notes that there may be news for one of them, and the node then goes through them all. A
//! command's failure under `--check` is noted, too; the node asks for it with [`Clients::take_check_failure`].

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::api::arguments::EventsArgs;
use crate::api::error::ApiError;
use crate::api::event::WarningCode;
use crate::api::{CommandId, ErrorCode, EventKind, result};
use crate::base::ClientId;
use crate::wire::limits::bound;

mod equal;
mod lines;
mod log;
mod numbers;
mod pending;
#[cfg(test)]
mod tests;
mod wait;
mod waiting;

use equal::is_same_id;
use log::Log;
pub use log::{MAX_LOG_BYTES, MAX_LOG_EVENTS};
use numbers::Numbers;
pub use pending::{Head, Pending, Slot};
pub use wait::{MAX_ANSWER, Wait, seq_at};

/// Clients, the log of events, and the commands that wait, each for a `W`. See the module.
#[derive(Debug)]
pub struct Clients<W> {
    /// In the order of their numbers.
    all: Vec<Client<W>>,
    log: Log,
    /// Whether something has happened that a pending command may wait for.
    recheck: bool,
    /// Whether a failed command is to end the process.
    check: bool,
    /// Whether one has failed.
    check_failed: bool,
    /// When each kind of warning was last given.
    warned: BTreeMap<WarningCode, Instant>,
    /// Where lines are written.
    buffer: Vec<u8>,
}

/// A client.
#[derive(Debug)]
struct Client<W> {
    id: ClientId,
    numbers: Numbers,
    /// Where in the log its next `wait` starts to look.
    cursor: u64,
    /// It has been told that comings and goings before here are lost.
    told_lost: u64,
    /// Where in the log its newest commands with an `id` stand.
    marks: VecDeque<(CommandId, u64)>,
    /// The command that its next line waits for.
    blocking: Option<Pending<W>>,
    /// Its `async` commands.
    aside: VecDeque<Pending<W>>,
    /// Whether its input has ended.
    has_ended: bool,
}

impl<W> Clients<W> {
    /// No clients yet. With `check`, a failed command is to end the process.
    pub const fn new(check: bool) -> Self {
        Self {
            all: Vec::new(),
            log: Log::new(),
            recheck: false,
            check,
            check_failed: false,
            warned: BTreeMap::new(),
            buffer: Vec::new(),
        }
    }

    /// Adds a client, with its choice of events to show or hide. It sees what happens from now on.
    pub fn add(&mut self, id: ClientId, choice: &[(EventKind, bool)]) {
        let Err(at) = self.index(id) else { return };
        let client = Client {
            id,
            numbers: Numbers::new(choice),
            cursor: self.log.end(),
            told_lost: 0,
            marks: VecDeque::new(),
            blocking: None,
            aside: VecDeque::new(),
            has_ended: false,
        };
        self.all.insert(at, client);
    }

    fn index(&self, id: ClientId) -> Result<usize, usize> {
        self.all.binary_search_by_key(&id, |client| client.id)
    }

    fn get(&self, id: ClientId) -> Option<&Client<W>> {
        self.all.get(self.index(id).ok()?)
    }

    fn get_mut(&mut self, id: ClientId) -> Option<&mut Client<W>> {
        let index = self.index(id).ok()?;
        self.all.get_mut(index)
    }

    /// Whether events of that kind are logged. Most always are, for `wait`; those hidden at first only if shown to a client.
    pub fn is_wanted(&self, kind: EventKind) -> bool {
        !kind.hidden_at_first() || self.all.iter().any(|client| client.numbers.shows(kind))
    }

    /// Shows a client some events and hides others.
    pub fn choose_events(&mut self, client: ClientId, args: &EventsArgs) -> Result<result::Shown, ApiError> {
        if let Some(kind) = args.hide.iter().find(|kind| !kind.can_hide()) {
            return Err(ApiError::new(ErrorCode::BadValue, format!("`{}` can't be hidden", kind.name())));
        }
        let numbers = match self.get_mut(client) {
            Some(client) => &mut client.numbers,
            None => return Err(ApiError::new(ErrorCode::NotFound, "no such client")),
        };
        args.show.iter().for_each(|kind| numbers.show(*kind, true));
        args.hide.iter().for_each(|kind| numbers.show(*kind, false));
        let (shown, hidden) = EventKind::ALL.iter().partition(|kind| numbers.shows(**kind));
        Ok(result::Shown { shown, hidden })
    }

    /// Notes that a client's writer has put so many `lagged` lines among the others so far.
    pub fn set_lag_lines(&mut self, client: ClientId, lines: u64) {
        if let Some(client) = self.get_mut(client) {
            client.numbers.set_lag_lines(lines);
        }
    }

    /// Notes that a client's input has ended.
    pub fn end_input(&mut self, client: ClientId) {
        if let Some(client) = self.get_mut(client) {
            client.has_ended = true;
        }
    }

    /// Whether a client's next line may be run: it is not ended, and no command of its own holds it up.
    pub fn is_free(&self, client: ClientId) -> bool {
        self.get(client).is_some_and(|client| client.blocking.is_none() && !client.has_ended)
    }

    /// Whether a client's input has ended and all that it gave is done.
    pub fn is_done(&self, client: ClientId) -> bool {
        self.get(client).is_some_and(|client| client.has_ended && client.is_idle())
    }

    /// Marks where in the log a command stands, for a `wait` that refers to it.
    pub fn mark(&mut self, client: ClientId, id: &CommandId) {
        let end = self.log.end();
        let Some(client) = self.get_mut(client) else { return };
        if client.marks.len() >= MAX_MARKS {
            client.marks.pop_front();
        }
        client.marks.push_back((id.clone(), end));
    }

    /// Where in the log a client's newest command of that id stands.
    pub fn marked(&self, client: ClientId, id: &CommandId) -> Option<u64> {
        self.get(client)?.marks.iter().rev().find(|(it, _)| is_same_id(it, id)).map(|(_, pos)| *pos)
    }

    /// Events in the log, and their bytes.
    pub fn log_held(&self) -> (usize, usize) {
        self.log.held()
    }

    /// Notes that something has happened that a pending command may wait for.
    pub const fn recheck_pending(&mut self) {
        self.recheck = true;
    }

    /// Whether that has been noted since this was last asked.
    pub const fn take_recheck(&mut self) -> bool {
        std::mem::replace(&mut self.recheck, false)
    }

    /// Has something count as a command that failed, under `--check`.
    pub const fn fail_check(&mut self) {
        self.check_failed |= self.check;
    }

    /// Whether a command has failed under `--check` since this was last asked.
    pub const fn take_check_failure(&mut self) -> bool {
        std::mem::replace(&mut self.check_failed, false)
    }
}

/// Lines of output that wait to be read, and their bytes: see `driver::client`.
pub const MAX_QUEUE_LINES: usize = 8192;
/// Bytes of output that wait to be read.
pub const MAX_QUEUE_BYTES: usize = 16 << 20;
/// A client's commands whose `id` a `wait` can refer to.
const MAX_MARKS: usize = bound(1024, 4);
/// A client's `async` commands that wait at once.
pub const MAX_ASYNC: usize = bound(64, 4);
/// The least time between two warnings of one kind.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// The size from which on the buffer for lines is given back after use.
const MAX_BUFFER: usize = 64 << 10;
