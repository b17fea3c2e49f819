//! Microphones and speakers, each on a thread of its own: devices, WAV files, tones, pipes, or none.
//!
//! Sound from a microphone goes through a bounded channel as frames of 20 ms. Playback asks by the same channel,
//! [`Event::PlaybackDue`], and is answered with [`Audio::play`]: so the clock of the speaker decides when the next 5 ms
//! are mixed. Files, tones, pipes and `none` have a clock of their own.
//!
//! - [`spec`]: what `--mic` and `--speaker` name
//! - [`event`](self): what both tell; [`shared`](self): how, and when to stop; [`threads`](self): on what they run
//! - [`clock`]: time for what is no device; [`wav`], [`pipe`](self): files and named pipes
//! - [`resample`]: any rate to 16 kHz and back
//! - [`device`](self): sound devices, with the feature `audio`

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use async_channel::Sender;

use crate::voice::{CHUNK, Chunk};

pub mod clock;
#[cfg(feature = "audio")]
mod device;
mod event;
#[cfg(unix)]
mod pipe;
pub mod resample;
mod shared;
pub mod spec;
mod threads;
pub mod wav;

pub use event::{Event, Warning};
use shared::Shared;
pub use spec::{Config, Devices, MicSpec, SpeakerSpec};
pub use wav::Recordings;

/// Chunks that wait to be played: as many as are ever asked for before the first is answered.
const MAX_CHUNKS: usize = 64;
/// How long closing a file may take: a disk that hangs for longer has lost it anyway.
const STOP_TIME: Duration = Duration::from_millis(500);

/// Microphone and speaker that run. They are told to end when it is dropped; [`stop`](Self::stop) also waits until a file
/// is closed. For devices nobody waits: one that hangs is left behind.
#[derive(Debug)]
pub struct Audio {
    shared: Arc<Shared>,
    chunks: SyncSender<Chunk>,
    /// Nothing is ever sent: it is closed when a speaker's file is.
    closed: Receiver<()>,
}

/// Opens microphone and speaker, on threads of their own, and returns at once.
pub fn start(config: Config, events: Sender<Event>) -> Audio {
    let shared = Arc::new(Shared::new(events));
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

/// The message when the system has no threads left.
const NO_THREAD: &str = "no thread could be started for sound";

impl Audio {
    /// Plays 5 ms: the answer to [`Event::PlaybackDue`].
    pub fn play(&self, chunk: &Chunk) {
        let _ = self.chunks.try_send(*chunk);
    }

    /// Has a microphone that is a file wait, or go on: while this node is muted nobody would hear it.
    pub fn pause_mic(&self, paused: bool) {
        self.shared.pause(paused);
    }

    /// Lets go of devices, and closes files properly: that is waited for, half a second at most.
    pub fn stop(self) {
        self.tell_stop();
        let _ = self.closed.recv_timeout(STOP_TIME);
    }

    fn tell_stop(&self) {
        self.shared.stop(|| {
            // An answer that the speaker may wait for.
            let _ = self.chunks.try_send([0; CHUNK]);
        });
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
    let mic = &mic.clone().or_file();
    threads::check_apart(mic, speaker).map_err(|why| format!("--mic, --speaker: {why}"))?;
    threads::check_mic(mic)?;
    threads::check_speaker(speaker)
}

/// Lists the sound devices. May hang if a sound server does.
pub fn devices() -> Devices {
    #[cfg(feature = "audio")]
    return device::list();
    #[cfg(not(feature = "audio"))]
    Devices::default()
}
