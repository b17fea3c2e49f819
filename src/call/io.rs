//! The sink: the only way out of [`Calls`](super::Calls), and what it may ask of its surroundings.

use std::net::{IpAddr, SocketAddr};

use crate::base::{DialId, LinkId, NodeIdRef};
use crate::outbox::{Bytes, Outbox};
use crate::wire::outgoing::Message;
use crate::wire::room_key::RoomKey;
use crate::wire::signed::SeqNo;

/// Carries out effects at once, in the order of the calls, and answers questions. It cannot call back.
pub trait Io {
    /// Takes outputs, and the bytes of frames and datagrams.
    fn out(&mut self) -> &mut Outbox;

    /// Tells clients of an event.
    fn emit(&mut self, event: Event<'_>);

    /// Warns clients, but not of the same thing again and again.
    fn warn(&mut self, warning: Warning, message: &str);

    /// Queues a frame for a link.
    fn queue(&mut self, link: LinkId, frame: &Bytes);

    /// Bytes that wait for a link. `None`: it is gone.
    fn queued(&self, link: LinkId) -> Option<usize>;

    /// Dials an address. The answer goes to [`Calls::on_probe_ended`](super::Calls::on_probe_ended).
    fn dial(&mut self, addr: SocketAddr) -> DialId;

    /// The sequence number of our next signed message.
    fn next_seq_no(&mut self) -> SeqNo;

    /// Begins a message of ours: stamps it, and remembers its id as seen. `None`: that id has been seen before.
    fn begin_message(&mut self, id: &str) -> Option<Begun>;

    /// Signs a message of ours, which becomes a frame.
    fn sign(&self, message: &Message<'_>, seq: SeqNo) -> Option<Vec<u8>>;

    /// Hands a message of ours to every neighbour.
    fn hand_out(&mut self, id: &str, room: &str, number: u64, frame: &Bytes);

    /// Our user name.
    fn username(&self) -> &str;

    /// Whether messages of a room are shown.
    fn is_shown(&self, room: &str) -> bool;

    /// Whether a command has blocked an address.
    fn is_blocked(&self, ip: IpAddr) -> bool;

    /// Whether a peer is a neighbour.
    fn is_neighbour(&self, id: NodeIdRef<'_>) -> bool;

    /// A neighbour, by the link that is used with it.
    fn neighbour(&self, id: NodeIdRef<'_>) -> Option<Neighbour>;

    /// The keys that open what comes from a room; the first one seals as well.
    fn keys(&self, room: &str) -> [Option<&RoomKey>; 2];
}

/// A message of ours that has been begun.
#[derive(Debug, Clone, Copy)]
pub struct Begun {
    /// Its number among the ids seen.
    pub number: u64,
    /// Its time, in milliseconds since 1970.
    pub stamp: u64,
}

/// A neighbour's link.
#[derive(Debug, Clone, Copy)]
pub struct Neighbour {
    /// The address of its other end.
    pub addr: SocketAddr,
    /// Whether we have dialled it.
    pub is_dialled: bool,
    /// Whether the neighbour has shown that it is the host of a star.
    pub is_host: bool,
}

/// An event for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A member has joined.
    Joined {
        /// Its room.
        room: &'a str,
        /// Its node id.
        peer: &'a str,
        /// Its user name.
        username: &'a str,
        /// Whether it is muted.
        muted: bool,
    },
    /// A member has left.
    Left {
        /// Its room.
        room: &'a str,
        /// Its node id.
        peer: &'a str,
        /// Its user name.
        username: &'a str,
        /// Whether it was muted.
        muted: bool,
    },
    /// A member has muted or unmuted itself.
    Muted {
        /// Its room.
        room: &'a str,
        /// Its node id.
        peer: &'a str,
        /// Whether it is muted now.
        muted: bool,
    },
    /// A talkspurt begins or ends: a member's, or our own.
    Speaking {
        /// The room.
        room: &'a str,
        /// The talker's node id.
        peer: &'a str,
        /// Whether it begins.
        speaking: bool,
    },
    /// The microphone's file has ended, and the last of it has been heard.
    MicEnded {
        /// The room.
        room: &'a str,
    },
}

/// A warning for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warning {
    /// The codec could not be made.
    Codec,
    /// A member's voice cannot be opened with the keys of its room.
    Key,
    /// Microphone or speaker is gone in the middle of a call.
    DeviceLost,
    /// Nobody in voice is heard or can be sent to.
    Unheard,
}

/// Microphone and speaker: the names really used, or why they can't be opened.
pub type Opened = Result<(String, String), String>;
