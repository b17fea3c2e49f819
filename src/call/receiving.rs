//! Datagrams in, and playback.
//!
//! A datagram that does not open with the key of its member's session is dropped before it can touch anything, as is a repeated
//! one; so is voice from elsewhere than its member is believed to be. See [`path`](super::path).

use std::net::SocketAddr;
use std::time::Instant;

use super::challenges::plain;
use super::sessions::original_keys;
use super::{Calls, Event, Io, Stream};
use crate::base::{NodeId, Now};
use crate::outbox::Output;
use crate::voice::speaker::Received;
use crate::voice::{CHUNK, Chunk, Codec, FRAME, Frame, MAX_REPEATS, Packet, speech};
use crate::wire::datagram::inside::CHALLENGE;
use crate::wire::datagram::{self, Datagram, Inside, Original, Sealed, cut};
use crate::wire::limits::VOICE_SOURCE_AFTER;

/// Power below which nobody on level 1 begins to speak, full scale being 1: 55 dB below it. A guess.
const QUIET: f32 = 3.2e-6;
/// Frames that a packet may be older than the newest and still have been sent after a restart: 10 s.
const OLD: u64 = 500;

impl Calls {
    /// Handles a received datagram.
    pub fn on_datagram(&mut self, now: Now, from: SocketAddr, bytes: &[u8], io: &mut dyn Io) {
        let from = plain(from);
        if io.is_blocked(from.ip()) {
            self.counts.dropped += 1;
            return;
        }
        let taken = match Datagram::parse(bytes) {
            Ok(Datagram::Sealed(sealed)) => self.on_sealed(now, from, &sealed, bytes.len(), io),
            // It proves nothing; and with --secure there is no member that sends such.
            Ok(Datagram::Original(_)) if self.config.secure => None,
            Ok(Datagram::Original(voice)) => self.on_original(now, from, &voice, bytes, io),
            Err(datagram::Malformed) => None,
        };
        match taken {
            Some(()) => self.counts.received += 1,
            None => self.counts.dropped += 1,
        }
    }

    /// A datagram of level 2. `None`: not taken. Nothing changes before it has opened, and has turned out not to be a repeated one.
    fn on_sealed(
        &mut self,
        now: Now,
        from: SocketAddr,
        sealed: &Sealed<'_>,
        length: usize,
        io: &mut dyn Io,
    ) -> Option<()> {
        let call = self.call.as_mut()?;
        let id = call.sessions.get(&sealed.session)?.clone();
        let stream = call.streams.get_mut(&id).filter(|stream| !stream.path.ignores(now.mono, from))?;
        let session = stream.session.as_mut()?;
        let is_new = session.window.is_new(sealed.counter);
        if !is_new && session.echoed {
            return None;
        }
        let inside = sealed.open(&session.key)?;
        let inside = Inside::parse(&inside).ok()?;
        let is_echo = matches!(inside, Inside::Echo { .. });
        if !is_new && !is_echo {
            return None;
        }
        // In a room without a key whoever hears the gossip can seal this: so only where the member is believed to be do numbers
        // count. What an echo's number does is seen when it has answered a nonce.
        if !is_echo && stream.path.is_from_there(now.mono, from) {
            session.window.take(sealed.counter);
        }
        match inside {
            Inside::Voice(voice) => self.on_voice(now, (&id, from), voice, length, io),
            Inside::Challenge { to, nonce } => self.on_challenge(now, (&id, from), to, nonce, io),
            Inside::Echo { nonce } => self.on_echo(now, (&id, from), nonce, sealed.counter),
            Inside::Report { to, report } => self.on_report(now, (&id, from), to, report),
            Inside::Members { known } => self.on_members(now, (&id, from), known),
        }
    }

