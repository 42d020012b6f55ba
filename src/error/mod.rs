//! What clients are told of errors: the one place that chooses codes and texts.
//!
//! Clients see only what stands here: a code, an SQLSTATE and a text made for them. Addresses, user
//! names and SQL of others never reach a client by way of `Display`.

mod chain;

pub use chain::chain;

use crate::wire::err::err;
use crate::wire::packet::packet;

/// An error as a client sees it: an ERR packet of the MySQL protocol.
///
/// Source: MySQL protocol, `ERR_Packet`; codes from MySQL's error list and ODP's (10xxx are not
/// used).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientError {
    /// The error number, such as 1045.
    pub code: u16,
    /// The five characters of the SQLSTATE, such as `28000`.
    pub state: &'static str,
    /// The text, lower case unless it repeats a text that servers use.
    pub message: String,
}

impl ClientError {
    fn new(code: u16, state: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, state, message }
    }

    /// 1053: the proxy is going away, or gives up this session in a restart.
    pub fn shutdown() -> Self {
        Self::new(1053, "08S01", "Server shutdown in progress")
    }

    /// 1203: ODP's answer when `client_max_connections` is reached.
    pub fn too_many_sessions() -> Self {
        Self::new(1203, "42000", "Too many sessions")
    }

    /// 1203: a user or an address has as many sessions as it may.
    pub fn too_many_connections(who: &str, limit: &str) -> Self {
        let text = format!("{who} already has more than '{limit}' active connections");
        Self::new(1203, "42000", text)
    }

    /// 1226: a user or an address connects more often than it may.
    pub fn too_many_connects(who: &str, limit: &str, value: u32) -> Self {
        let text = format!("{who} has exceeded the '{limit}' resource (current value: {value})");
        Self::new(1226, "42000", text)
    }

    /// 1130: a PROXY header of somebody who is not trusted with it; the text is MariaDB's.
    pub fn proxy_header_not_accepted(from: &str) -> Self {
        Self::new(1130, "HY000", format!("Proxy header is not accepted from {from}"))
    }

    /// 1105: a PROXY header that cannot be understood; the text is MariaDB's.
    pub fn bad_proxy_header() -> Self {
        Self::new(1105, "HY000", "Failed to parse proxy header")
    }

    /// 1045: a user name or password that the proxy itself checks (admin users) is wrong.
    pub fn access_denied(user: &str, host: &str, password: bool) -> Self {
        let using = if password { "YES" } else { "NO" };
        let text = format!("Access denied for user '{user}'@'{host}' (using password: {using})");
        Self::new(1045, "28000", text)
    }

    /// 1227: the role of an admin user does not allow the command.
    pub fn role_denied(role: &str) -> Self {
        let text = format!("Access denied; you need the {role} role for this operation");
        Self::new(1227, "42000", text)
    }

    /// 2003: no server of the cluster could be reached.
    pub fn server_unreachable(cluster: &str, why: &str) -> Self {
        Self::new(
            2003,
            "HY000",
            format!("Can't connect to a server of cluster '{cluster}' ({why})"),
        )
    }

    /// 1049: the user's name names a cluster that there is none of.
    pub fn unknown_cluster(name: &str) -> Self {
        Self::new(1049, "42000", format!("Unknown cluster '{name}'"))
    }

    /// 1105: a session cannot become one of another cluster.
    pub fn other_cluster(name: &str, own: &str) -> Self {
        let text = format!(
            "Cannot change to a user of cluster '{name}' in a session with cluster '{own}': \
             connect anew"
        );
        Self::new(1105, "HY000", text)
    }

    /// 1105: the log-in has come back to the proxy that it came from.
    pub fn leads_back() -> Self {
        let text = "The servers of the proxy lead back to the proxy itself: one of its \
                    [[cluster.server]] is its own address, by another name or through another \
                    proxy";
        Self::new(1105, "HY000", text)
    }

    /// 1158: the server went away in the middle of a log-in.
    pub fn server_lost() -> Self {
        Self::new(1158, "08S01", "Got an error reading communication packets from the server")
    }

    /// 1157: a frame of the compressed protocol that is none.
    pub fn corrupt_frame() -> Self {
        Self::new(1157, "08S01", "Couldn't uncompress communication packet")
    }

    /// 1105: the server can do less than the client was greeted with, which is corrected by now.
    pub fn server_offers_less() -> Self {
        let text = "The server no longer offers what it did when this client was greeted; \
                    connect again";
        Self::new(1105, "08S01", text)
    }

    /// 1043: what the client sent before it was logged in is not the MySQL protocol.
    pub fn bad_handshake() -> Self {
        Self::new(1043, "08S01", "Bad handshake")
    }

    /// 1251: the client cannot follow an AuthSwitchRequest, which the proxy's log-in needs.
    pub fn no_auth_switch() -> Self {
        let text = "Client does not support authentication protocol requested by server; \
                    consider upgrading MySQL client";
        Self::new(1251, "08004", text)
    }

    /// 3159: `[tls.client] mode = "require"`, and the client did not ask for TLS.
    pub fn tls_required() -> Self {
        let text = "Connections using insecure transport are prohibited: the proxy requires TLS";
        Self::new(3159, "HY000", text)
    }

    /// 3159: the account's plugin sends the password as it is, and this leg has no TLS.
    pub fn clear_password(plugin: &str, leg: &str) -> Self {
        let text = format!("Authentication plugin '{plugin}' needs TLS {leg}");
        Self::new(3159, "HY000", text)
    }

    /// 1045: the server may have let in the proxy itself, which it sees at its Unix socket.
    pub fn unproved() -> Self {
        let text = "Access denied: over the proxy's Unix socket the server may have taken the \
                    client for the proxy's own user; it needs an account with a password and \
                    another name, or a server that is reached by TCP";
        Self::new(1045, "28000", text)
    }

    /// 1045: the server wants the password under RSA and has no key for it.
    pub fn no_rsa_key() -> Self {
        let text = "Access denied: the server gave no RSA key for the password; \
                    it needs one, or TLS from the proxy to the server";
        Self::new(1045, "28000", text)
    }

    /// 1045: a password that can't be decrypted.
    pub fn foreign_rsa_key() -> Self {
        let text = "Access denied: the password was not encrypted with the proxy's RSA key; \
                    let the client ask for it, or use TLS";
        Self::new(1045, "28000", text)
    }

    /// 1045: a password that does not fit under the server's RSA key.
    pub fn password_too_long() -> Self {
        let text = "Access denied: the password is too long for the server's RSA key; \
                    it needs TLS from the proxy to the server";
        Self::new(1045, "28000", text)
    }

    /// 1159: the client took longer to log in than `login_timeout`, or was idle for too long.
    pub fn timed_out(what: &str) -> Self {
        Self::new(1159, "08S01", format!("Got timeout reading communication packets ({what})"))
    }

    /// 4031: the session was silent for longer than `default_inactivity_timeout`.
    pub fn inactive() -> Self {
        let text = "The client was disconnected by the server because of inactivity. \
                    See wait_timeout and interactive_timeout for configuring this behavior.";
        Self::new(4031, "HY000", text)
    }

    /// 1105: the proxy has died of this session, or that is likely.
    pub fn deadly() -> Self {
        Self::new(1105, "HY000", "the proxy has crashed more than once with this connection")
    }

    /// 1105: anything an admin command could not do; the text says what and why.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(1105, "HY000", message)
    }

    /// 1290: what a server says that is read-only, and drivers know as the end of a primary.
    pub fn read_only(message: impl Into<String>) -> Self {
        Self::new(1290, "HY000", message)
    }

    /// 2013: the connection to the primary was lost while a session read elsewhere. What its client
    /// has said was not executed.
    pub fn home_lost() -> Self {
        let text = "Lost connection to the primary before this was executed";
        Self::new(2013, "HY000", text)
    }

    /// 1064: a statement of the admin port that is no known command.
    pub fn syntax(message: impl Into<String>) -> Self {
        Self::new(1064, "42000", message)
    }

    /// 1064 with ODP's text for a statement that is not an admin command. ODP's code is 5010, which
    /// MariaDB's clients refuse to take from a server.
    pub fn unknown_command() -> Self {
        Self::new(1064, "42000", "Unknown operator, bad internal cmd")
    }

    /// 1047: a COM_* that the admin port does not serve.
    pub fn unknown_com() -> Self {
        Self::new(1047, "08S01", "Unknown command")
    }

    /// 1153: a packet of an operator's that is longer than any command.
    pub fn too_long(limit: usize) -> Self {
        Self::new(1153, "08S01", format!("Got a packet bigger than {limit} bytes"))
    }

    /// 1243: an operator executes a statement that was not prepared.
    pub fn unknown_statement() -> Self {
        Self::new(1243, "HY000", "Unknown prepared statement handler")
    }

    /// 1094: KILL of an id that is not there.
    pub fn unknown_thread(id: u64) -> Self {
        Self::new(1094, "HY000", format!("Unknown thread id: {id}"))
    }

    /// 1193: an unknown name in ALTER PROXYCONFIG or SELECT @@name.
    pub fn unknown_variable(name: &str) -> Self {
        Self::new(1193, "HY000", format!("Unknown system variable '{name}'"))
    }

    /// 1231: a value out of range in ALTER PROXYCONFIG.
    pub fn wrong_value(name: &str, value: &str, expected: &str) -> Self {
        let text = format!("Variable '{name}' can't be set to the value of '{value}': {expected}");
        Self::new(1231, "42000", text)
    }

    /// The whole packet, header included, with the given sequence number.
    pub fn packet(&self, sequence: u8) -> Vec<u8> {
        packet(sequence, &err(self.code, Some(self.state), &self.message))
    }

    /// The packet for a client that is not told the protocol version yet: without SQLSTATE.
    pub fn packet_before_greeting(&self) -> Vec<u8> {
        packet(0, &err(self.code, None, &self.message))
    }
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.state, self.message)
    }
}

impl std::error::Error for ClientError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn err_packet_has_header_code_state_and_text() {
        let packet = ClientError::too_many_sessions().packet(3);
        let text = b"\x1a\0\0\x03\xff\xb3\x04#42000Too many sessions";
        assert_eq!(packet, text);
    }

    #[test]
    fn before_the_greeting_there_is_no_sqlstate() {
        let packet = ClientError::bad_handshake().packet_before_greeting();
        assert_eq!(&packet[..8], b"\x10\0\0\0\xff\x13\x04B");
    }
}
