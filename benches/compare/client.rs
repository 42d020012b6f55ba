//! A small blocking client: logs in, asks, and reads results without looking at the rows.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use sha1::{Digest, Sha1};

use crate::Outcome;
use crate::link::{Link, Way};

/// LONG_PASSWORD, LONG_FLAG, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION, PLUGIN_AUTH; not
/// DEPRECATE_EOF, which makes the end of a result hard to tell.
const CAPABILITIES: u32 = 0x0008_a205;

/// CLIENT_SSL, in the second byte of the capabilities.
const SSL: u8 = 0x08;

/// So much of a login response asks for TLS.
const TLS_REQUEST: usize = 32;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Values of rows, NULL as None.
type Rows = Vec<Vec<Option<String>>>;

/// One connection.
pub(crate) struct Client {
    stream: Link,
    packet: Vec<u8>,
}

/// A name and a password.
#[derive(Clone, Copy)]
pub(crate) struct Account<'a> {
    pub user: &'a str,
    pub password: &'a str,
}

impl Client {
    /// Connects and logs in.
    pub(crate) fn connect(address: SocketAddr, account: Account<'_>) -> Outcome<Self> {
        Self::connect_by(Way::Plain, address, account)
    }

    /// The same, perhaps by TLS.
    pub(crate) fn connect_by(way: Way, address: SocketAddr, account: Account<'_>) -> Outcome<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let stream = Link::Plain(stream);
        let stream = if way == Way::TlsFirst { stream.into_tls()? } else { stream };
        let mut client = Self { stream, packet: Vec::new() };
        client.read_packet()?;
        let salt = salt(&client.packet).ok_or("greeting: too short")?;
        let mut response = login_response(account, &salt);
        let mut sequence = 1;
        if way == Way::TlsAsked {
            response[1] |= SSL;
            client.write_packet(sequence, &response[..TLS_REQUEST])?;
            client.stream = client.stream.into_tls()?;
            sequence += 1;
        }
        client.write_packet(sequence, &response)?;
        loop {
            let sequence = client.read_packet()?;
            match client.packet.first() {
                Some(0x00) => return Ok(client),
                Some(0xfe) => {
                    let salt = client.packet.split(|byte| *byte == 0).nth(1);
                    let answer = scramble(account.password, salt.ok_or("auth switch: no data")?);
                    client.write_packet(sequence + 1, &answer)?;
                }
                _ => return Err(client.server_error().into()),
            }
        }
    }

    /// Asks and reads a text result: rows of values, NULL as None.
    pub(crate) fn rows(&mut self, sql: &str) -> Outcome<Rows> {
        self.send(sql)?;
        self.read_rows()
    }

