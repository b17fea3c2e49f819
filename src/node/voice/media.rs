//! Captured frames out to everyone, datagrams in, playback.
//!
//! A captured frame is encoded once and written once for each class of receivers: those of level 2 by how much they want
//! repeated, and those of level 1. In silence nothing goes to level 2; to level 1 every frame goes, as the original has
//! it. Who got nothing for a second gets a sign of life.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Call, Stream};
use crate::api::event::{Event, MicEnded, Speaking};
use crate::node::{Bytes, Node, Now, Outbox, Output};
use crate::voice::redundancy::Redundancy;
use crate::voice::speaker::Received;
use crate::voice::{CHUNK, Chunk, Codec, FRAME, Frame, MAX_REPEATS, Packet};
use crate::wire::datagram::{self, Datagram, Original, Voice, cut};
use crate::wire::limits::VOICE_SIGN_OF_LIFE;

/// A talkspurt of which nothing has come for so long is over, whatever was lost: a guess, above any jitter that is played.
const TALKSPURT_END: Duration = Duration::from_millis(500);
/// How often the line is reported on.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Frames of silence between the end of the microphone's file and `mic_ended`: half a second, in which what was said comes out
/// of the listeners' jitter buffers. A guess.
const MIC_ENDED_AFTER: u32 = 25;
/// From when level 1's sequence numbers are counted, 50 a second: 2026-01-01T00:00:00Z, in ms since 1970. They last until
/// September 2028 and then begin again; what an original has heard before that it must forget.
const SEQUENCE_START: u64 = 1_767_225_600_000;

impl Node {
    /// The microphone has given 20 ms.
    pub(in crate::node) fn captured(&mut self, now: Now, frame: &Frame, out: &mut Outbox) {
        let Some(call) = &mut self.voice.call else { return };
        let heard = (!call.muted).then_some(frame);
        let to: Vec<(SocketAddr, Redundancy)> = call.receivers(now.mono).collect();
        let speaking = match &mut call.talker {
            Some(talker) => talker.take(heard, !to.is_empty()).speaking,
            None => heard.is_some_and(|frame| call.detector.hear(frame)),
        };
        call.star.captured(heard);
        self.own_talkspurt(speaking, out);
        self.send_packets(now, &to, out);
        if let Some(frame) = heard {
            self.send_to_originals(now, frame, out);
        }
        self.tell_mic_ended(out);
    }

    /// The microphone's file is at its end.
    pub(in crate::node) fn mic_ended(&mut self) {
        if let Some(call) = &mut self.voice.call {
            call.mic_ends_in = Some(MIC_ENDED_AFTER);
        }
    }

    /// Tells it once the last talkspurt is over and heard.
    fn tell_mic_ended(&mut self, out: &mut Outbox) {
        let Some(call) = &mut self.voice.call else { return };
        match call.mic_ends_in {
            Some(0) if !call.speaking => {
                call.mic_ends_in = None;
                let room = call.room.clone();
                self.emit(&Event::MicEnded(MicEnded { room: &room }), out);
            }
            Some(left) => call.mic_ends_in = Some(left.saturating_sub(1)),
            None => {}
        }
    }

    /// Sends the talker's last packet to those of level 2.
    fn send_packets(&mut self, now: Now, to: &[(SocketAddr, Redundancy)], out: &mut Outbox) {
        for class in [Redundancy::None, Redundancy::One, Redundancy::Two] {
            let mut written = None;
            for (addr, _) in to.iter().filter(|(_, it)| *it == class) {
                let Some(call) = &mut self.voice.call else { return };
                let Some(packet) = call.talker.as_ref().and_then(|talker| talker.packet(class)) else { return };
                call.sent = Some(now.mono);
                let (room, session) = (call.room.clone(), call.session);
                let nonce = self.clock.secret();
                let seal = self.keys.get(&*room).and_then(|keys| keys.current.as_ref()).map(|key| (key, nonce));
                let bytes =
                    written.get_or_insert_with(|| out.write(|buffer| Voice::write(session, &packet, seal, buffer)));
                let bytes = bytes.clone();
                self.send_datagram(*addr, bytes, out);
            }
        }
    }

    /// Sends a frame to those of level 1.
    fn send_to_originals(&mut self, now: Now, frame: &Frame, out: &mut Outbox) {
        let to = self.originals(now);
        if to.is_empty() {
            return;
        }
        let sequence = self.next_sequence(now);
        let Some(bytes) = self.write_original(sequence, frame, out) else { return };
        for addr in to {
            self.send_datagram(addr, bytes.clone(), out);
        }
        if let Some(call) = &mut self.voice.call {
            call.sent_original = Some(now.mono);
        }
    }

