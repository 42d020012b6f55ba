//! What begins a statement, and what is to be read of each kind.
//!
//! One function a kind. None where it is not sure, be it that the text is not one of these.

use super::Class;
use super::bits::{Asks, Changes};
use super::key::{is_one_of, key};
use super::scan::{DEEPEST, Scan};
use crate::sql::is;
use crate::sql::lexer::Token;

impl<'a> Scan<'a> {
    /// Reads a statement to its end.
    pub(super) fn statement(&mut self) -> Option<Class> {
        let token = self.next()?;
        if token == Token::End {
            // "-- ping": OK, where there is a comment at least.
            self.changes |= Changes::DIAGNOSTICS;
            self.asks |= Asks::ANYTHING;
            return Some(Class::Unknown);
        }
        self.statement_from(token)
    }

    fn statement_from(&mut self, mut token: Token<'a>) -> Option<Class> {
        self.changes |= Changes::DIAGNOSTICS;
        if token != Token::Symbol(b'(') {
            let Token::Word(word) = token else { return None };
            return self.verb(word);
        }
        while token == Token::Symbol(b'(') {
            token = self.next()?;
        }
        match token {
            Token::Word(word) if is_query(key(word)) => self.query(word),
            _ => None,
        }
    }

    fn verb(&mut self, word: &'a [u8]) -> Option<Class> {
        let key = key(word);
        if is_query(key) {
            self.query(word)
        } else if is_one_of!(key, b"insert" | b"update" | b"delete" | b"replace" | b"load") {
            self.write(key)
        } else if is_one_of!(key, b"set") {
            self.set()
        } else if is_one_of!(key, b"begin" | b"start" | b"commit" | b"rollback") {
            self.transaction(key)
        } else if is_one_of!(key, b"show" | b"help") {
            self.show()
        } else if is_one_of!(key, b"create" | b"alter" | b"drop") {
            self.definition(key)
        } else if is_one_of!(key, b"explain" | b"describe" | b"desc" | b"analyze") {
            self.explain(key)
        } else if is_one_of!(key, b"prepare" | b"execute" | b"call" | b"do" | b"use") {
            self.program(key)
        } else if is_one_of!(key, b"lock" | b"unlock" | b"backup" | b"handler" | b"flush") {
            self.lock(key)
        } else {
            self.rare(word)
        }
    }

    fn query(&mut self, word: &'a [u8]) -> Option<Class> {
        let is_with = is_one_of!(key(word), b"with");
        if !is_with {
            self.begins_as(Class::Select);
        }
        self.forget();
        self.see(Token::Word(word));
        self.tail()?;
        let clauses = self.clauses;
        if clauses.writes {
            is_with.then_some(())?;
            self.changes |= Changes::TRIGGERS;
            return Some(Class::Write);
        }
        if clauses.has_procedure {
            self.call_anything();
        }
        if clauses.is_locking {
            return Some(Class::LockingRead);
        }
        const ANSWERED_ANYWHERE: Asks =
            Asks::USER_VARIABLES.with(Asks::VARIABLES).with(Asks::RANDOM).with(Asks::TABLES);
        let is_read = self.depth == 0
            && !clauses.has_into
            && self.changes.without(Changes::DIAGNOSTICS).is_empty()
            && self.asks.without(ANSWERED_ANYWHERE).is_empty();
        Some(if is_read { Class::Read } else { Class::Select })
    }

    fn write(&mut self, key: u64) -> Option<Class> {
        self.begins_as(Class::Write);
        self.asks |= Asks::TABLES;
        self.changes |= Changes::TRIGGERS;
        if is_one_of!(key, b"load") {
            return self.load();
        }
        if !is_one_of!(key, b"update" | b"delete") {
            self.changes |= Changes::LAST_INSERT_ID;
        }
        // What stands before the table's name is no call, and `INSERT (` no function.
        self.forget();
        match self.next()? {
            Token::Word(word) if is_one_of!(key, b"insert" | b"replace") => {
                self.table_of_insert(word)?;
            }
            Token::End => return None,
            token => self.see(token),
        }
        self.tail()?;
        Some(Class::Write)
    }

