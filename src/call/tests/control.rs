//! The requests of clients.

use super::*;
use crate::wire::limits::MAX_VOICE_MEMBERS;

#[test]
fn a_join_opens_the_devices_and_then_tells_everyone() {
    let mut world = World::new();
    assert_eq!((world.calls.may_join(), world.calls.deadline()), (Ok(()), None));
    world.calls.begin_join(ROOM, "mic".into(), "speaker".into(), &mut world.io).expect("no other join");
    assert!(
        matches!(&world.io.out.outputs[..], [Output::StartAudio { mic, speaker }] if mic == "mic" && speaker == "speaker")
    );
    let since = world.now.mono;
    assert_eq!(world.calls.poll_join(world.now, (ROOM, false), since, &mut world.io), Ok(None), "not open yet");
    let second = world.calls.begin_join(ROOM, "mic".into(), "speaker".into(), &mut world.io);
    assert_eq!(second, Err(Refusal::Joining));
    assert!(world.io.handed.is_empty());
    assert!(world.calls.on_audio_opened(Ok(("Mic".into(), "Speaker".into())), &mut world.io));
    let joined = world.calls.poll_join(world.now, (ROOM, false), since, &mut world.io);
    assert_eq!(joined, Ok(Some(("Mic".into(), "Speaker".into()))));
    let [join] = &world.io.handed[..] else { panic!("{:?}", world.io.handed) };
    assert_eq!(
        (&join["type"], &join["room"], &join["udp_host"]),
        (&json!("voice_join"), &json!(ROOM), &json!("10.0.0.100"))
    );
    assert_eq!(join["voice"]["session"], format!("{:016x}", world.calls.own_session().expect("a session")));
    assert!(join["voice"]["key"].is_string(), "in the clear, in a room without a key");
    assert_eq!(world.calls.own(), Ok(InCall { room: ROOM.into(), muted: false }));
    assert_eq!(world.calls.may_join(), Err(Refusal::InVoice(ROOM.into())));
}

#[test]
fn a_join_muted_is_told_twice_for_the_original_s_sake() {
    let mut world = World::new();
    world.calls.begin_join(ROOM, "m".into(), "s".into(), &mut world.io).expect("no other join");
    world.calls.on_audio_opened(Ok(Default::default()), &mut world.io);
    let since = world.now.mono;
    world.calls.poll_join(world.now, (ROOM, true), since, &mut world.io).expect("open");
    assert_eq!(pauses(&world), [true], "its file waits until it is heard");
    let kinds: Vec<&Value> = world.io.handed.iter().map(|it| &it["type"]).collect();
    assert_eq!(kinds, ["voice_join", "voice_mute_status"]);
    assert_eq!(world.io.handed[0]["voice"]["muted"], true);
}

#[test]
fn devices_that_do_not_open_end_a_join() {
    let mut world = World::new();
    let begin = |world: &mut World| world.calls.begin_join(ROOM, "m".into(), "s".into(), &mut world.io);
    let since = world.now.mono;
    begin(&mut world).expect("no other join");
    world.calls.on_audio_opened(Err("busy".into()), &mut world.io);
    let failed = world.calls.poll_join(world.now, (ROOM, false), since, &mut world.io);
    assert_eq!(failed, Err(Refusal::NotOpened("busy".into())));
    begin(&mut world).expect("the first is over");
    world.pass(OPEN_TIME);
    world.io.out.clear();
    let late = world.calls.poll_join(world.now, (ROOM, false), since, &mut world.io);
    assert_eq!(late, Err(Refusal::OpenTimeout));
    assert!(matches!(world.io.out.outputs[..], [Output::StopAudio]));
    assert_eq!(world.calls.own(), Err(Refusal::NotInVoice));
    assert!(world.io.handed.is_empty() && world.io.warned.is_empty());
}

