//! Datagrams of voice: bytes and what they mean.
//!
//! **Level 1**, the original's, 696 bytes: the room's name (16 bytes, UTF-8, cut and zero-padded), the sender's node id (36,
//! the same), a sequence number (4, big-endian), 640 bytes of PCM. In a room with a key the PCM is a 12-byte nonce and
//! AES-256-GCM of it, told by the length: 724 bytes.
//!
//! **Level 2**, ours: the first byte is below 0x20, which no room's name starts with; numbers are big-endian. A *session*
//! is 8 random bytes that a member announces with its `voice_join`, new with each join: it stands for member and room,
//! and who has not heard the gossip does not know it.
//!
//! ```text
//! 0x01 voice      session of the sender 8, counter 8, body
//! 0x11 the same, sealed: session 8, counter 8, nonce 12, AES-256-GCM of the body with the 17 bytes before it authenticated
//!      body       frame 4, codec 1 (0 PCM, 1 Opus; and 0x80 if it is no talkspurt, but loud otherwise), then blocks: back 1, length 2, payload; back 0 is the frame itself
//! 0x02 challenge  session of the sender 8, of the receiver 8, nonce 8
//! 0x03 echo       session of the sender 8, nonce 8
//! 0x04 report     session of the sender 8, of the receiver 8, expected 2, lost 2, bursts 2
//! 0x05 members    session of the sender 8, then up to 16 times: flags 1, node id 36: what it knows of members of level 1
//!      flags      0x01 hears it directly; 0x02 takes it for a host that mixes, and is with it
//! ```
//!
//! An echo is shorter than what it answers: nobody is hit harder by way of this node than by whoever sends.

use std::borrow::Cow;

use crate::voice::{Codec, FRAME, Frame, MAX_PAYLOAD, MAX_REPEATS, Packet, Repeat, Report};
use crate::wire::room_key::TAG;
use crate::wire::room_key::original::{Key, NONCE};

/// Bytes of the room's name in a datagram of level 1.
pub const ROOM: usize = 16;
/// Bytes of the node id.
pub const ID: usize = 36;
/// Bytes of a frame of PCM.
pub const PCM: usize = FRAME * 2;
/// Bytes before the PCM.
const ORIGINAL_HEADER: usize = ROOM + ID + 4;
/// Bytes of a datagram of level 1.
pub const ORIGINAL: usize = ORIGINAL_HEADER + PCM;
/// Bytes of one in a room with a key.
pub const ORIGINAL_SEALED: usize = ORIGINAL + NONCE + TAG;
/// Bytes before the body of a voice datagram of level 2.
const VOICE_HEADER: usize = 17;
/// In the codec: this is no talkspurt.
const NO_TALKSPURT: u8 = 0x80;
/// First bytes from here on are level 1.
const LEVEL_1_FROM: u8 = 0x20;
/// Members in a `members`.
pub const MAX_KNOWN: usize = 16;
/// Bytes of a challenge.
pub const CHALLENGE: usize = 25;
/// Bytes of an echo.
pub const ECHO: usize = 17;
/// Bytes of a member in a `members`.
pub const KNOWN: usize = 1 + ID;
/// In a `members`: the sender hears the member directly.
pub const HEARS: u8 = 0x01;
/// In a `members`: the sender takes the member for a host that mixes, and is with it.
pub const WITH_HOST: u8 = 0x02;

const VOICE: u8 = 0x01;
const VOICE_SEALED: u8 = 0x11;
const CHALLENGE_KIND: u8 = 0x02;
const ECHO_KIND: u8 = 0x03;
const REPORT_KIND: u8 = 0x04;
const MEMBERS_KIND: u8 = 0x05;

