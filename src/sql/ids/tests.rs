//! Texts in which an id is named, and those in which the same number is something else.

use proptest::prelude::*;

use super::*;
use crate::sql::inspect;

/// An id of ours, and what a text looks like in which it is found.
const ID: &str = "2164260865";
const FOUND: &str = "<id>";

/// The text with every id that is found replaced.
fn marked(sql: &str, extent: Extent) -> String {
    let mut marked = sql.to_owned();
    for named in connections(sql.as_bytes(), extent).into_iter().rev() {
        let Named::Id(id, digits) = named else { panic!("a parameter in {sql}") };
        assert_eq!(sql[digits.clone()].parse(), Ok(id), "{sql}");
        marked.replace_range(digits, FOUND);
    }
    marked
}

/// `{}` stands for the id where it is to be found, `{!}` for one that is to be left alone.
const TEXTS: &[&str] = &[
    "kill {}",
    "KILL QUERY {}",
    "kill /* x */ connection {} ; ",
    "kill hard query {}",
    "KILL SOFT CONNECTION {}",
    "kill {} --",
    "kill {} --\u{1}x",
    "kill {!} --x",
    "KILL -- which?\n {}",
    "KILL ({})",
    "KILL CONNECTION(({}));",
    "KILL '{}'",
    "KILL \"{}\"",
    "KILL `{!}`",
    "KILL 'x{!}'",
    "KILL x{!}",
    "KILL {!} + 1",
    "KILL -{!}",
    "KILL {!}, 1",
    "KILL ({!}",
    "KILL ({!}) + 1",
    "kill query id {!}",
    "kill user bob",
    "kill user {!}",
    "kill",
    "SELECT 1; KILL {}; SELECT {!}",
    "SELECT 'it''s'; KILL QUERY {}",
    "KILL {}; KILL QUERY {};",
    "KILL x; KILL {}",
    "KILL KILL {}",
    // It is no operand.
    "SELECT {!}",
    "SELECT 'KILL {!}'",
    "SELECT 'a; KILL {!}'; SELECT 1",
    "SELECT \"KILL {!};\"",
    "SELECT 1 -- KILL {!}",
    "SELECT 1 # KILL {!}",
    "SELECT 1 /* ; KILL {!} */",
    "SELECT t.kill, {!} FROM t",
    "SELECT t.kill {!}",
    "SELECT @kill {!}",
    "SELECT `kill` {!}",
    "SELECT killed {!}",
    "INSERT INTO t VALUES ('KILL {!}', {!}); SELECT 1",
    "CALL p({!})",
    // Stored programs.
    "BEGIN NOT ATOMIC KILL {}; END",
    "CREATE PROCEDURE p() KILL {}",
    "CREATE PROCEDURE p(n INT) BEGIN IF n = {!} THEN KILL QUERY {}; END IF; END",
    "CREATE EVENT e ON SCHEDULE AT NOW() DO KILL {}",
    "SET STATEMENT max_statement_time = 1 FOR KILL {}",
    // Executable comments count, or do not.
    "/*! KILL {} */",
    "/*!50000 KILL {}*/;",
    "/*!100100 KILL {} */",
    "/*M!100100 KILL QUERY {} */; SELECT {!}",
    "KILL /*!50000 QUERY */ {}",
    "/*!50000 KILL */ {!}",
    "KILL /*!50000 {!} */",
    "/*! SELECT 1; */ KILL {}",
    "KILL {!} /*!99999 + 1 */",
    // Who skips such a comment reads on at another place than who does not.
    "/*!99999 ' */ SELECT ' KILL {!}; '",
    "/*!99999 it's */ KILL {!}",
    "/*! -- */ KILL {!}",
    "/*! # */ KILL {!}",
    "/*! /* */ KILL {!}",
    "/* never ends KILL {!}",
    // The mode and the character set decide where these end.
    r"SELECT 'it\'s'; KILL {!}",
    r"SELECT '\\'; KILL {}",
    r"SELECT 'C:\dir'; KILL {}",
    r"SELECT `\`; KILL {}",
    "SELECT 'open; KILL {!}",
    "CREATE FUNCTION f() RETURNS INT LANGUAGE JAVASCRIPT AS $$ 'it; KILL {!}; $$",
    // Statements in texts.
    "PREPARE s FROM 'KILL {}'",
    "PREPARE `s` FROM \"KILL QUERY {}\";",
    "PREPARE s FROM 'KILL {!}' 'x'",
    "PREPARE s FROM 'SELECT {!}'",
    "PREPARE s FROM 'SELECT ''KILL {!};'''",
    "PREPARE s FROM `KILL {!}`",
    "PREPARE s FROM 'KILL ?'",
    "EXECUTE IMMEDIATE 'KILL {}'",
    "EXECUTE IMMEDIATE 'KILL ?' USING {}",
    "EXECUTE IMMEDIATE 'KILL ?' USING @a",
    "EXECUTE IMMEDIATE 'SELECT ?' USING {!}",
    "EXECUTE IMMEDIATE CONCAT('KILL ', {!})",
    "EXECUTE IMMEDIATE 'KILL {!}' + 1",
    "EXECUTE s USING {!}",
    "SELECT execute immediate 'KILL {!}'",
    "SELECT prepare x FROM \"KILL {!}\"",
    "BEGIN NOT ATOMIC EXECUTE IMMEDIATE 'KILL {}'; END",
    // What another connection runs.
    "EXPLAIN FOR CONNECTION {}",
    "explain format = json for connection {}",
    "EXPLAIN FORMAT='TREE' FOR CONNECTION {};",
    "DESC FORMAT=JSON FOR CONNECTION {}",
    "SHOW EXPLAIN FOR {}",
    "SHOW EXPLAIN FORMAT=JSON FOR {}",
    "SHOW ANALYZE FOR {}",
    "SHOW PROFILE FOR QUERY {!}",
    "EXPLAIN SELECT {!}",
    "EXPLAIN SELECT * FROM t FOR UPDATE; SELECT {!}",
    "SELECT a FROM t ORDER BY a DESC LIMIT {!}",
];

