//! One remote voice as it is heard.
//!
//! ```text
//! packets ─▶ numbers (leaps, losses) ─▶ slots, one a frame ─▶ decoder or concealment ─▶ stretching ─▶ PCM ─▶ playback
//!                    └▶ jitter: how late frames should be played ────────────────────────┘
//! ```
//!
//! Playback asks for 5 ms at a time. When too little PCM is left, the next frame of the timeline is decoded. If it is not
//! there, the gap is filled: if later frames are, and it is late enough, it counts as lost and the timeline goes on; else the
//! timeline waits, since the line may only have stalled. So the delay grows by itself; and it is brought back to the
//! target by stretching, a piece of a frame at a time, or at once in silence.

use std::time::Instant;

use super::codec::{self, Decoder};
use super::conceal::Concealer;
use super::jitter::Jitter;
use super::numbers::{Number, Numbers};
use super::{CHUNK, Chunk, Codec, FRAME, Figures, Frame, MAX_PAYLOAD, Pace, Packet, Report, stretch};

/// Frames that can wait: 1.28 s.
const SLOTS: i64 = 64;
/// The timeline of a frame, in µs.
const FRAME_MICROS: i64 = 20_000;
/// Microseconds of a chunk.
const CHUNK_MICROS: i64 = 5_000;
/// Delay over the least possible that is left alone: the shortest piece that stretching can cut, and some.
const SLACK: i64 = 2_500;
/// How far the target may move before the delay follows it down, so that it does not swing. A bin and a half of it.
const HYSTERESIS: i64 = 3_000;
/// From how much too much delay on a worse likeness is good enough: 40 ms.
const HURRY: i64 = 40_000;
/// From how much too much delay on frames are left out: 400 ms.
const LEAP: i64 = 400_000;
/// A talker of level 1 of whom nothing came for so long has paused: its timeline begins anew.
const PAUSE_MICROS: u128 = 300_000;
/// A frame so far from where the talker's clock should be is as good as a leap in its numbers: 5 s.
const MAX_LATENESS: i64 = 5_000_000;

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It is in the buffer, or told that the talker is silent.
    Taken,
    /// It came too late; something of it may still have been of use.
    Late,
    /// It was there already.
    Duplicate,
    /// It makes no sense; if it is a leap in the numbers, the next in order confirms it.
    Refused,
}

/// One remote voice.
#[derive(Debug)]
pub struct Speaker {
    pace: Pace,
    numbers: Numbers,
    jitter: Jitter,
    slots: Box<[Slot]>,
    state: State,
    /// The next frame of the timeline to be played.
    next: i64,
    /// The highest frame that came.
    newest: i64,
    /// What is before this frame has been played, or given up.
    floor: i64,
    /// The talker is silent from this frame on.
    silent_from: Option<i64>,
    last_came: Option<Instant>,
    decoder: Option<(Codec, Box<dyn Decoder>)>,
    concealer: Concealer,
    /// Whether the decoder itself has filled the gap so far, and so goes on smoothly.
    decoder_fills: bool,
    /// Decoded and not played yet: a frame and a half at most, and what stretching adds.
    pcm: Vec<i16>,
    /// Samples made up since the last frame that was there, while the timeline waits.
    waited: usize,
    /// A frame that was wanted and not there; if it comes, it is late.
    wanted: Option<i64>,
    figures: Figures,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing to play.
    Silent,
    /// Frames are there, and wait for their time.
    Waiting,
    /// The timeline runs.
    Playing,
}

/// A frame that waits.
#[derive(Debug, Clone)]
struct Slot {
    frame: i64,
    codec: Codec,
    /// When the first copy came; `None`: empty.
    came: Option<Instant>,
    payload: Vec<u8>,
}

impl Speaker {
    /// One that has heard nothing.
    pub fn new(pace: Pace) -> Self {
        let empty = Slot { frame: 0, codec: Codec::Pcm, came: None, payload: Vec::new() };
        Self {
            pace,
            numbers: Numbers::default(),
            jitter: Jitter::new(),
            slots: vec![empty; SLOTS as usize].into(),
            state: State::Silent,
            next: i64::MIN / 2,
            newest: i64::MIN / 2,
            floor: i64::MIN / 2,
            silent_from: None,
            last_came: None,
            decoder: None,
            concealer: Concealer::new(),
            decoder_fills: false,
            pcm: Vec::with_capacity(FRAME * 3),
            waited: 0,
            wanted: None,
            figures: Figures { level_db: -100.0, ..Figures::default() },
        }
    }

