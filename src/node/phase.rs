//! The phases of a node's life.

use std::time::Instant;

use crate::api::event::ByeReason;

/// How far the node is.
#[derive(Debug)]
pub enum Phase {
    /// It runs.
    Running,
    /// Links hand over what is queued.
    Draining {
        /// Why it ends.
        reason: ByeReason,
        /// With which exit code.
        exit: u8,
        /// Until when.
        until: Instant,
    },
    /// All is said.
    Done,
}

impl Phase {
    /// Whether it runs.
    pub const fn is_running(&self) -> bool {
        matches!(self, Self::Running)
    }

    /// When draining is over.
    pub const fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Draining { until, .. } => Some(*until),
            _ => None,
        }
    }
}
