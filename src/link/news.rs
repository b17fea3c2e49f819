//! News of links: what the link component has to tell the rest of the node.

use std::time::Duration;

use crate::base::{Direction, LinkCode, LinkId, NodeId};

/// News, in the order in which they came about.
#[derive(Debug)]
pub enum News {
    /// A link is up: there is a new neighbour.
    Up {
        /// The link.
        link: LinkId,
        /// The neighbour's id.
        peer: NodeId,
        /// Its user name.
        username: String,
        /// Its address.
        addr: String,
        /// The side that dialled.
        direction: Direction,
        /// The level of the wire on it.
        level: u8,
    },
    /// The node at a dialled address is linked.
    Reached {
        /// The address that was dialled.
        addr: String,
        /// The node's id.
        peer: NodeId,
    },
    /// A neighbour is gone.
    Down {
        /// Its id.
        peer: NodeId,
        /// Its user name.
        username: String,
        /// The reason, for programs.
        code: LinkCode,
        /// The reason, for people.
        reason: String,
        /// When it is dialled again.
        retry_in: Option<Duration>,
    },
    /// A dialled address was not linked.
    Failed {
        /// The address.
        addr: String,
        /// The reason, for programs.
        code: LinkCode,
        /// The reason, for people.
        reason: String,
        /// When it is dialled again.
        retry_in: Option<Duration>,
    },
    /// A neighbour has another user name.
    Renamed {
        /// Its id.
        peer: NodeId,
        /// Its new name.
        username: String,
    },
    /// Something a person should know.
    Trouble(Trouble, String),
}

/// Something a person should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The system has no room for another link.
    AcceptFailed,
    /// A peer does not read what is sent to it.
    SlowPeer,
    /// A peer claims this node's own id.
    OwnIdTaken,
    /// An address is banned.
    Banned,
}
