//! A frame to a view of its fields, which borrows from it; and the patch that a relay makes in its bytes.
//!
//! A relayed frame is not decoded and encoded again: one look finds where each known field stands, and the copy that
//! goes on differs from the one that came in its `ttl` alone. So fields that we don't know survive byte for byte.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::frame::PREFIX;
use super::json;
use super::limits::{MAX_META, MAX_NAME, MAX_TEXT, MAX_TTL};

/// Why a frame is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Not JSON, no object, a key of ours twice, a field missing or of the wrong type.
    Malformed,
    /// Well-formed, but over a limit.
    OverLimit,
}

/// The names of the fields that a relay changes, or adds.
const TTL: &str = "ttl";
const TTL0: &str = "ttl0";

macro_rules! fields {
    ($($(#[doc = $doc:literal])* $field:ident $name:literal)*) => {
        /// The known fields of a message, each where it stands in the frame.
        #[derive(Debug, Default, Clone, Copy)]
        pub struct View<'a> {
            bytes: &'a [u8],
            unknown: usize,
            $($(#[doc = $doc])* pub $field: Field<'a>,)*
        }

        enum Key { $(#[allow(non_camel_case_types, reason = "named as the field")] $field,)* Other }

        impl<'de> Deserialize<'de> for Key {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Read;
                impl Visitor<'_> for Read {
                    type Value = Key;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a key")
                    }
                    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
                        Ok(match key { $($name => Key::$field,)* _ => Key::Other })
                    }
                }
                from.deserialize_identifier(Read)
            }
        }

        impl<'a> View<'a> {
            /// The field of a name; `None` if this version knows none of that name.
            pub fn field(&self, name: &str) -> Option<Field<'a>> {
                match name { $($name => Some(self.$field),)* _ => None }
            }

            /// The names of the known fields that are there.
            pub fn present(&self) -> impl Iterator<Item = &'static str> {
                let all = [$(($name, self.$field.is_some()),)*];
                all.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name)
            }

            fn set(&mut self, key: Key, value: &'a RawValue) -> bool {
                let field = match key {
                    $(Key::$field => &mut self.$field,)*
                    Key::Other => {
                    self.unknown += 1;
                    return true;
                } };
                field.0.replace(value.get()).is_none()
            }
        }
    };
}

fields! {
    /// Its type.
    kind "type"
    /// Its id, by which it is taken once.
    id "id"
    /// The node id of its author.
    from "from"
    /// The author's user name.
    username "username"
    /// The room.
    room "room"
    /// The text.
    msg "msg"
    /// The text, encrypted with the original's scheme.
    encrypted_msg "encrypted_msg"
    /// `meta`, the same.
    encrypted_meta "encrypted_meta"
    /// The text, sealed with the strong scheme.
    sealed_msg "sealed_msg"
    /// `meta`, the same.
    sealed_meta "sealed_meta"
    /// The author's time.
    ts "ts"
    /// Forwards left.
    ttl "ttl"
    /// The `ttl` it started with.
    ttl0 "ttl0"
    /// The object that its sender attached.
    meta "meta"
    /// In a hello: the fields of level 2.
    ours "p2p_chat"
    /// In `ping` and `pong`: which.
    nonce "nonce"
    /// In `confirm` and `confirmed`: which message.
    message "message"
    /// In `confirmed`: whether it was taken.
    taken "taken"
    /// In `voice_join`: the address for datagrams.
    udp_host "udp_host"
    /// In `voice_join`: its port.
    udp_port "udp_port"
    /// In `voice_mute_status`: whether the member is muted.
    muted "muted"
    /// In `voice_join`, `voice_leave` and `voice_mute_status`: what is ours.
    voice "voice"
    /// The author's signature: see [`signed`](super::signed).
    sig "sig"
}

/// A field's value, as the JSON text that stands in the frame.
#[derive(Debug, Default, Clone, Copy)]
pub struct Field<'a>(Option<&'a str>);

