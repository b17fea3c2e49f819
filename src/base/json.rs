//! JSON, written: the same bytes that `serde_json` writes, in less time, since text that needs no escape is copied whole.
//!
//! With `SAFE`, what could drive a terminal is escaped as well: DEL and the C1 controls (0x7f to 0x9f) and the bidirectional
//! controls (U+202A to U+202E, U+2066 to U+2069). So is what some readers end a line at: U+0085, U+2028 and U+2029.

use serde::ser::{self, Error as _, Serialize};
use serde_json::Error;

/// Appends `value` to `out`.
///
/// # Errors
/// It can't be JSON. Then part of it may be appended.
pub fn write<const SAFE: bool>(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) -> Result<(), Error> {
    value.serialize(&mut Writer::<SAFE> { out, raw: false })
}

/// Whether a character drives a terminal or the direction of its text, or ends a line for some readers.
pub const fn is_unsafe(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a character takes no room, or moves what stands around it: the format characters of Unicode (Cf), fillers, and the
/// selectors that say nothing in any script. Text can be hidden with them, and made to look like another. Emoji are made with
/// U+FE0F, which hides nothing and so is none of them.
pub const fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
        | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

struct Writer<'o, const SAFE: bool> {
    out: &'o mut Vec<u8>,
    /// The next string is JSON already.
    raw: bool,
}

/// The name by which `serde_json` knows its `RawValue`. Were it another one day, a test would tell.
const RAW: &str = "$serde_json::private::RawValue";

/// 1 for a byte that may have to be escaped: with `SAFE` also one that begins such a character. (0xc2 begins C1, 0xe2 bidi
/// and separators.)
const fn odd<const SAFE: bool>(b: u8) -> u8 {
    let json = (b < 0x20) as u8 | (b == b'"') as u8 | (b == b'\\') as u8;
    if SAFE { json | (b == 0x7f) as u8 | (b == 0xc2) as u8 | (b == 0xe2) as u8 } else { json }
}

/// Whether all of a text can be copied. It looks at 16 bytes at once, in a form that becomes vector instructions.
fn is_plain<const SAFE: bool>(text: &[u8]) -> bool {
    let look = |found: [u8; 16], chunk: &[u8; 16]| std::array::from_fn(|i| found[i] | odd::<SAFE>(chunk[i]));
    match text.last_chunk() {
        // The last may be looked at in part for a second time.
        Some(last) => look(text.as_chunks().0.iter().fold([0; 16], look), last) == [0; 16],
        None => text.iter().all(|b| odd::<SAFE>(*b) == 0),
    }
}

impl<const SAFE: bool> Writer<'_, SAFE> {
    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn text(&mut self, text: &str) {
        self.out.reserve(text.len() + 2);
        self.out.push(b'"');
        if is_plain::<SAFE>(text.as_bytes()) {
            self.put(text)
        } else {
            self.escape(text, false)
        }
        self.out.push(b'"');
    }

    /// Text that is odd somewhere; `raw`: it is JSON already, and only what is unsafe is escaped.
    fn escape(&mut self, text: &str, raw: bool) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut rest = text;
        let is_escaped =
            |c: char| (!raw && (c < ' ' || c == '"' || c == '\\')) || (SAFE && c >= '\u{7f}' && is_unsafe(c));
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_escaped(*c)) {
            let (before, after) = rest.split_at(at);
            self.put(before);
            match c {
                '"' => self.put("\\\""),
                '\\' => self.put("\\\\"),
                '\u{8}' => self.put("\\b"),
                '\t' => self.put("\\t"),
                '\n' => self.put("\\n"),
                '\u{c}' => self.put("\\f"),
                '\r' => self.put("\\r"),
                _ => {
                    self.put("\\u");
                    let code = u32::from(c);
                    self.out.extend([12, 8, 4, 0].map(|shift| HEX[(code >> shift) as usize & 15]));
                }
            }
            rest = after.get(c.len_utf8()..).unwrap_or_default();
        }
        self.put(rest);
    }

    fn number(&mut self, n: u64) {
        let mut digits = [0_u8; 20];
        let mut rest = n;
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.out.extend_from_slice(digits.get(at..).unwrap_or_default());
    }

    /// A rare value, left to `serde_json`.
    fn rare(&mut self, value: impl Serialize) -> Result<(), Error> {
        serde_json::to_writer(&mut *self.out, &value)
    }

    /// `{"name":`, before the value of an enum's variant.
    fn variant(&mut self, name: &str) {
        self.put("{");
        self.text(name);
        self.put(":");
    }
}

impl<'w, 'o, const SAFE: bool> Writer<'o, SAFE> {
    fn compound(&'w mut self, open: &str, close: &'static str) -> Compound<'w, 'o, SAFE> {
        self.put(open);
        Compound { writer: self, is_first: true, close }
    }
}

