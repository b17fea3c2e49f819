//! Two honest nodes, to prove that the one between them serves them whatever else goes on.

use serde_json::json;

use super::{Node, number};

/// Two nodes that know each other only through the one under test.
pub struct Pair {
    /// One of the two.
    pub left: Node,
    right: Node,
    said: u32,
}

impl Pair {
    /// Links two new nodes to that one.
    #[track_caller]
    pub fn around(node: &mut Node) -> Self {
        let [mut left, mut right] = ["Left", "Right"].map(|name| Node::named(name, &["--seed", "3"]));
        for one in [&mut left, &mut right] {
            one.connect(&node.addr());
            node.await_event("peer_up", json!({ "peer": one.id() }));
        }
        Self { left, right, said: 0 }
    }

    /// Each says something that the other hears.
    #[track_caller]
    pub fn chats(&mut self) {
        self.said += 1;
        let (there, back) = (format!("there {}", self.said), format!("back {}", self.said));
        self.left.say(&there);
        assert_eq!(number(&self.right.hears(&there), "hops"), 2);
        self.right.say(&back);
        self.left.hears(&back);
        for one in [&self.left, &self.right] {
            assert!(one.saw("peer_down", json!({})).is_empty(), "nothing happened to them");
        }
    }
}