/// The value of `ttl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ttl {
    /// So many forwards are left, clamped to [`MAX_TTL`].
    Left(u8),
    /// Absent, not an integer, or below 1: not passed on.
    None,
}

impl<'a> Field<'a> {
    /// Whether it is there.
    pub const fn is_some(self) -> bool {
        self.0.is_some()
    }

    /// Its JSON text.
    pub const fn json(self) -> Option<&'a str> {
        self.0
    }

    /// A string, borrowed if nothing in it is escaped. A lone surrogate makes it malformed.
    pub fn string(self) -> Result<Cow<'a, str>, Refusal> {
        let json = self.0.ok_or(Refusal::Malformed)?;
        let plain = json.strip_prefix('"').and_then(|s| s.strip_suffix('"')).ok_or(Refusal::Malformed)?;
        if !has_escapes(plain.as_bytes()) {
            return Ok(Cow::Borrowed(plain));
        }
        serde_json::from_str(json).map(Cow::Owned).map_err(|_| Refusal::Malformed)
    }

    /// A name: a string of 1 to 64 bytes.
    pub fn name(self) -> Result<Cow<'a, str>, Refusal> {
        let name = self.string()?;
        if (1..=MAX_NAME).contains(&name.len()) { Ok(name) } else { Err(Refusal::OverLimit) }
    }

    /// A name, or nothing if it is absent or null.
    pub fn name_if_any(self) -> Result<Option<Cow<'a, str>>, Refusal> {
        self.0.filter(|json| *json != "null").map(|_| self.name()).transpose()
    }

    /// A text, in which a lone surrogate (a Python terminal that was not UTF-8) becomes U+FFFD.
    pub fn text(self) -> Result<Cow<'a, str>, Refusal> {
        let text = match self.string() {
            Ok(text) => text,
            Err(refusal) => {
                let json = self.0.filter(|json| json.starts_with('"')).ok_or(refusal)?;
                Cow::Owned(serde_json::from_str(&json::mend_surrogates(json)).map_err(|_| refusal)?)
            }
        };
        if text.len() <= MAX_TEXT { Ok(text) } else { Err(Refusal::OverLimit) }
    }

    /// The author's time: a string or a number of at most 64 bytes, as text; empty if absent.
    pub fn time(self) -> Result<Cow<'a, str>, Refusal> {
        match self.0 {
            None => Ok(Cow::Borrowed("")),
            Some(json) if json.starts_with('"') => {
                let ts = self.string()?;
                if ts.len() <= MAX_NAME { Ok(ts) } else { Err(Refusal::OverLimit) }
            }
            Some(json) if json.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => Ok(Cow::Borrowed(json)),
            Some(_) => Err(Refusal::Malformed),
        }
    }

    /// `meta`: an object of at most 1 KiB; null is as if absent.
    pub fn object(self) -> Result<Option<&'a str>, Refusal> {
        match self.0 {
            None | Some("null") => Ok(None),
            Some(json) if !json.starts_with('{') => Err(Refusal::Malformed),
            Some(json) if json.len() > MAX_META => Err(Refusal::OverLimit),
            Some(json) => Ok(Some(json)),
        }
    }

    /// Forwards.
    pub fn ttl(self) -> Ttl {
        let Some(json) = self.0 else { return Ttl::None };
        if json.is_empty() || !json.bytes().all(|b| b.is_ascii_digit()) {
            return Ttl::None;
        }
        // Digits alone can only fail to parse by being too many.
        match json.parse::<u64>().unwrap_or(u64::MAX) {
            0 => Ttl::None,
            n => Ttl::Left(u8::try_from(n).unwrap_or(MAX_TTL).min(MAX_TTL)),
        }
    }

    /// An integer from 0.
    pub fn number(self) -> Option<u64> {
        self.0?.parse().ok()
    }

    /// True or false.
    pub fn boolean(self) -> Option<bool> {
        self.0?.parse().ok()
    }
}

