//! What these tests share: a proxy with the console, and people who have logged in.

use crate::support::http::{Answer, Asker};
use crate::support::proxy::{ADMIN_PASSWORD, Options};
use crate::support::{Database, Proxy, Server, until};

/// Of a proxy with the console in front of these servers.
pub(crate) fn options(servers: &[String]) -> Options {
    let mut options = Options::new(servers);
    options.rest = "[console]\nenabled = true\n".into();
    options
}

/// The same with one server, which is not there.
pub(crate) fn nowhere() -> Options {
    options(&["127.0.0.1:1".to_owned()])
}

/// A proxy with the console whose only server is not there.
pub(crate) fn alone() -> Proxy {
    with("")
}

/// The same with these lines at the end of the config.
pub(crate) fn with(lines: &str) -> Proxy {
    let mut options = nowhere();
    options.rest.push_str(lines);
    Proxy::start_with(&options)
}

/// A proxy with the console in front of these servers.
pub(crate) fn before(servers: &[String]) -> Proxy {
    Proxy::start_with(&options(servers))
}

/// A proxy with the console in front of a server; None where there is none.
pub(crate) fn pair() -> Option<(Database, Proxy)> {
    let database = Database::start(Server::MariaDb)?;
    let proxy = before(&[database.address()]);
    Some((database, proxy))
}

/// The answer to a log-in.
pub(crate) fn try_log_in(proxy: &Proxy, user: &str, password: &str) -> Answer {
    let fields = format!("user={user}&password={password}&next=%2Ftasks");
    Asker::nobody(proxy).form("/login", &fields)
}

/// Somebody who has logged in.
pub(crate) struct Person {
    pub asker: Asker,
    csrf: String,
}

impl Person {
    /// With the password of the tests.
    pub(crate) fn log_in(proxy: &Proxy, user: &str) -> Self {
        let answer = try_log_in(proxy, user, ADMIN_PASSWORD);
        assert_eq!(answer.status, 303, "{answer:?}");
        let cookie = answer.field("set-cookie").expect("a cookie");
        let cookie = cookie.split(';').next().expect("its value").to_owned();
        let asker = Asker::nobody(proxy).with("Cookie", &cookie);
        let page = asker.get("/clusters").body;
        let (_, rest) = page.split_once("name=\"csrf\" value=\"").expect("a form");
        let csrf = rest.split('"').next().expect("its value").to_owned();
        Self { asker, csrf }
    }

    /// His cookie: its name and its value.
    pub(crate) fn cookie(&self) -> &str {
        let cookie = self.asker.fields.iter().find(|(name, _)| name == "Cookie");
        cookie.map(|(_, value)| value.as_str()).expect("he has logged in")
    }

    /// The same with one more field in all requests.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        Self { asker: self.asker.with(name, value), csrf: self.csrf.clone() }
    }

    /// The same cookie with the token of somebody else's pages.
    pub(crate) fn with_token_of(&self, other: &Self) -> Self {
        Self { asker: self.asker.clone(), csrf: other.csrf.clone() }
    }

    /// A page.
    pub(crate) fn see(&self, path: &str) -> String {
        let answer = until(path, || self.asker.try_ask("GET", path, ""));
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body
    }

    /// Sends a form as the page has it.
    pub(crate) fn send(&self, path: &str, fields: &str) -> Answer {
        self.asker.form(path, &format!("csrf={}&{fields}", self.csrf))
    }
}
