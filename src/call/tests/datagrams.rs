//! Datagrams in and out.

use super::*;
use crate::voice::{Codec, Packet};
use crate::wire::datagram::inside::{HEARS, Inside, WITH_HOST, write_challenge};
use crate::wire::datagram::sealed::Key;
use crate::wire::datagram::{Datagram, ID};

fn voice_of(member: &mut Member, counter: u64) -> Vec<u8> {
    let payload = loud().iter().flat_map(|sample| sample.to_le_bytes()).collect::<Vec<u8>>();
    member.voice(&Packet { counter, frame: counter, codec: Codec::Pcm, payload: &payload, repeats: [None; 2] })
}

/// Two members of level 1 that have dialled us and are heard, in a call without others of level 2.
fn with_originals() -> World {
    let mut world = World::in_voice();
    for n in [3, 4] {
        world.io.neighbours.insert(original(n), Neighbour { addr: addr(n), is_dialled: false, is_host: false });
        world.signal_by(&original_signal(n, "voice_join"), true, false);
        world.original_says(n, 1, addr(n));
    }
    world
}

/// Both go on speaking for so many frames; gives the datagrams that went out.
fn speak(world: &mut World, from: u32, frames: u32) -> Vec<(SocketAddr, Vec<u8>)> {
    for n in from..from + frames {
        for member in [3, 4] {
            world.original_says(member, n, addr(member));
        }
        world.pass(Duration::from_millis(20));
        world.capture(&loud());
        world.now.mono -= Duration::from_millis(20);
        (0..4).for_each(|_| world.calls.on_playback_due(world.now, &mut world.io));
    }
    world.sent()
}

#[test]
fn voice_goes_to_an_address_that_has_echoed_and_to_no_other() {
    let mut world = World::in_voice();
    let (mut bob, mut carol) = (member(2), member(3));
    let join = carol.signal("voice_join");
    world.signal(&join);
    world.meet(&mut bob);
    world.sent();
    (0..20).for_each(|_| world.capture(&loud()));
    let sent = world.sent();
    assert!(sent.len() > 10 && sent.iter().all(|(to, _)| *to == bob.addr), "{}", sent.len());
    let own = world.calls.id.to_string();
    assert!(world.told().contains(&format!("{own} speaks")));
}

#[test]
fn a_member_is_heard_from_its_own_address_and_its_talkspurt_ends() {
    let mut world = World::in_voice();
    let mut bob = member(2);
    world.meet(&mut bob);
    world.told();
    for n in 1..20 {
        let voice = voice_of(&mut bob, n);
        world.datagram(addr(66), &voice);
        world.pass(Duration::from_millis(20));
    }
    assert!(world.told().is_empty(), "from elsewhere");
    for n in 20..40 {
        let voice = voice_of(&mut bob, n);
        world.datagram(bob.addr, &voice);
        world.datagram(bob.addr, &voice);
        world.pass(Duration::from_millis(20));
    }
    assert_eq!(world.told(), [format!("{} speaks", bob.id())]);
    let counters = world.counters();
    assert_eq!((counters.datagrams_received, counters.datagrams_dropped), (21, 39), "the echo and each frame once");
    let played = |world: &mut World| {
        world.sent();
        world.calls.on_playback_due(world.now, &mut world.io);
        let [Output::Play(chunk)] = &world.io.out.outputs[..] else { panic!("{:?}", world.io.out.outputs) };
        chunk.iter().any(|sample| sample.unsigned_abs() > 1000)
    };
    assert!((0..20).any(|_| played(&mut world)), "it is heard");
    world.pass(S);
    assert_eq!(world.told(), [format!("{} stops", bob.id())]);
}

#[test]
fn a_challenge_is_answered_if_it_is_for_our_session() {
    let mut world = World::in_voice();
    let mut bob = member(2);
    world.meet(&mut bob);
    world.sent();
    let own = world.calls.own_session().expect("in voice");
    for (to, answered) in [(own, 1), (own ^ 1, 0)] {
        let challenge = bob.datagram(|inside| write_challenge(to, 7, inside));
        world.datagram(bob.addr, &challenge);
        assert_eq!(world.sent().len(), answered);
    }
}

