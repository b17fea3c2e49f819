//! Rows of the state folder: what a node keeps from one run to the next.

use std::collections::BTreeMap;

/// The tables of the state folder. Their names are those of the store's tables: they never change.
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
}
