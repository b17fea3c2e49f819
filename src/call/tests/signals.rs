//! Joins, leaves and mutes of others.

use super::*;
use crate::wire::limits::{MAX_VOICE_KNOWN, VOICE_FORGET, VOICE_REJOIN};

#[test]
fn a_new_member_is_told_and_answered_once() {
    let mut world = World::in_voice();
    let mut bob = member(2);
    let (join, again) = (bob.signal("voice_join"), bob.signal("voice_join"));
    world.signal(&join);
    assert_eq!(world.told(), [format!("{} joins", bob.id())]);
    assert_eq!(world.io.handed.len(), 1, "not at once: all members answer the same join");
    world.pass(S);
    assert_eq!(world.io.handed.len(), 2, "an answer");
    world.signal(&again);
    world.pass(S);
    assert_eq!((world.told().len(), world.io.handed.len()), (0, 2));
    world.pass(VOICE_REJOIN);
    assert_eq!(world.io.handed.len(), 3, "it is said again every half minute");
}

#[test]
fn outside_voice_and_of_rooms_that_are_not_shown_nothing_is_told() {
    let mut world = World::new();
    world.io.hidden = true;
    let mut bob = member(2);
    let join = bob.signal("voice_join");
    world.signal(&join);
    assert_eq!((world.told().len(), world.calls.member_count()), (0, 1));
    world.join();
    let mute = bob.signal("voice_mute_status");
    world.signal(&mute);
    assert_eq!(world.told(), [format!("{} mutes", bob.id())], "of the room that voice is in all is told");
}

#[test]
fn an_unsigned_signal_of_level_2_and_our_own_are_refused() {
    let mut world = World::in_voice();
    let mut bob = member(2);
    let join = bob.signal("voice_join");
    world.signal_by(&join, true, false);
    let own = world.io.handed[0].clone();
    world.signal(&own);
    assert_eq!((world.calls.member_count(), world.counters().voice_refused), (0, 2));
    world.calls.refuse_signal();
    assert_eq!(world.counters().voice_refused, 3);
}

#[test]
fn level_1_is_refused_where_only_level_2_is_spoken() {
    let mut world = World::with(true);
    world.signal_by(&original_signal(3, "voice_join"), true, false);
    assert_eq!((world.calls.member_count(), world.counters().voice_refused), (0, 1));
    world.original_says(3, 1, addr(3));
    assert_eq!(world.counters().datagrams_dropped, 1);
}

#[test]
fn a_neighbour_s_name_counts_over_its_own_link_alone() {
    let mut world = World::in_voice();
    world.io.neighbours.insert(original(3), Neighbour { addr: addr(3), is_dialled: false, is_host: false });
    world.signal_by(&original_signal(3, "voice_join"), false, false);
    assert_eq!(world.calls.member_count(), 0);
    world.signal_by(&original_signal(3, "voice_join"), true, false);
    assert_eq!(world.told(), [format!("{} joins", original(3))]);
}

#[test]
fn a_forged_claim_on_a_member_that_is_heard_waits_until_it_is_silent() {
    let mut world = World::in_voice();
    world.signal_by(&original_signal(3, "voice_join"), false, false);
    world.original_says(3, 1, addr(3));
    world.told();
    let mut elsewhere = original_signal(3, "voice_join");
    elsewhere["room"] = json!("elsewhere");
    world.signal_by(&elsewhere, false, false);
    world.signal_by(&original_signal(3, "voice_leave"), false, false);
    for n in 2..100 {
        world.original_says(3, n, addr(3));
        world.pass(Duration::from_millis(100));
    }
    assert!(!world.told().iter().any(|it| it.ends_with("joins") || it.ends_with("leaves")));
    world.pass(3 * S);
    let told = world.told();
    assert_eq!(told.iter().filter(|it| it.ends_with("leaves")).count(), 1, "{told:?}");
}

#[test]
fn earlier_signals_change_nothing() {
    let mut world = World::in_voice();
    let mut bob = member(2);
    let (early, join, leave) = (bob.signal("voice_mute_status"), bob.signal("voice_join"), bob.signal("voice_leave"));
    world.signal(&join);
    world.told();
    world.signal(&early);
    assert!(world.told().is_empty(), "said before the join");
    world.signal(&leave);
    assert_eq!(world.told(), [format!("{} leaves", bob.id())]);
    world.signal(&join);
    assert!(world.told().is_empty() && world.calls.member_count() == 0, "a late copy");
}

