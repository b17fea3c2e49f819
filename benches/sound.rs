//! Voice over real sound: `cargo bench --bench sound`, with `-- --help` for the options. Part of `just bench-voice`.
//!
//! Two nodes on a PulseAudio server of the bench's own, the microphone of one and the speaker of the other each a null sink.
//! Speech is played into the microphone by `paplay`. What the microphone hears and what the speaker plays are recorded by
//! `parec`, two of them on one server. A recording's clock begins when its first sample was there, by the quickest of its
//! reads; how far two of them are apart is measured as well, with two recordings of one sink, and shown.
//!
//! - *mouth to ear*: how much later each 0.2 s of speech is in the speaker than in the microphone. In each run the nodes are
//!   new, and so the phases of all periods are.
//! - *heard again*: the server is killed in mid-call; from the moment that its successor takes connections until speech
//!   comes out of the speaker, through both devices. It includes what `paplay` and the silence before the first word take,
//!   which is shown too.
//! - *exit*: the server is stopped (it keeps its connections and answers nobody), and both nodes are told to end.
//!
//! Nothing here waits without a limit, and no process outlives the bench.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints a table and its progress")]
#![allow(clippy::disallowed_methods, reason = "it measures, so it reads the clock")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails here ends the bench")]

#[path = "shared/arguments.rs"]
mod arguments;
#[allow(dead_code, unused_imports, reason = "the tests use all of it")]
#[path = "../tests/it/support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use argh::FromArgs;
use p2p_chat::voice::compare::{Comparison, compare};
use serde_json::json;

use support::Node;
use support::pulse::{Pulse, Recording, is_skipped};

/// Measures voice over real sound: mouth to ear, a sound server that is killed, one that hangs.
#[derive(FromArgs)]
struct Options {
    /// calls that are measured (5)
    #[argh(option, default = "5", arg_name = "n")]
    runs: usize,
    /// what is said, a WAV file with a few seconds of speech (the tests' own)
    #[argh(option, arg_name = "file")]
    wav: Option<PathBuf>,
    /// the sample rate of the sound devices (48000)
    #[argh(option, default = "48_000", arg_name = "hz")]
    rate: u32,
    /// measure only this: ear, again or exit
    #[argh(option, arg_name = "name")]
    only: Option<String>,
}

/// How often each call says it. What comes out differs from time to time where the machine is busy.
const SAYINGS: usize = 2;
/// What has to be reached: see `docs/voice.md`.
const MOUTH_TO_EAR_MS: f64 = 60.0;
/// See [`MOUTH_TO_EAR_MS`].
const AGAIN_MS: f64 = 2000.0;
/// A node waits half a second for nothing that hangs, at its end; the rest is what processes take.
const EXIT_MS: f64 = 2000.0;
/// What is louder is heard: 40 dB below full scale.
const LOUD: u16 = 328;

