//! `wait`: events that have passed or are still to come.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Clients;
use super::equal::is_same;
use super::log::{Log, Logged};
use super::numbers::Numbers;
use crate::api::arguments::{Pattern, WaitArgs};
use crate::api::error::ApiError;
use crate::api::{ErrorCode, EventKind, result};
use crate::base::{ClientId, Now, millis};

/// The most that the events in one answer may take, in bytes: the rest of the line's bound is for what stands around.
pub const MAX_ANSWER: usize = 900 << 10;

/// A `wait` under way.
#[derive(Debug)]
pub struct Wait {
    patterns: Vec<Pattern>,
    /// Whether each pattern must be found, or any of them.
    all: bool,
    /// With `all`: for each pattern, which of the events found is its own.
    taken: Vec<Option<usize>>,
    /// With `all`: for each event found, the patterns that it fits.
    fits: Vec<Vec<usize>>,
    /// How many are still to be found.
    missing: usize,
    /// The next event to look at.
    cursor: u64,
    /// The events found, each with the number of its line.
    found: Vec<(Logged, Option<u64>)>,
    found_bytes: usize,
    omitted: usize,
    /// Whether its end moves the client's cursor.
    moves: bool,
    started: Instant,
    timeout: Duration,
}

impl<W> Clients<W> {
    /// Starts a `wait`. With `after`: from where the command stands that it refers to, if there is one.
    pub fn wait(
        &self,
        now: Now,
        client: ClientId,
        args: WaitArgs,
        after: Option<Option<u64>>,
        is_async: bool,
    ) -> Result<Wait, ApiError> {
        let (timeout, count) = (Duration::from_millis(args.timeout_ms), args.count as usize);
        let (patterns, all) = patterns(args)?;
        for kind in patterns.iter().map(|pattern| pattern.event) {
            let name = kind.name();
            use EventKind::{Bye, Fatal, Lagged, Reply};
            if matches!(kind, Reply | Lagged | Fatal | Bye) {
                return refuse(ErrorCode::BadValue, format!("`{name}` is not an event that can be waited for"));
            }
            if !self.is_wanted(kind) {
                let message =
                    format!("`{name}` is hidden: show it first, with {{\"cmd\":\"events\",\"show\":[\"{name}\"]}}");
                return refuse(ErrorCode::EventHidden, message);
            }
        }
        let cursor = match after {
            None => self.get(client).map_or(0, |client| client.cursor),
            Some(Some(pos)) => pos,
            Some(None) => return refuse(ErrorCode::NotFound, "no earlier command has that `id`"),
        };
        Ok(Wait {
            taken: vec![None; if all { patterns.len() } else { 0 }],
            missing: if all { patterns.len() } else { count },
            patterns,
            all,
            fits: Vec::new(),
            cursor,
            found: Vec::new(),
            found_bytes: 0,
            omitted: 0,
            moves: !is_async,
            started: now.mono,
            timeout,
        })
    }

    /// Goes on with a client's `wait`. Gives its answer when it is over.
    pub fn go_on_waiting(
        &mut self,
        now: Now,
        client: ClientId,
        wait: &mut Wait,
    ) -> Option<Result<result::Waited, ApiError>> {
        let client = match self.index(client) {
            Ok(index) => self.all.get_mut(index)?,
            Err(_) => return None,
        };
        let passing = wait.patterns.iter().any(|pattern| pattern.event.is_passing());
        let lasting_from = self.log.whole_from(false);
        let is_lost =
            wait.cursor < lasting_from || passing && wait.cursor.max(client.told_lost) < self.log.whole_from(true);
        if is_lost {
            if wait.moves {
                client.cursor = client.cursor.max(lasting_from);
                // Events of other kinds are still there: a wait for them need not hear of it.
                client.told_lost = self.log.whole_from(passing);
            }
            let message = "more events have passed than a wait can look back over; it now starts at the oldest kept";
            return Some(refuse(ErrorCode::EventsGone, message));
        }
        if wait.look(&self.log, &client.numbers) {
            if wait.moves {
                client.cursor = wait.cursor;
            }
            return Some(Ok(wait.answer(now)));
        }
        (wait.deadline() <= now.mono).then(|| {
            let names: Vec<&str> = wait.patterns.iter().map(|pattern| pattern.event.name()).collect();
            let elapsed = millis(wait.elapsed(now));
            let message = format!("after {elapsed} ms, {} of `{}` had not come", wait.missing, names.join("`, `"));
            refuse(ErrorCode::Timeout, message)
        })
    }
}

impl Wait {
    /// When it fails.
    pub fn deadline(&self) -> Instant {
        self.started + self.timeout
    }

