//! A made-up server: a script of greeting, log-in and what follows, the same for everybody who
//! connects. It is for what no real server does when it is asked to.

use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use odp::wire::handshake::{Greeting, LoginResponse, ok};
use odp::wire::packet::packet;

use super::reply::MAX_PAYLOAD;
use super::{LIMIT, until};

/// What it does next.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Greets; numbers start anew.
    Greet(Greeting),
    /// Hears a login response.
    LogIn,
    /// Says this, as a packet.
    Say(Vec<u8>),
    /// Says these bytes.
    Bytes(Vec<u8>),
    /// Hears a packet.
    Hear,
    /// Hears a command: numbers start anew.
    Command,
    /// Sends FIN, and goes on to hear.
    HalfClose,
    /// Leaves; heard as an empty packet, once the other side's kernel knows.
    Leave,
}

impl Act {
    /// A greeting with these capabilities.
    pub(crate) fn greet(capabilities: u32) -> Self {
        Self::Greet(greeting(capabilities))
    }

    /// Says that it went well.
    pub(crate) fn ok() -> Self {
        Self::Say(ok(0, 0, 2, 0))
    }

    /// Wants this plugin, with a challenge.
    pub(crate) fn switch(plugin: &str) -> Self {
        Self::Say([b"\xfe", plugin.as_bytes(), b"\0abcdefghijklmnopqrst\0"].concat())
    }
}

/// What it greets with, but for these capabilities.
pub(crate) fn greeting(capabilities: u32) -> Greeting {
    Greeting {
        version: b"8.0.99".to_vec(),
        connection_id: 7,
        salt: vec![b's'; 20],
        capabilities,
        extended: 0,
        collation: 45,
        status: 2,
        plugin: b"mysql_native_password".to_vec(),
    }
}

/// The server. Behind its last act it waits until the other side leaves.
pub(crate) struct FakeServer {
    pub address: String,
    connects: Arc<AtomicUsize>,
    script: Arc<Mutex<Vec<Act>>>,
    logins: Receiver<LoginResponse>,
    heard: Receiver<Vec<u8>>,
}

impl FakeServer {
    /// Listens until the test ends.
    pub(crate) fn start(script: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let script = Arc::new(Mutex::new(script));
        let current = script.clone();
        let connects = Arc::new(AtomicUsize::new(0));
        let count = connects.clone();
        let ((logins, to_log_in), (hears, heard)) = (channel(), channel());
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                count.fetch_add(1, Ordering::SeqCst);
                let acts = lock(&current).clone();
                let mut talk =
                    Talk { stream, sequence: 0, logins: logins.clone(), heard: hears.clone() };
                // A proxy that leaves ends it.
                thread::spawn(move || drop(talk.play(acts)));
            }
        });
        Self { address, connects, script, logins: to_log_in, heard }
    }

    /// Does this with everybody who connects from now on.
    pub(crate) fn play(&self, script: Vec<Act>) {
        *lock(&self.script) = script;
    }

    /// How many have connected so far.
    pub(crate) fn connects(&self) -> usize {
        self.connects.load(Ordering::SeqCst)
    }

    /// The next login response of this user. The proxy ends log-ins that lead nowhere under
    /// another name.
    pub(crate) fn login_of(&self, user: &str) -> LoginResponse {
        loop {
            let response = self.logins.recv_timeout(LIMIT).expect("a login response");
            if response.user == user.as_bytes() {
                return response;
            }
        }
    }

    /// The next packet that a [`Act::Hear`] heard.
    pub(crate) fn heard(&self) -> Vec<u8> {
        self.heard.recv_timeout(LIMIT).expect("a packet")
    }
}

fn lock(script: &Mutex<Vec<Act>>) -> MutexGuard<'_, Vec<Act>> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection.
struct Talk {
    stream: TcpStream,
    /// The number of the last packet, said or heard.
    sequence: u8,
    logins: Sender<LoginResponse>,
    heard: Sender<Vec<u8>>,
}

impl Talk {
    fn play(&mut self, acts: Vec<Act>) -> std::io::Result<()> {
        for act in acts {
            match act {
                Act::Greet(greeting) => self.say(0, &greeting.encode())?,
                Act::LogIn => {
                    let (sequence, payload) = hear(&mut self.stream)?;
                    self.sequence = sequence;
                    let response = LoginResponse::parse(&payload);
                    // A test that is over waits for nothing.
                    let _ = self.logins.send(response.expect("the proxy knows how to log in"));
                }
                Act::Say(payload) => self.say(self.sequence + 1, &payload)?,
                Act::Bytes(bytes) => self.stream.write_all(&bytes)?,
                Act::Hear | Act::Command => {
                    let (sequence, payload) = hear(&mut self.stream)?;
                    let is_command = matches!(act, Act::Command);
                    let expected = if is_command { 0 } else { self.sequence + 1 };
                    assert_eq!(sequence, expected, "the number of a packet to the server");
                    self.sequence = sequence;
                    let _ = self.heard.send(payload);
                }
                Act::HalfClose => self.stream.shutdown(Shutdown::Write)?,
                Act::Leave => {
                    self.stream.shutdown(Shutdown::Both)?;
                    until("FIN to be there", || is_fin_there(&self.stream).then_some(()));
                    let _ = self.heard.send(Vec::new());
                    return Ok(());
                }
            }
        }
        while self.stream.read(&mut [0; 64])? > 0 {}
        Ok(())
    }

    fn say(&mut self, sequence: u8, payload: &[u8]) -> std::io::Result<()> {
        self.sequence = sequence;
        self.stream.write_all(&packet(sequence, payload))
    }
}

fn hear(stream: &mut impl Read) -> std::io::Result<(u8, Vec<u8>)> {
    let mut header = [0; 4];
    stream.read_exact(&mut header)?;
    let mut payload = vec![0; u32::from_le_bytes(header) as usize & MAX_PAYLOAD];
    stream.read_exact(&mut payload)?;
    Ok((header[3], payload))
}

/// Whether FIN, which was sent, has been acknowledged: a busy kernel delivers it later.
fn is_fin_there(stream: &TcpStream) -> bool {
    const FIN_WAIT1: &str = "04";
    let ports = [stream.local_addr(), stream.peer_addr()].map(|end| end.map(|it| it.port()));
    let [Ok(own), Ok(peer)] = ports else { return true };
    let ends = [own, peer].map(|port| format!(":{port:04X}"));
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let is_it = |line: &&str| {
        let mut words = line.split_ascii_whitespace().skip(1);
        ends.iter().all(|end| words.next().is_some_and(|address| address.ends_with(end)))
    };
    let line = table.lines().find(is_it);
    line.and_then(|line| line.split_ascii_whitespace().nth(3)) != Some(FIN_WAIT1)
}
