//! Sound devices, by `cpal`: PulseAudio if its server answers, else ALSA.
//!
//! The callbacks of a stream only move samples between the device and a lock-free ring, and wake the thread that resamples,
//! which is never the one that runs them. A stream that fails or falls silent is dropped on a thread of its own, since that
//! may hang for ever, and built anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{BufferSize, FromSample, HostId, Sample, SampleFormat, SizedSample, StreamConfig, SupportedBufferSize};
use rtrb::{Consumer, Producer, RingBuffer};

use super::clock::{Clock, now};
use super::resample::{self, Stream as Resampler};
use super::{Devices, Event, Shared, Warning, threads};
use crate::voice::{CHUNK, CHUNK_TIME, Chunk, FRAME, Frame, RATE};

/// What a device is asked to give or take at once, in parts of a second: 10 ms.
const PERIODS_A_SECOND: u32 = 100;
/// What the rings hold, in parts of a second: 0.5 s.
const RING_A_SECOND: u32 = 2;
/// A device that has not called for so long has failed, whatever it says.
const SILENCE: Duration = Duration::from_millis(500);
/// How often a device that has gone is looked for.
const RETRY: Duration = Duration::from_millis(300);
/// How long a sound server may take to build a stream.
const BUILD_TIME: Duration = Duration::from_secs(2);
/// How long the thread waits for its stream to wake it: only a net below the wake-ups.
const WAIT: Duration = Duration::from_millis(50);
/// What is kept ready for playback beyond one period of the device, at first and at most, in samples of ours. Each time that
/// is not enough it grows; it shrinks again after 10 s without.
const READY: std::ops::RangeInclusive<usize> = 32..=640;
/// By how much it grows.
const READY_STEP: usize = 64;
/// See [`READY`].
const SHRINK_AFTER: Duration = Duration::from_secs(10);

/// A device that was chosen: by name, or the system's default, which may change.
pub struct Choice {
    pub name: String,
    by_name: Option<String>,
}

fn hosts() -> Vec<cpal::Host> {
    let ids = cpal::available_hosts();
    // PulseAudio first. ALSA is left alone where there is no hardware: it would say so on stderr by itself.
    let pulse = ids.iter().filter(|id| **id == HostId::PulseAudio);
    let others = ids.iter().filter(|id| **id != HostId::PulseAudio && (**id != HostId::Alsa || has_alsa()));
    pulse.chain(others).filter_map(|id| cpal::host_from_id(*id).ok()).collect()
}

/// Whether ALSA has hardware, or somebody has told it what to do.
fn has_alsa() -> bool {
    std::path::Path::new("/dev/snd").exists() || std::env::var_os("ALSA_CONFIG_PATH").is_some()
}

/// Its name: on PulseAudio that of the sink or source, elsewhere what the host calls it.
fn name_of(device: &cpal::Device) -> Option<String> {
    Some(device.id().ok()?.id().to_owned())
}

/// ALSA lists plugins among its devices that run thousands of times too fast, or lead in circles.
fn is_real(name: &str) -> bool {
    !["null", "pulse", "jack", "oss", "lavrate", "samplerate", "speexrate", "upmix", "vdownmix"]
        .iter()
        .any(|pseudo| name == *pseudo || name.starts_with(&format!("{pseudo}:")))
}

fn is(device: &cpal::Device, input: bool) -> bool {
    if input { device.supports_input() } else { device.supports_output() }
}

fn default_of(host: &cpal::Host, input: bool) -> Option<cpal::Device> {
    if input { host.default_input_device() } else { host.default_output_device() }
}

fn find(name: Option<&str>, input: bool) -> Option<cpal::Device> {
    hosts().iter().find_map(|host| match name {
        None => default_of(host, input).filter(|device| name_of(device).is_some_and(|name| is_real(&name))),
        Some(name) => host.devices().ok()?.find(|device| {
            let described = || device.description().ok().is_some_and(|it| it.name() == name);
            is(device, input) && (name_of(device).as_deref() == Some(name) || described())
        }),
    })
}

