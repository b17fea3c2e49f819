//! Sound devices, by `cpal`: PulseAudio if its server answers, else ALSA or what the system has.
//!
//! The callbacks of a stream only move samples between the device and a lock-free ring; the thread at the ring's other end
//! resamples. A stream that fails or falls silent is let go of and built anew: nothing here ever waits for a sound server.
//!
//! - [`mod@choose`]: which devices there are, and which is meant
//! - [`streams`]: callbacks, and how streams are built, watched and let go of

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use rtrb::{Consumer, Producer};

use super::clock::{Clock, now};
use super::event::{Event, Warning};
use super::resample::{self, Stream as Resampler};
use super::shared::{Shared, ask};
use crate::voice::{CHUNK, CHUNK_TIME, Chunk, FRAME, Frame, RATE};

mod choose;
mod streams;

pub use choose::{Choice, choose, list};
use streams::{Health, Opening, Running};

/// How long the thread waits for its stream to wake it: only a net below the wake-ups.
const WAIT: Duration = Duration::from_millis(50);
/// After so many periods of a microphone frames are made to end where periods do: the first ones are uneven.
const ALIGN_AFTER: u32 = 10;
/// The most chunks that are kept ready for playback beyond one period of the device. Each time what is ready is not
/// enough it is one more.
const MAX_READY: usize = 8;
/// After so long without it is one less; twice as long each time that this was too soon.
const SHRINK_AFTER: Duration = Duration::from_secs(5);
/// See [`SHRINK_AFTER`].
const MAX_SHRINK_AFTER: Duration = Duration::from_secs(640);
/// How long it is looked how much the device asks for at once.
const PERIOD_LOOK: Duration = Duration::from_millis(500);
/// How long a stream may take to run evenly.
const SETTLE: Duration = Duration::from_millis(500);
/// A device that keeps no time: so many times too fast, after [`PACE_GRACE`] seconds' worth of samples.
const PACE: f64 = 2.0;
/// See [`PACE`].
const PACE_GRACE: f64 = 2.0;

/// Captures until it is told to stop.
pub fn capture(choice: &Choice, shared: &Arc<Shared>) {
    let mut tell = Tell { shared, what: "microphone", name: &choice.name, lost: false };
    let mut opening = Opening::new();
    while !shared.stops() {
        let to_open = choice.clone();
        let opened = opening.poll(move |waker| streams::open_input(&to_open, waker));
        if let Some((running, from)) = opened {
            tell.is(true);
            match capture_stream(running, from, shared) {
                End::Stopped | End::Moved => {}
                End::Lost => {
                    tell.is(false);
                    opening.lost();
                }
                End::NoTime => return tell.keeps_no_time(),
            }
        } else {
            if opening.has_failed() {
                tell.is(false);
            }
            thread::park_timeout(WAIT);
        }
    }
}

fn capture_stream(mut running: Running, mut from: Consumer<f32>, shared: &Shared) -> End {
    // Half a millisecond at a time.
    let Ok(mut resampler) = Resampler::new(running.rate, RATE, (running.rate / 2000).max(1) as usize) else {
        return End::Lost;
    };
    let mut pace = Pace::new(running.rate);
    let mut frame: Frame = [0; FRAME];
    let (mut filled, mut drained) = (0, 0);
    let mut piece = [0.0; FRAME];
    loop {
        if let ControlFlow::Break(end) = goes_on(&mut running, &pace, shared) {
            return end;
        }
        let (popped, _) = from.pop_partial_slice(&mut piece);
        if popped.is_empty() {
            // The end of a period: from here on frames end where periods do, and none waits for the rest of its last.
            drained += 1;
            if drained == ALIGN_AFTER {
                filled = 0;
            }
            thread::park_timeout(WAIT);
            continue;
        }
        pace.add(popped.len());
        resampler.push(popped, |samples| {
            for sample in samples {
                if let Some(slot) = frame.get_mut(filled) {
                    *slot = resample::to_i16(*sample);
                }
                filled += 1;
                if filled == FRAME {
                    filled = 0;
                    shared.tell(Event::Captured(frame));
                }
            }
        });
    }
}

