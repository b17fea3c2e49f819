//! Gossip, pure: which messages are new, which are kept, and what became of each.
//!
//! - [`seen`]: message ids, so that each message is taken once
//! - [`history`]: messages that are kept, a list a room
//! - [`trace`]: what became of a message here

pub mod history;
pub mod seen;
pub mod trace;
