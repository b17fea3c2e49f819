//! The answer of a command.

use crate::api::ErrorCode;
use crate::api::error::ApiError;

/// A result, or an error that says what to do.
pub(in crate::node) type Answer<T> = Result<T, ApiError>;

/// An error.
pub(in crate::node) fn refuse<T>(code: ErrorCode, message: impl Into<String>) -> Answer<T> {
    Err(ApiError::new(code, message))
}

/// A name from outside, for an error message.
pub(in crate::node) fn short(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}