impl<'a> View<'a> {
    /// Looks at a frame. What is not a JSON object is malformed, and so is one that names a known key twice.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        // Looked at as a whole: serde_json would look at each field by itself, which takes three times as long.
        let text = std::str::from_utf8(bytes).map_err(|_| Refusal::Malformed)?;
        let mut from = serde_json::Deserializer::from_str(text);
        let (mut view, over_limit) = Self::read(&mut from).map_err(|_| Refusal::Malformed)?;
        from.end().map_err(|_| Refusal::Malformed)?;
        view.bytes = bytes;
        if over_limit { Err(Refusal::OverLimit) } else { Ok(view) }
    }

    fn read<D: Deserializer<'a>>(from: D) -> Result<(Self, bool), D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = (View<'de>, bool);
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
                let mut view = View::default();
                let mut over_limit = false;
                while let Some(key) = from.next_key::<Key>()? {
                    let value: &'de RawValue = from.next_value()?;
                    over_limit |= !json::within_limits(value.get().as_bytes());
                    if !view.set(key, value) {
                        return Err(A::Error::custom("a key stands twice"));
                    }
                }
                Ok((view, over_limit))
            }
        }
        from.deserialize_map(Read)
    }

    /// How many fields it has that this version does not know.
    pub const fn unknown(&self) -> usize {
        self.unknown
    }

    /// The frame.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many links it has crossed when it comes from a neighbour, and the `ttl0` that says so further on.
    ///
    /// A level 1 message has no `ttl0`: the first node of ours that it reaches counts as the first hop, and adds it.
    pub fn hops(&self, left: u8) -> (u32, u8) {
        let ttl0 = match self.ttl0.ttl() {
            Ttl::Left(ttl0) if ttl0 >= left => ttl0,
            _ => left,
        };
        (u32::from(ttl0 - left) + 1, ttl0)
    }

    /// Appends the frame as it goes on: length and all, `ttl` replaced (added if there is none), `ttl0` added or put
    /// right, every other byte as it came. The object must not be empty.
    pub fn relay(&self, ttl: u8, ttl0: u8, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; PREFIX]);
        let new_ttl0 = (self.ttl0.json().and_then(|json| json.parse().ok()) != Some(ttl0)).then_some(ttl0);
        let mut edits = Edits { bytes: self.bytes, at: 0, out };
        let (ttl_at, ttl0_at) = (self.place(self.ttl), self.place(self.ttl0));
        match (ttl_at, ttl0_at, new_ttl0) {
            (Some(at), Some(at0), Some(new)) if at0.start < at.start => {
                edits.replace(at0, &[Token::Number(new)]);
                edits.replace(at, &[Token::Number(ttl)]);
            }
            (Some(at), Some(at0), Some(new)) => {
                edits.replace(at, &[Token::Number(ttl)]);
                edits.replace(at0, &[Token::Number(new)]);
            }
            (Some(at), None, Some(new)) => {
                edits.replace(at, &[Token::Number(ttl), Token::Text(",\"ttl0\":"), Token::Number(new)]);
            }
            (Some(at), _, None) => edits.replace(at, &[Token::Number(ttl)]),
            (None, at0, new) => {
                if let (Some(at0), Some(new)) = (at0, new) {
                    edits.replace(at0, &[Token::Number(new)]);
                }
                let end = self.bytes.iter().rposition(|&b| b == b'}').unwrap_or(self.bytes.len());
                edits.replace(end..end, &[Token::Text(",\"ttl\":"), Token::Number(ttl)]);
                if !self.ttl0.is_some() {
                    edits.replace(end..end, &[Token::Text(",\"ttl0\":"), Token::Number(ttl0)]);
                }
            }
        }
        edits.finish();
        let length = u32::try_from(out.len() - start - PREFIX).unwrap_or(u32::MAX);
        if let Some(prefix) = out.get_mut(start..start + PREFIX) {
            prefix.copy_from_slice(&length.to_be_bytes());
        }
    }

    /// The length of the frame as [`relay`](Self::relay) would write it, without the length before it.
    pub fn relayed_len(&self, ttl: u8, ttl0: u8) -> usize {
        let digits = |n: u8| n.checked_ilog10().map_or(1, |log| log as usize + 1);
        let grown = |field: Field<'_>, name: &str, new: u8| match field.json() {
            // A comma, the name in quotes, a colon.
            None => (0, name.len() + 4 + digits(new)),
            Some(json) if name == TTL0 && json.parse() == Ok(new) => (json.len(), json.len()),
            Some(json) => (json.len(), digits(new)),
        };
        let changes = [grown(self.ttl, TTL, ttl), grown(self.ttl0, TTL0, ttl0)];
        changes.iter().fold(self.bytes.len(), |length, (gone, added)| length - gone + added)
    }

    /// Where a field's value stands in the frame.
    fn place(&self, field: Field<'_>) -> Option<Range<usize>> {
        let value = field.0?;
        let start = (value.as_ptr() as usize).checked_sub(self.bytes.as_ptr() as usize)?;
        Some(start..start + value.len())
    }
}

