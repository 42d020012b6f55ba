//! Frames and file descriptors over a Unix SOCK_SEQPACKET socket, async.
//!
//! Received fds are close-on-exec and owned from the first instant. The kernel drops fds that do
//! not fit and says so only by MSG_CTRUNC: that fails the batch, with nothing leaked. A frame over
//! 128 KiB travels in a sealed memfd, as the first fd of a short datagram.
//! rustix owns what it receives, so nothing here is `unsafe`.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use zeroize::Zeroizing;

use super::disguise;
use crate::restart::host::fd::watched;
use crate::restart::message::{DecodeError, Frame, LONGEST, MOST_FDS};

/// The longest datagram; with the default buffers the kernel takes up to 212,960 bytes.
const LONGEST_DATAGRAM: usize = 128 * 1024;

/// Announces a memfd: this and its length as u64.
const MEMFD: &[u8; 8] = b"ODPMEMFD";

/// How often a full kernel is asked again within the deadline of a send.
const CONGESTION: Duration = Duration::from_millis(2);

/// How long congestion may last before the batch counts as too big.
const CONGESTED: Duration = Duration::from_millis(100);

/// What MSG_CTRUNC means, as far as anybody can tell.
pub(crate) const FDS_LOST: &str =
    "file descriptors were lost on the way: limit of open files, or a security module";

/// One end of the handover.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: AsyncFd<OwnedFd>,
    /// Sessions come through it, and there may be keys in them.
    buffer: Zeroizing<Vec<u8>>,
}

/// A frame with its fds.
#[derive(Debug)]
pub(crate) struct Received {
    /// Message and raw bytes.
    pub frame: Frame,
    /// The fds, all close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// Why nothing was sent or received.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other side has closed its end, or died.
    #[error("the other side closed the channel")]
    Closed,
    /// Not within the deadline.
    #[error("the other side does not read")]
    TimedOut,
    /// The kernel does not take so much at once: fewer fds may go through.
    #[error("the kernel does not take the batch: {0}")]
    Congested(#[source] io::Error),
    /// The kernel did not deliver all fds. Holds the frame, so that it can be answered.
    #[error("{FDS_LOST}")]
    FdsLost(Option<Box<Frame>>),
    /// What came is no message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The kernel said something else.
    #[error("handover channel: {0}")]
    Io(#[from] io::Error),
}

impl Channel {
    /// Both ends of an anonymous channel: nobody else can connect to it.
    pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
    }

    /// Takes a connected SEQPACKET socket. Must be called within a tokio runtime.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let socket = watched(socket)?;
        Ok(Self { socket, buffer: Zeroizing::new(vec![0; LONGEST_DATAGRAM + 1]) })
    }

    /// The socket, for SO_PEERCRED and the like.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }

