//! c5: KILL, death and timeouts. P-80 to P-88.

use std::io::ErrorKind;

use crate::support::raw::{Login, Reply, WireError};
use crate::support::{Database, Proxy, Server, Stage, Wire, com, until};

/// The id the client was shown, which KILL takes.
pub(crate) fn id(wire: &Wire) -> u32 {
    wire.greeting.connection_id
}

pub(crate) const ASLEEP: &str =
    "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'User sleep'";

pub(crate) fn start_sleeping(stage: &Stage, wire: &mut Wire) {
    wire.command(com::QUERY, b"SELECT SLEEP(300)");
    stage.database.until_counted(ASLEEP);
}

/// P-80. KILL of an idle connection: it ends without an ERR.
pub(crate) fn p_80_kill_idle(stage: &Stage) {
    let (mut victim, mut killer) = (stage.open(), stage.open());
    victim.run("SELECT 'here'");
    killer.run(&format!("KILL {}", id(&victim)));
    // MySQL tells the client that it was killed, MariaDB does not.
    victim.until_closed();
    assert_eq!(killer.query("SELECT 'alive'").text(), "alive");
}
on!(p_80_kill_idle: mariadb, mysql);

/// P-80. KILL of a running connection.
fn p_80_kill_running(stage: &Stage) {
    let (mut victim, mut killer) = (stage.open(), stage.open());
    start_sleeping(stage, &mut victim);
    killer.run(&format!("KILL CONNECTION {}", id(&victim)));
    victim.until_closed();
    assert_eq!(killer.query("SELECT 'alive'").text(), "alive");
}
on!(p_80_kill_running: mariadb, mysql);

/// P-80. KILL of oneself.
fn p_80_kill_oneself(stage: &Stage) {
    let mut wire = stage.open();
    let own = id(&wire);
    let reply = wire.query(&format!("KILL {own}"));
    assert_eq!(reply.error(), Some(if stage.is_mysql() { 1317 } else { 1927 }), "{}", stage.name);
    wire.until_closed();
}
on!(p_80_kill_oneself: mariadb, mysql);

/// P-80. KILL of an id that nobody has.
pub(crate) fn p_80_kill_nobody(stage: &Stage) {
    let mut wire = stage.open();
    let reply = wire.query("KILL 4000000000");
    assert_eq!(reply.error(), Some(1094), "{}", stage.name);
    assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
}
on!(p_80_kill_nobody: mariadb, mysql);

/// P-81. KILL QUERY in every form hits the one it names and nobody else.
fn p_81_kill_query(stage: &Stage) {
    let mut killer = stage.open();
    let forms =
        ["KILL QUERY {}", "kill query {}", "KILL /* it */ QUERY {}", "KILL QUERY {} -- now"];
    let mariadb_forms = ["KILL SOFT QUERY {}", "KILL HARD QUERY {}"];
    let all = forms.iter().chain(if stage.is_mysql() { &[][..] } else { &mariadb_forms[..] });
    for form in all {
        let (mut victim, mut other) = (stage.open(), stage.open());
        start_sleeping(stage, &mut victim);
        killer.run(&form.replace("{}", &id(&victim).to_string()));
        let reply = victim.reply(com::QUERY);
        check_interrupted(stage, &reply);
        assert_eq!(victim.query("SELECT 'alive'").text(), "alive");
        assert_eq!(other.query("SELECT 'unharmed'").text(), "unharmed");
    }
}
on!(p_81_kill_query: mariadb, mysql);

/// P-82. A killed SLEEP is a row in MySQL and an error in MariaDB.
pub(crate) fn check_interrupted(stage: &Stage, reply: &Reply) {
    match stage.is_mysql() {
        true => assert_eq!(reply.text(), "1", "{}", stage.name),
        false => assert_eq!(reply.error(), Some(1317), "{}", stage.name),
    }
}

