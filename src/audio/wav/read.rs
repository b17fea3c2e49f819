//! Reads WAV files of any rate, channels and format as 16 kHz mono, a piece at a time: an hour takes no more memory than a
//! second, and a listener that has just joined does not wait for the end.
//!
//! Recorders that were killed, and those that write into a pipe, leave headers that say another length than the file has, or
//! none: so the end of the file is the end. A file of more than 4 GiB says its length in another place (RF64, EBU Tech 3306).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::downmix::Downmix;
use crate::audio::resample;
use crate::voice::RATE;

/// The longest file that is read as a whole, in samples of 16 kHz: an hour, 115 MB.
const MAX_WHOLE: usize = 3600 * RATE as usize;
/// The rates that make sense, in Hz.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;
/// How much is read at once, in parts of a second: 10 ms.
const PIECES_A_SECOND: u32 = 100;
/// Parts that a file may have before its samples. A guess.
const MAX_CHUNKS: u32 = 64;
/// Beyond this a float is nonsense: 12 dB over full scale.
const LOUDEST: f32 = 4.0;

/// A WAV file that is being read.
pub struct Reader {
    file: BufReader<File>,
    kind: Kind,
    /// Where the samples begin, and how many bytes of them the header promises.
    start: u64,
    promised: u64,
    /// Bytes of them that are still to be read.
    left: u64,
    looped: bool,
    /// Frames (a sample of each channel) read since the start of the file.
    frames: u64,
    downmix: Downmix,
    resampler: resample::Stream,
    /// Samples that come out before the first of the file does.
    skip: usize,
    /// Samples that came out of the resampler since.
    given: u64,
    ready: VecDeque<i16>,
    bytes: Vec<u8>,
    /// The samples of all channels.
    samples: Vec<f32>,
    mono: Vec<f32>,
    ended: bool,
}

/// How a sample is stored.
#[derive(Debug, Clone, Copy)]
struct Kind {
    rate: u32,
    channels: usize,
    /// Bytes of a sample.
    bytes: usize,
    float: bool,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("kind", &self.kind).field("left", &self.left).finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens a file. `looped`: it begins again at its end.
    ///
    /// # Errors
    /// Why it can't be read.
    pub fn open(path: &Path, looped: bool) -> Result<Self, String> {
        Self::try_open(path, looped).map_err(|why| format!("{}: {why}", path.display()))
    }

    fn try_open(path: &Path, looped: bool) -> Result<Self, String> {
        super::is_plain(path)?;
        let mut file = BufReader::new(File::open(path).map_err(|e| e.to_string())?);
        let (kind, promised) = read_header(&mut file)?;
        let start = file.stream_position().map_err(|e| e.to_string())?;
        let piece = (kind.rate / PIECES_A_SECOND) as usize;
        let resampler = resample::Stream::new(kind.rate, RATE, piece)?;
        Ok(Self {
            file,
            kind,
            start,
            promised,
            left: promised,
            looped,
            frames: 0,
            downmix: Downmix::new(kind.channels),
            skip: resampler.delay(),
            resampler,
            given: 0,
            ready: VecDeque::new(),
            bytes: vec![0; piece * kind.bytes * kind.channels],
            samples: Vec::with_capacity(piece * kind.channels),
            mono: Vec::with_capacity(piece),
            ended: false,
        })
    }

    /// Reads the next samples. Gives how many: fewer than fit in only at the end.
    ///
    /// # Errors
    /// If the file can't be read any further.
    pub fn read(&mut self, out: &mut [i16]) -> std::io::Result<usize> {
        while self.ready.len() < out.len() && !self.ended {
            self.read_piece()?;
        }
        let n = self.ready.len().min(out.len());
        out.iter_mut().zip(self.ready.drain(..n)).for_each(|(to, sample)| *to = sample);
        Ok(n)
    }

    /// Whether all of it has been given.
    pub fn ended(&self) -> bool {
        self.ended && self.ready.is_empty()
    }

    /// Gives nothing more.
    pub fn end(&mut self) {
        self.ended = true;
        self.ready.clear();
    }

