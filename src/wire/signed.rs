//! Signed messages: their author is proved to every node that they reach.
//!
//! A message that is signed has one more field, `sig`:
//!
//! ```json
//! "sig":{"key":"…","epoch":1767225600000,"n":7,"of":"type,id,from,username,room,msg,ttl0,ts","by":"…"}
//! ```
//!
//! `key` is the author's public key, of which its node id is the hash, and `by` the signature, both in base64 for URLs
//! without padding. `epoch` and `n` are the message's sequence number: no two that an author has ever signed have the same.
//! `of` names the fields that the signature is over, so that fields yet to come are covered as well.
//!
//! The signature is over the *decoded* values (see [`canonical`]), so that a relay which parses a message and writes it again
//! breaks nothing: [`PURPOSE`], the key, `epoch` and `n` in 8 bytes each, the number of names in 4, then each name and value,
//! in the order of `of`. `ttl` is left out, since each relay counts it down; `ttl0` must be in. So must be every other field,
//! known or not: if a relay could add one that its version does not know, the next of a later version, which does, would blame
//! the relay that passed it on.

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::canonical::{self, Number};
use super::frame::PREFIX;
use super::identity::{self, Identity, KEY, SIGNATURE};
use super::limits::{MAX_NAME, MAX_SIGNED, MAX_TTL};
use super::message::{View, fields};
use super::signature;
use crate::base::json;

/// The beginning of everything signed as a message, so that a signature for another purpose is none for a message.
pub const PURPOSE: &[u8] = b"p2p-chat signed message 1";
/// Fields that are never signed: `ttl` changes on the way, and `sig` is the signature.
const UNSIGNED: [&str; 2] = ["ttl", "sig"];

/// The sequence number of a message: no other that its author has signed has the same.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqNo {
    /// Grows when an author can't say how far it has counted.
    pub epoch: u64,
    /// Counts up within the epoch, from 1.
    pub n: u64,
}

/// The author of a signed message, and its sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    /// The author's public key: `from` is its hash.
    pub key: [u8; KEY],
    /// The message's sequence number.
    pub seq: SeqNo,
    /// The `ttl` that it started with.
    pub ttl0: u8,
}

/// Why a signed message is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// `sig` is not what it should be.
    Form,
    /// A field that must be signed is not, one that is signed is not there, is there twice, or can't be.
    Fields,
    /// The author's id is not that of the key.
    Author,
    /// The signature is not the key's, or what it is over has been changed.
    Signature,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "its `sig` is not one",
            Self::Fields => "a field is not covered by its signature, or missing",
            Self::Author => "it is signed with another's key",
            Self::Signature => "its signature does not fit",
        })
    }
}

/// Whether a message claims to be signed. A `sig` that is no object is some other program's own.
pub fn claims(view: &View<'_>) -> bool {
    view.sig.json().is_some_and(|json| json.starts_with('{'))
}

/// The sequence number that a message claims. It is the true one only if [`verify`] says so.
pub fn seq_no(view: &View<'_>) -> Option<SeqNo> {
    if !claims(view) {
        return None;
    }
    serde_json::from_str::<Sig<'_>>(view.sig.json()?).ok()?.seq()
}

/// A signature that claims to be a message's author's, with nothing else wrong about it.
#[derive(Debug)]
pub struct Claim {
    signed: Signed,
    message: Vec<u8>,
    by: [u8; SIGNATURE],
}

impl Claim {
    /// Reads the claim of a message.
    ///
    /// # Errors
    /// The reason why it is not to be believed, whatever the signature.
    pub fn new(view: &View<'_>) -> Result<Self, Bad> {
        let sig = view.sig.json().and_then(|json| serde_json::from_str::<Sig<'_>>(json).ok()).ok_or(Bad::Form)?;
        let key: [u8; KEY] = decode(&sig.key).ok_or(Bad::Form)?;
        let by: [u8; SIGNATURE] = decode(&sig.by).ok_or(Bad::Form)?;
        let seq = sig.seq().ok_or(Bad::Form)?;
        let ttl0 = view.ttl0.json().and_then(integer_of).and_then(|it| u8::try_from(it).ok());
        let ttl0 = ttl0.filter(|ttl0| (1..=MAX_TTL).contains(ttl0)).ok_or(Bad::Fields)?;
        let names: Vec<&str> = sig.of.split(',').collect();
        let message = named(view, &names).and_then(|values| to_sign(&key, seq, &names, &values)).ok_or(Bad::Fields)?;
        if view.from.string().as_deref() != Ok(&*identity::node_id(&key).text()) {
            return Err(Bad::Author);
        }
        Ok(Self { signed: Signed { key, seq, ttl0 }, message, by })
    }

    /// Whether it is its author's.
    ///
    /// # Errors
    /// It is not.
    pub fn check(&self) -> Result<Signed, Bad> {
        if signature::fits(self.signature()) { Ok(self.signed) } else { Err(Bad::Signature) }
    }

    /// The signed bytes, with the key among them, and the signature: all that [`check`](Self::check) looks at.
    pub fn bytes(&self) -> (&[u8], &[u8]) {
        (&self.message, &self.by)
    }

    fn signature(&self) -> signature::Claim<'_> {
        signature::Claim { public: &self.signed.key, message: &self.message, signature: &self.by }
    }
}

/// Verifies that a message is signed by its author.
///
/// # Errors
/// Why it is not to be believed.
pub fn verify(view: &View<'_>) -> Result<Signed, Bad> {
    Claim::new(view)?.check()
}

/// Verifies many at once, which takes less time and gives the same verdicts.
pub fn verify_all(claims: &[Claim]) -> impl Iterator<Item = Result<Signed, Bad>> {
    let fit = signature::which_fit(&claims.iter().map(Claim::signature).collect::<Vec<_>>());
    claims.iter().zip(fit).map(|(claim, fits)| if fits { Ok(claim.signed) } else { Err(Bad::Signature) })
}

