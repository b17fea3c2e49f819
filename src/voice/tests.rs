//! A talker's packets at a speaker that is asked by hand: wraps, restarts, talkspurts, and what forgers send.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::compare::{compare, level_db};
use super::redundancy::Redundancy;
use super::speaker::{Received, Speaker};
use super::talker::Talker;
use super::testing::sample;
use super::{CHUNK, CHUNK_TIME, Codec, FRAME, FRAME_TIME, Frame, MAX_REPEATS, Pace, Packet, Repeat};

/// A packet that is kept.
#[derive(Debug, Clone)]
struct Kept {
    counter: u64,
    frame: u64,
    codec: Codec,
    payload: Vec<u8>,
    repeats: Vec<(u8, Vec<u8>)>,
}

impl Kept {
    fn of(packet: &Packet<'_>) -> Self {
        let repeats = packet.repeats.iter().flatten().map(|it| (it.back, it.payload.to_vec())).collect();
        let Packet { counter, frame, codec, .. } = *packet;
        Self { counter, frame, codec, payload: packet.payload.to_vec(), repeats }
    }

    fn pcm(number: u64, frame: &Frame) -> Self {
        let payload = frame.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        Self { counter: number, frame: number, codec: Codec::Pcm, payload, repeats: Vec::new() }
    }

    fn packet(&self) -> Packet<'_> {
        let mut repeats = [None; MAX_REPEATS];
        for (slot, (back, payload)) in repeats.iter_mut().zip(&self.repeats) {
            *slot = Some(Repeat { back: *back, payload });
        }
        Packet { counter: self.counter, frame: self.frame, codec: self.codec, payload: &self.payload, repeats }
    }
}

/// A speaker, what was heard of it, and the time.
struct Ear {
    speaker: Speaker,
    now: Instant,
    heard: Vec<i16>,
}

impl Ear {
    fn new(pace: Pace) -> Self {
        #[allow(clippy::disallowed_methods, reason = "any moment will do")]
        let now = Instant::now();
        Self { speaker: Speaker::new(pace), now, heard: Vec::new() }
    }

    fn receive(&mut self, packet: &Kept) -> Received {
        self.speaker.receive(self.now, &packet.packet())
    }

    /// Listens for a frame's time.
    fn listen(&mut self) {
        for _ in 0..FRAME_TIME.as_millis() / CHUNK_TIME.as_millis() {
            self.now += CHUNK_TIME;
            let mut chunk = [0; CHUNK];
            let sounds = self.speaker.play(self.now, &mut chunk);
            assert_eq!(sounds, chunk.iter().any(|sample| *sample != 0));
            self.heard.extend(chunk);
        }
    }

    /// Each packet in its time, `None` being none.
    fn hear<'k>(&mut self, packets: impl IntoIterator<Item = Option<&'k Kept>>) {
        for packet in packets {
            packet.map(|packet| self.receive(packet));
            self.listen();
        }
    }
}

fn frames() -> Vec<Frame> {
    sample().as_chunks::<FRAME>().0.to_vec()
}

/// The packets that a talker of level 2 sends for some frames, one a frame, or none.
fn packets(frames: &[Frame], repeats: Redundancy) -> Vec<Option<Kept>> {
    let mut talker = Talker::new().expect("a codec");
    let mut packet = |frame| {
        talker.take(Some(frame), true);
        talker.packet(repeats).as_ref().map(Kept::of)
    };
    frames.iter().map(&mut packet).collect()
}

/// The largest step between two samples.
fn step(samples: &[i16]) -> i32 {
    samples.windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max().unwrap_or_default()
}

fn is_heard(said: &[Frame], heard: &[i16]) -> bool {
    compare(said.as_flattened(), heard).is_some_and(|it| it.found() > 0.95 && it.gaps.is_empty())
}

#[test]
fn sequence_numbers_wrap_unheard() {
    let said = frames();
    let first = u32::MAX - 100;
    let sent: Vec<Kept> =
        said.iter().zip(0..).map(|(frame, n)| Kept::pcm(u64::from(first.wrapping_add(n)), frame)).collect();
    let mut ear = Ear::new(Pace::Sequence);
    ear.hear(sent.iter().map(Some).chain([None; 10]));
    assert!(is_heard(&said, &ear.heard));
    let figures = ear.speaker.figures();
    assert_eq!((figures.lost, figures.refused, figures.received), (0, 0, said.len() as u64));
}

