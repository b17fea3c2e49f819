//! Both recordings drawn in a terminal of 80 columns.
//!
//! Braille characters hold 2 dots by 4. What is said is above what was heard, each around a middle line of its own; where
//! speech is missing, the axis between them is marked.

use std::fmt::Write;

use super::pair::{Pair, axis_step, envelopes, round};

/// Characters before each line.
const MARGIN: &str = "   ";
/// Characters of a drawing, so that it fits 80 columns with its margin.
const COLUMNS: usize = 74;
/// Lines of a waveform.
const ROWS: usize = 4;

/// Escape sequences, empty without colour.
struct Ink {
    said: &'static str,
    heard: &'static str,
    bad: &'static str,
    dim: &'static str,
    off: &'static str,
}

const COLOURS: Ink = Ink { said: "\x1b[36m", heard: "\x1b[32m", bad: "\x1b[31m", dim: "\x1b[2m", off: "\x1b[0m" };
const PLAIN: Ink = Ink { said: "", heard: "", bad: "", dim: "", off: "" };

/// Whether the environment lets a terminal have colours.
pub fn wants_colour() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|it| !it.is_empty());
    !set("NO_COLOR") && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Draws both, with the figures below them.
pub fn draw(pair: &Pair, colour: bool) -> String {
    let ink = if colour { COLOURS } else { PLAIN };
    let [said, heard] = envelopes(pair, COLUMNS * 2);
    let missing = missing(pair);
    let mut text = String::new();
    for line in waveform(&said) {
        put(&mut text, &line, |_| ink.said, &ink);
    }
    put(&mut text, &axis(pair, &missing), |n| if is(&missing, n) { ink.bad } else { ink.dim }, &ink);
    for line in waveform(&heard) {
        put(&mut text, &line, |n| if is(&missing, n) { ink.bad } else { ink.heard }, &ink);
    }
    let (verdict, mark) = match pair.is_same() {
        true => (ink.heard, "✓ the same speech"),
        false => (ink.bad, "✗ not the same speech"),
    };
    let words = pair.words();
    let (first, more) = words.split_at(words.len().min(2));
    let _ = writeln!(text, "\n{MARGIN}{verdict}{mark}{}: {}", ink.off, first.join(", "));
    if !more.is_empty() {
        let _ = writeln!(text, "{MARGIN}  {}", more.join(", "));
    }
    text
}

/// Adds a line, whose characters have colours by their places.
fn put(text: &mut String, line: &[char], colour: impl Fn(usize) -> &'static str, ink: &Ink) {
    let end = line.iter().rposition(|it| *it != ' ').map_or(0, |last| last + 1);
    let mut now = "";
    if end > 0 {
        text.push_str(MARGIN);
    }
    for (n, letter) in line.iter().take(end).enumerate() {
        let style = colour(n);
        if style != now {
            text.push_str(style);
            now = style;
        }
        text.push(*letter);
    }
    if !now.is_empty() {
        text.push_str(ink.off);
    }
    text.push('\n');
}

/// The lines of a waveform, of extremes for each column of dots.
fn waveform(extremes: &[(f64, f64)]) -> Vec<Vec<char>> {
    /// The dots of a braille character, from the top, left and right.
    const DOTS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
    let half = (ROWS * 2) as f64;
    let row_of = |share: f64| ((1.0 - share.clamp(-1.0, 1.0)) * half).round().min(half * 2.0 - 1.0) as usize;
    let mut lines = vec![vec![0_u32; COLUMNS]; ROWS];
    for (n, (low, high)) in extremes.iter().enumerate() {
        for y in row_of(*high)..=row_of(*low) {
            if let Some(cell) = lines.get_mut(y / 4).and_then(|line| line.get_mut(n / 2)) {
                *cell |= DOTS[y % 4][n % 2];
            }
        }
    }
    let letter = |dots: u32| if dots == 0 { ' ' } else { char::from_u32(0x2800 + dots).unwrap_or(' ') };
    lines.into_iter().map(|line| line.into_iter().map(letter).collect()).collect()
}

/// In which columns speech is missing.
fn missing(pair: &Pair) -> Vec<bool> {
    let column = |seconds: f64| seconds / pair.seconds().max(1e-9) * COLUMNS as f64;
    let mut columns = vec![false; COLUMNS];
    for gap in &pair.found.gaps {
        let (first, last) = (column(gap.at) as usize, column(gap.at + gap.ms / 1000.0).ceil() as usize);
        columns.iter_mut().take(last.max(first + 1)).skip(first).for_each(|it| *it = true);
    }
    columns
}

fn is(columns: &[bool], n: usize) -> bool {
    columns.get(n).copied().unwrap_or_default()
}

/// The seconds, and a mark where speech is missing.
fn axis(pair: &Pair, missing: &[bool]) -> Vec<char> {
    let mut line = vec!['·'; COLUMNS];
    let step = axis_step(pair.seconds());
    for n in 0_u32.. {
        let at = f64::from(n) * step;
        let column = (at / pair.seconds().max(1e-9) * COLUMNS as f64) as usize;
        let label = if n == 0 { "0 s".to_owned() } else { format!("{}", round(at, 10.0)) };
        if column + label.len() > COLUMNS {
            break;
        }
        line.iter_mut().skip(column).zip(label.chars()).for_each(|(to, letter)| *to = letter);
    }
    line.iter_mut().zip(missing).filter(|(_, missing)| **missing).for_each(|(to, _)| *to = '×');
    line
}
