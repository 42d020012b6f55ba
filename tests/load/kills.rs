//! A proxy that is killed again and again under the clients of `odp load`.

use crate::number;
use crate::servers::moving;
use crate::support::proxy::{Options, is_haproxy};
use crate::support::{Database, Proxy, Server};

/// Who is not logged in yet is not protected: a connect may fail.
const LOST: [&str; 4] =
    ["sessions_lost", "sessions_lost_in_transaction", "statements_failed", "answers_wrong"];

/// A proxy that is protected from its own death.
fn protected() -> Option<(Database, Proxy)> {
    if is_haproxy() {
        return None;
    }
    let database = Database::start(Server::MariaDb)?;
    let mut options = Options::new(&[database.address()]);
    options.proxy = "crash_protection = true\n".into();
    let proxy = Proxy::start_with(&options);
    Some((database, proxy))
}

#[test]
fn a_proxy_that_is_killed_loses_nothing_and_each_kill_is_told() {
    let Some((_database, proxy)) = protected() else { return };
    let page = tempfile::NamedTempFile::new().unwrap();
    let file = page.path().to_str().unwrap();
    let more = ["--kill-every", "1500ms", "--duration", "8s", "--settle", "1s", "--report", file];
    let (code, found) = moving(&proxy.address(), &proxy.admin_address(), &more);
    assert_eq!(code == Some(0), number(&found, "connects_failed") == 0, "{found:#}");
    LOST.iter().for_each(|name| assert_eq!(number(&found, name), 0, "{name} in {found:#}"));
    assert_eq!(number(&found, "restarts_failed"), 0, "{found:#}");
    let kills = found["restarts"].as_array().unwrap();
    assert!(kills.len() > 1, "{found:#}");
    assert!(kills.iter().all(|kill| kill["act"] == "kill"), "{found:#}");
    // The journal that the killed ones left says the same.
    let mut admin = proxy.admin().expect("the proxy takes operators");
    let crashes = admin.run("SHOW CRASH").named_rows();
    assert!(crashes.len() >= kills.len(), "{crashes:?}");
    assert!(crashes.iter().all(|row| row["lost"] == "0"), "{crashes:?}");
    let page = std::fs::read_to_string(page.path()).unwrap();
    assert!(page.contains("kill"), "{page}");
}
