//! `help`: the commands, their arguments and an example of each, from the same types as the schema.

use schemars::generate::SchemaSettings;
use serde_json::Value;
use serde_json::value::RawValue;

use super::command::{COMMANDS, CommandInfo};
use super::error::{ApiError, ErrorCode};
use super::kind::EventKind;
use super::result::{ArgumentHelp, CommandHelp, EventHelp, Help};

/// The help of one command, or of all of them and the events.
pub fn help(of: Option<&str>) -> Result<Help, ApiError> {
    let commands: Vec<_> = COMMANDS.iter().filter(|info| of.is_none_or(|of| info.name == of)).collect();
    if commands.is_empty() {
        let message = format!("no command `{}`; `help` without `of` lists them", of.unwrap_or_default().escape_debug());
        return Err(ApiError::new(ErrorCode::NotFound, message));
    }
    let events = if of.is_some() { Vec::new() } else { EventKind::ALL.iter().copied().filter_map(event).collect() };
    Ok(Help { commands: commands.into_iter().filter_map(command).collect(), events })
}

fn command(info: &CommandInfo) -> Option<CommandHelp> {
    let example = serde_json::from_str::<&RawValue>(info.example).ok()?;
    Some(CommandHelp { cmd: info.name, summary: info.summary, arguments: arguments(info), example })
}

fn event(kind: EventKind) -> Option<EventHelp> {
    let example = serde_json::from_str::<&RawValue>(kind.example()).ok()?;
    Some(EventHelp { event: kind.name(), summary: kind.summary(), example })
}

fn arguments(info: &CommandInfo) -> Vec<ArgumentHelp> {
    let mut schemas = SchemaSettings::draft2020_12().into_generator();
    (info.schemas)(&mut schemas);
    let Some(definition) = schemas.definitions().values().find(|it| it.get("additionalProperties").is_some()) else {
        return Vec::new();
    };
    let required = definition.get("required").and_then(Value::as_array);
    let Some(properties) = definition.get("properties").and_then(Value::as_object) else { return Vec::new() };
    properties
        .iter()
        .map(|(name, schema)| ArgumentHelp {
            name: name.clone(),
            about: schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
            required: required.is_some_and(|all| all.iter().any(|it| it == name)),
        })
        .collect()
}
