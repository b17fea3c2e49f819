//! Signals that end a node, in good order.
//!
//! All whose default is to end a process are taken, but for those that tell of a fault in it (SIGQUIT and SIGABRT ask for a core
//! dump; SIGSEGV and the like) and SIGPIPE, which Rust ignores. What was ignored at the start stays ignored: so `nohup` has it
//! with SIGHUP, and a shell without job control with SIGINT of what runs in the background.

use std::io;
use std::rc::Rc;

use super::Loop;
use crate::api::event::ByeReason;
use crate::node::Input;
pub use unix::{Caught, catch, survive_file_limit};

/// Passes them on to the node; a second one ends the process at once, as it would have without us.
pub(super) async fn watch(this: Rc<Loop>, mut signals: Caught) {
    let mut asked = false;
    loop {
        let (number, reason) = signals.next().await;
        if asked {
            // The status that a shell shows of a process that a signal has ended.
            std::process::exit(128 + number);
        }
        asked = true;
        this.handle(Input::Signal(reason));
    }
}

#[cfg(unix)]
mod unix {
    use std::os::unix::net::UnixStream;

    use signal_hook::consts::*;
    use signal_hook::iterator::backend::SignalDelivery;
    use signal_hook::iterator::exfiltrator::SignalOnly;
    use smol::Async;

    use super::{ByeReason, io};

    /// The signals, and what each is as a reason.
    const ENDING: [(i32, ByeReason); 10] = [
        (SIGHUP, ByeReason::Sighup),
        (SIGINT, ByeReason::Sigint),
        (SIGTERM, ByeReason::Sigterm),
        (SIGUSR1, ByeReason::Sigusr1),
        (SIGUSR2, ByeReason::Sigusr2),
        (SIGALRM, ByeReason::Sigalrm),
        (SIGVTALRM, ByeReason::Sigvtalrm),
        (SIGPROF, ByeReason::Sigprof),
        (SIGIO, ByeReason::Sigio),
        (SIGXCPU, ByeReason::Sigxcpu),
    ];

    /// The signals that are taken, as they come.
    #[derive(Debug)]
    pub struct Caught(SignalDelivery<Async<UnixStream>, SignalOnly>);

    /// Takes the signals from now on.
    pub fn catch() -> io::Result<Caught> {
        let ignored = ignored();
        let taken = ENDING.iter().map(|(number, _)| *number).filter(|number| ignored >> (number - 1) & 1 == 0);
        let (read, write) = UnixStream::pair()?;
        SignalDelivery::with_pipe(Async::new(read)?, write, SignalOnly, taken).map(Caught)
    }

    impl Caught {
        /// The next one: its number, and what it is as a reason.
        pub async fn next(&mut self) -> (i32, ByeReason) {
            loop {
                let came = self.0.pending().next();
                if let Some(it) = came.and_then(|came| ENDING.into_iter().find(|(number, _)| *number == came)) {
                    return it;
                }
                if self.0.get_read().readable().await.is_err() {
                    // The loop can't wait for anything: it will not get far.
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// Has a write beyond the limit of a file's size fail, as one on a full disk does, instead of ending the process.
    pub fn survive_file_limit() -> io::Result<()> {
        // It is caught for good, whether or not somebody looks at the flag.
        signal_hook::flag::register(SIGXFSZ, std::sync::Arc::default()).map(drop)
    }

    /// The signals that are ignored, the lowest bit for number 1. Only Linux tells it without a call that is not safe.
    fn ignored() -> u64 {
        if !cfg!(target_os = "linux") {
            return 0;
        }
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
    }
}

/// Other systems have Ctrl-C alone.
#[cfg(not(unix))]
mod unix {
    use async_signal::{Signal, Signals};
    use smol::stream::StreamExt;

    use super::{ByeReason, io};

    /// See the other.
    #[derive(Debug)]
    pub struct Caught(Signals);

    pub fn catch() -> io::Result<Caught> {
        Signals::new([Signal::Int, Signal::Term]).map(Caught)
    }

    impl Caught {
        pub async fn next(&mut self) -> (i32, ByeReason) {
            match self.0.next().await {
                Some(Ok(Signal::Term)) => (15, ByeReason::Sigterm),
                _ => (2, ByeReason::Sigint),
            }
        }
    }

    pub fn survive_file_limit() -> io::Result<()> {
        Ok(())
    }
}