/// What a datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// Voice of level 1.
    Original(Original<'a>),
    /// Voice of level 2.
    Voice(Voice<'a>),
    /// Whether the session it names is at the address that it was sent to.
    Challenge {
        /// The session that asks.
        from: u64,
        /// The session that is asked.
        to: u64,
        /// Comes back in the echo.
        nonce: u64,
    },
    /// The answer.
    Echo {
        /// The session that answers.
        from: u64,
        /// That of the challenge.
        nonce: u64,
    },
    /// How the receiver's voice comes in at the sender.
    Report {
        /// Who reports.
        from: u64,
        /// Whose voice.
        to: u64,
        /// How it came.
        report: Report,
    },
    /// What the sender knows of members of level 1.
    Members {
        /// Who says so.
        from: u64,
        /// Flags and id of each, [`KNOWN`] bytes together.
        known: &'a [[u8; KNOWN]],
    },
}

/// Voice of level 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Original<'a> {
    /// The room's name, cut and padded.
    pub room: [u8; ROOM],
    /// The sender's node id, cut and padded.
    pub id: [u8; ID],
    /// Grows with each datagram.
    pub sequence: u32,
    /// 640 bytes of PCM; in a room with a key 28 more.
    payload: &'a [u8],
}

/// Voice of level 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Voice<'a> {
    /// Whose.
    pub session: u64,
    /// Grows with each datagram of that session.
    pub counter: u64,
    sealed: bool,
    header: &'a [u8],
    body: &'a [u8],
}

/// A datagram that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl<'a> Datagram<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// If its length or its first byte is none of those above.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (&kind, rest) = bytes.split_first().ok_or(Malformed)?;
        if kind >= LEVEL_1_FROM {
            return Original::parse(bytes).map(Self::Original).ok_or(Malformed);
        }
        let mut rest = Reader(rest);
        let first = rest.u64()?;
        let parsed = match kind {
            VOICE | VOICE_SEALED => Self::Voice(Voice {
                session: first,
                counter: rest.u64()?,
                sealed: kind == VOICE_SEALED,
                header: bytes.get(..VOICE_HEADER).ok_or(Malformed)?,
                body: std::mem::take(&mut rest.0),
            }),
            CHALLENGE_KIND => Self::Challenge { from: first, to: rest.u64()?, nonce: rest.u64()? },
            ECHO_KIND => Self::Echo { from: first, nonce: rest.u64()? },
            REPORT_KIND => Self::Report {
                from: first,
                to: rest.u64()?,
                report: Report { expected: rest.u16()?, lost: rest.u16()?, bursts: rest.u16()? },
            },
            MEMBERS_KIND => {
                let (known, over) = std::mem::take(&mut rest.0).as_chunks();
                if !over.is_empty() || known.len() > MAX_KNOWN {
                    return Err(Malformed);
                }
                Self::Members { from: first, known }
            }
            _ => return Err(Malformed),
        };
        if rest.0.is_empty() { Ok(parsed) } else { Err(Malformed) }
    }
}

impl<'a> Original<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() != ORIGINAL && bytes.len() != ORIGINAL_SEALED {
            return None;
        }
        let (room, rest) = bytes.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (sequence, payload) = rest.split_first_chunk()?;
        Some(Self { room: *room, id: *id, sequence: u32::from_be_bytes(*sequence), payload })
    }

    /// The PCM, opened with the first of the room's keys that fits; with no keys it must be in the clear.
    pub fn open<'k>(&self, mut keys: impl Iterator<Item = &'k Key>) -> Option<Cow<'a, [u8]>> {
        let sealed = self.payload.len() != PCM;
        match keys.next() {
            None => (!sealed).then_some(Cow::Borrowed(self.payload)),
            Some(_) if !sealed => None,
            Some(first) => {
                let mut keys = std::iter::once(first).chain(keys);
                keys.find_map(|key| key.open_bytes(self.payload, &[])).filter(|it| it.len() == PCM).map(Cow::Owned)
            }
        }
    }

    /// Appends a datagram. `seal`: the room's key and a nonce never used before.
    pub fn write(
        (room, id): (&[u8; ROOM], &[u8; ID]),
        sequence: u32,
        pcm: &Frame,
        seal: Option<(&Key, [u8; NONCE])>,
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(room);
        out.extend_from_slice(id);
        out.extend_from_slice(&sequence.to_be_bytes());
        match seal {
            None => out.extend(pcm.iter().flat_map(|sample| sample.to_le_bytes())),
            Some((key, nonce)) => {
                let mut plain = [0; PCM];
                for (bytes, sample) in plain.chunks_exact_mut(2).zip(pcm) {
                    bytes.copy_from_slice(&sample.to_le_bytes());
                }
                key.seal_bytes(&plain, &[], nonce, out);
            }
        }
    }
}

