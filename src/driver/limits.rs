//! The limit of open files: each link is one.

use crate::api::event::WarningCode;
use crate::wire::limits::MAX_HANDSHAKES;

/// Files that a node has open beside its links: stdio, the listener, the UDP socket, the event loop's and the threads'
/// own, and a few dials.
#[cfg(unix)]
const BESIDE_LINKS: usize = 24;

/// Files that a node opens before its first link, and some for what it opens for a moment: with fewer it could not even say what is
/// wrong.
#[cfg(unix)]
const AT_LEAST: usize = 9;

/// Whether enough files can be opened to start at all.
///
/// # Errors
/// If not: what to do.
#[cfg(unix)]
pub fn check_files() -> Result<(), String> {
    let tried: Result<Vec<_>, _> = (0..AT_LEAST).map(|_| rustix::io::dup(std::io::stderr())).collect();
    tried.map(drop).map_err(|e| {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or_default();
        format!("the limit of open files ({limit}) is too low to start ({e}): raise it with `ulimit -n`")
    })
}

/// Other systems have no such limit, or a high one.
#[cfg(not(unix))]
pub fn check_files() -> Result<(), String> {
    Ok(())
}

/// Raises the process's limit if it may and must, else lowers the number of links, with a warning.
#[cfg(unix)]
pub fn fit_links(max_links: usize) -> (usize, Option<(WarningCode, String)>) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let needed = max_links + MAX_HANDSHAKES + BESIDE_LINKS;
    let limit = getrlimit(Resource::Nofile);
    let is_enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed as u64);
    if is_enough(limit.current) {
        return (max_links, None);
    }
    let raised = match limit.maximum {
        Some(most) if !is_enough(Some(most)) => most,
        _ => needed as u64,
    };
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum });
    let now = getrlimit(Resource::Nofile).current;
    if is_enough(now) {
        return (max_links, None);
    }
    let now = usize::try_from(now.unwrap_or_default()).unwrap_or(usize::MAX);
    let links = now.saturating_sub(MAX_HANDSHAKES + BESIDE_LINKS).max(1);
    let message = format!("the limit of open files ({now}) leaves room for {links} links; raise it with `ulimit -n`");
    (links, Some((WarningCode::OpenFiles, message)))
}

/// Other systems have no such limit, or a high one.
#[cfg(not(unix))]
pub fn fit_links(max_links: usize) -> (usize, Option<(WarningCode, String)>) {
    (max_links, None)
}
