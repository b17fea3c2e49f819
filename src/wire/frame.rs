//! A byte stream to frames: a 4-byte big-endian length, then so many bytes.
//!
//! Frames that lie whole in what was read are borrowed from it; only one that is cut in two is copied. Memory grows as
//! bytes come, never from the length alone.

use super::limits::{MAX_FIRST_FRAME, MAX_FRAME, MAX_SKIMMED_FRAME, MAX_SKIMMED_FRAME_LEVEL2};

/// The length prefix, in bytes.
pub const PREFIX: usize = 4;

/// Which frames a link may send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// A stranger: one small frame, its hello.
    First,
    /// A neighbour of level 1: what is over the limit, and is what an original may pass on, is skimmed.
    Level1,
    /// A neighbour of level 2, which knows the limit, though perhaps not what it adds itself.
    Level2,
}

impl Allowance {
    const fn limits(self) -> (usize, usize) {
        match self {
            Self::First => (MAX_FIRST_FRAME, MAX_FIRST_FRAME),
            Self::Level1 => (MAX_FRAME, MAX_SKIMMED_FRAME),
            Self::Level2 => (MAX_FRAME, MAX_SKIMMED_FRAME_LEVEL2),
        }
    }
}

/// The next item of the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A frame, without its length.
    Frame(&'a [u8]),
    /// A frame over the limit begins; it is being thrown away.
    Skimmed(usize),
}

/// A length over the limit: the link can't go on, since nobody can tell where the next frame starts.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge(pub usize);

/// The state of one link's incoming stream.
#[derive(Debug, Default)]
pub struct Decoder {
    /// A frame that is not whole yet, with its length; or, with `whole`, the one returned last.
    partial: Vec<u8>,
    whole: bool,
    skip: usize,
}

