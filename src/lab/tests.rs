//! The pure pipeline on virtual lines: what comes out beside what went in.

use super::*;
use crate::line::Settings;
use crate::voice::compare::{Comparison, compare, level_db};
use crate::voice::redundancy::Redundancy;
use crate::voice::testing::sample;
use std::time::Duration;

/// Says the sample so many times in a call.
fn call(times: usize, change: impl FnOnce(&mut Setup)) -> (Vec<i16>, Heard) {
    let mut setup = Setup { warmup: Duration::from_secs(3), ..Setup::default() };
    change(&mut setup);
    let said = sample().repeat(times);
    #[allow(clippy::disallowed_methods, reason = "any moment will do")]
    let heard = talk(&said, &setup, Instant::now(), |_| ()).expect("a codec");
    assert_eq!(heard.samples.len(), said.len());
    (said, heard)
}

/// The same on a line, compared. It must have been the same speech, as loud, in its place.
fn compared(line: Settings, codec: Codec) -> (Comparison, Heard) {
    let (said, heard) = call(1, |setup| (setup.line, setup.codec) = (line, codec));
    let found = compare(&said, &heard.samples).expect("speech");
    assert!(found.is_same() && heard.found, "{line:?}: {found:?}");
    assert!(found.level_db.abs() < 1.5, "{line:?}: {} dB", found.level_db);
    assert!(found.delay_ms().abs() < 1.0, "{line:?}: {} ms off its place", found.delay_ms());
    (found, heard)
}

const LEVELS: [Codec; 2] = [Codec::Opus, Codec::Pcm];

fn line(settings: &str) -> Settings {
    settings.parse().expect("a line")
}

fn mean_ms(heard: &Heard) -> f64 {
    heard.frames.iter().map(|it| it.late_ms).sum::<f64>() / heard.frames.len() as f64
}

#[test]
fn pcm_over_a_good_line_is_what_was_said_bit_for_bit() {
    let (said, heard) = call(1, |setup| setup.codec = Codec::Pcm);
    assert_eq!(heard.samples, said);
    assert!((20.0 + 20.0..20.0 + 20.0 + 11.0).contains(&heard.behind_ms), "{} ms", heard.behind_ms);
}

#[test]
fn a_good_line_adds_next_to_nothing() {
    for codec in LEVELS {
        let (found, heard) = compared(line("delay=50"), codec);
        assert!(found.likeness() > 0.94 && found.gaps.is_empty(), "{codec:?}: {found:?}");
        assert_eq!((heard.figures.concealed, heard.figures.lost, heard.figures.late), (0, 0, 0));
        let most = heard.frames.iter().map(|it| it.waited_ms).fold(0.0, f64::max);
        assert!(most <= 10.0, "{codec:?} waits {most} ms");
    }
}

#[test]
fn repeats_make_good_what_is_lost() {
    for (settings, likeness) in [("loss=5", 0.9), ("loss=10", 0.9), ("loss=20", 0.85), ("loss=5,burst=3", 0.8)] {
        let (found, heard) = compared(line(settings), Codec::Opus);
        assert!(found.likeness() > likeness, "{settings}: {}", found.likeness());
        assert!(heard.figures.lost > 5, "{settings}: {} lost", heard.figures.lost);
        assert!(heard.figures.concealed * 2 < heard.figures.lost, "{settings}: {:?}", heard.figures);
        assert_eq!(heard.repeated.last().map(|it| it.1), Some(Redundancy::Two), "{settings}");
    }
}

#[test]
fn what_an_original_loses_is_filled_and_costs_no_delay() {
    let (found, heard) = compared(line("loss=5"), Codec::Pcm);
    assert!(found.likeness() > 0.9, "{}", found.likeness());
    assert!(heard.figures.concealed >= heard.figures.lost.saturating_sub(1), "{:?}", heard.figures);
    assert!(found.missing_ms() < 60.0, "{:?}", found.gaps);
    assert!(mean_ms(&heard) < 12.0, "{} ms", mean_ms(&heard));
}

