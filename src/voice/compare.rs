//! A comparison of the sound that came out with the sound that went in: delay, level, gaps, likeness.
//!
//! The two are laid over each other roughly, by their loudness over time; then each piece of speech of 0.2 s is looked for in
//! what came out around that place, by correlation. So a delay that changes is seen, and stretching does no harm. What is
//! measured is the wave itself: a codec that keeps it, as Opus does for speech, scores nearly as PCM does.

use std::ops::Range;

use super::{CHUNK, RATE};

/// Samples of a piece: 0.2 s, a syllable.
const PIECE: usize = 3200;
/// How far from the rough place a piece is looked for, in samples: 0.25 s.
const SEARCH: usize = 4000;
/// The same where somebody has said about where: 0.5 s, since that is only about.
const SEARCH_NEAR: usize = 8000;
/// One sample of so many is taken for the first search: 4 kHz holds the voice's pitch and its first formants.
const COARSE: usize = 4;
/// The pole of that filter: 1 - 2π 100 Hz / 16 kHz.
const HUM_POLE: f32 = 0.96;
/// Seconds of what was said that the rough place is found by, and how far it may lie off: bounds of the work.
const ROUGH_SECONDS: usize = 60;
/// A chunk so much below the loudest, in dB, is not counted as speech.
const SPEECH_BELOW: f64 = 35.0;
/// Sound below this level is never speech, in dB below full scale.
const SPEECH_LEAST: f64 = -55.0;
/// The share of a piece's chunks that are speech in a piece of speech.
const SPEECH_SHARE: f64 = 0.6;
/// From this likeness on a piece was found. Speech of another place has 0.3 or so.
const FOUND: f64 = 0.6;
/// A chunk that came out so much below what it should be, in dB, is missing.
const MISSING_BELOW: f64 = 25.0;
/// Missing chunks in a row that are a gap: 20 ms, an audio frame.
const GAP: usize = 4;
/// How much of the speech must have been found for the two to be the same.
const SAME_FOUND: f64 = 0.8;

/// A piece of speech, and where it was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Piece {
    /// Where it is in what went in, in seconds.
    pub at: f64,
    /// How much later it came out, in ms.
    pub delay_ms: f64,
    /// How like it is: the correlation, 0 to 1.
    pub likeness: f64,
}

impl Piece {
    /// Whether it was found: what is less like it is something else.
    pub fn is_found(&self) -> bool {
        self.likeness >= FOUND
    }
}

/// Speech that is missing in what came out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gap {
    /// Where it is in what went in, in seconds.
    pub at: f64,
    /// How long it is, in ms.
    pub ms: f64,
}

/// The result of a comparison.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comparison {
    /// The pieces of speech, in their order.
    pub pieces: Vec<Piece>,
    /// Where speech is missing.
    pub gaps: Vec<Gap>,
    /// How much louder speech came out than it went in, in dB. Not a number if no piece was found.
    pub level_db: f64,
}

impl Comparison {
    /// How much later what went in came out, in ms: the median of the pieces that were found, or of all if none was.
    pub fn delay_ms(&self) -> f64 {
        self.delay_quantile(0.5)
    }

    /// A quantile of the delays, 0 to 1, in ms; not a number if nothing was said.
    pub fn delay_quantile(&self, share: f64) -> f64 {
        let mut delays: Vec<f64> = self.found_pieces().map(|piece| piece.delay_ms).collect();
        if delays.is_empty() {
            delays.extend(self.pieces.iter().map(|piece| piece.delay_ms));
        }
        delays.sort_by(f64::total_cmp);
        let at = (delays.len().saturating_sub(1) as f64 * share.clamp(0.0, 1.0)).round() as usize;
        delays.get(at).copied().unwrap_or(f64::NAN)
    }

    /// The mean likeness of all pieces: 0 to 1.
    pub fn likeness(&self) -> f64 {
        self.pieces.iter().map(|piece| piece.likeness).sum::<f64>() / self.pieces.len().max(1) as f64
    }

    /// The share of the pieces that were found: 0 to 1.
    pub fn found(&self) -> f64 {
        self.found_pieces().count() as f64 / self.pieces.len().max(1) as f64
    }

    /// How long all gaps are together, in ms.
    pub fn missing_ms(&self) -> f64 {
        self.gaps.iter().map(|gap| gap.ms).sum()
    }

    /// Whether it is the same speech: four fifths of it were found.
    pub fn is_same(&self) -> bool {
        self.found() >= SAME_FOUND
    }

    fn found_pieces(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().filter(|piece| piece.is_found())
    }
}

