//! Strangers: links that were accepted and have not said hello yet. There are few places for them, and this decides which
//! one makes room for a newcomer.
//!
//! The network with most places gives one up: so however many come from a handful of networks, one that comes from another
//! has the time that its way takes. A network is an IPv4 /24; with IPv6 it is the /32 with most places, in it the /48, and in
//! that the /64. Within a network those go first that have said nothing, or have had [`SAID_COUNTS`] since they came, and then
//! the oldest. It proves nothing to have said something, so that counts for no longer, and not between networks, unless
//! they have equally many places. This machine's own addresses are one network. The newest, by number and by time, are not
//! judged so: their words may not have been read yet.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::base::LinkId;

/// How long after it came a stranger that has said something is worth more than one that has not: longer than the longest ways take.
const SAID_COUNTS: Duration = Duration::from_secs(1);
/// A stranger that came so shortly before may have said something that has not been read. A guess: some turns of the loop.
const UNREAD: Duration = Duration::from_millis(20);
/// How many of those that are there are judged by what they have said: a quarter, the oldest. The others may be unread however
/// long ago they came, if the system has kept this process waiting: a turn of accepting takes in a quarter.
const JUDGED: usize = 4;

/// A link that was accepted and has not said hello.
#[derive(Debug, Clone, Copy)]
pub struct Stranger {
    /// The link.
    pub id: LinkId,
    /// The address of its other end.
    pub ip: IpAddr,
    /// Since when it is there.
    pub since: Instant,
    /// Whether anything has come from it.
    pub has_said: bool,
}

/// The stranger that makes room. `all`: the oldest first.
pub fn to_evict(now: Instant, all: &[Stranger]) -> Option<LinkId> {
    let nets: Vec<[u128; 3]> = all.iter().map(|it| networks(it.ip)).collect();
    let places = |level: usize, of: &[u128; 3]| nets.iter().filter(|it| it[..=level] == of[..=level]).count();
    let judged = all.len().div_ceil(JUDGED);
    let judge = |(index, (it, net)): (usize, (&Stranger, &[u128; 3]))| {
        let age = now.saturating_duration_since(it.since);
        let is_silent = index < judged && age >= if it.has_said { SAID_COUNTS } else { UNREAD };
        ((Reverse([0, 1, 2].map(|level| places(level, net))), !is_silent, index), it.id)
    };
    all.iter().zip(&nets).enumerate().map(judge).min().map(|(_, id)| id)
}

/// The networks that an address is in, the largest first. Those of IPv4 have bits set that no network of IPv6 here reaches.
fn networks(ip: IpAddr) -> [u128; 3] {
    match ip.to_canonical() {
        ip if ip.is_loopback() => [u128::MAX; 3],
        IpAddr::V4(ip) => [u128::from(ip.to_bits() >> 8) | 0xffff << 96; 3],
        IpAddr::V6(ip) => [32, 48, 64].map(|bits| ip.to_bits() >> (128 - bits)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        #[allow(clippy::disallowed_methods, reason = "any moment will do")]
        Instant::now()
    }

    /// Strangers of these addresses, a millisecond between any two; those with a `!` have said something. Gives the place of the
    /// one that goes.
    fn evicted(all: &[&str]) -> Option<usize> {
        evicted_at(Duration::from_millis(100), all)
    }

    fn evicted_at(after: Duration, all: &[&str]) -> Option<usize> {
        let start = start();
        let stranger = |(n, text): (usize, &&str)| Stranger {
            id: LinkId(n as u64),
            ip: text.trim_end_matches('!').parse().expect("an address"),
            since: start + Duration::from_millis(n as u64),
            has_said: text.ends_with('!'),
        };
        let all: Vec<Stranger> = all.iter().enumerate().map(stranger).collect();
        to_evict(start + after, &all).map(|id| id.0 as usize)
    }

    #[test]
    fn the_network_with_most_places_gives_one_up() {
        assert_eq!(evicted(&[]), None);
        assert_eq!(evicted(&["10.0.0.1"]), Some(0));
        assert_eq!(evicted(&["10.0.0.1", "10.0.1.1", "10.0.1.2", "10.0.2.1"]), Some(1), "a /24");
        assert_eq!(evicted(&["10.0.0.1", "::ffff:10.0.1.1", "10.0.1.2"]), Some(1), "IPv4 in whatever writing");
        let v6 =
            ["10.0.0.1", "2001:db8:1:1::1", "2001:db8:2:1::1", "2001:db8:2:2::1", "2001:db8:2:2::2", "2001:db9::1"];
        assert_eq!(evicted(&v6), Some(3), "the /64 within the /48 within the /32");
        let many = ["10.0.0.1", "2001:db8:1::1", "2001:db8:2::1", "2001:db8:3::1", "10.0.0.2"];
        assert_eq!(evicted(&many), Some(1), "a /32 counts as a whole");
        assert_eq!(evicted(&["10.0.0.1", "10.0.0.2", "127.0.0.1", "127.7.7.7", "::1"]), Some(2), "loopback is one");
    }

    #[test]
    fn within_a_network_the_silent_go_first_and_the_newest_are_not_judged() {
        let said = ["10.0.0.1!", "10.0.0.2", "10.0.0.3!", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.8"];
        assert_eq!(evicted(&said), Some(1));
        assert_eq!(evicted(&["10.0.0.1!", "10.0.0.2!", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]), Some(0));
        let other = ["10.0.0.1!", "10.0.1.1", "10.0.0.3!", "10.0.0.4!", "10.0.0.5!", "10.0.0.6!", "10.0.0.7!"];
        assert_eq!(evicted(&other), Some(0), "it does not count between networks");
        let equal = ["10.0.0.1!", "10.0.1.1", "10.0.2.1!", "10.0.3.1", "10.0.4.1", "10.0.5.1", "10.0.6.1", "10.0.7.1"];
        assert_eq!(evicted(&equal), Some(1), "unless they have equally many places");
    }

    #[test]
    fn what_was_said_counts_for_a_second() {
        let said = ["10.0.0.1!", "10.0.0.2", "10.0.0.3!", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.8"];
        assert_eq!(evicted_at(Duration::from_millis(999), &said), Some(1));
        assert_eq!(evicted_at(SAID_COUNTS, &said), Some(0));
        assert_eq!(evicted_at(UNREAD, &said), Some(0), "what the second has said may be unread");
    }
}
