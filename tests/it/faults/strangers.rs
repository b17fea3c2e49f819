//! Ten thousand strangers, who connect and are no nodes, while honest ones chat.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use p2p_chat::wire::noise::{Handshake, MAGIC};
use serde_json::json;
use socket2::{Domain, SockRef, Socket, Type};

use super::honest::Honest;
use crate::support::net::Net;
use crate::support::raw::{Secrets, chat, framed, fresh_secret, hello, hello_level2};
use crate::support::{Node, PATIENCE, RawPeer, fresh_id, number, settles};

/// How many there are.
const STRANGERS: u32 = 10_000;
/// How many of them come at once: those of a wave that stay do so until the next has come. They take a file of the test
/// each, and 16 of the node, which lets no more in.
const WAVE: u32 = 250;

/// What the node may grow by for their sake, in KiB. Let in at once are 16, with 16 KiB of a first frame each, and a few
/// KiB of the node's own for a link; those who say hello leave a message each, which is kept and which `wait` looks back
/// over: 1,700 of 300 bytes, twice, and as much again around each. That is 2 MiB; an allocator may need twice what it gives out.
const GROWTH: u64 = 4 << 10;

/// How often honest ones chat meanwhile.
const EVERY: Duration = Duration::from_millis(20);

/// What a stranger does once it is connected.
#[derive(Clone, Copy)]
enum Kind {
    /// Says nothing.
    Silent,
    /// Begins a first frame with noise in it, or with anything but a length.
    Noise,
    /// Says the first half of a hello.
    HalfHello,
    /// Opens level 2, and goes on with noise.
    Opening,
    /// Opens level 2, and begins a handshake that never ends.
    Handshake,
    /// Says hello, and something more.
    Hello,
}

const KINDS: [Kind; 6] = [Kind::Silent, Kind::Noise, Kind::HalfHello, Kind::Opening, Kind::Handshake, Kind::Hello];

/// How it goes.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// Stays until the next wave has come.
    Stays,
    /// Closes at once.
    Leaves,
    /// Breaks the connection at once.
    Resets,
}

/// The nth stranger: from any address of a /16 at `from`. Gives what is to be kept of it.
fn stranger(n: u32, from: [u8; 2], to: SocketAddr) -> Option<TcpStream> {
    let (kind, round) = (KINDS[n as usize % KINDS.len()], n / KINDS.len() as u32);
    // Who has said hello is none any more: so it leaves.
    let end = match (kind, round % 3) {
        (Kind::Hello, _) | (_, 0) => End::Leaves,
        (_, 1) => End::Stays,
        _ => End::Resets,
    };
    let [_, _, c, d] = n.to_be_bytes();
    let ip = Ipv4Addr::new(from[0], from[1], c, d.max(1));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((ip, 0)).into()).expect("an address of this machine");
    // Whom the node has refused, or pushed out, may hear of it at any point.
    socket.connect_timeout(&to.into(), Duration::from_secs(10)).expect("the system accepts");
    let mut stream = TcpStream::from(socket);
    let said = match kind {
        Kind::Silent => Vec::new(),
        Kind::Noise => noise(n, round.is_multiple_of(2).then_some(u32::to_be_bytes(16 << 10))),
        Kind::Opening => noise(n, Some(MAGIC)),
        Kind::Handshake => first_message(),
        Kind::HalfHello => framed(hello(&fresh_id(), "Half").to_string().as_bytes())[..40].to_vec(),
        Kind::Hello => {
            let id = fresh_id();
            let said = [hello(&id, "Whole"), chat(&id, "general", "whole")];
            said.iter().flat_map(|frame| framed(frame.to_string().as_bytes())).collect()
        }
    };
    let _ = stream.write_all(&said);
    if end == End::Resets {
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
    (end == End::Stays).then_some(stream)
}

/// Some bytes, others each time, with that at their beginning.
fn noise(n: u32, beginning: Option<[u8; 4]>) -> Vec<u8> {
    let mut state = n.wrapping_mul(0x9e37_79b9) | 1;
    let mut bytes: Vec<u8> = (0..200 + n % 2_000)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_be_bytes()[0]
        })
        .collect();
    bytes.splice(..4, beginning.unwrap_or(state.to_be_bytes()));
    bytes
}

