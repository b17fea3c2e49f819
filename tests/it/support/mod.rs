//! The harness: [`Node`] drives the real program, [`RawPeer`] and [`Original`] meet it on the wire.
//!
//! - [`line`](mod@line): what every line of output must be
//! - [`node`]: a process, its lines, its end
//! - [`raw`]: a peer made of a blocking socket, as well or ill behaved as a test likes
//! - [`pulse`]: a PulseAudio server, for real sound
//! - [`original`]: the Python program's nodes, mesh and star, to share a network with
//! - [`room_key`]: the original's encryption, computed apart from the program's own
//! - [`voice`]: what nodes say and are heard to say; [`telephone`]: an original node in voice
//! - [`middle`]: somebody between two nodes, who sees and changes what they say; [`net`]: a network with a cable that can be cut
//! - [`pair`]: two honest nodes around one under test; [`process`]: what a process takes of the machine

pub mod line;
pub mod middle;
#[cfg(target_os = "linux")]
pub mod net;
pub mod node;
pub mod original;
pub mod pair;
#[cfg(target_os = "linux")]
pub mod process;
#[cfg(feature = "audio")]
pub mod pulse;
pub mod raw;
pub mod room_key;
pub mod telephone;
pub mod voice;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

pub use node::{Node, Output};
pub use original::Original;
pub use pair::Pair;
pub use raw::{RawListener, RawPeer};

/// How long anything may take that a test awaits. It only ever serves to fail.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How soon a test looks again at what has no event to await: often enough to cost no time, and seldom enough to leave the
/// machine to those it looks at.
pub const AGAIN: Duration = Duration::from_millis(2);

/// The path of the program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_p2p-chat");

static COUNTER: AtomicU32 = AtomicU32::new(1);

/// A message id that no other test uses.
pub fn fresh_id() -> String {
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{:08x}-{:04x}-4000-8000-{:012x}", std::process::id(), n & 0xffff, n >> 16)
}

/// A loopback address of one's own, so that a port freed there can be bound again: nobody else is given it.
pub fn private_host() -> String {
    if !cfg!(target_os = "linux") {
        return "127.0.0.1".to_owned();
    }
    static HOSTS: AtomicU32 = AtomicU32::new(1);
    // By the whole number of this process, or nearly: another run of the tests has others. Those of 127.0 are everybody's.
    let (pid, n) = (std::process::id(), HOSTS.fetch_add(1, Ordering::Relaxed));
    assert!(n < 1 << 8, "a run has 255 of them");
    format!("127.{}.{}.{n}", 1 + (pid >> 8) % 254, pid & 0xff)
}

/// Looks again and again until it is so. `look` gives what is wrong meanwhile, which is said if it stays wrong.
#[track_caller]
pub fn settles(what: &str, mut look: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(wrong) = look() {
        assert!(Instant::now() < deadline, "{what}: never settled: {wrong}");
        thread::sleep(AGAIN);
    }
}

/// Whether each field of `pattern` (an object) is in `value`, and equal.
pub fn has_fields(value: &Value, pattern: &Value) -> bool {
    let pattern = pattern.as_object().expect("a pattern is an object");
    pattern.iter().all(|(name, wanted)| value.get(name) == Some(wanted))
}

/// A field that must be a string.
#[track_caller]
pub fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no text `{field}` in {value}")).to_owned()
}

/// A field that must be a whole number.
#[track_caller]
pub fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("no number `{field}` in {value}"))
}

/// A field that must be a list.
#[track_caller]
pub fn list(value: &Value, field: &str) -> Vec<Value> {
    value[field].as_array().unwrap_or_else(|| panic!("no list `{field}` in {value}")).clone()
}

/// That field of each of the values, which must be strings.
#[track_caller]
pub fn texts(values: &[Value], field: &str) -> Vec<String> {
    values.iter().map(|value| text(value, field)).collect()
}

/// A character that may drive a terminal and so is never printed raw.
pub fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A folder of a test's own, removed with it.
pub struct TempDir(PathBuf);

impl TempDir {
    /// An empty one.
    pub fn new() -> Self {
        loop {
            let path = std::env::temp_dir().join(format!("p2p-chat-test-{}", fresh_id()));
            match std::fs::create_dir(&path) {
                Ok(()) => return Self(path),
                // One of a run that was killed, and had the number that this process has.
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => panic!("{}: {e}", path.display()),
            }
        }
    }

    /// Its path, with a name in it.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    /// Writes a file, and gives its path.
    pub fn write(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).expect("a file");
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What stays behind harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
