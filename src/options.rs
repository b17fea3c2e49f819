//! The command line.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use argh::FromArgs;

use crate::api::EventKind;
use crate::api::arguments::MAX_NAME;
use crate::lab::call::Setup;
use crate::lab::options::VoiceLab;
use crate::node::LogLevel;
use crate::wire::limits::{MAX_HISTORY_BYTES, MAX_LINKS, MAX_LINKS_PER_ADDR, MAX_RATE, MAX_ROOMS, MAX_TARGETS, RATE};
use crate::wire::room_key::Scheme;

/// A headless peer-to-peer chat node: JSON commands in on stdin, JSON events out on stdout, a line each.
#[derive(Debug, FromArgs)]
#[argh(
    help_triggers("-h", "--help"),
    note = "The first pipe to try, in two terminals:

  {command_name} --port 5000 --username Bob --stay
  echo '{{\"cmd\":\"send\",\"text\":\"hi\",\"min_links\":1}}' | {command_name} --port 0 --connect 127.0.0.1:5000 --check

The second sends the message, or says by its exit code that it could not.
Commands: echo '{{\"cmd\":\"help\"}}' | {command_name} --port 0
The whole protocol as a JSON Schema: {command_name} schema",
    error_code(0, "clean"),
    error_code(1, "an error inside"),
    error_code(2, "usage"),
    error_code(
        3,
        "an address could not be bound, a file or device named here not opened, or too few files may be open"
    ),
    error_code(4, "the state folder is in use by another process, damaged, or can't be used"),
    error_code(5, "--check: a command failed, or frames were not delivered"),
    error_code(6, "stdout was closed")
)]
pub struct Options {
    /// the address to listen at (127.0.0.1, and voice where links are)
    #[argh(option, arg_name = "host")]
    pub host: Option<String>,

    /// the TCP port to listen at; 0: a free one (required)
    #[argh(option, arg_name = "port")]
    pub port: Option<u16>,

    /// the UDP port (the TCP port + 1000; with port 0: a free one)
    #[argh(option, arg_name = "port")]
    pub udp_port: Option<u16>,

    /// a peer to dial, from the start and again whenever lost; may be repeated. With its node id before it, ID@HOST:PORT, nobody
    /// else is accepted there, and no link that is not encrypted: so nobody in the middle can stand in for it
    #[argh(option, arg_name = "host:port")]
    pub connect: Vec<String>,

    /// the user name (user-PORT)
    #[argh(option, arg_name = "name")]
    pub username: Option<String>,

    /// the active room (general)
    #[argh(option, default = "String::from(\"general\")", arg_name = "name")]
    pub room: String,

    /// a room to show beside the active one; may be repeated; * is all
    #[argh(option, arg_name = "room")]
    pub listen: Vec<String>,

    /// a room's passphrase: the file's first line; may be repeated
    #[argh(option, arg_name = "room=file")]
    pub room_key_file: Vec<String>,

    /// the same for a room with original nodes in it, whose encryption is weak
    #[argh(option, arg_name = "room=file")]
    pub original_key_file: Vec<String>,

    /// a folder to keep what outlives this run: who this node is, whom it blocks, which messages it has had; it is made if
    /// need be; without it nothing touches the disk
    #[argh(option, arg_name = "dir")]
    pub state: Option<String>,

    /// speak with nobody who does not encrypt links: refuse the original program, in text and in voice
    #[argh(switch)]
    pub secure: bool,

    /// make the network a private one: only who has the same key, the file's first line, can link. Implies --secure. The key
    /// can be in the environment instead: P2P_CHAT_NETWORK_KEY
    #[argh(option, arg_name = "file")]
    pub network_key_file: Option<String>,

    /// the host to tell others, behind a wildcard address or NAT
    #[argh(option, arg_name = "host")]
    pub advertise: Option<String>,

    /// be to a script what `set -e` is to a shell: end with code 5 at the first command that fails
    #[argh(switch)]
    pub check: bool,

