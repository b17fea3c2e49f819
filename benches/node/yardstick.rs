//! The two yardsticks: relays as small as they can be, to hold the node against.
//!
//! Each runs as a process of its own (this binary, executed again) and is spoken to just as the node is: it says its
//! address on stdout in a `ready` event, takes links, answers a `hello` with its own, and hands every frame that comes
//! on one link to all the others. Neither knows rooms, limits, a command or a slow peer: what they do not do, the
//! node's figures must pay for.
//!
//! - **bare** is the limit: it hops from length to length through what one read brought and copies the whole frames to
//!   the other links with one write each. It never looks into a frame.
//! - **typed** is what a good programmer would write: a thread a link, `BufReader` and `BufWriter` with room for a burst, each
//!   frame parsed into a struct that borrows from it, dedup by id in a `HashMap` with a time to forget, `ttl` less 1,
//!   encoded again once and copied to each link, and flushed when the read buffer is empty. (With the 8 KiB that the library's
//!   buffers have, system calls would be most of what a fan-out takes.)

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::frame;

/// Seen ids are forgotten after this time, as on the original network.
const REMEMBERED: Duration = Duration::from_secs(120);

/// The most bytes that one read of a yardstick takes, as of the node; also the longest frame that the bare one knows.
const READ: usize = 64 * 1024;

/// The bytes that the typed relay gathers for a link before it writes.
const GATHER: usize = 64 * 1024;

/// The longest frame of the typed relay: that of the node.
const LONGEST: usize = 1024 * 1024;

/// Runs the yardstick of this name until stdin ends.
pub fn run(name: &str) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    writeln!(io::stdout(), r#"{{"event":"ready","tcp":"{}"}}"#, listener.local_addr()?)?;
    // The bench holds the other end of stdin: when it is gone, however it went, so is this process.
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(0);
    });
    match name {
        "bare" => serve(&listener, bare),
        "typed" => serve(&listener, typed),
        _ => Err(io::Error::other("there is no such yardstick")),
    }
}

/// The relay's links, and the ids it has seen (the bare one never asks).
#[derive(Default)]
struct Hub {
    links: RwLock<Vec<Arc<Link>>>,
    seen: Mutex<Seen>,
}

/// The writing half of one link.
struct Link {
    number: usize,
    out: Mutex<BufWriter<TcpStream>>,
}

impl Link {
    fn out(&self) -> MutexGuard<'_, BufWriter<TcpStream>> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    /// Does `act` to every link but this one; a link that fails is its own reader's business.
    fn others(&self, number: usize, mut act: impl FnMut(&mut BufWriter<TcpStream>) -> io::Result<()>) {
        for link in self.links.read().unwrap_or_else(PoisonError::into_inner).iter() {
            if link.number != number {
                let _ = act(&mut link.out());
            }
        }
    }

    fn join(&self, link: Arc<Link>) {
        self.links.write().unwrap_or_else(PoisonError::into_inner).push(link);
    }

    fn leave(&self, number: usize) {
        self.links.write().unwrap_or_else(PoisonError::into_inner).retain(|link| link.number != number);
    }
}

/// Takes links for ever: a thread each, which shakes hands and then relays what comes.
fn serve(listener: &TcpListener, relay: fn(&Hub, usize, TcpStream) -> io::Result<()>) -> io::Result<()> {
    let hub = Arc::new(Hub::default());
    for number in 0.. {
        let (mut stream, _) = listener.accept()?;
        let hub = Arc::clone(&hub);
        thread::spawn(move || -> io::Result<()> {
            stream.set_nodelay(true)?;
            frame::read(&mut stream)?;
            let link =
                Arc::new(Link { number, out: Mutex::new(BufWriter::with_capacity(GATHER, stream.try_clone()?)) });
            hub.join(Arc::clone(&link));
            stream.write_all(&frame::hello("yardstick"))?;
            let end = relay(&hub, number, stream);
            hub.leave(number);
            end
        });
    }
    Ok(())
}

/// Copies whole frames, as many as one read brought.
fn bare(hub: &Hub, number: usize, mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; READ];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..])?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let mut whole = 0;
        while let Some(end) = frame::end(&buffer[whole..filled]) {
            whole += end;
        }
        if whole > 0 {
            hub.others(number, |out| out.get_mut().write_all(&buffer[..whole]));
            buffer.copy_within(whole..filled, 0);
            filled -= whole;
        }
    }
}

/// A chat, borrowed from its frame.
#[derive(Deserialize, Serialize)]
struct Chat<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    from: &'a str,
    #[serde(borrow)]
    username: Cow<'a, str>,
    #[serde(borrow)]
    room: Cow<'a, str>,
    #[serde(borrow)]
    msg: Cow<'a, str>,
    ttl: u32,
    ts: &'a str,
}

/// Parses, dedups, counts down and encodes each frame.
fn typed(hub: &Hub, number: usize, stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(READ, stream);
    let mut body = Vec::new();
    let mut encoded = Vec::new();
    loop {
        let mut head = [0; 4];
        if reader.fill_buf()?.is_empty() {
            return Ok(());
        }
        reader.read_exact(&mut head)?;
        let length = u32::from_be_bytes(head) as usize;
        if length > LONGEST {
            return Ok(());
        }
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
        if let Ok(mut chat) = serde_json::from_slice::<Chat<'_>>(&body) {
            let new = hub.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(chat.id);
            if new && chat.ttl > 1 {
                chat.ttl -= 1;
                encoded.clear();
                encoded.extend_from_slice(&[0; 4]);
                serde_json::to_writer(&mut encoded, &chat)?;
                let length = (encoded.len() - 4) as u32;
                encoded[..4].copy_from_slice(&length.to_be_bytes());
                hub.others(number, |out| out.write_all(&encoded));
            }
        }
        if reader.buffer().is_empty() {
            hub.others(number, |out| out.flush());
        }
    }
}

/// The ids seen in the last two minutes or a little more.
#[derive(Default)]
struct Seen {
    ids: HashMap<String, Instant>,
    swept: Option<Instant>,
}

impl Seen {
    /// Remembers the id; false when it was known.
    fn insert(&mut self, id: &str) -> bool {
        let now = Instant::now();
        if now - *self.swept.get_or_insert(now) > REMEMBERED {
            self.ids.retain(|_, at| now - *at < REMEMBERED);
            self.swept = Some(now);
        }
        if self.ids.contains_key(id) {
            return false;
        }
        self.ids.insert(id.to_owned(), now);
        true
    }
}
