//! A peer made of a blocking socket: it says what a test tells it to, well formed or not.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use socket2::{Domain, SockRef, Socket, Type};

use super::{PATIENCE, fresh_id, has_fields, text};

/// What the frames between two neighbours of level 2 are called. Level 1 must never see one.
const NEIGHBOUR_FRAMES: [&str; 5] = ["ping", "pong", "confirm", "confirmed", "nick"];

/// A connection to a node.
pub struct RawPeer {
    stream: TcpStream,
    /// The hello that the node said; null before.
    pub hello: Value,
    /// Its own node id and user name.
    id: String,
    username: String,
    level: u8,
    /// Whether it answers pings (level 2).
    pub answers_pings: bool,
}

impl RawPeer {
    /// Connects, and says nothing yet.
    #[track_caller]
    pub fn connect(addr: &str) -> Self {
        Self::over(TcpStream::connect(addr).unwrap_or_else(|e| panic!("{addr}: {e}")))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a socket");
        let (id, username) = (String::new(), String::new());
        Self { stream, hello: Value::Null, id, username, level: 1, answers_pings: true }
    }

    /// Connects and shakes hands as the original does. `from` is its node id.
    #[track_caller]
    pub fn dial(addr: &str, from: &str, username: &str) -> Self {
        Self::connect(addr).greet(&hello(from, username))
    }

    /// Connects and shakes hands as a node of level 2.
    #[track_caller]
    pub fn dial_level2(addr: &str, from: &str, username: &str) -> Self {
        Self::connect(addr).greet(&hello_level2(from, username))
    }

    /// Connects and shakes hands as the original does, with little room for what it has not read yet.
    #[track_caller]
    pub fn dial_deaf(addr: &str, from: &str, username: &str) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a socket");
        socket.connect(&addr.parse::<SocketAddr>().expect("an address").into()).expect("the node listens");
        Self::over(socket.into()).greet(&hello(from, username))
    }

    /// Shakes hands as the dialler, with that hello.
    #[track_caller]
    pub fn greet(mut self, hello: &Value) -> Self {
        self.send(hello);
        self.is_called(hello);
        self.read_hello();
        self
    }

    fn is_called(&mut self, hello: &Value) {
        self.id = hello["from"].as_str().unwrap_or_default().to_owned();
        self.username = hello["username"].as_str().unwrap_or_default().to_owned();
        self.level = if hello.get("p2p_chat").is_some() { 2 } else { 1 };
    }

    #[track_caller]
    fn read_hello(&mut self) {
        self.hello = self.read().expect("a hello");
        assert_eq!(self.hello["type"], "hello", "{}", self.hello);
    }

    /// Sends a frame with that object, as compact as the original writes it.
    #[track_caller]
    pub fn send(&mut self, frame: &Value) {
        self.send_text(frame.to_string());
    }

    /// Sends a frame with just these bytes in it.
    #[track_caller]
    pub fn send_text(&mut self, body: impl AsRef<[u8]>) {
        self.send_bytes(&framed(body.as_ref()));
    }

    /// Sends bytes, without a frame.
    #[track_caller]
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the node reads");
    }

    /// Sends bytes to a node that may have closed the link already.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Says something in a room, as the original does. Gives the message's id.
    #[track_caller]
    pub fn say_in(&mut self, room: &str, msg: &str) -> String {
        let mut chat = chat(&self.id, room, msg);
        chat["username"] = json!(self.username);
        self.send(&chat);
        text(&chat, "id")
    }

    /// The same, in the room where everybody is.
    #[track_caller]
    pub fn say(&mut self, msg: &str) -> String {
        self.say_in("general", msg)
    }

    /// Closes the writing half.
    pub fn end(&mut self) {
        // The node may have gone: then it is as closed as it can be.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Breaks the link, as a crashed machine does: the node is sent a reset.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("a socket");
    }

    /// The next frame's bytes; `None` if the node has closed the link.
    #[track_caller]
    pub fn read_bytes(&mut self) -> Option<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        let mut header = [0; 4];
        self.fill(&mut header, deadline)?;
        let mut body = vec![0; u32::from_be_bytes(header) as usize];
        self.fill(&mut body, deadline).expect("the rest of the frame");
        Some(body)
    }

    /// The next frame; `None` if the node has closed the link. Pings are answered and not given.
    #[track_caller]
    pub fn read(&mut self) -> Option<Value> {
        loop {
            let bytes = self.read_bytes()?;
            let frame: Value = serde_json::from_slice(&bytes).expect("a frame is JSON");
            let kind = frame["type"].as_str().expect("a frame has a type");
            let for_neighbours = NEIGHBOUR_FRAMES.contains(&kind);
            assert!(self.level == 2 || !for_neighbours, "level 1 was sent {frame}");
            match kind {
                "ping" if self.answers_pings => {
                    self.send(&json!({ "id": fresh_id(), "type": "pong", "nonce": frame["nonce"] }));
                }
                _ => return Some(frame),
            }
        }
    }

    /// Waits for a frame with these fields; others before it are passed over.
    #[track_caller]
    pub fn await_frame(&mut self, fields: &Value) -> Value {
        loop {
            let Some(frame) = self.read() else { panic!("the link was closed without {fields}") };
            if has_fields(&frame, fields) {
                return frame;
            }
        }
    }

    /// Waits for a chat message with that text.
    #[track_caller]
    pub fn hears(&mut self, msg: &str) -> Value {
        self.await_frame(&json!({ "type": "chat", "msg": msg }))
    }

    /// The bytes of the next frame with that `id`.
    #[track_caller]
    pub fn await_bytes_of(&mut self, id: &str) -> Vec<u8> {
        loop {
            let bytes = self.read_bytes().expect("the link is open");
            let frame: Value = serde_json::from_slice(&bytes).expect("a frame is JSON");
            if frame["id"] == id {
                return bytes;
            }
        }
    }

    /// The texts of the messages that come before one with the text `last`, and it.
    #[track_caller]
    pub fn all_until(&mut self, last: &str) -> Vec<String> {
        self.frames_until(last).iter().filter(|frame| frame["type"] == "chat").map(|chat| text(chat, "msg")).collect()
    }

    /// The frames that come before a message with the text `last`, and it.
    #[track_caller]
    pub fn frames_until(&mut self, last: &str) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let frame = self.read().expect("the link is open");
            let ends = frame["msg"] == last;
            all.push(frame);
            if ends {
                return all;
            }
        }
    }

    /// The frames until the node closes the link, which it must.
    #[track_caller]
    pub fn until_closed(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.read()).collect()
    }

    /// Waits until the node has closed the link. What comes before that is read and passed over.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 4096];
        while self.read_some(&mut buffer, deadline) > 0 {}
    }

    /// Fills the buffer; `None` if the link ends before its first byte.
    #[track_caller]
    fn fill(&mut self, mut buffer: &mut [u8], deadline: Instant) -> Option<()> {
        let whole = buffer.len();
        while !buffer.is_empty() {
            let n = self.read_some(buffer, deadline);
            if n == 0 {
                assert_eq!(buffer.len(), whole, "the link ended within a frame");
                return None;
            }
            buffer = &mut buffer[n..];
        }
        Some(())
    }

    /// Reads what there is, 0 at the end, be it a clean one or not. At the end it closes its own half, as a good peer
    /// does: a node that ends waits for that, so as to lose nothing.
    #[track_caller]
    fn read_some(&mut self, buffer: &mut [u8], deadline: Instant) -> usize {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "waited too long for the node to send or close");
        self.stream.set_read_timeout(Some(left)).expect("a socket");
        loop {
            match self.stream.read(buffer) {
                Ok(0) => {
                    self.end();
                    return 0;
                }
                Ok(n) => return n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => return 0,
                Err(e) => panic!("waited for the node to send or close: {e}"),
            }
        }
    }
}

