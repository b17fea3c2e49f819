//! The fields of a signal of level 2, read.

use serde::Deserialize;

use crate::wire::limits::MAX_META;
use crate::wire::message::View;

/// The fields that a signal of level 2 has beyond the original's.
#[derive(Deserialize)]
pub struct Level2Fields {
    session: String,
    /// In a join, one of these: its key.
    pub key: Option<String>,
    pub sealed_key: Option<String>,
    pub encrypted_key: Option<String>,
    /// The codecs that it decodes.
    #[serde(default)]
    pub codecs: Vec<serde_json::Value>,
    /// Whether it is muted.
    #[serde(default)]
    pub muted: bool,
}

impl Level2Fields {
    /// Reads them, and the session's number.
    pub fn read(view: &View<'_>) -> Option<(u64, Self)> {
        let fields: Self = serde_json::from_str(view.voice.json().filter(|json| json.len() <= MAX_META)?).ok()?;
        let session = u64::from_str_radix(&fields.session, 16).ok().filter(|_| fields.session.len() == 16)?;
        Some((session, fields))
    }
}
