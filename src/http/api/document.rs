//! The OpenAPI document, made from the routes.

use serde_json::{Map, Value, json};

use super::route::{Gives, Input, Needs, ROUTES, Route, Verb};
use crate::http::resource::{ALL, AUDIT, FLEET_STEP, FLEET_TASK, REHEARSAL, Resource, TASK};

/// All of it.
pub(super) fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = format!("/{}", route.path);
        let methods = paths.entry(path).or_insert_with(|| json!({}));
        methods[route.verb.name().to_lowercase()] = operation(route);
    }
    let mut schemas: Map<_, _> =
        ALL.iter().map(|resource| (resource.name.to_owned(), resource.schema())).collect();
    schemas.insert("Problem".into(), problem());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "odp",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What the admin port of odp says and does, as JSON. Who has logged in \
                            to the console has its cookie, and sends X-CSRF-Token with what \
                            changes something.",
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "odp_session"},
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let places = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = places
        .map(|name| {
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
        })
        .collect();
    parameters.extend(route.query.iter().map(|input| {
        json!({
            "name": input.name, "in": "query", "required": false,
            "description": input.info, "schema": schema(input),
        })
    }));
    if route.verb == Verb::Post {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "whatever is asked twice with one key is done once",
            "schema": {"type": "string", "minLength": 1, "maxLength": 128},
        }));
    }
    let role = match route.needs {
        Needs::Look => "viewer",
        Needs::Change => "manager",
    };
    let mut operation = json!({
        "operationId": format!("{:?}", route.operation).to_lowercase(),
        "summary": route.info,
        "x-role": role,
        "parameters": parameters,
        "responses": responses(route),
    });
    if let Some(body) = body(route) {
        operation["requestBody"] = json!({"content": {"application/json": {"schema": body}}});
    }
    operation
}

fn body(route: &Route) -> Option<Value> {
    if route.verb == Verb::Patch {
        return Some(json!({"type": "object", "additionalProperties": {"type": "string"}}));
    }
    if route.body.is_empty() {
        return None;
    }
    let properties: Map<_, _> = route
        .body
        .iter()
        .map(|input| {
            let mut schema = schema(input);
            schema["description"] = input.info.into();
            (input.name.to_owned(), schema)
        })
        .collect();
    Some(json!({"type": "object", "properties": properties, "additionalProperties": false}))
}

fn object(properties: Value, names: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": names})
}

fn of(resource: &Resource) -> Value {
    json!({"$ref": format!("#/components/schemas/{}", resource.name)})
}

fn fleet_task() -> Value {
    let steps = json!({"type": "array", "items": of(&FLEET_STEP)});
    object(json!({"task": of(&FLEET_TASK), "steps": steps}), &["task", "steps"])
}

fn rehearsals() -> Value {
    json!({"items": {"type": "array", "items": of(&REHEARSAL)}})
}

fn responses(route: &Route) -> Value {
    let items = |resource| json!({"type": "array", "items": of(resource)});
    let schema = match route.gives {
        Gives::One(resource) => Some(of(resource)),
        Gives::Many(resource) => Some(object(json!({"items": items(resource)}), &["items"])),
        Gives::Whole => {
            let [cluster, proxy, server, ..] = ALL;
            let properties = json!({
                "cluster": of(cluster), "proxies": items(proxy), "servers": items(server),
            });
            Some(object(properties, &["cluster", "proxies", "servers"]))
        }
        Gives::Tasks => {
            let properties = json!({"items": items(&TASK), "fleet": items(&FLEET_TASK)});
            Some(object(properties, &["items", "fleet"]))
        }
        Gives::FleetTaskOrRehearsals => {
            Some(json!({"oneOf": [fleet_task(), object(rehearsals(), &["items"])]}))
        }
        Gives::Begun => Some(json!({"oneOf": [of(&TASK), fleet_task(), of(&REHEARSAL)]})),
        Gives::Task => Some(json!({"oneOf": [of(&TASK), fleet_task()]})),
        Gives::Document => Some(json!({"type": "object"})),
        Gives::Nothing | Gives::NothingYet | Gives::NothingOrTask | Gives::Events => None,
    };
    let mut good = json!({"description": route.info});
    match (schema, route.gives) {
        (Some(schema), _) => good["content"] = json!({"application/json": {"schema": schema}}),
        (None, Gives::Events) => {
            good["content"] = json!({"text/event-stream": {"schema": {"type": "string"}}});
        }
        (None, _) => {}
    }
    let bad = json!({
        "description": "why not",
        "content": {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}},
        },
    });
    let mut responses = json!({route.status.to_string(): good, "default": bad});
    if let Gives::NothingYet = route.gives {
        responses["202"] = json!({
            "description": "it goes on; Location is where its entry in the audit is",
            "content": {"application/json": {"schema": of(&AUDIT)}},
        });
    }
    if let Gives::FleetTaskOrRehearsals = route.gives {
        let schema = object(rehearsals(), &["items"]);
        responses["200"] = json!({
            "description": "each has said what it would not move",
            "content": {"application/json": {"schema": schema}},
        });
    }
    if let Gives::NothingOrTask = route.gives {
        responses["202"] = json!({
            "description": "it is begun; Location is where its task is",
            "content": {"application/json": {"schema": of(&TASK)}},
        });
    }
    responses
}

fn schema(input: &Input) -> Value {
    match input.words {
        [] if input.kind == "array" => json!({"type": "array", "items": {"type": "string"}}),
        [] => json!({"type": input.kind}),
        words => json!({"type": input.kind, "enum": words}),
    }
}

fn problem() -> Value {
    json!({
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "integer", "description": "the number that SQL would tell"},
        },
        "required": ["type", "title", "status", "detail"],
        "additionalProperties": false,
    })
}
