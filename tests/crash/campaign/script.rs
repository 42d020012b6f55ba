//! What clients do, and what the server answers to each of it when nobody stands in between.
//!
//! A round depends on its number and on nothing else, so that two who play it get the same bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use odp::wire::capability as cap;
use odp::wire::command::code;

use super::client::Kind;
use super::{ACCOUNTS, Random};
use crate::support::raw::{command_packets, packets};
use crate::support::{Database, Login, Wire};

/// After so many rounds they are the same again.
pub(super) const ROUNDS: u64 = 8;

/// Bytes of a file that are sent in one packet.
const FILE_PIECE: usize = 3000;

/// Commands that are sent at once.
const PIPELINED: u64 = 60;

/// Whoever plays the reference.
const NOBODY: u64 = 1_000_000;

/// A client's part.
pub(super) struct Script {
    pub kind: Kind,
    /// Its number.
    pub worker: u64,
    /// None: nothing is left to chance, and there are no pauses.
    pub random: Option<Random>,
    /// What it has prepared.
    pub statement: u32,
}

/// What the server answers, by kind and round.
pub(super) struct Reference {
    answers: BTreeMap<(Kind, u64), Vec<u8>>,
    /// Transfers that were made for it.
    pub transfers: u64,
}

impl Reference {
    /// Asks the server itself.
    pub(super) fn of(database: &Database) -> Self {
        let mut answers = BTreeMap::new();
        for kind in Kind::ALL {
            let open = || Wire::open(&database.address(), &kind.login()).expect("the server");
            let mut script = Script { kind, worker: NOBODY, random: None, statement: 0 };
            let mut wire = open();
            script.prepare(&mut wire);
            for n in 0..ROUNDS {
                wire.record.borrow_mut().bytes.clear();
                script.round(&mut wire, n);
                answers.insert((kind, n), wire.record.borrow().bytes.clone());
                if matches!(kind, Kind::HalfClosed | Kind::Connect) {
                    wire = open();
                }
            }
        }
        Self { answers, transfers: ROUNDS }
    }

    /// What a round's answers are.
    pub(super) fn of_round(&self, kind: Kind, n: u64) -> &[u8] {
        &self.answers[&(kind, n)]
    }
}

impl Kind {
    /// How such a client logs in.
    pub(super) fn login(self) -> Login {
        let login = Login::default();
        match self {
            // That the rows come later is said in the EOF behind the definitions.
            Self::Cursor => {
                Login { capabilities: login.capabilities & !cap::DEPRECATE_EOF, ..login }
            }
            _ => login,
        }
    }
}

impl Script {
    /// What is done once, behind the log-in.
    pub(super) fn prepare(&mut self, wire: &mut Wire) {
        match self.kind {
            Kind::Idle => {
                wire.run("SET @kept = 'a variable of mine'");
                wire.run("CREATE TEMPORARY TABLE mine (n INT)");
                wire.run("INSERT INTO mine VALUES (11), (22)");
            }
            Kind::LoadData => drop(wire.run("CREATE TEMPORARY TABLE t (n INT, words TEXT)")),
            Kind::Pipeline | Kind::Multi => drop(wire.run("CREATE TEMPORARY TABLE said (n INT)")),
            Kind::Prepared => {
                self.statement = wire.prepare("SELECT ? + 1, LENGTH(?), CRC32(?)");
            }
            Kind::Cursor => {
                let rows = "SELECT seq, REPEAT('x', seq % 97) FROM seq_1_to_400 WHERE seq % ? = 0";
                self.statement = wire.prepare(rows);
            }
            Kind::Bank
            | Kind::Statement
            | Kind::Result
            | Kind::Slow
            | Kind::HalfClosed
            | Kind::Pieces
            | Kind::Connect => {}
        }
    }

