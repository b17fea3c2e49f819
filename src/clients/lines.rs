//! Lines to clients: events, warnings, replies.

use std::sync::Arc;

use serde::Serialize;

use super::{Clients, Head, MAX_BUFFER, WARN_EVERY};
use crate::api::EventKind;
use crate::api::error::ApiError;
use crate::api::event::{Event, Reply, Warning, WarningCode};
use crate::api::line::write_json;
use crate::base::{ClientId, Now};
use crate::outbox::{Outbox, Output};

impl<W> Clients<W> {
    /// Tells every client of an event.
    pub fn emit(&mut self, event: &Event<'_>, out: &mut Outbox) {
        if self.is_wanted(event.kind()) {
            let text = self.write(event);
            self.emit_line(event.kind(), text, out);
        }
    }

    /// Tells every client of an event that is already text.
    pub fn emit_line(&mut self, kind: EventKind, text: impl Into<Arc<str>>, out: &mut Outbox) {
        let text = text.into();
        for client in &mut self.all {
            if client.numbers.count_event(&self.log, kind) {
                out.push(Output::Line { client: client.id, kind, text: text.clone() });
            }
        }
        self.log.push(kind, text);
        self.recheck_pending();
    }

    /// Warns of something, but not of the same thing again and again.
    pub fn warn(&mut self, now: Now, code: WarningCode, message: &str, out: &mut Outbox) {
        // A device's come in pairs, of microphone and speaker: each says something new. Their own pauses limit them.
        let repeats = !matches!(code, WarningCode::DeviceLost | WarningCode::DeviceBack);
        if repeats && self.warned.get(&code).is_some_and(|at| now.mono.duration_since(*at) < WARN_EVERY) {
            return;
        }
        self.warned.insert(code, now.mono);
        self.emit(&Event::Warning(Warning { code, message }), out);
    }

    /// Answers a line. A failure that counts for `--check` is noted: see [`Clients::take_check_failure`].
    pub fn reply<R: Serialize>(&mut self, to: ClientId, head: &Head, result: Result<&R, &ApiError>, out: &mut Outbox) {
        let (id, cmd) = (head.id.as_ref(), head.cmd.as_deref());
        let (ok, error) = (result.is_ok(), result.err());
        let text = self.write(&Reply { line: head.line, id, cmd, ok, result: result.ok(), error });
        if let Some(client) = self.get_mut(to) {
            client.numbers.count_reply();
            out.push(Output::Line { client: to, kind: EventKind::Reply, text });
        }
        if let Some(error) = error.filter(|_| self.check) {
            let cmd = cmd.map(|cmd| format!(" ({cmd})")).unwrap_or_default();
            out.push(Output::Complain(format!("line {}{cmd}: {}", head.line, error.message)));
            self.check_failed |= !head.may_fail;
        }
    }

    /// Answers a line with an error.
    pub fn refuse(&mut self, to: ClientId, head: &Head, error: &ApiError, out: &mut Outbox) {
        self.reply::<()>(to, head, Err(error), out);
    }

    fn write(&mut self, line: &impl Serialize) -> Arc<str> {
        let text = write_json(line, &mut self.buffer).into();
        if self.buffer.capacity() > MAX_BUFFER {
            self.buffer = Vec::new();
        }
        text
    }
}
