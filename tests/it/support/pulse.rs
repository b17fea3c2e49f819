//! A PulseAudio server of a test's own, with null sinks for microphones and speakers: real sound without a sound card.
//!
//! What is played to the sink `mic` is heard by who records `mic.monitor`. The server runs in a folder of its own, knows
//! nothing of any other, and ends with the thread that started it, even if that is killed.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Node, PATIENCE, TempDir};

/// Set to skip what needs PulseAudio.
const SKIP: &str = "P2P_NO_SOUND";

/// Servers that may run at once, whatever the number of tests that do: each mixes and resamples, and its nodes encode and
/// decode, so that more of them than cores drown one another's sound.
const AT_ONCE: usize = 2;

static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// The right to run a server.
struct Permit;

impl Permit {
    /// Waits for one.
    fn take() -> Self {
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut running = ENDED.wait_while(running, |it| *it >= AT_ONCE).unwrap_or_else(PoisonError::into_inner);
        *running += 1;
        Self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_one();
    }
}

/// A running server.
pub struct Pulse {
    dir: TempDir,
    server: Option<Child>,
    _permit: Permit,
}

/// Whether tests with real sound are to be left out; says so.
///
/// # Panics
/// If they are not, and PulseAudio is not there: in one line that tells what to do.
pub fn is_skipped() -> bool {
    if std::env::var_os(SKIP).is_some_and(|it| !it.is_empty()) {
        eprintln!("skipped: {SKIP} is set, and this test needs PulseAudio");
        return true;
    }
    for program in ["pulseaudio", "pactl", "parec", "paplay", "setpriv"] {
        let there = std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).exists()));
        assert!(
            there,
            "`{program}` is not installed: `scripts/setup test` installs it (or: apt-get install pulseaudio \
             pulseaudio-utils libasound2-plugins util-linux); {SKIP}=1 skips the tests of real sound"
        );
    }
    false
}

impl Pulse {
    /// Starts a server with these modules, one a line as in PulseAudio's own scripts.
    pub fn start(modules: &str) -> Self {
        let permit = Permit::take();
        let dir = TempDir::new();
        let socket = dir.path("native");
        // The socket comes last: who can connect finds everything else there.
        let script = format!("{modules}\nload-module module-native-protocol-unix auth-anonymous=1 socket={socket}\n");
        dir.write("script.pa", &script);
        let mut pulse = Self { dir, server: None, _permit: permit };
        pulse.start_again();
        pulse
    }

    /// A server with null sinks of these names, sample formats as PulseAudio writes them: `rate=48000 channels=2`.
    pub fn with_sinks(sinks: &[(&str, &str)]) -> Self {
        let lines = sinks.iter().map(|(name, format)| format!("{}\n", null_sink(name, format)));
        Self::start(&lines.collect::<String>())
    }

