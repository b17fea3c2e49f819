//! The star-shaped versions of the original: their clients, and their hosts.
//!
//! **A client** sends its voice to one member alone, the first that it learnt of, and plays every datagram as it comes,
//! unmixed. So the node that hears it stands in for the others: it passes the client's datagrams on, as they came, to those
//! that don't hear it, and in place of its own voice sends the client one mix of its own and of theirs.
//!
//! Nothing that a client sends tells it from an original of the other versions, which sends its voice to everyone, and mixes by
//! itself: a mix would let that one hear others twice. The two are told apart by who else hears the member:
//!
//! - The members of level 2 tell each other, once a second, whom of level 1 they hear. If any other hears it directly, it is
//!   no such client; if others are there and none does, it is one. The hearer with the lowest id stands in, for those alone who
//!   don't hear it.
//! - With nobody there to ask, a member that has dialled us is asked itself: the other versions listen at the address that is
//!   their id, a client of a star does not listen at all. One dial, closed at once, tells; it is made once, if there
//!   is a second member of level 1 for whom it would matter, to the address that the link comes from. Until then, and for a member
//!   that has no link to us, nothing is mixed: that is safe with everyone.
//!
//! Datagrams that go on are those that came from their author: nothing is passed on twice, so nothing can run in circles.
//!
//! **A host** mixes by itself, and sends each member the others' voices in its own name. It gives itself away on its link: it
//! lists its clients, or passes messages on without using up their `ttl`. Another member of ours that sends it its voice
//! is then in that mix, and is not played a second time when it comes directly, too, as long as the host has been heard to
//! speak of late (so that a member that only pretends to mix silences nobody).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::mixes::{KNOWN_TIME, Mix};
use super::{Call, Calls, Io, Neighbour, Stream};
use crate::base::{DialId, NodeId, Now};
use crate::voice::{CHUNK, Chunk, FRAME};
use crate::wire::datagram::inside::{HEARS, KNOWN, MAX_KNOWN, WITH_HOST, write_members};
use crate::wire::datagram::{ID, cut};
use crate::wire::limits::{VOICE_SIGN_OF_LIFE, bound};

/// A host that has not spoken for so long mixes nobody. A guess: longer than people leave each other waiting.
const HOST_SPOKE: Duration = Duration::from_secs(30);

/// Dials under way that only ask; others wait for them. A guess.
pub const MAX_PROBES: usize = bound(16, 2);

/// The role of a member of level 1, as we judge it.
#[derive(Debug, Clone, Copy, Default)]
struct Judged {
    served: bool,
    alone: bool,
    /// It should be asked whether it listens.
    ask: bool,
}

impl Call {
    /// `host`: whether its link shows that it is one.
    fn judge(&self, now: Instant, own: &NodeId, stream: &Stream, host: bool) -> Judged {
        if !stream.hears_directly(now) {
            return Judged::default();
        }
        let there =
            |id: &NodeId| self.streams.get(id).is_some_and(|it| it.is_level2 && it.path.validated_addr(now).is_some());
        let others = || stream.star.known.keys().filter(|id| there(id));
        let heard = others().any(|id| stream.star.is_heard_by(id, now));
        let unheard = others().any(|id| stream.star.is_unheard_by(id, now));
        let first = !others().any(|id| *id < *own && stream.star.is_heard_by(id, now));
        let originals = self.streams.values().filter(|it| !it.is_level2).count();
        let alone = match (heard, unheard) {
            _ if host => false,
            (true, _) => false,
            (false, true) => true,
            (false, false) => stream.star.listens == Some(false),
        };
        Judged {
            served: first && (unheard || (alone && originals > 1)),
            alone,
            ask: !host && !heard && !unheard && originals > 1 && !stream.star.asked,
        }
    }
}

impl Calls {
    /// Decides anew which members are served.
    pub(super) fn judge_clients(&mut self, now: Now, io: &mut dyn Io) {
        let Some(call) = &self.call else { return };
        let originals = call.streams.iter().filter(|(_, stream)| !stream.is_level2);
        let judged: Vec<(NodeId, Judged, bool)> = originals
            .map(|(id, stream)| {
                let host = is_host(id, io);
                (id.clone(), call.judge(now.mono, &self.id, stream, host), host)
            })
            .collect();
        let with = |(id, _, host): &&(NodeId, Judged, bool)| {
            let stream = call.streams.get(id);
            let mixes = stream.is_some_and(|it| it.hears_directly(now.mono) && it.spoke_within(now.mono, HOST_SPOKE));
            mixes.then_some((id.clone(), *host))
        };
        let hosts: Vec<(NodeId, bool)> = judged.iter().filter_map(|it| with(&it)).collect();
        let Some(call) = &mut self.call else { return };
        let in_mix: Vec<NodeId> =
            call.streams.keys().filter(|id| call.is_in_mix(now.mono, id, &hosts)).cloned().collect();
        for (id, stream) in &mut call.streams {
            stream.star.in_mix = in_mix.contains(id);
        }
        let mut asks = Vec::new();
        for (id, judged, _) in judged {
            let Some(stream) = call.streams.get_mut(&id) else { continue };
            stream.star.known.retain(|_, (_, at)| now.mono.duration_since(*at) < KNOWN_TIME);
            (stream.star.served, stream.star.alone) = (judged.served, judged.alone);
            if !judged.served
                && let Some(mix) = stream.star.mix.take()
            {
                // It gets our own voice again, with numbers above those of its mix.
                let own = self.sequence.unwrap_or(mix.sequence);
                let ahead = mix.sequence.wrapping_sub(own) as i32 > 0;
                self.sequence = Some(if ahead { mix.sequence } else { own });
            }
            asks.extend(judged.ask.then_some(id));
        }
        let wanted = call.streams.values().any(|stream| stream.star.served);
        if !wanted {
            call.star.own = VecDeque::new();
        }
        call.star.wanted = wanted;
        let room = MAX_PROBES.saturating_sub(self.probes.len());
        asks.into_iter().take(room).for_each(|id| self.probe(&id, io));
    }

