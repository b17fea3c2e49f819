//! Limits on JSON: how deep it nests, and which numbers it has.
//!
//! `serde_json` decides whether a text is JSON. The functions here check nesting and numbers once more, for values that would hurt
//! another reader of the network: Python's parser gives up on deep nesting and on very long integers.

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
