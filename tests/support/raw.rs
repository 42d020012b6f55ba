//! A MySQL client that sends exact bytes and keeps the exact bytes it got.
//!
//! It knows where an answer ends by the textbook (whole packets, counted definitions), on purpose
//! not by the code under test. Reads have a deadline.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;

use mysql_common::scramble::{scramble_native, scramble_sha256};
use odp::wire::capability as cap;
use odp::wire::handshake::{Greeting, LoginResponse};
use odp::wire::packet::{lenenc, put_lenenc_str};

pub(crate) use super::reply::{MAX_PAYLOAD, Packet, Reply, com, status};
use super::socket::Socket;
use super::{LIMIT, database};

/// What an ordinary client can do.
pub(crate) const CAPABILITIES: u32 = cap::LONG_PASSWORD
    | cap::CONNECT_WITH_DB
    | cap::LOCAL_FILES
    | cap::PROTOCOL_41
    | cap::TRANSACTIONS
    | cap::SECURE_CONNECTION
    | cap::MULTI_STATEMENTS
    | cap::MULTI_RESULTS
    | cap::PS_MULTI_RESULTS
    | cap::PLUGIN_AUTH
    | cap::CONNECT_ATTRS
    | cap::PLUGIN_AUTH_LENENC
    | cap::DEPRECATE_EOF;

/// What a client says when it logs in.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub user: String,
    pub password: String,
    pub database: Option<String>,
    /// What it can do; the server's own limits are applied, as every client does.
    pub capabilities: u32,
    /// MariaDB's extended capabilities; any makes `LONG_PASSWORD` disappear.
    pub extended: u32,
    pub collation: u8,
    pub attributes: Vec<(String, String)>,
    /// Whether it asks for TLS where that is offered.
    pub tls: bool,
    /// Whether TLS 1.2 is all it knows of that.
    pub tls_12: bool,
    /// Its first answer, instead of one that is right.
    pub first: Option<Vec<u8>>,
}

impl Default for Login {
    fn default() -> Self {
        Self {
            user: "odp".into(),
            password: database::PASSWORD.into(),
            database: Some("p".into()),
            capabilities: CAPABILITIES,
            extended: 0,
            collation: 45,
            attributes: vec![("program_name".into(), "odp-tests".into())],
            tls: false,
            tls_12: false,
            first: None,
        }
    }
}

/// Why a connection could not be had.
#[derive(Debug)]
pub(crate) enum WireError {
    /// The network.
    Io(std::io::Error),
    /// The server's ERR packet.
    Refused(Packet),
}

impl WireError {
    /// The ERR packet's number.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Io(_) => None,
            Self::Refused(packet) => packet.error(),
        }
    }
}

impl From<std::io::Error> for WireError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// What a connection got, for comparing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// The payload of the packet that ended the log-in.
    pub login: Vec<u8>,
    /// All bytes of the answers, and notes of the script in between.
    pub bytes: Vec<u8>,
}

/// A connection.
pub(crate) struct Wire {
    socket: Socket,
    unread: Vec<u8>,
    at: usize,
    /// What the server said first.
    pub greeting: Greeting,
    /// What both agreed on.
    pub capabilities: u32,
    /// MariaDB's extended ones that both agreed on.
    pub extended: u32,
    /// The last challenge seen.
    pub salt: Vec<u8>,
    /// The packet that ended the log-in.
    pub login_end: Packet,
    pub record: Rc<RefCell<Record>>,
    recording: bool,
    /// Where the last packet starts in the record.
    packet_at: usize,
    password: String,
}

impl Wire {
    /// Connects by TCP and logs in.
    pub(crate) fn open(address: &str, login: &Login) -> Result<Self, WireError> {
        Self::connect(address)?.log_in(login)
    }

    /// Connects by a Unix socket and logs in.
    pub(crate) fn open_unix(path: &Path, login: &Login) -> Result<Self, WireError> {
        Self::over_unix(UnixStream::connect(path)?)?.log_in(login)
    }

    /// Reads the greeting that comes over a Unix socket.
    pub(crate) fn over_unix(stream: UnixStream) -> Result<Self, WireError> {
        stream.set_read_timeout(Some(LIMIT))?;
        Self::greeted(Socket::Unix(stream))
    }

    /// Connects and reads the greeting.
    pub(crate) fn connect(address: &str) -> Result<Self, WireError> {
        Self::over(TcpStream::connect(address)?)
    }

