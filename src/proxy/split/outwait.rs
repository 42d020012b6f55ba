//! A write that the home has refused, as it takes none any more: it is held until there is another
//! primary, where the session goes on with it, or the home takes writes again.
//!
//! ```text
//!   refused ─► all servers are asked what they are ─┬─► another primary: the session moves there
//!       ▲                                           ├─► the home is it: asked once more
//!       └─────────────── none is it ────────────────┴─► time is over: asked once more
//! ```
//!
//! Who is asked once more and refuses again says so to the client.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::rules::{Goes, Rules};
use super::{go_home, goes, refuse, turn_home};
use crate::proxy::relay::Relay;
use crate::proxy::sessions::handle::{Handle, Signal};

/// How long a client waits for a server that takes writes.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether there is one.
const GLANCE: Duration = Duration::from_millis(50);

/// Holds the next command, which was refused; false if that has ended the session.
pub(super) async fn outwait(relay: &mut Relay, handle: &Arc<Handle>, rules: &Rules) -> bool {
    let since = Instant::now();
    tracing::info!(id = handle.id.0, server = &*relay.home().server, "a write waits");
    while since.elapsed() < PATIENCE {
        if let (Goes::NewHome(server), _) = goes(relay, rules) {
            return go_home(relay, handle, rules, server).await;
        }
        if rules.takes_writes(since) {
            break;
        }
        if handle.signal() != Signal::None {
            // It is still to be led, by whoever goes on with the session.
            return true;
        }
        rules.ask_now();
        tokio::time::sleep(GLANCE).await;
    }
    match goes(relay, rules) {
        // It was the primary, and is it no more.
        (Goes::Refused(why), _) => refuse(relay, &why),
        _ => turn_home(relay, rules),
    }
}
