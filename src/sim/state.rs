//! Nodes that keep something from one run to the next, and crash.

use std::time::Duration;

use super::{At, Net, What};
use crate::history::{Kept, Wanted};
use crate::node::{Input, Node, Outbox, State, Table};
use crate::wire::message::View;

impl Net {
    /// Kills a node as SIGKILL does, and starts it again with what it had saved. Its links break; its clock, its chance and
    /// what is not in its state are new. What it has printed stays among its lines.
    pub fn restart(&mut self, at: At) {
        self.break_links(|a, b| a == at || b == at);
        // What was on its way to the node that was, finds nobody.
        self.coming.retain(|event| event.0.to != at);
        let now = self.time();
        let member = &mut self.nodes[at.0];
        member.config.seed = member.config.seed.map(|seed| seed + 1_000_000);
        member.config.entropy = std::array::from_fn(|i| member.config.entropy[i].wrapping_add(1));
        member.out = Outbox::default();
        member.unsaved.clear();
        (member.exit, member.reads, member.frozen, member.stores) = (None, true, false, 0);
        member.node = Node::new(now, member.config.clone(), &mut member.out);
        self.perform(at);
    }

    /// Sets whether a node's state can be saved. Changes that can't be are tried again when they can.
    pub fn saves(&mut self, at: At, saves: bool) {
        self.nodes[at.0].saves = saves;
        self.save(at);
    }

    /// The rows that a node has saved; `None` if it has no state.
    pub fn state(&self, at: At) -> Option<&State> {
        self.nodes[at.0].config.state.as_ref()
    }

    /// Puts messages on a node's disk that its history then has to load, the oldest first.
    #[cfg(test)]
    pub fn put_on_disk(&mut self, at: At, room: &str, rows: Vec<Kept>) {
        if let (Some(first), Some(last)) = (rows.first(), rows.last()) {
            self.nodes[at.0].node.history_on_disk(room, first.pos..=last.pos);
        }
        self.nodes[at.0].disk.insert(room.to_owned(), rows);
    }

    /// Loads what a node's history wants from its disk.
    pub(super) fn load(&self, at: At, room: &str, wanted: &Wanted) -> Vec<Kept> {
        let rows = self.nodes[at.0].disk.get(room).map(Vec::as_slice).unwrap_or_default();
        match wanted {
            Wanted::Oldest { after, before, limit } => {
                rows.iter().filter(|it| it.pos > *after && it.pos < *before).take(*limit).cloned().collect()
            }
            Wanted::Newest { before, limit } => {
                let end = rows.partition_point(|it| it.pos < *before);
                rows.get(end.saturating_sub(*limit)..end).unwrap_or_default().to_vec()
            }
            Wanted::OfId { id, author } => {
                let is = |it: &&Kept| {
                    View::parse(&it.frame).is_ok_and(|view| {
                        let is_authors = |author: &String| view.from.name().as_deref() == Ok(author);
                        view.id.name().as_deref() == Ok(id) && author.as_ref().is_none_or(is_authors)
                    })
                };
                rows.iter().filter(is).min_by_key(|it| it.rank()).cloned().into_iter().collect()
            }
        }
    }

    pub(super) fn store(&mut self, at: At, table: Table, key: String, value: Option<Vec<u8>>) {
        let member = &mut self.nodes[at.0];
        member.stores += 1;
        member.unsaved.insert((table, key), value);
    }

    /// Saves what there is to save, and tells the node.
    pub(super) fn save(&mut self, at: At) {
        let member = &mut self.nodes[at.0];
        if member.unsaved.is_empty() {
            return;
        }
        let mut error = None;
        match &mut member.config.state {
            Some(state) if member.saves => {
                for ((table, key), value) in std::mem::take(&mut member.unsaved) {
                    state.set(table, key, value);
                }
            }
            _ => error = Some("the disk is full".to_owned()),
        }
        let stores = member.stores;
        self.schedule(Duration::ZERO, at, What::Saved(stores, error));
    }

    pub(super) fn saved(&mut self, at: At, stores: u64, error: Option<String>) {
        self.handle(at, Input::Saved { stores, error });
    }
}
