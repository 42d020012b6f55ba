//! The server side of the MySQL protocol, for operators: any client, driver or GUI can come.
//!
//! ```text
//!   greeting ─► [TLS] ─► login response ─► [AuthSwitch to mysql_native_password ─► answer] ─► OK
//!        └───────── deadline ──────┘ no TLS: 3159, wrong: 1045                             │
//!                            QUIT, silence, or a packet that is too long ◄── command ◄─────┘
//! ```
//! What is answered is in `execute.rs`.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use subtle::ConstantTimeEq;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::error::Elapsed;

use super::caller::{Caller, Door};
use super::command::Command;
use super::execute::execute;
use super::handles::Admin;
use super::table::{Answer, Table, VERSION};
use crate::config::console::sha1_twice;
use crate::config::tls::AcceptMode;
use crate::config::{AdminUser, Role};
use crate::error::ClientError;
use crate::net::stream::Stream;
use crate::net::tls::settings::Acceptor;
use crate::proxy::login::preamble::{PreambleError, read_preamble};
use crate::proxy::login::{LocalLogin, random_salt};
use crate::proxy::relay::leg::Leg;
use crate::wire::authentication::{NATIVE, native_stage1};
use crate::wire::capability as cap;
use crate::wire::command::code;
use crate::wire::handshake::{
    Greeting, LoginResponse, auth_switch_request, is_request_for_tls, ok,
};
use crate::wire::id::SessionId;
use crate::wire::packet::{HEADER, Header, packet, put_lenenc_str};
use crate::wire::rows::{Encoding, Shape, Writer};
use crate::wire::status::AUTOCOMMIT;

/// A statement that is longer is none of ours.
const LONGEST: usize = 1 << 20;

/// From connect to OK.
const LOGIN: Duration = Duration::from_secs(10);

/// Between two commands; as `wait_timeout` says.
const SILENCE: Duration = Duration::from_secs(28_800);

/// For an answer to be taken.
const WRITE: Duration = Duration::from_secs(60);

/// Before a wrong password is told: guessing is slow.
const WRONG_PASSWORD: Duration = Duration::from_millis(200);

/// Prepared statements of one connection.
const MOST_STATEMENTS: usize = 256;

const CAPABILITIES: u32 = cap::LONG_PASSWORD
    | cap::CONNECT_WITH_DB
    | cap::PROTOCOL_41
    | cap::TRANSACTIONS
    | cap::SECURE_CONNECTION
    | cap::MULTI_RESULTS
    | cap::PS_MULTI_RESULTS
    | cap::PLUGIN_AUTH
    | cap::CONNECT_ATTRS
    | cap::PLUGIN_AUTH_LENENC
    | cap::DEPRECATE_EOF;

/// Serves an operator that has connected to the admin port.
pub async fn serve(admin: Arc<Admin>, stream: Stream, peer: String, connection_id: SessionId) {
    let visitor = Visitor { peer, connection_id };
    let login = tokio::time::timeout(LOGIN, log_in(&admin, stream, &visitor)).await;
    finish(&admin, login, &visitor.peer).await;
}

/// Serves whoever has connected to the control socket, if that is the proxy's own user or root: who
/// could stop it, or read its config, needs no password.
pub async fn serve_owner(admin: Arc<Admin>, stream: Stream, connection_id: SessionId) {
    let uid = stream.peer_uid();
    let peer = uid.map_or_else(|| "unix".into(), |uid| format!("uid {uid}"));
    let is_owner = uid.is_some_and(|uid| uid == 0 || uid == nix::unistd::geteuid().as_raw());
    let visitor = Visitor { peer, connection_id };
    let login = async {
        let mut port = Connection { stream, sequence: 0, ahead: Vec::new() };
        if is_owner {
            return admit_owner(port, &visitor).await;
        }
        tracing::warn!(peer = visitor.peer, "control socket: neither the proxy's user nor root");
        let refused = ClientError::access_denied(&visitor.peer, "localhost", false);
        port.write(&refused.packet_before_greeting()).await?;
        Ok(None)
    };
    let login = tokio::time::timeout(LOGIN, login).await;
    finish(&admin, login, &visitor.peer).await;
}

