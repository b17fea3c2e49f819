//! The talker: this node's speech, encoded once for all receivers of Opus.
//!
//! Each frame of a talkspurt is encoded once, whatever the receivers want repeated; a packet is put together from the
//! frames that are kept for a while. In silence nothing is due (DTX), but `Packet::frame` runs on as a clock. The end of
//! what is sent is said in as many packets as it takes to repeat its last frames.
//!
//! Silence is what is neither speech nor loud: music and tones are sent, though they are no talkspurt.

use super::codec::{self, CodecError, Encoder};
use super::redundancy::Redundancy;
use super::speech::{self, Detector};
use super::{Codec, Frame, MAX_PAYLOAD, MAX_REPEATS, Packet, Repeat};

/// Frames that are kept: those four back and since.
const KEPT: usize = 5;
/// Packets that say the end of a talkspurt: the last of them repeats the last frame, four back, for the second time.
const TAIL: u32 = 4;

/// Mean power, full scale being 1, from which a frame is no silence, whatever it is: 45 dB below full scale. A guess, above
/// what microphones hear in a quiet room.
const LOUD: f32 = 3.2e-5;
/// Frames that are sent after a loud one: 240 ms, as with speech.
const HANGOVER: u32 = 12;
/// Frames that are sent after the last of a talkspurt: 0.4 s, with the detector's own hangover 0.6 s. So a pause between
/// two phrases is heard as it is, and the listener knows what noise to go on with.
const AFTER: u32 = 20;

/// The verdict on a captured frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turn {
    /// Whether it is in a talkspurt.
    pub speaking: bool,
    /// Whether it is sent: it is in a talkspurt, or is loud otherwise.
    pub sends: bool,
    /// Whether a packet is due to receivers of Opus: see [`Talker::packet`].
    pub due: bool,
}

/// Encodes what one microphone hears.
#[derive(Debug)]
pub struct Talker {
    /// `None`: there is no codec, and all receivers get PCM.
    encoder: Option<Box<dyn Encoder>>,
    detector: Detector,
    counter: u64,
    /// The frame taken last.
    frame: u64,
    kept: [Kept; KEPT],
    due: bool,
    /// Frames that are still sent because of those before.
    after: u32,
    /// Packets that are still to say that the talkspurt has ended.
    tail: u32,
}

/// An encoded frame.
#[derive(Debug, Clone, Copy)]
struct Kept {
    frame: u64,
    /// 0: it was silence, or could not be encoded.
    length: usize,
    bytes: [u8; MAX_PAYLOAD],
}

impl Kept {
    fn payload(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Talker {
    /// A talker that has said nothing.
    ///
    /// # Errors
    /// If the codec can't be made.
    pub fn new() -> Result<Self, CodecError> {
        let encoder = codec::opus_encoder()?;
        Ok(Self { encoder: Some(encoder), ..Self::without_codec() })
    }

    /// A talker that encodes nothing: it tells speech and numbers packets, for receivers of PCM.
    pub fn without_codec() -> Self {
        Self {
            encoder: None,
            detector: Detector::new(),
            counter: 0,
            // So that no frame near the start has a repeat before the first one.
            frame: KEPT as u64,
            kept: [Kept { frame: 0, length: 0, bytes: [0; MAX_PAYLOAD] }; KEPT],
            due: false,
            after: 0,
            tail: 0,
        }
    }

    /// Whether it can encode.
    pub const fn has_codec(&self) -> bool {
        self.encoder.is_some()
    }

    /// Takes the next 20 ms; `None`: muted, but time goes on. `encode`: whether anyone receives Opus.
    pub fn take(&mut self, pcm: Option<&Frame>, encode: bool) -> Turn {
        self.frame += 1;
        let speaking = pcm.is_some_and(|pcm| self.detector.hear(pcm));
        self.after = match pcm {
            Some(_) if speaking => AFTER,
            Some(pcm) if speech::power(pcm) > LOUD => self.after.saturating_sub(1).max(HANGOVER),
            Some(_) => self.after.saturating_sub(1),
            None => 0,
        };
        let sent = pcm.filter(|_| self.after > 0);
        let slot = &mut self.kept[(self.frame % KEPT as u64) as usize];
        (slot.frame, slot.length) = (self.frame, 0);
        if let (Some(pcm), Some(encoder)) = (sent.filter(|_| encode), &mut self.encoder) {
            slot.length = encoder.encode(pcm, &mut slot.bytes).unwrap_or_default();
        }
        let sends = sent.is_some();
        self.due = encode && (sends || self.tail > 0);
        self.tail = if sends { TAIL } else { self.tail.saturating_sub(1) };
        self.counter += u64::from(self.due);
        Turn { speaking, sends, due: self.due }
    }

    /// The packet of the frame taken last, for one class of receivers; `None` if none is due.
    pub fn packet(&self, repeats: Redundancy) -> Option<Packet<'_>> {
        if !self.due {
            return None;
        }
        let mut packet = self.empty();
        packet.payload = self.kept(0).unwrap_or_default();
        for (slot, back) in packet.repeats.iter_mut().zip(repeats.backs()) {
            *slot = self.kept(*back).map(|payload| Repeat { back: *back, payload });
        }
        Some(packet)
    }

    /// A packet that only says that we are there and silent. It takes a number of its own.
    pub fn sign_of_life(&mut self) -> Packet<'static> {
        self.counter += 1;
        self.empty()
    }

