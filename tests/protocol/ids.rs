//! Ids of connections: what servers say of them is their own, and KILL understands that and the
//! greeting's in every place where an id can stand. P-81, P-89.

use odp::wire::capability as cap;

use crate::kill::{ASLEEP, check_interrupted, id, start_sleeping};
use crate::support::compare::compare;
use crate::support::proxy::{Options, is_haproxy};
use crate::support::raw::Login;
use crate::support::{Database, Proxy, Server, Stage, Wire, com, until};

/// Types of parameters, unsigned where that makes a difference.
const LONG: [u8; 2] = [3, 0x80];
const DOUBLE: [u8; 2] = [5, 0];
const LONGLONG: [u8; 2] = [8, 0x80];
const VAR_STRING: [u8; 2] = [0xFD, 0];

/// An id as the value of a parameter.
type Bound = fn(u32) -> Vec<u8>;

/// Has a sleeping victim killed by its greeting's id, again and again; each time exactly it.
struct Range<'a> {
    stage: &'a Stage<'a>,
    victim: Wire,
    other: Wire,
}

impl<'a> Range<'a> {
    fn open(stage: &'a Stage) -> Self {
        Self { stage, victim: stage.open(), other: stage.open() }
    }

    fn shoot(&mut self, shoot: impl FnOnce(u32)) {
        start_sleeping(self.stage, &mut self.victim);
        shoot(id(&self.victim));
        check_interrupted(self.stage, &self.victim.reply(com::QUERY));
        assert_eq!(self.victim.query("SELECT 'alive'").text(), "alive");
        assert_eq!(self.other.query("SELECT 'unharmed'").text(), "unharmed");
    }
}

/// P-81. KILL among other statements, in comments, programs and texts.
fn p_81_kill_wherever_it_stands(stage: &Stage) {
    let mut range = Range::open(stage);
    let mut killer = stage.open();
    let (before, behind) = ("x".repeat(7900), "y".repeat(5000));
    let long = format!("SELECT '{before}'; KILL QUERY {{}}; SELECT '{behind}'");
    let both = [
        "SELECT 'KILL 1'; KILL QUERY {}; SELECT 2",
        "DO 1; KILL QUERY {}",
        "/*! KILL QUERY {} */",
        "/*!50000 KILL QUERY {} */; SELECT 1",
        "KILL QUERY ({})",
        "KILL QUERY '{}'",
        "PREPARE k FROM 'KILL QUERY {}'; EXECUTE k; DEALLOCATE PREPARE k",
        "CREATE PROCEDURE k() KILL QUERY {}; CALL k(); DROP PROCEDURE k",
        &long,
    ];
    let mariadb = [
        "/*M!100100 KILL QUERY {} */",
        "EXECUTE IMMEDIATE 'KILL QUERY {}'",
        "EXECUTE IMMEDIATE 'KILL QUERY ?' USING {}",
        "BEGIN NOT ATOMIC KILL QUERY {}; END",
        "SET STATEMENT max_statement_time = 60 FOR KILL QUERY {}",
    ];
    let all = both.iter().chain(if stage.is_mysql() { &[][..] } else { &mariadb[..] });
    for form in all {
        range.shoot(|victim| _ = killer.run(&form.replace("{}", &victim.to_string())));
    }
}
on!(p_81_kill_wherever_it_stands: mariadb, mysql);

/// The body of a COM_STMT_EXECUTE with one parameter; None relies on the type of the last time.
fn execute(statement: u32, kind: Option<[u8; 2]>, value: &[u8]) -> Vec<u8> {
    let statement = statement.to_le_bytes();
    let kind = kind.map_or(vec![0], |[kind, sign]| vec![1, kind, sign]);
    [&statement[..], &[0, 1, 0, 0, 0, 0], &kind, value].concat()
}

/// P-81. An id as a parameter, of every type that drivers bind. MySQL takes none there since 9.
fn p_81_kill_by_a_parameter(stage: &Stage) {
    let mut range = Range::open(stage);
    let mut killer = stage.open();
    let kinds: [([u8; 2], Bound); 4] = [
        (LONG, |id| id.to_le_bytes().to_vec()),
        (DOUBLE, |id| f64::from(id).to_le_bytes().to_vec()),
        (LONGLONG, |id| u64::from(id).to_le_bytes().to_vec()),
        (VAR_STRING, |id| [&[id.to_string().len() as u8], id.to_string().as_bytes()].concat()),
    ];
    for (kind, value) in kinds {
        let statement = killer.prepare("KILL QUERY ?");
        // Later ones may rely on the type of the first.
        for kind in [Some(kind), None].into_iter().take(if kind == LONGLONG { 2 } else { 1 }) {
            range.shoot(|victim| {
                let body = execute(statement, kind, &value(victim));
                let reply = killer.ask(com::EXECUTE, &body);
                assert_eq!(reply.error(), None, "{}: {kind:?}: {:?}", stage.name, reply.last());
            });
        }
    }
}
on!(p_81_kill_by_a_parameter: mariadb);

