//! Sockets of the relays.

use std::os::fd::OwnedFd;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::support::LIMIT;

pub(super) fn local(listener: &TcpListener) -> String {
    listener.local_addr().expect("a bound socket has an address").to_string()
}

/// 0 at the end of the stream, however it ends.
pub(super) async fn read(stream: &TcpStream, buffer: &mut [u8]) -> usize {
    loop {
        if stream.readable().await.is_err() {
            return 0;
        }
        match stream.try_read(buffer) {
            Ok(read) => return read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return 0,
        }
    }
}

pub(super) async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(super) fn shut_down(stream: &TcpStream) {
    // Whoever is gone needs no FIN.
    let _ = SockRef::from(stream).shutdown(std::net::Shutdown::Write);
}

pub(super) fn unread(fd: &OwnedFd) -> u64 {
    // A socket that was reset holds nothing.
    rustix::io::ioctl_fionread(fd).unwrap_or(0)
}

/// Lets a session start, hear of its bytes, and read and pass them on.
pub(super) async fn be_polled() {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
}

/// Waits until bytes that were sent are in the receiver's queue: at once, as a rule.
pub(super) async fn has_arrived(fd: &OwnedFd) {
    let arrival = async {
        while unread(fd) == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, arrival).await.expect("loopback loses nothing");
}
