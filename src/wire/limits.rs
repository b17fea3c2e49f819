//! Every limit of the network, in one place.
//!
//! "The original" is the Python program whose network this node joins: where it has a limit, ours is no tighter for
//! what it really sends.

use std::time::Duration;

/// A bound, and a lower one where a fuzzer must reach it with a short input, and makes a node for each.
pub const fn bound(really: usize, fuzzed: usize) -> usize {
    if cfg!(fuzzing) { fuzzed } else { really }
}

/// The first frame of a link, in bytes. A hello needs a few hundred; a stranger gets no more.
pub const MAX_FIRST_FRAME: usize = 16 << 10;
/// The time for the first frame.
pub const FIRST_FRAME_TIME: Duration = Duration::from_secs(5);
/// A frame, in bytes. That of a message counts with what a relay adds to it, so that none is passed on that is over it.
pub const MAX_FRAME: usize = 1 << 20;
/// A frame that a level 2 peer may send without blame, in bytes. Above [`MAX_FRAME`] it is skimmed (read and thrown away):
/// earlier versions add `ttl` and `ttl0` to a frame that they pass on, whether it still fits or not.
pub const MAX_SKIMMED_FRAME_LEVEL2: usize = MAX_FRAME + 64;
/// The same for a level 1 peer. An original takes 10 MiB, and passes that on as Python writes it, each character that is not
/// ASCII in six or twelve: three or four times as much.
pub const MAX_SKIMMED_FRAME: usize = 40 << 20;
/// The time for a frame once its first byte has come.
pub const FRAME_TIME: Duration = Duration::from_secs(30);
/// How deep JSON may be nested: the message's own object is 1.
pub const MAX_DEPTH: usize = 16;
/// Characters of a number. Python refuses integers of over 4,300 digits; nobody needs 64.
pub const MAX_NUMBER: usize = 64;
/// Forwards that a message may have left; ours start with it.
pub const MAX_TTL: u8 = 32;
/// User names, rooms, ids, `from` and `ts`, in bytes; at least 1.
pub const MAX_NAME: usize = 64;
/// A text, in bytes of UTF-8.
pub const MAX_TEXT: usize = 64 << 10;
/// `meta`, in bytes of JSON as it came.
pub const MAX_META: usize = 1 << 10;

/// Fields that one signature covers. Ours has a dozen.
pub const MAX_SIGNED: usize = 32;

/// Links at once, if the command line says nothing else.
pub const MAX_LINKS: usize = 64;
/// Links of one address other than loopback, if the command line says nothing else.
pub const MAX_LINKS_PER_ADDR: usize = 8;
/// Links that have been accepted and not yet said hello; a newcomer pushes out the oldest.
pub const MAX_HANDSHAKES: usize = bound(16, 2);
/// Malformed frames that a link survives; the next one closes it.
pub const MAX_MALFORMED: u32 = 9;

/// Strikes of one address within [`STRIKE_TIME`] that ban it.
pub const MAX_STRIKES: usize = 3;
/// How long a strike counts.
pub const STRIKE_TIME: Duration = Duration::from_secs(600);
/// How long an address is banned.
pub const BAN_TIME: Duration = Duration::from_secs(600);
/// Addresses that have strikes or are banned. A guess: an attacker with more addresses than that is not kept out by counting.
pub const MAX_OFFENDERS: usize = bound(4096, 2);
/// Peers, authors and addresses that are blocked.
pub const MAX_BLOCKS: usize = bound(1024, 2);

/// The send queue of a link, in bytes.
pub const MAX_QUEUE_BYTES: usize = 2 << 20;
/// The send queue of a link, in frames.
pub const MAX_QUEUE_FRAMES: usize = 4096;
/// How long the sources of a full queue are kept waiting, so that a burst to a healthy reader loses nothing.
pub const QUEUE_WAIT: Duration = Duration::from_secs(1);
/// A reader that takes nothing at all for so long is not waited for: it has stopped, it is not slow. A guess: well
/// above what a busy machine does to a process, well below what a person notices.
pub const QUEUE_STALL: Duration = Duration::from_millis(300);
/// How long a queue may stay full before its link is closed.
pub const QUEUE_CLOSE: Duration = Duration::from_secs(5);

/// Message ids that are remembered, so that each message is taken once. At 2,000 new messages a second they last for
/// the 2 minutes that the original remembers, below that for longer.
pub const MAX_SEEN: usize = bound(1 << 18, 4);
/// Messages a second that an author may say, if the command line says nothing else.
pub const RATE: u32 = 1000;
/// The highest rate that can be asked for: a higher one is as good as none.
pub const MAX_RATE: u32 = 1_000_000;
/// Authors whose sequence numbers are remembered; the author that has been silent for longest is forgotten first.
pub const MAX_AUTHORS: usize = bound(1 << 14, 4);
/// Epochs of an author: its own restarts without memory, of which there are few.
pub const MAX_EPOCHS: usize = 4;
/// Intervals of counters in an epoch: one, and one more for each message that was lost or is late. A guess.
pub const MAX_INTERVALS: usize = bound(64, 2);
/// Intervals of all authors, of 16 bytes each.
pub const MAX_ALL_INTERVALS: usize = bound(1 << 18, 16);
/// Wrong signatures that are remembered, so that a copy of one costs a look-up. A guess.
pub const MAX_BAD_SIGNATURES: usize = bound(4096, 2);
/// Messages that `trace` can tell about.
pub const MAX_TRACES: usize = bound(4096, 3);
/// Rooms known at once.
pub const MAX_ROOMS: usize = bound(1024, 3);
/// Messages kept a room.
pub const MAX_HISTORY_PER_ROOM: usize = bound(1000, 12);
/// Bytes of messages kept in all, if the command line says nothing else.
pub const MAX_HISTORY_BYTES: usize = 16 << 20;
/// Addresses that are dialled or will be again.
pub const MAX_TARGETS: usize = bound(256, 4);

