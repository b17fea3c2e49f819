//! Why a member of voice is not heard, and the watch over a call: whether it reaches anybody.

use std::time::{Duration, Instant};

/// A member of which nothing has come for so long is not heard; and so long it may go on before there is a warning. Five signs of
/// life.
pub const UNHEARD_AFTER: Duration = Duration::from_secs(5);

/// Why a member is not heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unheard {
    /// It has announced no address that can be reached from here, and no datagram of it has come.
    NoAddress,
    /// Nothing has come back from its address.
    NoEcho,
    /// Its voice can't be opened with the keys that the room has here.
    Key,
    /// It can be sent to, but nothing comes from it.
    Silent,
}

impl Unheard {
    /// Its name, as clients are told.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoAddress => "no_address",
            Self::NoEcho => "no_echo",
            Self::Key => "key",
            Self::Silent => "silent",
        }
    }
}

/// Keeps watch over one call.
#[derive(Debug, Default)]
pub struct Watch {
    /// Since when others are in, and nobody is reached.
    since: Option<Instant>,
    warned: bool,
    /// Since when somebody is in and not muted.
    unmuted_since: Option<Instant>,
    /// Whether there was somebody to hear for long enough, and whether anybody was ever reached.
    missed: bool,
    reached: bool,
}

impl Watch {
    /// Takes note of how it stands: whether others are in, whether one of them is not muted, and whether one is heard or
    /// can be sent to. True: it is time for a warning.
    pub fn look(&mut self, now: Instant, others: bool, unmuted: bool, reached: bool) -> bool {
        let long = |since: &mut Option<Instant>, goes_on: bool| match goes_on {
            true => now.duration_since(*since.get_or_insert(now)) >= UNHEARD_AFTER,
            false => {
                *since = None;
                false
            }
        };
        self.missed |= long(&mut self.unmuted_since, unmuted);
        self.reached |= reached;
        self.warned &= others && !reached;
        let is_due = long(&mut self.since, others && !reached);
        is_due && !std::mem::replace(&mut self.warned, true)
    }

    /// Whether nobody was reached in the whole call, though there was somebody to hear.
    pub const fn is_in_vain(&self) -> bool {
        self.missed && !self.reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[allow(clippy::disallowed_methods, reason = "any moment will do")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn five_seconds_with_nobody_reached_are_warned_of_once_and_then_again_after_somebody_was() {
        let (mut watch, now) = (Watch::default(), start());
        let mut look = |s: u32, others, reached| watch.look(now + S * s, others, others, reached);
        assert!(!look(0, false, false) && !look(60, false, false), "alone");
        assert!(!look(61, true, false) && !look(65, true, false));
        assert!(look(66, true, false) && !look(67, true, false) && !look(90, true, false));
        assert!(!look(91, true, true) && !look(92, true, false) && look(97, true, false));
        assert!(!look(98, false, false) && !look(99, true, false) && !look(103, true, false), "alone in between");
        assert!(!watch.is_in_vain(), "somebody was reached");
    }

    #[test]
    fn a_call_is_in_vain_if_somebody_was_there_to_hear_and_nobody_was_reached() {
        for (unmuted, reached, in_vain) in [(true, false, true), (false, false, false), (true, true, false)] {
            let (mut watch, now) = (Watch::default(), start());
            (0..=5).for_each(|s| _ = watch.look(now + S * s, true, unmuted, reached));
            assert_eq!(watch.is_in_vain(), in_vain, "{unmuted} {reached}");
        }
        let (mut watch, now) = (Watch::default(), start());
        (0..20).for_each(|s| _ = watch.look(now + S * s, true, s % 5 != 0, false));
        assert!(!watch.is_in_vain(), "nobody was for 5 s");
    }
}
