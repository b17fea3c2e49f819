//! The table of links: the one place where a link appears and where it goes.
//!
//! What is noted of a link elsewhere (that its queue is full, that it has frames to seal, when it is due) is noted here, beside it,
//! and goes with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::connection::{Link, Stage};
use super::queue::Queued;
use super::timers::Timers;
use crate::base::{LinkId, Now};
use crate::outbox::{Bytes, Outbox, Output};

/// The links, by their numbers: the oldest first.
#[derive(Debug, Default)]
pub struct Table {
    links: BTreeMap<LinkId, Box<Link>>,
    /// Links whose queue is full, and not yet given up.
    full: BTreeSet<LinkId>,
    /// Links with frames gathered that are to be sealed.
    unsealed: Vec<LinkId>,
    timers: Timers<LinkId>,
    /// The content of a record on its way out.
    plain: Vec<u8>,
}

impl Table {
    /// A link comes into being.
    pub fn insert(&mut self, id: LinkId, link: Link) {
        self.links.insert(id, Box::new(link));
        self.arm(id);
    }

    /// A link goes, whatever the cause.
    pub fn remove(&mut self, id: LinkId, out: &mut Outbox) -> Option<Box<Link>> {
        let mut link = self.links.remove(&id)?;
        self.full.remove(&id);
        self.timers.disarm(&id, &mut link.armed);
        out.push(Output::Close(id));
        Some(link)
    }

    pub fn len(&self) -> usize {
        self.links.len()
    }

    pub fn get(&self, id: LinkId) -> Option<&Link> {
        self.links.get(&id).map(|link| &**link)
    }

    pub fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&id).map(|link| &mut **link)
    }

    pub fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.links.iter().map(|(id, link)| (*id, &**link))
    }

    pub fn ids(&self, is: impl Fn(&Link) -> bool) -> Vec<LinkId> {
        self.iter().filter(|(_, link)| is(link)).map(|(id, _)| id).collect()
    }

    /// Links that were accepted and have not said hello, the oldest first.
    pub fn strangers(&self) -> impl Iterator<Item = LinkId> {
        self.iter().filter(|(_, it)| it.stage == Stage::Greeting && !it.direction.is_out()).map(|(id, _)| id)
    }

    /// Queues a frame for a link. `None`: it takes none. False: it did not fit.
    pub fn push_frame(&mut self, now: Now, id: LinkId, bytes: &Bytes, out: &mut Outbox) -> Option<bool> {
        let link = self.links.get_mut(&id).filter(|link| link.takes_frames())?;
        let queued = link.queue.push_frame(now, id, bytes, link.crypt.is_sealed(), out);
        if queued == Queued::FirstToSeal {
            self.unsealed.push(id);
        }
        if link.queue.is_full() && self.full.insert(id) {
            let wake = link.wake();
            self.timers.arm(&id, &mut link.armed, wake);
        }
        Some(queued != Queued::Dropped)
    }

    /// Notes that queued bytes were handed to the system.
    pub fn on_written(&mut self, now: Now, id: LinkId, bytes: usize) -> Option<&Link> {
        let link = self.links.get_mut(&id)?;
        link.queue.on_written(now, bytes);
        if !self.full.is_empty() && !link.queue.is_full() {
            self.full.remove(&id);
        }
        Some(link)
    }

    /// Gives up on a link's full queue.
    pub fn give_up(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.queue.give_up();
        }
        self.full.remove(&id);
    }

    /// Seals what was gathered for links of level 2.
    pub fn seal_gathered(&mut self, out: &mut Outbox) {
        while let Some(id) = self.unsealed.pop() {
            if let Some(link) = self.links.get_mut(&id)
                && let Some(session) = link.crypt.session()
            {
                link.queue.seal(id, session, &mut self.plain, out);
            }
        }
    }

    /// Whether the queue of a link (other than `but`) is full, and worth waiting for.
    pub fn is_waiting(&self, now: Now, but: Option<LinkId>) -> bool {
        let mut full = self.full.iter().filter(|id| Some(**id) != but);
        full.any(|id| self.links.get(id).is_some_and(|link| link.queue.is_worth_waiting_for(now)))
    }

    /// Makes sure that a link is looked at when its time has come.
    pub fn arm(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            let wake = link.wake();
            self.timers.arm(&id, &mut link.armed, wake);
        }
    }

    /// When a link is due, at the earliest.
    pub fn first_deadline(&self) -> Option<Instant> {
        self.timers.first()
    }

    /// The links that are due, the oldest first, and since when the first of them has been.
    pub fn due(&mut self, now: Now) -> (Vec<LinkId>, Option<Instant>) {
        let (mut due, mut since) = (Vec::new(), None);
        while let Some(id) = self.timers.pop(now.mono) {
            let Some(link) = self.links.get_mut(&id) else { continue };
            link.armed = super::timers::Armed::NONE;
            link.rates.on_time(now);
            match link.deadline() {
                Some(at) if at <= now.mono => {
                    since = Some(since.map_or(at, |since: Instant| since.min(at)));
                    due.push(id);
                }
                _ => {
                    let wake = link.wake();
                    self.timers.arm(&id, &mut link.armed, wake);
                }
            }
        }
        due.sort_unstable();
        (due, since)
    }

    /// Moves the times of all links: see [`Link::forgive`].
    pub fn forgive(&mut self, now: Now, still: std::time::Duration) {
        self.links.values_mut().for_each(|link| link.forgive(now, still));
    }
}
