//! Commands: a client's line, from its dispatch to its reply.
//!
//! - [`links`]: `connect`, `disconnect`, `peers`
//! - [`messages`]: `send`, `history`, `trace`
//! - [`rooms`]: `room`, `rooms`, `listen`, `nick`
//! - [`status`]: `status`, and the figures that it gives
//! - [`waits`]: those that may have to wait, until they are answered
//!
//! Others stand with what they command: keys, blocks, voice.

use serde::Serialize;

use super::ClientId;
use super::waits::{Pending, What};
use super::{Node, Now, Outbox};
use crate::api::command::Command;
use crate::api::error::ApiError;
use crate::api::event::ByeReason;
use crate::api::{ErrorCode, Request, result};
use crate::clients::{Head, MAX_ASYNC};
pub(in crate::node) use answer::{Answer, refuse, short};
use messages::check_send;

mod answer;
mod links;
mod messages;
mod rooms;
mod status;
mod waits;

impl Node {
    /// Runs a client's line.
    pub(in crate::node) fn requested(&mut self, now: Now, client: ClientId, request: Request, out: &mut Outbox) {
        self.run_line(now, client, request, out);
        self.end_at_check_failure(now, out);
    }

    fn run_line(&mut self, now: Now, client: ClientId, request: Request, out: &mut Outbox) {
        let Request { line, id, cmd, is_async, may_fail, body } = request;
        let head = Head { line, id, cmd, may_fail };
        if !self.phase.is_running() {
            let error = ApiError::new(ErrorCode::Interrupted, "the node is ending");
            return self.clients.refuse(client, &head, &error, out);
        }
        match body {
            Err(error) => self.clients.refuse(client, &head, &error, out),
            Ok(command) => {
                // A wait may refer to an earlier command of the same id, not to itself.
                let after = match &command {
                    Command::Wait(args) => args.after.as_ref().map(|id| self.clients.marked(client, id)),
                    _ => None,
                };
                if let Some(id) = &head.id {
                    self.clients.mark(client, id);
                }
                if is_async && self.clients.aside_count(client) >= MAX_ASYNC {
                    let message = format!("{MAX_ASYNC} async commands are waiting; let one of them end first");
                    return self.clients.refuse(client, &head, &ApiError::new(ErrorCode::Busy, message), out);
                }
                self.run(now, client, head, is_async, after, command, out);
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "all of it is one command")]
    fn run(
        &mut self,
        now: Now,
        client: ClientId,
        head: Head,
        is_async: bool,
        after: Option<Option<u64>>,
        command: Command,
        out: &mut Outbox,
    ) {
        let what = match command {
            Command::Connect(args) => self.connect(now, &args, out),
            Command::Send(args) => check_send(args).map(|args| What::Send(Box::new(args))),
            Command::Wait(args) => self.clients.wait(now, client, args, after, is_async).map(What::Wait),
            Command::Key(args) => match self.key(now, args, out) {
                Ok(Ok(done)) => return self.clients.reply(client, &head, Ok(&done), out),
                Ok(Err((job, room, scheme))) => Ok(What::Key { job, room, scheme }),
                Err(error) => Err(error),
            },
            Command::Disconnect(args) => {
                return self.answer(client, &head, out, |it, out| it.disconnect(now, &args, out));
            }
            Command::Room(args) => return self.answer(client, &head, out, |it, _| Ok(it.change_room(args))),
            Command::Rooms(_) => return self.answer(client, &head, out, |it, _| Ok(it.rooms())),
            Command::Listen(args) => return self.answer(client, &head, out, |it, _| it.listen(args)),
            Command::Nick(args) => {
                return self.answer(client, &head, out, |it, out| Ok(it.nick(now, args.name.into(), out)));
            }
            Command::Block(args) => {
                return self.answer(client, &head, out, |it, out| it.block(now, args, out));
            }
            Command::Unblock(args) => {
                return self.answer(client, &head, out, |it, out| it.unblock(now, args, out));
            }
            Command::Blocks(_) => return self.answer(client, &head, out, |it, _| Ok(it.list_blocks(now))),
            Command::Peers(_) => return self.answer(client, &head, out, |it, _| Ok(it.peers(now))),
            Command::Events(args) => {
                return self.answer(client, &head, out, |it, _| it.clients.choose_events(client, &args));
            }
            Command::History(args) => match self.history(&args, out) {
                Ok(Ok(page)) => return self.clients.reply(client, &head, Ok(&page), out),
                Ok(Err(what)) => Ok(what),
                Err(error) => Err(error),
            },
            Command::Trace(args) => return self.answer(client, &head, out, |it, _| it.trace(&args)),
            Command::Status(_) => return self.answer(client, &head, out, |it, _| Ok(it.status(now))),
            Command::Help(args) => {
                return self.answer(client, &head, out, |_, _| crate::api::help::help(args.of.as_deref()));
            }
            Command::Exit(_) => {
                self.clients.reply(client, &head, Ok(&result::Nothing {}), out);
                return self.end(now, ByeReason::Exit, 0, out);
            }
            Command::VoiceJoin(args) => self.voice_join(args),
            Command::VoiceLeave(_) => {
                return self.answer(client, &head, out, |it, out| it.voice_leave(now, out));
            }
            Command::VoiceMute(_) => {
                return self.answer(client, &head, out, |it, out| it.voice_mute(now, true, out));
            }
            Command::VoiceUnmute(_) => {
                return self.answer(client, &head, out, |it, out| it.voice_mute(now, false, out));
            }
            Command::VoicePeers(args) => {
                return self.answer(client, &head, out, |it, out| Ok(it.voice_peers(now, &args, out)));
            }
            Command::VoiceGain(args) => return self.answer(client, &head, out, |it, _| it.voice_gain(args)),
            Command::Devices(_) => Ok(self.ask_devices(out)),
        };
        match what {
            Err(error) => self.clients.refuse(client, &head, &error, out),
            Ok(what) => {
                let deadline = match &what {
                    What::Wait(wait) => Some(wait.deadline()),
                    _ => None,
                };
                let pending = Pending { head, started: now.mono, deadline, what };
                self.begin(now, client, is_async, pending, out);
            }
        }
    }

    fn answer<R: Serialize>(
        &mut self,
        client: ClientId,
        head: &Head,
        out: &mut Outbox,
        run: impl FnOnce(&mut Self, &mut Outbox) -> Answer<R>,
    ) {
        let result = run(self, out);
        self.clients.reply(client, head, result.as_ref(), out);
    }
}
