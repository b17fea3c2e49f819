//! Datagrams.

use std::net::UdpSocket;
use std::rc::Rc;
use std::time::Duration;

use smol::{Async, Timer};

use super::Loop;
use crate::node::Input;

/// The largest datagram that anyone here could mean, in bytes; a longer one is cut, and so of no known length.
const MAX_DATAGRAM: usize = 2048;

/// Hands datagrams to the node.
pub async fn receive(this: Rc<Loop>, socket: Async<UdpSocket>) {
    let mut buffer = [0; MAX_DATAGRAM];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((n, from)) => this.handle(Input::Datagram { from, bytes: buffer.get(..n).unwrap_or_default() }),
            // An ICMP error for something sent earlier; not worth a word, and not to be asked again at once.
            Err(_) => {
                Timer::after(Duration::from_millis(10)).await;
            }
        }
    }
}
