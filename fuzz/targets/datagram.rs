//! A datagram: what it is, its body, and that what is written again is the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2p_chat::voice::{FRAME, MAX_PAYLOAD};
use p2p_chat::wire::datagram::{self, Datagram, KNOWN, Original, PCM, Voice};
use p2p_chat::wire::room_key::original::{Key, NONCE};
use p2p_chat::wire::room_key::{RoomKey, Scheme};
use p2p_chat_fuzz::Choices;

fuzz_target!(|input: &[u8]| {
    look(input);
    // The same, sealed by a member.
    let mut choices = Choices(input);
    let key = key();
    let header = choices.take(17);
    let mut sealed = header.to_vec();
    key.seal_bytes(choices.0, header, [3; NONCE], &mut sealed);
    if let Ok(Datagram::Voice(voice)) = Datagram::parse(&sealed)
        && let Some(body) = voice.open([&key].into_iter())
    {
        assert_eq!(*body, *choices.0);
        body_of(&body, voice.session, voice.counter);
    }
});

fn key() -> Key {
    let key = RoomKey::derive_at_once(Scheme::Original, "k", "r");
    key.original().expect("of that scheme").clone()
}

fn look(bytes: &[u8]) {
    let key = key();
    let none = || std::iter::empty::<&Key>();
    let mut again = Vec::new();
    match Datagram::parse(bytes) {
        Err(_) => return,
        Ok(Datagram::Original(it)) => {
            // Nobody has sealed it with this key.
            assert!(it.open([&key].into_iter()).is_none());
            let Some(pcm) = it.open(none()) else { return };
            assert_eq!(pcm.len(), PCM);
            let samples: [i16; FRAME] = std::array::from_fn(|i| i16::from_le_bytes([pcm[2 * i], pcm[2 * i + 1]]));
            Original::write((&it.room, &it.id), it.sequence, &samples, None, &mut again);
        }
        Ok(Datagram::Voice(voice)) => {
            assert!(voice.open([&key].into_iter()).is_none());
            if let Some(body) = voice.open(none()) {
                body_of(&body, voice.session, voice.counter);
            }
            return;
        }
        Ok(Datagram::Challenge { from, to, nonce }) => datagram::write_challenge(from, to, nonce, &mut again),
        Ok(Datagram::Echo { from, nonce }) => datagram::write_echo(from, nonce, &mut again),
        Ok(Datagram::Report { from, to, report }) => datagram::write_report(from, to, report, &mut again),
        Ok(Datagram::Members { known, .. }) => {
            assert_eq!(bytes.len(), 9 + known.len() * KNOWN);
            return;
        }
    }
    assert_eq!(again, bytes);
}

/// Reads a body, and writes it again: the parts may stand in another order, and mean the same.
fn body_of(body: &[u8], session: u64, counter: u64) {
    let speaks = datagram::speaks(body);
    let Ok(packet) = datagram::read_body(body, counter) else { return };
    let payloads = packet.repeats.iter().flatten().map(|it| it.payload);
    assert!(payloads.chain([packet.payload]).all(|payload| payload.len() <= MAX_PAYLOAD));
    let mut again = Vec::new();
    Voice::write(session, &packet, speaks, None, &mut again);
    let Ok(Datagram::Voice(voice)) = Datagram::parse(&again) else { panic!("not read again") };
    let body = voice.open(std::iter::empty::<&Key>()).expect("in the clear");
    assert_eq!((datagram::read_body(&body, counter), datagram::speaks(&body)), (Ok(packet), speaks));
}
