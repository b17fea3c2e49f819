//! The core of gossip: which messages are admitted, and what becomes of them.
//!
//! [`Gossip::admit`] decides about a message, whichever neighbour brought it: it is new, a copy, or refused, and why. It takes
//! the message's id and sequence number, and does nothing else: passing on, keeping and showing are steps of its owner. A message
//! is verified before its id is taken as seen, and before it is passed on: a forgery goes no further than this node.
//!
//! | message | verdict |
//! |---|---|
//! | signed by the key that `from` is made of | admitted, verified |
//! | signed otherwise | refused, `bad_signature`, to be blamed on the peer that brought it, and so is each copy |
//! | signed, and seen before by its number | refused, `replayed`: a relay may have been in good faith |
//! | not signed, in the name of a key | refused, `forged` |
//! | not signed, in any other name | admitted, not verified: as level 1 is |

use std::time::Instant;

use super::bad::BadSignatures;
use super::replay::{Replay, Window};
use super::seen::{Known, Seen};
use super::trace::{Trace, Traces};
use crate::base::{Bucket, Chance, Counters, DropCause, NodeId, Now, Rate, Roots};
use crate::wire::identity::belongs_to_a_key;
use crate::wire::limits::{MAX_TTL, TTL_NEAR_END};
use crate::wire::message::View;
use crate::wire::signed::{self, Bad, Claim, SeqNo, Signed};

/// The core of gossip.
#[derive(Debug)]
pub struct Gossip {
    /// This node's id.
    id: NodeId,
    seen: Seen,
    replay: Replay,
    bad: BadSignatures,
    traces: Traces,
    message_ids: Chance,
    rate: Option<Rate>,
    /// For what this node says itself.
    said: Bucket,
    /// No message of this node's own is taken before.
    until: Option<Instant>,
    counters: Counters,
}

/// A copy of a message that was brought here.
#[derive(Debug)]
pub struct Copy<'m> {
    /// The frame.
    pub view: &'m View<'m>,
    /// The message's id.
    pub id: &'m str,
    /// Its author.
    pub from: &'m str,
    /// Whether its author brings it itself.
    pub direct: bool,
    /// The neighbour that brought it.
    pub via: &'m NodeId,
    /// Forwards that this copy has left, and those that it started with.
    pub left: u8,
    /// See `left`.
    pub ttl0: u8,
    /// Whether its author is to be verified even if it is a copy: because this time its author brings it.
    pub wants_author: bool,
}

/// The party that brings a copy, as far as a verdict depends on it.
pub trait Bringer {
    /// Whether it has brought so many wrong signatures that none from there is verified any more.
    fn is_signature_budget_spent(&self) -> bool;

    /// Whether it may bring another message that is not signed and not its own.
    fn may_pass_unsigned(&mut self) -> bool;
}

/// The further way of a message that is not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Its number among those seen.
    pub number: u64,
    /// Forwards that it has left, and those that it started with: the signed value counts, so that nobody can make it live longer.
    pub left: u8,
    /// See `left`.
    pub ttl0: u8,
    /// Its sequence number, if its signature is right.
    pub seq: Option<SeqNo>,
}

impl Way {
    /// Links that it has crossed.
    pub fn hops(self) -> u32 {
        u32::from(self.ttl0.saturating_sub(self.left)) + 1
    }

    /// Whether its author's signature is right.
    pub const fn is_verified(self) -> bool {
        self.seq.is_some()
    }

    fn new(copy: &Copy<'_>, number: u64, signed: Option<&Signed>) -> Self {
        let ttl0 = signed.map_or(copy.ttl0, |signed| signed.ttl0);
        let left = signed.map_or(copy.left, |signed| copy.left.min(signed.ttl0));
        Self { number, left, ttl0, seq: signed.map(|signed| signed.seq) }
    }
}

/// A verdict on a signature.
pub type Verdict = Result<Signed, Bad>;

/// A verdict on a copy.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is new: its id and its number are taken.
    New(Way),
    /// It has been admitted before.
    Copy {
        /// Its way on.
        way: Way,
        /// Whether it is to be passed on once more: an earlier copy came by so long a way that it may have died near here,
        /// and this one has more forwards left (see [`TTL_NEAR_END`]).
        again: bool,
    },
    /// It goes no further.
    Refused {
        /// The cause.
        cause: DropCause,
        /// The fault of its signature, to be blamed on the peer that brought it.
        blame: Option<Bad>,
    },
}

impl Gossip {
    /// Nothing has been seen; `replay` has the sequence numbers that earlier runs have seen.
    pub fn new(id: NodeId, rate: Option<Rate>, replay: Replay, roots: &Roots) -> Self {
        let mut chance = roots.chance("gossip");
        Self {
            id,
            seen: Seen::new(chance.bytes()),
            replay,
            bad: BadSignatures::new(chance.bytes()),
            traces: Traces::default(),
            message_ids: roots.message_ids(),
            rate,
            said: Bucket::default(),
            until: None,
            counters: Counters::default(),
        }
    }

