//! Two sides of links, with no network and no node between them.

use std::collections::VecDeque;

use super::blocks::Blocked;
use super::*;
use crate::base::NodeId;
use crate::wire::frame::Item;
use crate::wire::limits::{FIRST_FRAME_TIME, MAX_STRIKES, PING_EVERY, SETTLE_TIME};
use crate::wire::noise::Stepped;

/// A side: its links, its news, and the frames that came after hello.
struct Side {
    links: Links,
    out: Outbox,
    news: Vec<News>,
    frames: Vec<Vec<u8>>,
}

/// Two sides, and what is on its way between them.
struct Pair {
    now: Now,
    sides: [Side; 2],
    /// Bytes for a side's link, or its end.
    bytes: VecDeque<(usize, LinkId, Option<Vec<u8>>)>,
    next_link: u64,
    dials: Vec<(usize, DialId)>,
    closed: Vec<(usize, LinkId)>,
}

fn settings(id: &NodeId) -> Settings {
    Settings {
        id: id.clone(),
        username: format!("user {id}"),
        tcp: ([10, 0, 0, 1], 5000).into(),
        listen: None,
        secure: false,
        max_links: 8,
        max_links_per_addr: 8,
        rate: None,
        log: LogLevel::Off,
    }
}

fn side(seed: u8, network: Option<NetworkKey>, change: impl FnOnce(&mut Settings)) -> Side {
    let identity = Identity::new(&[seed; 32]);
    let roots = Roots::new(Some(seed.into()), "", [seed; 32]);
    let mut settings = settings(identity.id());
    change(&mut settings);
    let links = Links::new(settings, &identity, network, &roots);
    Side { links, out: Outbox::default(), news: Vec::new(), frames: Vec::new() }
}

const ADDR: [&str; 2] = ["10.0.0.2:1", "10.0.0.3:1"];

impl Pair {
    fn new() -> Self {
        Self::of(side(1, None, |_| {}), side(2, None, |_| {}))
    }

    fn of(a: Side, b: Side) -> Self {
        #[allow(clippy::disallowed_methods, reason = "any moment will do")]
        let now = Now { mono: Instant::now(), unix_ms: 0 };
        Self { now, sides: [a, b], bytes: VecDeque::new(), next_link: 0, dials: vec![], closed: vec![] }
    }

    /// A side dials the other.
    fn dial(&mut self, from: usize) {
        let side = &mut self.sides[from];
        side.links.connect(self.now, ADDR[1 - from], None, &mut side.out).expect("room");
        self.perform();
    }

    /// Answers the dials that wait: each gives a link, which has one number at both ends.
    fn answer(&mut self) {
        for (from, dial) in std::mem::take(&mut self.dials) {
            self.next_link += 1;
            let id = LinkId(self.next_link);
            let addr = |side: usize| ADDR[side].parse().expect("an address");
            let [a, b] = &mut self.sides;
            let (dialler, other) = if from == 0 { (a, b) } else { (b, a) };
            other.links.on_accepted(self.now, id, addr(from), &mut other.out);
            assert!(dialler.links.on_dialled(self.now, dial, id, (addr(1 - from), false), &mut dialler.out));
        }
    }

    /// Does what both sides want, until neither wants anything.
    fn settle(&mut self) {
        while self.step() {}
    }

    /// Does one thing that they want. False: there is none.
    fn step(&mut self) -> bool {
        self.answer();
        self.perform();
        match self.bytes.pop_front() {
            Some((to, link, Some(bytes))) => self.read(to, link, &bytes),
            Some((to, link, None)) => {
                let (now, side) = (self.now, &mut self.sides[to]);
                side.links.on_ended(now, link, None, &mut side.out);
            }
            None => return !self.dials.is_empty(),
        }
        true
    }

