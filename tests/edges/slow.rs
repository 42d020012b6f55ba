//! Clients that are slow to log in cost little, hold few server connections and none for long, and
//! are told when their time is over; others come in meanwhile.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::support::proxy::with_lines;
use crate::support::raw::{Login, Wire, packets};
use crate::support::{LIMIT, Packet, until};

const SLOW: usize = 300;

/// So many of them may hold a server connection, or have one waiting for them.
const HOLDERS: usize = 64 + 16;

/// The code of the error packet that ends what a client was sent.
fn last_words(bytes: &[u8]) -> Option<u16> {
    let mut rest = bytes;
    let mut last = None;
    while let Some((header, behind)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
        let payload = behind.get(..length)?.to_vec();
        last = Some(Packet { sequence: header[3], first: length, payload });
        rest = &behind[length..];
    }
    last.and_then(|packet| packet.error())
}

/// How many the server has.
fn connections(admin: &mut Wire) -> usize {
    let count = "SELECT COUNT(*) FROM information_schema.processlist WHERE host <> 'localhost'";
    admin.query(count).text().parse().expect("a number")
}

#[test]
fn hundreds_of_slow_clients_harm_nobody() {
    let Some((database, proxy)) = with_lines("login_timeout = \"12s\"") else { return };
    let mut wire = Wire::connect(&proxy.address()).expect("a greeting");
    let response = packets(&wire.login_response(&Login::default()).encode(), 1);
    drop(wire);
    let connect = |_| TcpStream::connect(proxy.address()).expect("the proxy listens");
    let mut slow: Vec<TcpStream> = (0..SLOW).map(connect).collect();
    let mut admin = database.admin();
    for byte in &response[..20] {
        // Half of them are silent, the others say a byte now and then.
        for stream in &mut slow[SLOW / 2..] {
            // On a slow machine its time may be over already.
            let _ = stream.write_all(&[*byte]);
        }
        let mut good = Wire::open(&proxy.address(), &Login::default()).expect("log in");
        assert_eq!(good.query("SELECT 'in'").text(), "in");
        let connections = connections(&mut admin);
        assert!(connections < HOLDERS + 10, "{connections} connections to the server");
    }
    // Before their log-ins are over.
    let few = |admin: &mut Wire| (connections(admin) < 10).then_some(());
    until("the server connections to be given back", || few(&mut admin));
    for stream in &mut slow {
        stream.set_read_timeout(Some(LIMIT)).expect("an option");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("it is closed in order");
        assert_eq!(last_words(&bytes), Some(1159), "login_timeout");
    }
}
