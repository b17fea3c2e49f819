//! Voice through the program: real processes, real sockets, real time, and sound from and to files and pipes.
//!
//! What comes out is compared with what went in: it is not enough that bytes came. Nothing is played faster than it lasts,
//! so each test takes some seconds, and they run side by side.

mod bad_datagrams;
mod calls;
mod commands;
#[cfg(target_os = "linux")]
mod machines;
mod originals;
mod sound;
