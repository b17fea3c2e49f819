//! Commands that wait, for whatever it is.
//!
//! One that waits holds up the client's next line, unless it is `async`.

use std::time::Instant;

use crate::api::CommandId;

/// The head of a line, which its reply repeats.
#[derive(Debug, Clone)]
pub struct Head {
    /// Its number.
    pub line: u64,
    /// Its mark.
    pub id: Option<CommandId>,
    /// Its command.
    pub cmd: Option<String>,
    /// Whether it may fail, in spite of `--check`.
    pub may_fail: bool,
}

/// A command that waits for a `W`.
#[derive(Debug)]
pub struct Pending<W> {
    /// The head of its line.
    pub head: Head,
    /// When it was given.
    pub started: Instant,
    /// When it fails, or is to be looked at again.
    pub deadline: Option<Instant>,
    /// The thing that it waits for.
    pub what: W,
}

/// The place where a client's pending command is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The one that holds up the next line.
    Blocking,
    /// With the `async` ones, in turn.
    Aside,
}
