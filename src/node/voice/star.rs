//! Clients of the star-shaped versions of the original, and whoever else can't reach everyone.
//!
//! Such a client sends its voice to one member alone, the first that it learnt of, and plays every datagram as it comes,
//! unmixed. Nothing that it sends tells it from others. But the members of level 2 tell each other, once a second, whom of
//! level 1 they can't hear; and a node that does hear such a member directly then stands in for those who don't: it passes
//! the member's datagrams on to them, and in place of its own voice sends the member one mix of its own and theirs. (They
//! send it nothing: neither a link nor a datagram of its own tells them where it is.) If several nodes hear the member, the
//! one with the lowest id does it. A member that everyone hears is sent our own voice alone, and mixes by itself.
//!
//! With no third member of level 2 in the room there is nobody to say what is not heard, and nothing is mixed.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Call, Stream};
use crate::node::{Node, Now, Outbox};
use crate::voice::mixer::Mixer;
use crate::voice::{CHUNK, Chunk, FRAME, Frame};
use crate::wire::datagram::{self, ID, MAX_UNHEARD, cut};
use crate::wire::limits::VOICE_SOURCE_AFTER;

/// How long it counts that a member is not heard: three reports.
const UNHEARD_TIME: Duration = Duration::from_secs(3);
/// Samples of our own voice that wait to be mixed: as many as two clocks may be apart at most, a guess.
const MAX_OWN: usize = FRAME * 5;

/// What is known of a member of level 1 as a client.
#[derive(Debug, Default)]
pub struct Client {
    /// The members of level 2 that can't hear it, and when they last said so.
    unheard_by: BTreeMap<Rc<str>, Instant>,
    mix: Option<Box<Mix>>,
}

/// What one client hears.
#[derive(Debug, Default)]
struct Mix {
    mixer: Mixer,
    /// The beginning of a frame.
    part: Vec<i16>,
    sequence: u32,
    sent: Option<Instant>,
}

/// What goes into the mixes.
#[derive(Debug, Default)]
pub struct Mixes {
    /// Whether anyone gets one.
    wanted: bool,
    own: VecDeque<i16>,
    /// What each member that sounds said in the chunk that is being played.
    voices: Vec<(Rc<str>, Chunk)>,
}

impl Mixes {
    /// Our own microphone's frame; `None` while muted.
    pub fn captured(&mut self, frame: Option<&Frame>) {
        if let Some(frame) = frame.filter(|_| self.wanted) {
            self.own.extend(frame);
            let excess = self.own.len().saturating_sub(MAX_OWN);
            self.own.drain(..excess);
        }
    }

    /// What a member says in the chunk that is being played.
    pub fn played(&mut self, id: &Rc<str>, chunk: &Chunk) {
        if self.wanted {
            self.voices.push((id.clone(), *chunk));
        }
    }
}

impl Call {
    /// Whether this node stands in for members who can't hear this one.
    pub(super) fn relays(&self, now: Instant, own: &str, stream: &Stream) -> bool {
        let unheard_by = |id: &str| stream.star.is_unheard_by(id, now);
        let hears = stream.heard.is_some_and(|at| now.duration_since(at) < VOICE_SOURCE_AFTER);
        if stream.ours || !hears || !self.streams.keys().any(|id| unheard_by(id)) {
            return false;
        }
        let mut others = self.streams.iter().filter(|(_, it)| it.ours && it.path.proven(now).is_some());
        !others.any(|(id, _)| **id < *own && !unheard_by(id))
    }
}

impl Client {
    fn is_unheard_by(&self, id: &str, now: Instant) -> bool {
        self.unheard_by.get(id).is_some_and(|at| now.duration_since(*at) < UNHEARD_TIME)
    }
}

impl Node {
    /// Tells the members of level 2 whom of level 1 we can't hear.
    pub(super) fn send_unheard(&mut self, now: Now, out: &mut Outbox) {
        let Some(call) = &self.voice.call else { return };
        let hears = |stream: &Stream| stream.heard.is_some_and(|at| now.mono.duration_since(at) < VOICE_SOURCE_AFTER);
        let unheard = call.streams.iter().filter(|(_, stream)| !stream.ours && !hears(stream));
        let unheard: Vec<Rc<str>> = unheard.map(|(id, _)| id.clone()).take(MAX_UNHEARD).collect();
        if unheard.is_empty() {
            return;
        }
        let ours = call.streams.values().filter(|stream| stream.ours);
        let to: Vec<_> = ours.filter_map(|stream| stream.path.proven(now.mono)).collect();
        let session = call.session;
        let bytes = out.write(|buffer| datagram::write_unheard(session, unheard.iter().map(|id| &**id), buffer));
        for addr in to {
            self.send_datagram(addr, bytes.clone(), out);
        }
    }

