//! What is asked and told, text by text.

use super::super::pull::{Pull, Scope};
use super::super::push::{Base, Push, Refusal};
use super::super::role::Role;
use super::super::snapshot::{Hidden, State};
use super::super::user::{Kind, UserValue};
use super::super::variable::{Origin, Value, Variable};
use super::super::{Errand, Inventory, StateError, Subject, Survey};
use super::*;
use crate::wire::flavour::Flavour;

const M10: Flavour = Flavour::MariaDb { major: 10, minor: 11 };
const M11: Flavour = Flavour::MariaDb { major: 11, minor: 8 };
const MYSQL: Flavour = Flavour::MySql { major: 9, minor: 7 };
const STRING: u8 = kind::VAR_STRING;
const NUMBER: u8 = kind::LONGLONG;

/// An inventory of these variables; digits are numbers.
pub(super) fn inventory(flavour: Flavour, variables: &[(&str, &str)]) -> Inventory {
    let mut survey = Survey::new(flavour);
    let names: Vec<[Option<&str>; 2]> = variables.iter().map(|it| [Some(it.0), None]).collect();
    let names: Vec<&[Option<&str>]> = names.iter().map(|name| &name[..]).collect();
    let is_number = |value: &str| value.bytes().all(|byte| byte.is_ascii_digit());
    let kinds = variables.iter().map(|it| if is_number(it.1) { NUMBER } else { STRING });
    let values: Vec<Option<&str>> = variables.iter().map(|it| Some(it.1)).collect();
    let table = vec![
        (
            if flavour.is_mariadb() { "SET STATEMENT…" } else { "SELECT…" },
            rows(&[STRING; 2], &names),
        ),
        ("SELECT CURRENT_ROLE() LIMIT 1", row(&[None])),
        ("SELECT @@session…", rows(&kinds.collect::<Vec<_>>(), &[&values])),
    ];
    talk(&mut survey, table);
    survey.finish().expect("it has variables")
}

const SMALL: &[(&str, &str)] = &[
    ("autocommit", "1"),
    ("character_set_client", "utf8mb4"),
    ("character_set_connection", "utf8mb4"),
    ("character_set_results", "utf8mb4"),
    ("collation_connection", "utf8mb4_general_ci"),
    ("sort_buffer_size", "100"),
    ("sql_mode", "ANSI"),
    ("time_zone", "SYSTEM"),
];

pub(super) fn state(flavour: Flavour, variables: &[(&str, &str)], origin: Origin) -> State {
    let mut state = State::new(flavour);
    for (name, value) in variables {
        let text = value.as_bytes().to_vec();
        let is_number = text.iter().all(u8::is_ascii_digit);
        let value = if is_number { Value::Number(text) } else { Value::Text(text) };
        state.variables.insert((*name).into(), Variable { value, origin });
    }
    state
}

#[test]
fn one_unknown_variable_costs_the_others_nothing() {
    let mut survey = Survey::new(MYSQL);
    let names: [&[_]; 5] = [
        &[Some("a"), None],
        &[Some("B"), None],
        &[Some("c"), None],
        &[Some("d"), None],
        &[Some("x.y"), None],
    ];
    let table = vec![
        ("SELECT VARIABLE_NAME, 'NO' FROM performance_schema.variables_metadata…", err(1146, "")),
        ("SELECT CURRENT_ROLE() LIMIT 1", err(1305, "")),
        ("SELECT VARIABLE_NAME, 'NO' FROM performance_schema.session_variables…", err(1142, "")),
        ("SHOW SESSION VARIABLES", rows(&[STRING; 2], &names)),
        (
            "SELECT @@session.a, @@session.b, @@session.c, @@session.d LIMIT 1",
            err(1238, "Variable 'C' is a GLOBAL variable"),
        ),
        ("SELECT @@session.a, @@session.b, @@session.d LIMIT 1", err(1193, "Unbekannt")),
        ("SELECT @@session.a LIMIT 1", rows(&[NUMBER], &[&[Some("1")]])),
        ("SELECT @@session.b, @@session.d LIMIT 1", err(1193, "Unbekannt")),
        ("SELECT @@session.b LIMIT 1", err(1193, "")),
        ("SELECT @@session.d LIMIT 1", row(&[None])),
    ];
    talk(&mut survey, table);
    let inventory = survey.finish().expect("it has variables");
    assert_eq!(inventory.names().collect::<Vec<_>>(), ["a", "d"]);
    assert!(inventory.variable("a").is_some_and(|known| known.is_number && known.is_writable));
    assert!(!inventory.has_roles());
}

