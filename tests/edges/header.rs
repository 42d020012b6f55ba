//! PROXY headers: what clients and balancers may say, and what servers are told.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;

use odp::net::proxy_header::{Route, encode_v1, encode_v2};

use crate::support::pki::Pki;
use crate::support::proxy::{ADMIN_PASSWORD, Options, haproxy, is_haproxy, with_lines};
use crate::support::raw::{Login, Wire, WireError};
use crate::support::relay::{Relay, connect_from};
use crate::support::{Database, Process, Proxy, Server, free_port, scratch, until};
use crate::{open_from, shown};

const TRUSTED: &str = "proxy_protocol_networks = [\"127.0.0.0/30\", \"localhost\"]";

fn route(source: &str, destination: &str) -> Route {
    let address = |text: &str| -> SocketAddr { text.parse().expect("an address") };
    Route { source: address(source), destination: address(destination) }
}

fn log_in_behind(header: &[u8], address: &str) -> Result<Wire, WireError> {
    let mut stream = connect_from("127.0.0.1", address);
    stream.write_all(header)?;
    Wire::over(stream)?.log_in(&Login::default())
}

/// What a client is told that sends this before its log-in.
fn refused(stream: TcpStream, header: &[u8]) -> (u16, String) {
    let mut wire = Wire::over(stream).expect("everybody is greeted");
    wire.send(header).expect("it is taken");
    let packet = wire.packet();
    assert_eq!(packet.sequence, 2, "the answer to the first packet");
    let text = String::from_utf8_lossy(&packet.payload[9..]).into_owned();
    assert_eq!(wire.until_closed(), b"");
    (packet.error().expect("an error"), text)
}

