//! Voice from outside: what a node is given to say, and what it was heard to say.

use std::f64::consts::TAU;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use p2p_chat::audio::wav;
use p2p_chat::voice::compare::{Comparison, compare};
use serde_json::{Value, json};

use super::{Node, TempDir, list, number};

/// Samples a second.
pub const RATE: usize = 16_000;

/// The sample of real words that all tests say.
const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/speech.wav");
/// Its first sentence ends here.
const SENTENCE: usize = 44_800;

/// A sentence: "Every node passes on what it hears, once."
pub fn sentence() -> Vec<i16> {
    let mut all = wav::read_16k_mono(Path::new(SAMPLE)).expect("the sample");
    all.truncate(SENTENCE);
    all
}

/// Another one, which is unlike the first: "Can you hear my voice?"
pub fn question() -> Vec<i16> {
    wav::read_16k_mono(Path::new(SAMPLE)).expect("the sample").split_off(SENTENCE)
}

/// Silence of so many seconds.
pub fn silence(seconds: f64) -> Vec<i16> {
    vec![0; (seconds * RATE as f64) as usize]
}

/// Time for two nodes to find each other before the first word, in a microphone's file: on a busy machine, too.
pub fn lead() -> Vec<i16> {
    silence(1.5)
}

/// A tone of half a second and more, 12 dB below full scale.
pub fn tone(hz: f64, samples: usize) -> Vec<i16> {
    (0..samples).map(|n| (8231.0 * (n as f64 * hz / RATE as f64 * TAU).sin()) as i16).collect()
}

impl TempDir {
    /// Writes a WAV file of 16 kHz, and gives its path.
    pub fn wav(&self, name: &str, samples: &[i16]) -> String {
        let path = self.path(name);
        let mut writer = wav::Writer::create(Path::new(&path)).expect("a file");
        writer.write(samples).and_then(|()| writer.finish()).expect("written");
        path
    }
}

/// What a speaker's file holds. Its header must tell the truth about it.
#[track_caller]
pub fn recorded(path: &str) -> Vec<i16> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!((&bytes[..4], &bytes[8..16]), (&b"RIFF"[..], &b"WAVEfmt "[..]));
    assert_eq!((number(4) + 8, number(40) + 44), (bytes.len(), bytes.len()), "the header tells the length");
    assert_eq!(number(24), RATE);
    wav::read_16k_mono(Path::new(path)).expect("a WAV file")
}

/// Runs a test of sound that goes on in real time, and again if it failed: on a machine that is busy no sound is whole, whatever a
/// program does. A metronome notices most of it, but not a processor that is taken from a node
/// alone; so a failure stands once it was seen [`FAILURES`] times while the machine seemed to keep time, or if it never does.
/// The pipeline itself is tried on virtual lines, where time is made up and each failure counts.
#[track_caller]
pub fn in_time(test: impl Fn()) {
    let mut failures = 0;
    for _ in 0..ATTEMPTS {
        let metronome = Metronome::start();
        let outcome = catch_unwind(AssertUnwindSafe(&test));
        let late = metronome.stop();
        let Err(failure) = outcome else { return };
        failures += usize::from(late < LATE);
        if failures == FAILURES {
            resume_unwind(failure);
        }
        eprintln!("again: it failed, and a wake-up was {late:?} late");
    }
    panic!("the machine is too busy to keep time, {ATTEMPTS} times over");
}

/// How often a test of sound is tried.
const ATTEMPTS: usize = 8;
/// How often it may not fail while the machine seems to keep time.
const FAILURES: usize = 3;
/// A wake-up that is so late may have cost an audio frame somewhere.
const LATE: Duration = Duration::from_millis(15);