    /// run on when stdin has ended
    #[argh(switch)]
    pub stay: bool,

    /// at the end, how long links may take for what is queued, in milliseconds (2000)
    #[argh(option, default = "2000", arg_name = "ms")]
    pub drain_ms: u64,

    /// for tests only: makes ids and times the same in every run
    #[argh(option, arg_name = "n")]
    pub seed: Option<u64>,

    /// events to show, separated by commas; one with - before it is hidden; `all` and `none` stand for all that can be
    #[argh(option, default = "String::new()", arg_name = "list")]
    pub events: String,

    /// what is logged on stderr: off, error, warn, info or debug (warn)
    #[argh(option, default = "LogLevel::Warn", from_str_fn(log_level), arg_name = "level")]
    pub log: LogLevel,

    /// links at once (64)
    #[argh(option, default = "MAX_LINKS", arg_name = "n")]
    pub max_links: usize,

    /// links at once of one address (with IPv6: one /64) other than loopback (8)
    #[argh(option, default = "MAX_LINKS_PER_ADDR", arg_name = "n")]
    pub max_links_per_addr: usize,

    /// messages a second that an author may say, with bursts of ten times as many (1000); 0: any number
    #[argh(option, default = "RATE", arg_name = "n")]
    pub rate: u32,

    /// bytes of messages kept for `history` (16777216)
    #[argh(option, default = "MAX_HISTORY_BYTES", arg_name = "n")]
    pub history_bytes: usize,

    /// the microphone of `voice_join`: default, none, a device (see the command `devices`), tone:HZ, FILE.wav (looping with
    /// `,loop` behind it; it begins after half a second) or pipe:PATH, raw 16-bit PCM at 16 kHz (default)
    #[argh(option, default = "String::from(\"default\")", arg_name = "what")]
    pub mic: String,

    /// the speaker, the same but for tone:HZ; FILE.wav is written (default)
    #[argh(option, default = "String::from(\"default\")", arg_name = "what")]
    pub speaker: String,

    /// for tests only: how much too fast the clocks of files and of no devices run, in millionths (0)
    #[argh(option, default = "0.0", arg_name = "n")]
    pub clock_ppm: f64,

    /// for tests only: a bad network for the datagrams that come in, a line a sender: loss=PERCENT, burst=DATAGRAMS (the mean
    /// length of a loss), delay=MS, reorder=PERCENT, duplicate=PERCENT and jitter= uniform:MS, normal:MS, wifi or
    /// storm:FROM-TO (in seconds), separated by commas
    #[argh(option, arg_name = "line")]
    pub line: Option<crate::line::Settings>,

    /// print the version
    #[argh(switch, short = 'V')]
    pub version: bool,

    /// what else to do
    #[argh(subcommand)]
    pub action: Option<Action>,
}

/// The program's other jobs.
#[derive(Debug, FromArgs)]
#[argh(subcommand)]
pub enum Action {
    /// Prints the schema.
    Schema(Schema),
    /// Compares two recordings.
    VoiceCompare(VoiceCompare),
    /// Says and hears a recording over a virtual line.
    VoiceLab(VoiceLab),
}

/// print the JSON Schema of the line protocol
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "schema")]
pub struct Schema {
    /// close the objects of the output too, for tests: what the schema does not name is an error
    #[argh(switch)]
    pub strict: bool,
}

/// measure what was heard against what was said: delay, level, gaps, likeness
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "voice-compare",
    note = "Both are WAV files of any rate. What was said is cut into pieces of 0.2 s; those with speech in them are looked for in what was
heard. It is the same speech if enough of them are found there.

Prints a JSON object; on a terminal a drawing and a few words instead.",
    error_code(0, "it is the same speech"),
    error_code(1, "it is not"),
    error_code(2, "usage"),
    error_code(3, "a file could not be read or written, or nothing is said in the first one")
)]
pub struct VoiceCompare {
    /// what was said: a WAV file
    #[argh(positional)]
    pub said: String,

    /// what was heard: a WAV file
    #[argh(positional)]
    pub heard: String,

