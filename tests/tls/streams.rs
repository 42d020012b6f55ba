//! TLS over real sockets: moved under load, under back pressure, at its end; resumption.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use odp::config::tls::{AcceptMode, ConnectMode, MinVersion, TlsAccept, TlsConnect, VerifyClient};
use odp::net::socket::Socket;
use odp::net::stream::{Parts, Stream};
use odp::net::tls::keys::Version;
use odp::net::tls::record::Update;
use odp::net::tls::settings::{Acceptor, Connector};
use odp::net::tls::stream::{TlsState, TlsStream};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::support::{Cell, PKI, cells, client_config, localhost, server_config};

const LIMIT: Duration = Duration::from_secs(20);

/// The files of the PKI, and what names them.
pub(crate) struct Files {
    pub directory: tempfile::TempDir,
    pub accept: TlsAccept,
    pub connect: TlsConnect,
}

pub(crate) fn files() -> Files {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("a file");
        Some(path)
    };
    let accept = TlsAccept {
        mode: AcceptMode::Require,
        certificate: write("server.pem", &PKI.server),
        key: write("server.key", &PKI.server_key),
        ca: write("ca.pem", &PKI.ca),
        ..TlsAccept::default()
    };
    let connect = TlsConnect {
        mode: ConnectMode::VerifyIdentity,
        ca: accept.ca.clone(),
        certificate: write("client.pem", &PKI.client),
        key: write("client.key", &PKI.client_key),
        ..TlsConnect::default()
    };
    Files { directory, accept, connect }
}

pub(crate) fn acceptor(section: &TlsAccept) -> Acceptor {
    Acceptor::load(section, "client").expect("good files").expect("TLS is on")
}

pub(crate) fn connector(section: &TlsConnect) -> Connector {
    Connector::load(section).expect("good files").expect("TLS is on")
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// As by a restart: to JSON and raw bytes, and back.
pub(crate) fn moved(stream: Stream) -> Stream {
    let (Parts { fd, tls }, _) = stream.into_parts().expect("a socket");
    let (state, bytes) = tls.expect("TLS");
    let text = serde_json::to_string(&state).expect("JSON");
    assert!(!format!("{state:?}").contains("[1"), "Debug shows no bytes of keys");
    let state: TlsState = serde_json::from_str(&text).expect("our JSON");
    Stream::from_parts(Parts { fd, tls: Some((state, bytes)) }).expect("our state")
}

fn boxed(stream: TlsStream) -> Stream {
    Stream::Tls(Box::new(stream))
}

/// Two ends of one session, both ours.
async fn pair() -> (Stream, Stream) {
    let files = files();
    let (left, right) = UnixStream::pair().expect("sockets");
    let (acceptor, connector) = (acceptor(&files.accept), connector(&files.connect));
    let name = Connector::server_name(None).expect("a name");
    let (server, client) = tokio::join!(
        TlsStream::accept(Socket::Unix(left.into()), &acceptor, &[], LIMIT),
        TlsStream::connect(Socket::Unix(right.into()), &connector, name, LIMIT),
    );
    (boxed(server.expect("a session")), boxed(client.expect("a session")))
}

/// A rustls client that sends, and wants to have back, so many bytes.
fn echo_client(address: SocketAddr, config: ClientConfig, total: usize) -> JoinHandle<()> {
    spawn_blocking(move || {
        let mut socket = std::net::TcpStream::connect(address).expect("a connection");
        socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let mut peer = ClientConnection::new(Arc::new(config), localhost()).expect("a client");
        let mut tls = rustls::Stream::new(&mut peer, &mut socket);
        let mut at = 0;
        while at < total {
            let length = (at % 30_011 + 1).min(total - at);
            let bytes: Vec<u8> = (at..at + length).map(|at| (at * 7 + at / 251) as u8).collect();
            tls.write_all(&bytes).expect("a write");
            let mut back = vec![0; length];
            tls.read_exact(&mut back).expect("an answer");
            assert_eq!(back, bytes);
            if at % 3 == 0 && tls.conn.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3)
            {
                tls.conn.refresh_traffic_keys().expect("new keys");
            }
            at += length;
        }
        tls.conn.send_close_notify();
        tls.conn.complete_io(tls.sock).expect("a write");
        let end = rustls::Stream::new(&mut peer, &mut socket).read(&mut [0; 8]);
        assert_eq!(end.expect("close_notify"), 0);
    })
}

