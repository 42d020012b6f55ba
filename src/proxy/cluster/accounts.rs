//! Accounts on a cluster's servers: what is known of them, from the config and from log-ins.

use super::Cluster;
use super::wallet::Try;
use crate::config::{ReadWriteSplit, Secret};
use crate::proxy::accounts::credentials::Credentials;
use crate::proxy::accounts::taught::{Answer, Taught};
use crate::session::exchange::Learned;
use crate::wire::authentication::{CACHING_SHA2, NATIVE};

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

    /// Whether enough may be known of an account to log in, by the hash that its server tells if by
    /// nothing else.
    pub(in crate::proxy) fn may_log_in(&self, user: &str) -> bool {
        let may_ask = || self.service().is_some() && !self.hides_hashes();
        self.credentials_of(user).is_some() || self.answer_of(user).is_some() && may_ask()
    }

    /// Whether a client that logs in by this plugin is to be asked for an answer to a second
    /// server's challenge, too: its reads go to readers, and nothing else would let it in there.
    ///
    /// `capabilities` are the client's: some kinds answer wrongly.
    pub(in crate::proxy) fn wants_second_answer(
        &self,
        user: &str,
        plugin: &[u8],
        capabilities: u32,
    ) -> bool {
        let is_possible = match plugin {
            // The hash would do, which costs the client nothing.
            NATIVE => self.section.service_user.is_empty() || self.wallet.hides_hashes(),
            CACHING_SHA2 => true,
            _ => false,
        };
        is_possible
            && self.splits_all_reads()
            && self.credentials_of(user).is_none()
            && !self.is_vain(user.as_bytes(), Try::Answer(capabilities))
    }

    /// It was of no use for this account.
    pub(in crate::proxy) fn note_vain(&self, user: &[u8], tried: Try) {
        self.wallet.note_vain(user, tried);
    }

    /// Whether that was so of late: each try may count as a wrong password.
    pub(in crate::proxy) fn is_vain(&self, user: &[u8], tried: Try) -> bool {
        self.wallet.is_vain(user, tried)
    }

    /// No other server lets an account in; whether that is news.
    pub(in crate::proxy) fn note_shut_out(&self, user: &[u8]) -> bool {
        self.wallet.note_shut_out(user)
    }

    /// Whether its log-ins have taught enough for another one.
    pub(in crate::proxy) fn has_learned(&self, user: &[u8]) -> bool {
        self.splits_all_reads() && self.wallet.credentials(user).is_some()
    }

    fn splits_all_reads(&self) -> bool {
        self.section.read_write_split == ReadWriteSplit::On
    }

    /// The service account may not read hashes.
    pub(in crate::proxy) fn note_hidden_hashes(&self) {
        self.wallet.note_hidden_hashes();
    }

    /// Whether that was so of late.
    pub(in crate::proxy) fn hides_hashes(&self) -> bool {
        self.wallet.hides_hashes()
    }

    /// A client's log-in has succeeded.
    pub(in crate::proxy) fn learn(&self, user: &[u8], learned: Learned) {
        if self.can_move_sessions() || self.splits_all_reads() {
            self.wallet.learn(user, learned);
        }
    }

    /// What log-ins have taught of an account, for the process that goes on with its session.
    pub(in crate::proxy) fn taught(&self, user: &[u8]) -> Option<Taught> {
        self.wallet.taught(user)
    }

    /// What log-ins have taught of an account the process that its session comes from.
    pub(in crate::proxy) fn inherit_account(&self, user: &[u8], taught: Taught) {
        if self.can_move_sessions() || self.splits_all_reads() {
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
