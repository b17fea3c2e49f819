//! Real sound: nodes with microphones and speakers of a PulseAudio server, through cpal's own client and through ALSA.
//!
//! What is said into one node's microphone is looked for in what comes out of the other's speaker. A machine under load
//! may drop some of it, PulseAudio's own doing or ours; so it is said again until it has come out whole, a few times. Tries
//! while the machine did not keep time do not count.

use std::path::{Path, PathBuf};
use std::time::Duration;

use p2p_chat::audio::wav;
use p2p_chat::voice::compare::{Comparison, compare};
use serde_json::json;

use crate::support::pulse::{Pulse, is_skipped};
use crate::support::voice::Metronome;
use crate::support::{Node, TempDir, list, text};

/// The options of a node with the system's devices, which a test's node has not by itself.
const DEFAULTS: [&str; 4] = ["--mic", "default", "--speaker", "default"];
/// How often something is said until it must have come out whole.
const TRIES: usize = 8;
/// The same, with tries while the machine did not keep time.
const ALL_TRIES: usize = 40;
/// A wake-up that is so late shows that the machine did not. It is less than in tests without a sound server, where sound goes
/// through fewer hands.
const LATE: Duration = Duration::from_millis(5);

#[test]
fn speech_goes_from_one_nodes_microphone_to_the_others_speaker() {
    if is_skipped() {
        return;
    }
    let pulse = Pulse::with_sinks(&[("mic", "rate=44100 channels=2"), ("spk", "rate=44100 channels=2")]);
    let (mut alice, mut bob) = (mic(&pulse, "mic.monitor"), speaker(&pulse, "spk"));
    call(&mut alice, &mut bob);
    hears(&pulse, "mic", "spk.monitor", &mut alice, &mut bob);
    assert_eq!(alice.finish().exited(0).stderr, "");
    assert_eq!(bob.finish().exited(0).stderr, "");
}

#[test]
fn any_rate_and_number_of_channels_goes() {
    if is_skipped() {
        return;
    }
    for (mic_format, speaker_format) in [
        ("rate=48000 channels=1 format=s16le", "rate=16000 channels=1 format=s32le"),
        ("rate=8000 channels=1 format=u8", "rate=96000 channels=6 format=float32le"),
    ] {
        let pulse = Pulse::with_sinks(&[("mic", mic_format), ("spk", speaker_format)]);
        let (mut alice, mut bob) = (mic(&pulse, "mic.monitor"), speaker(&pulse, "spk"));
        call(&mut alice, &mut bob);
        hears(&pulse, "mic", "spk.monitor", &mut alice, &mut bob);
    }
}

#[test]
fn a_sound_server_that_is_killed_in_mid_call_is_found_again_when_it_is_back() {
    if is_skipped() {
        return;
    }
    let mut pulse = Pulse::with_sinks(&[("mic", ""), ("spk", "")]);
    let (mut alice, mut bob) = (mic(&pulse, "mic.monitor"), speaker(&pulse, "spk"));
    call(&mut alice, &mut bob);
    hears(&pulse, "mic", "spk.monitor", &mut alice, &mut bob);
    pulse.kill();
    both_are_warned(&mut alice, &mut bob, "device_lost");
    pulse.start_again();
    both_are_warned(&mut alice, &mut bob, "device_back");
    hears(&pulse, "mic", "spk.monitor", &mut alice, &mut bob);
    assert_eq!(alice.finish().exited(0).stderr, "");
    assert_eq!(bob.finish().exited(0).stderr, "");
}

#[test]
fn a_sound_server_that_hangs_is_waited_for_and_holds_up_nobodys_exit() {
    if is_skipped() {
        return;
    }
    let pulse = Pulse::with_sinks(&[("mic", ""), ("spk", "")]);
    let (mut alice, mut bob) = (mic(&pulse, "mic.monitor"), speaker(&pulse, "spk"));
    call(&mut alice, &mut bob);
    pulse.freeze();
    both_are_warned(&mut alice, &mut bob, "device_lost");
    pulse.thaw();
    both_are_warned(&mut alice, &mut bob, "device_back");
    hears(&pulse, "mic", "spk.monitor", &mut alice, &mut bob);
    pulse.freeze();
    // Even while it is asked something: the answer is what is known then.
    bob.begin(json!({ "cmd": "devices" }));
    bob.finish().exited(0);
    alice.finish().exited(0);
}

