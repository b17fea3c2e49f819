//! Names of users and rooms.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest name of a user, a room or an id, in bytes.
pub const MAX_NAME: usize = 64;

/// A name of a user or a room: 1 to 64 bytes of UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(extend("minLength" = 1, "maxLength" = 64))]
pub struct Name(String);

impl TryFrom<String> for Name {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        match name.len() {
            1..=MAX_NAME => Ok(Self(name)),
            n => Err(format!("takes a name of 1 to {MAX_NAME} bytes, this one has {n}")),
        }
    }
}

impl std::ops::Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}
