//! The handshake, by rustls; at its end the session's secrets go to our record layer.
//!
//! rustls' unbuffered API is given one record more only when it asks for one, so it never sees a
//! byte that belongs behind the handshake. Invariant: what was not consumed is still in `input`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{
    ClientConfig, ConnectionTrafficSecrets, ExtractedSecrets, KeyLog, ProtocolVersion, ServerConfig,
};

use super::keys::{HEADER, HalfState, Hidden, Suite, Version};
use super::record::{MAX_SEALED, Records, Role};

/// Bytes that a peer may send before its handshake is over. Certificate chains are the bulk; other
/// implementations allow 100 KiB.
const MAX_INPUT: usize = 128 * 1024;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// rustls refused the peer, or the peer refused us.
    #[error("TLS handshake: {0}")]
    Refused(#[from] rustls::Error),
    /// The peer sent too much.
    #[error("TLS handshake: more than {MAX_INPUT} bytes without an end")]
    TooLong,
    /// Something is negotiated that our record layer does not know.
    #[error("TLS handshake: {0}")]
    Unsupported(&'static str),
    /// The socket failed or was closed.
    #[error("TLS handshake: {0}")]
    Io(#[from] std::io::Error),
}

/// What a handshake needs next, after everything in [`Handshake::output`] was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes from the peer.
    Read,
    /// Nothing; call [`Handshake::finish`].
    Done,
}

/// A handshake under way.
pub struct Handshake {
    peer: Peer,
    secrets: Arc<Secrets>,
    input: Vec<u8>,
    /// Bytes of the input that rustls has seen: whole records.
    shown: usize,
    /// Bytes for the peer; to be sent and cleared by the caller after every step, even a failed
    /// one.
    pub output: Vec<u8>,
}

enum Peer {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

/// A session that is ready for data.
pub struct Established {
    /// The record layer.
    pub records: Records,
    /// What the peer sent behind its handshake.
    pub rest: Vec<u8>,
    /// Puts the server's TLS 1.3 tickets into the cache of the connector.
    pub tickets: Option<TicketSink>,
}

/// Where the tickets of one TLS 1.3 session go.
pub struct TicketSink(KernelConnection<ClientConnectionData>);

impl TicketSink {
    /// Stores the body of a NewSessionTicket. One that can't be read is worth nothing, and no
    /// reason to end a session.
    pub fn store(&mut self, ticket: &[u8]) {
        let _ = self.0.handle_new_session_ticket(ticket);
    }
}

impl fmt::Debug for TicketSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSink")
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (input, output) = (self.input.len(), self.output.len());
        write!(f, "Handshake {{ input: {input} bytes, output: {output} bytes }}")
    }
}

impl Handshake {
    /// As a client.
    pub fn connect(
        config: &ClientConfig,
        name: ServerName<'static>,
    ) -> Result<Self, rustls::Error> {
        let secrets = Arc::new(Secrets::default());
        let mut config = config.clone();
        config.key_log = secrets.clone();
        config.enable_secret_extraction = true;
        let connection = UnbufferedClientConnection::new(Arc::new(config), name)?;
        Ok(Self::new(Peer::Client(Box::new(connection)), secrets, &[]))
    }

    /// As a server; `early` is what the client has sent already.
    pub fn accept(config: &ServerConfig, early: &[u8]) -> Result<Self, rustls::Error> {
        let secrets = Arc::new(Secrets::default());
        let mut config = config.clone();
        config.key_log = secrets.clone();
        config.enable_secret_extraction = true;
        let connection = UnbufferedServerConnection::new(Arc::new(config))?;
        Ok(Self::new(Peer::Server(Box::new(connection)), secrets, early))
    }

    fn new(peer: Peer, secrets: Arc<Secrets>, early: &[u8]) -> Self {
        Self { peer, secrets, input: early.to_vec(), shown: 0, output: Vec::new() }
    }

