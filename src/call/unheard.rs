//! Whether anybody is heard at all: a call that reaches nobody must not look like one in which nobody speaks.

use std::collections::BTreeMap;
use std::time::Instant;

use super::watch::{UNHEARD_AFTER, Unheard};
use super::{Calls, Io, Warning};
use crate::base::{NodeId, Now};

impl Calls {
    /// Whether a call has ended in which nobody was heard or could be sent to, though somebody was there. Told once.
    pub const fn take_in_vain(&mut self) -> bool {
        std::mem::replace(&mut self.in_vain, false)
    }

    /// Why a member of the call is not heard, if it is not.
    pub(super) fn why_unheard(&self, now: Now, id: &NodeId, io: &dyn Io) -> Option<Unheard> {
        let stream = self.call.as_ref()?.streams.get(id)?;
        let lately = |at: Instant| now.mono.duration_since(at) < UNHEARD_AFTER;
        if stream.heard.into_iter().chain(stream.relayed).any(lately) {
            return None;
        }
        Some(match stream.is_level2 {
            true if stream.session.is_none() => Unheard::Key,
            true if stream.path.validated_addr(now.mono).is_some() => Unheard::Silent,
            true if stream.path.has_address() => Unheard::NoEcho,
            false if self.original_addr(now, id, io).is_some() => Unheard::Silent,
            _ => Unheard::NoAddress,
        })
    }

    /// Warns if nobody is reached.
    pub(super) fn watch_unheard(&mut self, now: Now, io: &mut dyn Io) {
        let Some(call) = &self.call else { return };
        let mut reasons = BTreeMap::<Option<Unheard>, usize>::new();
        for id in call.streams.keys() {
            *reasons.entry(self.why_unheard(now, id, io)).or_default() += 1;
        }
        let reached = reasons.contains_key(&None) || reasons.contains_key(&Some(Unheard::Silent));
        let unmuted = call.streams.keys().any(|id| self.roster.get(id).is_some_and(|member| !member.muted));
        let Some(call) = &mut self.call else { return };
        if call.watch.look(now.mono, !reasons.is_empty(), unmuted, reached) {
            let reasons = reasons.into_iter().filter_map(|(why, n)| Some(format!("{}: {n}", why?.name())));
            let message = format!(
                "nobody in voice is heard or can be sent to ({}): `voice_peers` tells why of each; UDP must pass between this \
                 node, at {}, and the others",
                reasons.collect::<Vec<_>>().join(", "),
                std::net::SocketAddr::new(self.announced_host(), self.config.udp.port()),
            );
            io.warn(Warning::Unheard, &message);
        }
    }
}