    /// Voice of level 2. `None`: not taken.
    fn on_voice(
        &mut self,
        now: Now,
        (id, from): (&NodeId, SocketAddr),
        voice: &[u8],
        length: usize,
        io: &mut dyn Io,
    ) -> Option<()> {
        let packet = datagram::inside::read_voice(voice).ok()?;
        let stream = self.call.as_mut()?.streams.get_mut(id)?;
        // What is shorter than a challenge is not answered by one, but for those that are counted.
        let believed = stream.path.heard(now.mono, from, length >= CHALLENGE);
        if stream.path.challenge_due(now.mono).is_some() {
            self.schedule_tick(now);
        }
        let stream = self.call.as_mut()?.streams.get_mut(id).filter(|_| believed)?;
        let received = stream.speaker.receive(now.mono, &packet);
        if matches!(received, Received::Refused | Received::Duplicate) {
            return None;
        }
        stream.heard = Some(now.mono);
        let is_news = packet.frame >= stream.newest || stream.newest - packet.frame > OLD;
        let sounds = !packet.payload.is_empty();
        let speaks = sounds && datagram::inside::speaks(voice);
        stream.codec = if sounds { Some(packet.codec) } else { stream.codec };
        if is_news {
            stream.newest = packet.frame;
            stream.spoke = if speaks { Some(now.mono) } else { stream.spoke };
        }
        let member = self.roster.get_mut(id)?;
        member.sign = Some(now.mono);
        let speaks = speaks && !member.muted;
        if is_news {
            self.set_speaking(id, speaks, io);
        }
        Some(())
    }

    /// Voice of level 1. `None`: not taken.
    fn on_original(
        &mut self,
        now: Now,
        from: SocketAddr,
        voice: &Original<'_>,
        bytes: &[u8],
        io: &mut dyn Io,
    ) -> Option<()> {
        let room = self.call.as_ref()?.room.clone();
        if voice.room != cut(&room) {
            return None;
        }
        let id = self.find_original(now, voice, from, io)?;
        let pcm = voice.open(original_keys(&room, io))?;
        let call = self.call.as_ref()?;
        // What another member of ours passes on is voice of its author, and no news of where that is.
        let relayed = call.streams.values().any(|it| it.is_level2 && it.path.validated_addr(now.mono) == Some(from));
        let call = self.call.as_mut()?;
        let stream = call.streams.get_mut(&id)?;
        if relayed {
            if stream.hears_directly(now.mono) {
                return None;
            }
            stream.relayed = Some(now.mono);
        } else if !stream.path.heard_original(now.mono, from) {
            return None;
        }
        let received = stream.speaker.receive(now.mono, &packet_of(voice, &pcm));
        if matches!(received, Received::Refused | Received::Duplicate) {
            return None;
        }
        if !relayed {
            stream.heard = Some(now.mono);
        }
        stream.codec = Some(Codec::Pcm);
        let spoke = received == Received::Taken && {
            let frame = frame_of(&pcm);
            let power = speech::power(&frame);
            if power < QUIET && !stream.speaking {
                false
            } else if call.detections.may_go(now.mono) {
                stream.detector.hear(&frame)
            } else {
                power > QUIET
            }
        };
        if spoke {
            stream.spoke = Some(now.mono);
        }
        let member = self.roster.get_mut(&id)?;
        member.sign = Some(now.mono);
        let spoke = spoke && !member.muted;
        if received == Received::Taken {
            self.set_speaking(&id, spoke, io);
        }
        if !relayed {
            self.pass_on(now, &id, bytes, io);
        }
        Some(())
    }

    /// The member of level 1 that a datagram is of. Where two ids are one in 36 bytes, the address tells.
    fn find_original(&self, now: Now, voice: &Original<'_>, from: SocketAddr, io: &dyn Io) -> Option<NodeId> {
        let call = self.call.as_ref()?;
        let fits = |id: &NodeId| cut::<{ datagram::ID }>(&id.text()) == voice.id;
        let mut fitting = call.streams.iter().filter(|(id, stream)| !stream.is_level2 && fits(id));
        let (first, _) = fitting.next()?;
        if fitting.next().is_none() {
            return Some(first.clone());
        }
        let mut there = call.streams.iter().filter(|(id, stream)| !stream.is_level2 && fits(id));
        there.find(|(id, _)| self.original_addr(now, id, io) == Some(from)).map(|(id, _)| id.clone())
    }

