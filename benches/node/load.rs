//! The load: a sender and its sinks, raw sockets that speak the original's format and cost next to nothing; or level 2, where
//! what encryption and signatures cost the relay is measured.
//!
//! One thread drives them all. It sends in bursts whose frames are encoded beforehand (only the id is patched in place),
//! and reads what arrives in large pieces, of which it looks at each frame's length and id. So many messages are in
//! flight as the window says: it writes a burst whenever every sink has what came before, less the window.
//!
//! An id holds a running number. By it a sink knows, without a table, whether something was lost or came twice.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use p2p_chat::wire::identity::Identity;
use p2p_chat::wire::noise::{Handshake, Keys, MAX_PLAIN, Session};

use crate::chat::{Chats, find, number_of};
use crate::frame;
use crate::relay::uninterrupted;

/// Messages in flight in the work that is measured by its CPU and its throughput.
pub const WINDOW: u64 = 256;

/// Messages that the sender writes at once, at most.
const BURST: usize = 64;

/// No read, write or connect waits longer than this: whoever does not answer by then is not measured.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The most bytes that one read takes; longer than any frame here.
const READ: usize = 256 * 1024;

/// The format in which the load speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// The original's format.
    Original,
    /// The same messages, over encrypted links.
    Encrypted,
    /// Signed messages, over encrypted links.
    Signed,
}

/// One link into the relay, as its peer sees it.
pub struct Link {
    stream: TcpStream,
    /// At level 2: what seals and opens, what has come of it, and the content of one record.
    session: Option<Box<Session>>,
    raw: Vec<u8>,
    plain: Vec<u8>,
    buffer: Vec<u8>,
    filled: usize,
    /// Chats that came.
    pub chats: u64,
    /// The number that the next chat of the load should have.
    next: u64,
    /// Numbers that were passed over.
    pub lost: u64,
    /// Numbers that came again, or late.
    pub again: u64,
}

