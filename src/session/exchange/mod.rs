//! An authentication exchange: from a login response, or a COM_CHANGE_USER, to the server's
//! verdict.
//!
//! Payloads go to and fro as they are; whoever drives the exchange numbers them. What a plugin says
//! differs where only one leg is secure, because the password itself travels in clear on a secure
//! leg and under RSA on another. There we are the other end of the RSA, of all but the first
//! answer, see [`Legs::may_begin`]:
//!
//! ```text
//!   secure client, plain server      server: the password! ─► we ask for its key ─► key
//!                                    client: password ─► encrypted with it ─► server
//!   plain client, secure server      client: the key? ─► ours
//!                                    client: encrypted with it ─► password ─► server
//! ```
//!
//! As states, of which those on the left have the server speak, and those on the right the client:
//!
//! ```text
//!                        ┌────────────────────────────────────────────► Verdict
//!   ──► Server ──────────┴─ a plugin's packet ─────────► Data ─┐
//!         ▲ │ caching_sha2 wants all ─► Key ─► key ────► Clear ┤
//!         │ └────────────────────────────────────────► Sealed ┤
//!         │                    Key ◄── sha256: a password ─────┤
//!         └────────────────────┴───────────────────────────────┘
//! ```

use std::fmt;

use zeroize::Zeroizing;

use super::link::Held;
use crate::wire::authentication::{
    CACHING_SHA2, CACHING_SHA2_KEY, CLEAR, DIALOG, FAST_OK, FULL, NATIVE, SHA256, SHA256_KEY, Told,
    hides_password, is_empty, more_data,
};

/// A password, or what may hold one.
pub type Secret = Zeroizing<Vec<u8>>;

/// How long an answer of mysql_native_password is.
const NATIVE_ANSWER: usize = 20;

/// RSA as the plugins use it: who drives an exchange does it.
pub trait Rsa {
    /// A server's public key.
    type Key;

    /// A key out of PEM; None for what is none.
    fn parse(&self, pem: &[u8]) -> Option<Self::Key>;

    /// The password for the server that has this key; None if it is too long for that.
    fn encrypt(&self, key: &Self::Key, password: &[u8], challenge: &[u8]) -> Option<Secret>;

    /// Our own public key as PEM; None as long as it is not made.
    fn own_pem(&self) -> Option<&str>;

    /// The password that a client has put under our key; None for anything else.
    fn decrypt(&self, sent: &[u8], challenge: &[u8]) -> Option<Secret>;
}

/// Which legs are secure: by TLS, or as a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Legs {
    /// The client's.
    pub client: bool,
    /// The server's.
    pub server: bool,
}

impl Legs {
    /// Whether a plugin carries no password in clear over a leg that is not secure. Without TLS on
    /// either leg PAM's dialog does what it would do without us.
    fn permit(self, plugin: &[u8]) -> bool {
        match plugin {
            CLEAR => self.client && self.server,
            DIALOG => self.server || !self.client,
            _ => true,
        }
    }

    /// Whether a client's first answer may go to the server with its login response. Any other the
    /// server has to ask for again, so that it is turned into what may travel there.
    pub fn may_begin(self, plugin: &[u8], answer: &[u8]) -> bool {
        self.permit(plugin)
            && (is_empty(answer)
                || match (self.client, self.server) {
                    (true, true) | (false, false) => true,
                    // A request for a key, which to a server with TLS would be a password.
                    (false, true) => plugin != SHA256,
                    (true, false) => hides_password(plugin, answer),
                })
    }

    /// Which exchanges of a COM_CHANGE_USER have to be followed. With one secure leg a password may
    /// have to be turned from clear to RSA, or back; with none it may not be asked for in clear.
    pub fn held(self) -> Held {
        match (self.client, self.server) {
            (true, true) => Held::None,
            (false, false) => Held::InClear,
            (true, false) | (false, true) => Held::All,
        }
    }
}

/// What a client has shown of itself in a log-in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proof {
    /// Nothing: it was asked for nothing, or has answered with nothing.
    #[default]
    None,
    /// It has answered a question of the server's.
    Given,
}

/// What could be learned in a log-in of what a client logs in with, if the verdict is that it was
/// right. It leaves no copy behind.
#[derive(Default)]
pub enum Learned {
    /// Nothing.
    #[default]
    Nothing,
    /// An answer of mysql_native_password: with the account's hash it gives what any challenge is
    /// answered with.
    Native {
        /// What it is to.
        challenge: Vec<u8>,
        /// SHA1(password) under the challenge and the hash.
        answer: Secret,
    },
    /// The password of an account of caching_sha2_password.
    Password(Secret),
    /// There is no password.
    Empty,
}

impl fmt::Debug for Learned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Native { .. } => "Native(***)",
            Self::Password(_) => "Password(***)",
            Self::Empty => "Empty",
        })
    }
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Act {
    /// The client is told this.
    TellClient(Vec<u8>),
    /// The server is told this.
    TellServer(Secret),
    /// Our key is wanted and not made: [`Exchange::handle_own_key`] when it is.
    MakeOwnKey,
    /// Nothing: the server goes on.
    Wait,
    /// It is over: what was handled is the server's verdict, which the client has not got.
    Settle,
}