impl<'w, 'o, const SAFE: bool> ser::Serializer for &'w mut Writer<'o, SAFE> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Compound<'w, 'o, SAFE>;
    type SerializeTuple = Compound<'w, 'o, SAFE>;
    type SerializeTupleStruct = Compound<'w, 'o, SAFE>;
    type SerializeTupleVariant = Compound<'w, 'o, SAFE>;
    type SerializeMap = Compound<'w, 'o, SAFE>;
    type SerializeStruct = Compound<'w, 'o, SAFE>;
    type SerializeStructVariant = Compound<'w, 'o, SAFE>;

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.put(if value { "true" } else { "false" });
        Ok(())
    }
    fn serialize_i8(self, n: i8) -> Result<(), Error> {
        self.serialize_i64(n.into())
    }
    fn serialize_i16(self, n: i16) -> Result<(), Error> {
        self.serialize_i64(n.into())
    }
    fn serialize_i32(self, n: i32) -> Result<(), Error> {
        self.serialize_i64(n.into())
    }
    fn serialize_i64(self, n: i64) -> Result<(), Error> {
        if n < 0 {
            self.put("-");
        }
        self.number(n.unsigned_abs());
        Ok(())
    }
    fn serialize_i128(self, n: i128) -> Result<(), Error> {
        self.rare(n)
    }
    fn serialize_u8(self, n: u8) -> Result<(), Error> {
        self.serialize_u64(n.into())
    }
    fn serialize_u16(self, n: u16) -> Result<(), Error> {
        self.serialize_u64(n.into())
    }
    fn serialize_u32(self, n: u32) -> Result<(), Error> {
        self.serialize_u64(n.into())
    }
    fn serialize_u64(self, n: u64) -> Result<(), Error> {
        self.number(n);
        Ok(())
    }
    fn serialize_u128(self, n: u128) -> Result<(), Error> {
        self.rare(n)
    }
    fn serialize_f32(self, n: f32) -> Result<(), Error> {
        self.rare(n)
    }
    fn serialize_f64(self, n: f64) -> Result<(), Error> {
        self.rare(n)
    }
    fn serialize_char(self, c: char) -> Result<(), Error> {
        self.text(c.encode_utf8(&mut [0; 4]));
        Ok(())
    }
    fn serialize_str(self, text: &str) -> Result<(), Error> {
        match std::mem::take(&mut self.raw) {
            false => self.text(text),
            true if SAFE => self.escape(text, true),
            true => self.put(text),
        }
        Ok(())
    }
    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Error> {
        self.collect_seq(bytes)
    }
    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), Error> {
        self.put("null");
        Ok(())
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Result<(), Error> {
        self.serialize_str(name)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.variant(name);
        value.serialize(&mut *self)?;
        self.put("}");
        Ok(())
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Error> {
        Ok(self.compound("[", "]"))
    }
    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Error> {
        Ok(self.compound("[", "]"))
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Error> {
        Ok(self.compound("[", "]"))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        self.variant(name);
        Ok(self.compound("[", "]}"))
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Error> {
        Ok(self.compound("{", "}"))
    }
    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Self::SerializeStruct, Error> {
        self.raw = name == RAW;
        Ok(if self.raw { self.compound("", "") } else { self.compound("{", "}") })
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        self.variant(name);
        Ok(self.compound("{", "}}"))
    }
}

/// An array or an object, as far as it is written.
struct Compound<'w, 'o, const SAFE: bool> {
    writer: &'w mut Writer<'o, SAFE>,
    is_first: bool,
    close: &'static str,
}

impl<const SAFE: bool> Compound<'_, '_, SAFE> {
    fn comma(&mut self) {
        if !std::mem::take(&mut self.is_first) {
            self.writer.out.push(b',');
        }
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.comma();
        value.serialize(&mut *self.writer)
    }

    /// A field of a struct of ours: nothing in its name has to be escaped.
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        debug_assert!(is_plain::<SAFE>(name.as_bytes()), "{name}");
        if !self.writer.raw {
            let out = &mut *self.writer.out;
            out.reserve(name.len() + 4);
            if !std::mem::take(&mut self.is_first) {
                out.push(b',');
            }
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
        }
        value.serialize(&mut *self.writer)
    }

    fn close(self) {
        self.writer.put(self.close);
    }
}

macro_rules! compound {
    ($($of:ident $method:ident($($key:ident)?) $with:ident;)*) => {
        $(impl<const SAFE: bool> ser::$of for Compound<'_, '_, SAFE> {
            type Ok = ();
            type Error = Error;
            fn $method<T: Serialize + ?Sized>(&mut self, $($key: &'static str,)? value: &T) -> Result<(), Error> {
                self.$with($($key,)? value)
            }
            fn end(self) -> Result<(), Error> {
                self.close();
                Ok(())
            }
        })*
    };
}

compound! {
    SerializeSeq serialize_element() element;
    SerializeTuple serialize_element() element;
    SerializeTupleStruct serialize_field() element;
    SerializeTupleVariant serialize_field() element;
    SerializeStruct serialize_field(key) field;
    SerializeStructVariant serialize_field(key) field;
}

impl<const SAFE: bool> ser::SerializeMap for Compound<'_, '_, SAFE> {
    type Ok = ();
    type Error = Error;

    /// A key is a string: numbers, true and false become one.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.comma();
        let start = self.writer.out.len();
        key.serialize(&mut *self.writer)?;
        match self.writer.out.get(start) {
            Some(b'"') => {}
            Some(b'-' | b'0'..=b'9' | b't' | b'f') => {
                self.writer.out.insert(start, b'"');
                self.writer.put("\"");
            }
            _ => return Err(Error::custom("a key is no string")),
        }
        self.writer.put(":");
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
