//! The layer between a link's bytes and its frames: nothing at level 1, a handshake and then records at level 2.

use crate::base::NodeId;
use crate::wire::noise::{Handshake, Session};

/// The layer between a link's bytes and its frames.
#[derive(Debug)]
pub enum Crypt {
    /// Its first byte will tell.
    Unknown,
    /// None: level 1.
    Plain,
    /// A handshake that waits for the peer.
    Handshake(Box<Handshake>),
    /// A handshake whose next step a worker computes; nothing is read meanwhile.
    Offloaded,
    /// Records.
    Sealed {
        /// Seals and opens them.
        session: Box<Session>,
        /// The id that the peer has proved.
        id: NodeId,
    },
    /// It is a stranger's, in a private network: what comes is thrown away, and nothing is said, until its time is over.
    Mute,
}

impl Crypt {
    /// The id that the peer has proved.
    pub const fn authenticated_id(&self) -> Option<&NodeId> {
        match self {
            Self::Sealed { id, .. } => Some(id),
            _ => None,
        }
    }

    /// Whether frames are sealed.
    pub const fn is_sealed(&self) -> bool {
        matches!(self, Self::Sealed { .. })
    }

    /// The session that seals and opens records.
    pub fn session(&mut self) -> Option<&mut Session> {
        match self {
            Self::Sealed { session, .. } => Some(session),
            _ => None,
        }
    }

    /// Whether a record has been begun and is not whole.
    pub fn in_record(&self) -> bool {
        matches!(self, Self::Sealed { session, .. } if session.in_record())
    }

    /// Whether a handshake was begun and nothing has come yet.
    pub fn is_untouched(&self) -> bool {
        matches!(self, Self::Handshake(handshake) if handshake.is_untouched())
    }
}
