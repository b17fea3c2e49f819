//! How well the node does its work: `cargo bench --bench node`, with `-- --help` for the options.
//!
//! The node is a process, and so are two yardsticks that this binary carries and executes itself again for: *bare*,
//! the limit of what a relay can do, and *typed*, what a good programmer would write first (see [`yardstick`]). All are
//! spoken to over TCP in the format of the original, by a sender and sinks that cost next to nothing (see [`load`]).
//! A chat has 200 bytes of text, and its room is one that the node relays without showing it, but where a row says so.
//!
//! How the figures are made honest:
//! - Contestants take turns in the same run, a new process each time, and a ratio compares figures of the same round.
//!   What is shown is the median over the rounds; the JSON has each round.
//! - CPU is the relay's own: the sum of its threads' run times in `/proc/PID/task/*/schedstat`.
//! - Latencies are measured with everything on one CPU (by `taskset`, where it is installed): across CPUs, the machine's
//!   wake-ups hide the rest. The slowest message tells as much of the machine as of the relay: read it beside the
//!   yardsticks' slowest. (The typed one owes some to its `HashMap`, which stops everything to grow.)
//! - Messages are numbered; one that is lost or comes twice makes a figure void.
//!
//! Nothing here waits without a limit, and no process outlives the bench.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints a table and its progress")]
#![allow(clippy::disallowed_methods, reason = "it measures, so it reads the clock")]

#[path = "shared/arguments.rs"]
mod arguments;
#[path = "shared/chat.rs"]
mod chat;
#[path = "node/cores.rs"]
mod cores;
#[path = "shared/driverless.rs"]
mod driverless;
#[path = "shared/frame.rs"]
mod frame;
#[path = "node/load.rs"]
mod load;
#[path = "node/relay.rs"]
mod relay;
#[path = "node/report.rs"]
mod report;
#[path = "node/strangers.rs"]
mod strangers;
#[path = "node/works.rs"]
mod works;
#[path = "node/yardstick.rs"]
mod yardstick;

use std::fs;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use argh::FromArgs;

use relay::Cpus;
use report::{Progress, Report};
use works::{Bench, WORKS};

/// The first argument of this binary as a yardstick.
const YARDSTICK: &str = "yardstick";

/// Measures the node against two relays that do as little as they can.
#[derive(FromArgs)]
struct Options {
    /// a smaller run, of some 20 seconds
    #[argh(switch)]
    quick: bool,
    /// measure only this: chain, encrypted, signed, hop, fanout, shown, memory, stalled, stdin, start, handshake
    /// or strangers; repeatable
    #[argh(option, arg_name = "name")]
    only: Vec<String>,
    /// rounds of the compared works (5; 2 when quick)
    #[argh(option, arg_name = "n")]
    rounds: Option<u32>,
    /// write every figure of every round to this file, as JSON
    #[argh(option, arg_name = "file")]
    json: Option<PathBuf>,
    /// the node's binary, if not the one built with this bench
    #[argh(option, arg_name = "file")]
    node: Option<PathBuf>,
    /// exit with 1 if a gate is missed
    #[argh(switch)]
    gate: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match &arguments[..] {
        [_, first, name] if first == YARDSTICK => return exit(yardstick::run(name).map(|()| true)),
        [_, first, name] if first == cores::CORE => return exit(cores::run(name).map(|()| true)),
        _ => {}
    }
    let options: Options = arguments::read("node bench");
    if cfg!(debug_assertions) {
        eprintln!("node bench: a debug build measures nothing; use `cargo bench --bench node`");
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = options.only.iter().find(|only| WORKS.iter().all(|(name, _)| name != only)) {
        eprintln!("node bench: --only {unknown}: there is no such work; --help names them");
        return ExitCode::from(2);
    }
    exit(run(&options))
}

fn exit(result: io::Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("node bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures and reports; true if all is well.
fn run(options: &Options) -> io::Result<bool> {
    let start = Instant::now();
    let mut bench = Bench {
        node: options.node.clone().unwrap_or_else(|| env!("CARGO_BIN_EXE_p2p-chat").into()),
        cpus: Cpus::look(),
        rounds: options.rounds.unwrap_or(if options.quick { 2 } else { 5 }).max(1),
        quick: options.quick,
        report: Report::default(),
        progress: Progress { terminal: io::stderr().is_terminal() },
    };
    for (name, work) in WORKS {
        if options.only.is_empty() || options.only.iter().any(|only| only == name) {
            work(&mut bench);
        }
    }
    bench.progress.at("");
    let seconds = start.elapsed().as_secs();
    let machine = machine(&bench.cpus);
    let report = &bench.report;

    println!("{machine}; {} rounds in {seconds} s\n", bench.rounds);
    report.show(&mut io::stdout().lock())?;
    for failure in &report.failures {
        eprintln!("not measured: {failure}");
    }
    if let Some(file) = &options.json {
        let mut json = report.json();
        json["machine"] = machine.into();
        json["quick"] = bench.quick.into();
        json["rounds"] = bench.rounds.into();
        json["seconds"] = seconds.into();
        fs::write(file, format!("{json:#}\n"))
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))?;
    }
    Ok(report.failures.is_empty() && !(options.gate && report.missed()))
}

/// The machine in a few words.
fn machine(cpus: &Cpus) -> String {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).and_then(|line| line.split(": ").nth(1));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let pinned = match &cpus.one {
        Some(cpu) => format!("latencies on CPU {cpu}"),
        None => "taskset is not there: latencies across CPUs".into(),
    };
    let model = model.unwrap_or("unknown");
    format!("{count} CPUs ({model}), {} {}; {pinned}", std::env::consts::OS, kernel.trim())
}
