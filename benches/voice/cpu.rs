//! What voice costs: shares of one core in real time.

use std::hint::black_box;
use std::time::{Duration, Instant};

use p2p_chat::voice::codec;
use p2p_chat::voice::mixer::Mixer;
use p2p_chat::voice::redundancy::Redundancy;
use p2p_chat::voice::speaker::Speaker;
use p2p_chat::voice::talker::Talker;
use p2p_chat::voice::{CHUNK, CHUNK_TIME, Chunk, Codec, FRAME, FRAME_TIME, Frame, Pace, Packet};
use p2p_chat::wire::datagram::inside::{read_voice, write_voice};
use p2p_chat::wire::datagram::sealed::{self, Key};
use p2p_chat::wire::datagram::{Datagram, Inside, Sealer};

use crate::speech::Speech;
use crate::table::{Reach, Table, quantile};

/// How often each is measured; the median counts.
const RUNS: usize = 7;
/// How long a measurement takes at least: many times the step of the kernel's own clock of it, some milliseconds.
const LEAST: Duration = Duration::from_millis(250);
/// Frames of a run: 20 s.
const FRAMES: usize = 1000;
const CHUNKS_A_FRAME: usize = FRAME / CHUNK;
const VOICES: usize = 32;

pub fn measure(speech: &[Speech], table: &mut Table) {
    let frames = frames(speech);
    let percent = |micros: f64| micros / FRAME_TIME.as_micros() as f64 * 100.0;
    let show = |value: f64| format!("{value:.2} %");

    let [encode, bare] = in_turn([&mut || talk(&frames), &mut || encode_bare(&frames)]);
    let what = "encoding: detection, Opus, two repeats, datagram; of a core";
    table.row(what, percent(encode), Reach::AtMost(1.5), show);
    table.note("a frame; the encoder alone", &format!("{encode:.0} µs; {bare:.0} µs"));

    let (clean, lossy) = (datagrams(&frames, Redundancy::None, 0), datagrams(&frames, Redundancy::Two, 10));
    let payloads: Vec<Vec<u8>> = clean
        .iter()
        .flatten()
        .filter_map(|it| packet_of(&Key::new(&KEY), it, |packet| packet.payload.to_vec()))
        .collect();
    let [one, bad, bare] = in_turn([&mut || hear(&[&clean]), &mut || hear(&[&lossy]), &mut || decode_bare(&payloads)]);
    table.row("a received speaker, from datagram to mix; of a core", percent(one), Reach::AtMost(0.1), show);
    table.note("a frame; the decoder alone", &format!("{one:.1} µs; {bare:.1} µs"));
    table.note("at 10 % loss, with two repeats", &format!("{bad:.1} µs, {}", show(percent(bad))));

    let many: Vec<&Datagrams> = std::iter::repeat_n(&clean, VOICES).collect();
    let [all] = in_turn([&mut || hear(&many)]);
    table.row("32 speakers at once; of a core", percent(all), Reach::AtMost(4.0), show);

    let [mix, bare] = in_turn([&mut || mix(&frames), &mut || mix_bare(&frames)]);
    table.row("mixing 32 voices, a frame", mix, Reach::AtMost(5.0), |value| format!("{value:.1} µs"));
    table.note("adding them up without a limiter", &format!("{bare:.1} µs"));
}

/// Runs each of some works in turn, again and again. Gives the median of what each took a frame, in µs of CPU.
fn in_turn<const N: usize>(mut works: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut took = [const { Vec::new() }; N];
    for _ in 0..RUNS {
        for (work, took) in works.iter_mut().zip(&mut took) {
            let (start, before, mut times) = (Instant::now(), cpu(), 0);
            while start.elapsed() < LEAST {
                work();
                times += 1;
            }
            let spent = before.zip(cpu()).map_or(start.elapsed(), |(before, after)| after - before);
            took.push(spent.as_secs_f64() * 1e6 / (times * FRAMES) as f64);
        }
    }
    took.map(|mut took| quantile(&mut took, 0.5))
}

/// What this thread has had of a CPU, where the system tells: others that run at the same time count for nothing then.
fn cpu() -> Option<Duration> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    told.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// Speech without pauses, so that every frame costs something.
fn frames(speech: &[Speech]) -> Vec<Frame> {
    let all: Vec<Frame> = speech.iter().flat_map(|it| it.samples.as_chunks::<FRAME>().0).copied().collect();
    let loud = |frame: &&Frame| frame.iter().any(|sample| sample.unsigned_abs() > 500);
    let loud: Vec<Frame> = all.iter().filter(loud).copied().collect();
    let chosen = if loud.is_empty() { all } else { loud };
    chosen.into_iter().cycle().take(FRAMES).collect()
}

