//! The grammar of the admin port. Pure: text in, [`Command`] out.
//!
//! ODP's commands with ODP's words, ours where it has none, and what drivers send when they
//! connect.

pub mod fleet;
mod spell;
pub mod switchover;
mod token;

use std::path::PathBuf;

use token::{Token, tokens};

use super::show::{self, Show, Takes};
use super::table::Operands;
use crate::config::ExitTimeout;
use crate::config::parameter::cluster::ServerChange;
use crate::error::ClientError;
use crate::fleet::tasks;
use crate::restart::task::{Mode, Request};
use crate::wire::id::SessionId;

/// What an operator can ask.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// What may change something: only managers may ask it.
    Change(Change),
    /// SHOW, as a line of its table.
    Show(&'static Show, Operands),
    /// PING PROXY.
    Ping,
    /// SELECT of functions, variables and literals: (expression, column name).
    Select(Vec<(Expression, String)>),
    /// SET, BEGIN, COMMIT, ROLLBACK, USE: OK, as in ODP.
    Nothing,
}

/// A command that may change something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `RESTART [FORCE | REHEARSE] …`
    Restart(Request),
    /// RESTART ROLLBACK.
    Rollback,
    /// RESTART FLEET …
    Fleet(fleet::Order),
    /// ALTER PROXYCONFIG SET name = 'value', …
    Alter(Vec<(String, String)>),
    /// `ALTER CLUSTER name SET key = 'value', …`
    AlterCluster(String, Vec<(String, String)>),
    /// `ALTER CLUSTER name ADD|DROP|DRAIN|ONLINE SERVER 'host:port'`
    AlterServer(String, ServerChange, String),
    /// `ALTER CLUSTER name SWITCHOVER …`
    SwitchOver(String, switchover::Order),
    /// `KILL PROXYSESSION id` and `KILL [CONNECTION] id`.
    Kill(SessionId),
    /// `MOVE PROXYSESSION id TO 'host:port'`
    Move(SessionId, String),
    /// RESET PROXYDIGEST: what was counted of statements is forgotten.
    ResetDigests,
}

impl Change {
    /// The command as the log may have it: statements of servers stay out.
    pub(super) fn without_sql(&self) -> Self {
        let mut change = self.clone();
        if let Self::AlterCluster(_, changes) | Self::Alter(changes) = &mut change {
            let with_sql = changes.iter_mut().filter(|(key, _)| key.ends_with("init_sql"));
            with_sql.for_each(|(_, value)| *value = "***".into());
        }
        change
    }
}

/// What SELECT can show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// `name()`, lower case.
    Function(String),
    /// `@@name`, lower case, without session. or global.
    Variable(String),
    /// A number or a string.
    Literal(String),
    /// `@name` or NULL: there are no user variables here.
    Null,
}

impl Command {
    /// Whether it only looks: a viewer may.
    pub fn only_looks(&self) -> bool {
        !matches!(self, Self::Change(_))
    }

    /// Understands a statement; the error is what the client is told.
    pub fn parse(sql: &str) -> Result<Self, ClientError> {
        let tokens = tokens(sql).map_err(ClientError::syntax)?;
        let mut input = Input { tokens: &tokens };
        let command = input.command()?;
        while input.symbol(';') {}
        match input.tokens.first() {
            None => Ok(command),
            Some(token) => Err(ClientError::syntax(format!("unexpected {token}"))),
        }
    }
}

struct Input<'a> {
    tokens: &'a [Token],
}

impl<'a> Input<'a> {
    fn command(&mut self) -> Result<Command, ClientError> {
        let Some(first) = self.word() else { return Err(ClientError::unknown_command()) };
        match first.as_str() {
            "restart" => self.restart(),
            "show" => self.show(),
            "alter" => self.alter(),
            "kill" => self.kill(),
            "move" => self.move_session(),
            "reset" if self.keyword("proxydigest") => Ok(Command::Change(Change::ResetDigests)),
            "ping" if self.keyword("proxy") => Ok(Command::Ping),
            "select" => self.select(),
            "set" | "begin" | "start" | "commit" | "rollback" | "use" => {
                self.tokens = &[];
                Ok(Command::Nothing)
            }
            _ => Err(ClientError::unknown_command()),
        }
    }