    /// A datagram of level 1 in our name.
    pub(super) fn write_original(&mut self, sequence: u32, frame: &Frame, out: &mut Outbox) -> Option<Bytes> {
        let room = self.voice.call.as_ref()?.room.clone();
        let nonce = self.clock.secret();
        let seal = self.keys.get(&*room).and_then(|keys| keys.current.as_ref()).map(|key| (key, nonce));
        let header = (&cut(&room), &cut(&self.id));
        Some(out.write(|buffer| Original::write(header, sequence, frame, seal, buffer)))
    }

    /// Where those of level 1 are sent our own voice: each address once. Who gets a mix gets that instead.
    fn originals(&self, now: Now) -> BTreeSet<SocketAddr> {
        let Some(call) = &self.voice.call else { return BTreeSet::new() };
        let streams = call.streams.iter().filter(|(_, stream)| !stream.ours);
        let streams = streams.filter(|(_, stream)| !call.relays(now.mono, &self.id, stream));
        streams.filter_map(|(id, stream)| stream.path.of_original(self.ip_of_link(id))).collect()
    }

    /// The IP address of a neighbour's link.
    pub(super) fn ip_of_link(&self, id: &str) -> Option<IpAddr> {
        let link = self.links.get(&self.neighbours.get(id)?)?;
        Some(link.addr.ip().to_canonical())
    }

    /// The next sequence number of level 1.
    pub(super) fn next_sequence(&mut self, now: Now) -> u32 {
        let by_clock = (now.unix_ms.saturating_sub(SEQUENCE_START) / 20) as u32;
        let next = self.voice.sequence.map_or(by_clock, |last| last.wrapping_add(1));
        self.voice.sequence = Some(next);
        next
    }

    pub(super) fn send_datagram(&mut self, to: SocketAddr, bytes: Bytes, out: &mut Outbox) {
        self.counters.datagrams_sent += 1;
        out.push(Output::Datagram { to, bytes });
    }

    /// A datagram came.
    pub(in crate::node) fn datagram_came(&mut self, now: Now, from: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let taken = match Datagram::parse(bytes) {
            Ok(Datagram::Voice(voice)) => self.voice_came(now, from, &voice, out),
            Ok(Datagram::Original(voice)) => self.original_came(now, from, &voice, bytes, out),
            Ok(Datagram::Challenge { to, nonce }) => self.challenged(from, to, nonce, out),
            Ok(Datagram::Echo { from: session, nonce }) => self.echoed(now, from, session, nonce),
            Ok(Datagram::Report { from: session, to, report }) => self.reported(session, to, report),
            Ok(Datagram::Unheard { from: session, ids }) => self.unheard(now, session, ids),
            Err(datagram::Malformed) => None,
        };
        match taken {
            Some(()) => self.counters.datagrams_received += 1,
            None => self.counters.datagrams_dropped += 1,
        }
    }

    /// Voice of level 2. `None`: not taken.
    fn voice_came(&mut self, now: Now, from: SocketAddr, voice: &Voice<'_>, out: &mut Outbox) -> Option<()> {
        let id = self.voice.roster.of_session(voice.session)?.clone();
        let room = self.voice.call.as_ref()?.room.clone();
        let body = voice.open(self.voice_keys(&room))?;
        let packet = datagram::read_body(&body, voice.counter).ok()?;
        let stream = self.voice.call.as_mut()?.streams.get_mut(&id).filter(|stream| stream.ours)?;
        if stream.speaker.receive(now.mono, &packet) == Received::Refused {
            return None;
        }
        stream.path.heard(now.mono, from);
        let first = stream.heard.replace(now.mono).is_none();
        let speaks = !packet.payload.is_empty();
        stream.codec = Some(packet.codec);
        if speaks {
            stream.spoke = Some(now.mono);
        }
        let member = self.voice.roster.get_mut(&id)?;
        member.sign = Some(now.mono);
        let speaks = speaks && !member.muted;
        if first {
            self.stir_voice(now);
        }
        self.talkspurt(&id, speaks, out);
        Some(())
    }

