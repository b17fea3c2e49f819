//! The threads of microphone and speaker.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;

use super::clock::Clock;
use super::event::{Event, Warning};
use super::shared::{MAX_ASKED, Shared, ask};
use super::spec::{Config, MicSpec, SpeakerSpec};
use super::wav;
use crate::voice::{CHUNK, CHUNK_TIME, Chunk, FRAME, FRAME_TIME, Frame, RATE};

/// The peak of a tone: 12 dB below full scale.
const TONE_PEAK: f64 = 8231.0;
/// Frames of silence before a file begins: 0.5 s, in which the others learn that this node is in voice, and it where they are.
/// Without it the first syllables would go to nobody. A guess, above a few round trips.
const LEAD_IN: u32 = 25;
/// A microphone that is open.
pub enum Mic {
    None,
    Tone {
        hz: f64,
        phase: f64,
    },
    File {
        reader: Box<wav::Reader>,
        /// Frames of silence before it begins.
        lead_in: u32,
        /// Whether its end has been told.
        told: bool,
        name: String,
    },
    #[cfg(unix)]
    Pipe(super::pipe::Mic, String),
    #[cfg(feature = "audio")]
    Device(super::device::Choice),
}

/// A speaker that is open.
pub enum Speaker {
    None,
    File(wav::Writer, String),
    #[cfg(unix)]
    Pipe(super::pipe::Speaker, String),
    #[cfg(feature = "audio")]
    Device(super::device::Choice),
}

/// Warnings to be given once all is open.
pub type Warnings = Vec<(Warning, String)>;

/// Opens both.
pub fn open(config: &Config, shared: &Shared) -> Result<(Mic, Speaker, Warnings), String> {
    let asked = config.mic.clone().or_file();
    check_apart(&asked, &config.speaker)?;
    let mut missing = Vec::new();
    let mic = match &asked {
        MicSpec::None => Mic::None,
        MicSpec::Tone(hz) => Mic::Tone { hz: *hz, phase: 0.0 },
        MicSpec::File { path, looped } => {
            let reader = Box::new(wav::Reader::open(path, *looped)?);
            Mic::File { reader, lead_in: LEAD_IN, told: false, name: asked.to_string() }
        }
        MicSpec::Pipe(path) => open_pipe_mic(path, config)?,
        MicSpec::Default => device_mic(None)?.unwrap_or_else(|| {
            missing.push("microphone");
            Mic::None
        }),
        MicSpec::Device(name) => device_mic(Some(name))?.unwrap_or(Mic::None),
    };
    let speaker = match &config.speaker {
        SpeakerSpec::None => Speaker::None,
        SpeakerSpec::File(path) => {
            // The next call may write the same file already.
            if shared.stops() {
                return Err("it was stopped".to_owned());
            }
            let writer = config.recordings.open(path).map_err(|e| format!("{}: {e}", path.display()))?;
            Speaker::File(writer, config.speaker.to_string())
        }
        SpeakerSpec::Pipe(path) => open_pipe_speaker(path, config)?,
        SpeakerSpec::Default => device_speaker(None)?.unwrap_or_else(|| {
            missing.push("speaker");
            Speaker::None
        }),
        SpeakerSpec::Device(name) => device_speaker(Some(name))?.unwrap_or(Speaker::None),
    };
    let warnings = match missing.join(" and no ") {
        none if none.is_empty() => Vec::new(),
        what => vec![(Warning::NoDevice, format!("there is no {what} here: voice goes on without"))],
    };
    Ok((mic, speaker, warnings))
}

#[cfg(unix)]
fn open_pipe_mic(path: &Path, config: &Config) -> Result<Mic, String> {
    Ok(Mic::Pipe(super::pipe::Mic::open(path)?, config.mic.to_string()))
}

#[cfg(unix)]
fn open_pipe_speaker(path: &Path, config: &Config) -> Result<Speaker, String> {
    Ok(Speaker::Pipe(super::pipe::Speaker::open(path)?, config.speaker.to_string()))
}

#[cfg(not(unix))]
const NO_PIPES: &str = "named pipes are not known on this system";

#[cfg(not(unix))]
fn open_pipe_mic(_path: &Path, _config: &Config) -> Result<Mic, String> {
    Err(NO_PIPES.to_owned())
}

