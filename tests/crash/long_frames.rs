//! Frames that are longer than what others are kept in, over TLS and without: they arrive as they
//! were sent, and their sessions go on after a kill before them, behind them, and within one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use odp::wire::command::code;

use crate::scene::{Layered, Layers, Scene};
use crate::support::database::{PASSWORD, mysql_command_line};
use crate::support::proxy::is_haproxy;
use crate::support::tunnel::{Compression, Tunnel};
use crate::support::valve::{Valve, Way};
use crate::support::{Database, Legs, Login, Server, Wire};

/// Of a statement and of each row of its answer.
const LENGTH: usize = 200_000;

/// No more than half of it can be saved.
fn text() -> String {
    text_of(LENGTH)
}

fn text_of(length: usize) -> String {
    let mut state = 0x9E37_79B9_u32;
    let digit = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        char::from(b"0123456789abcdef"[state as usize >> 8 & 15])
    };
    (0..length).map(digit).collect()
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

/// Where a frame is cut: within its header, and around what its pieces are kept in.
const CUTS: [usize; 6] = [3, 8, 20_000, 36_900, 60_000, 95_000];

/// The proxy has read a frame up to there when it is killed, one of the client's, one of the
/// server's.
fn may_be_cut_by_a_kill(how: Compression, kind: Server) {
    if is_haproxy() {
        return;
    }
    let Some(database) = Database::start(kind) else { return };
    let (text, direct) = (text(), Tunnel::start(database.address(), how));
    let fill = |wire: &mut Wire| {
        wire.run(TABLE);
        wire.run(&format!("INSERT INTO texts VALUES ('{text}')"));
    };
    let mut wire = Wire::open(&direct.address, &Login::default()).expect("takes clients");
    fill(&mut wire);
    wire.run(ROWS);
    let longest = CUTS.into_iter().max().expect("there are some");
    assert!(direct.longest() > longest, "the server sends no long frames: {}", direct.longest());
    let servers = Valve::start(database.address());
    let scene = Scene::before(database, |options| {
        options.servers = vec![servers.address.clone()];
        options.proxy = Legs { client: None, server: Some(how), tls: false }.lines();
    });
    let clients = Valve::start(scene.proxy.address());
    let tunnel = Tunnel::start(clients.address.clone(), how);
    let mut wire = Wire::open(&tunnel.address, &Login::default()).expect("takes clients");
    fill(&mut wire);
    let kill = |cut: usize| {
        scene.kill(Signal::SIGKILL);
        let crash = &scene.crashes()[0];
        assert_eq!((&crash["sessions"][..], &crash["resumed"][..]), ("1", "1"), "{cut}: {crash:?}");
    };
    for (at, cut) in CUTS.into_iter().enumerate() {
        clients.stop_behind(cut, Way::There);
        wire.command(code::QUERY, format!("INSERT INTO texts VALUES ('{text}')").as_bytes());
        clients.until_stopped(Way::There);
        kill(cut);
        clients.open(Way::There);
        assert_eq!(wire.reply(code::QUERY).error(), None, "{cut}");
        servers.stop_behind(cut, Way::Back);
        wire.command(code::QUERY, ROWS.as_bytes());
        servers.until_stopped(Way::Back);
        kill(cut);
        servers.open(Way::Back);
        let answer = wire.reply(code::QUERY).rows();
        assert_eq!(answer.len(), 3 * (at + 2));
        assert!(answer.into_iter().all(|row| row[0].as_deref() == Some(text.as_bytes())), "{cut}");
    }
    tunnel.check();
}

#[test]
fn of_zlib_may_be_cut_by_a_kill() {
    may_be_cut_by_a_kill(Compression::Zlib, Server::MariaDb);
}

#[test]
fn of_zstd_may_be_cut_by_a_kill() {
    may_be_cut_by_a_kill(Compression::Zstd(3), Server::MySql);
}

/// Without a pause, while the proxy is killed again and again.
fn go_on_through_kills(layers: Layers) {
    let Some(layered) = Layered::start(layers) else { return };
    let whole = text_of(700_000);
    layered.kill_under((3, 12), TABLE, |wire, n, turns| {
        let text = &whole[..1 + (turns * 179_424_673 + n * 90_001) % whole.len()];
        wire.run(&format!("INSERT INTO texts VALUES ('{text}')"));
        let rows = wire.run("SELECT text FROM texts").rows();
        assert!(rows[0][0].as_deref() == Some(text.as_bytes()), "{} bytes", text.len());
        wire.run("DELETE FROM texts");
    });
}

#[test]
fn of_zlib_go_on_through_kills() {
    go_on_through_kills(Layers::Zlib);
}

#[test]
fn of_zstd_go_on_through_kills() {
    go_on_through_kills(Layers::Zstd);
}

#[test]
fn of_zlib_go_on_through_kills_over_tls() {
    go_on_through_kills(Layers::TlsAndZlib);
}

#[test]
fn of_zstd_go_on_through_kills_over_tls() {
    go_on_through_kills(Layers::TlsAndZstd);
}
