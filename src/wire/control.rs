//! Control frames, read: what two neighbours of level 2 send each other alone. [`outgoing`](super::outgoing) writes them.

use std::borrow::Cow;

use super::message::View;

/// A control frame, one variant a type. Each type goes with a capability that hello names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control<'a> {
    /// `ping`: to be answered with the same number.
    Ping(u64),
    /// `pong`: the answer; `None` if its number can't be read.
    Pong(Option<u64>),
    /// `confirm`: asks whether a message of the asking peer was taken.
    Confirm(Cow<'a, str>),
    /// `confirmed`: the message, if it was taken.
    Confirmed(Option<Cow<'a, str>>),
    /// `nick`: the peer's new user name.
    Nick(Cow<'a, str>),
}

/// A control frame whose field is missing, or of the wrong type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Whether frames of a type are for one neighbour alone, and never passed on.
pub fn is_for_neighbours(kind: &str) -> bool {
    matches!(kind, "hello" | "ping" | "pong" | "confirm" | "confirmed" | "nick")
}

impl<'a> Control<'a> {
    /// Reads a frame of that type. `None`: it is no control frame, or one that somebody has passed on, as its `ttl` shows:
    /// who has said it can't be told.
    pub fn read(kind: &str, view: &View<'a>) -> Option<Result<Self, Malformed>> {
        if view.ttl.is_some() {
            return None;
        }
        Some(match kind {
            "ping" => view.nonce.number().map(Self::Ping).ok_or(Malformed),
            "pong" => Ok(Self::Pong(view.nonce.number())),
            "confirm" => view.message.name().map(Self::Confirm).map_err(|_| Malformed),
            "confirmed" => {
                let taken = view.taken.boolean() == Some(true);
                Ok(Self::Confirmed(view.message.name().ok().filter(|_| taken)))
            }
            "nick" => view.username.name().map(Self::Nick).map_err(|_| Malformed),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &'static str) -> Option<Result<Control<'static>, Malformed>> {
        let view = View::parse(json.as_bytes()).expect("an object");
        let kind = view.kind.name().expect("a type");
        Control::read(&kind, &view)
    }

    #[test]
    fn each_type_is_read() {
        for (json, control) in [
            (r#"{"type":"ping","nonce":7}"#, Control::Ping(7)),
            (r#"{"type":"pong","nonce":7}"#, Control::Pong(Some(7))),
            (r#"{"type":"pong"}"#, Control::Pong(None)),
            (r#"{"type":"confirm","message":"m"}"#, Control::Confirm("m".into())),
            (r#"{"type":"confirmed","message":"m","taken":true}"#, Control::Confirmed(Some("m".into()))),
            (r#"{"type":"confirmed","message":"m","taken":false}"#, Control::Confirmed(None)),
            (r#"{"type":"nick","username":"A"}"#, Control::Nick("A".into())),
        ] {
            assert_eq!(read(json), Some(Ok(control)), "{json}");
        }
    }

    #[test]
    fn others_are_malformed_or_no_control_frames() {
        for json in [r#"{"type":"ping"}"#, r#"{"type":"confirm"}"#, r#"{"type":"nick","username":""}"#] {
            assert_eq!(read(json), Some(Err(Malformed)), "{json}");
        }
        for json in [r#"{"type":"chat"}"#, r#"{"type":"ping","nonce":7,"ttl":3}"#, r#"{"type":"nick","ttl":null}"#] {
            assert_eq!(read(json), None, "{json}");
        }
    }
}
