//! COM_CHANGE_USER: whom it names, who that is on the server, and an answer in it that must not
//! travel as it is.
//!
//! "string[NUL] user, int[1] auth_plugin_data_len, string[$len] auth_plugin_data, string[NUL]
//! schema name, int[2] character set, string[NUL] auth plugin name", then attributes. A client that
//! answers with the password itself does so by what its own leg is; where the other one is not the
//! same, the server has to ask, which begins an exchange that is followed.

use std::ops::Range;

use super::link::Held;
use crate::error::ClientError;
use crate::wire::authentication::{CLEAR, DIALOG, hides_password, is_empty};
use crate::wire::handshake::UNKNOWN_PLUGIN;
use crate::wire::packet::{Header, MAX_PAYLOAD};

/// By how much the command may grow: what reads leave room for.
const GROWTH: usize = 64;

/// A user as a server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name there.
    pub user: Vec<u8>,
    /// The schema of who names none.
    pub database: Option<Vec<u8>>,
    /// To which tenant it belongs; empty if to none.
    pub tenant: Vec<u8>,
}

/// Where its parts stand in the payload; what is missing is empty.
struct Parts {
    user: Range<usize>,
    answer: Range<usize>,
    database: Range<usize>,
    /// None: the client knows no plugins.
    plugin: Option<Range<usize>>,
}

impl Parts {
    fn of(payload: &[u8]) -> Self {
        let bounded = |range: Range<usize>| {
            let end = range.end.min(payload.len());
            range.start.min(end)..end
        };
        let until_nul = |start: usize| {
            let rest = payload.get(start..).unwrap_or_default();
            let length = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
            bounded(start..start + length)
        };
        let user = until_nul(1);
        let length_at = user.end + 1;
        let length = payload.get(length_at).copied().unwrap_or_default();
        let answer = bounded(length_at + 1..length_at + 1 + usize::from(length));
        let database = until_nul(answer.end);
        let plugin_at = database.end + 3;
        let plugin = (plugin_at < payload.len()).then(|| until_nul(plugin_at));
        Self { user, answer, database, plugin }
    }
}

/// The user and the database that it names.
pub(super) fn names(payload: &[u8]) -> (&[u8], &[u8]) {
    let Parts { user, database, .. } = Parts::of(payload);
    (&payload[user], &payload[database])
}

/// The payload with the server's names in place of the client's.
///
/// # Errors
///
/// They are too long.
pub(super) fn told(
    header: Header,
    payload: &[u8],
    account: &Account,
) -> Result<Vec<u8>, ClientError> {
    let Parts { user, answer, database, .. } = Parts::of(payload);
    let named = &payload[database.clone()];
    let schema = if named.is_empty() { account.database.as_deref() } else { None };
    let between = &payload[user.end..answer.end];
    let told = [
        &payload[..user.start],
        &account.user,
        between,
        schema.unwrap_or(named),
        &payload[database.end..],
    ];
    let told = told.concat();
    let is_short = told.len() <= payload.len() + GROWTH && header.length + GROWTH < MAX_PAYLOAD;
    if is_short { Ok(told) } else { Err(ClientError::too_long(GROWTH)) }
}

