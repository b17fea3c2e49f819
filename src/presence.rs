//! Comings and goings, told at a rate: a stranger can cause any number of them, and none of it may drown what counts.
//!
//! A subject (a neighbour, a member of voice) comes, changes and goes. While there is room in its own bucket and in that of all
//! subjects, each step is told at once. What is over it is gathered: the subject's state is told within [`GATHER`], as the
//! fewest steps that lead from the state last told to the one it has then. So comings and goings stay in pairs, a
//! subject that came and went meanwhile is not told of, and the last state never gets lost.
//!
//! [`Presence`] knows nothing of links and voice: it hands out [`Tell`]s, and the node makes events of them.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::base::{Bucket, Rate};
use crate::wire::limits::bound;

/// The longest time for which steps are gathered. A guess: a person does not mind, and a script waits longer.
pub const GATHER: Duration = Duration::from_secs(1);
/// Steps a second of one subject that are told at once, and ten seconds' worth after a silence. A guess: a link that is lost
/// and dialled again makes two each second at most.
const EACH: Rate = Rate::new(2).expect("a limit");
/// The same of all subjects together: a full table of links, and a large room of voice, may come at once.
const ALL: Rate = Rate::new(64).expect("a limit");
/// Subjects remembered beyond those that are there.
const MAX_GONE: usize = bound(1_024, 8);

/// The state of a subject that is there.
pub trait State {
    /// Whether clients are to be told of the change from one state to another.
    fn differs(&self, before: &Self) -> bool;
}

/// A step of a subject. `D` is what is to be said of its leaving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<S, D> {
    /// It is there.
    Came(S),
    /// It has another state.
    Changed(S),
    /// It is gone.
    Went(D),
}

/// A step to tell clients of.
#[derive(Debug, PartialEq, Eq)]
pub enum Tell<S, D> {
    /// It is there.
    Came(Rc<S>),
    /// It has another state than the one last told, if that is known.
    Changed {
        /// Its state.
        now: Rc<S>,
        /// The state last told.
        before: Option<Rc<S>>,
    },
    /// It is gone.
    Went(D),
}

/// Comings and goings of subjects with names `K`. See the module.
#[derive(Debug)]
pub struct Presence<K, S, D> {
    subjects: BTreeMap<K, Subject<S, D>>,
    /// Those that are there, as clients were told or not.
    here: usize,
    all: Bucket,
    /// When gathered steps are told.
    due: Option<Instant>,
}

#[derive(Debug)]
struct Subject<S, D> {
    /// The state it has; `None`: it is gone.
    now: Option<Rc<S>>,
    /// Whether clients believe that it is there, and in which state.
    told: Option<Option<Rc<S>>>,
    /// The words on its leaving since then.
    went: Option<D>,
    is_gathering: bool,
    bucket: Bucket,
}

impl<K, S, D> Default for Presence<K, S, D> {
    /// No subject yet.
    fn default() -> Self {
        Self { subjects: BTreeMap::new(), here: 0, all: Bucket::default(), due: None }
    }
}

impl<K: Ord + Clone, S: State, D> Presence<K, S, D> {
    /// Takes a step of a subject. Gives what is to be told of it now.
    pub fn step(
        &mut self,
        now: Instant,
        name: &K,
        step: Step<S, D>,
    ) -> impl Iterator<Item = Tell<S, D>> + use<K, S, D> {
        self.make_room();
        // One that was never heard of and yet changes or goes was there before anyone was told.
        let was_there = !matches!(step, Step::Came(_));
        let subject = self.subjects.entry(name.clone()).or_insert_with(|| Subject {
            now: None,
            told: was_there.then_some(None),
            went: None,
            is_gathering: false,
            bucket: Bucket::default(),
        });
        let was_here = subject.now.is_some();
        match step {
            Step::Came(state) | Step::Changed(state) => subject.now = Some(Rc::new(state)),
            Step::Went(said) => (subject.now, subject.went) = (None, Some(said)),
        }
        self.here = self.here + usize::from(subject.now.is_some()) - usize::from(was_here);
        if !subject.is_gathering {
            if subject.bucket.has_room(now, EACH) && self.all.take(now, ALL) {
                subject.bucket.pay(now, EACH);
                return subject.settle().into_iter().flatten();
            }
            subject.is_gathering = true;
            self.due = self.due.or(Some(now + GATHER));
        }
        [None, None].into_iter().flatten()
    }

    /// The state of a subject that is there.
    pub fn get(&self, name: &K) -> Option<&S> {
        self.subjects.get(name)?.now.as_deref()
    }

    /// When gathered steps are to be told.
    pub const fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Gives what is to be told by now.
    pub fn on_time(&mut self, now: Instant) -> Vec<Tell<S, D>> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.flush()
    }

    /// Gives all that was gathered.
    pub fn flush(&mut self) -> Vec<Tell<S, D>> {
        self.due = None;
        let mut tells = Vec::new();
        for subject in self.subjects.values_mut().filter(|subject| subject.is_gathering) {
            subject.is_gathering = false;
            tells.extend(subject.settle().into_iter().flatten());
        }
        tells
    }

    /// Forgets subjects that are gone, if there are too many: with each how much has been told of it.
    fn make_room(&mut self) {
        if self.subjects.len() - self.here >= MAX_GONE {
            self.subjects.retain(|_, subject| subject.now.is_some() || subject.is_gathering && subject.told.is_some());
        }
    }

    /// Subjects remembered, and the most that there may be beside those that are there or are believed to be.
    #[cfg(any(test, fuzzing))]
    pub fn held(&self) -> (usize, usize) {
        let believed = self.subjects.values().filter(|it| it.now.is_none() && it.told.is_some()).count();
        (self.subjects.len() - self.here - believed, MAX_GONE)
    }
}