/// How often a neighbour of level 2 is pinged.
pub const PING_EVERY: Duration = Duration::from_secs(10);
/// A neighbour of level 2 that has sent nothing for so long is dead. (Level 1 knows no ping: TCP keep-alive, set to
/// the same time, notices there.)
pub const DEAD_AFTER: Duration = Duration::from_secs(25);
/// A node that wakes so much too late has stood still itself: what was to be heard meanwhile waits to be read. A guess: well
/// above what a busy machine does to a process.
pub const STANDSTILL: Duration = Duration::from_secs(1);
/// How long its peers then have, whatever was due, until all of that is read.
pub const STANDSTILL_GRACE: Duration = Duration::from_secs(2);
/// The time for a dial, name look-up and handshake included.
pub const DIAL_TIME: Duration = Duration::from_secs(10);
/// Of that, the time for one address of a name that has others, from its answer to hello: above what a handshake takes over a
/// satellite, and a third of the whole. A guess.
pub const ADDR_TIME: Duration = Duration::from_secs(3);
/// The first wait before a dial is tried again; it doubles with each failure.
pub const REDIAL_FIRST: Duration = Duration::from_millis(500);
/// The longest wait before a dial is tried again.
pub const REDIAL_MAX: Duration = Duration::from_secs(60);
/// A link that lasted so long was a success: the next wait is the first one again.
pub const REDIAL_RESET: Duration = Duration::from_secs(10);
/// How long the second of two links between the same two nodes waits for the other end to choose.
pub const SETTLE_TIME: Duration = Duration::from_secs(2);
/// How long a link that is being closed may take to hand over what is queued, and to read to the end.
pub const CLOSE_TIME: Duration = Duration::from_secs(2);
/// A late copy with more `ttl` left is passed on again while the best copy so far had less than this left: so every
/// node within so many hops is reached, however the delays of the links make a long way faster than a short one.
pub const TTL_NEAR_END: u8 = 8;

/// Members of the voice of a room, this node left out of the count.
pub const MAX_VOICE_MEMBERS: usize = bound(64, 2);
/// Members of voice known in all rooms. A guess: sixteen full rooms.
pub const MAX_VOICE_KNOWN: usize = bound(1024, 3);
/// A member that is not linked and whose datagrams have stopped for so long is gone.
pub const VOICE_GONE: Duration = Duration::from_secs(10);
/// How often a member repeats its join, for members that came later and did not get its answer to theirs.
pub const VOICE_REJOIN: Duration = Duration::from_secs(30);
/// A member of level 2 that was never heard or linked, and has not said again for so long that it is there, is gone:
/// three times [`VOICE_REJOIN`] and some.
pub const VOICE_FORGET: Duration = Duration::from_secs(100);
/// The same for a member of level 1, which does not say it again. A guess.
pub const VOICE_FORGET_ORIGINAL: Duration = Duration::from_secs(600);
/// How often a member that sends another nothing else sends it a sign of life. The original's.
pub const VOICE_SIGN_OF_LIFE: Duration = Duration::from_secs(1);
/// An address from which datagrams come is believed in place of the announced one when that has been silent for so long.
pub const VOICE_SOURCE_AFTER: Duration = Duration::from_secs(2);
/// How long an echo counts. RFC 7675, 5.1.
pub const CONSENT_TIME: Duration = Duration::from_secs(30);
/// How often an address that has echoed is challenged again. RFC 7675, 5.1.
pub const CONSENT_EVERY: Duration = Duration::from_secs(5);
/// How soon again if it has not echoed this time: so that a bad line does not end in silence.
pub const CONSENT_AGAIN: Duration = Duration::from_secs(1);
/// How soon an address that has never echoed is challenged again.
pub const CHALLENGE_EVERY: Duration = Duration::from_millis(500);
/// Challenges to one IPv4 address, or one IPv6 network of 64 bits, that may stay without echo, ever. With headers each has 78
/// bytes with IPv4, 98 with IPv6: so however many joins name a victim, not 1.3 KiB reach it from one node, and less than
/// 4 KiB from three.
pub const MAX_CHALLENGES: u8 = 13;
/// Challenges without echo for the sake of one join: so that one that can't be reached leaves room for others.
pub const MAX_TRIES: u32 = 5;
/// Counters of challenges, in bytes. Addresses that fall on the same one share it. A guess: a thousand rooms' worth.
pub const CHALLENGE_COUNTERS: usize = bound(1 << 16, 64);
/// Echoes a second to addresses that have not themselves echoed. A guess: all members of a room ask twice a second.
pub const MAX_ECHOES: u32 = 128;
/// A signal of voice that is believed, in bytes: it is kept for nodes to come. Ours have about 900.
pub const MAX_SIGNAL: usize = 4 << 10;
