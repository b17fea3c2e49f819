//! The limit of open files: each link is one.

use crate::api::event::WarningCode;
use crate::wire::limits::MAX_HANDSHAKES;

/// Files that a node has open beside its links: stdio, the listener, the UDP socket, the event loop's and the threads'
/// own, and a few dials.
#[cfg(unix)]
const BESIDE_LINKS: usize = 24;

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
