//! Entry points for fuzzing: whatever comes from outside, with nothing around it.
//!
//! Each takes any bytes and must return. `tests/fuzz` drives them with a coverage-guided fuzzer,
//! `tests/garbage.rs` for some seconds with random and mutated input; TLS has its own, in
//! [`crate::net::tls::fuzz`]. Not for use elsewhere.

use crate::metrics::SessionCounters;
use crate::net::proxy_header;
use crate::session::judge::Judge;
use crate::session::lane::Lane;
use crate::session::link::LinkId;
use crate::session::numbering::Plain;
use crate::session::{Directory, Session};
use crate::sql::analysis::{Class, analyse};
use crate::sql::{Modes, digest, ids};
use crate::wire::authentication::Told;
use crate::wire::handshake::{Greeting, LoginResponse};
use crate::wire::id::{SessionId, ThreadId};
use crate::wire::packet::{Framer, Step};
use crate::wire::response::Dialect;

/// Packets of either direction, in two pieces: the same packets as in one.
pub fn wire(data: &[u8]) {
    let cut = data.first().map_or(0, |at| usize::from(*at).min(data.len()));
    let whole = walk(&mut Framer::default(), &[data]);
    let pieces = walk(&mut Framer::default(), &[&data[..cut], &data[cut..]]);
    assert_eq!(whole, pieces, "a stream in pieces is another stream");
}

/// What servers and clients say before the first command.
pub fn login(data: &[u8]) {
    if let Ok(greeting) = Greeting::parse(data) {
        let _ = Greeting::parse(&greeting.encode());
    }
    if let Ok(response) = LoginResponse::parse(data) {
        response.attributes();
        let again = LoginResponse::parse(&response.encode());
        assert_eq!(again.as_ref(), Ok(&response), "a login response is another after a round trip");
        let mut altered = response;
        altered.take_zstd_level();
        let plain = LoginResponse::parse(&altered.encode());
        assert_eq!(plain.as_ref(), Ok(&altered), "one without a level is another");
        altered.put_zstd_level(3);
    }
    for factors in [false, true] {
        let _ = Told::parse(data, factors);
    }
}

/// Statements.
pub fn sql(data: &[u8]) {
    let kind = crate::sql::inspect(data);
    ids::are_likely(&kind, data);
    for extent in [ids::Extent::Whole, ids::Extent::Beginning] {
        ids::connections(data, extent);
        for modes in [Modes::USUAL, Modes::default()] {
            let analysis = analyse(data, extent, modes);
            let is_read = analysis.class == Class::Read;
            assert!(!is_read || extent == ids::Extent::Whole, "a beginning is no read");
            digest::digest(data, extent, modes);
            let shape = digest::shape(data, extent, modes);
            assert!(shape.len() <= digest::LONGEST_TEXT, "a shape is too long");
        }
    }
}

/// A whole session: the first byte chooses the dialect, the others go to and fro.
pub fn session(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let dialect = Dialect {
        deprecate_eof: choice & 1 != 0,
        metadata_flag: choice & 2 != 0,
        progress: choice & 4 != 0,
    };
    let mut session = Session::logging_in(dialect, choice & 8 != 0, b"u", b"d");
    let counters = SessionCounters::default();
    // The log-in succeeds.
    session.handle_server(LinkId::HOME, b"\x07\0\0\x02\0\0\0\x02\0\0\0", &counters);
    let (mut up, mut down) = (Lane::default(), Lane::default());
    for (at, piece) in data.chunks(31).enumerate() {
        let lane = if at % 2 == 0 { &mut up } else { &mut down };
        if lane.room().len() < piece.len() {
            return;
        }
        lane.room()[..piece.len()].copy_from_slice(piece);
        lane.filled(piece.len());
        let (client, server, numbering) = (&mut Plain, &mut Plain, &mut None);
        let mut judge =
            Judge { session: &mut session, numbering, client, server, counters: &counters };
        match at % 2 {
            0 => {
                judge.up(lane, &Nobody);
            }
            _ => judge.down(LinkId::HOME, lane),
        }
        lane.written(lane.pending().len());
    }
    session.conversation().injection_sequence();
}

/// What stands before a log-in: a PROXY header, whole, and cut where the first byte says.
pub fn proxy_header(data: &[u8]) {
    let Some((cut, data)) = data.split_first() else { return };
    let whole = proxy_header::parse(data);
    let part = proxy_header::parse(&data[..usize::from(*cut).min(data.len())]);
    let waits = matches!(part, Ok(proxy_header::Opening::More(1..)));
    assert!(waits || part == whole, "a header in pieces is another header");
    if let Ok(proxy_header::Opening::Header(header, length)) = whole {
        assert!(length <= data.len(), "a header is longer than what there is");
        for bytes in
            [proxy_header::encode_v1(header.route()), proxy_header::encode_v2(header.route())]
        {
            let again = proxy_header::parse(&bytes);
            assert!(matches!(again, Ok(proxy_header::Opening::Header(..))), "ours is none");
        }
    }
}

/// Messages of a handover.
pub fn handover(data: &[u8]) {
    crate::restart::fuzz(data);
}

struct Nobody;

impl Directory for Nobody {
    fn server_thread(&self, connection: SessionId) -> Option<ThreadId> {
        Some(ThreadId(connection.0 ^ 1))
    }
}

/// Lengths and numbers of all packets.
fn walk(framer: &mut Framer, pieces: &[&[u8]]) -> Vec<(usize, u8)> {
    let (mut kept, mut found) = (Vec::new(), Vec::new());
    for piece in pieces {
        kept.extend_from_slice(piece);
        let mut at = 0;
        while let Step::Packet(start) = framer.next(&kept, &mut at, |_, _| 22) {
            found.push((start.header.length, start.header.sequence));
        }
        kept.drain(..at);
    }
    found
}
