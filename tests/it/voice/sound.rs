//! Microphones and speakers that are files, pipes or nothing: whole at every end of a call, and never waited for.

use std::io::Read;
use std::path::Path;
use std::process::Command;

use p2p_chat::audio::{resample, wav};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::voice::*;
use crate::support::{Node, TempDir, has_fields, number, text};

/// A node that says the sentence again and again, with a pause, and is in voice.
fn endless_talker(dir: &TempDir) -> Node {
    let mic = dir.wav("endless.wav", &[sentence(), silence(0.4)].concat());
    let mut talker = Node::named("Talker", &[]);
    talker.join_voice(&format!("{mic},loop"), "none");
    talker
}

/// A node with that speaker, which is in voice with the talker.
#[track_caller]
fn listener_of(talker: &mut Node, name: &str, speaker: &str) -> Node {
    let mut listener = Node::named(name, &[]);
    talker.link(&mut listener);
    listener.join_voice("none", speaker);
    listener
}

/// Waits until so many packets of the talker have come.
#[track_caller]
fn has_come(listener: &mut Node, talker: &Node, packets: u64) {
    let id = talker.id();
    listener.until(&json!({ "cmd": "voice_peers" }), |result| {
        result["peers"].as_array().unwrap().iter().any(|it| it["peer"] == *id && number(it, "received") >= packets)
    });
}

/// Packets of the sentence said twice: it was said once as a whole then, whenever one began to listen.
const TWICE: u64 = 250;

#[test]
fn a_speakers_file_is_whole_however_the_node_ends() {
    in_time(|| {
        let dir = TempDir::new();
        let mut talker = endless_talker(&dir);
        let names = ["exit", "eof", "sigterm", "sigint", "leave"];
        let paths = names.map(|name| dir.path(&format!("{name}.wav")));
        let mut listeners: Vec<Node> =
            names.iter().zip(&paths).map(|(name, path)| listener_of(&mut talker, name, path)).collect();
        for listener in &mut listeners {
            has_come(listener, &talker, TWICE);
        }
        for (name, mut node) in names.into_iter().zip(listeners) {
            match name {
                "exit" => _ = node.begin(json!({ "cmd": "exit" })),
                "eof" => node.close_stdin(),
                "sigterm" => node.signal(Signal::TERM),
                "sigint" => node.signal(Signal::INT),
                _ => {
                    node.ok(json!({ "cmd": "voice_leave" }));
                    is_heard(&sentence(), &recorded(&dir.path("leave.wav")));
                    node.close_stdin();
                }
            }
            talker.await_event("voice_left", json!({ "username": name }));
            let output = node.await_end().exited(0);
            assert!(output.bye()["undelivered"] == 0);
        }
        for path in &paths {
            is_heard(&sentence(), &recorded(path));
        }
        assert!(talker.saw("mic_ended", json!({})).is_empty(), "what loops has no end");
        assert!(talker.saw("speaking", json!({ "peer": talker.id(), "speaking": true })).len() >= 2);
    });
}

#[test]
fn a_second_call_goes_on_at_the_end_of_its_file_and_another_run_begins_anew() {
    in_time(|| {
        let dir = TempDir::new();
        let (mut alice, mut bob) = (Node::named("Alice", &[]), Node::named("Bob", &[]));
        alice.link(&mut bob);
        let heard = dir.path("heard.wav");
        let pipe = dir.path("mic");
        let mut calls = Vec::new();
        for said in [question(), sentence()] {
            bob.join_voice("none", &heard);
            alice.join_voice(&format!("pipe:{pipe}"), "none");
            alice.reaches(&[&bob.id()]);
            feed(&pipe, &said).join().unwrap();
            alice.await_event("mic_ended", json!({}));
            bob.ok(json!({ "cmd": "voice_leave" }));
            alice.ok(json!({ "cmd": "voice_leave" }));
            calls.push(recorded(&heard));
        }
        let (before, after) = calls[1].split_at(calls[0].len());
        assert!(before == calls[0], "what was there is still there");
        is_clear(&question(), before);
        is_clear(&sentence(), after);
        is_not_heard(&question(), after);
        bob.finish().exited(0);
        let mut bob = Node::named("Bob again", &[]);
        bob.join_voice("none", &heard);
        bob.ok(json!({ "cmd": "voice_leave" }));
        is_not_heard(&question(), &[recorded(&heard), silence(1.0)].concat());
    });
}

