//! The table of links: the one place where a link appears and where it goes.
//!
//! Everything else that is noted of a link (that its queue is full, that it has frames to seal, when it is due) is noted here, beside it,
//! and goes with it.

use std::collections::BTreeSet;
use std::time::Instant;

use super::connection::{Link, Stage};
use super::crypt::Crypt;
use super::queue::Queued;
use super::strangers::Stranger;
use super::timers::Timers;
use crate::base::{LinkId, Now};
use crate::outbox::{Bytes, Outbox, Output};

/// The links, by their numbers: the oldest first.
#[derive(Debug, Default)]
pub struct Table {
    links: Vec<(LinkId, Box<Link>)>,
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
        match self.find(id) {
            Ok(at) => *self.links[at].1 = link,
            Err(at) => self.links.insert(at, (id, Box::new(link))),
        }
        self.arm(id);
    }

    /// A link goes, whatever the cause.
    pub fn remove(&mut self, id: LinkId, out: &mut Outbox) -> Option<Box<Link>> {
        let at = self.find(id).ok()?;
        let (_, mut link) = self.links.remove(at);
        self.full.remove(&id);
        self.timers.disarm(&id, &mut link.armed);
        out.push(Output::Close(id));
        Some(link)
    }

    pub fn len(&self) -> usize {
        self.links.len()
    }

    pub fn get(&self, id: LinkId) -> Option<&Link> {
        let at = self.find(id).ok()?;
        self.links.get(at).map(|(_, link)| &**link)
    }

    pub fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        let at = self.find(id).ok()?;
        self.links.get_mut(at).map(|(_, link)| &mut **link)
    }

    /// Numbers grow: the newest link is at the end.
    fn find(&self, id: LinkId) -> Result<usize, usize> {
        self.links.binary_search_by_key(&id, |(id, _)| *id)
    }

    /// A link that has stood at a place of the table, which is put right if it stands there no more.
    fn at_mut(&mut self, id: LinkId, place: &mut usize) -> Option<&mut Link> {
        if self.links.get(*place).is_none_or(|(at, _)| *at != id) {
            *place = self.find(id).ok()?;
        }
        self.links.get_mut(*place).map(|(_, link)| &mut **link)
    }

    pub fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.links.iter().map(|(id, link)| (*id, &**link))
    }

    pub fn ids(&self, is: impl Fn(&Link) -> bool) -> Vec<LinkId> {
        self.iter().filter(|(_, link)| is(link)).map(|(id, _)| id).collect()
    }

    /// Links that were accepted and have not said hello, the oldest first.
    pub fn strangers(&self) -> impl Iterator<Item = Stranger> {
        let strangers = self.iter().filter(|(_, it)| it.stage == Stage::Greeting && !it.direction.is_out());
        strangers.map(|(id, it)| Stranger {
            id,
            ip: it.addr.ip(),
            since: it.since,
            has_said: !matches!(it.crypt, Crypt::Unknown),
        })
    }

    /// Queues a frame for a link. `None`: it takes none. False: it did not fit.
    pub fn push_frame(&mut self, now: Now, id: LinkId, bytes: &Bytes, out: &mut Outbox) -> Option<bool> {
        let link = self.get_mut(id).filter(|link| link.takes_frames())?;
        let queued = link.queue.push_frame(now, id, bytes, link.crypt.is_sealed(), out);
        let is_full = link.queue.is_full();
        Some(self.note_queued(id, queued, is_full))
    }

    /// The same, of a frame that goes to several links: one that is not sealed is only counted, and the link is added to the
    /// receivers of the outbox. `place`: where the link stood in the table the last time.
    pub fn add_to_fan(
        &mut self,
        now: Now,
        id: LinkId,
        place: &mut usize,
        bytes: &Bytes,
        out: &mut Outbox,
    ) -> Option<bool> {
        let link = self.at_mut(id, place).filter(|link| link.takes_frames())?;
        let queued = if link.crypt.is_sealed() {
            link.queue.push_frame(now, id, bytes, true, out)
        } else {
            let queued = link.queue.count_frame(now, Outbox::length(bytes), false);
            if queued != Queued::Dropped {
                out.add_receiver(id);
            }
            queued
        };
        let is_full = link.queue.is_full();
        Some(self.note_queued(id, queued, is_full))
    }

    fn note_queued(&mut self, id: LinkId, queued: Queued, is_full: bool) -> bool {
        if queued == Queued::FirstToSeal {
            self.unsealed.push(id);
        }
        if is_full && self.full.insert(id) {
            self.arm(id);
        }
        queued != Queued::Dropped
    }

    /// Notes that queued bytes were handed to the system.
    pub fn on_written(&mut self, now: Now, id: LinkId, bytes: usize) -> Option<&Link> {
        let at = self.find(id).ok()?;
        let (_, link) = self.links.get_mut(at)?;
        link.queue.on_written(now, bytes);
        if !self.full.is_empty() && !link.queue.is_full() {
            self.full.remove(&id);
        }
        Some(link)
    }

    /// Gives up on a link's full queue.
    pub fn give_up(&mut self, id: LinkId) {
        if let Some(link) = self.get_mut(id) {
            link.queue.give_up();
        }
        self.full.remove(&id);
    }

    /// Seals what was gathered for links of level 2.
    pub fn seal_gathered(&mut self, out: &mut Outbox) {
        while let Some(id) = self.unsealed.pop() {
            if let Ok(at) = self.find(id)
                && let Some((_, link)) = self.links.get_mut(at)
                && let Some(session) = link.crypt.session()
            {
                link.queue.seal(id, session, &mut self.plain, out);
            }
        }
    }

    /// Whether the queue of a link (other than `but`) is full, and worth waiting for.
    pub fn is_waiting(&self, now: Now, but: Option<LinkId>) -> bool {
        let mut full = self.full.iter().filter(|id| Some(**id) != but);
        full.any(|id| self.get(*id).is_some_and(|link| link.queue.is_worth_waiting_for(now)))
    }

    /// Makes sure that a link is looked at when its time has come.
    pub fn arm(&mut self, id: LinkId) {
        if let Ok(at) = self.find(id)
            && let Some((_, link)) = self.links.get_mut(at)
        {
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
            let Ok(at) = self.find(id) else { continue };
            let Some((_, link)) = self.links.get_mut(at) else { continue };
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
        self.links.iter_mut().for_each(|(_, link)| link.forgive(now, still));
    }
}