    /// Reads the greeting that comes over a connection.
    pub(crate) fn over(stream: TcpStream) -> Result<Self, WireError> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Self::greeted(Socket::Tcp(stream))
    }

    fn greeted(socket: Socket) -> Result<Self, WireError> {
        let nothing = Packet { sequence: 0, first: 0, payload: Vec::new() };
        let greeting = Greeting {
            version: Vec::new(),
            connection_id: 0,
            salt: Vec::new(),
            capabilities: 0,
            extended: 0,
            collation: 0,
            status: 0,
            plugin: Vec::new(),
        };
        let mut wire = Self {
            socket,
            unread: Vec::new(),
            at: 0,
            greeting,
            capabilities: 0,
            extended: 0,
            salt: Vec::new(),
            login_end: nothing,
            record: Rc::default(),
            recording: false,
            packet_at: 0,
            password: String::new(),
        };
        let packet = wire.try_packet()?;
        if packet.error().is_some() {
            return Err(WireError::Refused(packet));
        }
        wire.greeting = Greeting::parse(&packet.payload).expect("a greeting");
        wire.salt.clone_from(&wire.greeting.salt);
        Ok(wire)
    }

    /// Sends the log-in response and goes through the exchange.
    pub(crate) fn log_in(mut self, login: &Login) -> Result<Self, WireError> {
        let mut response = self.login_response(login);
        let mut sequence = 1;
        if login.tls && self.greeting.capabilities & cap::SSL != 0 {
            response.capabilities |= cap::SSL;
            self.send_payload(&response.request_for_tls(), sequence)?;
            self.socket = self.socket.into_tls(login.tls_12)?;
            sequence += 1;
        }
        self.send_payload(&response.encode(), sequence)?;
        self.finish_log_in()
    }

    /// What a well-behaved client answers to this greeting.
    pub(crate) fn login_response(&mut self, login: &Login) -> LoginResponse {
        let mut capabilities =
            login.capabilities & (self.greeting.capabilities | cap::LONG_PASSWORD);
        self.extended = login.extended & self.greeting.extended;
        if self.extended != 0 {
            capabilities &= !cap::LONG_PASSWORD;
        }
        if login.database.is_none() {
            capabilities &= !cap::CONNECT_WITH_DB;
        }
        self.capabilities = capabilities;
        self.password.clone_from(&login.password);
        let plugin = match capabilities & cap::PLUGIN_AUTH {
            // A client that knows no plugins.
            0 => b"mysql_native_password".to_vec(),
            _ => self.greeting.plugin.clone(),
        };
        let mut rest = Vec::new();
        if capabilities & cap::CONNECT_ATTRS != 0 {
            let mut attributes = Vec::new();
            for (name, value) in &login.attributes {
                put_lenenc_str(&mut attributes, name.as_bytes());
                put_lenenc_str(&mut attributes, value.as_bytes());
            }
            put_lenenc_str(&mut rest, &attributes);
        }
        LoginResponse {
            capabilities,
            extended: self.extended,
            max_packet: 1 << 30,
            collation: login.collation,
            user: login.user.clone().into_bytes(),
            auth: login.first.clone().unwrap_or_else(|| {
                scramble(&plugin, &self.salt, &login.password).unwrap_or_default()
            }),
            database: login.database.clone().map(String::into_bytes),
            plugin: (capabilities & cap::PLUGIN_AUTH != 0).then_some(plugin),
            rest,
        }
    }

    /// Answers challenges until OK or ERR.
    pub(crate) fn finish_log_in(mut self) -> Result<Self, WireError> {
        let end = self.authenticate()?;
        self.login_end = end;
        self.record.borrow_mut().login.clone_from(&self.login_end.payload);
        match self.login_end.error() {
            Some(_) => Err(WireError::Refused(self.login_end)),
            None => {
                self.recording = true;
                Ok(self)
            }
        }
    }

    fn authenticate(&mut self) -> Result<Packet, WireError> {
        loop {
            let packet = self.try_packet()?;
            let next = packet.sequence.wrapping_add(1);
            match *packet.payload {
                [0x01, 0x03] => {}
                // A Unix socket counts as secure: the password itself is awaited there.
                [0x01, 0x04] if self.socket.is_secure() => {
                    let password = format!("{}\0", self.password);
                    self.send_payload(password.as_bytes(), next)?;
                }
                [0x01, 0x04] => self.send_payload(&[0x02], next)?,
                [0x01, ..] => {
                    let mut password = self.password.clone().into_bytes();
                    password.push(0);
                    for (byte, salt) in password.iter_mut().zip(self.salt.iter().cycle()) {
                        *byte ^= salt;
                    }
                    let answer = mysql_common::crypto::encrypt(&password, &packet.payload[1..]);
                    self.send_payload(&answer, next)?;
                }
                [0xFE, ref rest @ ..] => {
                    let end = rest.iter().position(|&byte| byte == 0).expect("a plugin's name");
                    self.salt =
                        rest[end + 1..].strip_suffix(&[0]).unwrap_or(&rest[end + 1..]).into();
                    let answer = scramble(&rest[..end], &self.salt, &self.password);
                    self.send_payload(&answer.unwrap_or_default(), next)?;
                }
                _ => return Ok(packet),
            }
        }
    }

    /// Sends exactly these bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Sends a payload in as many packets as it needs.
    pub(crate) fn send_payload(&mut self, payload: &[u8], sequence: u8) -> std::io::Result<()> {
        let bytes = packets(payload, sequence);
        self.send(&bytes)
    }

    /// Sends a command: its byte and what follows.
    pub(crate) fn command(&mut self, command: u8, body: &[u8]) {
        let bytes = command_packets(command, body);
        self.send(&bytes).expect("the connection takes a command");
    }

    /// A command with its whole answer.
    pub(crate) fn ask(&mut self, command: u8, body: &[u8]) -> Reply {
        self.command(command, body);
        self.reply(command)
    }

    /// A statement with its whole answer.
    pub(crate) fn query(&mut self, sql: &str) -> Reply {
        self.ask(com::QUERY, sql.as_bytes())
    }

    /// As [`Self::query`], for a connection that may end.
    pub(crate) fn try_query(&mut self, sql: &str) -> std::io::Result<Reply> {
        self.send(&command_packets(com::QUERY, sql.as_bytes()))?;
        self.try_reply(com::QUERY)
    }

    /// A statement that must succeed.
    pub(crate) fn run(&mut self, sql: &str) -> Reply {
        let reply = self.query(sql);
        assert_eq!(reply.error(), None, "{sql}: {:?}", reply.last());
        reply
    }

    /// Prepares a statement; its id.
    pub(crate) fn prepare(&mut self, sql: &str) -> u32 {
        let reply = self.ask(com::PREPARE, sql.as_bytes());
        assert_eq!(reply.error(), None, "{sql}: {:?}", reply.last());
        statement_id(&reply.packets[0])
    }

    /// The answer to a command.
    pub(crate) fn reply(&mut self, command: u8) -> Reply {
        self.try_reply(command).unwrap_or_else(|error| panic!("answer to {command:#x}: {error}"))
    }

    /// The answer to a command, or why there is none.
    pub(crate) fn try_reply(&mut self, command: u8) -> std::io::Result<Reply> {
        let mut reply = Reply::default();
        match command {
            com::QUERY | com::EXECUTE | com::BULK_EXECUTE | com::PROCESS_INFO => {
                self.result_sets(command, &mut reply)?;
            }
            com::FETCH => {
                self.rows(&mut reply)?;
            }
            com::PREPARE => self.prepared(&mut reply)?,
            com::FIELD_LIST => {
                while !self.next(&mut reply)?.is_end_of_rows() && reply.error().is_none() {}
            }
            com::CHANGE_USER => {
                let end = self.authenticate().map_err(|error| match error {
                    WireError::Io(error) => error,
                    WireError::Refused(packet) => panic!("{packet:?}"),
                })?;
                reply.packets.push(end);
            }
            _ => {
                self.next(&mut reply)?;
            }
        }
        Ok(reply)
    }

    fn deprecates_eof(&self) -> bool {
        self.capabilities & cap::DEPRECATE_EOF != 0
    }

    fn has_optional_metadata(&self) -> bool {
        self.extended & cap::mariadb::CACHE_METADATA != 0
            || self.capabilities & cap::OPTIONAL_METADATA != 0
    }

    fn next(&mut self, reply: &mut Reply) -> std::io::Result<Packet> {
        loop {
            let packet = self.try_packet()?;
            if packet.is_progress() {
                reply.progress += 1;
                continue;
            }
            reply.packets.push(packet.clone());
            return Ok(packet);
        }
    }

    fn result_sets(&mut self, command: u8, reply: &mut Reply) -> std::io::Result<()> {
        loop {
            let first = self.next(reply)?;
            let status = match first.payload[0] {
                0xFF => return Ok(()),
                0x00 => first.status(),
                0xFB => {
                    reply.wants_file = true;
                    return Ok(());
                }
                _ => self.result_set(&first, command, reply)?,
            };
            // None: an ERR ended it.
            if status.is_none_or(|status| status & status::MORE_RESULTS == 0) {
                return Ok(());
            }
        }
    }

    fn result_set(
        &mut self,
        first: &Packet,
        command: u8,
        reply: &mut Reply,
    ) -> std::io::Result<Option<u16>> {
        let (count, width) = lenenc(&first.payload).expect("a column count");
        let follows = !self.has_optional_metadata() || first.payload.get(width) != Some(&0);
        let start = reply.packets.len();
        for _ in 0..if follows { count } else { 0 } {
            if self.next(reply)?.error().is_some() {
                return Ok(None);
            }
        }
        reply.definitions.push(start..reply.packets.len());
        let mut more = 0;
        if !self.deprecates_eof() {
            let eof = self.next(reply)?;
            assert!(eof.is_eof() || eof.error().is_some(), "EOF after definitions: {eof:?}");
            let status = eof.status().unwrap_or_default();
            if eof.error().is_some() {
                return Ok(None);
            }
            if command == com::EXECUTE && status & status::CURSOR_EXISTS != 0 {
                return Ok(Some(status));
            }
            // MySQL sets MORE_RESULTS in this EOF of OUT parameters, not in the one behind the row.
            if status & status::PS_OUT_PARAMS != 0 {
                more = status & status::MORE_RESULTS;
            }
        }
        Ok(self.rows(reply)?.map(|status| status | more))
    }

    fn rows(&mut self, reply: &mut Reply) -> std::io::Result<Option<u16>> {
        let start = reply.packets.len();
        loop {
            let packet = self.next(reply)?;
            let end = match self.deprecates_eof() {
                true => packet.is_end_of_rows(),
                false => packet.is_eof(),
            };
            if end || packet.payload.first() == Some(&0xFF) {
                reply.row_sets.push(start..reply.packets.len() - 1);
                return Ok(packet.status());
            }
        }
    }

    fn prepared(&mut self, reply: &mut Reply) -> std::io::Result<()> {
        let first = self.next(reply)?;
        if first.error().is_some() {
            return Ok(());
        }
        // MariaDB counts statements for all connections together.
        self.hide(STATEMENT_ID);
        let word = |at: usize| u16::from_le_bytes([first.payload[at], first.payload[at + 1]]);
        let follows = first.payload.get(12) != Some(&0);
        for count in [word(7), word(5)] {
            for _ in 0..if follows { count } else { 0 } {
                self.next(reply)?;
            }
            if count > 0 && !self.deprecates_eof() {
                self.next(reply)?;
            }
        }
        Ok(())
    }

    /// Blanks a part of the last packet's payload in the record: it differs by nature.
    pub(crate) fn hide(&self, part: std::ops::Range<usize>) {
        if self.recording {
            let start = self.packet_at + 4;
            self.record.borrow_mut().bytes[start + part.start..start + part.end].fill(b'?');
        }
    }

    /// The next logical packet.
    pub(crate) fn packet(&mut self) -> Packet {
        self.try_packet().unwrap_or_else(|error| panic!("a packet: {error}"))
    }

    /// The next logical packet, or why there is none.
    pub(crate) fn try_packet(&mut self) -> std::io::Result<Packet> {
        let mut packet: Option<Packet> = None;
        self.packet_at = self.record.borrow().bytes.len();
        loop {
            let header = self.take(4)?;
            let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
            let chunk = self.take(length)?;
            match &mut packet {
                None => {
                    packet = Some(Packet { sequence: header[3], first: length, payload: chunk });
                }
                Some(packet) => packet.payload.extend(chunk),
            }
            if length < MAX_PAYLOAD {
                return Ok(packet.expect("it was set above"));
            }
        }
    }

    /// Exactly the next bytes, whatever they are.
    pub(crate) fn take(&mut self, length: usize) -> std::io::Result<Vec<u8>> {
        while self.unread.len() - self.at < length {
            self.read_more()?;
        }
        let taken = self.unread[self.at..self.at + length].to_vec();
        self.at += length;
        if self.recording {
            self.record.borrow_mut().bytes.extend(&taken);
        }
        Ok(taken)
    }

    fn read_more(&mut self) -> std::io::Result<()> {
        let mut buffer = [0; 64 * 1024];
        let read = self.socket.read(&mut buffer)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.unread.drain(..std::mem::take(&mut self.at));
        self.unread.extend(&buffer[..read]);
        Ok(())
    }

    /// Reads until the server closes; what came. A reset is a close.
    pub(crate) fn until_closed(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let at_hand = self.unread.len() - self.at;
            match self.take(at_hand.max(1)) {
                Ok(bytes) => all.extend(bytes),
                Err(error) => {
                    let closed = [
                        ErrorKind::UnexpectedEof,
                        ErrorKind::ConnectionReset,
                        ErrorKind::BrokenPipe,
                    ];
                    assert!(closed.contains(&error.kind()), "waiting for the close: {error}");
                    self.note("closed");
                    return all;
                }
            }
        }
    }

    /// Sends FIN; what the server still sends can be read.
    pub(crate) fn half_close(&mut self) {
        self.socket.half_close().expect("the connection is open");
    }

    /// Puts a note into the record.
    pub(crate) fn note(&self, text: &str) {
        self.record.borrow_mut().bytes.extend(format!("<{text}>").bytes());
    }

    /// From now on nothing is recorded, or it is again.
    pub(crate) fn set_recording(&mut self, recording: bool) {
        self.recording = recording;
    }

    /// A statement whose answer differs from run to run by nature.
    pub(crate) fn unrecorded(&mut self, sql: &str) -> Reply {
        let before = std::mem::replace(&mut self.recording, false);
        let reply = self.query(sql);
        self.recording = before;
        reply
    }

    /// Bytes that were read and that nobody asked for.
    pub(crate) fn is_drained(&self) -> bool {
        self.unread.len() == self.at
    }

    /// The TCP socket itself.
    pub(crate) fn tcp(&self) -> &TcpStream {
        self.socket.tcp()
    }

    /// New keys in both directions of a TLS session.
    pub(crate) fn update_keys(&mut self) {
        self.socket.update_keys().expect("the connection is open");
    }
}

