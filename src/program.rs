//! The program around the node: what the command line asks for, from start to exit code.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::api::EventKind;
use crate::api::event::{Event, Fatal, FatalCode, WarningCode};
use crate::api::line::{printable, to_json};
use crate::api::schema::schema;
use crate::driver::keys::Passphrase;
use crate::driver::state::{self, Opened, Store};
use crate::driver::{self, ForTests, Sockets, stdio};
use crate::node::Config;
use crate::options::{self, Asked, KeyFile, Options, Run};
use crate::wire::noise::NetworkKey;
use crate::wire::room_key::Scheme;

mod keys;

use keys::Secret;

/// The exit code of an error inside.
const EXIT_INTERNAL: u8 = 1;
/// The exit code of wrong usage.
const EXIT_USAGE: u8 = 2;
/// The exit code when an address can't be bound, or a file or device not be opened.
const EXIT_CANNOT_START: u8 = 3;
/// The exit code when the state folder can't be used.
const EXIT_STATE: u8 = 4;

/// Connections that may wait to be accepted, of which the library asks for 128. Whom there is no room for is not told: its
/// system tries again a second later. A guess: what strangers can do in 0.1 s.
const BACKLOG: i32 = 1024;

/// An obstacle that keeps a node from starting.
#[derive(Debug)]
struct Failure {
    code: FatalCode,
    message: String,
    exit: u8,
}

/// Does what the command line asks for. Gives the exit code.
pub fn run(args: &[String]) -> u8 {
    match options::read(args) {
        Err(message) => complain(&message, EXIT_USAGE),
        Ok(Asked::Print(text)) => print(text.trim_end()),
        Ok(Asked::Schema(wanted)) => print(&format!("{:#}", schema(wanted.strict))),
        Ok(Asked::VoiceCompare(files)) => match crate::compare::run(&files, io::stdout().is_terminal()) {
            Err(message) => complain(&message, EXIT_CANNOT_START),
            Ok((text, same)) => match print(text.trim_end()) {
                0 => u8::from(!same),
                exit => exit,
            },
        },
        Ok(Asked::VoiceLab(asked, setup)) => {
            let for_people = io::stdout().is_terminal() && !asked.json;
            match crate::lab::run(&asked, &setup, for_people, show_progress()) {
                Err(message) => complain(&message, EXIT_CANNOT_START),
                Ok(text) => print(&text),
            }
        }
        Ok(Asked::Run(run)) => run_node(*run),
    }
}

/// Shows how much of a long work is done, if stderr is a terminal.
fn show_progress() -> impl FnMut(f64) {
    let shown = io::stderr().is_terminal();
    move |done| {
        if shown {
            // The line is written over, and in the end cleared.
            let percent = (done * 100.0) as u32;
            let _ = match done < 1.0 {
                true => write!(io::stderr(), "\r{percent} %"),
                false => write!(io::stderr(), "\r\x1b[K"),
            };
        }
    }
}

fn complain(message: &str, exit: u8) -> u8 {
    let _ = writeln!(io::stderr(), "p2p-chat: {}", printable_lines(message));
    exit
}

fn print(text: &str) -> u8 {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => 0,
        Err(_) => crate::node::EXIT_OUTPUT_CLOSED,
    }
}

fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

/// Runs a node between the threads of stdio. Whatever goes wrong is a `fatal` line.
fn run_node(run: Run) -> u8 {
    let (stdio, threads) = match stdio::start(run.options.stay) {
        Ok(started) => started,
        Err(e) => return complain(&format!("can't start: {e}"), EXIT_CANNOT_START),
    };
    let (output, errors) = (stdio.output.clone(), stdio.errors.clone());
    let result = catch_unwind(AssertUnwindSafe(|| {
        // Before anything is written. Where it can't be had, such a write ends the process, as it would anyway.
        let _ = driver::signals::survive_file_limit();
        let for_tests = ForTests { clock_ppm: run.options.clock_ppm, line: run.options.line };
        let (sockets, config, store, warnings) = prepare(run)?;
        driver::run(config, sockets, stdio, store, warnings, for_tests).map_err(|e| internal(&e.to_string()))
    }));
    let exit = match result.unwrap_or_else(|_| Err(internal("a bug: please report what stderr says above"))) {
        Ok(exit) => exit,
        Err(failure) => {
            // Whatever was to be saved: the last line is to be read.
            output.release();
            let fatal = Event::Fatal(Fatal { code: failure.code, message: &failure.message });
            output.with(|lines| lines.push(EventKind::Fatal, to_json(&fatal).into(), 0));
            errors.say(&failure.message);
            failure.exit
        }
    };
    drop(errors);
    if !threads.finish() && exit == 0 {
        return crate::node::EXIT_OUTPUT_CLOSED;
    }
    exit
}

