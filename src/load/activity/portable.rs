//! Everything that a session knows and that could be told to another server: is it all still there?
//!
//! Each turn changes one kind of it and then looks at all, so that what comes back in an older
//! state is seen as well. Nothing in here ties a session to its server; what does is in `state`.

use mysql_async::Statement;

use crate::load::check;
use crate::load::client::Client;
use crate::load::trouble::Trouble;

/// One kind of state. What it is depends on a number that grows, and the schema of the load.
struct Kind {
    name: &'static str,
    /// The statement that sets it.
    set: Told,
    /// Expressions that show it, each with what must be seen.
    shown: &'static [(&'static str, Told)],
}

/// A text that is made of the number and the schema.
type Told = fn(u64, &str) -> String;

/// User variables whose types are looked at as well.
const TYPED: &str = "SELECT @odp_signed, @odp_unsigned, @odp_decimal, @odp_double";

/// Stands for the variable that shows the isolation level: servers have different names for it.
const ISOLATION: &str = "@@ISOLATION";

const KINDS: &[Kind] = &[
    Kind {
        name: "schema",
        set: |n, own| format!("USE {}", quoted(schema(n, own))),
        shown: &[("LOWER(DATABASE())", |n, own| schema(n, own).to_lowercase())],
    },
    Kind {
        name: "user variable, signed",
        set: |n, _| format!("SET @odp_signed = -{n}"),
        shown: &[("@odp_signed", |n, _| format!("-{n}"))],
    },
    Kind {
        name: "user variable, unsigned",
        set: |n, _| format!("SET @odp_unsigned = {}", u64::MAX - n),
        shown: &[("@odp_unsigned", |n, _| (u64::MAX - n).to_string())],
    },
    Kind {
        name: "user variable, decimal",
        set: |n, _| format!("SET @odp_decimal = {n}.5000"),
        shown: &[("@odp_decimal", |n, _| format!("{n}.5000"))],
    },
    Kind {
        name: "user variable, double",
        set: |n, _| format!("SET @odp_double = {n}.25e0"),
        shown: &[("@odp_double", |n, _| format!("{n}.25"))],
    },
    Kind {
        name: "user variable, text",
        set: |n, _| {
            let collation = pick(n, ["utf8mb4_bin", "utf8mb4_general_ci"]);
            format!("SET @odp_text = CONVERT(x'c3a4{}' USING utf8mb4) COLLATE {collation}", hex(n))
        },
        shown: &[
            ("HEX(@odp_text)", |n, _| format!("C3A4{}", hex(n))),
            ("COLLATION(@odp_text)", |n, _| pick(n, ["utf8mb4_bin", "utf8mb4_general_ci"]).into()),
        ],
    },
    Kind {
        name: "user variable, bytes",
        set: |n, _| format!("SET @odp_bytes = x'00ff{n:016x}'"),
        shown: &[
            ("HEX(@odp_bytes)", |n, _| format!("00FF{n:016X}")),
            ("COLLATION(@odp_bytes)", |_, _| "binary".into()),
        ],
    },
    Kind {
        name: "user variable, NULL or not",
        set: |n, _| format!("SET @odp_null = {}", null_or(n)),
        shown: &[("@odp_null", |n, _| null_or(n))],
    },
    Kind {
        name: "sql_mode",
        set: |n, _| format!("SET sql_mode = '{}'", sql_mode(n)),
        shown: &[("@@sql_mode", |n, _| sql_mode(n).into())],
    },
    Kind {
        name: "time_zone",
        set: |n, _| format!("SET time_zone = '{}'", time_zone(n)),
        shown: &[("@@time_zone", |n, _| time_zone(n))],
    },
    Kind {
        name: "character set and collation",
        set: |n, _| format!("SET NAMES {} COLLATE {}", names(n).0, names(n).1),
        shown: &[
            ("@@character_set_client", |n, _| names(n).0.into()),
            ("@@character_set_connection", |n, _| names(n).0.into()),
            ("@@character_set_results", |n, _| names(n).0.into()),
            ("@@collation_connection", |n, _| names(n).1.into()),
        ],
    },
    Kind {
        name: "autocommit",
        set: |n, _| format!("SET autocommit = {}", n % 2),
        shown: &[("@@autocommit", |n, _| (n % 2).to_string())],
    },
    Kind {
        name: "isolation level",
        set: |n, _| format!("SET SESSION TRANSACTION ISOLATION LEVEL {}", level(n)),
        shown: &[(ISOLATION, |n, _| level(n).replace(' ', "-"))],
    },
    Kind {
        name: "foreign_key_checks and unique_checks",
        set: |n, _| format!("SET foreign_key_checks = {}, unique_checks = {}", n % 2, n / 2 % 2),
        shown: &[
            ("@@foreign_key_checks", |n, _| (n % 2).to_string()),
            ("@@unique_checks", |n, _| (n / 2 % 2).to_string()),
        ],
    },
    Kind {
        name: "lock_wait_timeout and group_concat_max_len",
        set: |n, _| {
            let (wait, length) = (1000 + n, 2000 + n);
            format!("SET SESSION lock_wait_timeout = {wait}, group_concat_max_len = {length}")
        },
        shown: &[
            ("@@lock_wait_timeout", |n, _| (1000 + n).to_string()),
            ("@@group_concat_max_len", |n, _| (2000 + n).to_string()),
        ],
    },
];

