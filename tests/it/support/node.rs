//! A real process of the program, driven by its line protocol.
//!
//! A thread reads its stdout into a channel, so that a node is never held up by a test unless the test wants that.
//! Lines are checked where they are taken out: whatever a test has not asked for is checked when the node is dropped.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::{Value, json};

use super::line::Rules;
use super::{AGAIN, PATIENCE, PROGRAM, has_fields, is_control, text};

/// What Rust says on stderr of a panic. No node may have one, in any test.
const PANICKED: &str = "panicked at";

/// A running node.
pub struct Node {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Vec<u8>>,
    gate: Option<Sender<Gate>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    patience: Duration,
    rules: Rules,
    seen: Vec<Value>,
    /// The same lines as they were printed, and how many of them a transcript has.
    printed: Vec<String>,
    told: usize,
    /// Which of the events seen an `await_event` has given already.
    taken: Vec<bool>,
    ready: Value,
    /// Lines of input, and how many of them must be answered.
    lines_in: u64,
    answers_due: usize,
    next_id: u64,
}

/// What a node left behind.
pub struct Output {
    /// The exit code, if it ended by itself.
    pub code: Option<i32>,
    /// Each line that it printed.
    pub lines: Vec<Value>,
    /// All of its stderr.
    pub stderr: String,
}

/// What becomes of the stdout of a node that was started unread.
enum Gate {
    Read,
    Close,
}

impl Node {
    /// Starts a node on free ports, without sound, and waits until it is ready. An option in `args` goes before the default
    /// of it.
    #[track_caller]
    pub fn start(args: &[&str]) -> Self {
        let mut node = Self::launch(&Self::with_defaults(args));
        node.await_ready();
        node
    }

    /// Starts a node with that user name.
    #[track_caller]
    pub fn named(name: &str, args: &[&str]) -> Self {
        Self::start(&[&["--username", name], args].concat())
    }

    /// Starts a node whose events may take twice as long as others' to come.
    #[track_caller]
    pub fn patient(args: &[&str]) -> Self {
        Self::start(args).patiently()
    }

    /// The same, of one that runs already.
    pub fn patiently(mut self) -> Self {
        self.patience *= 2;
        self
    }

    /// Starts a node whose stdout nobody reads any more once it is ready.
    #[track_caller]
    pub fn unread(args: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(Self::with_defaults(args));
        let mut node = Self::spawn(command, true);
        node.await_ready();
        node
    }

    /// Starts the program with just these arguments, and waits for nothing.
    #[track_caller]
    pub fn launch<S: AsRef<OsStr>>(args: &[S]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(args);
        Self::spawn(command, false)
    }

    /// Starts a shell that becomes a node: `script` runs the program as `"$@"`.
    #[track_caller]
    pub fn shell(script: &str, args: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", PROGRAM]).args(Self::with_defaults(args));
        let mut node = Self::spawn(command, false);
        node.await_ready();
        node
    }

    /// The same, with no seed: its ids are new, and its times true.
    #[track_caller]
    pub fn shell_unseeded(script: &str, args: &[&str]) -> Self {
        let mut args = Self::with_defaults(args);
        let at = args.iter().position(|arg| arg == "--seed").expect("a default");
        args.drain(at..at + 2);
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", PROGRAM]).args(args);
        let mut node = Self::spawn(command, false);
        node.await_ready();
        node
    }

    fn with_defaults(args: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        // No test touches the machine's own microphone and speaker unless it says so.
        let defaults =
            [("--port", "0"), ("--udp-port", "0"), ("--seed", "7"), ("--mic", "none"), ("--speaker", "none")];
        for (option, value) in defaults {
            if !args.contains(&option) {
                all.extend([option.to_owned(), value.to_owned()]);
            }
        }
        all
    }

