//! Two challenges in one log-in: a home and a reader, and nobody's password in the config.

use std::process::Command;

use odp::wire::capability as cap;

use crate::pair::Pair;
use crate::support::database::{fetched, mysql_command_line};
use crate::support::proxy::Options;
use crate::support::{Database, Login, Server, Wire, skip, until};

const WHO: &str = "SELECT name FROM p.who";
const PASSWORD: &str = "sword-fish";

/// Where a real client finds the proxy's port.
const PORT: &str = "ODP_TEST_PORT";

/// An account of its own.
fn login() -> Login {
    Login { user: "app".into(), password: PASSWORD.into(), ..Login::default() }
}

impl Pair {
    /// With roles that are configured, and these lines in `[[cluster]]`. The account is there.
    fn without_passwords(server: Server, cluster: &str) -> Option<Self> {
        Self::without_passwords_by(server, cluster, "")
    }

    /// The same with these further sections.
    fn without_passwords_by(server: Server, cluster: &str, sections: &str) -> Option<Self> {
        let (primary, replica) = Self::replicating(server)?;
        primary.execute(&[
            &format!("CREATE USER app IDENTIFIED BY '{PASSWORD}'"),
            "GRANT ALL ON p.* TO app",
        ]);
        let roles = [(&replica, "replica"), (&primary, "primary")];
        let section = |(server, role): (&Database, &str)| {
            format!("[[cluster.server]]\naddress = \"{}\"\nrole = \"{role}\"\n", server.address())
        };
        let mut options = Options::new(&[]);
        options.cluster = format!("read_write_split = \"on\"\n{cluster}\n");
        options.rest = roles.map(section).concat() + sections;
        let pair = Self::with(primary, replica, &options);
        pair.marked();
        Some(pair)
    }

    fn open_app(&self) -> Wire {
        Wire::open(&self.proxy.address(), &login()).expect("the proxy takes clients")
    }

    /// Both servers have the account in their caches.
    fn warm(&self) {
        for server in [&self.primary, &self.replica] {
            Wire::open(&server.address(), &login()).expect("it is let in");
        }
    }
}

/// `service_user`, without which MySQL tells nothing of a session's state.
fn service() -> String {
    let password = crate::support::database::PASSWORD;
    format!("service_user = \"odp\"\nservice_password = \"{password}\"\n")
}

#[test]
fn a_native_account_reads_on_the_replica_without_any_stored_secret() {
    let Some(pair) = Pair::without_passwords(Server::MariaDb, "") else { return };
    let mut wire = pair.open_app();
    assert_eq!(wire.login_end.sequence, 4, "it was asked for another answer");
    assert_eq!(wire.run(WHO).text(), "replica");
    // What the session changes is brought there, though nobody could log in to ask about servers.
    wire.run("SET @a = 'mine', sql_mode = 'ANSI_QUOTES', group_concat_max_len = 777");
    let mine = "SELECT CONCAT(name, @a, @@group_concat_max_len) FROM p.\"who\"";
    assert_eq!(wire.run(mine).text(), "replicamine777");
    wire.run("INSERT INTO p.t (n) VALUES (99)");
    assert_eq!(wire.run("SELECT n FROM p.t ORDER BY id DESC LIMIT 1").text(), "99");
    // It all crosses a restart, with what was learned of the servers.
    pair.proxy.restart();
    assert_eq!(wire.run(mine).text(), "replicamine777");
    wire.run("SET @a = 'changed', group_concat_max_len = 888");
    assert_eq!(wire.run(mine).text(), "replicachanged888");
    // The link is as good as its connection: there is no other, and home has it all.
    pair.replica.execute(&["KILL USER app"]);
    assert_eq!(wire.run(mine).text(), "primarychanged888");
    assert_eq!(wire.run(mine).text(), "primarychanged888");
    assert_eq!(pair.open_app().run(WHO).text(), "replica");
}

/// The first log-in asks the servers what they are like, over the client's own connections.
#[test]
fn nothing_is_seen_of_what_its_connections_were_asked() {
    for server in [Server::MariaDb, Server::MySql] {
        let Some(pair) = Pair::without_passwords(server, &service()) else { return };
        pair.warm();
        let mut direct = Wire::open(&pair.primary.address(), &login()).expect("it is let in");
        let mut wire = pair.open_app();
        for asked in ["SELECT ROW_COUNT(), FOUND_ROWS(), LAST_INSERT_ID()", "SHOW WARNINGS"] {
            let (directly, through) = (direct.run(asked), wire.run(asked));
            assert_eq!(through.rows(), directly.rows(), "{server:?} {asked}");
        }
    }
}

