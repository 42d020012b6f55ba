//! TLS 1.3 in front of a server that has none, by stock rustls or by our own record layer, with new
//! keys whenever a test wants them.
//!
//! ```text
//!   proxy ═► terminator ─► server
//! ```
//! It offers TLS in the server's greeting; in the log-in the proxy's packets are numbered one
//! higher than the server's, as there was a request for TLS before.

use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use odp::net::tls::handshake::{Handshake, Step};
use odp::net::tls::record::Update;
use odp::wire::capability as cap;
use rustls::ServerConnection;

use crate::ends::{Cell, Ours, Theirs, server_config};

/// Whose TLS it is, and how it changes keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// rustls, which always asks for the other side's new keys too.
    Rustls,
    /// Ours.
    Ours(Update),
}

/// Where a proxy connects; it ends with its connections, at the latest with the test.
pub(crate) struct Terminator {
    /// Its address on 127.0.0.1.
    pub address: String,
    sessions: Arc<Mutex<Vec<Arc<Mutex<Session>>>>>,
}

/// The proxy's end of one connection.
struct Session {
    end: End,
    /// What is to be written. Without a bound: who waited for room here would keep the session from
    /// the test, which may be the one that makes room. None when it is closed.
    output: Option<Sender<Vec<u8>>>,
    /// New keys of the proxy's: only our own record layer shows them.
    heard: usize,
}

enum End {
    Rustls(Box<Theirs>),
    Ours(Box<Ours>, Update),
}

