//! The state folder (`--state`): what a node keeps from one run to the next.
//!
//! ```text
//! DIR/                0700
//!   lock              held by the process that uses the folder
//!   identity.key      0600; the node's key: never overwritten
//!   state.redb        0600; tables of rows: see node::state
//!   state.redb.damaged-1, …   what was found damaged and set aside
//! ```
//!
//! - [`key`]: the key file
//! - [`store`]: the tables, and what to do about damage
//! - [`saver`]: the thread that writes them, and what waits for it
//!
//! A damaged key file keeps the node from starting, since a new key would be another node; a damaged store does not, since
//! what it holds comes back by itself, but for blocks. Nothing is ever deleted.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::api::event::{FatalCode, WarningCode};
use crate::node::State;
use crate::wire::identity::KEY;

pub mod key;
pub mod saver;
mod store;

pub use store::Store;

/// A state folder that is this process's own.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Held as long as it is open.
    lock: File,
    secret: [u8; KEY],
}

/// What was found in the folder.
#[derive(Debug)]
pub struct Opened {
    /// Where changes go.
    pub store: Store,
    /// The secret of the node's identity.
    pub secret: [u8; KEY],
    /// The rows.
    pub rows: State,
    /// What a person should know.
    pub warnings: Vec<(WarningCode, String)>,
}

/// Why a folder can't be used.
#[derive(Debug)]
pub struct Refused {
    /// For programs.
    pub code: FatalCode,
    /// For people.
    pub message: String,
}

impl Refused {
    fn new(code: FatalCode, path: &Path, why: &str) -> Self {
        Self { code, message: format!("--state: {}: {why}", path.display()) }
    }

    fn io(path: &Path, what: &str, e: &io::Error) -> Self {
        Self::new(FatalCode::StateUnusable, path, &format!("{what}: {e}"))
    }
}

/// Opens a state folder, making what is missing; but not the folders above it.
pub fn open(path: &Path) -> Result<Opened, Refused> {
    let mut warnings = Vec::new();
    make_folder(path)?;
    let lock = lock(path)?;
    warnings.extend(wide(path, 0o022, "others may write in it"));
    if path.join(store::NAME).exists() && !path.join(key::NAME).exists() {
        let gone = path.join(key::NAME);
        let message = format!("--state: {}: it is gone, so this is another node now: put a copy back", gone.display());
        warnings.push((WarningCode::StateDamaged, message));
    }
    let (secret, key_path) = key::load(path)?;
    warnings.extend(wide(&key_path, 0o077, "others may read it, and so be this node"));
    let folder = Folder { path: path.to_owned(), lock, secret };
    let (mut store, rows) = Store::open(folder)?;
    warnings.extend(wide(&path.join(store::NAME), 0o077, "others may read it, or change it"));
    warnings.extend(store.take_warnings());
    Ok(Opened { store, secret, rows, warnings })
}

impl Folder {
    /// Makes sure that the folder at the path is still this process's own: it may have been moved away, and made anew.
    fn reclaim(&mut self) -> Result<(), String> {
        if !is_at(&self.lock, &self.path.join(LOCK)) {
            self.lock = lock(&self.path).map_err(|refused| refused.message)?;
        }
        match key::load_or(&self.path, || Ok(self.secret)) {
            Ok((secret, _)) if secret == self.secret => Ok(()),
            Ok(_) => Err("the folder holds the key of another node by now".into()),
            Err(refused) => Err(refused.message),
        }
    }
}

/// The name of the file that is locked.
const LOCK: &str = "lock";

fn make_folder(path: &Path) -> Result<(), Refused> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => return Err(Refused::new(FatalCode::StateUnusable, path, "it is no folder")),
        Err(_) => {}
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        // Another process was faster: the lock decides between the two.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(|e| Refused::io(path, "can't make it (the folder above it must exist)", &e)),
    }
}

fn lock(path: &Path) -> Result<File, Refused> {
    let at = path.join(LOCK);
    let file = private().create(true).truncate(false).open(&at).map_err(|e| Refused::io(&at, "can't open it", &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let why = "another process uses this folder: end that one, or give each node a folder of its own";
            Err(Refused::new(FatalCode::StateInUse, path, why))
        }
        Err(TryLockError::Error(e)) => Err(Refused::io(&at, "can't lock it", &e)),
    }
}

/// Options for a file that nobody else may read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Has the system write down which files are in a folder.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// A warning if others may do what the bits of `mode` say.
fn wide(path: &Path, mode: u32, what: &str) -> Option<(WarningCode, String)> {
    #[cfg(unix)]
    let found = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).ok()?.permissions());
    #[cfg(not(unix))]
    let found = 0;
    let (path, right) = (path.display(), found & 0o700);
    let message = || format!("--state: {path}: {what} (its mode is {:o}): chmod {right:o} it", found & 0o777);
    (found & mode != 0).then(|| (WarningCode::StatePermissions, message()))
}

/// Whether an open file is the one at a path.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(there)) = (file.metadata(), fs::metadata(path)) else { return false };
    same(&open, &there)
}

#[cfg(unix)]
fn same(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Elsewhere an open file can't be taken away.
#[cfg(not(unix))]
fn same(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    true
}

#[cfg(all(test, unix))]
mod tests;
