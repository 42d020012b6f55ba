//! A TCP relay that cuts what passes into small pieces, each a segment of its own.
//!
//! Between client and proxy and between proxy and server it shows that nothing hangs on where the
//! network cuts a stream. It is no judge of speed.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

/// How to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chop {
    /// One byte at a time.
    Bytes,
    /// Pieces of 1 to 40 bytes, from a seed.
    Random(u64),
}

/// A relay to one address; its threads end with their connections, at the latest with the test.
pub struct Relay {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

impl Relay {
    /// Starts one.
    pub fn start(target: String, chop: Chop) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let Ok(far) = TcpStream::connect(&target) else { continue };
                let (near2, far2) = (clone(&near), clone(&far));
                thread::spawn(move || pass(near, far, chop));
                thread::spawn(move || pass(far2, near2, chop));
            }
        });
        Self { port }
    }
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a second handle of a socket")
}

fn pass(mut from: TcpStream, mut to: TcpStream, chop: Chop) {
    let _ = to.set_nodelay(true);
    let mut state = match chop {
        Chop::Bytes => 0,
        Chop::Random(seed) => seed | 1,
    };
    let mut buffer = [0; 4096];
    'open: while let Ok(read) = from.read(&mut buffer) {
        if read == 0 {
            break;
        }
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            // xorshift: reproducible from the seed.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let piece = match chop {
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
