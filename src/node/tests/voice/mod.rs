//! Voice over whole networks: what is said at one end is what is heard at the other.

use std::time::Duration;

use serde_json::{Value, json};

use crate::call::Calls;
use crate::sim::{At, Net};
use crate::voice::compare::compare;
use crate::voice::testing::{level_db, sample};
use crate::voice::{FRAME, Frame};

mod calls;
mod hostile;
mod original;
mod originals;
mod star;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A node's voice.
fn calls(net: &Net, at: At) -> &Calls {
    net.at(at).calls.as_deref().expect("at rest")
}

/// A node's voice, to be changed.
fn calls_mut(net: &mut Net, at: At) -> &mut Calls {
    net.at_mut(at).calls.as_deref_mut().expect("at rest")
}

/// A line of nodes that are all in the voice of their room.
fn party(seed: u64, n: usize, delay: (Duration, Duration)) -> (Net, Vec<At>) {
    let mut net = Net::new(seed, delay);
    let nodes: Vec<At> = (0..n).map(|i| net.node(&format!("n{i}"))).collect();
    nodes.windows(2).for_each(|pair| net.dial(pair[0], pair[1]));
    net.settle();
    nodes.iter().for_each(|at| join(&mut net, *at));
    idle(&mut net, &nodes, 100);
    (net, nodes)
}

fn run(net: &mut Net, at: At, command: Value) -> Value {
    let line = net.command(at, &command);
    net.settle();
    net.reply(at, line)
}

fn join(net: &mut Net, at: At) {
    let reply = run(net, at, json!({ "cmd": "voice_join" }));
    assert_eq!(reply["ok"], true, "{reply}");
}

/// Runs for so many frames, with nobody's microphone on.
fn idle(net: &mut Net, nodes: &[At], frames: usize) {
    talk(net, nodes, frames, |_, _| None);
}

/// Runs for so many frames: `says` gives what a node's microphone hears in each, if it has one. All play, 5 ms at a time.
fn talk(net: &mut Net, nodes: &[At], frames: usize, says: impl Fn(usize, usize) -> Option<Frame>) {
    for step in 0..frames * 4 {
        net.run_for(ms(5));
        for (i, at) in nodes.iter().enumerate() {
            if step % 4 == 0
                && let Some(frame) = says(i, step / 4)
            {
                net.capture(*at, &frame);
            }
            net.play(*at);
        }
    }
}

/// Real words, beginning somewhere else for each voice.
fn words(voice: usize) -> Vec<Frame> {
    let mut frames = sample().as_chunks::<FRAME>().0.to_vec();
    let n = frames.len();
    frames.rotate_left(voice * 37 % n);
    frames
}

/// A node says its words; gives what each node heard meanwhile, and half a second more.
fn say_words(net: &mut Net, nodes: &[At], talkers: &[usize]) -> Vec<Vec<i16>> {
    let before: Vec<usize> = nodes.iter().map(|at| net.played(*at).len()).collect();
    let said: Vec<Vec<Frame>> = (0..nodes.len()).map(words).collect();
    let n = said[0].len() + 25;
    let zeros = [0; FRAME];
    talk(net, nodes, n, |i, frame| Some(*said[i].get(frame).filter(|_| talkers.contains(&i)).unwrap_or(&zeros)));
    nodes.iter().zip(before).map(|(at, before)| net.played(*at)[before..].to_vec()).collect()
}

/// Asserts that what was heard is what was said: the same words, as loud, without gaps that matter.
#[track_caller]
fn assert_heard(said: &[i16], heard: &[i16], who: &str) {
    let it = compare(said, heard).expect("speech");
    assert!(it.is_same(), "{who}: found {:.2}, likeness {:.2}", it.found(), it.likeness());
    assert!(it.level_db.abs() < 2.0, "{who}: {:.1} dB louder", it.level_db);
    assert!(it.delay_ms() < 300.0, "{who}: {:.0} ms later", it.delay_ms());
}

#[track_caller]
fn assert_silent(heard: &[i16], who: &str) {
    assert!(level_db(heard) < -70.0, "{who} hears {:.1} dB", level_db(heard));
}

fn count(net: &Net, at: At, event: &str, peer: &str) -> usize {
    net.events(at, event).filter(|line| line["peer"] == peer).count()
}

fn voice_peers(net: &mut Net, at: At) -> Vec<Value> {
    run(net, at, json!({ "cmd": "voice_peers" }))["result"]["peers"].as_array().cloned().unwrap_or_default()
}

fn counters(net: &mut Net, at: At) -> Value {
    run(net, at, json!({ "cmd": "status" }))["result"]["counters"].clone()
}
