//! Links: a task that reads, a task that writes, and the buffers between the writer and the node.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use smol::{Async, Task, Timer};
use socket2::{SockRef, TcpKeepalive};

use super::{Loop, Wake, now};
use crate::node::{Bytes, Input, LinkId, Outbox};
use crate::wire::limits::{DEAD_AFTER, MAX_HANDSHAKES};

/// Small frames are gathered into buffers of about this size, in bytes.
const GATHER: usize = 64 << 10;

/// A link's tasks, and what waits to be written.
pub struct LinkIo {
    queue: VecDeque<Chunk>,
    /// Bytes of the first chunk that are written.
    written: usize,
    half_close: bool,
    /// Why nothing more can be written. What had come by then is read all the same.
    broken: Option<String>,
    wake: Rc<Wake>,
    /// The step of its handshake that is being made.
    pub step: Option<Task<()>>,
    /// Dropped with the link: that ends them.
    _tasks: [Task<()>; 2],
}

/// Buffers that have been written, for the next frames: without them every burst would take memory from the system and
/// give it back.
#[derive(Debug, Default)]
pub struct Spare(Vec<Vec<u8>>);

impl Spare {
    /// Buffers kept at most: 2 MiB in all.
    const MOST: usize = 32;

    fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    fn keep(&mut self, chunk: Option<Chunk>) {
        if let Some(Chunk::Gathered(mut buffer)) = chunk
            && self.0.len() < Self::MOST
        {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

enum Chunk {
    Gathered(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Gathered(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl LinkIo {
    /// Starts a link's tasks.
    pub fn start(this: &Rc<Loop>, id: LinkId, stream: Async<TcpStream>) -> Self {
        let stream = Rc::new(stream);
        let wake = Rc::new(Wake::default());
        let tasks = [
            this.executor.spawn(read(this.clone(), id, stream.clone())),
            this.executor.spawn(write(this.clone(), id, stream, wake.clone())),
        ];
        Self { queue: VecDeque::new(), written: 0, half_close: false, broken: None, wake, step: None, _tasks: tasks }
    }

    /// Adds bytes to be written.
    pub fn queue(&mut self, bytes: &Bytes, out: &Outbox, spare: &mut Spare) {
        match bytes {
            Bytes::Large(shared) => self.queue.push_back(Chunk::Shared(shared.clone())),
            Bytes::Small(range) => {
                let bytes = out.bytes(range);
                match self.queue.back_mut() {
                    Some(Chunk::Gathered(chunk)) if chunk.len() + bytes.len() <= GATHER => {
                        chunk.extend_from_slice(bytes);
                    }
                    _ => {
                        let mut buffer = spare.take();
                        buffer.extend_from_slice(bytes);
                        self.queue.push_back(Chunk::Gathered(buffer));
                    }
                }
            }
        }
        self.wake.wake();
    }

    /// Closes our direction when all is written.
    pub fn half_close(&mut self) {
        self.half_close = true;
        self.wake.wake();
    }
}

/// Takes a new socket in.
pub fn adopt(this: &Rc<Loop>, stream: Async<TcpStream>) -> LinkId {
    prepare(stream.get_ref());
    let id = {
        let core = &mut *this.core.borrow_mut();
        core.next_link += 1;
        LinkId(core.next_link)
    };
    let io = LinkIo::start(this, id, stream);
    this.core.borrow_mut().links.insert(id, io);
    id
}

/// No delay for small frames; and a peer that is gone is noticed in [`DEAD_AFTER`], even if it can't be pinged. What
/// the system refuses of this, a link can do without.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let probes = 3;
    let every = DEAD_AFTER / (probes + 2);
    let keepalive = TcpKeepalive::new().with_time(every * 2).with_interval(every);
    #[cfg(not(target_os = "windows"))]
    let keepalive = keepalive.with_retries(probes);
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket.set_tcp_user_timeout(Some(DEAD_AFTER));
}

/// Accepts links for as long as the node runs.
///
/// After each few of them everything else has its turn: so in a flood of strangers the others are served, and a newcomer's
/// hello is read before so many have come after it that it is pushed out.
pub async fn accept(this: Rc<Loop>, listener: Async<TcpListener>) {
    /// How long to wait when the system has no more files for us. Nothing tells when it has again.
    const PAUSE: Duration = Duration::from_millis(100);
    /// Links between two looks at everything else: a quarter of those that may be in handshake.
    const TURN: usize = MAX_HANDSHAKES / 4;
    loop {
        let failed = match listener.readable().await {
            Ok(()) => (0..TURN).find_map(|_| accept_one(&this, &listener).err()),
            Err(e) => Some(e),
        };
        if let Some(e) = failed.filter(|e| e.kind() != ErrorKind::WouldBlock) {
            let before = this.core.borrow().links.len();
            this.handle(Input::AcceptFailed(format!("can't accept links: {e}")));
            let made_room = this.core.borrow().links.len() < before;
            match made_room {
                // Its tasks, and with them its socket, go when others have their turn.
                true => smol::future::yield_now().await,
                false => drop(Timer::after(PAUSE).await),
            }
        }
    }
}

/// Takes in the next connection that waits, if it has not gone already.
fn accept_one(this: &Rc<Loop>, listener: &Async<TcpListener>) -> io::Result<()> {
    match listener.get_ref().accept().and_then(|(stream, addr)| Ok((Async::new(stream)?, addr))) {
        Ok((stream, addr)) => {
            let link = adopt(this, stream);
            this.handle(Input::Accepted { link, addr });
            Ok(())
        }
        Err(e) if matches!(e.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Hands what comes to the node, as fast as it allows.
async fn read(this: Rc<Loop>, id: LinkId, stream: Rc<Async<TcpStream>>) {
    loop {
        this.wait_until(|core| core.node.may_read(now(), id)).await;
        if let Err(e) = stream.readable().await {
            return this.handle(Input::Ended { link: id, error: Some(e.to_string()) });
        }
        let most = if this.core.borrow().sound.is_some() { super::SCRATCH_IN_CALL } else { super::SCRATCH };
        let mut scratch = this.scratch.borrow_mut();
        let room = scratch.get_mut(..most).unwrap_or_default();
        match stream.get_ref().read(room) {
            Ok(0) => {
                drop(scratch);
                let error = this.core.borrow_mut().links.get_mut(id).and_then(|io| io.broken.take());
                return this.handle(Input::Ended { link: id, error });
            }
            Ok(n) => this.handle(Input::Bytes { link: id, bytes: scratch.get(..n).unwrap_or_default() }),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(e) => {
                drop(scratch);
                return this.handle(Input::Ended { link: id, error: Some(e.to_string()) });
            }
        }
    }
}

/// Writes what is queued.
async fn write(this: Rc<Loop>, id: LinkId, stream: Rc<Async<TcpStream>>, wake: Rc<Wake>) {
    loop {
        let mut total = 0;
        let mut broken = false;
        let blocked = loop {
            let core = &mut *this.core.borrow_mut();
            let Some(io) = core.links.get_mut(id) else { return };
            let Some(chunk) = io.queue.front() else { break false };
            match stream.get_ref().write(chunk.bytes().get(io.written..).unwrap_or_default()) {
                Ok(n) => {
                    total += n;
                    io.written += n;
                    if io.written >= chunk.bytes().len() {
                        io.written = 0;
                        let chunk = io.queue.pop_front();
                        core.spare.keep(chunk);
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break true,
                Err(e) => {
                    io.broken = Some(e.to_string());
                    broken = true;
                    break true;
                }
            }
        };
        if total > 0 {
            this.handle(Input::Written { link: id, bytes: total });
        }
        if broken {
            // The reader comes to the end, too, when it has read what the peer had sent before.
            return;
        }
        if blocked {
            if let Err(e) = stream.writable().await {
                return this.handle(Input::Ended { link: id, error: Some(e.to_string()) });
            }
            continue;
        }
        let half_close = {
            let core = &*this.core.borrow();
            let Some(io) = core.links.get(id) else { return };
            io.half_close && io.queue.is_empty()
        };
        if half_close {
            // If that fails, the link is gone already.
            let _ = stream.get_ref().shutdown(Shutdown::Write);
            return;
        }
        wake.wait().await;
    }
}