    /// Dials a member of level 1 that has dialled us, to see whether it listens.
    fn probe(&mut self, id: &NodeId, io: &mut dyn Io) {
        let link = io.neighbour(id.into());
        let linked = link.is_some();
        let listens = match link {
            None => None,
            Some(link) if link.is_dialled => Some(true),
            Some(link) => match probe_addr(&id.text(), link) {
                None => Some(false),
                Some(addr) => {
                    self.probes.insert(io.dial(addr), id.clone());
                    None
                }
            },
        };
        if let Some(stream) = self.call.as_mut().and_then(|call| call.streams.get_mut(id)) {
            (stream.star.listens, stream.star.asked) = (listens, linked);
        }
    }

    /// Takes note of the answer to a dial that only asks.
    pub fn on_probe_ended(&mut self, dial: DialId, listens: bool) {
        let Some(id) = self.probes.remove(&dial) else { return };
        if let Some(stream) = self.call.as_mut().and_then(|call| call.streams.get_mut(&id)) {
            stream.star.listens = Some(listens);
        }
    }

    /// Tells the members of level 2 what we know of those of level 1.
    pub(super) fn send_known(&mut self, now: Now, io: &mut dyn Io) {
        let Some(call) = &self.call else { return };
        let originals = call.streams.iter().filter(|(_, stream)| !stream.is_level2);
        let known: Vec<(u8, NodeId)> = originals
            .map(|(id, stream)| {
                let flags = match stream.hears_directly(now.mono) {
                    true if is_host(id, io) => HEARS | WITH_HOST,
                    true => HEARS,
                    false => 0,
                };
                (flags, id.clone())
            })
            .collect();
        let level2 = call.streams.values().filter(|stream| stream.is_level2);
        let to: Vec<SocketAddr> = level2.filter_map(|stream| stream.path.validated_addr(now.mono)).collect();
        for known in known.chunks(MAX_KNOWN) {
            let known: Vec<_> = known.iter().map(|(flags, id)| (*flags, id.text())).collect();
            let known = known.iter().map(|(flags, id)| (*flags, &**id));
            let Some(bytes) = self.seal(|inside| write_members(known, inside), io) else { return };
            for addr in &to {
                self.send_datagram(*addr, bytes.clone(), io);
            }
        }
    }

    /// Takes note of what a member of level 2 knows of those of level 1.
    pub(super) fn on_members(
        &mut self,
        now: Now,
        (by, from): (&NodeId, SocketAddr),
        known: &[[u8; KNOWN]],
    ) -> Option<()> {
        self.stream_at(now, by, from)?;
        let call = self.call.as_mut()?;
        for (id, stream) in call.streams.iter_mut().filter(|(_, stream)| !stream.is_level2) {
            let id = cut::<ID>(&id.text());
            let flags = known.iter().find_map(|known| known.split_first().filter(|(_, it)| **it == id));
            if let Some((flags, _)) = flags {
                stream.star.known.insert(by.clone(), (*flags, now.mono));
            }
        }
        Some(())
    }

    /// Passes a datagram of level 1, which came from its author, on to the members that can't hear it.
    pub(super) fn pass_on(&mut self, now: Now, id: &NodeId, bytes: &[u8], io: &mut dyn Io) {
        let Some(call) = &self.call else { return };
        let Some(author) = call.streams.get(id).filter(|stream| stream.star.served) else { return };
        let others = call.streams.iter().filter(|(other, _)| *other != id);
        let to: Vec<SocketAddr> = others
            .filter_map(|(other, stream)| match stream.is_level2 {
                true if author.star.is_unheard_by(other, now.mono) => stream.path.validated_addr(now.mono),
                // Other clients hear it in their mix.
                false if author.star.alone && !stream.star.served => self.original_addr(now, other, io),
                _ => None,
            })
            .collect();
        if to.is_empty() {
            return;
        }
        let bytes = io.out().write(|buffer| buffer.extend_from_slice(bytes));
        for addr in to {
            self.send_datagram(addr, bytes.clone(), io);
        }
    }