#[test]
fn a_device_lost_in_the_middle_is_a_warning() {
    let mut world = World::in_voice();
    assert!(!world.calls.on_audio_opened(Err("gone".into()), &mut world.io), "nobody waits for it");
    assert_eq!(world.io.warned, [(Warning::DeviceLost, "gone".to_owned())]);
    assert!(world.calls.own().is_ok());
}

#[test]
fn a_room_full_of_true_members_takes_no_more() {
    let mut world = World::new();
    for n in 0..MAX_VOICE_MEMBERS as u8 {
        let mut member = member(n);
        let (id, join) = (member.id().to_owned(), member.signal("voice_join"));
        world.io.neighbours.insert(id, Neighbour { addr: addr(n), is_dialled: false, is_host: false });
        world.signal_by(&join, true, true);
    }
    assert_eq!(world.calls.member_count(), MAX_VOICE_MEMBERS);
    let begin = |world: &mut World| world.calls.begin_join(ROOM, "m".into(), "s".into(), &mut world.io);
    assert_eq!(begin(&mut world), Err(Refusal::RoomFull(MAX_VOICE_MEMBERS)));
    world.io.neighbours.pop_first();
    assert_eq!(begin(&mut world), Ok(()), "one that may be invented makes way");
}

#[test]
fn leaving_tells_everyone_and_closes_the_devices() {
    let mut world = World::in_voice();
    let mut bob = member(2);
    world.meet(&mut bob);
    world.capture(&loud());
    world.told();
    world.sent();
    world.calls.leave(world.now, &mut world.io);
    assert_eq!(world.io.handed.last().expect("a signal")["type"], "voice_leave");
    assert!(matches!(world.io.out.outputs[..], [Output::StopAudio]));
    assert!(world.calls.own().is_err() && world.calls.own_session().is_none());
    assert_eq!(world.calls.member_count(), 1, "who is in is known outside voice, too");
    world.capture(&loud());
    world.calls.on_playback_due(world.now, &mut world.io);
    assert!(matches!(world.io.out.outputs[..], [Output::StopAudio]), "no sound goes in or out any more");
    world.calls.leave(world.now, &mut world.io);
    let leaves = world.io.handed.iter().filter(|it| it["type"] == "voice_leave").count();
    assert_eq!(leaves, 1, "once");
}

/// How often the microphone was paused (true) or went on.
fn pauses(world: &World) -> Vec<bool> {
    let all = world.io.out.outputs.iter();
    all.filter_map(|it| if let Output::PauseMic(paused) = it { Some(*paused) } else { None }).collect()
}

#[test]
fn muting_is_told_once_and_stands_in_the_next_join() {
    let mut world = World::in_voice();
    assert_eq!(World::new().calls.own(), Err(Refusal::NotInVoice));
    for _ in 0..2 {
        let muted = world.calls.set_muted(world.now, true, &mut world.io);
        assert_eq!(muted, Ok(InCall { room: ROOM.into(), muted: true }));
    }
    let kinds: Vec<&Value> = world.io.handed.iter().map(|it| &it["type"]).collect();
    assert_eq!(kinds, ["voice_join", "voice_mute_status"]);
    assert_eq!(world.io.handed[1]["muted"], true);
    assert_eq!(pauses(&world), [true]);
    world.pass(3 * S);
    let again = world.io.handed.last().expect("a signal");
    assert_eq!((&again["type"], &again["voice"]["muted"]), (&json!("voice_join"), &json!(true)));
}

#[test]
fn a_muted_microphone_sends_signs_of_life_alone() {
    let mut world = World::in_voice();
    let mut bob = member(2);
    world.meet(&mut bob);
    world.calls.set_muted(world.now, true, &mut world.io).expect("in voice");
    world.sent();
    let own = world.calls.id.to_string();
    for _ in 0..50 {
        world.capture(&loud());
        let now = world.now;
        world.calls.on_tick(now, &mut world.io);
    }
    assert!(!world.told().iter().any(|it| it.starts_with(&own)));
    let voice = world.sent().into_iter().filter(|(_, bytes)| bytes.len() > datagram::inside::CHALLENGE + 20).count();
    assert_eq!(voice, 0);
}

