//! Time stretching: a frame made shorter or longer by a piece that the ear does not miss (WSOLA, Verhelst and Roelands 1993).
//!
//! A piece as long as a period of the voice is cut out, or said twice, with a cross-fade where the wave is most like itself. So
//! pitch stays, and nothing clicks. Where nothing is alike enough nothing is done, and the next frame is tried.

use std::ops::RangeInclusive;

use super::{FRAME, Frame};

/// The shortest and the longest piece in samples: 2 to 10 ms, the periods of 500 to 100 Hz.
pub const PIECES: RangeInclusive<usize> = 32..=160;
/// Samples that are compared: 10 ms.
const WINDOW: usize = 160;
/// How alike a piece and the next must be when there is little to make good, and when there is much. Guesses, by the standards
/// of the field: NetEQ takes 0.9 to shorten, 0.7 when in a hurry.
const ALIKE: (f32, f32) = (0.8, 0.2);
/// The delays that count as little and as much: 10 and 60 ms, in µs.
const MUCH: (f32, f32) = (10_000.0, 60_000.0);

/// How alike a piece and the next must be, with so many µs to make good: nothing is spoilt for little, and nothing goes on for
/// ever.
pub fn alike(micros: i64) -> f32 {
    let share = (micros as f32 - MUCH.0) / (MUCH.1 - MUCH.0);
    ALIKE.0 + (ALIKE.1 - ALIKE.0) * share.clamp(0.0, 1.0)
}

/// No likeness is too little.
pub const ANYTHING: f32 = -1.0;
/// How fast the background rises where all is louder, a frame: 2 dB a second. A guess.
const RISE: f32 = 1.01;
/// The least power, in samples squared, that there is: -56 dB below full scale.
const SILENCE: f32 = 50.0 * 50.0;
/// Sound with less than this times the background's power is nothing but background: 6 dB. A guess.
const OVER: f32 = 4.0;

/// The noise that a voice speaks before, by the least power of late. Where there is nothing else, a piece of it more or less
/// is not missed, however unlike it is.
#[derive(Debug, Default)]
pub struct Background {
    least: f32,
    now: f32,
}

impl Background {
    /// The next frame.
    pub fn heard(&mut self, frame: &Frame) {
        self.now = frame.iter().map(|sample| f32::from(*sample).powi(2)).sum::<f32>() / FRAME as f32;
        self.least = self.now.min(self.least * RISE).max(SILENCE);
    }

    /// Whether that frame was nothing else.
    pub fn is_all(&self) -> bool {
        self.now < self.least * OVER
    }
}

/// Cuts a piece of at most `most` samples out of `pcm`, if there is one that is not missed. Gives how many went. `alike`: how
/// alike the piece and the next must be, 1 being the same.
pub fn shorten(pcm: &mut Vec<i16>, most: usize, alike: f32) -> usize {
    let Some(lag) = piece(pcm, most, alike) else { return 0 };
    // From the front on: what is fades into what is one piece later.
    let over = WINDOW.min(pcm.len() - lag);
    for n in 0..over {
        let later = pcm.get(n + lag).copied().unwrap_or_default();
        if let Some(sample) = pcm.get_mut(n) {
            *sample = fade(f32::from(*sample), f32::from(later), n, over);
        }
    }
    pcm.drain(over..over + lag);
    lag
}

/// Says a piece of at most `most` samples of `pcm` twice, if there is one that is not noticed. Gives how many were
/// added.
pub fn lengthen(pcm: &mut Vec<i16>, most: usize, alike: f32) -> usize {
    let Some(lag) = piece(pcm, most, alike) else { return 0 };
    let over = WINDOW.min(pcm.len() - lag);
    let old: Vec<i16> = pcm.clone();
    pcm.truncate(lag);
    let sample = |at: usize| f32::from(old.get(at).copied().unwrap_or_default());
    // The piece's successor fades into the piece itself, which then goes on as it did.
    pcm.extend((0..over).map(|n| fade(sample(n + lag), sample(n), n, over)));
    pcm.extend_from_slice(old.get(over..).unwrap_or_default());
    lag
}

/// The best length of a piece at the front of `pcm`.
fn piece(pcm: &[i16], most: usize, alike: f32) -> Option<usize> {
    let longest = most.min(*PIECES.end()).min(pcm.len().checked_sub(WINDOW)?);
    if longest < *PIECES.start() {
        return None;
    }
    let (lag, likeness) = best_lag_ahead(pcm, *PIECES.start()..=longest);
    (likeness >= alike).then_some(lag)
}

/// The lag at which the front of `pcm` is most like what follows, and how like: 1 is the same.
fn best_lag_ahead(pcm: &[i16], lags: RangeInclusive<usize>) -> (usize, f32) {
    let front = pcm.get(..WINDOW).unwrap_or_default();
    search(lags, |lag| likeness(front, pcm.get(lag..lag + WINDOW).unwrap_or_default()))
}

