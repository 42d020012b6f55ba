//! JSON as a version that is not this one's might write it: what golden files are tried with, and
//! what a disguise sends. Never in a release.

#[cfg(test)]
use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// One more field in each object that is a struct of ours: not a variant of an enum, and not a time
/// of the standard library's.
pub(crate) fn grow(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(grow);
            if !is_variant(map) && !map.contains_key("nanos") {
                map.insert("later".into(), json!({"deep": [1, {"er": null}]}));
            }
        }
        Value::Array(list) => list.iter_mut().for_each(grow),
        _ => {}
    }
}

fn is_variant(map: &Map<String, Value>) -> bool {
    map.len() == 1 && map.keys().all(|name| name.starts_with(char::is_uppercase))
}

/// Adds the names of all fields, at every depth.
#[cfg(test)]
pub(crate) fn names(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.keys().cloned());
            map.values().for_each(|value| names(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| names(value, found)),
        _ => {}
    }
}

/// The same with another name for a field, wherever it stands.
#[cfg(test)]
pub(crate) fn renamed(value: &Value, name: &str) -> Value {
    let other = |key: &String| if key == name { format!("{key}_renamed") } else { key.clone() };
    match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (other(key), renamed(value, name))).collect()
        }
        Value::Array(list) => list.iter().map(|value| renamed(value, name)).collect(),
        other => other.clone(),
    }
}
