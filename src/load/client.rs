//! One client of the load: a connection that is opened, asked and judged.
//!
//! Every wait has the deadline of the run. What goes wrong is counted here, once, before the caller
//! hears of it: a lost connection is closed and taken away, so it cannot be lost again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Params, Row, Statement};
use tokio::time::timeout;

use super::mix::Class;
use super::random::Random;
use super::rows::{Rows, texts, with_types};
use super::run::Run;
use super::tally::{ClientId, Transaction};
use super::trouble::{ConnectTrouble, Trouble};

/// How long a polite goodbye may take.
const QUIT: Duration = Duration::from_secs(1);

/// A client, over all its connections.
pub(super) struct Client {
    pub(super) run: Arc<Run>,
    pub(super) random: Random,
    class: Class,
    id: ClientId,
    conn: Option<Conn>,
    transaction: Transaction,
    /// Since when it waits for service: a statement sent, or a connection lost.
    wanted: Option<Instant>,
    marks: u64,
}

impl Client {
    /// A client that is not connected yet.
    pub(super) fn new(run: Arc<Run>, class: Class, id: ClientId) -> Self {
        let random = Random::new(u64::from(id.0));
        let transaction = Transaction::None;
        Self { run, random, class, id, conn: None, transaction, wanted: None, marks: 0 }
    }

    /// Its number in the run.
    pub(super) fn id(&self) -> ClientId {
        self.id
    }

    /// Whether there is a session.
    pub(super) fn is_open(&self) -> bool {
        self.conn.is_some()
    }

    /// A text that no other client and no other statement has: an answer that carries it was made
    /// for this question.
    pub(super) fn mark(&mut self) -> String {
        self.marks += 1;
        format!("c{}m{}", self.id.0, self.marks)
    }

    /// Connects and logs in. False if that failed, or if the run is to end.
    pub(super) async fn open(&mut self) -> bool {
        let run = self.run.clone();
        let _turn = tokio::select! {
            () = run.stop.cancelled() => return false,
            turn = run.connects.acquire() => turn,
        };
        let since = Instant::now();
        self.wanted.get_or_insert(since);
        let failure = match timeout(run.deadline, Conn::new(run.opts.clone())).await {
            Ok(Ok(conn)) => {
                run.tally.connected(self.id, since);
                if let Some(moves) = &run.moves {
                    moves.opened(self.id, conn.id());
                }
                self.conn = Some(conn);
                self.transaction = Transaction::None;
                return true;
            }
            Ok(Err(error)) => ConnectTrouble::of(&error),
            Err(_) => ConnectTrouble::Target(format!("no answer in {:?}", run.deadline)),
        };
        match failure {
            ConnectTrouble::Target(reason) => run.tally.connect_failed(self.who(), &reason),
            ConnectTrouble::Local(reason) => run.tally.connect_local(&reason),
        }
        false
    }

    /// Says goodbye, if there is somebody to say it to.
    pub(super) async fn close(&mut self) {
        if let Some(conn) = self.conn.take() {
            self.run.tally.disconnected();
            if let Some(moves) = &self.run.moves {
                moves.closed(self.id);
            }
            // The driver marks the connection as closed before it sends COM_QUIT. Whatever becomes
            // of that, nothing is left behind: dropped unmarked, a task would wait for a dead peer.
            let _ = timeout(QUIT, conn.disconnect()).await;
        }
    }

    /// Runs a statement whose answer is not looked at.
    pub(super) async fn run(&mut self, sql: &str) -> Result<(), Trouble> {
        let since = self.asks();
        let outcome = match self.conn.as_mut() {
            Some(conn) => timeout(self.run.deadline, conn.query_drop(sql)).await,
            None => return Err(gone()),
        };
        self.judge(since, outcome).await
    }

    /// Runs a query of the text protocol.
    pub(super) async fn rows(&mut self, sql: &str) -> Result<Rows, Trouble> {
        self.raw_rows(sql).await.map(texts)
    }

    /// The same, and of what types the columns are.
    pub(super) async fn typed(&mut self, sql: &str) -> Result<(Rows, String), Trouble> {
        self.raw_rows(sql).await.map(with_types)
    }

    async fn raw_rows(&mut self, sql: &str) -> Result<Vec<Row>, Trouble> {
        let since = self.asks();
        let outcome = match self.conn.as_mut() {
            Some(conn) => timeout(self.run.deadline, conn.query::<Row, _>(sql)).await,
            None => return Err(gone()),
        };
        self.judge(since, outcome).await
    }

    /// Runs a query of (number, text) and hands on each row as it comes.
    pub(super) async fn each(
        &mut self,
        sql: &str,
        mut take: impl FnMut(u64, &[u8]) + Send,
    ) -> Result<(), Trouble> {
        let since = self.asks();
        let each = |(): (), (id, payload): (u64, Vec<u8>)| take(id, &payload);
        let outcome = match self.conn.as_mut() {
            Some(conn) => timeout(self.run.deadline, conn.query_fold(sql, (), each)).await,
            None => return Err(gone()),
        };
        self.judge(since, outcome).await
    }

