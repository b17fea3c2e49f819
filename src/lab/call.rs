//! One talker and one listener over a virtual line, moment by moment: pure.
//!
//! Both are made of the node's own pieces, and used as the node uses them: each 20 ms of the microphone goes to the
//! [`Talker`], which encodes and repeats as the [`Chooser`] says; the datagrams are written and read as on the wire; the
//! [`Speaker`] is asked for 5 ms at a time, through the [`Mixer`]; and what it reports once a second travels back over a
//! line that is as bad. A talker of level 1 sends every frame as PCM, and repeats nothing.
//!
//! Time is the talker's. The listener's clock may run faster or slower, and so may its sound card's.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::line::{Line, Settings};
use crate::voice::codec::CodecError;
use crate::voice::mixer::Mixer;
use crate::voice::redundancy::{Chooser, Redundancy};
use crate::voice::speaker::Speaker;
use crate::voice::talker::Talker;
use crate::voice::{CHUNK, CHUNK_TIME, Codec, FRAME, FRAME_TIME, Figures, Frame, MAX_REPEATS, Pace, Packet, compare};
use crate::wire::datagram::inside::{read_voice, write_report, write_voice};
use crate::wire::datagram::sealed::{self, Key};
use crate::wire::datagram::{Datagram, Inside, Original, Sealer, cut};
use crate::wire::limits::VOICE_SIGN_OF_LIFE;

/// The settings of a call.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The line, in both directions.
    pub line: Settings,
    /// [`Codec::Pcm`]: the talker is an original.
    pub codec: Codec,
    /// The frames that are repeated; `None`: as the listener's reports ask.
    pub repeats: Option<Redundancy>,
    /// By how many millionths the listener's sound card asks faster than its own clock runs.
    pub card_ppm: f64,
    /// How much of the call goes before what is kept.
    pub warmup: Duration,
    /// Of all chance.
    pub seed: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            line: Settings::default(),
            codec: Codec::Opus,
            repeats: None,
            card_ppm: 0.0,
            warmup: Duration::from_secs(5),
            seed: 1,
        }
    }
}

/// The sound that was heard, from the end of the warm-up on.
#[derive(Debug, Clone)]
pub struct Heard {
    /// As long as what was said, and laid over it.
    pub samples: Vec<i16>,
    /// How much later it was heard than said, in ms; this much has been taken out of [`samples`](Self::samples).
    pub behind_ms: f64,
    /// Whether the speech itself told that, by what was found of it. If not, it is what line and buffer took.
    pub found: bool,
    /// Datagrams sent, and the bytes in them.
    pub packets: u64,
    /// See [`packets`](Self::packets).
    pub bytes: u64,
    /// The listener's counts.
    pub figures: Figures,
    /// Each frame that was heard.
    pub frames: Vec<HeardFrame>,
    /// The repeats, and from when on each was used, in seconds.
    pub repeated: Vec<(f64, Redundancy)>,
}

/// When a frame was heard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeardFrame {
    /// Which one, counted from the first that was said.
    pub frame: u64,
    /// From its first arrival to its playing, in ms: what the jitter buffer adds.
    pub waited_ms: f64,
    /// From its capture to its playing, less what the line takes at least, in ms.
    pub late_ms: f64,
}

/// Has something said and heard. `start`: any moment. `progress` is told now and then how much is done, 0 to 1.
///
/// # Errors
/// If the codec can't be made.
pub fn talk(said: &[i16], setup: &Setup, start: Instant, mut progress: impl FnMut(f64)) -> Result<Heard, CodecError> {
    let mut call = Call::new(said, setup, start)?;
    while call.next < call.frames {
        if call.next.is_multiple_of(PROGRESS_FRAMES) {
            progress(call.next as f64 / call.frames as f64);
        }
        call.frame();
    }
    let heard = call.finish();
    progress(1.0);
    Ok(heard)
}

/// How often progress is told: each 10 s of the call.
const PROGRESS_FRAMES: u64 = 500;
/// How long the call goes on after the last frame, beyond what the line takes: 2 s, more than any jitter buffer holds.
const AFTER: Duration = Duration::from_secs(2);
/// How much the place of what was heard is looked for in: 60 s.
const MAX_COMPARED: usize = 960_000;
/// How often a node looks whether a sign of life is due, and reports.
const TICK_FRAMES: u64 = 5;
const REPORT_FRAMES: u64 = 50;
/// Samples of a millisecond.
const SAMPLES_A_MS: f64 = 16.0;
/// By how much Opus delays at this rate, in ms, measured: 5 ms that the encoder looks ahead, and its filters.
const OPUS_MS: f64 = 6.5;
/// Spreads seeds over when playback asks: 2^64 over the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
/// The keys of the two: any.
const TALKER: [u8; sealed::KEY] = [7; sealed::KEY];
const LISTENER: [u8; sealed::KEY] = [8; sealed::KEY];
/// The first sequence number of level 1: any.
const FIRST_SEQUENCE: u64 = 1000;

