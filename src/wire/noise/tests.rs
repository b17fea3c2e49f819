//! The handshake and the records: against the test vectors of others, and against bytes changed, cut, repeated or left out.

use proptest::prelude::*;

use super::session::Session;
use super::*;
use crate::wire::frame::{Allowance, Decoder, Item};

fn keys(n: u8, network: Option<NetworkKey>) -> (Keys, String) {
    let identity = Identity::new(&[n; KEY]);
    (Keys::new(&identity, [n ^ 0x55; KEY], network), identity.id().to_string())
}

/// The messages of a handshake, and how it ended at each side.
struct Shaken {
    messages: [Vec<u8>; 3],
    dialler: Result<Option<Proven>, Failure>,
    listener: Result<Option<Proven>, Failure>,
}

/// Shakes hands; `change` may change each message on its way.
fn shake((a, b): (&Keys, &Keys), expected: Option<&str>, mut change: impl FnMut(usize, Vec<u8>) -> Vec<u8>) -> Shaken {
    let mut messages = [Vec::new(), Vec::new(), Vec::new()];
    let mut dialler = Handshake::dial(a, [1; KEY], expected.map(Into::into), &mut messages[0]).expect("good keys");
    let mut listener = Handshake::answer(b, [2; KEY]);
    let first = change(0, messages[0].clone());
    let mut at_listener = listener.take(b, &mut &first[..], &mut messages[1]);
    let second = change(1, messages[1].clone());
    let at_dialler = match at_listener {
        Ok(_) => dialler.take(a, &mut &second[..], &mut messages[2]),
        Err(_) => Ok(None),
    };
    if let (Ok(_), Ok(_)) = (&at_listener, &at_dialler) {
        let third = change(2, messages[2].clone());
        at_listener = listener.take(b, &mut &third[..], &mut Vec::new());
    }
    Shaken { messages, dialler: at_dialler, listener: at_listener }
}

/// Two sessions that belong together.
fn sessions() -> (Session, Session) {
    let ((a, _), (b, _)) = (keys(1, None), keys(2, None));
    let Shaken { dialler: Ok(Some(a)), listener: Ok(Some(b)), .. } = shake((&a, &b), None, |_, m| m) else {
        panic!("no handshake")
    };
    (a.session, b.session)
}

#[test]
fn each_learns_who_the_other_is() {
    let network = NetworkKey([9; KEY]);
    for network in [None, Some(network)] {
        let ((a, a_id), (b, b_id)) = (keys(1, network), keys(2, network));
        let shaken = shake((&a, &b), Some(&b_id), |_, message| message);
        let (Ok(Some(at_a)), Ok(Some(at_b))) = (shaken.dialler, shaken.listener) else { panic!("no handshake") };
        assert_eq!((at_a.id, at_b.id), (b_id, a_id.clone()));
        let lengths = shaken.messages.each_ref().map(Vec::len);
        assert_eq!(lengths, [37 + if network.is_some() { 16 } else { 0 }, 197, 160]);
        for message in &shaken.messages[..2] {
            assert_eq!(message[..5], OPENING);
        }
        let all = shaken.messages.concat();
        for secret in [Identity::new(&[1; KEY]).public(), Identity::new(&[2; KEY]).public()] {
            assert!(!all.windows(KEY).any(|window| window == secret), "who they are is not seen from outside");
        }
    }
}

#[test]
fn the_opening_is_no_length_that_level_1_reads() {
    assert_eq!(OPENING[..4], MAGIC);
    assert!(u32::from_be_bytes(MAGIC) as usize > crate::wire::limits::MAX_SKIMMED_FRAME);
    assert_ne!(MAGIC[0], 0);
}

#[test]
fn any_bit_changed_in_any_message_ends_the_handshake() {
    let network = NetworkKey([9; KEY]);
    let honest = |_: usize, message: Vec<u8>| message;
    for network in [None, Some(network)] {
        let ((a, _), (b, _)) = (keys(1, network), keys(2, network));
        let lengths = shake((&a, &b), None, honest).messages.map(|message| message.len());
        for (n, length) in lengths.into_iter().enumerate() {
            for at in 0..length {
                let bit = 1 << (at % 8);
                let shaken = shake((&a, &b), None, |message, mut bytes| {
                    if message == n {
                        bytes[at] ^= bit;
                    }
                    bytes
                });
                let both = matches!((&shaken.dialler, &shaken.listener), (Ok(Some(_)), Ok(Some(_))));
                assert!(!both, "message {n}, byte {at}");
                // Who got the changed message has noticed, or gets nothing from it that opens.
                let listener_sure = matches!(shaken.listener, Ok(Some(_)));
                assert!(!listener_sure, "message {n}, byte {at}");
            }
        }
    }
}