async fn echo_and_move(mut stream: Stream) {
    // Shorter and longer than a record.
    for (round, size) in (0..).zip([16_320, 20_000, 100, 16_383].into_iter().cycle()) {
        let mut buffer = vec![0; size];
        let n = stream.read(&mut buffer).await.expect("bytes");
        if round % 2 == 0 {
            stream = moved(stream);
        }
        if n == 0 {
            break;
        }
        stream.write_all(&buffer[..n]).await.expect("room");
        stream.flush().await.expect("room");
        if round % 3 == 0 {
            stream = moved(stream);
        }
    }
    stream.shutdown().await.expect("close_notify");
    // The peer closes then, or has already.
    let _ = stream.read(&mut [0; 8]).await;
}

#[tokio::test]
async fn a_rustls_client_does_not_notice_moves() {
    for cell in cells() {
        let (listener, address) = listen().await;
        let client = echo_client(address, client_config(cell), 1 << 18);
        let (socket, _) = listener.accept().await.expect("a client");
        let files = files();
        let acceptor = acceptor(&files.accept);
        let stream = TlsStream::accept(Socket::Tcp(socket), &acceptor, &[], LIMIT).await;
        let stream = stream.expect("a session");
        let is_13 = cell.1 == &rustls::version::TLS13;
        assert_eq!(stream.version() == Version::Tls13, is_13);
        echo_and_move(boxed(stream)).await;
        client.await.expect("a happy client");
    }
}

#[tokio::test]
async fn what_was_taken_under_back_pressure_arrives_after_a_move() {
    let (mut server, mut client) = pair().await;
    let bytes: Vec<u8> = (0..4_000_000_u32).map(|at| (at / 3) as u8).collect();
    let mut sent = 0;
    // Until the socket is full.
    while let Ok(n) =
        tokio::time::timeout(Duration::from_millis(50), server.write(&bytes[sent..])).await
    {
        sent += n.expect("room");
        assert!(sent < bytes.len(), "the socket takes that much?");
    }
    let mut server = moved(server);
    let rest = &bytes[sent..];
    let writes = async {
        server.write_all(rest).await.expect("room");
        if let Stream::Tls(tls) = &mut server {
            tls.update_keys(Update::Both);
        }
        server.shutdown().await.expect("room");
    };
    let mut received = Vec::new();
    let (_, read) = tokio::join!(writes, client.read_to_end(&mut received));
    read.expect("everything");
    assert!(received == bytes, "{} of {} bytes", received.len(), bytes.len());
    // The other direction is still open, and ends with an answer to the KeyUpdate in between.
    client.write_all(b"bye").await.expect("room");
    client.shutdown().await.expect("room");
    let mut last = Vec::new();
    moved(server).read_to_end(&mut last).await.expect("the end");
    assert_eq!(last, b"bye");
}

#[tokio::test]
async fn a_record_cut_short_is_an_error_and_a_plain_end_is_not() {
    let (server, mut client) = pair().await;
    client.write_all(b"hello").await.expect("room");
    let (Parts { fd, tls }, _) = client.into_parts().expect("a socket");
    drop(tls);
    let mut socket = std::os::unix::net::UnixStream::from(fd);
    let mut server = moved(server);
    let mut buffer = [0; 64];
    assert_eq!(server.read(&mut buffer).await.expect("data"), 5);
    socket.write_all(&[23, 3, 3, 0, 40, 1, 2, 3]).expect("room");
    // Not closed: a Unix socket with unread bytes, here a ticket, would be reset.
    socket.shutdown(Shutdown::Write).expect("FIN");
    let error = server.read(&mut buffer).await.expect_err("half a record");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);

    let (mut server, client) = pair().await;
    let (Parts { fd, .. }, _) = client.into_parts().expect("a socket");
    let socket = std::os::unix::net::UnixStream::from(fd);
    socket.shutdown(Shutdown::Write).expect("FIN");
    assert_eq!(server.read(&mut buffer).await.expect("FIN"), 0);
}

#[tokio::test]
async fn bytes_read_before_the_handshake_count() {
    let (mut left, right) = UnixStream::pair().expect("sockets");
    let files = files();
    let (acceptor, connector) = (acceptor(&files.accept), connector(&files.connect));
    let name = Connector::server_name(None).expect("a name");
    let client = TlsStream::connect(Socket::Unix(right.into()), &connector, name, LIMIT);
    let server = async {
        let mut early = vec![0; 100];
        left.read_exact(&mut early).await.expect("the start of a ClientHello");
        TlsStream::accept(Socket::Unix(left.into()), &acceptor, &early, LIMIT).await
    };
    let (server, client) = tokio::join!(server, client);
    assert!(server.is_ok() && client.is_ok());
}

