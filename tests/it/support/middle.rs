//! Somebody in the middle: passes on what two nodes say to each other, and sees it; and changes it if a test says so.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What becomes of a piece of the stream.
type Change = dyn Fn(usize, &mut Vec<u8>) + Send + Sync;

/// A proxy before a node.
pub struct Middle {
    addr: String,
    seen: Arc<[Mutex<Vec<u8>>; 2]>,
}

impl Middle {
    /// Before the node that listens there. `change` is given, of what the dialler sends, where in the stream a piece begins, and
    /// the piece.
    pub fn before(node: &str, change: impl Fn(usize, &mut Vec<u8>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("it is bound").to_string();
        let seen = Arc::new([Mutex::default(), Mutex::default()]);
        let (node, change, all) = (node.to_owned(), Arc::new(change) as Arc<Change>, Arc::clone(&seen));
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                // The node may have ended.
                let Ok(far) = TcpStream::connect(&node) else { continue };
                let (back, forth) = (near.try_clone().expect("a socket"), far.try_clone().expect("a socket"));
                let (change, there, here) = (Arc::clone(&change), Arc::clone(&all), Arc::clone(&all));
                thread::spawn(move || pass_on(far, back, &there[1], &|_, _| {}));
                thread::spawn(move || pass_on(near, forth, &here[0], &*change));
            }
        });
        Self { addr, seen }
    }

    /// The address to dial.
    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// All that it has passed on from the dialler, and to it.
    pub fn seen(&self) -> [Vec<u8>; 2] {
        [0, 1].map(|n: usize| self.seen[n].lock().unwrap().clone())
    }
}

/// Passes on what one node says to the other.
fn pass_on(mut from: TcpStream, mut to: TcpStream, seen: &Mutex<Vec<u8>>, change: &Change) {
    let (mut buffer, mut at) = ([0; 4096], 0);
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        let mut piece = buffer[..n].to_vec();
        change(at, &mut piece);
        at += n;
        seen.lock().unwrap().extend_from_slice(&piece);
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    // Either may be closed already.
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