/// How statements are read depends on these. Those that were prepared under others are prepared
/// anew: they would tie the session to its server, and nothing else of it would ever move.
const READ_BY: [&str; 2] = ["sql_mode", "character set and collation"];

/// Statements that are prepared at a time.
const STATEMENTS: usize = 3;

/// What this session was told.
#[derive(Default)]
pub(in crate::load) struct Portable {
    /// The number that each of [`KINDS`] was set by.
    numbers: Vec<u64>,
    isolation: String,
    inserted: u64,
    /// The types of the variables of [`TYPED`], when they were first asked for.
    types: String,
    /// Each with the types of its answer, when it was first executed.
    statements: Vec<(Statement, String)>,
    turns: usize,
}

impl Portable {
    pub(super) async fn begin(&mut self, client: &mut Client) -> Result<(), Trouble> {
        *self = Self::default();
        let rows = client.rows("SHOW SESSION VARIABLES LIKE 't%isolation'").await?;
        let names: Vec<&str> = rows.iter().filter_map(|row| row.first()).map(|it| &**it).collect();
        let known = ["transaction_isolation", "tx_isolation"];
        let found = known.into_iter().find(|name| names.contains(name)).unwrap_or(known[0]);
        self.isolation = format!("@@{found}");
        let first = 1 + client.random.below(1000);
        self.numbers = (first..).take(KINDS.len()).collect();
        for at in 0..KINDS.len() {
            self.set(client, at).await?;
        }
        self.insert(client).await?;
        self.prepare(client).await?;
        self.types = client.typed(TYPED).await?.1;
        self.look(client).await
    }

    pub(super) async fn turn(&mut self, client: &mut Client) -> Result<(), Trouble> {
        let at = self.turns % (KINDS.len() + 2);
        self.turns += 1;
        match at.checked_sub(KINDS.len()) {
            None => {
                self.numbers[at] += 1;
                self.set(client, at).await?;
                if READ_BY.contains(&KINDS[at].name) {
                    self.forget(client, 0).await;
                    self.prepare(client).await?;
                }
            }
            Some(0) => self.insert(client).await?,
            Some(_) => self.prepare(client).await?,
        }
        self.look(client).await?;
        client.pause(client.run.pause * 4).await;
        Ok(())
    }

    /// Looks at everything.
    pub(super) async fn look(&mut self, client: &mut Client) -> Result<(), Trouble> {
        let (own, isolation) = (client.run.database.clone(), &*self.isolation);
        let mut expected = vec![("LAST_INSERT_ID", self.inserted.to_string())];
        let mut shown = vec!["LAST_INSERT_ID()"];
        for (kind, number) in KINDS.iter().zip(&self.numbers) {
            for (expression, value) in kind.shown {
                expected.push((kind.name, value(*number, &own)));
                shown.push(if *expression == ISOLATION { isolation } else { expression });
            }
        }
        let rows = client.rows(&format!("SELECT {}", shown.join(", "))).await?;
        client.check(check::state(&rows, &expected)).await?;
        let types = client.typed(TYPED).await?.1;
        client.check(check::text("types of user variables", &types, &self.types)).await?;
        for at in 0..self.statements.len() {
            self.execute(client, at).await?;
        }
        Ok(())
    }