/// A log-in in which every name is right, and no password looked at.
async fn admit_owner(mut port: Connection, visitor: &Visitor) -> LetIn {
    port.greet(visitor, CAPABILITIES).await?;
    let Some(payload) = port.receive().await? else { return Ok(None) };
    let Ok(response) = LoginResponse::parse(&payload) else {
        port.fail(&ClientError::bad_handshake()).await?;
        return Ok(None);
    };
    tracing::debug!(peer = visitor.peer, "log-in at the control socket");
    let caller = visitor.caller(visitor.peer.clone(), Role::Manager);
    port.let_in(&response, CAPABILITIES, caller).await
}

/// Serves an operator that has come to the clients' port as `NAME@proxysys`.
pub async fn serve_login(admin: Arc<Admin>, login: LocalLogin) {
    let LocalLogin { stream, salt, response, sequence, connection_id, peer, user, compression } =
        login;
    let port = Connection { stream, sequence: sequence.wrapping_add(1), ahead: Vec::new() };
    let visitor = Visitor { peer, connection_id };
    // The greeting was made in a server's name.
    let known = Known { user, salt, offered: u32::MAX };
    let verified = tokio::time::timeout(LOGIN, verify(&admin, port, &response, known, &visitor));
    let with_leg = |(session, port): (Session, Connection)| {
        let Connection { stream, sequence, ahead } = port;
        let stream = match compression {
            Some(how) => Leg::compressed(stream, how, 0, &[]),
            None => Leg::plain(stream),
        };
        (session, Connection { stream, sequence, ahead })
    };
    let verified = verified.await.map(|verified| verified.map(|let_in| let_in.map(with_leg)));
    finish(&admin, verified, &visitor.peer).await;
}

/// Serves whoever was let in.
async fn finish<S: AsyncRead + AsyncWrite + Unpin>(
    admin: &Admin,
    login: Result<LetIn<S>, Elapsed>,
    peer: &str,
) {
    match login {
        Ok(Ok(Some((session, port)))) => session.serve(admin, port).await,
        Ok(Ok(None)) => {}
        Ok(Err(error)) => tracing::debug!(peer, %error, "admin client left in the log-in"),
        Err(_) => tracing::info!(peer, "admin log-in timed out"),
    }
}

struct Connection<S = Stream> {
    stream: S,
    sequence: u8,
    /// What was read and is not dealt with.
    ahead: Vec<u8>,
}

/// Who was let in, with the connection; None: it was told why not, or has left.
type LetIn<S = Stream> = io::Result<Option<(Session, Connection<S>)>>;

/// Who has connected.
struct Visitor {
    peer: String,
    connection_id: SessionId,
}

impl Visitor {
    /// As somebody who was let in.
    fn caller(&self, user: String, role: Role) -> Caller {
        let Self { peer, connection_id } = self;
        let (peer, connection_id) = (peer.clone(), *connection_id);
        Caller { user, peer, role, door: Door::Sql, connection_id }
    }
}

/// What is known of a client before its password.
struct Known {
    user: String,
    /// Our challenge; None: it was a server's, and an answer to that proves nothing to us.
    salt: Option<Vec<u8>>,
    /// The capabilities in the greeting.
    offered: u32,
}