    /// Prepares a statement.
    pub(super) async fn prepare(&mut self, sql: &str) -> Result<Statement, Trouble> {
        let since = self.asks();
        let outcome = match self.conn.as_mut() {
            Some(conn) => timeout(self.run.deadline, conn.prep(sql)).await,
            None => return Err(gone()),
        };
        self.judge(since, outcome).await
    }

    /// Executes a prepared statement; its rows come in the binary protocol.
    pub(super) async fn execute(
        &mut self,
        statement: &Statement,
        params: impl Into<Params>,
    ) -> Result<Rows, Trouble> {
        self.raw_execute(statement, params.into()).await.map(texts)
    }

    /// The same, and of what types the columns are.
    pub(super) async fn execute_typed(
        &mut self,
        statement: &Statement,
        params: impl Into<Params>,
    ) -> Result<(Rows, String), Trouble> {
        self.raw_execute(statement, params.into()).await.map(with_types)
    }

    async fn raw_execute(
        &mut self,
        statement: &Statement,
        params: Params,
    ) -> Result<Vec<Row>, Trouble> {
        let since = self.asks();
        let outcome = match self.conn.as_mut() {
            Some(conn) => {
                timeout(self.run.deadline, conn.exec::<Row, _, _>(statement, params)).await
            }
            None => return Err(gone()),
        };
        self.judge(since, outcome).await
    }

    /// Closes a prepared statement, to which there is no answer. If that cannot be sent, the next
    /// statement will tell.
    pub(super) async fn forget(&mut self, statement: Statement) {
        if let Some(conn) = self.conn.as_mut() {
            let _ = timeout(self.run.deadline, conn.close(statement)).await;
        }
    }

    /// LAST_INSERT_ID as the last OK packet had it.
    pub(super) fn last_insert_id(&self) -> Option<u64> {
        self.conn.as_ref().and_then(Conn::last_insert_id)
    }

    /// Begins a transaction.
    pub(super) async fn begin(&mut self) -> Result<(), Trouble> {
        self.run("BEGIN").await?;
        self.transaction = Transaction::Open;
        Ok(())
    }

    /// Commits. If the answer does not come, the outcome is unknown.
    pub(super) async fn commit(&mut self) -> Result<(), Trouble> {
        self.transaction = Transaction::Committing;
        self.run("COMMIT").await?;
        self.transaction = Transaction::None;
        Ok(())
    }

    /// Rolls back.
    pub(super) async fn rollback(&mut self) -> Result<(), Trouble> {
        self.run("ROLLBACK").await?;
        self.transaction = Transaction::None;
        Ok(())
    }

    /// Whether a COMMIT was sent whose answer did not come.
    pub(super) fn outcome_unknown(&self) -> bool {
        self.transaction == Transaction::Committing
    }

    /// Compares an answer with what it must be. If it is another, that is counted, and the
    /// connection is given up, because nothing on it can be believed any more.
    pub(super) async fn check(&mut self, verdict: Result<(), String>) -> Result<(), Trouble> {
        let Err(text) = verdict else { return Ok(()) };
        self.run.tally.wrong(self.who(), self.transaction, &text);
        self.close().await;
        Err(Trouble::Wrong(text))
    }

    /// A read that did not show what this client has written. The session is as good as before.
    pub(super) fn stale(&self, text: &str) {
        self.run.tally.wrong(self.who(), self.transaction, text);
    }

    /// Waits for about this long, half to one and a half; at most until the run is to end.
    pub(super) async fn pause(&mut self, mean: Duration) {
        let pause = mean.mul_f64(0.5 + self.random.fraction());
        let _ = timeout(pause, self.run.stop.cancelled()).await;
    }

    fn who(&self) -> (Class, ClientId) {
        (self.class, self.id)
    }

    fn asks(&mut self) -> Instant {
        let now = Instant::now();
        self.wanted.get_or_insert(now);
        now
    }

    async fn judge<T>(
        &mut self,
        since: Instant,
        outcome: Result<Result<T, Error>, tokio::time::error::Elapsed>,
    ) -> Result<T, Trouble> {
        let trouble = match outcome {
            Ok(Ok(answer)) => {
                self.run.tally.answered(self.class, self.id, since);
                if let Some(moves) = &self.run.moves {
                    moves.answered(self.class, self.id, since);
                }
                self.served();
                return Ok(answer);
            }
            Ok(Err(error)) => Trouble::of_statement(&error),
            Err(_) => Trouble::Lost(format!("no answer in {:?}", self.run.deadline)),
        };
        let (who, transaction) = (self.who(), self.transaction);
        match &trouble {
            Trouble::Lost(reason) => {
                self.run.tally.lost(who, transaction, reason);
                self.close().await;
            }
            Trouble::Wrong(text) => {
                self.run.tally.wrong(who, transaction, text);
                self.close().await;
            }
            Trouble::Failed { code, text } => {
                self.run.tally.failed(who, transaction, *code, text);
                self.served();
            }
            Trouble::Conflict => {
                self.run.tally.conflict();
                self.served();
            }
        }
        Err(trouble)
    }

    fn served(&mut self) {
        if let Some(wanted) = self.wanted.take() {
            self.run.tally.served(self.class, self.id, wanted);
        }
    }
}

/// What an activity hears that asks on although its session is gone, which was counted then.
fn gone() -> Trouble {
    Trouble::Lost("already gone".into())
}
