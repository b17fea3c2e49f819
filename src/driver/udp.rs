//! Datagrams, and the sockets that they go through.
//!
//! A node that listens at loopback alone, as it does unless told otherwise, can dial others on other machines; and so voice must
//! get through, too. Where its links come from, it receives datagrams as well: at just those addresses of the machine, not at all
//! that there are.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::Duration;

use smol::{Async, Task, Timer};

use super::line::Lines;
use super::{Loop, now};
use crate::line::Settings;
use crate::node::{Bytes, Input, Outbox};

/// The largest datagram that anyone here could mean, in bytes; a longer one is cut, and so of no known length.
const MAX_DATAGRAM: usize = 2048;
/// Datagrams between two looks at everything else.
const TURN: usize = 64;

/// How long to wait after an error. It is an ICMP error for something sent earlier; not worth a word, and not to be asked again at
/// once.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Bytes of datagrams that may wait for the loop: 0.1 s of 64 members who all talk, 2 KiB of the kernel's a datagram, and
/// as much again.
const BUFFER: usize = 1 << 20;
/// Addresses of links at which datagrams are received, too; the oldest makes way. A machine that moves has a few in its time.
const MAX_OTHERS: usize = 8;
/// Ways to others that are remembered, more than a room has members; beyond that all are looked up anew.
const MAX_WAYS: usize = 1024;

/// The sockets.
pub struct Sockets {
    main: Rc<Async<UdpSocket>>,
    bound: SocketAddr,
    /// Whether there are others: where links are.
    follows_links: bool,
    others: Vec<Other>,
    /// From which of our addresses a datagram to another goes: the one that its own came to, or that the system chooses.
    ways: HashMap<SocketAddr, IpAddr>,
    line: Option<(Settings, u64)>,
}

/// A socket at the address of a link.
struct Other {
    ip: IpAddr,
    socket: Rc<Async<UdpSocket>>,
    /// Reads it, and ends with it.
    _task: Task<()>,
}

/// A socket to be read: whose address it is bound to, and the bad line before it.
pub struct Received {
    socket: Rc<Async<UdpSocket>>,
    ip: IpAddr,
    lines: Option<Lines>,
}

impl Sockets {
    /// Those of a node: the one that it is bound to, and others where its links are, if it `follows_links`. With it comes what
    /// is to be read.
    pub fn new(main: UdpSocket, follows_links: bool, line: Option<(Settings, u64)>) -> io::Result<(Self, Received)> {
        let bound = main.local_addr()?;
        let main = adopt(main)?;
        let this = Self { main: main.clone(), bound, follows_links, others: Vec::new(), ways: HashMap::new(), line };
        let received = this.received(main, bound.ip());
        Ok((this, received))
    }

    fn received(&self, socket: Rc<Async<UdpSocket>>, ip: IpAddr) -> Received {
        let lines = self.line.map(|(settings, seed)| Lines::new(settings, seed, now().mono));
        Received { socket, ip, lines }
    }

    /// Sends a datagram. What the system does not take at once is lost, as on any line: voice that waits is of no use.
    pub fn send(&mut self, to: SocketAddr, bytes: &Bytes, out: &Outbox) {
        let bytes = match bytes {
            Bytes::Small(range) => out.bytes(range),
            Bytes::Large(shared) => shared,
        };
        let _ = self.socket_to(to).get_ref().send_to(bytes, to);
    }

    fn socket_to(&mut self, to: SocketAddr) -> &Async<UdpSocket> {
        if self.others.is_empty() {
            return &self.main;
        }
        let way = match self.ways.get(&to) {
            Some(way) => *way,
            None => {
                // Where the system goes another way than any link, that of the newest one is as good as any.
                let fits = |other: &&Other| other.ip.is_ipv4() == to.is_ipv4();
                let newest = self.others.iter().rev().find(fits).map_or(self.bound.ip(), |other| other.ip);
                let way = match to.ip().to_canonical().is_loopback() {
                    true => self.bound.ip(),
                    false => local_ip_to(to).filter(|ip| self.others.iter().any(|it| it.ip == *ip)).unwrap_or(newest),
                };
                self.remember(to, way);
                way
            }
        };
        self.others.iter().find(|other| other.ip == way).map_or(&self.main, |other| &other.socket)
    }

    fn remember(&mut self, to: SocketAddr, way: IpAddr) {
        if self.ways.len() >= MAX_WAYS && !self.ways.contains_key(&to) {
            self.ways.clear();
        }
        self.ways.insert(to, way);
    }

