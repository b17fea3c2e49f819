//! A stream of input to lines, and each of them to a [`Request`], wherever the stream is cut.

use super::command::{MAX_LINE, Request};
use super::error::ErrorCode;
use super::marks::Seeker;

/// Cuts input into lines.
#[derive(Debug, Default)]
pub struct Lines {
    number: u64,
    partial: Vec<u8>,
    /// The line is too long: what follows of it is thrown away, but for its marks.
    skipping: Option<Seeker>,
}

impl Lines {
    /// The lines that are whole with these bytes.
    pub fn split(&mut self, input: &[u8]) -> Vec<Request> {
        let mut batch = Vec::new();
        let mut pieces = input.split(|b| *b == b'\n');
        let last = pieces.next_back().unwrap_or_default();
        for piece in pieces {
            if self.partial.is_empty() && self.skipping.is_none() && piece.len() <= MAX_LINE {
                self.number += 1;
                batch.extend(Request::parse(self.number, piece));
            } else {
                self.add(piece);
                batch.extend(self.finish());
            }
        }
        self.add(last);
        batch
    }

    /// The last line, if it has no newline.
    pub fn end(&mut self) -> Vec<Request> {
        if self.partial.is_empty() && self.skipping.is_none() {
            Vec::new()
        } else {
            self.finish().into_iter().collect()
        }
    }

    fn add(&mut self, piece: &[u8]) {
        if self.skipping.is_none() && self.partial.len() + piece.len() <= MAX_LINE {
            return self.partial.extend_from_slice(piece);
        }
        let partial = std::mem::take(&mut self.partial);
        let seeker = self.skipping.get_or_insert_default();
        seeker.look(&partial);
        seeker.look(piece);
    }

    fn finish(&mut self) -> Option<Request> {
        self.number += 1;
        if let Some(seeker) = self.skipping.take() {
            let message = "the line is longer than 1 MiB, and was skipped";
            return Some(Request::refused(self.number, ErrorCode::LineTooLong, message, seeker.found()));
        }
        let line = std::mem::take(&mut self.partial);
        Request::parse(self.number, &line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(lines: &mut Lines, pieces: &[&[u8]]) -> Vec<(u64, bool)> {
        let mut all: Vec<Request> = pieces.iter().flat_map(|piece| lines.split(piece)).collect();
        all.extend(lines.end());
        all.iter().map(|request| (request.line, request.body.is_ok())).collect()
    }

    #[test]
    fn lines_are_counted_and_cut_wherever_input_is() {
        let exit = b"{\"cmd\":\"exit\"}";
        let input = [exit, &b"\n\n# comment\r\n"[..], exit, b"\r\nx\n", exit].concat();
        let expected = [(1, true), (4, true), (5, false), (6, true)];
        for size in 1..=input.len() {
            let pieces: Vec<&[u8]> = input.chunks(size).collect();
            assert_eq!(numbers(&mut Lines::default(), &pieces), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_too_long_takes_no_memory_and_is_answered() {
        let mut lines = Lines::default();
        let piece = vec![b'a'; 1 << 16];
        for _ in 0..64 {
            assert!(lines.split(&piece).is_empty());
            assert!(lines.partial.capacity() <= 2 * MAX_LINE);
        }
        let after = lines.split(b"\n{\"cmd\":\"exit\"}\n");
        assert_eq!(after[0].body.as_ref().map_err(|e| e.code), Err(ErrorCode::LineTooLong));
        assert_eq!((after[0].line, after[1].line, after[1].body.is_ok()), (1, 2, true));
    }

    #[test]
    fn a_line_too_long_keeps_its_marks() {
        for size in [1 << 10, 1 << 16, 4 << 20] {
            let text = "x".repeat(2 << 20);
            let line = format!("{{\"cmd\":\"send\",\"text\":\"{text}\",\"may_fail\":true,\"id\":7}}\n");
            let mut lines = Lines::default();
            let found: Vec<Request> = line.as_bytes().chunks(size).flat_map(|piece| lines.split(piece)).collect();
            let [request] = found.try_into().expect("one");
            assert_eq!((request.cmd.as_deref(), request.may_fail), (Some("send"), true));
            assert_eq!(request.id.map(|id| serde_json::json!(id)), Some(7.into()));
        }
    }

    #[test]
    fn the_limit_is_exact() {
        let line = |n: usize| {
            let pad = n - b"{\"cmd\":\"exit\"}".len();
            [&b" ".repeat(pad)[..], b"{\"cmd\":\"exit\"}\n"].concat()
        };
        assert!(Lines::default().split(&line(MAX_LINE))[0].body.is_ok());
        assert!(Lines::default().split(&line(MAX_LINE + 1))[0].body.is_err());
    }
}
