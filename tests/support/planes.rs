//! Two data planes in this process, as the two generations of a restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use odp::config::Config;
use odp::net::listen::{Address, Families, Gate, Listener};
use odp::proxy::{Foundation, Gates, Proxy};
use odp::restart::{Accepting, DataPlane};
use tokio::sync::mpsc;

use super::pki::Files;

/// They take clients in turn, and tell each other what generations do.
pub(crate) struct Planes {
    /// Both.
    pub planes: [Arc<Proxy>; 2],
    /// Where they take clients.
    pub address: String,
}

/// Starts them in front of this server, in this runtime; with certificates TLS is offered to
/// clients and asked of the server. `lines` are for `[proxy]`.
pub(crate) async fn start(server: &str, tls: Option<&Files>, lines: &str) -> Planes {
    let tls = tls.map(|files| files.of_proxy("require")).unwrap_or_default();
    let config = format!(
        "[[cluster]]\nname = 'main'\n[[cluster.server]]\naddress = '{server}'\n\
         [proxy]\nlisten = ['127.0.0.1:0']\n{lines}{tls}"
    );
    let config = Config::parse(&config, "planes.toml".as_ref()).expect("a config");
    let address = Address::Tcp("127.0.0.1:0".parse().expect("an address"), Families::Own);
    let listener = Listener::bind("sql".into(), address).expect("a listener");
    let address = listener.local();
    let gate = Gate::closed(1);
    let planes = [1, 2].map(|generation| plane(&config, generation, &gate));
    let (takers, next) = (planes.clone(), AtomicUsize::new(0));
    let accepting = gate.clone();
    tokio::spawn(async move {
        let take = |stream| takers[next.fetch_add(1, Ordering::Relaxed) % 2].take(stream);
        listener.accept_loop(accepting, take).await;
    });
    planes[0].accept(Accepting::Yes).await;
    for (from, to) in [(0, 1), (1, 0)] {
        let (from, to) = (planes[from].clone(), planes[to].clone());
        tokio::spawn(async move {
            loop {
                to.hear(&from.tell().await);
            }
        });
    }
    Planes { planes, address }
}

fn plane(config: &Config, generation: u64, clients: &Gate) -> Arc<Proxy> {
    let (local_logins, _) = mpsc::unbounded_channel();
    Proxy::new(Foundation {
        config: Arc::new(arc_swap::ArcSwap::from_pointee(config.clone())),
        tls: Arc::new(odp::net::tls::settings::Settings::load(&config.tls).expect("readable")),
        generation,
        listeners: Vec::new(),
        gates: Gates { clients: clients.clone(), control: Gate::closed(0) },
        journal: None,
        local_logins,
    })
}
