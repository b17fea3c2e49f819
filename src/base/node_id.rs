//! Node ids: the names of peers and authors.
//!
//! On the wire, in the state folder and in what clients read, a node id is text. A node of level 2 has one that is made from its
//! key: a UUID of version 8 in lower case with hyphens, its *canonical* text. In here such an id is its 16 bytes, which are copied,
//! compared and dropped without a look at the heap. A peer of level 1 may be called anything, `10.0.0.1:5000` for instance: its
//! text is kept once, shared and counted.
//!
//! ```text
//! "7f0124e3-c03e-8dd0-af9a-a14885537383"   16 bytes
//! "7F0124E3-C03E-8DD0-AF9A-A14885537383"   text: no other way to write a UUID is canonical, and so none equals the one above
//! "10.0.0.1:5000"                          text
//! ```
//!
//! Two ids are equal, and one is less than another, exactly as their texts are. [`NodeIdRef`] is the same without the shared text:
//! it is read from a message, and finds what is kept by [`NodeId`], at no allocation whatever the id.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use serde::{Serialize, Serializer};
use uuid::Uuid;

/// A node id. See the module.
pub type NodeId = Id<Shared>;

/// A node id that borrows its text, if it needs one.
pub type NodeIdRef<'a> = Id<&'a str>;

/// A node id; `S` holds the text of one that is not canonical.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id<S>(Form<S>);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Form<S> {
    Canonical(Bytes),
    /// Any other text: never a canonical one.
    Other(S),
}

/// A shared text: one word, so that a [`NodeId`] takes no more than its bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Shared(Rc<Box<str>>);

/// The bytes of a UUID of version 8. The one with the version has values to spare, by which the compiler tells the forms of an id
/// apart: that costs no byte more.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
struct Bytes {
    head: [u8; 6],
    version: Version,
    tail: [u8; 9],
}

/// The byte that begins with the version, which is 8.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[rustfmt::skip]
enum Version {
    V0 = 0x80, V1, V2, V3, V4, V5, V6, V7, V8, V9, Va, Vb, Vc, Vd, Ve, Vf,
}

const _: () = assert!(size_of::<NodeId>() == 16 && size_of::<Option<NodeId>>() == 16 || size_of::<usize>() != 8);

/// Bytes of a canonical text.
const TEXT: usize = 36;

impl<S: Deref<Target = str>> Id<S> {
    /// The text, which is not on the heap unless the id is kept so.
    pub fn text(&self) -> Text<'_> {
        match &self.0 {
            Form::Canonical(bytes) => Text(Written::Canonical(bytes.text())),
            Form::Other(text) => Text(Written::Other(text)),
        }
    }

    /// Whether this is its text. The first two digits tell most others apart.
    pub fn is(&self, text: &str) -> bool {
        match &self.0 {
            Form::Canonical(bytes) => bytes.begin(text) && Bytes::read(text) == Some(*bytes),
            Form::Other(own) => **own == *text,
        }
    }

    /// Whether it is a UUID of version 8, canonically written.
    pub const fn is_canonical(&self) -> bool {
        matches!(self.0, Form::Canonical(_))
    }
}

impl NodeId {
    /// The UUID of version 8 with these bits, but for those that tell version and variant.
    pub fn new_v8(bits: [u8; 16]) -> Self {
        let bytes = Bytes::new(Uuid::new_v8(bits).into_bytes());
        // That is of version 8: the text is never asked for.
        bytes.map_or_else(|| "".into(), |bytes| Self(Form::Canonical(bytes)))
    }

    /// Bytes on the heap, as if it were the only one that shares them.
    pub fn bytes_held(&self) -> usize {
        match &self.0 {
            Form::Canonical(_) => 0,
            Form::Other(text) => 2 * size_of::<usize>() + size_of::<Box<str>>() + text.len(),
        }
    }
}

impl<'a> NodeIdRef<'a> {
    /// The key by which a map with ids is searched.
    pub fn key(&self) -> &(dyn AsNodeId + 'a) {
        self
    }
}

impl Bytes {
    fn new(bytes: [u8; 16]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk()?;
        let (version, tail) = rest.split_first_chunk::<1>()?;
        Some(Self { head: *head, version: Version::new(version[0])?, tail: tail.try_into().ok()? })
    }

    /// Reads a canonical text.
    fn read(text: &str) -> Option<Self> {
        // A UUID of that length has hyphens and no braces.
        let digits: &[u8; TEXT] = text.as_bytes().try_into().ok()?;
        let has_upper = digits.iter().fold(false, |any, digit| any | digit.is_ascii_uppercase());
        let uuid = Uuid::try_parse_ascii(digits).ok().filter(|_| !has_upper)?;
        Self::new(uuid.into_bytes())
    }

