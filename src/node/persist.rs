//! Persistence: what a node keeps from one run to the next, as the node sees it. There are tables of rows, given at its start, changed by
//! [`Output::Store`], and safe once [`Input::Saved`] has said so.
//!
//! With no state folder nothing is given and nothing is put out.
//!
//! [`Input::Saved`]: super::Input::Saved

use super::stores::NUMBERS;
use super::{LogLevel, Node, Now, Outbox, Output, Table};
use crate::api::event::WarningCode;

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
        self.stores.has_folder()
    }

    /// Has a row set or removed, if there is a state folder. Gives the change's number, for [`Stores::is_saved`](super::stores::Stores::is_saved).
    pub(super) fn store(&mut self, table: Table, key: &str, value: Option<Vec<u8>>, out: &mut Outbox) -> Option<u64> {
        if !self.has_state() {
            return None;
        }
        out.push(Output::Store { table, key: key.to_owned(), value });
        Some(self.stores.on_made())
    }

    /// The first so many changes are safe, or with an error have been tried.
    pub(super) fn saved(&mut self, now: Now, stores: u64, error: Option<&str>, out: &mut Outbox) {
        self.stores.on_saved(stores, error.is_none());
        match error {
            None => {}
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