/// From the greeting to OK.
async fn log_in(admin: &Admin, stream: Stream, visitor: &Visitor) -> LetIn {
    let tls = admin.proxy.tls().admin();
    let mut port = Connection { stream, sequence: 0, ahead: Vec::new() };
    let offered = if tls.is_some() { CAPABILITIES | cap::SSL } else { CAPABILITIES };
    let salt = port.greet(visitor, offered).await?;
    let Some(visitor) = &port.hear_header(admin, visitor).await? else { return Ok(None) };
    let Some(mut payload) = port.receive().await? else { return Ok(None) };
    if let Some(tls) = tls.filter(|_| is_request_for_tls(&payload)) {
        port = port.negotiate(&tls, &visitor.peer).await?;
        let Some(behind) = port.receive().await? else { return Ok(None) };
        payload = behind;
    }
    let Ok(response) = LoginResponse::parse(&payload) else {
        port.fail(&ClientError::bad_handshake()).await?;
        return Ok(None);
    };
    let user = String::from_utf8_lossy(&response.user);
    // The tenant is understood here too, so that one user name serves both ports.
    let user = user.strip_suffix("@proxysys").unwrap_or(&user).to_owned();
    let known = Known { user, salt: Some(salt), offered };
    verify(admin, port, &response, known, visitor).await
}

async fn verify(
    admin: &Admin,
    mut port: Connection,
    response: &LoginResponse,
    known: Known,
    visitor: &Visitor,
) -> LetIn {
    let Known { user, salt, offered } = known;
    let Visitor { peer, .. } = visitor;
    let tls = admin.proxy.tls().admin();
    let is_required = tls.is_some_and(|tls| tls.mode() == AcceptMode::Require);
    if is_required && !port.stream.is_secure() {
        tracing::info!(user, peer, "admin log-in refused: it is without TLS");
        port.fail(&ClientError::tls_required()).await?;
        return Ok(None);
    }
    let is_native = response.plugin.as_deref().is_none_or(|plugin| plugin == NATIVE);
    let (answer, salt) = match salt.filter(|_| is_native) {
        Some(salt) => (response.auth.clone(), salt),
        None if response.plugin.is_none() => {
            port.fail(&ClientError::no_auth_switch()).await?;
            return Ok(None);
        }
        None => {
            let salt = random_salt().map_err(io::Error::other)?;
            port.send(&auth_switch_request(NATIVE, &salt)).await?;
            let Some(answer) = port.receive().await? else { return Ok(None) };
            (answer, salt)
        }
    };
    let account = admin.user(&user);
    let proved = proves(&answer, &salt, account.as_ref());
    let Some(AdminUser { role, .. }) = account.filter(|_| proved) else {
        tokio::time::sleep(WRONG_PASSWORD).await;
        tracing::warn!(user, peer, "admin log-in refused");
        let host = peer.rsplit_once(':').map_or(&**peer, |(host, _)| host);
        port.fail(&ClientError::access_denied(&user, host, !answer.is_empty())).await?;
        return Ok(None);
    };
    tracing::debug!(user, peer, "admin log-in");
    port.let_in(response, offered, visitor.caller(user, role)).await
}

impl Connection {
    /// Sends the greeting; its challenge.
    async fn greet(&mut self, visitor: &Visitor, offered: u32) -> io::Result<Vec<u8>> {
        let salt = random_salt().map_err(io::Error::other)?;
        let greeting = Greeting {
            version: VERSION.into(),
            connection_id: visitor.connection_id.0,
            salt: salt.clone(),
            capabilities: offered,
            extended: 0,
            collation: 45,
            status: AUTOCOMMIT,
            plugin: NATIVE.to_vec(),
        };
        self.send(&greeting.encode()).await?;
        Ok(salt)
    }

    /// Tells somebody that he is let in.
    async fn let_in(mut self, response: &LoginResponse, offered: u32, caller: Caller) -> LetIn {
        self.send(&ok(0, 0, AUTOCOMMIT, 0)).await?;
        let shape = Shape::of(response, offered);
        let session = Session { caller, shape, statements: HashMap::new(), last_statement: 0 };
        Ok(Some((session, self)))
    }