    /// draw both as a picture
    #[argh(option, arg_name = "file.svg")]
    pub svg: Option<String>,

    /// the title of the picture
    #[argh(option, default = "String::from(\"What was said, and what was heard\")", arg_name = "text")]
    pub title: String,

    /// what is taken off the delay, in milliseconds: how much earlier the second recording began (0)
    #[argh(option, default = "0.0", arg_name = "ms")]
    pub offset: f64,

    /// about how much later it was heard, in milliseconds: for one voice among others, whose place loudness does not tell
    #[argh(option, arg_name = "ms")]
    pub near: Option<f64>,

    /// how many percent of the pieces must be found for it to be the same speech (80)
    #[argh(option, default = "80.0", arg_name = "percent")]
    pub found: f64,

    /// draw on stdout even if it is no terminal
    #[argh(switch)]
    pub draw: bool,

    /// print the JSON object even on a terminal
    #[argh(switch)]
    pub json: bool,
}

/// The job that the command line asks for.
#[derive(Debug)]
pub enum Asked {
    /// Print this on stdout and end well.
    Print(String),
    /// Print the schema.
    Schema(Schema),
    /// Compare two recordings.
    VoiceCompare(VoiceCompare),
    /// Say and hear a recording over a virtual line.
    VoiceLab(VoiceLab, Box<Setup>),
    /// Run a node.
    Run(Box<Run>),
}

/// A node's options, checked.
#[derive(Debug)]
pub struct Run {
    /// The options as given.
    pub options: Options,
    /// The TCP address to bind.
    pub tcp: SocketAddr,
    /// The UDP address to bind.
    pub udp: SocketAddr,
    /// Events to show or hide at first.
    pub events: Vec<(EventKind, bool)>,
    /// Rooms with a key.
    pub key_files: Vec<KeyFile>,
}

/// A room's passphrase.
#[derive(Debug)]
pub struct KeyFile {
    /// The room.
    pub room: String,
    /// For which scheme.
    pub scheme: Scheme,
    /// The file, whose first line it is.
    pub file: String,
}

/// Reads the command line. An error is a usage error, to be shown as it is.
pub fn read(args: &[String]) -> Result<Asked, String> {
    // argh knows `--name value`; people also write `--name=value`.
    let args: Vec<&str> = args
        .iter()
        .flat_map(|arg| match arg.split_once('=') {
            Some((name, value)) if name.starts_with("--") => vec![name, value],
            _ => vec![arg.as_str()],
        })
        .collect();
    let args = last_of_each(&args);
    let options = match Options::from_args(&["p2p-chat"], &args) {
        Ok(options) => options,
        Err(exit) if exit.status.is_ok() => return Ok(Asked::Print(wrap_usage(&exit.output))),
        Err(exit) => return Err(format!("{}\nRun p2p-chat --help for more.", exit.output.trim_end())),
    };
    if options.version {
        return Ok(Asked::Print(format!("p2p-chat {}\n", env!("CARGO_PKG_VERSION"))));
    }
    match options.action {
        Some(Action::Schema(schema)) => Ok(Asked::Schema(schema)),
        Some(Action::VoiceCompare(files))
            if ![Some(files.offset), files.near].into_iter().flatten().all(|ms| ms.abs() <= MAX_DELAY_MS) =>
        {
            Err("--offset and --near are an hour at most: -3600000 to 3600000".into())
        }
        Some(Action::VoiceCompare(files)) if !(0.0..=100.0).contains(&files.found) => {
            Err("--found is from 0 to 100".into())
        }
        Some(Action::VoiceCompare(files)) => Ok(Asked::VoiceCompare(files)),
        Some(Action::VoiceLab(asked)) => asked.setup().map(|setup| Asked::VoiceLab(asked, Box::new(setup))),
        None => check(options).map(|run| Asked::Run(Box::new(run))),
    }
}

/// Options that take no value.
const SWITCHES: [&str; 10] =
    ["--check", "--stay", "--secure", "--version", "--help", "-V", "-h", "--strict", "--draw", "--json"];
