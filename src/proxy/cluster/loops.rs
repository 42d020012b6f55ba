//! Where a log-in has been: so that one that comes back is noticed, and does not go round for ever.
//!
//! A server can turn out to be ourselves: by another name, through another proxy, by a rule of the
//! firewall. Each log-in would then make the next. So a log-in that is passed on to another odp,
//! which the id in its greeting gives away, carries the marks of those that it has passed, each in
//! place of the proof that our login response does not give. Servers never see them; whoever meets
//! its own mark refuses.
//!
//! Before any server was heard nobody can be greeted, ourselves neither. So whoever looks for the
//! first time, and hears nothing for a while, sends its mark first, in the log-in of a nobody.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::ClientError;
use crate::net::proxy_header;
use crate::proxy::cluster::server_login::{NOBODY, nobody};
use crate::session::OURS;
use crate::wire::capability as cap;
use crate::wire::handshake::{Greeting, LoginResponse, UNKNOWN_PLUGIN};
use crate::wire::packet::{HEADER, Header, packet};

/// What the marks stand behind.
const SIGNATURE: &[u8] = b"by odp";

/// Bytes of a mark.
const MARK: usize = 8;

/// A log-in that has come through so many will not get anywhere.
const LONGEST: usize = 16;

/// The mark of this proxy, in all its generations.
#[derive(Debug)]
pub struct Trail(AtomicU64);

impl Trail {
    /// A mark that nobody else has.
    pub fn new() -> Self {
        let mark = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
        Self(AtomicU64::new(mark))
    }

    /// The mark.
    pub fn mark(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes a predecessor's, which may still be on its way.
    pub fn inherit(&self, mark: u64) {
        self.0.store(mark, Ordering::Relaxed);
    }

    /// Whether a log-in that a client sends has been here before, or everywhere.
    pub fn leads_back(&self, response: &LoginResponse) -> bool {
        let passed = passed(response);
        let own = self.mark().to_le_bytes();
        passed.len() / MARK >= LONGEST || passed.chunks(MARK).any(|mark| mark == own)
    }

    /// What stands in place of the proof in a login response that gives none, made of this one, to
    /// this server.
    pub fn go_on(&self, response: &LoginResponse, server: &Greeting) -> Vec<u8> {
        let counted = response.capabilities & (cap::SECURE_CONNECTION | cap::PLUGIN_AUTH_LENENC);
        match is_one_of_us(server) && counted != 0 {
            true => [SIGNATURE, passed(response), &self.mark().to_le_bytes()].concat(),
            false => Vec::new(),
        }
    }

    /// The packet that a server hears, if it is ourselves, while it waits to be able to greet.
    pub fn probe(&self) -> Vec<u8> {
        let auth = [SIGNATURE, &self.mark().to_le_bytes()].concat();
        packet(1, &LoginResponse { auth, ..nobody() }.encode())
    }

    /// Whether what a client has sent before its greeting is our own probe, perhaps with a PROXY
    /// header of somebody between.
    pub fn is_own_probe(&self, early: &[u8]) -> bool {
        let early = match proxy_header::parse(early) {
            Ok(proxy_header::Opening::Header(_, length)) => &early[length..],
            _ => early,
        };
        let response = || {
            let length = Header::parse(early)?.length;
            LoginResponse::parse(early.get(HEADER..HEADER + length)?).ok()
        };
        response().is_some_and(|it| it.user == NOBODY && self.leads_back(&it))
    }
}

/// Whether what greets is an odp, by the id that it tells.
pub(crate) fn is_one_of_us(greeting: &Greeting) -> bool {
    greeting.connection_id & OURS != 0
}

/// Whether a server's ERR packet says that it is ourselves, or leads there.
pub(crate) fn is_told(payload: &[u8]) -> bool {
    payload.first() == Some(&0xFF)
        && payload.ends_with(ClientError::leads_back().message.as_bytes())
}

/// The marks in a login response.
fn passed(response: &LoginResponse) -> &[u8] {
    let is_ours = response.plugin.as_deref() == Some(UNKNOWN_PLUGIN);
    response.auth.strip_prefix(SIGNATURE).filter(|_| is_ours).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(connection_id: u32) -> Greeting {
        Greeting {
            version: b"8.0.99".to_vec(),
            connection_id,
            salt: vec![b's'; 20],
            capabilities: 0,
            extended: 0,
            collation: 45,
            status: 2,
            plugin: Vec::new(),
        }
    }

    fn passed_on(trail: &Trail, response: &LoginResponse) -> LoginResponse {
        let auth = trail.go_on(response, &greeting(OURS | 7));
        let response = LoginResponse { auth, user: b"odp".to_vec(), ..response.clone() };
        LoginResponse::parse(&response.encode()).expect("ours")
    }

    #[test]
    fn a_log_in_that_comes_back_is_noticed() {
        let (one, two, three) = (Trail::new(), Trail::new(), Trail::new());
        let first = nobody();
        assert!(!one.leads_back(&first));
        let second = passed_on(&one, &first);
        assert!(one.leads_back(&second) && !two.leads_back(&second));
        let third = passed_on(&two, &second);
        assert!(one.leads_back(&third) && two.leads_back(&third) && !three.leads_back(&third));
        // A client's own words are not looked at.
        let proof = LoginResponse { plugin: Some(b"mysql_native_password".to_vec()), ..third };
        assert!(!one.leads_back(&proof));
        assert_eq!(one.go_on(&proof, &greeting(OURS)).len(), SIGNATURE.len() + MARK);
    }

    #[test]
    fn servers_see_nothing_of_it() {
        let trail = Trail::new();
        let response = passed_on(&trail, &nobody());
        assert_eq!(trail.go_on(&response, &greeting(7)), b"");
        let old = LoginResponse { capabilities: cap::PROTOCOL_41, ..nobody() };
        assert_eq!(trail.go_on(&old, &greeting(OURS)), b"");
    }

    #[test]
    fn a_trail_has_an_end() {
        let mut response = nobody();
        for passed in 0..LONGEST {
            assert!(!Trail::new().leads_back(&response), "{passed}");
            response = passed_on(&Trail::new(), &response);
        }
        assert!(Trail::new().leads_back(&response));
    }

    #[test]
    fn a_probe_is_recognised_by_whoever_sent_it() {
        let (one, two) = (Trail::new(), Trail::new());
        let probe = one.probe();
        for end in 0..probe.len() {
            assert!(!one.is_own_probe(&probe[..end]), "{end}");
        }
        assert!(one.is_own_probe(&probe) && !two.is_own_probe(&probe));
        assert!(one.is_own_probe(&[b"PROXY UNKNOWN\r\n", &probe[..]].concat()));
        two.inherit(one.mark());
        assert!(two.is_own_probe(&probe));
    }

    #[test]
    fn who_is_ourselves_says_so() {
        let error = ClientError::leads_back();
        assert!(is_told(&error.packet(2)[HEADER..]));
        assert!(is_told(&error.packet_before_greeting()[HEADER..]));
        assert!(!is_told(&ClientError::server_lost().packet(2)[HEADER..]) && !is_told(b""));
    }
}
