//! A new neighbour that has not been told of all members of voice.

use crate::base::NodeId;

/// A new neighbour that has not been told everything.
#[derive(Debug)]
pub struct Newcomer {
    /// Its node id.
    pub peer: NodeId,
    /// The level that it speaks.
    pub level: u8,
    /// The member that it was told of last: they go by id.
    pub last: Option<NodeId>,
}
