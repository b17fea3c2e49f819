//! P2P Chat: a headless peer-to-peer chat node.
//!
//! ```text
//! wire ─▶ gossip ─▶ node ─▶ driver ─▶ program        api is known to node and driver
//!                     └───▶ sim
//! ```
//!
//! - [`api`]: the line protocol: commands, events, their schema
//! - [`wire`]: bytes and types of the network, and every limit on them
//! - [`gossip`]: pure: message ids seen, messages kept, what became of each
//! - [`node`]: pure: the one state machine that decides everything
//! - [`driver`]: the event loop: sockets, stdio, time
//! - [`sim`]: many nodes on a virtual network and a virtual clock
//! - [`options`], [`program`]: the command line, and the program around the node
//!
//! Nothing in `wire`, `gossip`, `api` and `node` reads a clock, draws a random number or does I/O.

pub mod api;
pub mod driver;
pub mod gossip;
pub mod node;
pub mod options;
pub mod program;
pub mod sim;
pub mod wire;
