//! P2P Chat: a headless peer-to-peer chat node.
//!
//! ```text
//! base, wire ─▶ gossip, history, link, rooms, presence, clients, call ─▶ node ─▶ driver ─▶ program
//!        ▲                                                       └──▶ sim
//!      voice                api is known to outbox, clients, node and driver; audio to driver, lab and program alone
//! ```
//!
//! - [`api`]: the line protocol: commands, events, their schema
//! - [`wire`]: bytes and types of the network, and every limit on them
//! - [`base`], [`outbox`]: ids, moments, rates and chance; effects on their way out
//! - [`gossip`]: pure: admits messages, or refuses them; message ids seen, sequence numbers, traces
//! - [`history`]: pure: messages kept
//! - [`link`]: pure: TCP connections, from the first byte to the last
//! - [`rooms`]: pure: the active room, the rooms that are shown, their keys
//! - [`presence`]: pure: comings and goings of neighbours and members of voice, told at a rate
//! - [`call`]: pure: the members of voice, and datagrams to and from them
//! - [`voice`]: pure: from PCM to packets and back: codec, jitter buffer, concealment, mixer
//! - [`clients`]: pure: one log of events for all clients, their lines, and their commands that wait
//! - [`node`]: pure: the one state machine that decides everything
//! - [`driver`]: the event loop: sockets, stdio, time
//! - [`audio`]: microphones and speakers: devices, WAV files, tones, pipes, none
//! - [`sim`]: many nodes on a virtual network and a virtual clock
//! - [`options`], [`program`]: the command line, and the program around the node
//! - [`compare`]: two recordings beside each other, in figures and as pictures
//! - [`mod@line`]: pure: a virtual line for datagrams, with loss, delay and jitter; for tests
//! - [`lab`]: one talker and one listener over such a line, to compare settings
//!
//! Nothing in `wire`, `gossip`, `history`, `link`, `rooms`, `presence`, `clients`, `call`, `voice`, `api` and `node` reads a clock, draws
//! a random number that was not given, or does I/O.

pub mod api;
pub mod audio;
pub mod base;
pub mod call;
pub mod clients;
pub mod compare;
pub mod driver;
pub mod gossip;
pub mod history;
pub mod lab;
pub mod line;
pub mod link;
pub mod node;
pub mod options;
pub mod outbox;
pub mod presence;
pub mod program;
pub mod rooms;
pub mod sim;
pub mod voice;
pub mod wire;