/// An arrival, the earliest first: its time, its number in the order of sending, its destination, and its bytes.
type Arrival = Reverse<(Duration, u64, To, Vec<u8>)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum To {
    Listener,
    Talker,
}

struct Call<'a> {
    said: &'a [i16],
    setup: &'a Setup,
    start: Instant,
    talker: Talker,
    /// Seal what the talker sends, and the listener.
    sealer: Sealer,
    listener: Sealer,
    keys: (Key, Key),
    chooser: Chooser,
    speaker: Speaker,
    mixer: Mixer,
    there: Line,
    back: Line,
    arrivals: BinaryHeap<Arrival>,
    /// Datagrams that have arrived or will, both ways: their order.
    order: u64,
    /// The next frame to be captured, and how many there are, with those of the warm-up and those after.
    next: u64,
    frames: u64,
    warmup: u64,
    /// When the talker last sent anything.
    sent: Duration,
    /// The number of the first frame on the wire.
    first: Option<u64>,
    /// Chunks that playback has asked for.
    chunks: u64,
    /// When it asked for the first.
    phase: Duration,
    /// Everything that was played.
    out: Vec<i16>,
    /// Where in that the warm-up ended, and how much later its next sample was played.
    kept: (usize, Duration),
    played: Option<i64>,
    before: Figures,
    heard: Heard,
}

impl<'a> Call<'a> {
    fn new(said: &'a [i16], setup: &'a Setup, start: Instant) -> Result<Self, CodecError> {
        let warmup = setup.warmup.as_micros() as u64 / FRAME_TIME.as_micros() as u64;
        let after = (AFTER + setup.line.delay).as_micros() as u64 / FRAME_TIME.as_micros() as u64;
        let pace = if setup.codec == Codec::Pcm { Pace::Sequence } else { Pace::Clock };
        let mut call = Self {
            said,
            setup,
            start,
            talker: Talker::new()?,
            sealer: Sealer::new("talker", "room", &TALKER),
            listener: Sealer::new("listener", "room", &LISTENER),
            keys: (Key::new(&TALKER), Key::new(&LISTENER)),
            chooser: Chooser::new(),
            speaker: Speaker::new(pace),
            mixer: Mixer::new(),
            there: Line::new(setup.line, setup.seed),
            // Another seed, so that reports are not lost together with what they report on.
            back: Line::new(setup.line, !setup.seed),
            arrivals: BinaryHeap::new(),
            order: 0,
            next: 0,
            frames: warmup + said.len().div_ceil(FRAME) as u64 + after,
            warmup,
            sent: Duration::ZERO,
            first: None,
            chunks: 0,
            phase: CHUNK_TIME.mul_f64((setup.seed.wrapping_mul(GOLDEN) >> 32) as f64 / f64::from(u32::MAX)),
            out: Vec::new(),
            kept: (0, Duration::ZERO),
            played: None,
            before: Figures::default(),
            heard: Heard::nothing(),
        };
        if warmup == 0 {
            call.begin_keeping(Duration::ZERO);
        }
        Ok(call)
    }

    /// One frame of the microphone, and all that happens until it is there.
    fn frame(&mut self) {
        let frame = self.captured(self.next);
        self.next += 1;
        let now = FRAME_TIME.mul_f64(self.next as f64);
        self.happen_until(now);
        match self.setup.codec {
            Codec::Opus => self.say(now, &frame),
            Codec::Pcm => self.say_as_an_original(now, &frame),
        }
        if self.next.is_multiple_of(REPORT_FRAMES) {
            self.report(now);
        }
        if self.next == self.warmup {
            self.begin_keeping(now);
        }
    }

    /// The microphone's next frame: before the first frame that counts, the recording runs in a circle; after the last
    /// there is silence.
    fn captured(&self, n: u64) -> Frame {
        let at = (n as i64 - self.warmup as i64) * FRAME as i64;
        let mut frame = [0; FRAME];
        for (sample, at) in frame.iter_mut().zip(at..) {
            let at = if at < 0 { at.rem_euclid(self.said.len().max(1) as i64) } else { at };
            *sample = usize::try_from(at).ok().and_then(|at| self.said.get(at)).copied().unwrap_or_default();
        }
        frame
    }