#[test]
fn one_who_begins_anew_is_heard_after_one_packet() {
    let said = frames();
    // On level 2 nothing goes back: see `numbers`.
    for (pace, anew) in [(Pace::Sequence, 5), (Pace::Sequence, 5_000_000), (Pace::Clock, 5_000_000)] {
        let mut ear = Ear::new(pace);
        let numbered = |from: u64| said.iter().zip(from..).map(|(frame, n)| Kept::pcm(n, frame)).collect::<Vec<_>>();
        let (before, after) = (numbered(1_000_000), numbered(anew));
        ear.hear(before[..100].iter().map(Some));
        let from = ear.heard.len();
        ear.hear(after.iter().map(Some).chain([None; 10]));
        assert_eq!(ear.speaker.figures().refused, 1, "{pace:?}: the first of the new ones");
        assert!(compare(&sample(), &ear.heard[from..]).is_some_and(|it| it.found() > 0.95), "{pace:?}");
    }
}

#[test]
fn an_original_that_is_muted_for_a_while_is_heard_from_its_first_word_again() {
    let said = frames();
    let mut numbers = 77..;
    let mut talk = |frames: &[Frame]| -> Vec<Option<Kept>> {
        frames.iter().map(|frame| numbers.next().map(|n| Kept::pcm(n, frame))).collect()
    };
    let mut sent = talk(&said);
    for _ in 0..5 {
        // A frame of zeros each second.
        sent.extend(talk(&[[0; FRAME]]));
        sent.extend(std::iter::repeat_n(None, 49));
    }
    sent.extend(talk(&said));
    let mut ear = Ear::new(Pace::Sequence);
    ear.hear(sent.iter().map(Option::as_ref));
    (0..10).for_each(|_| ear.listen());
    let pause = said.len() * FRAME..(said.len() + 250) * FRAME;
    assert!(is_heard(&said, &ear.heard[..pause.start + 1600]));
    assert!(ear.heard[pause.start + 1600..pause.end].iter().all(|sample| *sample == 0), "silent in between");
    assert!(is_heard(&said, &ear.heard[pause.end - 1600..]));
    let figures = ear.speaker.figures();
    assert!(figures.delay_ms < 12.0 && figures.lost == 0, "{figures:?}");
}

#[test]
fn a_talkspurt_ends_without_a_click_and_the_next_begins_with_its_first_frame() {
    let (words, quiet) = (frames(), [[0; FRAME]; 100]);
    let said = [&words[..], &quiet, &words, &quiet].concat();
    for (repeats, lost) in [(Redundancy::None, 0), (Redundancy::Two, 0), (Redundancy::Two, 7)] {
        let sent = packets(&said, repeats);
        assert!(sent.iter().filter(|it| it.is_none()).count() > 100, "silence is not sent");
        let mut ear = Ear::new(Pace::Clock);
        let arrived = sent.iter().enumerate().map(|(n, it)| it.as_ref().filter(|_| lost == 0 || n % lost != 3));
        ear.hear(arrived.chain([None; 10]));
        let found = compare(said.as_flattened(), &ear.heard).expect("speech");
        assert!(found.found() > 0.9, "{lost}: {}", found.found());
        let end = (words.len() + 50) * FRAME;
        let silent = &ear.heard[end..end + 30 * FRAME];
        assert!(level_db(silent) < -60.0, "{lost}: {} dB", level_db(silent));
        let click = step(&ear.heard[(words.len() + 2) * FRAME..end + 30 * FRAME]);
        assert!(click < 1500, "{lost}: a step of {click} at the end, {} in speech", step(&ear.heard));
    }
}

#[test]
fn a_forged_number_does_not_silence_the_true_sender() {
    let said = frames();
    let noise: Frame = super::testing::noise(3, 30_000.0, FRAME).try_into().expect("a frame");
    for number in [u64::from(u32::MAX), 0, 500_000, 1_000_000 + 2_500, 1_000_000 - 90, 0x8000_0000, u64::MAX, 1 << 63] {
        for pace in [Pace::Sequence, Pace::Clock] {
            let mut ear = Ear::new(pace);
            for (frame, n) in said.iter().zip(1_000_000..) {
                ear.receive(&Kept::pcm(n, frame));
                if n % 50 == 49 {
                    ear.receive(&Kept::pcm(number, &noise));
                }
                ear.listen();
            }
            (0..5).for_each(|_| ear.listen());
            let found = compare(&sample(), &ear.heard).expect("speech");
            assert!(found.found() > 0.8, "{number} {pace:?}: {}", found.found());
        }
    }
}

