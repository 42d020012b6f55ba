//! The proxy in the foreground, from its start or its takeover to its end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use arc_swap::ArcSwap;
use sha1::{Digest, Sha1};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;

use super::config::{self, Names};
use super::ports::Ports;
use super::remarks::log_remarks;
use super::{announce, lookout, signals};
use crate::admin::{Admin, server};
use crate::config::Config;
use crate::error::chain;
use crate::fleet::record::{Kept, Record};
use crate::net::listen::raise_limit;
use crate::net::tls::settings as tls;
use crate::proxy::login::LocalLogin;
use crate::proxy::{Foundation, Proxy};
use crate::restart::notify::Notifier;
use crate::restart::{Exit, Lifecycle, Origin, Settings, Start, Timeouts};
use crate::{log, task};

/// How long the service manager's news of a stop may delay the stop.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How it is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// By itself.
    Cold,
    /// As the successor of the proxy that is running; by itself if there is none.
    Takeover,
}

/// Runs a proxy with this config file to its end.
pub(crate) fn run(path: &Path, beginning: Beginning) -> anyhow::Result<()> {
    // From here on there may be keys and passwords in memory: no core dump, and no debugger but
    // root's.
    nix::sys::prctl::set_dumpable(false).context("cannot forbid core dumps")?;
    let config = config::load(path)?;
    config::not_ourselves(path, &config, Names::Resolved)?;
    let _log = log::start(&config.log).context("cannot start the log")?;
    raise_fd_limit();
    // A successor is started through a file descriptor, whose number would be its name.
    let _ = nix::sys::prctl::set_name(c"odp");
    let mut runtime = match config.proxy.workers {
        // One worker has nobody to share with: this thread does it, without the locks.
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if config.proxy.workers > 1 {
        runtime.worker_threads(config.proxy.workers);
    }
    let runtime = runtime.enable_all().thread_name("odp").build();
    let runtime = runtime.context("cannot start the runtime")?;
    task::see_through(runtime, live(path, config, beginning))
}

async fn live(path: &Path, config: Config, beginning: Beginning) -> anyhow::Result<()> {
    let orders = signals::Orders::hear().context("cannot listen for signals")?;
    let origin = origin(path, &config)?;
    let tls = tls::Settings::load(&config.tls).map_err(config::in_config(path))?;
    let tls = Arc::new(tls);
    let config = Arc::new(ArcSwap::from_pointee(config));
    let read = config.clone();
    let lifecycle = Lifecycle::new(origin, Timeouts::default(), move || settings(&read.load()));
    let start = match beginning {
        Beginning::Takeover => {
            lifecycle.take_over().await.map_err(|reason| anyhow!("takeover: {reason}"))?
        }
        Beginning::Cold => Start::Cold("it was not asked to take over".into()),
    };
    let (ports, start) = open_ports(&config.load(), start).await?;
    let (local_logins, admin_users) = unbounded_channel();
    let proxy = Proxy::new(Foundation {
        config: config.clone(),
        tls,
        generation: lifecycle.generation().0,
        listeners: ports.listeners(),
        gates: ports.gates(),
        local_logins,
    });
    if let Start::Warm(offer) = &start {
        proxy.inherit(&offer.legacy());
    }
    log_remarks(&proxy.config());
    let admin = Arc::new(Admin {
        proxy: proxy.clone(),
        lifecycle: lifecycle.clone(),
        started: SystemTime::now(),
    });
    ports.serve(&admin);
    let admin_users = Arc::new(Mutex::new(admin_users));
    task::keep("admin users", move || serve_admin_users(admin.clone(), admin_users.clone()));
    let _record = keep_record(&ports, &config.load().proxy.run_dir);
    let ports = Arc::new(ports);
    let lookout = look_out(&ports, &lifecycle, config.load().proxy.run_dir.clone());
    let subject = signals::Subject {
        lifecycle: lifecycle.clone(),
        proxy: proxy.clone(),
        config: path.to_owned(),
        lookout,
    };
    orders.obey(subject).context("cannot listen for signals")?;
    let (notifier, announcer) = announce(&lifecycle, config.load().proxy.delay_exit_time.0);
    match lifecycle.serve(proxy.clone(), start).await {
        Exit::Succeeded(how) => {
            if let Some(successor) = announce::successor(&lifecycle) {
                notifier.hand_over(successor).await;
            }
            tracing::info!(how, "a successor serves; leaving");
        }
        Exit::Stopped => {
            ports.remove_files(&config.load());
            let _ = tokio::time::timeout(LAST_WORDS, announcer).await;
            tracing::info!("stopped");
        }
        Exit::Refused(reason) => return Err(anyhow!("takeover: {reason}")),
    }
    proxy.part_with_servers().await;
    Ok(())
}

/// With what a predecessor offers, who is told if that is not possible.
async fn open_ports(config: &Config, mut start: Start) -> anyhow::Result<(Ports, Start)> {
    let inherited = match &mut start {
        Start::Cold(_) => Vec::new(),
        Start::Warm(offer) => offer.listeners(),
    };
    match Ports::open(config, inherited) {
        Ok(ports) => Ok((ports, start)),
        Err(error) => {
            if let Start::Warm(offer) = start {
                offer.refuse(&chain(error.as_ref())).await;
            }
            Err(error)
        }
    }
}

/// Keeps the service manager informed; the task ends when it has told of a stop, which may take
/// `grace`.
fn announce(lifecycle: &Lifecycle, grace: Duration) -> (Notifier, JoinHandle<()>) {
    let notifier = Notifier::from_environment();
    let keeper = notifier.clone();
    task::keep("keep alive", move || keeper.clone().keep_alive());
    let (teller, told) = (notifier.clone(), lifecycle.clone());
    let tell = move || announce::announce(teller.clone(), told.clone(), grace);
    (notifier, task::keep("announcer", tell))
}

/// Operators that came to the clients' port.
async fn serve_admin_users(admin: Arc<Admin>, users: Arc<Mutex<UnboundedReceiver<LocalLogin>>>) {
    let mut users = users.lock().await;
    while let Some(login) = users.recv().await {
        task::spawn("operator", server::serve_login(admin.clone(), login));
    }
}

/// Watches the listeners; the order to look at once.
fn look_out(ports: &Arc<Ports>, lifecycle: &Lifecycle, run_dir: PathBuf) -> Arc<Notify> {
    let hint = Arc::new(Notify::new());
    let (ports, standings, order) = (ports.clone(), lifecycle.subscribe(), hint.clone());
    let recorded = ports.clone();
    // The record goes with the first one's end, which has the same name.
    let record = Arc::new(move || std::mem::forget(keep_record(&recorded, &run_dir)));
    task::keep("lookout", move || {
        lookout::watch(ports.clone(), standings.clone(), order.clone(), record.clone())
    });
    hint
}

/// For `odp restart --force`, which is the only one to miss it.
fn keep_record(ports: &Ports, run_dir: &Path) -> Option<Kept> {
    let sockets: Vec<_> = ports.listeners().iter().map(|listener| listener.socket()).collect();
    let kept = Record::own(&sockets).and_then(|record| record.keep(run_dir));
    kept.inspect_err(|error| {
        let run_dir = run_dir.display();
        tracing::warn!(%run_dir, %error, "run_dir: no record of how this process was started");
    })
    .ok()
}

fn origin(path: &Path, config: &Config) -> anyhow::Result<Origin> {
    let binary = std::env::current_exe().context("cannot tell the path of this program")?;
    let path = std::path::absolute(path).context("cannot tell the path of the config")?;
    let text = std::fs::read(&path).with_context(|| format!("config {}", path.display()))?;
    let hash = Sha1::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Origin {
        binary,
        config: path,
        build: env!("CARGO_PKG_VERSION").to_owned(),
        config_hash: hash,
        run_dir: config.proxy.run_dir.clone(),
    })
}

fn settings(config: &Config) -> Settings {
    Settings {
        exit_timeout: config.proxy.hot_upgrade_exit_timeout,
        rollback_timeout: config.proxy.hot_upgrade_rollback_timeout.0,
        probation: config.proxy.hot_upgrade_probation.0,
        session_handover: config.proxy.session_handover,
    }
}

/// Two sockets a session: the soft limit is for programs that use select().
pub(super) fn raise_fd_limit() {
    if let Err(error) = raise_limit() {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}