    fn read(&mut self, to: usize, id: LinkId, mut bytes: &[u8]) {
        let (now, side) = (self.now, &mut self.sides[to]);
        let Some(mut reading) = side.links.begin_reading(now, id, &mut bytes, &mut side.out) else { return };
        let mut plain = Vec::new();
        if reading.is_sealed {
            while let Some(record) = side.links.open_record(now, id, &mut bytes, &mut side.out) {
                plain.extend_from_slice(&record);
                side.links.keep_buffer(record);
            }
        } else {
            plain.extend_from_slice(bytes);
        }
        let mut plain = &plain[..];
        while let Some(link) = side.links.get(id).filter(|link| link.hears()) {
            match reading.decoder.next(&mut plain, link.allowance()) {
                Ok(Some(Item::Frame(frame))) if side.links.is_greeted(id) => {
                    reading.completed = true;
                    side.frames.push(frame.to_vec());
                    side.links.on_frame(now, id, &mut side.out);
                }
                Ok(Some(Item::Frame(frame))) => {
                    reading.completed = true;
                    side.links.on_hello(now, id, frame, &mut side.out);
                }
                Ok(Some(Item::Skimmed(length))) => side.links.on_skimmed(length, &mut side.out),
                Ok(None) => break,
                Err(too_large) => side.links.on_too_large(now, id, too_large, &mut side.out),
            }
        }
        side.links.end_reading(now, id, reading);
    }

    fn perform(&mut self) {
        for of in 0..2 {
            loop {
                let side = &mut self.sides[of];
                side.links.seal_gathered(&mut side.out);
                side.news.extend(side.links.take_news());
                let outputs = std::mem::take(&mut side.out.outputs);
                if outputs.is_empty() {
                    break;
                }
                for output in outputs {
                    self.perform_one(of, output);
                }
            }
            self.sides[of].out.clear();
        }
    }