/// Options that may be repeated.
const REPEATED: [&str; 4] = ["--connect", "--listen", "--room-key-file", "--original-key-file"];

/// Of each option that is given more than once, leaves the last: so a script that calls the program can have defaults, and let its
/// own arguments follow.
fn last_of_each<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let mut given: Vec<&[&str]> = Vec::new();
    let mut left = args;
    while let Some(first) = left.first() {
        let length = match *first {
            // From here on nothing is an option.
            "--" => left.len(),
            name if name.starts_with('-') && !SWITCHES.contains(&name) => 2.min(left.len()),
            _ => 1,
        };
        let (this, rest) = left.split_at(length);
        if length == 2 && !REPEATED.contains(first) {
            given.retain(|it| it.len() < 2 || it.first() != Some(first));
        }
        given.push(this);
        left = rest;
    }
    given.concat()
}

/// Breaks the first line of a help text between its options: argh writes all of them into one.
fn wrap_usage(help: &str) -> String {
    /// Columns.
    const WIDTH: usize = 100;
    const INDENT: &str = "\n      ";
    let (usage, rest) = help.split_at(help.find('\n').unwrap_or(help.len()));
    let mut wrapped = String::new();
    let mut column = 0;
    for (n, option) in usage.split(" [").enumerate() {
        if n > 0 && column + option.len() + 2 > WIDTH {
            wrapped.push_str(INDENT);
            column = INDENT.len() - 1;
        }
        if n > 0 {
            wrapped.push_str(" [");
            column += 2;
        }
        wrapped.push_str(option);
        column += option.len();
    }
    wrapped + rest
}

fn check(options: Options) -> Result<Run, String> {
    let Some(port) = options.port else {
        return Err("--port is required; --port 0 takes a free one".into());
    };
    let udp_port = match (options.udp_port, port) {
        (Some(udp), _) => udp,
        (None, 0) => 0,
        (None, port) => port.checked_add(1000).ok_or_else(|| {
            format!("the UDP port would be {} (--port + 1000), over 65535: give --udp-port", u32::from(port) + 1000)
        })?,
    };
    let host = resolve(options.host.as_deref().unwrap_or("127.0.0.1"))?;
    let at = |port: u16| {
        let mut addr = host;
        addr.set_port(port);
        addr
    };
    let names = [Some(&options.room), options.username.as_ref()];
    for name in names.into_iter().flatten().chain(&options.listen) {
        if !(1..=MAX_NAME).contains(&name.len()) {
            return Err(format!("`{}`: a name has 1 to {MAX_NAME} bytes", name.escape_debug()));
        }
    }
    if options.listen.len() > MAX_ROOMS || options.connect.len() > MAX_TARGETS {
        return Err(format!("at most {MAX_ROOMS} --listen and {MAX_TARGETS} --connect"));
    }
    for addr in &options.connect {
        crate::link::addr::read_target(addr).map_err(|message| format!("--connect {message}"))?;
    }
    if !(1..=512).contains(&options.max_links) || options.max_links_per_addr == 0 {
        return Err("--max-links is from 1 to 512, --max-links-per-addr at least 1".into());
    }
    if options.rate > MAX_RATE {
        return Err(format!("--rate is at most {MAX_RATE}; 0 is no limit"));
    }
    if !(-100_000.0..=100_000.0).contains(&options.clock_ppm) {
        return Err("--clock-ppm is from -100000 to 100000".into());
    }
    for (name, result) in [
        ("--mic", options.mic.parse::<crate::audio::MicSpec>().map(drop)),
        ("--speaker", options.speaker.parse::<crate::audio::SpeakerSpec>().map(drop)),
    ] {
        result.map_err(|why| format!("{name}: {why}"))?;
    }
    if options.drain_ms > 600_000 {
        return Err("--drain-ms is at most 600000 (10 minutes)".into());
    }
    let events = read_events(&options.events)?;
    let key_files = read_key_files(&options)?;
    Ok(Run { tcp: at(port), udp: at(udp_port), events, key_files, options })
}

