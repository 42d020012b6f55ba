//! Before the first command: greeting, login response, auth switch. Ordered and faithful.
//!
//! A login response that was parsed and is encoded again has the same bytes wherever nothing was
//! changed on purpose: connection attributes keep their order and their bytes. Source: MySQL
//! protocol, `Protocol::HandshakeV10`, `HandshakeResponse41`, `AuthSwitchRequest`; MariaDB's
//! extended capabilities stand in the last four reserved bytes while `LONG_PASSWORD` is clear.

use serde::{Deserialize, Serialize};

use super::capability as cap;
use super::packet::{lenenc, put_lenenc, put_lenenc_str};

/// A login response that is longer is refused: attributes may take 64 KiB, the rest is short.
pub const MAX_LOGIN_RESPONSE: usize = 128 * 1024;

/// The length of an SSLRequest.
const TLS_REQUEST: usize = 32;

/// The name of no plugin: a server that is told it answers with an AuthSwitchRequest.
pub const UNKNOWN_PLUGIN: &[u8] = b"auth_unknown_plugin";

/// What is wrong with a packet of the log-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends too early.
    #[error("the packet ends too early")]
    Short,
    /// Its protocol version is not 10.
    #[error("protocol version {0} instead of 10")]
    Version(u8),
    /// The client does not speak the protocol of MySQL 4.1.
    #[error("the client does not speak protocol 4.1")]
    Old,
}

/// The server's first packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// The server's version as it shows it.
    pub version: Vec<u8>,
    /// The id that KILL takes.
    pub connection_id: u32,
    /// The challenge: 20 bytes, none of them 0.
    pub salt: Vec<u8>,
    /// [`super::capability`].
    pub capabilities: u32,
    /// MariaDB's extended capabilities; 0 for others.
    pub extended: u32,
    /// The server's default collation.
    pub collation: u8,
    /// [`super::status`].
    pub status: u16,
    /// The default authentication plugin; empty without PLUGIN_AUTH.
    pub plugin: Vec<u8>,
}

impl Greeting {
    /// Whether the server may be an OceanBase, which gives the capability bits 25 to 27 meanings of
    /// its own; 27 is its Oracle mode. It says `5.7.25`, with or without its name behind. No MySQL
    /// before 8 has these bits, so nothing is lost with one.
    pub fn is_oceanbase(&self) -> bool {
        let name = b"oceanbase";
        let mut parts = self.version.windows(name.len());
        let is_old = [&b"5.6."[..], b"5.7."].iter().any(|old| self.version.starts_with(old));
        is_old || parts.any(|part| part.eq_ignore_ascii_case(name))
    }

    /// Parses the payload.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut input = Input(payload);
        let version = input.byte()?;
        if version != 10 {
            return Err(Malformed::Version(version));
        }
        let version = input.until_nul()?.to_vec();
        let connection_id = input.u32()?;
        let mut salt = input.take(8)?.to_vec();
        input.take(1)?;
        let low = input.u16()?;
        let collation = input.byte()?;
        let status = input.u16()?;
        let capabilities = u32::from(low) | u32::from(input.u16()?) << 16;
        let salt_length = usize::from(input.byte()?);
        input.take(6)?;
        let extended = input.u32()?;
        let extended = if capabilities & cap::LONG_PASSWORD == 0 { extended } else { 0 };
        let rest = salt_length.max(21) - 8;
        let rest = input.take(rest.min(input.0.len()))?;
        salt.extend(rest.strip_suffix(&[0]).unwrap_or(rest));
        let plugin = match capabilities & cap::PLUGIN_AUTH {
            0 => Vec::new(),
            _ => input.until_nul().unwrap_or(input.0).to_vec(),
        };
        Ok(Self { version, connection_id, salt, capabilities, extended, collation, status, plugin })
    }

    /// The greeting without what only looks like MySQL's.
    pub fn in_the_terms_of_mysql(mut self) -> Self {
        if self.is_oceanbase() {
            self.capabilities &= !(cap::OPTIONAL_METADATA | cap::ZSTD | cap::QUERY_ATTRIBUTES);
        }
        self
    }

    /// Encodes the payload.
    pub fn encode(&self) -> Vec<u8> {
        let names = self.version.len() + self.salt.len() + self.plugin.len();
        let mut out = Vec::with_capacity(32 + names);
        out.push(10);
        out.extend(&self.version);
        out.push(0);
        out.extend(self.connection_id.to_le_bytes());
        let split = self.salt.len().min(8);
        out.extend(&self.salt[..split]);
        out.push(0);
        out.extend((self.capabilities as u16).to_le_bytes());
        out.push(self.collation);
        out.extend(self.status.to_le_bytes());
        out.extend(((self.capabilities >> 16) as u16).to_le_bytes());
        let with_plugin = self.capabilities & cap::PLUGIN_AUTH != 0;
        // With its NUL. A server may claim 255 and leave that out.
        let length = u8::try_from(self.salt.len() + 1).unwrap_or(u8::MAX);
        out.push(if with_plugin { length } else { 0 });
        out.extend([0; 6]);
        out.extend(self.extended.to_le_bytes());
        out.extend(&self.salt[split..]);
        out.push(0);
        if with_plugin {
            out.extend(&self.plugin);
            out.push(0);
        }
        out
    }
}

