//! A virtual line for datagrams: loss and its bursts, delay, jitter, reordering, duplicates, and clocks that differ.
//!
//! A line decides, for each datagram in the order of sending, when it arrives: not at all, once or twice. All chance comes
//! from one seed, and each kind of it from a stream of its own: the same seed loses the same datagrams whatever the
//! jitter is, so that two settings can be compared on one pattern.
//!
//! - **Loss** is independent from datagram to datagram, or in bursts after Gilbert (1960): two states, in one of which
//!   everything is lost; how long it lasts is geometric, with the given mean.
//! - **Jitter** is what a queue does: nobody overtakes, so a datagram that is held up holds up those behind it.
//! - **Reordering** takes a datagram aside and lets others overtake it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The effects of a line on datagrams.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Of a hundred datagrams, how many are lost: 0 to 90.
    pub loss_percent: f64,
    /// How many datagrams in a row are lost in the mean, 1 to 100; 1: each is lost by itself.
    pub burst: f64,
    /// The delay of every datagram.
    pub delay: Duration,
    /// The delay on top of that, which varies.
    pub jitter: Jitter,
    /// Of a hundred datagrams, how many are overtaken: 0 to 100.
    pub reorder_percent: f64,
    /// Of a hundred datagrams that arrive, how many come twice: 0 to 100.
    pub duplicate_percent: f64,
    /// By how many millionths the receiver's clock runs faster than the sender's: -10,000 to 10,000. Quartz in a computer
    /// is within 100, in a cheap sound card within a few hundred.
    pub drift_ppm: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            loss_percent: 0.0,
            burst: 1.0,
            delay: Duration::from_millis(20),
            jitter: Jitter::None,
            reorder_percent: 0.0,
            duplicate_percent: 0.0,
            drift_ppm: 0.0,
        }
    }
}

/// The forms in which a line is named.
pub const LINES: &str =
    "loss=PERCENT, burst=DATAGRAMS, delay=MS, jitter=…, reorder=PERCENT and duplicate=PERCENT, separated by commas";

impl FromStr for Settings {
    type Err = String;

    /// As in `loss=10,burst=3,jitter=uniform:40`. What is not named is not there: the delay is 0 then.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut settings = Self { delay: Duration::ZERO, ..Self::default() };
        for part in text.split(',').map(str::trim) {
            let unknown = || format!("`{}` is none of {LINES}", part.escape_debug());
            let (name, value) = part.split_once('=').ok_or_else(unknown)?;
            if name == "jitter" {
                settings.jitter = value.parse()?;
                continue;
            }
            let number: f64 =
                value.parse().map_err(|_| format!("{name} takes a number, not `{}`", value.escape_debug()))?;
            match name {
                "loss" => settings.loss_percent = number,
                "burst" => settings.burst = number,
                // A length of time knows no negative numbers and no infinite ones.
                "delay" if (0.0..=MAX_DELAY_MS).contains(&number) => settings.delay = milliseconds(number),
                "delay" => return Err(format!("delay is from 0 to {MAX_DELAY_MS}, not {number}")),
                "reorder" => settings.reorder_percent = number,
                "duplicate" => settings.duplicate_percent = number,
                _ => return Err(unknown()),
            }
        }
        settings.check()?;
        Ok(settings)
    }
}

impl Settings {
    /// Whether every figure is within its bounds.
    ///
    /// # Errors
    /// Which one is not, and what it may be.
    pub fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: f64, low: f64, high: f64| match (low..=high).contains(&value) {
            true => Ok(()),
            false => Err(format!("{name} is from {low} to {high}, not {value}")),
        };
        within("loss", self.loss_percent, 0.0, 90.0)?;
        within("burst", self.burst, 1.0, 100.0)?;
        // Between two bursts something must arrive.
        let share = self.loss_percent / 100.0;
        if self.burst > 1.0 && share / (1.0 - share) > self.burst {
            return Err(format!(
                "bursts of {} lose {:.0} % at most",
                self.burst,
                100.0 * self.burst / (1.0 + self.burst)
            ));
        }
        within("delay", self.delay.as_secs_f64() * 1000.0, 0.0, MAX_DELAY_MS)?;
        within("reorder", self.reorder_percent, 0.0, 100.0)?;
        within("duplicate", self.duplicate_percent, 0.0, 100.0)?;
        within("drift", self.drift_ppm, -10_000.0, 10_000.0)
    }

    /// How much of the sender's time a while of the receiver's takes.
    pub fn receivers(&self, while_: Duration) -> Duration {
        while_.div_f64(1.0 + self.drift_ppm / 1e6)
    }
}

