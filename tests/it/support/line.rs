//! What every line of output must be: [`Rules`] sees each line that a node prints, in any test.

use std::collections::HashSet;

use boon::{Compiler, ErrorKind, SchemaIndex, Schemas, ValidationError};
use serde_json::Value;

use super::is_control;

const MAX_LINE: usize = 1 << 20;

/// What must hold from one line to the next.
#[derive(Default)]
pub struct Rules {
    seq: u64,
    last: Option<String>,
    /// Author and id of each message shown.
    shown: HashSet<[String; 2]>,
}

impl Rules {
    /// Checks a line (without its newline) and gives its object.
    pub fn check(&mut self, bytes: &[u8]) -> Result<Value, String> {
        let line = std::str::from_utf8(bytes).map_err(|e| format!("not UTF-8: {e}"))?;
        if line.len() > MAX_LINE {
            return Err(format!("{} bytes are too many", line.len()));
        }
        if let Some(c) = line.chars().find(|&c| is_control(c)) {
            return Err(format!("a raw {} in {line}", c.escape_unicode()));
        }
        let value: Value = serde_json::from_str(line).map_err(|e| format!("not JSON: {e}: {line}"))?;
        is_line(&value)?;
        self.order(&value).map_err(|e| format!("{e}: {line}"))?;
        Ok(value)
    }

    fn order(&mut self, value: &Value) -> Result<(), String> {
        let event = value["event"].as_str().unwrap_or_default();
        match (self.last.as_deref(), event) {
            (None, "ready" | "fatal") => {}
            (None, _) => return Err("the first line is neither ready nor fatal".into()),
            (Some(last @ ("bye" | "fatal")), _) => return Err(format!("a line after {last}")),
            (Some(_), "ready") => return Err("ready twice".into()),
            (Some(_), _) => {}
        }
        let lost = if event == "lagged" { value["dropped"].as_u64().unwrap_or_default() } else { 0 };
        let seq = value["seq"].as_u64().unwrap_or_default();
        if seq != self.seq + lost + 1 {
            return Err(format!("seq {seq} after {}", self.seq));
        }
        self.seq = seq;
        self.last = Some(event.to_owned());
        let name = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        if event == "message" && !self.shown.insert([name("from"), name("id")]) {
            return Err("a message shown twice".into());
        }
        Ok(())
    }
}

/// Whether `value` is what the protocol's strict schema says of a line of output.
pub fn is_line(value: &Value) -> Result<(), String> {
    COMPILED.with(|it| it.validate(it.line, value))
}

/// Whether `value` is what the protocol's schema says of a line of input.
pub fn is_command(value: &Value) -> Result<(), String> {
    COMPILED.with(|it| it.validate(it.command, value))
}

thread_local! {
    static COMPILED: Compiled = Compiled::new();
}

struct Compiled {
    schemas: Schemas,
    line: SchemaIndex,
    command: SchemaIndex,
}

impl Compiled {
    fn new() -> Self {
        let mut compiler = Compiler::new();
        compiler.add_resource(URL, p2p_chat::api::schema::schema(true)).expect("a JSON Schema");
        let mut schemas = Schemas::new();
        let mut compile = |definition| {
            let place = format!("{URL}#/$defs/{definition}");
            compiler.compile(&place, &mut schemas).unwrap_or_else(|e| panic!("{definition}: {e:#}"))
        };
        let (line, command) = (compile("Line"), compile("Command"));
        Self { schemas, line, command }
    }

    fn validate(&self, index: SchemaIndex, value: &Value) -> Result<(), String> {
        self.schemas.validate(value, index).map_err(|e| format!("against the schema: {value}\n{:#}", nearest(&e)))
    }
}

/// Of an error of forty alternatives, what is wrong with the one that fits best.
fn nearest<'a, 's, 'v>(error: &'a ValidationError<'s, 'v>) -> &'a ValidationError<'s, 'v> {
    let best = error.causes.iter().min_by_key(|cause| leaves(cause));
    match (&error.kind, best) {
        (ErrorKind::OneOf(None), Some(best)) => best,
        (_, Some(_)) if error.causes.len() == 1 => nearest(&error.causes[0]),
        _ => error,
    }
}

fn leaves(error: &ValidationError<'_, '_>) -> usize {
    error.causes.iter().map(leaves).sum::<usize>().max(1)
}

const URL: &str = "https://p2p-chat.invalid/schema.json";