/// Compares two recordings of 16 kHz. `None`: there is no speech in what went in.
pub fn compare(said: &[i16], heard: &[i16]) -> Option<Comparison> {
    measure(said, heard, None)
}

/// The same where it is known by about how many ms what came out lies behind. Among other voices loudness does not tell that.
pub fn compare_near(said: &[i16], heard: &[i16], delay_ms: f64) -> Option<Comparison> {
    measure(said, heard, Some((delay_ms * f64::from(RATE) / 1000.0).round() as isize))
}

fn measure(said: &[i16], heard: &[i16], near: Option<isize>) -> Option<Comparison> {
    let (said, heard) = (&without_hum(said)[..], &without_hum(heard)[..]);
    let (levels, came) = (levels(said), levels(heard));
    let loudest = levels.iter().copied().fold(f64::MIN, f64::max);
    let least = (loudest - SPEECH_BELOW).max(SPEECH_LEAST);
    let starts: Vec<usize> = (0..said.len() / PIECE)
        .map(|n| n * PIECE)
        .filter(|start| {
            let chunks = levels.get(start / CHUNK..(start + PIECE) / CHUNK).unwrap_or_default();
            let speech = chunks.iter().filter(|level| **level >= least).count();
            speech as f64 >= SPEECH_SHARE * (PIECE / CHUNK) as f64
        })
        .collect();
    if starts.is_empty() {
        return None;
    }
    let rough = near.unwrap_or_else(|| rough_place(&levels, &came, least) * CHUNK as isize);
    let around = if near.is_some() { SEARCH_NEAR } else { SEARCH };
    let range = rough - around as isize..rough + around as isize;
    let (said_coarse, heard_coarse) = (coarse(said), coarse(heard));
    let mut comparison = Comparison { level_db: f64::NAN, ..Comparison::default() };
    for start in &starts {
        let (lag, likeness) = find((said, &said_coarse), (heard, &heard_coarse), *start, &range);
        comparison.pieces.push(Piece {
            at: seconds(*start),
            delay_ms: lag as f64 * 1000.0 / f64::from(RATE),
            likeness,
        });
    }
    comparison.level_db = level_change(said, heard, &comparison);
    comparison.gaps = gaps(&levels, heard, &comparison, least);
    Some(comparison)
}

/// The part above 100 Hz or so, by a filter of one pole: a codec need not keep a hum or a constant, and neither is speech.
fn without_hum(samples: &[i16]) -> Vec<i16> {
    let (mut before, mut out) = (0.0, 0.0);
    let filtered = samples.iter().map(|sample| {
        let sample = f32::from(*sample);
        out = sample - before + HUM_POLE * out;
        before = sample;
        out as i16
    });
    filtered.collect()
}

/// How loud samples are, in dB below full scale (root mean square); -100 in silence.
pub fn level_db(samples: &[i16]) -> f64 {
    let power: f64 = samples.iter().map(|it| (f64::from(*it) / 32768.0).powi(2)).sum();
    10.0 * (power / samples.len().max(1) as f64 + 1e-10).log10()
}

/// The level of each 5 ms, in dB below full scale.
pub fn levels(samples: &[i16]) -> Vec<f64> {
    samples.chunks(CHUNK).map(level_db).collect()
}

fn seconds(samples: usize) -> f64 {
    samples as f64 / f64::from(RATE)
}

/// By how many chunks what came out lies behind, roughly: where loud meets loud.
fn rough_place(said: &[f64], heard: &[f64], least: f64) -> isize {
    let limit = ROUGH_SECONDS * RATE as usize / CHUNK;
    // Loudness over the least that is speech, so that silence counts for nothing.
    let over = |levels: &[f64]| levels.iter().map(|level| (level - least).max(0.0)).collect::<Vec<f64>>();
    let said = over(said.get(..said.len().min(limit)).unwrap_or_default());
    let heard = over(heard.get(..heard.len().min(2 * limit)).unwrap_or_default());
    let (mut best, mut most) = (0, 0.0);
    for lag in -(said.len() as isize)..heard.len() as isize {
        let (from, to) = (lag.min(0).unsigned_abs(), lag.max(0).unsigned_abs());
        let pairs = said.iter().skip(from).zip(heard.iter().skip(to));
        let (mut both, mut energy) = (0.0, 1.0);
        for (a, b) in pairs {
            both += a * b;
            energy += b * b;
        }
        let likeness = both / f64::sqrt(energy);
        if likeness > most {
            (best, most) = (lag, likeness);
        }
    }
    best
}

