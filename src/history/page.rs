//! Queries to history, and their answers: a page, or a load that must be done first.
//!
//! ```text
//! Query ─▶ Ready(Page)
//!      └─▶ NeedsLoad(Load) ─ a job elsewhere ─▶ loaded(Load, rows) ─▶ NeedsLoad(…) or Ready(Page)
//! ```
//!
//! A [`Load`] carries the question and what has been loaded for it so far: history itself remembers nothing of questions that
//! are under way. Whatever is kept or dropped in between, the page has no gap.

use super::rooms::{Gone, Kept, Range};

/// A query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The room.
    pub room: String,
    /// Where the page begins.
    pub from: From,
    /// The most messages that are wanted.
    pub limit: usize,
}

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// At a position.
    Range(Range),
    /// After a message of that id, which is its author's and nobody else's.
    AfterId {
        /// The id.
        id: String,
        /// The author. If it is not given: this node's own message counts before others, then one whose signature was right, then the
        /// oldest.
        author: Option<String>,
    },
}

/// The answer to a [`Query`].
#[derive(Debug)]
pub enum Answer<'h> {
    /// All of it is here.
    Ready(Page<'h>),
    /// Part of it must be loaded.
    NeedsLoad(Load),
}

/// Messages of a room, oldest first: some that have been loaded, and the newer ones that are in memory.
#[derive(Debug)]
pub struct Page<'h> {
    /// Whether it goes from older ones to newer ones.
    pub forwards: bool,
    /// Those that were not in memory, or no longer are.
    pub loaded: Vec<Kept>,
    /// Those in memory.
    pub kept: Vec<&'h Kept>,
    /// Whether there are more in the direction that was asked for.
    pub more: bool,
}

impl Page<'_> {
    /// The messages, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Kept> {
        self.loaded.iter().chain(self.kept.iter().copied())
    }
}

/// A load that must be done before a query can be answered.
#[derive(Debug, Clone)]
pub struct Load {
    pub(super) query: Query,
    /// The messages that the page has so far, oldest first.
    pub(super) loaded: Vec<Kept>,
    /// The messages that are wanted now.
    pub wanted: Wanted,
}

impl Load {
    /// The question.
    pub const fn query(&self) -> &Query {
        &self.query
    }

    /// The room that it is wanted from.
    pub fn room(&self) -> &str {
        &self.query.room
    }
}

/// Messages of a room that are wanted from the store. They are given oldest first, as many as there are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// The oldest of those with positions above `after` and below `before`.
    Oldest {
        /// They are above it.
        after: u64,
        /// They are below it.
        before: u64,
        /// How many at most.
        limit: usize,
    },
    /// The newest of those with positions below `before`.
    Newest {
        /// They are below it.
        before: u64,
        /// How many at most.
        limit: usize,
    },
    /// The one that [`From::AfterId`] means.
    OfId {
        /// The id.
        id: String,
        /// The author, if it is given.
        author: Option<String>,
    },
}

/// Why there is no page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Messages that follow are no longer kept.
    Gone(Gone),
    /// The room has no message of that id.
    UnknownId,
}
