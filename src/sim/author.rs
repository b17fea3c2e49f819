//! Authors that are not nodes of the network, and whose signed messages a test hands to any peer.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Net;
use crate::wire::frame::PREFIX;
use crate::wire::identity::Identity;
use crate::wire::signed::{self, SeqNo};

/// The key of a made-up author.
pub fn author(name: &str) -> Identity {
    Identity::new(&Sha256::digest(name).into())
}

/// A message, signed: `from` is made the author's node id, and `ttl0` what `ttl` is, if it has none.
pub fn sign(by: &Identity, seq: SeqNo, message: &Value) -> Value {
    let mut message = message.clone();
    message["from"] = Value::from(by.id_text());
    if message["ttl0"].is_null() {
        message["ttl0"] = message.get("ttl").cloned().unwrap_or_else(|| 32.into());
    }
    let mut frame = [&[0; PREFIX], message.to_string().as_bytes()].concat();
    signed::sign(by, seq, &mut frame);
    serde_json::from_slice(frame.get(PREFIX..).unwrap_or_default()).unwrap_or_default()
}

impl Net {
    /// A message of a made-up author, signed, with a place that it has not used before.
    pub fn signed(&mut self, name: &str, message: &Value) -> Value {
        self.order += 1;
        sign(&author(name), SeqNo { epoch: 1, n: self.order }, message)
    }

    /// A message that a node signs, and does not know of: as if it had another life elsewhere.
    #[cfg(test)]
    pub(crate) fn signed_as(&mut self, at: super::At, message: &Value) -> Value {
        let now = self.time();
        self.at_mut(at).sign_any(now, message)
    }
}