/// A name as level 1's header has it: cut to `N` bytes, zero-padded.
pub fn cut<const N: usize>(name: &str) -> [u8; N] {
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    bytes
}

impl<'a> Voice<'a> {
    /// The body, opened with the first of the room's keys that fits; with no keys it must be in the clear.
    pub fn open<'k>(&self, mut keys: impl Iterator<Item = &'k Key>) -> Option<Cow<'a, [u8]>> {
        match keys.next() {
            None => (!self.sealed).then_some(Cow::Borrowed(self.body)),
            Some(_) if !self.sealed => None,
            Some(first) => std::iter::once(first)
                .chain(keys)
                .find_map(|key| key.open_bytes(self.body, self.header))
                .map(Cow::Owned),
        }
    }

    /// Appends a datagram. `seal`: the room's key and a nonce never used before; `speaks`: whether it is in a talkspurt.
    pub fn write(
        session: u64,
        packet: &Packet<'_>,
        speaks: bool,
        seal: Option<(&Key, [u8; NONCE])>,
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        out.push(if seal.is_some() { VOICE_SEALED } else { VOICE });
        out.extend_from_slice(&session.to_be_bytes());
        out.extend_from_slice(&packet.counter.to_be_bytes());
        let body = out.len();
        out.extend_from_slice(&(packet.frame as u32).to_be_bytes());
        let codec = match packet.codec {
            Codec::Pcm => 0,
            Codec::Opus => 1,
        };
        out.push(if speaks { codec } else { codec | NO_TALKSPURT });
        let itself = (!packet.payload.is_empty()).then_some((0, packet.payload));
        let repeats = packet.repeats.iter().flatten().map(|repeat| (repeat.back, repeat.payload));
        for (back, payload) in itself.into_iter().chain(repeats) {
            out.push(back);
            out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
            out.extend_from_slice(payload);
        }
        if let Some((key, nonce)) = seal {
            let plain = out.split_off(body);
            let header = out.get(start..).unwrap_or_default().to_vec();
            key.seal_bytes(&plain, &header, nonce, out);
        }
    }
}

/// Whether the body of a voice datagram is in a talkspurt.
pub fn speaks(body: &[u8]) -> bool {
    body.get(4).is_some_and(|codec| codec & NO_TALKSPURT == 0)
}

/// Reads the body of a voice datagram. `frame` lasts for 2.7 years of a session.
///
/// # Errors
/// If anything in it is not as the module says: a codec that is none, a block that is cut off, empty or too long, a
/// frame twice, too many repeats.
pub fn read_body(body: &[u8], counter: u64) -> Result<Packet<'_>, Malformed> {
    let mut rest = Reader(body);
    let frame = u64::from(rest.u32()?);
    let codec = match rest.u8()? & !NO_TALKSPURT {
        0 => Codec::Pcm,
        1 => Codec::Opus,
        _ => return Err(Malformed),
    };
    let mut packet = Packet { counter, frame, codec, payload: &[], repeats: [None; MAX_REPEATS] };
    let mut next = 0;
    while !rest.0.is_empty() {
        let back = rest.u8()?;
        let length = usize::from(rest.u16()?);
        let payload = rest.take(length)?;
        if payload.is_empty() || payload.len() > MAX_PAYLOAD {
            return Err(Malformed);
        }
        if back == 0 {
            if !std::mem::replace(&mut packet.payload, payload).is_empty() || next > 0 {
                return Err(Malformed);
            }
            continue;
        }
        if u64::from(back) > frame || packet.repeats.iter().flatten().any(|it| it.back == back) {
            return Err(Malformed);
        }
        *packet.repeats.get_mut(next).ok_or(Malformed)? = Some(Repeat { back, payload });
        next += 1;
    }
    Ok(packet)
}

/// Appends a challenge.
pub fn write_challenge(from: u64, to: u64, nonce: u64, out: &mut Vec<u8>) {
    numbers(CHALLENGE_KIND, &[from, to, nonce], out);
}

/// Appends an echo.
pub fn write_echo(from: u64, nonce: u64, out: &mut Vec<u8>) {
    numbers(ECHO_KIND, &[from, nonce], out);
}

