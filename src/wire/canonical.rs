//! A JSON value as bytes that are the same however it was written: what a signature is over.
//!
//! A relay may read a message and write it anew, as the original does: the order of an object's members, white space,
//! escapes and the spelling of numbers may change, what they mean does not. So what counts is what a reader decodes:
//!
//! | value | bytes: a tag, then |
//! |---|---|
//! | `null`, `false`, `true` | nothing |
//! | a number in digits alone, nearer to 0 than 2⁶⁴; any other whose nearest double has no fraction and is nearer to 0 than 2⁶⁴ | 1 if it is below 0, else 0; its magnitude, 8 bytes |
//! | any other number | the nearest IEEE 754 double, 8 bytes |
//! | a string | its length in bytes of UTF-8, 4 bytes; the UTF-8 |
//! | an array | how many values, 4 bytes; each value |
//! | an object | how many members, 4 bytes; each member's key (as a string without its tag) and value, by the keys' bytes |
//!
//! All numbers are big-endian. An integer beyond 64 bits counts as the nearest double, since many a reader takes it for
//! one; a number too large for a double, a string with a lone surrogate and an object that names a key twice mean different
//! things to different readers, and have no bytes here.

use std::borrow::Cow;
use std::ops::Range;

use super::limits::MAX_DEPTH;

const NULL: u8 = b'0';
const FALSE: u8 = b'f';
const TRUE: u8 = b't';
const INTEGER: u8 = b'i';
const DOUBLE: u8 = b'd';
const STRING: u8 = b's';
const ARRAY: u8 = b'a';
const OBJECT: u8 = b'o';

/// Appends a value, given as valid JSON. `None` if it has no bytes, or is no JSON after all: then part of it is appended.
pub fn value(json: &str, out: &mut Vec<u8>) -> Option<()> {
    let mut reader = Reader { json, at: 0 };
    reader.value(0, out)?;
    reader.next().is_none().then_some(())
}

/// Appends the names and values of an object's members, in their order, but for those that are left out. Gives their names. `None` as for
/// [`value`]. What `json` is, its author knows: of what is no JSON, only part may be noticed.
pub fn members<'j>(json: &'j str, is_out: impl Fn(&str) -> bool, out: &mut Vec<u8>) -> Option<Vec<Cow<'j, str>>> {
    let mut reader = Reader { json, at: 0 };
    let mut names = Vec::with_capacity(16);
    if reader.next()? != b'{' {
        return None;
    }
    reader.at += 1;
    if reader.next()? != b'}' {
        loop {
            reader.next()?;
            let start = out.len();
            let name = reader.string()?;
            if reader.next()? != b':' {
                return None;
            }
            reader.at += 1;
            text(&name, out)?;
            reader.value(0, out)?;
            if is_out(&name) {
                out.truncate(start);
            } else {
                names.push(name);
            }
            if reader.next()? != b',' {
                break;
            }
            reader.at += 1;
        }
    }
    (reader.next()? == b'}').then_some(())?;
    reader.at += 1;
    reader.next().is_none().then_some(names)
}

/// Appends a text: its length, then itself.
pub fn text(text: &str, out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(&u32::try_from(text.len()).ok()?.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
    Some(())
}

/// The meaning of a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// No fraction, and nearer to 0 than 2⁶⁴.
    Integer {
        /// Below 0.
        negative: bool,
        /// How far from 0.
        magnitude: u64,
    },
    /// Any other.
    Double(f64),
}

impl Number {
    /// Reads a JSON number. `None` if it is too large for a double, or no number.
    pub fn read(json: &str) -> Option<Self> {
        let digits = json.strip_prefix('-').unwrap_or(json);
        if digits.bytes().all(|b| b.is_ascii_digit())
            && let Ok(magnitude) = digits.parse()
        {
            return Some(Self::Integer { negative: digits.len() < json.len() && magnitude != 0, magnitude });
        }
        // Rounded correctly, as every reader that takes doubles does.
        let double: f64 = json.parse().ok().filter(|it: &f64| it.is_finite())?;
        Some(if double.fract() == 0.0 && double.abs() < TWO_TO_64 {
            Self::Integer { negative: double < 0.0, magnitude: double.abs() as u64 }
        } else {
            Self::Double(double)
        })
    }
}

