//! The one way JSON becomes output: no text of other people's may drive a terminal.
//!
//! JSON itself escapes what is below 0x20. Beside that, DEL and the C1 controls (0x7f to 0x9f), the separators of lines and
//! paragraphs (U+2028, U+2029) and the bidirectional controls (U+202A to U+202E, U+2066 to U+2069) are written as `\uXXXX`
//! wherever they stand. On stderr, which people read, so is all that can't be seen.

use serde::Serialize;

use crate::base::json::{self, is_invisible, is_unsafe};

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
    if json::write::<true>(value, bytes).is_err() {
        bytes.clear();
        bytes.extend_from_slice(b"{}");
    }
}

/// `text` for a terminal: every character that controls it, or can't be seen, as `\u{..}`, for logs and stderr.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_unsafe(c) || is_invisible(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_escaped_and_come_back_the_same() {
        let nasty: String = (0..0x200).chain(0x2020..0x2070).filter_map(char::from_u32).collect();
        let line = to_json(&nasty);
        assert!(!line.chars().any(|c| c.is_control() || is_unsafe(c)), "{line}");
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
        assert_eq!(to_json(&"a\u{2028}b\u{2029}c\u{85}"), r#""a\u2028b\u2029c\u0085""#);
        assert_eq!(to_json(&"👩\u{200d}🚀\u{feff}"), "\"👩\u{200d}🚀\u{feff}\"");
        let hidden = "pay\u{200b}pal \u{ad}\u{e0041}\u{feff}\u{2060}\u{3164}\u{206a}";
        let seen = r"pay\u{200b}pal \u{ad}\u{e0041}\u{feff}\u{2060}\u{3164}\u{206a}";
        assert_eq!(printable(hidden), seen);
        assert_eq!(printable("né ❤\u{fe0f} 世界 \u{301}"), "né ❤\u{fe0f} 世界 \u{301}");
        assert_eq!(printable("a\x1b[31m\u{202e}b"), "a\\u{1b}[31m\\u{202e}b");
    }
}
