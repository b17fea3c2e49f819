//! The way out: what waits is cut short, links hand over what is queued, `bye` is said.

use super::phase::Phase;
use super::{ClientId, Node, Now, Outbox, Output, STDIO};
use crate::api::event::{Bye, ByeReason, Event};

/// The exit code of `--check` after an error reply, or with frames undelivered.
pub const EXIT_CHECK: u8 = 5;
/// The exit code when stdout was closed.
pub const EXIT_OUTPUT_CLOSED: u8 = 6;

impl Node {
    /// Nobody reads a client's lines any more.
    pub(super) fn output_closed(&mut self, now: Now, client: ClientId, out: &mut Outbox) {
        if client == STDIO {
            self.end(now, ByeReason::Eof, EXIT_OUTPUT_CLOSED, out);
        }
    }

    /// Starts to end.
    pub(super) fn end(&mut self, now: Now, reason: ByeReason, exit: u8, out: &mut Outbox) {
        if !self.phase.is_running() {
            return;
        }
        let time = self.config.drain;
        self.phase = Phase::Draining { reason, exit, until: now.mono + time };
        self.with_calls(now, out, |calls, io| calls.leave(now, io));
        let in_vain = self.has_called_in_vain(out);
        let failed = (self.clients.interrupt(out) && self.config.check) || in_vain;
        if let Phase::Draining { exit, .. } = &mut self.phase
            && failed
            && *exit == 0
        {
            *exit = EXIT_CHECK;
        }
        self.links.end(now, time, out);
        self.hear_links(now, out);
    }

    /// Ends with the first command that fails under `--check`.
    pub(super) fn end_at_check_failure(&mut self, now: Now, out: &mut Outbox) {
        if self.clients.take_check_failure() {
            self.end(now, ByeReason::Check, EXIT_CHECK, out);
        }
    }

    /// Ends at the end of input, and says `bye` when all links are closed or the time is over.
    pub(super) fn go_on_ending(&mut self, now: Now, out: &mut Outbox) {
        if self.clients.is_done(STDIO) && !self.config.stay {
            self.end(now, ByeReason::Eof, 0, out);
        }
        let Phase::Draining { until, .. } = self.phase else { return };
        if now.mono >= until {
            self.links.close_all(now, out);
        }
        if !self.links.is_empty() {
            return;
        }
        let Phase::Draining { reason, mut exit, .. } = self.phase else { return };
        let undelivered = self.links.undelivered();
        if self.config.check && undelivered > 0 && exit == 0 {
            exit = EXIT_CHECK;
            out.push(Output::Complain(format!("{undelivered} frames were not taken by their link in time")));
        }
        self.phase = Phase::Done;
        self.give_numbers_back(out);
        self.tell_gathered(now, true, out);
        self.emit(&Event::Bye(Bye { reason, exit, undelivered }), out);
        out.push(Output::Exit(exit));
    }
}
