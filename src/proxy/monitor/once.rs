//! A server that is asked by the way, for somebody who cannot wait for the next round.

use std::sync::Arc;
use std::time::Duration;

use super::order::Detection;
use super::round::Rounds;
use crate::proxy::cluster::Server;
use crate::proxy::in_force::InForce;
use crate::proxy::service::error::ServiceError;
use crate::route::roles::Said;

/// How long leave may take.
const PARTING: Duration = Duration::from_millis(500);

/// What a server says of itself.
pub(in crate::proxy) async fn ask(
    detection: &Detection,
    server: &Arc<Server>,
    in_force: &InForce,
) -> Result<Said, ServiceError> {
    let order = detection.order(server, &in_force.config(), in_force.tls().server().as_ref());
    let mut rounds = Rounds::default();
    let said = rounds.ask(&order).await;
    rounds.end(PARTING).await;
    said
}
