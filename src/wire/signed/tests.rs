//! Changes that a signature survives, and those that it does not.

use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

use super::*;

const SEQ: SeqNo = SeqNo { epoch: 1_767_225_600_000, n: 7 };

fn author() -> Identity {
    Identity::new(&[5; KEY])
}

/// A frame's JSON, signed.
fn signed(message: &Value) -> String {
    signed_as_is(&message.to_string())
}

fn signed_as_is(body: &str) -> String {
    let mut frame = [&u32::try_from(body.len()).expect("short").to_be_bytes()[..], body.as_bytes()].concat();
    assert!(sign(&author(), SEQ, &mut frame), "{body}");
    let (length, body) = frame.split_at(PREFIX);
    assert_eq!(u32::from_be_bytes(length.try_into().expect("4")) as usize, body.len());
    String::from_utf8(body.to_vec()).expect("UTF-8")
}

fn verified(json: &str) -> Result<Signed, Bad> {
    verify(&View::parse(json.as_bytes()).unwrap_or_else(|e| panic!("{json}: {e:?}")))
}

fn chat() -> Value {
    json!({ "type": "chat", "id": "m1", "from": author().id_text(), "username": "Zoë", "room": "general", "msg": "hi",
        "ttl": 32, "ttl0": 32, "ts": "2026-01-01T00:00:00.000Z", "meta": { "b": [1, 0.5, null], "a": { "😀": true } },
        "yet_to_come": { "z": 1, "y": -0.25 } })
}

/// The bytes and the signature were made by a script of its own in Python: `json`, `struct` and `hashlib` for what is signed,
/// by the table in `canonical`, and Ed25519 written out from RFC 8032, appendix A.
#[test]
fn a_known_answer() {
    let json =
        signed(&json!({ "type": "chat", "id": "m1", "from": author().id_text(), "username": "Zoë", "room": "general",
        "msg": "hi \"there\"\n😀", "ttl": 32, "ttl0": 32, "ts": "2026-01-01T00:00:00.000Z",
        "meta": { "b": [1, -2, 0.5, 1e30, null, true, false], "a": { "": {}, "é": [[]] } } }));
    assert!(json.ends_with(include_str!("known_answer.txt").trim_end()), "{json}");
    assert_eq!(verified(&json).map(|it| it.seq), Ok(SEQ));
}

#[test]
fn a_relay_may_change_ttl_and_nothing_else() {
    let json = signed(&chat());
    let signed = verified(&json).expect("signed");
    assert_eq!((signed.key, signed.seq, signed.ttl0), (author().public(), SEQ, 32));
    let mut out = Vec::new();
    View::parse(json.as_bytes()).expect("JSON").relay(9, 32, &mut out);
    let relayed = String::from_utf8(out.split_off(PREFIX)).expect("UTF-8");
    assert!(relayed.contains("\"ttl\":9,"));
    assert_eq!(verified(&relayed), Ok(signed));
    assert_eq!(verified(&json.replace("\"ttl\":32,", "")), Ok(signed));
    assert_eq!(verified(&json.replace("\"ttl\":32,", "\"ttl\":{\"a\":1,\"a\":2},")), Ok(signed));
    assert_eq!(verified(&json.replace("\"hi\"", "\"ho\"")), Err(Bad::Signature));
}

#[test]
fn a_relay_may_add_nothing() {
    let json = signed(&chat());
    let with = |field: &str| json.replacen('{', &format!("{{{field},"), 1);
    assert_eq!(verified(&with("\"passed_on_by\":7")), Err(Bad::Fields), "what only a later version may know");
    assert_eq!(verified(&with("\"udp_port\":7")), Err(Bad::Fields));
    assert_eq!(verified(&with("\"encrypted_msg\":null")), Err(Bad::Fields));
    assert_eq!(verified(&with("\"yet_to_come\":{\"y\":-0.25,\"z\":1}")), Err(Bad::Fields), "the same twice");
    assert_eq!(verified(&with("\"\\u0079et_to_come\":1")), Err(Bad::Fields));
}

