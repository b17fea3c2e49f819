//! Lines to clients, and the events that `wait` looks back over.
//!
//! Each client (stdio, and later others) has its own choice of events, its own numbers, and its own place in what has
//! passed. Its writer numbers the lines; the node counts along, so that an event in the answer of a `wait` bears the
//! number of its line.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::ClientId;
use super::pending::Pending;
use super::{Node, Now, Outbox, Output};
use crate::api::error::ApiError;
use crate::api::event::{ByeReason, Event, Ready, Reply, Warning, WarningCode};
use crate::api::line::to_json;
use crate::api::{CommandId, EventKind, PROTOCOL};
use crate::wire::limits::bound;

/// Events that `wait` looks back over.
pub const MAX_LOG_EVENTS: usize = bound(10_000, 24);
/// Their bytes.
pub const MAX_LOG_BYTES: usize = 16 << 20;
/// Lines of output that wait to be read, and their bytes: see `driver::client`.
pub const MAX_QUEUE_LINES: usize = 8192;
/// Bytes of output that wait to be read.
pub const MAX_QUEUE_BYTES: usize = 16 << 20;
/// Commands whose `id` a `wait` can refer to.
const MAX_MARKS: usize = bound(1024, 4);
/// `async` commands that wait at once.
pub const MAX_ASYNC: usize = bound(64, 4);
/// A warning of one kind is given at most so often.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Who gives commands and reads events.
#[derive(Debug)]
pub struct Client {
    shown: Vec<EventKind>,
    /// Lines given to it.
    lines: u64,
    /// `lagged` lines that its writer has put among them.
    lag_lines: u64,
    log: VecDeque<Logged>,
    log_bytes: usize,
    /// The number of the log's first event.
    log_from: u64,
    /// Where the next `wait` starts to look.
    pub place: u64,
    marks: VecDeque<(CommandId, u64)>,
    /// The command that the next line waits for.
    pub blocked: Option<Pending>,
    /// Commands that nobody waits for.
    pub aside: Vec<Pending>,
    /// Its input has ended.
    pub ended: bool,
}

/// An event that has passed.
#[derive(Debug, Clone)]
pub struct Logged {
    /// What it is.
    pub kind: EventKind,
    /// Its JSON, without `seq`.
    pub text: Arc<str>,
    /// The number of its line, if it was shown.
    pub seq: Option<u64>,
}

impl Client {
    pub(super) fn new(choice: &[(EventKind, bool)]) -> Self {
        let mut client = Self {
            shown: EventKind::ALL.iter().copied().filter(|kind| !kind.hidden_at_first()).collect(),
            lines: 0,
            lag_lines: 0,
            log: VecDeque::new(),
            log_bytes: 0,
            log_from: 0,
            place: 0,
            marks: VecDeque::new(),
            blocked: None,
            aside: Vec::new(),
            ended: false,
        };
        for &(kind, show) in choice {
            client.show(kind, show);
        }
        client
    }

    /// Shows or hides an event.
    pub fn show(&mut self, kind: EventKind, show: bool) {
        self.shown.retain(|it| *it != kind);
        if show {
            self.shown.push(kind);
            self.shown.sort_unstable();
        }
    }

    /// The events that are shown.
    pub fn shown(&self) -> &[EventKind] {
        &self.shown
    }

    /// Whether its next line may be run.
    pub const fn is_free(&self) -> bool {
        self.blocked.is_none() && !self.ended
    }

    /// Whether nothing of what it gave is still waiting.
    pub const fn is_idle(&self) -> bool {
        self.blocked.is_none() && self.aside.is_empty()
    }

    /// When one of its commands runs out of time.
    pub fn deadline(&self) -> Option<Instant> {
        self.blocked.iter().chain(&self.aside).filter_map(|it| it.deadline).min()
    }

    /// The next number of the log.
    pub fn log_end(&self) -> u64 {
        self.log_from + self.log.len() as u64
    }

    /// The number of the oldest event that is still there.
    pub const fn log_start(&self) -> u64 {
        self.log_from
    }

    /// An event of the log.
    pub fn logged(&self, number: u64) -> Option<&Logged> {
        self.log.get(usize::try_from(number.checked_sub(self.log_from)?).ok()?)
    }

    /// Events in the log, and their bytes.
    pub fn log_held(&self) -> (usize, usize) {
        (self.log.len(), self.log_bytes)
    }

    /// Remembers where in the log a command stands.
    pub fn mark(&mut self, id: &CommandId) {
        if self.marks.len() >= MAX_MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back((id.clone(), self.log_end()));
    }

    /// Where in the log the newest command of that id stands.
    pub fn marked(&self, id: &CommandId) -> Option<u64> {
        self.marks.iter().rev().find(|(it, _)| it == id).map(|(_, place)| *place)
    }

