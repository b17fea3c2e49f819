//! Gossip, pure: which messages are new, which are kept, and what became of each.
//!
//! - [`seen`]: message ids, so that each message is taken once
//! - [`replay`]: places of signed messages, so that a recorded one is refused for ever
//! - [`rates`]: how many messages an author may say
//! - [`history`]: messages that are kept, a list a room
//! - [`trace`]: what became of a message here

pub mod history;
pub mod rates;
pub mod replay;
pub mod seen;
pub mod trace;