    fn restart(&mut self) -> Result<Command, ClientError> {
        if self.keyword("rollback") {
            return Ok(Command::Change(Change::Rollback));
        }
        if self.keyword("fleet") {
            return self.restart_fleet().map(|order| Command::Change(Change::Fleet(order)));
        }
        let mode = Mode::Restart;
        let mut request = Request::of(mode);
        while let Some(option) = self.word() {
            let mode = match option.as_str() {
                "force" => Some(Mode::Force),
                "rehearse" => Some(Mode::Rehearse),
                _ => None,
            };
            if let Some(mode) = mode {
                if ![Mode::Restart, mode].contains(&request.mode) {
                    return Err(ClientError::syntax("expected FORCE or REHEARSE, not both"));
                }
                request.mode = mode;
                continue;
            }
            self.symbol('=');
            let value = self.value().ok_or_else(|| {
                ClientError::syntax(format!("{option}: expected a value such as '30s'"))
            })?;
            match option.as_str() {
                "exit_timeout" => {
                    let timeout: Result<ExitTimeout, _> = match value.as_str() {
                        "0" => Ok(ExitTimeout::After(std::time::Duration::ZERO)),
                        other => other.parse(),
                    };
                    let wrong = |error: String| ClientError::wrong_value(&option, &value, &error);
                    request.exit_timeout = Some(timeout.map_err(wrong)?);
                }
                "binary" => request.binary = Some(PathBuf::from(value)),
                "config" => request.config = Some(PathBuf::from(value)),
                _ => {
                    let text = format!(
                        "'{option}': expected FORCE, REHEARSE, ROLLBACK, FLEET, EXIT_TIMEOUT, \
                         BINARY or CONFIG"
                    );
                    return Err(ClientError::syntax(text));
                }
            }
        }
        Ok(Command::Change(Change::Restart(request)))
    }

    fn restart_fleet(&mut self) -> Result<fleet::Order, ClientError> {
        if let Some((_, word)) = fleet::Word::ALL.into_iter().find(|(it, _)| self.keyword(it)) {
            let id = self.value().map(|id| {
                let wrong = || ClientError::syntax(format!("'{id}': expected the id of a task"));
                id.parse().map_err(|_| wrong())
            });
            return Ok(fleet::Order::Of(word, id.transpose()?));
        }
        let rehearses = self.keyword("rehearse");
        let mut request = tasks::Request::default();
        while let Some(option) = self.word() {
            if rehearses && !["cluster", "proxies"].contains(&option.as_str()) {
                let text = format!("'{option}': behind REHEARSE expected CLUSTER or PROXIES");
                return Err(ClientError::syntax(text));
            }
            if option == "force" {
                fleet::force(&mut request);
                continue;
            }
            self.symbol('=');
            let missing = || ClientError::syntax(format!("{option}: expected a value"));
            let value = self.value().ok_or_else(missing)?;
            fleet::set(&mut request, &option, &value)?;
        }
        match rehearses {
            true => Ok(fleet::Order::Rehearse(request)),
            false => Ok(fleet::Order::Start(request)),
        }
    }

    fn show(&mut self) -> Result<Command, ClientError> {
        let scopes = ["full", "session", "global"];
        let _ = scopes.iter().any(|scope| self.keyword(scope));
        let Some((show, words)) = show::find(|at| self.word_at(at)) else {
            let first = self.word().unwrap_or_default();
            return Err(match show::what_follows(&first) {
                Some(expected) => {
                    let first = first.to_uppercase();
                    ClientError::syntax(format!("SHOW {first}: expected {expected}"))
                }
                None => ClientError::unknown_command(),
            });
        };
        self.tokens = &self.tokens[words..];
        let mut operands = Operands::default();
        match show.takes {
            Takes::Nothing => {}
            Takes::Like => operands.like = self.like()?,
            Takes::Name => operands.like = self.value(),
            Takes::SessionAndLike => {
                operands.session = self.id()?;
                operands.like = self.like()?;
            }
            Takes::Anything => {
                operands.like = self.like().unwrap_or_default();
                self.tokens = &[];
            }
        }
        Ok(Command::Show(show, operands))
    }

