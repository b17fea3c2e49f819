//! The test vectors in `docs/vectors.json`: a value of each thing that crosses the wire, made from fixed keys.
//!
//! They are for authors of other programs, who check theirs against them. Here the program makes them anew, and they must be
//! the same. `UPDATE_VECTORS=1` writes them.

use p2p_chat::voice::{Codec, Packet, Repeat, Report};
use p2p_chat::wire::canonical;
use p2p_chat::wire::datagram::sealed::{self, Sealer};
use p2p_chat::wire::datagram::{Datagram, Inside, Original, cut, inside};
use p2p_chat::wire::frame::PREFIX;
use p2p_chat::wire::identity::Identity;
use p2p_chat::wire::message::View;
use p2p_chat::wire::noise::{Handshake, Keys, NetworkKey, Session};
use p2p_chat::wire::outgoing::{
    self, CONFIRM, Chat, Message, NICK, Ours, PING, VERSION, Voice, VoiceJoin, VoiceSignal,
};
use p2p_chat::wire::room_key::original::Key;
use p2p_chat::wire::room_key::{Bound, Purpose, RoomKey, Scheme};
use p2p_chat::wire::signed::{self, SeqNo};
use serde_json::{Value, json};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/vectors.json");
const ROOM: &str = "café";
const SEQ: SeqNo = SeqNo { epoch: 1_767_225_600_000, n: 7 };
const TS: &str = "2026-01-01T12:00:00.000Z";

#[test]
fn the_vectors_in_the_documentation_are_those_that_the_program_makes() {
    let made = format!("{:#}\n", all());
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(FILE, &made).expect("it can be written");
    }
    let kept = std::fs::read_to_string(FILE).expect("docs/vectors.json");
    assert!(kept == made, "docs/vectors.json is not what the program makes: UPDATE_VECTORS=1 writes it anew");
}

