//! What a stored program may change in the session that runs it: a trigger, or a routine. Pure.
//!
//! It reads a body as [`analyse`](super::analyse) reads a statement: words, and what it is not sure
//! of is the worst. What a body changes in tables is no session's affair.
//!
//! Invariant: of a body that says nothing of variables with `@`, sets nothing but columns and what
//! it has declared, and calls nothing but known functions, nothing is said.

use super::bits::Changes;
use super::functions::{self, Call};
use super::key::{is_one_of, key};
use crate::sql::is;
use crate::sql::lexer::{Extent, Lexer, Modes, Token};

/// Where in a body a token stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// Where a statement may begin.
    Start,
    /// In a SET, before the name of what is set.
    Target,
    /// In a SET.
    Set,
    /// In DECLARE, before a name.
    Declared,
    /// In DECLARE, behind the first name, which may be that of a handler's kind.
    Handler,
    /// In anything else.
    Other,
}

struct Body<'a> {
    lexer: Lexer<'a>,
    at: At,
    /// Parentheses that are open.
    depth: u32,
    declared: Vec<&'a [u8]>,
    program: Program,
}

/// What a program does to the session that runs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// What it may change by itself.
    pub changes: Changes,
    /// The stored routines that it calls, by their names without a schema, in lower case.
    pub calls: Vec<Vec<u8>>,
}

impl Program {
    /// Nobody knows what it does.
    pub fn unknown() -> Self {
        Self { changes: Changes::ANYTHING, calls: Vec::new() }
    }
}

/// What a program with this body, read in these modes, and these parameters does.
pub fn program(body: &[u8], modes: Modes, parameters: &[&[u8]]) -> Program {
    let lexer = Lexer::new(body, Extent::Whole, modes);
    let (declared, program) = (parameters.to_vec(), Program::default());
    let mut body = Body { lexer, at: At::Start, depth: 0, declared, program };
    match body.read() {
        Some(()) => body.program,
        None => Program::unknown(),
    }
}

