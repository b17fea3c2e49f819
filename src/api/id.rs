//! The mark that a caller gives a command, to know its reply by.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::{ApiError, ErrorCode};
use super::name::MAX_NAME;

/// The caller's mark of a command: a string of at most 64 bytes, or a number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CommandId {
    /// A number, echoed as it was given if it fits 64 bits.
    Number(serde_json::Number),
    /// A string.
    Text(String),
}

impl CommandId {
    /// Reads what stands in a line as `id`.
    pub(super) fn read(value: Value) -> Result<Self, ApiError> {
        match value {
            Value::Number(n) => Ok(Self::Number(n)),
            Value::String(s) if s.len() <= MAX_NAME => Ok(Self::Text(s)),
            Value::String(_) => Err(ApiError::new(ErrorCode::BadValue, "`id` is longer than 64 bytes")),
            _ => Err(ApiError::new(ErrorCode::BadType, "`id` must be a string or a number")),
        }
    }
}
