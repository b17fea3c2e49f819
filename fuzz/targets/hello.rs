//! A stranger's first bytes, on a link that it dialled, that was dialled, or that was dialled again at level 1: it becomes a
//! neighbour or is shown the door.
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
    let how = choices.below(3);
    let sizes = [choices.byte(), choices.byte(), choices.byte()];
    let (mut fed, link, addr) = (Fed::new(), LinkId(2), SocketAddr::from(([10, 0, 0, 1], 7)));
    if how > 0 {
        let connect = br#"{"cmd":"connect","addr":"10.0.0.1:7"}"#;
        fed.handle(Input::Request { client: STDIO, request: Request::parse(1, connect).expect("a command") });
        let Some(Output::Dial { dial, .. }) = fed.out.outputs.pop() else { panic!("not dialled") };
        let first = if how == 1 { link } else { LinkId(1) };
        fed.handle(Input::Dialled { dial, link: first, addr, more: false });
        if how == 2 {
            fed.handle(Input::Ended { link: first, error: None });
            let Some(Output::Dial { dial, .. }) = fed.out.outputs.pop() else { panic!("not dialled again") };
            fed.handle(Input::Dialled { dial, link, addr, more: false });
        }
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