impl<'a> Body<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            match self.lexer.next_token()? {
                Token::Comment(_) => {}
                _ if self.lexer.is_optional() => return None,
                token => return Some(token),
            }
        }
    }

    fn read(&mut self) -> Option<()> {
        // What stands before a parenthesis, and before that.
        let (mut last, mut before) = (Name::NONE, 0);
        let mut is_dotted = false;
        loop {
            let token = self.next()?;
            let name = match token {
                Token::End => return Some(()),
                Token::Word(word) => {
                    self.word(word, last.key())?;
                    Some(Name { text: word, is_plain: true })
                }
                Token::Text((start, end)) => {
                    let sql = self.lexer.words.sql;
                    let is_name = sql[end] != b'\'';
                    self.quoted(is_name);
                    is_name.then_some(Name { text: &sql[start..end], is_plain: false })
                }
                Token::Symbol(b'.') => {
                    is_dotted = true;
                    continue;
                }
                Token::Symbol(b'(') => {
                    self.open(last, before);
                    None
                }
                Token::Symbol(symbol) => {
                    self.symbol(symbol)?;
                    None
                }
                Token::Number(_) | Token::Parameter | Token::Comment(_) => None,
            };
            (last, before) = match name {
                Some(name) if is_dotted => (Name { is_plain: false, ..name }, before),
                Some(name) => (name, last.key()),
                None => (Name::NONE, 0),
            };
            is_dotted = false;
        }
    }

    fn symbol(&mut self, symbol: u8) -> Option<()> {
        match symbol {
            b'@' => self.variable(),
            b')' => self.depth = self.depth.checked_sub(1)?,
            b';' => (self.at, self.depth) = (At::Start, 0),
            // A label.
            b':' if self.at == At::Other && self.lexer.next_byte() != Some(b'=') => {
                self.at = At::Start;
            }
            b',' if self.at == At::Set && self.depth == 0 => self.at = At::Target,
            _ => {}
        }
        Some(())
    }

    /// Behind `@`.
    fn variable(&mut self) {
        let is_set = self.at == At::Target;
        self.at = if is_set { At::Set } else { self.at };
        if self.lexer.next_byte() != Some(b'@') {
            self.program.changes |= Changes::USER_VARIABLES;
            return;
        }
        let _ = self.lexer.next_token();
        if is_set {
            self.program.changes |= Changes::VARIABLES | Changes::LEXING;
        }
    }

    fn word(&mut self, word: &'a [u8], before: u64) -> Option<()> {
        let key = key(word);
        let begins = is_one_of!(key, b"begin" | b"then" | b"else" | b"do" | b"loop" | b"repeat");
        match self.at {
            At::Declared => {
                self.declared.push(word);
                self.at = match () {
                    () if self.is_followed_by(b',') => At::Declared,
                    // CONTINUE, EXIT, UNDO.
                    () => At::Handler,
                };
            }
            At::Target => self.target(word)?,
            // A CASE has some of these words, too.
            At::Set => {}
            At::Handler if is_one_of!(key, b"set") => self.at = At::Target,
            At::Start | At::Handler | At::Other if begins => self.at = At::Start,
            At::Start => self.begin(word)?,
            // The handler's statement.
            At::Handler if is_one_of!(key, b"call" | b"drop") || is_opaque(key) => {
                self.begin(word)?;
            }
            At::Handler | At::Other => {}
        }
        let is_next_value = is_one_of!(key, b"value") && is_one_of!(before, b"next");
        if is_next_value || is_one_of!(key, b"nextval" | b"setval") {
            self.program.changes |= Changes::SEQUENCE;
        }
        if is(word, b"temporary") {
            self.program.changes |= Changes::TEMPORARY_TABLE_MADE;
        }
        Some(())
    }

    /// The first word of a statement.
    fn begin(&mut self, word: &[u8]) -> Option<()> {
        let key = key(word);
        self.at = match () {
            () if is_one_of!(key, b"set") => At::Target,
            () if is_one_of!(key, b"declare") => At::Declared,
            () if is_one_of!(key, b"call") => {
                self.call()?;
                At::Other
            }
            () if is_opaque(key) || is_one_of!(key, b"for" | b"handler") => return None,
            () if is_one_of!(key, b"drop") && self.drops_database() => return None,
            () => At::Other,
        };
        Some(())
    }

    /// Behind CALL: the name of a routine, perhaps with a schema's.
    fn call(&mut self) -> Option<()> {
        let mut ahead = self.lexer;
        let sql = ahead.words.sql;
        loop {
            let name = match ahead.next_token()? {
                Token::Word(word) => word,
                Token::Text((start, end)) if sql[end] != b'\'' => &sql[start..end],
                _ => return None,
            };
            // What follows is read as what stands behind that name.
            self.lexer = ahead;
            if ahead.next_token()? != Token::Symbol(b'.') {
                self.calls(name);
                return Some(());
            }
        }
    }

    fn calls(&mut self, name: &[u8]) {
        let name = name.to_ascii_lowercase();
        if !self.program.calls.contains(&name) {
            self.program.calls.push(name);
        }
    }

    fn drops_database(&self) -> bool {
        let mut ahead = self.lexer;
        let next = ahead.next_token();
        matches!(next, Some(Token::Word(word)) if is(word, b"database") || is(word, b"schema"))
    }

    /// What a SET sets: a column of the row, a variable of the body's, or of the session.
    fn target(&mut self, word: &[u8]) -> Option<()> {
        self.at = At::Set;
        if is(word, b"statement") {
            // Another one stands in it.
            return None;
        }
        let is_column = is_one_of!(key(word), b"new") && self.is_followed_by(b'.');
        let is_declared = self.declared.iter().any(|declared| is(declared, word));
        if !is_column && !is_declared {
            self.program.changes |= Changes::VARIABLES | Changes::LEXING | Changes::ROLE;
        }
        if is(word, b"transaction") {
            self.program.changes |= Changes::NEXT_TRANSACTION;
        }
        Some(())
    }

    /// Something in quotes.
    fn quoted(&mut self, is_name: bool) {
        match self.at {
            At::Target => {
                self.at = At::Set;
                self.program.changes |= Changes::VARIABLES | Changes::LEXING;
            }
            // What is set by that name is taken for the session's.
            At::Declared if is_name => self.at = At::Handler,
            At::Start => self.at = At::Other,
            At::Declared | At::Handler | At::Set | At::Other => {}
        }
    }

    /// An opening parenthesis: behind a name it is a call, if it is not a list of columns.
    fn open(&mut self, Name { text: name, is_plain }: Name<'_>, before: u64) {
        self.depth += 1;
        let is_list = is_one_of!(before, b"into" | b"insert" | b"replace" | b"ignore" | b"as")
            || is_one_of!(before, b"table" | b"with" | b"declare");
        if name.is_empty() || is_list || is_plain && is_type(name) {
            return;
        }
        self.program.changes |= match functions::call(name) {
            // A stored one, but for names that are others' too.
            Call::Unknown => return self.calls(name),
            _ if !is_plain => Changes::ANYTHING,
            // What a trigger makes of LAST_INSERT_ID() is undone behind it.
            Call::Pure | Call::PureIfAdjacent | Call::Asks(_) => return,
            Call::LastInsertId | Call::ReleaseAllLocks | Call::Random => return,
            Call::Changes(changes) => changes,
        };
    }

    fn is_followed_by(&self, symbol: u8) -> bool {
        let mut ahead = self.lexer;
        ahead.next_token() == Some(Token::Symbol(symbol))
    }
}

