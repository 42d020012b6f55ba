//! What these tests share: a proxy with the API, and who may use it.

use crate::support::http::Asker;
use crate::support::proxy::Options;
use crate::support::{Database, Proxy, Server};

/// Tokens of the config.
pub(crate) const MANAGER: &str = "a manager's token";
pub(crate) const VIEWER: &str = "a viewer's token";

/// Lines for the end of the config.
pub(crate) fn console(lines: &str) -> String {
    let token = |name: &str, role: &str, token: &str| {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("[[admin.token]]\nname = \"{name}\"\nrole = \"{role}\"\nsha256 = \"{hash}\"\n")
    };
    let (manager, viewer) = (token("ops", "manager", MANAGER), token("eyes", "viewer", VIEWER));
    format!("[console]\nenabled = true\n{lines}\n{manager}{viewer}")
}

/// A proxy with the API in front of these servers.
pub(crate) fn before(servers: &[String]) -> Proxy {
    let mut options = Options::new(servers);
    options.rest = console("");
    Proxy::start_with(&options)
}

/// A proxy with the API whose only server is not there.
pub(crate) fn alone() -> Proxy {
    before(&["127.0.0.1:1".to_owned()])
}

/// A proxy with the API in front of a server; None where there is none.
pub(crate) fn pair() -> Option<(Database, Proxy)> {
    let database = Database::start(Server::MariaDb)?;
    let proxy = before(&[database.address()]);
    Some((database, proxy))
}

/// Who may do everything.
pub(crate) fn manager(proxy: &Proxy) -> Asker {
    Asker::token(proxy, MANAGER)
}

/// Who may look.
pub(crate) fn viewer(proxy: &Proxy) -> Asker {
    Asker::token(proxy, VIEWER)
}
