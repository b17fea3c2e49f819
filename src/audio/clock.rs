//! Time for what is no device: moments that come at an even pace, however late each wake-up is.

use std::time::{Duration, Instant};

/// A clock that lags so much, after a stop of the process or the machine, goes on from now instead of making it all good.
const MAX_LAG: Duration = Duration::from_millis(250);

/// Moments, one after another.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    step: Duration,
    ticks: u32,
}

impl Clock {
    /// A clock whose first moment is one step from now. `ppm`: how much too fast it runs, in millionths.
    pub fn new(step: Duration, ppm: f64) -> Self {
        Self { start: now(), step: step.div_f64(1.0 + ppm * 1e-6), ticks: 0 }
    }

    /// How long it is to the next moment; `None`: it has come, and counts as taken.
    pub fn until_next(&mut self) -> Option<Duration> {
        self.next_at(now())
    }

    fn next_at(&mut self, now: Instant) -> Option<Duration> {
        let due = self.start + self.step * (self.ticks + 1);
        if due > now {
            return Some(due - now);
        }
        self.ticks += 1;
        if now - due > MAX_LAG {
            (self.start, self.ticks) = (now, 0);
        } else if self.ticks == 1 << 20 {
            (self.start, self.ticks) = (due, 0);
        }
        None
    }
}

#[allow(clippy::disallowed_methods, reason = "the clock of what is no device is here")]
pub(super) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many moments pass in a time, looked at with an odd step.
    fn ticks(ppm: f64, of: Duration) -> u32 {
        let mut clock = Clock::new(Duration::from_millis(20), ppm);
        let (start, mut at, mut ticks) = (clock.start, Duration::ZERO, 0);
        while at <= of {
            while clock.next_at(start + at).is_none() {
                ticks += 1;
            }
            at += Duration::from_micros(33_333);
        }
        ticks
    }

    #[test]
    fn it_keeps_its_pace_and_drifts_as_it_is_told() {
        let hour = Duration::from_secs(3600);
        for (ppm, expected) in [(0.0, 180_000), (200.0, 180_036), (-200.0, 179_964), (1000.0, 180_180)] {
            let ticks = ticks(ppm, hour);
            assert!(ticks.abs_diff(expected) <= 2, "{ppm} ppm: {ticks}, not {expected}");
        }
    }

    #[test]
    fn a_stop_is_not_made_good() {
        let mut clock = Clock::new(Duration::from_millis(20), 0.0);
        let later = clock.start + Duration::from_secs(60);
        assert_eq!(clock.next_at(later), None);
        assert!(clock.next_at(later).is_some());
    }
}
