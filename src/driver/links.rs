//! The driver's links, by their ids.
//!
//! Each message goes to the same links in the same order as the one before it: so each place remembers which one was asked for
//! after it, and the next look-up begins there. In a burst to many links hardly any of them searches.

use crate::node::LinkId;

/// A table of links.
#[derive(Debug)]
pub struct Links<T> {
    /// Ascending by id.
    places: Vec<Place<T>>,
    /// The place that was asked for last.
    last: usize,
}

#[derive(Debug)]
struct Place<T> {
    id: LinkId,
    link: T,
    /// The place that was asked for after this one the last time; a guess.
    then: usize,
}

impl<T> Default for Links<T> {
    fn default() -> Self {
        Self { places: Vec::new(), last: 0 }
    }
}

impl<T> Links<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Adds a link, or puts it in the place of the one with this id.
    pub fn insert(&mut self, id: LinkId, link: T) {
        match self.search(id) {
            Ok(at) => self.places[at].link = link,
            Err(at) => self.places.insert(at, Place { id, link, then: 0 }),
        }
    }

    /// Removes a link.
    pub fn remove(&mut self, id: LinkId) -> Option<T> {
        let at = self.search(id).ok()?;
        Some(self.places.remove(at).link)
    }

    /// A link.
    pub fn get(&self, id: LinkId) -> Option<&T> {
        self.search(id).ok().and_then(|at| self.places.get(at)).map(|place| &place.link)
    }

    /// A link, to change.
    pub fn get_mut(&mut self, id: LinkId) -> Option<&mut T> {
        let guess = self.places.get(self.last).map_or(0, |place| place.then);
        let at = match self.places.get(guess) {
            Some(place) if place.id == id => guess,
            _ => {
                let at = self.search(id).ok()?;
                if let Some(place) = self.places.get_mut(self.last) {
                    place.then = at;
                }
                at
            }
        };
        self.last = at;
        self.places.get_mut(at).map(|place| &mut place.link)
    }

    fn search(&self, id: LinkId) -> Result<usize, usize> {
        self.places.binary_search_by_key(&id, |place| place.id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_link_is_found_in_whatever_order_links_come_and_go() {
        let mut links = Links::default();
        let mut known = BTreeMap::new();
        let mut chance = 1_u64;
        for n in 0..10_000_u64 {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let id = LinkId(chance >> 58);
            match chance >> 40 & 7 {
                0 => {
                    links.insert(id, n);
                    known.insert(id, n);
                }
                1 => assert_eq!(links.remove(id), known.remove(&id)),
                _ => assert_eq!(links.get_mut(id), known.get_mut(&id)),
            }
            assert_eq!(links.get(id), known.get(&id));
            assert_eq!(links.len(), known.len());
        }
    }

    #[test]
    fn a_round_that_is_made_again_needs_no_search() {
        let mut links = Links::default();
        (0..9).for_each(|n| links.insert(LinkId(n), n));
        let round = [3, 1, 4, 8, 5, 2, 6].map(LinkId);
        for id in round.into_iter().chain(round) {
            links.get_mut(id);
        }
        for id in round {
            let guess = links.places[links.last].then;
            assert_eq!(links.places[guess].id, id);
            links.get_mut(id);
        }
    }
}
