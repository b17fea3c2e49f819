//! Where a member's voice is sent: to no address that has not shown that the member is there.
//!
//! A `voice_join` can be forged, and could aim everyone's voice at a victim. So the address that it names is only a
//! hint. To a member of level 2 voice goes when that address has echoed a challenge of ours (the idea of RFC 7675), and as
//! long as it does so again and again. A member of level 1 can't echo: to it voice goes if the address is that of its
//! own TCP link, or one that its datagrams came from.
//!
//! Challenges themselves are counted for each IP address: see [`Challenges`].

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::wire::limits::{
    CHALLENGE_EVERY, CONSENT_EVERY, CONSENT_TIME, MAX_CHALLENGED, MAX_CHALLENGES, MAX_TRIES, VOICE_SOURCE_AFTER,
};

/// The way to one member.
#[derive(Debug)]
pub struct Path {
    announced: SocketAddr,
    /// When a datagram last came from the announced address.
    announced_heard: Option<Instant>,
    /// Another address that its datagrams come from, and since when it was last heard.
    source: Option<(SocketAddr, Instant)>,
    /// The address that has echoed, and when.
    proven: Option<(SocketAddr, Instant)>,
    /// The challenge that is out: to whom, what it says, when it went.
    asked: Option<(SocketAddr, u64, Instant)>,
    next_ask: Instant,
    tries: u32,
}

impl Path {
    /// The way to a member that has announced an address.
    pub fn new(now: Instant, announced: SocketAddr) -> Self {
        Self { announced, announced_heard: None, source: None, proven: None, asked: None, next_ask: now, tries: 0 }
    }

    /// The member announces an address, again or another one.
    pub fn announce(&mut self, now: Instant, announced: SocketAddr) {
        if self.announced != announced {
            let proven = self.proven;
            *self = Self { proven, ..Self::new(now, announced) };
        }
        self.tries = 0;
    }

    /// Where voice of level 2 goes now, if anywhere.
    pub fn proven(&self, now: Instant) -> Option<SocketAddr> {
        self.proven.filter(|(_, at)| now.duration_since(*at) < CONSENT_TIME).map(|(addr, _)| addr)
    }

    /// Where voice of level 1 goes now, if anywhere. `linked`: the IP address of its TCP link, if it has one.
    pub fn of_original(&self, linked: Option<IpAddr>) -> Option<SocketAddr> {
        if self.announced_heard.is_some() && self.source.is_none() {
            return Some(self.announced);
        }
        match self.source {
            Some((addr, _)) => Some(addr),
            None => (linked == Some(self.announced.ip())).then_some(self.announced),
        }
    }

    /// A datagram of level 1 came. False if it is not to be believed: from another address, while the one before is heard.
    pub fn heard_original(&mut self, now: Instant, from: SocketAddr) -> bool {
        if from == self.announced {
            self.announced_heard = Some(now);
            self.source = None;
            return true;
        }
        let fresh = |at: Instant| now.duration_since(at) < VOICE_SOURCE_AFTER;
        let other = self.source.is_some_and(|(addr, at)| addr != from && fresh(at));
        if other || self.announced_heard.is_some_and(fresh) {
            return false;
        }
        self.source = Some((from, now));
        true
    }

    /// A datagram of level 2 came. Voice does not go there before it has echoed, but that is asked at once.
    pub fn heard(&mut self, now: Instant, from: SocketAddr) {
        if self.proven(now) != Some(from) && from != self.announced {
            let other = self.source.is_some_and(|(addr, _)| addr != from);
            if self.source.is_none() || other {
                self.next_ask = self.next_ask.min(self.asked.map_or(now, |(.., at)| at + CHALLENGE_EVERY));
                self.tries = 0;
            }
            self.source = Some((from, now));
        } else {
            self.source = None;
        }
    }

    /// The address to challenge now, if one is due.
    pub fn to_challenge(&self, now: Instant) -> Option<SocketAddr> {
        if now < self.next_ask || self.tries >= MAX_TRIES {
            return None;
        }
        let heard = self.source.map(|(addr, _)| addr);
        // A new source first; but if it does not echo, the announced address gets its turn.
        let (first, second) = (heard.or(self.proven(now)).unwrap_or(self.announced), self.announced);
        Some(if self.tries.is_multiple_of(2) { first } else { second })
    }

    /// A challenge went out, or could not.
    pub fn challenged(&mut self, now: Instant, to: SocketAddr, nonce: u64) {
        self.asked = Some((to, nonce, now));
        self.tries += 1;
        self.next_ask = now + CHALLENGE_EVERY;
    }

    /// An echo came: true if it answers the challenge that is out, from where that went.
    pub fn echoed(&mut self, now: Instant, from: SocketAddr, nonce: u64) -> bool {
        let Some((to, asked, at)) = self.asked else { return false };
        if (to, asked) != (from, nonce) || now.duration_since(at) >= CONSENT_TIME {
            return false;
        }
        self.asked = None;
        self.proven = Some((from, now));
        self.source = self.source.filter(|(addr, _)| *addr != from);
        self.tries = 0;
        self.next_ask = now + CONSENT_EVERY;
        true
    }
}

/// Counts the challenges that stay without echo, for each IP address: so however many joins name a victim, and whatever
/// ports, it gets [`MAX_CHALLENGES`] small datagrams in all.
#[derive(Debug, Default)]
pub struct Challenges(BTreeMap<IpAddr, u32>);

