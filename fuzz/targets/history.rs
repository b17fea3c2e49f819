//! Messages that are kept, and asked for: see `src/node/chaos/kept.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2p_chat::node::chaos::{choices::Choices, kept};

fuzz_target!(|input: &[u8]| kept::pages(Choices::Given(input)));
