//! Concealment of gaps in PCM: the last pitch period again and again, in the manner of ITU-T G.711 appendix I, at 16 kHz.
//!
//! The voice's period is found by autocorrelation of what was played last. The longer the gap, the more periods take turns,
//! since one alone would buzz. From 10 ms on it fades, and is silent after 60 ms. What comes after the gap is faded in over
//! what would have been made up next.

use super::stretch::{best_lag, fade};

/// Samples of what was played that are remembered: three of the longest periods.
const HISTORY: usize = 720;
/// The shortest and the longest period, in samples: 400 to 66 Hz, as in G.711 appendix I.
const LAGS: std::ops::RangeInclusive<usize> = 40..=240;
/// Samples that are compared to find the period: 20 ms.
const WINDOW: usize = 320;
/// Below this likeness of two periods it is no voice, and a longer piece is repeated, so that noise does not hum. A guess.
const VOICED: f32 = 0.5;
/// The length that is repeated then, in samples: 15 ms.
const UNVOICED_LAG: usize = 240;
/// Samples at full level: 10 ms, as in G.711 appendix I.
const FULL: usize = 160;
/// Samples after which there is silence: 60 ms.
const SILENT: usize = 960;
/// Samples of the fade into what comes after: 5 ms.
const JOIN: usize = 80;

/// Remembers what was played, and makes up what is missing.
#[derive(Debug)]
pub struct Concealer {
    history: [i16; HISTORY],
    /// The piece that is repeated, smooth at its seams; empty outside a gap.
    piece: Vec<i16>,
    period: usize,
    at: usize,
    /// Samples made up in this gap.
    made: usize,
}

impl Concealer {
    /// One that has heard silence.
    pub fn new() -> Self {
        Self { history: [0; HISTORY], piece: Vec::with_capacity(HISTORY), period: 1, at: 0, made: 0 }
    }

    /// Takes note of samples that are played, made up or not.
    pub fn played(&mut self, samples: &[i16]) {
        let n = samples.len().min(HISTORY);
        self.history.copy_within(n.., 0);
        let from = samples.len() - n;
        if let (Some(end), Some(new)) = (self.history.get_mut(HISTORY - n..), samples.get(from..)) {
            end.copy_from_slice(new);
        }
    }

    /// Whether a gap is being filled.
    pub const fn is_filling(&self) -> bool {
        self.made > 0
    }

    /// Whether the gap is so long that there is silence now.
    pub const fn is_silent(&self) -> bool {
        self.made >= SILENT
    }

    /// The level of what is made up, now and so many samples on: 1 at first, 0 after 60 ms.
    pub fn level(&self, on: usize) -> f32 {
        let past = (self.made + on).saturating_sub(FULL) as f32;
        (1.0 - past / (SILENT - FULL) as f32).max(0.0)
    }

    /// Counts samples that another has made up, the codec itself; they are turned down as the gap grows.
    pub fn fade_made(&mut self, samples: &mut [i16]) {
        for (n, sample) in samples.iter_mut().enumerate() {
            *sample = (f32::from(*sample) * self.level(n)) as i16;
        }
        self.made += samples.len();
    }

    /// Makes up the next samples of a gap.
    pub fn fill(&mut self, out: &mut [i16]) {
        if self.piece.is_empty() {
            self.begin();
        }
        for (n, sample) in out.iter_mut().enumerate() {
            let level = self.level(n);
            *sample = (f32::from(self.next()) * level) as i16;
        }
        self.made += out.len();
    }

    /// The gap is over: fades what follows in over what would have been made up.
    pub fn join(&mut self, next: &mut [i16]) {
        if self.piece.is_empty() {
            self.begin();
        }
        let over = JOIN.min(next.len());
        for n in 0..over {
            let made = f32::from(self.next()) * self.level(n);
            if let Some(sample) = next.get_mut(n) {
                *sample = fade(made, f32::from(*sample), n, over);
            }
        }
        self.end();
    }

    /// The gap is over, and what follows fits by itself.
    pub fn end(&mut self) {
        self.piece.clear();
        (self.at, self.made) = (0, 0);
    }

    /// Finds the period, and takes the piece that is repeated: its first quarter period leads on from its end.
    fn begin(&mut self) {
        let recent = self.history.get(HISTORY - WINDOW - LAGS.end()..).unwrap_or_default();
        let (lag, likeness) = best_lag(recent, LAGS, WINDOW);
        self.period = if likeness >= VOICED { lag } else { UNVOICED_LAG };
        let length = self.period.min(HISTORY / 2);
        self.piece.clear();
        self.piece.extend_from_slice(self.history.get(HISTORY - length..).unwrap_or_default());
        // The seam: the piece's end fades into what came before its start, so that it goes round without a step.
        let over = length / 4;
        for n in 0..over {
            let at = length - over + n;
            let before = self.history.get(HISTORY - length - over + n).copied().unwrap_or_default();
            if let Some(sample) = self.piece.get_mut(at) {
                *sample = fade(f32::from(*sample), f32::from(before), n, over);
            }
        }
        self.at = 0;
    }

    fn next(&mut self) -> i16 {
        let sample = self.piece.get(self.at).copied().unwrap_or_default();
        self.at = (self.at + 1) % self.piece.len().max(1);
        sample
    }
}

impl Default for Concealer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voice::testing::{level_db, noise, tone};

    /// The largest step between two samples.
    fn step(samples: &[i16]) -> i32 {
        samples.windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max().unwrap_or_default()
    }

    #[test]
    fn a_tone_goes_on_through_a_gap() {
        let whole = tone(200.0, 10_000.0, 4000);
        let mut concealer = Concealer::new();
        concealer.played(&whole[..2000]);
        let mut made = [0; 160];
        concealer.fill(&mut made);
        let mut next: [i16; 320] = whole[2160..2480].try_into().expect("320");
        concealer.join(&mut next);
        let out = [&whole[1900..2000], &made[..], &next[..]].concat();
        let error: f64 = made.iter().zip(&whole[2000..]).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / 160.0;
        assert!(error.sqrt() < 1500.0, "{}", error.sqrt());
        assert!(step(&out) < 2 * step(&whole), "{} where the tone has {}", step(&out), step(&whole));
        assert!(!concealer.is_filling());
    }

    #[test]
    fn a_long_gap_fades_to_silence_by_60_ms() {
        let mut concealer = Concealer::new();
        concealer.played(&tone(150.0, 10_000.0, 1000));
        let mut made = [0; 1600];
        concealer.fill(&mut made);
        assert!(level_db(&made[..160]) > -16.0, "full at first");
        assert!(level_db(&made[400..560]) < level_db(&made[..160]) - 2.0);
        assert!(made[960..].iter().all(|sample| *sample == 0) && concealer.is_silent());
    }

    #[test]
    fn noise_and_silence_make_neither_clicks_nor_loudness() {
        for level in [0.0, 100.0, 20_000.0] {
            let mut concealer = Concealer::new();
            let before = noise(1, level, 1000);
            concealer.played(&before);
            let mut made = [0; 320];
            concealer.fill(&mut made);
            assert!(level_db(&made) < level_db(&before) + 2.0, "{level}");
        }
    }
}