#[test]
fn changes_of_one_author_have_a_rate() {
    let mut world = World::in_voice();
    world.signal_by(&original_signal(3, "voice_join"), true, false);
    let changes = |world: &mut World| {
        for n in 0..100 {
            let mut mute = original_signal(3, "voice_mute_status");
            mute["muted"] = json!(n % 2 == 0);
            world.signal_by(&mute, true, false);
        }
        world.told().len()
    };
    assert_eq!(changes(&mut world), 20, "its join, and 19 changes");
    assert!(world.counters().voice_refused > 0);
    assert_eq!(world.calls.rates_held(), (1, 0), "over its own link it has no other rate");
    world.pass(S);
    assert_eq!(changes(&mut world), 4);
}

/// Joins of so many invented members. How many of them may be passed on.
fn invented(world: &mut World, from: u32, count: u32) -> usize {
    let mut join = original_signal(3, "voice_join");
    let all = (from..from + count).filter(|n| {
        join["from"] = json!(format!("invented {n}"));
        world.signal_by(&join, false, false)
    });
    all.count()
}

#[test]
fn a_real_member_is_in_as_soon_as_it_is_heard_whoever_else_is_invented() {
    let mut world = World::in_voice();
    assert_eq!(invented(&mut world, 0, 2000), 1024, "what is over the rate is not passed on");
    let refused = world.counters().voice_refused;
    assert_eq!(refused, 2000 - 1024 - 64, "nor dropped, up to another");
    assert_eq!(world.told().iter().filter(|it| it.ends_with("joins")).count(), 1024);
    for n in 0..100 {
        world.pass(Duration::from_millis(10));
        assert!(invented(&mut world, 2000 + 2 * n, 2) <= 2);
    }
    let told = world.told();
    assert!(told.iter().filter(|it| it.ends_with("joins")).count() <= 16, "{told:?}");
    let (mut bob, mut carol) = (member(2), member(4));
    world.pass(Duration::from_millis(20));
    world.meet(&mut bob);
    world.pass(Duration::from_millis(200));
    let joins = format!("{} joins", bob.id());
    assert_eq!(world.told().iter().filter(|it| **it == joins).count(), 1);
    invented(&mut world, 3000, 200);
    assert!(world.calls.is_member(bob.id()), "and it stays");
    assert!(world.signal_by(&carol.signal("voice_join"), true, true), "what a neighbour says itself is passed on");
    assert!(world.told().contains(&format!("{} joins", carol.id())));
}

#[test]
fn what_was_over_the_rate_is_told_when_there_is_room_again() {
    let mut world = World::new();
    invented(&mut world, 0, 1024);
    world.told();
    let mut bob = member(2);
    let (join, mute, again) = (bob.signal("voice_join"), bob.signal("voice_mute_status"), bob.signal("voice_join"));
    assert!(!world.signal(&join) && !world.signal(&mute));
    assert!(!world.told().iter().any(|it| it.starts_with(bob.id())));
    world.pass(S);
    assert_eq!(world.told(), [format!("{} joins muted", bob.id())], "the last state of it");
    assert!(world.signal(&again), "from then on it is passed on");
    assert_eq!(world.told(), [format!("{} unmutes", bob.id())]);
    // One that is gone by then leaves no trace.
    invented(&mut world, 2000, 1024);
    let told = world.told();
    let mut carol = member(4);
    let (join, leave) = (carol.signal("voice_join"), carol.signal("voice_leave"));
    world.signal(&join);
    world.signal(&leave);
    world.pass(S);
    assert!(!told.iter().chain(&world.told()).any(|it| it.starts_with(carol.id())));
}

#[test]
fn members_that_are_never_heard_make_way_in_rooms_where_this_node_is_not() {
    let mut world = World::new();
    let mut join = original_signal(3, "voice_join");
    for n in 0..MAX_VOICE_KNOWN {
        (join["from"], join["room"]) = (json!(format!("invented {n}")), json!(format!("room {}", n / 60)));
        world.signal_by(&join, false, false);
    }
    assert_eq!(world.calls.member_count(), MAX_VOICE_KNOWN);
    let mut bob = member(2);
    let join = bob.signal("voice_join");
    world.signal_by(&join, true, true);
    assert!(world.calls.is_member(bob.id()) && !world.calls.is_member("invented 0"));
    assert_eq!(world.calls.member_count(), MAX_VOICE_KNOWN);
}