/// P-81. COM_PROCESS_KILL.
pub(crate) fn p_81_process_kill(stage: &Stage) {
    let (mut victim, mut killer) = (stage.open(), stage.open());
    victim.run("SELECT 'here'");
    let reply = killer.ask(com::PROCESS_KILL, &id(&victim).to_le_bytes());
    if stage.is_mysql() {
        // MySQL 9 may have given the command up.
        stage.note(&format!("{:?}", reply.error()));
    }
    if reply.error().is_none() {
        victim.until_closed();
    }
    assert_eq!(killer.query("SELECT 'alive'").text(), "alive");
}
on!(p_81_process_kill: mariadb, mysql);

/// P-81. KILL as a prepared statement.
fn p_81_kill_in_a_prepared_statement(stage: &Stage) {
    let (mut victim, mut killer) = (stage.open(), stage.open());
    start_sleeping(stage, &mut victim);
    let statement = killer.prepare(&format!("KILL QUERY {}", id(&victim)));
    let reply = killer.ask(com::EXECUTE, &crate::results::execute(statement, 0));
    assert_eq!(reply.error(), None, "{}", stage.name);
    check_interrupted(stage, &victim.reply(com::QUERY));
    assert_eq!(victim.query("SELECT 'alive'").text(), "alive");
}
on!(p_81_kill_in_a_prepared_statement: mariadb, mysql);

/// P-81. The id that the server itself tells, as applications ask for it.
fn p_81_kill_what_connection_id_tells(stage: &Stage) {
    let (mut victim, mut killer) = (stage.open(), stage.open());
    let told = victim.unrecorded("SELECT CONNECTION_ID()").text();
    start_sleeping(stage, &mut victim);
    killer.run(&format!("KILL QUERY {told}"));
    check_interrupted(stage, &victim.reply(com::QUERY));
    assert_eq!(victim.query("SELECT 'alive'").text(), "alive");
}
on!(p_81_kill_what_connection_id_tells: mariadb, mysql);

/// P-81. MariaDB's KILL QUERY ID names a statement, not a connection.
fn p_81_kill_query_id(stage: &Stage) {
    let (mut victim, mut other, mut killer) = (stage.open(), stage.open(), stage.open());
    start_sleeping(stage, &mut victim);
    let sql = "SELECT query_id FROM information_schema.processlist WHERE state = 'User sleep'";
    let query_id = stage.database.admin().query(sql).text();
    killer.run(&format!("KILL QUERY ID {query_id}"));
    check_interrupted(stage, &victim.reply(com::QUERY));
    assert_eq!(other.query("SELECT 'unharmed'").text(), "unharmed");
    assert_eq!(victim.query("SELECT 'alive'").text(), "alive");
}
on!(p_81_kill_query_id: mariadb);

/// P-81. MariaDB's KILL USER.
fn p_81_kill_user(stage: &Stage) {
    stage.setup(&["CREATE USER IF NOT EXISTS other@'%' IDENTIFIED BY 'odp-secret'"]);
    let login = Login { user: "other".into(), database: None, ..stage.login() };
    let mut victim = stage.open_with(&login).expect("log in");
    let mut killer = stage.open();
    victim.run("SELECT 'here'");
    killer.run("KILL USER other");
    victim.until_closed();
    assert_eq!(killer.query("SELECT 'alive'").text(), "alive");
}
on!(p_81_kill_user: mariadb);

/// P-83. A server that gives up an idle client: MySQL says so unasked, MariaDB just closes.
fn p_83_wait_timeout(stage: &Stage) {
    let mut wire = stage.open();
    wire.run("SET SESSION wait_timeout = 1");
    let last = wire.until_closed();
    assert_eq!(last.is_empty(), !stage.is_mysql(), "{}: {last:?}", stage.name);
}
on!(p_83_wait_timeout: mariadb, mysql);

/// What a client sees when its connection ends, in words.
fn end_of(wire: &mut Wire) -> String {
    wire.until_closed().escape_ascii().to_string()
}

