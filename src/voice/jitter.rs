//! How long frames should wait, by how late they came of late.
//!
//! A frame's *transit* is when it came less its place on the talker's timeline; how late it is, is its transit less the
//! least of the last ten seconds. So two clocks that drift apart are as good as one. Lateness is counted in bins of 2 ms.
//!
//! The target covers 98 % of the last two seconds: quick to grow, since one late frame of a hundred is not forgiven, and
//! quick to shrink. Stalls that come back (Wi-Fi) are rarer than that: while they keep coming at no more than twice the
//! intervals they have had, 99.2 % of the last ten seconds are covered. Frames that come as repeats are no jitter: see
//! [`super::speaker`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The width of a bin.
const BIN: i64 = 2_000;
/// Bins: up to 400 ms, the longest target.
const BINS: usize = 200;
/// Frames that the short look covers: 1.6 s.
const SHORT: usize = 80;
/// Frames that the long look covers: 10 s.
const LONG: usize = 500;
/// Of the short look, frames that may be late.
const SHORT_LATE: usize = 1;
/// Of a thousand frames of the long look, those that may be late.
const LONG_LATE: usize = 8;
/// A frame so much later than most begins a stall.
const STALL: i64 = 20_000;
/// Where one frame of so many is as late as in a stall, that is no stall but a storm.
const STORM: usize = 7;
/// Stalls closer than this are one.
const STALL_APART: Duration = Duration::from_millis(300);
/// Stalls further apart than this have nothing to do with each other.
const STALL_TOGETHER: Duration = Duration::from_secs(10);
/// The wait beyond the start of the target's bin: the bin's width, and 1 ms in which clocks may drift apart and
/// threads wake late. The 1 ms is a guess.
const MARGIN: i64 = BIN + 1_000;
/// The addition to the margin for a frame that was missing when it was wanted, in µs.
const MISSED: i64 = 3_000;
/// The most that it adds in all.
const MAX_MISSED: i64 = 30_000;
/// How much of it is forgotten with each frame: half in 2 s.
const FORGET: f64 = 0.993;

/// Chooses the target.
#[derive(Debug, Default)]
pub struct Jitter {
    /// Transits, in µs from an arbitrary start, newest last.
    transits: VecDeque<i64>,
    start: Option<Instant>,
    least: i64,
    target: i64,
    /// When the last stalls began.
    stalls: VecDeque<Instant>,
    stalled: Option<Instant>,
    missed: f64,
    /// RFC 3550, 6.4.1, in µs.
    jitter: f64,
}

impl Jitter {
    /// One that knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the transits: the timeline begins anew.
    pub fn restart(&mut self) {
        self.transits.clear();
        self.stalls.clear();
        self.stalled = None;
        self.start = None;
    }

    /// A frame came, for the first time. `place`: where it is on the timeline, in µs.
    pub fn came(&mut self, now: Instant, place: i64) {
        let start = *self.start.get_or_insert(now);
        let transit = micros(now.saturating_duration_since(start)) - place;
        if let Some(last) = self.transits.back() {
            self.jitter += ((transit - last).abs() as f64 - self.jitter) / 16.0;
        }
        if self.transits.len() == LONG {
            self.transits.pop_front();
        }
        self.transits.push_back(transit);
        self.least = self.transits.iter().copied().min().unwrap_or_default();
        self.missed *= FORGET;
        self.look_for_stalls(now, transit);
        self.choose(now);
    }

    /// A frame was not there when it was wanted, but came soon after.
    pub fn missed(&mut self) {
        self.missed = (self.missed + MISSED as f64).min(MAX_MISSED as f64);
    }

    /// How late the playing of a place at a time would be, in µs, by the same measure as the target. `None`: nothing is known.
    pub fn lateness(&self, now: Instant, place: i64) -> Option<i64> {
        let start = self.start?;
        Some(micros(now.saturating_duration_since(start)) - place - self.least)
    }

    /// How late frames should be played, in µs.
    pub fn target(&self) -> i64 {
        self.target + MARGIN + self.missed as i64
    }

    /// How much transits vary, in ms.
    pub fn jitter_ms(&self) -> f64 {
        self.jitter / 1000.0
    }

    fn look_for_stalls(&mut self, now: Instant, transit: i64) {
        let usual = self.late(LONG, self.transits.len() / 10);
        if transit - self.least <= usual + STALL {
            return;
        }
        if self.stalled.is_none_or(|last| now.saturating_duration_since(last) > STALL_APART) {
            if self.stalls.len() == 4 {
                self.stalls.pop_front();
            }
            self.stalls.push_back(now);
        }
        self.stalled = Some(now);
    }

