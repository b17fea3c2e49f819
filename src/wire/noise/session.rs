//! Records: pieces of a link's stream of frames, sealed.

use snow::TransportState;

use super::crypto::TAG;

/// The overhead of a record, in bytes: its length and a tag.
pub const OVERHEAD: usize = LENGTH + TAG;
/// The most content of one record of ours, in bytes: it stays in the nearest cache while it is sealed, and the overhead is
/// a thousandth.
pub const MAX_PLAIN: usize = (16 << 10) - OVERHEAD;
/// The length of a record's length, in bytes. With it, a record may be as long as Noise allows: 65,535 bytes.
const LENGTH: usize = 2;
/// After so many records in one direction its key is replaced by the next (Noise, 11.3): a thief of a key from a running process
/// can open no more than these records from before. A guess: 16 MiB at most, and the cost of one more record. A fuzzer sees few
/// records.
const REKEY_AFTER: u32 = if cfg!(fuzzing) { 4 } else { 1024 };
/// The size, in bytes, from which on the buffer for a record in pieces is given back.
const GIVE_BACK: usize = 16 << 10;

/// A record that does not open, is empty, or is not whole at the end: changed, repeated, left out or not from the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadRecord;

/// Seals and opens the records of one link.
pub struct Session {
    noise: TransportState,
    /// Records since the key was replaced, in each direction.
    sealed: u32,
    opened: u32,
    /// A record that has not come wholly yet, with its length.
    partial: Vec<u8>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    pub(super) const fn new(noise: TransportState) -> Self {
        Self { noise, sealed: 0, opened: 0, partial: Vec::new() }
    }

    /// Appends a record with this in it, at most [`MAX_PLAIN`] bytes and at least one.
    ///
    /// # Errors
    /// If there are too many bytes or none.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), BadRecord> {
        if plain.is_empty() || plain.len() > MAX_PLAIN {
            return Err(BadRecord);
        }
        let start = out.len();
        let length = u16::try_from(plain.len() + TAG).map_err(|_| BadRecord)?;
        out.extend_from_slice(&length.to_be_bytes());
        out.resize(start + plain.len() + OVERHEAD, 0);
        let room = out.get_mut(start + LENGTH..).unwrap_or_default();
        if self.noise.write_message(plain, room) != Ok(plain.len() + TAG) {
            out.truncate(start);
            return Err(BadRecord);
        }
        self.sealed += 1;
        if self.sealed == REKEY_AFTER {
            self.noise.rekey_outgoing();
            self.sealed = 0;
        }
        Ok(())
    }

    /// Opens the next record of `input`, which is moved past what was used, into `plain`. False when there is none: all of
    /// the input was used.
    ///
    /// # Errors
    /// The link must be closed.
    pub fn open(&mut self, input: &mut &[u8], plain: &mut Vec<u8>) -> Result<bool, BadRecord> {
        plain.clear();
        if self.partial.is_empty() {
            let Some((length, rest)) = input.split_first_chunk::<LENGTH>() else {
                self.keep(input, LENGTH);
                return Ok(false);
            };
            let length = usize::from(u16::from_be_bytes(*length));
            let Some((sealed, rest)) = rest.split_at_checked(length) else {
                self.keep(input, LENGTH + length);
                return Ok(false);
            };
            *input = rest;
            return self.open_one(sealed, plain).map(|()| true);
        }
        self.keep(input, LENGTH);
        let Some(length) = self.partial.first_chunk::<LENGTH>() else { return Ok(false) };
        let whole = LENGTH + usize::from(u16::from_be_bytes(*length));
        self.keep(input, whole);
        if self.partial.len() < whole {
            return Ok(false);
        }
        let mut partial = std::mem::take(&mut self.partial);
        self.open_one(partial.get(LENGTH..).unwrap_or_default(), plain)?;
        if partial.capacity() <= GIVE_BACK {
            partial.clear();
            self.partial = partial;
        }
        Ok(true)
    }

    /// Moves bytes from `input` until the partial record has `length` of them.
    fn keep(&mut self, input: &mut &[u8], length: usize) {
        let missing = length.saturating_sub(self.partial.len()).min(input.len());
        let (now, later) = input.split_at(missing);
        self.partial.extend_from_slice(now);
        *input = later;
    }

    fn open_one(&mut self, sealed: &[u8], plain: &mut Vec<u8>) -> Result<(), BadRecord> {
        let length = sealed.len().checked_sub(TAG).filter(|length| *length > 0).ok_or(BadRecord)?;
        plain.resize(length, 0);
        self.noise.read_message(sealed, plain).map_err(|_| BadRecord)?;
        self.opened += 1;
        if self.opened == REKEY_AFTER {
            self.noise.rekey_incoming();
            self.opened = 0;
        }
        Ok(())
    }

    /// Whether a record has been begun and is not whole.
    pub fn in_record(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        self.partial.capacity()
    }
}
