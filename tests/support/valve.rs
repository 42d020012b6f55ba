//! A TCP relay that stops each of its connections behind so many bytes, in either direction.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::until;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the relay's target.
    There,
    /// From it.
    Back,
}

/// The relay; its threads end with their connections, at the latest with the test.
pub(crate) struct Valve {
    /// `127.0.0.1:PORT`: where it listens.
    pub address: String,
    ways: [Arc<Pipe>; 2],
}

/// One direction of all connections.
#[derive(Default)]
struct Pipe {
    state: Mutex<State>,
    turned: Condvar,
}

#[derive(Default)]
struct State {
    /// Bytes that each may pass on; None: all.
    most: Option<usize>,
    /// How often that was changed.
    turns: u64,
    /// The connection that has passed them on since then, from this end to that one.
    stopped: Option<[SocketAddr; 2]>,
}

impl Valve {
    /// Starts one that stops nobody.
    pub(crate) fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let ways: [Arc<Pipe>; 2] = Default::default();
        let own = ways.clone();
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let Ok(far) = TcpStream::connect(&target) else { continue };
                let [there, back] = own.clone();
                let (near2, far2) = (clone(&near), clone(&far));
                thread::spawn(move || there.pass(near, far));
                thread::spawn(move || back.pass(far2, near2));
            }
        });
        Self { address, ways }
    }

    /// From now on each connection passes on so many bytes that way, and no more.
    pub(crate) fn stop_behind(&self, most: usize, way: Way) {
        self.pipe(way).turn(Some(most));
    }

    /// From now on, and what has stopped, all of them.
    pub(crate) fn open(&self, way: Way) {
        self.pipe(way).turn(None);
    }

    /// Waits until one has stopped, and who gets its bytes has read them.
    pub(crate) fn until_stopped(&self, way: Way) {
        until("a connection to stop", || {
            let [near, far] = self.pipe(way).lock().stopped?;
            (queues(near, far)? == [0; 2] && queues(far, near)? == [0; 2]).then_some(())
        });
    }

    fn pipe(&self, way: Way) -> &Pipe {
        match way {
            Way::There => &self.ways[0],
            Way::Back => &self.ways[1],
        }
    }
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, most: Option<usize>) {
        let mut state = self.lock();
        *state = State { most, turns: state.turns + 1, stopped: None };
        self.turned.notify_all();
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream) {
        let _ = to.set_nodelay(true);
        let (mut buffer, mut passed) = (vec![0; 16 * 1024], (0, 0));
        'open: while let Ok(read @ 1..) = from.read(&mut buffer) {
            let mut rest = &buffer[..read];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(self.may_pass(rest.len(), &mut passed, &to));
                if to.write_all(now).is_err() {
                    break 'open;
                }
                rest = later;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }

    /// Of so many bytes, for a connection that has passed on so many since that turn. Waits until
    /// it is any.
    fn may_pass(&self, bytes: usize, passed: &mut (u64, usize), to: &TcpStream) -> usize {
        let mut state = self.lock();
        loop {
            if passed.0 != state.turns {
                *passed = (state.turns, 0);
            }
            let may = state.most.map_or(bytes, |most| bytes.min(most - passed.1));
            passed.1 += may;
            if may > 0 {
                return may;
            }
            let ends = [to.local_addr(), to.peer_addr()];
            state.stopped = Some(ends.map(|end| end.expect("it is connected")));
            state = self.turned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a second handle of a socket")
}

/// What is to be sent, and to be read, at this end of a connection to that one.
fn queues(near: SocketAddr, far: SocketAddr) -> Option<[u64; 2]> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel lists connections");
    let ends = [near, far].map(|end| {
        let IpAddr::V4(ip) = end.ip() else { panic!("{end}: not an IPv4 address") };
        format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), end.port())
    });
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.get(1..3)? == ends;
        let (unsent, unread) = fields.get(4)?.split_once(':').filter(|_| is_it)?;
        Some([unsent, unread].map(|n| u64::from_str_radix(n, 16).expect("hexadecimal")))
    })
}
