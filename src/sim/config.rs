//! A configuration that asks for nothing special.

use std::net::SocketAddr;
use std::time::Duration;

use crate::node::{Config, LogLevel};
use crate::wire::limits;

/// A node's, at an address that is all its own: everything else as the command line has it, but that the node stays. What it
/// draws is the same in every run.
pub fn config(username: &str, addr: SocketAddr) -> Config {
    Config {
        username: username.to_owned(),
        room: "general".into(),
        listen: Vec::new(),
        tcp: addr,
        udp: addr,
        advertise: None,
        udp_host: addr.ip(),
        mic: "none".into(),
        speaker: "none".into(),
        secure: false,
        network_key: None,
        connect: Vec::new(),
        stay: true,
        check: false,
        drain: Duration::from_secs(2),
        seed: Some(1),
        entropy: [1; 32],
        identity: None,
        state: None,
        max_links: limits::MAX_LINKS,
        max_links_per_addr: limits::MAX_LINKS_PER_ADDR,
        rate: limits::RATE,
        history_bytes: limits::MAX_HISTORY_BYTES,
        events: Vec::new(),
        keys: Vec::new(),
        log: LogLevel::Off,
    }
}
