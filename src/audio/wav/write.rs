//! Writes WAV files of 16 kHz mono that can be read at any time, whatever becomes of the process or the disk.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufWriter, Error, ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::voice::RATE;

/// Bytes of the header that is written.
const HEADER: u32 = 44;
/// Samples after which the header is brought up to date: a second, so that a process that is killed leaves a file
/// that can be read up to there.
const UPDATE_EVERY: u32 = RATE;

/// Writes 16 kHz mono, 16 bit, as it comes.
#[derive(Debug)]
pub struct Writer {
    file: BufWriter<File>,
    samples: u32,
    updated: u32,
}

/// Whether a file could be written, without changing one that is there.
///
/// # Errors
/// If not.
pub fn can_be_written(path: &Path) -> Result<()> {
    super::is_plain(path).map_err(Error::other)?;
    match OpenOptions::new().write(true).create_new(true).open(path) {
        // It was only asked whether it could be made.
        Ok(_) => std::fs::remove_file(path),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            OpenOptions::new().append(true).open(path).and_then(|file| lock(&file))
        }
        Err(e) => Err(e),
    }
}

/// Takes a file for this writer alone, as long as it is open.
fn lock(file: &File) -> Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            Err(Error::other("somebody writes it: another node, or an earlier call of this one"))
        }
        // Some file systems know no locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// The files that this run has recorded into: another call goes on at their end. The oldest are forgotten.
#[derive(Debug, Default, Clone)]
pub struct Recordings(Arc<Mutex<VecDeque<Recorded>>>);

/// Such files that are remembered. A guess.
const MAX_RECORDINGS: usize = 256;

#[derive(Debug, PartialEq)]
struct Recorded {
    /// Its name, whatever name it is called by.
    path: PathBuf,
    /// The file of that name, where the system tells one from another.
    file: Option<(u64, u64)>,
}

impl Recorded {
    fn of(path: &Path, file: &File) -> Result<Self> {
        #[cfg(unix)]
        let number = {
            use std::os::unix::fs::MetadataExt;
            let found = file.metadata()?;
            Some((found.dev(), found.ino()))
        };
        #[cfg(not(unix))]
        let number = file.metadata().map(|_| None)?;
        Ok(Self { path: std::fs::canonicalize(path)?, file: number })
    }
}

impl Recordings {
    /// Opens a file to write: at its end if this run has written it before, else in place of what is there.
    ///
    /// # Errors
    /// If it can't be made, or somebody else writes it.
    pub fn open(&self, path: &Path) -> Result<Writer> {
        super::is_plain(path).map_err(Error::other)?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        lock(&file)?;
        let recorded = Recorded::of(path, &file)?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.contains(&recorded) {
            return Writer::go_on(file);
        }
        let writer = Writer::begin(file)?;
        if all.len() >= MAX_RECORDINGS {
            all.pop_front();
        }
        all.push_back(recorded);
        Ok(writer)
    }
}

impl Writer {
    /// Begins a file, in place of one that is there.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn create(path: &Path) -> Result<Self> {
        Recordings::default().open(path)
    }

    fn begin(file: File) -> Result<Self> {
        file.set_len(0)?;
        let mut writer = Self { file: BufWriter::new(file), samples: 0, updated: 0 };
        writer.file.write_all(&header(0))?;
        writer.file.flush()?;
        Ok(writer)
    }

    /// Goes on at the end of a file that was written like this. Another one is begun anew.
    fn go_on(mut file: File) -> Result<Self> {
        let mut found = [0; HEADER as usize];
        let is_ours = file.read_exact(&mut found).is_ok()
            && header(0)
                .iter()
                .zip(found)
                .enumerate()
                .all(|(at, (ours, it))| *ours == it || matches!(at, 4..8 | 40..44));
        let samples = file.metadata()?.len().saturating_sub(HEADER.into()) / 2;
        match u32::try_from(samples) {
            Ok(samples) if is_ours && samples <= (u32::MAX - HEADER) / 2 => {
                // Half a sample that a crash left is written over.
                file.seek(SeekFrom::Start(u64::from(HEADER) + u64::from(samples) * 2))?;
                Ok(Self { file: BufWriter::new(file), samples, updated: samples })
            }
            _ => {
                file.seek(SeekFrom::Start(0))?;
                Self::begin(file)
            }
        }
    }

    /// Appends samples.
    ///
    /// # Errors
    /// If the file can't be written, or is as long as a WAV file may be (37 hours).
    pub fn write(&mut self, samples: &[i16]) -> Result<()> {
        let count = u32::try_from(samples.len()).unwrap_or(u32::MAX);
        if self.samples.checked_add(count).is_none_or(|total| total > (u32::MAX - HEADER) / 2) {
            return Err(Error::other("a WAV file holds no more"));
        }
        for sample in samples {
            self.file.write_all(&sample.to_le_bytes())?;
        }
        self.samples += count;
        if self.samples - self.updated >= UPDATE_EVERY {
            self.finish()?;
        }
        Ok(())
    }

    /// Makes the best of a file that could not be written: whatever of it is there can be read.
    pub fn give_up(self) {
        // What is buffered would not go anywhere.
        let (mut file, _) = self.file.into_parts();
        let there = file.metadata().map_or(0, |found| found.len()).saturating_sub(HEADER.into()) / 2;
        let samples = u32::try_from(there).unwrap_or(0).min(self.samples);
        // If not even that can be written, the file is good up to the last whole second.
        let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&header(samples)));
    }

    /// Makes the file whole as it is. More can be written.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn finish(&mut self) -> Result<()> {
        self.file.flush()?;
        let file = self.file.get_mut();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header(self.samples))?;
        file.seek(SeekFrom::End(0))?;
        self.updated = self.samples;
        Ok(())
    }
}

