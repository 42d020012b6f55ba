//! The PROXY protocol's header, v1 and v2: who is at the far end of a connection that a proxy or a
//! load balancer has made. Pure: bytes in, a [`Header`] out, and back.
//!
//! Source: HAProxy, `doc/proxy-protocol.txt`. Whoever reads byte by byte, or in any pieces, gets
//! the same answer; nothing behind the header is looked at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What each header of v1 starts with.
const SIGNATURE_V1: &[u8] = b"PROXY ";

/// What each header of v2 starts with.
const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// "So a 108-byte buffer is always enough to store all the line and a trailing zero."
const LONGEST_V1: usize = 107;

/// No header of v1 is shorter: what is still missing to it can be read at once.
const SHORTEST_V1: usize = b"PROXY UNKNOWN\r\n".len();

/// v2: signature, version and command, family, length.
const FIXED_V2: usize = 16;

/// A header of v2 that is longer is refused. Addresses take at most 232 bytes; what clouds and
/// HAProxy put behind them (names, ids, a subject of a certificate) stays far below.
pub const LONGEST_V2: usize = 4096;

/// The TLV with a checksum of the header.
const TYPE_CRC32C: u8 = 0x03;

/// The two ends of the connection that the client made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The client's address.
    pub source: SocketAddr,
    /// The address it connected to.
    pub destination: SocketAddr,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Nothing: it is a connection of the sender's own (LOCAL), or of a client that it cannot
    /// describe (UNKNOWN, UNSPEC).
    Own,
    /// The client came by a Unix socket.
    Unix,
    /// The client came by TCP.
    Tcp(Route),
}

impl Header {
    /// The ends of the client's connection, if they are told.
    pub fn route(self) -> Option<Route> {
        match self {
            Self::Tcp(route) => Some(route),
            Self::Own | Self::Unix => None,
        }
    }

    /// The client's address as it is shown; None: it is the peer's own.
    pub fn client(self) -> Option<String> {
        match self {
            Self::Tcp(Route { source, .. }) => {
                Some(SocketAddr::new(source.ip().to_canonical(), source.port()).to_string())
            }
            Self::Unix => Some("unix".into()),
            Self::Own => None,
        }
    }
}

/// How far a stream's first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// They may yet become a header. So many bytes more, at least 1, are its own if they do.
    More(usize),
    /// They are no header.
    Other,
    /// They start with a header of so many bytes.
    Header(Header, usize),
}

/// Why a header is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// v1: no CRLF in time.
    #[error("no end of line within {LONGEST_V1} bytes")]
    Endless,
    /// v1: the line is none of those that the protocol has.
    #[error("a malformed line")]
    Line,
    /// v2: an unknown version or command.
    #[error("version and command {0:#04x}")]
    Command(u8),
    /// v2: an address family or transport that no MySQL client has.
    #[error("family and transport {0:#04x}")]
    Family(u8),
    /// v2: more bytes than anybody needs.
    #[error("{0} bytes, expected at most {LONGEST_V2}")]
    Long(usize),
    /// v2: fewer bytes than the addresses of its family take, or a TLV that is cut.
    #[error("it ends in the middle of a field")]
    Short,
    /// v2: the checksum in it is of something else.
    #[error("a wrong checksum")]
    Checksum,
}

/// Looks at a stream's first bytes. With fewer bytes of the same stream the answer is the same, or
/// [`Opening::More`].
pub fn parse(bytes: &[u8]) -> Result<Opening, Malformed> {
    if agrees(bytes, SIGNATURE_V1) {
        parse_v1(bytes)
    } else if agrees(bytes, SIGNATURE_V2) {
        parse_v2(bytes)
    } else {
        Ok(Opening::Other)
    }
}

/// Whether they start with a header, however it goes on.
pub fn is_signed(bytes: &[u8]) -> bool {
    bytes.starts_with(SIGNATURE_V1) || bytes.starts_with(SIGNATURE_V2)
}

/// Whether the bytes start with a signature, or with as much of it as there are bytes.
fn agrees(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, expected)| byte == expected)
}

fn parse_v1(bytes: &[u8]) -> Result<Opening, Malformed> {
    let line = &bytes[..bytes.len().min(LONGEST_V1)];
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        if line.len() == LONGEST_V1 {
            return Err(Malformed::Endless);
        }
        // Before the signature is whole it may as well be the start of a packet.
        let least = if line.len() < SIGNATURE_V1.len() { SIGNATURE_V1.len() } else { SHORTEST_V1 };
        return Ok(Opening::More(least.saturating_sub(line.len()).max(1)));
    };
    let text = std::str::from_utf8(&line[..end]).map_err(|_| Malformed::Line)?;
    let header = parse_line(text).ok_or(Malformed::Line)?;
    Ok(Opening::Header(header, end + 2))
}

