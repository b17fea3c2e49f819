//! The speech that was said beside the speech that was heard: the subcommand `voice-compare`.
//!
//! [`crate::voice::compare`] measures; here files are read, and what was found is told: as JSON for programs, and for people
//! drawn in a [`terminal`] or as a [picture](svg). Both drawings lay what was heard under what was said, its delay taken off.

use std::path::Path;

use serde::Serialize;

use crate::api::line::to_json;
use crate::audio::wav;
use crate::options::VoiceCompare;
use crate::voice::compare::{compare, compare_near};

mod pair;
pub mod svg;
pub mod terminal;

pub use pair::Pair;
use pair::{round, seconds};

/// Figures, as they are printed for programs. Numbers that can't be told are null.
#[derive(Debug, Serialize)]
struct Figures {
    same: bool,
    /// The share of the pieces that were found.
    found: f64,
    pieces: usize,
    likeness: f64,
    delay_ms: Option<f64>,
    delay_p5_ms: Option<f64>,
    delay_p95_ms: Option<f64>,
    level_db: Option<f64>,
    missing_ms: f64,
    gaps: Vec<Gap>,
    said_s: f64,
    heard_s: f64,
}

/// Where speech is missing.
#[derive(Debug, Serialize)]
struct Gap {
    at_s: f64,
    ms: f64,
}

/// Compares two files. Gives what to print, and whether it is the same speech.
///
/// # Errors
/// If a file can't be read or written, or nothing is said in the first one.
pub fn run(files: &VoiceCompare, is_terminal: bool) -> Result<(String, bool), String> {
    let said = wav::read_16k_mono(Path::new(&files.said))?;
    let heard = wav::read_16k_mono(Path::new(&files.heard))?;
    let found = match files.near {
        Some(delay) => compare_near(&said, &heard, delay),
        None => compare(&said, &heard),
    };
    let found = found.ok_or_else(|| format!("{}: nothing is said in it", files.said))?;
    let pair = Pair { said, heard, found, offset_ms: files.offset, least: files.found / 100.0 };
    if let Some(path) = &files.svg {
        let picture = svg::draw(&pair, &files.title);
        std::fs::write(path, picture).map_err(|e| format!("--svg {path}: {e}"))?;
    }
    let mut text = String::new();
    if files.draw || (is_terminal && !files.json) {
        text += &terminal::draw(&pair, is_terminal && terminal::wants_colour());
    }
    if files.json || !(is_terminal || files.draw) {
        text += &to_json(&figures(&pair));
        text.push('\n');
    }
    Ok((text, pair.is_same()))
}

fn figures(pair: &Pair) -> Figures {
    let delay = |share| known(pair.found.delay_quantile(share) - pair.offset_ms, 10.0);
    Figures {
        same: pair.is_same(),
        found: round(pair.found.found(), 1000.0),
        pieces: pair.found.pieces.len(),
        likeness: round(pair.found.likeness(), 1000.0),
        delay_ms: delay(0.5),
        delay_p5_ms: delay(0.05),
        delay_p95_ms: delay(0.95),
        level_db: known(pair.found.level_db, 10.0),
        missing_ms: round(pair.found.missing_ms(), 10.0),
        gaps: pair.found.gaps.iter().map(|gap| Gap { at_s: round(gap.at, 1000.0), ms: round(gap.ms, 10.0) }).collect(),
        said_s: round(pair.seconds(), 1000.0),
        heard_s: round(seconds(pair.heard.len()), 1000.0),
    }
}

