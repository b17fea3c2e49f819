//! A line of input to a [`Request`]: which command, with which arguments, or what is wrong with it.
//!
//! A line that is wrong still gives its `cmd` and `id` when they can be found, so that its reply finds its sender.
//! The table at the end is the one list of commands; parsing, the schema and `help` are made from it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::arguments::*;
use super::error::{ApiError, ErrorCode};
use super::id::CommandId;
use super::marks::{Marks, Seeker};
use super::result;
use super::take::take;
use crate::wire::json::mend_surrogates;
use crate::wire::message;

/// The longest line of input or output, in bytes, its newline left out.
pub const MAX_LINE: usize = 1 << 20;

/// The byte order mark, in UTF-8. It says nothing, and stands before the first line only if files are not joined.
const BOM: &[u8] = "\u{feff}".as_bytes();

/// A line of input, as far as it could be understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Its number, from 1, counted over all lines, skipped ones too.
    pub line: u64,
    /// The caller's mark, echoed in the reply.
    pub id: Option<CommandId>,
    /// The command's name as it was given.
    pub cmd: Option<String>,
    /// Whether it may be answered out of order.
    pub is_async: bool,
    /// Whether its failure counts for `--check`.
    pub may_fail: bool,
    /// The command, or what is wrong with the line.
    pub body: Result<Command, ApiError>,
}

impl Request {
    /// Reads one line (without its newline). `None` if it is to be skipped: blank, or a comment.
    pub fn parse(line: u64, bytes: &[u8]) -> Option<Self> {
        // Some editors, and some shells' pipes, put it before what they write.
        let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes);
        match bytes.trim_ascii_start().first() {
            None | Some(b'#') => return None,
            Some(_) => {}
        }
        let mut request = Self::refused(line, ErrorCode::BadJson, "", Marks::default());
        request.body = request.read(bytes);
        Some(request)
    }

    /// The request that stands for a line which could not be read at all, but for its marks.
    pub fn refused(line: u64, code: ErrorCode, message: &str, marks: Marks) -> Self {
        let Marks { id, cmd, may_fail } = marks;
        let body = Err(ApiError::new(code, message));
        Self { line, id, cmd: cmd.as_deref().map(short), is_async: false, may_fail, body }
    }

    /// Reads the line's fields, and then the command that they make.
    fn read(&mut self, bytes: &[u8]) -> Result<Command, ApiError> {
        let (mut fields, torn) = match fields(bytes) {
            Ok(fields) => fields,
            Err(error) => {
                let Marks { id, cmd, may_fail } = Seeker::find(bytes);
                (self.id, self.cmd, self.may_fail) = (id, cmd.as_deref().map(short), may_fail);
                return Err(error);
            }
        };
        // Each part that can be read is kept, whatever is wrong with the rest.
        let cmd = fields.remove("cmd");
        let mut mark = |name: &str| fields.remove(name).filter(|value| !value.is_null());
        let (id, may_fail, is_async) = (mark("id"), mark("may_fail"), mark("async"));
        let is_torn = |name: &str| torn.iter().any(|it| it == name);
        if let Some(Value::String(name)) = cmd.as_ref().filter(|_| !is_torn("cmd")) {
            self.cmd = Some(short(name));
        }
        let id = id.filter(|_| !is_torn("id")).map(CommandId::read).transpose();
        let (may_fail, is_async) = (flag("may_fail", may_fail), flag("async", is_async));
        self.id = id.as_ref().ok().cloned().flatten();
        self.may_fail = may_fail.as_ref().is_ok_and(|on| *on);
        id?;
        may_fail?;
        self.is_async = is_async?;
        let may_be_torn = |name: &str| matches!(name, "text" | "meta") && self.cmd.as_deref() == Some("send");
        if let Some(name) = torn.iter().find(|name| !may_be_torn(name)) {
            let message = format!(
                "`{}` holds half of a surrogate pair (\\ud800 to \\udfff alone), which is no character; only in `text` and `meta` \
                 U+FFFD takes its place",
                short(name).escape_debug()
            );
            return Err(ApiError::new(ErrorCode::BadValue, message));
        }
        match cmd {
            Some(Value::String(name)) => Command::read(&name, fields),
            Some(_) => Err(ApiError::new(ErrorCode::BadType, "`cmd` takes a string: the name of a command")),
            None => Err(ApiError::new(ErrorCode::MissingField, "`cmd` is missing: which command?")),
        }
    }
}

