//! Looks ahead at the frames that have come together: the signatures of many are looked at in a third of the time that they
//! take one by one.
//!
//! Nothing but time depends on it. Each message is taken in turn as if it had come alone, and a verdict that stands ready is
//! used where one is asked for.

use std::vec::IntoIter;

use super::links::Stage;
use super::{LinkId, Node, Now};
use crate::wire::frame::{Allowance, Decoder};
use crate::wire::message::{Refusal, View};
use crate::wire::signed::{self, Bad, Claim, Signed};

/// Frames that are looked at together, at most: with more of them each takes no less time.
const MAX_AHEAD: usize = 64;

/// Whose a message is.
pub type Verdict = Result<Signed, Bad>;

/// A frame, as far as it has been looked at.
#[derive(Debug)]
pub struct Looked<'a> {
    pub view: Result<View<'a>, Refusal>,
    /// Whose it is, if that is known yet.
    pub verdict: Option<Verdict>,
}

impl<'a> Looked<'a> {
    pub fn at(frame: &'a [u8]) -> Self {
        Self { view: View::parse(frame), verdict: None }
    }
}

/// The next frames of a link, in their order, as far as something is known of them.
#[derive(Debug, Default)]
pub struct Ahead<'a>(IntoIter<Looked<'a>>);

impl<'a> Ahead<'a> {
    /// The next frame, which is this.
    pub fn next<'f>(&mut self, frame: &'f [u8]) -> Looked<'f>
    where
        'a: 'f,
    {
        self.0.next().unwrap_or_else(|| Looked::at(frame))
    }

    /// Whether nothing is known of the next.
    pub fn is_over(&self) -> bool {
        self.0.len() == 0
    }
}

impl Node {
    /// Looks at the frames that a link's decoder will give next.
    pub(super) fn look_ahead<'a>(
        &self,
        now: Now,
        id: LinkId,
        decoder: &Decoder,
        bytes: &'a [u8],
        allowance: Allowance,
    ) -> Ahead<'a> {
        let is_up = self.links.get(&id).is_some_and(|link| link.stage != Stage::Greeting);
        if !is_up || decoder.ahead(bytes, allowance).nth(1).is_none() {
            return Ahead::default();
        }
        let mut looked: Vec<Looked<'a>> = decoder.ahead(bytes, allowance).take(MAX_AHEAD).map(Looked::at).collect();
        if !self.is_worn_out(now, id) {
            self.verify_together(&mut looked);
        }
        Ahead(looked.into_iter())
    }

    /// Looks at the signatures of those that will be asked for.
    fn verify_together(&self, looked: &mut [Looked<'_>]) {
        let mut which = Vec::new();
        let mut claims = Vec::new();
        let mut names = Vec::new();
        for (place, it) in looked.iter_mut().enumerate() {
            let Ok(view) = &it.view else { continue };
            if !signed::claims(view) {
                continue;
            }
            let (Ok(id), Ok(from)) = (view.id.name(), view.from.name()) else { continue };
            // A copy is seldom asked whose it is.
            let is_copy =
                names.contains(&(view.id.json(), view.from.json())) || self.seen.get(&id, Some(&from)).is_some();
            if is_copy || self.blocks.has_author(&from) {
                continue;
            }
            match Claim::new(view) {
                Ok(claim) if self.is_known_bad(&claim) => it.verdict = Some(Err(Bad::Signature)),
                Ok(claim) => {
                    names.push((view.id.json(), view.from.json()));
                    which.push(place);
                    claims.push(claim);
                }
                Err(bad) => it.verdict = Some(Err(bad)),
            }
        }
        for (place, verdict) in which.into_iter().zip(signed::verify_all(&claims)) {
            if let Some(it) = looked.get_mut(place) {
                it.verdict = Some(verdict);
            }
        }
    }
}
