//! Rooms' keys, derived on other threads: each takes a tenth of a second, and the strong ones 64 MiB.

use std::panic::resume_unwind;
use std::rc::Rc;
use std::thread;

use super::Loop;
use crate::node::{Input, JobId};
use crate::wire::room_key::{RoomKey, Scheme};

/// Keys that are derived at the same time: what bounds the memory that they take to 256 MiB. A guess.
const AT_ONCE: usize = 4;

/// A passphrase, and what for.
#[derive(Debug)]
pub struct Passphrase {
    /// The room.
    pub room: String,
    /// The scheme.
    pub scheme: Scheme,
    /// The passphrase.
    pub text: String,
}

/// Derives the keys that a node starts with, several at a time.
pub fn derive_all(passphrases: &[Passphrase]) -> Vec<(String, RoomKey)> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(AT_ONCE);
    let derive = |it: &Passphrase| (it.room.clone(), RoomKey::derive(it.scheme, &it.text, &it.room));
    let mut keys = Vec::with_capacity(passphrases.len());
    for batch in passphrases.chunks(threads) {
        let (here, elsewhere) = match batch {
            [] => continue,
            [here, elsewhere @ ..] => (here, elsewhere),
        };
        thread::scope(|scope| {
            let threads: Vec<_> = elsewhere.iter().map(|it| scope.spawn(move || derive(it))).collect();
            keys.push(derive(here));
            keys.extend(threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))));
        });
    }
    keys
}

/// Derives a key that a command has asked for.
pub(super) async fn derive(this: Rc<Loop>, job: JobId, it: Passphrase) {
    let permit = this.deriving.acquire().await;
    let key = smol::unblock(move || RoomKey::derive(it.scheme, &it.text, &it.room)).await;
    drop(permit);
    this.core.borrow_mut().jobs.remove(&job);
    this.handle(Input::Derived { job, key });
}

/// How many may be derived at the same time.
pub(super) const fn permits() -> smol::lock::Semaphore {
    smol::lock::Semaphore::new(AT_ONCE)
}
