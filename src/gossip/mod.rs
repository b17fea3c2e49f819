//! Gossip, pure: which messages are new, which are kept, and what became of each.
//!
//! - [`core`]: decides about each message, whoever brought it; it owns the parts below
//! - [`batch`]: frames that come together are looked at together
//! - [`seen`]: message ids, so that each message is taken once
//! - [`replay`]: numbers of signed messages, so that a recorded one is refused for ever
//! - [`numbers`]: the numbers of our own signed messages
//! - [`history`]: messages that are kept, a list a room
//! - [`trace`]: what became of a message here

pub mod batch;
pub mod core;
pub mod history;
pub mod numbers;
pub mod replay;
pub mod seen;
pub mod trace;

pub use self::core::{Admission, Bringer, Copy, Gossip, Way};