impl<S: State, D> Subject<S, D> {
    /// The steps from the state that was told to the one that it has. It is told now.
    fn settle(&mut self) -> [Option<Tell<S, D>>; 2] {
        let told = std::mem::replace(&mut self.told, self.now.clone().map(Some));
        let went = self.went.take().map(Tell::Went);
        match (told, &self.now) {
            (None, None) => [None, None],
            (None, Some(now)) => [Some(Tell::Came(now.clone())), None],
            (Some(_), None) => [went, None],
            (Some(_), Some(now)) if went.is_some() => [went, Some(Tell::Came(now.clone()))],
            (Some(before), Some(now)) => {
                let has_changed = before.as_ref().is_none_or(|before| now.differs(before));
                [has_changed.then(|| Tell::Changed { now: now.clone(), before }), None]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Step::{Came, Changed, Went};
    use super::*;

    impl State for u32 {
        fn differs(&self, before: &Self) -> bool {
            self != before
        }
    }

    type Steps = Presence<&'static str, u32, &'static str>;

    fn start() -> Instant {
        #[allow(clippy::disallowed_methods, reason = "any moment will do")]
        Instant::now()
    }

    fn told(tells: impl IntoIterator<Item = Tell<u32, &'static str>>) -> Vec<String> {
        let text = |tell| match tell {
            Tell::Came(state) => format!("+{state}"),
            Tell::Changed { now, before } => format!("{before:?}>{now}").replace("Some(", "").replace(')', ""),
            Tell::Went(said) => format!("-{said}"),
        };
        tells.into_iter().map(text).collect()
    }

    /// A subject whose burst is used up, told last that it is there in state 0.
    fn noisy(now: Instant) -> Steps {
        let mut steps = Steps::default();
        for n in 0..9 {
            assert_eq!(told(steps.step(now, &"a", Came(n))), [format!("+{n}")]);
            assert_eq!(told(steps.step(now, &"a", Went("gone"))), ["-gone"]);
        }
        assert_eq!(told(steps.step(now, &"a", Came(1))), ["+1"]);
        assert_eq!(told(steps.step(now, &"a", Changed(0))), ["1>0"]);
        steps
    }

    #[test]
    fn what_is_over_the_rate_is_told_a_second_later_as_it_stands_then() {
        let now = start();
        let mut steps = noisy(now);
        for n in 1..30_000 {
            assert!(told(steps.step(now, &"a", Changed(n))).is_empty());
        }
        assert_eq!(told(steps.step(now, &"b", Came(7))), ["+7"], "others are told of at once");
        assert_eq!(steps.deadline(), Some(now + GATHER));
        assert!(steps.on_time(now + GATHER / 2).is_empty());
        assert_eq!(told(steps.on_time(now + GATHER)), ["0>29999"]);
        assert_eq!((steps.deadline(), steps.get(&"a")), (None, Some(&29_999)));
    }

    #[test]
    fn comings_and_goings_stay_pairs() {
        let now = start();
        let after = |all: &[Step<u32, &'static str>]| {
            let mut steps = noisy(now);
            let at_once: usize = all.iter().map(|it| told(steps.step(now, &"a", it.clone())).len()).sum();
            assert_eq!(at_once, 0);
            told(steps.flush())
        };
        assert_eq!(after(&[Went("x")]), ["-x"]);
        assert_eq!(after(&[Went("x"), Came(1), Went("y")]), ["-y"]);
        assert_eq!(after(&[Went("x"), Came(0)]), ["-x", "+0"], "another one, whatever its state");
        assert_eq!(after(&[Changed(1), Changed(0)]), [""; 0]);
        let mut steps = noisy(now);
        steps.step(now, &"a", Went("x")).for_each(drop);
        assert_eq!(told(steps.flush()), ["-x"]);
        steps.step(now, &"a", Came(1)).for_each(drop);
        steps.step(now, &"a", Went("y")).for_each(drop);
        assert_eq!(told(steps.flush()), [""; 0], "nobody was told that it came");
    }

    #[test]
    fn one_that_nobody_was_told_of_was_there_before() {
        let now = start();
        let mut steps = Steps::default();
        assert_eq!(told(steps.step(now, &"a", Went("x"))), ["-x"]);
        assert_eq!(told(steps.step(now, &"b", Changed(3))), ["None>3"]);
    }

    #[test]
    fn strangers_without_end_are_bounded_in_lines_and_in_memory() {
        let now = start();
        let mut steps: Presence<u32, u32, &str> = Presence::default();
        let mut lines = 0;
        for n in 0..100_000 {
            lines += steps.step(now, &n, Came(n)).count() + steps.step(now, &n, Went("gone")).count();
            let (held, most) = steps.held();
            assert!(held <= most, "{held} subjects");
        }
        assert_eq!(lines, 640);
        assert_eq!(steps.flush().len(), 0, "none of them is there");
        let later = now + Duration::from_secs(10);
        assert_eq!(steps.step(later, &0, Came(0)).count(), 1);
    }
}
