//! The JSON Schema (draft 2020-12) of the line protocol, made from the types that parse and print it.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::PROTOCOL;
use super::command::{COMMANDS, CommandInfo};
use super::error::ApiError;
use super::event;
use super::id::CommandId;
use super::kind::EventKind;

/// The whole protocol: `$defs.Command` is a line of input, `$defs.Line` a line of output; a document is valid if it is
/// either. Each command and each event carries an example.
///
/// Input is closed (an unknown field is an error), output is open (version 1 only ever adds), unless `strict`, which
/// closes it too: then a test sees a field that the schema does not name.
pub fn schema(strict: bool) -> Value {
    let mut schemas = SchemaSettings::draft2020_12().into_generator();
    let commands: Vec<Value> = COMMANDS.iter().map(|info| command(info, &mut schemas)).collect();
    accept_null(schemas.definitions_mut());
    let mut lines = events(&mut schemas, strict);
    lines.extend(replies(&mut schemas, strict));
    let mut defs = schemas.take_definitions(true);
    defs.insert("Command".into(), json!({ "description": "a line of input", "oneOf": commands }));
    defs.insert("Line".into(), json!({ "description": "a line of output", "oneOf": lines }));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("The line protocol of p2p-chat, version {PROTOCOL}"),
        "description": "Commands go in and events come out, a JSON object a line.",
        "anyOf": [{ "$ref": "#/$defs/Command" }, { "$ref": "#/$defs/Line" }],
        "$defs": defs,
    })
}

/// The arguments' schema of a command, with what every command may have beside them.
fn command(info: &CommandInfo, schemas: &mut SchemaGenerator) -> Value {
    let (arguments, _) = (info.schemas)(schemas);
    json!({
        "description": info.summary,
        "$ref": reference(&arguments, schemas),
        "type": "object",
        "properties": {
            "cmd": { "const": info.name },
            "id": schemas.subschema_for::<Option<CommandId>>(),
            "async": { "type": ["boolean", "null"], "description": "answered out of order, when it is done" },
            "may_fail": { "type": ["boolean", "null"], "description": "its failure does not count for `--check`" },
        },
        "required": ["cmd"],
        "unevaluatedProperties": false,
        "examples": [example(info.example)],
    })
}

/// Lets every argument that may be left out be null, too.
fn accept_null(definitions: &mut Map<String, Value>) {
    for definition in definitions.values_mut() {
        let required = definition.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        let Some(properties) = definition.get_mut("properties").and_then(Value::as_object_mut) else { continue };
        for (_, schema) in properties.iter_mut().filter(|(name, _)| !required.iter().any(|it| *it == **name)) {
            if let Some(kind) = schema.get_mut("type").filter(|kind| kind.is_string()) {
                *kind = json!([kind.take(), "null"]);
            }
        }
    }
}

/// The schema of each event, `seq` added.
fn events(schemas: &mut SchemaGenerator, strict: bool) -> Vec<Value> {
    let all = event::Event::json_schema(schemas);
    let all = all.get("oneOf").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut lines = Vec::new();
    for (mut schema, &kind) in all.into_iter().zip(EventKind::ALL) {
        if kind == EventKind::Reply {
            continue;
        }
        let Some(object) = schema.as_object_mut() else { continue };
        number(object, strict);
        object.insert("examples".into(), json!([example(kind.example())]));
        lines.push(schema);
    }
    lines
}

/// The schema of each command's reply, and of the reply that is an error.
fn replies(schemas: &mut SchemaGenerator, strict: bool) -> Vec<Value> {
    let base = schemas.subschema_for::<event::Reply<'static>>();
    let base = reference(&base, schemas);
    let mut lines: Vec<Value> = COMMANDS
        .iter()
        .map(|info| {
            let (_, result) = (info.schemas)(schemas);
            reply(&base, json!({ "cmd": { "const": info.name }, "ok": { "const": true }, "result": result }), "result")
        })
        .collect();
    let error = schemas.subschema_for::<ApiError>();
    lines.push(reply(&base, json!({ "ok": { "const": false }, "error": error }), "error"));
    for line in &mut lines {
        if let Some(object) = line.as_object_mut() {
            number(object, strict);
        }
    }
    if let Some(object) = lines.last_mut().and_then(Value::as_object_mut) {
        object.insert("description".into(), json!("the answer to a line that was refused or failed"));
    }
    lines
}

fn reply(base: &Value, mut properties: Value, needs: &str) -> Value {
    if let Some(properties) = properties.as_object_mut() {
        properties.insert("event".into(), json!({ "const": "reply" }));
    }
    let required = if needs == "result" { json!(["event", "cmd", needs]) } else { json!(["event", needs]) };
    let excluded = if needs == "result" { "error" } else { "result" };
    json!({
        "description": "the answer to a command",
        "type": "object",
        "$ref": base,
        "properties": properties,
        "required": required,
        "not": { "required": [excluded] },
    })
}

/// Adds `seq` to an object's schema, and closes it if asked to.
fn number(object: &mut Map<String, Value>, strict: bool) {
    let seq = json!({ "type": "integer", "minimum": 1, "description": "grows by one a line, from 1" });
    if let Some(properties) = object.entry("properties").or_insert_with(|| json!({})).as_object_mut() {
        properties.insert("seq".into(), seq);
    }
    if let Some(required) = object.entry("required").or_insert_with(|| json!([])).as_array_mut() {
        required.push(json!("seq"));
    }
    if strict {
        object.insert("unevaluatedProperties".into(), json!(false));
    }
}

/// The `$ref` of a schema, with the referred object opened: it closes itself only where all of its fields are known.
fn reference(schema: &Schema, schemas: &mut SchemaGenerator) -> Value {
    let Some(Value::String(path)) = schema.get("$ref").cloned() else { return json!("#") };
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    if let Some(object) = schemas.definitions_mut().get_mut(&name).and_then(Value::as_object_mut) {
        object.remove("additionalProperties");
    }
    json!(path)
}

fn example(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}