/// The longest constant delay, in ms.
const MAX_DELAY_MS: f64 = 5000.0;
/// The most jitter that can be asked for, in ms.
const MAX_JITTER_MS: f64 = 1000.0;

/// How a line's delay varies.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Jitter {
    /// Not at all.
    #[default]
    None,
    /// Evenly from 0 to so many milliseconds.
    Uniform(f64),
    /// With so many milliseconds of standard deviation, around three of them, and never below 0.
    Normal(f64),
    /// Stalls of 40 to 120 ms, one to four seconds apart, after which all that was held comes at once. So a radio network
    /// looks on which others talk, or whose adapter looks for networks or saves power. The figures are a guess.
    Wifi,
    /// Evenly from 0 to 120 ms, but only from one second of the run to another; else none. The 120 ms are a guess.
    Storm {
        /// When it begins, in seconds.
        from: f64,
        /// When it is over, in seconds.
        to: f64,
    },
}

/// How long a Wi-Fi stall lasts, in ms.
const STALL_MS: (f64, f64) = (40.0, 120.0);
/// How far stalls begin apart, in ms.
const STALLS_APART_MS: (f64, f64) = (1000.0, 4000.0);
/// Jitter in a storm, in ms.
const STORM_MS: f64 = 120.0;
/// The extra delay of a datagram that is overtaken, in ms: one to three audio frames.
const OVERTAKEN_MS: (f64, f64) = (20.0, 60.0);
/// How much later the second copy of a datagram comes, in ms. A guess.
const COPY_MS: (f64, f64) = (0.0, 30.0);

/// The forms in which jitter is named.
pub const JITTERS: &str = "none, uniform:MS, normal:MS, wifi or storm:FROM-TO (in seconds)";

impl FromStr for Jitter {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let number = |text: &str, most: f64| text.parse::<f64>().ok().filter(|it| (0.0..=most).contains(it));
        let known = match name.split_once(':') {
            None if name == "none" => Some(Self::None),
            None if name == "wifi" => Some(Self::Wifi),
            Some(("uniform", ms)) => number(ms, MAX_JITTER_MS).map(Self::Uniform),
            Some(("normal", ms)) => number(ms, MAX_JITTER_MS).map(Self::Normal),
            Some(("storm", span)) => span.split_once('-').and_then(|(from, to)| {
                let (from, to) = (number(from, f64::MAX)?, number(to, f64::MAX)?);
                (from <= to).then_some(Self::Storm { from, to })
            }),
            _ => None,
        };
        known.ok_or_else(|| {
            format!("no jitter `{}`: there is {JITTERS}, of {MAX_JITTER_MS} ms at most", name.escape_debug())
        })
    }
}

impl fmt::Display for Jitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Uniform(ms) => write!(f, "uniform:{ms}"),
            Self::Normal(ms) => write!(f, "normal:{ms}"),
            Self::Wifi => f.write_str("wifi"),
            Self::Storm { from, to } => write!(f, "storm:{from}-{to}"),
        }
    }
}

/// When a datagram arrives: how long after the line's start, the first copy first. `None` twice: it is lost.
pub type Arrivals = [Option<Duration>; 2];

/// One direction of a line.
#[derive(Debug)]
pub struct Line {
    settings: Settings,
    losses: ChaCha8Rng,
    jitter: ChaCha8Rng,
    order: ChaCha8Rng,
    /// Whether everything is lost at the moment.
    bad: bool,
    /// When the last datagram in order arrives: those behind it don't come before.
    busy_until: Duration,
    /// The stall that is, or comes next, in ms.
    stall: (f64, f64),
    sent: u64,
    lost: u64,
}

