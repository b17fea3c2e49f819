//! Moments: the two clocks that the core is given.

use std::time::{Duration, Instant, UNIX_EPOCH};

/// A moment: the clock that never jumps, for durations, and the wall's, for what people read.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Never goes back.
    pub mono: Instant,
    /// Milliseconds since 1970, UTC; may jump.
    pub unix_ms: u64,
}

/// Milliseconds since 1970 as RFC 3339, UTC.
pub fn rfc3339(unix_ms: u64) -> String {
    // The year 9999 is as far as the format goes.
    let ms = unix_ms.min(253_402_300_799_999);
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

/// A duration in whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Where seeded time starts: 2026-01-01T00:00:00Z, in milliseconds since 1970.
const SEEDED_START: u64 = 1_767_225_600_000;
/// How far seeded time goes with each stamp: a second, so that the order shows.
const SEEDED_STEP: u64 = 1000;

/// Time stamps for messages and events: the wall clock's, or with a seed the same in every run.
#[derive(Debug)]
pub struct Stamps {
    /// The next seeded stamp, with a seed.
    seeded: Option<u64>,
}

impl Stamps {
    /// The wall clock's, unless there is a seed.
    pub fn new(is_seeded: bool) -> Self {
        Self { seeded: is_seeded.then_some(SEEDED_START) }
    }

    /// The time to write into a message or an event, in milliseconds since 1970.
    pub fn next(&mut self, now: Now) -> u64 {
        match &mut self.seeded {
            Some(next) => {
                *next += SEEDED_STEP;
                *next - SEEDED_STEP
            }
            None => now.unix_ms,
        }
    }

    /// The time of the start, in milliseconds since 1970. It uses up no stamp.
    pub fn start(&self, now: Now) -> u64 {
        self.seeded.unwrap_or(now.unix_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeded_stamps_go_on_by_a_second() {
        #[allow(clippy::disallowed_methods, reason = "any moment will do")]
        let now = Now { mono: Instant::now(), unix_ms: 5 };
        let mut stamps = Stamps::new(true);
        let times = [stamps.start(now), stamps.next(now), stamps.next(now)];
        assert_eq!(rfc3339(times[2]), "2026-01-01T00:00:01.000Z");
        assert_eq!(times[0], times[1]);
        assert_eq!(Stamps::new(false).next(now), 5);
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
    }
}
