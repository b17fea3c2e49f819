//! Microphones and speakers, each on a thread of its own: devices, WAV files, tones, pipes, or none.
//!
//! What comes from a microphone goes through a bounded channel as frames of 20 ms. Playback asks by the same channel,
//! [`Event::PlaybackDue`], and is answered with [`Audio::play`]: so the clock of the speaker decides when the next 5 ms
//! are mixed. Files, tones, pipes and `none` have a clock of their own.
//!
//! - [`spec`]: what `--mic` and `--speaker` name
//! - [`clock`]: time for what is no device; [`wav`], [`pipe`](self): files and named pipes
//! - [`resample`]: any rate to 16 kHz and back
//! - [`device`](self): sound devices, with the feature `audio`

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use async_channel::Sender;

use crate::voice::{CHUNK, Chunk, Frame};

pub mod clock;
#[cfg(feature = "audio")]
mod device;
#[cfg(unix)]
mod pipe;
pub mod resample;
pub mod spec;
mod threads;
pub mod wav;

pub use spec::{MicSpec, SpeakerSpec};

/// Chunks that wait to be played: as many as are ever asked for before the first is answered.
const MAX_CHUNKS: usize = 64;
/// Places in the queue of events that are kept for what is no sound: that must not be lost.
const RESERVED: usize = 8;
/// How long closing a file may take: a disk that hangs for longer has lost it anyway.
const STOP_TIME: Duration = Duration::from_millis(500);

/// What to open.
#[derive(Debug, Clone)]
pub struct Config {
    /// The microphone.
    pub mic: MicSpec,
    /// The speaker.
    pub speaker: SpeakerSpec,
    /// How much too fast the clocks of what is no device run, in millionths. For tests.
    pub clock_ppm: f64,
}

/// What microphone and speaker tell.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "fifty of them wait at most, and most of them are frames")]
pub enum Event {
    /// Both are open, or replaced by none: the names really used.
    Opened {
        /// The microphone.
        mic: String,
        /// The speaker.
        speaker: String,
    },
    /// What was named can't be opened; nothing runs.
    Failed {
        /// Why, and what to do.
        message: String,
    },
    /// The microphone has given 20 ms.
    Captured(Frame),
    /// The microphone's file is at its end, or who wrote into its pipe has gone: silence follows.
    MicEnded,
    /// Playback wants the next 5 ms.
    PlaybackDue,
    /// Something that a person should know.
    Warning {
        /// What.
        code: Warning,
        /// The same in words.
        message: String,
    },
}

/// What a person should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warning {
    /// A device has gone: there is silence until it is back.
    DeviceLost,
    /// It is back.
    DeviceBack,
    /// There is no device.
    NoDevice,
    /// A file can't be written any more.
    File,
}

/// Microphone and speaker that run. They are told to end when it is dropped; [`stop`](Self::stop) also waits until a file
/// is closed. For devices nobody waits: one that hangs is left behind.
#[derive(Debug)]
pub struct Audio {
    shared: Arc<Shared>,
    chunks: SyncSender<Chunk>,
    /// Nothing is ever sent: it is closed when a speaker's file is.
    closed: Receiver<()>,
}

/// What the threads of one call share.
#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    events: Sender<Event>,
    /// Those to be woken when it is time to stop.
    threads: Mutex<Vec<Thread>>,
}

impl Shared {
    fn stops(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Tells the loop. When its queue is full, sound that would be late is dropped: then false.
    fn tell(&self, event: Event) -> bool {
        let is_sound = matches!(event, Event::Captured(_) | Event::PlaybackDue);
        let has_room = || self.events.capacity().is_none_or(|capacity| self.events.len() + RESERVED < capacity);
        (!is_sound || has_room()) && self.events.try_send(event).is_ok()
    }

    fn add(&self, thread: Option<Thread>) {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).extend(thread);
    }
}

/// Opens microphone and speaker, on threads of their own, and returns at once.
pub fn start(config: Config, events: Sender<Event>) -> Audio {
    let shared = Arc::new(Shared { stop: AtomicBool::new(false), events, threads: Mutex::default() });
    let (chunks, to_play) = sync_channel(MAX_CHUNKS);
    let (open, closed) = sync_channel(0);
    let open = matches!(config.speaker, SpeakerSpec::File(_)).then_some(open);
    let theirs = shared.clone();
    let thread = threads::spawn("speaker", move || {
        run(&config, &theirs, &to_play);
        drop(open);
    });
    if thread.is_none() {
        shared.tell(Event::Failed { message: NO_THREAD.to_owned() });
    }
    shared.add(thread);
    Audio { shared, chunks, closed }
}

/// Opens both; then the microphone gets a thread of its own, and the speaker stays on this one.
fn run(config: &Config, shared: &Arc<Shared>, to_play: &Receiver<Chunk>) {
    let (mic, speaker, warnings) = match threads::open(config, shared) {
        Ok(opened) => opened,
        Err(message) => {
            shared.tell(Event::Failed { message });
            return;
        }
    };
    // Warnings first: who hears that both are open has heard what they lack.
    for (code, message) in warnings {
        shared.tell(Event::Warning { code, message });
    }
    shared.tell(Event::Opened { mic: mic.name(), speaker: speaker.name() });
    let (theirs, ppm) = (shared.clone(), config.clock_ppm);
    let thread = threads::spawn("microphone", move || mic.run(&theirs, ppm));
    if thread.is_none() {
        shared.tell(Event::Failed { message: NO_THREAD.to_owned() });
    }
    shared.add(thread);
    speaker.run(shared, ppm, to_play);
}

/// What is said when the system has no threads left.
const NO_THREAD: &str = "no thread could be started for sound";

impl Audio {
    /// Plays 5 ms: the answer to [`Event::PlaybackDue`].
    pub fn play(&self, chunk: &Chunk) {
        let _ = self.chunks.try_send(*chunk);
    }

    /// Lets go of devices, and closes files properly: that is waited for, half a second at most.
    pub fn stop(self) {
        self.tell_stop();
        let _ = self.closed.recv_timeout(STOP_TIME);
    }

    fn tell_stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        // An answer that it may wait for.
        let _ = self.chunks.try_send([0; CHUNK]);
        self.shared.threads.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(Thread::unpark);
    }
}

impl Drop for Audio {
    fn drop(&mut self) {
        self.tell_stop();
    }
}

/// Whether what the command line names could be opened now.
///
/// # Errors
/// Why not, and what to do.
pub fn check(mic: &MicSpec, speaker: &SpeakerSpec) -> Result<(), String> {
    threads::check_apart(mic, speaker).map_err(|why| format!("--mic, --speaker: {why}"))?;
    threads::check_mic(mic)?;
    threads::check_speaker(speaker)
}

/// Sound devices, by name, and whether each is the system's default.
#[derive(Debug, Default, Clone)]
pub struct Devices {
    /// Microphones.
    pub inputs: Vec<(String, bool)>,
    /// Speakers.
    pub outputs: Vec<(String, bool)>,
}

/// Lists the sound devices. May hang if a sound server does.
pub fn devices() -> Devices {
    #[cfg(feature = "audio")]
    return device::list();
    #[cfg(not(feature = "audio"))]
    Devices::default()
}