    /// Decides about a copy. `verdict` is that on its signature, if it is known already. The caller has checked that its author
    /// is not blocked.
    pub fn admit(
        &mut self,
        now: Now,
        copy: &Copy<'_>,
        verdict: Option<Verdict>,
        bringer: &mut impl Bringer,
    ) -> Admission {
        let author = signed::claims(copy.view).then_some(copy.from);
        if let Some(known) = self.seen.get(copy.id, author) {
            return self.admit_copy(copy, known, bringer);
        }
        let signed = match self.verify_author(copy, verdict, bringer) {
            Ok(signed) => signed,
            Err((cause, blame)) => return Admission::Refused { cause, blame },
        };
        let refused = |cause| Admission::Refused { cause, blame: None };
        // It belongs to a key, so it takes no allocation.
        let verified = signed.as_ref().map(|signed| (NodeId::from(copy.from), signed.seq));
        if verified.as_ref().is_some_and(|(author, seq)| !self.is_new_seq_no(author, *seq)) {
            return refused(DropCause::Replayed);
        }
        if !copy.direct && !self.may_pass(now, verified.as_ref().map(|(author, _)| author), bringer) {
            return refused(DropCause::Rate);
        }
        if let Some((author, seq)) = &verified {
            self.replay.take(author, *seq);
        }
        let way = Way::new(copy, 0, signed.as_ref());
        match self.seen.insert(copy.id, author, way.left) {
            Ok(number) => Admission::New(Way { number, ..way }),
            Err(known) => Admission::Copy { way: Way { number: known.number, ..way }, again: false },
        }
    }

    /// Decides about a copy of a message that has been admitted. Its author is verified only where that matters: it need not be
    /// the copy that it seems to be.
    fn admit_copy(&mut self, copy: &Copy<'_>, known: Known, bringer: &mut impl Bringer) -> Admission {
        let is_again = |left: u8| known.best_ttl < TTL_NEAR_END && left > known.best_ttl && left > 1;
        let mut way = Way::new(copy, known.number, None);
        if is_again(way.left) || copy.wants_author {
            match self.verify_author(copy, None, bringer) {
                Ok(signed) => way = Way::new(copy, known.number, signed.as_ref()),
                Err((cause, blame)) => return Admission::Refused { cause, blame },
            }
        }
        self.counters.duplicates += 1;
        if let Some(trace) = self.traces.get_mut(known.number) {
            trace.copies += 1;
        }
        let again = is_again(way.left);
        if again {
            self.seen.raise(known.number, way.left);
        }
        Admission::Copy { way, again }
    }

    /// Finds out whether a copy is its author's. `None`: unsigned.
    fn verify_author(
        &mut self,
        copy: &Copy<'_>,
        verdict: Option<Verdict>,
        bringer: &impl Bringer,
    ) -> Result<Option<Signed>, (DropCause, Option<Bad>)> {
        if !signed::claims(copy.view) {
            return if belongs_to_a_key(copy.from) { Err((DropCause::Forged, None)) } else { Ok(None) };
        }
        if bringer.is_signature_budget_spent() {
            return Err((DropCause::Rate, None));
        }
        match verdict.unwrap_or_else(|| self.verify(copy.view)) {
            Ok(signed) => Ok(Some(signed)),
            Err(bad) => {
                self.remember_bad(copy.view, bad);
                Err((DropCause::BadSignature, Some(bad)))
            }
        }
    }

    /// Verifies a signature, unless it is known to be wrong.
    fn verify(&self, view: &View<'_>) -> Verdict {
        let claim = Claim::new(view)?;
        if self.is_known_bad(&claim) { Err(Bad::Signature) } else { claim.check() }
    }

    /// Whether a signature is known to be wrong.
    pub(super) fn is_known_bad(&self, claim: &Claim) -> bool {
        let (signed, signature) = claim.bytes();
        self.bad.contains(signed, signature)
    }

    /// Remembers a wrong signature. All other faults of a message are cheap to find again.
    fn remember_bad(&mut self, view: &View<'_>, why: Bad) {
        if let (Bad::Signature, Ok(claim)) = (why, Claim::new(view)) {
            let (signed, signature) = claim.bytes();
            self.bad.insert(signed, signature);
        }
    }

    /// Wrong signatures that are remembered.
    pub fn bad_signatures(&self) -> usize {
        self.bad.len()
    }

    /// Remembers a signature as wrong, whether it is or not.
    #[cfg(test)]
    pub fn remember_as_bad(&mut self, claim: &Claim) -> bool {
        let (signed, signature) = claim.bytes();
        self.bad.insert(signed, signature)
    }

    /// Whether a signed message's sequence number has not been taken. Only this node signs with its key, so a message of its own
    /// that it no longer remembers is a recording as well.
    fn is_new_seq_no(&self, author: &NodeId, seq: SeqNo) -> bool {
        *author != self.id && self.replay.is_new(author, seq)
    }