#[test]
fn an_error_that_is_nobodys_fault_ends_the_survey() {
    let mut survey = Survey::new(M10);
    assert!(survey.ask().is_some() && survey.ask().is_some() && survey.ask().is_none());
    assert!(survey.hear(rows(&[STRING; 2], &[&[Some("a"), Some("YES")]])).is_ok());
    assert!(survey.hear(row(&[None])).is_ok());
    assert!(survey.ask().is_some());
    let error = survey.hear(err(1290, "max-session-mem-used"));
    let what = "the values of its variables";
    assert_eq!(error, Err(StateError::Refused { what, code: 1290 }));
    assert_eq!(survey.hear(Answer::Ok), Err(StateError::Unasked));
}

/// MariaDB, from diagnostics to user variables with names that the client's character set lacks.
#[test]
fn a_mariadb_session_is_pulled_with_its_diagnostics() {
    let inventory = inventory(M11, &[("character_set_client", "utf8mb4"), ("autocommit", "1")]);
    let mut pull = Pull::new(&inventory, 7, Scope::All);
    let [number, text] = [NUMBER, STRING];
    let diagnostics = ["-1", "3", "77", "1", "0", "p", "1.5", "me@home@10.0.0.1"].map(Some);
    let table = vec![
        (
            "SELECT /*+ MAX_EXECUTION_TIME(60000) */ \
             CAST(CONVERT(ROW_COUNT() USING utf8mb4) AS BINARY), \
             CAST(CONVERT(FOUND_ROWS() USING utf8mb4) AS BINARY)…",
            row(&diagnostics),
        ),
        ("SHOW WARNINGS LIMIT 65535", row(&[Some("Note"), Some("1051"), Some("m")])),
        (
            "SELECT /*+ MAX_EXECUTION_TIME(60000) */ \
             CAST(CONVERT(@@session.autocommit USING utf8mb4) AS BINARY), \
             CAST(CONVERT(@@session.character_set_client USING utf8mb4) AS BINARY) LIMIT 1",
            row(&[Some("0"), Some("latin1")]),
        ),
        (
            "SELECT /*+ MAX_EXECUTION_TIME(60000) */ \
             CAST(CONVERT(CURRENT_ROLE() USING utf8mb4) AS BINARY), \
             CAST(CONVERT(@@session.timestamp USING utf8mb4) AS BINARY) LIMIT 1",
            row(&[Some("r"), Some("1.5")]),
        ),
        ("SET STATEMENT sql_select_limit=DEFAULT, max_statement_time=0…", row(&[Some("1")])),
        ("SET STATEMENT sql_select_limit=DEFAULT, max_statement_time=0…", {
            rows(&[STRING], &[&[Some("é")], &[Some("n`")]])
        }),
        ("SET STATEMENT sql_select_limit=DEFAULT, max_statement_time=0…", row(&[Some("0")])),
        ("SET character_set_client=utf8mb4", Answer::Ok),
        (
            "SELECT /*+ MAX_EXECUTION_TIME(60000) */ @`é`, @`n``` LIMIT 0",
            rows(&[text, number], &[]),
        ),
        (
            "SELECT /*+ MAX_EXECUTION_TIME(60000) */ \
             CAST(@`é` AS BINARY), CAST(CONVERT(CHARSET(@`é`) USING utf8mb4) AS BINARY), \
             CAST(CONVERT(COLLATION(@`é`) USING utf8mb4) AS BINARY), \
             CAST(CONVERT(@`n``` USING utf8mb4) AS BINARY), \
             CAST(CONVERT(CHARSET(@`n```) USING utf8mb4) AS BINARY), \
             CAST(CONVERT(COLLATION(@`n```) USING utf8mb4) AS BINARY) LIMIT 1",
            row(&["x", "latin1", "latin1_bin", "5", "binary", "binary"].map(Some)),
        ),
        ("SET character_set_client=latin1", Answer::Ok),
    ];
    talk(&mut pull, table);
    let state = pull.finish().expect("it is done");
    assert_eq!(state.schema.as_deref(), Some(&b"p"[..]));
    assert_eq!((state.last_insert_id, state.timestamp.as_deref()), (77, Some(&b"1.5"[..])));
    assert_eq!((&state.role, &state.hidden), (&Role::One(b"r".to_vec()), &vec![]));
    let autocommit = &state.variables["autocommit"];
    let own = Variable { value: Value::Number(b"0".to_vec()), origin: Origin::Session };
    assert_eq!(*autocommit, own);
    let diagnostics = state.diagnostics.expect("they were asked");
    let counts = (diagnostics.row_count, diagnostics.found_rows, diagnostics.warning_count);
    assert_eq!(counts, (Some(-1), Some(3), Some(1)));
    assert_eq!(diagnostics.warnings[0].code, b"1051");
    let names: Vec<&[u8]> = state.user_variables.keys().map(|name| &name[..]).collect();
    assert_eq!(names, [b"n`", "é".as_bytes()]);
}