/// All fields of a message, known or not, in their order: names and JSON texts. `None` if it is no JSON object.
pub fn fields(bytes: &[u8]) -> Option<Vec<(Cow<'_, str>, &str)>> {
    struct All<'a>(Vec<(Cow<'a, str>, &'a str)>);
    impl<'de> Deserialize<'de> for All<'de> {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            struct Read;
            impl<'de> Visitor<'de> for Read {
                type Value = All<'de>;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
                    let mut all = Vec::new();
                    while let Some(Name(name)) = from.next_key()? {
                        all.push((name, from.next_value::<&RawValue>()?.get()));
                    }
                    Ok(All(all))
                }
            }
            from.deserialize_map(Read)
        }
    }
    #[derive(serde::Deserialize)]
    struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_slice::<All<'_>>(bytes).ok().map(|all| all.0)
}

enum Token {
    Text(&'static str),
    Number(u8),
}

/// Copies bytes with some of them replaced, in order.
struct Edits<'b, 'o> {
    bytes: &'b [u8],
    at: usize,
    out: &'o mut Vec<u8>,
}

impl Edits<'_, '_> {
    fn replace(&mut self, at: Range<usize>, with: &[Token]) {
        self.out.extend_from_slice(self.bytes.get(self.at..at.start).unwrap_or_default());
        for token in with {
            match token {
                Token::Text(text) => self.out.extend_from_slice(text.as_bytes()),
                Token::Number(n) => {
                    if *n >= 100 {
                        self.out.push(b'0' + n / 100);
                    }
                    if *n >= 10 {
                        self.out.push(b'0' + n / 10 % 10);
                    }
                    self.out.push(b'0' + n % 10);
                }
            }
        }
        self.at = at.end;
    }

