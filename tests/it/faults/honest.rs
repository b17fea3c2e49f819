//! The proof that honest peers are served while something goes on.

use std::time::{Duration, Instant};

use crate::support::{Node, Pair};

/// How soon honest peers are to be served, whatever goes on.
const SERVED: Duration = Duration::from_secs(2);

/// An honest pair around the node under test, and another around a node that no fault touches: what that takes is the
/// machine's own doing.
pub struct Honest {
    pair: Pair,
    beside: Pair,
    /// Keeps the other pair's node alive.
    _untouched: Node,
    slowest: [Duration; 2],
    rounds: u32,
}

impl Honest {
    /// Makes them.
    #[track_caller]
    pub fn around(node: &mut Node) -> Self {
        let mut untouched = Node::start(&[]);
        let (pair, beside) = (Pair::around(node), Pair::around(&mut untouched));
        Self { pair, beside, _untouched: untouched, slowest: [Duration::ZERO; 2], rounds: 0 }
    }

    /// Each pair says something there and back.
    #[track_caller]
    pub fn chat(&mut self) {
        for (pair, slowest) in [&mut self.pair, &mut self.beside].into_iter().zip(&mut self.slowest) {
            let start = Instant::now();
            pair.chats();
            *slowest = start.elapsed().max(*slowest);
        }
        self.rounds += 1;
    }

    /// They were served in time, all the while: later than the pair beside them by less than the bar.
    #[track_caller]
    pub fn were_served(&self, during: &str) {
        let [slowest, beside] = self.slowest;
        eprintln!("{during}: {} rounds there and back, the slowest {slowest:?}; untouched {beside:?}", self.rounds);
        assert!(slowest < SERVED + beside, "{slowest:?} for a round, beside {beside:?}");
    }
}
