//! The thread that writes the state folder, and what waits for it.
//!
//! Changes gather while a commit is under way, the last of each row alone, and go into the next one together: so the disk
//! is asked no more often than it can answer, however many messages come. What can't be saved stays, and is tried again each
//! second; lines are held up no more until it is (see [`client`](crate::driver::client)).

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use async_channel::Sender;

use super::store::{Change, Store, THREAD, hush};
use crate::api::event::WarningCode;
use crate::driver::client::Queue;
use crate::node::Table;

/// Rows that may wait to be saved. A guess: several times what a node keeps.
const MAX_ROWS: usize = 32_768;
/// Their bytes, about.
const MAX_BYTES: usize = 16 << 20;
/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Saves rows: the store, or a test's own.
pub trait Commit: Send + 'static {
    /// Makes changes safe, all or none.
    fn commit(&mut self, changes: &[Change]) -> Result<(), String>;
    /// The warnings since the last call.
    fn take_warnings(&mut self) -> Vec<(WarningCode, String)>;
}

impl Commit for Store {
    fn commit(&mut self, changes: &[Change]) -> Result<(), String> {
        Self::commit(self, changes)
    }

    fn take_warnings(&mut self) -> Vec<(WarningCode, String)> {
        Self::take_warnings(self)
    }
}

/// A report of the thread.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// So many changes are safe.
    pub saved: Option<u64>,
    /// So many have been tried, and why they could not be saved.
    pub failed: Option<(u64, String)>,
    /// Warnings for a person.
    pub warnings: Vec<(WarningCode, String)>,
}

/// The loop's end of the thread.
#[derive(Debug)]
pub struct Saver {
    shared: Arc<Shared>,
    ended: Receiver<()>,
}

#[derive(Debug, Default)]
struct Shared {
    work: Mutex<Work>,
    changed: Condvar,
}

/// The changes to save.
#[derive(Debug, Default)]
struct Work {
    rows: BTreeMap<(Table, String), Option<Vec<u8>>>,
    bytes: usize,
    /// Changes so far.
    made: u64,
    /// Rows that did not fit.
    lost: bool,
    ending: bool,
    report: Report,
}

impl Saver {
    /// Starts the thread. `output` is told what is safe, and `wake` that there is something to [`hear`](Self::hear).
    pub fn start(store: impl Commit, output: Arc<Queue>, wake: Sender<()>) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let (end, ended) = sync_channel(1);
        let its = shared.clone();
        hush();
        thread::Builder::new().name(THREAD.into()).spawn(move || {
            // Whatever ends the thread: nothing waits for it from then on.
            let released = Released(output.clone());
            run(store, &its, &output, &wake);
            drop(released);
            let _ = end.send(());
        })?;
        Ok(Self { shared, ended })
    }

    /// Has a row set or removed. Gives how many changes there were so far.
    pub fn change(&self, table: Table, key: String, value: Option<Vec<u8>>) -> u64 {
        let mut work = self.shared.lock();
        work.made += 1;
        work.add((table, key), value, true);
        self.shared.changed.notify_one();
        work.made
    }

    /// A report of the thread.
    pub fn hear(&self) -> Report {
        std::mem::take(&mut self.shared.lock().report)
    }

    /// Saves what is left, for so long at most. Gives why that failed.
    pub fn finish(self, time: Duration) -> Result<(), String> {
        self.shared.lock().ending = true;
        self.shared.changed.notify_one();
        if self.ended.recv_timeout(time).is_err() {
            return Err("the disk takes too long".into());
        }
        let work = self.shared.lock();
        match &work.report.failed {
            Some((_, why)) if !work.rows.is_empty() => Err(why.clone()),
            _ => Ok(()),
        }
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        self.shared.lock().ending = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    fn add(&mut self, row: (Table, String), value: Option<Vec<u8>>, newer: bool) {
        let size = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len) + row.1.len();
        let before = self.rows.get(&row).map(size);
        if before.is_some() && !newer {
            return;
        }
        let bytes = self.bytes + size(&value) - before.unwrap_or_default();
        if before.is_none() && (self.rows.len() >= MAX_ROWS || bytes > MAX_BYTES) {
            self.lost = true;
            return;
        }
        self.bytes = bytes;
        self.rows.insert(row, value);
    }
}

/// Lets go of the lines that wait, when dropped.
struct Released(Arc<Queue>);

impl Drop for Released {
    fn drop(&mut self) {
        self.0.release();
    }
}

