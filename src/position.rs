//! How far the owners of a socket have read and written it: whether somebody has used a duplicate.
//!
//! ```text
//! consumed = bytes received − bytes in the receive queue    what the process has read
//! produced = bytes acknowledged + bytes in the send queue   what the process has written
//! ```
//! Both belong to the connection, not to the descriptor: they are the same in every process that
//! holds it, they change by nothing but reading and writing, and need nobody's cooperation. Packets
//! that come and acknowledgements that arrive leave them as they are.
//!
//! Of a Unix socket nothing is counted, so there it is told by who uses it:
//! ```text
//!   Used ─ given away ─► Given ─ adopted ─► Taken ─ before the first use ─► Used
//! ```
//! That stands where the kernel keeps how long a write may wait, which is the same in every process
//! as well, and nothing to sockets that never wait. Who does not tell, as an older version, leaves
//! it `Given`.

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::libc;
use rustix::net::AddressFamily;
use rustix::net::sockopt::{self, Timeout};

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

    /// Where a Unix socket stands that nobody has used; None if somebody may have, or it is none.
    fn of_unused(fd: BorrowedFd<'_>) -> Option<Self> {
        let nowhere = Self { consumed: 0, produced: 0, is_shut: false, is_gone: false };
        (is_unix(fd) && Mark::of(fd).is_unused()).then_some(nowhere)
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
    matches!(sockopt::socket_domain(fd), Ok(AddressFamily::UNIX))
}

/// Where some sockets stand; None if that cannot be told of one of them. Unix sockets stand in one
/// place from when they are given away until somebody uses them.
pub(crate) fn positions(fds: &[OwnedFd]) -> Option<Vec<Position>> {
    let position = |fd: BorrowedFd<'_>| Position::of(fd).or_else(|| Position::of_unused(fd));
    fds.iter().map(|fd| position(fd.as_fd())).collect()
}

/// Whether it can be told of all of these whether their new owner has used them.
pub(crate) fn are_told_of(fds: &[OwnedFd]) -> bool {
    let is_told_of = |fd: BorrowedFd<'_>| !is_unix(fd) || Mark::of(fd) != Mark::Given;
    fds.iter().all(|fd| is_told_of(fd.as_fd()))
}

/// What its users tell of a Unix socket. See above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It may have been.
    Used,
    /// Not since it was given away, by who has it next if that one tells.
    Given,
    /// Not since then; its owner tells.
    Taken,
}

impl Mark {
    /// What stands at this one.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Self {
        let found = sockopt::socket_timeout(fd, Timeout::Send).ok().flatten();
        let is_it = |mark: &Self| found.is_some() && found == mark.timeout();
        [Self::Given, Self::Taken].into_iter().find(is_it).unwrap_or(Self::Used)
    }

    /// Puts it there. Where that fails it is `Used` as before, or is not used.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn put(self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(sockopt::set_socket_timeout(fd, Timeout::Send, self.timeout())?)
    }

    /// Whether nobody has used it.
    pub(crate) fn is_unused(self) -> bool {
        self != Self::Used
    }

    /// How long a write that waits would: nobody else asks for half a year.
    fn timeout(self) -> Option<Duration> {
        match self {
            Self::Used => None,
            Self::Given => Some(Duration::from_secs(1 << 24 | 1)),
            Self::Taken => Some(Duration::from_secs(1 << 24 | 2)),
        }
    }
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
        assert_eq!(positions(&[ours.into()]), None);
    }

    /// In whatever process the duplicate is.
    #[test]
    fn of_a_unix_socket_it_is_told_whether_it_was_used() {
        let (ours, _peer) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let (theirs, ours) = (ours.try_clone().expect("a duplicate"), [OwnedFd::from(ours)]);
        Mark::Given.put(theirs.as_fd()).expect("an option");
        let given = positions(&ours);
        assert!(given.is_some() && !are_told_of(&ours), "who has it may be one who does not tell");
        Mark::Taken.put(theirs.as_fd()).expect("an option");
        assert!(positions(&ours) == given && are_told_of(&ours));
        Mark::Used.put(theirs.as_fd()).expect("an option");
        assert!(positions(&ours).is_none() && are_told_of(&ours));
        assert_eq!(Mark::of(theirs.as_fd()), Mark::Used);
    }
}
