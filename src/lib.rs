//! P2P Chat: a headless peer-to-peer chat node.
//!
//! ```text
//! voice ─▶ wire ─▶ gossip ─▶ node ─▶ driver ─▶ program        api is known to node and driver,
//!             │                └──▶ sim                        audio to driver, lab and program alone
//!             └──▶ lab
//! ```
//!
//! - [`api`]: the line protocol: commands, events, their schema
//! - [`wire`]: bytes and types of the network, and every limit on them
//! - [`call`]: pure: who is in voice, and what goes to whom
//! - [`gossip`]: pure: message ids seen, messages kept, what became of each
//! - [`voice`]: pure: from PCM to packets and back: codec, jitter buffer, concealment, mixer
//! - [`node`]: pure: the one state machine that decides everything
//! - [`driver`]: the event loop: sockets, stdio, time
//! - [`audio`]: microphones and speakers: devices, WAV files, tones, pipes, none
//! - [`sim`]: many nodes on a virtual network and a virtual clock
//! - [`options`], [`program`]: the command line, and the program around the node
//! - [`compare`]: two recordings beside each other, in figures and as pictures
//! - [`lab`]: one talker and one listener over a virtual line, for who compares settings
//!
//! Nothing in `wire`, `gossip`, `voice`, `call`, `api` and `node` reads a clock, draws a random number or does I/O.

pub mod api;
pub mod audio;
pub mod base;
pub mod call;
pub mod compare;
pub mod driver;
pub mod gossip;
pub mod lab;
pub mod node;
pub mod options;
pub mod outbox;
pub mod program;
pub mod sim;
pub mod voice;
pub mod wire;
