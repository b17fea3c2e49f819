//! The roster: the members of each room's voice, as the gossip tells.
//!
//! A member is in one room at a time. It stays until it says that it leaves, until it joins another room, or until there
//! is no sign of it any more: see [`Member::is_gone`]. What a member of level 2 says it has signed. On level 1 nothing in a signal
//! proves its author; so while a member's own datagrams come, a join that would put another in its place is only a
//! claim, which waits until they have stopped.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Bound;
use std::rc::Rc;
use std::time::Instant;

use crate::base::{LinkId, NodeId, NodeIdRef};
use crate::wire::limits::{MAX_VOICE_KNOWN, MAX_VOICE_MEMBERS, VOICE_FORGET, VOICE_FORGET_ORIGINAL, VOICE_GONE, bound};
use crate::wire::signed::SeqNo;

/// Sessions that have ended, each with the place of what was said of it last, remembered so that a late copy of a join does not
/// bring them back. A guess.
const MAX_ENDED: usize = bound(256, 4);

/// The members of all rooms.
#[derive(Debug, Default)]
pub struct Roster {
    members: BTreeMap<NodeId, Member>,
    ended: VecDeque<(u64, Option<SeqNo>)>,
}

/// A member.
#[derive(Debug)]
pub struct Member {
    pub room: Rc<str>,
    pub username: String,
    pub muted: bool,
    /// Where it wants its datagrams; `None`: nowhere that can be reached from here.
    pub announced: Option<SocketAddr>,
    /// Whether its join came over its own link.
    pub direct: bool,
    /// Its session, if it speaks level 2.
    pub session: Option<u64>,
    /// Whether it decodes Opus.
    pub opus: bool,
    /// When it last said that it is there.
    pub said: Instant,
    /// When a datagram of it came, or it was seen linked; `None`: never.
    pub sign: Option<Instant>,
    /// Its join as it came, with the `ttl` left and the one it started with: for neighbours to come.
    pub join: Box<[u8]>,
    pub left: u8,
    pub ttl0: u8,
    /// The place of that join, and of the last that it said, if it signs what it says.
    pub seq: Option<SeqNo>,
    pub latest: Option<SeqNo>,
    /// Level 1: a join in its name that does not fit it, for when it has fallen silent.
    pub claim: Option<Box<Member>>,
    /// Level 1: it is said to have left, which counts when it has fallen silent.
    pub leaving: bool,
    /// The link that its join came over.
    pub via: LinkId,
    /// Whether its coming was paid for: see [`rates`](super::rates). If not, it is not passed on.
    pub paid: bool,
    /// The state that clients have been told: whether it is muted; `None`: not even that it is there.
    pub told: Option<bool>,
}

impl Member {
    /// Whether there is no sign of it any more, though it is not linked.
    pub fn is_gone(&self, now: Instant) -> bool {
        now >= self.gone_at()
    }

    /// The order in which members make way: first those that are not paid for, then those that have said nothing for longest.
    pub fn worth(&self) -> (bool, Instant) {
        (self.paid, self.said)
    }

    /// When it will be gone if no sign of it comes.
    pub fn gone_at(&self) -> Instant {
        match (self.sign, self.session) {
            (Some(sign), _) => sign + VOICE_GONE,
            (None, Some(_)) => self.said + VOICE_FORGET,
            (None, None) => self.said + VOICE_FORGET_ORIGINAL,
        }
    }
}

/// The outcome of a join.
#[derive(Debug, PartialEq, Eq)]
pub enum Joined {
    /// A new member; from another room, if it was in one.
    New { from: Option<Rc<str>> },
    /// It was there; whether it is muted has changed.
    Known { muted_changed: bool },
    /// A claim on a member that is heard: it waits.
    Held,
    /// No more fit, the session has ended, or it is older than the one that is known.
    Refused,
}

impl Roster {
    /// Nobody.
    pub const fn new() -> Self {
        Self { members: BTreeMap::new(), ended: VecDeque::new() }
    }

