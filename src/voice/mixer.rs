//! Many voices to one.
//!
//! Sums in 32 bits. Where the sum goes over full scale a limiter turns it down, smoothly: the gain is found for each
//! millisecond and runs in a straight line between them, never above what the louder neighbour needs. It comes back
//! within about 0.1 s. One voice that needs no limiting passes unchanged, bit for bit.

use super::{CHUNK, Chunk};

/// Samples that share a gain: 1 ms.
const BLOCK: usize = 16;
const BLOCKS: usize = CHUNK / BLOCK;
/// The highest sample that comes out: 0.2 dB below full scale.
const CEILING: f32 = 32_000.0;
/// How much the gain may rise a block: from silence to full in 0.1 s. A guess, fast enough for speech, slow enough not to be
/// heard as distortion.
const RELEASE: f32 = 0.01;
/// A voice is not let in above this, whatever its gain: so that no sum of 64 overflows.
const MAX_VOICE: f32 = 16_777_215.0;

/// Sums voices, and keeps the sum from clipping.
#[derive(Debug)]
pub struct Mixer {
    sum: [i32; CHUNK],
    gain: f32,
}

impl Default for Mixer {
    fn default() -> Self {
        Self::new()
    }
}

impl Mixer {
    /// A mixer at rest.
    pub const fn new() -> Self {
        Self { sum: [0; CHUNK], gain: 1.0 }
    }

    /// Adds a voice to the chunk that is being made; `gain` is a factor.
    pub fn add(&mut self, voice: &Chunk, gain: f32) {
        if gain == 1.0 {
            self.sum.iter_mut().zip(voice).for_each(|(sum, sample)| *sum += i32::from(*sample));
        } else {
            let scaled = |sample: i16| (f32::from(sample) * gain).clamp(-MAX_VOICE, MAX_VOICE) as i32;
            self.sum.iter_mut().zip(voice).for_each(|(sum, sample)| *sum += scaled(*sample));
        }
    }

    /// The chunk, limited; then the next begins.
    pub fn finish(&mut self, out: &mut Chunk) {
        let peak = self.sum.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or_default();
        if self.gain >= 1.0 && peak <= i16::MAX as u32 {
            out.iter_mut().zip(&self.sum).for_each(|(out, sum)| *out = *sum as i16);
        } else {
            self.limit(out);
        }
        self.sum = [0; CHUNK];
    }

    fn limit(&mut self, out: &mut Chunk) {
        let mut need = [1.0_f32; BLOCKS];
        for (need, block) in need.iter_mut().zip(self.sum.as_chunks::<BLOCK>().0) {
            let peak = block.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or_default() as f32;
            *need = if peak > CEILING { CEILING / peak } else { 1.0 };
        }
        // At the chunk's start the gain is what it was, unless what comes at once needs less.
        let mut gain = self.gain.min(need[0]);
        let blocks = self.sum.as_chunks::<BLOCK>().0.iter().zip(out.as_chunks_mut::<BLOCK>().0);
        for (n, (block, out)) in blocks.enumerate() {
            let here = need.get(n).copied().unwrap_or(1.0);
            let next = need.get(n + 1).copied().unwrap_or(1.0);
            let end = (gain + RELEASE).min(here).min(next);
            let step = (end - gain) / BLOCK as f32;
            for (sum, out) in block.iter().zip(out) {
                gain += step;
                *out = (*sum as f32 * gain).clamp(-32_767.0, 32_767.0) as i16;
            }
            gain = end;
        }
        self.gain = gain;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voice::testing::{noise, tone};

    fn mixed(voices: &[Vec<i16>], gain: f32) -> Vec<i16> {
        let mut mixer = Mixer::new();
        let mut out = Vec::new();
        for at in 0..voices[0].len() / CHUNK {
            for voice in voices {
                mixer.add(voice[at * CHUNK..].first_chunk().expect("a chunk"), gain);
            }
            let mut chunk = [0; CHUNK];
            mixer.finish(&mut chunk);
            out.extend(chunk);
        }
        out
    }

    #[test]
    fn one_voice_passes_bit_for_bit() {
        let voice = noise(1, 32_767.0, CHUNK * 20);
        assert_eq!(mixed(std::slice::from_ref(&voice), 1.0), voice);
    }

    #[test]
    fn gain_is_a_factor() {
        let voice = tone(440.0, 1000.0, CHUNK * 4);
        let louder = mixed(std::slice::from_ref(&voice), 4.0);
        assert!(voice.iter().zip(&louder).all(|(a, b)| i32::from(*a) * 4 == i32::from(*b)));
    }

    #[test]
    fn a_sum_over_full_scale_is_turned_down_without_clipping_or_jumps() {
        // In phase: the sum has 32 times full scale, and is a tone again when turned down.
        let voices = vec![tone(200.0, 32_000.0, CHUNK * 50); 32];
        let out = mixed(&voices, 1.0);
        let steady = &out[CHUNK..];
        let peak = steady.iter().map(|s| s.unsigned_abs()).max().expect("samples");
        assert!((28_000..=32_100).contains(&peak), "{peak}");
        let jump = out.windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max().expect("samples");
        // A full-scale tone of 200 Hz moves by 2,500 a sample at most; the gain's own movement adds to that.
        assert!(jump < 6_000, "{jump}");
        let flat =
            steady.windows(6).filter(|run| run[0].unsigned_abs() > 20_000 && run.iter().all(|s| *s == run[0])).count();
        assert_eq!(flat, 0, "flat tops");
    }

    #[test]
    fn it_comes_back_and_never_overflows() {
        let mut mixer = Mixer::new();
        let mut out = [0; CHUNK];
        for _ in 0..64 {
            mixer.add(&[i16::MIN; CHUNK], 1e9);
        }
        mixer.finish(&mut out);
        assert!(out.iter().all(|sample| *sample <= -30_000));
        for _ in 0..24 {
            mixer.add(&[1000; CHUNK], 1.0);
            mixer.finish(&mut out);
        }
        assert_eq!(out, [1000; CHUNK]);
        mixer.add(&[1000; CHUNK], f32::NAN);
        mixer.finish(&mut out);
        assert_eq!(out, [0; CHUNK], "a gain that is no number");
    }
}
