//! Gossip, pure: which messages are new, and what became of each.
//!
//! - [`core`]: decides about each message, whoever brought it; it owns the parts below
//! - [`batch`]: frames that come together are looked at together
//! - [`seen`]: message ids, so that each message is taken once
//! - [`replay`]: numbers of signed messages, so that a recorded one is refused for ever
//! - [`numbers`]: the numbers of our own signed messages
//! - [`bad`]: signatures that are known to be wrong
//! - [`trace`]: what became of a message here

pub mod bad;
pub mod batch;
pub mod core;
pub mod numbers;
pub mod replay;
pub mod seen;
pub mod trace;

pub use self::core::{Admission, Bringer, Copy, Gossip, Verdict, Way};
