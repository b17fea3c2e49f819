//! WAV files, in and out.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use hound::{SampleFormat, WavReader, WavSpec};

use super::resample;
use crate::voice::RATE;

/// The longest file that is read, in seconds: an hour, 115 MB at 16 kHz.
const MAX_SECONDS: u32 = 3600;

/// Reads a WAV file of any rate, channels and format as 16 kHz mono.
///
/// # Errors
/// Why it can't be read.
pub fn read_16k_mono(path: &Path) -> Result<Vec<i16>, String> {
    let fail = |why: &str| format!("{}: {why}", path.display());
    let reader = WavReader::open(path).map_err(|e| fail(&e.to_string()))?;
    let WavSpec { channels, sample_rate, bits_per_sample, sample_format } = reader.spec();
    if channels == 0 || sample_rate == 0 {
        return Err(fail("it has no channels, or no rate"));
    }
    if reader.duration() / sample_rate >= MAX_SECONDS {
        return Err(fail("it is longer than an hour: cut it"));
    }
    let scale = 1.0 / (1_i64 << (bits_per_sample.clamp(1, 32) - 1)) as f32;
    let samples: Result<Vec<f32>, hound::Error> = match sample_format {
        SampleFormat::Float => reader.into_samples::<f32>().collect(),
        SampleFormat::Int => reader.into_samples::<i32>().map(|it| it.map(|sample| sample as f32 * scale)).collect(),
    };
    let samples = samples.map_err(|e| fail(&e.to_string()))?;
    let mono: Vec<f32> = samples
        .chunks_exact(usize::from(channels))
        .map(|frame| frame.iter().sum::<f32>() / f32::from(channels))
        .collect();
    let resampled = resample::all(&mono, sample_rate, RATE).map_err(|e| fail(&e))?;
    Ok(resampled.into_iter().map(resample::to_i16).collect())
}

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

impl Writer {
    /// Begins a file, in place of one that is there.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn create(path: &Path) -> std::io::Result<Self> {
        let mut writer = Self { file: BufWriter::new(File::create(path)?), samples: 0, updated: 0 };
        writer.file.write_all(&header(0))?;
        writer.file.flush()?;
        Ok(writer)
    }

    /// Appends samples.
    ///
    /// # Errors
    /// If the file can't be written, or is as long as a WAV file may be (37 hours).
    pub fn write(&mut self, samples: &[i16]) -> std::io::Result<()> {
        let count = u32::try_from(samples.len()).unwrap_or(u32::MAX);
        if self.samples.checked_add(count).is_none_or(|total| total > (u32::MAX - HEADER) / 2) {
            return Err(std::io::Error::other("a WAV file holds no more"));
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

    /// Makes the file whole as it is. More can be written.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn finish(&mut self) -> std::io::Result<()> {
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
    use super::*;
    use crate::voice::testing::{level_db, tone};

    fn temporary(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("p2p-chat-wav-{}-{name}.wav", std::process::id()))
    }

    #[test]
    fn files_of_any_kind_are_read_as_loud_as_they_are() {
        for (n, (rate, channels, bits, format)) in [
            (8_000, 1, 8, SampleFormat::Int),
            (16_000, 1, 16, SampleFormat::Int),
            (44_100, 2, 16, SampleFormat::Int),
            (48_000, 2, 24, SampleFormat::Int),
            (96_000, 1, 32, SampleFormat::Int),
            (48_000, 6, 32, SampleFormat::Float),
        ]
        .into_iter()
        .enumerate()
        {
            let path = temporary(&format!("kind-{n}"));
            let spec = WavSpec { channels, sample_rate: rate, bits_per_sample: bits, sample_format: format };
            let mut writer = hound::WavWriter::create(&path, spec).expect("made");
            for at in 0..rate {
                let sample = 0.5 * (f64::from(at) * 500.0 / f64::from(rate) * std::f64::consts::TAU).sin();
                for _ in 0..channels {
                    match format {
                        SampleFormat::Float => writer.write_sample(sample as f32).expect("written"),
                        SampleFormat::Int => {
                            writer
                                .write_sample((sample * f64::from(1_i64 as i32) * (1_i64 << (bits - 1)) as f64) as i32)
                                .expect("written");
                        }
                    }
                }
            }
            writer.finalize().expect("closed");
            let read = read_16k_mono(&path).expect("read");
            assert!(read.len().abs_diff(16_000) < 40, "{spec:?}: {}", read.len());
            let level = level_db(&read[1000..15_000]);
            assert!((level + 9.03).abs() < 0.3, "{spec:?}: {level} dB");
            std::fs::remove_file(path).expect("removed");
        }
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
    fn what_is_no_wav_file_says_so() {
        let path = temporary("none");
        assert!(read_16k_mono(&path).expect_err("absent").contains("p2p-chat-wav"));
        std::fs::write(&path, b"RIFFxxxxWAVEnothing").expect("written");
        assert!(read_16k_mono(&path).is_err());
        std::fs::remove_file(path).expect("removed");
    }
}
