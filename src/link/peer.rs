//! The peer at a link's other end, and the list of neighbours.

use crate::base::{LinkId, NodeId, NodeIdRef};

/// The peer at a link's other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its node id.
    pub id: NodeId,
    /// Its user name.
    pub username: String,
    /// The level of the wire that it speaks on this link.
    pub level: u8,
    /// Whether it answers pings.
    pub pings: bool,
    /// Whether it confirms messages.
    pub confirms: bool,
    /// Whether it hears new user names.
    pub nicks: bool,
    /// Whether it is a host of a star-shaped version of the original, as what it sends shows.
    pub is_host: bool,
}

impl Peer {
    /// Whether it speaks level 2.
    pub const fn is_level2(&self) -> bool {
        self.level >= 2
    }
}

/// A neighbour, as a message needs to know it.
#[derive(Debug, Clone)]
pub struct Neighbour {
    /// Its node id.
    pub id: NodeId,
    /// The link that is used with it.
    pub link: LinkId,
    /// Whether it speaks level 2.
    pub is_level2: bool,
    /// The place where the link stood in the table the last time.
    pub(super) place: usize,
}

/// The neighbours, and the link that is used with each: a short list, sorted by id, since every message walks it.
#[derive(Debug, Default)]
pub struct Neighbours(Vec<Neighbour>);

impl Neighbours {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The link of the neighbour with that id.
    pub fn get<'a>(&self, id: impl Into<NodeIdRef<'a>>) -> Option<LinkId> {
        let at = self.find(id.into()).ok()?;
        self.at(at).map(|it| it.link)
    }

    /// The neighbour at an index of the list.
    pub fn at(&self, index: usize) -> Option<&Neighbour> {
        self.0.get(index)
    }

    /// All of them, by their ids.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Neighbour> {
        self.0.iter_mut()
    }

    /// All of them, by their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Neighbour> {
        self.0.iter()
    }

    /// Adds a neighbour, or gives one another link.
    pub(super) fn insert(&mut self, peer: &Peer, link: LinkId) {
        let neighbour = Neighbour { id: peer.id.clone(), link, is_level2: peer.is_level2(), place: 0 };
        match self.find((&peer.id).into()) {
            Ok(at) => self.0[at] = neighbour,
            Err(at) => self.0.insert(at, neighbour),
        }
    }

    pub(super) fn remove(&mut self, id: &NodeId) {
        if let Ok(at) = self.find(id.into()) {
            self.0.remove(at);
        }
    }

    fn find(&self, id: NodeIdRef<'_>) -> Result<usize, usize> {
        self.0.binary_search_by(|it| NodeIdRef::from(&it.id).cmp(&id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_in_the_order_of_their_ids_and_have_one_link_each() {
        let peer = |id: &str, level| Peer {
            id: id.into(),
            username: String::new(),
            level,
            pings: false,
            confirms: false,
            nicks: false,
            is_host: false,
        };
        let mut all = Neighbours::default();
        for (id, link) in [("b", 1), ("c", 2), ("a", 3), ("b", 4)] {
            all.insert(&peer(id, 2), LinkId(link));
        }
        assert_eq!(
            all.iter().map(|it| (it.id.to_string(), it.link.0)).collect::<Vec<_>>(),
            [("a".to_owned(), 3), ("b".to_owned(), 4), ("c".to_owned(), 2)]
        );
        all.insert(&peer("b", 1), LinkId(5));
        all.remove(&"c".into());
        all.remove(&"x".into());
        assert_eq!((all.len(), all.get("b"), all.get("c")), (2, Some(LinkId(5)), None));
        assert!(!all.at(1).is_some_and(|it| it.is_level2));
    }
}
