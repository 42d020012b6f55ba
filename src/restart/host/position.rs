//! How far the owners of a socket have read and written it: whether somebody has used a duplicate.
//!
//! ```text
//! consumed = bytes received − bytes in the receive queue    what the process has read
//! produced = bytes acknowledged + bytes in the send queue   what the process has written
//! ```
//! Both belong to the connection, not to the descriptor: they are the same in every process that
//! holds it, they change by nothing but reading and writing, and need nobody's cooperation. Packets
//! that come and acknowledgements that arrive leave them as they are.

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::libc;

/// Queues move while they are read; that often the reading is repeated.
const ATTEMPTS: usize = 8;

/// States of a TCP connection, as TCP_INFO has them.
mod tcp {
    pub const FIN_WAIT1: u8 = 4;
    pub const FIN_WAIT2: u8 = 5;
    pub const TIME_WAIT: u8 = 6;
    pub const CLOSE: u8 = 7;
    pub const CLOSE_WAIT: u8 = 8;
    pub const LAST_ACK: u8 = 9;
    pub const CLOSING: u8 = 11;
}

/// The position of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    consumed: u64,
    produced: u64,
    /// Our FIN is out, or the connection is gone.
    is_shut: bool,
}

impl Position {
    /// Where a socket stands; None if that cannot be told: it is no TCP socket, or never at rest.
    pub fn of(fd: BorrowedFd<'_>) -> Option<Self> {
        let mut before = info(fd).ok()?;
        for _ in 0..ATTEMPTS {
            let (unread, unsent) = (receive_queue(fd)?, send_queue(fd)?);
            let after = info(fd).ok()?;
            let is_at_rest = before.tcpi_bytes_received == after.tcpi_bytes_received
                && before.tcpi_bytes_acked == after.tcpi_bytes_acked
                && before.tcpi_state == after.tcpi_state;
            if is_at_rest {
                return Some(Self::new(&after, unread, unsent));
            }
            before = after;
        }
        None
    }

    fn new(info: &libc::tcp_info, unread: u64, unsent: u64) -> Self {
        let state = info.tcpi_state;
        // The peer's FIN counts as a byte received, but not as one in the queue.
        let fin = matches!(state, tcp::CLOSE_WAIT | tcp::LAST_ACK | tcp::CLOSING | tcp::TIME_WAIT);
        Self {
            consumed: info.tcpi_bytes_received.wrapping_sub(unread).wrapping_sub(u64::from(fin)),
            produced: info.tcpi_bytes_acked.wrapping_add(unsent),
            is_shut: matches!(
                state,
                tcp::FIN_WAIT1
                    | tcp::FIN_WAIT2
                    | tcp::TIME_WAIT
                    | tcp::CLOSE
                    | tcp::LAST_ACK
                    | tcp::CLOSING
            ),
        }
    }
}

/// Where some sockets stand; None if that cannot be told of one of them.
pub fn positions(fds: &[OwnedFd]) -> Option<Vec<Position>> {
    fds.iter().map(|fd| Position::of(fd.as_fd())).collect()
}

/// TCP_INFO; an error from kernels whose answer has no byte counts (before 4.1).
fn info(fd: BorrowedFd<'_>) -> io::Result<libc::tcp_info> {
    let needed = offset_of!(libc::tcp_info, tcpi_bytes_received) + size_of::<u64>();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: tcp_info is integers only, for which all zeroes is a value; the kernel writes at most
    // `length` bytes into it, and the descriptor is open as long as it is borrowed.
    let (result, info) = unsafe {
        let mut info: libc::tcp_info = std::mem::zeroed();
        let place = (&raw mut info).cast();
        let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
        (libc::getsockopt(fd.as_raw_fd(), level, name, place, &raw mut length), info)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if (length as usize) < needed {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(info)
}

fn receive_queue(fd: BorrowedFd<'_>) -> Option<u64> {
    rustix::io::ioctl_fionread(fd).ok()
}

/// SIOCOUTQ: written and not yet acknowledged.
fn send_queue(fd: BorrowedFd<'_>) -> Option<u64> {
    let mut queued: libc::c_int = 0;
    // SAFETY: the request writes one int, and the descriptor is open as long as it is borrowed.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut queued) };
    (result == 0).then(|| u64::try_from(queued).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let ours = TcpStream::connect(address).expect("connects");
        (ours, listener.accept().expect("accepts").0)
    }

    fn at(stream: &TcpStream) -> Position {
        Position::of(stream.as_fd()).expect("TCP")
    }

    /// What the peer does is no movement of ours.
    #[test]
    fn what_arrives_and_what_is_acknowledged_moves_nothing() {
        let (mut ours, mut peer) = pair();
        ours.write_all(b"written before").expect("takes it");
        let before = at(&ours);
        let mut buffer = [0; 64];
        assert_eq!(peer.read(&mut buffer).expect("reads"), 14);
        peer.write_all(&[7; 5000]).expect("takes it");
        peer.shutdown(Shutdown::Write).expect("shuts");
        // Until all of it is there, FIN included.
        let mut peeked = vec![0; 6000];
        while ours.peek(&mut peeked).expect("peeks") < 5000
            || info(ours.as_fd()).unwrap().tcpi_state != tcp::CLOSE_WAIT
        {
            std::thread::yield_now();
        }
        assert_eq!(at(&ours), before);
    }

    #[test]
    fn every_use_of_a_duplicate_shows() {
        type Use = fn(&mut TcpStream);
        let uses: [(&str, Use); 4] = [
            ("a byte read", |it| it.read_exact(&mut [0; 1]).expect("reads")),
            ("a byte written", |it| it.write_all(&[1]).expect("writes")),
            ("FIN", |it| it.shutdown(Shutdown::Write).expect("shuts")),
            ("both shut", |it| it.shutdown(Shutdown::Both).expect("shuts")),
        ];
        for (name, used) in uses {
            let (ours, mut peer) = pair();
            peer.write_all(b"some bytes").expect("takes it");
            while ours.peek(&mut [0; 64]).expect("peeks") < 10 {
                std::thread::yield_now();
            }
            let before = at(&ours);
            assert_eq!(at(&ours), before, "{name}");
            used(&mut ours.try_clone().expect("a duplicate"));
            assert_ne!(at(&ours), before, "{name}");
        }
    }

    /// The end of the stream, once read, still was no byte.
    #[test]
    fn a_read_of_the_end_moves_nothing() {
        let (mut ours, peer) = pair();
        let before = at(&ours);
        drop(peer);
        assert_eq!(ours.read(&mut [0; 8]).expect("the end"), 0);
        assert_eq!(at(&ours), before);
    }

    #[test]
    fn a_reset_connection_has_moved() {
        let (ours, mut peer) = pair();
        let before = at(&ours);
        (&ours).write_all(b"unread").expect("takes it");
        while peer.peek(&mut [0; 8]).expect("peeks") == 0 {}
        let moved = at(&ours);
        assert_ne!(moved, before);
        peer.write_all(b"x").expect("takes it");
        drop(peer);
        while info(ours.as_fd()).unwrap().tcpi_state != tcp::CLOSE {
            std::thread::yield_now();
        }
        assert!(at(&ours).is_shut);
    }

    #[test]
    fn of_a_unix_socket_nothing_can_be_told() {
        let (ours, _peer) = std::os::unix::net::UnixStream::pair().expect("a pair");
        assert_eq!(Position::of(ours.as_fd()), None);
    }
}