#[tokio::test]
async fn a_silent_peer_is_given_up() {
    let (left, _right) = UnixStream::pair().expect("sockets");
    let acceptor = acceptor(&files().accept);
    let limit = Duration::from_millis(20);
    let error = TlsStream::accept(Socket::Unix(left.into()), &acceptor, &[], limit).await;
    assert_eq!(error.expect_err("nobody there").to_string(), "TLS handshake: no end within 20ms");
}

/// One connect of rustls to us, with a byte each way; says whether it resumed.
async fn connect_theirs(acceptor: &Acceptor, config: Arc<ClientConfig>) -> HandshakeKind {
    let (listener, address) = listen().await;
    let client = spawn_blocking(move || {
        let mut socket = std::net::TcpStream::connect(address).expect("a connection");
        let mut peer = ClientConnection::new(config, localhost()).expect("a client");
        let mut tls = rustls::Stream::new(&mut peer, &mut socket);
        tls.write_all(b"?").expect("a write");
        tls.read_exact(&mut [0]).expect("an answer");
        peer.handshake_kind().expect("a handshake")
    });
    let (socket, _) = listener.accept().await.expect("a client");
    let stream = TlsStream::accept(Socket::Tcp(socket), acceptor, &[], LIMIT).await;
    let mut stream = boxed(stream.expect("a session"));
    stream.read_exact(&mut [0]).await.expect("a question");
    stream.write_all(b"!").await.expect("room");
    stream.flush().await.expect("room");
    client.await.expect("a happy client")
}

/// One connect of ours to rustls.
async fn connect_ours(connector: &Connector, config: Arc<ServerConfig>) -> HandshakeKind {
    let (listener, address) = listen().await;
    let listener = listener.into_std().expect("a listener");
    listener.set_nonblocking(false).expect("a listener");
    let server = spawn_blocking(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        let mut peer = ServerConnection::new(config).expect("a server");
        let mut tls = rustls::Stream::new(&mut peer, &mut socket);
        tls.read_exact(&mut [0]).expect("a question");
        tls.write_all(b"!").expect("a write");
        peer.handshake_kind().expect("a handshake")
    });
    let socket = TcpStream::connect(address).await.expect("a connection");
    let name = Connector::server_name(Some("127.0.0.1")).expect("a name");
    let stream = TlsStream::connect(Socket::Tcp(socket), connector, name, LIMIT).await;
    let mut stream = boxed(stream.expect("a session"));
    stream.write_all(b"?").await.expect("room");
    stream.flush().await.expect("room");
    stream.read_exact(&mut [0]).await.expect("an answer");
    server.await.expect("a happy server")
}

#[tokio::test]
async fn sessions_resume_in_both_roles() {
    let files = files();
    let acceptor = acceptor(&files.accept);
    for cell in [cells()[1], cells()[4]] {
        let config = Arc::new(client_config(cell));
        assert_eq!(connect_theirs(&acceptor, config.clone()).await, HandshakeKind::Full);
        assert_eq!(connect_theirs(&acceptor, config).await, HandshakeKind::Resumed);

        let mut config = server_config(cell);
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().expect("keys");
        let (connector, config) = (connector(&files.connect), Arc::new(config));
        assert_eq!(connect_ours(&connector, config.clone()).await, HandshakeKind::Full);
        assert_eq!(connect_ours(&connector, config).await, HandshakeKind::Resumed);
    }
}

/// What both sides say about a handshake.
async fn try_pair(accept: &TlsAccept, connect: &TlsConnect, name: &str) -> (String, String) {
    let (left, right) = UnixStream::pair().expect("sockets");
    let (acceptor, connector) = (acceptor(accept), connector(connect));
    let name = Connector::server_name(Some(name)).expect("a name");
    let ask = async {
        let client = TlsStream::connect(Socket::Unix(right.into()), &connector, name, LIMIT).await;
        let Ok(client) = client else { return client.map(drop).map_err(|e| e.to_string()) };
        // In TLS 1.3 the server's verdict comes after the client's handshake is over.
        let mut client = boxed(client);
        client.read(&mut [0]).await.map(drop).map_err(|error| error.to_string())
    };
    let answer = async {
        let server = TlsStream::accept(Socket::Unix(left.into()), &acceptor, &[], LIMIT).await;
        server.map(drop).map_err(|error| error.to_string())
    };
    let (server, client) = tokio::join!(answer, ask);
    let say = |result: Result<(), String>| result.map_or_else(|error| error, |()| "ok".into());
    (say(server), say(client))
}