    /// A member of level 2 says whom it can't hear.
    pub(super) fn unheard(&mut self, now: Now, session: u64, ids: &[u8]) -> Option<()> {
        let (by, _) = self.stream_of(session)?;
        let call = self.voice.call.as_mut()?;
        for (id, stream) in call.streams.iter_mut().filter(|(_, stream)| !stream.ours) {
            let listed = ids.chunks_exact(ID).any(|listed| listed == cut::<ID>(id));
            stream.star.unheard_by.retain(|_, at| now.mono.duration_since(*at) < UNHEARD_TIME);
            if listed {
                stream.star.unheard_by.insert(by.clone(), now.mono);
            } else {
                stream.star.unheard_by.remove(&by);
            }
        }
        Some(())
    }

    /// A datagram of level 1 came from its author: it goes on to those who can't hear it.
    pub(super) fn pass_on_voice(&mut self, now: Now, id: &Rc<str>, bytes: &[u8], out: &mut Outbox) {
        let Some(call) = &self.voice.call else { return };
        let Some(author) = call.streams.get(id).filter(|stream| call.relays(now.mono, &self.id, stream)) else {
            return;
        };
        let others = call.streams.iter().filter(|(other, _)| *other != id);
        let to: Vec<_> = others
            .filter_map(|(other, stream)| match stream.ours {
                true if author.star.is_unheard_by(other, now.mono) => stream.path.proven(now.mono),
                // Other clients of the same kind hear it in their mix; an original drops what it has heard.
                false if !call.relays(now.mono, &self.id, stream) => stream.path.of_original(self.ip_of_link(other)),
                _ => None,
            })
            .collect();
        if to.is_empty() {
            return;
        }
        let bytes = out.write(|buffer| buffer.extend_from_slice(bytes));
        for addr in to {
            self.send_datagram(addr, bytes.clone(), out);
        }
    }

    /// A chunk has been played: what goes to clients is mixed from the same.
    pub(super) fn send_mixes(&mut self, now: Now, out: &mut Outbox) {
        let Some(call) = &mut self.voice.call else { return };
        let voices = std::mem::take(&mut call.star.voices);
        let mut own: Chunk = [0; CHUNK];
        if call.star.own.len() >= CHUNK {
            own.iter_mut().zip(call.star.own.drain(..CHUNK)).for_each(|(to, sample)| *to = sample);
        }
        let call = &*call;
        let relayed = call.streams.iter().filter(|(_, stream)| call.relays(now.mono, &self.id, stream));
        let clients: Vec<Rc<str>> = relayed.map(|(id, _)| id.clone()).collect();
        self.end_mixes(&clients);
        for id in &clients {
            self.send_mix(now, id, &clients, &own, &voices, out);
        }
        if let Some(call) = &mut self.voice.call {
            call.star.wanted = !clients.is_empty();
            if clients.is_empty() {
                call.star.own = VecDeque::new();
            }
        }
    }

    /// Who is no client any more gets our own voice again, with numbers above those of its mix.
    fn end_mixes(&mut self, clients: &[Rc<str>]) {
        let Some(call) = &mut self.voice.call else { return };
        for (_, stream) in call.streams.iter_mut().filter(|(id, _)| !clients.contains(id)) {
            if let Some(mix) = stream.star.mix.take() {
                self.voice.sequence = self.voice.sequence.max(Some(mix.sequence));
            }
        }
    }

    /// Mixes for one client: our own voice, those who can't hear it, and the other clients.
    fn send_mix(
        &mut self,
        now: Now,
        id: &Rc<str>,
        clients: &[Rc<str>],
        own: &Chunk,
        voices: &[(Rc<str>, Chunk)],
        out: &mut Outbox,
    ) {
        let addr =
            self.voice.call.as_ref().and_then(|call| call.streams.get(id)?.path.of_original(self.ip_of_link(id)));
        let last = self.voice.sequence.unwrap_or_else(|| self.next_sequence(now));
        let Some(stream) = self.voice.call.as_mut().and_then(|call| call.streams.get_mut(id)) else { return };
        let Client { unheard_by, mix } = &mut stream.star;
        let mix = mix.get_or_insert_with(|| Box::new(Mix { sequence: last, ..Mix::default() }));
        mix.mixer.add(own, 1.0);
        for (voice, chunk) in voices {
            if voice != id && (unheard_by.contains_key(voice) || clients.contains(voice)) {
                mix.mixer.add(chunk, 1.0);
            }
        }
        let mut chunk = [0; CHUNK];
        mix.mixer.finish(&mut chunk);
        mix.part.extend_from_slice(&chunk);
        let Some(frame) = mix.part.first_chunk::<FRAME>().copied() else { return };
        mix.part.clear();
        // Silence goes out once a second, as a sign of life.
        let silent = frame.iter().all(|sample| *sample == 0);
        let lately = mix.sent.is_some_and(|at| now.mono.duration_since(at) < crate::wire::limits::VOICE_SIGN_OF_LIFE);
        let Some(addr) = addr.filter(|_| !(silent && lately)) else { return };
        mix.sent = Some(now.mono);
        mix.sequence = mix.sequence.wrapping_add(1);
        let sequence = mix.sequence;
        if let Some(bytes) = self.write_original(sequence, &frame, out) {
            self.send_datagram(addr, bytes, out);
        }
    }
}
