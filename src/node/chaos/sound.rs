//! What a microphone, a speaker and other nodes' datagrams bring.

use std::net::SocketAddr;
use std::time::Duration;

use super::Chaos;
use crate::node::Input;
use crate::voice::{Codec, FRAME, Packet, Report};
use crate::wire::datagram;

impl Chaos<'_> {
    /// What sound and datagrams bring.
    pub(super) fn sound_step(&mut self) {
        match self.below(8) {
            0 if self.opening => {
                self.opening = self.below(4) == 0;
                let opened = if self.below(4) == 0 { Err("no".to_owned()) } else { Ok(("m".into(), "s".into())) };
                self.handle(Input::AudioOpened(opened));
            }
            1 => {
                if let Some(job) = self.lists.pop() {
                    self.handle(Input::Devices { job, devices: crate::api::result::Devices::default() });
                }
            }
            2 => {
                let level = [0, 3, 9000][self.below(3)];
                let frame = std::array::from_fn(|n| ((n * n * 7919 % 200) as i16 - 100).saturating_mul(level / 100));
                self.now += Duration::from_millis(20);
                self.handle(Input::Captured(&frame));
            }
            3 => {
                self.now += Duration::from_millis(5);
                self.handle(Input::PlaybackDue);
            }
            4 if self.below(10) == 0 => self.handle(Input::MicEnded),
            _ => {
                let (from, bytes) = (self.address(), self.datagram());
                self.handle(Input::Datagram { from, bytes: &bytes });
            }
        }
    }

    /// A session: most of the time one that is known.
    pub(super) fn session(&mut self) -> u64 {
        let known = self.node.voice.sessions();
        let other = self.below(8) as u64;
        self.pick(&known).filter(|_| other > 1).unwrap_or(other)
    }

    fn address(&mut self) -> SocketAddr {
        match self.below(6) {
            0 => SocketAddr::from(([0, 0, 0, 0, 0, 0xffff, 0x0a00, 1], 7)),
            1 => SocketAddr::from(([0xfe80, 0, 0, 0, 0, 0, 0, 1], 6000)),
            _ => SocketAddr::from(([10, 0, 0, self.below(10) as u8], [7, 6000][self.below(2)])),
        }
    }

    /// A datagram: of any kind, from a member as often as not; or one that it has sent itself; and some are damaged.
    fn datagram(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let (a, b, number) = (self.session(), self.session(), self.choices.number());
        let own = self.node.voice.sessions().first().copied().unwrap_or_default();
        let id = format!("peer{}", self.below(6));
        match self.below(8) {
            0 => datagram::write_challenge(a, own, number, &mut bytes),
            1 => datagram::write_echo(a, number, &mut bytes),
            2 => {
                let [expected, lost, bursts] = [0, 16, 32].map(|shift| (number >> shift) as u16);
                datagram::write_report(
                    a,
                    if number % 4 > 0 { own } else { b },
                    Report { expected, lost, bursts },
                    &mut bytes,
                );
            }
            3 => datagram::write_members(a, (0..number % 18).map(|n| ((number >> n) as u8, &*id)), &mut bytes),
            4 | 5 => {
                let payload: Vec<u8> =
                    (0..number % 80).map(|n| if n == 0 { 9 << 3 } else { (number >> (n % 50)) as u8 }).collect();
                let payload = if number.is_multiple_of(5) { vec![7; 640] } else { payload };
                let codec = if payload.len() == 640 { Codec::Pcm } else { Codec::Opus };
                let counter = if self.below(9) == 0 { number } else { self.now.as_millis() as u64 / 20 };
                let packet = Packet { counter, frame: counter, codec, payload: &payload, repeats: [None; 2] };
                datagram::Voice::write(a, &packet, number.is_multiple_of(3), None, &mut bytes);
            }
            6 => {
                let sequence = if self.below(9) == 0 { u32::MAX } else { self.now.as_millis() as u32 / 20 };
                let pcm = [(number >> 9) as i16; FRAME];
                let header = (&datagram::cut("general"), &datagram::cut(&id));
                datagram::Original::write(header, sequence, &pcm, None, &mut bytes);
            }
            _ => bytes = self.pick(&self.thrown.clone()).unwrap_or_default(),
        }
        match self.below(12) {
            0 => bytes.truncate(self.below(bytes.len())),
            1 => bytes.extend([9; 40]),
            2 if !bytes.is_empty() => {
                let at = self.below(bytes.len());
                bytes[at] = self.choices.byte();
            }
            _ => {}
        }
        // What is echoed for us answers a challenge that went out, if it is changed to an echo.
        if bytes.first() == Some(&2) && self.below(2) == 0 && bytes.len() == datagram::CHALLENGE {
            let (to, nonce) = (bytes[9..17].to_vec(), bytes[17..].to_vec());
            bytes = [&[3][..], &to, &nonce].concat();
        }
        bytes
    }
}
