//! Everything that a session knows and that another session would not: is it all still there?

use mysql_async::Statement;

use crate::load::check;
use crate::load::client::Client;
use crate::load::rows::Rows;
use crate::load::trouble::Trouble;

/// A session variable whose value nobody has by default, in MariaDB and MySQL alike.
const VARIABLE: &str = "@@SESSION.lock_wait_timeout";

/// What this session was told.
#[derive(Default)]
pub(in crate::load) struct State {
    mark: String,
    /// The value of [`VARIABLE`].
    setting: String,
    /// CONNECTION_ID() when it is asked for alone: a proxy may answer with an id of its own.
    id: String,
    /// CONNECTION_ID() as the server says it among other things.
    server_id: String,
    lock: String,
    inserted: String,
    prepared: Option<Statement>,
    turns: u64,
}

impl State {
    pub(super) async fn begin(&mut self, client: &mut Client) -> Result<(), Trouble> {
        self.mark = client.mark();
        self.setting = (1000 + client.random.below(1_000_000)).to_string();
        self.turns = 0;
        client.run(&format!("SET @odp_load = '{}'", self.mark)).await?;
        client.run(&format!("SET {VARIABLE} = {}", self.setting)).await?;
        client.run("SET time_zone = '+04:30'").await?;
        let table = client.run.tables.temporary();
        client.run(&format!("CREATE TEMPORARY TABLE {table} (turn BIGINT NOT NULL)")).await?;
        client.run("PREPARE odp_load FROM 'SELECT @odp_load, ?'").await?;
        self.prepared = Some(client.prepare("SELECT ?, @odp_load").await?);
        self.id = first(client.rows("SELECT CONNECTION_ID()").await?);
        self.server_id = first(client.rows("SELECT CONNECTION_ID(), 1").await?);
        self.take_lock(client).await?;
        self.insert(client).await
    }

    /// A name that no earlier session of this client had: it may hold that one for a while yet.
    async fn take_lock(&mut self, client: &mut Client) -> Result<(), Trouble> {
        self.lock = client.run.tables.lock(&self.mark);
        let rows = client.rows(&format!("SELECT GET_LOCK('{}', 0)", self.lock)).await?;
        client.check(check::rows("GET_LOCK", &rows, &[&["1"]])).await
    }

    pub(super) async fn turn(&mut self, client: &mut Client) -> Result<(), Trouble> {
        self.look(client).await?;
        client.pause(client.run.pause * 4).await;
        Ok(())
    }

    pub(super) async fn look(&mut self, client: &mut Client) -> Result<(), Trouble> {
        self.variables(client).await?;
        self.temporary_table(client).await?;
        self.statements(client).await
    }

    async fn variables(&mut self, client: &mut Client) -> Result<(), Trouble> {
        // First, because what follows inserts rows of its own.
        let rows = client.rows("SELECT LAST_INSERT_ID()").await?;
        client.check(check::rows("LAST_INSERT_ID()", &rows, &[&[&self.inserted]])).await?;
        let sql = format!(
            "SELECT @odp_load, {VARIABLE}, @@time_zone, DATABASE(), CONNECTION_ID(), \
             IS_USED_LOCK('{}')",
            self.lock
        );
        let rows = client.rows(&sql).await?;
        let database = client.run.database.clone();
        let (id, mark, setting) = (&self.server_id, &self.mark, &self.setting);
        let expected: &[&str] = &[mark, setting, "+04:30", &database, id, id];
        let question = "@variable, @@variable, @@time_zone, DATABASE(), CONNECTION_ID(), lock";
        client.check(check::rows(question, &rows, &[expected])).await?;
        let rows = client.rows("SELECT CONNECTION_ID()").await?;
        client.check(check::rows("CONNECTION_ID()", &rows, &[&[&self.id]])).await
    }

    async fn temporary_table(&mut self, client: &mut Client) -> Result<(), Trouble> {
        let table = client.run.tables.temporary();
        let rows = client.rows(&format!("SELECT COUNT(*) FROM {table}")).await?;
        let expected = self.turns.to_string();
        client.check(check::rows("temporary table", &rows, &[&[&expected]])).await?;
        // Bounded, and not always empty.
        if self.turns == 100 {
            client.run(&format!("DELETE FROM {table}")).await?;
            self.turns = 0;
        }
        client.run(&format!("INSERT INTO {table} VALUES ({})", self.turns)).await?;
        self.turns += 1;
        // The temporary table has no AUTO_INCREMENT, so LAST_INSERT_ID() stays. Every tenth time
        // it is made anew.
        if self.turns.is_multiple_of(10) { self.insert(client).await } else { Ok(()) }
    }

    async fn statements(&mut self, client: &mut Client) -> Result<(), Trouble> {
        let mark = client.mark();
        let expected: &[&str] = &[&mark, &self.mark];
        if let Some(statement) = &self.prepared {
            let rows = client.execute(statement, (mark.as_str(),)).await?;
            client.check(check::rows("prepared statement", &rows, &[expected])).await?;
        }
        client.run(&format!("SET @odp_load_now = '{mark}'")).await?;
        let rows = client.rows("EXECUTE odp_load USING @odp_load_now").await?;
        let expected: &[&str] = &[&self.mark, &mark];
        client.check(check::rows("PREPARE and EXECUTE", &rows, &[expected])).await
    }

    async fn insert(&mut self, client: &mut Client) -> Result<(), Trouble> {
        let table = client.run.tables.ids();
        let id = client.id().0;
        client.run(&format!("INSERT INTO {table} (client) VALUES ({id})")).await?;
        let inserted = client.last_insert_id().unwrap_or_default();
        self.inserted = inserted.to_string();
        client.run(&format!("DELETE FROM {table} WHERE id = {inserted}")).await
    }
}

fn first(rows: Rows) -> String {
    rows.into_iter().flatten().next().unwrap_or_default()
}
