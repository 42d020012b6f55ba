//! A client of admin ports: asks for a restart, follows its task, and asks how a proxy is.
//!
//! Invariant: no wait is without an end. A port that says nothing is a [`Trouble::Silent`], which
//! is how a hung proxy looks from outside.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, IoError, Opts, OptsBuilder, SslOpts, Value};
use run_dir::RunDir;
use tokio::time::{sleep, timeout};

use crate::config::ServerAddress;
use crate::net::dial::Dialer;
use crate::restart::task::State;

pub(crate) mod run_dir;

/// How long a living proxy may take to greet, or to answer what needs no work.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long it may take to answer RESTART: it does so after preflight, within 90 seconds.
const JUDGEMENT: Duration = Duration::from_secs(95);
/// How long it may take to move a session: to come between two commands, within 10 seconds, and to
/// talk to two servers.
const MOVE: Duration = Duration::from_secs(30);
/// How long a switchover may take: every session logs in at the other server, and each step has a
/// deadline.
const SWITCHOVER: Duration = Duration::from_secs(120);
/// How long a polite good-bye may take.
const CLOSING: Duration = Duration::from_secs(1);
/// How often a task is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// What the driver would ask the server for at each log-in, were it not told. One query less.
const MAX_PACKET: usize = 64 << 20;
/// The driver's own idea of when a pooled connection is stale, in seconds; there is no pool here.
const WAIT_TIMEOUT: usize = 28_800;

/// Why an admin port did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// It took the connection, or seemed to, and then said nothing.
    #[error("no answer in {0:?}")]
    Silent(Duration),
    /// It answered with an error: its text and number.
    #[error("{0} ({1})")]
    Denied(String, u16),
    /// There is no connection, or none any more.
    #[error(transparent)]
    Gone(mysql_async::Error),
}

impl From<mysql_async::Error> for Trouble {
    fn from(error: mysql_async::Error) -> Self {
        match error {
            mysql_async::Error::Server(error) => Self::Denied(error.message, error.code),
            error => Self::Gone(error),
        }
    }
}

/// An admin port and how to log in there.
#[derive(Clone)]
pub(crate) struct AdminPort {
    /// HOST:PORT, as it was given.
    pub(crate) name: String,
    /// The same, in parts.
    pub(crate) address: ServerAddress,
    opts: Opts,
    dialer: Arc<Dialer>,
    run_dir: Option<RunDir>,
}

impl AdminPort {
    /// Connects to nobody yet; with TLS if it is told how.
    pub(crate) fn new(
        address: &ServerAddress,
        user: &str,
        password: Option<String>,
        tls: Option<SslOpts>,
    ) -> Self {
        let builder = OptsBuilder::default().user(Some(user)).pass(password).ssl_opts(tls);
        let builder = match address {
            ServerAddress::Tcp { host, port } => builder.ip_or_hostname(host).tcp_port(*port),
            ServerAddress::Unix(path) => builder.socket(Some(path.to_string_lossy())),
        };
        let (name, address, opts) = (address.to_string(), address.clone(), direct(builder));
        let dialer = Arc::new(Dialer::new(address.clone()));
        Self { name, address, opts, dialer, run_dir: None }
    }

    /// If the port does not serve us, there is another way.
    pub(crate) fn or_through(self, run_dir: Option<RunDir>) -> Self {
        Self { run_dir, ..self }
    }

