//! Sounds and measures for the tests of voice.

pub use super::compare::level_db;
use super::{FRAME, Frame, RATE};

/// Something like speech: syllables of voiced sound with falling pitch and moving formants, and a pause now and then.
pub fn babble(frames: usize) -> Vec<Frame> {
    let mut out = vec![[0; FRAME]; frames];
    let mut phase = 0.0_f64;
    for (n, sample) in out.as_flattened_mut().iter_mut().enumerate() {
        let t = n as f64 / f64::from(RATE);
        // A syllable lasts 0.2 s, a phrase 1.6 s, the last 0.3 s of which are silent.
        let (syllable, phrase) = (t % 0.2 / 0.2, t % 1.6);
        let pitch = 140.0 - 30.0 * (phrase / 1.6) + 10.0 * (t * 2.0).sin();
        phase += pitch / f64::from(RATE);
        let formant = 500.0 + 300.0 * (t * 3.1).sin();
        let voiced: f64 = (1..30)
            .map(|k| {
                let f = pitch * f64::from(k);
                let near =
                    1.0 / (1.0 + ((f - formant) / 120.0).powi(2)) + 0.3 / (1.0 + ((f - 2.3 * formant) / 200.0).powi(2));
                near * (phase * f64::from(k) * std::f64::consts::TAU).sin()
            })
            .sum();
        let envelope = (syllable * std::f64::consts::PI).sin().powf(0.5) * f64::from(u8::from(phrase < 1.3));
        *sample = (voiced * envelope * 5000.0).clamp(-30_000.0, 30_000.0) as i16;
    }
    out
}

/// A tone, `level` being its peak.
pub fn tone(hz: f64, level: f64, samples: usize) -> Vec<i16> {
    let step = hz / f64::from(RATE) * std::f64::consts::TAU;
    (0..samples).map(|n| (level * (n as f64 * step).sin()) as i16).collect()
}

/// Seeded white noise, `level` being its peak.
pub fn noise(seed: u64, level: f64, samples: usize) -> Vec<i16> {
    use rand_chacha::rand_core::{Rng, SeedableRng};
    let mut chance = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    (0..samples).map(|_| ((f64::from(chance.next_u32()) / f64::from(u32::MAX) * 2.0 - 1.0) * level) as i16).collect()
}

/// The sample of real words that the tests and demos speak: 16 kHz, mono.
pub fn sample() -> Vec<i16> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/speech.wav");
    let mut reader = hound::WavReader::open(path).expect("the sample");
    reader.samples::<i16>().map(|sample| sample.expect("a sample")).collect()
}