    /// Whether a message that a neighbour passes on may go further. `author`: its own, if it is signed.
    fn may_pass(&mut self, now: Now, author: Option<&NodeId>, bringer: &mut impl Bringer) -> bool {
        let Some(rate) = self.rate.map(Rate::doubled) else { return true };
        match author {
            Some(author) => self.replay.is_within(author, now.mono, rate),
            None => bringer.may_pass_unsigned(),
        }
    }

    /// Begins the record of a new message.
    pub fn begin_trace(&mut self, now: Now, copy: &Copy<'_>, way: Way, received_at: u64) {
        self.counters.received += 1;
        let trace = self.traces.begin(way.number, copy.from, way.hops(), now.mono, received_at);
        trace.via = Some(copy.via.clone());
    }

    /// A new id for a message of our own.
    pub fn message_id(&mut self) -> String {
        self.message_ids.uuid()
    }

    /// Takes an id for a message of our own. `Err`: we have said that before.
    pub fn take_own(&mut self, id: &str) -> Result<u64, Known> {
        self.seen.insert(id, Some(&self.id.text()), MAX_TTL)
    }

    /// Begins the record of a message of our own. It has no copies yet: any that comes is an echo.
    pub fn begin_own_trace(&mut self, now: Now, number: u64, stamp: u64) {
        self.traces.begin(number, &self.id.text(), 0, now.mono, stamp).copies = 0;
    }

    /// Notes a message of our own, for its rate.
    pub fn on_own(&mut self, now: Now) {
        self.counters.sent += 1;
        if let Some(rate) = self.rate {
            self.until = self.said.pay(now.mono, rate);
        }
    }

    /// Whether this node may say something now.
    pub fn may_say(&self, now: Now) -> bool {
        self.until.is_none_or(|at| at <= now.mono)
    }

    /// When it may again.
    pub const fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// Forgets a wait that is over.
    pub fn on_time(&mut self, now: Now) {
        self.until = self.until.filter(|at| *at > now.mono);
    }

    /// Notes to how many neighbours copies of a message went; `relayed`: for the first time, of a message of another.
    pub const fn on_handed(&mut self, to: usize, relayed: bool) {
        self.counters.copies_out += to as u64;
        if relayed && to > 0 {
            self.counters.forwarded += 1;
        }
    }

    /// Whether a message has been taken, by its id and author; without an author: one that is not signed.
    pub fn has_seen(&self, id: &str, author: Option<&str>) -> bool {
        self.seen.get(id, author).is_some()
    }

    /// Whether any message of that id is remembered.
    pub fn knows_id(&self, id: &str) -> bool {
        self.seen.find_id(id).is_some()
    }

    /// The record of a message, by the number that its [`Way`] has.
    pub fn trace_mut(&mut self, number: u64) -> Option<&mut Trace> {
        self.traces.get_mut(number)
    }

    /// The record of a message of our own.
    pub fn own_trace_mut(&mut self, id: &str) -> Option<&mut Trace> {
        let known = self.seen.get(id, Some(&self.id.text()))?;
        self.traces.get_mut(known.number)
    }

    /// The record of an author's message; without an author: by its id alone, our own before those of others, then one that is
    /// signed, then the oldest.
    pub fn find_trace(&mut self, id: &str, author: Option<&str>) -> Option<&Trace> {
        let signed_by = |author: &str| self.seen.get(id, Some(author)).map(|known| known.number);
        let number = match author {
            Some(author) => signed_by(author).or_else(|| self.seen.get(id, None).map(|known| known.number)),
            None => signed_by(&self.id.text()).or_else(|| self.seen.find_id(id)),
        };
        let trace = self.traces.get_mut(number?)?;
        author.is_none_or(|author| *trace.from == *author).then_some(&*trace)
    }

    /// The row of an author, as it is to be kept: which of its numbers have been seen.
    pub fn author_row(&self, author: &NodeId) -> Option<Vec<u8>> {
        self.replay.window(author).map(Window::to_bytes)
    }

    /// An author that has been forgotten, whose row is to be removed.
    pub fn forget_author(&mut self) -> Option<NodeId> {
        self.replay.forget_one()
    }

    /// Forgets all ids, as two minutes of much talk would.
    #[cfg(test)]
    pub fn forget_ids(&mut self) {
        (self.seen, self.traces) = (Seen::new([1; 16]), Traces::default());
    }

    /// The counts so far.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Ids that are remembered.
    pub fn seen_ids(&self) -> usize {
        self.seen.len()
    }

    /// Authors that are remembered, and intervals of their numbers.
    pub fn authors(&self) -> (usize, usize) {
        self.replay.held()
    }

    /// Messages whose records are kept.
    pub fn traces(&self) -> usize {
        self.traces.len()
    }
}

#[cfg(test)]
mod tests;
