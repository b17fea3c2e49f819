//! Links: TCP connections, from the first byte to the last.
//!
//! ```text
//! accepted ┐                                ┌ Up ──────────┐ a neighbour
//! dialled  ┴▶ Greeting ─ handshake, hello ─▶┤   ▲ promoted │
//!                                           └ Waiting ─────┤ second link to the same node, until its other end has chosen
//!                                                          └▶ Leaving ─▶ closed: what is queued is handed over first
//! ```
//!
//! [`Links`] owns everything about them, and knows nothing of messages. It puts bytes to send, dials and closes into the
//! [`Outbox`], and tells what has come about as [`News`], which its owner takes after each call.
//!
//! - [`table`]: the one place where a link appears and where it goes; [`connection`]: one link; [`timers`]: what is due when
//! - [`queue`]: what waits to be written; [`crypt`]: the layer below frames; [`handshake`]: how it comes about
//! - [`closing`]: how a link goes, and the end of all
//! - [`strangers`]: which handshake makes room for a newcomer's
//! - [`hello`]: the first frame, and what it is refused for; [`settle`]: which of two links between the same nodes stays
//! - [`control`]: pings, and the frames that neighbours send each other alone
//! - [`dial`]: addresses that are dialled again and again; [`addr`]: how they are written; [`ways`]: the addresses of one name
//! - [`penalties`]: what strikes and blocks do to links; [`abuse`]: strikes and bans; [`blocks`]: blocks by command
//! - [`rates`]: how much a link may bring

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::{
    Chance, Counters, DialId, Direction, DropCause, LinkCode, LinkId, LogLevel, NodeId, NodeIdRef, Now, Rate, Roots,
};
use crate::outbox::{Bytes, Outbox, Output};
use crate::wire::frame::{Decoder, TooLarge};
use crate::wire::identity::Identity;
use crate::wire::limits::{MAX_HANDSHAKES, MAX_MALFORMED};
use crate::wire::message::may_be_an_originals_object;
use crate::wire::noise::{self, NetworkKey};

mod abuse;
pub mod addr;
pub mod blocks;
mod closing;
mod connection;
mod control;
mod crypt;
pub mod dial;
mod handshake;
mod hello;
mod news;
mod peer;
mod penalties;
mod queue;
mod rates;
mod settle;
mod strangers;
mod table;
#[cfg(test)]
mod tests;
mod timers;
mod ways;

use abuse::Offenders;
use blocks::Blocks;
pub use connection::{Link, Stage};
use crypt::Crypt;
use dial::{Dialler, NotAdded};
pub use news::{News, Trouble};
pub use peer::{Neighbour, Neighbours, Peer};
use table::Table;

/// Settings of all links.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This node's id.
    pub id: NodeId,
    /// Its user name.
    pub username: String,
    /// The TCP address really bound.
    pub tcp: SocketAddr,
    /// Where others can dial this node, for the hello.
    pub listen: Option<String>,
    /// Whether links of level 1 are refused.
    pub secure: bool,
    /// Neighbours at once.
    pub max_links: usize,
    /// Links of one IPv4 address, or IPv6 network of 64 bits, at once; loopback exempt.
    pub max_links_per_addr: usize,
    /// Messages that a neighbour may say; `None`: any number.
    pub rate: Option<Rate>,
    /// The lines that are logged.
    pub log: LogLevel,
}

/// All links of a node.
#[derive(Debug)]
pub struct Links {
    settings: Settings,
    /// For handshakes.
    noise: Arc<noise::Keys>,
    chance: Chance,
    secrets: Chance,
    table: Table,
    neighbours: Neighbours,
    dialler: Dialler,
    offenders: Offenders,
    blocks: Blocks,
    ending: Option<Ending>,
    counters: Counters,
    news: Vec<News>,
    /// The content of the last record that was opened.
    opened: Vec<u8>,
}

/// The end of all links.
#[derive(Debug)]
struct Ending {
    /// How long links may take to hand over what is queued.
    time: Duration,
    /// Frames that were not handed over.
    undelivered: u64,
}

