//! The peers at the other ends of the links: originals, nodes of ours that do a true handshake, and those that only begin one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::json;

use super::{Chaos, network_keys};
use crate::node::{Input, LinkId};
use crate::wire::frame::{Allowance, Decoder, Item, PREFIX};
use crate::wire::identity::Identity;
use crate::wire::message::View;
use crate::wire::noise::{Handshake, Keys, MAX_PLAIN, Session};
use crate::wire::signed::{self, SeqNo};

/// Peers of each level.
const PEERS: usize = 3;
/// Signed messages that are kept, to be said again.
const KEPT: usize = 20;

/// All peers.
#[derive(Debug, Default)]
pub struct Peers {
    /// Those of level 2, as soon as they are needed; and what each brings to handshakes in which network.
    ours: BTreeMap<usize, Identity>,
    keys: BTreeMap<(usize, Network), Keys>,
    /// Bytes that may still be sent to peers that are not of the node's private network.
    strangers: BTreeMap<LinkId, usize>,
    ends: BTreeMap<LinkId, End>,
    /// Bytes that the node has sent, and that have not been read.
    sent: VecDeque<(LinkId, Vec<u8>)>,
    /// Signed messages.
    said: VecDeque<Vec<u8>>,
    /// The sequence numbers of an author's messages of an id: so often they may be shown.
    pub places: BTreeMap<String, BTreeSet<SeqNo>>,
    /// Handshakes done.
    pub sealed: u64,
}

/// Which network's key a peer has: of those in [`network_keys`].
type Network = Option<usize>;

/// The length of a node's first message on a link that it has dialled, in a private network: the opening, a key, and a tag.
const FIRST_FLIGHT: usize = 5 + 32 + 16;

/// A peer's end of a link.
#[derive(Debug)]
enum End {
    /// It says nothing that is awaited.
    Silent,
    /// An original's.
    Plain,
    /// A handshake is under way.
    Shaking(usize, Network, Box<Handshake>),
    /// It is done.
    Sealed(Box<Session>, Decoder),
}

