use std::fmt::Debug;

use serde_json::{Value, json};

use super::*;
use crate::api::arguments::WaitArgs;
use crate::api::event::{Dropped, Event, MicEnded};
use crate::base::Now;
use crate::outbox::{Outbox, Output};

const A: ClientId = ClientId(0);
const B: ClientId = ClientId(7);

/// Clients that wait for words, and what they are told.
struct Net {
    clients: Clients<&'static str>,
    now: Now,
    out: Outbox,
}

impl Net {
    fn new() -> Self {
        #[allow(clippy::disallowed_methods, reason = "any moment will do")]
        let now = Now { mono: Instant::now(), unix_ms: 0 };
        let mut clients = Clients::new(false);
        clients.add(B, &[]);
        clients.add(A, &[]);
        Self { clients, now, out: Outbox::default() }
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono += Duration::from_millis(ms);
    }

    fn event(&mut self, kind: EventKind, n: u64) {
        self.clients.emit_line(kind, format!(r#"{{"event":"{}","n":{n}}}"#, kind.name()), &mut self.out);
    }

    fn reply(&mut self, to: ClientId) {
        self.clients.reply(to, &head(1), Ok(&"done"), &mut self.out);
    }

    fn refuse(&mut self, to: ClientId, head: &Head) {
        self.clients.refuse(to, head, &ApiError::new(ErrorCode::Busy, "no"), &mut self.out);
    }

    /// The lines since the last look, each as its client's number and its text.
    fn lines(&mut self) -> Vec<(u32, String)> {
        let outputs = std::mem::take(&mut self.out.outputs);
        let line = |it| match it {
            Output::Line { client, text, .. } => Some((client.0, text.to_string())),
            _ => None,
        };
        outputs.into_iter().filter_map(line).collect()
    }

    fn wait(&mut self, client: ClientId, args: Value) -> Result<Wait, ApiError> {
        self.wait_after(client, args, None)
    }

    fn wait_after(&mut self, client: ClientId, args: Value, after: Option<Option<u64>>) -> Result<Wait, ApiError> {
        let args: WaitArgs = serde_json::from_value(args).expect("arguments");
        self.clients.wait(self.now, client, args, after, false)
    }

    /// The answer of a `wait`, if it is over.
    fn look(&mut self, client: ClientId, wait: &mut Wait) -> Option<Result<Value, ErrorCode>> {
        let answer = self.clients.go_on_waiting(self.now, client, wait)?;
        Some(answer.map(|it| serde_json::to_value(&it).expect("JSON")).map_err(|error| error.code))
    }

    /// The events that a new `wait` finds at once.
    fn find(&mut self, client: ClientId, args: Value) -> Vec<Value> {
        let mut wait = self.wait(client, args).expect("a wait");
        let answer = self.look(client, &mut wait).expect("over").expect("found");
        answer["events"].as_array().expect("events").clone()
    }
}

fn head(line: u64) -> Head {
    Head { line, id: None, cmd: None, may_fail: false }
}

fn code<T: Debug>(result: Result<T, ApiError>) -> ErrorCode {
    result.expect_err("refused").code
}

const MESSAGE: EventKind = EventKind::Message;
const RENAMED: EventKind = EventKind::Renamed;

#[test]
fn each_client_is_told_of_what_it_is_shown_in_order() {
    let mut net = Net::new();
    net.clients.choose_events(A, &serde_json::from_value(json!({"hide": ["message"]})).unwrap()).unwrap();
    net.event(MESSAGE, 1);
    net.event(RENAMED, 2);
    net.reply(B);
    let lines = net.lines();
    assert_eq!(lines.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [7, 0, 7, 7]);
    assert_eq!(lines[0].1, r#"{"event":"message","n":1}"#);
    assert_eq!(lines[3].1, r#"{"event":"reply","line":1,"ok":true,"result":"done"}"#);
    assert_eq!(net.clients.log_held().0, 2, "one log for both");
}

#[test]
fn numbers_are_matched_by_what_they_say() {
    let mut net = Net::new();
    let large = u64::MAX;
    let text =
        format!(r#"{{"event":"message","hops":1,"meta":{{"a":[2.0,-3,0.5]}},"large":{large},"via":null,"s":"1"}}"#);
    net.clients.emit_line(MESSAGE, text, &mut net.out);
    let mut fits = |fields: &str| {
        let fields: Value = serde_json::from_str(fields).expect(fields);
        let mut wait = net.wait(A, json!({ "event": "message", "match": fields, "timeout_ms": 0 })).expect("a wait");
        let found = net.look(A, &mut wait).expect("over").is_ok();
        // Back to the start.
        net.clients.all.iter_mut().for_each(|client| client.cursor = 0);
        found
    };
    for fields in [
        r#"{"hops":1.0}"#,
        r#"{"hops":1e0,"via":null}"#,
        r#"{"meta":{"a":[2,-3.0,5e-1]}}"#,
        r#"{"large":18446744073709551615}"#,
    ] {
        assert!(fits(fields), "{fields}");
    }
    for fields in [
        r#"{"hops":1.5}"#,
        r#"{"hops":"1"}"#,
        r#"{"s":1}"#,
        r#"{"hops":true}"#,
        r#"{"large":18446744073709551616}"#,
        r#"{"large":1e300}"#,
        r#"{"meta":{"a":[2,-3]}}"#,
        r#"{"meta":{}}"#,
        r#"{"none":null}"#,
        r#"{"hops":null}"#,
    ] {
        assert!(!fits(fields), "{fields}");
    }
    net.clients.mark(A, &serde_json::from_str("1").expect("an id"));
    assert!(net.clients.marked(A, &serde_json::from_str("1.0").expect("an id")).is_some());
    assert!(net.clients.marked(A, &serde_json::from_str("\"1\"").expect("an id")).is_none());
}

#[test]
fn an_event_that_nobody_is_shown_is_not_even_written() {
    let mut net = Net::new();
    net.clients.take_recheck();
    let cause = crate::base::DropCause::Duplicate;
    let dropped = Event::Dropped(Dropped { id: "1", room: None, from: "me", via: None, cause, to: Vec::new() });
    net.clients.emit(&dropped, &mut net.out);
    assert!(net.lines().is_empty() && net.clients.buffer.is_empty() && !net.clients.take_recheck());
    assert_eq!(net.clients.log_held(), (0, 0));
    assert_eq!(code(net.wait(A, json!({"event": "dropped"}))), ErrorCode::EventHidden);
    // Shown to one, it is logged for all.
    net.clients.choose_events(B, &serde_json::from_value(json!({"show": ["dropped"]})).unwrap()).unwrap();
    net.clients.emit(&dropped, &mut net.out);
    assert_eq!(net.lines().len(), 1);
    assert!(net.clients.take_recheck() && !net.clients.take_recheck());
    assert_eq!(
        net.find(A, json!({"event": "dropped"})),
        [json!({
            "event": "dropped", "id": "1", "room": null, "from": "me", "via": null, "cause": "duplicate"
        })]
    );
    assert_eq!(net.find(B, json!({"event": "dropped"}))[0]["seq"], 1);
}

#[test]
fn an_event_found_bears_the_number_of_the_clients_own_line() {
    let mut net = Net::new();
    net.clients.choose_events(A, &serde_json::from_value(json!({"hide": ["message"]})).unwrap()).unwrap();
    net.event(MESSAGE, 1);
    net.reply(B);
    net.event(RENAMED, 2);
    net.clients.set_lag_lines(B, 2);
    net.event(RENAMED, 3);
    let any = json!({"any": [{"event": "message"}, {"event": "renamed"}], "count": 3});
    let seqs = |events: Vec<Value>| events.iter().map(|it| it["seq"].as_u64()).collect::<Vec<_>>();
    assert_eq!(seqs(net.find(A, any.clone())), [None, Some(1), Some(2)]);
    assert_eq!(seqs(net.find(B, any)), [Some(1), Some(3), Some(6)]);
}

#[test]
fn the_number_stands_where_a_writer_puts_it() {
    let mut net = Net::new();
    net.clients.emit(&Event::MicEnded(MicEnded { room: "general" }), &mut net.out);
    let mut wait = net.wait(A, json!({"event": "mic_ended"})).expect("a wait");
    let answer = net.clients.go_on_waiting(net.now, A, &mut wait).expect("over").expect("found");
    assert_eq!(answer.events[0].get(), r#"{"event":"mic_ended","seq":1,"room":"general"}"#);
}

#[test]
fn choices_are_listed_and_some_lines_cannot_be_hidden() {
    let mut net = Net::new();
    let mut choose = |args| net.clients.choose_events(A, &serde_json::from_value(args).expect("arguments"));
    let chosen = choose(json!({"show": ["dropped"], "hide": ["speaking", "message"]})).expect("chosen");
    assert_eq!(chosen.hidden, [MESSAGE, EventKind::Speaking, EventKind::Forwarded]);
    assert_eq!(chosen.shown.len(), EventKind::ALL.len() - 3);
    assert!(chosen.shown.is_sorted());
    assert_eq!(code(choose(json!({"show": ["message"], "hide": ["bye"]}))), ErrorCode::BadValue);
    assert!(!net.clients.get(A).expect("a client").numbers.shows(MESSAGE), "nothing was changed");
}

#[test]
fn a_wait_goes_on_from_where_the_last_one_ended() {
    let mut net = Net::new();
    (1..=3).for_each(|n| net.event(MESSAGE, n));
    assert_eq!(net.find(A, json!({"event": "message"}))[0]["n"], 1);
    assert_eq!(net.find(A, json!({"event": "message", "match": {"n": 3}}))[0]["n"], 3);
    let mut wait = net.wait(A, json!({"event": "message"})).expect("a wait");
    assert_eq!(net.look(A, &mut wait), None);
    net.event(RENAMED, 4);
    assert_eq!(net.look(A, &mut wait), None);
    net.event(MESSAGE, 5);
    net.pass(20);
    let answer = net.look(A, &mut wait).expect("over").expect("found");
    assert_eq!(answer, json!({"events": [{"event": "message", "seq": 5, "n": 5}], "elapsed_ms": 20}));
    assert_eq!(net.find(B, json!({"event": "message"}))[0]["n"], 1, "the other's cursor has not moved");
}

#[test]
fn an_async_wait_moves_no_cursor() {
    let mut net = Net::new();
    net.event(MESSAGE, 1);
    let args: WaitArgs = serde_json::from_value(json!({"event": "message"})).expect("arguments");
    let mut wait = net.clients.wait(net.now, A, args, None, true).expect("a wait");
    assert!(matches!(net.look(A, &mut wait), Some(Ok(_))));
    assert_eq!(net.find(A, json!({"event": "message"}))[0]["n"], 1);
}

#[test]
fn all_gives_each_pattern_an_event_of_its_own() {
    let mut net = Net::new();
    // The first event fits both; the second the first alone: so the first must make way.
    let all = json!({"all": [{"event": "message"}, {"event": "message", "match": {"n": 1}}]});
    net.event(MESSAGE, 1);
    let mut wait = net.wait(A, all).expect("a wait");
    assert_eq!(net.look(A, &mut wait), None);
    net.event(RENAMED, 2);
    net.event(MESSAGE, 3);
    let answer = net.look(A, &mut wait).expect("over").expect("found");
    let found: Vec<u64> =
        answer["events"].as_array().expect("events").iter().map(|it| it["n"].as_u64().unwrap()).collect();
    assert_eq!(found, [1, 3]);
    // Of two that fit one pattern alone, the second is not needed.
    let all = json!({"all": [{"event": "message", "match": {"n": 4}}, {"event": "renamed"}]});
    let mut wait = net.wait(A, all).expect("a wait");
    (0..2).for_each(|_| net.event(MESSAGE, 4));
    assert_eq!(net.look(A, &mut wait), None);
    net.event(RENAMED, 5);
    let answer = net.look(A, &mut wait).expect("over").expect("found");
    assert_eq!(answer["events"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_wait_that_asks_for_too_much_or_nothing_is_refused() {
    let mut net = Net::new();
    let one = json!({"event": "message"});
    for (args, expected) in [
        (json!({}), ErrorCode::MissingField),
        (json!({"event": "message", "any": [one]}), ErrorCode::BadValue),
        (json!({"any": [one], "match": {"n": 1}}), ErrorCode::BadValue),
        (json!({"all": [one], "count": 2}), ErrorCode::BadValue),
        (json!({"any": []}), ErrorCode::BadValue),
        (json!({"all": vec![&one; 65]}), ErrorCode::BadValue),
        (json!({"event": "reply"}), ErrorCode::BadValue),
        (json!({"any": [{"event": "dropped"}, {"event": "bye"}]}), ErrorCode::EventHidden),
        (json!({"any": [{"event": "bye"}, {"event": "dropped"}]}), ErrorCode::BadValue),
    ] {
        assert_eq!(code(net.wait(A, args.clone())), expected, "{args}");
    }
    assert_eq!(code(net.wait_after(A, one.clone(), Some(None))), ErrorCode::NotFound);
    let mut args: WaitArgs = serde_json::from_value(one).expect("arguments");
    args.count = 0;
    assert_eq!(code(net.clients.wait(net.now, A, args, None, false)), ErrorCode::BadValue);
}

#[test]
fn a_wait_fails_at_its_deadline_unless_what_it_waits_for_is_there() {
    let mut net = Net::new();
    let args = json!({"event": "message", "timeout_ms": 50});
    let (mut late, mut in_time) = (net.wait(A, args.clone()).expect("a wait"), net.wait(A, args).expect("a wait"));
    assert_eq!(late.deadline(), net.now.mono + Duration::from_millis(50));
    net.pass(49);
    assert_eq!(net.look(A, &mut late), None);
    net.pass(1);
    assert_eq!(net.look(A, &mut late), Some(Err(ErrorCode::Timeout)));
    net.event(MESSAGE, 1);
    assert!(matches!(net.look(A, &mut in_time), Some(Ok(_))), "an event counts to the last");
}

#[test]
fn events_that_are_gone_are_said_to_be_gone_once() {
    let mut net = Net::new();
    net.clients.mark(A, &CommandId::Text("old".into()));
    let old = net.clients.marked(A, &CommandId::Text("old".into()));
    (0..=MAX_LOG_EVENTS as u64).for_each(|n| net.event(MESSAGE, n));
    let mut wait = net.wait_after(A, json!({"event": "message"}), Some(old)).expect("a wait");
    assert_eq!(net.look(A, &mut wait), Some(Err(ErrorCode::EventsGone)));
    let found = net.find(A, json!({"event": "message"}));
    assert_eq!((&found[0]["n"], &found[0]["seq"]), (&json!(1), &json!(2)), "the oldest that is kept");
    assert_eq!(net.clients.log_held().0, MAX_LOG_EVENTS);
}

#[test]
fn an_answer_leaves_out_what_does_not_fit_a_line() {
    let mut net = Net::new();
    let text = format!(r#"{{"event":"message","text":"{}"}}"#, "x".repeat(300 << 10));
    (0..5).for_each(|_| net.clients.emit_line(MESSAGE, text.as_str(), &mut net.out));
    let mut wait = net.wait(A, json!({"event": "message", "count": 4})).expect("a wait");
    let answer = net.look(A, &mut wait).expect("over").expect("found");
    assert_eq!((answer["events"].as_array().map(Vec::len), &answer["omitted"]), (Some(2), &json!(2)));
}

#[test]
fn marks_are_each_clients_own_the_newest_counts_and_the_oldest_go() {
    let mut net = Net::new();
    let id = |n: usize| CommandId::Number(n.into());
    net.clients.mark(A, &id(0));
    net.event(MESSAGE, 1);
    net.clients.mark(A, &id(1));
    net.event(MESSAGE, 2);
    net.clients.mark(A, &id(1));
    assert_eq!(net.clients.marked(A, &id(0)), Some(0));
    assert_eq!(net.clients.marked(A, &id(1)), Some(2));
    assert_eq!(net.clients.marked(A, &CommandId::Text("1".into())), None);
    assert_eq!(net.clients.marked(B, &id(1)), None);
    (2..MAX_MARKS).for_each(|n| net.clients.mark(A, &id(n)));
    assert_eq!(net.clients.marked(A, &id(0)), None);
    assert_eq!(net.clients.get(A).map(|it| it.marks.len()), Some(MAX_MARKS));
}

#[test]
fn a_client_that_comes_later_sees_what_comes_later() {
    let mut net = Net::new();
    net.event(MESSAGE, 1);
    let late = ClientId(3);
    net.clients.add(late, &[]);
    net.clients.add(late, &[(MESSAGE, false)]);
    net.event(MESSAGE, 2);
    let found = net.find(late, json!({"event": "message"}));
    assert_eq!((&found[0]["n"], &found[0]["seq"]), (&json!(2), &json!(1)));
    // An older event is found without a number: it was no line of this client.
    let mut wait = net.wait_after(late, json!({"event": "message"}), Some(Some(0))).expect("a wait");
    let answer = net.look(late, &mut wait).expect("over").expect("found");
    assert_eq!(answer["events"], json!([{"event": "message", "n": 1}]));
}

#[test]
fn warnings_of_one_kind_pause_for_a_minute_but_those_of_devices() {
    let mut net = Net::new();
    let mut warn = |ms, code| {
        net.pass(ms);
        net.clients.warn(net.now, code, "", &mut net.out);
        net.lines().len()
    };
    // Each is a line for either client.
    assert_eq!(warn(0, WarningCode::OpenFiles), 2);
    assert_eq!(warn(59_999, WarningCode::OpenFiles), 0);
    assert_eq!(warn(0, WarningCode::SlowPeer), 2);
    assert_eq!(warn(1, WarningCode::OpenFiles), 2);
    assert_eq!(warn(1, WarningCode::OpenFiles), 0);
    assert_eq!((warn(0, WarningCode::DeviceLost), warn(0, WarningCode::DeviceLost)), (2, 2));
}

#[test]
fn a_reply_repeats_the_head_of_its_line() {
    let mut net = Net::new();
    let head = Head { line: 9, id: Some(CommandId::Text("x".into())), cmd: Some("send".into()), may_fail: true };
    net.refuse(A, &head);
    let error = r#"{"code":"busy","message":"no","retryable":true}"#;
    let text = format!(r#"{{"event":"reply","line":9,"id":"x","cmd":"send","ok":false,"error":{error}}}"#);
    assert_eq!(net.lines(), [(0, text)]);
    net.reply(ClientId(99));
    assert!(net.lines().is_empty(), "there is no such client");
}

#[test]
fn with_check_a_failure_is_complained_of_and_noted_unless_it_may_be() {
    let mut net = Net::new();
    net.refuse(A, &head(1));
    assert!(!net.clients.take_check_failure() && net.out.outputs.len() == 1);
    net.clients.check = true;
    net.reply(A);
    net.refuse(A, &Head { may_fail: true, ..head(2) });
    assert!(!net.clients.take_check_failure());
    net.refuse(A, &Head { cmd: Some("send".into()), ..head(3) });
    assert!(net.clients.take_check_failure() && !net.clients.take_check_failure());
    let complaints = net.out.outputs.iter().filter_map(|it| match it {
        Output::Complain(text) => Some(text.as_str()),
        _ => None,
    });
    assert_eq!(complaints.collect::<Vec<_>>(), ["line 2: no", "line 3 (send): no"]);
}

#[test]
fn pending_commands_take_turns_and_hold_up_their_own_client_alone() {
    let mut net = Net::new();
    let pending = |what| Pending { head: head(1), started: net.now.mono, deadline: None, what };
    let all =
        [(A, Slot::Blocking, "a"), (A, Slot::Aside, "b"), (A, Slot::Aside, "c"), (ClientId(99), Slot::Aside, "d")];
    let all = all.map(|(client, slot, what)| (client, slot, pending(what)));
    let clients = &mut net.clients;
    all.into_iter().for_each(|(client, slot, it)| clients.put(client, slot, it));
    assert_eq!((clients.is_free(A), clients.is_free(B), clients.is_free(ClientId(99))), (false, true, false));
    assert_eq!((clients.waiting(), clients.aside_count(A), clients.pending_count()), (vec![A], 2, 3));
    let first = clients.take(A, Slot::Aside).expect("pending");
    assert_eq!(first.what, "b");
    clients.put(A, Slot::Aside, first);
    assert_eq!(clients.pending_mut().map(|it| it.what).collect::<Vec<_>>(), ["a", "c", "b"]);
    clients.end_input(A);
    assert!(clients.take(A, Slot::Blocking).is_some() && clients.take(A, Slot::Blocking).is_none());
    assert!(!clients.is_done(A) && !clients.is_free(A), "two are still waiting, and there is no next line");
    while clients.take(A, Slot::Aside).is_some() {}
    assert!(clients.is_done(A) && !clients.is_done(B));
}

#[test]
fn the_earliest_deadline_has_pending_commands_looked_at() {
    let mut net = Net::new();
    let start = net.now.mono;
    assert_eq!(net.clients.deadline(), None);
    for (client, slot, ms) in [(A, Slot::Blocking, 30), (B, Slot::Aside, 20)] {
        let deadline = Some(start + Duration::from_millis(ms));
        net.clients.put(client, slot, Pending { head: head(1), started: start, deadline, what: "" });
    }
    assert_eq!(net.clients.deadline(), Some(start + Duration::from_millis(20)));
    net.pass(19);
    net.clients.on_time(net.now);
    assert!(!net.clients.take_recheck());
    net.pass(1);
    net.clients.on_time(net.now);
    assert!(net.clients.take_recheck());
}

#[test]
fn an_interrupt_answers_by_client_what_blocks_first_then_the_others_in_turn() {
    let mut net = Net::new();
    net.clients.check = true;
    for (client, slot, line) in [(B, Slot::Aside, 4), (A, Slot::Aside, 2), (A, Slot::Aside, 3), (A, Slot::Blocking, 1)]
    {
        let head = Head { may_fail: true, ..head(line) };
        net.clients.put(client, slot, Pending { head, started: net.now.mono, deadline: None, what: "" });
    }
    assert!(!net.clients.interrupt(&mut net.out), "all of them may fail");
    assert!(!net.clients.take_check_failure());
    let lines: Vec<(u32, Value)> =
        net.lines().into_iter().map(|(to, line)| (to, serde_json::from_str::<Value>(&line).expect("JSON"))).collect();
    let order: Vec<(u32, u64)> = lines.iter().map(|(to, line)| (*to, line["line"].as_u64().expect("a line"))).collect();
    assert_eq!(order, [(0, 1), (0, 2), (0, 3), (7, 4)]);
    assert!(lines.iter().all(|(_, line)| line["error"]["code"] == "interrupted"));
    assert_eq!(net.clients.pending_count(), 0);
    net.clients.put(A, Slot::Aside, Pending { head: head(5), started: net.now.mono, deadline: None, what: "" });
    assert!(net.clients.interrupt(&mut net.out));
}

#[test]
fn an_idle_client_takes_little_memory() {
    let mut net = Net::new();
    (0..2 * MAX_LOG_EVENTS as u64).for_each(|n| net.event(MESSAGE, n));
    let client = net.clients.get(A).expect("a client");
    let bytes = size_of::<Client<[u8; 128]>>() + client.numbers.bytes();
    assert!(client.marks.capacity() == 0 && client.aside.capacity() == 0);
    assert!(bytes < 4 << 10, "{bytes} bytes");
}