    /// Voice of level 1. `None`: not taken.
    fn original_came(
        &mut self,
        now: Now,
        from: SocketAddr,
        voice: &Original<'_>,
        bytes: &[u8],
        out: &mut Outbox,
    ) -> Option<()> {
        let room = self.voice.call.as_ref()?.room.clone();
        if voice.room != cut(&room) {
            return None;
        }
        let id = self.original_of(voice, from)?;
        let pcm = voice.open(self.voice_keys(&room))?;
        let call = self.voice.call.as_ref()?;
        // What another member of ours passes on is voice of its author, and no news of where that is.
        let relayed = call.streams.values().any(|it| it.ours && it.path.proven(now.mono) == Some(from));
        let call = self.voice.call.as_mut()?;
        let stream = call.streams.get_mut(&id)?;
        if relayed {
            stream.relayed = Some(now.mono);
        } else if !stream.path.heard_original(now.mono, from) {
            return None;
        } else {
            stream.heard = Some(now.mono);
        }
        let packet = packet_of(voice, &pcm);
        let received = stream.speaker.receive(now.mono, &packet);
        if received == Received::Refused {
            return None;
        }
        stream.codec = Some(Codec::Pcm);
        let spoke = received == Received::Taken && stream.detector.hear(&frame_of(&pcm));
        if spoke {
            stream.spoke = Some(now.mono);
        }
        let member = self.voice.roster.get_mut(&id)?;
        member.sign = Some(now.mono);
        let spoke = spoke && !member.muted;
        if received == Received::Taken {
            self.talkspurt(&id, spoke, out);
        }
        if !relayed {
            self.pass_on_voice(now, &id, bytes, out);
        }
        Some(())
    }

    /// The member of level 1 that a datagram is of. Where two ids are one in 36 bytes, the address tells.
    fn original_of(&self, voice: &Original<'_>, from: SocketAddr) -> Option<Rc<str>> {
        let call = self.voice.call.as_ref()?;
        let fits = |id: &Rc<str>| cut::<{ datagram::ID }>(id) == voice.id;
        let mut streams = call.streams.iter().filter(|(id, stream)| !stream.ours && fits(id));
        let (first, _) = streams.next()?;
        if streams.next().is_none() {
            return Some(first.clone());
        }
        let mut there = call.streams.iter().filter(|(id, stream)| {
            !stream.ours && fits(id) && stream.path.of_original(self.ip_of_link(id)) == Some(from)
        });
        there.next().map(|(id, _)| id.clone())
    }

    /// Somebody wants to know whether we are where a join of ours says. Strangers don't know our session.
    fn challenged(&mut self, from: SocketAddr, to: u64, nonce: u64, out: &mut Outbox) -> Option<()> {
        let session = self.voice.call.as_ref().map(|call| call.session).filter(|session| *session == to)?;
        let bytes = out.write(|buffer| datagram::write_echo(session, nonce, buffer));
        self.send_datagram(from, bytes, out);
        Some(())
    }

    /// The stream of a session.
    pub(super) fn stream_of(&mut self, session: u64) -> Option<(Rc<str>, &mut Stream)> {
        let id = self.voice.roster.of_session(session)?.clone();
        let stream = self.voice.call.as_mut()?.streams.get_mut(&id)?;
        Some((id, stream))
    }

    fn echoed(&mut self, now: Now, from: SocketAddr, session: u64, nonce: u64) -> Option<()> {
        let (id, stream) = self.stream_of(session)?;
        if !stream.path.echoed(now.mono, from, nonce) {
            return None;
        }
        self.voice.challenges.echoed(from.ip());
        // As good a sign of it as its voice: without one, a member that vanished before it spoke would stay for long.
        self.voice.roster.get_mut(&id)?.sign = Some(now.mono);
        Some(())
    }

    fn reported(&mut self, from: u64, to: u64, report: crate::voice::Report) -> Option<()> {
        if self.voice.call.as_ref()?.session != to {
            return None;
        }
        let (_, stream) = self.stream_of(from)?;
        stream.chooser.reported(report);
        Some(())
    }

    /// Does for each stream what is due: challenges, signs of life, reports, the end of talkspurts.
    pub(super) fn tend_streams(&mut self, now: Now, out: &mut Outbox) {
        self.send_challenges(now, out);
        self.send_signs_of_life(now, out);
        let Some(call) = &mut self.voice.call else { return };
        let over = |stream: &Stream| stream.spoke.is_none_or(|at| now.mono.duration_since(at) >= TALKSPURT_END);
        let over = call.streams.iter().filter(|(_, stream)| stream.speaking && over(stream));
        let over: Vec<Rc<str>> = over.map(|(id, _)| id.clone()).collect();
        let reports = call.next_reports <= now.mono;
        if reports {
            call.next_reports = now.mono + REPORT_EVERY;
        }
        for id in over {
            self.talkspurt(&id, false, out);
        }
        if reports {
            self.send_reports(now, out);
            self.send_unheard(now, out);
        }
    }

    fn send_challenges(&mut self, now: Now, out: &mut Outbox) {
        let Some(call) = &mut self.voice.call else { return };
        let mut challenges = Vec::new();
        for stream in call.streams.values_mut().filter(|stream| stream.ours) {
            let (Some(to), Some(session)) = (stream.path.to_challenge(now.mono), stream.session) else { continue };
            let nonce = u64::from_be_bytes(self.clock.secret());
            stream.path.challenged(now.mono, to, nonce);
            if self.voice.challenges.may_go(to.ip()) {
                challenges.push((to, session, nonce));
            }
        }
        for (to, session, nonce) in challenges {
            let bytes = out.write(|buffer| datagram::write_challenge(session, nonce, buffer));
            self.send_datagram(to, bytes, out);
        }
    }