fn talk(frames: &[Frame]) {
    let Ok(mut talker) = Talker::new() else { panic!("no codec") };
    let (mut bytes, mut sealer) = (Vec::new(), sealer());
    for frame in frames {
        let speaking = talker.take(Some(frame), true).speaking;
        if let Some(packet) = talker.packet(Redundancy::Two) {
            bytes.clear();
            sealer.seal(|inside| write_voice(&packet, speaking, inside), &mut bytes);
            black_box(&bytes);
        }
    }
}

fn encode_bare(frames: &[Frame]) {
    let Ok(mut encoder) = codec::opus_encoder() else { panic!("no codec") };
    let mut out = [0; p2p_chat::voice::MAX_PAYLOAD];
    for frame in frames {
        let _ = black_box(encoder.encode(frame, &mut out));
    }
}

/// The session's key.
const KEY: [u8; sealed::KEY] = [7; sealed::KEY];

/// A datagram a frame, or none.
type Datagrams = Vec<Option<Vec<u8>>>;

/// What a talker sends of some frames; one of `lost` is missing.
fn datagrams(frames: &[Frame], repeats: Redundancy, lost: usize) -> Datagrams {
    let Ok(mut talker) = Talker::new() else { panic!("no codec") };
    let mut sealer = sealer();
    let datagram = |(n, frame): (usize, &Frame)| {
        let speaking = talker.take(Some(frame), true).speaking;
        let packet = talker.packet(repeats).filter(|_| lost == 0 || n % lost != 3)?;
        let mut bytes = Vec::new();
        sealer.seal(|inside| write_voice(&packet, speaking, inside), &mut bytes);
        Some(bytes)
    };
    frames.iter().enumerate().map(datagram).collect()
}

fn sealer() -> Sealer {
    Sealer::new("talker", "room", &KEY)
}

fn packet_of<R>(key: &Key, bytes: &[u8], take: impl FnOnce(&Packet<'_>) -> R) -> Option<R> {
    let Ok(Datagram::Sealed(sealed)) = Datagram::parse(bytes) else { return None };
    let inside = sealed.open(key)?;
    let Ok(Inside::Voice(voice)) = Inside::parse(&inside) else { return None };
    read_voice(voice).ok().map(|packet| take(&packet))
}

/// All that is done for voices that are received: read, decoded in their time, mixed.
fn hear(voices: &[&Datagrams]) {
    let key = Key::new(&KEY);
    let mut speakers: Vec<Speaker> = voices.iter().map(|_| Speaker::new(Pace::Clock)).collect();
    let mut mixer = Mixer::new();
    let mut now = Instant::now();
    for at in 0..FRAMES {
        for (speaker, voice) in speakers.iter_mut().zip(voices) {
            if let Some(bytes) = voice.get(at).and_then(Option::as_ref) {
                packet_of(&key, bytes, |packet| speaker.receive(now, packet));
            }
        }
        for _ in 0..CHUNKS_A_FRAME {
            now += CHUNK_TIME;
            let mut chunk = [0; CHUNK];
            for speaker in &mut speakers {
                if speaker.play(now, &mut chunk) {
                    mixer.add(&chunk, 1.0);
                }
            }
            mixer.finish(&mut chunk);
            black_box(&chunk);
        }
    }
    let heard = speakers.iter().all(|it| it.figures().received > 0 && it.figures().concealed < FRAMES as u64 / 5);
    assert!(heard, "a voice was not heard");
}

fn decode_bare(payloads: &[Vec<u8>]) {
    let Ok(mut decoder) = codec::decoder(Codec::Opus) else { panic!("no codec") };
    let mut out = [0; FRAME];
    for payload in payloads {
        let _ = black_box(decoder.decode(payload, &mut out));
    }
}

/// The voices of a chunk: each says another part of the speech.
fn voices(frames: &[Frame], at: usize) -> impl Iterator<Item = &Chunk> {
    let chunks = frames.as_flattened().as_chunks::<CHUNK>().0;
    (0..VOICES).map(move |voice| &chunks[(at + voice * 97) % chunks.len()])
}

fn mix(frames: &[Frame]) {
    let mut mixer = Mixer::new();
    let mut out = [0; CHUNK];
    for at in 0..FRAMES * CHUNKS_A_FRAME {
        voices(frames, at).for_each(|voice| mixer.add(voice, 1.0));
        mixer.finish(&mut out);
        black_box(&out);
    }
}

fn mix_bare(frames: &[Frame]) {
    for at in 0..FRAMES * CHUNKS_A_FRAME {
        let mut sum = [0_i32; CHUNK];
        for voice in voices(frames, at) {
            sum.iter_mut().zip(voice).for_each(|(sum, sample)| *sum += i32::from(*sample));
        }
        black_box(sum.map(|sum| sum.clamp(i16::MIN.into(), i16::MAX.into()) as i16));
    }
}
