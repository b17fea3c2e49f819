//! The key file: a node's secret, as text.
//!
//! ```text
//! p2p-chat identity 1
//! secret 9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60
//! check 5f70bf18a0860070
//! ```
//!
//! The last line is made from the one before it: so a damaged file is told from one that was never a key file, and never
//! taken for another key. Lines after it are left for versions to come.
//!
//! The file comes into being with all that it holds: it is written under another name, flushed, and linked to its own name,
//! which fails if there is one. It is never written again.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::files::{Refused, private, sync_folder};
use crate::api::event::FatalCode;
use crate::wire::identity::KEY;

/// The file's name, and the one that it is written under.
pub(super) const NAME: &str = "identity.key";
const NEW: &str = "identity.key.new";
/// The text of the first line before the version.
const TITLE: &str = "p2p-chat identity ";
/// The version of the format.
const VERSION: u64 = 1;
/// More bytes than a key file has.
const MAX_BYTES: u64 = 4096;

/// Reads the secret, making one if there is none. Gives the file's path, too.
pub fn load(folder: &Path) -> Result<([u8; KEY], PathBuf), Refused> {
    load_or(folder, || {
        let mut secret = [0; KEY];
        getrandom::fill(&mut secret).map_err(|e| format!("no random numbers: {e}"))?;
        Ok(secret)
    })
}

/// The same, with another way to make one.
pub fn load_or(
    folder: &Path,
    make: impl FnOnce() -> Result<[u8; KEY], String>,
) -> Result<([u8; KEY], PathBuf), Refused> {
    let path = folder.join(NAME);
    match read_file(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(Refused::io(&path, "can't read it", &e)),
        Ok(text) => return Ok((read(&text).map_err(|wrong| wrong.refuse(&path))?, path)),
    }
    let secret = make().map_err(|why| Refused::new(FatalCode::StateUnusable, &path, &why))?;
    write_new(folder, &write(&secret)).map_err(|e| Refused::io(&path, "can't make it", &e))?;
    // What is there now counts, whoever made it.
    let text = read_file(&path).map_err(|e| Refused::io(&path, "can't read it", &e))?;
    Ok((read(&text).map_err(|wrong| wrong.refuse(&path))?, path))
}

fn read_file(path: &Path) -> io::Result<String> {
    // A pipe would be waited for, and never gives the same twice.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(fs::File::open(path)?, MAX_BYTES), &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Makes the file, if there is none.
fn write_new(folder: &Path, text: &str) -> io::Result<()> {
    let (new, path) = (folder.join(NEW), folder.join(NAME));
    // Left by a process that was killed: the folder is locked, so nobody is at it now.
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = private().create_new(true).open(&new)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| {
        match fs::hard_link(&new, &path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // File systems without links. The lock keeps others of our kind away.
            Err(_) if !path.exists() => fs::rename(&new, &path),
            linked => linked,
        }
    });
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => written.and(Err(e))?,
        _ => written?,
    }
    sync_folder(folder)
}

/// A fault of a key file.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is none.
    NoKeyFile,
    /// It is of a version to come.
    TooNew(u64),
    /// It was one.
    Damaged,
}

impl Wrong {
    fn refuse(&self, path: &Path) -> Refused {
        let (code, why) = match self {
            Self::NoKeyFile => {
                (FatalCode::StateDamaged, "it is no key file: is this a state folder of p2p-chat?".into())
            }
            Self::TooNew(version) => {
                (FatalCode::StateTooNew, format!("it is of version {version}, made by a newer p2p-chat: use that one"))
            }
            Self::Damaged => {
                (FatalCode::StateDamaged, "it is damaged: put a copy back; or move it away, and be a new node".into())
            }
        };
        Refused::new(code, path, &why)
    }
}

/// The text of a secret's file.
pub fn write(secret: &[u8; KEY]) -> String {
    format!("{TITLE}{VERSION}\nsecret {}\ncheck {}\n", hex(secret), check(secret))
}

/// The secret of a file's text.
pub fn read(text: &str) -> Result<[u8; KEY], Wrong> {
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix(TITLE)).ok_or(Wrong::NoKeyFile)?;
    match version.parse() {
        Ok(VERSION) => {}
        Ok(version) if version > VERSION => return Err(Wrong::TooNew(version)),
        _ => return Err(Wrong::Damaged),
    }
    let mut value = |name: &str| lines.next().and_then(|line| line.strip_prefix(name)).ok_or(Wrong::Damaged);
    let (secret, sum) = (value("secret ")?, value("check ")?);
    let secret = unhex(secret).ok_or(Wrong::Damaged)?;
    if sum == check(&secret) { Ok(secret) } else { Err(Wrong::Damaged) }
}

/// Tells that a secret is as it was written, and nothing of the secret.
fn check(secret: &[u8; KEY]) -> String {
    let sum: [u8; 32] = Sha256::new().chain_update(b"p2p-chat identity file 1").chain_update(secret).finalize().into();
    hex(sum.get(..8).unwrap_or_default())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; KEY]> {
    if text.len() != 2 * KEY || !text.bytes().all(|it| it.is_ascii_hexdigit()) {
        return None;
    }
    let mut secret = [0; KEY];
    for (at, byte) in secret.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let secret = std::array::from_fn(|i| i as u8 * 7);
        let text = write(&secret);
        assert_eq!(read(&text), Ok(secret));
        assert_eq!(read(&format!("{text}more\n")), Ok(secret), "of a version to come");
        assert_eq!(read(&text.replace('\n', "\r\n")), Ok(secret));
        assert_eq!(read(""), Err(Wrong::NoKeyFile));
        assert_eq!(read("-----BEGIN OPENSSH PRIVATE KEY-----"), Err(Wrong::NoKeyFile));
        assert_eq!(read(&text.replace("identity 1", "identity 2")), Err(Wrong::TooNew(2)));
        for cut in TITLE.len()..text.len() - 1 {
            assert_eq!(read(&text[..cut]), Err(Wrong::Damaged), "cut after {cut} bytes");
        }
    }

    #[test]
    fn a_changed_digit_is_noticed() {
        let text = write(&[0x5a; KEY]);
        let digits = text.find("secret ").expect("a line") + 7;
        for at in (digits..digits + 2 * KEY).chain(text.len() - 17..text.len() - 1) {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(read(&String::from_utf8(changed).expect("ASCII")), Err(Wrong::Damaged), "at {at}");
        }
    }
}
