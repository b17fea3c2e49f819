//! Datagrams, microphones and speakers of the network's nodes.

use std::net::SocketAddr;
use std::time::Duration;

use super::{At, Net, What, addr_of, pair};
use crate::node::{Bytes, Input};
use crate::voice::Frame;

impl Net {
    /// Sends a datagram on its way, if somebody is at its destination and it is not lost. Datagrams may overtake each other.
    pub(super) fn throw(&mut self, from: At, to: SocketAddr, bytes: &Bytes) {
        let bytes = self.bytes_of(from, bytes);
        drop(self.datagrams.push((from, to, bytes.clone())));
        if self.chance(1000) < self.lossy {
            return;
        }
        self.peer_got(to, &bytes);
        let Some(there) = self.node_at(to).filter(|there| !self.apart.contains(&pair(from, *there))) else { return };
        let (least, most) = self.delay;
        let spread = usize::try_from((most - least).as_micros()).unwrap_or(usize::MAX);
        let delay = least + Duration::from_micros(self.chance(spread + 1) as u64);
        self.schedule(delay, there, What::Datagram(addr_of(from), bytes));
    }

    /// Makes the network lose so many of a thousand datagrams.
    pub fn lose(&mut self, of_thousand: usize) {
        self.lossy = of_thousand;
    }

    /// Throws a forged datagram at a node, as if it came from anywhere.
    pub fn forge(&mut self, from: SocketAddr, to: At, bytes: Vec<u8>) {
        self.schedule(Duration::ZERO, to, What::Datagram(from, bytes));
    }

    /// The newest datagrams that were sent: sender, destination, bytes.
    pub fn datagrams(&self) -> &[(At, SocketAddr, Vec<u8>)] {
        &self.datagrams
    }

    /// Gives a node what its microphone hears, 20 ms.
    pub fn capture(&mut self, at: At, frame: &Frame) {
        self.handle(at, Input::Captured(frame));
    }

    /// Has a node play 5 ms.
    pub fn play(&mut self, at: At) {
        self.handle(at, Input::PlaybackDue);
    }

    /// The newest samples that a node has played.
    pub fn played(&self, at: At) -> &[i16] {
        self.nodes[at.0].played.as_flattened()
    }
}
