//! The changes of rows that were put out, and which of them are safe.

/// The row of the numbers of our own messages: see [`Numbers`](crate::gossip::numbers::Numbers).
pub const NUMBERS: &str = "place";

/// Which of the changes that were put out are safe.
#[derive(Debug)]
pub struct Stores {
    /// Whether there is a state folder.
    has_folder: bool,
    /// Changes put out so far.
    made: u64,
    /// The first so many are safe.
    saved: u64,
    /// The first so many have been tried.
    tried: u64,
}

impl Stores {
    /// No changes yet.
    pub const fn new(has_folder: bool) -> Self {
        Self { has_folder, made: 0, saved: 0, tried: 0 }
    }

    /// Whether there is a state folder.
    pub const fn has_folder(&self) -> bool {
        self.has_folder
    }

    /// Whether a change is safe.
    pub const fn is_saved(&self, number: u64) -> bool {
        number <= self.saved
    }

    /// Whether a change could not be saved, so far: it is tried again and again.
    pub const fn has_failed(&self, number: u64) -> bool {
        number > self.saved && number <= self.tried
    }

    /// Counts a change that is put out. Gives its number.
    pub const fn on_made(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    /// Notes that the first so many have been tried, and whether they are safe.
    pub fn on_saved(&mut self, changes: u64, safe: bool) {
        self.tried = self.tried.max(changes);
        if safe {
            self.saved = self.saved.max(changes);
        }
    }

    /// Changes that are not safe.
    pub const fn unsaved(&self) -> u64 {
        self.made.saturating_sub(self.saved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_tried_is_not_yet_safe() {
        let stores = Stores { has_folder: true, made: 9, saved: 3, tried: 7 };
        assert_eq!([3, 4, 7, 8].map(|n| stores.is_saved(n)), [true, false, false, false]);
        assert_eq!([3, 4, 7, 8].map(|n| stores.has_failed(n)), [false, true, true, false]);
        assert_eq!(stores.unsaved(), 6);
    }
}