    fn alter(&mut self) -> Result<Command, ClientError> {
        if self.keyword("cluster") {
            return self.alter_cluster().map(Command::Change);
        }
        if !(self.keyword("proxyconfig") && self.keyword("set")) {
            return Err(ClientError::unknown_command());
        }
        Ok(Command::Change(Change::Alter(self.assignments()?)))
    }

    fn alter_cluster(&mut self) -> Result<Change, ClientError> {
        let name = self.value();
        let name = name.ok_or_else(|| ClientError::syntax("ALTER CLUSTER: expected its name"))?;
        if self.keyword("set") {
            return Ok(Change::AlterCluster(name, self.assignments()?));
        }
        if self.keyword("switchover") {
            return self.switch_over(name);
        }
        let what = ServerChange::WORDS.into_iter().find(|(word, _)| self.keyword(word));
        let expected = "expected SET, ADD SERVER, DROP SERVER, DRAIN SERVER, ONLINE SERVER or \
                        SWITCHOVER";
        let syntax = || ClientError::syntax(format!("ALTER CLUSTER {name}: {expected}"));
        let (_, what) = what.ok_or_else(syntax)?;
        if !self.keyword("server") {
            return Err(syntax());
        }
        let address = self.address()?;
        Ok(Change::AlterServer(name, what, address))
    }

    fn move_session(&mut self) -> Result<Command, ClientError> {
        if !self.keyword("proxysession") {
            return Err(ClientError::unknown_command());
        }
        let id = self.id()?;
        if !self.keyword("to") {
            let text = format!("MOVE PROXYSESSION {id}: expected TO 'host:port'");
            return Err(ClientError::syntax(text));
        }
        Ok(Command::Change(Change::Move(id, self.address()?)))
    }

    fn address(&mut self) -> Result<String, ClientError> {
        let address = self.value().filter(|address| !address.is_empty());
        address.ok_or_else(|| ClientError::syntax("expected a server such as 'host:port'"))
    }

    /// `name = value, …`
    fn assignments(&mut self) -> Result<Vec<(String, String)>, ClientError> {
        let mut changes = Vec::new();
        loop {
            let name = self.word().ok_or_else(|| ClientError::syntax("expected a name"))?;
            if !self.symbol('=') {
                return Err(ClientError::syntax(format!("{name}: expected = and a value")));
            }
            changes.push((name, self.value().unwrap_or_default()));
            if !self.symbol(',') {
                return Ok(changes);
            }
        }
    }

    fn kill(&mut self) -> Result<Command, ClientError> {
        // Ending the connection would be more than was asked for.
        if self.keyword("query") {
            let id = self.id()?;
            let text =
                format!("KILL QUERY {id}: only the clients' port knows a session's statement");
            return Err(ClientError::refused(text));
        }
        let _ = self.keyword("proxysession") || self.keyword("connection");
        Ok(Command::Change(Change::Kill(self.id()?)))
    }

    fn select(&mut self) -> Result<Command, ClientError> {
        let mut items = Vec::new();
        loop {
            items.push(self.item()?);
            if !self.symbol(',') {
                break;
            }
        }
        if self.keyword("from") && !self.keyword("dual") {
            return Err(ClientError::unknown_command());
        }
        if self.keyword("limit") {
            self.value();
        }
        Ok(Command::Select(items))
    }

    fn item(&mut self) -> Result<(Expression, String), ClientError> {
        let Some((token, rest)) = self.tokens.split_first() else {
            return Err(ClientError::unknown_command());
        };
        self.tokens = rest;
        let (expression, shown) = match token {
            Token::Variable(name) => {
                let bare = name.to_ascii_lowercase();
                let bare = ["session.", "global.", "local."]
                    .iter()
                    .find_map(|scope| bare.strip_prefix(scope))
                    .unwrap_or(&bare);
                (Expression::Variable(bare.to_owned()), format!("@@{name}"))
            }
            Token::UserVariable(name) => (Expression::Null, format!("@{name}")),
            Token::Text(text) => (Expression::Literal(text.clone()), text.clone()),
            Token::Word(word) if word.bytes().all(|byte| byte.is_ascii_digit()) => {
                (Expression::Literal(word.clone()), word.clone())
            }
            Token::Word(word) if word.eq_ignore_ascii_case("null") => {
                (Expression::Null, "NULL".into())
            }
            Token::Word(word) if self.symbol('(') && self.symbol(')') => {
                (Expression::Function(word.to_ascii_lowercase()), format!("{word}()"))
            }
            _ => return Err(ClientError::unknown_command()),
        };
        Ok((expression, self.alias().unwrap_or(shown)))
    }

