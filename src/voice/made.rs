//! Frames that a decoder makes up for missing ones: it makes whole frames, and they are played piece by piece.

use super::codec::Decoder;
use super::stretch::fade;
use super::{FRAME, Frame};

/// Samples of the fade into what follows: 5 ms.
const JOIN: usize = 80;

/// A frame that was made up, and how much of it has been played.
#[derive(Debug)]
pub struct Made {
    frame: Frame,
    at: usize,
}

impl Made {
    /// Nothing.
    pub const fn new() -> Self {
        Self { frame: [0; FRAME], at: FRAME }
    }

    /// The next samples. False if this decoder can't; what is not made is then left as it is.
    pub fn fill(&mut self, out: &mut [i16], mut decoder: Option<&mut Box<dyn Decoder>>) -> bool {
        for sample in out {
            if self.at == FRAME {
                if !decoder.as_mut().is_some_and(|decoder| decoder.conceal(&mut self.frame)) {
                    return false;
                }
                self.at = 0;
            }
            *sample = self.frame.get(self.at).copied().unwrap_or_default();
            self.at += 1;
        }
        true
    }

    /// Fades what follows in over what is left, which goes.
    pub fn join(&mut self, next: &mut Frame) {
        let left = self.frame.get(self.at..).unwrap_or_default();
        let over = left.len().min(JOIN);
        for (n, (sample, made)) in next.iter_mut().zip(left).take(over).enumerate() {
            *sample = fade(f32::from(*made), f32::from(*sample), n, over);
        }
        self.clear();
    }

    /// Nothing is left.
    pub const fn clear(&mut self) {
        self.at = FRAME;
    }
}

impl Default for Made {
    fn default() -> Self {
        Self::new()
    }
}