impl Decoder {
    /// The next frame of `input`, which is moved past what was used; `None` when all of it was.
    pub fn next<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
        allowance: Allowance,
    ) -> Result<Option<Item<'s>>, TooLarge> {
        if self.whole {
            self.whole = false;
            // A large frame's memory is given back; a small one's serves the next.
            if self.partial.capacity() > MAX_FIRST_FRAME { self.partial = Vec::new() } else { self.partial.clear() }
        }
        let skipped = self.skip.min(input.len());
        self.skip -= skipped;
        *input = input.get(skipped..).unwrap_or_default();

        if self.partial.is_empty() {
            let Some((prefix, rest)) = input.split_first_chunk::<PREFIX>() else {
                self.keep(input);
                return Ok(None);
            };
            let length = match self.admit(*prefix, allowance)? {
                Some(length) => length,
                None => {
                    let length = u32::from_be_bytes(*prefix) as usize;
                    *input = rest;
                    return Ok(Some(Item::Skimmed(length)));
                }
            };
            if let Some((frame, rest)) = rest.split_at_checked(length) {
                *input = rest;
                return Ok(Some(Item::Frame(frame)));
            }
            self.keep(input);
            return Ok(None);
        }
        self.complete(input, allowance)
    }

    /// The frames that lie whole in `input`, as [`next`](Self::next) will give them: none while one that was cut in two goes on.
    pub fn ahead<'i>(&self, input: &'i [u8], allowance: Allowance) -> impl Iterator<Item = &'i [u8]> + use<'i> {
        let mut rest = if self.in_frame() { &[] } else { input };
        std::iter::from_fn(move || {
            let (prefix, after) = rest.split_first_chunk::<PREFIX>()?;
            let length =
                usize::try_from(u32::from_be_bytes(*prefix)).ok().filter(|length| *length <= allowance.limits().0)?;
            let (frame, later) = after.split_at_checked(length)?;
            rest = later;
            Some(frame)
        })
    }

    /// Goes on with a frame that was cut in two.
    fn complete(&mut self, input: &mut &[u8], allowance: Allowance) -> Result<Option<Item<'_>>, TooLarge> {
        self.take(input, PREFIX);
        let Some(prefix) = self.partial.first_chunk::<PREFIX>().copied() else { return Ok(None) };
        let Some(length) = self.admit(prefix, allowance)? else {
            self.partial.clear();
            return Ok(Some(Item::Skimmed(u32::from_be_bytes(prefix) as usize)));
        };
        self.take(input, PREFIX + length);
        if self.partial.len() < PREFIX + length {
            return Ok(None);
        }
        self.whole = true;
        Ok(self.partial.get(PREFIX..).map(Item::Frame))
    }

    /// The length of a frame that is let in; `None` for one that is skimmed, which is then being skipped.
    fn admit(&mut self, prefix: [u8; PREFIX], allowance: Allowance) -> Result<Option<usize>, TooLarge> {
        let length = u32::from_be_bytes(prefix) as usize;
        let (kept, skimmed) = allowance.limits();
        if length > skimmed {
            return Err(TooLarge(length));
        }
        if length > kept {
            self.skip = length;
            return Ok(None);
        }
        Ok(Some(length))
    }

    fn keep(&mut self, input: &mut &[u8]) {
        self.partial.extend_from_slice(input);
        *input = &[];
    }

    /// Moves bytes from `input` until `partial` has `length` of them.
    fn take(&mut self, input: &mut &[u8], length: usize) {
        let missing = length.saturating_sub(self.partial.len()).min(input.len());
        let (now, later) = input.split_at(missing);
        self.partial.extend_from_slice(now);
        *input = later;
    }

    /// Whether a frame has been begun and is not whole.
    pub fn in_frame(&self) -> bool {
        self.skip > 0 || !(self.whole || self.partial.is_empty())
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        self.partial.capacity()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        [&u32::try_from(body.len()).expect("small").to_be_bytes(), body].concat()
    }

    /// Feeds `stream` in pieces of the given sizes, in turn.
    fn feed(stream: &[u8], pieces: &[usize], allowance: Allowance) -> Result<Vec<Vec<u8>>, TooLarge> {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        let mut rest = stream;
        for &size in pieces.iter().cycle() {
            let (mut now, later) = rest.split_at(size.min(rest.len()));
            let mut ahead: Vec<Vec<u8>> = decoder.ahead(now, allowance).map(<[u8]>::to_vec).collect();
            ahead.reverse();
            while let Some(item) = decoder.next(&mut now, allowance)? {
                match item {
                    Item::Frame(bytes) => {
                        assert!(ahead.pop().is_none_or(|it| it == bytes), "what was seen ahead comes first");
                        frames.push(bytes.to_vec());
                    }
                    Item::Skimmed(n) => frames.push(format!("skimmed {n}").into_bytes()),
                }
            }
            assert!(ahead.is_empty(), "all of what was seen ahead comes");
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        Ok(frames)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100_000))]

        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
            pieces in prop::collection::vec(1_usize..400, 1..20),
        ) {
            let stream: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
            prop_assert_eq!(feed(&stream, &pieces, Allowance::Level2), Ok(bodies));
        }
    }

    #[test]
    fn a_length_bomb_takes_no_memory_and_closes_the_link() {
        let mut decoder = Decoder::default();
        let bomb = (MAX_FRAME as u32).to_be_bytes();
        assert_eq!(decoder.next(&mut &bomb[..], Allowance::Level2), Ok(None));
        assert!(decoder.held() < 64 && decoder.in_frame());
        for (length, allowance) in [
            (MAX_FIRST_FRAME, Allowance::First),
            (MAX_SKIMMED_FRAME, Allowance::Level1),
            (MAX_SKIMMED_FRAME_LEVEL2, Allowance::Level2),
        ] {
            let bomb = (length as u32 + 1).to_be_bytes();
            assert_eq!(Decoder::default().next(&mut &bomb[..], allowance), Err(TooLarge(length + 1)));
        }
    }

    #[test]
    fn a_large_frame_is_skimmed() {
        let large = frame(&vec![7; MAX_FRAME + 5]);
        let stream = [frame(b"a"), large, frame(b"b")].concat();
        for (piece, level) in
            [3, 65_536, usize::MAX].into_iter().flat_map(|it| [(it, Allowance::Level1), (it, Allowance::Level2)])
        {
            let frames = feed(&stream, &[piece], level).expect("no blame");
            assert_eq!(frames, [b"a".to_vec(), format!("skimmed {}", MAX_FRAME + 5).into_bytes(), b"b".to_vec()]);
        }
    }
}
