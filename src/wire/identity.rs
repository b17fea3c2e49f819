//! The identity of a node: an Ed25519 key, and the node id that is made from it.
//!
//! The id is a UUID of version 8 (RFC 9562, 5.8: 122 bits of one's own making) of the key's SHA-256. So a node that shows the key
//! and a signature by it has shown that the id is its own, to a node that has never heard of either. And a message that names an
//! id of version 8 without that is not believed: see [`belongs_to_a_key`].

#[cfg(not(fuzzing))]
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};
use uuid::Uuid;

#[cfg(fuzzing)]
use super::cheap::SigningKey;
use super::claim::Claim;
pub use super::claim::{KEY, SIGNATURE};
use super::signature;
use crate::base::{NodeId, NodeIdRef};

/// The text that a node id's hash begins with, before the key.
const NODE_ID: &[u8] = b"p2p-chat node id 1";

/// A node's own key.
pub struct Identity {
    key: SigningKey,
    id: NodeId,
    id_text: Box<str>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({}, ..)", self.id)
    }
}

impl Identity {
    /// The identity of a secret.
    pub fn new(secret: &[u8; KEY]) -> Self {
        let key = SigningKey::from_bytes(secret);
        let id = node_id(key.verifying_key().as_bytes());
        Self { key, id_text: (*id.text()).into(), id }
    }

    /// The node id.
    pub const fn id(&self) -> &NodeId {
        &self.id
    }

    /// The node id's text.
    pub fn id_text(&self) -> &str {
        &self.id_text
    }

    /// The public key.
    pub fn public(&self) -> [u8; KEY] {
        self.key.verifying_key().to_bytes()
    }

    /// Signs. The bytes must begin with their purpose, so that a signature for one purpose is none for another.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE] {
        self.key.sign(message).to_bytes()
    }
}

/// Whether a signature is by the holder of a public key.
pub fn is_signed(public: &[u8; KEY], message: &[u8], signature: &[u8; SIGNATURE]) -> bool {
    signature::fits(Claim { public, message, signature })
}

/// The node id of a public key.
pub fn node_id(public: &[u8; KEY]) -> NodeId {
    let hash: [u8; 32] = Sha256::new().chain_update(NODE_ID).chain_update(public).finalize().into();
    NodeId::new_v8(std::array::from_fn(|i| hash.get(i).copied().unwrap_or_default()))
}

/// Whether an id, however it is written, is one that only the holder of a key may bear. Ids of the original are addresses.
///
/// Readers of UUIDs differ in what they take. Refused is what any of those that are widely used takes for one of version 8:
/// hyphens anywhere, in pairs of brackets or quotes, after `urn:uuid:`, with anything around it (Go), with white space, underscores
/// or digits of other scripts in it (Python's `int`), and with groups that are shorter or longer than they should be (Java).
pub fn belongs_to_a_key<'a>(id: impl Into<NodeIdRef<'a>>) -> bool {
    let id = id.into();
    if id.is_canonical() {
        return true;
    }
    let id = &*id.text();
    let is_uuid = || Uuid::try_parse(id).is_ok_and(|id| id.get_version_num() == 8);
    // Nearly all others are short, and have neither so many groups nor so many digits.
    let groups = || id.bytes().filter(|byte| *byte == b'-').count() >= 4 && has_groups_of_version_8(id);
    groups() || id.len() >= 32 && (is_uuid() || has_digits_of_version_8(id))
}

/// Groups of hexadecimal digits with hyphens between them, of which the third tells the version.
fn has_groups_of_version_8(id: &str) -> bool {
    let groups: Vec<&str> = id.split('-').collect();
    groups.windows(5).any(|groups| {
        let &[first, second, third, fourth, last] = groups else { return false };
        let is_hex = |group: &str| group.bytes().all(|b| b.is_ascii_hexdigit());
        // Something else may stand before and after them.
        let ends =
            first.ends_with(|c: char| c.is_ascii_hexdigit()) && last.starts_with(|c: char| c.is_ascii_hexdigit());
        let version = third.len().checked_sub(4).and_then(|at| third.as_bytes().get(at));
        ends && [second, third, fourth].into_iter().all(|group| !group.is_empty() && is_hex(group))
            && version == Some(&b'8')
    })
}

