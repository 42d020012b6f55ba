//! Sessions whose reads go to replicas: one client, its home, and a link to each replica that it
//! reads from.
//!
//! ```text
//!   command ─► Rules (in the relay's loop) ─► for the link that the one before used: passed on
//!                └─► for another: the session's task
//!                      ─► reach: open it ─► tell it what it lacks ─► wait for what was written
//!                      ─► turn to it; whatever of that fails: home
//! ```
//!
//! Truth is at home. A reader that was told another version of the session's state than the home
//! has is told anew before it is asked anything. Where one statement goes says [`route::decide`],
//! here it is asked, and its decision carried out.
//!
//! - `rules`: what is asked of `route`, and what it means for the links that there are.
//! - `reach`: a reader is made ready for a read.
//! - `explain`: EXPLAIN ROUTE.
//!
//! [`route::decide`]: crate::route::decide

mod explain;
mod reach;
mod rules;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::in_force::InForce;
use super::moves::Orders;
use super::relay::Relay;
use super::sessions::handle::Handle;
use crate::error::ClientError;
use crate::route::decide::{Decision, Go, Refusal, Why};
use crate::session::link::LinkId;
use reach::{Reach, Unreached};
pub(super) use rules::Rules;

/// How long a client is held up by a reader that is made ready; then its home answers.
const LIMIT: Duration = Duration::from_secs(5);

/// What splitting needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    /// Config, TLS, servers.
    pub(super) in_force: &'a InForce,
    /// What is known of servers.
    pub(super) orders: &'a Orders,
}

impl Surroundings<'_> {
    /// Turns the session to the link that its next command is for; false if that has ended it.
    pub(super) async fn route(
        &self,
        relay: &mut Relay,
        handle: &Arc<Handle>,
        rules: &Rules,
    ) -> bool {
        let (session, standpoint) = (relay.session(), relay.session().standpoint());
        let command = session.command_ahead(relay.next_command());
        if let Some(explained) = explain::answer(session, rules, &command, &standpoint)
            && relay.answer(&explained)
        {
            return true;
        }
        let session = relay.session();
        let command = session.command_ahead(relay.next_command());
        let decision = rules.decide(&command, &standpoint);
        if let Some(decision @ Decision { go: Go::Keep, .. }) = &decision {
            rules.record(&command, decision, LinkId::HOME);
        }
        let traced = match (&decision, rules.kind(&command)) {
            (Some(decision), Some(kind)) => Some((kind, decision.why)),
            _ => None,
        };
        let server = match decision.map(|decision| decision.go) {
            Some(Go::Use(server)) => server,
            Some(Go::Refuse(why)) if relay.answer(&refused(&why).packet(1)) => return true,
            Some(Go::Keep | Go::Refuse(_)) | None => return home(relay),
        };
        let Some(address) = rules.address(server) else { return home(relay) };
        let reach =
            Reach { in_force: self.in_force, orders: self.orders, rules, address: &address };
        match timeout(LIMIT, reach.make_ready(relay, handle)).await {
            Ok(Ok(link)) => {
                relay.session_mut().handle_route(link);
                traced.into_iter().for_each(|(kind, why)| rules.trace_at(link, kind, why));
                true
            }
            Ok(Err(Unreached::Reader(why))) => {
                tracing::debug!(id = handle.id.0, server = &*address, why, "read at home");
                let kind = traced.map(|(kind, _)| kind);
                kind.into_iter().for_each(|kind| rules.trace_at(LinkId::HOME, kind, Why::NoReader));
                home(relay)
            }
            Ok(Err(Unreached::Home(why))) => {
                tracing::warn!(id = handle.id.0, why, "the session's home does not answer");
                false
            }
            // Whose answer is missing is not known: neither link is between two commands.
            Err(_) => {
                tracing::warn!(id = handle.id.0, server = &*address, "no answer in time");
                false
            }
        }
    }
}

fn home(relay: &mut Relay) -> bool {
    relay.session_mut().handle_route(LinkId::HOME);
    true
}

fn refused(why: &Refusal) -> ClientError {
    ClientError::refused(why.to_string())
}