#[cfg(not(unix))]
fn open_pipe_speaker(_path: &Path, _config: &Config) -> Result<Speaker, String> {
    Err(NO_PIPES.to_owned())
}

#[cfg(feature = "audio")]
fn device_mic(name: Option<&str>) -> Result<Option<Mic>, String> {
    Ok(super::device::choose(name, true)?.map(Mic::Device))
}

#[cfg(feature = "audio")]
fn device_speaker(name: Option<&str>) -> Result<Option<Speaker>, String> {
    Ok(super::device::choose(name, false)?.map(Speaker::Device))
}

#[cfg(not(feature = "audio"))]
fn no_devices<T>(name: Option<&str>) -> Result<Option<T>, String> {
    match name {
        None => Ok(None),
        Some(name) => Err(format!(
            "`{}`: this build knows no sound devices; take none, FILE.wav or pipe:PATH, or build with the feature `audio`",
            name.escape_debug()
        )),
    }
}

#[cfg(not(feature = "audio"))]
fn device_mic(name: Option<&str>) -> Result<Option<Mic>, String> {
    no_devices(name)
}

#[cfg(not(feature = "audio"))]
fn device_speaker(name: Option<&str>) -> Result<Option<Speaker>, String> {
    no_devices(name)
}

/// Whether microphone and speaker are not one file or pipe, which would be heard by nobody, and overwritten.
pub fn check_apart(mic: &MicSpec, speaker: &SpeakerSpec) -> Result<(), String> {
    #[cfg(unix)]
    let real = |path: &Path| {
        use std::os::unix::fs::MetadataExt;
        // By its number, since a file may have more names than one.
        std::fs::metadata(path).ok().map(|it| (it.dev(), it.ino()))
    };
    #[cfg(not(unix))]
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    match (mic, speaker) {
        (MicSpec::File { path: mic, .. }, SpeakerSpec::File(speaker))
        | (MicSpec::Pipe(mic), SpeakerSpec::Pipe(speaker))
            if mic == speaker || real(mic).is_some_and(|mic| real(speaker) == Some(mic)) =>
        {
            Err(format!("{}: it can't be microphone and speaker at once", mic.display()))
        }
        _ => Ok(()),
    }
}

/// Whether a microphone could be opened now.
pub fn check_mic(mic: &MicSpec) -> Result<(), String> {
    match mic {
        MicSpec::File { path, looped } => {
            wav::Reader::open(path, *looped).map(drop).map_err(|why| format!("--mic {why}"))
        }
        #[cfg(unix)]
        MicSpec::Pipe(path) => super::pipe::make(path).map_err(|why| format!("--mic {why}")),
        MicSpec::Device(name) => device_mic(Some(name)).map(drop).map_err(|why| format!("--mic {why}")),
        _ => Ok(()),
    }
}

/// Whether a speaker could be opened now.
pub fn check_speaker(speaker: &SpeakerSpec) -> Result<(), String> {
    match speaker {
        SpeakerSpec::File(path) => wav::can_be_written(path).map_err(|e| format!("--speaker {}: {e}", path.display())),
        #[cfg(unix)]
        SpeakerSpec::Pipe(path) => super::pipe::make(path).map_err(|why| format!("--speaker {why}")),
        SpeakerSpec::Device(name) => device_speaker(Some(name)).map(drop).map_err(|why| format!("--speaker {why}")),
        _ => Ok(()),
    }
}

