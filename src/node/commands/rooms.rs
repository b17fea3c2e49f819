//! Commands of rooms: `room`, `rooms`, `listen`, `nick`.

use super::{Answer, refuse};
use crate::api::arguments::{ListenArgs, RoomArgs};
use crate::api::{ErrorCode, result};
use crate::node::{Node, Now, Outbox};
use crate::wire::limits::MAX_ROOMS;

impl Node {
    pub(super) fn change_room(&mut self, args: RoomArgs) -> result::RoomChanged {
        let previous = match args.name {
            Some(name) => self.rooms.activate(name.into()),
            None => self.rooms.active().to_owned(),
        };
        result::RoomChanged { room: self.rooms.active().to_owned(), previous }
    }

    pub(super) fn rooms(&self) -> result::Rooms {
        let mut names: std::collections::BTreeSet<&str> = self.history.rooms().map(|(name, ..)| name).collect();
        names.extend(self.rooms.named());
        let kept: std::collections::BTreeMap<&str, (usize, Option<u64>)> =
            self.history.rooms().map(|(name, messages, last)| (name, (messages, last))).collect();
        let rooms = names.into_iter().map(|name| {
            let (messages, last_pos) = kept.get(name).copied().unwrap_or_default();
            result::RoomInfo {
                name: name.to_owned(),
                messages,
                last_pos,
                encrypted: self.rooms.key(name).is_some(),
                scheme: self.rooms.scheme(name),
                active: name == self.rooms.active(),
                listened: self.rooms.is_listened(name),
            }
        });
        result::Rooms { rooms: rooms.collect() }
    }

    pub(super) fn listen(&mut self, args: ListenArgs) -> Answer<result::Listening> {
        if args.rooms.len() > MAX_ROOMS {
            return refuse(ErrorCode::TooManyRooms, format!("at most {MAX_ROOMS} rooms; [\"*\"] is all of them"));
        }
        self.rooms.listen(args.rooms.into_iter().map(String::from));
        Ok(result::Listening { rooms: self.rooms.listened() })
    }

    pub(super) fn nick(&mut self, now: Now, name: String, out: &mut Outbox) -> result::Renamed {
        let previous = std::mem::replace(&mut self.username, name);
        if previous != self.username {
            let username = self.username.clone();
            self.links.rename(now, &username, out);
            self.hear_links(now, out);
            self.with_calls(now, out, |calls, io| calls.announce(now, io));
        }
        result::Renamed { username: self.username.clone(), previous }
    }
}