/// Chooses a device. `None`: the default was asked for, and there is none.
///
/// # Errors
/// If there is none of that name: which there are.
pub fn choose(name: Option<&str>, input: bool) -> Result<Option<Choice>, String> {
    let found = find(name, input).and_then(|device| name_of(&device));
    match (found, name) {
        (Some(found), by_name) => Ok(Some(Choice { name: found, by_name: by_name.map(str::to_owned) })),
        (None, None) => Ok(None),
        (None, Some(name)) => {
            let devices = list();
            let all = if input { devices.inputs } else { devices.outputs };
            let names: Vec<String> = all.iter().map(|(name, _)| format!("`{}`", name.escape_debug())).collect();
            let there = if names.is_empty() { "no devices are there".to_owned() } else { names.join(", ") };
            let what = if input { "microphone" } else { "speaker" };
            Err(format!("no {what} `{}` is there; to choose from: {there}", name.escape_debug()))
        }
    }
}

/// All devices.
pub fn list() -> Devices {
    let mut devices = Devices::default();
    // Only the first host that knows any: the next ones show the same hardware again.
    for host in hosts() {
        for (input, names) in [(true, &mut devices.inputs), (false, &mut devices.outputs)] {
            let default = default_of(&host, input).and_then(|device| name_of(&device));
            let all = host.devices().into_iter().flatten().filter(|device| is(device, input));
            let all = all.filter_map(|device| name_of(&device)).filter(|name| is_real(name));
            names.extend(all.map(|name| (name.clone(), default.as_ref() == Some(&name))));
        }
        if !devices.inputs.is_empty() || !devices.outputs.is_empty() {
            break;
        }
    }
    devices
}

/// What callbacks tell the thread.
#[derive(Debug, Default)]
struct Signs {
    calls: AtomicU32,
    failed: AtomicBool,
    /// The most that playback has asked for at once, in samples of the device.
    period: AtomicUsize,
    /// Samples that were not there when they were asked for.
    missing: AtomicUsize,
}

/// A stream that runs. Dropping it may hang.
struct Running {
    stream: Option<cpal::Stream>,
    signs: Arc<Signs>,
    rate: u32,
    calls: u32,
    called: Instant,
}

impl Running {
    /// Whether it still runs.
    fn is_well(&mut self) -> bool {
        let calls = self.signs.calls.load(Ordering::Relaxed);
        if calls != self.calls {
            (self.calls, self.called) = (calls, now());
        }
        !self.signs.failed.load(Ordering::Relaxed) && now() - self.called < SILENCE
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let stream = self.stream.take();
        // If no thread can be had it is dropped here.
        let _ = thread::Builder::new().name("sound-drop".to_owned()).spawn(move || drop(stream));
    }
}

/// Our rate and one channel if the device takes them, else what it likes best.
fn config_of(device: &cpal::Device, input: bool) -> Option<(StreamConfig, SampleFormat)> {
    let ours = |range: &cpal::SupportedStreamConfigRange| {
        range.channels() == 1
            && (range.min_sample_rate()..=range.max_sample_rate()).contains(&RATE)
            && range.sample_format() == SampleFormat::F32
    };
    let ranges: Vec<_> = match input {
        true => device.supported_input_configs().ok()?.collect(),
        false => device.supported_output_configs().ok()?.collect(),
    };
    let config = match ranges.iter().find(|range| ours(range)) {
        Some(range) => range.with_sample_rate(RATE),
        None if input => device.default_input_config().ok()?,
        None => device.default_output_config().ok()?,
    };
    let period = config.sample_rate() / PERIODS_A_SECOND;
    let buffer_size = match config.buffer_size() {
        SupportedBufferSize::Range { min, max } => BufferSize::Fixed(period.clamp(*min, (*max).max(*min))),
        SupportedBufferSize::Unknown => BufferSize::Default,
    };
    let stream = StreamConfig { channels: config.channels(), sample_rate: config.sample_rate(), buffer_size };
    Some((stream, config.sample_format()))
}

/// Runs something with the type of a sample format.
macro_rules! with_format {
    ($format:expr, $run:ident, $($argument:expr),*) => {
        match $format {
            SampleFormat::I8 => $run::<i8>($($argument),*),
            SampleFormat::U8 => $run::<u8>($($argument),*),
            SampleFormat::I16 => $run::<i16>($($argument),*),
            SampleFormat::U16 => $run::<u16>($($argument),*),
            SampleFormat::I24 => $run::<cpal::I24>($($argument),*),
            SampleFormat::I32 => $run::<i32>($($argument),*),
            SampleFormat::U32 => $run::<u32>($($argument),*),
            SampleFormat::F32 => $run::<f32>($($argument),*),
            SampleFormat::F64 => $run::<f64>($($argument),*),
            _ => None,
        }
    };
}