    /// Sends a frame whole, or not at all. At most [`MOST_FDS`] fds.
    pub(crate) async fn send(
        &self,
        frame: &Frame,
        fds: &[BorrowedFd<'_>],
        within: Duration,
    ) -> Result<(), ChannelError> {
        let deadline = Instant::now() + within;
        let (head, body) = disguise::encode(frame);
        if head.len() + body.len() <= LONGEST_DATAGRAM {
            return self.send_datagram(&[&head, &body], fds, deadline).await;
        }
        let memfd = sealed(&head, &body)?;
        let length = (head.len() + body.len()) as u64;
        let mut all = Vec::with_capacity(fds.len() + 1);
        all.push(memfd.as_fd());
        all.extend_from_slice(fds);
        self.send_datagram(&[MEMFD, &length.to_le_bytes()], &all, deadline).await
    }

    async fn send_datagram(
        &self,
        parts: &[&[u8]],
        fds: &[BorrowedFd<'_>],
        deadline: Instant,
    ) -> Result<(), ChannelError> {
        let patience = Instant::now() + CONGESTED;
        loop {
            let ready = timeout_at(deadline, self.socket.writable());
            let mut ready = ready.await.map_err(|_| ChannelError::TimedOut)??;
            let Ok(sent) = ready.try_io(|socket| send_now(socket.get_ref(), parts, fds)) else {
                continue;
            };
            match sent {
                Ok(()) => return Ok(()),
                Err(error) if is_closed(&error) => return Err(ChannelError::Closed),
                Err(error) if !is_congestion(&error) => return Err(error.into()),
                Err(error) if Instant::now() >= patience => {
                    return Err(ChannelError::Congested(error));
                }
                // The other side takes fds out of flight by reading.
                Err(_) => sleep(CONGESTION).await,
            }
        }
    }

    /// Waits for the next frame. Cancel safe.
    pub(crate) async fn recv(&mut self) -> Result<Received, ChannelError> {
        loop {
            let mut ready = self.socket.readable().await?;
            let buffer = &mut self.buffer;
            match ready.try_io(|socket| recv_now(socket.get_ref(), buffer)) {
                Err(_would_block) => {}
                Ok(Err(error)) => return Err(error.into()),
                Ok(Ok(datagram)) => return datagram.decode(),
            }
        }
    }

    /// The next frame within a time.
    pub(crate) async fn recv_within(&mut self, within: Duration) -> Result<Received, ChannelError> {
        timeout(within, self.recv()).await.unwrap_or(Err(ChannelError::TimedOut))
    }

    /// What is there already. Asks the kernel itself: after this process was stopped for a while,
    /// what the other side had said counts more than the clock.
    pub(crate) fn try_recv(&mut self) -> Option<Result<Received, ChannelError>> {
        match recv_now(self.socket.get_ref(), &mut self.buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(Err(error.into())),
            Ok(datagram) => Some(datagram.decode()),
        }
    }
}

struct Datagram {
    bytes: Bytes,
    fds: Vec<OwnedFd>,
    flags: ReturnFlags,
}

impl Datagram {
    fn decode(mut self) -> Result<Received, ChannelError> {
        if self.flags.contains(ReturnFlags::CTRUNC) {
            let frame = Frame::decode(&self.bytes).ok().map(Box::new);
            return Err(ChannelError::FdsLost(frame));
        }
        if self.bytes.is_empty() {
            return Err(ChannelError::Closed);
        }
        if self.flags.contains(ReturnFlags::TRUNC) {
            return Err(DecodeError::Malformed("datagram too long".into()).into());
        }
        if self.bytes.starts_with(MEMFD) {
            if self.fds.is_empty() {
                return Err(
                    DecodeError::Malformed("a memfd was announced, none came".into()).into()
                );
            }
            self.bytes = unsealed(self.fds.remove(0), &self.bytes[MEMFD.len()..])?;
        }
        Ok(Received { frame: Frame::decode(&self.bytes)?, fds: self.fds })
    }
}

fn send_now(socket: &OwnedFd, parts: &[&[u8]], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(fds.len()))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::MSGSIZE.into());
    }
    let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    sendmsg(socket, &slices, &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
    Ok(())
}

fn recv_now(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Datagram> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS + 1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let mut receive =
        |buffer: &mut [u8]| recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags);
    let message = match receive(buffer) {
        // The other side closed with something unread: an error that is told once, before what it
        // had sent.
        Err(Errno::CONNRESET) => receive(buffer)?,
        result => result?,
    };
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            fds.extend(rights);
        }
    }
    let length = message.bytes.min(buffer.len());
    let bytes = Bytes::from_owner(Zeroizing::new(buffer[..length].to_vec()));
    Ok(Datagram { bytes, fds, flags: message.flags })
}

fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

fn is_congestion(error: &io::Error) -> bool {
    let congestion = [Errno::TOOMANYREFS, Errno::MSGSIZE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| congestion.contains(&errno))
}

const SEALS: SealFlags =
    SealFlags::WRITE.union(SealFlags::GROW).union(SealFlags::SHRINK).union(SealFlags::SEAL);

