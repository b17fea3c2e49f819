//! Writes WAV files of 16 kHz mono that can be read at any time, whatever becomes of the process or the disk.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Error, ErrorKind, Result, Seek, SeekFrom, Write};
use std::path::Path;

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
        Err(e) if e.kind() == ErrorKind::AlreadyExists => OpenOptions::new().append(true).open(path).map(drop),
        Err(e) => Err(e),
    }
}

impl Writer {
    /// Begins a file, in place of one that is there.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn create(path: &Path) -> Result<Self> {
        super::is_plain(path).map_err(Error::other)?;
        let mut writer = Self { file: BufWriter::new(File::create(path)?), samples: 0, updated: 0 };
        writer.file.write_all(&header(0))?;
        writer.file.flush()?;
        Ok(writer)
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

    fn temporary(name: &str) -> std::path::PathBuf {
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
