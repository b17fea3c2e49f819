//! Sound: passes captured frames to the node, and what it plays to the speaker.
//!
//! Microphone and speaker run on threads of their own (see [`crate::audio`]); here their events come out of a bounded
//! channel. Each call has a channel of its own: what an earlier one still sends goes nowhere.

use std::rc::Rc;

use smol::Task;

use super::Loop;
use crate::api::event::WarningCode;
use crate::api::result;
use crate::audio::{self, Audio, Event, Warning};
use crate::node::{Input, JobId};
use crate::voice::Chunk;

/// Events that wait for the loop, about a third of a second of both directions; more are dropped, as sound that is
/// late is of no use. A guess.
const MAX_EVENTS: usize = 50;

/// Microphone and speaker of a call.
pub struct Sound {
    audio: Audio,
    /// Takes their events; ends with them.
    _events: Task<()>,
}

impl Sound {
    /// Opens them. What comes of it is told to the node.
    pub fn start(this: &Rc<Loop>, mic: &str, speaker: &str, clock_ppm: f64) -> Result<Self, String> {
        let config = audio::Config { mic: mic.parse()?, speaker: speaker.parse()?, clock_ppm };
        let (sender, events) = async_channel::bounded(MAX_EVENTS);
        let audio = audio::start(config, sender);
        let this = this.clone();
        let executor = this.clone();
        let events = executor.executor.spawn(async move {
            while let Ok(event) = events.recv().await {
                take(&this, event);
            }
        });
        Ok(Self { audio, _events: events })
    }

    /// Plays 5 ms.
    pub fn play(&self, chunk: &Chunk) {
        self.audio.play(chunk);
    }

    /// Closes files and lets go of devices: half a second at most.
    pub fn stop(self) {
        self.audio.stop();
    }
}

fn take(this: &Rc<Loop>, event: Event) {
    match event {
        Event::Opened { mic, speaker } => this.handle(Input::AudioOpened(Ok((mic, speaker)))),
        Event::Failed { message } => this.handle(Input::AudioOpened(Err(message))),
        Event::Captured(frame) => this.handle(Input::Captured(&frame)),
        Event::MicEnded => this.handle(Input::MicEnded),
        Event::PlaybackDue => this.handle(Input::PlaybackDue),
        Event::Warning { code, message } => {
            let code = match code {
                Warning::DeviceLost => WarningCode::DeviceLost,
                Warning::DeviceBack => WarningCode::DeviceBack,
                Warning::NoDevice => WarningCode::NoDevice,
                _ => WarningCode::Audio,
            };
            this.handle(Input::Warn(code, message));
        }
    }
}

/// Lists the devices on a thread of its own: a sound server may take its time.
pub async fn list_devices(this: Rc<Loop>, job: JobId) {
    let devices = smol::unblock(audio::devices).await;
    this.core.borrow_mut().jobs.remove(&job);
    let list = |devices: Vec<(String, bool)>| {
        devices.into_iter().map(|(name, default)| result::Device { name, default }).collect()
    };
    let devices = result::Devices { inputs: list(devices.inputs), outputs: list(devices.outputs) };
    this.handle(Input::Devices { job, devices });
}
