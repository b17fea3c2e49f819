//! The works that are measured: each a function that pushes its rows of the table.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::chat::TEXT;
use crate::cores::{self, What};
use crate::load::{Link, Load, Sender, Speech, WINDOW};
use crate::relay::{Cpus, Memory, Relay, Setup, Who};
use crate::report::{Limit, Pick, Progress, Report, Row, Series, Unit, median, thousands};
use crate::strangers;

/// The figures of a measurement, or the reason why there are none.
type Outcome<T> = Result<T, Box<dyn Error>>;

/// A work's name, for `--only`, and how it is measured.
type Work = (&'static str, fn(&mut Bench));

/// All of them.
pub const WORKS: [Work; 12] = [
    ("chain", chain),
    ("encrypted", encrypted),
    ("signed", signed),
    ("hop", hop),
    ("fanout", fanout),
    ("shown", shown),
    ("memory", memory),
    ("stalled", stalled),
    ("stdin", stdin),
    ("start", start),
    ("handshake", handshake),
    ("strangers", strangers),
];

/// Messages that a relay carries before it is measured.
const WARM_UP: u64 = 2_000;

/// Links in the work that fans out.
const FAN: u64 = 32;

/// Links over which the memory of one is averaged.
const LINKS: u64 = 40;

/// Messages that fill every table of the node: more than the ids that it remembers at most.
const FILLING: u64 = 300_000;

/// The room that the load does not chat in, and the one that it does.
const QUIET: &str = "quiet";
const LOUD: &str = "bench";

/// The things that all works share.
pub struct Bench {
    pub node: PathBuf,
    pub cpus: Cpus,
    pub rounds: u32,
    pub quick: bool,
    pub report: Report,
    pub progress: Progress,
}

impl Bench {
    /// The size of a work: smaller in a quick run.
    fn size(&self, full: u64) -> u64 {
        if self.quick { full / 4 } else { full }
    }

    fn setup(&self) -> Setup<'_> {
        Setup { node: &self.node, room: QUIET, cpu: None }
    }

    /// Measures N figures of each contestant in turn, round after round. Each round begins with another one, so that
    /// none is always the first after a pause. Who fails is told of and left out.
    fn rounds<const N: usize>(
        &mut self,
        work: &str,
        rounds: u32,
        whom: &[Who],
        mut measure: impl FnMut(&Self, Who) -> Outcome<[f64; N]>,
    ) -> [Series; N] {
        let mut series = [const { Series::new() }; N];
        let mut failed = Vec::new();
        self.progress.begin(work);
        for round in 0..rounds {
            for turn in 0..whom.len() {
                let who = whom[(round as usize + turn) % whom.len()];
                if failed.contains(&who) {
                    continue;
                }
                self.progress.at(&format!("{work}: round {} of {rounds}, {who}", round + 1));
                match measure(self, who) {
                    Ok(figures) => series.iter_mut().zip(figures).for_each(|(series, figure)| series.push(who, figure)),
                    Err(error) => {
                        self.report.failures.push(format!("{work}, {who}: {error}"));
                        failed.push(who);
                    }
                }
            }
        }
        series
    }
}

/// Sender, relay, sink: CPU a message and messages a second.
fn chain(bench: &mut Bench) {
    let count = bench.size(200_000);
    let measure = |bench: &Bench, who| carry(&bench.setup(), who, 1, count, Speech::Original);
    let [cpu, rate] = bench.rounds("chain", 2 * bench.rounds, &Who::ALL, measure);
    bench.report.rows.extend([
        Row::new("chain-cpu", format!("CPU a message, chain of three, {WINDOW} in flight"), Unit::Microseconds, cpu)
            .gate(Limit::MostOfTyped(1.5))
            .reach(Limit::MostOfTyped(1.0)),
        Row::new("chain-throughput", "throughput, the same", Unit::PerSecond, rate)
            .gate(Limit::LeastOfTyped(0.7))
            .reach(Limit::LeastOfTyped(1.0)),
    ]);
}