#[test]
fn cut_anywhere_it_goes_on_when_the_rest_comes() {
    let ((a, a_id), (b, _)) = (keys(1, None), keys(2, None));
    let (mut first, mut second, mut third) = (Vec::new(), Vec::new(), Vec::new());
    let mut dialler = Handshake::dial(&a, [1; KEY], None, &mut first).expect("good keys");
    let mut listener = Handshake::answer(&b, [2; KEY]);
    assert!(listener.is_untouched() && dialler.is_untouched());
    for byte in &first {
        assert!(listener.take(&b, &mut &[*byte][..], &mut second).is_ok_and(|done| done.is_none()));
    }
    assert!(!listener.is_untouched());
    let (last, most) = second.split_last().expect("a message");
    for byte in most {
        assert!(dialler.take(&a, &mut &[*byte][..], &mut third).is_ok_and(|done| done.is_none()));
        assert!(third.is_empty() && !dialler.is_untouched());
    }
    let mut session = dialler.take(&a, &mut &[*last][..], &mut third).expect("good").expect("done").session;
    session.seal(b"at once", &mut third).expect("it fits");
    let mut input = &third[..];
    let mut proven = listener.take(&b, &mut input, &mut Vec::new()).expect("good").expect("done");
    let mut plain = Vec::new();
    assert_eq!(proven.session.open(&mut input, &mut plain), Ok(true));
    assert_eq!((&plain[..], &*proven.id), (&b"at once"[..], &*a_id));
}

#[test]
fn another_network_or_none_gets_no_answer() {
    let (one, other) = (NetworkKey([9; KEY]), NetworkKey([8; KEY]));
    for (a, b) in [(Some(one), Some(other)), (None, Some(one)), (Some(one), None)] {
        let ((a, _), (b, _)) = (keys(1, a), keys(2, b));
        let shaken = shake((&a, &b), None, |_, message| message);
        assert!(!matches!(shaken.dialler, Ok(Some(_))) && !matches!(shaken.listener, Ok(Some(_))));
        if b.is_private() {
            assert_eq!(shaken.messages[1], [] as [u8; 0]);
        }
    }
    // Nor does a wrong version, or what is no handshake.
    let (b, _) = keys(2, Some(one));
    for input in [&b"\x96p2p\x02"[..], b"\x96p3p", b"\0\0\0\x10{}", &[0x96; 300]] {
        let mut out = Vec::new();
        assert!(Handshake::answer(&b, [2; KEY]).take(&b, &mut &input[..], &mut out).is_err());
        assert_eq!(out, [] as [u8; 0]);
    }
}

#[test]
fn another_version_is_told_ours() {
    let (keys, _) = keys(1, None);
    let mut out = Vec::new();
    let mut listener = Handshake::answer(&keys, [2; KEY]);
    let failure = listener.take(&keys, &mut &b"\x96p2p\x07"[..], &mut out).map(drop);
    assert_eq!((failure, &out[..]), (Err(Failure::Version(7)), &OPENING[..]));
    let mut dialler = Handshake::dial(&keys, [1; KEY], None, &mut Vec::new()).expect("good keys");
    assert_eq!(dialler.take(&keys, &mut &b"\x96p2p\x07"[..], &mut out).map(drop), Err(Failure::Version(7)));
    let mut dialler = Handshake::dial(&keys, [1; KEY], None, &mut Vec::new()).expect("good keys");
    assert_eq!(dialler.take(&keys, &mut &b"HTTP"[..], &mut out).map(drop), Err(Failure::NotNoise));
    assert_eq!(out, OPENING);
}

#[test]
fn somebody_else_is_not_told_who_we_are() {
    let ((a, _), (b, b_id), (_, c_id)) = (keys(1, None), keys(2, None), keys(3, None));
    let shaken = shake((&a, &b), Some(&c_id), |_, message| message);
    assert_eq!(shaken.dialler.map(drop), Err(Failure::WrongPeer(b_id)));
    assert_eq!(shaken.messages[2], [] as [u8; 0]);
}

