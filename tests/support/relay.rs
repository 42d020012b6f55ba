//! A TCP relay that cuts what passes into small pieces, each a segment of its own, is slow, or
//! comes from another address than its client.
//!
//! Between client and proxy and between proxy and server it shows that nothing hangs on where the
//! network cuts a stream. It is no judge of speed.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// How to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chop {
    /// Not at all.
    Never,
    /// One byte at a time.
    Bytes,
    /// Pieces of 1 to 40 bytes, from a seed.
    Random(u64),
    /// Not at all, but everything is late by so long.
    Late(Duration),
}

/// A relay to one address; its threads end with their connections, at the latest with the test.
pub(crate) struct Relay {
    /// `127.0.0.1:PORT`: where it listens.
    pub address: String,
}

impl Relay {
    /// Starts one.
    pub(crate) fn start(target: String, chop: Chop) -> Self {
        Self::start_by(chop, move || TcpStream::connect(&target))
    }

    /// Cuts nothing; its connections come from another address, and begin with this.
    pub(crate) fn detour(target: String, source: &'static str, header: Vec<u8>) -> Self {
        Self::start_by(Chop::Never, move || {
            let mut far = connect_from(source, &target);
            far.write_all(&header).map(|()| far)
        })
    }

    fn start_by(
        chop: Chop,
        mut connect: impl FnMut() -> std::io::Result<TcpStream> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let Ok(far) = connect() else { continue };
                let (near2, far2) = (clone(&near), clone(&far));
                thread::spawn(move || pass(near, far, chop));
                thread::spawn(move || pass(far2, near2, chop));
            }
        });
        Self { address }
    }
}

/// A relay whose target is told later, and which counts who comes.
pub(crate) struct Detour {
    /// `127.0.0.1:PORT`: where it listens.
    pub address: String,
    /// Connections so far.
    pub count: Arc<AtomicUsize>,
    target: Arc<OnceLock<String>>,
}

impl Detour {
    /// Starts one; who comes waits for the target.
    pub(crate) fn start() -> Self {
        let (count, target) = (Arc::<AtomicUsize>::default(), Arc::<OnceLock<String>>::default());
        let (counted, told) = (count.clone(), target.clone());
        let Relay { address } = Relay::start_by(Chop::Never, move || {
            counted.fetch_add(1, Ordering::SeqCst);
            TcpStream::connect(told.wait())
        });
        Self { address, count, target }
    }

    /// Where it leads.
    pub(crate) fn lead_to(&self, target: String) {
        self.target.set(target).expect("it is told once");
    }
}

/// A connection from another address of the loopback.
pub(crate) fn connect_from(source: &str, address: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let source: SocketAddr = format!("{source}:0").parse().expect("an address");
    socket.bind(&source.into()).expect("all of 127.0.0.0/8 is the loopback");
    let address: SocketAddr = address.parse().expect("an address");
    socket.connect(&address.into()).expect("somebody listens");
    socket.into()
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a second handle of a socket")
}

fn pass(mut from: TcpStream, mut to: TcpStream, chop: Chop) {
    let _ = to.set_nodelay(true);
    let mut state = match chop {
        Chop::Never | Chop::Bytes | Chop::Late(_) => 0,
        Chop::Random(seed) => seed | 1,
    };
    let mut buffer = [0; 4096];
    'open: while let Ok(read) = from.read(&mut buffer) {
        if read == 0 {
            break;
        }
        if let Chop::Late(by) = chop {
            thread::sleep(by);
        }
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            // xorshift: reproducible from the seed.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let piece = match chop {
                Chop::Never | Chop::Late(_) => rest.len(),
                Chop::Bytes => 1,
                Chop::Random(_) => rest.len().min(1 + state as usize % 40),
            };
            if to.write_all(&rest[..piece]).is_err() {
                break 'open;
            }
            rest = &rest[piece..];
            thread::yield_now();
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