/// The chain over encrypted links, with messages that nobody has signed; the yardsticks go on in the clear.
fn encrypted(bench: &mut Bench) {
    let (count, fanned) = (bench.size(200_000), bench.size(20_000));
    let measure = |bench: &Bench, who| carry(&bench.setup(), who, 1, count, level2(who, Speech::Encrypted));
    let [cpu, rate] = bench.rounds("encrypted", bench.rounds, &Who::ALL, measure);
    let measure = |bench: &Bench, who| carry(&bench.setup(), who, FAN, fanned, level2(who, Speech::Encrypted));
    let [fan_cpu, _] = bench.rounds("encrypted fan-out", bench.rounds, &Who::ALL, measure);
    bench.report.rows.extend([
        Row::new("encrypted-cpu", "CPU a message, chain, links encrypted", Unit::Microseconds, cpu)
            .gate(Limit::MostOfTyped(3.0))
            .reach(Limit::MostOfTyped(2.0)),
        Row::new("encrypted-throughput", "throughput, the same", Unit::PerSecond, rate),
        Row::new(
            "encrypted-fanout-cpu",
            format!("CPU a message, fan-out to {FAN}, encrypted"),
            Unit::Microseconds,
            fan_cpu,
        )
        .gate(Limit::MostOfTyped(3.0)),
    ]);
}

/// The same with messages whose signatures are verified on the way.
fn signed(bench: &mut Bench) {
    let count = bench.size(60_000);
    let measure = |bench: &Bench, who| carry(&bench.setup(), who, 1, count, level2(who, Speech::Signed));
    let [cpu, rate] = bench.rounds("signed", bench.rounds, &Who::ALL, measure);
    bench.report.rows.extend([
        Row::new("signed-cpu", "CPU a message, chain, encrypted and every signature verified", Unit::Microseconds, cpu)
            .gate(Limit::MostOfTyped(20.0))
            .reach(Limit::MostOfTyped(15.0)),
        Row::new("signed-throughput", "throughput, the same", Unit::PerSecond, rate),
    ]);
}

/// The format in which the load speaks to a contestant: the yardsticks know the original's format alone.
fn level2(who: Who, speech: Speech) -> Speech {
    if who == Who::Node { speech } else { Speech::Original }
}

/// One message to 32 links: CPU a message, and copies a second that arrive.
fn fanout(bench: &mut Bench) {
    let count = bench.size(20_000);
    let measure = |bench: &Bench, who| carry(&bench.setup(), who, FAN, count, Speech::Original);
    let [cpu, rate] = bench.rounds("fanout", 2 * bench.rounds, &Who::ALL, measure);
    bench.report.rows.extend([
        Row::new("fanout-cpu", format!("CPU a message, fan-out to {FAN}"), Unit::Microseconds, cpu)
            .gate(Limit::MostOfTyped(1.5))
            .reach(Limit::MostOfTyped(1.3)),
        Row::new("fanout-throughput", "messages in, the same", Unit::PerSecond, rate),
    ]);
}

/// The chain again, but the node shows what it relays, and the bench reads its stdout. The yardsticks show nothing.
fn shown(bench: &mut Bench) {
    let count = bench.size(100_000);
    let measure = |bench: &Bench, who| {
        let mut relay = Relay::start(who, &Setup { room: LOUD, ..bench.setup() })?;
        let mut load = Load::dial(relay.addr, 1)?;
        let shown = |relay: &mut Relay| if who == Who::Node { relay.shown() } else { Ok(0) };
        load.flood(WARM_UP)?;
        let before = (shown(&mut relay)?, relay.cpu()?);
        load.flood(count)?;
        let after = (shown(&mut relay)?, relay.cpu()?);
        load.check()?;
        Ok([micros(after.1.saturating_sub(before.1)) / count as f64, (after.0 - before.0) as f64])
    };
    let [cpu, shown] = bench.rounds("shown", bench.rounds.min(3), &Who::ALL, measure);
    bench.report.rows.extend([
        Row::new("shown-cpu", "CPU a message, chain, shown on stdout as well", Unit::Microseconds, cpu)
            .gate(Limit::MostOfTyped(1.8)),
        Row::new(
            "shown",
            format!("of {} shown, the rest told of as lagged", thousands(count as f64)),
            Unit::Messages,
            shown,
        ),
    ]);
}