    /// Whether it is the same place, and the same log-in there.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.address == other.address && self.opts == other.opts
    }

    /// Whether it is surely one of this machine.
    pub(crate) fn is_here(&self) -> bool {
        match &self.address {
            ServerAddress::Unix(_) => true,
            ServerAddress::Tcp { host, .. } => {
                let is_loopback = |ip: std::net::IpAddr| ip.is_loopback();
                host == "localhost" || host.parse().is_ok_and(is_loopback)
            }
        }
    }

    /// Logs in.
    pub(crate) async fn connect(&self) -> Result<Admin, Trouble> {
        match (within(PATIENCE, self.log_in()).await, &self.run_dir) {
            (Ok(conn), _) => Ok(Admin { conn, detour: None }),
            (Err(trouble), None) => Err(trouble),
            (Err(trouble), Some(run_dir)) => run_dir.connect(trouble).await,
        }
    }

    /// The driver would try one address of a name after the other, each until it gives up.
    async fn log_in(&self) -> Result<Conn, mysql_async::Error> {
        let opts = match self.dialer.find(PATIENCE).await.map_err(IoError::from)? {
            None => self.opts.clone(),
            // What a certificate must be for is still the name.
            Some(ip) => {
                OptsBuilder::from_opts(self.opts.clone()).resolved_ips(Some(vec![ip])).into()
            }
        };
        Conn::new(opts).await
    }

    /// Asks how the proxy is, on a connection of its own.
    pub(crate) async fn proxy(&self) -> Result<Row, Trouble> {
        let mut admin = self.connect().await?;
        let proxy = admin.proxy().await;
        admin.quit().await;
        proxy
    }
}

/// A row, column by column.
pub(crate) type Columns = Vec<(String, String)>;

/// A row of SHOW RESTART; or SHOW PROXYINFO BINARY, whose names and values make one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row(pub(crate) Columns);

/// Whether a proxy serves, and is in no restart.
pub(crate) fn is_settled(proxy: &Row) -> bool {
    let text = |name| proxy.text(name).unwrap_or_default();
    text("state") == State::Running.name() && text("phase").is_empty()
}

impl Row {
    /// The value of a column.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(column, _)| column == name).map(|(_, value)| value.as_str())
    }

    /// The value of a column that counts.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }
}

/// Whose sessions wait for a switchover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those of the proxy that is asked.
    Proxy,
    /// Those of all proxies of its fleet.
    Fleet,
}

/// A connection to an admin port.
pub(crate) struct Admin {
    conn: Conn,
    detour: Option<String>,
}

impl Admin {
    /// Why the port was not taken, and which way was.
    pub(crate) fn detour(&self) -> Option<&str> {
        self.detour.as_deref()
    }

    /// Whether the proxy answers at all; a hung one may still have greeted.
    pub(crate) async fn ping(&mut self) -> Result<(), Trouble> {
        within(PATIENCE, self.conn.query_drop("PING PROXY")).await
    }

    /// Sends a RESTART, and answers with the id of its task once preflight passed.
    pub(crate) async fn restart(&mut self, statement: &str) -> Result<u64, Trouble> {
        within(JUDGEMENT, self.conn.query_drop(statement)).await?;
        Ok(self.conn.last_insert_id().unwrap_or_default())
    }

    /// The restart tasks, newest first.
    pub(crate) async fn tasks(&mut self) -> Result<Vec<Row>, Trouble> {
        self.rows("SHOW RESTART").await
    }

    /// What the proxy counts, by names.
    pub(crate) async fn stat(&mut self) -> Result<Row, Trouble> {
        self.pairs("SHOW PROXYSTAT").await
    }

    /// Every parameter by its name, as the file of the config has it.
    pub(crate) async fn parameters(&mut self) -> Result<Row, Trouble> {
        let mut all = self.pairs("SHOW PROXYCONFIG").await?;
        for differing in self.rows("SHOW PROXYCONFIG DIFF").await? {
            let of = |name| differing.text(name).unwrap_or_default().to_owned();
            let (name, in_file) = (of("name"), of("in_file"));
            all.0
                .iter_mut()
                .filter(|(it, _)| *it == name)
                .for_each(|(_, it)| it.clone_from(&in_file));
        }
        Ok(all)
    }

    /// ODP's word for how the proxy stands with clients.
    pub(crate) async fn status(&mut self) -> Result<String, Trouble> {
        let rows = self.rows("SELECT PROXY_STATUS() AS status").await?;
        Ok(rows.first().and_then(|row| row.text("status")).unwrap_or_default().to_owned())
    }

