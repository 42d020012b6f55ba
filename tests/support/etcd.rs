//! An etcd of one member, as a process; and its keys, by its JSON gateway.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::pki::Files;
use super::{LIMIT, Process, free_ports, scratch, skip, until};

/// Where Debian's package has it.
const PROGRAMS: [&str; 2] = ["/usr/bin/etcd", "/usr/local/bin/etcd"];

/// The password of its user root.
const ROOT: &str = "root-secret";

/// See the module.
pub(crate) struct Etcd {
    /// Of clients.
    pub port: u16,
    peers: u16,
    process: Option<Process>,
    dir: tempfile::TempDir,
    /// Arguments for TLS.
    tls: Vec<String>,
    /// Of its user root, if it has users.
    token: Option<String>,
}

impl Etcd {
    /// One that is ready; None where there is no etcd.
    pub(crate) fn start() -> Option<Self> {
        let mut etcd = Self::absent()?;
        etcd.begin();
        Some(etcd)
    }

    /// One that speaks TLS with whoever has a certificate by the CA.
    pub(crate) fn start_with_tls(files: &Files) -> Option<Self> {
        let mut etcd = Self::absent()?;
        let path = |path: &PathBuf| path.display().to_string();
        etcd.tls = vec![
            format!("--cert-file={}", path(&files.server)),
            format!("--key-file={}", path(&files.server_key)),
            format!("--trusted-ca-file={}", path(&files.ca)),
            "--client-cert-auth".into(),
        ];
        etcd.begin();
        Some(etcd)
    }

    /// One that is not there yet.
    pub(crate) fn absent() -> Option<Self> {
        if !PROGRAMS.iter().any(|path| std::path::Path::new(path).exists()) {
            skip("etcd is needed: Debian's package etcd-server has it");
            return None;
        }
        let [port, peers] = free_ports();
        Some(Self { port, peers, process: None, dir: scratch(), tls: Vec::new(), token: None })
    }

    /// Starts it, with what it knew before; ready when this returns.
    pub(crate) fn begin(&mut self) {
        let scheme = if self.tls.is_empty() { "http" } else { "https" };
        let client = format!("{scheme}://127.0.0.1:{}", self.port);
        let peer = format!("http://127.0.0.1:{}", self.peers);
        let mut command = Command::new("etcd");
        command.arg(format!("--data-dir={}", self.dir.path().join("data").display()));
        for (name, value) in [
            ("listen-client-urls", client.clone()),
            ("advertise-client-urls", client),
            ("listen-peer-urls", peer.clone()),
            ("initial-advertise-peer-urls", peer.clone()),
            ("initial-cluster", format!("default={peer}")),
            ("heartbeat-interval", "20".into()),
            ("election-timeout", "200".into()),
        ] {
            command.arg(format!("--{name}={value}"));
        }
        command
            .args(&self.tls)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let process = Process::spawn("etcd", command, &self.dir.path().join("etcd.log"));
        // Nobody has a token any more.
        let is_plain = self.tls.is_empty() && self.token.is_none();
        until("etcd to be ready", || {
            assert!(process.ended().is_none(), "etcd has ended: {}", process.log());
            match is_plain {
                true => self.try_ask("range", &json!({"key": STANDARD.encode("x")})).map(drop),
                false => process.log().contains("ready to serve client requests").then_some(()),
            }
        });
        self.process = Some(process);
        if self.token.take().is_some() {
            self.log_in();
        }
    }

    /// From now on it wants to know who asks: this user may do everything below the prefix, and
    /// `poor`, with the same password, nothing.
    pub(crate) fn want_users(&mut self, user: &str, password: &str, prefix: &str) {
        let mut asked = range(prefix);
        asked["permType"] = "READWRITE".into();
        for name in ["root", user] {
            self.auth("role/add", json!({"name": name}));
        }
        self.auth("role/grant", json!({"name": user, "perm": asked}));
        for (name, password) in [("root", ROOT), (user, password), ("poor", password)] {
            self.auth("user/add", json!({"name": name, "password": password}));
        }
        for name in ["root", user] {
            self.auth("user/grant", json!({"user": name, "role": name}));
        }
        self.auth("enable", json!({}));
        self.log_in();
    }

    /// As its user root.
    fn log_in(&mut self) {
        let answer = self.auth("authenticate", json!({"name": "root", "password": ROOT}));
        self.token = answer["token"].as_str().map(str::to_owned);
    }

    fn auth(&self, what: &str, asked: Value) -> Value {
        until(&format!("etcd to do {what}"), || self.post(&format!("auth/{what}"), &asked))
    }

    /// Kills it; what it knows stays.
    pub(crate) fn end(&mut self) {
        self.process.take().expect("it lives").kill9();
    }

    /// It has never known anything, once it is begun again.
    pub(crate) fn forget(&mut self) {
        std::fs::remove_dir_all(self.dir.path().join("data")).expect("ours");
    }

    /// It hears, and does not answer.
    pub(crate) fn freeze(&self) {
        self.process.as_ref().expect("it lives").signal(Signal::SIGSTOP);
    }

    /// It answers again.
    pub(crate) fn thaw(&self) {
        self.process.as_ref().expect("it lives").signal(Signal::SIGCONT);
    }

    /// Keys below a prefix, with their values.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<(String, String)> {
        let answer = self.ask("range", &range(prefix));
        let text = |value: &Value| {
            let bytes = STANDARD.decode(value.as_str().unwrap_or_default()).expect("base64");
            String::from_utf8(bytes).expect("UTF-8")
        };
        let all = answer["kvs"].as_array().cloned().unwrap_or_default();
        all.iter().map(|pair| (text(&pair["key"]), text(&pair["value"]))).collect()
    }

    /// Gives a key a value.
    pub(crate) fn put(&self, key: &str, value: &str) {
        let pair = json!({"key": STANDARD.encode(key), "value": STANDARD.encode(value)});
        self.ask("put", &pair);
    }

    /// Deletes keys below a prefix.
    pub(crate) fn delete(&self, prefix: &str) {
        self.ask("deleterange", &range(prefix));
    }

    fn ask(&self, what: &str, asked: &Value) -> Value {
        until("etcd to answer", || self.try_ask(what, asked))
    }

    fn try_ask(&self, what: &str, asked: &Value) -> Option<Value> {
        self.post(&format!("kv/{what}"), asked)
    }

    fn post(&self, path: &str, asked: &Value) -> Option<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(LIMIT.min(Duration::from_secs(10)))).ok()?;
        let body = asked.to_string();
        let length = body.len();
        // 1.0: the end of the answer is the end of the stream.
        let mut head = format!("POST /v3/{path} HTTP/1.0\r\nHost: e\r\nContent-Length: {length}");
        if let Some(token) = &self.token {
            head.push_str(&format!("\r\nAuthorization: {token}"));
        }
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.contains(" 200 ").then(|| serde_json::from_str(body).ok())?
    }
}

fn range(prefix: &str) -> Value {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().expect("a prefix") += 1;
    json!({"key": STANDARD.encode(prefix), "range_end": STANDARD.encode(end)})
}
