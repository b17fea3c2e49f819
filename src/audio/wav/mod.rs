//! WAV files, in and out.

mod downmix;
mod read;
mod write;

pub use read::{Reader, read_16k_mono};
pub use write::{Recordings, Writer, can_be_written};

/// Whether there is a plain file at a path, or nothing yet: to open a named pipe would wait for its other end.
///
/// # Errors
/// If there is something else.
pub(super) fn is_plain(path: &std::path::Path) -> Result<(), String> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => Err("it is no file; a named pipe is written pipe:PATH".to_owned()),
        _ => Ok(()),
    }
}
