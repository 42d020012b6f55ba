//! Clients that never pause: short connects, transactions, prepared statements, large results.
//!
//! Every answer is judged. What went wrong is kept as text, and whoever stops the load decides
//! whether it may go wrong.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::raw::{Login, Wire, com};
use super::{Database, until};

/// Accounts of the bank, and what each holds at first.
const ACCOUNTS: u64 = 20;
const DEPOSIT: u64 = 1000;

/// What a worker does all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    /// Connects, asks once, quits.
    Connect,
    /// Transfers in transactions.
    Transfer,
    /// Executes a prepared statement with values.
    Prepared,
    /// Results of 20 kB, and a user variable that must stay.
    Select,
}

/// One of each, and two that connect.
pub(crate) const EVERYTHING: [Work; 5] =
    [Work::Connect, Work::Connect, Work::Transfer, Work::Prepared, Work::Select];

struct Worker {
    work: Work,
    done: AtomicU64,
    acknowledged: AtomicU64,
    trouble: Mutex<Option<String>>,
    stop: AtomicBool,
}

/// Running workers; they end when dropped.
pub(crate) struct Pressure {
    workers: Vec<Arc<Worker>>,
    threads: Vec<JoinHandle<()>>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Answers that were right, or transactions, by the work that they were of.
    pub answers: BTreeMap<Work, u64>,
    /// Commits that were acknowledged.
    pub acknowledged: u64,
    /// What went wrong, one for each worker at most: it ends with it.
    pub troubles: Vec<String>,
}

/// Makes the tables of the bank.
pub(crate) fn open_bank(database: &Database) {
    let rows: Vec<String> = (0..ACCOUNTS).map(|id| format!("({id}, {DEPOSIT})")).collect();
    let fill = format!("INSERT INTO bank VALUES {}", rows.join(","));
    database.execute(&[
        "CREATE TABLE bank (id INT PRIMARY KEY, amount BIGINT) ENGINE=InnoDB",
        "CREATE TABLE transfers (worker INT, n BIGINT, PRIMARY KEY (worker, n)) ENGINE=InnoDB",
        &fill,
    ]);
}

/// The bank's total must be what it was; how many transfers it knows.
pub(crate) fn audit(database: &Database) -> u64 {
    let mut wire = database.admin();
    let total = wire.run("SELECT SUM(amount) FROM bank").text();
    assert_eq!(total, (ACCOUNTS * DEPOSIT).to_string(), "money came or went");
    wire.run("SELECT COUNT(*) FROM transfers").text().parse().expect("a count")
}

impl Pressure {
    /// Starts workers against an address; the bank must be there. Returns when all have had an
    /// answer.
    pub(crate) fn start(address: &str, works: &[Work]) -> Self {
        let make = |&work: &Work| {
            Arc::new(Worker {
                work,
                done: AtomicU64::new(0),
                acknowledged: AtomicU64::new(0),
                trouble: Mutex::default(),
                stop: AtomicBool::new(false),
            })
        };
        let workers: Vec<_> = works.iter().map(make).collect();
        let threads = workers.iter().enumerate().map(|(number, worker)| {
            let (worker, address) = (worker.clone(), address.to_owned());
            std::thread::spawn(move || {
                if let Err(trouble) = worker.run(number, &address) {
                    let trouble = format!("{:?} {number}: {trouble}", worker.work);
                    *worker.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
                }
            })
        });
        let threads = threads.collect();
        let pressure = Self { workers, threads };
        pressure.until_more(1);
        pressure
    }

    /// Waits until each worker has had so many more answers, or has ended in trouble.
    pub(crate) fn until_more(&self, answers: u64) {
        let goals: Vec<u64> = self.workers.iter().map(|worker| worker.done() + answers).collect();
        until("every worker to go on", || {
            let mut pairs = self.workers.iter().zip(&goals);
            pairs.all(|(worker, &goal)| worker.done() >= goal || worker.is_troubled()).then_some(())
        });
    }

    /// Ends it all.
    pub(crate) fn stop(mut self) -> Tally {
        self.end();
        let mut tally = Tally::default();
        for worker in &self.workers {
            *tally.answers.entry(worker.work).or_default() += worker.done();
            tally.acknowledged += worker.acknowledged.load(Ordering::Relaxed);
            tally.troubles.extend(worker.trouble().clone());
        }
        tally
    }

    /// Ends it all; nothing may have gone wrong.
    pub(crate) fn stop_clean(self) -> Tally {
        let tally = self.stop();
        assert_eq!(tally.troubles, Vec::<String>::new());
        tally
    }

    fn end(&mut self) {
        for worker in &self.workers {
            worker.stop.store(true, Ordering::Relaxed);
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                eprintln!("a worker has panicked");
            }
        }
    }
}

impl Drop for Pressure {
    fn drop(&mut self) {
        self.end();
    }
}

