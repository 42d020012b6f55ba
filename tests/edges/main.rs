//! The edges: PROXY headers in and out, limits of users and addresses, clients that are slow to log
//! in, servers that count what is broken off, and servers that hang or are the
//! proxy itself.

#[path = "../support/mod.rs"]
mod support;

mod courtesy;
mod hangs;
mod header;
mod limits;
mod loops;
mod slow;

use support::Proxy;
use support::raw::{Login, Wire, WireError};
use support::relay::connect_from;

fn open_from(source: &str, proxy: &Proxy) -> Result<Wire, WireError> {
    Wire::over(connect_from(source, &proxy.address()))?.log_in(&Login::default())
}

/// One of the columns of SHOW PROXYSESSION.
fn shown(proxy: &Proxy, column: &str) -> Vec<String> {
    let mut admin = proxy.admin().expect("the admin port takes us");
    let rows = admin.query("SHOW PROXYSESSION").named_rows();
    rows.into_iter().filter_map(|mut row| row.remove(column)).collect()
}