/// The client's answer to the greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginResponse {
    /// What both sides shall use.
    pub capabilities: u32,
    /// MariaDB's extended capabilities.
    pub extended: u32,
    /// The longest packet the client takes.
    pub max_packet: u32,
    /// The collation of the session; only the low byte of its id.
    pub collation: u8,
    /// The user name, undecoded.
    pub user: Vec<u8>,
    /// The answer to the challenge.
    pub auth: Vec<u8>,
    /// The default database.
    pub database: Option<Vec<u8>>,
    /// The plugin that made the answer.
    pub plugin: Option<Vec<u8>>,
    /// Everything behind: connection attributes and the zstd level, as they came.
    pub rest: Vec<u8>,
}

impl LoginResponse {
    /// Parses the payload.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut input = Input(payload);
        let capabilities = input.u32()?;
        if capabilities & cap::PROTOCOL_41 == 0 {
            return Err(Malformed::Old);
        }
        let max_packet = input.u32()?;
        let collation = input.byte()?;
        input.take(19)?;
        let extended = input.u32()?;
        let extended = if capabilities & cap::LONG_PASSWORD == 0 { extended } else { 0 };
        // A client that ends here asks for TLS; that is looked at before.
        let user = input.until_nul()?.to_vec();
        let auth = if capabilities & cap::PLUGIN_AUTH_LENENC != 0 {
            input.lenenc_bytes()?.to_vec()
        } else if capabilities & cap::SECURE_CONNECTION != 0 {
            let length = usize::from(input.byte()?);
            input.take(length)?.to_vec()
        } else {
            input.until_nul()?.to_vec()
        };
        let database = match capabilities & cap::CONNECT_WITH_DB {
            0 => None,
            // Some clients leave out the last NUL.
            _ => Some(input.until_nul().unwrap_or_else(|_| input.rest()).to_vec()),
        };
        let plugin = match capabilities & cap::PLUGIN_AUTH {
            0 => None,
            _ => Some(input.until_nul().unwrap_or_else(|_| input.rest()).to_vec()),
        };
        let rest = input.rest().to_vec();
        Ok(Self {
            capabilities,
            extended,
            max_packet,
            collation,
            user,
            auth,
            database,
            plugin,
            rest,
        })
    }

    /// Encodes the payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.user.len() + self.rest.len());
        out.extend(self.capabilities.to_le_bytes());
        out.extend(self.max_packet.to_le_bytes());
        out.push(self.collation);
        out.extend([0; 19]);
        out.extend(self.extended.to_le_bytes());
        out.extend(&self.user);
        out.push(0);
        if self.capabilities & cap::PLUGIN_AUTH_LENENC != 0 {
            put_lenenc_str(&mut out, &self.auth);
        } else if self.capabilities & cap::SECURE_CONNECTION != 0 {
            out.push(self.auth.len().min(255) as u8);
            out.extend(&self.auth[..self.auth.len().min(255)]);
        } else {
            out.extend(&self.auth);
            out.push(0);
        }
        if let Some(database) = &self.database {
            out.extend(database);
            out.push(0);
        }
        if let Some(plugin) = &self.plugin {
            out.extend(plugin);
            out.push(0);
        }
        out.extend(&self.rest);
        out
    }

    /// The payload of an SSLRequest: the response up to the user's name, which follows by TLS.
    pub fn request_for_tls(&self) -> Vec<u8> {
        let mut out = self.encode();
        out.truncate(TLS_REQUEST);
        out
    }

    /// Takes away what the client asks of its own leg; its zstd level, if it tells one.
    ///
    /// "int<1> zstd_compression_level" stands behind the attributes.
    pub fn take_zstd_level(&mut self) -> Option<u8> {
        if self.capabilities & cap::ZSTD == 0 {
            return None;
        }
        let mut input = Input(&self.rest);
        if self.capabilities & cap::CONNECT_ATTRS != 0 {
            input.lenenc_bytes().ok()?;
        }
        let level = input.byte().ok()?;
        self.rest.truncate(self.rest.len() - input.0.len() - 1);
        Some(level)
    }

    /// Asks for zstd at this level.
    pub fn put_zstd_level(&mut self, level: u8) {
        self.capabilities |= cap::ZSTD;
        if self.capabilities & cap::CONNECT_ATTRS != 0 && self.rest.is_empty() {
            put_lenenc(&mut self.rest, 0);
        }
        self.rest.push(level);
    }

    /// What client and proxy agreed on by one greeting and a server does not offer: its
    /// capabilities, and MariaDB's extended ones.
    pub fn beyond(&self, greeted: &Greeting, server: &Greeting) -> (u32, u32) {
        let capabilities = self.capabilities & greeted.capabilities & !server.capabilities;
        (capabilities, self.extended & greeted.extended & !server.extended)
    }

    /// The same log-in without some of [`cap::OF_THE_LOG_IN`].
    pub fn without(mut self, capabilities: u32) -> Self {
        self.capabilities &= !capabilities;
        if capabilities & cap::CONNECT_ATTRS != 0 {
            self.rest.clear();
        }
        self
    }

    /// The connection attributes, in order; empty when there are none or they are malformed.
    pub fn attributes(&self) -> Vec<(&[u8], &[u8])> {
        let mut found = Vec::new();
        if self.capabilities & cap::CONNECT_ATTRS == 0 {
            return found;
        }
        let Ok(mut input) = Input(&self.rest).lenenc_bytes().map(Input) else { return found };
        while let (Ok(name), Ok(value)) = (input.lenenc_bytes(), input.lenenc_bytes()) {
            found.push((name, value));
        }
        found
    }
}

