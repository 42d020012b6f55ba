//! JSON as a version that is not this one's might write it: what golden files are tried with.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// One more field in each object that does not stand for a variant of an enum.
pub fn grow(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(grow);
            if !is_variant(map) {
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
pub fn names(value: &Value, found: &mut BTreeSet<String>) {
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
pub fn renamed(value: &Value, name: &str) -> Value {
    let other = |key: &String| if key == name { format!("{key}_renamed") } else { key.clone() };
    match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (other(key), renamed(value, name))).collect()
        }
        Value::Array(list) => list.iter().map(|value| renamed(value, name)).collect(),
        other => other.clone(),
    }
}
