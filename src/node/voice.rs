//! Voice in the node: connects [`Calls`] with the rest, and runs the commands that are about it.

use std::net::{IpAddr, SocketAddr};

use super::commands::Answer;
use super::waits::{Join, Pending, What};
use super::{Bytes, ClientId, DialId, JobId, LinkId, Node, Now, Outbox, Output};
use crate::api::arguments::{VoiceGainArgs, VoiceJoinArgs, VoicePeersArgs};
use crate::api::error::ApiError;
use crate::api::event::WarningCode;
use crate::api::{ErrorCode, result};
use crate::base::NodeIdRef;
use crate::call::{self, Begun, Calls, InCall, Io, MemberInfo, Neighbour, OPEN_TIME, Refusal, Warning};
use crate::clients::Head;
use crate::outbox::Order;
use crate::voice::Codec;
use crate::wire::outgoing::{self, Message};
use crate::wire::room_key::RoomKey;
use crate::wire::signed::SeqNo;

/// The node as voice sees it.
pub struct NodeIo<'a> {
    node: &'a mut Node,
    now: Now,
    out: &'a mut Outbox,
}

impl Io for NodeIo<'_> {
    fn out(&mut self) -> &mut Outbox {
        self.out
    }

    fn emit(&mut self, event: call::Event<'_>) {
        self.node.tell_of_voice(self.now, event, self.out);
    }

    fn warn(&mut self, warning: Warning, message: &str) {
        let code = match warning {
            Warning::Codec => WarningCode::Codec,
            Warning::Key => WarningCode::VoiceKey,
            Warning::DeviceLost => WarningCode::DeviceLost,
            Warning::Unheard => WarningCode::VoiceUnheard,
        };
        self.node.warn(self.now, code, message, self.out);
    }

    fn queue(&mut self, link: LinkId, frame: &Bytes) {
        self.node.links.queue(self.now, link, frame, self.out);
    }

    fn queued(&self, link: LinkId) -> Option<usize> {
        self.node.links.get(link).map(|link| link.queued().1)
    }

    fn dial(&mut self, addr: SocketAddr) -> DialId {
        let dial = self.node.links.mint_dial();
        self.out.push(Output::Dial { dial, addr: addr.to_string(), order: Order::default() });
        dial
    }

    fn next_seq_no(&mut self) -> SeqNo {
        self.node.numbers.next(self.now)
    }

    fn begin_message(&mut self, id: &str) -> Option<Begun> {
        let node = &mut *self.node;
        let stamp = node.stamps.next(self.now);
        let number = node.gossip.take_own(id).ok()?;
        node.gossip.begin_own_trace(self.now, number, stamp);
        Some(Begun { number, stamp })
    }

    fn sign(&self, message: &Message<'_>, seq: SeqNo) -> Option<Vec<u8>> {
        outgoing::signed_frame(message, &self.node.identity, seq)
    }

    fn hand_out(&mut self, id: &str, room: &str, number: u64, frame: &Bytes) {
        let handed = self.node.hand_out(self.now, number, None, false, frame, self.out);
        let own = self.node.id().to_owned();
        self.node.tell_missed((id, Some(room), &own, None), &handed.missed, self.out);
    }

    fn username(&self) -> &str {
        &self.node.username
    }

    fn is_shown(&self, room: &str) -> bool {
        self.node.rooms.is_shown(room)
    }

    fn is_blocked(&self, ip: IpAddr) -> bool {
        self.node.links.blocks().has_addr(ip)
    }

    fn is_neighbour(&self, id: NodeIdRef<'_>) -> bool {
        self.node.links.neighbours().get(id).is_some()
    }

    fn neighbour(&self, id: NodeIdRef<'_>) -> Option<Neighbour> {
        let link = self.node.links.of_neighbour(id)?;
        let is_host = link.peer().is_some_and(|peer| peer.is_host);
        Some(Neighbour { addr: link.addr(), is_dialled: link.direction().is_out(), is_host })
    }

    fn keys(&self, room: &str) -> [Option<&RoomKey>; 2] {
        let mut keys = self.node.rooms.keys(room);
        [keys.next(), keys.next()]
    }
}