fn run(mut store: impl Commit, shared: &Shared, output: &Queue, wake: &Sender<()>) {
    loop {
        let mut work = shared.lock();
        while work.rows.is_empty() && !work.ending {
            work = shared.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
        let (made, ending) = (work.made, work.ending);
        let rows = std::mem::take(&mut work.rows);
        work.bytes = 0;
        drop(work);

        let changes: Vec<Change> = rows.into_iter().map(|((table, key), value)| (table, key, value)).collect();
        let done = if changes.is_empty() { Ok(()) } else { store.commit(&changes) };
        match &done {
            Ok(()) => output.saved(made),
            Err(_) => output.release(),
        }
        let mut work = shared.lock();
        let failed = done.is_err();
        if let Err(why) = done {
            for (table, key, value) in changes {
                work.add((table, key), value, false);
            }
            let why = if work.lost { format!("{why}; it is too much to be kept until it can be") } else { why };
            work.report.failed = Some((made, why));
        } else {
            work.report.saved = Some(made);
            work.lost = false;
        }
        work.report.warnings.extend(store.take_warnings());
        // The next look at the report finds this, too.
        let _ = wake.try_send(());
        if ending && (failed || work.rows.is_empty()) {
            return;
        }
        if failed {
            let waiting = shared.changed.wait_timeout_while(work, AGAIN, |work| !work.ending);
            drop(waiting.unwrap_or_else(PoisonError::into_inner));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::SyncSender;

    use super::*;

    /// A disk that answers each commit as it is told to.
    struct Disk {
        answers: Receiver<Result<(), String>>,
        seen: SyncSender<Vec<Change>>,
    }

    impl Commit for Disk {
        fn commit(&mut self, changes: &[Change]) -> Result<(), String> {
            self.seen.send(changes.to_vec()).expect("a test");
            self.answers.recv().unwrap_or(Ok(()))
        }

        fn take_warnings(&mut self) -> Vec<(WarningCode, String)> {
            Vec::new()
        }
    }

    struct Bench {
        saver: Saver,
        answer: SyncSender<Result<(), String>>,
        seen: Receiver<Vec<Change>>,
        woken: async_channel::Receiver<()>,
    }

    fn start() -> Bench {
        let ((answer, answers), (see, seen)) = (sync_channel(9), sync_channel(9));
        let (wake, woken) = async_channel::bounded(1);
        let disk = Disk { answers, seen: see };
        let saver = Saver::start(disk, Arc::default(), wake).expect("a thread");
        Bench { saver, answer, seen, woken }
    }

    impl Bench {
        fn set(&self, key: &str, value: u8) -> u64 {
            self.saver.change(Table::Replay, key.into(), Some(vec![value]))
        }

        fn hear(&self) -> Report {
            self.woken.recv_blocking().expect("the thread is there");
            self.saver.hear()
        }
    }

    fn row(key: &str, value: u8) -> Change {
        (Table::Replay, key.into(), Some(vec![value]))
    }

    #[test]
    fn changes_gather_while_the_disk_is_busy() {
        let it = start();
        it.set("a", 1);
        assert_eq!(it.seen.recv().expect("a commit"), [row("a", 1)]);
        for n in 2..9 {
            it.set("a", n);
        }
        assert_eq!(it.set("b", 1), 9);
        it.answer.send(Ok(())).expect("it waits");
        assert_eq!(it.seen.recv().expect("a commit"), [row("a", 8), row("b", 1)], "the last of each row");
        assert_eq!(it.hear().saved, Some(1));
        it.answer.send(Ok(())).expect("it waits");
        assert_eq!(it.hear().saved, Some(9));
        it.saver.finish(Duration::from_secs(30)).expect("nothing is left");
    }

    #[test]
    fn what_could_not_be_saved_is_tried_again_unless_it_has_changed() {
        let it = start();
        it.set("a", 1);
        assert_eq!(it.seen.recv().expect("a commit"), [row("a", 1)]);
        it.set("b", 1);
        it.answer.send(Err("full".into())).expect("it waits");
        assert_eq!(it.hear().failed, Some((1, "full".into())));
        assert_eq!(it.seen.recv().expect("another try"), [row("a", 1), row("b", 1)]);
        // While the disk is busy: after its answer, the next try is but a while away.
        it.set("b", 2);
        it.answer.send(Err("full".into())).expect("it waits");
        assert_eq!(it.hear().failed, Some((2, "full".into())));
        assert_eq!(it.seen.recv().expect("one more"), [row("a", 1), row("b", 2)]);
        it.answer.send(Ok(())).expect("it waits");
        assert_eq!(it.hear().saved, Some(3));
    }

    #[test]
    fn the_end_saves_what_is_left_and_does_not_wait_for_a_broken_disk() {
        let it = start();
        it.set("a", 1);
        it.answer.send(Ok(())).expect("it waits");
        it.saver.finish(Duration::from_secs(30)).expect("it is saved");
        assert_eq!(it.seen.recv().expect("a commit"), [row("a", 1)]);

        let it = start();
        it.set("a", 1);
        for _ in 0..3 {
            it.answer.send(Err("full".into())).expect("it waits");
        }
        assert_eq!(it.saver.finish(Duration::from_secs(30)), Err("full".into()));
    }

    #[test]
    fn a_disk_that_is_stuck_ends_in_no_wait_for_ever() {
        let it = start();
        it.set("a", 1);
        it.seen.recv().expect("a commit");
        assert!(it.saver.finish(Duration::from_millis(1)).is_err());
    }

    #[test]
    fn what_waits_is_bounded_and_the_newest_of_a_row_counts() {
        let mut work = Work::default();
        for n in 0..2 * MAX_ROWS {
            work.add((Table::Replay, n.to_string()), Some(vec![1]), true);
        }
        assert_eq!((work.rows.len(), work.lost), (MAX_ROWS, true));
        work.add((Table::Replay, "7".into()), Some(vec![2]), true);
        work.add((Table::Replay, "7".into()), Some(vec![3]), false);
        assert_eq!(work.rows[&(Table::Replay, "7".into())], Some(vec![2]));
        let mut work = Work::default();
        for n in 0..9 {
            work.add((Table::Replay, n.to_string()), Some(vec![0; MAX_BYTES / 4]), true);
        }
        assert_eq!(work.rows.len(), 3);
        assert!(work.bytes <= MAX_BYTES);
    }
}