#[test]
fn jitter_is_not_heard() {
    for codec in LEVELS {
        for (settings, most_ms) in
            [("jitter=uniform:20", 45.0), ("jitter=normal:5", 60.0), ("jitter=uniform:80", 120.0)]
        {
            let (found, heard) = compared(line(settings), codec);
            assert!(found.gaps.is_empty(), "{codec:?}, {settings}: {:?}", found.gaps);
            assert!(heard.figures.concealed <= 4, "{codec:?}, {settings}: {:?}", heard.figures);
            assert!(mean_ms(&heard) < most_ms, "{codec:?}, {settings}: {} ms", mean_ms(&heard));
        }
    }
}

#[test]
fn stalls_are_rarely_heard() {
    let (_, heard) = call(8, |setup| setup.line = line("jitter=wifi"));
    let frames = heard.frames.len() as u64;
    assert!(heard.figures.late * 50 < frames, "{:?} of {frames}", heard.figures);
    assert!(mean_ms(&heard) < 90.0, "{} ms", mean_ms(&heard));
}

#[test]
fn after_a_storm_the_delay_comes_back() {
    for codec in LEVELS {
        let (_, heard) = call(3, |setup| (setup.line, setup.codec) = (line("jitter=storm:2-7"), codec));
        // The storm ends 4 s after the warm-up.
        let stormy = heard.frames.iter().filter(|it| (100..200).contains(&it.frame));
        assert!(stormy.fold(0.0, |most: f64, it| most.max(it.late_ms)) > 60.0);
        let calm = heard.frames.iter().filter(|it| it.frame > 200 + 175);
        let most = calm.fold(0.0, |most: f64, it| most.max(it.late_ms));
        assert!(most < 14.0, "{codec:?}: still {most} ms");
    }
}

#[test]
fn overtaken_and_repeated_datagrams_are_heard_once_and_in_their_place() {
    for codec in LEVELS {
        let (found, heard) = compared(line("reorder=5,duplicate=20"), codec);
        assert!(found.gaps.is_empty() && found.likeness() > 0.85, "{codec:?}: {found:?}");
        assert!(heard.figures.duplicates > 10, "{:?}", heard.figures);
        assert_eq!(heard.figures.lost, 0);
        let order: Vec<u64> = heard.frames.iter().map(|it| it.frame).collect();
        assert!(order.is_sorted_by(|a, b| a < b), "each once");
    }
}

#[test]
fn drifting_clocks_are_followed_without_a_gap() {
    for (drift, card) in [(200.0, 0.0), (-200.0, 0.0), (0.0, 200.0), (0.0, -200.0)] {
        // A minute is 12 ms of drift: more than the buffer holds.
        let (_, heard) = call(13, |setup| {
            (setup.line.drift_ppm, setup.card_ppm, setup.codec) = (drift, card, Codec::Pcm);
        });
        assert_eq!(heard.figures.concealed, 0, "{drift}, {card}");
        let mean =
            |frames: &[call::HeardFrame]| frames.iter().map(|it| it.waited_ms).sum::<f64>() / frames.len() as f64;
        let (first, last) = (mean(&heard.frames[..500]), mean(&heard.frames[heard.frames.len() - 500..]));
        assert!(first < 12.0 && last < 12.0, "{drift}, {card}: from {first} to {last} ms");
    }
}

