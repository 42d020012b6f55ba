//! A request, taken apart and judged before anybody acts on it.
//!
//! Invariant: a [`Request`] has one host, a path without tricks, and all of its body, which is not
//! long. Bodies come with their length: who splits a request where we would not cannot split one
//! that has no other way to end.

use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, TRANSFER_ENCODING,
};
use hyper::{Method, StatusCode};

use super::reply::Problem;

/// No command is longer.
const LONGEST_BODY: usize = 64 * 1024;

/// For the body.
const BODY: Duration = Duration::from_secs(10);

/// A name and a value of a query or a form.
pub(super) type Pairs = Vec<(String, String)>;

/// Who is at the other end.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub address: String,
    pub is_secure: bool,
}

/// What was asked.
pub(super) struct Request {
    pub method: Method,
    /// Its segments, decoded.
    pub path: Vec<String>,
    pub query: Pairs,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub peer: Peer,
}

impl Request {
    /// Reads all of it.
    pub(super) async fn read(
        request: hyper::Request<Incoming>,
        peer: Peer,
    ) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        judge(&head.headers)?;
        let path = segments(head.uri.path())?;
        let query = pairs(head.uri.query().unwrap_or_default())?;
        let read = Limited::new(body, LONGEST_BODY).collect();
        let body = match tokio::time::timeout(BODY, read).await {
            Err(_) => {
                let late = "the body did not come in time";
                return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, late));
            }
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let text = format!("the body is longer than {LONGEST_BODY} bytes");
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text));
            }
            Ok(Err(error)) => return Err(Problem::bad(format!("the body: {error}"))),
            Ok(Ok(body)) => body.to_bytes(),
        };
        let (method, headers) = (head.method, head.headers);
        Ok(Self { method, path, query, headers, body, peer })
    }

    /// The segments, to match.
    pub(super) fn segments(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }

    /// A field that stands there once, as text.
    pub(super) fn field(&self, name: impl Into<HeaderName>) -> Option<&str> {
        let mut all = self.headers.get_all(name.into()).iter();
        all.next()?.to_str().ok().filter(|_| all.next().is_none())
    }

    /// The value of a name in the query.
    pub(super) fn asked(&self, name: &str) -> Option<&str> {
        find(&self.query, name)
    }

    /// A cookie's value. Of two by one name neither is taken: one of them is somebody else's.
    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        let lines = self.headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
        let all = lines.flat_map(|line| line.split(';'));
        let mut found = all.filter_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            (key == name).then_some(value)
        });
        found.next().filter(|_| found.next().is_none())
    }

    /// The fields of a form; none if the body is something else.
    pub(super) fn form(&self) -> Result<Pairs, Problem> {
        let kind = self.field(CONTENT_TYPE).unwrap_or_default();
        if kind.split(';').next() != Some("application/x-www-form-urlencoded") {
            return Ok(Pairs::new());
        }
        let text = std::str::from_utf8(&self.body).map_err(|_| Problem::bad("form: not UTF-8"))?;
        pairs(text)
    }

    /// The body as a JSON object; an empty body is an empty one.
    pub(super) fn object(&self) -> Result<serde_json::Map<String, serde_json::Value>, Problem> {
        if self.body.is_empty() {
            return Ok(serde_json::Map::new());
        }
        let kind = self.field(CONTENT_TYPE).unwrap_or_default();
        if kind.split(';').next() != Some("application/json") {
            let text = "expected a body of application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Problem::bad(format!("expected a JSON object: {error}")))
    }
}

/// The value of a name.
pub(super) fn find<'p>(pairs: &'p Pairs, name: &str) -> Option<&'p str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn judge(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(TRANSFER_ENCODING) {
        let text = "expected a body with Content-Length, not Transfer-Encoding";
        return Err(Problem::new(StatusCode::LENGTH_REQUIRED, text));
    }
    let count = |name| headers.get_all(name).iter().count();
    match (count(HOST), count(CONTENT_LENGTH)) {
        (1, 0 | 1) => Ok(()),
        (1, _) => Err(Problem::bad("more than one Content-Length")),
        (_, _) => Err(Problem::bad("expected one Host")),
    }
}

/// `/a/b%20c` → `a`, `b c`. `/` has none.
fn segments(path: &str) -> Result<Vec<String>, Problem> {
    let Some(rest) = path.strip_prefix('/') else { return Err(Problem::bad("expected a path")) };
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    let segment = |text: &str| {
        let decoded = decoded(text, Plus::Plain).filter(|it| {
            let is_dots = it == "." || it == "..";
            !it.is_empty() && !is_dots && !it.chars().any(char::is_control)
        });
        decoded.ok_or_else(|| Problem::bad("a segment of the path that is none"))
    };
    rest.split('/').map(segment).collect()
}

fn pairs(text: &str) -> Result<Pairs, Problem> {
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let both = decoded(name, Plus::Blank).zip(decoded(value, Plus::Blank));
        both.ok_or_else(|| Problem::bad("a field of a query or form that is none"))
    };
    text.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

/// What `+` stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    Plain,
    Blank,
}

/// `%41` → `A`, once; None if that is no text.
fn decoded(text: &str, plus: Plus) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        match (first, rest) {
            (b'%', [high, low, behind @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                bytes.push((digit(high)? * 16 + digit(low)?) as u8);
                rest = behind;
            }
            (b'%', _) => return None,
            (b'+', _) if plus == Plus::Blank => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// The same text as a segment of a path or a value of a query.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(byte.into());
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_have_no_tricks() {
        let good = [
            ("/", &[][..]),
            ("/a", &["a"]),
            ("/a/b%20c", &["a", "b c"]),
            ("/servers/unix%3A%2Fa%2Fb/drain", &["servers", "unix:/a/b", "drain"]),
            ("/a+b", &["a+b"]),
            ("/%252e%252e", &["%2e%2e"]),
        ];
        for (path, expected) in good {
            assert_eq!(segments(path).expect(path), expected, "{path}");
        }
        for path in ["", "*", "//", "/a/", "/a//b", "/..", "/a/../b", "/%2e%2e/a", "/.", "/%00"] {
            assert!(segments(path).is_err(), "{path}");
        }
        for path in ["/%", "/%2", "/%zz", "/%ff", "/a%0d%0ab"] {
            assert!(segments(path).is_err(), "{path}");
        }
    }

    #[test]
    fn forms_are_read() {
        let expected = [("a", "b c"), ("d", "é&="), ("e", "")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(pairs("a=b+c&&d=%C3%A9%26%3D&e"), Ok(expected.to_vec()));
        assert!(pairs("a=%zz").is_err() && pairs("%00=a").is_err());
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text in "\\PC{1,20}") {
            prop_assert_eq!(decoded(&encoded(&text), Plus::Blank), Some(text.clone()));
            prop_assert_eq!(decoded(&encoded(&text), Plus::Plain), Some(text));
        }

        #[test]
        fn anything_is_judged_without_panic(text in ".{0,40}") {
            let _ = (segments(&text), pairs(&text));
        }
    }
}
