//! The arguments of a bench.

use argh::{EarlyExit, TopLevelCommand};

/// The arguments that a person has given. Cargo adds `--bench` behind it, which would spoil `--help`.
pub fn read<T: TopLevelCommand>(name: &str) -> T {
    let all: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    T::from_args(&[name], &all).unwrap_or_else(|EarlyExit { output, status }| {
        match status {
            Ok(()) => println!("{output}"),
            Err(()) => eprintln!("{output}\nRun it with --help for what there is."),
        }
        std::process::exit(i32::from(status.is_err()))
    })
}