/// P-84. A server that shuts down.
fn p_84_server_shutdown(server: Server) {
    let Some(mut database) = Database::start(server) else { return };
    let proxy = Proxy::start(&database);
    let open = |address: &str| Wire::open(address, &Login::default()).expect("log in");
    let mut idle = [open(&database.address()), open(&proxy.address())];
    let mut busy = [open(&database.address()), open(&proxy.address())];
    for wire in &mut busy {
        wire.command(com::QUERY, b"SELECT SLEEP(300)");
    }
    until("two sleepers", || (database.admin().query(ASLEEP).text() == "2").then_some(()));
    database.shut_down();
    let [direct, proxied] = idle.each_mut().map(end_of);
    assert_eq!(direct, proxied, "idle");
    let [direct, proxied] = busy.each_mut().map(end_of);
    assert_eq!(direct, proxied, "busy");
    database.start_again();
    let mut wire =
        until("the server again", || Wire::open(&proxy.address(), &Login::default()).ok());
    assert_eq!(wire.query("SELECT 'again'").text(), "again");
}

#[test]
fn p_84_server_shutdown_mariadb() {
    p_84_server_shutdown(Server::MariaDb);
}

#[test]
fn p_84_server_shutdown_mysql() {
    p_84_server_shutdown(Server::MySql);
}

/// P-85. A server that dies between a command and its answer: an ERR where one fits, or the end.
#[test]
fn p_85_server_dies_before_it_answers() {
    let Some(mut database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let mut wire = Wire::open(&proxy.address(), &Login::default()).expect("log in");
    wire.command(com::QUERY, b"SELECT SLEEP(300)");
    database.until_counted(ASLEEP);
    database.kill9();
    match wire.try_packet() {
        Ok(packet) => {
            assert!(matches!(packet.error(), Some(2013 | 1053)), "{packet:?}");
            assert_eq!(packet.sequence, 1);
            assert_eq!(end_of(&mut wire), "");
        }
        Err(error) => assert_ne!(error.kind(), ErrorKind::WouldBlock, "it ends"),
    }
    let refused = Wire::open(&proxy.address(), &Login::default());
    let refused = refused.err().expect("there is no server");
    assert!(matches!(refused, WireError::Io(_)) || refused.code() == Some(2003), "{refused:?}");
}

/// P-85. A server that dies in the middle of a row: no byte that is not the row's.
#[test]
fn p_85_server_dies_in_a_row() {
    const LENGTH: usize = 60 << 20;
    let Some(mut database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let mut wire = Wire::open(&proxy.address(), &Login::default()).expect("log in");
    wire.command(com::QUERY, format!("SELECT REPEAT('x', {LENGTH})").as_bytes());
    let count = wire.packet();
    assert_eq!(count.payload, [1]);
    wire.packet();
    // The row's header, the length of the value, the first part of it.
    wire.take(4 + 9 + 1000).expect("the row starts");
    database.kill9();
    let rest = wire.until_closed();
    assert!(rest.len() < LENGTH, "the server died after all of it was read");
    // The header of the row's second packet may stand in between, never an ERR.
    let foreign: Vec<u8> = rest.iter().copied().filter(|&byte| byte != b'x').collect();
    assert!(
        foreign.len().is_multiple_of(4) && foreign.chunks(4).all(|four| four[..3] == [0xFF; 3])
    );
}

/// P-86. A client that dies takes its transaction along.
#[test]
fn p_86_client_dies() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    database.execute(&["CREATE TABLE t (n INT) ENGINE = InnoDB", "INSERT INTO t VALUES (1)"]);
    let mut wire = Wire::open(&proxy.address(), &Login::default()).expect("log in");
    wire.run("BEGIN");
    wire.run("UPDATE t SET n = 2");
    drop(wire);
    // Waits for the row's lock, which only a rollback gives back.
    database.execute(&["UPDATE t SET n = n + 10"]);
    assert_eq!(database.admin().query("SELECT n FROM t").text(), "11");
}

/// P-86. A client that dies while rows flow frees the server.
#[test]
fn p_86_client_dies_while_rows_flow() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let mut wire = Wire::open(&proxy.address(), &Login::default()).expect("log in");
    wire.command(com::QUERY, b"SELECT REPEAT('x', 1000) FROM seq_1_to_100000000");
    wire.packet();
    drop(wire);
    let rest = "SELECT COUNT(*) = 1 FROM information_schema.processlist WHERE user = 'odp'";
    database.until_counted(rest);
}