    /// Who the operator is, by a PROXY header if one comes; None: it was told that it must not send
    /// such, or has left.
    async fn hear_header(
        &mut self,
        admin: &Admin,
        visitor: &Visitor,
    ) -> io::Result<Option<Visitor>> {
        let config = admin.proxy.config();
        let networks = &config.proxy.proxy_protocol_networks;
        let peer = self.stream.peer();
        match read_preamble(&mut self.stream, Vec::new(), networks, peer).await {
            Ok(preamble) => {
                let peer = preamble.client().unwrap_or_else(|| visitor.peer.clone());
                self.ahead = preamble.rest;
                Ok(Some(Visitor { peer, connection_id: visitor.connection_id }))
            }
            Err(PreambleError::Refused(error)) => {
                tracing::warn!(peer = visitor.peer, %error, "admin log-in refused");
                // The answer to the client's first packet, which has the number 1.
                self.sequence = 2;
                self.fail(&error).await?;
                Ok(None)
            }
            Err(PreambleError::Gone(error)) => match error.kind() {
                io::ErrorKind::UnexpectedEof => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// What was read ahead is the beginning of the handshake.
    async fn negotiate(self, tls: &Acceptor, peer: &str) -> io::Result<Self> {
        let Self { stream, sequence, ahead } = self;
        let accepted = stream.accept_tls(tls, &ahead, LOGIN).await;
        let stream = accepted.map_err(|error| {
            tracing::info!(peer, %error, "no TLS with an admin client");
            io::Error::other(error)
        })?;
        Ok(Self { stream, sequence, ahead: Vec::new() })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// One packet's payload; None at the end of the stream.
    async fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut header = [0; HEADER];
        let ahead = std::mem::take(&mut self.ahead);
        let mut input = ahead[..].chain(&mut self.stream);
        match input.read_exact(&mut header).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        };
        let Some(Header { length, sequence }) = Header::parse(&header) else { return Ok(None) };
        self.sequence = sequence.wrapping_add(1);
        if length > LONGEST {
            self.fail(&ClientError::too_long(LONGEST)).await?;
            return Ok(None);
        }
        // Grows with what is really sent: a claimed length costs nothing.
        let mut payload = Vec::new();
        (&mut input).take(length as u64).read_to_end(&mut payload).await?;
        let (rest, _) = input.into_inner();
        self.ahead = rest.to_vec();
        Ok((payload.len() == length).then_some(payload))
    }

    async fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        let bytes = packet(self.sequence, payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.write(&bytes).await
    }

    async fn fail(&mut self, error: &ClientError) -> io::Result<()> {
        let bytes = error.packet(self.sequence);
        self.write(&bytes).await
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        let sent = tokio::time::timeout(WRITE, sent).await;
        sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// A logged-in operator.
struct Session {
    caller: Caller,
    shape: Shape,
    statements: HashMap<u32, String>,
    last_statement: u32,
}

impl Session {
    async fn serve<S>(mut self, admin: &Admin, mut port: Connection<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            let received = tokio::time::timeout(SILENCE, port.receive()).await;
            let Ok(Ok(Some(payload))) = received else { return };
            let _under_way = admin.under_way.token();
            let Some(reply) = self.answer(admin, &payload, port.sequence).await else { return };
            if port.write(&reply).await.is_err() {
                return;
            }
        }
    }

    /// The packets of the answer; None to close.
    async fn answer(&mut self, admin: &Admin, payload: &[u8], sequence: u8) -> Option<Vec<u8>> {
        let mut writer = Writer::new(sequence, self.shape);
        let (command, body) = payload.split_first().unwrap_or((&0, &[]));
        let done = match *command {
            code::QUIT => return None,
            code::PING | code::INIT_DB | code::RESET_CONNECTION | code::STMT_RESET => {
                writer.put(&ok(0, 0, AUTOCOMMIT, 0));
                Ok(())
            }
            code::SET_OPTION => {
                writer.end(AUTOCOMMIT);
                Ok(())
            }
            code::STATISTICS => {
                writer.put(format!("odp {}", env!("CARGO_PKG_VERSION")).as_bytes());
                Ok(())
            }
            code::QUERY => self.query(admin, body, &mut writer).await,
            code::STMT_PREPARE => self.prepare(admin, body, &mut writer).await,
            code::STMT_EXECUTE => self.execute(admin, body, &mut writer).await,
            code::STMT_CLOSE => {
                statement_id(body).and_then(|id| self.statements.remove(&id));
                return Some(Vec::new());
            }
            code::STMT_SEND_LONG_DATA => return Some(Vec::new()),
            _ => Err(ClientError::unknown_com()),
        };
        Some(match done {
            Ok(()) => writer.into_bytes(),
            Err(error) => error.packet(sequence),
        })
    }

    async fn query(
        &self,
        admin: &Admin,
        body: &[u8],
        writer: &mut Writer,
    ) -> Result<(), ClientError> {
        let text = match (self.shape.query_attributes, body) {
            (true, [0, 1, text @ ..]) => text,
            (true, _) => return Err(ClientError::syntax("query attributes mean nothing here")),
            (false, text) => text,
        };
        self.run(admin, parse(text)?, Encoding::Text, writer).await
    }

    async fn run(
        &self,
        admin: &Admin,
        command: Command,
        encoding: Encoding,
        writer: &mut Writer,
    ) -> Result<(), ClientError> {
        match execute(admin, &self.caller, command).await? {
            Answer::Done { id, info } => {
                let mut payload = ok(0, id, AUTOCOMMIT, 0);
                if !info.is_empty() {
                    put_lenenc_str(&mut payload, info.as_bytes());
                }
                writer.put(&payload);
            }
            Answer::Rows(Table { columns, rows }) => {
                writer.result_set(&columns, &rows, encoding, AUTOCOMMIT);
            }
        }
        Ok(())
    }

    /// Statements have no parameters. What only looks is looked at now, for its columns.
    async fn prepare(
        &mut self,
        admin: &Admin,
        body: &[u8],
        writer: &mut Writer,
    ) -> Result<(), ClientError> {
        let command = parse(body)?;
        if self.statements.len() >= MOST_STATEMENTS {
            return Err(ClientError::refused(format!("more than {MOST_STATEMENTS} statements")));
        }
        let columns = match command.only_looks() {
            true => match execute(admin, &self.caller, command).await? {
                Answer::Rows(table) => table.columns,
                Answer::Done { .. } => Vec::new(),
            },
            false => Vec::new(),
        };
        self.last_statement = self.last_statement.wrapping_add(1);
        let text = String::from_utf8_lossy(body).into_owned();
        self.statements.insert(self.last_statement, text);
        let mut prepared = vec![0];
        prepared.extend(self.last_statement.to_le_bytes());
        prepared.extend((columns.len() as u16).to_le_bytes());
        prepared.extend([0; 5]);
        writer.put(&prepared);
        if !columns.is_empty() {
            writer.definitions(&columns);
            writer.end_of_definitions(AUTOCOMMIT);
        }
        Ok(())
    }

    async fn execute(
        &self,
        admin: &Admin,
        body: &[u8],
        writer: &mut Writer,
    ) -> Result<(), ClientError> {
        let text = statement_id(body).and_then(|id| self.statements.get(&id));
        let text = text.ok_or_else(ClientError::unknown_statement)?;
        let command = Command::parse(text)?;
        self.run(admin, command, Encoding::Binary, writer).await
    }
}

fn parse(body: &[u8]) -> Result<Command, ClientError> {
    let text = std::str::from_utf8(body).map_err(|_| ClientError::syntax("not UTF-8"))?;
    Command::parse(text)
}

fn statement_id(body: &[u8]) -> Option<u32> {
    body.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// Whether an answer of mysql_native_password is that of the account's password.
///
/// An account that is not there takes as long as one that is.
fn proves(answer: &[u8], salt: &[u8], account: Option<&AdminUser>) -> bool {
    let stage2 = account.map_or([0; 20], AdminUser::stage2);
    let same = native_stage1(answer, salt, &stage2).is_some();
    // An empty password is proved by an empty answer, as everywhere.
    let empty = answer.is_empty() && bool::from(stage2.as_slice().ct_eq(&sha1_twice("")));
    account.is_some() && (empty || same)
}
