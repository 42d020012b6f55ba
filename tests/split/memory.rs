//! What a session with several links holds.

use crate::pair::Pair;
use crate::support::process::share_kb;
use crate::support::{Wire, may_look_into_proxies};

/// A session that waits holds no buffer for any of its links: that would be 16 KiB each.
#[test]
fn sessions_with_two_links_that_wait_hold_no_buffers() {
    const MORE: usize = 200;
    if !may_look_into_proxies() {
        return;
    }
    for protected in ["true", "false"] {
        let Some(pair) = Pair::start_with(&format!("crash_protection = {protected}")) else {
            return;
        };
        pair.marked();
        let pid = pair.proxy.pid();
        let session = |_| {
            let mut wire = pair.open();
            let read = wire.run("SELECT name, REPEAT('x', 3000) FROM p.who").named_rows();
            assert_eq!(read[0]["name"], "replica");
            wire
        };
        let first: Vec<Wire> = (0..50).map(session).collect();
        let before = share_kb(pid);
        let more: Vec<Wire> = (0..MORE).map(session).collect();
        let each = share_kb(pid).saturating_sub(before) / MORE;
        assert!(each < 14, "{each} KiB each, crash_protection = {protected}");
        drop((first, more));
    }
}
