//! What a process takes of the machine: memory, time of its CPUs, open files.

use std::fs;
use std::time::Duration;

use super::Node;

impl Node {
    /// The most that it ever had in use, in KiB.
    #[track_caller]
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(self.proc("status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// The time that all its threads have run so far.
    #[track_caller]
    pub fn cpu(&self) -> Duration {
        let threads = fs::read_dir(self.proc("task")).expect("it runs");
        let ran = |thread: &fs::DirEntry| {
            // A thread may end while one looks.
            let schedstat = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            schedstat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
        };
        Duration::from_nanos(threads.filter_map(Result::ok).map(|thread| ran(&thread)).sum())
    }

    /// How many files it has open.
    #[track_caller]
    pub fn open_files(&self) -> u64 {
        fs::read_dir(self.proc("fd")).expect("it runs").count() as u64
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.pid())
    }
}
