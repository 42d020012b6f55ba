//! Sessions of every class, as many as a proxy has in the middle of a working day.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::client::Client;
use crate::machine::Database;
use crate::process::wait_for;
use crate::proxies::Proxy;

/// Of all sessions, those in an open transaction.
const IN_TRANSACTION: f64 = 0.20;

/// Of all sessions, those that wait for a long statement.
const IN_STATEMENT: f64 = 0.05;

/// Sessions that ask for a row all the time.
const ACTIVE: usize = 100;

/// Ends long after everything here.
const LONG_STATEMENT: &str = "SELECT SLEEP(3600)";

/// What an active session asks for.
const POINT_SELECT: &str = "SELECT c FROM sbtest.sbtest1 WHERE id = 4711";

/// All of them.
pub(crate) struct Crowd {
    idle: Vec<Member>,
    in_transaction: Vec<Member>,
    in_statement: Vec<Member>,
    active: Vec<JoinHandle<Outcome<()>>>,
    shared: Arc<Shared>,
}

/// A session that waits, and the id it was shown.
struct Member {
    client: Client,
    id: f64,
}

/// What the active ones share.
#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    answers: AtomicU64,
    /// The longest that any of them waited for an answer since [`Crowd::start_watch`].
    longest_us: AtomicU64,
}

/// How many sessions of each class are what they were: idle, in a transaction, in a statement,
/// active; and how many there were.
pub(crate) struct Muster {
    pub present: [usize; 4],
    pub expected: [usize; 4],
}

impl Crowd {
    /// Opens this many, the active ones included; each of those rests this long between answers.
    pub(crate) fn gather(proxy: &Proxy, sessions: usize, rest: Duration) -> Outcome<Self> {
        let share = |share: f64| (sessions as f64 * share) as usize;
        let (in_transaction, in_statement) = (share(IN_TRANSACTION), share(IN_STATEMENT));
        let active = ACTIVE.min(sessions / 2);
        let idle = sessions.saturating_sub(in_transaction + in_statement + active);
        let shared = Arc::new(Shared::default());
        let mut crowd = Self {
            idle: members(proxy, idle, |_| Ok(()))?,
            in_transaction: members(proxy, in_transaction, |client| {
                client.rows("BEGIN")?;
                client.rows(POINT_SELECT).map(drop)
            })?,
            in_statement: members(proxy, in_statement, |client| client.send(LONG_STATEMENT))?,
            active: Vec::new(),
            shared: shared.clone(),
        };
        for _ in 0..active {
            let mut client = proxy.client()?;
            let shared = shared.clone();
            crowd.active.push(std::thread::spawn(move || shared.ask(&mut client, rest)));
        }
        Ok(crowd)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        let waiting = [&self.idle, &self.in_transaction, &self.in_statement];
        waiting.iter().map(|members| members.len()).sum::<usize>() + self.active.len()
    }

    /// Forgets how long the active ones have waited so far.
    pub(crate) fn start_watch(&self) {
        self.shared.longest_us.store(0, Ordering::Relaxed);
    }

    /// The longest that an active one has waited since; after each has been answered once more.
    pub(crate) fn longest_wait(&self) -> Outcome<Duration> {
        let enough = self.shared.answers.load(Ordering::Relaxed) + 2 * self.active.len() as u64;
        wait_for("answers", Duration::from_secs(30), || {
            match self.shared.answers.load(Ordering::Relaxed) >= enough {
                true => Ok(()),
                false => Err("too few".into()),
            }
        })?;
        Ok(Duration::from_micros(self.shared.longest_us.load(Ordering::Relaxed)))
    }

    /// Waiting sessions whose connection has ended, or that were told something.
    pub(crate) fn disturbed(&self) -> usize {
        let waiting = [&self.idle, &self.in_transaction, &self.in_statement];
        let members = waiting.into_iter().flatten();
        members.filter(|member| !member.client.is_silent()).count()
    }

    /// Asks every session who it is and how it stands; ends the long statements for that.
    pub(crate) fn muster(mut self, database: &Database) -> Outcome<Muster> {
        let lengths = [&self.idle, &self.in_transaction, &self.in_statement].map(Vec::len);
        let [idle, in_transaction, in_statement] = lengths;
        let expected = [idle, in_transaction, in_statement, self.active.len()];
        self.shared.is_over.store(true, Ordering::Relaxed);
        let active = self.active.into_iter().filter_map(|thread| thread.join().ok());
        let active = active.filter(Outcome::is_ok).count();
        let mut observer = database.client()?;
        let sleepers = observer.rows(
            "SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%'",
        )?;
        for id in sleepers.into_iter().flatten().flatten() {
            observer.rows(&format!("KILL QUERY {id}"))?;
        }
        let idle = self.idle.iter_mut().filter_map(|it| it.is_same(0.0).ok());
        let idle = idle.filter(|same| *same).count();
        let open = self.in_transaction.iter_mut().filter_map(|it| it.is_same(1.0).ok());
        let open = open.filter(|same| *same).count();
        let mut ended = 0;
        for member in &mut self.in_statement {
            let is_told = member.client.answer().is_ok() && member.is_same(0.0)?;
            ended += usize::from(is_told);
        }
        Ok(Muster { present: [idle, open, ended, active], expected })
    }
}

impl Member {
    /// Whether it is who it was, with (1) or without (0) a transaction.
    fn is_same(&mut self, in_transaction: f64) -> Outcome<bool> {
        Ok(self.client.number("SELECT @@in_transaction")? == in_transaction
            && self.client.number("SELECT CONNECTION_ID()")? == self.id)
    }
}

impl Shared {
    /// Asks until it is over.
    fn ask(&self, client: &mut Client, rest: Duration) -> Outcome<()> {
        while !self.is_over.load(Ordering::Relaxed) {
            let asked = Instant::now();
            client.rows(POINT_SELECT)?;
            let waited_us = u64::try_from(asked.elapsed().as_micros())?;
            self.longest_us.fetch_max(waited_us, Ordering::Relaxed);
            self.answers.fetch_add(1, Ordering::Relaxed);
            if !rest.is_zero() {
                std::thread::sleep(rest);
            }
        }
        Ok(())
    }
}

fn members(
    proxy: &Proxy,
    count: usize,
    prepare: impl Fn(&mut Client) -> Outcome<()>,
) -> Outcome<Vec<Member>> {
    let member = |_| {
        let mut client = proxy.client()?;
        let id = client.number("SELECT CONNECTION_ID()")?;
        prepare(&mut client)?;
        Ok(Member { client, id })
    };
    (0..count).map(member).collect()
}
