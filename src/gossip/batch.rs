//! Batches of frames that have come together: the signatures of many are verified in a third of the time that they take one by
//! one.
//!
//! Only time depends on it. Each message is taken in turn as if it had come alone, and a verdict that is known already is
//! used where one is needed.

use std::vec::IntoIter;

use super::core::{Gossip, Verdict};
use crate::wire::frame::{Allowance, Decoder};
use crate::wire::message::{Refusal, View};
use crate::wire::signed::{self, Bad, Claim};

/// Frames that are looked at together, at most: with more of them each takes no less time.
const MAX_BATCH: usize = 64;

/// A frame, as far as it has been looked at.
#[derive(Debug)]
pub struct Parsed<'a> {
    /// Its bytes.
    pub frame: &'a [u8],
    /// Where its fields stand.
    pub view: Result<View<'a>, Refusal>,
    /// The verdict on its signature, if that is known yet.
    pub verdict: Option<Verdict>,
}

impl<'a> Parsed<'a> {
    /// Parses a frame.
    pub fn new(frame: &'a [u8]) -> Self {
        Self { frame, view: View::parse(frame), verdict: None }
    }
}

/// The next frames of a link, in their order, as far as they have been parsed.
#[derive(Debug, Default)]
pub struct Batch<'a>(IntoIter<Parsed<'a>>);

impl<'a> Batch<'a> {
    /// The next frame, which is this.
    pub fn next<'f>(&mut self, frame: &'f [u8]) -> Parsed<'f>
    where
        'a: 'f,
    {
        self.0.next().unwrap_or_else(|| Parsed::new(frame))
    }

    /// Whether the next frame has not been parsed.
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }
}

impl Gossip {
    /// Looks at the frames that a link's decoder will give next, and verifies the signatures that will be asked for: not those
    /// of blocked authors, and none if `verifies` is false.
    pub fn look_ahead<'a>(
        &self,
        decoder: &Decoder,
        bytes: &'a [u8],
        allowance: Allowance,
        verifies: impl FnOnce() -> bool,
        is_blocked: impl Fn(&str) -> bool,
    ) -> Batch<'a> {
        if decoder.ahead(bytes, allowance).nth(1).is_none() {
            return Batch::default();
        }
        let mut parsed: Vec<Parsed<'a>> = decoder.ahead(bytes, allowance).take(MAX_BATCH).map(Parsed::new).collect();
        if verifies() {
            self.verify_together(&mut parsed, is_blocked);
        }
        Batch(parsed.into_iter())
    }

    fn verify_together(&self, parsed: &mut [Parsed<'_>], is_blocked: impl Fn(&str) -> bool) {
        let mut which = Vec::new();
        let mut claims = Vec::new();
        let mut names = Vec::new();
        for (index, it) in parsed.iter_mut().enumerate() {
            let Ok(view) = &it.view else { continue };
            if !signed::claims(view) {
                continue;
            }
            let (Ok(id), Ok(from)) = (view.id.name(), view.from.name()) else { continue };
            // A copy's author is seldom asked for.
            let is_copy = names.contains(&(view.id.json(), view.from.json())) || self.has_seen(&id, Some(&from));
            if is_copy || is_blocked(&from) {
                continue;
            }
            match Claim::new(view) {
                Ok(claim) if self.is_known_bad(&claim) => it.verdict = Some(Err(Bad::Signature)),
                Ok(claim) if self.is_known_bad(&claim) => it.verdict = Some(Err(Bad::Signature)),
                Ok(claim) => {
                    names.push((view.id.json(), view.from.json()));
                    which.push(index);
                    claims.push(claim);
                }
                Err(bad) => it.verdict = Some(Err(bad)),
            }
        }
        for (index, verdict) in which.into_iter().zip(signed::verify_all(&claims)) {
            if let Some(it) = parsed.get_mut(index) {
                it.verdict = Some(verdict);
            }
        }
    }
}