/// Signs a frame that is complete but for that: every field but `ttl`. False, with the frame as it was, if it can't be signed:
/// what `outgoing` writes can.
pub fn sign(identity: &Identity, seq: SeqNo, frame: &mut Vec<u8>) -> bool {
    try_sign(identity, seq, frame).is_some()
}

fn try_sign(identity: &Identity, seq: SeqNo, frame: &mut Vec<u8>) -> Option<()> {
    let json = std::str::from_utf8(frame.get(PREFIX..)?).ok()?;
    let key = identity.public();
    let mut message = begin(&key, seq);
    let count_at = message.len();
    message.extend_from_slice(&[0; 4]);
    let names = canonical::members(json, |name| UNSIGNED.contains(&name), &mut message)?;
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    if !are_names(&names) {
        return None;
    }
    message.get_mut(count_at..count_at + 4)?.copy_from_slice(&u32::try_from(names.len()).ok()?.to_be_bytes());
    let by = identity.sign(&message);
    // The rest is written where it belongs, over what was signed.
    let mut sig = message;
    sig.clear();
    let SeqNo { epoch, n } = seq;
    let mut base64 = [0; SIGNATURE * 2];
    sig.extend_from_slice(br#","sig":{"key":""#);
    let length = URL_SAFE_NO_PAD.encode_slice(key, &mut base64).ok()?;
    sig.extend_from_slice(base64.get(..length)?);
    write!(sig, r#"","epoch":{epoch},"n":{n},"of":"#).ok()?;
    // What a name may be does not need to be escaped, but for what JSON always escapes.
    json::write::<false>(&names.join(","), &mut sig).ok()?;
    sig.extend_from_slice(br#","by":""#);
    let length = URL_SAFE_NO_PAD.encode_slice(by, &mut base64).ok()?;
    sig.extend_from_slice(base64.get(..length)?);
    sig.extend_from_slice(br#""}"#);
    let end = frame.iter().rposition(|&b| b == b'}')?;
    let length = u32::try_from(frame.len() - PREFIX + sig.len()).ok()?;
    frame.extend_from_slice(&sig);
    frame.get_mut(end..)?.rotate_right(sig.len());
    frame.get_mut(..PREFIX)?.copy_from_slice(&length.to_be_bytes());
    Some(())
}

/// `sig`, as it is read. Other members are refused, since no signature would cover them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sig<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    epoch: &'a RawValue,
    #[serde(borrow)]
    n: &'a RawValue,
    #[serde(borrow)]
    of: Cow<'a, str>,
    #[serde(borrow)]
    by: Cow<'a, str>,
}

impl Sig<'_> {
    fn seq(&self) -> Option<SeqNo> {
        Some(SeqNo { epoch: integer(self.epoch)?, n: integer(self.n)? })
    }
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    // One text for one value: padding, and bits that count for nothing, are refused.
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

fn integer(json: &RawValue) -> Option<u64> {
    integer_of(json.get())
}

fn integer_of(json: &str) -> Option<u64> {
    match Number::read(json)? {
        Number::Integer { negative: false, magnitude } => Some(magnitude),
        _ => None,
    }
}

/// Whether these can be the names of signed fields: not too many, none twice, and none of those that are never signed.
fn are_names(names: &[&str]) -> bool {
    let is_one = |name: &str| (1..=MAX_NAME).contains(&name.len()) && !name.contains(',') && !UNSIGNED.contains(&name);
    names.len() <= MAX_SIGNED
        && names.iter().enumerate().all(|(i, name)| is_one(name) && names.iter().take(i).all(|other| other != name))
}

/// The values of the fields of those names. `None` if one is missing or stands twice, or if there is a field that is not named.
fn named<'a>(view: &View<'a>, names: &[&str]) -> Option<Vec<&'a str>> {
    if !are_names(names) || view.present().any(|it| !UNSIGNED.contains(&it) && !names.contains(&it)) {
        return None;
    }
    if names.iter().filter(|name| view.field(name).is_none()).count() != view.unknown() {
        return None;
    }
    let mut values: Vec<Option<&str>> = names.iter().map(|name| view.field(name).and_then(|it| it.json())).collect();
    if values.contains(&None) {
        // Fields that this version does not know.
        let mut places: Vec<(&str, usize)> = names.iter().copied().zip(0..).collect();
        places.sort_unstable();
        for (name, value) in fields(view.bytes())? {
            let Ok(at) = places.binary_search_by(|(it, _)| (*it).cmp(&name)) else { continue };
            let slot = values.get_mut(places.get(at)?.1)?;
            if view.field(&name).is_none() && slot.replace(value).is_some() {
                return None;
            }
        }
    }
    values.into_iter().collect()
}

/// The beginning of the signed bytes, whatever the fields.
fn begin(key: &[u8; KEY], seq: SeqNo) -> Vec<u8> {
    let mut out = Vec::with_capacity(768);
    out.extend_from_slice(PURPOSE);
    out.extend_from_slice(key);
    out.extend_from_slice(&seq.epoch.to_be_bytes());
    out.extend_from_slice(&seq.n.to_be_bytes());
    out
}

/// The signed bytes.
fn to_sign(key: &[u8; KEY], seq: SeqNo, names: &[&str], values: &[&str]) -> Option<Vec<u8>> {
    let mut out = begin(key, seq);
    out.extend_from_slice(&u32::try_from(names.len()).ok()?.to_be_bytes());
    for (name, value) in names.iter().zip(values) {
        canonical::text(name, &mut out)?;
        canonical::value(value, &mut out)?;
    }
    Some(out)
}

#[cfg(test)]
mod tests;