    /// A packet came.
    pub fn receive(&mut self, now: Instant, packet: &Packet<'_>) -> Received {
        let payloads = packet.repeats.iter().flatten().map(|it| it.payload).chain([packet.payload]);
        if payloads.filter(|it| !it.is_empty()).any(|it| !codec::is_frame(packet.codec, it)) {
            self.figures.refused += 1;
            return Received::Refused;
        }
        let number = match self.numbers.take(packet.counter, self.pace) {
            Number::Again => {
                self.figures.duplicates += 1;
                return Received::Duplicate;
            }
            Number::Leap => {
                self.figures.refused += 1;
                return Received::Refused;
            }
            Number::New(number) => number,
            Number::Restart(number) => {
                self.restart();
                number
            }
        };
        let frame = match self.pace {
            Pace::Sequence => number,
            Pace::Clock => i64::try_from(packet.frame).unwrap_or_default(),
        };
        let paused = self.last_came.is_some_and(|at| now.saturating_duration_since(at).as_micros() > PAUSE_MICROS);
        let far = self.jitter.lateness(now, place(frame)).is_some_and(|late| late.abs() > MAX_LATENESS);
        if (self.pace == Pace::Sequence && paused) || far {
            self.restart();
        }
        self.last_came = Some(now);
        self.figures.received += 1;
        self.put_all(now, frame, packet)
    }

    /// Puts the frames of a packet into their slots.
    fn put_all(&mut self, now: Instant, frame: i64, packet: &Packet<'_>) -> Received {
        let mut received = Received::Taken;
        for repeat in packet.repeats.iter().flatten() {
            self.put(now, frame - i64::from(repeat.back), packet.codec, repeat.payload, true);
        }
        if packet.payload.is_empty() {
            // Only what is newer than anything heard tells of silence now.
            if frame > self.newest || self.state == State::Silent {
                self.silent_from = Some(frame);
            }
        } else {
            if self.silent_from.is_some_and(|silent| frame >= silent) {
                self.silent_from = None;
            }
            received = self.put(now, frame, packet.codec, packet.payload, false);
        }
        received
    }

    fn put(&mut self, now: Instant, frame: i64, codec: Codec, payload: &[u8], as_repeat: bool) -> Received {
        if self.state == State::Silent {
            // What is left of a talkspurt that is over begins no new one.
            if frame < self.next || as_repeat {
                return Received::Late;
            }
            (self.state, self.next) = (State::Waiting, frame);
        } else if self.state == State::Waiting
            && (self.floor..self.next).contains(&frame)
            && frame + SLOTS / 2 > self.next
        {
            self.next = frame;
        }
        let known = self.slot(frame).is_some();
        if frame < self.next {
            // Late is what nobody has heard yet.
            if !as_repeat {
                self.figures.late += 1;
                self.jitter.came(now, place(frame), false);
            }
            return Received::Late;
        }
        if known {
            return Received::Taken;
        }
        if frame >= self.next + SLOTS {
            self.leap_to(frame - SLOTS / 2);
        }
        if self.wanted.take_if(|wanted| *wanted == frame).is_some() {
            self.jitter.missed();
            self.figures.late += u64::from(!as_repeat);
        }
        self.newest = self.newest.max(frame);
        self.jitter.came(now, place(frame), as_repeat);
        let slot = &mut self.slots[index(frame)];
        (slot.frame, slot.codec, slot.came) = (frame, codec, Some(now));
        slot.payload.clear();
        slot.payload.extend_from_slice(payload.get(..MAX_PAYLOAD.min(payload.len())).unwrap_or_default());
        Received::Taken
    }

