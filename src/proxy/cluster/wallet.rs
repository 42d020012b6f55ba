//! What clients' log-ins have taught of accounts, so that another server can be logged in to for
//! them.
//!
//! Nothing of it is written anywhere. A session that crosses a restart takes along what is known of
//! its account, and nothing else outlives the process. All of an account's clients
//! come to a server from us, so its name tells which one it is. A log-in that succeeds teaches it
//! anew; one of ours that is refused forgets it, as a password may have been changed.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::lock::lock;
use crate::proxy::accounts::credentials::{Credentials, Password};
use crate::proxy::accounts::taught::{Answer, Taught};
use crate::session::exchange::Learned;

/// Accounts that are remembered.
const MOST: usize = 10_000;

/// How long it is believed that the service account may not read hashes, and that what was of no
/// use still is.
const BELIEVED: Duration = Duration::from_secs(60);

/// What is known of the accounts of a cluster.
#[derive(Default)]
pub(super) struct Wallet {
    accounts: Mutex<HashMap<Vec<u8>, Taught>>,
    /// Since when hashes are known to be hidden from the service account.
    hidden: Mutex<Option<Instant>>,
    /// What was tried for an account of late and was of no use.
    vain: Mutex<HashMap<(Vec<u8>, Try), Instant>>,
    /// Accounts that operators were told of, as no other server lets them in.
    shut_out: Mutex<HashSet<Vec<u8>>>,
}

/// What is tried for an account, and may be of no use.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::proxy) enum Try {
    /// A client of these capabilities, which tell one kind of client from another, answers a second
    /// challenge.
    Answer(u32),
    /// What is known of it is shown this server.
    Link(Arc<str>),
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wallet").field("accounts", &lock(&self.accounts).len()).finish()
    }
}

impl Wallet {
    /// A log-in has succeeded.
    pub(super) fn learn(&self, user: &[u8], learned: Learned) {
        let Some(taught) = Taught::by(learned) else { return };
        let mut all = lock(&self.accounts);
        // What is better known is not replaced by an answer that may be to the same password.
        let is_known = matches!(all.get(user), Some(Taught::Password(Password::Native(_))));
        let is_answer = matches!(taught, Taught::Answer(_));
        if !(is_known && is_answer) && (all.len() < MOST || all.contains_key(user)) {
            all.insert(user.to_vec(), taught);
        }
        drop(all);
        let is_other = |tried: &Try| matches!(tried, Try::Answer(_));
        lock(&self.vain).retain(|(name, tried), _| name != user || is_other(tried));
    }

    /// The service account may not read hashes.
    pub(super) fn note_hidden_hashes(&self) {
        *lock(&self.hidden) = Some(Instant::now());
    }

    /// Whether that was so of late.
    pub(super) fn hides_hashes(&self) -> bool {
        lock(&self.hidden).is_some_and(|since| since.elapsed() < BELIEVED)
    }

    /// It was of no use.
    pub(super) fn note_vain(&self, user: &[u8], tried: Try) {
        let mut all = lock(&self.vain);
        all.retain(|_, since| since.elapsed() < BELIEVED);
        if all.len() < MOST {
            all.insert((user.to_vec(), tried), Instant::now());
        }
    }

    /// Whether that was so of late.
    pub(super) fn is_vain(&self, user: &[u8], tried: Try) -> bool {
        let all = lock(&self.vain);
        // Mostly there are none.
        !all.is_empty()
            && all.get(&(user.to_vec(), tried)).is_some_and(|since| since.elapsed() < BELIEVED)
    }

    /// No other server lets it in; whether that is news.
    pub(super) fn note_shut_out(&self, user: &[u8]) -> bool {
        let mut all = lock(&self.shut_out);
        !all.contains(user) && all.len() < MOST && all.insert(user.to_vec())
    }

    /// What is known of an account, for another process.
    pub(super) fn taught(&self, user: &[u8]) -> Option<Taught> {
        lock(&self.accounts).get(user).cloned()
    }

    /// Another process knew this. What was learned here is newer.
    pub(super) fn inherit(&self, user: &[u8], taught: Taught) {
        let mut all = lock(&self.accounts);
        if all.len() < MOST {
            all.entry(user.to_vec()).or_insert(taught);
        }
    }

    /// The account's credentials, if they are known.
    pub(super) fn credentials(&self, user: &[u8]) -> Option<Credentials> {
        match lock(&self.accounts).get(user)? {
            Taught::Password(password) => {
                Some(Credentials { user: user.to_vec(), password: password.clone() })
            }
            Taught::Answer(_) => None,
        }
    }

    /// An answer that its hash makes credentials of.
    pub(super) fn answer(&self, user: &[u8]) -> Option<Answer> {
        match lock(&self.accounts).get(user)? {
            Taught::Password(_) => None,
            Taught::Answer(answer) => Some(answer.clone()),
        }
    }

    /// An account's credentials are these.
    pub(super) fn store(&self, credentials: &Credentials) {
        let known = Taught::Password(credentials.password.clone());
        lock(&self.accounts).insert(credentials.user.clone(), known);
    }

    /// They were refused.
    pub(super) fn forget(&self, user: &[u8]) {
        lock(&self.accounts).remove(user);
    }
}

#[cfg(test)]
mod tests {
    use sha1::{Digest as _, Sha1};
    use zeroize::Zeroizing;

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
        let known = wallet.taught(b"app").expect("it is known");
        wallet.forget(b"app");
        assert!(wallet.credentials(b"app").is_none());
        wallet.inherit(b"app", known.clone());
        assert_eq!(wallet.credentials(b"app"), Some(found));
        // What was learned here is newer.
        let learned = Learned::Password(Zeroizing::new(b"other".to_vec()));
        wallet.learn(b"app", learned);
        wallet.inherit(b"app", known);
        let password = wallet.credentials(b"app").map(|it| it.password);
        assert!(matches!(password, Some(Password::Sha2(_))), "{password:?}");
    }

    #[test]
    fn that_an_account_is_shut_out_is_news_once() {
        let wallet = Wallet::default();
        for (user, is_news) in [("app", true), ("app", false), ("other", true), ("app", false)] {
            assert_eq!(wallet.note_shut_out(user.as_bytes()), is_news, "{user}");
        }
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