    /// A member.
    pub fn get<'a>(&self, id: impl Into<NodeIdRef<'a>>) -> Option<&Member> {
        self.members.get(id.into().key())
    }

    /// A member.
    pub fn get_mut<'a>(&mut self, id: impl Into<NodeIdRef<'a>>) -> Option<&mut Member> {
        self.members.get_mut(id.into().key())
    }

    /// A member's id, as it is kept here.
    pub fn known_id(&self, id: NodeIdRef<'_>) -> Option<NodeId> {
        self.members.get_key_value(id.key()).map(|(id, _)| id.clone())
    }

    /// All members, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, &Member)> {
        self.members.iter()
    }

    /// The members of a room, by id.
    pub fn of_room<'a>(&'a self, room: &'a str) -> impl Iterator<Item = (&'a NodeId, &'a Member)> {
        self.members.iter().filter(move |(_, member)| &*member.room == room)
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// The members by id, from the one after that id on.
    pub fn after<'a>(&'a self, last: Option<&NodeId>) -> impl Iterator<Item = (&'a NodeId, &'a Member)> + use<'a> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.members.range::<NodeId, _>((from, Bound::Unbounded))
    }

    /// The member to evict for one of this room if no more members fit: one outside. `is_sure`: whether one is certainly there.
    pub fn eviction_candidate_outside(&self, room: &str, is_sure: impl Fn(&NodeId, &Member) -> bool) -> Option<NodeId> {
        if self.members.len() < MAX_VOICE_KNOWN {
            return None;
        }
        let others = self.members.iter().filter(|(_, member)| &*member.room != room);
        others.filter(|(id, member)| !is_sure(id, member)).min_by_key(|(_, it)| it.worth()).map(|(id, _)| id.clone())
    }

    /// The member to evict for a new one of a room that is full: among those of which there has never been a sign, since they may
    /// be invented.
    pub fn eviction_candidate_in(&self, room: &str, linked: impl Fn(&NodeId) -> bool) -> Option<NodeId> {
        if self.of_room(room).count() < MAX_VOICE_MEMBERS {
            return None;
        }
        let unsure = self.of_room(room).filter(|(id, member)| member.sign.is_none() && !linked(id));
        unsure.min_by_key(|(_, member)| member.worth()).map(|(id, _)| id.clone())
    }

    /// The sizes of what is held beside the members, each with its bound.
    #[cfg(any(test, fuzzing))]
    pub fn held(&self) -> Vec<(&'static str, usize, usize)> {
        let longest = self.members.values().map(|member| member.join.len()).max().unwrap_or_default();
        vec![
            ("ended sessions", self.ended.len(), MAX_ENDED),
            ("bytes of a join", longest, crate::wire::limits::MAX_SIGNAL),
        ]
    }

    /// Takes in a join. `heard`: the member that is known by that id is being heard, and has not said this itself.
    pub fn join(&mut self, id: &NodeId, mut member: Member, heard: bool) -> Joined {
        if self.ended.iter().any(|(session, last)| member.session == Some(*session) && member.seq <= *last) {
            return Joined::Refused;
        }
        let before = self.members.get_mut(id);
        if before.as_ref().is_some_and(|before| before.seq > member.seq) {
            return Joined::Refused;
        }
        let same_room = before.as_ref().is_some_and(|before| before.room == member.room);
        let held = heard && member.seq.is_none();
        if let Some(before) = before.filter(|it| held && (!same_room || it.session != member.session)) {
            before.claim = Some(Box::new(member));
            return Joined::Held;
        }
        let full = self.of_room(&member.room).take(MAX_VOICE_MEMBERS).count() == MAX_VOICE_MEMBERS;
        if !same_room && (full || (!self.members.contains_key(id) && self.members.len() >= MAX_VOICE_KNOWN)) {
            return Joined::Refused;
        }
        if let Some(before) = self.members.get(id).filter(|_| same_room) {
            (member.paid, member.told) = (member.paid || before.paid, before.told);
        }
        let joined = match self.members.remove(id) {
            Some(before) if before.session == member.session && same_room => {
                // The original does not say it in its join; and it may have been said later.
                let later = before.latest > member.latest;
                member.muted = if member.session.is_some() && !later { member.muted } else { before.muted };
                member.latest = before.latest.max(member.latest);
                member.sign = before.sign;
                member.direct |= before.direct && before.announced == member.announced;
                Joined::Known { muted_changed: before.muted != member.muted }
            }
            Some(before) if same_room => {
                // Another session of the same author.
                member.sign = before.sign.filter(|_| member.seq.is_some());
                Joined::Known { muted_changed: before.muted != member.muted }
            }
            before => Joined::New { from: before.map(|before| before.room) },
        };
        self.members.insert(id.clone(), member);
        joined
    }

    /// Takes a member out. Its session does not come back, unless by what it says later.
    pub fn leave<'a>(&mut self, id: impl Into<NodeIdRef<'a>>) -> Option<Member> {
        let member = self.members.remove(id.into().key())?;
        if let Some(session) = member.session {
            self.ended.push_back((session, member.latest));
            if self.ended.len() > MAX_ENDED {
                self.ended.pop_front();
            }
        }
        Some(member)
    }

    /// Takes a member out as if it had never been in: its session may come again.
    pub fn forget(&mut self, id: &NodeId) -> Option<Member> {
        self.members.remove(id)
    }

    /// The members of which there is no sign any more. `linked`: whether one is a neighbour, and so is there.
    pub fn gone(&mut self, now: Instant, linked: impl Fn(&NodeId) -> bool) -> Vec<NodeId> {
        let mut gone = Vec::new();
        for (id, member) in &mut self.members {
            if linked(id) {
                member.sign = Some(now);
            } else if member.is_gone(now) {
                gone.push(id.clone());
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[allow(clippy::disallowed_methods, reason = "any moment will do")]
    fn start() -> Instant {
        Instant::now()
    }

    fn member(now: Instant, room: &str, session: Option<u64>) -> Member {
        Member {
            room: room.into(),
            direct: false,
            seq: None,
            latest: None,
            claim: None,
            leaving: false,
            via: LinkId(1),
            paid: true,
            told: None,
            username: "Bob".into(),
            muted: false,
            announced: Some(([10, 0, 0, 1], 6000).into()),
            session,
            opus: session.is_some(),
            said: now,
            sign: None,
            join: Box::default(),
            left: 1,
            ttl0: 1,
        }
    }

    #[test]
    fn a_member_is_in_one_room_and_a_session_ends_once() {
        let (now, mut roster, bob) = (start(), Roster::default(), NodeId::from("bob"));
        assert_eq!(roster.join(&bob, member(now, "a", Some(1)), false), Joined::New { from: None });
        assert_eq!(roster.join(&bob, member(now, "a", Some(1)), false), Joined::Known { muted_changed: false });
        assert_eq!(roster.join(&bob, member(now, "b", Some(2)), false), Joined::New { from: Some("a".into()) });
        assert_eq!(roster.len(), 1);
        assert!(roster.leave("bob").is_some());
        assert_eq!(roster.join(&bob, member(now, "b", Some(2)), false), Joined::Refused, "a late copy");
        assert_eq!(roster.join(&bob, member(now, "b", Some(3)), false), Joined::New { from: None });
    }

    #[test]
    fn an_original_that_joins_again_stays_muted() {
        let (now, mut roster, bob) = (start(), Roster::default(), NodeId::from("bob"));
        roster.join(&bob, member(now, "a", None), false);
        roster.get_mut("bob").expect("there").muted = true;
        assert_eq!(roster.join(&bob, member(now, "a", None), false), Joined::Known { muted_changed: false });
        assert!(roster.get("bob").expect("there").muted);
    }

    #[test]
    fn a_claim_on_who_is_heard_waits() {
        let (now, mut roster, bob) = (start(), Roster::default(), NodeId::from("bob"));
        roster.join(&bob, member(now, "a", Some(1)), false);
        assert_eq!(roster.join(&bob, member(now, "a", Some(2)), true), Joined::Held, "another session");
        assert_eq!(roster.join(&bob, member(now, "b", Some(1)), true), Joined::Held, "another room");
        assert_eq!(roster.get("bob").expect("there").session, Some(1));
        assert!(roster.get("bob").expect("there").claim.is_some());
        assert_eq!(roster.join(&bob, member(now, "a", Some(1)), true), Joined::Known { muted_changed: false });
        assert!(roster.get("bob").expect("there").claim.is_none(), "it is there, as it says itself");
        assert_eq!(roster.join(&bob, member(now, "a", Some(2)), false), Joined::Known { muted_changed: false });
        assert_eq!(roster.get("bob").expect("there").session, Some(2));
    }

    #[test]
    fn what_was_said_earlier_changes_nothing_that_was_said_later() {
        let (now, mut roster, bob) = (start(), Roster::default(), NodeId::from("bob"));
        let said = |room: &str, session, n| {
            let seq = Some(SeqNo { epoch: 1, n });
            Member { seq, latest: seq, ..member(now, room, Some(session)) }
        };
        roster.join(&bob, said("a", 1, 5), false);
        assert_eq!(roster.join(&bob, said("b", 2, 4), false), Joined::Refused, "an older session");
        assert_eq!(roster.join(&bob, member(now, "b", None), false), Joined::Refused, "not signed");
        let it = roster.get_mut("bob").expect("there");
        (it.muted, it.latest) = (true, Some(SeqNo { epoch: 1, n: 9 }));
        assert_eq!(roster.join(&bob, said("a", 1, 7), false), Joined::Known { muted_changed: false });
        assert_eq!(roster.join(&bob, said("a", 1, 10), false), Joined::Known { muted_changed: true });
        assert_eq!(roster.join(&bob, said("a", 3, 11), true), Joined::Known { muted_changed: false }, "a new session");
        assert!(roster.leave("bob").is_some());
        assert_eq!(roster.join(&bob, said("a", 3, 11), false), Joined::Refused, "a late copy");
        assert_eq!(roster.join(&bob, said("a", 3, 12), false), Joined::New { from: None }, "it was only out of reach");
    }

    #[test]
    fn who_may_be_invented_makes_way_and_nobody_else_does() {
        let (now, mut roster) = (start(), Roster::default());
        for n in 0..MAX_VOICE_MEMBERS {
            assert_eq!(roster.eviction_candidate_in("a", |_| false), None);
            roster.join(&(*format!("{n}")).into(), member(now + Duration::from_millis(n as u64), "a", None), false);
        }
        roster.get_mut("0").expect("there").sign = Some(now);
        assert_eq!(roster.eviction_candidate_in("a", |id| *id == "1".into()), Some("2".into()));
        roster.get_mut("5").expect("there").paid = false;
        assert_eq!(roster.eviction_candidate_in("a", |id| *id == "1".into()), Some("5".into()));
        assert_eq!(roster.eviction_candidate_in("a", |id| *id != "0".into()), None);
        assert_eq!(roster.eviction_candidate_in("b", |_| false), None);
    }

    #[test]
    fn the_room_that_matters_pushes_out_others() {
        let (now, mut roster) = (start(), Roster::default());
        for n in 0..MAX_VOICE_KNOWN {
            let said = now + Duration::from_millis(n as u64);
            roster.join(&(*format!("{n}")).into(), member(said, &format!("{}", n % 16), None), false);
        }
        let outside = |roster: &Roster| roster.eviction_candidate_outside("0", |id, _| *id == "1".into());
        assert_eq!(outside(&roster), Some("2".into()), "the oldest of another room that may be invented");
        roster.get_mut("9").expect("there").paid = false;
        assert_eq!(outside(&roster), Some("9".into()), "before it one that is not paid for");
        roster.leave("1");
        assert_eq!(outside(&roster), None);
    }

    #[test]
    fn rooms_and_the_whole_have_a_bound() {
        let (now, mut roster) = (start(), Roster::default());
        for n in 0..MAX_VOICE_KNOWN * 2 {
            roster.join(&(*format!("{n}")).into(), member(now, &format!("{}", n % 40), Some(n as u64)), false);
        }
        assert_eq!(roster.len(), MAX_VOICE_KNOWN);
        let mut roster = Roster::default();
        for n in 0..MAX_VOICE_MEMBERS {
            assert_ne!(roster.join(&(*format!("{n}")).into(), member(now, "a", None), false), Joined::Refused);
        }
        assert_eq!(roster.join(&"late".into(), member(now, "a", None), false), Joined::Refused);
        assert_ne!(roster.join(&"late".into(), member(now, "b", None), false), Joined::Refused);
        for n in 0..2 * MAX_ENDED as u64 {
            roster.leave("late");
            roster.join(&"late".into(), member(now, "b", Some(n)), false);
        }
        assert_eq!(roster.ended.len(), MAX_ENDED);
    }

    #[test]
    fn who_gives_no_sign_is_gone() {
        let (now, mut roster) = (start(), Roster::default());
        for (id, session) in [("linked", Some(1)), ("heard", Some(2)), ("never", Some(3)), ("original", None)] {
            roster.join(&id.into(), member(now, "a", session), false);
        }
        roster.get_mut("heard").expect("there").sign = Some(now);
        let linked = |id: &NodeId| *id == "linked".into();
        let gone = |roster: &mut Roster, s| roster.gone(now + Duration::from_secs(s), linked);
        assert!(gone(&mut roster, 9).is_empty());
        assert_eq!(gone(&mut roster, 10), ["heard".into()]);
        roster.leave("heard");
        assert_eq!(gone(&mut roster, 100), ["never".into()]);
        roster.leave("never");
        assert_eq!(gone(&mut roster, 600), ["original".into()]);
        assert_eq!(roster.gone(now + Duration::from_secs(610), |_| false).len(), 2, "the link went at 600");
    }
}
