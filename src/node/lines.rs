//! Lines to clients, as the other parts of the node say them.

use super::{Node, Now, Outbox};
use crate::api::event::{Event, Ready, WarningCode};
use crate::api::{EventKind, PROTOCOL};

impl Node {
    /// Whether anybody would see an event of that kind.
    pub(super) fn is_wanted(&self, kind: EventKind) -> bool {
        self.clients.is_wanted(kind)
    }

    /// Tells every client of an event.
    pub(super) fn emit(&mut self, event: &Event<'_>, out: &mut Outbox) {
        self.clients.emit(event, out);
    }

    /// Warns of something, but not of the same thing again and again.
    pub(super) fn warn(&mut self, now: Now, code: WarningCode, message: &str, out: &mut Outbox) {
        self.clients.warn(now, code, message, out);
    }

    /// Says the first line.
    pub(super) fn say_ready(&mut self, out: &mut Outbox) {
        let mut features = vec!["text", "voice"];
        features.extend(cfg!(feature = "audio").then_some("audio"));
        features.extend(self.has_state().then_some("state"));
        let ready = Ready {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION"),
            node: self.identity.id_text(),
            username: &self.username,
            room: self.rooms.active(),
            tcp: self.config.tcp.to_string(),
            udp: self.config.udp.to_string(),
            features: &features,
            limits: super::limits_of(&self.config),
        };
        self.clients.emit(&Event::Ready(ready), out);
    }
}
