//! Statements by their shapes, as the API, SQL and the console tell them, also over a restart.

use odp::proxy;
use odp::restart::{DataPlane as _, Report};
use odp::session::stamp::Shapes as _;
use odp::sql::{Extent, Modes};
use serde_json::Value;

use crate::scene::{manager, pair, viewer};
use crate::support::database::PASSWORD;
use crate::support::http::Asker;
use crate::support::planes::{self, Planes};
use crate::support::{Login, Proxy, Wire, com, until};

const READ: &str = "select a from shapes.t where b = ?";

fn client(proxy: &Proxy) -> Wire {
    let login = Login { password: PASSWORD.into(), ..Login::default() };
    Wire::open(&proxy.address(), &login).expect("it is let in")
}

/// The shape of this text, if it was counted so often.
fn counted(asker: &Asker, text: &str, count: u64) -> Option<Value> {
    let items = asker.try_ask("GET", "/api/v1/statements", "")?.items();
    items.into_iter().find(|it| it["text"] == text && it["count"] == count)
}

/// They would be megabytes, five times a second, and for as long as somebody drains.
#[tokio::test]
async fn a_heartbeat_of_a_restart_does_not_carry_them() {
    let Planes { planes: [plane, successor], .. } = planes::start("127.0.0.1:1", None, "").await;
    let bare = plane.counters(Report::Brief).len();
    let digests = plane.in_force().digests();
    for n in 0..digests.limit() {
        digests.digest(format!("select c{n} from t").as_bytes(), Extent::Whole, Modes::USUAL);
    }
    let (brief, full) = (plane.counters(Report::Brief), plane.counters(Report::Full));
    println!("{} shapes: brief {} bytes, full {}", digests.limit(), brief.len(), full.len());
    assert_eq!(brief.len(), bare);
    assert!(full.len() > 100 * brief.len());
    // It leaves them as they are.
    let known = |plane: &proxy::Proxy| plane.in_force().digests().all().len();
    successor.inherit_counters(&full);
    successor.inherit_counters(&brief);
    assert_eq!(known(&successor), known(&plane));
}

#[test]
fn shapes_are_counted_without_their_values_and_over_a_restart() {
    let Some((_database, proxy)) = pair() else { return };
    let asker = viewer(&proxy);
    let mut client = client(&proxy);
    client.run("create database shapes");
    client.run("create table shapes.t (a int, b varchar(20))");
    client.run("insert into shapes.t values (1,'secret1'),(2,'secret2'),(3,'secret1')");
    for value in ["secret1", "secret2", "none"] {
        client.run(&format!("select a from shapes.t where b = '{value}'"));
    }
    let read = counted(&asker, READ, 3).expect("it was counted");
    assert_eq!((&read["rows"], &read["errors"]), (&3.into(), &0.into()), "{read}");
    let us = |name: &str| read[name].as_u64().expect("a number");
    assert!(us("p50_us") > 0 && us("max_us") <= us("sum_us") && us("bytes") > 0, "{read}");
    let write = counted(&asker, "insert into shapes.t values (?)", 1).expect("it was counted");
    assert_eq!(write["rows"], 3, "those that it has made");
    let all = asker.get("/api/v1/statements").body;
    assert!(!all.contains("secret"), "{all}");
    let shown = proxy.admin().expect("admin").query("SHOW PROXYDIGEST LIKE '%where b%'");
    let shown = shown.named_rows();
    assert_eq!((shown.len(), &*shown[0]["count"]), (1, "3"));
    assert_eq!(shown[0]["digest"], read["digest"].as_str().expect("a text"));
    let mut slow = self::client(&proxy);
    slow.command(com::QUERY, b"select sleep(900)");
    let is_slow = || {
        let items = asker.try_ask("GET", "/api/v1/statements/running", "")?.items();
        items.into_iter().find(|it| it["text"] == "select sleep(?)")
    };
    until("it is under way", is_slow);
    proxy.restart();
    until("it is under way still", is_slow);
    client.run("SELECT a FROM shapes.t WHERE b = 'secret2'");
    until("it is counted on", || counted(&asker, READ, 4));
}

#[test]
fn what_is_slow_now_is_told_and_managers_count_anew() {
    let Some((_database, proxy)) = pair() else { return };
    let asker = manager(&proxy);
    let mut client = client(&proxy);
    client.command(com::QUERY, b"select sleep(600)");
    let running = until("it is under way", || {
        let items = asker.get("/api/v1/statements/running").items();
        items.into_iter().find(|it| it["text"] == "select sleep(?)")
    });
    assert!(running["elapsed_us"].as_u64().is_some(), "{running}");
    let id = running["session"].as_u64().expect("an id");
    assert_eq!(asker.ask("DELETE", &format!("/api/v1/sessions/{id}"), "").status, 204);
    until("it is gone", || {
        asker.get("/api/v1/statements/running").items().is_empty().then_some(())
    });
    let mut other = self::client(&proxy);
    other.run("select 5");
    until("it is counted", || counted(&asker, "select ?", 1));
    assert_eq!(viewer(&proxy).ask("DELETE", "/api/v1/statements", "").status, 403);
    assert_eq!(asker.ask("DELETE", "/api/v1/statements", "").status, 204);
    assert_eq!(asker.get("/api/v1/statements").items(), Vec::<Value>::new());
    // A table for one, and for none.
    let alter = |size: &str| {
        let body = format!("{{\"digest_table_size\": \"{size}\"}}");
        assert_eq!(asker.ask("PATCH", "/api/v1/parameters", &body).status, 200);
    };
    alter("1");
    other.run("select 5");
    other.run("select a.b from (select 1 b) a");
    other.run("do 1");
    let rest = until("two have no room", || counted(&asker, "(all other statements)", 2));
    assert_eq!(rest["digest"], "0000000000000000");
    alter("0");
    other.run("select 5");
    assert_eq!(asker.get("/api/v1/statements").items(), Vec::<Value>::new());
}
