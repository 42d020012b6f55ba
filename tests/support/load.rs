//! `odp load` through a proxy, which tells whether anybody has noticed anything.

use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::database::PASSWORD;
use super::{Proxy, until};

/// A load, until it is told to end.
pub(crate) struct Load(Option<Child>);

impl Load {
    /// By so many connections.
    pub(crate) fn start(proxy: &Proxy, connections: usize) -> Self {
        let url = format!("mysql://odp:{PASSWORD}@{}/p", proxy.address());
        let mut command = Command::new(env!("CARGO_BIN_EXE_odp"));
        command.args(["load", "--url", &url, "--duration", "10m", "--json"]);
        command.args(["--connections", &connections.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let load = Self(Some(command.spawn().expect("odp runs")));
        until("the load to begin", || {
            let sessions = proxy.admin().ok()?.query("SHOW PROXYSESSION").row_count();
            (sessions > connections / 2).then_some(())
        });
        load
    }

    /// It has done something, and nothing of it was lost, refused or wrong.
    pub(crate) fn end_unharmed(self) {
        let found = self.end_without_losses();
        assert_eq!(found["connects_failed"], 0, "{found:#}");
    }

    /// The same where a proxy has died: who was not logged in then had to connect again.
    pub(crate) fn end_without_losses(mut self) -> Value {
        let load = self.0.take().expect("it is ended once");
        kill(Pid::from_raw(load.id() as i32), Signal::SIGINT).expect("it lives");
        let Output { stdout, .. } = load.wait_with_output().expect("it ends");
        let found: Value = serde_json::from_slice(&stdout).expect("JSON");
        for name in ["sessions_lost", "statements_failed", "answers_wrong"] {
            assert_eq!(found[name], 0, "{name} in {found:#}");
        }
        assert!(found["statements"].as_u64().expect("a number") > 100, "{found:#}");
        found
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(load) = &mut self.0 {
            let _ = load.kill();
            let _ = load.wait();
        }
    }
}