impl Mic {
    /// Its name, as it is shown.
    pub fn name(&self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Tone { hz, .. } => format!("tone:{hz}"),
            Self::File { name, .. } => name.clone(),
            #[cfg(unix)]
            Self::Pipe(_, name) => name.clone(),
            #[cfg(feature = "audio")]
            Self::Device(choice) => choice.name.clone(),
        }
    }

    /// Runs until it is told to stop.
    pub fn run(self, shared: &Arc<Shared>, ppm: f64) {
        match self {
            Self::None => {}
            #[cfg(feature = "audio")]
            Self::Device(choice) => super::device::capture(&choice, shared),
            mut other => {
                let mut clock = Clock::new(FRAME_TIME, ppm);
                while !shared.stops() {
                    match clock.until_next() {
                        Some(wait) => thread::park_timeout(wait),
                        None => {
                            shared.tell(Event::Captured(other.next(shared)));
                            other.tell_end(shared);
                        }
                    }
                }
            }
        }
    }

    fn next(&mut self, shared: &Shared) -> Frame {
        let mut frame = [0; FRAME];
        match self {
            Self::Tone { hz, phase } => {
                for sample in &mut frame {
                    *sample = (TONE_PEAK * (*phase * std::f64::consts::TAU).sin()) as i16;
                    *phase = (*phase + *hz / f64::from(RATE)).fract();
                }
            }
            Self::File { lead_in: left @ 1.., .. } => *left -= 1,
            // Nobody hears it now, and all of it is to be heard.
            Self::File { .. } if shared.is_paused() => {}
            // At its end there is silence, too.
            Self::File { reader, name, .. } => {
                if let Err(e) = reader.read(&mut frame) {
                    reader.end();
                    let message = format!("{name}: {e}: nothing more is read from it");
                    shared.tell(Event::Warning { code: Warning::File, message });
                }
            }
            #[cfg(unix)]
            Self::Pipe(pipe, _) => frame = pipe.next(),
            _ => {}
        }
        frame
    }
}

impl Mic {
    /// Tells once that there is nothing more to come.
    fn tell_end(&mut self, shared: &Shared) {
        match self {
            Self::File { reader, told, .. } if reader.ended() && !*told => *told = shared.tell(Event::MicEnded),
            #[cfg(unix)]
            Self::Pipe(pipe, _) if pipe.ended() && shared.tell(Event::MicEnded) => pipe.begin(),
            _ => {}
        }
    }
}

impl Speaker {
    /// Its name, as it is shown.
    pub fn name(&self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::File(_, name) => name.clone(),
            #[cfg(unix)]
            Self::Pipe(_, name) => name.clone(),
            #[cfg(feature = "audio")]
            Self::Device(choice) => choice.name.clone(),
        }
    }

    /// Runs until it is told to stop.
    pub fn run(self, shared: &Arc<Shared>, ppm: f64, to_play: &Receiver<Chunk>) {
        match self {
            #[cfg(feature = "audio")]
            Self::Device(choice) => super::device::play(&choice, shared, to_play),
            Self::None => discard(shared, ppm, to_play),
            mut other => {
                let mut clock = Clock::new(CHUNK_TIME, ppm);
                while !shared.stops() {
                    match clock.until_next() {
                        Some(wait) => thread::park_timeout(wait),
                        None => {
                            let more = (1..MAX_ASKED).take_while(|_| clock.until_next().is_none()).count();
                            ask(shared, to_play, 1 + more, |chunk| other.play(shared, chunk));
                            if matches!(other, Self::None) {
                                // Its file is full.
                                return discard(shared, ppm, to_play);
                            }
                        }
                    }
                }
                if let Self::File(mut writer, name) = other
                    && let Err(e) = writer.finish()
                {
                    writer.give_up();
                    shared.tell(Event::Warning { code: Warning::File, message: format!("{name}: {e}") });
                }
            }
        }
    }

    fn play(&mut self, shared: &Shared, chunk: &Chunk) {
        match self {
            Self::File(writer, name) => {
                if let Err(e) = writer.write(chunk) {
                    let message = format!("{name}: {e}: nothing more is written to it");
                    // A reader that is told finds the file whole.
                    if let Self::File(writer, _) = std::mem::replace(self, Self::None) {
                        writer.give_up();
                    }
                    shared.tell(Event::Warning { code: Warning::File, message });
                }
            }
            #[cfg(unix)]
            Self::Pipe(pipe, _) => pipe.play(chunk),
            _ => {}
        }
    }
}

/// Plays to nobody: an audio frame at a time, so that it costs few wake-ups. What members say must be taken all the same.
fn discard(shared: &Shared, ppm: f64, to_play: &Receiver<Chunk>) {
    let mut clock = Clock::new(FRAME_TIME, ppm);
    while !shared.stops() {
        match clock.until_next() {
            Some(wait) => thread::park_timeout(wait),
            None => {
                while to_play.try_recv().is_ok() {}
                (0..FRAME / CHUNK).for_each(|_| _ = shared.tell(Event::PlaybackDue));
            }
        }
    }
}

/// Runs something on a thread.
pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Option<thread::Thread> {
    thread::Builder::new().name(name.to_owned()).spawn(run).ok().map(|handle| handle.thread().clone())
}
