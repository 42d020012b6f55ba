//! How proxies are: each is asked on a connection of its own, all at once.

use tokio::task::JoinSet;

use super::port::{AdminPort, Row, Trouble};

/// What a proxy says of itself, and of its last restart.
pub(crate) struct Status {
    /// SHOW PROXYINFO BINARY.
    pub(crate) proxy: Row,
    /// The newest row of SHOW RESTART.
    pub(crate) last: Option<Row>,
    /// Why the port was not taken, and which way was.
    pub(crate) detour: Option<String>,
}

/// A proxy and its answer.
pub(crate) struct Asked {
    /// HOST:PORT, as it was given.
    pub(crate) name: String,
    /// What it says, or why it does not.
    pub(crate) answer: Result<Status, Trouble>,
}

/// In the order of the ports.
pub(crate) async fn ask_all(ports: Vec<AdminPort>) -> Vec<Asked> {
    let mut asking = JoinSet::new();
    for (at, port) in ports.into_iter().enumerate() {
        asking.spawn(async move {
            let answer = ask(&port).await;
            (at, Asked { name: port.name, answer })
        });
    }
    // Each is bounded by the deadlines of the client.
    let mut proxies = asking.join_all().await;
    proxies.sort_by_key(|(at, _)| *at);
    proxies.into_iter().map(|(_, proxy)| proxy).collect()
}

async fn ask(port: &AdminPort) -> Result<Status, Trouble> {
    let mut admin = port.connect().await?;
    let proxy = admin.proxy().await?;
    let last = admin.tasks().await?.into_iter().next();
    let detour = admin.detour().map(str::to_owned);
    admin.quit().await;
    Ok(Status { proxy, last, detour })
}