/// Plays until it is told to stop. While the device is away a clock goes on asking, so that nothing piles up.
pub fn play(choice: &Choice, shared: &Arc<Shared>, to_play: &Receiver<Chunk>) {
    let mut tell = Tell { shared, what: "speaker", name: &choice.name, lost: false };
    let mut opening = Some(Opening::new());
    let mut clock = Clock::new(CHUNK_TIME, 0.0);
    while !shared.stops() {
        let to_open = choice.clone();
        let opened = opening.as_mut().and_then(|it| it.poll(move |waker| streams::open_output(&to_open, waker)));
        if let Some((running, into)) = opened {
            tell.is(true);
            match play_stream(running, into, shared, to_play) {
                End::Stopped | End::Moved => {}
                End::Lost => {
                    tell.is(false);
                    opening.as_mut().into_iter().for_each(Opening::lost);
                }
                End::NoTime => {
                    tell.keeps_no_time();
                    opening = None;
                }
            }
            clock = Clock::new(CHUNK_TIME, 0.0);
            continue;
        }
        if opening.as_ref().is_some_and(Opening::has_failed) {
            tell.is(false);
        }
        match clock.until_next() {
            Some(wait) => thread::park_timeout(wait),
            None => ask(shared, to_play, 1, |_| {}),
        }
    }
}

fn play_stream(mut running: Running, mut into: Producer<f32>, shared: &Shared, to_play: &Receiver<Chunk>) -> End {
    let Ok(mut resampler) = Resampler::new(RATE, running.rate, CHUNK) else { return End::Lost };
    let capacity = into.slots();
    let mut pace = Pace::new(running.rate);
    let chunk = (CHUNK * running.rate as usize / RATE as usize).max(1);
    let mut ready = Ready::new(chunk, now());
    loop {
        if let ControlFlow::Break(end) = goes_on(&mut running, &pace, shared) {
            return end;
        }
        let wanted = ready.wanted(now(), running.take_asked(), running.take_missing()).min(capacity);
        // Until the first call it is not known how much a period is.
        if !running.has_called() || capacity - into.slots() >= wanted {
            thread::park_timeout(WAIT);
            continue;
        }
        let missing = wanted.saturating_sub(capacity - into.slots());
        ask(shared, to_play, missing.div_ceil(chunk), |samples| {
            resampler.push(&samples.map(resample::to_f32), |out| {
                pace.add(out.len());
                let _ = into.push_partial_slice(out);
            });
        });
    }
}

/// How much is kept ready for playback: what the device usually takes at once, and as many chunks more as have shown to be
/// necessary.
struct Ready {
    /// Samples of a chunk.
    chunk: usize,
    /// Chunks beyond a period.
    more: usize,
    /// The samples that the device usually takes at once: the least of the last whole look.
    period: usize,
    /// The least of this look.
    least: usize,
    looked: Instant,
    /// Until then the device is only watched: the first call of a stream takes more than any other.
    settled: Instant,
    well_since: Instant,
    shrink_after: Duration,
    /// It has just become one less.
    shrunk: bool,
}

impl Ready {
    fn new(chunk: usize, at: Instant) -> Self {
        let (settled, shrink_after) = (at + SETTLE, SHRINK_AFTER);
        Self {
            chunk,
            more: 0,
            period: chunk,
            least: usize::MAX,
            looked: at,
            settled,
            well_since: settled,
            shrink_after,
            shrunk: false,
        }
    }

    /// How many samples should be in the ring. `asked`: what the device has just asked for, 0 if nothing; `missing`: how
    /// much of it was not there.
    fn wanted(&mut self, at: Instant, asked: usize, missing: usize) -> usize {
        if asked > 0 {
            self.least = self.least.min(asked);
        }
        if at - self.looked >= PERIOD_LOOK && self.least < usize::MAX {
            (self.period, self.least, self.looked) = (self.least, usize::MAX, at);
        }
        if at >= self.settled && missing > 0 {
            if std::mem::take(&mut self.shrunk) {
                self.shrink_after = (self.shrink_after * 2).min(MAX_SHRINK_AFTER);
            }
            (self.more, self.well_since) = ((self.more + 1).min(MAX_READY), at);
        } else if at.saturating_duration_since(self.well_since) >= self.shrink_after {
            (self.shrunk, self.more, self.well_since) = (self.more > 0, self.more.saturating_sub(1), at);
        }
        self.period + self.more * self.chunk
    }
}

