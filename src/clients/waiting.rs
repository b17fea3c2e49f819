//! The commands that wait, by client: kept, taken in turn, cut short at the end.

use std::time::Instant;

use super::{Client, Clients, Pending, Slot};
use crate::api::ErrorCode;
use crate::api::error::ApiError;
use crate::base::{ClientId, Now};
use crate::outbox::Outbox;

impl<W> Client<W> {
    /// Whether nothing of what it gave is still waiting.
    pub(super) fn is_idle(&self) -> bool {
        self.blocking.is_none() && self.aside.is_empty()
    }

    fn pending(&self) -> impl Iterator<Item = &Pending<W>> {
        self.blocking.iter().chain(&self.aside)
    }
}

impl<W> Clients<W> {
    /// The clients that have pending commands.
    pub fn waiting(&self) -> Vec<ClientId> {
        self.all.iter().filter(|client| !client.is_idle()).map(|client| client.id).collect()
    }

    /// A client's `async` commands that wait.
    pub fn aside_count(&self, client: ClientId) -> usize {
        self.get(client).map_or(0, |client| client.aside.len())
    }

    /// All commands that wait.
    pub fn pending_count(&self) -> usize {
        self.all.iter().map(|client| client.pending().count()).sum()
    }

    /// Keeps a command that waits.
    pub fn put(&mut self, client: ClientId, slot: Slot, pending: Pending<W>) {
        let Some(client) = self.get_mut(client) else { return };
        match slot {
            Slot::Blocking => client.blocking = Some(pending),
            Slot::Aside => client.aside.push_back(pending),
        }
    }

    /// Takes a command that waits, to look at it. Of the `async` ones it is the one that has not been looked at for longest.
    pub fn take(&mut self, client: ClientId, slot: Slot) -> Option<Pending<W>> {
        let client = self.get_mut(client)?;
        match slot {
            Slot::Blocking => client.blocking.take(),
            Slot::Aside => client.aside.pop_front(),
        }
    }

    /// The pending commands of all clients.
    pub fn pending_mut(&mut self) -> impl Iterator<Item = &mut Pending<W>> {
        self.all.iter_mut().flat_map(|client| client.blocking.iter_mut().chain(&mut client.aside))
    }

    /// When a pending command is to be looked at again at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.all.iter().flat_map(Client::pending).filter_map(|pending| pending.deadline).min()
    }

    /// Notes that pending commands are to be looked at, if it is time for one.
    pub fn on_time(&mut self, now: Now) {
        self.recheck |= self.deadline().is_some_and(|at| at <= now.mono);
    }

    /// Cuts short all that waits. True if one of them counts for `--check`.
    pub fn interrupt(&mut self, out: &mut Outbox) -> bool {
        let mut counts = false;
        for id in self.waiting() {
            for slot in [Slot::Blocking, Slot::Aside] {
                while let Some(pending) = self.take(id, slot) {
                    counts |= !pending.head.may_fail;
                    let error = ApiError::new(ErrorCode::Interrupted, "the node is ending");
                    self.refuse(id, &pending.head, &error, out);
                }
            }
        }
        counts
    }
}
