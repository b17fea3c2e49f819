//! The results: figures, their limits, and how they are shown to people and to machines.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

use crate::relay::Who;

/// One figure of each contestant, a value a round; empty for one that was not measured.
#[derive(Clone)]
pub struct Series([Vec<f64>; 3]);

impl Series {
    pub const fn new() -> Self {
        Self([const { Vec::new() }; 3])
    }

    pub fn push(&mut self, who: Who, value: f64) {
        self.0[who as usize].push(value);
    }

    pub fn of(&self, who: Who) -> &[f64] {
        &self.0[who as usize]
    }

    /// The median over the rounds of one contestant's figure over another's in the same round.
    fn ratio(&self, who: Who, to: Who) -> Option<f64> {
        let pairs = self.of(who).iter().zip(self.of(to));
        median(pairs.filter(|(_, to)| **to > 0.0).map(|(who, to)| who / to))
    }
}

/// The unit of a figure.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Microseconds,
    Milliseconds,
    PerSecond,
    MiB,
    KiB,
    Bytes,
    Messages,
    /// So many times what it was.
    Times,
}

impl Unit {
    /// Whether a ratio of two such figures says anything.
    fn compares(self) -> bool {
        matches!(self, Self::Microseconds | Self::Milliseconds | Self::PerSecond)
    }

    fn show(self, value: f64) -> String {
        let digits = match value.abs() {
            value if value >= 100.0 || value.fract() == 0.0 => 0,
            value if value >= 10.0 => 1,
            _ => 2,
        };
        match self {
            Self::Microseconds => format!("{value:.digits$} µs"),
            Self::Milliseconds => format!("{value:.digits$} ms"),
            Self::PerSecond => format!("{}/s", thousands(value)),
            Self::MiB => format!("{value:.digits$} MiB"),
            Self::KiB => format!("{} KiB", thousands(value)),
            Self::Bytes if value < 100.0 => format!("{value:.1} B"),
            Self::Bytes => format!("{} B", thousands(value)),
            Self::Messages => thousands(value),
            Self::Times => format!("{value:.2}×"),
        }
    }
}

/// How the rounds of a figure become one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    Median,
    /// The highest: for what must never happen.
    Worst,
    /// All together: for what is rare.
    Sum,
}

/// The limit that a figure is held to.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The figure is this or less.
    Most(f64),
    Least(f64),
    /// The figure is so many times that of the typed yardstick, or less.
    MostOfTyped(f64),
    LeastOfTyped(f64),
}

impl Limit {
    fn holds(self, value: f64, to_typed: Option<f64>) -> Option<bool> {
        match self {
            Self::Most(limit) => Some(value <= limit),
            Self::Least(limit) => Some(value >= limit),
            Self::MostOfTyped(limit) => to_typed.map(|ratio| ratio <= limit),
            Self::LeastOfTyped(limit) => to_typed.map(|ratio| ratio >= limit),
        }
    }

    fn show(self, unit: Unit) -> String {
        match self {
            Self::Most(limit) => format!("≤ {}", unit.show(limit)),
            Self::Least(limit) => format!("≥ {}", unit.show(limit)),
            Self::MostOfTyped(limit) => format!("≤ {limit:.1}× typed"),
            Self::LeastOfTyped(limit) => format!("≥ {limit:.1}× typed"),
        }
    }
}

/// How a figure stands.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It reaches what it should.
    Ok,
    /// It passes the gate, and no more.
    Gate,
    Miss,
    /// It has no limit, and is there to be known.
    Known,
    /// It could not be measured.
    Unmeasured,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Gate => "gate",
            Self::Miss => "MISS",
            Self::Known => "",
            Self::Unmeasured => "?",
        })
    }
}

/// One line of the table.
pub struct Row {
    name: &'static str,
    work: String,
    unit: Unit,
    pick: Pick,
    series: Series,
    gate: Option<Limit>,
    reach: Option<Limit>,
}

impl Row {
    pub fn new(name: &'static str, work: impl Into<String>, unit: Unit, series: Series) -> Self {
        Self { name, work: work.into(), unit, pick: Pick::Median, series, gate: None, reach: None }
    }

    pub fn pick(mut self, pick: Pick) -> Self {
        self.pick = pick;
        self
    }

    pub fn gate(mut self, limit: Limit) -> Self {
        self.gate = Some(limit);
        self
    }

    pub fn reach(mut self, limit: Limit) -> Self {
        self.reach = Some(limit);
        self
    }

