//! Moments: the two clocks that the core is given.

use std::time::{Duration, Instant};

/// A moment: the clock that never jumps, for durations, and the wall's, for what people read.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Never goes back.
    pub mono: Instant,
    /// Milliseconds since 1970, UTC; may jump.
    pub unix_ms: u64,
}

/// Milliseconds since 1970 as RFC 3339, UTC. Written here, since every message that is shown or sent bears one.
pub fn rfc3339(unix_ms: u64) -> String {
    // The year 9999 is as far as the format goes.
    let ms = unix_ms.min(253_402_300_799_999);
    let (year, month, day) = date(ms / 86_400_000);
    let parts = [
        (0..4, year),
        (5..7, month),
        (8..10, day),
        (11..13, ms / 3_600_000 % 24),
        (14..16, ms / 60_000 % 60),
        (17..19, ms / 1000 % 60),
        (20..23, ms % 1000),
    ];
    let mut text = *b"0000-00-00T00:00:00.000Z";
    for (at, mut rest) in parts {
        for digit in text.get_mut(at).into_iter().flatten().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
    std::str::from_utf8(&text).unwrap_or_default().to_owned()
}

/// Days since 1970 as year, month and day: counted in years that begin with March, so that a leap day is the last.
const fn date(days: u64) -> (u64, u64, u64) {
    let since_0000 = days + 719_468;
    let (era, day) = (since_0000 / 146_097, since_0000 % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (400 * era + year + next, month, day)
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

    #[test]
    fn dates_are_right_on_every_day() {
        let of_day = 86_400_000 / 7;
        for ms in (0..).step_by(86_400_000 + of_day).take_while(|ms| *ms <= 253_402_300_799_999) {
            let expected = humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + Duration::from_millis(ms));
            assert_eq!(rfc3339(ms), expected.to_string());
        }
    }
}
