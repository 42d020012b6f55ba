//! How proxies are: each is asked on a connection of its own, all at once.

use tokio::task::JoinSet;

use super::port::{AdminPort, Row, Trouble};

/// What a proxy says of itself, and of its last restart.
pub(crate) struct Status {
    /// SHOW PROXYINFO BINARY.
    pub(crate) proxy: Row,
    /// The newest row of SHOW RESTART that is no rehearsal.
    pub(crate) last: Option<Row>,
    /// The clusters that it serves, for [`serves`]; None: it does not say.
    pub(crate) clusters: Option<String>,
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

/// What names of clusters stand between: none has it.
const BETWEEN: &str = "#";

/// Whether a restart of a cluster is one of this proxy, too: it serves the cluster, or nobody
/// knows, which is in the way.
pub(crate) fn serves(clusters: Option<&str>, cluster: &str) -> bool {
    clusters.is_none_or(|all| all.split(BETWEEN).any(|name| name == cluster))
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
    let is_restart = |row: &Row| row.text("mode") != Some("REHEARSE");
    let last = admin.tasks().await?.into_iter().find(is_restart);
    let clusters = admin.clusters().await.ok().map(|names| names.join(BETWEEN));
    let detour = admin.detour().map(str::to_owned);
    admin.quit().await;
    Ok(Status { proxy, last, clusters, detour })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_serves_a_cluster_or_does_not_say_is_restarted_with_it() {
        for (clusters, expected) in [
            (Some("main"), true),
            (Some("two#main"), true),
            (Some("two"), false),
            (Some("main2#mai"), false),
            (Some(""), false),
            (None, true),
        ] {
            assert_eq!(serves(clusters, "main"), expected, "{clusters:?}");
        }
    }
}
