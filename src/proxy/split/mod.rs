//! Sessions whose reads go to replicas: one client, its home, and a link to each replica that it
//! reads from. Also those whose home is not on the primary any more, whatever becomes of reads.
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
//! - `rest`: what its home hears while a session reads elsewhere.
//! - `copies`: prepared statements on readers.
//! - `transaction`: a reader joins a transaction, and parts from it.
//! - `known`: who knows how the last statements went. `gather`: that is brought together.
//! - `explain`: EXPLAIN ROUTE.
//! - `outwait`: a write that a server refuses which takes none any more.
//!
//! Invariant: what may write goes over no link but the home's, and not over that while its server
//! is not the primary any more: the session moves home first, or the command is refused.
//!
//! [`route::decide`]: crate::route::decide

mod copies;
mod explain;
mod gather;
mod known;
mod outwait;
mod reach;
pub(super) mod rest;
mod rules;
mod transaction;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::moves::carrier::Home;
use super::moves::carry::move_now;
use super::moves::recruit::Wants;
use super::relay::Relay;
use super::sessions::handle::Handle;
use super::sessions::stay::{Cost, Stay};
use crate::error::ClientError;
use crate::route::decide::{Kind, Refusal, Why};
use crate::route::topology::ServerId;
use crate::session::link::LinkId;
use crate::session::portable::Pins;
use crate::session::routing::Command;
use crate::wire::response::ServerStatus;
pub(super) use explain::explained;
use gather::Gathered;
use reach::{Reach, Unreached};
use rules::Goes;
pub(super) use rules::Rules;

/// How long a client is held up by a reader that is made ready; then its home answers.
const LIMIT: Duration = Duration::from_secs(5);

/// Turns the session to the link that its next command is for; false if that has ended it.
pub(super) async fn route(relay: &mut Relay, handle: &Arc<Handle>, rules: &Rules) -> bool {
    let (session, standpoint) = (relay.session(), relay.session().standpoint());
    let command = session.command_ahead(relay.next_command());
    let explained = explain::answer(session, rules, &command, &standpoint);
    let is_joined = standpoint.transaction.joined().is_some();
    let is_read = rules.kind(&command) == Some(Kind::Read);
    let may_end_copies = matches!(command, Command::Close | Command::Reset { .. });
    if explained.is_some_and(|explained| relay.answer(&explained)) {
        return true;
    }
    // Behind an error it is not known whether the transaction that it would read in is open.
    if is_joined
        && is_read
        && has_unknown_status(relay)
        && ask_status(relay, handle).await.is_none()
    {
        return false;
    }
    if is_joined && rules.parts(&ahead(relay), &relay.session().standpoint()) {
        transaction::part(relay).await;
    }
    if may_end_copies {
        copies::close(relay, LIMIT).await;
    }
    if relay.session().is_refused() {
        return outwait::outwait(relay, handle, rules).await;
    }
    let (mut to, mut why) = goes(relay, rules);
    let may_find = rules.may_find_at_home(&ahead(relay), &relay.session().standpoint());
    let is_scattered = to == Goes::Refused(Refusal::Scattered);
    if (is_scattered || may_find) && !is_home_lost(relay).await {
        match gather::gather(relay, handle, rules).await {
            Gathered::Home => (to, why) = goes(relay, rules),
            Gathered::At(link) => return turn(relay, rules, link, Some(Why::Diagnostics)),
            Gathered::Lost => return false,
        }
    }
    match to {
        Goes::To(LinkId::HOME) if is_home_lost(relay).await => {
            rest::end_without_home(relay, handle)
        }
        Goes::To(link) if link == LinkId::HOME => turn(relay, rules, link, why),
        Goes::To(link) if relay.is_alive(link).await => turn(relay, rules, link, why),
        Goes::To(link) => without(relay, rules, link),
        Goes::Kill(id, server) => kill(relay, handle, rules, (id, server)).await,
        Goes::Reader(_) if relay.session().is_asked_again() => without_reader(relay, rules).await,
        Goes::Reader(server) => read(relay, handle, rules, (server, why)).await,
        Goes::Joined(server) => begin(relay, handle, rules, server).await,
        Goes::NewHome(server) => go_home(relay, handle, rules, server).await,
        // Whether a transaction is open is not known behind an error.
        Goes::Refused(Refusal::Fenced) if has_unknown_status(relay) => {
            let Some(()) = ask_status(relay, handle).await else { return false };
            match goes(relay, rules).0 {
                Goes::NewHome(server) => go_home(relay, handle, rules, server).await,
                _ => refuse(relay, &Refusal::Fenced),
            }
        }
        Goes::Refused(why) => refuse(relay, &why),
    }
}