/// A payload as packets, with the empty one that ends a multiple of 16 MiB − 1.
pub(crate) fn packets(payload: &[u8], mut sequence: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 64);
    let mut rest = payload;
    loop {
        let chunk = &rest[..rest.len().min(MAX_PAYLOAD)];
        out.extend(&(chunk.len() as u32).to_le_bytes()[..3]);
        out.push(sequence);
        out.extend(chunk);
        sequence = sequence.wrapping_add(1);
        rest = &rest[chunk.len()..];
        if chunk.len() < MAX_PAYLOAD {
            return out;
        }
    }
}

/// A command as packets.
pub(crate) fn command_packets(command: u8, body: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(1 + body.len());
    payload.push(command);
    payload.extend(body);
    packets(&payload, 0)
}

/// Where the id stands in the first packet of the answer to a PREPARE.
pub(crate) const STATEMENT_ID: std::ops::Range<usize> = 1..5;

/// The id in the first packet of the answer to a PREPARE.
pub(crate) fn statement_id(packet: &Packet) -> u32 {
    u32::from_le_bytes(packet.payload[STATEMENT_ID].try_into().expect("four bytes"))
}

/// Makes a login response one of a client whose plugin no server knows: it is asked for an answer.
pub(crate) fn ask_for_a_challenge(response: &mut LoginResponse) {
    (response.auth, response.plugin) = (Vec::new(), Some(b"no_such_plugin".to_vec()));
}

/// The answer to a challenge; None for an empty password or a plugin we don't know.
pub(crate) fn scramble(plugin: &[u8], salt: &[u8], password: &str) -> Option<Vec<u8>> {
    match plugin {
        b"mysql_native_password" => Some(scramble_native(salt, password.as_bytes())?.to_vec()),
        b"caching_sha2_password" => Some(scramble_sha256(salt, password.as_bytes())?.to_vec()),
        // As by TLS.
        b"sha256_password" => Some([password.as_bytes(), &[0]].concat()),
        _ => None,
    }
}