#[test]
fn a_proof_serves_one_key_and_one_role() {
    let ((a, _), (mut b, _), (c, _)) = (keys(1, None), keys(2, None), keys(3, None));
    // Its own proof in the other role, and somebody else's in the right one.
    for proof in [b.as_dialler, c.as_listener] {
        b.as_listener = proof;
        let shaken = shake((&a, &b), None, |_, message| message);
        assert_eq!(shaken.dialler.map(drop), Err(Failure::BadProof));
        assert!(shaken.messages[2].is_empty());
    }
}

#[test]
fn what_was_recorded_is_worth_nothing() {
    let ((a, _), (b, _)) = (keys(1, None), keys(2, None));
    let recorded = shake((&a, &b), None, |_, message| message).messages;
    // Played to a listener once more: it answers by another ephemeral key, and the third message does not open.
    let (mut listener, mut answer) = (Handshake::answer(&b, [77; KEY]), Vec::new());
    assert!(listener.take(&b, &mut &recorded[0][..], &mut answer).is_ok_and(|done| done.is_none()));
    assert_ne!(answer, recorded[1]);
    assert_eq!(listener.take(&b, &mut &recorded[2][..], &mut answer).map(drop), Err(Failure::Failed));
    // And to a dialler.
    let mut dialler = Handshake::dial(&a, [78; KEY], None, &mut Vec::new()).expect("good keys");
    assert_eq!(dialler.take(&a, &mut &recorded[1][..], &mut answer).map(drop), Err(Failure::Failed));
    // A node's own first message sent back to it.
    let mut first = Vec::new();
    let mut dialler = Handshake::dial(&a, [79; KEY], None, &mut first).expect("good keys");
    first.resize(OPENING.len() + SECOND, 0);
    assert_eq!(dialler.take(&a, &mut &first[..], &mut answer).map(drop), Err(Failure::Failed));
}

#[test]
fn a_key_with_which_everybody_has_the_same_secret_is_refused() {
    let (b, _) = keys(2, None);
    let first = [&OPENING[..], &[0; KEY]].concat();
    let mut listener = Handshake::answer(&b, [2; KEY]);
    assert_eq!(listener.take(&b, &mut &first[..], &mut Vec::new()).map(drop), Err(Failure::Failed));
}

#[test]
fn a_networks_key_comes_from_its_secret() {
    let derive = |secret: &str| NetworkKey::derive(secret).expect("memory");
    assert!(derive("secret") == derive("secret") && derive("secret") != derive("Secret"));
    assert!(!format!("{:?}", derive("secret")).contains("secret"));
}

/// `Noise_XX_25519_ChaChaPoly_SHA256` and `Noise_NNpsk0_25519_ChaChaPoly_SHA256` of the vectors by cacophony, which snow
/// checks itself by, too: payload and message in turn. There is none of XXpsk0; its `psk` is that of NNpsk0.
const XX: [(&str, &str); 6] = [
    (
        "4c756477696720766f6e204d69736573",
        "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79444c756477696720766f6e204d69736573",
    ),
    (
        "4d757272617920526f746862617264",
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f14480884381cbad1f276e038c48378ffce2b65285e08d6b68aaa3629a5a8639392490e5b9bd5269c2f1e4f488ed8831161f19b7815528f8982ffe09be9b5c412f8a0db50f8814c7194e83f23dbd8d162c9326ad",
    ),
    (
        "462e20412e20486179656b",
        "c7195ffacac1307ff99046f219750fc47693e23c3cb08b89c2af808b444850a80ae475b9df0f169ae80a89be0865b57f58c9fea0d4ec82a286427402f113e4b6ae769a1d95941d49b25030",
    ),
    ("4361726c204d656e676572", "96763ed773f8e47bb3712f0e29b3060ffc956ffc146cee53d5e1df"),
    ("4a65616e2d426170746973746520536179", "3e40f15f6f3a46ae446b253bf8b1d9ffb6ed9b174d272328ff91a7e2e5c79c07f5"),
    (
        "457567656e2042f6686d20766f6e2042617765726b",
        "eb3f3515110702e047a6c9da4478b6ead94873c11c0f2d710ddb3f09fce024b3a58502ae3f",
    ),
];
const NN_PSK0: [(&str, &str); 5] = [
    (
        "4c756477696720766f6e204d69736573",
        "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c794479b962b8aff8485742ac32f905ba45369e2465fb59e138a93d67a0d1266b6a54",
    ),
    (
        "4d757272617920526f746862617264",
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843d6062704d5a9c422a8e834423f8c1feada7e8d0d910a1a2cd030fb584221e3",
    ),
    ("462e20412e20486179656b", "e632c3763d7669067383433197a3baddf146e9e70ad4b4e9e59e0f"),
    ("4361726c204d656e676572", "64c6bee32ea91c8474bb4c21d7a700109ad45af77b29764ba5eb1e"),
    ("4a65616e2d426170746973746520536179", "e2fa0bed0603b62d3ccac2ecabbf3fe33f3e86514909b323361626266cb2471cc8"),
];

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex")).collect()
}