/// The samples at a quarter of the rate: means of four.
fn coarse(samples: &[i16]) -> Vec<f32> {
    samples.chunks(COARSE).map(|part| part.iter().map(|it| f32::from(*it)).sum::<f32>() / part.len() as f32).collect()
}

/// Looks for the piece at `start`, so many samples behind. Gives by how many it lies behind, and how like it is.
fn find(said: (&[i16], &[f32]), heard: (&[i16], &[f32]), start: usize, range: &Range<isize>) -> (isize, f64) {
    let piece = said.1.get(start / COARSE..(start + PIECE) / COARSE).unwrap_or_default();
    let (first, last) = (range.start / COARSE as isize, range.end / COARSE as isize);
    let (near, _) = best_lag(first..last, |lag| {
        let from = usize::try_from((start / COARSE) as isize + lag).ok()?;
        Some(likeness(piece.iter().copied(), heard.1.get(from..from + piece.len())?.iter().copied()))
    })
    .unwrap_or((i64::midpoint(first as i64, last as i64) as isize, 0.0));
    let piece = said.0.get(start..start + PIECE).unwrap_or_default();
    let near = near * COARSE as isize;
    let fine = near - 2 * COARSE as isize..near + 2 * COARSE as isize + 1;
    let found = best_lag(fine, |lag| {
        let from = usize::try_from(start as isize + lag).ok()?;
        let there = heard.0.get(from..from + PIECE)?;
        Some(likeness(piece.iter().map(|it| f32::from(*it)), there.iter().map(|it| f32::from(*it))))
    });
    let (lag, likeness) = found.unwrap_or((near, 0.0));
    (lag, likeness.max(0.0))
}

fn best_lag(lags: Range<isize>, likeness: impl Fn(isize) -> Option<f64>) -> Option<(isize, f64)> {
    lags.filter_map(|lag| Some((lag, likeness(lag)?))).max_by(|a, b| a.1.total_cmp(&b.1))
}

