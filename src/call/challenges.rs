//! How many challenges and echoes go where: so little that nobody is hurt by them.
//!
//! A forged `voice_join` can name a victim, under any number of names, ports and rooms. Each such name is worth a challenge;
//! so those that stay without echo are counted for each address, and are never forgotten: that the victim waits makes it
//! no less of a victim. What is remembered for ever must have a bound: a table of counters, and an address falls on one of
//! them by a keyed hash, so that nobody can choose whose counter he exhausts.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::wire::limits::{CHALLENGE_COUNTERS, MAX_CHALLENGES, MAX_ECHOES};

/// Counts challenges that stay without echo, and echoes to strangers.
#[derive(Debug)]
pub struct Challenges {
    secret: u64,
    /// Empty until the first challenge goes out.
    counts: Vec<u8>,
    echoes: u32,
    echoes_since: Option<Instant>,
}

impl Challenges {
    /// None so far. `secret`: nobody else may know it.
    pub const fn new(secret: u64) -> Self {
        Self { secret, counts: Vec::new(), echoes: 0, echoes_since: None }
    }

    /// Whether one more may go there; it is counted.
    pub fn may_go(&mut self, to: IpAddr) -> bool {
        self.counts.resize(CHALLENGE_COUNTERS, 0);
        let Some(count) = self.count(to) else { return false };
        let may = *count < MAX_CHALLENGES;
        *count += u8::from(may);
        may
    }

    /// So many of those have found somebody there who echoed: no victim.
    pub fn echoed(&mut self, from: IpAddr, challenges: u8) {
        if let Some(count) = self.count(from) {
            *count = count.saturating_sub(challenges);
        }
    }

    /// Whether one more echo may go to an address that has not itself echoed; it is counted.
    pub fn may_echo(&mut self, now: Instant) -> bool {
        if self.echoes_since.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1)) {
            (self.echoes, self.echoes_since) = (0, Some(now));
        }
        self.echoes += 1;
        self.echoes <= MAX_ECHOES
    }

    fn count(&mut self, ip: IpAddr) -> Option<&mut u8> {
        let mut hasher = DefaultHasher::new();
        self.secret.hash(&mut hasher);
        match ip.to_canonical() {
            IpAddr::V4(ip) => ip.octets().hash(&mut hasher),
            // Who has one address of a network of 64 bits may have all of them.
            IpAddr::V6(ip) => (ip.to_bits() >> 64).hash(&mut hasher),
        }
        let at = usize::try_from(hasher.finish() % CHALLENGE_COUNTERS as u64).ok()?;
        self.counts.get_mut(at)
    }
}

/// Whether voice may be asked for there at all: not at addresses of many or of nobody, nor at port 0.
pub fn is_allowed(addr: SocketAddr) -> bool {
    let nobody = match addr.ip().to_canonical() {
        // 0.0.0.0/8 is "this network" (RFC 1122, 3.2.1.3).
        // From 224 on it is multicast, reserved or broadcast (RFC 1112); 127.255.255.255 is the loopback's broadcast.
        IpAddr::V4(ip) => ip.octets()[0] == 0 || ip.octets()[0] >= 224 || ip.octets() == [127, 255, 255, 255],
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast(),
    };
    addr.port() != 0 && !nobody
}