    #[track_caller]
    fn spawn(mut command: Command, unread: bool) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let (stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (to_test, lines) = mpsc::channel();
        let (gate, gate_opens) = mpsc::channel();
        thread::spawn(move || read_lines(stdout, &to_test, unread.then_some(gate_opens)));
        let stderr = thread::spawn(move || {
            let mut all = Vec::new();
            // An error ends it as the end does: what came is what there is.
            let _ = stderr.read_to_end(&mut all);
            all
        });
        Self {
            stdin: child.stdin.take(),
            child,
            lines,
            gate: unread.then_some(gate),
            stderr: Some(stderr),
            patience: PATIENCE,
            rules: Rules::default(),
            seen: Vec::new(),
            printed: Vec::new(),
            told: 0,
            taken: Vec::new(),
            ready: Value::Null,
            lines_in: 0,
            answers_due: 0,
            next_id: 0,
        }
    }

    #[track_caller]
    fn await_ready(&mut self) {
        self.ready = self.await_event("ready", json!({}));
    }

    /// What the node said when it was ready.
    pub const fn ready(&self) -> &Value {
        &self.ready
    }

    /// The TCP address it listens on.
    #[track_caller]
    pub fn addr(&self) -> String {
        text(&self.ready, "tcp")
    }

    /// Its node id.
    #[track_caller]
    pub fn id(&self) -> String {
        text(&self.ready, "node")
    }

    /// Its user name when it started.
    #[track_caller]
    pub fn username(&self) -> String {
        text(&self.ready, "username")
    }

    /// The number that the system knows the process by.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    // What a test says to it.

    /// Writes bytes to stdin as they are. They must be whole lines; the last may lack its newline.
    #[track_caller]
    pub fn send_raw(&mut self, bytes: &[u8]) {
        for line in bytes.strip_suffix(b"\n").unwrap_or(bytes).split(|&b| b == b'\n') {
            self.lines_in += 1;
            let line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
            let first = line.trim_ascii_start().first();
            self.answers_due += usize::from(first.is_some_and(|&b| b != b'#'));
        }
        self.stdin.as_mut().expect("stdin is open").write_all(bytes).expect("the node reads its stdin");
    }

    /// Writes a line to stdin, and gives its number.
    #[track_caller]
    pub fn send_line(&mut self, command: &Value) -> u64 {
        self.send_raw(format!("{command}\n").as_bytes());
        self.lines_in
    }

    /// How many lines it was sent: the number of the last.
    pub const fn lines_in(&self) -> u64 {
        self.lines_in
    }

    /// Sends a command, giving it an `id` if it has none, and waits for its reply.
    #[track_caller]
    pub fn command(&mut self, command: Value) -> Value {
        let id = self.begin(command);
        self.await_reply(&id)
    }

    /// Sends a command and does not wait. Gives its `id`.
    #[track_caller]
    pub fn begin(&mut self, mut command: Value) -> Value {
        if command.get("id").is_none() {
            self.next_id += 1;
            command["id"] = json!(format!("t{}", self.next_id));
        }
        self.send_line(&command);
        command["id"].clone()
    }

    /// Sends a command that must succeed. Gives its result.
    #[track_caller]
    pub fn ok(&mut self, command: Value) -> Value {
        let reply = self.command(command.clone());
        assert_eq!(reply["ok"], true, "{command} got {reply}");
        reply["result"].clone()
    }

    /// Sends a command that must fail. Gives its error code.
    #[track_caller]
    pub fn fails(&mut self, command: Value) -> String {
        let reply = self.command(command.clone());
        assert_eq!(reply["ok"], false, "{command} got {reply}");
        text(&reply["error"], "code")
    }

    /// Connects to an address. Gives the peer's node id.
    #[track_caller]
    pub fn connect(&mut self, addr: &str) -> String {
        text(&self.ok(json!({ "cmd": "connect", "addr": addr })), "peer")
    }

    /// Connects to another node, and waits until both know.
    #[track_caller]
    pub fn link(&mut self, other: &mut Self) {
        let peer = self.connect(&other.addr());
        assert_eq!(peer, other.id());
        other.await_event("peer_up", json!({ "peer": self.id() }));
    }

    /// Sends a message to the active room. Gives its id.
    #[track_caller]
    pub fn say(&mut self, text_: &str) -> String {
        text(&self.ok(json!({ "cmd": "send", "text": text_ })), "message")
    }

