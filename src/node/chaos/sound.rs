//! Steps of a microphone, a speaker and other nodes' datagrams.

use std::net::SocketAddr;
use std::time::Duration;

use super::Chaos;
use crate::node::Input;
use crate::voice::{Codec, FRAME, Packet, Report};
use crate::wire::datagram;
use crate::wire::datagram::inside::{write_challenge, write_echo, write_members, write_report};

impl Chaos<'_> {
    /// A step of sound or of datagrams.
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
                let (from, bytes) = self.datagram();
                let from = if self.below(3) == 0 { self.address() } else { from };
                self.handle(Input::Datagram { from, bytes: &bytes });
            }
        }
    }

    pub(super) fn address(&mut self) -> SocketAddr {
        match self.below(6) {
            0 => SocketAddr::from(([0, 0, 0, 0, 0, 0xffff, 0x0a00, 1], 7)),
            1 => SocketAddr::from(([0xfe80, 0, 0, 0, 0, 0, 0, 1], 6000)),
            _ => SocketAddr::from(([10, 0, 0, self.below(10) as u8], [7, 6000][self.below(2)])),
        }
    }

    /// A datagram: of any kind, from a member as often as not; or one that it has sent itself; and some are damaged.
    fn datagram(&mut self) -> (SocketAddr, Vec<u8>) {
        let mut bytes = Vec::new();
        let calls = self.node.calls.as_deref();
        let known: Vec<usize> = (0..self.members.len())
            .filter(|n| self.members.get(*n).is_some_and(|it| calls.is_some_and(|calls| calls.is_member(it.id()))))
            .collect();
        let any = self.below(self.members.len());
        let which = if self.below(8) > 1 { self.pick(&known).unwrap_or(any) } else { any };
        let number = self.choices.number();
        let own = self.node.calls.as_ref().and_then(|calls| calls.own_session()).unwrap_or_default();
        let to = if number.is_multiple_of(4) { number } else { own };
        let id = format!("peer{}", self.below(6));
        let counter = if self.below(9) == 0 { number } else { self.now.as_millis() as u64 / 20 };
        let mut nonces = self.thrown.iter().filter_map(|bytes| self.node.calls.as_ref()?.nonce_of(bytes));
        let nonce = nonces.next_back().filter(|_| !number.is_multiple_of(3)).unwrap_or(number);
        let kind = self.below(8);
        let Some(member) = self.members.get_mut(which) else { return (self.address(), bytes) };
        let from = member.addr;
        match kind {
            0 => bytes = member.datagram(|out| write_challenge(to, number, out)),
            1 => bytes = member.datagram(|out| write_echo(nonce, out)),
            2 => {
                let [expected, lost, bursts] = [0, 16, 32].map(|shift| (number >> shift) as u16);
                bytes = member.datagram(|out| write_report(to, Report { expected, lost, bursts }, out));
            }
            3 => {
                let known = (0..number % 18).map(|n| ((number >> n) as u8, &*id));
                bytes = member.datagram(|out| write_members(known, out));
            }
            4 | 5 => {
                let payload: Vec<u8> =
                    (0..number % 80).map(|n| if n == 0 { 9 << 3 } else { (number >> (n % 50)) as u8 }).collect();
                let payload = if number.is_multiple_of(5) { vec![7; 640] } else { payload };
                let codec = if payload.len() == 640 { Codec::Pcm } else { Codec::Opus };
                bytes = member.voice(&Packet { counter, frame: counter, codec, payload: &payload, repeats: [None; 2] });
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
        (from, bytes)
    }
}
