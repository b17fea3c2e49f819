//! Voice with original nodes: the mesh versions, and both ends of the star-shaped ones.

use serde_json::json;

use crate::support::room_key::RoomKey;
use crate::support::telephone::Telephone;
use crate::support::voice::*;
use crate::support::{Node, RawListener, RawPeer, TempDir, fresh_id, number};

const BOB: &str = "127.0.0.1:5001";
const CAROL: &str = "127.0.0.1:5002";

/// A node with a pipe for a microphone and a file for a speaker, in voice; and an original node in voice with it.
struct Call {
    dir: TempDir,
    node: Node,
    bob: Telephone,
    /// Where the node wants its datagrams.
    to: std::net::SocketAddr,
}

impl Call {
    #[track_caller]
    fn start(args: &[&str], key: Option<RoomKey>) -> Self {
        let dir = TempDir::new();
        let mut node = Node::named("Alice", args);
        let mut bob = Telephone::dial(&node, BOB, "Bob", key);
        node.join_voice(&format!("pipe:{}", dir.path("mic")), &dir.path("heard.wav"));
        let to = bob.finds(&node);
        bob.join("general");
        node.await_event("voice_joined", json!({ "peer": BOB, "username": "Bob", "room": "general" }));
        Self { dir, node, bob, to }
    }

    /// Both say something at once.
    fn talk(&mut self, node_says: &[i16], bob_says: &[i16]) {
        let feeding = feed(&self.dir.path("mic"), node_says);
        self.bob.say(self.to, bob_says);
        feeding.join().unwrap();
        self.node.await_event("mic_ended", json!({}));
    }

    /// What the node played.
    #[track_caller]
    fn heard(&mut self) -> Vec<i16> {
        self.node.ok(json!({ "cmd": "voice_leave" }));
        recorded(&self.dir.path("heard.wav"))
    }
}

#[test]
fn an_original_hears_and_is_heard() {
    in_time(|| {
        let mut call = Call::start(&[], None);
        let silences = (silence(0.2), silence(0.5));
        call.talk(&[silences.0.clone(), sentence()].concat(), &[silences.0, question(), silences.1].concat());
        let id = call.node.id();
        // PCM is what it was, to the bit but for the ends of a pipe's frames.
        let found = is_clear(&sentence(), &call.bob.heard_of(&id));
        assert!(found.likeness() > 0.999 && found.gaps.is_empty(), "{found:?}");
        let member = call.node.member(BOB);
        assert_eq!((&member["codec"], &member["addr"]), (&json!("pcm"), &json!(call.bob.udp().to_string())));
        assert!(number(&member, "received") > 50 && number(&member, "lost") == 0, "{member}");
        call.node.await_event("speaking", json!({ "peer": BOB, "speaking": true }));
        call.node.await_event("speaking", json!({ "peer": BOB, "speaking": false }));
        is_clear(&question(), &call.heard());
        let leave = call.bob.peer.await_frame(&json!({ "type": "voice_leave" }));
        assert_eq!((&leave["from"], &leave["room"]), (&json!(id), &json!("general")));
    });
}

#[test]
fn every_unmuted_frame_goes_to_an_original_speech_or_not() {
    in_time(|| {
        let mut call = Call::start(&[], None);
        let id = call.node.id();
        call.bob.forget();
        call.bob.until("a second of silence came", |bob| bob.came_of(&id) > 50);
        assert!(call.bob.heard_of(&id).iter().all(|&sample| sample == 0), "silence is sent as silence");
        // Muted: a frame of zeros a second.
        call.node.ok(json!({ "cmd": "voice_mute" }));
        let mute = call.bob.peer.await_frame(&json!({ "type": "voice_mute_status", "from": id }));
        assert_eq!((&mute["muted"], &mute["room"]), (&json!(true), &json!("general")));
        call.bob.forget();
        let feeding = feed(&call.dir.path("mic"), &sentence());
        feeding.join().unwrap();
        call.node.await_event("mic_ended", json!({}));
        let came = call.bob.came_of(&id);
        assert!((1..=6).contains(&came), "{came} datagrams in 3.3 s of being muted");
        assert!(call.bob.heard_of(&id).iter().all(|&sample| sample == 0), "and nothing that was said");
        call.node.ok(json!({ "cmd": "voice_unmute" }));
        call.bob.forget();
        call.talk(&question(), &[]);
        is_clear(&question(), &call.bob.heard_of(&id));
    });
}

