//! Listening sockets, and the gate that all accept loops obey.
//!
//! A socket is never closed while somebody may connect to it: a closed gate only means that nobody
//! accepts *here*; clients wait in the kernel's queue, which a duplicate in another process shares.
//! While the gate is closed a socket is not registered in this process's event queue.

mod bind;
mod reserve;

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use super::socket::Keepalive;
use super::stream::Stream;
pub use bind::{Address, Families, FileId, Unreachable};
pub use reserve::{open_files, raise_limit};

/// How long to wait when there is no file descriptor or memory for one more connection.
const OUT_OF_FDS: Duration = Duration::from_millis(50);

/// How often that is logged.
const COMPLAINT: Duration = Duration::from_secs(10);

/// A bound and listening socket.
#[derive(Debug)]
pub struct Listener {
    name: String,
    address: Address,
    bound: Mutex<Bound>,
    /// Another socket has taken the place of the one before.
    replaced: watch::Sender<()>,
    is_reachable: AtomicBool,
}

#[derive(Debug)]
struct Bound {
    socket: Arc<Socket>,
    /// None: it has none, or was not there when it was inherited.
    file: Option<FileId>,
}

impl Listener {
    /// Binds and listens.
    pub fn bind(name: String, address: Address) -> io::Result<Self> {
        let (socket, file) = bind::bind(&address)?;
        Ok(Self::new(name, address, socket, file))
    }

    /// A socket that listens already.
    pub fn inherited(name: String, address: Address, fd: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(fd);
        if !socket.is_listener()? {
            let error = format!("inherited socket '{name}' does not listen");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        socket.set_nonblocking(true)?;
        if let Address::Tcp(tcp, Families::Both) = &address
            && tcp.is_ipv6()
            && socket.only_v6().unwrap_or(false)
        {
            tracing::warn!(listener = name, "it is for IPv6 alone until the proxy is stopped");
        }
        let file = match &address {
            Address::Tcp(..) => None,
            Address::Unix(path) | Address::Private(path) => FileId::of(path).ok(),
        };
        Ok(Self::new(name, address, socket, file))
    }

    fn new(name: String, address: Address, socket: Socket, file: Option<FileId>) -> Self {
        let bound = Mutex::new(Bound { socket: Arc::new(socket), file });
        let replaced = watch::Sender::new(());
        Self { name, address, bound, replaced, is_reachable: AtomicBool::new(true) }
    }

    /// What it is called in a handover.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The socket.
    pub fn socket(&self) -> Arc<Socket> {
        self.bound().socket.clone()
    }

    /// A duplicate of the socket.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.socket().as_fd().try_clone_to_owned()
    }

    /// Gives connections that come from it these options.
    pub fn tune(&self, keepalive: Keepalive) -> io::Result<()> {
        keepalive.tune_listener(&*self.socket())
    }

    /// The file of a Unix socket.
    pub fn file(&self) -> Option<FileId> {
        self.bound().file
    }

    /// The file was this one when the socket was bound, whatever is there now.
    pub fn believe(&self, file: FileId) {
        self.bound().file = Some(file);
    }

    /// Whether clients find it, as of the last look.
    pub fn is_reachable(&self) -> bool {
        self.is_reachable.load(Ordering::Relaxed)
    }

    /// Looks whether clients find it.
    pub fn look(&self) -> Result<(), Unreachable> {
        let bound = self.bound();
        let found = bind::look(&self.address, &bound.socket, bound.file);
        self.is_reachable.store(found.is_ok(), Ordering::Relaxed);
        found
    }

    /// Makes clients find it again. Those that wait at the old socket are served by the accept
    /// loop, which must be running.
    pub fn restore(&self) -> io::Result<()> {
        let mut bound = self.bound();
        match &self.address {
            // It has kept its address.
            Address::Tcp(..) => bind::listen(&bound.socket)?,
            Address::Unix(_) | Address::Private(_) => {
                let (socket, file) = bind::bind(&self.address)?;
                *bound = Bound { socket: Arc::new(socket), file };
            }
        }
        self.replaced.send_replace(());
        self.is_reachable.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn bound(&self) -> MutexGuard<'_, Bound> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address it is bound to; shows the port that the kernel chose for port 0.
    pub fn local(&self) -> String {
        // It may be bound by another name, as its own may be too long for an address.
        if let Address::Private(path) = &self.address {
            return format!("unix:{}", path.display());
        }
        match self.socket().local_addr() {
            Ok(address) => match (address.as_socket(), address.as_pathname()) {
                (Some(address), _) => address.to_string(),
                (None, Some(path)) => format!("unix:{}", path.display()),
                (None, None) => self.name.clone(),
            },
            Err(_) => self.name.clone(),
        }
    }

    /// Accepts while the gate is open, for ever. Each connection goes to `serve`, which must not
    /// block.
    pub async fn accept_loop(&self, gate: Gate, mut serve: impl FnMut(Stream)) {
        let mut open = gate.open.subscribe();
        loop {
            if open.wait_for(|open| *open).await.is_err() {
                return;
            }
            let counted = gate.count();
            let closed = async {
                let _ = open.wait_for(|open| !*open).await;
            };
            let ended = self.accept_until(closed, gate.descriptors, &mut serve).await;
            drop(counted);
            if let Err(error) = ended {
                tracing::error!(listener = self.name, %error, "cannot accept; trying again");
                tokio::time::sleep(OUT_OF_FDS).await;
            }
        }
    }

    /// The socket is registered only while this runs.
    async fn accept_until(
        &self,
        closed: impl Future<Output = ()>,
        descriptors: Descriptors,
        serve: &mut impl FnMut(Stream),
    ) -> io::Result<()> {
        let mut replaced = self.replaced.subscribe();
        let mut acceptor = Acceptor::new(self.duplicate()?)?;
        // Nobody new finds it; whoever was about to connect may still come.
        let mut former: Option<Acceptor> = None;
        let mut complained: Option<Instant> = None;
        tokio::pin!(closed);
        loop {
            // All branches are cancel safe.
            let accepted = tokio::select! {
                biased;
                () = &mut closed => {
                    if let Some(former) = &former {
                        former.empty(serve).await;
                    }
                    return Ok(());
                }
                Ok(()) = replaced.changed() => {
                    let current = Acceptor::new(self.duplicate()?)?;
                    let before = std::mem::replace(&mut acceptor, current);
                    before.empty(serve).await;
                    former = Some(before);
                    continue;
                }
                accepted = poll_fn(|cx| poll_either(cx, &acceptor, former.as_ref())) => accepted,
            };
            let accepted = match accepted {
                Err(error) if is_for_want_of_descriptors(&error) => {
                    let again = |cx: &mut Context<'_>| poll_either(cx, &acceptor, former.as_ref());
                    descriptors.once_more(again, error).await
                }
                accepted => accepted,
            };
            match accepted {
                Ok(stream) => serve(stream),
                // The client was gone before we came to it, or the like: not the listener's fault.
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    if complained.is_none_or(|at| at.elapsed() >= COMPLAINT) {
                        tracing::warn!(listener = self.name, %error, "cannot accept");
                        complained = Some(Instant::now());
                    }
                    tokio::time::sleep(OUT_OF_FDS).await;
                }
            }
        }
    }
}

