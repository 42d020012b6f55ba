//! Accounts that are logged in once where a server may not know them any more.
//!
//! `caching_sha2_password` takes an answer to a challenge only from whom the server has in its
//! cache, which begins empty with each start, on a replica that will be the primary as well. Who
//! has the password of an account fills it: those of `[[cluster.user]]`. Then second log-ins by
//! what others have taught work, and clients are let in without a password that travels.

use super::order::Order;
use crate::config::{ClusterUser, Secret};
use crate::proxy::accounts::credentials::Credentials;
use crate::proxy::service::client::quit;
use crate::proxy::service::error::ServiceError;
use crate::proxy::service::login::{Wanted, log_in};
use crate::route::roles::Said;
use crate::task;

/// What the server was like when its cache was last filled.
#[derive(Debug, Default)]
pub(super) struct Warmth {
    read_only: Option<bool>,
    users: Vec<ClusterUser>,
}

/// Whether this round has made its own connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// It is that of the round before: the server has not been started again.
    Kept,
    /// It was made for this round.
    New,
}

impl Warmth {
    /// A round with a MySQL server has ended well.
    pub(super) fn handle_round(&mut self, order: &Order, line: Line, said: &Said) {
        let users = &order.cluster.section().user;
        let is_same = self.read_only == said.read_only && self.users == *users;
        if line == Line::Kept && is_same {
            return;
        }
        *self = Self { read_only: said.read_only, users: users.clone() };
        if !users.is_empty() {
            task::spawn("warm", warm(order.clone()));
        }
    }
}

/// One after another: it is in no hurry.
async fn warm(order: Order) {
    for user in &order.cluster.section().user {
        let password = user.password.as_ref().map(Secret::reveal).unwrap_or_default();
        let known = Credentials::clear(&user.name, password);
        if let Err(error) = enter(&order, &known).await {
            let (cluster, server) = (&*order.cluster.name, &*order.server.address);
            tracing::warn!(cluster, server, user = user.name, %error, "[[cluster.user]]");
        }
    }
}

async fn enter(order: &Order, known: &Credentials) -> Result<(), ServiceError> {
    let Order { cluster, server, config, tls, timeout, .. } = order;
    let greeted = cluster.look_at(server, config, tls.as_deref(), *timeout).await?;
    let wanted = Wanted::default();
    let entered = log_in(greeted, known, &wanted, tls.as_deref(), *timeout).await?;
    task::spawn("parting", quit(entered.leg));
    Ok(())
}