#[test]
fn its_numbers_never_go_back_not_even_over_leave_and_join() {
    let mut call = Call::start(&[], None);
    let id = call.node.id();
    call.bob.until("some came", |bob| bob.came_of(&id) > 5);
    for _ in 0..3 {
        call.node.ok(json!({ "cmd": "voice_leave" }));
        call.bob.peer.await_frame(&json!({ "type": "voice_leave" }));
        call.node.join_voice(&format!("pipe:{}", call.dir.path("mic")), "none");
        call.bob.finds(&call.node);
        let before = call.bob.came_of(&id);
        call.bob.until("more came", |bob| bob.came_of(&id) > before + 5);
    }
    // That panics if a number comes twice; and each is above those before, since an original drops others.
    let numbers = call.bob.numbers_of(&id);
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}

#[test]
fn a_keyed_room_is_sealed_as_the_original_seals() {
    in_time(|| {
        let dir = TempDir::new();
        let key = dir.write("key", "correct horse\n");
        let file = format!("general={key}");
        let mut call = Call::start(&["--original-key-file", &file], Some(RoomKey::new("correct horse", "general")));
        // The telephone opens what comes, or panics; and seals what it says.
        call.talk(&sentence(), &[silence(0.2), question(), silence(0.5)].concat());
        is_clear(&sentence(), &call.bob.heard_of(&call.node.id()));
        // Without the key, and with another one, it is not heard.
        let dropped = call.node.counter("datagrams_dropped");
        let mut stranger = Telephone::dial(&call.node, CAROL, "Carol", Some(RoomKey::new("wrong horse", "general")));
        stranger.join("general");
        call.node.await_event("voice_joined", json!({ "peer": CAROL }));
        stranger.say(call.to, &sentence()[..RATE / 2]);
        call.node.until(&json!({ "cmd": "status" }), |status| {
            number(&status["counters"], "datagrams_dropped") >= dropped + 25
        });
        is_clear(&question(), &call.heard());
    });
}

#[test]
fn an_original_behind_nat_is_answered_where_it_comes_from() {
    in_time(|| {
        let mut call = Call::start(&[], None);
        let id = call.node.id();
        let announced = call.bob.udp();
        // It speaks from the address that it announced, then from another one.
        call.bob.say(call.to, &silence(0.1));
        let moved = call.bob.move_out();
        call.talk(&[silence(3.0), sentence()].concat(), &[silence(3.0), question(), silence(0.5)].concat());
        let member = call.node.member(BOB);
        assert_eq!(member["addr"], moved.to_string());
        assert!(call.bob.ways(moved).1 > 100, "{:?}", call.bob.ways(moved));
        assert!(call.bob.ways(announced).1 > 0);
        is_clear(&sentence(), &call.bob.heard_of(&id));
        is_clear(&question(), &call.heard());
    });
}

#[test]
fn two_originals_are_heard_side_by_side_and_each_hears_the_node() {
    in_time(|| {
        let mut call = Call::start(&[], None);
        // She listens where her id says, as all do but clients of a star: so she is known to speak to everyone by herself.
        let door = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let id = door.local_addr().expect("it is bound").to_string();
        let mut carol = Telephone::dial(&call.node, &id, "Carol", None);
        carol.join("general");
        call.node.await_event("voice_joined", json!({ "peer": id }));
        // The mesh introduces them to each other.
        call.bob.peer.await_frame(&json!({ "type": "voice_join", "from": id }));
        let to = call.to;
        let other = std::thread::spawn(move || {
            carol.say(to, &[silence(3.0), question(), silence(0.5)].concat());
            carol
        });
        call.talk(&sentence(), &[sentence(), silence(2.0)].concat());
        let carol = other.join().unwrap();
        for phone in [&call.bob, &carol] {
            is_clear(&sentence(), &phone.heard_of(&call.node.id()));
        }
        is_clear(&[sentence(), silence(0.2), question()].concat(), &call.heard());
    });
}

