//! What else the API changes: servers, sessions, parameters. SQL sees the same.

use serde_json::Value;

use crate::scene::{manager, pair};
use crate::support::database::PASSWORD;
use crate::support::{Login, Wire, until};

#[test]
fn a_server_is_drained_and_put_back() {
    let Some((database, proxy)) = pair() else { return };
    let asker = manager(&proxy);
    let path = format!("/api/v1/servers/{}", database.address().replace(':', "%3a"));
    let state = || asker.get("/api/v1/servers").items()[0]["state"].clone();
    let counts = || {
        let cluster = asker.get("/api/v1/clusters").items().remove(0);
        ["servers", "servers_online", "servers_unknown"].map(|name| cluster[name].to_string())
    };
    // Nobody has asked it yet.
    assert_eq!((state(), counts()), ("unknown".into(), ["1", "0", "1"].map(str::to_owned)));
    let login = Login { password: PASSWORD.into(), ..Login::default() };
    let _client = Wire::open(&proxy.address(), &login).expect("it is let in");
    assert_eq!((state(), counts()), ("online".into(), ["1", "1", "0"].map(str::to_owned)));
    assert_eq!(asker.ask("POST", &format!("{path}/drain"), "").status, 204);
    assert_eq!(state(), "draining");
    let shown = proxy.admin().expect("admin").query("SHOW PROXYROUTE").named_rows();
    assert_eq!(shown[0]["state"], "draining");
    assert_eq!(asker.ask("POST", &format!("{path}/online?cluster=main"), "").status, 204);
    assert_eq!(state(), "online");
    assert_eq!(asker.ask("POST", &format!("{path}/online?cluster=none"), "").status, 404);
    assert_eq!(asker.ask("POST", "/api/v1/servers/127.0.0.1:9/drain", "").status, 404);
}

