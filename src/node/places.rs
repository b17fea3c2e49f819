//! The places of our own signed messages: no two of them may ever have the same.
//!
//! An epoch and a counter, from 1. A node whose key is new at each start takes the time of the start as its epoch.

use super::{Node, Now};
use crate::wire::signed::Place;

/// The last place that was taken.
#[derive(Debug)]
pub struct Places(Place);

impl Places {
    /// Nothing taken yet.
    pub const fn new(epoch: u64) -> Self {
        Self(Place { epoch, n: 0 })
    }
}

impl Node {
    /// The place of our next signed message: taken before it is composed, since what is sealed in it is bound to it. One that
    /// is not used after all leaves a gap, which hurts nobody.
    pub(super) fn next_place(&mut self, _now: Now) -> Place {
        let Places(place) = &mut self.places;
        place.n += 1;
        *place
    }

    /// Signs anything.
    #[cfg(test)]
    pub(crate) fn sign_any(&mut self, now: Now, message: &serde_json::Value) -> serde_json::Value {
        let place = self.next_place(now);
        crate::sim::author::sign(&self.identity, place, message)
    }
}
