//! Comfort noise for a pause: noise such as the talkspurt ended in.
//!
//! In silence nothing is sent. Were nothing heard either, a voice before a noisy background would seem to be cut off at each
//! pause. The decoder of Opus knows that noise from the last frames, which are no speech, and makes more of it when
//! asked for frames that are lost (its comfort noise). After a while it fades: nobody misses it by then, and a member
//! that has muted is not to be heard for ever.

use super::Frame;
use super::codec::Decoder;
use super::made::Made;

/// Samples of noise: 5 s, longer than a pause in speech. A guess.
const SAMPLES: usize = 80_000;
/// The last of them fade: 2 s.
const FADING: usize = 32_000;
/// The same for a member that has muted: 0.1 s.
const FADING_FAST: usize = 1_600;

/// Makes the noise of a pause.
#[derive(Debug, Default)]
pub struct Comfort {
    made: Made,
    /// Samples that are still to come, and how many of the last of them fade.
    left: usize,
    fading: usize,
}

impl Comfort {
    /// At rest.
    pub fn new() -> Self {
        Self::default()
    }

    /// A talkspurt is over. False if this decoder can't make noise.
    pub fn begin(&mut self, decoder: Option<&mut Box<dyn Decoder>>) -> bool {
        self.made.clear();
        (self.left, self.fading) = (if self.made.fill(&mut [0], decoder) { SAMPLES } else { 0 }, FADING);
        self.left > 0
    }

    /// The next samples; what is not made is left as it is.
    pub fn fill(&mut self, out: &mut [i16], decoder: Option<&mut Box<dyn Decoder>>) {
        if self.left == 0 || !self.made.fill(out, decoder) {
            return;
        }
        for sample in out {
            if self.left < self.fading {
                *sample = (f32::from(*sample) * self.left as f32 / self.fading as f32) as i16;
            }
            self.left = self.left.saturating_sub(1);
        }
    }

    /// Fades at once, unless it does already.
    pub fn fade(&mut self) {
        if self.left > self.fading {
            self.fading = FADING_FAST;
            self.left = self.left.min(FADING_FAST);
        }
    }

    /// The pause is over: fades what follows in over what noise is left.
    pub fn join(&mut self, next: &mut Frame) {
        if self.left > 0 {
            self.made.join(next);
        }
        self.end();
    }

    /// No more of it.
    pub const fn end(&mut self) {
        self.left = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voice::codec;
    use crate::voice::testing::{level_db, noise, sample};
    use crate::voice::{Codec, FRAME, MAX_PAYLOAD};

    /// A decoder that has heard speech before noise, and then the noise alone.
    fn after_noise(level: f64) -> Box<dyn Decoder> {
        let (mut encoder, mut decoder) =
            (codec::opus_encoder().expect("encoder"), codec::decoder(Codec::Opus).expect("decoder"));
        let said = sample();
        let speech = said.get(..FRAME * 100).expect("2 s").iter().copied().chain(std::iter::repeat_n(0, FRAME * 30));
        let noisy: Vec<i16> =
            noise(1, level, FRAME * 130).iter().zip(speech).map(|(a, b)| a.saturating_add(b)).collect();
        let (mut payload, mut out) = ([0; MAX_PAYLOAD], [0; FRAME]);
        for frame in noisy.as_chunks::<FRAME>().0 {
            let n = encoder.encode(frame, &mut payload).expect("encodes");
            decoder.decode(&payload[..n], &mut out).expect("decodes");
        }
        decoder
    }

    #[test]
    fn it_is_about_as_loud_as_what_was_and_fades_after_three_seconds() {
        let mut decoder = after_noise(600.0);
        let wanted = level_db(&noise(1, 600.0, 16_000));
        let mut comfort = Comfort::new();
        assert!(comfort.begin(Some(&mut decoder)));
        let mut out = vec![0; 16_000 * 6];
        for chunk in out.chunks_mut(80) {
            comfort.fill(chunk, Some(&mut decoder));
        }
        let made = level_db(&out[8_000..48_000]);
        assert!((made - wanted).abs() < 4.0, "{made} dB, not {wanted}");
        let steps: Vec<f64> = out[48_000..80_000].chunks(8_000).map(level_db).collect();
        assert!(steps.windows(2).all(|pair| pair[1] < pair[0]), "{steps:?}");
        assert!(out[80_000..].iter().all(|sample| *sample == 0));
    }

    #[test]
    fn who_has_muted_is_silent_soon() {
        let mut decoder = after_noise(600.0);
        let mut comfort = Comfort::new();
        assert!(comfort.begin(Some(&mut decoder)));
        let mut out = vec![0; 16_000];
        for (n, chunk) in out.chunks_mut(80).enumerate() {
            if n == 100 {
                comfort.fade();
            }
            comfort.fill(chunk, Some(&mut decoder));
        }
        assert!(level_db(&out[..8_000]) > -50.0);
        let fading: Vec<f64> = out[8_000..9_600].chunks(400).map(level_db).collect();
        assert!(fading.windows(2).all(|pair| pair[1] < pair[0]), "{fading:?}");
        assert!(out[9_600..].iter().all(|sample| *sample == 0));
    }

    #[test]
    fn without_a_codec_that_can_there_is_silence() {
        let mut comfort = Comfort::new();
        let mut pcm = codec::decoder(Codec::Pcm).expect("decoder");
        assert!(!comfort.begin(Some(&mut pcm)) && !comfort.begin(None));
        let mut out = [7; 80];
        comfort.fill(&mut out, Some(&mut pcm));
        assert_eq!(out, [7; 80]);
        let mut next = [9; FRAME];
        comfort.join(&mut next);
        assert_eq!(next, [9; FRAME], "nothing to fade from");
    }
}
