//! Where a member's voice is sent, and where it is believed to come from.
//!
//! A `voice_join` can be forged, and could aim everyone's voice at a victim. So the address that it names is only a
//! hint. Voice goes to a member of level 2 at an address that has echoed a challenge of ours (the idea of RFC 7675), and only as
//! long as it does so again and again: that address is validated. A member of level 1 can't echo: voice goes to it at the address
//! that its own TCP link comes from, or at one that its datagrams came from of late. The datagrams of level 2 that are reported
//! here have opened with the key of the member's session, and came for the first time.
//!
//! Voice is believed from the same address alone, so that nobody speaks in another's name from elsewhere. Another
//! address, be it announced or a source (NAT), gets its turn when nothing has been heard from that one for two seconds:
//! a way that works can't be turned aside, neither by forged joins nor by forged datagrams.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::wire::limits::{
    CHALLENGE_EVERY, CONSENT_AGAIN, CONSENT_EVERY, CONSENT_TIME, MAX_TRIES, VOICE_GONE, VOICE_SOURCE_AFTER,
};

/// Challenges of one path that may be out at once: two seconds' worth.
const MAX_ASKED: usize = 4;
/// IP addresses whose challenges one path keeps apart. More are never given back to the count.
const MAX_SPENT: usize = 4;

/// How soon the first challenge is repeated; then after twice that, and so on up to [`CHALLENGE_EVERY`]. Above most round trips,
/// so that most first ones are enough.
const FIRST_AGAIN: Duration = Duration::from_millis(100);
/// Voice of level 1 goes on to where datagrams came from for so long: five signs of life. What one forged datagram can set
/// off is no more than that.
const SENT_TO: Duration = Duration::from_secs(5);

/// The way to one member.
#[derive(Debug)]
pub struct Path {
    /// Where it says it is; `None`: nowhere that can be reached from here.
    announced: Option<SocketAddr>,
    /// Where it says it is now, while the way before that is still heard.
    next: Option<Option<SocketAddr>>,
    /// Level 1: when a datagram last came from the announced address.
    announced_heard: Option<Instant>,
    /// Another address that its datagrams come from, and when the last one did.
    source: Option<(SocketAddr, Instant)>,
    /// Level 2: the address that has echoed.
    validated: Option<Validated>,
    /// The challenges that are out.
    asked: [Option<Asked>; MAX_ASKED],
    next_ask: Instant,
    tries: u32,
    /// Where a datagram of the member's came from that was not answered by a challenge yet, and when.
    asks: Option<(SocketAddr, Instant)>,
    /// Challenges that were counted and not echoed, for each IP address.
    spent: BTreeMap<IpAddr, u8>,
}

#[derive(Debug, Clone, Copy)]
struct Validated {
    addr: SocketAddr,
    echoed: Instant,
    heard: Instant,
    next_ask: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    to: SocketAddr,
    nonce: u64,
    at: Instant,
}

/// Why an address is challenged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// To learn whether the member is there. Counted, since it may be a victim.
    Probe,
    /// Like a probe, but not counted since it hurts nobody: the member's own link comes from there, or a datagram
    /// of its own did just now, which this answers and is no longer than.
    Answer,
    /// It has echoed, and is asked whether it still wants voice.
    Consent,
}

impl Path {
    /// The way to a member that has announced an address.
    pub fn new(now: Instant, announced: Option<SocketAddr>) -> Self {
        Self {
            announced,
            next: None,
            announced_heard: None,
            source: None,
            validated: None,
            asked: [None; MAX_ASKED],
            next_ask: now,
            tries: 0,
            asks: None,
            spent: BTreeMap::new(),
        }
    }

    /// Where it says it is.
    pub const fn announced(&self) -> Option<SocketAddr> {
        self.announced
    }

    /// Whether it is known where the member may be.
    pub const fn has_address(&self) -> bool {
        self.announced.is_some() || self.source.is_some()
    }