#[test]
fn what_is_no_signature_is_refused_as_what_it_is() {
    let json = signed(&chat());
    let of = "\"of\":\"from,";
    let long = format!("\"of\":\"from,{},", (0..33).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
    for (from, to, bad) in [
        ("\"key\":", "\"clé\":", Bad::Form),
        ("\"epoch\":1767225600000", "\"epoch\":-1", Bad::Form),
        ("\"epoch\":1767225600000", "\"epoch\":1e30", Bad::Form),
        ("\"epoch\":1767225600000", "\"epoch\":\"1767225600000\"", Bad::Form),
        ("\"n\":7", "\"n\":7.5", Bad::Form),
        ("\"n\":7", "\"n\":7,\"n\":7", Bad::Form),
        ("\"n\":7", "\"n\":7,\"more\":7", Bad::Form),
        ("\"by\":\"", "\"by\":\"A", Bad::Form),
        ("\"}}", "=\"}}", Bad::Form),
        (of, "\"of\":\"", Bad::Fields),
        (of, "\"of\":\"from,ttl,", Bad::Fields),
        (of, "\"of\":\"from,sig,", Bad::Fields),
        (of, "\"of\":\"from,from,", Bad::Fields),
        (of, "\"of\":\"from,,", Bad::Fields),
        (of, "\"of\":\"from,nowhere,", Bad::Fields),
        (of, &long, Bad::Fields),
        ("\"ttl0\":32", "\"ttl0\":0", Bad::Fields),
        ("\"ttl0\":32", "\"ttl0\":33", Bad::Fields),
        ("\"ttl0\":32", "\"ttl0\":\"32\"", Bad::Fields),
        ("\"ttl0\":32", "\"ttl_0\":32", Bad::Fields),
        ("\"hi\"", "\"\\ud800\"", Bad::Fields),
        ("0.5", "1e400", Bad::Fields),
        ("\"b\":[", "\"a\":1,\"b\":[", Bad::Fields),
        ("\"from\":\"", "\"from\":\"x", Bad::Author),
        ("\"n\":7", "\"n\":8", Bad::Signature),
        ("\"n\":7", "\"n\":7.0", Bad::Signature),
    ] {
        assert!(json.contains(from), "{from}");
        let changed = json.replace(from, to);
        let outcome = verified(&changed).err();
        // An integer is what it is, however it is written.
        assert_eq!(outcome, (to != "\"n\":7.0").then_some(bad), "{to}");
    }
    let upper = json.replace(author().id_text(), &author().id_text().to_uppercase());
    assert_eq!(verified(&upper), Err(Bad::Author), "an id has one form");
}

#[test]
fn what_cannot_be_signed_stays_as_it_was() {
    let many: Map<String, Value> = (0..=MAX_SIGNED).map(|n| (n.to_string(), json!(n))).collect();
    let bodies = [Value::Object(many).to_string(), json!({ "a,b": 1 }).to_string(), "{\"a\":\"\\ud800\"}".to_owned()];
    for body in bodies {
        let mut frame = [&[0; PREFIX], body.as_bytes()].concat();
        let before = frame.clone();
        assert!(!sign(&author(), SEQ, &mut frame), "{body}");
        assert_eq!(frame, before);
    }
}

#[test]
fn only_an_object_claims_to_be_a_signature() {
    for (json, claimed) in
        [("{\"sig\":{}}", true), ("{\"sig\":\"Bob\"}", false), ("{\"sig\":null}", false), ("{}", false)]
    {
        assert_eq!(claims(&View::parse(json.as_bytes()).expect("JSON")), claimed);
    }
}

/// Any JSON value: not deep, with numbers and strings of all kinds.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1000_i32..1000).prop_map(|n| Value::from(f64::from(n))),
        (-1e6..1e6).prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        any_text(),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c\"\\\\é😀]{0,3}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn any_text() -> impl Strategy<Value = Value> {
    prop_oneof!["[a-z ]{0,20}", prop::collection::vec(any::<char>(), 0..12).prop_map(String::from_iter)]
        .prop_map(Value::from)
}

