//! A client of the HTTP port that sends exactly what it is told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::{LIMIT, Proxy};

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// A field's value, by its name in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> Vec<Value> {
        self.json()["items"].as_array().cloned().unwrap_or_else(|| panic!("no items: {self:?}"))
    }

    fn parse(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let field = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_lowercase(), value.trim().to_owned()))
        };
        let fields = lines.filter_map(field).collect();
        Some(Self { status, fields, body: body.to_owned() })
    }
}

/// Sends bytes, and reads to the end of the stream.
pub(crate) fn raw(port: u16, bytes: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    // It may be told no before it has said everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Answer::parse(&String::from_utf8_lossy(&answer))
}

/// Somebody who asks: fields that all his requests have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asker {
    pub port: u16,
    pub fields: Vec<(String, String)>,
}

impl Asker {
    /// Nobody in particular.
    pub(crate) fn nobody(proxy: &Proxy) -> Self {
        Self { port: proxy.http, fields: Vec::new() }
    }

    /// With a token.
    pub(crate) fn token(proxy: &Proxy, token: &str) -> Self {
        Self::nobody(proxy).with("Authorization", &format!("Bearer {token}"))
    }

    /// The same with one more field.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut asker = self.clone();
        asker.fields.push((name.to_owned(), value.to_owned()));
        asker
    }

    /// A request's bytes.
    pub(crate) fn request(&self, method: &str, path: &str, kind: &str, body: &str) -> String {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n", self.port);
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method != "GET" {
            text.push_str(&format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len()));
        }
        text + "\r\n" + body
    }

    /// The answer, if one came.
    pub(crate) fn try_ask(&self, method: &str, path: &str, body: &str) -> Option<Answer> {
        raw(self.port, self.request(method, path, "application/json", body).as_bytes())
    }

    /// The answer.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.try_ask(method, path, body).unwrap_or_else(|| panic!("no answer: {method} {path}"))
    }

    /// The answer to a GET.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    /// The answer to a form.
    pub(crate) fn form(&self, path: &str, body: &str) -> Answer {
        let kind = "application/x-www-form-urlencoded";
        let answer = raw(self.port, self.request("POST", path, kind, body).as_bytes());
        answer.unwrap_or_else(|| panic!("no answer: POST {path}"))
    }

    /// Listens to events.
    pub(crate) fn listen(&self) -> Events {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a socket option");
        let request = self.request("GET", "/api/v1/events", "", "");
        (&stream).write_all(request.as_bytes()).expect("it reads");
        Events { lines: BufReader::new(stream) }
    }
}

/// Events as they come.
pub(crate) struct Events {
    lines: BufReader<TcpStream>,
}

impl Events {
    /// The next one: id, kind, data; None when the stream has ended.
    pub(crate) fn next(&mut self) -> Option<(String, String, Value)> {
        let (mut id, mut kind) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            match self.lines.read_line(&mut line) {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
            match line.trim_end().split_once(": ") {
                Some(("id", value)) => value.clone_into(&mut id),
                Some(("event", value)) => value.clone_into(&mut kind),
                Some(("data", value)) => {
                    let value = serde_json::from_str(value).expect("data is JSON");
                    return Some((id, kind, value));
                }
                _ => {}
            }
        }
    }

    /// The next of a kind that fits.
    pub(crate) fn until(
        &mut self,
        kind: &str,
        fits: impl Fn(&Value) -> bool,
    ) -> Option<(String, Value)> {
        loop {
            let (id, is, value) = self.next()?;
            if is == kind && fits(&value) {
                return Some((id, value));
            }
        }
    }
}

/// For slow senders: as long as nobody should be waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