#[test]
fn hostile_opus_counts_as_lost_and_what_follows_is_heard() {
    let said = frames();
    let mut sent: Vec<Kept> = packets(&said, Redundancy::Two).into_iter().flatten().collect();
    for (n, packet) in sent.iter_mut().enumerate().filter(|(n, _)| n % 10 == 5) {
        let toc = packet.payload.first().copied().unwrap_or_default();
        packet.payload = std::iter::once(toc).chain((0..90).map(|k| (k * n + 13 * k) as u8)).collect();
    }
    let mut ear = Ear::new(Pace::Clock);
    ear.hear(sent.iter().map(Some).chain([None; 10]));
    let found = compare(&sample(), &ear.heard).expect("speech");
    assert!(found.found() > 0.6, "{}", found.found());
    let refused = Kept { payload: vec![0xFF; 50], ..sent[3].clone() };
    assert_eq!(ear.receive(&refused), Received::Refused, "stereo, and of another length");
    let longest = Kept { payload: vec![sent[3].payload[0]; 641], ..sent[3].clone() };
    assert_eq!(ear.receive(&longest), Received::Refused);
}

#[test]
fn a_flood_leaves_nothing_behind() {
    let said = frames();
    let mut ear = Ear::new(Pace::Clock);
    for n in 0..20_000_u64 {
        let mut packet = Kept::pcm(n, &said[n as usize % said.len()]);
        // Far ahead, far behind, and in its place.
        packet.frame = [1000 + n, 1000 + n * 60, 4_000_000_000 - n, u64::from(u32::MAX)][n as usize % 4];
        ear.receive(&packet);
        if n.is_multiple_of(100) {
            ear.listen();
        }
    }
    // Nothing comes any more: soon nothing is played.
    (0..100).for_each(|_| ear.listen());
    assert!(ear.heard[ear.heard.len() - 16_000..].iter().all(|sample| *sample == 0));
    assert!(ear.speaker.memory() < 200_000, "{} bytes", ear.speaker.memory());
}

/// An event in the life of a speaker.
#[derive(Debug, Clone)]
enum Happens {
    Comes { counter: u64, frame: u64, codec: Codec, length: usize, toc: u8, repeats: Vec<(u8, usize)> },
    Plays(u8),
    Waits(u32),
    Reports,
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        20 => 0_u64..200,
        2 => u64::from(u32::MAX) - 100..u64::from(u32::MAX) + 2,
        1 => Just(0x8000_0000_u64),
        1 => Just(u64::MAX),
        1 => Just(1_u64 << 63),
        1 => any::<u64>(),
    ]
}

fn happens() -> impl Strategy<Value = Happens> {
    let codec = prop_oneof![Just(Codec::Opus), Just(Codec::Pcm)];
    let length = prop_oneof![3 => Just(640_usize), 1 => Just(0_usize), 4 => 1_usize..100, 1 => 600_usize..700];
    let toc = prop_oneof![4 => Just(9_u8 << 3), 1 => any::<u8>()];
    let repeats = prop::collection::vec((1_u8.., 1_usize..80), 0..3);
    let comes =
        (number(), number(), codec, length, toc, repeats).prop_map(|(counter, frame, codec, length, toc, repeats)| {
            Happens::Comes { counter, frame, codec, length, toc, repeats }
        });
    prop_oneof![
        6 => comes,
        6 => (1_u8..20).prop_map(Happens::Plays),
        1 => prop_oneof![0_u32..400, Just(u32::MAX)].prop_map(Happens::Waits),
        1 => Just(Happens::Reports),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn nothing_that_happens_makes_a_speaker_panic_or_grow(
        pace in prop_oneof![Just(Pace::Clock), Just(Pace::Sequence)],
        life in prop::collection::vec(happens(), 0..120),
    ) {
        let mut ear = Ear::new(pace);
        let payload = |toc: u8, length: usize| -> Vec<u8> {
            (0..length).map(|n| if n == 0 { toc } else { (n * 31 + length) as u8 }).collect()
        };
        for event in life {
            match event {
                Happens::Comes { counter, frame, codec, length, toc, repeats } => {
                    let repeats = repeats.iter().map(|(back, length)| (*back, payload(toc, *length))).collect();
                    ear.receive(&Kept { counter, frame, codec, payload: payload(toc, length), repeats });
                }
                Happens::Plays(frames) => (0..frames).for_each(|_| ear.listen()),
                Happens::Waits(ms) => ear.now += Duration::from_millis(ms.into()),
                Happens::Reports => drop(ear.speaker.report()),
            }
            let figures = ear.speaker.figures();
            prop_assert!(figures.delay_ms.is_finite() && figures.jitter_ms.is_finite() && figures.level_db <= 0.1);
        }
        prop_assert!(ear.speaker.memory() < 200_000);
    }
}