#[test]
fn ids_are_found_where_they_are_operands() {
    for text in TEXTS {
        let sql = text.replace("{}", ID).replace("{!}", ID);
        let expected = text.replace("{}", FOUND).replace("{!}", ID);
        assert_eq!(marked(&sql, Extent::Whole), expected);
        if expected.contains(FOUND) {
            assert!(are_likely(&inspect(sql.as_bytes()), sql.as_bytes()), "{sql}");
        }
    }
}

#[test]
fn a_parameter_that_is_an_id_is_told() {
    let table = [
        ("KILL ?", true),
        ("kill query ? ;", true),
        ("SHOW EXPLAIN FOR ?", true),
        ("EXECUTE IMMEDIATE 'KILL ?' USING ?", true),
        ("PREPARE s FROM 'KILL ?'", false),
        ("SELECT ?", false),
        ("SELECT ?; KILL ?", false),
        ("KILL ? + 1", false),
        ("KILL '?'", false),
    ];
    for (sql, expected) in table {
        let is_found = connections(sql.as_bytes(), Extent::Whole) == [Named::Parameter];
        assert_eq!(is_found, expected, "{sql}");
    }
}

/// What is cut off could go on.
#[test]
fn of_a_beginning_only_what_is_over_is_found() {
    let sql = format!("KILL {ID}; KILL {ID}");
    assert_eq!(marked(&sql, Extent::Beginning), format!("KILL {FOUND}; KILL {ID}"));
    for cut in 0..=sql.len() {
        let found = connections(&sql.as_bytes()[..cut], Extent::Beginning);
        assert_eq!(found.len(), usize::from(cut > "KILL 2164260865".len()), "{cut}");
    }
}

#[test]
fn usual_statements_are_not_looked_into() {
    for (sql, expected) in [
        ("SELECT c FROM t WHERE id = 1; SELECT 2", false),
        ("SELECT c FROM t WHERE id = 2164260865", false),
        ("SELECT c FROM t WHERE id = 2164260865; SELECT 2", true),
        ("COMMIT", false),
        ("SET autocommit = 1", false),
        ("KILL 123456789", false),
        ("KILL 2164260865", true),
        ("use a; KILL 2164260865", true),
    ] {
        assert_eq!(are_likely(&inspect(sql.as_bytes()), sql.as_bytes()), expected, "{sql}");
    }
    for before in 0..30 {
        for digits in 0..13 {
            let sql = format!("{}{}xxx", "x".repeat(before), "7".repeat(digits));
            assert_eq!(has_long_number(sql.as_bytes()), digits >= DIGITS, "{sql}");
        }
    }
}

const PIECES: &[&str] = &[
    "KILL ",
    ID,
    "?",
    "'",
    "\"",
    "`",
    "\\",
    "/*!",
    "*/",
    "/*",
    ";",
    "--",
    " ",
    "\n",
    "(",
    ")",
    "x",
    "EXECUTE IMMEDIATE ",
    "PREPARE s FROM ",
    "USING ",
    "EXPLAIN ",
    "FOR ",
    "FORMAT=",
    "é",
    "#",
    "$$",
    "BEGIN ",
];

proptest! {
    #[test]
    fn any_text_is_searched_without_panic(
        pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..20),
    ) {
        let sql = pieces.concat();
        for extent in [Extent::Whole, Extent::Beginning] {
            let mut behind = 0;
            for named in connections(sql.as_bytes(), extent) {
                let Named::Id(id, digits) = named else { continue };
                prop_assert!(digits.start >= behind, "in order, and none twice");
                prop_assert_eq!(sql[digits.clone()].parse(), Ok(id));
                behind = digits.end;
            }
        }
    }

    #[test]
    fn any_bytes_are_searched_without_panic(sql in proptest::collection::vec(any::<u8>(), 0..200)) {
        connections(&sql, Extent::Whole);
        connections(&sql, Extent::Beginning);
    }
}