    fn say(&mut self, now: Duration, frame: &Frame) {
        let repeats = self.setup.repeats.unwrap_or_else(|| self.chooser.choice());
        if self.heard.repeated.last().is_none_or(|(_, last)| *last != repeats) {
            self.heard.repeated.push((now.as_secs_f64() - self.setup.warmup.as_secs_f64(), repeats));
        }
        let turn = self.talker.take(Some(frame), true);
        let looked = self.next.is_multiple_of(TICK_FRAMES);
        let packet = if !turn.due && looked && now.saturating_sub(self.sent) >= VOICE_SIGN_OF_LIFE {
            Some(self.talker.sign_of_life())
        } else {
            self.talker.packet(repeats)
        };
        let Some(packet) = packet else { return };
        // The first packet may come well after the first frame.
        self.first.get_or_insert(packet.frame + 1 - self.next);
        let mut bytes = Vec::new();
        self.sealer.seal(|inside| write_voice(&packet, turn.speaking, inside), &mut bytes);
        self.send(now, bytes);
    }

    fn say_as_an_original(&mut self, now: Duration, frame: &Frame) {
        self.first.get_or_insert(FIRST_SEQUENCE);
        let mut bytes = Vec::new();
        let sequence = (FIRST_SEQUENCE + self.next - 1) as u32;
        Original::write((&cut("room"), &cut("talker")), sequence, frame, None, &mut bytes);
        self.send(now, bytes);
    }

    fn send(&mut self, now: Duration, bytes: Vec<u8>) {
        self.sent = now;
        self.heard.packets += 1;
        self.heard.bytes += bytes.len() as u64;
        for arrival in self.there.send(now).into_iter().flatten() {
            self.order += 1;
            self.arrivals.push(Reverse((arrival, self.order, To::Listener, bytes.clone())));
        }
    }

    fn report(&mut self, now: Duration) {
        let Some(report) = self.speaker.report() else { return };
        let mut bytes = Vec::new();
        self.listener.seal(|inside| write_report(self.sealer.session(), report, inside), &mut bytes);
        for arrival in self.back.send(now).into_iter().flatten() {
            self.order += 1;
            self.arrivals.push(Reverse((arrival, self.order, To::Talker, bytes.clone())));
        }
    }

    /// Arrivals and playback, in their order, up to a moment.
    fn happen_until(&mut self, to: Duration) {
        loop {
            let asked = self.asked_at();
            let arrives = self.arrivals.peek().map(|Reverse((at, ..))| *at).filter(|at| *at <= asked);
            if arrives.unwrap_or(asked) > to {
                return;
            }
            match arrives {
                Some(at) => self.arrive(at),
                None => self.play(asked),
            }
        }
    }

    /// When playback asks for its next chunk.
    fn asked_at(&self) -> Duration {
        let chunk = CHUNK_TIME.div_f64(1.0 + self.setup.card_ppm / 1e6).mul_f64(self.chunks as f64);
        self.phase + self.setup.line.receivers(chunk)
    }

    /// The listener's clock at a moment.
    fn listeners(&self, at: Duration) -> Instant {
        self.start + at.mul_f64(1.0 + self.setup.line.drift_ppm / 1e6)
    }

    fn arrive(&mut self, at: Duration) {
        let Some(Reverse((_, _, to, bytes))) = self.arrivals.pop() else { return };
        let now = self.listeners(at);
        match (to, Datagram::parse(&bytes)) {
            (To::Listener, Ok(Datagram::Sealed(sealed))) => {
                let inside = sealed.open(&self.keys.0);
                if let Some(Ok(Inside::Voice(voice))) = inside.as_deref().map(Inside::parse)
                    && let Ok(packet) = read_voice(voice)
                {
                    self.speaker.receive(now, &packet);
                }
            }
            (To::Listener, Ok(Datagram::Original(voice))) => {
                let (number, pcm) = (u64::from(voice.sequence), voice.open(std::iter::empty()));
                let payload = pcm.as_deref().unwrap_or_default();
                let repeats = [None; MAX_REPEATS];
                let packet = Packet { counter: number, frame: number, codec: Codec::Pcm, payload, repeats };
                self.speaker.receive(now, &packet);
            }
            (To::Talker, Ok(Datagram::Sealed(sealed))) => {
                let inside = sealed.open(&self.keys.1);
                if let Some(Ok(Inside::Report { report, .. })) = inside.as_deref().map(Inside::parse) {
                    self.chooser.reported(report);
                }
            }
            _ => {}
        }
    }