    /// Answers a member that asks whether we are where our join says.
    fn on_challenge(
        &mut self,
        now: Now,
        (by, from): (&NodeId, SocketAddr),
        to: u64,
        nonce: u64,
        io: &mut dyn Io,
    ) -> Option<()> {
        let call = self.call.as_ref().filter(|call| call.sealer.session() == to)?;
        let known = call.streams.values().any(|it| it.is_level2 && it.path.validated_addr(now.mono) == Some(from));
        if !known && !self.challenges.may_echo(now.mono) {
            return None;
        }
        let bytes = self.seal(|buffer| datagram::inside::write_echo(nonce, buffer), io)?;
        self.send_datagram(from, bytes, io);
        // The member that asks may be there itself.
        let stream = self.call.as_mut()?.streams.get_mut(by)?;
        stream.path.asked_from(now.mono, from);
        if stream.path.challenge_due(now.mono).is_some() {
            self.schedule_tick(now);
        }
        Some(())
    }

    /// The stream of a member that has echoed from this address.
    pub(super) fn stream_at(&mut self, now: Now, id: &NodeId, from: SocketAddr) -> Option<&mut Stream> {
        let stream = self.call.as_mut()?.streams.get_mut(id)?;
        (stream.path.validated_addr(now.mono) == Some(from)).then_some(stream)
    }

    fn on_echo(&mut self, now: Now, (id, from): (&NodeId, SocketAddr), nonce: u64, counter: u64) -> Option<()> {
        let muted = self.roster.get_mut(id)?.muted;
        let stream = self.call.as_mut()?.streams.get_mut(id)?;
        let challenges = stream.path.echoed(now.mono, from, nonce)?;
        // It answers a nonce of ours: so it is of now. If its number is none that may come, another has sent numbers far above, as if
        // from there, before this first echo.
        if stream.session.as_ref().is_some_and(|session| !session.window.is_new(counter)) {
            stream.forget(muted);
        }
        if let Some(session) = &mut stream.session {
            session.window.take(counter);
            if !std::mem::replace(&mut session.echoed, true) {
                // What has a lower number may be a recording of what we have missed.
                session.window.close_below(counter);
            }
        }
        self.challenges.echoed(from.ip(), challenges);
        // As good a sign of it as its voice: without one, a member that vanished before it spoke would stay for long.
        self.roster.get_mut(id)?.sign = Some(now.mono);
        Some(())
    }

    fn on_report(
        &mut self,
        now: Now,
        (by, from): (&NodeId, SocketAddr),
        to: u64,
        report: crate::voice::Report,
    ) -> Option<()> {
        if self.call.as_ref()?.sealer.session() != to {
            return None;
        }
        self.stream_at(now, by, from)?.chooser.reported(report);
        Some(())
    }

    /// Plays 5 ms.
    pub fn on_playback_due(&mut self, now: Now, io: &mut dyn Io) {
        let Some(call) = &mut self.call else { return };
        let mut chunk: Chunk = [0; CHUNK];
        for (id, stream) in &mut call.streams {
            if stream.speaker.play(now.mono, &mut chunk) {
                if !stream.star.in_mix {
                    call.mixer.add(&chunk, stream.gain);
                }
                call.star.played(id, &chunk);
            }
        }
        call.mixer.finish(&mut chunk);
        io.out().push(Output::Play(Box::new(chunk)));
        self.send_mixes(now, io);
    }

    /// Notes that a member's talkspurt begins or ends, and tells clients.
    pub(super) fn set_speaking(&mut self, id: &NodeId, speaking: bool, io: &mut dyn Io) {
        let Some(call) = &mut self.call else { return };
        let Some(stream) = call.streams.get_mut(id) else { return };
        if std::mem::replace(&mut stream.speaking, speaking) != speaking {
            let room = call.room.clone();
            io.emit(Event::Speaking { room: &room, peer: &id.text(), speaking });
        }
    }
}

impl Stream {
    /// Whether a datagram of it came lately from an address of its own.
    pub fn hears_directly(&self, now: Instant) -> bool {
        self.heard.is_some_and(|at| now.duration_since(at) < VOICE_SOURCE_AFTER)
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