    const fn empty(&self) -> Packet<'static> {
        let (counter, frame) = (self.counter, self.frame);
        Packet { counter, frame, codec: Codec::Opus, payload: &[], repeats: [None; MAX_REPEATS] }
    }

    fn kept(&self, back: u8) -> Option<&[u8]> {
        let frame = self.frame.checked_sub(u64::from(back))?;
        let kept = self.kept.get((frame % KEPT as u64) as usize)?;
        (kept.frame == frame && kept.length > 0).then(|| kept.payload())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voice::FRAME;
    use crate::voice::testing::sample;

    fn speech() -> Vec<Frame> {
        sample().as_chunks::<FRAME>().0.to_vec()
    }

    #[test]
    fn every_frame_of_a_talkspurt_goes_out_three_times_with_two_repeats() {
        let mut talker = Talker::new().expect("talker");
        let mut came = std::collections::BTreeMap::<u64, Vec<Vec<u8>>>::new();
        let mut counters = Vec::new();
        for frame in speech().iter().chain(&[[0; FRAME]; 60]) {
            talker.take(Some(frame), true);
            let Some(packet) = talker.packet(Redundancy::Two) else { continue };
            counters.push(packet.counter);
            let repeats = packet.repeats.iter().flatten().map(|it| (u64::from(it.back), it.payload));
            for (back, payload) in repeats.chain([(0, packet.payload)]).filter(|(_, payload)| !payload.is_empty()) {
                came.entry(packet.frame - back).or_default().push(payload.to_vec());
            }
        }
        assert!(came.len() > 50, "{} frames", came.len());
        assert!(came.values().all(|copies| copies.len() == 3 && copies.iter().all(|it| *it == copies[0])));
        assert!(counters.windows(2).all(|pair| pair[1] == pair[0] + 1), "numbers without a gap");
    }

    #[test]
    fn silence_and_muting_are_not_sent_but_time_goes_on() {
        let mut talker = Talker::new().expect("talker");
        let sent = (0..100).filter(|_| talker.take(Some(&[0; FRAME]), true).due).count();
        assert_eq!(sent, 0);
        let first = talker.sign_of_life();
        assert_eq!((first.counter, first.payload.len()), (1, 0));
        let spoken = speech().iter().filter(|frame| talker.take(None, true).due || frame.len() != FRAME).count();
        assert_eq!(spoken, 0, "muted");
        let second = talker.sign_of_life();
        assert_eq!((second.counter, second.frame), (2, first.frame + speech().len() as u64));
    }

    #[test]
    fn a_tone_is_sent_for_as_long_as_it_lasts_and_is_no_talkspurt() {
        let mut talker = Talker::new().expect("talker");
        let tone = crate::voice::testing::tone(440.0, 8231.0, FRAME * 500);
        let turns: Vec<Turn> = tone.as_chunks::<FRAME>().0.iter().map(|frame| talker.take(Some(frame), true)).collect();
        assert!(turns.iter().all(|turn| turn.sends && turn.due));
        assert!(turns[100..].iter().filter(|turn| turn.speaking).count() < 50);
        let after = (0..100).filter(|_| talker.take(Some(&[0; FRAME]), true).sends).count();
        assert!((1..=50).contains(&after), "{after} frames of silence are sent");
    }

    #[test]
    fn one_class_gets_what_it_wants_and_nobody_costs_no_encoding() {
        let mut talker = Talker::new().expect("talker");
        let speaking = speech().iter().filter(|frame| talker.take(Some(frame), false).speaking).count();
        assert!(speaking > 50, "told without receivers");
        assert_eq!(talker.packet(Redundancy::None), None);
        let mut most = 0;
        for frame in &speech() {
            talker.take(Some(frame), true);
            let repeats = |class| talker.packet(class).map_or(0, |it| it.repeats.iter().flatten().count());
            assert_eq!(repeats(Redundancy::None), 0);
            assert!(repeats(Redundancy::One) <= 1 && repeats(Redundancy::Two) <= 2);
            most = most.max(repeats(Redundancy::Two));
        }
        assert_eq!(most, 2);
    }
}