/// An address in the one form in which it is compared and sent to: no IPv4 in IPv6, a scope only where it means anything.
pub fn plain(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(v6) => match v6.ip().to_canonical() {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                std::net::SocketAddrV6::new(ip, v6.port(), 0, v6.scope_id()).into()
            }
            ip => SocketAddr::new(ip, v6.port()),
        },
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::datagram::inside::CHALLENGE;

    /// Bytes of IP and UDP before a datagram.
    const HEADERS: (usize, usize) = (28, 48);

    fn sent(challenges: &mut Challenges, to: impl Iterator<Item = IpAddr>) -> usize {
        to.filter(|to| challenges.may_go(*to)).count()
    }

    #[test]
    fn challenges_to_one_victim_end_whatever_is_named() {
        let mut challenges = Challenges::new(7);
        let v4 = IpAddr::from([10, 0, 0, 1]);
        let n = sent(&mut challenges, std::iter::repeat_n(v4, 10_000));
        assert!(n > 0 && 3 * n * (HEADERS.0 + CHALLENGE) < 4096, "{n}");
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().expect("an address");
        assert!(!challenges.may_go(mapped), "the same in another form");
        let network = (0..10_000_u128).map(|n| IpAddr::from((0x2001_0db8_u128 << 96 | n).to_be_bytes()));
        let n = sent(&mut challenges, network);
        assert!(n > 0 && 3 * n * (HEADERS.1 + CHALLENGE) < 4096, "{n}");
    }

    #[test]
    fn who_echoes_is_asked_again_and_is_no_help_to_others() {
        let mut challenges = Challenges::new(7);
        let (there, victim) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..1000 {
            assert!(challenges.may_go(there));
            challenges.echoed(there, 1);
        }
        challenges.echoed(there, 200);
        assert_eq!(sent(&mut challenges, std::iter::repeat_n(victim, 100)), usize::from(MAX_CHALLENGES));
    }

    #[test]
    fn many_names_leave_room_for_others() {
        let mut challenges = Challenges::new(7);
        let forged = (0..10_000_u32).map(|n| IpAddr::from((0x0a00_0000 | n).to_be_bytes()));
        for ip in forged.flat_map(|ip| std::iter::repeat_n(ip, 20)) {
            challenges.may_go(ip);
        }
        let others = (0..1000_u32).map(|n| IpAddr::from((0xc0a8_0000 | n).to_be_bytes()));
        let asked = sent(&mut challenges, others);
        assert!(asked > 800, "{asked} of 1000 could still be asked");
        assert_eq!(challenges.counts.len(), CHALLENGE_COUNTERS);
    }

    #[test]
    fn echoes_to_strangers_have_a_rate() {
        let mut challenges = Challenges::new(7);
        #[allow(clippy::disallowed_methods, reason = "any moment will do")]
        let now = Instant::now();
        let echoes = |challenges: &mut Challenges, now| (0..1000).filter(|_| challenges.may_echo(now)).count();
        assert_eq!(echoes(&mut challenges, now), MAX_ECHOES as usize);
        assert_eq!(echoes(&mut challenges, now + Duration::from_millis(999)), 0);
        assert_eq!(echoes(&mut challenges, now + Duration::from_secs(1)), MAX_ECHOES as usize);
    }

    #[test]
    fn addresses_of_many_or_of_nobody_are_refused() {
        for (addr, allowed) in [
            ("10.0.0.1:6000", true),
            ("[::1]:6000", true),
            ("10.0.0.1:0", false),
            ("0.0.0.0:6000", false),
            ("0.1.2.3:6000", false),
            ("[::]:6000", false),
            ("[::ffff:0.0.0.0]:6000", false),
            ("224.0.0.1:6000", false),
            ("239.255.255.250:6000", false),
            ("[ff02::1]:6000", false),
            ("[::ffff:224.0.0.1]:6000", false),
            ("255.255.255.255:6000", false),
            ("[::ffff:255.255.255.255]:6000", false),
        ] {
            assert_eq!(is_allowed(addr.parse().expect(addr)), allowed, "{addr}");
        }
    }

    #[test]
    fn addresses_have_one_form() {
        for (came, form) in [
            ("10.0.0.1:6000", "10.0.0.1:6000"),
            ("[::ffff:10.0.0.1]:6000", "10.0.0.1:6000"),
            ("[2001:db8::1%3]:6000", "[2001:db8::1]:6000"),
            ("[fe80::1%3]:6000", "[fe80::1%3]:6000"),
        ] {
            assert_eq!(plain(came.parse().expect(came)), form.parse().expect(form), "{came}");
        }
    }
}