/// Why an exchange cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The plugin would carry a password in clear over a leg that is not secure.
    ClearPassword {
        /// Its name.
        plugin: Vec<u8>,
        /// The client's leg is secure, the server's is not; else the other way round.
        is_client_secure: bool,
    },
    /// The server gave no RSA key.
    NoKey,
    /// The client has used another key than ours.
    ForeignKey,
    /// The password is too long for the server's key.
    TooLong,
}

/// An exchange under way.
#[derive(Debug)]
pub struct Exchange<K> {
    legs: Legs,
    plugin: Vec<u8>,
    challenge: Vec<u8>,
    state: State<K>,
    proof: Proof,
    learned: Learned,
    /// caching_sha2_password wants the password itself.
    wants_all: bool,
    fast_ok: FastOk,
}

/// What becomes of caching_sha2_password's word that an answer was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FastOk {
    /// The client is told at once.
    Pass,
    /// Not before something else was asked of it: behind that word clients expect the end.
    Hold,
    /// The server has said it, and the client does not know.
    Held,
}

#[derive(Debug)]
enum State<K> {
    /// The server has the word.
    Server,
    /// The server is to send its key.
    Key(For),
    /// The client is to send whatever its plugin sends.
    Data,
    /// The client is to send the password in clear; the server wants it under this key of its.
    Clear(K),
    /// The client is to ask for our key, or to send the password under it; the server wants it in
    /// clear.
    Sealed,
    /// Our key is being made, for what the client has sent.
    OwnKey(Secret),
}

/// What a server's key is wanted for.
#[derive(Debug)]
enum For {
    /// The password, which the client is asked for with these words of the server's.
    Asking(Vec<u8>),
    /// This password.
    Having(Secret),
}

impl<K> Exchange<K> {
    /// An exchange in which the server has the word.
    pub fn new(legs: Legs) -> Self {
        let (plugin, challenge, state) = (Vec::new(), Vec::new(), State::Server);
        let (proof, learned) = (Proof::None, Learned::Nothing);
        let (wants_all, fast_ok) = (false, FastOk::Pass);
        Self { legs, plugin, challenge, state, proof, learned, wants_all, fast_ok }
    }

    /// The same behind a login response that the server got with the client's answer to this
    /// challenge.
    pub fn begun(self, plugin: &[u8], challenge: &[u8]) -> Self {
        Self { plugin: plugin.to_vec(), challenge: challenge.to_vec(), ..self }
    }

    /// The same, of whose client something may still be asked behind the verdict.
    pub fn holding_fast_ok(self) -> Self {
        Self { fast_ok: FastOk::Hold, ..self }
    }

    /// Whether the client is still to be told that caching_sha2_password has taken its answer.
    pub fn holds_fast_ok(&self) -> bool {
        self.fast_ok == FastOk::Held
    }

    /// What could be learned.
    pub fn into_learned(self) -> Learned {
        self.learned
    }

    /// What the client has shown.
    pub fn proof(&self) -> Proof {
        self.proof
    }

    /// Whether the client may speak now.
    pub fn awaits_client(&self) -> bool {
        matches!(self.state, State::Data | State::Clear(_) | State::Sealed)
    }

    /// Whether the server has all it wants: it may be waiting for a person where PAM asks.
    pub fn awaits_server(&self) -> bool {
        matches!(self.state, State::Server | State::Key(_)) && self.plugin != DIALOG
    }

    /// A packet of the server's.
    pub fn handle_server(
        &mut self,
        payload: &[u8],
        rsa: &impl Rsa<Key = K>,
    ) -> Result<Act, Broken> {
        // Only PAM's questions look like the beginning of another factor. Whether factors were
        // negotiated need not be known: without them nothing but those begins so.
        let told = Told::parse(payload, self.plugin != DIALOG);
        if let State::Key(wanted) = self.take() {
            return self.handle_key(told, wanted, rsa);
        }
        let is_caching = self.plugin == CACHING_SHA2;
        self.state = match told {
            Told::Verdict => return Ok(Act::Settle),
            Told::Plugin { name, challenge } => {
                self.permit(name)?;
                (self.plugin, self.challenge) = (name.to_vec(), challenge.to_vec());
                State::Data
            }
            Told::More(FAST_OK) if is_caching && self.fast_ok == FastOk::Hold => {
                self.fast_ok = FastOk::Held;
                return Ok(Act::Wait);
            }
            Told::More(FAST_OK) if is_caching => State::Server,
            Told::More(FULL) if is_caching => match self.legs_for_all() {
                (true, false) => {
                    self.state = State::Key(For::Asking(payload.to_vec()));
                    return Ok(Act::TellServer(secret(CACHING_SHA2_KEY)));
                }
                (false, true) => State::Sealed,
                (true, true) | (false, false) => State::Data,
            },
            Told::More(_) | Told::Other => State::Data,
        };
        Ok(Act::TellClient(payload.to_vec()))
    }

