//! The tables of rows, in one crash-safe file.
//!
//! A commit is all or nothing, whatever kills the process or the machine. The file comes into being whole, under another
//! name; so one that is empty or cut short is damaged. It is checked from end to end when it is opened: what is damaged is
//! set aside under a free name, for a person to look at, and a new file begun. What a version to come has written is not touched.
//!
//! A file that can't be written is let go, and opened again at the next try. One that has been taken away (deleted, or
//! its folder moved) would still take writes, for nobody to read: so it is looked for after each commit, and what it held goes
//! into the next one.

use std::any::Any;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::thread;

use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition, TableError,
    WriteTransaction,
};

use super::files::{Refused, private, same, sync_folder};
use super::folder::Folder;
use crate::api::event::{FatalCode, WarningCode};
use crate::node::{State, Table};

/// The file's name, and the one that it is made under.
pub(super) const NAME: &str = "state.redb";
const NEW: &str = "state.redb.new";
/// The version of the tables. One that is higher is of a version to come; rows may be added without.
const SCHEMA: u64 = 1;
/// Where it stands.
const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");
const SCHEMA_KEY: &str = "schema";
/// Memory for pages, in bytes. A guess: rows are read once and written often.
const CACHE: usize = 4 << 20;
/// Names that are tried for what is set aside.
const MAX_DAMAGED: u32 = 1000;

/// A change of a row.
pub type Change = (Table, String, Option<Vec<u8>>);

/// The store of a state folder.
#[derive(Debug)]
pub struct Store {
    folder: Folder,
    open: Option<Open>,
    /// The rows of a file that was taken away.
    carried: Option<State>,
    /// Warnings for a person about what was done.
    warnings: Vec<(WarningCode, String)>,
}

/// A file that is open.
#[derive(Debug)]
struct Open {
    database: Database,
    /// To know it again.
    file: fs::Metadata,
}

/// A fault of a file.
#[derive(Debug)]
enum Broken {
    Damaged(String),
    TooNew,
    InUse,
    Io(io::Error),
    Other(String),
}

impl Store {
    /// Opens the store of a folder, and gives the rows. [`take_warnings`](Self::take_warnings) may have something to say.
    pub fn open(folder: Folder) -> Result<(Self, State), Refused> {
        let mut store = Self { folder, open: None, carried: None, warnings: Vec::new() };
        let path = store.path();
        let rows = match quietly(|| store.reopen()) {
            Ok(Ok(rows)) => rows,
            // The node goes on without, and tries again when there is something to save.
            Ok(Err(Broken::Io(e))) if e.kind() == io::ErrorKind::StorageFull => {
                let message =
                    format!("--state: {}: there is no room for it ({e}): nothing is kept as long", path.display());
                store.warnings.push((WarningCode::StateNotSaved, message));
                State::default()
            }
            Ok(Err(broken)) => {
                let (code, why) = broken.tell();
                return Err(Refused::new(code, &path, &why));
            }
            Err(panic) => return Err(Refused::new(FatalCode::StateUnusable, &path, &panic)),
        };
        Ok((store, rows))
    }

    /// Makes changes safe, all or none. After a failure it may be tried again.
    pub fn commit(&mut self, changes: &[Change]) -> Result<(), String> {
        let done = catch_unwind(AssertUnwindSafe(|| {
            if self.open.is_none() {
                self.folder.reclaim()?;
                self.reopen().map_err(|broken| broken.tell().1)?;
            }
            self.write(changes)
        }));
        let done = done.unwrap_or_else(|panic| Err(said(&*panic)));
        if done.is_err() {
            // Its own end may panic, too.
            let open = self.open.take();
            let _ = catch_unwind(AssertUnwindSafe(|| drop(open)));
        }
        done
    }

    /// The warnings since the last call.
    pub fn take_warnings(&mut self) -> Vec<(WarningCode, String)> {
        std::mem::take(&mut self.warnings)
    }

    fn path(&self) -> PathBuf {
        self.folder.file(NAME)
    }

