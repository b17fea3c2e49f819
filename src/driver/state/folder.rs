//! The folder itself: made, locked, and still this process's own.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::files::{Refused, private, same};
use super::key;
use crate::api::event::FatalCode;
use crate::wire::identity::KEY;

/// A state folder that is this process's own.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Held as long as it is open.
    lock: File,
    secret: [u8; KEY],
}

impl Folder {
    /// A folder that is locked, with the secret in its key file.
    pub fn new(path: &Path, lock: File, secret: [u8; KEY]) -> Self {
        Self { path: path.to_owned(), lock, secret }
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes sure that the folder at the path is still this process's own: it may have been moved away, and made anew.
    pub fn reclaim(&mut self) -> Result<(), String> {
        if !is_at(&self.lock, &self.path.join(LOCK)) {
            self.lock = lock_file(&self.path).map_err(|refused| refused.message)?;
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

/// Makes the folder if it is missing, and locks it.
pub fn lock(path: &Path) -> Result<File, Refused> {
    make_folder(path)?;
    lock_file(path)
}

fn lock_file(path: &Path) -> Result<File, Refused> {
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

/// Whether an open file is the one at a path.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(there)) = (file.metadata(), fs::metadata(path)) else { return false };
    same(&open, &there)
}
