//! From a server's greeting to its first word behind the login response: TLS, the response, and how
//! long to wait.

use std::io;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;

use super::loops;
use super::server_login::{Dialed, LoggingIn, Turn};
use super::{BackendError, Server, conclude};
use crate::config::tls::ConnectMode;
use crate::net::tls::settings::Connector;
use crate::proxy::handshake::packet_reader::read_more;
use crate::route::Allotment;
use crate::wire::capability as cap;
use crate::wire::handshake::{Greeting, LoginResponse};
use crate::wire::packet::{HEADER, Header, packet};

/// A first word is an OK, an ERR or a challenge; of a longer one the header will do.
const MAX_FIRST_WORD: usize = 4096;

/// A connection to a server that has greeted.
#[derive(Debug)]
pub struct Greeted {
    /// The server.
    pub server: Arc<Server>,
    /// The connection.
    pub dialed: LoggingIn,
    /// What it said.
    pub greeting: Arc<Greeting>,
}

/// A connection to a server that has a login response, and has said a first word to it: it is in
/// `ahead`.
#[derive(Debug)]
pub struct Answered {
    /// The server.
    pub server: Arc<Server>,
    /// The connection.
    pub dialed: LoggingIn,
    /// What it said first.
    pub greeting: Arc<Greeting>,
}

impl Greeted {
    fn offers_tls(&self) -> bool {
        self.greeting.capabilities & cap::SSL != 0
    }

    /// Whether the server can do what a connector insists on.
    pub fn suits(&self, tls: Option<&Connector>) -> bool {
        self.offers_tls() || tls.is_none_or(|tls| tls.mode() == ConnectMode::Prefer)
    }

    /// Whether nobody listens to what is said to the server, by TLS if there is a connector and the
    /// server can.
    pub fn will_be_secure(&self, tls: Option<&Connector>) -> bool {
        self.dialed.stream.is_unix() || tls.is_some() && self.offers_tls()
    }

    /// Whether it can be that the server looks at the client's answer to its challenge, and is not
    /// one of us, to whom its way is to be told in place of that. A server that knows by its socket
    /// who we are might not, and what it says would look like a proof: so there it has to ask.
    pub fn takes_answers(&self) -> bool {
        !self.dialed.stream.is_unix() && !loops::is_one_of_us(&self.greeting)
    }

    /// Sends the login response, by TLS if there is a connector and the server can, and waits for
    /// the server's first word to it: until then nothing was asked of the client behind its answer
    /// to the greeting, and another server will do as well.
    pub async fn answer(
        self,
        mut response: LoginResponse,
        tls: Option<&Connector>,
        time: Allotment,
    ) -> Result<Answered, BackendError> {
        let ends = tokio::time::Instant::now() + time.limit;
        let mut greeted = self;
        if let Some(tls) = tls.filter(|_| greeted.offers_tls()) {
            response.capabilities |= cap::SSL;
            greeted = greeted.secure(&response, tls, time).await?;
        }
        let Self { server, mut dialed, greeting } = greeted;
        let wait = server.wait("answer to the log-in", time);
        let told = tokio::time::timeout_at(ends, tell(&mut dialed, &response)).await;
        let told = match told {
            Ok(Ok(())) if first_word(&dialed).is_some_and(loops::is_told) => {
                Err(BackendError::Loop { server: server.address.clone() })
            }
            Ok(told) => {
                told.map_err(|source| BackendError::Lost { server: server.address.clone(), source })
            }
            Err(_) => Err(server.silent("answer to the log-in", time.limit)),
        };
        match told {
            Ok(()) => {
                wait.over();
                server.has_answered();
                Ok(Answered { server, dialed, greeting })
            }
            // A connection that is gone tells little of the server: the next connect tells more.
            Err(error @ BackendError::Lost { .. }) => {
                wait.over();
                Err(error)
            }
            Err(error) => {
                conclude(wait, &error);
                Err(error)
            }
        }
    }

    /// Goes on by TLS.
    async fn secure(
        self,
        response: &LoginResponse,
        tls: &Connector,
        time: Allotment,
    ) -> Result<Self, BackendError> {
        let Self { server, dialed, greeting } = self;
        let lost = |source| BackendError::Lost { server: server.address.clone(), source };
        let request = packet(dialed.sequence, &response.request_for_tls());
        let name = Connector::server_name(server.dialer.host());
        let name = name.ok_or_else(|| {
            let what = "the host in its address can't be in a certificate";
            lost(io::Error::new(io::ErrorKind::InvalidInput, what))
        })?;
        let wait = server.wait("TLS handshake", time);
        // A handshake that is broken off is one, whatever is said: from here to its end nothing
        // can be polite.
        let Dialed { mut stream, sequence, ahead, .. } = dialed.into_dialed();
        if let Err(error) = stream.write_all(&request).await {
            wait.over();
            return Err(lost(error));
        }
        match stream.connect_tls(tls, name, time.limit).await {
            Ok(stream) => {
                wait.over();
                let (sequence, turn) = (sequence + 1, Turn::Greeted);
                let dialed = Dialed { stream, ahead, sequence, turn };
                let dialed = LoggingIn::resumed(dialed, &server.partings);
                Ok(Self { server, dialed, greeting })
            }
            Err(source) => {
                let error = BackendError::Tls { server: server.address.clone(), source };
                conclude(wait, &error);
                Err(error)
            }
        }
    }
}

/// The packet that was read ahead.
fn first_word(dialed: &Dialed) -> Option<&[u8]> {
    let length = Header::parse(&dialed.ahead)?.length;
    dialed.ahead.get(HEADER..HEADER + length)
}

/// Says the login response, and hears a first word: the packet, or as much as tells that the server
/// speaks.
async fn tell(dialed: &mut Dialed, response: &LoginResponse) -> io::Result<()> {
    let Dialed { stream, ahead, sequence, turn } = dialed;
    stream.write_all(&packet(*sequence, &response.encode())).await?;
    stream.flush().await?;
    *sequence += 1;
    *turn = Turn::Told;
    let is_heard = |ahead: &[u8]| {
        let is_whole = |header: Header| {
            header.length > MAX_FIRST_WORD || ahead.len() >= HEADER + header.length
        };
        Header::parse(ahead).is_some_and(is_whole)
    };
    while !is_heard(ahead) {
        read_more(stream, ahead).await?;
    }
    Ok(())
}