/// Measures how late a thread is woken at worst, beside a test.
pub struct Metronome {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Metronome {
    /// Begins.
    pub fn start() -> Self {
        let stop = Arc::<AtomicBool>::default();
        let stops = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut worst = Duration::ZERO;
            while !stops.load(Ordering::Relaxed) {
                let due = Instant::now() + Duration::from_millis(5);
                thread::sleep(Duration::from_millis(5));
                worst = worst.max(due.elapsed());
            }
            worst
        });
        Self { stop, thread }
    }

    /// Ends. Gives how late it was at worst.
    pub fn stop(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it measures")
    }
}

/// That what was said came out as it went in: all of it, as loud, and no more stretched than a jitter buffer may.
#[track_caller]
pub fn is_clear(said: &[i16], heard: &[i16]) -> Comparison {
    let found = is_heard(said, heard);
    let level = found.level_db;
    assert!(level.abs() < 1.5, "{level} dB louder: {found:?}");
    assert!(found.likeness() > 0.75, "likeness {}: {found:?}", found.likeness());
    assert!(found.missing_ms() <= 60.0, "{} ms are missing: {found:?}", found.missing_ms());
    found
}

/// That it is what was said, whatever the line did to it.
#[track_caller]
pub fn is_heard(said: &[i16], heard: &[i16]) -> Comparison {
    let found = compare(said, heard).expect("something was said");
    let level = p2p_chat::voice::compare::level_db(heard);
    // Of what was not said, a third is found; of what was stretched on its way, or coded where it hisses, not all.
    assert!(found.found() > 0.6, "it was not heard: {level} dB in {} samples, {found:?}", heard.len());
    found
}

/// That nothing of what was said came out.
#[track_caller]
pub fn is_not_heard(said: &[i16], heard: &[i16]) {
    let found = compare(said, heard).expect("something was said");
    assert!(found.found() < 0.3, "it was heard: {found:?}");
}

impl Node {
    /// Joins voice in the active room. Gives the result.
    #[track_caller]
    pub fn join_voice(&mut self, mic: &str, speaker: &str) -> Value {
        self.ok(json!({ "cmd": "voice_join", "mic": mic, "speaker": speaker }))
    }

    /// Waits until voice goes to all these members (node ids): until each has shown that it is there.
    #[track_caller]
    pub fn reaches(&mut self, members: &[&str]) {
        self.until(&json!({ "cmd": "voice_peers" }), |result| {
            let there = list(result, "peers");
            members.iter().all(|id| there.iter().any(|peer| peer["peer"] == **id && !peer["addr"].is_null()))
        });
    }

    /// What is known of a member of voice.
    #[track_caller]
    pub fn member(&mut self, id: &str) -> Value {
        let peers = list(&self.ok(json!({ "cmd": "voice_peers" })), "peers");
        peers.into_iter().find(|peer| peer["peer"] == id).unwrap_or_else(|| panic!("{id} is not in voice"))
    }

    /// A counter of `status`.
    #[track_caller]
    pub fn counter(&mut self, name: &str) -> u64 {
        number(&self.ok(json!({ "cmd": "status" }))["counters"], name)
    }
}

/// Writes samples into a named pipe, on a thread, as fast as it takes them.
pub fn feed(path: &str, samples: &[i16]) -> JoinHandle<()> {
    let (path, bytes) = (path.to_owned(), bytes_of(samples));
    thread::spawn(move || {
        let mut pipe = std::fs::OpenOptions::new().write(true).open(&path).expect("a pipe");
        // The node may end before all is said.
        let _ = pipe.write_all(&bytes);
    })
}

/// Reads what comes out of a named pipe, on a thread, until its other end is closed.
pub fn listen(path: &str) -> JoinHandle<Vec<i16>> {
    let mut pipe = std::fs::OpenOptions::new().read(true).open(path).expect("a pipe");
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("a pipe");
        samples_of(&bytes)
    })
}

/// Opens a named pipe for reading without waiting for its other end.
pub fn open_idle(path: &str) -> std::fs::File {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    std::fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(path).expect("a pipe")
}

/// Samples as bytes.
pub fn bytes_of(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// Bytes as samples.
pub fn samples_of(bytes: &[u8]) -> Vec<i16> {
    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}
