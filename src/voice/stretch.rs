//! Time stretching: a frame made shorter or longer by a piece that the ear does not miss (WSOLA, Verhelst and Roelands 1993).
//!
//! A piece as long as a period of the voice is cut out, or said twice, with a cross-fade where the wave is most like itself. So
//! pitch stays, and nothing clicks. Where nothing is alike enough nothing is done, and the next frame is tried.

use std::ops::RangeInclusive;

/// The shortest and the longest piece in samples: 2 to 10 ms, the periods of 500 to 100 Hz.
pub const PIECES: RangeInclusive<usize> = 32..=160;
/// Samples that are compared: 10 ms.
const WINDOW: usize = 160;
/// How alike a piece and the next must be. A guess, by ear's standards of the field: NetEQ takes 0.9 to shorten, 0.7 when in
/// a hurry.
const ALIKE: f32 = 0.8;
/// The same when there is much to make good.
const ALIKE_IN_HURRY: f32 = 0.4;
/// Mean power, in samples squared, below which anything goes: about -50 dB below full scale.
const QUIET: f32 = 100.0 * 100.0;

/// Cuts a piece of at most `most` samples out of `pcm`, if there is one that is not missed. Gives how many went.
pub fn shorten(pcm: &mut Vec<i16>, most: usize, hurry: bool) -> usize {
    let Some(lag) = piece(pcm, most, hurry) else { return 0 };
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

/// Says a piece of at most `most` samples of `pcm` twice, if there is one that is not noticed. Gives how many were added.
pub fn lengthen(pcm: &mut Vec<i16>, most: usize, hurry: bool) -> usize {
    let Some(lag) = piece(pcm, most, hurry) else { return 0 };
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
fn piece(pcm: &[i16], most: usize, hurry: bool) -> Option<usize> {
    let longest = most.min(*PIECES.end()).min(pcm.len().checked_sub(WINDOW)?);
    if longest < *PIECES.start() {
        return None;
    }
    let power = pcm.iter().map(|sample| f32::from(*sample).powi(2)).sum::<f32>() / pcm.len() as f32;
    if power < QUIET {
        return Some(longest);
    }
    let (lag, likeness) = best_lag_ahead(pcm, *PIECES.start()..=longest);
    (likeness >= if hurry { ALIKE_IN_HURRY } else { ALIKE }).then_some(lag)
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
    use crate::voice::FRAME;
    use crate::voice::testing::{sample, tone};

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
                    changed += change(&mut frame, 160, false);
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
    fn speech_can_be_stretched_often_enough() {
        let (mut tries, mut done) = (0, 0);
        for frame in sample().chunks_exact(FRAME) {
            let mut shorter = frame.to_vec();
            tries += 1;
            done += usize::from(shorten(&mut shorter, 160, false) > 0);
        }
        assert!(done * 3 > tries, "{done} of {tries}");
    }

    #[test]
    fn no_length_makes_it_panic() {
        for length in 0..400 {
            for most in [0, 31, 32, 160, 1000] {
                for hurry in [false, true] {
                    let mut pcm = tone(150.0, 9000.0, length);
                    let cut = shorten(&mut pcm, most, hurry);
                    assert_eq!(pcm.len() + cut, length);
                    assert!(cut <= most);
                    let added = lengthen(&mut pcm, most, hurry);
                    assert_eq!(pcm.len(), length - cut + added);
                }
            }
        }
    }
}