#[test]
fn a_mysql_session_without_user_variables_is_not_touched() {
    let inventory = inventory(MYSQL, &[("autocommit", "1"), ("big_tables", "0")]);
    let mut pull = Pull::new(&inventory, 18, Scope::WithoutRole);
    let variables: [&[_]; 3] = [
        &[Some("autocommit"), Some("OFF")],
        &[Some("last_insert_id"), Some("9")],
        &[Some("unheard_of"), Some("1")],
    ];
    let table = vec![
        ("service: SELECT CAST(VARIABLE_NAME AS BINARY), CAST(VARIABLE_VALUE…", {
            rows(&[STRING; 2], &variables)
        }),
        ("service: SELECT CAST(PROCESSLIST_DB AS BINARY)…", row(&[None])),
        ("service: SELECT CAST(v.VARIABLE_NAME AS BINARY) FROM…", row(&[None])),
        ("service: SELECT CAST(COUNT(*) AS BINARY) FROM performance_schema.metadata_locks…", {
            row(&[Some("1")])
        }),
        ("service: SELECT CAST(COUNT(*) AS BINARY) FROM information_schema…", err(1227, "")),
        ("service: SELECT CAST(PROCESSLIST_DB AS BINARY)…", row(&[Some("p")])),
    ];
    talk(&mut pull, table);
    let state = pull.finish().expect("it is done");
    assert_eq!(state.hidden, [Hidden::Locks, Hidden::NotTold("temporary tables")]);
    assert_eq!((state.role, state.last_insert_id), (Role::Unknown, 9));
    assert_eq!(state.schema.as_deref(), Some(&b"p"[..]), "what is not told is asked again");
    assert_eq!(state.variables["autocommit"].value, Value::Number(b"0".to_vec()));
    assert_eq!((state.variables.len(), state.diagnostics), (1, None));
}

/// What a node of a Galera cluster sets for each statement is no part of a session, unless it was
/// told not to.
#[test]
fn a_galera_node_numbers_rows_by_itself() {
    let variables = [("auto_increment_offset", "1"), ("wsrep_on", "1")];
    let inventory = inventory(M10, &variables);
    for (control, is_carried) in [("1", false), ("0", true)] {
        let mut pull = Pull::new(&inventory, 7, Scope::All);
        let uncut = "SET STATEMENT sql_select_limit=DEFAULT, max_statement_time=0…";
        let table = vec![
            ("SELECT…", row(&["0", "0", "0", "0", "0", "p", "1", "me@h"].map(Some))),
            ("SHOW WARNINGS LIMIT 65535", rows(&[STRING; 3], &[])),
            ("SELECT…", row(&[Some("3"), Some("1")])),
            ("SELECT…", row(&[None, Some("2")])),
            (
                "SELECT /*+ MAX_EXECUTION_TIME(60000) */ CAST(CONVERT(\
                 @@global.wsrep_auto_increment_control USING utf8mb4) AS BINARY) LIMIT 1",
                row(&[Some(control)]),
            ),
            (uncut, row(&[Some("0")])),
            (uncut, rows(&[STRING], &[])),
        ];
        talk(&mut pull, table);
        let state = pull.finish().expect("it is done");
        assert_eq!(state.user.as_deref(), Some(&b"me"[..]));
        assert!(state.variables.contains_key("wsrep_on"));
        assert_eq!(state.variables.contains_key("auto_increment_offset"), is_carried, "{control}");
    }
}

