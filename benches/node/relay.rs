//! A relay under test: the node or a yardstick, as a process with its own accounts.

use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::load::PATIENCE;

/// Whom a figure is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    Node,
    Typed,
    Bare,
}

impl Who {
    pub const ALL: [Self; 3] = [Self::Node, Self::Typed, Self::Bare];
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::Typed => "typed",
            Self::Bare => "bare",
        })
    }
}

/// How to start a relay.
pub struct Setup<'a> {
    /// The node's binary.
    pub node: &'a Path,
    /// The node's active room. The load chats in `bench`: any other, and the node relays what it does not show.
    pub room: &'a str,
    /// The one CPU to run on.
    pub cpu: Option<&'a str>,
}

/// A running relay; dropping it ends the process.
pub struct Relay {
    child: Child,
    /// Where it listens.
    pub addr: SocketAddr,
    /// From the start of the process to its `ready`.
    pub started_in: Duration,
    stdin: Option<ChildStdin>,
    stdout: Arc<Stdout>,
}

/// The part of the `ready` event that the bench needs.
#[derive(Deserialize)]
struct Ready {
    event: String,
    tcp: SocketAddr,
}

impl Relay {
    /// Starts the process and waits until it is ready. From then on its stdout is read, its stdin kept open.
    pub fn start(who: Who, setup: &Setup<'_>) -> io::Result<Self> {
        let mut command = command(who, setup)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let start = Instant::now();
        let mut child = command.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", command.get_program().to_string_lossy()))
        })?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        // From here on, dropping it ends the process.
        let mut relay = Self {
            child,
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            started_in: Duration::ZERO,
            stdin,
            stdout: Arc::default(),
        };
        let reader = Arc::clone(&relay.stdout);
        thread::spawn(move || stdout.map(|stdout| reader.read(stdout)));

        let said = relay.stdout.wait(|said| said.first.is_some());
        let (line, at) = said.first.clone().ok_or_else(|| io::Error::other("it did not become ready"))?;
        let ready = serde_json::from_str::<Ready>(&line).ok().filter(|ready| ready.event == "ready");
        let ready = ready.ok_or_else(|| io::Error::other(format!("it did not become ready but said {line:?}")))?;
        drop(said);
        relay.addr = ready.tcp;
        relay.started_in = at - start;
        Ok(relay)
    }

    /// Its stdin, to write commands to; it ends when this is dropped.
    pub fn take_stdin(&mut self) -> io::Result<ChildStdin> {
        self.stdin.take().ok_or_else(|| io::Error::other("the relay's stdin is taken"))
    }

    /// Waits until the node has said all that it has to say, by a command whose reply comes after it; then tells how
    /// many messages it has shown.
    pub fn shown(&mut self) -> io::Result<u64> {
        let replies = self.stdout.said().replies;
        let stdin = self.stdin.as_mut().ok_or_else(|| io::Error::other("the relay's stdin is taken"))?;
        stdin.write_all(b"{\"cmd\":\"room\"}\n")?;
        let said = self.stdout.wait(|said| said.replies > replies);
        if said.replies > replies { Ok(said.messages) } else { Err(io::Error::other("it did not reply")) }
    }

    /// The CPU time that its threads have used. Read it while the relay is idle: a running thread's account lags.
    pub fn cpu(&self) -> io::Result<Duration> {
        let mut sum = 0;
        for task in fs::read_dir(self.proc("task"))? {
            // A thread may end meanwhile; its time is then missing, on either side of the difference.
            if let Ok(account) = fs::read_to_string(task?.path().join("schedstat")) {
                let used = account.split_whitespace().next().and_then(|used| used.parse::<u64>().ok());
                sum += used.ok_or_else(|| io::Error::other("a thread's schedstat can't be read"))?;
            }
        }
        Ok(Duration::from_nanos(sum))
    }

    /// Its memory in KiB.
    pub fn memory(&self, kind: Memory) -> io::Result<f64> {
        let name = match kind {
            Memory::Resident => "VmRSS:",
            Memory::Own => "RssAnon:",
            Memory::Peak => "VmHWM:",
        };
        let status = fs::read_to_string(self.proc("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse().ok());
        number.ok_or_else(|| io::Error::other("its memory can't be read"))
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(file)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Nobody asked it to: whatever failed, this is why.
        if let Ok(Some(status)) = self.child.try_wait() {
            eprintln!("the relay had ended by itself: {status}");
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a relay's stdout, read as it comes by a thread that ends with it.
#[derive(Default)]
struct Stdout {
    said: Mutex<Said>,
    news: Condvar,
}

/// The lines so far.
#[derive(Default)]
struct Said {
    first: Option<(String, Instant)>,
    messages: u64,
    replies: u64,
    ended: bool,
}

impl Stdout {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until this is so, or stdout has ended, or for as long as patience lasts.
    fn wait(&self, so: impl Fn(&Said) -> bool) -> MutexGuard<'_, Said> {
        let waiting = |said: &mut Said| !said.ended && !so(said);
        self.news.wait_timeout_while(self.said(), PATIENCE, waiting).unwrap_or_else(PoisonError::into_inner).0
    }

    fn read(&self, stdout: ChildStdout) {
        let mut stdout = BufReader::with_capacity(64 * 1024, stdout);
        let mut line = Vec::new();
        // A line is 1 MiB at most, by the line protocol.
        while stdout.by_ref().take(1024 * 1024).read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let mut said = self.said();
            if said.first.is_none() {
                said.first = Some((String::from_utf8_lossy(&line).into_owned(), Instant::now()));
                self.news.notify_all();
            } else if line.starts_with(br#"{"event":"message""#) {
                said.messages += 1;
            } else if line.starts_with(br#"{"event":"reply""#) {
                said.replies += 1;
                self.news.notify_all();
            }
            line.clear();
        }
        self.said().ended = true;
        self.news.notify_all();
    }
}

/// The use of memory and time that the system reports of a process.
#[derive(Clone, Copy)]
pub enum Memory {
    /// All that is in memory, pages of the program and of libraries included.
    Resident,
    /// Memory without a file behind it.
    Own,
    /// The most that was resident.
    Peak,
}

fn command(who: Who, setup: &Setup<'_>) -> io::Result<Command> {
    let program = match who {
        Who::Node => setup.node.to_owned(),
        Who::Typed | Who::Bare => std::env::current_exe()?,
    };
    let mut command = match setup.cpu {
        // It executes the program in its own place: the process id stays.
        Some(cpu) => {
            let mut command = Command::new("taskset");
            command.args(["-c", cpu]).arg(program);
            command
        }
        None => Command::new(program),
    };
    match who {
        Who::Node => command.args([
            "--port",
            "0",
            "--username",
            "relay",
            "--max-links",
            "128",
            "--rate",
            "0",
            "--room",
            setup.room,
        ]),
        Who::Typed | Who::Bare => command.args([crate::YARDSTICK, &who.to_string()]),
    };
    Ok(command)
}

/// The CPUs that the bench may use, and the pinning of its own thread to one of them, by `taskset`.
pub struct Cpus {
    allowed: String,
    /// The one for work on one CPU: the last, which has the fewest interrupts.
    pub one: Option<String>,
}

impl Cpus {
    /// Looks at what is there; without `taskset` nothing will be pinned.
    pub fn look() -> Self {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
        let allowed = allowed.trim().to_owned();
        let last = allowed.rsplit([',', '-']).next().filter(|last| !last.is_empty()).map(str::to_owned);
        let one = last.filter(|last| set_own(last).is_ok() && set_own(&allowed).is_ok());
        Self { allowed, one }
    }

    /// Pins the calling thread to the one CPU until the guard is dropped.
    pub fn pin(&self) -> io::Result<Pinned<'_>> {
        if let Some(one) = &self.one {
            set_own(one)?;
        }
        Ok(Pinned(self))
    }
}

/// While it lives, the thread that made it is pinned.
pub struct Pinned<'a>(&'a Cpus);

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        let _ = set_own(&self.0.allowed);
    }
}

fn set_own(cpus: &str) -> io::Result<()> {
    for_own_thread("taskset", &["-c", "-p", cpus])
}

/// From here on the calling thread has only the time that no other wants.
pub fn yield_to_all() -> io::Result<()> {
    for_own_thread("chrt", &["--idle", "--pid", "0"])
}

/// Runs a program of util-linux with the number of the calling thread as its last argument.
fn for_own_thread(program: &str, arguments: &[&str]) -> io::Result<()> {
    let own = fs::read_link("/proc/thread-self")?;
    let thread = own.file_name().ok_or_else(|| io::Error::other("the thread's id can't be read"))?;
    let status = uninterrupted(|| Command::new(program).args(arguments).arg(thread).stdout(Stdio::null()).status())?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{program} failed"))) }
}

/// Tries again what a signal has interrupted.
pub fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
