//! The load: a sender and its sinks, raw sockets that speak the original's format and cost next to nothing.
//!
//! One thread drives them all. It sends in bursts whose frames are encoded beforehand (only the id is patched in place),
//! and reads what arrives in large pieces, of which it looks at each frame's length and id. So many messages are in
//! flight as the window says: it writes a burst whenever every sink has what came before, less the window.
//!
//! An id holds a running number. By it a sink knows, without a table, whether something was lost or came twice.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::frame;

/// The text of a message, in bytes.
pub const TEXT: usize = 200;

/// Messages in flight in the work that is measured by its CPU and its throughput.
pub const WINDOW: u64 = 256;

/// Messages that the sender writes at once, at most.
const BURST: usize = 64;

/// No read, write or connect waits longer than this: whoever does not answer by then is not measured.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What one read takes at most; longer than any frame here.
const READ: usize = 256 * 1024;

/// What the ids of the load begin with.
const OURS: &[u8] = b"be9c4000-";

/// One link into the relay, as its peer sees it.
pub struct Link {
    stream: TcpStream,
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
    pub fn dial(addr: SocketAddr, name: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&frame::hello(name))?;
        frame::read(&mut stream)?;
        Ok(Self { stream, buffer: vec![0; READ], filled: 0, chats: 0, next: 0, lost: 0, again: 0 })
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
        let read = self.stream.read(&mut self.buffer[self.filled..])?;
        if read == 0 {
            return Err(io::Error::other("the relay closed a link"));
        }
        self.filled += read;
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

/// The running number in the id of a chat of the load.
fn number_of(body: &[u8]) -> Option<u64> {
    const KEY: &[u8] = br#""id":""#;
    let at = find(body, KEY)? + KEY.len();
    let id = body.get(at..at + 36)?;
    let digits = id.starts_with(OURS).then_some(&id[24..])?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The link that chats come from.
pub struct Sender {
    link: Link,
    /// A burst of frames; only their ids ever change.
    burst: Vec<u8>,
    /// The length of one frame.
    stride: usize,
    /// Where the id stands in a frame.
    id_at: usize,
    /// The number of the next message.
    pub next: u64,
}

impl Sender {
    pub fn dial(addr: SocketAddr, name: &str) -> io::Result<Self> {
        let frame = chat(name);
        let id_at = find(&frame, OURS).ok_or_else(|| io::Error::other("a chat has no id"))?;
        let link = Link::dial(addr, name)?;
        Ok(Self { link, burst: frame.repeat(BURST), stride: frame.len(), id_at, next: 0 })
    }

    /// Writes so many messages, a burst at most, in one piece.
    pub fn send(&mut self, count: usize) -> io::Result<()> {
        let count = count.min(BURST);
        for frame in self.burst.chunks_exact_mut(self.stride).take(count) {
            patch_id(&mut frame[self.id_at..self.id_at + 36], self.next);
            self.next += 1;
        }
        self.link.stream.write_all(&self.burst[..count * self.stride])
    }

    /// The same link, to read from.
    pub fn link(&mut self) -> &mut Link {
        &mut self.link
    }
}

/// A chat as the original encodes it, with an id that is to be patched.
fn chat(from: &str) -> Vec<u8> {
    let text = "All work and no play makes a relay. ".repeat(TEXT / 36 + 1);
    frame::encode(&format!(
        concat!(
            r#"{{"id":"be9c4000-0000-4000-8000-000000000000","type":"chat","from":"{}","username":"{}","#,
            r#""room":"bench","msg":"{}","ttl":5,"ts":"2026-01-31T12:00:00"}}"#
        ),
        from,
        from,
        &text[..TEXT]
    ))
}

/// Writes the number into an id, and noise into its middle, so that it hashes as any other UUID would.
fn patch_id(id: &mut [u8], number: u64) {
    let noise = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    patch_hex(&mut id[9..13], noise >> 48);
    patch_hex(&mut id[15..18], noise >> 32);
    patch_hex(&mut id[20..23], noise >> 20);
    patch_hex(&mut id[24..36], number);
}

fn patch_hex(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

/// A sender, its sinks, and what is in flight between them.
pub struct Load {
    pub sender: Sender,
    pub sinks: Vec<Link>,
}

impl Load {
    /// Links a sender and so many sinks.
    pub fn dial(addr: SocketAddr, sinks: usize) -> io::Result<Self> {
        let sender = Sender::dial(addr, "bench-0")?;
        let sinks = (1..=sinks).map(|n| Link::dial(addr, &format!("bench-{n}"))).collect::<io::Result<_>>()?;
        Ok(Self { sender, sinks })
    }

    /// Sends so many more messages with the window full, and leaves the last of them in flight.
    pub fn advance(&mut self, count: u64) -> io::Result<()> {
        let end = self.sender.next + count;
        while self.sender.next < end {
            let burst = (end - self.sender.next).min(BURST as u64);
            let settled = (self.sender.next + burst).saturating_sub(WINDOW);
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
            sink.read_up_to(self.sender.next)?;
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
