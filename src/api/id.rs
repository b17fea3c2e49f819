//! The mark that a caller gives a command, to know its reply by.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Number, Value};

use super::error::{ApiError, ErrorCode};
use super::name::MAX_NAME;

/// The caller's mark of a command: a string of at most 64 bytes, or a number.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum CommandId {
    /// A number, echoed as it was given if it fits 64 bits.
    Number(Number),
    /// A string.
    Text(String),
}

/// The form of one, for errors.
const FORM: &str = "a number, or a string of at most 64 bytes";

impl CommandId {
    /// Reads what stands in a line as `id`.
    pub(super) fn read(value: Value) -> Result<Self, ApiError> {
        let (code, found) = match value {
            Value::Number(n) => return Ok(Self::Number(n)),
            Value::String(s) if s.len() <= MAX_NAME => return Ok(Self::Text(s)),
            Value::String(s) => (ErrorCode::BadValue, format!("one of {} bytes", s.len())),
            Value::Array(_) => (ErrorCode::BadType, "a list".to_owned()),
            Value::Object(_) => (ErrorCode::BadType, "an object".to_owned()),
            other => (ErrorCode::BadType, other.to_string()),
        };
        Err(ApiError::new(code, format!("`id` takes {FORM}, not {found}")))
    }
}

impl<'de> Deserialize<'de> for CommandId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl de::Visitor<'_> for Read {
            type Value = CommandId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(FORM)
            }
            fn visit_u64<E>(self, n: u64) -> Result<CommandId, E> {
                Ok(CommandId::Number(n.into()))
            }
            fn visit_i64<E>(self, n: i64) -> Result<CommandId, E> {
                Ok(CommandId::Number(n.into()))
            }
            fn visit_f64<E: de::Error>(self, n: f64) -> Result<CommandId, E> {
                let number = Number::from_f64(n).map(CommandId::Number);
                number.ok_or_else(|| E::invalid_value(de::Unexpected::Float(n), &self))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<CommandId, E> {
                match text.len() <= MAX_NAME {
                    true => Ok(CommandId::Text(text.to_owned())),
                    false => Err(E::custom(format_args!("takes {FORM}, this one has {}", text.len()))),
                }
            }
        }
        from.deserialize_any(Read)
    }
}
