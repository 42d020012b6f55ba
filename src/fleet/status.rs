//! How proxies are: all are asked at once, each on a connection of its own.

use tokio::task::JoinSet;

use super::lines::Lines;
use super::members::Member;
use super::port::{Admin, AdminPort, Row, Trouble};

/// What a proxy says of itself, and of its last restart.
pub(crate) struct Status {
    /// SHOW PROXYINFO BINARY.
    pub(crate) proxy: Row,
    /// The newest row of SHOW RESTART that is no rehearsal.
    pub(crate) last: Option<Row>,
    /// The clusters that it serves, for [`serves`]; None: it does not say.
    pub(crate) clusters: Option<String>,
    /// How many sessions each of them has, for [`sessions`]; None: it does not say.
    pub(crate) cluster_sessions: Option<String>,
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

/// How many sessions a cluster has at a proxy; None: it does not say.
pub(crate) fn sessions(clusters: &str, cluster_sessions: &str, cluster: &str) -> Option<u64> {
    let mut both = clusters.split(BETWEEN).zip(cluster_sessions.split(BETWEEN));
    both.find(|(name, _)| *name == cluster)?.1.parse().ok()
}

/// In the order of the ports.
pub(crate) async fn ask_all(ports: Vec<AdminPort>) -> Vec<Asked> {
    let asks = ports.into_iter().map(|port| async move {
        let answer = ask(&port).await;
        Asked { name: port.name, answer }
    });
    all(asks).await
}

/// In the order of the members, by their names; on connections that are kept.
pub(super) async fn ask_members(members: Vec<Member>, lines: &Lines) -> Vec<Asked> {
    let asks = members.into_iter().map(|member| {
        let lines = lines.clone();
        async move {
            let answer = ask_member(&member, &lines).await;
            Asked { name: member.name, answer }
        }
    });
    all(asks).await
}

/// Asks all of them at once; answers are in the order of those who are asked.
pub(super) async fn all<T: Send + 'static>(
    asks: impl Iterator<Item: Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let mut asking = JoinSet::new();
    for (at, ask) in asks.enumerate() {
        asking.spawn(async move { (at, ask.await) });
    }
    // Each is bounded by the deadlines of the client.
    let mut proxies = asking.join_all().await;
    proxies.sort_by_key(|(at, _)| *at);
    proxies.into_iter().map(|(_, proxy)| proxy).collect()
}

/// One of them, on a connection of its own.
pub(super) async fn ask(port: &AdminPort) -> Result<Status, Trouble> {
    let mut admin = port.connect().await?;
    let proxy = admin.proxy().await?;
    let status = rest(&mut admin, proxy).await?;
    admin.quit().await;
    Ok(status)
}

async fn ask_member(member: &Member, lines: &Lines) -> Result<Status, Trouble> {
    let (mut admin, proxy) = lines.open(member).await?;
    let status = rest(&mut admin, proxy).await?;
    lines.keep(member, admin);
    Ok(status)
}

/// What else is asked of a proxy.
async fn rest(admin: &mut Admin, proxy: Row) -> Result<Status, Trouble> {
    let is_restart = |row: &Row| row.text("mode") != Some("REHEARSE");
    let last = admin.tasks().await?.into_iter().find(is_restart);
    let clusters = admin.clusters().await.ok();
    let all = |column| {
        let texts = clusters.as_ref()?.iter().map(|row| row.text(column));
        Some(texts.collect::<Option<Vec<_>>>()?.join(BETWEEN))
    };
    let (names, cluster_sessions) = (all("cluster_name"), all("sessions"));
    let detour = admin.detour().map(str::to_owned);
    Ok(Status { proxy, last, clusters: names, cluster_sessions, detour })
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

    #[test]
    fn sessions_are_told_by_the_name_of_their_cluster() {
        for (clusters, counts, expected) in [
            ("main", "7", Some(7)),
            ("two#main", "3#4", Some(4)),
            ("two#main", "3", None),
            ("two", "3", None),
            ("main", "", None),
        ] {
            assert_eq!(sessions(clusters, counts, "main"), expected, "{clusters} {counts}");
        }
    }
}
