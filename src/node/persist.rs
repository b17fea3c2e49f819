//! Persistence: what a node keeps from one run to the next, as the node sees it. There are tables of rows, given at its start, changed by
//! [`Output::Store`], and safe once [`Input::Saved`] has said so.
//!
//! With no state folder nothing is given and nothing is put out.
//!
//! [`Input::Saved`]: super::Input::Saved

use super::{LogLevel, Node, Now, Outbox, Output, Table};
use crate::api::event::WarningCode;

/// The row of the numbers of our own messages: see [`Numbers`](crate::gossip::numbers::Numbers).
pub const NUMBERS: &str = "place";

/// Which of the changes that were put out are safe.
#[derive(Debug, Default)]
pub struct Stores {
    /// Changes put out so far.
    made: u64,
    /// The first so many are safe.
    saved: u64,
    /// The first so many have been tried.
    tried: u64,
}

impl Stores {
    /// Whether a change is safe.
    pub const fn is_saved(&self, number: u64) -> bool {
        number <= self.saved
    }

    /// Whether a change could not be saved, so far: it is tried again and again.
    pub const fn has_failed(&self, number: u64) -> bool {
        number > self.saved && number <= self.tried
    }

    /// Changes that are not safe.
    pub const fn unsaved(&self) -> u64 {
        self.made.saturating_sub(self.saved)
    }
}

impl Node {
    /// Whether a command may be taken: it may need a number for a message.
    pub(super) fn has_numbers(&self) -> bool {
        self.numbers.has_some(|change| self.stores.has_failed(change))
    }

    /// Sets numbers aside when half of them are used.
    pub(super) fn set_numbers_aside(&mut self, now: Now, out: &mut Outbox) {
        if !self.has_state() || !self.phase.is_running() {
            return;
        }
        if self.numbers.take_untold() {
            let message = "counters for messages could not be set aside in the state folder in time: this node goes on with new ones";
            self.warn(now, WarningCode::StateNotSaved, message, out);
        }
        if let Some((change, to)) = self.numbers.on_saved(|change| self.stores.is_saved(change)) {
            self.log(LogLevel::Debug, out, || format!("counters up to {to} are set aside by change {change}"));
        }
        if let Some(to) = self.numbers.wants() {
            let change = self.store(Table::Own, NUMBERS, Some(self.numbers.row(to)), out);
            self.numbers.on_asked(change, to);
        }
    }

    /// Gives back what was set aside: at a clean end nothing needs to be skipped.
    pub(super) fn give_numbers_back(&mut self, out: &mut Outbox) {
        self.store(Table::Own, NUMBERS, Some(self.numbers.row(self.numbers.last().n)), out);
    }

    /// Signs anything.
    #[cfg(test)]
    pub(crate) fn sign_any(&mut self, now: Now, message: &serde_json::Value) -> serde_json::Value {
        let place = self.numbers.next(now);
        crate::sim::author::sign(&self.identity, place, message)
    }

    /// Whether there is a state folder.
    pub(super) const fn has_state(&self) -> bool {
        self.config.state.is_some()
    }

    /// Has a row set or removed, if there is a state folder. Gives the change's number, for [`Stores::is_saved`].
    pub(super) fn store(&mut self, table: Table, key: &str, value: Option<Vec<u8>>, out: &mut Outbox) -> Option<u64> {
        if !self.has_state() {
            return None;
        }
        self.stores.made += 1;
        out.push(Output::Store { table, key: key.to_owned(), value });
        Some(self.stores.made)
    }

    /// The first so many changes are safe, or with an error have been tried.
    pub(super) fn saved(&mut self, now: Now, stores: u64, error: Option<&str>, out: &mut Outbox) {
        self.stores.tried = self.stores.tried.max(stores);
        match error {
            None => self.stores.saved = self.stores.saved.max(stores),
            Some(error) => {
                let message = format!(
                    "the state folder can't be written ({error}): this node goes on and tries again; what it forgets if it ends \
                     now is its own state alone"
                );
                self.warn(now, WarningCode::StateNotSaved, &message, out);
            }
        }
        self.clients.recheck_pending();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_tried_is_not_yet_safe() {
        let stores = Stores { made: 9, saved: 3, tried: 7 };
        assert_eq!([3, 4, 7, 8].map(|n| stores.is_saved(n)), [true, false, false, false]);
        assert_eq!([3, 4, 7, 8].map(|n| stores.has_failed(n)), [false, true, true, false]);
        assert_eq!(stores.unsaved(), 6);
    }
}