    /// `[AS] name`, but not the words that go on with the statement.
    fn alias(&mut self) -> Option<String> {
        if self.keyword("as") {
            return self.value();
        }
        match self.tokens.first() {
            Some(Token::Word(word))
                if !["from", "limit"].iter().any(|end| word.eq_ignore_ascii_case(end)) =>
            {
                self.value()
            }
            _ => None,
        }
    }

    fn like(&mut self) -> Result<Option<String>, ClientError> {
        if !self.keyword("like") {
            return Ok(None);
        }
        let pattern = self.value();
        pattern.map(Some).ok_or_else(|| ClientError::syntax("LIKE: expected a pattern"))
    }

    fn id(&mut self) -> Result<SessionId, ClientError> {
        let value = self.value().unwrap_or_default();
        // An id that is well-formed and larger than any of ours is just not there.
        match value.parse::<u64>() {
            Ok(id) => {
                let own = u32::try_from(id).map(SessionId);
                own.map_err(|_| ClientError::unknown_thread(id))
            }
            Err(_) => Err(ClientError::syntax(format!("'{value}': expected a session id"))),
        }
    }

    fn word(&mut self) -> Option<String> {
        let (Token::Word(word), rest) = self.tokens.split_first()? else { return None };
        self.tokens = rest;
        Some(word.to_ascii_lowercase())
    }

