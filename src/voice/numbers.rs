//! The numbers of packets: unwrapped, leaps judged, losses counted.
//!
//! A number far from the last one is not believed at first: a single forged packet would silence the true sender. Only when
//! the next packet in order confirms it has the talker begun anew (RFC 3550, appendix A.1). What comes in between does not matter:
//! it may be the forger's.

use std::collections::VecDeque;

use super::{Pace, Report};

/// A number so far ahead of the highest is a leap. RFC 3550's `MAX_DROPOUT`.
const MAX_AHEAD: i64 = 3000;
/// A number so far behind it, too. RFC 3550's `MAX_MISORDER`.
const MAX_BEHIND: i64 = 100;
/// Packets after which one that has not come is lost: 200 ms of talking.
const LOST_AFTER: i64 = 10;

/// Packets that [`Losses`] are a share of: 10 s of talking.
const RECENT: usize = 500;

/// With fewer packets counted, losses are taken as if of this many: 1 s.
const LEAST_KNOWN: usize = 50;
/// So many losses count as independent of each other before what was seen outweighs them. A guess.
const PRIOR: f32 = 2.0;

/// How much was lost of late.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Losses {
    /// The share of packets.
    pub packets: f32,
    /// The share of packets that were lost together with the second after them, which would have repeated them.
    pub pairs: f32,
}

/// The verdict on a packet's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// It is new; its unwrapped number.
    New(i64),
    /// It came before.
    Again,
    /// A leap, to be confirmed.
    Leap,
    /// The talker has begun anew with this packet; its unwrapped number.
    Restart(i64),
}

/// Follows the numbers of one talker.
#[derive(Debug, Default)]
pub struct Numbers {
    highest: Option<i64>,
    /// Which of the last 128 came, the highest being bit 0.
    came: u128,
    /// A leap that waits for its successor.
    leap: Option<u64>,
    /// Up to which number losses are counted.
    counted: i64,
    in_burst: bool,
    report: Report,
    lost: u64,
    /// The last packets that were counted: whether each was lost, and the second after it, too.
    recent: VecDeque<(bool, bool)>,
    /// How many of those were, and both.
    recent_lost: (u16, u16),
}

impl Numbers {
    /// A packet's number unwrapped, if it is no leap; `None` before the first packet.
    pub fn unwrapped(&self, counter: u64, pace: Pace) -> Option<i64> {
        let highest = self.highest?;
        let ahead = match pace {
            // 32 bits travel, and wrap.
            Pace::Sequence => i64::from((counter as u32).wrapping_sub(highest as u32) as i32),
            Pace::Clock => (counter as i64).wrapping_sub(highest),
        };
        Some(highest.saturating_add(ahead))
    }

    /// Takes a packet's number. `fits`: whether the packet is plausible otherwise; if not, its number is as good as a leap.
    pub fn take(&mut self, counter: u64, pace: Pace, fits: bool) -> Number {
        let (Some(highest), Some(number)) = (self.highest, self.unwrapped(counter, pace)) else {
            return Number::Restart(self.restart(counter));
        };
        let ahead = number.saturating_sub(highest);
        if !fits || !(-MAX_BEHIND..=MAX_AHEAD).contains(&ahead) {
            if self.leap.is_some_and(|leap| counter == leap.wrapping_add(1)) {
                return Number::Restart(self.restart(counter));
            }
            self.leap = Some(counter);
            return Number::Leap;
        }
        if ahead > 0 {
            self.advance(number, ahead);
            return Number::New(number);
        }
        let bit = 1_u128.checked_shl(u32::try_from(-ahead).unwrap_or(u32::MAX)).unwrap_or_default();
        if self.came & bit != 0 {
            return Number::Again;
        }
        self.came |= bit;
        Number::New(number)
    }

    /// Begins anew with a packet that another reason has made the first.
    pub fn restart(&mut self, counter: u64) -> i64 {
        // Counts what was lost before.
        if let Some(highest) = self.highest {
            self.count_to(highest);
        }
        let number = counter as i64;
        (self.highest, self.came, self.leap) = (Some(number), 1, None);
        (self.counted, self.in_burst) = (number, false);
        number
    }

    fn advance(&mut self, number: i64, ahead: i64) {
        // Those that fall out of the window are counted before they do.
        let shift = u32::try_from(ahead).unwrap_or(u32::MAX);
        self.count_to(number.saturating_sub(LOST_AFTER));
        self.came = self.came.checked_shl(shift).unwrap_or_default() | 1;
        self.highest = Some(number);
    }

    /// Counts the losses up to a number. The highest may still be lower than that.
    fn count_to(&mut self, last: i64) {
        let Some(highest) = self.highest else { return };
        while self.counted < last {
            self.counted += 1;
            let back = highest - self.counted;
            let came = self.has_come(back);
            self.remember(!came, !came && back >= 2 && !self.has_come(back - 2));
            self.report.expected = self.report.expected.saturating_add(1);
            if !came {
                self.lost += 1;
                self.report.lost = self.report.lost.saturating_add(1);
                self.report.bursts = self.report.bursts.saturating_add(u16::from(!self.in_burst));
            }
            self.in_burst = !came;
        }
    }