#[test]
fn a_file_that_another_node_is_writing_is_left_alone() {
    let dir = TempDir::new();
    let (mut alice, mut bob) = (Node::named("Alice", &[]), Node::named("Bob", &[]));
    let heard = dir.path("heard.wav");
    alice.join_voice("none", &heard);
    let reply = bob.command(json!({ "cmd": "voice_join", "mic": "none", "speaker": heard }));
    assert_eq!(reply["error"]["code"], "device_failed");
    assert!(text(&reply["error"], "message").contains("another node"), "{reply}");
    let output = Node::launch(&["--port", "0", "--speaker", &heard]).await_end().exited(3);
    assert_eq!(output.all("fatal")[0]["code"], "cannot_open");
    alice.ok(json!({ "cmd": "voice_leave" }));
    bob.join_voice("none", &heard);
}

#[test]
fn a_microphone_that_is_a_file_waits_while_muted() {
    in_time(|| {
        let dir = TempDir::new();
        // By its content, whatever its name is.
        let [mic, other] =
            [("question.take1", question()), ("sentence.wav", sentence())].map(|(name, it)| dir.wav(name, &it));
        let heard = dir.path("heard.wav");
        let [mut alice, mut bob, mut carol] = ["Alice", "Bob", "Carol"].map(|name| Node::named(name, &[]));
        alice.link(&mut bob);
        carol.link(&mut bob);
        bob.join_voice("none", &heard);
        alice.ok(json!({ "cmd": "voice_join", "mic": mic, "speaker": "none", "muted": true }));
        alice.reaches(&[&bob.id()]);
        // For as long as Carol speaks, which is longer than Alice's file.
        carol.join_voice(&other, "none");
        carol.await_event("mic_ended", json!({}));
        carol.ok(json!({ "cmd": "voice_leave" }));
        assert!(alice.saw("mic_ended", json!({})).is_empty());
        let before = (std::fs::metadata(&heard).expect("a file").len() as usize - 44) / 2;
        alice.ok(json!({ "cmd": "voice_unmute" }));
        alice.await_event("mic_ended", json!({}));
        bob.ok(json!({ "cmd": "voice_leave" }));
        is_heard(&question(), &recorded(&heard)[before..]);
    });
}

#[test]
fn of_a_node_that_is_killed_the_file_can_be_read_to_the_last_second() {
    in_time(|| {
        let dir = TempDir::new();
        let mut talker = endless_talker(&dir);
        let path = dir.path("heard.wav");
        let mut listener = listener_of(&mut talker, "Listener", &path);
        has_come(&mut listener, &talker, TWICE);
        listener.kill();
        let read = wav::read_16k_mono(Path::new(&path)).expect("a WAV file");
        let promised = hound::WavReader::open(&path).expect("a WAV file").duration() as usize;
        let there = (std::fs::metadata(&path).expect("a file").len() as usize - 44) / 2;
        assert_eq!(read.len(), promised);
        assert!(promised <= there && there < promised + RATE, "{promised} of {there} samples can be read");
        is_heard(&sentence(), &read);
    });
}

#[test]
fn a_full_disk_ends_the_file_and_not_the_call() {
    // No file of this process may grow over 32 KiB, a second of sound. A system may have it hear of that by a signal.
    for limited in [r#"ulimit -f 64; exec "$@""#, r#"trap "" XFSZ; ulimit -f 64; exec "$@""#] {
        ends_the_file(limited);
    }
}

fn ends_the_file(limited: &str) {
    let dir = TempDir::new();
    let heard = dir.path("heard.wav");
    let mut node = Node::shell(limited, &["--speaker", &heard]);
    node.ok(json!({ "cmd": "voice_join" }));
    let warning = node.await_event("warning", json!({ "code": "audio" }));
    assert!(text(&warning, "message").contains("heard.wav"), "{warning}");
    assert!(recorded(&heard).len() > RATE / 2);
    assert_eq!(node.ok(json!({ "cmd": "voice_mute" })), json!({ "room": "general", "muted": true }));
    node.finish().exited(0);
}