/// The header of a canonical WAV file (Microsoft's Multimedia Programming Interface 1.0, 1991).
fn header(samples: u32) -> [u8; HEADER as usize] {
    let mut header = [0; HEADER as usize];
    let data = samples * 2;
    let fields: [&[u8]; 13] = [
        b"RIFF",
        &(HEADER - 8 + data).to_le_bytes(),
        b"WAVE",
        b"fmt ",
        &16_u32.to_le_bytes(),
        &1_u16.to_le_bytes(),
        &1_u16.to_le_bytes(),
        &RATE.to_le_bytes(),
        &(RATE * 2).to_le_bytes(),
        &2_u16.to_le_bytes(),
        &16_u16.to_le_bytes(),
        b"data",
        &data.to_le_bytes(),
    ];
    header.iter_mut().zip(fields.iter().flat_map(|field| field.iter())).for_each(|(to, byte)| *to = *byte);
    header
}

#[cfg(test)]
mod tests {
    use super::super::read_16k_mono;
    use super::*;
    use crate::voice::testing::tone;

    fn temporary(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("p2p-chat-write-{}-{name}.wav", std::process::id()))
    }

    #[test]
    fn what_is_written_can_be_read_at_any_time() {
        let path = temporary("written");
        let said = tone(440.0, 8000.0, 40_000);
        let mut writer = Writer::create(&path).expect("made");
        assert_eq!(read_16k_mono(&path), Ok(Vec::new()));
        for chunk in said.chunks(80) {
            writer.write(chunk).expect("written");
        }
        // As if the process had been killed here: up to the last whole second.
        assert_eq!(read_16k_mono(&path).expect("read")[..], said[..32_000]);
        writer.finish().expect("closed");
        assert_eq!(read_16k_mono(&path).expect("read"), said);
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn a_file_that_this_run_has_written_is_gone_on_with_at_its_end() {
        let path = temporary("again");
        std::fs::write(&path, "something else, and longer than a header of a WAV file is").expect("written");
        let said = tone(440.0, 8000.0, 20_000);
        let run = Recordings::default();
        for part in said.chunks(5_000) {
            let mut writer = run.open(&path).expect("opens");
            writer.write(part).expect("written");
            writer.finish().expect("closed");
        }
        assert_eq!(read_16k_mono(&path).expect("read"), said);
        // In the place of a file that is gone, or was replaced, a new one is begun; and so by another run.
        std::fs::remove_file(&path).expect("removed");
        run.open(&path).and_then(|mut it| it.write(&said[..100]).and_then(|()| it.finish())).expect("written");
        assert_eq!(read_16k_mono(&path).expect("read")[..], said[..100]);
        let other = Recordings::default();
        other.open(&path).and_then(|mut it| it.write(&said[..50]).and_then(|()| it.finish())).expect("written");
        assert_eq!(read_16k_mono(&path).expect("read")[..], said[..50]);
        std::fs::write(&path, "no WAV file any more").expect("written");
        run.open(&path).and_then(|mut it| it.write(&said[..10]).and_then(|()| it.finish())).expect("written");
        assert_eq!(read_16k_mono(&path).expect("read")[..], said[..10]);
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn a_file_has_one_writer() {
        let path = temporary("locked");
        let mut first = Writer::create(&path).expect("made");
        first.write(&[7; 100]).and_then(|()| first.finish()).expect("written");
        for second in [Writer::create(&path).map(drop), can_be_written(&path)] {
            assert!(second.expect_err("taken").to_string().contains("another node"));
        }
        assert_eq!(read_16k_mono(&path).expect("read"), [7; 100], "and nothing happens to it");
        drop(first);
        can_be_written(&path).expect("free again");
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn a_file_that_can_be_written_no_further_keeps_what_it_has() {
        let path = temporary("full");
        let said = tone(440.0, 8000.0, 20_000);
        let mut writer = Writer::create(&path).expect("made");
        writer.write(&said).expect("written");
        writer.write(&said[..100]).expect("written, but buffered only");
        writer.give_up();
        assert_eq!(read_16k_mono(&path).expect("read")[..], said);
        std::fs::remove_file(path).expect("removed");
    }
}
