//! Datagrams in, and playback.
//!
//! What is not from where its member is believed to be is dropped, before it can touch that member's voice; so is what does
//! not open with the room's key. See [`path`](super::path).

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use super::Stream;
use super::challenges::plain;
use crate::api::event::{Event, Speaking};
use crate::node::{Node, Now, Outbox, Output};
use crate::voice::speaker::Received;
use crate::voice::{CHUNK, Chunk, Codec, FRAME, FRAME_TIME, Frame, MAX_REPEATS, Packet, speech};
use crate::wire::datagram::{self, Datagram, Original, Voice, cut};
use crate::wire::limits::VOICE_SOURCE_AFTER;

/// Sealed voice that is older than the newest by more datagrams is a replay: two seconds of talking.
const MAX_BEHIND: u64 = 100;
/// Power below which nobody on level 1 begins to speak, full scale being 1: 55 dB below it. A guess.
const QUIET: f32 = 3.2e-6;
/// Frames of level 1 that are looked at for speech in the time of one; of more talkers at once it is their loudness that
/// tells. A guess: more than speak at once.
const MAX_DETECTIONS: u32 = 8;
/// Frames that a packet may be older than the newest and still have been sent after a restart: 10 s.
const OLD: u64 = 500;

impl Node {
    /// A datagram came.
    pub(in crate::node) fn datagram_came(&mut self, now: Now, from: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        let from = plain(from);
        if self.blocks.has_addr(from.ip()) {
            self.counters.datagrams_dropped += 1;
            return;
        }
        let taken = match Datagram::parse(bytes) {
            Ok(Datagram::Voice(voice)) => self.voice_came(now, from, &voice, out),
            Ok(Datagram::Original(voice)) => self.original_came(now, from, &voice, bytes, out),
            Ok(Datagram::Challenge { from: session, to, nonce }) => {
                self.challenged(now, from, (session, to, nonce), out)
            }
            Ok(Datagram::Echo { from: session, nonce }) => self.echoed(now, from, session, nonce),
            Ok(Datagram::Report { from: session, to, report }) => self.reported(now, from, (session, to), report),
            Ok(Datagram::Members { from: session, known }) => self.members_known(now, from, session, known),
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
        let believed = stream.path.heard(now.mono, from);
        if stream.path.challenge_due(now.mono).is_some() {
            self.stir_voice(now);
        }
        let sealed = self.voice_keys(&room).next().is_some();
        let stream = self.voice.call.as_mut()?.streams.get_mut(&id).filter(|_| believed)?;
        if sealed {
            // Its numbers are the member's own, and never go back in a session.
            if stream.sealed.saturating_sub(voice.counter) > MAX_BEHIND {
                return None;
            }
            stream.sealed = stream.sealed.max(voice.counter);
        }
        let received = stream.speaker.receive(now.mono, &packet);
        if matches!(received, Received::Refused | Received::Duplicate) {
            return None;
        }
        stream.heard = Some(now.mono);
        let is_news = packet.frame >= stream.newest || stream.newest - packet.frame > OLD;
        let sounds = !packet.payload.is_empty();
        let speaks = sounds && datagram::speaks(&body);
        stream.codec = if sounds { Some(packet.codec) } else { stream.codec };
        if is_news {
            stream.newest = packet.frame;
            stream.spoke = if speaks { Some(now.mono) } else { stream.spoke };
        }
        let member = self.voice.roster.get_mut(&id)?;
        member.sign = Some(now.mono);
        let speaks = speaks && !member.muted;
        if is_news {
            self.talkspurt(&id, speaks, out);
        }
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
        let id = self.original_of(now, voice, from)?;
        let pcm = voice.open(self.voice_keys(&room))?;
        let call = self.voice.call.as_ref()?;
        // What another member of ours passes on is voice of its author, and no news of where that is.
        let relayed = call.streams.values().any(|it| it.ours && it.path.proven(now.mono) == Some(from));
        let call = self.voice.call.as_mut()?;
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
    fn original_of(&self, now: Now, voice: &Original<'_>, from: SocketAddr) -> Option<Rc<str>> {
        let call = self.voice.call.as_ref()?;
        let fits = |id: &Rc<str>| cut::<{ datagram::ID }>(id) == voice.id;
        let mut fitting = call.streams.iter().filter(|(id, stream)| !stream.ours && fits(id));
        let (first, _) = fitting.next()?;
        if fitting.next().is_none() {
            return Some(first.clone());
        }
        let mut there = call.streams.iter().filter(|(id, stream)| !stream.ours && fits(id));
        there.find(|(id, _)| self.original_addr(now, id) == Some(from)).map(|(id, _)| id.clone())
    }

    /// Somebody wants to know whether we are where a join of ours says. Strangers don't know our session.
    fn challenged(
        &mut self,
        now: Now,
        from: SocketAddr,
        (by, to, nonce): (u64, u64, u64),
        out: &mut Outbox,
    ) -> Option<()> {
        let call = self.voice.call.as_ref().filter(|call| call.session == to)?;
        let known = call.streams.values().any(|it| it.ours && it.path.proven(now.mono) == Some(from));
        if !known && !self.voice.challenges.may_echo(now.mono) {
            return None;
        }
        let bytes = out.write(|buffer| datagram::write_echo(to, nonce, buffer));
        self.send_datagram(from, bytes, out);
        // The member that asks may be there itself.
        if let Some((_, stream)) = self.stream_of(by).filter(|(_, stream)| stream.ours) {
            stream.path.asked_from(now.mono, from);
            if stream.path.challenge_due(now.mono).is_some() {
                self.stir_voice(now);
            }
        }
        Some(())
    }

    /// The stream of a session.
    pub(super) fn stream_of(&mut self, session: u64) -> Option<(Rc<str>, &mut Stream)> {
        let id = self.voice.roster.of_session(session)?.clone();
        let stream = self.voice.call.as_mut()?.streams.get_mut(&id)?;
        Some((id, stream))
    }

    /// The same, if that member has echoed from this address.
    pub(super) fn stream_at(&mut self, now: Now, session: u64, from: SocketAddr) -> Option<(Rc<str>, &mut Stream)> {
        self.stream_of(session).filter(|(_, stream)| stream.path.proven(now.mono) == Some(from))
    }

    fn echoed(&mut self, now: Now, from: SocketAddr, session: u64, nonce: u64) -> Option<()> {
        let (id, stream) = self.stream_of(session)?;
        let challenges = stream.path.echoed(now.mono, from, nonce)?;
        self.voice.challenges.echoed(from.ip(), challenges);
        // As good a sign of it as its voice: without one, a member that vanished before it spoke would stay for long.
        self.voice.roster.get_mut(&id)?.sign = Some(now.mono);
        Some(())
    }

    fn reported(
        &mut self,
        now: Now,
        from: SocketAddr,
        (by, to): (u64, u64),
        report: crate::voice::Report,
    ) -> Option<()> {
        if self.voice.call.as_ref()?.session != to {
            return None;
        }
        let (_, stream) = self.stream_at(now, by, from)?;
        stream.chooser.reported(report);
        Some(())
    }

    /// Playback wants 5 ms.
    pub(in crate::node) fn playback_due(&mut self, now: Now, out: &mut Outbox) {
        let Some(call) = &mut self.voice.call else { return };
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
}

/// Counts the frames of level 1 that are looked at for speech: that costs more than all else about a datagram, and a crowd
/// must not be able to make it cost without bound.
#[derive(Debug, Default)]
pub struct Detections {
    since: Option<Instant>,
    count: u32,
}

impl Detections {
    /// Whether one more frame may be looked at; it is counted.
    fn may_go(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.duration_since(since) >= FRAME_TIME) {
            (self.since, self.count) = (Some(now), 0);
        }
        self.count += 1;
        self.count <= MAX_DETECTIONS
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
