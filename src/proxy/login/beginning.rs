//! What the exchange with a server begins with.

/// Whose challenge a client has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Servers,
    Ours,
}

/// What an exchange with a server begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begins {
    /// The client's answer to the greeting.
    WithTheAnswer,
    /// The server's challenge.
    Anew,
}
