//! The content of a sealed datagram of level 2. Numbers are big-endian.
//!
//! ```text
//! 0x01 voice      number 4, frame 4, codec 1 (0 PCM, 1 Opus; and 0x80 if it is no talkspurt, but loud otherwise), then blocks:
//!                 back 1, length 2, payload; back 0 is the frame itself
//! 0x02 challenge  session of the receiver 8, nonce 8
//! 0x03 echo       nonce 8
//! 0x04 report     session of the receiver 8, expected 2, lost 2, bursts 2
//! 0x05 members    up to 16 times: flags 1, node id 36: what the sender knows of members of level 1
//!      flags      0x01 hears it directly; 0x02 takes it for a host that mixes, and is with it
//! ```
//!
//! `number` counts the packets of voice alone, and so tells what was lost; the datagram's own counter counts all, whomever they go
//! to. An echo is shorter than what it answers, so this node amplifies no attack.

use super::common::{ID, Malformed, cut};
use super::sealed::OVERHEAD;
use crate::voice::{Codec, MAX_PAYLOAD, MAX_REPEATS, Packet, Repeat, Report};

/// In the codec: this is no talkspurt.
const NO_TALKSPURT: u8 = 0x80;
/// Where the codec is in the body of voice.
const CODEC_AT: usize = 8;
/// Members in a `members`.
pub const MAX_KNOWN: usize = 16;
/// Bytes of a datagram with a challenge.
pub const CHALLENGE: usize = OVERHEAD + 17;
/// Bytes of one with an echo.
pub const ECHO: usize = OVERHEAD + 9;
/// Bytes of a member in a `members`.
pub const KNOWN: usize = 1 + ID;
/// In a `members`: the sender hears the member directly.
pub const HEARS: u8 = 0x01;
/// In a `members`: the sender takes the member for a host that mixes, and is with it.
pub const WITH_HOST: u8 = 0x02;

const VOICE_KIND: u8 = 0x01;
const CHALLENGE_KIND: u8 = 0x02;
const ECHO_KIND: u8 = 0x03;
const REPORT_KIND: u8 = 0x04;
const MEMBERS_KIND: u8 = 0x05;

/// The content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inside<'a> {
    /// Voice: for [`read_voice`] and [`speaks`].
    Voice(&'a [u8]),
    /// Whether the session it names is at the address that it was sent to.
    Challenge {
        /// The session that is asked.
        to: u64,
        /// Comes back in the echo.
        nonce: u64,
    },
    /// The answer.
    Echo {
        /// That of the challenge.
        nonce: u64,
    },
    /// How the receiver's voice comes in at the sender.
    Report {
        /// The session of the talker.
        to: u64,
        /// How it came.
        report: Report,
    },
    /// The members of level 1 that the sender knows.
    Members {
        /// Flags and id of each, [`KNOWN`] bytes together.
        known: &'a [[u8; KNOWN]],
    },
}

impl<'a> Inside<'a> {
    /// Reads the content.
    ///
    /// # Errors
    /// If its length or its first byte is none of those above.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = Reader(bytes);
        let parsed = match rest.u8()? {
            VOICE_KIND => Self::Voice(std::mem::take(&mut rest.0)),
            CHALLENGE_KIND => Self::Challenge { to: rest.u64()?, nonce: rest.u64()? },
            ECHO_KIND => Self::Echo { nonce: rest.u64()? },
            REPORT_KIND => Self::Report {
                to: rest.u64()?,
                report: Report { expected: rest.u16()?, lost: rest.u16()?, bursts: rest.u16()? },
            },
            MEMBERS_KIND => {
                let (known, over) = std::mem::take(&mut rest.0).as_chunks();
                if !over.is_empty() || known.len() > MAX_KNOWN {
                    return Err(Malformed);
                }
                Self::Members { known }
            }
            _ => return Err(Malformed),
        };
        if rest.0.is_empty() { Ok(parsed) } else { Err(Malformed) }
    }
}

/// Appends voice. `speaks`: whether it is in a talkspurt.
pub fn write_voice(packet: &Packet<'_>, speaks: bool, out: &mut Vec<u8>) {
    out.push(VOICE_KIND);
    out.extend_from_slice(&(packet.counter as u32).to_be_bytes());
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
}

/// Whether voice is in a talkspurt.
pub fn speaks(voice: &[u8]) -> bool {
    voice.get(CODEC_AT).is_some_and(|codec| codec & NO_TALKSPURT == 0)
}

/// Reads voice. Its numbers last for 2.7 years of a session.
///
/// # Errors
/// If anything in it is not as the module says: a codec that is none, a block that is cut off, empty or too long, a
/// frame twice, too many repeats.
pub fn read_voice(voice: &[u8]) -> Result<Packet<'_>, Malformed> {
    let mut rest = Reader(voice);
    let counter = u64::from(rest.u32()?);
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
pub fn write_challenge(to: u64, nonce: u64, out: &mut Vec<u8>) {
    numbers(CHALLENGE_KIND, &[to, nonce], out);
}

/// Appends an echo.
pub fn write_echo(nonce: u64, out: &mut Vec<u8>) {
    numbers(ECHO_KIND, &[nonce], out);
}

