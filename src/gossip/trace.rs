//! Records of messages and their ways through this node, for the command `trace`: the newest few thousand, in a ring that
//! reuses its memory.

use std::collections::VecDeque;
use std::time::Instant;

use crate::base::{DropCause, NodeId};
use crate::wire::limits::MAX_TRACES;

/// A message's way.
#[derive(Debug, Clone)]
pub struct Trace {
    /// The node id of its author.
    pub from: String,
    /// The neighbour its first copy came from; none for one's own.
    pub via: Option<NodeId>,
    /// Links its first copy crossed.
    pub hops: u32,
    /// Copies that came.
    pub copies: u32,
    /// When the first came.
    pub at: Instant,
    /// The same in milliseconds since 1970.
    pub received_at: u64,
    /// The neighbours that it was handed to, when, and whether each confirmed it.
    pub links: Vec<(NodeId, Instant, bool)>,
    /// Why it was not shown, or went no further.
    pub dropped: Option<DropCause>,
}

/// The ring, by the number that [`Seen`](super::seen::Seen) gave to the message.
#[derive(Debug, Default)]
pub struct Traces {
    ring: VecDeque<Trace>,
    first: u64,
}

impl Traces {
    /// A new message's entry. Numbers come in order, without a gap.
    pub fn begin(&mut self, number: u64, from: &str, hops: u32, at: Instant, received_at: u64) -> &mut Trace {
        let mut trace = match self.ring.len() {
            MAX_TRACES => {
                self.first += 1;
                self.ring.pop_front()
            }
            _ => None,
        }
        .unwrap_or_else(|| Trace {
            from: String::new(),
            via: None,
            hops: 0,
            copies: 0,
            at,
            received_at: 0,
            links: Vec::new(),
            dropped: None,
        });
        trace.from.clear();
        trace.from.push_str(from);
        trace.links.clear();
        (trace.via, trace.dropped, trace.copies) = (None, None, 1);
        (trace.hops, trace.at, trace.received_at) = (hops, at, received_at);
        debug_assert_eq!(number, self.first + self.ring.len() as u64);
        let place = self.ring.len();
        self.ring.push_back(trace);
        &mut self.ring[place]
    }

    /// The entry of a message, if it is still there.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut Trace> {
        self.ring.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Entries held.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}