/// As much of a name as a reply repeats.
fn short(name: &str) -> String {
    name.chars().take(MAX_NAME).collect()
}

fn flag(name: &str, value: Option<Value>) -> Result<bool, ApiError> {
    match value {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(value),
        Some(_) => Err(ApiError::new(ErrorCode::BadType, format!("`{name}` takes true or false"))),
    }
}

/// The fields of a line. Beside them the names of those that held half of a surrogate pair, or bear one themselves: U+FFFD has
/// taken its place.
fn fields(bytes: &[u8]) -> Result<(Map<String, Value>, Vec<String>), ApiError> {
    let fail = |code, message: String| Err(ApiError::new(code, message));
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => return fail(ErrorCode::BadUtf8, format!("not UTF-8 from byte {} on", e.valid_up_to() + 1)),
    };
    let (read, mended) = match serde_json::from_str::<Fields>(text) {
        Err(e) if e.is_syntax() => {
            let mended = mend_surrogates(text);
            (serde_json::from_str(&mended), matches!(mended, Cow::Owned(_)).then_some(mended))
        }
        read => (read, None),
    };
    let fields = match read {
        Ok(Fields(fields)) => fields,
        Err(e) if e.is_data() && e.to_string().starts_with("invalid type") => {
            let form = r#"a command is an object, such as {"cmd":"send","text":"hi"}"#;
            return fail(ErrorCode::NotAnObject, form.to_owned());
        }
        Err(e) => return fail(ErrorCode::BadJson, format!("not a JSON object on one line: {e}")),
    };
    Ok((fields, mended.map(|mended| torn(text, &mended)).unwrap_or_default()))
}

/// The names of the fields in which something was mended.
fn torn(line: &str, mended: &str) -> Vec<String> {
    let all = message::fields(mended.as_bytes()).unwrap_or_default();
    // Mending moves nothing: so a value stands where it stood.
    let is_whole = |value: &str| {
        let start = (value.as_ptr() as usize).checked_sub(mended.as_ptr() as usize);
        start.is_some_and(|start| line.get(start..start + value.len()) == Some(value))
    };
    all.into_iter()
        .filter(|(name, value)| name.contains('\u{fffd}') || !is_whole(value))
        .map(|(name, _)| name.into())
        .collect()
}

/// An object's fields, a key named twice being an error.
struct Fields(Map<String, Value>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Fields;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Fields, A::Error> {
                let mut fields = Map::new();
                while let Some((key, value)) = from.next_entry::<String, Value>()? {
                    if fields.contains_key(&key) {
                        return Err(de::Error::custom(format_args!("key `{key}` stands twice")));
                    }
                    fields.insert(key, value);
                }
                Ok(Fields(fields))
            }
        }
        from.deserialize_map(Read)
    }
}

/// Everything that is said of a command, for `help` and the schema.
pub struct CommandInfo {
    /// Its name.
    pub name: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    /// A line of input that works.
    pub example: &'static str,
    /// The schemas of its arguments and of its result.
    pub schemas: fn(&mut schemars::SchemaGenerator) -> (schemars::Schema, schemars::Schema),
}