#[test]
fn a_pause_is_neither_silent_nor_loud_and_what_follows_is_whole() {
    // Speech before a soft noise, two seconds of that noise alone, and speech again.
    let words = sample();
    let quiet = vec![0; RATE as usize * 2];
    let noise = crate::voice::testing::noise(1, 200.0, words.len() * 2 + quiet.len());
    let said = [&words[..], &quiet, &words].concat();
    let said: Vec<i16> = said.iter().zip(&noise).map(|(a, b)| a.saturating_add(*b)).collect();
    for settings in ["delay=20", "loss=10", "jitter=uniform:40"] {
        let setup = Setup { line: line(settings), ..Setup::default() };
        #[allow(clippy::disallowed_methods, reason = "any moment will do")]
        let heard = talk(&said, &setup, Instant::now(), |_| ()).expect("a codec");
        assert!(heard.packets < (said.len() / 320) as u64 * 9 / 10, "{settings}: {} packets", heard.packets);
        let found = compare(&said, &heard.samples).expect("speech");
        assert!(found.found() > 0.9 && found.gaps.is_empty(), "{settings}: {found:?}");
        let pause = words.len() + 16_000..words.len() + 28_000;
        let (there, here) = (level_db(&said[pause.clone()]), level_db(&heard.samples[pause]));
        assert!((there - here).abs() < 8.0, "{settings}: {here} dB in the pause, not {there}");
    }
}

#[test]
fn the_same_seed_is_the_same_call() {
    let bad = |seed| {
        call(1, |setup| {
            (setup.line, setup.seed) = (line("loss=10,burst=2,jitter=uniform:40,reorder=2,duplicate=2"), seed);
        })
        .1
    };
    let (one, same, other) = (bad(7), bad(7), bad(8));
    assert_eq!((&one.samples, &one.frames, one.figures), (&same.samples, &same.frames, same.figures));
    assert_ne!(one.samples, other.samples);
}

#[test]
fn silence_and_the_shortest_sounds_are_no_trouble() {
    for said in [vec![1], vec![0; 16_000], vec![i16::MIN; 321]] {
        for codec in LEVELS {
            let setup = Setup { codec, warmup: Duration::ZERO, ..Setup::default() };
            #[allow(clippy::disallowed_methods, reason = "any moment will do")]
            let heard = talk(&said, &setup, Instant::now(), |_| ()).expect("a codec");
            assert_eq!(heard.samples.len(), said.len());
        }
    }
}

#[test]
fn files_are_read_and_written_and_what_is_wrong_is_said() {
    let folder = std::env::temp_dir().join(format!("p2p-chat-lab-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = |name: &str| folder.join(name).display().to_string();
    let (said, heard) = (concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/speech.wav"), path("heard.wav"));
    let lab = |input: &str, output: &str| {
        let line = ["voice-lab", input, output, "--loss", "10", "--seed", "3"].map(str::to_owned);
        let Ok(crate::options::Asked::VoiceLab(asked, setup)) = crate::options::read(&line) else { panic!("{line:?}") };
        let mut done = Vec::new();
        run(&asked, &setup, false, |share| done.push(share)).inspect(|_| assert_eq!(done.last(), Some(&1.0)))
    };
    let figures: serde_json::Value = serde_json::from_str(&lab(said, &heard).expect("figures")).expect("JSON");
    assert!(figures["lost"].as_u64() > Some(5) && figures["found"] == true, "{figures}");
    assert_eq!(figures["repeats"].as_array().and_then(|it| it.last()).map(|it| &it[1]), Some(&2.into()));
    let written = wav::read_16k_mono(Path::new(&heard)).expect("written");
    assert_eq!(written.len(), sample().len());
    assert!(compare(&sample(), &written).expect("speech").is_same());
    std::fs::write(path("text.wav"), "no sound").expect("written");
    std::fs::write(path("empty.wav"), std::fs::read(&heard).expect("read").get(..44).expect("a header"))
        .expect("written");
    for (input, output, word) in [
        (path("absent.wav"), path("out.wav"), "absent.wav"),
        (path("text.wav"), path("out.wav"), "text.wav"),
        (said.to_owned(), path("no/such/folder.wav"), "folder.wav"),
        (heard.clone(), heard.clone(), "over what is said"),
    ] {
        assert!(lab(&input, &output).expect_err("wrong").contains(word), "{input} {output}");
    }
    std::fs::remove_dir_all(folder).expect("removed");
}