fn main() -> ExitCode {
    let options: Options = arguments::read("sound bench");
    if is_skipped() {
        return ExitCode::SUCCESS;
    }
    let ours = || [env!("CARGO_MANIFEST_DIR"), "tests", "data", "speech.wav"].iter().collect();
    let bench = Bench { wav: options.wav.unwrap_or_else(ours), rate: options.rate, runs: options.runs.max(1) };
    println!("{:<58} {:>12} {:>10}", "real sound (PulseAudio, null sinks)", "here", "reach");
    let is_chosen = |name| options.only.as_deref().is_none_or(|only| only == name);
    let ear = !is_chosen("ear") || bench.mouth_to_ear();
    let again = !is_chosen("again") || bench.heard_again();
    let exit = !is_chosen("exit") || bench.exit();
    if ear && again && exit { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Bench {
    wav: PathBuf,
    rate: u32,
    runs: usize,
}

/// Two nodes in a call.
struct Call {
    alice: Node,
    bob: Node,
}

impl Call {
    fn new(pulse: &Pulse) -> Self {
        let mut alice = pulse.node(&["--username", "Alice", "--mic", "mic.monitor", "--speaker", "none"]);
        let mut bob = pulse.node(&["--username", "Bob", "--mic", "none", "--speaker", "spk"]);
        alice.link(&mut bob);
        alice.ok(json!({ "cmd": "voice_join" }));
        bob.ok(json!({ "cmd": "voice_join" }));
        alice.await_event("voice_joined", json!({ "peer": bob.id() }));
        Self { alice, bob }
    }

    fn both_warn(&mut self, code: &str) {
        self.alice.await_event("warning", json!({ "code": code }));
        self.bob.await_event("warning", json!({ "code": code }));
    }
}

impl Bench {
    fn server(&self) -> Pulse {
        let format = format!("rate={} channels=2", self.rate);
        Pulse::with_sinks(&[("mic", &format), ("spk", &format)])
    }

    fn mouth_to_ear(&self) -> bool {
        let pulse = self.server();
        let (mut delays, mut apart, mut found) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.runs {
            let _call = Call::new(&pulse);
            let (mouth, ear) = (pulse.record("mic.monitor", 1), pulse.record("spk.monitor", 1));
            let mouth_again = pulse.record("mic.monitor", 1);
            for _ in 0..SAYINGS {
                let from = mouth.frames();
                pulse.play("mic", &self.wav);
                let to = mouth.frames() + support::pulse::RATE as usize / 2;
                mouth.await_frames(to);
                ear.await_frames(ear.frame_at(mouth.time_of(to)));
                let heard = beside(&mouth, &ear, from);
                delays.extend(heard.pieces.iter().map(|piece| piece.delay_ms));
                found.push(heard.found());
                apart.push(beside(&mouth, &mouth_again, from).delay_ms().abs());
            }
        }
        let (median, late) = (quantile(&mut delays, 0.5), quantile(&mut delays, 0.95));
        let reached = row("mouth to ear, median", median, MOUTH_TO_EAR_MS);
        note("mouth to ear, 95 of 100", format!("{late:.1} ms"));
        note("speech that was found again", format!("{:.0} %", 100.0 * found.iter().sum::<f64>() / found.len() as f64));
        note("two recordings of one sink are apart, at most", format!("{:.1} ms", quantile(&mut apart, 1.0)));
        reached
    }

    fn heard_again(&self) -> bool {
        let mut pulse = self.server();
        let mut call = Call::new(&pulse);
        let mut again = Vec::new();
        for _ in 0..self.runs {
            pulse.kill();
            call.both_warn("device_lost");
            pulse.start_again();
            let back = Instant::now();
            again.push(self.first_sound(&pulse, "spk.monitor", back));
            call.both_warn("device_back");
        }
        // The same without nodes: what is said comes out of the microphone itself.
        let mut without: Vec<_> =
            (0..self.runs).map(|_| self.first_sound(&pulse, "mic.monitor", Instant::now())).collect();
        let reached = row("server killed in mid-call: heard again, at most", quantile(&mut again, 1.0), AGAIN_MS);
        note("of which the player and silence before the first word", format!("{:.0} ms", quantile(&mut without, 0.5)));
        reached
    }

    /// How long it is until something is heard there, in ms. It is said until then.
    fn first_sound(&self, pulse: &Pulse, source: &str, since: Instant) -> f64 {
        let recording = pulse.record(source, 1);
        let mut playing = pulse.begin_to_play("mic", &self.wav);
        let deadline = since + Duration::from_secs(30);
        loop {
            let samples = recording.channel(0, 0);
            if let Some(at) = samples.iter().position(|it| it.unsigned_abs() > LOUD) {
                playing.kill().and_then(|()| playing.wait()).expect("the player is there");
                return recording.time_of(at).saturating_duration_since(since).as_secs_f64() * 1000.0;
            }
            assert!(Instant::now() < deadline, "nothing is heard any more");
            if playing.try_wait().expect("the player is there").is_some() {
                playing = pulse.begin_to_play("mic", &self.wav);
            }
            recording.await_frames(samples.len() + 1);
        }
    }

    fn exit(&self) -> bool {
        let mut took = Vec::new();
        for _ in 0..self.runs {
            let pulse = self.server();
            let Call { alice, bob } = Call::new(&pulse);
            pulse.freeze();
            for node in [alice, bob] {
                let began = Instant::now();
                node.finish().exited(0);
                took.push(began.elapsed().as_secs_f64() * 1000.0);
            }
        }
        row("server hangs: exit, at most", quantile(&mut took, 1.0), EXIT_MS)
    }
}

/// What is in one recording beside what is in another at the same time.
fn beside(mouth: &Recording, ear: &Recording, from: usize) -> Comparison {
    let said = mouth.channel(0, from);
    let heard = ear.channel(0, ear.frame_at(mouth.time_of(from)));
    compare(&said, &heard).expect("there is speech in what is said")
}

fn row(what: &str, ms: f64, reach: f64) -> bool {
    let reached = ms <= reach;
    let mark = if reached { "" } else { "  not reached" };
    println!("{what:<58} {:>12} {:>10}{mark}", format!("{ms:.1} ms"), format!("{reach:.0} ms"));
    reached
}

fn note(what: &str, value: String) {
    println!("  {what:<56} {value:>12}");
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len().saturating_sub(1) as f64 * share).round() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}
