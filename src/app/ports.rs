//! Every port of the proxy: bound here or inherited, each with its accept loop behind a gate.

use std::io;
use std::sync::Arc;

use anyhow::Context;

use crate::admin::{Admin, server};
use crate::config::{Config, ListenAddress, Port};
use crate::http::{self, Http};
use crate::net::listen::{Address, Families, Gate, Listener};
use crate::net::stream::Stream;
use crate::proxy::Gates;
use crate::restart::{self, prepare_run_dir};
use crate::task;

/// All listening sockets.
pub(super) struct Ports {
    open: Vec<(Arc<Listener>, Port, ListenAddress)>,
    /// The control socket in `run_dir`.
    control: Option<Arc<Listener>>,
    gates: Gates,
}

impl Ports {
    /// Takes from the inherited sockets those that the config names, and binds the rest. What the
    /// config does not name any more is closed here.
    pub(super) fn open(
        config: &Config,
        mut inherited: Vec<restart::Listener>,
    ) -> anyhow::Result<Self> {
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
        let control = open_control(config, &mut inherited).map(Arc::new);
        // A proxy without one has its admin port: no reason not to serve.
        let control = control.inspect_err(|error| {
            let run_dir = config.proxy.run_dir.display();
            tracing::error!(%run_dir, %error, "run_dir: no control socket");
        });
        let control = control.ok();
        let clients = open.iter().filter(|(_, port, _)| *port == Port::Sql).count();
        let others = open.len() - clients + usize::from(control.is_some());
        let gates =
            Gates { clients: Gate::closed(clients), control: Gate::closed(others).with_reserve() };
        Ok(Self { open, control, gates })
    }

    /// The sockets.
    pub(super) fn listeners(&self) -> Vec<Arc<Listener>> {
        let open = self.open.iter().map(|(listener, ..)| listener);
        open.chain(&self.control).cloned().collect()
    }

    /// Their gates.
    pub(super) fn gates(&self) -> Gates {
        self.gates.clone()
    }

    /// Starts an accept loop for each; they accept once their gate is opened.
    pub(super) fn serve(&self, admin: &Arc<Admin>) {
        let http = Arc::new(Http::new(admin.clone()));
        for (listener, port, _) in &self.open {
            tracing::info!(port = ?port, address = listener.local(), "listening");
            let (listener, port) = (listener.clone(), *port);
            let (admin, http) = (admin.clone(), http.clone());
            let gate = self.gate(port).clone();
            task::keep("accept loop", move || {
                let (listener, gate) = (listener.clone(), gate.clone());
                let (admin, http) = (admin.clone(), http.clone());
                async move {
                    let take = |stream| match port {
                        Port::Sql => admin.proxy.take(stream),
                        Port::Admin => operator(&admin, stream),
                        Port::Http => {
                            drop(task::spawn("http", http::port::serve(http.clone(), stream)));
                        }
                    };
                    listener.accept_loop(gate, take).await;
                }
            });
        }
        if let Some(listener) = &self.control {
            tracing::info!(port = "Control", address = listener.local(), "listening");
            let (listener, admin) = (listener.clone(), admin.clone());
            let gate = self.gates.control.clone();
            task::keep("accept loop", move || {
                let (listener, admin, gate) = (listener.clone(), admin.clone(), gate.clone());
                async move { listener.accept_loop(gate, |stream| owner(&admin, stream)).await }
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
    pub(super) fn accepting(&self) -> impl Iterator<Item = &Arc<Listener>> {
        let is_open = |(_, port, _): &&(_, Port, _)| self.gate(*port).is_open();
        let open = self.open.iter().filter(is_open).map(|(listener, ..)| listener);
        open.chain(self.control.iter().filter(|_| self.gates.control.is_open()))
    }

    /// Removes the files of Unix sockets: nobody serves them any more. Another proxy may have put
    /// its own there.
    pub(super) fn remove_files(&self, config: &Config) {
        let control = self.control.iter().map(|listener| (listener, config.control_socket()));
        let open = self.open.iter().filter_map(|(listener, _, address)| match address {
            ListenAddress::Unix(path) => Some((listener, path.clone())),
            ListenAddress::Tcp(_) => None,
        });
        for (listener, path) in open.chain(control) {
            if listener.look().is_ok()
                && let Err(error) = std::fs::remove_file(&path)
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
pub(super) fn target(address: &ListenAddress, config: &Config) -> Address {
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

fn owner(admin: &Arc<Admin>, stream: Stream) {
    let id = admin.proxy.next_connection_id();
    task::spawn("operator", server::serve_owner(admin.clone(), stream, id));
}

/// Takes it over, or binds it. A file that has gone meanwhile, or is somebody else's, is noticed as
/// any listener's.
fn open_control(config: &Config, inherited: &mut Vec<restart::Listener>) -> io::Result<Listener> {
    let path = config.control_socket();
    let name = format!("control unix:{}", path.display());
    let found = inherited.iter().position(|listener| listener.name == name);
    match found {
        Some(at) => Listener::inherited(name, Address::Private(path), inherited.swap_remove(at).fd),
        None => {
            prepare_run_dir(&config.proxy.run_dir)?;
            Listener::bind(name, Address::Private(path))
        }
    }
}
