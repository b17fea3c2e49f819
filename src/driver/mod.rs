//! The event loop: performs what the node wants done, and tells it what happened.
//!
//! One thread runs the node and all sockets, on one executor that owns its tasks. A link has a task that reads and one
//! that writes; bytes go to the node as they come, and what it wants sent is copied into the links' buffers and written
//! when the loop comes round: so a burst costs a few system calls, not a few a message. stdin and stdout have a thread
//! each, and a third watches whether stdout is still open.
//!
//! - [`tcp`]: links, [`links`](self): found by their ids; [`dial`](self): name look-up and connect; [`udp`]: datagrams, [`line`](self): and a bad line for them; [`sound`](self): microphone and speaker
//! - [`state`]: the state folder
//! - [`keys`]: rooms' keys, derived on other threads; [`handshake`](self): handshakes, gone on with on another
//! - [`signals`]: those that end a node
//! - [`stdio`]: the threads; [`client`]: the queue of lines between the loop and stdout's thread

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_channel::{Receiver, Sender};
use smol::{Async, LocalExecutor, Task, Timer};

use crate::api::Request;
use crate::api::event::WarningCode;
use crate::node::{Config, DialId, Input, JobId, Node, Now, Outbox, Output, STDIO};

pub mod client;
mod dial;
mod handshake;
pub mod keys;
pub mod limits;
mod line;
mod links;
pub mod signals;
mod sound;
pub mod state;
pub mod stdio;
mod tcp;
mod udp;

use links::Links;
use state::saver::{Report, Saver};
use tcp::LinkIo;
pub use udp::local_ip_to;

/// The sockets that a node runs on.
#[derive(Debug)]
pub struct Sockets {
    /// Where peers dial.
    pub tcp: TcpListener,
    /// Where datagrams come.
    pub udp: UdpSocket,
    /// Whether datagrams are to come where links are, too.
    pub follows_links: bool,
}

/// Notices to the loop from the threads of stdio.
#[derive(Debug)]
pub enum Notice {
    /// stdout was closed.
    OutputClosed,
    /// Lines were written: there may be room for replies again.
    Room {
        /// `lagged` lines so far.
        lag_lines: u64,
    },
    /// Lines have waited for the state folder for so long that they wait no more.
    DiskSilent,
}

/// The ends of stdio's threads that the loop holds.
#[derive(Debug)]
pub struct Stdio {
    /// Lines of input, a batch at a time; closed at the end of input.
    pub requests: Receiver<Vec<Request>>,
    /// Lines of output.
    pub output: Arc<client::Queue>,
    /// Notices from its writer.
    pub notices: Receiver<Notice>,
    /// Lines for stderr.
    pub errors: stdio::Stderr,
}

/// Settings for tests only.
#[derive(Debug, Default)]
pub struct ForTests {
    /// How much too fast the clocks of files and of no devices run, in millionths.
    pub clock_ppm: f64,
    /// The virtual line that datagrams pass on their way to us.
    pub line: Option<crate::line::Settings>,
}

/// Everything the tasks share. They run on one thread, and none holds a borrow while it waits.
struct Loop {
    core: RefCell<Core>,
    executor: LocalExecutor<'static>,
    scratch: RefCell<Box<[u8]>>,
    /// The tasks that wait until reading is allowed again.
    gate: RefCell<Vec<Waker>>,
    timer: Wake,
    /// There are lines for stdout's writer.
    lines: Wake,
    exit: Sender<u8>,
    /// Permits to derive a key.
    deriving: smol::lock::Semaphore,
    handshakes: handshake::Handshakes,
}

struct Core {
    node: Node,
    out: Outbox,
    links: Links<LinkIo>,
    spare: tcp::Spare,
    dials: HashMap<DialId, Task<()>>,
    jobs: HashMap<JobId, Task<()>>,
    next_link: u64,
    udp: udp::Sockets,
    sound: Option<sound::Sound>,
    recordings: crate::audio::Recordings,
    /// Inputs that outputs have caused at once: the node gets them next. At most those of one call of sound.
    echoes: VecDeque<Input<'static>>,
    clock_ppm: f64,
    stdio: Stdio,
    /// With a state folder.
    saver: Option<Saver>,
    /// Changes of it so far.
    changes: u64,
    /// When the timer will wake.
    timer_at: Option<Instant>,
}