    /// The legs, over which the password itself is to travel.
    fn legs_for_all(&mut self) -> (bool, bool) {
        self.wants_all = true;
        (self.legs.client, self.legs.server)
    }

    /// Looks at an answer of the client's to what it was asked.
    fn learn(&mut self, answer: &[u8]) {
        if is_empty(answer) {
            self.learned = Learned::Empty;
            return;
        }
        let is_clear = self.wants_all && self.legs.client && self.legs.server;
        if self.plugin == NATIVE && answer.len() == NATIVE_ANSWER {
            let challenge = self.challenge.clone();
            self.learned = Learned::Native { challenge, answer: secret(answer) };
        } else if is_clear {
            self.learn_password(answer);
        }
    }

    fn learn_password(&mut self, password: &[u8]) {
        if self.plugin == CACHING_SHA2 && self.wants_all {
            let password = password.strip_suffix(b"\0").unwrap_or(password);
            self.learned = Learned::Password(secret(password));
        }
    }

    /// The server's key has come, before anything was heard of the client that it is to protect.
    fn handle_key(
        &mut self,
        told: Told<'_>,
        wanted: For,
        rsa: &impl Rsa<Key = K>,
    ) -> Result<Act, Broken> {
        let key = match told {
            Told::More(pem) => rsa.parse(pem),
            Told::Plugin { .. } | Told::Verdict | Told::Other => None,
        };
        let key = key.ok_or(Broken::NoKey)?;
        match wanted {
            For::Asking(words) => {
                self.state = State::Clear(key);
                Ok(Act::TellClient(words))
            }
            For::Having(password) => self.seal(&key, &password, rsa),
        }
    }

    /// A packet of the client's, which may speak.
    pub fn handle_client(
        &mut self,
        payload: Secret,
        rsa: &impl Rsa<Key = K>,
    ) -> Result<Act, Broken> {
        // It is the same on every leg.
        let is_password = !is_empty(&payload);
        if is_password {
            self.proof = Proof::Given;
        }
        let is_sha256 = self.plugin == SHA256 && is_password;
        match (self.take(), self.legs) {
            (State::Data, Legs { client: true, server: false }) if is_sha256 => {
                self.state = State::Key(For::Having(payload));
                Ok(Act::TellServer(secret(SHA256_KEY)))
            }
            (State::Data, Legs { client: false, server: true }) if is_sha256 => {
                self.unseal(payload, rsa)
            }
            (State::Clear(key), _) => {
                self.learn_password(&payload);
                self.seal(&key, &payload, rsa)
            }
            (State::Sealed, _) => self.unseal(payload, rsa),
            _ => {
                self.learn(&payload);
                Ok(Act::TellServer(payload))
            }
        }
    }

    /// Our own key is made.
    pub fn handle_own_key(&mut self, rsa: &impl Rsa<Key = K>) -> Result<Act, Broken> {
        match self.take() {
            State::OwnKey(sent) => self.unseal(sent, rsa),
            state => {
                self.state = state;
                Ok(Act::MakeOwnKey)
            }
        }
    }

    /// A client without TLS asks for our key, or sends a password under it.
    fn unseal(&mut self, sent: Secret, rsa: &impl Rsa<Key = K>) -> Result<Act, Broken> {
        let Some(pem) = rsa.own_pem() else {
            self.state = State::OwnKey(sent);
            return Ok(Act::MakeOwnKey);
        };
        let request = if self.plugin == SHA256 { SHA256_KEY } else { CACHING_SHA2_KEY };
        if *sent == request {
            self.state = State::Sealed;
            return Ok(Act::TellClient(more_data(pem.as_bytes())));
        }
        let password = rsa.decrypt(&sent, &self.challenge).ok_or(Broken::ForeignKey)?;
        self.learn_password(&password);
        Ok(Act::TellServer(password))
    }

    fn seal(&self, key: &K, password: &[u8], rsa: &impl Rsa<Key = K>) -> Result<Act, Broken> {
        let sealed = rsa.encrypt(key, password, &self.challenge);
        sealed.map(Act::TellServer).ok_or(Broken::TooLong)
    }

    /// Refuses plugins that would carry a password in clear over a leg that is not secure.
    fn permit(&self, plugin: &[u8]) -> Result<(), Broken> {
        if self.legs.permit(plugin) {
            return Ok(());
        }
        let (plugin, is_client_secure) = (plugin.to_vec(), self.legs.client);
        Err(Broken::ClearPassword { plugin, is_client_secure })
    }

    /// The state that is left: the server has the word.
    fn take(&mut self) -> State<K> {
        std::mem::replace(&mut self.state, State::Server)
    }
}

fn secret(bytes: &[u8]) -> Secret {
    Zeroizing::new(bytes.to_vec())
}

#[cfg(test)]
mod tests;
