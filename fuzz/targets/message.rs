//! A frame's fields, and the frame as a relay passes it on: that it says the same but for `ttl` and `ttl0`. And the same frame
//! signed: that its signature holds behind a relay, and for nothing else.
#![no_main]

use std::hash::{DefaultHasher, Hash, Hasher};

use libfuzzer_sys::fuzz_target;
use p2p_chat::wire::frame::PREFIX;
use p2p_chat::wire::identity::Identity;
use p2p_chat::wire::limits::{MAX_META, MAX_NAME, MAX_TEXT, MAX_TTL};
use p2p_chat::wire::message::{Field, Ttl, View, fields as all_fields, is_json};
use p2p_chat::wire::signed::{self, SeqNo, Signed};
use serde_json::{Value, json};

fuzz_target!(|frame: &[u8]| {
    let Ok(view) = View::parse(frame) else { return };
    assert_eq!(view.bytes(), frame);
    for field in fields(&view) {
        read(field);
    }
    relay(&view);
    let (verified, seq) = (signed::verify(&view), signed::seq_no(&view));
    assert!(verified.is_err() || seq == verified.ok().map(|it| it.seq));
    if let Some(frame) = sign(&view) {
        change(frame);
    }
});

/// Who signs here.
fn author() -> Identity {
    Identity::new(&[1; 32])
}

/// The same frame, signed: `from` is the author's, and `ttl0` added if it is missing.
fn sign(view: &View<'_>) -> Option<Vec<u8>> {
    let seq = SeqNo { epoch: 7, n: 1 << 40 };
    let (author, bytes) = (author(), view.bytes());
    let mut frame = vec![0; PREFIX];
    match view.from.json() {
        Some(from) => {
            let at = from.as_ptr() as usize - bytes.as_ptr() as usize;
            frame.extend_from_slice(&bytes[..at]);
            frame.extend_from_slice(format!("\"{}\"", author.id_text()).as_bytes());
            frame.extend_from_slice(&bytes[at + from.len()..]);
        }
        None => {
            let at = bytes.iter().position(|byte| *byte == b'{')? + 1;
            frame.extend_from_slice(&bytes[..at]);
            let comma = if all_fields(bytes)?.is_empty() { "" } else { "," };
            frame.extend_from_slice(format!("\"from\":\"{}\"{comma}", author.id_text()).as_bytes());
            frame.extend_from_slice(&bytes[at..]);
        }
    }
    if !view.ttl0.is_some() {
        let end = frame.iter().rposition(|byte| *byte == b'}')?;
        frame.splice(end..end, *b",\"ttl0\":32");
    }
    let before = frame.clone();
    if view.sig.is_some() || !signed::sign(&author, seq, &mut frame) {
        // Not without a reason.
        assert!(view.sig.is_some() || frame == before);
        return None;
    }
    let frame = frame.split_off(PREFIX);
    let view = View::parse(&frame).expect("what was signed can be read");
    match signed::verify(&view) {
        Ok(Signed { key, seq: it, ttl0 }) => {
            assert!(key == author.public() && it == seq && number(&view) == Some(ttl0.into()));
        }
        // It is signed, with a `ttl0` that is none.
        Err(_) => {
            assert!(number(&view).is_none_or(|it| !(1.0..=f64::from(MAX_TTL)).contains(&it) || it.fract() != 0.0));
            return None;
        }
    }
    relay(&view);
    Some(frame)
}

/// `ttl0`, however it is written.
fn number(view: &View<'_>) -> Option<f64> {
    view.ttl0.json()?.parse().ok()
}

/// Changes a byte of a signed frame. If its signature holds all the same, it says the same.
fn change(frame: Vec<u8>) {
    let mut hasher = DefaultHasher::new();
    frame.hash(&mut hasher);
    let hash = hasher.finish();
    let mut changed = frame.clone();
    let at = (hash >> 16) as usize % changed.len();
    // A bit, or another digit, or another of the bytes that mean something in JSON.
    changed[at] = match hash % 4 {
        0 => b'0' + (hash >> 8) as u8 % 10,
        1 => b" \",:{}[]\\-.e"[(hash >> 8) as usize % 12],
        _ => changed[at] ^ 1 << (hash >> 8 & 7),
    };
    let Ok(view) = View::parse(&changed) else { return };
    let Ok(signed) = signed::verify(&view) else { return };
    assert_eq!(signed.key, author().public());
    relay(&view);
    let (before, after) = [&frame, &changed].map(|it| serde_json::from_slice::<Value>(it)).into();
    // Numbers beyond a double can't be compared so.
    let (Ok(before), Ok(after)) = (before, after) else { return };
    assert!(same(&before["sig"], &after["sig"]));
    for name in before["sig"]["of"].as_str().expect("it has been signed").split(',') {
        assert!(same(&before[name], &after[name]), "{name} is another, and still signed");
    }
}

