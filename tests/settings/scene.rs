//! What these tests share: proxies without servers that have an etcd in common.

use std::collections::BTreeMap;

use crate::support::etcd::Etcd;
use crate::support::proxy::Options;
use crate::support::{Proxy, until};

pub(crate) const SERVERS: &str = "cluster.main.server";

/// A row of a table.
pub(crate) type Row = BTreeMap<String, String>;

/// Options of one that shares at this endpoint, with these lines in `[fleet]`.
pub(crate) fn options(endpoint: &str, lines: &str) -> Options {
    let mut options = Options::new(&["127.0.0.1:1".into(), "127.0.0.1:2".into()]);
    options.proxy = "connect_timeout = \"9s\"\n".into();
    options.rest = format!("[fleet]\netcd = [\"{endpoint}\"]\n{lines}\n");
    options
}

/// Where an etcd without TLS is.
pub(crate) fn endpoint(etcd: &Etcd) -> String {
    format!("http://127.0.0.1:{}", etcd.port)
}

/// One that shares.
pub(crate) fn proxy(etcd: &Etcd) -> Proxy {
    Proxy::start_with(&options(&endpoint(etcd), ""))
}

/// Two of them.
pub(crate) fn pair() -> Option<(Etcd, [Proxy; 2])> {
    let etcd = Etcd::start()?;
    let proxies = [proxy(&etcd), proxy(&etcd)];
    Some((etcd, proxies))
}

pub(crate) fn rows(proxy: &Proxy, sql: &str) -> Vec<Row> {
    let mut wire = until("the admin port", || proxy.admin().ok());
    let reply = wire.query(sql);
    assert_eq!(reply.error(), None, "{sql}: {:?}", reply.last());
    reply.named_rows()
}

/// Alters something: what is said of that, or what is the matter.
pub(crate) fn alter(proxy: &Proxy, what: &str) -> Result<String, String> {
    let reply = proxy.admin().expect("the admin port takes us").query(&format!("ALTER {what}"));
    let told = String::from_utf8_lossy(&reply.last().payload).into_owned();
    if reply.error().is_some() { Err(told) } else { Ok(told) }
}

/// Alters a timeout, of which nothing is said.
pub(crate) fn set_timeout(proxy: &Proxy, value: &str) {
    let told = alter(proxy, &format!("PROXYCONFIG SET connect_timeout = '{value}'"));
    assert!(told.as_ref().is_ok_and(|it| !it.contains("not shared")), "{told:?}");
}

pub(crate) fn value(proxy: &Proxy, name: &str) -> String {
    rows(proxy, &format!("SHOW PROXYCONFIG LIKE '{name}'"))[0]["value"].clone()
}

/// Waits until a parameter has a value there.
pub(crate) fn arrives(proxy: &Proxy, name: &str, expected: &str) {
    let what = format!("{name} = {expected} at {}", proxy.admin_address());
    until(&what, || (value(proxy, name) == expected).then_some(()));
}

/// The row of SHOW FLEET ETCD.
pub(crate) fn store(proxy: &Proxy) -> Row {
    rows(proxy, "SHOW FLEET ETCD").remove(0)
}

/// Waits until a proxy stands so with etcd.
pub(crate) fn stands(proxy: &Proxy, state: &str) -> Row {
    until(&format!("etcd to be {state}"), || {
        let row = store(proxy);
        (row["state"] == state).then_some(row)
    })
}

/// A number of `/metrics`.
pub(crate) fn metric(proxy: &Proxy, name: &str) -> Option<String> {
    let page = proxy.http_get("/metrics").expect("figures");
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("{} "));
    line.map(str::to_owned)
}
