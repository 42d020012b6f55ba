//! `[console]` and `[[admin.token]]`: who may use the console and the API, and by which way.
//!
//! Off loopback passwords must not go over the wire as they are: the console wants TLS there, or
//! somebody in front of it who has TLS.

use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};

use super::flaw::{Flaw, repeated};
use super::tls::AcceptMode;
use super::{AdminUser, Config, ListenAddress, Role};

/// Passwords that stand in examples: whoever has read those knows them.
const EXAMPLES: [&str; 3] = ["…", "...", "secret"];

/// SHA-256 of no token at all.
const HASH_OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// `[console]`: pages and the API, on the HTTP port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsoleSection {
    /// Whether the HTTP port has them.
    pub enabled: bool,
    /// Whether the only way to the HTTP port is a reverse proxy that speaks TLS. It says by
    /// `X-Forwarded-For` and `X-Forwarded-Proto` who asks, and how.
    pub behind_proxy: bool,
}

/// One token of the API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminToken {
    /// Who it is in the audit.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// 64 hex digits: SHA-256 of the token.
    pub sha256: super::Secret,
}

impl AdminToken {
    /// The hash as bytes.
    pub fn hash(&self) -> Option<[u8; 32]> {
        let digits = self.sha256.reveal();
        if digits.len() != 64 || !digits.is_ascii() {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
        }
        Some(hash)
    }
}

/// Why a password is good for nothing but the ports that have always taken it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weak {
    /// It is empty.
    Empty,
    /// It stands in an example.
    Example,
}

impl std::fmt::Display for Weak {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "its password is empty",
            Self::Example => "its password is the one of an example",
        })
    }
}

impl AdminUser {
    /// SHA1(SHA1(password)).
    pub fn stage2(&self) -> [u8; 20] {
        match (&self.password, &self.password_sha1) {
            (Some(password), _) => sha1_twice(password.reveal()),
            (None, Some(hash)) => hash.stage2().unwrap_or_default(),
            (None, None) => [0; 20],
        }
    }

    /// What is wrong with its password.
    pub fn weakness(&self) -> Option<Weak> {
        let stage2 = self.stage2();
        if stage2 == sha1_twice("") {
            return Some(Weak::Empty);
        }
        let is_example = EXAMPLES.iter().any(|example| stage2 == sha1_twice(example));
        is_example.then_some(Weak::Example)
    }
}

#[cfg(test)]
thread_local! {
    static HASHES: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// How many this thread has computed.
#[cfg(test)]
pub(crate) fn hashes() -> u32 {
    HASHES.get()
}

/// As servers keep a password.
pub fn sha1_twice(password: &str) -> [u8; 20] {
    #[cfg(test)]
    HASHES.set(HASHES.get() + 1);
    Sha1::digest(Sha1::digest(password.as_bytes())).into()
}

impl Config {
    /// Whether what is said to the HTTP port leaves the machine.
    pub fn is_http_local(&self) -> bool {
        match &self.http.listen {
            ListenAddress::Tcp(address) => address.ip().is_loopback(),
            ListenAddress::Unix(_) => true,
        }
    }

    pub(super) fn flaws_of_console(&self) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        let is_safe = self.is_http_local()
            || self.tls.console.mode != AcceptMode::Off
            || self.console.behind_proxy;
        if self.console.enabled && !is_safe {
            let text = format!(
                "console.enabled: http.listen {} is not loopback: expected [tls.console] with a \
                 mode that is not off, or console.behind_proxy = true",
                self.http.listen
            );
            let flaw = Flaw::new("console.enabled", text).and("http.listen");
            flaws.push(flaw.and("tls.console.mode"));
        }
        for (at, token) in self.admin.token.iter().enumerate() {
            let expected = match token.hash() {
                None => "expected 64 hex digits: the SHA-256 of the token",
                Some(_) if token.sha256.reveal().eq_ignore_ascii_case(HASH_OF_NOTHING) => {
                    "it is that of no token"
                }
                Some(_) => continue,
            };
            let text = format!("admin.token '{}': sha256: {expected}", token.name);
            flaws.push(Flaw::new(format!("admin.token.{at}.sha256"), text));
        }
        for at in repeated(self.admin.token.iter().map(|token| &token.name)) {
            let text = format!("admin.token '{}' is given twice", self.admin.token[at].name);
            flaws.push(Flaw::new(format!("admin.token.{at}.name"), text));
        }
        flaws
    }

    /// Whom the console does not let in, one line each.
    pub(super) fn remarks_on_console(&self) -> Vec<String> {
        if !self.console.enabled {
            return Vec::new();
        }
        let weak = self.admin.user.iter().filter_map(|user| Some((user, user.weakness()?)));
        weak.map(|(user, weak)| {
            format!("admin.user '{}': {weak}: the console does not let it in", user.name)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        let text = format!("{text}\n[[cluster]]\nname='a'\n[[cluster.server]]\naddress='a:1'\n");
        Config::parse(&text, Path::new("f")).map_err(|error| error.to_string())
    }

    #[test]
    fn off_loopback_the_console_wants_tls_or_somebody_who_has_it() {
        let cases = [
            ("", true),
            ("[http]\nlisten='127.0.0.2:1'", true),
            ("[http]\nlisten='[::1]:1'", true),
            ("[http]\nlisten='unix:/h'", true),
            ("[http]\nlisten='0.0.0.0:1'", false),
            ("[http]\nlisten='[::]:1'", false),
            ("[http]\nlisten='10.0.0.1:1'\n[tls.console]\nmode='off'", false),
            (
                "[http]\nlisten='0.0.0.0:1'\n[tls.console]\nmode='prefer'\ncertificate='c'\n\
                 key='k'",
                true,
            ),
        ];
        for (text, is_good) in cases {
            let on = format!("[console]\nenabled=true\n{text}");
            let said = parse(&on).err().unwrap_or_default();
            assert_eq!(said.is_empty(), is_good, "{text}: {said}");
            assert!(is_good || said.contains("is not loopback"), "{said}");
            assert_eq!(parse(text).err(), None, "nobody asked for the console");
            let behind = format!("[console]\nenabled=true\nbehind_proxy=true\n{text}");
            assert_eq!(parse(&behind).err(), None, "{text}");
        }
    }

    #[test]
    fn tokens_are_hashes_of_something_and_never_shown() {
        let token = |sha256: &str| {
            parse(&format!("[[admin.token]]\nname='ci'\nrole='viewer'\nsha256='{sha256}'"))
        };
        let good = token(&"aB".repeat(32)).expect("a hash");
        assert_eq!(good.admin.token[0].hash(), Some([0xAB; 32]));
        assert!(!format!("{good:?}").contains("aBaB"));
        for wrong in ["", "ab", &"xy".repeat(32), &"é".repeat(32), HASH_OF_NOTHING] {
            let error = token(wrong).expect_err(wrong);
            assert!(error.contains("admin.token 'ci': sha256"), "{error}");
        }
    }

    #[test]
    fn passwords_that_everybody_knows_are_weak() {
        let user = |password: &str| {
            let text = format!("[[admin.user]]\nname='a'\nrole='viewer'\n{password}");
            parse(&text).expect("a config").admin.user[0].weakness()
        };
        assert_eq!(user("password=''"), Some(Weak::Empty));
        assert_eq!(user("password='…'"), Some(Weak::Example));
        let hash_of_secret = "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7";
        assert_eq!(user(&format!("password_sha1='{hash_of_secret}'")), Some(Weak::Example));
        assert_eq!(user("password='hush'"), None);
    }
}
