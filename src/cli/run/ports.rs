//! Every port of the proxy: bound here or inherited, each with its accept loop behind a gate.

use std::sync::Arc;

use anyhow::Context;

use crate::admin::{Admin, http, server};
use crate::config::{Config, ListenAddress, Port};
use crate::net::listen::{Address, Gate, Listener};
use crate::net::stream::Stream;
use crate::proxy::Gates;
use crate::restart;

/// All listening sockets.
pub struct Ports {
    open: Vec<(Arc<Listener>, Port, ListenAddress)>,
    gates: Gates,
}

impl Ports {
    /// Takes from the inherited sockets those that the config names, and binds the rest. What the
    /// config does not name any more is closed here.
    pub fn open(config: &Config, mut inherited: Vec<restart::Listener>) -> anyhow::Result<Self> {
        let mut open = Vec::new();
        for (address, port) in config.listen_addresses() {
            let name = format!("{port:?} {address}").to_lowercase();
            let found = inherited.iter().position(|listener| listener.name == name);
            let listener = match found {
                Some(at) => Listener::inherited(name, inherited.swap_remove(at).fd),
                None => Listener::bind(name, &target(&address)),
            };
            let listener = listener.with_context(|| format!("listen {address}"))?;
            open.push((Arc::new(listener), port, address));
        }
        let clients = open.iter().filter(|(_, port, _)| *port == Port::Sql).count();
        let gates =
            Gates { clients: Gate::closed(clients), control: Gate::closed(open.len() - clients) };
        Ok(Self { open, gates })
    }

    /// The sockets.
    pub fn listeners(&self) -> Vec<Arc<Listener>> {
        self.open.iter().map(|(listener, ..)| listener.clone()).collect()
    }

    /// Their gates.
    pub fn gates(&self) -> Gates {
        self.gates.clone()
    }

    /// Starts an accept loop for each; they accept once their gate is opened.
    pub fn serve(&self, admin: &Arc<Admin>) {
        for (listener, port, _) in &self.open {
            tracing::info!(port = ?port, address = listener.local(), "listening");
            let (listener, admin, port) = (listener.clone(), admin.clone(), *port);
            let gate = match port {
                Port::Sql => self.gates.clients.clone(),
                Port::Admin | Port::Http => self.gates.control.clone(),
            };
            tokio::spawn(async move {
                let take = |stream| match port {
                    Port::Sql => admin.proxy.take(stream),
                    Port::Admin => operator(&admin, stream),
                    Port::Http => drop(tokio::spawn(http::serve(admin.clone(), stream))),
                };
                listener.accept_loop(gate, take).await;
            });
        }
    }

    /// Removes the files of Unix sockets: nobody serves them any more.
    pub fn remove_files(&self) {
        for (_, _, address) in &self.open {
            if let ListenAddress::Unix(path) = address
                && let Err(error) = std::fs::remove_file(path)
            {
                tracing::debug!(path = %path.display(), %error, "cannot remove socket");
            }
        }
    }
}

fn operator(admin: &Arc<Admin>, stream: Stream) {
    let peer = stream.peer().map_or_else(|| "unix".into(), |peer| peer.to_string());
    let id = admin.proxy.next_connection_id();
    tokio::spawn(server::serve(admin.clone(), stream, peer, id));
}

fn target(address: &ListenAddress) -> Address {
    match address {
        ListenAddress::Tcp(address) => Address::Tcp(*address),
        ListenAddress::Unix(path) => Address::Unix(path.clone()),
    }
}
