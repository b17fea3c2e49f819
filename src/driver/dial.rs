//! Dials: name look-up, then connecting to its addresses as RFC 8305 has it (happy eyeballs): both families in turn, a quarter of
//! a second apart, the first that answers wins. How long it may take in all, and what else is an answer, is the node's business.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::rc::Rc;
use std::time::Duration;

use smol::{Async, LocalExecutor, Task, Timer};

use super::{Loop, tcp, udp};
use crate::api::event::LinkCode;
use crate::node::{DialId, Input, Order};

/// How long an address has before the next one is dialled as well ("Connection Attempt Delay").
const STAGGER: Duration = Duration::from_millis(250);
/// How long an address has in all. The node gives up a dial no later.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Addresses of a name that are dialled. A guess: all of them have their turn in half the time that a dial has.
const MAX_ADDRS: usize = 16;

/// Dials "HOST:PORT", and tells the node what came of it.
pub async fn dial(this: Rc<Loop>, dial: DialId, addr: String, order: Order) {
    let result = connect(&this.executor, &addr, &order).await;
    let task = this.core.borrow_mut().dials.remove(&dial);
    match result {
        Ok((stream, addr, more)) => {
            udp::follow(&this, stream.get_ref().local_addr().ok());
            let link = tcp::adopt(&this, stream);
            this.handle(Input::Dialled { dial, link, addr, more });
        }
        Err((code, reason)) => this.handle(Input::DialFailed { dial, code, reason }),
    }
    // This very task: it ends here in any case.
    drop(task);
}

type Failure = (LinkCode, String);

async fn connect(
    executor: &LocalExecutor<'static>,
    addr: &str,
    order: &Order,
) -> Result<(Async<TcpStream>, SocketAddr, bool), Failure> {
    let addrs = match addr.parse::<SocketAddr>() {
        Ok(addr) => vec![addr],
        Err(_) => smol::unblock({
            let (host, port) = addr.rsplit_once(':').unwrap_or((addr, "0"));
            // The system knows an IPv6 address with a zone, but no brackets.
            let (host, port) = (host.trim_matches(['[', ']']).to_owned(), port.parse().unwrap_or_default());
            move || (host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<SocketAddr>>)
        })
        .await
        .map_err(|e| (LinkCode::Unresolved, format!("the host's name was not found ({e})")))?,
    };
    if addrs.is_empty() {
        return Err((LinkCode::Unresolved, "the host's name has no address".to_owned()));
    }
    let addrs = arrange(addrs, order);
    let more = addrs.len() > 1;
    let (stream, addr) = race(executor, addrs, Async::<TcpStream>::connect).await?;
    Ok((stream, addr, more))
}

/// Puts addresses into the order in which they are dialled: one of each family in turn, otherwise as the system has them; and
/// before that as the node wants it.
fn arrange(addrs: Vec<SocketAddr>, order: &Order) -> Vec<SocketAddr> {
    let mut different: Vec<SocketAddr> = Vec::new();
    for addr in addrs {
        if !different.contains(&addr) && !order.skip.contains(&addr) {
            different.push(addr);
        }
    }
    let first_family = different.first().is_some_and(SocketAddr::is_ipv6);
    let (mut one, mut other): (VecDeque<SocketAddr>, VecDeque<SocketAddr>) =
        different.into_iter().partition(|addr| addr.is_ipv6() == first_family);
    let mut arranged = Vec::new();
    while let Some(addr) = one.pop_front().or_else(|| other.pop_front()) {
        arranged.push(addr);
        arranged.extend(other.pop_front());
    }
    arranged.sort_by_key(|addr| match order.first == Some(*addr) {
        true => 0,
        false => 1 + usize::from(order.last.contains(addr)),
    });
    arranged.truncate(MAX_ADDRS);
    arranged
}

