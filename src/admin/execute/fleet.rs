//! RESTART FLEET, carried out: by the tasks of this process.

use crate::admin::caller::Caller;
use crate::admin::command::fleet::{Order, Word};
use crate::admin::handles::Admin;
use crate::admin::table::Answer;
use crate::error::ClientError;
use crate::fleet::tasks::Refused;

/// Carries out an order.
pub(super) async fn carry_out(
    admin: &Admin,
    caller: &Caller,
    order: Order,
) -> Result<Answer, ClientError> {
    let by = caller.who();
    let refused = |refused: Refused| ClientError::refused(refused.to_string());
    let tasks = &admin.fleet;
    let (id, what) = match order {
        Order::Start(request) => (tasks.start(request, &by).await.map_err(refused)?, "begun"),
        Order::Rehearse(request) => {
            let count = tasks.rehearse(&request).await.map_err(refused)?;
            let what = if count == 1 { "proxy is" } else { "proxies are" };
            let info = format!("{count} {what} being asked; SHOW FLEET REHEARSALS tells the rest");
            return Ok(Answer::Done { id: 0, info });
        }
        Order::Of(word, id) => {
            let id = match id {
                Some(id) => Some(id),
                None => tasks.list().await.first().map(|task| task.id),
            };
            let id = id.ok_or_else(|| ClientError::refused("there is no fleet task"))?;
            let done = match word {
                Word::Stop => (tasks.stop(id, &by).await, "begins nothing more"),
                Word::RollBack => (tasks.roll_back(id, &by).await, "is being rolled back"),
                Word::Retry => (tasks.retry(id, &by).await, "goes on"),
            };
            done.0.map_err(refused)?;
            (id, done.1)
        }
    };
    let info = format!("fleet task {id} {what}; SHOW FLEET TASK {id} tells how it goes");
    Ok(Answer::Done { id, info })
}