/// Appends a report.
pub fn write_report(to: u64, report: Report, out: &mut Vec<u8>) {
    numbers(REPORT_KIND, &[to], out);
    for number in [report.expected, report.lost, report.bursts] {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// Appends what is known of members of level 1, the first [`MAX_KNOWN`] of them.
pub fn write_members<'i>(known: impl Iterator<Item = (u8, &'i str)>, out: &mut Vec<u8>) {
    out.push(MEMBERS_KIND);
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

    #[test]
    fn small_ones_come_back_as_they_went() {
        let report = Report { expected: 50, lost: 3, bursts: 2 };
        type Case = (fn(&mut Vec<u8>), Inside<'static>);
        let cases: [Case; 3] = [
            (|out| write_challenge(2, 3, out), Inside::Challenge { to: 2, nonce: 3 }),
            (|out| write_echo(2, out), Inside::Echo { nonce: 2 }),
            (|out| write_report(2, Report { expected: 50, lost: 3, bursts: 2 }, out), Inside::Report { to: 2, report }),
        ];
        for (write, expected) in cases {
            let mut bytes = Vec::new();
            write(&mut bytes);
            assert_eq!(Inside::parse(&bytes), Ok(expected));
            for cut in 0..bytes.len() {
                assert_eq!(Inside::parse(&bytes[..cut]), Err(Malformed), "{cut} bytes of {expected:?}");
            }
            bytes.push(0);
            assert_eq!(Inside::parse(&bytes), Err(Malformed));
        }
        let mut bytes = Vec::new();
        write_members([(HEARS, "a"), (0, "b")].into_iter(), &mut bytes);
        assert_eq!(bytes.len(), 1 + 2 * 37);
        let Ok(Inside::Members { known }) = Inside::parse(&bytes) else { panic!("not read") };
        assert_eq!(
            (known.len(), known[0][..3].to_vec(), known[1][..2].to_vec()),
            (2, b"\x01a\0".to_vec(), b"\0b".to_vec())
        );
        assert_eq!(Inside::parse(&bytes[..50]), Err(Malformed));
        let mut bytes = Vec::new();
        write_members((0..40).map(|_| (0, "x")), &mut bytes);
        assert_eq!(bytes.len(), 1 + MAX_KNOWN * KNOWN);
        bytes.extend_from_slice(&[0; KNOWN]);
        assert_eq!(Inside::parse(&bytes), Err(Malformed), "too long");
        let (mut challenge, mut echo) = (Vec::new(), Vec::new());
        write_challenge(1, 2, &mut challenge);
        write_echo(2, &mut echo);
        assert_eq!((challenge.len() + OVERHEAD, echo.len() + OVERHEAD), (CHALLENGE, ECHO));
        const { assert!(ECHO < CHALLENGE, "nothing is amplified") };
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100_000))]
        #[test]
        fn voice_comes_back_as_it_went(
            (number, frame) in (any::<u32>(), 255_u32..),
            payload in prop::collection::vec(any::<u8>(), 0..100),
            repeats in prop::collection::vec((1_u8.., prop::collection::vec(any::<u8>(), 1..640)), 0..3),
        ) {
            let mut packet = Packet {
                counter: number.into(), frame: frame.into(), codec: Codec::Opus, payload: &payload, repeats: [None; 2],
            };
            prop_assume!(repeats.len() < 2 || repeats[0].0 != repeats[1].0);
            for (slot, (back, payload)) in packet.repeats.iter_mut().zip(&repeats) {
                *slot = Some(Repeat { back: *back, payload });
            }
            let mut bytes = Vec::new();
            write_voice(&packet, repeats.len() == 1, &mut bytes);
            let Ok(Inside::Voice(voice)) = Inside::parse(&bytes) else { panic!("not read") };
            prop_assert_eq!(read_voice(voice), Ok(packet));
            prop_assert_eq!(speaks(voice), repeats.len() == 1);
        }

        #[test]
        fn no_bytes_make_it_panic(kind in 0_u8..8, bytes in prop::collection::vec(any::<u8>(), 0..800)) {
            let bytes: Vec<u8> = std::iter::once(kind).chain(bytes).collect();
            if let Ok(Inside::Voice(voice)) = Inside::parse(&bytes) {
                let _ = read_voice(voice);
            }
        }
    }

    #[test]
    fn odd_voice_is_refused() {
        let whole = [0, 0, 0, 9, 0, 0, 1, 0, 1, 0, 0, 1, 42, 2, 0, 1, 43];
        assert!(read_voice(&whole).is_ok());
        let odd: [&[u8]; 8] = [
            &[],
            &[0, 0, 0, 9, 0, 0, 0],
            &[0, 0, 0, 9, 0, 0, 0, 1, 9],
            &[0, 0, 0, 9, 0, 0, 0, 1, 1, 0, 0, 0],
            &[0, 0, 0, 9, 0, 0, 0, 1, 1, 0, 0, 2, 42],
            &[0, 0, 0, 9, 0, 0, 0, 1, 1, 2, 0, 1, 42],
            &[0, 0, 0, 9, 0, 0, 1, 0, 1, 0, 0, 1, 42, 0, 0, 1, 42],
            &[0, 0, 0, 9, 0, 0, 1, 0, 1, 1, 0, 1, 1, 2, 0, 1, 1, 3, 0, 1, 1],
        ];
        for voice in odd {
            assert_eq!(read_voice(voice), Err(Malformed), "{voice:?}");
        }
    }
}