impl Link {
    /// Connects and shakes hands.
    pub fn dial(addr: SocketAddr, name: &str, speech: Speech) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut link = Self {
            stream,
            session: None,
            raw: Vec::new(),
            plain: Vec::new(),
            buffer: vec![0; READ],
            filled: 0,
            chats: 0,
            next: 0,
            lost: 0,
            again: 0,
        };
        if speech == Speech::Original {
            link.stream.write_all(&frame::hello(name))?;
            frame::read(&mut link.stream)?;
        } else {
            link.shake_hands(name)?;
        }
        Ok(link)
    }

    /// The handshake of level 2, and the hello in it.
    fn shake_hands(&mut self, name: &str) -> io::Result<()> {
        let failed = |why| move |_| io::Error::other(why);
        let identity = identity_of(name);
        let keys = Keys::new(&identity, seed_of(name, 1), None);
        let mut out = Vec::new();
        let mut handshake = Handshake::dial(&keys, seed_of(name, 2), None, &mut out).map_err(failed("no handshake"))?;
        self.stream.write_all(&out)?;
        out.clear();
        self.raw = vec![0; READ];
        let proven = loop {
            let read = uninterrupted(|| self.stream.read(&mut self.raw))?;
            let mut input = &self.raw[..read];
            match handshake.take(&keys, &mut input, &mut out).map_err(failed("the handshake failed"))? {
                Some(proven) if input.is_empty() => break proven,
                None if read > 0 => {}
                _ => return Err(io::Error::other("the relay closed a link, or spoke before it was spoken to")),
            }
        };
        self.stream.write_all(&out)?;
        self.session = Some(Box::new(proven.session));
        self.write_all(&frame::hello(identity.id_text()))?;
        while frame::end(&self.buffer[..self.filled]).is_none() {
            self.fill()?;
        }
        self.filled = 0;
        Ok(())
    }

    /// Writes whole frames.
    fn write_all(&mut self, frames: &[u8]) -> io::Result<()> {
        let Some(session) = &mut self.session else { return self.stream.write_all(frames) };
        let mut sealed = Vec::with_capacity(frames.len() + 64);
        for piece in frames.chunks(MAX_PLAIN) {
            session.seal(piece, &mut sealed).map_err(|_| io::Error::other("a record can't be sealed"))?;
        }
        self.stream.write_all(&sealed)
    }

    /// Waits for one piece of the stream of frames.
    fn fill(&mut self) -> io::Result<()> {
        let closed = || io::Error::other("the relay closed a link");
        let Some(session) = &mut self.session else {
            let read = uninterrupted(|| self.stream.read(&mut self.buffer[self.filled..]))?;
            self.filled += read;
            return if read > 0 { Ok(()) } else { Err(closed()) };
        };
        // So much that all of it has room behind what is left of the last piece.
        let room = self.buffer.len() - self.filled;
        let read = uninterrupted(|| self.stream.read(&mut self.raw[..room.min(READ / 2)]))?;
        if read == 0 {
            return Err(closed());
        }
        let mut input = &self.raw[..read];
        while session.open(&mut input, &mut self.plain).map_err(|_| io::Error::other("a record does not open"))? {
            let end = self.filled + self.plain.len();
            let Some(to) = self.buffer.get_mut(self.filled..end) else {
                return Err(io::Error::other("too much at once"));
            };
            to.copy_from_slice(&self.plain);
            self.filled = end;
        }
        Ok(())
    }

    /// Reads until all numbers below this have come or been passed over.
    pub fn read_up_to(&mut self, number: u64) -> io::Result<()> {
        while self.next < number {
            self.read_once()?;
        }
        Ok(())
    }

    /// Reads until so many chats have come, whatever their numbers.
    pub fn read_chats(&mut self, chats: u64) -> io::Result<()> {
        while self.chats < chats {
            self.read_once()?;
        }
        Ok(())
    }

    /// Waits for one piece of the stream, and counts the frames that it completes.
    fn read_once(&mut self) -> io::Result<()> {
        self.fill()?;
        let mut start = 0;
        while let Some(end) = frame::end(&self.buffer[start..self.filled]) {
            let body = start + 4..start + end;
            start += end;
            self.count(body);
        }
        self.buffer.copy_within(start..self.filled, 0);
        self.filled -= start;
        Ok(())
    }

    fn count(&mut self, body: std::ops::Range<usize>) {
        let body = &self.buffer[body];
        match number_of(body) {
            Some(number) => {
                self.chats += 1;
                match number.checked_sub(self.next) {
                    Some(passed) => {
                        self.lost += passed;
                        self.next = number + 1;
                    }
                    None => self.again += 1,
                }
            }
            None => self.chats += u64::from(find(body, br#""type":"chat""#).is_some()),
        }
    }
}

/// The key of a node of the load.
fn identity_of(name: &str) -> Identity {
    Identity::new(&seed_of(name, 0))
}

/// Bytes that differ for each name and purpose. Nothing here is secret.
fn seed_of(name: &str, purpose: u8) -> [u8; 32] {
    let mut seed = [purpose; 32];
    seed[1..].iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    seed
}

/// The link that chats come from.
pub struct Sender {
    link: Link,
    chats: Chats,
    burst: Vec<u8>,
}

impl Sender {
    pub fn dial(addr: SocketAddr, name: &str, speech: Speech) -> io::Result<Self> {
        let identity = (speech == Speech::Signed).then(|| identity_of(name));
        let from = identity.as_ref().map_or(name, |identity| identity.id_text()).to_owned();
        let link = Link::dial(addr, name, speech)?;
        Ok(Self { link, chats: Chats::new(&from, speech != Speech::Original, identity), burst: Vec::new() })
    }

    /// The number of the next message.
    pub fn next(&self) -> u64 {
        self.chats.next
    }

    /// Goes on from this number.
    pub fn skip_to(&mut self, number: u64) {
        self.chats.next = number;
    }

    /// Writes so many messages, a burst at most, in one piece.
    pub fn send(&mut self, count: usize) -> io::Result<()> {
        self.burst.clear();
        for _ in 0..count.min(BURST) {
            if !self.chats.append(&mut self.burst) {
                return Err(io::Error::other("a chat can't be signed"));
            }
        }
        self.link.write_all(&self.burst)
    }

    /// The same link, to read from.
    pub fn link(&mut self) -> &mut Link {
        &mut self.link
    }
}

/// A sender, its sinks, and what is in flight between them.
pub struct Load {
    pub sender: Sender,
    pub sinks: Vec<Link>,
}

impl Load {
    /// Links a sender and so many sinks, which speak as the original does.
    pub fn dial(addr: SocketAddr, sinks: usize) -> io::Result<Self> {
        Self::dial_as(addr, sinks, Speech::Original)
    }

    /// The same in that speech.
    pub fn dial_as(addr: SocketAddr, sinks: usize, speech: Speech) -> io::Result<Self> {
        let sender = Sender::dial(addr, "bench-0", speech)?;
        let sinks = (1..=sinks).map(|n| Link::dial(addr, &format!("bench-{n}"), speech)).collect::<io::Result<_>>()?;
        Ok(Self { sender, sinks })
    }

    /// Sends so many more messages with the window full, and leaves the last of them in flight.
    pub fn advance(&mut self, count: u64) -> io::Result<()> {
        let end = self.sender.next() + count;
        while self.sender.next() < end {
            let burst = (end - self.sender.next()).min(BURST as u64);
            let settled = (self.sender.next() + burst).saturating_sub(WINDOW);
            for sink in &mut self.sinks {
                sink.read_up_to(settled)?;
            }
            self.sender.send(burst as usize)?;
        }
        Ok(())
    }

    /// Waits for everything in flight.
    pub fn settle(&mut self) -> io::Result<()> {
        for sink in &mut self.sinks {
            sink.read_up_to(self.sender.next())?;
        }
        Ok(())
    }

    /// Sends so many messages and waits for the last.
    pub fn flood(&mut self, count: u64) -> io::Result<()> {
        self.advance(count)?;
        self.settle()
    }

    /// An error if anything was lost or came twice: then the figures mean nothing.
    pub fn check(&self) -> io::Result<()> {
        match self.sinks.iter().map(|sink| sink.lost + sink.again).sum::<u64>() {
            0 => Ok(()),
            wrong => Err(io::Error::other(format!("{wrong} messages were lost or came twice"))),
        }
    }
}