    fn value(&self, who: Who) -> Option<f64> {
        let rounds = self.series.of(who).iter().copied();
        match self.pick {
            Pick::Median => median(rounds),
            Pick::Worst => rounds.reduce(f64::max),
            Pick::Sum => rounds.reduce(|sum, round| sum + round),
        }
    }

    fn ratio(&self, to: Who) -> Option<f64> {
        self.series.ratio(Who::Node, to).filter(|_| self.unit.compares())
    }

    fn verdict(&self) -> Verdict {
        let Some(value) = self.value(Who::Node) else { return Verdict::Unmeasured };
        let holds = |limit: Option<Limit>| limit.map_or(Some(true), |limit| limit.holds(value, self.ratio(Who::Typed)));
        match (self.gate.or(self.reach), holds(self.gate), holds(self.reach)) {
            (None, _, _) => Verdict::Known,
            (_, Some(true), Some(true)) => Verdict::Ok,
            (_, Some(true), _) => Verdict::Gate,
            (_, Some(false), _) => Verdict::Miss,
            (_, None, _) => Verdict::Unmeasured,
        }
    }

    fn cells(&self) -> [String; COLUMNS] {
        let value = |who| self.value(who).map_or("-".into(), |value| self.unit.show(value));
        let ratio = |to| self.ratio(to).map_or(String::new(), |ratio| format!("{ratio:.2}×"));
        let limit = |limit: Option<Limit>| limit.map_or(String::new(), |limit| limit.show(self.unit));
        [
            self.work.clone(),
            value(Who::Node),
            value(Who::Typed),
            value(Who::Bare),
            ratio(Who::Typed),
            ratio(Who::Bare),
            limit(self.gate),
            limit(self.reach),
            self.verdict().to_string(),
        ]
    }

    fn json(&self) -> serde_json::Value {
        let figure = |who| serde_json::json!({ "value": self.value(who), "rounds": self.series.of(who) });
        serde_json::json!({
            "name": self.name,
            "work": self.work,
            "unit": self.unit,
            "node": figure(Who::Node),
            "typed": figure(Who::Typed),
            "bare": figure(Who::Bare),
            "node_to_typed": self.ratio(Who::Typed),
            "node_to_bare": self.ratio(Who::Bare),
            "gate": self.gate,
            "reach": self.reach,
            "verdict": self.verdict(),
        })
    }
}

const COLUMNS: usize = 9;
const HEADS: [&str; COLUMNS] = ["work", "node", "typed", "bare", "to typed", "to bare", "gate", "reach", "verdict"];

/// The whole table.
#[derive(Default)]
pub struct Report {
    pub rows: Vec<Row>,
    /// The works that could not be measured, and why.
    pub failures: Vec<String>,
}

impl Report {
    /// Whether a gate was missed.
    pub fn missed(&self) -> bool {
        self.rows.iter().any(|row| row.verdict() == Verdict::Miss)
    }

    /// Writes the table: words to the left, figures to the right.
    pub fn show(&self, out: &mut impl Write) -> io::Result<()> {
        let mut lines = vec![HEADS.map(str::to_owned)];
        lines.extend(self.rows.iter().map(Row::cells));
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; COLUMNS] = std::array::from_fn(width);
        for (number, line) in lines.iter().enumerate() {
            let mut text = String::new();
            for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
                let gap = if column == 0 { "" } else { "  " };
                text += &match column {
                    0 | 6.. => format!("{gap}{cell:<width$}"),
                    _ => format!("{gap}{cell:>width$}"),
                };
            }
            writeln!(out, "{}", text.trim_end())?;
            if number == 0 {
                writeln!(out, "{}", widths.map(|width| "─".repeat(width)).join("  "))?;
            }
        }
        Ok(())
    }

    /// The same for machines: every round's figure too.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "unmeasured": self.failures,
            "missed": self.missed(),
        })
    }
}

/// The progress, on stderr: on a terminal always in the same line, else a line a work.
#[derive(Default)]
pub struct Progress {
    pub terminal: bool,
}

impl Progress {
    pub fn begin(&self, work: &str) {
        if !self.terminal {
            eprintln!("measuring: {work}");
        }
    }

    pub fn at(&self, turn: &str) {
        if self.terminal {
            eprint!("\r\x1b[K{turn}");
        }
    }
}

/// The value in the middle; of two, the lower.
pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len().checked_sub(1)? / 2;
    values.get(middle).copied()
}

/// A whole number in groups of three digits.
pub fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value <= -0.5 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
