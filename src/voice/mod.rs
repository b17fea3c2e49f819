//! Voice, pure: from the microphone's PCM to packets, and from a speaker's packets back to PCM.
//!
//! ```text
//! capture ─▶ talker (speech detection, codec, repeats) ─▶ datagrams ─▶ speaker (jitter buffer, stretching, concealment) ─▶ mixer ─▶ playback
//! ```
//!
//! Nothing here reads a clock or does I/O: time is given, so that minutes of a bad line are tested in milliseconds.
//!
//! - [`codec`]: PCM and Opus behind one trait
//! - [`talker`]: what is said, encoded once; [`speech`]: whether it is speech; [`redundancy`]: how much is repeated
//! - [`speaker`]: one remote voice as it is heard; [`numbers`]: which packets are new, which are lost; [`jitter`]: when each frame is played; [`stretch`]: time stretching;
//!   [`conceal`], [`made`]: what fills a gap; [`comfort`]: what is heard in a pause
//! - [`mixer`]: many voices to one, without clipping
//! - [`compare`]: what came out beside what went in: delay, level, gaps

use std::time::Duration;

pub mod codec;
pub mod comfort;
pub mod compare;
pub mod conceal;
pub mod jitter;
pub mod made;
pub mod mixer;
pub mod numbers;
pub mod redundancy;
pub mod speaker;
pub mod speech;
pub mod stretch;
pub mod talker;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

/// Samples a second, mono. Fixed by the original.
pub const RATE: u32 = 16_000;
/// Samples of an audio frame. Fixed by the original.
pub const FRAME: usize = 320;
/// How long an audio frame lasts.
pub const FRAME_TIME: Duration = Duration::from_millis(20);
/// Samples that playback asks for at a time: a quarter of an audio frame, so that little waits between mixer and device, and
/// a frame that has just come is not kept waiting for the next question.
pub const CHUNK: usize = 80;
/// How long a chunk lasts.
pub const CHUNK_TIME: Duration = Duration::from_millis(5);

/// 20 ms of PCM: 16-bit, 16 kHz, mono.
pub type Frame = [i16; FRAME];
/// 5 ms of PCM: what playback takes at a time.
pub type Chunk = [i16; CHUNK];

/// How a frame is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    /// 640 bytes: the samples, little-endian.
    Pcm,
    /// An Opus packet of 20 ms, mono.
    Opus,
}

/// The way in which `Packet::frame` numbers the frames of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// `Packet::frame` is a clock that runs on in silence too, 20 ms a step (level 2).
    Clock,
    /// `Packet::frame` is the number of the datagram, and stands still while nothing is sent (level 1).
    Sequence,
}

/// The content of a voice datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Grows by one a packet of this talker.
    pub counter: u64,
    /// Which audio frame, counted from the talker's start; see [`Pace`].
    pub frame: u64,
    /// How everything in it is encoded.
    pub codec: Codec,
    /// The frame; empty in a packet that only says that the talker is silent now (the end of a talkspurt, or a sign of
    /// life in silence): `frame` is then a frame of that silence.
    pub payload: &'a [u8],
    /// Earlier frames once more.
    pub repeats: [Option<Repeat<'a>>; MAX_REPEATS],
}

/// An earlier frame, sent once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeat<'a> {
    /// How many frames before the packet's own: 1 to 255.
    pub back: u8,
    /// The frame.
    pub payload: &'a [u8],
}

/// Earlier frames in a packet.
pub const MAX_REPEATS: usize = 2;
/// The longest payload of one frame, in bytes (an Opus frame at 24 kbit/s has about 60; PCM 640).
pub const MAX_PAYLOAD: usize = 640;

/// A receiver's report to a talker about the line, once a second or so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Packets that should have come since the last report.
    pub expected: u16,
    /// Those of them that did not come.
    pub lost: u16,
    /// In how many runs they were lost: `lost / bursts` is the mean length of a burst.
    pub bursts: u16,
}

/// How one remote voice came in.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// Packets received.
    pub received: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that came too late to be played.
    pub late: u64,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Packets that made no sense: damaged payloads, leaps in the numbers that nothing confirmed.
    pub refused: u64,
    /// Audio frames that were made up because neither they nor a repeat of them was there in time.
    pub concealed: u64,
    /// How much the packets vary in time (RFC 3550, 6.4.1), in milliseconds.
    pub jitter_ms: f64,
    /// From a frame's arrival to its playing, smoothed, in milliseconds.
    pub delay_ms: f64,
    /// How loud it is, in dB below full scale, smoothed; -100 in silence.
    pub level_db: f64,
}