fn array(text: &str) -> [u8; KEY] {
    unhex(text).try_into().expect("32 bytes")
}

#[test]
fn the_vectors_of_others_hold() {
    let statics = [
        array("e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1"),
        array("4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893"),
    ];
    let ephemerals = [
        array("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a"),
        array("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b"),
    ];
    let psk = array("54686973206973206d7920417573747269616e20706572737065637469766521");
    for (name, vectors, handshake) in
        [("Noise_XX_25519_ChaChaPoly_SHA256", &XX[..], 3), ("Noise_NNpsk0_25519_ChaChaPoly_SHA256", &NN_PSK0[..], 2)]
    {
        let side = |n: usize| {
            let builder =
                snow::Builder::with_resolver(name.parse().expect("a name"), Box::new(crypto::Parts(ephemerals[n])));
            let builder = builder.prologue(b"John Galt").expect("once");
            match handshake {
                3 => builder.local_private_key(&statics[n]).expect("once"),
                _ => builder.psk(0, &psk).expect("once"),
            }
        };
        let mut sides = [side(0).build_initiator().expect("whole"), side(1).build_responder().expect("whole")];
        let mut buffer = [0; 1024];
        for (i, (payload, message)) in vectors[..handshake].iter().enumerate() {
            let n = sides[i % 2].write_message(&unhex(payload), &mut buffer).expect("its turn");
            assert_eq!(buffer[..n], unhex(message)[..], "{name}, message {i}");
            let n = sides[(i + 1) % 2].read_message(&unhex(message), &mut buffer).expect("it opens");
            assert_eq!(buffer[..n], unhex(payload)[..]);
        }
        let mut sides = sides.map(|side| side.into_transport_mode().expect("done"));
        for (i, (payload, message)) in vectors.iter().enumerate().skip(handshake) {
            let n = sides[i % 2].write_message(&unhex(payload), &mut buffer).expect("it fits");
            assert_eq!(buffer[..n], unhex(message)[..], "{name}, message {i}");
            let n = sides[(i + 1) % 2].read_message(&unhex(message), &mut buffer).expect("it opens");
            assert_eq!(buffer[..n], unhex(payload)[..]);
        }
    }
}