fn sealed(head: &[u8], body: &[u8]) -> io::Result<OwnedFd> {
    let memfd = memfd_create("odp-handover", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(memfd);
    file.write_all(head)?;
    file.write_all(body)?;
    fcntl_add_seals(&file, SEALS)?;
    Ok(file.into())
}

fn unsealed(memfd: OwnedFd, announced: &[u8]) -> Result<Bytes, ChannelError> {
    let malformed = |text: &str| DecodeError::Malformed(text.into());
    let announced: [u8; 8] = announced.try_into().map_err(|_| malformed("memfd without length"))?;
    let length = u64::from_le_bytes(announced);
    // Without the seals the sender could change or cut the file while it is read.
    if !fcntl_get_seals(&memfd).is_ok_and(|seals| seals.contains(SEALS)) {
        return Err(malformed("memfd without seals").into());
    }
    let mut file = File::from(memfd);
    if length > 2 * LONGEST as u64 || file.metadata()?.len() != length {
        return Err(malformed("memfd of another length than announced").into());
    }
    let mut bytes = Vec::with_capacity(length as usize);
    // The writer's position is shared: start at the front.
    io::Seek::rewind(&mut file)?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::restart::message::{Message, Reason};

    const SOON: Duration = Duration::from_secs(5);

    fn pair() -> (Channel, Channel) {
        let (a, b) = Channel::pair().expect("a socketpair");
        (Channel::new(a).expect("a channel"), Channel::new(b).expect("a channel"))
    }

    fn frame(body: Vec<u8>) -> Frame {
        Frame { message: Message::Ready {}, body: body.into() }
    }

    #[tokio::test]
    async fn frames_and_fds_arrive_as_they_were_sent() {
        let (a, mut b) = pair();
        for size in [0, 5, LONGEST_DATAGRAM - 100, LONGEST_DATAGRAM, 5_000_000] {
            let sent = frame(vec![7; size]);
            let (reader, writer) = std::io::pipe().expect("a pipe");
            a.send(&sent, &[reader.as_fd()], SOON).await.expect("sent");
            drop(reader);
            let received = b.recv_within(SOON).await.expect("received");
            assert_eq!(received.frame, sent);
            let [fd] = <[OwnedFd; 1]>::try_from(received.fds).expect("one fd");
            let flags = rustix::io::fcntl_getfd(&fd).expect("flags");
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
            (&writer).write_all(b"x").expect("written");
            let mut byte = [0];
            File::from(fd).read_exact(&mut byte).expect("read");
            assert_eq!(&byte, b"x");
        }
    }

    #[tokio::test]
    async fn as_many_fds_as_the_kernel_allows_go_at_once() {
        let (a, mut b) = pair();
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        let fds = vec![reader.as_fd(); MOST_FDS];
        a.send(&frame(vec![1; 200_000]), &fds, SOON).await.expect("sent");
        assert_eq!(b.recv_within(SOON).await.expect("received").fds.len(), MOST_FDS);
    }

    #[tokio::test]
    async fn what_was_sent_before_a_close_is_still_received() {
        let (a, mut b) = pair();
        b.send(&frame(vec![]), &[], SOON).await.expect("unread by a");
        a.send(&Message::Abort(Reason { reason: "x".into() }).into(), &[], SOON)
            .await
            .expect("sent");
        drop(a);
        assert_eq!(b.recv_within(SOON).await.expect("received").frame.message.name(), "ABORT");
        assert!(matches!(b.recv_within(SOON).await, Err(ChannelError::Closed)));
        let sent = b.send(&frame(vec![]), &[], SOON).await;
        assert!(matches!(sent, Err(ChannelError::Closed)));
    }

    #[tokio::test]
    async fn a_reader_that_hangs_is_noticed() {
        let (a, _b) = pair();
        let big = frame(vec![0; 100_000]);
        let mut result = Ok(());
        for _ in 0..10 {
            result = a.send(&big, &[], Duration::from_millis(20)).await;
            if result.is_err() {
                break;
            }
        }
        assert!(matches!(result, Err(ChannelError::TimedOut)));
    }

    #[tokio::test]
    async fn an_unsealed_memfd_is_refused() {
        let (a, mut b) = pair();
        let memfd = memfd_create("x", MemfdFlags::CLOEXEC).expect("a memfd");
        let announcement = [MEMFD.as_slice(), &0_u64.to_le_bytes()].concat();
        send_now(a.socket.get_ref(), &[&announcement], &[memfd.as_fd()]).expect("sent");
        assert!(matches!(b.recv_within(SOON).await, Err(ChannelError::Decode(_))));
    }
}