/// The lag at which the last `window` samples are most like what came before them, and how like. `pcm` must reach back
/// by the longest lag and the window.
pub fn best_lag(pcm: &[i16], lags: RangeInclusive<usize>, window: usize) -> (usize, f32) {
    let end = pcm.len().saturating_sub(window);
    let last = pcm.get(end..).unwrap_or_default();
    search(lags, |lag| match end.checked_sub(lag) {
        Some(start) => likeness(last, pcm.get(start..start + window).unwrap_or_default()),
        None => 0.0,
    })
}

/// Looks at every fourth lag, then at those around the best.
fn search(lags: RangeInclusive<usize>, likeness: impl Fn(usize) -> f32) -> (usize, f32) {
    let better = |best: (usize, f32), lag: usize| {
        let found = likeness(lag);
        if found > best.1 { (lag, found) } else { best }
    };
    let coarse = lags.clone().step_by(4).fold((*lags.start(), f32::MIN), better);
    let around = coarse.0.saturating_sub(3).max(*lags.start())..=(coarse.0 + 3).min(*lags.end());
    around.fold(coarse, better)
}

/// Normalised cross-correlation, of every other sample.
fn likeness(a: &[i16], b: &[i16]) -> f32 {
    let (mut ab, mut aa, mut bb) = (0.0_f32, 0.0_f32, 0.0_f32);
    for (a, b) in a.iter().step_by(2).zip(b.iter().step_by(2)) {
        let (a, b) = (f32::from(*a), f32::from(*b));
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    if aa * bb > 0.0 { ab / (aa * bb).sqrt() } else { 0.0 }
}

/// The `n`th of `of` steps from one signal to another.
pub fn fade(from: f32, to: f32, n: usize, of: usize) -> i16 {
    let share = (n as f32 + 0.5) / of.max(1) as f32;
    (from + (to - from) * share) as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voice::testing::{noise, sample, tone};

    /// Upward crossings of zero a second.
    fn pitch(samples: &[i16]) -> f64 {
        let crossings = samples.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
        crossings as f64 * 16_000.0 / samples.len() as f64
    }

    fn step(samples: &[i16]) -> i32 {
        samples.windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max().unwrap_or_default()
    }

    #[test]
    fn pitch_stays_and_nothing_clicks() {
        for hz in [110.0, 200.0, 317.0, 440.0] {
            let whole = tone(hz, 10_000.0, FRAME * 100);
            for change in [shorten, lengthen] {
                let (mut out, mut changed) = (Vec::new(), 0);
                for frame in whole.chunks(FRAME) {
                    let mut frame = frame.to_vec();
                    changed += change(&mut frame, 160, ALIKE.0);
                    out.extend(frame);
                }
                assert!(changed > 1000, "{hz} Hz: {changed} samples");
                assert_eq!(out.len().abs_diff(whole.len()), changed);
                assert!((pitch(&out) - hz).abs() < hz * 0.02, "{hz} Hz became {}", pitch(&out));
                assert!(step(&out) < step(&whole) * 3 / 2, "{hz} Hz: a step of {}", step(&out));
            }
        }
    }

    #[test]
    fn the_more_there_is_to_make_good_the_more_often_speech_is_stretched() {
        let said = sample();
        let share = |micros: i64| {
            let stretched = said.chunks_exact(FRAME).filter(|it| shorten(&mut it.to_vec(), 160, alike(micros)) > 0);
            stretched.count() as f64 / (said.len() / FRAME) as f64
        };
        let shares = [5_000, 30_000, 100_000].map(share);
        assert!(shares[0] > 0.2 && shares[1] > shares[0] && shares[2] > 0.75, "{shares:?}");
    }

    #[test]
    fn background_is_told_from_speech() {
        let (mut background, quiet) = (Background::default(), noise(1, 500.0, FRAME));
        let quiet: Frame = quiet.try_into().expect("a frame");
        let loud: Frame = tone(200.0, 8_000.0, FRAME).try_into().expect("a frame");
        (0..300).for_each(|_| background.heard(&quiet));
        assert!(background.is_all());
        for _ in 0..50 {
            background.heard(&loud);
            assert!(!background.is_all(), "a second of speech");
        }
        background.heard(&quiet);
        assert!(background.is_all());
    }

    #[test]
    fn no_length_makes_it_panic() {
        for length in 0..400 {
            for most in [0, 31, 32, 160, 1000] {
                for alike in [ANYTHING, ALIKE.1, ALIKE.0] {
                    let mut pcm = tone(150.0, 9000.0, length);
                    let cut = shorten(&mut pcm, most, alike);
                    assert_eq!(pcm.len() + cut, length);
                    assert!(cut <= most);
                    let added = lengthen(&mut pcm, most, alike);
                    assert_eq!(pcm.len(), length - cut + added);
                }
            }
        }
    }
}
