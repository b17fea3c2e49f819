//! How well voice does its work, without a sound device: `cargo bench --bench voice`, with `-- --help` for the options. Part
//! of `just bench-voice`; what needs a sound server is in `sound.rs` beside it.
//!
//! Everything runs through the node's own pieces, as `p2p-chat voice-lab` puts them together (see [`p2p_chat::lab`]), on
//! virtual lines and in virtual time: so all rows but those of CPU are the same on every machine. Speech is the real
//! voices that `scripts/speech` finds, or what `--speech` names; without any, this project's synthetic sample.
//!
//! How the figures are made honest:
//! - PESQ is the mean over all recordings and several seeds, never the best; it compares what was heard in the fifth second
//!   of a call and later. Its own column tells the worst recording.
//! - Delays are of every frame, from its capture to its playing, less what the line takes at least; what the jitter buffer
//!   adds is a part of that.
//! - CPU is what the thread had of a core, the median of several runs; a yardstick that does the same work bare runs in
//!   turn with it, so that a slow machine is seen.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints a table and its progress")]
#![allow(clippy::disallowed_methods, reason = "it measures, so it reads the clock")]

#[path = "shared/arguments.rs"]
mod arguments;
#[path = "voice/cpu.rs"]
mod cpu;
#[path = "voice/lines.rs"]
mod lines;
#[path = "voice/quality.rs"]
mod quality;
#[path = "voice/speech.rs"]
mod speech;
#[path = "voice/table.rs"]
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use argh::FromArgs;

use table::Table;

/// Measures voice on virtual lines: quality under loss, delay, drift, CPU.
#[derive(FromArgs)]
struct Options {
    /// what is said, a WAV file; may be repeated (real voices if there are any, else the project's sample)
    #[argh(option, arg_name = "file.wav")]
    speech: Vec<PathBuf>,
    /// lines that each recording is sent over (3)
    #[argh(option, default = "3", arg_name = "n")]
    seeds: u64,
    /// measure only this: quality, lines or cpu; may be repeated
    #[argh(option, arg_name = "name")]
    only: Vec<String>,
}

fn main() -> ExitCode {
    let options: Options = arguments::read("voice bench");
    if let Some(unknown) = options.only.iter().find(|it| !["quality", "lines", "cpu"].contains(&it.as_str())) {
        eprintln!("--only is quality, lines or cpu, not {unknown}");
        return ExitCode::from(2);
    }
    let speech = match speech::collect(&options.speech) {
        Ok(speech) => speech,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let chosen = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let seconds: f64 = speech.iter().map(|it| it.samples.len() as f64 / 16_000.0).sum();
    println!("{} recordings, {seconds:.0} s of speech, {} seeds", speech.len(), options.seeds.max(1));
    let mut table = Table::new();
    if chosen("quality") {
        quality::measure(&speech, options.seeds.max(1), &mut table);
    }
    if chosen("lines") {
        lines::measure(&speech, options.seeds.max(1), &mut table);
    }
    if chosen("cpu") {
        cpu::measure(&speech, &mut table);
    }
    if table.is_reached() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