    /// Closes its stdin.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Takes its stdin away, for a test that writes to it from a thread. Gives no account of the answers due.
    pub fn take_stdin(&mut self) -> ChildStdin {
        self.stdin.take().expect("stdin is open")
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the node is there");
    }

    /// Kills it, as a crash would.
    pub fn kill(mut self) {
        self.child.kill().expect("the node is there");
    }

    /// Kills it, as a crash would. Gives every line that it had printed.
    #[track_caller]
    pub fn crash(mut self) -> Output {
        self.child.kill().expect("the node is there");
        self.answers_due = 0;
        self.stdin = None;
        self.await_end()
    }

    /// Reads its stdout again. It must have been started unread.
    pub fn read_on(&mut self) {
        self.gate.take().expect("it is unread").send(Gate::Read).expect("its stdout is open");
    }

    /// Closes its stdout. It must have been started unread.
    pub fn close_stdout(&mut self) {
        self.gate.take().expect("it is unread").send(Gate::Close).expect("its stdout is open");
    }

    // What a test hears from it.

    /// Waits for an event whose fields are equal to those of `fields`, and that was not awaited before.
    #[track_caller]
    pub fn await_event(&mut self, event: &str, fields: Value) -> Value {
        self.await_where(&format!("{event} {fields}"), |line| line["event"] == event && has_fields(line, &fields))
    }

    /// Waits for the reply to the command with that `id`.
    #[track_caller]
    pub fn await_reply(&mut self, id: &Value) -> Value {
        self.await_where(&format!("the reply to {id}"), |line| line["event"] == "reply" && line["id"] == *id)
    }

    /// Waits for a message with that text.
    #[track_caller]
    pub fn hears(&mut self, text: &str) -> Value {
        self.await_event("message", json!({ "text": text }))
    }

