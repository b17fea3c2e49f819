//! Values that say the same, however they are written.

use serde_json::{Number, Value};

use crate::api::CommandId;

/// Whether two marks are the same.
pub fn is_same_id(one: &CommandId, other: &CommandId) -> bool {
    match (one, other) {
        (CommandId::Number(one), CommandId::Number(other)) => is_same_number(one, other),
        _ => one == other,
    }
}

/// Whether two values are equal: numbers are if they say the same, however they are written.
pub fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => is_same_number(one, other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let has = |(name, value): (&String, &Value)| other.get(name).is_some_and(|it| is_same(value, it));
            one.len() == other.len() && one.iter().all(has)
        }
        _ => one == other,
    }
}

/// The same of two numbers. An integer is never rounded for it.
fn is_same_number(one: &Number, other: &Number) -> bool {
    // Whole numbers of 64 bits, as those in JSON are here; a double beyond them stays one.
    let whole = |n: &Number| {
        n.as_i128().or_else(|| n.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 1e30).map(|n| n as i128))
    };
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one.as_f64() == other.as_f64(),
    }
}
