//! Frames: a 4-byte big-endian length, then that many bytes of JSON.

#![allow(dead_code, reason = "shared by benches, each of which uses a part")]

use std::io::{self, Read};

/// The longest frame that is expected in a handshake.
const LONGEST_HELLO: usize = 16 * 1024;

/// One frame around this JSON.
pub fn encode(json: &str) -> Vec<u8> {
    let length = u32::try_from(json.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), json.as_bytes()].concat()
}

/// The first frame of a link.
pub fn hello(name: &str) -> Vec<u8> {
    encode(&format!(
        r#"{{"id":"be9c4000-0000-4000-8000-000000000000","type":"hello","from":"{name}","username":"{name}"}}"#
    ))
}

/// Reads one frame of a handshake, and not a byte more.
pub fn read(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes(head) as usize;
    if length > LONGEST_HELLO {
        return Err(io::Error::other("the first frame is too long"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(body)
}

/// Where the frame at the start of these bytes ends; none while it is not whole.
pub fn end(bytes: &[u8]) -> Option<usize> {
    let head = bytes.first_chunk::<4>()?;
    let end = 4 + u32::from_be_bytes(*head) as usize;
    (end <= bytes.len()).then_some(end)
}
