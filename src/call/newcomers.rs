//! New neighbours are told who is in voice: this node's own join first, then those of the members that it knows.
//!
//! A thousand members are a mebibyte of joins, or four. They go a part at a time, and only while little waits for that link: so a
//! slow one is not cut off for what it is told, and messages do not wait behind it.

use super::newcomer::Newcomer;
use super::roster::Member;
use super::{Calls, Io};
use crate::base::{LinkId, NodeId, Now};
use crate::wire::limits::MAX_QUEUE_BYTES;
use crate::wire::message::View;

/// Bytes of joins that are told at a time, at least one join. A guess: a full roster in two seconds.
const PART: usize = 64 << 10;
/// Nothing more is told while so many bytes wait for the link.
const ENOUGH: usize = MAX_QUEUE_BYTES / 8;
/// A level 1 peer is sent nothing older: it remembers ids for two minutes.
const ORIGINAL_AGE: std::time::Duration = std::time::Duration::from_secs(60);

impl Calls {
    /// Tells a new neighbour who is in voice, or begins to.
    pub fn on_link_up(&mut self, now: Now, link: LinkId, (peer, level): (&NodeId, u8), io: &mut dyn Io) {
        if let Some(join) = self.own_join(io) {
            io.queue(link, &join);
        }
        let mut newcomer = Newcomer { peer: peer.clone(), level, last: None };
        if self.tell(now, link, &mut newcomer, io) {
            self.newcomers.insert(link, newcomer);
            self.tick_soon(now);
        }
    }

    /// Goes on to tell those that have not been told everything. Whether any is left.
    pub(super) fn tell_newcomers(&mut self, now: Now, io: &mut dyn Io) -> bool {
        let mut newcomers = std::mem::take(&mut self.newcomers);
        newcomers.retain(|link, newcomer| self.tell(now, *link, newcomer, io));
        self.newcomers = newcomers;
        !self.newcomers.is_empty()
    }

    /// Tells a newcomer of some members. Whether there are more.
    fn tell(&self, now: Now, link: LinkId, newcomer: &mut Newcomer, io: &mut dyn Io) -> bool {
        let Some(waiting) = io.queued(link) else { return false };
        if waiting > ENOUGH {
            return true;
        }
        // An original forgets ids after two minutes, and would flood its side with what is old.
        let is_fresh = |member: &Member| newcomer.level >= 2 || now.mono.duration_since(member.said) < ORIGINAL_AGE;
        let mut told = 0;
        for (id, member) in self.roster.after(newcomer.last.as_ref()) {
            if told >= PART {
                return true;
            }
            newcomer.last = Some(id.clone());
            if *id == newcomer.peer || member.left <= 1 || !member.paid || !is_fresh(member) {
                continue;
            }
            let Ok(view) = View::parse(&member.join) else { continue };
            let join = io.out().write(|buffer| view.relay(member.left - 1, member.ttl0, buffer));
            io.queue(link, &join);
            told += member.join.len();
        }
        false
    }
}