    fn word_at(&self, at: usize) -> Option<&'a str> {
        let Token::Word(word) = self.tokens.get(at)? else { return None };
        Some(word)
    }

    pub(super) fn keyword(&mut self, keyword: &str) -> bool {
        let found = matches!(self.tokens.first(),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword));
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    fn symbol(&mut self, symbol: char) -> bool {
        let found = self.tokens.first() == Some(&Token::Symbol(symbol));
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    /// A word, a number (with its sign), or a string.
    fn value(&mut self) -> Option<String> {
        let minus = if self.symbol('-') { "-" } else { "" };
        let (token, rest) = self.tokens.split_first()?;
        let value = match token {
            Token::Word(word) => format!("{minus}{word}"),
            Token::Text(text) => text.clone(),
            _ => return None,
        };
        self.tokens = rest;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn restart(mode: Mode) -> Request {
        Request::of(mode)
    }

    #[test]
    fn a_fleet_is_restarted_with_options_or_its_task_gets_an_order() {
        let request = |change: fn(&mut tasks::Request)| {
            let mut request = tasks::Request::default();
            change(&mut request);
            fleet::Order::Start(request)
        };
        for (sql, expected) in [
            ("RESTART FLEET", request(|_| {})),
            ("RESTART FLEET FORCE", request(fleet::force)),
            ("RESTART FLEET BATCH = 3 CANARY=0", request(|it| (it.batch, it.canary) = (3, 0))),
            ("RESTART FLEET PROXIES = 'a, b'", {
                request(|it| it.proxies = vec!["a".into(), "b".into()])
            }),
            ("RESTART FLEET CLUSTER = 'two'", request(|it| it.cluster = Some("two".into()))),
            ("restart fleet binary = '/x'", request(|it| it.binary = Some("/x".into()))),
            ("RESTART FLEET REHEARSAL = OFF", request(|it| it.rehearsal = false)),
            ("RESTART FLEET REHEARSE PROXIES = 'a'", {
                let proxies = vec!["a".to_owned()];
                fleet::Order::Rehearse(tasks::Request { proxies, ..tasks::Request::default() })
            }),
            ("RESTART FLEET STOP", fleet::Order::Of(fleet::Word::Stop, None)),
            ("RESTART FLEET ROLLBACK 7;", fleet::Order::Of(fleet::Word::RollBack, Some(7))),
            ("RESTART FLEET RETRY 7", fleet::Order::Of(fleet::Word::Retry, Some(7))),
        ] {
            let expected = Command::Change(Change::Fleet(expected));
            assert_eq!(Command::parse(sql).expect(sql), expected, "{sql}");
        }
        for sql in [
            "RESTART FLEET BATCH",
            "RESTART FLEET BATCH = 0",
            "RESTART FLEET BATCH = 1001",
            "RESTART FLEET CLUSTER = ''",
            "RESTART FLEET MAX_ERROR_PERCENT = 101",
            "RESTART FLEET PAUSE = 'soon'",
            "RESTART FLEET REHEARSAL = 'maybe'",
            "RESTART FLEET BINARY = 'relative'",
            "RESTART FLEET STOP x",
            "RESTART FLEET SPEED = 3",
        ] {
            assert!(Command::parse(sql).is_err(), "{sql}");
        }
    }

    fn show_with(phrase: &str, operands: Operands) -> Command {
        let words: Vec<_> = phrase.split(' ').collect();
        let (show, _) = show::find(|at| words.get(at).copied()).expect("a line of the table");
        Command::Show(show, operands)
    }

    fn show(phrase: &str) -> Command {
        show_with(phrase, Operands::default())
    }

    fn show_like(phrase: &str, like: &str) -> Command {
        show_with(phrase, Operands { like: Some(like.into()), ..Operands::default() })
    }

    fn attributes(session: SessionId, like: &str) -> Command {
        show_with("proxysession attribute", Operands { session, like: Some(like.into()) })
    }

    fn select(expression: Expression, name: &str) -> Command {
        Command::Select(vec![(expression, name.into())])
    }

    #[track_caller]
    fn check(table: impl IntoIterator<Item = (&'static str, Command)>) {
        for (sql, expected) in table {
            assert_eq!(Command::parse(sql), Ok(expected), "{sql}");
        }
    }

    #[test]
    fn restarts_are_understood() {
        let all = Request {
            mode: Mode::Force,
            exit_timeout: Some(ExitTimeout::After(Duration::from_secs(30))),
            binary: Some("/a b".into()),
            config: Some("c".into()),
        };
        let never = Request { exit_timeout: Some(ExitTimeout::Never), ..restart(Mode::Restart) };
        let forced = Request { config: Some("c".into()), ..restart(Mode::Force) };
        let table = [
            ("restart", Change::Restart(restart(Mode::Restart))),
            ("RESTART FORCE;", Change::Restart(restart(Mode::Force))),
            ("restart force exit_timeout='30s' binary = '/a b' CONFIG='c'", Change::Restart(all)),
            ("restart exit_timeout = -1", Change::Restart(never)),
            ("restart rehearse", Change::Restart(restart(Mode::Rehearse))),
            ("restart config='c' force", Change::Restart(forced)),
            ("restart rollback", Change::Rollback),
        ];
        check(table.map(|(sql, change)| (sql, Command::Change(change))));
    }

    #[test]
    fn other_changes_are_understood() {
        let keys = |pairs: [(&str, &str); 2]| {
            pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
        };
        let table = [
            ("kill proxysession 7", Change::Kill(SessionId(7))),
            ("kill connection 7", Change::Kill(SessionId(7))),
            ("kill 7", Change::Kill(SessionId(7))),
            (
                "ALTER CLUSTER main DRAIN SERVER 'h:1'",
                Change::AlterServer("main".into(), ServerChange::Drain, "h:1".into()),
            ),
            (
                "alter cluster 'My Own' set read_write_split = 'on', causal_reads = off",
                Change::AlterCluster(
                    "My Own".into(),
                    keys([("read_write_split", "on"), ("causal_reads", "off")]),
                ),
            ),
            ("move proxysession 7 to 'h:1';", Change::Move(SessionId(7), "h:1".into())),
            ("reset proxydigest;", Change::ResetDigests),
            (
                "alter proxyconfig set a = 'b', c = -1",
                Change::Alter(keys([("a", "b"), ("c", "-1")])),
            ),
        ];
        check(table.map(|(sql, change)| (sql, Command::Change(change))));
    }

    #[test]
    fn what_only_looks_is_understood() {
        let variable = |name: &str| Expression::Variable(name.into());
        check([
            ("show restart", show("restart")),
            ("show proxyconfig", show("proxyconfig")),
            ("show proxyconfig like 'a\\_b'", show_like("proxyconfig", "a\\_b")),
            ("/* a */ ping /**/ proxy --\n -- b", Command::Ping),
            ("SHOW PROXYCONFIG LIKE '%time%'", show_like("proxyconfig", "%time%")),
            ("show proxysession", show("proxysession")),
            ("show proxysession attribute 7 like 'db'", attributes(SessionId(7), "db")),
            ("show full processlist", show("processlist")),
            ("show proxydigest like '%t%'", show_like("proxydigest", "%t%")),
            ("show proxydigest running", show("proxydigest running")),
            ("show proxycluster", show("proxycluster")),
            ("show proxyroute like 'm%'", show_like("proxyroute", "m%")),
            ("show proxycongestion all 'main'", show_like("proxycongestion all", "main")),
            ("show proxycongestion", show("proxycongestion")),
            ("show white list", show("white list")),
            ("show proxystat refresh like 'c%'", show_like("proxystat", "c%")),
            ("show proxyinfo binary", show("proxyinfo binary")),
            ("show proxyinfo upgrade", show("proxyinfo upgrade")),
            ("ping proxy", Command::Ping),
            ("/* a driver */ SET NAMES utf8mb4", Command::Nothing),
            ("begin", Command::Nothing),
            ("select 1", select(Expression::Literal("1".into()), "1")),
            ("select 'x' as y", select(Expression::Literal("x".into()), "y")),
            ("select @@session.autocommit", select(variable("autocommit"), "@@session.autocommit")),
            (
                "select @@version_comment limit 1",
                select(variable("version_comment"), "@@version_comment"),
            ),
            ("select proxy_version() v", select(Expression::Function("proxy_version".into()), "v")),
            ("select @x from dual", select(Expression::Null, "@x")),
            ("show variables where Variable_name = 'x'", show("variables")),
            ("show warnings limit 5", show("warnings")),
        ]);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let table = [
            ("", "Unknown operator"),
            ("select * from t", "Unknown operator"),
            ("show tables", "Unknown operator"),
            ("select 1 from t", "Unknown operator"),
            ("restart force rehearse", "not both"),
            ("restart soon = 1", "'soon': expected FORCE"),
            ("restart exit_timeout", "exit_timeout: expected a value"),
            ("restart exit_timeout = 'soon'", "'soon'"),
            ("show proxyinfo", "expected BINARY or UPGRADE"),
            ("alter proxyconfig set a", "a: expected ="),
            ("kill x", "'x': expected a session id"),
            ("move proxysession x to 'h:1'", "'x': expected a session id"),
            ("move proxysession 7", "7: expected TO"),
            ("move proxysession 7 to", "expected a server"),
            ("alter cluster", "expected its name"),
            ("alter cluster main", "main: expected SET, ADD SERVER"),
            ("alter cluster main drain 'h:1'", "main: expected SET, ADD SERVER"),
            ("alter cluster main drain server", "expected a server"),
            ("kill 99999999999", "Unknown thread id: 99999999999"),
            ("kill query 7", "KILL QUERY 7"),
            ("/*/ ping proxy", "does not end"),
            ("show restart now", "unexpected 'now'"),
            ("select 'x", "does not end"),
            ("/* x", "does not end"),
        ];
        for (sql, part) in table {
            let error = Command::parse(sql).expect_err(sql);
            assert!(error.message.contains(part), "{sql}: {error}");
        }
    }

    #[test]
    fn only_these_change_something() {
        for sql in [
            "restart",
            "restart rehearse",
            "restart rollback",
            "alter proxyconfig set a=1",
            "kill 1",
            "move proxysession 1 to 'h:1'",
            "reset proxydigest",
            "alter cluster main set kind = 'mysql'",
            "alter cluster main add server 'h:1'",
        ] {
            assert!(!Command::parse(sql).expect(sql).only_looks(), "{sql}");
        }
        for sql in ["show restart", "ping proxy", "select 1", "set x = 1"] {
            assert!(Command::parse(sql).expect(sql).only_looks(), "{sql}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_panic(sql in ".{0,80}") {
            let _ = Command::parse(&sql);
        }

        #[test]
        fn words_in_any_order_are_judged_without_panic(
            words in proptest::collection::vec(
                prop_oneof![
                    "restart|force|show|select|alter|proxyconfig|set|kill|like|as|from",
                    "[a-z]{1,3}|[0-9]{1,3}|'[a-z]*'|@@[a-z]+|[-=,();@'`]"
                ],
                0..12,
            ),
        ) {
            let _ = Command::parse(&words.join(" "));
        }
    }
}
