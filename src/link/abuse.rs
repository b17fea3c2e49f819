//! Strikes and bans: the answer to an address that breaks the rules again and again.
//!
//! A strike is for what no honest node ever does, and no relay in good faith passes on. Three of one address (of one network of 64
//! bits with IPv6, which is what one machine is given) within ten minutes ban it for ten: its links are closed, and new ones are
//! refused before a byte is read. Loopback is not banned, since everybody on the machine shares it: there a link has strikes of
//! its own, and is closed at the third.
//!
//! Bans end with the process; what is to last is a block.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use crate::base::LinkId;
use crate::wire::limits::{BAN_TIME, MAX_OFFENDERS, MAX_STRIKES, STRIKE_TIME};

/// A party whose strikes are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Offender {
    /// An IPv4 address, or an IPv6 network of 64 bits, as its first address.
    Net(IpAddr),
    /// A link of this machine's own.
    Link(LinkId),
}

#[derive(Debug)]
struct Record {
    /// The last strikes, newest last.
    strikes: [Option<Instant>; MAX_STRIKES],
    banned_until: Option<Instant>,
}

/// The addresses that have strikes, or are banned.
#[derive(Debug, Default)]
pub struct Offenders(BTreeMap<Offender, Record>);

impl Offender {
    fn of(link: LinkId, ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        if ip.is_loopback() { Self::Link(link) } else { Self::Net(net(ip)) }
    }
}

/// The network that is banned together: an IPv4 address, or 64 bits of an IPv6 one.
pub fn net(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

impl Record {
    /// Whether there is a reason to keep it.
    fn counts(&self, now: Instant) -> bool {
        let last = self.strikes.iter().flatten().max();
        self.banned_until.is_some_and(|until| until > now) || last.is_some_and(|at| *at + STRIKE_TIME > now)
    }
}

impl Offenders {
    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether an address is banned.
    pub fn is_banned(&self, now: Instant, ip: IpAddr) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let record = self.0.get(&Offender::Net(net(ip)));
        record.is_some_and(|record| record.banned_until.is_some_and(|until| until > now))
    }

    /// The bans, and until when each lasts.
    pub fn bans(&self, now: Instant) -> impl Iterator<Item = (String, Instant)> {
        self.0.iter().filter_map(move |(offender, record)| {
            let until = record.banned_until.filter(|until| *until > now)?;
            match offender {
                Offender::Net(ip @ IpAddr::V6(_)) => Some((format!("{ip}/64"), until)),
                Offender::Net(ip) => Some((ip.to_string(), until)),
                Offender::Link(_) => None,
            }
        })
    }

    /// Counts a strike against the peer at the other end of a link.
    pub fn strike(&mut self, now: Instant, link: LinkId, ip: IpAddr) -> Strike {
        let offender = Offender::of(link, ip);
        match (self.count(now, offender), offender) {
            (false, _) => Strike::Counted,
            (true, Offender::Link(_)) => Strike::Close,
            (true, Offender::Net(_)) => Strike::Ban,
        }
    }

    /// Ends the ban of an address, if it has one.
    pub fn lift_ban(&mut self, now: Instant, ip: IpAddr) -> bool {
        self.is_banned(now, ip) && self.0.remove(&Offender::Net(net(ip))).is_some()
    }

    /// Counts a strike. Whether it was the last that is borne.
    fn count(&mut self, now: Instant, offender: Offender) -> bool {
        if self.0.len() >= MAX_OFFENDERS && !self.0.contains_key(&offender) {
            self.0.retain(|_, record| record.counts(now));
            // Still full: who was struck longest ago goes, unless it is banned, then whose ban is over first.
            let first =
                self.0.iter().min_by_key(|(_, it)| (it.banned_until, it.strikes.iter().flatten().max().copied()));
            if let Some(first) = first.map(|(first, _)| *first).filter(|_| self.0.len() >= MAX_OFFENDERS) {
                self.0.remove(&first);
            }
        }
        let new = || Record { strikes: [None; MAX_STRIKES], banned_until: None };
        let record = self.0.entry(offender).or_insert_with(new);
        record.strikes.rotate_left(1);
        if let Some(last) = record.strikes.last_mut() {
            *last = Some(now);
        }
        let is_last = record.strikes.iter().all(|at| at.is_some_and(|at| now.duration_since(at) < STRIKE_TIME));
        if is_last {
            record.strikes = [None; MAX_STRIKES];
            match offender {
                Offender::Net(_) => record.banned_until = Some(now + BAN_TIME),
                Offender::Link(_) => drop(self.0.remove(&offender)),
            }
        }
        is_last
    }
}

