//! A command's arguments, taken out of JSON. An error names the argument, and says what it takes.
//!
//! Two things are taken more kindly than `serde_json` does: an argument that is null counts as left out, and a number is whole if
//! its value is, however it is written (`1000.0`, `1e3`).

use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Expected, IntoDeserializer, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::{Map, Value};

use super::error::{ApiError, ErrorCode};

/// The arguments for which null is a value of its own.
const NULL_COUNTS: &[&str] = &["passphrase"];
/// The most of a wrong value that an error repeats, in characters.
const MAX_SHOWN: usize = 40;

/// Takes a command's arguments.
///
/// # Errors
/// One of them is missing, unknown or wrong.
pub fn take<T: DeserializeOwned>(arguments: Map<String, Value>) -> Result<T, ApiError> {
    let nulls: Vec<String> = arguments.iter().filter(|(_, it)| it.is_null()).map(|(name, _)| name.clone()).collect();
    let wrong = match T::deserialize(Taken(Value::Object(arguments))) {
        Ok(taken) => return Ok(taken),
        Err(wrong) => wrong,
    };
    // One that is needed was given, though as null: that is another mistake than to leave it out.
    let null = nulls.into_iter().find(|name| wrong.missing == Some(name));
    match null {
        Some(name) => Err(ApiError::new(ErrorCode::BadType, format!("`{name}` is needed, and can't be null"))),
        None => Err(ApiError::new(wrong.code, wrong.to_string())),
    }
}

/// Takes a whole number within a range.
///
/// # Errors
/// It is another value.
pub fn whole_within<'de, D: de::Deserializer<'de>>(from: D, range: RangeInclusive<u64>) -> Result<u64, D::Error> {
    let value = Value::deserialize(from)?;
    let takes = format!("a whole number from {} to {}", range.start(), range.end());
    match whole(&value) {
        Some(n) => match u64::try_from(n).ok().filter(|n| range.contains(n)) {
            Some(n) => Ok(n),
            None => Err(de::Error::custom(format_args!("takes {takes}, not {}", shown(&value)))),
        },
        None => Err(wrong_type(&value, &takes)),
    }
}

/// Takes a number; `takes` says which.
///
/// # Errors
/// It is another value.
pub fn number<'de, D: de::Deserializer<'de>>(from: D, takes: &str) -> Result<f64, D::Error> {
    let value = Value::deserialize(from)?;
    value.as_f64().ok_or_else(|| wrong_type(&value, takes))
}

fn wrong_type<E: de::Error>(value: &Value, takes: &str) -> E {
    E::invalid_type(Unexpected::Other(&shown(value)), &takes)
}

/// The mistake, and its place.
#[derive(Debug, PartialEq)]
struct Wrong {
    code: ErrorCode,
    /// The place in the arguments, as in `any[0].event`; empty for the whole.
    place: String,
    says: String,
    /// The argument that is missing.
    missing: Option<&'static str>,
}

impl Wrong {
    fn new(code: ErrorCode, says: impl fmt::Display) -> Self {
        Self { code, place: String::new(), says: says.to_string(), missing: None }
    }

    fn takes(code: ErrorCode, takes: impl fmt::Display, value: &Value) -> Self {
        Self::new(code, format_args!("takes {takes}, not {}", shown(value)))
    }

    /// The same, seen from a step further out.
    fn inside(mut self, step: &str) -> Self {
        let dot = if self.place.is_empty() || self.place.starts_with('[') { "" } else { "." };
        self.place = format!("{step}{dot}{}", self.place);
        self.missing = None;
        self
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.place.escape_debug(), self.code) {
            (_, _) if self.place.is_empty() => f.write_str(&self.says),
            (place, ErrorCode::MissingField | ErrorCode::UnknownField) => write!(f, "`{place}`: {}", self.says),
            (place, _) => write!(f, "`{place}` {}", self.says),
        }
    }
}

impl std::error::Error for Wrong {}

impl de::Error for Wrong {
    /// The word of a type of ours on a value: it begins with "takes".
    fn custom<T: fmt::Display>(says: T) -> Self {
        Self::new(ErrorCode::BadValue, says)
    }

    fn invalid_type(found: Unexpected<'_>, takes: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Map => "an object".to_owned(),
            Unexpected::Unit => "null".to_owned(),
            Unexpected::Bool(on) => on.to_string(),
            other => other.to_string(),
        };
        Self::new(ErrorCode::BadType, format_args!("takes {takes}, not {found}"))
    }

    fn missing_field(name: &'static str) -> Self {
        Self { missing: Some(name), ..Self::new(ErrorCode::MissingField, format_args!("missing field `{name}`")) }
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        let name = name.escape_debug();
        let says = match known {
            [] => format!("unknown field `{name}`, there are no arguments"),
            _ => format!("unknown field `{name}`, expected {}", one_of(known)),
        };
        Self::new(ErrorCode::UnknownField, says)
    }
}

fn one_of(names: &[&str]) -> String {
    let all = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() < 2 { all } else { format!("one of {all}") }
}

