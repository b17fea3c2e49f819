//! What the state folder holds, whatever has become of it: the key file, and rows that a node is given at its start.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2p_chat::api::{EventKind, Request};
use p2p_chat::driver::state::key;
use p2p_chat::node::{Input, Output, STDIO, State, Table};
use p2p_chat_fuzz::{Choices, Fed};

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices(input);
    if choices.below(2) == 0 { key_file(choices) } else { rows(choices) }
});

fn key_file(mut choices: Choices<'_>) {
    if let Ok(secret) = key::read(&String::from_utf8_lossy(choices.0)) {
        assert_eq!(key::read(&key::write(&secret)), Ok(secret));
    }
    // A key file with one byte changed is refused, or holds the same key.
    let (at, by) = (choices.number(), choices.byte());
    let mut secret = [0; 32];
    secret.iter_mut().zip(choices.0).for_each(|(to, from)| *to = *from);
    let mut text = key::write(&secret).into_bytes();
    let at = at % text.len();
    text[at] = by & 0x7f;
    assert!(
        key::read(&String::from_utf8_lossy(&text)).is_ok_and(|it| it == secret)
            || key::read(&String::from_utf8_lossy(&text)).is_err()
    );
}

fn rows(mut choices: Choices<'_>) {
    let mut state = State::default();
    for _ in 0..8 {
        if choices.0.is_empty() {
            break;
        }
        let table = Table::ALL[choices.below(Table::ALL.len())];
        let length = choices.below(80);
        let key = String::from_utf8_lossy(choices.take(length)).into_owned();
        let length = choices.below(80);
        state.set(table, key, Some(choices.take(length).to_vec()));
    }
    let mut fed = Fed::with_state(Some(state));
    for (line, command) in
        [r#"{"cmd":"blocks"}"#, r#"{"cmd":"send","text":"x"}"#, r#"{"cmd":"status"}"#].iter().enumerate()
    {
        let request = Request::parse(line as u64 + 1, command.as_bytes()).expect("a command");
        fed.handle(Input::Request { client: STDIO, request });
        let replies = fed.out.outputs.iter().filter(|it| matches!(it, Output::Line { kind: EventKind::Reply, .. }));
        assert_eq!(replies.count(), 1);
    }
}