    /// The talker has begun anew.
    fn restart(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.came = None);
        self.jitter.restart();
        (self.state, self.silent_from, self.wanted) = (State::Silent, None, None);
        (self.next, self.newest, self.floor) = (i64::MIN / 2, i64::MIN / 2, i64::MIN / 2);
    }

    /// Leaves out frames.
    fn leap_to(&mut self, frame: i64) {
        while self.next < frame {
            if let Some(slot) = self.slots.get_mut(index(self.next)).filter(|slot| slot.frame == self.next) {
                slot.came = None;
            }
            self.next = (self.next + 1).max(frame - SLOTS);
        }
    }

    fn slot(&self, frame: i64) -> Option<&Slot> {
        self.slots.get(index(frame)).filter(|slot| slot.frame == frame && slot.came.is_some())
    }

    /// The next 5 ms. Gives whether there is anything but silence in it; if not, `out` is zeros.
    pub fn play(&mut self, now: Instant, out: &mut Chunk) -> bool {
        // Each step adds PCM or is the last; there is nothing to wait for in between.
        for _ in 0..SLOTS {
            if self.pcm.len() >= CHUNK || !self.step(now) {
                break;
            }
        }
        let n = self.pcm.len().min(CHUNK);
        out.fill(0);
        out.iter_mut().zip(self.pcm.drain(..n)).for_each(|(to, sample)| *to = sample);
        let peak = out.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or_default();
        self.measure_level(out, peak);
        peak > 0
    }

    /// Adds to the PCM. False if there is nothing to add.
    fn step(&mut self, now: Instant) -> bool {
        match self.state {
            State::Silent => false,
            State::Waiting => self.wait(now),
            State::Playing => self.play_next(now),
        }
    }

    /// Frames are there: the timeline begins to run when their time has come.
    fn wait(&mut self, now: Instant) -> bool {
        if self.jitter.lateness(now, place(self.next)).is_some_and(|late| late < self.jitter.target()) {
            return false;
        }
        self.state = State::Playing;
        self.waited = 0;
        true
    }

    fn play_next(&mut self, now: Instant) -> bool {
        let late = self.jitter.lateness(now, place(self.next)).unwrap_or_default();
        let target = self.jitter.target();
        if self.slot(self.next).is_some() {
            self.decode_next(now, late - target);
            return true;
        }
        if self.silent_from.is_some_and(|silent| self.next >= silent) && self.newest < self.next {
            self.fade_out();
            return !self.pcm.is_empty();
        }
        if self.newest > self.next {
            // It is a gap. What has been made up while the timeline waited stands for it.
            if self.waited > 0 && late - target >= FRAME_MICROS * 3 / 4 {
                self.waited = self.waited.saturating_sub(FRAME);
                self.next += 1;
                return true;
            }
            if late >= target {
                self.conceal(FRAME);
                self.figures.concealed += 1;
                self.next += 1;
                return true;
            }
        }
        if self.concealer.is_silent() {
            // Whatever comes now begins like a talkspurt.
            self.become_silent();
            while self.slot(self.next).is_none() && self.next < self.newest {
                self.next += 1;
            }
            if self.slot(self.next).is_some() {
                self.state = State::Waiting;
            }
            return false;
        }
        // Late or lost: that shows later.
        self.wanted = Some(self.next);
        self.figures.concealed += u64::from(self.waited.is_multiple_of(FRAME));
        self.conceal(CHUNK);
        self.waited += CHUNK;
        true
    }

    /// Decodes the next frame, and stretches it if it is played too late or too early. `over`: by how much, in µs.
    fn decode_next(&mut self, now: Instant, over: i64) {
        let at = index(self.next);
        let mut frame: Frame = [0; FRAME];
        let Some(slot) = self.slots.get_mut(at) else { return };
        let (codec, came) = (slot.codec, slot.came.take());
        let decoder = match &mut self.decoder {
            Some((known, decoder)) if *known == codec => Some(decoder),
            decoder => {
                *decoder = codec::decoder(codec).ok().map(|it| (codec, it));
                decoder.as_mut().map(|(_, decoder)| decoder)
            }
        };
        let decoded = decoder.is_some_and(|decoder| decoder.decode(&slot.payload, &mut frame).is_ok());
        self.next += 1;
        self.waited = 0;
        self.wanted = None;
        if !decoded {
            self.figures.refused += 1;
            self.figures.concealed += 1;
            return self.conceal(FRAME);
        }
        if self.concealer.is_filling() && !self.decoder_fills {
            self.concealer.join(&mut frame);
        }
        self.concealer.end();
        self.decoder_fills = false;
        let before = self.pcm.len();
        self.concealer.played(&frame);
        if let Some(came) = came {
            let delay = now.saturating_duration_since(came).as_secs_f64() * 1000.0 + before as f64 / 16.0;
            let first = self.figures.delay_ms == 0.0;
            self.figures.delay_ms += (delay - self.figures.delay_ms) * if first { 1.0 } else { 0.05 };
        }
        self.pcm.extend_from_slice(&frame);
        self.stretch(before, over);
    }

    /// Brings the delay towards the least that the target allows.
    ///
    /// Frames are looked for only when playback asks, each 5 ms: so the target is for that moment, and the least delay is that
    /// of the earliest such moment that is late enough. `before`: samples that were there already.
    fn stretch(&mut self, before: usize, over: i64) {
        let steps = (over - HYSTERESIS).div_euclid(CHUNK_MICROS).max(0);
        let excess = micros_of(before) + steps * CHUNK_MICROS;
        let samples = |micros: i64| usize::try_from(micros * 16 / 1000).unwrap_or_default();
        if excess >= LEAP {
            let leap = (excess - LEAP / 4) / FRAME_MICROS;
            self.leap_to((self.next + leap).min(self.newest));
        } else if excess > SLACK {
            stretch::shorten(&mut self.pcm, samples(excess), excess > HURRY);
        } else if over < 0 {
            // Too early. What is added may be more than is missing: a piece is as long as it is.
            stretch::lengthen(&mut self.pcm, *stretch::PIECES.end(), over < -CHUNK_MICROS);
        }
    }

    /// Fills a gap.
    fn conceal(&mut self, samples: usize) {
        let start = self.pcm.len();
        self.pcm.resize(start + samples, 0);
        // The codec makes up whole frames.
        let mut made = [0; FRAME];
        let by_codec = samples == FRAME
            && (self.decoder_fills || !self.concealer.is_filling())
            && !self.concealer.is_silent()
            && self.decoder.as_mut().is_some_and(|(_, decoder)| decoder.conceal(&mut made));
        self.decoder_fills = by_codec;
        let Some(gap) = self.pcm.get_mut(start..) else { return };
        if by_codec {
            gap.copy_from_slice(&made);
            self.concealer.fade_made(gap);
        } else {
            self.concealer.fill(gap);
        }
        self.concealer.played(gap);
    }

    /// The talkspurt is over.
    fn fade_out(&mut self) {
        self.become_silent();
        // The codec's last samples seldom end in silence.
        let n = self.pcm.len();
        let over = n.min(CHUNK);
        for (k, sample) in self.pcm.iter_mut().skip(n - over).enumerate() {
            *sample = stretch::fade(f32::from(*sample), 0.0, k, over);
        }
    }

    fn become_silent(&mut self) {
        self.concealer.end();
        self.concealer.played(&[0; FRAME]);
        self.decoder_fills = false;
        (self.state, self.floor) = (State::Silent, self.next);
    }

    fn measure_level(&mut self, out: &Chunk, peak: u16) {
        let level = match peak {
            0 => -100.0,
            _ => {
                let power: f32 = out.iter().map(|sample| (f32::from(*sample) / 32768.0).powi(2)).sum();
                f64::from(10.0 * (power / CHUNK as f32 + 1e-10).log10())
            }
        };
        // As a meter does: up at once, down slowly.
        self.figures.level_db = level.max(self.figures.level_db - 0.5).max(-100.0);
    }

    /// How it came in so far.
    pub fn figures(&self) -> Figures {
        Figures { lost: self.numbers.lost(), jitter_ms: self.jitter.jitter_ms(), ..self.figures }
    }

    /// What to tell the talker about the line since the last call; `None`: nothing was expected.
    pub fn report(&mut self) -> Option<Report> {
        self.numbers.report()
    }
}

/// A frame's place on the timeline, in µs.
const fn place(frame: i64) -> i64 {
    frame.saturating_mul(FRAME_MICROS)
}

const fn micros_of(samples: usize) -> i64 {
    samples as i64 * 1000 / 16
}

const fn index(frame: i64) -> usize {
    frame.rem_euclid(SLOTS) as usize
}
