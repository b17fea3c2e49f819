//! Outputs: what the core wants done, in order.
//!
//! It is the one way out of the pure part. Components put effects into it; the driver and the simulator carry them out.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::api::EventKind;
use crate::base::{ClientId, DialId, JobId, LinkId, LogLevel, Table};
use crate::history::Wanted;
use crate::wire::noise::Step;
use crate::wire::room_key::Scheme;

/// Something to do.
#[derive(Debug)]
pub enum Output {
    /// Dial "HOST:PORT", and answer with `Dialled` or `DialFailed`.
    Dial {
        /// Which dial.
        dial: DialId,
        /// Where to.
        addr: String,
        /// The order of the addresses, if that is a name of more than one.
        order: Order,
    },
    /// Queue bytes for a link.
    Send {
        /// Which link.
        link: LinkId,
        /// The bytes.
        bytes: Bytes,
    },
    /// Queue the same bytes for several links.
    Fan {
        /// Which links: a range of [`Outbox::receivers`].
        links: std::ops::Range<usize>,
        /// The bytes.
        bytes: Bytes,
    },
    /// When what is queued has been written, close our direction.
    HalfClose(LinkId),
    /// Close the link now.
    Close(LinkId),
    /// Give a client a line.
    Line {
        /// Which client.
        client: ClientId,
        /// Its kind: events may be dropped when nobody reads, replies may not.
        kind: EventKind,
        /// The JSON, without `seq` and newline.
        text: Arc<str>,
    },
    /// Go a step on with a link's handshake, and answer with `Stepped`; no more of the link is read until then. With `Close` it
    /// need not be done any more.
    Handshake {
        /// Which link.
        link: LinkId,
        /// The step.
        step: Step,
    },
    /// Derive a room's key, and answer with `Derived`.
    Derive {
        /// Which job.
        job: JobId,
        /// For which scheme.
        scheme: Scheme,
        /// The passphrase.
        passphrase: String,
        /// The room.
        room: String,
    },
    /// Send a datagram.
    Datagram {
        /// Where to.
        to: SocketAddr,
        /// Its bytes.
        bytes: Bytes,
    },
    /// Open microphone and speaker, and answer with `AudioOpened` or `AudioFailed`.
    StartAudio {
        /// The microphone, as `--mic` has it.
        mic: String,
        /// The speaker, as `--speaker` has it.
        speaker: String,
    },
    /// Play 5 ms: the answer to `PlaybackDue`.
    Play(Box<crate::voice::Chunk>),
    /// Have a microphone that is a file wait, or go on: this node is muted, or no longer.
    PauseMic(bool),
    /// Let go of microphone and speaker.
    StopAudio,
    /// Load kept messages of a room from the store, and answer with `Loaded`.
    Load {
        /// Which job.
        job: JobId,
        /// The room.
        room: String,
        /// Which of its messages.
        wanted: Wanted,
    },
    /// List the sound devices, and answer with `Devices`.
    ListDevices(JobId),
    /// Set a row of the state folder, or remove it, and answer with `Saved`. Lines that follow are given to no client before that.
    Store {
        /// The table.
        table: Table,
        /// The row.
        key: String,
        /// Its value from now on; `None`: it is removed.
        value: Option<Vec<u8>>,
    },
    /// Log a line.
    Log(LogLevel, String),
    /// Say something on stderr, whatever is logged: for cron.
    Complain(String),
    /// End the process with this exit code, once every line has been written.
    Exit(u8),
}

/// The order in which the addresses of a name are dialled. The system's order stands for all else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order {
    /// This one first.
    pub first: Option<SocketAddr>,
    /// These after all others.
    pub last: Vec<SocketAddr>,
    /// These not at all.
    pub skip: Vec<SocketAddr>,
}

/// Bytes to send: small ones lie in the outbox and are copied to each link, large ones are shared between links.
#[derive(Debug, Clone)]
pub enum Bytes {
    /// A range of [`Outbox::bytes`].
    Small(std::ops::Range<usize>),
    /// Shared.
    Large(Arc<[u8]>),
}

