//! A bad line before the socket, for tests: the option `--line`.
//!
//! Incoming datagrams go through a virtual [`Line`], one for each sender, which loses them or says when they are to be handed
//! on. So the real program shows how it copes with a bad network, whatever node is at the other end.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::Instant;

use crate::line::{Line, Settings};

/// Senders that have a line; beyond that the first ones begin anew: as many as a room has members.
const MAX_LINES: usize = 64;
/// Datagrams under way; more are lost: those of 16 talkers in 5 s.
const MAX_HELD: usize = 4096;

/// Where a node's lines get their chance from.
pub fn seed(seed: Option<u64>, username: &str, entropy: [u8; 32]) -> u64 {
    let mut hasher = DefaultHasher::new();
    match seed {
        Some(seed) => (seed, username).hash(&mut hasher),
        None => entropy.hash(&mut hasher),
    }
    hasher.finish()
}

/// The lines of a node.
#[derive(Debug)]
pub struct Lines {
    settings: Settings,
    seed: u64,
    start: Instant,
    lines: VecDeque<(SocketAddr, Line)>,
    held: BinaryHeap<Reverse<Held>>,
    /// Of datagrams that are due at the same time, the first one goes first.
    order: u64,
}

/// A datagram under way. What is compared first is when it is due.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due: Instant,
    order: u64,
    from: SocketAddr,
    bytes: Vec<u8>,
}

impl Lines {
    /// Lines that nothing has come by.
    pub fn new(settings: Settings, seed: u64, now: Instant) -> Self {
        Self { settings, seed, start: now, lines: VecDeque::new(), held: BinaryHeap::new(), order: 0 }
    }

    /// A datagram is sent on its way.
    pub fn send(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        let since = now.saturating_duration_since(self.start);
        for after in self.line_of(from).send(since).into_iter().flatten() {
            if self.held.len() < MAX_HELD {
                self.order += 1;
                let due = self.start + after;
                self.held.push(Reverse(Held { due, order: self.order, from, bytes: bytes.to_vec() }));
            }
        }
    }

    fn line_of(&mut self, from: SocketAddr) -> &mut Line {
        let at = match self.lines.iter().position(|(known, _)| *known == from) {
            Some(at) => at,
            None => {
                if self.lines.len() == MAX_LINES {
                    self.lines.pop_front();
                }
                self.seed = self.seed.wrapping_add(1);
                self.lines.push_back((from, Line::new(self.settings, self.seed)));
                self.lines.len() - 1
            }
        };
        &mut self.lines[at].1
    }

    /// When the next datagram is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.held.peek().map(|Reverse(held)| held.due)
    }

    /// The next datagram that has arrived.
    pub fn arrived(&mut self, now: Instant) -> Option<(SocketAddr, Vec<u8>)> {
        self.next_due().filter(|due| *due <= now)?;
        self.held.pop().map(|Reverse(held)| (held.from, held.bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[allow(clippy::disallowed_methods, reason = "a moment to start from")]
    fn lines(settings: &str) -> (Lines, Instant) {
        let now = Instant::now();
        (Lines::new(settings.parse().expect("a line"), 7, now), now)
    }

    #[test]
    fn datagrams_come_out_late_in_order_and_not_all() {
        let (mut lines, start) = lines("loss=20,delay=30");
        let step = Duration::from_millis(20);
        for n in 0..250_u8 {
            lines.send(start + step * u32::from(n), at(1 + u16::from(n % 2)), &[n]);
        }
        assert_eq!(lines.arrived(start + Duration::from_millis(29)), None);
        assert_eq!(lines.next_due().map(|due| due >= start + Duration::from_millis(30)), Some(true));
        let arrived: Vec<_> = std::iter::from_fn(|| lines.arrived(start + step * 300)).collect();
        assert!((180..220).contains(&arrived.len()), "{}", arrived.len());
        assert!(arrived.is_sorted_by(|a, b| a.1 < b.1));
        assert!(arrived.iter().all(|(from, bytes)| *from == at(1 + u16::from(bytes[0] % 2))));
    }

    #[test]
    fn any_number_of_senders_and_datagrams_is_bounded() {
        let (mut lines, start) = lines("delay=5000,duplicate=100");
        for n in 0..20_000_u16 {
            lines.send(start, at(n), &[0]);
        }
        assert_eq!((lines.lines.len(), lines.held.len()), (MAX_LINES, MAX_HELD));
    }

    #[test]
    fn nodes_of_a_seed_have_lines_of_their_own() {
        let of = |name| seed(Some(1), name, [0; 32]);
        assert_eq!(of("Alice"), of("Alice"));
        assert_ne!(of("Alice"), of("Bob"));
        assert_ne!(seed(None, "", [1; 32]), seed(None, "", [2; 32]));
    }
}
