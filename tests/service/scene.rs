//! A server as the proxy's own log-ins find it.

use std::path::Path;
use std::sync::Arc;

use odp::config::Config;
use odp::net::tls::settings::{Connector, Settings};
use odp::proxy::accounts::credentials::Credentials;
use odp::proxy::cluster::Cluster;
use odp::proxy::cluster::clusters::Clusters;
use odp::proxy::service::answer::Answer;
use odp::proxy::service::client::query;
use odp::proxy::service::error::ServiceError;
use odp::proxy::service::login::{LoggedIn, Wanted, log_in};

use crate::support::LIMIT;
use crate::support::database::PASSWORD;

/// More than any answer of these tests.
pub(crate) const MOST: usize = 1 << 20;

/// A cluster; of one server, if nothing else is said.
pub(crate) struct Scene {
    pub config: Config,
    pub cluster: Arc<Cluster>,
    tls: Option<Arc<Connector>>,
}

impl Scene {
    /// A server that is reached by TLS in this mode.
    pub(crate) fn to(address: &str, mode: &str) -> Self {
        Self::of(&[address.to_owned()], mode)
    }

    /// Several of them.
    pub(crate) fn of(addresses: &[String], mode: &str) -> Self {
        let server = |address| format!("[[cluster.server]]\naddress = \"{address}\"\n");
        let servers: String = addresses.iter().map(server).collect();
        let text = format!(
            "[proxy]\n[tls.server]\nmode = \"{mode}\"\n[[cluster]]\nname = \"c\"\n{servers}"
        );
        let config = Config::parse(&text, Path::new("odp.toml")).expect("a config");
        let settings = Settings::load(&config.tls).expect("no files are named");
        let cluster = Clusters::new(&config, None).default().clone();
        Self { config, cluster, tls: settings.server() }
    }

    pub(crate) async fn log_in(
        &self,
        credentials: &Credentials,
        wanted: &Wanted<'_>,
    ) -> Result<LoggedIn, ServiceError> {
        let (server, tls) = (&self.cluster.servers()[0], self.tls.as_deref());
        let greeted = self.cluster.connect_to(server, &self.config, tls, LIMIT).await?;
        log_in(greeted, credentials, wanted, tls, LIMIT).await
    }

    /// As the user `odp`.
    pub(crate) async fn enter(&self, wanted: &Wanted<'_>) -> LoggedIn {
        let credentials = Credentials::clear("odp", PASSWORD);
        self.log_in(&credentials, wanted).await.expect("the user odp can log in")
    }

    /// Whom the server takes us for; or why it does not let us in.
    pub(crate) async fn user(&self, credentials: &Credentials) -> Result<String, ServiceError> {
        let mut entered = self.log_in(credentials, &Wanted::default()).await?;
        let sql = b"SELECT CURRENT_USER()";
        match query(&mut entered.leg, entered.terms, sql, MOST).await? {
            Answer::Rows { set, .. } => Ok(text(&set.rows[0][0])),
            other => panic!("{other:?}"),
        }
    }
}

/// A value as text.
pub(crate) fn text(value: &Option<Vec<u8>>) -> String {
    String::from_utf8_lossy(value.as_deref().unwrap_or(b"NULL")).into_owned()
}

/// Runs it to its end.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test)
}