    /// Waits for a line that was not awaited before and that `wanted` holds for. `what` is said if none comes.
    #[track_caller]
    pub fn await_where(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + self.patience;
        let mut at = 0;
        loop {
            while at < self.seen.len() {
                if !self.taken[at] && wanted(&self.seen[at]) {
                    self.taken[at] = true;
                    return self.seen[at].clone();
                }
                at += 1;
            }
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.take(&line),
                Err(RecvTimeoutError::Timeout) => panic!("waited too long for {what}\n{}", self.story()),
                Err(RecvTimeoutError::Disconnected) => panic!("the node ended without {what}\n{}", self.story()),
            }
        }
    }

    /// The events of that name and with those fields that were seen so far.
    pub fn saw(&self, event: &str, fields: Value) -> Vec<Value> {
        self.seen.iter().filter(|line| line["event"] == event && has_fields(line, &fields)).cloned().collect()
    }

    /// The texts of the messages seen so far, in order.
    pub fn heard(&self) -> Vec<Value> {
        self.saw("message", json!({})).into_iter().map(|line| line["text"].clone()).collect()
    }

    /// The lines that were read since this was last asked, as they were printed.
    pub fn new_lines(&mut self) -> Vec<String> {
        let lines = self.printed[self.told..].to_vec();
        self.told = self.printed.len();
        lines
    }

    /// Runs commands that change nothing until `settled` holds for what one answers.
    #[track_caller]
    pub fn until(&mut self, command: &Value, settled: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let result = self.ok(command.clone());
            if settled(&result) {
                return result;
            }
            assert!(Instant::now() < deadline, "never settled: {result}\n{}", self.story());
            thread::sleep(AGAIN);
        }
    }

    // Its end.

    /// Closes its stdin, reads it to its end, and gives what it left behind.
    #[track_caller]
    pub fn finish(mut self) -> Output {
        self.stdin = None;
        self.await_end()
    }

    /// Waits until it ends by itself, its stdin open. Gives what it left behind.
    #[track_caller]
    pub fn await_end(mut self) -> Output {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.take(&line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("the node does not end\n{}", self.story()),
            }
        }
        let status = self.await_exit(deadline);
        let stderr = self.stderr.take().map(|it| it.join().unwrap()).unwrap_or_default();
        let stderr = String::from_utf8(stderr).expect("stderr is UTF-8");
        assert!(!stderr.contains(PANICKED), "a panic: {stderr}");
        let control = stderr.chars().find(|&c| is_control(c) && c != '\n');
        assert_eq!(control, None, "a raw control character on stderr: {stderr:?}");
        if self.seen.last().is_some_and(|bye| bye["reason"] == "eof") && self.answers_due > 0 {
            let replies = self.saw("reply", json!({})).len();
            assert_eq!(replies, self.answers_due, "each line is answered once\n{}", self.story());
        }
        Output { code: status.code(), lines: std::mem::take(&mut self.seen), stderr }
    }

    /// Waits for the end of the process, in a thread, to be able to give up.
    #[track_caller]
    fn await_exit(&mut self, deadline: Instant) -> std::process::ExitStatus {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        let (ended, end) = mpsc::channel();
        thread::spawn(move || {
            // It stays a zombie, so that its number is not given to another before it is waited for below.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
            let _ = ended.send(());
        });
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(end.recv_timeout(left).is_ok(), "stdout has ended and the node has not\n{}", self.story());
        self.child.wait().expect("it has ended")
    }

    /// Checks a line and keeps it.
    #[track_caller]
    fn take(&mut self, line: &[u8]) {
        match self.rules.check(line) {
            Ok(value) => {
                self.seen.push(value);
                self.printed.push(String::from_utf8_lossy(line).into_owned());
                self.taken.push(false);
            }
            Err(e) => panic!("a line that must not be: {e}\n{}", self.story()),
        }
    }

    /// The last lines, for whoever has to find out what went wrong.
    fn story(&self) -> String {
        let from = self.seen.len().saturating_sub(30);
        let lines: Vec<_> = self.seen[from..].iter().map(|line| line.to_string().chars().take(400).collect()).collect();
        let lines: &[String] = &lines;
        format!("its last lines:\n{}", lines.join("\n"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Neither of them fails but for a process that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.gate = None;
        if thread::panicking() {
            if let Some(stderr) = self.stderr.take().and_then(|it| it.join().ok()) {
                eprintln!("stderr of {}: {}", self.ready["username"], String::from_utf8_lossy(&stderr));
            }
            return;
        }
        // What nobody asked for is checked all the same.
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.take(&line);
        }
        let stderr = self.stderr.take().and_then(|it| it.join().ok()).unwrap_or_default();
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(!stderr.contains(PANICKED), "a panic: {stderr}");
    }
}

impl Output {
    /// The last line.
    #[track_caller]
    pub fn bye(&self) -> &Value {
        let bye = self.lines.last().expect("a line");
        assert_eq!(bye["event"], "bye", "the last line is {bye}");
        bye
    }

    /// The events of that name, in order.
    pub fn all(&self, event: &str) -> Vec<Value> {
        self.lines.iter().filter(|line| line["event"] == event).cloned().collect()
    }

    /// The error code of each reply, in order; null for one without an error.
    pub fn codes(&self) -> Vec<Value> {
        self.all("reply").iter().map(|reply| reply["error"]["code"].clone()).collect()
    }

    /// That it ended with that exit code.
    #[track_caller]
    pub fn exited(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stderr: {}, last line: {:?}", self.stderr, self.lines.last());
        self
    }
}

/// Reads lines into the channel to the end. Unread, it holds on after the first until the gate says how to go on.
fn read_lines(stdout: ChildStdout, to_test: &Sender<Vec<u8>>, mut gate: Option<Receiver<Gate>>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        match stdout.read_until(b'\n', &mut line) {
            // A line without its end is one that a kill cut off.
            Ok(_) if line.pop() == Some(b'\n') => {
                if to_test.send(line).is_err() {
                    return;
                }
            }
            _ => return,
        }
        match gate.take().map(|gate| gate.recv()) {
            None | Some(Ok(Gate::Read)) => {}
            Some(Ok(Gate::Close) | Err(_)) => return,
        }
    }
}