    fn read_piece(&mut self) -> std::io::Result<()> {
        let wanted = self.bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let mut got = 0;
        while got < wanted {
            match self.file.read(self.bytes.get_mut(got..wanted).unwrap_or_default()) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        // A file may be shorter than it says.
        self.left = if got < wanted { 0 } else { self.left - got as u64 };
        let (kind, bytes) = (self.kind, self.bytes.get(..got).unwrap_or_default());
        self.samples.clear();
        let frames = bytes.chunks_exact(kind.bytes * kind.channels);
        self.samples.extend(frames.flat_map(|frame| frame.chunks_exact(kind.bytes)).map(|sample| kind.sample(sample)));
        self.mono.clear();
        self.downmix.mix(&self.samples, &mut self.mono);
        self.frames += self.mono.len() as u64;
        let ends = self.mono.is_empty() || self.left == 0;
        self.resample();
        if !ends {
        } else if self.looped && self.frames > 0 {
            self.file.seek(SeekFrom::Start(self.start))?;
            (self.left, self.frames) = (self.promised, 0);
        } else {
            self.finish();
        }
        Ok(())
    }

    fn resample(&mut self) {
        let Self { resampler, ready, skip, given, .. } = self;
        resampler.push(&self.mono, |out| {
            let skipped = out.len().min(*skip);
            *skip -= skipped;
            let out = out.get(skipped..).unwrap_or_default();
            *given += out.len() as u64;
            ready.extend(out.iter().map(|sample| resample::to_i16(*sample)));
        });
    }

    /// Has the resampler give what it holds back, as much as the file lasts.
    fn finish(&mut self) {
        let due = self.frames * u64::from(RATE) / u64::from(self.kind.rate);
        let pieces = 2 + self.resampler.delay() / (RATE / PIECES_A_SECOND) as usize;
        self.mono.clear();
        self.mono.resize((self.kind.rate / PIECES_A_SECOND) as usize, 0.0);
        for _ in 0..pieces {
            if self.given < due {
                self.resample();
            }
        }
        let excess = usize::try_from(self.given.saturating_sub(due)).unwrap_or(0);
        self.ready.truncate(self.ready.len().saturating_sub(excess));
        self.ended = true;
    }
}

/// Reads up to the first sample. Gives how samples are stored, and how many bytes of them are promised.
fn read_header(file: &mut BufReader<File>) -> Result<(Kind, u64), String> {
    let mut riff = [0; 12];
    let no_wav = "it is no WAV file";
    let no_samples = "there are no samples in it";
    file.read_exact(&mut riff).map_err(|_| no_wav)?;
    let [form @ .., _, _, _, _, _, _, _, _] = riff;
    if !(matches!(&form, b"RIFF" | b"RF64" | b"BW64") && riff.ends_with(b"WAVE")) {
        return Err(no_wav.to_owned());
    }
    let whole = u64::from(u32::from_le_bytes([riff[4], riff[5], riff[6], riff[7]])) + 8;
    let mut kind = None;
    let mut long = None;
    for _ in 0..MAX_CHUNKS {
        let mut head = [0; 8];
        match fill(file, &mut head)? {
            8 => {}
            // Nothing has been written behind the name.
            4.. if head.starts_with(b"data") => return Ok((kind.ok_or(no_samples)?, 0)),
            _ => return Err(no_samples.to_owned()),
        }
        let [name @ .., a, b, c, d] = head;
        let length = u32::from_le_bytes([a, b, c, d]);
        let mut read = 0;
        match &name {
            b"data" => {
                let kind = kind.ok_or("it does not say how its samples are stored")?;
                let there = file.get_ref().metadata().map_err(|e| e.to_string())?.len();
                // None at all is what a recorder writes first, unless the whole is just as long as it says.
                let promised = match (length, long) {
                    (u32::MAX, Some(long)) => long,
                    (length, _) => length.into(),
                };
                return Ok((kind, if promised == 0 && whole != there { u64::MAX } else { promised }));
            }
            b"ds64" => {
                // The length of the whole comes before that of the samples.
                let mut sizes = [0; 16];
                read = fill(file, sizes.get_mut(..16.min(length as usize)).unwrap_or_default())?;
                let [.., a, b, c, d, e, f, g, h] = sizes;
                long = Some(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
            }
            b"fmt " => {
                let mut format = [0; 26];
                read = fill(file, format.get_mut(..26.min(length as usize)).unwrap_or_default())?;
                kind = Some(Kind::read(&format)?);
            }
            _ => {}
        }
        // Chunks begin at even places.
        let rest = i64::from(length) - read as i64 + i64::from(length % 2);
        file.seek_relative(rest).map_err(|e| e.to_string())?;
    }
    Err(no_samples.to_owned())
}

/// Reads as much as there is. Gives how much.
fn fill(file: &mut impl Read, to: &mut [u8]) -> Result<usize, String> {
    let mut got = 0;
    while let Some(left) = to.get_mut(got..).filter(|left| !left.is_empty()) {
        match file.read(left) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.to_string()),
        }
    }
    Ok(got)
}