/// P-81. MariaDB's clients may prepare and execute at once, without the statement's id.
fn p_81_kill_by_the_latest_statement(stage: &Stage) {
    let mut range = Range::open(stage);
    let mut killer = stage.open();
    range.shoot(|victim| {
        let value = u64::from(victim).to_le_bytes();
        killer.command(com::PREPARE, b"KILL QUERY ?");
        killer.command(com::EXECUTE, &execute(u32::MAX, Some(LONGLONG), &value));
        assert_eq!(killer.reply(com::PREPARE).error(), None, "{}", stage.name);
        assert_eq!(killer.reply(com::EXECUTE).error(), None, "{}", stage.name);
    });
}
on!(p_81_kill_by_the_latest_statement: mariadb);

/// P-81. KILL behind query attributes.
fn p_81_kill_behind_query_attributes(stage: &Stage) {
    let mut login = stage.login();
    login.capabilities |= cap::QUERY_ATTRIBUTES;
    let mut range = Range::open(stage);
    let mut killer = stage.open_with(&login).expect("log in");
    // `n`, a number, and `name`, a text.
    let attributes = b"\x02\x01\0\x01\x03\0\x01n\xFE\0\x04name\x01\0\0\0\x03abc";
    for attributes in [&b"\0\x01"[..], attributes] {
        range.shoot(|victim| {
            let sql = format!("KILL QUERY {victim}");
            let reply = killer.ask(com::QUERY, &[attributes, sql.as_bytes()].concat());
            assert_eq!(reply.error(), None, "{}: {:?}", stage.name, reply.last());
        });
    }
}
on!(p_81_kill_behind_query_attributes: mysql);

/// P-81. What another connection runs, by its greeting's id.
fn p_81_explain_another(stage: &Stage) {
    explain_another(stage, "EXPLAIN FOR CONNECTION {}");
    explain_another(stage, "DO 1; EXPLAIN FORMAT = JSON FOR CONNECTION {}");
}
on!(p_81_explain_another: mysql);

fn explain_another(stage: &Stage, form: &str) {
    stage.setup(&["CREATE OR REPLACE VIEW p.two AS SELECT 1 AS n UNION ALL SELECT 2"]);
    let (mut victim, mut other) = (stage.open(), stage.open());
    victim.command(com::QUERY, b"SELECT SLEEP(300 + n) FROM two");
    stage.database.until_counted(ASLEEP);
    let reply = other.query(&form.replace("{}", &id(&victim).to_string()));
    assert_eq!(reply.error(), None, "{}: {form}: {:?}", stage.name, reply.last());
    other.run(&format!("KILL {}", id(&victim)));
    victim.until_closed();
}

/// The same of MariaDB, where a sleeper answers within five seconds.
#[test]
fn p_81_show_explain_of_another() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let script = |stage: &Stage| explain_another(stage, "DO 1; SHOW EXPLAIN FOR {}");
    compare(&database, &database.address(), &proxy.address(), false, script);
}

/// The same numbers elsewhere are data.
fn p_89_ids_in_data_are_data(stage: &Stage) {
    let mut wire = stage.open();
    let other = stage.open();
    wire.set_recording(false);
    let own = id(&other);
    for sql in [
        "SELECT {}",
        "SELECT 'KILL {}'",
        "SELECT 'KILL {};'; SELECT 1",
        "SELECT 'x' AS `KILL {};`, {}; SELECT 1",
        "SELECT 1 /* KILL {}; */; SELECT 1",
        "/*!50000 SELECT 'KILL {};' */; SELECT 1",
        "SELECT @kill := {}; SELECT 1",
    ] {
        let sql = sql.replace("{}", &own.to_string());
        let reply = wire.run(&sql);
        let is_there = |packet: &[u8]| {
            let text = String::from_utf8_lossy(packet);
            text.contains(&own.to_string())
        };
        let told = reply.packets.iter().any(|packet| is_there(&packet.payload));
        assert!(told || sql.contains("/* KILL"), "{}: {sql}", stage.name);
    }
    let statement = wire.prepare("SELECT ?");
    let body = execute(statement, Some(LONGLONG), &u64::from(own).to_le_bytes());
    let reply = wire.ask(com::EXECUTE, &body);
    let row = &reply.packets[reply.packets.len() - 2].payload;
    assert_eq!(row[2..6], own.to_le_bytes(), "{}", stage.name);
}
on!(p_89_ids_in_data_are_data: mariadb, mysql);

