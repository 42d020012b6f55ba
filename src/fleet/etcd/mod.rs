//! A client of etcd v3, by the JSON gateway that each etcd has at its client port.
//!
//! It knows three things: what there is below a prefix, a change that is made only if nothing has
//! changed before it, and to wait until something changes. Each is a request on a connection of its
//! own; every one but the last has a deadline. Whoever of the endpoints has answered last is asked
//! first.
//!
//! Where etcd has users, `account` keeps the token that was asked for; another one is asked for
//! when that is not taken any more. Whoever is not let in does not try it at another endpoint: it
//! is one etcd, and each try costs it the computing of a hash.

mod account;
mod forms;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use account::Account;
pub(crate) use forms::{Holds, Range, Watched};

use crate::config::{EtcdEndpoint, FleetSection, Scheme};
use crate::error::chain;
use crate::net::dial::Dialer;
use crate::net::socket::Keepalive;
use crate::net::stream::Stream;
use crate::net::tls::settings::{Connector, SettingsError};
use crate::task;

/// For a connection, and for TLS on it.
const CONNECTING: Duration = Duration::from_secs(2);

/// For a request and its answer, the connection included.
const ANSWER: Duration = Duration::from_secs(4);

/// Longer answers are none.
const LONGEST: usize = 8 << 20;

/// A longer line of a watch is a change, whatever it says.
const LONGEST_LINE: usize = 64 << 10;

/// Why a watch tells nothing any more.
const ENDED: &str = "the watch has ended";

/// What etcd says of a token from before users were changed.
const OLD_REVISION: &str = "revision of auth store is old";

/// What it says to who has no token, if it has users.
const NO_USER: &str = "user name is empty";

/// A peer that is gone without a word is noticed by then.
const KEEPALIVE: Keepalive = Keepalive {
    idle: Duration::from_secs(10),
    interval: Duration::from_secs(5),
    count: 3,
    user_timeout: Duration::from_secs(20),
};

/// Why etcd could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("etcd: {why}")]
pub(crate) struct Trouble {
    why: String,
    /// It does not let us in, or not to these keys: who asks again soon hears the same.
    pub(crate) is_denied: bool,
}

/// Why one endpoint could not be asked.
enum Failure {
    /// It could not be spoken to.
    Unheard(String),
    /// It has answered that it does not do that.
    Refused { status: u16, told: String },
    /// It does not know who asks.
    Stranger(String),
}

impl Failure {
    fn is_denied(&self) -> bool {
        match self {
            Self::Unheard(_) => false,
            Self::Refused { status, .. } => *status == StatusCode::FORBIDDEN,
            Self::Stranger(_) => true,
        }
    }

    /// A token is not known any more, or is older than what users may do.
    fn is_of_token(&self) -> bool {
        match self {
            Self::Refused { status, told } => {
                *status == StatusCode::UNAUTHORIZED || told.contains(OLD_REVISION)
            }
            Self::Unheard(_) | Self::Stranger(_) => false,
        }
    }
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Unheard(why)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unheard(why) | Self::Stranger(why) => f.write_str(why),
            Self::Refused { status, told } if told.is_empty() => write!(f, "status {status}"),
            Self::Refused { status, told } => write!(f, "status {status} {told}"),
        }
    }
}

/// A cluster of etcd.
pub(crate) struct Etcd {
    endpoints: Vec<EtcdEndpoint>,
    tls: Option<Connector>,
    /// Who logs in, where etcd has users.
    account: Option<Account>,
    /// Who is asked first.
    first: AtomicUsize,
}

fn is_secure(config: &FleetSection) -> bool {
    config.etcd.iter().any(|endpoint| endpoint.scheme == Scheme::Https)
}

impl Etcd {
    /// As the config has it; reads the files that it names.
    pub(crate) fn new(config: &FleetSection) -> Result<Self, SettingsError> {
        let tls = match is_secure(config) {
            true => Connector::of_etcd(&config.etcd_tls())?,
            false => None,
        };
        let (endpoints, account) = (config.etcd.clone(), Account::new(config));
        Ok(Self { endpoints, tls, account, first: AtomicUsize::new(0) })
    }

