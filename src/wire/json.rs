//! Limits on JSON: how deep it nests, and which numbers it has. And halves of characters in its strings, mended.
//!
//! `serde_json` decides whether a text is JSON. The functions here check nesting and numbers once more, for values that would hurt
//! another reader of the network: Python's parser gives up on deep nesting and on very long integers.

use std::borrow::Cow;

use super::limits::{MAX_DEPTH, MAX_NUMBER};

/// How deep the arrays and objects of a valid JSON text are nested; 0 for a plain value.
pub fn depth(json: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut deepest = 0;
    outside_strings(json, |b| {
        match b {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    });
    deepest
}

/// Whether a valid JSON value that stands in a message's object keeps the limits on depth and numbers.
pub fn within_limits(json: &[u8]) -> bool {
    match json.first() {
        Some(b'{' | b'[') => depth(json) < MAX_DEPTH && longest_number(json) <= MAX_NUMBER,
        Some(b'-' | b'0'..=b'9') => json.len() <= MAX_NUMBER,
        _ => true,
    }
}

fn longest_number(json: &[u8]) -> usize {
    let mut run = 0_usize;
    let mut longest = 0;
    outside_strings(json, |b| {
        run = if matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E') { run + 1 } else { 0 };
        longest = longest.max(run);
    });
    longest
}

/// JSON with each surrogate that stands alone as U+FFFD: `\\ud83d` without the other half of its pair is no character, though
/// JavaScript writes it when it cuts an emoji in two, and Python for a byte that is not UTF-8.
pub fn mend_surrogates(json: &str) -> Cow<'_, str> {
    let mut mended = Cow::Borrowed(json);
    let mut at = 0;
    while let Some(found) = json.get(at..).and_then(|rest| rest.find('\\')) {
        at += found;
        at += match (code_unit(json, at), code_unit(json, at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                mended.to_mut().replace_range(at..at + 6, "\\ufffd");
                6
            }
            (Some(_), _) => 6,
            (None, _) => 2,
        };
    }
    mended
}

/// The UTF-16 code unit that is escaped at a place.
fn code_unit(json: &str, at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
}

/// JSON as it can stand in a line: without line breaks between its values, and every character of it whole.
pub fn on_one_line(json: &str) -> String {
    let mended = mend_surrogates(json);
    // Inside strings such characters are escaped; else it would be no JSON.
    mended.replace(['\n', '\r'], " ")
}

/// Calls `look` with each byte that is not inside a string.
fn outside_strings(json: &[u8], mut look: impl FnMut(u8)) {
    let mut in_string = false;
    let mut escaped = false;
    for &b in json {
        match (in_string, escaped, b) {
            (true, true, _) => escaped = false,
            (true, false, b'\\') => escaped = true,
            (true, false, b'"') => in_string = false,
            (true, false, _) => {}
            (false, _, b'"') => {
                in_string = true;
                look(b);
            }
            (false, _, b) => look(b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_strings() {
        assert_eq!(depth(b"17"), 0);
        assert_eq!(depth(br#"{"a":[1,[2]],"b":"[[[[\"[[["}"#), 3);
        assert_eq!(depth(b"[[],[],[]]"), 2);
    }

    #[test]
    fn halves_of_pairs_are_mended_one_by_one() {
        for (came, mended) in [
            (r#""plain""#, r#""plain""#),
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""\ude00\uD83D""#, r#""\ufffd\ufffd""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\uD83D\ud83d\ude00x""#, r#""\ufffd\ud83d\ude00x""#),
            (r#""\\ud83d\\\ud83d""#, r#""\\ud83d\\\ufffd""#),
            (r#"{"a\udfff":["\ud83d\n","\u0061\ud83d"]}"#, r#"{"a\ufffd":["\ufffd\n","\u0061\ufffd"]}"#),
            (r#""\ud83d\u"#, r#""\ufffd\u"#),
            ("\\é\\ud83d", "\\é\\ud83d"),
        ] {
            assert_eq!(mend_surrogates(came), mended);
        }
        assert!(matches!(mend_surrogates(r#""\ud83d\ude00""#), Cow::Borrowed(_)));
    }

    #[test]
    fn json_on_one_line_says_the_same() {
        assert_eq!(on_one_line("{\n\"a\\n\":\r\n 1.50}"), "{ \"a\\n\":   1.50}");
    }

    #[test]
    fn limits_hold_at_their_edges() {
        let nested = |n: usize| [b"[".repeat(n), b"]".repeat(n)].concat();
        assert!(within_limits(&nested(MAX_DEPTH - 1)));
        assert!(!within_limits(&nested(MAX_DEPTH)));
        assert!(within_limits("1".repeat(MAX_NUMBER).as_bytes()));
        assert!(!within_limits("1".repeat(MAX_NUMBER + 1).as_bytes()));
        assert!(!within_limits(format!("[\"x\",{}]", "1".repeat(MAX_NUMBER + 1)).as_bytes()));
        assert!(within_limits(format!("[\"{}\"]", "1".repeat(MAX_NUMBER + 1)).as_bytes()));
    }
}