const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;

/// Walks JSON that is known to be valid. If it is not, nothing worse comes of it than `None` or odd bytes.
struct Reader<'j> {
    json: &'j str,
    at: usize,
}

impl<'j> Reader<'j> {
    /// The next byte that is no white space.
    fn next(&mut self) -> Option<u8> {
        let rest = self.json.as_bytes().get(self.at..)?;
        let blanks = rest.iter().position(|b| !b.is_ascii_whitespace())?;
        self.at += blanks;
        rest.get(blanks).copied()
    }

    fn value(&mut self, depth: usize, out: &mut Vec<u8>) -> Option<()> {
        match self.next()? {
            b'"' => {
                out.push(STRING);
                return text(&self.string()?, out);
            }
            b'{' if depth < MAX_DEPTH => return self.object(depth, out),
            b'[' if depth < MAX_DEPTH => return self.array(depth, out),
            b'{' | b'[' => return None,
            _ => {}
        }
        let rest = self.json.get(self.at..)?;
        let word = rest.split(|c: char| matches!(c, ',' | ']' | '}') || c.is_ascii_whitespace()).next()?;
        self.at += word.len();
        match word {
            "null" => out.push(NULL),
            "false" => out.push(FALSE),
            "true" => out.push(TRUE),
            number => match Number::read(number)? {
                Number::Integer { negative, magnitude } => {
                    out.extend_from_slice(&[INTEGER, u8::from(negative)]);
                    out.extend_from_slice(&magnitude.to_be_bytes());
                }
                Number::Double(double) => {
                    out.push(DOUBLE);
                    out.extend_from_slice(&double.to_bits().to_be_bytes());
                }
            },
        }
        Some(())
    }