#[tokio::test]
async fn certificates_are_checked_as_the_mode_says() {
    let files = files();
    let check = async |mode, ca: Option<&str>, name: &str| {
        let mut connect = TlsConnect { mode, ..files.connect.clone() };
        connect.ca = ca.map(|ca| files.directory.path().join(ca));
        try_pair(&files.accept, &connect, name).await.1
    };
    assert_eq!(check(ConnectMode::Require, None, "elsewhere").await, "ok");
    assert_eq!(check(ConnectMode::VerifyCa, Some("ca.pem"), "elsewhere").await, "ok");
    assert_eq!(check(ConnectMode::VerifyCa, Some("server.pem"), "elsewhere").await, "ok");
    let error = check(ConnectMode::VerifyCa, Some("client.pem"), "localhost").await;
    assert!(error.contains("UnknownIssuer"), "{error}");
    assert_eq!(check(ConnectMode::VerifyIdentity, Some("ca.pem"), "127.0.0.1").await, "ok");
    let error = check(ConnectMode::VerifyIdentity, Some("ca.pem"), "elsewhere").await;
    assert!(error.contains("not valid for name"), "{error}");
}

#[tokio::test]
async fn a_server_that_signs_for_itself_is_believed_if_it_is_listed() {
    let (old, new) = (2020, 2050);
    let (ca, identity) = (ConnectMode::VerifyCa, ConnectMode::VerifyIdentity);
    for (mode, years, name, expected) in [
        (ca, (old, new), "elsewhere", "ok"),
        (identity, (old, new), "localhost", "ok"),
        (identity, (old, new), "elsewhere", "not valid for name"),
        (ca, (old, old + 1), "localhost", "certificate: Expired"),
        (identity, (old, old + 1), "localhost", "certificate: Expired"),
        (ca, (new, new + 1), "localhost", "certificate: NotValidYet"),
    ] {
        let files = files();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).expect("a name");
        // What `openssl req -x509` makes is a CA's.
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        let write = |name: &str, text: &str| {
            let path = files.directory.path().join(name);
            std::fs::write(&path, text).expect("a file");
            Some(path)
        };
        let listed = write("own.pem", &certificate);
        let accept = TlsAccept {
            certificate: listed.clone(),
            key: write("own.key", &key.serialize_pem()),
            ..files.accept.clone()
        };
        let connect = TlsConnect { mode, ca: listed, ..files.connect.clone() };
        let verdict = try_pair(&accept, &connect, name).await.1;
        assert!(verdict.contains(expected), "{mode:?} {years:?} {name}: {verdict}");
    }
}

#[tokio::test]
async fn clients_show_certificates_as_configured() {
    let files = files();
    let nobody = TlsConnect { certificate: None, key: None, ..files.connect.clone() };
    for (verify_client, connect, expected) in [
        (VerifyClient::Require, &files.connect, ("ok", "ok")),
        (VerifyClient::Optional, &files.connect, ("ok", "ok")),
        (VerifyClient::Optional, &nobody, ("ok", "ok")),
        (VerifyClient::Require, &nobody, ("peer sent no certificates", "certificate_required")),
    ] {
        let accept = TlsAccept { verify_client, ..files.accept.clone() };
        let (server, client) = try_pair(&accept, connect, "localhost").await;
        assert!(server.contains(expected.0), "{verify_client:?}: {server}");
        assert!(client.contains(expected.1), "{verify_client:?}: {client}");
    }
}

/// What version 1 wrote, and what every later one must read. Never edited, only added to.
const GOLDEN: &str = r#"{"records":{"version":"1.3","suite":"aes-128-gcm","role":"server",
"read":{"secret":"0101010101010101010101010101010101010101010101010101010101010101",
"key":"02020202020202020202020202020202","iv":"030303030303030303030303","sequence":7,"spent":900},
"write":{"secret":"0404040404040404040404040404040404040404040404040404040404040404",
"key":"05050505050505050505050505050505","iv":"060606060606060606060606","sequence":9,"spent":800},
"message":{"header":[24,0],"left":0,"body":[]},"unproductive":1,
"owed":{"no_renegotiation":false,"key_update":"own","last":null},
"reading":"open","writing":"open"},"incoming":3,"rest":{"plain":0,"trailer":0},"outgoing":2,
"fin":"no","of_a_later_version":true}"#;

