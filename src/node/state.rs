//! What a node keeps from one run to the next, as the node sees it: tables of rows, given at its start, changed by
//! [`Output::Store`], and safe once [`Input::Saved`] has said so.
//!
//! With no state folder nothing is given and nothing is put out.
//!
//! [`Input::Saved`]: super::Input::Saved

use std::collections::BTreeMap;

use super::{Node, Now, Outbox, Output};
use crate::api::event::WarningCode;

/// What rows are about. Their names are those of the store's tables: they never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// This node's own: its epoch and its counter.
    Own,
    /// Which counters of an author have been seen.
    Replay,
    /// Who is blocked.
    Blocks,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Own, Self::Replay, Self::Blocks];

    /// The name in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Replay => "replay",
            Self::Blocks => "blocks",
        }
    }
}

/// The rows that earlier runs have left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State(BTreeMap<(Table, String), Vec<u8>>);

impl State {
    /// Sets a row, or removes it.
    pub fn set(&mut self, table: Table, key: String, value: Option<Vec<u8>>) {
        match value {
            Some(value) => self.0.insert((table, key), value),
            None => self.0.remove(&(table, key)),
        };
    }

    /// A row.
    pub fn get(&self, table: Table, key: &str) -> Option<&[u8]> {
        self.0.get(&(table, key.to_owned())).map(Vec::as_slice)
    }

    /// The rows of a table, by their keys.
    pub fn rows(&self, table: Table) -> impl Iterator<Item = (&str, &[u8])> {
        let rows = self.0.range((table, String::new())..).take_while(move |((it, _), _)| *it == table);
        rows.map(|((_, key), value)| (key.as_str(), value.as_slice()))
    }
}

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
        self.stirred = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_kept_by_table_and_key() {
        let mut state = State::default();
        for (table, key) in [(Table::Replay, "b"), (Table::Own, "z"), (Table::Replay, "a"), (Table::Blocks, "")] {
            state.set(table, key.into(), Some(key.into()));
        }
        assert_eq!(state.rows(Table::Replay).map(|(key, _)| key).collect::<Vec<_>>(), ["a", "b"]);
        state.set(Table::Replay, "a".into(), None);
        assert_eq!((state.get(Table::Replay, "a"), state.get(Table::Replay, "b")), (None, Some(&b"b"[..])));
        assert_eq!(Table::ALL.map(|table| state.rows(table).count()), [1, 1, 1]);
    }

    #[test]
    fn what_was_tried_is_not_yet_safe() {
        let stores = Stores { made: 9, saved: 3, tried: 7 };
        assert_eq!([3, 4, 7, 8].map(|n| stores.is_saved(n)), [true, false, false, false]);
        assert_eq!([3, 4, 7, 8].map(|n| stores.has_failed(n)), [false, true, true, false]);
        assert_eq!(stores.unsaved(), 6);
    }
}
