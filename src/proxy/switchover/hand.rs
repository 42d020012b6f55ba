//! The service account's connection to a server that is told something.

use std::sync::Arc;
use std::time::Duration;

use super::words::Words;
use crate::proxy::cluster::{Cluster, Server};
use crate::proxy::in_force::InForce;
use crate::proxy::relay::leg::Line as _;
use crate::proxy::service::answer::Answer;
use crate::proxy::service::client::{query, quit};
use crate::proxy::service::error::ServiceError;
use crate::proxy::service::login::{LoggedIn, Wanted, log_in};
use crate::task;
use crate::wire::flavour::Flavour;

/// The most that is heard of an answer.
const MOST: usize = 1 << 20;

/// A server, and a connection to it.
#[derive(Debug)]
pub(super) struct Hand {
    pub(super) server: Arc<Server>,
    pub(super) words: Words,
    link: LoggedIn,
}

/// Why a server did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It could not be asked, or did not answer.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// It would not. The error's text may quote the statement.
    #[error("'{what}' was refused (error {code})")]
    Refused {
        /// The statement, as far as everybody may see it.
        what: String,
        /// The server's error.
        code: u16,
    },
    /// There is no account for it.
    #[error("no service_user")]
    NoService,
    /// It is no server that can be switched.
    #[error("it is neither a MariaDB nor a MySQL")]
    Foreign,
}

impl Hand {
    /// Logs in.
    pub(super) async fn on(
        in_force: &InForce,
        cluster: &Cluster,
        server: &Arc<Server>,
    ) -> Result<Self, Failure> {
        let (config, tls) = (in_force.config(), in_force.tls().server());
        let limit = config.proxy.connect_timeout.0;
        let credentials = cluster.service().ok_or(Failure::NoService)?;
        let greeted = cluster.connect_to(server, &config, tls.as_deref(), limit).await;
        let greeted = greeted.map_err(ServiceError::from)?;
        let wanted = Wanted::default();
        let link = log_in(greeted, &credentials, &wanted, tls.as_deref(), limit).await?;
        let words = Words::of(Flavour::of(&link.greeting.version)).ok_or(Failure::Foreign)?;
        Ok(Self { server: server.clone(), words, link })
    }

    /// Whether a password can be told over it: nobody listens.
    pub(super) fn is_private(&self) -> bool {
        let is_of_here = |address: std::net::SocketAddr| address.ip().is_loopback();
        self.link.leg.is_secure() || self.link.leg.stream().peer().is_some_and(is_of_here)
    }

    /// Has a statement run; the first value of its answer, if it has any.
    pub(super) async fn run(
        &mut self,
        sql: &str,
        limit: Duration,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let asked = query(&mut self.link.leg, self.link.terms, sql.as_bytes(), MOST);
        let silent = |_| ServiceError::Silent { what: "answer", limit };
        let answer = tokio::time::timeout(limit, asked).await.map_err(silent)??;
        match answer {
            Answer::Rows { set, .. } => {
                Ok(set.rows.into_iter().next().and_then(|row| row.into_iter().next().flatten()))
            }
            Answer::Ok(_) => Ok(None),
            Answer::Err(error) => {
                // Up to the first name: what stands behind may be a password.
                let what = sql.split(" = ").next().unwrap_or_default();
                let what = what.split('(').next().unwrap_or_default().to_owned();
                Err(Failure::Refused { what, code: error.code })
            }
        }
    }

    /// The same of several that answer nothing.
    pub(super) async fn run_all<S: AsRef<str>>(
        &mut self,
        statements: impl IntoIterator<Item = S>,
        limit: Duration,
    ) -> Result<(), Failure> {
        for sql in statements {
            self.run(sql.as_ref(), limit).await?;
        }
        Ok(())
    }

    /// Takes leave.
    pub(super) fn part(self) {
        task::spawn("parting", quit(self.link.leg));
    }
}
