//! Whom the node believes: signatures and recorded messages.
//!
//! A message is looked at before its id is taken as seen, and before it is passed on: what is not its author's goes no further
//! than this node. So who is linked with a node of ours is blamed for what it passes on, if it must have looked at it, too.
//!
//! | message | what becomes of it |
//! |---|---|
//! | signed by the key that `from` is made of | believed |
//! | signed otherwise | dropped, `bad_signature`; a strike against the link if it is of level 2, and so is each copy |
//! | signed, and seen before by its counter | dropped, `replayed`: a relay may have been in good faith |
//! | not signed, in the name of a key | dropped, `forged` |
//! | not signed, in any other name | passed on and shown, `verified` false: as level 1 is |

use super::ahead::Verdict;
use super::{LinkId, Node, Now, Outbox, State, Table};
use crate::api::event::DropCause;
use crate::gossip::replay::{Replay, Window};
use crate::wire::identity::belongs_to_a_key;
use crate::wire::message::View;
use crate::wire::signed::{self, Bad, Claim, Signed};

impl Node {
    /// Looks who has said a message, if it says so itself; `None`: it does not. `verdict` is what is known beforehand. A wrong signature is a strike against the link
    /// that it came over, unless that is of level 1, where nobody looks.
    pub(super) fn who_said(
        &mut self,
        now: Now,
        link: LinkId,
        view: &View<'_>,
        from: &str,
        verdict: Option<Verdict>,
        out: &mut Outbox,
    ) -> Result<Option<Signed>, DropCause> {
        if !signed::claims(view) {
            return if belongs_to_a_key(from) { Err(DropCause::Forged) } else { Ok(None) };
        }
        if self.is_worn_out(now, link) {
            return Err(DropCause::Rate);
        }
        match verdict.unwrap_or_else(|| self.verify(view)) {
            Ok(signed) => Ok(Some(signed)),
            Err(bad) => {
                self.remember_bad(view, bad);
                let peer = self.links.get(&link).and_then(|link| link.peer.as_ref());
                if peer.is_none_or(|peer| peer.level < 2) {
                    self.pay_for_stranger(now, link);
                } else {
                    self.strike(now, link, &format!("it passed on a message that is not to be believed: {bad}"), out);
                }
                Err(DropCause::BadSignature)
            }
        }
    }

    /// Looks at a signature, unless it is known to be wrong.
    fn verify(&self, view: &View<'_>) -> Verdict {
        let claim = Claim::new(view)?;
        if self.is_known_bad(&claim) { Err(Bad::Signature) } else { claim.check() }
    }

    /// Whether a signature is known to be wrong.
    pub(super) fn is_known_bad(&self, claim: &Claim) -> bool {
        let (signed, signature) = claim.bytes();
        self.bad_signatures.contains(signed, signature)
    }

    /// Remembers a wrong signature. Whatever else may be wrong with a message is seen at once.
    fn remember_bad(&mut self, view: &View<'_>, why: Bad) {
        if let (Bad::Signature, Ok(claim)) = (why, Claim::new(view)) {
            let (signed, signature) = claim.bytes();
            self.bad_signatures.insert(signed, signature);
        }
    }

    /// Whether a signed message's place has not been taken. Nobody but this node signs with its key, so what it has said itself,
    /// and remembers no more, is a recording as well.
    pub(super) fn is_new_place(&self, from: &str, signed: &Signed) -> bool {
        *from != *self.id && self.replay.is_new(from, signed.place)
    }

    /// Takes a signed message's place.
    pub(super) fn take_place(&mut self, from: &str, signed: &Signed, out: &mut Outbox) {
        self.replay.take(from, signed.place);
        if self.has_state() {
            let row = self.replay.window(from).map(Window::to_bytes);
            self.store(Table::Replay, from, row, out);
        }
        while let Some(forgotten) = self.replay.forget_one() {
            self.store(Table::Replay, &forgotten, None, out);
        }
    }
}

/// What earlier runs remember of authors. A row that can't be read is left out: its author is met anew.
pub fn remembered(state: Option<&State>) -> Replay {
    let mut replay = Replay::default();
    for (author, row) in state.into_iter().flat_map(|state| state.rows(Table::Replay)) {
        if let Some(window) = Window::from_bytes(row) {
            replay.add(author.into(), window);
        }
    }
    replay
}

#[cfg(test)]
mod tests;
