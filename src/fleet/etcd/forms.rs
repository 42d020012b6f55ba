//! What is said to etcd v3 and what it answers, as JSON: the forms of its gateway, in which bytes
//! are base64 and large numbers texts. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

/// A key with what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The key.
    pub(crate) key: String,
    /// Its value.
    pub(crate) value: String,
    /// At which revision it was last changed.
    pub(crate) revision: u64,
}

/// All keys with a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Range {
    /// The revision of the whole store.
    pub(crate) revision: u64,
    /// What there is. Keys and values that are no text are left out.
    pub(crate) entries: Vec<Entry>,
}

/// What must be so for a change to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// The key was last changed at this revision; 0: it is not there.
    Revision(String, u64),
    /// The key has this value.
    Value(String, String),
}

/// What a watch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    /// It has begun, or lives.
    Nothing,
    /// Something is not what it was, or may not be.
    Change,
    /// It is over, and nothing will be heard of changes.
    End,
}

/// Asks for all keys with a prefix.
pub(super) fn range(prefix: &str) -> Value {
    json!({"key": base64(prefix), "range_end": base64(&end(prefix))})
}

/// Asks for changes of keys with a prefix, from this revision on.
pub(super) fn watch(prefix: &str, from: u64) -> Value {
    let (key, range_end) = (base64(prefix), base64(&end(prefix)));
    let request = json!({"key": key, "range_end": range_end, "start_revision": from.to_string()});
    json!({"create_request": request})
}

/// Writes keys, if all of this holds.
pub(super) fn transaction(holds: &[Holds], puts: &[(String, String)]) -> Value {
    let compare = |holds: &Holds| match holds {
        Holds::Revision(key, revision) => {
            let revision = revision.to_string();
            let key = base64(key);
            json!({"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": revision})
        }
        Holds::Value(key, value) => {
            let (key, value) = (base64(key), base64(value));
            json!({"key": key, "target": "VALUE", "result": "EQUAL", "value": value})
        }
    };
    let put = |(key, value): &(String, String)| {
        let (key, value) = (base64(key), base64(value));
        json!({"request_put": {"key": key, "value": value}})
    };
    let compare: Vec<Value> = holds.iter().map(compare).collect();
    let success: Vec<Value> = puts.iter().map(put).collect();
    json!({"compare": compare, "success": success})
}

/// Asks for a token.
pub(super) fn log_in(name: &str, password: &str) -> Value {
    json!({"name": name, "password": password})
}

/// The answer to [`log_in`].
pub(super) fn token(body: &[u8]) -> Result<String, serde_json::Error> {
    #[derive(Deserialize)]
    struct Answer {
        token: String,
    }
    serde_json::from_slice(body).map(|answer: Answer| answer.token)
}

/// The answer to [`range`].
pub(super) fn ranged(body: &[u8]) -> Result<Range, serde_json::Error> {
    #[derive(Deserialize)]
    struct Answer {
        header: Header,
        #[serde(default)]
        kvs: Vec<Pair>,
    }
    let Answer { header, kvs } = serde_json::from_slice(body)?;
    let entries = kvs.into_iter().filter_map(|Pair { key, value, mod_revision }| {
        Some(Entry { key: text(&key)?, value: text(&value)?, revision: mod_revision })
    });
    Ok(Range { revision: header.revision, entries: entries.collect() })
}

/// The answer to [`transaction`]: whether it was made.
pub(super) fn is_made(body: &[u8]) -> Result<bool, serde_json::Error> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "header")]
        _header: Header,
        #[serde(default)]
        succeeded: bool,
    }
    serde_json::from_slice(body).map(|answer: Answer| answer.succeeded)
}

/// A line of the answer to [`watch`]. What is not understood may be a change.
pub(super) fn watched(line: &[u8]) -> Watched {
    #[derive(Deserialize)]
    struct Answer {
        result: Told,
    }
    #[derive(Deserialize)]
    struct Told {
        #[serde(default)]
        events: Vec<Value>,
        #[serde(default)]
        canceled: bool,
    }
    match serde_json::from_slice(line) {
        Ok(Answer { result: Told { canceled: true, .. } }) => Watched::End,
        Ok(Answer { result: Told { events, canceled: false } }) if events.is_empty() => {
            Watched::Nothing
        }
        Ok(_) | Err(_) => Watched::Change,
    }
}

