//! Strangers: whole handshakes of level 2 with the node, one after the other, by who leaves then.
//!
//! They would be on other machines: so they take only the time that nobody else wants here.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use p2p_chat::wire::identity::Identity;
use p2p_chat::wire::noise::{Handshake, Keys};

use crate::load::PATIENCE;
use crate::relay::{uninterrupted, yield_to_all};

/// Threads that they come from: each waits for its answers.
const THREADS: u32 = 4;

/// The keys that somebody brings to handshakes.
pub fn keys(who: u8) -> Keys {
    Keys::new(&Identity::new(&[who; 32]), [who; 32], None)
}

/// A handshake within this process.
pub fn both_sides(dialler: &Keys, listener: &Keys, seed: [u8; 32]) -> io::Result<()> {
    let (mut there, mut back) = (Vec::new(), Vec::new());
    let mut dials = Handshake::dial(dialler, seed, None, &mut there).map_err(failed)?;
    let mut answers = Handshake::answer(listener, seed);
    loop {
        let let_in = answers.take(listener, &mut &there[..], &mut back).map_err(failed)?;
        there.clear();
        if let_in.is_some() {
            return Ok(());
        }
        dials.take(dialler, &mut &back[..], &mut there).map_err(failed)?;
        back.clear();
    }
}

/// Strangers that come until they are told to stop.
pub struct Flood {
    start: Instant,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<io::Result<u32>>>,
}

impl Flood {
    /// So many a second.
    pub fn start(addr: SocketAddr, rate: u32) -> Self {
        let (start, stop) = (Instant::now(), Arc::<AtomicBool>::default());
        let come = move |number: u32, stop: &AtomicBool| {
            let keys = keys(number as u8);
            let mut done = 0;
            yield_to_all()?;
            while !stop.load(Ordering::Relaxed) {
                // The threads take turns: no two of them come at once.
                let due = Duration::from_secs(1) / rate * (THREADS * done + number);
                thread::sleep(due.saturating_sub(start.elapsed()));
                done += 1;
                shake_hands(addr, &keys, done)?;
            }
            Ok(done)
        };
        let threads = (1..=THREADS).map(|number| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || come(number, &stop))
        });
        Self { start, threads: threads.collect(), stop }
    }

    /// How many came a second.
    pub fn stop(self) -> io::Result<f64> {
        self.stop.store(true, Ordering::Relaxed);
        let elapsed = self.start.elapsed();
        let mut done = 0;
        for thread in self.threads {
            done += thread.join().map_err(|_| io::Error::other("a stranger panicked"))??;
        }
        Ok(f64::from(done) / elapsed.as_secs_f64())
    }
}

/// One stranger.
fn shake_hands(addr: SocketAddr, keys: &Keys, number: u32) -> io::Result<()> {
    let mut stream = uninterrupted(|| TcpStream::connect_timeout(&addr, PATIENCE))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    let mut said = Vec::new();
    let mut handshake = Handshake::dial(keys, seed, None, &mut said).map_err(failed)?;
    loop {
        stream.write_all(&said)?;
        said.clear();
        let mut came = [0; 1024];
        let n = uninterrupted(|| stream.read(&mut came))?;
        if n == 0 {
            return Err(io::Error::other("the node ended a handshake"));
        }
        if handshake.take(keys, &mut &came[..n], &mut said).map_err(failed)?.is_some() {
            return stream.write_all(&said);
        }
    }
}

fn failed(failure: p2p_chat::wire::noise::Failure) -> io::Error {
    io::Error::other(format!("a handshake failed: {failure:?}"))
}
