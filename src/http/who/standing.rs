//! Whether somebody who is being told something is still somebody.

use std::sync::Arc;
use std::time::Duration;

use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

use super::{Visitor, Who};
use crate::admin::Admin;

/// So often is looked, if nobody logs out here: a config may be read anew, a log-in run out.
const PERIOD: Duration = Duration::from_secs(15);

/// By what a visitor is somebody.
#[derive(Clone)]
pub(super) enum Proof {
    /// The secret of a log-in.
    LogIn(String),
    /// A token of the config, by its hash.
    Token {
        /// Its name.
        name: String,
        hash: Vec<u8>,
    },
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proof(***)")
    }
}

/// A visitor who stays.
pub(in crate::http) struct Standing {
    who: Arc<Who>,
    admin: Arc<Admin>,
    proof: Proof,
    ended: watch::Receiver<u64>,
}

impl Standing {
    pub(in crate::http) fn of(who: &Arc<Who>, admin: &Arc<Admin>, visitor: &Visitor) -> Self {
        let (who, admin, ended) = (who.clone(), admin.clone(), who.ended.subscribe());
        Self { who, admin, proof: visitor.proof.clone(), ended }
    }

    /// Waits until he is nobody any more. Cancel safe.
    pub(in crate::http) async fn has_ended(&mut self) {
        while self.holds() {
            // Its sender lives in `who`.
            let _ = tokio::time::timeout(PERIOD, self.ended.changed()).await;
        }
    }

    fn holds(&self) -> bool {
        match &self.proof {
            Proof::LogIn(secret) => self.who.logged_in(&self.admin, secret).is_some(),
            Proof::Token { name, hash } => {
                let config = self.admin.proxy.config();
                let is_it = |known: &[u8]| bool::from(known.ct_eq(hash));
                let mut tokens = config.admin.token.iter().filter(|token| token.name == *name);
                tokens.any(|token| is_it(token.hash().unwrap_or_default().as_slice()))
            }
        }
    }
}