/// P-89. Whatever a client asks about its id, it hears the same.
fn p_89_a_server_says_one_id(stage: &Stage) {
    let mut wire = stage.open();
    wire.set_recording(false);
    let told = wire.run("SELECT CONNECTION_ID()").text();
    let statement = wire.prepare("SELECT CONNECTION_ID()");
    let reply = wire.ask(com::EXECUTE, &crate::results::execute(statement, 0));
    let row = &reply.packets[reply.packets.len() - 2].payload[2..];
    let digits = row.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    assert_eq!(digits.to_string(), told, "{}: prepared", stage.name);
    wire.run("SELECT GET_LOCK('ids', 10)");
    for sql in [
        "select /* a comment */ connection_id()",
        "SELECT CONNECTION_ID() + 0",
        "SELECT 1; SELECT CONNECTION_ID()",
        "SELECT @@pseudo_thread_id",
        "SELECT IS_USED_LOCK('ids')",
        "SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT id FROM inf%'",
        "SELECT processlist_id FROM performance_schema.threads \
         WHERE processlist_id = CONNECTION_ID()",
    ] {
        let reply = wire.run(sql);
        let last = reply.packets.iter().rev().nth(1).expect("a row");
        let is_told = last.payload.ends_with(told.as_bytes());
        assert!(is_told, "{}: {sql}: {:?} is not {told}", stage.name, last.payload);
    }
    for sql in ["SHOW PROCESSLIST", "SHOW FULL PROCESSLIST"] {
        let rows = wire.run(sql).rows();
        let own = rows.iter().find(|row| row[7].as_deref() == Some(sql.as_bytes()));
        let own = own.unwrap_or_else(|| panic!("{}: {rows:?}", stage.name));
        assert_eq!(own[0].as_deref(), Some(told.as_bytes()), "{}: {sql}", stage.name);
    }
}
on!(p_89_a_server_says_one_id with ["--performance-schema=ON"]: mariadb, mysql);

/// P-89. Who may not kill hears the server's words, which name it as the process list does.
fn p_89_refusals_are_the_servers(stage: &Stage) {
    stage.setup(&["CREATE USER IF NOT EXISTS small@'%' IDENTIFIED BY 'odp-secret'"]);
    let login = Login { user: "small".into(), database: None, ..stage.login() };
    let mut small = stage.open_with(&login).expect("log in");
    let mut victim = stage.open();
    small.set_recording(false);
    let told = victim.unrecorded("SELECT CONNECTION_ID()").text();
    let refused = small.query(&format!("KILL {}", id(&victim)));
    assert_eq!(refused.error(), Some(1095), "{}", stage.name);
    let text = String::from_utf8_lossy(&refused.last().payload).into_owned();
    assert!(text.contains(&told), "{}: {text}, not {told}", stage.name);
    assert_eq!(victim.query("SELECT 'alive'").text(), "alive");
}
on!(p_89_refusals_are_the_servers: mariadb, mysql);

/// An id of a session on another server names nobody here: the command goes on as it is.
#[test]
fn p_81_an_id_of_another_server_is_left_alone() {
    if is_haproxy() {
        return;
    }
    let Some(mut first) = Database::start(Server::MariaDb) else { return };
    let Some(second) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start_with(&Options::new(&[first.address(), second.address()]));
    first.shut_down();
    let session_on = |port: u16| {
        until(&format!("a session on the server at port {port}"), || {
            let mut wire = Wire::open(&proxy.address(), &Login::default()).ok()?;
            (wire.run("SELECT @@port").text() == port.to_string()).then_some(wire)
        })
    };
    let mut there = session_on(second.port);
    first.start_again();
    let mut here = session_on(first.port);
    let reply = here.query(&format!("KILL {}", id(&there)));
    assert_eq!(reply.error(), Some(1094));
    let text = String::from_utf8_lossy(&reply.last().payload).into_owned();
    assert!(text.contains(&id(&there).to_string()), "{text}");
    assert_eq!(there.query("SELECT 'alive'").text(), "alive");
    // One that is on the same server is reached, in another generation, too.
    let mut near = session_on(first.port);
    proxy.restart();
    let mut late = session_on(first.port);
    near.run(&format!("KILL {}", id(&here)));
    here.until_closed();
    is_told_to_operators(&proxy, &mut near);
    late.run(&format!("DO 1; KILL {}", id(&near)));
    near.until_closed();
    assert_eq!(late.query("SELECT 'alive'").text(), "alive");
}

/// Who sees an id in a server's process list finds the session.
fn is_told_to_operators(proxy: &Proxy, wire: &mut Wire) {
    let told = wire.run("SELECT CONNECTION_ID()").text();
    let mut admin = proxy.admin().expect("the admin port");
    let shown = admin.run("SHOW PROXYSESSION").named_rows();
    let is_own = |row: &&std::collections::BTreeMap<String, String>| {
        row["proxy_sessid"] == id(wire).to_string()
    };
    let own = shown.iter().find(is_own).expect("its row");
    assert_eq!(own["server_sessid"], told);
}
