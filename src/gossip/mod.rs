//! Gossip, pure: which messages are new, and what became of each.
//!
//! - [`seen`]: message ids, so that each message is taken once
//! - [`replay`]: places of signed messages, so that a recorded one is refused for ever
//! - [`bad`]: signatures that are known to be wrong
//! - [`rates`]: how many messages an author may say
//! - [`trace`]: what became of a message here

pub mod bad;
pub mod rates;
pub mod replay;
pub mod seen;
pub mod trace;
