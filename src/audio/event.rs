//! Events of microphones and speakers.

use crate::voice::Frame;

/// An event of a microphone or a speaker.
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
    /// A name can't be opened; nothing runs.
    Failed {
        /// Why, and what to do.
        message: String,
    },
    /// The microphone has given 20 ms.
    Captured(Frame),
    /// The microphone's file is at its end, or the writer of its pipe has gone: silence follows.
    MicEnded,
    /// Playback wants the next 5 ms.
    PlaybackDue,
    /// Something that a person should know.
    Warning {
        /// Its kind.
        code: Warning,
        /// The same in words.
        message: String,
    },
}

/// A kind of warning.
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