/// Appends a report.
pub fn write_report(from: u64, to: u64, report: Report, out: &mut Vec<u8>) {
    numbers(REPORT_KIND, &[from, to], out);
    for number in [report.expected, report.lost, report.bursts] {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// Appends what is known of members of level 1, the first [`MAX_KNOWN`] of them.
pub fn write_members<'i>(from: u64, known: impl Iterator<Item = (u8, &'i str)>, out: &mut Vec<u8>) {
    numbers(MEMBERS_KIND, &[from], out);
    for (flags, id) in known.take(MAX_KNOWN) {
        out.push(flags);
        out.extend_from_slice(&cut::<ID>(id));
    }
}

fn numbers(kind: u8, numbers: &[u64], out: &mut Vec<u8>) {
    out.push(kind);
    for number in numbers {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// Takes numbers off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::room_key::{RoomKey, Scheme};

    fn frame() -> Frame {
        std::array::from_fn(|i| (i as i16).wrapping_mul(101))
    }

    fn no_keys<'k>() -> impl Iterator<Item = &'k Key> {
        std::iter::empty()
    }

    #[test]
    fn a_datagram_of_the_original_is_696_bytes() {
        let mut bytes = Vec::new();
        Original::write((&cut("general"), &cut("127.0.0.1:5001")), 7, &frame(), None, &mut bytes);
        assert_eq!(bytes.len(), 696);
        assert_eq!(&bytes[..18], b"general\0\0\0\0\0\0\0\0\x0012");
        assert_eq!(bytes[52..56], [0, 0, 0, 7]);
        assert_eq!(bytes[58..60], 101_i16.to_le_bytes());
        let Ok(Datagram::Original(read)) = Datagram::parse(&bytes) else { panic!("not read") };
        assert_eq!((read.sequence, &read.id[..15]), (7, &b"127.0.0.1:5001\0"[..]));
        assert_eq!(read.open(no_keys()).as_deref(), Some(&bytes[56..]));
        assert_eq!(read.open([&Key::derive("k", "r")].into_iter()), None, "in the clear, in a room with a key");
    }

    #[test]
    fn with_a_key_it_is_724_bytes_and_opens_with_that_key_alone() {
        let key = Key::derive("k", "r");
        let mut bytes = Vec::new();
        Original::write((&cut("r"), &cut("a")), 7, &frame(), Some((&key, [1; NONCE])), &mut bytes);
        assert_eq!(bytes.len(), 724);
        let Ok(Datagram::Original(read)) = Datagram::parse(&bytes) else { panic!("not read") };
        assert_eq!(read.open([&key].into_iter()).map(|pcm| pcm.len()), Some(640));
        assert_eq!(read.open(no_keys()), None);
        assert_eq!(read.open([&Key::derive("x", "r")].into_iter()), None);
        bytes[100] ^= 1;
        let Ok(Datagram::Original(read)) = Datagram::parse(&bytes) else { panic!("not read") };
        assert_eq!(read.open([&key].into_iter()), None, "changed on its way");
    }

    #[test]
    fn small_ones_come_back_as_they_went() {
        let report = Report { expected: 50, lost: 3, bursts: 2 };
        type Case = (fn(&mut Vec<u8>), Datagram<'static>);
        let cases: [Case; 3] = [
            (|out| write_challenge(1, 2, 3, out), Datagram::Challenge { from: 1, to: 2, nonce: 3 }),
            (|out| write_echo(1, 2, out), Datagram::Echo { from: 1, nonce: 2 }),
            (
                |out| write_report(1, 2, Report { expected: 50, lost: 3, bursts: 2 }, out),
                Datagram::Report { from: 1, to: 2, report },
            ),
        ];
        for (write, expected) in cases {
            let mut bytes = Vec::new();
            write(&mut bytes);
            assert_eq!(Datagram::parse(&bytes), Ok(expected));
            for cut in 0..bytes.len() {
                assert_eq!(Datagram::parse(&bytes[..cut]), Err(Malformed), "{cut} bytes of {expected:?}");
            }
            bytes.push(0);
            assert_eq!(Datagram::parse(&bytes), Err(Malformed));
        }
        let mut bytes = Vec::new();
        write_members(9, [(HEARS, "a"), (0, "b")].into_iter(), &mut bytes);
        assert_eq!(bytes.len(), 9 + 2 * 37);
        let Ok(Datagram::Members { from: 9, known }) = Datagram::parse(&bytes) else { panic!("not read") };
        assert_eq!(
            (known.len(), known[0][..3].to_vec(), known[1][..2].to_vec()),
            (2, b"\x01a\0".to_vec(), b"\0b".to_vec())
        );
        assert_eq!(Datagram::parse(&bytes[..50]), Err(Malformed));
        write_members(9, (0..40).map(|_| (0, "x")), &mut bytes);
        assert_eq!(Datagram::parse(&bytes), Err(Malformed), "too long");
        let mut echo = Vec::new();
        write_echo(1, 2, &mut echo);
        assert!(echo.len() == ECHO && echo.len() < CHALLENGE, "nothing is amplified");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100_000))]

        #[test]
        fn voice_comes_back_as_it_went(
            (session, counter, frame) in (any::<u64>(), any::<u64>(), 255_u32..),
            payload in prop::collection::vec(any::<u8>(), 0..100),
            repeats in prop::collection::vec((1_u8.., prop::collection::vec(any::<u8>(), 1..640)), 0..3),
            key in any::<bool>(), flip in any::<prop::sample::Index>(),
        ) {
            let any = RoomKey::derive_at_once(Scheme::Original, "k", "r");
            let key = any.original().filter(|_| key).cloned();
            let mut packet =
                Packet { counter, frame: frame.into(), codec: Codec::Opus, payload: &payload, repeats: [None; 2] };
            prop_assume!(repeats.len() < 2 || repeats[0].0 != repeats[1].0);
            for (slot, (back, payload)) in packet.repeats.iter_mut().zip(&repeats) {
                *slot = Some(Repeat { back: *back, payload });
            }
            let mut bytes = Vec::new();
            Voice::write(session, &packet, repeats.len() == 1, key.as_ref().map(|key| (key, [3; NONCE])), &mut bytes);
            let Ok(Datagram::Voice(voice)) = Datagram::parse(&bytes) else { panic!("not read") };
            prop_assert_eq!((voice.session, voice.counter), (session, counter));
            let body = voice.open(key.iter()).expect("opens");
            prop_assert_eq!(read_body(&body, counter), Ok(packet));
            prop_assert_eq!(speaks(&body), repeats.len() == 1);
            if let Some(key) = &key {
                prop_assert!(voice.open(no_keys()).is_none());
                let at = flip.index(bytes.len() - 1) + 1;
                bytes[at] ^= 1;
                if let Ok(Datagram::Voice(voice)) = Datagram::parse(&bytes) {
                    prop_assert!(voice.open([key].into_iter()).is_none());
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(kind in 0_u8..0x30, bytes in prop::collection::vec(any::<u8>(), 0..800)) {
            let bytes: Vec<u8> = std::iter::once(kind).chain(bytes).collect();
            if let Ok(Datagram::Voice(voice)) = Datagram::parse(&bytes)
                && let Some(body) = voice.open(no_keys())
            {
                let _ = read_body(&body, voice.counter);
            }
        }
    }

    #[test]
    fn odd_bodies_are_refused() {
        let whole = [0, 0, 1, 0, 1, 0, 0, 1, 42, 2, 0, 1, 43];
        assert!(read_body(&whole, 0).is_ok());
        let odd: [&[u8]; 7] = [
            &[],
            &[0, 0, 0, 1, 9],
            &[0, 0, 0, 1, 1, 0, 0, 0],
            &[0, 0, 0, 1, 1, 0, 0, 2, 42],
            &[0, 0, 0, 1, 1, 2, 0, 1, 42],
            &[0, 0, 1, 0, 1, 0, 0, 1, 42, 0, 0, 1, 42],
            &[0, 0, 1, 0, 1, 1, 0, 1, 1, 2, 0, 1, 1, 3, 0, 1, 1],
        ];
        for body in odd {
            assert_eq!(read_body(body, 0), Err(Malformed), "{body:?}");
        }
    }
}