/// A link that is being read: its decoder, and whether a frame has been completed.
#[derive(Debug)]
pub struct Reading {
    /// Cuts the stream into frames.
    pub decoder: Decoder,
    /// Whether a frame has been completed.
    pub completed: bool,
    /// Whether the bytes are records.
    pub is_sealed: bool,
}

impl Links {
    /// No links yet.
    pub fn new(settings: Settings, identity: &Identity, network: Option<NetworkKey>, roots: &Roots) -> Self {
        let mut secrets = roots.secrets("link");
        Self {
            noise: Arc::new(noise::Keys::new(identity, secrets.bytes(), network)),
            settings,
            chance: roots.links(),
            secrets,
            table: Table::default(),
            neighbours: Neighbours::default(),
            dialler: Dialler::new(roots.chance("dial")),
            offenders: Offenders::default(),
            blocks: Blocks::default(),
            ending: None,
            counters: Counters::default(),
            news: Vec::new(),
            opened: Vec::new(),
        }
    }

    /// Takes a neighbour for one of level 2.
    #[cfg(test)]
    pub fn set_level2(&mut self, id: &str) {
        let link = self.neighbours.get(id).and_then(|link| self.table.get_mut(link));
        link.and_then(|link| link.peer.as_mut()).expect("a neighbour").level = 2;
    }

    // ---------------------------------------------------------------------------------------------------- to be asked

    /// A link.
    pub fn get(&self, id: LinkId) -> Option<&Link> {
        self.table.get(id)
    }