    fn next_seq(&mut self) -> u64 {
        self.lines += 1;
        self.lines + self.lag_lines
    }

    fn record(&mut self, kind: EventKind, text: &Arc<str>) -> bool {
        let shown = self.shown.contains(&kind);
        let seq = shown.then(|| self.next_seq());
        self.log_bytes += text.len();
        self.log.push_back(Logged { kind, text: text.clone(), seq });
        while self.log.len() > MAX_LOG_EVENTS || self.log_bytes > MAX_LOG_BYTES {
            let Some(gone) = self.log.pop_front() else { break };
            self.log_bytes -= gone.text.len();
            self.log_from += 1;
        }
        shown
    }
}

/// What a reply says of the line that it answers.
#[derive(Debug, Clone)]
pub struct Head {
    /// Its number.
    pub line: u64,
    /// Its mark.
    pub id: Option<CommandId>,
    /// Its command.
    pub cmd: Option<String>,
    /// Whether its failure counts for `--check`.
    pub may_fail: bool,
}

impl Node {
    /// Whether anybody would see an event of that kind. Most are always recorded, for `wait`.
    pub(super) fn is_wanted(&self, kind: EventKind) -> bool {
        !kind.hidden_at_first() || self.clients.values().any(|client| client.shown.contains(&kind))
    }

    /// Tells every client of an event.
    pub(super) fn emit(&mut self, event: &Event<'_>, out: &mut Outbox) {
        if self.is_wanted(event.kind()) {
            self.emit_line(event.kind(), to_json(event), out);
        }
    }

    /// The same, of one that is already text.
    pub(super) fn emit_line(&mut self, kind: EventKind, text: String, out: &mut Outbox) {
        let text: Arc<str> = text.into();
        for (&id, client) in &mut self.clients {
            if client.record(kind, &text) {
                out.push(Output::Line { client: id, kind, text: text.clone() });
            }
        }
        self.stirred = true;
    }

    /// Answers a line.
    pub(super) fn reply<R: Serialize>(
        &mut self,
        now: Now,
        to: ClientId,
        head: &Head,
        result: Result<&R, &ApiError>,
        out: &mut Outbox,
    ) {
        let (id, cmd) = (head.id.as_ref(), head.cmd.as_deref());
        let (ok, error) = (result.is_ok(), result.err());
        let text = to_json(&Reply { line: head.line, id, cmd, ok, result: result.ok(), error });
        if let Some(client) = self.clients.get_mut(&to) {
            client.next_seq();
            out.push(Output::Line { client: to, kind: EventKind::Reply, text: text.into() });
        }
        if let Some(error) = error.filter(|_| self.config.check) {
            let cmd = cmd.map(|cmd| format!(" ({cmd})")).unwrap_or_default();
            out.push(Output::Complain(format!("line {}{cmd}: {}", head.line, error.message)));
            if !head.may_fail {
                self.end(now, ByeReason::Check, super::ending::EXIT_CHECK, out);
            }
        }
    }

    /// The same, for an error.
    pub(super) fn refuse(&mut self, now: Now, to: ClientId, head: &Head, error: &ApiError, out: &mut Outbox) {
        self.reply::<()>(now, to, head, Err(error), out);
    }

    /// Warns of something, but not of the same thing again and again.
    pub(super) fn warn(&mut self, now: Now, code: WarningCode, message: &str, out: &mut Outbox) {
        // A device's come in pairs, of microphone and speaker: each says something new. Their own pauses limit them.
        let repeats = !matches!(code, WarningCode::DeviceLost | WarningCode::DeviceBack);
        if repeats && self.warned.get(&code).is_some_and(|at| now.mono.duration_since(*at) < WARN_EVERY) {
            return;
        }
        self.warned.insert(code, now.mono);
        self.emit(&Event::Warning(Warning { code, message }), out);
    }

    /// The first line.
    pub(super) fn say_ready(&mut self, out: &mut Outbox) {
        let (node, username, room) = (self.id.clone(), self.username.clone(), self.rooms.active().to_owned());
        let mut features = vec!["text", "voice"];
        features.extend(cfg!(feature = "audio").then_some("audio"));
        features.extend(self.has_state().then_some("state"));
        let ready = Ready {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION"),
            node: &node,
            username: &username,
            room: &room,
            tcp: self.config.tcp.to_string(),
            udp: self.config.udp.to_string(),
            features: &features,
            limits: super::limits_of(&self.config),
        };
        self.emit(&Event::Ready(ready), out);
    }

    /// A client's writer has put `lagged` lines among the others.
    pub(super) fn lag_lines(&mut self, client: ClientId, lines: u64) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.lag_lines = lines;
        }
    }
}
