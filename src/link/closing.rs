//! How a link goes: it ends, runs out of time, is left in good order, or is closed.

use std::time::{Duration, Instant};

use super::{Ending, Links, News, Stage, dial};
use crate::base::{LinkCode, LinkId, LogLevel, Now};
use crate::outbox::{Outbox, Output};
use crate::wire::limits::{
    CLOSE_TIME, DEAD_AFTER, FIRST_FRAME_TIME, FRAME_TIME, SETTLE_TIME, STANDSTILL, STANDSTILL_GRACE,
};

impl Links {
    /// The peer has closed its direction, or the link broke.
    pub fn on_ended(&mut self, now: Now, id: LinkId, error: Option<String>, out: &mut Outbox) {
        let Some(link) = self.table.get_mut(id) else { return };
        link.ended = true;
        match (link.stage, error) {
            (Stage::Greeting, error) => {
                if self.falls_back(id, out) {
                    return;
                }
                let (code, reason) = self.why_no_hello(id);
                let reason = error.map_or(reason.clone(), |error| format!("{reason} ({error})"));
                self.close(now, id, code, &reason, out);
            }
            (Stage::Leaving { .. }, None) if !link.queue.is_empty() => {}
            (_, Some(error)) => self.close(now, id, LinkCode::Reset, &format!("the link broke: {error}"), out),
            (_, None) => self.leave(now, id, false, LinkCode::Closed, "the peer closed the link", out),
        }
    }

    /// Does what is due.
    pub fn on_time(&mut self, now: Now, out: &mut Outbox) {
        let (due, since) = self.table.due(now);
        let still = since.map_or(Duration::ZERO, |since| now.mono.duration_since(since));
        if still >= STANDSTILL {
            self.table.forgive(now, still + STANDSTILL_GRACE);
        }
        for id in due {
            self.link_due(now, id, out);
            self.table.arm(id);
        }
        // An address that has had its time may be followed by the next one at once.
        for _ in 0..2 {
            let due = self.dialler.due(now);
            due.into_iter().for_each(|(addr, state)| self.target_due(now, &addr, state, out));
        }
    }

    fn target_due(&mut self, now: Now, addr: &str, state: dial::State, out: &mut Outbox) {
        match state {
            dial::State::Idle(_) => self.dial(now, addr, out),
            dial::State::Dialling(dial, _) => {
                self.dialler.take_dial(dial);
                self.target_failed(now, addr, LinkCode::Timeout, "no answer in 10 s");
            }
            dial::State::Greeting(link, _) => {
                self.close(now, link, LinkCode::Timeout, "no hello in time: is it a node?", out);
            }
            _ => {}
        }
        self.dialler.rearm(addr);
    }

    fn link_due(&mut self, now: Now, id: LinkId, out: &mut Outbox) {
        let Some(link) = self.table.get_mut(id) else { return };
        let past = |at: Instant| at <= now.mono;
        match link.stage {
            Stage::Greeting if past(link.since + FIRST_FRAME_TIME) => {
                let reason = "no hello in time: is it a node of this network?";
                return self.close(now, id, LinkCode::Timeout, reason, out);
            }
            Stage::Waiting if past(link.since + SETTLE_TIME) => {
                return self.leave(now, id, true, LinkCode::Duplicate, "another link to it is in use", out);
            }
            Stage::Leaving { until, .. } if past(until) => {
                return self.close(now, id, LinkCode::Closed, "closed", out);
            }
            Stage::Up if link.next_ping.is_some() && past(link.last_heard + DEAD_AFTER) => {
                let reason = format!("nothing was heard from it for {} s", DEAD_AFTER.as_secs());
                return self.close(now, id, LinkCode::Dead, &reason, out);
            }
            _ => {}
        }
        if link.frame_since.is_some_and(|since| past(since + FRAME_TIME)) {
            return self.close(now, id, LinkCode::Stalled, "a frame was begun and not finished in time", out);
        }
        if link.queue.check_full(now) {
            return self.close(now, id, LinkCode::Slow, "it did not read what was sent to it", out);
        }
        if link.next_ping.is_some_and(past) {
            self.ping(now, id, out);
        }
    }