/// A value in an error.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        value => {
            let json = value.to_string();
            match json.char_indices().nth(MAX_SHOWN) {
                Some((end, _)) => format!("{}…", json.get(..end).unwrap_or_default()),
                None => json,
            }
        }
    }
}

/// A value on its way to the type that takes it.
struct Taken(Value);

impl<'de> IntoDeserializer<'de, Wrong> for Taken {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! whole {
    ($($method:ident $type:ident $visit:ident;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            let takes = match ($type::MIN, $type::MAX) {
                (min, $type::MAX) if $type::BITS > 32 => format!("a whole number from {min}"),
                (min, max) => format!("a whole number from {min} to {max}"),
            };
            match whole(&self.0) {
                Some(n) => match $type::try_from(n) {
                    Ok(n) => visitor.$visit(n),
                    Err(_) => Err(Wrong::takes(ErrorCode::BadValue, takes, &self.0)),
                },
                None => Err(Wrong::takes(ErrorCode::BadType, takes, &self.0)),
            }
        })*
    };
}

/// The whole number that a value is, however it is written. Beyond 128 bits it is only known to be large.
fn whole(value: &Value) -> Option<i128> {
    let number = value.as_number()?;
    if let Some(n) = number.as_i128() {
        return Some(n);
    }
    let n = number.as_f64()?;
    // The conversion stops at the ends of the range.
    (n.fract() == 0.0).then_some(n as i128)
}

