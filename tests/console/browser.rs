//! Real headless Chromium, which is told by a script what to do.

use std::path::{Path, PathBuf};
use std::process::Command;

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
    let Some((chromium, axe)) = tools() else { return Value::Null };
    let profile = scratch();
    let mut node = Command::new("node");
    node.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/console").join(script));
    node.env("NODE_PATH", axe.join("node_modules"));
    node.env("CHROMIUM", chromium).env("PROFILE", profile.path().join("profile"));
    node.arg(format!("http://127.0.0.1:{}", proxy.http)).arg(cookie).args(arguments);
    let output = node.output().expect("node runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}
