//! The star-shaped versions: their clients with nodes of ours for hosts, and nodes of ours with a host of theirs.

use super::original::{Heard, Original, datagram, samples};
use super::*;

/// A tone of its own for each voice: what is in a mix can be told.
fn note(hz: f64, n: usize) -> Frame {
    let mut frame = [0; FRAME];
    for (k, sample) in frame.iter_mut().enumerate() {
        let t = (n * FRAME + k) as f64 / 16_000.0;
        *sample = (5000.0 * (t * hz * std::f64::consts::TAU).sin()) as i16;
    }
    frame
}

/// How loud one tone is in samples, its peak (Goertzel).
fn loudness(samples: &[i16], hz: f64) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let angle = n as f64 / 16_000.0 * hz * std::f64::consts::TAU;
        re += f64::from(*sample) * angle.cos();
        im += f64::from(*sample) * angle.sin();
    }
    2.0 * (re * re + im * im).sqrt() / samples.len().max(1) as f64
}

#[track_caller]
fn assert_in(samples: &[i16], voices: &[f64], others: &[f64], who: &str) {
    for hz in voices {
        let loud = loudness(samples, *hz);
        assert!((3500.0..6000.0).contains(&loud), "{who}: {hz} Hz has {loud:.0} of 5000");
    }
    for hz in others {
        assert!(loudness(samples, *hz) < 300.0, "{who}: {hz} Hz has {:.0}", loudness(samples, *hz));
    }
}

const HZ: [f64; 4] = [350.0, 500.0, 800.0, 1150.0];
/// Voices of originals.
const OLD_HZ: [f64; 3] = [1500.0, 2100.0, 2900.0];

/// All speak for so many frames: nodes their notes; originals theirs, each to those nodes that `to` names.
fn chorus(net: &mut Net, nodes: &[At], olds: &mut [(Original, Vec<At>)], frames: usize) -> Vec<Vec<i16>> {
    let before: Vec<usize> = nodes.iter().map(|at| net.played(*at).len()).collect();
    for n in 0..frames {
        for (i, (old, to)) in olds.iter_mut().enumerate() {
            old.say(net, to, &note(OLD_HZ[i], n));
        }
        talk(net, nodes, 1, |i, _| Some(note(HZ[i], n)));
    }
    nodes.iter().zip(before).map(|(at, before)| net.played(*at)[before..].to_vec()).collect()
}

fn got_since(net: &Net, old: &Original, since: Duration) -> Vec<Heard> {
    old.heard(net).into_iter().filter(|it| it.at >= since).collect()
}

#[track_caller]
fn assert_one_stream(got: &[Heard], from: &str, frames: usize) {
    assert!(got.iter().all(|it| it.from == from), "all of it in the name of its host");
    assert!(got.windows(2).all(|pair| pair[1].sequence == pair[0].sequence.wrapping_add(1)));
    assert!(got.len().abs_diff(frames) <= 3, "{} datagrams in {frames} frames", got.len());
}

#[test]
fn a_client_is_heard_by_all_and_hears_all_in_one_stream() {
    let (mut net, nodes) = party(1, 3, (ms(5), ms(15)));
    let mut old = Original::linked(&mut net, 1, nodes[0]);
    old.join(&mut net, nodes[0]);
    let mut olds = [(old, vec![nodes[0]])];
    chorus(&mut net, &nodes, &mut olds, 250);
    let since = net.elapsed();
    let heard = chorus(&mut net, &nodes, &mut olds, 100);
    for (i, heard) in heard.iter().enumerate() {
        let others: Vec<f64> = (0..3).filter(|it| *it != i).map(|it| HZ[it]).chain([OLD_HZ[0]]).collect();
        assert_in(&heard[8000..24_000], &others, &[HZ[i]], &format!("node {i}"));
    }
    let got = got_since(&net, &olds[0].0, since);
    assert_one_stream(&got, net.at(nodes[0]).id(), 100);
    assert_in(&samples(&got)[8000..24_000], &HZ[..3], &[OLD_HZ[0]], "the client");
    assert_eq!(net.dials_to(olds[0].0.peer), 0, "the others have told");
}

