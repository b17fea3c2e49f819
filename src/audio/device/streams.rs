//! Streams of devices: their callbacks, whether they are well, and how they are built and let go of.
//!
//! A callback moves samples between the device and a lock-free ring, counts, and wakes the thread at the ring's other end.
//! It allocates nothing, takes no lock, and waits for nothing: `Thread::unpark` stores a word and at most makes the one
//! system call that wakes a sleeper, which does not wait either. The alternative, a thread that looks every millisecond,
//! would cost more than all the rest.
//!
//! Calls that a sound server has to answer, to build a stream and to let go of it, are made on threads that are left behind
//! if it never does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use cpal::traits::{DeviceTrait, StreamTrait};
use cpal::{FromSample, Sample, SampleFormat, SizedSample, StreamConfig};
use rtrb::{Consumer, Producer, RingBuffer};

use super::super::clock::now;
use super::choose::{self, Choice};

/// The capacity of the rings, in parts of a second: 0.5 s.
const RING_A_SECOND: u32 = 2;
/// A device that has not called for so long has failed, whatever it says.
const SILENCE: Duration = Duration::from_millis(500);
/// The time that a device may take in addition until it calls first; those with a radio take a second.
const FIRST_CALL: Duration = Duration::from_secs(2);
/// How long a sound server may take to build a stream.
const BUILD_TIME: Duration = Duration::from_secs(2);
/// How long it is until a device that has gone is looked for again. It is twice as long each time that a stream was soon
/// lost again, so that a device that comes and goes makes no storm, up to [`MAX_RETRY`].
const RETRY: Duration = Duration::from_millis(300);
/// See [`RETRY`].
const MAX_RETRY: Duration = Duration::from_millis(1200);
/// A stream that lived for less was soon lost.
const SOON: Duration = Duration::from_secs(3);
/// A thread that has been opening a device for so long is left behind.
const HUNG: Duration = Duration::from_secs(5);
/// Threads of the whole process that may be opening devices, those left behind among them. At the bound no device is
/// looked for until one of them ends.
const MAX_OPENING: u32 = 16;
/// How often it is looked whether the default device is another now.
const FOLLOW: Duration = Duration::from_secs(1);

/// Counters by which callbacks report to the thread.
#[derive(Debug, Default)]
pub struct Signs {
    calls: AtomicU32,
    failed: AtomicBool,
    /// The default device is another now.
    moved: AtomicBool,
    /// The last request of playback, in samples of the device.
    asked: AtomicUsize,
    /// Samples that were not there when they were asked for.
    missing: AtomicUsize,
}

/// A stream that runs. Dropping it may hang, and so is done elsewhere.
pub struct Running {
    stream: Option<cpal::Stream>,
    signs: Arc<Signs>,
    /// The device's samples a second.
    pub rate: u32,
    calls: u32,
    called: Instant,
}

/// How a stream does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It runs.
    Well,
    /// It has failed, or has fallen silent.
    Lost,
    /// It runs, but the default device is another now.
    Moved,
}

impl Running {
    /// How it does.
    pub fn health(&mut self) -> Health {
        let (calls, at) = (self.signs.calls.load(Ordering::Relaxed), now());
        if calls != self.calls {
            (self.calls, self.called) = (calls, at);
        }
        if self.signs.failed.load(Ordering::Relaxed) || at.saturating_duration_since(self.called) >= SILENCE {
            Health::Lost
        } else if self.signs.moved.load(Ordering::Relaxed) {
            Health::Moved
        } else {
            Health::Well
        }
    }

    /// Whether the device has called yet.
    pub fn has_called(&self) -> bool {
        self.signs.calls.load(Ordering::Relaxed) > 0
    }

    /// The request of playback since the last call, in samples of the device; 0: none.
    pub fn take_asked(&self) -> usize {
        self.signs.asked.swap(0, Ordering::Relaxed)
    }

    /// How many samples were missing since the last call.
    pub fn take_missing(&self) -> usize {
        self.signs.missing.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let stream = self.stream.take();
        // If no thread can be had it is dropped here.
        let _ = thread::Builder::new().name("sound-drop".to_owned()).spawn(move || drop(stream));
    }
}

/// A stream that is being opened, on a thread of its own.
pub struct Opening<T> {
    result: Option<Receiver<Option<T>>>,
    /// When it began, or when it may begin again.
    at: Instant,
    failed: bool,
    opened: Instant,
    pause: Duration,
}

impl<T: Send + 'static> Opening<T> {
    /// One that begins at once.
    pub fn new() -> Self {
        let at = now();
        Self { result: None, at, failed: false, opened: at, pause: RETRY }
    }

    /// The stream is lost: the device is looked for again, but not at once.
    pub fn lost(&mut self) {
        let at = now();
        self.pause = if at - self.opened < SOON { (self.pause * 2).min(MAX_RETRY) } else { RETRY };
        (self.at, self.failed) = (at + self.pause, true);
    }

    /// Begins if it is time, and gives the stream once it is open. This thread is woken then, and is the one that the
    /// stream wakes.
    pub fn poll(&mut self, open: impl FnOnce(Thread) -> Option<T> + Send + 'static) -> Option<T> {
        let waits = now().saturating_duration_since(self.at);
        let Some(result) = &self.result else {
            if now() >= self.at {
                (self.result, self.at) = (begin(open), now());
            }
            return None;
        };
        match result.try_recv() {
            Ok(Some(opened)) => {
                let at = now();
                (self.result, self.at, self.opened, self.failed) = (None, at, at, false);
                return Some(opened);
            }
            Err(TryRecvError::Empty) if waits < HUNG => self.failed |= waits >= BUILD_TIME,
            Ok(None) | Err(_) => (self.result, self.at, self.failed) = (None, now() + RETRY, true),
        }
        None
    }

    /// Whether it has failed so far, or takes suspiciously long.
    pub fn has_failed(&self) -> bool {
        self.failed
    }
}