#[test]
fn a_sound_server_that_is_killed_behind_alsa_is_found_again_too() {
    if is_skipped() {
        return;
    }
    let mut pulse = Pulse::with_sinks(&[("mic", ""), ("spk", "")]);
    let mut alice = pulse.alsa_node("mic.monitor", "spk", &["--username", "Alice", "--mic", "default"]);
    let mut bob = pulse.alsa_node("mic.monitor", "spk", &["--username", "Bob", "--speaker", "default"]);
    call(&mut alice, &mut bob);
    hears(&pulse, "mic", "spk.monitor", &mut alice, &mut bob);
    pulse.kill();
    both_are_warned(&mut alice, &mut bob, "device_lost");
    pulse.start_again();
    both_are_warned(&mut alice, &mut bob, "device_back");
    hears(&pulse, "mic", "spk.monitor", &mut alice, &mut bob);
    pulse.freeze();
    bob.finish().exited(0);
    alice.finish().exited(0);
}

#[test]
fn the_default_devices_are_followed_where_they_go() {
    if is_skipped() {
        return;
    }
    let pulse = Pulse::with_sinks(&[("mic1", ""), ("mic2", ""), ("spk1", ""), ("spk2", "")]);
    choose_defaults(&pulse, "1");
    let mut alice = pulse.node(&["--username", "Alice", "--mic", "default"]);
    let mut bob = pulse.node(&["--username", "Bob", "--speaker", "default"]);
    call(&mut alice, &mut bob);
    hears(&pulse, "mic1", "spk1.monitor", &mut alice, &mut bob);
    choose_defaults(&pulse, "2");
    hears(&pulse, "mic2", "spk2.monitor", &mut alice, &mut bob);
    // Away altogether, and so another is the default.
    let modules = pulse.control(&["list", "short", "modules"]);
    for name in ["mic2", "spk2"] {
        let module = modules.lines().find(|line| line.contains(name)).and_then(|line| line.split('\t').next());
        pulse.control(&["unload-module", module.expect("it was loaded")]);
    }
    choose_defaults(&pulse, "1");
    hears(&pulse, "mic1", "spk1.monitor", &mut alice, &mut bob);
}

#[test]
fn devices_have_names_that_can_be_chosen() {
    if is_skipped() {
        return;
    }
    let pulse = Pulse::with_sinks(&[("mic", ""), ("spk", "sink_properties=device.description=Loud")]);
    pulse.control(&["set-default-sink", "spk"]);
    pulse.control(&["set-default-source", "mic.monitor"]);
    let mut node = pulse.node(&DEFAULTS);
    let devices = node.ok(json!({ "cmd": "devices" }));
    let named = |name: &str, default: bool| json!({ "name": name, "default": default });
    let mut inputs = list(&devices, "inputs");
    inputs.sort_by_key(|it| text(it, "name"));
    assert_eq!(inputs, [named("mic.monitor", true), named("spk.monitor", false)]);
    let mut outputs = list(&devices, "outputs");
    outputs.sort_by_key(|it| text(it, "name"));
    assert_eq!(outputs, [named("mic", false), named("spk", true)]);
    let joined = node.ok(json!({ "cmd": "voice_join", "mic": "mic.monitor", "speaker": "Loud" }));
    assert_eq!((text(&joined, "mic"), text(&joined, "speaker")), ("mic.monitor".to_owned(), "spk".to_owned()));
    node.ok(json!({ "cmd": "voice_leave" }));
    let joined = node.ok(json!({ "cmd": "voice_join" }));
    assert_eq!((text(&joined, "mic"), text(&joined, "speaker")), ("mic.monitor".to_owned(), "spk".to_owned()));
    node.ok(json!({ "cmd": "voice_leave" }));
    let reply = node.command(json!({ "cmd": "voice_join", "mic": "spk.monitors" }));
    assert!(text(&reply["error"], "message").contains("`mic.monitor`"), "{reply}");
}