    /// `INSERT [LOW_PRIORITY | …] [IGNORE] [INTO] name (`
    fn table_of_insert(&mut self, mut word: &'a [u8]) -> Option<()> {
        loop {
            let is_option = is_one_of!(key(word), b"into" | b"ignore" | b"delayed")
                || is(word, b"low_priority")
                || is(word, b"high_priority");
            if !is_option {
                break;
            }
            match self.next()? {
                Token::Word(next) => word = next,
                token => {
                    self.see(Token::Word(b"into"));
                    self.see(token);
                    return Some(());
                }
            }
        }
        self.see(Token::Word(b"into"));
        self.see(Token::Word(word));
        Some(())
    }

    fn load(&mut self) -> Option<Class> {
        if is_one_of!(key(self.next_word()?), b"index") {
            return self.other(Class::Admin, Changes::TRANSACTION);
        }
        self.changes |= Changes::LAST_INSERT_ID;
        self.tail()?;
        // `LOAD DATA … (@a)` sets it.
        if self.asks.intersects(Asks::USER_VARIABLES) {
            self.changes |= Changes::USER_VARIABLES;
        }
        Some(Class::Write)
    }

    fn show(&mut self) -> Option<Class> {
        let token = self.next()?;
        let diagnostics = match token {
            Token::Word(word) if is_one_of!(key(word), b"warnings" | b"errors") => {
                Some(Class::Show)
            }
            // `SHOW COUNT(*) WARNINGS` is SELECT @@warning_count.
            Token::Word(word) if is_one_of!(key(word), b"count") => Some(Class::Select),
            _ => None,
        };
        let uses_tables = self.shows_tables(token);
        self.see(token);
        if token != Token::End {
            self.tail()?;
        }
        if let Some(class) = diagnostics {
            self.asks |= Asks::DIAGNOSTICS | Asks::WARNINGS;
            self.changes = self.changes.without(Changes::DIAGNOSTICS);
            return Some(class);
        }
        self.asks |= Asks::SERVER | Asks::VARIABLES;
        if uses_tables {
            self.asks |= Asks::TABLES;
        }
        Some(Class::Show)
    }

    /// Whether a SHOW that begins with this token is surely one of a table, if only of one of
    /// information_schema.
    fn shows_tables(&self, first: Token<'a>) -> bool {
        let Token::Word(word) = first else { return false };
        let mut ahead = self.lexer;
        let second = match ahead.next_token() {
            Some(Token::Word(word)) => key(word),
            _ => 0,
        };
        let first = key(word);
        is_one_of!(first, b"tables" | b"columns" | b"fields" | b"index" | b"indexes" | b"keys")
            || is_one_of!(first, b"status" | b"engines" | b"plugins" | b"triggers" | b"events")
            || is_one_of!(first, b"session" | b"global" | b"local")
            || is_one_of!(first, b"full") && is_one_of!(second, b"tables" | b"columns" | b"fields")
            || is_one_of!(first, b"create") && is_one_of!(second, b"table" | b"view")
            || is_one_of!(first, b"table") && is_one_of!(second, b"status")
            || is(word, b"databases")
            || is(word, b"variables")
            || is(word, b"collation")
    }

    fn definition(&mut self, verb: u64) -> Option<Class> {
        let mut word = self.next_word()?;
        if is_one_of!(verb, b"drop") && is_one_of!(key(word), b"prepare") {
            return self.deallocate();
        }
        self.begins_as(Class::Ddl);
        self.changes |= Changes::TRANSACTION;
        let mut is_temporary = false;
        while is_one_of!(key(word), b"or" | b"replace" | b"global" | b"online" | b"ignore")
            || is(word, b"temporary")
        {
            is_temporary |= is(word, b"temporary");
            word = self.next_word()?;
        }
        let object = key(word);
        let is_of_tables = is_one_of!(object, b"table" | b"tables" | b"view")
            || is_one_of!(object, b"index" | b"unique" | b"sequence");
        if is_of_tables {
            self.asks |= Asks::TABLES;
        }
        self.may_have_body = !is_of_tables
            && !is_one_of!(object, b"database" | b"schema" | b"user" | b"role")
            && !is_one_of!(verb, b"drop");
        self.changes |= match () {
            // Of several one may be left.
            () if is_one_of!(verb, b"drop") && is_temporary => Changes::default(),
            () if is_temporary => Changes::TEMPORARY_TABLE_MADE,
            () if is_one_of!(object, b"database" | b"schema") => {
                Changes::SCHEMA | Changes::VARIABLES
            }
            () if is_one_of!(object, b"session") => Changes::ANYTHING,
            () => Changes::default(),
        };
        let runs = is_one_of!(verb, b"create") && is_one_of!(object, b"table");
        self.body(runs)?;
        Some(Class::Ddl)
    }

