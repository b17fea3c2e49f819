//! Nodes that keep something from one run to the next, and crash.

use std::time::Duration;

use super::{At, Net, What};
use crate::node::{Input, Node, Outbox, State, Table};

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
