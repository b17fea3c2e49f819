//! A peer made of a blocking socket: it says what a test tells it to, well formed or not, in the clear or encrypted.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use p2p_chat::sim::author;
use p2p_chat::wire::identity::Identity;
use p2p_chat::wire::noise::{Handshake, Keys, MAGIC, MAX_PLAIN, Session};
use p2p_chat::wire::signed::SeqNo;
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
    /// At level 2, once the handshake is done.
    session: Option<Session>,
    /// Signs what it says at level 2, and how much it has signed.
    identity: Option<[u8; 32]>,
    signed: u64,
    /// What has come and was opened, and not been read yet.
    plain: Vec<u8>,
    /// Whether it answers pings (level 2).
    pub answers_pings: bool,
}

/// Who a peer of level 2 is.
pub struct Secrets {
    /// Its node id.
    pub id: String,
    /// What it brings to handshakes.
    pub keys: Keys,
    identity: [u8; 32],
    ephemeral: [u8; 32],
}

impl Secrets {
    /// Somebody new.
    pub fn new() -> Self {
        Self::with(fresh_secret())
    }

    /// The holder of that identity.
    pub fn with(identity: [u8; 32]) -> Self {
        let it = Identity::new(&identity);
        let keys = Keys::new(&it, fresh_secret(), None);
        Self { id: it.id().to_string(), keys, identity, ephemeral: fresh_secret() }
    }
}