/// P-87. Both sockets have keepalive on.
#[test]
fn p_87_keepalive() {
    if crate::support::proxy::is_haproxy() {
        return;
    }
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let mut wire = Wire::open(&proxy.address(), &Login::default()).expect("log in");
    wire.run("SELECT 1");
    // Idle sockets with keepalive have its timer running: number 2 in the kernel's table. The
    // column before it may show a retransmission (1) for a moment after data.
    let timer = |own: Option<u16>, peer: Option<u16>| {
        let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
        table.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let port = |field: &str| u16::from_str_radix(field.rsplit(':').next()?, 16).ok();
            let is = |want: Option<u16>, field| want.is_none() || want == port(field);
            let established = fields[3] == "01";
            let found = established && is(own, fields[1]) && is(peer, fields[2]);
            found.then(|| fields[5].starts_with("02:"))
        })
    };
    let client = wire.tcp().local_addr().expect("an address").port();
    until("keepalive on the client's socket", || {
        timer(Some(proxy.sql), Some(client)).filter(|&on| on)
    });
    until("keepalive on the server's socket", || timer(None, Some(database.port)).filter(|&on| on));
}

/// P-88. Refused log-ins: the server's own words.
fn p_88_refused_log_ins(stage: &Stage) {
    stage.setup(&[
        "CREATE USER IF NOT EXISTS small@'%' IDENTIFIED BY 'odp-secret'",
        "CREATE USER IF NOT EXISTS open@'%' IDENTIFIED BY ''",
        "CREATE USER IF NOT EXISTS locked@'%' IDENTIFIED BY 'odp-secret' ACCOUNT LOCK",
        "CREATE USER IF NOT EXISTS elsewhere@'192.0.2.1' IDENTIFIED BY 'odp-secret'",
    ]);
    let cases = [
        ("odp", "wrong", Some("p")),
        ("odp", "", Some("p")),
        ("small", "odp-secret", Some("p")),
        ("odp", "odp-secret", Some("nowhere")),
        ("locked", "odp-secret", None),
        ("elsewhere", "odp-secret", None),
        ("open", "wrong", None),
    ];
    for (user, password, database) in cases {
        let login = Login {
            user: user.into(),
            password: password.into(),
            database: database.map(str::to_owned),
            ..stage.login()
        };
        let refused = stage.open_with(&login).err().expect("it is refused");
        assert!(refused.code().is_some(), "{}: {user}: {refused:?}", stage.name);
    }
    let login =
        Login { user: "open".into(), password: String::new(), database: None, ..stage.login() };
    assert_eq!(stage.open_with(&login).expect("log in").query("SELECT 'in'").text(), "in");
}
on!(p_88_refused_log_ins: mariadb, mysql);

/// P-88. A server that is full.
fn p_88_too_many_connections(stage: &Stage) {
    let mut held = Vec::new();
    // The second turn fills what connections that were just being closed have left.
    for address in [&stage.database.address(), &stage.address] {
        let refused = loop {
            match Wire::open(address, &stage.login()) {
                Ok(wire) => held.push(wire),
                Err(refused) => break refused,
            }
            assert!(held.len() < 100, "no limit");
        };
        assert_eq!(refused.code(), Some(1040), "{}: {refused:?}", stage.name);
    }
    drop(held);
    until("room", || Wire::open(&stage.address, &stage.login()).ok());
    until("all gone", || {
        let sql = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'odp'";
        (stage.database.admin().query(sql).text() == "1").then_some(())
    });
}
on!(p_88_too_many_connections with ["--max-connections=12"]: mariadb, mysql);
