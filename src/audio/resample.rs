//! Any rate to 16 kHz, and 16 kHz to any: `rubato`'s windowed sinc.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Async, FixedAsync, Resampler, SincInterpolationParameters, SincInterpolationType, WindowFunction};

/// Length of the sinc in samples of the lower rate: 2 ms of delay at 16 kHz, and flat to 6.5 kHz.
const SINC: usize = 64;

/// Resamples one channel, a piece at a time.
pub struct Stream {
    resampler: Option<Async<f32>>,
    /// Samples that are not enough for a piece yet.
    waiting: Vec<f32>,
    out: Vec<f32>,
    piece: usize,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("piece", &self.piece).finish_non_exhaustive()
    }
}

impl Stream {
    /// From one rate to another, in pieces of `piece` samples of the first.
    ///
    /// # Errors
    /// If the library can't do it.
    pub fn new(from: u32, to: u32, piece: usize) -> Result<Self, String> {
        let resampler = match from == to {
            true => None,
            false => Some(sinc(from, to, piece)?),
        };
        let out = vec![0.0; resampler.as_ref().map_or(0, Resampler::output_frames_max)];
        Ok(Self { resampler, waiting: Vec::with_capacity(2 * piece), out, piece })
    }

    /// By how many samples what comes out lies behind.
    pub fn delay(&self) -> usize {
        self.resampler.as_ref().map_or(0, Resampler::output_delay)
    }

    /// Resamples what it is given, and hands on what comes out.
    pub fn push(&mut self, samples: &[f32], mut take: impl FnMut(&[f32])) {
        let Some(resampler) = &mut self.resampler else { return take(samples) };
        self.waiting.extend_from_slice(samples);
        let mut used = 0;
        while let Some(piece) = self.waiting.get(used..used + self.piece) {
            let room = self.out.len();
            let done = InterleavedSlice::new(piece, 1, self.piece).ok().and_then(|from| {
                let mut to = InterleavedSlice::new_mut(&mut self.out, 1, room).ok()?;
                resampler.process_into_buffer(&from, &mut to, None).ok()
            });
            if let Some((_, made)) = done {
                take(self.out.get(..made).unwrap_or_default());
            }
            used += self.piece;
        }
        self.waiting.drain(..used);
    }
}

fn sinc(from: u32, to: u32, piece: usize) -> Result<Async<f32>, String> {
    let parameters = SincInterpolationParameters {
        sinc_len: SINC * usize::try_from(from.div_ceil(to.max(1))).unwrap_or(1).clamp(1, 16),
        f_cutoff: None,
        oversampling_factor: 128,
        interpolation: SincInterpolationType::Linear,
        window: WindowFunction::Hann2,
    };
    let ratio = f64::from(to) / f64::from(from);
    Async::new_sinc(ratio, 1.0, &parameters, piece, 1, FixedAsync::Input).map_err(|e| e.to_string())
}

/// To 16 bits.
pub fn to_i16(sample: f32) -> i16 {
    // `as` saturates, and takes what is no number for 0.
    (sample * 32768.0) as i16
}

/// From 16 bits.
pub fn to_f32(sample: i16) -> f32 {
    f32::from(sample) / 32768.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(samples: &[f32], from: u32, to: u32) -> Vec<f32> {
        let mut stream = Stream::new(from, to, (from / 100) as usize).expect("made");
        let mut out = Vec::new();
        stream.push(samples, |piece| out.extend_from_slice(piece));
        out.split_off(stream.delay().min(out.len()))
    }

    fn tone(hz: f64, rate: u32, samples: usize) -> Vec<f32> {
        (0..samples).map(|n| (0.5 * (n as f64 * hz / f64::from(rate) * std::f64::consts::TAU).sin()) as f32).collect()
    }

    /// Upward crossings of zero a second.
    fn pitch(samples: &[f32], rate: u32) -> f64 {
        let crossings = samples.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
        crossings as f64 * f64::from(rate) / samples.len() as f64
    }

    #[test]
    fn pitch_level_and_length_stay() {
        for rate in [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000] {
            let second = tone(1000.0, rate, rate as usize);
            let down = all(&second, rate, 16_000);
            assert!(down.len().abs_diff(16_000) < 200, "{rate}: {}", down.len());
            let middle = &down[1000..15_000];
            assert!((pitch(middle, 16_000) - 1000.0).abs() < 3.0, "{rate}: {}", pitch(middle, 16_000));
            let peak = middle.iter().fold(0.0_f32, |peak, it| peak.max(it.abs()));
            assert!((0.45..0.55).contains(&peak), "{rate}: {peak}");
            let mut stream = Stream::new(16_000, rate, 80).expect("made");
            let mut up = Vec::new();
            tone(1000.0, 16_000, 16_000)
                .chunks(80)
                .for_each(|piece| stream.push(piece, |out| up.extend_from_slice(out)));
            assert!(up.len().abs_diff(rate as usize) < rate as usize / 50, "{rate}: {}", up.len());
            assert!((pitch(&up[up.len() / 10..], rate) - 1000.0).abs() < 5.0, "{rate}");
        }
    }

    #[test]
    fn what_lies_above_is_gone() {
        let down = all(&tone(10_000.0, 48_000, 48_000), 48_000, 16_000);
        let peak = down[1000..15_000].iter().fold(0.0_f32, |peak, it| peak.max(it.abs()));
        assert!(peak < 0.01, "{peak}");
    }

    #[test]
    fn samples_out_of_range_saturate() {
        assert_eq!([2.0, -2.0, f32::NAN, 0.5, f32::INFINITY].map(to_i16), [i16::MAX, i16::MIN, 0, 16_384, i16::MAX]);
    }
}
