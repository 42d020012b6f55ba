//! What triggers and routines do is seen by who may see it, and nobody else takes none for an
//! answer.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use odp::proxy::accounts::credentials::Credentials;
use odp::proxy::cluster::programs::Programs;
use odp::proxy::monitor::order::Detection;
use odp::proxy::monitor::watch::Monitors;
use odp::sql::analysis::Changes;

use crate::roles::Told;
use crate::scene::Scene;
use crate::support::{Database, LIMIT, Server};

/// What is seen of a server's stored programs by this account.
fn seen(database: &Database, user: &str) -> Programs {
    let scene = Scene::of(&[database.address()], "off");
    let (told, reports) = channel();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let monitors = Monitors::new(Arc::new(Told(told)));
    let credentials = Some(Arc::new(Credentials::clear(user, "svc-secret")));
    let (interval, timeout) = (Duration::from_millis(20), LIMIT);
    let detection = Detection { cluster: scene.cluster.clone(), credentials, interval, timeout };
    let _inside = runtime.enter();
    monitors.put_in_force(&[detection], &Arc::new(scene.config.clone()), None);
    // In the first round it is only asked what it is.
    loop {
        let report = reports.recv_timeout(LIMIT).expect("a report");
        assert!(report.outcome.is_ok(), "{report:?}");
        if let Some((programs, _)) = report.programs {
            return programs;
        }
    }
}

fn only_who_sees_all_is_believed(server: Server) {
    let Some(database) = Database::start(server) else { return };
    database.execute(&[
        "CREATE USER sees@'%' IDENTIFIED BY 'svc-secret'",
        "GRANT TRIGGER ON *.* TO sees@'%'",
        "CREATE USER blind@'%' IDENTIFIED BY 'svc-secret'",
        "CREATE USER partly@'%' IDENTIFIED BY 'svc-secret'",
        "GRANT TRIGGER ON p.* TO partly@'%'",
        "CREATE TABLE p.t (n INT, s VARCHAR(9))",
    ]);
    let all =
        |database: &Database| ["sees", "blind", "partly"].map(|user| seen(database, user).triggers);
    assert_eq!(all(&database), [Some(Changes::default()), None, None]);
    database.execute(&["CREATE TRIGGER p.a BEFORE INSERT ON p.t FOR EACH ROW SET NEW.n = 1"]);
    assert_eq!(all(&database), [Some(Changes::default()), None, None]);
    database.execute(&["CREATE TRIGGER p.b BEFORE UPDATE ON p.t FOR EACH ROW SET @x = 1"]);
    assert_eq!(all(&database), [Some(Changes::USER_VARIABLES), None, None]);
}

#[test]
fn mariadb_tells_of_its_triggers() {
    only_who_sees_all_is_believed(Server::MariaDb);
}

#[test]
fn mysql_tells_of_its_triggers() {
    only_who_sees_all_is_believed(Server::MySql);
}

fn bodies_are_read_by_who_may(server: Server, right: &str) {
    let Some(database) = Database::start(server) else { return };
    database.execute(&[
        "CREATE USER sees@'%' IDENTIFIED BY 'svc-secret'",
        &format!("GRANT {right} TO sees@'%'"),
        "CREATE USER blind@'%' IDENTIFIED BY 'svc-secret'",
        "GRANT EXECUTE ON p.* TO blind@'%'",
    ]);
    assert!(!seen(&database, "sees").routines.contains_key(&b"plain"[..]));
    database.execute(&[
        "CREATE PROCEDURE p.Plain(IN n INT, OUT m INT) BEGIN SET m = n; SELECT p.sets(m); END",
        "CREATE FUNCTION p.sets(n INT) RETURNS INT NO SQL BEGIN SET @x = n; RETURN n; END",
        "CREATE PROCEDURE p.`odd name`() CALL p.nowhere()",
    ]);
    let of = |user: &str, name: &str| seen(&database, user).routines.get(name.as_bytes()).copied();
    for (name, changes) in [
        ("plain", Some(Changes::USER_VARIABLES)),
        ("sets", Some(Changes::USER_VARIABLES)),
        ("odd name", Some(Changes::ANYTHING)),
        ("nowhere", None),
    ] {
        assert_eq!(of("sees", name), changes, "{name}");
    }
    assert_eq!(of("blind", "sets").unwrap_or(Changes::ANYTHING), Changes::ANYTHING);
}

#[test]
fn mariadb_tells_of_its_routines() {
    bodies_are_read_by_who_may(Server::MariaDb, "SELECT ON mysql.proc");
}

#[test]
fn mysql_tells_of_its_routines() {
    bodies_are_read_by_who_may(Server::MySql, "SHOW_ROUTINE ON *.*");
}