/// A peer that can be dialled.
pub struct RawListener(TcpListener);

impl RawListener {
    /// Listens on a free port.
    pub fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("a free port"))
    }

    /// The address to dial.
    pub fn addr(&self) -> String {
        self.0.local_addr().expect("it is bound").to_string()
    }

    /// Accepts a connection and says nothing yet.
    #[track_caller]
    pub fn accept_silent(&self) -> RawPeer {
        assert!(self.has_waiting(PATIENCE.as_secs()), "nobody dials");
        RawPeer::over(self.0.accept().expect("a connection").0)
    }

    /// Accepts a connection and shakes hands as the original does.
    #[track_caller]
    pub fn accept(&self, from: &str, username: &str) -> RawPeer {
        self.accept_with(&hello(from, username))
    }

    /// Accepts a connection and answers its hello with that one.
    #[track_caller]
    pub fn accept_with(&self, hello: &Value) -> RawPeer {
        let mut peer = self.accept_silent();
        peer.read_hello();
        peer.is_called(hello);
        peer.send(hello);
        peer
    }

    /// Whether a connection waits to be accepted, or comes within so many seconds.
    pub fn has_waiting(&self, seconds: u64) -> bool {
        let timeout = Timespec { tv_sec: i64::try_from(seconds).unwrap(), tv_nsec: 0 };
        let mut fds = [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)];
        poll(&mut fds, Some(&timeout)).expect("poll") > 0
    }
}

/// The original's hello.
pub fn hello(from: &str, username: &str) -> Value {
    json!({ "id": fresh_id(), "type": "hello", "from": from, "username": username })
}

/// The hello of level 2.
pub fn hello_level2(from: &str, username: &str) -> Value {
    let mut hello = hello(from, username);
    hello["p2p_chat"] = json!({ "version": 1, "listen": null, "caps": ["ping", "confirm", "nick"] });
    hello
}

/// A chat message as the original writes it, with its `ttl`.
pub fn chat(from: &str, room: &str, msg: &str) -> Value {
    json!({
        "id": fresh_id(),
        "type": "chat",
        "from": from,
        "username": "Bob",
        "room": room,
        "msg": msg,
        "ttl": 5,
        "ts": "2026-11-22T20:09:38",
    })
}

/// A chat message with some of its fields changed. A field set to null is left out.
pub fn chat_with(from: &str, msg: &str, changes: &Value) -> Value {
    let mut chat = chat(from, "general", msg);
    for (field, value) in changes.as_object().expect("changes are an object") {
        if value.is_null() {
            chat.as_object_mut().unwrap().remove(field);
        } else {
            chat[field] = value.clone();
        }
    }
    chat
}

/// The bytes with their length before them.
pub fn framed(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).expect("it fits").to_be_bytes(), body].concat()
}
