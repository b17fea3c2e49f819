//! `status`: what the node holds.

use std::rc::Rc;

use crate::api::result;
use crate::node::links::Stage;
use crate::node::{Node, Now};

impl Node {
    pub(super) fn status(&self, now: Now) -> result::Status {
        let greeting = self.links.values().filter(|link| link.stage == Stage::Greeting).count();
        result::Status {
            node: self.id.to_string(),
            username: self.username.clone(),
            room: self.room.clone(),
            listened: self.listened(),
            keyed: self.keys.keys().filter(|room| self.is_keyed(room)).cloned().collect(),
            schemes: self.keys.keys().filter_map(|room| Some((room.clone(), self.scheme_of(room)?))).collect(),
            uptime_s: now.mono.duration_since(self.started).as_secs(),
            links: self.neighbours.len(),
            handshakes: greeting,
            dialling: self.dials.len(),
            counters: self.counters.clone(),
            queues: self.held(),
            limits: crate::node::limits_of(&self.config),
        }
    }

    /// What is held, for `status` and for tests of whole networks.
    pub fn held(&self) -> result::Queues {
        let (rooms, history, history_bytes) = self.history.held();
        let queues = self.links.values().map(|link| link.queue.held());
        let (frames, frame_bytes) = queues.fold((0, 0), |(n, b), (frames, bytes)| (n + frames, b + bytes));
        let (wait_events, wait_bytes) = self.clients.log_held();
        let waiting = self.clients.pending_count();
        let [(_, voice_rate_authors, _), (_, voice_rate_links, _)] = self.voice.rates.held();
        result::Queues {
            frames,
            frame_bytes,
            seen_ids: self.seen.len(),
            authors: self.replay.held().0,
            author_intervals: self.replay.held().1,
            history,
            history_bytes,
            rooms,
            traces: self.traces.len(),
            wait_events,
            wait_bytes,
            waiting,
            dial_targets: self.targets.len(),
            voice_members: self.voice.roster.len(),
            voice_rate_authors,
            voice_rate_links,
            blocks: self.blocks.len(),
            offenders: self.offenders.len(),
            unsaved: self.stores.unsaved(),
        }
    }

    /// Connections, neighbours' and others, for tests of whole networks.
    pub fn link_count(&self) -> usize {
        self.links.len()
    }

    /// The neighbours' ids, for tests of whole networks.
    pub fn neighbour_ids(&self) -> Vec<Rc<str>> {
        self.neighbours.iter().map(|it| it.id.clone()).collect()
    }
}