/// CPU a message in microseconds and messages a second, of a full window through one relay to so many sinks.
fn carry(setup: &Setup<'_>, who: Who, sinks: u64, count: u64, speech: Speech) -> Outcome<[f64; 2]> {
    let relay = Relay::start(who, setup)?;
    let mut load = Load::dial_as(relay.addr, sinks as usize, speech)?;
    load.flood(WARM_UP)?;
    let before = relay.cpu()?;
    let start = Instant::now();
    load.flood(count)?;
    let elapsed = start.elapsed();
    let used = relay.cpu()?.saturating_sub(before);
    load.check()?;
    Ok([micros(used) / count as f64, count as f64 / elapsed.as_secs_f64()])
}

/// One message at a time, everything on one CPU: the usual latency, the tail, and the slowest of all.
fn hop(bench: &mut Bench) {
    let count = bench.size(200_000);
    let rounds = bench.rounds;
    let measure = |bench: &Bench, who| {
        let _pinned = bench.cpus.pin()?;
        let relay = Relay::start(who, &Setup { cpu: bench.cpus.one.as_deref(), ..bench.setup() })?;
        let mut load = Load::dial(relay.addr, 1)?;
        load.flood(WARM_UP)?;
        one_by_one(&relay, &mut load, count)
    };
    let [p50, p99, slowest, own, above_1, above_5] = bench.rounds("hop", rounds, &Who::ALL, measure);
    let all = thousands((count * u64::from(rounds)) as f64);
    bench.report.rows.extend([
        Row::new("hop-p50", "one hop, one in flight, one CPU: p50", Unit::Microseconds, p50)
            .gate(Limit::MostOfTyped(1.6))
            .reach(Limit::MostOfTyped(1.3)),
        Row::new("hop-p99", "the same: p99", Unit::Microseconds, p99)
            .gate(Limit::MostOfTyped(3.0))
            .reach(Limit::MostOfTyped(2.0)),
        Row::new("slowest", format!("slowest of {} in a row", thousands(count as f64)), Unit::Milliseconds, slowest)
            .gate(Limit::Most(5.0))
            .reach(Limit::Most(1.0)),
        Row::new("own-stop", "longest stop by the relay's own CPU", Unit::Milliseconds, own),
        Row::new("above-1-ms", format!("above 1 ms, of {all}"), Unit::Messages, above_1).pick(Pick::Sum),
        Row::new("above-5-ms", format!("above 5 ms, of {all}"), Unit::Messages, above_5).pick(Pick::Sum),
    ]);
}

/// Sends so many messages, each when the one before has come: p50 and p99 in microseconds, the slowest in milliseconds,
/// the relay's longest own stop, and how many took more than 1 and 5 ms.
///
/// An own stop is told from one of the machine's by the relay's CPU account, read every so many messages: what it used
/// in the dearest of these stretches more than in the usual one.
fn one_by_one(relay: &Relay, load: &mut Load, count: u64) -> Outcome<[f64; 6]> {
    const STRETCH: usize = 100;
    let mut took = vec![Duration::MAX; count as usize];
    let mut used = Vec::with_capacity(took.len() / STRETCH + 1);
    let mut account = relay.cpu()?;
    for stretch in took.chunks_mut(STRETCH) {
        for took in stretch {
            let start = Instant::now();
            load.sender.send(1)?;
            load.settle()?;
            *took = start.elapsed();
        }
        let now = relay.cpu()?;
        used.push(micros(now.saturating_sub(account)));
        account = now;
    }
    load.check()?;
    took.sort_unstable();
    let above = |limit| took.len() - took.partition_point(|took| *took <= Duration::from_millis(limit));
    let quantile = |share: f64| micros(took[((took.len() - 1) as f64 * share) as usize]);
    let dearest = used.iter().copied().fold(0.0, f64::max);
    let usual = median(used.into_iter()).ok_or("nothing was sent")?;
    let [p50, p99, slowest] = [0.5, 0.99, 1.0].map(quantile);
    Ok([p50, p99, slowest / 1e3, (dearest - usual) / 1e3, above(1) as f64, above(5) as f64])
}

