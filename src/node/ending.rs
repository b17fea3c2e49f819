//! The way out: what waits is cut short, links hand over what is queued, `bye` is said.

use std::time::{Duration, Instant};

use super::ClientId;
use super::links::Stage;
use super::{LinkId, Node, Now, Outbox, Output, STDIO};
use crate::api::event::{Bye, ByeReason, Event, LinkCode};

/// The exit code of `--check` after an error reply, or with frames undelivered.
pub const EXIT_CHECK: u8 = 5;
/// The exit code when stdout was closed.
pub const EXIT_OUTPUT_CLOSED: u8 = 6;

/// How far the node is.
#[derive(Debug)]
pub enum Phase {
    /// It runs.
    Running,
    /// Links hand over what is queued.
    Draining {
        /// Why it ends.
        reason: ByeReason,
        /// With which exit code.
        exit: u8,
        /// How long that may take.
        time: Duration,
        /// Until when.
        until: Instant,
        /// Frames that links did not take.
        undelivered: u64,
    },
    /// All is said.
    Done,
}

impl Phase {
    /// Whether it runs.
    pub const fn is_running(&self) -> bool {
        matches!(self, Self::Running)
    }

    /// When draining is over.
    pub const fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Draining { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// How long links may drain.
    pub const fn drain_time(&self) -> Option<Duration> {
        match self {
            Self::Draining { time, .. } => Some(*time),
            _ => None,
        }
    }
}

impl Node {
    /// A client's input has ended.
    pub(super) fn input_ended(&mut self, client: ClientId) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.ended = true;
        }
    }

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
        self.phase = Phase::Draining { reason, exit, time, until: now.mono + time, undelivered: 0 };
        self.with_calls(now, out, |calls, io| calls.leave(now, io));
        let failed = self.interrupt_pending(now, out) && self.config.check;
        if let Phase::Draining { exit, .. } = &mut self.phase
            && failed
            && *exit == 0
        {
            *exit = EXIT_CHECK;
        }
        self.targets.clear();
        self.dials.clear();
        let links: Vec<(LinkId, Stage)> = self.links.iter().map(|(id, link)| (*id, link.stage)).collect();
        for (id, stage) in links {
            let reason = "this node is ending";
            match stage {
                Stage::Greeting | Stage::Waiting => self.close_link(now, id, LinkCode::Closed, reason, out),
                Stage::Up => self.leave_link(now, id, false, LinkCode::Closed, reason, out),
                Stage::Leaving { .. } => {}
            }
        }
    }

    /// Ends at the end of input, and says `bye` when all links are closed or the time is over.
    pub(super) fn go_on_ending(&mut self, now: Now, out: &mut Outbox) {
        let done = self.clients.get(&STDIO).is_some_and(|client| client.ended && client.is_idle());
        if done && !self.config.stay {
            self.end(now, ByeReason::Eof, 0, out);
        }
        let Phase::Draining { until, .. } = self.phase else { return };
        if now.mono >= until {
            let links: Vec<LinkId> = self.links.keys().copied().collect();
            for id in links {
                self.close_link(now, id, LinkCode::Closed, "this node has ended", out);
            }
        }
        if !self.links.is_empty() {
            return;
        }
        let Phase::Draining { reason, mut exit, undelivered, .. } = self.phase else { return };
        if self.config.check && undelivered > 0 && exit == 0 {
            exit = EXIT_CHECK;
            out.push(Output::Complain(format!("{undelivered} frames were not taken by their link in time")));
        }
        self.phase = Phase::Done;
        self.give_places_back(out);
        self.emit(&Event::Bye(Bye { reason, exit, undelivered }), out);
        out.push(Output::Exit(exit));
    }
}