    /// A datagram came to one of our addresses: there its answer comes from.
    fn came(&mut self, from: SocketAddr, to: IpAddr) {
        if !self.others.is_empty() && self.ways.get(&from) != Some(&to) {
            self.remember(from, to);
        }
    }

    /// Binds a socket at the address of a link, if that is wanted. With it comes whether it has the port that others are told.
    fn bind_at(&self, local: SocketAddr) -> Option<(Rc<Async<UdpSocket>>, bool)> {
        let ip = local.ip();
        let is_known = ip == self.bound.ip() || self.others.iter().any(|other| other.ip == ip);
        // Of a dual-stack socket there is none here, for a node dials from one of the family that it dials.
        if !self.follows_links || is_known || ip.to_canonical().is_loopback() || ip.is_unspecified() {
            return None;
        }
        let [mut known, mut free] = [local; 2];
        known.set_port(self.bound.port());
        free.set_port(0);
        // With another port than is told it serves those who are sent to first, and answer where that came from.
        let first = UdpSocket::bind(known).map(|socket| (socket, true));
        let (socket, has_port) = first.or_else(|_| UdpSocket::bind(free).map(|socket| (socket, false))).ok()?;
        Some((adopt(socket).ok()?, has_port))
    }
}

/// Prepares a socket.
fn adopt(socket: UdpSocket) -> io::Result<Rc<Async<UdpSocket>>> {
    // As much as the system grants: a talkative room must survive a moment in which the loop is busy.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(BUFFER);
    Ok(Rc::new(Async::new(socket)?))
}

/// The address of ours that the system sends from to another. To connect a UDP socket sends nothing.
pub fn local_ip_to(to: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    socket.local_addr().ok().map(|addr| addr.ip())
}

/// A link was dialled from this address of ours: from now on datagrams come there, too, unless the node was told where to listen.
pub fn follow(this: &Rc<Loop>, local: Option<SocketAddr>) {
    let Some(local) = local else { return };
    let has_port = {
        let udp = &mut this.core.borrow_mut().udp;
        let Some((socket, has_port)) = udp.bind_at(local) else { return };
        let received = udp.received(socket.clone(), local.ip());
        let task = this.executor.spawn(receive(this.clone(), received));
        if udp.others.len() >= MAX_OTHERS {
            udp.others.remove(0);
        }
        udp.others.push(Other { ip: local.ip(), socket, _task: task });
        udp.ways.clear();
        has_port
    };
    if has_port {
        this.handle(Input::Reachable(local.ip()));
    }
}

/// Hands datagrams to the node.
pub async fn receive(this: Rc<Loop>, Received { socket, ip, lines }: Received) {
    if let Some(lines) = lines {
        return receive_late(this, socket, ip, lines).await;
    }
    let mut buffer = [0; MAX_DATAGRAM];
    for n in 1_usize.. {
        match socket.recv_from(&mut buffer).await {
            Ok((n, from)) => {
                this.core.borrow_mut().udp.came(from, ip);
                this.handle(Input::Datagram { from, bytes: buffer.get(..n).unwrap_or_default() });
            }
            Err(_) => {
                Timer::after(ERROR_PAUSE).await;
            }
        }
        if n.is_multiple_of(TURN) {
            smol::future::yield_now().await;
        }
    }
}

/// The same, with a bad line in between.
async fn receive_late(this: Rc<Loop>, socket: Rc<Async<UdpSocket>>, ip: IpAddr, mut lines: Lines) {
    let mut buffer = [0; MAX_DATAGRAM];
    for n in 1_usize.. {
        let due = lines.next_due();
        let came = async { Some(socket.recv_from(&mut buffer).await) };
        let arrives = async {
            match due {
                Some(at) => Timer::at(at).await,
                None => smol::future::pending().await,
            };
            None
        };
        // What has arrived goes first: else a flood could hold it up.
        match smol::future::or(arrives, came).await {
            Some(Ok((n, from))) => lines.send(now().mono, from, buffer.get(..n).unwrap_or_default()),
            Some(Err(_)) => {
                Timer::after(ERROR_PAUSE).await;
            }
            None => {}
        }
        while let Some((from, bytes)) = lines.arrived(now().mono) {
            this.core.borrow_mut().udp.came(from, ip);
            this.handle(Input::Datagram { from, bytes: &bytes });
        }
        if n.is_multiple_of(TURN) {
            smol::future::yield_now().await;
        }
    }
}