/// Memory: of an idle relay, of a link that has carried something both ways, and whether a second flood takes more.
fn memory(bench: &mut Bench) {
    let measure = |bench: &Bench, who| {
        let relay = Relay::start(who, &bench.setup())?;
        let idle = relay.memory(Memory::Resident)?;
        let own = relay.memory(Memory::Own)?;
        let link = memory_of_links(&relay)?;
        drop(relay);
        let relay = Relay::start(who, &bench.setup())?;
        let mut load = Load::dial(relay.addr, 1)?;
        load.flood(FILLING)?;
        let first = relay.memory(Memory::Resident)?;
        load.flood(FILLING)?;
        let second = relay.memory(Memory::Resident)?;
        load.check()?;
        Ok([idle / 1024.0, own, link, first / 1024.0, second - first])
    };
    let [idle, own, link, first, growth] = bench.rounds("memory", 1, &Who::ALL, measure);
    let flood = thousands(FILLING as f64);
    bench.report.rows.extend([
        Row::new("memory-idle", "memory, idle", Unit::MiB, idle).gate(Limit::Most(4.0)).reach(Limit::Most(3.0)),
        // Not pages of the program and of libraries, which all nodes of a machine share.
        Row::new("memory-idle-own", "of this its own", Unit::KiB, own).gate(Limit::Most(1024.0)),
        Row::new("memory-link", format!("memory of a link, over {LINKS}"), Unit::KiB, link)
            .gate(Limit::Most(100.0))
            .reach(Limit::Most(64.0)),
        Row::new("memory-flood", format!("memory after a flood of {flood}"), Unit::MiB, first),
        // Flat, but for what an allocator may do.
        Row::new("memory-growth", "more after a second such flood", Unit::KiB, growth)
            .gate(Limit::Most(1024.0))
            .reach(Limit::Most(256.0)),
    ]);
    memory_of_cores(bench);
}

/// The core alone: see [`cores`].
fn memory_of_cores(bench: &mut Bench) {
    let mut of = |what, divisor| {
        let measure = |_: &Bench, _| Ok([cores::measure(what)? / divisor]);
        let [series] = bench.rounds("memory of the core", 1, &[Who::Node], measure);
        series
    };
    let node = of(What::Node, 1024.0);
    let [link, original, uuid, id] = [What::Link, What::LinkOriginal, What::Uuid, What::Id].map(|what| of(what, 1.0));
    bench.report.rows.extend([
        Row::new("core-node", "the core alone: an idle node without state", Unit::KiB, node).gate(Limit::Most(100.0)),
        Row::new("core-link", "the same: an end of a link, level 2", Unit::Bytes, link).gate(Limit::Most(2048.0)),
        Row::new("core-link-original", "the same, in the original's format", Unit::Bytes, original)
            .gate(Limit::Most(2048.0)),
        Row::new("core-uuid", "the same: an id seen, a UUID", Unit::Bytes, uuid).gate(Limit::Most(40.0)),
        Row::new("core-id", "the same, any other id", Unit::Bytes, id).gate(Limit::Most(40.0)),
    ]);
}

/// KiB a link: each has sent one chat, and received one from every other.
fn memory_of_links(relay: &Relay) -> Outcome<f64> {
    let before = relay.memory(Memory::Resident)?;
    let mut links = Vec::new();
    for number in 0..LINKS {
        let mut link = Sender::dial(relay.addr, &format!("bench-{number}"), Speech::Original)?;
        link.skip_to(number);
        links.push(link);
    }
    for link in &mut links {
        link.send(1)?;
    }
    for link in &mut links {
        link.link().read_chats(LINKS - 1)?;
    }
    Ok((relay.memory(Memory::Resident)? - before) / LINKS as f64)
}

