//! Connecting to a server: by the path of its socket, or by an address that its name has now.
//!
//! A name is resolved at each connect; those who connect while the resolver is asked share its
//! answer, as a question to one that is silent holds a thread. The addresses of a name are raced
//! (RFC 8305, "Happy Eyeballs"): each gets a start over the next, and the first connection is
//! taken. One that failed, or lost in spite of its start, goes last for a while.

mod race;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;

use super::socket::Keepalive;
use super::stream::Stream;
use crate::config::ServerAddress;
use crate::task;
use race::{interleaved, race};

/// "Connection Attempt Delay ... One recommended value for a default delay is 250 milliseconds."
const START: Duration = Duration::from_millis(250);

/// How long an address goes last.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Connects to one server, and learns about its addresses.
#[derive(Debug)]
pub struct Dialer {
    target: ServerAddress,
    failures: Failures,
    question: Question,
}

/// Addresses that failed of late.
#[derive(Debug, Default)]
struct Failures(Mutex<HashMap<SocketAddr, Instant>>);

/// What a resolver has answered.
type Answer = Result<Vec<SocketAddr>, Arc<io::Error>>;

/// What the resolver is asked at present.
#[derive(Debug, Default)]
struct Question(Mutex<Option<watch::Receiver<Option<Answer>>>>);

impl Dialer {
    /// Nothing is known of the target.
    pub fn new(target: ServerAddress) -> Self {
        Self { target, failures: Failures::default(), question: Question::default() }
    }

    /// The name or address that is dialed; None for a Unix socket.
    pub fn host(&self) -> Option<&str> {
        match &self.target {
            ServerAddress::Tcp { host, .. } => Some(host),
            ServerAddress::Unix(_) => None,
        }
    }

    /// Connects within `limit`, resolver and all addresses together.
    pub async fn dial(&self, keepalive: Keepalive, limit: Duration) -> io::Result<Stream> {
        let connect = async {
            match &self.target {
                ServerAddress::Tcp { host, port } => {
                    self.dial_tcp(host, *port, limit).await.map(Stream::from)
                }
                ServerAddress::Unix(path) => UnixStream::connect(path).await.map(Stream::from),
            }
        };
        let stream = tokio::time::timeout(limit, connect).await.map_err(|_| {
            let limit = humantime::format_duration(limit);
            io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {limit}"))
        })??;
        stream.tune(keepalive)?;
        Ok(stream)
    }

    /// The address of its name that takes connections at present, for who connects by himself;
    /// None: it has no name. Of several one is dialed, and no word said.
    pub async fn find(&self, limit: Duration) -> io::Result<Option<IpAddr>> {
        let ServerAddress::Tcp { host, port } = &self.target else { return Ok(None) };
        if host.parse::<IpAddr>().is_ok() {
            return Ok(None);
        }
        let addresses = self.resolve(host, *port).await?;
        if let [only] = addresses[..] {
            return Ok(Some(only.ip()));
        }
        let stream = self.connect_to_any(addresses, limit).await?;
        Ok(Some(stream.peer_addr()?.ip()))
    }

    async fn dial_tcp(&self, host: &str, port: u16, limit: Duration) -> io::Result<TcpStream> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return TcpStream::connect((address, port)).await;
        }
        let addresses = self.resolve(host, port).await?;
        self.connect_to_any(addresses, limit).await
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let name = (host.to_owned(), port);
        self.question.ask(async move { Ok(tokio::net::lookup_host(name).await?.collect()) }).await
    }

    async fn connect_to_any(
        &self,
        addresses: Vec<SocketAddr>,
        limit: Duration,
    ) -> io::Result<TcpStream> {
        let (good, failed): (Vec<_>, Vec<_>) =
            interleaved(addresses).into_iter().partition(|address| !self.failures.has(*address));
        let addresses = [good, failed].concat();
        // With little time each still gets its turn.
        let start = START.min(limit / (addresses.len() as u32 + 1));
        let connect = |address| async move {
            let stream = TcpStream::connect(address).await;
            stream.map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
        };
        let (address, stream) =
            race(&addresses, start, connect, |address| self.failures.add(address)).await?;
        self.failures.remove(address);
        Ok(stream)
    }
}

impl Failures {
    fn has(&self, address: SocketAddr) -> bool {
        self.lock().get(&address).is_some_and(|at| at.elapsed() < REMEMBERED)
    }

    fn add(&self, address: SocketAddr) {
        let mut failures = self.lock();
        // A name may have other addresses every day.
        failures.retain(|_, at| at.elapsed() < REMEMBERED);
        failures.insert(address, Instant::now());
    }

    fn remove(&self, address: SocketAddr) {
        self.lock().remove(&address);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Question {
    /// The answer to what is asked already, or else to this. Who leaves before it comes does not
    /// keep it from the others.
    async fn ask(
        &self,
        ask: impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    ) -> io::Result<Vec<SocketAddr>> {
        let mut answer = {
            let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match &*asked {
                Some(answer) if answer.borrow().is_none() && answer.has_changed().is_ok() => {
                    answer.clone()
                }
                _ => {
                    let (told, answer) = watch::channel(None);
                    task::spawn("resolver", async move {
                        told.send_replace(Some(ask.await.map_err(Arc::new)));
                    });
                    *asked = Some(answer.clone());
                    answer
                }
            }
        };
        let answer = answer.wait_for(Option::is_some).await;
        let gone = |_| io::Error::other("the resolver's answer was lost");
        match answer.map_err(gone)?.as_ref().expect("it was waited for") {
            Ok(addresses) => Ok(addresses.clone()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests;