    /// All links, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.table.iter()
    }

    /// How many there are, whatever their stage.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// The peer at a link's other end, once it has said hello.
    pub fn peer(&self, id: LinkId) -> Option<&Peer> {
        self.table.get(id)?.peer.as_ref()
    }

    /// The neighbours.
    pub const fn neighbours(&self) -> &Neighbours {
        &self.neighbours
    }

    /// The link of the neighbour with that id.
    pub fn of_neighbour<'a>(&self, id: impl Into<NodeIdRef<'a>>) -> Option<&Link> {
        self.table.get(self.neighbours.get(id)?)
    }

    /// The addresses that are dialled.
    pub const fn dialler(&self) -> &Dialler {
        &self.dialler
    }

    /// Blocks by command.
    pub const fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// Blocks by command, to load them and to keep their rows.
    pub const fn blocks_mut(&mut self) -> &mut Blocks {
        &mut self.blocks
    }

    /// The bans, and until when each lasts.
    pub fn bans(&self, now: Now) -> impl Iterator<Item = (String, Instant)> {
        self.offenders.bans(now.mono)
    }

    /// Addresses with strikes or bans that are remembered.
    pub fn offenders(&self) -> usize {
        self.offenders.len()
    }

    /// The counts of all links.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Frames that wait to be written, and their bytes.
    pub fn queued(&self) -> (usize, usize) {
        let queues = self.table.iter().map(|(_, link)| link.queue.held());
        queues.fold((0, 0), |(n, b), (frames, bytes)| (n + frames, b + bytes))
    }

    /// Whether only level 2 is spoken.
    pub fn is_secure(&self) -> bool {
        self.settings.secure || self.noise.is_private()
    }

    /// Whether a frame queue is full, and what feeds it should wait. `but`: the link that asks, which does not feed itself.
    pub fn is_waiting(&self, now: Now, but: Option<LinkId>) -> bool {
        self.table.is_waiting(now, but)
    }

    /// Whether a link may be read: not while the queue of another, which it may feed, is full.
    pub fn may_read(&self, now: Now, id: LinkId) -> bool {
        !self.table.is_waiting(now, Some(id)) && self.table.get(id).is_none_or(|link| link.may_be_read(now))
    }

    /// Whether frames that come together on a link are worth a look together: after hello.
    pub fn is_greeted(&self, id: LinkId) -> bool {
        self.table.get(id).is_some_and(|link| link.stage != Stage::Greeting)
    }

    /// When something is due, at the earliest.
    pub fn deadline(&self) -> Option<Instant> {
        self.table.first_deadline().into_iter().chain(self.dialler.first_deadline()).chain(self.blocks.deadline()).min()
    }

    /// The news since the last call.
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Whether there is news.
    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// Whether what is at an address may not be linked or talked to, and why.
    pub fn shut_out(&self, now: Now, ip: IpAddr) -> Option<LinkCode> {
        if self.blocks.has_addr(ip) {
            return Some(LinkCode::Blocked);
        }
        self.offenders.is_banned(now.mono, ip).then_some(LinkCode::Banned)
    }

    /// Whether an address to dial is blocked, as far as its text tells.
    pub fn is_blocked_addr(&self, addr: &str) -> bool {
        addr::ip_of(addr).is_some_and(|ip| self.blocks.has_addr(ip))
    }

    /// The id of the neighbour at an address, dialled or not.
    pub fn peer_at(&self, addr: &str) -> Option<NodeId> {
        let link = match self.dialler.state(addr) {
            Some(dial::State::Linked(link)) => self.table.get(link),
            _ => self.table.iter().map(|(_, it)| it).find(|it| it.stage == Stage::Up && it.addr.to_string() == addr),
        };
        link?.peer_id()
    }

    /// The links at an address, dialled or not, that are not on their way out.
    pub fn at_addr(&self, addr: &str) -> Vec<LinkId> {
        let target = self.dialler.state(addr);
        let serves =
            |id: LinkId| matches!(target, Some(dial::State::Linked(it) | dial::State::Greeting(it, _)) if it == id);
        let at_addr = self.table.iter().filter(|(id, it)| serves(*id) || it.addr.to_string() == addr);
        at_addr.filter(|(_, it)| !it.is_leaving()).map(|(id, _)| id).collect()
    }

    // ------------------------------------------------------------------------------------------- a link comes into being

    /// Takes in a link that a peer has dialled.
    pub fn on_accepted(&mut self, now: Now, id: LinkId, addr: SocketAddr, out: &mut Outbox) {
        if self.ending.is_some() {
            return out.push(Output::Close(id));
        }
        let refused = if let Some(code) = self.shut_out(now, addr.ip()) {
            Some(format!("{code:?}"))
        } else if self.neighbours.len() >= self.settings.max_links || !self.has_room_for(now, addr.ip(), out) {
            Some("there are as many as may be".to_owned())
        } else {
            None
        };
        if let Some(why) = refused {
            self.counters.links_refused += 1;
            self.log(LogLevel::Info, out, || format!("refused a link from {addr}: {why}"));
            return out.push(Output::Close(id));
        }
        if self.table.strangers().count() >= MAX_HANDSHAKES {
            self.evict_stranger(now, |_| true, out);
        }
        self.table.insert(id, Link::new(now, addr, Direction::In, None));
    }

    /// Whether an address may have one more link. What is banned together is counted together, and its strangers make room.
    fn has_room_for(&mut self, now: Now, ip: IpAddr, out: &mut Outbox) -> bool {
        let net = abuse::net(ip);
        let is_of_net = |ip: IpAddr| abuse::net(ip) == net;
        net.is_loopback()
            || self.table.iter().filter(|(_, link)| is_of_net(link.addr.ip())).count()
                < self.settings.max_links_per_addr
            || self.evict_stranger(now, is_of_net, out)
    }

    /// Makes room because the system has none for a peer that dials us.
    pub fn on_accept_failed(&mut self, now: Now, why: String, out: &mut Outbox) {
        self.news.push(News::Trouble(Trouble::AcceptFailed, why));
        self.evict_stranger(now, |_| true, out);
    }

    /// Evicts a handshake of such an address. False: there is none.
    fn evict_stranger(&mut self, now: Now, is: impl Fn(IpAddr) -> bool, out: &mut Outbox) -> bool {
        let strangers: Vec<_> = self.table.strangers().filter(|it| is(it.ip)).collect();
        let Some(evicted) = strangers::to_evict(now.mono, &strangers) else { return false };
        self.counters.links_refused += 1;
        self.close(now, evicted, LinkCode::TooManyLinks, "pushed out by a newcomer before its hello", out);
        true
    }

    /// Takes in a link that a dial has given; `more`: its target has other addresses beside this one. False: no address to be linked was dialled so.
    pub fn on_dialled(
        &mut self,
        now: Now,
        dial: DialId,
        id: LinkId,
        (addr, more): (SocketAddr, bool),
        out: &mut Outbox,
    ) -> bool {
        let Some(name) = self.dialler.take_dial(dial) else {
            out.push(Output::Close(id));
            return false;
        };
        if !self.dialler.on_answered(now, &name, id, (addr, more)) {
            out.push(Output::Close(id));
            return true;
        }
        if let Some(code) = self.shut_out(now, addr.ip()) {
            out.push(Output::Close(id));
            let state = if code == LinkCode::Blocked { "blocked" } else { "banned for a while" };
            self.target_failed(now, &name, code, &format!("its address, {}, is {state}", addr.ip()));
            return true;
        }
        let (level1, expected) = (self.dialler.is_level1(&name), self.dialler.pin(&name).cloned());
        let mut link = Link::new(now, addr, Direction::Out, Some(&name));
        if level1 {
            link.crypt = Crypt::Plain;
        }
        self.table.insert(id, link);
        match level1 {
            true => self.say_hello(now, id, out),
            false => self.open_level2(now, id, expected, out),
        }
        true
    }

    /// Takes in that a dial failed. False: no address to be linked was dialled so.
    pub fn on_dial_failed(&mut self, now: Now, dial: DialId, code: LinkCode, reason: &str) -> bool {
        let addr = self.dialler.take_dial(dial);
        if let Some(addr) = &addr {
            self.target_failed(now, addr, code, reason);
        }
        addr.is_some()
    }

    // ------------------------------------------------------------------------------------------------------------- dials

    /// Makes an address of the command line a target, and dials it.
    pub fn dial_from_start(&mut self, now: Now, addr: &str, pin: Option<NodeId>, out: &mut Outbox) {
        // There is no bound for those of the command line, and the first id named for one stays.
        let _ = self.dialler.add(now, addr, pin, true);
        self.dial(now, addr, out);
    }

    /// Makes an address a target, for a command, and dials it.
    ///
    /// # Errors
    /// There is no room for it, or it is dialled for another node.
    pub fn connect(&mut self, now: Now, addr: &str, pin: Option<NodeId>, out: &mut Outbox) -> Result<(), NotAdded> {
        self.dialler.add(now, addr, pin, false)?;
        self.dial(now, addr, out);
        Ok(())
    }

    /// Forgets an address: it is dialled no more.
    pub fn forget_target(&mut self, addr: &str) {
        self.dialler.remove(addr);
    }

    /// Whether an address is this node's own, as far as its text tells.
    pub fn is_own_addr(&self, addr: &str) -> bool {
        addr::is_own_addr(self.settings.tcp, addr)
    }

    /// A number for a dial that is no link's: its answer is for the caller.
    pub fn mint_dial(&mut self) -> DialId {
        self.dialler.mint()
    }

    /// Dials a target now, unless it is busy.
    fn dial(&mut self, now: Now, addr: &str, out: &mut Outbox) {
        if !self.dialler.may_dial(addr) {
            return;
        }
        if self.is_own_addr(addr) {
            return self.target_failed(now, addr, LinkCode::OwnAddress, "it is this node's own address");
        }
        if self.is_blocked_addr(addr) {
            return self.target_failed(now, addr, LinkCode::Blocked, "its address is blocked");
        }
        self.dialler.dial(now, addr, out);
    }

    /// A target could not be linked.
    fn target_failed(&mut self, now: Now, addr: &str, code: LinkCode, reason: &str) {
        if let Some(dial::Failed { code, reason, retry_in }) = self.dialler.on_failed(now, addr, code, reason) {
            let addr = addr.to_owned();
            self.news.push(News::Failed { addr, code, reason, retry_in });
        }
    }

    /// A target's node is linked.
    fn target_linked(&mut self, addr: &str, link: LinkId, peer: &NodeId) {
        self.dialler.on_linked(addr, link);
        self.news.push(News::Reached { addr: addr.to_owned(), peer: peer.clone() });
    }

    // ------------------------------------------------------------------------------------------------------- bytes come in

    /// Handles received bytes as far as they are no frames, and begins to read those that are. What it gives goes back to
    /// [`end_reading`](Self::end_reading). `None`: there are no frames in them.
    pub fn begin_reading(&mut self, now: Now, id: LinkId, bytes: &mut &[u8], out: &mut Outbox) -> Option<Reading> {
        let link = self.table.get_mut(id)?;
        link.last_heard = now.mono;
        if !matches!(link.crypt, Crypt::Plain | Crypt::Sealed { .. }) {
            if let (Crypt::Unknown, Some(first)) = (&link.crypt, bytes.first()) {
                self.tell_level(now, id, *first, out);
            }
            self.drive_handshake(now, id, bytes, out);
        }
        let link = self.table.get_mut(id)?;
        let is_sealed = match link.crypt {
            Crypt::Plain => false,
            Crypt::Sealed { .. } => true,
            Crypt::Unknown | Crypt::Handshake(_) | Crypt::Offloaded | Crypt::Mute => return None,
        };
        Some(Reading { decoder: std::mem::take(&mut link.decoder), completed: false, is_sealed })
    }

    /// Opens the next record of a link that is being read. `None`: there is no whole one. What it gives goes back to
    /// [`keep_buffer`](Self::keep_buffer).
    pub fn open_record(&mut self, now: Now, id: LinkId, bytes: &mut &[u8], out: &mut Outbox) -> Option<Vec<u8>> {
        let link = self.table.get_mut(id).filter(|link| link.hears())?;
        let session = link.crypt.session()?;
        let mut plain = std::mem::take(&mut self.opened);
        match session.open(bytes, &mut plain) {
            Ok(true) => return Some(plain),
            Ok(false) => {}
            Err(_) => {
                let reason = "what came could not be opened: it was changed on its way, or not sent by the peer";
                self.close(now, id, LinkCode::BadRecord, reason, out);
            }
        }
        self.opened = plain;
        None
    }

    /// Takes back the buffer of an opened record, for the next.
    pub fn keep_buffer(&mut self, plain: Vec<u8>) {
        self.opened = plain;
    }

    /// Ends the reading of a link.
    pub fn end_reading(&mut self, now: Now, id: LinkId, reading: Reading) {
        let Some(link) = self.table.get_mut(id) else { return };
        link.frame_since = match link.frame_since {
            _ if !reading.decoder.in_frame() && !link.crypt.in_record() => None,
            Some(since) if !reading.completed => Some(since),
            _ => Some(now.mono),
        };
        link.decoder = reading.decoder;
        self.table.arm(id);
    }

    /// Notes the length of a frame that was skimmed.
    pub fn on_skimmed(&mut self, length: usize, out: &mut Outbox) {
        self.counters.drop(DropCause::OverLimit);
        self.log(LogLevel::Info, out, || format!("skimmed a frame of {length} bytes"));
    }

    /// Closes the link of a peer that has announced a frame over all limits.
    pub fn on_too_large(&mut self, now: Now, id: LinkId, TooLarge(length): TooLarge, out: &mut Outbox) {
        let reason = format!("the peer announced a frame of {length} bytes");
        self.strike(now, id, &reason, out);
        self.close(now, id, LinkCode::TooLarge, &reason, out);
    }

    /// Counts a frame that is not of this protocol: the tenth closes the link, but for those that an original has passed on in
    /// good faith.
    pub fn on_malformed(&mut self, now: Now, id: LinkId, frame: &[u8], out: &mut Outbox) {
        self.counters.drop(DropCause::Malformed);
        let Some(link) = self.table.get_mut(id) else { return };
        if link.peer.as_ref().is_some_and(|peer| !peer.is_level2()) && may_be_an_originals_object(frame) {
            return;
        }
        link.malformed += 1;
        if link.malformed > MAX_MALFORMED {
            let reason = format!("the peer sent {} frames that are not of this protocol", link.malformed);
            self.strike(now, id, &reason, out);
            self.close(now, id, LinkCode::Malformed, &reason, out);
        }
    }

    /// Notes that a peer behaves as the host of a star-shaped version of the original does.
    pub fn mark_host(&mut self, id: LinkId) {
        if let Some(peer) = self.table.get_mut(id).and_then(|link| link.peer.as_mut()) {
            peer.is_host |= peer.level == 1;
        }
    }

    // --------------------------------------------------------------------------------------------------------------- rates

    /// A neighbour says something itself.
    pub fn on_said(&mut self, now: Now, id: LinkId) {
        if let (Some(rate), Some(link)) = (self.settings.rate, self.table.get_mut(id)) {
            link.rates.on_said(now, rate);
            self.table.arm(id);
        }
    }

    /// Whether a message that is not signed, and that a link brings of another author, may go further.
    pub fn may_pass_unsigned(&mut self, now: Now, id: LinkId) -> bool {
        let Some(rate) = self.settings.rate else { return true };
        self.table.get_mut(id).is_some_and(|link| link.rates.may_pass_unsigned(now, rate))
    }

    /// Whether a link of level 1 has brought so many wrong signatures that none from there is looked at any more.
    pub fn is_signature_budget_spent(&self, now: Now, id: LinkId) -> bool {
        let (Some(rate), Some(link)) = (self.settings.rate, self.table.get(id)) else { return false };
        link.peer.as_ref().is_none_or(|peer| !peer.is_level2()) && link.rates.is_signature_budget_spent(now, rate)
    }

    /// A link has brought a wrong signature: a strike, unless it is of level 1, where nobody looks.
    pub fn on_bad_signature(&mut self, now: Now, id: LinkId, why: &str, out: &mut Outbox) {
        let Some(link) = self.table.get_mut(id) else { return };
        if link.peer.as_ref().is_some_and(Peer::is_level2) {
            self.strike(now, id, &format!("it passed on a message that is not to be believed: {why}"), out);
        } else if let Some(rate) = self.settings.rate {
            link.rates.pay_for_bad_signature(now, rate);
        }
    }

    // ------------------------------------------------------------------------------------------------------ bytes go out

    /// Queues a frame for a link. False if it was dropped.
    pub fn queue(&mut self, now: Now, id: LinkId, bytes: &Bytes, out: &mut Outbox) -> bool {
        let queued = self.table.push_frame(now, id, bytes, out);
        if queued == Some(false) {
            self.on_queue_full(id);
        }
        queued == Some(true)
    }

    /// Queues a frame for every neighbour but one; `only_level2`: for those of level 2 alone. Tells of each whether it was
    /// taken, or dropped.
    pub fn queue_for_neighbours(
        &mut self,
        now: Now,
        (but, only_level2): (Option<&NodeId>, bool),
        bytes: &Bytes,
        out: &mut Outbox,
        mut tell: impl FnMut(&NodeId, bool),
    ) {
        let (since, mut full) = (out.begin_fan(), Vec::new());
        for neighbour in self.neighbours.iter_mut() {
            if but == Some(&neighbour.id) || (only_level2 && !neighbour.is_level2) {
                continue;
            }
            let queued = self.table.add_to_fan(now, neighbour.link, &mut neighbour.place, bytes, out);
            if queued == Some(false) {
                full.push(neighbour.link);
            }
            tell(&neighbour.id, queued == Some(true));
        }
        out.fan_out(since, bytes);
        full.into_iter().for_each(|id| self.on_queue_full(id));
    }

    fn on_queue_full(&mut self, id: LinkId) {
        let name = self.peer(id).map(|peer| peer.username.as_str()).unwrap_or_default();
        let message = format!("{name} does not read what is sent to it: messages for it are being dropped");
        self.counters.drop(DropCause::QueueFull);
        self.news.push(News::Trouble(Trouble::SlowPeer, message));
    }

    /// Seals what was gathered for links of level 2.
    pub fn seal_gathered(&mut self, out: &mut Outbox) {
        self.table.seal_gathered(out);
    }

    /// Queued bytes were handed to the system.
    pub fn on_written(&mut self, now: Now, id: LinkId, bytes: usize, out: &mut Outbox) {
        let Some(link) = self.table.on_written(now, id, bytes) else { return };
        if link.queue.is_empty() && link.is_leaving() {
            self.drained(now, id, out);
        }
    }

    fn log(&self, level: LogLevel, out: &mut Outbox, line: impl FnOnce() -> String) {
        out.log(self.settings.log, level, line);
    }
}