/// What a node of level 2 says first.
fn first_message() -> Vec<u8> {
    let mut out = Vec::new();
    Handshake::dial(&Secrets::new().keys, fresh_secret(), None, &mut out).expect("its own keys are good");
    out
}

/// So many strangers, in waves. Gives how many connections there were.
fn come(count: u32, from: [u8; 2], to: SocketAddr) {
    let mut stay = Vec::new();
    for wave in 0..count / WAVE {
        let new: Vec<_> = (0..WAVE).filter_map(|n| stranger(wave * WAVE + n, from, to)).collect();
        stay = new;
    }
    drop(stay);
}

#[test]
fn ten_thousand_of_them_cost_honest_peers_nothing() {
    let mut node = Node::start(&[]);
    let to = node.addr().parse().unwrap();
    let mut honest = Honest::around(&mut node);
    honest.chat();
    let before = node.peak_memory();
    let gone = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            come(STRANGERS, [127, 77], to);
            gone.store(true, Ordering::Relaxed);
        });
        while !gone.load(Ordering::Relaxed) {
            honest.chat();
            thread::sleep(EVERY);
        }
    });
    honest.chat();
    honest.were_served("ten thousand strangers");
    let mut late = RawPeer::dial(&node.addr(), "late", "Late");
    late.say("am I too late?");
    node.hears("am I too late?");
    let said_hello = (0..STRANGERS as usize).filter(|n| matches!(KINDS[n % KINDS.len()], Kind::Hello)).count();
    settles("who says hello at once is heard, however many come after", || {
        node.ok(json!({ "cmd": "room" }));
        match node.saw("message", json!({ "text": "whole" })).len() {
            met if met == said_hello => Ok(()),
            met => Err(format!("{met} of {said_hello}")),
        }
    });
    let grown = node.peak_memory() - before;
    eprintln!("ten thousand strangers: {grown} KiB more at most");
    assert!(grown < GROWTH, "{grown} KiB");
    assert!(number(&node.ok(json!({ "cmd": "status" })), "handshakes") <= 16);
    node.finish().exited(0);
}

/// A node of level 2 dials from there, over a way of 150 ms there and back. Whether its hello is answered.
fn comes_over_a_long_way(from: [u8; 4], to: SocketAddr) -> bool {
    const THERE_AND_BACK: Duration = Duration::from_millis(150);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((from, 0)).into()).expect("an address of this machine");
    socket.connect(&to.into()).expect("the system accepts");
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let (secrets, mut out) = (Secrets::new(), Vec::new());
    let mut handshake = Handshake::dial(&secrets.keys, fresh_secret(), None, &mut out).expect("its own keys are good");
    let _ = stream.write_all(&out);
    let mut buffer = [0; 4096];
    loop {
        let Ok(n @ 1..) = stream.read(&mut buffer) else { return false };
        // No bytes are delayed here: so its answer waits for as long as both ways take.
        thread::sleep(THERE_AND_BACK);
        out.clear();
        let proven = handshake.take(&secrets.keys, &mut &buffer[..n], &mut out).expect("a handshake");
        if let Some(mut proven) = proven {
            let hello = framed(hello_level2(&secrets.id, "Far").to_string().as_bytes());
            proven.session.seal(&hello, &mut out).expect("it fits");
            let _ = stream.write_all(&out);
            return stream.read(&mut buffer).is_ok_and(|n| n > 0);
        }
        let _ = stream.write_all(&out);
    }
}

/// How many of eight nodes that come over long ways, one after the other, get in while strangers come and say nothing.
fn get_in_beside(each: Duration, to: SocketAddr, from: [u8; 4], stranger: impl Fn(u32) -> [u8; 4] + Send) -> usize {
    let gone = Arc::new(AtomicBool::new(false));
    let is_over = gone.clone();
    let come = move || {
        let mut stay = VecDeque::new();
        let all = (0..).map_while(|n| (!is_over.load(Ordering::Relaxed)).then(|| stranger(n)));
        for ip in all {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.bind(&SocketAddr::from((ip, 0)).into()).expect("an address of this machine");
            stay.extend(socket.connect_timeout(&to.into(), PATIENCE).is_ok().then_some(socket));
            if stay.len() > WAVE as usize {
                stay.pop_front();
            }
            thread::sleep(each);
        }
    };
    thread::scope(|scope| {
        scope.spawn(come);
        let got_in = (0..8).filter(|_| comes_over_a_long_way(from, to)).count();
        gone.store(true, Ordering::Relaxed);
        got_in
    })
}

