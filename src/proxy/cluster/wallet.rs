//! What clients' log-ins have taught of accounts, so that another server can be logged in to for
//! them.
//!
//! Nothing of it is written anywhere, and it ends with the process. All of an account's clients
//! come to a server from us, so its name tells which one it is. A log-in that succeeds teaches it
//! anew; one of ours that is refused forgets it, as a password may have been changed.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;

use zeroize::Zeroizing;

use crate::config::stage2;
use crate::proxy::credentials::{Credentials, Password};
use crate::proxy::lock::lock;
use crate::session::exchange::Learned;
use crate::wire::authentication::native_stage1;

/// Accounts that are remembered.
const MOST: usize = 10_000;

/// What is known of the accounts of a cluster.
#[derive(Default)]
pub(super) struct Wallet(Mutex<HashMap<Vec<u8>, Known>>);

#[derive(Clone)]
enum Known {
    /// Good for any challenge.
    Password(Password),
    /// An answer of mysql_native_password, which the account's hash makes good for any.
    Answer(Answer),
}

/// An answer to a challenge.
#[derive(Clone)]
pub(in crate::proxy) struct Answer {
    challenge: Vec<u8>,
    answer: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wallet").field("accounts", &lock(&self.0).len()).finish()
    }
}

impl Wallet {
    /// A log-in has succeeded.
    pub(super) fn learn(&self, user: &[u8], learned: Learned) {
        let known = match learned {
            Learned::Nothing => return,
            Learned::Empty => Known::Password(Password::Clear(Zeroizing::default())),
            Learned::Native { challenge, answer } => {
                let challenge = challenge.strip_suffix(b"\0").unwrap_or(&challenge).to_vec();
                Known::Answer(Answer { challenge, answer })
            }
            Learned::Password(password) => {
                let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &password);
                let mut once = Zeroizing::new([0; 32]);
                once.copy_from_slice(digest.as_ref());
                Known::Password(Password::Sha2(once))
            }
        };
        let mut all = lock(&self.0);
        // What is better known is not replaced by an answer that may be to the same password.
        let is_known = matches!(all.get(user), Some(Known::Password(Password::Native(_))));
        let is_answer = matches!(known, Known::Answer(_));
        if !(is_known && is_answer) && (all.len() < MOST || all.contains_key(user)) {
            all.insert(user.to_vec(), known);
        }
    }

    /// The account's credentials, if they are known.
    pub(super) fn credentials(&self, user: &[u8]) -> Option<Credentials> {
        match lock(&self.0).get(user)? {
            Known::Password(password) => {
                Some(Credentials { user: user.to_vec(), password: password.clone() })
            }
            Known::Answer(_) => None,
        }
    }

    /// An answer that its hash makes credentials of.
    pub(super) fn answer(&self, user: &[u8]) -> Option<Answer> {
        match lock(&self.0).get(user)? {
            Known::Password(_) => None,
            Known::Answer(answer) => Some(answer.clone()),
        }
    }

    /// An account's credentials are these.
    pub(super) fn store(&self, credentials: &Credentials) {
        let known = Known::Password(credentials.password.clone());
        lock(&self.0).insert(credentials.user.clone(), known);
    }

    /// They were refused.
    pub(super) fn forget(&self, user: &[u8]) {
        lock(&self.0).remove(user);
    }
}

impl Answer {
    /// The credentials of an account with this hash, `*` and 40 hex digits of SHA1(SHA1(password));
    /// None if the answer was given to another password.
    pub(in crate::proxy) fn with_hash(&self, user: &[u8], hash: &[u8]) -> Option<Credentials> {
        let stage1 = native_stage1(&self.answer, &self.challenge, &stage2(hash)?)?;
        Some(Credentials { user: user.to_vec(), password: Password::Native(stage1) })
    }
}

#[cfg(test)]
mod tests {
    use sha1::{Digest as _, Sha1};

    use super::*;

    /// SELECT PASSWORD('swordfish')
    fn hash(password: &str) -> String {
        let digits = Sha1::digest(Sha1::digest(password));
        format!("*{}", digits.iter().map(|byte| format!("{byte:02X}")).collect::<String>())
    }

    fn answer(password: &str, challenge: &[u8]) -> Vec<u8> {
        let stage1 = Sha1::digest(password);
        let mask =
            Sha1::new().chain_update(challenge).chain_update(Sha1::digest(stage1)).finalize();
        stage1.iter().zip(mask).map(|(one, other)| one ^ other).collect()
    }

    #[test]
    fn an_answer_and_the_hash_are_as_good_as_the_password() {
        let wallet = Wallet::default();
        let challenge = b"12345678901234567890";
        let answer = Zeroizing::new(answer("swordfish", challenge));
        let learned = Learned::Native { challenge: [&challenge[..], b"\0"].concat(), answer };
        wallet.learn(b"app", learned);
        assert!(wallet.credentials(b"app").is_none());
        let answer = wallet.answer(b"app").expect("it was learned");
        assert!(answer.with_hash(b"app", hash("other").as_bytes()).is_none());
        assert!(answer.with_hash(b"app", b"*nonsense").is_none());
        let found = answer.with_hash(b"app", hash("swordfish").as_bytes()).expect("it is it");
        let Password::Native(stage1) = &found.password else { panic!("{found:?}") };
        assert_eq!(stage1[..], Sha1::digest("swordfish")[..]);
        wallet.store(&found);
        assert!(wallet.credentials(b"app").is_some() && wallet.answer(b"app").is_none());
        wallet.forget(b"app");
        assert!(wallet.credentials(b"app").is_none());
    }

    #[test]
    fn nothing_of_it_is_shown() {
        let wallet = Wallet::default();
        wallet.learn(b"app", Learned::Password(Zeroizing::new(b"swordfish".to_vec())));
        assert!(matches!(
            wallet.credentials(b"app").map(|it| it.password),
            Some(Password::Sha2(_))
        ));
        let shown =
            format!("{wallet:?} {:?}", Learned::Password(Zeroizing::new(b"sword".to_vec())));
        assert_eq!(shown, "Wallet { accounts: 1 } Password(***)");
    }
}
