//! Neighbours and members of voice, as clients are told of them.

use std::time::{Duration, Instant};

use crate::base::{Direction, LinkCode, NodeId};
use crate::presence::{Presence, State};

/// Neighbours and members of voice that are there.
#[derive(Debug)]
pub(super) struct Presences {
    /// Neighbours by their ids.
    pub(super) neighbours: Presence<NodeId, Neighbour, LinkEnd>,
    /// Members by room and id.
    pub(super) members: Presence<(Box<str>, NodeId), Member, Member>,
}

/// A neighbour, as clients are told of it.
#[derive(Debug, Clone)]
pub(super) struct Neighbour {
    /// Its id.
    pub peer: NodeId,
    /// Its user name.
    pub username: String,
    /// Its address.
    pub addr: String,
    /// The side that dialled.
    pub direction: Direction,
    /// The level of the wire on its link.
    pub level: u8,
}

/// The end of a neighbour's link, as clients are told of it.
#[derive(Debug)]
pub(super) struct LinkEnd {
    /// The neighbour's id.
    pub peer: NodeId,
    /// Its user name.
    pub username: String,
    /// The reason, for programs.
    pub code: LinkCode,
    /// The reason, for people.
    pub reason: String,
    /// When it is dialled again.
    pub retry_in: Option<Duration>,
}

/// A member of voice, as clients are told of it.
#[derive(Debug)]
pub(super) struct Member {
    /// Its room.
    pub room: Box<str>,
    /// Its node id.
    pub peer: NodeId,
    /// Its user name.
    pub username: String,
    /// Whether it is muted.
    pub muted: bool,
}

impl State for Neighbour {
    fn differs(&self, before: &Self) -> bool {
        self.username != before.username
    }
}

impl State for Member {
    fn differs(&self, before: &Self) -> bool {
        self.muted != before.muted
    }
}

impl Presences {
    /// Nobody is there.
    pub(super) fn new() -> Self {
        Self { neighbours: Presence::default(), members: Presence::default() }
    }

    /// When something that was gathered is to be told.
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.neighbours.deadline(), self.members.deadline()].into_iter().flatten().min()
    }

    /// The sizes of what is held, each with its bound: for tests of random lives.
    #[cfg(any(test, fuzzing))]
    pub(super) fn held(&self) -> [(&'static str, (usize, usize)); 2] {
        [("neighbours gone", self.neighbours.held()), ("members gone", self.members.held())]
    }
}
