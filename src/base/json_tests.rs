//! The serialiser writes the same bytes as `serde_json`.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::*;

fn plain(value: &impl Serialize) -> String {
    let mut out = Vec::new();
    write::<false>(value, &mut out).expect("JSON");
    String::from_utf8(out).expect("UTF-8")
}

fn safe(value: &impl Serialize) -> String {
    let mut out = Vec::new();
    write::<true>(value, &mut out).expect("JSON");
    String::from_utf8(out).expect("UTF-8")
}

/// The slow way: `serde_json`'s own, and then every unsafe character by itself.
fn slowly(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("JSON");
    let escape = |c: char| if is_unsafe(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    json.chars().map(escape).collect()
}

fn check(value: &impl Serialize) {
    assert_eq!(plain(value), serde_json::to_string(value).expect("JSON"));
    assert_eq!(safe(value), slowly(value));
}

#[derive(Serialize)]
enum Choice {
    Unit,
    New(u8),
    Pair(i8, char),
    Named { a: Option<i64> },
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Tagged<'a> {
    All(Box<All<'a>>),
    Nothing,
}

#[derive(Serialize)]
struct Unit;

#[derive(Serialize)]
struct Inner<'a> {
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    absent: Option<u8>,
}

#[derive(Serialize)]
struct All<'a> {
    #[serde(flatten)]
    inner: Inner<'a>,
    choices: [Choice; 4],
    unit: Unit,
    nothing: (),
    yes: bool,
    pair: (f32, f64),
    large: (u128, i128, u64, i64),
    keys: BTreeMap<i32, u16>,
    bools: BTreeMap<bool, ()>,
    raw: &'a RawValue,
}

fn with_all(text: &str, then: impl FnOnce(&All<'_>)) {
    let raw = RawValue::from_string(format!("{{ {} :[1.50]}}", Value::from(text))).expect("JSON");
    then(&All {
        inner: Inner { text, absent: None },
        choices: [Choice::Unit, Choice::New(7), Choice::Pair(-8, '\u{85}'), Choice::Named { a: Some(i64::MIN) }],
        unit: Unit,
        nothing: (),
        yes: true,
        pair: (0.1, f64::NAN),
        large: (u128::MAX, i128::MIN, u64::MAX, 0),
        keys: BTreeMap::from([(-1, 2), (30, 4)]),
        bools: BTreeMap::from([(false, ())]),
        raw: &raw,
    });
}

#[test]
fn every_character_at_every_place() {
    let all = (0..0x300).chain(0x2010..0x2070).chain([0xfffd, 0x1f600]).filter_map(char::from_u32);
    for c in all {
        for before in [0, 1, 15, 16, 17, 31, 40] {
            check(&format!("{}{c}", "x".repeat(before)));
            check(&format!("{}{c}{}", "x".repeat(before), "y".repeat(20)));
        }
    }
    check(&(0..0x3000).filter_map(char::from_u32).collect::<String>());
}

#[test]
fn every_kind_of_value() {
    for text in ["", "plain", "\u{202e}\"\\\n\u{7f}é世"] {
        with_all(text, |all| check(all));
        with_all(text, |all| {
            check(&Tagged::All(Box::new(All { inner: Inner { text, absent: Some(1) }, raw: all.raw, ..copy() })))
        });
    }
    check(&Tagged::Nothing);
    check(&[Some(1), None]);
    check(&Vec::<u8>::new());
    check(&BTreeMap::<String, u8>::new());
    check(&"owned".to_owned().into_bytes());
}

fn copy<'a>() -> All<'a> {
    All {
        inner: Inner { text: "", absent: None },
        choices: [Choice::Unit, Choice::Unit, Choice::New(0), Choice::Named { a: None }],
        unit: Unit,
        nothing: (),
        yes: false,
        pair: (1e30, -0.0),
        large: (0, 0, 0, -1),
        keys: BTreeMap::new(),
        bools: BTreeMap::new(),
        raw: RawValue::NULL,
    }
}

#[test]
fn what_is_no_key_is_refused_as_there() {
    assert!(write::<false>(&BTreeMap::from([(Some(1), 1)]), &mut Vec::new()).is_ok());
    assert!(write::<false>(&BTreeMap::from([((1, 2), 1)]), &mut Vec::new()).is_err());
    assert!(write::<false>(&BTreeMap::from([((), 1)]), &mut Vec::new()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_text(text in any::<String>(), odd in "[\u{0}-\u{24}\\\\\u{7f}-\u{a0}\u{2028}-\u{2030}\u{2064}-\u{206a}xyz]{0,40}") {
        check(&text);
        check(&odd);
        with_all(&odd, |all| check(all));
    }
}
