//! The line protocol, version 1: what scripts, bots and frontends see of a node.
//!
//! Commands come in as JSON objects, a line each; events go out the same way. The types of this room are the
//! protocol's only definition: they parse the input, print the output, and make the JSON Schema that
//! `p2p-chat schema` prints, so that none of the three can drift from the others.
//!
//! - [`command`]: a line of input to a [`Request`], with an error code for everything that can be wrong with it;
//!   [`arguments`]: what may stand in it; [`lines`]: the stream of input to such lines
//! - [`event`]: what the node says, [`result`]: what it answers, [`error`]: how it refuses
//! - [`mod@line`]: the one way JSON becomes output (terminal controls escaped)
//! - [`schema`], [`help`]: the protocol described by itself

pub mod arguments;
pub mod command;
pub mod error;
pub mod event;
pub mod help;
pub mod line;
pub mod lines;
pub mod result;
pub mod schema;

pub use arguments::Name;
pub use command::{Command, CommandId, Request};
pub use error::{ApiError, ErrorCode};
pub use event::{Event, EventKind};

/// The version of the line protocol, in `ready`. Version 1 only ever adds.
pub const PROTOCOL: u32 = 1;