/// Dials addresses, each a little after the one before or at once when that has failed, until one answers. If none does: the
/// failure that says most.
async fn race<T, F>(
    executor: &LocalExecutor<'static>,
    addrs: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<(T, SocketAddr), Failure>
where
    T: 'static,
    F: Future<Output = io::Result<T>> + 'static,
{
    let count = addrs.len();
    let (done, ends) = async_channel::bounded(count.max(1));
    let mut left = addrs.into_iter().peekable();
    // With them ends what has not answered.
    let mut attempts: Vec<Task<()>> = Vec::new();
    let mut running = 0;
    let mut failure: Option<Failure> = None;
    loop {
        if let Some(addr) = left.next() {
            let (done, answer) = (done.clone(), connect(addr));
            running += 1;
            attempts.push(executor.spawn(async move {
                let late = async {
                    Timer::after(CONNECT_TIME).await;
                    Err(ErrorKind::TimedOut.into())
                };
                let result = smol::future::or(answer, late).await;
                // There is room for all of them.
                let _ = done.try_send((addr, result));
            }));
        } else if running == 0 {
            break;
        }
        let next_due = async {
            match left.peek() {
                Some(_) => Timer::after(STAGGER).await,
                None => smol::future::pending().await,
            };
            None
        };
        match smol::future::or(async { ends.recv().await.ok() }, next_due).await {
            Some((addr, Ok(connected))) => return Ok((connected, addr)),
            Some((_, Err(e))) => {
                running -= 1;
                let this = describe(&e);
                if failure.as_ref().is_none_or(|(code, _)| says(this.0) > says(*code)) {
                    failure = Some(this);
                }
            }
            None => {}
        }
    }
    let (code, why) = failure.unwrap_or_else(|| (LinkCode::Other, "there is no other address".to_owned()));
    Err((code, if count > 1 { format!("{why} ({count} addresses)") } else { why }))
}

/// How much a failure says of its address: somebody is there; perhaps; nobody.
const fn says(code: LinkCode) -> u8 {
    match code {
        LinkCode::Refused => 3,
        LinkCode::Timeout => 2,
        LinkCode::Unreachable => 1,
        _ => 0,
    }
}

fn describe(e: &io::Error) -> Failure {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(n: u16) -> SocketAddr {
        ([10, 0, 0, 1], n).into()
    }

    fn addr6(n: u16) -> SocketAddr {
        ([0, 0, 0, 0, 0, 0, 0, 1], n).into()
    }

    #[test]
    fn families_take_turns_and_the_node_has_its_way() {
        let system = vec![addr6(1), addr6(2), addr6(2), addr6(3), addr(1), addr(2)];
        let arranged = arrange(system.clone(), &Order::default());
        assert_eq!(arranged, [addr6(1), addr(1), addr6(2), addr(2), addr6(3)]);
        let order = Order { first: Some(addr(2)), last: vec![addr6(1)], skip: vec![addr6(2)] };
        assert_eq!(arrange(system, &order), [addr(2), addr(1), addr6(3), addr6(1)]);
        assert_eq!(arrange((1..100).map(addr).collect(), &Order::default()).len(), MAX_ADDRS);
    }

    /// A race in which port 1 never answers, port 2 refuses, port 3 can't be reached and others answer.
    fn run(ports: &[u16]) -> Result<(u16, SocketAddr), Failure> {
        let executor = LocalExecutor::new();
        let connect = |addr: SocketAddr| async move {
            match addr.port() {
                1 => smol::future::pending().await,
                2 => Err(ErrorKind::ConnectionRefused.into()),
                3 => Err(ErrorKind::HostUnreachable.into()),
                port => Ok(port),
            }
        };
        let addrs = ports.iter().copied().map(addr).collect();
        smol::block_on(executor.run(race(&executor, addrs, connect)))
    }

    #[test]
    fn one_that_is_silent_or_refuses_does_not_keep_the_next_from_its_turn() {
        for ports in [&[7][..], &[1, 7], &[2, 3, 7], &[1, 2, 1, 7, 8]] {
            assert_eq!(run(ports).map(|(port, _)| port), Ok(7), "{ports:?}");
        }
    }

    #[test]
    fn of_those_that_fail_the_one_that_says_most_is_told() {
        for (ports, code) in
            [(&[2][..], LinkCode::Refused), (&[3], LinkCode::Unreachable), (&[3, 2, 3], LinkCode::Refused)]
        {
            let (said, why) = run(ports).expect_err("nobody answers");
            assert_eq!((said, why.contains("addresses")), (code, ports.len() > 1), "{why}");
        }
        assert!(run(&[]).is_err());
    }
}
