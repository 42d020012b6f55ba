//! Sessions in as many states as there are, each with what is said to it next.

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{hear_client, hear_server};
use crate::metrics::{SessionCounters, Totals};
use crate::proxy::relay::parcel::{
    AccountState, Lane, LegState, Numbering, Source, Taught, TlsState,
};
use crate::session::Session;
use crate::session::exchange::Learned;
use crate::wire::capability as cap;
use crate::wire::command::code;
use crate::wire::compressed::{Compression, HEADER, encode};
use crate::wire::packet::packet;
use crate::wire::response::Dialect;

const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
const OK_IN_TRANSACTION: &[u8] = &[0, 0, 0, 3, 0, 0, 0];
const END_OF_ROWS: &[u8] = &[0xFE, 0, 0, 2, 0, 0, 0];
const EOF: &[u8] = &[0xFE, 0, 0, 2, 0];
const ERR: &[u8] = b"\xFF\x51\x04#HY000lost";
const DEFINITION: &[u8] = b"\x03def\x00\x00\x00\x01c\x00\x0c\x21\0\x68\x01\0\0\xfe\x01\0\0\0\0";
/// Two columns, two parameters.
const PREPARED: &[u8] = &[0, 5, 0, 0, 0, 2, 0, 2, 0, 0, 0, 0];

/// A session, and what is said next.
pub(super) struct Scene {
    pub name: &'static str,
    pub about: &'static str,
    pub session: Session,
    pub up: Lane,
    pub down: Lane,
    pub counted: Totals,
    /// Compression of the client's leg and the server's, with the bytes of frames.
    pub frames: [Option<(LegState, Vec<u8>)>; 2],
    pub tls: [Option<(TlsState, Vec<u8>)>; 2],
    pub numbering: Option<Numbering>,
    pub account: Option<AccountState>,
    /// `client` or `server`, and the bytes.
    pub then: Vec<(&'static str, Vec<u8>)>,
}

/// What is passed on is taken by the socket at once.
fn drained(lane: &Lane) -> Lane {
    Lane::with(lane.unjudged(), 0, lane.source()).expect("it held them")
}

impl Scene {
    /// Logged in, with the EOF packets of old.
    fn classic(name: &'static str, about: &'static str) -> Self {
        Self::logging_in(name, about, Dialect::default()).server(2, OK)
    }

    /// Logged in, without them.
    fn modern(name: &'static str, about: &'static str) -> Self {
        Self::logging_in(name, about, Dialect::new(cap::DEPRECATE_EOF, 0)).server(2, OK)
    }

    fn logging_in(name: &'static str, about: &'static str, dialect: Dialect) -> Self {
        let session = Session::logging_in(dialect, false, b"app", b"shop");
        let (up, down, counted) = (Lane::default(), Lane::default(), Totals::default());
        let (frames, tls, numbering, then) = ([None, None], [None, None], None, Vec::new());
        let account = None;
        Self { name, about, session, up, down, counted, frames, tls, numbering, account, then }
    }

    fn counters(&self) -> SessionCounters {
        SessionCounters::resumed(&self.counted)
    }

    /// Bytes that the client sends and the server takes.
    fn client_bytes(mut self, bytes: &[u8]) -> Self {
        let counters = self.counters();
        hear_client(&mut self.session, &mut self.up, bytes, &counters);
        self.up = drained(&self.up);
        self.counted = counters.totals();
        self
    }

    fn client(self, payload: &[u8]) -> Self {
        self.client_bytes(&packet(0, payload))
    }

    fn query(self, sql: &str) -> Self {
        self.client(&[&[code::QUERY], sql.as_bytes()].concat())
    }

    fn server_bytes(mut self, bytes: &[u8]) -> Self {
        let counters = self.counters();
        hear_server(&mut self.session, &mut self.down, bytes, &counters);
        self.down = drained(&self.down);
        self.counted = counters.totals();
        self
    }

    fn server(self, sequence: u8, payload: &[u8]) -> Self {
        self.server_bytes(&packet(sequence, payload))
    }

    fn then_client(mut self, sequence: u8, payload: &[u8]) -> Self {
        self.then.push(("client", packet(sequence, payload)));
        self
    }

