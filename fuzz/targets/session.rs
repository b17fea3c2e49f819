//! A node among many peers, good and bad: see `src/node/chaos`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2p_chat::node::chaos::{choices::Choices, live};

/// So that an input is done with soon.
const STEPS: usize = 60;

fuzz_target!(|input: &[u8]| {
    live(Choices::Given(input), STEPS);
});