/// From how many bytes on a frame is shared, not copied. Copying this much costs about as much as an allocation.
pub const SHARED_FROM: usize = 8 << 10;

/// The outputs of one input, in order. Used again and again, so that a message costs no allocation.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Things to do.
    pub outputs: Vec<Output>,
    bytes: Vec<u8>,
    /// The links of all that goes to several.
    receivers: Vec<LinkId>,
    /// For the simulator: the frames that are sealed for links, as they were before.
    pub tapped: Option<Vec<(LinkId, Vec<u8>)>>,
}

impl Outbox {
    /// Adds an output.
    pub fn push(&mut self, output: Output) {
        self.outputs.push(output);
    }

    /// Logs a line, if lines of its level are logged (`up_to`).
    pub fn log(&mut self, up_to: LogLevel, level: LogLevel, line: impl FnOnce() -> String) {
        if level <= up_to {
            self.push(Output::Log(level, line()));
        }
    }

    /// The bytes of a small frame.
    pub fn bytes(&self, range: &std::ops::Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }

    /// The links that an [`Output::Fan`] goes to.
    pub fn receivers(&self, links: &std::ops::Range<usize>) -> &[LinkId] {
        self.receivers.get(links.clone()).unwrap_or_default()
    }

    /// Begins to list links for [`fan_out`](Self::fan_out). Gives the place where the list begins.
    pub const fn begin_fan(&self) -> usize {
        self.receivers.len()
    }

    /// Adds a link to the list.
    pub fn add_receiver(&mut self, link: LinkId) {
        self.receivers.push(link);
    }

    /// Sends bytes to the links that were listed since the place.
    pub fn fan_out(&mut self, since: usize, bytes: &Bytes) {
        match *self.receivers.get(since..).unwrap_or_default() {
            [] => {}
            [link] => {
                self.receivers.truncate(since);
                self.push(Output::Send { link, bytes: bytes.clone() });
            }
            _ => self.push(Output::Fan { links: since..self.receivers.len(), bytes: bytes.clone() }),
        }
    }

    /// Writes bytes into the outbox, to be sent to any number of links.
    pub fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
        let start = self.bytes.len();
        write(&mut self.bytes);
        if self.bytes.len() - start < SHARED_FROM {
            return Bytes::Small(start..self.bytes.len());
        }
        let large = Bytes::Large(self.bytes.get(start..).unwrap_or_default().into());
        self.bytes.truncate(start);
        large
    }

    /// The same, never shared: for what goes to one link.
    pub fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
        let start = self.bytes.len();
        write(&mut self.bytes);
        Bytes::Small(start..self.bytes.len())
    }

    /// A piece of bytes: from there on, so many at most.
    pub fn piece<'a>(&'a self, bytes: &'a Bytes, from: usize, most: usize) -> &'a [u8] {
        let all = match bytes {
            Bytes::Small(range) => self.bytes(range),
            Bytes::Large(shared) => shared,
        };
        let rest = all.get(from..).unwrap_or_default();
        rest.get(..most).unwrap_or(rest)
    }

    /// Lets the simulator see a frame that will be sealed.
    pub fn tap(&mut self, link: LinkId, bytes: &Bytes) {
        if self.tapped.is_some() {
            let frame = self.piece(bytes, 0, usize::MAX).to_vec();
            self.tapped.get_or_insert_default().push((link, frame));
        }
    }

    /// How many bytes these are.
    pub fn length(bytes: &Bytes) -> usize {
        match bytes {
            Bytes::Small(range) => range.len(),
            Bytes::Large(shared) => shared.len(),
        }
    }

    /// Forgets everything, and gives back memory that a burst has taken.
    pub fn clear(&mut self) {
        self.outputs.clear();
        self.bytes.clear();
        self.receivers.clear();
        self.receivers.shrink_to(4096);
        self.bytes.shrink_to(64 << 10);
        self.outputs.shrink_to(4096);
    }
}