#[test]
fn those_who_come_over_long_ways_get_in_beside_them() {
    let node = Node::start(&[]);
    let to = node.addr().parse().unwrap();
    let got_in = get_in_beside(Duration::from_millis(5), to, [127, 0, 0, 1], |n| [127, 0, 0, 1 + (n % 200) as u8]);
    assert!(got_in >= 4, "beside 200 a second of its own network: {got_in} of 8");
    node.finish().exited(0);
}

#[test]
fn those_who_come_over_long_ways_get_in_beside_a_handful_of_networks() {
    let net = match Net::new() {
        Ok(net) if Net::may_enter() => net,
        Ok(_) => return eprintln!("skipped: only root may enter a network namespace"),
        Err(why) => return eprintln!("skipped, there are no network namespaces here: {why}"),
    };
    net.add_addresses(1, 9);
    let node = net.node(0, "Alice", &[]);
    let to = node.addr().parse().unwrap();
    let stranger = |n: u32| [10, 9, (n % 5) as u8, 1 + (n % 200) as u8];
    let got_in = net.at(1, || get_in_beside(Duration::from_millis(1), to, [10, 9, 99, 1], stranger));
    assert_eq!(got_in, 8, "beside 1,000 a second of five networks");
    node.finish().exited(0);
}

#[test]
fn those_of_a_real_network_are_let_in_by_address() {
    let net = match Net::new() {
        Ok(net) if Net::may_enter() => net,
        Ok(_) => return eprintln!("skipped: only root may enter a network namespace"),
        Err(why) => return eprintln!("skipped, there are no network namespaces here: {why}"),
    };
    net.add_addresses(1, 9);
    let mut node = net.node(0, "Alice", &[]);
    let to = node.addr().parse().unwrap();
    // Honest ones at the same end as the strangers, with addresses of their own.
    let [mut left, mut right] = ["Left", "Right"].map(|name| net.node(1, name, &["--connect", &node.addr()]));
    for one in [&mut left, &mut right] {
        one.await_event("peer_up", json!({}));
    }
    let before = node.peak_memory();
    let gone = AtomicBool::new(false);
    let mut rounds = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            net.at(1, || {
                // One address has 8 links, and no more.
                let many: Vec<_> = (0..20).map(|n| greeted(n, [10, 9, 0, 1], to)).collect();
                assert_eq!(many.iter().filter(|link| link.is_some()).count(), 8);
                come(STRANGERS / 4, [10, 9], to);
            });
            gone.store(true, Ordering::Relaxed);
        });
        while !gone.load(Ordering::Relaxed) {
            rounds += 1;
            left.say(&format!("{rounds}"));
            right.hears(&format!("{rounds}"));
            thread::sleep(EVERY);
        }
    });
    let grown = node.peak_memory() - before;
    eprintln!("strangers of 2,500 addresses: {rounds} chats meanwhile, {grown} KiB more at most");
    assert!(grown < GROWTH, "{grown} KiB");
    let addr = node.addr();
    let mut late = net.at(1, || RawPeer::dial(&addr, "late", "Late"));
    late.say("am I too late?");
    node.hears("am I too late?");
    for one in [left, right, node] {
        one.finish().exited(0);
    }
}

/// A link from that address whose hello was answered, if it was.
fn greeted(n: u32, from: [u8; 4], to: SocketAddr) -> Option<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((from, 0)).into()).expect("an address of this machine");
    socket.connect(&to.into()).expect("the system accepts");
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let _ = stream.write_all(&framed(hello(&format!("many {n}"), "Many").to_string().as_bytes()));
    stream.read_exact(&mut [0; 4]).is_ok().then_some(stream)
}