#[test]
fn two_clients_of_one_node_hear_each_other() {
    let mut net = Net::new(2, (ms(5), ms(5)));
    let node = net.node("n");
    join(&mut net, node);
    let mut olds: Vec<(Original, Vec<At>)> = (1..=3)
        .map(|n| {
            let mut old = Original::linked(&mut net, n, node);
            old.join(&mut net, node);
            (old, vec![node])
        })
        .collect();
    chorus(&mut net, &[node], &mut olds, 50);
    let since = net.elapsed();
    let heard = chorus(&mut net, &[node], &mut olds, 100);
    assert_in(&heard[0][8000..24_000], &OLD_HZ, &HZ[..1], "the node");
    for (i, (old, _)) in olds.iter().enumerate() {
        let others: Vec<f64> = (0..3).filter(|it| *it != i).map(|it| OLD_HZ[it]).chain([HZ[0]]).collect();
        let got = got_since(&net, old, since);
        assert_one_stream(&got, net.at(node).id(), 100);
        assert_in(&samples(&got)[8000..24_000], &others, &[OLD_HZ[i]], &format!("client {i}"));
    }
}

#[test]
fn clients_of_two_nodes_hear_each_other() {
    let (mut net, nodes) = party(3, 2, (ms(5), ms(5)));
    let mut olds: Vec<(Original, Vec<At>)> = (0..2)
        .map(|n| {
            let mut old = Original::linked(&mut net, n as u8 + 1, nodes[n]);
            old.join(&mut net, nodes[n]);
            (old, vec![nodes[n]])
        })
        .collect();
    chorus(&mut net, &nodes, &mut olds, 250);
    let since = net.elapsed();
    let heard = chorus(&mut net, &nodes, &mut olds, 100);
    for i in 0..2 {
        assert_in(&heard[i][8000..24_000], &[HZ[1 - i], OLD_HZ[0], OLD_HZ[1]], &[HZ[i]], &format!("node {i}"));
        let got = got_since(&net, &olds[i].0, since);
        assert_one_stream(&got, net.at(nodes[i]).id(), 100);
        assert_in(&samples(&got)[8000..24_000], &[HZ[0], HZ[1], OLD_HZ[1 - i]], &[OLD_HZ[i]], &format!("client {i}"));
    }
    // Nothing goes round: each client's frame is passed on once.
    let passed =
        net.datagrams().iter().filter(|(_, _, bytes)| bytes.len() == 696 && bytes[16..].starts_with(b"10.77."));
    assert!(passed.count() <= 2 * 350);
}

#[test]
fn originals_that_reach_each_other_hear_nobody_twice() {
    // They listen where their ids say; and each sends its voice to all, so they are told from clients of a star.
    for third in [false, true] {
        let (mut net, nodes) = party(4, 1 + usize::from(third), (ms(5), ms(5)));
        let mut olds: Vec<(Original, Vec<At>)> = (1..=2)
            .map(|n| {
                let mut old = Original::linked(&mut net, n, nodes[0]);
                let listening = net.peer(([10, 77, 0, n], 5000).into());
                net.listens(listening, true);
                old.join(&mut net, nodes[0]);
                (old, nodes.clone())
            })
            .collect();
        chorus(&mut net, &nodes, &mut olds, 250);
        let since = net.elapsed();
        chorus(&mut net, &nodes, &mut olds, 100);
        for (i, (old, _)) in olds.iter().enumerate() {
            let from = |at: At| -> Vec<Heard> {
                got_since(&net, old, since).into_iter().filter(|it| it.from == net.at(at).id()).collect()
            };
            for (k, at) in nodes.iter().enumerate() {
                let got = from(*at);
                assert_one_stream(&got, net.at(*at).id(), 100);
                assert_in(&samples(&got)[8000..24_000], &[HZ[k]], &OLD_HZ[..2], &format!("{i} of node {k}"));
            }
            let passed_on = got_since(&net, old, since).iter().filter(|it| it.from.starts_with("10.77")).count();
            assert_eq!(passed_on, 0, "originals reach each other by themselves");
        }
    }
}

#[test]
fn who_listens_is_dialled_once_and_left_alone() {
    let mut net = Net::new(5, (ms(5), ms(5)));
    let node = net.node("n");
    join(&mut net, node);
    let mut olds = Vec::new();
    let mut doors = Vec::new();
    for n in 1..=2 {
        let mut old = Original::linked(&mut net, n, node);
        let door = net.peer(([10, 77, 0, n], 5000).into());
        net.listens(door, true);
        old.join(&mut net, node);
        doors.push(door);
        olds.push((old, vec![node]));
        chorus(&mut net, &[node], &mut olds, 100);
        // Alone it does not matter which version it is.
        assert_eq!(doors.iter().map(|door| net.dials_to(*door)).sum::<usize>(), if n == 1 { 0 } else { 2 });
    }
    chorus(&mut net, &[node], &mut olds, 500);
    for door in doors {
        assert_eq!((net.dials_to(door), net.frames(door).len()), (1, 0), "nothing is said to it");
    }
    assert_eq!(net.events(node, "peer_up").count(), 2);
    assert_eq!(net.events(node, "connect_failed").count(), 0);
}

