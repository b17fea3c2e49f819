use serde_json::{Value, json};

use super::*;
use crate::base::Roots;

fn rooms(listened: &[&str]) -> Rooms {
    let listened: Vec<String> = listened.iter().map(|it| (*it).to_owned()).collect();
    Rooms::new("a", &listened, &[], Roots::new(Some(1), "", [0; 32]).secrets("rooms"))
}

/// A key of the original's scheme: cheap to derive.
fn key(passphrase: &str) -> RoomKey {
    RoomKey::derive(Scheme::Original, passphrase, "a")
}

fn opened(rooms: &Rooms, message: &Value) -> (Option<String>, Option<OpenError>) {
    let json = message.to_string();
    let view = View::parse(json.as_bytes()).expect("an object");
    let opened = rooms.open(&view, "a", "author");
    (opened.text.map(Cow::into_owned), opened.error)
}

fn sealed(rooms: &mut Rooms, text: &str) -> Value {
    let sealed = rooms.seal(Purpose::Text, "author", "a", SeqNo { epoch: 1, n: 1 }, text).expect("a key");
    json!({ "msg": "", "encrypted_msg": sealed })
}

#[test]
fn the_active_room_and_those_listened_to_are_shown() {
    let mut it = rooms(&["b"]);
    assert!(it.is_shown("a") && it.is_shown("b") && !it.is_shown("c") && !it.is_listened("a"));
    assert_eq!(it.activate("c".into()), "a");
    assert!(it.is_shown("c") && !it.is_shown("a"));
    it.listen(["*".to_owned(), "d".to_owned()].into_iter());
    assert!(it.is_shown("x") && !it.is_pinned("x") && it.is_pinned("d") && !it.is_pinned("b"));
    assert_eq!(it.listened(), ["*", "d"]);
}

#[test]
fn a_room_is_similar_to_a_shown_one_if_people_would_take_it_for_that() {
    let mut it = rooms(&["Caf\u{e9}"]);
    assert_eq!(
        (it.similar("A"), it.similar(" a"), it.similar("cafe\u{301} ")),
        (Some("a"), Some("a"), Some("Caf\u{e9}"))
    );
    assert_eq!((it.similar("a"), it.similar("b"), it.similar("cafe")), (None, None, None));
    it.activate("A".into());
    assert_eq!((it.similar("a"), it.similar("A")), (Some("A"), None));
    it.listen(["*".to_owned()].into_iter());
    assert_eq!(it.similar("a"), None);
}

#[test]
fn meta_is_shown_on_one_line_and_whole() {
    let json = "{\"msg\":\"\",\"meta\":{\n\"a\\ud83d\":\r[1.50]}}";
    let view = View::parse(json.as_bytes()).expect("an object");
    let meta = rooms(&[]).open(&view, "a", "author").meta;
    assert_eq!(meta.as_deref(), Some("{ \"a\\ufffd\": [1.50]}"));
}

#[test]
fn a_derived_key_takes_the_place_of_the_one_before_which_still_opens() {
    let mut it = rooms(&[]);
    it.derive(JobId(1), "a");
    assert!(it.is_deriving("a") && it.is_under_way(JobId(1)) && it.key("a").is_none());
    assert_eq!(it.on_derived(JobId(1), key("one")).as_deref(), Some("a"));
    assert!(!it.is_deriving("a") && it.weak() == Some("a"));
    let first = sealed(&mut it, "first");
    it.derive(JobId(2), "a");
    it.on_derived(JobId(2), key("two"));
    let second = sealed(&mut it, "second");
    assert_eq!(opened(&it, &first).0.as_deref(), Some("first"));
    assert_eq!(opened(&it, &second).0.as_deref(), Some("second"));
    it.derive(JobId(3), "a");
    it.on_derived(JobId(3), key("three"));
    assert_eq!(opened(&it, &first), (None, Some(OpenError::WrongKey)));
    assert_eq!(it.keyed().collect::<Vec<_>>(), [("a", Scheme::Original)]);
}

#[test]
fn a_key_that_is_cleared_while_another_is_derived_does_not_come_back() {
    let mut it = rooms(&[]);
    it.derive(JobId(1), "a");
    it.on_derived(JobId(1), key("one"));
    let message = sealed(&mut it, "x");
    it.derive(JobId(2), "a");
    assert!(it.clear_key("a") && !it.clear_key("a"));
    assert_eq!(it.on_derived(JobId(2), key("two")), None);
    assert!(it.key("a").is_none() && it.seal(Purpose::Text, "author", "a", SeqNo::default(), "x").is_none());
    assert_eq!(opened(&it, &message), (None, Some(OpenError::NoKey)));
}

#[test]
fn other_schemes_and_plain_texts_are_told_apart() {
    let mut it = rooms(&[]);
    it.derive(JobId(1), "a");
    it.on_derived(JobId(1), key("one"));
    assert_eq!(opened(&it, &json!({ "msg": "plain" })), (Some("plain".into()), None));
    assert_eq!(opened(&it, &json!({ "msg": "", "sealed_msg": "x" })), (None, Some(OpenError::OtherScheme)));
    assert_eq!(opened(&it, &json!({ "msg": "", "encrypted_msg": "x" })), (None, Some(OpenError::WrongKey)));
    assert_eq!(opened(&it, &json!({ "msg": "p", "encrypted_msg": null })), (Some("p".into()), None));
}

#[test]
fn keys_have_a_bound() {
    let mut it = rooms(&[]);
    (0..MAX_ROOMS).for_each(|n| it.derive(JobId(n as u64), &n.to_string()));
    assert!(it.is_full("another") && !it.is_full("0"));
}