/// Frames as they go through records and come out, the stream of records cut as `pieces` says.
fn carry(frames: &[Vec<u8>], records: &[usize], pieces: &[usize]) -> Vec<Vec<u8>> {
    let (mut a, mut b) = sessions();
    let stream: Vec<u8> = frames.iter().flat_map(|it| [&(it.len() as u32).to_be_bytes()[..], it].concat()).collect();
    let (mut sealed, mut rest) = (Vec::new(), &stream[..]);
    for &size in records.iter().cycle() {
        let (now, later) = rest.split_at(size.min(rest.len()));
        if now.is_empty() {
            break;
        }
        a.seal(now, &mut sealed).expect("it fits");
        rest = later;
    }
    let (mut decoder, mut plain, mut out) = (Decoder::default(), Vec::new(), Vec::new());
    let mut rest = &sealed[..];
    for &size in pieces.iter().cycle() {
        let (mut now, later) = rest.split_at(size.min(rest.len()));
        while b.open(&mut now, &mut plain).expect("it opens") {
            let mut bytes = &plain[..];
            while let Some(Item::Frame(frame)) = decoder.next(&mut bytes, Allowance::Level2).expect("a length") {
                out.push(frame.to_vec());
            }
        }
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    assert!(!b.in_record() && !decoder.in_frame());
    out
}

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in_however_records_and_reads_are_cut(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
        records in prop::collection::vec(1_usize..400, 1..10),
        pieces in prop::collection::vec(1_usize..700, 1..20),
    ) {
        prop_assert_eq!(carry(&frames, &records, &pieces), frames);
    }

    #[test]
    fn any_bit_changed_anywhere_is_refused(
        lengths in prop::collection::vec(1_usize..200, 1..6), at in any::<prop::sample::Index>(), bit in 0_u32..8,
    ) {
        let (mut a, mut b) = sessions();
        let mut sealed = Vec::new();
        for length in &lengths {
            a.seal(&vec![7; *length], &mut sealed).expect("it fits");
        }
        let at = at.index(sealed.len());
        sealed[at] ^= 1_u8 << bit;
        let (mut input, mut plain, mut opened) = (&sealed[..], Vec::new(), 0);
        let mut start = 0;
        let end = loop {
            match b.open(&mut input, &mut plain) {
                Ok(true) => {
                    start += lengths[opened] + OVERHEAD;
                    opened += 1;
                }
                end => break end,
            }
        };
        // What came before it is good; then nothing opens. A length changed to a greater one may wait for the rest.
        prop_assert!(start <= at && opened < lengths.len());
        prop_assert!(end == Err(BadRecord) || b.in_record());
    }

    #[test]
    fn a_record_out_of_order_left_out_or_twice_is_refused(n in 2_usize..6, from in 0_usize..6, on in 0_usize..5) {
        let (mut a, mut b) = sessions();
        let mut records = Vec::new();
        for i in 0..n {
            let mut record = Vec::new();
            a.seal(&[i as u8; 5], &mut record).expect("it fits");
            records.push(record);
        }
        let from = from % n;
        let to = (from + 1 + on % (n - 1)) % n;
        records[to] = records[from].clone();
        let all = records.concat();
        let (mut input, mut plain, mut opened) = (&all[..], Vec::new(), 0);
        while b.open(&mut input, &mut plain) == Ok(true) {
            opened += 1;
        }
        prop_assert_eq!(opened, to.min(n));
    }
}

#[test]
fn a_direction_is_not_the_other() {
    let (mut a, _b) = sessions();
    let mut sealed = Vec::new();
    a.seal(b"to the other", &mut sealed).expect("it fits");
    assert_eq!(a.open(&mut &sealed[..], &mut Vec::new()), Err(BadRecord), "sent back, it opens nothing");
}

#[test]
fn keys_are_replaced_on_the_way() {
    let (mut a, mut b) = sessions();
    let (mut sealed, mut plain) = (Vec::new(), Vec::new());
    for i in 0..5_000_u32 {
        for (from, to) in [(0, 1), (1, 0)] {
            let sides = [&mut a, &mut b];
            sealed.clear();
            sides[from].seal(&i.to_be_bytes(), &mut sealed).expect("it fits");
            assert_eq!(sides[to].open(&mut &sealed[..], &mut plain), Ok(true), "record {i}");
            assert_eq!(plain, i.to_be_bytes());
        }
    }
}

#[test]
fn memory_grows_with_what_came() {
    let (mut a, mut b) = sessions();
    let mut plain = Vec::new();
    // A length and nothing behind it.
    assert_eq!(b.open(&mut &[0xff, 0xff][..], &mut plain), Ok(false));
    assert!(b.held() < 64 && b.in_record());
    for empty in [&[0, 0][..], &[0, 15], &[0, 16]] {
        let (_, mut b) = sessions();
        let record = [empty, &[0; 16]].concat();
        assert_eq!(b.open(&mut &record[..], &mut plain), Err(BadRecord), "an empty record");
    }
    // A large record in pieces gives its memory back.
    let (mut a2, mut b2) = sessions();
    let mut sealed = Vec::new();
    a2.seal(&[7; MAX_PLAIN], &mut sealed).expect("it fits");
    let (first, rest) = sealed.split_at(9_000);
    assert_eq!(b2.open(&mut &first[..], &mut plain), Ok(false));
    assert_eq!(b2.open(&mut &rest[..], &mut plain), Ok(true));
    assert!(b2.held() <= 16 << 10);
    assert_eq!(a.seal(&[], &mut sealed), Err(BadRecord));
    assert_eq!(a.seal(&[0; MAX_PLAIN + 1], &mut sealed), Err(BadRecord));
}
