//! Which numbers of a session have come: each is taken once, in any order, as long as it is no more than [`WINDOW`] behind the
//! highest (RFC 4303, 3.4.3; RFC 6479).

/// How far behind the highest number one may be that has not come yet. 20 s of talking: so it refuses nothing that could still
/// be played.
pub const WINDOW: u64 = 1024;
/// Words of the bitmap.
const WORDS: usize = 16;

/// The numbers that have come.
#[derive(Debug, Clone)]
pub struct Window {
    /// One more than the highest that came: 0 says that none did. `u64::MAX` itself is never taken.
    next: u64,
    /// Whether number `n` came, at bit `n` modulo [`WINDOW`].
    came: [u64; WORDS],
}

impl Default for Window {
    fn default() -> Self {
        Self { next: 0, came: [0; WORDS] }
    }
}

impl Window {
    /// Whether a number has not come yet, as far as can be told. To be asked before the datagram of that number is opened.
    pub fn is_new(&self, number: u64) -> bool {
        match number.checked_sub(self.next) {
            Some(_) => number != u64::MAX,
            None => self.next - number <= WINDOW && self.word(number) & bit(number) == 0,
        }
    }

    /// Takes a number that is new: it is not new from now on. False, and nothing changes, if it is not new. To be called only when
    /// its datagram has been opened, or anyone could move the window.
    pub fn take(&mut self, number: u64) -> bool {
        if !self.is_new(number) {
            return false;
        }
        if number >= self.next {
            // Those between have not come, and their bits are of numbers that leave the window.
            let fresh = (number - self.next).min(WINDOW);
            for n in (number - fresh)..number {
                if let Some(word) = self.word_mut(n) {
                    *word &= !bit(n);
                }
            }
            self.next = number + 1;
        }
        if let Some(word) = self.word_mut(number) {
            *word |= bit(number);
        }
        true
    }

    /// Takes all numbers below one that has come, whether they have or not.
    pub fn close_below(&mut self, number: u64) {
        for n in number.saturating_sub(WINDOW)..number {
            // Above the window they stay as they are: then this one has not come.
            if n < self.next && self.next - n <= WINDOW {
                self.word_mut(n).into_iter().for_each(|word| *word |= bit(n));
            }
        }
    }

    fn word(&self, number: u64) -> u64 {
        self.came.get(place(number)).copied().unwrap_or_default()
    }

    fn word_mut(&mut self, number: u64) -> Option<&mut u64> {
        self.came.get_mut(place(number))
    }
}

const fn place(number: u64) -> usize {
    (number / 64) as usize % WORDS
}

const fn bit(number: u64) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Remembers everything.
    #[derive(Default)]
    struct Model {
        came: BTreeSet<u64>,
    }

    impl Model {
        fn take(&mut self, number: u64) -> bool {
            let highest = self.came.last().copied();
            let old = highest.is_some_and(|highest| number <= highest && highest - number >= WINDOW);
            number != u64::MAX && !old && self.came.insert(number)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(CASES))]
        #[test]
        fn it_does_what_one_does_that_remembers_everything(
            start in prop_oneof![Just(0), any::<u64>(), (u64::MAX - 3000)..],
            steps in prop::collection::vec(prop_oneof![
                4 => -3_i64..=3, 2 => -70_i64..=70, 2 => -1030_i64..=1030, 1 => any::<i64>(),
            ], 1..60),
        ) {
            let (mut window, mut model, mut at) = (Window::default(), Model::default(), start);
            for step in steps {
                at = at.saturating_add_signed(step);
                let new = window.is_new(at);
                prop_assert_eq!(window.take(at), new);
                prop_assert_eq!(new, model.take(at), "{}", at);
            }
        }
    }

    /// Cases of the property.
    const CASES: u32 = 100_000;

    #[test]
    fn each_number_is_taken_once_in_any_order() {
        let mut window = Window::default();
        for n in (0..5 * WINDOW).rev().step_by(2).chain((0..5 * WINDOW).step_by(2)) {
            let first = window.clone().take(n);
            assert_eq!(window.take(n), first);
            assert!(!window.take(n), "{n}");
        }
        assert!(window.is_new(5 * WINDOW) && !window.is_new(4 * WINDOW - 1));
    }

    #[test]
    fn what_is_below_can_be_closed() {
        let mut window = Window::default();
        assert!(window.take(5000) && window.take(5003) && window.is_new(4999) && window.is_new(5001));
        window.close_below(5002);
        assert!(
            (0..5002).all(|n| !window.is_new(n)) && window.is_new(5002) && !window.is_new(5003) && window.is_new(5004)
        );
    }

    #[test]
    fn the_edge_is_where_it_should_be() {
        let mut window = Window::default();
        assert!(window.take(WINDOW));
        assert!(window.is_new(1) && !window.is_new(0));
        assert!(window.take(u64::MAX - 1) && !window.take(u64::MAX), "there is nothing after it");
        assert!(window.is_new(u64::MAX - WINDOW) && !window.is_new(u64::MAX - WINDOW - 1));
    }
}
