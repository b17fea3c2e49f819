//! A datagram: what it is, what is inside, and that what is written again is the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2p_chat::voice::{FRAME, MAX_PAYLOAD};
use p2p_chat::wire::datagram::inside::{self, Inside, KNOWN};
use p2p_chat::wire::datagram::original::PCM;
use p2p_chat::wire::datagram::sealed;
use p2p_chat::wire::datagram::{Datagram, Original, Sealer};
use p2p_chat::wire::room_key::{RoomKey, Scheme};

const KEY: [u8; sealed::KEY] = [7; sealed::KEY];

fuzz_target!(|input: &[u8]| {
    look(input);
    // The same, sealed by a member.
    let mut bytes = Vec::new();
    Sealer::new("author", "room", &KEY).seal(|out| out.extend_from_slice(input), &mut bytes);
    let Ok(Datagram::Sealed(it)) = Datagram::parse(&bytes) else { panic!("not read") };
    assert_eq!(it.open(&sealed::Key::new(&KEY)).as_deref(), Some(input));
    look_inside(input);
});

fn look(bytes: &[u8]) {
    match Datagram::parse(bytes) {
        Err(_) => {}
        // Nobody has sealed it with these keys.
        Ok(Datagram::Sealed(it)) => assert!(it.open(&sealed::Key::new(&KEY)).is_none()),
        Ok(Datagram::Original(it)) => {
            let key = RoomKey::derive_at_once(Scheme::Original, "k", "r");
            assert!(it.open([key.original().expect("of that scheme")].into_iter()).is_none());
            let Some(pcm) = it.open(std::iter::empty()) else { return };
            assert_eq!(pcm.len(), PCM);
            let samples: [i16; FRAME] = std::array::from_fn(|i| i16::from_le_bytes([pcm[2 * i], pcm[2 * i + 1]]));
            let mut again = Vec::new();
            Original::write((&it.room, &it.id), it.sequence, &samples, None, &mut again);
            assert_eq!(again, bytes);
        }
    }
}

fn look_inside(bytes: &[u8]) {
    let mut again = Vec::new();
    match Inside::parse(bytes) {
        Err(_) => return,
        Ok(Inside::Challenge { to, nonce }) => inside::write_challenge(to, nonce, &mut again),
        Ok(Inside::Echo { nonce }) => inside::write_echo(nonce, &mut again),
        Ok(Inside::Report { to, report }) => inside::write_report(to, report, &mut again),
        Ok(Inside::Members { known }) => return assert_eq!(bytes.len(), 1 + known.len() * KNOWN),
        Ok(Inside::Voice(voice)) => return look_at_voice(voice),
    }
    assert_eq!(again, bytes);
}

/// Reads voice, and writes it again: the parts may stand in another order, and mean the same.
fn look_at_voice(voice: &[u8]) {
    let speaks = inside::speaks(voice);
    let Ok(packet) = inside::read_voice(voice) else { return };
    let payloads = packet.repeats.iter().flatten().map(|it| it.payload);
    assert!(payloads.chain([packet.payload]).all(|payload| payload.len() <= MAX_PAYLOAD));
    let mut again = Vec::new();
    inside::write_voice(&packet, speaks, &mut again);
    let Ok(Inside::Voice(voice)) = Inside::parse(&again) else { panic!("not read again") };
    assert_eq!((inside::read_voice(voice), inside::speaks(voice)), (Ok(packet), speaks));
}