#[derive(Deserialize)]
struct Header {
    #[serde(default, deserialize_with = "number")]
    revision: u64,
}

#[derive(Deserialize)]
struct Pair {
    key: String,
    // An empty one is left out.
    #[serde(default)]
    value: String,
    #[serde(default, deserialize_with = "number")]
    mod_revision: u64,
}

/// A number, or a text of one.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let wrong = || serde::de::Error::custom("expected a number, or a text of one");
    match Value::deserialize(deserializer)? {
        Value::String(text) => text.parse().map_err(|_| wrong()),
        Value::Number(number) => number.as_u64().ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

/// The first key behind all with a prefix of ASCII.
fn end(prefix: &str) -> String {
    let mut end = prefix.to_owned();
    match end.pop() {
        Some(last) if last.is_ascii() => end.push(char::from(last as u8 + 1)),
        Some(_) | None => end.push('\0'),
    }
    end
}

fn base64(text: &str) -> String {
    STANDARD.encode(text)
}

fn text(base64: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(base64).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_what_etcd_takes() {
        let expected = json!({"key": "L29kcC8=", "range_end": "L29kcDA="});
        assert_eq!(range("/odp/"), expected);
        let watching = &watch("/odp/", 7)["create_request"];
        assert_eq!(
            (&watching["start_revision"], &watching["range_end"]),
            (&"7".into(), &expected["range_end"])
        );
        let holds = [Holds::Revision("a".into(), 0), Holds::Value("b".into(), "c".into())];
        let asked = transaction(&holds, &[("k".into(), "v".into())]);
        let expected = json!({
            "compare": [
                {"key": "YQ==", "target": "MOD", "result": "EQUAL", "mod_revision": "0"},
                {"key": "Yg==", "target": "VALUE", "result": "EQUAL", "value": "Yw=="},
            ],
            "success": [{"request_put": {"key": "aw==", "value": "dg=="}}],
        });
        assert_eq!(asked, expected);
    }

    #[test]
    fn what_is_answered_is_understood_or_an_error() {
        let body = r#"{"header":{"cluster_id":"1","revision":"9"},"count":"2","kvs":[
            {"key":"YQ==","create_revision":"2","mod_revision":"3","version":"2","value":"dg=="},
            {"key":"Yg==","mod_revision":"4"},{"key":"/w==","mod_revision":"5","value":"dg=="}]}"#;
        let entry = |key: &str, value: &str, revision| Entry {
            key: key.into(),
            value: value.into(),
            revision,
        };
        let found = ranged(body.as_bytes()).expect("an answer");
        let entries = vec![entry("a", "v", 3), entry("b", "", 4)];
        assert_eq!(found, Range { revision: 9, entries });
        assert_eq!(
            ranged(br#"{"header":{"revision":"1"}}"#).map(|it| it.entries).ok(),
            Some(vec![])
        );
        for body in ["", "[]", "{}", r#"{"error":"x","code":14}"#, r#"{"header":{"revision":-1}}"#]
        {
            assert!(
                ranged(body.as_bytes()).is_err() && is_made(body.as_bytes()).is_err(),
                "{body}"
            );
        }
        assert_eq!(token(br#"{"header":{},"token":"a.1"}"#).ok(), Some("a.1".into()));
        assert!(token(b"{}").is_err());
        assert_eq!(is_made(br#"{"header":{},"succeeded":true}"#).ok(), Some(true));
        assert_eq!(is_made(br#"{"header":{}}"#).ok(), Some(false));
    }

    #[test]
    fn a_watch_tells_of_changes_and_of_its_end() {
        for (line, expected) in [
            (r#"{"result":{"header":{"revision":"1"},"created":true}}"#, Watched::Nothing),
            (r#"{"result":{"header":{"revision":"9"}}}"#, Watched::Nothing),
            (r#"{"result":{"events":[{"kv":{"key":"YQ=="}}]}}"#, Watched::Change),
            (r#"{"result":{"canceled":true,"compact_revision":"5"}}"#, Watched::End),
            (r#"{"result":{"created":true,"canceled":true,"cancel_reason":"x"}}"#, Watched::End),
            (r#"{"error":{"grpc_code":14}}"#, Watched::Change),
            ("x", Watched::Change),
        ] {
            assert_eq!(watched(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn a_prefix_ends_before_the_next_key() {
        assert_eq!(end("/odp/"), "/odp0");
        assert_eq!(end("a~/"), "a~0");
    }
}