    fn write(&mut self, changes: &[Change]) -> Result<(), String> {
        let Some(open) = &self.open else { return Err("it is not open".into()) };
        let carried = self.carried.as_ref().into_iter().flat_map(|state| {
            let rows = |table| state.rows(table).map(move |(key, value)| (table, key, Some(value)));
            Table::ALL.into_iter().flat_map(rows)
        });
        let changes = changes.iter().map(|(table, key, value)| (*table, key.as_str(), value.as_deref()));
        commit(&open.database, carried.chain(changes)).map_err(|e| e.to_string())?;
        self.carried = None;
        if fs::metadata(self.path()).is_ok_and(|there| same(&there, &open.file)) {
            return Ok(());
        }
        self.carried = read(&open.database).ok();
        Err("the file is no longer there".into())
    }

    /// Opens the file at the path, making it if there is none. What is damaged is set aside.
    fn reopen(&mut self) -> Result<State, Broken> {
        let path = self.path();
        let (database, rows) = match open(&path) {
            Err(Broken::Damaged(why)) => {
                let aside = set_aside(&path).map_err(Broken::Io)?;
                let aside = aside.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let message = format!(
                    "--state: {}: it is damaged ({why}), and is now called {aside}; a new one is begun: blocks have to be set \
                     again, and messages of before this start may be shown once more",
                    path.display()
                );
                self.warnings.push((WarningCode::StateDamaged, message));
                open(&path)?
            }
            opened => opened?,
        };
        let file = fs::metadata(&path)?;
        self.open = Some(Open { database, file });
        Ok(rows)
    }
}

/// Opens a file, making it if there is none.
fn open(path: &Path) -> Result<(Database, State), Broken> {
    if fs::symlink_metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        make(path)?;
    }
    if fs::metadata(path)?.len() == 0 {
        return Err(Broken::Damaged("it is empty".into()));
    }
    // Opening it to write changes it, even if nothing is written: so its version is looked at before.
    if let Ok(Ok(database)) = quietly(|| builder().open_read_only(path)) {
        quietly(|| check_schema(&database)).map_err(Broken::Damaged)??;
    }
    let opened = quietly(|| -> Result<_, Broken> {
        let database = builder().set_check_integrity_on_open(true).open(path)?;
        check_schema(&database)?;
        let rows = read(&database)?;
        Ok((database, rows))
    });
    opened.map_err(Broken::Damaged)?
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder
}

/// Makes a new file, whole before it has its name.
fn make(path: &Path) -> Result<(), Broken> {
    let new = path.with_file_name(NEW);
    let made = || -> Result<(), Broken> {
        // What a killed process has left; the folder is locked.
        drop(private().create(true).truncate(true).open(&new)?);
        let database = builder().create(&new)?;
        commit(&database, std::iter::empty())?;
        database.close()?;
        fs::rename(&new, path)?;
        Ok(sync_folder(path.parent().unwrap_or(path))?)
    };
    let made = quietly(made).unwrap_or_else(|panic| Err(Broken::Other(panic)));
    if made.is_err() {
        // In the way of nobody, but that it takes room.
        let _ = fs::remove_file(&new);
    }
    made
}

/// Gives a damaged file a name that no other has.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    for n in 1..=MAX_DAMAGED {
        let aside = path.with_file_name(format!("{NAME}.damaged-{n}"));
        if fs::symlink_metadata(&aside).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            fs::rename(path, &aside)?;
            sync_folder(path.parent().unwrap_or(path))?;
            return Ok(aside);
        }
    }
    Err(io::Error::other(format!("there are {MAX_DAMAGED} damaged files in the folder: move some away")))
}

fn check_schema(database: &impl ReadableDatabase) -> Result<(), Broken> {
    let reading = database.begin_read()?;
    let schema = match reading.open_table(META) {
        Ok(meta) => meta.get(SCHEMA_KEY)?.map(|schema| schema.value()),
        Err(TableError::TableDoesNotExist(_)) => None,
        Err(e) => return Err(e.into()),
    };
    match schema {
        Some(schema) if schema > SCHEMA => Err(Broken::TooNew),
        Some(_) => Ok(()),
        None => Err(Broken::Damaged("it tells no version".into())),
    }
}

