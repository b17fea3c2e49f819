//! The threads of stdio: one reads commands, one writes lines, one watches whether stdout is still open, and one writes
//! stderr, so that nobody who does not read can hold up the network.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_channel::Sender;

use super::client::Queue;
use super::{Notice, Stdio};
use crate::api::Request;
use crate::api::line::printable;
use crate::api::lines::Lines;
use crate::node::LogLevel;

/// How much is read at once, in bytes.
const READ: usize = 64 << 10;
/// Batches of lines on their way to the loop.
const BATCHES: usize = 2;
/// Lines on their way to stderr; when it is not read, further ones are dropped.
const ERRORS: usize = 256;
/// At the end, how long a reader may take for the next piece of what is left, before it is given up.
const PATIENCE: Duration = Duration::from_secs(2);

/// The threads, until they are joined.
#[derive(Debug)]
pub struct Threads {
    reader: Option<JoinHandle<()>>,
    watcher: Option<JoinHandle<()>>,
    writer: Option<JoinHandle<io::Result<()>>>,
    output: Arc<Queue>,
    progress: Receiver<()>,
    errors: Option<(SyncSender<String>, Receiver<()>)>,
    stop: unix::Stop,
}

/// Starts the threads. With `stay` a node in a terminal's background leaves the terminal to others.
pub fn start(stay: bool) -> io::Result<(Stdio, Threads)> {
    let (to_loop, requests) = async_channel::bounded(BATCHES);
    let (notice, notices) = async_channel::bounded(16);
    let (progressed, progress) = sync_channel(1);
    let (errors, to_stderr) = sync_channel::<String>(ERRORS);
    let (stderr_done, errors_done) = sync_channel(1);
    let output = Arc::new(Queue::default());
    let (stop, stopped) = unix::stop()?;
    let named = |name: &str| thread::Builder::new().name(name.into()).stack_size(256 << 10);

    let for_reader = stopped.try_clone()?;
    let reader = named("stdin").spawn(move || read(&for_reader, &to_loop, stay))?;
    let (queue, closed) = (output.clone(), notice.clone());
    let writer = named("stdout").spawn(move || write(&queue, &closed, &progressed))?;
    let watcher = named("stdout-watch").spawn(move || {
        if unix::wait_until_closed(&stopped) {
            let _ = notice.send_blocking(Notice::OutputClosed);
        }
    })?;
    named("stderr").spawn(move || {
        for line in to_stderr {
            let _ = io::stderr().write_all(line.as_bytes());
        }
        let _ = stderr_done.send(());
    })?;

    let stderr = Stderr(errors.clone());
    let stdio = Stdio { requests, output: output.clone(), notices, errors: stderr };
    let errors = Some((errors, errors_done));
    let (reader, watcher, writer) = (Some(reader), Some(watcher), Some(writer));
    Ok((stdio, Threads { reader, watcher, writer, output, progress, errors, stop }))
}

impl Threads {
    /// Writes what is left, for as long as somebody reads, and ends the threads. False if stdout could not be written.
    pub fn finish(mut self) -> bool {
        self.output.close();
        let written = loop {
            match self.progress.recv_timeout(PATIENCE) {
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    break !matches!(self.writer.take().map(JoinHandle::join), Some(Ok(Err(_)) | Err(_)));
                }
                // Nobody reads: that thread ends with the process.
                Err(RecvTimeoutError::Timeout) => break true,
            }
        };
        self.stop.now();
        for thread in [self.reader.take(), self.watcher.take()].into_iter().flatten().filter(|_| unix::JOINABLE) {
            let _ = thread.join();
        }
        if let Some((errors, done)) = self.errors.take() {
            drop(errors);
            let _ = done.recv_timeout(PATIENCE);
        }
        written
    }
}

/// Lines for stderr.
#[derive(Debug, Clone)]
pub struct Stderr(SyncSender<String>);

impl Stderr {
    /// Logs a line.
    pub fn log(&self, level: LogLevel, line: &str) {
        self.say(&format!("{}: {line}", format!("{level:?}").to_lowercase()));
    }

    /// Writes a line to stderr, whatever is logged.
    pub fn say(&self, line: &str) {
        let _ = self.0.try_send(format!("p2p-chat: {}\n", printable(line)));
    }
}

/// How soon a node in the background looks again whether it has the terminal. A guess.
const BACKGROUND: Duration = Duration::from_millis(200);