/// 32 characters that are digits, or what a reader skips, apart from hyphens and what stands around.
fn has_digits_of_version_8(id: &str) -> bool {
    let id = id.to_ascii_lowercase().replace("urn:", "").replace("uuid:", "");
    let around = |c: char| matches!(c, '-' | '{' | '}' | '(' | ')' | '[' | ']' | '<' | '>' | '"' | '\'');
    let id: Vec<char> = id.chars().filter(|c| !around(*c)).collect();
    // A number may be signed, and say its base.
    let skipped = |c: &char| c.is_whitespace() || matches!(c, '_' | '+' | 'x');
    let is_digit = |c: char| c.is_ascii_hexdigit() || (!c.is_ascii() && c.is_numeric());
    let digits: Vec<char> = id.iter().copied().filter(|c| !skipped(c)).collect();
    // As in any number, what is missing is missing in front.
    let version = digits.len().checked_sub(20).and_then(|at| digits.get(at));
    id.len() == 32 && digits.iter().all(|c| is_digit(*c)) && version.is_some_and(|c| *c == '8' || !c.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_from_its_key() {
        let (a, b) = (Identity::new(&[1; KEY]), Identity::new(&[2; KEY]));
        assert_ne!(a.id(), b.id());
        assert_eq!(*a.id(), node_id(&a.public()));
        assert_eq!(*a.id(), a.id_text().into());
        assert_eq!(Uuid::try_parse(a.id_text()).expect("a UUID").get_version_num(), 8);
        assert_eq!(Uuid::try_parse(a.id_text()).expect("a UUID").get_variant(), uuid::Variant::RFC4122);
        assert!(!format!("{a:?}").contains("key"));
    }

    #[test]
    fn a_known_answer() {
        // SHA-256 of the prefix and the public key of RFC 8032, 7.1, test 1, by Python's hashlib.
        let secret = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let secret = std::array::from_fn(|i| u8::from_str_radix(&secret[2 * i..2 * i + 2], 16).expect("hex"));
        assert_eq!(Identity::new(&secret).id_text(), "7f0124e3-c03e-8dd0-af9a-a14885537383");
    }

    #[test]
    fn a_signature_is_for_one_key_and_one_message() {
        let (a, b) = (Identity::new(&[1; KEY]), Identity::new(&[2; KEY]));
        let signature = a.sign(b"text");
        assert!(is_signed(&a.public(), b"text", &signature));
        assert!(!is_signed(&a.public(), b"tex", &signature) && !is_signed(&b.public(), b"text", &signature));
        for bit in 0..SIGNATURE * 8 {
            let mut changed = signature;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_signed(&a.public(), b"text", &changed), "bit {bit}");
        }
    }

    #[test]
    fn keys_of_small_order_prove_nothing() {
        // The neutral element: with it, R = S·B fits every message.
        let mut neutral = [0; KEY];
        neutral[0] = 1;
        let mut signature = [0; SIGNATURE];
        signature[0] = 1;
        assert!(!is_signed(&neutral, b"anything", &signature));
    }

    #[test]
    fn only_ids_of_version_8_belong_to_a_key() {
        let own = Identity::new(&[1; KEY]).id().to_string();
        let (bare, upper) = (own.replace('-', ""), own.to_uppercase());
        let spread = |by: &str| {
            let pieces: Vec<&str> = (0..8).map(|n| &bare[4 * n..4 * n + 4]).collect();
            pieces.join(by)
        };
        for id in [
            format!("{{{own}}}"),
            format!("({own})"),
            format!("{{{bare}}}"),
            format!("urn:uuid:{own}"),
            format!("URN:UUID:{upper}"),
            format!("uuid:{bare}"),
            format!("urn:{bare}"),
            format!("\"{own}\""),
            format!(" {own}\n"),
            format!("x{own}x"),
            spread("-"),
            own.replacen('-', "", 1),
            own.replace("-8", "8-"),
            own.replace("-8", "-08"),
            format!("0{own}"),
            own.clone(),
            upper,
            bare.clone(),
        ] {
            assert!(belongs_to_a_key(&*id), "{id}");
        }
        // Texts of which Python, or Java, makes 00000001-0002-8003-8004-000000000005 or the like.
        for id in [
            "1-2-8003-8004-5",
            "0x00000000028003800400000000000f",
            "+0000000000280038004000000000005",
            " 0000000000280038004000000000005",
            "000_0000_8003_8004_0000_00000005",
            "000000000000\u{ff18}0038004000000000005",
            "000000000000\u{668}0038004000000000005",
        ] {
            assert!(belongs_to_a_key(id), "{id}");
        }
        for id in [
            "127.0.0.1:5001",
            "",
            "6f1c2b9e-7a54-4a4e-8f0a-1f4f5d1c2b3a",
            "6f1c2b9e7a544a4e8f0a1f4f5d1c2b3a",
            "[2001:db8:85a3:8000:8000:8a2e:370:7334]:5000",
            "2001:0db8:85a3:8000:8000:8a2e:0370:7334",
            "a-host-of-8000-names-and-more:5000",
            "alice-and-bob-8-9",
            &bare[1..],
        ] {
            assert!(!belongs_to_a_key(id), "{id}");
        }
    }
}