    fn elapsed(&self, now: Now) -> Duration {
        now.mono.duration_since(self.started)
    }

    /// Looks at what has come. True when all is found.
    fn look(&mut self, log: &Log, numbers: &Numbers) -> bool {
        self.cursor = self.cursor.max(log.start());
        while self.missing > 0 && self.cursor < log.end() {
            let pos = self.cursor;
            self.cursor += 1;
            let is_asked_for = |kind| self.patterns.iter().any(|pattern| pattern.event == kind);
            let Some(event) = log.kind(pos).filter(|kind| is_asked_for(*kind)).and_then(|_| log.get(pos)) else {
                continue;
            };
            let mut fits = self.patterns.iter().enumerate().filter(|(_, it)| matches(it, &event)).map(|(i, _)| i);
            if self.all {
                let fits: Vec<usize> = fits.collect();
                if !self.take(fits) {
                    continue;
                }
            } else if fits.next().is_none() {
                continue;
            }
            self.missing -= 1;
            self.found_bytes += event.text.len();
            if self.found_bytes <= MAX_ANSWER {
                self.found.push((event, numbers.seq(log, pos)));
            } else {
                self.omitted += 1;
            }
        }
        self.missing == 0
    }

    /// Gives an event a pattern of its own, moving others' to other patterns that they fit. False if there is no way:
    /// then there is none later either, and the event is not needed.
    ///
    /// An augmenting path of bipartite matching (Berge 1957), at most 64 patterns long.
    fn take(&mut self, fits: Vec<usize>) -> bool {
        self.fits.push(fits);
        let new = self.fits.len() - 1;
        let found = augment(new, &self.fits, &mut self.taken, &mut BTreeSet::new());
        if !found {
            self.fits.pop();
        }
        found
    }

    fn answer(&self, now: Now) -> result::Waited {
        let events = self.found.iter().filter_map(|(event, seq)| with_seq(event, *seq)).collect();
        result::Waited { events, omitted: self.omitted, elapsed_ms: millis(self.elapsed(now)) }
    }
}

/// The patterns that a `wait` asks for, and whether each must be found.
fn patterns(args: WaitArgs) -> Result<(Vec<Pattern>, bool), ApiError> {
    let alone = args.fields.is_empty();
    let (patterns, all) = match (args.event, args.any, args.all) {
        (Some(event), None, None) => (vec![Pattern { event, fields: args.fields }], false),
        (None, Some(any), None) if alone => (any, false),
        (None, None, Some(all)) if alone && args.count == 1 => (all, true),
        (None, None, None) => return refuse(ErrorCode::MissingField, "`event`, `any` or `all` is needed"),
        (None, _, _) => {
            return refuse(ErrorCode::BadValue, "`match` goes with `event`, `count` with `event` or `any`");
        }
        _ => return refuse(ErrorCode::BadValue, "one of `event`, `any` and `all`, not more"),
    };
    if !(1..=64).contains(&patterns.len()) || !(1..=10_000).contains(&args.count) {
        return refuse(ErrorCode::BadValue, "`any` and `all` list 1 to 64 events, `count` is from 1 to 10000");
    }
    Ok((patterns, all))
}

fn augment(event: usize, fits: &[Vec<usize>], taken: &mut [Option<usize>], tried: &mut BTreeSet<usize>) -> bool {
    fits[event].iter().any(|&pattern| {
        tried.insert(pattern)
            && (taken[pattern].is_none_or(|other| augment(other, fits, taken, tried)) && {
                taken[pattern] = Some(event);
                true
            })
    })
}

fn matches(pattern: &Pattern, event: &Logged) -> bool {
    if pattern.event != event.kind {
        return false;
    }
    if pattern.fields.is_empty() {
        return true;
    }
    let Ok(fields) = serde_json::from_str::<Map<String, Value>>(&event.text) else { return false };
    pattern.fields.iter().all(|(name, value)| fields.get(name).is_some_and(|it| is_same(it, value)))
}

/// An event's text with the number of its line put in, where a writer puts it.
fn with_seq(event: &Logged, seq: Option<u64>) -> Option<Box<RawValue>> {
    let text = match seq {
        Some(seq) => {
            let (head, tail) = event.text.split_at_checked(seq_at(event.kind))?;
            format!("{head},\"seq\":{seq}{tail}")
        }
        None => event.text.to_string(),
    };
    RawValue::from_string(text).ok()
}

/// Where in an event's text its number goes: behind `{"event":"NAME"`.
pub const fn seq_at(kind: EventKind) -> usize {
    r#"{"event":"""#.len() + kind.name().len()
}

fn refuse<T>(code: ErrorCode, message: impl Into<String>) -> Result<T, ApiError> {
    Err(ApiError::new(code, message))
}