impl Challenges {
    /// Whether one more may go there; it is counted.
    pub fn may_go(&mut self, to: IpAddr) -> bool {
        if self.0.len() >= MAX_CHALLENGED && !self.0.contains_key(&to) {
            return false;
        }
        let count = self.0.entry(to).or_default();
        let may = *count < MAX_CHALLENGES;
        *count += u32::from(may);
        may
    }

    /// An echo came from there: whoever that is, it is no victim.
    pub fn echoed(&mut self, from: IpAddr) {
        self.0.remove(&from);
    }
}

/// Whether voice may be asked for there at all: not at addresses of many or of nobody, nor at port 0.
pub fn is_allowed(addr: SocketAddr) -> bool {
    let ip = addr.ip().to_canonical();
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    addr.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[allow(clippy::disallowed_methods, reason = "any moment will do")]
    fn start() -> Instant {
        Instant::now()
    }

    fn addr(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 6000).into()
    }

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn voice_of_level_2_goes_only_where_a_challenge_was_echoed() {
        let now = start();
        let mut path = Path::new(now, addr(1));
        assert_eq!((path.proven(now), path.to_challenge(now)), (None, Some(addr(1))));
        path.challenged(now, addr(1), 7);
        assert!(!path.echoed(now, addr(2), 7), "from elsewhere");
        assert!(!path.echoed(now, addr(1), 8), "another challenge");
        assert!(path.echoed(now, addr(1), 7));
        assert!(!path.echoed(now, addr(1), 7), "once is enough");
        assert_eq!((path.proven(now), path.to_challenge(now + S)), (Some(addr(1)), None));
        assert_eq!(path.to_challenge(now + 5 * S), Some(addr(1)), "it is asked again");
        assert_eq!(path.proven(now + 30 * S), None, "an echo does not count for ever");
    }

    #[test]
    fn a_new_source_is_asked_before_voice_goes_there() {
        let now = start();
        let mut path = Path::new(now, addr(1));
        path.challenged(now, addr(1), 7);
        path.echoed(now, addr(1), 7);
        path.heard(now + S, addr(2));
        assert_eq!((path.proven(now + S), path.to_challenge(now + S)), (Some(addr(1)), Some(addr(2))));
        path.challenged(now + S, addr(2), 8);
        assert!(path.echoed(now + S, addr(2), 8));
        assert_eq!(path.proven(now + S), Some(addr(2)));
    }

    #[test]
    fn an_original_is_sent_to_where_its_link_or_its_datagrams_come_from() {
        let now = start();
        let mut path = Path::new(now, addr(1));
        assert_eq!(path.of_original(None), None);
        assert_eq!(path.of_original(Some(addr(2).ip())), None);
        assert_eq!(path.of_original(Some(addr(1).ip())), Some(addr(1)));
        assert!(path.heard_original(now, addr(1)));
        assert_eq!(path.of_original(None), Some(addr(1)));
        assert!(!path.heard_original(now + S, addr(3)), "the announced one was heard a second ago");
        assert!(path.heard_original(now + 2 * S, addr(3)));
        assert_eq!(path.of_original(Some(addr(1).ip())), Some(addr(3)));
        assert!(!path.heard_original(now + 3 * S, addr(4)), "the other was heard a second ago");
        assert!(path.heard_original(now + 3 * S, addr(1)), "the announced one is believed at once");
        assert_eq!(path.of_original(None), Some(addr(1)));
    }

    #[test]
    fn challenges_to_one_address_end() {
        let mut challenges = Challenges::default();
        let sent = (0..10_000).filter(|_| challenges.may_go(addr(1).ip())).count();
        assert!(sent * (28 + crate::wire::datagram::CHALLENGE) < 4096, "{sent}");
        let v6 = (0..10_000).filter(|_| challenges.may_go(IpAddr::from([1; 16]))).count();
        assert!(v6 * (48 + crate::wire::datagram::CHALLENGE) < 4096, "{v6}");
        challenges.echoed(addr(1).ip());
        assert!(challenges.may_go(addr(1).ip()));
        let many = (0..10_000_u32).filter(|n| challenges.may_go(IpAddr::from(n.to_be_bytes()))).count();
        assert!(many < MAX_CHALLENGED && challenges.0.len() <= MAX_CHALLENGED);
        let mut path = Path::new(start(), addr(1));
        let now = start();
        let asked = (0..100)
            .filter(|n| path.to_challenge(now + *n * S).map(|to| path.challenged(now + *n * S, to, 0)).is_some());
        assert_eq!(asked.count(), MAX_TRIES as usize);
    }

    #[test]
    fn addresses_of_many_or_of_nobody_are_refused() {
        for (addr, allowed) in [
            ("10.0.0.1:6000", true),
            ("[::1]:6000", true),
            ("10.0.0.1:0", false),
            ("0.0.0.0:6000", false),
            ("[::]:6000", false),
            ("[::ffff:0.0.0.0]:6000", false),
            ("224.0.0.1:6000", false),
            ("[ff02::1]:6000", false),
            ("[::ffff:224.0.0.1]:6000", false),
            ("255.255.255.255:6000", false),
        ] {
            assert_eq!(is_allowed(addr.parse().expect(addr)), allowed, "{addr}");
        }
    }
}