    fn perform_one(&mut self, of: usize, output: Output) {
        let now = self.now;
        match output {
            Output::Dial { dial, .. } => self.dials.push((of, dial)),
            Output::Send { link, bytes } => {
                let side = &mut self.sides[of];
                let sent = side.out.piece(&bytes, 0, usize::MAX).to_vec();
                side.links.on_written(now, link, sent.len(), &mut side.out);
                self.bytes.push_back((1 - of, link, Some(sent)));
            }
            Output::Handshake { link, step } => {
                let stepped: Stepped = step.make();
                let side = &mut self.sides[of];
                if let Some(rest) = side.links.on_stepped(now, link, stepped, &mut side.out) {
                    self.read(of, link, &rest);
                }
            }
            Output::Close(link) => {
                self.closed.push((of, link));
                self.bytes.push_back((1 - of, link, None));
            }
            Output::HalfClose(link) => self.bytes.push_back((1 - of, link, None)),
            _ => {}
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        for side in &mut self.sides {
            side.links.on_time(self.now, &mut side.out);
        }
        self.settle();
    }

    fn neighbours(&self) -> [usize; 2] {
        [0, 1].map(|side| self.sides[side].links.neighbours().len())
    }

    /// The code of the news that a side's dial failed, or its neighbour went.
    fn code(&self, side: usize) -> Option<LinkCode> {
        self.sides[side].news.iter().rev().find_map(|news| match news {
            News::Failed { code, .. } | News::Down { code, .. } => Some(*code),
            _ => None,
        })
    }

    fn count(&self, side: usize, is: impl Fn(&News) -> bool) -> usize {
        self.sides[side].news.iter().filter(|news| is(news)).count()
    }

    fn trouble(&self, side: usize, which: Trouble) -> usize {
        self.count(side, |news| matches!(news, News::Trouble(trouble, _) if *trouble == which))
    }
}

const fn is_up(news: &News) -> bool {
    matches!(news, News::Up { .. })
}

#[test]
fn a_dial_makes_neighbours_of_level_2_which_ping_each_other() {
    let mut pair = Pair::new();
    pair.dial(0);
    pair.settle();
    assert_eq!((pair.neighbours(), pair.count(0, is_up), pair.count(1, is_up)), ([1, 1], 1, 1));
    assert!(matches!(&pair.sides[0].news[1], News::Reached { addr, .. } if addr == ADDR[1]));
    let [a, b] = [0, 1].map(|side| pair.sides[side].links.iter().next().expect("a link").1);
    assert!(a.peer().is_some_and(|peer| peer.is_level2() && *peer.username == format!("user {}", peer.id)));
    assert!(a.direction().is_out() && !b.direction().is_out());
    assert!(pair.sides.iter().all(|side| side.frames.iter().any(|frame| frame.windows(6).any(|it| it == b"\"ping\""))));
}

#[test]
fn a_peer_of_level_1_is_dialled_again_at_level_1_unless_that_is_refused() {
    for secure in [false, true] {
        let mut pair = Pair::of(side(1, None, |it| it.secure = secure), side(2, None, |_| {}));
        pair.dial(0);
        // The other end is an original: it closes at the handshake.
        let (_, dial) = pair.dials.pop().expect("a dial");
        let (now, a) = (pair.now, &mut pair.sides[0]);
        a.links.on_dialled(now, dial, LinkId(50), (ADDR[1].parse().expect("an address"), false), &mut a.out);
        a.links.on_ended(now, LinkId(50), None, &mut a.out);
        assert!(a.links.get(LinkId(50)).is_none());
        let dials = a.out.outputs.iter().filter(|it| matches!(it, Output::Dial { .. })).count();
        assert_eq!(dials, usize::from(!secure));
        let failed = a.links.take_news();
        let refused = |it: &News| matches!(it, News::Failed { code: LinkCode::Level1Refused, .. });
        assert_eq!(failed.iter().any(refused), secure);
    }
}

#[test]
fn an_id_that_belongs_to_a_key_is_not_believed_at_level_1() {
    let mut pair = Pair::new();
    let (now, b) = (pair.now, &mut pair.sides[1]);
    b.links.on_accepted(now, LinkId(9), ADDR[0].parse().expect("an address"), &mut b.out);
    let hello = format!(r#"{{"type":"hello","from":"{}","username":"A"}}"#, Identity::new(&[1; 32]).id());
    let frame = [&(hello.len() as u32).to_be_bytes(), hello.as_bytes()].concat();
    pair.read(1, LinkId(9), &frame);
    pair.perform();
    assert_eq!((pair.closed.len(), pair.neighbours()[1]), (1, 0));
}

#[test]
fn another_network_and_no_network_are_never_linked() {
    let key = |n: u8| NetworkKey::derive(&format!("network {n}"));
    for (a, b) in [(key(1), key(2)), (None, key(1)), (key(1), None)] {
        let mut pair = Pair::of(side(1, a, |_| {}), side(2, b, |_| {}));
        pair.dial(0);
        pair.settle();
        pair.pass(FIRST_FRAME_TIME);
        pair.pass(FIRST_FRAME_TIME);
        assert_eq!((pair.neighbours(), pair.code(0).is_some()), ([0, 0], true));
        assert!(pair.sides.iter().all(|side| side.links.is_empty()));
    }
    let mut pair = Pair::of(side(1, key(3), |_| {}), side(2, key(3), |_| {}));
    pair.dial(0);
    pair.settle();
    assert_eq!(pair.neighbours(), [1, 1]);
}

#[test]
fn simultaneous_dials_come_to_one_link_with_no_event_more() {
    let mut pair = Pair::new();
    pair.dial(0);
    pair.dial(1);
    pair.settle();
    pair.pass(SETTLE_TIME);
    pair.pass(SETTLE_TIME);
    assert_eq!((pair.neighbours(), pair.count(0, is_up), pair.count(1, is_up)), ([1, 1], 1, 1));
    let links = [0, 1].map(|side| pair.sides[side].links.iter().map(|(id, _)| id).collect::<Vec<_>>());
    assert!(links[0].len() == 1 && links[0] == links[1], "{links:?}");
    assert_eq!(pair.count(0, |news| matches!(news, News::Down { .. })), 0);
}

#[test]
fn a_node_that_dials_itself_learns_it() {
    let mut pair = Pair::of(side(1, None, |_| {}), side(1, None, |_| {}));
    pair.dial(0);
    pair.settle();
    assert_eq!((pair.neighbours(), pair.code(0)), ([0, 0], Some(LinkCode::OwnAddress)));
}

#[test]
fn a_blocked_peer_is_refused_and_linked_when_the_block_is_lifted() {
    let mut pair = Pair::new();
    let b = Blocked::peer(&pair.sides[1].links.settings.id.text());
    let (now, a) = (pair.now, &mut pair.sides[0]);
    a.links.dial_from_start(now, ADDR[1], None, &mut a.out);
    pair.settle();
    let (now, a) = (pair.now, &mut pair.sides[0]);
    assert_eq!(a.links.block(now, &b, None, &mut a.out).1, 1);
    pair.settle();
    assert_eq!((pair.neighbours(), pair.code(0)), ([0, 0], Some(LinkCode::Blocked)));
    pair.pass(Duration::from_secs(120));
    assert_eq!(pair.neighbours(), [0, 0]);
    let (now, a) = (pair.now, &mut pair.sides[0]);
    assert!(a.links.lift_block(now, &b, &mut a.out) && !a.links.lift_block(now, &b, &mut a.out));
    pair.perform();
    pair.settle();
    assert_eq!(pair.neighbours(), [1, 1]);
}

#[test]
fn strangers_have_a_bound_and_the_oldest_makes_room() {
    let mut pair = Pair::new();
    let (now, a) = (pair.now, &mut pair.sides[0]);
    for n in 0..MAX_HANDSHAKES as u64 + 3 {
        a.links.on_accepted(now, LinkId(n), ([127, 0, 0, 1], 9).into(), &mut a.out);
    }
    assert_eq!(
        a.links.iter().map(|(id, _)| id.0).collect::<Vec<_>>(),
        (3..MAX_HANDSHAKES as u64 + 3).collect::<Vec<_>>()
    );
    assert_eq!(a.links.counters().links_refused, 3);
    a.links.on_time(Now { mono: now.mono + FIRST_FRAME_TIME, ..now }, &mut a.out);
    assert!(a.links.is_empty() && a.links.deadline().is_none(), "silent ones go, and leave nothing");
}

/// A dialler with a round trip of 150 ms, while strangers come and say nothing: `each` apart, from addresses that depend on their
/// number. Whether it gets in.
fn gets_in_beside(each: Duration, stranger: impl Fn(u32) -> IpAddr) -> bool {
    let mut pair = Pair::new();
    let come = |pair: &mut Pair, for_: Duration| {
        for _ in 0..for_.as_micros() / each.as_micros() {
            pair.now.mono += each;
            pair.next_link += 1;
            let (now, id) = (pair.now, LinkId(pair.next_link));
            let b = &mut pair.sides[1];
            b.links.on_accepted(now, id, (stranger(id.0 as u32), 9).into(), &mut b.out);
            b.links.on_time(now, &mut b.out);
            pair.perform();
        }
    };
    come(&mut pair, Duration::from_millis(200));
    pair.dial(0);
    pair.answer();
    pair.perform();
    // Its first words come with its connection; another may be accepted before they are read.
    come(&mut pair, each * 3);
    while let Some(at) = pair.bytes.iter().position(|(to, ..)| *to == 1) {
        let (to, link, bytes) = pair.bytes.remove(at).expect("it is there");
        pair.read(to, link, &bytes.expect("it does not hang up"));
        pair.perform();
    }
    come(&mut pair, Duration::from_millis(150));
    pair.settle();
    pair.neighbours() == [1, 1]
}

#[test]
fn a_newcomer_over_a_long_way_gets_in_beside_strangers() {
    let ms = Duration::from_millis;
    let ip = |text: String| text.parse::<IpAddr>().expect("an address");
    // The dialler is 10.0.0.2.
    assert!(gets_in_beside(ms(5), |_| ip("10.0.0.2".into())), "its own address");
    assert!(gets_in_beside(ms(5), |n| ip(format!("10.0.0.{}", n % 250))), "its own network");
    assert!(gets_in_beside(ms(5), |n| ip(format!("10.1.{}.{}", n / 250, n % 250))), "another network");
    assert!(gets_in_beside(ms(5), |n| ip(format!("10.{}.{}.1", 1 + n / 250, n % 250))), "a network each");
    assert!(gets_in_beside(ms(1), |n| ip(format!("10.1.{}.{}", n % 5, n % 251))), "five networks");
    assert!(gets_in_beside(ms(1), |n| ip(format!("2001:db8:{:x}:{:x}::1", n % 100, n % 77))), "a whole /32");
}

#[test]
fn links_of_one_address_have_a_bound_but_not_those_of_this_machine() {
    let mut pair = Pair::of(side(1, None, |it| it.max_links_per_addr = 2), side(2, None, |_| {}));
    let (now, a) = (pair.now, &mut pair.sides[0]);
    for (ip, taken) in [([10, 0, 0, 9], 2), ([127, 0, 0, 1], 4)] {
        let before = a.links.len();
        for n in 0..4 {
            a.links.on_accepted(now, LinkId(before as u64 * 10 + n), (ip, 9).into(), &mut a.out);
        }
        assert_eq!(a.links.len() - before, taken);
    }
    // With IPv6 a machine has 64 bits of its own.
    let before = a.links.len();
    for (n, ip) in ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"].into_iter().enumerate() {
        let addr = (ip.parse::<IpAddr>().expect("an address"), 9).into();
        a.links.on_accepted(now, LinkId(100 + n as u64), addr, &mut a.out);
    }
    assert_eq!(a.links.len() - before, 3);
    assert!(a.links.get(LinkId(100)).is_none(), "the oldest that has not said hello makes room");
}

#[test]
fn who_is_linked_makes_no_room_for_another_of_its_address() {
    let mut pair = Pair::of(side(1, None, |it| it.max_links_per_addr = 1), side(2, None, |_| {}));
    pair.dial(1);
    pair.settle();
    let (now, a) = (pair.now, &mut pair.sides[0]);
    a.links.on_accepted(now, LinkId(9), ADDR[1].parse().expect("an address"), &mut a.out);
    assert!(a.links.get(LinkId(9)).is_none());
    assert_eq!((pair.neighbours(), pair.sides[0].links.counters().links_refused), ([1, 1], 1));
}

#[test]
fn a_frame_over_all_limits_closes_the_link_and_the_third_bans_the_address() {
    let mut pair = Pair::new();
    for n in 0..MAX_STRIKES as u64 {
        let (now, a) = (pair.now, &mut pair.sides[0]);
        a.links.on_accepted(now, LinkId(n), ADDR[1].parse().expect("an address"), &mut a.out);
        pair.read(0, LinkId(n), &u32::MAX.to_be_bytes());
    }
    pair.perform();
    let (now, a) = (pair.now, &pair.sides[0]);
    assert_eq!((a.links.len(), a.links.counters().strikes, a.links.counters().bans), (0, 3, 1));
    assert_eq!(a.links.shut_out(now, [10, 0, 0, 3].into()), Some(LinkCode::Banned));
    assert_eq!(pair.trouble(0, Trouble::Banned), 1);
}

#[test]
fn a_silent_neighbour_is_dead_and_one_that_pings_is_not() {
    let mut pair = Pair::new();
    pair.dial(0);
    pair.settle();
    for _ in 0..5 {
        pair.pass(PING_EVERY);
        for side in &mut pair.sides {
            let pings = std::mem::take(&mut side.frames);
            assert!(!pings.is_empty(), "a ping each time");
        }
    }
    assert_eq!(pair.neighbours(), [1, 1]);
    // From here on nothing arrives. Steps are short: a node that stands still forgives.
    for _ in 0..60 {
        pair.now.mono += Duration::from_millis(500);
        let (now, a) = (pair.now, &mut pair.sides[0]);
        a.links.on_time(now, &mut a.out);
        a.out.clear();
    }
    let news = pair.sides[0].links.take_news();
    assert!(matches!(news[..], [News::Down { code: LinkCode::Dead, .. }]), "{news:?}");
}

#[test]
fn a_neighbour_that_does_not_read_loses_frames_and_then_its_link() {
    let mut pair = Pair::new();
    pair.dial(0);
    pair.settle();
    let (mut now, a) = (pair.now, &mut pair.sides[0]);
    let id = a.links.iter().next().expect("a link").0;
    let bytes = a.out.write(|buffer| buffer.resize(64 << 10, b'x'));
    while a.links.queue(now, id, &bytes, &mut a.out) {}
    assert!(a.links.is_waiting(now, None) && !a.links.is_waiting(now, Some(id)) && !a.links.may_read(now, LinkId(77)));
    assert_eq!(a.links.counters().dropped.get(&DropCause::QueueFull), Some(&1));
    for _ in 0..55 {
        now.mono += Duration::from_millis(100);
        a.links.on_time(now, &mut a.out);
    }
    let news = a.links.take_news();
    assert!(news.iter().any(|it| matches!(it, News::Trouble(Trouble::SlowPeer, _))));
    assert!(news.iter().any(|it| matches!(it, News::Down { code: LinkCode::Slow, .. })));
    assert!(!a.links.is_waiting(now, None));
}

#[test]
fn a_new_name_is_told_to_neighbours_and_a_new_one_of_theirs_is_news() {
    let mut pair = Pair::new();
    pair.dial(0);
    pair.settle();
    let (now, a) = (pair.now, &mut pair.sides[0]);
    a.links.rename(now, "new", &mut a.out);
    pair.settle();
    assert!(pair.sides[1].frames.last().is_some_and(|it| it.windows(6).any(|it| it == b"\"nick\"")));
    let b = &mut pair.sides[1];
    let id = b.links.iter().next().expect("a link").0;
    b.links.on_username(id, "new");
    b.links.on_username(id, "new");
    assert!(matches!(&b.links.take_news()[..], [News::Renamed { username, .. }] if username == "new"));
}

#[test]
fn a_second_link_under_another_name_is_told_and_so_is_what_is_said_on_either() {
    let mut pair = Pair::new();
    // The one with the lower id decides which link stays; the other is to hear of the new name.
    let hears = usize::from(pair.sides[0].links.settings.id < pair.sides[1].links.settings.id);
    pair.dial(hears);
    pair.settle();
    let renamed = |pair: &mut Pair| {
        let side = &mut pair.sides[hears];
        side.news.extend(side.links.take_news());
        let last = side.news.iter().rev().find_map(|news| match news {
            News::Renamed { username, .. } => Some(username.clone()),
            _ => None,
        });
        let in_use = side.links.neighbours().iter().next().expect("a neighbour").link;
        assert_eq!(last.as_ref(), side.links.peer(in_use).map(|peer| &peer.username), "what it is called was told");
        last.expect("a new name")
    };
    let first = pair.sides[hears].links.iter().next().expect("a link").0;
    pair.sides[1 - hears].links.settings.username = "second".into();
    pair.dial(1 - hears);
    let waits = |pair: &Pair| pair.sides[hears].links.iter().any(|(_, link)| link.stage() == Stage::Waiting);
    while !waits(&pair) {
        assert!(pair.step(), "a second link");
    }
    assert_eq!(renamed(&mut pair), "second");
    pair.sides[hears].links.on_username(first, "third");
    assert_eq!(renamed(&mut pair), "third");
    let (now, side) = (pair.now, &mut pair.sides[hears]);
    side.links.close(now, first, LinkCode::Closed, "gone", &mut side.out);
    assert!(side.links.get(first).is_none() && side.links.neighbours().len() == 1);
    assert_eq!(renamed(&mut pair), "third", "the second link has taken its place");
}

#[test]
fn the_end_hands_over_what_is_queued_and_takes_nothing_new() {
    let mut pair = Pair::new();
    pair.dial(0);
    pair.settle();
    let (now, a) = (pair.now, &mut pair.sides[0]);
    let id = a.links.iter().next().expect("a link").0;
    let bytes = a.out.write(|buffer| buffer.extend_from_slice(b"\0\0\0\x02{}"));
    assert!(a.links.queue(now, id, &bytes, &mut a.out));
    a.links.end(now, Duration::from_secs(1), &mut a.out);
    a.links.on_accepted(now, LinkId(99), ADDR[1].parse().expect("an address"), &mut a.out);
    assert!(a.links.get(LinkId(99)).is_none());
    pair.settle();
    assert!(pair.sides[1].frames.contains(&b"{}".to_vec()));
    assert_eq!((pair.sides[0].links.len(), pair.sides[0].links.undelivered()), (0, 0));
    assert_eq!(pair.count(0, |news| matches!(news, News::Down { .. })), 0, "the end is told as a whole");
}

#[test]
fn frames_that_links_did_not_take_are_counted_at_the_end() {
    let mut pair = Pair::new();
    pair.dial(0);
    pair.settle();
    let (now, a) = (pair.now, &mut pair.sides[0]);
    let id = a.links.iter().next().expect("a link").0;
    let bytes = a.out.write(|buffer| buffer.extend_from_slice(b"\0\0\0\x02{}"));
    a.links.queue(now, id, &bytes, &mut a.out);
    a.links.end(now, Duration::ZERO, &mut a.out);
    a.links.close_all(now, &mut a.out);
    assert_eq!((a.links.len(), a.links.undelivered()), (0, 1));
}

#[test]
fn a_frame_for_all_neighbours_but_one_goes_out_once_with_the_list_of_them() {
    let mut pair = Pair::new();
    for (n, id) in ["c", "a", "b"].into_iter().enumerate() {
        let link = LinkId(n as u64);
        let (now, a) = (pair.now, &mut pair.sides[0]);
        a.links.on_accepted(now, link, ([127, 0, 0, 1], 9).into(), &mut a.out);
        let hello = format!(r#"{{"type":"hello","from":"{id}","username":"{id}"}}"#);
        pair.read(0, link, &[&(hello.len() as u32).to_be_bytes(), hello.as_bytes()].concat());
    }
    let (now, a) = (pair.now, &mut pair.sides[0]);
    a.out.clear();
    let bytes = a.out.write(|buffer| buffer.extend_from_slice(b"\0\0\0\x02{}"));
    let fan = |a: &mut Side, but: Option<&str>| {
        let (but, mut told) = (but.map(NodeId::from), Vec::new());
        a.links.queue_for_neighbours(now, (but.as_ref(), false), &bytes, &mut a.out, |id, taken| {
            told.push((id.to_string(), taken));
        });
        (told, a.out.outputs.pop())
    };
    let (told, output) = fan(a, Some("b"));
    assert_eq!(told, [("a".to_owned(), true), ("c".to_owned(), true)]);
    let Some(Output::Fan { links, .. }) = output else { panic!("{output:?}") };
    assert_eq!(a.out.receivers(&links), [LinkId(1), LinkId(0)]);
    // A link that is gone, and one that has moved in the table.
    a.links.close(now, LinkId(0), LinkCode::Closed, "gone", &mut a.out);
    let (told, output) = fan(a, Some("b"));
    assert_eq!(told, [("a".to_owned(), true)]);
    assert!(matches!(output, Some(Output::Send { link: LinkId(1), .. })), "{output:?}");
    assert_eq!(fan(a, None).0.len(), 2);
    while fan(a, Some("a")).0 == [("b".to_owned(), true)] {}
    assert_eq!(fan(a, None).0, [("a".to_owned(), true), ("b".to_owned(), false)]);
    assert!(a.links.is_waiting(now, None) && a.links.counters().dropped.get(&DropCause::QueueFull) == Some(&2));
}