    /// Reads to the end of an answer, be it a result or an error.
    pub(crate) fn answer(&mut self) -> Outcome<()> {
        match self.read_rows() {
            Err(_) if self.packet.first() == Some(&0xff) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Whether nothing has come, and the connection stands.
    pub(crate) fn is_silent(&self) -> bool {
        let peek = || {
            let socket = self.stream.socket();
            socket.set_nonblocking(true)?;
            let peeked = socket.peek(&mut [0]);
            socket.set_nonblocking(false)?;
            peeked
        };
        peek().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// The same with each value behind the name of its column; NULL is empty.
    pub(crate) fn named_rows(&mut self, sql: &str) -> Outcome<Vec<Vec<(String, String)>>> {
        self.send(sql)?;
        let (names, rows) = self.read_table()?;
        let named = |row: Vec<Option<String>>| {
            let values = row.into_iter().map(Option::unwrap_or_default);
            names.iter().cloned().zip(values).collect()
        };
        Ok(rows.into_iter().map(named).collect())
    }

    fn read_rows(&mut self) -> Outcome<Rows> {
        Ok(self.read_table()?.1)
    }

    fn read_table(&mut self) -> Outcome<(Vec<String>, Rows)> {
        self.read_packet()?;
        match self.packet.first() {
            Some(0x00) => return Ok(Default::default()),
            Some(0xff) | None => return Err(self.server_error().into()),
            Some(_) => {}
        }
        let names = self.read_names()?;
        let mut rows = Vec::new();
        loop {
            self.read_packet()?;
            match self.packet.first() {
                Some(0xfe) if self.packet.len() < 9 => return Ok((names, rows)),
                Some(0xff) => return Err(self.server_error().into()),
                _ => rows.push(values(&self.packet).ok_or("row: malformed")?),
            }
        }
    }

    /// The number in the last column of the only row.
    pub(crate) fn number(&mut self, sql: &str) -> Outcome<f64> {
        let rows = self.rows(sql)?;
        let text = rows.first().and_then(|row| row.last()).and_then(|value| value.as_deref());
        Ok(text.ok_or("no row")?.parse()?)
    }

    /// Asks, and counts the bytes of the answer without looking at the rows.
    pub(crate) fn drain(&mut self, sql: &str) -> Outcome<u64> {
        self.send(sql)?;
        self.read_packet()?;
        self.read_names()?;
        let mut buffer = vec![0; 256 * 1024];
        let (mut total, mut end) = (0, Scan::default());
        loop {
            let n = self.stream.read(&mut buffer)?;
            if n == 0 {
                return Err("the connection ended within the result".into());
            }
            total += n as u64;
            if end.is_over_after(&buffer[..n]) {
                return Ok(total);
            }
        }
    }

    /// Says goodbye and hangs up.
    pub(crate) fn quit(mut self) -> Outcome<()> {
        self.write_packet(0, &[0x01])
    }

    /// Asks, and does not wait for the answer.
    pub(crate) fn send(&mut self, sql: &str) -> Outcome<()> {
        self.write_packet(0, &[b"\x03", sql.as_bytes()].concat())
    }

    /// Reads column definitions, whose fifth value is the name.
    fn read_names(&mut self) -> Outcome<Vec<String>> {
        let mut names = Vec::new();
        loop {
            self.read_packet()?;
            if self.packet.first() == Some(&0xfe) && self.packet.len() < 9 {
                return Ok(names);
            }
            let name = leading_values(&self.packet, 5).and_then(|mut values| values.pop());
            names.push(name.flatten().ok_or("column: malformed")?);
        }
    }

    fn read_packet(&mut self) -> Outcome<u8> {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header)?;
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
        self.packet.resize(length, 0);
        self.stream.read_exact(&mut self.packet)?;
        Ok(header[3])
    }

    fn write_packet(&mut self, sequence: u8, payload: &[u8]) -> Outcome<()> {
        let length = u32::try_from(payload.len())?.to_le_bytes();
        let mut packet = vec![length[0], length[1], length[2], sequence];
        packet.extend_from_slice(payload);
        self.stream.write_all(&packet)?;
        Ok(self.stream.flush()?)
    }

    fn server_error(&self) -> String {
        String::from_utf8_lossy(self.packet.get(3..).unwrap_or_default()).into_owned()
    }
}

/// Looks for the EOF packet behind the rows: strides over payloads.
#[derive(Default)]
struct Scan {
    header: [u8; 5],
    have: usize,
    skip: usize,
}

impl Scan {
    fn is_over_after(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let stride = self.skip.min(bytes.len());
            self.skip -= stride;
            bytes = &bytes[stride..];
            let take = (5 - self.have).min(bytes.len());
            self.header[self.have..self.have + take].copy_from_slice(&bytes[..take]);
            self.have += take;
            bytes = &bytes[take..];
            if self.have == 5 {
                let [a, b, c, _, first] = self.header;
                let length = u32::from_le_bytes([a, b, c, 0]) as usize;
                if first == 0xfe && length < 9 {
                    return true;
                }
                self.skip = length - 1;
                self.have = 0;
            }
        }
        false
    }
}

fn salt(greeting: &[u8]) -> Option<Vec<u8>> {
    let version_end = 1 + greeting.get(1..)?.iter().position(|byte| *byte == 0)?;
    let first = greeting.get(version_end + 5..version_end + 13)?;
    let second = greeting.get(version_end + 32..version_end + 44)?;
    Some([first, second].concat())
}

fn login_response(account: Account<'_>, salt: &[u8]) -> Vec<u8> {
    let mut response = CAPABILITIES.to_le_bytes().to_vec();
    response.extend_from_slice(&(1u32 << 30).to_le_bytes());
    response.push(45);
    response.extend_from_slice(&[0; 23]);
    response.extend_from_slice(account.user.as_bytes());
    response.push(0);
    let answer = scramble(account.password, salt);
    response.push(u8::try_from(answer.len()).expect("a SHA-1 has 20 bytes"));
    response.extend_from_slice(&answer);
    response.extend_from_slice(b"mysql_native_password\0");
    response
}

/// SHA1(password) XOR SHA1(salt, SHA1(SHA1(password))).
fn scramble(password: &str, salt: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let stage1 = Sha1::digest(password.as_bytes());
    let stage2 = Sha1::digest(stage1);
    let mask = Sha1::new().chain_update(salt).chain_update(stage2).finalize();
    stage1.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect()
}

fn values(row: &[u8]) -> Option<Vec<Option<String>>> {
    leading_values(row, usize::MAX)
}

/// The first so many of a row, or all.
fn leading_values(mut row: &[u8], most: usize) -> Option<Vec<Option<String>>> {
    let mut values = Vec::new();
    while let Some((first, rest)) = row.split_first()
        && values.len() < most
    {
        let (length, rest) = match first {
            0xfb => {
                values.push(None);
                row = rest;
                continue;
            }
            0xfc => (usize::from(u16::from_le_bytes([*rest.first()?, *rest.get(1)?])), &rest[2..]),
            0..=0xfa => (usize::from(*first), rest),
            _ => return None,
        };
        values.push(Some(String::from_utf8_lossy(rest.get(..length)?).into_owned()));
        row = &rest[length..];
    }
    Some(values)
}
