//! Datagrams.

use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::Duration;

use smol::{Async, Timer};

use super::Loop;
use crate::node::{Bytes, Input, Outbox};

/// The largest datagram that anyone here could mean, in bytes; a longer one is cut, and so of no known length.
const MAX_DATAGRAM: usize = 2048;
/// Datagrams between two looks at everything else.
const TURN: usize = 64;

/// Hands datagrams to the node.
pub async fn receive(this: Rc<Loop>, socket: Rc<Async<UdpSocket>>) {
    let mut buffer = [0; MAX_DATAGRAM];
    for n in 1_usize.. {
        match socket.recv_from(&mut buffer).await {
            Ok((n, from)) => this.handle(Input::Datagram { from, bytes: buffer.get(..n).unwrap_or_default() }),
            // An ICMP error for something sent earlier; not worth a word, and not to be asked again at once.
            Err(_) => {
                Timer::after(Duration::from_millis(10)).await;
            }
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
