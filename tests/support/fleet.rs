//! Proxies that know each other: `[[fleet.proxy]]` in the config of each.

use std::borrow::Borrow;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Proxy, until};

/// Names of a fleet's proxies, in order.
pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];

/// Tells each of them who all are.
pub(crate) fn introduce<P: Borrow<Proxy>>(proxies: &[P]) {
    let proxies: Vec<&Proxy> = proxies.iter().map(Borrow::borrow).collect();
    let members = NAMES.iter().zip(&proxies).map(|(name, proxy)| {
        let address = proxy.admin_address();
        format!("[[fleet.proxy]]\nname = \"{name}\"\naddress = \"{address}\"\n")
    });
    let members: String = members.collect();
    for proxy in &proxies {
        let text = std::fs::read_to_string(proxy.config()).expect("a config");
        std::fs::write(proxy.config(), format!("{text}{members}")).expect("ours");
        kill(Pid::from_raw(proxy.pid() as i32), Signal::SIGHUP).expect("it lives");
        until("the fleet to be known", || {
            let rows = proxy.admin().ok()?.query("SHOW FLEET");
            (rows.error().is_none() && rows.row_count() == proxies.len()).then_some(())
        });
    }
}