    /// Takes bytes from the peer.
    pub fn handle_input(&mut self, bytes: &[u8]) -> Result<(), HandshakeError> {
        if self.input.len() + bytes.len() > MAX_INPUT {
            return Err(HandshakeError::TooLong);
        }
        self.input.extend_from_slice(bytes);
        Ok(())
    }

    /// Goes as far as it can. After an error, `output` has the alert.
    pub fn step(&mut self) -> Result<Step, HandshakeError> {
        loop {
            match self.process() {
                Ok(Progress::More) => {}
                Ok(Progress::Done) => return Ok(Step::Done),
                Ok(Progress::Blocked) => {
                    let shown = self.next_record_end();
                    if shown == self.shown {
                        return Ok(Step::Read);
                    }
                    self.shown = shown;
                }
                Err(error) => {
                    self.collect_alert();
                    return Err(error.into());
                }
            }
        }
    }

    /// Where the first record ends that rustls has not seen; where it begins while it is not whole.
    /// The end of the input when that is no record, for rustls to refuse.
    fn next_record_end(&self) -> usize {
        let unseen = &self.input[self.shown..];
        let Some(header) = unseen.first_chunk::<HEADER>() else { return self.shown };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if length > MAX_SEALED || !(20..=23).contains(&header[0]) {
            return self.input.len();
        }
        if unseen.len() < HEADER + length { self.shown } else { self.shown + HEADER + length }
    }

    fn process(&mut self) -> Result<Progress, rustls::Error> {
        let Self { peer, input, shown, output, .. } = self;
        let window = &mut input[..*shown];
        let ((discard, progress), is_handshaking) = match peer {
            Peer::Client(peer) => {
                let judged = judge(peer.process_tls_records(window), output);
                (judged, peer.is_handshaking())
            }
            Peer::Server(peer) => {
                let judged = judge(peer.process_tls_records(window), output);
                (judged, peer.is_handshaking())
            }
        };
        // What rustls has seen and not taken, it wants to see again.
        input.drain(..discard);
        *shown -= discard;
        match progress? {
            // A server may write before the client has finished; nothing is gained by it.
            Progress::Done if is_handshaking => Ok(Progress::Blocked),
            progress => Ok(progress),
        }
    }

    /// What rustls wants the peer to know about the failure. It must see the same input again, as
    /// it remembers places in it; and once only, as it would find the same fault again.
    fn collect_alert(&mut self) {
        let _ = self.process();
    }

    /// Hands the session to the record layer.
    pub fn finish(self) -> Result<Established, HandshakeError> {
        let Self { peer, secrets, input, shown, .. } = self;
        if shown > 0 {
            return Err(HandshakeError::Unsupported("something behind Finished in its record"));
        }
        let (version, role, extracted, tickets) = match peer {
            Peer::Client(peer) => {
                let version = peer.protocol_version();
                let (extracted, kernel) = peer.dangerous_into_kernel_connection()?;
                (version, Role::Client, extracted, Some(TicketSink(kernel)))
            }
            Peer::Server(peer) => {
                let version = peer.protocol_version();
                let (extracted, _) = peer.dangerous_into_kernel_connection()?;
                (version, Role::Server, extracted, None)
            }
        };
        let version = match version {
            Some(ProtocolVersion::TLSv1_2) => Version::Tls12,
            Some(ProtocolVersion::TLSv1_3) => Version::Tls13,
            _ => return Err(HandshakeError::Unsupported("neither TLS 1.2 nor 1.3")),
        };
        let mut records = take_over(version, role, extracted, &secrets)?;
        let tickets = tickets.filter(|_| version == Version::Tls13);
        if tickets.is_some() {
            records.keep_tickets();
        }
        Ok(Established { records, rest: input, tickets })
    }
}

enum Progress {
    /// Something is in the output, or was done; go on.
    More,
    /// A record more is needed.
    Blocked,
    /// The handshake is over.
    Done,
}

