//! Signals: SIGTERM and SIGINT stop, SIGUSR2 restarts, SIGHUP reads the config again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::check;
use crate::proxy::Proxy;
use crate::restart::Lifecycle;
use crate::restart::task::{Mode, Request};

/// Orders by signal. From its making on they do not end the process: one that comes early waits.
pub struct Orders {
    restart: Signal,
    reload: Signal,
}

struct Signals {
    orders: Orders,
    terminate: Signal,
    interrupt: Signal,
}

impl Orders {
    /// Hears them from now on.
    pub fn hear() -> io::Result<Self> {
        Ok(Self {
            restart: signal(SignalKind::user_defined2())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    /// Obeys them from now on, and the signals that stop; until now those ended the process.
    pub fn obey(self, lifecycle: &Lifecycle, proxy: &Arc<Proxy>, config: &Path) -> io::Result<()> {
        let signals = Signals {
            orders: self,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        };
        tokio::spawn(signals.listen(lifecycle.clone(), proxy.clone(), config.to_owned()));
        Ok(())
    }
}

impl Signals {
    async fn listen(mut self, lifecycle: Lifecycle, proxy: Arc<Proxy>, config: PathBuf) {
        let stop = || {
            tracing::info!("told to stop");
            lifecycle.stop(proxy.config().proxy.delay_exit_time.0);
        };
        loop {
            // All branches are cancel safe.
            tokio::select! {
                _ = self.terminate.recv() => stop(),
                _ = self.interrupt.recv() => stop(),
                _ = self.orders.restart.recv() => { tokio::spawn(restart(lifecycle.clone())); }
                _ = self.orders.reload.recv() => {
                    reload(&proxy, &config);
                    proxy.pass_on_reload();
                }
                () = proxy.told_to_reload() => reload(&proxy, &config),
            }
        }
    }
}

async fn restart(lifecycle: Lifecycle) {
    let request = Request { mode: Mode::Restart, exit_timeout: None, binary: None, config: None };
    match lifecycle.restart(request).await {
        Ok(task) => tracing::info!(%task, "restart by signal"),
        Err(reason) => tracing::warn!(%reason, "restart by signal refused"),
    }
}

/// All of the new config, with the files that it names, or nothing of it.
fn reload(proxy: &Proxy, path: &Path) {
    let before = proxy.config();
    let reloaded =
        check::load(path).and_then(|config| proxy.reload(config).map_err(check::in_config(path)));
    if let Err(error) = reloaded {
        return tracing::error!(error = format!("{error:#}"), "config not reloaded");
    }
    let config = proxy.config();
    if config.listen_addresses() != before.listen_addresses()
        || config.proxy.workers != before.proxy.workers
    {
        tracing::warn!("listening addresses and workers change with a restart only");
    }
    super::log_remarks(&config);
    tracing::info!(config = %path.display(), "config reloaded");
}