fn start(stream: cpal::Stream, signs: Arc<Signs>, rate: u32) -> Option<Running> {
    let running = Running { stream: Some(stream), signs, rate, calls: 0, called: now() };
    running.stream.as_ref()?.play().ok()?;
    Some(running)
}

fn open_input(choice: &Choice) -> Option<(Running, Consumer<f32>)> {
    let device = find(choice.by_name.as_deref(), true)?;
    let (config, format) = config_of(&device, true)?;
    let (into, from) = RingBuffer::new((config.sample_rate / RING_A_SECOND) as usize);
    let running = with_format!(format, build_input, &device, config, into)?;
    Some((running, from))
}

fn build_input<T: SizedSample + Send + 'static>(
    device: &cpal::Device,
    config: StreamConfig,
    mut into: Producer<f32>,
) -> Option<Running>
where
    f32: FromSample<T>,
{
    let signs = Arc::new(Signs::default());
    let (seen, failed) = (signs.clone(), signs.clone());
    let (waker, channels) = (thread::current(), usize::from(config.channels.max(1)));
    let stream = device.build_input_stream::<T, _, _>(
        config,
        move |data: &[T], _: &_| {
            for frame in data.chunks_exact(channels) {
                let sum: f32 = frame.iter().map(|sample| f32::from_sample(*sample)).sum();
                // Full: the thread has stopped, and what it will read is old anyway.
                let _ = into.push(sum / channels as f32);
            }
            seen.calls.fetch_add(1, Ordering::Relaxed);
            waker.unpark();
        },
        move |error| note(&error, &failed),
        Some(BUILD_TIME),
    );
    start(stream.ok()?, signs, config.sample_rate)
}

fn open_output(choice: &Choice) -> Option<(Running, Producer<f32>)> {
    let device = find(choice.by_name.as_deref(), false)?;
    let (config, format) = config_of(&device, false)?;
    let (into, from) = RingBuffer::new((config.sample_rate / RING_A_SECOND) as usize);
    let running = with_format!(format, build_output, &device, config, from)?;
    Some((running, into))
}

fn build_output<T: SizedSample + FromSample<f32> + Send + 'static>(
    device: &cpal::Device,
    config: StreamConfig,
    mut from: Consumer<f32>,
) -> Option<Running> {
    let signs = Arc::new(Signs::default());
    let (seen, failed) = (signs.clone(), signs.clone());
    let (waker, channels) = (thread::current(), usize::from(config.channels.max(1)));
    let stream = device.build_output_stream::<T, _, _>(
        config,
        move |data: &mut [T], _: &_| {
            let mut missing = 0;
            for frame in data.chunks_mut(channels) {
                let sample = from.pop().unwrap_or_else(|_| {
                    missing += 1;
                    0.0
                });
                frame.fill(T::from_sample(sample));
            }
            seen.period.fetch_max(data.len() / channels, Ordering::Relaxed);
            seen.missing.fetch_add(missing, Ordering::Relaxed);
            seen.calls.fetch_add(1, Ordering::Relaxed);
            waker.unpark();
        },
        move |error| note(&error, &failed),
        Some(BUILD_TIME),
    );
    start(stream.ok()?, signs, config.sample_rate)
}

/// An error of a stream. Some come a million times a second: so it is one store, and no more.
fn note(error: &cpal::Error, signs: &Signs) {
    use cpal::ErrorKind::{DeviceChanged, RealtimeDenied, Xrun};
    if !matches!(error.kind(), DeviceChanged | Xrun | RealtimeDenied) {
        signs.failed.store(true, Ordering::Relaxed);
    }
}

/// Tells once that a device has gone, and once that it is back.
struct Health<'a> {
    shared: &'a Shared,
    what: &'static str,
    name: &'a str,
    lost: bool,
}

impl Health<'_> {
    fn is(&mut self, well: bool) {
        if std::mem::replace(&mut self.lost, !well) == well {
            let (code, how) = match well {
                true => (Warning::DeviceBack, "is back"),
                false => (Warning::DeviceLost, "does not answer; it is looked for again and again"),
            };
            let message = format!("the {} `{}` {how}", self.what, self.name.escape_debug());
            self.shared.tell(Event::Warning { code, message });
        }
    }
}