/// Why a stream has ended.
enum End {
    Stopped,
    Lost,
    Moved,
    /// It is no device: it runs far too fast.
    NoTime,
}

fn goes_on(running: &mut Running, pace: &Pace, shared: &Shared) -> ControlFlow<End> {
    if shared.stops() {
        return ControlFlow::Break(End::Stopped);
    }
    if pace.is_mad() {
        return ControlFlow::Break(End::NoTime);
    }
    match running.health() {
        Health::Well => ControlFlow::Continue(()),
        Health::Lost => ControlFlow::Break(End::Lost),
        Health::Moved => ControlFlow::Break(End::Moved),
    }
}

/// Whether a device runs at its own rate. Some plugins of ALSA give and take as fast as they are asked.
struct Pace {
    began: Instant,
    rate: u32,
    samples: u64,
}

impl Pace {
    fn new(rate: u32) -> Self {
        Self { began: now(), rate, samples: 0 }
    }

    fn add(&mut self, samples: usize) {
        self.samples += samples as u64;
    }

    fn is_mad(&self) -> bool {
        let seconds = self.samples as f64 / f64::from(self.rate.max(1));
        seconds > PACE_GRACE && seconds > PACE_GRACE + PACE * (now() - self.began).as_secs_f64()
    }
}

/// Tells once that a device has gone, and once that it is back.
struct Tell<'a> {
    shared: &'a Shared,
    what: &'static str,
    name: &'a str,
    lost: bool,
}

impl Tell<'_> {
    fn is(&mut self, well: bool) {
        if std::mem::replace(&mut self.lost, !well) == well {
            let (code, how) = match well {
                true => (Warning::DeviceBack, "is back"),
                false => (Warning::DeviceLost, "does not answer; it is looked for again and again"),
            };
            self.say(code, how);
        }
    }

    fn keeps_no_time(&self) {
        self.say(Warning::NoDevice, "gives and takes sound far too fast to be a device: voice goes on without");
    }

    fn say(&self, code: Warning, how: &str) {
        let message = format!("the {} `{}` {how}", self.what, self.name.escape_debug());
        self.shared.tell(Event::Warning { code, message });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A device of 16 kHz that asks for 5 ms each 5 ms. Gives what is wanted in the end. `missing`: at which calls some is.
    fn run(ready: &mut Ready, at: &mut Instant, calls: usize, missing: &[usize]) -> usize {
        let asks = (0..calls).map(|n| {
            *at += 5 * MS;
            ready.wanted(*at, CHUNK, usize::from(missing.contains(&n)))
        });
        asks.last().unwrap_or_default()
    }

    #[test]
    fn as_much_is_ready_as_has_shown_to_be_necessary() {
        let mut at = now();
        let mut ready = Ready::new(CHUNK, at);
        // The first call takes two periods, and finds nothing.
        ready.wanted(at, 2 * CHUNK, 2 * CHUNK);
        assert_eq!(run(&mut ready, &mut at, 400, &[0, 1]), CHUNK);
        assert_eq!(run(&mut ready, &mut at, 20, &[3]), 2 * CHUNK);
        assert_eq!(run(&mut ready, &mut at, 1200, &[]), CHUNK, "shrinks after a while");
        assert_eq!(run(&mut ready, &mut at, 20, &[3]), 2 * CHUNK);
        assert_eq!(run(&mut ready, &mut at, 1200, &[]), 2 * CHUNK, "not as soon again");
        assert_eq!(run(&mut ready, &mut at, 1200, &[]), CHUNK);
        let always: Vec<usize> = (0..100).collect();
        assert_eq!(run(&mut ready, &mut at, 100, &always), (1 + MAX_READY) * CHUNK);
    }

    #[test]
    fn a_device_with_longer_periods_is_given_them() {
        let mut at = now();
        let mut ready = Ready::new(CHUNK, at);
        for _ in 0..60 {
            at += 20 * MS;
            ready.wanted(at, 4 * CHUNK, 0);
        }
        assert_eq!(ready.wanted(at, 0, 0), 4 * CHUNK);
    }

    #[test]
    fn only_what_keeps_no_time_is_taken_for_no_device() {
        let mut pace = Pace::new(16_000);
        pace.add(32_000);
        assert!(!pace.is_mad(), "a ring that was full");
        pace.add(64_000);
        assert!(pace.is_mad());
    }
}