impl Node {
    /// Lends voice this node as its surroundings. Meanwhile the component is taken out, so nothing that it sets off can come back
    /// to it.
    pub(super) fn with_calls<R: Default>(
        &mut self,
        now: Now,
        out: &mut Outbox,
        run: impl FnOnce(&mut Calls, &mut NodeIo<'_>) -> R,
    ) -> R {
        let Some(mut calls) = self.calls.take() else { return R::default() };
        let result = run(&mut calls, &mut NodeIo { node: self, now, out });
        self.calls = Some(calls);
        result
    }

    /// Has voice do what a command asks for.
    fn ask_calls<R>(
        &mut self,
        now: Now,
        out: &mut Outbox,
        run: impl FnOnce(&mut Calls, &mut NodeIo<'_>) -> Result<R, Refusal>,
    ) -> Result<R, Refusal> {
        self.with_calls(now, out, |calls, io| Some(run(calls, io))).unwrap_or(Err(Refusal::NotInVoice))
    }

    /// Tells a new neighbour who is in voice.
    pub(super) fn tell_members(&mut self, now: Now, link: LinkId, out: &mut Outbox) {
        let Some(peer) = self.links.peer(link) else { return };
        let (id, level) = (peer.id.clone(), peer.level);
        self.with_calls(now, out, |calls, io| calls.on_link_up(now, link, (&id, level), io));
    }

    /// `voice_join`
    pub(super) fn voice_join(&self, args: VoiceJoinArgs) -> Answer<What> {
        self.calls.as_ref().map_or(Ok(()), |calls| calls.may_join()).map_err(api_error)?;
        Ok(What::VoiceJoin(Box::new(Join { args, opening: None })))
    }

    /// Joins, or waits on: for the first dials (10 s at most), for a key that is being derived, for the devices.
    pub(super) fn go_on_joining(
        &mut self,
        now: Now,
        client: ClientId,
        mut pending: Pending,
        out: &mut Outbox,
    ) -> Option<Pending> {
        let What::VoiceJoin(join) = &mut pending.what else { return None };
        let room = join.args.room.as_deref().unwrap_or(self.rooms.active()).to_owned();
        let joined = match join.opening {
            None => {
                if let Some(until) = self.first_dials(now) {
                    pending.deadline = Some(until);
                    return Some(pending);
                }
                if self.rooms.is_deriving(&room) {
                    pending.deadline = None;
                    return Some(pending);
                }
                let mic = join.args.mic.clone().unwrap_or_else(|| self.config.mic.clone());
                let speaker = join.args.speaker.clone().unwrap_or_else(|| self.config.speaker.clone());
                match self.ask_calls(now, out, |calls, io| calls.begin_join(&room, mic, speaker, io)) {
                    Err(refusal) => Err(api_error(refusal)),
                    Ok(()) => {
                        join.opening = Some(now.mono);
                        pending.deadline = Some(now.mono + OPEN_TIME);
                        return Some(pending);
                    }
                }
            }
            Some(since) => {
                let muted = join.args.muted;
                match self.ask_calls(now, out, |calls, io| calls.poll_join(now, (&room, muted), since, io)) {
                    Ok(None) => return Some(pending),
                    Ok(Some((mic, speaker))) => {
                        Ok(result::VoiceJoined { room, udp: self.config.udp.to_string(), mic, speaker })
                    }
                    Err(Refusal::NotOpened(why)) => Err(ApiError {
                        retryable: self.may_open_later(&join.args),
                        ..ApiError::new(ErrorCode::DeviceFailed, why)
                    }),
                    Err(refusal) => Err(api_error(refusal)),
                }
            }
        };
        self.clients.reply(client, &pending.head, joined.as_ref(), out);
        None
    }

    /// Whether what did not open may do so later: a device may be free or plugged in then; a file that is not there stays so. What
    /// was asked for is to blame, rather than the command line, which was looked at when the node started.
    fn may_open_later(&self, args: &VoiceJoinArgs) -> bool {
        let asked = [&args.mic, &args.speaker];
        match asked.iter().all(|it| it.is_none()) {
            true => is_device(&self.config.mic) || is_device(&self.config.speaker),
            false => asked.into_iter().flatten().any(|it| is_device(it)),
        }
    }

    /// `voice_leave`
    pub(super) fn voice_leave(&mut self, now: Now, out: &mut Outbox) -> Answer<result::VoiceState> {
        let left = self.ask_calls(now, out, |calls, io| {
            let own = calls.own()?;
            calls.leave(now, io);
            Ok(own)
        });
        if self.has_called_in_vain(out) {
            self.clients.fail_check();
        }
        left.map(voice_state).map_err(api_error)
    }

    /// Whether a call has ended in which nobody was heard or could be sent to, and that counts.
    pub(super) fn has_called_in_vain(&mut self, out: &mut Outbox) -> bool {
        let in_vain = self.config.check && self.calls.as_mut().is_some_and(|calls| calls.take_in_vain());
        if in_vain {
            let message = "in the whole call nobody was heard or could be sent to, though somebody was there";
            out.push(Output::Complain(message.to_owned()));
        }
        in_vain
    }

    /// `voice_mute` and `voice_unmute`
    pub(super) fn voice_mute(&mut self, now: Now, muted: bool, out: &mut Outbox) -> Answer<result::VoiceState> {
        let state = self.ask_calls(now, out, |calls, io| calls.set_muted(now, muted, io));
        state.map(voice_state).map_err(api_error)
    }

    /// `voice_peers`
    pub(super) fn voice_peers(&mut self, now: Now, args: &VoicePeersArgs, out: &mut Outbox) -> result::VoicePeers {
        let (room, active) = (args.room.as_deref(), self.rooms.active().to_owned());
        let members = self.with_calls(now, out, |calls, io| calls.members(now, room, &active, io));
        result::VoicePeers { peers: members.into_iter().map(voice_peer).collect() }
    }

    /// `voice_gain`
    pub(super) fn voice_gain(&mut self, args: VoiceGainArgs) -> Answer<result::VoiceGain> {
        let VoiceGainArgs { peer, db } = args;
        self.calls.as_mut().map_or(Ok(()), |calls| calls.set_gain(&peer, db)).map_err(api_error)?;
        Ok(result::VoiceGain { peer, db })
    }

    /// Asks for the sound devices.
    pub(super) fn ask_devices(&mut self, out: &mut Outbox) -> What {
        let job = JobId(self.next_job);
        self.next_job += 1;
        self.device_lists.insert(job, None);
        out.push(Output::ListDevices(job));
        What::Devices { job }
    }

    /// Takes note of the sound devices.
    pub(super) fn devices_listed(&mut self, job: JobId, devices: result::Devices) {
        if let Some(list) = self.device_lists.get_mut(&job) {
            *list = Some(devices);
            self.clients.recheck_pending();
        }
    }

    /// Answers with the devices, if they are there: true.
    pub(super) fn answer_devices(&mut self, client: ClientId, head: &Head, job: JobId, out: &mut Outbox) -> bool {
        match self.device_lists.remove(&job) {
            Some(None) => {
                self.device_lists.insert(job, None);
                false
            }
            Some(Some(devices)) => {
                self.clients.reply(client, head, Ok(&devices), out);
                true
            }
            None => true,
        }
    }

    /// The sizes of what is held for voice, each with its bound: for tests of random lives.
    #[cfg(any(test, fuzzing))]
    pub(super) fn voice_held(&self) -> Vec<(&'static str, usize, usize)> {
        let mut held = self.calls.as_ref().map(|calls| calls.held()).unwrap_or_default();
        held.extend(self.presences.held().map(|(name, (held, most))| (name, held, most)));
        held.push(("device lists", self.device_lists.len(), crate::clients::MAX_ASYNC + 1));
        held
    }
}

/// A refusal as the line protocol has it.
fn api_error(refusal: Refusal) -> ApiError {
    let (code, message) = match refusal {
        Refusal::InVoice(room) => {
            let message = format!("already in the voice of `{}`: `voice_leave` first", room.escape_debug());
            (ErrorCode::AlreadyInVoice, message)
        }
        Refusal::Joining => (ErrorCode::AlreadyInVoice, "another `voice_join` was first".to_owned()),
        Refusal::RoomFull(n) => (ErrorCode::RoomFull, format!("there are {n} members in voice, no more fit")),
        Refusal::NotOpened(why) => (ErrorCode::DeviceFailed, why),
        Refusal::OpenTimeout => {
            let message = "microphone or speaker did not open in 10 s: try others, or `none`";
            (ErrorCode::DeviceFailed, message.to_owned())
        }
        Refusal::NotInVoice => (ErrorCode::NotInVoice, "this node is not in voice: `voice_join` first".to_owned()),
        Refusal::BadGain => (ErrorCode::BadValue, "`db` is from -60 to 20".to_owned()),
        Refusal::NoMember => (ErrorCode::NotFound, "no member of voice has that node id: see `voice_peers`".to_owned()),
        Refusal::TooManyGains(n) => (ErrorCode::BadValue, format!("the loudness of {n} members is set already")),
    };
    ApiError::new(code, message)
}

const fn unheard_reason(why: call::Unheard) -> result::Unheard {
    match why {
        call::Unheard::NoAddress => result::Unheard::NoAddress,
        call::Unheard::NoEcho => result::Unheard::NoEcho,
        call::Unheard::Key => result::Unheard::Key,
        call::Unheard::Silent => result::Unheard::Silent,
    }
}

fn voice_state(own: InCall) -> result::VoiceState {
    result::VoiceState { room: own.room.to_string(), muted: own.muted }
}

fn voice_peer(member: MemberInfo) -> result::VoicePeer {
    let MemberInfo { id, username, addr, muted, speaking, codec, gain_db, figures, unheard } = member;
    let codec = codec.map(|codec| match codec {
        Codec::Pcm => "pcm",
        Codec::Opus => "opus",
    });
    result::VoicePeer {
        peer: id.to_string(),
        username,
        addr: addr.map(|addr| addr.to_string()),
        muted,
        speaking,
        codec: codec.map(str::to_owned),
        level_db: (figures.level_db > -100.0).then(|| tenth(figures.level_db)),
        gain_db,
        received: figures.received,
        lost: figures.lost,
        late: figures.late,
        concealed: figures.concealed,
        jitter_ms: tenth(figures.jitter_ms),
        delay_ms: tenth(figures.delay_ms),
        unheard: unheard.map(unheard_reason),
    }
}

/// Whether a microphone or speaker, as `--mic` has it, is a device, and not a file, a pipe or made up.
fn is_device(name: &str) -> bool {
    let file = name.strip_suffix(",loop").unwrap_or(name);
    let is_file = file.to_ascii_lowercase().ends_with(".wav");
    name != "none" && !name.starts_with("tone:") && !name.starts_with("pipe:") && !is_file
}

fn tenth(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