    /// The rest of a definition. Names in it have parentheses behind them; what is called is only
    /// what fills a table.
    fn body(&mut self, runs: bool) -> Option<()> {
        loop {
            let token = self.next()?;
            match token {
                Token::End => return Some(()),
                Token::Word(word) if runs && is_query(key(word)) => {
                    self.see(token);
                    return self.tail();
                }
                _ => {}
            }
        }
    }

    fn explain(&mut self, verb: u64) -> Option<Class> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        let mut runs = is_one_of!(verb, b"analyze");
        let mut token = self.next()?;
        while let Token::Word(word) = token {
            if is_one_of!(key(word), b"route") && self.has_more() {
                return self.explain_route();
            } else if is_one_of!(key(word), b"analyze") {
                runs = true;
            } else if is_one_of!(key(word), b"format") {
                self.format()?;
            } else if is_one_of!(key(word), b"into") {
                self.changes |= Changes::USER_VARIABLES;
                (self.next()? == Token::Symbol(b'@')).then_some(())?;
                self.next()?;
            } else if !is(word, b"extended") && !is(word, b"partitions") {
                break;
            }
            token = self.next()?;
        }
        self.explained(token, runs)
    }

    fn explained(&mut self, token: Token<'a>, runs: bool) -> Option<Class> {
        let first = match token {
            Token::Word(word) => key(word),
            Token::Symbol(b'(') => const { key(b"select") },
            _ => 0,
        };
        if runs && is_one_of!(first, b"table" | b"local") || is_the(token, b"no_write_to_binlog") {
            self.asks |= Asks::TABLES;
            return self.other(Class::Admin, Changes::TRANSACTION);
        }
        let is_statement =
            is_query(first) || is_one_of!(first, b"insert" | b"replace" | b"update" | b"delete");
        if is_statement {
            let class = self.statement_from(token)?;
            self.depth -= 1;
            if runs {
                return Some(class);
            }
            self.changes = self.changes.without(Changes::TRIGGERS);
            return Some(Class::Explain);
        }
        self.asks |= Asks::SERVER | Asks::TABLES;
        self.see(token);
        if token != Token::End {
            self.tail()?;
        }
        // What is executed and is none of these may be anything.
        (!runs).then_some(Class::Explain)
    }

    /// Behind FORMAT: `= name`.
    fn format(&mut self) -> Option<()> {
        (self.next()? == Token::Symbol(b'=')).then_some(())?;
        self.next().map(|_| ())
    }

    /// It may be a table of that name.
    fn has_more(&self) -> bool {
        let mut ahead = self.lexer;
        let mut next = ahead.next_token();
        while matches!(next, Some(Token::Comment(_))) {
            next = ahead.next_token();
        }
        matches!(next, Some(Token::Word(_) | Token::Symbol(b'(')))
    }

    fn explain_route(&mut self) -> Option<Class> {
        let at = self.lexer.words.at;
        self.hints.explain_route = true;
        self.rest()?;
        self.name = Some(&self.lexer.words.sql[at..]);
        self.asks |= Asks::SERVER;
        Some(Class::Explain)
    }

    fn program(&mut self, verb: u64) -> Option<Class> {
        if is_one_of!(verb, b"use") {
            self.changes |= Changes::SCHEMA;
            let token = self.next()?;
            let name = self.plain_name(token);
            self.expect_end()?;
            self.name = name;
            return Some(Class::Use);
        }
        if is_one_of!(verb, b"do") {
            self.rest()?;
            return Some(Class::Do);
        }
        if is_one_of!(verb, b"prepare") {
            self.changes |= Changes::STATEMENTS;
            let token = self.next()?;
            let name = self.plain_name(token);
            is_the(self.next()?, b"from").then_some(())?;
            self.rest()?;
            self.name = name;
            return Some(Class::Prepare);
        }
        if is_one_of!(verb, b"execute") {
            return self.execute();
        }
        self.call()
    }

    /// `CALL [schema.]name [(…)]`
    fn call(&mut self) -> Option<Class> {
        self.begins_as(Class::Call);
        self.changes |= Changes::TRANSACTION;
        let mut token = self.next()?;
        let mut name = self.plain_name(token);
        token = self.next()?;
        while token == Token::Symbol(b'.') {
            token = self.next()?;
            name = self.plain_name(token);
            token = self.next()?;
        }
        self.call_routine(name);
        self.forget();
        self.see(token);
        if token != Token::End {
            self.tail()?;
        }
        // OUT and INOUT.
        if self.asks.intersects(Asks::USER_VARIABLES) {
            self.changes |= Changes::USER_VARIABLES;
        }
        Some(Class::Call)
    }

    /// `EXECUTE name [USING …]`, or IMMEDIATE.
    fn execute(&mut self) -> Option<Class> {
        self.begins_as(Class::Execute);
        let token = self.next()?;
        let name = self.plain_name(token);
        if name.is_none_or(|name| is(name, b"immediate")) {
            self.call_anything();
            self.rest()?;
            return Some(Class::Execute);
        }
        self.changes |= Changes::EXECUTED;
        self.asks |= Asks::ANYTHING;
        match self.next()? {
            Token::End => {}
            token => {
                is_the(token, b"using").then_some(())?;
                self.rest()?;
            }
        }
        self.name = name;
        Some(Class::Execute)
    }

    fn deallocate(&mut self) -> Option<Class> {
        self.changes |= Changes::STATEMENTS;
        let token = self.next()?;
        let name = self.plain_name(token);
        self.expect_end()?;
        self.name = name;
        Some(Class::Deallocate)
    }

    fn lock(&mut self, verb: u64) -> Option<Class> {
        if is_one_of!(verb, b"flush") {
            return self.flush();
        }
        if is_one_of!(verb, b"handler") {
            return self.handler();
        }
        let object = key(self.next_word()?);
        let is_tables = is_one_of!(object, b"table" | b"tables");
        let is_stage = is_one_of!(object, b"stage");
        let is_last_stage =
            is_stage && matches!(self.next()?, Token::Word(word) if is(word, b"end"));
        self.changes |= match () {
            () if is_one_of!(verb, b"lock") && is_tables => {
                Changes::TABLE_LOCKS_TAKEN | Changes::TABLE_LOCKS_RELEASED | Changes::TRANSACTION
            }
            () if is_one_of!(verb, b"lock") => Changes::BACKUP_LOCK_TAKEN,
            () if is_one_of!(verb, b"unlock") && is_tables => {
                Changes::TABLE_LOCKS_RELEASED | Changes::TRANSACTION
            }
            () if is_one_of!(verb, b"unlock") => Changes::BACKUP_LOCK_RELEASED,
            () if is_one_of!(object, b"unlock") => Changes::BACKUP_LOCK_RELEASED,
            () if is_last_stage => Changes::BACKUP_LOCK_RELEASED | Changes::TRANSACTION,
            () if is_stage => Changes::BACKUP_LOCK_TAKEN | Changes::TRANSACTION,
            () => Changes::BACKUP_LOCK_TAKEN | Changes::TRANSACTION,
        };
        // `LOCK TABLES FOR BACKUP`, of some servers.
        while let Token::Word(_) | Token::Text(_) | Token::Symbol(b',' | b'.') = self.next()? {}
        Some(Class::Lock)
    }

    fn flush(&mut self) -> Option<Class> {
        self.changes |= Changes::TRANSACTION;
        let (mut is_read_lock, mut takes_locks) = (false, false);
        loop {
            match self.next()? {
                Token::End => break,
                Token::Word(word) => {
                    is_read_lock |= is_one_of!(key(word), b"with");
                    takes_locks |= is_one_of!(key(word), b"export");
                    if is_one_of!(key(word), b"status") {
                        self.changes |= Changes::STATUS;
                    }
                }
                _ => {}
            }
        }
        // With names it is one on tables, but for its end the same.
        if is_read_lock {
            self.changes |= Changes::GLOBAL_READ_LOCK_TAKEN | Changes::TABLE_LOCKS_TAKEN;
        }
        if takes_locks {
            self.changes |= Changes::TABLE_LOCKS_TAKEN;
        }
        Some(Class::Admin)
    }

    fn handler(&mut self) -> Option<Class> {
        self.asks |= Asks::SERVER | Asks::TABLES;
        self.forget();
        let mut token = self.next()?;
        self.see(token);
        token = self.next()?;
        while token == Token::Symbol(b'.') {
            self.see(token);
            token = self.next()?;
            self.see(token);
            token = self.next()?;
        }
        if is_the(token, b"close") {
            self.expect_end()?;
            self.changes |= Changes::HANDLER_CLOSED;
            return Some(Class::Handler);
        }
        while token != Token::End {
            if is_the(token, b"open") {
                self.changes |= Changes::HANDLER_OPENED;
            }
            self.see(token);
            token = self.next()?;
        }
        Some(Class::Handler)
    }

    fn rare(&mut self, word: &'a [u8]) -> Option<Class> {
        let key = key(word);
        const ADMIN: [&[u8]; 15] = [
            b"kill",
            b"check",
            b"checksum",
            b"optimize",
            b"repair",
            b"purge",
            b"change",
            b"stop",
            b"install",
            b"uninstall",
            b"cache",
            b"reset",
            b"shutdown",
            b"restart",
            b"import",
        ];
        match () {
            () if is(word, b"savepoint") => self.other(Class::Savepoint, Changes::TRANSACTION),
            () if is_one_of!(key, b"release") => {
                is(self.next_word()?, b"savepoint").then_some(())?;
                self.other(Class::Savepoint, Changes::TRANSACTION)
            }
            () if is_one_of!(key, b"xa") => self.xa(),
            () if is(word, b"deallocate") => {
                is_one_of!(super::key::key(self.next_word()?), b"prepare").then_some(())?;
                self.deallocate()
            }
            () if is_one_of!(key, b"truncate" | b"rename" | b"grant" | b"revoke") => {
                self.begins_as(Class::Ddl);
                if is_one_of!(key, b"truncate") {
                    self.asks |= Asks::TABLES;
                }
                self.other(Class::Ddl, Changes::TRANSACTION)
            }
            () if is_one_of!(key, b"get" | b"signal" | b"resignal") => self.diagnostics(key),
            () if ADMIN.iter().any(|known| is(word, known)) => {
                if is_one_of!(key, b"check" | b"checksum" | b"optimize" | b"repair") {
                    self.asks |= Asks::TABLES;
                }
                self.other(Class::Admin, Changes::TRANSACTION)
            }
            () => {
                self.rarest(key);
                None
            }
        }
    }

    /// Blocks of statements, of which no more is read.
    fn rarest(&mut self, key: u64) {
        let is_block = is_one_of!(key, b"if" | b"case" | b"loop" | b"while" | b"repeat" | b"for")
            || is_one_of!(key, b"declare");
        let is_labelled = {
            let mut ahead = self.lexer;
            ahead.next_token() == Some(Token::Symbol(b':'))
        };
        if is_block || is_labelled {
            self.begins_as(Class::Compound);
        }
    }

    fn diagnostics(&mut self, verb: u64) -> Option<Class> {
        if !is_one_of!(verb, b"get") {
            self.rest()?;
            return Some(Class::Diagnostics);
        }
        self.asks |= Asks::DIAGNOSTICS | self.asked_of_diagnostics();
        self.rest()?;
        self.changes = self.changes.without(Changes::DIAGNOSTICS) | Changes::USER_VARIABLES;
        Some(Class::Diagnostics)
    }

    /// What GET DIAGNOSTICS asks of the statements before it, by the words behind it.
    fn asked_of_diagnostics(&self) -> Asks {
        let (mut ahead, mut asks) = (self.lexer, Asks::default());
        loop {
            match ahead.next_token() {
                Some(Token::Word(word)) if is(word, b"row_count") => asks |= Asks::ROW_COUNT,
                Some(Token::Word(word)) if is_one_of!(key(word), b"number") => {
                    asks |= Asks::WARNINGS;
                }
                Some(Token::Word(word)) if is(word, b"condition") => asks |= Asks::WARNINGS,
                Some(Token::End) | None => return asks,
                Some(_) => {}
            }
        }
    }

    /// A statement of which no more has to be known than that it ends.
    pub(super) fn other(&mut self, class: Class, changes: Changes) -> Option<Class> {
        self.changes |= changes;
        while self.next()? != Token::End {}
        Some(class)
    }

    /// A name that stands there as it is.
    fn plain_name(&self, token: Token<'a>) -> Option<&'a [u8]> {
        match token {
            Token::Word(word) => Some(word),
            Token::Text((start, end)) => {
                let sql = self.lexer.words.sql;
                let name = &sql[start..end];
                let is_plain = sql[end] == b'`' && !name.is_empty() && !name.contains(&b'`');
                is_plain.then_some(name)
            }
            _ => None,
        }
    }
}

fn is_query(key: u64) -> bool {
    is_one_of!(key, b"select" | b"with" | b"values" | b"table")
}

pub(super) fn is_the(token: Token<'_>, keyword: &[u8]) -> bool {
    matches!(token, Token::Word(word) if is(word, keyword))
}
