//! Certificates, a proxy that has them, and clients that speak TLS with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mysql_async::{Conn, OptsBuilder, SslOpts};
use tokio::time::timeout;

use crate::support::database::PASSWORD;
use crate::support::pki::{Files, Pki};
use crate::support::proxy::{ADMIN_PASSWORD, Options};
use crate::support::{Database, LIMIT, Proxy, scratch, skip, until};

/// Certificates in a directory of their own.
pub(crate) struct Certificates {
    pub pki: Pki,
    pub files: Files,
    dir: tempfile::TempDir,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let (pki, dir) = (Pki::new(), scratch());
        let files = pki.write(dir.path());
        Self { pki, files, dir }
    }

    /// Others, in the same files.
    pub(crate) fn replace(&mut self) {
        self.pki = Pki::new();
        self.files = self.pki.write(self.dir.path());
    }

    /// Writes one file more.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("the directory is ours");
        path
    }

    /// The section of a port that clients connect to.
    pub(crate) fn section(&self, port: &str, mode: &str) -> String {
        let Files { server, server_key, .. } = &self.files;
        let (server, key) = (server.display(), server_key.display());
        format!("[tls.{port}]\nmode = \"{mode}\"\ncertificate = \"{server}\"\nkey = \"{key}\"\n")
    }

    /// How a driver trusts them.
    pub(crate) fn trusted(&self) -> SslOpts {
        let ca = self.pki.ca.clone().into_bytes();
        SslOpts::default().with_root_certs(vec![ca.into()]).with_disable_built_in_roots(true)
    }
}

/// Options for a proxy with these sections; the database may be none.
pub(crate) fn options(database: Option<&Database>, sections: &str) -> Options {
    let server = database.map_or("127.0.0.1:1".to_owned(), Database::address);
    Options { rest: sections.to_owned(), ..Options::new(&[server]) }
}

/// A client of the SQL port that trusts these certificates.
pub(crate) async fn connect(port: u16, tls: SslOpts) -> mysql_async::Result<Conn> {
    let builder = OptsBuilder::default().user(Some("odp")).pass(Some(PASSWORD));
    open(builder.db_name(Some("p")), port, tls).await
}

/// An operator.
pub(crate) async fn operate(port: u16, user: &str, tls: SslOpts) -> mysql_async::Result<Conn> {
    open(OptsBuilder::default().user(Some(user)).pass(Some(ADMIN_PASSWORD)), port, tls).await
}

async fn open(builder: OptsBuilder, port: u16, tls: SslOpts) -> mysql_async::Result<Conn> {
    let opts = builder.ip_or_hostname("127.0.0.1").tcp_port(port).prefer_socket(false);
    let connected = Conn::new(opts.ssl_opts(tls).max_allowed_packet(Some(1 << 24)));
    timeout(LIMIT, connected).await.expect("a connect does not hang")
}

/// What `openssl s_client` prints of a port; None if it is not installed.
pub(crate) fn s_client(port: u16, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("timeout");
    command.args(["60", "openssl", "s_client", "-starttls", "mysql", "-showcerts", "-connect"]);
    command.arg(format!("127.0.0.1:{port}")).args(arguments);
    let output = command.stdin(std::process::Stdio::null()).output();
    let output = output.expect("timeout is there");
    if output.status.code() == Some(127) {
        skip("openssl is not installed");
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs the program with the admin's password: exit code, stdout, stderr.
pub(crate) fn odp(arguments: &[&str], paths: &[&Path]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_odp"));
    command.env("ODP_ADMIN_PASSWORD", ADMIN_PASSWORD).args(arguments).args(paths);
    let Output { status, stdout, stderr } = command.output().expect("odp runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (status.code(), text(&stdout), text(&stderr))
}

/// SIGHUP, until the log says this once more.
pub(crate) fn hang_up(proxy: &Proxy, answer: &str) {
    let count = || proxy.log().matches(answer).count();
    let before = count();
    let pid = nix::unistd::Pid::from_raw(proxy.pid() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).expect("it lives");
    until(&format!("'{answer}'"), || (count() > before).then_some(()));
}