impl Line {
    /// A line at the start of its time.
    pub fn new(settings: Settings, seed: u64) -> Self {
        let stream = |number| {
            let mut chance = ChaCha8Rng::seed_from_u64(seed);
            chance.set_stream(number);
            chance
        };
        let mut line = Self {
            settings,
            losses: stream(0),
            jitter: stream(1),
            order: stream(2),
            bad: false,
            busy_until: Duration::ZERO,
            stall: (0.0, 0.0),
            sent: 0,
            lost: 0,
        };
        line.plan_stall();
        line
    }

    /// Sends a datagram, so long after the line's start; never before an earlier call's time.
    pub fn send(&mut self, now: Duration) -> Arrivals {
        self.sent += 1;
        // Drawn even if it is lost: what is lost changes nothing for the others.
        let (held, apart) = (self.held(now), self.set_apart());
        if self.is_lost() {
            self.lost += 1;
            return [None; 2];
        }
        let in_order = (now + self.settings.delay + milliseconds(held)).max(self.busy_until);
        let arrives = match apart.overtaken {
            Some(ms) => in_order + milliseconds(ms),
            None => {
                self.busy_until = in_order;
                in_order
            }
        };
        [Some(arrives), apart.copy.map(|ms| arrives + milliseconds(ms))]
    }

    /// Datagrams sent and lost so far.
    pub const fn counted(&self) -> (u64, u64) {
        (self.sent, self.lost)
    }

    fn is_lost(&mut self) -> bool {
        let share = self.settings.loss_percent / 100.0;
        let draw = even(&mut self.losses);
        self.bad = if self.settings.burst <= 1.0 {
            draw < share
        } else if self.bad {
            draw >= 1.0 / self.settings.burst
        } else {
            // So that the share of the time in the bad state is the share that is lost.
            draw < share / (1.0 - share) / self.settings.burst
        };
        self.bad
    }

    /// How long jitter holds a datagram up, in ms.
    fn held(&mut self, now: Duration) -> f64 {
        let now_ms = now.as_secs_f64() * 1000.0;
        let draw = even(&mut self.jitter);
        match self.settings.jitter {
            Jitter::None => 0.0,
            Jitter::Uniform(ms) => draw * ms,
            Jitter::Normal(ms) => ((3.0 + normal(draw, even(&mut self.jitter))) * ms).max(0.0),
            Jitter::Storm { from, to } => {
                if (from * 1000.0..to * 1000.0).contains(&now_ms) {
                    draw * STORM_MS
                } else {
                    0.0
                }
            }
            Jitter::Wifi => {
                while self.stall.1 <= now_ms {
                    self.plan_stall();
                }
                if now_ms >= self.stall.0 { self.stall.1 - now_ms } else { 0.0 }
            }
        }
    }

    /// The next stall begins a while after the last one began.
    fn plan_stall(&mut self) {
        let from = self.stall.0 + between(&mut self.jitter, STALLS_APART_MS);
        self.stall = (from, from + between(&mut self.jitter, STALL_MS));
    }

    /// The mark that sets a datagram apart from the others.
    fn set_apart(&mut self) -> Apart {
        let chance = &mut self.order;
        let mut drawn = |percent: f64, ms: (f64, f64)| {
            let (hit, ms) = (even(chance) < percent / 100.0, between(chance, ms));
            hit.then_some(ms)
        };
        Apart {
            overtaken: drawn(self.settings.reorder_percent, OVERTAKEN_MS),
            copy: drawn(self.settings.duplicate_percent, COPY_MS),
        }
    }
}

/// By how many ms a datagram is overtaken, and how many ms later it comes again.
struct Apart {
    overtaken: Option<f64>,
    copy: Option<f64>,
}