/// Whether the client's first packet is an SSLRequest: its response follows by TLS.
pub fn is_request_for_tls(payload: &[u8]) -> bool {
    let asks = |bytes: &[u8]| u16::from_le_bytes([bytes[0], bytes[1]]) & cap::SSL as u16 != 0;
    payload.len() == TLS_REQUEST && asks(payload)
}

/// The payload of an AuthSwitchRequest.
pub fn auth_switch_request(plugin: &[u8], salt: &[u8]) -> Vec<u8> {
    let mut out = vec![0xFE];
    out.extend(plugin);
    out.push(0);
    out.extend(salt);
    out.push(0);
    out
}

/// The payload of an OK packet.
pub fn ok(affected: u64, insert_id: u64, status: u16, warnings: u16) -> Vec<u8> {
    let mut out = vec![0x00];
    put_lenenc(&mut out, affected);
    put_lenenc(&mut out, insert_id);
    out.extend(status.to_le_bytes());
    out.extend(warnings.to_le_bytes());
    out
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        let bytes = self.take(2)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn until_nul(&mut self) -> Result<&'a [u8], Malformed> {
        let at = memchr::memchr(0, self.0).ok_or(Malformed::Short)?;
        let found = self.take(at)?;
        self.take(1)?;
        Ok(found)
    }

    fn lenenc_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let (length, width) = lenenc(self.0).ok_or(Malformed::Short)?;
        self.take(width)?;
        self.take(usize::try_from(length).map_err(|_| Malformed::Short)?)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_oceanbase_are_not_taken_for_mysqls() {
        let ours = cap::PROTOCOL_41 | cap::DEPRECATE_EOF;
        let bits = cap::OPTIONAL_METADATA | cap::ZSTD | cap::QUERY_ATTRIBUTES;
        let cases: [(&str, u32); 7] = [
            ("5.7.25", ours),
            ("5.7.25-OceanBase-v4.3.5", ours),
            ("5.6.25", ours),
            ("8.0.32-oceanbase-v4", ours),
            ("8.0.36", ours | bits),
            ("9.7.0", ours | bits),
            ("5.5.5-10.11.6-MariaDB", ours | bits),
        ];
        for (version, expected) in cases {
            let greeting = Greeting {
                version: version.into(),
                connection_id: 1,
                salt: vec![b'x'; 20],
                capabilities: ours | bits,
                extended: 0,
                collation: 45,
                status: 2,
                plugin: Vec::new(),
            };
            let capabilities = greeting.in_the_terms_of_mysql().capabilities;
            assert_eq!(capabilities, expected, "{version}");
        }
    }
}
