//! What is said.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;

use p2p_chat::audio::wav;

/// A recording.
pub struct Speech {
    pub name: String,
    pub samples: Vec<i16>,
}

/// The recordings that are named; or the real voices that are there, which the figures to be reached are meant for; or, without
/// any, the project's sample.
pub fn collect(named: &[PathBuf]) -> Result<Vec<Speech>, String> {
    let read = |path: &Path| {
        let name = path.file_stem().map_or_else(String::new, |it| it.to_string_lossy().into_owned());
        let samples = wav::read_16k_mono(path)?;
        // An empty recording can't be scored.
        if samples.len() < 16_000 {
            Err(format!("{}: shorter than a second", path.display()))
        } else {
            Ok(Speech { name, samples })
        }
    };
    if !named.is_empty() {
        return named.iter().map(|path| read(path)).collect();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    // What it can't find it says on stderr.
    let found = Command::new(root.join("scripts/speech")).arg(folder().join("speech")).output();
    let found = found.map_err(|e| format!("scripts/speech: {e}"))?;
    eprint!("{}", String::from_utf8_lossy(&found.stderr));
    for line in String::from_utf8_lossy(&found.stdout).lines() {
        all.push(read(Path::new(line))?);
    }
    if all.is_empty() {
        // It is synthetic, and none of it is like the noisy voices of people: a stopgap.
        eprintln!("no real voices here: the figures are of the project's synthetic sample alone");
        all.push(read(&root.join("tests/data/speech.wav"))?);
    }
    Ok(all)
}

/// Says how far it is, on one line that is rewritten; `""` clears it. Only people want to see that.
pub fn progress(what: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{what}\r");
    }
}

/// Where the bench keeps its files.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("voice")
}