/// "PROXY" then family, addresses and ports, with exactly one space between two.
fn parse_line(text: &str) -> Option<Header> {
    let mut words = text.split(' ');
    words.next()?;
    let family = words.next()?;
    if family == "UNKNOWN" {
        // "the receiver must ignore anything presented before the CRLF is found".
        return Some(Header::Own);
    }
    let [source, destination, source_port, destination_port] =
        std::array::from_fn(|_| words.next());
    if words.next().is_some() {
        return None;
    }
    let address = |text: Option<&str>| -> Option<IpAddr> {
        match family {
            "TCP4" => text?.parse().ok().map(IpAddr::V4),
            "TCP6" => text?.parse().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let source = SocketAddr::new(address(source)?, port(source_port?)?);
    let destination = SocketAddr::new(address(destination)?, port(destination_port?)?);
    Some(Header::Tcp(Route { source, destination }))
}

/// Digits alone: no sign, no leading zero.
fn port(text: &str) -> Option<u16> {
    let port: u16 = text.parse().ok()?;
    (port.to_string() == text).then_some(port)
}

fn parse_v2(bytes: &[u8]) -> Result<Opening, Malformed> {
    let Some(fixed) = bytes.first_chunk::<FIXED_V2>() else {
        // As with v1: until the signature is whole nothing behind it is the header's for certain.
        let signed = bytes.len() >= SIGNATURE_V2.len();
        let least = if signed { FIXED_V2 } else { SIGNATURE_V2.len() };
        return Ok(Opening::More(least - bytes.len()));
    };
    let [.., command, family, high, low] = *fixed;
    let length = FIXED_V2 + usize::from(u16::from_be_bytes([high, low]));
    if !matches!(command, 0x20 | 0x21) {
        return Err(Malformed::Command(command));
    }
    if length > LONGEST_V2 {
        return Err(Malformed::Long(length));
    }
    let Some(whole) = bytes.get(..length) else { return Ok(Opening::More(length - bytes.len())) };
    // "The receiver must accept this connection as valid and must use the real connection
    // endpoints and discard the protocol block including the family which is ignored."
    let header = if command == 0x20 { Header::Own } else { parse_addresses(family, whole)? };
    Ok(Opening::Header(header, length))
}

fn parse_addresses(family: u8, whole: &[u8]) -> Result<Header, Malformed> {
    let block = &whole[FIXED_V2..];
    let (header, addresses) = match family {
        // "the receiver should ignore address information".
        0x00 => return Ok(Header::Own),
        0x11 => {
            let (addresses, _) = block.split_first_chunk::<12>().ok_or(Malformed::Short)?;
            let [a, b, c, d, e, f, g, h, ports @ ..] = *addresses;
            let (source, destination) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h));
            (Header::Tcp(route(source.into(), destination.into(), ports)), addresses.len())
        }
        0x21 => {
            let (addresses, _) = block.split_first_chunk::<36>().ok_or(Malformed::Short)?;
            let (source, rest) = addresses.split_first_chunk().ok_or(Malformed::Short)?;
            let (destination, rest) = rest.split_first_chunk().ok_or(Malformed::Short)?;
            let ports = *rest.first_chunk().ok_or(Malformed::Short)?;
            let ip = |bytes: &[u8; 16]| IpAddr::V6(Ipv6Addr::from(*bytes));
            (Header::Tcp(route(ip(source), ip(destination), ports)), addresses.len())
        }
        0x31 => (Header::Unix, 216),
        other => return Err(Malformed::Family(other)),
    };
    check_tlvs(whole, FIXED_V2 + addresses)?;
    Ok(header)
}

fn route(source: IpAddr, destination: IpAddr, [a, b, c, d]: [u8; 4]) -> Route {
    Route {
        source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    }
}

/// Skips what stands behind the addresses; only the checksum concerns us.
fn check_tlvs(whole: &[u8], mut at: usize) -> Result<(), Malformed> {
    if at > whole.len() {
        return Err(Malformed::Short);
    }
    while at < whole.len() {
        let head = whole[at..].first_chunk::<3>().ok_or(Malformed::Short)?;
        let start = at + head.len();
        let end = start + usize::from(u16::from_be_bytes([head[1], head[2]]));
        let value = whole.get(start..end).ok_or(Malformed::Short)?;
        if head[0] == TYPE_CRC32C {
            // "the checksum field [is] replaced by zeroes" while it is computed.
            let zeroed = [&whole[..start], &[0; 4], whole.get(end..).unwrap_or_default()].concat();
            if value != crc32c(&zeroed).to_be_bytes() {
                return Err(Malformed::Checksum);
            }
        }
        at = end;
    }
    Ok(())
}

/// CRC-32C (Castagnoli), bit by bit: a header is short and comes once a connection.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0x82F6_3B78 };
    !bytes
        .iter()
        .fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

/// A header of v1; without a route it says UNKNOWN.
pub fn encode_v1(route: Option<Route>) -> Vec<u8> {
    let Some(route) = route else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let Route { source, destination } = route.of_one_family();
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    let ports = (source.port(), destination.port());
    format!("PROXY {family} {from} {to} {} {}\r\n", ports.0, ports.1).into_bytes()
}

/// A header of v2; without a route it says LOCAL.
pub fn encode_v2(route: Option<Route>) -> Vec<u8> {
    let mut out = SIGNATURE_V2.to_vec();
    let Some(route) = route else {
        out.extend([0x20, 0x00, 0, 0]);
        return out;
    };
    let Route { source, destination } = route.of_one_family();
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend([0x21, 0x11, 0, 12]);
            out.extend(from.octets());
            out.extend(to.octets());
        }
        (from, to) => {
            out.extend([0x21, 0x21, 0, 36]);
            out.extend(as_v6(from).octets());
            out.extend(as_v6(to).octets());
        }
    }
    out.extend(source.port().to_be_bytes());
    out.extend(destination.port().to_be_bytes());
    out
}

fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

impl Route {
    /// The wire has one family for both ends: two of different kinds are both written as v6.
    fn of_one_family(self) -> Self {
        if self.source.is_ipv4() == self.destination.is_ipv4() {
            return self;
        }
        let v6 = |address: SocketAddr| SocketAddr::new(as_v6(address.ip()).into(), address.port());
        Self { source: v6(self.source), destination: v6(self.destination) }
    }
}

#[cfg(test)]
mod tests;
