//! Delay, late frames and drift on lines that lose nothing.

use std::time::{Duration, Instant};

use p2p_chat::lab::call::{Heard, HeardFrame, Setup, talk};
use p2p_chat::line::Settings;
use p2p_chat::voice::Codec;

use crate::speech::{Speech, progress};
use crate::table::{Reach, Table, mean, quantile};

/// Seconds of a call on a quiet line, in a storm and its calm, with stalls, and with clocks that drift.
const QUIET: usize = 20;
const STORM: usize = 30;
const STALLS: usize = 120;
const DRIFT: usize = 600;
/// When the storm begins and ends, in seconds of the call, the warm-up of 5 s included.
const STORM_SPAN: (f64, f64) = (10.0, 20.0);
/// How long after its end the delay must be what it was.
const BACK: f64 = 3.0;
/// Recordings that stand for all where calls are long.
const FEW: usize = 4;

const CODECS: [Codec; 2] = [Codec::Opus, Codec::Pcm];

pub fn measure(speech: &[Speech], seeds: u64, table: &mut Table) {
    quiet(speech, seeds, table);
    storm(speech, seeds, table);
    stalls(speech, seeds, table);
    drift(speech, table);
}

/// A call of so many seconds, the recording said over and over.
fn call(speech: &Speech, seconds: usize, change: impl FnOnce(&mut Setup)) -> Heard {
    let mut setup = Setup::default();
    change(&mut setup);
    // Another line, and other moments of playback, for each recording.
    setup.seed = setup.seed * 1000 + speech.samples.len() as u64;
    progress(&format!("{}, {seconds} s", speech.name));
    let said: Vec<i16> = speech.samples.iter().copied().cycle().take(seconds * 16_000).collect();
    let heard = talk(&said, &setup, Instant::now(), |_| ());
    progress("");
    heard.unwrap_or_else(|_| panic!("no codec"))
}

fn line(settings: &str) -> Settings {
    settings.parse().unwrap_or_else(|why| panic!("{why}"))
}

fn late(frames: &[HeardFrame]) -> Vec<f64> {
    frames.iter().map(|it| it.late_ms).collect()
}

fn ms(value: f64) -> String {
    format!("{value:.1} ms")
}

fn quiet(speech: &[Speech], seeds: u64, table: &mut Table) {
    let mut all = Vec::new();
    for speech in speech {
        for (codec, seed) in CODECS.iter().flat_map(|codec| (1..=seeds).map(move |seed| (*codec, seed))) {
            all.extend(late(&call(speech, QUIET, |setup| (setup.codec, setup.seed) = (codec, seed)).frames));
        }
    }
    let what = "delay added by the jitter buffer, quiet line, p95";
    table.row(what, quantile(&mut all, 0.95), Reach::AtMost(10.0), ms);
    table.note("mean, most", &format!("{:.1}, {:.1}", mean(&all), quantile(&mut all, 1.0)));
}

fn storm(speech: &[Speech], seeds: u64, table: &mut Table) {
    let (from, to) = STORM_SPAN;
    let (mut before_end, mut after, mut back) = (Vec::new(), Vec::new(), Vec::new());
    for speech in speech {
        for (codec, seed) in CODECS.iter().flat_map(|codec| (1..=seeds).map(move |seed| (*codec, seed))) {
            let heard = call(speech, STORM, |setup| {
                (setup.line, setup.codec, setup.seed) = (line(&format!("jitter=storm:{from}-{to}")), codec, seed);
            });
            // Frames are counted from the end of the warm-up.
            let calm = to - Setup::default().warmup.as_secs_f64();
            let when = |it: &HeardFrame| it.frame as f64 * 0.02 - calm;
            before_end.extend(heard.frames.iter().filter(|it| (-2.0..0.0).contains(&when(it))).map(|it| it.late_ms));
            after.extend(heard.frames.iter().filter(|it| when(it) >= BACK).map(|it| it.late_ms));
            let last = heard.frames.iter().filter(|it| it.late_ms > 10.0).map(when).fold(0.0, f64::max);
            back.push(last);
        }
    }
    let what = "the same from 3 s after the end of a storm of 120 ms on, p95";
    table.row(what, quantile(&mut after, 0.95), Reach::AtMost(10.0), ms);
    table.note("in the storm's last two seconds, mean", &ms(mean(&before_end)));
    table.note("the most from 3 s after its end on", &ms(quantile(&mut after, 1.0)));
    let share = |within: f64| back.iter().filter(|it| **it <= within).count() * 100 / back.len().max(1);
    table.note(
        "calls of which no frame takes longer from 2.5, 3, 4 s on",
        &format!("{}, {}, {} %", share(2.5), share(3.0), share(4.0)),
    );
}

fn stalls(speech: &[Speech], seeds: u64, table: &mut Table) {
    let (mut delays, mut late_frames, mut concealed, mut frames) = (Vec::new(), 0, 0, 0);
    for speech in speech.iter().take(FEW) {
        for (codec, seed) in CODECS.iter().flat_map(|codec| (1..=seeds).map(move |seed| (*codec, seed))) {
            let heard = call(speech, STALLS, |setup| {
                (setup.line, setup.codec, setup.seed) = (line("jitter=wifi"), codec, seed);
            });
            delays.extend(late(&heard.frames));
            late_frames += heard.figures.late;
            concealed += heard.figures.concealed;
            frames += heard.frames.len() as u64;
        }
    }
    let percent = |count: u64| 100.0 * count as f64 / frames.max(1) as f64;
    let show = |value: f64| format!("{value:.2} %");
    table.row(
        "stalls of 40 to 120 ms each 1 to 4 s, no loss: late frames",
        percent(late_frames),
        Reach::AtMost(1.0),
        show,
    );
    table.note("frames made up, or waited for for 20 ms", &show(percent(concealed)));
    table.row("the same: mean delay over the line's least", mean(&delays), Reach::AtMost(80.0), ms);
    table.note("p95", &ms(quantile(&mut delays, 0.95)));
}

/// The clocks of the listener's machine, or of its sound card alone, run fast or slow.
fn drift(speech: &[Speech], table: &mut Table) {
    let (mut gaps, mut growth, mut most): (u64, f64, f64) = (0, f64::MIN, 0.0);
    // Each of the four with another voice, and by turns as level 2 and as level 1.
    for (n, (clock, card)) in [(200.0, 0.0), (-200.0, 0.0), (0.0, 200.0), (0.0, -200.0)].into_iter().enumerate() {
        let voice = &speech[n % speech.len()];
        let heard = call(voice, DRIFT, |setup| {
            (setup.line.drift_ppm, setup.card_ppm, setup.codec) = (clock, card, CODECS[n % 2]);
            setup.warmup = Duration::from_secs(5);
        });
        gaps += heard.figures.concealed;
        // The first minute beside the last: a drift that was not followed would show as 120 ms.
        let mut delays = late(&heard.frames);
        let minute = delays.len() / 10;
        let (first, last) = (mean(&delays[..minute]), mean(&delays[delays.len() - minute..]));
        growth = growth.max(last - first);
        most = most.max(quantile(&mut delays, 1.0));
    }
    let what = "drift of ±200 ppm, clock or sound card, 10 min each: gaps";
    table.row(what, gaps as f64, Reach::AtMost(0.0), |value| format!("{value:.0}"));
    table.row("the same: growth of the delay, last minute over first", growth, Reach::AtMost(2.0), ms);
    table.note("the most delay of any frame", &ms(most));
}
