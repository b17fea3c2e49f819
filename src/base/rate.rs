//! How many messages an author may say: so many a second, and after a silence ten seconds' worth at once.
//!
//! A bucket is one moment: when it will be full again (the generic cell rate algorithm of ATM, ITU-T I.371). Each message moves
//! it on; who has used up the burst waits, or is refused, until it is near enough.

use std::time::{Duration, Instant};

/// Messages a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(Duration);

/// The length of a burst: so much time's messages.
pub const BURST: Duration = Duration::from_secs(10);

impl Rate {
    /// So many a second; `None`: there is no limit.
    pub const fn new(per_second: u32) -> Option<Self> {
        match Duration::from_secs(1).checked_div(per_second) {
            Some(each) => Some(Self(each)),
            None => None,
        }
    }

    /// Twice as many.
    pub fn doubled(self) -> Self {
        Self(self.0 / 2)
    }
}

/// The use that one author, or one link, has made of a rate.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket(Option<Instant>);

impl Bucket {
    /// Takes a message if there is room. False: it is too much.
    pub fn take(&mut self, now: Instant, rate: Rate) -> bool {
        if !self.has_room(now, rate) {
            return false;
        }
        self.pay(now, rate);
        true
    }

    /// Whether there is room for a message.
    pub fn has_room(&self, now: Instant, rate: Rate) -> bool {
        self.0.is_none_or(|full| full.saturating_duration_since(now) + rate.0 <= BURST)
    }

    /// Takes a message, whether there is room or not. Gives the moment before which no more should come, if that is not past.
    pub fn pay(&mut self, now: Instant, rate: Rate) -> Option<Instant> {
        let full = self.0.map_or(now, |full| full.max(now)) + rate.0;
        self.0 = Some(full);
        let wait = (full.duration_since(now) + rate.0).saturating_sub(BURST);
        (!wait.is_zero()).then(|| now + wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        #[allow(clippy::disallowed_methods, reason = "any moment will do")]
        Instant::now()
    }

    #[test]
    fn ten_seconds_worth_come_at_once_and_then_so_many_a_second() {
        let (mut bucket, rate, start) = (Bucket::default(), Rate::new(1000).expect("a limit"), start());
        assert_eq!((0..20_000).filter(|_| bucket.take(start, rate)).count(), 10_000);
        let later = start + Duration::from_millis(50);
        assert_eq!((0..20_000).filter(|_| bucket.take(later, rate)).count(), 50);
        let later = start + Duration::from_secs(60);
        assert_eq!((0..20_000).filter(|_| bucket.take(later, rate)).count(), 10_000, "no more than that is saved up");
        assert_eq!(
            (0..30_000).filter(|_| bucket.take(start + Duration::from_secs(99), rate.doubled())).count(),
            20_000
        );
    }

    #[test]
    fn who_pays_for_more_than_there_is_waits_for_as_long() {
        let (mut bucket, rate, start) = (Bucket::default(), Rate::new(100).expect("a limit"), start());
        assert!((0..999).all(|_| bucket.pay(start, rate).is_none()));
        assert_eq!(bucket.pay(start, rate), Some(start + Duration::from_millis(10)));
        assert_eq!(bucket.pay(start, rate), Some(start + Duration::from_millis(20)));
        assert!(!bucket.has_room(start + Duration::from_millis(19), rate));
        assert!(bucket.has_room(start + Duration::from_millis(20), rate));
    }

    #[test]
    fn none_is_no_limit() {
        assert_eq!(Rate::new(0), None);
    }
}