impl Kind {
    /// Reads `WAVEFORMATEX`, or as much as says something of `WAVEFORMATEXTENSIBLE`.
    fn read(format: &[u8; 26]) -> Result<Self, String> {
        const PCM: u16 = 1;
        const FLOAT: u16 = 3;
        const EXTENSIBLE: u16 = 0xfffe;
        let number = |at: usize| format.get(at..at + 2).map_or(0, |it| u16::from_le_bytes([it[0], it[1]]));
        let rate = u32::from(number(4)) | u32::from(number(6)) << 16;
        let (mut tag, channels) = (number(0), usize::from(number(2)));
        if tag == EXTENSIBLE {
            // The identifier of the format begins with what would be the tag.
            tag = number(24);
        }
        let bytes = usize::from(number(12)).checked_div(channels).unwrap_or(0);
        let known = matches!((tag, bytes), (PCM, 1..=4) | (FLOAT, 4));
        if !known || !RATES.contains(&rate) {
            let why = format!("format {tag} with {bytes} bytes a sample, {channels} channels, {rate} Hz");
            return Err(format!("{why} is not known here: convert it to 16-bit PCM"));
        }
        Ok(Self { rate, channels, bytes, float: tag == FLOAT })
    }

    fn sample(self, bytes: &[u8]) -> f32 {
        match *bytes {
            // 8 bits have no sign.
            [byte] => (f32::from(byte) - 128.0) / 128.0,
            [a, b] => resample::to_f32(i16::from_le_bytes([a, b])),
            // The bits that are used are the upper ones.
            [a, b, c] => i32::from_le_bytes([0, a, b, c]) as f32 / 2_147_483_648.0,
            [a, b, c, d] if !self.float => i32::from_le_bytes([a, b, c, d]) as f32 / 2_147_483_648.0,
            [a, b, c, d] => match f32::from_le_bytes([a, b, c, d]) {
                sample if sample.is_finite() => sample.clamp(-LOUDEST, LOUDEST),
                _ => 0.0,
            },
            _ => 0.0,
        }
    }
}