/// Where the descriptors of accepted connections come from.
#[derive(Clone, Copy, Debug)]
enum Descriptors {
    /// First come, first served.
    Common,
    /// There are some for these connections alone.
    Reserved,
}

impl Descriptors {
    /// Accepts with what is reserved, if there is any.
    async fn once_more(
        self,
        mut accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<Stream>>,
        error: io::Error,
    ) -> io::Result<Stream> {
        match self {
            Self::Common => Err(error),
            Self::Reserved => {
                let once = |cx: &mut Context<'_>| Poll::Ready(reserve::lend(|| accept(cx)));
                // Who is gone meanwhile is nobody's fault.
                let gone = Err(io::ErrorKind::ConnectionAborted.into());
                match poll_fn(once).await {
                    Poll::Ready(accepted) => accepted,
                    Poll::Pending => gone,
                }
            }
        }
    }
}

/// Who waits at a socket, or at the one that was there before it.
fn poll_either(
    cx: &mut Context<'_>,
    acceptor: &Acceptor,
    former: Option<&Acceptor>,
) -> Poll<io::Result<Stream>> {
    match (acceptor.poll(cx), former) {
        (Poll::Pending, Some(former)) => former.poll(cx),
        (polled, _) => polled,
    }
}

fn is_for_want_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(nix::libc::EMFILE | nix::libc::ENFILE))
}

fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(fd);
        if socket.domain()? == Domain::UNIX {
            return UnixListener::from_std(socket.into()).map(Self::Unix);
        }
        TcpListener::from_std(socket.into()).map(Self::Tcp)
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        match self {
            Self::Tcp(it) => it.poll_accept(cx).map_ok(|(stream, _)| Stream::from(stream)),
            Self::Unix(it) => it.poll_accept(cx).map_ok(|(stream, _)| Stream::from(stream)),
        }
    }

    /// Serves all that wait now.
    async fn empty(&self, serve: &mut impl FnMut(Stream)) {
        loop {
            match poll_fn(|cx| Poll::Ready(self.poll(cx))).await {
                Poll::Ready(Ok(stream)) => serve(stream),
                Poll::Ready(Err(error)) if is_of_the_connection(&error) => {}
                Poll::Ready(Err(_)) | Poll::Pending => return,
            }
        }
    }
}

/// Opens and closes all accept loops together.
#[derive(Clone, Debug)]
pub struct Gate {
    open: watch::Sender<bool>,
    accepting: watch::Sender<usize>,
    loops: usize,
    descriptors: Descriptors,
}

impl Gate {
    /// A closed gate for so many accept loops.
    pub fn closed(loops: usize) -> Self {
        Self {
            open: watch::Sender::new(false),
            accepting: watch::Sender::new(0),
            loops,
            descriptors: Descriptors::Common,
        }
    }

    /// Its loops also accept when the descriptors of all others are in use.
    pub fn with_reserve(self) -> Self {
        Self { descriptors: Descriptors::Reserved, ..self }
    }

    /// Lets the loops accept; done when all do, or when the gate is closed again.
    pub async fn open(&self) {
        self.open.send_replace(true);
        let mut accepting = self.accepting.subscribe();
        let mut open = self.open.subscribe();
        tokio::select! {
            _ = accepting.wait_for(|count| *count >= self.loops) => {}
            _ = open.wait_for(|open| !*open) => {}
        }
    }

    /// Stops the loops; done when none accepts any more, or when the gate is opened again.
    pub async fn close(&self) {
        self.open.send_replace(false);
        let mut accepting = self.accepting.subscribe();
        let mut open = self.open.subscribe();
        tokio::select! {
            _ = accepting.wait_for(|count| *count == 0) => {}
            _ = open.wait_for(|open| *open) => {}
        }
    }

    /// One more loop accepts, until it stops, or panics.
    fn count(&self) -> impl Drop + use<> {
        struct Counted(watch::Sender<usize>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.send_modify(|count| *count -= 1);
            }
        }
        self.accepting.send_modify(|count| *count += 1);
        Counted(self.accepting.clone())
    }

    /// Whether the loops may accept.
    pub fn is_open(&self) -> bool {
        *self.open.borrow()
    }
}