/// The next command ends what this connection does on this server.
async fn kill(
    relay: &mut Relay,
    handle: &Arc<Handle>,
    rules: &Rules,
    (id, server): (u64, ServerId),
) -> bool {
    let there = rules.address(server);
    let link = match &there {
        // Its own connection there was lost, and what was to be ended with it.
        Some(_) if relay.session().is_asked_again() => None,
        Some(address) => {
            let reach = Reach::new(rules, address);
            reach.open_any(relay, handle).await.ok()
        }
        None => None,
    };
    let Some(link) = link else { return refuse(relay, &rules.cannot_follow(server)) };
    rules.note_killed(id);
    relay.session_mut().handle_route(link);
    true
}

/// The next command reads on this server, or at home.
async fn read(
    relay: &mut Relay,
    handle: &Arc<Handle>,
    rules: &Rules,
    (server, decided): (ServerId, Option<Why>),
) -> bool {
    let Some(address) = rules.address(server) else {
        return turn(relay, rules, LinkId::HOME, decided);
    };
    let begins = (decided == Some(Why::SplitTransaction)).then_some(transaction::SPLIT);
    match ready(relay, handle, rules, (&address, begins)).await {
        None => false,
        Some(Ok(link)) => turn(relay, rules, link, decided),
        Some(Err(())) => without_reader(relay, rules).await,
    }
}

/// The link to this server, ready, which has begun what these words begin; or that there is
/// none. None: the session is over.
async fn ready(
    relay: &mut Relay,
    handle: &Arc<Handle>,
    rules: &Rules,
    (address, begins): (&Arc<str>, Option<transaction::Words>),
) -> Option<Result<LinkId, ()>> {
    let reach = Reach::new(rules, address);
    let ready = match (reach.make_ready(relay, handle).await, begins) {
        (Ok(link), Some(words)) => transaction::join(relay, link, words).await,
        (ready, _) => ready,
    };
    settled(relay, handle, address, ready)
}

/// The next command begins a transaction that reads on this server. It is the home's, too.
async fn begin(relay: &mut Relay, handle: &Arc<Handle>, rules: &Rules, server: ServerId) -> bool {
    let Some(address) = rules.address(server) else {
        return turn(relay, rules, LinkId::HOME, Some(Why::NoReader));
    };
    let words = transaction::words(&ahead(relay));
    match ready(relay, handle, rules, (&address, Some(words))).await {
        None => false,
        Some(Ok(_)) => turn(relay, rules, LinkId::HOME, Some(Why::Reader)),
        Some(Err(())) => turn(relay, rules, LinkId::HOME, Some(Why::NoReader)),
    }
}

/// The session's home is not on the primary any more: it moves there, where the next command
/// then goes.
async fn go_home(relay: &mut Relay, handle: &Arc<Handle>, rules: &Rules, server: ServerId) -> bool {
    // Its client is not held up by each of its commands for what cannot be carried.
    let is_too_soon = |stay: Arc<Stay>| stay.cost == Cost::Held && stay.is_fresh(Instant::now());
    let moved = async {
        if handle.stay().is_some_and(is_too_soon) {
            return None;
        }
        let cluster = rules.cluster()?;
        let address = rules.address(server)?;
        let home = relay.home().server.clone();
        let from = cluster.present_or_former(&home)?;
        let to = cluster.server(&address)?;
        let facts = handle.facts().clone();
        let wants = Wants::of(rules.shared(), &cluster, (&from, to), &facts)?;
        let recruit = match tokio::time::timeout(LIMIT, wants.recruit()).await {
            Ok(Ok(recruit)) => recruit,
            Ok(Err(why)) => {
                if why.note(handle, Cost::LogIn) {
                    tracing::warn!(id = handle.id.0, %why, "session not moved to the primary");
                }
                return None;
            }
            Err(_) => return None,
        };
        // Whoever asks for them next asks about the command that is at hand.
        let allowed = Pins::DIAGNOSTICS;
        Some(move_now(relay, handle, &rules.shared().sessions, recruit, (allowed, None)).await)
    };
    match moved.await {
        Some((Ok(()), _)) => turn_home(relay, rules),
        Some((Err(_), false)) => false,
        Some((Err(_), true)) | None => match rules.may_write(&ahead(relay)) {
            true => refuse(relay, &Refusal::Fenced),
            false => turn_home(relay, rules),
        },
    }
}