/// Reads a whole WAV file as 16 kHz mono.
///
/// # Errors
/// Why it can't be read: for one, if it is longer than an hour.
pub fn read_16k_mono(path: &Path) -> Result<Vec<i16>, String> {
    let fail = |why: &str| format!("{}: {why}", path.display());
    let mut reader = Reader::open(path, false)?;
    let (mut all, mut piece) = (Vec::new(), [0; RATE as usize]);
    loop {
        let n = reader.read(&mut piece).map_err(|e| fail(&e.to_string()))?;
        all.extend_from_slice(piece.get(..n).unwrap_or_default());
        if n < piece.len() {
            return Ok(all);
        }
        if all.len() > MAX_WHOLE {
            return Err(fail("it is longer than an hour: cut it"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use hound::{SampleFormat, WavSpec};

    use super::*;
    use crate::voice::testing::{level_db, sample};

    fn temporary(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("p2p-chat-read-{}-{name}.wav", std::process::id()))
    }

    /// Half of full scale, 500 Hz.
    fn wave(at: u32, rate: u32) -> f64 {
        0.5 * (f64::from(at) * 500.0 / f64::from(rate) * std::f64::consts::TAU).sin()
    }

    #[test]
    fn files_of_any_kind_are_read_as_loud_and_long_as_they_are() {
        for (n, (rate, channels, bits, format)) in [
            (8_000, 1, 8, SampleFormat::Int),
            (16_000, 1, 16, SampleFormat::Int),
            (44_100, 2, 16, SampleFormat::Int),
            (48_000, 2, 24, SampleFormat::Int),
            (96_000, 1, 32, SampleFormat::Int),
            (48_000, 6, 32, SampleFormat::Float),
            (12_345, 1, 16, SampleFormat::Int),
            (192_000, 2, 32, SampleFormat::Float),
        ]
        .into_iter()
        .enumerate()
        {
            let path = temporary(&format!("kind-{n}"));
            let spec = WavSpec { channels, sample_rate: rate, bits_per_sample: bits, sample_format: format };
            let mut writer = hound::WavWriter::create(&path, spec).expect("made");
            for at in 0..rate {
                for _ in 0..channels {
                    let sample = wave(at, rate);
                    match format {
                        SampleFormat::Float => writer.write_sample(sample as f32),
                        SampleFormat::Int => writer.write_sample((sample * (1_i64 << (bits - 1)) as f64) as i32),
                    }
                    .expect("written");
                }
            }
            writer.finalize().expect("closed");
            let read = read_16k_mono(&path).expect("read");
            assert_eq!(read.len(), 16_000, "{spec:?}");
            let level = level_db(&read[1000..15_000]);
            assert!((level + 9.03).abs() < 0.3, "{spec:?}: {level} dB");
            // Where it was, to a sample.
            let off = |n: u32| (f64::from(read[n as usize]) / 32768.0 - wave(n, 16_000)).abs();
            let worst = (200..15_800).map(off).fold(0.0, f64::max);
            assert!(worst < 0.12, "{spec:?}: {worst}");
            std::fs::remove_file(path).expect("removed");
        }
    }

    /// A header that says what it likes, and then samples.
    fn file_of(name: &str, promised: u32, samples: &[i16]) -> PathBuf {
        file_with(name, (&u32::MAX.to_le_bytes(), &[]), promised, samples)
    }

    fn file_with(name: &str, (whole, ds64): (&[u8; 4], &[u8]), promised: u32, samples: &[i16]) -> PathBuf {
        let path = temporary(name);
        let mut bytes = Vec::new();
        let form = if ds64.is_empty() { b"RIFF" } else { b"RF64" };
        for field in [&form[..], whole, b"WAVE", ds64, b"fmt ", &16_u32.to_le_bytes(), &[1, 0, 1, 0]] {
            bytes.extend_from_slice(field);
        }
        for field in [&RATE.to_le_bytes()[..], &(RATE * 2).to_le_bytes(), &[2, 0, 16, 0], b"data"] {
            bytes.extend_from_slice(field);
        }
        bytes.extend_from_slice(&promised.to_le_bytes());
        bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
        std::fs::write(&path, bytes).expect("written");
        path
    }

    #[test]
    fn a_header_that_promises_too_much_is_forgiven() {
        for promised in [u32::MAX, 0x7fff_ffff, 64_001] {
            let path = file_of("promise", promised, &[7; 20_000]);
            assert_eq!(read_16k_mono(&path), Ok(vec![7; 20_000]), "{promised}");
            std::fs::remove_file(path).expect("removed");
        }
    }

    #[test]
    fn a_header_that_promises_nothing_is_read_to_the_end_of_the_file() {
        for whole in [0, 36, u32::MAX] {
            let path = file_with("nothing", (&u32::to_le_bytes(whole), &[]), 0, &[7; 20_000]);
            assert_eq!(read_16k_mono(&path), Ok(vec![7; 20_000]), "{whole}");
            // Again and again.
            let mut reader = Reader::open(&path, true).expect("opens");
            assert_eq!(reader.read(&mut [0; 50_000]).expect("read"), 50_000);
            // Cut off in the header itself.
            let cut = |at| {
                std::fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(at)).expect("cut")
            };
            for at in [44, 43, 40] {
                cut(at);
                assert_eq!(read_16k_mono(&path), Ok(Vec::new()), "{at} bytes");
            }
            cut(39);
            assert!(read_16k_mono(&path).is_err());
            std::fs::remove_file(path).expect("removed");
        }
        // A file that is whole, and empty: what follows the samples is no sound.
        let path = file_of("empty", 0, &[]);
        let mut bytes = std::fs::read(&path).expect("read");
        bytes.splice(4..8, 36_u32.to_le_bytes());
        std::fs::write(&path, &bytes).expect("written");
        assert_eq!(read_16k_mono(&path), Ok(Vec::new()));
        bytes.splice(4..8, 48_u32.to_le_bytes());
        bytes.extend_from_slice(b"LIST\x04\0\0\0INFO");
        std::fs::write(&path, &bytes).expect("written");
        assert_eq!(read_16k_mono(&path), Ok(Vec::new()));
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn a_file_that_may_be_longer_than_4_gib_says_its_length_elsewhere() {
        let ds64 = |length: u64| {
            let sizes = [length + 72, length, length / 2].map(u64::to_le_bytes).concat();
            [&b"ds64"[..], &28_u32.to_le_bytes(), &sizes, &[0; 4]].concat()
        };
        for (length, samples) in [(40_000, 20_000), (20_000, 10_000), (0, 20_000), (u64::MAX - 72, 20_000)] {
            let path = file_with("rf64", (&u32::MAX.to_le_bytes(), &ds64(length)), u32::MAX, &[7; 20_000]);
            assert_eq!(read_16k_mono(&path), Ok(vec![7; samples]), "{length}");
            std::fs::remove_file(path).expect("removed");
        }
    }

    #[test]
    fn a_loop_has_no_seam_and_no_end_but_that_of_nothing() {
        let said = sample()[..4321].to_vec();
        let path = file_of("loop", 8642, &said);
        let mut reader = Reader::open(&path, true).expect("opens");
        let mut heard = vec![0; 10_000];
        assert_eq!(reader.read(&mut heard).expect("read"), 10_000);
        assert!(heard.iter().zip(said.iter().cycle()).all(|(heard, said)| heard == said));
        // It is cut off while it is read: what is left goes round.
        std::fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(44 + 200)).expect("cut");
        let mut heard = vec![0; 20_000];
        assert_eq!(reader.read(&mut heard).expect("read"), 20_000);
        assert_eq!(heard[19_000..19_100], heard[19_100..19_200]);
        std::fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(44)).expect("cut");
        assert!(reader.read(&mut heard).expect("read") < 20_000, "nothing goes round for ever");
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn floats_that_are_none_stay_where_they_are() {
        let path = temporary("nan");
        let spec =
            WavSpec { channels: 1, sample_rate: 48_000, bits_per_sample: 32, sample_format: SampleFormat::Float };
        let mut writer = hound::WavWriter::create(&path, spec).expect("made");
        for at in 0..48_000 {
            let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30];
            writer.write_sample(if at == 24_000 { odd[at % 4] } else { 0.25 }).expect("written");
        }
        writer.finalize().expect("closed");
        let read = read_16k_mono(&path).expect("read");
        assert!(read[100..7_900].iter().chain(&read[8_100..15_900]).all(|it| it.abs_diff(8192) < 100));
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn what_is_no_wav_file_says_so() {
        let path = temporary("none");
        assert!(read_16k_mono(&path).expect_err("absent").contains("p2p-chat-read"));
        for bytes in [&b""[..], b"RIFFxxxxWAVEnothing", b"RIFF", &[0; 100]] {
            std::fs::write(&path, bytes).expect("written");
            assert!(read_16k_mono(&path).is_err());
        }
        std::fs::remove_file(&path).expect("removed");
        std::fs::create_dir(&path).expect("made");
        assert!(read_16k_mono(&path).expect_err("a folder").contains("no file"));
        std::fs::remove_dir(path).expect("removed");
    }
}