    /// Mixes what goes to clients from the chunk that has just been played.
    pub(super) fn send_mixes(&mut self, now: Now, io: &mut dyn Io) {
        let Some(call) = self.call.as_mut().filter(|call| call.star.wanted) else { return };
        let voices = std::mem::take(&mut call.star.voices);
        let mut own: Option<Chunk> = None;
        if call.star.own.len() >= CHUNK {
            let chunk = own.insert([0; CHUNK]);
            chunk.iter_mut().zip(call.star.own.drain(..CHUNK)).for_each(|(to, sample)| *to = sample);
        }
        let clients = call.streams.iter().filter(|(_, stream)| stream.star.served);
        let clients: Vec<NodeId> = clients.map(|(id, _)| id.clone()).collect();
        for id in &clients {
            self.mix_for(now, id, own.as_ref(), &voices, io);
        }
    }

    /// Mixes for one client: our own voice, and those that don't reach it.
    fn mix_for(&mut self, now: Now, id: &NodeId, own: Option<&Chunk>, voices: &[(NodeId, Chunk)], io: &mut dyn Io) {
        let addr = self.original_addr(now, id, io);
        let last = self.sequence.unwrap_or_else(|| self.next_sequence(now));
        let Some(call) = &mut self.call else { return };
        let voices: Vec<&Chunk> =
            voices.iter().filter(|(voice, _)| call.lacks(now.mono, id, voice)).map(|(_, chunk)| chunk).collect();
        let Some(stream) = call.streams.get_mut(id) else { return };
        let mix = stream.star.mix.get_or_insert_with(|| Box::new(Mix { sequence: last, ..Mix::default() }));
        mix.has_own |= own.is_some();
        own.into_iter().chain(voices).for_each(|chunk| mix.mixer.add(chunk, 1.0));
        let mut chunk = [0; CHUNK];
        mix.mixer.finish(&mut chunk);
        mix.part.extend_from_slice(&chunk);
        let Some(frame) = mix.part.first_chunk::<FRAME>().copied() else { return };
        mix.part.clear();
        // Without our own voice in it, silence goes out once a second, as a sign of life.
        let silent = !std::mem::take(&mut mix.has_own) && frame.iter().all(|sample| *sample == 0);
        let lately = mix.sent.is_some_and(|at| now.mono.duration_since(at) < VOICE_SIGN_OF_LIFE);
        let Some(addr) = addr.filter(|_| !(silent && lately)) else { return };
        mix.sent = Some(now.mono);
        mix.sequence = mix.sequence.wrapping_add(1);
        let sequence = mix.sequence;
        if let Some(bytes) = self.write_original(sequence, &frame, io) {
            self.send_datagram(addr, bytes, io);
        }
    }
}

impl Call {
    /// Whether the voice of one member does not reach a client of ours by itself.
    fn lacks(&self, now: Instant, client: &NodeId, voice: &NodeId) -> bool {
        let (Some(to), Some(from)) = (self.streams.get(client), self.streams.get(voice)) else { return false };
        voice != client
            && match from.is_level2 {
                // A member that does not hear it does not know where it is, and so sends it nothing.
                true => to.star.is_unheard_by(voice, now),
                // Another client of ours, or of another of us.
                false => from.star.alone || !from.hears_directly(now),
            }
    }

    /// Whether a member's voice comes in the mix of a host that we are with, too. `hosts`: members of level 1 that may be
    /// one, and whether they are by their own link.
    fn is_in_mix(&self, now: Instant, id: &NodeId, hosts: &[(NodeId, bool)]) -> bool {
        let Some(stream) = self.streams.get(id) else { return false };
        hosts.iter().filter(|(host, _)| host != id).any(|(host, shown)| {
            let Some(known) = self.streams.get(host) else { return false };
            match stream.is_level2 {
                // It sends its voice to those of level 1 that it hears; and about itself it may be believed.
                true => match known.star.known_by(id, now) {
                    Some(flags) => flags & WITH_HOST != 0 || (*shown && flags & HEARS != 0),
                    None => false,
                },
                // A client of ours: we have passed its voice on to the host.
                false => *shown && stream.star.alone && stream.star.served,
            }
        })
    }
}

impl Stream {
    fn spoke_within(&self, now: Instant, time: Duration) -> bool {
        self.spoke.is_some_and(|at| now.duration_since(at) < time)
    }
}

/// Whether a neighbour's link shows that it is the host of a star.
fn is_host(id: &NodeId, io: &dyn Io) -> bool {
    io.neighbour(id.into()).is_some_and(|link| link.is_host)
}

/// Where a member that has dialled us would listen: at the port of its id, which is its address with the original, on the
/// machine that its link comes from. `None`: its id is no address.
fn probe_addr(id: &str, link: Neighbour) -> Option<SocketAddr> {
    let port: u16 = id.rsplit_once(':')?.1.parse().ok().filter(|port| *port != 0)?;
    let mut addr = super::challenges::plain(link.addr);
    addr.set_port(port);
    Some(addr)
}
