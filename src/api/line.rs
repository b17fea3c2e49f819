//! The one way JSON becomes output: no text of other people's may drive a terminal.
//!
//! JSON itself escapes what is below 0x20. Beside that, DEL and the C1 controls (0x7f to 0x9f) and the
//! bidirectional controls (U+202A to U+202E, U+2066 to U+2069) are written as `\uXXXX` wherever they stand.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// `value` as one line of JSON, without its newline, with every terminal control escaped.
///
/// Types of this crate always serialise; a failure would be a bug, and gives an empty object rather than a panic.
pub fn to_json(value: &impl Serialize) -> String {
    let mut bytes = Vec::with_capacity(256);
    serialise(value, &mut bytes);
    String::from_utf8(bytes).unwrap_or_else(|_| "{}".to_owned())
}

/// The same, written into a buffer that can be used again.
pub fn write_json<'b>(value: &impl Serialize, buffer: &'b mut Vec<u8>) -> &'b str {
    buffer.clear();
    serialise(value, buffer);
    std::str::from_utf8(buffer).unwrap_or("{}")
}

fn serialise(value: &impl Serialize, bytes: &mut Vec<u8>) {
    if value.serialize(&mut Serializer::with_formatter(&mut *bytes, SafeFormatter)).is_err() {
        bytes.clear();
        bytes.extend_from_slice(b"{}");
    }
}

/// `text` for a terminal: every control character as `\u{..}`, for logs and stderr.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_bidi_control(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

struct SafeFormatter;

impl Formatter for SafeFormatter {
    fn write_string_fragment<W: Write + ?Sized>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        escape(out, fragment)
    }

    /// JSON that is written as it came: such characters can only stand in its strings.
    fn write_raw_fragment<W: Write + ?Sized>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        escape(out, fragment)
    }
}

fn escape<W: Write + ?Sized>(out: &mut W, fragment: &str) -> io::Result<()> {
    // Everything to be escaped is 0x7f or starts with 0xc2 (C1) or 0xe2 (bidi): plain ASCII takes one look.
    if !fragment.bytes().any(|b| matches!(b, 0x7f | 0xc2 | 0xe2)) {
        return out.write_all(fragment.as_bytes());
    }
    let mut rest = fragment;
    while let Some((at, c)) = rest.char_indices().find(|&(_, c)| is_c1(c) || is_bidi_control(c)) {
        let (before, after) = rest.split_at(at);
        out.write_all(before.as_bytes())?;
        write!(out, "\\u{:04x}", u32::from(c))?;
        rest = after.get(c.len_utf8()..).unwrap_or_default();
    }
    out.write_all(rest.as_bytes())
}

const fn is_c1(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}')
}

const fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_escaped_and_come_back_the_same() {
        let nasty: String = (0..0x200).chain(0x2020..0x2070).filter_map(char::from_u32).collect();
        let line = to_json(&nasty);
        assert!(!line.chars().any(|c| c.is_control() || is_bidi_control(c)), "{line}");
        assert_eq!(serde_json::from_str::<String>(&line).expect("still JSON"), nasty);
    }

    #[test]
    fn json_that_came_from_elsewhere_is_escaped_too() {
        let raw = serde_json::value::RawValue::from_string("{\"a\u{202e}\":\"\u{9b}31m\"}".into()).expect("JSON");
        assert_eq!(to_json(&raw), r#"{"a\u202e":"\u009b31m"}"#);
    }

    #[test]
    fn other_text_is_left_as_it_is() {
        assert_eq!(to_json(&"Grüße, 世界 — …"), "\"Grüße, 世界 — …\"");
        assert_eq!(printable("a\x1b[31m\u{202e}b"), "a\\u{1b}[31m\\u{202e}b");
    }
}