/// What is set for the next statement is no part of what is carried: the session stays.
#[test]
fn what_is_for_the_next_statement_is_seen() {
    let variables =
        [("gtid_next", "AUTOMATIC"), ("gtid_seq_no", "0"), ("insert_id", "0"), ("last_gtid", "")];
    let inventory = inventory(M10, &variables);
    for (told, names) in [
        (["AUTOMATIC", "0", "0"], &[][..]),
        (["AUTOMATIC", "0", "5"], &["insert_id"]),
        (["NOT_YET_DETERMINED", "7", "0"], &["gtid_next", "gtid_seq_no"]),
    ] {
        let mut pull = Pull::new(&inventory, 7, Scope::All);
        let uncut = "SET STATEMENT sql_select_limit=DEFAULT, max_statement_time=0…";
        let table = vec![
            ("SELECT…", row(&["0", "0", "0", "0", "0", "p", "1", "me@h"].map(Some))),
            ("SHOW WARNINGS LIMIT 65535", rows(&[STRING; 3], &[])),
            ("SELECT…", row(&told.map(Some))),
            ("SELECT…", row(&[None, Some("2")])),
            (uncut, row(&[Some("0")])),
            (uncut, rows(&[STRING], &[])),
        ];
        talk(&mut pull, table);
        let state = pull.finish().expect("it is done");
        let seen: Vec<&str> = state.hidden.iter().map(Hidden::what).collect();
        assert_eq!(seen, names);
        assert!(state.variables.is_empty() && !state.hidden.iter().any(Hidden::keeps_reads));
    }
}

#[test]
fn without_a_service_account_mysql_says_what_it_cannot_know() {
    let inventory = inventory(MYSQL, &[("autocommit", "1")]);
    let mut pull = Pull::new(&inventory, 18, Scope::All);
    let table = vec![
        ("service: SELECT…", Answer::Refused),
        ("SHOW WARNINGS LIMIT 65535", rows(&[STRING; 3], &[])),
        (
            "SELECT /*+ MAX_EXECUTION_TIME(60000) */ \
             CAST(CONVERT(@@session.autocommit USING utf8mb4) AS BINARY) LIMIT 1",
            row(&[Some("1")]),
        ),
        (
            "SELECT /*+ MAX_EXECUTION_TIME(60000) */ \
             CAST(CONVERT(LAST_INSERT_ID() USING utf8mb4) AS BINARY)…",
            row(&[Some("5"), Some("p"), Some("1.5")]),
        ),
        (
            "SELECT /*+ MAX_EXECUTION_TIME(60000) */ \
             CAST(CONVERT(CURRENT_ROLE() USING utf8mb4) AS BINARY)…",
            row(&[Some("NONE"), Some("1.6")]),
        ),
        ("service: SELECT…", Answer::Refused),
        ("service: SELECT…", Answer::Refused),
        ("service: SELECT…", Answer::Refused),
    ];
    talk(&mut pull, table);
    let state = pull.finish().expect("it is done");
    let unknown = ["locks", "temporary tables"].map(Hidden::NotTold);
    assert_eq!(state.hidden, [&[Hidden::UserVariables][..], &unknown].concat());
    assert_eq!((state.timestamp, state.last_insert_id), (None, 5));
    let told: Vec<String> = state.hidden.iter().map(Hidden::to_string).collect();
    assert_eq!(told[..2], ["user variables that cannot be listed", "locks cannot be seen"]);
}

fn text(value: Option<&[u8]>, charset: &str, collation: &str) -> UserValue {
    let [charset, collation] = [charset, collation].map(|name| name.as_bytes().to_vec());
    UserValue { kind: Kind::Text, value: value.map(<[u8]>::to_vec), charset, collation }
}

fn digits(kind: Kind, value: Option<&str>) -> UserValue {
    UserValue { kind, ..text(value.map(str::as_bytes), "binary", "binary") }
}

const PLAIN: &str = "SET SESSION sql_mode=_utf8mb4 X'', character_set_client=utf8mb4, \
    character_set_connection=utf8mb4";

