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
//! - [`folder`](self): the folder and its lock; [`files`](self): files that are this user's own
//! - [`key`]: the key file
//! - [`store`]: the tables, and what to do about damage
//! - [`saver`]: the thread that writes them, and what waits for it
//!
//! A damaged key file keeps the node from starting, since a new key would be another node; a damaged store does not, since
//! what it holds comes back by itself, but for blocks. Nothing is ever deleted.

use std::fs;
use std::path::Path;

use crate::api::event::WarningCode;
use crate::node::State;
use crate::wire::identity::KEY;

mod files;
mod folder;
pub mod key;
pub mod saver;
mod store;

pub use files::Refused;
use folder::Folder;
pub use store::Store;

/// An open folder, and its content.
#[derive(Debug)]
pub struct Opened {
    /// Where changes go.
    pub store: Store,
    /// The secret of the node's identity.
    pub secret: [u8; KEY],
    /// The rows.
    pub rows: State,
    /// Warnings for a person.
    pub warnings: Vec<(WarningCode, String)>,
}

/// Opens a state folder, making what is missing; but not the folders above it.
pub fn open(path: &Path) -> Result<Opened, Refused> {
    let mut warnings = Vec::new();
    let lock = folder::lock(path)?;
    warnings.extend(wide(path, 0o022, "others may write in it"));
    if path.join(store::NAME).exists() && !path.join(key::NAME).exists() {
        let gone = path.join(key::NAME);
        let message = format!("--state: {}: it is gone, so this is another node now: put a copy back", gone.display());
        warnings.push((WarningCode::StateDamaged, message));
    }
    let (secret, key_path) = key::load(path)?;
    warnings.extend(wide(&key_path, 0o077, "others may read it, and so be this node"));
    let (mut store, rows) = Store::open(Folder::new(path, lock, secret))?;
    warnings.extend(wide(&path.join(store::NAME), 0o077, "others may read it, or change it"));
    warnings.extend(store.take_warnings());
    Ok(Opened { store, secret, rows, warnings })
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

#[cfg(all(test, unix))]
mod tests;