#[test]
fn a_trusted_peer_tells_for_whom_it_comes() {
    let Some((_database, proxy)) = with_lines(TRUSTED) else { return };
    let address = proxy.address();
    let v4 = route("10.1.2.3:4000", "10.9.9.9:3306");
    let v6 = route("[2001:db8::1]:4001", "[2001:db8::2]:3306");
    let mapped = route("[::ffff:10.1.2.4]:4002", "[::ffff:10.9.9.9]:3306");
    let unix = [b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8", &[b'/'; 216][..]].concat();
    let headers: [(&[u8], &str); 6] = [
        (&encode_v1(Some(v4)), "10.1.2.3:4000"),
        (&encode_v2(Some(v4)), "10.1.2.3:4000"),
        (&encode_v1(Some(v6)), "[2001:db8::1]:4001"),
        (&encode_v2(Some(v6)), "[2001:db8::1]:4001"),
        (&encode_v2(Some(mapped)), "10.1.2.4:4002"),
        (&unix, "unix"),
    ];
    let mut held = Vec::new();
    for (header, expected) in headers {
        let mut wire = log_in_behind(header, &address).expect(expected);
        assert_eq!(wire.query("SELECT 'in'").text(), "in");
        held.push(wire);
        assert!(shown(&proxy, "Host").contains(&expected.into()), "{expected}");
    }
    // A connection of the balancer's own, and one that says nothing, have their peer's address.
    for header in [&encode_v1(None)[..], &encode_v2(None), b""] {
        let wire = log_in_behind(header, &address).expect("its own");
        let peer = wire.tcp().local_addr().expect("it is connected").to_string();
        assert!(shown(&proxy, "Host").contains(&peer), "{peer}");
    }
    // It moves with the session.
    proxy.restart();
    let hosts = shown(&proxy, "Host");
    for (_, expected) in headers {
        assert!(hosts.contains(&expected.into()), "{expected} is not in {hosts:?}");
    }
    assert_eq!(held[0].query("SELECT 'still in'").text(), "still in");
}

#[test]
fn a_header_may_come_byte_by_byte() {
    let Some((_database, proxy)) = with_lines(TRUSTED) else { return };
    for header in [encode_v1, encode_v2] {
        let client = route("10.1.2.3:4000", "10.9.9.9:3306");
        let stream = connect_from("127.0.0.1", &proxy.address());
        stream.set_nodelay(true).expect("an option");
        let mut wire = Wire::over(stream).expect("a greeting");
        let response = wire.login_response(&Login::default()).encode();
        let packet = crate::support::raw::packets(&response, 1);
        for byte in [header(Some(client)), packet].concat() {
            wire.send(&[byte]).expect("it is taken");
        }
        let _held = wire.finish_log_in().expect("log in");
        assert!(shown(&proxy, "Host").contains(&"10.1.2.3:4000".into()));
    }
}

#[test]
fn a_unix_socket_is_localhost() {
    if is_haproxy() {
        return;
    }
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let dir = scratch();
    let socket = dir.path().join("odp");
    let mut options = Options::new(&[database.address()]);
    options.listen.push(format!("unix:{}", socket.display()));
    options.proxy = "proxy_protocol_networks = [\"localhost\"]".into();
    let proxy = Proxy::start_with(&options);
    let mut stream = UnixStream::connect(&socket).expect("somebody listens");
    let header = encode_v1(Some(route("10.1.2.3:4000", "10.9.9.9:3306")));
    stream.write_all(&header).expect("it is taken");
    let _held = Wire::over_unix(stream).expect("a greeting").log_in(&Login::default());
    assert_eq!(shown(&proxy, "Host"), ["10.1.2.3:4000"]);
    let (code, _) = refused(connect_from("127.0.0.1", &proxy.address()), &header);
    assert_eq!(code, 1130, "TCP is not localhost");
}

#[test]
fn a_header_of_others_is_refused() {
    let Some((_database, proxy)) = with_lines(TRUSTED) else { return };
    let client = Some(route("10.1.2.3:4000", "10.9.9.9:3306"));
    for header in [encode_v1(client), encode_v2(client), encode_v1(None), b"PROXY ".to_vec()] {
        let (code, text) = refused(connect_from("127.0.0.9", &proxy.address()), &header);
        assert_eq!(code, 1130);
        assert_eq!(text, "Proxy header is not accepted from 127.0.0.9");
    }
    let mut wire = open_from("127.0.0.9", &proxy).expect("without one it comes in");
    assert_eq!(wire.query("SELECT 'in'").text(), "in");
    assert!(proxy.log().contains("Proxy header is not accepted from 127.0.0.9"), "it is logged");
    // The list can be changed while the proxy runs.
    let mut admin = proxy.admin().expect("the admin port takes us");
    let change = "ALTER PROXYCONFIG SET proxy_protocol_networks = '127.0.0.9,::1'";
    assert_eq!(admin.query(change).error(), None);
    let mut stream = connect_from("127.0.0.9", &proxy.address());
    stream.write_all(&encode_v2(client)).expect("it is taken");
    let _held = Wire::over(stream).expect("a greeting").log_in(&Login::default()).expect("in");
    assert!(shown(&proxy, "Host").contains(&"10.1.2.3:4000".into()));
}

#[test]
fn a_spoilt_header_is_refused() {
    let lines = format!("{TRUSTED}\nlogin_timeout = \"2s\"");
    let Some((_database, proxy)) = with_lines(&lines) else { return };
    let spoilt: [&[u8]; 6] = [
        b"PROXY TCP4 10.1.2.3 10.9.9.9 4000\r\n",
        b"PROXY TCP4 10.1.2.300 10.9.9.9 4000 3306\r\n",
        &[b"PROXY UNKNOWN ", &[b'x'; 100][..]].concat(),
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\x0a\x01\x02\x03\x0a\x09\x09\x09\x0f\xa0\x0c\xea",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04\x0a\x01\x02\x03",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    ];
    for header in spoilt {
        let (code, text) = refused(connect_from("127.0.0.1", &proxy.address()), header);
        assert_eq!((code, &*text), (1105, "Failed to parse proxy header"), "{header:?}");
    }
    // One that does not end, and what is neither a header nor a packet.
    let (code, _) = refused(connect_from("127.0.0.1", &proxy.address()), b"PROXY TCP4 10.1.2.3");
    assert_eq!(code, 1159, "login_timeout");
    let (code, _) = refused(connect_from("127.0.0.1", &proxy.address()), b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(code, 1043);
}

#[test]
fn the_admin_port_takes_headers_too() {
    let Some((_database, proxy)) = with_lines(TRUSTED) else { return };
    let login = Login {
        user: "watch".into(),
        password: ADMIN_PASSWORD.into(),
        database: None,
        ..Login::default()
    };
    let client = Some(route("10.1.2.3:4000", "10.9.9.9:2885"));
    for header in [encode_v1(client), encode_v2(client), encode_v2(None)] {
        let mut stream = connect_from("127.0.0.1", &proxy.admin_address());
        stream.write_all(&header).expect("it is taken");
        let mut wire = Wire::over(stream).expect("a greeting").log_in(&login).expect("log in");
        assert_eq!(wire.query("PING PROXY").error(), None);
    }
    let wrong = Login { password: "wrong".into(), ..login };
    let mut stream = connect_from("127.0.0.1", &proxy.admin_address());
    stream.write_all(&encode_v1(client)).expect("it is taken");
    let error = Wire::over(stream).expect("a greeting").log_in(&wrong).err().expect("refused");
    let WireError::Refused(packet) = error else { panic!("{error:?}") };
    let text = String::from_utf8_lossy(&packet.payload).into_owned();
    assert!(text.contains("'watch'@'10.1.2.3'"), "{text}");
    let (code, _) = refused(connect_from("127.0.0.9", &proxy.admin_address()), &encode_v1(client));
    assert_eq!(code, 1130);
    let (code, _) = refused(connect_from("127.0.0.1", &proxy.admin_address()), b"PROXY x\r\n");
    assert_eq!(code, 1105);
}

/// The header comes before TLS.
#[test]
fn a_header_comes_before_tls() {
    if is_haproxy() {
        return;
    }
    let takes = ["--proxy-protocol-networks=127.0.0.1"];
    let Some(database) = Database::start_with(Server::MariaDb, &takes) else { return };
    let dir = scratch();
    let files = Pki::new().write(dir.path());
    let mut options = Options::new(&[database.address()]);
    options.proxy = TRUSTED.into();
    options.cluster = "proxy_protocol = \"v2\"".into();
    let (certificate, key) = (files.server.display(), files.server_key.display());
    options.rest = format!(
        "[tls.client]\nmode = \"require\"\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n"
    );
    let proxy = Proxy::start_with(&options);
    let client = Some(route("10.1.2.3:4000", "10.9.9.9:3306"));
    for header in [encode_v1(client), encode_v2(client)] {
        let detour = Relay::detour(proxy.address(), "127.0.0.1", header);
        let (_, port) = detour.address.rsplit_once(':').expect("a port");
        let output = Command::new("mariadb")
            .args(["--no-defaults", "--protocol=tcp", "-h127.0.0.1", "-N", "-uodp", "-podp-secret"])
            .args([format!("-P{port}"), format!("--ssl-ca={}", files.ca.display())])
            .args(["-e", "SELECT USER()"])
            .output()
            .expect("the client is installed");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "odp@10.1.2.3\n", "{error}");
    }
}

/// HAProxy's own headers, and ours to MariaDB: the server sees the client through both.
#[test]
fn a_client_is_seen_through_haproxy_and_us() {
    for (send, out) in [("send-proxy", "v2"), ("send-proxy-v2", "v1")] {
        let Some((_database, proxy)) = telling_proxy(out, TRUSTED) else { return };
        let port = free_port();
        let dir = scratch();
        let config = dir.path().join("haproxy.cfg");
        let command = haproxy(&config, port, &format!("{} {send}", proxy.address()));
        let _haproxy = Process::spawn("haproxy", command, &dir.path().join("haproxy.log"));
        let address = format!("127.0.0.1:{port}");
        until("haproxy to listen", || TcpStream::connect(&address).ok());
        let stream = connect_from("127.0.0.77", &address);
        let host = stream.local_addr().expect("it is connected").to_string();
        let mut wire =
            Wire::over(stream).expect("a greeting").log_in(&Login::default()).expect("log in");
        assert_eq!(wire.query("SELECT USER()").text(), "odp@127.0.0.77", "{send}");
        assert!(shown(&proxy, "Host").contains(&host), "{host}");
    }
}

/// A MariaDB that takes headers of ours, and a proxy that sends them.
fn telling_proxy(out: &str, lines: &str) -> Option<(Database, Proxy)> {
    if is_haproxy() {
        return None;
    }
    let options = ["--proxy-protocol-networks=127.0.0.1"];
    let database = Database::start_with(Server::MariaDb, &options)?;
    let mut options = Options::new(&[database.address()]);
    options.cluster = format!("proxy_protocol = \"{out}\"");
    options.proxy = lines.into();
    let proxy = Proxy::start_with(&options);
    Some((database, proxy))
}

#[test]
fn the_server_is_told_the_clients_address() {
    for out in ["v1", "v2"] {
        let Some((database, proxy)) = telling_proxy(out, TRUSTED) else { return };
        // The very first client, before the server was ever heard, too.
        let mut wire = open_from("127.0.0.55", &proxy).expect("log in");
        let local = wire.tcp().local_addr().expect("it is connected");
        assert_eq!(wire.query("SELECT USER()").text(), "odp@127.0.0.55");
        let mut admin = database.admin();
        let query = "SELECT host FROM information_schema.processlist WHERE user = 'odp' \
                     AND host <> 'localhost'";
        assert_eq!(admin.query(query).text(), local.to_string(), "{out}");
        for (client, expected) in [
            (route("10.1.2.3:4000", "10.9.9.9:3306"), "odp@10.1.2.3"),
            (route("[2001:db8::1]:4001", "[2001:db8::2]:3306"), "odp@2001:db8::1"),
        ] {
            let mut wire = log_in_behind(&encode_v2(Some(client)), &proxy.address()).expect("in");
            assert_eq!(wire.query("SELECT USER()").text(), expected, "{out}");
        }
        proxy.restart();
        assert_eq!(wire.query("SELECT USER()").text(), "odp@127.0.0.55");
        let mut after = open_from("127.0.0.56", &proxy).expect("log in after the restart");
        assert_eq!(after.query("SELECT USER()").text(), "odp@127.0.0.56");
    }
}