/// A peer that links and then reads nothing, beside three that do: what it costs them. The yardsticks would stop.
fn stalled(bench: &mut Bench) {
    // The node may hold the senders back for a second before it gives the peer up; the rest shows the usual rate.
    let [alone, beside] = if bench.quick { [500, 2_000] } else { [1_000, 2_500] }.map(Duration::from_millis);
    let measure = |bench: &Bench, who| {
        // On one CPU: with two, whether relay and sinks share one is chance, and tells more than the peer does.
        let _pinned = bench.cpus.pin()?;
        let relay = Relay::start(who, &Setup { cpu: bench.cpus.one.as_deref(), ..bench.setup() })?;
        let mut load = Load::dial(relay.addr, 3)?;
        // The tables are full before the peak of memory is read.
        load.flood(FILLING)?;
        let (before, _) = stream(&mut load, alone)?;
        let peak = relay.memory(Memory::Peak)?;
        let stalled = Link::dial(relay.addr, "bench-stalled", Speech::Original)?;
        let (rate, pause) = stream(&mut load, beside)?;
        let more = relay.memory(Memory::Peak)? - peak;
        drop(stalled);
        let (after, _) = stream(&mut load, alone)?;
        let lost = load.sinks.iter().map(|sink| sink.lost).sum::<u64>();
        Ok([lost as f64, more / 1024.0, 2.0 * rate / (before + after), pause])
    };
    let [lost, more, rate, pause] = bench.rounds("stalled", bench.rounds, &[Who::Node], measure);
    bench.report.rows.extend([
        Row::new("stalled-loss", "a peer stops reading: lost to the others", Unit::Messages, lost)
            .pick(Pick::Worst)
            .gate(Limit::Most(0.0)),
        Row::new("stalled-memory", "the same: more memory", Unit::MiB, more).pick(Pick::Worst).gate(Limit::Most(4.0)),
        // No slower, but for what the median of the rounds was seen to vary by with no such peer at all.
        Row::new("stalled-throughput", "the same: throughput, to that without it", Unit::Times, rate)
            .reach(Limit::Least(0.9)),
        Row::new("stalled-pause", "the same: longest pause", Unit::Milliseconds, pause).pick(Pick::Worst),
    ]);
}

/// Sends for so long with the window full: the usual rate, as the median of small pieces, and the longest piece in
/// milliseconds.
fn stream(load: &mut Load, time: Duration) -> Outcome<(f64, f64)> {
    const PIECE: u64 = 1_000;
    let start = Instant::now();
    let mut pieces = Vec::new();
    while start.elapsed() < time {
        let piece = Instant::now();
        load.advance(PIECE)?;
        pieces.push(piece.elapsed().as_secs_f64());
    }
    load.settle()?;
    let longest = pieces.iter().copied().fold(0.0, f64::max);
    let usual = median(pieces.into_iter()).ok_or("nothing was sent")?;
    Ok((PIECE as f64 / usual, longest * 1e3))
}

/// `send` lines in a pipe, as fast as they are taken, and one peer that counts.
fn stdin(bench: &mut Bench) {
    let count = bench.size(100_000);
    let measure = |bench: &Bench, who| {
        let mut relay = Relay::start(who, &bench.setup())?;
        let mut sink = Link::dial(relay.addr, "bench-1", Speech::Original)?;
        let mut stdin = relay.take_stdin()?;
        let line = format!("{{\"cmd\":\"send\",\"text\":\"{}\"}}\n", "x".repeat(TEXT));
        let start = Instant::now();
        // It ends when all is written, or at the latest when the node ends and the pipe breaks.
        let writer = thread::spawn(move || {
            let block = line.repeat(100);
            for _ in 0..count / 100 {
                stdin.write_all(block.as_bytes())?;
            }
            // Handed back, so that the end of input does not end the node before the last chat has come.
            Ok::<_, io::Error>(stdin)
        });
        let end = sink.read_chats(count);
        let elapsed = start.elapsed();
        drop(relay);
        let _ = writer.join();
        if sink.chats == 0 {
            end?;
        }
        Ok([sink.chats as f64 / elapsed.as_secs_f64(), count as f64 - sink.chats as f64])
    };
    let [rate, lost] = bench.rounds("stdin", bench.rounds.min(3), &[Who::Node], measure);
    bench.report.rows.extend([
        Row::new("stdin", format!("{} send lines in a pipe", thousands(count as f64)), Unit::PerSecond, rate)
            .gate(Limit::Least(60_000.0))
            .reach(Limit::Least(150_000.0)),
        Row::new("stdin-lost", "of them lost", Unit::Messages, lost).pick(Pick::Worst).gate(Limit::Most(0.0)),
    ]);
}

