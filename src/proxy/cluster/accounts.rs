//! Accounts on a cluster's servers: what is known of them, from the config and from log-ins.

use super::Cluster;
use crate::config::Secret;
use crate::proxy::credentials::Credentials;
use crate::proxy::taught::{Answer, Taught};
use crate::session::exchange::Learned;

impl Cluster {
    /// The account that asks servers for what they are.
    pub(in crate::proxy) fn service(&self) -> Option<Credentials> {
        let user = &self.section.service_user;
        let password = self.section.service_password.as_ref().map(Secret::reveal);
        (!user.is_empty()).then(|| Credentials::clear(user, password.unwrap_or_default()))
    }

    /// What is known of an account, if that is enough to log in: from the config, or from log-ins.
    pub(in crate::proxy) fn credentials_of(&self, user: &str) -> Option<Credentials> {
        let configured = self.section.user.iter().find(|known| known.name == user);
        match configured.and_then(|known| known.password.as_ref()) {
            Some(password) => Some(Credentials::clear(user, password.reveal())),
            None => self.wallet.credentials(user.as_bytes()),
        }
    }

    /// An answer that the account's hash makes credentials of.
    pub(in crate::proxy) fn answer_of(&self, user: &str) -> Option<Answer> {
        self.wallet.answer(user.as_bytes())
    }

    /// A client's log-in has succeeded.
    pub(in crate::proxy) fn learn(&self, user: &[u8], learned: Learned) {
        if self.can_move_sessions() {
            self.wallet.learn(user, learned);
        }
    }

    /// What log-ins have taught of an account, for the process that goes on with its session.
    pub(in crate::proxy) fn taught(&self, user: &[u8]) -> Option<Taught> {
        self.wallet.taught(user)
    }

    /// What log-ins have taught of an account the process that its session comes from.
    pub(in crate::proxy) fn inherit_account(&self, user: &[u8], taught: Taught) {
        if self.can_move_sessions() {
            self.wallet.inherit(user, taught);
        }
    }

    /// An account's credentials were found.
    pub(in crate::proxy) fn store(&self, credentials: &Credentials) {
        self.wallet.store(credentials);
    }

    /// What was learned of an account was refused.
    pub(in crate::proxy) fn forget(&self, user: &str) {
        self.wallet.forget(user.as_bytes());
    }
}
