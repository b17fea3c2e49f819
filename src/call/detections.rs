//! A rate of detections of speech.

use std::time::Instant;

use crate::voice::FRAME_TIME;

/// Frames of level 1 that are looked at for speech in the time of one; of more talkers at once it is their loudness that
/// tells. A guess: more than speak at once.
const MAX_DETECTIONS: u32 = 8;

/// Counts the frames of level 1 that are looked at for speech: that costs more than all else about a datagram, and a crowd
/// must not be able to make it cost without bound.
#[derive(Debug, Default)]
pub struct Detections {
    since: Option<Instant>,
    count: u32,
}

impl Detections {
    /// Whether one more frame may be looked at; it is counted.
    pub fn may_go(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.duration_since(since) >= FRAME_TIME) {
            (self.since, self.count) = (Some(now), 0);
        }
        self.count += 1;
        self.count <= MAX_DETECTIONS
    }
}