/// The link that is ready, or that none is; None: the session is over.
fn settled(
    relay: &mut Relay,
    handle: &Handle,
    server: &str,
    ready: Result<LinkId, Unreached>,
) -> Option<Result<LinkId, ()>> {
    let why = match ready {
        Ok(link) => return Some(Ok(link)),
        Err(Unreached::Home(why)) => {
            tracing::warn!(id = handle.id.0, why, "the session's home does not answer");
            return None;
        }
        Err(Unreached::Broken(link, why)) => {
            relay.break_link(link);
            why
        }
        Err(Unreached::Reader(why)) => why,
    };
    tracing::debug!(id = handle.id.0, server, why, "read at home");
    Some(Err(()))
}

fn ahead(relay: &Relay) -> Command<'_> {
    relay.session().command_ahead(relay.next_command())
}

fn goes(relay: &Relay, rules: &Rules) -> (Goes, Option<Why>) {
    rules.goes(&ahead(relay), &relay.session().standpoint())
}

/// Whether the home, which had nothing to do, is there no more.
async fn is_home_lost(relay: &mut Relay) -> bool {
    let is_at_rest = relay.session().conversation().current() != LinkId::HOME;
    is_at_rest && !relay.is_alive(LinkId::HOME).await
}

/// The next command goes to this link.
fn turn(relay: &mut Relay, rules: &Rules, link: LinkId, why: Option<Why>) -> bool {
    rules.record(&ahead(relay), why, link);
    relay.session_mut().handle_route(link);
    true
}

/// The next command is a read that no reader answers: the home does, unless the transaction has
/// data of another time already.
async fn without_reader(relay: &mut Relay, rules: &Rules) -> bool {
    let joined = relay.session().standpoint().transaction.joined();
    if joined.is_some_and(|joined| joined.has_read) {
        return refuse(relay, &Refusal::OtherTime);
    }
    if joined.is_some() {
        transaction::part(relay).await;
    }
    rules.trace_at(LinkId::HOME, Kind::Read, Why::NoReader);
    relay.session_mut().handle_route(LinkId::HOME);
    true
}

/// The next command is for a link that is lost, which has run the statement before.
fn without(relay: &mut Relay, rules: &Rules, lost: LinkId) -> bool {
    relay.break_link(lost);
    match ahead(relay) {
        Command::Ping => turn(relay, rules, LinkId::HOME, None),
        Command::Text(_)
        | Command::Execute { .. }
        | Command::Kill(..)
        | Command::Close
        | Command::Reset { .. }
        | Command::Write
        | Command::Other => refuse(relay, &Refusal::Lost),
    }
}

/// The next command goes to the home, which may be another one than when it was decided on.
fn turn_home(relay: &mut Relay, rules: &Rules) -> bool {
    let (_, why) = goes(relay, rules);
    turn(relay, rules, LinkId::HOME, why)
}

/// The next command goes nowhere. Where it cannot be answered the session ends with the answer.
fn refuse(relay: &mut Relay, why: &Refusal) -> bool {
    if *why == Refusal::OtherTime {
        relay.session_mut().handle_unfit();
    }
    let words = match why {
        Refusal::Fenced => ClientError::read_only(why.to_string()),
        _ => ClientError::refused(why.to_string()),
    };
    if !relay.answer(&words.packet(1)) {
        relay.close_with(words);
    }
    true
}

fn has_unknown_status(relay: &Relay) -> bool {
    relay.session().conversation().status() == ServerStatus::Unknown
}

/// Asks the home for its status; None: it does not answer.
async fn ask_status(relay: &mut Relay, handle: &Handle) -> Option<()> {
    let mut home = Home::of(relay, handle);
    let status = tokio::time::timeout(LIMIT, home.carrier(None).status()).await.ok()?.ok()?;
    drop(home);
    relay.session_mut().handle_home_status(ServerStatus::Known(status));
    Some(())
}
