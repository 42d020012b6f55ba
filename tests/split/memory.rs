//! What a session with several links holds.

use crate::pair::Pair;
use crate::support::may_look_into_proxies;
use crate::support::process::kb_each;

/// A session that waits holds no buffer for any of its links: that would be 16 KiB each.
#[test]
fn sessions_with_two_links_that_wait_hold_no_buffers() {
    if !may_look_into_proxies() {
        return;
    }
    for protected in ["true", "false"] {
        let Some(pair) = Pair::start_with(&format!("crash_protection = {protected}")) else {
            return;
        };
        pair.marked();
        let each = kb_each(pair.proxy.pid(), || {
            let mut wire = pair.open();
            let read = wire.run("SELECT name, REPEAT('x', 3000) FROM p.who").named_rows();
            assert_eq!(read[0]["name"], "replica");
            wire
        });
        assert!(each < 14, "{each} KiB each, crash_protection = {protected}");
    }
}
