//! The options of `voice-lab`.

use std::time::Duration;

use argh::FromArgs;

use super::call::Setup;
use crate::line::{Jitter, Settings};
use crate::voice::Codec;
use crate::voice::redundancy::Redundancy;

/// say a recording over a bad virtual line, and write what is heard
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "voice-lab",
    note = "One talker and one listener, made of the node's own pieces, faster than real time. What is heard is 16 kHz mono, as long as
what was said and laid over it; a WAV file of any rate is said. The same seed is the same line: two settings can be compared
on one pattern of losses. Reports of the losses travel back over a line that is as bad.

  {command_name} said.wav heard.wav --loss 10 --burst 3
  {command_name} said.wav heard.wav --codec pcm --jitter wifi --drift 200

Jitter is none, uniform:MS, normal:MS (three deviations around three, in order), wifi (stalls of 40 to 120 ms, 1 to 4 s apart) or
storm:FROM-TO (0 to 120 ms, in seconds from the start of the warm-up).

Prints the figures as a JSON object, on a terminal in words.",
    error_code(0, "done"),
    error_code(2, "usage"),
    error_code(3, "a file could not be read or written, or there is nothing in it")
)]
pub struct VoiceLab {
    /// what is said: a WAV file of an hour at most
    #[argh(positional, arg_name = "in.wav")]
    pub input: String,

    /// what is heard: written
    #[argh(positional, arg_name = "out.wav")]
    pub output: String,

    /// of a hundred datagrams, how many are lost (0)
    #[argh(option, default = "0.0", arg_name = "percent")]
    pub loss: f64,

    /// how many in a row are lost in the mean; 1: each by itself (1)
    #[argh(option, default = "1.0", arg_name = "datagrams")]
    pub burst: f64,

    /// what each datagram takes, in milliseconds (20)
    #[argh(option, default = "20.0", arg_name = "ms")]
    pub delay: f64,

    /// what comes on top of that and varies (none)
    #[argh(option, default = "Jitter::None", arg_name = "kind")]
    pub jitter: Jitter,

    /// of a hundred datagrams, how many are overtaken (0)
    #[argh(option, default = "0.0", arg_name = "percent")]
    pub reorder: f64,

    /// of a hundred datagrams, how many come twice (0)
    #[argh(option, default = "0.0", arg_name = "percent")]
    pub duplicate: f64,

    /// how much faster the listener's clocks run than the talker's, in millionths (0)
    #[argh(option, default = "0.0", arg_name = "n")]
    pub drift: f64,

    /// how much faster the listener's sound card asks than its own clock runs, in millionths (0)
    #[argh(option, default = "0.0", arg_name = "n")]
    pub card_drift: f64,

    /// opus, or pcm: the talker is an original, which sends every frame and repeats none (opus)
    #[argh(option, default = "Codec::Opus", from_str_fn(codec), arg_name = "name")]
    pub codec: Codec,

    /// how many earlier frames each packet repeats: auto (as the listener's reports ask), 0, 1 or 2 (auto)
    #[argh(option, default = "Repeats(None)", from_str_fn(repeats), arg_name = "n")]
    pub repeats: Repeats,

    /// how long the call has gone on before what is written, in seconds (5)
    #[argh(option, default = "5.0", arg_name = "s")]
    pub warmup: f64,

    /// what all chance comes from (1)
    #[argh(option, default = "1", arg_name = "n")]
    pub seed: u64,

    /// print the JSON object even on a terminal
    #[argh(switch)]
    pub json: bool,
}

/// How many earlier frames are repeated, if that is fixed.
#[derive(Debug, Clone, Copy)]
pub struct Repeats(Option<Redundancy>);

/// The longest warm-up, in seconds.
const MAX_WARMUP: f64 = 600.0;
/// The most that a sound card may be off, in millionths; as much as the line's clocks.
const MAX_CARD_DRIFT: f64 = 10_000.0;

impl VoiceLab {
    /// The call that it asks for.
    ///
    /// # Errors
    /// Which option is out of bounds, and what it may be.
    pub fn setup(&self) -> Result<Setup, String> {
        let within = |name: &str, value: f64, low: f64, high: f64| match (low..=high).contains(&value) {
            true => Ok(value),
            false => Err(format!("--{name} is from {low} to {high}, not {value}")),
        };
        let line = Settings {
            loss_percent: self.loss,
            burst: self.burst,
            // Whether it is too long is checked with the others.
            delay: Duration::try_from_secs_f64(self.delay / 1000.0)
                .map_err(|_| format!("--delay takes milliseconds, not {}", self.delay))?,
            jitter: self.jitter,
            reorder_percent: self.reorder,
            duplicate_percent: self.duplicate,
            drift_ppm: self.drift,
        };
        line.check().map_err(|why| format!("--{why}"))?;
        Ok(Setup {
            line,
            codec: self.codec,
            repeats: self.repeats.0,
            card_ppm: within("card-drift", self.card_drift, -MAX_CARD_DRIFT, MAX_CARD_DRIFT)?,
            warmup: Duration::from_secs_f64(within("warmup", self.warmup, 0.0, MAX_WARMUP)?),
            seed: self.seed,
        })
    }
}

fn codec(name: &str) -> Result<Codec, String> {
    match name {
        "opus" => Ok(Codec::Opus),
        "pcm" => Ok(Codec::Pcm),
        _ => Err("a codec is opus or pcm".into()),
    }
}

fn repeats(number: &str) -> Result<Repeats, String> {
    Ok(Repeats(match number {
        "auto" => None,
        "0" => Some(Redundancy::None),
        "1" => Some(Redundancy::One),
        "2" => Some(Redundancy::Two),
        _ => return Err("earlier frames are repeated auto, 0, 1 or 2 times".into()),
    }))
}