#[test]
fn who_does_not_go_along_has_one_link() {
    let Some(mut pair) = Pair::without_passwords(Server::MariaDb, "") else { return };
    // A client that knows no plugins.
    let old = Login { capabilities: login().capabilities & !cap::PLUGIN_AUTH, ..login() };
    let mut wire = Wire::open(&pair.proxy.address(), &old).expect("it is let in");
    assert_eq!((wire.login_end.sequence, wire.run(WHO).text()), (2, "primary".into()));
    // One whose answer to the second challenge is wrong there.
    pair.replica.execute(&["SET sql_log_bin = 0", "SET PASSWORD FOR app = PASSWORD('other')"]);
    let mut wire = pair.open_app();
    assert_eq!((wire.login_end.sequence, wire.run(WHO).text()), (4, "primary".into()));
    // One without a password needs no second challenge.
    pair.primary.execute(&["CREATE USER nobody", "GRANT ALL ON p.* TO nobody"]);
    pair.until_caught_up();
    let nobody = Login { user: "nobody".into(), password: String::new(), ..login() };
    let mut wire = Wire::open(&pair.proxy.address(), &nobody).expect("it is let in");
    assert_eq!((wire.login_end.sequence, wire.run(WHO).text()), (2, "replica".into()));
    // A wrong password is found out by the home alone.
    let wrong = Login { password: "wrong".into(), ..login() };
    let refused = Wire::open(&pair.proxy.address(), &wrong).err().expect("it is refused");
    assert_eq!(refused.code(), Some(1045));
    // A replica that is not there.
    pair.replica.kill9();
    let mut wire = pair.open_app();
    assert_eq!((wire.login_end.sequence, wire.run(WHO).text()), (2, "primary".into()));
}

#[test]
fn nobody_else_is_asked_twice() {
    let Some(pair) = Pair::without_passwords(Server::MariaDb, "") else { return };
    pair.splits("weak");
    assert_eq!(pair.open_app().login_end.sequence, 2);
    pair.splits("off");
    assert_eq!(pair.open_app().login_end.sequence, 2);
}

/// The service account may not read hashes, which is known after the first read.
#[test]
fn a_service_account_that_may_not_read_hashes_is_none() {
    let svc = "service_user = \"svc\"\nservice_password = \"svc\"\n";
    let Some(pair) = Pair::without_passwords(Server::MariaDb, svc) else { return };
    pair.primary.execute(&["CREATE USER svc IDENTIFIED BY 'svc'"]);
    pair.until_caught_up();
    let mut first = pair.open_app();
    assert_eq!((first.login_end.sequence, first.run(WHO).text()), (2, "primary".into()));
    let mut second = pair.open_app();
    assert_eq!((second.login_end.sequence, second.run(WHO).text()), (4, "replica".into()));
    second.run("SET @a = 'mine'");
    assert_eq!(second.run("SELECT CONCAT(name, @a) FROM p.who").text(), "replicamine");
}

#[test]
fn a_sha2_account_reads_on_the_replica_where_caches_are_warm() {
    let Some(pair) = Pair::without_passwords(Server::MySql, &service()) else { return };
    pair.warm();
    let mut wire = pair.open_app();
    assert_eq!(wire.login_end.sequence, 5, "it was asked for another answer");
    assert_eq!(wire.run(WHO).text(), "replica");
    wire.run("SET @a = 'mine', group_concat_max_len = 777");
    let mine = "SELECT CONCAT(name, @a, @@group_concat_max_len) FROM p.who";
    assert_eq!(wire.run(mine).text(), "replicamine777");
    pair.proxy.restart();
    wire.run("SET @a = 'changed'");
    assert_eq!(wire.run(mine).text(), "replicachanged777");
    // A replica with a cold cache wants the password itself.
    pair.replica.execute(&["FLUSH PRIVILEGES"]);
    let mut wire = pair.open_app();
    assert_eq!((wire.login_end.sequence, wire.run(WHO).text()), (5, "primary".into()));
    // For a while it is not asked again, as it may count wrong passwords.
    let mut wire = pair.open_app();
    assert_eq!((wire.login_end.sequence, wire.run(WHO).text()), (3, "primary".into()));
}

#[test]
fn a_sha2_account_has_one_link_where_its_home_asks_for_the_password() {
    let Some(pair) = Pair::without_passwords(Server::MySql, &service()) else { return };
    let mut wire = pair.open_app();
    assert_eq!(wire.run(WHO).text(), "primary");
    // Its cache is warm now, and the replica's is not.
    assert_eq!(pair.open_app().login_end.sequence, 5);
}

