//! The pure node under random inputs: see [`chaos`](super::chaos).

mod history;
mod places;
mod trust;
mod voice;

use super::chaos::choices::Choices;
use super::chaos::{kept, live};

/// How many lives; `CHAOS_RUNS` raises it, for a soak.
fn runs() -> u64 {
    std::env::var("CHAOS_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(300)
}

/// The first seed; `CHAOS_SEED` sets it, to run one again.
fn first() -> u64 {
    std::env::var("CHAOS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0)
}

#[test]
fn random_inputs_break_nothing() {
    let (mut shown, mut replies, mut played, mut taken, mut sealed) = (0, 0, 0, 0, 0);
    for seed in first()..first() + runs() {
        let life = std::panic::catch_unwind(|| live(Choices::seeded(seed), 1500));
        let life = life.unwrap_or_else(|_| panic!("CHAOS_SEED={seed} CHAOS_RUNS=1 runs this again"));
        shown += life.shown;
        replies += life.replies;
        played += life.played;
        taken += life.taken;
        sealed += life.sealed;
    }
    assert!(played > 500 && taken > 200, "too little voice to tell: {played} chunks, {taken} datagrams");
    assert!(shown > 300 && replies > 1000, "too little happened to tell: {shown} shown, {replies} replies");
    assert!(sealed > 300, "too few links of level 2 to tell: {sealed}");
}

#[test]
fn whatever_is_kept_can_be_asked_for() {
    for seed in first()..first() + runs() {
        kept::pages(Choices::seeded(seed));
    }
}