    /// Whether stalls are to be expected: they have come more than once, and not longer ago than twice their intervals.
    fn stalls_come_back(&self, now: Instant) -> bool {
        let Some(last) = self.stalled else { return false };
        let intervals = self.stalls.iter().zip(self.stalls.iter().skip(1));
        let longest = intervals.map(|(a, b)| b.saturating_duration_since(*a)).filter(|it| *it < STALL_TOGETHER).max();
        longest.is_some_and(|longest| now.saturating_duration_since(last) < 2 * longest)
            && self.late(LONG, self.transits.len() / STORM) <= STALL
    }

    fn choose(&mut self, now: Instant) {
        self.target = self.late(SHORT, SHORT_LATE.min(self.transits.len() / 20));
        if self.stalls_come_back(now) {
            self.target = self.target.max(self.late(LONG, self.transits.len() * LONG_LATE / 1000));
        }
    }

    /// How late all but `but` of the last `of` frames were at most, in µs, to the end of a bin.
    fn late(&self, of: usize, but: usize) -> i64 {
        let mut bins = [0_u16; BINS];
        for transit in self.transits.iter().rev().take(of) {
            let bin = usize::try_from((transit - self.least) / BIN).unwrap_or_default().min(BINS - 1);
            if let Some(count) = bins.get_mut(bin) {
                *count += 1;
            }
        }
        let mut later = 0;
        for (bin, count) in bins.iter().enumerate().rev() {
            later += usize::from(*count);
            if later > but {
                return bin as i64 * BIN;
            }
        }
        0
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::disallowed_methods, reason = "any moment will do")]
    fn start() -> Instant {
        Instant::now()
    }

    /// Frames that come so many ms late each. Gives the target after each, in ms.
    fn targets(late: impl IntoIterator<Item = u64>) -> Vec<i64> {
        let (start, mut jitter) = (start(), Jitter::new());
        let came = late.into_iter().enumerate().map(|(n, late)| {
            jitter.came(start + Duration::from_millis(n as u64 * 20 + late), n as i64 * 20_000);
            jitter.target() / 1000
        });
        came.collect()
    }

    #[test]
    fn a_quiet_line_has_a_target_of_next_to_nothing() {
        assert!(targets([0; 500]).iter().all(|target| *target <= 4));
    }

    #[test]
    fn it_covers_jitter_at_once_and_forgets_a_storm_in_two_seconds() {
        let storm = (0..250).map(|n| if n % 7 == 0 { 80 } else { n % 30 });
        let targets = targets(std::iter::repeat_n(0, 100).chain(storm).chain([0; 200]));
        assert!(targets[115..350].iter().all(|target| *target >= 60), "{:?}", &targets[100..130]);
        assert!(targets[350 + 110..].iter().all(|target| *target <= 4), "{:?}", &targets[440..470]);
    }

    #[test]
    fn stalls_that_come_back_are_remembered_and_one_alone_is_not() {
        // Every 3 s a stall of 100 ms: five frames, each 20 ms less late.
        let stalls = (0..1500_u64).map(|n| if n > 150 && n % 150 < 5 { 100 - 20 * (n % 150) } else { 0 });
        let recurring = targets(stalls);
        assert!(recurring[700..].iter().all(|target| *target >= 60), "{:?}", recurring[700..].iter().min());
        let once = targets((0..600_u64).map(|n| if (200..205).contains(&n) { 100 - 20 * (n - 200) } else { 0 }));
        assert!(once[320..].iter().all(|target| *target <= 4));
    }

    #[test]
    fn drift_is_no_lateness() {
        let (start, mut jitter) = (start(), Jitter::new());
        for n in 0..30_000_u64 {
            // 200 ppm slow.
            jitter.came(start + Duration::from_micros(n * 20_004), n as i64 * 20_000);
            assert!(jitter.target() <= 6_000, "{} after {n}", jitter.target());
        }
    }

    #[test]
    fn a_missing_frame_makes_it_careful_for_a_while() {
        let (start, mut jitter) = (start(), Jitter::new());
        let at = |jitter: &mut Jitter, n: u64| {
            jitter.came(start + Duration::from_millis(n * 20), n as i64 * 20_000);
            jitter.target()
        };
        let quiet = at(&mut jitter, 0);
        jitter.missed();
        assert!(at(&mut jitter, 1) > quiet + 2_000);
        (0..1000).for_each(|_| jitter.missed());
        assert!(at(&mut jitter, 2) < 50_000);
        let later = (3..1500).map(|n| at(&mut jitter, n)).last();
        assert_eq!(later, Some(quiet));
    }
}
