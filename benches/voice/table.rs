//! The table: a row as soon as it is measured.

/// Prints rows, and remembers whether all that was to be reached was.
pub struct Table {
    reached: bool,
}

/// What a figure must be.
#[derive(Clone, Copy)]
pub enum Reach {
    AtLeast(f64),
    AtMost(f64),
}

impl Table {
    pub fn new() -> Self {
        println!("{:<66} {:>10} {:>9}", "voice (virtual lines)", "here", "reach");
        Self { reached: true }
    }

    /// A figure that is to reach something. `show` prints it, and what it is to reach.
    pub fn row(&mut self, what: &str, value: f64, reach: Reach, show: impl Fn(f64) -> String) {
        let (ok, of, sign) = match reach {
            Reach::AtLeast(least) => (value >= least, least, "≥"),
            Reach::AtMost(most) => (value <= most, most, "≤"),
        };
        self.reached &= ok;
        let mark = if ok { "ok" } else { "MISSED" };
        println!("{what:<66} {:>10} {:>9}  {mark}", show(value), format!("{sign} {}", show(of)));
    }

    /// A row that could not be measured: no failure.
    pub fn not_measured(&mut self, what: &str, reach: Reach, show: impl Fn(f64) -> String, why: &str) {
        let (Reach::AtLeast(of) | Reach::AtMost(of)) = reach;
        println!("{what:<66} {:>10} {:>9}  not measured: {why}", "-", show(of));
    }

    /// A figure beside others.
    pub fn note(&self, what: &str, value: &str) {
        println!("  {what:<64} {value:>10}");
    }

    pub fn is_reached(&self) -> bool {
        self.reached
    }
}

/// A quantile, 0 to 1.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    p2p_chat::lab::call::quantile(values, share)
}

pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
