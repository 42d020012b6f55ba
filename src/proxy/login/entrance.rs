//! Where log-ins wait while their cluster gets another primary.

use std::time::Instant;

use super::Refusal;
use crate::error::ClientError;
use crate::proxy::cluster::door::Inside;
use crate::proxy::cluster::{Cluster, Greeted};

/// What a client has waited for in vain.
const SWITCHED: &str = "the cluster's primary is being switched";

/// Comes in, by then. Who has to wait is not for the server that has greeted it: that may not be
/// the primary any more.
pub(super) async fn come_in(
    cluster: &Cluster,
    greeted: Option<Greeted>,
    until: Instant,
) -> Result<(Option<Greeted>, Inside), Refusal> {
    let greeted = greeted.filter(|_| !cluster.door().is_shut());
    match cluster.door().enter(until).await {
        Some(inside) => Ok((greeted, inside)),
        None => Err(Refusal::Tell(ClientError::timed_out(SWITCHED))),
    }
}