#[test]
fn loudness_is_set_of_members_alone_and_outlives_their_stay() {
    let mut world = World::in_voice();
    let mut bob = member(2);
    assert_eq!(world.calls.set_gain(bob.id(), 3.0), Err(Refusal::NoMember));
    world.meet(&mut bob);
    assert_eq!(world.calls.set_gain(bob.id(), 20.5), Err(Refusal::BadGain));
    assert_eq!(world.calls.set_gain(bob.id(), f64::NAN), Err(Refusal::BadGain));
    assert_eq!(world.calls.set_gain(bob.id(), -6.0), Ok(()));
    let leave = bob.signal("voice_leave");
    world.signal(&leave);
    bob.begin_anew(9);
    world.meet(&mut bob);
    let members = world.calls.members(world.now, None, "elsewhere", &world.io);
    let [it] = &members[..] else { panic!("{members:?}") };
    assert_eq!((&*it.id.text(), it.gain_db, it.addr), (bob.id(), -6.0, Some(bob.addr)));
    assert!(world.calls.members(world.now, Some("elsewhere"), ROOM, &world.io).is_empty());
}

#[test]
fn the_microphone_s_end_is_told_when_the_last_word_is_out() {
    let mut world = World::in_voice();
    world.calls.on_mic_ended();
    let mut frames = 0;
    while world.told().is_empty() {
        world.capture(&[0; FRAME]);
        frames += 1;
        assert!(frames < 100, "it is never told");
    }
    assert!(frames > 20, "after {frames} frames");
    world.capture(&[0; FRAME]);
    assert!(world.told().is_empty(), "once");
}

#[test]
fn at_loopback_alone_it_tells_where_its_links_come_from() {
    let [outside, link_local] = ["10.0.0.9", "fe80::9"].map(|ip| ip.parse::<IpAddr>().expect("an address"));
    let told = |world: &World| world.io.handed.last().expect("a join")["udp_host"].clone();
    let mut world = World::new();
    world.calls.config.udp_host = IpAddr::from([127, 0, 0, 1]);
    world.join();
    assert_eq!(told(&world), "127.0.0.1");
    for (ip, host) in [(link_local, "fe80::9"), (outside, "10.0.0.9"), (link_local, "10.0.0.9")] {
        world.calls.on_reachable(world.now, ip);
        world.pass(S);
        assert_eq!(told(&world), host, "and in mid-call");
    }
    let mut world = World::in_voice();
    let before = (world.io.handed.len(), told(&world));
    world.calls.on_reachable(world.now, outside);
    world.pass(S);
    assert_eq!((world.io.handed.len(), told(&world)), before, "it was told where to listen");
}

#[test]
fn it_is_warned_of_a_call_that_reaches_nobody_and_told_why() {
    let mut world = World::in_voice();
    let mut bob = member(2);
    let join = bob.signal("voice_join");
    world.signal(&join);
    let why = |world: &World| world.calls.members(world.now, None, ROOM, &world.io)[0].unheard;
    world.pass(4 * S);
    assert_eq!((why(&world), world.io.warned.len()), (Some(Unheard::NoEcho), 0));
    world.pass(2 * S);
    let [(Warning::Unheard, message)] = &world.io.warned[..] else { panic!("{:?}", world.io.warned) };
    assert!(message.contains("no_echo: 1"), "{message}");
    let (now, io) = (world.now, &mut world.io);
    world.calls.leave(now, io);
    assert!(world.calls.take_in_vain() && !world.calls.take_in_vain(), "told once");

    let mut world = World::in_voice();
    let mut bob = member(2);
    world.meet(&mut bob);
    world.pass(6 * S);
    assert_eq!(why(&world), Some(Unheard::Silent));
    let (now, io) = (world.now, &mut world.io);
    world.calls.leave(now, io);
    assert!(world.io.warned.is_empty() && !world.calls.take_in_vain(), "it could be sent to");
}