#[test]
fn a_state_is_told_in_an_order_in_which_nothing_disturbs_the_rest() {
    let mut state = state(M10, SMALL, Origin::Server);
    for (name, value) in [("sort_buffer_size", "5"), ("autocommit", "0"), ("time_zone", "+01:00")] {
        let value = match value.parse::<u8>() {
            Ok(_) => Value::Number(value.into()),
            Err(_) => Value::Text(value.into()),
        };
        state.variables.insert(name.into(), Variable { value, origin: Origin::Session });
    }
    let null = Variable { value: Value::Null, origin: Origin::Session };
    state.variables.insert("character_set_results".into(), null);
    state.schema = Some(b"a`b".to_vec());
    state.role = Role::None;
    state.last_insert_id = 9;
    state.timestamp = Some(b"1.5".to_vec());
    state.user_variables.insert(b"v".to_vec(), text(Some(b"\xE9"), "latin1", "latin1_bin"));
    let target = inventory(M11, SMALL);
    let mut push = Push::new(&state, &target, Base::Fresh);
    let table = vec![
        (PLAIN, Answer::Ok),
        ("SET ROLE NONE", Answer::Ok),
        ("USE `a``b`", Answer::Ok),
        ("SET SESSION time_zone=_utf8mb4 '+01:00'", Answer::Ok),
        ("SET SESSION sort_buffer_size=5", Answer::Ok),
        ("SET @`v`=_latin1 X'E9' COLLATE latin1_bin", Answer::Ok),
        (
            "SET SESSION character_set_client=_utf8mb4 'utf8mb4', character_set_results=NULL, \
             character_set_connection=_utf8mb4 'utf8mb4', \
             collation_connection=_utf8mb4 'utf8mb4_general_ci', sql_mode=_utf8mb4 'ANSI'",
            Answer::Ok,
        ),
        ("SET SESSION autocommit=0", Answer::Ok),
        ("SET timestamp=1.5", Answer::Ok),
        ("SET last_insert_id=9", Answer::Ok),
    ];
    talk(&mut push, table);
    assert_eq!((push.refusals(), push.left()), (&[][..], &[][..]));
    let again = Push::new(&state, &target, Base::Told(&state));
    assert_eq!(again.length(), 2, "only how it reads, there and back");
}

#[test]
fn a_set_that_fails_is_told_in_halves_and_one_variable_is_lost() {
    let target =
        inventory(M11, &[("a", "1"), ("b", "1"), ("c", "1"), ("transaction_isolation", "x")]);
    let mut source = state(M10, &[("a", "2"), ("b", "3"), ("c", "4")], Origin::Session);
    let theirs = state(M10, &[("gone", "1"), ("tx_isolation", "y")], Origin::Server);
    source.variables.extend(theirs.variables);
    source.role = Role::One(b"r".to_vec());
    let mut push = Push::new(&source, &target, Base::Fresh);
    let table = vec![
        (PLAIN, Answer::Ok),
        ("SET ROLE `r`", err(1959, "")),
        ("SET SESSION a=2, b=3, c=4", err(1231, "")),
        ("SET SESSION transaction_isolation=_utf8mb4 'y'", err(1231, "")),
        ("SET SESSION a=2", Answer::Ok),
        ("SET SESSION b=3, c=4", err(1231, "")),
        ("SET SESSION b=3", err(1231, "")),
        ("SET SESSION c=4", Answer::Ok),
    ];
    talk(&mut push, table);
    let refusal = |subject, code| Refusal { subject, code: Some(code) };
    let b = Subject::Variable("b".into());
    assert_eq!(push.refusals(), [refusal(Subject::Role, 1959), refusal(b.clone(), 1231)]);
    assert_eq!(push.left(), ["tx_isolation"]);

    // What the verification finds: the session's own, and not what the server kept.
    let mut after = state(M11, &[("a", "2"), ("b", "1"), ("c", "4")], Origin::Session);
    after.variables.extend(state(M11, &[("transaction_isolation", "x")], Origin::Server).variables);
    after.role = Role::None;
    assert_eq!(source.differences(&after, &push), [Subject::Role, b.clone()]);

    // Of servers that were not asked whose session it is nothing is held against it.
    after.user = Some(b"me".to_vec());
    assert_eq!(source.differences(&after, &push), [Subject::Role, b.clone()]);
    source.user = Some(b"another".to_vec());
    assert_eq!(source.differences(&after, &push), [Subject::Role, Subject::User, b]);
}