/// How much is read at once, in bytes: one buffer for all links, since a link only keeps what is cut in two.
const SCRATCH: usize = 64 << 10;
/// The same in a call, in which a flood of text must not hold up voice for long. A guess.
const SCRATCH_IN_CALL: usize = 16 << 10;

/// At the end, how long the disk may take for what is to be kept. A guess.
const SAVE_TIME: Duration = Duration::from_secs(5);

/// Runs a node until it ends. Gives the exit code.
pub fn run(
    config: Config,
    sockets: Sockets,
    stdio: Stdio,
    store: Option<state::Store>,
    warnings: Vec<(WarningCode, String)>,
    for_tests: ForTests,
) -> std::io::Result<u8> {
    let (exit, exited) = async_channel::bounded(1);
    let tcp = Async::new(sockets.tcp)?;
    let signals = signals::catch()?;
    let (requests, notices) = (stdio.requests.clone(), stdio.notices.clone());
    let (output, errors) = (stdio.output.clone(), stdio.errors.clone());
    let (wake, saved) = async_channel::bounded(1);
    let saver = store.map(|store| Saver::start(store, output.clone(), wake)).transpose()?;
    let mut out = Outbox::default();
    let seed = line::seed(config.seed, &config.username, config.entropy);
    let line = for_tests.line.map(|settings| (settings, seed));
    let (udp, received) = udp::Sockets::new(sockets.udp, sockets.follows_links, line)?;
    let node = Node::new(now(), config, &mut out);
    let core = Core {
        node,
        out,
        links: Links::default(),
        spare: tcp::Spare::default(),
        dials: HashMap::new(),
        jobs: HashMap::new(),
        next_link: 0,
        udp,
        sound: None,
        recordings: crate::audio::Recordings::default(),
        echoes: VecDeque::new(),
        clock_ppm: for_tests.clock_ppm,
        stdio,
        saver,
        changes: 0,
        timer_at: None,
    };
    let this = Rc::new(Loop {
        core: RefCell::new(core),
        executor: LocalExecutor::new(),
        scratch: RefCell::new(vec![0; SCRATCH].into()),
        gate: RefCell::default(),
        timer: Wake::default(),
        lines: Wake::default(),
        exit,
        deriving: keys::permits(),
        handshakes: handshake::Handshakes::default(),
    });
    this.clone().perform();
    for (code, message) in warnings {
        this.handle(Input::Warn(code, message));
    }
    let tasks = [
        this.executor.spawn(tcp::accept(this.clone(), tcp)),
        this.executor.spawn(udp::receive(this.clone(), received)),
        this.executor.spawn(watch_time(this.clone())),
        this.executor.spawn(wake_writer(this.clone(), output.clone())),
        this.executor.spawn(signals::watch(this.clone(), signals)),
        this.executor.spawn(take_requests(this.clone(), requests)),
        this.executor.spawn(take_notices(this.clone(), notices)),
        this.executor.spawn(take_reports(this.clone(), saved)),
    ];
    let code = smol::block_on(this.executor.run(exited.recv())).unwrap_or(1);
    // The tasks hold the loop, and the loop holds tasks: here they let go of each other.
    drop(tasks);
    let mut core = this.core.borrow_mut();
    let held = (std::mem::take(&mut core.links), std::mem::take(&mut core.dials), std::mem::take(&mut core.jobs));
    let (sound, saver) = (core.sound.take(), core.saver.take());
    drop(core);
    drop(sound.map(sound::Sound::stop));
    drop(held);
    // A task that was let go is taken down by its executor, at its next turn.
    while this.executor.try_tick() {}
    if let Some(Err(why)) = saver.map(|saver| saver.finish(SAVE_TIME)) {
        errors.say(&format!("the state folder could not be written at the end: {why}"));
    }
    output.release();
    Ok(code)
}

/// The one place where time is read.
#[allow(clippy::disallowed_methods, reason = "the driver gives time to the node")]
fn now() -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { mono: Instant::now(), unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX) }
}