macro_rules! commands {
    ($($variant:ident $name:literal $args:ident => $result:ty, $summary:literal, $example:literal;)*) => {
        /// A command, ready to run.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Command {
            $(#[doc = $summary] $variant($args),)*
        }

        impl Command {
            fn read(name: &str, fields: Map<String, Value>) -> Result<Self, ApiError> {
                match name {
                    $($name => take(fields).map(Self::$variant),)*
                    _ => Err(ApiError::new(
                        ErrorCode::UnknownCommand,
                        format!("no command `{}`; {{\"cmd\":\"help\"}} lists them", name.escape_debug()),
                    )),
                }
            }
        }

        /// The commands, in the order of the documentation.
        pub const COMMANDS: &[CommandInfo] = &[
            $(CommandInfo {
                name: $name,
                summary: $summary,
                example: $example,
                schemas: |schemas| (schemas.subschema_for::<$args>(), schemas.subschema_for::<$result>()),
            },)*
        ];
    };
}

commands! {
    Connect "connect" ConnectArgs => result::Connected,
        "dial a peer, and again whenever the link is lost",
        r#"{"cmd":"connect","addr":"127.0.0.1:5000"}"#;
    Disconnect "disconnect" DisconnectArgs => result::Disconnected,
        "close a link and dial it no more",
        r#"{"cmd":"disconnect","addr":"127.0.0.1:5000"}"#;
    Send "send" SendArgs => result::Sent,
        "send a message to a room",
        r#"{"cmd":"send","text":"hi","min_links":1,"id":1}"#;
    Room "room" RoomArgs => result::RoomChanged,
        "change the active room, or show it",
        r#"{"cmd":"room","name":"lounge"}"#;
    Rooms "rooms" NoArgs => result::Rooms,
        "list the rooms known here",
        r#"{"cmd":"rooms"}"#;
    Listen "listen" ListenArgs => result::Listening,
        "show these rooms beside the active one",
        r#"{"cmd":"listen","rooms":["ops","alerts"]}"#;
    Nick "nick" NickArgs => result::Renamed,
        "change the user name",
        r#"{"cmd":"nick","name":"Alice"}"#;
    Peers "peers" NoArgs => result::Peers,
        "list the neighbours",
        r#"{"cmd":"peers"}"#;
    Block "block" BlockArgs => result::Blocked,
        "keep a peer, an author or an address out",
        r#"{"cmd":"block","author":"5d0c7a52-1b64-4e0f-8a3d-6e2f9b1c4d70","for_ms":3600000}"#;
    Unblock "unblock" UnblockArgs => result::Unblocked,
        "end a block, or the ban of an address",
        r#"{"cmd":"unblock","author":"5d0c7a52-1b64-4e0f-8a3d-6e2f9b1c4d70"}"#;
    Blocks "blocks" NoArgs => result::Blocks,
        "list who is blocked or banned",
        r#"{"cmd":"blocks"}"#;
    VoiceJoin "voice_join" VoiceJoinArgs => result::VoiceJoined,
        "join the voice of a room",
        r#"{"cmd":"voice_join","room":"general"}"#;
    VoiceLeave "voice_leave" NoArgs => result::VoiceState,
        "leave voice",
        r#"{"cmd":"voice_leave"}"#;
    VoiceMute "voice_mute" NoArgs => result::VoiceState,
        "mute the microphone",
        r#"{"cmd":"voice_mute"}"#;
    VoiceUnmute "voice_unmute" NoArgs => result::VoiceState,
        "unmute the microphone",
        r#"{"cmd":"voice_unmute"}"#;
    VoicePeers "voice_peers" VoicePeersArgs => result::VoicePeers,
        "list the members of a voice room",
        r#"{"cmd":"voice_peers"}"#;
    VoiceGain "voice_gain" VoiceGainArgs => result::VoiceGain,
        "set how loud a member is heard",
        r#"{"cmd":"voice_gain","peer":"9b2f4c1e-8d53-4a6b-9c07-3f1e2d4b5a69","db":-6}"#;
    Devices "devices" NoArgs => result::Devices,
        "list microphones and speakers",
        r#"{"cmd":"devices"}"#;
    Key "key" KeyArgs => result::Keyed,
        "set or clear a room's passphrase",
        r#"{"cmd":"key","passphrase":"correct horse battery staple","room":"ops"}"#;
    History "history" HistoryArgs => result::History,
        "list messages that are kept",
        r#"{"cmd":"history","room":"general","limit":20}"#;
    Trace "trace" TraceArgs => result::Trace,
        "tell what became of a message here",
        r#"{"cmd":"trace","message":"0b7a3f52-6c1d-4e8f-a2b4-5d6e7f8091a2"}"#;
    Wait "wait" WaitArgs => result::Waited,
        "wait for an event",
        r#"{"cmd":"wait","event":"message","match":{"text":"yes"},"timeout_ms":60000}"#;
    Events "events" EventsArgs => result::Shown,
        "choose the events that are shown",
        r#"{"cmd":"events","show":["forwarded"],"hide":["peer_down"]}"#;
    Status "status" NoArgs => result::Status,
        "show counters, queues and bounds",
        r#"{"cmd":"status"}"#;
    Help "help" HelpArgs => result::Help,
        "list commands with their arguments and examples",
        r#"{"cmd":"help","of":"send"}"#;
    Exit "exit" NoArgs => result::Nothing,
        "end the node: links are drained first",
        r#"{"cmd":"exit"}"#;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Request {
        Request::parse(1, line.as_bytes()).expect("not skipped")
    }

    fn code(line: &str) -> ErrorCode {
        parse(line).body.expect_err(line).code
    }

    #[test]
    fn every_example_parses() {
        for info in COMMANDS {
            let request = parse(info.example);
            assert_eq!(request.cmd.as_deref(), Some(info.name));
            assert!(request.body.is_ok(), "{}: {:?}", info.example, request.body);
        }
    }

    #[test]
    fn blank_lines_and_comments_are_skipped() {
        for line in ["", "   ", "\t\r", "# a comment", "  #{\"cmd\":\"exit\"}", "\u{feff}", "\u{feff} # x"] {
            assert_eq!(Request::parse(1, line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn each_wrong_line_has_its_code() {
        use ErrorCode::*;
        for (line, expected) in [
            ("{", BadJson),
            ("{\"cmd\":\"exit\"} x", BadJson),
            ("{\"cmd\":\"exit\",\"cmd\":\"exit\"}", BadJson),
            ("{\"cmd\":\"send\",\"text\":\"\\ud800\"", BadJson),
            ("{\"cmd\":\"send\",\"text\":\"\",\"room\":\"\\ud800\"}", BadValue),
            ("{\"cmd\":\"send\",\"text\":\"\",\"\\udfff\":1}", BadValue),
            ("{\"cmd\":\"nick\",\"name\":\"\\ud83dx\"}", BadValue),
            ("{\"cmd\":\"wait\",\"event\":\"message\",\"match\":{\"text\":\"\\ud83d\"}}", BadValue),
            ("{\"cmd\":\"\\ud83d\"}", BadValue),
            ("{\"cmd\":\"exit\",\"id\":\"\\ud83d\"}", BadValue),
            ("{\"cmd\":NaN}", BadJson),
            ("[]", NotAnObject),
            ("17", NotAnObject),
            ("\"exit\"", NotAnObject),
            ("{}", MissingField),
            ("{\"cmd\":7}", BadType),
            ("{\"cmd\":\"nope\"}", UnknownCommand),
            ("{\"cmd\":\"send\"}", MissingField),
            ("{\"cmd\":\"send\",\"text\":7}", BadType),
            ("{\"cmd\":\"send\",\"text\":\"a\",\"room\":\"\"}", BadValue),
            ("{\"cmd\":\"send\",\"text\":\"a\",\"txt\":1}", UnknownField),
            ("{\"cmd\":\"send\",\"text\":\"a\",\"message\":\"x\"}", BadValue),
            ("{\"cmd\":\"send\",\"text\":\"a\",\"min_links\":-1}", BadValue),
            ("{\"cmd\":\"send\",\"text\":\"a\",\"timeout_ms\":99999999999}", BadValue),
            ("{\"cmd\":\"wait\",\"event\":\"nope\"}", BadValue),
            ("{\"cmd\":\"exit\",\"now\":true}", UnknownField),
            ("{\"cmd\":\"exit\",\"id\":[]}", BadType),
            ("{\"cmd\":\"exit\",\"async\":1}", BadType),
            ("{\"cmd\":\"key\"}", MissingField),
            ("{\"cmd\":\"key\",\"passphrase\":\"x\",\"scheme\":\"rot13\"}", UnknownScheme),
            ("{\"cmd\":\"key\",\"passphrase\":\"x\",\"scheme\":7}", BadType),
        ] {
            assert_eq!(code(line), expected, "{line}");
        }
        let wrong = Request::parse(1, b"{\"cmd\":\"send\",\"text\":\"\xff\"}").expect("not skipped");
        assert_eq!(wrong.body.expect_err("bad").code, BadUtf8);
    }

    #[test]
    fn a_wrong_line_keeps_its_name_and_mark() {
        let request = parse(r#"{"cmd":"send","id":"x","may_fail":true,"nonsense":1}"#);
        assert_eq!(request.cmd.as_deref(), Some("send"));
        assert_eq!(request.id, Some(CommandId::Text("x".into())));
        assert!(request.may_fail && request.body.is_err());
    }

    #[test]
    fn half_a_character_in_a_text_is_mended() {
        let request = parse(r#"{"cmd":"send","text":"a\ud83d","meta":{"\ude00":["\ud83d\ude00","\ud83dx"]},"id":1}"#);
        let Ok(Command::Send(send)) = request.body else { panic!("{:?}", request.body) };
        assert_eq!(send.text, "a\u{fffd}");
        let meta = serde_json::json!({ "\u{fffd}": ["\u{1f600}", "\u{fffd}x"] });
        assert_eq!(send.meta.map(Value::from), Some(meta));
    }

    #[test]
    fn a_line_that_is_refused_keeps_its_mark_whatever_is_wrong() {
        for line in [
            r#"{"cmd":"send","text":"say "hi"","id":7}"#,
            r#"{"cmd":"send","text":"a","text":"b","id":7}"#,
            r#"{"id":7,"cmd":"nick","name":"\ud83d"}"#,
            r#"{"id":7,"cmd":"nick","name":"\ud83d","async":7}"#,
            r#"{"id":7,"cmd":"nick","name":null}"#,
            r#"{"id":7,"cmd":7}"#,
            r#"{"id":7,"cmd":"send","text":"\x"}"#,
        ] {
            let request = parse(line);
            assert_eq!(request.id.map(|id| serde_json::json!(id)), Some(7.into()), "{line}");
            request.body.expect_err(line);
        }
        let request = Request::parse(1, b"{\"cmd\":\"send\",\"text\":\"\xff\",\"id\":7}").expect("not skipped");
        assert_eq!((request.id.is_some(), request.cmd.as_deref()), (true, Some("send")));
    }

    #[test]
    fn null_is_as_if_left_out_except_where_it_says_something() {
        for (line, same) in [
            (r#"{"cmd":"exit","id":null,"async":null,"may_fail":null}"#, r#"{"cmd":"exit"}"#),
            (
                r#"{"cmd":"send","text":"a","room":null,"min_links":null,"timeout_ms":null,"meta":null,"message":null}"#,
                r#"{"cmd":"send","text":"a"}"#,
            ),
            (
                r#"{"cmd":"wait","event":"message","match":null,"count":null,"after":null,"any":null}"#,
                r#"{"cmd":"wait","event":"message"}"#,
            ),
            (r#"{"cmd":"wait","any":[{"event":"bye","match":null}]}"#, r#"{"cmd":"wait","any":[{"event":"bye"}]}"#),
            (r#"{"cmd":"history","limit":1e2}"#, r#"{"cmd":"history","limit":100}"#),
            (r#"{"cmd":"send","text":"a","timeout_ms":1000.0}"#, r#"{"cmd":"send","text":"a","timeout_ms":1000}"#),
        ] {
            assert_eq!(parse(line), parse(same));
            parse(line).body.expect(line);
        }
        let Ok(Command::Key(key)) = parse(r#"{"cmd":"key","passphrase":null}"#).body else { panic!("no key") };
        assert_eq!(key.passphrase, None);
        let line = r#"{"cmd":"wait","event":"message","match":{"via":null}}"#;
        let Ok(Command::Wait(wait)) = parse(line).body else { panic!("no wait") };
        assert_eq!(wait.fields.get("via"), Some(&Value::Null));
    }

    #[test]
    fn every_argument_that_is_wrong_is_named() {
        for (line, name) in [
            (r#"{"cmd":"send","text":7}"#, "`text` takes a string"),
            (r#"{"cmd":"send","text":"a","room":"","id":1}"#, "`room` takes a name of 1 to 64 bytes"),
            (r#"{"cmd":"send","text":"a","message":"x"}"#, "`message` takes a UUID"),
            (r#"{"cmd":"send","text":"a","timeout_ms":1e12}"#, "`timeout_ms` takes a whole number from 0 to 86400000"),
            (r#"{"cmd":"send","text":"a","meta":[]}"#, "`meta` takes an object"),
            (r#"{"cmd":"wait","event":"nope"}"#, "`event` takes one of `ready`, `reply`"),
            (
                r#"{"cmd":"wait","event":"message","after":[]}"#,
                "`after` takes a number, or a string of at most 64 bytes, not a list",
            ),
            (r#"{"cmd":"wait","any":[{"event":"nope"}]}"#, "`any[0].event` takes one of"),
            (r#"{"cmd":"listen","rooms":["a",""]}"#, "`rooms[1]` takes a name"),
            (r#"{"cmd":"key","passphrase":"x","scheme":"rot13"}"#, "`scheme` takes one of `original`, `argon2id`"),
            (r#"{"cmd":"exit","id":true}"#, "`id` takes a number, or a string of at most 64 bytes, not true"),
            (
                r#"{"cmd":"send","text":"a","timeout_ms":"1"}"#,
                "`timeout_ms` takes a whole number from 0 to 86400000, not \"1\"",
            ),
            (r#"{"cmd":"history","limit":1001}"#, "`limit` takes a whole number from 1 to 1000, not 1001"),
            (
                r#"{"cmd":"wait","event":"message","count":1.5}"#,
                "`count` takes a whole number from 1 to 10000, not 1.5",
            ),
            (r#"{"cmd":"block","peer":"x","for_ms":0}"#, "`for_ms` takes a whole number from 1 to 31536000000, not 0"),
            (r#"{"cmd":"voice_gain","peer":"x","db":"loud"}"#, "`db` takes a number from -60 to 20, not \"loud\""),
            (r#"{"cmd":"exit","async":1}"#, "`async` takes true or false"),
        ] {
            let message = parse(line).body.expect_err(line).message;
            assert!(message.starts_with(name), "{message}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(parse("\u{feff}{\"cmd\":\"exit\"}"), parse("{\"cmd\":\"exit\"}"));
        assert_eq!(code("\u{feff}\u{feff}{\"cmd\":\"exit\"}"), ErrorCode::BadJson);
        assert!(parse("{\"cmd\":\"nick\",\"name\":\"\u{feff}\"}").body.is_ok());
    }

    #[test]
    fn a_carriage_return_does_not_matter() {
        assert!(parse("{\"cmd\":\"exit\"}\r").body.is_ok());
    }
}
