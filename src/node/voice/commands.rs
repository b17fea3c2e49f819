//! What clients ask for: joining, leaving, muting, who is in, how loud, which devices.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::MAX_GAINS;
use crate::api::arguments::{VoiceGainArgs, VoiceJoinArgs, VoicePeersArgs};
use crate::api::error::ApiError;
use crate::api::event::WarningCode;
use crate::api::{ErrorCode, result};
use crate::clients::Head;
use crate::node::ClientId;
use crate::node::commands::waits::{Pending, What};
use crate::node::{JobId, Node, Now, Outbox, Output};
use crate::voice::{Codec, Figures};
use crate::wire::limits::{DIAL_TIME, MAX_VOICE_MEMBERS};

/// How long microphone and speaker may take to open: above what a sound server takes that is just starting. A guess.
const OPEN_TIME: Duration = Duration::from_secs(10);

/// Microphone and speaker: the names really used, or why they can't be opened.
pub type Opened = Result<(String, String), String>;

/// A `voice_join` under way.
#[derive(Debug)]
pub struct Join {
    args: VoiceJoinArgs,
    /// Since when it waits for microphone and speaker.
    opening: Option<Instant>,
}

type Answer<T> = Result<T, ApiError>;

fn refuse<T>(code: ErrorCode, message: impl Into<String>) -> Answer<T> {
    Err(ApiError::new(code, message))
}

impl Node {
    /// A client wants to join.
    pub(in crate::node) fn voice_join(&self, args: VoiceJoinArgs) -> Answer<What> {
        if let Some(call) = &self.voice.call {
            let message = format!("already in the voice of `{}`: `voice_leave` first", call.room.escape_debug());
            return refuse(ErrorCode::AlreadyInVoice, message);
        }
        Ok(What::VoiceJoin(Box::new(Join { args, opening: None })))
    }

