//! The line protocol, version 1: what scripts, bots and frontends see of a node.
//!
//! Commands come in as JSON objects, a line each; events go out the same way. The types of this room are the
//! protocol's only definition: they parse the input, print the output, and make the JSON Schema that
//! `p2p-chat schema` prints, so that none of the three can drift from the others.
//!
//! Each file imports only from those above it:
//!
//! - [`error`]: how a node refuses; [`name`]: names of users and rooms; [`id`]: a caller's mark; [`kind`]: the kinds of events
//! - [`take`]: JSON to arguments, kindly, and with errors that name them; [`marks`]: the `id` of a line that is no JSON
//! - [`arguments`] of commands, [`event`]s, [`result`]s of commands
//! - [`command`]: a line of input to a [`Request`], with an error code for everything that can be wrong with it;
//!   [`lines`]: the stream of input to such lines
//! - [`schema`], [`help`]: the protocol described by itself
//! - [`mod@line`], alone: the one way JSON becomes output (terminal controls escaped)

pub mod arguments;
pub mod command;
pub mod error;
pub mod event;
pub mod help;
pub mod id;
pub mod kind;
pub mod line;
pub mod lines;
pub mod marks;
pub mod name;
pub mod result;
pub mod schema;
pub mod take;

pub use command::{Command, Request};
pub use error::{ApiError, ErrorCode};
pub use event::Event;
pub use id::CommandId;
pub use kind::EventKind;
pub use name::Name;

/// The version of the line protocol, in `ready`. Version 1 only ever adds.
pub const PROTOCOL: u32 = 1;