/// The most that --offset and --near may be, in ms: an hour, as long as a recording may be.
const MAX_DELAY_MS: f64 = 3_600_000.0;

/// A host's first address, with its zone if it has one; the port is 0.
pub fn resolve(host: &str) -> Result<SocketAddr, String> {
    let host = host.trim_matches(['[', ']']);
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok((ip, 0).into());
    }
    let found = (host, 0).to_socket_addrs().ok().and_then(|mut addrs| addrs.next());
    found.ok_or_else(|| format!("--host: no address for `{}`", host.escape_debug()))
}

fn read_events(list: &str) -> Result<Vec<(EventKind, bool)>, String> {
    let mut events = Vec::new();
    for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let (name, show) = name.strip_prefix('-').map_or((name, true), |name| (name, false));
        let hideable = EventKind::ALL.iter().copied().filter(|kind| kind.can_hide());
        match name {
            "all" => events.extend(hideable.map(|kind| (kind, show))),
            "none" => events.extend(hideable.map(|kind| (kind, false))),
            name => {
                let known = || EventKind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
                let kind = EventKind::from_name(name)
                    .ok_or_else(|| format!("--events: no event `{}`; there are {}", name.escape_debug(), known()))?;
                if !show && !kind.can_hide() {
                    return Err(format!("--events: `{name}` can't be hidden"));
                }
                events.push((kind, show));
            }
        }
    }
    Ok(events)
}

fn read_key_files(options: &Options) -> Result<Vec<KeyFile>, String> {
    let strong = options.room_key_file.iter().map(|it| (it, "--room-key-file", Scheme::Argon2id));
    let original = options.original_key_file.iter().map(|it| (it, "--original-key-file", Scheme::Original));
    let mut all: Vec<KeyFile> = Vec::new();
    for (given, option, scheme) in strong.chain(original) {
        let (room, file) = given
            .split_once('=')
            .filter(|(room, file)| (1..=MAX_NAME).contains(&room.len()) && !file.is_empty())
            .ok_or_else(|| format!("{option} takes ROOM=FILE"))?;
        if all.iter().any(|it| it.room == room) {
            return Err(format!("{option}: room `{}` has one key, of one scheme", room.escape_debug()));
        }
        all.push(KeyFile { room: room.to_owned(), scheme, file: file.to_owned() });
    }
    match all.len() {
        ..=MAX_ROOMS => Ok(all),
        _ => Err(format!("at most {MAX_ROOMS} rooms have a key")),
    }
}

fn log_level(name: &str) -> Result<LogLevel, String> {
    Ok(match name {
        "off" => LogLevel::Off,
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "info" => LogLevel::Info,
        "debug" => LogLevel::Debug,
        _ => return Err("a log level is off, error, warn, info or debug".into()),
    })
}