    fn play(&mut self, at: Duration) {
        let now = self.listeners(at);
        self.chunks += 1;
        let mut chunk = [0; CHUNK];
        if self.speaker.play(now, &mut chunk) {
            self.mixer.add(&chunk, 1.0);
        }
        self.mixer.finish(&mut chunk);
        self.out.extend_from_slice(&chunk);
        let Some(played) = self.speaker.last_played().filter(|it| Some(it.frame) != self.played) else { return };
        self.played = Some(played.frame);
        let frame =
            u64::try_from(played.frame).ok().zip(self.first).and_then(|(frame, first)| frame.checked_sub(first));
        let Some(frame) = frame.and_then(|frame| frame.checked_sub(self.warmup)) else { return };
        let ahead = played.ahead as f64 / SAMPLES_A_MS;
        let captured = FRAME_TIME.mul_f64((frame + self.warmup + 1) as f64) + self.setup.line.delay;
        self.heard.frames.push(HeardFrame {
            frame,
            waited_ms: now.saturating_duration_since(played.came).as_secs_f64() * 1000.0 + ahead,
            late_ms: (at.as_secs_f64() - captured.as_secs_f64()) * 1000.0 + ahead,
        });
    }

    /// The warm-up is over: what is counted is counted from now on.
    fn begin_keeping(&mut self, now: Duration) {
        self.kept = (self.out.len(), self.asked_at().saturating_sub(now));
        self.before = self.speaker.figures();
        let repeated = self.heard.repeated.last().map(|(_, last)| (0.0, *last)).into_iter().collect();
        self.heard = Heard { repeated, ..Heard::nothing() };
    }

    /// Lays what was heard over what was said.
    fn finish(mut self) -> Heard {
        self.happen_until(FRAME_TIME.mul_f64(self.next as f64));
        let mut heard = std::mem::replace(&mut self.heard, Heard::nothing());
        heard.figures = since(self.speaker.figures(), self.before);
        let raw = self.out.get(self.kept.0..).unwrap_or_default();
        let said = self.said.get(..MAX_COMPARED).unwrap_or(self.said);
        let later = raw.get(..MAX_COMPARED + MAX_COMPARED / 4).unwrap_or(raw);
        let found = compare::compare(said, later).filter(compare::Comparison::is_same);
        heard.found = found.is_some();
        let shift = self.kept.1.as_secs_f64() * 1000.0;
        let behind = found.map_or_else(|| heard.mean_late_ms() + self.least_ms() - shift, |it| it.delay_ms());
        let samples = (behind * SAMPLES_A_MS).max(0.0) as usize;
        heard.behind_ms = behind + shift;
        heard.samples = raw.iter().skip(samples).copied().chain(std::iter::repeat(0)).take(self.said.len()).collect();
        heard
    }

    /// The delay between saying and hearing in any case: the frame itself, the line, and the codec's look-ahead.
    fn least_ms(&self) -> f64 {
        let codec = if self.setup.codec == Codec::Opus { OPUS_MS } else { 0.0 };
        (FRAME_TIME + self.setup.line.delay).as_secs_f64() * 1000.0 + codec
    }
}

impl Heard {
    fn nothing() -> Self {
        Self {
            samples: Vec::new(),
            behind_ms: 0.0,
            found: false,
            packets: 0,
            bytes: 0,
            figures: Figures::default(),
            frames: Vec::new(),
            repeated: Vec::new(),
        }
    }

    /// Thousands of bits a second, of what the datagrams hold.
    pub fn kbit_s(&self) -> f64 {
        self.bytes as f64 * 8.0 / 1000.0 / (self.samples.len().max(1) as f64 / (1000.0 * SAMPLES_A_MS))
    }

    fn mean_late_ms(&self) -> f64 {
        self.frames.iter().map(|it| it.late_ms).sum::<f64>() / self.frames.len().max(1) as f64
    }
}

/// A quantile, 0 to 1, of sorted values; 0 if there are none.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}

/// Figures since others were taken; those that are no counts as they are.
fn since(now: Figures, before: Figures) -> Figures {
    Figures {
        received: now.received - before.received,
        lost: now.lost - before.lost,
        late: now.late - before.late,
        duplicates: now.duplicates - before.duplicates,
        refused: now.refused - before.refused,
        concealed: now.concealed - before.concealed,
        ..now
    }
}
