//! The Python program's nodes, as far as text goes, for our nodes to share a network with.
//!
//! A *mesh* node forgets no id, shows a message once and passes it on with `ttl` less 1 while that is above 0. A *star* node
//! passes every message to every other link, seen or not, with its `ttl` as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use super::raw::{chat, framed, hello};
use super::{PATIENCE, has_fields, text};

/// A node of the original.
pub struct Original(Arc<Shared>);

struct Shared {
    /// Its node id is the address that it is bound to.
    addr: String,
    username: String,
    star: bool,
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    /// The links, by the node id at the other end.
    links: BTreeMap<String, TcpStream>,
    seen: BTreeSet<String>,
    /// Every frame that came, copies too.
    received: Vec<Value>,
    shown: Vec<Value>,
    ended: bool,
}

impl Original {
    /// A node of a mesh.
    pub fn mesh(username: &str) -> Self {
        Self::listen(username, false)
    }

    /// The host of a star.
    pub fn star(username: &str) -> Self {
        Self::listen(username, true)
    }

    fn listen(username: &str, star: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("it is bound").to_string();
        let (state, news) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { addr, username: username.to_owned(), star, state, news });
        let host = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if host.state().ended {
                    return;
                }
                let host = Arc::clone(&host);
                thread::spawn(move || host.answer(stream));
            }
        });
        Self(shared)
    }

    /// The address it listens on, which is its node id too.
    pub fn addr(&self) -> &str {
        &self.0.addr
    }

    /// Dials a node. The link is up when the hello has been answered.
    #[track_caller]
    pub fn dial(&self, addr: &str) {
        let mut stream = TcpStream::connect(addr).unwrap_or_else(|e| panic!("{addr}: {e}"));
        write(&mut stream, &hello(&self.0.addr, &self.0.username)).expect("the node reads");
        let answer = read(&mut stream).expect("a hello");
        assert!(self.0.add_link(&answer, &stream), "{answer}");
        let shared = Arc::clone(&self.0);
        thread::spawn(move || shared.serve(&text(&answer, "from"), stream));
    }

    /// Says something in a room. Gives the message's id.
    pub fn say(&self, room: &str, msg: &str) -> String {
        let mut chat = chat(&self.0.addr, room, msg);
        chat["username"] = json!(self.0.username);
        let id = text(&chat, "id");
        let mut state = self.0.state();
        state.seen.insert(id.clone());
        state.pass_on(&chat, &self.0.addr);
        id
    }

    /// Waits until it has shown a message with that text.
    #[track_caller]
    pub fn hears(&self, msg: &str) -> Value {
        let wanted = json!({ "msg": msg });
        let found = |state: &State| state.shown.iter().find(|chat| has_fields(chat, &wanted)).cloned();
        self.await_state(&format!("{msg} at {}", self.0.username), |state| found(state).is_some());
        found(&self.0.state()).expect("it was there")
    }

    /// Waits until it has links to all of these node ids.
    #[track_caller]
    pub fn await_links(&self, peers: &[String]) {
        self.await_state("links", |state| peers.iter().all(|peer| state.links.contains_key(peer)));
    }

    #[track_caller]
    fn await_state(&self, what: &str, settled: impl Fn(&State) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.0.state();
        while !settled(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited too long for {what}; it has {:?}", state.shown);
            state = self.0.news.wait_timeout(state, left).expect("no thread of it panicked").0;
        }
    }

    /// Every frame with that id that has come so far, copies too.
    pub fn copies_of(&self, id: &str) -> Vec<Value> {
        self.0.state().received.iter().filter(|frame| frame["id"] == id).cloned().collect()
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.ended = true;
        for link in state.links.values() {
            // It may be closed already.
            let _ = link.shutdown(Shutdown::Both);
        }
        drop(state);
        // Wakes the thread that accepts, so that it sees the end.
        let _ = TcpStream::connect(&self.0.addr);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread of it panicked")
    }

    /// The listener's side of the handshake, and then the link.
    fn answer(&self, mut stream: TcpStream) {
        let Some(first) = read(&mut stream).filter(|first| first["type"] == "hello") else { return };
        if write(&mut stream, &hello(&self.addr, &self.username)).is_ok() && self.add_link(&first, &stream) {
            self.serve(first["from"].as_str().unwrap_or_default(), stream);
        }
    }

    /// Takes a link, unless its node is linked already.
    fn add_link(&self, hello: &Value, stream: &TcpStream) -> bool {
        let mut state = self.state();
        let Some(peer) = hello["from"].as_str().filter(|peer| !state.links.contains_key(*peer)) else { return false };
        state.links.insert(peer.to_owned(), stream.try_clone().expect("a socket"));
        self.news.notify_all();
        true
    }

    fn serve(&self, peer: &str, mut stream: TcpStream) {
        while let Some(frame) = read(&mut stream) {
            self.receive(peer, &frame);
        }
        self.state().links.remove(peer);
        self.news.notify_all();
    }

    fn receive(&self, via: &str, frame: &Value) {
        let mut state = self.state();
        state.received.push(frame.clone());
        let id = frame["id"].as_str().unwrap_or_default().to_owned();
        if state.seen.insert(id) {
            state.shown.push(frame.clone());
            let left = frame["ttl"].as_i64().unwrap_or_default() - 1;
            if left > 0 && !self.star {
                let mut passed = frame.clone();
                passed["ttl"] = json!(left);
                state.pass_on(&passed, via);
            }
        }
        if self.star {
            state.pass_on(frame, via);
        }
        self.news.notify_all();
    }
}

impl State {
    /// Writes a frame to every link but that one. A link that is broken is removed by the thread that reads it.
    fn pass_on(&mut self, frame: &Value, but: &str) {
        for (_, stream) in self.links.iter_mut().filter(|(peer, _)| *peer != but) {
            let _ = write(stream, frame);
        }
    }
}

fn write(stream: &mut TcpStream, frame: &Value) -> std::io::Result<()> {
    stream.write_all(&framed(frame.to_string().as_bytes()))
}

fn read(stream: &mut TcpStream) -> Option<Value> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).ok()?;
    let length = u32::from_be_bytes(header) as usize;
    let mut body = vec![0; Some(length).filter(|&n| n <= 10 << 20)?];
    stream.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}