    /// Starts it again after it was killed.
    pub fn start_again(&mut self) {
        let _ = std::fs::remove_file(self.dir.path("native"));
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "pulseaudio", "-n", "-F", &self.dir.path("script.pa")]);
        command.args(["--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--disallow-exit"]);
        command.args(["--realtime=no", "--high-priority=no", "--log-level=error"]);
        command.envs(self.env()).env_remove("PULSE_SERVER");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.server = Some(command.spawn().expect("PulseAudio starts"));
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(self.dir.path("native")).is_err() {
            assert!(Instant::now() < deadline, "PulseAudio does not come up");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What a program needs in its environment to find this server and no other.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        let dir = self.dir.path("");
        let mut env: Vec<_> =
            ["XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH", "PULSE_STATE_PATH", "PULSE_CONFIG_PATH", "HOME"]
                .map(|name| (name, dir.clone()))
                .into();
        env.push(("PULSE_SERVER", format!("unix:{}", self.dir.path("native"))));
        env
    }

    /// A node that finds this server.
    #[track_caller]
    pub fn node(&self, args: &[&str]) -> Node {
        let env: String = self.env().iter().map(|(name, value)| format!("{name}='{value}' ")).collect();
        Node::shell(&format!("exec env {env} \"$@\""), args)
    }

    /// A node that knows of this server only through ALSA, whose default device is these sinks'.
    #[track_caller]
    pub fn alsa_node(&self, source: &str, sink: &str, args: &[&str]) -> Node {
        let server = format!("unix:{}", self.dir.path("native"));
        let config = format!(
            "</usr/share/alsa/alsa.conf>\npcm.!default {{ type pulse\n server \"{server}\" }}\nctl.!default {{ type \
             pulse\n server \"{server}\" }}\n"
        );
        let config = self.dir.write(&format!("{source}-{sink}.conf"), &config);
        let nowhere = self.dir.path("nowhere");
        Node::shell(
            &format!(
                "exec env -u PULSE_SERVER XDG_RUNTIME_DIR='{nowhere}' HOME='{nowhere}' PULSE_RUNTIME_PATH='{nowhere}' \
                 ALSA_CONFIG_PATH='{config}' PULSE_SOURCE='{source}' PULSE_SINK='{sink}' \"$@\""
            ),
            args,
        )
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            // Neither fails but for a server that has ended.
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Stops it: it keeps its connections and answers nobody.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let server = self.server.as_ref().expect("the server runs");
        let pid = i32::try_from(server.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the server is there");
    }

    /// Runs `pactl`, which must succeed.
    #[track_caller]
    pub fn control(&self, args: &[&str]) -> String {
        let output = Command::new("pactl").args(args).envs(self.env()).output().expect("pactl runs");
        assert!(output.status.success(), "pactl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Plays a WAV file to a sink to its end.
    #[track_caller]
    pub fn play(&self, sink: &str, wav: &Path) {
        let mut player = self.begin_to_play(sink, wav);
        assert!(player.wait().expect("paplay runs").success(), "paplay failed");
    }

    /// Begins to play a WAV file to a sink.
    pub fn begin_to_play(&self, sink: &str, wav: &Path) -> Child {
        let mut player = Command::new("paplay");
        player.arg(format!("--device={sink}")).arg(wav).envs(self.env());
        player.spawn().expect("paplay runs")
    }

    /// Records a source, at 16 kHz, until it is dropped. Returns once something has come.
    pub fn record(&self, source: &str, channels: usize) -> Recording {
        let mut command = Command::new("parec");
        command.args(["--raw", "--format=s16le", "--rate=16000", "--latency-msec=10"]);
        command.arg(format!("--channels={channels}")).arg(format!("--device={source}")).envs(self.env());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("parec runs");
        let mut stdout = child.stdout.take().expect("its stdout");
        let recorded = Arc::new((Mutex::new(Recorded::default()), Condvar::new()));
        let theirs = recorded.clone();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            let mut odd = Vec::new();
            while let Ok(n @ 1..) = stdout.read(&mut bytes) {
                let at = Instant::now();
                odd.extend_from_slice(&bytes[..n]);
                let whole = odd.len() / 2 * 2;
                let samples = odd[..whole].as_chunks::<2>().0.iter().map(|it| i16::from_le_bytes(*it));
                theirs.0.lock().unwrap().add(at, samples, channels);
                theirs.1.notify_all();
                odd.drain(..whole);
            }
        });
        let recording = Recording { child, recorded, channels };
        recording.await_frames(1);
        recording
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A recording that goes on until it is dropped.
pub struct Recording {
    child: Child,
    recorded: Arc<(Mutex<Recorded>, Condvar)>,
    channels: usize,
}

#[derive(Default)]
struct Recorded {
    samples: Vec<i16>,
    /// When the first sample was there, by the quickest of all reads: the others were held up on their way.
    began: Option<Instant>,
}

impl Recorded {
    fn add(&mut self, at: Instant, samples: impl Iterator<Item = i16>, channels: usize) {
        self.samples.extend(samples);
        let began = at.checked_sub(seconds(self.samples.len() / channels));
        self.began = self.began.into_iter().chain(began).min();
    }
}

impl Recording {
    /// How many samples of each channel there are.
    pub fn frames(&self) -> usize {
        self.recorded.0.lock().unwrap().samples.len() / self.channels
    }

    /// Waits until there are so many.
    #[track_caller]
    pub fn await_frames(&self, frames: usize) {
        let recorded = self.recorded.0.lock().unwrap();
        let missing = |all: &mut Recorded| all.samples.len() < frames * self.channels;
        let (recorded, waited) = self.recorded.1.wait_timeout_while(recorded, PATIENCE, missing).unwrap();
        assert!(!waited.timed_out(), "nothing more is recorded than {} samples", recorded.samples.len());
    }

    /// One channel of it, from a sample on.
    pub fn channel(&self, channel: usize, from: usize) -> Vec<i16> {
        let recorded = self.recorded.0.lock().unwrap();
        recorded.samples.chunks_exact(self.channels).skip(from).map(|frame| frame[channel]).collect()
    }

    /// When a sample was there. For the bench.
    #[allow(dead_code, reason = "the bench measures time, the tests never")]
    pub fn time_of(&self, frame: usize) -> Instant {
        self.recorded.0.lock().unwrap().began.expect("something was recorded") + seconds(frame)
    }

    /// Which sample there was at a time. For the bench.
    #[allow(dead_code, reason = "the bench measures time, the tests never")]
    pub fn frame_at(&self, time: Instant) -> usize {
        let since = time.saturating_duration_since(self.time_of(0));
        (since.as_secs_f64() * RATE).round() as usize
    }
}

/// Samples a second of a recording.
pub const RATE: f64 = 16_000.0;

fn seconds(frames: usize) -> Duration {
    Duration::from_secs_f64(frames as f64 / RATE)
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The line that makes a null sink. Without `norewinds` capture from its monitor stalls.
pub fn null_sink(name: &str, format: &str) -> String {
    format!("load-module module-null-sink sink_name={name} {format} norewinds=1")
}