    /// The member announces an address, again or another one.
    pub fn announce(&mut self, now: Instant, announced: Option<SocketAddr>) {
        self.next = (self.announced != announced).then_some(announced);
        self.tries = 0;
        self.settle(now);
    }

    /// Goes over to the address announced last, if the one before has fallen silent.
    fn settle(&mut self, now: Instant) {
        if !self.is_alive(now)
            && let Some(next) = self.next.take()
        {
            (self.announced, self.announced_heard, self.source) = (next, None, None);
            (self.next_ask, self.tries) = (now, 0);
        }
    }

    /// Whether the member was heard lately from where it is believed to be.
    pub fn is_alive(&self, now: Instant) -> bool {
        let heard = [self.announced_heard, self.validated.map(|it| it.heard)];
        let source = self.source.map(|(_, at)| at).filter(|_| self.validated.is_none());
        heard.into_iter().chain([source]).flatten().any(|at| now.duration_since(at) < VOICE_SOURCE_AFTER)
    }

    /// Where voice of level 2 goes now, if anywhere.
    pub fn validated_addr(&self, now: Instant) -> Option<SocketAddr> {
        self.valid(now).map(|it| it.addr)
    }

    fn valid(&self, now: Instant) -> Option<Validated> {
        self.validated.filter(|it| now.duration_since(it.echoed) < CONSENT_TIME)
    }

    /// Where voice of level 1 goes now, if anywhere. `linked`: the IP address of the member's TCP link, if its join came by
    /// that; with the port of the join that is the best guess until it is heard.
    pub fn of_original(&self, now: Instant, linked: Option<IpAddr>) -> Option<SocketAddr> {
        let lately = |at: Instant| now.duration_since(at) < SENT_TO;
        match (self.source, self.announced_heard, self.announced) {
            (Some((addr, at)), ..) if lately(at) => Some(addr),
            (_, Some(at), announced) if lately(at) => announced,
            (.., announced) => Some(SocketAddr::new(linked?, announced?.port())),
        }
    }

