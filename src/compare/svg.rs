//! Both recordings as a picture, fit for light and for dark pages.

use std::fmt::Write;

use super::pair::{Pair, axis_step, envelopes, round};
use crate::api::line::printable;

/// Pixels: the picture's width, and what is left free of it on the left and on the right.
const WIDTH: f64 = 900.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
/// Pixels: where the first waveform begins, how high each is, and what lies between two panels.
const TOP: f64 = 84.0;
const HIGH: f64 = 112.0;
const BETWEEN: f64 = 14.0;
/// Pixels: how high the panel of the delays is.
const DELAYS: f64 = 46.0;
/// Pixels of a column of a waveform.
const COLUMN: f64 = 2.0;

/// Pixels that a gap's length takes.
const LABEL: f64 = 24.0;
/// Characters of a title that fit.
const TITLE: usize = 84;

const PANE: f64 = WIDTH - LEFT - RIGHT;
const HEARD: f64 = TOP + HIGH + BETWEEN;
const DELAY: f64 = HEARD + HIGH + BETWEEN;
const AXIS: f64 = DELAY + DELAYS;
const HEIGHT: f64 = AXIS + 58.0;

const STYLE: &str = r#"<style>
  svg { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
  .page { fill: #ffffff; } .title { fill: #16202c; font-size: 18px; font-weight: 600; }
  .about { fill: #5b6b7c; font-size: 12.5px; } .tick { fill: #5b6b7c; font-size: 11px; text-anchor: middle; }
  .side { fill: #5b6b7c; font-size: 12px; text-anchor: end; } .small { fill: #5b6b7c; font-size: 10px; text-anchor: end; }
  .band { fill: #f4f7fa; } .rule { stroke: #dde4ec; stroke-width: 1; } .said { fill: #2467d6; } .heard { fill: #16855b; }
  .delay { fill: none; stroke: #7a4fc9; stroke-width: 2; stroke-linecap: round; }
  .gap { fill: #d92d20; fill-opacity: 0.16; } .gone { fill: #d92d20; font-size: 10px; text-anchor: middle; }
  .lost { fill: #c8741a; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1520; } .title { fill: #e8eef5; } .about, .tick, .side, .small { fill: #93a3b5; }
    .band { fill: #121c29; } .rule { stroke: #26364a; } .said { fill: #6aa5ff; } .heard { fill: #4cc38a; }
    .delay { stroke: #b79cf2; } .gap { fill: #ff6b5e; fill-opacity: 0.22; } .gone { fill: #ff8a80; } .lost { fill: #e7a54a; }
  }
</style>
"#;

/// Draws both, one above the other, and below them how long each piece took.
pub fn draw(pair: &Pair, title: &str) -> String {
    let [said, heard] = envelopes(pair, (PANE / COLUMN) as usize);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">\n\
         <title>{}</title>\n{STYLE}<rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"10\"/>\n",
        xml(title)
    );
    let title = match title.char_indices().nth(TITLE) {
        Some((end, _)) => &format!("{}…", title.get(..end).unwrap_or_default()),
        None => title,
    };
    let words = pair.words().join(" · ");
    let _ = writeln!(svg, "<text class=\"title\" x=\"24\" y=\"36\">{}</text>", xml(title));
    let _ = writeln!(svg, "<text class=\"about\" x=\"24\" y=\"60\">{}</text>", xml(&words));
    for (y, high) in [(TOP, HIGH), (HEARD, HIGH), (DELAY, DELAYS)] {
        let _ =
            writeln!(svg, "<rect class=\"band\" x=\"{LEFT}\" y=\"{y}\" width=\"{PANE}\" height=\"{high}\" rx=\"6\"/>");
    }
    axis(&mut svg, pair);
    for (y, class, extremes) in [(TOP, "said", &said), (HEARD, "heard", &heard)] {
        let middle = y + HIGH / 2.0;
        let _ = writeln!(svg, "<text class=\"side\" x=\"{}\" y=\"{}\">{class}</text>", LEFT - 10.0, middle + 4.0);
        let _ = writeln!(svg, "<path class=\"{class}\" d=\"{}\"/>", outline(extremes, middle));
    }
    delays(&mut svg, pair);
    gaps(&mut svg, pair);
    legend(&mut svg);
    svg + "</svg>\n"
}

/// Where a time of what was said is.
fn x_of(pair: &Pair, seconds: f64) -> f64 {
    round(LEFT + seconds / pair.seconds().max(1e-9) * PANE, 10.0)
}

/// A waveform as one shape: its upper edge from left to right, its lower one back.
fn outline(extremes: &[(f64, f64)], middle: f64) -> String {
    let half = HIGH / 2.0 - 4.0;
    // Half a pixel at least to either side, so that silence is a line.
    let upper = extremes.iter().enumerate().map(|(n, (_, high))| (n, middle - (high * half).max(0.5)));
    let lower = extremes.iter().enumerate().rev().map(|(n, (low, _))| (n, middle - (low * half).min(-0.5)));
    let mut path = String::new();
    for (letter, (n, y)) in std::iter::once('M').chain(std::iter::repeat('L')).zip(upper.chain(lower)) {
        let _ = write!(path, "{letter}{} {}", LEFT + (n as f64 + 0.5) * COLUMN, round(y, 10.0));
    }
    path + "z"
}

/// The seconds.
fn axis(svg: &mut String, pair: &Pair) {
    let step = axis_step(pair.seconds());
    let marks = (0_u32..).map(|n| f64::from(n) * step).take_while(|at| *at <= pair.seconds());
    for at in marks {
        let x = x_of(pair, at);
        let label = if at == 0.0 { "0 s".to_owned() } else { round(at, 10.0).to_string() };
        let _ = writeln!(svg, "<path class=\"rule\" d=\"M{x} {TOP}V{}\"/>", AXIS + 4.0);
        let _ = writeln!(svg, "<text class=\"tick\" x=\"{x}\" y=\"{}\">{label}</text>", AXIS + 18.0);
    }
}

/// How long each piece took, where it was found, and a mark where it was not.
fn delays(svg: &mut String, pair: &Pair) {
    let (least, most) = (pair.found.delay_quantile(0.0), pair.found.delay_quantile(1.0));
    if !pair.found.pieces.iter().any(|piece| piece.is_found()) || least.is_nan() {
        return;
    }
    // 20 ms at least are shown, so that a sample's difference does not look like a mountain.
    let middle = (least + most) / 2.0;
    let (low, high) = ((middle - 10.0).min(least).floor(), (middle + 10.0).max(most).ceil());
    let y_of = |delay: f64| round(DELAY + DELAYS - 6.0 - (delay - low) / (high - low) * (DELAYS - 12.0), 10.0);
    let _ =
        writeln!(svg, "<text class=\"side\" x=\"{}\" y=\"{}\">delay</text>", LEFT - 10.0, DELAY + DELAYS / 2.0 + 4.0);
    for (delay, y) in [(high, DELAY + 9.0), (low, DELAY + DELAYS - 2.0)] {
        let shown = format!("{:.0}", delay - pair.offset_ms).replace('-', "−");
        let _ = writeln!(svg, "<text class=\"small\" x=\"{}\" y=\"{y}\">{shown} ms</text>", LEFT - 10.0);
    }
    for piece in &pair.found.pieces {
        let (from, to) = (x_of(pair, piece.at), x_of(pair, piece.at + 0.2));
        if piece.is_found() {
            let _ = writeln!(svg, "<path class=\"delay\" d=\"M{from} {}H{to}\"/>", y_of(piece.delay_ms));
        } else {
            let _ = writeln!(
                svg,
                "<rect class=\"lost\" x=\"{from}\" y=\"{}\" width=\"{}\" height=\"3\"/>",
                HEARD + HIGH - 3.0,
                round(to - from, 10.0)
            );
        }
    }
}

/// Where speech is missing.
fn gaps(svg: &mut String, pair: &Pair) {
    // Where two are close, one has no room for its length.
    let mut free_from = 0.0;
    for gap in &pair.found.gaps {
        let (from, to) = (x_of(pair, gap.at), x_of(pair, gap.at + gap.ms / 1000.0));
        let _ = writeln!(
            svg,
            "<rect class=\"gap\" x=\"{from}\" y=\"{TOP}\" width=\"{}\" height=\"{}\"><title>{} ms are missing</title></rect>",
            round((to - from).max(1.0), 10.0),
            HEARD + HIGH - TOP,
            gap.ms
        );
        let middle = round((from + to) / 2.0, 10.0);
        if middle >= free_from {
            let _ = writeln!(svg, "<text class=\"gone\" x=\"{middle}\" y=\"{}\">{}</text>", TOP - 4.0, gap.ms);
            free_from = middle + LABEL;
        }
    }
}

/// The meaning of the marks.
fn legend(svg: &mut String) {
    let y = HEIGHT - 16.0;
    let _ = writeln!(
        svg,
        "<rect class=\"gap\" x=\"{LEFT}\" y=\"{}\" width=\"14\" height=\"11\"/><text class=\"about\" x=\"{}\" y=\"{y}\">\
         speech that is missing, in ms</text>",
        y - 10.0,
        LEFT + 20.0
    );
    let _ = writeln!(
        svg,
        "<rect class=\"lost\" x=\"{}\" y=\"{}\" width=\"24\" height=\"3\"/><text class=\"about\" x=\"{}\" y=\"{y}\">a piece \
         that was not found</text>",
        LEFT + 226.0,
        y - 6.0,
        LEFT + 258.0
    );
    let _ = writeln!(
        svg,
        "<path class=\"delay\" d=\"M{} {}h24\"/><text class=\"about\" x=\"{}\" y=\"{y}\">how much later a piece came \
         out</text>",
        LEFT + 452.0,
        y - 4.0,
        LEFT + 484.0
    );
}

/// Text of others', fit for a picture.
fn xml(text: &str) -> String {
    printable(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