/// The outcome of a strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    /// It is counted.
    Counted,
    /// It was the third of a link of this machine's own, which is to be closed.
    Close,
    /// It was the third of an address, which is banned: its links are to be closed.
    Ban,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn start() -> Instant {
        #[allow(clippy::disallowed_methods, reason = "any moment will do")]
        Instant::now()
    }

    fn at(ip: &str) -> Offender {
        Offender::of(LinkId(1), ip.parse().expect("an address"))
    }

    fn is_banned(offenders: &Offenders, now: Instant, ip: &str) -> bool {
        offenders.is_banned(now, ip.parse().expect("an address"))
    }

    #[test]
    fn three_strikes_within_ten_minutes_are_a_ban_for_ten() {
        let (mut it, start) = (Offenders::default(), start());
        let minutes = |n: u64| start + Duration::from_secs(n * 60);
        for (n, last) in [(0, false), (6, false), (11, false), (12, true)] {
            assert_eq!(it.count(minutes(n), at("10.0.0.1")), last, "after {n} minutes");
        }
        assert!(is_banned(&it, minutes(12), "10.0.0.1") && is_banned(&it, minutes(21), "::ffff:10.0.0.1"));
        assert!(!is_banned(&it, minutes(12), "10.0.0.2") && !is_banned(&it, minutes(22), "10.0.0.1"));
        assert!(!it.count(minutes(22), at("10.0.0.1")), "strikes begin anew");
        assert_eq!(it.bans(minutes(13)).map(|(addr, _)| addr).collect::<Vec<_>>(), ["10.0.0.1"]);
    }

    #[test]
    fn an_ipv6_network_is_one_and_loopback_links_are_many() {
        let (mut it, now) = (Offenders::default(), start());
        for ip in ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::"] {
            it.count(now, at(ip));
        }
        assert!(is_banned(&it, now, "2001:db8::7") && !is_banned(&it, now, "2001:db8:0:1::1"));
        assert_eq!(it.bans(now).map(|(addr, _)| addr).collect::<Vec<_>>(), ["2001:db8::/64"]);
        for link in 0..9 {
            assert!(!it.count(now, Offender::of(LinkId(link), "127.0.0.1".parse().expect("an address"))));
        }
        assert!(!is_banned(&it, now, "127.0.0.1"));
        it.count(now, at("127.0.0.1"));
        assert!(it.count(now, at("::1")));
        assert!(!is_banned(&it, now, "127.0.0.1") && !is_banned(&it, now, "::1"));
    }

    #[test]
    fn the_table_is_bounded_and_bans_stay_longest() {
        let (mut it, now) = (Offenders::default(), start());
        for _ in 0..MAX_STRIKES {
            it.count(now, at("10.9.9.9"));
        }
        for n in 0..3 * MAX_OFFENDERS as u32 {
            let when = now + Duration::from_millis(n.into());
            it.count(when, Offender::Net(std::net::Ipv4Addr::from_bits(n).into()));
            assert!(it.len() <= MAX_OFFENDERS);
        }
        assert!(is_banned(&it, now, "10.9.9.9"));
        it.count(now + STRIKE_TIME * 2, at("10.1.1.1"));
        assert_eq!(it.len(), 1, "what counts no more makes room");
    }
}