    /// All that is wrong with those files.
    pub(crate) fn errors(config: &FleetSection) -> Vec<SettingsError> {
        match is_secure(config) {
            true => Connector::errors_of_etcd(&config.etcd_tls()),
            false => Vec::new(),
        }
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
        let failed = |why: Failure| self.trouble(endpoint, &why);
        let asked = forms::watch(prefix, from);
        let (response, _connection) =
            within(self.request(endpoint, "/v3/watch", &asked)).await.map_err(failed)?;
        let mut body = response.into_body();
        let mut line = Vec::new();
        loop {
            let frame =
                body.frame().await.ok_or_else(|| failed(Failure::from(ENDED.to_owned())))?;
            let frame = frame.map_err(|error| failed(chain(&error).into()))?;
            for byte in frame.into_data().unwrap_or_default() {
                if byte != b'\n' {
                    line.push(byte);
                    continue;
                }
                match forms::watched(&std::mem::take(&mut line)) {
                    Watched::Nothing => {}
                    Watched::Change => return Ok(()),
                    // A token may be too old, or the revision: who reads once more has a new one.
                    Watched::End => return Err(failed(Failure::from(ENDED.to_owned()))),
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
            match within(self.answer(endpoint, path, asked, understand)).await {
                Ok(answer) => {
                    self.first.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(failure) if failure.is_denied() => {
                    self.first.store(at, Ordering::Relaxed);
                    return Err(self.trouble(endpoint, &failure));
                }
                Err(failure) => whys.push(self.told(endpoint, &failure)),
            }
        }
        Err(Trouble { why: whys.join("; "), is_denied: false })
    }

    async fn answer<T>(
        &self,
        endpoint: &EtcdEndpoint,
        path: &str,
        asked: &Value,
        understand: fn(&[u8]) -> Result<T, serde_json::Error>,
    ) -> Result<T, Failure> {
        let (response, _connection) = self.request(endpoint, path, asked).await?;
        understood(response, understand).await
    }

    fn trouble(&self, endpoint: &EtcdEndpoint, failure: &Failure) -> Trouble {
        Trouble { why: self.told(endpoint, failure), is_denied: failure.is_denied() }
    }

    /// What is the matter, where, and for whom.
    fn told(&self, endpoint: &EtcdEndpoint, failure: &Failure) -> String {
        match (&self.account, failure) {
            (None, Failure::Refused { told, .. }) if told.contains(NO_USER) => {
                format!("{endpoint}: {failure}: expected fleet.etcd_user")
            }
            (Some(Account { user, .. }), failure) if failure.is_denied() => {
                format!("{endpoint}: user '{user}': {failure}")
            }
            (_, failure) => format!("{endpoint}: {failure}"),
        }
    }

    /// Asks as who we are there.
    async fn request(
        &self,
        endpoint: &EtcdEndpoint,
        path: &str,
        asked: &Value,
    ) -> Result<(Response<Incoming>, Connection), Failure> {
        let Some(account) = &self.account else {
            return self.send(endpoint, path, asked, None).await;
        };
        if let Some(token) = account.token() {
            match self.send(endpoint, path, asked, Some(&token)).await {
                Err(failure) if failure.is_of_token() => {}
                answered => return answered,
            }
        }
        let token = self.log_in(endpoint, account).await?;
        self.send(endpoint, path, asked, Some(&token)).await
    }

    async fn log_in(&self, endpoint: &EtcdEndpoint, account: &Account) -> Result<String, Failure> {
        let asked = forms::log_in(&account.user, account.password());
        let sent = self.send(endpoint, "/v3/auth/authenticate", &asked, None).await;
        let (response, _connection) = sent.map_err(|failure| match failure {
            // No leader, and such, is for now.
            Failure::Refused { status, .. } if status < 500 => {
                Failure::Stranger(failure.to_string())
            }
            other => other,
        })?;
        let token = understood(response, forms::token).await?;
        account.set_token(&token);
        Ok(token)
    }

    /// The head of the answer is there, and it is a good one.
    async fn send(
        &self,
        endpoint: &EtcdEndpoint,
        path: &str,
        asked: &Value,
        token: Option<&str>,
    ) -> Result<(Response<Incoming>, Connection), Failure> {
        let stream = self.connect(endpoint).await?;
        let began = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = began.map_err(|error| chain(&error))?;
        let connection = task::spawn("etcd", async move {
            // What went wrong is told to who waits for the answer.
            let _ = connection.await;
        });
        let connection = Connection(connection.abort_handle());
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, endpoint.address().to_string())
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request
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
        let shaken = stream.connect_tls(tls, name, CONNECTING).await;
        shaken.map_err(|error| error.to_string())
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

async fn within<T>(asked: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let answer = timeout(ANSWER, asked).await;
    answer.unwrap_or_else(|_| Err(Failure::Unheard(format!("no answer within {ANSWER:?}"))))
}

async fn understood<T>(
    response: Response<Incoming>,
    understand: fn(&[u8]) -> Result<T, serde_json::Error>,
) -> Result<T, Failure> {
    let body = Limited::new(response.into_body(), LONGEST).collect().await;
    let body = body.map_err(|error| chain(&*error))?.to_bytes();
    understand(&body).map_err(|error| format!("not an answer of etcd v3: {error}").into())
}

/// What etcd says of a request that it does not take.
async fn refusal(status: u16, body: Incoming) -> Failure {
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
    Failure::Refused { status, told: told.trim().to_owned() }
}