#[test]
fn a_pipe_is_read_by_whoever_comes_and_goes_as_fast_as_they_like() {
    in_time(|| {
        let dir = TempDir::new();
        let mut talker = endless_talker(&dir);
        let path = dir.path("speaker");
        let mut listener = listener_of(&mut talker, "Listener", &format!("pipe:{path}"));
        has_come(&mut listener, &talker, 20);
        // Nobody has read so far. Somebody comes, reads a little and goes.
        let mut some = [0; 6400];
        std::fs::File::open(&path).expect("a pipe").read_exact(&mut some).expect("sound");
        // Somebody comes and reads nothing for long, and then on.
        let came = number(&listener.member(&talker.id()), "received");
        let slow = open_idle(&path);
        has_come(&mut listener, &talker, came + TWICE);
        let reader = listen(&path);
        drop(slow);
        has_come(&mut listener, &talker, came + 2 * TWICE);
        listener.ok(json!({ "cmd": "voice_leave" }));
        let heard = reader.join().unwrap();
        is_heard(&sentence(), &heard);
        // A pipe that nobody reads any more does not hold up the end.
        listener.join_voice("none", &format!("pipe:{path}"));
        listener.finish().exited(0);
    });
}

#[test]
fn pipes_that_nobody_writes_or_reads_are_silence() {
    let dir = TempDir::new();
    let mut node = Node::start(&[]);
    let (mic, speaker) = (format!("pipe:{}", dir.path("in")), format!("pipe:{}", dir.path("out")));
    let joined = node.join_voice(&mic, &speaker);
    assert!(has_fields(&joined, &json!({ "mic": mic, "speaker": speaker })), "{joined}");
    // A writer that has half a sample too many, and goes.
    std::fs::write(dir.path("in"), vec![1; 1281]).expect("a pipe");
    node.await_event("mic_ended", json!({}));
    node.finish().exited(0);
}

