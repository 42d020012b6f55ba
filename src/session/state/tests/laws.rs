//! What holds for any value and any answer.

use proptest::prelude::*;

use super::super::pull::{Pull, Scope};
use super::super::push::{Base, Push};
use super::super::text::{put_name, put_string};
use super::super::user::{Kind, UserValue};
use super::super::variable::Origin;
use super::super::{Errand, Survey};
use super::talk::{inventory, state};
use super::*;
use crate::wire::flavour::Flavour;

/// What changes how a server reads a literal.
#[derive(Clone, Copy, Debug)]
struct Modes {
    no_backslash_escapes: bool,
    ansi_quotes: bool,
    empty_string_is_null: bool,
}

#[derive(Debug, PartialEq)]
enum Token {
    /// A literal in quotes, as it is understood.
    Quoted(Vec<u8>),
    Hex(Vec<u8>),
    Name(Vec<u8>),
    Word(Vec<u8>),
    Null,
}

/// A server's lexer, as far as literals and names go; None if something is not ended.
fn lex(mut sql: &[u8], modes: Modes) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    while let Some((&first, rest)) = sql.split_first() {
        match first {
            b' ' => sql = rest,
            b'X' if rest.first() == Some(&b'\'') => {
                let end = rest[1..].iter().position(|&byte| byte == b'\'')?;
                let hex = std::str::from_utf8(&rest[1..=end]).ok()?;
                let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
                tokens
                    .push(Token::Hex((0..hex.len()).step_by(2).map(byte).collect::<Option<_>>()?));
                sql = &rest[end + 2..];
            }
            b'\'' | b'"' | b'`' => {
                let is_name = first == b'`' || (first == b'"' && modes.ansi_quotes);
                let (text, behind) = quoted(rest, first, !is_name && !modes.no_backslash_escapes)?;
                sql = behind;
                tokens.push(match is_name {
                    true => Token::Name(text),
                    false if text.is_empty() && modes.empty_string_is_null => Token::Null,
                    false => Token::Quoted(text),
                });
            }
            _ => {
                let end = sql.iter().position(|byte| b" '\"`".contains(byte));
                let (word, behind) = sql.split_at(end.unwrap_or(sql.len()));
                tokens.push(Token::Word(word.to_vec()));
                sql = behind;
            }
        }
    }
    Some(tokens)
}

fn quoted(mut rest: &[u8], quote: u8, escapes: bool) -> Option<(Vec<u8>, &[u8])> {
    let mut text = Vec::new();
    loop {
        let (&byte, behind) = rest.split_first()?;
        rest = behind;
        if byte == b'\\' && escapes {
            text.push(*rest.first()?);
            rest = &rest[1..];
        } else if byte != quote {
            text.push(byte);
        } else if rest.first() == Some(&quote) {
            text.push(quote);
            rest = &rest[1..];
        } else {
            return Some((text, rest));
        }
    }
}

fn modes() -> impl Strategy<Value = Modes> {
    any::<[bool; 3]>().prop_map(|[no_backslash_escapes, ansi_quotes, empty_string_is_null]| Modes {
        no_backslash_escapes,
        ansi_quotes,
        empty_string_is_null,
    })
}

/// Bytes, among which those that matter are frequent.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b"'\"\\`X; a".to_vec())];
    prop::collection::vec(byte, 0..40)
}

fn answer() -> impl Strategy<Value = Answer> {
    let value = || {
        prop::option::of(prop_oneof![
            bytes(),
            prop::sample::select(vec![
                b"1".to_vec(),
                b"0".to_vec(),
                b"utf8mb4".to_vec(),
                b"latin1".to_vec(),
                b"a".to_vec(),
                b"autocommit".to_vec(),
                b"NONE".to_vec(),
            ])
        ])
    };
    let row = move |width: usize| prop::collection::vec(value(), width..=width);
    let column = any::<(u8, u16, u16, u8)>().prop_map(|(kind, flags, charset, decimals)| Column {
        name: Vec::new(),
        kind,
        flags,
        charset,
        decimals,
    });
    let even = (0..9usize, 0..3usize).prop_flat_map(move |(width, height)| {
        (prop::collection::vec(column.clone(), width), prop::collection::vec(row(width), height))
    });
    let uneven = (even.clone(), prop::collection::vec(row(2), 0..2));
    let code = prop_oneof![any::<u16>(), Just(1193u16), Just(1238)];
    prop_oneof![
        Just(Answer::Ok),
        Just(Answer::Refused),
        (code, bytes()).prop_map(|(code, message)| Answer::Err { code, message }),
        even.prop_map(|(columns, rows)| Answer::Rows(ResultSet { columns, rows })),
        uneven.prop_map(|((columns, mut rows), more)| {
            rows.extend(more);
            Answer::Rows(ResultSet { columns, rows })
        }),
    ]
}

