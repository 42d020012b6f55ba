//! What the admin port may see of the data plane: rows, no handles on live state.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::names::named;
pub use crate::session::state::{Shown, Whose};
use crate::wire::id::{SessionId, ThreadId};

/// One session as SHOW PROXYSESSION and SHOW PROCESSLIST show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// The id in the client's greeting; KILL PROXYSESSION takes it.
    pub id: SessionId,
    /// The user as the client gave it.
    pub user: String,
    /// The client's address.
    pub client: String,
    /// The current database, as far as the proxy saw it.
    pub database: String,
    /// The cluster.
    pub cluster: String,
    /// The server's address; empty until one is chosen.
    pub server: String,
    /// The session's id on that server; 0 until it is known.
    pub server_thread: ThreadId,
    /// Commands so far.
    pub commands: u64,
    /// Transactions ended so far.
    pub transactions: u64,
    /// What it does.
    pub state: SessionState,
    /// Whether a transaction is (or may be) open.
    pub in_transaction: bool,
    /// Since the client connected.
    pub age: Duration,
    /// Since the last byte moved; to the second.
    pub idle: Duration,
    /// The process that serves it.
    pub pid: u32,
    /// How the client's leg is compressed; empty when it is not, or nobody said so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client_compression: String,
    /// How the server's leg is compressed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub server_compression: String,
    /// What the client's connection speaks, such as `TLSv1.3 aes-256-gcm`; empty without TLS.
    #[serde(default)]
    pub client_tls: String,
    /// The same of the server's connection.
    #[serde(default)]
    pub server_tls: String,
    /// The tenant that it belongs to; empty if it names none, or nobody said so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tenant: String,
    /// What keeps it on its server; empty if nothing does, or nobody said so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pins: String,
    /// Why it has stayed when it was last to move; empty if it did not, or nobody said so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stays: String,
    /// Whether what it does is followed, so that it can move; not of who logs in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_followed: bool,
    /// Addresses of the servers that it has further connections to, for reads; empty if nobody said
    /// so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readers: Vec<String>,
    /// Whether it would go on after a crash of the proxy, or why not; empty if nobody said so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub crash_protected: String,
}

named! {
    /// What a session does, by ODP's names; on its way to another process by one of ours.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum SessionState {
        /// It logs in.
        LoggingIn = "MCS_INIT",
        /// A command runs.
        Active = "MCS_ACTIVE_READER",
        /// Between two commands.
        Idle = "MCS_KEEP_ALIVE",
        /// On its way to another process.
        Moving = "MCS_MOVING",
        /// It ends.
        Closing = "MCS_CLOSED",
        /// Something that only a later version does.
        #[serde(other)]
        Unknown = "UNKNOWN",
    }
}

impl SessionView {
    /// Whether a command is under way.
    pub fn is_active(&self) -> bool {
        self.state == SessionState::Active
    }
}

/// What a session's variables are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariablesView {
    /// The variables; of another time those that it had changed then.
    pub variables: Vec<Shown>,
    /// None: they are so now.
    pub then: Option<Then>,
}

/// When something was so, and why it is not known how it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Then {
    /// When.
    pub at: SystemTime,
    /// Why.
    pub why: String,
}

/// One statement as SHOW PROXYTRACE shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceView {
    /// Whose it was.
    pub session: SessionId,
    /// So long ago.
    pub ago: Duration,
    /// The address of the server that it went to.
    pub server: String,
    /// What it was.
    pub statement: String,
    /// Why it went there.
    pub reason: &'static str,
}

/// Gauges of the proxy: of both generations while two live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Clients connected now, those still logging in included.
    pub current_client_connections: u64,
    /// Of them, with a command under way.
    pub current_active_client_connections: u64,
    /// Of them, with an open transaction.
    pub current_client_transactions: u64,
    /// Server connections.
    pub current_server_connections: u64,
}

/// What crashes have come to since the proxy's pair was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashTotals {
    /// How often, by how, such as `SIGKILL`.
    pub by_kind: Vec<(String, u64)>,
    /// Sessions that went on.
    pub resumed: u64,
    /// Sessions that did not.
    pub lost: u64,
    /// How long the last one took until all that could had gone on; None: there was none.
    pub last: Option<Duration>,
    /// Whether somebody watches over this process.
    pub has_keeper: bool,
}

/// How a process has died, and what became of its sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashView {
    /// When.
    pub at: SystemTime,
    /// The process.
    pub pid: u32,
    /// By what, such as `SIGKILL`, and what it said if it has panicked.
    pub how: String,
    /// Sessions that were on record.
    pub sessions: u64,
    /// Those that went on.
    pub resumed: u64,
    /// Those that did not, and why.
    pub lost: Vec<(&'static str, u64)>,
    /// Until the last of them went on.
    pub within: Duration,
    /// Sessions that it may have died of.
    pub suspects: Vec<SessionId>,
}
