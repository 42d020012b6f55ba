//! What is asked of real servers, in every dialect and compression, and what they answer.

use odp::proxy::service::answer::{Answer, Done};
use odp::proxy::service::client::{command, prepare, queries, query, query_all, quit, tell};
use odp::proxy::service::error::ServiceError;
use odp::proxy::service::login::{LoggedIn, Wanted, attributes};
use odp::wire::capability as cap;
use odp::wire::command::code;
use odp::wire::compressed::{Compression, ZstdLevel};
use odp::wire::response::ServerStatus;
use odp::wire::status;

use crate::scene::{MOST, Scene, run, text};
use crate::support::{Database, Server};

const SERVERS: [Server; 3] = [Server::MariaDb, Server::MariaDb11, Server::MySql];

/// Ways to speak that a server may understand.
fn ways(server: Server) -> Vec<Wanted<'static>> {
    let plain = Wanted::default();
    let tracking = cap::DEPRECATE_EOF | cap::SESSION_TRACK | cap::MULTI_RESULTS;
    let modern = Wanted { capabilities: plain.capabilities | tracking, ..plain.clone() };
    let zlib = Wanted { compression: Some(Compression::Zlib), ..modern.clone() };
    let mut ways = vec![plain, modern, zlib];
    if server == Server::MySql {
        let zstd = Some(Compression::Zstd(ZstdLevel::DEFAULT));
        let capabilities = ways[1].capabilities | cap::QUERY_ATTRIBUTES;
        ways.push(Wanted { capabilities, compression: zstd, ..Wanted::default() });
    }
    ways
}

/// Does this by every way with every server.
fn everywhere(test: impl AsyncFn(&mut LoggedIn)) {
    for server in SERVERS {
        let Some(database) = Database::start(server) else { continue };
        database.execute(&["CREATE TABLE p.t (id INT PRIMARY KEY AUTO_INCREMENT, x LONGBLOB)"]);
        let scene = Scene::to(&database.address(), "prefer");
        for way in ways(server) {
            let way = Wanted { database: Some(b"p"), ..way };
            run(async {
                let mut entered = scene.enter(&way).await;
                assert_eq!(entered.leg.compression(), way.compression, "{server:?}");
                entered.ask("TRUNCATE TABLE t").await;
                test(&mut entered).await;
                quit(entered.leg).await;
            });
        }
    }
}

/// Shorter words for the tests.
trait Asked {
    async fn ask(&mut self, sql: &str) -> Answer;
    async fn value(&mut self, sql: &str) -> String;
}

