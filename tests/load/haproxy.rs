//! A private HAProxy in `mode tcp`: a proxy of which it is known what its reloads lose.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::database::{free_port, is_installed, wait_for_greeting};

/// A running HAProxy.
pub(crate) struct Haproxy {
    pub port: u16,
    directory: TempDir,
}

impl Haproxy {
    /// Starts one in front of a server; None, said loudly, where there is none.
    pub(crate) fn start(server: u16) -> Option<Self> {
        if !is_installed("haproxy") {
            println!("SKIPPED: haproxy is not installed (apt-get install haproxy)");
            return None;
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let socket = directory.path().join("socket");
        let config = format!(
            "global\n  nbthread 1\n  maxconn 2000\n  hard-stop-after 3s\n  \
             stats socket {} mode 600 level admin expose-fd listeners\n\
             defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  \
             timeout server 1h\n\
             listen load\n  bind 127.0.0.1:{port}\n  server one 127.0.0.1:{server}\n",
            socket.display()
        );
        std::fs::write(directory.path().join("haproxy.cfg"), config).unwrap();
        let haproxy = Self { port, directory };
        let started = Command::new("sh").args(["-c", &haproxy.start_command()]).status().unwrap();
        assert!(started.success());
        wait_for_greeting(port);
        Some(haproxy)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn start_command(&self) -> String {
        let (config, pid) = (self.file("haproxy.cfg"), self.file("pid"));
        format!("haproxy -D -f {} -p {}", config.display(), pid.display())
    }

    /// Hands the listener over; the old process ends what it still has after three seconds.
    pub(crate) fn reload_command(&self) -> String {
        let (socket, pid) = (self.file("socket"), self.file("pid"));
        let start = self.start_command();
        format!("{start} -x {} -sf $(cat {})", socket.display(), pid.display())
    }

    /// Kills it, and starts it again half a second later.
    pub(crate) fn crash_command(&self) -> String {
        let pid = self.file("pid");
        format!("kill -9 $(cat {}); sleep 0.5; {}", pid.display(), self.start_command())
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let kill = format!("kill -9 $(cat {})", self.file("pid").display());
        let _ = Command::new("sh").args(["-c", &kill]).status();
    }
}
