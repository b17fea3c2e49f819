//! Captured frames out to everyone; signs of life, challenges and reports.
//!
//! A captured frame is encoded once and written once for each class of receivers: those of level 2 by how much they want
//! repeated, or as PCM; and those of level 1. In silence nothing goes to level 2; to level 1 every frame goes, as the
//! original has it. A member that got nothing for a second gets a sign of life: while muted or without a microphone, level 1 gets a
//! frame of zeros.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::path::Why;
use super::{Call, Calls, Event, Io};
use crate::base::{NodeId, Now};
use crate::outbox::{Bytes, Output};
use crate::voice::redundancy::Redundancy;
use crate::voice::talker::Turn;
use crate::voice::{Codec, FRAME, Frame, Packet};
use crate::wire::datagram::inside::{write_challenge, write_report, write_voice};
use crate::wire::datagram::original::PCM;
use crate::wire::datagram::{Original, cut};
use crate::wire::limits::VOICE_SIGN_OF_LIFE;

/// A talkspurt of which nothing has come for so long is over, whatever was lost: a guess, above any jitter that is played.
const TALKSPURT_END: Duration = Duration::from_millis(500);
/// How often the line is reported on, and what is known of members of level 1 is said.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Frames of silence between the end of the microphone's file and `mic_ended`: half a second, in which what was said comes out
/// of the listeners' jitter buffers. A guess.
const MIC_ENDED_AFTER: u32 = 25;
/// From when level 1's sequence numbers are counted: 2026-01-01T00:00:00Z, in ms since 1970. They last until August 2028
/// and then begin again; what an original has heard before that it must forget.
const SEQUENCE_START: u64 = 1_767_225_600_000;
/// One is counted for so many ms: a little less than a frame lasts, so that a fast sound card does not outrun the clock from
/// which the next run of this program starts.
const SEQUENCE_STEP: u64 = 19;

/// The forms in which receivers of level 2 get the same frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The samples.
    Pcm,
    /// Opus, with so much repeated.
    Opus(Redundancy),
}

impl Calls {
    /// Sends 20 ms of the microphone.
    pub fn on_captured(&mut self, now: Now, frame: &Frame, io: &mut dyn Io) {
        let Some(call) = &mut self.call else { return };
        let heard = (!call.muted).then_some(frame);
        let to: Vec<(SocketAddr, Class)> = call.receivers(now.mono).collect();
        let turn = call.talker.take(heard, !to.is_empty());
        call.star.captured(heard);
        self.set_own_speaking(turn.speaking, io);
        self.send_packets(now, &to, frame, turn, io);
        if let Some(frame) = heard {
            self.send_to_originals(now, frame, io);
        }
        self.tell_mic_ended(io);
    }

    /// Takes note that the microphone's file has ended.
    pub fn on_mic_ended(&mut self) {
        if let Some(call) = &mut self.call {
            call.mic_ends_in = Some(MIC_ENDED_AFTER);
        }
    }

    /// Tells clients of the microphone's end once the last talkspurt is over and heard.
    fn tell_mic_ended(&mut self, io: &mut dyn Io) {
        let Some(call) = &mut self.call else { return };
        match call.mic_ends_in {
            Some(0) if !call.speaking => {
                call.mic_ends_in = None;
                let room = call.room.clone();
                io.emit(Event::MicEnded { room: &room });
            }
            Some(left) => call.mic_ends_in = Some(left.saturating_sub(1)),
            None => {}
        }
    }

    /// Sends the talker's last packet to those of level 2.
    fn send_packets(&mut self, now: Now, to: &[(SocketAddr, Class)], frame: &Frame, turn: Turn, io: &mut dyn Io) {
        let classes: BTreeSet<Class> = to.iter().map(|(_, class)| *class).collect();
        for class in classes {
            let Some(call) = &mut self.call else { return };
            let mut pcm = [0; PCM];
            let packet = match class {
                Class::Opus(redundancy) => call.talker.packet(redundancy),
                Class::Pcm => call.talker.packet(Redundancy::None).map(|packet| {
                    let samples = pcm.as_chunks_mut::<2>().0.iter_mut().zip(frame);
                    samples.for_each(|(bytes, sample)| *bytes = sample.to_le_bytes());
                    let payload = if turn.sends { &pcm[..] } else { &[] };
                    Packet { codec: Codec::Pcm, payload, ..packet }
                }),
            };
            let Some(packet) = packet else { return };
            call.sent = Some(now.mono);
            let bytes = io.out().write(|buffer| {
                call.sealer.seal(|inside| write_voice(&packet, turn.speaking, inside), buffer);
            });
            for (addr, _) in to.iter().filter(|(_, it)| *it == class) {
                self.send_datagram(*addr, bytes.clone(), io);
            }
        }
    }

