//! State that the threads of a microphone and its speaker share: the way to the event loop, and the sign to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use async_channel::Sender;

use super::clock::now;
use super::event::Event;
use crate::voice::{CHUNK, Chunk};

/// Places in the queue of events that are kept for what is no sound: that must not be lost.
const RESERVED: usize = 8;
/// How long an answer to `PlaybackDue` is waited for. A loop that is busy for a while costs nothing: files and pipes make
/// it good, devices play silence by themselves. A guess, above any such while.
const ANSWER_TIME: Duration = Duration::from_millis(200);

/// Chunks that are asked for at once, at most: 160 ms. Fewer than the queue of events holds.
pub const MAX_ASKED: usize = 32;

/// State that the threads of one call share.
#[derive(Debug)]
pub struct Shared {
    stop: AtomicBool,
    /// A file that is a microphone waits.
    paused: AtomicBool,
    events: Sender<Event>,
    /// Those to be woken when it is time to stop.
    threads: Mutex<Vec<Thread>>,
}

impl Shared {
    /// Of a call that begins; its events go to `events`.
    pub fn new(events: Sender<Event>) -> Self {
        Self { stop: AtomicBool::new(false), paused: AtomicBool::new(false), events, threads: Mutex::default() }
    }

    /// Whether it is time to stop.
    pub fn stops(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Has a file that is a microphone wait, or go on.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
    }

    /// Whether it waits.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// Tells the loop. When its queue is full, sound that would be late is dropped: then false.
    pub fn tell(&self, event: Event) -> bool {
        let is_sound = matches!(event, Event::Captured(_) | Event::PlaybackDue);
        let has_room = || self.events.capacity().is_none_or(|capacity| self.events.len() + RESERVED < capacity);
        (!is_sound || has_room()) && self.events.try_send(event).is_ok()
    }

    /// Adds a thread to those that are woken when it is time to stop.
    pub fn add(&self, thread: Option<Thread>) {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).extend(thread);
    }

    /// Tells all threads that it is time to stop. `wake`: called before they are woken.
    pub fn stop(&self, wake: impl FnOnce()) {
        self.stop.store(true, Ordering::Release);
        wake();
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(Thread::unpark);
    }
}

/// Asks for chunks, [`MAX_ASKED`] at most, and hands them on. Silence, for those that do not come in time. All are asked for at
/// once: so a loop that comes round rarely is kept up with.
pub fn ask(shared: &Shared, to_play: &Receiver<Chunk>, chunks: usize, mut take: impl FnMut(&Chunk)) {
    // Answers that came too late are of no use any more.
    while to_play.try_recv().is_ok() {}
    let chunks = chunks.min(MAX_ASKED);
    let asked = (0..chunks).take_while(|_| shared.tell(Event::PlaybackDue)).count();
    let until = now() + ANSWER_TIME;
    for n in 0..chunks {
        let answer = || to_play.recv_timeout(until.saturating_duration_since(now())).ok();
        let chunk = if n < asked { answer() } else { None };
        // The answer at the end only wakes it up.
        if shared.stops() {
            return;
        }
        take(&chunk.unwrap_or([0; CHUNK]));
    }
}
