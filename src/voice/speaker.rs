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
//!
//! A packet that says that the talker is silent has a slot, too: there the talkspurt ends, and until the next one is due
//! there is comfort noise.

use std::time::Instant;

use super::codec::{self, Decoder};
use super::comfort::Comfort;
use super::conceal::Concealer;
use super::jitter::Jitter;
use super::made::Made;
use super::numbers::{Number, Numbers};
use super::redundancy::Repeats;
use super::stretch::Background;
use super::{CHUNK, Chunk, Codec, FRAME, Figures, Frame, MAX_PAYLOAD, Pace, Packet, Report, stretch};

/// Frames that can wait: 1.28 s.
const SLOTS: i64 = 64;
/// The timeline of a frame, in µs.
const FRAME_MICROS: i64 = 20_000;
/// Microseconds of a chunk.
const CHUNK_MICROS: i64 = 5_000;
/// Delay over the least possible that is left alone: the shortest piece that stretching can cut, and some.
const SLACK: i64 = 2_500;
/// The delay follows the target down at once to so much over it, and from there slowly, so that it does not swing. A bin and a
/// half of it.
const HYSTERESIS: i64 = 3_000;
/// How much that is a frame: all of it in 3 s.
const SINK: i64 = 20;
/// From how much too much delay on frames are left out: 400 ms.
const LEAP: i64 = 400_000;
/// A talker of level 1 that has sent nothing for so long has paused: its timeline begins anew.
const PAUSE_MICROS: u128 = 300_000;
/// A frame so much later than any is as good as a leap in the numbers: 5 s. A guess.
const MAX_LATENESS: i64 = 5_000_000;
/// And so is one so much earlier, since no line gets so much faster: 1 s, less than what can wait. A guess.
const MAX_EARLY: i64 = 1_000_000;
/// Packets of a talker of level 2 beyond one a frame: signs of life, and some.
const MAX_EXTRA: i64 = 10;

/// The fate of a packet.
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

/// A frame that was decoded to be played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Played {
    /// Its place on the talker's timeline.
    pub frame: i64,
    /// When its first copy came.
    pub came: Instant,
    /// Samples that were played before it from that moment on.
    pub ahead: usize,
}