fn flavour() -> impl Strategy<Value = Flavour> {
    prop::sample::select(vec![
        Flavour::MariaDb { major: 10, minor: 11 },
        Flavour::MariaDb { major: 11, minor: 8 },
        Flavour::MySql { major: 9, minor: 7 },
        Flavour::OceanBase,
    ])
}

/// Asks and hears until it is over one way or another; then every further answer is an error only.
fn babble(errand: &mut impl Errand, answers: &[Answer]) {
    let mut answers = answers.iter().cloned().cycle();
    for _ in 0..500 {
        let mut asked = 0;
        while errand.ask().is_some() {
            asked += 1;
        }
        if asked == 0 {
            assert!(errand.is_done(), "it waits for nothing");
            return;
        }
        for _ in 0..asked {
            if errand.hear(answers.next().expect("it goes round")).is_err() {
                return;
            }
        }
    }
    panic!("it never ends");
}

proptest! {
    #[test]
    fn a_literal_is_read_back_under_any_mode(value in bytes(), modes in modes()) {
        let mut sql = Vec::new();
        put_string(&mut sql, &value);
        let tokens = lex(&sql, modes).expect("it is ended");
        prop_assert_eq!(&tokens[0], &Token::Word(b"_utf8mb4".to_vec()));
        match &tokens[1..] {
            [Token::Quoted(text) | Token::Hex(text)] => prop_assert_eq!(text, &value),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn a_name_is_read_back_under_any_mode(name in bytes(), modes in modes()) {
        let mut sql = Vec::new();
        put_name(&mut sql, &name);
        prop_assert_eq!(lex(&sql, modes), Some(vec![Token::Name(name)]));
    }

    #[test]
    fn a_long_string_is_put_together_again(
        value in prop::collection::vec(any::<u8>(), 0..3000),
        limit in 0..2000usize,
    ) {
        let [charset, collation] = [b"gbk".to_vec(), b"gbk_bin".to_vec()];
        let user = UserValue { kind: Kind::Text, value: Some(value.clone()), charset, collation };
        let assignments = user.assignments(b"v", limit).expect("it has a literal");
        let mut made = Vec::new();
        let modes = Modes {
            no_backslash_escapes: false,
            ansi_quotes: false,
            empty_string_is_null: false,
        };
        for assignment in &assignments {
            prop_assert!(assignment.len() <= limit.max(1024));
            for token in lex(assignment, modes).expect("it is ended") {
                if let Token::Hex(piece) = token {
                    made.extend(piece);
                }
            }
        }
        prop_assert_eq!(made, value);
    }

    #[test]
    fn no_answer_panics_or_goes_on_for_ever(
        flavour in flavour(),
        answers in prop::collection::vec(answer(), 1..12),
        all in any::<bool>(),
    ) {
        let mut survey = Survey::new(flavour);
        babble(&mut survey, &answers);
        let _ = survey.finish();
        let source = Flavour::MariaDb { major: 11, minor: 8 };
        let variables = [("autocommit", "1"), ("character_set_client", "latin1")];
        let inventory = inventory(source, &variables);
        let scope = if all { Scope::All } else { Scope::WithoutRole };
        let mut pull = Pull::new(&inventory, 7, scope);
        babble(&mut pull, &answers);
        let pulled = pull.finish();
        let state = pulled.unwrap_or_else(|| state(flavour, &[("a", "1")], Origin::Session));
        let mut push = Push::new(&state, &inventory, Base::Fresh);
        babble(&mut push, &answers);
        let _ = state.differences(&state, &push);
    }

    #[test]
    fn a_state_does_not_differ_from_itself(
        names in prop::collection::btree_map("[a-z_]{1,9}", "[0-9]{1,5}", 0..6),
    ) {
        let flavour = Flavour::MySql { major: 9, minor: 7 };
        let names: Vec<(&str, &str)> = names.iter().map(|(a, b)| (&a[..], &b[..])).collect();
        let state = state(flavour, &names, Origin::Session);
        let inventory = inventory(flavour, &[("autocommit", "1")]);
        let push = Push::new(&state, &inventory, Base::Fresh);
        prop_assert_eq!(state.differences(&state, &push), vec![]);
    }
}