impl Asked for LoggedIn {
    async fn ask(&mut self, sql: &str) -> Answer {
        let answer = query(&mut self.leg, self.terms, sql.as_bytes(), MOST).await;
        answer.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    async fn value(&mut self, sql: &str) -> String {
        first(&self.ask(sql).await)
    }
}

fn first(answer: &Answer) -> String {
    match answer {
        Answer::Rows { set, .. } => text(&set.rows[0][0]),
        other => panic!("{other:?}"),
    }
}

fn code_of(answer: &Answer) -> u16 {
    match answer {
        Answer::Err(error) => error.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rows_counts_and_errors_are_told() {
    everywhere(async |entered| {
        let done = entered.ask("INSERT INTO t (x) VALUES ('a'), (NULL), ('')").await;
        match done {
            Answer::Ok(Done { affected: 3, insert_id: 1, warnings: 0, .. }) => {}
            other => panic!("{other:?}"),
        }
        entered.ask("BEGIN").await;
        let Answer::Rows { set, status } = entered.ask("SELECT id, x FROM t ORDER BY id").await
        else {
            panic!("rows");
        };
        let flags = match status {
            ServerStatus::Known(flags) => flags,
            ServerStatus::Unknown => panic!("the end of rows has a status"),
        };
        assert_ne!(flags & status::IN_TRANS, 0);
        assert_eq!(set.columns.len(), 2);
        let rows: Vec<_> = set.rows.iter().map(|row| row[1].clone()).collect();
        assert_eq!(rows, [Some(b"a".to_vec()), None, Some(Vec::new())]);
        let empty = entered.ask("SELECT x FROM t WHERE id > 9").await;
        assert!(matches!(empty, Answer::Rows { ref set, .. } if set.rows.is_empty()), "{empty:?}");
        let error = entered.ask("SELECT nothing FROM t").await;
        assert!(
            matches!(&error, Answer::Err(error) if error.code == 1054 && error.state == "42S22"),
            "{error:?}"
        );
        assert_eq!(entered.value("SELECT 7").await, "7");
    });
}

#[test]
fn an_error_behind_rows_is_the_answer() {
    everywhere(async |entered| {
        entered.ask("INSERT INTO t (x) VALUES ('a'), ('b')").await;
        let sql = "SELECT id, IF(id = 1, 1, (SELECT id FROM t)) FROM t ORDER BY id";
        assert_eq!(code_of(&entered.ask(sql).await), 1242);
        assert_eq!(entered.value("SELECT 7").await, "7");
    });
}

#[test]
fn commands_of_one_packet_are_answered() {
    everywhere(async |entered| {
        let terms = entered.terms;
        let ping = command(&mut entered.leg, terms, code::PING, &[]).await.expect("an answer");
        assert!(matches!(ping, Answer::Ok(_)), "{ping:?}");
        let gone = command(&mut entered.leg, terms, code::INIT_DB, b"nowhere").await;
        assert_eq!(code_of(&gone.expect("an answer")), 1049);
        command(&mut entered.leg, terms, code::INIT_DB, b"mysql").await.expect("an answer");
        assert_eq!(entered.value("SELECT DATABASE()").await, "mysql");
        entered.ask("USE p").await;
    });
}

#[test]
fn statements_are_prepared_and_closed() {
    everywhere(async |entered| {
        let (leg, terms) = (&mut entered.leg, entered.terms);
        for (sql, columns, parameters) in
            [("SELECT ?, id, x FROM t WHERE id = ?", 3, 2), ("DO 1", 0, 0), ("SELECT 1", 1, 0)]
        {
            let prepared = prepare(leg, terms, sql.as_bytes(), MOST).await.expect("an answer");
            let prepared = prepared.expect("it can be prepared");
            assert_eq!((prepared.columns, prepared.parameters), (columns, parameters), "{sql}");
            tell(leg, code::STMT_CLOSE, &prepared.id.0.to_le_bytes()).await.expect("sent");
        }
        let error = prepare(leg, terms, b"SELECT nothing FROM t", MOST).await.expect("an answer");
        assert_eq!(error.expect_err("there is no such column").code, 1054);
        assert_eq!(entered.value("SELECT 7").await, "7");
    });
}

#[test]
fn statements_are_sent_together_and_answered_one_by_one() {
    everywhere(async |entered| {
        let long = format!("SET @x = '{}'", "x".repeat(300_000));
        let statements = [&long, "SELECT LENGTH(@x)", "SELECT nothing", "SELECT 7"];
        let statements = statements.map(str::as_bytes);
        let answers = queries(&mut entered.leg, entered.terms, &statements, MOST).await;
        let answers = answers.expect("answers");
        assert!(matches!(answers[0], Answer::Ok(_)));
        assert_eq!(first(&answers[1]), "300000");
        assert_eq!(code_of(&answers[2]), 1054);
        assert_eq!(first(&answers[3]), "7");
        // Who only wrote would wait for ever: what is answered does not fit between the two.
        let wide = "SELECT REPEAT('y', 1000000)";
        let many: Vec<&[u8]> =
            std::iter::repeat_n([wide.as_bytes(), long.as_bytes()], 24).flatten().collect();
        let answers = queries(&mut entered.leg, entered.terms, &many, 64 * MOST).await;
        assert_eq!(answers.expect("answers").len(), 48);
    });
}

#[test]
fn what_is_longer_than_a_packet_goes_both_ways() {
    const LENGTH: usize = (1 << 24) + 5;
    everywhere(async |entered| {
        let sql = format!("INSERT INTO t (x) VALUES ('{}')", "x".repeat(LENGTH));
        let done = query(&mut entered.leg, entered.terms, sql.as_bytes(), MOST).await;
        assert!(matches!(done, Ok(Answer::Ok(_))), "{done:?}");
        let sql = b"SELECT x, 'behind' FROM t";
        let rows = query(&mut entered.leg, entered.terms, sql, 2 * LENGTH).await;
        let Ok(Answer::Rows { set, .. }) = rows else { panic!("rows") };
        assert_eq!(set.rows[0][0].as_ref().map(Vec::len), Some(LENGTH));
        assert_eq!(text(&set.rows[0][1]), "behind");
        assert_eq!(entered.value("SELECT 7").await, "7");
    });
}

#[test]
fn answers_that_are_too_long_are_given_up() {
    everywhere(async |entered| {
        let scrap = Scene::to(&entered.server.address, "prefer");
        let mut other = scrap.enter(&Wanted::default()).await;
        let error = query(&mut other.leg, other.terms, b"SELECT REPEAT('x', 100000)", 90_000).await;
        assert!(matches!(error, Err(ServiceError::TooLong { limit: 90_000 })), "{error:?}");
    });
}

/// Values are values where a session wants no columns.
#[test]
fn rows_come_without_columns_too() {
    let Some(database) = Database::start(Server::MySql) else { return };
    let scene = Scene::to(&database.address(), "off");
    for way in ways(Server::MySql) {
        let optional = way.capabilities | cap::OPTIONAL_METADATA;
        // With this one the bit is MariaDB's.
        let capabilities = optional | cap::LONG_PASSWORD;
        run(async {
            let mut entered = scene.enter(&Wanted { capabilities, ..way }).await;
            entered.ask("SET SESSION resultset_metadata = NONE").await;
            let answer = entered.ask("SELECT 7, NULL").await;
            let Answer::Rows { set, .. } = answer else { panic!("{answer:?}") };
            assert_eq!((set.columns.len(), set.rows), (0, vec![vec![Some(b"7".to_vec()), None]]));
            entered.ask("SET SESSION resultset_metadata = FULL").await;
            let answer = entered.ask("SELECT 7, NULL").await;
            let Answer::Rows { set, .. } = answer else { panic!("{answer:?}") };
            assert_eq!((set.columns.len(), set.rows.len()), (2, 1));
        });
    }
}

#[test]
fn several_results_are_told_where_they_are_wanted() {
    for server in SERVERS {
        let Some(database) = Database::start(server) else { continue };
        let scene = Scene::to(&database.address(), "off");
        for way in ways(server) {
            let both = cap::MULTI_STATEMENTS | cap::MULTI_RESULTS;
            let way = Wanted { capabilities: way.capabilities | both, ..way };
            run(async {
                let mut entered = scene.enter(&way).await;
                let sql = b"SELECT 1; DO 1; SELECT 2; SELECT nothing; SELECT 3";
                let answers = query_all(&mut entered.leg, entered.terms, sql, MOST).await;
                let answers = answers.expect("answers");
                assert_eq!(answers.len(), 4);
                assert_eq!((first(&answers[0]), first(&answers[2])), ("1".into(), "2".into()));
                assert!(matches!(answers[1], Answer::Ok(_)));
                assert_eq!(code_of(&answers[3]), 1054);
                let error = query(&mut entered.leg, entered.terms, b"DO 1; DO 2", MOST).await;
                assert!(matches!(error, Err(ServiceError::Several(2))), "{error:?}");
            });
        }
    }
}

#[test]
fn a_connection_begins_as_it_was_wanted() {
    for server in SERVERS {
        let Some(database) = Database::start(server) else { continue };
        let scene = Scene::to(&database.address(), "off");
        let attributes = attributes(&[("program_name", "odp"), ("x", "")]);
        let wanted = Wanted {
            database: Some(b"p"),
            attributes: &attributes,
            collation: 8,
            init: b"SET @x = 7",
            ..Wanted::default()
        };
        run(async {
            let mut entered = scene.enter(&wanted).await;
            let answer = entered.ask("SELECT DATABASE(), @@collation_connection, @x").await;
            let Answer::Rows { set, .. } = answer else { panic!("{answer:?}") };
            let row: Vec<String> = set.rows[0].iter().map(text).collect();
            assert_eq!(row, ["p", "latin1_swedish_ci", "7"]);
            assert_eq!(entered.value("SELECT CONNECTION_ID()").await, entered.thread.to_string());
            let wrong = Wanted { init: b"SELECT nothing", ..wanted.clone() };
            let credentials = odp::proxy::accounts::credentials::Credentials::clear(
                "odp",
                crate::support::database::PASSWORD,
            );
            let error = scene.log_in(&credentials, &wrong).await.expect_err("it fails");
            assert!(matches!(&error, ServiceError::Init(error) if error.code == 1054), "{error}");
            let gone = Wanted { database: Some(b"nowhere"), ..Wanted::default() };
            let error = scene.log_in(&credentials, &gone).await.expect_err("it fails");
            assert!(
                matches!(&error, ServiceError::Refused(error) if error.code == 1049),
                "{error}"
            );
        });
    }
}

#[test]
fn a_file_that_a_server_asks_for_is_not_sent() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    database.execute(&["CREATE TABLE p.t (x TEXT)"]);
    let scene = Scene::to(&database.address(), "off");
    let plain = Wanted::default();
    let capabilities = plain.capabilities | cap::LOCAL_FILES;
    run(async {
        let mut entered = scene.enter(&Wanted { capabilities, ..plain }).await;
        let sql = b"LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE p.t";
        let error = query(&mut entered.leg, entered.terms, sql, MOST).await;
        assert!(matches!(error, Err(ServiceError::Malformed(_))), "{error:?}");
    });
}
