//! Several addresses, of which the first that can be connected to is taken.
//!
//! Invariant: an address that had its start and no connection was told of, however the race ends.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The addresses by turns of the two families, beginning with that of the first.
///
/// "the client SHOULD modify the ordered list to interleave address families" (RFC 8305, 4).
pub(super) fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return Vec::new() };
    let is_v6 = first.is_ipv6();
    let (mut same, mut other): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == is_v6);
    let mut turns = Vec::new();
    while !same.is_empty() || !other.is_empty() {
        for family in [&mut same, &mut other] {
            turns.extend(family.pop_front().filter(|address| !turns.contains(address)));
        }
    }
    turns
}

/// Connects to the first that lets us. The next begins when one has had its `start`, or fails.
pub(super) async fn race<S, C: Future<Output = io::Result<S>>>(
    addresses: &[SocketAddr],
    start: Duration,
    connect: impl Fn(SocketAddr) -> C,
    failed: impl Fn(SocketAddr),
) -> io::Result<(SocketAddr, S)> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut runners = Runners { running: Vec::new(), start, failed };
    let mut waiting = addresses.iter();
    loop {
        match waiting.next() {
            Some(address) => runners.add(*address, connect(*address)),
            None if runners.running.is_empty() => return Err(last),
            None => {}
        }
        let is_last = waiting.len() == 0;
        // Both branches are cancel safe: nothing is lost of those that run.
        tokio::select! {
            biased;
            (address, result) = poll_fn(|cx| runners.poll(cx)) => match result {
                Ok(stream) => return Ok((address, stream)),
                Err(error) => {
                    (runners.failed)(address);
                    last = error;
                }
            },
            () = tokio::time::sleep(start), if !is_last => {}
        }
    }
}

/// Those that are being connected to.
struct Runners<C, F: Fn(SocketAddr)> {
    running: Vec<(SocketAddr, Instant, Pin<Box<C>>)>,
    start: Duration,
    failed: F,
}

impl<S, C: Future<Output = io::Result<S>>, F: Fn(SocketAddr)> Runners<C, F> {
    fn add(&mut self, address: SocketAddr, connect: C) {
        self.running.push((address, Instant::now(), Box::pin(connect)));
    }

    /// The first that has come to its end.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(SocketAddr, io::Result<S>)> {
        for at in 0..self.running.len() {
            let (address, _, connect) = &mut self.running[at];
            if let Poll::Ready(result) = connect.as_mut().poll(cx) {
                let address = *address;
                self.running.remove(at);
                return Poll::Ready((address, result));
            }
        }
        Poll::Pending
    }
}

impl<C, F: Fn(SocketAddr)> Drop for Runners<C, F> {
    fn drop(&mut self) {
        let slow = self.running.iter().filter(|(_, began, _)| began.elapsed() >= self.start);
        slow.for_each(|(address, ..)| (self.failed)(*address));
    }
}
