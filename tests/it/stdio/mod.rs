//! The line protocol: one node at a time, from its first line to its exit code.

mod commands;
mod ends;
mod input;
mod options;
mod past;
mod waits;