    fn then_server(mut self, sequence: u8, payload: &[u8]) -> Self {
        self.then.push(("server", packet(sequence, payload)));
        self
    }

    fn then_client_bytes(mut self, bytes: &[u8]) -> Self {
        self.then.push(("client", bytes.to_vec()));
        self
    }

    fn then_server_bytes(mut self, bytes: &[u8]) -> Self {
        self.then.push(("server", bytes.to_vec()));
        self
    }
}

/// All of them.
pub(super) fn all() -> Vec<Scene> {
    let parts = [between_commands(), results(), prepared(), kills(), transfers(), pipelined()];
    parts.into_iter().chain([compressed(), encrypted(), accounts(), ending()]).flatten().collect()
}

/// Each is different.
fn every_counter() -> Totals {
    let mut value = serde_json::to_value(Totals::default()).expect("numbers");
    for (n, counter) in value.as_object_mut().expect("counters").values_mut().enumerate() {
        *counter = (n + 1).into();
    }
    serde_json::from_value(value).expect("counters")
}

fn between_commands() -> Vec<Scene> {
    let mut counted = Scene::classic("idle-counted", "every counter is different");
    counted.counted = every_counter();
    let mut attributes = Scene::logging_in(
        "idle-query-attributes",
        "statements have a count of parameters before their text",
        Dialect { deprecate_eof: true, metadata_flag: true, progress: true },
    );
    attributes.session = Session::logging_in(Dialect::default(), true, b"app", b"shop");
    vec![
        Scene::classic("idle", "between two commands, outside a transaction")
            .then_client(0, b"\x0e")
            .then_server(1, OK),
        counted,
        attributes.server(2, OK).then_client(0, b"\x03\x00\x01USE other").then_server(1, OK),
        Scene::modern("idle-in-transaction", "between two commands of a transaction")
            .query("BEGIN")
            .server(1, OK_IN_TRANSACTION)
            .then_client(0, b"\x03COMMIT")
            .then_server(1, OK),
        Scene::modern("idle-after-error", "an ERR leaves the transaction unknown")
            .query("UPDATE t SET a = 1")
            .server(1, ERR)
            .then_client(0, b"\x0e")
            .then_server(1, OK),
    ]
}

/// What log-ins have taught of the account goes with the session.
fn accounts() -> Vec<Scene> {
    let (challenge, answer) = (b"12345678901234567890".to_vec(), Zeroizing::new(vec![7; 20]));
    let password = Zeroizing::new(b"swordfish".to_vec());
    let with = |name, about, learned| {
        let account = Taught::by(learned).as_ref().map(AccountState::from);
        Scene { account, ..Scene::classic(name, about) }
    };
    vec![
        with(
            "account-answer",
            "an answer of mysql_native_password, good with the account's hash",
            Learned::Native { challenge, answer },
        ),
        with(
            "account-sha256",
            "SHA256(password), good where caching_sha2_password has the account in its cache",
            Learned::Password(password),
        ),
        with("account-empty", "an account without a password", Learned::Empty),
    ]
}

fn results() -> Vec<Scene> {
    let row = packet(4, b"\x05first");
    vec![
        Scene::modern("awaiting-result", "SELECT SLEEP(3600): nothing has come yet")
            .query("SELECT SLEEP(3600)")
            .then_server(1, &[1])
            .then_server(2, DEFINITION)
            .then_server(3, b"\x010")
            .then_server(4, END_OF_ROWS),
        Scene::modern("definitions", "one of two definitions has come")
            .query("SELECT a, b FROM t")
            .server(1, &[2])
            .server(2, DEFINITION)
            .then_server(3, DEFINITION)
            .then_server(4, END_OF_ROWS),
        Scene::classic("definitions-until-eof", "one of two definitions has come, EOF follows")
            .query("SELECT a, b FROM t")
            .server(1, &[2])
            .server(2, DEFINITION)
            .then_server(3, DEFINITION)
            .then_server(4, EOF)
            .then_server(5, EOF),
        Scene::modern("mid-packet", "in the middle of a row")
            .query("SELECT a FROM t")
            .server(1, &[1])
            .server(2, DEFINITION)
            .server_bytes(&row[..7])
            .then_server_bytes(&row[7..])
            .then_server(5, END_OF_ROWS),
        Scene::modern("mid-header", "two bytes of a header wait for the others")
            .query("SELECT a FROM t")
            .server(1, &[1])
            .server(2, DEFINITION)
            .server_bytes(&row[..2])
            .then_server_bytes(&row[2..])
            .then_server(5, END_OF_ROWS),
        large_row(),
        Scene::classic("fields", "COM_FIELD_LIST: definitions without a count")
            .client(b"\x04t\0")
            .server(1, DEFINITION)
            .then_server(2, EOF),
        Scene::classic("residue", "more definitions than a prepare's count announced")
            .client(b"\x16SELECT 1")
            .server(1, &[0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
            .server(2, DEFINITION)
            .then_server(3, EOF)
            .then_client(0, b"\x0e")
            .then_server(1, OK),
    ]
}

fn large_row() -> Scene {
    let start = [&[0xFF, 0xFF, 0xFF, 3][..], &[b'x'; 300]].concat();
    Scene::modern("large-row", "300 bytes of a packet that the next one continues")
        .query("SELECT a FROM t")
        .server(1, &[1])
        .server(2, DEFINITION)
        .server_bytes(&start)
}

fn prepared() -> Vec<Scene> {
    vec![
        Scene::modern("preparing", "COM_STMT_PREPARE is sent")
            .client(b"\x16SELECT ?, ?")
            .then_server(1, PREPARED)
            .then_server(2, DEFINITION)
            .then_server(3, DEFINITION)
            .then_server(4, DEFINITION)
            .then_server(5, DEFINITION),
        Scene::modern("prepare-definitions", "one of four definitions has come")
            .client(b"\x16SELECT ?, ?")
            .server(1, PREPARED)
            .server(2, DEFINITION)
            .then_server(3, DEFINITION)
            .then_server(4, DEFINITION)
            .then_server(5, DEFINITION),
        Scene::classic("prepare-until-eof", "two definitions and one of two EOFs have come")
            .client(b"\x16SELECT ?, ?")
            .server(1, PREPARED)
            .server(2, DEFINITION)
            .server(3, DEFINITION)
            .server(4, EOF)
            .then_server(5, DEFINITION)
            .then_server(6, DEFINITION)
            .then_server(7, EOF),
        Scene::classic("long-data", "long data of a prepared statement is half sent")
            .client_bytes(&[&[12, 0, 0, 0, 0x18, 5, 0, 0, 0, 0, 0][..], b"half"].concat())
            .then_client_bytes(b"!")
            .then_client(0, b"\x0e")
            .then_server(1, OK),
        Scene::classic("executing", "a prepared statement is executed; it may open a cursor")
            .client(&[&[code::STMT_EXECUTE, 5, 0, 0, 0, 1, 1, 0, 0, 0][..]].concat())
            .then_server(1, &[1])
            .then_server(2, DEFINITION)
            .then_server(3, &[0xFE, 0, 0, 0x42, 0]),
        Scene::classic("cursor-fetch", "rows of a cursor are coming")
            .client(&[code::STMT_FETCH, 5, 0, 0, 0, 10, 0, 0, 0])
            .server(1, b"\x00\x00\x05first")
            .then_server(2, &[0xFE, 0, 0, 0x82, 0]),
    ]
}

/// Statements whose parameter is an id of ours.
fn kills() -> Vec<Scene> {
    const ONE_PARAMETER: &[u8] = &[0, 5, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    let execute = |statement: u32, parameter: &[u8]| {
        let statement = statement.to_le_bytes();
        [&[code::STMT_EXECUTE], &statement[..], &[0, 1, 0, 0, 0, 0], parameter].concat()
    };
    let id = ((1_u64 << 31) + 41).to_le_bytes();
    let typed = [&[1, 8, 0], &id[..]].concat();
    let untyped = [&[0], &id[..]].concat();
    vec![
        Scene::modern("kill-preparing", "a KILL is being prepared, and executed at once")
            .client(b"\x16KILL ?")
            .client(&execute(u32::MAX, &typed))
            .then_server(1, ONE_PARAMETER)
            .then_server(2, DEFINITION)
            .then_server(1, ERR)
            .then_client(0, &execute(u32::MAX, &untyped))
            .then_client(0, &execute(5, &untyped)),
        Scene::modern("kill-prepared", "a KILL is prepared, and has been executed")
            .client(b"\x16KILL ?")
            .server(1, ONE_PARAMETER)
            .server(2, DEFINITION)
            .client(&execute(5, &typed))
            .server(1, ERR)
            .then_client(0, &execute(5, &untyped)),
    ]
}

fn transfers() -> Vec<Scene> {
    let row = packet(7, &[b'd'; 200]);
    vec![
        Scene::modern("load-data", "the client sends a file, and is in the middle of a packet")
            .query("LOAD DATA LOCAL INFILE 'f' INTO TABLE t")
            .server(1, b"\xFBf")
            .client_bytes(&[&[9, 0, 0, 2][..], b"1,2"].concat())
            .then_client_bytes(b"\n3,4\n5")
            .then_client(3, b"")
            .then_server(4, OK),
        Scene::modern("change-user", "COM_CHANGE_USER: the server's word is awaited")
            .client(b"\x11new\0\x00stock\0\x21\0mysql_native_password\0")
            .then_server(1, OK),
        Scene::classic("binlog", "a replica reads the binary log")
            .client(b"\x12\x04\0\0\0\0\0\x01\0\0\0log.000001")
            .server(1, &[0; 40])
            .server_bytes(&row[..50])
            .then_server_bytes(&row[50..])
            .then_server(8, EOF),
        Scene::classic("opaque", "a protocol that is not followed")
            .client(&[32, 1, 2, 3])
            .then_server_bytes(b"whatever"),
        Scene::modern("quit-pending", "QUIT behind a statement under way")
            .query("SELECT SLEEP(1)")
            .client(b"\x01")
            .then_server(1, OK),
    ]
}

fn pipelined() -> Vec<Scene> {
    let mut scene = Scene::modern("pipelined", "commands of every kind wait for their answers")
        .query("DO 1")
        .query("SELECT CONNECTION_ID()")
        .query("USE other");
    for command in [
        &b"\x02third"[..],
        b"\x04t\0",
        b"\x0e",
        b"\x16SELECT ?",
        &[code::STMT_EXECUTE, 5, 0, 0, 0, 0, 1, 0, 0, 0],
        &[code::STMT_FETCH, 5, 0, 0, 0, 1, 0, 0, 0],
        &[code::STMT_CLOSE, 5, 0, 0, 0],
        b"\x11new\0\x00stock\0\x21\0mysql_native_password\0",
    ] {
        scene = scene.client(command);
    }
    let streams = Scene::classic("pipelined-stream", "COM_BINLOG_DUMP behind a statement")
        .query("DO 1")
        .client(b"\x12\x04\0\0\0\0\0\x01\0\0\0log.000001")
        .then_server(1, OK)
        .then_server(1, &[0; 40])
        .then_server(2, EOF);
    let foreign = Scene::classic("pipelined-foreign", "an unknown protocol behind a statement")
        .query("DO 1")
        .client(&[32, 1, 2, 3]);
    vec![
        scene
            .then_server(1, OK)
            .then_server(1, &[1])
            .then_server(2, DEFINITION)
            .then_server(3, b"\x0241")
            .then_server(4, END_OF_ROWS)
            .then_server(1, OK)
            .then_server(1, OK),
        streams,
        foreign,
    ]
}

fn compressed() -> Vec<Scene> {
    let mut half =
        Scene::modern("compressed", "frames are half read, and half written, on both legs")
            .query("SELECT a, b FROM t")
            .server(1, &[2])
            .server(2, DEFINITION)
            .then_server(3, DEFINITION)
            .then_server(4, b"\x01a\x01b")
            .then_server(5, END_OF_ROWS);
    let text = [b'x'; 200];
    let mut frame = Vec::new();
    encode(Compression::Zlib, 0, &text, &mut frame);
    let client = [&frame[..], b"\x05\0\0\x04\0\0\0rows!"].concat();
    let server = [&b"stored"[..], &frame[..HEADER]].concat();
    half.frames = [
        Some((leg(json!("Zlib"), json!({"Packed": 10}), frame.len(), 6), client)),
        Some((leg(json!({"Zstd": 7}), json!({"Stored": 9}), 6, 0), server)),
    ];
    half.numbering = numbering(true);
    let mut fresh = Scene::modern("compressed-from-now-on", "a verdict that is half written")
        .then_client(0, b"\x0e")
        .then_server(1, OK);
    let before = leg(json!({"Zstd": 22}), json!("Between"), 0, 5);
    fresh.frames = [Some((before, Vec::new())), None];
    fresh.numbering = numbering(false);
    vec![half, fresh]
}

/// Every field says something; together they need not make sense.
fn encrypted() -> Vec<Scene> {
    let half = |byte: &str, secret: usize| {
        json!({
            "secret": (secret > 0).then(|| byte.repeat(secret)),
            "key": byte.repeat(32),
            "iv": byte.repeat(12),
            "sequence": 70_000,
            "spent": 80_000,
        })
    };
    let client = json!({
        "records": {
            "version": "1.3",
            "suite": "aes-256-gcm",
            "role": "server",
            "read": half("a1", 48),
            "write": half("b2", 48),
            "message": {"header": [24, 0, 0, 1], "left": 1, "body": [9]},
            "unproductive": 3,
            "owed": {"no_renegotiation": true, "key_update": "both", "last": 0},
            "reading": "closed",
            "writing": "closed",
        },
        "incoming": 9,
        "rest": {"plain": 4, "trailer": 2},
        "outgoing": 3,
        "fin": "due",
    });
    let server = json!({
        "records": {
            "version": "1.2",
            "suite": "chacha20-poly1305",
            "role": "client",
            "read": half("c3", 0),
            "write": half("d4", 0),
        },
        "incoming": 5,
        "outgoing": 0,
        "fin": "sent",
    });
    let state = |value| serde_json::from_value::<TlsState>(value).expect("a TLS session");
    let mut both = Scene::modern("tls", "records are half read, and half written")
        .then_client(0, b"\x0e")
        .then_server(1, OK);
    both.counted = every_counter();
    both.tls = [
        Some((state(client), b"incomingxout".to_vec())),
        Some((state(server), b"\x17\x03\x03\0\x20".to_vec())),
    ];
    vec![both]
}

fn leg(compression: Value, place: Value, incoming: usize, plain: usize) -> LegState {
    let state = json!({
        "compression": compression,
        "decoder": {"place": place, "sequence": 254},
        "incoming": incoming,
        "next": 3,
        "heard": plain > 0,
        "plain": plain,
    });
    serde_json::from_value(state).expect("a leg's state")
}

fn numbering(spoken: bool) -> Option<Numbering> {
    let numbering = json!({"up_next": 2, "after_server": 4, "spoken": spoken});
    Some(serde_json::from_value(numbering).expect("a session's numbers"))
}

fn ending() -> Vec<Scene> {
    let mut both = Scene::modern("bytes-both-ways", "neither side takes what is meant for it");
    let counters = both.counters();
    let up = [packet(0, b"\x03SELECT a FROM t"), b"\x05\0".to_vec()].concat();
    hear_client(&mut both.session, &mut both.up, &up, &counters);
    let down = [packet(1, &[1]), packet(2, DEFINITION), b"\x09".to_vec()].concat();
    hear_server(&mut both.session, &mut both.down, &down, &counters);
    both.counted = counters.totals();
    let mut ended = Scene::modern("client-ended", "the client has sent FIN; bytes of it are left");
    hear_client(&mut ended.session, &mut ended.up, &packet(0, b"\x03DO 1"), &counters);
    ended.up.set_source(Source::Ended);
    let mut closed = Scene::modern("client-closed", "its FIN is passed on, its answer awaited");
    closed = closed.query("DO 1");
    closed.up.set_source(Source::Closed);
    vec![
        both.then_server_bytes(b"\0\0\x03\x08whatever").then_server(4, END_OF_ROWS),
        ended.then_server(1, OK),
        closed.then_server(1, OK),
    ]
}
