//! Keys of rooms, as clients set them: see [`rooms`](crate::rooms).

use super::{JobId, Node, Now, Outbox, Output};
use crate::api::arguments::{KeyArgs, Scheme};
use crate::api::error::ApiError;
use crate::api::event::WarningCode;
use crate::api::{ErrorCode, result};
use crate::base::form::oddity;
use crate::wire::limits::MAX_ROOMS;
use crate::wire::room_key::RoomKey;

impl Node {
    /// Warns of what is weak from the start.
    pub(super) fn warn_of_weak_keys(&mut self, now: Now, out: &mut Outbox) {
        if let Some(room) = self.rooms.weak().map(str::to_owned) {
            self.warn_of_weak_key(now, &room, out);
        }
    }

    fn warn_of_weak_key(&mut self, now: Now, room: &str, out: &mut Outbox) {
        let message = format!(
            "room `{}` uses the original's encryption, which is weak: it proves no author, and passphrases are cheap to guess; \
             where no original node is, use `argon2id`",
            room.escape_debug()
        );
        self.warn(now, WarningCode::WeakKey, &message, out);
    }

    /// Sets or clears a key: done at once, or a job to wait for.
    #[allow(clippy::type_complexity, reason = "done, or not yet")]
    pub(super) fn key(
        &mut self,
        now: Now,
        args: KeyArgs,
        out: &mut Outbox,
    ) -> Result<Result<result::Keyed, (JobId, String, Scheme)>, ApiError> {
        let room = args.room.map_or_else(|| self.rooms.active().to_owned(), String::from);
        let Some(passphrase) = args.passphrase else {
            if self.rooms.clear_key(&room) {
                self.with_calls(now, out, |calls, io| calls.on_key_changed(now, &room, io));
            }
            return Ok(Ok(result::Keyed { room, encrypted: false, scheme: None }));
        };
        if passphrase.is_empty() {
            let message = "an empty passphrase protects nothing; null clears the key";
            return Err(ApiError::new(ErrorCode::BadValue, message));
        }
        if self.rooms.is_full(&room) {
            let message = format!("{MAX_ROOMS} rooms have a key; clear one first");
            return Err(ApiError::new(ErrorCode::TooManyRooms, message));
        }
        if let Some(how) = oddity(&passphrase) {
            let message = format!("the passphrase of room `{}` {how}", room.escape_debug());
            self.warn(now, WarningCode::OddKey, &message, out);
        }
        let scheme = args.scheme.unwrap_or(Scheme::Argon2id);
        let job = JobId(self.next_job);
        self.next_job += 1;
        self.rooms.derive(job, &room);
        out.push(Output::Derive { job, scheme, passphrase, room: room.clone() });
        Ok(Err((job, room, scheme)))
    }

    /// A key is derived.
    pub(super) fn derived(&mut self, now: Now, job: JobId, key: RoomKey, out: &mut Outbox) {
        let weak = !key.is_strong();
        let Some(room) = self.rooms.on_derived(job, key) else { return };
        if weak {
            self.warn_of_weak_key(now, &room, out);
        }
        self.with_calls(now, out, |calls, io| calls.on_key_changed(now, &room, io));
        self.clients.recheck_pending();
    }
}
