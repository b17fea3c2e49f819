//! How many earlier frames each packet repeats.
//!
//! The idea is RFC 2198's: a frame that is lost comes again, 40 and perhaps 80 ms later, in another packet. Which costs
//! rate and, where packets are lost, delay; so a receiver gets no more of it than its reports ask for: at once when it
//! loses, and less again when nothing has been lost for a while.

use std::collections::VecDeque;

use super::numbers::Losses;
use super::{Packet, Report};

/// How many earlier frames each packet repeats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Redundancy {
    /// None.
    #[default]
    None,
    /// The frame two back.
    One,
    /// The frames two and four back.
    Two,
}

impl Redundancy {
    /// How far back the repeats are.
    pub const fn backs(self) -> &'static [u8] {
        match self {
            Self::None => &[],
            Self::One => &[2],
            Self::Two => &[2, 4],
        }
    }
}

/// Reports that count: so after so many seconds without loss nothing is repeated any more.
const REPORTS: usize = 10;
/// Share of packets lost, over all reports that count, from which two frames are repeated: 2.5 %. One repeat leaves the
/// square of the loss, as good as nothing, below that.
const MANY: (u32, u32) = (1, 40);
/// The same within one report: 5 %.
const MANY_AT_ONCE: (u32, u32) = (1, 20);
/// A report with less is no measure of a share.
const ENOUGH: u32 = 10;

/// Chooses for one receiver, by its reports.
#[derive(Debug, Default)]
pub struct Chooser {
    reports: VecDeque<Report>,
}

impl Chooser {
    /// One that has had no report.
    pub fn new() -> Self {
        Self::default()
    }

    /// A report came.
    pub fn reported(&mut self, report: Report) {
        if report.expected == 0 {
            return;
        }
        if self.reports.len() == REPORTS {
            self.reports.pop_front();
        }
        self.reports.push_back(report);
    }

    /// The redundancy to use now.
    pub fn choice(&self) -> Redundancy {
        let (expected, lost) = self.reports.iter().fold((0, 0), |(expected, lost), report| {
            (expected + u32::from(report.expected), lost + u32::from(report.lost))
        });
        let over = |(expected, lost): (u32, u32), (n, of): (u32, u32)| {
            expected >= ENOUGH && u64::from(lost) * u64::from(of) >= u64::from(expected) * u64::from(n)
        };
        let now = self.reports.back().map_or((0, 0), |it| (u32::from(it.expected), u32::from(it.lost)));
        // In a burst of two or more, what is two back may be lost, too.
        let bursts = self.reports.iter().any(|it| it.bursts > 0 && u32::from(it.lost) >= 2 * u32::from(it.bursts));
        match lost {
            0 => Redundancy::None,
            _ if bursts || over((expected, lost), MANY) || over(now, MANY_AT_ONCE) => Redundancy::Two,
            _ => Redundancy::One,
        }
    }
}

/// Packets after the last one with a repeat for which more are expected: 1 s of talking.
const EXPECTED: u16 = 50;
/// From this share of packets lost on the first repeat is waited for: 0.5 %, more than two of the last ten seconds.
const WAIT: f32 = 0.005;
/// From this share of frames on that come neither themselves nor by the first repeat, the second is waited for: 0.8 %. By
/// ear and by PESQ a hundredth of the frames is no longer nothing.
const WAIT_MORE: f32 = 0.008;
/// Below this part of what made it wait it waits no more, so that delay does not swing.
const RELEASE: f32 = 0.4;

/// How long the listener waits for repeats: as long as it takes, and only while it loses.
#[derive(Debug, Default)]
pub struct Repeats {
    /// Packets since the last that had a repeat as far back as that of each class.
    since: [u16; 2],
    /// Repeats that are waited for: 0 to 2.
    waits_for: usize,
}

impl Repeats {
    /// A packet came, and losses are such.
    pub fn seen(&mut self, packet: &Packet<'_>, losses: Losses) {
        let backs = packet.repeats.iter().flatten().map(|it| it.back);
        let furthest = backs.max().unwrap_or_default();
        for (since, back) in self.since.iter_mut().zip(Redundancy::Two.backs()) {
            *since = if furthest >= *back { EXPECTED } else { since.saturating_sub(1) };
        }
        let over = |share: f32, most: f32, waits: bool| share > if waits { most * RELEASE } else { most };
        let first = over(losses.packets, WAIT, self.waits_for > 0);
        let second = over(losses.pairs, WAIT_MORE, self.waits_for > 1);
        let [one, two] = self.since;
        self.waits_for = if !first || one == 0 { 0 } else { 1 + usize::from(second && two > 0) };
    }