    /// A datagram of level 1 came. False if it is not to be believed: from another address, while the one before is heard.
    pub fn heard_original(&mut self, now: Instant, from: SocketAddr) -> bool {
        self.settle(now);
        if self.announced == Some(from) {
            (self.announced_heard, self.source) = (Some(now), None);
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

    /// A datagram of level 2 came. False if it is not to be believed: from an address that has not echoed, and is not the
    /// announced one at the beginning either. `long`: it is no shorter than the challenge that may answer it.
    pub fn heard(&mut self, now: Instant, from: SocketAddr, long: bool) -> bool {
        self.settle(now);
        let valid = self.valid(now);
        if let Some(validated) = self.validated.as_mut().filter(|it| valid.is_some() && it.addr == from) {
            validated.heard = now;
            return true;
        }
        if self.is_heard_from_validated(now) {
            return false;
        }
        self.note_source(now, from, long);
        valid.is_none() && self.announced == Some(from)
    }

    /// A challenge of the member's came: it may be there.
    pub fn asked_from(&mut self, now: Instant, from: SocketAddr) {
        self.settle(now);
        if !self.is_heard_from_validated(now) && self.validated_addr(now) != Some(from) {
            self.note_source(now, from, true);
            if self.announced == Some(from) && self.validated_addr(now).is_none() {
                // It knows us, which it may not have done when it was asked first: our join takes longer than a datagram.
                self.next_ask = self.next_ask.min(now);
            }
        }
    }

    /// A datagram of the member's session came from an address that has not echoed.
    fn note_source(&mut self, now: Instant, from: SocketAddr, long: bool) {
        self.try_source(now, from);
        self.asks = if long { Some((from, now)) } else { self.asks };
        self.tries = self.tries.min(MAX_TRIES - 1);
    }

    /// Whether a challenge there would answer a datagram that came from there just now; each is answered once.
    pub fn take_asks(&mut self, now: Instant, to: SocketAddr) -> bool {
        let lately =
            |(from, at): &mut (SocketAddr, Instant)| *from == to && now.duration_since(*at) < VOICE_SOURCE_AFTER;
        self.asks.take_if(lately).is_some()
    }

    /// Whether a datagram of level 2 comes from where the member is: where it has echoed from, before that where it has announced.
    pub fn is_from_there(&self, now: Instant, from: SocketAddr) -> bool {
        self.validated_addr(now).or(self.announced) == Some(from)
    }

    /// Whether what comes from there is of no interest: the member is heard from where it is. It may be a copy that has overtaken the
    /// true datagram, which must not be refused for that.
    pub fn ignores(&self, now: Instant, from: SocketAddr) -> bool {
        self.is_heard_from_validated(now) && self.validated.is_some_and(|it| it.addr != from)
    }

    fn is_heard_from_validated(&self, now: Instant) -> bool {
        self.valid(now).is_some_and(|it| now.duration_since(it.heard) < VOICE_SOURCE_AFTER)
    }

    /// A new source is asked at once, but never sooner than twice in a row.
    fn try_source(&mut self, now: Instant, from: SocketAddr) {
        if self.announced == Some(from) {
            return;
        }
        if self.source.is_none_or(|(addr, _)| addr != from) {
            self.tries = 0;
            let last = self.asked.iter().flatten().map(|it| it.at).max();
            self.next_ask = self.next_ask.min(last.map_or(now, |at| at + CHALLENGE_EVERY));
        }
        self.source = Some((from, now));
    }

    /// The address to challenge now, if one is due.
    pub fn challenge_due(&mut self, now: Instant) -> Option<(SocketAddr, Why)> {
        self.settle(now);
        let valid = self.valid(now);
        if let Some(validated) = valid.filter(|it| it.next_ask <= now) {
            return Some((validated.addr, Why::Consent));
        }
        if now < self.next_ask || self.tries >= MAX_TRIES || self.is_heard_from_validated(now) {
            return None;
        }
        // A source first; but if it does not echo, the announced address gets its turn.
        let source = self.source.filter(|(_, at)| now.duration_since(*at) < VOICE_GONE).map(|(addr, _)| addr);
        let candidates = match self.tries.is_multiple_of(2) {
            true => [source, self.announced],
            false => [self.announced, source],
        };
        let known = valid.map(|it| it.addr);
        let to = candidates.into_iter().flatten().find(|addr| Some(*addr) != known)?;
        Some((to, Why::Probe))
    }

    /// A challenge goes out: or, if `nonce` is `None`, must not.
    pub fn challenged(&mut self, now: Instant, (to, why): (SocketAddr, Why), nonce: Option<u64>) {
        match (why, &mut self.validated) {
            (Why::Consent, Some(validated)) => validated.next_ask = now + CONSENT_AGAIN,
            _ => {
                self.tries += 1;
                // Sooner at first: what one loss costs is heard.
                self.next_ask = now + CHALLENGE_EVERY.min(FIRST_AGAIN * (1 << self.tries.min(8)) / 2);
            }
        }
        let Some(nonce) = nonce else { return };
        self.asked.rotate_right(1);
        self.asked[0] = Some(Asked { to, nonce, at: now });
        if why == Why::Probe && (self.spent.len() < MAX_SPENT || self.spent.contains_key(&to.ip())) {
            let spent = self.spent.entry(to.ip()).or_default();
            *spent = spent.saturating_add(1);
        }
    }

    /// An echo came. If it answers a challenge that is out, from where that went: how many challenges to that IP address
    /// were no harm, then.
    pub fn echoed(&mut self, now: Instant, from: SocketAddr, nonce: u64) -> Option<u8> {
        let answers = |it: &Asked| (it.to, it.nonce) == (from, nonce) && now.duration_since(it.at) < CONSENT_TIME;
        let asked = self.asked.iter_mut().find(|it| it.as_ref().is_some_and(answers))?;
        *asked = None;
        self.validated = Some(Validated { addr: from, echoed: now, heard: now, next_ask: now + CONSENT_EVERY });
        self.source = self.source.filter(|(addr, _)| *addr != from);
        (self.tries, self.next_ask) = (0, now + CHALLENGE_EVERY);
        Some(self.spent.remove(&from.ip()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::disallowed_methods, reason = "any moment will do")]
    fn start() -> Instant {
        Instant::now()
    }

    fn addr(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 6000).into()
    }

    const S: Duration = Duration::from_secs(1);

    fn prove(path: &mut Path, now: Instant, at: SocketAddr, nonce: u64) {
        assert_eq!(path.challenge_due(now), Some((at, Why::Probe)));
        path.challenged(now, (at, Why::Probe), Some(nonce));
        assert!(path.echoed(now, at, nonce).is_some());
    }

    #[test]
    fn voice_of_level_2_goes_only_where_a_challenge_was_echoed() {
        let now = start();
        let mut path = Path::new(now, Some(addr(1)));
        assert_eq!((path.validated_addr(now), path.challenge_due(now)), (None, Some((addr(1), Why::Probe))));
        path.challenged(now, (addr(1), Why::Probe), Some(7));
        assert_eq!(path.echoed(now, addr(2), 7), None, "from elsewhere");
        assert_eq!(path.echoed(now, addr(1), 8), None, "another challenge");
        assert_eq!(path.echoed(now, addr(1), 7), Some(1));
        assert_eq!(path.echoed(now, addr(1), 7), None, "once is enough");
        assert_eq!((path.validated_addr(now), path.challenge_due(now + S)), (Some(addr(1)), None));
        assert_eq!(path.challenge_due(now + 5 * S), Some((addr(1), Why::Consent)), "it is asked again");
        assert_eq!(path.validated_addr(now + 30 * S), None, "an echo does not count for ever");
    }

    #[test]
    fn consent_is_asked_for_until_it_comes_or_is_over() {
        let now = start();
        let mut path = Path::new(now, Some(addr(1)));
        prove(&mut path, now, addr(1), 7);
        let mut asked = 0;
        for tick in 0..400 {
            let now = now + tick * Duration::from_millis(100);
            path.heard(now, addr(1), true);
            if let Some((to, Why::Consent)) = path.challenge_due(now) {
                path.challenged(now, (to, Why::Consent), Some(9));
                asked += 1;
            }
        }
        assert!((20..=30).contains(&asked), "{asked}");
        assert_eq!(path.validated_addr(now + 40 * S), None);
    }

    #[test]
    fn a_way_that_is_heard_can_not_be_turned_aside() {
        let now = start();
        let mut path = Path::new(now, Some(addr(1)));
        prove(&mut path, now, addr(1), 7);
        for tick in 0..100 {
            let now = now + tick * Duration::from_millis(100);
            assert!(path.heard(now, addr(1), true));
            assert!(!path.heard(now, addr(2), true), "a third address");
            path.asked_from(now, addr(3));
            path.announce(now, Some(addr(4)));
            match path.challenge_due(now) {
                Some((to, Why::Consent)) if to == addr(1) => path.challenged(now, (to, Why::Consent), Some(8)),
                other => assert_eq!(other, None),
            }
            assert_eq!(path.validated_addr(now), Some(addr(1)));
        }
        // Silent for two seconds: now the address announced last gets its turn.
        let later = now + 12 * S;
        assert_eq!(path.challenge_due(later), Some((addr(1), Why::Consent)), "the validated one is not given up yet");
        path.challenged(later, (addr(1), Why::Consent), Some(8));
        prove(&mut path, later, addr(4), 9);
        assert_eq!(path.validated_addr(later), Some(addr(4)));
    }

    #[test]
    fn a_new_source_is_asked_before_voice_goes_there_or_is_believed() {
        let now = start();
        let mut path = Path::new(now, Some(addr(1)));
        prove(&mut path, now, addr(1), 7);
        assert!(!path.heard(now + S, addr(2), true), "the other was heard a second ago");
        assert_eq!(path.challenge_due(now + S), None);
        assert!(!path.heard(now + 2 * S, addr(2), true), "it has not echoed");
        assert_eq!(path.validated_addr(now + 2 * S), Some(addr(1)));
        prove(&mut path, now + 2 * S, addr(2), 8);
        assert_eq!(path.validated_addr(now + 2 * S), Some(addr(2)));
        assert!(path.heard(now + 3 * S, addr(2), true) && !path.heard(now + 3 * S, addr(1), true));
    }

    #[test]
    fn before_anything_is_validated_the_announced_address_is_heard_and_a_source_is_asked() {
        let now = start();
        let mut path = Path::new(now, Some(addr(1)));
        path.challenged(now, (addr(1), Why::Probe), Some(1));
        assert!(path.heard(now, addr(1), true));
        assert!(!path.heard(now, addr(2), true));
        assert_eq!(path.challenge_due(now), None, "one at a time");
        let soon = now + FIRST_AGAIN;
        assert_eq!(path.challenge_due(soon), Some((addr(2), Why::Probe)));
        path.challenged(soon, (addr(2), Why::Probe), Some(2));
        prove(&mut path, soon + FIRST_AGAIN, addr(1), 3);
    }

    #[test]
    fn tries_end_until_the_member_says_again_that_it_is_there() {
        let now = start();
        let mut path = Path::new(now, Some(addr(1)));
        let ask = |path: &mut Path, from: u32| {
            let asked = (from..from + 100).filter(|n| {
                let now = now + *n * S;
                path.challenge_due(now).map(|to| path.challenged(now, to, Some(0))).is_some()
            });
            asked.count()
        };
        assert_eq!(ask(&mut path, 0), MAX_TRIES as usize);
        path.announce(now + 100 * S, Some(addr(1)));
        assert_eq!(ask(&mut path, 100), MAX_TRIES as usize);
        assert_eq!(Path::new(now, None).challenge_due(now), None, "nowhere to ask");
    }

    #[test]
    fn an_original_is_sent_to_where_its_link_or_its_datagrams_come_from() {
        let now = start();
        let mut path = Path::new(now, Some(addr(1)));
        assert_eq!(path.of_original(now, None), None);
        assert_eq!(path.of_original(now, Some(addr(2).ip())), Some(addr(2)), "the link's address, the join's port");
        assert!(path.heard_original(now, addr(1)));
        assert_eq!(path.of_original(now, None), Some(addr(1)));
        assert!(!path.heard_original(now + S, addr(3)), "the announced one was heard a second ago");
        assert!(path.heard_original(now + 2 * S, addr(3)));
        assert_eq!(path.of_original(now + 2 * S, Some(addr(1).ip())), Some(addr(3)));
        assert!(!path.heard_original(now + 3 * S, addr(4)), "the other was heard a second ago");
        assert!(path.heard_original(now + 3 * S, addr(1)), "the announced one is believed at once");
        assert_eq!(path.of_original(now + 3 * S, None), Some(addr(1)));
        assert_eq!(path.of_original(now + 8 * S, None), None, "nothing has come for five seconds");
    }

    #[test]
    fn a_forged_join_does_not_move_an_original_that_is_heard() {
        let now = start();
        let mut path = Path::new(now, Some(addr(1)));
        path.heard_original(now, addr(1));
        path.announce(now + S, Some(addr(9)));
        assert!(!path.heard_original(now + S, addr(9)));
        assert!(path.heard_original(now + S, addr(1)));
        assert_eq!(path.of_original(now + S, None), Some(addr(1)));
        assert!(path.heard_original(now + 4 * S, addr(9)), "it has fallen silent");
        assert_eq!(path.of_original(now + 4 * S, None), Some(addr(9)));
    }
}