impl Terminator {
    /// One in front of this server.
    pub(crate) fn start(server: String, by: By, cell: Cell) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let sessions = Arc::<Mutex<Vec<_>>>::default();
        let known = sessions.clone();
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let Ok(far) = TcpStream::connect(&server) else { continue };
                let known = known.clone();
                thread::spawn(move || connection(near, far, by, cell, &known));
            }
        });
        Self { address, sessions }
    }

    /// New keys for everything that is sent from now on.
    pub(crate) fn update_keys(&self) {
        for session in lock(&self.sessions).iter() {
            lock(session).update_keys();
        }
    }

    /// How often the proxy has put new keys into use, as far as that can be seen.
    pub(crate) fn heard(&self) -> usize {
        lock(&self.sessions).iter().map(|session| lock(session).heard).sum()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// None when it ended before the log-in did.
fn connection(
    near: TcpStream,
    mut far: TcpStream,
    by: By,
    cell: Cell,
    known: &Mutex<Vec<Arc<Mutex<Session>>>>,
) -> Option<()> {
    for stream in [&near, &far] {
        stream.set_nodelay(true).ok()?;
    }
    let (mut header, mut greeting) = packet(&mut far)?;
    offer_tls(&mut greeting);
    (&near).write_all(&[&header[..], &greeting].concat()).ok()?;
    (header, greeting) = packet(&mut &near)?;
    assert_eq!((header[3], greeting.len()), (1, 32), "a request for TLS");
    let (end, ahead) = shake(&near, by, cell)?;
    let (output, pieces) = channel();
    let (mut session, to) = (Session { end, output: Some(output), heard: 0 }, near.try_clone());
    let writer = thread::spawn(move || write(to.expect("a handle"), &pieces));
    log_in(&mut session, &near, &mut far, ahead)?;
    let session = Arc::new(Mutex::new(session));
    lock(known).push(session.clone());
    let (others, from) = (session.clone(), far.try_clone().ok()?);
    let down = thread::spawn(move || down(from, &others));
    up(near, &far, &session);
    // The server's last words, and its end.
    let _ = far.shutdown(Shutdown::Write);
    let _ = (down.join(), writer.join());
    Some(())
}

/// Sets SSL in a greeting: "int<1> protocol version, string<NUL> server version, int<4> thread id,
/// string[8] the challenge's first part, int<1> filler, int<2> capabilities".
fn offer_tls(greeting: &mut [u8]) {
    let version = greeting.iter().skip(1).position(|byte| *byte == 0).expect("a version");
    let at = 1 + version + 1 + 4 + 8 + 1;
    let offered = u16::from_le_bytes([greeting[at], greeting[at + 1]]) | cap::SSL as u16;
    greeting[at..at + 2].copy_from_slice(&offered.to_le_bytes());
}

fn packet(from: &mut impl Read) -> Option<([u8; 4], Vec<u8>)> {
    let mut header = [0; 4];
    from.read_exact(&mut header).ok()?;
    let mut payload = vec![0; u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize];
    from.read_exact(&mut payload).ok()?;
    Some((header, payload))
}

/// The handshake, and what came behind it.
fn shake(mut near: &TcpStream, by: By, cell: Cell) -> Option<(End, Vec<u8>)> {
    let config = server_config(cell);
    let (mut from, mut buffer) = (near, [0; 8192]);
    let mut read = || match from.read(&mut buffer) {
        Ok(n) if n > 0 => Some(buffer[..n].to_vec()),
        _ => None,
    };
    match by {
        By::Rustls => {
            let server = ServerConnection::new(Arc::new(config)).expect("a server");
            let (mut end, mut ahead) = (Theirs::Server(server), Vec::new());
            while matches!(&end, Theirs::Server(server) if server.is_handshaking()) {
                ahead.extend(end.feed(&read()?).ok()?);
                near.write_all(&end.output()).ok()?;
            }
            Some((End::Rustls(Box::new(end)), ahead))
        }
        By::Ours(update) => {
            let mut handshake = Handshake::accept(&config, &[]).expect("a server");
            loop {
                let step = handshake.step().ok()?;
                near.write_all(&std::mem::take(&mut handshake.output)).ok()?;
                match step {
                    Step::Read => handshake.handle_input(&read()?).ok()?,
                    Step::Done => break,
                }
            }
            let done = handshake.finish().ok()?;
            let mut end = Ours::new(done.records, done.rest);
            let ahead = end.feed(&[]).ok()?;
            Some((End::Ours(Box::new(end), update), ahead))
        }
    }
}

/// Up to the server's OK; None when it has none.
fn log_in(
    session: &mut Session,
    near: &TcpStream,
    far: &mut TcpStream,
    mut ahead: Vec<u8>,
) -> Option<()> {
    let mut first = true;
    loop {
        let (mut header, mut payload) = session.packet(near, &mut ahead)?;
        if std::mem::take(&mut first) {
            let asked = u32::from_le_bytes(payload[..4].try_into().expect("four bytes"));
            payload[..4].copy_from_slice(&(asked & !cap::SSL).to_le_bytes());
        }
        header[3] -= 1;
        far.write_all(&[&header[..], &payload].concat()).ok()?;
        let (mut header, payload) = packet(far)?;
        header[3] += 1;
        session.say(&[&header[..], &payload].concat())?;
        match payload.first() {
            Some(0x00) => return Some(()),
            Some(0xFF) => return None,
            _ => {}
        }
    }
}

/// Until the session is closed.
fn write(mut near: TcpStream, pieces: &Receiver<Vec<u8>>) {
    for piece in pieces {
        if near.write_all(&piece).is_err() {
            return;
        }
    }
    let _ = near.shutdown(Shutdown::Write);
}

/// The proxy to the server.
fn up(mut near: TcpStream, mut far: &TcpStream, session: &Mutex<Session>) {
    let mut buffer = vec![0; 32 * 1024];
    while let Ok(n) = near.read(&mut buffer) {
        if n == 0 {
            return;
        }
        let heard = lock(session).hear(&buffer[..n]);
        match heard.map(|plain| far.write_all(&plain)) {
            Some(Ok(())) => {}
            _ => return,
        }
    }
}

/// The server to the proxy.
fn down(mut far: TcpStream, session: &Mutex<Session>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(n) = far.read(&mut buffer) {
        if n == 0 || lock(session).say(&buffer[..n]).is_none() {
            break;
        }
    }
    lock(session).close();
}

impl Session {
    fn packet(&mut self, mut near: &TcpStream, ahead: &mut Vec<u8>) -> Option<([u8; 4], Vec<u8>)> {
        loop {
            if let Some(whole) = packet(&mut &ahead[..]) {
                ahead.drain(..4 + whole.1.len());
                return Some(whole);
            }
            let mut buffer = [0; 8192];
            let n = near.read(&mut buffer).ok().filter(|n| *n > 0)?;
            ahead.extend(self.hear(&buffer[..n])?);
        }
    }

    /// What is in these records; says what is owed for them. A bad one fails the test: the proxy
    /// gets no further answer.
    fn hear(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let plain = match &mut self.end {
            End::Rustls(end) => end.feed(bytes).expect("good records"),
            End::Ours(end, _) => {
                let before = reading_key(end);
                let plain = end.feed(bytes).expect("good records");
                self.heard += usize::from(before != reading_key(end));
                plain
            }
        };
        self.flush()?;
        Some(plain)
    }

    fn say(&mut self, bytes: &[u8]) -> Option<()> {
        match &mut self.end {
            End::Rustls(end) => end.write(bytes),
            End::Ours(end, _) => end.write(bytes),
        }
        self.flush()
    }

    fn update_keys(&mut self) {
        match &mut self.end {
            End::Rustls(end) => end.refresh_keys(),
            End::Ours(end, update) => end.records.update_keys(*update),
        }
        // One that has ended has no use for them.
        let _ = self.flush();
    }

    fn close(&mut self) {
        match &mut self.end {
            End::Rustls(end) => end.close(),
            End::Ours(end, _) => end.records.close(),
        }
        let _ = self.flush();
        self.output = None;
    }

    fn flush(&mut self) -> Option<()> {
        let output = match &mut self.end {
            End::Rustls(end) => end.output(),
            End::Ours(end, _) => end.output(),
        };
        self.output.as_ref()?.send(output).ok()
    }
}

fn reading_key(end: &Ours) -> serde_json::Value {
    let mut state = serde_json::to_value(end.records.state()).expect("JSON");
    state["read"]["key"].take()
}
