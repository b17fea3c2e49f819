//! Files, and a variable of the environment, whose first line is a secret.

use std::fs::File;
use std::io::{self, Read};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::base::form::{BOM, oddity};

/// More than a key file has, in bytes. A guess.
const MAX_KEY_FILE: u64 = 64 << 10;
/// How long a named pipe may take to give a key: long enough for a program that asks a person for it. A guess.
const PATIENCE: Duration = Duration::from_secs(30);

/// A secret, and what a person should know of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Secret {
    /// The secret, byte for byte.
    pub text: String,
    /// A reason why others may have another one.
    pub odd: Option<&'static str>,
}

impl Secret {
    /// The secret in a text: its first line. `None` if that is empty.
    pub fn of(text: &str) -> Option<Self> {
        let text = text.lines().next().filter(|line| !line.is_empty())?.to_owned();
        Some(Self { odd: oddity(&text), text })
    }

    /// Reads a file whose first line is a secret. It may be a pipe.
    ///
    /// # Errors
    /// It can't be read, or its first line is empty.
    pub fn read(file: &str) -> Result<Self, String> {
        Self::read_within(file, PATIENCE)
    }

    fn read_within(file: &str, patience: Duration) -> Result<Self, String> {
        let bytes = match is_named_pipe(file) {
            false => read(file),
            // It opens when somebody writes, and ends when nobody does any more: that can take for ever.
            true => {
                let (sender, read_there) = mpsc::sync_channel(1);
                let theirs = file.to_owned();
                let thread = thread::Builder::new().name("key-file".into());
                let spawned = thread.spawn(move || drop(sender.send(read(&theirs))));
                spawned.map_err(|e| e.to_string())?;
                let seconds = patience.as_secs();
                read_there.recv_timeout(patience).unwrap_or_else(|_| {
                    Err(format!(
                        "it is a named pipe, and in {seconds} s nobody has written a key into it and closed it"
                    ))
                })
            }
        }?;
        let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8: save it in that encoding")?;
        let (text, marked) = match text.strip_prefix(BOM) {
            Some(text) => (text, true),
            None => (&*text, false),
        };
        let mut secret = Self::of(text).ok_or("its first line is empty; it holds the key")?;
        if marked {
            secret.odd = Some(
                "stands behind a byte order mark, which is left out; earlier versions took it as part of the key, and so have another",
            );
        }
        Ok(secret)
    }
}

fn read(file: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(MAX_KEY_FILE + 1).read_to_end(&mut bytes));
    read.map_err(|e: io::Error| e.to_string())?;
    match bytes.len() as u64 > MAX_KEY_FILE {
        true => Err("it has more than 64 KiB: is it a key file?".to_owned()),
        false => Ok(bytes),
    }
}

#[cfg(unix)]
fn is_named_pipe(file: &str) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(file).is_ok_and(|found| found.file_type().is_fifo())
}

#[cfg(not(unix))]
fn is_named_pipe(_: &str) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary(name: &str) -> String {
        std::env::temp_dir().join(format!("p2p-chat-key-{}-{name}", std::process::id())).display().to_string()
    }

    fn reads(bytes: &[u8]) -> Result<Secret, String> {
        let file = temporary("plain");
        std::fs::write(&file, bytes).expect("written");
        let secret = Secret::read(&file);
        std::fs::remove_file(file).expect("removed");
        secret
    }

    #[test]
    fn the_first_line_is_the_secret_byte_for_byte() {
        for (bytes, text, is_odd) in [
            (&b"secret"[..], "secret", false),
            (b"secret\r\nmore\n", "secret", false),
            (b" secret \n", " secret ", true),
            ("\u{feff}secret\n".as_bytes(), "secret", true),
            ("\u{feff}\u{feff}x".as_bytes(), "\u{feff}x", true),
            ("ne\u{301}e\n".as_bytes(), "ne\u{301}e", true),
            ("n\u{e9}e\n".as_bytes(), "n\u{e9}e", false),
        ] {
            let secret = reads(bytes).expect("a secret");
            assert_eq!((&*secret.text, secret.odd.is_some()), (text, is_odd), "{bytes:?}");
        }
        assert!(reads("\u{feff}\nx".as_bytes()).expect_err("empty").contains("first line is empty"));
        assert!(reads(b"\xff\xfes\0e\0").expect_err("UTF-16").contains("UTF-8"));
        assert!(reads(&[b'x'; 70_000]).expect_err("large").contains("64 KiB"));
        assert!(Secret::read("/no/where").is_err());
    }

    #[test]
    #[cfg(unix)]
    fn a_named_pipe_is_read_or_given_up() {
        let pipe = |name| {
            let file = temporary(name);
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, mode, 0).expect("made");
            file
        };
        let file = pipe("late");
        let late = Secret::read_within(&file, Duration::from_millis(20)).expect_err("nobody writes");
        assert!(late.contains("named pipe"), "{late}");
        // The thread that was given up still reads: it ends with this.
        std::fs::write(&file, "nobody's\n").expect("written");
        std::fs::remove_file(file).expect("removed");
        let file = pipe("in-time");
        let theirs = file.clone();
        let writer = thread::spawn(move || std::fs::write(theirs, "secret\n"));
        assert_eq!(Secret::read(&file).expect("a secret").text, "secret");
        writer.join().expect("it ends").expect("written");
        std::fs::remove_file(file).expect("removed");
    }
}
