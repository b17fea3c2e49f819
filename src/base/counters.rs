//! Counters: what has happened since the start.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::reason::DropCause;

/// Counts since the start.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Counters {
    /// Messages of our own.
    pub sent: u64,
    /// Messages that came for the first time.
    pub received: u64,
    /// Messages that were passed on.
    pub forwarded: u64,
    /// Copies that were handed to links, our own messages among them.
    pub copies_out: u64,
    /// Copies of messages seen before.
    pub duplicates: u64,
    /// Frames dropped, by cause.
    pub dropped: BTreeMap<DropCause, u64>,
    /// Datagrams of voice that came and were taken.
    pub datagrams_received: u64,
    /// Datagrams that were sent.
    pub datagrams_sent: u64,
    /// Datagrams dropped: damaged, of nobody known, for another room, or not to be believed.
    pub datagrams_dropped: u64,
    /// Signals of voice that were not believed: a forbidden address, a full room, a missing field.
    pub voice_refused: u64,
    /// Links refused or pushed out before their handshake was done.
    pub links_refused: u64,
    /// Strikes.
    pub strikes: u64,
    /// Bans that followed.
    pub bans: u64,
}

impl Counters {
    /// Counts a frame that was dropped.
    pub fn drop(&mut self, cause: DropCause) {
        *self.dropped.entry(cause).or_default() += 1;
    }
}

impl std::ops::AddAssign<&Counters> for Counters {
    fn add_assign(&mut self, other: &Counters) {
        let Counters {
            sent,
            received,
            forwarded,
            copies_out,
            duplicates,
            dropped,
            datagrams_received,
            datagrams_sent,
            datagrams_dropped,
            voice_refused,
            links_refused,
            strikes,
            bans,
        } = other;
        self.sent += sent;
        self.received += received;
        self.forwarded += forwarded;
        self.copies_out += copies_out;
        self.duplicates += duplicates;
        for (cause, n) in dropped {
            *self.dropped.entry(*cause).or_default() += n;
        }
        self.datagrams_received += datagrams_received;
        self.datagrams_sent += datagrams_sent;
        self.datagrams_dropped += datagrams_dropped;
        self.voice_refused += voice_refused;
        self.links_refused += links_refused;
        self.strikes += strikes;
        self.bans += bans;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_parts_add_up() {
        let mut all = Counters { sent: 1, ..Counters::default() };
        all.drop(DropCause::Rate);
        let mut part = Counters { sent: 2, bans: 3, ..Counters::default() };
        part.drop(DropCause::Rate);
        part.drop(DropCause::Forged);
        all += &part;
        assert_eq!((all.sent, all.bans, all.received), (3, 3, 0));
        assert_eq!(all.dropped, BTreeMap::from([(DropCause::Rate, 2), (DropCause::Forged, 1)]));
    }
}
