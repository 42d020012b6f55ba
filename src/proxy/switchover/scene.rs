//! What a switchover needs of the data plane.

use std::sync::Arc;

use crate::proxy::in_force::InForce;
use crate::proxy::moves::Orders;
use crate::proxy::sessions::Sessions;

/// Servers, and sessions on them.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Scene {
    pub(in crate::proxy) in_force: Arc<InForce>,
    pub(in crate::proxy) orders: Arc<Orders>,
    pub(in crate::proxy) sessions: Arc<Sessions>,
}