impl<'de> de::Deserializer<'de> for Taken {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(on) => visitor.visit_bool(on),
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => Taken(Value::Array(items)).deserialize_seq(visitor),
            Value::Object(fields) => Taken(Value::Object(fields)).deserialize_map(visitor),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(n), _, _) => visitor.visit_u64(n),
                (_, Some(n), _) => visitor.visit_i64(n),
                (_, _, Some(n)) => visitor.visit_f64(n),
                _ => Err(Wrong::takes(ErrorCode::BadValue, "a number of 64 bits", &Value::Number(number))),
            },
        }
    }

    whole! {
        deserialize_i8 i8 visit_i8;
        deserialize_i16 i16 visit_i16;
        deserialize_i32 i32 visit_i32;
        deserialize_i64 i64 visit_i64;
        deserialize_u8 u8 visit_u8;
        deserialize_u16 u16 visit_u16;
        deserialize_u32 u32 visit_u32;
        deserialize_u64 u64 visit_u64;
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0.as_f64() {
            Some(n) => visitor.visit_f64(n),
            None => Err(Wrong::takes(ErrorCode::BadType, "a number", &self.0)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Bool(on) => visitor.visit_bool(on),
            other => Err(Wrong::takes(ErrorCode::BadType, "true or false", &other)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::String(text) => visitor.visit_string(text),
            other => Err(Wrong::takes(ErrorCode::BadType, "a string", &other)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(Items(items.into_iter().enumerate())),
            other => Err(Wrong::takes(ErrorCode::BadType, "a list", &other)),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Object(fields) => visitor.visit_map(Fields { left: fields.into_iter(), next: None }),
            other => Err(Wrong::takes(ErrorCode::BadType, "an object", &other)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        if let Value::Object(fields) = &mut self.0 {
            let counts = |name: &str| NULL_COUNTS.contains(&name) || !known.contains(&name);
            fields.retain(|name, value| !value.is_null() || counts(name));
        }
        self.deserialize_map(visitor)
    }

    /// A name out of a list of them.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        kind: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match &self.0 {
            Value::String(name) if names.contains(&name.as_str()) => {
                visitor.visit_enum(name.as_str().into_deserializer())
            }
            Value::String(_) if kind == "Scheme" => Err(Wrong::takes(ErrorCode::UnknownScheme, one_of(names), &self.0)),
            Value::String(_) => Err(Wrong::takes(ErrorCode::BadValue, one_of(names), &self.0)),
            other => Err(Wrong::takes(ErrorCode::BadType, one_of(names), other)),
        }
    }

    forward_to_deserialize_any! {
        i128 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

/// The items of a list.
struct Items(std::iter::Enumerate<std::vec::IntoIter<Value>>);

impl<'de> de::SeqAccess<'de> for Items {
    type Error = Wrong;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        let Some((index, item)) = self.0.next() else { return Ok(None) };
        seed.deserialize(Taken(item)).map(Some).map_err(|wrong| wrong.inside(&format!("[{index}]")))
    }
}

/// The fields of an object.
struct Fields {
    left: serde_json::map::IntoIter,
    next: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for Fields {
    type Error = Wrong;

    fn next_key_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        let Some((name, value)) = self.left.next() else { return Ok(None) };
        let key = seed.deserialize(name.as_str().into_deserializer());
        self.next = Some((name, value));
        key.map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Wrong> {
        let (name, value) = self.next.take().unwrap_or_default();
        seed.deserialize(Taken(value)).map_err(|wrong| wrong.inside(&name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Colour {
        Red,
        Green,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Arguments {
        needed: String,
        #[serde(default)]
        count: u32,
        #[serde(default)]
        large: u64,
        #[serde(default)]
        signed: i8,
        #[serde(default)]
        loud: f64,
        #[serde(default)]
        on: bool,
        colour: Option<Colour>,
        list: Option<Vec<Inner>>,
        #[serde(default)]
        anything: Map<String, Value>,
        #[serde(default, deserialize_with = "Option::deserialize")]
        passphrase: Option<String>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        deep: Option<u8>,
    }

    fn taken(mut arguments: Value) -> Result<Arguments, (ErrorCode, String)> {
        arguments["needed"] = json!("");
        let Value::Object(arguments) = arguments else { panic!("an object") };
        take(arguments).map_err(|e| (e.code, e.message))
    }

    #[test]
    fn null_is_as_if_left_out() {
        let all = json!({ "count": null, "large": null, "loud": null, "on": null, "colour": null, "list": null,
            "anything": null, "passphrase": null });
        assert_eq!(taken(all), taken(json!({})));
        let kept = taken(json!({ "anything": { "a": null }, "list": [{ "deep": null }] })).expect("right");
        assert_eq!((kept.anything["a"].clone(), kept.list), (Value::Null, Some(vec![Inner { deep: None }])));
        let missing = take::<Arguments>(Map::from_iter([("needed".to_owned(), Value::Null)])).expect_err("needed");
        assert_eq!((missing.code, &*missing.message), (ErrorCode::BadType, "`needed` is needed, and can't be null"));
        assert_eq!(take::<Arguments>(Map::new()).expect_err("needed").code, ErrorCode::MissingField);
    }

    #[test]
    fn a_number_is_whole_if_its_value_is() {
        for (json, count) in [("1000.0", 1000), ("1e3", 1000), ("0.1e1", 1), ("-0.0", 0), ("4294967295.0", u32::MAX)] {
            let value: Value = serde_json::from_str(json).expect(json);
            assert_eq!(taken(json!({ "count": value })).expect(json).count, count, "{json}");
        }
        let exact = taken(json!({ "large": u64::MAX, "signed": -128.0, "loud": 3 })).expect("right");
        assert_eq!((exact.large, exact.signed, exact.loud), (u64::MAX, -128, 3.0));
    }

    #[test]
    fn values_of_any_type_come_through_as_they_are() {
        let anything = json!({ "a": [1, 2.0, -3, u64::MAX, 1e300, null, true, "x", { "b": {} }] });
        assert_eq!(json!(taken(json!({ "anything": anything })).expect("right").anything), anything);
    }

    #[test]
    fn an_error_names_the_argument_and_what_it_takes() {
        use ErrorCode::*;
        for (arguments, code, message) in [
            (json!({ "needless": 1 }), UnknownField, "unknown field `needless`, expected one of `needed`, `count`"),
            (json!({ "needless": null }), UnknownField, "unknown field `needless`"),
            (json!({ "count": "1" }), BadType, "`count` takes a whole number from 0 to 4294967295, not \"1\""),
            (json!({ "count": 1.5 }), BadType, "`count` takes a whole number from 0 to 4294967295, not 1.5"),
            (json!({ "count": -1 }), BadValue, "`count` takes a whole number from 0 to 4294967295, not -1"),
            (json!({ "large": 1e300 }), BadValue, "`large` takes a whole number from 0, not 1e+300"),
            (json!({ "signed": 128 }), BadValue, "`signed` takes a whole number from -128 to 127, not 128"),
            (json!({ "loud": [] }), BadType, "`loud` takes a number, not a list"),
            (json!({ "on": 1 }), BadType, "`on` takes true or false, not 1"),
            (json!({ "colour": "blue" }), BadValue, "`colour` takes one of `red`, `green`, not \"blue\""),
            (json!({ "colour": {} }), BadType, "`colour` takes one of `red`, `green`, not an object"),
            (json!({ "list": {} }), BadType, "`list` takes a list, not an object"),
            (json!({ "list": [{}, 7] }), BadType, "`list[1]` takes an object, not 7"),
            (
                json!({ "list": [{ "deep": 256 }] }),
                BadValue,
                "`list[0].deep` takes a whole number from 0 to 255, not 256",
            ),
            (json!({ "list": [{ "x": 1 }] }), UnknownField, "`list[0]`: unknown field `x`, expected `deep`"),
            (json!({ "anything": 7 }), BadType, "`anything` takes an object, not 7"),
            (json!({ "passphrase": "x".repeat(99).as_bytes() }), BadType, "`passphrase` takes a string, not a list"),
            (json!({ "on": "é".repeat(99) }), BadType, "`on` takes true or false, not \"ééé"),
        ] {
            let (found, says) = taken(arguments.clone()).expect_err("wrong");
            assert_eq!(found, code, "{arguments}");
            assert!(says.starts_with(message) && says.len() < 200, "{says}, not {message}");
        }
    }
}