    /// One round; what is read is recorded.
    pub(super) fn round(&mut self, wire: &mut Wire, n: u64) {
        let round = n % ROUNDS;
        match self.kind {
            Kind::Idle => {
                self.pause(400);
                wire.query("SELECT @kept, (SELECT SUM(n) FROM mine)");
            }
            Kind::Bank => self.transfer(wire, n),
            Kind::Statement => {
                let ms = 1 + 37 * round;
                wire.query(&format!("SELECT SLEEP({}), 'done {round}'", ms as f64 / 1000.0));
            }
            Kind::Result => drop(wire.query(&rows(100 + 150 * round))),
            Kind::Slow => {
                let sql = rows(1500 + round);
                wire.command(code::QUERY, sql.as_bytes());
                self.read_slowly(wire);
            }
            Kind::HalfClosed => {
                wire.command(code::QUERY, rows(50 + 100 * round).as_bytes());
                wire.half_close();
                self.pause(20);
                wire.until_closed();
            }
            Kind::LoadData => self.load(wire, round),
            Kind::Pipeline => self.pipeline(wire, round),
            Kind::Prepared => self.execute(wire, round),
            Kind::Cursor => self.fetch(wire, round),
            Kind::Multi => {
                let many = "x".repeat(round as usize * 900);
                let (insert, delete) = ("INSERT INTO said VALUES (1), (2)", "DELETE FROM said");
                let sum = "SELECT SUM(n) FROM said";
                let sql = format!("SELECT {round}; {insert}; SELECT '{many}'; {sum}; {delete}");
                wire.query(&sql);
                wire.query("SELECT 1; SELECT no_such_column; SELECT 3");
            }
            Kind::Pieces => self.say_in_pieces(wire, round),
            Kind::Connect => {
                wire.query(&format!("SELECT {round}"));
                wire.send(&command_packets(code::QUIT, &[])).expect("the connection is open");
            }
        }
    }

    pub(super) fn pause(&mut self, most_ms: u64) {
        if let Some(random) = self.random.as_mut().filter(|_| most_ms > 0) {
            random.pause(Duration::from_millis(most_ms));
        }
    }

    /// The lower account first, always: no deadlocks. `n` never comes again.
    fn transfer(&mut self, wire: &mut Wire, n: u64) {
        let worker = self.worker;
        let mut two = [(n * 7 + worker) % ACCOUNTS, (n * 11 + worker + 1) % ACCOUNTS];
        two.sort_unstable();
        let [low, high] = if two[0] == two[1] { [0, 1] } else { two };
        let amount = 1 + n % 7;
        let update =
            |sign, id| format!("UPDATE bank SET amount = amount {sign} {amount} WHERE id = {id}");
        wire.query("BEGIN");
        wire.query(&update('-', low));
        self.pause(20);
        wire.query(&format!("INSERT INTO transfers VALUES ({worker}, {n})"));
        wire.query(&update('+', high));
        self.pause(20);
        wire.query("COMMIT");
    }

    /// Whatever there is, in packets, with pauses.
    fn read_slowly(&mut self, wire: &mut Wire) {
        let mut packets = 0;
        let columns = 2;
        loop {
            let packet = wire.packet();
            packets += 1;
            let is_end = packets > 1 + columns && packet.payload.first() == Some(&0xFE);
            if is_end || packet.error().is_some() {
                return;
            }
            if packets % 100 == 0 {
                self.pause(60);
            }
        }
    }

    fn load(&mut self, wire: &mut Wire, round: u64) {
        wire.command(code::QUERY, b"LOAD DATA LOCAL INFILE 'x' INTO TABLE t");
        let asked = wire.packet();
        let lines: Vec<u8> = (0..400 + 300 * round)
            .flat_map(|n| format!("{n}\tline {n} {}\n", "y".repeat(n as usize % 71)).into_bytes())
            .collect();
        let mut sequence = asked.sequence;
        for piece in lines.chunks(FILE_PIECE) {
            sequence = sequence.wrapping_add(1);
            self.send_cut(wire, &packets(piece, sequence), 15);
        }
        self.send_cut(wire, &packets(&[], sequence.wrapping_add(1)), 15);
        wire.packet();
        wire.query("SELECT COUNT(*), SUM(n), SUM(CRC32(words)) FROM t");
        wire.query("DELETE FROM t");
    }

    /// In two pieces, cut by chance, with a pause in between; or at once.
    fn send_cut(&mut self, wire: &mut Wire, bytes: &[u8], most_ms: u64) {
        let cut = self.random.as_mut().map_or(0, |random| {
            let cut = random.below(bytes.len() as u64) as usize;
            if random.is_one_in(3) { 0 } else { cut }
        });
        let (first, rest) = bytes.split_at(cut);
        wire.send(first).expect("the connection is open");
        if cut > 0 {
            self.pause(most_ms);
        }
        wire.send(rest).expect("the connection is open");
    }

