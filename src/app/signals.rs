//! Signals: SIGTERM and SIGINT stop, SIGUSR2 restarts, SIGHUP reads the config again. What is
//! restarted or read by one is in the audit; who has sent it the runtime does not tell.

use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, Notify};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::config::{self, Names};
use super::remarks::log_remarks;
use crate::admin::Audit;
use crate::admin::command::Change;
use crate::error::chain;
use crate::proxy::Proxy;
use crate::restart::Lifecycle;
use crate::restart::task::{Mode, Request};
use crate::task;

/// How long a restart that comes after it may wait for the config to be read: it is to see the new
/// one, unless the file system does not answer.
const RELOAD: Duration = Duration::from_secs(2);

/// Orders by signal. From its making on they do not end the process: one that comes early waits.
pub(super) struct Orders {
    restart: Signal,
    reload: Signal,
}

/// What signals are about.
#[derive(Clone)]
pub(super) struct Subject {
    /// Restarts and stops.
    pub lifecycle: Lifecycle,
    /// Reloads.
    pub proxy: Arc<Proxy>,
    /// Where it is written down that somebody has sent one.
    pub audit: Audit,
    /// The config file.
    pub config: PathBuf,
    /// Looks at the listeners.
    pub lookout: Arc<Notify>,
}

struct Signals {
    orders: Orders,
    terminate: Signal,
    interrupt: Signal,
}

impl Orders {
    /// Hears them from now on.
    pub(super) fn hear() -> io::Result<Self> {
        Ok(Self {
            restart: signal(SignalKind::user_defined2())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    /// Obeys them from now on, and the signals that stop; until now those ended the process.
    pub(super) fn obey(self, subject: Subject) -> io::Result<()> {
        let signals = Signals {
            orders: self,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        };
        let signals = Arc::new(Mutex::new(signals));
        task::keep("signals", move || listen(signals.clone(), subject.clone()));
        Ok(())
    }
}

async fn listen(signals: Arc<Mutex<Signals>>, subject: Subject) {
    let Subject { lifecycle, proxy, audit, config, lookout } = subject;
    let mut signals = signals.lock().await;
    let Signals { orders, terminate, interrupt } = &mut *signals;
    let stop = || {
        tracing::info!("told to stop");
        lifecycle.stop(proxy.config().proxy.delay_exit_time.0);
    };
    let begin = |whose: Whose| {
        let reload = reload(proxy.clone(), config.clone(), whose);
        // A panic in it is in the log, as all are; the config in force stays.
        timeout(RELOAD, task::spawn("reload", reload))
    };
    let mut reloading = None;
    loop {
        let is_free = reloading.is_none();
        let reloaded = async {
            match &mut reloading {
                Some(reloading) => drop(reloading.await),
                None => pending().await,
            }
        };
        // All branches are cancel safe.
        tokio::select! {
            _ = terminate.recv() => stop(),
            _ = interrupt.recv() => stop(),
            () = reloaded => {
                reloading = None;
                lookout.notify_one();
            }
            _ = orders.restart.recv(), if is_free => {
                task::spawn("restart", restart(lifecycle.clone(), audit.clone()));
            }
            _ = orders.reload.recv(), if is_free => {
                reloading = Some(Box::pin(begin(Whose::Ours(audit.clone()))));
            }
            () = proxy.told_to_reload(), if is_free => {
                reloading = Some(Box::pin(begin(Whose::OtherGeneration)));
            }
        }
    }
}

async fn restart(lifecycle: Lifecycle, audit: Audit) {
    let request = Request::of(Mode::Restart);
    let asked = audit.ask_by_signal("SIGUSR2", Change::Restart(request.clone()).to_string()).await;
    match lifecycle.restart(request.by("SIGUSR2")).await {
        Ok(task) => {
            tracing::info!(%task, "restart by signal");
            asked.end("done", format!("task {task}")).await;
        }
        Err(reason) => {
            tracing::warn!(%reason, "restart by signal refused");
            asked.end("refused", reason.to_string()).await;
        }
    }
}

/// To whom a signal came.
enum Whose {
    /// To us: it is written down, and the other generation is told.
    Ours(Audit),
    OtherGeneration,
}

async fn reload(proxy: Arc<Proxy>, path: PathBuf, whose: Whose) {
    let asked = match &whose {
        Whose::Ours(audit) => Some(audit.ask_by_signal("SIGHUP", "RELOAD CONFIG".into()).await),
        Whose::OtherGeneration => None,
    };
    let (reloaded, from) = (proxy.clone(), path.clone());
    let done = spawn_blocking(move || read_again(&reloaded, &from)).await;
    if let Whose::Ours(_) = whose {
        proxy.pass_on_reload();
    }
    let Some(asked) = asked else { return };
    match done {
        Ok(Ok(())) => asked.end("done", path.display().to_string()).await,
        Ok(Err(why)) => asked.end("refused", why).await,
        Err(_) => asked.end("failed", "it broke off: see the log".into()).await,
    }
}

/// All of the new config, with the files that it names, or nothing of it, and why.
fn read_again(proxy: &Proxy, path: &Path) -> Result<(), String> {
    let before = proxy.config();
    let reloaded = config::load(path, Names::AsTheyAre)
        .and_then(|config| proxy.reload(config).map_err(config::in_config(path)));
    if let Err(error) = reloaded {
        let error = chain(error.as_ref());
        tracing::error!(error, "config not reloaded");
        return Err(error);
    }
    let config = proxy.config();
    if config.listen_addresses() != before.listen_addresses()
        || config.proxy.workers != before.proxy.workers
    {
        tracing::warn!("listening addresses and workers change with a restart only");
    }
    log_remarks(&config);
    tracing::info!(config = %path.display(), "config reloaded");
    Ok(())
}