fn internal(message: &str) -> Failure {
    Failure { code: FatalCode::Internal, message: message.to_owned(), exit: EXIT_INTERNAL }
}

type Prepared = (Sockets, Config, Option<Store>, Vec<(WarningCode, String)>);

/// Binds the addresses, reads the files.
fn prepare(run: Run) -> Result<Prepared, Failure> {
    let (max_links, warning) = driver::limits::fit_links(run.options.max_links);
    driver::limits::check_files().map_err(|message| Failure {
        code: FatalCode::OpenFiles,
        message,
        exit: EXIT_CANNOT_START,
    })?;
    let tcp = TcpListener::bind(run.tcp).map_err(|e| cannot_bind(run.tcp, "TCP", "--port", &e))?;
    let udp = UdpSocket::bind(run.udp).map_err(|e| cannot_bind(run.udp, "UDP", "--udp-port", &e))?;
    // As many as the system grants.
    let _ = socket2::SockRef::from(&tcp).listen(BACKLOG);
    let sockets = Sockets { tcp, udp, follows_links: run.options.host.is_none() };
    let (tcp, udp) = driver::bound(&sockets).map_err(|e| internal(&e.to_string()))?;
    let (udp_host, no_address) = voice_host(udp, run.options.advertise.as_deref())?;
    check_audio(&run.options)?;
    let mut odd = Vec::new();
    let passphrases = run.key_files.iter().map(|it| read_passphrase(it, &mut odd)).collect::<Result<Vec<_>, _>>()?;
    let keys = driver::keys::derive_all(&passphrases);
    let network_key = network_key(&run.options, &mut odd)?;
    // One warning for all: of a kind, only one is given a minute.
    let odd = (!odd.is_empty()).then(|| (WarningCode::OddKey, odd.join("; ")));
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy).map_err(|e| internal(&format!("no random numbers: {e}")))?;
    let (store, identity, rows, warnings) = match run.options.state.as_deref().map(open_state).transpose()? {
        Some(Opened { store, secret, rows, warnings }) => (Some(store), Some(secret), Some(rows), warnings),
        None => (None, None, None, Vec::new()),
    };
    let drain = run.options.drain();
    let options = run.options;
    let config = Config {
        username: options.username.unwrap_or_else(|| format!("user-{}", tcp.port())),
        room: options.room,
        listen: options.listen,
        tcp,
        udp,
        advertise: options.advertise,
        udp_host,
        mic: options.mic,
        speaker: options.speaker,
        secure: options.secure,
        network_key,
        connect: options.connect,
        stay: options.stay,
        check: options.check,
        drain,
        seed: options.seed,
        entropy,
        identity,
        state: rows,
        max_links,
        max_links_per_addr: options.max_links_per_addr,
        rate: options.rate,
        history_bytes: options.history_bytes,
        events: run.events,
        keys,
        log: options.log,
    };
    Ok((sockets, config, store, warnings.into_iter().chain(warning).chain(no_address).chain(odd).collect()))
}

fn open_state(path: &str) -> Result<Opened, Failure> {
    state::open(Path::new(path)).map_err(|refused| Failure {
        code: refused.code,
        message: refused.message,
        exit: EXIT_STATE,
    })
}

fn cannot_bind(addr: SocketAddr, what: &str, option: &str, e: &io::Error) -> Failure {
    let (code, message) = match e.kind() {
        ErrorKind::AddrInUse => {
            (FatalCode::AddressInUse, format!("{what} {addr} is in use: choose another {option}, or 0 for a free one"))
        }
        _ => (FatalCode::CannotBind, format!("{what} {addr} can't be bound: {e}")),
    };
    Failure { code, message, exit: EXIT_CANNOT_START }
}