impl Options {
    /// How long links may take at the end.
    pub const fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_line(line: &str) -> Result<Asked, String> {
        read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn run(line: &str) -> Run {
        match read_line(line) {
            Ok(Asked::Run(run)) => *run,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_udp_port_follows_the_tcp_port() {
        for (line, udp) in [
            ("--port 5000", 6000),
            ("--port 0", 0),
            ("--port=5000 --udp-port=7", 7),
            ("--port 64535", 65535),
            ("--port 65535 --udp-port 1", 1),
        ] {
            assert_eq!(run(line).udp.port(), udp, "{line}");
        }
        assert!(read_line("--port 64536").expect_err("too high").contains("--udp-port"));
    }

    #[test]
    fn wrong_usage_says_what_to_do() {
        for (line, word) in [
            ("", "--port"),
            ("--port x", "--help"),
            ("--port 0 --nonsense", "--help"),
            ("--port 0 --connect here", "HOST:PORT"),
            ("--port 0 --connect http://here:80", "HOST:PORT"),
            ("--port 0 --connect a:80,b:80", "HOST:PORT"),
            ("--port 0 --events nope", "peer_up"),
            ("--port 0 --events -bye", "hidden"),
            ("--port 0 --room-key-file x", "ROOM=FILE"),
            ("--port 0 --original-key-file x=", "--original-key-file takes ROOM=FILE"),
            ("--port 0 --room-key-file x=y --original-key-file x=z", "one scheme"),
            ("--port 0 --log loud", "debug"),
            ("--port 0 --max-links 0", "--max-links"),
            ("--port 0 --host nowhere.invalid", "--host"),
            ("voice-lab a.wav", "out.wav"),
            ("voice-lab a.wav b.wav --loss 95", "loss"),
            ("voice-lab a.wav b.wav --loss NaN", "loss"),
            ("voice-lab a.wav b.wav --delay -1", "--delay"),
            ("voice-lab a.wav b.wav --delay 1e300", "--delay"),
            ("voice-lab a.wav b.wav --jitter much", "storm:FROM-TO"),
            ("voice-lab a.wav b.wav --codec mp3", "opus or pcm"),
            ("voice-lab a.wav b.wav --repeats 3", "auto, 0, 1 or 2"),
            ("voice-lab a.wav b.wav --warmup 1e9", "--warmup"),
            ("voice-lab a.wav b.wav --card-drift 20000", "--card-drift"),
        ] {
            let error = read_line(line).expect_err(line);
            assert!(error.contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn of_an_option_given_twice_the_last_counts() {
        let run = run(
            "--port 1 --username A --connect a:1 --check --port=2 --username B --connect b:1 --check --log off --log info",
        );
        assert_eq!((run.tcp.port(), run.options.username.as_deref()), (2, Some("B")));
        assert_eq!((run.options.connect, run.options.log), (vec!["a:1".to_owned(), "b:1".to_owned()], LogLevel::Info));
        assert!(read_line("--port 1 --port x").is_err());
        let Ok(Asked::VoiceCompare(compare)) = read_line("voice-compare --offset 1 a b --offset 2 --json --json")
        else {
            panic!("it compares")
        };
        assert_eq!((compare.offset, compare.said.as_str(), compare.heard.as_str()), (2.0, "a", "b"));
    }

    #[test]
    fn it_is_known_which_options_take_no_value_and_which_may_be_repeated() {
        for line in ["--help", "voice-lab --help", "voice-compare --help", "schema --help"] {
            let Ok(Asked::Print(help)) = read_line(line) else { panic!("no help") };
            let usage: Vec<&str> = help.lines().take_while(|line| !line.is_empty()).collect();
            for option in usage.join(" ").split('[').skip(1).filter_map(|part| part.split_once(']')).map(|(it, _)| it) {
                let (name, value) = option.split_once(' ').unwrap_or((option, ""));
                if name.starts_with('-') && name != "--" {
                    assert_eq!(SWITCHES.contains(&name), value.is_empty(), "{option}");
                    assert_eq!(REPEATED.contains(&name), value.ends_with("...>"), "{option}");
                }
            }
        }
    }

    #[test]
    fn events_are_shown_and_hidden() {
        assert_eq!(
            run("--port 0 --events forwarded,-peer_up").events,
            [(EventKind::Forwarded, true), (EventKind::PeerUp, false)]
        );
        assert!(run("--port 0 --events none,message").events.contains(&(EventKind::Message, true)));
    }

    #[test]
    fn help_and_version_are_for_people() {
        let Ok(Asked::Print(help)) = read_line("--help") else { panic!("no help") };
        let usage = help.lines().take_while(|line| !line.is_empty());
        assert!(usage.clone().count() > 1 && usage.clone().all(|line| line.len() <= 100), "{help}");
        assert!(help.contains("--connect 127.0.0.1:5000 --check"), "{help}");
        assert!(matches!(read_line("--version"), Ok(Asked::Print(version)) if version.starts_with("p2p-chat ")));
        assert!(matches!(read_line("schema --strict"), Ok(Asked::Schema(Schema { strict: true }))));
    }
}
