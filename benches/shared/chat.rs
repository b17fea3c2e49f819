//! Chats of a made-up sender, as the original encodes them: each differs from the one before by its id alone.
//!
//! An id holds a running number, so that a sink knows without a table whether something was lost or came twice.

#![allow(dead_code, reason = "shared by benches, each of which uses a part")]

use p2p_chat::wire::identity::Identity;
use p2p_chat::wire::signed::{SeqNo, sign};

use crate::frame;

/// The text of a message, in bytes.
pub const TEXT: usize = 200;

/// The beginning of the ids.
const OURS: &[u8] = b"be9c4000-";

/// Frames with running numbers.
pub struct Chats {
    /// A frame, of which only the id ever changes.
    frame: Vec<u8>,
    /// Where the id stands in it.
    id_at: usize,
    /// Signs each message, if they are signed.
    identity: Option<Identity>,
    /// The number of the next message.
    pub next: u64,
}

impl Chats {
    /// Chats from this node; `level2` adds what ours have besides, and an identity signs them.
    pub fn new(from: &str, level2: bool, identity: Option<Identity>) -> Self {
        let frame = chat(from, level2);
        let id_at = find(&frame, OURS).unwrap_or_default();
        Self { frame, id_at, identity, next: 0 }
    }

    /// Appends the next frame. False if it can't be signed.
    pub fn append(&mut self, to: &mut Vec<u8>) -> bool {
        let number = self.next;
        self.next += 1;
        patch_id(&mut self.frame[self.id_at..self.id_at + 36], number);
        let Some(identity) = &self.identity else {
            to.extend_from_slice(&self.frame);
            return true;
        };
        let mut frame = self.frame.clone();
        let is_signed = sign(identity, SeqNo { epoch: 1, n: number + 1 }, &mut frame);
        to.append(&mut frame);
        is_signed
    }
}

/// The running number in the id of one of these chats.
pub fn number_of(body: &[u8]) -> Option<u64> {
    const KEY: &[u8] = br#""id":""#;
    let at = find(body, KEY)? + KEY.len();
    let id = body.get(at..at + 36)?;
    let digits = id.starts_with(OURS).then_some(&id[24..])?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Where something stands in these bytes.
pub fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// A chat with an id that is to be patched.
fn chat(from: &str, level2: bool) -> Vec<u8> {
    let text = "All work and no play makes a relay. ".repeat(TEXT / 36 + 1);
    frame::encode(&format!(
        concat!(
            r#"{{"id":"be9c4000-0000-4000-8000-000000000000","type":"chat","from":"{}","username":"{}","#,
            r#""room":"bench","msg":"{}","ttl":5,{}"ts":"2026-01-31T12:00:00"}}"#
        ),
        from,
        from,
        &text[..TEXT],
        if level2 { r#""ttl0":5,"# } else { "" },
    ))
}

/// Writes the number into an id, and noise into its middle, so that it hashes as any other UUID would.
fn patch_id(id: &mut [u8], number: u64) {
    let noise = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    patch_hex(&mut id[9..13], noise >> 48);
    patch_hex(&mut id[15..18], noise >> 32);
    patch_hex(&mut id[20..23], noise >> 20);
    patch_hex(&mut id[24..36], number);
}

fn patch_hex(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}