/// Counts the threads that open devices, while it is there.
struct OneOpening;

static OPENING: AtomicU32 = AtomicU32::new(0);

impl Drop for OneOpening {
    fn drop(&mut self) {
        OPENING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// `None`: there are too many of them already.
fn begin<T: Send + 'static>(open: impl FnOnce(Thread) -> Option<T> + Send + 'static) -> Option<Receiver<Option<T>>> {
    OPENING.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < MAX_OPENING).then_some(n + 1)).ok()?;
    let (one, woken) = (OneOpening, thread::current());
    let (to, result) = sync_channel(1);
    let spawned = thread::Builder::new().name("sound-open".to_owned()).spawn(move || {
        let _one = one;
        // Nobody waits for it any more: then it is dropped here.
        let _ = to.send(open(woken.clone()));
        woken.unpark();
    });
    spawned.ok().map(|_| result)
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

/// Opens a microphone; what it hears comes out of the ring. May hang.
pub fn open_input(choice: &Choice, waker: Thread) -> Option<(Running, Consumer<f32>)> {
    choose::silence_alsa();
    let device = choice.find()?;
    let (config, format) = choose::config_of(&device, true)?;
    let (into, from) = RingBuffer::new((config.sample_rate / RING_A_SECOND) as usize);
    let running = with_format!(format, build_input, &device, config, into, waker)?;
    follow(choice, &device, &running);
    Some((running, from))
}

fn build_input<T: SizedSample + Send + 'static>(
    device: &cpal::Device,
    config: StreamConfig,
    mut into: Producer<f32>,
    waker: Thread,
) -> Option<Running>
where
    f32: FromSample<T>,
{
    let signs = Arc::new(Signs::default());
    let (seen, failed) = (signs.clone(), signs.clone());
    let channels = usize::from(config.channels.max(1));
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

/// Opens a speaker, which plays what is put into the ring. May hang.
pub fn open_output(choice: &Choice, waker: Thread) -> Option<(Running, Producer<f32>)> {
    choose::silence_alsa();
    let device = choice.find()?;
    let (config, format) = choose::config_of(&device, false)?;
    let (into, from) = RingBuffer::new((config.sample_rate / RING_A_SECOND) as usize);
    let running = with_format!(format, build_output, &device, config, from, waker)?;
    follow(choice, &device, &running);
    Some((running, into))
}

fn build_output<T: SizedSample + FromSample<f32> + Send + 'static>(
    device: &cpal::Device,
    config: StreamConfig,
    mut from: Consumer<f32>,
    waker: Thread,
) -> Option<Running> {
    let signs = Arc::new(Signs::default());
    let (seen, failed) = (signs.clone(), signs.clone());
    let channels = usize::from(config.channels.max(1));
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
            seen.asked.store(data.len() / channels, Ordering::Relaxed);
            seen.missing.fetch_add(missing, Ordering::Relaxed);
            seen.calls.fetch_add(1, Ordering::Relaxed);
            waker.unpark();
        },
        move |error| note(&error, &failed),
        Some(BUILD_TIME),
    );
    start(stream.ok()?, signs, config.sample_rate)
}

fn start(stream: cpal::Stream, signs: Arc<Signs>, rate: u32) -> Option<Running> {
    let running = Running { stream: Some(stream), signs, rate, calls: 0, called: now() + FIRST_CALL };
    running.stream.as_ref()?.play().ok()?;
    Some(running)
}

/// An error of a stream. Some come a million times a second: so it is one store, and no more.
fn note(error: &cpal::Error, signs: &Signs) {
    use cpal::ErrorKind::{DeviceChanged, RealtimeDenied, Xrun};
    if !matches!(error.kind(), DeviceChanged | Xrun | RealtimeDenied) {
        signs.failed.store(true, Ordering::Relaxed);
    }
}

/// Looks now and then whether the default device has become another, as long as the stream runs. PulseAudio does not move
/// a stream that was built for a device, as all of cpal's are.
fn follow(choice: &Choice, device: &cpal::Device, running: &Running) {
    if !choice.is_followed() {
        return;
    }
    let (choice, name, signs) = (choice.clone(), choose::name_of(device), Arc::downgrade(&running.signs));
    // Without a thread the stream stays where it is.
    let _ = thread::Builder::new().name("sound-default".to_owned()).spawn(move || {
        loop {
            thread::sleep(FOLLOW);
            if signs.strong_count() == 0 {
                return;
            }
            let default = choice.find().and_then(|device| choose::name_of(&device));
            if default.is_some() && default != name {
                if let Some(signs) = signs.upgrade() {
                    signs.moved.store(true, Ordering::Relaxed);
                }
                return;
            }
        }
    });
}
