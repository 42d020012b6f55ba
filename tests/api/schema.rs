//! As much of JSON Schema as the document uses; what it does not know is a failure.

use serde_json::Value;

/// What is wrong with a value, by the schema and the document that it is in.
pub(crate) fn wrong(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let pointer = name.strip_prefix('#').expect("it is in the document");
        let schema = document.pointer(pointer).unwrap_or_else(|| panic!("no {name}"));
        return wrong(document, schema, value, at);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = |choice: &&Value| wrong(document, choice, value, at).is_empty();
        let count = choices.iter().filter(fits).count();
        return if count == 1 { vec![] } else { vec![format!("{at}: {value} fits {count}")] };
    }
    let known = [
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "description",
        "format",
        "enum",
    ];
    let mut found = Vec::new();
    for key in schema.as_object().expect("a schema is an object").keys() {
        assert!(known.contains(&key.as_str()), "{at}: the schema has {key}");
    }
    let types = match &schema["type"] {
        Value::String(one) => vec![one.clone()],
        many => many.as_array().expect("types").iter().map(text).collect(),
    };
    if !types.iter().any(|kind| is(kind, value)) {
        return vec![format!("{at}: {value} is none of {types:?}")];
    }
    if schema["format"] == "date-time" && !value.is_null() {
        let is_time = value.as_str().is_some_and(|it| it.ends_with('Z') && it.contains('T'));
        found.extend((!is_time).then(|| format!("{at}: {value} is no time")));
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        match &schema["properties"][name] {
            Value::Null if schema["additionalProperties"] == false => {
                found.push(format!("{at}: nobody said {name}"));
            }
            Value::Null => {}
            schema => found.extend(wrong(document, schema, value, &format!("{at}.{name}"))),
        }
    }
    for name in schema["required"].as_array().into_iter().flatten().map(text) {
        found.extend(value.get(&name).is_none().then(|| format!("{at}: no {name}")));
    }
    for value in value.as_array().into_iter().flatten() {
        found.extend(wrong(document, &schema["items"], value, &format!("{at}[]")));
    }
    found
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("a type of the document: {other}"),
    }
}

#[test]
fn the_judge_itself_sees_what_is_wrong() {
    let schema = serde_json::json!({
        "type": "object",
        "properties": {
            "a": {"type": "integer"},
            "b": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["a"],
        "additionalProperties": false,
    });
    let count = |value: Value| wrong(&Value::Null, &schema, &value, "").len();
    assert_eq!(count(serde_json::json!({"a": 1, "b": ["x"]})), 0);
    assert_eq!(count(serde_json::json!({"a": "1", "b": ["x", 2]})), 2);
    assert_eq!(count(serde_json::json!({"c": 1})), 2);
    assert_eq!(count(serde_json::json!([])), 1);
    let either = serde_json::json!({"oneOf": [schema, {"type": "string"}]});
    let count = |value: Value| wrong(&Value::Null, &either, &value, "").len();
    assert_eq!((count("x".into()), count(7.into())), (0, 1));
}