#[test]
fn what_the_default_speaker_plays_is_no_microphone() {
    if is_skipped() {
        return;
    }
    let pulse = Pulse::with_sinks(&[("spk", "")]);
    let mut node = pulse.node(&DEFAULTS);
    let joined = node.ok(json!({ "cmd": "voice_join" }));
    assert_eq!((text(&joined, "mic"), text(&joined, "speaker")), ("none".to_owned(), "spk".to_owned()));
    node.await_event("warning", json!({ "code": "no_device" }));
}

#[test]
fn without_any_device_voice_is_joined_all_the_same_and_alsa_keeps_still() {
    if is_skipped() {
        return;
    }
    // ALSA with all its plugins, none of which leads anywhere.
    let dir = TempDir::new();
    let home = dir.path("home");
    let nothing = format!(
        "exec env -u PULSE_SERVER XDG_RUNTIME_DIR='{home}' HOME='{home}' \
         ALSA_CONFIG_PATH=/usr/share/alsa/alsa.conf \"$@\""
    );
    let mut node = Node::shell(&nothing, &DEFAULTS);
    let joined = node.ok(json!({ "cmd": "voice_join" }));
    node.await_event("warning", json!({ "code": "no_device" }));
    if !Path::new("/dev/snd").exists() {
        assert_eq!((&joined["mic"], &joined["speaker"]), (&json!("none"), &json!("none")));
    }
    node.ok(json!({ "cmd": "devices" }));
    assert_eq!(node.finish().exited(0).stderr, "");
}

/// Waits until both are told of their device.
fn both_are_warned(alice: &mut Node, bob: &mut Node, code: &str) {
    alice.await_event("warning", json!({ "code": code }));
    bob.await_event("warning", json!({ "code": code }));
}

/// A node that only speaks.
fn mic(pulse: &Pulse, source: &str) -> Node {
    pulse.node(&["--username", "Alice", "--mic", source, "--speaker", "none"])
}

/// A node that only hears.
fn speaker(pulse: &Pulse, sink: &str) -> Node {
    pulse.node(&["--username", "Bob", "--mic", "none", "--speaker", sink])
}

/// Both are in voice, and know it.
fn call(alice: &mut Node, bob: &mut Node) {
    alice.link(bob);
    alice.ok(json!({ "cmd": "voice_join" }));
    bob.ok(json!({ "cmd": "voice_join" }));
    alice.await_event("voice_joined", json!({ "peer": bob.id() }));
}

fn choose_defaults(pulse: &Pulse, n: &str) {
    pulse.control(&["set-default-sink", &format!("spk{n}")]);
    pulse.control(&["set-default-source", &format!("mic{n}.monitor")]);
}

/// Says something into a microphone until all of it has come out of a speaker.
#[track_caller]
fn hears(pulse: &Pulse, mic: &str, speaker: &str, alice: &mut Node, bob: &mut Node) {
    let speech = speech();
    let said = wav::read_16k_mono(&speech).expect("the speech is there");
    let recording = pulse.record(speaker, 1);
    let mut heard = Vec::new();
    let mut counted = 0;
    while counted < TRIES && heard.len() < ALL_TRIES {
        let metronome = Metronome::start();
        let from = recording.frames();
        pulse.play(mic, &speech);
        // What is still on its way.
        recording.await_frames(recording.frames() + said.len() / 8);
        let late = metronome.stop();
        let compared = compare(&said, &recording.channel(0, from)).expect("there is speech in it");
        if is_whole(&compared) {
            bob.await_event("speaking", json!({ "peer": alice.id(), "speaking": true }));
            alice.await_event("speaking", json!({ "peer": alice.id(), "speaking": true }));
            return;
        }
        counted += usize::from(late < LATE);
        let (found, level, gaps) = (compared.found() * 100.0, compared.level_db, compared.missing_ms());
        let talker = bob.member(&alice.id());
        heard.push(format!(
            "{found:.0} % of it, {level:.1} dB louder, {gaps:.0} ms missing, a wake-up {late:?} late: {talker}"
        ));
    }
    panic!("what was said did not come out whole:\n{}", heard.join("\n"));
}

fn is_whole(compared: &Comparison) -> bool {
    compared.is_same() && compared.level_db.abs() < 3.0 && compared.missing_ms() < 100.0
}

fn speech() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "data", "speech.wav"].iter().collect()
}
