//! Where this process listens, and who may come in.

use std::sync::{Arc, Mutex};

use crate::config::ProxySection;
use crate::lock::lock;
use crate::net::listen::{Gate, Listener};
use crate::net::socket::Keepalive;
use crate::net::stream::Stream;

/// Who may come in.
#[derive(Clone, Debug)]
pub struct Gates {
    /// Clients.
    pub clients: Gate,
    /// Operators: admin and HTTP.
    pub control: Gate,
}

/// Every listening socket, and what opens and closes their accept loops.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) listeners: Vec<Arc<Listener>>,
    pub(super) gates: Gates,
    /// What the sockets were last set to.
    tuned: Mutex<Option<Keepalive>>,
}

impl Ports {
    pub(super) fn new(listeners: Vec<Arc<Listener>>, gates: Gates) -> Self {
        Self { listeners, gates, tuned: Mutex::default() }
    }

    /// Clients have their socket options from the listening socket, unless they came before it had
    /// them.
    pub(super) fn tune(&self, client: &Stream, config: &ProxySection) -> std::io::Result<()> {
        let keepalive = client_keepalive(config);
        let before = lock(&self.tuned).replace(keepalive);
        if before != Some(keepalive) {
            self.listeners.iter().try_for_each(|listener| listener.tune(keepalive))?;
        } else if client.is_tuned() {
            return Ok(());
        }
        client.tune(keepalive)
    }
}

fn client_keepalive(config: &ProxySection) -> Keepalive {
    Keepalive {
        idle: config.client_tcp_keepidle.0,
        interval: config.client_tcp_keepintvl.0,
        count: config.client_tcp_keepcnt,
        user_timeout: config.client_tcp_user_timeout.0,
    }
}
