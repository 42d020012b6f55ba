//! Topologies for tests, from a line each: `A=p B=r,draining,idc=x,region=y,weight=7,lag=3 C`.
//!
//! A server is a letter, its address; `=p`, `=r`, `=u` is what it was found to be, `peer` that it
//! takes writes all the same. Those of the config go from `A` on: `A` is server 0.

use std::time::{Duration, Instant};

use super::topology::{ConfiguredRole, Epoch, FoundRole, Lag, Member, Server, ServerId, Topology};

/// The server of a letter.
pub(super) fn id(letter: &str) -> ServerId {
    ServerId(u32::from(letter.as_bytes()[0] - b'A'))
}

/// The letter of a server.
pub(super) fn letter(id: ServerId) -> char {
    char::from(b'A' + u8::try_from(id.0).expect("tests have few servers"))
}

/// The letters of servers.
pub(super) fn letters(ids: &[ServerId]) -> String {
    ids.iter().copied().map(letter).collect()
}

/// A server of the config with nothing said of it.
pub(super) fn member(letter: &str) -> Member {
    Member {
        id: id(letter),
        address: letter.into(),
        role: ConfiguredRole::Auto,
        idc: "".into(),
        region: "".into(),
        weight: 100,
    }
}

/// The topology of a line, lags learned just now.
pub(super) fn topology(text: &str, epoch: u64, now: Instant) -> Topology {
    let servers = text.split_whitespace().map(|word| server(word, now)).collect();
    Topology::new(servers, Epoch(epoch))
}

fn server(word: &str, now: Instant) -> Server {
    let (letter, said) = word.split_once('=').unwrap_or((word, "u"));
    let mut server = Server::new(member(letter));
    for part in said.split(',') {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let number = || value.parse::<u32>().expect("a number");
        match key {
            "p" => server.found = FoundRole::Primary,
            "r" => server.found = FoundRole::Replica,
            "u" => server.found = FoundRole::Unknown,
            "peer" => server.is_peer = true,
            "draining" => server.is_draining = true,
            "lost" => server.is_lost = true,
            "stopped" => server.lag = Lag::Unknown,
            "lag" => {
                let by = Duration::from_secs(number().into());
                server.lag = Lag::Behind { by, known_at: now };
            }
            "weight" => server.member.weight = number(),
            "idc" => server.member.idc = value.into(),
            "region" => server.member.region = value.into(),
            other => panic!("{other} in {word}"),
        }
    }
    server
}
