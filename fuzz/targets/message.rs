//! A frame's fields, and the frame as a relay passes it on: that it says the same but for `ttl` and `ttl0`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2p_chat::wire::frame::PREFIX;
use p2p_chat::wire::limits::{MAX_META, MAX_NAME, MAX_TEXT, MAX_TTL};
use p2p_chat::wire::message::{Field, Ttl, View, is_json};
use serde_json::{Value, json};

fuzz_target!(|frame: &[u8]| {
    let Ok(view) = View::parse(frame) else { return };
    assert_eq!(view.bytes(), frame);
    for field in fields(&view) {
        read(field);
    }
    let left = match view.ttl.ttl() {
        Ttl::Left(left) => left,
        // What a mute of the original gets.
        Ttl::None if !view.ttl.is_some() && view.kind.is_some() => MAX_TTL,
        Ttl::None => return,
    };
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
    for (came, goes) in fields(&view).into_iter().zip(fields(&again)) {
        assert_eq!(came.json(), goes.json());
    }
    // Numbers beyond a double can't be compared so.
    if let Ok(mut came) = serde_json::from_slice::<Value>(frame) {
        came["ttl"] = json!(left - 1);
        came["ttl0"] = json!(ttl0);
        assert_eq!(serde_json::from_slice::<Value>(goes).expect("JSON"), came);
    }
});

/// All fields but `ttl` and `ttl0`.
fn fields<'a>(view: &View<'a>) -> [Field<'a>; 18] {
    [
        view.kind,
        view.id,
        view.from,
        view.username,
        view.room,
        view.msg,
        view.encrypted_msg,
        view.encrypted_meta,
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