impl Loop {
    /// Tells the node what happened, and does what it wants done.
    fn handle(self: &Rc<Self>, input: Input<'_>) {
        let mut next = Some(input);
        while let Some(input) = next {
            {
                let core = &mut *self.core.borrow_mut();
                core.node.handle(now(), input, &mut core.out);
            }
            self.clone().perform();
            next = self.core.borrow_mut().echoes.pop_front();
        }
    }

    /// Does what the node wants done.
    fn perform(self: Rc<Self>) {
        let core = &mut *self.core.borrow_mut();
        let mut outputs = std::mem::take(&mut core.out.outputs);
        let mut outputs_left = outputs.drain(..).peekable();
        while let Some(output) = outputs_left.next() {
            match output {
                Output::Send { link, bytes } => {
                    if let Some(io) = core.links.get_mut(link) {
                        io.queue(&bytes, &core.out, &mut core.spare);
                    }
                }
                Output::Fan { links, bytes } => {
                    for link in core.out.receivers(&links) {
                        if let Some(io) = core.links.get_mut(*link) {
                            io.queue(&bytes, &core.out, &mut core.spare);
                        }
                    }
                }
                Output::Line { client, kind, text } => {
                    debug_assert_eq!(client, STDIO);
                    // One lock for all the lines in a row.
                    core.stdio.output.fill(|lines| {
                        lines.push(kind, text, core.changes);
                        while let Some(Output::Line { .. }) = outputs_left.peek() {
                            if let Some(Output::Line { kind, text, .. }) = outputs_left.next() {
                                lines.push(kind, text, core.changes);
                            }
                        }
                    });
                    self.lines.wake();
                }
                Output::HalfClose(link) => {
                    if let Some(io) = core.links.get_mut(link) {
                        io.half_close();
                    }
                }
                Output::Close(link) => {
                    core.links.remove(link);
                }
                Output::Dial { dial, addr, order } => {
                    let task = self.executor.spawn(dial::dial(self.clone(), dial, addr, order));
                    core.dials.insert(dial, task);
                }
                Output::Handshake { link, step } => {
                    if let Some(io) = core.links.get_mut(link) {
                        io.step = Some(self.executor.spawn(handshake::step(self.clone(), link, step)));
                    }
                }
                Output::Derive { job, scheme, passphrase: text, room } => {
                    let it = keys::Passphrase { room, scheme, text };
                    let task = self.executor.spawn(keys::derive(self.clone(), job, it));
                    core.jobs.insert(job, task);
                }
                Output::Datagram { to, bytes } => core.udp.send(to, &bytes, &core.out),
                Output::StartAudio { mic, speaker } => {
                    match sound::Sound::start(&self, &mic, &speaker, core.clock_ppm, core.recordings.clone()) {
                        Ok(sound) => core.sound = Some(sound),
                        Err(why) => core.echoes.push_back(Input::AudioOpened(Err(why))),
                    }
                }
                Output::Play(chunk) => {
                    if let Some(sound) = &core.sound {
                        sound.play(&chunk);
                    }
                }
                Output::PauseMic(paused) => {
                    if let Some(sound) = &core.sound {
                        sound.pause_mic(paused);
                    }
                }
                Output::StopAudio => {
                    if let Some(sound) = core.sound.take() {
                        core.echoes.extend(sound.stop());
                    }
                }
                Output::Store { table, key, value } => {
                    if let Some(saver) = &core.saver {
                        core.changes = saver.change(table, key, value);
                    }
                }
                // The store holds no messages yet: there are none to be had.
                Output::Load { job, .. } => core.echoes.push_back(Input::Loaded { job, rows: Vec::new() }),
                Output::ListDevices(job) => {
                    let task = self.executor.spawn(sound::list_devices(self.clone(), job));
                    core.jobs.insert(job, task);
                }
                Output::Log(level, line) => core.stdio.errors.log(level, &line),
                Output::Complain(line) => core.stdio.errors.say(&line),
                Output::Exit(code) => {
                    // The first code stands.
                    let _ = self.exit.try_send(code);
                    // `bye` has been said: what comes now is for stderr alone.
                    for echo in core.echoes.drain(..) {
                        if let Input::Warn(_, message) = echo {
                            core.stdio.errors.say(&message);
                        }
                    }
                }
            }
        }
        drop(outputs_left);
        core.out.outputs = outputs;
        core.out.clear();
        let deadline = core.node.next_deadline();
        if deadline.is_some_and(|at| core.timer_at.is_none_or(|timer| at < timer)) {
            self.timer.wake();
        }
        for waker in self.gate.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    /// Waits until the node allows something.
    async fn wait_until(&self, allowed: impl Fn(&Core) -> bool) {
        smol::future::poll_fn(|cx| {
            if allowed(&self.core.borrow()) {
                return Poll::Ready(());
            }
            self.gate.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Wakes one task from others on the same thread.
#[derive(Default)]
struct Wake {
    set: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Wake {
    fn wake(&self) {
        self.set.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    async fn wait(&self) {
        smol::future::poll_fn(|cx| {
            if self.set.take() {
                return Poll::Ready(());
            }
            self.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// Wakes the node when something is due.
async fn watch_time(this: Rc<Loop>) {
    loop {
        let deadline = {
            let core = &mut *this.core.borrow_mut();
            core.timer_at = core.node.next_deadline();
            core.timer_at
        };
        let due = match deadline {
            None => {
                this.timer.wait().await;
                false
            }
            Some(at) => {
                smol::future::or(
                    async {
                        Timer::at(at).await;
                        true
                    },
                    async {
                        this.timer.wait().await;
                        false
                    },
                )
                .await
            }
        };
        if due {
            this.handle(Input::Tick);
        }
    }
}

/// Wakes stdout's writer when the loop comes round: so a burst of lines costs one call of the system.
async fn wake_writer(this: Rc<Loop>, output: Arc<client::Queue>) {
    loop {
        this.lines.wait().await;
        output.wake();
    }
}

/// Hands lines of input to the node, as fast as it takes them.
async fn take_requests(this: Rc<Loop>, requests: Receiver<Vec<Request>>) {
    /// Lines between two looks at everything else.
    const TURN: usize = 64;
    while let Ok(batch) = requests.recv().await {
        for (n, request) in batch.into_iter().enumerate() {
            this.wait_until(|core| {
                core.node.may_take_request(now(), STDIO) && core.stdio.output.fill(|lines| lines.has_room())
            })
            .await;
            this.handle(Input::Request { client: STDIO, request });
            if n % TURN == TURN - 1 {
                smol::future::yield_now().await;
            }
        }
    }
    this.handle(Input::EndOfInput(STDIO));
}

/// Hears what stdout's threads have to say.
async fn take_notices(this: Rc<Loop>, notices: Receiver<Notice>) {
    while let Ok(notice) = notices.recv().await {
        match notice {
            Notice::OutputClosed => this.handle(Input::OutputClosed(STDIO)),
            Notice::DiskSilent => {
                let (stores, error) = (this.core.borrow().changes, Some("the disk does not answer".to_owned()));
                this.handle(Input::Saved { stores, error });
            }
            Notice::Room { lag_lines } => this.handle(Input::LagLines { client: STDIO, lines: lag_lines }),
        }
    }
}

/// Hears what became of what is to be kept.
async fn take_reports(this: Rc<Loop>, saved: Receiver<()>) {
    while let Ok(()) = saved.recv().await {
        let Some(report) = this.core.borrow().saver.as_ref().map(Saver::hear) else { return };
        let Report { saved, failed, warnings } = report;
        // What failed first and was saved then, has failed all the same: a person should know.
        if let Some((stores, why)) = failed {
            this.handle(Input::Saved { stores, error: Some(why) });
        }
        if let Some(stores) = saved {
            this.handle(Input::Saved { stores, error: None });
        }
        for (code, message) in warnings {
            this.handle(Input::Warn(code, message));
        }
    }
}

/// The address really bound.
pub fn bound(sockets: &Sockets) -> std::io::Result<(SocketAddr, SocketAddr)> {
    Ok((sockets.tcp.local_addr()?, sockets.udp.local_addr()?))
}