#[test]
fn a_switchover_that_cannot_be_is_told_and_in_the_audit() {
    let Some((_database, proxy)) = pair() else { return };
    let asker = manager(&proxy);
    let path = "/api/v1/clusters/main/switchover";
    for (body, status, part) in [
        ("", 400, "server: expected 'host:port'"),
        (r#"{"server": 7}"#, 400, "server: expected"),
        (r#"{"server": "127.0.0.1:9", "force": "yes"}"#, 400, "force: expected true or false"),
        (r#"{"server": "127.0.0.1:9", "fleet": 1}"#, 400, "fleet: expected true or false"),
        (r#"{"server": "127.0.0.1:9", "now": true}"#, 400, "now: expected server, force or fleet"),
        (r#"{"server": "127.0.0.1:9", "force": true}"#, 409, "cluster main stays: "),
    ] {
        let answer = asker.ask("POST", path, body);
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        let detail = answer.json()["detail"].as_str().expect("a text").to_owned();
        assert!(detail.contains(part), "{body}: {detail}");
    }
    assert_eq!(asker.ask("POST", "/api/v1/clusters/none/switchover", "").status, 404);
    let audit = asker.get("/api/v1/audit").items();
    assert_eq!(audit.len(), 1, "{audit:?}");
    let action = "ALTER CLUSTER 'main' SWITCHOVER TO '127.0.0.1:9' FORCE";
    assert_eq!((&audit[0]["action"], &audit[0]["outcome"]), (&action.into(), &"refused".into()));
}

#[test]
fn a_switchover_that_nobody_waits_for_is_followed_in_the_audit() {
    let Some((_database, proxy)) = pair() else { return };
    let asker = manager(&proxy).with("Prefer", "respond-async");
    let path = "/api/v1/clusters/main/switchover";
    let answer = asker.ask("POST", path, r#"{"server": "127.0.0.1:9"}"#);
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.json()["action"], "ALTER CLUSTER 'main' SWITCHOVER TO '127.0.0.1:9'");
    let entry = answer.field("location").expect("where it is followed").to_owned();
    let ended = until("its end", || {
        let entry = asker.get(&entry).json();
        (entry["outcome"] != "asked").then_some(entry)
    });
    assert_eq!(ended["outcome"], "refused");
    assert!(ended["detail"].as_str().is_some_and(|it| it.contains("cluster main stays")));
    assert_eq!(asker.get("/api/v1/audit/1.99999").status, 404);
}

#[test]
fn sessions_are_listed_filtered_and_closed() {
    let Some((_database, proxy)) = pair() else { return };
    let asker = manager(&proxy);
    let login = Login { password: PASSWORD.into(), ..Login::default() };
    let mut clients: Vec<_> =
        (0..3).map(|_| Wire::open(&proxy.address(), &login).expect("it is let in")).collect();
    clients[0].run("BEGIN");
    clients[0].run("SELECT 1");
    let sessions = |query: &str| asker.get(&format!("/api/v1/sessions{query}")).items();
    until("the sessions", || (sessions("").len() == 3).then_some(()));
    let is_in_transaction = |session: &Value| session["in_transaction"] == true;
    let all = sessions("?cluster=main");
    assert_eq!(all.iter().filter(|it| is_in_transaction(it)).count(), 1, "{all:?}");
    assert_eq!(sessions("?limit=2").len(), 2);
    assert_eq!(sessions("?user=nobody"), [] as [Value; 0]);
    assert_eq!(asker.get("/api/v1/sessions?limit=-1").status, 400);
    let id = all.iter().find(|it| is_in_transaction(it)).expect("one")["id"].to_string();
    let attributes = asker.get(&format!("/api/v1/sessions/{id}")).items();
    assert!(attributes.iter().any(|it| it["name"] == "pins"), "{attributes:?}");
    assert_eq!(asker.ask("DELETE", &format!("/api/v1/sessions/{id}"), "").status, 204);
    clients.remove(0).until_closed();
    until("two to be left", || (sessions("").len() == 2).then_some(()));
    for strange in ["1", "x", "99999999999999999999", "-1"] {
        let answer = asker.ask("DELETE", &format!("/api/v1/sessions/{strange}"), "");
        assert_eq!(answer.status, 404, "{strange}: {answer:?}");
    }
}

#[test]
fn parameters_are_altered_together_or_not_at_all() {
    let Some((_database, proxy)) = pair() else { return };
    let asker = manager(&proxy);
    let path = "/api/v1/parameters";
    let value = |name: &str| {
        let all = asker.get(path).items();
        let found = all.into_iter().find(|it| it["name"] == name).expect("a parameter");
        found["value"].as_str().expect("a text").to_owned()
    };
    let two = r#"{"client_max_connections": "77", "connect_timeout": "3s"}"#;
    let answer = asker.ask("PATCH", path, two);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.items().len(), 2);
    assert_eq!(
        (value("client_max_connections"), value("connect_timeout")),
        ("77".into(), "3s".into())
    );
    for (body, status, part) in [
        (r#"{"client_max_connections": "78", "connect_timeout": "soon"}"#, 422, "connect_timeout"),
        (r#"{"client_max_connections": "78", "nonsense": "1"}"#, 422, "nonsense"),
        (r#"{"client_max_connections": 78}"#, 400, "expected a string"),
        (r#"{"proxy_local_cmd": "2"}"#, 400, "no parameter"),
        ("{}", 400, "expected"),
    ] {
        let answer = asker.ask("PATCH", path, body);
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert!(answer.body.contains(part), "{body}: {answer:?}");
    }
    assert_eq!(value("client_max_connections"), "77");
    let answer = asker.ask("PATCH", path, r#"{"cluster.main.max_replica_lag": "7s"}"#);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(value("cluster.main.max_replica_lag"), "7s");
    let all = asker.get(path).items();
    let lag = all.iter().find(|it| it["name"] == "cluster.main.max_replica_lag").expect("it");
    let [default, in_file] = ["default", "in_file"].map(|name| lag[name].as_str());
    assert_eq!((default, in_file), (Some("10s"), Some("10s")), "{lag}");
    assert!(lag["changed_by"].as_str().is_some_and(|by| by.starts_with("ops@")), "{lag}");
    let same = all.iter().find(|it| it["name"] == "login_timeout").expect("it");
    assert_eq!(same["value"], same["in_file"], "{same}");
    assert!(same["changed_by"].is_null(), "{same}");
}
