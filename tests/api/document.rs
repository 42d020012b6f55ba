//! openapi.json and the handlers say the same: each operation is asked for, and its answer judged
//! by what the document says of it.

use serde_json::Value;

use crate::scene::{MANAGER, alone, manager, pair, viewer};
use crate::schema::wrong;
use crate::support::database::PASSWORD;
use crate::support::fleet::introduce;
use crate::support::http::{Answer, Asker};
use crate::support::{Login, Wire, until};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Every path of the document with its methods.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let of = |(path, methods): (&String, &Value)| {
        let methods = methods.as_object().expect("methods").clone();
        let path = path.clone();
        methods.into_iter().map(move |(method, operation)| (path.clone(), method, operation))
    };
    paths.iter().flat_map(of).collect()
}

/// Its answer is one that the document knows.
fn judge(document: &Value, operation: &Value, answer: &Answer, what: &str) {
    let responses = &operation["responses"];
    let exact = &responses[answer.status.to_string()];
    let response = if exact.is_null() { &responses["default"] } else { exact };
    let kind = answer.field("content-type").unwrap_or_default();
    match response["content"].as_object() {
        None => assert_eq!(answer.body, "", "{what}"),
        Some(content) => {
            assert!(content.contains_key(kind), "{what}: {kind}: {answer:?}");
            let schema = &content[kind]["schema"];
            let found = wrong(document, schema, &answer.json(), what);
            assert!(found.is_empty(), "{found:?}\n{}", answer.body);
        }
    }
}

#[test]
fn each_operation_answers_as_the_document_says() {
    let Some((database, proxy)) = pair() else { return };
    let asker = manager(&proxy);
    let document = asker.get("/api/v1/openapi.json").json();
    assert_eq!(document["openapi"], "3.1.0");
    let login = Login { password: PASSWORD.into(), ..Login::default() };
    let _client = Wire::open(&proxy.address(), &login).expect("it is let in");
    let session = until("the session", || {
        let id = asker.get("/api/v1/sessions").items().first()?["id"].as_u64()?;
        Some(id.to_string())
    });
    asker.ask("PATCH", "/api/v1/parameters", r#"{"client_max_connections": "90"}"#);
    let mut operations = operations(&document);
    assert!(operations.len() >= 19, "{}", operations.len());
    // What ends something comes last.
    operations.sort_by_key(|(path, method, _)| {
        (method == "delete", path.ends_with("rollback"), path.ends_with("restart"))
    });
    let mut good = 0;
    for (path, method, operation) in &operations {
        let path = path
            .replace("{cluster}", "main")
            .replace("{proxy}", "local")
            .replace("{server}", &database.address().replace(':', "%3A"))
            .replace("{session}", &session);
        let newest = || asker.get("/api/v1/tasks").items().first().map(|it| it["id"].to_string());
        let path = path.replace("{task}", &newest().unwrap_or("1".into()));
        if path == "/events" {
            assert!(asker.listen().next().is_some());
            continue;
        }
        let entry = || asker.get("/api/v1/audit").items()[0]["id"].as_str().map(str::to_owned);
        let path = path.replace("{entry}", &entry().expect("the first change's"));
        let body = match path.rsplit('/').next() {
            Some("restart") => r#"{"mode": "rehearse"}"#,
            Some("parameters") if method == "patch" => r#"{"client_max_connections": "91"}"#,
            Some("switchover") => r#"{"server": "127.0.0.1:9"}"#,
            _ => "",
        };
        let what = format!("{method} {path}");
        let answer = asker.ask(&method.to_uppercase(), &format!("/api/v1{path}"), body);
        judge(&document, operation, &answer, &what);
        // There is nothing to take back, and no task before the restart; nor a fleet, nor another
        // server.
        let may_fail = path.starts_with("/tasks/") || path.starts_with("/clusters/main/");
        assert!(answer.status < 300 || may_fail, "{what}: {answer:?}");
        good += u32::from(answer.status < 300);
    }
    assert!(good >= 16, "{good}");
}

#[test]
fn what_is_asked_of_another_proxy_answers_as_the_document_says() {
    let fleet = [alone(), alone()];
    introduce(&fleet);
    let asker = manager(&fleet[0]);
    let document = asker.get("/api/v1/openapi.json").json();
    let restart = &document["paths"]["/proxies/{proxy}/restart"]["post"];
    for (operation, method, path, body) in [
        (&document["paths"]["/proxies/{proxy}"]["get"], "GET", "proxies/b", ""),
        (restart, "POST", "proxies/b/restart", r#"{"mode": "rehearse"}"#),
        (&document["paths"]["/fleet/rehearsals"]["get"], "GET", "fleet/rehearsals", ""),
        (restart, "POST", "proxies/b/restart", r#"{"mode": "restart"}"#),
    ] {
        let answer = asker.ask(method, &format!("/api/v1/{path}"), body);
        assert!(answer.status < 300, "{path}: {answer:?}");
        judge(&document, operation, &answer, path);
    }
}

#[test]
fn what_the_document_does_not_have_is_not_there() {
    let proxy = alone();
    let asker = manager(&proxy);
    let document = asker.get("/api/v1/openapi.json").json();
    let operations = operations(&document);
    for (path, _, _) in &operations {
        let known: Vec<_> =
            operations.iter().filter(|(it, ..)| it == path).map(|(_, it, _)| it.as_str()).collect();
        for method in METHODS.iter().filter(|method| !known.contains(method)) {
            let concrete = path.replace(['{', '}'], "");
            let method = method.to_uppercase();
            let answer = asker.ask(&method, &format!("/api/v1{concrete}"), "");
            assert_eq!(answer.status, 405, "{method} {path}");
            let allowed = answer.field("allow").unwrap_or_default().to_lowercase();
            let mut allowed: Vec<_> = allowed.split(", ").collect();
            let mut known = known.clone();
            allowed.sort_unstable();
            known.sort_unstable();
            assert_eq!(allowed, known, "{path}");
        }
    }
    for path in ["/api", "/api/v1", "/api/v2/clusters", "/api/v1/cluster", "/api/v1/tasks/1/x"] {
        assert_eq!(asker.get(path).status, 404, "{path}");
    }
}

#[test]
fn what_a_viewer_may_not_is_said_in_the_document_and_refused() {
    let proxy = alone();
    let document = viewer(&proxy).get("/api/v1/openapi.json").json();
    let mut refused = 0;
    for (path, method, operation) in operations(&document) {
        let path = format!("/api/v1{}", path.replace(['{', '}'], ""));
        let is_change = method != "get";
        assert_eq!(operation["x-role"] == "manager", is_change, "{method} {path}");
        if is_change {
            let answer = viewer(&proxy).ask(&method.to_uppercase(), &path, "{}");
            assert_eq!(answer.status, 403, "{method} {path}: {answer:?}");
            let detail = answer.json()["detail"].to_string();
            assert!(detail.contains("eyes has the role viewer"), "{detail}");
            refused += 1;
        }
    }
    assert!(refused >= 6, "{refused}");
}

#[test]
fn nobody_learns_what_there_is() {
    let proxy = alone();
    let document = manager(&proxy).get("/api/v1/openapi.json").json();
    for (path, method, _) in operations(&document) {
        let path = format!("/api/v1{}", path.replace(['{', '}'], ""));
        let answer = Asker::nobody(&proxy).ask(&method.to_uppercase(), &path, "");
        assert_eq!(answer.status, 401, "{method} {path}");
        assert!(!answer.body.contains(MANAGER));
    }
    assert_eq!(Asker::nobody(&proxy).get("/api/v1/nothing").status, 401);
}