#[test]
fn a_full_roster_is_told_a_part_at_a_time_and_not_to_who_does_not_read() {
    let mut world = World::new();
    invented(&mut world, 0, 64);
    for n in 0..960 {
        let mut join = original_signal(3, "voice_join");
        (join["from"], join["room"]) = (json!(format!("invented {}", 1000 + n)), json!(format!("room {}", n / 60)));
        join["pad"] = json!("x".repeat(1000));
        world.signal_by(&join, false, false);
    }
    world.calls.on_link_up(world.now, LINK, (&"new".into(), 2), &mut world.io);
    world.calls.on_link_up(world.now, GONE, (&"gone".into(), 2), &mut world.io);
    let told = |world: &mut World| std::mem::take(&mut world.io.queued).len();
    let first = told(&mut world);
    assert!((40..80).contains(&first), "{first}");
    world.io.waiting = 1 << 20;
    world.pass(S);
    assert_eq!(told(&mut world), 0, "what it was told is still on its way");
    world.io.waiting = 0;
    world.pass(Duration::from_millis(500));
    let more = told(&mut world);
    assert!((200..500).contains(&more), "{more}");
    world.pass(3 * S);
    assert_eq!(first + more + told(&mut world), 1024, "each is told once");
    world.pass(S);
    assert_eq!(told(&mut world), 0);
}

#[test]
fn a_member_that_gives_no_sign_of_life_is_dropped_and_a_neighbour_is_not() {
    let mut world = World::in_voice();
    let (mut bob, mut carol) = (member(2), member(3));
    for member in [&mut bob, &mut carol] {
        let join = member.signal("voice_join");
        world.signal(&join);
    }
    world.io.neighbours.insert(carol.id().into(), Neighbour { addr: addr(3), is_dialled: true, is_host: false });
    world.told();
    world.pass(VOICE_FORGET - S);
    assert!(world.told().is_empty());
    world.pass(2 * S);
    assert_eq!(world.told(), [format!("{} leaves", bob.id())]);
}

#[test]
fn a_new_neighbour_is_told_of_us_first_and_not_of_itself() {
    let mut world = World::in_voice();
    let (mut bob, mut carol) = (member(2), member(3));
    for member in [&mut bob, &mut carol] {
        let join = member.signal("voice_join");
        world.signal(&join);
    }
    let peer = carol.id().to_owned();
    let told = |world: &mut World, level| -> Vec<Value> {
        world.calls.on_link_up(world.now, LINK, (&(*peer).into(), level), &mut world.io);
        let queued = std::mem::take(&mut world.io.queued);
        queued
            .into_iter()
            .map(|(link, frame)| (link == LINK).then(|| frame["from"].clone()).expect("its link"))
            .collect()
    };
    let own = json!(world.calls.id);
    let both = [own.clone(), json!(bob.id())];
    assert_eq!((told(&mut world, 1), told(&mut world, 2)), (both.to_vec(), both.to_vec()));
    world.pass(61 * S);
    assert_eq!(told(&mut world, 1), [own], "an original would flood its side with what is old");
    assert_eq!(told(&mut world, 2), both);
}

#[test]
fn a_change_of_the_room_s_key_begins_another_session_under_it() {
    let mut world = World::in_voice();
    let mut bob = member(2);
    world.meet(&mut bob);
    let before = world.calls.own_session();
    world.io.key = Some(RoomKey::derive_at_once(Scheme::Argon2id, "secret", ROOM));
    world.calls.on_key_changed(world.now, "elsewhere", &mut world.io);
    assert_eq!(world.calls.own_session(), before, "another room's key");
    world.calls.on_key_changed(world.now, ROOM, &mut world.io);
    assert_ne!(world.calls.own_session(), before);
    let join = world.io.handed.last().expect("a join");
    assert!(join["voice"]["sealed_key"].is_string() && join["voice"]["key"].is_null(), "{join}");
    let [(Warning::Key, message)] = &world.io.warned[..] else { panic!("{:?}", world.io.warned) };
    assert!(message.contains(bob.id()), "its key stands in the clear, which counts no more");
    world.sent();
    world.capture(&loud());
    assert!(world.sent().is_empty(), "nothing goes to who can't open it");
    world.io.key = None;
    world.calls.on_key_changed(world.now, ROOM, &mut world.io);
    assert!(world.calls.has_echo().is_some(), "it can be opened again");
}

#[test]
fn a_blocked_author_is_forgotten_as_if_it_had_never_joined() {
    let mut world = World::in_voice();
    let mut bob = member(2);
    let join = bob.signal("voice_join");
    world.signal(&join);
    let id = bob.id().to_owned();
    world.calls.forget_members(|it| it == id, &mut world.io);
    assert_eq!(world.told(), [format!("{id} joins"), format!("{id} leaves")]);
    world.signal(&join);
    assert_eq!(world.told(), [format!("{id} joins")], "its session may come again");
}