    fn send_signs_of_life(&mut self, now: Now, out: &mut Outbox) {
        let due = |sent: Option<Instant>| sent.is_none_or(|at| now.mono.duration_since(at) >= VOICE_SIGN_OF_LIFE);
        let Some(call) = &mut self.voice.call else { return };
        let original = due(call.sent_original);
        if due(call.sent) {
            let to: Vec<(SocketAddr, Redundancy)> = call.receivers(now.mono).collect();
            if !to.is_empty()
                && let Some(talker) = &mut call.talker
            {
                let packet = talker.sign_of_life();
                call.sent = Some(now.mono);
                let (room, session) = (call.room.clone(), call.session);
                let nonce = self.clock.secret();
                let seal = self.keys.get(&*room).and_then(|keys| keys.current.as_ref()).map(|key| (key, nonce));
                let bytes = out.write(|buffer| Voice::write(session, &packet, seal, buffer));
                for (addr, _) in to {
                    self.send_datagram(addr, bytes.clone(), out);
                }
            }
        }
        if original {
            self.send_to_originals(now, &[0; FRAME], out);
        }
    }

    /// Tells each talker of level 2 how its voice comes in.
    fn send_reports(&mut self, now: Now, out: &mut Outbox) {
        let Some(call) = &mut self.voice.call else { return };
        let mut reports = Vec::new();
        for stream in call.streams.values_mut().filter(|stream| stream.ours) {
            let (Some(to), Some(session)) = (stream.path.proven(now.mono), stream.session) else { continue };
            if let Some(report) = stream.speaker.report() {
                reports.push((to, session, report));
            }
        }
        let own = call.session;
        for (to, session, report) in reports {
            let bytes = out.write(|buffer| datagram::write_report(own, session, report, buffer));
            self.send_datagram(to, bytes, out);
        }
    }

    /// Playback wants 5 ms.
    pub(in crate::node) fn playback_due(&mut self, now: Now, out: &mut Outbox) {
        let Some(call) = &mut self.voice.call else { return };
        let mut chunk: Chunk = [0; CHUNK];
        for (id, stream) in &mut call.streams {
            if stream.speaker.play(now.mono, &mut chunk) {
                call.mixer.add(&chunk, stream.gain);
                call.star.played(id, &chunk);
            }
        }
        call.mixer.finish(&mut chunk);
        out.push(Output::Play(Box::new(chunk)));
        self.send_mixes(now, out);
    }

    /// A member's talkspurt begins or ends.
    pub(super) fn talkspurt(&mut self, id: &Rc<str>, speaking: bool, out: &mut Outbox) {
        let Some(call) = &mut self.voice.call else { return };
        let Some(stream) = call.streams.get_mut(id) else { return };
        if std::mem::replace(&mut stream.speaking, speaking) != speaking {
            let room = call.room.clone();
            self.emit(&Event::Speaking(Speaking { room: &room, peer: id, speaking }), out);
        }
    }

    /// Our own talkspurt begins or ends.
    pub(super) fn own_talkspurt(&mut self, speaking: bool, out: &mut Outbox) {
        let Some(call) = &mut self.voice.call else { return };
        if std::mem::replace(&mut call.speaking, speaking) != speaking {
            let (room, own) = (call.room.clone(), self.id.clone());
            self.emit(&Event::Speaking(Speaking { room: &room, peer: &own, speaking }), out);
        }
    }
}

impl Call {
    /// The receivers of level 2 whose address has shown that they are there.
    fn receivers(&self, now: Instant) -> impl Iterator<Item = (SocketAddr, Redundancy)> {
        let ours = self.streams.values().filter(|stream| stream.ours);
        ours.filter_map(move |stream| Some((stream.path.proven(now)?, stream.chooser.choice())))
    }
}

fn packet_of<'a>(voice: &Original<'_>, pcm: &'a [u8]) -> Packet<'a> {
    let number = u64::from(voice.sequence);
    Packet { counter: number, frame: number, codec: Codec::Pcm, payload: pcm, repeats: [None; MAX_REPEATS] }
}

fn frame_of(pcm: &[u8]) -> Frame {
    let mut frame = [0; FRAME];
    for (sample, bytes) in frame.iter_mut().zip(pcm.as_chunks::<2>().0) {
        *sample = i16::from_le_bytes(*bytes);
    }
    frame
}
