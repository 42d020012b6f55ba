//! Every port of the proxy: bound here or inherited, each with its accept loop behind a gate.

use std::sync::Arc;

use anyhow::Context;

use crate::admin::{Admin, http, server};
use crate::config::{Config, ListenAddress, Port};
use crate::net::listen::{Address, Families, Gate, Listener};
use crate::net::stream::Stream;
use crate::proxy::Gates;
use crate::restart;
use crate::task;

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
            let target = target(&address, config);
            let listener = match found {
                Some(at) => Listener::inherited(name, target, inherited.swap_remove(at).fd),
                None => Listener::bind(name, target),
            };
            let listener = listener.with_context(|| format!("listen {address}"))?;
            open.push((Arc::new(listener), port, address));
        }
        let clients = open.iter().filter(|(_, port, _)| *port == Port::Sql).count();
        let control = Gate::closed(open.len() - clients).with_reserve();
        let gates = Gates { clients: Gate::closed(clients), control };
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
            let gate = self.gate(port).clone();
            task::keep("accept loop", move || {
                let (listener, admin, gate) = (listener.clone(), admin.clone(), gate.clone());
                async move {
                    let take = |stream| match port {
                        Port::Sql => admin.proxy.take(stream),
                        Port::Admin => operator(&admin, stream),
                        Port::Http => drop(task::spawn("http", http::serve(admin.clone(), stream))),
                    };
                    listener.accept_loop(gate, take).await;
                }
            });
        }
    }

    fn gate(&self, port: Port) -> &Gate {
        match port {
            Port::Sql => &self.gates.clients,
            Port::Admin | Port::Http => &self.gates.control,
        }
    }

    /// Those whose accept loops run.
    pub fn accepting(&self) -> impl Iterator<Item = &Arc<Listener>> {
        let is_open = |(_, port, _): &&(_, Port, _)| self.gate(*port).is_open();
        self.open.iter().filter(is_open).map(|(listener, ..)| listener)
    }

    /// Removes the files of Unix sockets: nobody serves them any more.
    pub fn remove_files(&self) {
        for (listener, _, address) in &self.open {
            if let ListenAddress::Unix(path) = address
                && listener.look().is_ok()
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
    task::spawn("operator", server::serve(admin.clone(), stream, peer, id));
}

/// `[::]` is for all clients, as people expect, unless the config has another address for v4.
fn target(address: &ListenAddress, config: &Config) -> Address {
    let address = match address {
        ListenAddress::Tcp(address) => *address,
        ListenAddress::Unix(path) => return Address::Unix(path.clone()),
    };
    let is_rival = |(other, _): &(ListenAddress, Port)| match other {
        ListenAddress::Tcp(other) => other.is_ipv4() && other.port() == address.port(),
        ListenAddress::Unix(_) => false,
    };
    let is_any = address.is_ipv6() && address.ip().is_unspecified();
    let has_rival = address.port() != 0 && config.listen_addresses().iter().any(is_rival);
    Address::Tcp(address, if is_any && !has_rival { Families::Both } else { Families::Own })
}