    async fn set(&self, client: &mut Client, at: usize) -> Result<(), Trouble> {
        let sql = (KINDS[at].set)(self.numbers[at], &client.run.database);
        client.run(&sql).await
    }

    async fn insert(&mut self, client: &mut Client) -> Result<(), Trouble> {
        let schema = quoted(&client.run.database);
        let (table, id) = (client.run.tables.ids(), client.id().0);
        client.run(&format!("INSERT INTO {schema}.{table} (client) VALUES ({id})")).await?;
        self.inserted = client.last_insert_id().unwrap_or_default();
        let id = self.inserted;
        client.run(&format!("DELETE FROM {schema}.{table} WHERE id = {id}")).await?;
        // autocommit may be off.
        client.run("COMMIT").await
    }

    /// A further statement, and without the oldest of too many.
    async fn prepare(&mut self, client: &mut Client) -> Result<(), Trouble> {
        let mark = client.mark();
        let statement = client.prepare(&format!("SELECT ?, ?, ?, ?, ?, '{mark}'")).await?;
        self.statements.push((statement, String::new()));
        self.forget(client, STATEMENTS).await;
        Ok(())
    }

    /// Closes the oldest statements but for so many.
    async fn forget(&mut self, client: &mut Client, but: usize) {
        let oldest = self.statements.len().saturating_sub(but);
        for (statement, _) in self.statements.drain(..oldest) {
            client.forget(statement).await;
        }
    }

    /// Parameters of every type; the answer tells how the server has understood them.
    async fn execute(&mut self, client: &mut Client, at: usize) -> Result<(), Trouble> {
        let (mark, number) = (client.mark(), client.random.below(1 << 40));
        let Some((statement, before)) = self.statements.get_mut(at) else { return Ok(()) };
        let signed = -(number as i64);
        let params = (signed, number, 0.5, &*mark, None::<u64>);
        let (rows, types) = client.execute_typed(statement, params).await?;
        let expected = [&*signed.to_string(), &number.to_string(), "0.5", &mark, "NULL"];
        let got: Vec<Vec<String>> = rows.into_iter().map(|row| row[..5].to_vec()).collect();
        client.check(check::rows("prepared statement", &got, &[&expected])).await?;
        if before.is_empty() {
            *before = types;
            return Ok(());
        }
        client.check(check::text("types of a prepared statement", &types, before)).await
    }
}

fn pick(n: u64, of: [&'static str; 2]) -> &'static str {
    of[(n % 2) as usize]
}

fn schema(n: u64, own: &str) -> &str {
    if n.is_multiple_of(2) { own } else { "information_schema" }
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// The digits of a number, as bytes of a text.
fn hex(n: u64) -> String {
    n.to_string().bytes().map(|digit| format!("{digit:02X}")).collect()
}

fn null_or(n: u64) -> String {
    if n.is_multiple_of(2) { "NULL".into() } else { n.to_string() }
}

/// In the order in which servers tell them.
fn sql_mode(n: u64) -> &'static str {
    pick(
        n,
        [
            "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,STRICT_TRANS_TABLES",
            "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION",
        ],
    )
}

fn time_zone(n: u64) -> String {
    format!("+{:02}:30", n % 12)
}

fn names(n: u64) -> (&'static str, &'static str) {
    if n.is_multiple_of(2) { ("latin1", "latin1_german1_ci") } else { ("utf8mb4", "utf8mb4_bin") }
}

/// Not READ COMMITTED: statement-based binary logs do not take it.
fn level(n: u64) -> &'static str {
    pick(n, ["REPEATABLE READ", "SERIALIZABLE"])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is set anew must differ from what was there, or its loss would not be seen.
    #[test]
    fn each_number_is_another_state() {
        for kind in KINDS {
            for n in 1..50 {
                let shown = |n| kind.shown.iter().map(move |(_, value)| value(n, "shop"));
                assert!(shown(n).ne(shown(n + 1)), "{}", kind.name);
                assert_ne!((kind.set)(n, "shop"), (kind.set)(n + 1, "shop"), "{}", kind.name);
            }
        }
    }
}
