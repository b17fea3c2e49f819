//! The voice of an original node: datagrams of 696 bytes, as it sends and takes them.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::room_key::RoomKey;
use super::voice::{bytes_of, samples_of};
use super::{Node, PATIENCE, RawPeer, fresh_id, has_fields, number, text};

/// Samples of a datagram: 20 ms.
const FRAME: usize = 320;

/// An original node in voice, linked to a node of ours.
pub struct Telephone {
    pub peer: RawPeer,
    /// Its datagrams go out here, and come in here.
    socket: UdpSocket,
    id: String,
    room: String,
    key: Option<Arc<RoomKey>>,
    sequence: u32,
    heard: Arc<Mutex<Vec<Heard>>>,
}

/// A datagram that came.
#[derive(Clone)]
struct Heard {
    /// From where, and to which of its addresses.
    way: (SocketAddr, SocketAddr),
    room: String,
    id: String,
    sequence: u32,
    pcm: Vec<i16>,
}

impl Telephone {
    /// Dials a node, and is not in voice yet.
    #[track_caller]
    pub fn dial(node: &Node, id: &str, username: &str, key: Option<RoomKey>) -> Self {
        Self::over(RawPeer::dial(&node.addr(), id, username), id, key)
    }

    /// An original node that is linked already.
    pub fn over(peer: RawPeer, id: &str, key: Option<RoomKey>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let (heard, key) = (Arc::default(), key.map(Arc::new));
        let room = "general".to_owned();
        let it = Self { peer, socket, id: id.to_owned(), room, key, sequence: 1, heard };
        it.listen_at(&it.socket);
        it
    }

    /// Where it says that it is.
    pub fn udp(&self) -> SocketAddr {
        self.socket.local_addr().expect("it is bound")
    }

    /// Its `voice_join`.
    pub fn join_frame(&self) -> Value {
        json!({ "id": fresh_id(), "type": "voice_join", "from": self.id, "username": "Bob", "room": self.room,
            "udp_host": "127.0.0.1", "udp_port": self.udp().port(), "ttl": 5, "ts": "2026-11-22T20:09:38" })
    }

    /// Joins voice in a room.
    pub fn join(&mut self, room: &str) {
        self.room = room.to_owned();
        let join = self.join_frame();
        self.peer.send(&join);
    }

    /// Waits for the `voice_join` of a node. Gives where it wants its datagrams.
    #[track_caller]
    pub fn finds(&mut self, node: &Node) -> SocketAddr {
        self.finds_in(node, "general")
    }

    /// The same, in another room than `general`.
    #[track_caller]
    pub fn finds_in(&mut self, node: &Node, room: &str) -> SocketAddr {
        let join = self.peer.await_frame(&json!({ "type": "voice_join", "from": node.id() }));
        assert!(has_fields(&join, &json!({ "room": room })), "{join}");
        let port = u16::try_from(number(&join, "udp_port")).expect("a port");
        SocketAddr::new(text(&join, "udp_host").parse().expect("an address, no name"), port)
    }

    /// Sends from another address from now on, as if behind NAT. Gives that address.
    pub fn move_out(&mut self) -> SocketAddr {
        let elsewhere = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        self.listen_at(&elsewhere);
        self.socket = elsewhere;
        self.udp()
    }