fn all() -> Value {
    json!({
        "about": "Test vectors of the wire format that docs/wire.md describes. Bytes are in hexadecimal digits. All keys are fixed, and protect nothing.",
        "links": [link(None), link(Some("correct horse"))],
        "signed_chat": signed_chat(),
        "values": values(),
        "rooms": [room(Scheme::Argon2id), room(Scheme::Original)],
        "voice": voice(),
        "voice_of_level_1": voice_of_level_1(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 32 bytes that count up from one of them.
fn secret(from: u8) -> [u8; 32] {
    std::array::from_fn(|i| from + u8::try_from(i).expect("32 of them"))
}

fn identity(of: u8) -> Identity {
    Identity::new(&[of; 32])
}

fn identity_of(of: u8, role: &str) -> Value {
    let it = identity(of);
    json!({
        "role": role,
        "ed25519_secret": hex(&[of; 32]),
        "ed25519_public": hex(&it.public()),
        "node_id": it.id().to_string(),
    })
}

/// A handshake, and the hello of either side in the first record of its direction.
fn link(passphrase: Option<&str>) -> Value {
    let network = passphrase.map(|it| NetworkKey::derive(it).expect("memory"));
    let (dialler, listener) = (identity(1), identity(2));
    let keys = [Keys::new(&dialler, secret(0x20), network), Keys::new(&listener, secret(0x60), network)];
    let (mut first, mut second, mut third) = (Vec::new(), Vec::new(), Vec::new());
    let mut dials = Handshake::dial(&keys[0], secret(0x40), None, &mut first).expect("its own keys");
    let mut answers = Handshake::answer(&keys[1], secret(0x80));
    let none = answers.take(&keys[1], &mut &first[..], &mut second).expect("a good first message");
    assert!(none.is_none());
    let at_dialler = dials.take(&keys[0], &mut &second[..], &mut third).expect("a good answer").expect("done");
    let mut none = Vec::new();
    let at_listener = answers.take(&keys[1], &mut &third[..], &mut none).expect("a good end").expect("done");
    assert_eq!((at_dialler.id, at_listener.id), (listener.id().to_string(), dialler.id().to_string()));
    let hello = |it: &Identity, id, username, listen| {
        let caps = &[PING, CONFIRM, NICK];
        let p2p_chat = Some(Ours { version: VERSION, listen, caps });
        let mut frame = Vec::new();
        outgoing::frame(&Message::Hello { id, from: &it.id().text(), username, p2p_chat }, &mut frame);
        frame
    };
    let hellos = [
        hello(&dialler, "11111111-1111-4111-8111-111111111111", "Alice", Some("192.0.2.7:5000")),
        hello(&listener, "22222222-2222-4222-8222-222222222222", "Bob", None),
    ];
    let mut sessions = [at_dialler.session, at_listener.session];
    let records: Vec<Vec<u8>> = sessions
        .iter_mut()
        .zip(&hellos)
        .map(|(session, frame)| {
            let mut record = Vec::new();
            session.seal(frame, &mut record).expect("it fits");
            record
        })
        .collect();
    let [at_dialler, at_listener] = &mut sessions;
    assert_eq!(open(at_listener, &records[0]), hellos[0]);
    assert_eq!(open(at_dialler, &records[1]), hellos[1]);
    json!({
        "network_passphrase": passphrase,
        "dialler": identity_of(1, "dialler"),
        "listener": identity_of(2, "listener"),
        "dialler_noise_secret": hex(&secret(0x20)),
        "dialler_ephemeral_secret": hex(&secret(0x40)),
        "listener_noise_secret": hex(&secret(0x60)),
        "listener_ephemeral_secret": hex(&secret(0x80)),
        "first_message": hex(&first),
        "second_message": hex(&second),
        "third_message": hex(&third),
        "dialler_hello_frame": hex(&hellos[0]),
        "dialler_hello_record": hex(&records[0]),
        "listener_hello_frame": hex(&hellos[1]),
        "listener_hello_record": hex(&records[1]),
    })
}

fn open(session: &mut Session, record: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    assert_eq!(session.open(&mut &record[..], &mut plain), Ok(true));
    plain
}

fn signed_chat() -> Value {
    let author = identity(1);
    let meta = serde_json::value::to_raw_value(&json!({ "answers": "x", "n": [1, -2, 0.5, null] })).expect("JSON");
    let chat = Chat {
        id: "33333333-3333-4333-8333-333333333333",
        from: &author.id().text(),
        username: "Alice",
        room: ROOM,
        msg: "héllo\n",
        encrypted_msg: None,
        sealed_msg: None,
        ttl: 32,
        ttl0: 32,
        ts: TS,
        meta: Some(&meta),
        encrypted_meta: None,
        sealed_meta: None,
    };
    let frame = outgoing::signed_frame(&Message::Chat(chat), &author, SEQ).expect("it can be signed");
    let view = View::parse(&frame[PREFIX..]).expect("a frame");
    assert!(signed::verify(&view).is_ok());
    let claim = signed::Claim::new(&view).expect("a claim");
    let (covered, signature) = claim.bytes();
    json!({
        "author": identity_of(1, "author"),
        "epoch": SEQ.epoch,
        "n": SEQ.n,
        "frame": hex(&frame),
        "signed_bytes": hex(covered),
        "signature": hex(signature),
    })
}

/// Values as a signature covers them.
fn values() -> Value {
    let texts = [
        "null",
        "true",
        "0",
        "-0",
        "7",
        "-7",
        "18446744073709551615",
        "18446744073709551616",
        "1e3",
        "1.0",
        "0.5",
        "-2.5e-3",
        r#""""#,
        r#""A\u00e9""#,
        "[]",
        r#"[1,"a"]"#,
        r#"{"b":1,"a":{"c":null}}"#,
    ];
    let covered = |json: &str| {
        let mut out = Vec::new();
        canonical::value(json, &mut out).map(|()| hex(&out))
    };
    let refused = [r#""\ud83d""#, "1e999", r#"{"a":1,"a":2}"#];
    assert!(refused.iter().all(|json| covered(json).is_none()));
    json!({
        "covered": texts.map(|json| json!({ "json": json, "bytes": covered(json) })),
        "refused": refused,
    })
}

/// A text, its `meta` and the key of a session of voice, sealed.
fn room(scheme: Scheme) -> Value {
    let (passphrase, author) = ("correct horse", identity(1));
    let key = RoomKey::derive(scheme, passphrase, ROOM);
    let nonce: [u8; 24] = std::array::from_fn(|i| u8::try_from(i).expect("24 of them"));
    let used = if scheme == Scheme::Argon2id { 24 } else { 12 };
    let session_key = secret(0);
    let sealed = |purpose, plain: &[u8]| {
        let bound = Bound { purpose, author: &author.id().text(), room: ROOM, seq: SEQ };
        let sealed = key.seal(plain, &bound, nonce);
        assert_eq!(key.open(&sealed, &bound).as_deref(), Some(plain));
        json!({ "plain": hex(plain), "nonce": hex(&nonce[..used]), "sealed": sealed })
    };
    let prefix = if scheme == Scheme::Argon2id { "sealed" } else { "encrypted" };
    json!({
        "scheme": scheme,
        "passphrase": passphrase,
        "room": ROOM,
        "from": author.id().to_string(),
        "epoch": SEQ.epoch,
        "n": SEQ.n,
        format!("{prefix}_msg"): sealed(Purpose::Text, "héllo".as_bytes()),
        format!("{prefix}_meta"): sealed(Purpose::Meta, br#"{"a":1}"#),
        format!("{prefix}_key"): sealed(Purpose::Voice, &session_key),
    })
}

/// A join in the clear, and a datagram of each kind of level 2.
fn voice() -> Value {
    let (author, other) = (identity(1), identity(2));
    let key = secret(0);
    let mut sealer = Sealer::new(&author.id().text(), ROOM, &key);
    let theirs = sealed::session(&other.id().text(), ROOM, &secret(0x10));
    let session = format!("{:016x}", sealer.session());
    let voice = Voice {
        session: &session,
        key: Some("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
        sealed_key: None,
        encrypted_key: None,
        codecs: &["opus"],
        muted: false,
    };
    let signal = VoiceSignal {
        id: "44444444-4444-4444-8444-444444444444",
        from: &author.id().text(),
        username: "Alice",
        room: ROOM,
        muted: None,
        ttl: 32,
        ttl0: 32,
        ts: TS,
        voice,
    };
    let join = Message::VoiceJoin(VoiceJoin { signal, udp_host: "192.0.2.7", udp_port: 6000 });
    let join = outgoing::signed_frame(&join, &author, SEQ).expect("it can be signed");
    let pcm = pcm();
    let repeat = Repeat { back: 2, payload: &[0x0b, 0xe4, 0xff] };
    let of = |counter, frame, codec, payload| Packet { counter, frame, codec, payload, repeats: [None; 2] };
    let opus = Packet { repeats: [Some(repeat), None], ..of(5, 9, Codec::Opus, &[0x0b, 0xe4, 0xc1, 0x36][..]) };
    let report = Report { expected: 50, lost: 3, bursts: 2 };
    let known = [(inside::HEARS, "10.0.0.1:5000"), (inside::WITH_HOST, "10.0.0.2:5000")];
    type Write<'a> = Box<dyn Fn(&mut Vec<u8>) + 'a>;
    let contents: [(&str, Write<'_>); 7] = [
        ("voice, Opus, with the frame of 40 ms ago once more", Box::new(|out| inside::write_voice(&opus, true, out))),
        ("voice, PCM", Box::new(|out| inside::write_voice(&of(6, 10, Codec::Pcm, &pcm), true, out))),
        ("voice, silence begins", Box::new(|out| inside::write_voice(&of(7, 11, Codec::Opus, &[]), false, out))),
        ("challenge", Box::new(|out| inside::write_challenge(theirs, 0x0102_0304_0506_0708, out))),
        ("echo", Box::new(|out| inside::write_echo(0x0102_0304_0506_0708, out))),
        ("report", Box::new(|out| inside::write_report(theirs, report, out))),
        ("members", Box::new(|out| inside::write_members(known.into_iter(), out))),
    ];
    let datagrams = contents.iter().enumerate().map(|(counter, (kind, write))| {
        let (mut content, mut datagram) = (Vec::new(), Vec::new());
        write(&mut content);
        assert!(Inside::parse(&content).is_ok(), "{kind}");
        sealer.seal(|out| out.extend_from_slice(&content), &mut datagram);
        let Ok(Datagram::Sealed(read)) = Datagram::parse(&datagram) else { panic!("{kind}") };
        assert_eq!(read.open(&sealed::Key::new(&key)).as_ref(), Some(&content), "{kind}");
        json!({ "kind": kind, "counter": counter, "content": hex(&content), "datagram": hex(&datagram) })
    });
    let datagrams: Vec<Value> = datagrams.collect();
    json!({
        "from": author.id().to_string(),
        "room": ROOM,
        "session_key": hex(&key),
        "session": session,
        "join_frame": hex(&join),
        "receiver": { "from": other.id().to_string(), "session_key": hex(&secret(0x10)), "session": format!("{theirs:016x}") },
        "datagrams": datagrams,
    })
}

/// A sample of a ramp.
fn sample(n: usize) -> i16 {
    i16::try_from(n).expect("a frame has 320") * 100 - 16_000
}

/// The ramp, as it travels.
fn pcm() -> Vec<u8> {
    (0..320).flat_map(|n| sample(n).to_le_bytes()).collect()
}

/// A datagram of level 1 in the clear, and in a room with a key.
fn voice_of_level_1() -> Value {
    let (names, samples) = ((&cut(ROOM), &cut("10.0.0.1:5000")), std::array::from_fn(sample));
    let key = Key::derive("correct horse", ROOM);
    let nonce = std::array::from_fn(|i| u8::try_from(i).expect("12 of them"));
    let write = |seal: Option<(&Key, [u8; 12])>| {
        let mut out = Vec::new();
        Original::write(names, 42, &samples, seal, &mut out);
        hex(&out)
    };
    json!({
        "room": ROOM,
        "from": "10.0.0.1:5000",
        "number": 42,
        "pcm": hex(&pcm()),
        "datagram": write(None),
        "passphrase": "correct horse",
        "nonce": hex(&nonce),
        "sealed_datagram": write(Some((&key, nonce))),
    })
}