/// A host of a star at `10.77.0.9`, for two nodes that don't know each other otherwise.
struct Host {
    old: Original,
    nodes: Vec<At>,
    /// Messages that it has passed on.
    passed: usize,
    sequences: Vec<u32>,
}

impl Host {
    fn new(net: &mut Net, nodes: &[At]) -> Self {
        let old = Original::alone(net, 9);
        // It is dialled at its id.
        for at in nodes {
            net.link_peer(old.peer, *at, &old.id, "host");
        }
        net.settle();
        Self { old, nodes: nodes.to_vec(), passed: 0, sequences: vec![1000; nodes.len()] }
    }

    /// Passes every message on to every other link, as it came.
    fn pass_on(&mut self, net: &mut Net) {
        net.settle();
        let frames: Vec<Value> = net.frames(self.old.peer).to_vec();
        for frame in frames.iter().skip(self.passed).filter(|frame| frame["type"] != "hello") {
            let author = frame["from"].as_str().unwrap_or_default().to_owned();
            for at in self.nodes.clone() {
                if net.at(at).id() != author {
                    net.say(self.old.peer, at, frame);
                }
            }
        }
        self.passed = frames.len();
    }

    /// Mixes for each node what the others have sent in the last frame, and its own note.
    fn mix(&mut self, net: &mut Net, n: usize, got: &mut usize) {
        let all = self.old.heard(net);
        let new = all[*got..].to_vec();
        *got = all.len();
        for (i, at) in self.nodes.clone().into_iter().enumerate() {
            let mut pcm = note(OLD_HZ[0], n);
            for heard in new.iter().filter(|it| it.from != net.at(at).id()) {
                pcm.iter_mut().zip(heard.pcm).for_each(|(sum, sample)| *sum = sum.saturating_add(sample));
            }
            self.sequences[i] += 1;
            let bytes = datagram("general", &self.old.id, self.sequences[i], &pcm);
            net.throw_from(self.old.peer, at, bytes);
        }
    }
}

#[test]
fn clients_of_a_host_hear_nobody_twice_and_make_no_storm() {
    let mut net = Net::new(6, (ms(5), ms(5)));
    let nodes: Vec<At> = (0..2).map(|i| net.node(&format!("n{i}"))).collect();
    let mut host = Host::new(&mut net, &nodes);
    host.old.join(&mut net, nodes[0]);
    let join_of_host = host.old.signal("voice_join", "general");
    net.say(host.old.peer, nodes[1], &join_of_host);
    nodes.iter().for_each(|at| join(&mut net, *at));
    host.pass_on(&mut net);
    host.pass_on(&mut net);
    assert_eq!(voice_peers(&mut net, nodes[0]).len(), 2, "the host, and the other client by way of it");
    let mut got = 0;
    let mut since = 0;
    for n in 0..400 {
        if n == 300 {
            since = net.played(nodes[0]).len();
        }
        if n % 50 == 0 {
            host.pass_on(&mut net);
        }
        host.mix(&mut net, n, &mut got);
        talk(&mut net, &nodes, 1, |i, _| Some(note(HZ[i], n)));
    }
    for i in 0..2 {
        let heard = &net.played(nodes[i])[since..];
        assert_in(&heard[8000..24_000], &[HZ[1 - i], OLD_HZ[0]], &[HZ[i]], &format!("client {i}"));
    }
    // Each sends the host its own voice, once; and the few joins went round once.
    let to_host = net.datagrams().iter().filter(|(_, to, bytes)| *to == host.old.addr && bytes.len() == 696).count();
    assert!((750..=830).contains(&to_host), "{to_host}");
    assert!(net.frames(host.old.peer).len() < 30, "{} messages", net.frames(host.old.peer).len());
    // When the host falls silent, they hear each other directly.
    let before = net.played(nodes[0]).len();
    talk(&mut net, &nodes, 250, |i, n| Some(note(HZ[i], n)));
    let heard = &net.played(nodes[0])[before..];
    assert_in(&heard[60_000..76_000], &[HZ[1]], &[HZ[0], OLD_HZ[0]], "without the host");
}