    /// Closes a link in good order: hands over what is queued, closes our direction, reads to the end.
    pub fn leave(&mut self, now: Now, id: LinkId, hears: bool, code: LinkCode, reason: &str, out: &mut Outbox) {
        let Some(link) = self.table.get_mut(id) else { return };
        let stage = link.stage;
        if !link.is_leaving() {
            let time = self.ending.as_ref().map_or(CLOSE_TIME, |ending| ending.time);
            link.stage = Stage::Leaving { until: now.mono + time, hears };
            self.table.give_up(id);
            self.table.arm(id);
            self.lost(now, id, stage, code, reason, out);
        }
        if self.table.get(id).is_some_and(|link| link.queue.is_empty()) {
            self.drained(now, id, out);
        }
    }

    /// A leaving link has handed over everything.
    pub(super) fn drained(&mut self, now: Now, id: LinkId, out: &mut Outbox) {
        if self.table.get(id).is_some_and(|link| link.ended) {
            return self.close(now, id, LinkCode::Closed, "closed", out);
        }
        out.push(Output::HalfClose(id));
    }

    /// Closes a link now.
    pub fn close(&mut self, now: Now, id: LinkId, code: LinkCode, reason: &str, out: &mut Outbox) {
        let Some(link) = self.table.get_mut(id) else { return };
        let stage = link.stage;
        link.stage = Stage::Leaving { until: now.mono, hears: false };
        if let Some(ending) = &mut self.ending {
            ending.undelivered += link.queue.held().0 as u64;
        }
        self.lost(now, id, stage, code, reason, out);
        self.table.remove(id, out);
    }

    /// Follows up the end of a link's use, at whatever stage it was.
    fn lost(&mut self, now: Now, id: LinkId, stage: Stage, code: LinkCode, reason: &str, out: &mut Outbox) {
        let Some(link) = self.table.get(id) else { return };
        self.log(LogLevel::Info, out, || format!("link with {}: {reason}", link.addr));
        match stage {
            Stage::Greeting => {
                if let Some(target) = link.target.clone() {
                    self.target_failed(now, &target, code, reason);
                }
            }
            Stage::Waiting | Stage::Leaving { .. } => {}
            Stage::Up => self.neighbour_lost(now, id, code, reason, out),
        }
    }

    fn neighbour_lost(&mut self, now: Now, id: LinkId, code: LinkCode, reason: &str, out: &mut Outbox) {
        let Some(peer) = self.peer(id).map(|peer| peer.id.clone()) else { return };
        self.neighbours.remove(&peer);
        let next = self.table.iter().find(|(_, link)| link.is_second_of(&peer)).map(|(id, _)| id);
        if let Some(next) = next {
            return self.promote(now, id, next, out);
        }
        let lasted = self.table.get(id).map_or(Duration::ZERO, |link| now.mono.duration_since(link.since));
        let retry_in = self.dialler.on_lost(now, id, lasted);
        if self.ending.is_none() {
            let username = self.peer(id).map(|peer| peer.username.clone()).unwrap_or_default();
            self.news.push(News::Down { peer, username, code, reason: reason.to_owned(), retry_in });
        }
    }

    /// Starts to end: nothing is dialled or accepted any more, links hand over what is queued, for so long at most.
    pub fn end(&mut self, now: Now, time: Duration, out: &mut Outbox) {
        self.ending = Some(Ending { time, undelivered: 0 });
        self.dialler.clear();
        let links: Vec<(LinkId, Stage)> = self.table.iter().map(|(id, link)| (id, link.stage)).collect();
        for (id, stage) in links {
            let reason = "this node is ending";
            match stage {
                Stage::Greeting | Stage::Waiting => self.close(now, id, LinkCode::Closed, reason, out),
                Stage::Up => self.leave(now, id, false, LinkCode::Closed, reason, out),
                Stage::Leaving { .. } => {}
            }
        }
    }

    /// Closes all that are left.
    pub fn close_all(&mut self, now: Now, out: &mut Outbox) {
        for id in self.table.ids(|_| true) {
            self.close(now, id, LinkCode::Closed, "this node has ended", out);
        }
    }

    /// Frames that links did not take before the end.
    pub fn undelivered(&self) -> u64 {
        self.ending.as_ref().map_or(0, |ending| ending.undelivered)
    }
}
