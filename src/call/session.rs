//! The session of another member.

use crate::wire::datagram::sealed::Key;
use crate::wire::window::Window;

/// Another member's session.
#[derive(Debug)]
pub struct Session {
    /// Its number.
    pub number: u64,
    /// Opens its datagrams.
    pub key: Key,
    /// The counters that have been taken.
    pub window: Window,
    /// Whether it has echoed a challenge of ours: what is older than that is not taken.
    pub echoed: bool,
}
