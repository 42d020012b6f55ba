//! Frames that are longer than what they are kept in, over TLS and without: they arrive as they
//! were sent, and their sessions go on after a kill before them, and after one behind them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use crate::scene::{Layered, Layers};
use crate::support::database::{PASSWORD, mysql_command_line};

/// Of a statement and of each row of its answer.
const LENGTH: usize = 200_000;

/// No more than half of it can be saved.
fn text() -> String {
    let mut state = 0x9E37_79B9_u32;
    let digit = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        char::from(b"0123456789abcdef"[state as usize >> 8 & 15])
    };
    (0..LENGTH).map(digit).collect()
}

const TABLE: &str = "CREATE TEMPORARY TABLE texts (text LONGTEXT)";

/// Several of them, one behind the other.
const ROWS: &str = "SELECT text FROM texts, (SELECT 1 UNION SELECT 2 UNION SELECT 3) AS thrice";

fn arrive_at_servers_and_clients(layers: Layers) {
    let Some(layered) = Layered::start(layers) else { return };
    let (mut wire, text) = (layered.open(), text());
    wire.run(TABLE);
    for rows in [3, 6] {
        layered.kill(1);
        wire.run(&format!("INSERT INTO texts VALUES ('{text}')"));
        let answer = wire.run(ROWS).rows();
        assert_eq!(answer.len(), rows);
        assert!(answer.into_iter().all(|row| row[0].as_deref() == Some(text.as_bytes())));
    }
    layered.kill(1);
    assert_eq!(wire.run("SELECT COUNT(*) FROM texts").text(), "2");
}

#[test]
fn of_zlib_arrive() {
    arrive_at_servers_and_clients(Layers::Zlib);
}

#[test]
fn of_zlib_arrive_over_tls() {
    arrive_at_servers_and_clients(Layers::TlsAndZlib);
}

#[test]
fn of_zstd_arrive_over_tls() {
    arrive_at_servers_and_clients(Layers::TlsAndZstd);
}

/// A client's command line, one statement after the other.
struct Client {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Client {
    fn start(mut command: Command, port: u16) -> Self {
        command.args(["--host=127.0.0.1", "--user=odp", "--database=p", "--batch", "--unbuffered"]);
        command.arg(format!("--port={port}")).arg(format!("--password={}", PASSWORD));
        command.args(["--skip-column-names"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the client is there");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, answers }
    }

    fn say(&mut self, sql: &str) {
        let mut to = self.child.stdin.as_ref().expect("a pipe");
        to.write_all(format!("{sql};\n").as_bytes()).expect("it listens");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        line.truncate(line.trim_end().len());
        line
    }

    fn ask(&mut self, sql: &str) -> String {
        self.say(sql);
        self.line()
    }
}

/// TLS and compression are the client's own.
fn come_from_clients(command: Command, layers: Layers) {
    let Some(layered) = Layered::start(layers) else { return };
    let (mut client, text) = (Client::start(command, layered.scene.proxy.sql), text());
    client.say(TABLE);
    assert_eq!(client.ask("SELECT 7"), "7");
    for rows in [3, 6] {
        layered.kill(1);
        client.say(&format!("INSERT INTO texts VALUES ('{text}')"));
        client.say(ROWS);
        for _ in 0..rows {
            assert!(client.line() == text);
        }
    }
    layered.kill(1);
    assert_eq!(client.ask("SELECT COUNT(*) FROM texts"), "2");
    drop(client.child.stdin.take());
    assert!(client.child.wait().expect("it ends").success());
}

#[test]
fn of_zlib_come_from_clients_over_tls() {
    let mut command = Command::new("mariadb");
    command.args(["--no-defaults", "--compress", "--ssl", "--skip-ssl-verify-server-cert"]);
    come_from_clients(command, Layers::Tls13);
}

#[test]
fn of_zstd_come_from_clients_over_tls() {
    let Some(mut command) = mysql_command_line() else { return };
    command.args(["--no-defaults", "--compression-algorithms=zstd", "--ssl-mode=REQUIRED"]);
    // It knows no way to log in to others.
    come_from_clients(command, Layers::TlsAndZstd);
}