#[test]
fn every_difference_is_named() {
    let before = || {
        let mut before = state(M10, &[("a", "1"), ("server_id", "1")], Origin::Server);
        let switches = state(M10, &[("optimizer_switch", "mrr=on,old=on,x=off")], Origin::Session);
        before.variables.extend(switches.variables);
        before.user_variables.insert(b"v".to_vec(), digits(Kind::Signed, Some("1")));
        before
    };
    let target = inventory(M11, SMALL);
    let push = Push::new(&before(), &target, Base::Fresh);
    type Case = (fn(&mut State), &'static [&'static str]);
    let table: &[Case] = &[
        (|_| {}, &[]),
        (|it| it.schema = Some(b"p".to_vec()), &["default schema"]),
        (|it| it.last_insert_id = 1, &["LAST_INSERT_ID()"]),
        (|it| it.timestamp = Some(b"1".to_vec()), &["timestamp"]),
        (
            |it| it.variables.extend(state(M10, &[("a", "2")], Origin::Server).variables),
            &["variable a"],
        ),
        (
            |it| it.variables.extend(state(M10, &[("server_id", "2")], Origin::Server).variables),
            &[],
        ),
        (|it| drop(it.variables.remove("a")), &[]),
        (|it| drop(it.variables.remove("optimizer_switch")), &["variable optimizer_switch"]),
        (|it| it.user_variables.clear(), &["user variable v"]),
        (
            |it| drop(it.user_variables.insert(b"w".to_vec(), digits(Kind::Signed, Some("1")))),
            &["user variable w"],
        ),
        (|it| drop(it.user_variables.insert(b"w".to_vec(), digits(Kind::Signed, None))), &[]),
        (
            |it| drop(it.user_variables.insert(b"v".to_vec(), digits(Kind::Unsigned, Some("1")))),
            &["user variable v"],
        ),
    ];
    for (at, (change, names)) in table.iter().enumerate() {
        let mut after = before();
        change(&mut after);
        let found = before().differences(&after, &push);
        let found: Vec<String> = found.iter().map(Subject::to_string).collect();
        assert_eq!(found, *names, "row {at}");
    }
    // A server without `old` has as much of the switches as it can.
    let mut after = before();
    let fewer = state(M11, &[("optimizer_switch", "mrr=on,new=off,x=off")], Origin::Server);
    after.variables.extend(fewer.variables);
    assert_eq!(before().differences(&after, &push), []);
}

#[test]
fn a_null_is_of_the_type_of_what_was_there_before() {
    let value = digits(Kind::Unsigned, None);
    let told = "@`v`=CAST('0' AS UNSIGNED), \
                @`v`=NULLIF(CAST('0' AS UNSIGNED),CAST('0' AS UNSIGNED))";
    assert_eq!(value.assignments(b"v", 1 << 20), Some(vec![told.into()]));
    let value = UserValue { kind: Kind::Geometry, ..text(None, "binary", "binary") };
    let told = value.assignments(b"v", 1 << 20).expect("it has a literal");
    let told = String::from_utf8(told.concat()).expect("ours are UTF-8");
    assert!(told.starts_with("@`v`=ST_GeomFromWKB(_binary X'0101000000"), "{told}");
    assert!(told.ends_with(",0), @`v`=NULL"), "{told}");
}

#[test]
fn a_user_variable_is_a_literal_of_its_type_and_collation() {
    let geometry =
        |value: &[u8]| UserValue { kind: Kind::Geometry, ..text(Some(value), "binary", "binary") };
    let table: Vec<(UserValue, Option<&str>)> = vec![
        (text(Some(b"a'\\"), "utf8mb4", "c"), Some("_utf8mb4 X'61275C' COLLATE c")),
        (text(Some(b""), "binary", "binary"), Some("_binary X''")),
        (text(None, "binary", "binary"), Some("NULL")),
        (
            text(None, "ucs2", "ucs2_bin"),
            Some("NULLIF(_ucs2 X'00000020' COLLATE ucs2_bin,_ucs2 X'00000020' COLLATE ucs2_bin)"),
        ),
        (text(Some(b"a"), "x; DROP", "c"), None),
        (text(Some(b"a"), "latin1", ""), None),
        (digits(Kind::Signed, Some("-9223372036854775808")), {
            Some("CAST('-9223372036854775808' AS SIGNED)")
        }),
        (digits(Kind::Unsigned, Some("5")), Some("CAST('5' AS UNSIGNED)")),
        (digits(Kind::Decimal, Some("-1.10")), Some("-1.10")),
        (digits(Kind::Decimal, Some("7")), Some("7.")),
        (digits(Kind::Double, Some("5e-324")), Some("5e-324")),
        (digits(Kind::Double, Some("0.1")), Some("0.1e0")),
        (digits(Kind::Double, Some("1'")), None),
        (digits(Kind::Double, None), Some("NULLIF(0e0,0e0)")),
        (geometry(b"\x02\x01\0\0AB"), Some("ST_GeomFromWKB(_binary X'4142',258)")),
        (geometry(b"ab"), None),
    ];
    for (value, expected) in table {
        let mut sql = Vec::new();
        let made = value.put(&mut sql).map(|()| String::from_utf8(sql).expect("ours are UTF-8"));
        assert_eq!(made.as_deref(), expected, "{value:?}");
    }
}