/// From 0 to 1, evenly, without 1.
fn even(chance: &mut ChaCha8Rng) -> f64 {
    (chance.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

fn between(chance: &mut ChaCha8Rng, (low, high): (f64, f64)) -> f64 {
    low + (high - low) * even(chance)
}

/// Normally distributed around 0 with deviation 1 (Box and Muller, 1958).
fn normal(a: f64, b: f64) -> f64 {
    (-2.0 * (1.0 - a).ln()).sqrt() * (b * std::f64::consts::TAU).cos()
}

fn milliseconds(ms: f64) -> Duration {
    Duration::from_secs_f64(ms.max(0.0) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(20);

    /// Sends a datagram each 20 ms.
    fn sent(settings: Settings, seed: u64, datagrams: u32) -> Vec<Arrivals> {
        let mut line = Line::new(settings, seed);
        (0..datagrams).map(|n| line.send(FRAME * n)).collect()
    }

    /// How long each first copy took, in ms; the lost left out.
    fn took(settings: Settings, datagrams: u32) -> Vec<f64> {
        let sent = sent(settings, 1, datagrams).into_iter().zip(0..);
        sent.filter_map(|(it, n)| Some((it[0]?.as_secs_f64() - (FRAME * n).as_secs_f64()) * 1000.0)).collect()
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    fn jitter(name: &str) -> Settings {
        Settings { jitter: name.parse().expect("a jitter"), ..Settings::default() }
    }

    #[test]
    fn a_plain_line_only_takes_its_time() {
        assert!(took(Settings::default(), 100).iter().all(|ms| (ms - 20.0).abs() < 1e-6));
        assert!(sent(Settings::default(), 1, 100).iter().all(|it| it[1].is_none()));
    }

    #[test]
    fn a_line_is_named_in_a_word() {
        let line: Settings =
            "loss=10,burst=3, delay=25,jitter=uniform:40,reorder=1,duplicate=2".parse().expect("a line");
        assert_eq!((line.loss_percent, line.burst, line.delay), (10.0, 3.0, Duration::from_millis(25)));
        assert_eq!((line.jitter, line.reorder_percent, line.duplicate_percent), (Jitter::Uniform(40.0), 1.0, 2.0));
        assert_eq!("loss=1".parse::<Settings>().expect("a line").delay, Duration::ZERO);
        for odd in
            ["", "loss", "loss=x", "loss=NaN", "loss=95", "delay=-1", "delay=inf", "jitter=odd", "drift=1", "loss=1,"]
        {
            assert!(odd.parse::<Settings>().is_err(), "{odd}");
        }
    }

    #[test]
    fn it_loses_its_share_in_bursts_of_their_length() {
        for (loss_percent, burst) in [(5.0, 1.0), (20.0, 1.0), (5.0, 3.0), (10.0, 3.0), (50.0, 10.0)] {
            let settings = Settings { loss_percent, burst, ..Settings::default() };
            let lost: Vec<bool> = sent(settings, 7, 200_000).iter().map(|it| it[0].is_none()).collect();
            let share = lost.iter().filter(|it| **it).count() as f64 / 2000.0;
            assert!((share / loss_percent - 1.0).abs() < 0.08, "{share} % lost of {loss_percent} %");
            let bursts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
            let mean = share * 2000.0 / bursts as f64;
            let wanted = if burst > 1.0 { burst } else { 1.0 / (1.0 - loss_percent / 100.0) };
            assert!((mean / wanted - 1.0).abs() < 0.08, "bursts of {mean}, not {wanted}");
        }
    }

    #[test]
    fn a_seed_repeats_itself_and_loses_the_same_whatever_the_jitter() {
        let lossy = Settings { loss_percent: 10.0, reorder_percent: 5.0, duplicate_percent: 5.0, ..jitter("wifi") };
        assert_eq!(sent(lossy, 3, 1000), sent(lossy, 3, 1000));
        assert_ne!(sent(lossy, 3, 1000), sent(lossy, 4, 1000));
        let lost = |settings| sent(settings, 3, 1000).iter().map(|it| it[0].is_none()).collect::<Vec<_>>();
        assert_eq!(lost(lossy), lost(Settings { jitter: Jitter::Normal(30.0), reorder_percent: 0.0, ..lossy }));
    }

    #[test]
    fn jitter_is_as_large_as_its_name_says_and_keeps_the_order() {
        let uniform = took(jitter("uniform:10"), 10_000);
        assert!(uniform.iter().all(|ms| (20.0..=30.0 + 1e-6).contains(ms)) && (mean(&uniform) - 25.0).abs() < 0.2);
        let normal = took(jitter("normal:4"), 10_000);
        assert!((mean(&normal) - 32.0).abs() < 0.3, "{}", mean(&normal));
        let deviation = mean(&normal.iter().map(|ms| (ms - 32.0).powi(2)).collect::<Vec<_>>()).sqrt();
        assert!((deviation - 4.0).abs() < 0.3, "{deviation}");
        for name in ["uniform:100", "normal:50", "wifi", "storm:5-10"] {
            let arrived: Vec<Duration> = sent(jitter(name), 1, 1000).iter().filter_map(|it| it[0]).collect();
            assert!(arrived.is_sorted(), "{name}");
        }
    }

    #[test]
    fn wifi_stalls_and_then_lets_everything_go_at_once() {
        let arrived: Vec<Duration> = sent(jitter("wifi"), 5, 30_000).iter().filter_map(|it| it[0]).collect();
        let gaps: Vec<f64> = arrived.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1000.0).collect();
        let stalls = gaps.iter().filter(|gap| **gap > 20.1).count();
        // 600 s with 2.5 s between two in the mean.
        assert!((200..=280).contains(&stalls), "{stalls}");
        assert!(gaps.iter().all(|gap| *gap <= 141.0));
        let at_once = gaps.iter().filter(|gap| **gap < 0.1).count();
        assert!(at_once > 2 * stalls, "{at_once} datagrams right behind another");
    }

    #[test]
    fn a_storm_has_its_time() {
        let took = took(jitter("storm:2-4"), 300);
        let calm = |span: std::ops::Range<usize>| took[span].iter().all(|ms| (ms - 20.0).abs() < 1e-6);
        assert!(calm(0..100) && calm(206..300) && !calm(100..200));
    }

    #[test]
    fn some_are_overtaken_and_some_come_twice() {
        let settings = Settings { reorder_percent: 10.0, duplicate_percent: 20.0, ..Settings::default() };
        let sent = sent(settings, 1, 10_000);
        let overtaken = sent.windows(2).filter(|pair| pair[1][0] < pair[0][0]).count();
        assert!((800..=1200).contains(&overtaken), "{overtaken}");
        let twice = sent.iter().filter(|it| it[1].is_some()).count();
        assert!((1800..=2200).contains(&twice), "{twice}");
        assert!(sent.iter().all(|it| it[1].is_none() || it[1] >= it[0]));
    }

    #[test]
    fn a_fast_clock_asks_more_often() {
        let settings = Settings { drift_ppm: 200.0, ..Settings::default() };
        let hour = settings.receivers(Duration::from_secs(3600));
        assert!((hour.as_secs_f64() - 3599.28).abs() < 0.001, "{hour:?}");
    }

    #[test]
    fn names_are_read_and_bounds_are_kept() {
        for name in ["none", "uniform:12.5", "normal:3", "wifi", "storm:5-7.5"] {
            assert_eq!(name.parse::<Jitter>().map(|it| it.to_string()).as_deref(), Ok(name));
        }
        for name in
            ["", "uniform", "uniform:-1", "normal:NaN", "uniform:1001", "storm:5", "storm:7-5", "none:1", "Wifi"]
        {
            assert!(name.parse::<Jitter>().is_err_and(|why| why.contains("storm:FROM-TO")), "{name}");
        }
        assert_eq!(Settings::default().check(), Ok(()));
        for wrong in [
            Settings { loss_percent: 91.0, ..Settings::default() },
            Settings { burst: 0.5, ..Settings::default() },
            Settings { loss_percent: 80.0, burst: 2.0, ..Settings::default() },
            Settings { delay: Duration::from_secs(6), ..Settings::default() },
            Settings { reorder_percent: -1.0, ..Settings::default() },
            Settings { duplicate_percent: f64::NAN, ..Settings::default() },
            Settings { drift_ppm: 1e6, ..Settings::default() },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
