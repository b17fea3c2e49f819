//! Gossip, pure: which messages are new, and what became of each.
//!
//! - [`core`]: decides about each message, whichever neighbour brought it; it owns the parts below
//! - [`batch`]: frames that come together are looked at together
//! - [`seen`]: message ids, so that each message is taken once
//! - [`replay`]: sequence numbers of signed messages, so that a recorded one is refused for ever
//! - [`numbers`]: the sequence numbers of our own messages
//! - [`bad`]: signatures that are known to be wrong
//! - [`trace`]: the way of each message through this node

pub mod bad;
pub mod batch;
pub mod core;
pub mod numbers;
pub mod replay;
pub mod seen;
pub mod trace;

pub use self::core::{Admission, Bringer, Copy, Gossip, Verdict, Way};