    /// Whether a text begins as that of these bytes does, by its first two digits.
    fn begin(&self, text: &str) -> bool {
        let value = |digit: u8| char::from(digit).to_digit(16);
        match (text.as_bytes(), self.head) {
            ([high, low, ..], [first, ..]) => {
                value(*high) == Some(u32::from(first >> 4)) && value(*low) == Some(u32::from(first & 0x0f))
            }
            _ => false,
        }
    }

    const fn get(&self) -> [u8; 16] {
        let ([a, b, c, d, e, f], [h, i, j, k, l, m, n, o, p]) = (self.head, self.tail);
        [a, b, c, d, e, f, self.version as u8, h, i, j, k, l, m, n, o, p]
    }

    fn text(&self) -> [u8; TEXT] {
        let mut text = [0; TEXT];
        Uuid::from_bytes(self.get()).hyphenated().encode_lower(&mut text);
        text
    }
}

impl Version {
    #[rustfmt::skip]
    const ALL: [Self; 16] = [
        Self::V0, Self::V1, Self::V2, Self::V3, Self::V4, Self::V5, Self::V6, Self::V7,
        Self::V8, Self::V9, Self::Va, Self::Vb, Self::Vc, Self::Vd, Self::Ve, Self::Vf,
    ];

    fn new(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte ^ Self::V0 as u8)).copied()
    }
}

impl<'a, S: From<&'a str>> From<&'a str> for Id<S> {
    fn from(text: &'a str) -> Self {
        Self(Bytes::read(text).map_or_else(|| Form::Other(text.into()), Form::Canonical))
    }
}

impl<'a, S: Deref<Target = str>> From<&'a Id<S>> for NodeIdRef<'a> {
    fn from(id: &'a Id<S>) -> Self {
        Self(match &id.0 {
            Form::Canonical(bytes) => Form::Canonical(*bytes),
            Form::Other(text) => Form::Other(text),
        })
    }
}

impl From<NodeIdRef<'_>> for NodeId {
    fn from(id: NodeIdRef<'_>) -> Self {
        Self(match id.0 {
            Form::Canonical(bytes) => Form::Canonical(bytes),
            Form::Other(text) => Form::Other(text.into()),
        })
    }
}

impl From<&str> for Shared {
    fn from(text: &str) -> Self {
        Self(Rc::new(text.into()))
    }
}

impl Deref for Shared {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<S: Deref<Target = str> + Eq> Ord for Id<S> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            // Hyphens stand where they stand, and digits are in the order of their values.
            (Form::Canonical(a), Form::Canonical(b)) => u128::from_be_bytes(a.get()).cmp(&u128::from_be_bytes(b.get())),
            _ => self.text().cmp(&*other.text()),
        }
    }
}

impl<S: Deref<Target = str> + Eq> PartialOrd for Id<S> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<S: Deref<Target = str>> fmt::Display for Id<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text())
    }
}

impl<S: Deref<Target = str>> fmt::Debug for Id<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text(), f)
    }
}

impl<S: Deref<Target = str>> Serialize for Id<S> {
    fn serialize<T: Serializer>(&self, serializer: T) -> Result<T::Ok, T::Error> {
        serializer.serialize_str(&self.text())
    }
}

/// The text of a node id.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a>(Written<'a>);

#[derive(Debug, Clone, Copy)]
enum Written<'a> {
    Canonical([u8; TEXT]),
    Other(&'a str),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Written::Canonical(bytes) => std::str::from_utf8(bytes).unwrap_or_default(),
            Written::Other(text) => text,
        }
    }
}

/// Ids in both of their types, for maps: see [`NodeIdRef::key`].
pub trait AsNodeId {
    /// The id.
    fn as_node_id(&self) -> NodeIdRef<'_>;
}

impl<S: Deref<Target = str>> AsNodeId for Id<S> {
    fn as_node_id(&self) -> NodeIdRef<'_> {
        self.into()
    }
}

impl<'a> Borrow<dyn AsNodeId + 'a> for NodeId {
    fn borrow(&self) -> &(dyn AsNodeId + 'a) {
        self
    }
}

impl PartialEq for dyn AsNodeId + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.as_node_id() == other.as_node_id()
    }
}

impl Eq for dyn AsNodeId + '_ {}

impl Ord for dyn AsNodeId + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_node_id().cmp(&other.as_node_id())
    }
}