fn known(number: f64, parts: f64) -> Option<f64> {
    number.is_finite().then(|| round(number, parts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{self, Asked};
    use crate::voice::testing::sample;

    /// A file of its own for each test.
    fn wav_file(name: &str, samples: &[i16]) -> String {
        let path = std::env::temp_dir().join(format!("p2p-chat-compare-{}-{name}.wav", std::process::id()));
        let mut writer = wav::Writer::create(&path).expect("made");
        writer.write(samples).and_then(|()| writer.finish()).expect("written");
        path.display().to_string()
    }

    fn asked(words: &[&str]) -> VoiceCompare {
        let words: Vec<String> = ["voice-compare"].iter().chain(words).map(|it| (*it).to_owned()).collect();
        match options::read(&words) {
            Ok(Asked::VoiceCompare(files)) => files,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    /// The sample, half as loud, 100 ms later and with a hole of 100 ms in a loud place.
    fn with_a_gap() -> (Vec<i16>, Vec<i16>) {
        let said = sample();
        let mut heard = vec![0; 1600];
        heard.extend(said.iter().map(|it| it / 2));
        heard[1600 + 18_000..][..1600].fill(0);
        (said, heard)
    }

    fn pair() -> Pair {
        let (said, heard) = with_a_gap();
        let found = compare(&said, &heard).expect("speech");
        Pair { said, heard, found, offset_ms: 60.0, least: 0.8 }
    }

    #[test]
    fn programs_get_figures_and_an_answer() {
        let (said, heard) = with_a_gap();
        let (said, heard) = (wav_file("said", &said), wav_file("heard", &heard));
        let (text, same) = run(&asked(&[&said, &heard, "--offset", "60"]), false).expect("compared");
        let figures: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert!(same && figures["same"] == true, "{text}");
        assert_eq!(figures["delay_ms"], 40.0, "{text}");
        assert!((figures["level_db"].as_f64().expect("a level") + 6.0).abs() < 0.2, "{text}");
        assert_eq!(figures["gaps"].as_array().map(Vec::len), Some(1), "{text}");
        let (text, same) = run(&asked(&[&said, &said, "--json", "--draw"]), true).expect("compared");
        assert!(same && text.contains("\"gaps\":[]") && text.contains("✓ the same speech"), "{text}");
        for path in [said, heard] {
            std::fs::remove_file(path).expect("removed");
        }
    }

    #[test]
    fn something_else_and_nothing_are_told_apart() {
        let (said, silence) = (wav_file("else", &sample()), wav_file("silence", &[0; 16_000]));
        let (text, same) = run(&asked(&[&said, &silence]), false).expect("compared");
        assert!(!same && text.contains("\"same\":false") && text.contains("\"level_db\":null"), "{text}");
        assert!(run(&asked(&[&silence, &said]), false).expect_err("silent").contains("nothing is said"));
        assert!(run(&asked(&[&said, "/no/where.wav"]), false).expect_err("absent").contains("/no/where.wav"));
        let refused = run(&asked(&[&said, &said, "--svg", "/no/where.svg"]), false);
        assert!(refused.expect_err("no folder").contains("--svg /no/where.svg"));
        for path in [said, silence] {
            std::fs::remove_file(path).expect("removed");
        }
    }

    #[test]
    fn the_drawing_fits_a_terminal() {
        let plain = terminal::draw(&pair(), false);
        assert!(plain.lines().all(|line| line.chars().count() < 80 && line.trim_end() == line), "{plain}");
        assert!(plain.contains('×') && plain.contains("1 gap of"), "{plain}");
        assert!(!plain.contains('\x1b') && terminal::draw(&pair(), true).contains("\x1b[0m"));
        assert!(plain.lines().filter(|line| line.contains('⣿')).count() >= 3, "{plain}");
    }

    #[test]
    fn the_picture_is_whole_whatever_its_title_is() {
        let svg = svg::draw(&pair(), "</svg> & \"\u{1b}[31m");
        assert!(svg.ends_with("</svg>\n") && svg.matches("</svg>").count() == 1, "{svg}");
        assert!(svg.contains("&lt;/svg&gt; &amp; &quot;") && !svg.contains('\u{1b}'));
        assert!(svg.contains("class=\"gap\"") && svg.contains("class=\"delay\"") && !svg.contains("NaN"));
    }
}