#[tokio::test]
async fn snapshots_of_every_version_are_read() {
    let (left, _right) = UnixStream::pair().expect("sockets");
    let fd = left.into_std().expect("a socket").into();
    let state: TlsState = serde_json::from_str(GOLDEN).expect("a snapshot");
    let parts = Parts { fd, tls: Some((state.clone(), b"\x17\x03\x03--".to_vec())) };
    let stream = Stream::from_parts(parts).expect("a session");
    let (parts, _) = stream.into_parts().expect("a socket");
    assert_eq!(parts.tls, Some((state.clone(), b"\x17\x03\x03--".to_vec())));

    let wrong = Parts { fd: parts.fd, tls: Some((state, b"\x17\x03\x03-".to_vec())) };
    let error = Stream::from_parts(wrong).expect_err("a byte is missing").to_string();
    assert_eq!(error, "TLS session: bytes missing or left over");
}

/// The same session, but its keys have encrypted so many records and blocks.
fn worn(stream: Stream, spent: u64) -> Stream {
    let (Parts { fd, tls }, _) = stream.into_parts().expect("a socket");
    let (state, bytes) = tls.expect("TLS");
    let mut text = serde_json::to_value(&state).expect("JSON");
    text["records"]["write"]["spent"] = spent.into();
    let tls = Some((serde_json::from_value(text).expect("our JSON"), bytes));
    Stream::from_parts(Parts { fd, tls }).expect("our state")
}

/// A session with a rustls client that reads to the end, and what it will have read.
async fn reading_client(cell: Cell) -> (Stream, JoinHandle<Vec<u8>>) {
    let files = files();
    let accept = TlsAccept { min_version: MinVersion::Tls12, ..files.accept.clone() };
    let (acceptor, (listener, address)) = (acceptor(&accept), listen().await);
    let client = spawn_blocking(move || {
        let mut socket = std::net::TcpStream::connect(address).expect("a connection");
        socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let config = Arc::new(client_config(cell));
        let mut peer = ClientConnection::new(config, localhost()).expect("a client");
        let mut heard = Vec::new();
        let read = rustls::Stream::new(&mut peer, &mut socket).read_to_end(&mut heard);
        read.expect("close_notify");
        heard
    });
    let (socket, _) = listener.accept().await.expect("a client");
    let stream = TlsStream::accept(Socket::Tcp(socket), &acceptor, &[], LIMIT).await;
    (boxed(stream.expect("a session")), client)
}

/// The reason reaches whoever writes, and the peer an orderly end.
#[tokio::test]
async fn used_up_keys_are_named() {
    let (stream, client) = reading_client(cells()[4]).await;
    let mut stream = worn(stream, 1 << 34);
    for _ in 0..2 {
        let error = stream.write(b"more").await.expect_err("nothing more");
        assert_eq!(error.to_string(), "the keys of the TLS 1.2 session are used up");
    }
    assert_eq!(client.await.expect("a happy client"), b"");
}

/// RFC 8446, 5.5: new keys before the limit, in the middle of an answer, without anybody's doing.
#[tokio::test]
async fn worn_keys_are_replaced_unasked() {
    let key = |stream: Stream| {
        let (Parts { fd, tls }, _) = stream.into_parts().expect("a socket");
        let tls = tls.expect("TLS");
        let text = serde_json::to_value(&tls.0).expect("JSON");
        let key = text["records"]["write"]["key"].clone();
        (Stream::from_parts(Parts { fd, tls: Some(tls) }).expect("our state"), key)
    };
    for (cell, limit) in [(cells()[0], 1 << 33), (cells()[1], 1 << 33), (cells()[2], 1 << 59)] {
        let (stream, client) = reading_client(cell).await;
        // So that the limit lies in the fourth record of sixteen.
        let (mut stream, before) = key(worn(stream, limit - 3 * 1025 - 500));
        let bytes: Vec<u8> = (0..1_u32 << 18).map(|at| (at / 3) as u8).collect();
        stream.write_all(&bytes).await.expect("room");
        let (mut stream, after) = key(stream);
        assert_ne!(before, after);
        stream.shutdown().await.expect("room");
        assert!(client.await.expect("a happy client") == bytes);
        let (Parts { tls, .. }, _) = stream.into_parts().expect("a socket");
        let text = serde_json::to_value(tls.expect("TLS").0).expect("JSON");
        let spent = text["records"]["write"]["spent"].as_u64().expect("a number");
        assert!((1..17 * 1025).contains(&spent), "counted anew: {spent}");
    }
}

#[tokio::test]
async fn a_socket_alone_is_not_given_out() {
    let (server, _client) = pair().await;
    assert!(server.into_fd().is_err());
}