/// Captures until it is told to stop.
pub fn capture(choice: &Choice, shared: &Arc<Shared>) {
    let mut health = Health { shared, what: "microphone", name: &choice.name, lost: false };
    while !shared.stops() {
        let opened = open_input(choice);
        let resampler = opened.as_ref().and_then(|(running, _)| {
            // Half a millisecond at a time.
            Resampler::new(running.rate, RATE, (running.rate / 2000).max(1) as usize).ok()
        });
        if let (Some((running, from)), Some(resampler)) = (opened, resampler) {
            health.is(true);
            capture_stream(running, from, resampler, shared);
            if shared.stops() {
                return;
            }
        }
        health.is(false);
        thread::park_timeout(RETRY);
    }
}

fn capture_stream(mut running: Running, mut from: Consumer<f32>, mut resampler: Resampler, shared: &Shared) {
    let mut frame: Frame = [0; FRAME];
    let mut filled = 0;
    let mut piece = [0.0; FRAME];
    while !shared.stops() && running.is_well() {
        let (popped, _) = from.pop_partial_slice(&mut piece);
        if popped.is_empty() {
            thread::park_timeout(WAIT);
            continue;
        }
        resampler.push(popped, |samples| {
            for sample in samples {
                if let Some(slot) = frame.get_mut(filled) {
                    *slot = resample::to_i16(*sample);
                }
                filled += 1;
                if filled == FRAME {
                    filled = 0;
                    shared.tell(Event::Captured(frame));
                }
            }
        });
    }
}

/// Plays until it is told to stop. While the device is away a clock goes on asking, so that nothing piles up.
pub fn play(choice: &Choice, shared: &Arc<Shared>, to_play: &Receiver<Chunk>) {
    let mut health = Health { shared, what: "speaker", name: &choice.name, lost: false };
    while !shared.stops() {
        if let Some((running, into)) = open_output(choice)
            && let Ok(resampler) = Resampler::new(RATE, running.rate, CHUNK)
        {
            health.is(true);
            play_stream(running, into, resampler, shared, to_play);
            if shared.stops() {
                return;
            }
        }
        health.is(false);
        let mut clock = Clock::new(CHUNK_TIME, 0.0);
        let retry = now() + RETRY;
        while !shared.stops() && now() < retry {
            match clock.until_next() {
                Some(wait) => thread::park_timeout(wait),
                None => drop(threads::ask(shared, to_play)),
            }
        }
    }
}

fn play_stream(
    mut running: Running,
    mut into: Producer<f32>,
    mut resampler: Resampler,
    shared: &Shared,
    to_play: &Receiver<Chunk>,
) {
    let capacity = into.slots();
    let device = |samples: usize| samples * running.rate as usize / RATE as usize;
    let (mut ready, mut well_since) = (*READY.start(), now());
    let signs = running.signs.clone();
    let devices_ready: Vec<usize> =
        (0..=READY.end() / READY_STEP + 1).map(|n| device(READY.start() + n * READY_STEP)).collect();
    let mut first = true;
    while !shared.stops() && running.is_well() {
        if signs.missing.swap(0, Ordering::Relaxed) > 0 && !std::mem::take(&mut first) {
            (ready, well_since) = ((ready + READY_STEP).min(*READY.end()), now());
        } else if now() - well_since > SHRINK_AFTER {
            (ready, well_since) = (ready.saturating_sub(READY_STEP).max(*READY.start()), now());
        }
        let step = ready.saturating_sub(*READY.start()) / READY_STEP;
        let wanted = signs.period.load(Ordering::Relaxed) + devices_ready.get(step).copied().unwrap_or_default();
        // Until the first call it is not known how much a period is.
        if signs.calls.load(Ordering::Relaxed) == 0 || capacity - into.slots() >= wanted.min(capacity) {
            thread::park_timeout(WAIT);
            continue;
        }
        let chunk = threads::ask(shared, to_play);
        let samples = chunk.map(resample::to_f32);
        resampler.push(&samples, |out| {
            let _ = into.push_partial_slice(out);
        });
    }
}