/// Whether two values mean the same, however their numbers are written.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_u64(), b.as_u64()) {
            (Some(a), Some(b)) => a == b,
            // What reads them here does not round as it should.
            _ => a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| (a - b).abs() <= a.abs() * 1e-15),
        },
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

/// Passes a frame on, if it is to be.
fn relay(view: &View<'_>) {
    let (frame, signed) = (view.bytes(), signed::verify(view));
    let left = match view.ttl.ttl() {
        Ttl::Left(left) => left,
        // What a mute of the original gets.
        Ttl::None if !view.ttl.is_some() && view.kind.is_some() => MAX_TTL,
        Ttl::None => return,
    };
    if let Ok(signed) = signed {
        // What is signed says what it started with.
        let mut out = Vec::new();
        view.relay(left.min(signed.ttl0) - 1, signed.ttl0, &mut out);
        let again = View::parse(&out[PREFIX..]).expect("what goes on can be read again");
        assert_eq!(signed::verify(&again), Ok(signed));
    }
    let (hops, ttl0) = view.hops(left);
    assert!((left..=MAX_TTL).contains(&ttl0) && hops == u32::from(ttl0 - left) + 1);

    let mut out = Vec::new();
    view.relay(left - 1, ttl0, &mut out);
    let (length, goes) = out.split_at(PREFIX);
    assert_eq!(length, u32::try_from(goes.len()).expect("small").to_be_bytes());
    let again = View::parse(goes).expect("what goes on can be read again");
    let expected = if left > 1 { Ttl::Left(left - 1) } else { Ttl::None };
    assert_eq!((again.ttl.ttl(), again.ttl0.ttl()), (expected, Ttl::Left(ttl0)));
    assert_eq!(again.hops(left.max(2) - 1).0, if left > 1 { hops + 1 } else { hops });
    for (came, goes) in fields(view).into_iter().zip(fields(&again)) {
        assert_eq!(came.json(), goes.json());
    }
    // Numbers beyond a double can't be compared so.
    if let Ok(mut came) = serde_json::from_slice::<Value>(frame) {
        came["ttl"] = json!(left - 1);
        came["ttl0"] = json!(ttl0);
        assert_eq!(serde_json::from_slice::<Value>(goes).expect("JSON"), came);
    }
}

/// All fields but `ttl` and `ttl0`.
fn fields<'a>(view: &View<'a>) -> [Field<'a>; 21] {
    [
        view.kind,
        view.id,
        view.from,
        view.username,
        view.room,
        view.msg,
        view.encrypted_msg,
        view.encrypted_meta,
        view.sealed_msg,
        view.sealed_meta,
        view.ts,
        view.meta,
        view.ours,
        view.nonce,
        view.message,
        view.taken,
        view.udp_host,
        view.udp_port,
        view.muted,
        view.voice,
        view.sig,
    ]
}

fn read(field: Field<'_>) {
    let string = field.string();
    if let Ok(text) = field.text() {
        assert!(text.len() <= MAX_TEXT);
        assert!(string.as_deref().is_ok_and(|string| string == text) || text.contains('\u{fffd}'));
    }
    if let Ok(name) = field.name() {
        assert!((1..=MAX_NAME).contains(&name.len()) && Ok(name) == string);
    }
    assert!(field.name_if_any().is_ok() || field.name().is_err());
    assert!(field.time().is_ok_and(|time| time.len() <= MAX_NAME) || field.is_some());
    if let Ok(Some(object)) = field.object() {
        assert!(object.len() <= MAX_META && is_json(object.as_bytes()));
    }
    let (number, boolean) = (field.number(), field.boolean());
    assert!(number.is_none() || boolean.is_none());
    if let Ttl::Left(left) = field.ttl() {
        assert!((1..=MAX_TTL).contains(&left));
    }
}
