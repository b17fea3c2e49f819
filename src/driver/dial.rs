//! Dials: name look-up, then each address in turn. How long it may take in all is the node's business.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;

use smol::Async;

use super::{Loop, tcp};
use crate::api::event::LinkCode;
use crate::node::{DialId, Input};

/// Dials "HOST:PORT", and tells the node what came of it.
pub async fn dial(this: Rc<Loop>, dial: DialId, addr: String) {
    let result = connect(&addr).await;
    let task = this.core.borrow_mut().dials.remove(&dial);
    match result {
        Ok((stream, addr)) => {
            let link = tcp::adopt(&this, stream);
            this.handle(Input::Dialled { dial, link, addr });
        }
        Err((code, reason)) => this.handle(Input::DialFailed { dial, code, reason }),
    }
    // This very task: it ends here in any case.
    drop(task);
}

async fn connect(addr: &str) -> Result<(Async<TcpStream>, SocketAddr), (LinkCode, String)> {
    let addrs = match addr.parse::<SocketAddr>() {
        Ok(addr) => vec![addr],
        Err(_) => async_net::resolve(addr)
            .await
            .map_err(|e| (LinkCode::Unresolved, format!("the host's name was not found ({e})")))?,
    };
    let mut last = (LinkCode::Unresolved, "the host's name has no address".to_owned());
    for addr in addrs {
        match Async::<TcpStream>::connect(addr).await {
            Ok(stream) => return Ok((stream, addr)),
            Err(e) => last = describe(&e),
        }
    }
    Err(last)
}

fn describe(e: &io::Error) -> (LinkCode, String) {
    match e.kind() {
        ErrorKind::ConnectionRefused => {
            (LinkCode::Refused, "connection refused: is a node listening there?".to_owned())
        }
        ErrorKind::TimedOut => (LinkCode::Timeout, "no answer".to_owned()),
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => {
            (LinkCode::Unreachable, format!("the host can't be reached ({e})"))
        }
        _ => (LinkCode::Other, e.to_string()),
    }
}