/// The command without its answer and with a plugin that no server knows, if the answer must not
/// travel as it is; of one that is not at hand as a whole the beginning, which holds all of that.
pub(super) fn withhold(header: Header, payload: &[u8], held: Held) -> Option<Vec<u8>> {
    let parts = Parts::of(payload);
    let place = parts.plugin?;
    let (plugin, answer) = (&payload[place.clone()], &payload[parts.answer.clone()]);
    let may_travel = match held {
        Held::None => true,
        // Nobody hears what it has looked at.
        Held::Asked => false,
        Held::InClear => plugin != CLEAR,
        Held::All if plugin == CLEAR || plugin == DIALOG => false,
        Held::All => is_empty(answer) || hides_password(plugin, answer),
    };
    if may_travel {
        return None;
    }
    let before = &payload[..parts.answer.start - 1];
    let between = &payload[parts.answer.end..place.start];
    // As long as there is room for, so that it does not grow.
    let name = &UNKNOWN_PLUGIN[..UNKNOWN_PLUGIN.len().min(plugin.len() + answer.len())];
    let with = [before, &[0], between, name, &payload[place.end..]].concat();
    let length = header.length - payload.len() + with.len();
    let header = Header { length, sequence: header.sequence };
    Some([&header.encode()[..], &with].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::packet::packet;

    const SHA2: &[u8] = b"caching_sha2_password";

    fn command(answer: &[u8], plugin: &[u8]) -> Vec<u8> {
        let length = [answer.len() as u8];
        [b"\x11me\0", &length[..], answer, b"db\0\x2d\0", plugin, b"\0\x04\x01a\x01b"].concat()
    }

    #[test]
    fn passwords_stay_where_they_are_safe() {
        let scramble = [7; 32];
        let cases: [(&[u8], &[u8], [bool; 3]); 7] = [
            // Held: none, in clear, all. With the fourth nothing travels.
            (&scramble, SHA2, [true; 3]),
            (b"", SHA2, [true; 3]),
            (b"password\0", SHA2, [true, true, false]),
            (b"password\0", b"sha256_password", [true, true, false]),
            (b"password\0", CLEAR, [true, false, false]),
            (b"", CLEAR, [true, false, false]),
            (b"password\0", DIALOG, [true, true, false]),
        ];
        for (answer, plugin, expected) in cases {
            let payload = command(answer, plugin);
            let header = Header { length: payload.len(), sequence: 0 };
            let every = [Held::None, Held::InClear, Held::All, Held::Asked];
            for (held, travels) in every.into_iter().zip(expected.into_iter().chain([false])) {
                let longest = UNKNOWN_PLUGIN.len().min(plugin.len() + answer.len());
                let with = packet(0, &command(b"", &UNKNOWN_PLUGIN[..longest]));
                let with = (!travels).then_some(with);
                let name = String::from_utf8_lossy(plugin);
                assert_eq!(withhold(header, &payload, held), with, "{name}, {held:?}");
            }
        }
    }

    #[test]
    fn attributes_that_are_not_at_hand_follow() {
        let payload = command(b"password\0", CLEAR);
        let header = Header { length: payload.len() + 5000, sequence: 0 };
        let with = withhold(header, &payload, Held::All).expect("it is withheld");
        let expected = command(b"", UNKNOWN_PLUGIN);
        let length = expected.len() + 5000;
        assert_eq!(with, [&Header { length, sequence: 0 }.encode()[..], &expected].concat());
    }

    #[test]
    fn names_become_those_of_the_server() {
        let account = |user: &[u8], database: Option<&[u8]>| Account {
            user: user.to_vec(),
            database: database.map(<[u8]>::to_vec),
            tenant: Vec::new(),
        };
        let scramble = [7; 20];
        let payload = command(&scramble, SHA2);
        let header = Header { length: payload.len(), sequence: 0 };
        let with = told(header, &payload, &account(b"shop_me", Some(b"shop"))).expect("short");
        assert_eq!(names(&with), (&b"shop_me"[..], &b"db"[..]));
        assert_eq!(with.len(), payload.len() + 5);
        assert!(with.ends_with(&payload[4..]), "the rest is as it was");
        let nowhere = [b"\x11me\0\x14", &scramble[..], b"\0\x2d\0", SHA2, b"\0"].concat();
        let header = Header { length: nowhere.len(), sequence: 0 };
        let with = told(header, &nowhere, &account(b"me", Some(b"shop"))).expect("short");
        assert_eq!(names(&with), (&b"me"[..], &b"shop"[..]));
        let error = told(header, &nowhere, &account(&[b'u'; 80], None)).expect_err("too long");
        assert_eq!(error, ClientError::too_long(GROWTH));
    }

    #[test]
    fn anything_may_be_cut_short() {
        let payload = command(b"password\0", CLEAR);
        for end in 1..payload.len() {
            let header = Header { length: end, sequence: 0 };
            let _ = (names(&payload[..end]), withhold(header, &payload[..end], Held::All));
        }
        assert_eq!(names(&payload), (&b"me"[..], &b"db"[..]));
        assert_eq!(names(b"\x11me\0\xff"), (&b"me"[..], &b""[..]));
    }
}
