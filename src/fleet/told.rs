//! What the other proxies tell of the tasks that they coordinate: each knows only its own.
//!
//! Invariant: all are asked at once, and whoever does not answer is told of, too.

use super::lines::Lines;
use super::members::Member;
use super::port::{Row, Trouble};
use super::status::all;

/// A proxy, and the tasks that it coordinates, newest first.
pub(crate) struct Told {
    /// Its name.
    pub(crate) name: String,
    /// Rows of SHOW FLEET TASKS.
    pub(crate) answer: Result<Vec<Row>, Trouble>,
}

/// Of all of them but the one that asks, in their order.
pub(super) async fn ask(
    members: Vec<Member>,
    lines: &Lines,
    is_us: impl Fn(&Row) -> bool + Clone + Send + 'static,
) -> Vec<Told> {
    let asks = members.into_iter().map(|member| {
        let (lines, is_us) = (lines.clone(), is_us.clone());
        async move {
            let answer = ask_one(&member, &lines, is_us).await.transpose();
            answer.map(|answer| Told { name: member.name, answer })
        }
    });
    all(asks).await.into_iter().flatten().collect()
}

/// None: it is the one that asks.
async fn ask_one(
    member: &Member,
    lines: &Lines,
    is_us: impl Fn(&Row) -> bool,
) -> Result<Option<Vec<Row>>, Trouble> {
    let (mut admin, proxy) = lines.open(member).await?;
    let tasks = match is_us(&proxy) {
        true => None,
        false => Some(admin.fleet_tasks().await?),
    };
    lines.keep(member, admin);
    Ok(tasks)
}

/// What each proxy has gone through in a task of this one.
pub(super) async fn steps(member: &Member, lines: &Lines, task: u64) -> Result<Vec<Row>, Trouble> {
    let (mut admin, _) = lines.open(member).await?;
    let steps = admin.fleet_steps(task).await?;
    lines.keep(member, admin);
    Ok(steps)
}