impl PartialOrd for dyn AsNodeId + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::hash::BuildHasher;

    use proptest::prelude::*;

    use super::*;

    const CANONICAL: &str = "7f0124e3-c03e-8dd0-af9a-a14885537383";

    /// Texts that are close to each other: few digits, of all versions, in all ways to write them, cut, and short ones.
    fn texts() -> impl Strategy<Value = String> {
        let uuid =
            (prop::collection::vec(prop::sample::select(&[0x00_u8, 0x09, 0x0a, 0x9f, 0xa0, 0xff][..]), 16), 0_u8..16);
        let uuid = uuid.prop_map(|(bytes, version)| {
            let mut bytes: [u8; 16] = bytes.try_into().expect("16 bytes");
            // Version 8 as often as all others.
            let version = if version < 8 { 8 } else { version };
            bytes[6] = version << 4 | bytes[6] & 0x0f;
            Uuid::from_bytes(bytes)
        });
        (uuid, 0..16, 0_usize..37, ".{0,3}").prop_map(|(uuid, way, cut, other)| match way {
            0 => uuid.hyphenated().to_string().to_uppercase(),
            1 => uuid.braced().to_string(),
            2 => uuid.simple().to_string(),
            3 => uuid.urn().to_string(),
            4 => uuid.hyphenated().to_string()[..cut.min(TEXT)].to_owned(),
            5 => other,
            6 => format!("{}{other}", uuid.hyphenated()),
            7 => uuid.hyphenated().to_string().replacen('a', "A", 1),
            8 => uuid.hyphenated().to_string().replace('-', "0"),
            9 => format!("10.0.0.1:{cut}"),
            _ => uuid.hyphenated().to_string(),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn ids_are_equal_and_ordered_as_their_texts_are(a in texts(), b in texts()) {
            let (id_a, id_b) = (NodeId::from(&*a), NodeId::from(&*b));
            let (ref_a, ref_b) = (NodeIdRef::from(&*a), NodeIdRef::from(&id_b));
            prop_assert_eq!((&*id_a.text(), &*ref_a.text()), (&*a, &*a));
            prop_assert_eq!(id_a.cmp(&id_b), a.cmp(&b));
            prop_assert_eq!(ref_a.cmp(&ref_b), a.cmp(&b));
            prop_assert_eq!(ref_a.key().cmp(ref_b.key()), a.cmp(&b));
            prop_assert_eq!((id_a == id_b, ref_a == ref_b, ref_a.key() == ref_b.key()), (a == b, a == b, a == b));
            prop_assert_eq!((id_a.is(&b), ref_b.is(&a), id_a.is(&a)), (a == b, a == b, true));
            prop_assert_eq!(NodeId::from(ref_a), id_a);
        }

        #[test]
        fn what_is_kept_by_an_id_is_found_by_its_text(texts in prop::collection::btree_set(texts(), 0..20)) {
            let map: BTreeMap<NodeId, &str> = texts.iter().map(|text| (NodeId::from(&**text), &**text)).collect();
            prop_assert!(map.values().copied().eq(texts.iter().map(|text| &**text)), "and is in the order of texts");
            for text in &texts {
                prop_assert_eq!(map.get(NodeIdRef::from(&**text).key()), Some(&&**text));
            }
        }
    }

    #[test]
    fn only_the_canonical_text_of_version_8_is_bytes() {
        assert!(NodeId::from(CANONICAL).is_canonical());
        let upper = CANONICAL.to_uppercase();
        let one_upper = CANONICAL.replacen('f', "F", 1);
        let (braced, simple) = (format!("{{{CANONICAL}}}"), CANONICAL.replace('-', ""));
        let urn = format!("urn:uuid:{CANONICAL}");
        let other_version = CANONICAL.replace("-8", "-4");
        let hyphens = CANONICAL.replace("e3-c", "e-3c");
        for text in
            [&upper, &one_upper, &braced, &simple, &urn, &other_version, &hyphens, &CANONICAL[1..], "", "10.0.0.1:5000"]
        {
            let id = NodeId::from(text);
            assert!(!id.is_canonical(), "{text}");
            assert_ne!(id, NodeId::from(CANONICAL));
            assert_eq!(&*id.text(), text);
        }
    }

    #[test]
    fn an_id_is_shown_as_its_text() {
        for text in [CANONICAL, "10.0.0.1:5000"] {
            let id = NodeId::from(text);
            assert_eq!((id.to_string(), format!("{id:?}")), (text.to_owned(), format!("{text:?}")));
            assert_eq!(format!("{id:>40}|{id:.3}"), format!("{text:>40}|{text:.3}"));
            assert_eq!(serde_json::to_string(&id).expect("JSON"), format!("{text:?}"));
            let hasher = std::hash::RandomState::new();
            assert_eq!(hasher.hash_one(&id), hasher.hash_one(NodeIdRef::from(text)));
        }
    }

    #[test]
    fn an_id_is_made_of_any_bits_but_those_of_its_version() {
        for byte in [0x00, 0x5a, 0xff] {
            let id = NodeId::new_v8([byte; 16]);
            assert!(id.is_canonical() && id.bytes_held() == 0);
            assert_eq!(id.to_string(), Uuid::new_v8([byte; 16]).to_string());
        }
        assert_eq!(NodeId::from("abc").bytes_held(), 35);
    }
}
