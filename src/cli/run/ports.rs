//! Every port of the proxy: bound here or inherited, each with its accept loop behind a gate.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use crate::admin::{Admin, http, server};
use crate::config::{Config, ListenAddress, Port};
use crate::net::listen::{Address, Gate, Listener};
use crate::net::private;
use crate::net::stream::Stream;
use crate::proxy::Gates;
use crate::restart::{self, prepare_run_dir};

/// All listening sockets.
pub struct Ports {
    open: Vec<(Arc<Listener>, Port, ListenAddress)>,
    control: Option<Control>,
    gates: Gates,
}

/// The control socket, and where its file is.
struct Control {
    listener: Arc<Listener>,
    path: PathBuf,
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
        let control = Control::open(config, &mut inherited);
        // A proxy without one has its admin port: no reason not to serve.
        let control = control.inspect_err(|error| {
            let run_dir = config.proxy.run_dir.display();
            tracing::error!(%run_dir, %error, "run_dir: no control socket");
        });
        let control = control.ok();
        let clients = open.iter().filter(|(_, port, _)| *port == Port::Sql).count();
        let others = open.len() - clients + usize::from(control.is_some());
        let gates = Gates { clients: Gate::closed(clients), control: Gate::closed(others) };
        Ok(Self { open, control, gates })
    }

    /// The sockets.
    pub fn listeners(&self) -> Vec<Arc<Listener>> {
        let control = self.control.iter().map(|control| control.listener.clone());
        self.open.iter().map(|(listener, ..)| listener.clone()).chain(control).collect()
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
        if let Some(Control { listener, .. }) = &self.control {
            tracing::info!(port = "Control", address = listener.local(), "listening");
            let (listener, admin) = (listener.clone(), admin.clone());
            let gate = self.gates.control.clone();
            tokio::spawn(async move {
                listener.accept_loop(gate, |stream| owner(&admin, stream)).await;
            });
        }
    }

    /// Removes the files of Unix sockets: nobody serves them any more.
    pub fn remove_files(&self) {
        if let Some(control) = &self.control {
            control.remove_file();
        }
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

fn owner(admin: &Arc<Admin>, stream: Stream) {
    let id = admin.proxy.next_connection_id();
    tokio::spawn(server::serve_owner(admin.clone(), stream, id));
}

impl Control {
    /// Takes it over if its file is still the one that it was bound to, or else binds a new one: by
    /// a file that is gone or somebody else's nobody finds the old one.
    fn open(config: &Config, inherited: &mut Vec<restart::Listener>) -> io::Result<Self> {
        let path = config.control_socket();
        let found = Self::name(&path).ok().and_then(|name| {
            let at = inherited.iter().position(|listener| listener.name == name)?;
            Some((name, inherited.swap_remove(at).fd))
        });
        let listener = match found {
            Some((name, fd)) => Listener::inherited(name, fd)?,
            None => {
                prepare_run_dir(&config.proxy.run_dir)?;
                let socket = private::bind(&path)?;
                Listener::inherited(Self::name(&path)?, socket.into())?
            }
        };
        let listener = listener.known_as(format!("unix:{}", path.display()));
        Ok(Self { listener: Arc::new(listener), path })
    }

    /// What it is called in a handover.
    fn name(path: &Path) -> io::Result<String> {
        Ok(format!("control {}", private::identity(path)?))
    }

    /// Another proxy may have put its own there.
    fn remove_file(&self) {
        let is_ours = Self::name(&self.path).is_ok_and(|name| name == self.listener.name());
        if is_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "cannot remove socket");
        }
    }
}

fn target(address: &ListenAddress) -> Address {
    match address {
        ListenAddress::Tcp(address) => Address::Tcp(*address),
        ListenAddress::Unix(path) => Address::Unix(path.clone()),
    }
}
