//! The subcommand `voice-lab`: one talker and one listener over a virtual line, to compare settings.
//!
//! A WAV file of any kind is said, the line does its worst, and what is heard is written as 16 kHz mono: as long as what
//! was said, and laid over it. How far it had to be moved for that is found by comparing the two (the median delay of what
//! was said, see [`crate::voice::compare`]) and told as `behind_ms`: the frame's own 20 ms, the line, the jitter buffer
//! and the codec. It is moved as a whole: where the delay changes in between, that stays as it was heard.
//!
//! [`call`] is the call itself, pure, and [`options`] what it may be like; here are the files and the figures.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::audio::wav;
use crate::voice::{Codec, RATE};

pub mod call;
pub mod options;
#[cfg(test)]
mod tests;

use call::{Heard, Setup, talk};
use options::VoiceLab;

/// Has a file said and heard. Gives the figures: as JSON, or in words for people. `progress`: how much is done, 0 to 1.
///
/// # Errors
/// If a file can't be read or written, or nothing is in it.
pub fn run(asked: &VoiceLab, setup: &Setup, for_people: bool, progress: impl FnMut(f64)) -> Result<String, String> {
    let said = wav::read_16k_mono(Path::new(&asked.input))?;
    if said.is_empty() {
        return Err(format!("{}: there is nothing in it", asked.input));
    }
    let cannot = |e: std::io::Error| format!("{}: {e}", asked.output);
    if is_one_file(&asked.input, &asked.output) {
        return Err(format!("{}: it would be written over what is said", asked.output));
    }
    // Before the work, so that it is not in vain.
    let mut writer = wav::Writer::create(Path::new(&asked.output)).map_err(cannot)?;
    #[allow(clippy::disallowed_methods, reason = "any moment will do as the start of a virtual time")]
    let start = Instant::now();
    let heard = talk(&said, setup, start, progress).map_err(|_| "the codec could not be made".to_owned())?;
    writer.write(&heard.samples).and_then(|()| writer.finish()).map_err(cannot)?;
    let summary = Summary::of(setup, &heard);
    Ok(if for_people { summary.words() } else { crate::api::line::to_json(&summary) })
}

fn is_one_file(a: &str, b: &str) -> bool {
    matches!((std::fs::canonicalize(a), std::fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

/// The report on a call.
#[derive(Debug, Serialize)]
struct Summary {
    seconds: f64,
    codec: &'static str,
    seed: u64,
    /// Packets sent, and the rate of what is in them.
    packets: u64,
    kbit_s: f64,
    /// Packets that never came, came too late, came twice.
    lost: u64,
    late: u64,
    duplicates: u64,
    /// Frames heard, and frames made up.
    frames: usize,
    concealed: u64,
    jitter_ms: f64,
    /// The delay that jitter buffer and jitter add to the least delay of the line.
    delay_ms: Spread,
    /// Of that, what the jitter buffer adds.
    waited_ms: Spread,
    behind_ms: f64,
    /// Whether the speech was found in what was heard.
    found: bool,
    /// From when on (in seconds) how many earlier frames were repeated.
    repeats: Vec<(f64, usize)>,
}

#[derive(Debug, Serialize)]
struct Spread {
    mean: f64,
    p95: f64,
    max: f64,
}

impl Summary {
    fn of(setup: &Setup, heard: &Heard) -> Self {
        let seconds = heard.samples.len() as f64 / f64::from(RATE);
        Self {
            seconds: rounded(seconds),
            codec: if setup.codec == Codec::Pcm { "pcm" } else { "opus" },
            seed: setup.seed,
            packets: heard.packets,
            kbit_s: rounded(heard.kbit_s()),
            lost: heard.figures.lost,
            late: heard.figures.late,
            duplicates: heard.figures.duplicates,
            frames: heard.frames.len(),
            concealed: heard.figures.concealed,
            jitter_ms: rounded(heard.figures.jitter_ms),
            delay_ms: Spread::of(heard.frames.iter().map(|it| it.late_ms)),
            waited_ms: Spread::of(heard.frames.iter().map(|it| it.waited_ms)),
            behind_ms: rounded(heard.behind_ms),
            found: heard.found,
            repeats: heard.repeated.iter().map(|(at, it)| (rounded(*at), it.backs().len())).collect(),
        }
    }

    fn words(&self) -> String {
        let repeats: Vec<String> = self.repeats.iter().map(|(at, repeats)| format!("{repeats} from {at} s")).collect();
        format!(
            "{} s said as {}, {} packets, {} kbit/s\n\
             lost {}, late {}, twice {}; {} frames of {} made up\n\
             delay over the line's least: {} ms in the mean, {} at p95; in the jitter buffer {} and {}\n\
             heard {} ms behind{}; earlier frames repeated: {}",
            self.seconds,
            self.codec,
            self.packets,
            self.kbit_s,
            self.lost,
            self.late,
            self.duplicates,
            self.concealed,
            self.frames as u64 + self.concealed,
            self.delay_ms.mean,
            self.delay_ms.p95,
            self.waited_ms.mean,
            self.waited_ms.p95,
            self.behind_ms,
            if self.found { "" } else { " (by the clock: the speech was not found)" },
            if repeats.is_empty() { "none".to_owned() } else { repeats.join(", ") },
        )
    }
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        Self {
            mean: rounded(mean),
            p95: rounded(call::quantile(&values, 0.95)),
            max: rounded(call::quantile(&values, 1.0)),
        }
    }
}

/// To a tenth: more is not known.
fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
