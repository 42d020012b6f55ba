//! Programs that change tables while they are used, and keep to themselves by locks and ids:
//! gh-ost's way to exchange tables, and pt-online-schema-change itself. Everything goes on while
//! the proxy is restarted.
//!
//! gh-ost is in no distribution: `tests/clients/gh-ost` runs the real one.

use std::path::Path;
use std::process::Command;

use crate::support::compare::under_restarts;
use crate::support::database::PASSWORD;
use crate::support::proxy::is_haproxy;
use crate::support::{Database, Login, Proxy, Server, Wire, com, skip, until};

/// Waits until the answer to a question is not empty.
fn until_found(wire: &mut Wire, sql: &str) {
    until(sql, || (wire.run(sql).row_count() > 0).then_some(()));
}

/// What gh-ost says to exchange two tables, in its words and order, each step in another
/// generation: one session locks both, a second waits with the RENAME, and a third finds out by
/// their ids that it does, and that the lock is still the first one's.
fn tables_are_exchanged(server: Server) {
    let Some(database) = Database::start(server) else { return };
    database.execute(&[
        "CREATE TABLE p.t (n INT PRIMARY KEY) ENGINE = InnoDB",
        "CREATE TABLE p._t_gho (n INT PRIMARY KEY, more INT) ENGINE = InnoDB",
        "INSERT INTO p._t_gho VALUES (1, 2)",
    ]);
    let proxy = Proxy::start(&database);
    let open = || Wire::open(&proxy.address(), &Login::default()).expect("a session");
    let restart = || {
        if !is_haproxy() {
            proxy.restart();
        }
    };
    let (mut locker, mut renamer, mut asker, mut user) = (open(), open(), open(), open());
    let id = |wire: &mut Wire| wire.run("select /* gh-ost */ connection_id()").text();
    locker.run("BEGIN");
    let locker_id = id(&mut locker);
    let lock = format!("gh-ost.{locker_id}.lock");
    assert_eq!(locker.run(&format!("select /* gh-ost */ get_lock('{lock}', 0)")).text(), "1");
    restart();
    locker.run("set /* gh-ost */ session lock_wait_timeout := 6");
    asker.run(
        "create /* gh-ost */ table `p`.`_t_del` (id int auto_increment primary key) \
         engine=InnoDB comment='ghost-cut-over-sentry'",
    );
    locker.run("lock /* gh-ost */ tables `p`.`t` write, `p`.`_t_del` write");
    restart();
    renamer.run("BEGIN");
    let renamer_id = id(&mut renamer);
    renamer.run("set /* gh-ost */ session lock_wait_timeout := 60");
    let rename = "rename /* gh-ost */ table `p`.`t` to `p`.`_t_del`, `p`.`_t_gho` to `p`.`t`";
    renamer.command(com::QUERY, rename.as_bytes());
    restart();
    let waits = format!(
        "select id from information_schema.processlist where id != connection_id() \
         and {renamer_id} in (0, id) and state like concat('%', 'metadata lock', '%') \
         and info like concat('%', 'rename', '%')"
    );
    until_found(&mut asker, &waits);
    let is_used = format!("select is_used_lock('{lock}')");
    assert_eq!(asker.run(&is_used).text(), locker_id, "the lock is whose it was");
    // One who waits behind the RENAME, or, should that still wait for the other table, is first.
    user.command(com::QUERY, b"SELECT * FROM t");
    restart();
    locker.run("drop /* gh-ost */ table if exists `p`.`_t_del`");
    locker.run("unlock tables");
    restart();
    assert_eq!(renamer.reply(com::QUERY).error(), None);
    assert_eq!(user.reply(com::QUERY).error(), None);
    assert_eq!(user.run("SELECT more FROM t").text(), "2", "the new table");
    locker.run("ROLLBACK");
    assert_eq!(locker.run(&format!("select release_lock('{lock}')")).text(), "1");
}

#[test]
fn gh_ost_exchanges_tables_mariadb() {
    tables_are_exchanged(Server::MariaDb);
}

#[test]
fn gh_ost_exchanges_tables_mysql() {
    tables_are_exchanged(Server::MySql);
}

/// Changes a table of some thousand rows while rows are inserted.
fn pt_online_schema_change(server: Server) {
    let program = Path::new("/usr/bin/pt-online-schema-change");
    if !program.exists() {
        return skip("pt-online-schema-change is not installed");
    }
    let Some(database) = Database::start(server) else { return };
    database.execute(&[
        "CREATE TABLE p.t (n INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(40)) ENGINE = InnoDB",
        "INSERT INTO p.t (v) SELECT 'old' FROM information_schema.columns LIMIT 700",
        "INSERT INTO p.t (v) SELECT a.v FROM p.t a, (SELECT 1 UNION SELECT 2 UNION SELECT 3) b",
    ]);
    let proxy = Proxy::start(&database);
    let mut wire = Wire::open(&proxy.address(), &Login::default()).expect("a session");
    let run = || {
        let address = format!("h=127.0.0.1,P={},u=odp,p={PASSWORD},D=p,t=t", proxy.sql);
        let child = Command::new(program)
            .args(["--execute", "--alter", "ADD COLUMN more INT NOT NULL DEFAULT 7"])
            .args(["--chunk-size", "100", "--chunk-time", "0", "--recursion-method", "none"])
            .args(["--no-version-check", "--set-vars", "lock_wait_timeout=30", &address])
            .output()
            .expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (shown, errors) = (text(&child.stdout), text(&child.stderr));
        assert!(child.status.success(), "{}\n{shown}\n{errors}", child.status);
        assert!(shown.contains("Successfully altered"), "{shown}");
    };
    let mut all = || {
        std::thread::scope(|scope| {
            let change = scope.spawn(run);
            while !change.is_finished() {
                wire.run("INSERT INTO t (v) VALUES ('new')");
            }
            change.join().expect("the table is changed");
        });
    };
    if is_haproxy() {
        all();
    } else {
        let count = under_restarts(&proxy, all);
        eprintln!("{count} restarts meanwhile");
        assert!(count > 1, "{count} restarts");
    }
    let mut admin = database.admin();
    let sum = "SELECT COUNT(*) = SUM(more = 7) AND SUM(v = 'old') = 2800 AND SUM(v = 'new') > 0";
    assert_eq!(admin.run(&format!("{sum} FROM p.t")).text(), "1");
    let rest = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'p'";
    assert_eq!(admin.run(rest).text(), "1", "no table of its own is left");
}

#[test]
fn pt_online_schema_change_mariadb() {
    pt_online_schema_change(Server::MariaDb);
}

#[test]
fn pt_online_schema_change_mysql() {
    pt_online_schema_change(Server::MySql);
}
