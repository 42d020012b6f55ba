//! Real headless Chromium, which is told by a script what to do.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::{Proxy, fixtures_dir, scratch, skip};

/// Where distributions have Chromium.
const CHROMIUM: [&str; 3] =
    ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/// Chromium, and where `tests/fetch` has put axe-core; None, and a note, where one is missing.
fn tools() -> Option<(PathBuf, PathBuf)> {
    let clients = std::env::var_os("ODP_TEST_CLIENTS").map(PathBuf::from);
    let axe = clients.unwrap_or_else(|| fixtures_dir().join("clients")).join("axe");
    let chromium = CHROMIUM.iter().map(PathBuf::from).find(|path| path.exists());
    match (chromium, axe.join("ready").exists()) {
        (Some(chromium), true) => Some((chromium, axe)),
        (None, _) => {
            skip("chromium is needed");
            None
        }
        (Some(_), false) => {
            skip("axe-core is not to be had here");
            None
        }
    }
}

/// Whether there is one; a note where there is none.
pub(crate) fn is_there() -> bool {
    tools().is_some()
}

/// What a script tells of these; null where there is no Chromium.
pub(crate) fn told<'a>(
    script: &str,
    proxy: &Proxy,
    cookie: &str,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Value {
    told_while(script, proxy, cookie, arguments, |what| panic!("{script} waits for {what}"))
}

/// The same; `happens` does what the script waits for before it goes on.
pub(crate) fn told_while<'a>(
    script: &str,
    proxy: &Proxy,
    cookie: &str,
    arguments: impl IntoIterator<Item = &'a str>,
    mut happens: impl FnMut(&str),
) -> Value {
    let Some((chromium, axe)) = tools() else { return Value::Null };
    let profile = scratch();
    let mut node = Command::new("node");
    node.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/console").join(script));
    node.env("NODE_PATH", axe.join("node_modules"));
    node.env("CHROMIUM", chromium).env("PROFILE", profile.path().join("profile"));
    node.arg(format!("http://127.0.0.1:{}", proxy.http)).arg(cookie).args(arguments);
    let errors = profile.path().join("errors");
    let said = || std::fs::read_to_string(&errors).unwrap_or_default();
    node.stderr(std::fs::File::create(&errors).expect("ours"));
    let child = node.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node runs");
    let mut script = Script(child);
    let lines = BufReader::new(script.0.stdout.take().expect("a pipe")).lines();
    for line in lines.map_while(Result::ok) {
        let told: Value = serde_json::from_str(&line).expect("JSON");
        let Some(what) = told["happens"].as_str() else { return told };
        happens(what);
        let stdin = script.0.stdin.as_mut().expect("a pipe");
        stdin.write_all(b"\n").unwrap_or_else(|error| panic!("{error}: {}", said()));
    }
    panic!("{}", said())
}

/// A script that runs; it ends, and its browser with it, when nobody talks to it any more.
struct Script(Child);

impl Drop for Script {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