    /// Sends a frame to those of level 1.
    fn send_to_originals(&mut self, now: Now, frame: &Frame, io: &mut dyn Io) {
        let to = self.originals(now, io);
        if to.is_empty() {
            return;
        }
        let sequence = self.next_sequence(now);
        let Some(bytes) = self.write_original(sequence, frame, io) else { return };
        for addr in to {
            self.send_datagram(addr, bytes.clone(), io);
        }
        if let Some(call) = &mut self.call {
            call.sent_original = Some(now.mono);
        }
    }

    /// A datagram of level 1 in our name.
    pub(super) fn write_original(&mut self, sequence: u32, frame: &Frame, io: &mut dyn Io) -> Option<Bytes> {
        let room = self.call.as_ref()?.room.clone();
        let nonce = self.secrets.bytes();
        let key = match io.keys(&room)[0] {
            None => None,
            // Nothing goes in the clear where there is a key, whichever.
            Some(key) => Some(key.original()?.clone()),
        };
        let (header, seal) = ((&cut(&room), &cut(&self.id.text())), key.as_ref().map(|key| (key, nonce)));
        Some(io.out().write(|buffer| Original::write(header, sequence, frame, seal, buffer)))
    }

    /// Where those of level 1 are sent our own voice: each address once. A member that gets a mix gets that instead.
    fn originals(&self, now: Now, io: &dyn Io) -> BTreeSet<SocketAddr> {
        let Some(call) = &self.call else { return BTreeSet::new() };
        let streams = call.streams.iter().filter(|(_, stream)| !stream.is_level2 && !stream.star.is_served());
        streams.filter_map(|(id, _)| self.original_addr(now, id, io)).collect()
    }

    /// Where a member of level 1 is sent voice, if anywhere.
    pub(super) fn original_addr(&self, now: Now, id: &NodeId, io: &dyn Io) -> Option<SocketAddr> {
        let stream = self.call.as_ref()?.streams.get(id).filter(|stream| !stream.is_level2)?;
        stream.path.of_original(now.mono, self.ip_of_own_link(id, io))
    }

    /// Where a member's own link comes from, if its join came over that.
    fn ip_of_own_link(&self, id: &NodeId, io: &dyn Io) -> Option<IpAddr> {
        let direct = self.roster.get(id).is_some_and(|member| member.direct);
        let link = if direct { io.neighbour(id.into()) } else { None };
        link.map(|link| link.addr.ip().to_canonical())
    }

    /// The next sequence number of level 1.
    pub(super) fn next_sequence(&mut self, now: Now) -> u32 {
        let by_clock = (now.unix_ms.saturating_sub(SEQUENCE_START) / SEQUENCE_STEP) as u32;
        let next = self.sequence.map_or(by_clock, |last| last.wrapping_add(1));
        self.sequence = Some(next);
        next
    }

    pub(super) fn send_datagram(&mut self, to: SocketAddr, bytes: Bytes, io: &mut dyn Io) {
        if io.is_blocked(to.ip()) {
            return;
        }
        self.counts.sent += 1;
        io.out().push(Output::Datagram { to, bytes });
    }

    /// Does for each stream what is due: challenges, signs of life, reports, the end of talkspurts.
    pub(super) fn maintain_streams(&mut self, now: Now, io: &mut dyn Io) {
        self.send_challenges(now, io);
        self.send_signs_of_life(now, io);
        self.judge_clients(now, io);
        self.watch_unheard(now, io);
        let Some(call) = &mut self.call else { return };
        let over = |at: Option<Instant>| at.is_none_or(|at| now.mono.duration_since(at) >= TALKSPURT_END);
        let ended = call.streams.iter().filter(|(_, stream)| stream.speaking && over(stream.spoke));
        let ended: Vec<NodeId> = ended.map(|(id, _)| id.clone()).collect();
        let reports = call.next_reports <= now.mono;
        if reports {
            call.next_reports = now.mono + REPORT_EVERY;
        }
        for id in ended {
            self.set_speaking(&id, false, io);
        }
        if reports {
            self.send_reports(now, io);
            self.send_known(now, io);
        }
    }

