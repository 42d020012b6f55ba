//! What log-ins have taught of one account, and how it crosses a restart.
//!
//! It is never shown, and leaves no copy behind. In a parcel it is a field for each kind, so that
//! a version that does not know one knows nothing of the account, and that is all.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::config::stage2;
use crate::net::tls::keys::Hidden;
use crate::proxy::accounts::credentials::{Credentials, Password};
use crate::session::exchange::Learned;
use crate::wire::authentication::native_stage1;

/// What is known of an account.
#[derive(Clone)]
pub(in crate::proxy) enum Taught {
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

/// The same in a parcel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::proxy) struct AccountState {
    /// What an answer is to.
    #[serde(skip_serializing_if = "Option::is_none")]
    challenge: Option<Hidden>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Hidden>,
    /// SHA1(password).
    #[serde(skip_serializing_if = "Option::is_none")]
    sha1: Option<Hidden>,
    /// SHA256(password).
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<Hidden>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    has_no_password: bool,
}

impl Taught {
    /// By a log-in that has succeeded.
    pub(in crate::proxy) fn by(learned: Learned) -> Option<Self> {
        Some(match learned {
            Learned::Nothing => return None,
            Learned::Empty => Self::Password(Password::Clear(Zeroizing::default())),
            Learned::Native { challenge, answer } => {
                let challenge = challenge.strip_suffix(b"\0").unwrap_or(&challenge).to_vec();
                Self::Answer(Answer { challenge, answer })
            }
            Learned::Password(password) => {
                let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &password);
                let mut once = Zeroizing::new([0; 32]);
                once.copy_from_slice(digest.as_ref());
                Self::Password(Password::Sha2(once))
            }
        })
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

impl From<&Taught> for AccountState {
    fn from(taught: &Taught) -> Self {
        let nothing = Self::default();
        match taught {
            Taught::Answer(Answer { challenge, answer }) => {
                let (challenge, answer) = (Hidden::new(challenge), Hidden::new(answer));
                Self { challenge: Some(challenge), answer: Some(answer), ..nothing }
            }
            Taught::Password(Password::Native(once)) => {
                Self { sha1: Some(Hidden::new(&**once)), ..nothing }
            }
            Taught::Password(Password::Sha2(once)) => {
                Self { sha256: Some(Hidden::new(&**once)), ..nothing }
            }
            // No log-in teaches another one.
            Taught::Password(Password::Clear(password)) => {
                Self { has_no_password: password.is_empty(), ..nothing }
            }
            Taught::Password(Password::Once(_)) => nothing,
        }
    }
}

impl AccountState {
    /// What it says; None if that is nothing.
    pub(in crate::proxy) fn taught(&self) -> Option<Taught> {
        let Self { challenge, answer, sha1, sha256, has_no_password } = self;
        if *has_no_password {
            return Some(Taught::Password(Password::Clear(Zeroizing::default())));
        }
        if let Some(once) = sha256 {
            return Some(Taught::Password(Password::Sha2(exactly(once)?)));
        }
        if let Some(once) = sha1 {
            return Some(Taught::Password(Password::Native(exactly(once)?)));
        }
        let (challenge, answer) = (challenge.as_ref()?, answer.as_ref()?);
        let answer = Zeroizing::new(answer.reveal().to_vec());
        Some(Taught::Answer(Answer { challenge: challenge.reveal().to_vec(), answer }))
    }
}

fn exactly<const N: usize>(hidden: &Hidden) -> Option<Zeroizing<[u8; N]>> {
    let mut found = Zeroizing::new([0; N]);
    (hidden.reveal().len() == N).then(|| found.copy_from_slice(hidden.reveal()))?;
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_crosses_a_restart_as_it_is() {
        let (challenge, answer) = (b"12345678901234567890".to_vec(), vec![7; 20]);
        let digits = "3132333435363738393031323334353637383930";
        let sha256 = "b9f195c5cc7ef6afadbfbc42892ad47d3b24c6bc94bb510c4564a90a14e8b799";
        for (learned, expected) in [
            (
                Learned::Native { challenge, answer: Zeroizing::new(answer) },
                &*format!(r#"{{"challenge":"{}","answer":"{}"}}"#, digits, "07".repeat(20)),
            ),
            (
                Learned::Password(Zeroizing::new(b"swordfish".to_vec())),
                &*format!(r#"{{"sha256":"{sha256}"}}"#),
            ),
            (Learned::Empty, r#"{"has_no_password":true}"#),
        ] {
            let taught = Taught::by(learned).expect("something");
            let text = serde_json::to_string(&AccountState::from(&taught)).expect("text");
            assert_eq!(text, expected);
            let state: AccountState = serde_json::from_str(&text).expect("it is what was told");
            assert!(!format!("{state:?}").contains("07"), "{state:?}");
            let again = AccountState::from(&state.taught().expect("the same"));
            assert_eq!(again, state);
        }
        let native = Taught::Password(Password::Native(Zeroizing::new([9; 20])));
        let state = AccountState::from(&native);
        assert_eq!(AccountState::from(&state.taught().expect("the same")), state);
    }

    #[test]
    fn what_is_not_understood_is_nothing() {
        for text in [r#"{}"#, r#"{"ed25519":"00"}"#, r#"{"sha1":"0707"}"#, r#"{"answer":"07"}"#] {
            let state: AccountState = serde_json::from_str(text).expect("it is skipped");
            assert!(state.taught().is_none(), "{text}");
        }
    }
}
