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
use rustix::net::AddressFamily;

/// Queues move while they are read; that often the reading is repeated.
const ATTEMPTS: usize = 8;

/// States of a TCP connection, as TCP_INFO has them.
mod tcp {
    pub(super) const ESTABLISHED: u8 = 1;
    pub(super) const FIN_WAIT1: u8 = 4;
    pub(super) const FIN_WAIT2: u8 = 5;
    pub(super) const TIME_WAIT: u8 = 6;
    pub(super) const CLOSE: u8 = 7;
    pub(super) const CLOSE_WAIT: u8 = 8;
    pub(super) const LAST_ACK: u8 = 9;
    pub(super) const CLOSING: u8 = 11;
}

/// The position of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    consumed: u64,
    produced: u64,
    /// Our FIN is out, or the connection is gone.
    is_shut: bool,
    /// It is gone.
    is_gone: bool,
}

impl Position {
    /// Bytes that were read.
    pub(crate) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Bytes that were written.
    pub(crate) fn produced(&self) -> u64 {
        self.produced
    }

    /// Whether our FIN is out, or the connection is gone.
    pub(crate) fn is_shut(&self) -> bool {
        self.is_shut
    }

    /// Whether the connection is gone: reset, or both sides have sent FIN. What has come before is
    /// still to be read, and a FIN of either side counts as a byte.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone
    }
}

impl Position {
    /// Where a socket that nobody reads or writes stands; None if that cannot be told: it is no TCP
    /// socket, or never at rest.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Option<Self> {
        let mut before = Info::of(fd).ok()?;
        let mut unread = receive_queue(fd)?;
        // Most sessions: nothing is in a queue, so nothing came after the counts were taken, for it
        // would be in there; and what was sent is counted by one and the same look.
        if unread == 0 && before.is_acknowledged() {
            return Some(Self::new(&before, 0, 0));
        }
        for _ in 0..ATTEMPTS {
            let unsent = send_queue(fd)?;
            let after = Info::of(fd).ok()?;
            if before.is_at_rest_until(&after) {
                return Some(Self::new(&after, unread, unsent));
            }
            before = after;
            unread = receive_queue(fd)?;
        }
        None
    }

    fn new(Info { tcp: info, .. }: &Info, unread: u64, unsent: u64) -> Self {
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
            is_gone: state == tcp::CLOSE,
        }
    }
}

/// Whether it is a Unix socket, of whose use the kernel counts nothing.
pub(crate) fn is_unix(fd: BorrowedFd<'_>) -> bool {
    matches!(rustix::net::sockopt::socket_domain(fd), Ok(AddressFamily::UNIX))
}

/// Where some sockets stand; None if that cannot be told of one of them.
pub(crate) fn positions(fds: &[OwnedFd]) -> Option<Vec<Position>> {
    fds.iter().map(|fd| Position::of(fd.as_fd())).collect()
}

/// TCP_INFO, as far as the kernel knows it.
struct Info {
    tcp: libc::tcp_info,
    /// How many bytes it has filled in.
    length: usize,
}

/// How long TCP_INFO is if it has a field.
macro_rules! up_to {
    ($field:ident, $type:ty) => {
        offset_of!(libc::tcp_info, $field) + size_of::<$type>()
    };
}

impl Info {
    /// An error from kernels whose answer has no byte counts (before 4.1).
    fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
        // SAFETY: tcp_info is integers only, for which all zeroes is a value; the kernel writes at
        // most `length` bytes into it, and the descriptor is open as long as it is borrowed.
        let (result, tcp) = unsafe {
            let mut tcp: libc::tcp_info = std::mem::zeroed();
            let place = (&raw mut tcp).cast();
            let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
            (libc::getsockopt(fd.as_raw_fd(), level, name, place, &raw mut length), tcp)
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        let length = length as usize;
        if length < up_to!(tcpi_bytes_received, u64) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self { tcp, length })
    }

    /// Whether all that was written is acknowledged, so that the send queue is empty; false where
    /// that is not certain, as on kernels that do not say what is not sent yet (before 4.6).
    fn is_acknowledged(&self) -> bool {
        let Self { tcp, length } = self;
        *length >= up_to!(tcpi_notsent_bytes, u32)
            && matches!(tcp.tcpi_state, tcp::ESTABLISHED | tcp::CLOSE_WAIT)
            && tcp.tcpi_unacked == 0
            && tcp.tcpi_notsent_bytes == 0
    }

    /// Whether nothing came or was acknowledged between these two looks.
    fn is_at_rest_until(&self, later: &Self) -> bool {
        self.tcp.tcpi_bytes_received == later.tcp.tcpi_bytes_received
            && self.tcp.tcpi_bytes_acked == later.tcp.tcpi_bytes_acked
            && self.tcp.tcpi_state == later.tcp.tcpi_state
    }
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
            || Info::of(ours.as_fd()).unwrap().tcp.tcpi_state != tcp::CLOSE_WAIT
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
        while Info::of(ours.as_fd()).unwrap().tcp.tcpi_state != tcp::CLOSE {
            std::thread::yield_now();
        }
        assert!(at(&ours).is_shut);
    }

    /// The short way round and the long one come to the same.
    #[test]
    fn an_empty_queue_is_as_good_as_two_looks() {
        let (mut ours, mut peer) = pair();
        ours.write_all(b"a question").expect("takes it");
        assert_eq!(peer.read(&mut [0; 64]).expect("reads"), 10);
        peer.write_all(b"an answer").expect("takes it");
        ours.read_exact(&mut [0; 9]).expect("reads");
        let idle = || Info::of(ours.as_fd()).unwrap();
        while !idle().is_acknowledged() {
            std::thread::yield_now();
        }
        let short = at(&ours);
        assert_eq!((short.consumed, short.is_shut), (9, false));
        // Something to read sends it the long way.
        peer.write_all(b"more").expect("takes it");
        while ours.peek(&mut [0; 64]).expect("peeks") < 4 {
            std::thread::yield_now();
        }
        assert_eq!(at(&ours), short);
    }

    #[test]
    fn of_a_unix_socket_nothing_can_be_told() {
        let (ours, _peer) = std::os::unix::net::UnixStream::pair().expect("a pair");
        assert_eq!(Position::of(ours.as_fd()), None);
        assert!(is_unix(ours.as_fd()) && !is_unix(pair().0.as_fd()));
    }
}