/// From the start of the process to its `ready`.
fn start(bench: &mut Bench) {
    let measure = |bench: &Bench, who| Ok([micros(Relay::start(who, &bench.setup())?.started_in) / 1e3]);
    let [start] = bench.rounds("start", 20, &Who::ALL, measure);
    bench.report.rows.push(
        Row::new("start", "start to ready", Unit::Milliseconds, start).gate(Limit::Most(50.0)).reach(Limit::Most(10.0)),
    );
}

/// Both sides of a handshake of level 2, in this process: what a link costs before its first frame.
fn handshake(bench: &mut Bench) {
    let measure = |_: &Bench, _| {
        let [dialler, listener] = [strangers::keys(1), strangers::keys(2)];
        let took = (0..200_u8).map(|n| {
            let start = Instant::now();
            strangers::both_sides(&dialler, &listener, [n; 32]).map(|()| micros(start.elapsed()) / 1e3)
        });
        let took = took.collect::<io::Result<Vec<f64>>>()?;
        Ok([median(took.into_iter()).ok_or("no handshake")?])
    };
    let [both] = bench.rounds("handshake", bench.rounds, &[Who::Node], measure);
    bench.report.rows.push(
        Row::new("handshake", "handshake of level 2, both sides, the median of 200", Unit::Milliseconds, both)
            .gate(Limit::Most(5.0))
            .reach(Limit::Most(1.0)),
    );
}

/// Strangers who do a whole handshake of level 2 each, and leave: what a thousand a second cost an honest pair that chats
/// at a person's pace, one message every 2 ms.
fn strangers(bench: &mut Bench) {
    let count = bench.size(2_000);
    let measure = |bench: &Bench, who| {
        let relay = Relay::start(who, &bench.setup())?;
        let mut load = Load::dial(relay.addr, 1)?;
        load.flood(WARM_UP)?;
        let quiet = paced(&mut load, count)?;
        let flood = strangers::Flood::start(relay.addr, STRANGERS);
        let loud = paced(&mut load, count);
        let rate = flood.stop()?;
        load.check()?;
        Ok([quiet, loud?, rate])
    };
    let [quiet, loud, rate] = bench.rounds("strangers", bench.rounds, &[Who::Node], measure);
    let mut times = Series::new();
    quiet.of(Who::Node).iter().zip(loud.of(Who::Node)).for_each(|(quiet, loud)| times.push(Who::Node, loud / quiet));
    bench.report.rows.extend([
        Row::new("strangers-quiet", "one hop, every 2 ms, quiet: p99", Unit::Microseconds, quiet),
        Row::new("strangers-p99", "the same, beside strangers' handshakes", Unit::Microseconds, loud),
        Row::new("strangers-times", "so many times that of the same round", Unit::Times, times).gate(Limit::Most(2.0)),
        Row::new("strangers-rate", "handshakes that strangers finished", Unit::PerSecond, rate)
            .gate(Limit::Least(f64::from(STRANGERS) * 0.9)),
    ]);
}

/// Handshakes of strangers a second.
const STRANGERS: u32 = 1_000;

/// Sends so many messages at a steady pace, each when the one before has come: p99 in microseconds.
fn paced(load: &mut Load, count: u64) -> Outcome<f64> {
    const EVERY: Duration = Duration::from_millis(2);
    let mut took = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        load.sender.send(1)?;
        load.settle()?;
        took.push(start.elapsed());
        thread::sleep(EVERY.saturating_sub(start.elapsed()));
    }
    took.sort_unstable();
    Ok(micros(took[(took.len() - 1) * 99 / 100]))
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
