//! Two recordings beside each other: lengths, peaks and envelopes for drawing, and the figures in words.

use crate::voice::RATE;
use crate::voice::compare::Comparison;

/// Two recordings, and the result of measuring.
#[derive(Debug)]
pub struct Pair {
    /// The speech as it was said, 16 kHz.
    pub said: Vec<i16>,
    /// The speech as it was heard.
    pub heard: Vec<i16>,
    /// The result of measuring.
    pub found: Comparison,
    /// This much is taken off the delay, in ms.
    pub offset_ms: f64,
    /// The share of the pieces that must be found for it to be the same speech.
    pub least: f64,
}

impl Pair {
    /// Whether it is the same speech.
    pub fn is_same(&self) -> bool {
        self.found.found() >= self.least
    }

    /// How long the saying took, in seconds.
    pub fn seconds(&self) -> f64 {
        seconds(self.said.len())
    }

    /// The part heard of a stretch of what was said, the delay taken off; cut where the recording is.
    pub fn heard_of(&self, from: usize, to: usize) -> &[i16] {
        let delay = self.found.delay_ms();
        let lag = if delay.is_nan() { 0.0 } else { delay * f64::from(RATE) / 1000.0 };
        let at = |sample: usize| ((sample as f64 + lag).round().max(0.0) as usize).min(self.heard.len());
        self.heard.get(at(from)..at(to)).unwrap_or_default()
    }

    /// The loudest sample of both, 1 at least.
    pub fn peak(&self) -> f64 {
        let heard = self.heard_of(0, self.said.len());
        let peak = self.said.iter().chain(heard).map(|it| it.unsigned_abs()).max().unwrap_or_default();
        f64::from(peak.max(1))
    }

    /// The figures in words, a few to a piece of text.
    pub fn words(&self) -> Vec<String> {
        let found = &self.found;
        let delay = |share| found.delay_quantile(share) - self.offset_ms;
        let gaps = match found.gaps.len() {
            0 => "no gaps".to_owned(),
            1 => format!("1 gap of {:.0} ms", found.missing_ms()),
            n => format!("{n} gaps, {:.0} ms in all", found.missing_ms()),
        };
        let count = found.pieces.len();
        let heard = (found.found() * count as f64).round();
        let mut words = vec![format!("{heard} of {count} pieces of speech found"), gaps];
        if heard > 0.0 {
            words.extend([
                format!("likeness {:.2}", found.likeness()),
                format!("level {:+.1} dB", found.level_db).replace('-', "−"),
                format!("delay {:.0} ms ({:.0} to {:.0})", delay(0.5), delay(0.05), delay(0.95)).replace('-', "−"),
            ]);
        }
        words
    }
}

/// The extremes of each of `columns` parts of what was said, and of what was heard of each: shares of the peak.
pub fn envelopes(pair: &Pair, columns: usize) -> [Vec<(f64, f64)>; 2] {
    let peak = pair.peak();
    let extremes = |samples: &[i16]| {
        let (low, high) = samples.iter().fold((0, 0), |(low, high), it| (low.min(*it), high.max(*it)));
        (f64::from(low) / peak, f64::from(high) / peak)
    };
    let edge = |n: usize| n * pair.said.len() / columns.max(1);
    let parts = || (0..columns).map(|n| (edge(n), edge(n + 1)));
    [
        parts().map(|(from, to)| extremes(pair.said.get(from..to).unwrap_or_default())).collect(),
        parts().map(|(from, to)| extremes(pair.heard_of(from, to))).collect(),
    ]
}

/// How many seconds lie between the marks of a time axis, so that there are twelve at most.
pub fn axis_step(seconds: f64) -> f64 {
    let steps = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0];
    steps.into_iter().find(|step| seconds / step <= 12.0).unwrap_or(600.0)
}

/// How long so many samples last.
pub fn seconds(samples: usize) -> f64 {
    samples as f64 / f64::from(RATE)
}

/// Rounds to so many parts of one.
pub fn round(number: f64, parts: f64) -> f64 {
    // So that there is no negative zero.
    (number * parts).round() / parts + 0.0
}