fn judge<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    output: &mut Vec<u8>,
) -> (usize, Result<Progress, rustls::Error>) {
    let UnbufferedStatus { discard, state } = status;
    let state = match state {
        Ok(state) => state,
        Err(error) => return (discard, Err(error)),
    };
    let unexpected = |what: &str| Err(rustls::Error::General(format!("{what} in the handshake")));
    let progress = match state {
        ConnectionState::EncodeTlsData(mut data) => {
            let mut at = output.len();
            let encoded = match data.encode(&mut []) {
                Err(EncodeError::InsufficientSize(size)) => {
                    output.resize(at + size.required_size, 0);
                    data.encode(&mut output[at..])
                }
                other => other,
            };
            at += encoded.as_ref().copied().unwrap_or(0);
            output.truncate(at);
            match encoded {
                Ok(_) => Ok(Progress::More),
                Err(error) => Err(rustls::Error::General(error.to_string())),
            }
        }
        // The output is ours, and sent before anything else happens.
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Progress::More)
        }
        ConnectionState::BlockedHandshake => Ok(Progress::Blocked),
        ConnectionState::WriteTraffic(_) => Ok(Progress::Done),
        ConnectionState::PeerClosed | ConnectionState::Closed => unexpected("close_notify"),
        // Never: rustls is not shown what comes behind the handshake, and early data is off.
        ConnectionState::ReadTraffic(_) | ConnectionState::ReadEarlyData(_) => unexpected("data"),
        _ => unexpected("an unknown state"),
    };
    (discard, progress)
}

fn take_over(
    version: Version,
    role: Role,
    extracted: ExtractedSecrets,
    secrets: &Secrets,
) -> Result<Records, HandshakeError> {
    let (tx, rx) = (extracted.tx, extracted.rx);
    let of = |role| match version {
        Version::Tls12 => None,
        Version::Tls13 => secrets.take(role),
    };
    let (own, other) = match role {
        Role::Client => (of(Role::Client), of(Role::Server)),
        Role::Server => (of(Role::Server), of(Role::Client)),
    };
    let (suite, write) = half(tx, own)?;
    let (read_suite, read) = half(rx, other)?;
    let records = Records::new(version, suite, role, read, write);
    records
        .filter(|_| suite == read_suite)
        .ok_or(HandshakeError::Unsupported("keys that don't fit the suite"))
}

fn half(
    (sequence, secrets): (u64, ConnectionTrafficSecrets),
    secret: Option<Hidden>,
) -> Result<(Suite, HalfState), HandshakeError> {
    let (suite, key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Suite::Aes128Gcm, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Suite::Aes256Gcm, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
            (Suite::Chacha20Poly1305, key, iv)
        }
        _ => return Err(HandshakeError::Unsupported("a cipher suite that is not an AEAD of ours")),
    };
    let state = HalfState {
        secret,
        key: Hidden::new(key.as_ref()),
        iv: Hidden::new(iv.as_ref()),
        sequence,
        // As if every record so far had been of full size.
        spent: sequence.saturating_mul(1 + (1 << 10)),
    };
    Ok((suite, state))
}

/// Catches the two application traffic secrets of one TLS 1.3 session, in memory only: later keys
/// are made from them.
#[derive(Default)]
struct Secrets {
    client: Mutex<Option<Hidden>>,
    server: Mutex<Option<Hidden>>,
}

impl Secrets {
    fn slot(&self, label: &str) -> Option<&Mutex<Option<Hidden>>> {
        match label {
            "CLIENT_TRAFFIC_SECRET_0" => Some(&self.client),
            "SERVER_TRAFFIC_SECRET_0" => Some(&self.server),
            _ => None,
        }
    }

    fn take(&self, role: Role) -> Option<Hidden> {
        let slot = match role {
            Role::Client => &self.client,
            Role::Server => &self.server,
        };
        slot.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl KeyLog for Secrets {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        if let Some(slot) = self.slot(label) {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(Hidden::new(secret));
        }
    }

    fn will_log(&self, label: &str) -> bool {
        self.slot(label).is_some()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}