    /// Takes back the restart that is under way; that has begun when this returns.
    pub(crate) async fn roll_back(&mut self) -> Result<(), Trouble> {
        within(JUDGEMENT, self.conn.query_drop("RESTART ROLLBACK")).await
    }

    /// The fleet tasks that the proxy coordinates, newest first.
    pub(crate) async fn fleet_tasks(&mut self) -> Result<Vec<Row>, Trouble> {
        self.rows("SHOW FLEET TASKS").await
    }

    /// What the proxy has counted of late, the oldest sample first.
    pub(crate) async fn history(&mut self, of: Duration) -> Result<Vec<Row>, Trouble> {
        self.rows(&format!("SHOW PROXYHISTORY {}", of.as_secs())).await
    }

    /// The clusters that the proxy serves.
    pub(crate) async fn clusters(&mut self) -> Result<Vec<Row>, Trouble> {
        self.rows("SHOW PROXYCLUSTER").await
    }

    /// Each proxy of such a task, with what it has gone through.
    pub(crate) async fn fleet_steps(&mut self, task: u64) -> Result<Vec<Row>, Trouble> {
        self.rows(&format!("SHOW FLEET TASK {task}")).await
    }

    /// Crashes of the proxy, the last one first.
    pub(crate) async fn crashes(&mut self) -> Result<Vec<Row>, Trouble> {
        self.rows("SHOW CRASH").await
    }

    /// Every server of every cluster.
    pub(crate) async fn routes(&mut self) -> Result<Vec<Row>, Trouble> {
        self.rows("SHOW PROXYROUTE").await
    }

    /// A session, by the id of its greeting: attributes by their names.
    pub(crate) async fn session(&mut self, id: u32) -> Result<Row, Trouble> {
        self.pairs(&format!("SHOW PROXYSESSION ATTRIBUTE {id}")).await
    }

    /// Moves a session to another server of its cluster; it is there when this returns.
    pub(crate) async fn move_session(&mut self, id: u32, to: &str) -> Result<(), Trouble> {
        let sql = format!("MOVE PROXYSESSION {id} TO {}", quoted(to));
        within(MOVE, self.conn.query_drop(sql)).await
    }

    /// Makes a server the primary of a cluster; what came of it, in words.
    pub(crate) async fn switch_over(
        &mut self,
        cluster: &str,
        to: &str,
        force: bool,
        scope: Scope,
    ) -> Result<String, Trouble> {
        let (cluster, to) = (quoted(cluster), quoted(to));
        let force = if force { " FORCE" } else { "" };
        let fleet = match scope {
            Scope::Proxy => "",
            Scope::Fleet => " FLEET",
        };
        let sql = format!("ALTER CLUSTER {cluster} SWITCHOVER TO {to}{force}{fleet}");
        within(SWITCHOVER, self.conn.query_drop(sql)).await?;
        Ok(self.conn.info().into_owned())
    }

    /// Gives an order of a switchover, which is carried out when this returns.
    pub(crate) async fn order(&mut self, statement: &str) -> Result<(), Trouble> {
        within(SWITCHOVER, self.conn.query_drop(statement)).await
    }

    /// How the proxy is: version, pid, generation, state and more, by their names.
    pub(crate) async fn proxy(&mut self) -> Result<Row, Trouble> {
        self.pairs("SHOW PROXYINFO BINARY").await
    }

    /// Names and values, a pair a row.
    async fn pairs(&mut self, statement: &str) -> Result<Row, Trouble> {
        let rows = self.rows(statement).await?;
        let pair = |row: Row| {
            let mut values = row.0.into_iter().map(|(_, value)| value);
            Some((values.next()?, values.next()?))
        };
        Ok(Row(rows.into_iter().filter_map(pair).collect()))
    }

    /// Says good-bye.
    pub(crate) async fn quit(self) {
        let _ = timeout(CLOSING, self.conn.disconnect()).await;
    }