/// Reads lines of input and hands them on, a batch for each piece that was read.
fn read(stop: &unix::Stopped, to_loop: &Sender<Vec<Request>>, stay: bool) {
    let mut lines = Lines::default();
    let mut buffer = vec![0; READ];
    loop {
        if !unix::wait_for_input(stop) {
            return;
        }
        // To read what is typed for others would stop the whole process (SIGTTIN).
        if stay && unix::is_in_background() {
            if !unix::pause(stop, BACKGROUND) {
                return;
            }
            continue;
        }
        let (batch, end) = match io::stdin().lock().read(&mut buffer) {
            Ok(0) => (lines.end(), true),
            Ok(n) => (lines.split(buffer.get(..n).unwrap_or_default()), false),
            Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => continue,
            // A terminal that is gone: nothing more will come.
            Err(_) => (lines.end(), true),
        };
        if !batch.is_empty() && to_loop.send_blocking(batch).is_err() || end {
            return;
        }
    }
}

/// Writes lines until there will be none, and reports its progress to the loop and to the thread that waits for the end.
fn write(queue: &Queue, notice: &Sender<Notice>, progress: &SyncSender<()>) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut last_lag_lines = 0;
    while let Some(too_long) = queue.wait(&mut buffer) {
        if too_long {
            let _ = notice.try_send(Notice::DiskSilent);
        }
        if let Err(e) = unix::write_all(&buffer) {
            let _ = notice.send_blocking(Notice::OutputClosed);
            return Err(e);
        }
        buffer.clear();
        let _ = progress.try_send(());
        let (lag_lines, empty) = queue.with(|lines| (lines.lag_lines(), lines.held().0 == 0));
        // The loop only needs to hear of room when it may have waited for some.
        if lag_lines != last_lag_lines || !empty {
            last_lag_lines = lag_lines;
            let _ = notice.try_send(Notice::Room { lag_lines });
        }
    }
    Ok(())
}

/// The parts that need poll(2): a read or a wait that can be told to end.
#[cfg(unix)]
mod unix {
    use std::io::{self, PipeReader, PipeWriter};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::Duration;

    /// Tells the threads to end, by being dropped or told to.
    #[derive(Debug)]
    pub struct Stop(Option<PipeWriter>);
    /// Where they hear it.
    pub type Stopped = PipeReader;

    /// Whether the threads hear it.
    pub const JOINABLE: bool = true;

    pub fn stop() -> io::Result<(Stop, Stopped)> {
        let (reader, writer) = io::pipe()?;
        Ok((Stop(Some(writer)), reader))
    }

    impl Stop {
        pub fn now(&mut self) {
            self.0 = None;
        }
    }

    /// Waits until something can be read. False: to end.
    pub fn wait_for_input(stop: &Stopped) -> bool {
        let stdin = io::stdin();
        let mut fds = [PollFd::new(&stdin, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        wait(&mut fds);
        fds[1].revents().is_empty()
    }

    /// Whether stdin is a terminal that another process group has.
    pub fn is_in_background() -> bool {
        rustix::termios::tcgetpgrp(io::stdin()).is_ok_and(|has_it| has_it != rustix::process::getpgrp())
    }

    /// Waits for so long. False: to end.
    pub fn pause(stop: &Stopped, time: Duration) -> bool {
        let mut fds = [PollFd::new(stop, PollFlags::IN)];
        let time = Timespec::try_from(time).ok();
        // Cut short by a signal it is over a little too early.
        let _ = poll(&mut fds, time.as_ref());
        fds[0].revents().is_empty()
    }

    /// Waits until stdout is closed. False: to end.
    pub fn wait_until_closed(stop: &Stopped) -> bool {
        let stdout = io::stdout();
        let mut fds = [PollFd::new(&stdout, PollFlags::empty()), PollFd::new(stop, PollFlags::IN)];
        wait(&mut fds);
        fds[1].revents().is_empty()
    }

    fn wait(fds: &mut [PollFd<'_>]) {
        while let Err(rustix::io::Errno::INTR) = poll(fds, None) {}
    }

    /// Writes all of it, even if the parent process has made stdout non-blocking.
    pub fn write_all(mut bytes: &[u8]) -> io::Result<()> {
        let stdout = io::stdout();
        while !bytes.is_empty() {
            match rustix::io::write(&stdout, bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => wait(&mut [PollFd::new(&stdout, PollFlags::OUT)]),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}

/// Without poll(2) the threads end with the process, and a closed stdout shows at the next line.
#[cfg(not(unix))]
#[path = "stdio_elsewhere.rs"]
mod unix;