/// What a full log-in taught is good for a replica with a warm cache only, and not tried each time.
#[test]
fn a_replica_with_a_cold_cache_is_not_asked_for_each_read() {
    let tls = "[tls.server]\nmode = \"require\"\n";
    let Some(pair) = Pair::without_passwords_by(Server::MySql, &service(), tls) else { return };
    let aborted = || {
        let rows = pair.replica.admin().run("SHOW GLOBAL STATUS LIKE 'Aborted_connects'").rows();
        String::from_utf8(rows[0][1].clone().expect("a number")).expect("digits")
    };
    let before = aborted().parse::<u32>().expect("a number");
    let mut wire = pair.open_app();
    for _ in 0..5 {
        assert_eq!(wire.run(WHO).text(), "primary");
    }
    until("the replica to have refused it", || {
        (aborted() == (before + 1).to_string()).then_some(())
    });
    for _ in 0..5 {
        assert_eq!(wire.run(WHO).text(), "primary");
    }
    assert_eq!(aborted(), (before + 1).to_string());
}

/// Each client's own words for one read, printed.
fn clients() -> Vec<(&'static str, Command)> {
    let mut found = Vec::new();
    let arguments = ["--no-defaults", "-h127.0.0.1", "-uapp", "-N", "-e", WHO];
    let mut shell = |name, command: Option<Command>| match command {
        Some(mut command) => {
            command.args(arguments).arg(format!("-p{PASSWORD}"));
            found.push((name, command));
        }
        None => skip(&format!("{name} is not to be had here")),
    };
    let mariadb = std::path::Path::new("/usr/bin/mariadb");
    shell("libmariadb", mariadb.exists().then(|| Command::new(mariadb)));
    shell("libmysqlclient", mysql_command_line());
    let python = fetched("ODP_TEST_PYTHON", "python");
    let program = "import os, pymysql\n\
        it = pymysql.connect(host='127.0.0.1', port=int(os.environ['ODP_TEST_PORT']), user='app',\n\
        password=os.environ['ODP_TEST_SECRET'], autocommit=True).cursor()\n\
        it.execute('SELECT name FROM p.who')\nprint(it.fetchone()[0])";
    if python.join("ready").exists() {
        let mut command = Command::new(python.join("venv/bin/python"));
        command.args(["-c", program]).env("PYTHONPATH", python.join("suite"));
        found.push(("pymysql", command));
    } else {
        skip("pymysql is not to be had here");
    }
    let mysql2 = fetched("ODP_TEST_CLIENTS", "clients").join("mysql2");
    let program = "const mysql = require('mysql2/promise');\n\
        mysql.createConnection({host: '127.0.0.1', port: Number(process.env.ODP_TEST_PORT),\n\
        user: 'app', password: process.env.ODP_TEST_SECRET}).then(async (it) => {\n\
        const [rows] = await it.query('SELECT name FROM p.who');\n\
        console.log(rows[0].name); await it.end(); });";
    if mysql2.join("ready").exists() {
        let mut command = Command::new("node");
        command.args(["-e", program]).env("NODE_PATH", mysql2.join("node_modules"));
        found.push(("mysql2", command));
    } else {
        skip("mysql2 is not to be had here");
    }
    found
}

/// What each client reads, with its name.
fn read_by_clients(pair: &Pair) -> Vec<(&'static str, String)> {
    let port = pair.proxy.sql.to_string();
    let read = |(name, mut command): (&'static str, Command)| {
        if name.starts_with("lib") {
            command.arg(format!("-P{port}"));
        }
        let run = command.env(PORT, &port).env("ODP_TEST_SECRET", PASSWORD).output();
        let output = run.expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        (name, if output.status.success() { said } else { errors.into_owned() })
    };
    clients().into_iter().map(read).collect()
}

#[test]
fn clients_answer_both_challenges_of_mariadb() {
    let Some(pair) = Pair::without_passwords(Server::MariaDb, "") else { return };
    let mut found = read_by_clients(&pair);
    // It has no mysql_native_password any more.
    found.retain(|(client, read)| {
        *client != "libmysqlclient" || !read.contains("mysql_native_password")
    });
    assert!(found.iter().all(|(_, read)| read == "replica"), "{found:?}");
}

#[test]
fn clients_answer_both_challenges_of_mysql() {
    let Some(pair) = Pair::without_passwords(Server::MySql, &service()) else { return };
    pair.warm();
    let sql = "SELECT SUM(TOTAL_CONNECTIONS) FROM performance_schema.accounts WHERE USER = 'app'";
    let links = || pair.replica.admin().run(sql).text().parse::<usize>().expect("a number");
    let before = links();
    let found = read_by_clients(&pair);
    let wrong = found.iter().filter(|(client, read)| match *client {
        // It takes the NUL behind the challenge for a part of it, so its answer is to another one.
        "pymysql" => read != "primary" && read != "replica",
        // The command line begins with a statement that pins it, so that its link is not used.
        "libmysqlclient" => read != "primary",
        _ => read != "replica",
    });
    assert_eq!(wrong.collect::<Vec<_>>(), Vec::<&(&str, String)>::new());
    let opened = found.iter().filter(|(client, _)| *client != "pymysql").count();
    assert!((opened..=found.len()).contains(&(links() - before)), "{found:?}");
}