/// A chat message of ours with some fields that no version knows.
fn any_message() -> impl Strategy<Value = Map<String, Value>> {
    let extra = prop::collection::btree_map("[a-z]{1,3}_", any_value(), 0..4);
    (any_text(), any_text(), any_value(), 1_u8..=32, extra).prop_map(|(username, msg, meta, ttl0, extra)| {
        let message = json!({ "type": "chat", "id": "m1", "from": author().id_text(), "username": username, "room": "r",
            "msg": msg, "ttl": 5, "ttl0": ttl0, "meta": meta });
        let Value::Object(mut message) = message else { unreachable!("an object") };
        message.extend(extra);
        message
    })
}

/// Writes JSON anew, as any program may.
struct Rewriter(ChaCha8Rng);

impl Rewriter {
    fn chance(&mut self, below: usize) -> usize {
        (self.0.next_u64() % below as u64) as usize
    }

    fn blank(&mut self) -> &'static str {
        ["", "", "", " ", "\n", "\t ", "\r\n"][self.chance(7)]
    }

    fn string(&mut self, text: &str) -> String {
        // All that is not ASCII escaped, as Python does; or anything else that JSON allows.
        let as_python = self.chance(2) == 0;
        let mut out = String::from("\"");
        for c in text.chars() {
            let must = c < ' ' || c == '"' || c == '\\';
            let escapes = must || (as_python && !c.is_ascii()) || (!as_python && self.chance(4) == 0);
            let short = match c {
                '"' => "\\\"",
                '\\' => "\\\\",
                '/' => "\\/",
                '\n' => "\\n",
                '\t' => "\\t",
                '\r' => "\\r",
                '\u{8}' => "\\b",
                '\u{c}' => "\\f",
                _ => "",
            };
            if !escapes {
                out.push(c);
            } else if !short.is_empty() && (as_python || self.chance(2) == 0) {
                out.push_str(short);
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&if as_python { format!("\\u{unit:04x}") } else { format!("\\u{unit:04X}") });
                }
            }
        }
        out + "\""
    }

    fn number(&mut self, number: &serde_json::Number) -> String {
        let exact = number.as_i64().is_some_and(|n| n.unsigned_abs() < 1 << 53);
        match number.as_f64() {
            Some(double) if number.is_f64() || exact => match self.chance(6) {
                0 => format!("{double:e}"),
                1 => format!("{double:.17e}").replace('e', "E"),
                2 if double.fract() == 0.0 && double.abs() < 1e15 => format!("{double:.0}"),
                3 if double.fract() == 0.0 && double.abs() < 1e15 => format!("{double:.3}"),
                4 if double.fract() == 0.0 && double.abs() < 1e15 => format!("{double:.0}e+00"),
                _ => number.to_string(),
            },
            _ => number.to_string(),
        }
    }

    fn value(&mut self, value: &Value) -> String {
        match value {
            Value::Null | Value::Bool(_) => value.to_string(),
            Value::Number(number) => self.number(number),
            Value::String(text) => self.string(text),
            Value::Array(values) => {
                let mut parts: Vec<String> = Vec::new();
                for value in values {
                    parts.push([self.blank(), &self.value(value), self.blank()].concat());
                }
                format!("[{}{}]", self.blank(), parts.join(","))
            }
            Value::Object(members) => {
                let mut parts: Vec<String> = Vec::new();
                for (key, value) in members {
                    let (key, value) = (self.string(key), self.value(value));
                    let (a, b, c) = (self.blank(), self.blank(), self.blank());
                    let at = self.chance(parts.len() + 1);
                    parts.insert(at, format!("{a}{key}{b}:{c}{value}"));
                }
                format!("{{{}{}}}", self.blank(), parts.join(","))
            }
        }
    }
}

