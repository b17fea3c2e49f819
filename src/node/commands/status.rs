//! `status`: what the node holds.

use crate::api::result;
use crate::base::Counters;
use crate::link::Stage;
use crate::node::{Node, Now};

impl Node {
    pub(super) fn status(&self, now: Now) -> result::Status {
        let greeting = self.links.iter().filter(|(_, link)| link.stage() == Stage::Greeting).count();
        result::Status {
            node: self.id().to_owned(),
            username: self.username.clone(),
            room: self.rooms.active().to_owned(),
            listened: self.rooms.listened(),
            keyed: self.rooms.keyed().map(|(room, _)| room.to_owned()).collect(),
            schemes: self.rooms.keyed().map(|(room, scheme)| (room.to_owned(), scheme)).collect(),
            uptime_s: now.mono.duration_since(self.started).as_secs(),
            links: self.links.neighbours().len(),
            handshakes: greeting,
            dialling: self.links.dialler().under_way(),
            counters: self.counters(),
            queues: self.held(),
            limits: crate::node::limits_of(&self.config),
        }
    }

    /// The figures of all that is held, for `status` and for tests of whole networks.
    pub fn held(&self) -> result::Queues {
        let (rooms, history, history_bytes) = self.history.held();
        let (frames, frame_bytes) = self.links.queued();
        let (authors, author_intervals) = self.gossip.authors();
        let (wait_events, wait_bytes) = self.clients.log_held();
        let waiting = self.clients.pending_count();
        let calls = self.calls.as_ref();
        let (voice_rate_authors, voice_rate_links) = calls.map(|calls| calls.rates_held()).unwrap_or_default();
        result::Queues {
            frames,
            frame_bytes,
            seen_ids: self.gossip.seen_ids(),
            authors,
            author_intervals,
            history,
            history_bytes,
            rooms,
            traces: self.gossip.traces(),
            wait_events,
            wait_bytes,
            waiting,
            dial_targets: self.links.dialler().len(),
            voice_members: calls.map_or(0, |calls| calls.member_count()),
            voice_rate_authors,
            voice_rate_links,
            blocks: self.links.blocks().len(),
            offenders: self.links.offenders(),
            unsaved: self.stores.unsaved(),
        }
    }

    /// The counts of all parts.
    pub fn counters(&self) -> Counters {
        let mut all = self.counters.clone();
        all += self.links.counters();
        all += self.gossip.counters();
        if let Some(calls) = &self.calls {
            calls.add_counts(&mut all);
        }
        all
    }

    /// Connections, neighbours' and others, for tests of whole networks.
    pub fn link_count(&self) -> usize {
        self.links.len()
    }

    /// The neighbours' ids, for tests of whole networks.
    pub fn neighbour_ids(&self) -> Vec<String> {
        self.links.neighbours().iter().map(|it| it.id.to_string()).collect()
    }
}