/// 32 bytes that no other test uses. No secret to anybody, but these keys protect nothing.
pub fn fresh_secret() -> [u8; 32] {
    let mut secret = [7; 32];
    let id = fresh_id();
    secret[..id.len().min(32)].copy_from_slice(&id.as_bytes()[id.len() - 32..]);
    secret
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
        let (session, plain) = (None, Vec::new());
        let (hello, identity, signed) = (Value::Null, None, 0);
        Self { stream, hello, id, username, session, identity, signed, plain, answers_pings: true }
    }

    /// Connects and shakes hands as the original does. `from` is its node id.
    #[track_caller]
    pub fn dial(addr: &str, from: &str, username: &str) -> Self {
        Self::connect(addr).greet(&hello(from, username))
    }

    /// Connects and shakes hands as a node of level 2, one that nobody has met yet.
    #[track_caller]
    pub fn dial_level2(addr: &str, username: &str) -> Self {
        let secrets = Secrets::new();
        Self::connect(addr).encrypt(&secrets).greet(&hello_level2(&secrets.id, username))
    }

    /// Does the handshake of level 2 as the dialler. The hello is still to come.
    #[track_caller]
    pub fn encrypt(mut self, secrets: &Secrets) -> Self {
        let mut out = Vec::new();
        let begun = Handshake::dial(&secrets.keys, secrets.ephemeral, None, &mut out);
        self.send_bytes(&out);
        self.shake_hands(secrets, begun.expect("its own keys are good"));
        self
    }

    /// The same as the listener.
    #[track_caller]
    pub fn answer_encrypted(mut self, secrets: &Secrets) -> Self {
        self.shake_hands(secrets, Handshake::answer(&secrets.keys, secrets.ephemeral));
        self
    }

    /// Answers the first message of a handshake; the node then closes the link: `None`, or it goes on: who it is.
    #[track_caller]
    pub fn answer_once(&mut self, secrets: &Secrets) -> Option<String> {
        let mut handshake = Handshake::answer(&secrets.keys, secrets.ephemeral);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (mut buffer, mut out) = ([0; 4096], Vec::new());
            let n = self.read_some(&mut buffer, deadline);
            if n == 0 {
                return None;
            }
            if let Some(proven) = handshake.take(&secrets.keys, &mut &buffer[..n], &mut out).expect("a handshake") {
                return Some(proven.id);
            }
            self.send_bytes(&out);
        }
    }

    #[track_caller]
    fn shake_hands(&mut self, secrets: &Secrets, mut handshake: Handshake) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (mut buffer, mut out) = ([0; 4096], Vec::new());
            let n = self.read_some(&mut buffer, deadline);
            assert!(n > 0, "the node has ended the link within the handshake");
            let mut input = &buffer[..n];
            let done = handshake.take(&secrets.keys, &mut input, &mut out).expect("a handshake");
            self.send_bytes(&out);
            if let Some(proven) = done {
                self.session = Some(proven.session);
                self.identity = Some(secrets.identity);
                return self.open(input);
            }
        }
    }

    /// Opens the records in what came.
    #[track_caller]
    fn open(&mut self, mut input: &[u8]) {
        let Some(session) = &mut self.session else { return };
        let mut plain = Vec::new();
        while session.open(&mut input, &mut plain).expect("the node's records open") {
            self.plain.extend_from_slice(&plain);
        }
    }

    /// Its own node id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The socket, to do with as a test likes.
    pub const fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
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
        assert!(self.try_send_bytes(bytes), "the node does not read");
    }

    /// Sends bytes to a node that may have closed the link already.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> bool {
        let Some(session) = &mut self.session else { return self.stream.write_all(bytes).is_ok() };
        let mut records = Vec::new();
        for piece in bytes.chunks(MAX_PLAIN) {
            session.seal(piece, &mut records).expect("a piece that fits");
        }
        self.stream.write_all(&records).is_ok()
    }

    /// A message of its own, signed: with the next place that it has not used.
    #[track_caller]
    pub fn sign(&mut self, message: &Value) -> Value {
        self.signed += 1;
        let identity = Identity::new(&self.identity.expect("it speaks level 2"));
        author::sign(&identity, SeqNo { epoch: 1, n: self.signed }, message)
    }

    /// Says something in a room, as the original does, or signed at level 2. Gives the message's id.
    #[track_caller]
    pub fn say_in(&mut self, room: &str, msg: &str) -> String {
        let mut chat = chat(&self.id, room, msg);
        chat["username"] = json!(self.username);
        if self.identity.is_some() {
            chat = self.sign(&chat);
        }
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
            assert!(self.session.is_some() || !for_neighbours, "level 1 was sent {frame}");
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
            let n = self.read_plain(buffer, deadline);
            if n == 0 {
                assert_eq!(buffer.len(), whole, "the link ended within a frame");
                return None;
            }
            buffer = &mut buffer[n..];
        }
        Some(())
    }

    /// The same as [`read_some`](Self::read_some), opened if it is sealed.
    #[track_caller]
    fn read_plain(&mut self, buffer: &mut [u8], deadline: Instant) -> usize {
        if self.session.is_none() {
            return self.read_some(buffer, deadline);
        }
        while self.plain.is_empty() {
            let mut sealed = [0; 4096];
            match self.read_some(&mut sealed, deadline) {
                0 => return 0,
                n => self.open(&sealed[..n]),
            }
        }
        let n = buffer.len().min(self.plain.len());
        buffer[..n].copy_from_slice(&self.plain[..n]);
        self.plain.drain(..n);
        n
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

    /// Accepts a connection as the original does, which closes the one at level 2 and is dialled again. Says nothing yet.
    #[track_caller]
    pub fn accept_level1(&self) -> RawPeer {
        let mut peer = self.accept_silent();
        let mut first = [0; 4];
        peer.fill(&mut first, Instant::now() + PATIENCE).expect("the node opens level 2");
        assert_eq!(first, MAGIC);
        assert!(u32::from_be_bytes(first) > 10 << 20, "it is no length");
        drop(peer);
        self.accept_silent()
    }

    /// Accepts a connection and shakes hands as the original does.
    #[track_caller]
    pub fn accept(&self, from: &str, username: &str) -> RawPeer {
        self.accept_with(&hello(from, username))
    }

    /// Accepts a connection and answers its hello with that one.
    #[track_caller]
    pub fn accept_with(&self, hello: &Value) -> RawPeer {
        let mut peer = self.accept_level1();
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