    async fn rows(&mut self, statement: &str) -> Result<Vec<Row>, Trouble> {
        let rows: Vec<mysql_async::Row> = within(PATIENCE, self.conn.query(statement)).await?;
        Ok(rows.into_iter().map(named).collect())
    }
}

/// How long a task is followed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long nothing may be heard of it, while one process follows the other.
    pub(crate) silence: Duration,
    /// How long it may take. None leaves that to the proxy, whose own deadlines end a restart, and
    /// whose exit timeout may be "wait for ever".
    pub(crate) whole: Option<Duration>,
}

/// Follows a task to its end and answers with its last row; `see` gets each. The connection may
/// end with its process, as the admin port moves to the successor too; then another one is made.
pub(crate) async fn follow(
    port: &AdminPort,
    admin: Admin,
    task: u64,
    limits: Limits,
    mut see: impl FnMut(&Row),
) -> anyhow::Result<Row> {
    let begun = Instant::now();
    let mut heard = begun;
    let mut open = Some(admin);
    loop {
        let seen = look(port, &mut open, task).await;
        if let Ok(Some(row)) = &seen {
            heard = Instant::now();
            see(row);
            if row.text("state") != Some("IN_PROGRESS") {
                if let Some(admin) = open {
                    admin.quit().await;
                }
                return Ok(row.clone());
            }
        }
        let silent = heard.elapsed() >= limits.silence;
        if silent || limits.whole.is_some_and(|whole| begun.elapsed() >= whole) {
            let waited = if silent { limits.silence } else { begun.elapsed() };
            match seen {
                Err(trouble) => bail!("restart task {task} was lost sight of: {trouble}"),
                Ok(None) => bail!("SHOW RESTART did not name task {task} in {waited:?}"),
                Ok(Some(_)) => bail!("the restart was not over in {waited:?}"),
            }
        }
        sleep(LOOK).await;
    }
}

async fn look(
    port: &AdminPort,
    open: &mut Option<Admin>,
    task: u64,
) -> Result<Option<Row>, Trouble> {
    let mut admin = match open.take() {
        Some(admin) => admin,
        None => port.connect().await?,
    };
    let tasks = admin.tasks().await?;
    *open = Some(admin);
    Ok(tasks.into_iter().find(|row| row.number("task_id") == Some(task)))
}

/// Connects to where it is told and nowhere else. The driver likes to ask a local server for its
/// Unix socket and to go on there, past the proxy that is meant.
pub(crate) fn direct(builder: OptsBuilder) -> Opts {
    builder
        .prefer_socket(false)
        .max_allowed_packet(Some(MAX_PACKET))
        .wait_timeout(Some(WAIT_TIMEOUT))
        .stmt_cache_size(0)
        .into()
}

/// A string of the admin port's grammar.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', "''"))
}

async fn within<T>(
    patience: Duration,
    work: impl Future<Output = mysql_async::Result<T>>,
) -> Result<T, Trouble> {
    Ok(timeout(patience, work).await.map_err(|_| Trouble::Silent(patience))??)
}

fn named(row: mysql_async::Row) -> Row {
    let names: Vec<String> =
        row.columns_ref().iter().map(|column| column.name_str().into_owned()).collect();
    Row(names.into_iter().zip(row.unwrap_raw().iter().map(text)).collect())
}

fn text(value: &Option<Value>) -> String {
    match value {
        None | Some(Value::NULL) => String::new(),
        Some(Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Some(other) => other.as_sql(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_here() {
        for (address, expected) in [
            ("127.0.0.1:2885", true),
            ("localhost:2885", true),
            ("[::1]:2885", true),
            ("unix:/run/odp/control.sock", true),
            ("10.0.0.1:2885", false),
            ("odp.example:2885", false),
        ] {
            let port = AdminPort::new(&address.parse().expect(address), "root", None, None);
            assert_eq!(port.is_here(), expected, "{address}");
        }
    }
}