/// One remote voice.
#[derive(Debug)]
pub struct Speaker {
    pace: Pace,
    numbers: Numbers,
    jitter: Jitter,
    repeats: Repeats,
    slots: Box<[Slot]>,
    state: State,
    /// The next frame of the timeline to be played.
    next: i64,
    /// The highest frame that came.
    newest: i64,
    /// All frames before this one have been played, or given up.
    floor: i64,
    last_came: Option<Instant>,
    /// The highest number of a packet, and its frame.
    ahead: Option<(i64, i64)>,
    decoder: Option<(Codec, Box<dyn Decoder>)>,
    concealer: Concealer,
    /// Frames that the decoder has made up.
    made: Made,
    /// Whether the decoder itself has filled the gap so far, and so goes on smoothly.
    decoder_fills: bool,
    /// Decoded and not played yet: a frame and a half at most, and what stretching adds.
    pcm: Vec<i16>,
    /// Samples made up since the last frame that was there, while the timeline waits.
    waited: usize,
    /// A frame that was wanted and not there; if it comes, it is late.
    wanted: Option<i64>,
    played: Option<Played>,
    comfort: Comfort,
    /// Whether the talker says that it is muted: then no noise fills its silence.
    muted: bool,
    background: Background,
    /// The target that the delay follows, in µs.
    held: i64,
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
            repeats: Repeats::default(),
            slots: vec![empty; SLOTS as usize].into(),
            state: State::Silent,
            next: i64::MIN / 2,
            newest: i64::MIN / 2,
            floor: i64::MIN / 2,
            last_came: None,
            ahead: None,
            decoder: None,
            concealer: Concealer::new(),
            made: Made::new(),
            decoder_fills: false,
            pcm: Vec::with_capacity(FRAME * 3),
            waited: 0,
            wanted: None,
            played: None,
            comfort: Comfort::new(),
            muted: false,
            background: Background::default(),
            held: 0,
            figures: Figures { level_db: -100.0, ..Figures::default() },
        }
    }

    /// A packet came.
    ///
    /// Parts of it that make no sense are refused before they can change anything.
    pub fn receive(&mut self, now: Instant, packet: &Packet<'_>) -> Received {
        let payloads = packet.repeats.iter().flatten().map(|it| it.payload).chain([packet.payload]);
        if payloads.filter(|it| !it.is_empty()).any(|it| !codec::is_frame(packet.codec, it)) {
            self.figures.refused += 1;
            return Received::Refused;
        }
        // 32 bits travel. So no place on the timeline is beyond what arithmetic here can bear.
        let on_wire = if self.pace == Pace::Clock { packet.frame } else { packet.counter };
        let Ok(on_wire) = u32::try_from(on_wire) else {
            self.figures.refused += 1;
            return Received::Refused;
        };
        let fits = self.fits(now, packet);
        let number = match self.numbers.take(packet.counter, self.pace, fits) {
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
                // Where only the numbers have leapt, the timeline goes on.
                if !fits || self.pace == Pace::Sequence {
                    self.restart();
                }
                number
            }
        };
        let frame = match self.pace {
            Pace::Sequence => number,
            Pace::Clock => i64::from(on_wire),
        };
        if self.has_paused(now) {
            self.restart();
        }
        if self.ahead.is_none_or(|(highest, _)| number > highest) {
            self.ahead = Some((number, frame));
        }
        self.last_came = Some(now);
        self.figures.received += 1;
        self.repeats.seen(packet, self.numbers.losses());
        self.put_all(now, frame, packet)
    }

    /// Whether a packet's place on the timeline is where it may be: not long before its time, and not very long after it.
    /// A talker of level 2 sends no more than a packet a frame and one in silence, so its numbers can't outrun its clock.
    fn fits(&self, now: Instant, packet: &Packet<'_>) -> bool {
        let number = self.numbers.unwrapped(packet.counter, self.pace);
        let frame = match self.pace {
            Pace::Sequence => number,
            Pace::Clock => i64::try_from(packet.frame).ok(),
        };
        let late = frame.and_then(|frame| self.jitter.lateness(now, place(frame)));
        let in_time = late.is_none_or(|late| (-MAX_EARLY..=MAX_LATENESS).contains(&late));
        let outruns = number.zip(frame).zip(self.ahead).is_some_and(|((number, frame), ahead)| {
            self.pace == Pace::Clock && number.saturating_sub(ahead.0) > (frame - ahead.1).max(0) + MAX_EXTRA
        });
        self.has_paused(now) || (in_time && !outruns)
    }

    /// Whether a talker of level 1 has sent nothing for a while, as it may.
    fn has_paused(&self, now: Instant) -> bool {
        let since = |at: Instant| now.saturating_duration_since(at).as_micros();
        self.pace == Pace::Sequence && self.last_came.is_some_and(|at| since(at) > PAUSE_MICROS)
    }

    /// Puts the frames of a packet into their slots.
    fn put_all(&mut self, now: Instant, frame: i64, packet: &Packet<'_>) -> Received {
        let mut received = Received::Taken;
        for repeat in packet.repeats.iter().flatten() {
            self.put(now, frame - i64::from(repeat.back), packet.codec, repeat.payload, true);
        }
        if packet.payload.is_empty() {
            self.put_silence(now, frame);
        } else {
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
                self.jitter.came(now, place(frame));
            }
            return Received::Late;
        }
        if known {
            return Received::Taken;
        }
        if frame >= self.next + SLOTS {
            self.leap_to(frame - SLOTS / 2);
        }
        let missed = self.wanted.take_if(|wanted| *wanted == frame).is_some();
        if !as_repeat {
            if missed {
                self.jitter.missed();
                self.figures.late += 1;
            }
            self.jitter.came(now, place(frame));
        }
        self.newest = self.newest.max(frame);
        let slot = &mut self.slots[index(frame)];
        (slot.frame, slot.codec, slot.came) = (frame, codec, Some(now));
        slot.payload.clear();
        slot.payload.extend_from_slice(payload.get(..MAX_PAYLOAD.min(payload.len())).unwrap_or_default());
        Received::Taken
    }

    /// From this frame on there is silence: an empty payload in its slot says so.
    fn put_silence(&mut self, now: Instant, frame: i64) {
        if self.state == State::Silent || frame < self.next || frame >= self.next + SLOTS || self.slot(frame).is_some()
        {
            return;
        }
        self.newest = self.newest.max(frame);
        let slot = &mut self.slots[index(frame)];
        (slot.frame, slot.came) = (frame, Some(now));
        slot.payload.clear();
    }

    /// How late frames should be played, in µs: as jitter calls for, and so much later that repeats of lost ones are there.
    fn target(&self) -> i64 {
        self.jitter.target() + self.repeats.wait() * FRAME_MICROS
    }

    /// The talker has begun anew.
    fn restart(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.came = None);
        self.jitter.restart();
        self.ahead = None;
        (self.state, self.wanted) = (State::Silent, None);
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

    /// The talker says that it is muted, or no longer: then the noise of its room ends, too.
    pub fn mute(&mut self, muted: bool) {
        self.muted = muted;
        if muted {
            self.comfort.fade();
        }
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
        if let Some(rest) = out.get_mut(n..).filter(|rest| !rest.is_empty()) {
            self.comfort.fill(rest, self.decoder.as_mut().map(|(_, decoder)| decoder));
        }
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
        if self.jitter.lateness(now, place(self.next)).is_some_and(|late| late < self.target()) {
            return false;
        }
        self.state = State::Playing;
        self.waited = 0;
        true
    }

    fn play_next(&mut self, now: Instant) -> bool {
        let late = self.jitter.lateness(now, place(self.next)).unwrap_or_default();
        let target = self.target();
        self.held = target.max(self.held.min(target + HYSTERESIS) - SINK);
        let target = self.held;
        if let Some(slot) = self.slot(self.next) {
            if slot.payload.is_empty() {
                self.pause();
                return false;
            }
            self.decode_next(now, late - target);
            return true;
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
        if self.decoder_fills {
            self.made.join(&mut frame);
        } else if self.concealer.is_filling() {
            self.concealer.join(&mut frame);
        }
        self.comfort.join(&mut frame);
        self.end_gap();
        let before = self.pcm.len();
        self.concealer.played(&frame);
        self.background.heard(&frame);
        if let Some(came) = came {
            let delay = now.saturating_duration_since(came).as_secs_f64() * 1000.0 + before as f64 / 16.0;
            self.played = Some(Played { frame: self.next - 1, came, ahead: before });
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
        let excess = micros_of(before) + over.div_euclid(CHUNK_MICROS).max(0) * CHUNK_MICROS;
        let samples = |micros: i64| usize::try_from(micros * 16 / 1000).unwrap_or_default();
        let alike = |micros: i64| if self.background.is_all() { stretch::ANYTHING } else { stretch::alike(micros) };
        if excess >= LEAP {
            let leap = (excess - LEAP / 4) / FRAME_MICROS;
            self.leap_to((self.next + leap).min(self.newest));
        } else if excess > SLACK {
            stretch::shorten(&mut self.pcm, samples(excess), alike(excess));
        } else if over < 0 {
            // Too early. What is added may be more than is missing: a piece is as long as it is.
            stretch::lengthen(&mut self.pcm, *stretch::PIECES.end(), alike(-over));
        }
    }

    /// Fills a gap: by the codec if it can, and if it has from the gap's start on.
    fn conceal(&mut self, samples: usize) {
        let start = self.pcm.len();
        self.pcm.resize(start + samples, 0);
        let Some(gap) = self.pcm.get_mut(start..) else { return };
        let decoder = self.decoder.as_mut().map(|(_, decoder)| decoder);
        let begun = self.decoder_fills || !self.concealer.is_filling();
        self.decoder_fills = begun && !self.concealer.is_silent() && self.made.fill(gap, decoder);
        if self.decoder_fills {
            self.concealer.fade_made(gap);
        } else {
            self.concealer.fill(gap);
        }
        self.concealer.played(gap);
    }

    fn end_gap(&mut self) {
        self.concealer.end();
        self.made.clear();
        self.decoder_fills = false;
    }

    /// The talkspurt is over.
    fn pause(&mut self) {
        self.become_silent();
        let noise = self.comfort.begin(self.decoder.as_mut().map(|(_, decoder)| decoder));
        if noise && self.muted {
            self.comfort.fade();
        }
        if !noise {
            // The last samples seldom end in silence.
            let n = self.pcm.len();
            let over = n.min(CHUNK);
            for (k, sample) in self.pcm.iter_mut().skip(n - over).enumerate() {
                *sample = stretch::fade(f32::from(*sample), 0.0, k, over);
            }
        }
    }

    /// Nothing is to be played, until something comes that is.
    fn become_silent(&mut self) {
        self.end_gap();
        self.comfort.end();
        self.concealer.played(&[0; FRAME]);
        (self.state, self.floor) = (State::Silent, self.next);
        let mut later = self.next..=self.newest.min(self.next + SLOTS);
        if let Some(next) = later.find(|frame| self.slot(*frame).is_some_and(|slot| !slot.payload.is_empty())) {
            (self.state, self.next) = (State::Waiting, next);
        }
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

    /// The frame that was last decoded.
    pub const fn last_played(&self) -> Option<Played> {
        self.played
    }

    /// Bytes that packets and PCM take at most until they are played.
    #[cfg(test)]
    pub fn memory(&self) -> usize {
        self.slots.iter().map(|slot| slot.payload.capacity()).sum::<usize>() + self.pcm.capacity() * 2
    }

    /// A report to the talker about the line since the last call; `None`: nothing was expected.
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
