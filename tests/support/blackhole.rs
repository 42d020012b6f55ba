//! A relay whose packets can be made to vanish, as behind a cable that was pulled: nobody is told
//! anything, nothing that is sent is acknowledged, and who connects hears nothing.
//!
//! ```text
//!   proxy ─► Blackhole ─► server
//!         ▲ the kernel drops all that comes for these sockets
//! ```
//! A filter on the sockets does it, so neither namespaces nor rights are needed.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use socket2::{SockFilter, SockRef};

/// A relay to one address; its threads end with their connections, at the latest with the test.
pub(crate) struct Blackhole {
    /// `127.0.0.1:PORT`: where it listens.
    pub address: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    inner: Mutex<Inner>,
    healed: Condvar,
}

#[derive(Default)]
struct Inner {
    is_swallowing: bool,
    listener: Option<TcpListener>,
    connections: Vec<TcpStream>,
}

impl Blackhole {
    /// Starts one, through which all passes.
    pub(crate) fn start(target: String) -> Self {
        Self::start_at("127.0.0.1:0", target).expect("the loopback has a free port")
    }

    /// Starts one at this address, unless that is taken.
    pub(crate) fn start_at(address: &str, target: String) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let state = Arc::<State>::default();
        state.lock().listener = Some(listener.try_clone().expect("a second handle of a socket"));
        let shared = state.clone();
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let Ok(far) = TcpStream::connect(&target) else { continue };
                shared.begin(near, far);
            }
        });
        Ok(Self { address, state })
    }

    /// From now on nothing that is sent to it arrives, and nothing is sent.
    pub(crate) fn swallow(&self) {
        let mut inner = self.state.lock();
        inner.is_swallowing = true;
        inner.listener.iter().for_each(|listener| drop_all(&SockRef::from(listener)));
        inner.connections.iter().for_each(|stream| drop_all(&SockRef::from(stream)));
    }

    /// All passes again.
    pub(crate) fn heal(&self) {
        let mut inner = self.state.lock();
        inner.is_swallowing = false;
        let detach = |socket: SockRef<'_>| socket.detach_filter().expect("it has a filter");
        inner.listener.iter().for_each(|listener| detach(SockRef::from(listener)));
        // One that was accepted since has the listener's filter, too.
        inner.connections.iter().for_each(|stream| detach(SockRef::from(stream)));
        self.state.healed.notify_all();
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Self>, near: TcpStream, far: TcpStream) {
        let clone = |stream: &TcpStream| stream.try_clone().expect("a second handle of a socket");
        let mut inner = self.lock();
        if inner.is_swallowing {
            drop_all(&SockRef::from(&near));
        }
        inner.connections.push(clone(&near));
        drop(inner);
        let (near2, far2) = (clone(&near), clone(&far));
        let (up, down) = (self.clone(), self.clone());
        thread::spawn(move || up.pass(near, far));
        thread::spawn(move || down.pass(far2, near2));
    }

    /// What is under way when all is swallowed waits.
    fn pass(&self, mut from: TcpStream, mut to: TcpStream) {
        let _ = to.set_nodelay(true);
        let mut buffer = [0; 4096];
        loop {
            let read = from.read(&mut buffer).unwrap_or(0);
            let inner = self.lock();
            let swallowing = |inner: &mut Inner| inner.is_swallowing;
            drop(self.healed.wait_while(inner, swallowing));
            if read == 0 || to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }
}

/// Has the kernel drop whatever comes for a socket: `BPF_RET | BPF_K`, of no byte.
fn drop_all(socket: &SockRef<'_>) {
    let nothing = SockFilter::new(0x06, 0, 0, 0);
    socket.attach_filter(&[nothing]).expect("anybody may");
}