#[test]
fn a_file_of_any_rate_is_said_at_its_pitch() {
    in_time(|| {
        let dir = TempDir::new();
        let mic = dir.path("mic.wav");
        let said = [lead(), sentence()].concat();
        let spec = hound::WavSpec {
            channels: 2,
            sample_rate: 44_100,
            bits_per_sample: 24,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(&mic, spec).expect("a file");
        let samples: Vec<f32> = said.iter().map(|&sample| resample::to_f32(sample)).collect();
        resample::Stream::new(16_000, 44_100, 160).expect("a rate").push(&samples, |out| {
            for sample in out {
                // All of it in one ear.
                writer.write_sample((sample * 8_388_607.0) as i32).expect("written");
                writer.write_sample(0).expect("written");
            }
        });
        writer.finalize().expect("closed");
        let heard = dir.path("heard.wav");
        let (mut alice, mut bob) = (Node::named("Alice", &[]), Node::named("Bob", &[]));
        alice.link(&mut bob);
        bob.join_voice("none", &heard);
        alice.join_voice(&mic, "none");
        alice.await_event("mic_ended", json!({}));
        bob.ok(json!({ "cmd": "voice_leave" }));
        let level = is_heard(&said, &recorded(&heard)).level_db;
        assert!(level.abs() < 1.5, "as loud as it is there: {level} dB");
    });
}

/// Things that are no microphone and no speaker, with a word that is said of each.
fn faulty(dir: &TempDir) -> Vec<(&'static str, String, &'static str)> {
    let text = dir.write("text.wav", "RIFF, but no more");
    let precious = dir.write("precious", "precious");
    let folder = dir.path("folder.wav");
    std::fs::create_dir_all(&folder).expect("a folder");
    let fifo = dir.path("fifo.wav");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    vec![
        ("mic", "/dev/null/x.wav".into(), "/dev/null/x.wav"),
        ("mic", text, "no WAV file"),
        ("mic", folder.clone(), "no file"),
        ("mic", fifo.clone(), "pipe:"),
        ("mic", format!("pipe:{precious}"), "no named pipe"),
        ("mic", "pipe:/dev/null/pipe".into(), "/dev/null/pipe"),
        ("mic", "No Such Device".into(), "No Such Device"),
        ("speaker", "/dev/null/x.wav".into(), "/dev/null/x.wav"),
        ("speaker", folder, "no file"),
        ("speaker", fifo, "pipe:"),
        ("speaker", format!("pipe:{precious}"), "no named pipe"),
        ("speaker", "No Such Device".into(), "No Such Device"),
    ]
}

#[test]
fn what_can_not_be_opened_is_said_when_it_is_named() {
    let dir = TempDir::new();
    for (option, what, word) in faulty(&dir) {
        let option = format!("--{option}");
        let output = Node::launch(&["--port", "0", &option, &what]).await_end().exited(3);
        let fatal = output.lines.last().expect("a line");
        assert!(has_fields(fatal, &json!({ "event": "fatal", "code": "cannot_open" })), "{fatal}");
        let message = text(fatal, "message");
        assert!(message.contains(word) && message.contains(&option), "{what}: {message}");
        assert!(output.stderr.contains(word), "{}", output.stderr);
    }
    let both = dir.wav("both.wav", &sentence());
    let output = Node::launch(&["--port", "0", "--mic", &both, "--speaker", &both]).await_end().exited(3);
    assert!(output.stderr.contains("at once"), "{}", output.stderr);
    assert_eq!(recorded(&both), sentence(), "it was not overwritten");
    for (args, word) in [
        (["--mic", "tone:0"], "8000 Hz"),
        (["--speaker", "tone:440"], "microphone"),
        (["--speaker", "x.wav,loop"], "loop"),
        (["--mic", "pipe:"], "path"),
        (["--mic", ""], "FILE.wav"),
        (["--clock-ppm", "much"], "much"),
        (["--clock-ppm", "1e9"], "100000"),
    ] {
        let output = Node::launch(&[&["--port", "0"][..], &args].concat()).await_end().exited(2);
        assert!(output.lines.is_empty() && output.stderr.contains(word), "{args:?}: {}", output.stderr);
    }
}

#[test]
fn to_ask_for_a_speaker_changes_no_file() {
    let dir = TempDir::new();
    let (absent, there) = (dir.path("absent.wav"), dir.write("there.wav", "precious"));
    for path in [&absent, &there] {
        Node::start(&["--speaker", path]).finish().exited(0);
    }
    assert!(!Path::new(&absent).exists());
    assert_eq!(std::fs::read_to_string(&there).expect("a file"), "precious");
}

#[test]
fn a_join_that_can_not_open_its_sound_fails_and_the_next_one_need_not() {
    let dir = TempDir::new();
    let mut node = Node::start(&[]);
    for (argument, what, word) in faulty(&dir) {
        let mut command = json!({ "cmd": "voice_join" });
        command[argument] = json!(what);
        let reply = node.command(command);
        let error = &reply["error"];
        // A device may be there later.
        let may_be_later = json!(what == "No Such Device");
        assert_eq!((&error["code"], &error["retryable"]), (&json!("device_failed"), &may_be_later), "{reply}");
        assert!(text(error, "message").contains(word), "{reply}");
    }
    let both = dir.wav("both.wav", &sentence());
    assert_eq!(node.fails(json!({ "cmd": "voice_join", "mic": both, "speaker": both })), "device_failed");
    for odd in ["tone:high", "", "pipe:"] {
        assert_eq!(node.fails(json!({ "cmd": "voice_join", "mic": odd })), "device_failed", "{odd}");
    }
    assert_eq!(node.fails(json!({ "cmd": "voice_leave" })), "not_in_voice");
    let joined = node.ok(json!({ "cmd": "voice_join" }));
    assert!(has_fields(&joined, &json!({ "mic": "none", "speaker": "none", "room": "general" })), "{joined}");
    // By a line too long for a name.
    node.ok(json!({ "cmd": "voice_leave" }));
    assert_eq!(node.fails(json!({ "cmd": "voice_join", "mic": "x".repeat(1000) })), "device_failed");
}

#[test]
fn devices_are_listed_and_where_there_are_none_one_listens_without_ears() {
    let mut node = Node::start(&["--mic", "default", "--speaker", "default"]);
    let devices = node.ok(json!({ "cmd": "devices" }));
    let names = |list: &str| devices[list].as_array().expect("a list").clone();
    let (inputs, outputs) = (names("inputs"), names("outputs"));
    for device in inputs.iter().chain(&outputs) {
        assert!(device["name"].is_string() && device["default"].is_boolean(), "{device}");
    }
    let joined = node.ok(json!({ "cmd": "voice_join" }));
    let warned = node.saw("warning", json!({ "code": "no_device" })).len();
    // A machine may have one and not the other.
    let none = [&joined["mic"], &joined["speaker"]].iter().filter(|it| **it == "none").count();
    assert_eq!(warned, usize::from(none > 0), "{joined}");
    if inputs.is_empty() && outputs.is_empty() {
        assert_eq!(none, 2, "{joined}");
    }
    let reply: Vec<Value> = node.saw("reply", json!({ "cmd": "voice_join" }));
    for warning in node.saw("warning", json!({ "code": "no_device" })) {
        assert!(number(&warning, "seq") < number(&reply[0], "seq"), "it comes before the reply");
    }
    node.finish().exited(0);
}
