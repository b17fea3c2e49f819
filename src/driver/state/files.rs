//! Files and folders that are one user's own, and why they can't be used.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use crate::api::event::FatalCode;

/// Why a folder can't be used.
#[derive(Debug)]
pub struct Refused {
    /// For programs.
    pub code: FatalCode,
    /// For people.
    pub message: String,
}

impl Refused {
    pub(super) fn new(code: FatalCode, path: &Path, why: &str) -> Self {
        Self { code, message: format!("--state: {}: {why}", path.display()) }
    }

    pub(super) fn io(path: &Path, what: &str, e: &io::Error) -> Self {
        Self::new(FatalCode::StateUnusable, path, &format!("{what}: {e}"))
    }
}

/// Options for a file that nobody else may read.
pub fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Has the system write down the list of files in a folder.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Whether two files are one.
#[cfg(unix)]
pub fn same(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Elsewhere an open file can't be taken away.
#[cfg(not(unix))]
pub fn same(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    true
}