    fn send_challenges(&mut self, now: Now, io: &mut dyn Io) {
        let Some(call) = &self.call else { return };
        let level2: Vec<NodeId> =
            call.streams.iter().filter(|(_, it)| it.is_level2).map(|(id, _)| id.clone()).collect();
        let mut due = Vec::new();
        for id in level2 {
            let own_link = self.ip_of_own_link(&id, io);
            let Some(stream) = self.call.as_mut().and_then(|call| call.streams.get_mut(&id)) else { continue };
            let Some(session) = stream.session.as_ref().map(|session| session.number) else { continue };
            let Some(mut to) = stream.path.challenge_due(now.mono) else { continue };
            let challenges = &mut self.challenges;
            // An address that can't be a victim is not counted: or forgers could use up what is left for it.
            if to.1 == Why::Probe
                && (own_link == Some(to.0.ip().to_canonical())
                    || (stream.path.take_asks(now.mono, to.0) && challenges.may_echo(now.mono)))
            {
                to.1 = Why::Answer;
            }
            let may = to.1 != Why::Probe || challenges.may_go(to.0.ip());
            let nonce = may.then(|| u64::from_be_bytes(self.secrets.bytes()));
            stream.path.challenged(now.mono, to, nonce);
            due.extend(nonce.map(|nonce| (to.0, session, nonce)));
        }
        for (to, session, nonce) in due {
            let Some(bytes) = self.seal(|inside| write_challenge(session, nonce, inside), io) else { return };
            self.send_datagram(to, bytes, io);
        }
    }

    fn send_signs_of_life(&mut self, now: Now, io: &mut dyn Io) {
        let due = |sent: Option<Instant>| sent.is_none_or(|at| now.mono.duration_since(at) >= VOICE_SIGN_OF_LIFE);
        let Some(call) = &mut self.call else { return };
        let original = due(call.sent_original);
        let to: Vec<(SocketAddr, Class)> = call.receivers(now.mono).collect();
        if due(call.sent) && !to.is_empty() {
            let packet = call.talker.sign_of_life();
            call.sent = Some(now.mono);
            let bytes = io.out().write(|buffer| call.sealer.seal(|inside| write_voice(&packet, false, inside), buffer));
            for (addr, _) in to {
                self.send_datagram(addr, bytes.clone(), io);
            }
        }
        if original {
            self.send_to_originals(now, &[0; FRAME], io);
        }
    }

    /// Tells each talker of level 2 how its voice comes in.
    fn send_reports(&mut self, now: Now, io: &mut dyn Io) {
        let Some(call) = &mut self.call else { return };
        let mut reports = Vec::new();
        for stream in call.streams.values_mut().filter(|stream| stream.is_level2) {
            let Some(session) = stream.session.as_ref().map(|session| session.number) else { continue };
            let Some(to) = stream.path.validated_addr(now.mono) else { continue };
            if let Some(report) = stream.speaker.report() {
                reports.push((to, session, report));
            }
        }
        for (to, session, report) in reports {
            let Some(bytes) = self.seal(|inside| write_report(session, report, inside), io) else { return };
            self.send_datagram(to, bytes, io);
        }
    }

    /// Notes that our own talkspurt begins or ends, and tells clients.
    pub(super) fn set_own_speaking(&mut self, speaking: bool, io: &mut dyn Io) {
        let Some(call) = &mut self.call else { return };
        if std::mem::replace(&mut call.speaking, speaking) != speaking {
            let (room, own) = (call.room.clone(), self.id.clone());
            io.emit(Event::Speaking { room: &room, peer: &own.text(), speaking });
        }
    }
}

impl Call {
    /// The receivers of level 2 whose address has shown that they are there.
    fn receivers(&self, now: Instant) -> impl Iterator<Item = (SocketAddr, Class)> {
        let encodes = self.talker.has_codec();
        let level2 = self.streams.values().filter(|stream| stream.is_level2);
        level2.filter_map(move |stream| {
            let class = match encodes && stream.opus {
                true => Class::Opus(stream.chooser.choice()),
                false => Class::Pcm,
            };
            Some((stream.path.validated_addr(now)?, class))
        })
    }
}
