//! What must not hurt: faults of what a node stands on, and of whoever is around it. Whatever breaks, nothing is shown twice
//! and nothing panics (the harness looks at each line of each node), memory stays within its bounds, and honest peers
//! are served.
//!
//! - [`crash`], [`disk_full`]: what `--state` keeps
//! - [`strangers`]: ten thousand that are no nodes; [`files`]: no more may be opened; [`unread`]: nobody reads stdout
//! - [`stopped`]: a peer that stands still; [`half_open`]: a cable that is cut; [`clocks`]: a time that is wrong, and jumps

mod crash;
mod disk_full;

// What has the system's faults made, and is read in /proc.
#[cfg(target_os = "linux")]
mod clocks;
#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod half_open;
#[cfg(target_os = "linux")]
mod honest;
#[cfg(target_os = "linux")]
mod stopped;
#[cfg(target_os = "linux")]
mod strangers;
#[cfg(target_os = "linux")]
mod unread;