/// What may be a function's name.
#[derive(Clone, Copy)]
struct Name<'a> {
    text: &'a [u8],
    /// Without quotes, and not a part of a longer one.
    is_plain: bool,
}

impl Name<'_> {
    const NONE: Self = Self { text: b"", is_plain: false };

    /// As a keyword; 0 if it surely is none.
    fn key(self) -> u64 {
        if self.is_plain { key(self.text) } else { 0 }
    }
}

/// Statements of which no body shows what they do, or that nothing undoes.
fn is_opaque(key: u64) -> bool {
    is_one_of!(key, b"execute" | b"prepare" | b"xa" | b"use" | b"load")
        || is_one_of!(key, b"lock" | b"unlock" | b"backup" | b"flush")
}

/// Types, and other words that have parentheses and are no functions; behind CALL stands a
/// routine's name, which was read.
fn is_type(word: &[u8]) -> bool {
    is_one_of!(key(word), b"int" | b"integer" | b"bigint" | b"smallint" | b"tinyint" | b"bit")
        || is_one_of!(key(word), b"numeric" | b"dec" | b"float" | b"double" | b"real" | b"enum")
        || is_one_of!(key(word), b"text" | b"blob" | b"if" | b"while" | b"until" | b"elseif")
        || is_one_of!(key(word), b"call")
        || [&b"mediumint"[..], b"varbinary", b"character", b"nvarchar", b"return"]
            .iter()
            .any(|known| is(word, known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Known;

    fn names(body: &str, modes: Modes) -> String {
        let Program { changes, calls } = program(body.as_bytes(), modes, &[b"given"]);
        let calls = calls.iter().map(|name| format!("{}()", String::from_utf8_lossy(name)));
        let changes = changes.names().map(str::to_owned);
        changes.chain(calls).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn what_bodies_may_change() {
        for (body, expected) in [
            ("SET NEW.n = NEW.n + 1", ""),
            ("BEGIN SET NEW.a = 1, NEW.b = CONCAT(NEW.c, ','), NEW.d = 2; END", ""),
            ("INSERT INTO log (a, b) VALUES (NEW.a, NOW())", ""),
            ("INSERT INTO db.log(a) SELECT n FROM t WHERE n IN (1, 2)", ""),
            ("UPDATE s SET n = n + 1, m = COALESCE(m, 0) WHERE id = NEW.id", ""),
            (
                "BEGIN DECLARE x, y INT(11) DEFAULT 0; DECLARE z VARCHAR(20); \
                 SELECT COUNT(*) INTO x FROM t; SET x = x + 1, Z = 'z'; \
                 IF (x > 1) THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no'; END IF; END",
                "",
            ),
            ("l: BEGIN IF NEW.n THEN LEAVE l; ELSE SET NEW.n = 1; END IF; END", ""),
            ("SET @x = 1, NEW.n = 2", "user variables"),
            ("SELECT 1 INTO @x", "user variables"),
            ("INSERT INTO log VALUES (@@server_id)", ""),
            ("SET NEW.n = @@server_id, @@sql_mode = ''", "variables, lexing"),
            ("SET sql_mode = ''", "variables, lexing, role"),
            ("BEGIN DECLARE x INT; SET x = 1, y = 2; END", "variables, lexing, role"),
            ("SET NEW.a = 1, SESSION sort_buffer_size = 5", "variables, lexing, role"),
            ("SET `x` = 1", "variables, lexing"),
            ("BEGIN IF 1 THEN SET time_zone = 'UTC'; END IF; END", "variables, lexing, role"),
            ("INSERT INTO log VALUES (GET_LOCK('l', 1))", "user lock taken"),
            ("SET NEW.n = NEXTVAL(s)", "sequence"),
            ("SET NEW.n = NEXT VALUE FOR s", "sequence"),
            ("CREATE TEMPORARY TABLE x (n INT)", "temporary table made"),
            ("CALL q()", "q()"),
            ("BEGIN CALL q; CALL p.Q(@x); END", "user variables, q()"),
            ("BEGIN CALL `p`.`Q r`(1); DROP TABLE t; COMMIT; END", "q r()"),
            ("BEGIN DECLARE EXIT HANDLER FOR NOT FOUND CALL q; END", "q()"),
            ("BEGIN DECLARE EXIT HANDLER FOR NOT FOUND EXECUTE s; END", "anything"),
            ("SET NEW.n = f(1)", "f()"),
            ("SET NEW.n = p.f(g(1))", "f(), g()"),
            ("SET NEW.n = `f`(1)", "f()"),
            ("RETURN given + f(1)", "f()"),
            ("SET NEW.n = `get_lock`('a', 1)", "anything"),
            ("SET NEW.n = p.abs(1)", "anything"),
            ("BEGIN SET given = 1; SET NEW.n = given; END", ""),
            ("EXECUTE IMMEDIATE 'SET @x = 1'", "anything"),
            ("BEGIN PREPARE s FROM 'SET @x = 1'; EXECUTE s; END", "anything"),
            ("BEGIN XA START 'a'; END", "anything"),
            ("BEGIN FLUSH STATUS; END", "anything"),
            ("DROP DATABASE p", "anything"),
            ("SET TRANSACTION READ ONLY", "variables, lexing, next transaction, role"),
            ("SET STATEMENT sql_mode = '' FOR CALL q", "anything"),
            ("BEGIN START TRANSACTION; INSERT INTO t VALUES (1); ROLLBACK; END", ""),
            ("INSERT INTO `log`(a) VALUES (1)", ""),
            ("INSERT INTO `p`.audit (a) VALUES (1)", ""),
            ("SET NEW.a = CASE WHEN 1 THEN 2 ELSE 3 END, sql_mode = ''", "variables, lexing, role"),
            ("BEGIN DECLARE d INT; DECLARE CONTINUE HANDLER FOR NOT FOUND SET d = 1; END", ""),
            (
                "BEGIN DECLARE EXIT HANDLER FOR NOT FOUND SET sql_mode = ''; END",
                "variables, lexing, role",
            ),
            ("BEGIN DECLARE c CURSOR FOR SELECT n FROM t; OPEN c; FETCH c INTO d; END", ""),
            ("SET NEW.s = 'it''s'", ""),
            ("SET NEW.s = 'never ends", "anything"),
            ("", ""),
        ] {
            assert_eq!(names(body, Modes::USUAL), expected, "{body}");
        }
        let open = Modes { no_backslash_escapes: Known::Unknown, ..Modes::USUAL };
        assert_eq!(names("SET NEW.s = 'a\\'", open), "anything");
    }
}
