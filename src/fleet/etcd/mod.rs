//! A client of etcd v3, by the JSON gateway that each etcd has at its client port.
//!
//! It knows three things: what there is below a prefix, a change that is made only if nothing has
//! changed before it, and to wait until something changes. Each is a request on a connection of its
//! own; every one but the last has a deadline. Whoever of the endpoints has answered last is asked
//! first.

mod forms;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::task::AbortHandle;
use tokio::time::timeout;

pub(crate) use forms::{Holds, Range, Watched};

use crate::config::{EtcdEndpoint, FleetSection, Scheme};
use crate::error::chain;
use crate::net::dial::Dialer;
use crate::net::stream::{Keepalive, Stream};
use crate::net::tls::settings::{Connector, SettingsError};
use crate::net::tls::stream::TlsStream;
use crate::task;

/// For a connection, and for TLS on it.
const CONNECTING: Duration = Duration::from_secs(2);

/// For a request and its answer, the connection included.
const ANSWER: Duration = Duration::from_secs(4);

/// Longer answers are none.
const LONGEST: usize = 8 << 20;

/// A longer line of a watch is a change, whatever it says.
const LONGEST_LINE: usize = 64 << 10;

/// A peer that is gone without a word is noticed by then.
const KEEPALIVE: Keepalive = Keepalive {
    idle: Duration::from_secs(10),
    interval: Duration::from_secs(5),
    count: 3,
    user_timeout: Duration::from_secs(20),
};

/// Why etcd could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("etcd: {0}")]
pub(crate) struct Trouble(String);

/// A cluster of etcd.
pub(crate) struct Etcd {
    endpoints: Vec<EtcdEndpoint>,
    tls: Option<Connector>,
    /// Who is asked first.
    first: AtomicUsize,
}

impl Etcd {
    /// As the config has it; reads the files that it names.
    pub(crate) fn new(config: &FleetSection) -> Result<Self, SettingsError> {
        let is_secure = config.etcd.iter().any(|endpoint| endpoint.scheme == Scheme::Https);
        let tls = match is_secure {
            true => Connector::of_etcd(&config.etcd_tls())?,
            false => None,
        };
        Ok(Self { endpoints: config.etcd.clone(), tls, first: AtomicUsize::new(0) })
    }

    /// What is below a prefix.
    pub(crate) async fn range(&self, prefix: &str) -> Result<Range, Trouble> {
        let asked = forms::range(prefix);
        self.ask("/v3/kv/range", &asked, forms::ranged).await
    }

    /// Writes keys if all of that holds; whether it did.
    pub(crate) async fn put(
        &self,
        holds: &[Holds],
        puts: &[(String, String)],
    ) -> Result<bool, Trouble> {
        let asked = forms::transaction(holds, puts);
        self.ask("/v3/kv/txn", &asked, forms::is_made).await
    }

    /// Waits until something below a prefix is changed, from this revision on. Cancel safe.
    pub(crate) async fn changed(&self, prefix: &str, from: u64) -> Result<(), Trouble> {
        let endpoint = &self.endpoints[self.first.load(Ordering::Relaxed)];
        let failed = |why: String| Trouble(format!("{endpoint}: {why}"));
        let asked = forms::watch(prefix, from);
        let (response, _connection) =
            within(self.request(endpoint, "/v3/watch", &asked)).await.map_err(failed)?;
        let mut body = response.into_body();
        let mut line = Vec::new();
        loop {
            let frame = body.frame().await.ok_or_else(|| failed("the watch has ended".into()))?;
            let frame = frame.map_err(|error| failed(chain(&error)))?;
            for byte in frame.into_data().unwrap_or_default() {
                if byte != b'\n' {
                    line.push(byte);
                } else if forms::watched(&std::mem::take(&mut line)) == Watched::Change {
                    return Ok(());
                }
            }
            if line.len() > LONGEST_LINE {
                return Ok(());
            }
        }
    }

    /// Asks one after the other until one has answered.
    async fn ask<T>(
        &self,
        path: &str,
        asked: &Value,
        understand: fn(&[u8]) -> Result<T, serde_json::Error>,
    ) -> Result<T, Trouble> {
        let first = self.first.load(Ordering::Relaxed);
        let mut whys = Vec::new();
        for turn in 0..self.endpoints.len() {
            let at = (first + turn) % self.endpoints.len();
            let endpoint = &self.endpoints[at];
            let answer = within(async {
                let (response, _connection) = self.request(endpoint, path, asked).await?;
                let body = Limited::new(response.into_body(), LONGEST).collect().await;
                let body = body.map_err(|error| chain(&*error))?.to_bytes();
                understand(&body).map_err(|error| format!("not an answer of etcd v3: {error}"))
            });
            match answer.await {
                Ok(answer) => {
                    self.first.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(why) => whys.push(format!("{endpoint}: {why}")),
            }
        }
        Err(Trouble(whys.join("; ")))
    }

    /// The head of the answer is there, and it is a good one.
    async fn request(
        &self,
        endpoint: &EtcdEndpoint,
        path: &str,
        asked: &Value,
    ) -> Result<(Response<Incoming>, Connection), String> {
        let stream = self.connect(endpoint).await?;
        let began = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = began.map_err(|error| chain(&error))?;
        let connection = task::spawn("etcd", async move {
            // What went wrong is told to who waits for the answer.
            let _ = connection.await;
        });
        let connection = Connection(connection.abort_handle());
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, endpoint.address().to_string())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(asked.to_string())))
            .map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| chain(&error))?;
        match response.status() {
            status if status.is_success() => Ok((response, connection)),
            status => Err(refusal(status.as_u16(), response.into_body()).await),
        }
    }

    async fn connect(&self, endpoint: &EtcdEndpoint) -> Result<Stream, String> {
        let dialer = Dialer::new(endpoint.address());
        let stream = dialer.dial(KEEPALIVE, CONNECTING).await.map_err(|error| error.to_string())?;
        let (Scheme::Https, Some(tls)) = (endpoint.scheme, &self.tls) else { return Ok(stream) };
        let name = Connector::server_name(Some(&endpoint.host));
        let name = name.ok_or_else(|| "its host is no name of a certificate".to_owned())?;
        let shaken = TlsStream::connect(stream, tls, name, CONNECTING).await;
        shaken.map(|stream| Stream::Tls(Box::new(stream))).map_err(|error| error.to_string())
    }
}

/// What turns a request's bytes into an answer; it ends with who waits for that.
struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Etcd").field(&self.endpoints).finish()
    }
}

async fn within<T>(asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let answer = timeout(ANSWER, asked).await;
    answer.unwrap_or_else(|_| Err(format!("no answer within {ANSWER:?}")))
}

/// What etcd says of a request that it does not take.
async fn refusal(status: u16, body: Incoming) -> String {
    const SHOWN: usize = 200;
    let is_long = body.size_hint().lower() > LONGEST_LINE as u64;
    let body = match is_long {
        true => Bytes::new(),
        false => Limited::new(body, LONGEST_LINE)
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default(),
    };
    let told: Value = serde_json::from_slice(&body).unwrap_or_default();
    let told = told["message"].as_str().or(told["error"].as_str()).unwrap_or_default();
    let told: String = told.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    format!("status {status} {told}").trim_end().to_owned()
}
