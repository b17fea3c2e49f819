//! Stdio on systems without poll(2).

use std::io::{self, Write};

/// Tells nobody anything.
#[derive(Debug)]
pub struct Stop;

/// Where the threads would hear it.
#[derive(Debug)]
pub struct Stopped;

impl Stopped {
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self)
    }
}

/// The threads block in their reads, and end with the process.
pub const JOINABLE: bool = false;

pub fn stop() -> io::Result<(Stop, Stopped)> {
    Ok((Stop, Stopped))
}

impl Stop {
    pub fn now(&mut self) {}
}

pub fn wait_for_input(_: &Stopped) -> bool {
    true
}

/// There is no such thing.
pub fn is_in_background() -> bool {
    false
}

pub fn pause(_: &Stopped, time: std::time::Duration) -> bool {
    std::thread::sleep(time);
    true
}

pub fn wait_until_closed(_: &Stopped) -> bool {
    false
}

pub fn write_all(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(bytes)?;
    stdout.flush()
}
