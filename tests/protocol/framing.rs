//! c1: packets, sequence numbers and the edges of 16 MiB. P-01 to P-13.

use crate::support::{Stage, com};

/// P-09. A zero-length packet is an unknown command; the session lives.
fn p_09_zero_length_packet(stage: &Stage) {
    let mut wire = stage.open();
    wire.send(&[0, 0, 0, 0]).expect("it takes a packet");
    assert_eq!(wire.packet().error(), Some(1047));
    assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
    assert_eq!(wire.ask(com::PING, b"").error(), None);
}
on!(p_09_zero_length_packet: mariadb, mysql);