impl Worker {
    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    fn trouble(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_troubled(&self) -> bool {
        self.trouble().is_some()
    }

    fn run(&self, number: usize, address: &str) -> Result<(), String> {
        if self.work == Work::Connect {
            return self.repeat(|| {
                let mut wire = open(address)?;
                expect(&mut wire, "SELECT 7", "7")?;
                wire.send(b"\x01\0\0\0\x01").map_err(|error| format!("quit: {error}"))
            });
        }
        let mut wire = open(address)?;
        match self.work {
            Work::Connect => Ok(()),
            Work::Transfer => self.transfer(number, &mut wire),
            Work::Prepared => self.execute(&mut wire),
            Work::Select => {
                ask(&mut wire, &format!("SET @x = {number}"))?;
                let text = format!("{number}{}", "a".repeat(20_000));
                let query = "SELECT CONCAT(@x, REPEAT('a', 20000))";
                self.repeat(|| expect(&mut wire, query, &text))
            }
        }
    }

    fn repeat(&self, mut once: impl FnMut() -> Result<(), String>) -> Result<(), String> {
        while !self.stop.load(Ordering::Relaxed) {
            once()?;
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn transfer(&self, number: usize, wire: &mut Wire) -> Result<(), String> {
        let mut n = 0;
        self.repeat(|| {
            n += 1;
            // The lower account first, always: no deadlocks.
            let (low, high) = (n % (ACCOUNTS - 1), ACCOUNTS - 1);
            let amount = n as i64 % 7 - 3;
            ask(wire, "BEGIN")?;
            ask(wire, &format!("UPDATE bank SET amount = amount - {amount} WHERE id = {low}"))?;
            ask(wire, &format!("INSERT INTO transfers VALUES ({number}, {n})"))?;
            ask(wire, &format!("UPDATE bank SET amount = amount + {amount} WHERE id = {high}"))?;
            ask(wire, "COMMIT")?;
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
    }

    fn execute(&self, wire: &mut Wire) -> Result<(), String> {
        let id = wire.prepare("SELECT ? + 1");
        let mut n = 0_i64;
        self.repeat(|| {
            n += 1;
            // Types only the first time: later ones rely on what the server remembers.
            let mut body = id.to_le_bytes().to_vec();
            body.extend([0, 1, 0, 0, 0, 0]);
            match n {
                1 => body.extend([1, 8, 0]),
                _ => body.push(0),
            }
            body.extend(n.to_le_bytes());
            wire.send(&super::raw::command_packets(com::EXECUTE, &body))
                .map_err(|error| format!("execute {n}: {error}"))?;
            let reply = wire.try_reply(com::EXECUTE).map_err(|e| format!("execute {n}: {e}"))?;
            // Header, null bitmap, and the number as eight bytes.
            let row = reply.packets.iter().rev().nth(1).map(|packet| packet.payload.clone());
            let right = [&[0, 0][..], &(n + 1).to_le_bytes()].concat();
            match row {
                Some(row) if row == right => Ok(()),
                _ => Err(format!("execute {n}: {:?}", reply.packets)),
            }
        })
    }
}

fn open(address: &str) -> Result<Wire, String> {
    Wire::open(address, &Login::default()).map_err(|error| format!("connect: {error:?}"))
}

fn ask(wire: &mut Wire, sql: &str) -> Result<(), String> {
    let reply = wire.try_query(sql).map_err(|error| format!("{sql}: {error}"))?;
    match reply.error() {
        None => Ok(()),
        Some(_) => Err(format!("{sql}: {:?}", reply.last())),
    }
}

fn expect(wire: &mut Wire, sql: &str, text: &str) -> Result<(), String> {
    let reply = wire.try_query(sql).map_err(|error| format!("{sql}: {error}"))?;
    if reply.error().is_some() || reply.row_count() != 1 {
        return Err(format!("{sql}: {:?}", reply.packets));
    }
    match reply.text() {
        got if got == text => Ok(()),
        got => Err(format!("{sql}: {} bytes that differ", got.len())),
    }
}

/// Sessions that wait, each with state that must survive.
pub(crate) struct Waiting {
    wires: Vec<Wire>,
    /// What the server calls them.
    threads: Vec<String>,
}

impl Waiting {
    /// Opens them; every third is in a transaction, every fifth has a temporary table.
    pub(crate) fn open(address: &str, count: usize) -> Self {
        Self::open_with(address, count, &Login::default())
    }

    /// The same, as this.
    pub(crate) fn open_with(address: &str, count: usize, login: &Login) -> Self {
        Self::open_by(count, || Wire::open(address, login).expect("a session"))
    }

    /// The same by a Unix socket.
    pub(crate) fn open_unix(path: &Path, count: usize) -> Self {
        Self::open_by(count, || Wire::open_unix(path, &Login::default()).expect("a session"))
    }

    fn open_by(count: usize, open: impl Fn() -> Wire) -> Self {
        let mut wires = Vec::new();
        let mut threads = Vec::new();
        for number in 0..count {
            let mut wire = open();
            wire.run(&format!("SET @x = {number}"));
            if number % 3 == 0 {
                wire.run("BEGIN");
            }
            if number % 5 == 0 {
                wire.run("CREATE TEMPORARY TABLE mine (n INT)");
                wire.run(&format!("INSERT INTO mine VALUES ({number})"));
            }
            threads.push(wire.run("SELECT CONNECTION_ID()").text());
            wires.push(wire);
        }
        Self { wires, threads }
    }

    /// Asks every one for its state; how many are dead. A wrong answer fails the test.
    pub(crate) fn dead(&mut self) -> usize {
        let mut dead = 0;
        for (number, (wire, thread)) in self.wires.iter_mut().zip(&self.threads).enumerate() {
            match wire.try_query("SELECT @x") {
                Ok(reply) if reply.error().is_none() => {
                    assert_eq!(reply.text(), number.to_string());
                    assert_eq!(wire.run("SELECT CONNECTION_ID()").text(), *thread);
                    if number % 5 == 0 {
                        assert_eq!(wire.run("SELECT n FROM mine").text(), number.to_string());
                    }
                }
                other => {
                    eprintln!("session {number} {thread} is dead: {other:?}");
                    dead += 1;
                }
            }
        }
        dead
    }

    /// The ids that their clients were shown.
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.wires.iter().map(|wire| wire.greeting.connection_id).collect()
    }

    /// The sessions themselves.
    pub(crate) fn wires(&mut self) -> &mut [Wire] {
        &mut self.wires
    }
}