    /// How many frames' time to wait for them.
    pub fn wait(&self) -> i64 {
        let last = self.waits_for.checked_sub(1).and_then(|last| Redundancy::Two.backs().get(last));
        last.map_or(0, |back| i64::from(*back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voice::{Codec, MAX_REPEATS, Repeat};

    fn report(lost: u16, bursts: u16) -> Report {
        Report { expected: 50, lost, bursts }
    }

    #[test]
    fn more_at_once_and_less_after_a_while() {
        let mut chooser = Chooser::new();
        assert_eq!(chooser.choice(), Redundancy::None);
        for _ in 0..5 {
            chooser.reported(report(0, 0));
        }
        chooser.reported(report(1, 1));
        assert_eq!(chooser.choice(), Redundancy::One);
        chooser.reported(report(3, 3));
        assert_eq!(chooser.choice(), Redundancy::Two, "6 % at once");
        let clean = (1..).find(|_| {
            chooser.reported(report(0, 0));
            chooser.choice() == Redundancy::None
        });
        assert_eq!(clean, Some(REPORTS), "seconds until nothing is repeated");
    }

    #[test]
    fn bursts_and_steady_loss_call_for_two() {
        let mut bursts = Chooser::new();
        bursts.reported(report(2, 1));
        assert_eq!(bursts.choice(), Redundancy::Two);
        let mut steady = Chooser::new();
        (0..10).for_each(|_| steady.reported(report(1, 1)));
        assert_eq!(steady.choice(), Redundancy::One, "2 %");
        (0..10).for_each(|n| steady.reported(report(1 + n % 2, 1 + n % 2)));
        assert_eq!(steady.choice(), Redundancy::Two, "3 %");
    }

    #[test]
    fn repeats_are_waited_for_only_where_they_help() {
        let packet = |backs: &[u8]| {
            let mut repeats = [None; MAX_REPEATS];
            for (slot, back) in repeats.iter_mut().zip(backs) {
                *slot = Some(Repeat { back: *back, payload: &[1] });
            }
            Packet { counter: 0, frame: 9, codec: Codec::Opus, payload: &[1], repeats }
        };
        let mut repeats = Repeats::default();
        let mut wait = |backs: &[u8], packets: f32, pairs: f32| {
            repeats.seen(&packet(backs), Losses { packets, pairs });
            repeats.wait()
        };
        assert_eq!(wait(&[2, 4], 0.0, 0.0), 0, "nothing is lost");
        assert_eq!(wait(&[], 0.05, 0.002), 2, "a packet without repeats makes no difference");
        assert_eq!(wait(&[2, 4], 0.05, 0.002), 2);
        assert_eq!(wait(&[2, 4], 0.05, 0.02), 4, "in bursts");
        assert_eq!(wait(&[2, 4], 0.05, 0.004), 4, "not at once");
        assert_eq!(wait(&[2, 4], 0.05, 0.002), 2);
        assert_eq!(wait(&[2], 0.05, 0.02), 4, "they were there a moment ago");
        let last = (0..EXPECTED).map(|_| wait(&[2], 0.05, 0.02)).last();
        assert_eq!(last, Some(2), "the talker repeats only one");
        let last = (0..EXPECTED).map(|_| wait(&[], 0.05, 0.02)).last();
        assert_eq!(last, Some(0), "the talker repeats nothing");
    }

    #[test]
    fn odd_reports_do_no_harm() {
        let mut chooser = Chooser::new();
        for _ in 0..1000 {
            chooser.reported(Report { expected: u16::MAX, lost: u16::MAX, bursts: u16::MAX });
            chooser.reported(Report { expected: 0, lost: 9, bursts: 0 });
        }
        assert_eq!((chooser.reports.len(), chooser.choice()), (REPORTS, Redundancy::Two));
    }
}
