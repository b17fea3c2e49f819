//! A stream of frames, cut anywhere: what comes out is what a reader of the whole stream sees, and takes no more memory
//! than what came.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2p_chat::wire::frame::{Allowance, Decoder, Item, PREFIX, TooLarge};
use p2p_chat::wire::limits::{MAX_FIRST_FRAME, MAX_FRAME, MAX_SKIMMED_FRAME, MAX_SKIMMED_FRAME_LEVEL2};
use p2p_chat_fuzz::{Choices, pieces};

#[derive(Debug, PartialEq)]
enum Seen<'a> {
    Frame(&'a [u8]),
    Skimmed(usize),
    TooLarge(usize),
}

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices(input);
    let allowance = [Allowance::First, Allowance::Level1, Allowance::Level2][choices.below(3)];
    let sizes = [choices.byte(), choices.byte(), choices.byte()];
    let stream = choices.0;
    let (expected, skipped, rest) = read_whole(stream, allowance);

    let mut decoder = Decoder::default();
    let mut expected = expected.into_iter();
    let mut came = 0;
    for piece in pieces(stream, sizes) {
        came += piece.len();
        let mut left = piece;
        loop {
            match decoder.next(&mut left, allowance) {
                Ok(None) => break,
                Ok(Some(Item::Frame(frame))) => assert_eq!(Some(Seen::Frame(frame)), expected.next()),
                Ok(Some(Item::Skimmed(n))) => assert_eq!(Some(Seen::Skimmed(n)), expected.next()),
                Err(TooLarge(n)) => return assert_eq!(Some(Seen::TooLarge(n)), expected.next()),
            }
        }
        assert!(left.is_empty());
        // A vector that grows takes twice what it needs at most, and 8 bytes at least.
        assert!(decoder.held() <= 2 * came.max(4), "{} bytes held after {came}", decoder.held());
    }
    assert_eq!(expected.next(), None);
    assert_eq!(decoder.in_frame(), skipped > 0 || !rest.is_empty());

    // The rest of a frame that is skimmed costs nothing, and what follows is read again.
    static FILL: [u8; MAX_SKIMMED_FRAME] = [0; MAX_SKIMMED_FRAME];
    if skipped > 0 {
        let mut left = &FILL[..skipped];
        assert_eq!(decoder.next(&mut left, allowance), Ok(None));
        assert!(left.is_empty() && !decoder.in_frame());
        let after = [&3_u32.to_be_bytes()[..], b"abc"].concat();
        assert_eq!(decoder.next(&mut &after[..], allowance), Ok(Some(Item::Frame(b"abc"))));
    }
});

/// What a stream holds, by the words of the protocol; bytes that a skimmed frame still lacks, and those of a frame that
/// is not whole.
fn read_whole(stream: &[u8], allowance: Allowance) -> (Vec<Seen<'_>>, usize, &[u8]) {
    let (kept, skimmed) = match allowance {
        Allowance::First => (MAX_FIRST_FRAME, MAX_FIRST_FRAME),
        Allowance::Level1 => (MAX_FRAME, MAX_SKIMMED_FRAME),
        Allowance::Level2 => (MAX_FRAME, MAX_SKIMMED_FRAME_LEVEL2),
    };
    let mut seen = Vec::new();
    let mut rest = stream;
    while let Some((prefix, body)) = rest.split_first_chunk::<PREFIX>() {
        let length = u32::from_be_bytes(*prefix) as usize;
        if length > skimmed {
            seen.push(Seen::TooLarge(length));
            return (seen, 0, rest);
        }
        if length > kept {
            seen.push(Seen::Skimmed(length));
            match body.get(length..) {
                Some(after) => rest = after,
                None => return (seen, length - body.len(), &[]),
            }
            continue;
        }
        let Some((frame, after)) = body.split_at_checked(length) else { break };
        seen.push(Seen::Frame(frame));
        rest = after;
    }
    (seen, 0, rest)
}
