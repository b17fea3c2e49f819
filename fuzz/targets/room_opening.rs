//! Sealed texts of both schemes, under a key that is known: what was sealed opens to the same, and what was changed, or is
//! bound to something else, does not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2p_chat::wire::room_key::{Bound, NONCE, Purpose, RoomKey, Scheme};
use p2p_chat::wire::signed::SeqNo;
use p2p_chat_fuzz::Choices;

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices(input);
    let scheme = [Scheme::Original, Scheme::Argon2id][choices.below(2)];
    let key = RoomKey::derive_at_once(scheme, "k", "r");
    let (at, by, other) = (choices.number(), choices.byte(), choices.below(4));
    let bound = Bound { purpose: Purpose::Text, author: "a", room: "r", seq: SeqNo { epoch: 7, n: 8 } };
    let sealed = key.seal(choices.0, &bound, [by; NONCE]);
    assert_eq!(key.open(&sealed, &bound).as_deref(), Some(choices.0));
    // Changed in one place.
    let mut changed = sealed.clone().into_bytes();
    let at = at % changed.len();
    changed[at] = by & 0x7f;
    let changed = String::from_utf8(changed).expect("ASCII");
    assert!(changed == sealed || key.open(&changed, &bound).is_none(), "{changed:?} opens as {sealed:?} does");
    // Bound to something else.
    let bound = match other {
        0 => Bound { purpose: Purpose::Meta, ..bound },
        1 => Bound { author: "", ..bound },
        2 => Bound { room: "rr", ..bound },
        _ => Bound { seq: SeqNo { epoch: 8, n: 7 }, ..bound },
    };
    assert_eq!(key.open(&sealed, &bound).is_some(), scheme == Scheme::Original);
    // Whatever it is.
    let _ = key.open(&String::from_utf8_lossy(choices.0), &bound);
});
