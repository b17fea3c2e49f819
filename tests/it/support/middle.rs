//! A bad line between two nodes: it carries their link as it is, and their datagrams as a [`Line`] of the simulator would.
//!
//! Each node is told, in the `voice_join` of the other, to send its datagrams here; so it stands for either.

use std::collections::BinaryHeap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use p2p_chat::sim::line::{Line, Settings};
use serde_json::{Value, json};

use super::raw::framed;

/// A line to one node.
pub struct Middle {
    addr: String,
    sides: [Arc<Side>; 2],
    ended: Arc<AtomicBool>,
}

/// What stands for a node: the other sends to it.
struct Side {
    socket: UdpSocket,
    /// Where the node itself is, once it has joined.
    real: Mutex<Option<SocketAddr>>,
    carried: AtomicU64,
}

impl Middle {
    /// A line to the node that listens there, for one node to dial.
    pub fn before(node: &str, settings: Settings, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("it is bound").to_string();
        let side = || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            socket.set_read_timeout(Some(Duration::from_millis(1))).expect("a socket");
            Arc::new(Side { socket, real: Mutex::default(), carried: AtomicU64::new(0) })
        };
        let (sides, ended) = ([side(), side()], Arc::new(AtomicBool::new(false)));
        let (node, [dialler, listening]) = (node.to_owned(), sides.clone());
        for (n, (from, to)) in [(&dialler, &listening), (&listening, &dialler)].into_iter().enumerate() {
            let (from, to, ended) = (from.clone(), to.clone(), ended.clone());
            let line = Line::new(settings, seed + n as u64);
            thread::spawn(move || carry(line, &from, &to, &ended));
        }
        thread::spawn(move || {
            let (near, _) = listener.accept().expect("a node dials");
            let far = TcpStream::connect(node).expect("the other listens");
            let (back, forth) = (near.try_clone().expect("a socket"), far.try_clone().expect("a socket"));
            thread::spawn(move || pass_on(far, back, &listening));
            pass_on(near, forth, &dialler);
        });
        Self { addr, sides, ended }
    }

    /// The address to dial.
    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// Datagrams that it was given so far, in both directions.
    pub fn carried(&self) -> u64 {
        self.sides.iter().map(|side| side.carried.load(Ordering::Relaxed)).sum()
    }
}

impl Drop for Middle {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// Carries datagrams that come for `from`'s other side: what reaches `to` came from the other node, and goes to the node
/// that `to` stands for.
fn carry(mut line: Line, from: &Side, to: &Side, ended: &AtomicBool) {
    let start = Instant::now();
    // The earliest first; among equals the first to come.
    let mut under_way = BinaryHeap::new();
    let mut buffer = [0; 2048];
    let mut number = 0_u64;
    while !ended.load(Ordering::Relaxed) {
        if let Ok((n, _)) = to.socket.recv_from(&mut buffer) {
            to.carried.fetch_add(1, Ordering::Relaxed);
            for at in line.send(start.elapsed()).into_iter().flatten() {
                number += 1;
                under_way.push(std::cmp::Reverse((at, number, buffer[..n].to_vec())));
            }
        }
        while under_way.peek().is_some_and(|next| next.0.0 <= start.elapsed()) {
            let Some(std::cmp::Reverse((_, _, bytes))) = under_way.pop() else { break };
            if let Some(real) = *to.real.lock().unwrap() {
                // It may have ended.
                let _ = from.socket.send_to(&bytes, real);
            }
        }
    }
}

/// Passes on the frames of one node to the other; in its joins, `side` stands for it.
fn pass_on(mut from: TcpStream, mut to: TcpStream, side: &Side) {
    loop {
        let mut header = [0; 4];
        if from.read_exact(&mut header).is_err() {
            break;
        }
        let mut body = vec![0; u32::from_be_bytes(header) as usize];
        if from.read_exact(&mut body).is_err() {
            break;
        }
        let mut frame: Value = serde_json::from_slice(&body).expect("a frame is JSON");
        if frame["type"] == "voice_join" {
            let addr = format!("{}:{}", frame["udp_host"].as_str().unwrap(), frame["udp_port"]);
            *side.real.lock().unwrap() = Some(addr.parse().expect("an address"));
            frame["udp_port"] = json!(side.socket.local_addr().unwrap().port());
            body = frame.to_string().into_bytes();
        }
        if to.write_all(&framed(&body)).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
