//! Speech detection.
//!
//! The library `earshot` scores 16 ms at a time; that is sure, but a little late, and would cut the first consonant. So a
//! frame that is well louder than the background opens a talkspurt at once, on trial: it lasts only if the score
//! follows. A hangover keeps short pauses from chopping words.

use super::{FRAME, Frame};

/// Samples of one score. `earshot`'s.
const HOP: usize = 256;
/// From this score on it is speech. `earshot`'s advice.
const SPEECH: f32 = 0.5;
/// Frames that a talkspurt goes on after the last speech: 240 ms, a guess between a stop consonant and a pause.
const HANGOVER: u32 = 12;
/// Frames that a loud frame opens on trial: 100 ms, within which a score comes.
const TRIAL: u32 = 5;
/// Frames after a failed trial before loudness opens another one: 400 ms. A guess.
const TRIAL_REST: u32 = 20;
/// How much louder than the background opens a trial, as a ratio of power: 9 dB. A guess.
const LOUDER: f32 = 8.0;
/// Power below which nothing is speech: -60 dB below full scale.
const SILENCE: f32 = 1e-6;
/// How fast the background follows what is louder, a frame; what is quieter it follows at once.
const RISE: f32 = 1.03;
/// How much louder than the background speech is, as a ratio of power: 3 dB. What goes on for ever is background, whatever its
/// score. A guess.
const ABOVE: f32 = 2.0;

/// Tells speech from everything else.
pub struct Detector {
    earshot: Box<earshot::Detector>,
    /// Samples that wait for their score.
    hop: [i16; HOP],
    filled: usize,
    background: f32,
    /// Frames that the talkspurt goes on without more speech.
    left: u32,
    rest: u32,
    /// Whether the talkspurt is on trial.
    trial: bool,
}

impl std::fmt::Debug for Detector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detector")
            .field("background", &self.background)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl Default for Detector {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector {
    /// One that has heard nothing yet.
    pub fn new() -> Self {
        Self {
            earshot: earshot::Detector::default_boxed(),
            hop: [0; HOP],
            filled: 0,
            background: SILENCE,
            left: 0,
            rest: 0,
            trial: false,
        }
    }

    /// Whether this frame is in a talkspurt.
    pub fn hear(&mut self, pcm: &Frame) -> bool {
        let power = power(pcm);
        let speech = self.score(pcm) >= SPEECH && power > SILENCE && power > self.background * ABOVE;
        let louder = power > SILENCE && power > self.background * LOUDER;
        self.background = if power < self.background { power.max(SILENCE / 10.0) } else { self.background * RISE };
        self.rest = self.rest.saturating_sub(1);
        if speech {
            (self.left, self.rest, self.trial) = (HANGOVER, 0, false);
        } else if louder && self.left == 0 && self.rest == 0 {
            (self.left, self.rest, self.trial) = (TRIAL, TRIAL_REST, true);
        } else {
            if self.left == 1 && self.trial {
                // Loud, but no speech: that is what it sounds like here now.
                self.background = power.max(self.background);
            }
            self.left = self.left.saturating_sub(1);
        }
        self.left > 0
    }

    /// The best score of those that this frame completes; 0 if it completes none.
    fn score(&mut self, pcm: &Frame) -> f32 {
        let mut best = 0.0_f32;
        for sample in pcm {
            if let Some(slot) = self.hop.get_mut(self.filled) {
                *slot = *sample;
            }
            self.filled += 1;
            if self.filled == HOP {
                self.filled = 0;
                best = best.max(self.earshot.predict_i16(&self.hop));
            }
        }
        best
    }
}

/// Mean power, full scale being 1.
pub fn power(pcm: &Frame) -> f32 {
    let sum: i64 = pcm.iter().map(|sample| i64::from(*sample) * i64::from(*sample)).sum();
    sum as f32 / (FRAME as f32 * 32768.0 * 32768.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voice::testing::{babble, noise, tone};

    fn heard(frames: &[Frame]) -> Vec<bool> {
        let mut detector = Detector::new();
        frames.iter().map(|frame| detector.hear(frame)).collect()
    }

    fn frames(samples: &[i16]) -> Vec<Frame> {
        samples.as_chunks::<FRAME>().0.to_vec()
    }

    #[test]
    fn silence_and_noise_are_not_speech() {
        assert!(!heard(&[[0; FRAME]; 200]).contains(&true));
        for (level, seed) in [(1.0, 1), (3.0, 2), (100.0, 3), (1000.0, 4)] {
            let heard = heard(&frames(&noise(seed, level, FRAME * 500)));
            let share = heard[50..].iter().filter(|it| **it).count();
            assert!(share < 20, "{share} of 450 frames of noise with a peak of {level}");
        }
        // A fan that is as loud as a voice is taken for one at first; then it is the background.
        let loud = heard(&frames(&noise(5, 20_000.0, FRAME * 600)));
        assert!(!loud[420..].contains(&true), "loud noise");
        let steady = heard(&frames(&tone(1000.0, 3000.0, FRAME * 500)));
        assert!(steady[400..].iter().filter(|it| **it).count() < 50, "a steady tone");
    }

    #[test]
    fn a_talkspurt_begins_with_its_first_frame_and_is_not_chopped() {
        let speech = frames(&crate::voice::testing::sample());
        let quiet = [[0; FRAME]; 50];
        let loud = speech.iter().position(|frame| power(frame) > 1e-4).expect("speech");
        let all: Vec<Frame> = quiet.iter().chain(&speech).chain(&quiet).copied().collect();
        let heard = heard(&all);
        let first = heard.iter().position(|it| *it).expect("heard");
        assert!(first <= 50 + loud, "begins at {first}, loud from {}", 50 + loud);
        assert!(!heard[heard.len() - 30..].contains(&true), "it ends");
        let active: Vec<bool> =
            all.iter().zip(&heard).filter(|(frame, _)| power(frame) > 1e-3).map(|(_, heard)| *heard).collect();
        let missed = active.iter().filter(|it| !**it).count();
        assert!(missed * 50 < active.len(), "{missed} of {} loud frames missed", active.len());
        let starts = heard.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        assert!((1..=8).contains(&starts), "{starts} talkspurts");
        assert!(babble(1).len() == 1);
    }
}