/// The address that others are told to send voice to: the one advertised, the one bound, or, with a wildcard address, the
/// one that this machine would be seen by from outside. A name that is not known here may well be known to others, who
/// dial it; but voice needs an address, and so there is a warning.
fn voice_host(udp: SocketAddr, advertise: Option<&str>) -> Result<(IpAddr, Option<(WarningCode, String)>), Failure> {
    let mut warning = None;
    if let Some(host) = advertise {
        match options::resolve(host) {
            Ok(addr) => return Ok((addr.ip(), None)),
            Err(_) => {
                let host = host.escape_debug();
                let message =
                    format!("--advertise: no address for `{host}` is known here: voice may not reach this node");
                warning = Some((WarningCode::NoVoiceAddress, message));
            }
        }
    }
    if !udp.ip().is_unspecified() {
        return Ok((udp.ip(), warning));
    }
    // By the way to an address of documentation (RFC 5737 and 3849).
    let outside = if udp.is_ipv4() { "192.0.2.1:9" } else { "[2001:db8::1]:9" };
    let found = outside.parse().ok().and_then(driver::local_ip_to);
    // No way to anywhere: then others are on this machine.
    let loopback = if udp.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    Ok((found.filter(|ip| !ip.is_unspecified()).unwrap_or(loopback), warning))
}

/// Whether the microphone and the speaker that the command line names could be opened: better said now than when a
/// `voice_join` needs them.
fn check_audio(options: &Options) -> Result<(), Failure> {
    let fail = |why: String| Failure { code: FatalCode::CannotOpen, message: why, exit: EXIT_CANNOT_START };
    let mic = options.mic.parse().map_err(|why| fail(format!("--mic: {why}")))?;
    let speaker = options.speaker.parse().map_err(|why| fail(format!("--speaker: {why}")))?;
    crate::audio::check(&mic, &speaker).map_err(fail)
}

/// The environment variable that may hold a network's key.
const NETWORK_KEY: &str = "P2P_CHAT_NETWORK_KEY";

/// Reads the network's key, if there is one: the first line of a file, or of the environment variable. Notes in `odd` what is
/// odd about it.
fn network_key(options: &Options, odd: &mut Vec<String>) -> Result<Option<NetworkKey>, Failure> {
    let (what, secret) = match (&options.network_key_file, std::env::var(NETWORK_KEY)) {
        (Some(file), _) => (format!("--network-key-file {file}"), Secret::read(file)),
        (None, Ok(text)) => (
            NETWORK_KEY.to_owned(),
            Secret::of(&text).ok_or_else(|| "its first line is empty; it holds the key".to_owned()),
        ),
        (None, Err(std::env::VarError::NotPresent)) => return Ok(None),
        (None, Err(_)) => (NETWORK_KEY.to_owned(), Err("it is not UTF-8".to_owned())),
    };
    // An empty key would be one that everybody knows.
    let secret = noted(&what, secret, odd)?;
    let key = NetworkKey::derive(&secret).ok_or_else(|| internal("no memory to derive the network's key"))?;
    Ok(Some(key))
}

/// Reads a room's passphrase, the first line of a file. Notes in `odd` what is odd about it.
fn read_passphrase(it: &KeyFile, odd: &mut Vec<String>) -> Result<Passphrase, Failure> {
    let KeyFile { room, scheme, file } = it;
    let option = if *scheme == Scheme::Original { "--original-key-file" } else { "--room-key-file" };
    let text = noted(&format!("{option} {file}"), Secret::read(file), odd)?;
    Ok(Passphrase { room: room.clone(), scheme: *scheme, text })
}

/// The secret that was read, with what is odd about it noted.
fn noted(what: &str, secret: Result<Secret, String>, odd: &mut Vec<String>) -> Result<String, Failure> {
    let fail = |why: String| Failure {
        code: FatalCode::CannotRead,
        message: format!("{what}: {why}"),
        exit: EXIT_CANNOT_START,
    };
    let secret = secret.map_err(fail)?;
    odd.extend(secret.odd.map(|how| format!("{what}: the key {how}")));
    Ok(secret.text)
}
