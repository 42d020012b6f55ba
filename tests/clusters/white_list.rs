//! Who may log in from where.

use std::io::Write as _;
use std::os::unix::net::UnixStream;

use odp::net::proxy_header::{Route, encode_v2};

use crate::scene::{change_user, named, open, refused, show};
use crate::support::proxy::Options;
use crate::support::relay::connect_from;
use crate::support::{Database, Login, Proxy, Server, Wire, scratch};

const ROWS: &str = "
[[white_list]]
cluster = \"main\"
user = \"odp\"
networks = [\"10.0.0.0/8\", \"localhost\"]
[[white_list]]
user = \"local\"
networks = [\"127.0.0.1/32\"]
";

#[test]
fn who_is_named_must_come_from_there() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    database.execute(&[
        "CREATE USER local IDENTIFIED BY 'odp-secret'",
        "CREATE USER free IDENTIFIED BY 'odp-secret'",
    ]);
    let dir = scratch();
    let socket = dir.path().join("odp");
    let mut options = Options::new(&[database.address()]);
    options.listen.push(format!("unix:{}", socket.display()));
    options.proxy = "proxy_protocol_networks = [\"127.0.0.2/32\"]".into();
    options.rest = ROWS.into();
    let proxy = Proxy::start_with(&options);
    let denied = "Access denied for user 'odp'@'127.0.0.1' (using password: YES)";
    assert_eq!(refused(open(&proxy, "odp")), (1045, denied.to_owned()));
    let mut local = open(&proxy, "local").expect("it comes from there");
    let mut free = open(&proxy, "free").expect("nobody names it");
    Wire::open_unix(&socket, &named("odp")).expect("a socket is localhost");
    let denied = "Access denied for user 'local'@'localhost' (using password: YES)";
    assert_eq!(refused(Wire::open_unix(&socket, &named("local"))), (1045, denied.to_owned()));
    // A header's address is the client's.
    let behind = |address: &str| {
        let parse = |text: &str| text.parse().expect("an address");
        let (source, destination) = (parse(address), parse("10.9.9.9:3306"));
        let mut stream = connect_from("127.0.0.2", &proxy.address());
        let header = encode_v2(Some(Route { source, destination }));
        stream.write_all(&header).expect("it is taken");
        Wire::over(stream).expect("a greeting").log_in(&Login::default())
    };
    behind("10.1.2.3:4000").expect("it comes from there");
    let denied = "Access denied for user 'odp'@'11.1.2.3' (using password: YES)";
    assert_eq!(refused(behind("11.1.2.3:4000")), (1045, denied.to_owned()));
    // Nobody becomes by COM_CHANGE_USER whom he could not log in as.
    let denied = "Access denied for user 'odp'@'127.0.0.1' (using password: YES)";
    assert_eq!(change_user(&mut free, "local"), None, "it may");
    assert_eq!(change_user(&mut local, "odp"), Some((1045, denied.to_owned())));
    assert_eq!(local.until_closed(), b"");
    let rows = show(&proxy, "WHITE LIST");
    let row = |row: usize, name: &str| rows[row][name].clone();
    assert_eq!(rows.len(), 2);
    assert_eq!((row(0, "cluster_name"), row(0, "user_name")), ("main".into(), "odp".into()));
    assert_eq!(row(0, "ip_list"), "10.0.0.0/8,localhost");
    assert_eq!((row(1, "tenant_name"), row(1, "ip_list")), ("".into(), "127.0.0.1".into()));
    drop(UnixStream::connect(&socket));
}
