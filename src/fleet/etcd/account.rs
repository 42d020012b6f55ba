//! Who logs in to etcd, and the token that it got for that.
//!
//! Invariant: the password goes to etcd and nowhere else, and neither it nor a token is ever shown.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::config::{FleetSection, Secret};

/// A user of etcd.
pub(super) struct Account {
    /// The name.
    pub(super) user: String,
    password: Secret,
    token: Mutex<Option<String>>,
}

impl Account {
    /// As the config has it; None: nobody logs in.
    pub(super) fn new(config: &FleetSection) -> Option<Self> {
        let (user, password) = (config.etcd_user.clone()?, config.etcd_password.clone()?);
        Some(Self { user, password, token: Mutex::default() })
    }

    /// The password, for the one request that has it.
    pub(super) fn password(&self) -> &str {
        self.password.reveal()
    }

    /// The token that it got last.
    pub(super) fn token(&self) -> Option<String> {
        self.lock().clone()
    }

    /// From now on it has this one.
    pub(super) fn set_token(&self, token: &str) {
        *self.lock() = Some(token.to_owned());
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Account").field(&self.user).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn an_account_shows_nothing_but_its_name() {
        let text = "[fleet]\netcd_user = 'u'\netcd_password = 'hush'\n[[cluster]]\nname = 'a'\n\
                    [[cluster.server]]\naddress = 'h:1'\n";
        let config = Config::parse(text, "f".as_ref()).expect("a config");
        let account = Account::new(&config.fleet).expect("there is one");
        account.set_token("hush.1");
        assert_eq!((account.password(), account.token()), ("hush", Some("hush.1".into())));
        assert_eq!(format!("{account:?}"), "Account(\"u\")");
        assert!(Account::new(&Config::default().fleet).is_none());
    }
}