    fn finish(self) {
        self.out.extend_from_slice(self.bytes.get(self.at..).unwrap_or_default());
    }
}

/// Whether a frame that is malformed may have looked like an object to an original, which then passes it on in good faith:
/// Python reads `NaN`, for one.
pub fn may_be_an_originals_object(frame: &[u8]) -> bool {
    std::str::from_utf8(frame).is_ok_and(|text| {
        let text = text.trim();
        text.starts_with('{') && text.ends_with('}')
    })
}

/// Whether a text is one JSON value and nothing else.
pub fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

/// Whether there is a backslash. It looks at 16 bytes at once, in a form that becomes vector instructions.
fn has_escapes(text: &[u8]) -> bool {
    let look = |found: [bool; 16], chunk: &[u8; 16]| std::array::from_fn(|i| found[i] | (chunk[i] == b'\\'));
    match text.last_chunk() {
        // The last may be looked at in part for a second time.
        Some(last) => look(text.as_chunks().0.iter().fold([false; 16], look), last) != [false; 16],
        None => text.contains(&b'\\'),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn view(json: &str) -> View<'_> {
        View::parse(json.as_bytes()).unwrap_or_else(|e| panic!("{json}: {e:?}"))
    }

    fn relayed(json: &str, ttl: u8, ttl0: u8) -> String {
        let mut out = Vec::new();
        view(json).relay(ttl, ttl0, &mut out);
        let (length, body) = out.split_at(PREFIX);
        assert_eq!(view(json).relayed_len(ttl, ttl0), body.len(), "{json}");
        assert_eq!(u32::from_be_bytes(length.try_into().expect("4")) as usize, body.len());
        String::from_utf8(body.to_vec()).expect("UTF-8")
    }

    #[test]
    fn a_relay_changes_ttl_and_nothing_else() {
        for (came, goes) in [
            (r#"{"ttl":5,"id":"a"}"#, r#"{"ttl":4,"ttl0":5,"id":"a"}"#),
            (r#"{"id":"a","ttl": 10 ,"ttl0":32 }"#, r#"{"id":"a","ttl": 4 ,"ttl0":5 }"#),
            (r#"{"id":"a","ttl0":5,"x":{"ttl":9},"ttl":5}"#, r#"{"id":"a","ttl0":5,"x":{"ttl":9},"ttl":4}"#),
            (r#"{"ttl0":"no","ttl":5, "é":1.50e+3}"#, r#"{"ttl0":5,"ttl":4, "é":1.50e+3}"#),
            (r#"{"id":"a"}"#, r#"{"id":"a","ttl":4,"ttl0":5}"#),
            (r#"{"id":"a","ttl0":7} "#, r#"{"id":"a","ttl0":5,"ttl":4} "#),
        ] {
            assert_eq!(relayed(came, 4, 5), goes);
        }
        assert_eq!(relayed(r#"{"ttl":200}"#, 31, 32), r#"{"ttl":31,"ttl0":32}"#);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100_000))]

        #[test]
        fn a_relayed_message_differs_in_ttl_alone(
            before in "[a-z]{0,5}", text in ".{0,40}", ttl in 1_u8..=32, gap in "[ \n\t]{0,3}", first in any::<bool>(),
        ) {
            let text = serde_json::to_string(&text).expect("text");
            let ours = format!("\"ttl\":{gap}{ttl}{gap}");
            let theirs = format!("\"x{before}\":{gap}{text}");
            let body = if first { format!("{ours},{theirs}") } else { format!("{theirs},{ours}") };
            let came = format!("{gap}{{{body}}}{gap}");
            let mut expected: Value = serde_json::from_str(&came).expect("JSON");
            expected["ttl"] = json!(ttl - 1);
            expected["ttl0"] = json!(32);
            let goes = relayed(&came, ttl - 1, 32);
            prop_assert_eq!(serde_json::from_str::<Value>(&goes).expect("JSON"), expected);
            prop_assert!(goes.contains(&theirs), "{} in {}", theirs, goes);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = View::parse(&bytes);
        }

        #[test]
        fn no_json_makes_it_panic(text in r#"\{("(id|ttl|msg|ts|meta)":("[a\\"u0-9]{0,4}"|[-0-9.e]{1,5}|\{\}|null),?){0,4}\}"#) {
            if let Ok(view) = View::parse(text.as_bytes()) {
                let _ = (view.id.name(), view.msg.text(), view.ts.time(), view.meta.object(), view.ttl.ttl());
                let mut out = Vec::new();
                view.relay(1, 2, &mut out);
                prop_assert_eq!(out.len(), PREFIX + view.relayed_len(1, 2));
            }
        }
    }

    #[test]
    fn ttl_of_every_kind() {
        for (json, ttl) in [
            ("1", Ttl::Left(1)),
            ("32", Ttl::Left(32)),
            ("33", Ttl::Left(32)),
            ("99999999999999999999999", Ttl::Left(32)),
            ("0", Ttl::None),
            ("-1", Ttl::None),
            ("5.0", Ttl::None),
            ("1e1", Ttl::None),
            ("\"5\"", Ttl::None),
            ("null", Ttl::None),
            ("true", Ttl::None),
            ("[5]", Ttl::None),
        ] {
            assert_eq!(view(&format!("{{\"ttl\":{json}}}")).ttl.ttl(), ttl, "{json}");
        }
        assert_eq!(view("{}").ttl.ttl(), Ttl::None);
    }

    #[test]
    fn hops_are_counted_from_the_first_node_of_ours() {
        assert_eq!(view(r#"{"ttl":32,"ttl0":32}"#).hops(32), (1, 32));
        assert_eq!(view(r#"{"ttl":30,"ttl0":32}"#).hops(30), (3, 32));
        assert_eq!(view(r#"{"ttl":5}"#).hops(5), (1, 5));
        assert_eq!(view(r#"{"ttl":5,"ttl0":2}"#).hops(5), (1, 5));
        assert_eq!(view(r#"{"ttl":5,"ttl0":"x"}"#).hops(5), (1, 5));
    }

    #[test]
    fn odd_json_is_refused_as_what_it_is() {
        use Refusal::*;
        let deep = |n: usize| format!("{{\"x\":{}{}}}", "[".repeat(n), "]".repeat(n));
        for (json, refusal) in [
            ("", Malformed),
            ("[]", Malformed),
            ("7", Malformed),
            ("{\"id\":\"a\",\"id\":\"b\"}", Malformed),
            ("{\"a\":NaN}", Malformed),
            ("{\"a\":1}x", Malformed),
            ("{\"a\":1,}", Malformed),
            ("{\"a\":01}", Malformed),
            (&deep(16), OverLimit),
            (&deep(100_000), OverLimit),
            (&format!("{{\"x\":{}}}", "7".repeat(65)), OverLimit),
        ] {
            assert_eq!(View::parse(json.as_bytes()).err(), Some(refusal), "{:.40}", json);
        }
        assert!(View::parse(deep(15).as_bytes()).is_ok());
        assert_eq!(View::parse(b"{\"a\":\"\xff\"}").err(), Some(Malformed));
        assert_eq!(View::parse(b"{\"\xff\":1}").err(), Some(Malformed));
    }

    #[test]
    fn escapes_are_found_wherever_they_stand() {
        for length in 0..70 {
            let mut text = vec![b'a'; length];
            assert!(!has_escapes(&text));
            for at in 0..length {
                text[at] = b'\\';
                assert!(has_escapes(&text), "{at} of {length}");
                text[at] = b'a';
            }
        }
    }

    #[test]
    fn what_is_no_utf8_is_malformed_wherever_it_stands() {
        for frame in
            [&b"{\"id\":\"\xff\"}"[..], b"{\"\xff\":1}", b"{\"unknown\":[\"\xc3\"]}", b"{\"id\":\"x\"}\xff", b"\xff{}"]
        {
            assert_eq!(View::parse(frame).err(), Some(Refusal::Malformed), "{frame:?}");
        }
    }

    #[test]
    fn strings_and_their_limits() {
        let long = format!("{{\"id\":\"{}\"}}", "a".repeat(65));
        assert_eq!(view(&long).id.name(), Err(Refusal::OverLimit));
        assert_eq!(view(r#"{"id":""}"#).id.name(), Err(Refusal::OverLimit));
        assert_eq!(view(r#"{"id":7}"#).id.name(), Err(Refusal::Malformed));
        assert_eq!(view(r#"{"id":"\ud800"}"#).id.name(), Err(Refusal::Malformed));
        assert_eq!(view(r#"{"id":"a\u0062"}"#).id.name().as_deref(), Ok("ab"));
        assert_eq!(view(r#"{"msg":"a\ud800b"}"#).msg.text().as_deref(), Ok("a\u{fffd}b"));
        assert_eq!(
            view(r#"{"msg":"\udcff\udcfe\ud83d\ude00"}"#).msg.text().as_deref(),
            Ok("\u{fffd}\u{fffd}\u{1f600}")
        );
        assert_eq!(view(r#"{"ts":1.5}"#).ts.time().as_deref(), Ok("1.5"));
        assert_eq!(view(r#"{"ts":true}"#).ts.time(), Err(Refusal::Malformed));
    }
}