    /// Whether the packet so far behind the highest came.
    fn has_come(&self, back: i64) -> bool {
        u32::try_from(back).is_ok_and(|back| self.came.checked_shr(back).unwrap_or_default() & 1 == 1)
    }

    fn remember(&mut self, lost: bool, both: bool) {
        if self.recent.len() == RECENT
            && let Some((lost, both)) = self.recent.pop_front()
        {
            self.recent_lost.0 -= u16::from(lost);
            self.recent_lost.1 -= u16::from(both);
        }
        self.recent.push_back((lost, both));
        self.recent_lost.0 += u16::from(lost);
        self.recent_lost.1 += u16::from(both);
    }

    /// How much was lost of late. While little is known, losses are taken to be independent.
    pub fn losses(&self) -> Losses {
        let of = self.recent.len().max(LEAST_KNOWN) as f32;
        let (lost, both) = (f32::from(self.recent_lost.0), f32::from(self.recent_lost.1));
        let packets = lost / of;
        Losses { packets, pairs: packets * (both + packets * PRIOR) / (lost + PRIOR) }
    }

    /// Packets lost in all.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// The losses since the last call; `None` if nothing was expected.
    pub fn report(&mut self) -> Option<Report> {
        let report = std::mem::take(&mut self.report);
        (report.expected > 0).then_some(report)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_wrap_on_level_1() {
        let mut numbers = Numbers::default();
        let start = u64::from(u32::MAX) - 2;
        assert_eq!(numbers.take(start, Pace::Sequence, true), Number::Restart(start as i64));
        for n in 1..10 {
            let counter = u64::from((start as u32).wrapping_add(n));
            assert_eq!(
                numbers.take(counter, Pace::Sequence, true),
                Number::New(start as i64 + i64::from(n)),
                "{counter}"
            );
        }
        assert_eq!(numbers.take(0, Pace::Sequence, true), Number::Again);
        assert_eq!(numbers.lost(), 0);
    }

    #[test]
    fn a_leap_is_believed_when_the_next_confirms_it() {
        for pace in [Pace::Sequence, Pace::Clock] {
            let mut numbers = Numbers::default();
            for n in 1000..1100 {
                numbers.take(n, pace, true);
            }
            assert_eq!(numbers.take(0xFFFF_FFFF, pace, true), Number::Leap);
            assert_eq!(numbers.take(1100, pace, true), Number::New(1100), "the true sender goes on");
            assert_eq!(numbers.take(50_000, pace, true), Number::Leap);
            assert_eq!(numbers.take(50_001, pace, true), Number::Restart(50_001));
            assert_eq!(numbers.take(50_002, pace, true), Number::New(50_002));
            assert_eq!(numbers.take(50_003, pace, false), Number::Leap, "in order, but odd otherwise");
            assert_eq!(numbers.take(50_003, pace, true), Number::New(50_003));
        }
    }

    #[test]
    fn losses_and_bursts_are_counted_and_late_ones_are_not_lost() {
        let mut numbers = Numbers::default();
        for n in (0..100).filter(|n| ![20, 21, 22, 50].contains(n) && *n != 60) {
            numbers.take(n, Pace::Clock, true);
            if n == 65 {
                assert_eq!(numbers.take(60, Pace::Clock, true), Number::New(60));
            }
        }
        assert_eq!(numbers.report(), Some(Report { expected: 89, lost: 4, bursts: 2 }));
        assert_eq!(numbers.report(), None);
    }

    #[test]
    fn losses_of_late_tell_single_ones_from_bursts() {
        let losses = |lost: fn(u64) -> bool| {
            let mut numbers = Numbers::default();
            (0..1000).filter(|n| !lost(*n)).for_each(|n| {
                numbers.take(n, Pace::Clock, true);
            });
            numbers.losses()
        };
        assert_eq!(losses(|_| false), Losses::default());
        let single = losses(|n| n % 20 == 7);
        assert!((single.packets - 0.05).abs() < 0.003 && single.pairs < 0.002, "{single:?}");
        let bursts = losses(|n| n % 60 < 3);
        assert!((bursts.packets - 0.05).abs() < 0.006 && bursts.pairs > 0.012, "{bursts:?}");
        assert_eq!(losses(|n| n < 400 && n % 2 == 1).packets, 0.0, "more than ten seconds ago");
    }

    proptest! {
        #[test]
        fn any_numbers_do_no_harm(counters in prop::collection::vec(prop_oneof![any::<u64>(), 0_u64..50, (u64::MAX - 50)..], 0..300)) {
            for pace in [Pace::Sequence, Pace::Clock] {
                let mut numbers = Numbers::default();
                for counter in &counters {
                    numbers.take(*counter, pace, true);
                }
                prop_assert!(numbers.lost() <= counters.len() as u64 * 3001);
            }
        }
    }
}
