//! The program in the shell: what a person would try first, with real pipes.

use std::process::{Child, Command, Output, Stdio};

use serde_json::json;

use crate::support::{Node, PROGRAM, RawListener, RawPeer, TempDir};

/// Runs a script in which `p2p-chat` is the program, and the words are `$1` and so on.
#[track_caller]
fn sh(script: &str, words: &[&str]) -> Output {
    start(script, words).wait_with_output().expect("it ran")
}

fn start(script: &str, words: &[&str]) -> Child {
    shell(script, words).spawn().expect("a shell")
}

fn shell(script: &str, words: &[&str]) -> Command {
    let script = format!("p2p_chat='{PROGRAM}'\n{}", script.replace("p2p-chat", "\"$p2p_chat\""));
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]).args(words);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

const SEND: &str =
    r#"echo '{"cmd":"send","text":"hi","min_links":1}' | p2p-chat --port 0 --connect "$1" --username Alice --check"#;

#[test]
fn one_line_sends_a_message() {
    let mut bob = Node::named("Bob", &[]);
    let output = sh(SEND, &[&bob.addr()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(bob.hears("hi")["username"], "Alice");
    let printed = stdout(&output);
    assert!(printed.starts_with(r#"{"event":"ready","#) && printed.trim_end().ends_with('}'), "{printed}");
    assert!(printed.lines().last().unwrap().starts_with(r#"{"event":"bye","#), "{printed}");
}

#[test]
fn one_line_crosses_hops_before_it_ends() {
    let mut nodes = ["A", "B", "C"].map(|name| Node::named(name, &[]));
    let [a, b, c] = &mut nodes;
    a.link(b);
    b.link(c);
    assert_eq!(sh(SEND, &[&a.addr()]).status.code(), Some(0));
    assert_eq!(c.hears("hi")["hops"], 3);
}

#[test]
fn one_line_reaches_the_original() {
    let host = RawListener::new();
    let child = start(SEND, &[&host.addr()]);
    let mut bob = host.accept("127.0.0.1:5001", "Bob");
    bob.hears("hi");
    bob.expect_closed();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
}

#[test]
fn one_line_says_by_its_exit_code_that_it_could_not() {
    let nobody = RawListener::new().addr();
    let script = SEND.replace("\"min_links\":1", "\"min_links\":1,\"timeout_ms\":50");
    let output = sh(&script, &[&nobody]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(!output.stderr.is_empty(), "cron is told why");
}

#[test]
fn a_script_waits_for_others_and_acts() {
    let script = r#"p2p-chat --port 0 --connect "$1" --connect "$2" --username Alice --check <<'END'
# Who is there?
{"cmd":"wait","all":[{"event":"peer_up","match":{"username":"Bob"}},{"event":"peer_up","match":{"username":"Carol"}}]}
{"cmd":"send","text":"Deploy?","id":"ask"}
{"cmd":"wait","event":"message","match":{"username":"Bob","text":"yes"},"after":"ask","timeout_ms":60000}
{"cmd":"send","text":"deploying"}
END"#;
    let [mut bob, mut carol] = ["Bob", "Carol"].map(|name| Node::named(name, &[]));
    let alice = start(script, &[&bob.addr(), &carol.addr()]);
    bob.hears("Deploy?");
    carol.hears("Deploy?");
    carol.say("no");
    bob.say("yes");
    for node in [&mut bob, &mut carol] {
        node.hears("deploying");
    }
    assert_eq!(alice.wait_with_output().unwrap().status.code(), Some(0));
}

#[test]
fn a_loop_in_the_shell_is_a_bot() {
    let dir = TempDir::new();
    let script = r#"mkfifo "$2/in" && p2p-chat --port 0 --connect "$1" --username Bot <"$2/in" | {
        exec 3>"$2/in"
        while read -r line; do
            case $line in
                *'"event":"message"'*'"text":"ping"'*) echo '{"cmd":"send","text":"pong"}' >&3 ;;
                *'"event":"message"'*'"text":"leave"'*) echo '{"cmd":"exit"}' >&3 ;;
                *'"event":"bye"'*) break ;;
            esac
        done
    }"#;
    let mut alice = Node::named("Alice", &[]);
    let bot = start(script, &[&alice.addr(), &dir.path("")]);
    alice.await_event("peer_up", json!({ "username": "Bot" }));
    for _ in 0..3 {
        alice.say("ping");
        alice.hears("pong");
    }
    alice.say("leave");
    alice.await_event("peer_down", json!({ "username": "Bot", "code": "closed" }));
    assert_eq!(bot.wait_with_output().unwrap().status.code(), Some(0));
}

#[test]
fn the_reader_may_leave_early() {
    let dir = TempDir::new();
    let script = r#"{ p2p-chat --port 0 --stay </dev/null; echo $? >"$1"; } | head -n 1"#;
    let file = dir.path("code");
    let output = sh(script, &[&file]);
    assert_eq!(stdout(&output).lines().count(), 1);
    assert!(stdout(&output).starts_with(r#"{"event":"ready","#));
    assert_eq!(std::fs::read_to_string(file).unwrap().trim(), "6");
}

#[test]
fn two_rooms_are_bridged_by_a_pipe() {
    // One node's messages, made commands by sed, are another's input.
    let script = r#"p2p-chat --port 0 --connect "$1" --username Ear |
        sed -un 's/.*"event":"message".*"text":"\([^"]*\)".*/{"cmd":"send","text":"\1","min_links":1}/p' |
        p2p-chat --port 0 --connect "$2" --username Mouth --check"#;
    let [mut here, mut there] = ["Here", "There"].map(|name| Node::named(name, &[]));
    let mut bridge = shell(script, &[&here.addr(), &there.addr()]).stdin(Stdio::piped()).spawn().expect("a shell");
    here.await_event("peer_up", json!({ "username": "Ear" }));
    here.say("over the bridge");
    assert_eq!(there.hears("over the bridge")["username"], "Mouth");
    // The end of the first one's input is the end of them all, one after another.
    drop(bridge.stdin.take());
    assert_eq!(bridge.wait_with_output().unwrap().status.code(), Some(0));
}

#[test]
fn output_can_be_filtered_line_by_line() {
    let script = r#"printf '%s\n' '{"cmd":"send","text":"one"}' nonsense '{"cmd":"room"}' |
        p2p-chat --port 0 | grep -c '"event":"reply"'"#;
    assert_eq!(stdout(&sh(script, &[])).trim(), "3");
}

#[test]
fn a_node_is_a_peer_of_whoever_is_piped_to_it() {
    let mut node = Node::named("Alice", &["--stay"]);
    node.close_stdin();
    let mut bob = RawPeer::dial(&node.addr(), "127.0.0.1:5001", "Bob");
    assert_eq!(sh(SEND, &[&node.addr()]).status.code(), Some(0));
    bob.hears("hi");
    node.hears("hi");
}
