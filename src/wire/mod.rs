//! Bytes and types of the network, and every limit on them.
//!
//! - [`limits`]: the numbers, each with its unit and its reason
//! - [`frame`]: a byte stream to frames
//! - [`json`]: limits on JSON
//! - [`message`]: a frame to a [`message::View`] of its fields, which borrows; and a relay's patch of its bytes
//! - [`datagram`]: datagrams of voice, both levels
//! - [`noise`]: encrypted links: the handshake, and records
//! - [`outgoing`]: our own messages, as bytes
//! - [`identity`]: the identity of a node: its key, and the id that is made from it
//! - [`signed`]: a message's signature; [`canonical`]: the bytes that it is over; [`signature`]: its verification
//! - [`room_key`]: rooms with a key: the original's encryption, and ours
//! - [`keyed_hash`]: a short hash that can't be predicted from outside
//! - [`window`]: which numbers of a session of voice have come

pub mod canonical;
#[cfg(fuzzing)]
mod cheap;
mod claim;
pub mod control;
pub mod datagram;
pub mod frame;
pub mod identity;
pub mod json;
pub mod keyed_hash;
pub mod limits;
pub mod message;
pub mod noise;
pub mod outgoing;
pub mod room_key;
pub mod signature;
pub mod signed;
pub mod window;
