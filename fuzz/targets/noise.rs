//! Links of level 2: what strangers say instead of a handshake, a handshake with one byte changed, and records that are changed,
//! lost, repeated or swapped on their way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2p_chat::wire::identity::Identity;
use p2p_chat::wire::noise::{Handshake, Keys, MAX_PLAIN, OVERHEAD, Session};
use p2p_chat_fuzz::{Choices, pieces};

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices(input);
    match choices.below(4) {
        0 => stranger(choices),
        1 => changed_handshake(choices),
        _ => records(choices),
    }
});

/// The identities and keys of two who meet.
fn meet() -> &'static [(Identity, Keys); 2] {
    thread_local! {
        static BOTH: &'static [(Identity, Keys); 2] = Box::leak(Box::new([1, 2].map(|who| {
            let identity = Identity::new(&[who; 32]);
            let keys = Keys::new(&identity, [who; 32], None);
            (identity, keys)
        })));
    }
    BOTH.with(|both| *both)
}

/// Nobody becomes anybody without a key. Whoever says the whole of it, with its own key, is itself.
fn stranger(mut choices: Choices<'_>) {
    let ((_, own), mut out) = (&meet()[0], Vec::new());
    let mut handshake = match choices.below(2) {
        0 => Handshake::answer(own, [2; 32]),
        _ => Handshake::dial(own, [2; 32], None, &mut out).expect("it begins"),
    };
    let sizes = [choices.byte(), choices.byte(), choices.byte()];
    for piece in pieces(choices.0, sizes) {
        let mut left = piece;
        match handshake.take(own, &mut left, &mut out) {
            Ok(None) => assert!(left.is_empty()),
            Ok(Some(proven)) => panic!("a stranger has proved to be {}", proven.id),
            Err(_) => return,
        }
    }
}

/// The sessions of a dialler and a listener, if nothing was changed: flight `which`, byte `at`.
fn shake(which: usize, at: usize, by: u8) -> Option<(Session, Session)> {
    let [(at_dialler, a), (at_listener, b)] = meet();
    let (mut to_b, mut to_a) = (Vec::new(), Vec::new());
    let mut dialler = Handshake::dial(a, [3; 32], None, &mut to_b).expect("it begins");
    let mut listener = Handshake::answer(b, [4; 32]);
    let change = |flight: usize, bytes: &mut Vec<u8>| {
        let length = bytes.len();
        if flight == which && length > 0 {
            bytes[at % length] ^= by;
        }
    };
    change(0, &mut to_b);
    let first = listener.take(b, &mut &to_b[..], &mut to_a).ok()?;
    assert!(first.is_none());
    change(1, &mut to_a);
    to_b.clear();
    let at_a = dialler.take(a, &mut &to_a[..], &mut to_b).ok()??;
    assert_eq!(at_a.id, at_listener.id_text());
    change(2, &mut to_b);
    let at_b = listener.take(b, &mut &to_b[..], &mut to_a).ok()??;
    assert_eq!(at_b.id, at_dialler.id_text());
    Some((at_a.session, at_b.session))
}

fn changed_handshake(mut choices: Choices<'_>) {
    let (which, at, by) = (choices.below(3), choices.number(), choices.byte());
    assert_eq!(shake(which, at, by).is_some(), by == 0, "byte {at} of flight {which} is changed by {by}");
}

/// What comes out is the beginning of what went in, and what follows a fault does not.
fn records(mut choices: Choices<'_>) {
    let (mut from, mut to) = shake(0, 0, 0).expect("nothing is changed");
    let mut plain = Vec::new();
    let (fault, at, by) = (choices.below(6), choices.number(), choices.byte().max(1));
    let sizes = [choices.byte(), choices.byte(), choices.byte()];
    let (mut sealed, mut content) = (Vec::new(), Vec::new());
    // With the fifth, keys change.
    for _ in 0..8 {
        if choices.0.is_empty() {
            break;
        }
        let length = choices.number() % 300;
        let piece = choices.take(length);
        let mut record = Vec::new();
        if from.seal(piece, &mut record).is_err() {
            assert!((piece.is_empty() || piece.len() > MAX_PLAIN) && record.is_empty());
            continue;
        }
        assert_eq!(record.len(), piece.len() + OVERHEAD);
        sealed.push(record);
        content.push(piece);
    }
    let (place, whole) = (at % sealed.len().max(1), sealed.concat());
    let lengths: Vec<usize> = sealed.iter().map(Vec::len).collect();
    let is_last = place + 1 >= sealed.len();
    match (fault, sealed.get_mut(place)) {
        (0, Some(record)) => {
            let length = record.len();
            record[at / 8 % length] ^= by;
        }
        (1, Some(_)) => drop(sealed.remove(place)),
        (2, Some(record)) => {
            let record = record.clone();
            sealed.insert(place, record);
        }
        (3, Some(_)) if !is_last => sealed.swap(place, place + 1),
        (4, Some(record)) => record.truncate(at / 8 % record.len()),
        _ => {}
    }
    // What is left of a record, and the beginning of the next, may by chance be the whole of it.
    let changed = sealed.concat();
    let same = changed.iter().zip(&whole).take_while(|(a, b)| a == b).count();
    let ends = lengths.iter().scan(0, |end, length| {
        *end += length;
        Some(*end)
    });
    let unchanged = ends.take_while(|end| *end <= same).count();
    let mut opened = Vec::new();
    'all: for piece in pieces(&changed, sizes) {
        let mut left = piece;
        loop {
            match to.open(&mut left, &mut plain) {
                Ok(true) => opened.extend_from_slice(&plain),
                Ok(false) => break,
                Err(_) => break 'all,
            }
        }
        assert!(left.is_empty());
    }
    assert_eq!(opened, content[..unchanged].concat());
}