/// Normalised correlation.
fn likeness(a: impl Iterator<Item = f32>, b: impl Iterator<Item = f32>) -> f64 {
    let (mut ab, mut aa, mut bb) = (0.0_f32, 0.0_f32, 0.0_f32);
    for (a, b) in a.zip(b) {
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    // As f64: the product of two powers of full scale is beyond what f32 holds.
    let of = (f64::from(aa) * f64::from(bb)).sqrt();
    if of > 0.0 { f64::from(ab) / of } else { 0.0 }
}

/// The samples that came out for those from `start` to `end`, if they did.
fn came_for(heard: &[i16], start: usize, length: usize, delay_ms: f64) -> Option<&[i16]> {
    let lag = (delay_ms * f64::from(RATE) / 1000.0).round() as isize;
    let from = usize::try_from(start as isize + lag).ok()?;
    heard.get(from..from + length)
}

fn level_change(said: &[i16], heard: &[i16], comparison: &Comparison) -> f64 {
    let changes = comparison.found_pieces().filter_map(|piece| {
        let start = (piece.at * f64::from(RATE)).round() as usize;
        Some(level_db(came_for(heard, start, PIECE, piece.delay_ms)?) - level_db(said.get(start..start + PIECE)?))
    });
    let mut changes: Vec<f64> = changes.collect();
    changes.sort_by(f64::total_cmp);
    changes.get(changes.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Runs of chunks that should be speech and came out as next to nothing.
fn gaps(levels: &[f64], heard: &[i16], comparison: &Comparison, least: f64) -> Vec<Gap> {
    let change = if comparison.level_db.is_nan() { 0.0 } else { comparison.level_db };
    let usual = comparison.delay_ms();
    let mut pieces = comparison.pieces.iter().peekable();
    let (mut gaps, mut run, mut delay) = (Vec::new(), 0, usual);
    for (n, level) in levels.iter().chain([&f64::MIN]).enumerate() {
        while let Some(piece) = pieces.next_if(|piece| piece.at <= seconds(n * CHUNK)) {
            delay = if piece.is_found() { piece.delay_ms } else { usual };
        }
        let came = || came_for(heard, n * CHUNK, CHUNK, delay).map_or(f64::MIN, level_db);
        if *level >= least && came() < level + change - MISSING_BELOW {
            run += 1;
            continue;
        }
        if run >= GAP {
            gaps.push(Gap { at: seconds((n - run) * CHUNK), ms: (run * CHUNK) as f64 * 1000.0 / f64::from(RATE) });
        }
        run = 0;
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voice::testing::{noise, sample};

    fn behind(samples: usize, said: &[i16]) -> Vec<i16> {
        [&vec![0; samples][..], said, &[0; 16_000]].concat()
    }

    #[test]
    fn delay_and_level_are_found_to_the_sample() {
        let said = sample();
        for delay in [0, 1, 333, 16_000, 100_000] {
            let heard: Vec<i16> = behind(delay, &said).iter().map(|it| it / 2).collect();
            let comparison = compare(&said, &heard).expect("speech");
            assert!((comparison.delay_ms() - delay as f64 / 16.0).abs() < 0.01, "{delay}: {}", comparison.delay_ms());
            assert!((comparison.level_db + 6.02).abs() < 0.1, "{}", comparison.level_db);
            assert!(comparison.likeness() > 0.99 && comparison.is_same());
            assert_eq!(comparison.gaps, []);
        }
        // What is left of the start is found where it is: a negative delay.
        let comparison = compare(&said, &said[8000..]).expect("speech");
        assert!((comparison.delay_ms() + 500.0).abs() < 0.01);
    }

    #[test]
    fn gaps_are_found_with_their_length() {
        let said = sample();
        let mut heard = behind(800, &said);
        let loud = levels(&said).iter().position(|level| *level > -20.0).expect("speech") * CHUNK;
        heard[800 + loud..][..960].fill(0);
        let comparison = compare(&said, &heard).expect("speech");
        let [gap] = comparison.gaps[..] else { panic!("{:?}", comparison.gaps) };
        assert!((gap.ms - 60.0).abs() <= 10.0 && (gap.at - loud as f64 / 16_000.0).abs() < 0.01, "{gap:?}");
        assert!(comparison.is_same());
    }

    #[test]
    fn something_else_is_not_the_same() {
        let said = sample();
        let backwards: Vec<i16> = said.iter().rev().copied().collect();
        for other in [noise(1, 8000.0, said.len()), backwards, vec![0; said.len()], Vec::new()] {
            let comparison = compare(&said, &other).expect("speech");
            assert!(!comparison.is_same() && comparison.found() < 0.3, "{}", comparison.found());
        }
        assert_eq!(compare(&[0; 20_000], &said), None, "nothing was said");
        assert_eq!(compare(&[], &said), None);
    }

    #[test]
    fn a_voice_is_found_among_others_where_it_should_be() {
        let said = sample();
        // The same words, later and backwards, as loud as the first ones; they overlap by half.
        let other: Vec<i16> = said.iter().rev().copied().collect();
        let both = [&vec![0; 8000][..], &said, &vec![0; said.len()]].concat();
        let shift = 8000 + said.len() / 2;
        let mix = both.iter().enumerate().map(|(n, it)| {
            it.saturating_add(n.checked_sub(shift).and_then(|at| other.get(at)).copied().unwrap_or_default())
        });
        let mix: Vec<i16> = mix.collect();
        let found = |said: &[i16], near| compare_near(said, &mix, near).map(|it| it.found()).unwrap_or_default();
        assert!(found(&said, 600.0) > 0.5, "{}", found(&said, 600.0));
        assert!(found(&other, shift as f64 / 16.0 - 100.0) > 0.5);
        assert!(found(&other, 600.0) < 0.3 && found(&said, 2000.0) < 0.3);
    }

    #[test]
    fn hum_and_constants_are_no_speech() {
        let said = sample();
        let hum = crate::voice::testing::tone(50.0, 500.0, said.len());
        let humming: Vec<i16> =
            said.iter().zip(&hum).map(|(a, b)| (a / 2).saturating_add(*b).saturating_add(2000)).collect();
        for (said, heard) in [(&said, &humming), (&humming, &said)] {
            let comparison = compare(said, heard).expect("speech");
            assert!(comparison.is_same() && comparison.likeness() > 0.8, "{}", comparison.likeness());
            assert!(comparison.delay_ms().abs() < 0.1, "{}", comparison.delay_ms());
        }
    }

    #[test]
    fn a_delay_that_changes_is_seen() {
        let said = sample();
        let half = said.len() / 2;
        let heard = [&[0; 320][..], &said[..half], &[0; 800], &said[half..]].concat();
        let comparison = compare(&said, &heard).expect("speech");
        assert!((comparison.delay_quantile(0.1) - 20.0).abs() < 0.1, "{}", comparison.delay_quantile(0.1));
        assert!((comparison.delay_quantile(0.9) - 70.0).abs() < 0.1, "{}", comparison.delay_quantile(0.9));
    }
}
