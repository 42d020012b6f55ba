//! Three members of a replication group: one takes writes, the others are read from, and the group
//! elects another.

use crate::scene::{open, route, show, until_route};
use crate::support::database::PASSWORD;
use crate::support::proxy::Options;
use crate::support::{Database, Proxy, Server, Wire, free_ports, until};

const OPTIONS: [&str; 6] = [
    "--plugin-load-add=group_replication.so",
    "--log-bin=log",
    "--gtid-mode=ON",
    "--enforce-gtid-consistency=ON",
    "--report-host=127.0.0.1",
    "--group-replication-start-on-boot=OFF",
];

fn members() -> Option<[Database; 3]> {
    let ports: [u16; 3] = free_ports();
    let seeds: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let start = |place: usize| {
        let own = [
            format!("--server-id={}", place + 1),
            format!("--group-replication-local-address={}", seeds[place]),
            format!("--group-replication-group-seeds={}", seeds.join(",")),
            "--group-replication-group-name=6b1c1b3e-5c2f-4a0d-9d1e-0242ac120003".into(),
            "--group-replication-member-expel-timeout=5".into(),
            "--group-replication-recovery-get-public-key=ON".into(),
        ];
        let own = own.iter().map(String::as_str);
        let options: Vec<&str> = OPTIONS.into_iter().chain(own).collect();
        let member = Database::start_with(Server::MySql, &options)?;
        // What each has of its own accord is no part of the group's history.
        member.execute(&[
            "RESET BINARY LOGS AND GTIDS",
            &format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_USER = 'odp', SOURCE_PASSWORD = '{PASSWORD}' \
                 FOR CHANNEL 'group_replication_recovery'"
            ),
        ]);
        Some(member)
    };
    let members = [start(0)?, start(1)?, start(2)?];
    members[0].execute(&[
        "SET GLOBAL group_replication_bootstrap_group = ON",
        "START GROUP_REPLICATION",
        "SET GLOBAL group_replication_bootstrap_group = OFF",
    ]);
    for joining in &members[1..] {
        joining.execute(&["START GROUP_REPLICATION"]);
    }
    Some(members)
}

fn write(proxy: &Proxy) -> Option<u16> {
    let mut wire = open(proxy, "odp").ok()?;
    // In an election a connection may end at any time.
    let reply = wire.try_query("REPLACE INTO p.t VALUES (1)").ok()?;
    if reply.error().is_some() {
        return None;
    }
    let reply = wire.try_query("SELECT @@port").ok()?;
    reply.error().is_none().then(|| reply.text().parse().expect("a port"))
}

/// Where the statement went that an operator is shown first, a read.
fn read_on(proxy: &Proxy, wire: &mut Wire) -> String {
    // Of the table a member may hear a moment later.
    let _ = wire.query("SELECT n FROM p.t");
    show(proxy, "PROXYTRACE")[0]["server"].clone()
}

#[test]
fn a_group_is_followed_to_whom_it_elects() {
    let Some(mut members) = members() else { return };
    members[0].execute(&["CREATE TABLE p.t (n INT PRIMARY KEY)"]);
    let addresses = members.each_ref().map(Database::address);
    // The primary is not the first.
    let mut options =
        Options::new(&[&addresses[1], &addresses[2], &addresses[0]].map(String::clone));
    options.proxy = "server_detect_refresh_interval = \"100ms\"".into();
    options.cluster = format!(
        "service_user = \"odp\"\nservice_password = \"{PASSWORD}\"\nread_write_split = \"on\"\n"
    );
    options.rest = format!("[[cluster.user]]\nname = \"odp\"\npassword = \"{PASSWORD}\"\n");
    let proxy = Proxy::start_with(&options);
    until_route(&proxy, &addresses[0], "role", "primary");
    until_route(&proxy, &addresses[1], "role", "replica");
    until_route(&proxy, &addresses[2], "role", "replica");
    let first = until("the primary to take writes", || write(&proxy));
    assert_eq!(first, members[0].port);
    let mut reader = open(&proxy, "odp").expect("the proxy takes clients");
    until("a member to be read from that takes no writes", || {
        let there = read_on(&proxy, &mut reader);
        addresses[1..].contains(&there).then_some(())
    });
    let before = route(&proxy, &addresses[0])["epoch"].clone();
    members[0].kill9();
    let elected = until("another member to take writes", || write(&proxy));
    let at = members.iter().position(|member| member.port == elected).expect("one of them");
    assert_ne!(at, 0);
    until_route(&proxy, &addresses[at], "role", "primary");
    assert_ne!(route(&proxy, &addresses[at])["epoch"], before);
    // It comes back and takes writes, but not as one of the group: nobody may use it.
    members[0].start_again();
    members[0].execute(&["SET GLOBAL super_read_only = OFF", "SET GLOBAL read_only = OFF"]);
    until_route(&proxy, &addresses[0], "state", "online");
    assert_eq!(route(&proxy, &addresses[0])["role"], "unknown");
    assert_eq!(until("a member to take writes", || write(&proxy)), elected);
}
