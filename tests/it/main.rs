//! The program from outside: real processes, their lines and exit codes, and real sockets.
//!
//! One binary, so that it links once. [`support`] holds the harness: nodes to drive by their line protocol, and
//! peers of the original's kind to meet them on the wire. It checks each line that any node prints, in any test.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test may panic, speak, and read the clock"
)]

mod support;

mod bad_input;
mod blocks;
mod faults;
mod keys;
mod level1;
mod links;
mod pipes;
#[cfg(feature = "audio")]
mod real_sound;
mod relays;
mod secure;
mod signed;
mod snapshots;
mod state;
mod stdio;
mod vectors;
mod voice;
