//! PESQ wide-band after losses.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use p2p_chat::audio::wav::Writer;
use p2p_chat::lab::call::{Setup, talk};
use p2p_chat::line::Settings;
use p2p_chat::voice::Codec;

use crate::speech::{Speech, folder, progress};
use crate::table::{Reach, Table, mean};

/// A row: what it is called, the line, the talker, and what is to be reached. The first two only tell what is possible.
const ROWS: [(&str, &str, Codec, f64); 8] = [
    ("PESQ-wb without loss, level 2", "loss=0", Codec::Opus, 0.0),
    ("PESQ-wb at 5 % random loss, level 2", "loss=5", Codec::Opus, 4.1),
    ("PESQ-wb at 10 % random loss, level 2", "loss=10", Codec::Opus, 4.0),
    ("PESQ-wb at 20 % random loss, level 2", "loss=20", Codec::Opus, 3.8),
    ("PESQ-wb at 5 % in bursts of 3, level 2", "loss=5,burst=3", Codec::Opus, 3.6),
    ("PESQ-wb at 10 % in bursts of 3, level 2", "loss=10,burst=3", Codec::Opus, 3.4),
    ("PESQ-wb without loss, from an original", "loss=0", Codec::Pcm, 0.0),
    ("PESQ-wb at 5 % random loss, from an original", "loss=5", Codec::Pcm, 2.8),
];

/// What is written and scored.
struct Pair {
    row: usize,
    recording: usize,
    said: String,
    heard: String,
}

/// A row's calls beside their scores.
#[derive(Default)]
struct Figures {
    kbit_s: Vec<f64>,
    delay_ms: Vec<f64>,
}

pub fn measure(speech: &[Speech], seeds: u64, table: &mut Table) {
    let (pairs, figures) = match speak(speech, seeds) {
        Ok(spoken) => spoken,
        Err(why) => return skip(table, &why),
    };
    let scores = match score(&pairs) {
        Ok(scores) => scores,
        Err(why) => return skip(table, &why),
    };
    for (row, (what, _, _, least)) in ROWS.iter().enumerate() {
        let of = |recording: Option<usize>| {
            let pairs = pairs.iter().zip(&scores);
            let chosen = pairs.filter(|(pair, _)| pair.row == row && recording.is_none_or(|it| it == pair.recording));
            mean(&chosen.filter_map(|(_, score)| *score).collect::<Vec<_>>())
        };
        if *least > 0.0 {
            table.row(what, of(None), Reach::AtLeast(*least), |score| format!("{score:.2}"));
        } else {
            table.note(what, &format!("{:.2}", of(None)));
        }
        let worst = (0..speech.len()).map(|it| (of(Some(it)), &speech[it].name)).min_by(|a, b| a.0.total_cmp(&b.0));
        if let (Some((score, name)), Some(figures)) = (worst, figures.get(row)) {
            table.note(
                &format!(
                    "worst recording: {name}; {:.0} kbit/s, {:.0} ms over the line's least",
                    mean(&figures.kbit_s),
                    mean(&figures.delay_ms)
                ),
                &format!("{score:.2}"),
            );
        }
    }
    let lost = scores.iter().filter(|it| it.is_none()).count();
    if lost > 0 {
        table.note("pairs that PESQ gave no score", &lost.to_string());
    }
}

fn skip(table: &mut Table, why: &str) {
    for (what, _, _, least) in ROWS.iter().filter(|(.., least)| *least > 0.0) {
        table.not_measured(what, Reach::AtLeast(*least), |score| format!("{score:.2}"), why);
    }
}

/// Has every recording said over every line, and writes what was heard.
fn speak(speech: &[Speech], seeds: u64) -> Result<(Vec<Pair>, Vec<Figures>), String> {
    fs::create_dir_all(folder()).map_err(|e| format!("{}: {e}", folder().display()))?;
    let mut pairs = Vec::new();
    let mut all: Vec<Figures> = ROWS.iter().map(|_| Figures::default()).collect();
    for (recording, speech) in speech.iter().enumerate() {
        let said = write(&format!("{}-said", speech.name), &speech.samples)?;
        for (row, (what, line, codec, _)) in ROWS.iter().enumerate() {
            progress(&format!("{}: {what}", speech.name));
            for seed in 1..=if line.ends_with("=0") { 1 } else { seeds } {
                // Another pattern for each recording, and the same for every row.
                let seed = seed * 1000 + recording as u64;
                let line: Settings = line.parse()?;
                let setup = Setup { line, codec: *codec, seed, ..Setup::default() };
                let heard = talk(&speech.samples, &setup, Instant::now(), |_| ()).map_err(|_| "no codec".to_owned())?;
                if let Some(figures) = all.get_mut(row) {
                    figures.kbit_s.push(heard.kbit_s());
                    figures.delay_ms.push(mean(&heard.frames.iter().map(|it| it.late_ms).collect::<Vec<_>>()));
                }
                let heard = write(&format!("{}-{row}-{seed}", speech.name), &heard.samples)?;
                pairs.push(Pair { row, recording, said: said.clone(), heard });
            }
        }
    }
    progress("");
    Ok((pairs, all))
}

fn write(name: &str, samples: &[i16]) -> Result<String, String> {
    let path = folder().join(format!("{name}.wav"));
    let failed = |e| format!("{}: {e}", path.display());
    let mut writer = Writer::create(&path).map_err(failed)?;
    writer.write(samples).and_then(|()| writer.finish()).map_err(failed)?;
    Ok(path.display().to_string())
}

/// Has `scripts/pesq` score them.
fn score(pairs: &[Pair]) -> Result<Vec<Option<f64>>, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/pesq");
    let child = Command::new(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|e| format!("scripts/pesq: {e}"))?;
    let list: String = pairs.iter().map(|pair| format!("{}\t{}\n", pair.said, pair.heard)).collect();
    let mut stdin = child.stdin.take().ok_or("scripts/pesq takes nothing")?;
    let feeder = thread::spawn(move || stdin.write_all(list.as_bytes()));
    let out = child.wait_with_output().map_err(|e| format!("scripts/pesq: {e}"))?;
    // If it ended early, that is told below.
    let _ = feeder.join();
    let scores: Vec<Option<f64>> = String::from_utf8_lossy(&out.stdout).lines().map(|line| line.parse().ok()).collect();
    if !out.status.success() || scores.len() != pairs.len() {
        let told = String::from_utf8_lossy(&out.stderr);
        return Err(told.lines().last().unwrap_or("scripts/pesq failed").to_owned());
    }
    Ok(scores)
}