#[test]
fn a_star_host_is_spoken_to_and_its_mix_is_heard() {
    in_time(|| {
        // The node is a client of the host: it dials. The host says all there is in one stream, in its own name.
        let dir = TempDir::new();
        let listener = RawListener::new();
        let mut node = Node::named("Alice", &[]);
        let connect = node.begin(json!({ "cmd": "connect", "addr": listener.addr() }));
        let mut host = Telephone::over(listener.accept(BOB, "Host"), BOB, None);
        assert_eq!(node.await_reply(&connect)["ok"], true);
        node.join_voice(&format!("pipe:{}", dir.path("mic")), &dir.path("heard.wav"));
        let to = host.finds(&node);
        host.join("general");
        // Another client of the host, known by its join alone: nothing goes there.
        let other = Telephone::over(RawPeer::connect(&node.addr()), CAROL, None);
        let mut join = other.join_frame();
        join["udp_host"] = json!("127.0.0.2");
        host.peer.send(&join);
        node.await_event("voice_joined", json!({ "peer": CAROL }));
        let feeding = feed(&dir.path("mic"), &sentence());
        host.say(to, &[question(), silence(1.5)].concat());
        feeding.join().unwrap();
        node.await_event("mic_ended", json!({}));
        is_clear(&sentence(), &host.heard_of(&node.id()));
        node.ok(json!({ "cmd": "voice_leave" }));
        is_clear(&question(), &recorded(&dir.path("heard.wav")));
        assert_eq!(other.came_of(&node.id()), 0);
    });
}

#[test]
fn a_star_client_is_passed_on_to_those_whom_it_does_not_reach_and_hears_them() {
    in_time(|| {
        let dir = TempDir::new();
        let mut host = Node::named("Host", &[]);
        let mut far = Node::named("Far", &[]);
        host.link(&mut far);
        let mut client = Telephone::dial(&host, BOB, "Bob", None);
        far.join_voice(&format!("pipe:{}", dir.path("far-mic")), &dir.path("far.wav"));
        host.join_voice("none", &dir.path("host.wav"));
        host.reaches(&[&far.id()]);
        far.reaches(&[&host.id()]);
        let to = client.finds(&host);
        client.join("general");
        for node in [&mut host, &mut far] {
            node.await_event("voice_joined", json!({ "peer": BOB }));
        }
        // It talks to the host alone. It takes the others a second to say that they don't hear it.
        let feeding = feed(&dir.path("far-mic"), &[silence(3.0), sentence()].concat());
        client.say(to, &[silence(3.0), question(), silence(1.5)].concat());
        feeding.join().unwrap();
        far.await_event("mic_ended", json!({}));
        // Whatever it plays comes from the host, in one stream.
        assert_eq!(client.ways(client.udp()).0, [to]);
        assert_eq!(client.came_of(&far.id()), 0);
        let mix = client.heard_of(&host.id());
        is_heard(&sentence(), &mix);
        for (node, file) in [(&mut far, "far.wav"), (&mut host, "host.wav")] {
            node.ok(json!({ "cmd": "voice_leave" }));
            is_heard(&question(), &recorded(&dir.path(file)));
        }
    });
}

#[test]
fn a_join_that_names_no_place_for_voice_is_refused_and_passed_on() {
    let mut node = Node::start(&[]);
    let mut bob = Telephone::dial(&node, BOB, "Bob", None);
    let mut carol = RawPeer::dial(&node.addr(), CAROL, "Carol");
    node.await_event("peer_up", json!({ "peer": CAROL }));
    for (host, port) in [
        (json!("224.0.0.1"), json!(6000)),
        (json!("255.255.255.255"), json!(6000)),
        (json!("0.0.0.0"), json!(6000)),
        (json!("127.0.0.1"), json!(0)),
        (json!("127.0.0.1"), json!(65536)),
        (json!("127.0.0.1"), json!("6000")),
        (json!("localhost"), json!(6000)),
        (json!(null), json!(6000)),
    ] {
        let mut join = bob.join_frame();
        join["id"] = json!(fresh_id());
        join["udp_host"] = host;
        join["udp_port"] = port;
        bob.peer.send(&join);
        carol.await_frame(&json!({ "id": join["id"] }));
    }
    bob.peer.say("barrier");
    node.hears("barrier");
    assert!(node.saw("voice_joined", json!({})).is_empty());
    assert_eq!(node.counter("voice_refused"), 8);
    assert_eq!(node.ok(json!({ "cmd": "voice_peers" })), json!({ "peers": [] }));
}
