//! Commands of rooms: `room`, `rooms`, `listen`, `nick`.

use super::{Answer, refuse};
use crate::api::arguments::{ListenArgs, RoomArgs};
use crate::api::{ErrorCode, result};
use crate::node::{Node, Now, Outbox};
use crate::wire::limits::MAX_ROOMS;

impl Node {
    pub(super) fn change_room(&mut self, args: RoomArgs) -> result::RoomChanged {
        let previous = self.room.clone();
        if let Some(name) = args.name {
            self.room = name.into();
        }
        result::RoomChanged { room: self.room.clone(), previous }
    }

    pub(super) fn rooms(&self) -> result::Rooms {
        let mut names: std::collections::BTreeSet<&str> = self.history.rooms().map(|(name, ..)| name).collect();
        names.insert(&self.room);
        names.extend(self.listen.iter().map(String::as_str));
        names.extend(self.keys.keys().map(String::as_str));
        let kept: std::collections::BTreeMap<&str, (usize, Option<u64>)> =
            self.history.rooms().map(|(name, messages, last)| (name, (messages, last))).collect();
        let rooms = names.into_iter().map(|name| {
            let (messages, last_pos) = kept.get(name).copied().unwrap_or_default();
            result::RoomInfo {
                name: name.to_owned(),
                messages,
                last_pos,
                encrypted: self.is_keyed(name),
                scheme: self.scheme_of(name),
                active: name == self.room,
                listened: self.listen_all || self.listen.contains(name),
            }
        });
        result::Rooms { rooms: rooms.collect() }
    }

    pub(super) fn is_keyed(&self, room: &str) -> bool {
        self.key_of(room).is_some()
    }

    pub(super) fn listen(&mut self, args: ListenArgs) -> Answer<result::Listening> {
        if args.rooms.len() > MAX_ROOMS {
            return refuse(ErrorCode::TooManyRooms, format!("at most {MAX_ROOMS} rooms; [\"*\"] is all of them"));
        }
        self.listen_all = args.rooms.iter().any(|room| &**room == "*");
        self.listen = args.rooms.into_iter().map(String::from).filter(|room| room != "*").collect();
        Ok(result::Listening { rooms: self.listened() })
    }

    pub(super) fn listened(&self) -> Vec<String> {
        self.listen_all.then(|| "*".to_owned()).into_iter().chain(self.listen.iter().cloned()).collect()
    }

    pub(super) fn nick(&mut self, now: Now, name: String, out: &mut Outbox) -> result::Renamed {
        let previous = std::mem::replace(&mut self.username, name);
        if previous != self.username {
            self.tell_username(now, out);
            self.announce(now, out);
        }
        result::Renamed { username: self.username.clone(), previous }
    }
}
