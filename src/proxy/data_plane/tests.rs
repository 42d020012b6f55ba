//! Golden bodies: what data planes of each version tell each other beside sessions.
//!
//! tests/handover/vN/bodies/KIND-NAME.json is never edited, only added; a field that a later
//! version adds must have a default, or these are not understood any more.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::handover::Legacy;
use super::peer::{self, Note};
use crate::proxy::sessions::counters::Counted;
use crate::session::state::Inventory;

/// Understands a body and writes it again.
fn again<T: Serialize + DeserializeOwned>(body: &Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(T::deserialize(body)?)
}

fn understood(name: &str, body: &Value) -> Result<Value, serde_json::Error> {
    match name.split(['-', '.']).next() {
        Some("note") => again::<Note>(body),
        Some("legacy") => {
            // What is not understood of it is left out.
            for inventory in body["inventories"].as_object().into_iter().flatten() {
                assert_eq!(again::<Inventory>(inventory.1)?, *inventory.1, "{name}");
            }
            again::<Legacy>(body)
        }
        Some("counters") => again::<Counted>(body),
        other => panic!("nobody knows what a {other:?} is"),
    }
}

/// Everything in `part` is in `whole` too, and the same.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(name, value)| whole.get(name).is_some_and(|found| contains(found, value))),
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len()
                && whole.iter().zip(part).all(|(whole, part)| contains(whole, part))
        }
        (whole, part) => whole == part,
    }
}

#[test]
fn golden_bodies_of_every_version_are_understood() {
    let mut count = 0;
    for version in std::fs::read_dir("tests/handover").expect("golden files") {
        let dir = version.expect("readable").path().join("bodies");
        for file in std::fs::read_dir(dir).into_iter().flatten() {
            let path = file.expect("readable").path();
            let text = std::fs::read_to_string(&path).expect("readable");
            let body: Value = serde_json::from_str(&text).expect("JSON");
            let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8");
            let found = understood(name, &body).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(contains(&found, &body), "{name}: {body} became {found}");
            count += 1;
        }
    }
    assert!(count >= 5, "the golden bodies are found");
}

#[test]
fn notes_of_a_later_version_are_skipped() {
    for (note, is_known) in [
        (json!({"kind": "Weather", "of": {"rain": [1, 2]}}), false),
        (json!({"kind": "Farewell"}), false),
        (json!({"kind": "Kill", "of": 7, "why": "later"}), true),
    ] {
        let decoded = peer::decode(note.to_string().as_bytes()).expect("no error");
        assert_eq!(decoded.is_some(), is_known, "{note}");
    }
    assert!(peer::decode(b"{\"kind\": \"Kill\", \"of\": \"x\"}").is_err());
}
