//! No input panics: records, snapshots, handshakes.

use odp::net::tls::fuzz;
use odp::net::tls::handshake::{Handshake, Step};
use odp::net::tls::keys::Version;
use odp::net::tls::record::Role;
use proptest::prelude::*;

use crate::forger::records;
use crate::support::{cells, client_config, localhost, server_config};

/// A session that is well-formed in the eyes of `fuzz::record`.
fn stretches() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![Just(0_u8), Just(20), Just(21), Just(22), Just(23), any::<u8>()];
    let content = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..80),
        Just(vec![24, 0, 0, 1, 0]),
        Just(vec![24, 0, 0, 1, 1]),
        Just(vec![4, 0, 0, 9, 1]),
        Just(vec![1, 0]),
        Just(vec![23, 3, 3, 0, 30]),
    ];
    prop::collection::vec((kind, content), 0..12).prop_map(|stretches| {
        let fold = |(kind, content): (u8, Vec<u8>)| [vec![kind, content.len() as u8], content];
        stretches.into_iter().flat_map(fold).flatten().collect()
    })
}

/// What a good rustls peer would send first, cut and altered.
fn altered(mut first: Vec<u8>, alterations: &[(usize, u8)], cut: usize) -> Vec<u8> {
    for (at, with) in alterations {
        let at = at % first.len();
        first[at] = *with;
    }
    first.truncate(1 + cut % first.len());
    first
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_record_panics(choice in any::<[u8; 2]>(), rest in stretches()) {
        fuzz::record(&[&choice[..], &rest].concat());
    }

    #[test]
    fn no_bytes_panic(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz::record(&data);
        fuzz::snapshot(&data);
    }

    #[test]
    fn no_snapshot_panics(at in any::<usize>(), with in any::<u8>()) {
        let state = records(Version::Tls13, Role::Server).state();
        let text = serde_json::to_vec(&state).expect("JSON");
        let alterations = [(at, b'0' + with % 10)];
        let whole = text.len() - 1;
        fuzz::snapshot(&altered(text, &alterations, whole));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// rustls is trusted with that; how we feed it is not.
    #[test]
    fn no_handshake_panics(
        cell in 0..6_usize,
        alterations in prop::collection::vec((any::<usize>(), any::<u8>()), 0..4),
        cut in any::<usize>(),
        piece in 1..400_usize,
    ) {
        let cell = cells()[cell];
        let mut client = Handshake::connect(&client_config(cell), localhost()).expect("a client");
        prop_assert_eq!(client.step().ok(), Some(Step::Read));
        let hello = std::mem::take(&mut client.output);
        let mut server = Handshake::accept(&server_config(cell), &hello).expect("a server");
        prop_assert_eq!(server.step().ok(), Some(Step::Read));
        let flight = altered(std::mem::take(&mut server.output), &alterations, cut);
        for piece in flight.chunks(piece) {
            client.handle_input(piece).expect("not too much");
            if client.step().is_err() {
                break;
            }
        }
        let answer = [client.output, altered(hello, &alterations, cut)].concat();
        for piece in altered(answer, &alterations, cut).chunks(piece) {
            server.handle_input(piece).expect("not too much");
            if server.step().is_err() {
                break;
            }
        }
        let mut server = Handshake::accept(&server_config(cell), &[]).expect("a server");
        server.handle_input(&flight).expect("not too much");
        let _ = server.step();
    }
}