const fn definition(table: Table) -> TableDefinition<'static, &'static str, &'static [u8]> {
    TableDefinition::new(table.name())
}

fn read(database: &Database) -> Result<State, Broken> {
    let reading = database.begin_read()?;
    let mut rows = State::default();
    for table in Table::ALL {
        let found = match reading.open_table(definition(table)) {
            Ok(found) => found,
            Err(TableError::TableDoesNotExist(_)) => continue,
            Err(e) => return Err(e.into()),
        };
        for row in found.iter()? {
            let (key, value) = row?;
            rows.set(table, key.value().to_owned(), Some(value.value().to_owned()));
        }
    }
    Ok(rows)
}

fn commit<'a>(
    database: &Database,
    changes: impl Iterator<Item = (Table, &'a str, Option<&'a [u8]>)>,
) -> Result<(), redb::Error> {
    let writing = database.begin_write()?;
    writing.open_table(META)?.insert(SCHEMA_KEY, SCHEMA)?;
    for (table, key, value) in changes {
        change(&writing, table, key, value)?;
    }
    Ok(writing.commit()?)
}

fn change(writing: &WriteTransaction, table: Table, key: &str, value: Option<&[u8]>) -> Result<(), redb::Error> {
    let mut table = writing.open_table(definition(table))?;
    match value {
        Some(value) => table.insert(key, value)?,
        None => table.remove(key)?,
    };
    Ok(())
}

impl Broken {
    fn tell(self) -> (FatalCode, String) {
        match self {
            Self::Damaged(why) => (FatalCode::StateDamaged, format!("it is damaged: {why}")),
            Self::TooNew => (FatalCode::StateTooNew, "it was made by a newer p2p-chat: use that one".into()),
            Self::InUse => (FatalCode::StateInUse, "another process has it open".into()),
            Self::Io(e) => (FatalCode::StateUnusable, e.to_string()),
            Self::Other(why) => (FatalCode::StateUnusable, why),
        }
    }
}

impl From<io::Error> for Broken {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            // How the crate says that a file is none of its own, or is cut short.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::Damaged(e.to_string()),
            _ => Self::Io(e),
        }
    }
}

impl From<redb::Error> for Broken {
    fn from(e: redb::Error) -> Self {
        match e {
            redb::Error::Io(e) => e.into(),
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            redb::Error::UpgradeRequired(_) => Self::Damaged("its format is one that this program never wrote".into()),
            // The one thing that the crate says of a format to come.
            redb::Error::Corrupted(why) if why.starts_with("Expected file format version") => Self::TooNew,
            e @ (redb::Error::Corrupted(_)
            | redb::Error::RepairAborted
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. }) => Self::Damaged(e.to_string()),
            e => Self::Other(e.to_string()),
        }
    }
}

macro_rules! broken {
    ($($error:ty)*) => {$(
        impl From<$error> for Broken {
            fn from(e: $error) -> Self {
                redb::Error::from(e).into()
            }
        }
    )*};
}
broken! { DatabaseError StorageError TableError redb::TransactionError }

/// Has panics of threads named [`THREAD`] be said on no stderr: they are answered with a warning that a person can do something
/// about.
pub fn hush() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if thread::current().name() != Some(THREAD) {
                usual(info);
            }
        }));
    });
}

/// The name of the threads that work on the file.
pub const THREAD: &str = "state";

/// Runs something that may panic on a damaged file, and gives what the panic says.
fn quietly<T: Send>(run: impl FnOnce() -> T + Send) -> Result<T, String> {
    hush();
    thread::scope(|scope| {
        let ran = thread::Builder::new().name(THREAD.into()).spawn_scoped(scope, run).map_err(|e| e.to_string())?;
        ran.join().map_err(|panic| said(&*panic))
    })
}

/// The message of a panic.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}
