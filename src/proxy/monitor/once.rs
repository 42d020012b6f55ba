//! A server that is asked by the way, for somebody who cannot wait for the next round.

use std::sync::Arc;
use std::time::Duration;

use super::order::Detection;
use super::round::Rounds;
use crate::config::Config;
use crate::net::tls::settings::Connector;
use crate::proxy::cluster::Server;
use crate::proxy::service::error::ServiceError;
use crate::route::roles::Said;

/// How long leave may take.
const PARTING: Duration = Duration::from_millis(500);

/// What a server says of itself.
pub(in crate::proxy) async fn ask(
    detection: &Detection,
    server: &Arc<Server>,
    config: &Arc<Config>,
    tls: Option<&Arc<Connector>>,
) -> Result<Said, ServiceError> {
    let order = detection.order(server, config, tls);
    let mut rounds = Rounds::of_roles();
    let said = rounds.ask(&order).await;
    rounds.end(PARTING).await;
    said
}
