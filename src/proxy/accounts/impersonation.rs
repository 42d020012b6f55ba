//! Whom a server behind a Unix socket lets in: the client, or us?
//!
//! Accounts can be open to whoever connects to the socket as a certain user of the system
//! (MariaDB's `unix_socket`, MySQL's `auth_socket`); root's is by default. Such a server sees the
//! user that the *proxy* runs as, whoever its client is, and asks for nothing. So a log-in over a
//! Unix socket must have been asked for a proof and have given one. That a proof was given does not
//! always mean that it was right: of an account with several methods MariaDB tries one after the
//! other (`mysql_native_password … OR unix_socket`), and we do not hear which one was good. So
//! nobody logs in as the user of our own name. Price: over a Unix socket accounts without a
//! password are closed, and the one of our own name.
//!
//! Only a client that is ourselves, on the same machine, is what the server takes it for. The same
//! holds for log-ins of ours on behalf of a client, whoever has proved what elsewhere.

use nix::unistd::{User, geteuid};
use tokio::sync::OnceCell;

use crate::config::networks::Networks;
use crate::error::ClientError;
use crate::net::stream::Stream;
use crate::session::exchange::Proof;

/// On whose behalf a server is logged in to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behalf {
    /// Ours, or that of a client that is ourselves.
    Ours,
    /// A client's, who has to prove who it is.
    Client,
}

impl Behalf {
    /// Of a client that is a process of this user, if that is known. Who may speak for others by a
    /// PROXY header is not ourselves.
    pub(in crate::proxy) fn of(client_uid: Option<u32>, trusted: &Networks) -> Self {
        match !trusted.contain(None) && client_uid == Some(geteuid().as_raw()) {
            true => Self::Ours,
            false => Self::Client,
        }
    }
}

/// Says why a user that a server has let in may not stay; None is one that is not known.
pub(in crate::proxy) async fn check(
    client: &Stream,
    server: &Stream,
    trusted: &Networks,
    user: Option<&[u8]>,
    proof: Proof,
) -> Result<(), ClientError> {
    match may_be_us(Behalf::of(client.peer_uid(), trusted), server, user, proof).await {
        true => Err(ClientError::unproved()),
        false => Ok(()),
    }
}

/// Whether it may be us that a server has let in, in place of a client.
pub(in crate::proxy) async fn may_be_us(
    behalf: Behalf,
    server: &Stream,
    user: Option<&[u8]>,
    proof: Proof,
) -> bool {
    let can = server.is_unix() && behalf == Behalf::Client;
    can && is_doubtful(user, proof, own_name().await)
}

/// Whether it may be us that the server has let in.
fn is_doubtful(user: Option<&[u8]>, proof: Proof, own_name: Option<&str>) -> bool {
    let Some(user) = user else { return true };
    proof == Proof::None || own_name.is_some_and(|name| name.as_bytes() == user)
}

/// The name of the user that we run as; None if it has none. Asked for once: it may take a while.
async fn own_name() -> Option<&'static str> {
    static NAME: OnceCell<Option<String>> = OnceCell::const_new();
    let ask = || async {
        let user = tokio::task::spawn_blocking(|| User::from_uid(geteuid())).await;
        user.ok()?.ok().flatten().map(|user| user.name)
    };
    NAME.get_or_init(ask).await.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_taken_for_us() {
        let own = Some("root");
        for (user, proof, own_name, expected) in [
            ("app", Proof::Given, own, false),
            ("app", Proof::None, own, true),
            ("root", Proof::Given, own, true),
            ("root", Proof::None, own, true),
            ("root", Proof::Given, None, false),
            ("root", Proof::Given, Some("odp"), false),
            ("", Proof::None, None, true),
        ] {
            let doubtful = is_doubtful(Some(user.as_bytes()), proof, own_name);
            assert_eq!(doubtful, expected, "{user} {proof:?} {own_name:?}");
        }
        assert!(is_doubtful(None, Proof::Given, None));
    }
}
