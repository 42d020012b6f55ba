//! What each leg agrees on before it compresses.
//!
//! A client is offered what the config says, whatever its server can; a server is asked for what
//! the config says, if it can. The bits belong to the legs and are never passed on.

use crate::config::ProxySection;
use crate::config::compression::{Asked, Offered};
use crate::wire::capability as cap;
use crate::wire::compressed::{Compression, ZstdLevel};
use crate::wire::handshake::{Greeting, LoginResponse};

/// The capabilities that a client is offered.
pub(in crate::proxy) fn offered(config: Offered, greeting: &Greeting) -> u32 {
    let zlib = if config.zlib { cap::COMPRESS } else { 0 };
    // Bit 26 means something else to clients that see an OceanBase in the greeting.
    let zstd = if config.zstd && !greeting.is_oceanbase() { cap::ZSTD } else { 0 };
    zlib | zstd
}

/// What a client has chosen of that; the level that goes with it is taken out of its response.
///
/// zlib if it knows both, as servers do.
pub(in crate::proxy) fn chosen(offered: u32, response: &mut LoginResponse) -> Option<Compression> {
    let level = match offered & cap::ZSTD {
        0 => None,
        _ => response.take_zstd_level(),
    };
    let both = response.capabilities & offered;
    if both & cap::COMPRESS != 0 {
        return Some(Compression::Zlib);
    }
    let level = level.and_then(|level| ZstdLevel::try_from(level).ok());
    (both & cap::ZSTD != 0).then(|| Compression::Zstd(level.unwrap_or(ZstdLevel::DEFAULT)))
}

/// What servers are asked for.
pub(in crate::proxy) fn wanted(config: &ProxySection) -> Option<Compression> {
    match config.server_compression {
        Asked::Off => None,
        Asked::Zlib => Some(Compression::Zlib),
        Asked::Zstd => {
            let level = ZstdLevel::try_from(config.zstd_level).unwrap_or(ZstdLevel::DEFAULT);
            Some(Compression::Zstd(level))
        }
    }
}

/// Asks a server for that, if it can; what it will be.
pub(in crate::proxy) fn ask(
    wanted: Option<Compression>,
    greeting: &Greeting,
    response: &mut LoginResponse,
) -> Option<Compression> {
    match wanted? {
        Compression::Zlib if greeting.capabilities & cap::COMPRESS != 0 => {
            response.capabilities |= cap::COMPRESS;
        }
        Compression::Zstd(level)
            if greeting.capabilities & cap::ZSTD != 0 && !greeting.is_oceanbase() =>
        {
            response.put_zstd_level(level.into());
        }
        Compression::Zlib | Compression::Zstd(_) => return None,
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(version: &str, capabilities: u32) -> Greeting {
        Greeting {
            version: version.into(),
            connection_id: 1,
            salt: vec![1; 20],
            capabilities,
            extended: 0,
            collation: 8,
            status: 2,
            plugin: b"mysql_native_password".to_vec(),
        }
    }

    fn response(capabilities: u32, rest: &[u8]) -> LoginResponse {
        LoginResponse {
            capabilities: capabilities | cap::PROTOCOL_41,
            extended: 0,
            max_packet: 1 << 24,
            collation: 8,
            user: b"u".to_vec(),
            auth: Vec::new(),
            database: None,
            plugin: None,
            rest: rest.to_vec(),
        }
    }

    #[test]
    fn a_client_chooses_of_what_it_was_offered() {
        const BOTH: u32 = cap::COMPRESS | cap::ZSTD;
        let zstd = |level| Some(Compression::Zstd(ZstdLevel::try_from(level).expect("a level")));
        let attributes = cap::CONNECT_ATTRS;
        for (offered, asked, rest, expected, left) in [
            (BOTH, 0, &b"\x04\x01a\x01b"[..], None, &b"\x04\x01a\x01b"[..]),
            (BOTH, cap::COMPRESS, b"\x00", Some(Compression::Zlib), b"\x00"),
            (BOTH, cap::ZSTD, b"\x04\x01a\x01b\x07", zstd(7), b"\x04\x01a\x01b"),
            (BOTH, BOTH, b"\x00\x07", Some(Compression::Zlib), b"\x00"),
            (cap::ZSTD, BOTH, b"\x00\x16", zstd(22), b"\x00"),
            // A level that is none, or is left out.
            (BOTH, cap::ZSTD, b"\x00\x63", zstd(3), b"\x00"),
            (BOTH, cap::ZSTD, b"\x00", zstd(3), b"\x00"),
            // What was not offered is not understood, nor is anything that goes with it.
            (cap::COMPRESS, cap::ZSTD, b"\x00\x07", None, b"\x00\x07"),
            (0, BOTH, b"\x00\x07", None, b"\x00\x07"),
        ] {
            let mut response = response(asked | attributes, rest);
            assert_eq!(chosen(offered, &mut response), expected, "{asked:x} of {offered:x}");
            assert_eq!(response.rest, left, "{asked:x} of {offered:x}");
        }
        let mut without_attributes = response(cap::ZSTD, b"\x05");
        assert_eq!(chosen(BOTH, &mut without_attributes), zstd(5));
        assert_eq!(without_attributes.rest, b"");
    }

    #[test]
    fn an_oceanbase_hears_nothing_of_zstd() {
        let every = u32::MAX;
        for (version, zstd) in [("9.7.0", true), ("5.7.25-OceanBase-v4.3.5", false)] {
            let greeting = greeting(version, every);
            assert_eq!(offered(Offered::ALL, &greeting) & cap::ZSTD != 0, zstd, "{version}");
            assert_ne!(offered(Offered::ALL, &greeting) & cap::COMPRESS, 0, "{version}");
            let config = ProxySection {
                server_compression: Asked::Zstd,
                zstd_level: 9,
                ..ProxySection::default()
            };
            let mut response = response(cap::CONNECT_ATTRS, b"");
            assert_eq!(ask(wanted(&config), &greeting, &mut response).is_some(), zstd, "{version}");
            assert_eq!(response.capabilities & cap::ZSTD != 0, zstd, "{version}");
            assert_eq!(response.rest, if zstd { &b"\x00\x09"[..] } else { b"" }, "{version}");
        }
    }

    #[test]
    fn a_server_is_asked_for_what_it_can() {
        for (asked, can, expected) in [
            (Asked::Off, cap::COMPRESS | cap::ZSTD, 0),
            (Asked::Zlib, cap::COMPRESS, cap::COMPRESS),
            (Asked::Zlib, cap::ZSTD, 0),
            (Asked::Zstd, cap::ZSTD, cap::ZSTD),
            (Asked::Zstd, cap::COMPRESS, 0),
        ] {
            let config = ProxySection { server_compression: asked, ..ProxySection::default() };
            let mut response = response(0, b"");
            let agreed = ask(wanted(&config), &greeting("9.7.0", can), &mut response);
            assert_eq!(response.capabilities & (cap::COMPRESS | cap::ZSTD), expected, "{asked}");
            assert_eq!(agreed.is_some(), expected != 0, "{asked}");
        }
    }
}
