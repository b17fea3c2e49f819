//! Named pipes with raw PCM: 16-bit little-endian, 16 kHz, mono. Made if they are not there; never waited for.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use crate::voice::{Chunk, FRAME, Frame};

/// Bytes of a frame.
const FRAME_BYTES: usize = FRAME * 2;
/// The capacity of a pipe, in bytes: two pages, 256 ms. Linux would give it 2 s; and with one page it would let a writer go on only
/// when that is empty.
#[cfg(target_os = "linux")]
const PIPE_BYTES: usize = 8192;

/// Makes sure that there is a named pipe.
///
/// # Errors
/// If it can't be made, or something else is there.
pub fn make(path: &Path) -> Result<(), String> {
    let fail = |why: &str| Err(format!("pipe:{}: {why}", path.display()));
    let mode = Mode::RUSR | Mode::WUSR;
    match mknodat(CWD, path, FileType::Fifo, mode, 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(e) => return fail(&std::io::Error::from(e).to_string()),
    }
    match std::fs::metadata(path) {
        Ok(found) if found.file_type().is_fifo() => Ok(()),
        Ok(_) => fail("there is something that is no named pipe"),
        Err(e) => fail(&e.to_string()),
    }
}

/// Asks for a pipe that holds little: what waits in it is delay. Only Linux knows how; elsewhere it stays as it is.
fn keep_short(pipe: &File) {
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES);
    #[cfg(not(target_os = "linux"))]
    let _ = pipe;
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    options
}

/// A microphone: the sound that a program writes into the pipe.
#[derive(Debug)]
pub struct Mic {
    pipe: File,
    bytes: Vec<u8>,
    /// Whether somebody has written since [`begin`](Self::begin), and whether nobody does any more.
    begun: bool,
    ended: bool,
}

impl Mic {
    /// Opens a pipe.
    ///
    /// # Errors
    /// If it can't be opened.
    pub fn open(path: &Path) -> Result<Self, String> {
        make(path)?;
        let pipe = options().read(true).open(path).map_err(|e| format!("pipe:{}: {e}", path.display()))?;
        keep_short(&pipe);
        Ok(Self { pipe, bytes: Vec::with_capacity(FRAME_BYTES), begun: false, ended: false })
    }

    /// Whether all that was written has been taken, and the writer has gone.
    pub const fn ended(&self) -> bool {
        self.begun && self.ended
    }

    /// Waits for the next writer.
    pub const fn begin(&mut self) {
        self.begun = false;
    }

    /// The next frame: silence while no whole frame has been written. What a writer leaves behind is made whole with silence.
    pub fn next(&mut self) -> Frame {
        let mut frame = [0; FRAME];
        self.ended = false;
        while self.bytes.len() < FRAME_BYTES {
            let mut buffer = [0; FRAME_BYTES];
            let room = FRAME_BYTES - self.bytes.len();
            match self.pipe.read(&mut buffer[..room]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(n) => {
                    self.begun = true;
                    self.bytes.extend_from_slice(buffer.get(..n).unwrap_or_default());
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // Nothing there yet, or an error that may pass.
                Err(_) => break,
            }
        }
        if self.bytes.len() == FRAME_BYTES || self.ended {
            for (sample, bytes) in frame.iter_mut().zip(self.bytes.as_chunks::<2>().0) {
                *sample = i16::from_le_bytes(*bytes);
            }
            self.bytes.clear();
        }
        frame
    }
}

/// A speaker: a program reads from the pipe. While none does, or not fast enough, sound is dropped.
#[derive(Debug)]
pub struct Speaker {
    path: PathBuf,
    pipe: Option<File>,
    /// Chunks until it is looked again whether somebody reads.
    rest: u32,
}

/// Chunks between two looks: 100 ms.
const LOOK_EVERY: u32 = 20;

impl Speaker {
    /// Opens a pipe.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn open(path: &Path) -> Result<Self, String> {
        make(path)?;
        Ok(Self { path: path.to_owned(), pipe: None, rest: 0 })
    }

    /// Plays a chunk. That is less than a pipe takes at once or not at all, so no sample is ever cut.
    pub fn play(&mut self, chunk: &Chunk) {
        if self.pipe.is_none() {
            self.rest = self.rest.checked_sub(1).unwrap_or(LOOK_EVERY);
            if self.rest == 0 {
                self.pipe = options().write(true).open(&self.path).ok();
                if let Some(pipe) = &self.pipe {
                    keep_short(pipe);
                }
            }
        }
        let bytes: Vec<u8> = chunk.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        match self.pipe.as_mut().map(|pipe| pipe.write(&bytes)) {
            Some(Err(e)) if e.kind() != ErrorKind::WouldBlock => self.pipe = None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voice::CHUNK;

    fn temporary(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("p2p-chat-pipe-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_microphone_takes_writers_as_they_come_and_go() {
        let path = temporary("mic");
        let mut mic = Mic::open(&path).expect("opens");
        assert_eq!(mic.next(), [0; FRAME], "nobody writes");
        assert!(!mic.ended(), "nobody has written");
        let mut writer = OpenOptions::new().write(true).open(&path).expect("opens");
        writer.write_all(&[1, 0].repeat(FRAME)).expect("written");
        writer.write_all(&[2, 0, 2]).expect("written");
        assert_eq!(mic.next(), [1; FRAME]);
        assert_eq!(mic.next(), [0; FRAME], "half a sample more than one");
        assert!(!mic.ended(), "more may come");
        drop(writer);
        assert_eq!(mic.next()[..2], [2, 0], "what was left behind");
        assert!(mic.ended());
        mic.begin();
        let mut writer = OpenOptions::new().write(true).open(&path).expect("opens");
        writer.write_all(&[3, 0].repeat(FRAME)).expect("written");
        assert_eq!(mic.next(), [3; FRAME]);
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn a_speaker_waits_for_nobody() {
        let path = temporary("speaker");
        let mut speaker = Speaker::open(&path).expect("opens");
        (0..1000).for_each(|_| speaker.play(&[1; CHUNK]));
        let mut reader = options().read(true).open(&path).expect("opens");
        (0..100).for_each(|_| speaker.play(&[2; CHUNK]));
        let mut heard = [0; 160];
        reader.read_exact(&mut heard).expect("read");
        assert_eq!(heard[..4], [2, 0, 2, 0]);
        (0..10_000).for_each(|_| speaker.play(&[2; CHUNK]));
        drop(reader);
        (0..100).for_each(|_| speaker.play(&[2; CHUNK]));
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn a_file_is_not_replaced() {
        let path = temporary("file");
        std::fs::write(&path, "precious").expect("written");
        assert!(Mic::open(&path).expect_err("no pipe").contains("no named pipe"));
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "precious");
        std::fs::remove_file(path).expect("removed");
    }
}
