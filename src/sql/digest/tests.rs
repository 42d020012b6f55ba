//! Shapes as tables, and what holds for all of them.

use proptest::prelude::*;

use super::super::lexer::{Charset, Known};
use super::*;

fn of(sql: &str) -> String {
    shape(sql.as_bytes(), Extent::Whole, Modes::USUAL)
}

fn hash(sql: &str) -> Digest {
    digest(sql.as_bytes(), Extent::Whole, Modes::USUAL)
}

#[test]
fn a_shape_has_no_values() {
    let table = [
        ("SELECT c FROM sbtest1 WHERE id=50123", "SELECT c FROM sbtest1 WHERE id=?"),
        ("select 'a', \"b\", 1.5e3, 0x1F, x'4D', ?", "select ?, x?"),
        ("select 'it''s', 'a\\'b' from t", "select ? from t"),
        ("select * from t where a in (1, 2, 3)", "select * from t where a in (?)"),
        ("select * from t where (a,b) in ((1,2),(3,4))", "select * from t where (a,b) in ((?))"),
        ("insert into t values (1,'x'),(2,'y') ;", "insert into t values (?)"),
        (
            "insert into t (a,b) values (1, now()), (2, now()) \
             on duplicate key update a=values(a), b = 7",
            "insert into t (a,b) values (?, now()) on duplicate key update a=values(a), b = ?",
        ),
        ("values row(1,2), row(3,4)", "values row(?)"),
        ("insert t set a = null, b = default", "insert t set a = ?, b = ?"),
        ("select a from t where b is not null", "select a from t where b is not null"),
        ("select a - 1, -1, (-5) from t limit 5, 10", "select a - ?, (?) from t limit ?"),
        ("select value, (a), (b) from t", "select value, (a), (b) from t"),
        ("select /* 'x' */ a -- secret\n from t # secret", "select a from t"),
        (
            "select /*!40001 SQL_NO_CACHE */ `my ``col` from `T`",
            "select SQL_NO_CACHE `my ``col` from `T`",
        ),
        ("set @x = 'secret', @@session.y = 5", "set @x = ?, @@session.y = ?"),
        ("create user 'bob'@'%' identified by 'pw'", "create user ?@? identified by ?"),
        ("select 1; select 'x'", "select ?; ..."),
        ("select 1 ; ; ", "select ?"),
        ("select 'open", "select ..."),
        ("", ""),
    ];
    for (sql, expected) in table {
        assert_eq!(of(sql), expected, "{sql}");
    }
}

#[test]
fn statements_that_differ_in_values_letters_and_blanks_have_one_digest() {
    let alike: &[&[&str]] = &[
        &[
            "select a from t where b = 1",
            "SELECT  a\nFROM T WHERE B=-2.5",
            "/* x */ Select A from t where b = 'x'",
        ],
        &["insert into t values (1,2)", "INSERT INTO t VALUES (3,4),(5,6), (7,null)"],
        &["select * from t where a in (1)", "select * from t where a in (1,2,3,'x',?)"],
        &["insert into t values (1,now())", "insert into t values (1,now()),(2,sysdate())"],
    ];
    for (at, group) in alike.iter().enumerate() {
        for sql in *group {
            assert_eq!(hash(sql), hash(group[0]), "{sql}");
            for other in alike.iter().skip(at + 1) {
                assert_ne!(hash(sql), hash(other[0]), "{sql}");
            }
        }
    }
    let different = [
        "select `a`",
        "select a",
        "select `A`",
        "select ?",
        "select b",
        "select ab",
        "select a b",
        "select (a)",
    ];
    for (at, sql) in different.iter().enumerate() {
        for other in &different[at + 1..] {
            assert_ne!(hash(sql), hash(other), "{sql} {other}");
        }
    }
}

#[test]
fn a_long_list_has_the_same_digest_wherever_it_is_cut_off() {
    let rows = "(1, 'abc', now()), ".repeat(20);
    let values = "1234, 'abc', ".repeat(20);
    for (head, list) in [("insert into t values ", rows), ("select a from t where b in (", values)]
    {
        let whole = format!("{head}{list}");
        let cut = |end: usize| digest(&whole.as_bytes()[..end], Extent::Beginning, Modes::USUAL);
        let expected = cut(head.len() + 60);
        for end in head.len() + 40..whole.len() {
            assert_eq!(cut(end), expected, "{}", &whole[..end]);
        }
    }
}

#[test]
fn what_servers_may_read_in_different_ways_is_in_no_shape() {
    let unknown = Modes { no_backslash_escapes: Known::Unknown, ..Modes::USUAL };
    let sql = br"select a, 'x\', 'secret' -- '";
    assert_eq!(shape(sql, Extent::Whole, unknown), "select a, ...");
    let other = Modes { charset: Charset::Other, ..Modes::USUAL };
    assert_eq!(shape(b"select '\xBF\\', secret, '", Extent::Whole, other), "select ...");
}

#[test]
fn a_text_is_no_longer_than_it_may_be() {
    let columns = "column_name_x, ".repeat(200);
    let text = of(&format!("select {columns} b from t"));
    assert!(text.len() <= LONGEST_TEXT && text.ends_with(" ..."), "{text}");
    let name = "n".repeat(5000);
    assert_eq!(of(&format!("select `{name}`")), "select ...");
}

proptest! {
    #[test]
    fn any_bytes_have_a_digest(
        sql in proptest::collection::vec(any::<u8>(), 0..200), is_whole in any::<bool>(),
    ) {
        let extent = if is_whole { Extent::Whole } else { Extent::Beginning };
        digest(&sql, extent, Modes::default());
        shape(&sql, extent, Modes::default());
    }

    #[test]
    fn no_value_is_in_a_shape(
        values in proptest::collection::vec("(secret[0-9]{1,5}|[0-9]{6})", 1..6),
        quote in prop_oneof![Just('\''), Just('"')],
    ) {
        let list = values.iter().map(|value| format!("{quote}{value}{quote}"));
        let list: Vec<_> = list.collect();
        let all = list.join(",");
        let sql = format!("select f({all}) from t where a={} or b in ({all})", list[0]);
        prop_assert_eq!(of(&sql), "select f(?) from t where a=? or b in (?)");
    }

    #[test]
    fn small_letters_are_found_eight_at_a_time(bytes in any::<[u8; 8]>()) {
        let expected = bytes.map(|byte| byte.to_ascii_lowercase());
        prop_assert_eq!(lower(u64::from_le_bytes(bytes)).to_le_bytes(), expected);
    }
}