    /// The string that begins here, decoded.
    fn string(&mut self) -> Option<Cow<'j, str>> {
        let rest = self.json.get(self.at..)?.strip_prefix('"')?;
        // As a rule nothing is escaped. To look for two single bytes is faster than to look at each.
        let quote = rest.find('"')?;
        let plain = rest.get(..quote)?;
        if !plain.contains('\\') {
            self.at += quote + 2;
            return Some(Cow::Borrowed(plain));
        }
        let mut escaped = false;
        let end = rest.bytes().position(|b| {
            let ends = b == b'"' && !escaped;
            escaped = b == b'\\' && !escaped;
            ends
        })?;
        let whole = self.json.get(self.at..self.at + end + 2)?;
        self.at += whole.len();
        // A lone surrogate is no string to it.
        serde_json::from_str(whole).ok().map(Cow::Owned)
    }

    fn array(&mut self, depth: usize, out: &mut Vec<u8>) -> Option<()> {
        out.push(ARRAY);
        let count_at = out.len();
        out.extend_from_slice(&[0; 4]);
        let mut count = 0_u32;
        self.at += 1;
        if self.next()? != b']' {
            loop {
                self.value(depth + 1, out)?;
                count = count.checked_add(1)?;
                if self.next()? != b',' {
                    break;
                }
                self.at += 1;
            }
        }
        self.at += 1;
        out.get_mut(count_at..count_at + 4)?.copy_from_slice(&count.to_be_bytes());
        Some(())
    }

    fn object(&mut self, depth: usize, out: &mut Vec<u8>) -> Option<()> {
        out.push(OBJECT);
        let count_at = out.len();
        out.extend_from_slice(&[0; 4]);
        let start = out.len();
        let mut members: Vec<(Cow<'j, str>, Range<usize>)> = Vec::new();
        self.at += 1;
        if self.next()? != b'}' {
            loop {
                self.next()?;
                let key = self.string()?;
                if self.next()? != b':' {
                    return None;
                }
                self.at += 1;
                let from = out.len();
                text(&key, out)?;
                self.value(depth + 1, out)?;
                members.push((key, from..out.len()));
                if self.next()? != b',' {
                    break;
                }
                self.at += 1;
                self.next()?;
            }
        }
        self.at += 1;
        out.get_mut(count_at..start)?.copy_from_slice(&u32::try_from(members.len()).ok()?.to_be_bytes());
        if members.windows(2).all(|pair| matches!(pair, [a, b] if a.0 < b.0)) {
            return Some(());
        }
        members.sort_by(|a, b| a.0.cmp(&b.0));
        if members.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
            return None;
        }
        let unsorted = out.split_off(start);
        for (_, range) in &members {
            out.extend_from_slice(unsorted.get(range.start - start..range.end - start)?);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(json: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        value(json, &mut out).map(|()| out)
    }

    #[test]
    fn what_means_the_same_has_the_same_bytes() {
        for group in [
            &["0", "-0", "0.0", "-0.0", "0e7", "0.000E-3"][..],
            &["1000", "1e3", "1.0e3", "1000.0", "10000e-1", "0.1E+4"],
            &["-7", "-7.0", "-70e-1"],
            &["0.1", "1e-1", "0.10000000000000000555", "100e-3"],
            &["18446744073709551616", "1.8446744073709551616e19", "18446744073709551617"],
            &["\"aé😀\\n\"", "\"\\u0061\\u00e9\\ud83d\\uDE00\\u000a\"", "\"a\\u00E9😀\\n\""],
            &["\"\\/\\\\\\\"\"", "\"/\\u005c\\u0022\""],
            &["[]", "[ ]", " [\n] "],
            &["{\"a\":1,\"b\":[2,{}]}", " { \"b\" : [ 2.0 , { } ] , \"\\u0061\":1e0 } "],
        ] {
            let first = bytes(group[0]).expect(group[0]);
            for other in group {
                assert_eq!(bytes(other).as_ref(), Some(&first), "{other}");
            }
        }
    }

    #[test]
    fn what_means_something_else_has_other_bytes() {
        let all = [
            "null",
            "false",
            "true",
            "0",
            "1",
            "-1",
            "0.5",
            "1e-300",
            "18446744073709551615",
            "18446744073709551616",
            "9007199254740993",
            "9007199254740992",
            "-18446744073709551615",
            "\"\"",
            "\"0\"",
            "\"null\"",
            "\"a\"",
            "\"A\"",
            "\"\\u0000\"",
            "[]",
            "[[]]",
            "[[],[]]",
            "[\"\"]",
            "[0]",
            "[\"a\",\"b\"]",
            "[\"ab\"]",
            "[[\"a\"],\"b\"]",
            "{}",
            "[{}]",
            "{\"\":0}",
            "{\"a\":{}}",
            "{\"a\":{},\"b\":0}",
            "{\"a\":{\"b\":0}}",
        ];
        for (i, a) in all.iter().enumerate() {
            for b in &all[..i] {
                assert_ne!(bytes(a).expect(a), bytes(b).expect(b), "{a} and {b}");
            }
        }
    }

    #[test]
    fn what_readers_differ_about_has_none() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        for json in [
            "1e400",
            "-1e400",
            "\"\\ud800\"",
            "[\"a\\udc00b\"]",
            "{\"\\ud800\":1}",
            "{\"a\":1,\"a\":1}",
            "{\"a\":1,\"b\":2,\"\\u0061\":1}",
            "[{\"x\":[{\"a\":1,\"a\":2}]}]",
            &deep(MAX_DEPTH + 1),
        ] {
            assert_eq!(bytes(json), None, "{json}");
        }
        assert!(bytes(&deep(MAX_DEPTH)).is_some());
    }

    #[test]
    fn what_is_no_json_does_no_harm() {
        for json in [
            "",
            " ",
            "\"",
            "\"\\",
            "\"\\\"",
            "[",
            "[1",
            "[1,",
            "{",
            "{1",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1,",
            "é",
            "-",
            "nul",
            "1 2",
            "[1]x",
            ",",
            "{\"a\",1}",
            "{,}",
            "[,]",
        ] {
            assert_eq!(bytes(json), None, "{json}");
        }
    }
}