    fn pipeline(&mut self, wire: &mut Wire, round: u64) {
        let command = |n: u64| {
            let sql = match n % 4 {
                0 => format!("INSERT INTO said VALUES ({n})"),
                1 => format!("SELECT {n}, REPEAT('{n}', {})", n * (1 + round) % 997),
                2 => "USE p".to_owned(),
                _ => "SELECT COUNT(*), SUM(n) FROM said".to_owned(),
            };
            command_packets(code::QUERY, sql.as_bytes())
        };
        let all: Vec<u8> = (0..PIPELINED).flat_map(command).collect();
        self.send_cut(wire, &all, 30);
        for n in 0..PIPELINED {
            wire.reply(code::QUERY);
            if n % 20 == 7 {
                self.pause(10);
            }
        }
        wire.query("DELETE FROM said");
    }

    fn execute(&mut self, wire: &mut Wire, round: u64) {
        let id = self.statement.to_le_bytes();
        let text: Vec<u8> = (0..200 * round).map(|n| b'a' + (n * 7 % 26) as u8).collect();
        // The last parameter's value goes ahead, in pieces; nothing is answered to them.
        for piece in text.chunks(350) {
            let body = [&id[..], &[2, 0], piece].concat();
            self.send_cut(wire, &command_packets(code::STMT_SEND_LONG_DATA, &body), 5);
        }
        let mut body = id.to_vec();
        body.extend([0, 1, 0, 0, 0]);
        // No nulls; the types: a number of eight bytes, two texts.
        body.extend([0, 1, 8, 0, 0xFD, 0, 0xFD, 0]);
        body.extend((round * 1_000_003).to_le_bytes());
        let short = format!("value {round}");
        body.push(short.len() as u8);
        body.extend(short.bytes());
        if text.is_empty() {
            body.push(0);
        }
        self.send_cut(wire, &command_packets(code::STMT_EXECUTE, &body), 5);
        wire.reply(code::STMT_EXECUTE);
        // Another one comes and goes.
        if round == 3 {
            let other = wire.prepare("SELECT ?");
            wire.send(&command_packets(code::STMT_CLOSE, &other.to_le_bytes()))
                .expect("the connection is open");
        }
        wire.ask(code::STMT_RESET, &id);
    }

    fn fetch(&mut self, wire: &mut Wire, round: u64) {
        /// SERVER_STATUS_LAST_ROW_SENT.
        const LAST: u16 = 0x0080;
        let id = self.statement.to_le_bytes();
        let mut body = id.to_vec();
        // A cursor to be read; no nulls, a number of eight bytes.
        body.extend([1, 1, 0, 0, 0, 0, 1, 8, 0]);
        body.extend((1 + round).to_le_bytes());
        wire.ask(code::STMT_EXECUTE, &body);
        let rows = [&id[..], &(10_u32 + 13 * round as u32).to_le_bytes()].concat();
        loop {
            let reply = wire.ask(code::STMT_FETCH, &rows);
            assert_eq!(reply.error(), None, "{:?}", reply.last());
            if reply.status() & LAST != 0 {
                return;
            }
            self.pause(8);
        }
    }

    fn say_in_pieces(&mut self, wire: &mut Wire, round: u64) {
        let text: String =
            (0..4000 * round).map(|n| char::from(b'a' + (n * n % 26) as u8)).collect();
        let command = command_packets(code::QUERY, format!("SELECT CRC32('{text}')").as_bytes());
        let mut rest = &command[..];
        while !rest.is_empty() {
            let most = rest.len() as u64;
            let n = self.random.as_mut().map_or(most, |random| {
                let is_short = random.is_one_in(2);
                1 + random.below(if is_short { most.min(30) } else { most })
            });
            let (piece, behind) = rest.split_at(n as usize);
            wire.send(piece).expect("the connection is open");
            self.pause(10);
            rest = behind;
        }
        wire.reply(code::QUERY);
    }
}

/// Rows of all lengths, each of which says which one it is.
fn rows(count: u64) -> String {
    format!("SELECT seq, REPEAT(CHAR(65 + seq % 26), 17 * seq % 3001) FROM seq_1_to_{count}")
}