#[test]
fn a_blocked_address_is_neither_heard_nor_sent_to() {
    let mut world = World::in_voice();
    let mut bob = member(2);
    world.meet(&mut bob);
    world.sent();
    world.told();
    let before = world.counters();
    world.io.blocked.insert(bob.addr.ip());
    let voice = voice_of(&mut bob, 9);
    world.datagram(bob.addr, &voice);
    (0..20).for_each(|_| world.capture(&loud()));
    world.pass(2 * S);
    assert_eq!((world.sent().len(), world.counters().datagrams_sent), (0, before.datagrams_sent));
    assert_eq!(world.counters().datagrams_dropped, before.datagrams_dropped + 1);
    assert!(!world.told().iter().any(|it| it.starts_with(bob.id())));
}

#[test]
fn an_original_gets_every_frame_at_its_link_s_address() {
    let mut world = World::in_voice();
    world.io.neighbours.insert(original(3), Neighbour { addr: addr(33), is_dialled: false, is_host: false });
    world.signal_by(&original_signal(3, "voice_join"), true, false);
    world.sent();
    (0..10).for_each(|_| world.capture(&[0; FRAME]));
    let sent = world.sent();
    assert!(sent.len() == 10 && sent.iter().all(|(to, _)| *to == addr(33)), "{sent:?}");
    let sequence = |bytes: &[u8]| u32::from_be_bytes(bytes[52..56].try_into().expect("4 bytes"));
    assert!(sent.windows(2).all(|two| sequence(&two[1].1) == sequence(&two[0].1) + 1));
    world.calls.leave(world.now, &mut world.io);
    world.join();
    world.sent();
    world.capture(&[0; FRAME]);
    assert!(sequence(&world.sent()[0].1) > sequence(&sent[9].1), "it never goes back");
}

#[test]
fn clients_of_a_star_are_asked_whether_they_listen_and_get_a_mix() {
    let mut world = with_originals();
    let sent = speak(&mut world, 2, 50);
    assert_eq!(world.io.dialled, [([10, 0, 0, 3], 5000).into(), ([10, 0, 0, 4], 5000).into()], "where their ids say");
    assert!(
        sent.iter().all(|(_, bytes)| bytes[16..16 + ID] == cut::<ID>(&world.calls.id.text())),
        "our own voice alone"
    );
    [1, 2].into_iter().for_each(|dial| world.calls.on_probe_ended(DialId(dial), false));
    speak(&mut world, 52, 50);
    let sent = speak(&mut world, 102, 50);
    for n in [3, 4] {
        let to: Vec<&[u8]> = sent.iter().filter(|(to, _)| *to == addr(n)).map(|(_, bytes)| &bytes[..]).collect();
        assert!(to.len().abs_diff(50) <= 2, "{} datagrams in one stream", to.len());
        assert!(to.iter().all(|bytes| bytes[16..16 + ID] == cut::<ID>(&world.calls.id.text())), "in our name");
    }
    assert_eq!(world.io.dialled.len(), 2, "once");
}

#[test]
fn members_that_listen_get_our_own_voice_and_no_mix() {
    let mut world = with_originals();
    speak(&mut world, 2, 50);
    [1, 2].into_iter().for_each(|dial| world.calls.on_probe_ended(DialId(dial), true));
    speak(&mut world, 52, 50);
    assert!(world.calls.call.as_ref().expect("in voice").streams.values().all(|it| !it.star.is_served()));
}

#[test]
fn the_host_of_a_star_is_not_asked_and_others_are_told_of_it() {
    let mut world = with_originals();
    world.io.neighbours.get_mut(&original(3)).expect("a neighbour").is_host = true;
    let mut bob = member(2);
    world.meet(&mut bob);
    let key = Key::new(&world.calls.call.as_ref().expect("in voice").key);
    let sent = speak(&mut world, 2, 80);
    let flags = sent.iter().filter(|(to, _)| *to == bob.addr).find_map(|(_, bytes)| {
        let Ok(Datagram::Sealed(sealed)) = Datagram::parse(bytes) else { return None };
        let inside = sealed.open(&key)?;
        let Ok(Inside::Members { known }) = Inside::parse(&inside) else { return None };
        Some(known.iter().map(|known| (known[0], known[1..].to_vec())).collect::<Vec<_>>())
    });
    let id = |n| cut::<ID>(&original(n)).to_vec();
    assert_eq!(flags, Some(vec![(HEARS | WITH_HOST, id(3)), (HEARS, id(4))]));
    assert_eq!(world.io.dialled, [([10, 0, 0, 4], 5000).into()]);
}
