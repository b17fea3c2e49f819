//! What a process takes of the machine: memory, time of its CPUs, open files.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

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

    /// Lets it open so many files more, or as many as ever.
    #[track_caller]
    pub fn limit_files(&self, more: Option<usize>) {
        let open = fs::read_dir(self.proc("fd")).expect("it runs").filter_map(Result::ok);
        let open: HashSet<u64> = open.filter_map(|file| file.file_name().to_str()?.parse().ok()).collect();
        let own = getrlimit(Resource::Nofile);
        // A file has the lowest number that is free, which must be below the limit.
        let free = |more| (0..).filter(|number| !open.contains(number)).nth(more);
        let current = more.map_or(own.current, free);
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        prlimit(pid, Resource::Nofile, Rlimit { current, maximum: own.maximum }).expect("it is ours");
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.pid())
    }
}
