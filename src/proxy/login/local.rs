//! Admin users who come to the clients' port.

use super::Login;
use crate::net::stream::Stream;
use crate::wire::compressed::Compression;
use crate::wire::handshake::LoginResponse;
use crate::wire::id::SessionId;

/// An admin user that has come to the clients' port, up to its login response.
#[derive(Debug)]
pub struct LocalLogin {
    /// The connection.
    pub stream: Stream,
    /// The challenge in the greeting, if it was ours.
    pub salt: Option<Vec<u8>>,
    /// The answer.
    pub response: LoginResponse,
    /// The number of the answer's packet.
    pub sequence: u8,
    /// The id in the greeting.
    pub connection_id: SessionId,
    /// The client's address.
    pub peer: String,
    /// The user name without the tenant.
    pub user: String,
    /// How the connection is compressed once the user is logged in.
    pub compression: Option<Compression>,
}

impl Login<'_> {
    /// Hands an admin user over to whoever serves those.
    pub fn into_local(
        self,
        salt: Option<Vec<u8>>,
        response: LoginResponse,
        user: String,
        compression: Option<Compression>,
    ) -> Option<LocalLogin> {
        Some(LocalLogin {
            stream: self.client?,
            salt,
            response,
            sequence: self.sequence.unwrap_or_default().wrapping_sub(1),
            connection_id: self.handle.id,
            peer: self.handle.facts().client.to_string(),
            user,
            compression,
        })
    }
}
