//! Input to lines and lines to commands: the same wherever the input is cut, each line once, each with its number.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2p_chat::api::lines::Lines;
use p2p_chat::api::{CommandId, Request};
use p2p_chat_fuzz::{Choices, pieces};

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices(input);
    let sizes = [choices.byte(), choices.byte(), choices.byte()];
    let input = choices.0;
    let mut lines = Lines::default();
    let mut requests: Vec<Request> = pieces(input, sizes).flat_map(|piece| lines.split(piece)).collect();
    requests.extend(lines.end());
    let expected: Vec<Request> =
        (1..).zip(input.split(|byte| *byte == b'\n')).filter_map(|(line, text)| Request::parse(line, text)).collect();
    assert_eq!(requests, expected);
    for request in requests {
        if let Some(CommandId::Text(id)) = &request.id {
            assert!(id.len() <= 64);
        }
        if let Err(error) = &request.body {
            let text = p2p_chat::api::line::to_json(error);
            assert!(!text.contains('\n') && !text.contains('\u{1b}') && !text.contains('\u{202e}'));
        }
    }
});
