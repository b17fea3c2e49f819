//! Datagrams.

use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::Duration;

use smol::{Async, Timer};

use super::line::Lines;
use super::{Loop, now};
use crate::node::{Bytes, Input, Outbox};

/// The largest datagram that anyone here could mean, in bytes; a longer one is cut, and so of no known length.
const MAX_DATAGRAM: usize = 2048;
/// Datagrams between two looks at everything else.
const TURN: usize = 64;

/// How long to wait after an error. It is an ICMP error for something sent earlier; not worth a word, and not to be asked again at
/// once.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Hands datagrams to the node.
pub async fn receive(this: Rc<Loop>, socket: Rc<Async<UdpSocket>>, lines: Option<Lines>) {
    if let Some(lines) = lines {
        return receive_late(this, socket, lines).await;
    }
    let mut buffer = [0; MAX_DATAGRAM];
    for n in 1_usize.. {
        match socket.recv_from(&mut buffer).await {
            Ok((n, from)) => this.handle(Input::Datagram { from, bytes: buffer.get(..n).unwrap_or_default() }),
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
async fn receive_late(this: Rc<Loop>, socket: Rc<Async<UdpSocket>>, mut lines: Lines) {
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
            this.handle(Input::Datagram { from, bytes: &bytes });
        }
        if n.is_multiple_of(TURN) {
            smol::future::yield_now().await;
        }
    }
}

/// Sends a datagram. What the system does not take at once is lost, as on any line: voice that waits is of no use.
pub fn send(socket: &Async<UdpSocket>, to: SocketAddr, bytes: &Bytes, out: &Outbox) {
    let bytes = match bytes {
        Bytes::Small(range) => out.bytes(range),
        Bytes::Large(shared) => shared,
    };
    let _ = socket.get_ref().send_to(bytes, to);
}