impl Chaos<'_> {
    /// A link with a peer comes to be, which the node has dialled or not: most say hello as they should, and so come to speak.
    pub(super) fn greet(&mut self, link: LinkId, came: Input<'_>) {
        let dialled = matches!(came, Input::Dialled { .. });
        let who = self.below(PEERS);
        let seed = [self.choices.byte(); 32];
        let mut out = Vec::new();
        let end = match self.below(6) {
            0 => End::Silent,
            1 | 2 => End::Plain,
            _ => {
                let network = match (self.below(4), self.is_private()) {
                    (0, true) => [None, Some(1)][self.below(2)],
                    (0, false) => Some(0),
                    (_, private) => private.then_some(0),
                };
                let keys = self.keys(who, network);
                let begun = match dialled {
                    true => Handshake::answer(keys, seed),
                    false => Handshake::dial(keys, seed, None, &mut out).expect("it begins"),
                };
                End::Shaking(who, network, Box::new(begun))
            }
        };
        let is_plain = matches!(end, End::Plain);
        if self.is_private() && !matches!(end, End::Shaking(_, Some(0), _)) {
            self.peers.strangers.insert(link, if dialled { FIRST_FLIGHT } else { 0 });
        }
        self.peers.ends.insert(link, end);
        self.handle(came);
        if is_plain && dialled {
            // What an original does with what it takes for a length: the node then dials again.
            return self.handle(Input::Ended { link, error: None });
        }
        if is_plain {
            let (ours, peer) = (self.below(2), self.peer_id());
            let hello = self.known(ours, "h", &peer);
            out = framed(&hello.to_string().into_bytes());
        }
        if !out.is_empty() {
            self.handle(Input::Bytes { link, bytes: &out });
        }
        self.read();
    }

    /// The id of some peer.
    pub(super) fn peer_id(&mut self) -> String {
        match self.below(2 * PEERS) {
            who @ 0..PEERS => self.ours(who).id().to_string(),
            who => format!("peer{who}"),
        }
    }

    /// Says bytes of frames on a link: sealed, if that is how it is.
    pub(super) fn say(&mut self, link: LinkId, bytes: &[u8]) {
        let mut out = Vec::new();
        match self.peers.ends.get_mut(&link) {
            Some(End::Sealed(session, _)) => {
                for piece in bytes.chunks(MAX_PLAIN) {
                    session.seal(piece, &mut out).expect("it is not too long");
                }
                match self.below(40) {
                    // Neither gets through.
                    0 => out.truncate(self.below(out.len())),
                    1 => {
                        let at = self.below(out.len());
                        if let Some(byte) = out.get_mut(at) {
                            *byte ^= 1;
                        }
                    }
                    _ => {}
                }
            }
            _ => out.extend_from_slice(bytes),
        }
        self.handle(Input::Bytes { link, bytes: &out });
    }

    /// Notes what the node has sent, for [`Self::read`].
    pub(super) fn node_sent(&mut self, link: LinkId, bytes: Vec<u8>) {
        if let Some(left) = self.peers.strangers.get_mut(&link) {
            *left = left.checked_sub(bytes.len()).expect("a stranger learns nothing");
        }
        if matches!(self.peers.ends.get(&link), Some(End::Shaking(..) | End::Sealed(..))) {
            self.peers.sent.push_back((link, bytes));
        }
    }

    /// Peers read what the node has sent: they go on with their handshakes, and what is sealed must open.
    pub(super) fn read(&mut self) {
        while let Some((link, bytes)) = self.peers.sent.pop_front() {
            let mut input = &bytes[..];
            let mut out = Vec::new();
            if let Some(End::Shaking(who, network, handshake)) = self.peers.ends.get_mut(&link)
                && let Some(identity) = self.peers.ours.get(who)
                && let Some(keys) = self.peers.keys.get(&(*who, *network))
            {
                match handshake.take(keys, &mut input, &mut out) {
                    Ok(None) => {}
                    Ok(Some(mut proven)) => {
                        assert_eq!(proven.id, self.node.id());
                        assert_eq!(network.is_some(), self.node.config.network_key.is_some());
                        assert_ne!(*network, Some(1), "the node is not in that network");
                        self.peers.sealed += 1;
                        let hello = json!({ "type": "hello", "id": "h", "from": identity.id_text(), "username": "p",
                            "p2p_chat": { "version": 1, "caps": ["ping", "confirm", "nick"] } });
                        proven.session.seal(&framed(hello.to_string().as_bytes()), &mut out).expect("it is short");
                        self.peers.ends.insert(link, End::Sealed(Box::new(proven.session), Decoder::default()));
                    }
                    // Another version, or it is dialling a node that dials.
                    Err(_) => drop(self.peers.ends.insert(link, End::Silent)),
                }
            }
            if let Some(End::Sealed(session, decoder)) = self.peers.ends.get_mut(&link) {
                let mut plain = Vec::new();
                while session.open(&mut input, &mut plain).expect("what the node seals opens") {
                    let mut frames = &plain[..];
                    while let Some(item) = decoder.next(&mut frames, Allowance::Level2).expect("it keeps the limits") {
                        assert!(matches!(item, Item::Frame(frame) if frame.first() == Some(&b'{')));
                    }
                }
            }
            if !out.is_empty() {
                self.handle(Input::Bytes { link, bytes: &out });
            }
        }
    }

    /// Notes where its author has signed a message.
    pub(super) fn note_place(&mut self, message: &[u8]) {
        let Ok(view) = View::parse(message) else { return };
        if let (Some(seq), Some(id), Some(from)) = (signed::seq_no(&view), view.id.json(), view.from.json()) {
            self.peers.places.entry(format!("{id} {from}")).or_default().insert(seq);
        }
    }

    /// A frame of a peer's, made from a message: of level 1, signed by its author or by somebody else, or one that has been said.
    pub(super) fn frame_of(&mut self, body: &[u8]) -> Vec<u8> {
        let mut frame = framed(body);
        match self.below(6) {
            0 | 1 => frame,
            2 => self.choices.pick(self.peers.said.make_contiguous()).unwrap_or(frame),
            signer => {
                let who = if signer == 3 { self.below(PEERS) } else { self.author_of(body) };
                let seq = SeqNo { epoch: 1 + self.below(6) as u64, n: self.below(300) as u64 };
                if signed::sign(self.ours(who), seq, &mut frame) {
                    if self.peers.said.len() == KEPT {
                        self.peers.said.pop_front();
                    }
                    self.peers.said.push_back(frame.clone());
                    self.note_place(frame.get(PREFIX..).unwrap_or_default());
                }
                frame
            }
        }
    }

    /// Which peer a message is from, if any.
    fn author_of(&mut self, body: &[u8]) -> usize {
        let message: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        (0..PEERS).find(|who| message["from"] == *self.ours(*who).id_text()).unwrap_or_default()
    }

    fn ours(&mut self, who: usize) -> &Identity {
        self.peers.ours.entry(who).or_insert_with(|| Identity::new(&secret(who)))
    }

    fn keys(&mut self, who: usize, network: Network) -> &Keys {
        let network_key = network.and_then(|which| network_keys().get(which).copied());
        let identity = self.peers.ours.entry(who).or_insert_with(|| Identity::new(&secret(who)));
        let keys = self.peers.keys.entry((who, network));
        keys.or_insert_with(|| Keys::new(identity, secret(who), network_key))
    }
}

/// The secret of a peer of level 2.
const fn secret(who: usize) -> [u8; 32] {
    [who as u8 + 10; 32]
}

/// With the length before it.
pub fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes()[..], body].concat()
}
