//! The things that a command may wait for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::api::arguments::{Scheme, SendArgs, VoiceJoinArgs};
use crate::api::error::ApiError;
use crate::api::result;
use crate::base::{JobId, NodeId};
use crate::clients::{self, Wait};
use crate::history::{Kept, Load};

/// A command that waits.
pub type Pending = clients::Pending<What>;

/// The things that a command may wait for.
#[derive(Debug)]
pub enum What {
    /// The handshake with an address: the peer's id, or why not.
    Connect { addr: String, outcome: Option<Result<String, ApiError>> },
    /// The first dials, and enough links.
    Send(Box<SendArgs>),
    /// Neighbours that confirm.
    Confirm { sent: result::Sent, wanted: usize, by: BTreeSet<NodeId> },
    /// A key that is being derived.
    Key { job: JobId, room: String, scheme: Scheme },
    /// The first dials, then microphone and speaker.
    VoiceJoin(Box<Join>),
    /// The list of sound devices.
    Devices { job: JobId },
    /// Events.
    Wait(Wait),
    /// A page of history, part of which is being loaded.
    History { job: JobId, loading: Loading },
}

/// A page of history on its way.
#[derive(Debug)]
pub enum Loading {
    /// Messages are being loaded for it.
    Wanted(Load),
    /// They are there.
    Loaded(Load, Vec<Kept>),
}

/// A `voice_join` under way.
#[derive(Debug)]
pub struct Join {
    /// Its arguments.
    pub args: VoiceJoinArgs,
    /// Since when it waits for microphone and speaker.
    pub opening: Option<Instant>,
}

/// Device lists that commands wait for: `None` until they are there.
pub type DeviceLists = BTreeMap<JobId, Option<result::Devices>>;