    /// Joins, or waits on: for the first dials (10 s at most), for a key that is being derived, for the devices.
    pub(in crate::node) fn go_on_joining(
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
                let first_dials = self.started + DIAL_TIME;
                if self.links.dialler().has_first_tries() && now.mono < first_dials {
                    pending.deadline = Some(first_dials);
                    return Some(pending);
                }
                if self.rooms.is_deriving(&room) {
                    pending.deadline = None;
                    return Some(pending);
                }
                match self.open_audio(&room, &join.args, out) {
                    Err(error) => Err(error),
                    Ok(()) => {
                        join.opening = Some(now.mono);
                        pending.deadline = Some(now.mono + OPEN_TIME);
                        return Some(pending);
                    }
                }
            }
            Some(since) => match self.voice.opening.take() {
                Some(None) if now.mono < since + OPEN_TIME => {
                    self.voice.opening = Some(None);
                    return Some(pending);
                }
                Some(Some(Ok(opened))) => Ok(self.joined_voice(now, &room, join.args.muted, opened, out)),
                Some(Some(Err(why))) => Err(ApiError {
                    retryable: self.may_open_later(&join.args),
                    ..ApiError::new(ErrorCode::DeviceFailed, why)
                }),
                None | Some(None) => {
                    out.push(Output::StopAudio);
                    let message = "microphone or speaker did not open in 10 s: try others, or `none`";
                    refuse(ErrorCode::DeviceFailed, message)
                }
            },
        };
        self.clients.reply(client, &pending.head, joined.as_ref(), out);
        None
    }

    fn open_audio(&mut self, room: &str, args: &VoiceJoinArgs, out: &mut Outbox) -> Answer<()> {
        if self.voice.call.is_some() || self.voice.opening.is_some() {
            return refuse(ErrorCode::AlreadyInVoice, "another `voice_join` was first");
        }
        // Those of whom there is no sign may be invented: they make way for who answers.
        let neighbours = self.links.neighbours();
        let sure = self.voice.roster.of_room(room).filter(|(id, it)| it.sign.is_some() || neighbours.get(id).is_some());
        if sure.count() >= MAX_VOICE_MEMBERS {
            return refuse(ErrorCode::RoomFull, format!("there are {MAX_VOICE_MEMBERS} members in voice, no more fit"));
        }
        self.voice.opening = Some(None);
        let mic = args.mic.clone().unwrap_or_else(|| self.config.mic.clone());
        let speaker = args.speaker.clone().unwrap_or_else(|| self.config.speaker.clone());
        out.push(Output::StartAudio { mic, speaker });
        Ok(())
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

    fn joined_voice(
        &mut self,
        now: Now,
        room: &str,
        muted: bool,
        (mic, speaker): (String, String),
        out: &mut Outbox,
    ) -> result::VoiceJoined {
        self.enter(now, room, muted, out);
        result::VoiceJoined { room: room.to_owned(), udp: self.config.udp.to_string(), mic, speaker }
    }

    /// Microphone and speaker are open, or can't be.
    pub(in crate::node) fn audio_opened(&mut self, now: Now, opened: Opened, out: &mut Outbox) {
        match &mut self.voice.opening {
            Some(opening) => {
                *opening = Some(opened);
                self.clients.recheck_pending();
            }
            // In the middle of a call: there is no sound any more, but the call goes on.
            None => {
                if let (Err(why), true) = (opened, self.voice.call.is_some()) {
                    self.warn(now, WarningCode::DeviceLost, &why, out);
                }
            }
        }
    }

    /// Leaves voice at a client's wish.
    pub(in crate::node) fn voice_leave(&mut self, now: Now, out: &mut Outbox) -> Answer<result::VoiceState> {
        let state = self.voice_state()?;
        self.leave_voice(now, out);
        Ok(state)
    }

    /// Mutes or unmutes.
    pub(in crate::node) fn voice_mute(
        &mut self,
        now: Now,
        muted: bool,
        out: &mut Outbox,
    ) -> Answer<result::VoiceState> {
        let changed = match &mut self.voice.call {
            Some(call) => std::mem::replace(&mut call.muted, muted) != muted,
            None => false,
        };
        if changed {
            if muted {
                self.own_talkspurt(false, out);
            }
            self.say_muted(now, out);
        }
        self.voice_state()
    }

    fn voice_state(&self) -> Answer<result::VoiceState> {
        match &self.voice.call {
            Some(call) => Ok(result::VoiceState { room: call.room.to_string(), muted: call.muted }),
            None => refuse(ErrorCode::NotInVoice, "this node is not in voice: `voice_join` first"),
        }
    }

    /// Who is in the voice of a room.
    pub(in crate::node) fn voice_peers(&self, now: Now, args: &VoicePeersArgs) -> result::VoicePeers {
        let call = self.voice.call.as_ref();
        let room = args.room.as_deref().or(call.map(|call| &*call.room)).unwrap_or(self.rooms.active());
        let peers = self.voice.roster.of_room(room).map(|(id, member)| {
            let stream = call.and_then(|call| call.streams.get(id));
            let figures = stream.map_or(Figures { level_db: -100.0, ..Figures::default() }, |it| it.speaker.figures());
            let addr = stream.and_then(|stream| match stream.ours {
                true => stream.path.proven(now.mono),
                false => self.original_addr(now, id),
            });
            result::VoicePeer {
                peer: id.to_string(),
                username: member.username.clone(),
                addr: addr.map(|addr| addr.to_string()),
                muted: member.muted,
                speaking: stream.is_some_and(|stream| stream.speaking),
                codec: stream.and_then(|stream| stream.codec).map(|codec| {
                    match codec {
                        Codec::Pcm => "pcm",
                        Codec::Opus => "opus",
                    }
                    .to_owned()
                }),
                level_db: (figures.level_db > -100.0).then(|| tenth(figures.level_db)),
                gain_db: self.voice.gains.get(&**id).copied().unwrap_or_default(),
                received: figures.received,
                lost: figures.lost,
                late: figures.late,
                concealed: figures.concealed,
                jitter_ms: tenth(figures.jitter_ms),
                delay_ms: tenth(figures.delay_ms),
            }
        });
        result::VoicePeers { peers: peers.collect() }
    }

    /// How loud a member is heard, now and whenever it is in voice again.
    pub(in crate::node) fn voice_gain(&mut self, args: VoiceGainArgs) -> Answer<result::VoiceGain> {
        let VoiceGainArgs { peer, db } = args;
        if !(-60.0..=20.0).contains(&db) {
            return refuse(ErrorCode::BadValue, "`db` is from -60 to 20");
        }
        if self.voice.roster.get(&peer).is_none() {
            return refuse(ErrorCode::NotFound, "no member of voice has that node id: see `voice_peers`");
        }
        if self.voice.gains.len() >= MAX_GAINS && !self.voice.gains.contains_key(&peer) {
            let roster = &self.voice.roster;
            self.voice.gains.retain(|id, _| roster.get(id).is_some());
        }
        if self.voice.gains.len() >= MAX_GAINS && !self.voice.gains.contains_key(&peer) {
            return refuse(ErrorCode::BadValue, format!("the loudness of {MAX_GAINS} members is set already"));
        }
        self.voice.gains.insert(peer.clone(), db);
        let gain = self.voice.gain(&peer);
        if let Some(stream) = self.voice.call.as_mut().and_then(|call| call.streams.get_mut(&Rc::from(&*peer))) {
            stream.gain = gain;
        }
        Ok(result::VoiceGain { peer, db })
    }

    /// Asks for the sound devices.
    pub(in crate::node) fn ask_devices(&mut self, out: &mut Outbox) -> What {
        let job = JobId(self.next_job);
        self.next_job += 1;
        self.voice.device_lists.insert(job, None);
        out.push(Output::ListDevices(job));
        What::Devices { job }
    }

    /// The sound devices are known.
    pub(in crate::node) fn devices_listed(&mut self, job: JobId, devices: result::Devices) {
        if let Some(list) = self.voice.device_lists.get_mut(&job) {
            *list = Some(devices);
            self.clients.recheck_pending();
        }
    }

    /// Answers with the devices, if they are there: true.
    pub(in crate::node) fn answer_devices(
        &mut self,
        client: ClientId,
        head: &Head,
        job: JobId,
        out: &mut Outbox,
    ) -> bool {
        match self.voice.device_lists.remove(&job) {
            Some(None) => {
                self.voice.device_lists.insert(job, None);
                false
            }
            Some(Some(devices)) => {
                self.clients.reply(client, head, Ok(&devices), out);
                true
            }
            None => true,
        }
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