    /// Takes what comes to a socket, on a thread, which ends when nothing has come for long.
    fn listen_at(&self, socket: &UdpSocket) {
        let (socket, to, key) = (socket.try_clone().expect("a socket"), Arc::clone(&self.heard), self.key.clone());
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((n, from)) = socket.recv_from(&mut buffer) {
                let at = socket.local_addr().expect("it is bound");
                to.lock().unwrap().push(read(&buffer[..n], (from, at), key.as_deref()));
            }
        });
    }

    /// Says something, a datagram each 20 ms.
    pub fn say(&mut self, to: SocketAddr, pcm: &[i16]) {
        let start = Instant::now();
        for (n, frame) in pcm.chunks(FRAME).enumerate() {
            let due = start + Duration::from_millis(20) * u32::try_from(n).unwrap();
            thread::sleep(due.saturating_duration_since(Instant::now()));
            self.send(to, frame);
        }
    }

    /// Sends one datagram.
    pub fn send(&mut self, to: SocketAddr, frame: &[i16]) {
        let mut pcm = frame.to_vec();
        pcm.resize(FRAME, 0);
        let room: String = self.room.chars().take(16).collect();
        let bytes = datagram(&room, &self.id, self.sequence, &pcm, self.key.as_deref());
        self.sequence += 1;
        self.socket.send_to(&bytes, to).expect("sent");
    }

    /// What it heard of a node, put together by the numbers; what is missing is silence.
    #[track_caller]
    pub fn heard_of(&self, id: &str) -> Vec<i16> {
        let heard = self.heard.lock().unwrap();
        let mut frames = BTreeMap::new();
        for datagram in heard.iter().filter(|it| it.id == id) {
            assert!(self.room.starts_with(&datagram.room) && !datagram.room.is_empty());
            let before = frames.insert(datagram.sequence, datagram.pcm.clone());
            assert!(before.is_none(), "{} comes twice", datagram.sequence);
        }
        let (Some(first), Some(last)) = (frames.keys().next(), frames.keys().last()) else { return Vec::new() };
        assert!(last - first < 10_000, "the numbers leap from {first} to {last}");
        (*first..=*last).flat_map(|n| frames.get(&n).cloned().unwrap_or_else(|| vec![0; FRAME])).collect()
    }

    /// How many datagrams came of a node.
    pub fn came_of(&self, id: &str) -> usize {
        self.heard.lock().unwrap().iter().filter(|it| it.id == id).count()
    }

    /// The numbers of the datagrams of a node, as they came.
    pub fn numbers_of(&self, id: &str) -> Vec<u32> {
        self.heard.lock().unwrap().iter().filter(|it| it.id == id).map(|it| it.sequence).collect()
    }

    /// The addresses that datagrams came from, and how many came to one of its own.
    pub fn ways(&self, to: SocketAddr) -> (Vec<SocketAddr>, usize) {
        let heard = self.heard.lock().unwrap();
        let from: std::collections::BTreeSet<SocketAddr> = heard.iter().map(|it| it.way.0).collect();
        (from.into_iter().collect(), heard.iter().filter(|it| it.way.1 == to).count())
    }

    /// Waits until something is so.
    #[track_caller]
    pub fn until(&self, what: &str, settled: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !settled(self) {
            assert!(Instant::now() < deadline, "waited too long until {what}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Forgets what came so far.
    pub fn forget(&self) {
        self.heard.lock().unwrap().clear();
    }
}

/// A datagram as the original writes it.
pub fn datagram(room: &str, id: &str, sequence: u32, pcm: &[i16], key: Option<&RoomKey>) -> Vec<u8> {
    let padded = |name: &str, length: usize| {
        let mut bytes = name.as_bytes().to_vec();
        bytes.resize(length, 0);
        bytes
    };
    let pcm = bytes_of(pcm);
    let payload = match key {
        None => pcm,
        Some(key) => key.seal_bytes(nonce_of(sequence), &pcm),
    };
    [padded(room, 16), padded(id, 36), sequence.to_be_bytes().to_vec(), payload].concat()
}

fn nonce_of(sequence: u32) -> [u8; 12] {
    let mut nonce = [7; 12];
    nonce[..4].copy_from_slice(&sequence.to_be_bytes());
    nonce
}

/// Reads a datagram; it must be one of those that the original knows.
fn read(bytes: &[u8], way: (SocketAddr, SocketAddr), key: Option<&RoomKey>) -> Heard {
    assert_eq!(bytes.len(), if key.is_some() { 724 } else { 696 }, "an original is sent {bytes:?}");
    let name = |bytes: &[u8]| String::from_utf8(bytes.iter().copied().take_while(|&b| b != 0).collect()).unwrap();
    let pcm = match key {
        None => bytes[56..].to_vec(),
        Some(key) => key.open_bytes(&bytes[56..]),
    };
    let sequence = u32::from_be_bytes(bytes[52..56].try_into().unwrap());
    Heard { way, room: name(&bytes[..16]), id: name(&bytes[16..52]), sequence, pcm: samples_of(&pcm) }
}