fn rewrite(value: &Value, seed: u64) -> String {
    Rewriter(ChaCha8Rng::seed_from_u64(seed)).value(value)
}

/// A message with the signature that was made for it.
fn with_signature(message: &Map<String, Value>, json: &str) -> Map<String, Value> {
    let sig = View::parse(json.as_bytes()).expect("JSON").sig.json().expect("signed").parse().expect("JSON");
    let mut message = message.clone();
    message.insert("sig".into(), sig);
    message
}

fn meaning(value: &Value) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    canonical::value(&value.to_string(), &mut out).map(|()| out)
}

/// Changes something that is signed. False if there was nothing of that kind.
fn tamper(message: &mut Map<String, Value>, what: usize, at: usize, with: &Value) -> bool {
    let of: Vec<String> = message["sig"]["of"].as_str().expect("names").split(',').map(str::to_owned).collect();
    let name = of[at % of.len()].clone();
    match what {
        0 => {
            let before = message.insert(name.clone(), with.clone());
            before.as_ref().and_then(meaning) != meaning(with)
        }
        1 => message.remove(&name).is_some(),
        2 => {
            let value = message.remove(&name).expect("there");
            message.insert(format!("{name}x"), value);
            true
        }
        3 => {
            message.insert("sealed_by_nobody_yet".into(), Value::Null).is_none() && {
                let of = [of.join(","), "sealed_by_nobody_yet".into()].join(",");
                message["sig"]["of"] = of.into();
                true
            }
        }
        4 => message.insert(["muted", "nobody_knows"][at % 2].into(), with.clone()).is_none(),
        5 => {
            let but_one: Vec<&String> = of.iter().filter(|it| **it != name).collect();
            message["sig"]["of"] = but_one.into_iter().cloned().collect::<Vec<_>>().join(",").into();
            true
        }
        6 => {
            let mut swapped = of.clone();
            swapped.swap(at % of.len(), (at + 1) % of.len());
            message["sig"]["of"] = swapped.join(",").into();
            true
        }
        7 | 8 => {
            let field = if what == 7 { "n" } else { "epoch" };
            let before = message["sig"][field].as_u64().expect("a number");
            message["sig"][field] = (before ^ 1 << (at % 64)).into();
            true
        }
        _ => {
            let field = if what == 9 { "key" } else { "by" };
            let mut bytes = URL_SAFE_NO_PAD.decode(message["sig"][field].as_str().expect("text")).expect("base64");
            let bit = at % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            message["sig"][field] = URL_SAFE_NO_PAD.encode(bytes).into();
            true
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100_000, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    /// However it is written anew, a signed message stays what it is.
    #[test]
    fn a_signature_survives_writing_anew(message in any_message(), seed in any::<u64>()) {
        let json = signed_as_is(&rewrite(&Value::Object(message.clone()), seed));
        let expected = verified(&json);
        prop_assert_eq!(expected.map(|it| it.seq), Ok(SEQ));
        let again = rewrite(&Value::Object(with_signature(&message, &json)), seed ^ 1);
        prop_assert_eq!(verified(&again), expected, "{}", again);
    }

    /// After any change of its signed part a message is no longer believed.
    #[test]
    fn a_signature_survives_no_change(
        message in any_message(),
        what in 0_usize..11,
        at in any::<usize>(),
        with in any_value(),
        seed in any::<u64>(),
    ) {
        let mut message = with_signature(&message, &signed(&Value::Object(message.clone())));
        prop_assume!(tamper(&mut message, what, at, &with));
        let json = rewrite(&Value::Object(message), seed);
        prop_assert!(verified(&json).is_err(), "{}", json);
    }
}
