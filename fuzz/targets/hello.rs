//! A stranger's first bytes, on a link that it dialled or that was dialled: it becomes a neighbour or is shown the door.
#![no_main]

use std::net::SocketAddr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use p2p_chat::api::{EventKind, Request};
use p2p_chat::node::{Input, LinkId, Output, STDIO};
use p2p_chat::wire::limits::FIRST_FRAME_TIME;
use p2p_chat_fuzz::{Choices, Fed, pieces};

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices(input);
    let dialled = choices.below(2) == 1;
    let sizes = [choices.byte(), choices.byte(), choices.byte()];
    let (mut fed, link, addr) = (Fed::new(), LinkId(1), SocketAddr::from(([10, 0, 0, 1], 7)));
    if dialled {
        let connect = br#"{"cmd":"connect","addr":"10.0.0.1:7"}"#;
        fed.handle(Input::Request { client: STDIO, request: Request::parse(1, connect).expect("a command") });
        let Some(Output::Dial { dial, .. }) = fed.out.outputs.pop() else { panic!("not dialled") };
        fed.handle(Input::Dialled { dial, link, addr });
    } else {
        fed.handle(Input::Accepted { link, addr });
    }
    let (mut ups, mut closed) = (0, false);
    let mut look = |fed: &Fed| {
        for output in &fed.out.outputs {
            match output {
                Output::Line { kind: EventKind::PeerUp, .. } => ups += 1,
                Output::Close(id) if *id == link => closed = true,
                _ => {}
            }
        }
    };
    for piece in pieces(choices.0, sizes) {
        fed.handle(Input::Bytes { link, bytes: piece });
        look(&fed);
    }
    assert!(ups <= 1 && fed.node.link_count() == usize::from(!closed));
    assert!(fed.node.neighbour_ids().len() == ups || closed);
    // Who has said nothing that counts is gone in time.
    fed.later(FIRST_FRAME_TIME + Duration::from_millis(1));
    fed.handle(Input::Tick);
    assert!(ups == 1 || fed.node.link_count() == 0);
});
