//! Sound: passes captured frames to the node, and what it plays to the speaker.
//!
//! Microphone and speaker run on threads of their own (see [`crate::audio`]); here their events come out of a bounded
//! channel. Each call has a channel of its own: what an earlier one still sends goes nowhere.

use std::rc::Rc;
use std::time::Duration;

use async_channel::Receiver;
use smol::{Task, Timer};

use super::Loop;
use crate::api::event::WarningCode;
use crate::api::result;
use crate::audio::{self, Audio, Event, Recordings, Warning};
use crate::node::{Input, JobId};
use crate::voice::Chunk;

/// Events that wait for the loop, about a third of a second of both directions; more are dropped, as sound that is
/// late is of no use. A guess.
const MAX_EVENTS: usize = 50;
/// How long the system may take to list its devices: above what a sound server takes that is just starting. A guess.
const LIST_TIME: Duration = Duration::from_secs(5);

/// Microphone and speaker of a call.
pub struct Sound {
    audio: Audio,
    events: Receiver<Event>,
    /// Takes their events; ends with them.
    taker: Task<()>,
}

impl Sound {
    /// Opens them. What comes of it is told to the node.
    pub fn start(
        this: &Rc<Loop>,
        mic: &str,
        speaker: &str,
        clock_ppm: f64,
        recordings: Recordings,
    ) -> Result<Self, String> {
        let mic = mic.parse().map_err(|why| format!("`mic`: {why}"))?;
        let speaker = speaker.parse().map_err(|why| format!("`speaker`: {why}"))?;
        let (sender, events) = async_channel::bounded(MAX_EVENTS);
        let audio = audio::start(audio::Config { mic, speaker, clock_ppm, recordings }, sender);
        let (theirs, to_take) = (this.clone(), events.clone());
        let taker = this.executor.spawn(async move {
            while let Ok(event) = to_take.recv().await {
                theirs.handle(input_of(&event));
            }
        });
        Ok(Self { audio, events, taker })
    }

    /// Plays 5 ms.
    pub fn play(&self, chunk: &Chunk) {
        self.audio.play(chunk);
    }

    /// Has a microphone that is a file wait, or go on.
    pub fn pause_mic(&self, paused: bool) {
        self.audio.pause_mic(paused);
    }

    /// Closes files and lets go of devices: half a second at most. Gives what there is still to be told of it.
    pub fn stop(self) -> Vec<Input<'static>> {
        self.audio.stop();
        drop(self.taker);
        let warnings = std::iter::from_fn(|| self.events.try_recv().ok()).filter_map(|event| match event {
            Event::Warning { code, message } => Some(warning(code, message)),
            _ => None,
        });
        warnings.collect()
    }
}

fn input_of(event: &Event) -> Input<'_> {
    match event {
        Event::Opened { mic, speaker } => Input::AudioOpened(Ok((mic.clone(), speaker.clone()))),
        Event::Failed { message } => Input::AudioOpened(Err(message.clone())),
        Event::Captured(frame) => Input::Captured(frame),
        Event::MicEnded => Input::MicEnded,
        Event::PlaybackDue => Input::PlaybackDue,
        Event::Warning { code, message } => warning(*code, message.clone()),
    }
}

fn warning(code: Warning, message: String) -> Input<'static> {
    let code = match code {
        Warning::DeviceLost => WarningCode::DeviceLost,
        Warning::DeviceBack => WarningCode::DeviceBack,
        Warning::NoDevice => WarningCode::NoDevice,
        Warning::File => WarningCode::Audio,
    };
    Input::Warn(code, message)
}

/// Lists the devices on a thread of its own: a sound server may take its time, but not for ever.
pub async fn list_devices(this: Rc<Loop>, job: JobId) {
    let listed = smol::future::or(async { Some(smol::unblock(audio::devices).await) }, async {
        Timer::after(LIST_TIME).await;
        None
    });
    let listed = listed.await;
    if listed.is_none() {
        let message = "the sound system does not tell its devices: is its server well?";
        this.handle(Input::Warn(WarningCode::Audio, message.to_owned()));
    }
    let devices = listed.unwrap_or_default();
    this.core.borrow_mut().jobs.remove(&job);
    let list = |devices: Vec<(String, bool)>| {
        devices.into_iter().map(|(name, default)| result::Device { name, default }).collect()
    };
    let devices = result::Devices { inputs: list(devices.inputs), outputs: list(devices.outputs) };
    this.handle(Input::Devices { job, devices });
}
