//! A second opinion beside rustls: OpenSSL's command line, both roles, with moves and KeyUpdates.
//!
//! Skipped, and said so, where there is no `openssl`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use odp::net::socket::Socket;
use odp::net::stream::Stream;
use odp::net::tls::record::Update;
use odp::net::tls::settings::Connector;
use odp::net::tls::stream::TlsStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::streams::{acceptor, connector, files, moved};

const LIMIT: Duration = Duration::from_secs(20);

/// Every version and AEAD, by OpenSSL's names.
const SUITES: [[&str; 3]; 6] = [
    ["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"],
    ["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"],
    ["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
    ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
    ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"],
    ["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"],
];

/// A child that is ended whatever happens.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn openssl(command: &str, suite: [&str; 3], arguments: &[&str]) -> Option<Peer> {
    let mut openssl = Command::new("openssl");
    openssl.arg(command).args(suite).args(arguments);
    openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    match openssl.spawn() {
        Ok(child) => Some(Peer(child)),
        Err(error) => {
            eprintln!("SKIPPED: openssl {command}: {error}");
            None
        }
    }
}

/// The next line with this in it.
fn await_line(from: &mut impl BufRead, text: &str) -> String {
    let mut line = String::new();
    loop {
        line.clear();
        assert!(from.read_line(&mut line).expect("a pipe") > 0, "openssl says '{text}'");
        if line.contains(text) {
            return line;
        }
    }
}

async fn say(stream: &mut Stream, bytes: &[u8]) {
    stream.write_all(bytes).await.expect("room");
    stream.flush().await.expect("room");
}

#[tokio::test]
async fn openssl_client_is_served_across_moves_and_new_keys() {
    let files = files();
    let acceptor = acceptor(&files.accept);
    for suite in SUITES {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let Some(mut peer) = openssl("s_client", suite, &["-connect", &address]) else { return };
        let mut input = peer.0.stdin.take().expect("a pipe");
        let mut errors = BufReader::new(peer.0.stderr.take().expect("a pipe"));
        let (socket, _) = listener.accept().await.expect("a client");
        let stream = TlsStream::accept(Socket::Tcp(socket), &acceptor, &[], LIMIT).await;
        let mut stream = Stream::Tls(Box::new(stream.expect("a session")));
        for round in 0..4 {
            // A line `K` makes s_client change its keys and ask for ours; in TLS 1.2 it is data.
            if suite[0] == "-tls1_3" {
                input.write_all(b"K\n").expect("a pipe");
                await_line(&mut errors, "KEYUPDATE");
            }
            let line = format!("line {round}\n");
            input.write_all(line.as_bytes()).expect("a pipe");
            let mut heard = vec![0; line.len()];
            stream.read_exact(&mut heard).await.expect("the line");
            assert_eq!(String::from_utf8_lossy(&heard), line);
            stream = moved(stream);
            say(&mut stream, format!("answer {round} {}\n", "x".repeat(20_000)).as_bytes()).await;
        }
        stream.shutdown().await.expect("room");
        let mut output = BufReader::new(peer.0.stdout.take().expect("a pipe"));
        (0..4).for_each(|_| drop(await_line(&mut output, "xxx")));
    }
}

#[tokio::test]
async fn openssl_server_is_used_across_moves_and_new_keys() {
    let files = files();
    let connector = connector(&files.connect);
    let path =
        |path: &Option<std::path::PathBuf>| path.as_ref().expect("a file").display().to_string();
    let (certificate, key) = (path(&files.accept.certificate), path(&files.accept.key));
    for suite in SUITES {
        // -rev sends each line back reversed.
        let arguments = ["-accept", "127.0.0.1:0", "-rev", "-cert", &certificate, "-key", &key];
        let Some(mut peer) = openssl("s_server", suite, &arguments) else { return };
        let mut output = BufReader::new(peer.0.stdout.take().expect("a pipe"));
        let line = await_line(&mut output, "ACCEPT ");
        let address = line.trim().trim_start_matches("ACCEPT ");
        let socket = TcpStream::connect(address).await.expect("a connection");
        let name = Connector::server_name(Some("localhost")).expect("a name");
        let stream = TlsStream::connect(Socket::Tcp(socket), &connector, name, LIMIT).await;
        let mut stream = Stream::Tls(Box::new(stream.expect("a session")));
        for (round, update) in [Update::Both, Update::Own, Update::Both].into_iter().enumerate() {
            say(&mut stream, format!("{round}{}\n", "abc".repeat(300)).as_bytes()).await;
            stream = moved(stream);
            let mut heard = vec![0; 902];
            stream.read_exact(&mut heard).await.expect("the line");
            let expected = format!("{}{round}\n", "cba".repeat(300));
            assert_eq!(String::from_utf8_lossy(&heard), expected);
            if let Stream::Tls(tls) = &mut stream {
                tls.update_keys(update);
            }
        }
    }
}
